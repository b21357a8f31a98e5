/* SPDX-License-Identifier: MIT */
/* Makes an image in place of what is there, writes to it, and reads it back. */
#include <byre.h>
#include <stdio.h>
#include <string.h>

static const char text[] = "kept, whatever happens next";

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "disk.qcow2";
    struct byre_create_options make = BYRE_CREATE_OPTIONS_INIT;
    struct byre_open_options options = BYRE_OPEN_OPTIONS_INIT;
    struct byre_error err = { 0 };
    struct byre *disk = NULL;
    char back[sizeof(text)] = "";
    int r;

    make.virtual_size_bytes = UINT64_C(10) << 30;
    options.flags = BYRE_OPEN_WRITE;
    r = byre_create(name, &make, &err);
    if (r == BYRE_OK)
        r = byre_open(name, &options, &disk, &err);
    if (r == BYRE_OK)
        r = byre_write(disk, 1234567, text, sizeof(text), 0, &err);
    if (r == BYRE_OK)
        r = byre_flush(disk, &err); /* from here on it survives a crash */
    if (r == BYRE_OK)
        r = byre_close(disk, &err);
    if (r == BYRE_OK)
        r = byre_open(name, NULL, &disk, &err);
    if (r == BYRE_OK)
        r = byre_read(disk, 1234567, back, sizeof(back), &err);
    if (r < 0)
        fprintf(stderr, "%s\n", err.message);
    else
        puts(back);
    return r < 0 || byre_close(disk, NULL) < 0 || strcmp(text, back) != 0;
}
