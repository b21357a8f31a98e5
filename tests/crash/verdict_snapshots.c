/* SPDX-License-Identifier: MIT */
/* What the snapshots of a state hold. */
#include <stdlib.h>

#include "base/error.h"
#include "memory.h"
#include "verdict.h"

static int check_one(const struct runner *runner,
                     struct byre_store *const *stores, uint64_t cut,
                     const struct byre_snapshot *listed, struct byre_error *err)
{
    const struct image_options options = { .snapshot = listed->name };
    struct found_snapshot found = { .name = listed->name };
    struct image image = { .disk = NULL };
    uint8_t *bytes = NULL;
    uint8_t *vm_state = memory_new((size_t)listed->vm_state_bytes + 1);
    int r = image_open(runner->plan->kind, stores, &options, &image, err);

    if (r == BYRE_OK)
        r = verdict_read_all(image.disk, &bytes, &found.length, err);
    if (r == BYRE_OK)
        r = byre_vm_state_read(image.disk, 0, vm_state,
                               (size_t)listed->vm_state_bytes, err);
    found.bytes = bytes;
    found.vm_state = vm_state;
    found.vm_state_length = listed->vm_state_bytes;
    if (r == BYRE_OK)
        r = snapshot_model_check_found(&runner->snapshots, cut, &found, err);
    free(bytes);
    free(vm_state);
    image_close(&image, NULL);
    return r;
}

static int check_list(const struct runner *runner,
                      struct byre_store *const *stores, uint64_t cut,
                      struct byre *disk, struct byre_error *err)
{
    const struct byre_snapshot *list;
    const char **names;
    size_t count;
    int r = byre_snapshot_list(disk, &list, &count, err);

    if (r < 0)
        return r;
    names = memory_new((count + 1) * sizeof(*names));
    for (size_t i = 0; r == BYRE_OK && i < count; i++) {
        names[i] = list[i].name;
        r = check_one(runner, stores, cut, &list[i], err);
        if (r < 0)
            error_prefix(err, "snapshot %s", list[i].name);
    }
    if (r == BYRE_OK)
        r = snapshot_model_check_names(&runner->snapshots, cut, names, count,
                                       err);
    free(names);
    return r;
}

int verdict_snapshots(const struct runner *runner,
                      struct byre_store *const *stores, uint64_t cut,
                      struct byre_error *err)
{
    const struct image_options options = { .flags = 0 };
    struct image image = { .disk = NULL };
    int r;

    if (runner->snapshots.snapshot_count == 0)
        return BYRE_OK;
    r = image_open(runner->plan->kind, stores, &options, &image, err);
    if (r < 0)
        return r;
    r = check_list(runner, stores, cut, image.disk, err);
    image_close(&image, NULL);
    return r;
}
