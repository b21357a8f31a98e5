/* SPDX-License-Identifier: MIT */
/*
 * What qemu-img says to a state, which is written to files for it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/error.h"
#include "memory.h"
#include "scratch.h"
#include "strict.h"
#include "verdict.h"

#define IMAGE   500
#define COMMAND 1000

/* The image as qemu-img is told it, with what it consists of. */
static void name_image(const struct image_kind *kind, char *text, size_t size)
{
    const char *format = kind->format != NULL ? kind->format : "qcow2";
    const char *key = "";
    const char *data = "";
    char base[120] = "";

    if (kind->encryption == BYRE_ENCRYPTION_AES)
        key = ",encrypt.format=aes,encrypt.key-secret=s";
    if (kind->encryption == BYRE_ENCRYPTION_LUKS)
        key = ",encrypt.format=luks,encrypt.key-secret=s";
    if ((kind->flags & KIND_DATA_FILE) != 0)
        data = ",data-file.driver=file,data-file.filename=file1";
    /* One that moves is where the name says. */
    if (kind->base_bytes > 0 && (kind->flags & KIND_MOVES) == 0)
        snprintf(base, sizeof(base),
                 ",backing.driver=%s,backing.file.driver=file,"
                 "backing.file.filename=file%zu",
                 image_kind_base_format(kind), image_kind_stores(kind) - 1);
    snprintf(text, size,
             "--object secret,id=s,data=" IMAGE_PASSPHRASE
             " --image-opts driver=%s,file.driver=file,"
             "file.filename=file0%s%s%s",
             format, data, base, key);
}

static int run(const char *command, struct byre_error *err)
{
    const int status = system(command);

    if (status < 0 || !WIFEXITED(status))
        return fail(err, BYRE_E_IO, "cannot run: %s", command);
    return WEXITSTATUS(status);
}

/* It takes flags that are missing for corruption, and nothing else is wrong. */
static bool only_lacks_flags(const struct runner *runner,
                             struct byre_store *store, uint64_t cut)
{
    struct strict_report report;

    strict_check_store(store, &report);
    return snapshot_model_allows_missing_flags(&runner->snapshots, cut) &&
           report.corruptions == 0 && report.missing_copied > 0;
}

static int check(const char *folder, const char *image, bool lacks_flags,
                 struct byre_error *err)
{
    char command[COMMAND];
    int exit_code;

    snprintf(command, sizeof(command),
             "cd %s && qemu-img check -q %s >/dev/null 2>&1", folder, image);
    exit_code = run(command, err);
    if (exit_code == 0 || exit_code == 3 || (exit_code == 2 && lacks_flags))
        return BYRE_OK;
    return fail(err, BYRE_E_CORRUPT, "qemu-img check: exit %d: %s", exit_code,
                command);
}

static int compare(const struct runner *runner, const char *folder,
                   const char *image, uint64_t cut, struct byre_error *err)
{
    char command[COMMAND];
    char path[SCRATCH_PATH + 40];
    uint8_t *bytes = NULL;
    size_t length = 0;
    int r;

    snprintf(path, sizeof(path), "%s/disk", folder);
    snprintf(command, sizeof(command),
             "cd %s && qemu-img convert %s -O raw disk 2>/dev/null", folder,
             image);
    if (run(command, err) != 0)
        return fail(err, BYRE_E_CORRUPT, "failed: %s", command);
    r = scratch_load(path, &bytes, &length, err);
    if (r < 0)
        return r;
    r = verdict_content(runner, cut, bytes, length, err);
    if (r < 0)
        error_prefix(err, "qemu-img reads it");
    free(bytes);
    return r;
}

/* Where an image that moves finds what it stands on. */
static int save_bases(const struct image_kind *kind,
                      struct byre_store *const *stores, const char *folder,
                      struct byre_error *err)
{
    uint8_t *bytes = memory_new((size_t)kind->base_bytes);
    char path[SCRATCH_PATH + 40];
    struct byre_store *second = NULL;
    int r;

    image_kind_second(kind, bytes);
    r = byre_store_new_memory(bytes, (size_t)kind->base_bytes, &second, err);
    free(bytes);
    snprintf(path, sizeof(path), "%s/%s", folder, IMAGE_SECOND_NAME);
    if (r == BYRE_OK)
        r = scratch_save(path, second, err);
    snprintf(path, sizeof(path), "%s/%s", folder, IMAGE_BASE_NAME);
    if (r == BYRE_OK)
        r = scratch_save(path, stores[image_kind_stores(kind) - 1], err);
    byre_store_unref(second);
    return r;
}

static int judge(const struct runner *runner, struct byre_store *const *stores,
                 uint64_t cut, const char *folder, struct byre_error *err)
{
    const struct image_kind *kind = runner->plan->kind;
    char image[IMAGE];
    int r = BYRE_OK;

    for (size_t i = 0; r == BYRE_OK && i < image_kind_stores(kind); i++) {
        char path[SCRATCH_PATH + 40];

        snprintf(path, sizeof(path), "%s/file%zu", folder, i);
        r = scratch_save(path, stores[i], err);
    }
    if (r == BYRE_OK && (kind->flags & KIND_MOVES) != 0)
        r = save_bases(kind, stores, folder, err);
    name_image(kind, image, sizeof(image));
    if (r == BYRE_OK && kind->version > 1)
        r = check(folder, image, only_lacks_flags(runner, stores[0], cut), err);
    if (r == BYRE_OK)
        r = compare(runner, folder, image, cut, err);
    return r;
}

int verdict_qemu(const struct runner *runner, struct byre_store *const *stores,
                 uint64_t cut, struct byre_error *err)
{
    char folder[SCRATCH_PATH];
    int r = scratch_folder(folder, err);

    if (r < 0)
        return r;
    r = judge(runner, stores, cut, folder, err);
    scratch_remove(folder);
    return r;
}
