/* SPDX-License-Identifier: MIT */
/*
 * Without these, runs could be joined that do not belong together, a damaged
 * cluster could be believed the second time, and a table could be read while
 * another thread puts a different one in its place: wrong bytes, and no error.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/workers.h"
#include "image_builder.h"

static struct byre *open_built(struct builder *b,
                               const struct byre_open_options *opts)
{
    struct byre_store *store = builder_store(b);
    struct byre *img = NULL;

    assert_int_equal(byre_open_store(store, NULL, opts, &img, NULL), BYRE_OK);
    byre_store_unref(store);
    return img;
}

struct run {
    uint32_t cluster_class;
    uint64_t length;
};

static void assert_runs(struct byre *img, uint64_t length,
                        const struct run *want, size_t want_count)
{
    struct byre_extent extents[16];
    size_t count = 0;

    assert_int_equal(byre_extents(img, 0, length, BYRE_EXTENTS_CLASSES, extents,
                                  16, &count, NULL),
                     BYRE_OK);
    assert_int_equal(count, want_count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(extents[i].cluster_class, want[i].cluster_class);
        assert_int_equal(extents[i].length, want[i].length);
    }
}

/* A run of zero subclusters that ends inside its cluster ends there. */
static void test_runs_end_inside_a_cluster(void **state)
{
    const uint64_t subcluster = BUILDER_CLUSTER / QCOW2_SUBCLUSTERS;
    const struct run want[] = {
        { BYRE_CLASS_ZERO_PLAIN, 8 * subcluster },
        { BYRE_CLASS_UNALLOCATED, 24 * subcluster },
        { BYRE_CLASS_ZERO_PLAIN, 32 * subcluster },
    };
    struct builder b;
    struct byre *img;

    (void)state;
    builder_init(&b, 2);
    b.header.incompatible = QCOW2_INCOMPAT_EXTENDED_L2;
    be64_put(b.bytes + BUILDER_L2 + 8, UINT64_C(0xff) << 32);
    be64_put(b.bytes + BUILDER_L2 + 24, UINT64_C(0xffffffff) << 32);
    img = open_built(&b, NULL);
    assert_runs(img, 2 * BUILDER_CLUSTER, want, 3);
    byre_close(img, NULL);
    builder_done(&b);
}

/* A bad L1 entry says nothing of what lies behind its range. */
static void test_a_bad_l1_entry_is_one_range(void **state)
{
    const uint64_t range = UINT64_C(512) << 20;
    const struct run want[] = {
        { BYRE_CLASS_INVALID, range },
        { BYRE_CLASS_NORMAL, BUILDER_CLUSTER },
        { BYRE_CLASS_UNALLOCATED, range - BUILDER_CLUSTER },
    };
    struct builder b;
    struct byre *img;

    (void)state;
    builder_init(&b, 1);
    builder_data(&b, 0, 0, 0x11);
    b.header.size_bytes = 2 * range;
    b.header.l1_entries = 2;
    be64_put(b.bytes + BUILDER_L1, BUILDER_L2 + 512);
    be64_put(b.bytes + BUILDER_L1 + 8, BUILDER_L2 | QCOW2_ENTRY_COPIED);
    img = open_built(&b, NULL);
    assert_runs(img, 2 * range, want, 3);
    byre_close(img, NULL);
    builder_done(&b);
}

/* ---- Compressed clusters ---- */

/* What failed to decode once is not in the cache the second time. */
static void test_a_broken_cluster_stays_broken(void **state)
{
    struct builder b;
    struct byre *img;
    uint8_t buf[512];

    (void)state;
    builder_init(&b, 2);
    builder_compressed(&b, 0, 0, 0, 0x22);
    memset(b.bytes + BUILDER_FIRST_DATA, 0xff, 512);
    img = open_built(&b, NULL);
    for (int i = 0; i < 3; i++)
        assert_int_equal(byre_read(img, 0, buf, sizeof(buf), NULL),
                         BYRE_E_CORRUPT);
    byre_close(img, NULL);
    builder_done(&b);
}

/* Two entries agree where a stream starts, and differ how far it reaches. */
static void test_spans_are_told_apart(void **state)
{
    const struct l2_format format = { .version = 3,
                                      .cluster_bits = BUILDER_CLUSTER_BITS };
    struct l2_entry entry = { .kind = L2_COMPRESSED,
                              .host_offset = BUILDER_FIRST_DATA };
    uint8_t *plain = calloc(1, BUILDER_CLUSTER);
    z_stream stream = { 0 };
    uint32_t random = 1;
    struct builder b;
    struct byre *img;
    uint8_t buf[512];

    (void)state;
    builder_init(&b, 2);
    for (int i = 0; i < 8192; i++)
        plain[i] = (uint8_t)((random = random * 1103515245 + 12345) >> 16);
    deflateInit2(&stream, 6, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY);
    stream.next_in = plain;
    stream.avail_in = BUILDER_CLUSTER;
    stream.next_out = b.bytes + BUILDER_FIRST_DATA;
    stream.avail_out = BUILDER_CLUSTER;
    deflate(&stream, Z_FINISH);
    entry.compressed_bytes = (uint32_t)stream.total_out;
    deflateEnd(&stream);
    builder_entry(&b, 0, l2_entry_encode(&entry, false, &format));
    entry.compressed_bytes = 512;
    builder_entry(&b, 1, l2_entry_encode(&entry, false, &format));

    img = open_built(&b, NULL);
    assert_int_equal(byre_read(img, 0, buf, sizeof(buf), NULL), BYRE_OK);
    assert_memory_equal(buf, plain, sizeof(buf));
    assert_int_equal(byre_read(img, BUILDER_CLUSTER, buf, sizeof(buf), NULL),
                     BYRE_E_CORRUPT);
    byre_close(img, NULL);
    builder_done(&b);
    free(plain);
}

/* ---- Tables that come and go ---- */

#define SMALL_CLUSTER 512u
#define TABLES        256u
#define TABLE_RANGE   (64u * SMALL_CLUSTER)
#define TABLES_AT     (8u * SMALL_CLUSTER)
#define DATA_AT       (TABLES_AT + TABLES * SMALL_CLUSTER)

/* Every cluster under table i reads as i: more tables than a cache holds. */
static struct byre_store *store_of_tables(void)
{
    const struct qcow2_header header = {
        .version = 3,
        .cluster_bits = 9,
        .size_bytes = (uint64_t)TABLES * TABLE_RANGE,
        .l1_entries = TABLES,
        .l1_offset = SMALL_CLUSTER,
        .refcount_table_offset = 6 * SMALL_CLUSTER,
        .refcount_table_clusters = 1,
        .refcount_order = 4,
        .header_bytes = QCOW2_HEADER_BYTES,
    };
    const size_t length = DATA_AT + TABLES * SMALL_CLUSTER;
    uint8_t *bytes = calloc(1, length);
    struct byre_store *store = NULL;

    qcow2_header_encode(&header, NULL, bytes);
    for (uint32_t i = 0; i < TABLES; i++) {
        const uint32_t table = TABLES_AT + i * SMALL_CLUSTER;
        const uint32_t data = DATA_AT + i * SMALL_CLUSTER;

        be64_put(bytes + SMALL_CLUSTER + i * 8, table);
        for (uint32_t j = 0; j < 64; j++)
            be64_put(bytes + table + j * 8, data);
        memset(bytes + data, (int)i, SMALL_CLUSTER);
    }
    assert_int_equal(byre_store_new_memory(bytes, length, &store, NULL),
                     BYRE_OK);
    free(bytes);
    return store;
}

struct shared {
    struct byre *img;
    atomic_uint next_seed;
    atomic_int wrong;
};

static void read_at_random(void *user)
{
    struct shared *shared = user;
    uint64_t random = atomic_fetch_add(&shared->next_seed, 1) + 1;

    for (int i = 0; i < 20000; i++) {
        uint64_t offset;
        uint8_t byte = 0;

        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        offset = (random >> 33) % ((uint64_t)TABLES * TABLE_RANGE);
        if (byre_read(shared->img, offset, &byte, 1, NULL) < 0 ||
            byte != (uint8_t)(offset / TABLE_RANGE))
            atomic_store(&shared->wrong, 1);
    }
}

static void test_tables_replaced_while_read(void **state)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre_store *store = store_of_tables();
    struct shared shared = { 0 };

    (void)state;
    opts.table_cache_bytes = 1;
    assert_int_equal(byre_open_store(store, NULL, &opts, &shared.img, NULL),
                     BYRE_OK);
    byre_store_unref(store);
    workers_run(4, read_at_random, &shared);
    assert_int_equal(shared.wrong, 0);
    byre_close(shared.img, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_end_inside_a_cluster),
        cmocka_unit_test(test_a_bad_l1_entry_is_one_range),
        cmocka_unit_test(test_a_broken_cluster_stays_broken),
        cmocka_unit_test(test_spans_are_told_apart),
        cmocka_unit_test(test_tables_replaced_while_read),
    };

    return cmocka_run_group_tests_name("mapping", tests, NULL, NULL);
}
