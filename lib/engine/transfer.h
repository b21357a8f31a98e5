/* SPDX-License-Identifier: MIT */
/*
 * Reads what a mapping points to: plain, encrypted or compressed; and writes to
 * places that a write has been given.
 */
#ifndef BYRE_ENGINE_TRANSFER_H
#define BYRE_ENGINE_TRANSFER_H

#include "crypto/cipher.h"
#include "engine/cluster_reader.h"
#include "engine/engine.h"

struct transfer {
    struct cluster_reader *clusters;
    struct sector_cipher *cipher; /* NULL: not encrypted */
    bool iv_is_host; /* IVs count from the host offset, not the guest's */
};

/* Frees the members. */
void transfer_done(struct transfer *transfer);

/*
 * Reads the first `length` bytes of a mapping of `guest_offset` whose kind is
 * L2_DATA or L2_COMPRESSED.
 */
int transfer_read(const struct transfer *transfer, const struct engine *engine,
                  const struct mapping *mapping, uint64_t guest_offset,
                  void *buf, size_t length, struct byre_error *err);

/*
 * Writes `length` bytes that the disk has at `guest_offset` to `host_offset` of
 * the store, encrypted where the image is.  Where they are not whole sectors of
 * an encrypted image, the sectors are read first: nobody else may write them.
 */
int transfer_write(const struct transfer *transfer, struct byre_store *store,
                   uint64_t host_offset, uint64_t guest_offset, const void *buf,
                   size_t length, struct byre_error *err);

#endif
