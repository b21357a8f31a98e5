/* SPDX-License-Identifier: MIT */
/*
 * Without this test, a new image could leak or count its clusters wrongly, read
 * as something else than zeroes, be half-made after a failure or a power cut,
 * or be made of options that contradict each other.
 */
#include "create_cases.h"
#include "store/fault.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)

#define SECRET_DEFAULTS .passphrase = "secret", .passphrase_bytes = 6, .seed = 1

static struct byre_create_options options(void)
{
    struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;

    return opts;
}

static bool has_crypto(void)
{
    return strstr(byre_features(), "crypto") != NULL;
}

static void create(struct byre_store *store,
                   const struct byre_create_options *opts)
{
    struct byre_error err = { .message = "" };

    if (byre_create_store(store, opts, &err) < 0)
        flunk("%s", err.message);
}

static void assert_reads_zero(struct byre_store *store,
                              const struct byre_create_options *opts)
{
    struct byre_open_options open = BYRE_OPEN_OPTIONS_INIT;
    const size_t length = (size_t)opts->virtual_size_bytes;
    struct byre_error err = { .message = "" };
    uint8_t *buf = malloc(length + 1);
    struct byre *img = NULL;

    open.format = opts->format;
    open.data_store = opts->data_store;
    if (byre_open_store(store, "new", &open, &img, &err) < 0)
        flunk("%s", err.message);
    memset(buf, 0xee, length + 1);
    if (byre_read(img, 0, buf, length, &err) < 0)
        flunk("%s", err.message);
    for (size_t i = 0; i < length; i++)
        assert_int_equal(buf[i], 0);
    assert_int_equal(buf[length], 0xee);
    free(buf);
    assert_int_equal(byre_close(img, NULL), BYRE_OK);
}

/* ---- A matrix of images ---- */

static void check_made(const struct byre_create_options *opts,
                       struct byre_store *store)
{
    const uint64_t guest =
        div_round_up(opts->virtual_size_bytes, opts->cluster_size_bytes);
    const bool mapped = opts->preallocation != BYRE_PREALLOCATION_OFF;
    struct byre_error err = { .message = "" };
    uint64_t disk_bytes, mapped_clusters;

    create(store, opts);
    if (count_image(store, &disk_bytes, &mapped_clusters, &err) < 0)
        flunk("cluster %llu, refcount %u, size %llu: %s",
              (unsigned long long)opts->cluster_size_bytes, opts->refcount_bits,
              (unsigned long long)opts->virtual_size_bytes, err.message);
    assert_int_equal(disk_bytes, opts->virtual_size_bytes);
    assert_int_equal(mapped_clusters, mapped ? guest : 0);
    assert_reads_zero(store, opts);
}

static void check_sizes(struct byre_create_options *opts)
{
    const uint64_t cluster = opts->cluster_size_bytes;
    const uint64_t sizes[] = { 0,       512,           cluster - 512,
                               cluster, cluster + 512, 5 * cluster / 2 };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct byre_store *store = new_memory("old content", 11);

        opts->virtual_size_bytes = sizes[i] / 512 * 512;
        check_made(opts, store);
        byre_store_unref(store);
    }
}

static void test_matrix(void **state)
{
    static const uint64_t clusters[] = { 512, 4 * KIB, 16 * KIB, 64 * KIB,
                                         2 * MIB };

    (void)state;
    for (size_t c = 0; c < 5; c++) {
        for (uint32_t bits = 1; bits <= 64; bits *= 2) {
            for (unsigned way = 0; way < 8; way++) {
                struct byre_create_options opts = options();

                if (clusters[c] == 2 * MIB && bits % 16 != 0)
                    continue;
                opts.cluster_size_bytes = clusters[c];
                opts.refcount_bits = bits;
                opts.preallocation = way % 4;
                if (way / 4 != 0 && clusters[c] >= 16 * KIB)
                    opts.flags = BYRE_CREATE_EXTENDED_L2;
                else if (way / 4 != 0 && bits == 16)
                    opts.version = 2;
                check_sizes(&opts);
            }
        }
    }
}

/* Several L2 tables, blocks and clusters of refcount table. */
static void test_many_tables(void **state)
{
    struct byre_create_options opts = options();
    struct byre_store *store = new_memory(NULL, 0);

    (void)state;
    opts.cluster_size_bytes = 512;
    opts.refcount_bits = 64;
    opts.preallocation = BYRE_PREALLOCATION_METADATA;
    opts.virtual_size_bytes = 8 * MIB + 512;
    check_made(&opts, store);
    byre_store_unref(store);
}

static void test_encrypted(void **state)
{
    (void)state;
    if (!has_crypto())
        skip();
    for (unsigned way = 0; way < 8; way++) {
        struct byre_create_options opts = {
            .size = sizeof(opts),
            .cluster_size_bytes = way % 2 != 0 ? 64 * KIB : 512,
            .virtual_size_bytes = 100 * KIB,
            .encryption = BYRE_ENCRYPTION_LUKS,
            .preallocation = way / 2 % 2 != 0 ? BYRE_PREALLOCATION_METADATA
                                              : BYRE_PREALLOCATION_OFF,
            SECRET_DEFAULTS,
        };
        struct byre_store *store = new_memory(NULL, 0);
        struct byre_error err = { .message = "" };
        uint64_t disk_bytes, mapped;

        opts.version = way / 4 != 0 && opts.preallocation == 0 ? 2 : 3;
        create(store, &opts);
        if (count_image(store, &disk_bytes, &mapped, &err) < 0)
            flunk("%s", err.message);
        byre_store_unref(store);
    }
}

static int give_secret(void *user, const char *secret_id,
                       const char *image_name, void *buf, size_t capacity,
                       size_t *ret_length, struct byre_error *err)
{
    (void)user, (void)secret_id, (void)image_name, (void)capacity, (void)err;
    memcpy(buf, "secret", 6);
    *ret_length = 6;
    return BYRE_OK;
}

/* Space that is only reserved holds no zeroes of an encrypted disk. */
static void test_encrypted_and_preallocated_reads_zero(void **state)
{
    (void)state;
    if (!has_crypto())
        skip();
    for (unsigned way = 0; way < 12; way++) {
        struct byre_create_options opts = {
            .size = sizeof(opts),
            .virtual_size_bytes = 200 * KIB,
            .encryption =
                way % 2 != 0 ? BYRE_ENCRYPTION_LUKS : BYRE_ENCRYPTION_AES,
            .preallocation = 1 + way / 4,
            .flags = way / 2 % 2 != 0 ? BYRE_CREATE_EXTENDED_L2 : 0,
            SECRET_DEFAULTS,
        };
        struct byre_open_options open = BYRE_OPEN_OPTIONS_INIT;
        struct byre_store *store = new_memory(NULL, 0);
        struct byre *img = NULL;
        uint8_t buf[200 * 1024];

        create(store, &opts);
        open.get_secret = give_secret;
        assert_int_equal(byre_open_store(store, "new", &open, &img, NULL),
                         BYRE_OK);
        memset(buf, 0xee, sizeof(buf));
        assert_int_equal(byre_read(img, 0, buf, sizeof(buf), NULL), BYRE_OK);
        for (size_t i = 0; i < sizeof(buf); i++)
            assert_int_equal(buf[i], 0);
        byre_close(img, NULL);
        byre_store_unref(store);
    }
}

static void test_seed_repeats(void **state)
{
    struct byre_create_options opts = {
        .size = sizeof(opts),
        .virtual_size_bytes = MIB,
        .encryption = BYRE_ENCRYPTION_LUKS,
        SECRET_DEFAULTS,
    };
    struct byre_store *stores[3];
    uint8_t *bytes[3];

    (void)state;
    if (!has_crypto())
        skip();
    for (unsigned i = 0; i < 3; i++) {
        stores[i] = new_memory(NULL, 0);
        bytes[i] = malloc(3 * MIB);
        opts.seed = i < 2 ? 7 : 8;
        create(stores[i], &opts);
        store_read(stores[i], 0, bytes[i], 3 * MIB, NULL);
    }
    assert_memory_equal(bytes[0], bytes[1], 3 * MIB);
    assert_int_not_equal(memcmp(bytes[0], bytes[2], 3 * MIB), 0);
    for (unsigned i = 0; i < 3; i++) {
        byre_store_unref(stores[i]);
        free(bytes[i]);
    }
}

/* ---- External data files ---- */

static void test_data_store(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 16; way++) {
        struct byre_create_options opts = options();
        struct byre_store *store = new_memory(NULL, 0);
        uint64_t disk_bytes, mapped, data_bytes;

        opts.data_store = new_memory("old", 3);
        opts.virtual_size_bytes = 200 * KIB;
        opts.preallocation = way % 4;
        if (way & 4)
            opts.flags |= BYRE_CREATE_EXTENDED_L2;
        if (way & 8)
            opts.flags |= BYRE_CREATE_DATA_FILE_RAW;
        create(store, &opts);
        assert_int_equal(count_image(store, &disk_bytes, &mapped, NULL),
                         BYRE_OK);
        /* Of a raw data file every cluster is mapped, whatever was asked. */
        assert_int_equal(mapped, way % 4 != 0 || (way & 8) ? 4 : 0);
        assert_int_equal(store_get_size(opts.data_store, &data_bytes, NULL),
                         BYRE_OK);
        assert_int_equal(data_bytes, 200 * KIB);
        assert_reads_zero(store, &opts);
        byre_store_unref(opts.data_store);
        byre_store_unref(store);
    }
}

/* What is kept is the disk where the file is raw, and else nobody's. */
static void test_kept_data_store(void **state)
{
    static uint8_t content[128 * 1024];

    (void)state;
    memset(content, 0x5a, sizeof(content));
    for (unsigned way = 0; way < 8; way++) {
        struct byre_create_options opts = options();
        struct byre_open_options open = BYRE_OPEN_OPTIONS_INIT;
        struct byre_store *store = new_memory(NULL, 0);
        const uint8_t want = way & 1 ? 0x5a : 0;
        struct byre *img = NULL;
        uint8_t buf[100 * 1024];

        opts.data_store = new_memory(content, sizeof(content));
        opts.virtual_size_bytes = sizeof(buf);
        opts.flags = BYRE_CREATE_KEEP_DATA_FILE |
                     (way & 1 ? BYRE_CREATE_DATA_FILE_RAW : 0u) |
                     (way & 2 ? BYRE_CREATE_EXTENDED_L2 : 0u);
        opts.preallocation = way & 4 ? BYRE_PREALLOCATION_METADATA : 0;
        create(store, &opts);
        open.data_store = opts.data_store;
        assert_int_equal(byre_open_store(store, "new", &open, &img, NULL),
                         BYRE_OK);
        assert_int_equal(byre_read(img, 0, buf, sizeof(buf), NULL), BYRE_OK);
        for (size_t i = 0; i < sizeof(buf); i++)
            assert_int_equal(buf[i], want);
        byre_close(img, NULL);

        opts.virtual_size_bytes = sizeof(content) + 512;
        assert_int_equal(byre_create_store(store, &opts, NULL), BYRE_E_INVALID);
        byre_store_unref(opts.data_store);
        byre_store_unref(store);
    }
}

/* ---- Stores that cannot be cut: a device ---- */

struct device {
    uint8_t *bytes;
    uint64_t length;
};

static int device_read(void *user, uint64_t offset, void *buf, size_t length,
                       struct byre_error *err)
{
    const struct device *device = user;
    const uint64_t end = min_u64(device->length, offset + length);

    (void)err;
    memset(buf, 0, length);
    if (offset < end)
        memcpy(buf, device->bytes + offset, (size_t)(end - offset));
    return BYRE_OK;
}

static int device_get_size(void *user, uint64_t *ret_size_bytes,
                           struct byre_error *err)
{
    (void)err;
    *ret_size_bytes = ((struct device *)user)->length;
    return BYRE_OK;
}

static int device_write(void *user, uint64_t offset, const void *buf,
                        size_t length, struct byre_error *err)
{
    const struct device *device = user;

    if (!range_within(offset, length, device->length))
        return fail(err, BYRE_E_IO, "past the end of the device");
    memcpy(device->bytes + offset, buf, length);
    return BYRE_OK;
}

static const struct byre_store_ops device_ops = {
    .size = sizeof(struct byre_store_ops),
    .read = device_read,
    .get_size = device_get_size,
    .write = device_write,
};

static void device_init(struct device *device, uint64_t length,
                        struct byre_store **ret_store)
{
    *device = (struct device){ malloc(length), length };
    memset(device->bytes, 0xaa, length);
    assert_int_equal(byre_store_new(&device_ops, device, ret_store, NULL),
                     BYRE_OK);
}

static void test_device(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 12; way++) {
        struct byre_create_options opts = options();
        struct byre_store *store;
        struct device device;

        device_init(&device, 3 * MIB, &store);
        opts.virtual_size_bytes = MIB;
        opts.cluster_size_bytes = 64 * KIB;
        opts.preallocation = way % 4;
        if (way / 4 == 1)
            opts.version = 2;
        if (way / 4 == 2)
            opts.flags = BYRE_CREATE_EXTENDED_L2;
        create(store, &opts);
        assert_reads_zero(store, &opts);
        byre_store_unref(store);
        free(device.bytes);
    }
}

static void test_device_as_data_file_and_raw(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 8; way++) {
        struct byre_create_options opts = options();
        struct byre_store *store = new_memory(NULL, 0);
        struct device device;

        device_init(&device, MIB, &opts.data_store);
        opts.virtual_size_bytes = MIB;
        opts.preallocation = way % 4;
        opts.flags = way / 4 != 0 ? BYRE_CREATE_DATA_FILE_RAW : 0;
        create(store, &opts);
        assert_reads_zero(store, &opts);

        memset(device.bytes, 0xaa, MIB);
        opts.format = "raw";
        opts.flags = 0;
        byre_store_unref(store);
        store = opts.data_store;
        opts.data_store = NULL;
        if (opts.preallocation != BYRE_PREALLOCATION_METADATA) {
            create(store, &opts);
            assert_reads_zero(store, &opts);
        }
        byre_store_unref(store);
        free(device.bytes);
    }
}

static void test_device_too_small(void **state)
{
    struct byre_create_options opts = options();
    struct byre_error err = { .message = "" };
    struct byre_store *store;
    struct device device;

    (void)state;
    device_init(&device, 100 * KIB, &store);
    be32_put(device.bytes, QCOW_MAGIC);
    opts.virtual_size_bytes = MIB;
    assert_int_equal(byre_create_store(store, &opts, &err), BYRE_E_IO);
    assert_non_null(strstr(err.message, "left empty"));
    assert_false(has_magic(store));
    byre_store_unref(store);
    free(device.bytes);
}

/* ---- Version 1 and raw ---- */

static void test_version_1_and_raw(void **state)
{
    static const char *const formats[] = { "qcow", "raw" };

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        for (uint64_t size = 512; size <= 8 * MIB; size = size * 4 + 512) {
            struct byre_create_options opts = options();
            struct byre_store *store = new_memory("old", 3);

            opts.format = formats[i];
            opts.virtual_size_bytes = size;
            create(store, &opts);
            assert_int_equal(has_magic(store), i == 0);
            assert_reads_zero(store, &opts);
            byre_store_unref(store);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matrix),
        cmocka_unit_test(test_many_tables),
        cmocka_unit_test(test_encrypted),
        cmocka_unit_test(test_encrypted_and_preallocated_reads_zero),
        cmocka_unit_test(test_seed_repeats),
        cmocka_unit_test(test_data_store),
        cmocka_unit_test(test_kept_data_store),
        cmocka_unit_test(test_device),
        cmocka_unit_test(test_device_as_data_file_and_raw),
        cmocka_unit_test(test_device_too_small),
        cmocka_unit_test(test_version_1_and_raw),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
