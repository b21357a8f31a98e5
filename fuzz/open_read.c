/* SPDX-License-Identifier: MIT */
/*
 * A whole image: opens it from memory in every way that needs no other file,
 * asks for all that it says of itself, and reads it.  What is read must agree
 * with what the extents say, and with itself when it is read again in parts.
 *
 * The first byte chooses the format; the rest is the image.  Work is bounded:
 * small budgets, a part of the disk.
 */
#include <stdbool.h>

#include "fuzz.h"

#define READ_BYTES    16384
#define MAP_BYTES     (UINT64_C(1) << 20)
#define READ_COUNT    6
#define PASSPHRASE    "fuzz"
#define EXTENT_COUNT  16
#define MAX_MAP_CALLS 64

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

/* Names are resolved, and then nothing is opened. */
static int refuse_ref(void *user, const struct byre_ref *ref,
                      struct byre_error *err)
{
    (void)user;
    FUZZ_ASSERT(ref->kind == BYRE_REF_BACKING ||
                ref->kind == BYRE_REF_DATA_FILE);
    FUZZ_ASSERT(ref->image_name != NULL && ref->stored != NULL);
    FUZZ_ASSERT(ref->resolved != NULL && ref->depth == 1);
    err->code = BYRE_E_POLICY;
    strcpy(err->message, "refused");
    return BYRE_E_POLICY;
}

static struct byre_open_options options_for(uint8_t first_byte)
{
    static const char *const formats[] = { NULL, "raw", "qcow", "qcow2" };
    struct byre_open_options options = BYRE_OPEN_OPTIONS_INIT;

    options.format = formats[first_byte % 4];
    options.allow_ref = refuse_ref;
    options.get_secret = get_secret;
    options.table_cache_bytes = 1 << 18;
    options.cluster_cache_bytes = 1 << 18;
    options.max_kdf_iterations = 2000;
    options.max_table_bytes = 1 << 20;
    return options;
}

/* ---- What the image says of itself ---- */

static void check_info(struct byre *img, uint64_t *ret_size_bytes)
{
    struct byre_info info = BYRE_INFO_INIT;
    struct byre_error err;

    FUZZ_ASSERT(byre_get_info(img, &info, &err) == BYRE_OK);
    FUZZ_ASSERT(info.format != NULL && info.name != NULL);
    FUZZ_ASSERT(info.version <= 3);
    FUZZ_ASSERT(info.virtual_size_bytes <= INT64_MAX);
    *ret_size_bytes = info.virtual_size_bytes;
}

static void check_luks_info(struct byre *img)
{
    struct byre_luks_info info = BYRE_LUKS_INFO_INIT;
    struct byre_error err;
    const int r = byre_get_luks_info(img, &info, &err);

    fuzz_check_result(r, &err);
    if (r == BYRE_OK)
        FUZZ_ASSERT(strlen(info.cipher_alg) > 0 && strlen(info.uuid) <= 40);
}

/* Leaves a copy of the first snapshot's id in `ret_id`, or nothing. */
static void check_snapshots(struct byre *img, char *ret_id, size_t capacity)
{
    const struct byre_snapshot *list = NULL;
    struct byre_error err;
    size_t total_chars = 0;
    size_t count = 0;
    const int r = byre_snapshot_list(img, &list, &count, &err);

    fuzz_check_result(r, &err);
    for (size_t i = 0; r == BYRE_OK && i < count; i++)
        total_chars += strlen(list[i].id) + strlen(list[i].name);
    FUZZ_ASSERT(total_chars <= count * 2 * 65536);
    if (r == BYRE_OK && count > 0)
        snprintf(ret_id, capacity, "%s", list[0].id);
}

#define FEW_BITMAPS 4
#define FEW_RUNS    200

/* The runs of a bitmap follow one another, and what differs alternates. */
static void check_bitmap(struct byre *img, const struct byre_bitmap *bitmap,
                         uint64_t size_bytes)
{
    uint64_t at = 0;

    for (int i = 0; i < FEW_RUNS && at < size_bytes; i++) {
        const uint64_t left = size_bytes - at;
        struct byre_error err;
        uint64_t length = 0;
        uint32_t dirty = 2;
        const int r = byre_bitmap_extent(img, bitmap->name, at, left, &dirty,
                                         &length, &err);

        fuzz_check_result(r, &err);
        if (r < 0)
            return;
        FUZZ_ASSERT((bitmap->flags & BYRE_BITMAP_IN_USE) == 0);
        FUZZ_ASSERT(dirty <= 1 && length > 0 && length <= left);
        at += length;
    }
}

static void check_bitmaps(struct byre *img, uint64_t size_bytes)
{
    const struct byre_bitmap *list = NULL;
    struct byre_error err;
    size_t count = 0;
    const int r = byre_bitmap_list(img, &list, &count, &err);

    fuzz_check_result(r, &err);
    for (size_t i = 0; r == BYRE_OK && i < count; i++) {
        FUZZ_ASSERT(strlen(list[i].name) <= 1023);
        FUZZ_ASSERT(list[i].granularity_bytes >= 512);
        if (i < FEW_BITMAPS)
            check_bitmap(img, &list[i], size_bytes);
    }
}

/* ---- Its data ---- */

static void check_extents(const struct byre_extent *extents, size_t count,
                          uint64_t offset, uint64_t length, uint32_t flags)
{
    uint64_t at = offset;

    FUZZ_ASSERT(count >= 1 && count <= EXTENT_COUNT);
    for (size_t i = 0; i < count; i++) {
        const struct byre_extent *e = &extents[i];

        FUZZ_ASSERT(e->offset == at);
        FUZZ_ASSERT(e->length > 0 && e->length <= offset + length - at);
        FUZZ_ASSERT(e->depth == 0);
        FUZZ_ASSERT(e->cluster_class <= BYRE_CLASS_INVALID);
        FUZZ_ASSERT((flags & BYRE_EXTENTS_CLASSES) != 0 ||
                    e->cluster_class != BYRE_CLASS_INVALID);
        at += e->length;
    }
}

/* Walks over `length` bytes of the disk, as far as the work allows. */
static void walk_extents(struct byre *img, uint64_t offset, uint64_t length,
                         uint32_t flags)
{
    struct byre_extent extents[EXTENT_COUNT];
    struct byre_error err;
    size_t count = 0;

    for (int i = 0; i < MAX_MAP_CALLS && length > 0; i++) {
        const int r = byre_extents(img, offset, length, flags, extents,
                                   EXTENT_COUNT, &count, &err);
        uint64_t end;

        fuzz_check_result(r, &err);
        if (r < 0)
            return;
        check_extents(extents, count, offset, length, flags);
        end = extents[count - 1].offset + extents[count - 1].length;
        length -= end - offset;
        offset = end;
    }
}

static void check_zeroes(struct byre *img, uint64_t offset, const uint8_t *buf,
                         size_t length)
{
    struct byre_extent extent;
    size_t count = 0;
    struct byre_error err;

    if (byre_extents(img, offset, length, 0, &extent, 1, &count, &err) < 0)
        return;
    check_extents(&extent, count, offset, length, 0);
    for (size_t i = 0; (extent.flags & BYRE_EXTENT_ZERO) && i < extent.length;
         i++)
        FUZZ_ASSERT(buf[i] == 0);
}

static void check_read(struct byre *img, uint64_t offset, size_t length)
{
    uint8_t *buf = fuzz_alloc(length);
    uint8_t *again = fuzz_alloc(length);
    const size_t cut = length / 3;
    struct byre_error err;
    int r;

    r = byre_read(img, offset, buf, length, &err);
    fuzz_check_result(r, &err);
    if (r == BYRE_OK) {
        FUZZ_ASSERT(byre_read(img, offset, again, cut, &err) == BYRE_OK);
        FUZZ_ASSERT(byre_read(img, offset + cut, again + cut, length - cut,
                              &err) == BYRE_OK);
        FUZZ_ASSERT(memcmp(buf, again, length) == 0);
        if (length > 0)
            check_zeroes(img, offset, buf, length);
    }
    free(again);
    free(buf);
}

static void check_data(struct byre *img, uint64_t size_bytes)
{
    const uint64_t map_bytes = size_bytes < MAP_BYTES ? size_bytes : MAP_BYTES;
    const size_t read_bytes =
        size_bytes < READ_BYTES ? (size_t)size_bytes : READ_BYTES;
    const uint64_t last = size_bytes - read_bytes;
    struct byre_error err;
    uint8_t byte;

    walk_extents(img, 0, map_bytes, 0);
    walk_extents(img, 0, map_bytes, BYRE_EXTENTS_CLASSES);
    walk_extents(img, size_bytes - map_bytes, map_bytes,
                 BYRE_EXTENTS_CLASSES | BYRE_EXTENTS_SHALLOW);

    for (uint64_t i = 0; i < READ_COUNT; i++)
        check_read(img, last / (READ_COUNT - 1) * i, read_bytes);
    check_read(img, last, read_bytes);
    check_read(img, size_bytes, 0);
    FUZZ_ASSERT(byre_read(img, size_bytes, &byte, 1, &err) == BYRE_E_INVALID);
    FUZZ_ASSERT(byre_read(img, UINT64_MAX, &byte, 1, &err) == BYRE_E_INVALID);
}

/* ---- Ways to open it ---- */

static void run_metadata(struct byre_store *store,
                         struct byre_open_options options, char *ret_id,
                         size_t capacity)
{
    struct byre *img = NULL;
    struct byre_error err;
    uint64_t size_bytes;
    uint8_t byte;
    int r;

    options.flags = BYRE_OPEN_METADATA_ONLY;
    r = byre_open_store(store, "fuzz.img", &options, &img, &err);
    fuzz_check_result(r, &err);
    FUZZ_ASSERT((img != NULL) == (r == BYRE_OK));
    if (r < 0)
        return;

    check_info(img, &size_bytes);
    check_luks_info(img);
    check_snapshots(img, ret_id, capacity);
    check_bitmaps(img, size_bytes);
    FUZZ_ASSERT(byre_read(img, 0, &byte, 1, &err) == BYRE_E_STATE);
    FUZZ_ASSERT(byre_close(img, &err) == BYRE_OK);
}

/* Returns whether the image could be opened. */
static bool run_data(struct byre_store *store,
                     const struct byre_open_options *options)
{
    struct byre *img = NULL;
    struct byre_error err;
    uint64_t size_bytes;
    const int r = byre_open_store(store, "fuzz.img", options, &img, &err);

    fuzz_check_result(r, &err);
    FUZZ_ASSERT((img != NULL) == (r == BYRE_OK));
    if (r < 0)
        return false;

    FUZZ_ASSERT(byre_get_backing(img) == NULL);
    check_info(img, &size_bytes);
    check_data(img, size_bytes);
    FUZZ_ASSERT(byre_close(img, &err) == BYRE_OK);
    return true;
}

/* Allowed to follow names, but refused each: nothing else may be opened. */
static void run_references(struct byre_store *store,
                           struct byre_open_options options)
{
    struct byre *img = NULL;
    struct byre_error err;
    int r;

    options.flags = BYRE_OPEN_FOLLOW_BACKING | BYRE_OPEN_FOLLOW_DATA_FILE |
                    BYRE_OPEN_PROBE_BACKING;
    r = byre_open_store(store, "fuzz.img", &options, &img, &err);
    fuzz_check_result(r, &err);
    FUZZ_ASSERT((img != NULL) == (r == BYRE_OK));
    FUZZ_ASSERT(r < 0 || byre_get_backing(img) == NULL);
    FUZZ_ASSERT(byre_close(img, &err) == BYRE_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct byre_store *store = NULL;
    struct byre_open_options options;
    char snapshot_id[64] = "";

    if (size == 0)
        return 0;
    options = options_for(data[0]);
    FUZZ_ASSERT(byre_store_new_memory(data + 1, size - 1, &store, NULL) ==
                BYRE_OK);
    run_metadata(store, options, snapshot_id, sizeof(snapshot_id));
    if (!run_data(store, &options))
        run_references(store, options);
    if (snapshot_id[0] != '\0') {
        options.snapshot_id = snapshot_id;
        run_data(store, &options);
    }
    byre_store_unref(store);
    return 0;
}
