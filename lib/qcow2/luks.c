/* SPDX-License-Identifier: MIT */
/*
 * The LUKS header inside an image, and keys for both kinds of encryption.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "qcow2/luks_area.h"

int qcow2_read_luks_area(void *user, uint64_t offset, void *buf, size_t length,
                         struct byre_error *err)
{
    struct qcow2 *qcow2 = user;

    if (!range_within(offset, length, qcow2->crypto.length))
        return fail(err, BYRE_E_CORRUPT,
                    "LUKS key material of %zu bytes at %" PRIu64
                    " lies outside the LUKS area of %" PRIu64 " bytes",
                    length, offset, qcow2->crypto.length);
    return store_read(qcow2->store, qcow2->crypto.offset + offset, buf, length,
                      err);
}

int qcow2_read_luks_header(struct qcow2 *qcow2, struct luks1_header *ret,
                           struct byre_error *err)
{
    uint8_t buf[LUKS1_HEADER_BYTES];
    uint64_t file_bytes;
    int r;

    if (!qcow2->has_crypto)
        return fail(err, BYRE_E_CORRUPT,
                    "the image is encrypted with LUKS, but has no crypto "
                    "header extension");

    r = store_get_size(qcow2->store, &file_bytes, err);
    if (r < 0)
        return r;

    if (!range_within(qcow2->crypto.offset, qcow2->crypto.length, file_bytes))
        return fail_at(err, BYRE_E_CORRUPT, qcow2->crypto.offset,
                       "the LUKS area of %" PRIu64 " bytes at %" PRIu64
                       " ends past the file's %" PRIu64 " bytes",
                       qcow2->crypto.length, qcow2->crypto.offset, file_bytes);

    r = qcow2_read_luks_area(qcow2, 0, buf, sizeof(buf), err);
    if (r < 0)
        return r;
    return luks1_header_decode(buf, sizeof(buf), qcow2->crypto.length, ret,
                               err);
}

/* The strings of byre_luks_info, which must live as long as the image. */
struct luks_texts {
    struct luks1_header header;
    char cipher_alg[64];
};

static void fill_luks_info(const struct luks_texts *texts,
                           struct byre_luks_info *info)
{
    const struct luks1_header *header = &texts->header;

    info->cipher_alg = texts->cipher_alg;
    info->cipher_mode = header->mode;
    info->ivgen_alg = header->ivgen;
    info->ivgen_hash =
        header->ivgen_hash[0] != '\0' ? header->ivgen_hash : NULL;
    info->hash_alg = header->hash;
    info->uuid = header->uuid;
    info->payload_offset_bytes =
        (uint64_t)header->payload_offset_sectors * CIPHER_SECTOR_BYTES;
    info->master_key_iterations = header->digest_iterations;
    for (int i = 0; i < LUKS1_SLOTS; i++)
        info->slots[i] = (struct byre_luks_slot){
            .active = header->slots[i].active,
            .iterations = header->slots[i].iterations,
            .stripes = header->slots[i].stripes,
            .key_offset_bytes = (uint64_t)header->slots[i].key_offset_sectors *
                                CIPHER_SECTOR_BYTES,
        };
}

static int load_luks_texts(struct qcow2 *qcow2, struct luks_texts **ret_texts,
                           struct byre_error *err)
{
    struct luks_texts *texts = calloc(1, sizeof(*texts));
    int r;

    if (texts == NULL)
        return fail_nomem(err, "a LUKS header", sizeof(*texts));

    r = qcow2_read_luks_header(qcow2, &texts->header, err);
    if (r == BYRE_OK)
        r = luks1_cipher_alg(&texts->header, texts->cipher_alg,
                             sizeof(texts->cipher_alg), err);
    if (r < 0) {
        free(texts);
        return r;
    }
    *ret_texts = texts;
    return BYRE_OK;
}

void qcow2_luks_slots_changed(struct qcow2 *qcow2,
                              const struct luks1_header *header)
{
    pthread_mutex_lock(&qcow2->lists_lock);
    if (qcow2->luks_texts != NULL)
        memcpy(qcow2->luks_texts->header.slots, header->slots,
               sizeof(header->slots));
    pthread_mutex_unlock(&qcow2->lists_lock);
}

int qcow2_luks_info(struct engine *engine, struct byre_luks_info *info,
                    struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    int r = BYRE_OK;

    pthread_mutex_lock(&qcow2->lists_lock);
    if (qcow2->luks_texts == NULL)
        r = load_luks_texts(qcow2, &qcow2->luks_texts, err);
    if (r == BYRE_OK)
        fill_luks_info(qcow2->luks_texts, info);
    pthread_mutex_unlock(&qcow2->lists_lock);
    return r;
}

int qcow2_unlock(struct engine *engine, const void *passphrase,
                 size_t passphrase_bytes, struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    struct luks1_header header;
    int r;

    if (engine->encryption == BYRE_ENCRYPTION_AES)
        return sector_cipher_new_aes(passphrase, passphrase_bytes,
                                     &qcow2->transfer.cipher, err);

    r = qcow2_read_luks_header(qcow2, &header, err);
    if (r < 0)
        return r;
    return luks1_unlock(&header, qcow2_read_luks_area, qcow2, passphrase,
                        passphrase_bytes, qcow2->limits.max_kdf_iterations,
                        &qcow2->transfer.cipher, err);
}
