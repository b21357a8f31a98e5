/* SPDX-License-Identifier: MIT */
#include "verdict.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "strict.h"

/* ---- Counting ---- */

/* What a state may have that is short of perfect. */
struct tolerance {
    bool leaks;
    bool missing_flags;
};

static int check_report(const struct strict_report *report,
                        const struct tolerance *tolerance, const char *when,
                        struct byre_error *err)
{
    if (report->structural > 0)
        return fail(err, BYRE_E_CORRUPT, "%s: %s", when, report->first);
    if (report->marked_corrupt)
        return fail(err, BYRE_E_CORRUPT, "%s: marked corrupt", when);
    if (!report->dirty && report->corruptions > 0)
        return fail(err, BYRE_E_CORRUPT, "%s: %s", when, report->first);
    if (!report->dirty && report->missing_copied > 0 &&
        !tolerance->missing_flags)
        return fail(err, BYRE_E_CORRUPT, "%s: %llu COPIED flags are missing",
                    when, (unsigned long long)report->missing_copied);
    return BYRE_OK;
}

static int check_closed(struct byre_store *store,
                        const struct tolerance *tolerance, const char *when,
                        struct byre_error *err)
{
    struct strict_report report;
    int r;

    strict_check_store(store, &report);
    r = check_report(&report, tolerance, when, err);
    if (r < 0)
        return r;
    if (report.dirty)
        return fail(err, BYRE_E_CORRUPT, "%s: still dirty", when);
    if (tolerance->leaks || report.leaks + report.leaks_past_end == 0)
        return BYRE_OK;
    return fail(err, BYRE_E_CORRUPT, "%s: %llu leaks (%s), %llu past the end",
                when, (unsigned long long)report.leaks, report.first_leak,
                (unsigned long long)report.leaks_past_end);
}

/* ---- Content ---- */

int verdict_content(const struct runner *runner, uint64_t cut,
                    const uint8_t *bytes, uint64_t length,
                    struct byre_error *err)
{
    for (uint64_t i = 0; i < length / MODEL_SECTOR; i++)
        if (!disk_model_allows(&runner->model, cut, i,
                               bytes + i * MODEL_SECTOR))
            return fail(err, BYRE_E_CORRUPT,
                        "sector %llu of %llu holds what it must not "
                        "(%02x %02x %02x %02x)",
                        (unsigned long long)i,
                        (unsigned long long)(length / MODEL_SECTOR),
                        bytes[i * MODEL_SECTOR], bytes[i * MODEL_SECTOR + 1],
                        bytes[i * MODEL_SECTOR + 2],
                        bytes[i * MODEL_SECTOR + 3]);
    return BYRE_OK;
}

int verdict_read_all(struct byre *disk, uint8_t **ret_bytes,
                     uint64_t *ret_length, struct byre_error *err)
{
    struct byre_info info = BYRE_INFO_INIT;
    uint8_t *bytes;
    int r = byre_get_info(disk, &info, err);

    if (r < 0)
        return r;
    bytes = malloc((size_t)info.virtual_size_bytes + 1);
    if (bytes == NULL)
        abort();
    r = byre_read(disk, 0, bytes, (size_t)info.virtual_size_bytes, err);
    if (r < 0) {
        free(bytes);
        return r;
    }
    *ret_bytes = bytes;
    *ret_length = info.virtual_size_bytes;
    return BYRE_OK;
}

static int check_disk(const struct runner *runner, struct byre *disk,
                      uint64_t cut, struct byre_error *err)
{
    uint8_t *bytes = NULL;
    uint64_t length = 0;
    int r = verdict_read_all(disk, &bytes, &length, err);

    if (r < 0)
        return r;
    if (disk_model_allows_size(&runner->model, cut, length))
        r = verdict_content(runner, cut, bytes, length, err);
    else
        r = fail(err, BYRE_E_CORRUPT, "a disk of %llu bytes",
                 (unsigned long long)length);
    if (r == BYRE_OK)
        r = snapshot_model_check_disk(&runner->snapshots, cut, bytes, length,
                                      err);
    free(bytes);
    return r;
}

static int check_snapshot(const struct runner *runner,
                          struct byre_store *const *stores,
                          struct byre_error *err)
{
    const struct image_options options = { .snapshot = "one" };
    struct image image = { .disk = NULL };
    uint8_t *bytes = NULL;
    uint64_t length = 0;
    int r = image_open(runner->plan->kind, stores, &options, &image, err);

    if (r == BYRE_OK)
        r = verdict_read_all(image.disk, &bytes, &length, err);
    if (r == BYRE_OK &&
        (length != image_kind_disk(runner->plan->kind) ||
         memcmp(bytes, runner->beginning->snapshot, (size_t)length) != 0))
        r = fail(err, BYRE_E_CORRUPT, "the snapshot has changed");
    free(bytes);
    image_close(&image, NULL);
    return r;
}

/* ---- Going on with the image ---- */

/* A write over each third unit of the disk must not touch the others. */
static int write_and_look(const struct runner *runner, struct byre *disk,
                          struct byre_error *err)
{
    const uint64_t unit = runner->plan->kind->unit_bytes;
    uint8_t *before = NULL, *after = NULL;
    uint64_t length = 0;
    int r = verdict_read_all(disk, &before, &length, err);

    for (uint64_t at = 0; r == BYRE_OK && at + unit <= length; at += 3 * unit) {
        disk_pattern(0xfeed, at, before + at, unit);
        r = byre_write(disk, at, before + at, (size_t)unit, 0, err);
    }
    if (r == BYRE_OK)
        r = verdict_read_all(disk, &after, &length, err);
    if (r == BYRE_OK && memcmp(before, after, (size_t)length) != 0)
        r = fail(err, BYRE_E_CORRUPT, "written on, it reads wrong");
    free(before);
    free(after);
    return r;
}

/* What was interrupted is done again; the disk stays as it is. */
static int repeat(const struct runner *runner, struct image *image,
                  struct byre_error *err)
{
    const struct step *step = runner->plan->steps;
    uint8_t *before = NULL, *after = NULL;
    uint64_t length = 0;
    int r;

    while (step->kind != STEP_END &&
           (step->action == NULL || step->action->again == NULL))
        step++;
    if (step->kind == STEP_END)
        return BYRE_OK;
    r = verdict_read_all(image->disk, &before, &length, err);
    if (r == BYRE_OK)
        r = step->action->again(image, err);
    if (r == BYRE_OK)
        r = verdict_read_all(image->disk, &after, &length, err);
    if (r == BYRE_OK && memcmp(before, after, (size_t)length) != 0)
        r = fail(err, BYRE_E_CORRUPT, "done again, it reads wrong");
    if (r < 0)
        error_prefix(err, "%s again", step->action->name);
    free(before);
    free(after);
    return r;
}

/* ---- The state ---- */

static int open_and_look(const struct runner *runner,
                         struct byre_store *const *stores, uint64_t cut,
                         unsigned flags, struct byre_error *err)
{
    const struct image_options options = { .flags = BYRE_OPEN_WRITE };
    struct image image = { .disk = NULL };
    int r = image_open(runner->plan->kind, stores, &options, &image, err);
    int r_close;

    if (r < 0) {
        error_prefix(err, "opening");
        return r;
    }
    r = check_disk(runner, image.disk, cut, err);
    if (r == BYRE_OK && (flags & VERDICT_WRITE) != 0)
        r = repeat(runner, &image, err);
    if (r == BYRE_OK && (flags & VERDICT_WRITE) != 0)
        r = write_and_look(runner, image.disk, err);
    r_close = image_close(&image, r == BYRE_OK ? err : NULL);
    return r < 0 ? r : r_close;
}

/* An image below, which has no part in the model but what shows through. */
static int check_base(const struct runner *runner,
                      struct byre_store *const *stores, unsigned flags,
                      struct byre_error *err)
{
    const struct image_kind *kind = runner->plan->kind;
    const struct tolerance tolerance = {
        .leaks = (flags & VERDICT_NO_LEAKS) == 0,
    };

    if ((kind->flags & KIND_BASE_QCOW2) == 0)
        return BYRE_OK;
    return check_closed(stores[image_kind_stores(kind) - 1], &tolerance,
                        "the base", err);
}

int verdict_state(const struct runner *runner, struct byre_store *const *stores,
                  uint64_t cut, unsigned flags, struct byre_error *err)
{
    const bool snapshot = runner->beginning->snapshot != NULL;
    struct tolerance tolerance = {
        .missing_flags =
            snapshot_model_allows_missing_flags(&runner->snapshots, cut),
    };
    const bool bitmaps = (runner->plan->kind->flags & KIND_BITMAPS) != 0;
    struct strict_report before;
    int r;

    strict_check_store(stores[0], &before);
    r = check_report(&before, &tolerance, "as it was left", err);
    if (r == BYRE_OK && (flags & VERDICT_NO_LEAKS) != 0)
        r = check_closed(stores[0], &tolerance, "closed", err);
    if (r == BYRE_OK && bitmaps)
        r = verdict_bitmaps(runner, stores, flags, err);
    if (r == BYRE_OK)
        r = check_base(runner, stores, flags, err);
    if (r == BYRE_OK)
        r = open_and_look(runner, stores, cut, flags, err);
    if (r == BYRE_OK && bitmaps)
        r = verdict_bitmaps(runner, stores, flags, err);
    if (r == BYRE_OK && snapshot)
        r = check_snapshot(runner, stores, err);
    if (r == BYRE_OK)
        r = verdict_snapshots(runner, stores, cut, err);
    tolerance.leaks = !before.dirty && (flags & VERDICT_NO_LEAKS) == 0;
    if (r == BYRE_OK)
        r = check_closed(stores[0], &tolerance, "opened and closed", err);
    return r;
}
