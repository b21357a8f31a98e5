/* SPDX-License-Identifier: MIT */
/*
 * Past `length` every sector of the own map is zero, so that growing needs no
 * work.  What is not in the own map is that of the base below `base_bytes`.
 */
#include "store/recorder_bytes.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"

/* ---- The map ---- */

/* The place in the table of the sector `index`, or where it would go. */
static size_t map_place(const struct sector_map *map, uint64_t index)
{
    const size_t mask = map->table_slots - 1;
    size_t place = (size_t)((index * UINT64_C(0x9e3779b97f4a7c15)) >> 32);

    for (place &= mask; map->table[place] != 0; place = (place + 1) & mask) {
        if (map->indexes[map->table[place] - 1] == index)
            break;
    }
    return place;
}

static uint8_t *map_get(const struct sector_map *map, uint64_t index)
{
    size_t place;

    if (map->count == 0)
        return NULL;
    place = map_place(map, index);
    if (map->table[place] == 0)
        return NULL;
    return map->bytes + (size_t)(map->table[place] - 1) * SECTOR_BYTES;
}

/* Takes over a table of `slots` places, and puts each slot there. */
static void map_use_table(struct sector_map *map, uint32_t *table, size_t slots)
{
    free(map->table);
    map->table = table;
    map->table_slots = slots;
    for (size_t slot = 0; slot < map->count; slot++)
        table[map_place(map, map->indexes[slot])] = (uint32_t)slot + 1;
}

static int map_grow(struct sector_map *map, size_t capacity)
{
    uint32_t *table = calloc(capacity * 2, sizeof(*table));
    uint64_t *indexes = realloc(map->indexes, capacity * sizeof(*indexes));
    uint8_t *bytes = realloc(map->bytes, capacity * SECTOR_BYTES);

    if (indexes != NULL)
        map->indexes = indexes;
    if (bytes != NULL)
        map->bytes = bytes;
    if (table == NULL || indexes == NULL || bytes == NULL) {
        free(table);
        return BYRE_E_NOMEM;
    }
    map->capacity = capacity;
    map_use_table(map, table, capacity * 2);
    return BYRE_OK;
}

/* Makes room for `more` slots. */
static int map_reserve(struct sector_map *map, uint64_t more)
{
    size_t capacity = map->capacity > 0 ? map->capacity : 16;

    if (more > UINT32_MAX / 4 - map->count)
        return BYRE_E_NOMEM;
    while (capacity < map->count + more)
        capacity *= 2;
    return capacity == map->capacity ? BYRE_OK : map_grow(map, capacity);
}

/* The slot of a sector that has none; there is room. */
static uint8_t *map_add(struct sector_map *map, uint64_t index)
{
    const size_t slot = map->count;

    map->table[map_place(map, index)] = (uint32_t)slot + 1;
    map->indexes[slot] = index;
    map->count++;
    return map->bytes + slot * SECTOR_BYTES;
}

/* ---- Sparse bytes ---- */

void sparse_init(struct sparse_bytes *sparse, const struct sparse_bytes *base)
{
    *sparse = (struct sparse_bytes){ .base = base };
    if (base != NULL)
        sparse->base_bytes = sparse->length = base->length;
}

void sparse_done(struct sparse_bytes *sparse)
{
    free(sparse->own.indexes);
    free(sparse->own.bytes);
    free(sparse->own.table);
    *sparse = (struct sparse_bytes){ 0 };
}

/* Whether the sector is neither in the map nor in a base. */
static bool sector_is_absent(const struct sparse_bytes *sparse, uint64_t index)
{
    for (; sparse != NULL; sparse = sparse->base) {
        if (map_get(&sparse->own, index) != NULL)
            return false;
        if (index * SECTOR_BYTES >= sparse->base_bytes)
            return true;
    }
    return true;
}

/* Reads within one sector; what a layer hides reads as zeroes. */
static void read_in_sector(const struct sparse_bytes *sparse, uint64_t offset,
                           uint8_t *buf, size_t length)
{
    for (; sparse != NULL; sparse = sparse->base) {
        const uint8_t *own = map_get(&sparse->own, offset / SECTOR_BYTES);
        size_t visible;

        if (own != NULL) {
            memcpy(buf, own + offset % SECTOR_BYTES, length);
            return;
        }
        visible = offset < sparse->base_bytes
                      ? (size_t)min_u64(sparse->base_bytes - offset, length)
                      : 0;
        memset(buf + visible, 0, length - visible);
        length = visible;
    }
}

static size_t within_sector(uint64_t offset, uint64_t length)
{
    return (size_t)min_u64(length, SECTOR_BYTES - offset % SECTOR_BYTES);
}

void sparse_read(const struct sparse_bytes *sparse, uint64_t offset, void *buf,
                 size_t length)
{
    uint8_t *p = buf;

    while (length > 0) {
        const size_t n = within_sector(offset, length);

        read_in_sector(sparse, offset, p, n);
        p += n;
        offset += n;
        length -= n;
    }
}

/* The bytes of a sector in the own map, copied up if need be. */
static uint8_t *own_sector(struct sparse_bytes *sparse, uint64_t index)
{
    uint8_t content[SECTOR_BYTES];
    uint8_t *own = map_get(&sparse->own, index);

    if (own != NULL)
        return own;
    read_in_sector(sparse, index * SECTOR_BYTES, content, SECTOR_BYTES);
    own = map_add(&sparse->own, index);
    memcpy(own, content, SECTOR_BYTES);
    return own;
}

int sparse_write(struct sparse_bytes *sparse, uint64_t offset, const void *buf,
                 size_t length, struct byre_error *err)
{
    const uint64_t first = offset / SECTOR_BYTES;
    const uint64_t end = div_round_up(offset + length, SECTOR_BYTES);
    const uint8_t *p = buf;

    if (map_reserve(&sparse->own, end - first) < 0)
        return fail_nomem(err, "sectors in memory", length);

    while (length > 0) {
        const size_t n = within_sector(offset, length);

        memcpy(own_sector(sparse, offset / SECTOR_BYTES) +
                   offset % SECTOR_BYTES,
               p, n);
        p += n;
        offset += n;
        length -= n;
        sparse->length = max_u64(sparse->length, offset);
    }
    return BYRE_OK;
}

static bool every_sector(uint64_t index)
{
    (void)index;
    return true;
}

/* Zeroes what there is of the range in the sectors that are `chosen`. */
static int zero_chosen(struct sparse_bytes *sparse, uint64_t offset,
                       uint64_t length, bool (*chosen)(uint64_t index),
                       struct byre_error *err)
{
    const uint64_t end = min_u64(offset + length, sparse->length);
    uint64_t present = 0;

    for (uint64_t at = offset; at < end; at += within_sector(at, end - at))
        present += !sector_is_absent(sparse, at / SECTOR_BYTES);
    if (map_reserve(&sparse->own, present) < 0)
        return fail_nomem(err, "sectors in memory", (size_t)length);

    for (uint64_t at = offset; at < end; at += within_sector(at, end - at)) {
        const uint64_t index = at / SECTOR_BYTES;

        if (chosen(index) && !sector_is_absent(sparse, index))
            memset(own_sector(sparse, index) + at % SECTOR_BYTES, 0,
                   within_sector(at, end - at));
    }
    return BYRE_OK;
}

int sparse_zero(struct sparse_bytes *sparse, uint64_t offset, uint64_t length,
                struct byre_error *err)
{
    return zero_chosen(sparse, offset, length, every_sector, err);
}

bool sparse_discard_zeroes(uint64_t index)
{
    return (index + 1) * UINT64_C(0x9e3779b97f4a7c15) >> 63 != 0;
}

int sparse_discard(struct sparse_bytes *sparse, uint64_t offset,
                   uint64_t length, struct byre_error *err)
{
    return zero_chosen(sparse, offset, length, sparse_discard_zeroes, err);
}

void sparse_resize(struct sparse_bytes *sparse, uint64_t length)
{
    if (length < sparse->length) {
        for (size_t slot = 0; slot < sparse->own.count; slot++) {
            const uint64_t start = sparse->own.indexes[slot] * SECTOR_BYTES;
            const uint64_t keep =
                length > start ? min_u64(length - start, SECTOR_BYTES) : 0;

            memset(sparse->own.bytes + slot * SECTOR_BYTES + keep, 0,
                   (size_t)(SECTOR_BYTES - keep));
        }
        sparse->base_bytes = min_u64(sparse->base_bytes, length);
    }
    sparse->length = length;
}

/* ---- A store of them ---- */

struct sparse_store {
    pthread_rwlock_t lock;
    struct sparse_bytes bytes;
};

static int store_of_sparse_read(void *user, uint64_t offset, void *buf,
                                size_t length, struct byre_error *err)
{
    struct sparse_store *store = user;

    (void)err;
    pthread_rwlock_rdlock(&store->lock);
    sparse_read(&store->bytes, offset, buf, length);
    pthread_rwlock_unlock(&store->lock);
    return BYRE_OK;
}

static int store_of_sparse_get_size(void *user, uint64_t *ret_size_bytes,
                                    struct byre_error *err)
{
    struct sparse_store *store = user;

    (void)err;
    pthread_rwlock_rdlock(&store->lock);
    *ret_size_bytes = store->bytes.length;
    pthread_rwlock_unlock(&store->lock);
    return BYRE_OK;
}

static int store_of_sparse_write(void *user, uint64_t offset, const void *buf,
                                 size_t length, struct byre_error *err)
{
    struct sparse_store *store = user;
    int r;

    pthread_rwlock_wrlock(&store->lock);
    r = sparse_write(&store->bytes, offset, buf, length, err);
    pthread_rwlock_unlock(&store->lock);
    return r;
}

static int store_of_sparse_flush(void *user, struct byre_error *err)
{
    (void)user;
    (void)err;
    return BYRE_OK;
}

static int store_of_sparse_resize(void *user, uint64_t size_bytes,
                                  struct byre_error *err)
{
    struct sparse_store *store = user;

    (void)err;
    pthread_rwlock_wrlock(&store->lock);
    sparse_resize(&store->bytes, size_bytes);
    pthread_rwlock_unlock(&store->lock);
    return BYRE_OK;
}

static int store_of_sparse_zero(void *user, uint64_t offset, uint64_t length,
                                uint32_t flags, struct byre_error *err)
{
    struct sparse_store *store = user;
    int r;

    (void)flags;
    pthread_rwlock_wrlock(&store->lock);
    r = sparse_zero(&store->bytes, offset, length, err);
    pthread_rwlock_unlock(&store->lock);
    return r;
}

static int store_of_sparse_discard(void *user, uint64_t offset, uint64_t length,
                                   struct byre_error *err)
{
    struct sparse_store *store = user;
    int r;

    pthread_rwlock_wrlock(&store->lock);
    r = sparse_discard(&store->bytes, offset, length, err);
    pthread_rwlock_unlock(&store->lock);
    return r;
}

static void store_of_sparse_close(void *user)
{
    struct sparse_store *store = user;

    pthread_rwlock_destroy(&store->lock);
    sparse_done(&store->bytes);
    free(store);
}

static const struct byre_store_ops sparse_ops = {
    .size = sizeof(struct byre_store_ops),
    .read = store_of_sparse_read,
    .get_size = store_of_sparse_get_size,
    .write = store_of_sparse_write,
    .flush = store_of_sparse_flush,
    .resize = store_of_sparse_resize,
    .zero = store_of_sparse_zero,
    .close = store_of_sparse_close,
    .discard = store_of_sparse_discard,
};

int sparse_store_new(struct sparse_bytes *sparse, struct byre_store **ret_store,
                     struct byre_error *err)
{
    struct sparse_store *store = calloc(1, sizeof(*store));
    int r;

    if (store == NULL)
        return fail_nomem(err, "a store of sectors", sizeof(*store));

    r = store_new(&sparse_ops, store, "memory", ret_store, err);
    if (r < 0) {
        free(store);
        return r;
    }
    pthread_rwlock_init(&store->lock, NULL);
    store->bytes = *sparse;
    *sparse = (struct sparse_bytes){ 0 };
    return BYRE_OK;
}
