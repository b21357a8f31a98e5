/* SPDX-License-Identifier: MIT */
#include "qcow2/metadata.h"

#include <inttypes.h>

#include "base/arith.h"
#include "base/error.h"
#include "store/store.h"

static const char *const kind_names[] = {
    [METADATA_HEADER] = "the header",
    [METADATA_REFCOUNT_TABLE] = "the refcount table",
    [METADATA_REFCOUNT_BLOCK] = "a refcount block",
    [METADATA_L1] = "the L1 table",
    [METADATA_L2] = "an L2 table",
    [METADATA_SNAPSHOT_TABLE] = "the snapshot table",
    [METADATA_SNAPSHOT_L1] = "the L1 table of a snapshot",
    [METADATA_LUKS] = "the LUKS header",
    [METADATA_BITMAPS] = "a bitmap",
};

void metadata_init(struct metadata *metadata)
{
    pthread_rwlock_init(&metadata->lock, NULL);
    metadata->set = (struct range_set){ 0 };
}

void metadata_done(struct metadata *metadata)
{
    range_set_done(&metadata->set);
    pthread_rwlock_destroy(&metadata->lock);
}

static int fail_overlap(enum metadata_kind kind, uint64_t start,
                        const struct range *other, struct byre_error *err)
{
    return fail_at(err, BYRE_E_CORRUPT, start,
                   "%s at offset %" PRIu64 " overlaps %s at offset %" PRIu64
                   "; run a check of the image",
                   kind_names[kind], start, kind_names[other->kind],
                   max_u64(other->start, start));
}

static int add(struct range_set *set, enum metadata_kind kind, uint64_t start,
               uint64_t length, struct byre_error *err)
{
    const struct range *other = range_set_find(set, start, length);

    if (other != NULL)
        return fail_overlap(kind, start, other, err);
    return range_set_add(set, start, length, kind, err);
}

int metadata_add(struct metadata *metadata, enum metadata_kind kind,
                 uint64_t offset, uint64_t bytes, uint64_t cluster_bytes,
                 struct byre_error *err)
{
    const uint64_t start = align_down(offset, cluster_bytes);
    int r;

    if (bytes == 0)
        return BYRE_OK;
    if (!range_within(offset, bytes, STORE_MAX_OFFSET))
        return fail_at(err, BYRE_E_CORRUPT, offset,
                       "%s at offset %" PRIu64 " has %" PRIu64
                       " bytes, past the limit of %" PRIu64
                       "; run a check of the image",
                       kind_names[kind], offset, bytes, STORE_MAX_OFFSET);

    pthread_rwlock_wrlock(&metadata->lock);
    r = add(&metadata->set, kind, start,
            align_up(offset + bytes, cluster_bytes) - start, err);
    pthread_rwlock_unlock(&metadata->lock);
    return r;
}

int metadata_remove(struct metadata *metadata, uint64_t offset, uint64_t bytes,
                    struct byre_error *err)
{
    int r;

    pthread_rwlock_wrlock(&metadata->lock);
    r = range_set_remove(&metadata->set, offset, bytes, err);
    pthread_rwlock_unlock(&metadata->lock);
    return r;
}

static int derive(const struct range_set *old, unsigned without,
                  const struct range *added, size_t count,
                  struct range_set *set, struct byre_error *err)
{
    size_t next = 0;
    int r = BYRE_OK;

    for (size_t i = 0; i <= old->count && r == BYRE_OK; i++) {
        const struct range *range = i < old->count ? &old->ranges[i] : NULL;

        if (range != NULL && (without >> range->kind & 1) != 0)
            continue;
        for (; r == BYRE_OK && next < count &&
               (range == NULL || added[next].start < range->start);
             next++)
            r = add(set, added[next].kind, added[next].start,
                    added[next].end - added[next].start, err);
        if (r == BYRE_OK && range != NULL)
            r = add(set, range->kind, range->start, range->end - range->start,
                    err);
    }
    return r;
}

int metadata_derive(struct metadata *metadata, unsigned without,
                    const struct range *added, size_t count,
                    struct range_set *ret_set, struct byre_error *err)
{
    struct range_set set = { 0 };
    int r;

    pthread_rwlock_rdlock(&metadata->lock);
    r = derive(&metadata->set, without, added, count, &set, err);
    pthread_rwlock_unlock(&metadata->lock);
    if (r < 0)
        range_set_done(&set);
    else
        *ret_set = set;
    return r;
}

void metadata_install(struct metadata *metadata, struct range_set *set)
{
    struct range_set old;

    pthread_rwlock_wrlock(&metadata->lock);
    old = metadata->set;
    metadata->set = *set;
    pthread_rwlock_unlock(&metadata->lock);
    *set = (struct range_set){ 0 };
    range_set_done(&old);
}

int metadata_check(struct metadata *metadata, uint64_t offset, uint64_t bytes,
                   struct byre_error *err)
{
    const struct range *hit;
    struct range found = { 0 };

    pthread_rwlock_rdlock(&metadata->lock);
    hit = range_set_find(&metadata->set, offset, bytes);
    if (hit != NULL)
        found = *hit;
    pthread_rwlock_unlock(&metadata->lock);
    if (hit == NULL)
        return BYRE_OK;
    return fail_at(
        err, BYRE_E_CORRUPT, offset,
        "a write of %" PRIu64 " bytes at offset %" PRIu64
        " would hit %s at offset %" PRIu64 "; run a check of the image",
        bytes, offset, kind_names[found.kind], max_u64(found.start, offset));
}

uint64_t metadata_end(struct metadata *metadata)
{
    uint64_t end = 0;

    pthread_rwlock_rdlock(&metadata->lock);
    if (metadata->set.count > 0)
        end = metadata->set.ranges[metadata->set.count - 1].end;
    pthread_rwlock_unlock(&metadata->lock);
    return end;
}
