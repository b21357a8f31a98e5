/* SPDX-License-Identifier: MIT */
/*
 * Without these, a passphrase that was erased could still open an image, one
 * that was added not, or the last one be lost without anybody having said so.
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
#include "crypto/luks1.h"
#include "new_image.h"
#include "store/store.h"

#define DISK_BYTES 65536

/* ---- Images ---- */

static int get_secret(void *user, const char *secret_id, const char *name,
                      void *buf, size_t capacity, size_t *ret_length,
                      struct byre_error *err)
{
    const char *passphrase = user;

    (void)secret_id, (void)name, (void)err;
    assert_true(capacity >= strlen(passphrase));
    memcpy(buf, passphrase, strlen(passphrase));
    *ret_length = strlen(passphrase);
    return BYRE_OK;
}

static struct byre_store *make(uint32_t encryption)
{
    struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;
    struct byre_store *store = new_store();
    struct byre_error err = { 0 };

    opts.virtual_size_bytes = DISK_BYTES;
    opts.encryption = encryption;
    opts.passphrase = encryption != BYRE_ENCRYPTION_NONE ? "first" : NULL;
    opts.passphrase_bytes = encryption != BYRE_ENCRYPTION_NONE ? 5 : 0;
    if (encryption == BYRE_ENCRYPTION_LUKS) {
        opts.cipher_alg = "aes-128";
        opts.cipher_mode = "cbc";
        opts.seed = 1;
    }
    if (byre_create_store(store, &opts, &err) < 0)
        fail_msg("%s", err.message);
    return store;
}

static struct byre *try_open(struct byre_store *store, const char *passphrase,
                             uint32_t flags)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre *img = NULL;

    opts.flags = flags;
    opts.format = "qcow2";
    opts.get_secret = get_secret;
    opts.user = (void *)passphrase;
    byre_open_store(store, NULL, &opts, &img, NULL);
    return img;
}

static struct byre *must_open(struct byre_store *store, const char *passphrase)
{
    struct byre *img = try_open(store, passphrase, BYRE_OPEN_WRITE);

    assert_non_null(img);
    return img;
}

/* Which of the passphrases open the disk, which holds what was written. */
static void assert_opened_by(struct byre_store *store, const char *passphrases)
{
    static const char *const all[] = { "first", "second", "third" };

    for (size_t i = 0; i < 3; i++) {
        struct byre *img = try_open(store, all[i], 0);
        const bool wanted = strstr(passphrases, all[i]) != NULL;
        uint8_t byte = 0;

        if (wanted != (img != NULL))
            fail_msg("%s opens it: %d", all[i], img != NULL);
        if (img == NULL)
            continue;
        assert_int_equal(byre_read(img, 1000, &byte, 1, NULL), 0);
        assert_int_equal(byte, 0x5a);
        byre_close(img, NULL);
    }
}

static void fill(struct byre_store *store)
{
    uint8_t *bytes = malloc(DISK_BYTES);
    struct byre *img = must_open(store, "first");

    assert_non_null(bytes);
    memset(bytes, 0x5a, DISK_BYTES);
    assert_int_equal(byre_write(img, 0, bytes, DISK_BYTES, 0, NULL), 0);
    free(bytes);
    assert_int_equal(byre_close(img, NULL), 0);
}

/* ---- What is done to them ---- */

enum operation { ADD, ERASE, ERASE_BY };

/* One after the other, on one image. */
static const struct {
    const char *name;
    const char *open; /* the passphrase it is opened with */
    enum operation operation;
    uint32_t slot;
    const char *passphrase;
    uint32_t flags;
    int result;
    uint32_t active; /* slots, afterwards */
    const char *opened_by;
} steps[] = {
    { "the last slot", "first", ERASE, 0, NULL, 0, BYRE_E_POLICY, 0x01,
      "first" },
    { "by the last passphrase", "first", ERASE_BY, 0, "first", 0, BYRE_E_POLICY,
      0x01, "first" },
    { "the first free slot", "first", ADD, BYRE_KEY_ANY_SLOT, "second", 0, 0,
      0x03, "first second" },
    { "a slot in two sectors", "second", ADD, 6, "second", 0, 0, 0x43,
      "first second" },
    { "an occupied slot", "first", ADD, 6, "third", 0, BYRE_E_POLICY, 0x43,
      "first second" },
    { "an occupied slot by force", "first", ADD, 6, "third", BYRE_KEY_FORCE, 0,
      0x43, "first second third" },
    { "no slot", "first", ADD, 8, "third", 0, BYRE_E_INVALID, 0x43,
      "first second third" },
    { "no slot to erase", "first", ERASE, 8, NULL, BYRE_KEY_FORCE,
      BYRE_E_INVALID, 0x43, "first second third" },
    { "a free slot", "first", ERASE, 3, NULL, 0, BYRE_E_POLICY, 0x43,
      "first second third" },
    { "a free slot by force", "first", ERASE, 3, NULL, BYRE_KEY_FORCE, 0, 0x43,
      "first second third" },
    { "by an unknown passphrase", "first", ERASE_BY, 0, "fourth", 0,
      BYRE_E_SECRET, 0x43, "first second third" },
    { "no text", "first", ADD, BYRE_KEY_ANY_SLOT, "\xff", 0, BYRE_E_INVALID,
      0x43, "first second third" },
    { "the slot it was opened with", "first", ERASE, 0, NULL, 0, 0, 0x42,
      "second third" },
    { "again in the first slot", "third", ADD, BYRE_KEY_ANY_SLOT, "second", 0,
      0, 0x43, "second third" },
    { "all of one passphrase", "second", ERASE_BY, 0, "second", 0, 0, 0x40,
      "third" },
    { "the only one replaced", "third", ADD, 6, "first", BYRE_KEY_FORCE, 0,
      0x40, "first" },
    { "the last one by force", "first", ERASE, 6, NULL, BYRE_KEY_FORCE, 0, 0x00,
      "" },
};

static int run_step(struct byre *img, size_t i, struct byre_error *err)
{
    const char *passphrase = steps[i].passphrase;
    const size_t bytes = passphrase != NULL ? strlen(passphrase) : 0;

    if (steps[i].operation == ADD)
        return byre_key_add(img, steps[i].slot, passphrase, bytes, 1,
                            steps[i].flags, err);
    if (steps[i].operation == ERASE)
        return byre_key_erase(img, steps[i].slot, steps[i].flags, err);
    return byre_key_erase_passphrase(img, passphrase, bytes, steps[i].flags,
                                     err);
}

static uint32_t active_slots(struct byre *img)
{
    struct byre_luks_info info = BYRE_LUKS_INFO_INIT;
    uint32_t active = 0;

    assert_int_equal(byre_get_luks_info(img, &info, NULL), 0);
    for (unsigned i = 0; i < 8; i++)
        active |= info.slots[i].active << i;
    return active;
}

static void test_steps(void **state)
{
    struct byre_store *store = make(BYRE_ENCRYPTION_LUKS);

    (void)state;
    fill(store);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct byre *img = must_open(store, steps[i].open);
        struct byre_error err = { 0 };
        int r;

        active_slots(img); /* so that what is held must follow */
        r = run_step(img, i, &err);
        if (r != steps[i].result)
            fail_msg("%s: %d, %s", steps[i].name, r, err.message);
        if (active_slots(img) != steps[i].active)
            fail_msg("%s: slots 0x%x", steps[i].name, active_slots(img));
        assert_int_equal(byre_close(img, NULL), 0);
        assert_opened_by(store, steps[i].opened_by);
    }
    byre_store_unref(store);
}

static void test_full(void **state)
{
    struct byre_store *store = make(BYRE_ENCRYPTION_LUKS);
    struct byre *img = must_open(store, "first");
    int r = BYRE_OK;
    int added = 0;

    (void)state;
    while (r == BYRE_OK && added < 10) {
        r = byre_key_add(img, BYRE_KEY_ANY_SLOT, "second", 6, 1, 0, NULL);
        added += r == BYRE_OK;
    }
    assert_int_equal(added, 7);
    assert_int_equal(r, BYRE_E_LIMIT);
    /* With no slot to copy the old one to. */
    assert_int_equal(byre_key_add(img, 0, "third", 5, 1, BYRE_KEY_FORCE, NULL),
                     0);
    assert_int_equal(active_slots(img), 0xff);
    byre_close(img, NULL);
    assert_null(try_open(store, "first", 0));
    byre_store_unref(store);
}

/* ---- What an erased slot leaves ---- */

static void read_area(struct byre_store *store, uint64_t offset, uint8_t *buf,
                      size_t length)
{
    uint64_t size;

    assert_int_equal(store_get_size(store, &size, NULL), 0);
    assert_true(offset + length <= size);
    assert_int_equal(store_read(store, offset, buf, length, NULL), 0);
}

/* Where the LUKS area begins: its header is at the start of a cluster. */
static uint64_t find_area(struct byre_store *store)
{
    uint8_t magic[6];
    uint64_t at = 0;

    do {
        at += 65536;
        read_area(store, at, magic, sizeof(magic));
    } while (memcmp(magic, "LUKS\xba\xbe", 6) != 0);
    return at;
}

static void test_nothing_left(void **state)
{
    struct byre_store *store = make(BYRE_ENCRYPTION_LUKS);
    const uint64_t area = find_area(store);
    static uint8_t before[64000], after[64000];
    uint8_t slot[LUKS1_SLOT_BYTES];
    struct byre *img = must_open(store, "first");
    size_t same = 0;

    (void)state;
    assert_int_equal(byre_key_add(img, 1, "second", 6, 1, 0, NULL), 0);
    read_area(store, area + 4096, before, sizeof(before));
    assert_int_equal(byre_key_erase(img, 0, 0, NULL), 0);
    read_area(store, area + 4096, after, sizeof(after));
    for (size_t i = 0; i < sizeof(before); i++)
        same += before[i] == after[i];
    assert_in_range(same, 0, sizeof(before) / 64);

    /* Neither does its salt stay; its place and stripes do. */
    read_area(store, area + luks1_slot_offset(0), slot, sizeof(slot));
    for (size_t i = 4; i < 40; i++)
        assert_int_equal(slot[i], 0);
    assert_int_equal(slot[43], 8);
    assert_int_equal(slot[46] << 8 | slot[47], LUKS1_STRIPES);
    byre_close(img, NULL);
    byre_store_unref(store);
}

/* ---- Other images ---- */

static void assert_refused(struct byre *img, int result)
{
    assert_int_equal(byre_key_add(img, BYRE_KEY_ANY_SLOT, "x", 1, 1, 0, NULL),
                     result);
    assert_int_equal(byre_key_erase(img, 0, BYRE_KEY_FORCE, NULL), result);
    assert_int_equal(
        byre_key_erase_passphrase(img, "first", 5, BYRE_KEY_FORCE, NULL),
        result);
}

static void test_other_images(void **state)
{
    static const uint32_t encryptions[] = { BYRE_ENCRYPTION_NONE,
                                            BYRE_ENCRYPTION_AES };
    struct byre_store *store = make(BYRE_ENCRYPTION_LUKS);
    struct byre *img = try_open(store, "first", 0);

    (void)state;
    assert_non_null(img);
    assert_refused(img, BYRE_E_STATE);
    byre_close(img, NULL);
    byre_store_unref(store);
    for (size_t i = 0; i < 2; i++) {
        store = make(encryptions[i]);
        img = must_open(store, "first");
        assert_refused(img, BYRE_E_STATE);
        byre_close(img, NULL);
        byre_store_unref(store);
    }
    assert_refused(NULL, BYRE_E_INVALID);
}

static void test_unknown_flags(void **state)
{
    struct byre_store *store = make(BYRE_ENCRYPTION_LUKS);
    struct byre *img = must_open(store, "first");

    (void)state;
    assert_int_equal(byre_key_erase(img, 0, 1u << 30, NULL), BYRE_E_INVALID);
    assert_int_equal(byre_key_add(img, 1, NULL, 3, 1, 0, NULL), BYRE_E_INVALID);
    byre_close(img, NULL);
    assert_non_null(img = try_open(store, "first", 0));
    byre_close(img, NULL);
    byre_store_unref(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_nothing_left),
        cmocka_unit_test(test_other_images),
        cmocka_unit_test(test_unknown_flags),
    };

    if (strstr(byre_features(), "crypto") == NULL) {
        printf("1..0 # SKIP built without libcrypto\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
