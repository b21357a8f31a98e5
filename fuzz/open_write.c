/* SPDX-License-Identifier: MIT */
/*
 * Writing to hostile images: opens an image for writing in a store that watches
 * it, runs a script of operations, closes it, and opens it again.
 *
 * The input is the script (below) and behind it the image.  Whatever the image
 * is, an image that is refused must not have changed, and its header and
 * snapshot table are written to only where a write may change them.  If
 * soundness.h vouches for it, more is asked: it may not be refused as corrupt,
 * what is read is what was written, its snapshot stays, and it is sound
 * afterwards, whatever failed.
 *
 *     byte 0       how it is opened (HOW_*)
 *     byte 1       operations
 *     bytes 2, 3   which call that changes the store fails; 0: none
 *     8 bytes for each operation: kind and flags (OP_*), offset (3), length
 *     (2), pattern, preallocation or other choice
 */
#include "soundness.h"
#include "write_run.h"

/* Of the image as it comes; one we have written is judged at any price. */
#define FEW_ENTRIES    (UINT32_C(1) << 16)
#define SNAPSHOT_BYTES ((size_t)32 << 10)
#define BACKING_BYTES  20000
#define PASSPHRASE     "fuzz"

#define HOW_FORMAT     0x03u /* probed, raw, qcow, qcow2 */
#define HOW_BACKING    0x04u
#define HOW_DATA_STORE 0x08u
#define HOW_KEEP_SPACE 0x10u
#define HOW_NOT_SPARSE 0x20u
#define HOW_NO_SYNC    0x40u

static int get_secret(void *user, const char *secret_id, const char *image_name,
                      void *buf, size_t capacity, size_t *ret_length,
                      struct byre_error *err)
{
    (void)user;
    (void)secret_id;
    (void)image_name;
    (void)err;
    FUZZ_ASSERT(capacity >= strlen(PASSPHRASE));
    memcpy(buf, PASSPHRASE, strlen(PASSPHRASE));
    *ret_length = strlen(PASSPHRASE);
    return BYRE_OK;
}

/* ---- The snapshot ---- */

/* The start of the first snapshot's disk; 0 bytes if there is none to read. */
static size_t read_snapshot(struct write_run *run, uint8_t *buf)
{
    struct byre_open_options options = run->options;
    const struct byre_snapshot *list = NULL;
    struct byre *img = NULL;
    char id[64] = "";
    size_t count = 0;
    size_t length = 0;

    options.flags = BYRE_OPEN_METADATA_ONLY;
    options.backing = NULL;
    options.data_store = NULL;
    if (byre_open_store(run->image_store, NULL, &options, &img, NULL) ==
            BYRE_OK &&
        byre_snapshot_list(img, &list, &count, NULL) == BYRE_OK && count > 0)
        snprintf(id, sizeof(id), "%s", list[0].id);
    byre_close(img, NULL);
    img = NULL;
    if (id[0] == '\0')
        return 0;

    options = run->options;
    options.flags &= ~(BYRE_OPEN_WRITE | BYRE_OPEN_KEEP_SPACE);
    options.snapshot_id = id;
    if (byre_open_store(run->image_store, NULL, &options, &img, NULL) < 0)
        return 0;
    length = write_run_disk_size(img) < SNAPSHOT_BYTES
                 ? (size_t)write_run_disk_size(img)
                 : SNAPSHOT_BYTES;
    if (byre_read(img, 0, buf, length, NULL) < 0)
        length = 0;
    byre_close(img, NULL);
    return length;
}

/* ---- Runs ---- */

/* The judge of soundness looks at the tables only, not at names and such. */
static bool opens_for_reading(struct write_run *run)
{
    struct byre_open_options options = run->options;
    struct byre *img = NULL;
    int r;

    options.flags = options.backing == NULL ? BYRE_OPEN_NO_BACKING : 0;
    r = byre_open_store(run->image_store, NULL, &options, &img, NULL);
    byre_close(img, NULL);
    return r == BYRE_OK;
}

static struct byre *new_backing(void)
{
    struct byre_open_options options = BYRE_OPEN_OPTIONS_INIT;
    struct byre_store *store = NULL;
    struct byre *img = NULL;
    uint8_t *bytes = fuzz_alloc(BACKING_BYTES);

    options.format = "raw";
    for (size_t i = 0; i < BACKING_BYTES; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    memset(bytes + 3000, 0, 5000);
    FUZZ_ASSERT(byre_store_new_memory(bytes, BACKING_BYTES, &store, NULL) ==
                BYRE_OK);
    FUZZ_ASSERT(byre_open_store(store, "base.raw", &options, &img, NULL) ==
                BYRE_OK);
    byre_store_unref(store);
    free(bytes);
    return img;
}

static void set_options(struct write_run *run, unsigned how)
{
    static const char *const formats[] = { NULL, "raw", "qcow", "qcow2" };

    run->options = (struct byre_open_options)BYRE_OPEN_OPTIONS_INIT;
    run->options.flags = BYRE_OPEN_WRITE;
    if (how & HOW_KEEP_SPACE)
        run->options.flags |= BYRE_OPEN_KEEP_SPACE;
    if (how & HOW_NO_SYNC)
        run->options.flags |= BYRE_OPEN_NO_SYNC;
    run->options.format = formats[how & HOW_FORMAT];
    run->options.get_secret = get_secret;
    run->options.table_cache_bytes = 1 << 16;
    run->options.cluster_cache_bytes = 1 << 16;
    run->options.refcount_cache_bytes = 1 << 14;
    run->options.max_kdf_iterations = 2000;
    run->options.max_table_bytes = 1 << 20;
    run->options.backing = run->backing;
    run->options.data_store = run->data_store;
}

static void run_init(struct write_run *run, unsigned how, const uint8_t *image,
                     size_t length)
{
    static const uint8_t nothing[1];

    *run = (struct write_run){ 0 };
    checked_store_init(&run->image, image, length);
    checked_store_init(&run->data, nothing, 0);
    run->image_store =
        checked_store_new(&run->image, (how & HOW_NOT_SPARSE) == 0);
    if (how & HOW_DATA_STORE)
        run->data_store =
            checked_store_new(&run->data, (how & HOW_NOT_SPARSE) == 0);
    if (how & HOW_BACKING)
        run->backing = new_backing();
    set_options(run, how);
    model_init(&run->model);
}

static void run_done(struct write_run *run)
{
    model_done(&run->model);
    FUZZ_ASSERT(byre_close(run->img, NULL) == BYRE_OK || run->trouble);
    FUZZ_ASSERT(byre_close(run->backing, NULL) == BYRE_OK);
    byre_store_unref(run->data_store);
    byre_store_unref(run->image_store);
    checked_store_done(&run->data);
    checked_store_done(&run->image);
}

/* No format has a version 0: the guess is raw, the others refuse. */
static bool is_raw(unsigned how, const uint8_t *image, size_t length)
{
    return (how & HOW_FORMAT) == 1 || length < 4 ||
           memcmp(image, "QFI\xfb", 4) != 0 ||
           image_number(image, length, 4, 4) == 0;
}

/* Their extension and what points to it change with them. */
static bool may_have_bitmaps(const uint8_t *image, size_t length)
{
    return memmem(image, length, "\x23\x85\x28\x75", 4) != NULL;
}

/* header.h of lib/format: 24..47 the disk and its L1 table, 48..59 the refcount
   table, 72..95 the features. */
static void keep_structures(struct checked_store *store, const uint8_t *image,
                            size_t length)
{
    const uint32_t version = (uint32_t)image_number(image, length, 4, 4);

    if (version < 2) {
        checked_store_keep(store, 0, 48);
        return;
    }
    if (!may_have_bitmaps(image, length)) {
        checked_store_keep(store, 0, 24);
        checked_store_keep(store, 60, 72);
        checked_store_keep(store, version == 2 ? 72 : 96, 512);
    }
    if (image_number(image, length, 60, 4) > 0)
        checked_store_keep(store, image_number(image, length, 64, 8),
                           snapshot_table_end(image, length));
}

/* Nothing changed but, in version 3, the bit that marks it corrupt. */
static void check_unchanged(const struct write_run *run, const uint8_t *image,
                            size_t length)
{
    const bool dirty = image_number(image, length, 4, 4) == 3 &&
                       (image_number(image, length, 72, 8) & 1) != 0;

    if (dirty)
        return;
    FUZZ_ASSERT(run->image.length == length);
    for (size_t i = 0; i < length; i++)
        FUZZ_ASSERT(run->image.bytes[i] == image[i] ||
                    (i == 79 && (run->image.bytes[i] ^ image[i]) == 2));
}

static void learn(struct write_run *run)
{
    struct byre_info info = BYRE_INFO_INIT;

    FUZZ_ASSERT(byre_get_info(run->img, &info, NULL) == BYRE_OK);
    run->cluster_bytes =
        info.cluster_size_bytes > 0 ? info.cluster_size_bytes : 512;
    write_run_read_window(run);
    if (run->size_bytes < WINDOW_BYTES)
        model_set(&run->model, run->size_bytes, WINDOW_BYTES, NULL);
}

static void check_afterwards(struct write_run *run, bool raw,
                             const uint8_t *snapshot, size_t snapshot_bytes)
{
    uint8_t *buf;

    if (!run->sound)
        return;
    FUZZ_ASSERT(
        raw || image_is_sound(run->image.bytes, run->image.length, UINT32_MAX));
    if (snapshot_bytes == 0)
        return;
    buf = fuzz_alloc(SNAPSHOT_BYTES);
    FUZZ_ASSERT(read_snapshot(run, buf) == snapshot_bytes);
    FUZZ_ASSERT(memcmp(buf, snapshot, snapshot_bytes) == 0);
    free(buf);
}

static void run_open(struct write_run *run, struct fuzz_input *script, bool raw,
                     const uint8_t *snapshot, size_t snapshot_bytes)
{
    learn(run);
    if (write_run_script(run, script)) {
        write_run_read_window(run);
        write_run_close(run);
        check_afterwards(run, raw, snapshot, snapshot_bytes);
        if (write_run_reopen(run)) {
            write_run_read_window(run);
            write_run_close(run);
        }
    }
    check_afterwards(run, raw, snapshot, snapshot_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = { .data = data, .left = size };
    const unsigned how = (unsigned)fuzz_take(&input, 1);
    const size_t ops = (size_t)fuzz_take(&input, 1) % (WRITE_MAX_OPS + 1);
    const uint32_t failing = (uint32_t)fuzz_take(&input, 2);
    struct fuzz_input script = { .data = input.data };
    uint8_t *snapshot;
    size_t snapshot_bytes = 0;
    struct write_run run;
    bool raw;

    script.left =
        ops * WRITE_OP_BYTES < input.left ? ops * WRITE_OP_BYTES : input.left;
    input.data += script.left;
    input.left -= script.left;
    raw = is_raw(how, input.data, input.left);

    run_init(&run, how, input.data, input.left);
    run.sound = (raw ? (how & HOW_FORMAT) == 1
                     : image_is_sound(input.data, input.left, FEW_ENTRIES)) &&
                opens_for_reading(&run);
    run.guessed = raw && !run.sound;
    snapshot = fuzz_alloc(SNAPSHOT_BYTES);
    if (run.sound && !raw)
        snapshot_bytes = read_snapshot(&run, snapshot);
    if (!raw)
        keep_structures(&run.image, input.data, input.left);
    run.image.failing_change = failing;
    if (write_run_open(&run))
        run_open(&run, &script, raw, snapshot, snapshot_bytes);
    else if (!write_run_stores_failed(&run))
        check_unchanged(&run, input.data, input.left);
    free(snapshot);
    run_done(&run);
    return 0;
}
