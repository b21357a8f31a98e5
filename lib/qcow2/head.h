/* SPDX-License-Identifier: MIT */
/*
 * The head of an image: header, unknown fields, extensions and backing name,
 * all of the first cluster.  Loaded, changed in memory, and put in the place of
 * the live one so that a crash leaves the old or the new.
 *
 * Nothing that the live header refers to is changed in place.  What fits a
 * sector is switched by writing that sector; the rest is staged in bytes of the
 * cluster that nobody reads, with a barrier, before the first sector switches
 * to it.  The table of feature names, which only messages need, may be missing
 * after a crash.
 */
#ifndef BYRE_QCOW2_HEAD_H
#define BYRE_QCOW2_HEAD_H

#include "qcow2/internal.h"

struct head_extension {
    uint32_t type;
    uint32_t length;
    uint8_t *data;
};

struct head {
    struct qcow2_header header; /* change at will, but for header_bytes and the
                                   place of the backing name */
    uint8_t *unknown; /* fields behind those we know; header_bytes - 112 */
    struct head_extension *extensions; /* in their order; no END */
    size_t extension_count;
    char *backing_name; /* NULL: none */
};

/* Reads the head of the file as it is.  Free it with head_done(). */
int head_load(struct qcow2 *qcow2, struct head *ret_head,
              struct byre_error *err);
void head_done(struct head *head);

/* The extension's data; NULL: there is none of that type. */
const struct head_extension *head_find(const struct head *head, uint32_t type);

/*
 * Sets the one extension of a type, in the place of the one there is or, new,
 * where the order of QEMU has it; without `data`, removes it.
 */
int head_set_extension(struct head *head, uint32_t type, const void *data,
                       uint32_t length, struct byre_error *err);

/* NULL: none. */
int head_set_backing_name(struct head *head, const char *name,
                          struct byre_error *err);

/*
 * Makes it the image's head, durably; then qcow2->header is head->header.  What
 * head->header points to must be durable before.  header_bytes is chosen here
 * (72 in version 2, without feature names; at least 112 in version 3, and as
 * many as the unknown fields need).  BYRE_E_LIMIT, with nothing touched, if it
 * does not fit the first cluster, or has no room there to be staged.  After a
 * failed write or barrier the file has the old head or the new one, and the
 * writer, where there is one, sticks.
 */
int head_store(struct qcow2 *qcow2, struct head *head, struct byre_error *err);

/* Whether head_store() would have room; changes nothing. */
int head_check_room(struct qcow2 *qcow2, struct head *head,
                    struct byre_error *err);

#endif
