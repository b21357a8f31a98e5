/* SPDX-License-Identifier: MIT */
/* Writes the disk inside an image to standard output. */
#include <byre.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    struct byre_open_options options = BYRE_OPEN_OPTIONS_INIT;
    struct byre_info info = BYRE_INFO_INIT;
    struct byre_error err = { 0 };
    struct byre *disk = NULL;
    static char buf[1 << 20];
    int r;

    options.flags = BYRE_OPEN_FOLLOW_BACKING;
    r = byre_open(argc > 1 ? argv[1] : "disk.qcow2", &options, &disk, &err);
    if (r == BYRE_OK)
        r = byre_get_info(disk, &info, &err);

    for (uint64_t at = 0; r == BYRE_OK && at < info.virtual_size_bytes;) {
        const uint64_t left = info.virtual_size_bytes - at;
        const size_t length = left < sizeof(buf) ? (size_t)left : sizeof(buf);

        r = byre_read(disk, at, buf, length, &err);
        if (r == BYRE_OK && fwrite(buf, 1, length, stdout) < length)
            break;
        at += length;
    }
    if (r < 0)
        fprintf(stderr, "%s\n", err.message);
    if (fflush(stdout) != 0 || ferror(stdout))
        perror("standard output");
    byre_close(disk, NULL);
    return r < 0 || ferror(stdout);
}
