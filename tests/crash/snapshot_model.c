/* SPDX-License-Identifier: MIT */
#include "snapshot_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "disk_model.h"
#include "memory.h"

static uint8_t *copy_of(const uint8_t *bytes, uint64_t length)
{
    uint8_t *copy = memory_new((size_t)length + 1);

    if (length > 0)
        memcpy(copy, bytes, (size_t)length);
    return copy;
}

void snapshot_model_done(struct snapshot_model *model)
{
    for (size_t i = 0; i < model->snapshot_count; i++) {
        free(model->snapshots[i].bytes);
        free(model->snapshots[i].vm_state);
    }
    for (size_t i = 0; i < model->switch_count; i++) {
        free(model->switches[i].before);
        free(model->switches[i].after);
    }
}

static void check_room(size_t count)
{
    if (count < MODEL_SNAPSHOTS)
        return;
    fprintf(stderr, "a script with too many snapshots\n");
    abort();
}

struct model_snapshot *snapshot_model_add(struct snapshot_model *model,
                                          const char *name,
                                          const uint8_t *bytes, uint64_t length,
                                          const uint8_t *vm_state,
                                          uint64_t vm_state_length,
                                          uint64_t now)
{
    struct model_snapshot *snapshot = &model->snapshots[model->snapshot_count];

    check_room(model->snapshot_count++);
    *snapshot = (struct model_snapshot){
        .bytes = copy_of(bytes, length),
        .length = length,
        .vm_state = copy_of(vm_state, vm_state_length),
        .vm_state_length = vm_state_length,
        .begun = now,
        .promised = MODEL_NEVER,
        .gone_begun = MODEL_NEVER,
        .gone = MODEL_NEVER,
    };
    snprintf(snapshot->name, sizeof(snapshot->name), "%s", name);
    return snapshot;
}

struct model_snapshot *snapshot_model_find(struct snapshot_model *model,
                                           const char *name)
{
    for (size_t i = model->snapshot_count; i > 0; i--) {
        struct model_snapshot *snapshot = &model->snapshots[i - 1];

        if (strcmp(snapshot->name, name) == 0 && snapshot->gone == MODEL_NEVER)
            return snapshot;
    }
    return NULL;
}

struct model_window *snapshot_model_flags(struct snapshot_model *model,
                                          uint64_t now)
{
    struct model_window *window = &model->flags[model->flags_count];

    check_room(model->flags_count++);
    *window = (struct model_window){ now, MODEL_NEVER };
    return window;
}

struct model_switch *snapshot_model_switch(struct snapshot_model *model,
                                           const uint8_t *before,
                                           uint64_t before_length,
                                           const uint8_t *after,
                                           uint64_t after_length, uint64_t now)
{
    struct model_switch *change = &model->switches[model->switch_count];

    check_room(model->switch_count++);
    *change = (struct model_switch){
        .window = { now, MODEL_NEVER },
        .before = copy_of(before, before_length),
        .before_length = before_length,
        .after = copy_of(after, after_length),
        .after_length = after_length,
    };
    return change;
}

/* ---- Checks ---- */

static bool is_in(const struct model_window *window, uint64_t cut)
{
    return window->begun <= cut && cut <= window->ended;
}

bool snapshot_model_allows_missing_flags(const struct snapshot_model *model,
                                         uint64_t cut)
{
    for (size_t i = 0; i < model->flags_count; i++)
        if (is_in(&model->flags[i], cut))
            return true;
    return false;
}

static bool same(const uint8_t *a, uint64_t a_length, const uint8_t *b,
                 uint64_t b_length)
{
    return a_length == b_length && memcmp(a, b, (size_t)a_length) == 0;
}

int snapshot_model_check_disk(const struct snapshot_model *model, uint64_t cut,
                              const uint8_t *bytes, uint64_t length,
                              struct byre_error *err)
{
    for (size_t i = 0; i < model->switch_count; i++) {
        const struct model_switch *change = &model->switches[i];

        if (is_in(&change->window, cut) &&
            !same(bytes, length, change->before, change->before_length) &&
            !same(bytes, length, change->after, change->after_length))
            return fail(err, BYRE_E_CORRUPT,
                        "the disk is neither as before a snapshot was applied "
                        "nor as the snapshot");
    }
    return BYRE_OK;
}

static bool may_be(const struct model_snapshot *snapshot, uint64_t cut)
{
    return (snapshot->begun < cut || snapshot->promised <= cut) &&
           snapshot->gone > cut;
}

int snapshot_model_check_found(const struct snapshot_model *model, uint64_t cut,
                               const struct found_snapshot *found,
                               struct byre_error *err)
{
    bool known = false;

    for (size_t i = 0; i < model->snapshot_count; i++) {
        const struct model_snapshot *snapshot = &model->snapshots[i];

        if (strcmp(snapshot->name, found->name) != 0)
            continue;
        known = true;
        if (may_be(snapshot, cut) &&
            same(found->bytes, found->length, snapshot->bytes,
                 snapshot->length) &&
            same(found->vm_state, found->vm_state_length, snapshot->vm_state,
                 snapshot->vm_state_length))
            return BYRE_OK;
    }
    if (!known)
        return BYRE_OK;
    return fail(err, BYRE_E_CORRUPT,
                "snapshot %s should not be there, or reads wrong", found->name);
}

static bool is_named(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

int snapshot_model_check_names(const struct snapshot_model *model, uint64_t cut,
                               const char *const *names, size_t count,
                               struct byre_error *err)
{
    for (size_t i = 0; i < model->snapshot_count; i++) {
        const struct model_snapshot *snapshot = &model->snapshots[i];

        if (snapshot->promised <= cut && snapshot->gone_begun >= cut &&
            !is_named(snapshot->name, names, count))
            return fail(err, BYRE_E_CORRUPT, "snapshot %s is missing",
                        snapshot->name);
    }
    return BYRE_OK;
}
