/* SPDX-License-Identifier: MIT */
#include "engine/encrypted.h"

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"

/* Whole sectors go through the caller's buffer, without a copy. */
static int read_sectors(struct byre_store *store, struct sector_cipher *cipher,
                        uint64_t host_offset, uint64_t iv_offset, void *buf,
                        size_t length, struct byre_error *err)
{
    int r;

    r = store_read(store, host_offset, buf, length, err);
    if (r < 0)
        return r;
    return sector_cipher_decrypt(cipher, iv_offset / CIPHER_SECTOR_BYTES, buf,
                                 length, err);
}

/* `length` bytes within one sector. */
static int read_part(struct byre_store *store, struct sector_cipher *cipher,
                     uint64_t host_offset, uint64_t iv_offset, void *buf,
                     size_t length, struct byre_error *err)
{
    const uint64_t skip = iv_offset % CIPHER_SECTOR_BYTES;
    uint8_t sector[CIPHER_SECTOR_BYTES];
    int r;

    r = read_sectors(store, cipher, host_offset - skip, iv_offset - skip,
                     sector, sizeof(sector), err);
    if (r < 0)
        return r;
    memcpy(buf, sector + skip, length);
    return BYRE_OK;
}

int encrypted_read(struct byre_store *store, struct sector_cipher *cipher,
                   uint64_t host_offset, uint64_t iv_offset, void *buf,
                   size_t length, struct byre_error *err)
{
    uint8_t *p = buf;

    while (length > 0) {
        const size_t skip = iv_offset % CIPHER_SECTOR_BYTES;
        size_t n;
        int r;

        if (skip != 0 || length < CIPHER_SECTOR_BYTES) {
            n = (size_t)min_u64(CIPHER_SECTOR_BYTES - skip, length);
            r = read_part(store, cipher, host_offset, iv_offset, p, n, err);
        } else {
            n = (size_t)align_down(length, CIPHER_SECTOR_BYTES);
            r = read_sectors(store, cipher, host_offset, iv_offset, p, n, err);
        }
        if (r < 0)
            return r;
        p += n;
        host_offset += n;
        iv_offset += n;
        length -= n;
    }
    return BYRE_OK;
}

/* ---- Writing ---- */

#define COPY_BYTES (UINT64_C(256) << 10)

/* Encrypts `buf`, which is the caller's own, and writes it. */
static int write_sectors(struct byre_store *store, struct sector_cipher *cipher,
                         uint64_t host_offset, uint64_t iv_offset, void *buf,
                         size_t length, struct byre_error *err)
{
    int r;

    r = sector_cipher_encrypt(cipher, iv_offset / CIPHER_SECTOR_BYTES, buf,
                              length, err);
    if (r < 0)
        return r;
    return store_write(store, host_offset, buf, length, err);
}

/* `length` bytes within one sector. */
static int write_part(struct byre_store *store, struct sector_cipher *cipher,
                      uint64_t host_offset, uint64_t iv_offset, const void *buf,
                      size_t length, struct byre_error *err)
{
    const uint64_t skip = iv_offset % CIPHER_SECTOR_BYTES;
    uint8_t sector[CIPHER_SECTOR_BYTES];
    int r;

    r = read_sectors(store, cipher, host_offset - skip, iv_offset - skip,
                     sector, sizeof(sector), err);
    if (r < 0)
        return r;
    memcpy(sector + skip, buf, length);
    return write_sectors(store, cipher, host_offset - skip, iv_offset - skip,
                         sector, sizeof(sector), err);
}

int encrypted_write(struct byre_store *store, struct sector_cipher *cipher,
                    uint64_t host_offset, uint64_t iv_offset, const void *buf,
                    size_t length, struct byre_error *err)
{
    const size_t copy_bytes = (size_t)min_u64(
        align_up(max_u64(length, 1), CIPHER_SECTOR_BYTES), COPY_BYTES);
    uint8_t *copy = malloc(copy_bytes);
    const uint8_t *p = buf;
    int r = BYRE_OK;

    if (copy == NULL)
        return fail_nomem(err, "an encrypted copy", copy_bytes);

    while (length > 0 && r == BYRE_OK) {
        const size_t skip = iv_offset % CIPHER_SECTOR_BYTES;
        size_t n;

        if (skip != 0 || length < CIPHER_SECTOR_BYTES) {
            n = (size_t)min_u64(CIPHER_SECTOR_BYTES - skip, length);
            r = write_part(store, cipher, host_offset, iv_offset, p, n, err);
        } else {
            n = (size_t)min_u64(align_down(length, CIPHER_SECTOR_BYTES),
                                COPY_BYTES);
            memcpy(copy, p, n);
            r = write_sectors(store, cipher, host_offset, iv_offset, copy, n,
                              err);
        }
        p += n;
        host_offset += n;
        iv_offset += n;
        length -= n;
    }
    free(copy);
    return r;
}
