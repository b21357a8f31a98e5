/* SPDX-License-Identifier: MIT */
/*
 * Without this test a bitmap directory that QEMU refuses could be read, or one
 * that it writes refused, and a bitmap's table could be taken for one of
 * another size than the disk needs.
 */
#include "format_case.h"

#include "format/bitmap.h"

#define DISK_BYTES (UINT64_C(10) << 20)

/* ---- Directory entries ---- */

static const uint8_t directory[72] = {
    0x00, 0x00, 0x00, 0x00, 0x00, 0x06, 0x00, 0x00, /* table offset */
    0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02, /* entries, flags */
    0x01, 0x10, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, /* type, bits, name */
    0x62, 0x30, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* "b0" */

    0x00, 0x00, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, /* table offset */
    0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x03, /* entries, flags */
    0x01, 0x09, 0x00, 0x0b, 0x00, 0x00, 0x00, 0x00, /* type, bits, name */
    0x6c, 0x6f, 0x6e, 0x67, 0x65, 0x72, 0x2d, 0x6e, /* "longer-n" */
    0x61, 0x6d, 0x65, 0x00, 0x00, 0x00, 0x00, 0x00, /* "ame" */
};

static void directory_is_read_and_written(void **state)
{
    uint8_t *buf = exact_copy(directory, sizeof(directory));
    uint8_t out[sizeof(directory)];
    struct qcow2_bitmap_entry entry;
    size_t entry_bytes;

    (void)state;
    memset(out, 0x5a, sizeof(out));
    assert_int_equal(qcow2_bitmap_entry_decode(buf, sizeof(directory), 16,
                                               DISK_BYTES, &entry, &entry_bytes,
                                               NULL),
                     BYRE_OK);
    assert_int_equal(entry_bytes, 32);
    assert_int_equal(entry.table_offset, 0x60000);
    assert_int_equal(entry.table_entries, 1);
    assert_int_equal(entry.flags, QCOW2_BITMAP_FLAG_AUTO);
    assert_int_equal(entry.granularity_bits, 16);
    assert_int_equal(entry.name_bytes, 2);
    assert_memory_equal(entry.name, "b0", 2);
    assert_int_equal(qcow2_bitmap_entry_bytes(&entry), 32);
    qcow2_bitmap_entry_encode(&entry, out);

    assert_int_equal(qcow2_bitmap_entry_decode(buf + 32, 40, 16, DISK_BYTES,
                                               &entry, &entry_bytes, NULL),
                     BYRE_OK);
    assert_int_equal(entry_bytes, 40);
    assert_int_equal(entry.flags,
                     QCOW2_BITMAP_FLAG_AUTO | QCOW2_BITMAP_FLAG_IN_USE);
    assert_int_equal(entry.granularity_bits, 9);
    assert_memory_equal(entry.name, "longer-name", 11);
    qcow2_bitmap_entry_encode(&entry, out + 32);
    assert_memory_equal(out, directory, sizeof(directory));
    free(buf);
}

/* Each row patches the second entry of the directory, which is in use. */
#define IN_USE                                                                 \
    {                                                                          \
        12, 4, 1                                                               \
    }
#define NOT_IN_USE                                                             \
    {                                                                          \
        12, 4, 2                                                               \
    }

/* clang-format off */
static const struct {
    const char *name;
    size_t length;
    uint64_t disk_bytes;
    struct patch patches[3];
    int want;
    const char *message;
} entry_cases[] = {
    { "as made", 40, DISK_BYTES, { { 0 } }, BYRE_OK, NULL },
    { "not in use", 40, DISK_BYTES, { NOT_IN_USE }, BYRE_OK, NULL },
    { "no flags", 40, DISK_BYTES, { { 12, 4, 0 } }, BYRE_OK, NULL },
    { "nothing", 0, DISK_BYTES, { { 0 } }, BYRE_E_CORRUPT,
      "bitmap directory entry needs 24 bytes, more than the 0 left" },
    { "fixed part cut off", 23, DISK_BYTES, { { 0 } }, BYRE_E_CORRUPT,
      "needs 24 bytes, more than the 23 left" },
    { "name cut off", 34, DISK_BYTES, { { 0 } }, BYRE_E_CORRUPT,
      "needs 40 bytes, more than the 34 left" },
    { "padding cut off", 39, DISK_BYTES, { { 0 } }, BYRE_E_CORRUPT,
      "needs 40 bytes, more than the 39 left" },
    { "only the fixed part", 24, DISK_BYTES, { { 18, 2, 0 } }, BYRE_OK, NULL },
    { "name of 1023", 40, DISK_BYTES, { { 18, 2, 1023 } }, BYRE_E_CORRUPT,
      "needs 1048 bytes, more than the 40 left" },
    { "name of 1024", 40, DISK_BYTES, { { 18, 2, 1024 } }, BYRE_E_CORRUPT,
      "bitmap name has 1024 bytes, more than the limit of 1023" },
    { "name of 65535", 40, DISK_BYTES, { { 18, 2, 65535 } }, BYRE_E_CORRUPT,
      "bitmap name has 65535 bytes" },

    { "extra data", 40, DISK_BYTES, { { 20, 4, 1 } }, BYRE_E_UNSUPPORTED,
      "bitmap directory entry has 1 bytes of extra data" },
    { "extra data of 2^32-1", 40, DISK_BYTES, { { 20, 4, UINT32_MAX } },
      BYRE_E_UNSUPPORTED, "has 4294967295 bytes of extra data" },
    { "flag 2", 40, DISK_BYTES, { { 12, 4, 6 } }, BYRE_E_UNSUPPORTED,
      "bitmap longer-name: flags 0x4 are not supported, only 0x3 are" },
    { "flag 31", 40, DISK_BYTES, { { 12, 4, 0x80000001 } },
      BYRE_E_UNSUPPORTED, "flags 0x80000000 are not supported" },
    { "type 0", 40, DISK_BYTES, { { 16, 1, 0 } }, BYRE_E_UNSUPPORTED,
      "type 0 is not supported, only 1 (dirty tracking) is" },
    { "type 2", 40, DISK_BYTES, { { 16, 1, 2 } }, BYRE_E_UNSUPPORTED,
      "bitmap longer-name: type 2 is not supported" },

    { "granularity_bits 8", 40, DISK_BYTES, { { 17, 1, 8 } }, BYRE_E_CORRUPT,
      "granularity_bits is 8, outside the limits of 9 to 31" },
    { "granularity_bits 9", 40, DISK_BYTES, { { 17, 1, 9 }, NOT_IN_USE },
      BYRE_OK, NULL },
    { "granularity_bits 31", 40, DISK_BYTES, { { 17, 1, 31 }, NOT_IN_USE },
      BYRE_OK, NULL },
    { "granularity_bits 32", 40, DISK_BYTES, { { 17, 1, 32 } },
      BYRE_E_CORRUPT, "granularity_bits is 32, outside the limits" },
    { "granularity_bits 255", 40, DISK_BYTES, { { 17, 1, 255 } },
      BYRE_E_CORRUPT, "granularity_bits is 255, outside the limits" },

    { "empty table", 40, DISK_BYTES, { { 8, 4, 0 } }, BYRE_E_CORRUPT,
      "bitmap longer-name: bitmap table has 0 entries" },
    { "empty table of an empty disk", 40, 0, { { 8, 4, 0 }, NOT_IN_USE },
      BYRE_E_CORRUPT, "bitmap table has 0 entries" },
    { "any table in use", 40, DISK_BYTES, { { 8, 4, 5 }, IN_USE },
      BYRE_OK, NULL },
    { "table too long", 40, DISK_BYTES, { { 8, 4, 2 }, NOT_IN_USE },
      BYRE_E_CORRUPT,
      "bitmap table has 2 entries, but a disk of 10485760 bytes needs 1" },
    { "table too short", 40, (UINT64_C(1) << 28) + 1, { NOT_IN_USE },
      BYRE_E_CORRUPT, "has 1 entries, but a disk of 268435457 bytes needs 2" },
    { "table that just suffices", 40, UINT64_C(1) << 28, { NOT_IN_USE },
      BYRE_OK, NULL },
    { "bitmap of 512 MiB", 40, UINT64_C(1) << 41,
      { { 8, 4, 8192 }, NOT_IN_USE }, BYRE_OK, NULL },
    { "bitmap past 512 MiB", 40, (UINT64_C(1) << 41) + 1,
      { { 8, 4, 8193 }, NOT_IN_USE }, BYRE_E_CORRUPT,
      "bitmap has 536936448 bytes, more than the limit of 536870912" },
    { "table of 2^27 entries", 40, DISK_BYTES, { { 8, 4, 0x8000000 } },
      BYRE_E_CORRUPT, "bitmap has 8796093022208 bytes" },
    { "table of 2^27 + 1 entries", 40, DISK_BYTES, { { 8, 4, 0x8000001 } },
      BYRE_E_CORRUPT,
      "bitmap table has 134217729 entries, more than the limit of 134217728" },
    { "table at 0", 40, DISK_BYTES, { { 0, 8, 0 } }, BYRE_E_CORRUPT,
      "bitmap longer-name: bitmap table is at offset 0" },
    { "table unaligned", 40, DISK_BYTES, { { 0, 8, 0x70200 } },
      BYRE_E_CORRUPT, "bitmap table at offset 459264 is not aligned" },
    { "table up to the largest offset", 40, DISK_BYTES,
      { { 0, 8, UINT64_C(0x7fffffffffff0000) }, { 8, 4, 8191 } },
      BYRE_OK, NULL },
    { "table past the largest offset", 40, DISK_BYTES,
      { { 0, 8, UINT64_C(0x7fffffffffff0000) }, { 8, 4, 8192 } },
      BYRE_E_CORRUPT, "ends past the largest offset" },
};
/* clang-format on */

static void entries_decode_or_say_why(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(entry_cases); i++) {
        const char *name = entry_cases[i].name;
        uint8_t patched[40];
        uint8_t out[40];
        struct qcow2_bitmap_entry entry;
        struct byre_error err = { .code = UNTOUCHED };
        size_t entry_bytes = 77;
        uint8_t *buf;
        int r;

        memcpy(patched, directory + 32, sizeof(patched));
        patch_apply(patched, entry_cases[i].patches,
                    COUNT_OF(entry_cases[i].patches));
        buf = exact_copy(patched, entry_cases[i].length);
        memset(&entry, 0xa5, sizeof(entry));
        r = qcow2_bitmap_entry_decode(buf, entry_cases[i].length, 16,
                                      entry_cases[i].disk_bytes, &entry,
                                      &entry_bytes, &err);
        check_result(name, r, entry_cases[i].want, entry_cases[i].message,
                     &err);
        if (r < 0) {
            CHECK(name, all_bytes_are(&entry, sizeof(entry), 0xa5));
            CHECK(name, entry_bytes == 77);
        } else {
            qcow2_bitmap_entry_encode(&entry, out);
            CHECK(name, memcmp(out, patched, entry_bytes) == 0);
        }
        free(buf);
    }
}

static void the_longest_name_is_read(void **state)
{
    const size_t bytes = 24 + 1023 + 1;
    uint8_t *buf = malloc(bytes);
    struct qcow2_bitmap_entry entry;
    size_t entry_bytes;

    (void)state;
    assert_non_null(buf);
    memset(buf, 'n', bytes);
    memcpy(buf, directory, 24);
    patch_apply(buf, &(struct patch){ 18, 2, 1023 }, 1);
    assert_int_equal(qcow2_bitmap_entry_decode(buf, bytes, 16, DISK_BYTES,
                                               &entry, &entry_bytes, NULL),
                     BYRE_OK);
    assert_int_equal(entry_bytes, bytes);
    assert_int_equal(entry.name_bytes, 1023);
    free(buf);
}

/* ---- Tables ---- */

/* clang-format off */
static const struct {
    uint64_t disk_bytes;
    uint32_t granularity_bits;
    uint32_t cluster_bits;
    uint64_t want;
} table_cases[] = {
    { 0, 16, 16, 0 },
    { 1, 16, 16, 1 },
    { DISK_BYTES, 16, 16, 1 },
    { UINT64_C(1) << 28, 9, 16, 1 },
    { (UINT64_C(1) << 28) + 1, 9, 16, 2 },
    { UINT64_C(1) << 21, 9, 9, 1 },
    { (UINT64_C(1) << 21) + 1, 9, 9, 2 },
    { UINT64_C(1) << 40, 16, 16, 32 },
    { INT64_MAX, 31, 21, 256 },
    { INT64_MAX, 9, 9, UINT64_C(1) << 42 },
    { UINT64_MAX, 9, 9, UINT64_C(1) << 43 },
};
/* clang-format on */

static void tables_have_the_entries_a_disk_needs(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table_cases); i++)
        assert_int_equal(
            qcow2_bitmap_table_entries(table_cases[i].disk_bytes,
                                       table_cases[i].granularity_bits,
                                       table_cases[i].cluster_bits),
            table_cases[i].want);
}

/* clang-format off */
static const struct {
    const char *name;
    uint64_t raw;
    uint32_t cluster_bits;
    bool want;
    enum bitmap_cluster_kind kind;
    uint64_t host_offset;
} table_entry_cases[] = {
    { "zeroes", 0, 16, true, BITMAP_CLUSTER_ZEROES, 0 },
    { "ones", 1, 16, true, BITMAP_CLUSTER_ONES, 0 },
    { "data", 0x50000, 16, true, BITMAP_CLUSTER_DATA, 0x50000 },
    { "data at 512", 0x50200, 9, true, BITMAP_CLUSTER_DATA, 0x50200 },
    { "largest offset", UINT64_C(0x00ffffffffff0000), 16, true,
      BITMAP_CLUSTER_DATA, UINT64_C(0x00ffffffffff0000) },
    { "data with bit 0", 0x50001, 16, false, BITMAP_CLUSTER_ZEROES, 0 },
    { "unaligned", 0x50200, 16, false, BITMAP_CLUSTER_ZEROES, 0 },
    { "reserved bit 1", 2, 16, false, BITMAP_CLUSTER_ZEROES, 0 },
    { "reserved bit 8", 0x100, 16, false, BITMAP_CLUSTER_ZEROES, 0 },
    { "reserved bit 8 of data", 0x50100, 9, false, BITMAP_CLUSTER_ZEROES, 0 },
    { "reserved bit 56", UINT64_C(1) << 56 | 0x50000, 16, false,
      BITMAP_CLUSTER_ZEROES, 0 },
    { "reserved bit 63", UINT64_C(1) << 63, 16, false,
      BITMAP_CLUSTER_ZEROES, 0 },
    { "ones with a reserved bit", 3, 16, false, BITMAP_CLUSTER_ZEROES, 0 },
    { "all ones", UINT64_MAX, 16, false, BITMAP_CLUSTER_ZEROES, 0 },
};
/* clang-format on */

static void table_entries_decode_and_encode(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table_entry_cases); i++) {
        const char *name = table_entry_cases[i].name;
        enum bitmap_cluster_kind kind = BITMAP_CLUSTER_ONES;
        uint64_t host_offset = 77;
        const bool ok = qcow2_bitmap_table_entry_decode(
            table_entry_cases[i].raw, table_entry_cases[i].cluster_bits, &kind,
            &host_offset);

        CHECK(name, ok == table_entry_cases[i].want);
        if (ok) {
            CHECK(name, kind == table_entry_cases[i].kind);
            CHECK(name, host_offset == table_entry_cases[i].host_offset);
            CHECK(name, qcow2_bitmap_table_entry_encode(kind, host_offset) ==
                            table_entry_cases[i].raw);
        } else {
            CHECK(name, kind == BITMAP_CLUSTER_ONES && host_offset == 77);
        }
    }
}

/* ---- Garbage ---- */

static void garbage_is_survived(void **state)
{
    uint64_t seed = 6;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint8_t patched[sizeof(directory)];
        uint8_t out[sizeof(directory)];
        const size_t length = (size_t)(next_number(&seed) % sizeof(directory));
        const uint32_t cluster_bits = 9 + (uint32_t)(next_number(&seed) % 13);
        struct qcow2_bitmap_entry entry;
        size_t entry_bytes;
        uint8_t *buf;

        memcpy(patched, directory, sizeof(directory));
        scramble(patched, 32, &seed);
        buf = exact_copy(patched, length);
        if (qcow2_bitmap_entry_decode(buf, length, cluster_bits,
                                      next_number(&seed), &entry, &entry_bytes,
                                      NULL) == BYRE_OK) {
            assert_in_range(entry_bytes, 24, length);
            qcow2_bitmap_entry_encode(&entry, out);
            assert_memory_equal(out, buf, 24 + entry.name_bytes);
        }
        free(buf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(directory_is_read_and_written),
        cmocka_unit_test(entries_decode_or_say_why),
        cmocka_unit_test(the_longest_name_is_read),
        cmocka_unit_test(tables_have_the_entries_a_disk_needs),
        cmocka_unit_test(table_entries_decode_and_encode),
        cmocka_unit_test(garbage_is_survived),
    };

    return cmocka_run_group_tests_name("format_bitmap", tests, NULL, NULL);
}
