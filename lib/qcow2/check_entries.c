/* SPDX-License-Identifier: MIT */
/*
 * Entries of L1 and L2 tables that can be mended in place: each write is one
 * entry, within a sector, and what can be read stays what it is.
 *
 * - Reserved bits, and flags that stand where nothing can have them, mean
 *   nothing to any reader.
 * - A cluster that is only reserved for writing, at a place where none can be,
 *   is not needed: it reads as zeroes with or without it.
 * - What lies past the end of the file reads as zeroes; left alone, such an
 *   entry would show, or release, whatever comes to lie there.
 */
#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "qcow2/check.h"

/* An entry on its way to being mended. */
struct mend {
    uint64_t word;
    uint64_t bitmap; /* of an extended entry */
    uint32_t mended; /* REFERENCE_*: faults that are gone */
};

static uint64_t entry_bytes(const struct check *check,
                            const struct reference *ref)
{
    return ref->in_l1 ? 8 : UINT64_C(8) * check->qcow2->entry_words;
}

static bool is_extended(const struct check *check, const struct reference *ref)
{
    return entry_bytes(check, ref) == 16;
}

/* ---- One fault each ---- */

static void clear_reserved(const struct check *check,
                           const struct reference *ref, struct mend *mend)
{
    uint64_t mask =
        ref->in_l1 ? QCOW2_L1_RESERVED_MASK : QCOW2_L2_RESERVED_MASK;

    if ((ref->faults & REFERENCE_RESERVED_BITS) == 0)
        return;
    if (is_extended(check, ref))
        mask |= QCOW2_ENTRY_ZERO;
    mend->word &= ~mask;
    mend->mended |= REFERENCE_RESERVED_BITS;
}

static void clear_stray_flag(const struct reference *ref, struct mend *mend)
{
    if ((ref->faults & REFERENCE_STRAY_COPIED) == 0)
        return;
    mend->word &= ~QCOW2_ENTRY_COPIED;
    mend->mended |= REFERENCE_STRAY_COPIED;
}

/* Readers pass over the bitmap of a compressed entry. */
static void clear_bitmap(const struct reference *ref, struct mend *mend)
{
    if ((ref->faults & REFERENCE_SUBCLUSTERS) == 0 ||
        ref->owner != REFERENCE_COMPRESSED)
        return;
    mend->bitmap = 0;
    mend->mended |= REFERENCE_SUBCLUSTERS;
}

/* The entry without its cluster, reading zero where it did or must. */
static void drop_cluster(const struct check *check, const struct reference *ref,
                         struct mend *mend)
{
    const uint64_t halves = mend->bitmap << 32 | mend->bitmap;

    if (is_extended(check, ref)) {
        mend->word = 0;
        mend->bitmap = halves & UINT64_C(0xffffffff00000000);
    } else {
        mend->word = check->qcow2->header.version >= 3 ? QCOW2_ENTRY_ZERO : 0;
    }
}

/* Reserved for writing, at a place where no cluster can be. */
static void drop_unaligned(const struct check *check,
                           const struct reference *ref, struct mend *mend)
{
    const bool holds_data = is_extended(check, ref)
                                ? (mend->bitmap & UINT32_MAX) != 0
                                : (ref->raw & QCOW2_ENTRY_ZERO) == 0;

    if ((ref->faults & REFERENCE_UNALIGNED) == 0 || holds_data ||
        check->qcow2->header.version < 3 ||
        (ref->owner != REFERENCE_DATA && ref->owner != REFERENCE_EXTERNAL_DATA))
        return;
    drop_cluster(check, ref, mend);
    mend->mended |= ref->faults;
}

/* Past the end of the file, where the refcounts know of nothing. */
static int drop_beyond(struct check *check, const struct reference *ref,
                       struct mend *mend, struct byre_error *err)
{
    const uint32_t beyond = REFERENCE_BEYOND_LIMIT | REFERENCE_BEYOND_FILE;
    const uint32_t unreadable =
        REFERENCE_UNALIGNED | REFERENCE_SUBCLUSTERS | REFERENCE_ZERO_FLAG;
    uint64_t count = 0;
    bool known;
    int r;

    if ((ref->faults & beyond) == 0 || (ref->faults & unreadable) != 0 ||
        (ref->owner != REFERENCE_DATA && ref->owner != REFERENCE_L2_TABLE))
        return BYRE_OK;
    if (ref->owner == REFERENCE_DATA && check->qcow2->header.version < 3 &&
        check->qcow2->engine.backing_name != NULL)
        return BYRE_OK;
    r = stored_counts_peek(&check->stored, ref->offset / check->cluster_bytes,
                           &known, &count, err);
    if (r < 0 || !known || count != 0)
        return r;
    if (ref->in_l1)
        mend->word = 0;
    else
        drop_cluster(check, ref, mend);
    mend->mended |= ref->faults;
    return BYRE_OK;
}

/* ---- One entry ---- */

static int read_entry(const struct check *check, const struct reference *ref,
                      struct mend *ret, struct byre_error *err)
{
    const uint64_t bytes = entry_bytes(check, ref);
    uint8_t words[16] = { 0 };
    int r;

    r = store_read(check->qcow2->store, ref->table_offset + ref->index * bytes,
                   words, (size_t)bytes, err);
    if (r == BYRE_OK)
        *ret = (struct mend){ be64_get(words), be64_get(words + 8), 0 };
    return r;
}

static int write_entry(const struct check *check, const struct reference *ref,
                       const struct mend *mend, struct byre_error *err)
{
    const uint64_t bytes = entry_bytes(check, ref);
    uint8_t words[16];

    be64_put(words, mend->word);
    be64_put(words + 8, mend->bitmap);
    return store_write(check->qcow2->store,
                       ref->table_offset + ref->index * bytes, words,
                       (size_t)bytes, err);
}

static int mend_entry(struct check *check, const struct reference *ref,
                      bool *ret_gone, struct byre_error *err)
{
    struct mend mend = { 0 };
    int r;

    r = read_entry(check, ref, &mend, err);
    if (r < 0 || mend.word != ref->raw) /* mended for another tree */
        return r;
    clear_reserved(check, ref, &mend);
    clear_stray_flag(ref, &mend);
    clear_bitmap(ref, &mend);
    drop_unaligned(check, ref, &mend);
    r = drop_beyond(check, ref, &mend, err);
    if (r < 0 || mend.mended == 0)
        return r;

    r = write_entry(check, ref, &mend, err);
    if (r < 0)
        return r;
    for (uint32_t left = mend.mended; left != 0; left &= left - 1)
        check_found_fault(check, ref, left & -left, true);
    *ret_gone = mend.word == 0;
    return BYRE_OK;
}

static bool stands_in_tree(const struct reference *ref)
{
    switch (ref->owner) {
    case REFERENCE_L2_TABLE:
    case REFERENCE_DATA:
    case REFERENCE_COMPRESSED:
    case REFERENCE_EXTERNAL_DATA:
    case REFERENCE_NOTHING:
        return true;
    default:
        return false;
    }
}

static int visit(void *user, const struct reference *ref,
                 struct byre_error *err)
{
    struct check *check = user;
    bool gone = false;
    int r = BYRE_OK;

    if (ref->faults != 0 && stands_in_tree(ref))
        r = mend_entry(check, ref, &gone, err);
    if (r < 0 || gone)
        return r < 0 ? r : 1;
    if (ref->owner == REFERENCE_L1_TABLE || ref->owner == REFERENCE_L2_TABLE)
        return !check_may_write_table(check, ref);
    return BYRE_OK;
}

int check_entries(struct check *check, struct byre_error *err)
{
    int r;

    r = references_walk(check->qcow2,
                        REFERENCES_ACTIVE | REFERENCES_SNAPSHOTS |
                            REFERENCES_EXTERNAL,
                        visit, check, err);
    if (r < 0)
        return r;
    return store_flush(check->qcow2->store, err);
}

/* ---- A file that was cut off ---- */

struct lengthen {
    struct check *check;
    uint64_t farthest;
    uint64_t end;
};

static int find_end(void *user, const struct reference *ref,
                    struct byre_error *err)
{
    struct lengthen *lengthen = user;
    struct check *check = lengthen->check;
    uint64_t count = 0;
    bool known;
    int r;

    if ((ref->faults & REFERENCE_BEYOND_FILE) == 0 ||
        (ref->faults & REFERENCE_BEYOND_LIMIT) != 0 ||
        ref->owner == REFERENCE_EXTERNAL_DATA ||
        ref->offset + ref->bytes > lengthen->farthest)
        return BYRE_OK;
    r = stored_counts_peek(&check->stored, ref->offset / check->cluster_bytes,
                           &known, &count, err);
    if (r == BYRE_OK && known && count != 0)
        lengthen->end = max_u64(lengthen->end, ref->offset + ref->bytes);
    return r;
}

int check_lengthen(struct check *check, bool *ret_lengthened,
                   struct byre_error *err)
{
    const uint64_t most = STORE_MAX_OFFSET / 4;
    struct byre_store *store = check->qcow2->store;
    struct lengthen lengthen = { .check = check };
    uint64_t file_bytes;
    int r;

    if (store->identity.is_device || store->ops.resize == NULL)
        return BYRE_OK;
    r = store_get_size(store, &file_bytes, err);
    if (r < 0)
        return r;
    lengthen.farthest = min_u64(file_bytes, most) +
                        min_u64(check->qcow2->header.size_bytes, most) +
                        (UINT64_C(64) << 20);
    r = references_walk(check->qcow2, REFERENCES_ALL, find_end, &lengthen, err);
    if (r < 0 || lengthen.end <= file_bytes)
        return r;

    r = store_resize(store, align_up(lengthen.end, check->cluster_bytes), err);
    if (r == BYRE_OK)
        r = store_flush(store, err);
    *ret_lengthened = r == BYRE_OK;
    return r;
}
