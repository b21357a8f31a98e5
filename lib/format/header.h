/* SPDX-License-Identifier: MIT */
/*
 * The QCOW2 header, versions 2 and 3: the first bytes of the first cluster.
 *
 *     0 magic  4 version  8 backing name (offset, length at 16)
 *    20 cluster_bits  24 size  32 crypt_method  36 L1 (entries, offset at 40)
 *    48 refcount table (offset, clusters at 56)  60 snapshots (count, offset)
 *  --- version 3 ---
 *    72 incompatible  80 compatible  88 autoclear  96 refcount_order
 *   100 header_length  104 compression_type  105 padding  112 unknown fields
 *
 * Behind it come the header extensions (extensions.h), then the backing name.
 * spec: qcow2 "Header".
 */
#ifndef BYRE_FORMAT_HEADER_H
#define BYRE_FORMAT_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "byre.h"

#define QCOW_MAGIC UINT32_C(0x514649fb) /* "QFI\xfb", all versions */

#define QCOW2_V2_HEADER_BYTES 72
#define QCOW2_V3_HEADER_BYTES 104 /* the least there is */
#define QCOW2_HEADER_BYTES    112 /* what we write */

#define QCOW2_MIN_CLUSTER_BITS          9
#define QCOW2_MAX_CLUSTER_BITS          21
#define QCOW2_MIN_EXTENDED_CLUSTER_BITS 14
#define QCOW2_MAX_REFCOUNT_ORDER        6
#define QCOW2_MAX_L1_ENTRIES            UINT32_C(4194304) /* 32 MiB */
#define QCOW2_MAX_REFCOUNT_TABLE_BYTES  UINT64_C(8388608)
#define QCOW2_MAX_BACKING_NAME_BYTES    1023

#define QCOW2_INCOMPAT_DIRTY          (UINT64_C(1) << 0)
#define QCOW2_INCOMPAT_CORRUPT        (UINT64_C(1) << 1)
#define QCOW2_INCOMPAT_DATA_FILE      (UINT64_C(1) << 2)
#define QCOW2_INCOMPAT_COMPRESSION    (UINT64_C(1) << 3)
#define QCOW2_INCOMPAT_EXTENDED_L2    (UINT64_C(1) << 4)
#define QCOW2_INCOMPAT_KNOWN          UINT64_C(0x1f)
#define QCOW2_COMPAT_LAZY_REFCOUNTS   (UINT64_C(1) << 0)
#define QCOW2_AUTOCLEAR_BITMAPS       (UINT64_C(1) << 0)
#define QCOW2_AUTOCLEAR_DATA_FILE_RAW (UINT64_C(1) << 1)

enum { QCOW2_CRYPT_NONE = 0, QCOW2_CRYPT_AES = 1, QCOW2_CRYPT_LUKS = 2 };
enum { QCOW2_COMPRESSION_ZLIB = 0, QCOW2_COMPRESSION_ZSTD = 1 };

struct qcow2_header {
    uint32_t version;        /* 2 or 3 */
    uint64_t backing_offset; /* 0: no backing file */
    uint32_t backing_bytes;
    uint32_t cluster_bits;
    uint64_t size_bytes;   /* of the disk, as stored */
    uint32_t crypt_method; /* QCOW2_CRYPT_* */
    uint32_t l1_entries;
    uint64_t l1_offset;
    uint64_t refcount_table_offset;
    uint32_t refcount_table_clusters;
    uint32_t snapshot_count;
    uint64_t snapshots_offset;
    uint64_t incompatible; /* QCOW2_INCOMPAT_*; 0 in version 2 */
    uint64_t compatible;
    uint64_t autoclear;
    uint32_t refcount_order;  /* 4 in version 2 */
    uint32_t header_bytes;    /* header_length; 72 in version 2 */
    uint8_t compression_type; /* QCOW2_COMPRESSION_* */
};

/* What the L2 layout follows from. */
static inline bool qcow2_has_extended_l2(const struct qcow2_header *header)
{
    return (header->incompatible & QCOW2_INCOMPAT_EXTENDED_L2) != 0;
}

static inline uint64_t qcow2_cluster_bytes(const struct qcow2_header *header)
{
    return UINT64_C(1) << header->cluster_bits;
}

static inline uint32_t qcow2_l2_entries(const struct qcow2_header *header)
{
    return (uint32_t)(qcow2_cluster_bytes(header) /
                      (qcow2_has_extended_l2(header) ? 16 : 8));
}

/* Whether `buf` starts with the magic and `*ret_version` is what follows. */
bool qcow_probe(const uint8_t *buf, size_t length, uint32_t *ret_version);

/*
 * Decodes the header in the first `length` bytes of the file; a shorter file
 * counts as zero-padded.  Does not judge the feature bits: see
 * qcow2_header_check().  Not a QCOW2 magic is BYRE_E_FORMAT, a version other
 * than 2 and 3 or an unknown encryption method BYRE_E_UNSUPPORTED, a field that
 * lies BYRE_E_CORRUPT.
 */
int qcow2_header_decode(const uint8_t *buf, size_t length,
                        struct qcow2_header *ret_header,
                        struct byre_error *err);

/*
 * The inverse.  Writes header_bytes bytes; those from 112 on, which belong to
 * fields that only a newer version knows, come from `unknown` (header_bytes -
 * 112 of them, may be NULL if there are none).
 */
void qcow2_header_encode(const struct qcow2_header *header,
                         const uint8_t *unknown, uint8_t *buf);

/*
 * Checks the tables the header describes: alignment, limits, sums within
 * STORE_MAX_OFFSET, an L1 table large enough for the disk, compression type
 * against its bit, cluster size against extended L2.
 */
int qcow2_header_check(const struct qcow2_header *header,
                       struct byre_error *err);

/* Its parts: what the disk needs, the refcount table, the snapshot table. */
int qcow2_header_check_disk(const struct qcow2_header *header,
                            struct byre_error *err);
int qcow2_header_check_refcounts(const struct qcow2_header *header,
                                 struct byre_error *err);
int qcow2_header_check_snapshots(const struct qcow2_header *header,
                                 struct byre_error *err);

/*
 * Checks that a table of `length_bytes` at `table_offset` is cluster-aligned
 * and ends within STORE_MAX_OFFSET.  `object` names it in the message;
 * `field_offset`, which may be BYRE_NO_OFFSET, is where the file describes it.
 */
int qcow2_table_check(const char *object, uint64_t field_offset,
                      uint64_t table_offset, uint64_t length_bytes,
                      uint32_t cluster_bits, struct byre_error *err);

/* Entries the L1 table needs for a disk of `size_bytes`. */
uint64_t qcow2_l1_entries_needed(const struct qcow2_header *header,
                                 uint64_t size_bytes);

#endif
