/* SPDX-License-Identifier: MIT */
#include "convert_salvage.h"

#include <inttypes.h>
#include <stdio.h>

#include "json_out.h"

static void list_range(const struct salvage *salvage)
{
    json_t *range = json_object();

    json_object_set_new(range, "offset",
                        json_integer((json_int_t)salvage->offset));
    json_object_set_new(range, "length",
                        json_integer((json_int_t)salvage->length));
    json_object_set_new(range, "reason", json_out_string(salvage->why));
    json_array_append_new(salvage->list, range);
}

static void tell_range(struct salvage *salvage)
{
    if (salvage->length == 0)
        return;
    list_range(salvage);
    if (!salvage->quiet)
        report(salvage->tool,
               "warning: zeroes instead of %" PRIu64 " bytes at offset %" PRIu64
               " that could not be read: %s",
               salvage->length, salvage->offset, salvage->why);
    salvage->ranges++;
    salvage->total_bytes += salvage->length;
    salvage->length = 0;
}

/* The library gives up by sectors; one warning tells of a run of them. */
void salvage_note(void *user, uint64_t offset, uint64_t length,
                  const struct byre_error *why)
{
    struct salvage *salvage = user;

    if (salvage->length > 0 && salvage->offset + salvage->length == offset) {
        salvage->length += length;
        return;
    }
    tell_range(salvage);
    salvage->offset = offset;
    salvage->length = length;
    snprintf(salvage->why, sizeof(salvage->why), "%s", why->message);
}

void salvage_end(struct salvage *salvage)
{
    tell_range(salvage);
    if (salvage->ranges > 1 && !salvage->quiet)
        report(salvage->tool,
               "warning: %" PRIu64 " bytes in %" PRIu64
               " ranges could not be read in all",
               salvage->total_bytes, salvage->ranges);
}

void salvage_lists(const struct tool *tool, struct byre *img)
{
    const struct byre_snapshot *snapshots;
    const struct byre_bitmap *bitmaps;
    struct byre_error err;
    size_t count;

    if (byre_snapshot_list(img, &snapshots, &count, &err) < 0)
        report(tool, "warning: the snapshots could not be read: %s",
               err.message);
    if (byre_bitmap_list(img, &bitmaps, &count, &err) < 0)
        report(tool, "warning: the bitmaps could not be read: %s", err.message);
}
