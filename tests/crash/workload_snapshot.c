/* SPDX-License-Identifier: MIT */
/* Snapshots taken, applied and deleted, and VM state. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "memory.h"
#include "runner.h"
#include "script.h"

/* The number of a snapshot, or another one, is a count of units in a step. */
static unsigned number_of(const struct runner *runner, uint64_t scaled)
{
    return (unsigned)(scaled / runner->plan->kind->unit_bytes);
}

static void name_of(unsigned number, char name[8])
{
    snprintf(name, 8, "s%u", number % 100);
}

static uint64_t now(const struct runner *runner)
{
    return record_log_length(runner->log);
}

/* ---- Taking ---- */

struct content {
    uint8_t *bytes;
    uint64_t length;
    uint8_t *vm_state;
    uint64_t vm_state_length;
};

static int look(struct runner *runner, struct content *ret,
                struct byre_error *err)
{
    struct byre *disk = runner->image.disk;
    struct runner_pause pause;
    int r;

    runner_pause_faults(runner, &pause);
    ret->length = runner_disk_bytes(runner);
    ret->bytes = memory_new((size_t)ret->length + 1);
    ret->vm_state_length = runner->snapshots.vm_state_length;
    ret->vm_state = memory_new((size_t)ret->vm_state_length + 1);
    r = byre_read(disk, 0, ret->bytes, (size_t)ret->length, err);
    if (r == BYRE_OK)
        r = byre_vm_state_read(disk, 0, ret->vm_state,
                               (size_t)ret->vm_state_length, err);
    runner_resume_faults(runner, &pause);
    return r;
}

static void content_done(struct content *content)
{
    free(content->bytes);
    free(content->vm_state);
}

static int create(struct runner *runner, const struct step *step,
                  struct byre_error *err)
{
    struct byre_snapshot_options opts = BYRE_SNAPSHOT_OPTIONS_INIT;
    struct snapshot_model *model = &runner->snapshots;
    struct model_snapshot *snapshot;
    struct model_window *flags;
    struct content content;
    char name[8];
    int r;

    r = look(runner, &content, err);
    if (r < 0) {
        content_done(&content);
        return r;
    }
    name_of(number_of(runner, step->offset), name);
    flags = snapshot_model_flags(model, now(runner));
    snapshot = snapshot_model_add(model, name, content.bytes, content.length,
                                  content.vm_state, content.vm_state_length,
                                  now(runner));
    content_done(&content);
    opts.name = name;
    opts.date_sec = 1;
    opts.vm_state_bytes = snapshot->vm_state_length;
    r = byre_snapshot_create(runner->image.disk, &opts, err);
    if (r < 0)
        return r;
    snapshot->promised = now(runner);
    flags->ended = now(runner);
    model->vm_state_length = 0;
    return BYRE_OK;
}

/* ---- Applying ---- */

/* What the disk becomes, of any size. */
static void model_apply(struct runner *runner,
                        const struct model_snapshot *snapshot,
                        uint64_t old_length, bool succeeded)
{
    struct disk_model *disk = &runner->model;
    const uint64_t lost =
        old_length > snapshot->length ? old_length - snapshot->length : 0;

    if (succeeded) {
        disk_model_succeed(disk, 0, snapshot->length);
        disk_model_succeed(disk, snapshot->length, lost);
        if (old_length != snapshot->length)
            disk_model_succeed_size(disk, now(runner));
        return;
    }
    disk_model_begin(disk, 0, snapshot->bytes, snapshot->length, now(runner));
    disk_model_begin(disk, snapshot->length, NULL, lost, now(runner));
    if (old_length != snapshot->length)
        disk_model_begin_size(disk, snapshot->length, now(runner));
}

/* The VM state comes back with it. */
static int check_vm_state(struct runner *runner,
                          const struct model_snapshot *snapshot,
                          struct byre_error *err)
{
    struct content content;
    int r;

    runner->snapshots.vm_state_length = snapshot->vm_state_length;
    r = look(runner, &content, err);
    if (r == BYRE_OK && memcmp(content.vm_state, snapshot->vm_state,
                               (size_t)snapshot->vm_state_length) != 0)
        r = fail(err, BYRE_E_CORRUPT, "the VM state did not come back");
    content_done(&content);
    return r;
}

static int apply(struct runner *runner, const struct step *step,
                 struct byre_error *err)
{
    struct byre_snapshot_ref ref = { .id_or_name = NULL };
    const struct model_snapshot *snapshot;
    struct model_switch *change;
    struct content content;
    char name[8];
    int r;

    name_of(number_of(runner, step->offset), name);
    ref.id_or_name = name;
    snapshot = snapshot_model_find(&runner->snapshots, name);
    if (snapshot == NULL)
        return fail(err, BYRE_E_NOT_FOUND, "no snapshot %s", name);
    r = byre_flush(runner->image.disk, err);
    if (r < 0)
        return r;
    disk_model_promise(&runner->model, now(runner));
    r = look(runner, &content, err);
    if (r < 0) {
        content_done(&content);
        return r;
    }

    change =
        snapshot_model_switch(&runner->snapshots, content.bytes, content.length,
                              snapshot->bytes, snapshot->length, now(runner));
    model_apply(runner, snapshot, content.length, false);
    r = byre_snapshot_apply(runner->image.disk, &ref, err);
    change->window.ended = now(runner);
    if (r == BYRE_OK)
        model_apply(runner, snapshot, content.length, true);
    content_done(&content);
    return r < 0 ? r : check_vm_state(runner, snapshot, err);
}

/* ---- Deleting ---- */

#define MOST_AT_ONCE 8

/* So many, from a number on. */
static int delete (struct runner *runner, const struct step *step,
                   struct byre_error *err)
{
    const unsigned first = number_of(runner, step->offset);
    const unsigned count = number_of(runner, step->length);
    struct byre_snapshot_ref refs[MOST_AT_ONCE] = { { .name = NULL } };
    struct model_snapshot *gone[MOST_AT_ONCE];
    char names[MOST_AT_ONCE][8];
    struct model_window *flags;
    int r;

    for (unsigned i = 0; i < count; i++) {
        name_of(first + i, names[i]);
        refs[i].name = names[i];
        gone[i] = snapshot_model_find(&runner->snapshots, names[i]);
        if (gone[i] == NULL)
            return fail(err, BYRE_E_NOT_FOUND, "no snapshot %s", names[i]);
        gone[i]->gone_begun = now(runner);
    }
    flags = snapshot_model_flags(&runner->snapshots, now(runner));
    r = byre_snapshot_delete(runner->image.disk, refs, count, err);
    if (r < 0)
        return r;
    flags->ended = now(runner);
    for (unsigned i = 0; i < count; i++)
        gone[i]->gone = now(runner);
    return BYRE_OK;
}

/* ---- VM state ---- */

static int write_vm_state(struct runner *runner, const struct step *step,
                          struct byre_error *err)
{
    uint8_t *bytes = memory_new((size_t)step->length + 1);
    const uint64_t end = step->offset + step->length;
    int r;

    disk_pattern(++runner->pattern, step->offset, bytes, step->length);
    r = byre_vm_state_write(runner->image.disk, step->offset, bytes,
                            (size_t)step->length, err);
    free(bytes);
    if (r == BYRE_OK && runner->snapshots.vm_state_length < end)
        runner->snapshots.vm_state_length = end;
    return r < 0 ? r : byre_flush(runner->image.disk, err);
}

/* ---- Scripts; each name is used once, so that all are told apart ---- */

static const struct action create_action = { .name = "create snapshot",
                                             .run = create };
static const struct action apply_action = { .name = "apply snapshot",
                                            .run = apply };
static const struct action delete_action = { .name = "delete snapshots",
                                             .run = delete };
static const struct action vm_action = { .name = "write VM state",
                                         .run = write_vm_state };

#define TAKE(number)          DO(&create_action, number, 0)
#define APPLY(number)         DO(&apply_action, number, 0)
#define DELETE(number, count) DO(&delete_action, number, count)
#define VM(offset, length)    DO(&vm_action, offset, length)

static const struct step snap_steps[] = {
    W(0, 20),     FLUSH,    TAKE(1), W(3, 9),      WN(30, 4), TAKE(2),
    W(0, 2),      APPLY(1), W(5, 3), DELETE(1, 1), W(6, 9),   APPLY(2),
    DELETE(2, 1), W(0, 5),  FLUSH,   END
};

/* Several, and several at once, with tables that they share. */
static const struct step many_steps[] = {
    W(0, 30), TAKE(1),  W(2, 2),      TAKE(2),      TAKE(3),
    W(20, 9), TAKE(4),  ZC(1, 2),     DELETE(2, 2), W(2, 3),
    APPLY(4), W(40, 3), TAKE(5),      APPLY(1),     DELETE(4, 2),
    U(0, 20), TAKE(6),  DELETE(1, 1), W(0, 8),      END
};

static const struct step vm_steps[] = {
    W(0, 9),  VM(0, 5),     FLUSH,   TAKE(1),  W(3, 4),  VM(0, 3),
    VM(8, 2), TAKE(2),      W(9, 9), APPLY(1), VM(1, 1), W(0, 2),
    TAKE(3),  DELETE(1, 2), FLUSH,   APPLY(3), END
};

static const struct step snap_resize_steps[] = {
    W(0, 20), TAKE(1), SIZE(90), W(70, 15), TAKE(2),  SIZE(30),     W(20, 8),
    APPLY(2), W(1, 3), APPLY(1), W(50, 9),  APPLY(2), DELETE(1, 2), END
};

static const struct step snap_compress_steps[] = {
    C(0, 5),  FLUSH,   TAKE(1), C(6, 2),      WC(1, 1), TAKE(2),      C(8, 1),
    APPLY(1), C(9, 1), W(0, 3), DELETE(1, 1), APPLY(2), DELETE(2, 1), END
};

static const struct step snap_reopen_steps[] = {
    W(0, 12), TAKE(1),  REOPEN,       W(2, 5), REOPEN,  TAKE(2),  REOPEN,
    W(4, 9),  APPLY(1), REOPEN,       W(0, 3), REOPEN,  APPLY(2), DELETE(2, 1),
    REOPEN,   W(8, 2),  DELETE(1, 1), REOPEN,  W(0, 9), END
};

static const struct step snap_reuse_steps[] = {
    WC(0, 4), TAKE(1),  WC(0, 4), FLUSH,    DELETE(1, 1), WC(4, 3),
    TAKE(2),  WC(1, 3), DC(0, 2), APPLY(2), WC(6, 2),     FLUSH,
    WC(0, 2), APPLY(2), WC(5, 2), FLUSH,    END
};

static const struct step snap_parallel_steps[] = {
    P(0, 12), TAKE(1),  P(4, 12),     TAKE(2), P(2, 8),
    APPLY(1), P(0, 12), DELETE(1, 2), P(3, 8), END
};

static const struct step once_steps[] = { W(0, 20), TAKE(1),      W(3, 9),
                                          APPLY(1), DELETE(1, 1), W(0, 5),
                                          END };

static const struct script snapshot_scripts[] = {
    { "snap", snap_steps, 0 },
    { "snap-once", once_steps, 0 },
    { "snap-many", many_steps, 0 },
    { "snap-vm", vm_steps, 0 },
    { "snap-resize", snap_resize_steps, 0 },
    { "snap-compress", snap_compress_steps, 0 },
    { "snap-reopen", snap_reopen_steps, 0 },
    { "snap-reuse", snap_reuse_steps, 0 },
    { "snap-parallel", snap_parallel_steps, 0 },
};

static const struct workload snapshot_workloads[] = {
    { "v3-512", "snap", 0, 50 },
    { "v3-512", "snap-many", 0, 50 },
    { "v3-512", "snap-resize", 4096, 50 },
    { "v3-512", "snap-vm", 0, 50 },
    { "v3-4k", "snap", 0, 50 },
    { "v3-4k", "snap-many", 0, 50 },
    { "v3-4k", "snap-vm", 0, 50 },
    { "v3-4k", "snap-resize", 0, 50 },
    { "v3-4k", "snap-compress", 0, 50 },
    { "v3-4k", "snap-reopen", 0, 50 },
    { "v3-4k", "snap-reuse", 0, 50 },
    { "v3-4k", "snap-parallel", 0, 50 },
    { "v3-64k", "snap-many", 0, 20 },
    { "v3-2m", "snap-once", 0, 2 },
    { "v2-512", "snap-many", 0, 50 },
    { "v2-4k", "snap", 0, 50 },
    { "v2-4k", "snap-vm", 0, 50 },
    { "extended-16k", "snap-many", 0, 50 },
    { "extended-16k", "snap-vm", 0, 50 },
    { "extended-16k-base", "snap-resize", 0, 50 },
    { "width-2", "snap-once", 0, 50 },
    { "width-4", "snap-many", 0, 50 },
    { "width-8", "snap", 0, 50 },
    { "width-32", "snap", 0, 20 },
    { "width-64", "snap-many", 0, 50 },
    { "lazy-4k", "snap-reopen", 0, 50 },
    { "zstd-64k", "snap-compress", 0, 20 },
    { "aes-4k", "snap-vm", 0, 50 },
    { "luks-4k", "snap-vm", 0, 10 },
    { "overlay-short-4k", "snap-vm", 0, 50 },
    { "overlay-long-4k", "snap-resize", 0, 50 },
    { "overlay-long-4k", "snap-vm", 0, 50 },
    { "prealloc-4k", "snap", 0, 50 },
    { "snapshot-4k", "snap-many", 0, 50 },
    { "snapshot-v2-4k", "snap", 0, 50 },
    { "snapshot-extended", "snap-reopen", 0, 50 },
    { "snapshot-lazy", "snap", 0, 50 },
    { "compressed-4k", "snap-reuse", 0, 50 },
};

const struct workload_set snapshot_set = {
    snapshot_scripts,
    sizeof(snapshot_scripts) / sizeof(snapshot_scripts[0]),
    snapshot_workloads,
    sizeof(snapshot_workloads) / sizeof(snapshot_workloads[0]),
};
