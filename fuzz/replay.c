/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target over files, without libFuzzer, as a test: inputs that once
 * crashed must not crash again.  Arguments are files and folders of files.
 */
#include <dirent.h>
#include <sys/stat.h>

#include "fuzz.h"

#define MAX_FILE_BYTES (16L << 20)

/* Reads the file into memory of exactly its length; NULL if it cannot. */
static uint8_t *load(const char *path, size_t *ret_size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = NULL;
    long size = -1;

    if (file == NULL)
        return NULL;
    if (fseek(file, 0, SEEK_END) == 0)
        size = ftell(file);
    if (size >= 0 && size <= MAX_FILE_BYTES) {
        rewind(file);
        bytes = malloc(size > 0 ? (size_t)size : 1);
    }
    if (bytes != NULL && fread(bytes, 1, (size_t)size, file) != (size_t)size) {
        free(bytes);
        bytes = NULL;
    }
    fclose(file);
    if (bytes != NULL)
        *ret_size = (size_t)size;
    return bytes;
}

/* The name is printed first, so that a crash tells which file it was. */
static void replay_file(const char *path, int *count)
{
    size_t size = 0;
    uint8_t *bytes = load(path, &size);

    printf("# %s\n", path);
    fflush(stdout);
    if (bytes != NULL)
        LLVMFuzzerTestOneInput(bytes, size);
    printf("%s %d - %s\n", bytes != NULL ? "ok" : "not ok", ++*count, path);
    free(bytes);
}

static void replay(const char *path, int *count)
{
    struct dirent **entries = NULL;
    struct stat st;
    int n;

    if (stat(path, &st) < 0)
        return;
    if (!S_ISDIR(st.st_mode)) {
        replay_file(path, count);
        return;
    }

    n = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char child[4096];

        snprintf(child, sizeof(child), "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            replay(child, count);
        free(entries[i]);
    }
    free(entries);
}

int main(int argc, char **argv)
{
    int count = 0;

    for (int i = 1; i < argc; i++)
        replay(argv[i], &count);
    printf("ok %d - the empty input\n", ++count);
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    printf("1..%d\n", count);
    return 0;
}
