/* SPDX-License-Identifier: MIT */
/*
 * One entry of the snapshot table; they lie back to back, each padded to eight
 * bytes.  spec: qcow2 "Snapshots".
 */
#ifndef BYRE_FORMAT_SNAPSHOT_H
#define BYRE_FORMAT_SNAPSHOT_H

#include "format/header.h"

#define QCOW2_MAX_SNAPSHOTS            UINT32_C(65536)
#define QCOW2_MAX_SNAPSHOT_TABLE_BYTES (UINT64_C(64) << 20)
#define QCOW2_MAX_SNAPSHOT_EXTRA_BYTES UINT32_C(1024)
/* Beyond the limit, and yet taken in to be cut to it. */
#define QCOW2_MOST_SNAPSHOT_EXTRA_BYTES (UINT32_C(1) << 20)
#define QCOW2_SNAPSHOT_FIXED_BYTES      40
#define QCOW2_SNAPSHOT_EXTRA_BYTES      24 /* what we write */

struct qcow2_snapshot {
    uint64_t l1_offset;
    uint32_t l1_entries;
    uint32_t date_sec;
    uint32_t date_nsec;
    uint64_t vm_clock_nsec;
    uint64_t vm_state_bytes;
    uint64_t size_bytes; /* of the disk */
    uint64_t icount;     /* BYRE_NO_ICOUNT: not recorded */
    /* These point into the buffer that was decoded. */
    const uint8_t *unknown_extra; /* beyond the 24 bytes known here */
    uint32_t unknown_extra_bytes;
    const char *id; /* not terminated */
    uint16_t id_bytes;
    const char *name;
    uint16_t name_bytes;
    /* How the extra data was stored, for writing it back. */
    uint32_t extra_bytes;
};

/*
 * Decodes the entry at the start of `buf`; *ret_entry_bytes is how far the next
 * one is.  `disk_size_bytes` stands in where the entry does not record the
 * disk's size.  Too little buffer, or extra data past the limit, is
 * BYRE_E_CORRUPT.  Only the padding may lie past the end of the buffer, since
 * files end behind the last name; *ret_entry_bytes is at most `length`.
 */
int qcow2_snapshot_decode(const uint8_t *buf, size_t length,
                          uint64_t disk_size_bytes,
                          struct qcow2_snapshot *ret_snapshot,
                          size_t *ret_entry_bytes, struct byre_error *err);

/* The same with extra data of up to QCOW2_MOST_SNAPSHOT_EXTRA_BYTES. */
int qcow2_snapshot_decode_any(const uint8_t *buf, size_t length,
                              uint64_t disk_size_bytes,
                              struct qcow2_snapshot *ret_snapshot,
                              size_t *ret_entry_bytes, struct byre_error *err);

/*
 * Checks the disk and the L1 table of a snapshot, before it is used.  The table
 * may be shorter than the disk: what it does not cover is unallocated.
 */
int qcow2_snapshot_check(const struct qcow2_snapshot *snapshot,
                         const struct qcow2_header *header,
                         struct byre_error *err);

/* Bytes the entry takes, with extra_bytes of extra data; and writing it. */
size_t qcow2_snapshot_bytes(const struct qcow2_snapshot *snapshot);
void qcow2_snapshot_encode(const struct qcow2_snapshot *snapshot, uint8_t *buf);

#endif
