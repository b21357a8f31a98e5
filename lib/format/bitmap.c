/* SPDX-License-Identifier: MIT */
#include "format/bitmap.h"

#include <inttypes.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"

/* What of a name is shown in a message. */
#define MAX_SHOWN_BYTES 127

#define TABLE_ENTRY_ONES        (UINT64_C(1) << 0)
#define TABLE_ENTRY_OFFSET_MASK UINT64_C(0x00fffffffffffe00)

/* The fixed fields beside those of the struct. */
struct fixed {
    uint32_t extra_bytes;
    uint8_t type;
};

static int fail_cut_off(uint64_t needed_bytes, size_t length,
                        struct byre_error *err)
{
    return fail(err, BYRE_E_CORRUPT,
                "bitmap directory entry needs %" PRIu64
                " bytes, more than the %zu left in the directory",
                needed_bytes, length);
}

/* What decides how long the entry is comes first, then the name is at hand. */
static int check_shape(const struct qcow2_bitmap_entry *entry,
                       const struct fixed *fixed, size_t length,
                       struct byre_error *err)
{
    if (fixed->extra_bytes != 0)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "bitmap directory entry has %" PRIu32
                    " bytes of extra data, which is not supported",
                    fixed->extra_bytes);
    if (entry->name_bytes > QCOW2_MAX_BITMAP_NAME_BYTES)
        return fail(err, BYRE_E_CORRUPT,
                    "bitmap name has %u bytes, more than the limit of %d",
                    (unsigned)entry->name_bytes, QCOW2_MAX_BITMAP_NAME_BYTES);
    if (qcow2_bitmap_entry_bytes(entry) > length)
        return fail_cut_off(qcow2_bitmap_entry_bytes(entry), length, err);
    return BYRE_OK;
}

static int check_features(const struct qcow2_bitmap_entry *entry,
                          const struct fixed *fixed, struct byre_error *err)
{
    const uint32_t unknown_flags = entry->flags & ~QCOW2_BITMAP_FLAGS_KNOWN;

    if (unknown_flags != 0)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "flags 0x%" PRIx32 " are not supported, only 0x%" PRIx32
                    " are",
                    unknown_flags, QCOW2_BITMAP_FLAGS_KNOWN);
    if (fixed->type != QCOW2_BITMAP_TYPE_DIRTY_TRACKING)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "type %u is not supported, only %d (dirty tracking) is",
                    (unsigned)fixed->type, QCOW2_BITMAP_TYPE_DIRTY_TRACKING);
    if (entry->granularity_bits < QCOW2_MIN_BITMAP_GRANULARITY_BITS ||
        entry->granularity_bits > QCOW2_MAX_BITMAP_GRANULARITY_BITS)
        return fail(err, BYRE_E_CORRUPT,
                    "granularity_bits is %u, outside the limits of %d to %d",
                    (unsigned)entry->granularity_bits,
                    QCOW2_MIN_BITMAP_GRANULARITY_BITS,
                    QCOW2_MAX_BITMAP_GRANULARITY_BITS);
    return BYRE_OK;
}

static int check_table_limits(const struct qcow2_bitmap_entry *entry,
                              uint32_t cluster_bits, struct byre_error *err)
{
    const uint64_t bitmap_bytes = (uint64_t)entry->table_entries
                                  << cluster_bits;

    if (entry->table_entries == 0)
        return fail(err, BYRE_E_CORRUPT,
                    "bitmap table has 0 entries, less than the least of 1");
    if (entry->table_entries > QCOW2_MAX_BITMAP_TABLE_ENTRIES)
        return fail(err, BYRE_E_CORRUPT,
                    "bitmap table has %" PRIu32
                    " entries, more than the limit of %" PRIu32,
                    entry->table_entries, QCOW2_MAX_BITMAP_TABLE_ENTRIES);
    if (bitmap_bytes > QCOW2_MAX_BITMAP_BYTES)
        return fail(err, BYRE_E_CORRUPT,
                    "bitmap has %" PRIu64
                    " bytes, more than the limit of %" PRIu64,
                    bitmap_bytes, QCOW2_MAX_BITMAP_BYTES);
    if (entry->table_offset == 0)
        return fail(err, BYRE_E_CORRUPT,
                    "bitmap table is at offset 0, where the header is");
    return qcow2_table_check(
        "bitmap table", BYRE_NO_OFFSET, entry->table_offset,
        (uint64_t)entry->table_entries * 8, cluster_bits, err);
}

static int check_table_fits(const struct qcow2_bitmap_entry *entry,
                            uint32_t cluster_bits, uint64_t disk_size_bytes,
                            struct byre_error *err)
{
    const uint64_t needed = qcow2_bitmap_table_entries(
        disk_size_bytes, entry->granularity_bits, cluster_bits);

    /* The table of a bitmap that was left in use is never read. */
    if ((entry->flags & QCOW2_BITMAP_FLAG_IN_USE) != 0)
        return BYRE_OK;
    if (entry->table_entries != needed)
        return fail(err, BYRE_E_CORRUPT,
                    "bitmap table has %" PRIu32
                    " entries, but a disk of %" PRIu64 " bytes needs %" PRIu64,
                    entry->table_entries, disk_size_bytes, needed);
    return BYRE_OK;
}

static int check_entry(const struct qcow2_bitmap_entry *entry,
                       const struct fixed *fixed, uint32_t cluster_bits,
                       uint64_t disk_size_bytes, struct byre_error *err)
{
    int r;

    r = check_features(entry, fixed, err);
    if (r < 0)
        return r;

    r = check_table_limits(entry, cluster_bits, err);
    if (r < 0)
        return r;

    return check_table_fits(entry, cluster_bits, disk_size_bytes, err);
}

int qcow2_bitmap_entry_decode(const uint8_t *buf, size_t length,
                              uint32_t cluster_bits, uint64_t disk_size_bytes,
                              struct qcow2_bitmap_entry *ret_entry,
                              size_t *ret_entry_bytes, struct byre_error *err)
{
    struct qcow2_bitmap_entry entry;
    struct fixed fixed;
    int r;

    if (length < QCOW2_BITMAP_FIXED_BYTES)
        return fail_cut_off(QCOW2_BITMAP_FIXED_BYTES, length, err);

    entry.table_offset = be64_get(buf);
    entry.table_entries = be32_get(buf + 8);
    entry.flags = be32_get(buf + 12);
    fixed.type = buf[16];
    entry.granularity_bits = buf[17];
    entry.name_bytes = be16_get(buf + 18);
    fixed.extra_bytes = be32_get(buf + 20);
    entry.name = (const char *)buf + QCOW2_BITMAP_FIXED_BYTES;

    r = check_shape(&entry, &fixed, length, err);
    if (r < 0)
        return r;

    r = check_entry(&entry, &fixed, cluster_bits, disk_size_bytes, err);
    if (r < 0) {
        error_prefix(err, "bitmap %.*s",
                     (int)min_u64(entry.name_bytes, MAX_SHOWN_BYTES),
                     entry.name);
        return r;
    }

    *ret_entry = entry;
    *ret_entry_bytes = qcow2_bitmap_entry_bytes(&entry);
    return BYRE_OK;
}

size_t qcow2_bitmap_entry_bytes(const struct qcow2_bitmap_entry *entry)
{
    return (size_t)align_up(
        (uint64_t)QCOW2_BITMAP_FIXED_BYTES + entry->name_bytes, 8);
}

void qcow2_bitmap_entry_encode(const struct qcow2_bitmap_entry *entry,
                               uint8_t *buf)
{
    memset(buf, 0, qcow2_bitmap_entry_bytes(entry));
    be64_put(buf, entry->table_offset);
    be32_put(buf + 8, entry->table_entries);
    be32_put(buf + 12, entry->flags);
    buf[16] = QCOW2_BITMAP_TYPE_DIRTY_TRACKING;
    buf[17] = entry->granularity_bits;
    be16_put(buf + 18, entry->name_bytes);
    if (entry->name_bytes > 0)
        memcpy(buf + QCOW2_BITMAP_FIXED_BYTES, entry->name, entry->name_bytes);
}

uint64_t qcow2_bitmap_table_entries(uint64_t disk_size_bytes,
                                    uint32_t granularity_bits,
                                    uint32_t cluster_bits)
{
    const uint64_t bits =
        div_round_up(disk_size_bytes, UINT64_C(1) << granularity_bits);

    return div_round_up(div_round_up(bits, 8), UINT64_C(1) << cluster_bits);
}

bool qcow2_bitmap_table_entry_decode(uint64_t raw, uint32_t cluster_bits,
                                     enum bitmap_cluster_kind *ret_kind,
                                     uint64_t *ret_host_offset)
{
    const uint64_t offset = raw & TABLE_ENTRY_OFFSET_MASK;
    const uint64_t rest = raw & ~TABLE_ENTRY_OFFSET_MASK;

    if (!is_aligned(offset, UINT64_C(1) << cluster_bits))
        return false;
    /* Bit 0 has a meaning only where there is no offset. */
    if (rest != 0 && (offset != 0 || rest != TABLE_ENTRY_ONES))
        return false;

    if (offset != 0)
        *ret_kind = BITMAP_CLUSTER_DATA;
    else
        *ret_kind = rest != 0 ? BITMAP_CLUSTER_ONES : BITMAP_CLUSTER_ZEROES;
    *ret_host_offset = offset;
    return true;
}

uint64_t qcow2_bitmap_table_entry_encode(enum bitmap_cluster_kind kind,
                                         uint64_t host_offset)
{
    switch (kind) {
    case BITMAP_CLUSTER_ZEROES:
        return 0;
    case BITMAP_CLUSTER_ONES:
        return TABLE_ENTRY_ONES;
    case BITMAP_CLUSTER_DATA:
        break;
    }
    return host_offset;
}
