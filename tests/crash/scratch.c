/* SPDX-License-Identifier: MIT */
#include "scratch.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "store/store.h"

int scratch_folder(char *ret_path, struct byre_error *err)
{
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

    snprintf(ret_path, SCRATCH_PATH, "%s/byre-crash-XXXXXX", parent);
    if (mkdtemp(ret_path) == NULL)
        return fail_errno(err, errno, "%s", ret_path);
    return BYRE_OK;
}

void scratch_remove(const char *path)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;

    while (folder != NULL && (entry = readdir(folder)) != NULL)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder != NULL)
        closedir(folder);
    rmdir(path);
}

int scratch_load(const char *path, uint8_t **ret_bytes, size_t *ret_length,
                 struct byre_error *err)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = NULL;
    long length;
    int r = BYRE_OK;

    if (file == NULL)
        return fail_errno(err, errno, "%s", path);
    fseek(file, 0, SEEK_END);
    length = ftell(file);
    rewind(file);
    if (length >= 0)
        bytes = malloc((size_t)length + 1);
    if (bytes == NULL ||
        fread(bytes, 1, (size_t)length, file) != (size_t)length)
        r = fail_errno(err, errno, "%s", path);
    fclose(file);
    if (r < 0) {
        free(bytes);
        return r;
    }
    *ret_bytes = bytes;
    *ret_length = (size_t)length;
    return BYRE_OK;
}

static int copy_out(FILE *file, struct byre_store *store, uint64_t length,
                    struct byre_error *err)
{
    uint8_t bytes[65536];

    for (uint64_t at = 0; at < length;) {
        const size_t part =
            length - at < sizeof(bytes) ? (size_t)(length - at) : sizeof(bytes);

        if (store_read(store, at, bytes, part, err) < 0)
            return BYRE_E_IO;
        if (fwrite(bytes, 1, part, file) != part)
            return fail_errno(err, errno, "a state of %llu bytes",
                              (unsigned long long)length);
        at += part;
    }
    return BYRE_OK;
}

int scratch_save(const char *path, struct byre_store *store,
                 struct byre_error *err)
{
    FILE *file = fopen(path, "wb");
    uint64_t length = 0;
    int r;

    if (file == NULL)
        return fail_errno(err, errno, "%s", path);
    r = store_get_size(store, &length, err);
    if (r == BYRE_OK)
        r = copy_out(file, store, length, err);
    if (fclose(file) != 0 && r == BYRE_OK)
        r = fail_errno(err, errno, "%s", path);
    return r;
}
