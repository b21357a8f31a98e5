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

/* ---- Changing ---- */

static uint64_t word_of(struct table_cache *cache, uint64_t host_offset,
                        uint32_t index)
{
    struct table_view view;

    assert_true(table_cache_find(cache, host_offset, &view));
    return table_view_word(&view, index);
}

static uint64_t stored_word(struct byre_store *store, uint64_t offset)
{
    uint8_t raw[8];

    assert_int_equal(store_read(store, offset, raw, sizeof(raw), NULL),
                     BYRE_OK);
    return be64_get(raw);
}

/* A change is seen at once, and is in the file when its batch was written. */
static void test_changes_are_written_by_a_batch(void **state)
{
    struct byre_store *store = numbered_store();
    struct table_cache *cache = NULL;
    struct table_batch *batch = NULL;
    const uint64_t words[] = { 111, 222 }, later[] = { 333 };

    (void)state;
    assert_int_equal(table_cache_new(store, SLICE_BYTES, 1 << 20, &cache, NULL),
                     BYRE_OK);
    assert_false(table_cache_change(cache, 1024, 3, words, 2));
    assert_int_equal(table_cache_load(cache, 1024, NULL), BYRE_OK);
    assert_true(table_cache_change(cache, 1024, 3, words, 2));
    assert_int_equal(word_of(cache, 1024, 4), 222);
    assert_int_equal(stored_word(store, 1024 + 4 * 8), 2);

    assert_int_equal(table_cache_take_changed(cache, &batch, NULL), BYRE_OK);
    assert_non_null(batch);
    /* What changes meanwhile is for the next batch. */
    assert_true(table_cache_change(cache, 1024, 3, later, 1));
    assert_int_equal(table_batch_write(cache, batch, NULL), BYRE_OK);
    table_batch_done(cache, batch, true);
    assert_int_equal(stored_word(store, 1024 + 3 * 8), 111);
    assert_int_equal(stored_word(store, 1024 + 4 * 8), 222);

    assert_int_equal(table_cache_take_changed(cache, &batch, NULL), BYRE_OK);
    assert_non_null(batch);
    assert_int_equal(table_batch_write(cache, batch, NULL), BYRE_OK);
    table_batch_done(cache, batch, true);
    assert_int_equal(stored_word(store, 1024 + 3 * 8), 333);

    assert_int_equal(table_cache_take_changed(cache, &batch, NULL), BYRE_OK);
    assert_null(batch);
    table_cache_free(cache);
    byre_store_unref(store);
}

/* A batch that was not written is changed again, and nothing of it is lost. */
static void test_a_failed_batch_comes_again(void **state)
{
    struct byre_store *store = numbered_store();
    struct table_cache *cache = NULL;
    struct table_batch *batch = NULL;
    const uint64_t word = 77;

    (void)state;
    assert_int_equal(table_cache_new(store, SLICE_BYTES, 1 << 20, &cache, NULL),
                     BYRE_OK);
    assert_int_equal(table_cache_load(cache, 512, NULL), BYRE_OK);
    assert_true(table_cache_change(cache, 512, 0, &word, 1));
    assert_int_equal(table_cache_take_changed(cache, &batch, NULL), BYRE_OK);
    table_batch_done(cache, batch, false);
    assert_int_equal(table_cache_take_changed(cache, &batch, NULL), BYRE_OK);
    assert_non_null(batch);
    assert_int_equal(table_batch_write(cache, batch, NULL), BYRE_OK);
    table_batch_done(cache, batch, true);
    assert_int_equal(stored_word(store, 512), 77);
    table_cache_free(cache);
    byre_store_unref(store);
}

/* Changed slices are never thrown out: the cache says that it is full. */
static void test_changed_slices_stay(void **state)
{
    struct byre_store *store = numbered_store();
    struct table_cache *cache = NULL;
    struct table_batch *batch = NULL;
    uint64_t loaded = 0;
    int r = BYRE_OK;

    (void)state;
    assert_int_equal(table_cache_new(store, SLICE_BYTES, 0, &cache, NULL),
                     BYRE_OK);
    for (; loaded < SLICES && r == BYRE_OK; loaded++) {
        const uint64_t word = 1000000 + loaded;

        r = table_cache_load(cache, loaded * SLICE_BYTES, NULL);
        if (r == BYRE_OK)
            assert_true(
                table_cache_change(cache, loaded * SLICE_BYTES, 0, &word, 1));
    }
    assert_int_equal(r, TABLE_CACHE_FULL);
    for (uint64_t i = 0; i + 1 < loaded; i++)
        assert_int_equal(word_of(cache, i * SLICE_BYTES, 0), 1000000 + i);

    assert_int_equal(table_cache_take_changed(cache, &batch, NULL), BYRE_OK);
    assert_int_equal(table_cache_load(cache, (loaded - 1) * SLICE_BYTES, NULL),
                     TABLE_CACHE_FULL);
    assert_int_equal(table_batch_write(cache, batch, NULL), BYRE_OK);
    table_batch_done(cache, batch, true);
    assert_int_equal(table_cache_load(cache, (loaded - 1) * SLICE_BYTES, NULL),
                     BYRE_OK);
    for (uint64_t i = 0; i + 1 < loaded; i++)
        assert_int_equal(stored_word(store, i * SLICE_BYTES), 1000000 + i);
    table_cache_free(cache);
    byre_store_unref(store);
}

static void test_forgotten_slices_are_read_again(void **state)
{
    struct byre_store *store = numbered_store();
    struct table_cache *cache = NULL;
    struct table_batch *batch = NULL;
    struct table_view view;
    const uint64_t word = 5;

    (void)state;
    assert_int_equal(table_cache_new(store, SLICE_BYTES, 1 << 20, &cache, NULL),
                     BYRE_OK);
    assert_int_equal(table_cache_load(cache, 512, NULL), BYRE_OK);
    assert_int_equal(table_cache_load(cache, 1024, NULL), BYRE_OK);
    assert_true(table_cache_change(cache, 1024, 0, &word, 1));
    table_cache_forget(cache, 512, 1024);
    assert_false(table_cache_find(cache, 512, &view));
    assert_false(table_cache_find(cache, 1024, &view));
    assert_int_equal(table_cache_take_changed(cache, &batch, NULL), BYRE_OK);
    table_batch_done(cache, batch, true);
    assert_int_equal(table_cache_load(cache, 1024, NULL), BYRE_OK);
    assert_int_equal(word_of(cache, 1024, 0), 2);
    table_cache_free(cache);
    byre_store_unref(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_what_it_loaded),
        cmocka_unit_test(test_old_views_turn_invalid),
        cmocka_unit_test(test_many_threads_see_whole_slices),
        cmocka_unit_test(test_changes_are_written_by_a_batch),
        cmocka_unit_test(test_a_failed_batch_comes_again),
        cmocka_unit_test(test_changed_slices_stay),
        cmocka_unit_test(test_forgotten_slices_are_read_again),
    };

    return cmocka_run_group_tests_name("table_cache", tests, NULL, NULL);
}
