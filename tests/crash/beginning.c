/* SPDX-License-Identifier: MIT */
/*
 * What a workload starts from: a base, or an image that qemu-img makes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "memory.h"
#include "runner.h"
#include "scratch.h"

/* ---- Images that qemu-img makes ---- */

static int load(const char *folder, const char *name, uint8_t **ret_bytes,
                size_t *ret_length, struct byre_error *err)
{
    char path[SCRATCH_PATH];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return scratch_load(path, ret_bytes, ret_length, err);
}

static int cook(struct beginning *beginning, const char *folder,
                struct byre_error *err)
{
    const struct image_kind *kind = beginning->plan->kind;
    const bool snapshot = (kind->flags & KIND_SNAPSHOT) != 0;
    char command[4096];
    size_t length;

    snprintf(command, sizeof(command),
             "cd %s && I=image && %s && "
             "qemu-img convert -f qcow2 -O raw image disk %s",
             folder, kind->recipe,
             snapshot ? "&& qemu-img convert -f qcow2 -O raw "
                        "-l snapshot.name=one image snapshot"
                      : "");
    if (system(command) != 0)
        return fail(err, BYRE_E_IO, "%s: the recipe failed", kind->name);
    if (load(folder, "image", &beginning->files[0], &beginning->file_bytes[0],
             err) < 0 ||
        load(folder, "disk", &beginning->disk, &length, err) < 0)
        return BYRE_E_IO;
    if (length != image_kind_disk(kind))
        return fail(err, BYRE_E_INVALID, "%s: a disk of %zu bytes", kind->name,
                    length);
    if (snapshot)
        return load(folder, "snapshot", &beginning->snapshot, &length, err);
    return BYRE_OK;
}

static int follow_recipe(struct beginning *beginning, struct byre_error *err)
{
    char folder[SCRATCH_PATH];
    int r;

    if (scratch_folder(folder, err) < 0)
        return BYRE_E_IO;
    r = cook(beginning, folder, err);
    scratch_remove(folder);
    return r;
}

/* ---- The others ---- */

static int fill_base(struct beginning *beginning, struct byre_error *err)
{
    const struct image_kind *kind = beginning->plan->kind;
    const size_t disk_bytes = (size_t)image_kind_disk(kind);
    const size_t index = image_kind_stores(kind) - 1;
    const size_t base_bytes = (size_t)kind->base_bytes;
    uint8_t *shown = memory_new(base_bytes);

    image_kind_base(kind, shown);
    memcpy(beginning->disk, shown,
           base_bytes < disk_bytes ? base_bytes : disk_bytes);
    free(shown);
    return image_kind_base_file(kind, &beginning->files[index],
                                &beginning->file_bytes[index], err);
}

int beginning_init(struct beginning *beginning, const struct plan *plan,
                   struct byre_error *err)
{
    *beginning = (struct beginning){ .plan = plan };
    if (plan->kind->recipe != NULL)
        return follow_recipe(beginning, err);
    beginning->disk = calloc(1, (size_t)image_kind_disk(plan->kind));
    if (beginning->disk == NULL)
        abort();
    if (plan->kind->base_bytes > 0)
        return fill_base(beginning, err);
    return BYRE_OK;
}

void beginning_done(struct beginning *beginning)
{
    for (size_t i = 0; i < MAX_STORES; i++)
        free(beginning->files[i]);
    free(beginning->disk);
    free(beginning->snapshot);
    *beginning = (struct beginning){ .plan = NULL };
}
