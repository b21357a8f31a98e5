/* SPDX-License-Identifier: MIT */
/*
 * Writes the disk inside an image, backing files included, to standard output:
 *
 *     read_disk disk.qcow2 >disk.raw
 */
#include <byre.h>
#include <stdio.h>

static int copy_disk(struct byre *disk, FILE *to, struct byre_error *err)
{
    struct byre_info info = BYRE_INFO_INIT;
    static char buf[1 << 20];
    int r;

    r = byre_get_info(disk, &info, err);
    for (uint64_t at = 0; r == BYRE_OK && at < info.virtual_size_bytes;) {
        const uint64_t left = info.virtual_size_bytes - at;
        const size_t length = left < sizeof(buf) ? (size_t)left : sizeof(buf);

        r = byre_read(disk, at, buf, length, err);
        if (r == BYRE_OK && fwrite(buf, 1, length, to) < length)
            break;
        at += length;
    }
    return r;
}

int main(int argc, char **argv)
{
    struct byre_open_options options = BYRE_OPEN_OPTIONS_INIT;
    const char *name = argc > 1 ? argv[1] : "disk.qcow2";
    struct byre *disk = NULL;
    struct byre_error err;
    int r;

    options.flags = BYRE_OPEN_FOLLOW_BACKING;
    r = byre_open(name, &options, &disk, &err);
    if (r == BYRE_OK)
        r = copy_disk(disk, stdout, &err);
    if (r < 0)
        fprintf(stderr, "%s: %s\n", name, err.message);
    if (fflush(stdout) != 0 || ferror(stdout))
        perror("standard output");
    byre_close(disk, NULL);
    return r < 0 || ferror(stdout);
}
