/* SPDX-License-Identifier: MIT */
/*
 * A name of an image, taken apart: a path, "file:PATH", or "json:{...}" with
 * QEMU's option tree.  Pure: opens nothing.
 *
 * The tree is that of QEMU's block devices: format drivers (raw, qcow, qcow2)
 * stand on a "file", protocol drivers (file, host_device) have a "filename".
 * Keys may be nested or dotted ("file.filename").
 */
#ifndef BYRE_IMAGE_NODE_H
#define BYRE_IMAGE_NODE_H

#include <stdbool.h>

#include "byre.h"
#include "image/tuning.h"

struct node {
    char *driver;           /* NULL: not given */
    char *filename;         /* of a protocol node; NULL: not given */
    struct node *file;      /* what a format node stands on */
    struct node *backing;   /* instead of the name in the image */
    struct node *data_file; /* instead of the name in the image */
    bool no_backing;        /* "backing": null */
    char *key_secret;       /* "encrypt": {"key-secret": ...} */
    char *encrypt_format;   /* "aes" or "luks"; NULL: not given */
    uint64_t offset;        /* of a raw node's window */
    uint64_t window_bytes;  /* BYRE_NO_OFFSET: to the end */
    struct tuning tuning;   /* of this node alone */
};

/* Nested nodes of one name; far more than anybody stacks. */
#define NODE_MAX_DEPTH 16

/* Parses `name`; free the result with node_free(). */
int node_parse(const char *name, struct node **ret_node,
               struct byre_error *err);

/* NULL is allowed. */
void node_free(struct node *node);

/* The path of the file at the bottom of the tree. */
const char *node_path(const struct node *node);

/*
 * How the tree wants its image to be opened: of each node down to the file.
 * Those that the image stands on do not count.
 */
void node_tuning(const struct node *node, struct tuning *ret_tuning);

/*
 * What QEMU calls the image: the path, or for a tree that says what a path
 * cannot (a key, a window, a data file) the tree again as "json:{...}", in the
 * order of QEMU's own.  Free the result.
 */
int node_describe(const struct node *node, char **ret_name,
                  struct byre_error *err);

#endif
