/* SPDX-License-Identifier: MIT */
/*
 * Persistent bitmaps: directory entries and bitmap table entries.
 * spec: qcow2 "Bitmaps".
 */
#ifndef BYRE_FORMAT_BITMAP_H
#define BYRE_FORMAT_BITMAP_H

#include "format/header.h"

#define QCOW2_MAX_BITMAPS                 UINT32_C(65535)
#define QCOW2_MAX_BITMAP_DIRECTORY_BYTES  (UINT64_C(1024) * 65535)
#define QCOW2_MAX_BITMAP_NAME_BYTES       1023
#define QCOW2_MIN_BITMAP_GRANULARITY_BITS 9
#define QCOW2_MAX_BITMAP_GRANULARITY_BITS 31
#define QCOW2_MAX_BITMAP_TABLE_ENTRIES    UINT32_C(0x8000000)
#define QCOW2_MAX_BITMAP_BYTES            (UINT64_C(512) << 20)

#define QCOW2_BITMAP_FLAG_IN_USE (UINT32_C(1) << 0)
#define QCOW2_BITMAP_FLAG_AUTO   (UINT32_C(1) << 1)
#define QCOW2_BITMAP_FLAGS_KNOWN UINT32_C(3)

#define QCOW2_BITMAP_FIXED_BYTES         24
#define QCOW2_BITMAP_TYPE_DIRTY_TRACKING 1

struct qcow2_bitmap_entry {
    uint64_t table_offset;
    uint32_t table_entries;
    uint32_t flags; /* QCOW2_BITMAP_FLAG_* */
    uint8_t granularity_bits;
    const char *name; /* in the buffer that was decoded, not terminated */
    uint16_t name_bytes;
};

/*
 * Decodes the directory entry at the start of `buf`; *ret_entry_bytes is how
 * far the next one is.  Strict as QEMU is: unknown flags, extra data, a type
 * other than 1, limits, and a table that does not fit a disk of
 * `disk_size_bytes` are BYRE_E_CORRUPT or BYRE_E_UNSUPPORTED.  (A table of a
 * bitmap in use may have any size within the limits: it is never read.)
 */
int qcow2_bitmap_entry_decode(const uint8_t *buf, size_t length,
                              uint32_t cluster_bits, uint64_t disk_size_bytes,
                              struct qcow2_bitmap_entry *ret_entry,
                              size_t *ret_entry_bytes, struct byre_error *err);

size_t qcow2_bitmap_entry_bytes(const struct qcow2_bitmap_entry *entry);
void qcow2_bitmap_entry_encode(const struct qcow2_bitmap_entry *entry,
                               uint8_t *buf);

/* Table entries a bitmap needs. */
uint64_t qcow2_bitmap_table_entries(uint64_t disk_size_bytes,
                                    uint32_t granularity_bits,
                                    uint32_t cluster_bits);

enum bitmap_cluster_kind {
    BITMAP_CLUSTER_ZEROES, /* all bits clear, nothing stored */
    BITMAP_CLUSTER_ONES,   /* all bits set, nothing stored */
    BITMAP_CLUSTER_DATA
};

/* False, outputs untouched, if reserved bits are set or it is unaligned. */
bool qcow2_bitmap_table_entry_decode(uint64_t raw, uint32_t cluster_bits,
                                     enum bitmap_cluster_kind *ret_kind,
                                     uint64_t *ret_host_offset);
uint64_t qcow2_bitmap_table_entry_encode(enum bitmap_cluster_kind kind,
                                         uint64_t host_offset);

#endif
