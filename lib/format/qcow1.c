/* SPDX-License-Identifier: MIT */
#include "format/qcow1.h"

#include <inttypes.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "format/header.h"
#include "store/store.h"

/* Where the fields are that a message may have to point at. */
#define AT_VERSION        4
#define AT_BACKING_OFFSET 8
#define AT_BACKING_BYTES  16
#define AT_MTIME          20
#define AT_SIZE           24
#define AT_CLUSTER_BITS   32
#define AT_L2_BITS        33
#define AT_CRYPT_METHOD   36
#define AT_L1_OFFSET      40

#define ENTRY_COMPRESSED (UINT64_C(1) << 63)
#define SECTOR_BYTES     512

static int check_magic_and_version(const uint8_t *raw, struct byre_error *err)
{
    const uint32_t magic = be32_get(raw);
    const uint32_t version = be32_get(raw + AT_VERSION);

    if (magic != QCOW_MAGIC)
        return fail_at(
            err, BYRE_E_FORMAT, 0,
            "Image is not in qcow format: it starts with 0x%08" PRIx32
            ", not with 0x%08" PRIx32,
            magic, QCOW_MAGIC);
    if (version != 1)
        return fail_at(err, BYRE_E_UNSUPPORTED, AT_VERSION,
                       "version %" PRIu32
                       " is not supported, only 1 is in format qcow",
                       version);
    return BYRE_OK;
}

/* The numbers that the checks behind this one shift by. */
static int check_bits(const struct qcow1_header *header, struct byre_error *err)
{
    if (header->cluster_bits < QCOW1_MIN_CLUSTER_BITS ||
        header->cluster_bits > QCOW1_MAX_CLUSTER_BITS)
        return fail_at(err, BYRE_E_CORRUPT, AT_CLUSTER_BITS,
                       "cluster_bits is %u, outside the limits of %d to %d",
                       (unsigned)header->cluster_bits, QCOW1_MIN_CLUSTER_BITS,
                       QCOW1_MAX_CLUSTER_BITS);
    if (header->l2_bits < QCOW1_MIN_L2_BITS ||
        header->l2_bits > QCOW1_MAX_L2_BITS)
        return fail_at(err, BYRE_E_CORRUPT, AT_L2_BITS,
                       "l2_bits is %u, outside the limits of %d to %d",
                       (unsigned)header->l2_bits, QCOW1_MIN_L2_BITS,
                       QCOW1_MAX_L2_BITS);
    if (header->crypt_method > 1)
        return fail_at(err, BYRE_E_UNSUPPORTED, AT_CRYPT_METHOD,
                       "encryption method %" PRIu32
                       " is not supported, only 0 (none) and 1 (AES) are",
                       header->crypt_method);
    return BYRE_OK;
}

static int check_l1_table(const struct qcow1_header *header,
                          struct byre_error *err)
{
    const uint64_t entries = qcow1_l1_entries(header);

    if (header->size_bytes < 2)
        return fail_at(err, BYRE_E_CORRUPT, AT_SIZE,
                       "disk size is %" PRIu64 " bytes, less than the least "
                       "of 2",
                       header->size_bytes);
    if (entries > QCOW1_MAX_L1_ENTRIES)
        return fail_at(err, BYRE_E_CORRUPT, AT_SIZE,
                       "disk of %" PRIu64 " bytes needs %" PRIu64
                       " L1 entries, more than the limit of %" PRIu64,
                       header->size_bytes, entries, QCOW1_MAX_L1_ENTRIES);
    if (!range_within(header->l1_offset, entries * 8, STORE_MAX_OFFSET))
        return fail_at(err, BYRE_E_CORRUPT, AT_L1_OFFSET,
                       "L1 table of %" PRIu64 " bytes at offset %" PRIu64
                       " ends past the largest offset of %" PRIu64,
                       entries * 8, header->l1_offset, STORE_MAX_OFFSET);
    return BYRE_OK;
}

static int check_backing_name(const struct qcow1_header *header,
                              struct byre_error *err)
{
    if (header->backing_offset == 0)
        return BYRE_OK;
    if (header->backing_bytes > QCOW1_MAX_BACKING_NAME_BYTES)
        return fail_at(err, BYRE_E_CORRUPT, AT_BACKING_BYTES,
                       "backing file name has %" PRIu32
                       " bytes, more than the limit of %d",
                       header->backing_bytes, QCOW1_MAX_BACKING_NAME_BYTES);
    if (!range_within(header->backing_offset, header->backing_bytes,
                      STORE_MAX_OFFSET))
        return fail_at(
            err, BYRE_E_CORRUPT, AT_BACKING_OFFSET,
            "backing file name of %" PRIu32 " bytes at offset %" PRIu64
            " ends past the largest offset of %" PRIu64,
            header->backing_bytes, header->backing_offset, STORE_MAX_OFFSET);
    return BYRE_OK;
}

static int check_fields(const struct qcow1_header *header,
                        struct byre_error *err)
{
    int r;

    r = check_bits(header, err);
    if (r < 0)
        return r;

    r = check_l1_table(header, err);
    if (r < 0)
        return r;

    return check_backing_name(header, err);
}

int qcow1_header_decode(const uint8_t *buf, size_t length,
                        struct qcow1_header *ret_header, struct byre_error *err)
{
    uint8_t raw[QCOW1_HEADER_BYTES] = { 0 };
    struct qcow1_header header;
    int r;

    if (length > 0)
        memcpy(raw, buf, (size_t)min_u64(length, sizeof(raw)));

    r = check_magic_and_version(raw, err);
    if (r < 0)
        return r;

    header = (struct qcow1_header){
        .backing_offset = be64_get(raw + AT_BACKING_OFFSET),
        .backing_bytes = be32_get(raw + AT_BACKING_BYTES),
        .mtime = be32_get(raw + AT_MTIME),
        .size_bytes = be64_get(raw + AT_SIZE),
        .cluster_bits = raw[AT_CLUSTER_BITS],
        .l2_bits = raw[AT_L2_BITS],
        .crypt_method = be32_get(raw + AT_CRYPT_METHOD),
        .l1_offset = be64_get(raw + AT_L1_OFFSET),
    };
    r = check_fields(&header, err);
    if (r < 0)
        return r;

    /* Without an offset there is no name, whatever length is stored. */
    if (header.backing_offset == 0)
        header.backing_bytes = 0;
    *ret_header = header;
    return BYRE_OK;
}

void qcow1_header_encode(const struct qcow1_header *header,
                         uint8_t buf[QCOW1_HEADER_BYTES])
{
    memset(buf, 0, QCOW1_HEADER_BYTES);
    be32_put(buf, QCOW_MAGIC);
    be32_put(buf + AT_VERSION, 1);
    be64_put(buf + AT_BACKING_OFFSET, header->backing_offset);
    be32_put(buf + AT_BACKING_BYTES, header->backing_bytes);
    be32_put(buf + AT_MTIME, header->mtime);
    be64_put(buf + AT_SIZE, header->size_bytes);
    buf[AT_CLUSTER_BITS] = header->cluster_bits;
    buf[AT_L2_BITS] = header->l2_bits;
    be32_put(buf + AT_CRYPT_METHOD, header->crypt_method);
    be64_put(buf + AT_L1_OFFSET, header->l1_offset);
}

uint64_t qcow1_l1_entries(const struct qcow1_header *header)
{
    return div_round_up(header->size_bytes,
                        UINT64_C(1)
                            << (header->cluster_bits + header->l2_bits));
}

struct l2_entry qcow1_l2_entry_decode(uint64_t raw, uint32_t cluster_bits)
{
    const uint32_t y = 63 - cluster_bits;
    const uint64_t cluster_mask = (UINT64_C(1) << cluster_bits) - 1;
    struct l2_entry entry = { .kind = L2_INVALID };

    if (raw == 0) {
        entry.kind = L2_UNALLOCATED;
    } else if ((raw & ENTRY_COMPRESSED) == 0) {
        if (is_aligned(raw, SECTOR_BYTES))
            entry = (struct l2_entry){ .kind = L2_DATA, .host_offset = raw };
    } else if (((raw >> y) & cluster_mask) != 0) {
        entry.kind = L2_COMPRESSED;
        entry.host_offset = raw & ((UINT64_C(1) << y) - 1);
        entry.compressed_bytes = (uint32_t)((raw >> y) & cluster_mask);
    }
    return entry;
}

uint64_t qcow1_l2_entry_encode(const struct l2_entry *entry,
                               uint32_t cluster_bits)
{
    if (entry->kind == L2_DATA)
        return entry->host_offset;
    if (entry->kind == L2_COMPRESSED)
        return ENTRY_COMPRESSED |
               (uint64_t)entry->compressed_bytes << (63 - cluster_bits) |
               entry->host_offset;
    assert(entry->kind == L2_UNALLOCATED);
    return 0;
}
