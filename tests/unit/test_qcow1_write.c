/* SPDX-License-Identifier: MIT */
/*
 * Without these, writing a version 1 image could lose what surrounds a write,
 * hand out the same bytes twice, write over a table, or be undone by a crash.
 */
#include <errno.h>
#include <pthread.h>

#include "qcow1/space.h"
#include "qcow1_case.h"

static void assert_writes(struct disk *disk, uint32_t offset, int value,
                          uint32_t length, uint32_t flags)
{
    struct byre_error err = { .message = "" };

    memset(disk->model + offset, value, length);
    if (byre_write(disk->img, offset, disk->model + offset, length, flags,
                   &err) < 0)
        flunk("%s: %s", disk->shape->name, err.message);
}

static void reopen(struct disk *disk)
{
    close_disk(disk);
    assert_layout(disk->store, disk->shape->name);
    open_disk(disk);
    assert_content(disk);
}

/* ---- Alignments ---- */

static void test_any_alignment(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++) {
        struct disk disk;
        uint64_t seed = i;

        if (!can_make(&shapes[i]))
            continue;
        disk_init(&disk, &shapes[i]);
        open_disk(&disk);
        assert_content(&disk);
        for (unsigned round = 0; round < 4; round++) {
            operate_often(&disk, &seed, 30);
            assert_content(&disk);
            reopen(&disk);
        }
        disk_done(&disk);
    }
}

/* Nothing is zero by the tables alone, and nothing changes its size. */
static void test_what_it_cannot(void **state)
{
    struct disk disk;

    (void)state;
    disk_init(&disk, &shapes[2]);
    open_disk(&disk);
    assert_int_equal(byre_zero(disk.img, 0, 4096, BYRE_WRITE_FAST_ZERO, NULL),
                     BYRE_E_UNSUPPORTED);
    assert_int_equal(byre_discard(disk.img, 0, DISK_BYTES, 0, NULL), BYRE_OK);
    assert_int_equal(byre_resize(disk.img, 2 * DISK_BYTES, 0, 0, NULL),
                     BYRE_E_UNSUPPORTED);
    reopen(&disk);
    disk_done(&disk);
}

/* ---- Compressed clusters ---- */

static void fill_random(struct disk *disk, uint32_t offset, uint32_t length)
{
    uint64_t seed = offset;

    for (uint32_t i = 0; i < length; i++)
        disk->model[offset + i] = (uint8_t)next_random(&seed, 256);
}

static void test_compressed(void **state)
{
    struct disk disk;

    (void)state;
    disk_init(&disk, &shapes[2]);
    open_disk(&disk);
    for (uint32_t i = 0; i < 8; i++)
        assert_writes(&disk, i * CLUSTER, 0x30 + (int)i, CLUSTER,
                      BYRE_WRITE_COMPRESSED);
    assert_writes(&disk, DISK_BYTES - 3 * SECTOR, 0x77, 3 * SECTOR,
                  BYRE_WRITE_COMPRESSED);
    assert_int_equal(class_at(&disk, DISK_BYTES - 1), BYRE_CLASS_COMPRESSED);
    fill_random(&disk, 9 * CLUSTER, CLUSTER);
    assert_int_equal(byre_write(disk.img, 9 * CLUSTER, disk.model + 9 * CLUSTER,
                                CLUSTER, BYRE_WRITE_COMPRESSED, NULL),
                     BYRE_OK);
    assert_int_equal(class_at(&disk, 9 * CLUSTER), BYRE_CLASS_NORMAL);
    assert_int_equal(byre_write(disk.img, 0, disk.model, CLUSTER,
                                BYRE_WRITE_COMPRESSED, NULL),
                     BYRE_E_STATE);
    assert_int_equal(class_at(&disk, 0), BYRE_CLASS_COMPRESSED);
    assert_content(&disk);

    assert_writes(&disk, CLUSTER - 5, 0x55, 10, 0);
    assert_writes(&disk, 3 * CLUSTER + SECTOR, 0x56, 2 * CLUSTER, 0);
    assert_int_equal(class_at(&disk, 0), BYRE_CLASS_NORMAL);
    assert_int_equal(class_at(&disk, 2 * CLUSTER), BYRE_CLASS_COMPRESSED);
    assert_content(&disk);
    reopen(&disk);
    disk_done(&disk);
}

static bool file_holds(struct byre_store *store, const void *bytes, size_t n)
{
    uint64_t length = 0;
    uint8_t *file;
    bool found;

    store_get_size(store, &length, NULL);
    file = malloc(length);
    store_read(store, 0, file, (size_t)length, NULL);
    found = memmem(file, (size_t)length, bytes, n) != NULL;
    free(file);
    return found;
}

/* The rest of a compressed cluster leaves the clear when part of it changes. */
static void test_compressed_and_encrypted(void **state)
{
    static const struct shape clear = { .name = "clear", 12, 9 };
    static const uint8_t aes[4] = { 0, 0, 0, 1 };
    uint8_t old[64];
    struct disk disk;

    (void)state;
    if (!can_make(&shapes[5]))
        skip();
    disk_init(&disk, &clear);
    open_disk(&disk);
    assert_writes(&disk, 0, 0x41, 3 * CLUSTER, BYRE_WRITE_COMPRESSED);
    close_disk(&disk);
    assert_int_equal(store_write(disk.store, 36, aes, sizeof(aes), NULL),
                     BYRE_OK);
    open_disk(&disk);
    assert_content(&disk);
    assert_writes(&disk, CLUSTER + 700, 0x42, 100, 0);
    assert_int_equal(class_at(&disk, CLUSTER), BYRE_CLASS_NORMAL);
    assert_int_equal(class_at(&disk, 0), BYRE_CLASS_COMPRESSED);
    assert_content(&disk);
    reopen(&disk);
    memset(old, 0x41, sizeof(old));
    assert_false(file_holds(disk.store, old, sizeof(old)));
    disk_done(&disk);
}

/* ---- Tables that lie ---- */

#define L1_AT   UINT64_C(48)
#define FIRST   UINT64_C(4096) /* the first table; its clusters follow it */
#define DATA(n) (FIRST + CLUSTER * (1 + (n)))

/* Words of an image with clusters 0 to 7 in place, and what they spoil. */
static const struct {
    const char *name;
    uint64_t at;
    uint64_t word;
    int code; /* of opening for writing */
    const char *says;
} lies[] = {
    { "nothing", L1_AT + 8, 0, BYRE_OK, "" },
    { "a table on the header", L1_AT + 8, 8, BYRE_E_CORRUPT, "the header" },
    { "a table on L1", L1_AT + 8, 56, BYRE_E_CORRUPT, "the L1 table" },
    { "two tables in one", L1_AT + 8, FIRST, BYRE_E_CORRUPT, "an L2 table" },
    { "an odd table", L1_AT + 8, DATA(9) + 4, BYRE_E_UNSUPPORTED, "of 8" },
    { "a table far away", L1_AT + 8, UINT64_C(1) << 40, BYRE_E_CORRUPT,
      "far past" },
    { "a table past all offsets", L1_AT + 8, UINT64_MAX - 7, BYRE_E_CORRUPT,
      "past the limit" },
    { "an odd L1 table", 40, 49, BYRE_E_UNSUPPORTED, "of 8" },
    { "an L1 table on the header", 40, 40, BYRE_E_CORRUPT, "the header" },
    { "data on the header", FIRST + 80, UINT64_C(1) << 63 | UINT64_C(99) << 51,
      BYRE_E_CORRUPT, "the header" },
    { "data in a table", FIRST + 64, FIRST - 512, BYRE_E_CORRUPT,
      "an L2 table" },
    { "data far away", FIRST + 64, UINT64_C(1) << 40, BYRE_E_CORRUPT,
      "far past" },
    { "data past the end", FIRST + 64, DATA(20), BYRE_OK, "" },
};

static const struct shape small_l2 = { .name = "lies", 12, 6 };

static void make_lying(struct disk *disk, uint64_t at, uint64_t word)
{
    uint8_t raw[8];

    disk_init(disk, &small_l2);
    open_disk(disk);
    assert_writes(disk, 0, 0x61, 8 * CLUSTER, 0);
    close_disk(disk);
    be64_put(raw, word);
    assert_int_equal(store_write(disk->store, at, raw, sizeof(raw), NULL),
                     BYRE_OK);
}

static void test_tables_that_lie(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct byre_error err = { .message = "" };
        struct disk disk;

        make_lying(&disk, lies[i].at, lies[i].word);
        if (try_open(&disk, disk.store, BYRE_OPEN_WRITE, &err) !=
                lies[i].code ||
            strstr(err.message, lies[i].says) == NULL)
            flunk("%s: %s", lies[i].name, err.message);
        disk_done(&disk);
        make_lying(&disk, lies[i].at, lies[i].word);
        assert_int_equal(try_open(&disk, disk.store, 0, NULL), BYRE_OK);
        disk_done(&disk);
    }
}

/* An entry that cannot be ends writing when it is met, and reading goes on. */
static void test_entry_that_cannot_be(void **state)
{
    struct byre_error err = { .message = "" };
    uint8_t byte = 1;
    struct disk disk;

    (void)state;
    make_lying(&disk, FIRST + 64, DATA(3) + 1);
    open_disk(&disk);
    assert_writes(&disk, 0, 0x62, CLUSTER, 0);
    assert_int_equal(byre_write(disk.img, 8 * CLUSTER, &byte, 1, 0, &err),
                     BYRE_E_CORRUPT);
    assert_non_null(strstr(err.message, "L2 entry"));
    assert_int_equal(byre_write(disk.img, 0, &byte, 1, 0, NULL), BYRE_E_STATE);
    assert_int_equal(byre_zero(disk.img, 0, 1, 0, NULL), BYRE_E_STATE);
    assert_int_equal(byre_flush(disk.img, NULL), BYRE_E_STATE);
    assert_int_equal(byre_read(disk.img, 0, &byte, 1, NULL), BYRE_OK);
    assert_int_equal(byte, 0x62);
    disk_done(&disk);
}

/* What a file that was cut off had behind its end is not used again. */
static void test_file_cut_off(void **state)
{
    struct disk disk;

    (void)state;
    disk_init(&disk, &small_l2);
    open_disk(&disk);
    assert_writes(&disk, 0, 0x61, 8 * CLUSTER, 0);
    close_disk(&disk);
    assert_int_equal(store_resize(disk.store, DATA(5) + SECTOR, NULL), BYRE_OK);
    memset(disk.model + 5 * CLUSTER + SECTOR, 0, 3 * CLUSTER - SECTOR);
    open_disk(&disk);
    assert_content(&disk);
    assert_writes(&disk, 20 * CLUSTER, 0x63, 4 * CLUSTER, 0);
    assert_writes(&disk, 7 * CLUSTER + 1, 0x64, 1, 0);
    reopen(&disk);
    disk_done(&disk);
}

/* A table of which the end was cut off is written where it is. */
static void test_table_cut_off(void **state)
{
    struct disk disk;

    (void)state;
    disk_init(&disk, &small_l2);
    open_disk(&disk);
    assert_writes(&disk, 0, 0x61, 1, 0);
    close_disk(&disk);
    assert_int_equal(store_resize(disk.store, FIRST + 8, NULL), BYRE_OK);
    memset(disk.model, 0, CLUSTER);
    open_disk(&disk);
    assert_content(&disk);
    assert_writes(&disk, 100 * CLUSTER, 0x62, 3 * CLUSTER, 0);
    reopen(&disk);
    disk_done(&disk);
}

/* A table made since the image was opened is guarded as the others are. */
static void test_new_table_guarded(void **state)
{
    const uint32_t range = 64 * CLUSTER;
    const uint64_t second = FIRST + 2 * CLUSTER; /* the second range's table */
    const uint64_t third = second + 2 * CLUSTER; /* not there yet */
    struct byre_error err = { .message = "" };
    uint8_t raw[8];
    struct disk disk;

    (void)state;
    disk_init(&disk, &small_l2);
    open_disk(&disk);
    assert_writes(&disk, 0, 0x61, CLUSTER, 0);
    assert_writes(&disk, range, 0x62, CLUSTER, 0);
    reopen(&disk);
    assert_writes(&disk, 2 * range, 0x63, CLUSTER, 0);
    be64_put(raw, third);
    assert_int_equal(
        store_write(disk.store, second + 16 * 8, raw, sizeof(raw), NULL),
        BYRE_OK);
    close_disk(&disk);
    assert_int_equal(try_open(&disk, disk.store, BYRE_OPEN_WRITE, NULL),
                     BYRE_E_CORRUPT);
    assert_int_equal(
        store_write(disk.store, second + 16 * 8, "\0\0\0\0\0\0\0", 8, NULL),
        BYRE_OK);
    open_disk(&disk);
    assert_writes(&disk, 3 * range, 0x64, CLUSTER, 0);
    be64_put(raw, third + 2 * CLUSTER);
    assert_int_equal(
        store_write(disk.store, second + 16 * 8, raw, sizeof(raw), NULL),
        BYRE_OK);
    assert_int_equal(
        byre_write(disk.img, range + 16 * CLUSTER, "x", 1, 0, &err),
        BYRE_E_CORRUPT);
    assert_non_null(strstr(err.message, "an L2 table"));
    disk_done(&disk);
}

/* What nothing points to is nobody's, but not ours either. */
static void test_bytes_behind(void **state)
{
    static const char text[] = "what another program keeps here";
    char found[sizeof(text)];
    uint64_t length = 0;
    struct disk disk;

    (void)state;
    disk_init(&disk, &small_l2);
    open_disk(&disk);
    assert_writes(&disk, 0, 0x61, CLUSTER, 0);
    close_disk(&disk);
    store_get_size(disk.store, &length, NULL);
    assert_int_equal(store_write(disk.store, length, text, sizeof(text), NULL),
                     BYRE_OK);
    open_disk(&disk);
    assert_writes(&disk, CLUSTER, 0x62, 80 * CLUSTER, 0);
    reopen(&disk);
    store_read(disk.store, length, found, sizeof(found), NULL);
    assert_memory_equal(found, text, sizeof(text));
    disk_done(&disk);
}

/* Only what was taken last can be taken again. */
static void test_space_given_back(void **state)
{
    struct qcow1_space space;
    uint64_t a = 0, b = 0, c = 0;

    (void)state;
    qcow1_space_init(&space);
    space.limit = 20480;
    assert_int_equal(qcow1_space_add(&space, QCOW1_HEADER, 0, 48, NULL),
                     BYRE_OK);
    assert_int_equal(qcow1_space_take(&space, 4096, 4096, &a, NULL), BYRE_OK);
    assert_int_equal(qcow1_space_take(&space, 41, 512, &b, NULL), BYRE_OK);
    assert_int_equal(a, 4096);
    assert_int_equal(b, 8192);
    qcow1_space_give_back(&space, a, 4096);
    assert_int_equal(qcow1_space_take(&space, 41, 512, &c, NULL), BYRE_OK);
    assert_int_equal(c, 8704);
    qcow1_space_give_back(&space, c, 41);
    assert_int_equal(qcow1_space_take(&space, 4096, 512, &c, NULL), BYRE_OK);
    assert_int_equal(c, 8704);
    assert_int_equal(qcow1_space_take(&space, 8192, 4096, &a, NULL),
                     BYRE_E_LIMIT);
    assert_int_equal(qcow1_space_check(&space, c, 4097, NULL), BYRE_E_CORRUPT);
    assert_int_equal(qcow1_space_check(&space, c, 4096, NULL), BYRE_OK);
    qcow1_space_done(&space);
}

/* ---- Devices ---- */

#define DEVICE_BYTES (64u * CLUSTER)

/* A device has no end that moves, and holds anything where nothing was. */
static void test_device(void **state)
{
    static const struct shape shape = { .name = "device" };
    uint8_t *old = malloc(DEVICE_BYTES);
    struct byre_error err = { .message = "" };
    struct byre_store *store;
    uint64_t size = 0;
    struct disk disk;
    uint32_t i = 0;

    (void)state;
    memset(old, 0xee, DEVICE_BYTES);
    disk_init(&disk, &shape);
    assert_int_equal(store_get_size(disk.store, &size, NULL), BYRE_OK);
    store_read(disk.store, 0, old, (size_t)size, NULL);
    byre_store_unref(disk.store);
    store = new_memory(old, DEVICE_BYTES);
    store->identity.is_device = true;
    disk.store = store_ref(store);
    memset(old, 0xee, DEVICE_BYTES);
    open_disk(&disk);
    for (; i < 20; i++)
        assert_writes(&disk, i * 3 * CLUSTER + 9, 0x70, 100, 0);
    close_disk(&disk);
    open_disk(&disk);
    assert_content(&disk);
    while (byre_write(disk.img, i * 3 * CLUSTER + 9, old, 100, 0, &err) ==
           BYRE_OK)
        memset(disk.model + i++ * 3 * CLUSTER + 9, 0xee, 100);
    assert_int_equal(err.sys_errno, ENOSPC);
    assert_in_range(i, 50, 63);
    reopen(&disk);
    assert_int_equal(store_get_size(store, &size, NULL), BYRE_OK);
    assert_int_equal(size, DEVICE_BYTES);
    disk_done(&disk);
    byre_store_unref(store);
    free(old);
}

/* ---- Threads ---- */

#define THREADS 4u
#define PIECE   700u

struct writing {
    struct disk *disk;
    unsigned number;
};

/* Each has pieces of its own, that share clusters with the others'. */
static void *write_pieces(void *user)
{
    const struct writing *writing = user;
    struct disk *disk = writing->disk;
    uint64_t seed = writing->number;
    uint8_t bytes[PIECE];

    for (unsigned n = 0; n < 300; n++) {
        const uint32_t piece =
            next_random(&seed, DISK_BYTES / PIECE / THREADS) * THREADS +
            writing->number;
        int r;

        memset(bytes, (int)(n + 1), PIECE);
        memcpy(disk->model + piece * PIECE, bytes, PIECE);
        r = byre_write(disk->img, piece * PIECE, bytes, PIECE, 0, NULL);
        if (r == BYRE_OK && n % 50 == 0)
            r = byre_flush(disk->img, NULL);
        if (r == BYRE_OK)
            r = byre_read(disk->img, piece * PIECE, bytes, PIECE, NULL);
        if (r < 0 || bytes[0] != (uint8_t)(n + 1))
            return user;
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++) {
        struct writing writing[THREADS];
        pthread_t threads[THREADS];
        struct disk disk;

        if (!can_make(&shapes[i]))
            continue;
        disk_init(&disk, &shapes[i]);
        open_disk(&disk);
        for (unsigned t = 0; t < THREADS; t++) {
            writing[t] = (struct writing){ &disk, t };
            assert_int_equal(
                pthread_create(&threads[t], NULL, write_pieces, &writing[t]),
                0);
        }
        for (unsigned t = 0; t < THREADS; t++) {
            void *failed;

            pthread_join(threads[t], &failed);
            assert_null(failed);
        }
        assert_content(&disk);
        reopen(&disk);
        disk_done(&disk);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_alignment),
        cmocka_unit_test(test_what_it_cannot),
        cmocka_unit_test(test_compressed),
        cmocka_unit_test(test_compressed_and_encrypted),
        cmocka_unit_test(test_tables_that_lie),
        cmocka_unit_test(test_entry_that_cannot_be),
        cmocka_unit_test(test_file_cut_off),
        cmocka_unit_test(test_table_cut_off),
        cmocka_unit_test(test_new_table_guarded),
        cmocka_unit_test(test_bytes_behind),
        cmocka_unit_test(test_space_given_back),
        cmocka_unit_test(test_device),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
