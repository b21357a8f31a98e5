/* SPDX-License-Identifier: MIT */
/*
 * One lock over all, never held while reading or decoding.  A slot is LOADING
 * while one thread fills it; a READY slot with pins is being copied from and
 * is not replaced.  Where every slot of a set is busy, the read goes on without
 * the cache.
 */
#include "engine/cluster_reader.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"

#define MOST_WAYS 4
#define MOST_SETS 256

enum slot_state { SLOT_EMPTY, SLOT_LOADING, SLOT_READY };

struct slot {
    enum slot_state state;
    unsigned pins;
    uint64_t last_used;
    uint64_t host_offset;
    uint32_t stream_bytes; /* entries may differ about it */
    uint8_t *bytes;        /* a cluster; allocated at first use */
};

/* A decoder and its input; as many as threads have decoded at once. */
struct work {
    struct work *next;
    struct decoder *decoder;
    uint8_t *input;
};

struct cluster_reader {
    enum codec_type codec;
    uint32_t cluster_bytes;
    uint32_t set_count; /* a power of two */
    uint32_t ways;      /* slots of a set */
    pthread_mutex_t lock;
    pthread_cond_t slot_loaded;
    uint64_t clock;
    struct slot *slots;
    struct work *idle;
};

int cluster_reader_new(enum codec_type codec, uint32_t cluster_bytes,
                       uint64_t budget_bytes,
                       struct cluster_reader **ret_reader,
                       struct byre_error *err)
{
    const uint64_t slots = max_u64(budget_bytes / cluster_bytes, 1);
    struct cluster_reader *reader = calloc(1, sizeof(*reader));

    if (reader == NULL)
        return fail_nomem(err, "a cluster cache", sizeof(*reader));

    reader->codec = codec;
    reader->cluster_bytes = cluster_bytes;
    reader->ways = (uint32_t)min_u64(slots, MOST_WAYS);
    reader->set_count = 1;
    while (reader->set_count * 2 <= min_u64(slots / reader->ways, MOST_SETS))
        reader->set_count *= 2;
    reader->slots =
        calloc((size_t)reader->set_count * reader->ways, sizeof(struct slot));
    if (reader->slots == NULL) {
        free(reader);
        return fail_nomem(err, "a cluster cache",
                          (size_t)slots * sizeof(struct slot));
    }
    pthread_mutex_init(&reader->lock, NULL);
    pthread_cond_init(&reader->slot_loaded, NULL);
    *ret_reader = reader;
    return BYRE_OK;
}

static void work_free(struct work *work)
{
    if (work == NULL)
        return;
    decoder_free(work->decoder);
    free(work->input);
    free(work);
}

void cluster_reader_free(struct cluster_reader *reader)
{
    if (reader == NULL)
        return;
    while (reader->idle != NULL) {
        struct work *work = reader->idle;

        reader->idle = work->next;
        work_free(work);
    }
    for (size_t i = 0; i < (size_t)reader->set_count * reader->ways; i++)
        free(reader->slots[i].bytes);
    pthread_cond_destroy(&reader->slot_loaded);
    pthread_mutex_destroy(&reader->lock);
    free(reader->slots);
    free(reader);
}

/* ---- Decoding ---- */

static int work_new(struct cluster_reader *reader, struct work **ret_work,
                    struct byre_error *err)
{
    struct work *work = calloc(1, sizeof(*work));
    int r;

    if (work == NULL)
        return fail_nomem(err, "a decoder", sizeof(*work));

    work->input = malloc((size_t)reader->cluster_bytes * 2);
    r = work->input != NULL ? decoder_new(reader->codec, &work->decoder, err)
                            : fail_nomem(err, "a compressed cluster",
                                         (size_t)reader->cluster_bytes * 2);
    if (r < 0) {
        work_free(work);
        return r;
    }
    *ret_work = work;
    return BYRE_OK;
}

static int work_get(struct cluster_reader *reader, struct work **ret_work,
                    struct byre_error *err)
{
    struct work *work;

    pthread_mutex_lock(&reader->lock);
    work = reader->idle;
    if (work != NULL)
        reader->idle = work->next;
    pthread_mutex_unlock(&reader->lock);

    if (work == NULL)
        return work_new(reader, ret_work, err);
    *ret_work = work;
    return BYRE_OK;
}

static void work_put(struct cluster_reader *reader, struct work *work)
{
    pthread_mutex_lock(&reader->lock);
    work->next = reader->idle;
    reader->idle = work;
    pthread_mutex_unlock(&reader->lock);
}

/* Reads and decodes a whole cluster into `buf`. */
static int decode_cluster(struct cluster_reader *reader,
                          const struct compressed_cluster *cluster, void *buf,
                          struct byre_error *err)
{
    struct work *work = NULL;
    int r;

    if (cluster->stream_bytes > reader->cluster_bytes * UINT64_C(2))
        return fail_at(err, BYRE_E_CORRUPT, cluster->host_offset,
                       "a compressed cluster spans %u bytes, more than the "
                       "limit of two clusters",
                       cluster->stream_bytes);

    r = work_get(reader, &work, err);
    if (r < 0)
        return r;

    r = store_read(cluster->store, cluster->host_offset, work->input,
                   cluster->stream_bytes, err);
    if (r == BYRE_OK)
        r = decoder_run(work->decoder, work->input, cluster->stream_bytes, buf,
                        reader->cluster_bytes, err);
    if (r == BYRE_E_CORRUPT && err != NULL)
        err->offset = cluster->host_offset;
    work_put(reader, work);
    return r;
}

/* ---- The cache ---- */

static struct slot *set_of(struct cluster_reader *reader, uint64_t host_offset)
{
    const uint64_t hash = host_offset * UINT64_C(0x9e3779b97f4a7c15);

    return &reader->slots[(size_t)((hash >> 40) & (reader->set_count - 1)) *
                          reader->ways];
}

static struct slot *find_slot(const struct cluster_reader *reader,
                              struct slot *set,
                              const struct compressed_cluster *cluster)
{
    for (unsigned way = 0; way < reader->ways; way++) {
        if (set[way].state != SLOT_EMPTY &&
            set[way].host_offset == cluster->host_offset &&
            set[way].stream_bytes == cluster->stream_bytes)
            return &set[way];
    }
    return NULL;
}

/* The slot used longest ago that is not busy; NULL if all are. */
static struct slot *choose_victim(const struct cluster_reader *reader,
                                  struct slot *set)
{
    struct slot *victim = NULL;

    for (unsigned way = 0; way < reader->ways; way++) {
        if (set[way].state == SLOT_LOADING || set[way].pins > 0)
            continue;
        if (victim == NULL || set[way].last_used < victim->last_used)
            victim = &set[way];
    }
    return victim;
}

/* Fills a slot that this thread made LOADING.  Called and left locked. */
static int load_slot(struct cluster_reader *reader, struct slot *slot,
                     const struct compressed_cluster *cluster,
                     struct byre_error *err)
{
    int r = BYRE_OK;

    pthread_mutex_unlock(&reader->lock);
    if (slot->bytes == NULL)
        slot->bytes = malloc(reader->cluster_bytes);
    if (slot->bytes == NULL)
        r = fail_nomem(err, "a cluster", reader->cluster_bytes);
    if (r == BYRE_OK)
        r = decode_cluster(reader, cluster, slot->bytes, err);
    pthread_mutex_lock(&reader->lock);

    slot->state = r == BYRE_OK ? SLOT_READY : SLOT_EMPTY;
    pthread_cond_broadcast(&reader->slot_loaded);
    return r;
}

/*
 * Pins the slot that holds the cluster, waiting for or doing the work.  Gives
 * NULL where all slots are busy.  Called and left locked.
 */
static int pin_cluster(struct cluster_reader *reader,
                       const struct compressed_cluster *cluster,
                       struct slot **ret_slot, struct byre_error *err)
{
    struct slot *set = set_of(reader, cluster->host_offset);
    struct slot *slot;
    int r;

    for (;;) {
        slot = find_slot(reader, set, cluster);
        if (slot == NULL || slot->state == SLOT_READY)
            break;
        pthread_cond_wait(&reader->slot_loaded, &reader->lock);
    }

    if (slot == NULL) {
        slot = choose_victim(reader, set);
        if (slot != NULL) {
            slot->state = SLOT_LOADING;
            slot->host_offset = cluster->host_offset;
            slot->stream_bytes = cluster->stream_bytes;
            r = load_slot(reader, slot, cluster, err);
            if (r < 0)
                return r;
        }
    }
    if (slot != NULL) {
        slot->pins++;
        slot->last_used = ++reader->clock;
    }
    *ret_slot = slot;
    return BYRE_OK;
}

static bool is_cached(struct cluster_reader *reader,
                      const struct compressed_cluster *cluster)
{
    bool cached;

    pthread_mutex_lock(&reader->lock);
    cached = find_slot(reader, set_of(reader, cluster->host_offset), cluster) !=
             NULL;
    pthread_mutex_unlock(&reader->lock);
    return cached;
}

static int read_uncached(struct cluster_reader *reader,
                         const struct compressed_cluster *cluster,
                         uint32_t offset, void *buf, size_t length,
                         struct byre_error *err)
{
    uint8_t *bytes = malloc(reader->cluster_bytes);
    int r;

    if (bytes == NULL)
        return fail_nomem(err, "a cluster", reader->cluster_bytes);

    r = decode_cluster(reader, cluster, bytes, err);
    if (r == BYRE_OK)
        memcpy(buf, bytes + offset, length);
    free(bytes);
    return r;
}

int cluster_reader_read(struct cluster_reader *reader,
                        const struct compressed_cluster *cluster,
                        uint32_t offset, void *buf, size_t length,
                        struct byre_error *err)
{
    struct slot *slot;
    int r;

    if (length == reader->cluster_bytes && !is_cached(reader, cluster))
        return decode_cluster(reader, cluster, buf, err);

    pthread_mutex_lock(&reader->lock);
    r = pin_cluster(reader, cluster, &slot, err);
    pthread_mutex_unlock(&reader->lock);
    if (r < 0)
        return r;
    if (slot == NULL)
        return read_uncached(reader, cluster, offset, buf, length, err);

    memcpy(buf, slot->bytes + offset, length);
    pthread_mutex_lock(&reader->lock);
    slot->pins--;
    pthread_mutex_unlock(&reader->lock);
    return BYRE_OK;
}

void cluster_reader_forget(struct cluster_reader *reader, uint64_t host_offset)
{
    struct slot *set = set_of(reader, host_offset);

    pthread_mutex_lock(&reader->lock);
    for (unsigned way = 0; way < reader->ways; way++) {
        if (set[way].state == SLOT_READY && set[way].pins == 0 &&
            set[way].host_offset == host_offset)
            set[way].state = SLOT_EMPTY;
    }
    pthread_mutex_unlock(&reader->lock);
}

void cluster_reader_clear(struct cluster_reader *reader)
{
    pthread_mutex_lock(&reader->lock);
    for (size_t i = 0; i < (size_t)reader->set_count * reader->ways; i++) {
        if (reader->slots[i].state == SLOT_READY)
            reader->slots[i].state = SLOT_EMPTY;
    }
    pthread_mutex_unlock(&reader->lock);
}
