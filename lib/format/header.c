/* SPDX-License-Identifier: MIT */
#include "format/header.h"

#include <inttypes.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "format/snapshot.h"
#include "store/store.h"

/* Where the fields are that a message may have to point at. */
#define AT_VERSION                 4
#define AT_BACKING_OFFSET          8
#define AT_BACKING_BYTES           16
#define AT_CLUSTER_BITS            20
#define AT_SIZE                    24
#define AT_CRYPT_METHOD            32
#define AT_L1_ENTRIES              36
#define AT_L1_OFFSET               40
#define AT_REFCOUNT_TABLE_OFFSET   48
#define AT_REFCOUNT_TABLE_CLUSTERS 56
#define AT_SNAPSHOT_COUNT          60
#define AT_SNAPSHOTS_OFFSET        64
#define AT_INCOMPATIBLE            72
#define AT_COMPATIBLE              80
#define AT_AUTOCLEAR               88
#define AT_REFCOUNT_ORDER          96
#define AT_HEADER_LENGTH           100
#define AT_COMPRESSION_TYPE        104

bool qcow_probe(const uint8_t *buf, size_t length, uint32_t *ret_version)
{
    if (length < 8 || be32_get(buf) != QCOW_MAGIC)
        return false;
    *ret_version = be32_get(buf + AT_VERSION);
    return true;
}

static int check_magic_and_version(const uint8_t *raw, struct byre_error *err)
{
    const uint32_t magic = be32_get(raw);
    const uint32_t version = be32_get(raw + AT_VERSION);

    if (magic != QCOW_MAGIC)
        return fail_at(
            err, BYRE_E_FORMAT, 0,
            "Image is not in qcow2 format: it starts with 0x%08" PRIx32
            ", not with 0x%08" PRIx32,
            magic, QCOW_MAGIC);
    if (version < 2 || version > 3)
        return fail_at(err, BYRE_E_UNSUPPORTED, AT_VERSION,
                       "version %" PRIu32 " is not supported, only 2 and 3 are",
                       version);
    return BYRE_OK;
}

/* Every field as it is stored; those that version 2 lacks are implied. */
static struct qcow2_header read_fields(const uint8_t *raw)
{
    struct qcow2_header header = {
        .version = be32_get(raw + AT_VERSION),
        .backing_offset = be64_get(raw + AT_BACKING_OFFSET),
        .backing_bytes = be32_get(raw + AT_BACKING_BYTES),
        .cluster_bits = be32_get(raw + AT_CLUSTER_BITS),
        .size_bytes = be64_get(raw + AT_SIZE),
        .crypt_method = be32_get(raw + AT_CRYPT_METHOD),
        .l1_entries = be32_get(raw + AT_L1_ENTRIES),
        .l1_offset = be64_get(raw + AT_L1_OFFSET),
        .refcount_table_offset = be64_get(raw + AT_REFCOUNT_TABLE_OFFSET),
        .refcount_table_clusters = be32_get(raw + AT_REFCOUNT_TABLE_CLUSTERS),
        .snapshot_count = be32_get(raw + AT_SNAPSHOT_COUNT),
        .snapshots_offset = be64_get(raw + AT_SNAPSHOTS_OFFSET),
        .refcount_order = 4,
        .header_bytes = QCOW2_V2_HEADER_BYTES,
    };

    if (header.version == 2)
        return header;

    header.incompatible = be64_get(raw + AT_INCOMPATIBLE);
    header.compatible = be64_get(raw + AT_COMPATIBLE);
    header.autoclear = be64_get(raw + AT_AUTOCLEAR);
    header.refcount_order = be32_get(raw + AT_REFCOUNT_ORDER);
    header.header_bytes = be32_get(raw + AT_HEADER_LENGTH);
    /* spec: qcow2 "Additional fields": absent means zero. */
    if (header.header_bytes > AT_COMPRESSION_TYPE)
        header.compression_type = raw[AT_COMPRESSION_TYPE];
    return header;
}

static int check_header_length(const struct qcow2_header *header,
                               struct byre_error *err)
{
    if (header->version == 2)
        return BYRE_OK;
    if (header->header_bytes < QCOW2_V3_HEADER_BYTES)
        return fail_at(err, BYRE_E_CORRUPT, AT_HEADER_LENGTH,
                       "header length is %" PRIu32
                       " bytes, less than the %d of version 3",
                       header->header_bytes, QCOW2_V3_HEADER_BYTES);
    if (header->header_bytes > qcow2_cluster_bytes(header))
        return fail_at(err, BYRE_E_CORRUPT, AT_HEADER_LENGTH,
                       "header length is %" PRIu32
                       " bytes, more than the cluster size of %" PRIu64,
                       header->header_bytes, qcow2_cluster_bytes(header));
    return BYRE_OK;
}

static int check_backing_name(const struct qcow2_header *header,
                              struct byre_error *err)
{
    if (header->backing_offset == 0)
        return BYRE_OK;
    if (header->backing_bytes > QCOW2_MAX_BACKING_NAME_BYTES)
        return fail_at(err, BYRE_E_CORRUPT, AT_BACKING_BYTES,
                       "backing file name has %" PRIu32
                       " bytes, more than the limit of %d",
                       header->backing_bytes, QCOW2_MAX_BACKING_NAME_BYTES);
    if (!range_within(header->backing_offset, header->backing_bytes,
                      qcow2_cluster_bytes(header)))
        return fail_at(err, BYRE_E_CORRUPT, AT_BACKING_OFFSET,
                       "backing file name of %" PRIu32
                       " bytes at offset %" PRIu64
                       " is not within the first cluster of %" PRIu64 " bytes",
                       header->backing_bytes, header->backing_offset,
                       qcow2_cluster_bytes(header));
    return BYRE_OK;
}

/* Cluster bits come first: the checks behind them shift by that number. */
static int check_fields(const struct qcow2_header *header,
                        struct byre_error *err)
{
    int r;

    if (header->cluster_bits < QCOW2_MIN_CLUSTER_BITS ||
        header->cluster_bits > QCOW2_MAX_CLUSTER_BITS)
        return fail_at(err, BYRE_E_CORRUPT, AT_CLUSTER_BITS,
                       "cluster_bits is %" PRIu32
                       ", outside the limits of %d to %d",
                       header->cluster_bits, QCOW2_MIN_CLUSTER_BITS,
                       QCOW2_MAX_CLUSTER_BITS);

    r = check_header_length(header, err);
    if (r < 0)
        return r;

    if (header->refcount_order > QCOW2_MAX_REFCOUNT_ORDER)
        return fail_at(err, BYRE_E_CORRUPT, AT_REFCOUNT_ORDER,
                       "refcount_order is %" PRIu32
                       ", more than the limit of %d",
                       header->refcount_order, QCOW2_MAX_REFCOUNT_ORDER);
    if (header->crypt_method > QCOW2_CRYPT_LUKS)
        return fail_at(err, BYRE_E_UNSUPPORTED, AT_CRYPT_METHOD,
                       "encryption method %" PRIu32
                       " is not supported, only 0 (none), 1 (AES) and "
                       "2 (LUKS) are",
                       header->crypt_method);
    return check_backing_name(header, err);
}

int qcow2_header_decode(const uint8_t *buf, size_t length,
                        struct qcow2_header *ret_header, struct byre_error *err)
{
    uint8_t raw[QCOW2_HEADER_BYTES] = { 0 };
    struct qcow2_header header;
    int r;

    if (length > 0)
        memcpy(raw, buf, (size_t)min_u64(length, sizeof(raw)));

    r = check_magic_and_version(raw, err);
    if (r < 0)
        return r;

    header = read_fields(raw);
    r = check_fields(&header, err);
    if (r < 0)
        return r;

    /* Without an offset there is no name, whatever length is stored. */
    if (header.backing_offset == 0)
        header.backing_bytes = 0;
    *ret_header = header;
    return BYRE_OK;
}

void qcow2_header_encode(const struct qcow2_header *header,
                         const uint8_t *unknown, uint8_t *buf)
{
    memset(buf, 0, header->header_bytes);
    be32_put(buf, QCOW_MAGIC);
    be32_put(buf + AT_VERSION, header->version);
    be64_put(buf + AT_BACKING_OFFSET, header->backing_offset);
    be32_put(buf + AT_BACKING_BYTES, header->backing_bytes);
    be32_put(buf + AT_CLUSTER_BITS, header->cluster_bits);
    be64_put(buf + AT_SIZE, header->size_bytes);
    be32_put(buf + AT_CRYPT_METHOD, header->crypt_method);
    be32_put(buf + AT_L1_ENTRIES, header->l1_entries);
    be64_put(buf + AT_L1_OFFSET, header->l1_offset);
    be64_put(buf + AT_REFCOUNT_TABLE_OFFSET, header->refcount_table_offset);
    be32_put(buf + AT_REFCOUNT_TABLE_CLUSTERS, header->refcount_table_clusters);
    be32_put(buf + AT_SNAPSHOT_COUNT, header->snapshot_count);
    be64_put(buf + AT_SNAPSHOTS_OFFSET, header->snapshots_offset);
    if (header->version == 2)
        return;

    be64_put(buf + AT_INCOMPATIBLE, header->incompatible);
    be64_put(buf + AT_COMPATIBLE, header->compatible);
    be64_put(buf + AT_AUTOCLEAR, header->autoclear);
    be32_put(buf + AT_REFCOUNT_ORDER, header->refcount_order);
    be32_put(buf + AT_HEADER_LENGTH, header->header_bytes);
    if (header->header_bytes > AT_COMPRESSION_TYPE)
        buf[AT_COMPRESSION_TYPE] = header->compression_type;
    if (header->header_bytes > QCOW2_HEADER_BYTES && unknown != NULL)
        memcpy(buf + QCOW2_HEADER_BYTES, unknown,
               header->header_bytes - QCOW2_HEADER_BYTES);
}

int qcow2_table_check(const char *object, uint64_t field_offset,
                      uint64_t table_offset, uint64_t length_bytes,
                      uint32_t cluster_bits, struct byre_error *err)
{
    const uint64_t cluster_bytes = UINT64_C(1) << cluster_bits;

    if (!is_aligned(table_offset, cluster_bytes))
        return fail_at(err, BYRE_E_CORRUPT, field_offset,
                       "%s at offset %" PRIu64
                       " is not aligned to the cluster size of %" PRIu64,
                       object, table_offset, cluster_bytes);
    if (!range_within(table_offset, length_bytes, STORE_MAX_OFFSET))
        return fail_at(err, BYRE_E_CORRUPT, field_offset,
                       "%s of %" PRIu64 " bytes at offset %" PRIu64
                       " ends past the largest offset of %" PRIu64,
                       object, length_bytes, table_offset, STORE_MAX_OFFSET);
    return BYRE_OK;
}

uint64_t qcow2_l1_entries_needed(const struct qcow2_header *header,
                                 uint64_t size_bytes)
{
    return div_round_up(size_bytes,
                        qcow2_cluster_bytes(header) * qcow2_l2_entries(header));
}

static int check_l1_table(const struct qcow2_header *header,
                          struct byre_error *err)
{
    const uint64_t needed = qcow2_l1_entries_needed(header, header->size_bytes);

    if (header->size_bytes > STORE_MAX_OFFSET)
        return fail_at(err, BYRE_E_CORRUPT, AT_SIZE,
                       "disk size is %" PRIu64
                       " bytes, more than the limit of %" PRIu64,
                       header->size_bytes, STORE_MAX_OFFSET);
    if (header->l1_entries > QCOW2_MAX_L1_ENTRIES)
        return fail_at(err, BYRE_E_CORRUPT, AT_L1_ENTRIES,
                       "L1 table has %" PRIu32
                       " entries, more than the limit of %" PRIu32,
                       header->l1_entries, QCOW2_MAX_L1_ENTRIES);
    if (header->l1_entries < needed)
        return fail_at(err, BYRE_E_CORRUPT, AT_L1_ENTRIES,
                       "L1 table has %" PRIu32
                       " entries, less than the %" PRIu64
                       " that a disk of %" PRIu64 " bytes needs",
                       header->l1_entries, needed, header->size_bytes);
    return qcow2_table_check("L1 table", AT_L1_OFFSET, header->l1_offset,
                             (uint64_t)header->l1_entries * 8,
                             header->cluster_bits, err);
}

int qcow2_header_check_refcounts(const struct qcow2_header *header,
                                 struct byre_error *err)
{
    const uint64_t bytes = (uint64_t)header->refcount_table_clusters
                           << header->cluster_bits;

    if (bytes == 0)
        return fail_at(err, BYRE_E_CORRUPT, AT_REFCOUNT_TABLE_CLUSTERS,
                       "refcount table has 0 clusters, less than the 1 that "
                       "every image needs");
    if (bytes > QCOW2_MAX_REFCOUNT_TABLE_BYTES)
        return fail_at(err, BYRE_E_CORRUPT, AT_REFCOUNT_TABLE_CLUSTERS,
                       "refcount table has %" PRIu64
                       " bytes, more than the limit of %" PRIu64,
                       bytes, QCOW2_MAX_REFCOUNT_TABLE_BYTES);
    return qcow2_table_check("refcount table", AT_REFCOUNT_TABLE_OFFSET,
                             header->refcount_table_offset, bytes,
                             header->cluster_bits, err);
}

int qcow2_header_check_snapshots(const struct qcow2_header *header,
                                 struct byre_error *err)
{
    if (header->snapshot_count > QCOW2_MAX_SNAPSHOTS)
        return fail_at(err, BYRE_E_CORRUPT, AT_SNAPSHOT_COUNT,
                       "snapshot table has %" PRIu32
                       " entries, more than the limit of %" PRIu32,
                       header->snapshot_count, QCOW2_MAX_SNAPSHOTS);
    return qcow2_table_check(
        "snapshot table", AT_SNAPSHOTS_OFFSET, header->snapshots_offset,
        (uint64_t)header->snapshot_count * QCOW2_SNAPSHOT_FIXED_BYTES,
        header->cluster_bits, err);
}

/* spec: qcow2 "Additional fields": the bit is set iff the type is not 0. */
static int check_compression(const struct qcow2_header *header,
                             struct byre_error *err)
{
    const bool bit = (header->incompatible & QCOW2_INCOMPAT_COMPRESSION) != 0;
    const unsigned type = header->compression_type;

    if (type > QCOW2_COMPRESSION_ZSTD)
        return fail_at(err, BYRE_E_UNSUPPORTED, AT_COMPRESSION_TYPE,
                       "compression type %u is not supported, only 0 (zlib) "
                       "and 1 (zstd) are",
                       type);
    if (type != QCOW2_COMPRESSION_ZLIB && !bit)
        return fail_at(err, BYRE_E_CORRUPT, AT_COMPRESSION_TYPE,
                       "compression type is %u, but incompatible feature bit 3 "
                       "(compression type) is not set",
                       type);
    if (type == QCOW2_COMPRESSION_ZLIB && bit)
        return fail_at(err, BYRE_E_CORRUPT, AT_INCOMPATIBLE,
                       "compression type is 0, but incompatible feature bit 3 "
                       "(compression type) is set");
    return BYRE_OK;
}

static int check_features(const struct qcow2_header *header,
                          struct byre_error *err)
{
    if (qcow2_has_extended_l2(header) &&
        header->cluster_bits < QCOW2_MIN_EXTENDED_CLUSTER_BITS)
        return fail_at(err, BYRE_E_CORRUPT, AT_CLUSTER_BITS,
                       "cluster size is %" PRIu64
                       " bytes, less than the %u that extended L2 entries need",
                       qcow2_cluster_bytes(header),
                       1U << QCOW2_MIN_EXTENDED_CLUSTER_BITS);
    if ((header->autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW) != 0 &&
        (header->incompatible & QCOW2_INCOMPAT_DATA_FILE) == 0)
        return fail_at(
            err, BYRE_E_CORRUPT, AT_AUTOCLEAR,
            "autoclear feature bit 1 (raw external data) is set, but "
            "incompatible feature bit 2 (external data file) is not");
    return check_compression(header, err);
}

int qcow2_header_check_disk(const struct qcow2_header *header,
                            struct byre_error *err)
{
    int r;

    r = check_features(header, err);
    if (r < 0)
        return r;
    return check_l1_table(header, err);
}

int qcow2_header_check(const struct qcow2_header *header,
                       struct byre_error *err)
{
    int r;

    r = qcow2_header_check_disk(header, err);
    if (r < 0)
        return r;

    r = qcow2_header_check_refcounts(header, err);
    if (r < 0)
        return r;

    return qcow2_header_check_snapshots(header, err);
}
