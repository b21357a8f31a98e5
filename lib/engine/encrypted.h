/* SPDX-License-Identifier: MIT */
/*
 * Reads and writes encrypted ranges of any alignment.
 */
#ifndef BYRE_ENGINE_ENCRYPTED_H
#define BYRE_ENGINE_ENCRYPTED_H

#include "crypto/cipher.h"
#include "store/store.h"

/*
 * Reads and decrypts `length` bytes at `host_offset`.  `iv_offset` is the
 * position that IVs count from (the host offset for LUKS, the guest offset for
 * AES); the two agree modulo 512.
 */
int encrypted_read(struct byre_store *store, struct sector_cipher *cipher,
                   uint64_t host_offset, uint64_t iv_offset, void *buf,
                   size_t length, struct byre_error *err);

/*
 * Writes ranges of any alignment; the sectors of which they are a part only are
 * read, changed and written.
 */
int encrypted_write(struct byre_store *store, struct sector_cipher *cipher,
                    uint64_t host_offset, uint64_t iv_offset, const void *buf,
                    size_t length, struct byre_error *err);

#endif
