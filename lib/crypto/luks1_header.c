/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "crypto/cipher_spec.h"
#include "crypto/hash.h"
#include "crypto/luks1.h"

/* spec: LUKS1 "PHDR layout" */
enum {
    MAGIC_AT = 0,
    VERSION_AT = 6,
    CIPHER_NAME_AT = 8,
    CIPHER_MODE_AT = 40,
    HASH_AT = 72,
    PAYLOAD_OFFSET_AT = 104,
    KEY_BYTES_AT = 108,
    DIGEST_AT = 112,
    DIGEST_SALT_AT = 132,
    DIGEST_ITERATIONS_AT = 164,
    UUID_AT = 168,
    SLOTS_AT = 208
};

/* spec: LUKS1 "Key slot layout" */
enum {
    SLOT_STATE_AT = 0,
    SLOT_ITERATIONS_AT = 4,
    SLOT_SALT_AT = 8,
    SLOT_KEY_OFFSET_AT = 40,
    SLOT_STRIPES_AT = 44,
    SLOT_BYTES = LUKS1_SLOT_BYTES
};

#define MAGIC_BYTES 6
#define NAME_BYTES  32
#define UUID_BYTES  40
#define SLOT_ACTIVE UINT32_C(0x00ac71f3)
#define SLOT_FREE   UINT32_C(0x0000dead)

static const uint8_t magic[MAGIC_BYTES] = { 'L', 'U', 'K', 'S', 0xba, 0xbe };

static_assert(SLOTS_AT + LUKS1_SLOTS * SLOT_BYTES == LUKS1_HEADER_BYTES,
              "the slots end the header");
static_assert(LUKS1_MAX_KEY_BYTES == CIPHER_MAX_KEY_BYTES,
              "any key that a cipher takes fits");

/* ---- Strings ---- */

/*
 * Decodes a zero-terminated field of `field_bytes` into `text`, one byte
 * longer.  Only printable ASCII, since all of these end up on terminals.
 */
static int decode_text(const uint8_t *field, size_t field_bytes,
                       const char *what, char *text, struct byre_error *err)
{
    const uint8_t *end = memchr(field, '\0', field_bytes);
    size_t length;

    if (end == NULL)
        return fail(err, BYRE_E_CORRUPT,
                    "LUKS header's %s does not end within its %zu bytes", what,
                    field_bytes);

    length = (size_t)(end - field);
    for (size_t i = 0; i < length; i++) {
        if (field[i] <= 0x20 || field[i] >= 0x7f)
            return fail(err, BYRE_E_CORRUPT,
                        "LUKS header's %s has the byte 0x%02x at %zu, which is "
                        "not printable ASCII",
                        what, field[i], i);
    }
    memset(text, 0, field_bytes + 1);
    memcpy(text, field, length);
    return BYRE_OK;
}

static int decode_texts(const uint8_t *buf, struct luks1_header *header,
                        struct byre_error *err)
{
    int r;

    r = decode_text(buf + CIPHER_NAME_AT, NAME_BYTES, "cipher name",
                    header->cipher_name, err);
    if (r < 0)
        return r;
    r = decode_text(buf + CIPHER_MODE_AT, NAME_BYTES, "cipher mode",
                    header->cipher_mode, err);
    if (r < 0)
        return r;
    r = decode_text(buf + HASH_AT, NAME_BYTES, "hash", header->hash, err);
    if (r < 0)
        return r;
    return decode_text(buf + UUID_AT, UUID_BYTES, "UUID", header->uuid, err);
}

/* The parts are never longer than the whole, which is terminated. */
static void copy_part(char *part, const char *from, size_t length)
{
    memcpy(part, from, length);
    part[length] = '\0';
}

/* Takes "mode", "mode-ivgen" or "mode-ivgen:hash" apart. */
static int split_mode(struct luks1_header *header, struct byre_error *err)
{
    const char *whole = header->cipher_mode;
    const size_t mode_length = strcspn(whole, "-");
    const char *ivgen = whole + mode_length;
    size_t ivgen_length;

    if (*ivgen == '-')
        ivgen++;
    ivgen_length = strcspn(ivgen, ":");
    if (mode_length == 0 || (whole[mode_length] == '-' && ivgen_length == 0) ||
        (ivgen[ivgen_length] == ':' && ivgen[ivgen_length + 1] == '\0'))
        return fail(err, BYRE_E_CORRUPT,
                    "LUKS header's cipher mode \"%s\" is not of the form mode, "
                    "mode-ivgen or mode-ivgen:hash",
                    whole);

    copy_part(header->mode, whole, mode_length);
    copy_part(header->ivgen, ivgen, ivgen_length);
    if (strcmp(header->ivgen, "essiv") == 0 && ivgen[ivgen_length] == ':') {
        const char *hash = ivgen + ivgen_length + 1;

        copy_part(header->ivgen_hash, hash, strlen(hash));
    }
    return BYRE_OK;
}

/* ---- Key slots ---- */

static int decode_slot(const uint8_t *buf, unsigned index,
                       struct luks1_slot *slot, struct byre_error *err)
{
    const uint32_t state = be32_get(buf + SLOT_STATE_AT);

    if (state != SLOT_ACTIVE && state != SLOT_FREE)
        return fail(err, BYRE_E_CORRUPT,
                    "LUKS key slot %u has state 0x%08x, which is neither "
                    "active (0x%08x) nor free (0x%08x)",
                    index, state, SLOT_ACTIVE, SLOT_FREE);

    slot->active = state == SLOT_ACTIVE;
    slot->iterations = be32_get(buf + SLOT_ITERATIONS_AT);
    memcpy(slot->salt, buf + SLOT_SALT_AT, LUKS1_SALT_BYTES);
    slot->key_offset_sectors = be32_get(buf + SLOT_KEY_OFFSET_AT);
    slot->stripes = be32_get(buf + SLOT_STRIPES_AT);

    if (slot->stripes != LUKS1_STRIPES)
        return fail(err, BYRE_E_CORRUPT,
                    "LUKS key slot %u has %u stripes instead of %u", index,
                    slot->stripes, LUKS1_STRIPES);
    if (slot->active && slot->iterations == 0)
        return fail(err, BYRE_E_CORRUPT,
                    "LUKS key slot %u has 0 iterations, fewer than the least "
                    "of 1",
                    index);
    return BYRE_OK;
}

/* ---- Header ---- */

static int check_start(const uint8_t *buf, size_t length, uint64_t area_bytes,
                       struct byre_error *err)
{
    const uint64_t have_bytes = min_u64(length, area_bytes);
    uint16_t version;

    if (have_bytes < LUKS1_HEADER_BYTES)
        return fail(err, BYRE_E_CORRUPT,
                    "LUKS area has %llu bytes, fewer than the %u of its header",
                    (unsigned long long)have_bytes, LUKS1_HEADER_BYTES);
    if (memcmp(buf + MAGIC_AT, magic, MAGIC_BYTES) != 0)
        return fail(err, BYRE_E_CORRUPT,
                    "LUKS header starts with 0x%08x%04x instead of its magic "
                    "0x%08x%04x",
                    be32_get(buf), be16_get(buf + 4), be32_get(magic),
                    be16_get(magic + 4));

    version = be16_get(buf + VERSION_AT);
    if (version != 1)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "LUKS header has version %u, and images have version 1",
                    version);
    return BYRE_OK;
}

static int check_cipher(const struct luks1_header *header,
                        struct byre_error *err)
{
    const struct cipher_family *family =
        cipher_family_find(header->cipher_name);
    enum cipher_mode unused_mode;
    size_t unused_bytes;
    int r;

    r = cipher_mode_parse(header->mode, &unused_mode, err);
    if (r == BYRE_OK)
        r = hash_digest_bytes(header->hash, &unused_bytes, err);
    if (r < 0) {
        error_prefix(err, "LUKS header");
        return r;
    }

    if (header->key_bytes == 0 || header->key_bytes > LUKS1_MAX_KEY_BYTES)
        return fail(err, BYRE_E_CORRUPT,
                    "LUKS header's key has %u bytes, outside 1 to %u",
                    header->key_bytes, LUKS1_MAX_KEY_BYTES);
    if (family != NULL &&
        cipher_block_key_bytes(family, header->mode, header->key_bytes) == 0)
        return cipher_key_fail(family, header->mode, header->key_bytes, err);
    return BYRE_OK;
}

static int decode_numbers(const uint8_t *buf, struct luks1_header *header,
                          struct byre_error *err)
{
    header->payload_offset_sectors = be32_get(buf + PAYLOAD_OFFSET_AT);
    header->key_bytes = be32_get(buf + KEY_BYTES_AT);
    memcpy(header->digest, buf + DIGEST_AT, LUKS1_DIGEST_BYTES);
    memcpy(header->digest_salt, buf + DIGEST_SALT_AT, LUKS1_SALT_BYTES);
    header->digest_iterations = be32_get(buf + DIGEST_ITERATIONS_AT);

    if (header->digest_iterations == 0)
        return fail(err, BYRE_E_CORRUPT,
                    "LUKS header's key digest has 0 iterations, fewer than the "
                    "least of 1");
    return check_cipher(header, err);
}

int luks1_header_decode(const uint8_t *buf, size_t length, uint64_t area_bytes,
                        struct luks1_header *ret_header, struct byre_error *err)
{
    struct luks1_header header = { 0 };
    int r;

    r = check_start(buf, length, area_bytes, err);
    if (r < 0)
        return r;

    r = decode_texts(buf, &header, err);
    if (r < 0)
        return r;
    r = split_mode(&header, err);
    if (r < 0)
        return r;
    r = decode_numbers(buf, &header, err);
    if (r < 0)
        return r;

    for (unsigned i = 0; i < LUKS1_SLOTS; i++) {
        r = decode_slot(buf + luks1_slot_offset(i), i, &header.slots[i], err);
        if (r < 0)
            return r;
    }
    r = luks1_material_check(&header, area_bytes, err);
    if (r < 0)
        return r;

    *ret_header = header;
    return BYRE_OK;
}

uint32_t luks1_slot_offset(unsigned index)
{
    return SLOTS_AT + index * SLOT_BYTES;
}

void luks1_slot_encode(const struct luks1_slot *slot, uint8_t *buf)
{
    be32_put(buf + SLOT_STATE_AT, slot->active ? SLOT_ACTIVE : SLOT_FREE);
    be32_put(buf + SLOT_ITERATIONS_AT, slot->iterations);
    memcpy(buf + SLOT_SALT_AT, slot->salt, LUKS1_SALT_BYTES);
    be32_put(buf + SLOT_KEY_OFFSET_AT, slot->key_offset_sectors);
    be32_put(buf + SLOT_STRIPES_AT, slot->stripes);
}

void luks1_header_encode(const struct luks1_header *header, uint8_t *buf)
{
    memset(buf, 0, LUKS1_HEADER_BYTES);
    memcpy(buf + MAGIC_AT, magic, MAGIC_BYTES);
    be16_put(buf + VERSION_AT, 1);
    memcpy(buf + CIPHER_NAME_AT, header->cipher_name,
           strlen(header->cipher_name));
    memcpy(buf + CIPHER_MODE_AT, header->cipher_mode,
           strlen(header->cipher_mode));
    memcpy(buf + HASH_AT, header->hash, strlen(header->hash));
    be32_put(buf + PAYLOAD_OFFSET_AT, header->payload_offset_sectors);
    be32_put(buf + KEY_BYTES_AT, header->key_bytes);
    memcpy(buf + DIGEST_AT, header->digest, LUKS1_DIGEST_BYTES);
    memcpy(buf + DIGEST_SALT_AT, header->digest_salt, LUKS1_SALT_BYTES);
    be32_put(buf + DIGEST_ITERATIONS_AT, header->digest_iterations);
    memcpy(buf + UUID_AT, header->uuid, strlen(header->uuid));
    for (unsigned i = 0; i < LUKS1_SLOTS; i++)
        luks1_slot_encode(&header->slots[i], buf + luks1_slot_offset(i));
}

int luks1_cipher_alg(const struct luks1_header *header, char *ret_name,
                     size_t capacity, struct byre_error *err)
{
    const struct cipher_family *family =
        cipher_family_find(header->cipher_name);
    const size_t key_bytes =
        family == NULL
            ? 0
            : cipher_block_key_bytes(family, header->mode, header->key_bytes);

    if (family == NULL)
        return fail(err, BYRE_E_CORRUPT, "LUKS cipher \"%s\" is not known",
                    header->cipher_name);
    if (key_bytes == 0)
        return cipher_key_fail(family, header->mode, header->key_bytes, err);
    snprintf(ret_name, capacity, "%s-%zu", family->name, key_bytes * 8);
    return BYRE_OK;
}
