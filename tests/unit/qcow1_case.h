/* SPDX-License-Identifier: MIT */
/*
 * Disks of version 1 for tests of writing them: images of all shapes in memory,
 * each beside a flat model of what it must read as.
 */
#ifndef BYRE_TESTS_QCOW1_CASE_H
#define BYRE_TESTS_QCOW1_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#undef fail /* the macro of cmocka; base/error.h has a function */

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "byre.h"
#include "format/qcow1.h"
#include "store/store.h"

#define SECTOR     512u
#define CLUSTER    4096u                         /* of most of them */
#define DISK_BYTES (2048u * SECTOR + 3 * SECTOR) /* ends within a cluster */
#define BASE_BYTES (1400u * SECTOR)              /* shorter than the disk */
#define BASE_NAME  "base.raw"
#define PASSPHRASE "secret"

/* Fails the test with a message, as fail_msg() would. */
#define flunk(...)                                                             \
    do {                                                                       \
        print_error(__VA_ARGS__);                                              \
        print_error("\n");                                                     \
        _fail(__FILE__, __LINE__);                                             \
    } while (0)

struct shape {
    const char *name;
    uint32_t cluster_bits; /* 0: as byre_create() makes it */
    uint32_t l2_bits;
    bool overlay;
    bool aes;
};

static const struct shape shapes[] = {
    { .name = "created" },
    { .name = "created overlay", .overlay = true },
    /* QEMU makes no such overlay: its writers would lose what surrounds. */
    { .name = "overlay of 4 KiB clusters", 12, 9, .overlay = true },
    { .name = "smallest", 9, 6 },
    { .name = "large overlay", 16, 13, .overlay = true },
    { .name = "AES", .aes = true },
    { .name = "AES overlay", 12, 6, .overlay = true, .aes = true },
};

#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

struct disk {
    const struct shape *shape;
    uint32_t bytes;
    struct byre_store *store;
    struct byre_store *base_store;
    struct byre *base; /* NULL: none */
    struct byre *img;  /* NULL: closed */
    uint8_t *model;
};

/* The next of a sequence that `*seed` names. */
static inline unsigned next_random(uint64_t *seed, unsigned limit)
{
    *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (unsigned)(*seed >> 33) % limit;
}

static inline bool can_make(const struct shape *shape)
{
    return !shape->aes || strstr(byre_features(), "crypto") != NULL;
}

/* ---- Making and opening ---- */

static inline void make_by_hand(struct disk *disk, struct byre_store *store)
{
    struct qcow1_header header = {
        .size_bytes = disk->bytes,
        .cluster_bits = (uint8_t)disk->shape->cluster_bits,
        .l2_bits = (uint8_t)disk->shape->l2_bits,
        .crypt_method = disk->shape->aes,
        .l1_offset = QCOW1_HEADER_BYTES,
    };
    uint8_t head[QCOW1_HEADER_BYTES + sizeof(BASE_NAME)];

    memcpy(head + QCOW1_HEADER_BYTES, BASE_NAME, sizeof(BASE_NAME));
    if (disk->shape->overlay) {
        header.backing_offset = QCOW1_HEADER_BYTES;
        header.backing_bytes = sizeof(BASE_NAME) - 1;
        header.l1_offset = QCOW1_HEADER_BYTES + 8;
    }
    qcow1_header_encode(&header, head);
    assert_int_equal(store_write(store, 0, head,
                                 QCOW1_HEADER_BYTES + header.backing_bytes,
                                 NULL),
                     BYRE_OK);
}

static inline void make_by_create(struct disk *disk, struct byre_store *store)
{
    struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;
    struct byre_error err = { .message = "" };

    opts.format = "qcow";
    opts.virtual_size_bytes = disk->bytes;
    if (disk->shape->overlay) {
        opts.flags = BYRE_CREATE_BACKING_UNCHECKED;
        opts.backing_name = BASE_NAME;
        opts.backing_format = "raw";
    }
    if (disk->shape->aes) {
        opts.encryption = BYRE_ENCRYPTION_AES;
        opts.passphrase = PASSPHRASE;
        opts.passphrase_bytes = strlen(PASSPHRASE);
    }
    if (byre_create_store(store, &opts, &err) < 0)
        flunk("%s", err.message);
}

static inline void open_base(struct disk *disk)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    const uint32_t length = BASE_BYTES < disk->bytes ? BASE_BYTES : disk->bytes;
    uint64_t seed = 7;

    for (uint32_t i = 0; i < length; i++)
        disk->model[i] = (uint8_t)next_random(&seed, 256);
    opts.format = "raw";
    assert_int_equal(
        byre_store_new_memory(disk->model, length, &disk->base_store, NULL),
        BYRE_OK);
    assert_int_equal(
        byre_open_store(disk->base_store, NULL, &opts, &disk->base, NULL),
        BYRE_OK);
}

static inline int give_secret(void *user, const char *secret_id,
                              const char *image_name, void *buf,
                              size_t capacity, size_t *ret_length,
                              struct byre_error *err)
{
    (void)user, (void)secret_id, (void)image_name, (void)err;
    assert_true(capacity >= strlen(PASSPHRASE));
    memcpy(buf, PASSPHRASE, strlen(PASSPHRASE));
    *ret_length = strlen(PASSPHRASE);
    return BYRE_OK;
}

static inline int try_open(struct disk *disk, struct byre_store *store,
                           uint32_t flags, struct byre_error *err)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;

    opts.format = "qcow";
    opts.flags = flags;
    opts.backing = disk->base;
    opts.get_secret = give_secret;
    opts.table_cache_bytes = 1; /* the least there can be */
    return byre_open_store(store, NULL, &opts, &disk->img, err);
}

static inline void open_disk(struct disk *disk)
{
    struct byre_error err = { .message = "" };

    if (try_open(disk, disk->store, BYRE_OPEN_WRITE, &err) < 0)
        flunk("%s: %s", disk->shape->name, err.message);
}

static inline void close_disk(struct disk *disk)
{
    struct byre_error err = { .message = "" };

    if (byre_close(disk->img, &err) < 0)
        flunk("%s: %s", disk->shape->name, err.message);
    disk->img = NULL;
}

/* A new image in `store`, of which it takes a reference; not open yet. */
static inline void disk_init_on(struct disk *disk, const struct shape *shape,
                                uint32_t bytes, struct byre_store *store)
{
    *disk = (struct disk){ .shape = shape, .bytes = bytes };
    disk->store = store_ref(store);
    disk->model = calloc(1, bytes);
    if (shape->overlay)
        open_base(disk);
    if (shape->cluster_bits == 0)
        make_by_create(disk, store);
    else
        make_by_hand(disk, store);
}

static inline struct byre_store *new_memory(const void *bytes, size_t length)
{
    struct byre_store *store = NULL;

    assert_int_equal(byre_store_new_memory(bytes, length, &store, NULL),
                     BYRE_OK);
    return store;
}

static inline void disk_init(struct disk *disk, const struct shape *shape)
{
    struct byre_store *store = new_memory(NULL, 0);

    disk_init_on(disk, shape, DISK_BYTES, store);
    byre_store_unref(store);
}

static inline void disk_done(struct disk *disk)
{
    byre_close(disk->img, NULL);
    byre_close(disk->base, NULL);
    byre_store_unref(disk->base_store);
    byre_store_unref(disk->store);
    free(disk->model);
}

/* ---- What must hold ---- */

static inline void assert_content(struct disk *disk)
{
    struct byre_error err = { .message = "" };
    uint8_t *bytes = malloc(disk->bytes);

    if (byre_read(disk->img, 0, bytes, disk->bytes, &err) < 0)
        flunk("%s: %s", disk->shape->name, err.message);
    for (uint32_t i = 0; i < disk->bytes; i++) {
        if (bytes[i] != disk->model[i])
            flunk("%s: byte %u is 0x%02x, not 0x%02x", disk->shape->name, i,
                  bytes[i], disk->model[i]);
    }
    free(bytes);
}

struct file {
    uint8_t *bytes;
    uint64_t length;
    uint8_t *used; /* a byte for each */
    const char *name;
};

static inline void use(struct file *file, uint64_t offset, uint64_t length,
                       const char *what)
{
    if (!range_within(offset, length, file->length))
        flunk("%s: %s at %llu is not in the file of %llu bytes", file->name,
              what, (unsigned long long)offset,
              (unsigned long long)file->length);
    for (uint64_t i = offset; i < offset + length; i++) {
        if (file->used[i]++ != 0)
            flunk("%s: %s at %llu lies on something else", file->name, what,
                  (unsigned long long)offset);
    }
}

static inline void use_table(struct file *file, uint64_t offset,
                             const struct qcow1_header *header)
{
    use(file, offset, UINT64_C(8) << header->l2_bits, "an L2 table");
    for (uint64_t i = 0; i < UINT64_C(1) << header->l2_bits; i++) {
        const struct l2_entry entry = qcow1_l2_entry_decode(
            be64_get(file->bytes + offset + i * 8), header->cluster_bits);

        assert_int_not_equal(entry.kind, L2_INVALID);
        if (entry.kind == L2_COMPRESSED)
            use(file, entry.host_offset, entry.compressed_bytes, "a stream");
        if (entry.kind == L2_DATA)
            use(file, entry.host_offset, UINT64_C(1) << header->cluster_bits,
                "a cluster");
    }
}

/* No byte of the file belongs to two things, and all of them are in it. */
static inline void assert_layout(struct byre_store *store, const char *name)
{
    struct file file = { .name = name };
    struct qcow1_header header;
    uint64_t l1_end;

    assert_int_equal(store_get_size(store, &file.length, NULL), BYRE_OK);
    file.bytes = calloc(1, file.length + 4096);
    assert_int_equal(store_read(store, 0, file.bytes, file.length, NULL),
                     BYRE_OK);
    assert_int_equal(
        qcow1_header_decode(file.bytes, file.length, &header, NULL), BYRE_OK);
    l1_end = header.l1_offset + qcow1_l1_entries(&header) * 8;
    file.length = max_u64(file.length, l1_end);
    file.used = calloc(1, file.length);
    use(&file, 0, QCOW1_HEADER_BYTES, "the header");
    use(&file, header.backing_offset, header.backing_bytes, "the name");
    use(&file, header.l1_offset, l1_end - header.l1_offset, "the L1 table");
    for (uint64_t i = 0; i < qcow1_l1_entries(&header); i++) {
        const uint64_t entry = be64_get(file.bytes + header.l1_offset + i * 8);

        if (entry != 0)
            use_table(&file, entry, &header);
    }
    free(file.bytes);
    free(file.used);
}

static inline uint32_t class_at(struct disk *disk, uint64_t offset)
{
    struct byre_extent extent;
    size_t count;

    assert_int_equal(byre_extents(disk->img, offset, 1, BYRE_EXTENTS_CLASSES,
                                  &extent, 1, &count, NULL),
                     BYRE_OK);
    return extent.cluster_class;
}

/* ---- Random operations ---- */

#define MOST_WRITE (200u * 1024)

/* One of any kind, offset and length, to the image and the model. */
static inline int operate(struct disk *disk, uint64_t *seed, uint32_t unit,
                          struct byre_error *err)
{
    static const uint32_t most[] = { 16, 1000, 5000, MOST_WRITE };
    const uint32_t units = disk->bytes / unit;
    const uint32_t offset = next_random(seed, units) * unit;
    const uint32_t wanted =
        (next_random(seed, most[next_random(seed, 4)]) / unit + 1) * unit;
    const uint32_t length =
        wanted < disk->bytes - offset ? wanted : disk->bytes - offset;
    const unsigned what = next_random(seed, 10);
    uint8_t *bytes;
    int r;

    if (what == 0)
        return byre_flush(disk->img, err);
    if (what == 1)
        return byre_discard(disk->img, offset, length, 0, err);
    if (what <= 3) {
        memset(disk->model + offset, 0, length);
        return byre_zero(disk->img, offset, length,
                         what == 2 ? BYRE_WRITE_MAY_UNMAP : 0, err);
    }
    bytes = malloc(length);
    for (uint32_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)next_random(seed, 256);
    memcpy(disk->model + offset, bytes, length);
    r = byre_write(disk->img, offset, bytes, length, 0, err);
    free(bytes);
    return r;
}

static inline void operate_often(struct disk *disk, uint64_t *seed,
                                 unsigned count)
{
    struct byre_error err = { .message = "" };

    for (unsigned i = 0; i < count; i++) {
        if (operate(disk, seed, 1, &err) < 0)
            flunk("%s: %s", disk->shape->name, err.message);
    }
}

#endif
