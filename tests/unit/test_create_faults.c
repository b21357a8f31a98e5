/* SPDX-License-Identifier: MIT */
/*
 * Without this test, a full disk, a failing flush or a power cut could leave
 * half an image that opens.
 */
#include "create_cases.h"
#include "store/fault.h"
#include "store/recorder.h"

#define KIB UINT64_C(1024)

/* What is made, over an older image of one cluster. */
struct kind {
    const char *name;
    const char *format;
    uint32_t flags;
    uint32_t preallocation;
    uint32_t encryption;
    uint64_t cluster_bytes;
    bool data;
    bool overlay; /* its header reaches into the second sector */
};

#define BACKING_NAME "a folder/and a file that this image stands on.qcow2"

static const struct kind kinds[] = {
    { .name = "plain", .format = "qcow2" },
    { .name = "tables", .format = "qcow2", .preallocation = 1 },
    { .name = "full", .format = "qcow2", .preallocation = 3 },
    { .name = "small clusters",
      .format = "qcow2",
      .preallocation = 1,
      .cluster_bytes = 512 },
    { .name = "extended",
      .format = "qcow2",
      .flags = BYRE_CREATE_EXTENDED_L2,
      .preallocation = 1 },
    { .name = "LUKS", .format = "qcow2", .encryption = BYRE_ENCRYPTION_LUKS },
    { .name = "data file", .format = "qcow2", .data = true },
    { .name = "raw data file",
      .format = "qcow2",
      .flags = BYRE_CREATE_DATA_FILE_RAW,
      .data = true },
    { .name = "overlay", .format = "qcow2", .overlay = true },
    { .name = "version 1", .format = "qcow" },
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

#define OLD_DISK_BYTES (64 * KIB)
#define NEW_DISK_BYTES (150 * KIB)

static bool can_make(const struct kind *kind)
{
    return kind->encryption == BYRE_ENCRYPTION_NONE ||
           strstr(byre_features(), "crypto") != NULL;
}

static int create_kind(const struct kind *kind, struct byre_store *store,
                       struct byre_store *data, struct byre_error *err)
{
    struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;

    opts.format = kind->format;
    opts.flags = kind->flags;
    opts.preallocation = kind->preallocation;
    opts.encryption = kind->encryption;
    opts.cluster_size_bytes = kind->cluster_bytes;
    opts.virtual_size_bytes = NEW_DISK_BYTES;
    opts.passphrase = "secret";
    opts.passphrase_bytes = 6;
    opts.seed = 1;
    if (kind->overlay) {
        opts.flags |= BYRE_CREATE_BACKING_UNCHECKED;
        opts.backing_name = BACKING_NAME;
        opts.backing_format = "qcow2";
    }
    if (kind->data)
        opts.data_store = data;
    return byre_create_store(store, &opts, err);
}

/* The bytes of the older image. */
static uint8_t *old_image(size_t *ret_length)
{
    struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;
    struct byre_store *store = new_memory(NULL, 0);
    uint64_t length = 0;
    uint8_t *bytes;

    opts.virtual_size_bytes = OLD_DISK_BYTES;
    opts.preallocation = BYRE_PREALLOCATION_FULL;
    assert_int_equal(byre_create_store(store, &opts, NULL), BYRE_OK);
    store_get_size(store, &length, NULL);
    bytes = malloc(length);
    store_read(store, 0, bytes, (size_t)length, NULL);
    byre_store_unref(store);
    *ret_length = (size_t)length;
    return bytes;
}

/* ---- Failing calls ---- */

/* One run with one fault; whether it was met. */
static bool run_with_fault(const struct kind *kind, enum fault_kind what,
                           const struct fault *fault, const uint8_t *old,
                           size_t old_length)
{
    struct byre_store *base = new_memory(old, old_length);
    struct byre_store *base_data = new_memory("old", 3);
    struct byre_store *store = NULL, *data = NULL;
    struct byre_error err = { .message = "" };
    struct faults faults;
    bool met;
    int r;

    faults_init(&faults);
    assert_int_equal(fault_store_new(base, &faults, &store, NULL), BYRE_OK);
    assert_int_equal(fault_store_new(base_data, &faults, &data, NULL), BYRE_OK);
    faults_set(&faults, what, fault);
    r = create_kind(kind, store, data, &err);
    met = faults_failed(&faults) > 0;
    if (met && r == BYRE_OK)
        flunk("%s: the fault was passed over", kind->name);
    if (!met && r < 0)
        flunk("%s: %s", kind->name, err.message);
    if (met) {
        /* The old image is whole where nothing of it was touched yet. */
        uint64_t disk_bytes = OLD_DISK_BYTES, mapped;

        assert_int_equal(err.code, r);
        assert_string_not_equal(err.message, "");
        if (has_magic(base) &&
            (count_image(base, &disk_bytes, &mapped, &err) < 0 ||
             disk_bytes != OLD_DISK_BYTES))
            flunk("%s: half an image is left (call %llu)", kind->name,
                  (unsigned long long)fault->nth);
    }
    byre_store_unref(store);
    byre_store_unref(data);
    byre_store_unref(base);
    byre_store_unref(base_data);
    return met;
}

static void test_every_failing_call(void **state)
{
    static const enum fault_kind whats[] = { FAULT_WRITE, FAULT_FLUSH,
                                             FAULT_RESIZE, FAULT_GET_SIZE,
                                             FAULT_ANY };
    size_t old_length;
    uint8_t *old = old_image(&old_length);
    unsigned runs = 0;

    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        for (size_t w = 0; w < 5 && can_make(&kinds[k]); w++) {
            struct fault fault = { .nth = 1, .sys_errno = 28 };

            while (
                run_with_fault(&kinds[k], whats[w], &fault, old, old_length)) {
                fault.nth++;
                runs++;
            }
        }
    }
    assert_true(runs > 9 * KINDS);
    free(old);
}

/* The write that makes it an image must not do so by half. */
static void test_every_torn_write(void **state)
{
    size_t old_length;
    uint8_t *old = old_image(&old_length);

    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        for (uint64_t sectors = 1; sectors < 4 && can_make(&kinds[k]);
             sectors++) {
            struct fault fault = { .nth = 1, .sectors_landed = sectors };

            while (
                run_with_fault(&kinds[k], FAULT_WRITE, &fault, old, old_length))
                fault.nth++;
        }
    }
    free(old);
}

/* A disk that is full stays so. */
static void test_full_disk(void **state)
{
    size_t old_length;
    uint8_t *old = old_image(&old_length);

    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        struct fault fault = { .nth = 1,
                               .flags = FAULT_PERSISTS,
                               .sys_errno = 28 };

        while (can_make(&kinds[k]) &&
               run_with_fault(&kinds[k], FAULT_WRITE, &fault, old, old_length))
            fault.nth++;
    }
    free(old);
}

/* ---- Power cuts ---- */

struct seen {
    const struct kind *kind;
    bool finished; /* the call had returned */
    unsigned old, new, none;
};

/* The name lies behind the first sector. */
static int judge_name(struct byre_store *store, struct byre_error *err)
{
    struct byre_open_options open = BYRE_OPEN_OPTIONS_INIT;
    struct byre_info info = BYRE_INFO_INIT;
    struct byre *img = NULL;
    int r;

    open.flags = BYRE_OPEN_METADATA_ONLY;
    r = byre_open_store(store, "new", &open, &img, err);
    if (r == BYRE_OK)
        r = byre_get_info(img, &info, err);
    if (r == BYRE_OK && (info.backing_name == NULL ||
                         strcmp(info.backing_name, BACKING_NAME) != 0))
        r = fail(err, BYRE_E_CORRUPT, "the backing name is torn");
    byre_close(img, NULL);
    return r;
}

/* Version 1 has no counts to check: all of it must be there, and zero. */
static int judge_version_1(struct byre_store *store, struct byre_error *err)
{
    uint8_t *buf = malloc(NEW_DISK_BYTES);
    struct byre *img = NULL;
    int r;

    r = byre_open_store(store, "new", NULL, &img, err);
    if (r == BYRE_OK)
        r = byre_read(img, 0, buf, NEW_DISK_BYTES, err);
    for (size_t i = 0; r == BYRE_OK && i < NEW_DISK_BYTES; i++) {
        if (buf[i] != 0)
            r = fail(err, BYRE_E_CORRUPT, "byte %zu is not zero", i);
    }
    byre_close(img, NULL);
    free(buf);
    return r;
}

static int judge(void *user, const struct crash_point *point,
                 struct byre_store *const *stores, struct byre_error *err)
{
    struct seen *seen = user;
    uint64_t disk_bytes = NEW_DISK_BYTES, mapped;
    uint8_t start[8];
    int r;

    (void)point;
    if (!has_magic(stores[0])) {
        seen->none++;
        return seen->finished ? fail(err, BYRE_E_CORRUPT, "it is gone")
                              : BYRE_OK;
    }
    store_read(stores[0], 0, start, sizeof(start), NULL);
    r = be32_get(start + 4) == 1
            ? judge_version_1(stores[0], err)
            : count_image(stores[0], &disk_bytes, &mapped, err);
    if (r == BYRE_OK && seen->kind->overlay && disk_bytes == NEW_DISK_BYTES)
        r = judge_name(stores[0], err);
    if (r < 0)
        return r;
    if (disk_bytes == OLD_DISK_BYTES)
        seen->old++;
    else
        seen->new ++;
    if (seen->finished && disk_bytes != NEW_DISK_BYTES)
        return fail(err, BYRE_E_CORRUPT, "the old image is back");
    return BYRE_OK;
}

static void replay(struct record_log *log, const struct crash_limits *limits,
                   struct seen *seen)
{
    struct byre_error err = { .message = "" };

    if (crash_replay(log, limits, 1, judge, seen, NULL, &err) < 0)
        flunk("%s: %s", seen->kind->name, err.message);
}

static void check_power_cuts(const struct kind *kind, const uint8_t *old,
                             size_t old_length)
{
    struct seen seen = { .kind = kind };
    struct byre_store *store = NULL, *data = NULL;
    struct record_log *log = NULL;
    struct crash_limits limits = { .states_per_cut = 40 };

    assert_int_equal(record_log_new(&log, NULL), BYRE_OK);
    assert_int_equal(recorder_store_new(log, old, old_length, &store, NULL),
                     BYRE_OK);
    assert_int_equal(recorder_store_new(log, "old", 3, &data, NULL), BYRE_OK);
    assert_int_equal(create_kind(kind, store, data, NULL), BYRE_OK);

    replay(log, &limits, &seen);
    assert_true(seen.old > 0);
    assert_true(seen.none > 0);
    assert_true(seen.new > 0);

    seen.finished = true;
    limits.first_cut = record_log_length(log);
    replay(log, &limits, &seen);
    byre_store_unref(store);
    byre_store_unref(data);
    record_log_free(log);
}

static void test_every_power_cut(void **state)
{
    size_t old_length;
    uint8_t *old = old_image(&old_length);

    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        if (can_make(&kinds[k]))
            check_power_cuts(&kinds[k], old, old_length);
    }
    free(old);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_failing_call),
        cmocka_unit_test(test_every_torn_write),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_every_power_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
