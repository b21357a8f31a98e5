/* SPDX-License-Identifier: MIT */
/*
 * Making a new QCOW2 image.  First it is thought through, down to the last byte
 * and key, and nothing is touched; then it is written in one pass, in bulk,
 * its header last (engine/filler.h).
 */
#ifndef BYRE_QCOW2_CREATE_H
#define BYRE_QCOW2_CREATE_H

#include "engine/filler.h"
#include "qcow2/layout.h"

/* A new image that has not been written. */
struct qcow2_creation {
    const struct byre_create_options *opts;
    struct qcow2_header header;
    struct layout layout;
    uint8_t *luks_area; /* header and key material, or NULL */
    uint64_t luks_bytes;
    uint8_t *head; /* the start of the first cluster: header, extensions, names
                    */
    size_t head_bytes;
};

/*
 * Checks all that can be told of the options before the disk's size is known.
 * In `opts`, here and below, version, cluster size and refcount width are set,
 * and what all formats have in common was checked.
 */
int qcow2_create_check(const struct byre_create_options *opts,
                       struct byre_error *err);

/*
 * Thinks out an image for options that were checked and have a size; `opts`
 * must outlive the result, to be released with qcow2_creation_done().  With
 * LUKS this makes the key, and takes its time.
 */
int qcow2_creation_init(struct qcow2_creation *ret_creation,
                        const struct byre_create_options *opts,
                        struct byre_error *err);

void qcow2_creation_done(struct qcow2_creation *creation);

/*
 * Writes it through `filler`.  `data_reads_zero` tells whether an external data
 * file, if it has one, holds nothing but zeroes.
 */
int qcow2_creation_write(const struct qcow2_creation *creation,
                         struct filler *filler, bool data_reads_zero,
                         struct byre_error *err);

/* The length of its file. */
uint64_t qcow2_creation_bytes(const struct qcow2_creation *creation);

/* Whether guest clusters live in a file of their own. */
static inline bool
qcow2_create_has_data_file(const struct byre_create_options *opts)
{
    return opts->data_file != NULL || opts->data_store != NULL;
}

#endif
