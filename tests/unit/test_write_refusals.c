/* SPDX-License-Identifier: MIT */
/*
 * Without these, a call that is refused could have changed the image, or one
 * that must be refused be obeyed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "byre.h"
#include "store/store.h"

#define KIB           UINT64_C(1024)
#define MIB           (1024 * KIB)
#define CLUSTER_BYTES (64 * KIB)
#define SECRET        "secret"

static uint8_t pattern[MIB];

/* An image, the first half of whose disk is written. */
struct fixture {
    struct byre_store *store;
    struct byre_store *data; /* NULL: it has no data file */
    uint8_t *bytes;          /* of the store, before */
    size_t length;
    struct byre *img;
};

static int get_secret(void *user, const char *secret_id, const char *name,
                      void *buf, size_t capacity, size_t *ret_length,
                      struct byre_error *err)
{
    (void)user, (void)secret_id, (void)name, (void)err;
    assert_true(capacity >= strlen(SECRET));
    memcpy(buf, SECRET, strlen(SECRET));
    *ret_length = strlen(SECRET);
    return BYRE_OK;
}

static void open_fixture(struct fixture *f, uint32_t flags)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre_error err = { 0 };

    opts.flags = flags;
    opts.format = "qcow2";
    opts.data_store = f->data;
    opts.get_secret = get_secret;
    if (byre_open_store(f->store, NULL, &opts, &f->img, &err) < 0)
        fail_msg("%s", err.message);
}

static uint8_t *bytes_of(struct byre_store *store, size_t *ret_length)
{
    uint64_t length;
    uint8_t *bytes;

    assert_int_equal(store_get_size(store, &length, NULL), 0);
    bytes = malloc((size_t)length);
    assert_non_null(bytes);
    assert_int_equal(store_read(store, 0, bytes, (size_t)length, NULL), 0);
    *ret_length = (size_t)length;
    return bytes;
}

static void set_up(struct fixture *f, uint32_t encryption, bool has_data_file,
                   uint32_t open_flags)
{
    struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;

    *f = (struct fixture){ .data = NULL };
    assert_int_equal(byre_store_new_memory(NULL, 0, &f->store, NULL), 0);
    if (has_data_file)
        assert_int_equal(byre_store_new_memory(NULL, 0, &f->data, NULL), 0);
    opts.virtual_size_bytes = MIB;
    opts.data_store = f->data;
    opts.data_file = has_data_file ? "data" : NULL;
    if (encryption != BYRE_ENCRYPTION_NONE) {
        opts.encryption = encryption;
        opts.passphrase = SECRET;
        opts.passphrase_bytes = strlen(SECRET);
        opts.iter_time_msec = 10;
        opts.seed = 1;
    }
    assert_int_equal(byre_create_store(f->store, &opts, NULL), 0);

    open_fixture(f, BYRE_OPEN_WRITE);
    assert_int_equal(byre_write(f->img, 0, pattern, MIB / 2, 0, NULL), 0);
    assert_int_equal(byre_close(f->img, NULL), 0);
    f->bytes = bytes_of(f->store, &f->length);
    open_fixture(f, open_flags);
}

/* Closes it; neither the disk nor a byte of the file is another. */
static void tear_down(struct fixture *f)
{
    uint8_t *buf = malloc(MIB / 2), *bytes;
    size_t length;

    assert_non_null(buf);
    assert_int_equal(byre_read(f->img, 0, buf, MIB / 2, NULL), 0);
    assert_memory_equal(buf, pattern, MIB / 2);
    free(buf);
    assert_int_equal(byre_close(f->img, NULL), 0);
    bytes = bytes_of(f->store, &length);
    assert_int_equal(length, f->length);
    assert_memory_equal(bytes, f->bytes, length);
    free(bytes);
    free(f->bytes);
    byre_store_unref(f->store);
    byre_store_unref(f->data);
}

/* ---- The cases ---- */

static void reading_only_changes_nothing(void **state)
{
    const uint32_t off = BYRE_PREALLOCATION_OFF;
    struct fixture f;

    (void)state;
    set_up(&f, BYRE_ENCRYPTION_NONE, false, 0);
    assert_int_equal(byre_write(f.img, 0, pattern + 1, 512, 0, NULL),
                     BYRE_E_STATE);
    assert_int_equal(byre_zero(f.img, 0, 512, 0, NULL), BYRE_E_STATE);
    assert_int_equal(byre_discard(f.img, 0, CLUSTER_BYTES, 0, NULL),
                     BYRE_E_STATE);
    assert_int_equal(byre_flush(f.img, NULL), BYRE_E_STATE);
    assert_int_equal(byre_resize(f.img, 2 * MIB, 0, off, NULL), BYRE_E_STATE);
    assert_int_equal(byre_resize(f.img, 0, BYRE_RESIZE_SHRINK, off, NULL),
                     BYRE_E_STATE);
    tear_down(&f);
}

/* Not even the part of the range that there is. */
static void nothing_is_written_past_the_end(void **state)
{
    const uint64_t ranges[][2] = { { MIB - 1, 2 },
                                   { MIB, 1 },
                                   { MIB / 4, MIB },
                                   { UINT64_MAX, 2 },
                                   { UINT64_MAX - 511, 512 } };
    struct fixture f;

    (void)state;
    set_up(&f, BYRE_ENCRYPTION_NONE, false, BYRE_OPEN_WRITE);
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        const uint64_t at = ranges[i][0], n = ranges[i][1];

        assert_int_equal(byre_write(f.img, at, pattern, (size_t)n, 0, NULL),
                         BYRE_E_INVALID);
        assert_int_equal(byre_write(f.img, at, pattern, (size_t)n,
                                    BYRE_WRITE_COMPRESSED, NULL),
                         BYRE_E_INVALID);
        assert_int_equal(byre_zero(f.img, at, n, 0, NULL), BYRE_E_INVALID);
        assert_int_equal(byre_zero(f.img, at, n, BYRE_WRITE_MAY_UNMAP, NULL),
                         BYRE_E_INVALID);
        assert_int_equal(byre_discard(f.img, at, n, 0, NULL), BYRE_E_INVALID);
    }
    tear_down(&f);
}

static int write_compressed(struct fixture *f, uint64_t offset, size_t length)
{
    return byre_write(f->img, offset, pattern + 1, length,
                      BYRE_WRITE_COMPRESSED, NULL);
}

static void streams_are_for_whole_vacant_clusters(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f, BYRE_ENCRYPTION_NONE, false, BYRE_OPEN_WRITE);
    assert_int_equal(write_compressed(&f, MIB / 2 + 512, CLUSTER_BYTES),
                     BYRE_E_INVALID);
    assert_int_equal(write_compressed(&f, MIB / 2, CLUSTER_BYTES - 512),
                     BYRE_E_INVALID);
    assert_int_equal(write_compressed(&f, MIB / 2, CLUSTER_BYTES + 1),
                     BYRE_E_INVALID);
    assert_int_equal(write_compressed(&f, 0, CLUSTER_BYTES), BYRE_E_STATE);
    assert_int_equal(write_compressed(&f, MIB / 2 - CLUSTER_BYTES, MIB / 4),
                     BYRE_E_STATE);
    tear_down(&f);
}

static void a_data_file_takes_no_streams(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f, BYRE_ENCRYPTION_NONE, true, BYRE_OPEN_WRITE);
    assert_int_equal(write_compressed(&f, MIB / 2, CLUSTER_BYTES),
                     BYRE_E_UNSUPPORTED);
    tear_down(&f);
}

static void an_encrypted_image_takes_no_streams(void **state)
{
    struct fixture f;

    (void)state;
    if (strstr(byre_features(), "crypto") == NULL)
        skip();
    set_up(&f, BYRE_ENCRYPTION_LUKS, false, BYRE_OPEN_WRITE);
    assert_int_equal(write_compressed(&f, MIB / 2, CLUSTER_BYTES),
                     BYRE_E_UNSUPPORTED);
    tear_down(&f);
}

/* What an image stands on must not change under it. */
static void nothing_stands_on_a_writable_image(void **state)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre_store *store = NULL;
    struct byre *overlay = NULL;
    struct fixture f;

    (void)state;
    set_up(&f, BYRE_ENCRYPTION_NONE, false, BYRE_OPEN_WRITE);
    assert_int_equal(byre_store_new_memory(pattern, MIB, &store, NULL), 0);
    opts.format = "raw";
    opts.backing = f.img;
    assert_int_equal(byre_open_store(store, NULL, &opts, &overlay, NULL),
                     BYRE_E_STATE);
    assert_null(overlay);
    byre_store_unref(store);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading_only_changes_nothing),
        cmocka_unit_test(nothing_is_written_past_the_end),
        cmocka_unit_test(streams_are_for_whole_vacant_clusters),
        cmocka_unit_test(a_data_file_takes_no_streams),
        cmocka_unit_test(an_encrypted_image_takes_no_streams),
        cmocka_unit_test(nothing_stands_on_a_writable_image),
    };

    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = (uint8_t)(i % 251 + 1);
    return cmocka_run_group_tests_name("write refusals", tests, NULL, NULL);
}
