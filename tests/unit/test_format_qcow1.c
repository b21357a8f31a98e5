/* SPDX-License-Identifier: MIT */
/*
 * Without this test version 1 images could be read with fields of version 2 in
 * mind, a disk size could ask for an L1 table of any length, and the compressed
 * entries, whose length is in bytes, could be cut off.
 */
#include "format_case.h"

#include "format/qcow1.h"

/* ---- Header ---- */

/* 1000 KiB disk in clusters of 512 bytes, backing name at 48, L1 at 64. */
static const uint8_t header_bytes[QCOW1_HEADER_BYTES] = {
    0x51, 0x46, 0x49, 0xfb, 0x00, 0x00, 0x00, 0x01, /* magic, version */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x30, /* backing offset */
    0x00, 0x00, 0x00, 0x0a, 0x00, 0x00, 0x00, 0x07, /* its length, mtime */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x0f, 0xa0, 0x00, /* size */
    0x09, 0x0c, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* bits, crypt */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x40, /* L1 offset */
};

static void header_fields_are_read(void **state)
{
    struct qcow1_header header;

    (void)state;
    assert_int_equal(
        qcow1_header_decode(header_bytes, sizeof(header_bytes), &header, NULL),
        BYRE_OK);
    assert_int_equal(header.backing_offset, 48);
    assert_int_equal(header.backing_bytes, 10);
    assert_int_equal(header.mtime, 7);
    assert_int_equal(header.size_bytes, 1000 << 10);
    assert_int_equal(header.cluster_bits, 9);
    assert_int_equal(header.l2_bits, 12);
    assert_int_equal(header.crypt_method, 0);
    assert_int_equal(header.l1_offset, 64);
    assert_int_equal(qcow1_l1_entries(&header), 1);
}

#define MAX_SIZE_9_12 (UINT64_C(0x0fffffff) << 21)

/* clang-format off */
static const struct {
    const char *name;
    size_t length;
    struct patch patches[3];
    int want;
    const char *message;
} header_cases[] = {
    { "as made", 48, { { 0 } }, BYRE_OK, NULL },
    { "no magic", 48, { { 0, 4, 0x7f454c46 } }, BYRE_E_FORMAT,
      "Image is not in qcow format: it starts with 0x7f454c46" },
    { "empty file", 0, { { 0 } }, BYRE_E_FORMAT, "starts with 0x00000000" },
    { "version 0", 48, { { 4, 4, 0 } }, BYRE_E_UNSUPPORTED,
      "version 0 is not supported, only 1 is" },
    { "version 2", 48, { { 4, 4, 2 } }, BYRE_E_UNSUPPORTED,
      "version 2 is not supported, only 1 is" },
    { "cut off before the L1 offset", 40, { { 0 } }, BYRE_OK, NULL },
    { "cut off before the size", 24, { { 0 } }, BYRE_E_CORRUPT,
      "cluster_bits is 0, outside the limits" },

    { "cluster_bits 8", 48, { { 32, 1, 8 } }, BYRE_E_CORRUPT,
      "cluster_bits is 8, outside the limits of 9 to 16" },
    { "cluster_bits 16", 48, { { 32, 1, 16 } }, BYRE_OK, NULL },
    { "cluster_bits 17", 48, { { 32, 1, 17 } }, BYRE_E_CORRUPT,
      "cluster_bits is 17, outside the limits" },
    { "cluster_bits 255", 48, { { 32, 1, 255 } }, BYRE_E_CORRUPT,
      "cluster_bits is 255" },
    { "l2_bits 5", 48, { { 33, 1, 5 } }, BYRE_E_CORRUPT,
      "l2_bits is 5, outside the limits of 6 to 13" },
    { "l2_bits 6", 48, { { 33, 1, 6 } }, BYRE_OK, NULL },
    { "l2_bits 13", 48, { { 33, 1, 13 } }, BYRE_OK, NULL },
    { "l2_bits 14", 48, { { 33, 1, 14 } }, BYRE_E_CORRUPT, "l2_bits is 14" },
    { "AES", 48, { { 36, 4, 1 } }, BYRE_OK, NULL },
    { "crypt_method 2", 48, { { 36, 4, 2 } }, BYRE_E_UNSUPPORTED,
      "encryption method 2 is not supported, only 0 (none) and 1 (AES)" },

    { "size 0", 48, { { 24, 8, 0 } }, BYRE_E_CORRUPT, "disk size is 0 bytes" },
    { "size 1", 48, { { 24, 8, 1 } }, BYRE_E_CORRUPT,
      "disk size is 1 bytes, less than the least of 2" },
    { "size 2", 48, { { 24, 8, 2 } }, BYRE_OK, NULL },
    { "odd size", 48, { { 24, 8, 1001 } }, BYRE_OK, NULL },
    { "largest L1 table", 48, { { 24, 8, MAX_SIZE_9_12 } }, BYRE_OK, NULL },
    { "L1 table too large", 48, { { 24, 8, MAX_SIZE_9_12 + 1 } },
      BYRE_E_CORRUPT,
      "needs 268435456 L1 entries, more than the limit of 268435455" },
    { "size 2^64-1", 48, { { 24, 8, UINT64_MAX } }, BYRE_E_CORRUPT,
      "disk of 18446744073709551615 bytes needs 8796093022208 L1 entries" },

    { "odd L1 offset", 48, { { 40, 8, 49 } }, BYRE_OK, NULL },
    { "L1 up to the largest offset", 48,
      { { 40, 8, UINT64_C(0x7ffffffffffffff7) } }, BYRE_OK, NULL },
    { "L1 past the largest offset", 48,
      { { 40, 8, UINT64_C(0x7ffffffffffffff8) } }, BYRE_E_CORRUPT,
      "L1 table of 8 bytes at offset 9223372036854775800 ends past" },
    { "L1 offset 2^64-1", 48, { { 40, 8, UINT64_MAX } }, BYRE_E_CORRUPT,
      "ends past the largest offset" },

    { "backing name of 1023", 48, { { 16, 4, 1023 } }, BYRE_OK, NULL },
    { "backing name of 1024", 48, { { 16, 4, 1024 } }, BYRE_E_CORRUPT,
      "backing file name has 1024 bytes, more than the limit of 1023" },
    { "backing name up to the largest offset", 48,
      { { 8, 8, INT64_MAX - 10 } }, BYRE_OK, NULL },
    { "backing name past the largest offset", 48,
      { { 8, 8, INT64_MAX - 9 } }, BYRE_E_CORRUPT,
      "backing file name of 10 bytes at offset 9223372036854775798 ends" },
};
/* clang-format on */

static void headers_decode_or_say_why(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(header_cases); i++) {
        const char *name = header_cases[i].name;
        uint8_t patched[QCOW1_HEADER_BYTES];
        uint8_t out[QCOW1_HEADER_BYTES];
        struct qcow1_header header;
        struct byre_error err = { .code = UNTOUCHED };
        uint8_t *buf;
        int r;

        memcpy(patched, header_bytes, sizeof(patched));
        patch_apply(patched, header_cases[i].patches,
                    COUNT_OF(header_cases[i].patches));
        buf = exact_copy(patched, header_cases[i].length);
        memset(&header, 0xa5, sizeof(header));
        r = qcow1_header_decode(buf, header_cases[i].length, &header, &err);
        check_result(name, r, header_cases[i].want, header_cases[i].message,
                     &err);
        if (r < 0) {
            CHECK(name, all_bytes_are(&header, sizeof(header), 0xa5));
        } else {
            memset(out, 0x5a, sizeof(out));
            qcow1_header_encode(&header, out);
            CHECK(name, memcmp(out, buf, header_cases[i].length) == 0);
        }
        free(buf);
    }
}

static void backing_length_without_offset_is_nothing(void **state)
{
    uint8_t buf[QCOW1_HEADER_BYTES];
    struct qcow1_header header;

    (void)state;
    memcpy(buf, header_bytes, sizeof(buf));
    patch_apply(buf, (const struct patch[]){ { 8, 8, 0 }, { 16, 4, 4096 } }, 2);
    assert_int_equal(qcow1_header_decode(buf, sizeof(buf), &header, NULL),
                     BYRE_OK);
    assert_int_equal(header.backing_bytes, 0);
}

static void l1_entries_are_rounded_up(void **state)
{
    /* clang-format off */
    static const struct {
        uint8_t cluster_bits;
        uint8_t l2_bits;
        uint64_t size_bytes;
        uint64_t want;
    } cases[] = {
        { 12, 9, 2, 1 },
        { 12, 9, 1 << 21, 1 },
        { 12, 9, (1 << 21) + 1, 2 },
        { 9, 6, (1 << 15) + 512, 2 },
        { 16, 13, UINT64_C(1) << 30, 2 },
        { 9, 6, UINT64_MAX, UINT64_C(1) << 49 },
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct qcow1_header header = {
            .cluster_bits = cases[i].cluster_bits,
            .l2_bits = cases[i].l2_bits,
            .size_bytes = cases[i].size_bytes,
        };

        assert_int_equal(qcow1_l1_entries(&header), cases[i].want);
    }
}

/* ---- L2 entries ---- */

/* clang-format off */
static const struct {
    const char *name;
    uint32_t cluster_bits;
    uint64_t raw;
    struct l2_entry want;
} entry_cases[] = {
    { "unallocated", 12, 0, { L2_UNALLOCATED, 0, 0 } },
    { "data", 12, 0x2000, { L2_DATA, 0x2000, 0 } },
    { "data at any sector", 12, 0x2200, { L2_DATA, 0x2200, 0 } },
    { "data off a sector", 12, 0x2201, { L2_INVALID, 0, 0 } },
    { "bit 62 is part of the offset", 12, UINT64_C(0x4000000000000200),
      { L2_DATA, UINT64_C(0x4000000000000200), 0 } },
    { "compressed", 12, UINT64_C(0x80b0000000002000),
      { L2_COMPRESSED, 0x2000, 22 } },
    { "compressed, odd offset", 12, UINT64_C(0x80b0000000002001),
      { L2_COMPRESSED, 0x2001, 22 } },
    { "compressed, largest", 12, UINT64_MAX,
      { L2_COMPRESSED, (UINT64_C(1) << 51) - 1, 4095 } },
    { "compressed, 512-byte clusters", 9, UINT64_C(0x8040000000000200),
      { L2_COMPRESSED, 0x200, 1 } },
    { "compressed, 512-byte clusters, largest", 9, UINT64_MAX,
      { L2_COMPRESSED, (UINT64_C(1) << 54) - 1, 511 } },
    { "compressed, 64 KiB clusters", 16, UINT64_C(0x8000800000000200),
      { L2_COMPRESSED, 0x200, 1 } },
    { "compressed, 64 KiB clusters, largest", 16, UINT64_MAX,
      { L2_COMPRESSED, (UINT64_C(1) << 47) - 1, 65535 } },
    { "compressed to nothing", 12, UINT64_C(0x8000000000002000),
      { L2_INVALID, 0, 0 } },
};
/* clang-format on */

static void entries_decode_and_encode(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(entry_cases); i++) {
        const char *name = entry_cases[i].name;
        const struct l2_entry got = qcow1_l2_entry_decode(
            entry_cases[i].raw, entry_cases[i].cluster_bits);

        CHECK(name, got.kind == entry_cases[i].want.kind);
        CHECK(name, got.host_offset == entry_cases[i].want.host_offset);
        CHECK(name,
              got.compressed_bytes == entry_cases[i].want.compressed_bytes);
        if (got.kind != L2_INVALID)
            CHECK(name,
                  qcow1_l2_entry_encode(&got, entry_cases[i].cluster_bits) ==
                      entry_cases[i].raw);
    }
}

/* ---- Garbage ---- */

static void garbage_is_survived(void **state)
{
    uint64_t seed = 7;
    int decoded = 0;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint8_t buf[QCOW1_HEADER_BYTES];
        struct qcow1_header header;
        const uint32_t cluster_bits = 9 + (uint32_t)(next_number(&seed) % 8);
        const uint64_t raw = next_number(&seed);
        const struct l2_entry entry = qcow1_l2_entry_decode(raw, cluster_bits);

        if (entry.kind != L2_INVALID)
            assert_int_equal(qcow1_l2_entry_encode(&entry, cluster_bits), raw);

        memcpy(buf, header_bytes, sizeof(buf));
        scramble(buf + 8, sizeof(buf) - 8, &seed);
        if (qcow1_header_decode(buf, sizeof(buf), &header, NULL) == BYRE_OK) {
            assert_in_range(qcow1_l1_entries(&header), 1, QCOW1_MAX_L1_ENTRIES);
            decoded++;
        }
    }
    assert_true(decoded > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_fields_are_read),
        cmocka_unit_test(headers_decode_or_say_why),
        cmocka_unit_test(backing_length_without_offset_is_nothing),
        cmocka_unit_test(l1_entries_are_rounded_up),
        cmocka_unit_test(entries_decode_and_encode),
        cmocka_unit_test(garbage_is_survived),
    };

    return cmocka_run_group_tests_name("format_qcow1", tests, NULL, NULL);
}
