/* SPDX-License-Identifier: MIT */
/*
 * Without this test a record could reach past the area of the header
 * extensions, an unknown one could change on its way back to the file, and a
 * payload that lies could send the reader anywhere in the file.
 */
#include "format_case.h"

#include "format/bitmap.h"
#include "format/extensions.h"

/* ---- Stepping ---- */

/* Backing format, feature names (one), bitmaps, an unknown one, the end. */
static const uint8_t area[] = {
    0xe2, 0x79, 0x2a, 0xca, 0x00, 0x00, 0x00, 0x05, /* 0: backing format */
    0x71, 0x63, 0x6f, 0x77, 0x32, 0x00, 0x00, 0x00, /* "qcow2" */
    0x68, 0x03, 0xf8, 0x57, 0x00, 0x00, 0x00, 0x30, /* 16: feature names */
    0x00, 0x03, 0x63, 0x6f, 0x6d, 0x70, 0x72, 0x65, /* "compre" */
    0x73, 0x73, 0x69, 0x6f, 0x6e, 0x20, 0x74, 0x79, /* "ssion ty" */
    0x70, 0x65, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* "pe" */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* */
    0x23, 0x85, 0x28, 0x75, 0x00, 0x00, 0x00, 0x18, /* 72: bitmaps */
    0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, /* two */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x48, /* directory bytes */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, /* directory offset */
    0x12, 0x34, 0x56, 0x78, 0x00, 0x00, 0x00, 0x00, /* 104: unknown, empty */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* 112: end */
    0x62, 0x61, 0x73, 0x65,                         /* 120: backing name */
};

static const struct {
    uint32_t type;
    uint32_t length;
    size_t next;
} records[] = {
    { QCOW2_EXT_BACKING_FORMAT, 5, 16 },
    { QCOW2_EXT_FEATURE_NAMES, 48, 72 },
    { QCOW2_EXT_BITMAPS, 24, 104 },
    { 0x12345678, 0, 112 },
};

static void records_follow_one_another(void **state)
{
    struct qcow2_extension record;
    size_t position = 0;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(records); i++) {
        const size_t start = position;

        assert_int_equal(
            qcow2_extension_next(area, 120, &position, &record, NULL), 1);
        assert_int_equal(record.type, records[i].type);
        assert_int_equal(record.length, records[i].length);
        assert_ptr_equal(record.data, area + start + 8);
        assert_int_equal(position, records[i].next);
    }
    /* The end stays the end. */
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            qcow2_extension_next(area, 120, &position, &record, NULL), 0);
}

/* What is read can be written again, byte by byte, in its order. */
static void records_survive_a_round_trip(void **state)
{
    struct qcow2_extension record;
    uint8_t out[sizeof(area)];
    size_t position = 0;
    size_t used = 0;

    (void)state;
    memset(out, 0x5a, sizeof(out));
    while (qcow2_extension_next(area, 120, &position, &record, NULL) > 0) {
        qcow2_extension_encode(&record, out + used);
        used += qcow2_extension_bytes(record.length);
        assert_int_equal(used, position);
    }
    record = (struct qcow2_extension){ .type = QCOW2_EXT_END };
    qcow2_extension_encode(&record, out + used);
    assert_memory_equal(out, area, 120);
    assert_int_equal(out[120], 0x5a);
}

static void records_are_padded_to_eight(void **state)
{
    static const struct {
        uint32_t length;
        size_t want;
    } cases[] = {
        { 0, 8 },  { 1, 16 },    { 7, 16 },
        { 8, 16 }, { 384, 392 }, { UINT32_MAX, (size_t)UINT32_MAX + 9 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_int_equal(qcow2_extension_bytes(cases[i].length), cases[i].want);
}

/* clang-format off */
static const struct {
    const char *name;
    struct patch patch;
    size_t area_bytes;
    size_t position;
    int want;
    size_t want_position;
    const char *message;
} next_cases[] = {
    { "first", { 0 }, 120, 0, 1, 16, NULL },
    { "end record", { 0 }, 120, 112, 0, 112, NULL },
    { "end record with data", { 116, 4, 4 }, 124, 112, 0, 112, NULL },
    { "end record across the end", { 116, 4, 1 }, 120, 112,
      BYRE_E_CORRUPT, 112,
      "header extension 0x00000000 has 1 bytes, more than the 0 left" },
    { "empty area", { 0 }, 0, 0, 0, 0, NULL },
    { "name directly behind the header", { 0 }, 16, 16, 0, 16, NULL },
    { "name inside the header", { 0 }, 8, 104, 0, 104, NULL },
    { "area of 7 bytes", { 0 }, 7, 0, BYRE_E_CORRUPT, 0,
      "header extension needs 8 bytes, more than the 7 left" },
    { "area filled, no end record", { 0 }, 16, 0, 1, 16, NULL },
    { "data fills the area, padding does not fit", { 0 }, 13, 0, 1, 16, NULL },
    { "data one byte too long", { 0 }, 12, 0, BYRE_E_CORRUPT, 0,
      "header extension 0xe2792aca has 5 bytes, more than the 4 left" },
    { "length 2^32-1", { 4, 4, UINT32_MAX }, 120, 0, BYRE_E_CORRUPT, 0,
      "has 4294967295 bytes, more than the 112 left" },
};
/* clang-format on */

static void records_stay_in_their_area(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(next_cases); i++) {
        uint8_t patched[sizeof(area)];
        struct qcow2_extension record;
        struct byre_error err = { .code = UNTOUCHED };
        size_t position = next_cases[i].position;
        uint8_t *buf;
        int r;

        memcpy(patched, area, sizeof(area));
        patch_apply(patched, &next_cases[i].patch, 1);
        buf = exact_copy(patched, next_cases[i].area_bytes);
        memset(&record, 0xa5, sizeof(record));
        r = qcow2_extension_next(buf, next_cases[i].area_bytes, &position,
                                 &record, &err);
        check_result(next_cases[i].name, r, next_cases[i].want,
                     next_cases[i].message, &err);
        CHECK(next_cases[i].name, position == next_cases[i].want_position);
        if (r < 0)
            CHECK(next_cases[i].name, err.offset == next_cases[i].position);
        if (r <= 0)
            CHECK(next_cases[i].name,
                  all_bytes_are(&record, sizeof(record), 0xa5));
        free(buf);
    }
}

/* ---- Payloads ---- */

/* clang-format off */
static const struct {
    const char *name;
    uint32_t length;
    struct patch patches[2];
    int want;
    const char *message;
} bitmaps_cases[] = {
    { "as made", 24, { { 0 } }, BYRE_OK, NULL },
    { "short", 23, { { 0 } }, BYRE_E_CORRUPT,
      "bitmaps extension has 23 bytes, it must have 24" },
    { "empty", 0, { { 0 } }, BYRE_E_CORRUPT, "has 0 bytes, it must have 24" },
    { "long", 25, { { 0 } }, BYRE_E_CORRUPT, "has 25 bytes" },
    { "reserved", 24, { { 4, 4, 1 } }, BYRE_E_CORRUPT,
      "bitmaps extension has 0x00000001 in its reserved field" },
    { "no bitmaps", 24, { { 0, 4, 0 } }, BYRE_E_CORRUPT,
      "bitmaps extension has 0 bitmaps" },
    { "65535 bitmaps", 24, { { 0, 4, 65535 }, { 8, 8, 65535 * 24 } },
      BYRE_OK, NULL },
    { "65536 bitmaps", 24, { { 0, 4, 65536 }, { 8, 8, 65536 * 24 } },
      BYRE_E_CORRUPT, "has 65536 bitmaps, more than the limit of 65535" },
    { "largest directory", 24, { { 8, 8, 1024 * 65535 } }, BYRE_OK, NULL },
    { "directory too large", 24, { { 8, 8, 1024 * 65535 + 1 } },
      BYRE_E_CORRUPT,
      "bitmap directory has 67107841 bytes, more than the limit of 67107840" },
    { "directory of 2^64-1", 24, { { 8, 8, UINT64_MAX } }, BYRE_E_CORRUPT,
      "bitmap directory has 18446744073709551615 bytes" },
    { "smallest directory", 24, { { 8, 8, 48 } }, BYRE_OK, NULL },
    { "directory too small", 24, { { 8, 8, 47 } }, BYRE_E_CORRUPT,
      "bitmap directory has 47 bytes, less than the 48 that 2 bitmaps need" },
    { "unaligned", 24, { { 16, 8, 0x80200 } }, BYRE_E_CORRUPT,
      "bitmap directory at offset 524800 is not aligned" },
    { "up to the largest offset", 24,
      { { 16, 8, UINT64_C(0x7fffffffffff0000) }, { 8, 8, 65535 } },
      BYRE_OK, NULL },
    { "past the largest offset", 24,
      { { 16, 8, UINT64_C(0x7fffffffffff0000) }, { 8, 8, 65536 } },
      BYRE_E_CORRUPT, "bitmap directory of 65536 bytes at offset" },
};
/* clang-format on */

static void bitmaps_extension_is_checked(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(bitmaps_cases); i++) {
        const char *name = bitmaps_cases[i].name;
        uint8_t patched[25] = { 0 };
        uint8_t out[24];
        struct qcow2_bitmaps_extension value;
        struct qcow2_extension record = { .type = QCOW2_EXT_BITMAPS };
        struct byre_error err = { .code = UNTOUCHED };
        uint8_t *buf;
        int r;

        memcpy(patched, area + 80, 24);
        patch_apply(patched, bitmaps_cases[i].patches, 2);
        buf = exact_copy(patched, bitmaps_cases[i].length);
        record.length = bitmaps_cases[i].length;
        record.data = buf;
        memset(&value, 0xa5, sizeof(value));
        r = qcow2_bitmaps_extension_decode(&record, 16, &value, &err);
        check_result(name, r, bitmaps_cases[i].want, bitmaps_cases[i].message,
                     &err);
        if (r < 0) {
            CHECK(name, all_bytes_are(&value, sizeof(value), 0xa5));
        } else {
            memset(out, 0x5a, sizeof(out));
            qcow2_bitmaps_extension_encode(&value, out);
            CHECK(name, memcmp(out, buf, sizeof(out)) == 0);
        }
        free(buf);
    }
}

static void bitmaps_extension_fields_are_read(void **state)
{
    const struct qcow2_extension record = { QCOW2_EXT_BITMAPS, 24, area + 80 };
    struct qcow2_bitmaps_extension value;

    (void)state;
    assert_int_equal(qcow2_bitmaps_extension_decode(&record, 16, &value, NULL),
                     BYRE_OK);
    assert_int_equal(value.bitmap_count, 2);
    assert_int_equal(value.directory_bytes, 0x48);
    assert_int_equal(value.directory_offset, 0x80000);
}

/* clang-format off */
static const struct {
    const char *name;
    uint32_t length;
    uint64_t area_offset;
    uint64_t area_length;
    int want;
    const char *message;
} crypto_cases[] = {
    { "as made", 16, 0x40000, 2068480, BYRE_OK, NULL },
    { "short", 15, 0x40000, 2068480, BYRE_E_CORRUPT,
      "encryption header extension has 15 bytes, it must have 16" },
    { "long", 17, 0x40000, 2068480, BYRE_E_CORRUPT, "has 17 bytes" },
    { "empty", 0, 0, 0, BYRE_E_CORRUPT, "has 0 bytes" },
    { "unaligned", 16, 0x40100, 2068480, BYRE_E_CORRUPT,
      "encryption header at offset 262400 is not aligned" },
    { "length 2^63", 16, 0x40000, UINT64_C(1) << 63, BYRE_E_CORRUPT,
      "encryption header of 9223372036854775808 bytes at offset 262144 ends" },
    { "up to the largest offset", 16, 0, INT64_MAX, BYRE_OK, NULL },
    { "sum wraps", 16, UINT64_C(0xffffffffffff0000), 0x10000, BYRE_E_CORRUPT,
      "ends past the largest offset" },
};
/* clang-format on */

static void crypto_extension_is_checked(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(crypto_cases); i++) {
        const char *name = crypto_cases[i].name;
        const struct patch patches[] = {
            { 0, 8, crypto_cases[i].area_offset },
            { 8, 8, crypto_cases[i].area_length },
        };
        uint8_t patched[17] = { 0 };
        uint8_t out[16];
        struct qcow2_crypto_extension value;
        struct qcow2_extension record = { .type = QCOW2_EXT_CRYPTO };
        struct byre_error err = { .code = UNTOUCHED };
        uint8_t *buf;
        int r;

        patch_apply(patched, patches, 2);
        buf = exact_copy(patched, crypto_cases[i].length);
        record.length = crypto_cases[i].length;
        record.data = buf;
        memset(&value, 0xa5, sizeof(value));
        r = qcow2_crypto_extension_decode(&record, 16, &value, &err);
        check_result(name, r, crypto_cases[i].want, crypto_cases[i].message,
                     &err);
        if (r < 0) {
            CHECK(name, all_bytes_are(&value, sizeof(value), 0xa5));
        } else {
            CHECK(name, value.offset == crypto_cases[i].area_offset);
            CHECK(name, value.length == crypto_cases[i].area_length);
            qcow2_crypto_extension_encode(&value, out);
            CHECK(name, memcmp(out, buf, sizeof(out)) == 0);
        }
        free(buf);
    }
}

/* ---- Feature names ---- */

static void feature_names_are_read(void **state)
{
    uint8_t table[3 * QCOW2_FEATURE_NAME_BYTES - 1] = { 0 };
    uint8_t *exact;
    uint8_t out[QCOW2_FEATURE_NAME_BYTES];
    struct qcow2_extension record = { QCOW2_EXT_FEATURE_NAMES, sizeof(table),
                                      NULL };
    struct qcow2_feature_name name;

    (void)state;
    memcpy(table, area + 24, QCOW2_FEATURE_NAME_BYTES);
    /* All 46 bytes of a name may be used. */
    table[48] = QCOW2_FEATURE_AUTOCLEAR;
    table[49] = 63;
    memset(table + 50, 'x', 46);
    exact = exact_copy(table, sizeof(table));
    record.data = exact;

    assert_true(qcow2_feature_name_decode(&record, 0, &name));
    assert_int_equal(name.type, QCOW2_FEATURE_INCOMPATIBLE);
    assert_int_equal(name.bit, 3);
    assert_string_equal(name.name, "compression type");
    qcow2_feature_name_encode(&name, out);
    assert_memory_equal(out, table, sizeof(out));

    assert_true(qcow2_feature_name_decode(&record, 1, &name));
    assert_int_equal(name.type, QCOW2_FEATURE_AUTOCLEAR);
    assert_int_equal(name.bit, 63);
    assert_int_equal(strlen(name.name), 46);
    qcow2_feature_name_encode(&name, out);
    assert_memory_equal(out, table + 48, sizeof(out));

    /* The third one is a byte short. */
    memset(&name, 0xa5, sizeof(name));
    assert_false(qcow2_feature_name_decode(&record, 2, &name));
    assert_false(qcow2_feature_name_decode(&record, SIZE_MAX, &name));
    assert_false(qcow2_feature_name_decode(&record, SIZE_MAX / 48, &name));
    assert_true(all_bytes_are(&name, sizeof(name), 0xa5));
    free(exact);
}

/* ---- Garbage ---- */

static void use_record(const struct qcow2_extension *record)
{
    struct qcow2_bitmaps_extension bitmaps;
    struct qcow2_crypto_extension crypto;
    struct qcow2_feature_name name;

    qcow2_bitmaps_extension_decode(record, 16, &bitmaps, NULL);
    qcow2_crypto_extension_decode(record, 16, &crypto, NULL);
    for (size_t i = 0; qcow2_feature_name_decode(record, i, &name); i++)
        assert_true(strlen(name.name) <= 46);
}

static void garbage_is_survived(void **state)
{
    uint64_t seed = 2;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint8_t patched[sizeof(area)];
        const size_t length = (size_t)(next_number(&seed) % sizeof(area));
        struct qcow2_extension record;
        size_t position = 0;
        uint8_t *buf;

        memcpy(patched, area, sizeof(area));
        scramble(patched, sizeof(patched), &seed);
        buf = exact_copy(patched, length);
        while (qcow2_extension_next(buf, length, &position, &record, NULL) > 0)
            use_record(&record);
        free(buf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_follow_one_another),
        cmocka_unit_test(records_survive_a_round_trip),
        cmocka_unit_test(records_are_padded_to_eight),
        cmocka_unit_test(records_stay_in_their_area),
        cmocka_unit_test(bitmaps_extension_is_checked),
        cmocka_unit_test(bitmaps_extension_fields_are_read),
        cmocka_unit_test(crypto_extension_is_checked),
        cmocka_unit_test(feature_names_are_read),
        cmocka_unit_test(garbage_is_survived),
    };

    return cmocka_run_group_tests_name("format_extensions", tests, NULL, NULL);
}
