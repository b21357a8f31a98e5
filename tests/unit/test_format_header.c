/* SPDX-License-Identifier: MIT */
/*
 * Without this test a header field could be read from the wrong bytes, a lying
 * field could reach a shift or an allocation, and fields that only a newer
 * version knows could be lost when the header is written again.
 */
#include "format_case.h"

#include "format/header.h"

#define CLUSTER 65536

/* ---- Headers that decode ---- */

/* Version 3, 64 MiB disk, zstd, extended L2, backing name at 528. */
static const uint8_t v3_bytes[QCOW2_HEADER_BYTES] = {
    0x51, 0x46, 0x49, 0xfb, 0x00, 0x00, 0x00, 0x03, /* magic, version */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x10, /* backing offset */
    0x00, 0x00, 0x00, 0x0a, 0x00, 0x00, 0x00, 0x10, /* its length, cluster */
    0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, /* size */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, /* crypt, L1 entries */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, /* L1 offset */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, /* refcount table */
    0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, /* clusters, snapshots */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* snapshots offset */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x18, /* incompatible */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* compatible */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* autoclear */
    0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x70, /* order, length */
    0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* compression type */
};

static const struct qcow2_header v3_want = {
    .version = 3,
    .backing_offset = 0x210,
    .backing_bytes = 10,
    .cluster_bits = 16,
    .size_bytes = UINT64_C(64) << 20,
    .l1_entries = 1,
    .l1_offset = 0x30000,
    .refcount_table_offset = 0x10000,
    .refcount_table_clusters = 1,
    .incompatible = QCOW2_INCOMPAT_COMPRESSION | QCOW2_INCOMPAT_EXTENDED_L2,
    .refcount_order = 4,
    .header_bytes = QCOW2_HEADER_BYTES,
    .compression_type = QCOW2_COMPRESSION_ZSTD,
};

/* Version 2, 1 MiB disk in clusters of 512 bytes, backing name at 96. */
static const uint8_t v2_bytes[QCOW2_V2_HEADER_BYTES] = {
    0x51, 0x46, 0x49, 0xfb, 0x00, 0x00, 0x00, 0x02, /* magic, version */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x60, /* backing offset */
    0x00, 0x00, 0x00, 0x0a, 0x00, 0x00, 0x00, 0x09, /* its length, cluster */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, /* size */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x20, /* crypt, L1 entries */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x06, 0x00, /* L1 offset */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, /* refcount table */
    0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, /* clusters, snapshots */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* snapshots offset */
};

static const struct qcow2_header v2_want = {
    .version = 2,
    .backing_offset = 0x60,
    .backing_bytes = 10,
    .cluster_bits = 9,
    .size_bytes = UINT64_C(1) << 20,
    .l1_entries = 32,
    .l1_offset = 0x600,
    .refcount_table_offset = 0x200,
    .refcount_table_clusters = 1,
    .refcount_order = 4,
    .header_bytes = QCOW2_V2_HEADER_BYTES,
};

static bool headers_equal(const struct qcow2_header *a,
                          const struct qcow2_header *b)
{
    return a->version == b->version && a->backing_offset == b->backing_offset &&
           a->backing_bytes == b->backing_bytes &&
           a->cluster_bits == b->cluster_bits &&
           a->size_bytes == b->size_bytes &&
           a->crypt_method == b->crypt_method &&
           a->l1_entries == b->l1_entries && a->l1_offset == b->l1_offset &&
           a->refcount_table_offset == b->refcount_table_offset &&
           a->refcount_table_clusters == b->refcount_table_clusters &&
           a->snapshot_count == b->snapshot_count &&
           a->snapshots_offset == b->snapshots_offset &&
           a->incompatible == b->incompatible &&
           a->compatible == b->compatible && a->autoclear == b->autoclear &&
           a->refcount_order == b->refcount_order &&
           a->header_bytes == b->header_bytes &&
           a->compression_type == b->compression_type;
}

static void header_fields_are_read(void **state)
{
    struct byre_error err = { .code = UNTOUCHED };
    struct qcow2_header header;

    (void)state;
    check_result("v3",
                 qcow2_header_decode(v3_bytes, sizeof(v3_bytes), &header, &err),
                 BYRE_OK, NULL, &err);
    CHECK("v3", headers_equal(&header, &v3_want));
    CHECK("v3", qcow2_header_check(&header, NULL) == BYRE_OK);
    CHECK("v3", qcow2_has_extended_l2(&header));
    CHECK("v3", qcow2_cluster_bytes(&header) == 65536);
    CHECK("v3", qcow2_l2_entries(&header) == 4096);

    check_result("v2",
                 qcow2_header_decode(v2_bytes, sizeof(v2_bytes), &header, &err),
                 BYRE_OK, NULL, &err);
    CHECK("v2", headers_equal(&header, &v2_want));
    CHECK("v2", qcow2_header_check(&header, NULL) == BYRE_OK);
    CHECK("v2", qcow2_l2_entries(&header) == 64);
}

/* ---- Decoding, case by case ---- */

/* Each row patches v3_bytes (or v2_bytes); `length` 0 is all of it. */
struct decode_case {
    const char *name;
    bool v2;
    size_t length;
    struct patch patches[3];
    int want;
    const char *message;
};

/* clang-format off */
static const struct decode_case decode_cases[] = {
    { "as made", false, 0, { { 0 } }, BYRE_OK, NULL },
    { "v2 as made", true, 0, { { 0 } }, BYRE_OK, NULL },
    { "no magic", false, 0, { { 3, 1, 0xfa } },
      BYRE_E_FORMAT, "Image is not in qcow2 format: it starts with 0x514649fa" },
    { "empty file", false, SIZE_MAX, { { 0 } },
      BYRE_E_FORMAT, "starts with 0x00000000" },
    { "three bytes", false, 3, { { 0 } },
      BYRE_E_FORMAT, "starts with 0x51464900" },
    { "magic only", false, 4, { { 0 } },
      BYRE_E_UNSUPPORTED, "version 0 is not supported" },
    { "version 1", false, 0, { { 4, 4, 1 } },
      BYRE_E_UNSUPPORTED, "version 1 is not supported, only 2 and 3 are" },
    { "version 4", false, 0, { { 4, 4, 4 } },
      BYRE_E_UNSUPPORTED, "version 4 is not supported, only 2 and 3 are" },
    { "version 2^32-1", false, 0, { { 4, 4, UINT32_MAX } },
      BYRE_E_UNSUPPORTED, "version 4294967295 is not supported" },

    { "cluster_bits 8", true, 0, { { 20, 4, 8 } },
      BYRE_E_CORRUPT, "cluster_bits is 8, outside the limits of 9 to 21" },
    { "cluster_bits 9", true, 0, { { 20, 4, 9 } }, BYRE_OK, NULL },
    { "cluster_bits 21", true, 0, { { 20, 4, 21 } }, BYRE_OK, NULL },
    { "cluster_bits 22", true, 0, { { 20, 4, 22 } },
      BYRE_E_CORRUPT, "cluster_bits is 22, outside the limits" },
    { "cluster_bits 64", true, 0, { { 20, 4, 64 } },
      BYRE_E_CORRUPT, "cluster_bits is 64, outside the limits" },
    { "cluster_bits 2^32-1", false, 0, { { 20, 4, UINT32_MAX } },
      BYRE_E_CORRUPT, "cluster_bits is 4294967295" },

    { "header length 0", false, 0, { { 100, 4, 0 } },
      BYRE_E_CORRUPT, "header length is 0 bytes, less than the 104" },
    { "header length 103", false, 0, { { 100, 4, 103 } },
      BYRE_E_CORRUPT, "header length is 103 bytes, less than the 104" },
    { "header length 104", false, 0, { { 100, 4, 104 } }, BYRE_OK, NULL },
    { "header length 105", false, 0, { { 100, 4, 105 } }, BYRE_OK, NULL },
    { "header length of a cluster", false, 0, { { 100, 4, CLUSTER } },
      BYRE_OK, NULL },
    { "header length past a cluster", false, 0, { { 100, 4, CLUSTER + 1 } },
      BYRE_E_CORRUPT,
      "header length is 65537 bytes, more than the cluster size of 65536" },
    { "header length is not in v2", true, 0, { { 0 } }, BYRE_OK, NULL },
    { "file ends in the v2 fields", false, 100, { { 0 } },
      BYRE_E_CORRUPT, "header length is 0 bytes" },

    { "refcount_order 0", false, 0, { { 96, 4, 0 } }, BYRE_OK, NULL },
    { "refcount_order 6", false, 0, { { 96, 4, 6 } }, BYRE_OK, NULL },
    { "refcount_order 7", false, 0, { { 96, 4, 7 } },
      BYRE_E_CORRUPT, "refcount_order is 7, more than the limit of 6" },
    { "crypt_method 2", false, 0, { { 32, 4, 2 } }, BYRE_OK, NULL },
    { "crypt_method 2 in v2", true, 0, { { 32, 4, 2 } }, BYRE_OK, NULL },
    { "crypt_method 3", false, 0, { { 32, 4, 3 } },
      BYRE_E_UNSUPPORTED, "encryption method 3 is not supported" },

    { "backing name of 1023", false, 0, { { 16, 4, 1023 } }, BYRE_OK, NULL },
    { "backing name of 1024", false, 0, { { 16, 4, 1024 } },
      BYRE_E_CORRUPT,
      "backing file name has 1024 bytes, more than the limit of 1023" },
    { "backing name ends with the cluster", false, 0,
      { { 8, 8, CLUSTER - 10 } }, BYRE_OK, NULL },
    { "backing name crosses the cluster", false, 0,
      { { 8, 8, CLUSTER - 9 } }, BYRE_E_CORRUPT,
      "backing file name of 10 bytes at offset 65527 is not within" },
    { "backing name crosses a small cluster", true, 0, { { 8, 8, 503 } },
      BYRE_E_CORRUPT, "is not within the first cluster of 512 bytes" },
    { "empty backing name behind the cluster", false, 0,
      { { 8, 8, CLUSTER }, { 16, 4, 0 } }, BYRE_OK, NULL },
    { "backing offset past the cluster", false, 0,
      { { 8, 8, CLUSTER + 1 }, { 16, 4, 0 } }, BYRE_E_CORRUPT,
      "at offset 65537 is not within the first cluster" },
    { "backing offset 2^64-1", false, 0, { { 8, 8, UINT64_MAX } },
      BYRE_E_CORRUPT, "at offset 18446744073709551615 is not within" },
};
/* clang-format on */

static void check_decode_case(const struct decode_case *row)
{
    const uint8_t *base = row->v2 ? v2_bytes : v3_bytes;
    const size_t base_bytes = row->v2 ? sizeof(v2_bytes) : sizeof(v3_bytes);
    uint8_t patched[QCOW2_HEADER_BYTES];
    struct qcow2_header header;
    struct byre_error err = { .code = UNTOUCHED };
    size_t length = row->length == 0 ? base_bytes : row->length;
    uint8_t *buf;
    int r;

    if (row->length == SIZE_MAX)
        length = 0;
    memcpy(patched, base, base_bytes);
    patch_apply(patched, row->patches, COUNT_OF(row->patches));
    buf = exact_copy(patched, length);

    memset(&header, 0xa5, sizeof(header));
    r = qcow2_header_decode(buf, length, &header, &err);
    check_result(row->name, r, row->want, row->message, &err);
    if (r < 0)
        CHECK(row->name, all_bytes_are(&header, sizeof(header), 0xa5));
    CHECK(row->name, qcow2_header_decode(buf, length, &header, NULL) == r);
    free(buf);
}

static void headers_decode_or_say_why(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(decode_cases); i++)
        check_decode_case(&decode_cases[i]);
}

static void backing_length_without_offset_is_nothing(void **state)
{
    uint8_t buf[sizeof(v3_bytes)];
    struct qcow2_header header;

    (void)state;
    memcpy(buf, v3_bytes, sizeof(buf));
    patch_apply(buf, (const struct patch[]){ { 8, 8, 0 }, { 16, 4, 1 << 20 } },
                2);
    assert_int_equal(qcow2_header_decode(buf, sizeof(buf), &header, NULL),
                     BYRE_OK);
    assert_int_equal(header.backing_offset, 0);
    assert_int_equal(header.backing_bytes, 0);
}

static void compression_type_needs_the_longer_header(void **state)
{
    static const struct {
        uint32_t header_bytes;
        uint8_t want;
    } cases[] = { { 104, 0 }, { 105, 1 }, { 112, 1 }, { 120, 1 } };
    uint8_t buf[sizeof(v3_bytes)];
    struct qcow2_header header;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        memcpy(buf, v3_bytes, sizeof(buf));
        patch_apply(buf, &(struct patch){ 100, 4, cases[i].header_bytes }, 1);
        assert_int_equal(qcow2_header_decode(buf, sizeof(buf), &header, NULL),
                         BYRE_OK);
        assert_int_equal(header.compression_type, cases[i].want);
    }
}

/* ---- Encoding ---- */

static void headers_survive_a_round_trip(void **state)
{
    /* clang-format off */
    static const struct {
        const char *name;
        bool v2;
        struct patch patches[3];
    } cases[] = {
        { "v3", false, { { 0 } } },
        { "v2", true, { { 0 } } },
        { "104 bytes", false, { { 100, 4, 104 }, { 104, 1, 0 } } },
        { "105 bytes", false, { { 100, 4, 105 } } },
        { "111 bytes", false, { { 100, 4, 111 } } },
        { "113 bytes", false, { { 100, 4, 113 } } },
        { "120 bytes", false, { { 100, 4, 120 } } },
        { "all of 160 bytes", false, { { 100, 4, 160 } } },
        { "feature bits", false, { { 72, 8, UINT64_C(0x8000000000000007) },
                                   { 80, 8, UINT64_C(0x4000000000000001) },
                                   { 88, 8, UINT64_C(0x2000000000000003) } } },
        { "snapshots", false, { { 60, 4, 7 }, { 64, 8, 0x70000 } } },
        { "AES", true, { { 32, 4, 1 } } },
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint8_t in[160];
        uint8_t out[160];
        struct qcow2_header header;

        for (size_t k = 0; k < sizeof(in); k++)
            in[k] = (uint8_t)(0x80 + k); /* the unknown fields */
        memcpy(in, cases[i].v2 ? v2_bytes : v3_bytes,
               cases[i].v2 ? sizeof(v2_bytes) : sizeof(v3_bytes));
        patch_apply(in, cases[i].patches, COUNT_OF(cases[i].patches));
        CHECK(cases[i].name,
              qcow2_header_decode(in, sizeof(in), &header, NULL) == BYRE_OK);

        memset(out, 0x5a, sizeof(out));
        qcow2_header_encode(&header, in + QCOW2_HEADER_BYTES, out);
        CHECK(cases[i].name, memcmp(in, out, header.header_bytes) == 0);
        CHECK(cases[i].name,
              all_bytes_are(out + header.header_bytes,
                            sizeof(out) - header.header_bytes, 0x5a));
    }
}

static void unknown_fields_may_be_absent(void **state)
{
    struct qcow2_header header = v3_want;
    uint8_t out[128];

    (void)state;
    memset(out, 0x5a, sizeof(out));
    header.header_bytes = 120;
    qcow2_header_encode(&header, NULL, out);
    assert_true(all_bytes_are(out + 112, 8, 0));
    assert_true(all_bytes_are(out + 120, 8, 0x5a));
}

/* ---- Checking ---- */

static const struct qcow2_header plain = {
    .version = 3,
    .cluster_bits = 16,
    .size_bytes = UINT64_C(1) << 30,
    .l1_entries = 2,
    .l1_offset = 0x30000,
    .refcount_table_offset = 0x10000,
    .refcount_table_clusters = 1,
    .refcount_order = 4,
    .header_bytes = QCOW2_HEADER_BYTES,
};

/* The start of a patch: where a field is, and its width. */
#define CLUSTER_BITS      20, 4
#define SIZE              24, 8
#define L1_ENTRIES        36, 4
#define L1_OFFSET         40, 8
#define REFCOUNT_OFFSET   48, 8
#define REFCOUNT_CLUSTERS 56, 4
#define SNAPSHOT_COUNT    60, 4
#define SNAPSHOTS_OFFSET  64, 8
#define INCOMPATIBLE      72, 8
#define AUTOCLEAR         88, 8
#define COMPRESSION       104, 1

/* The last cluster-aligned offset with `bytes` to go before 2^63 - 1. */
#define LAST_CLUSTER UINT64_C(0x7fffffffffff0000)

/* clang-format off */
static const struct {
    const char *name;
    struct patch patches[5];
    int want;
    const char *message;
    uint64_t at; /* the offset the error points at */
} check_cases[] = {
    { "plain", { { 0 } }, BYRE_OK, NULL, 0 },
    { "empty disk", { { SIZE, 0 }, { L1_ENTRIES, 0 }, { L1_OFFSET, 0 } },
      BYRE_OK, NULL, 0 },
    { "unknown incompatible bits are not judged here",
      { { INCOMPATIBLE, UINT64_C(0xf0f0f0f0f0f0f0e3) } }, BYRE_OK, NULL, 0 },

    { "L1 one entry short", { { SIZE, (UINT64_C(1) << 30) + 1 } },
      BYRE_E_CORRUPT,
      "L1 table has 2 entries, less than the 3 that a disk of 1073741825 bytes",
      36 },
    { "L1 of 4194304 entries", { { L1_ENTRIES, 4194304 } }, BYRE_OK, NULL, 0 },
    { "L1 of 4194305 entries", { { L1_ENTRIES, 4194305 } }, BYRE_E_CORRUPT,
      "L1 table has 4194305 entries, more than the limit of 4194304", 36 },
    { "L1 unaligned", { { L1_OFFSET, 0x30200 } }, BYRE_E_CORRUPT,
      "L1 table at offset 197120 is not aligned to the cluster size of 65536",
      40 },
    { "L1 of no entries at the end",
      { { SIZE, 0 }, { L1_ENTRIES, 0 }, { L1_OFFSET, LAST_CLUSTER } },
      BYRE_OK, NULL, 0 },
    { "L1 up to the largest offset",
      { { L1_OFFSET, LAST_CLUSTER }, { L1_ENTRIES, 8191 } }, BYRE_OK, NULL, 0 },
    { "L1 past the largest offset",
      { { L1_OFFSET, LAST_CLUSTER }, { L1_ENTRIES, 8192 } }, BYRE_E_CORRUPT,
      "L1 table of 65536 bytes at offset 9223372036854710272 ends past", 40 },
    { "L1 offset 2^64", { { L1_OFFSET, UINT64_C(0xffffffffffff0000) } },
      BYRE_E_CORRUPT, "ends past the largest offset", 40 },

    { "disk of 2 PiB", { { SIZE, UINT64_C(1) << 51 },
                         { L1_ENTRIES, 4194304 } }, BYRE_OK, NULL, 0 },
    { "disk of 2 PiB and a byte", { { SIZE, (UINT64_C(1) << 51) + 1 },
                                    { L1_ENTRIES, 4194304 } },
      BYRE_E_CORRUPT, "less than the 4194305 that a disk", 36 },
    { "disk of 2 EiB", { { SIZE, UINT64_C(1) << 61 }, { CLUSTER_BITS, 21 },
                         { L1_ENTRIES, 4194304 }, { L1_OFFSET, 0 },
                         { REFCOUNT_OFFSET, 0 } }, BYRE_OK, NULL, 0 },
    { "disk of 128 GiB", { { SIZE, UINT64_C(1) << 37 }, { CLUSTER_BITS, 9 },
                           { L1_ENTRIES, 4194304 } }, BYRE_OK, NULL, 0 },
    { "disk of 2^63 - 1", { { SIZE, INT64_MAX } }, BYRE_E_CORRUPT,
      "L1 table has 2 entries, less than the 17179869184", 36 },
    { "disk of 2^63", { { SIZE, UINT64_C(1) << 63 } }, BYRE_E_CORRUPT,
      "disk size is 9223372036854775808 bytes, more than the limit", 24 },
    { "disk of 2^64 - 1", { { SIZE, UINT64_MAX } }, BYRE_E_CORRUPT,
      "disk size is 18446744073709551615 bytes", 24 },

    { "no refcount table", { { REFCOUNT_CLUSTERS, 0 } }, BYRE_E_CORRUPT,
      "refcount table has 0 clusters", 56 },
    { "refcount table of 8 MiB", { { REFCOUNT_CLUSTERS, 128 } },
      BYRE_OK, NULL, 0 },
    { "refcount table past 8 MiB", { { REFCOUNT_CLUSTERS, 129 } },
      BYRE_E_CORRUPT,
      "refcount table has 8454144 bytes, more than the limit of 8388608", 56 },
    { "refcount table of 2^32-1 clusters",
      { { REFCOUNT_CLUSTERS, UINT32_MAX } }, BYRE_E_CORRUPT,
      "refcount table has 281474976645120 bytes", 56 },
    { "refcount table unaligned", { { REFCOUNT_OFFSET, 0x10008 } },
      BYRE_E_CORRUPT, "refcount table at offset 65544 is not aligned", 48 },
    { "refcount table past the largest offset",
      { { REFCOUNT_OFFSET, LAST_CLUSTER } }, BYRE_E_CORRUPT,
      "refcount table of 65536 bytes at offset 9223372036854710272 ends", 48 },

    { "65536 snapshots", { { SNAPSHOT_COUNT, 65536 },
                           { SNAPSHOTS_OFFSET, 0x40000 } }, BYRE_OK, NULL, 0 },
    { "65537 snapshots", { { SNAPSHOT_COUNT, 65537 },
                           { SNAPSHOTS_OFFSET, 0x40000 } }, BYRE_E_CORRUPT,
      "snapshot table has 65537 entries, more than the limit of 65536", 60 },
    { "no snapshots, unaligned", { { SNAPSHOTS_OFFSET, 512 } }, BYRE_E_CORRUPT,
      "snapshot table at offset 512 is not aligned", 64 },
    { "snapshots past the largest offset",
      { { SNAPSHOT_COUNT, 65536 }, { SNAPSHOTS_OFFSET, LAST_CLUSTER } },
      BYRE_E_CORRUPT, "snapshot table of 2621440 bytes", 64 },

    { "zstd", { { COMPRESSION, 1 }, { INCOMPATIBLE, 8 } }, BYRE_OK, NULL, 0 },
    { "zstd without its bit", { { COMPRESSION, 1 } }, BYRE_E_CORRUPT,
      "compression type is 1, but incompatible feature bit 3", 104 },
    { "its bit without zstd", { { INCOMPATIBLE, 8 } }, BYRE_E_CORRUPT,
      "compression type is 0, but incompatible feature bit 3", 72 },
    { "compression type 2", { { COMPRESSION, 2 }, { INCOMPATIBLE, 8 } },
      BYRE_E_UNSUPPORTED, "compression type 2 is not supported", 104 },
    { "compression type 255", { { COMPRESSION, 255 } },
      BYRE_E_UNSUPPORTED, "compression type 255 is not supported", 104 },

    { "extended L2 of 16 KiB", { { INCOMPATIBLE, 16 }, { CLUSTER_BITS, 14 },
                                 { L1_ENTRIES, 64 } }, BYRE_OK, NULL, 0 },
    { "extended L2 of 8 KiB", { { INCOMPATIBLE, 16 }, { CLUSTER_BITS, 13 },
                                { L1_ENTRIES, 256 } }, BYRE_E_CORRUPT,
      "cluster size is 8192 bytes, less than the 16384 that extended", 20 },
    { "extended L2 needs twice the L1", { { INCOMPATIBLE, 16 } },
      BYRE_E_CORRUPT, "less than the 4 that a disk", 36 },

    { "raw data file", { { INCOMPATIBLE, 4 }, { AUTOCLEAR, 2 } },
      BYRE_OK, NULL, 0 },
    { "raw without a data file", { { AUTOCLEAR, 2 } }, BYRE_E_CORRUPT,
      "autoclear feature bit 1 (raw external data) is set", 88 },
    { "unknown autoclear bits", { { AUTOCLEAR, 0xf0 } }, BYRE_OK, NULL, 0 },
};
/* clang-format on */

static void tables_are_checked(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(check_cases); i++) {
        struct qcow2_header header;
        struct byre_error err = { .code = UNTOUCHED };
        uint8_t buf[QCOW2_HEADER_BYTES];
        int r;

        qcow2_header_encode(&plain, NULL, buf);
        patch_apply(buf, check_cases[i].patches,
                    COUNT_OF(check_cases[i].patches));
        CHECK(check_cases[i].name,
              qcow2_header_decode(buf, sizeof(buf), &header, NULL) == BYRE_OK);
        r = qcow2_header_check(&header, &err);
        check_result(check_cases[i].name, r, check_cases[i].want,
                     check_cases[i].message, &err);
        if (r < 0)
            CHECK(check_cases[i].name, err.offset == check_cases[i].at);
    }
}

/* The largest disk of each cluster size is what 4194304 L1 entries reach. */
static void largest_disks_need_all_l1_entries(void **state)
{
    (void)state;
    for (uint32_t bits = 9; bits <= 21; bits++) {
        const uint64_t largest_bytes = UINT64_C(1) << (22 + bits + bits - 3);
        struct qcow2_header header = plain;

        header.cluster_bits = bits;
        assert_int_equal(qcow2_l1_entries_needed(&header, 0), 0);
        assert_int_equal(qcow2_l1_entries_needed(&header, 1), 1);
        assert_int_equal(qcow2_l1_entries_needed(&header, largest_bytes),
                         QCOW2_MAX_L1_ENTRIES);
        assert_int_equal(qcow2_l1_entries_needed(&header, largest_bytes + 1),
                         QCOW2_MAX_L1_ENTRIES + 1);
        if (bits < QCOW2_MIN_EXTENDED_CLUSTER_BITS)
            continue;
        header.incompatible = QCOW2_INCOMPAT_EXTENDED_L2;
        assert_int_equal(qcow2_l1_entries_needed(&header, largest_bytes / 2),
                         QCOW2_MAX_L1_ENTRIES);
    }
}

/* ---- Probing and garbage ---- */

static void probing_needs_magic_and_version(void **state)
{
    static const uint8_t v4[8] = { 0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 4 };
    static const uint8_t other[8] = { 0x51, 0x46, 0x49, 0xfa, 0, 0, 0, 3 };
    uint32_t version = 77;

    (void)state;
    assert_false(qcow_probe(v4, 0, &version));
    assert_false(qcow_probe(v4, 7, &version));
    assert_false(qcow_probe(other, 8, &version));
    assert_int_equal(version, 77);
    assert_true(qcow_probe(v4, 8, &version));
    assert_int_equal(version, 4);
}

static void garbage_is_survived(void **state)
{
    static uint8_t out[1 << QCOW2_MAX_CLUSTER_BITS];
    uint8_t patched[QCOW2_HEADER_BYTES];
    uint64_t seed = 1;
    int decoded = 0;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        const size_t length =
            next_number(&seed) % 4 ? sizeof(patched) : next_number(&seed) % 112;
        struct qcow2_header first;
        struct qcow2_header again;
        uint8_t *buf;

        memcpy(patched, v3_bytes, sizeof(patched));
        scramble(patched + 4, sizeof(patched) - 4, &seed);
        buf = exact_copy(patched, length);
        if (qcow2_header_decode(buf, length, &first, NULL) == BYRE_OK) {
            qcow2_header_check(&first, NULL);
            qcow2_header_encode(&first, NULL, out);
            assert_int_equal(
                qcow2_header_decode(out, first.header_bytes, &again, NULL),
                BYRE_OK);
            assert_true(headers_equal(&first, &again));
            decoded++;
        }
        free(buf);
    }
    assert_true(decoded > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_fields_are_read),
        cmocka_unit_test(headers_decode_or_say_why),
        cmocka_unit_test(backing_length_without_offset_is_nothing),
        cmocka_unit_test(compression_type_needs_the_longer_header),
        cmocka_unit_test(headers_survive_a_round_trip),
        cmocka_unit_test(unknown_fields_may_be_absent),
        cmocka_unit_test(tables_are_checked),
        cmocka_unit_test(largest_disks_need_all_l1_entries),
        cmocka_unit_test(probing_needs_magic_and_version),
        cmocka_unit_test(garbage_is_survived),
    };

    return cmocka_run_group_tests_name("format_header", tests, NULL, NULL);
}
