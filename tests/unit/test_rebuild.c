/* SPDX-License-Identifier: MIT */
/*
 * Without these, an image that was not closed could be opened for writing with
 * refcounts that call used clusters free, or be lost to the repair itself
 * because it believed a table that lies.
 */
#include "rebuild_image.h"

#include "image_builder.h"

#define ABORT " -c abort img || true"
#define LUKS                                                                   \
    "--object secret,id=s,data=abc --image-opts "                              \
    "driver=qcow2,file.filename=img,encrypt.key-secret=s"

/* ---- Images of all kinds ---- */

static const struct {
    const char *name;
    const char *make;    /* leaves "img" */
    const char *options; /* how qemu-img opens it; NULL: by its name */
    bool has_snapshot;   /* "a" */
} images[] = {
    { .name = "lazy",
      .make = CREATE "lazy_refcounts=on img 64M;"
                     "qemu-io -c 'write -P 1 0 1M' -c 'write -P 2 10M 3M'"
                     " -c 'write -z 2M 64k' -c flush" ABORT },
    { .name = "small clusters, many blocks",
      .make = CREATE "lazy_refcounts=on,cluster_size=512,refcount_bits=64 img "
                     "8M; qemu-io -c 'write -P 1 0 3M' -c 'write -P 2 5M 1M'"
                     " -c flush" ABORT },
    { .name = "snapshots",
      .make = CREATE "lazy_refcounts=on,cluster_size=4k img 16M;"
                     "qemu-io -c 'write -P 1 0 4M' img;"
                     "qemu-img snapshot -c a img;"
                     "qemu-io -c 'write -P 2 1M 1M' img;"
                     "qemu-img snapshot -c b img;"
                     "qemu-io -c 'write -P 3 2M 5M' -c flush" ABORT,
      .has_snapshot = true },
    { .name = "refcounts of 1 bit",
      .make = CREATE "lazy_refcounts=on,refcount_bits=1,cluster_size=1k img 8M;"
                     "qemu-io -c 'write -P 1 0 4M' -c flush" ABORT },
    { .name = "refcounts of 2 bits",
      .make = CREATE "refcount_bits=2,cluster_size=4k img 16M;"
                     "qemu-io -c 'write -P 1 0 4M' img;"
                     "qemu-img snapshot -c a img; qemu-img snapshot -c b img;"
                     "qemu-io -c 'write -P 3 2M 1M' img",
      .has_snapshot = true },
    { .name = "refcounts of 8 bits",
      .make = CREATE "refcount_bits=8,cluster_size=512 img 1M;"
                     "qemu-io -c 'write -P 1 0 600k' img" },
    { .name = "refcounts of 32 bits",
      .make = CREATE "refcount_bits=32,cluster_size=512 img 1M;"
                     "qemu-io -c 'write -P 1 0 600k' img" },
    { .name = "large clusters",
      .make = CREATE "cluster_size=2M img 64M;"
                     "qemu-io -c 'write -P 1 1M 4M' img" },
    { .name = "subclusters",
      .make = CREATE "extended_l2=on,cluster_size=16k,lazy_refcounts=on img "
                     "16M; qemu-io -c 'write -P 1 0 1M' -c 'write -P 2 3M 512'"
                     " -c 'write -z 4M 1k' img; qemu-img snapshot -c a img;"
                     "qemu-io -c 'write -P 3 512k 1k' -c flush" ABORT,
      .has_snapshot = true },
    { .name = "deflate",
      .make = "head -c 3000000 /dev/urandom | od -x >raw;"
              "qemu-img convert -f raw -O qcow2 -c raw img;"
              "qemu-io -c 'write -P 1 128k 64k' img;"
              "qemu-img snapshot -c a img",
      .has_snapshot = true },
    { .name = "zstd",
      .make = "head -c 300000 /dev/urandom | od -x >raw;"
              "qemu-img convert -f raw -O qcow2 -c"
              " -o compression_type=zstd,cluster_size=4k raw img" },
    { .name = "data file",
      .make = CREATE "data_file=data img 4M; qemu-io -c 'write -P 1 0 1M'"
                     " -c 'write -z 2M 64k' -c 'write -P 2 3M 1k' img" },
    { .name = "bitmaps",
      .make = CREATE "cluster_size=4k img 64M; qemu-img bitmap --add -g 512 img"
                     " one; qemu-io -c 'write -P 1 0 1M' img;"
                     "qemu-img bitmap --add img two" },
    { .name = "version 2",
      .make = CREATE "compat=0.10,cluster_size=4k img 16M;"
                     "qemu-io -c 'write -P 1 0 4M' img;"
                     "qemu-img snapshot -c a img;"
                     "qemu-io -c 'write -P 2 1M 1M' img",
      .has_snapshot = true },
    { .name = "preallocated",
      .make = CREATE "preallocation=metadata,cluster_size=4k img 8M" },
    { .name = "empty", .make = CREATE "cluster_size=64k img 0" },
    { .name = "LUKS",
      .make = "qemu-img create -q -f qcow2 --object secret,id=s,data=abc -o "
              "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=300,"
              "cluster_size=4k img 4M;"
              "qemu-io -c 'write -P 1 0 1M' " LUKS,
      .options = LUKS },
};

/* Rebuilds a copy of the image, and gives it. */
static struct byre_store *rebuild_copy(const uint8_t *bytes, size_t length,
                                       uint64_t budget_bytes)
{
    struct byre_store *store = store_of(bytes, length);
    struct byre_error err = { .message = "" };
    struct qcow2 *qcow2 = open_image(store);
    struct qcow2 *again;

    assert_int_equal(qcow2_rebuild_refcounts(qcow2, budget_bytes, &err),
                     BYRE_OK);
    assert_string_equal(err.message, "");
    again = open_image(store);
    assert_false(is_dirty(again));
    assert_int_equal(qcow2->header.refcount_table_offset,
                     again->header.refcount_table_offset);
    assert_int_equal(qcow2->header.refcount_table_clusters,
                     again->header.refcount_table_clusters);
    assert_int_equal(qcow2->header.incompatible, again->header.incompatible);
    if (judge_image(again, &err) < 0)
        print_error("%s\n", err.message);
    assert_string_equal(err.message, "");
    close_image(again);
    close_image(qcow2);
    return store;
}

static void assert_same_bytes(struct byre_store *a, struct byre_store *b)
{
    size_t a_length, b_length;
    uint8_t *a_bytes = copy_bytes(a, &a_length);
    uint8_t *b_bytes = copy_bytes(b, &b_length);

    assert_int_equal(a_length, b_length);
    assert_memory_equal(a_bytes, b_bytes, a_length);
    free(a_bytes);
    free(b_bytes);
}

static void rebuild_bytes(const uint8_t *bytes, size_t length,
                          const char *options, bool has_snapshot)
{
    struct byre_store *small = rebuild_copy(bytes, length, SMALL_BUDGET);
    struct byre_store *large = rebuild_copy(bytes, length, LARGE_BUDGET);
    struct byre_store *twice;
    size_t large_length;
    uint8_t *large_bytes = copy_bytes(large, &large_length);

    assert_same_bytes(small, large);
    save_file(large, "img");
    qemu_judges(options, has_snapshot);
    twice = rebuild_copy(large_bytes, large_length, LARGE_BUDGET);
    save_file(twice, "img");
    qemu_judges(options, has_snapshot);
    free(large_bytes);
    byre_store_unref(small);
    byre_store_unref(large);
    byre_store_unref(twice);
}

static void rebuild_image(size_t index)
{
    const char *options =
        images[index].options != NULL ? images[index].options : "img";
    const bool has_snapshot = images[index].has_snapshot;
    struct byre_store *store;
    uint8_t *bytes;
    size_t length;
    char line[1024];

    print_message("image: %s\n", images[index].name);
    must_run(images[index].make);
    snprintf(line, sizeof(line), "qemu-img convert -O raw %s content", options);
    must_run(line);
    if (has_snapshot)
        must_run("qemu-img convert -O raw -l a img snapshot");

    bytes = load_file("img", &length);
    rebuild_bytes(bytes, length, options, has_snapshot);
    store = store_of(bytes, length);
    free(bytes);
    spoil(store);
    bytes = copy_bytes(store, &length);
    byre_store_unref(store);
    rebuild_bytes(bytes, length, options, has_snapshot);
    free(bytes);
    must_run("rm -f img content snapshot again raw data");
}

static void test_images_of_all_kinds(void **state)
{
    (void)state;
    if (!have_qemu())
        skip();
    for (size_t i = 0; i < sizeof(images) / sizeof(images[0]); i++)
        rebuild_image(i);
}

/* ---- What is left to check ---- */

#define COPIED  QCOW2_ENTRY_COPIED
#define DATA(n) (BUILDER_FIRST_DATA + (n)*BUILDER_CLUSTER)

/* A word in a valid image that makes it one that cannot be. */
static const struct {
    const char *name;
    uint64_t at;
    uint64_t word;
    const char *says;
    uint32_t version;      /* 0: 3 */
    uint64_t incompatible; /* more of them */
    uint32_t order;        /* of refcounts; 0: 4 */
    bool is_fine;
} lies[] = {
    { .name = "nothing", .at = BUILDER_L2 + 64, .is_fine = true },
    { .name = "an unaligned cluster",
      .at = BUILDER_L2 + 64,
      .word = (DATA(1) + 512) | COPIED,
      .says = "is not aligned" },
    { .name = "an unaligned L2 table",
      .at = BUILDER_L1 + 8,
      .word = (DATA(1) + 512) | COPIED,
      .says = "is not aligned" },
    { .name = "a cluster past the end",
      .at = BUILDER_L2 + 64,
      .word = BUILDER_FILE_BYTES | COPIED,
      .says = "past the end of the file" },
    { .name = "an L2 table far past the end",
      .at = BUILDER_L1 + 8,
      .word = UINT64_C(0x80000000000000) | COPIED,
      .says = "past the end of the file" },
    { .name = "reserved bits of L2",
      .at = BUILDER_L2 + 64,
      .word = DATA(1) | COPIED | 2,
      .says = "reserved bits" },
    { .name = "reserved bits of L1",
      .at = BUILDER_L1 + 8,
      .word = DATA(1) | COPIED | 1,
      .says = "reserved bits" },
    { .name = "a zero flag in version 2",
      .at = BUILDER_L2 + 64,
      .word = 1,
      .version = 2,
      .says = "zero flag" },
    { .name = "a zero cluster",
      .at = BUILDER_L2 + 64,
      .word = 1,
      .is_fine = 1 },
    { .name = "a compressed cluster that is copied",
      .at = BUILDER_L2 + 64,
      .word = DATA(1) | COPIED | QCOW2_ENTRY_COMPRESSED,
      .says = "marked as copied" },
    { .name = "a compressed cluster in a data file",
      .at = BUILDER_L2 + 64,
      .word = DATA(1) | QCOW2_ENTRY_COMPRESSED,
      .incompatible = QCOW2_INCOMPAT_DATA_FILE,
      .says = "data file is raw" },
    { .name = "L1 as data",
      .at = BUILDER_L2 + 64,
      .word = BUILDER_L1 | COPIED,
      .says = "shares the cluster" },
    { .name = "L1 as L2",
      .at = BUILDER_L1 + 8,
      .word = BUILDER_L1 | COPIED,
      .says = "shares the cluster" },
    { .name = "L2 twice",
      .at = BUILDER_L1 + 8,
      .word = BUILDER_L2 | COPIED,
      .says = "shares the cluster" },
    { .name = "L2 as data",
      .at = BUILDER_L2 + 64,
      .word = BUILDER_L2 | COPIED,
      .says = "shares the cluster" },
    { .name = "data twice",
      .at = BUILDER_L2 + 64,
      .word = DATA(0) | COPIED,
      .is_fine = true },
    { .name = "data twice, in 1 bit",
      .at = BUILDER_L2 + 64,
      .word = DATA(0) | COPIED,
      .order = UINT32_MAX,
      .says = "referred to 2 times, more than the limit of 1" },
    { .name = "a subcluster that is allocated nowhere",
      .at = BUILDER_L2 + 72,
      .word = 1,
      .incompatible = QCOW2_INCOMPAT_EXTENDED_L2,
      .says = "subclusters" },
    { .name = "a flag where nothing is",
      .at = BUILDER_L2 + 64,
      .word = COPIED,
      .is_fine = true },
    { .name = "a block far away",
      .at = BUILDER_CLUSTER,
      .word = UINT64_C(0x7000000000000000),
      .is_fine = true },
    { .name = "a block that is unaligned",
      .at = BUILDER_CLUSTER,
      .word = DATA(0) + 513,
      .is_fine = true },
};

static struct byre_store *build_lie(size_t index)
{
    struct byre_store *store;
    struct builder b;

    builder_init(&b, 8);
    b.header.version = lies[index].version != 0 ? lies[index].version : 3;
    b.header.header_bytes =
        b.header.version == 2 ? QCOW2_V2_HEADER_BYTES : QCOW2_HEADER_BYTES;
    b.header.l1_entries = 2;
    b.header.incompatible = lies[index].incompatible;
    if (b.header.version == 3)
        b.header.incompatible |= QCOW2_INCOMPAT_DIRTY;
    if (lies[index].order != 0)
        b.header.refcount_order = 0;
    builder_data(&b, 0, 0, 0x11);
    if ((lies[index].incompatible & QCOW2_INCOMPAT_DATA_FILE) != 0)
        builder_entry(&b, 0, COPIED);
    be64_put(b.bytes + lies[index].at, lies[index].word);
    store = builder_store(&b);
    builder_done(&b);
    return store;
}

static void test_lies_are_left_to_check(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct byre_store *store = build_lie(i), *before = build_lie(i);
        struct byre_error err = { .message = "" };
        struct qcow2 *qcow2 = open_image(store);
        const int r = qcow2_rebuild_refcounts(qcow2, LARGE_BUDGET, &err);

        if (r != (lies[i].is_fine ? BYRE_OK : BYRE_E_CORRUPT))
            print_error("%s: %s\n", lies[i].name, err.message);
        assert_int_equal(r, lies[i].is_fine ? BYRE_OK : BYRE_E_CORRUPT);
        if (lies[i].is_fine) {
            assert_int_equal(judge_image(qcow2, &err), BYRE_OK);
        } else {
            if (strstr(err.message, lies[i].says) == NULL)
                print_error("%s: %s\n", lies[i].name, err.message);
            assert_non_null(strstr(err.message, lies[i].says));
            assert_non_null(strstr(err.message, "run check on the image"));
            assert_same_bytes(store, before);
        }
        close_image(qcow2);
        byre_store_unref(store);
        byre_store_unref(before);
    }
}

/* ---- Devices ---- */

static void test_devices(void **state)
{
    static const struct {
        uint64_t first_used; /* from there on all slots are */
        int want;
    } cases[] = { { 4, BYRE_OK }, { 0, BYRE_E_LIMIT } };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct byre_store *store;
        struct byre_error err = { .message = "" };
        struct qcow2 *qcow2;
        struct builder b;

        builder_init(&b, 16);
        for (uint32_t slot = (uint32_t)cases[i].first_used; slot < 11; slot++)
            builder_data(&b, slot, slot, 0x20);
        store = builder_store(&b);
        builder_done(&b);
        store->identity.is_device = true;
        qcow2 = open_image(store);
        assert_int_equal(qcow2_rebuild_refcounts(qcow2, LARGE_BUDGET, &err),
                         cases[i].want);
        assert_int_equal(store_bytes(store), BUILDER_FILE_BYTES);
        if (cases[i].want == BYRE_OK)
            assert_int_equal(judge_image(qcow2, NULL), BYRE_OK);
        else
            assert_non_null(strstr(err.message, "enlarge the device"));
        close_image(qcow2);
        byre_store_unref(store);
    }
}

/* ---- Holes ---- */

#define MIDDLE (UINT64_C(1) << 43)

/* A file of 16 TiB with something at its start and in its middle. */
struct sparse {
    struct byre_store *near_start;
    struct byre_store *far_away;
    uint64_t reads;
};

static int read_sparse(void *user, uint64_t offset, void *buf, size_t length,
                       struct byre_error *err)
{
    struct sparse *sparse = user;

    sparse->reads++;
    return offset < MIDDLE
               ? store_read(sparse->near_start, offset, buf, length, err)
               : store_read(sparse->far_away, offset - MIDDLE, buf, length,
                            err);
}

static int write_sparse(void *user, uint64_t offset, const void *buf,
                        size_t length, struct byre_error *err)
{
    struct sparse *sparse = user;

    return offset < MIDDLE
               ? store_write(sparse->near_start, offset, buf, length, err)
               : store_write(sparse->far_away, offset - MIDDLE, buf, length,
                             err);
}

static int flush_sparse(void *user, struct byre_error *err)
{
    (void)user;
    (void)err;
    return BYRE_OK;
}

static int get_sparse_size(void *user, uint64_t *ret_size_bytes,
                           struct byre_error *err)
{
    (void)user;
    (void)err;
    *ret_size_bytes = 2 * MIDDLE;
    return BYRE_OK;
}

/* What nobody refers to costs no walks, however much of it there is. */
static void test_holes_cost_nothing(void **state)
{
    const struct byre_store_ops ops = {
        .size = sizeof(ops),
        .read = read_sparse,
        .write = write_sparse,
        .flush = flush_sparse,
        .get_size = get_sparse_size,
    };
    struct byre_error err = { .message = "" };
    struct sparse sparse = { .far_away = store_of("", 0) };
    struct byre_store *store = NULL;
    struct qcow2 *qcow2;
    struct builder b;

    (void)state;
    builder_init(&b, 8);
    builder_data(&b, 0, 0, 0x11);
    builder_entry(&b, 1, MIDDLE);
    sparse.near_start = builder_store(&b);
    builder_done(&b);
    assert_int_equal(byre_store_new(&ops, &sparse, &store, NULL), BYRE_OK);
    qcow2 = open_image(store);
    assert_int_equal(qcow2_rebuild_refcounts(qcow2, SMALL_BUDGET, &err),
                     BYRE_OK);
    assert_in_range(sparse.reads, 1, 200);
    assert_int_equal(stored_count(qcow2, 0), 1);
    assert_int_equal(stored_count(qcow2, 1), 0);
    assert_int_equal(stored_count(qcow2, MIDDLE / BUILDER_CLUSTER), 1);
    /* Two blocks and the table follow it. */
    assert_int_equal(stored_count(qcow2, MIDDLE / BUILDER_CLUSTER + 3), 1);
    assert_int_equal(stored_count(qcow2, MIDDLE / BUILDER_CLUSTER + 4), 0);
    close_image(qcow2);
    byre_store_unref(store);
    byre_store_unref(sparse.near_start);
    byre_store_unref(sparse.far_away);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_images_of_all_kinds),
        cmocka_unit_test(test_lies_are_left_to_check),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_holes_cost_nothing),
    };

    return cmocka_run_group_tests_name("rebuild", tests, enter_scratch,
                                       leave_scratch);
}
