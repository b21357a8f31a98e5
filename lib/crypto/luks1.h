/* SPDX-License-Identifier: MIT */
/*
 * The LUKS1 header, bytes <-> checked struct, and unlocking it.
 * (LUKS On-Disk Format Specification, version 1.2.3.)
 *
 * Decoding is pure: no I/O, no policy.  It takes names of ciphers, modes and
 * hashes as they are, so that an image can be described whose data this build
 * cannot decrypt; sector_cipher_new() and hash.h judge them.
 */
#ifndef BYRE_CRYPTO_LUKS1_H
#define BYRE_CRYPTO_LUKS1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "byre.h"
#include "crypto/cipher.h"

#define LUKS1_HEADER_BYTES  592
#define LUKS1_SLOTS         8
#define LUKS1_STRIPES       4000
#define LUKS1_DIGEST_BYTES  20
#define LUKS1_SALT_BYTES    32
#define LUKS1_MAX_KEY_BYTES 64 /* aes-256-xts; the largest there is */

struct luks1_slot {
    bool active;
    uint32_t iterations;
    uint8_t salt[LUKS1_SALT_BYTES];
    uint32_t key_offset_sectors; /* from the start of the LUKS area */
    uint32_t stripes;
};

struct luks1_header {
    char cipher_name[33]; /* terminated here, zero-padded on disk */
    char cipher_mode[33]; /* as stored: "xts-plain64", "cbc-essiv:sha256" */
    char hash[33];
    uint32_t payload_offset_sectors;
    uint32_t key_bytes;
    uint8_t digest[LUKS1_DIGEST_BYTES];
    uint8_t digest_salt[LUKS1_SALT_BYTES];
    uint32_t digest_iterations;
    char uuid[41];
    struct luks1_slot slots[LUKS1_SLOTS];
    /* cipher_mode taken apart; "" where a part is missing. */
    char mode[33];
    char ivgen[33];
    char ivgen_hash[33]; /* "" unless ivgen is essiv: others ignore a hash */
};

/*
 * Decodes and checks the header in `buf`, of a LUKS area `area_bytes` long:
 * magic, version, terminated printable strings, key length against the
 * cipher's, slot states, stripes, iterations of at least 1, key material inside
 * the area and not overlapping the header or one another (in 64-bit
 * arithmetic).  A version other than 1 is BYRE_E_UNSUPPORTED, all else that is
 * wrong BYRE_E_CORRUPT.
 */
int luks1_header_decode(const uint8_t *buf, size_t length, uint64_t area_bytes,
                        struct luks1_header *ret_header,
                        struct byre_error *err);

/*
 * The inverse, into LUKS1_HEADER_BYTES bytes.  The parts of cipher_mode are not
 * looked at.
 */
void luks1_header_encode(const struct luks1_header *header, uint8_t *buf);

/*
 * The length of one slot's key material in whole sectors: a key of 24 bytes
 * fills half of the last one.
 */
uint64_t luks1_material_bytes(const struct luks1_header *header);

/*
 * Whether the key material of each slot, free ones too, lies inside the LUKS
 * area, behind the header and apart from the others'; decoding asks this.
 */
int luks1_material_check(const struct luks1_header *header, uint64_t area_bytes,
                         struct byre_error *err);

/*
 * The cipher as QEMU names it: "aes-256", "cast5-128", ...  Unknown ciphers are
 * BYRE_E_CORRUPT.
 */
int luks1_cipher_alg(const struct luks1_header *header, char *ret_name,
                     size_t capacity, struct byre_error *err);

/* Reads `length` bytes at `offset` of the LUKS area. */
typedef int (*luks1_read_fn)(void *user, uint64_t offset, void *buf,
                             size_t length, struct byre_error *err);

/*
 * Finds the slot that `passphrase` opens and makes the data cipher.  At most
 * `max_iterations` of PBKDF2 are spent in all, or BYRE_E_LIMIT; no slot that
 * fits is BYRE_E_SECRET.
 */
int luks1_unlock(const struct luks1_header *header, luks1_read_fn read,
                 void *user, const void *passphrase, size_t passphrase_bytes,
                 uint64_t max_iterations, struct sector_cipher **ret_cipher,
                 struct byre_error *err);

/*
 * The slots that `passphrase` opens, as a bit each; none is no failure.  Limits
 * are those of luks1_unlock().
 */
int luks1_find_slots(const struct luks1_header *header, luks1_read_fn read,
                     void *user, const void *passphrase,
                     size_t passphrase_bytes, uint64_t max_iterations,
                     uint32_t *ret_slots, struct byre_error *err);

/* ---- A slot that changes ---- */

#define LUKS1_SLOT_BYTES       48
#define LUKS1_SLOT_STATE_BYTES 4 /* the first ones: active or free */

/* Where a slot is described in the header; and the bytes of that. */
uint32_t luks1_slot_offset(unsigned index);
void luks1_slot_encode(const struct luks1_slot *slot, uint8_t *buf);

/* What a new slot is to open. */
struct luks1_request {
    const void *passphrase;
    size_t passphrase_bytes;
    uint64_t iter_time_msec; /* as in struct luks1_choice */
};

/*
 * Makes salt, iterations and key material of a slot that opens the volume with
 * the passphrase; `cipher` is the volume's.  BYRE_E_CORRUPT if its key is not
 * the one of the header.  Place, stripes and state of the slot stay as they
 * are.
 */
int luks1_slot_make(const struct luks1_header *header,
                    const struct luks1_request *request,
                    const struct sector_cipher *cipher, struct luks1_slot *slot,
                    uint8_t *material, struct byre_error *err);

/* ---- Making a new one ---- */

struct random_source; /* random.h */

/*
 * What a new LUKS area shall be, in QEMU's names; NULL and 0 stand for the
 * defaults.
 */
struct luks1_choice {
    const char *cipher_alg;     /* "aes-256"; "aes-128", "cast5-128" */
    const char *cipher_mode;    /* "xts"; "cbc", "ctr", "ecb" */
    const char *ivgen_alg;      /* "plain64"; "plain", "essiv" */
    const char *ivgen_hash_alg; /* essiv: "sha256"; else none */
    const char *hash_alg;       /* "sha256" */
    uint64_t iter_time_msec;    /* 2000; QEMU's 0 is `iterations` of 1000 */
    uint32_t iterations;        /* not 0: this many, nothing is measured */
};

/*
 * Checks a choice as far as no key is needed: BYRE_E_INVALID for names that do
 * not exist or do not go together, BYRE_E_UNSUPPORTED for those this build
 * lacks (all, if it has no libcrypto) and for those that QEMU cannot open
 * (aes-192).  *ret_area_bytes, which may be NULL, is what the header and all
 * key material take, which is also the payload offset (QEMU's layout: slot i at
 * sector 8 + i * its size).
 */
int luks1_choice_check(const struct luks1_choice *choice,
                       uint64_t *ret_area_bytes, struct byre_error *err);

/*
 * Makes a volume key and a header whose slot 0 opens it with `passphrase`.
 * Fills `area`, luks1_choice_check()'s length, with header and key material,
 * and makes the cipher.  On failure nothing secret is left in `area`.
 *
 * Iterations are measured so that one try takes iter_time_msec of this
 * machine's processor time, at least 1000; more than LUKS can store is
 * BYRE_E_INVALID.  The master key digest gets an eighth of that time, which is
 * not an eighth of the iterations (QEMU's rule).
 *
 * The passphrase must be UTF-8 without zero bytes, or BYRE_E_INVALID; it may be
 * empty (as QEMU has both).  A seeded `random` and named iterations give the
 * same area each time.
 */
int luks1_make(const struct luks1_choice *choice, struct random_source *random,
               const void *passphrase, size_t passphrase_bytes, uint8_t *area,
               struct sector_cipher **ret_cipher, struct byre_error *err);

/*
 * Anti-forensic split and merge: `key_bytes` of key, `stripes` times as many of
 * material.  Split takes stripes - 1 stripes of random bytes in `material`, and
 * makes the last one.
 */
int luks1_af_merge(const char *hash, const uint8_t *material, size_t key_bytes,
                   uint32_t stripes, uint8_t *key, struct byre_error *err);
int luks1_af_split(const char *hash, const uint8_t *key, size_t key_bytes,
                   uint32_t stripes, uint8_t *material, struct byre_error *err);

#endif
