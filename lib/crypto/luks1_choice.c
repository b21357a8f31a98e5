/* SPDX-License-Identifier: MIT */
/*
 * From the names that a user chooses, as QEMU has them, to a header.
 *
 * Whether names exist and go together is judged by the same code as for a
 * header that was read; only that what is a corrupt image there is an invalid
 * argument here.
 */
#include <stdio.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "crypto/cipher_spec.h"
#include "crypto/hash.h"
#include "crypto/luks1.h"
#include "crypto/luks1_parts.h"

/* spec: LUKS1 "LUKS_ALIGN_KEYSLOTS", in sectors */
#define SLOT_ALIGNMENT 8

static const char *or_default(const char *name, const char *otherwise)
{
    return name != NULL ? name : otherwise;
}

static int judge_as_argument(int r, struct byre_error *err)
{
    if (r != BYRE_E_CORRUPT)
        return r;
    if (err != NULL)
        err->code = BYRE_E_INVALID;
    return BYRE_E_INVALID;
}

/* ---- Names ---- */

/* The choice with no default left open. */
struct names {
    const struct cipher_family *family;
    size_t key_bytes;
    struct cipher_spec spec;
    const char *hash;
};

static int find_cipher(const struct luks1_choice *choice, struct names *names,
                       struct byre_error *err)
{
    const char *alg = or_default(choice->cipher_alg, "aes-256");
    size_t block_key_bytes;

    names->family = cipher_alg_find(alg, &block_key_bytes);
    if (names->family == NULL)
        return fail(err, BYRE_E_INVALID,
                    "cipher \"%s\" is not one of aes, cast5, cast6, serpent "
                    "and twofish with a key length that it has, as in aes-256",
                    alg);

    names->spec.cipher = names->family->name;
    names->key_bytes = block_key_bytes * cipher_mode_keys(names->spec.mode);
    return BYRE_OK;
}

/* A hash that is named beside an IV generator that has none must exist too. */
static int check_hashes(const struct names *names, struct byre_error *err)
{
    size_t unused_bytes;
    int r;

    r = hash_digest_bytes(names->hash, &unused_bytes, err);
    if (r < 0 || names->spec.ivgen_hash[0] == '\0')
        return r;
    return hash_digest_bytes(names->spec.ivgen_hash, &unused_bytes, err);
}

/*
 * Neither QEMU nor this code takes a mode apart from its IV generator, though
 * ecb has no use for one.
 */
static int check_spec(const struct names *names, struct byre_error *err)
{
    struct cipher_plan unused_plan;

    if (names->spec.ivgen[0] == '\0')
        return fail(err, BYRE_E_INVALID,
                    "IV generator \"\" is not one of plain, plain64 and essiv");
    return cipher_spec_check(&names->spec, names->key_bytes, &unused_plan, err);
}

/*
 * QEMU, 7.2 at least, does not open such a header but aborts: nothing must be
 * made that takes it down.  (cryptsetup makes and opens them, and so they are
 * unlocked here.)
 */
static int check_material(const struct names *names, struct byre_error *err)
{
    if (names->key_bytes * LUKS1_STRIPES % LUKS1_SECTOR_BYTES == 0)
        return BYRE_OK;
    return fail(err, BYRE_E_UNSUPPORTED,
                "cipher %s-%zu in mode %s has key material that ends inside a "
                "sector, which QEMU cannot open; choose aes-128 or aes-256",
                names->spec.cipher, names->key_bytes * 8, names->spec.mode);
}

static int take_names(const struct luks1_choice *choice,
                      struct names *ret_names, struct byre_error *err)
{
    const char *ivgen = or_default(choice->ivgen_alg, "plain64");
    const bool is_essiv = strcmp(ivgen, "essiv") == 0;
    struct names names = {
        .spec.mode = or_default(choice->cipher_mode, "xts"),
        .spec.ivgen = ivgen,
        .spec.ivgen_hash =
            or_default(choice->ivgen_hash_alg, is_essiv ? "sha256" : ""),
        .hash = or_default(choice->hash_alg, "sha256"),
    };
    int r;

    r = find_cipher(choice, &names, err);
    if (r < 0)
        return r;
    r = check_spec(&names, err);
    if (r < 0)
        return r;
    r = check_hashes(&names, err);
    if (r < 0)
        return r;

    *ret_names = names;
    return BYRE_OK;
}

/* ---- The header ---- */

/*
 * Names that have been checked fit.  An IV generator beside ecb, which has no
 * use for it, and a hash beside other IV generators than essiv are stored
 * nevertheless, as QEMU does ("ecb-plain64", "cbc-plain64:sha1").
 */
static void put_names(const struct names *names, struct luks1_header *header)
{
    const struct cipher_spec *spec = &names->spec;
    const bool has_hash = spec->ivgen_hash[0] != '\0';

    snprintf(header->cipher_name, sizeof(header->cipher_name), "%s",
             spec->cipher);
    snprintf(header->mode, sizeof(header->mode), "%s", spec->mode);
    snprintf(header->ivgen, sizeof(header->ivgen), "%s", spec->ivgen);
    if (strcmp(spec->ivgen, "essiv") == 0)
        snprintf(header->ivgen_hash, sizeof(header->ivgen_hash), "%s",
                 spec->ivgen_hash);
    snprintf(header->cipher_mode, sizeof(header->cipher_mode), "%s-%s%s%s",
             spec->mode, spec->ivgen, has_hash ? ":" : "", spec->ivgen_hash);
    snprintf(header->hash, sizeof(header->hash), "%s", names->hash);
    header->key_bytes = (uint32_t)names->key_bytes;
}

/* The largest key there is takes 4040 sectors, so that no number is cut. */
static void place_slots(struct luks1_header *header)
{
    const uint32_t slot_sectors = (uint32_t)align_up(
        luks1_material_bytes(header) / LUKS1_SECTOR_BYTES, SLOT_ALIGNMENT);

    for (uint32_t i = 0; i < LUKS1_SLOTS; i++) {
        header->slots[i].stripes = LUKS1_STRIPES;
        header->slots[i].key_offset_sectors = SLOT_ALIGNMENT + i * slot_sectors;
    }
    header->payload_offset_sectors =
        SLOT_ALIGNMENT + LUKS1_SLOTS * slot_sectors;
}

/* Whether this build has what the header names. */
static int check_build(const struct luks1_header *header,
                       struct byre_error *err)
{
    struct hasher *hasher;
    int r;

    r = hasher_new(header->hash, &hasher, err);
    if (r < 0)
        return r;
    hasher_free(hasher);
    return luks1_cipher_check(header, err);
}

int luks1_choice_header(const struct luks1_choice *choice,
                        struct luks1_header *ret_header, struct byre_error *err)
{
    struct luks1_header header = { 0 };
    struct names names;
    int r;

    r = take_names(choice, &names, err);
    if (r < 0)
        return judge_as_argument(r, err);

    put_names(&names, &header);
    place_slots(&header);
    r = check_build(&header, err);
    if (r == BYRE_OK)
        r = check_material(&names, err);
    if (r < 0)
        return judge_as_argument(r, err);

    *ret_header = header;
    return BYRE_OK;
}

int luks1_choice_check(const struct luks1_choice *choice,
                       uint64_t *ret_area_bytes, struct byre_error *err)
{
    struct luks1_header header;
    int r;

    r = luks1_choice_header(choice, &header, err);
    if (r < 0)
        return r;
    if (ret_area_bytes != NULL)
        *ret_area_bytes =
            (uint64_t)header.payload_offset_sectors * LUKS1_SECTOR_BYTES;
    return BYRE_OK;
}
