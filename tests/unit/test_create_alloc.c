/* SPDX-License-Identifier: MIT */
/*
 * Without this test, memory that runs out while an image is made could crash,
 * leak, or leave half of it.
 */
#include <unistd.h>

#include "alloc_fault.h"
#include "create_cases.h"

#define DISK_BYTES (UINT64_C(1) << 20)

/* One run with the n-th allocation failing; whether there was one. */
static bool run(const struct byre_create_options *opts, uint64_t nth)
{
    struct byre_store *store = new_memory("old", 3);
    struct byre_error err = { .message = "" };
    uint64_t disk_bytes, mapped;
    bool failed;
    int r;

    alloc_fault_arm(nth);
    r = byre_create_store(store, opts, &err);
    failed = alloc_fault_disarm();
    if (r < 0) {
        assert_true(failed);
        assert_int_equal(r, BYRE_E_NOMEM);
        assert_int_equal(err.code, r);
        assert_false(has_magic(store));
    } else {
        assert_int_equal(count_image(store, &disk_bytes, &mapped, NULL),
                         BYRE_OK);
        assert_int_equal(disk_bytes, DISK_BYTES);
    }
    byre_store_unref(store);
    return failed;
}

static void fail_each(const struct byre_create_options *opts, uint64_t least)
{
    uint64_t nth = 1;

    while (run(opts, nth))
        nth++;
    assert_true(nth > least);
}

static void test_store(void **state)
{
    struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;

    (void)state;
    opts.virtual_size_bytes = DISK_BYTES;
    opts.preallocation = BYRE_PREALLOCATION_METADATA;
    fail_each(&opts, 3);

    opts.data_store = new_memory(NULL, 0);
    fail_each(&opts, 4);
    byre_store_unref(opts.data_store);
}

/* Looking at the backing file opens an image. */
static void test_backing(void **state)
{
    struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;
    char name[] = "/tmp/byre-create-XXXXXX";
    const int fd = mkstemp(name);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)DISK_BYTES), 0);
    close(fd);
    opts.virtual_size_bytes = BYRE_NO_OFFSET;
    opts.backing_name = name;
    opts.backing_format = "raw";
    fail_each(&opts, 8);
    unlink(name);
}

static void test_encrypted(void **state)
{
    struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;

    (void)state;
    if (strstr(byre_features(), "crypto") == NULL)
        skip();
    opts.virtual_size_bytes = DISK_BYTES;
    opts.encryption = BYRE_ENCRYPTION_LUKS;
    opts.passphrase = "secret";
    opts.passphrase_bytes = 6;
    opts.seed = 1;
    fail_each(&opts, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store),
        cmocka_unit_test(test_backing),
        cmocka_unit_test(test_encrypted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
