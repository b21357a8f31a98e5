/* SPDX-License-Identifier: MIT */
/*
 * Without these, a cluster could be used again while the disk or a reader still
 * points to it, or a compressed stream could land in one that was freed.
 */
#include "allocator_fixture.h"
#include "qcow2/allocator_internal.h"

/* ---- Releases ---- */

static uint64_t take_one(struct fixture *f)
{
    struct host_run run;

    assert_int_equal(allocator_take(f->allocator, 1, &run, NULL), BYRE_OK);
    return run.offset;
}

static uint64_t count_of(struct fixture *f, uint64_t offset)
{
    uint64_t count;

    assert_int_equal(allocator_get(f->allocator, offset, &count, NULL),
                     BYRE_OK);
    return count;
}

/* Not before the pointer is off the disk, the count too, and plans are over. */
static void test_release_waits(void **state)
{
    struct release_batch *batch;
    struct gate_pass pass;
    struct fixture f;
    uint64_t freed;

    (void)state;
    fixture_init(&f, 9, 4);
    freed = take_one(&f);
    flush_until_clean(&f);
    pass = gate_enter(&f.gate);
    assert_int_equal(allocator_release(f.allocator, freed, 512, 0, NULL),
                     BYRE_OK);
    assert_int_equal(count_of(&f, freed), 1);

    assert_int_equal(allocator_flush_begin(f.allocator, &batch, NULL), BYRE_OK);
    assert_non_null(batch);
    assert_int_equal(allocator_flush_counts(f.allocator, NULL), BYRE_OK);
    allocator_flush_durable(f.allocator);
    assert_int_equal(count_of(&f, freed), 1);
    assert_int_equal(allocator_flush_unlinked(f.allocator, batch, NULL),
                     BYRE_OK);
    assert_int_equal(count_of(&f, freed), 0);
    assert_true(take_one(&f) != freed);

    /* A barrier that covers the lowered count must come from a later flush. */
    allocator_flush_durable(f.allocator);
    assert_true(take_one(&f) != freed);
    assert_int_equal(flush(&f, NULL), BYRE_OK);
    assert_true(take_one(&f) != freed);
    assert_int_equal(flush(&f, NULL), BYRE_OK);
    assert_true(take_one(&f) != freed);
    assert_true(allocator_is_dirty(f.allocator));
    gate_leave(&f.gate, pass);
    assert_int_equal(flush(&f, NULL), BYRE_OK);
    assert_int_equal(take_one(&f), freed);
    flush_until_clean(&f);
    fixture_done(&f);
}

/* The barrier that counts is one behind the write of the lowered count. */
static void test_lowered_counts_must_be_durable(void **state)
{
    struct fixture f;
    uint64_t freed;

    (void)state;
    fixture_init(&f, 9, 4);
    freed = take_one(&f);
    allocator_release(f.allocator, freed, 512, 0, NULL);
    assert_int_equal(flush(&f, NULL), BYRE_OK);
    assert_int_equal(count_of(&f, freed), 0);
    allocator_flush_durable(f.allocator);
    assert_true(take_one(&f) != freed);
    assert_int_equal(allocator_flush_counts(f.allocator, NULL), BYRE_OK);
    assert_true(take_one(&f) != freed);
    allocator_flush_durable(f.allocator);
    assert_int_equal(take_one(&f), freed);
    fixture_done(&f);
}

/* ---- Space given back ---- */

static uint64_t discarded[4][2];
static size_t discards;
static struct fixture *discard_fixture;

/* What is discarded must not have been handed out yet. */
static int note_discard(void *user, uint64_t offset, uint64_t length,
                        struct byre_error *err)
{
    struct host_run run;

    (void)user;
    (void)err;
    assert_true(discards < 4);
    discarded[discards][0] = offset;
    discarded[discards++][1] = length;
    discard_fixture->allocator->hint = 0; /* look at all that is free */
    assert_int_equal(allocator_take(discard_fixture->allocator, 1, &run, NULL),
                     BYRE_OK);
    assert_true(run.offset < offset || run.offset >= offset + length);
    return BYRE_E_IO; /* which is nobody's trouble */
}

static void test_space_is_given_back(void **state)
{
    struct host_run run;
    struct fixture f;

    (void)state;
    fixture_init(&f, 9, 4);
    f.store->ops.discard = note_discard;
    discard_fixture = &f;
    assert_int_equal(allocator_take(f.allocator, 8, &run, NULL), BYRE_OK);
    allocator_release(f.allocator, run.offset + 1024, 512, ALLOCATOR_PUNCH,
                      NULL);
    allocator_release(f.allocator, run.offset, 1024, ALLOCATOR_PUNCH, NULL);
    allocator_release(f.allocator, run.offset + 1536, 1024, 0, NULL);
    assert_int_equal(flush(&f, NULL), BYRE_OK);
    assert_int_equal(discards, 0);
    assert_int_equal(flush(&f, NULL), BYRE_OK);
    assert_int_equal(discards, 1);
    assert_int_equal(discarded[0][0], run.offset);
    assert_int_equal(discarded[0][1], 1536);
    fixture_done(&f);
}

static void test_failed_flush_keeps_releases(void **state)
{
    struct release_batch *batch, *none;
    uint64_t first, second;
    struct fixture f;

    (void)state;
    fixture_init(&f, 9, 4);
    first = take_one(&f);
    second = take_one(&f);
    allocator_release(f.allocator, first, 512, 0, NULL);
    assert_int_equal(allocator_flush_begin(f.allocator, &batch, NULL), BYRE_OK);
    assert_int_equal(allocator_flush_begin(f.allocator, &none, NULL), BYRE_OK);
    assert_null(none);
    allocator_release(f.allocator, second, 512, 0, NULL);
    allocator_flush_failed(f.allocator, batch);
    assert_true(allocator_is_dirty(f.allocator));
    flush_until_clean(&f);
    assert_int_equal(count_of(&f, first), 0);
    assert_int_equal(count_of(&f, second), 0);
    assert_int_equal(take_one(&f), first);
    fixture_done(&f);
}

static void test_release_of_what_is_free(void **state)
{
    struct release_batch *batch;
    struct byre_error err;
    struct fixture f;
    uint64_t used;

    (void)state;
    fixture_init(&f, 9, 4);
    used = take_one(&f);
    allocator_release(f.allocator, used + 512 * 10, 512, 0, NULL);
    allocator_release(f.allocator, used, 512, 0, NULL);
    assert_int_equal(allocator_flush_begin(f.allocator, &batch, NULL), BYRE_OK);
    assert_int_equal(allocator_flush_unlinked(f.allocator, batch, &err),
                     BYRE_E_CORRUPT);
    assert_non_null(strstr(err.message, "check"));
    assert_int_equal(err.offset, used + 512 * 10);
    allocator_flush_failed(f.allocator, batch);
    assert_int_equal(count_of(&f, used), 0);
    assert_int_equal(count_of(&f, used + 512 * 10), 0);
    flush_until_clean(&f);
    fixture_done(&f);
}

/* ---- Streams ---- */

static void test_streams_share_clusters(void **state)
{
    struct fixture f;
    uint64_t a, b, c, d, e;

    (void)state;
    fixture_init(&f, 12, 4);
    assert_int_equal(allocator_take_stream(f.allocator, 1000, &a, NULL),
                     BYRE_OK);
    assert_int_equal(allocator_take_stream(f.allocator, 1000, &b, NULL),
                     BYRE_OK);
    assert_int_equal(allocator_take_stream(f.allocator, 4000, &c, NULL),
                     BYRE_OK);
    assert_int_equal(b, a + 1000);
    assert_int_equal(c, a + 2000);
    assert_int_equal(count_of(&f, a), 3);
    assert_int_equal(count_of(&f, a + 4096), 1);

    /* What follows is taken: the next stream cannot cross into it. */
    assert_int_equal(take_one(&f), a + 8192);
    assert_int_equal(allocator_take_stream(f.allocator, 4000, &d, NULL),
                     BYRE_OK);
    assert_int_equal(d, a + 3 * 4096);
    assert_int_equal(allocator_give_back(f.allocator, c, 4000, NULL), BYRE_OK);
    assert_int_equal(count_of(&f, a), 2);
    assert_int_equal(count_of(&f, a + 4096), 0);

    /* Up to the last byte of a cluster, and then a new one. */
    assert_int_equal(allocator_take_stream(f.allocator, 96, &e, NULL), BYRE_OK);
    assert_int_equal(count_of(&f, d), 1 + (e == d + 4000));
    fixture_done(&f);
}

/* A cluster that was freed is not filled further. */
static void test_freed_fill_is_forgotten(void **state)
{
    uint64_t a, b;
    struct fixture f;

    (void)state;
    fixture_init(&f, 12, 4);
    assert_int_equal(allocator_take_stream(f.allocator, 100, &a, NULL),
                     BYRE_OK);
    assert_int_equal(allocator_release(f.allocator, a, 512, 0, NULL), BYRE_OK);
    assert_int_equal(flush(&f, NULL), BYRE_OK);
    assert_int_equal(allocator_take_stream(f.allocator, 100, &b, NULL),
                     BYRE_OK);
    assert_int_equal(b, a + 4096);
    fixture_done(&f);
}

static void test_full_counts_start_clusters(void **state)
{
    uint64_t last, next;
    struct fixture f;

    (void)state;
    for (uint32_t order = 0; order <= 2; order++) {
        fixture_init(&f, 12, order);
        assert_int_equal(allocator_take_stream(f.allocator, 10, &last, NULL),
                         BYRE_OK);
        for (uint64_t i = 1; i < refcount_max(order); i++) {
            assert_int_equal(
                allocator_take_stream(f.allocator, 10, &next, NULL), BYRE_OK);
            assert_int_equal(next, last + 10);
            last = next;
        }
        assert_int_equal(allocator_take_stream(f.allocator, 10, &next, NULL),
                         BYRE_OK);
        assert_int_equal(next, align_down(last, 4096) + 4096);
        fixture_done(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_release_waits),
        cmocka_unit_test(test_lowered_counts_must_be_durable),
        cmocka_unit_test(test_space_is_given_back),
        cmocka_unit_test(test_failed_flush_keeps_releases),
        cmocka_unit_test(test_release_of_what_is_free),
        cmocka_unit_test(test_streams_share_clusters),
        cmocka_unit_test(test_freed_fill_is_forgotten),
        cmocka_unit_test(test_full_counts_start_clusters),
    };

    return cmocka_run_group_tests_name("releases", tests, NULL, NULL);
}
