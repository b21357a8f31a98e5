/* SPDX-License-Identifier: MIT */
/*
 * Without these, threads that write beside one another in the same clusters and
 * tables, while others flush and resize, could lose each other's bytes.
 *
 * Four threads own every fourth sector of a disk on a backing file, and some
 * whole clusters behind, which they write compressed; so they meet in clusters
 * and tables and never in a byte.  Behind that the disk grows and shrinks.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "byre.h"
#include "spy_store.h"

#define WORKERS    4
#define OPERATIONS 1000
#define RESIZES    30 /* while the others work */
#define SECTOR     512

#define SHARED_BYTES   (256 * 1024)
#define OWN_CLUSTERS   6
#define LARGE_CLUSTER  65536
#define MOST_BYTES     (SHARED_BYTES + WORKERS * OWN_CLUSTERS * LARGE_CLUSTER)
#define MOST_TAIL      (64 * SECTOR)
#define BEHIND_BACKING (16 * SECTOR)

struct kind {
    const char *name;
    uint32_t version;
    uint32_t flags;
    uint32_t cluster_bytes;
};

static const struct kind kinds[] = {
    { "version 2, small clusters", 2, 0, SECTOR },
    { "version 2", 2, 0, LARGE_CLUSTER },
    { "version 3, small clusters", 3, 0, SECTOR },
    { "version 3", 3, 0, LARGE_CLUSTER },
    { "subclusters", 3, BYRE_CREATE_EXTENDED_L2, LARGE_CLUSTER },
};

/* The disk, and what it must read as; each byte has one thread as its owner. */
struct disk {
    const struct kind *kind;
    struct spy spy;
    struct byre_store *store;
    struct byre *backing;
    struct byre *img;
    size_t used_bytes; /* all but what the resizer owns */
    uint8_t *model;
    atomic_uint running;
    atomic_uint resizes; /* to come */
};

struct member {
    struct disk *disk;
    unsigned index;
    uint64_t random;
    bool occupied[OWN_CLUSTERS];
    pthread_t thread;
    int result;
    struct byre_error err; /* of the first failure */
};

static uint32_t draw(struct member *member, uint32_t below)
{
    member->random =
        member->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)(member->random >> 33) % below;
}

/* ---- One disk ---- */

static void new_backing(struct disk *disk)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    /* It is longer, which growing must not show. */
    const size_t length = disk->used_bytes + BEHIND_BACKING;
    struct byre_store *store;
    uint8_t *bytes = malloc(length);

    assert_non_null(bytes);
    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)(i % 241 + 1);
    memcpy(disk->model, bytes, disk->used_bytes);
    assert_int_equal(byre_store_new_memory(bytes, length, &store, NULL), 0);
    free(bytes);
    opts.format = "raw";
    assert_int_equal(byre_open_store(store, NULL, &opts, &disk->backing, NULL),
                     0);
    byre_store_unref(store);
}

static void new_image(struct disk *disk)
{
    struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;

    assert_int_equal(spy_store_new(&disk->spy, true, &disk->store), 0);
    disk->spy.pauses = true;
    opts.virtual_size_bytes = disk->used_bytes;
    opts.version = disk->kind->version;
    opts.cluster_size_bytes = disk->kind->cluster_bytes;
    opts.flags = disk->kind->flags | BYRE_CREATE_BACKING_UNCHECKED;
    opts.backing_name = "below";
    opts.backing_format = "raw";
    assert_int_equal(byre_create_store(disk->store, &opts, NULL), 0);
}

/* With caches of the least size, so that tables come and go. */
static void open_disk(struct disk *disk, uint32_t flags)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre_error err = { 0 };

    opts.flags = flags;
    opts.format = "qcow2";
    opts.backing = disk->backing;
    opts.table_cache_bytes = 1;
    opts.refcount_cache_bytes = 1;
    opts.cluster_cache_bytes = 1;
    if (byre_open_store(disk->store, NULL, &opts, &disk->img, &err) < 0)
        fail_msg("%s: %s", disk->kind->name, err.message);
}

static void check_disk(struct disk *disk)
{
    uint8_t *buf = malloc(disk->used_bytes);

    assert_non_null(buf);
    assert_int_equal(byre_read(disk->img, 0, buf, disk->used_bytes, NULL), 0);
    for (size_t i = 0; i < disk->used_bytes; i++) {
        if (buf[i] != disk->model[i])
            fail_msg("%s: byte %zu is 0x%02x instead of 0x%02x",
                     disk->kind->name, i, buf[i], disk->model[i]);
    }
    free(buf);
}

/* ---- What the threads do ---- */

static int differ(struct member *member, uint64_t offset)
{
    snprintf(member->err.message, sizeof(member->err.message),
             "wrong bytes at %llu", (unsigned long long)offset);
    return BYRE_E_IO;
}

/* Whether what it owns reads as it must. */
static int check_own(struct member *member, uint64_t offset, size_t length)
{
    uint8_t buf[SECTOR];
    int r;

    r = byre_read(member->disk->img, offset, buf, length, &member->err);
    if (r < 0)
        return r;
    return memcmp(buf, member->disk->model + offset, length) == 0
               ? BYRE_OK
               : differ(member, offset);
}

static int write_own(struct member *member, uint64_t offset, size_t length)
{
    uint8_t *model = member->disk->model + offset;
    const uint32_t fua = draw(member, 32) == 0 ? BYRE_WRITE_FUA : 0;

    memset(model, (int)draw(member, 256), length);
    model[length / 2] = (uint8_t)member->index;
    return byre_write(member->disk->img, offset, model, length, fua,
                      &member->err);
}

static int zero_own(struct member *member, uint64_t offset, size_t length,
                    uint32_t flags)
{
    memset(member->disk->model + offset, 0, length);
    return byre_zero(member->disk->img, offset, length, flags, &member->err);
}

/* Whole clusters go, parts stay; version 2 cannot say so of an overlay. */
static int discard_own(struct member *member, uint64_t offset, size_t length)
{
    const struct kind *kind = member->disk->kind;

    if (kind->version >= 3 && length >= kind->cluster_bytes)
        memset(member->disk->model + offset, 0, length);
    return byre_discard(member->disk->img, offset, length, 0, &member->err);
}

static int change_sector(struct member *member)
{
    const uint64_t turns = SHARED_BYTES / SECTOR / WORKERS;
    const uint64_t sector =
        draw(member, (uint32_t)turns) * WORKERS + member->index;
    const uint32_t start = draw(member, 3) == 0 ? draw(member, SECTOR) : 0;
    const uint64_t offset = sector * SECTOR + start;
    const size_t length = SECTOR - start;
    const uint32_t what = draw(member, 100);

    if (what < 45)
        return write_own(member, offset, length);
    if (what < 60)
        return check_own(member, offset, length);
    if (what < 70)
        return zero_own(member, offset, length, 0);
    if (what < 90)
        return zero_own(member, offset, length, BYRE_WRITE_MAY_UNMAP);
    return discard_own(member, offset, length);
}

static int write_stream(struct member *member, uint64_t offset)
{
    const uint32_t cluster_bytes = member->disk->kind->cluster_bytes;
    uint8_t *model = member->disk->model + offset;

    memset(model, (int)draw(member, 256), cluster_bytes);
    for (uint32_t i = 0; i < cluster_bytes; i += 64)
        model[i] = (uint8_t)draw(member, 256);
    return byre_write(member->disk->img, offset, model, cluster_bytes,
                      BYRE_WRITE_COMPRESSED, &member->err);
}

/* A cluster of its own: compressed, partly overwritten, given up, and again. */
static int change_cluster(struct member *member)
{
    const struct kind *kind = member->disk->kind;
    const uint32_t which = draw(member, OWN_CLUSTERS);
    const uint64_t offset =
        SHARED_BYTES +
        (uint64_t)(member->index * OWN_CLUSTERS + which) * kind->cluster_bytes;
    const uint64_t sector =
        offset + draw(member, kind->cluster_bytes / SECTOR) * SECTOR;

    if (!member->occupied[which]) {
        member->occupied[which] = true;
        return write_stream(member, offset);
    }
    switch (draw(member, 3)) {
    case 0:
        return check_own(member, sector, SECTOR);
    case 1:
        return write_own(member, sector, SECTOR - 1);
    default:
        member->occupied[which] = kind->version < 3;
        return discard_own(member, offset, kind->cluster_bytes);
    }
}

static void *run_worker(void *user)
{
    struct member *member = user;

    for (int i = 0; member->result == BYRE_OK &&
                    (i < OPERATIONS || atomic_load(&member->disk->resizes) > 0);
         i++)
        member->result = draw(member, 8) == 0 ? change_cluster(member)
                                              : change_sector(member);
    atomic_fetch_sub(&member->disk->running, 1);
    return NULL;
}

static void *run_flusher(void *user)
{
    struct member *member = user;

    while (atomic_load(&member->disk->running) > 0 && member->result == BYRE_OK)
        member->result = byre_flush(member->disk->img, &member->err);
    return NULL;
}

/* What was behind the end before, of this disk or below, does not show. */
static int check_tail(struct member *member, uint64_t offset, size_t length)
{
    uint8_t buf[MOST_TAIL];
    int r;

    r = byre_read(member->disk->img, offset, buf, length, &member->err);
    for (size_t i = 0; i < length && r == BYRE_OK; i++) {
        if (buf[i] != 0)
            r = differ(member, offset + i);
    }
    return r;
}

static int resize_twice(struct member *member)
{
    static const uint8_t ones[MOST_TAIL] = { 1, 1, 1, 1, 1, 1, 1, 1 };
    struct byre *img = member->disk->img;
    const uint64_t end = member->disk->used_bytes;
    const size_t tail = (1 + draw(member, MOST_TAIL / SECTOR)) * SECTOR;
    int r;

    r = byre_resize(img, end + tail, 0, BYRE_PREALLOCATION_OFF, &member->err);
    if (r == BYRE_OK)
        r = check_tail(member, end, tail);
    if (r == BYRE_OK)
        r = byre_write(img, end, ones, tail, 0, &member->err);
    if (r == BYRE_OK)
        r = byre_resize(img, end, BYRE_RESIZE_SHRINK, BYRE_PREALLOCATION_OFF,
                        &member->err);
    return r;
}

/* Others wait for it to have been around often enough, failed or not. */
static void *run_resizer(void *user)
{
    struct member *member = user;

    for (int i = 0; i < RESIZES; i++) {
        if (member->result == BYRE_OK)
            member->result = resize_twice(member);
        atomic_fetch_sub(&member->disk->resizes, 1);
    }
    return NULL;
}

/* ---- All of them ---- */

static void run_together(struct disk *disk)
{
    static void *(*const runs[])(void *) = { run_worker,  run_worker,
                                             run_worker,  run_worker,
                                             run_flusher, run_resizer };
    enum { MEMBERS = sizeof(runs) / sizeof(runs[0]) };
    struct member *members = calloc(MEMBERS, sizeof(*members));

    assert_non_null(members);
    atomic_store(&disk->running, WORKERS);
    atomic_store(&disk->resizes, RESIZES);
    for (unsigned i = 0; i < MEMBERS; i++) {
        members[i].disk = disk;
        members[i].index = i;
        members[i].random = i + 1;
        assert_int_equal(
            pthread_create(&members[i].thread, NULL, runs[i], &members[i]), 0);
    }
    for (unsigned i = 0; i < MEMBERS; i++)
        pthread_join(members[i].thread, NULL);
    for (unsigned i = 0; i < MEMBERS; i++) {
        if (members[i].result < 0)
            fail_msg("%s: thread %u: %s", disk->kind->name, i,
                     members[i].err.message);
    }
    free(members);
}

static void check_kind(const struct kind *kind)
{
    struct disk disk = { .kind = kind };

    disk.used_bytes =
        SHARED_BYTES + (size_t)WORKERS * OWN_CLUSTERS * kind->cluster_bytes;
    disk.model = malloc(MOST_BYTES);
    assert_non_null(disk.model);
    new_backing(&disk);
    new_image(&disk);
    open_disk(&disk, BYRE_OPEN_WRITE);
    run_together(&disk);
    check_disk(&disk);
    assert_int_equal(byre_close(disk.img, NULL), 0);

    /* An open for writing refuses tables that overlap or count as free. */
    open_disk(&disk, BYRE_OPEN_WRITE);
    check_disk(&disk);
    assert_int_equal(byre_close(disk.img, NULL), 0);
    open_disk(&disk, 0);
    check_disk(&disk);
    assert_int_equal(byre_close(disk.img, NULL), 0);
    byre_store_unref(disk.store);
    assert_int_equal(byre_close(disk.backing, NULL), 0);
    free(disk.model);
}

static void threads_keep_their_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        check_kind(&kinds[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_keep_their_bytes),
    };

    return cmocka_run_group_tests_name("write threads", tests, NULL, NULL);
}
