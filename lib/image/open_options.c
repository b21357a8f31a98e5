/* SPDX-License-Identifier: MIT */
/* What a caller may ask of opening. */
#include "base/error.h"
#include "base/sized.h"
#include "image/request.h"
#include "image/tuning.h"

#define KNOWN_OPEN_FLAGS                                                       \
    (BYRE_OPEN_FOLLOW_BACKING | BYRE_OPEN_FOLLOW_DATA_FILE |                   \
     BYRE_OPEN_PROBE_BACKING | BYRE_OPEN_NO_PROBE | BYRE_OPEN_SHARED |         \
     BYRE_OPEN_METADATA_ONLY | BYRE_OPEN_NO_LOCK | BYRE_OPEN_NO_BACKING |      \
     BYRE_OPEN_WRITE | BYRE_OPEN_KEEP_SPACE | BYRE_OPEN_DIRECT |               \
     BYRE_OPEN_NO_SYNC | BYRE_OPEN_GIVE_UP_BITMAPS | BYRE_OPEN_CHECK |         \
     BYRE_OPEN_KEEP_CLUSTERS)

static bool chooses_snapshot(const struct byre_open_options *opts)
{
    return opts->snapshot != NULL || opts->snapshot_id != NULL ||
           opts->snapshot_name != NULL;
}

static int check_writing(const struct byre_open_options *opts,
                         struct byre_error *err)
{
    if ((opts->flags & BYRE_OPEN_WRITE) == 0)
        return BYRE_OK;
    if (opts->flags & (BYRE_OPEN_SHARED | BYRE_OPEN_METADATA_ONLY))
        return fail(err, BYRE_E_INVALID,
                    "a disk is not opened for writing while it is shared with "
                    "another writer, or for its description only");
    if (chooses_snapshot(opts))
        return fail(err, BYRE_E_INVALID, "a snapshot can only be read");
    return BYRE_OK;
}

static int check_checking(const struct byre_open_options *opts,
                          struct byre_error *err)
{
    if ((opts->flags & BYRE_OPEN_CHECK) == 0)
        return BYRE_OK;
    if ((opts->flags & BYRE_OPEN_METADATA_ONLY) != 0 || chooses_snapshot(opts))
        return fail(err, BYRE_E_INVALID,
                    "an image is checked as a whole: not one snapshot of it, "
                    "nor its description only");
    return BYRE_OK;
}

int check_options(const struct byre_open_options *given,
                  struct byre_open_options *ret, struct byre_error *err)
{
    const struct byre_open_options defaults = BYRE_OPEN_OPTIONS_INIT;
    int r;

    *ret = defaults;
    if (given == NULL)
        return BYRE_OK;

    r = sized_copy_in(given, sizeof(size_t), ret, sizeof(*ret),
                      "struct byre_open_options", err);
    if (r < 0)
        return r;
    if (ret->flags & ~KNOWN_OPEN_FLAGS)
        return fail(err, BYRE_E_INVALID, "unknown open flags 0x%x",
                    ret->flags & ~KNOWN_OPEN_FLAGS);
    if (ret->snapshot != NULL &&
        (ret->snapshot_id != NULL || ret->snapshot_name != NULL))
        return fail(err, BYRE_E_INVALID,
                    "a snapshot is chosen in two ways at once");
    r = check_checking(ret, err);
    if (r < 0)
        return r;
    return check_writing(ret, err);
}

int tune_options(const struct node *node, const struct byre_open_options *opts,
                 struct byre_open_options *ret, struct byre_error *err)
{
    struct tuning tuning;

    node_tuning(node, &tuning);
    *ret = *opts;
    ret->flags |= tuning.open_flags;
    if (ret->table_cache_bytes == 0)
        ret->table_cache_bytes = tuning.table_cache_bytes;
    if (ret->refcount_cache_bytes == 0)
        ret->refcount_cache_bytes = tuning.refcount_cache_bytes;
    if (tuning.read_only && (opts->flags & BYRE_OPEN_WRITE) != 0)
        return fail(err, BYRE_E_STATE,
                    "Block node is read-only: its name has read-only=on, and "
                    "it is to be written");
    return check_writing(ret, err);
}
