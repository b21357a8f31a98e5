/* SPDX-License-Identifier: MIT */
/*
 * Bitmaps that nothing vouches for: a program that knows none of them has
 * written to the image, or they are damaged and given up.  The extension goes.
 *
 * Their clusters may have become somebody else's meanwhile, as a check that
 * knows no bitmaps frees them.  So they are freed only where all that the image
 * refers to was looked at, and none of it is there; else they leak.
 */
#include <stdlib.h>

#include "base/arith.h"
#include "base/error.h"
#include "qcow2/allocator.h"
#include "qcow2/head.h"
#include "qcow2/references.h"

/* The clusters that the extension leads to, and which others use. */
struct stale {
    struct qcow2 *qcow2;
    struct offset_list clusters; /* in order */
    bool *used;
};

/* The first of them that is not below `offset`. */
static size_t find_cluster(const struct stale *stale, uint64_t offset)
{
    size_t low = 0, high = stale->clusters.count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;

        if (stale->clusters.offsets[middle] < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int note_used(void *user, const struct reference *ref,
                     struct byre_error *err)
{
    struct stale *stale = user;
    const uint64_t cluster = engine_cluster_bytes(&stale->qcow2->engine);

    (void)err;
    if (ref->bytes == 0 || ref->owner == REFERENCE_EXTERNAL_DATA)
        return 0;
    for (size_t i = find_cluster(stale, align_down(ref->offset, cluster));
         i < stale->clusters.count &&
         stale->clusters.offsets[i] - ref->offset + cluster <
             ref->bytes + cluster;
         i++)
        stale->used[i] = true;
    return 0;
}

/* One that is named twice is not free after one release. */
static void note_doubles(struct stale *stale)
{
    for (size_t i = 1; i < stale->clusters.count; i++)
        if (stale->clusters.offsets[i - 1] == stale->clusters.offsets[i])
            stale->used[i - 1] = stale->used[i] = true;
}

static int list_clusters(struct stale *stale, struct byre_error *err)
{
    struct qcow2 *qcow2 = stale->qcow2;
    struct bitmap_set set = { 0 };
    int r;

    qcow2->has_bitmaps = true; /* for the loading of them only */
    r = bitmap_directory_load(qcow2, &set, err);
    if (r == BYRE_OK)
        r = bitmap_set_list_clusters(&set, qcow2, &stale->clusters, err);
    qcow2->has_bitmaps = false;
    bitmap_set_done(&set);
    return r;
}

/* What it cannot tell stays used. */
static void look_for_free(struct stale *stale)
{
    if (list_clusters(stale, NULL) < 0) {
        stale->clusters.count = 0;
        return;
    }
    offset_list_sort(&stale->clusters);
    stale->used = calloc(stale->clusters.count + 1, sizeof(stale->used[0]));
    if (stale->used == NULL || references_walk(stale->qcow2, REFERENCES_ALL,
                                               note_used, stale, NULL) < 0)
        stale->clusters.count = 0;
    else
        note_doubles(stale);
}

static void release_free(struct stale *stale)
{
    struct allocator *allocator = stale->qcow2->allocator;
    const uint64_t cluster = engine_cluster_bytes(&stale->qcow2->engine);

    for (size_t i = 0; i < stale->clusters.count; i++) {
        const uint64_t offset = stale->clusters.offsets[i];
        uint64_t count;

        if (!stale->used[i] &&
            allocator_get(allocator, offset, &count, NULL) == BYRE_OK &&
            count == 1)
            allocator_release(allocator, offset, cluster, 0, NULL);
    }
}

static int drop_extension(struct qcow2 *qcow2, struct byre_error *err)
{
    struct head head = { 0 };
    int r;

    r = head_load(qcow2, &head, err);
    if (r < 0)
        return r;
    r = head_set_extension(&head, QCOW2_EXT_BITMAPS, NULL, 0, err);
    if (r == BYRE_OK)
        r = head_store(qcow2, &head, err);
    head_done(&head);
    return r;
}

int qcow2_bitmaps_drop_stale(struct qcow2 *qcow2, struct byre_error *err)
{
    struct stale stale = { .qcow2 = qcow2 };
    int r;

    if (!qcow2->bitmaps_are_stale)
        return BYRE_OK;
    look_for_free(&stale);
    r = drop_extension(qcow2, err);
    if (r == BYRE_OK) {
        release_free(&stale);
        qcow2->bitmaps_are_stale = false;
    }
    offset_list_done(&stale.clusters);
    free(stale.used);
    /* Without room it stays: nobody believes it, with that bit clear. */
    return r == BYRE_E_LIMIT ? BYRE_OK : r;
}
