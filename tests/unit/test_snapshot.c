/* SPDX-License-Identifier: MIT */
/*
 * Without these, a snapshot could be another one than was asked for, be refused
 * with traces left, or lose what other programs have stored with it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "byre.h"
#include "format/snapshot.h"
#include "new_image.h"
#include "store/store.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

static const struct byre_snapshot_options plain = { .size = sizeof(plain) };

static struct byre *open_as(struct byre_store *store, uint32_t flags,
                            const char *snapshot)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre_error err = { 0 };
    struct byre *img = NULL;

    opts.flags = flags;
    opts.format = "qcow2";
    opts.snapshot = snapshot;
    if (byre_open_store(store, NULL, &opts, &img, &err) < 0)
        fail_msg("%s", err.message);
    return img;
}

static struct byre *open_new(struct byre_store **ret_store, uint32_t version,
                             uint32_t refcount_bits)
{
    struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;

    *ret_store = new_store();
    opts.virtual_size_bytes = 4 * MIB;
    opts.version = version;
    opts.refcount_bits = refcount_bits;
    assert_int_equal(byre_create_store(*ret_store, &opts, NULL), 0);
    return open_as(*ret_store, BYRE_OPEN_WRITE, NULL);
}

static void close_both(struct byre *img, struct byre_store *store)
{
    assert_int_equal(byre_close(img, NULL), 0);
    byre_store_unref(store);
}

static void put(struct byre *img, uint64_t offset, uint8_t value, size_t length)
{
    uint8_t *buf = malloc(length);

    assert_non_null(buf);
    memset(buf, value, length);
    assert_int_equal(byre_write(img, offset, buf, length, 0, NULL), 0);
    free(buf);
}

static uint8_t get(struct byre *img, uint64_t offset)
{
    uint8_t byte = 0;

    assert_int_equal(byre_read(img, offset, &byte, 1, NULL), 0);
    return byte;
}

static int take(struct byre *img, const char *name, const char *id)
{
    struct byre_snapshot_options opts = plain;

    opts.name = name;
    opts.id = id;
    return byre_snapshot_create(img, &opts, NULL);
}

/* "id=name" of all, with commas. */
static void assert_list(struct byre *img, const char *expected)
{
    const struct byre_snapshot *list;
    char text[400] = "";
    size_t count;

    assert_int_equal(byre_snapshot_list(img, &list, &count, NULL), 0);
    for (size_t i = 0; i < count; i++) {
        const size_t used = strlen(text);

        snprintf(text + used, sizeof(text) - used, "%s%s=%s", i > 0 ? "," : "",
                 list[i].id, list[i].name);
    }
    assert_string_equal(text, expected);
}

static void test_ids_and_names(void **state)
{
    struct byre_store *store;
    struct byre *img = open_new(&store, 3, 0);
    char name[300];

    (void)state;
    assert_int_equal(take(img, "a", NULL), 0);
    assert_int_equal(take(img, "", NULL), 0);
    assert_int_equal(take(img, "a", "17"), 0);
    assert_int_equal(take(img, "1", "x"), 0);
    assert_int_equal(take(img, "b", NULL), 0);
    assert_int_equal(take(img, "b", "17"), BYRE_E_INVALID);
    assert_list(img, "1=a,2=,17=a,x=1,18=b");

    memset(name, 'n', sizeof(name));
    name[256] = '\0';
    assert_int_equal(take(img, name, NULL), BYRE_E_LIMIT);
    assert_int_equal(take(img, "c", name), BYRE_E_LIMIT);
    name[255] = '\0';
    assert_int_equal(take(img, name, NULL), 0);
    close_both(img, store);
}

static void test_which_one(void **state)
{
    struct byre_store *store;
    struct byre *img = open_new(&store, 3, 0);
    const struct byre_snapshot_ref either = { .id_or_name = "2" };
    const struct byre_snapshot_ref name = { .name = "2" };
    const struct byre_snapshot_ref id = { .id = "2" };
    const struct byre_snapshot_ref both = { .id = "1", .name = "3" };
    const struct byre_snapshot_ref two[] = { { .name = "x" }, { .name = "x" } };
    const struct byre_snapshot_ref some[] = { { .id = "2" }, { .name = "y" } };

    (void)state;
    for (uint8_t i = 1; i <= 3; i++) {
        put(img, 0, i, 1);
        assert_int_equal(take(img, i == 1 ? "2" : "x", NULL), 0);
    }
    assert_list(img, "1=2,2=x,3=x");
    assert_int_equal(byre_snapshot_apply(img, &either, NULL), 0);
    assert_int_equal(get(img, 0), 2);
    assert_int_equal(byre_snapshot_apply(img, &name, NULL), 0);
    assert_int_equal(get(img, 0), 1);
    assert_int_equal(byre_snapshot_apply(img, &id, NULL), 0);
    assert_int_equal(get(img, 0), 2);
    assert_int_equal(byre_snapshot_apply(img, &both, NULL), BYRE_E_NOT_FOUND);
    assert_int_equal(get(img, 0), 2);

    assert_int_equal(byre_snapshot_delete(img, some, 2, NULL),
                     BYRE_E_NOT_FOUND);
    assert_list(img, "1=2,2=x,3=x"); /* all or none */
    assert_int_equal(byre_snapshot_delete(img, two, 2, NULL), 0);
    assert_list(img, "1=2");
    assert_int_equal(byre_snapshot_delete(img, &id, 1, NULL), BYRE_E_NOT_FOUND);
    assert_int_equal(byre_snapshot_delete(img, NULL, 0, NULL), 0);
    close_both(img, store);
}

static void test_arguments(void **state)
{
    struct byre_store *store;
    struct byre *img = open_new(&store, 3, 0), *reader;
    const struct byre_snapshot_ref none = { .name = NULL };
    const struct byre_snapshot_ref much = { .id_or_name = "a", .id = "b" };
    const struct byre_snapshot_ref a = { .name = "a" };

    (void)state;
    assert_int_equal(byre_snapshot_create(img, NULL, NULL), BYRE_E_INVALID);
    assert_int_equal(byre_snapshot_create(img, &plain, NULL), BYRE_E_INVALID);
    assert_int_equal(take(NULL, "a", NULL), BYRE_E_INVALID);
    assert_int_equal(byre_snapshot_apply(img, NULL, NULL), BYRE_E_INVALID);
    assert_int_equal(byre_snapshot_apply(img, &none, NULL), BYRE_E_INVALID);
    assert_int_equal(byre_snapshot_apply(img, &much, NULL), BYRE_E_INVALID);
    assert_int_equal(byre_snapshot_delete(img, NULL, 1, NULL), BYRE_E_INVALID);
    assert_int_equal(byre_vm_state_read(img, 0, NULL, 1, NULL), BYRE_E_INVALID);
    assert_int_equal(byre_vm_state_write(img, 0, NULL, 1, NULL),
                     BYRE_E_INVALID);
    assert_int_equal(byre_close(img, NULL), 0);

    reader = open_as(store, 0, NULL);
    assert_int_equal(take(reader, "a", NULL), BYRE_E_STATE);
    assert_int_equal(byre_snapshot_apply(reader, &a, NULL), BYRE_E_STATE);
    assert_int_equal(byre_snapshot_delete(reader, &a, 1, NULL), BYRE_E_STATE);
    assert_int_equal(byre_vm_state_write(reader, 0, "x", 1, NULL),
                     BYRE_E_STATE);
    close_both(reader, store);
}

/* ---- Images that cannot ---- */

static void refuse(struct byre_store *store, struct byre_store *data,
                   const char *format, int expected)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre *img;

    opts.flags = BYRE_OPEN_WRITE;
    opts.format = format;
    opts.data_store = data;
    assert_int_equal(byre_open_store(store, NULL, &opts, &img, NULL), 0);
    assert_int_equal(take(img, "a", NULL), expected);
    assert_int_equal(byre_vm_state_write(img, 0, "x", 1, NULL), expected);
    close_both(img, store);
}

static void test_formats(void **state)
{
    struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;
    struct byre_store *store, *data = new_store();

    (void)state;
    opts.virtual_size_bytes = MIB;
    store = new_store();
    opts.format = "raw";
    assert_int_equal(byre_create_store(store, &opts, NULL), 0);
    refuse(store, NULL, "raw", BYRE_E_UNSUPPORTED);
    store = new_store();
    opts.format = "qcow";
    assert_int_equal(byre_create_store(store, &opts, NULL), 0);
    refuse(store, NULL, "qcow", BYRE_E_UNSUPPORTED);
    store = new_store();
    opts.format = "qcow2";
    opts.data_file = "data";
    opts.data_store = data;
    assert_int_equal(byre_create_store(store, &opts, NULL), 0);
    refuse(store, data, "qcow2", BYRE_E_UNSUPPORTED);
    byre_store_unref(data);
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

/* Counts that are full are found out before anything is touched. */
static void test_width(void **state)
{
    static const struct {
        uint32_t bits;
        unsigned fit;
    } cases[] = { { 1, 0 }, { 2, 2 }, { 4, 14 }, { 8, 254 } };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct byre_store *store;
        struct byre *img = open_new(&store, 3, cases[i].bits);
        const struct byre_snapshot_ref first = { .id = "1" };
        uint8_t *before, *after;
        size_t length, length_after;

        put(img, MIB, 7, 100);
        for (unsigned n = 0; n < cases[i].fit; n++)
            assert_int_equal(take(img, "n", NULL), 0);
        assert_int_equal(byre_close(img, NULL), 0);
        img = open_as(store, BYRE_OPEN_WRITE, NULL);
        before = bytes_of(store, &length);
        assert_int_equal(take(img, "n", NULL), BYRE_E_LIMIT);
        assert_int_equal(byre_flush(img, NULL), 0);
        after = bytes_of(store, &length_after);
        assert_int_equal(length, length_after);
        assert_memory_equal(before, after, length);
        free(before);
        free(after);
        /* Tables that both have do not count once more on the way. */
        if (cases[i].fit > 0)
            assert_int_equal(byre_snapshot_apply(img, &first, NULL), 0);
        assert_int_equal(get(img, MIB), 7);
        close_both(img, store);
    }
}

/* ---- VM state ---- */

static void assert_state(struct byre *img, uint64_t offset, uint8_t expected)
{
    uint8_t byte = 0xee;

    assert_int_equal(byre_vm_state_read(img, offset, &byte, 1, NULL), 0);
    assert_int_equal(byte, expected);
}

static void test_vm_state(void **state)
{
    static uint8_t bytes[300 * 1024];
    const struct byre_snapshot_ref one = { .name = "one" };
    struct byre_snapshot_options opts = plain;
    const struct byre_snapshot *list;
    struct byre_store *store;
    struct byre *img = open_new(&store, 3, 0);
    size_t count;

    (void)state;
    memset(bytes, 5, sizeof(bytes));
    assert_state(img, 0, 0);
    assert_state(img, UINT64_MAX, 0);
    assert_int_equal(byre_vm_state_write(img, 1000, bytes, sizeof(bytes), NULL),
                     0);
    assert_int_equal(byre_vm_state_write(img, 3 * GIB, bytes, 10, NULL), 0);
    assert_state(img, 999, 0);
    assert_state(img, 1000, 5);
    assert_state(img, 3 * GIB + 9, 5);
    assert_int_equal(byre_vm_state_write(img, UINT64_MAX, bytes, 10, NULL),
                     BYRE_E_LIMIT);
    assert_int_equal(
        byre_vm_state_write(img, UINT64_C(1) << 60, bytes, 10, NULL),
        BYRE_E_LIMIT);

    opts.name = "one";
    opts.vm_state_bytes = 5 * GIB; /* more than 32 bits */
    opts.vm_clock_nsec = 123;
    opts.icount = BYRE_NO_ICOUNT;
    assert_int_equal(byre_snapshot_create(img, &opts, NULL), 0);
    assert_state(img, 1000, 0); /* the disk's no more */
    assert_state(img, 3 * GIB, 0);
    assert_int_equal(byre_snapshot_list(img, &list, &count, NULL), 0);
    assert_int_equal(list[0].vm_state_bytes, 5 * GIB);
    assert_int_equal(list[0].vm_clock_nsec, 123);
    assert_true(list[0].icount == BYRE_NO_ICOUNT);

    /* Back with the snapshot; what is written of a cluster keeps the rest. */
    assert_int_equal(byre_snapshot_apply(img, &one, NULL), 0);
    assert_int_equal(byre_vm_state_write(img, 2000, "\7", 1, NULL), 0);
    assert_state(img, 1999, 5);
    assert_state(img, 2000, 7);
    assert_state(img, 2001, 5);
    assert_int_equal(byre_close(img, NULL), 0);

    img = open_as(store, 0, "one");
    assert_state(img, 999, 0);
    assert_state(img, 2000, 5);
    assert_state(img, 3 * GIB + 9, 5);
    assert_state(img, 3 * GIB + 10, 0);
    close_both(img, store);
}

/* What a backing file has behind the disk is no VM state. */
static void test_vm_state_over_backing(void **state)
{
    struct byre_create_options create = BYRE_CREATE_OPTIONS_INIT;
    struct byre_open_options open = BYRE_OPEN_OPTIONS_INIT;
    struct byre_store *store = new_store(), *below;
    uint8_t *bytes = malloc(4 * MIB);

    (void)state;
    assert_non_null(bytes);
    memset(bytes, 9, 4 * MIB);
    assert_int_equal(byre_store_new_memory(bytes, 4 * MIB, &below, NULL), 0);
    free(bytes);
    open.format = "raw";
    assert_int_equal(byre_open_store(below, NULL, &open, &open.backing, NULL),
                     0);
    create.virtual_size_bytes = 64 * KIB;
    create.cluster_size_bytes = 4096;
    create.backing_name = "below";
    create.backing_format = "raw";
    create.flags = BYRE_CREATE_BACKING_UNCHECKED;
    assert_int_equal(byre_create_store(store, &create, NULL), 0);
    {
        struct byre *img;

        open.format = "qcow2";
        open.flags = BYRE_OPEN_WRITE;
        assert_int_equal(byre_open_store(store, NULL, &open, &img, NULL), 0);
        assert_int_equal(byre_vm_state_write(img, 1, "x", 1, NULL), 0);
        assert_state(img, 0, 0);
        assert_state(img, 1, 'x');
        assert_state(img, 2, 0);
        assert_state(img, 4096, 0);
        close_both(img, store);
    }
    byre_close(open.backing, NULL);
    byre_store_unref(below);
}

/* ---- Sizes ---- */

static uint64_t size_of(struct byre *img)
{
    struct byre_info info = BYRE_INFO_INIT;

    assert_int_equal(byre_get_info(img, &info, NULL), 0);
    return info.virtual_size_bytes;
}

static void test_sizes(void **state)
{
    const struct byre_snapshot_ref small = { .name = "small" };
    const struct byre_snapshot_ref large = { .name = "large" };
    struct byre_store *store;
    struct byre *img = open_new(&store, 3, 0);

    (void)state;
    put(img, 0, 1, 100);
    assert_int_equal(take(img, "small", NULL), 0);
    assert_int_equal(byre_resize(img, 3 * GIB, 0, BYRE_PREALLOCATION_OFF, NULL),
                     0);
    put(img, 2 * GIB, 2, 100);
    assert_int_equal(take(img, "large", NULL), 0);
    assert_int_equal(byre_snapshot_apply(img, &small, NULL), 0);
    assert_int_equal(size_of(img), 4 * MIB);
    assert_int_equal(byre_write(img, 4 * MIB, "x", 1, 0, NULL), BYRE_E_INVALID);
    put(img, 0, 3, 100);
    assert_int_equal(byre_snapshot_apply(img, &large, NULL), 0);
    assert_int_equal(size_of(img), 3 * GIB);
    assert_int_equal(get(img, 2 * GIB), 2);
    assert_int_equal(get(img, 0), 1);
    put(img, 3 * GIB - 100, 4, 100);
    assert_int_equal(byre_close(img, NULL), 0);

    img = open_as(store, BYRE_OPEN_WRITE, NULL);
    assert_int_equal(size_of(img), 3 * GIB);
    assert_int_equal(get(img, 3 * GIB - 1), 4);
    close_both(img, store);
}

/* ---- Entries of other programs ---- */

#define TABLE_BYTES 4096

/* The place of the table, with its first entry. */
static uint64_t load_entry(struct byre_store *store, uint8_t *table,
                           struct qcow2_snapshot *ret)
{
    uint8_t header[72];
    uint64_t offset;
    size_t bytes;

    assert_int_equal(store_read(store, 0, header, sizeof(header), NULL), 0);
    offset = be64_get(header + 64);
    assert_int_equal(store_read(store, offset, table, TABLE_BYTES, NULL), 0);
    assert_int_equal(
        qcow2_snapshot_decode(table, TABLE_BYTES, 4 * MIB, ret, &bytes, NULL),
        0);
    return offset;
}

/* Stores the only entry anew, with so much extra data. */
static void change_extra(struct byre_store *store, uint32_t extra_bytes)
{
    static const uint8_t unknown[] = "sixteen bytes!!";
    uint8_t table[TABLE_BYTES], changed[TABLE_BYTES] = { 0 };
    struct qcow2_snapshot entry;
    const uint64_t offset = load_entry(store, table, &entry);

    entry.extra_bytes = extra_bytes;
    if (extra_bytes > QCOW2_SNAPSHOT_EXTRA_BYTES) {
        entry.unknown_extra = unknown;
        entry.unknown_extra_bytes = extra_bytes - QCOW2_SNAPSHOT_EXTRA_BYTES;
    }
    qcow2_snapshot_encode(&entry, changed);
    assert_int_equal(store_write(store, offset, changed, sizeof(changed), NULL),
                     0);
}

static void test_extra_data(void **state)
{
    static const struct {
        uint32_t version;
        uint32_t extra_bytes;
        uint32_t kept_bytes;
    } cases[] = { { 2, 0, 24 }, { 2, 8, 24 }, { 3, 16, 24 }, { 3, 40, 40 } };
    const struct byre_snapshot_ref one = { .name = "one" };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t table[TABLE_BYTES];
        struct qcow2_snapshot entry;
        struct byre_store *store;
        struct byre *img = open_new(&store, cases[i].version, 0);

        put(img, 0, 1, 100);
        assert_int_equal(take(img, "one", NULL), 0);
        assert_int_equal(byre_close(img, NULL), 0);
        change_extra(store, cases[i].extra_bytes);

        img = open_as(store, BYRE_OPEN_WRITE, NULL);
        put(img, 0, 2, 100);
        assert_int_equal(take(img, "two", NULL), 0);
        assert_int_equal(byre_snapshot_apply(img, &one, NULL), 0);
        assert_int_equal(get(img, 0), 1);
        assert_list(img, "1=one,2=two");
        load_entry(store, table, &entry);
        assert_int_equal(entry.extra_bytes, cases[i].kept_bytes);
        assert_int_equal(entry.size_bytes, 4 * MIB);
        if (entry.unknown_extra_bytes > 0)
            assert_memory_equal(entry.unknown_extra, "sixteen bytes!!", 16);
        close_both(img, store);
    }
}

/* A snapshot that records no size has the disk's: that must not change. */
static void test_unrecorded_size(void **state)
{
    const struct byre_snapshot_ref small = { .name = "small" };
    const struct byre_snapshot_ref one = { .name = "one" };
    uint8_t table[TABLE_BYTES];
    struct qcow2_snapshot entry;
    struct byre_store *store;
    struct byre *img = open_new(&store, 2, 0);
    uint64_t offset;
    size_t first_bytes;

    (void)state;
    assert_int_equal(take(img, "one", NULL), 0);
    assert_int_equal(take(img, "small", NULL), 0);
    assert_int_equal(byre_close(img, NULL), 0);
    /* Make the second one smaller, and the first one silent about its size. */
    offset = load_entry(store, table, &entry);
    first_bytes = qcow2_snapshot_bytes(&entry);
    be64_put(table + first_bytes + 48, MIB);
    be32_put(table + 36, 8);
    memmove(table + 48, table + 64, first_bytes - 64);
    memmove(table + first_bytes - 16, table + first_bytes, 200);
    assert_int_equal(store_write(store, offset, table, sizeof(table), NULL), 0);

    img = open_as(store, BYRE_OPEN_WRITE, NULL);
    assert_list(img, "1=one,2=small");
    assert_int_equal(byre_snapshot_apply(img, &small, NULL),
                     BYRE_E_UNSUPPORTED);
    assert_int_equal(size_of(img), 4 * MIB);
    assert_int_equal(byre_snapshot_delete(img, &one, 1, NULL), 0);
    assert_int_equal(byre_snapshot_apply(img, &small, NULL), 0);
    assert_int_equal(size_of(img), MIB);
    close_both(img, store);
}

/* ---- Damage ---- */

/* The L1 table of a snapshot, which nobody guards, points to nowhere. */
static void test_damaged(void **state)
{
    const struct byre_snapshot_ref one = { .name = "one" };
    static const uint64_t entries[] = { UINT64_C(0x10200),
                                        UINT64_C(0x40000000) };

    (void)state;
    for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
        uint8_t table[TABLE_BYTES], word[8];
        struct qcow2_snapshot entry;
        struct byre_store *store;
        struct byre *img = open_new(&store, 3, 0);

        put(img, 0, 1, 100);
        assert_int_equal(take(img, "one", NULL), 0);
        put(img, 0, 2, 100);
        load_entry(store, table, &entry);
        be64_put(word, entries[i]);
        assert_int_equal(store_write(store, entry.l1_offset, word, 8, NULL), 0);
        assert_int_equal(byre_snapshot_apply(img, &one, NULL), BYRE_E_CORRUPT);
        assert_int_equal(get(img, 0), 2);
        put(img, 0, 3, 100);
        assert_int_equal(take(img, "two", NULL), 0);
        /* It can be got rid of, for its space. */
        assert_int_equal(byre_snapshot_delete(img, &one, 1, NULL), 0);
        assert_list(img, "2=two");
        put(img, 0, 4, 100);
        assert_int_equal(get(img, 0), 4);
        close_both(img, store);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids_and_names),
        cmocka_unit_test(test_which_one),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_width),
        cmocka_unit_test(test_vm_state),
        cmocka_unit_test(test_vm_state_over_backing),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_extra_data),
        cmocka_unit_test(test_unrecorded_size),
        cmocka_unit_test(test_damaged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
