/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arith.h"
#include "qcow2/check.h"

void check_owners_done(struct check_owners *owners)
{
    free(owners->shared);
    *owners = (struct check_owners){ 0 };
}

bool check_owners_overlap(const struct check_owners *owners,
                          uint64_t cluster_bytes, uint64_t offset,
                          uint64_t bytes)
{
    for (size_t i = 0; i < owners->count; i++) {
        const uint64_t start = owners->shared[i].cluster * cluster_bytes;

        if (owners->shared[i].overlaps && start < offset + bytes &&
            offset < start + cluster_bytes)
            return true;
    }
    return false;
}

bool check_owners_note(struct check *check, const struct check_shared *shared)
{
    struct check_owners *owners = &check->owners;

    if (shared->overlaps && check_owners_overlap(owners, 1, shared->cluster, 1))
        return true;
    if (owners->shared == NULL)
        owners->shared = calloc(CHECK_MOST_SHARED, sizeof(owners->shared[0]));
    if (owners->shared == NULL || owners->count == CHECK_MOST_SHARED) {
        owners->more |= shared->overlaps;
        return false;
    }
    owners->shared[owners->count++] = *shared;
    return true;
}

void check_owners_copied(struct check *check, const struct reference *ref)
{
    for (size_t i = 0; i < check->owners.count; i++) {
        struct check_shared *shared = &check->owners.shared[i];

        if (shared->overlaps &&
            shared->cluster == ref->offset / check->cluster_bytes) {
            shared->copied = true;
            shared->copy = *ref;
        }
    }
}

/* ---- Who it is ---- */

static int by_cluster(const void *left, const void *right)
{
    const struct check_shared *a = left, *b = right;

    if (a->cluster != b->cluster)
        return a->cluster < b->cluster ? -1 : 1;
    return (int)a->overlaps - (int)b->overlaps;
}

/* The first one at `cluster` or behind it. */
static size_t find_from(const struct check_owners *owners, uint64_t cluster)
{
    size_t low = 0, high = owners->count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;

        if (owners->shared[middle].cluster < cluster)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int find_owner(void *user, const struct reference *ref,
                      struct byre_error *err)
{
    struct check *check = user;
    struct check_owners *owners = &check->owners;
    uint64_t last;

    (void)err;
    if (!reference_is_counted(ref))
        return BYRE_OK;
    last = (ref->offset + ref->bytes - 1) / check->cluster_bytes;
    for (size_t i = find_from(owners, ref->offset / check->cluster_bytes);
         i < owners->count && owners->shared[i].cluster <= last; i++) {
        struct check_shared *shared = &owners->shared[i];

        if (shared->owner_count < 2)
            shared->owners[shared->owner_count] = *ref;
        shared->owner_count++;
    }
    return BYRE_OK;
}

/* ---- Words ---- */

static void describe_owner(const struct reference *ref, char *text,
                           size_t capacity)
{
    char disk[48] = "";

    if (ref->snapshot != REFERENCE_NO_SNAPSHOT)
        snprintf(disk, sizeof(disk), " of snapshot %" PRIu32,
                 ref->snapshot + 1);
    if (ref->guest_offset != BYRE_NO_OFFSET && ref->owner != REFERENCE_L1_TABLE)
        snprintf(text, capacity, "%s for guest offset %" PRIu64 "%s",
                 reference_owner_name(ref->owner), ref->guest_offset, disk);
    else
        snprintf(text, capacity, "%s%s", reference_owner_name(ref->owner),
                 disk);
}

static void report(struct check *check, const struct check_shared *shared)
{
    const struct check_place place = {
        .object = shared->owner_count > 0
                      ? reference_owner_name(shared->owners[0].owner)
                      : "cluster",
        .host_offset = shared->cluster * check->cluster_bytes,
        .guest_offset = shared->owner_count > 0 ? shared->owners[0].guest_offset
                                                : BYRE_NO_OFFSET,
    };
    char first[96] = "something", second[96] = "something else";
    char more[48] = "";

    if (shared->owner_count > 0)
        describe_owner(&shared->owners[0], first, sizeof(first));
    if (shared->owner_count > 1)
        describe_owner(&shared->owners[1], second, sizeof(second));
    if (shared->owner_count > 2)
        snprintf(more, sizeof(more), " and %" PRIu64 " more",
                 shared->owner_count - 2);
    if (shared->overlaps)
        check_found(check, BYRE_FINDING_CORRUPTION, shared->repaired, &place,
                    "the cluster at %" PRIu64 " is used twice: as %s, and as "
                    "%s%s",
                    place.host_offset, first, second, more);
    else
        check_found(check, BYRE_FINDING_CORRUPTION, shared->repaired, &place,
                    "the cluster at %" PRIu64 " has the refcount %" PRIu64
                    ", but %" PRIu64 " references: %s, %s%s",
                    place.host_offset, shared->stored, shared->counted, first,
                    second, more);
}

/* What has left is an owner that was; all is well if one is left. */
static void settle(const struct check *check, struct check_shared *shared)
{
    if (check->repair == 0 || !shared->overlaps)
        return;
    shared->repaired = shared->owner_count <= 1;
    if (shared->copied && shared->owner_count < 2)
        shared->owners[shared->owner_count++] = shared->copy;
}

int check_owners_report(struct check *check, struct byre_error *err)
{
    struct check_owners *owners = &check->owners;
    size_t kept = 0;
    int r;

    if (owners->count == 0)
        return BYRE_OK;
    qsort(owners->shared, owners->count, sizeof(owners->shared[0]), by_cluster);
    for (size_t i = 0; i < owners->count; i++)
        owners->shared[i].owner_count = 0;
    r = references_walk(check->qcow2, REFERENCES_ALL, find_owner, check, err);
    if (r < 0)
        return r;

    for (size_t i = 0; i < owners->count; i++) {
        settle(check, &owners->shared[i]);
        report(check, &owners->shared[i]);
        if (owners->shared[i].overlaps)
            owners->shared[kept++] = owners->shared[i];
    }
    owners->count = kept;
    return BYRE_OK;
}
