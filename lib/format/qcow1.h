/* SPDX-License-Identifier: MIT */
/*
 * QCOW version 1: a 48-byte header, an L1 table of plain offsets, L2 tables.
 *
 *     0 magic  4 version  8 backing name (offset, length at 16)  20 mtime
 *    24 size  32 cluster_bits  33 l2_bits  34 padding  36 crypt_method
 *    40 L1 offset (any alignment)
 *
 *   L2 entry  0: unallocated   63 = 0: host offset, 512-aligned
 *             63 = 1: compressed, 62..y length in bytes, y-1..0 byte offset,
 *                     y = 63 - cluster_bits
 */
#ifndef BYRE_FORMAT_QCOW1_H
#define BYRE_FORMAT_QCOW1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "byre.h"
#include "format/entry.h"

#define QCOW1_HEADER_BYTES           48
#define QCOW1_MIN_CLUSTER_BITS       9
#define QCOW1_MAX_CLUSTER_BITS       16
#define QCOW1_MIN_L2_BITS            6
#define QCOW1_MAX_L2_BITS            13
#define QCOW1_MAX_L1_ENTRIES         UINT64_C(0x0fffffff)
#define QCOW1_MAX_BACKING_NAME_BYTES 1023

struct qcow1_header {
    uint64_t backing_offset; /* 0: no backing file */
    uint32_t backing_bytes;
    uint32_t mtime;
    uint64_t size_bytes; /* as stored */
    uint8_t cluster_bits;
    uint8_t l2_bits;
    uint32_t crypt_method; /* 0 or 1 (AES) */
    uint64_t l1_offset;
};

/* The codes are those of qcow2_header_decode(). */
int qcow1_header_decode(const uint8_t *buf, size_t length,
                        struct qcow1_header *ret_header,
                        struct byre_error *err);
void qcow1_header_encode(const struct qcow1_header *header,
                         uint8_t buf[QCOW1_HEADER_BYTES]);

uint64_t qcow1_l1_entries(const struct qcow1_header *header);

/* L2_UNALLOCATED, L2_DATA, L2_COMPRESSED or L2_INVALID. */
struct l2_entry qcow1_l2_entry_decode(uint64_t raw, uint32_t cluster_bits);
uint64_t qcow1_l2_entry_encode(const struct l2_entry *entry,
                               uint32_t cluster_bits);

#endif
