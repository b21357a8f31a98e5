/* SPDX-License-Identifier: MIT */
/* Opening and closing the image that commands work on. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image.h"
#include "io.h"
#include "keyval.h"

/* Where a temporary overlay goes unless TMPDIR says otherwise: not into memory,
   as /tmp may be. */
#define TEMPORARY_FOLDER "/var/tmp"

static bool report_open_failure(const struct io *io, const struct io_disk *disk,
                                const struct byre_error *err)
{
    const bool may_probe =
        err->code == BYRE_E_POLICY && !io->image->probe_backing;

    report(io->tool, "can't open device %s: %s%s", disk->name, err->message,
           may_probe ? PROBE_ADVICE : "");
    return false;
}

/* The options of byre_open() but for what makes an image writable. */
static struct byre_open_options base_options(const struct io *io,
                                             const struct io_disk *disk)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;

    opts.flags = BYRE_OPEN_FOLLOW_BACKING | BYRE_OPEN_FOLLOW_DATA_FILE |
                 (disk->mode.shared ? BYRE_OPEN_SHARED : 0) |
                 (io->image->probe_backing ? BYRE_OPEN_PROBE_BACKING : 0);
    opts.format = disk->format;
    opts.get_secret = secrets_get;
    opts.user = (void *)&io->image->secrets;
    return opts;
}

/* ---- A temporary overlay ---- */

static int create_overlay(const char *path, uint64_t size_bytes,
                          struct byre_error *err)
{
    struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;

    opts.format = "qcow2";
    opts.virtual_size_bytes = size_bytes;
    opts.flags = BYRE_CREATE_NO_SYNC | BYRE_CREATE_ROUND_SIZE |
                 BYRE_CREATE_BACKING_UNCHECKED;
    /* It is opened with the open base: nothing ever looks for this name. */
    opts.backing_name = "base";
    opts.backing_format = "raw";
    return byre_create(path, &opts, err);
}

static int open_overlay(const char *path, struct byre *base,
                        const struct io_mode *mode, struct byre **ret_img,
                        struct byre_error *err)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre_info info = BYRE_INFO_INIT;
    int r;

    r = byre_get_info(base, &info, err);
    if (r < 0)
        return r;
    r = create_overlay(path, info.virtual_size_bytes, err);
    if (r < 0)
        return r;

    opts.format = "qcow2";
    /* Its content is nobody's once the program has ended. */
    opts.flags = BYRE_OPEN_WRITE | BYRE_OPEN_NO_SYNC |
                 (mode->cache.open_flags & BYRE_OPEN_DIRECT);
    opts.backing = base;
    return byre_open(path, &opts, ret_img, err);
}

/* Makes the overlay and removes its name: the file lives while it is open. */
static int open_temporary(struct byre *base, const struct io_mode *mode,
                          struct byre **ret_img, struct byre_error *err)
{
    const char *folder = getenv("TMPDIR");
    char *path = NULL;
    int fd;
    int r;

    if (folder == NULL || *folder == '\0')
        folder = TEMPORARY_FOLDER;
    *err = (struct byre_error){ .code = BYRE_E_IO, .offset = BYRE_NO_OFFSET };
    if (asprintf(&path, "%s/byre-XXXXXX", folder) < 0) {
        snprintf(err->message, sizeof(err->message), "out of memory");
        return BYRE_E_NOMEM;
    }
    fd = mkstemp(path);
    if (fd < 0) {
        err->sys_errno = errno;
        snprintf(err->message, sizeof(err->message),
                 "cannot make a temporary overlay in '%s' (TMPDIR names "
                 "another folder): %s",
                 folder, strerror(err->sys_errno));
        free(path);
        return BYRE_E_IO;
    }
    close(fd);
    r = open_overlay(path, base, mode, ret_img, err);
    unlink(path);
    free(path);
    return r;
}

/* ---- Opening ---- */

static bool open_snapshot(struct io *io, struct io_disk *disk)
{
    const struct byre_open_options opts = base_options(io, disk);
    struct byre_error err;
    int r;

    r = byre_open(disk->location, &opts, &disk->base, &err);
    if (r >= 0)
        r = open_temporary(disk->base, &disk->mode, &disk->img, &err);
    if (r >= 0)
        return true;
    byre_close(disk->base, NULL);
    disk->base = NULL;
    return report_open_failure(io, disk, &err);
}

static bool open_disk(struct io *io, struct io_disk *disk)
{
    struct byre_open_options opts = base_options(io, disk);
    struct byre_error err;

    if (disk->mode.shared && !disk->mode.read_only && !disk->mode.snapshot) {
        report(io->tool,
               "can't open device %s: force-share=on can only be used with "
               "read-only images",
               disk->name);
        return false;
    }
    if (disk->mode.snapshot)
        return open_snapshot(io, disk);
    opts.flags |= disk->mode.cache.open_flags;
    if (!disk->mode.read_only)
        opts.flags |= BYRE_OPEN_WRITE |
                      (disk->mode.ignore_discards ? BYRE_OPEN_KEEP_SPACE : 0);
    if (byre_open(disk->location, &opts, &disk->img, &err) < 0)
        return report_open_failure(io, disk, &err);
    return true;
}

/* The list of options with the name of the file in it, or a copy of it. */
static char *list_with_name(const struct io_source *source)
{
    static const char key[] = ",file.filename=";
    const size_t list_length = strlen(source->list);
    const char *name = source->name != NULL ? source->name : "";
    char *list = malloc(list_length + sizeof(key) + 2 * strlen(name));
    char *end;

    if (list == NULL)
        return NULL;
    end = stpcpy(list, source->list);
    if (source->name != NULL)
        end = stpcpy(end, list_length > 0 ? key : key + 1);
    for (; *name != '\0'; name++) {
        if (*name == ',')
            *end++ = ',';
        *end++ = *name;
    }
    *end = '\0';
    return list;
}

/* The name for byre_open(), to be freed; or NULL after a message. */
static char *locate(const struct io *io, const struct io_source *source)
{
    char message[KEYVAL_MESSAGE_SIZE] = "out of memory";
    char *list = NULL;
    char *location = NULL;

    if (source->list == NULL) {
        location = strdup(source->name);
    } else {
        list = list_with_name(source);
        if (list != NULL)
            location = keyval_to_json_name(list, message);
        free(list);
    }
    if (location == NULL)
        report(io->tool, "can't open device %s: %s",
               source->name != NULL ? source->name : "", message);
    return location;
}

static void free_disk(struct io_disk *disk)
{
    free(disk->name);
    free(disk->location);
    free(disk->format);
    *disk = (struct io_disk){ 0 };
}

bool io_open(struct io *io, const struct io_source *source)
{
    struct io_disk disk = { .mode = source->mode };
    const char *name = source->name != NULL ? source->name : source->list;

    disk.location = locate(io, source);
    if (disk.location == NULL)
        return false;
    disk.name = strdup(name);
    disk.format = source->format != NULL ? strdup(source->format) : NULL;
    if (disk.name == NULL || (source->format != NULL && disk.format == NULL))
        report(io->tool, "can't open device %s: out of memory", name);
    else if (open_disk(io, &disk)) {
        io->disk = disk;
        return true;
    }
    free_disk(&disk);
    return false;
}

/* ---- Closing, and opening again ---- */

static bool close_disk(struct io *io, struct io_disk *disk)
{
    struct byre_error err;
    const int r = byre_close(disk->img, &err);

    disk->img = NULL;
    byre_close(disk->base, NULL); /* it was only read */
    disk->base = NULL;
    if (r < 0)
        report(io->tool, "Could not close '%s': %s", disk->name, err.message);
    return r >= 0;
}

bool io_close(struct io *io)
{
    const bool good = io->disk.img == NULL || close_disk(io, &io->disk);

    free_disk(&io->disk);
    return good;
}

bool io_reopen(struct io *io, const struct io_mode *mode)
{
    struct io_disk *disk = &io->disk;
    const struct io_mode before = disk->mode;
    bool good;

    disk->mode = *mode;
    /* A temporary overlay would be gone, and what was written with it. */
    if (disk->mode.snapshot)
        return true;
    good = close_disk(io, disk);
    if (open_disk(io, disk))
        return good;
    disk->mode = before;
    if (!open_disk(io, disk))
        free_disk(disk);
    return false;
}
