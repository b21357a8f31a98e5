/* SPDX-License-Identifier: MIT */
/*
 * The backing file of a new image: looked at for its size, and so that the new
 * image is not made over a file that it stands on.
 */
#ifndef BYRE_IMAGE_CREATE_BACKING_H
#define BYRE_IMAGE_CREATE_BACKING_H

#include "store/store.h"

/* The files of a backing chain. */
struct create_backing {
    struct store_identity *files;
    size_t count;
    uint64_t size_bytes; /* of its disk */
};

/*
 * Opens the backing file that `opts` name, relative to the new image's path,
 * and, as far as opts->backing_open permits, those below it, for their
 * description only.  `path` may be NULL.  With BYRE_CREATE_BACKING_UNCHECKED it
 * opens nothing, and the size is BYRE_NO_OFFSET.  Release the result with
 * create_backing_done().
 */
int create_backing_look(const struct byre_create_options *opts,
                        const char *path, struct create_backing *ret_backing,
                        struct byre_error *err);

/* A zeroed one is allowed. */
void create_backing_done(struct create_backing *backing);

/* Fails if `identity`, of the file called `name`, is one of its files. */
int create_backing_refuse(const struct create_backing *backing,
                          const struct store_identity *identity,
                          const char *name, struct byre_error *err);

#endif
