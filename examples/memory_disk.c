/* SPDX-License-Identifier: MIT */
/*
 * A disk that is held in memory, and grows as it is written: of a terabyte, a
 * few clusters.  A monitor would give the guest this disk, and keep or drop the
 * bytes afterwards.
 */
#include <byre.h>
#include <inttypes.h>
#include <stdio.h>

static int run(struct byre_store *memory, struct byre_error *err)
{
    struct byre_create_options make = BYRE_CREATE_OPTIONS_INIT;
    struct byre_open_options options = BYRE_OPEN_OPTIONS_INIT;
    struct byre_info info = BYRE_INFO_INIT;
    struct byre *disk = NULL;
    static char block[4096] = "one block";
    int r;

    make.virtual_size_bytes = UINT64_C(1) << 40;
    options.flags = BYRE_OPEN_WRITE;
    options.format = "qcow2";
    r = byre_create_store(memory, &make, err);
    if (r == BYRE_OK)
        r = byre_open_store(memory, "memory", &options, &disk, err);

    for (uint64_t i = 0; r == BYRE_OK && i < 16; i++)
        r = byre_write(disk, i << 36, block, sizeof(block), 0, err);
    if (r == BYRE_OK)
        r = byre_zero(disk, 0, sizeof(block), BYRE_WRITE_MAY_UNMAP, err);
    if (r == BYRE_OK)
        r = byre_flush(disk, err);
    if (r == BYRE_OK)
        r = byre_get_info(disk, &info, err);
    if (r == BYRE_OK)
        printf("%" PRIu64 " bytes of disk in %" PRIu64 " bytes of memory\n",
               info.virtual_size_bytes, info.file_size_bytes);
    if (r < 0) {
        byre_close(disk, NULL);
        return r;
    }
    return byre_close(disk, err);
}

int main(void)
{
    struct byre_store *memory = NULL;
    struct byre_error err = { 0 };
    int r;

    r = byre_store_new_memory(NULL, 0, &memory, &err);
    if (r == BYRE_OK)
        r = run(memory, &err);
    if (r < 0)
        fprintf(stderr, "%s\n", err.message);
    byre_store_unref(memory);
    return r < 0;
}
