/* SPDX-License-Identifier: MIT */
/*
 * Without these, version 1 images could be what we alone understand: QEMU
 * judges what we write, and we what it writes, in turns.
 */
#include <stdio.h>
#include <unistd.h>

#include "qcow1_case.h"

/* ---- Commands ---- */

static int run(const char *command)
{
    char line[4096];

    snprintf(line, sizeof(line), "{ set -e; %s; } >log 2>&1", command);
    return system(line);
}

static void must_run(const char *command)
{
    if (run(command) == 0)
        return;
    print_error("%s\n", command);
    (void)!system("cat log >&2");
    assert_true(false);
}

static bool have_qemu(void)
{
    return run("qemu-img --version && qemu-io --version") == 0;
}

static int enter_scratch(void **state)
{
    char *path = strdup("/tmp/byre-qcow1-XXXXXX");

    *state = path;
    return mkdtemp(path) == NULL || chdir(path) != 0 ? -1 : 0;
}

static int leave_scratch(void **state)
{
    char line[128];

    snprintf(line, sizeof(line), "rm -rf %s", (const char *)*state);
    free(*state);
    return chdir("/") != 0 || system(line) != 0 ? -1 : 0;
}

/* ---- Files ---- */

static void save(const char *name, const void *bytes, size_t length)
{
    FILE *file = fopen(name, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static void save_store(const char *name, struct byre_store *store)
{
    uint64_t length = 0;
    uint8_t *bytes;

    assert_int_equal(store_get_size(store, &length, NULL), BYRE_OK);
    bytes = malloc(length);
    assert_int_equal(store_read(store, 0, bytes, (size_t)length, NULL),
                     BYRE_OK);
    save(name, bytes, (size_t)length);
    free(bytes);
}

/* The file becomes what the disk's store holds. */
static void load_store(const char *name, struct disk *disk)
{
    FILE *file = fopen(name, "rb");
    uint8_t *bytes = malloc(4 * DISK_BYTES);
    size_t length;

    assert_non_null(file);
    length = fread(bytes, 1, 4 * DISK_BYTES, file);
    assert_in_range(length, 1, 4 * DISK_BYTES - 1);
    fclose(file);
    byre_store_unref(disk->store);
    disk->store = new_memory(bytes, length);
    free(bytes);
}

/* ---- Turns ---- */

#define SECRET " --object secret,id=s,data=" PASSPHRASE
#define KEY    ",encrypt.format=aes,encrypt.key-secret=s"
#define BACK   ",backing.driver=raw,backing.file.filename=" BASE_NAME
#define IMAGE  "driver=qcow,file.filename=img"

/* How QEMU opens it. */
static void name_image(const struct shape *shape, char *ret, size_t size)
{
    snprintf(ret, size, "%s --image-opts %s%s%s", shape->aes ? SECRET : "",
             IMAGE, shape->aes ? KEY : "", shape->overlay ? BACK : "");
}

static void qemu_reads(struct disk *disk)
{
    char line[1024], name[512];

    save_store("img", disk->store);
    save("model", disk->model, disk->bytes);
    if (disk->shape->overlay)
        save_store(BASE_NAME, disk->base_store);
    name_image(disk->shape, name, sizeof(name));
    snprintf(line, sizeof(line), "qemu-img convert -O raw %s disk", name);
    must_run(line);
    must_run("cmp model disk");
    snprintf(line, sizeof(line),
             "qemu-img compare %s driver=raw,file.filename=model", name);
    must_run(line);
}

/* Whole clusters: QEMU takes nothing over from the backing file. */
static void qemu_writes(struct disk *disk, uint64_t *seed)
{
    const uint32_t unit =
        disk->shape->cluster_bits == 16 ? 65536u : (uint32_t)CLUSTER;
    char line[1024], name[512];

    name_image(disk->shape, name, sizeof(name));
    for (unsigned i = 0; i < 6; i++) {
        const uint32_t at = next_random(seed, disk->bytes / unit) * unit;
        const int byte = (int)next_random(seed, 256);

        snprintf(line, sizeof(line), "qemu-io -c 'write -P %d %u %u' %s", byte,
                 at, unit, name);
        must_run(line);
        memset(disk->model + at, byte, unit);
    }
    load_store("img", disk);
}

static void take_turns(const struct shape *shape, uint64_t seed)
{
    struct disk disk;

    disk_init(&disk, shape);
    for (unsigned turn = 0; turn < 3; turn++) {
        open_disk(&disk);
        assert_content(&disk);
        operate_often(&disk, &seed, 40);
        close_disk(&disk);
        assert_layout(disk.store, shape->name);
        qemu_reads(&disk);
        qemu_writes(&disk, &seed);
        assert_layout(disk.store, shape->name);
    }
    open_disk(&disk);
    assert_content(&disk);
    disk_done(&disk);
}

static void test_turns(void **state)
{
    (void)state;
    if (!have_qemu())
        skip();
    for (size_t i = 0; i < SHAPES; i++) {
        if (can_make(&shapes[i]))
            take_turns(&shapes[i], 100 + i);
    }
}

/* ---- Compressed ---- */

/* QEMU inflates our streams, and goes on behind them; we behind its. */
static void test_streams(void **state)
{
    static const struct shape shape = { .name = "streams", 12, 9 };
    struct disk disk;

    (void)state;
    if (!have_qemu())
        skip();
    disk_init(&disk, &shape);
    open_disk(&disk);
    for (uint32_t i = 0; i < 5; i++) {
        memset(disk.model + i * CLUSTER, 'a' + (int)i, CLUSTER - i * 100);
        assert_int_equal(byre_write(disk.img, i * CLUSTER,
                                    disk.model + i * CLUSTER, CLUSTER,
                                    BYRE_WRITE_COMPRESSED, NULL),
                         BYRE_OK);
    }
    close_disk(&disk);
    qemu_reads(&disk);
    must_run("qemu-io -f qcow -c 'write -c -P 9 40k 4k' -c 'write -P 8 5k 512'"
             " -c 'write -c -P 7 48k 4k' img");
    memset(disk.model + 40 * 1024, 9, CLUSTER);
    memset(disk.model + 5 * 1024, 8, SECTOR);
    memset(disk.model + 48 * 1024, 7, CLUSTER);
    load_store("img", &disk);
    assert_layout(disk.store, "streams");

    open_disk(&disk);
    assert_content(&disk);
    memset(disk.model + 41 * 1024, 6, 1);
    assert_int_equal(byre_write(disk.img, 41 * 1024, "\6", 1, 0, NULL),
                     BYRE_OK);
    memset(disk.model + 13 * CLUSTER, 5, CLUSTER);
    assert_int_equal(byre_write(disk.img, 13 * CLUSTER,
                                disk.model + 13 * CLUSTER, CLUSTER,
                                BYRE_WRITE_COMPRESSED, NULL),
                     BYRE_OK);
    close_disk(&disk);
    assert_layout(disk.store, "streams");
    qemu_reads(&disk);
    disk_done(&disk);
}

/* ---- The trap ---- */

/* The neighbours of a small write keep what the backing file has. */
static void test_copy_on_write(void **state)
{
    struct disk disk;

    (void)state;
    if (!have_qemu())
        skip();
    disk_init(&disk, &shapes[2]);
    open_disk(&disk);
    memset(disk.model + SECTOR, 0x5a, SECTOR);
    assert_int_equal(
        byre_write(disk.img, SECTOR, disk.model + SECTOR, SECTOR, 0, NULL),
        BYRE_OK);
    /* Where the backing file ends within a cluster. */
    memset(disk.model + BASE_BYTES - 10, 0x5b, 20);
    assert_int_equal(byre_write(disk.img, BASE_BYTES - 10,
                                disk.model + BASE_BYTES - 10, 20, 0, NULL),
                     BYRE_OK);
    close_disk(&disk);
    qemu_reads(&disk);
    disk_done(&disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_turns, enter_scratch,
                                        leave_scratch),
        cmocka_unit_test_setup_teardown(test_streams, enter_scratch,
                                        leave_scratch),
        cmocka_unit_test_setup_teardown(test_copy_on_write, enter_scratch,
                                        leave_scratch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
