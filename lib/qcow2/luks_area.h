/* SPDX-License-Identifier: MIT */
/*
 * The LUKS area inside an image, for those who read and change its header.
 */
#ifndef BYRE_QCOW2_LUKS_AREA_H
#define BYRE_QCOW2_LUKS_AREA_H

#include "crypto/luks1.h"
#include "qcow2/internal.h"

/* A luks1_read_fn with a struct qcow2 as `user`: reads within the area, where
   what it says of itself lies too. */
int qcow2_read_luks_area(void *user, uint64_t offset, void *buf, size_t length,
                         struct byre_error *err);

/* The header as it is in the file now; BYRE_E_CORRUPT if there is none. */
int qcow2_read_luks_header(struct qcow2 *qcow2, struct luks1_header *ret,
                           struct byre_error *err);

/* What byre_get_luks_info() tells of slots is this from now on. */
void qcow2_luks_slots_changed(struct qcow2 *qcow2,
                              const struct luks1_header *header);

#endif
