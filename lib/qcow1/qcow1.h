/* SPDX-License-Identifier: MIT */
/*
 * The engine for QCOW version 1.
 */
#ifndef BYRE_QCOW1_QCOW1_H
#define BYRE_QCOW1_QCOW1_H

#include "engine/engine.h"

/* The same as qcow2_open(). */
int qcow1_open(struct byre_store *store, const struct engine_limits *limits,
               struct engine **ret_engine, struct byre_error *err);

#endif
