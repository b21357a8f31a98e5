/* SPDX-License-Identifier: MIT */
#include "image_kind.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "disk_model.h"
#include "memory.h"
#include "store/store.h"

#define KIB        UINT64_C(1024)
#define LAZY       BYRE_CREATE_LAZY_REFCOUNTS
#define EXTENDED   BYRE_CREATE_EXTENDED_L2
#define AES        BYRE_ENCRYPTION_AES
#define LUKS       BYRE_ENCRYPTION_LUKS
#define RAW        BYRE_CREATE_DATA_FILE_RAW
#define METADATA   BYRE_PREALLOCATION_METADATA
#define FULL       BYRE_PREALLOCATION_FULL
#define DATA_FILE  KIND_DATA_FILE
#define SNAPSHOT   KIND_SNAPSHOT
#define HAND_V1    KIND_HAND_V1
#define NO_ZEROES  KIND_MAKES_NO_ZEROES
#define BITMAPS    KIND_BITMAPS
#define DISK_UNITS 64

/* The head of an entry: a name, flags, version, cluster and unit. */
#define KIND(name_, flags_, version_, cluster_, unit_)                         \
    .name = (name_), .flags = (flags_), .version = (version_),                 \
    .cluster_bytes = (cluster_), .unit_bytes = (unit_),                        \
    .disk_units = DISK_UNITS

/* Two snapshots over data, zeroes, a gap and compressed clusters. */
#define SNAPSHOT_RECIPE(options, size, cluster)                                \
    "qemu-img create -q -f qcow2 -o " options " $I " size " && "               \
    "qemu-io -f qcow2 -c 'write -q -P 1 0 " cluster "' "                       \
    "-c 'write -q -P 2 " cluster " " cluster "' $I && "                        \
    "qemu-img snapshot -c one $I && "                                          \
    "qemu-io -f qcow2 -c 'write -q -P 3 512 1024' $I && "                      \
    "qemu-img snapshot -c two $I && "                                          \
    "qemu-io -f qcow2 -c 'write -q -P 4 0 " cluster "' $I"

/* Bitmaps beside data, of which one has something noted. */
#define BITMAP_RECIPE(options)                                                 \
    "qemu-img create -q -f qcow2 -o cluster_size=4k" options " $I 96k && "     \
    "qemu-img bitmap --add -g 512 $I fine && "                                 \
    "qemu-io -f qcow2 -c 'write -q -P 1 8k 20k' $I && "                        \
    "qemu-img bitmap --add --disable $I off && "                               \
    "qemu-img bitmap --add $I all"

/* Clusters that read as zeroes by their flag: some of the snapshots' alone,
   some shared, some whose cluster still holds the data of another. */
#define ZEROES_RECIPE                                                          \
    "qemu-img create -q -f qcow2 -o cluster_size=4k $I 96k && "                \
    "qemu-io -f qcow2 -c 'write -q -P 1 0 24k' -c 'write -q -z 8k 4k' "        \
    "-c 'write -q -z -u 12k 4k' $I && qemu-img snapshot -c one $I && "         \
    "qemu-io -f qcow2 -c 'write -q -z 0 4k' -c 'write -q -P 2 8k 2k' $I && "   \
    "qemu-img snapshot -c two $I && "                                          \
    "qemu-io -f qcow2 -c 'write -q -z 16k 8k' -c 'write -q -z 48k 4k' $I"

/* A snapshot table as old programs wrote it, with nothing beside names. */
#define SHORT_RECIPE                                                           \
    SNAPSHOT_RECIPE("cluster_size=4k,compat=0.10", "96k", "24k")               \
    " && python3 -c 'import struct, sys\n"                                     \
    "f = open(sys.argv[1], \"r+b\"); f.seek(60)\n"                             \
    "count, at = struct.unpack(\">IQ\", f.read(12))\n"                         \
    "f.seek(at); old = f.read(4096); new = b\"\"; i = 0\n"                     \
    "for n in range(count):\n"                                                 \
    "    ids, names = struct.unpack_from(\">HH\", old, i + 12)\n"              \
    "    extra, = struct.unpack_from(\">I\", old, i + 36)\n"                   \
    "    text = old[i + 40 + extra:i + 40 + extra + ids + names]\n"            \
    "    new += old[i:i + 36] + bytes(4) + text\n"                             \
    "    new += bytes(-len(new) % 8); i += 40 + extra + len(text); "           \
    "i += -i % 8\n"                                                            \
    "f.seek(at); f.write(new.ljust(len(old), b\"\\0\"))' $I"

const struct image_kind image_kinds[] = {
    { KIND("v3-512", 0, 3, 512, 640) },
    { KIND("v3-4k", 0, 3, 4 * KIB, 1536) },
    { KIND("v3-64k", 0, 3, 64 * KIB, 24 * KIB) },
    { KIND("v3-2m", 0, 3, 2048 * KIB, 256 * KIB) },
    { KIND("v2-512", NO_ZEROES, 2, 512, 640) },
    { KIND("v2-4k", NO_ZEROES, 2, 4 * KIB, 1500) },
    { KIND("v2-64k", NO_ZEROES, 2, 64 * KIB, 20 * KIB) },
    { KIND("v1-4k", NO_ZEROES, 1, 4 * KIB, 1536), .format = "qcow" },
    { KIND("v1-512-base", NO_ZEROES, 1, 512, 640), .format = "qcow",
      .base_bytes = 30000 },
    { KIND("v1-4k-base", NO_ZEROES | HAND_V1, 1, 4 * KIB, 1536),
      .format = "qcow", .base_bytes = 50000 },
    { KIND("v1-4k-aes", NO_ZEROES, 1, 4 * KIB, 1536), .format = "qcow",
      .encryption = AES },
    { KIND("extended-16k", 0, 3, 16 * KIB, 6 * KIB), .create_flags = EXTENDED },
    { KIND("extended-64k", 0, 3, 64 * KIB, 15 * KIB),
      .create_flags = EXTENDED },
    { KIND("extended-16k-base", 0, 3, 16 * KIB, 6000), .create_flags = EXTENDED,
      .base_bytes = 300000 },
    { KIND("extended-16k-prealloc", 0, 3, 16 * KIB, 6 * KIB),
      .create_flags = EXTENDED, .preallocation = METADATA },
    { KIND("width-1", 0, 3, 4 * KIB, 1536), .refcount_bits = 1 },
    { KIND("width-2", 0, 3, 512, 512), .refcount_bits = 2 },
    { KIND("width-4", 0, 3, 4 * KIB, 1536), .refcount_bits = 4 },
    { KIND("width-8", 0, 3, 512, 640), .refcount_bits = 8 },
    { KIND("width-32", 0, 3, 4 * KIB, 1536), .refcount_bits = 32 },
    { KIND("width-64", 0, 3, 512, 640), .refcount_bits = 64 },
    { KIND("lazy-4k", 0, 3, 4 * KIB, 1536), .create_flags = LAZY },
    { KIND("lazy-64k", 0, 3, 64 * KIB, 24 * KIB), .create_flags = LAZY },
    { KIND("zstd-64k", 0, 3, 64 * KIB, 24 * KIB), .compression_type = "zstd" },
    { KIND("data-4k", DATA_FILE, 3, 4 * KIB, 1536) },
    { KIND("data-64k", DATA_FILE, 3, 64 * KIB, 24 * KIB) },
    { KIND("data-raw-4k", DATA_FILE, 3, 4 * KIB, 1536), .create_flags = RAW },
    { KIND("data-raw-64k", DATA_FILE, 3, 64 * KIB, 24 * KIB),
      .create_flags = RAW },
    { KIND("data-extended", DATA_FILE, 3, 16 * KIB, 6 * KIB),
      .create_flags = EXTENDED },
    { KIND("aes-4k", 0, 3, 4 * KIB, 1536), .encryption = AES },
    { KIND("aes-v2-64k", NO_ZEROES, 2, 64 * KIB, 24 * KIB), .encryption = AES },
    { KIND("luks-4k", 0, 3, 4 * KIB, 1536), .encryption = LUKS },
    { KIND("luks-small", 0, 3, 4 * KIB, 1536), .encryption = LUKS,
      .cipher_alg = "aes-128", .cipher_mode = "cbc" },
    { KIND("luks-64k", 0, 3, 64 * KIB, 24 * KIB), .encryption = LUKS },
    { KIND("luks-data-4k", DATA_FILE, 3, 4 * KIB, 1536), .encryption = LUKS },
    { KIND("overlay-short-4k", 0, 3, 4 * KIB, 1536), .base_bytes = 51000 },
    { KIND("overlay-long-4k", 0, 3, 4 * KIB, 1536), .base_bytes = 300000 },
    { KIND("overlay-long-512", 0, 3, 512, 640), .base_bytes = 80000 },
    { KIND("overlay-64k", 0, 3, 64 * KIB, 24 * KIB), .base_bytes = 1000 * KIB },
    { KIND("overlay-v2-4k", NO_ZEROES, 2, 4 * KIB, 1536), .base_bytes = 51000 },
    { KIND("overlay-luks", 0, 3, 4 * KIB, 1536), .base_bytes = 51000,
      .encryption = LUKS },
    { KIND("chain-4k", 0, 3, 4 * KIB, 1536), .base_bytes = 51200 },
    { KIND("chain-long-4k", 0, 3, 4 * KIB, 1536), .base_bytes = 307200 },
    { KIND("chain-v1", NO_ZEROES, 1, 512, 640), .format = "qcow",
      .base_bytes = 80384 },
    { KIND("chain-v2-4k", NO_ZEROES, 2, 4 * KIB, 1536), .base_bytes = 51200 },
    { KIND("chain-qcow2-4k", KIND_BASE_QCOW2, 3, 4 * KIB, 1536),
      .base_bytes = 61440 },
    { KIND("chain-qcow2-512", KIND_BASE_QCOW2, 3, 512, 640),
      .base_bytes = 30720 },
    { KIND("chain-wide", 0, 3, 512, 640), .refcount_bits = 64,
      .base_bytes = 30720 },
    { KIND("chain-extended", KIND_BASE_QCOW2, 3, 16 * KIB, 6 * KIB),
      .create_flags = EXTENDED, .base_bytes = 307200 },
    { KIND("chain-luks", KIND_BASE_QCOW2, 3, 4 * KIB, 1536),
      .base_bytes = 61440, .encryption = LUKS },
    { KIND("chain-data", DATA_FILE, 3, 4 * KIB, 1536), .base_bytes = 51200 },
    { KIND("moves-4k", KIND_MOVES, 3, 4 * KIB, 1536), .base_bytes = 51200 },
    { KIND("moves-512", KIND_MOVES, 3, 512, 640), .base_bytes = 51200 },
    { KIND("moves-v1", KIND_MOVES | NO_ZEROES, 1, 512, 640), .format = "qcow",
      .base_bytes = 30720 },
    { KIND("moves-v2-4k", KIND_MOVES | NO_ZEROES, 2, 4 * KIB, 1536),
      .base_bytes = 307200 },
    { KIND("moves-extended", KIND_MOVES, 3, 16 * KIB, 6 * KIB),
      .create_flags = EXTENDED, .base_bytes = 307200 },
    { KIND("prealloc-4k", 0, 3, 4 * KIB, 1536), .preallocation = METADATA },
    { KIND("prealloc-full-64k", 0, 3, 64 * KIB, 24 * KIB),
      .preallocation = FULL },
    { KIND("prealloc-v2-4k", NO_ZEROES, 2, 4 * KIB, 1536),
      .preallocation = METADATA },
    { KIND("snapshot-512", SNAPSHOT, 3, 512, 640),
      .recipe = SNAPSHOT_RECIPE("cluster_size=512", "40k", "5k") },
    { KIND("snapshot-4k", SNAPSHOT, 3, 4 * KIB, 1536),
      .recipe = SNAPSHOT_RECIPE("cluster_size=4k", "96k", "24k") },
    { KIND("snapshot-64k", SNAPSHOT, 3, 64 * KIB, 24 * KIB),
      .recipe = SNAPSHOT_RECIPE("cluster_size=64k", "1536k", "128k") },
    { KIND("snapshot-v2-4k", SNAPSHOT | NO_ZEROES, 2, 4 * KIB, 1536),
      .recipe = SNAPSHOT_RECIPE("cluster_size=4k,compat=0.10", "96k", "24k") },
    { KIND("snapshot-zeroes", SNAPSHOT, 3, 4 * KIB, 1536),
      .recipe = ZEROES_RECIPE },
    { KIND("snapshot-v2-short", SNAPSHOT | NO_ZEROES, 2, 4 * KIB, 1536),
      .recipe = SHORT_RECIPE },
    { KIND("snapshot-extended", SNAPSHOT, 3, 16 * KIB, 6 * KIB),
      .recipe =
          SNAPSHOT_RECIPE("cluster_size=16k,extended_l2=on", "384k", "40k") },
    { KIND("snapshot-lazy", SNAPSHOT, 3, 4 * KIB, 1536),
      .recipe =
          SNAPSHOT_RECIPE("cluster_size=4k,lazy_refcounts=on", "96k", "24k") },
    { KIND("snapshot-width-2", SNAPSHOT, 3, 4 * KIB, 1536),
      .recipe =
          SNAPSHOT_RECIPE("cluster_size=4k,refcount_bits=2", "96k", "24k") },
    { KIND("compressed-4k", 0, 3, 4 * KIB, 1536),
      .recipe = "qemu-img create -q -f qcow2 -o cluster_size=4k $I 96k && "
                "qemu-io -f qcow2 -c 'write -q -c -P 1 0 4k' "
                "-c 'write -q -c -P 2 4k 4k' -c 'write -q -c -P 3 8k 4k' "
                "-c 'write -q -c -P 4 12k 4k' -c 'write -q -c -P 5 32k 4k' "
                "$I" },
    { KIND("bitmap-512", BITMAPS, 3, 512, 640) },
    { KIND("bitmap-4k", BITMAPS, 3, 4 * KIB, 1536) },
    { KIND("bitmap-64k", BITMAPS, 3, 64 * KIB, 24 * KIB) },
    { KIND("bitmap-extended", BITMAPS, 3, 16 * KIB, 6 * KIB),
      .create_flags = EXTENDED },
    { KIND("bitmap-data", BITMAPS | DATA_FILE, 3, 4 * KIB, 1536) },
    { KIND("bitmap-luks", BITMAPS, 3, 4 * KIB, 1536), .encryption = LUKS },
    { KIND("bitmap-overlay", BITMAPS, 3, 4 * KIB, 1536), .base_bytes = 51000 },
    { KIND("bitmap-kept", BITMAPS, 3, 4 * KIB, 1536),
      .recipe = BITMAP_RECIPE("") },
    { KIND("bitmap-lazy", BITMAPS, 3, 4 * KIB, 1536),
      .recipe = BITMAP_RECIPE(",lazy_refcounts=on") },
    { KIND("bitmap-stale", BITMAPS, 3, 4 * KIB, 1536),
      .recipe =
          BITMAP_RECIPE("") " && printf '\\0' | "
                            "dd of=$I bs=1 seek=95 conv=notrunc status=none" },
};

const size_t image_kind_count = sizeof(image_kinds) / sizeof(image_kinds[0]);

const struct image_kind *image_kind_find(const char *name)
{
    for (size_t i = 0; i < image_kind_count; i++)
        if (strcmp(image_kinds[i].name, name) == 0)
            return &image_kinds[i];
    return NULL;
}

size_t image_kind_stores(const struct image_kind *kind)
{
    size_t stores = 1;

    stores += (kind->flags & KIND_DATA_FILE) != 0;
    stores += kind->base_bytes > 0;
    return stores;
}

void image_kind_base(const struct image_kind *kind, uint8_t *bytes)
{
    disk_pattern(0xba5e, 0, bytes, kind->base_bytes);
}

const char *image_kind_base_format(const struct image_kind *kind)
{
    return (kind->flags & KIND_BASE_QCOW2) != 0 ? "qcow2" : "raw";
}

/* The same in the first quarter, other bytes, the same, zeroes. */
void image_kind_second(const struct image_kind *kind, uint8_t *bytes)
{
    const uint64_t quarter = kind->base_bytes / 4;

    image_kind_base(kind, bytes);
    disk_pattern(0x5ec0, quarter, bytes + quarter, quarter + 700);
    memset(bytes + 3 * quarter, 0, (size_t)(kind->base_bytes - 3 * quarter));
}

static int fill_base_image(const struct image_kind *kind, struct byre *img,
                           struct byre_error *err)
{
    const size_t cluster = (size_t)kind->cluster_bytes * 2;
    uint8_t *bytes = memory_new((size_t)kind->base_bytes);
    int r = BYRE_OK;

    image_kind_base(kind, bytes);
    for (size_t at = 0; at < kind->base_bytes && r == BYRE_OK; at += cluster) {
        const bool whole = at + cluster <= kind->base_bytes;

        r = byre_write(
            img, at, bytes + at,
            whole ? cluster : (size_t)kind->base_bytes - at,
            whole && at / cluster % 3 == 1 ? BYRE_WRITE_COMPRESSED : 0, err);
    }
    free(bytes);
    return r;
}

static int make_base_image(const struct image_kind *kind,
                           struct byre_store *store, struct byre_error *err)
{
    struct byre_create_options create = BYRE_CREATE_OPTIONS_INIT;
    struct byre_open_options open = BYRE_OPEN_OPTIONS_INIT;
    struct byre *img = NULL;
    int r, closed;

    create.virtual_size_bytes = kind->base_bytes;
    create.cluster_size_bytes = kind->cluster_bytes * 2;
    r = byre_create_store(store, &create, err);
    open.flags = BYRE_OPEN_WRITE;
    open.format = "qcow2";
    if (r == BYRE_OK)
        r = byre_open_store(store, NULL, &open, &img, err);
    if (r == BYRE_OK)
        r = fill_base_image(kind, img, err);
    closed = byre_close(img, r < 0 ? NULL : err);
    return r < 0 ? r : closed;
}

int image_kind_base_file(const struct image_kind *kind, uint8_t **ret_bytes,
                         size_t *ret_length, struct byre_error *err)
{
    struct byre_store *store = NULL;
    uint64_t length = kind->base_bytes;
    int r = BYRE_OK;

    if ((kind->flags & KIND_BASE_QCOW2) == 0) {
        *ret_bytes = memory_new((size_t)length);
        image_kind_base(kind, *ret_bytes);
        *ret_length = (size_t)length;
        return BYRE_OK;
    }
    r = byre_store_new_memory(NULL, 0, &store, err);
    if (r == BYRE_OK)
        r = make_base_image(kind, store, err);
    if (r == BYRE_OK)
        r = store_get_size(store, &length, err);
    if (r == BYRE_OK) {
        *ret_bytes = memory_new((size_t)length);
        *ret_length = (size_t)length;
        r = store_read(store, 0, *ret_bytes, (size_t)length, err);
    }
    byre_store_unref(store);
    return r;
}

/* ---- Creating ---- */

#define V1_NAME IMAGE_BASE_NAME

/* An overlay with clusters that QEMU makes none of. */
static int create_v1_by_hand(const struct image_kind *kind,
                             struct byre_store *store, struct byre_error *err)
{
    uint8_t bytes[512] = { 'Q', 'F', 'I', 0xfb };

    bytes[7] = 1;
    be64_put(bytes + 8, 48);
    be32_put(bytes + 16, sizeof(V1_NAME) - 1);
    be64_put(bytes + 24, image_kind_disk(kind));
    bytes[32] = 12;
    bytes[33] = 6;
    be64_put(bytes + 40, 56);
    for (size_t i = 0; i < sizeof(V1_NAME) - 1; i++)
        bytes[48 + i] = (uint8_t)V1_NAME[i];
    if (store_write(store, 0, bytes, sizeof(bytes), err) < 0)
        return -1;
    return store_flush(store, err);
}

int image_create(const struct image_kind *kind,
                 struct byre_store *const *stores, struct byre_error *err)
{
    struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;

    if ((kind->flags & KIND_HAND_V1) != 0)
        return create_v1_by_hand(kind, stores[0], err);
    opts.flags = kind->create_flags;
    opts.format = kind->format;
    opts.virtual_size_bytes = image_kind_disk(kind);
    opts.preallocation = kind->preallocation;
    opts.encryption = kind->encryption;
    if (kind->version > 1) {
        opts.version = kind->version;
        opts.cluster_size_bytes = kind->cluster_bytes;
        opts.refcount_bits = kind->refcount_bits;
        opts.compression_type = kind->compression_type;
    }
    if (kind->encryption != BYRE_ENCRYPTION_NONE) {
        opts.passphrase = IMAGE_PASSPHRASE;
        opts.passphrase_bytes = sizeof(IMAGE_PASSPHRASE) - 1;
    }
    if (kind->encryption == BYRE_ENCRYPTION_LUKS) {
        opts.iter_time_msec = 1;
        opts.cipher_alg = kind->cipher_alg;
        opts.cipher_mode = kind->cipher_mode;
        opts.seed = 1;
    }
    if (kind->base_bytes > 0) {
        opts.flags |= BYRE_CREATE_BACKING_UNCHECKED;
        opts.backing_name = IMAGE_BASE_NAME;
        opts.backing_format = image_kind_base_format(kind);
    }
    if ((kind->flags & KIND_DATA_FILE) != 0) {
        opts.data_file = "data.raw";
        opts.data_store = stores[1];
    }
    return byre_create_store(stores[0], &opts, err);
}

/* ---- Opening ---- */

static int get_secret(void *user, const char *secret_id, const char *image_name,
                      void *buf, size_t capacity, size_t *ret_length,
                      struct byre_error *err)
{
    const size_t length = sizeof(IMAGE_PASSPHRASE) - 1;

    (void)user, (void)secret_id, (void)image_name, (void)err;
    if (capacity < length)
        return BYRE_E_LIMIT;
    for (size_t i = 0; i < length; i++)
        ((uint8_t *)buf)[i] = (uint8_t)IMAGE_PASSPHRASE[i];
    *ret_length = length;
    return BYRE_OK;
}

static int open_base(const struct image_kind *kind,
                     struct byre_store *const *stores, struct byre **ret_base,
                     struct byre_error *err)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;

    opts.format = image_kind_base_format(kind);
    return byre_open_store(stores[image_kind_stores(kind) - 1], "base", &opts,
                           ret_base, err);
}

static int open_second(const struct image_kind *kind, struct byre **ret_second,
                       struct byre_error *err)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    uint8_t *bytes = memory_new((size_t)kind->base_bytes);
    struct byre_store *store = NULL;
    int r;

    image_kind_second(kind, bytes);
    opts.format = "raw";
    r = byre_store_new_memory(bytes, (size_t)kind->base_bytes, &store, err);
    if (r == BYRE_OK)
        r = byre_open_store(store, "second", &opts, ret_second, err);
    byre_store_unref(store);
    free(bytes);
    return r;
}

/* What the image records that it stands on. */
static int choose_base(const struct image_kind *kind, struct byre_store *store,
                       const struct image *image, struct byre **ret_base,
                       struct byre_error *err)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre_info info = BYRE_INFO_INIT;
    struct byre *described;
    int r;

    *ret_base = image->base;
    if ((kind->flags & KIND_MOVES) == 0)
        return BYRE_OK;
    opts.flags = BYRE_OPEN_METADATA_ONLY;
    opts.format = kind->format != NULL ? kind->format : "qcow2";
    r = byre_open_store(store, "image", &opts, &described, err);
    if (r < 0)
        return r;
    byre_get_info(described, &info, NULL);
    if (info.backing_name == NULL)
        *ret_base = NULL;
    else if (strcmp(info.backing_name, IMAGE_SECOND_NAME) == 0)
        *ret_base = image->second;
    byre_close(described, NULL);
    return BYRE_OK;
}

static int open_bases(const struct image_kind *kind,
                      struct byre_store *const *stores, struct image *image,
                      struct byre_error *err)
{
    int r = BYRE_OK;

    if (kind->base_bytes > 0)
        r = open_base(kind, stores, &image->base, err);
    if (r == BYRE_OK && (kind->flags & KIND_MOVES) != 0)
        r = open_second(kind, &image->second, err);
    return r;
}

int image_open(const struct image_kind *kind, struct byre_store *const *stores,
               const struct image_options *options, struct image *ret_image,
               struct byre_error *err)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct image image = { .disk = NULL };
    int r;

    r = open_bases(kind, stores, &image, err);
    if (r == BYRE_OK)
        r = choose_base(kind, stores[0], &image, &opts.backing, err);
    if (r < 0) {
        image_close(&image, NULL);
        return r;
    }

    opts.flags = options->flags;
    opts.format = kind->format != NULL ? kind->format : "qcow2";
    opts.snapshot = options->snapshot;
    opts.get_secret = get_secret;
    opts.table_cache_bytes = options->cache_bytes;
    opts.refcount_cache_bytes = options->cache_bytes;
    if ((kind->flags & KIND_DATA_FILE) != 0)
        opts.data_store = stores[1];
    r = byre_open_store(stores[0], "image", &opts, &image.disk, err);
    if (r < 0) {
        image_close(&image, NULL);
        return r;
    }
    *ret_image = image;
    return BYRE_OK;
}

int image_close(struct image *image, struct byre_error *err)
{
    const int r = byre_close(image->disk, err);

    byre_close(image->base, NULL);
    byre_close(image->second, NULL);
    *image = (struct image){ .disk = NULL };
    return r;
}
