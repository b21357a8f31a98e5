/* SPDX-License-Identifier: MIT */
/*
 * One image on its way to being opened: what is known of it, and on whose
 * behalf.
 */
#ifndef BYRE_IMAGE_REQUEST_H
#define BYRE_IMAGE_REQUEST_H

#include "image/image.h"
#include "image/node.h"

/* The images above the one being opened, to find loops. */
struct ancestor {
    const struct byre *image;
    const struct ancestor *above;
};

/* One image to open. */
struct request {
    const struct byre_open_options *opts;
    const struct node *node;  /* NULL: `store` is given */
    bool stored;              /* the node comes from an image */
    struct byre_store *store; /* what the format stands on */
    struct byre_store *file;  /* the file below it, for locks */
    const char *name;         /* for people */
    const char *path;         /* what relative names are relative to, or NULL */
    const char *format;       /* NULL: to be probed */
    uint32_t depth;
    const struct ancestor *above;
};

/* Whether the image is opened for writing, which only the top one can be. */
bool request_writes(const struct request *request);

/* How the files of the image at `depth` are opened (FILE_STORE_*). */
unsigned request_file_flags(const struct byre_open_options *opts,
                            uint32_t depth);

/* Takes the caller's options over, and checks them; NULL: the defaults. */
int check_options(const struct byre_open_options *given,
                  struct byre_open_options *ret, struct byre_error *err);

/* The caller's options, and what the tree of the name says beside them. */
int tune_options(const struct node *node, const struct byre_open_options *opts,
                 struct byre_open_options *ret, struct byre_error *err);

/* The locks of an image's files, for reading or for writing: at no instant less
   than before.  They do nothing where there are none to take. */
int lock_image(const struct byre *img, const char *format, bool writes,
               struct byre_error *err);
int lock_data_file(const struct byre *img, bool writes, struct byre_error *err);

/* Opens the image of a request that has its store. */
int request_open(const struct request *request, struct byre **ret_img,
                 struct byre_error *err);

/*
 * Open what `img` stands on, by permission: its external data file, its backing
 * image.  They do nothing where there is none.
 */
int request_open_data_file(const struct request *request, struct byre *img,
                           struct byre_error *err);
int request_open_backing(const struct request *request, struct byre *img,
                         struct byre_error *err);

#endif
