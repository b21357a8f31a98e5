/* SPDX-License-Identifier: MIT */
/*
 * Bitmaps that come, note what is written, are stored, changed and go.  Without
 * these a crash could leave one that looks sound but has missed a write, and a
 * backup would miss it too; or clusters of bitmaps that are used twice.
 */
#include "runner.h"
#include "script.h"

/* What is done to bitmaps promises nothing of the disk: a flush does. */
static int flushed(struct runner *runner, int r, struct byre_error *err)
{
    return r < 0 ? r : byre_flush(runner->image.disk, err);
}

static int add_all(struct runner *runner, const struct step *step,
                   struct byre_error *err)
{
    (void)step;
    return flushed(runner,
                   byre_bitmap_add(runner->image.disk, "all", 0, 0, err), err);
}

static int add_fine(struct runner *runner, const struct step *step,
                    struct byre_error *err)
{
    (void)step;
    return flushed(
        runner, byre_bitmap_add(runner->image.disk, "fine", 512, 0, err), err);
}

static int clear_fine(struct runner *runner, const struct step *step,
                      struct byre_error *err)
{
    (void)step;
    return flushed(runner, byre_bitmap_clear(runner->image.disk, "fine", err),
                   err);
}

static int remove_fine(struct runner *runner, const struct step *step,
                       struct byre_error *err)
{
    (void)step;
    return flushed(runner, byre_bitmap_remove(runner->image.disk, "fine", err),
                   err);
}

static int toggle_fine(struct runner *runner, const struct step *step,
                       struct byre_error *err)
{
    struct byre *disk = runner->image.disk;

    return flushed(runner,
                   step->length != 0 ? byre_bitmap_enable(disk, "fine", err)
                                     : byre_bitmap_disable(disk, "fine", err),
                   err);
}

static int merge(struct runner *runner, const struct step *step,
                 struct byre_error *err)
{
    struct byre *disk = runner->image.disk;

    (void)step;
    return flushed(runner, byre_bitmap_merge(disk, "fine", disk, "all", err),
                   err);
}

static int store(struct runner *runner, const struct step *step,
                 struct byre_error *err)
{
    (void)step;
    return byre_bitmap_store(runner->image.disk, err);
}

static const struct action add_all_action = { .name = "add all",
                                              .run = add_all };
static const struct action add_fine_action = { .name = "add fine",
                                               .run = add_fine };
static const struct action clear_action = { .name = "clear fine",
                                            .run = clear_fine };
static const struct action remove_action = { .name = "remove fine",
                                             .run = remove_fine };
static const struct action toggle_action = { .name = "toggle fine",
                                             .run = toggle_fine };
static const struct action merge_action = { .name = "merge into fine",
                                            .run = merge };
static const struct action store_action = { .name = "store", .run = store };

#define ADD_ALL  DO(&add_all_action, 0, 0)
#define ADD_FINE DO(&add_fine_action, 0, 0)
#define CLEAR    DO(&clear_action, 0, 0)
#define REMOVE   DO(&remove_action, 0, 0)
#define DISABLE  DO(&toggle_action, 0, 0)
#define ENABLE   DO(&toggle_action, 0, 1)
#define MERGE    DO(&merge_action, 0, 0)
#define STORE    DO(&store_action, 0, 0)

static const struct step note_steps[] = { ADD_ALL,  W(3, 5), FLUSH,  REOPEN,
                                          W(20, 4), U(4, 9), FLUSH,  REOPEN,
                                          D(0, 30), Z(9, 2), REOPEN, WC(2, 1),
                                          REOPEN,   REOPEN,  END };

static const struct step change_steps[] = {
    ADD_ALL, ADD_FINE, W(1, 2),  STORE,  W(9, 7),  REOPEN, CLEAR,
    W(5, 5), MERGE,    DISABLE,  REOPEN, W(2, 2),  ENABLE, W(30, 2),
    REOPEN,  REMOVE,   W(20, 9), REOPEN, ADD_FINE, MERGE,  REOPEN,
    REMOVE,  ADD_FINE, STORE,    CLEAR,  END
};

static const struct step size_steps[] = {
    ADD_ALL, W(0, 9),  W(60, 4), SIZE(100), W(90, 5), REOPEN,   SIZE(40),
    FLUSH,   W(30, 9), SIZE(64), REOPEN,    W(50, 3), SIZE(20), END
};

/* With what qemu-img has made: all, off and fine. */
static const struct step kept_steps[] = { W(1, 3),  FLUSH,    REOPEN, MERGE,
                                          W(40, 9), REOPEN,   REMOVE, U(0, 5),
                                          REOPEN,   D(0, 40), REOPEN, END };

static const struct step parallel_steps[] = { ADD_ALL,   P(0, 12), FLUSH,
                                              P(30, 10), REOPEN,   P(2, 8),
                                              END };

static const struct script bitmap_scripts[] = {
    { "bitmap-note", note_steps, 0 },
    { "bitmap-change", change_steps, 0 },
    { "bitmap-size", size_steps, 0 },
    { "bitmap-kept", kept_steps, 0 },
    { "bitmap-parallel", parallel_steps, 0 },
    { "bitmap-random", NULL, 4 },
};

static const struct workload bitmap_workloads[] = {
    { "bitmap-512", "bitmap-note", 0, 0 },
    { "bitmap-512", "bitmap-change", 0, 0 },
    { "bitmap-512", "bitmap-size", 0, 0 },
    { "bitmap-4k", "bitmap-note", 0, 0 },
    { "bitmap-4k", "bitmap-change", 0, 0 },
    { "bitmap-4k", "bitmap-size", 0, 0 },
    { "bitmap-4k", "bitmap-parallel", 0, 0 },
    { "bitmap-64k", "bitmap-change", 0, 50 },
    { "bitmap-extended", "bitmap-note", 0, 0 },
    { "bitmap-data", "bitmap-note", 0, 0 },
    { "bitmap-luks", "bitmap-note", 0, 15 },
    { "bitmap-overlay", "bitmap-note", 0, 0 },
    { "bitmap-kept", "bitmap-kept", 0, 0 },
    { "bitmap-kept", "bitmap-random", 0, 0 },
    { "bitmap-lazy", "bitmap-kept", 0, 0 },
    { "bitmap-stale", "bitmap-note", 0, 0 },
    { "snapshot-4k", "bitmap-note", 0, 0 },
};

const struct workload_set bitmap_set = {
    bitmap_scripts,
    sizeof(bitmap_scripts) / sizeof(bitmap_scripts[0]),
    bitmap_workloads,
    sizeof(bitmap_workloads) / sizeof(bitmap_workloads[0]),
};
