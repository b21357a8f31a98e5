/* SPDX-License-Identifier: MIT */
/*
 * Without these, the engines could be right in every part and wrong together:
 * many threads on one image, failures at any read, permissions, classes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>

#include <cmocka.h>
#undef fail /* the macro of cmocka; base/error.h has a function */

#include "base/error.h"
#include "base/workers.h"
#include "image_builder.h"

#define CLUSTERS 8u

/*
 * Clusters: 0 data, 1 zero, 2 compressed, 3 unallocated, 4 zero with space,
 * 5 compressed in the middle of a host cluster, 6 and 7 data in a row.
 */
static void build_mixed(struct builder *b)
{
    builder_init(b, CLUSTERS);
    builder_data(b, 0, 0, 0x10);
    builder_entry(b, 1, QCOW2_ENTRY_ZERO);
    builder_compressed(b, 2, 1, 0, 0x12);
    builder_entry(b, 4,
                  (BUILDER_FIRST_DATA + 4 * BUILDER_CLUSTER) |
                      QCOW2_ENTRY_COPIED | QCOW2_ENTRY_ZERO);
    builder_compressed(b, 5, 1, 3001, 0x15);
    builder_data(b, 6, 2, 0x16);
    builder_data(b, 7, 3, 0x17);
}

static const uint8_t want_bytes[CLUSTERS] = { 0x10, 0,    0x12, 0,
                                              0,    0x15, 0x16, 0x17 };

static void assert_content(struct byre *img, uint64_t offset, size_t length,
                           uint8_t *buf)
{
    struct byre_error err = { .message = "" };

    memset(buf, 0xee, length);
    assert_int_equal(byre_read(img, offset, buf, length, &err), BYRE_OK);
    for (size_t i = 0; i < length; i++)
        assert_int_equal(buf[i], want_bytes[(offset + i) / BUILDER_CLUSTER]);
}

static struct byre *open_built(struct builder *b,
                               const struct byre_open_options *opts)
{
    struct byre_store *store = builder_store(b);
    struct byre_error err = { .message = "" };
    struct byre *img = NULL;

    if (byre_open_store(store, NULL, opts, &img, &err) < 0)
        print_error("%s\n", err.message);
    assert_non_null(img);
    byre_store_unref(store);
    return img;
}

static void test_reads_of_any_alignment(void **state)
{
    static const struct {
        uint64_t offset;
        size_t length;
    } reads[] = {
        { 0, CLUSTERS * BUILDER_CLUSTER },
        { 1, 1 },
        { 65535, 2 },
        { 2 * 65536 + 4095, 4097 },
        { 65536 + 7, 3 * 65536 },
        { 5 * 65536 - 1, 65536 + 2 },
        { 8 * 65536 - 1, 1 },
        { 8 * 65536, 0 },
    };
    uint8_t *buf = malloc(CLUSTERS * BUILDER_CLUSTER);
    struct builder b;
    struct byre *img;

    (void)state;
    build_mixed(&b);
    img = open_built(&b, NULL);
    for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++)
        assert_content(img, reads[i].offset, reads[i].length, buf);
    assert_int_equal(byre_read(img, 8 * 65536, buf, 1, NULL), BYRE_E_INVALID);
    assert_int_equal(byre_read(img, UINT64_MAX, buf, 2, NULL), BYRE_E_INVALID);
    byre_close(img, NULL);
    builder_done(&b);
    free(buf);
}

static void test_classes(void **state)
{
    static const struct {
        uint32_t cluster_class;
        uint64_t clusters;
        uint64_t host_offset;
    } want[] = {
        { BYRE_CLASS_NORMAL, 1, BUILDER_FIRST_DATA },
        { BYRE_CLASS_ZERO_PLAIN, 1, BYRE_NO_OFFSET },
        { BYRE_CLASS_COMPRESSED, 1, BUILDER_FIRST_DATA + BUILDER_CLUSTER },
        { BYRE_CLASS_UNALLOCATED, 1, BYRE_NO_OFFSET },
        { BYRE_CLASS_ZERO_ALLOCATED, 1,
          BUILDER_FIRST_DATA + 4 * BUILDER_CLUSTER },
        { BYRE_CLASS_COMPRESSED, 1,
          BUILDER_FIRST_DATA + BUILDER_CLUSTER + 3001 },
        { BYRE_CLASS_NORMAL, 2, BUILDER_FIRST_DATA + 2 * BUILDER_CLUSTER },
    };
    struct byre_extent extents[16];
    struct builder b;
    struct byre *img;
    size_t count = 0;

    (void)state;
    build_mixed(&b);
    img = open_built(&b, NULL);
    assert_int_equal(byre_extents(img, 0, CLUSTERS * BUILDER_CLUSTER,
                                  BYRE_EXTENTS_CLASSES, extents, 16, &count,
                                  NULL),
                     BYRE_OK);
    assert_int_equal(count, sizeof(want) / sizeof(want[0]));
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(extents[i].cluster_class, want[i].cluster_class);
        assert_int_equal(extents[i].length, want[i].clusters * BUILDER_CLUSTER);
        assert_int_equal(extents[i].host_offset, want[i].host_offset);
    }
    byre_close(img, NULL);
    builder_done(&b);
}

/* Subclusters have classes of their own, and read as each of them says. */
static void test_subcluster_classes(void **state)
{
    static const struct {
        uint32_t cluster_class;
        uint64_t subclusters;
        int byte; /* -1: reading fails */
    } want[] = {
        { BYRE_CLASS_NORMAL, 2, 0x20 },    { BYRE_CLASS_ZERO_ALLOCATED, 3, 0 },
        { BYRE_CLASS_RESERVED, 27, 0 },    { BYRE_CLASS_ZERO_PLAIN, 1, 0 },
        { BYRE_CLASS_UNALLOCATED, 31, 0 }, { BYRE_CLASS_INVALID, 32, -1 },
    };
    const uint64_t subcluster = BUILDER_CLUSTER / QCOW2_SUBCLUSTERS;
    struct byre_extent extents[16];
    struct builder b;
    struct byre *img;
    size_t count = 0;

    (void)state;
    builder_init(&b, 3);
    b.header.incompatible = QCOW2_INCOMPAT_EXTENDED_L2;
    builder_data(&b, 0, 0, 0x20); /* for its bytes; the entry is below */
    be64_put(b.bytes + BUILDER_L2, BUILDER_FIRST_DATA | QCOW2_ENTRY_COPIED);
    be64_put(b.bytes + BUILDER_L2 + 8, UINT64_C(0x1c) << 32 | 0x3);
    be64_put(b.bytes + BUILDER_L2 + 16, 0);
    be64_put(b.bytes + BUILDER_L2 + 24, UINT64_C(0x1) << 32);
    be64_put(b.bytes + BUILDER_L2 + 32, 0);
    be64_put(b.bytes + BUILDER_L2 + 40, 0x80);
    img = open_built(&b, NULL);
    assert_int_equal(byre_extents(img, 0, 3 * BUILDER_CLUSTER,
                                  BYRE_EXTENTS_CLASSES, extents, 16, &count,
                                  NULL),
                     BYRE_OK);
    assert_int_equal(count, sizeof(want) / sizeof(want[0]));
    for (size_t i = 0; i < count; i++) {
        uint8_t bytes[2] = { 0xee, 0xee };
        const int r = byre_read(img, extents[i].offset + extents[i].length - 2,
                                bytes, 2, NULL);

        assert_int_equal(extents[i].cluster_class, want[i].cluster_class);
        assert_int_equal(extents[i].length, want[i].subclusters * subcluster);
        assert_int_equal(r, want[i].byte < 0 ? BYRE_E_CORRUPT : BYRE_OK);
        if (r == BYRE_OK)
            assert_true(bytes[0] == want[i].byte && bytes[1] == want[i].byte);
    }
    byre_close(img, NULL);
    builder_done(&b);
}

/* An entry the format forbids is a class of its own, and an error to read. */
static void test_invalid_entries(void **state)
{
    struct byre_extent extents[4];
    struct byre_error err;
    struct builder b;
    struct byre *img;
    uint8_t byte;
    size_t count = 0;

    (void)state;
    builder_init(&b, 2);
    builder_entry(&b, 0, BUILDER_FIRST_DATA + 512);
    img = open_built(&b, NULL);
    assert_int_equal(byre_read(img, 0, &byte, 1, &err), BYRE_E_CORRUPT);
    assert_non_null(strstr(err.message, "no multiple of the cluster size"));
    assert_int_equal(
        byre_extents(img, 0, 2 * BUILDER_CLUSTER, 0, extents, 4, &count, &err),
        BYRE_E_CORRUPT);
    assert_int_equal(byre_extents(img, 0, 2 * BUILDER_CLUSTER,
                                  BYRE_EXTENTS_CLASSES, extents, 4, &count,
                                  &err),
                     BYRE_OK);
    assert_int_equal(extents[0].cluster_class, BYRE_CLASS_INVALID);
    assert_int_equal(extents[1].cluster_class, BYRE_CLASS_UNALLOCATED);
    byre_close(img, NULL);
    builder_done(&b);
}

/* What an image names is not opened, and not silently left out either. */
static void test_names_need_permission(void **state)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre_store *store;
    struct byre_error err;
    struct byre *img = NULL;
    struct builder b;

    (void)state;
    builder_init(&b, 2);
    b.header.backing_offset = 512;
    b.header.backing_bytes = 11;
    memcpy(b.bytes + 512, "/etc/passwd", 11);
    store = builder_store(&b);
    assert_int_equal(byre_open_store(store, NULL, NULL, &img, &err),
                     BYRE_E_POLICY);
    assert_non_null(strstr(err.message, "/etc/passwd"));

    opts.flags = BYRE_OPEN_FOLLOW_BACKING;
    assert_int_equal(byre_open_store(store, NULL, &opts, &img, &err),
                     BYRE_E_POLICY);
    assert_non_null(strstr(err.message, "is not recorded"));

    opts.flags = BYRE_OPEN_NO_BACKING;
    assert_int_equal(byre_open_store(store, NULL, &opts, &img, &err), BYRE_OK);
    byre_close(img, NULL);

    opts.flags = BYRE_OPEN_METADATA_ONLY;
    assert_int_equal(byre_open_store(store, NULL, &opts, &img, &err), BYRE_OK);
    assert_int_equal(byre_read(img, 0, &opts, 1, NULL), BYRE_E_STATE);
    byre_close(img, NULL);
    byre_store_unref(store);
    builder_done(&b);
}

static int refuse_ref(void *user, const struct byre_ref *ref,
                      struct byre_error *err)
{
    assert_int_equal(ref->kind, BYRE_REF_BACKING);
    assert_string_equal(ref->stored, "/etc/passwd");
    *(int *)user += 1;
    return fail(err, BYRE_E_POLICY, "not that one");
}

static void test_the_gate_is_asked(void **state)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre_store *store;
    struct byre_error err;
    struct byre *img = NULL;
    struct builder b;
    int asked = 0;

    (void)state;
    builder_init(&b, 2);
    b.header.backing_offset = 512;
    b.header.backing_bytes = 11;
    memcpy(b.bytes + 512, "/etc/passwd", 11);
    store = builder_store(&b);
    opts.flags = BYRE_OPEN_FOLLOW_BACKING | BYRE_OPEN_PROBE_BACKING;
    opts.user = &asked;
    opts.allow_ref = refuse_ref;
    assert_int_equal(byre_open_store(store, NULL, &opts, &img, &err),
                     BYRE_E_POLICY);
    assert_string_equal(err.message, "not that one");
    assert_int_equal(asked, 1);
    byre_store_unref(store);
    builder_done(&b);
}

static void test_options_are_checked(void **state)
{
    struct {
        struct byre_open_options opts;
        uint8_t newer[16];
    } grown = { BYRE_OPEN_OPTIONS_INIT, { 0 } };
    struct byre_store *store;
    struct byre *img = NULL;
    struct builder b;

    (void)state;
    builder_init(&b, 2);
    store = builder_store(&b);
    grown.opts.size = sizeof(grown);
    assert_int_equal(byre_open_store(store, NULL, &grown.opts, &img, NULL),
                     BYRE_OK);
    byre_close(img, NULL);
    grown.newer[3] = 1;
    assert_int_equal(byre_open_store(store, NULL, &grown.opts, &img, NULL),
                     BYRE_E_INVALID);
    grown.newer[3] = 0;
    grown.opts.flags = UINT32_C(1) << 31;
    assert_int_equal(byre_open_store(store, NULL, &grown.opts, &img, NULL),
                     BYRE_E_INVALID);
    grown.opts.flags = BYRE_OPEN_NO_PROBE;
    assert_int_equal(byre_open_store(store, NULL, &grown.opts, &img, NULL),
                     BYRE_E_POLICY);
    byre_store_unref(store);
    builder_done(&b);
}

/* ---- Failures ---- */

/* A store whose n-th read fails. */
struct failing {
    const uint8_t *bytes;
    size_t length;
    atomic_int reads_left;
};

static int failing_read(void *user, uint64_t offset, void *buf, size_t length,
                        struct byre_error *err)
{
    struct failing *failing = user;
    size_t n = offset < failing->length ? failing->length - (size_t)offset : 0;

    if (atomic_fetch_sub(&failing->reads_left, 1) == 1)
        return fail_errno(err, 5, "read at %llu", (unsigned long long)offset);
    n = n < length ? n : length;
    memcpy(buf, failing->bytes + offset, n);
    memset((uint8_t *)buf + n, 0, length - n);
    return BYRE_OK;
}

static int failing_size(void *user, uint64_t *ret_size, struct byre_error *err)
{
    (void)err;
    *ret_size = ((struct failing *)user)->length;
    return BYRE_OK;
}

static const struct byre_store_ops failing_ops = {
    .size = sizeof(failing_ops),
    .read = failing_read,
    .get_size = failing_size,
};

/* Opens, lists and reads everything; the first failure ends it. */
static int use_image(struct byre_store *store, struct byre_error *err)
{
    uint8_t *buf = malloc(CLUSTERS * BUILDER_CLUSTER);
    const struct byre_snapshot *snapshots;
    struct byre *img = NULL;
    size_t count;
    int r;

    r = byre_open_store(store, NULL, NULL, &img, err);
    if (r == BYRE_OK)
        r = byre_snapshot_list(img, &snapshots, &count, err);
    if (r == BYRE_OK)
        r = byre_read(img, 0, buf, CLUSTERS * BUILDER_CLUSTER, err);
    if (r == BYRE_OK)
        r = byre_read(img, 2 * BUILDER_CLUSTER + 1, buf, 100, err);
    byre_close(img, NULL);
    free(buf);
    return r;
}

static void test_every_read_may_fail(void **state)
{
    struct builder b;
    int n, r = BYRE_E_IO;

    (void)state;
    build_mixed(&b);
    b.header.snapshot_count = 2;
    b.header.snapshots_offset = 9 * BUILDER_CLUSTER;
    builder_finish(&b);
    for (n = 1; r < 0; n++) {
        struct failing failing = { b.bytes, b.length, n };
        struct byre_error err = { .message = "" };
        struct byre_store *store = NULL;

        assert_int_equal(byre_store_new(&failing_ops, &failing, &store, NULL),
                         BYRE_OK);
        r = use_image(store, &err);
        if (r < 0) {
            assert_int_equal(r, BYRE_E_IO);
            assert_int_equal(err.sys_errno, 5);
            assert_non_null(strstr(err.message, "Input/output error"));
        }
        byre_store_unref(store);
        assert_true(n < 100);
    }
    assert_true(n > 8);
    builder_done(&b);
}

/* ---- Threads ---- */

struct shared {
    struct byre *img;
    atomic_int next_seed;
    atomic_int wrong;
};

static void read_at_random(void *user)
{
    struct shared *shared = user;
    uint64_t random = (uint64_t)atomic_fetch_add(&shared->next_seed, 1) + 1;
    uint8_t buf[8192];

    for (int i = 0; i < 3000; i++) {
        uint64_t offset;
        size_t length;

        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        length = (random >> 20) % sizeof(buf) + 1;
        offset = (random >> 33) % (CLUSTERS * BUILDER_CLUSTER - length);
        if (byre_read(shared->img, offset, buf, length, NULL) < 0)
            atomic_store(&shared->wrong, 1);
        for (size_t j = 0; j < length; j++) {
            if (buf[j] != want_bytes[(offset + j) / BUILDER_CLUSTER])
                atomic_store(&shared->wrong, 1);
        }
    }
}

/* A small cluster cache, so that threads also fight over its slots. */
static void test_many_threads_read(void **state)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct shared shared = { 0 };
    struct builder b;

    (void)state;
    opts.cluster_cache_bytes = 1;
    opts.table_cache_bytes = 1;
    build_mixed(&b);
    shared.img = open_built(&b, &opts);
    workers_run(8, read_at_random, &shared);
    assert_int_equal(shared.wrong, 0);
    byre_close(shared.img, NULL);
    builder_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_of_any_alignment),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_subcluster_classes),
        cmocka_unit_test(test_invalid_entries),
        cmocka_unit_test(test_names_need_permission),
        cmocka_unit_test(test_the_gate_is_asked),
        cmocka_unit_test(test_options_are_checked),
        cmocka_unit_test(test_every_read_may_fail),
        cmocka_unit_test(test_many_threads_read),
    };

    return cmocka_run_group_tests_name("image", tests, NULL, NULL);
}
