/* SPDX-License-Identifier: MIT */
/*
 * Without this test a snapshot could be listed with another one's fields, an
 * entry could reach past the table, and extra data that only a newer version
 * knows could be lost when the table is written again.
 */
#include "format_case.h"

#include "format/snapshot.h"

/* ---- A table of two ---- */

#define FIRST_BYTES 72
#define SECOND_BYTES                                                           \
    76 /* without the padding, which the file need not hold                    \
        */

static const uint8_t table[FIRST_BYTES + SECOND_BYTES] = {
    0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, /* L1 offset */
    0x00, 0x00, 0x00, 0x01, 0x00, 0x01, 0x00, 0x05, /* entries, id, name */
    0x6b, 0x01, 0x29, 0xa7, 0x0a, 0x82, 0xa4, 0xb0, /* date */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0xe8, /* clock */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x18, /* VM state, extra */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* VM state, 64 bits */
    0x00, 0x00, 0x00, 0x00, 0x00, 0xa0, 0x00, 0x00, /* disk size */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* icount */
    0x31, 0x66, 0x69, 0x72, 0x73, 0x74, 0x00, 0x00, /* "1", "first" */

    0x00, 0x00, 0x00, 0x00, 0x00, 0x06, 0x00, 0x00, /* L1 offset */
    0x00, 0x00, 0x00, 0x02, 0x00, 0x01, 0x00, 0x0b, /* entries, id, name */
    0x6b, 0x01, 0x29, 0xa8, 0x0a, 0xb5, 0xf9, 0x50, /* date */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* clock */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x18, /* VM state, extra */
    0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x07, /* VM state, 64 bits */
    0x00, 0x00, 0x00, 0x00, 0x01, 0x40, 0x00, 0x00, /* disk size */
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, /* icount */
    0x32, 0x73, 0x65, 0x63, 0x6f, 0x6e, 0x64, 0x2d, /* "2", "second-" */
    0x6e, 0x61, 0x6d, 0x65,                         /* "name" */
};

static void fields_are_read(void **state)
{
    uint8_t *buf = exact_copy(table, sizeof(table));
    struct qcow2_snapshot snapshot;
    size_t entry_bytes;

    (void)state;
    assert_int_equal(qcow2_snapshot_decode(buf, sizeof(table), 99, &snapshot,
                                           &entry_bytes, NULL),
                     BYRE_OK);
    assert_int_equal(entry_bytes, FIRST_BYTES);
    assert_int_equal(snapshot.l1_offset, 0x40000);
    assert_int_equal(snapshot.l1_entries, 1);
    assert_int_equal(snapshot.date_sec, 0x6b0129a7);
    assert_int_equal(snapshot.date_nsec, 0x0a82a4b0);
    assert_int_equal(snapshot.vm_clock_nsec, 1000);
    assert_int_equal(snapshot.vm_state_bytes, 0);
    assert_int_equal(snapshot.size_bytes, 10 << 20);
    assert_int_equal(snapshot.icount, 0);
    assert_int_equal(snapshot.extra_bytes, 24);
    assert_int_equal(snapshot.unknown_extra_bytes, 0);
    assert_int_equal(snapshot.id_bytes, 1);
    assert_memory_equal(snapshot.id, "1", 1);
    assert_int_equal(snapshot.name_bytes, 5);
    assert_memory_equal(snapshot.name, "first", 5);

    assert_int_equal(qcow2_snapshot_decode(buf + FIRST_BYTES, SECOND_BYTES, 99,
                                           &snapshot, &entry_bytes, NULL),
                     BYRE_OK);
    assert_int_equal(entry_bytes, SECOND_BYTES);
    assert_int_equal(snapshot.l1_entries, 2);
    assert_int_equal(snapshot.vm_state_bytes, UINT64_C(0x100000007));
    assert_int_equal(snapshot.size_bytes, 20 << 20);
    assert_int_equal(snapshot.icount, BYRE_NO_ICOUNT);
    assert_memory_equal(snapshot.name, "second-name", 11);
    free(buf);
}

static void the_table_survives_a_round_trip(void **state)
{
    uint8_t out[sizeof(table) + 4];
    struct qcow2_snapshot snapshot;
    size_t position = 0;
    size_t entry_bytes;

    (void)state;
    memset(out, 0x5a, sizeof(out));
    while (position < sizeof(table)) {
        assert_int_equal(qcow2_snapshot_decode(table + position,
                                               sizeof(table) - position, 99,
                                               &snapshot, &entry_bytes, NULL),
                         BYRE_OK);
        qcow2_snapshot_encode(&snapshot, out + position);
        position += entry_bytes;
    }
    assert_memory_equal(out, table, sizeof(table));
    assert_true(all_bytes_are(out + sizeof(table), 4, 0));
}

/* The 32-bit field is 0 where the state is too long for it. */
static void vm_state_is_stored_twice_if_it_fits(void **state)
{
    static const struct {
        uint64_t vm_state_bytes;
        const char *want;
    } cases[] = {
        { 0, "\0\0\0\0" },
        { 0x12345678, "\x12\x34\x56\x78" },
        { UINT32_MAX, "\xff\xff\xff\xff" },
        { UINT64_C(1) << 32, "\0\0\0\0" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct qcow2_snapshot snapshot = {
            .vm_state_bytes = cases[i].vm_state_bytes,
            .extra_bytes = QCOW2_SNAPSHOT_EXTRA_BYTES,
        };
        struct qcow2_snapshot again;
        uint8_t out[64];
        size_t entry_bytes;

        qcow2_snapshot_encode(&snapshot, out);
        assert_memory_equal(out + 32, cases[i].want, 4);
        assert_int_equal(qcow2_snapshot_decode(out, sizeof(out), 0, &again,
                                               &entry_bytes, NULL),
                         BYRE_OK);
        assert_int_equal(again.vm_state_bytes, cases[i].vm_state_bytes);
    }
}

/* ---- Extra data ---- */

/* clang-format off */
static const struct {
    const char *name;
    uint32_t extra_bytes;
    uint64_t vm_state_bytes;
    uint64_t size_bytes;
    uint64_t icount;
    uint32_t unknown_extra_bytes;
} extra_cases[] = {
    { "none", 0, 5, 77, BYRE_NO_ICOUNT, 0 },
    { "part of the VM state", 7, 5, 77, BYRE_NO_ICOUNT, 0 },
    { "VM state", 8, 0x100000001, 77, BYRE_NO_ICOUNT, 0 },
    { "part of the size", 15, 0x100000001, 77, BYRE_NO_ICOUNT, 0 },
    { "size", 16, 0x100000001, 0x200000, BYRE_NO_ICOUNT, 0 },
    { "part of the icount", 23, 0x100000001, 0x200000, BYRE_NO_ICOUNT, 0 },
    { "icount", 24, 0x100000001, 0x200000, 42, 0 },
    { "a byte more", 25, 0x100000001, 0x200000, 42, 1 },
    { "the most", 1024, 0x100000001, 0x200000, 42, 1000 },
};
/* clang-format on */

/*
 * Makes an entry with `extra_bytes` of extra data, the id "1" and the name
 * "ab"; fields of the extra data that do not fit are left zero.
 */
static size_t extra_entry(uint8_t *buf, uint32_t extra_bytes)
{
    const struct patch fixed[] = {
        { 0, 8, 0x40000 }, { 8, 4, 1 },  { 12, 2, 1 },
        { 14, 2, 2 },      { 32, 4, 5 }, { 36, 4, extra_bytes },
    };
    const struct patch extra[] = { { 40, 8, 0x100000001 },
                                   { 48, 8, 0x200000 },
                                   { 56, 8, 42 } };
    const uint32_t whole = extra_bytes / 8;

    memset(buf, 0, 1088);
    patch_apply(buf, fixed, COUNT_OF(fixed));
    patch_apply(buf, extra, whole < 3 ? whole : 3);
    for (uint32_t i = 24; i < extra_bytes; i++)
        buf[40 + i] = (uint8_t)i;
    if (extra_bytes >= 8)
        memset(buf + 32, 0, 4); /* the state does not fit 32 bits */
    memcpy(buf + 40 + extra_bytes, "1ab", 3);
    return 40 + extra_bytes + 3;
}

static void extra_data_counts_as_far_as_it_goes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(extra_cases); i++) {
        const char *name = extra_cases[i].name;
        uint8_t entry[1088];
        uint8_t out[1088];
        const size_t bytes = extra_entry(entry, extra_cases[i].extra_bytes);
        uint8_t *buf = exact_copy(entry, bytes);
        struct qcow2_snapshot snapshot;
        size_t entry_bytes;

        CHECK(name, qcow2_snapshot_decode(buf, bytes, 77, &snapshot,
                                          &entry_bytes, NULL) == BYRE_OK);
        CHECK(name, entry_bytes == bytes);
        CHECK(name, snapshot.vm_state_bytes == extra_cases[i].vm_state_bytes);
        CHECK(name, snapshot.size_bytes == extra_cases[i].size_bytes);
        CHECK(name, snapshot.icount == extra_cases[i].icount);
        CHECK(name, snapshot.extra_bytes == extra_cases[i].extra_bytes);
        CHECK(name, snapshot.unknown_extra_bytes ==
                        extra_cases[i].unknown_extra_bytes);
        CHECK(name, memcmp(snapshot.id, "1ab", 3) == 0);

        memset(out, 0x5a, sizeof(out));
        qcow2_snapshot_encode(&snapshot, out);
        CHECK(name, qcow2_snapshot_bytes(&snapshot) == (bytes + 7) / 8 * 8);
        CHECK(name, memcmp(out, entry, (bytes + 7) / 8 * 8) == 0);
        free(buf);
    }
}

/* ---- Entries that are refused ---- */

/* Each row patches `table`, of which `length` bytes are there. */
/* clang-format off */
static const struct {
    const char *name;
    size_t length;
    struct patch patch;
    int want;
    size_t entry_bytes;
    const char *message;
} decode_cases[] = {
    { "as made", 148, { 0 }, BYRE_OK, 72, NULL },
    { "only its own bytes", 72, { 0 }, BYRE_OK, 72, NULL },
    { "padding cut off", 70, { 0 }, BYRE_OK, 70, NULL },
    { "part of the padding", 71, { 0 }, BYRE_OK, 71, NULL },
    { "name cut off", 69, { 0 }, BYRE_E_CORRUPT, 0,
      "snapshot table entry needs 70 bytes, more than the 69 left" },
    { "nothing", 0, { 0 }, BYRE_E_CORRUPT, 0,
      "snapshot table entry needs 40 bytes, more than the 0 left" },
    { "fixed part cut off", 39, { 0 }, BYRE_E_CORRUPT, 0,
      "needs 40 bytes, more than the 39 left" },
    { "only the fixed part", 40, { 0 }, BYRE_E_CORRUPT, 0,
      "needs 70 bytes, more than the 40 left" },
    { "extra data of 1024", 148, { 36, 4, 1024 }, BYRE_E_CORRUPT, 0,
      "needs 1070 bytes, more than the 148 left" },
    { "extra data of 1025", 148, { 36, 4, 1025 }, BYRE_E_CORRUPT, 0,
      "has 1025 bytes of extra data, more than the limit of 1024" },
    { "extra data of 2^32-1", 148, { 36, 4, UINT32_MAX }, BYRE_E_CORRUPT, 0,
      "has 4294967295 bytes of extra data" },
    { "id of 65535", 148, { 12, 2, 65535 }, BYRE_E_CORRUPT, 0,
      "needs 65604 bytes, more than the 148 left" },
    { "name of 65535", 148, { 14, 2, 65535 }, BYRE_E_CORRUPT, 0,
      "needs 65600 bytes, more than the 148 left" },
    { "no id", 148, { 12, 2, 0 }, BYRE_OK, 72, NULL },
    { "no name", 148, { 14, 2, 0 }, BYRE_OK, 72, NULL },
};
/* clang-format on */

static void entries_decode_or_say_why(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(decode_cases); i++) {
        uint8_t patched[sizeof(table)];
        struct qcow2_snapshot snapshot;
        struct byre_error err = { .code = UNTOUCHED };
        size_t entry_bytes = 77;
        uint8_t *buf;
        int r;

        memcpy(patched, table, sizeof(table));
        patch_apply(patched, &decode_cases[i].patch, 1);
        buf = exact_copy(patched, decode_cases[i].length);
        memset(&snapshot, 0xa5, sizeof(snapshot));
        r = qcow2_snapshot_decode(buf, decode_cases[i].length, 99, &snapshot,
                                  &entry_bytes, &err);
        check_result(decode_cases[i].name, r, decode_cases[i].want,
                     decode_cases[i].message, &err);
        CHECK(decode_cases[i].name,
              entry_bytes == (r < 0 ? 77 : decode_cases[i].entry_bytes));
        if (r < 0)
            CHECK(decode_cases[i].name,
                  all_bytes_are(&snapshot, sizeof(snapshot), 0xa5));
        free(buf);
    }
}

/* An entry of nothing but zeroes, as holes of a file hold them, is legal. */
static void empty_entries_decode(void **state)
{
    const uint8_t zeroes[QCOW2_SNAPSHOT_FIXED_BYTES] = { 0 };
    uint8_t out[QCOW2_SNAPSHOT_FIXED_BYTES];
    struct qcow2_snapshot snapshot;
    size_t entry_bytes;

    (void)state;
    assert_int_equal(qcow2_snapshot_decode(zeroes, sizeof(zeroes), 99,
                                           &snapshot, &entry_bytes, NULL),
                     BYRE_OK);
    assert_int_equal(entry_bytes, 40);
    assert_int_equal(snapshot.size_bytes, 99);
    memset(out, 0x5a, sizeof(out));
    qcow2_snapshot_encode(&snapshot, out);
    assert_memory_equal(out, zeroes, sizeof(out));
}

/* ---- Checking ---- */

static const struct qcow2_header header = { .version = 3,
                                            .cluster_bits = 16,
                                            .refcount_order = 4 };

/* clang-format off */
static const struct {
    const char *name;
    uint64_t l1_offset;
    uint32_t l1_entries;
    uint64_t size_bytes;
    int want;
    const char *message;
} check_cases[] = {
    { "plain", 0x40000, 1, 10 << 20, BYRE_OK, NULL },
    { "empty", 0, 0, 0, BYRE_OK, NULL },
    { "shorter than the disk", 0x40000, 1, UINT64_C(1) << 40, BYRE_OK, NULL },
    { "4194304 entries", 0x40000, 4194304, 0, BYRE_OK, NULL },
    { "4194305 entries", 0x40000, 4194305, 0, BYRE_E_CORRUPT,
      "snapshot 7: L1 table has 4194305 entries, more than the limit" },
    { "unaligned", 0x40200, 1, 0, BYRE_E_CORRUPT,
      "snapshot 7: L1 table at offset 262656 is not aligned" },
    { "up to the largest offset", UINT64_C(0x7fffffffffff0000), 8191, 0,
      BYRE_OK, NULL },
    { "past the largest offset", UINT64_C(0x7fffffffffff0000), 8192, 0,
      BYRE_E_CORRUPT, "ends past the largest offset" },
    { "disk of 2 PiB", 0x40000, 1, UINT64_C(1) << 51, BYRE_OK, NULL },
    { "disk of 2 PiB and a byte", 0x40000, 1, (UINT64_C(1) << 51) + 1,
      BYRE_E_CORRUPT, "needs 4194305 L1 entries, more than the limit" },
    { "disk of 2^63-1", 0x40000, 1, INT64_MAX, BYRE_E_CORRUPT,
      "snapshot 7: disk of 9223372036854775807 bytes needs 17179869184 L1" },
    { "disk of 2^63", 0x40000, 1, UINT64_C(1) << 63, BYRE_E_CORRUPT,
      "snapshot 7: disk size is 9223372036854775808 bytes" },
    { "disk of 2^64-1", 0x40000, 1, UINT64_MAX, BYRE_E_CORRUPT,
      "disk size is 18446744073709551615 bytes" },
};
/* clang-format on */

static void tables_are_checked_before_use(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(check_cases); i++) {
        const struct qcow2_snapshot snapshot = {
            .l1_offset = check_cases[i].l1_offset,
            .l1_entries = check_cases[i].l1_entries,
            .size_bytes = check_cases[i].size_bytes,
            .id = "789",
            .id_bytes = 1,
        };
        struct byre_error err = { .code = UNTOUCHED };

        check_result(check_cases[i].name,
                     qcow2_snapshot_check(&snapshot, &header, &err),
                     check_cases[i].want, check_cases[i].message, &err);
        CHECK(check_cases[i].name,
              qcow2_snapshot_check(&snapshot, &header, NULL) ==
                  check_cases[i].want);
    }
}

/* ---- Garbage ---- */

static void check_garbage(const uint8_t *buf, size_t length)
{
    static uint8_t out[1 << 18];
    static uint8_t again[1 << 18];
    struct qcow2_snapshot snapshot;
    size_t entry_bytes;

    if (qcow2_snapshot_decode(buf, length, 99, &snapshot, &entry_bytes, NULL) <
        0)
        return;
    assert_in_range(entry_bytes, 40, length);
    qcow2_snapshot_check(&snapshot, &header, NULL);
    qcow2_snapshot_encode(&snapshot, out);
    assert_int_equal(qcow2_snapshot_decode(out, qcow2_snapshot_bytes(&snapshot),
                                           99, &snapshot, &entry_bytes, NULL),
                     BYRE_OK);
    qcow2_snapshot_encode(&snapshot, again);
    assert_memory_equal(out, again, qcow2_snapshot_bytes(&snapshot));
}

static void garbage_is_survived(void **state)
{
    uint64_t seed = 5;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint8_t patched[sizeof(table)];
        const size_t length = (size_t)(next_number(&seed) % sizeof(table));
        uint8_t *buf;

        memcpy(patched, table, sizeof(table));
        scramble(patched, 80, &seed);
        buf = exact_copy(patched, length);
        check_garbage(buf, length);
        free(buf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_read),
        cmocka_unit_test(the_table_survives_a_round_trip),
        cmocka_unit_test(vm_state_is_stored_twice_if_it_fits),
        cmocka_unit_test(extra_data_counts_as_far_as_it_goes),
        cmocka_unit_test(entries_decode_or_say_why),
        cmocka_unit_test(empty_entries_decode),
        cmocka_unit_test(tables_are_checked_before_use),
        cmocka_unit_test(garbage_is_survived),
    };

    return cmocka_run_group_tests_name("format_snapshot", tests, NULL, NULL);
}
