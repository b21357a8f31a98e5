/* SPDX-License-Identifier: MIT */
/*
 * Passphrases added and erased.
 *
 * What a slot says lies in up to two sectors of the header, so that it may be
 * torn: all of it but the state is written while the slot is free, the state,
 * one word, apart from it, with barriers between.
 *
 *     added   key material - salt and iterations - state
 *     erased  state - salt and iterations - material, over and over
 *
 * A slot in use that gets another passphrase is copied to a free slot first
 * where there is one, and that copy erased at the end: so there is a passphrase
 * for the volume at every moment.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "crypto/hash.h"
#include "crypto/random.h"
#include "qcow2/luks_area.h"

/* A disk that remembers what was overwritten is not told more by more. */
#define ERASE_PASSES 4

struct keys {
    struct qcow2 *qcow2;
    struct luks1_header header;
    uint8_t *material; /* of one slot */
    size_t material_bytes;
    bool force;
};

static uint64_t material_offset(const struct keys *keys, unsigned index)
{
    return (uint64_t)keys->header.slots[index].key_offset_sectors *
           CIPHER_SECTOR_BYTES;
}

/* ---- Writing ---- */

static int write_durably(struct keys *keys, uint64_t offset, const void *buf,
                         size_t length, struct byre_error *err)
{
    struct qcow2 *qcow2 = keys->qcow2;
    int r;

    r = store_write(qcow2->store, qcow2->crypto.offset + offset, buf, length,
                    err);
    if (r < 0) {
        error_prefix(err, "LUKS area");
        return r;
    }
    return writer_barrier(&qcow2->writer, err);
}

static int write_material(struct keys *keys, unsigned index,
                          struct byre_error *err)
{
    return write_durably(keys, material_offset(keys, index), keys->material,
                         keys->material_bytes, err);
}

/* Salt and iterations of a slot that is free. */
static int write_slot(struct keys *keys, unsigned index,
                      const struct luks1_slot *slot, struct byre_error *err)
{
    const size_t skip = LUKS1_SLOT_STATE_BYTES;
    uint8_t buf[LUKS1_SLOT_BYTES];
    int r;

    luks1_slot_encode(slot, buf);
    r = write_durably(keys, luks1_slot_offset(index) + skip, buf + skip,
                      sizeof(buf) - skip, err);
    if (r < 0)
        return r;
    keys->header.slots[index] = *slot;
    keys->header.slots[index].active = false;
    qcow2_luks_slots_changed(keys->qcow2, &keys->header);
    return BYRE_OK;
}

static int write_state(struct keys *keys, unsigned index, bool active,
                       struct byre_error *err)
{
    struct luks1_slot slot = keys->header.slots[index];
    uint8_t buf[LUKS1_SLOT_BYTES];
    int r;

    slot.active = active;
    luks1_slot_encode(&slot, buf);
    r = write_durably(keys, luks1_slot_offset(index), buf,
                      LUKS1_SLOT_STATE_BYTES, err);
    if (r < 0)
        return r;
    keys->header.slots[index] = slot;
    qcow2_luks_slots_changed(keys->qcow2, &keys->header);
    return BYRE_OK;
}

/* ---- Slots ---- */

static unsigned count_active(const struct keys *keys)
{
    unsigned active = 0;

    for (unsigned i = 0; i < LUKS1_SLOTS; i++)
        active += keys->header.slots[i].active ? 1 : 0;
    return active;
}

/* LUKS1_SLOTS: there is none. */
static unsigned find_free(const struct keys *keys)
{
    unsigned i = 0;

    while (i < LUKS1_SLOTS && keys->header.slots[i].active)
        i++;
    return i;
}

static int erase_slot(struct keys *keys, unsigned index, struct byre_error *err)
{
    struct luks1_slot slot = keys->header.slots[index];
    struct random_source random;
    int r;

    slot.active = false;
    slot.iterations = 0;
    memset(slot.salt, 0, sizeof(slot.salt));
    random_source_init(&random, 0);
    r = write_state(keys, index, false, err);
    if (r == BYRE_OK)
        r = write_slot(keys, index, &slot, err);
    for (int i = 0; r == BYRE_OK && i < ERASE_PASSES; i++) {
        r = random_source_fill(&random, keys->material, keys->material_bytes,
                               err);
        if (r == BYRE_OK)
            r = write_material(keys, index, err);
    }
    return r;
}

/* The slot is free, and keys->material is that of `slot`. */
static int fill_slot(struct keys *keys, unsigned index,
                     const struct luks1_slot *slot, struct byre_error *err)
{
    int r;

    r = write_material(keys, index, err);
    if (r == BYRE_OK)
        r = write_slot(keys, index, slot, err);
    if (r == BYRE_OK)
        r = write_state(keys, index, true, err);
    return r;
}

/* The material is encrypted by its own sector numbers: it can be moved. */
static int copy_slot(struct keys *keys, unsigned from, unsigned to,
                     struct byre_error *err)
{
    struct luks1_slot slot = keys->header.slots[from];
    int r;

    slot.key_offset_sectors = keys->header.slots[to].key_offset_sectors;
    r = qcow2_read_luks_area(keys->qcow2, material_offset(keys, from),
                             keys->material, keys->material_bytes, err);
    return r < 0 ? r : fill_slot(keys, to, &slot, err);
}

/* ---- Beginning and end ---- */

static void keys_done(struct keys *keys)
{
    if (keys->material != NULL)
        secret_wipe(keys->material, keys->material_bytes);
    free(keys->material);
}

static int keys_init(struct keys *keys, struct engine *engine, uint32_t flags,
                     struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    int r;

    *keys =
        (struct keys){ .qcow2 = qcow2, .force = (flags & BYRE_KEY_FORCE) != 0 };
    if (engine->encryption != BYRE_ENCRYPTION_LUKS)
        return fail(err, BYRE_E_STATE,
                    "the image is not encrypted with LUKS, which alone has key "
                    "slots");
    r = writer_check(&qcow2->writer, err);
    if (r == BYRE_OK)
        r = qcow2_read_luks_header(qcow2, &keys->header, err);
    if (r < 0)
        return r;

    keys->material_bytes = (size_t)luks1_material_bytes(&keys->header);
    keys->material = malloc(keys->material_bytes);
    if (keys->material == NULL)
        return fail_nomem(err, "LUKS key material", keys->material_bytes);
    return BYRE_OK;
}

static int check_index(uint32_t slot, struct byre_error *err)
{
    if (slot < LUKS1_SLOTS)
        return BYRE_OK;
    return fail(err, BYRE_E_INVALID,
                "key slot %" PRIu32 ": LUKS has slots 0 to %d", slot,
                LUKS1_SLOTS - 1);
}

/* ---- Adding ---- */

static int choose_slot(const struct keys *keys, uint32_t slot,
                       unsigned *ret_index, struct byre_error *err)
{
    int r;

    *ret_index = slot == BYRE_KEY_ANY_SLOT ? find_free(keys) : slot;
    if (*ret_index == LUKS1_SLOTS && slot == BYRE_KEY_ANY_SLOT)
        return fail(err, BYRE_E_LIMIT,
                    "all %d key slots are in use: erase one first",
                    LUKS1_SLOTS);
    r = check_index(*ret_index, err);
    if (r < 0)
        return r;
    if (keys->header.slots[*ret_index].active && !keys->force)
        return fail(err, BYRE_E_POLICY,
                    "key slot %u is in use: its passphrase would be lost, "
                    "which only force allows",
                    *ret_index);
    return BYRE_OK;
}

/* *ret_copy is where the old slot lives on; LUKS1_SLOTS: nowhere. */
static int make_way(struct keys *keys, unsigned index, unsigned *ret_copy,
                    struct byre_error *err)
{
    const unsigned copy = find_free(keys);
    int r;

    *ret_copy = LUKS1_SLOTS;
    if (!keys->header.slots[index].active)
        return BYRE_OK;
    if (copy < LUKS1_SLOTS) {
        r = copy_slot(keys, index, copy, err);
        if (r < 0)
            return r;
        *ret_copy = copy;
    }
    return write_state(keys, index, false, err);
}

static int add(struct keys *keys, unsigned index,
               const struct luks1_request *request, struct byre_error *err)
{
    struct luks1_slot slot = keys->header.slots[index];
    uint8_t *made = malloc(keys->material_bytes);
    unsigned copy = LUKS1_SLOTS;
    int r;

    if (made == NULL)
        return fail_nomem(err, "LUKS key material", keys->material_bytes);

    r = luks1_slot_make(&keys->header, request, keys->qcow2->transfer.cipher,
                        &slot, made, err);
    if (r == BYRE_OK)
        r = make_way(keys, index, &copy, err);
    if (r == BYRE_OK) {
        memcpy(keys->material, made, keys->material_bytes);
        r = fill_slot(keys, index, &slot, err);
    }
    if (r == BYRE_OK && copy < LUKS1_SLOTS)
        r = erase_slot(keys, copy, err);
    secret_wipe(made, keys->material_bytes);
    free(made);
    return r;
}

int qcow2_key_add(struct engine *engine, uint32_t slot, const void *passphrase,
                  size_t passphrase_bytes, uint64_t iter_time_msec,
                  uint32_t flags, struct byre_error *err)
{
    const struct luks1_request request = {
        .passphrase = passphrase,
        .passphrase_bytes = passphrase_bytes,
        .iter_time_msec = iter_time_msec,
    };
    struct keys keys;
    unsigned index = 0;
    int r;

    r = keys_init(&keys, engine, flags, err);
    if (r == BYRE_OK)
        r = choose_slot(&keys, slot, &index, err);
    if (r == BYRE_OK)
        r = add(&keys, index, &request, err);
    keys_done(&keys);
    return r;
}

/* ---- Erasing ---- */

static int check_erase(const struct keys *keys, uint32_t slot,
                       struct byre_error *err)
{
    int r;

    r = check_index(slot, err);
    if (r < 0 || keys->force)
        return r;
    if (!keys->header.slots[slot].active)
        return fail(err, BYRE_E_POLICY,
                    "key slot %" PRIu32
                    " is free already; force overwrites its key material again",
                    slot);
    if (count_active(keys) == 1)
        return fail(err, BYRE_E_POLICY,
                    "key slot %" PRIu32
                    " is the last one in use: without it nobody could read the "
                    "disk again, which only force allows",
                    slot);
    return BYRE_OK;
}

int qcow2_key_erase(struct engine *engine, uint32_t slot, uint32_t flags,
                    struct byre_error *err)
{
    struct keys keys;
    int r;

    r = keys_init(&keys, engine, flags, err);
    if (r == BYRE_OK)
        r = check_erase(&keys, slot, err);
    if (r == BYRE_OK)
        r = erase_slot(&keys, slot, err);
    keys_done(&keys);
    return r;
}

static int check_erase_all(const struct keys *keys, uint32_t slots,
                           struct byre_error *err)
{
    unsigned count = 0;

    for (unsigned i = 0; i < LUKS1_SLOTS; i++)
        count += slots >> i & 1;
    if (count == 0)
        return fail(err, BYRE_E_SECRET,
                    "the passphrase opens none of the %u key slots in use",
                    count_active(keys));
    if (count == count_active(keys) && !keys->force)
        return fail(err, BYRE_E_POLICY,
                    "the passphrase opens all %u key slots in use: without "
                    "them nobody could read the disk again, which only force "
                    "allows",
                    count);
    return BYRE_OK;
}

int qcow2_key_erase_passphrase(struct engine *engine, const void *passphrase,
                               size_t passphrase_bytes, uint32_t flags,
                               struct byre_error *err)
{
    uint32_t slots = 0;
    struct keys keys;
    int r;

    r = keys_init(&keys, engine, flags, err);
    if (r == BYRE_OK)
        r = luks1_find_slots(&keys.header, qcow2_read_luks_area, keys.qcow2,
                             passphrase, passphrase_bytes,
                             keys.qcow2->limits.max_kdf_iterations, &slots,
                             err);
    if (r == BYRE_OK)
        r = check_erase_all(&keys, slots, err);
    for (unsigned i = 0; r == BYRE_OK && i < LUKS1_SLOTS; i++)
        if ((slots >> i & 1) != 0)
            r = erase_slot(&keys, i, err);
    keys_done(&keys);
    return r;
}
