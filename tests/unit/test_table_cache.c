/* SPDX-License-Identifier: MIT */
/*
 * Without these, a lookup that races with a replacement could hand out the
 * words of another table: reads would silently come from the wrong place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/workers.h"
#include "engine/table_cache.h"

#define SLICE_BYTES 512u
#define SLICE_WORDS (SLICE_BYTES / 8)
#define SLICES      4096u

/* Each word tells which slice it belongs to. */
static struct byre_store *numbered_store(void)
{
    uint8_t *bytes = malloc(SLICES * SLICE_BYTES);
    struct byre_store *store = NULL;

    for (uint64_t i = 0; i < SLICES * SLICE_WORDS; i++)
        be64_put(bytes + i * 8, i / SLICE_WORDS);
    assert_int_equal(
        byre_store_new_memory(bytes, SLICES * SLICE_BYTES, &store, NULL),
        BYRE_OK);
    free(bytes);
    return store;
}

static void test_finds_what_it_loaded(void **state)
{
    struct byre_store *store = numbered_store();
    struct table_cache *cache = NULL;
    struct table_view view;

    (void)state;
    assert_int_equal(table_cache_new(store, SLICE_BYTES, 1 << 20, &cache, NULL),
                     BYRE_OK);
    assert_false(table_cache_find(cache, 512, &view));
    assert_int_equal(table_cache_load(cache, 512, NULL), BYRE_OK);
    assert_true(table_cache_find(cache, 512, &view));
    assert_int_equal(table_view_word(&view, 0), 1);
    assert_true(table_view_still_valid(&view));
    assert_false(table_cache_find(cache, 0, &view));
    table_cache_free(cache);
    byre_store_unref(store);
}

/* A view taken before its slot was given to another slice must not be believed.
 */
static void test_old_views_turn_invalid(void **state)
{
    struct byre_store *store = numbered_store();
    struct table_cache *cache = NULL;
    struct table_view view, now;

    (void)state;
    assert_int_equal(table_cache_new(store, SLICE_BYTES, 0, &cache, NULL),
                     BYRE_OK);
    assert_int_equal(table_cache_load(cache, 0, NULL), BYRE_OK);
    assert_true(table_cache_find(cache, 0, &view));
    for (uint64_t i = 1; i < SLICES; i++)
        assert_int_equal(table_cache_load(cache, i * SLICE_BYTES, NULL),
                         BYRE_OK);
    assert_false(table_cache_find(cache, 0, &now));
    assert_false(table_view_still_valid(&view));
    table_cache_free(cache);
    byre_store_unref(store);
}

static struct table_cache *shared_cache;

/* Looks slices up at random in a cache far too small for them. */
static void look_up_many(void *user)
{
    uint64_t random = (uintptr_t)&random;
    struct table_view view;

    for (int i = 0; i < 20000; i++) {
        uint64_t slice, first, last;

        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        slice = (random >> 33) % SLICES;
        do {
            while (!table_cache_find(shared_cache, slice * SLICE_BYTES, &view))
                table_cache_load(shared_cache, slice * SLICE_BYTES, NULL);
            first = table_view_word(&view, 0);
            last = table_view_word(&view, SLICE_WORDS - 1);
        } while (!table_view_still_valid(&view));
        if (first != slice || last != slice)
            *(volatile int *)user = 1;
    }
}

static void test_many_threads_see_whole_slices(void **state)
{
    struct byre_store *store = numbered_store();
    volatile int wrong = 0;

    (void)state;
    assert_int_equal(
        table_cache_new(store, SLICE_BYTES, 0, &shared_cache, NULL), BYRE_OK);
    workers_run(4, look_up_many, (void *)&wrong);
    assert_int_equal(wrong, 0);
    table_cache_free(shared_cache);
    byre_store_unref(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_what_it_loaded),
        cmocka_unit_test(test_old_views_turn_invalid),
        cmocka_unit_test(test_many_threads_see_whole_slices),
    };

    return cmocka_run_group_tests_name("table_cache", tests, NULL, NULL);
}
