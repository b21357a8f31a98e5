/* SPDX-License-Identifier: MIT */
/*
 * Where converted disks go: an image; or raw, a new file, an existing file or
 * block device, or a pipe.
 *
 * What it made itself is removed again when the work fails; an existing file
 * that it had emptied is left empty, never half-filled.
 */
#ifndef BYRE_JOB_TARGET_H
#define BYRE_JOB_TARGET_H

#include <stdatomic.h>
#include <stdbool.h>

#include "image/image.h"
#include "job/target_file.h"
#include "job/turns.h"

/* What is wanted of a target. */
struct target_request {
    const char *name;
    uint32_t flags;      /* BYRE_CONVERT_* */
    uint64_t size_bytes; /* of the disk */
    /* Sizes of the structs are this library's; NULL as in the public options.
     */
    const struct byre_create_options *create;
    const struct byre_open_options *open;
    struct byre *const *sources;
    size_t source_count;
    const atomic_bool *canceled; /* must outlive the target */
};

struct target {
    char *name;
    struct byre *image;      /* NULL: raw */
    struct byre *backing;    /* of a new image, which it does not close */
    struct target_file file; /* of the image, or raw */
    struct target_file data; /* the image's data file */
    int pipe_fd;             /* -1: not a pipe */
    bool reads_zero;         /* zeroes need no writing */
    bool compress;           /* whole clusters */
    uint64_t backing_bytes;  /* of a new one's backing disk; behind it is zero.
                                BYRE_NO_OFFSET: it has none, or is not new */
    const atomic_bool *canceled;
};

/* Whether the request is for an image, which a pipe cannot be. */
bool target_is_image(const struct target_request *request);

/*
 * Opens or makes the target.  One that one of the sources reads from is refused
 * untouched.  Waiting for the reader of a pipe ends with *canceled.
 */
int target_open(const struct target_request *request, struct target *ret_target,
                struct byre_error *err);

/* The clusters of an image, else 1: no two workers write to one. */
uint64_t target_unit_bytes(const struct target *target);

/* Its subclusters or clusters, which can be zero by themselves; else 1. */
uint64_t target_block_bytes(const struct target *target);

/*
 * From many threads at once, unless it is a pipe: that takes its bytes in
 * order.  An image takes places in `turn`, which is passed unless it is `held`.
 */
int target_write(struct target *target, uint64_t offset, const void *buf,
                 size_t length, struct turn *turn, bool held,
                 struct byre_error *err);

/* Makes a range zero: a hole where `may_unmap`.  In `turn`, not passing it. */
int target_zero(struct target *target, uint64_t offset, uint64_t length,
                bool may_unmap, struct turn *turn, struct byre_error *err);

/* All is written: gives the file its final length and, with `sync`, makes it
   durable, its name too. */
int target_finish(struct target *target, bool sync, struct byre_error *err);

/*
 * Closes.  If the work `failed`, undoes what target_open() did, and returns
 * BYRE_OK; else an image may still fail here, and then that is undone too.
 */
int target_close(struct target *target, bool failed, struct byre_error *err);

/* ---- Images (target_image.c) ---- */

/* Refuses what one of the sources reads from. */
int target_refuse_sources(const struct target_request *request,
                          const struct store_identity *identity,
                          struct byre_error *err);

/* A device or an existing target has to have room for the disk. */
int target_check_room(const struct target_request *request, uint64_t have_bytes,
                      struct byre_error *err);

int target_prepare_image(struct target *target,
                         const struct target_request *request,
                         struct byre_error *err);

#endif
