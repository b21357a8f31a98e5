/* SPDX-License-Identifier: MIT */
/*
 * The start of a new image's first cluster: header, extensions, backing name.
 */
#ifndef BYRE_QCOW2_CREATE_HEAD_H
#define BYRE_QCOW2_CREATE_HEAD_H

#include "qcow2/create.h"

/*
 * Makes creation->head of its header, options and layout, and completes the
 * header.  BYRE_E_INVALID if it does not fit the first cluster.
 */
int create_head(struct qcow2_creation *creation, struct byre_error *err);

#endif
