/* SPDX-License-Identifier: MIT */
/*
 * The block device of a virtual machine monitor, on memory of its own.
 *
 *     vmm_block IMAGE [DISK]
 *
 * The image, of any version, is read into the program's memory once; from then
 * on the library sees nothing but the functions below.  Several virtual
 * processors read the disk at the same time; what they got is written to DISK.
 * At last the program lists where each range of the disk is stored.
 *
 * No flag allows the image to name other files, so an image with a backing file
 * is refused: a monitor decides itself what its guests may see.
 */
#include <byre.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECTOR_BYTES    512
#define REQUEST_SECTORS 128
#define VCPUS           4

/* ---- The image, in the program's own memory ---- */

struct memory {
    char *bytes;
    size_t length;
};

/* Many threads may call this at once; what lies past the end is zero. */
static int memory_read(void *user, uint64_t offset, void *buf, size_t length,
                       struct byre_error *err)
{
    const struct memory *memory = user;
    const uint64_t end = memory->length;
    const uint64_t left = offset < end ? end - offset : 0;
    const size_t found = left < length ? (size_t)left : length;

    (void)err;
    if (found > 0)
        memcpy(buf, memory->bytes + offset, found);
    memset((char *)buf + found, 0, length - found);
    return BYRE_OK;
}

static int memory_get_size(void *user, uint64_t *ret_size_bytes,
                           struct byre_error *err)
{
    const struct memory *memory = user;

    (void)err;
    *ret_size_bytes = memory->length;
    return BYRE_OK;
}

static void memory_close(void *user)
{
    struct memory *memory = user;

    free(memory->bytes);
    free(memory);
}

static const struct byre_store_ops memory_ops = {
    .size = sizeof(struct byre_store_ops),
    .read = memory_read,
    .get_size = memory_get_size,
    .close = memory_close,
};

/* Reads a whole file; NULL, with errno set, if it cannot. */
static struct memory *memory_load(const char *name)
{
    struct memory *memory = calloc(1, sizeof(*memory));
    FILE *file = fopen(name, "rb");
    long length = -1;

    if (memory != NULL && file != NULL && fseek(file, 0, SEEK_END) == 0)
        length = ftell(file);
    if (length >= 0) {
        rewind(file);
        memory->bytes = malloc((size_t)length + 1);
    }
    if (length >= 0 && memory->bytes != NULL)
        memory->length = fread(memory->bytes, 1, (size_t)length, file);
    if (file != NULL)
        fclose(file);
    if (length >= 0 && memory->length == (size_t)length)
        return memory;
    if (memory != NULL)
        memory_close(memory);
    return NULL;
}

/* ---- The block device ---- */

struct block_device {
    struct byre *image;
    uint64_t size_bytes;
    uint64_t sectors;
};

static int block_device_open(struct memory *memory, const char *name,
                             struct block_device *ret_device,
                             struct byre_error *err)
{
    struct byre_info info = BYRE_INFO_INIT;
    struct byre_store *store;
    struct byre *image;
    int r;

    r = byre_store_new(&memory_ops, memory, &store, err);
    if (r < 0) {
        memory_close(memory);
        return r;
    }

    /* The image holds the store from here on, and closes it in the end. */
    r = byre_open_store(store, name, NULL, &image, err);
    byre_store_unref(store);
    if (r < 0)
        return r;

    r = byre_get_info(image, &info, err);
    if (r < 0) {
        byre_close(image, NULL);
        return r;
    }

    ret_device->image = image;
    ret_device->size_bytes = info.virtual_size_bytes;
    ret_device->sectors =
        (info.virtual_size_bytes + SECTOR_BYTES - 1) / SECTOR_BYTES;
    printf("%s: %s version %" PRIu32 ", %" PRIu64 " sectors\n", name,
           info.format, info.version, ret_device->sectors);
    return BYRE_OK;
}

/* What the guest's driver asks for; a last half sector is filled up. */
static int block_device_read(const struct block_device *device, uint64_t sector,
                             char *buf, size_t sectors, struct byre_error *err)
{
    const uint64_t offset = sector * SECTOR_BYTES;
    const uint64_t left = device->size_bytes - offset;
    const size_t length = sectors * SECTOR_BYTES;
    const size_t on_disk = left < length ? (size_t)left : length;

    memset(buf + on_disk, 0, length - on_disk);
    return byre_read(device->image, offset, buf, on_disk, err);
}

/* ---- The guest ---- */

struct guest {
    const struct block_device *device;
    int disk_fd; /* -1: what was read is not kept */
    atomic_uint_fast64_t next_sector;
    atomic_int failures;
};

static int guest_request(struct guest *guest, uint64_t sector, size_t sectors)
{
    char buf[REQUEST_SECTORS * SECTOR_BYTES];
    const size_t length = sectors * SECTOR_BYTES;
    struct byre_error err;

    if (block_device_read(guest->device, sector, buf, sectors, &err) < 0) {
        fprintf(stderr, "sector %" PRIu64 ": %s\n", sector, err.message);
        return -1;
    }

    if (guest->disk_fd >= 0 &&
        pwrite(guest->disk_fd, buf, length, (off_t)sector * SECTOR_BYTES) !=
            (ssize_t)length) {
        perror("DISK");
        return -1;
    }
    return 0;
}

/* A virtual processor: takes the next request until the disk is read. */
static void *vcpu_main(void *arg)
{
    struct guest *guest = arg;
    const uint64_t end = guest->device->sectors;

    for (;;) {
        const uint64_t sector =
            atomic_fetch_add(&guest->next_sector, REQUEST_SECTORS);
        const uint64_t left = sector < end ? end - sector : 0;

        if (left == 0)
            return NULL;
        if (guest_request(guest, sector,
                          left < REQUEST_SECTORS ? (size_t)left
                                                 : REQUEST_SECTORS) < 0)
            atomic_fetch_add(&guest->failures, 1);
    }
}

static int guest_run(const struct block_device *device, int disk_fd)
{
    struct guest guest = { .device = device, .disk_fd = disk_fd };
    pthread_t vcpus[VCPUS];
    int started = 0;

    while (started < VCPUS &&
           pthread_create(&vcpus[started], NULL, vcpu_main, &guest) == 0)
        started++;
    for (int i = 0; i < started; i++)
        pthread_join(vcpus[i], NULL);
    return started == VCPUS && atomic_load(&guest.failures) == 0 ? 0 : -1;
}

/* ---- Where the disk is stored ---- */

static const char *class_name(uint32_t cluster_class)
{
    static const char *const names[] = {
        [BYRE_CLASS_UNALLOCATED] = "unallocated",
        [BYRE_CLASS_ZERO_PLAIN] = "zero",
        [BYRE_CLASS_ZERO_ALLOCATED] = "zero-allocated",
        [BYRE_CLASS_NORMAL] = "normal",
        [BYRE_CLASS_COMPRESSED] = "compressed",
        [BYRE_CLASS_RESERVED] = "reserved",
        [BYRE_CLASS_INVALID] = "invalid",
    };
    const size_t count = sizeof(names) / sizeof(names[0]);

    return cluster_class < count ? names[cluster_class] : "unknown";
}

static void print_extent(const struct byre_extent *extent)
{
    printf("%12" PRIu64 " %12" PRIu64 "  %-14s", extent->offset, extent->length,
           class_name(extent->cluster_class));
    if (extent->host_offset != BYRE_NO_OFFSET)
        printf("  at %" PRIu64, extent->host_offset);
    printf("%s\n",
           (extent->flags & BYRE_EXTENT_ENCRYPTED) ? "  encrypted" : "");
}

static int print_map(const struct block_device *device, struct byre_error *err)
{
    struct byre_extent extents[64];
    uint64_t offset = 0;
    size_t count;
    int r;

    while (offset < device->size_bytes) {
        r = byre_extents(device->image, offset, device->size_bytes - offset,
                         BYRE_EXTENTS_CLASSES, extents,
                         sizeof(extents) / sizeof(extents[0]), &count, err);
        if (r < 0)
            return r;

        for (size_t i = 0; i < count; i++)
            print_extent(&extents[i]);
        offset = extents[count - 1].offset + extents[count - 1].length;
    }
    return BYRE_OK;
}

static int run(const struct block_device *device, int disk_fd)
{
    struct byre_error err;

    if (guest_run(device, disk_fd) < 0)
        return -1;
    if (print_map(device, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct block_device device;
    struct byre_error err;
    struct memory *memory;
    int disk_fd = -1;
    int r;

    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: vmm_block IMAGE [DISK]\n");
        return 2;
    }

    memory = memory_load(argv[1]);
    if (memory == NULL) {
        perror(argv[1]);
        return 1;
    }
    if (block_device_open(memory, argv[1], &device, &err) < 0) {
        fprintf(stderr, "%s: %s\n", argv[1], err.message);
        return 1;
    }

    if (argc == 3)
        disk_fd = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (argc == 3 && disk_fd < 0)
        perror(argv[2]);
    r = argc == 3 && disk_fd < 0 ? -1 : run(&device, disk_fd);
    if (disk_fd >= 0)
        close(disk_fd);
    byre_close(device.image, NULL);
    return r < 0;
}
