/* SPDX-License-Identifier: MIT */
/*
 * Space for a part of the disk that nothing is allocated to yet.
 */
#ifndef BYRE_QCOW2_PREALLOCATE_H
#define BYRE_QCOW2_PREALLOCATE_H

#include "qcow2/internal.h"

/*
 * Gives whole clusters that read as zeroes to [offset, offset + length), as
 * `preallocation` (BYRE_PREALLOCATION_*, not OFF) asks.  The caller is alone.
 */
int qcow2_preallocate(struct qcow2 *qcow2, uint64_t offset, uint64_t length,
                      uint32_t preallocation, struct byre_error *err);

#endif
