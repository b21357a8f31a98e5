/* SPDX-License-Identifier: MIT */
/*
 * Files for a moment, in memory if the system has a place for that.
 */
#ifndef BYRE_TESTS_CRASH_SCRATCH_H
#define BYRE_TESTS_CRASH_SCRATCH_H

#include "byre.h"

#define SCRATCH_PATH 256

/* A new folder of this process; its name fits SCRATCH_PATH with room left. */
int scratch_folder(char *ret_path, struct byre_error *err);

/* Removes the folder and what is in it. */
void scratch_remove(const char *path);

/* The whole file in new memory. */
int scratch_load(const char *path, uint8_t **ret_bytes, size_t *ret_length,
                 struct byre_error *err);

/* Writes what a store holds to a new file. */
int scratch_save(const char *path, struct byre_store *store,
                 struct byre_error *err);

#endif
