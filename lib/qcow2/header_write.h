/* SPDX-License-Identifier: MIT */
/*
 * Changes to the live header: each is one write within its first 512 bytes, of
 * whole fields, so that a crash leaves the old or the new.  Names, extensions,
 * unknown fields and their order stay as they are.
 *
 * Each call writes its field, and then changes qcow2->header in memory.  None
 * of them waits for a barrier: the caller orders them.
 */
#ifndef BYRE_QCOW2_HEADER_WRITE_H
#define BYRE_QCOW2_HEADER_WRITE_H

#include "qcow2/internal.h"

/* Feature bits, all three words (version 3 only). */
int header_write_features(struct qcow2 *qcow2, uint64_t incompatible,
                          uint64_t compatible, uint64_t autoclear,
                          struct byre_error *err);

/* The disk's size and its L1 table together. */
int header_write_disk(struct qcow2 *qcow2, uint64_t size_bytes,
                      uint64_t l1_offset, uint32_t l1_entries,
                      struct byre_error *err);

int header_write_refcount_table(struct qcow2 *qcow2, uint64_t offset,
                                uint32_t clusters, struct byre_error *err);

int header_write_snapshots(struct qcow2 *qcow2, uint64_t offset, uint32_t count,
                           struct byre_error *err);

#endif
