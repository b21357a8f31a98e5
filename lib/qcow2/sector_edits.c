/* SPDX-License-Identifier: MIT */
#include "qcow2/sector_edits.h"

#include <string.h>

#include "base/arith.h"

void sector_edits_init(struct sector_edits *edits, struct byre_store *store)
{
    edits->store = store;
    edits->sector = EDIT_NO_SECTOR;
}

int sector_edits_write(struct sector_edits *edits, struct byre_error *err)
{
    const uint64_t sector = edits->sector;

    edits->sector = EDIT_NO_SECTOR;
    if (sector == EDIT_NO_SECTOR)
        return BYRE_OK;
    return store_write(edits->store, sector, edits->bytes, sizeof(edits->bytes),
                       err);
}

/* Entries come in the order of their table, so a sector is held until the first
   change outside of it. */
int sector_edits_at(struct sector_edits *edits, uint64_t offset,
                    uint8_t **ret_bytes, struct byre_error *err)
{
    const uint64_t sector = align_down(offset, EDIT_SECTOR_BYTES);
    int r;

    if (sector != edits->sector) {
        r = sector_edits_write(edits, err);
        if (r < 0)
            return r;

        r = store_read(edits->store, sector, edits->bytes, sizeof(edits->bytes),
                       err);
        if (r < 0)
            return r;
        edits->sector = sector;
    }
    *ret_bytes = edits->bytes;
    return BYRE_OK;
}

int sector_edits_put(struct sector_edits *edits, uint64_t offset,
                     const void *bytes, size_t length, struct byre_error *err)
{
    uint8_t *sector;
    int r;

    r = sector_edits_at(edits, offset, &sector, err);
    if (r < 0)
        return r;
    memcpy(sector + offset % EDIT_SECTOR_BYTES, bytes, length);
    return BYRE_OK;
}
