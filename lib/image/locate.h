/* SPDX-License-Identifier: MIT */
/*
 * From a name taken apart to a store: the file at the bottom of its tree, the
 * windows above it, and which format the tree asks for.
 */
#ifndef BYRE_IMAGE_LOCATE_H
#define BYRE_IMAGE_LOCATE_H

#include "image/node.h"
#include "store/store.h"

/*
 * Opens what the node's format stands on.  *ret_file is the file itself, for
 * locks; each result is a reference of its own.  `file_flags` are
 * FILE_STORE_*.
 */
int locate_store(const struct node *node, unsigned file_flags,
                 struct byre_store **ret_store, struct byre_store **ret_file,
                 struct byre_error *err);

/* The format the tree names; NULL: none, so that it must be told or probed. */
const char *locate_format(const struct node *node);

/* The format the first bytes suggest: "qcow", "qcow2" or "raw". */
int locate_probe(struct byre_store *store, const char **ret_format,
                 struct byre_error *err);

#endif
