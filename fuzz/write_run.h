/* SPDX-License-Identifier: MIT */
/*
 * An image that is open for writing in checked stores, and the operations of a
 * script on it (open_write.c says how one is written).
 */
#ifndef BYRE_FUZZ_WRITE_RUN_H
#define BYRE_FUZZ_WRITE_RUN_H

#include "checked_store.h"
#include "disk_model.h"

#define WRITE_MAX_OPS  32
#define WRITE_OP_BYTES 8

struct write_run {
    struct checked_store image;
    struct checked_store data;
    struct byre_store *image_store;
    struct byre_store *data_store;
    struct byre *backing;
    struct byre_open_options options;
    struct byre *img;
    struct disk_model model;
    uint64_t size_bytes;
    uint64_t cluster_bytes;
    bool sound;   /* the model holds, and must */
    bool guessed; /* raw by a guess, which the guest may change */
    bool trouble; /* something failed that was not the caller's fault */
};

/* False if the image is refused, which is checked to be right. */
bool write_run_open(struct write_run *run);

/* Flushes and closes; what may have been lost is forgotten. */
void write_run_close(struct write_run *run);

/*
 * Opens again with stores that fail no more.  What was opened once opens again:
 * we write nothing that we refuse.  False if it need not, and does not.
 */
bool write_run_reopen(struct write_run *run);

/* Compares the window with the model, and learns what that did not know. */
void write_run_read_window(struct write_run *run);

/* Returns whether the image is open at the end. */
bool write_run_script(struct write_run *run, struct fuzz_input *script);

uint64_t write_run_disk_size(struct byre *img);
bool write_run_stores_failed(const struct write_run *run);

#endif
