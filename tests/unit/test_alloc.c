/* SPDX-License-Identifier: MIT */
/*
 * Without this test, memory that runs out in the middle of opening or reading
 * an image could crash, leak, or pass for an answer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "alloc_fault.h"
#include "image_builder.h"

#define CLUSTERS 4u

static const uint8_t want_bytes[CLUSTERS] = { 0x10, 0, 0x12, 0 };

/* The facility itself: the call that is named fails, and no other. */
static void test_nth_allocation(void **state)
{
    void *volatile blocks[3]; /* or the compiler may spare the call */

    (void)state;
    alloc_fault_arm(2);
    for (size_t i = 0; i < 3; i++)
        blocks[i] = malloc(10 + i);
    assert_true(alloc_fault_disarm());
    assert_non_null(blocks[0]);
    assert_null(blocks[1]);
    assert_non_null(blocks[2]);

    alloc_fault_arm(1);
    blocks[1] = realloc(blocks[0], 99);
    assert_true(alloc_fault_disarm());
    assert_null(blocks[1]);
    alloc_fault_arm(1);
    blocks[1] = strdup("text");
    assert_true(alloc_fault_disarm());
    assert_null(blocks[1]);
    free(blocks[0]);
    free(blocks[2]);
}

static void assert_disk(const uint8_t *buf)
{
    for (size_t i = 0; i < CLUSTERS * BUILDER_CLUSTER; i++)
        assert_int_equal(buf[i], want_bytes[i / BUILDER_CLUSTER]);
}

/* Opens and reads all of the disk; returns the first failure. */
static int open_and_read(struct byre_store *store, uint8_t *buf,
                         struct byre_error *err)
{
    struct byre *img = NULL;
    int r;

    r = byre_open_store(store, "disk", NULL, &img, err);
    if (r < 0)
        return r;
    r = byre_read(img, 0, buf, CLUSTERS * BUILDER_CLUSTER, err);
    byre_close(img, NULL);
    return r;
}

static void test_open_and_read(void **state)
{
    uint8_t *buf = malloc(CLUSTERS * BUILDER_CLUSTER);
    struct byre_store *store;
    struct builder b;
    uint64_t refused = 0;
    bool failed = true;

    (void)state;
    builder_init(&b, CLUSTERS);
    builder_data(&b, 0, 0, 0x10);
    builder_entry(&b, 1, QCOW2_ENTRY_ZERO);
    builder_compressed(&b, 2, 1, 0, 0x12);
    store = builder_store(&b);

    for (uint64_t nth = 1; failed; nth++) {
        struct byre_error err = { .message = "" };
        int r;

        memset(buf, 0xee, CLUSTERS * BUILDER_CLUSTER);
        alloc_fault_arm(nth);
        r = open_and_read(store, buf, &err);
        failed = alloc_fault_disarm();
        if (r == BYRE_OK) {
            assert_disk(buf);
            continue;
        }
        if (r != BYRE_E_NOMEM || err.code != r || err.message[0] == '\0')
            fail_msg("allocation %llu: %d, %s", (unsigned long long)nth, r,
                     err.message);
        assert_true(failed);
        refused++;
    }
    assert_true(refused >= 5);
    byre_store_unref(store);
    builder_done(&b);
    free(buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nth_allocation),
        cmocka_unit_test(test_open_and_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
