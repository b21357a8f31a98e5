/* SPDX-License-Identifier: MIT */
#include "create_backing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target.h"

#define SECTOR_SIZE UINT64_C(512)

/*
 * The name that the image at `path` will open for the stored name: relative to
 * the folder of the image, unless the name is absolute or has a protocol.  To
 * be freed; NULL if memory ran out.
 */
static char *resolve(const char *path, const char *stored)
{
    const bool has_protocol = stored[strcspn(stored, ":/")] == ':';
    const char *slash = strrchr(path, '/');
    size_t folder_length = 0;
    size_t size;
    char *name;

    if (stored[0] != '/' && !has_protocol && slash != NULL)
        folder_length = (size_t)(slash - path) + 1;
    size = folder_length + strlen(stored) + 1;
    name = malloc(size);
    if (name != NULL)
        snprintf(name, size, "%.*s%s", (int)folder_length, path, stored);
    return name;
}

static bool is_itself(const char *path, const char *name)
{
    if (strncmp(name, "file:", strlen("file:")) == 0)
        name += strlen("file:");
    return strcmp(path, name) == 0 || target_is_same_file(path, name);
}

/* What there is to know of a backing file. */
struct description {
    uint64_t size_bytes;
    char format[8];
};

/* Only the header is read: neither a lock nor a passphrase is needed. */
static int describe(const char *name, const char *format,
                    struct description *ret_description, struct byre_error *err)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre_info info = BYRE_INFO_INIT;
    struct byre *img;
    int r;

    opts.flags = BYRE_OPEN_METADATA_ONLY | BYRE_OPEN_SHARED;
    opts.format = format;
    r = byre_open(name, &opts, &img, err);
    if (r < 0)
        return r;
    r = byre_get_info(img, &info, err);
    if (r >= 0) {
        ret_description->size_bytes = info.virtual_size_bytes;
        snprintf(ret_description->format, sizeof(ret_description->format), "%s",
                 info.format);
    }
    byre_close(img, NULL);
    return r;
}

/* What the format seems to be is said, and left to the user to confirm. */
static void refuse_without_format(const char *name, bool may_look,
                                  char *message)
{
    struct description found;
    const char *const refusal = "Backing file specified without backing format";

    if (!may_look || describe(name, NULL, &found, NULL) < 0)
        snprintf(message, CREATE_MESSAGE_SIZE, "%s; name it with -F", refusal);
    else
        snprintf(message, CREATE_MESSAGE_SIZE,
                 "%s; it looks like %s: if you trust that, -F %s says so",
                 refusal, found.format, found.format);
}

static bool check_file(const char *path, const char *name,
                       const struct byre_create_options *options,
                       uint64_t *size, char *message)
{
    const bool may_look = (options->flags & BYRE_CREATE_BACKING_UNCHECKED) == 0;
    struct description found;
    struct byre_error err;

    if (options->backing_format == NULL) {
        refuse_without_format(name, may_look, message);
        return false;
    }
    if (is_itself(path, name)) {
        snprintf(message, CREATE_MESSAGE_SIZE,
                 "The image cannot be its own backing file");
        return false;
    }
    if (!may_look)
        return true;
    if (describe(name, options->backing_format, &found, &err) < 0) {
        snprintf(message, CREATE_MESSAGE_SIZE,
                 "Could not open the backing image: %s", err.message);
        return false;
    }
    if (*size == BYRE_NO_OFFSET)
        *size =
            (found.size_bytes + SECTOR_SIZE - 1) / SECTOR_SIZE * SECTOR_SIZE;
    return true;
}

bool backing_check(const char *path, const struct byre_create_options *options,
                   uint64_t *size, char message[CREATE_MESSAGE_SIZE])
{
    char *name = resolve(path, options->backing_name);
    bool good = name != NULL;

    if (name == NULL)
        snprintf(message, CREATE_MESSAGE_SIZE, "out of memory");
    else
        good = check_file(path, name, options, size, message);
    free(name);
    return good;
}
