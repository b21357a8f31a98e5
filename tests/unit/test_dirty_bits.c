/* SPDX-License-Identifier: MIT */
/*
 * Bitmaps in memory beside an array of bytes, one a bit.  Without it a bit
 * could be lost at the edge of a word or a chunk, and a backup would miss what
 * was written there.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/dirty_bits.h"

#define MOST_BITS (5 * DIRTY_CHUNK_BITS + 100)

struct both {
    struct dirty_bits dirty;
    uint8_t *flat; /* MOST_BITS */
};

static void start(struct both *both, uint64_t bits)
{
    both->flat = calloc(MOST_BITS, 1);
    assert_non_null(both->flat);
    assert_int_equal(dirty_bits_init(&both->dirty, bits, NULL), BYRE_OK);
}

static void end(struct both *both)
{
    dirty_bits_done(&both->dirty);
    free(both->flat);
}

static void set(struct both *both, uint64_t first, uint64_t count)
{
    for (uint64_t i = first; i < first + count && i < both->dirty.bits; i++)
        both->flat[i] = 1;
    assert_int_equal(dirty_bits_set(&both->dirty, first, count, NULL), BYRE_OK);
}

static void check_bytes(struct both *both)
{
    const size_t bytes = (MOST_BITS + 63) / 64 * 8;
    uint8_t *buf = malloc(bytes);
    struct dirty_bits again;

    assert_non_null(buf);
    dirty_bits_export(&both->dirty, 0, buf, bytes);
    for (uint64_t i = 0; i < MOST_BITS; i++)
        assert_int_equal(buf[i / 8] >> i % 8 & 1,
                         i < both->dirty.bits && both->flat[i] != 0);

    assert_int_equal(dirty_bits_init(&again, both->dirty.bits, NULL), BYRE_OK);
    assert_int_equal(dirty_bits_import(&again, 0, buf, bytes, NULL), BYRE_OK);
    assert_int_equal(dirty_bits_count(&again, 0, again.bits),
                     dirty_bits_count(&both->dirty, 0, both->dirty.bits));
    dirty_bits_done(&again);
    free(buf);
}

static void check(struct both *both)
{
    uint64_t total = 0, at = 0, n;

    for (uint64_t i = 0; i < both->dirty.bits; i++)
        total += both->flat[i];
    assert_int_equal(dirty_bits_count(&both->dirty, 0, both->dirty.bits),
                     total);
    while (at < both->dirty.bits) {
        const bool is_set =
            dirty_bits_run(&both->dirty, at, both->dirty.bits - at, &n);

        assert_true(n > 0 && n <= both->dirty.bits - at);
        for (uint64_t i = at; i < at + n; i++)
            assert_int_equal(both->flat[i], is_set);
        at += n;
        /* Runs end where the bits differ. */
        if (at < both->dirty.bits)
            assert_int_equal(both->flat[at], !is_set);
    }
    check_bytes(both);
}

static void resize(struct both *both, uint64_t bits)
{
    for (uint64_t i = bits; i < MOST_BITS; i++)
        both->flat[i] = 0;
    assert_int_equal(dirty_bits_resize(&both->dirty, bits, NULL), BYRE_OK);
}

static uint64_t draw(uint64_t *seed, uint64_t limit)
{
    *seed =
        *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (*seed >> 33) % limit;
}

/* Ranges of all lengths, at and around the edges of chunks and words. */
static void test_random(void **state)
{
    (void)state;

    for (uint64_t seed = 1; seed <= 12; seed++) {
        uint64_t numbers = seed;
        struct both both;

        start(&both, 1 + draw(&numbers, MOST_BITS));
        for (int i = 0; i < 12; i++) {
            const uint64_t length =
                UINT64_C(1) << draw(&numbers, 17) | draw(&numbers, 3);

            set(&both, draw(&numbers, MOST_BITS), length);
            if (i % 5 == 4)
                resize(&both, 1 + draw(&numbers, MOST_BITS));
            if (i % 3 == 0)
                check(&both);
        }
        check(&both);
        end(&both);
    }
}

static void test_edges(void **state)
{
    static const struct {
        uint64_t bits, first, count, resized;
    } cases[] = {
        { 1, 0, 1, 2 },
        { 1, 0, 100, 64 },
        { 0, 0, 10, 1 },
        { 64, 63, 1, 63 },
        { 100, 100, 1, 200 },
        { DIRTY_CHUNK_BITS, 0, DIRTY_CHUNK_BITS, DIRTY_CHUNK_BITS + 1 },
        { DIRTY_CHUNK_BITS, 0, DIRTY_CHUNK_BITS, 7 },
        { DIRTY_CHUNK_BITS + 5, DIRTY_CHUNK_BITS, 5, DIRTY_CHUNK_BITS + 64 },
        { DIRTY_CHUNK_BITS + 5, 0, UINT64_MAX, 3 * DIRTY_CHUNK_BITS },
        { 3 * DIRTY_CHUNK_BITS, 1, 3 * DIRTY_CHUNK_BITS - 2,
          2 * DIRTY_CHUNK_BITS },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct both both;

        start(&both, cases[i].bits);
        set(&both, cases[i].first,
            cases[i].count > MOST_BITS ? MOST_BITS : cases[i].count);
        check(&both);
        resize(&both, cases[i].resized);
        check(&both);
        end(&both);
    }
}

/* What is full and then grows has only its old bits set. */
static void test_all(void **state)
{
    struct both both;

    (void)state;
    start(&both, DIRTY_CHUNK_BITS + 10);
    dirty_bits_set_all(&both.dirty);
    for (uint64_t i = 0; i < both.dirty.bits; i++)
        both.flat[i] = 1;
    check(&both);
    resize(&both, 2 * DIRTY_CHUNK_BITS);
    check(&both);
    dirty_bits_clear_all(&both.dirty);
    for (uint64_t i = 0; i < both.dirty.bits; i++)
        both.flat[i] = 0;
    check(&both);
    end(&both);
}

/* Closing skips what has not changed: so it must be noted, and only then. */
static void test_changed(void **state)
{
    struct dirty_bits dirty;

    (void)state;
    assert_int_equal(dirty_bits_init(&dirty, 1000, NULL), BYRE_OK);
    assert_false(atomic_load(&dirty.changed));
    assert_int_equal(dirty_bits_set(&dirty, 2000, 5, NULL), BYRE_OK);
    assert_false(atomic_load(&dirty.changed));
    assert_int_equal(dirty_bits_set(&dirty, 20, 5, NULL), BYRE_OK);
    assert_true(atomic_load(&dirty.changed));
    atomic_store(&dirty.changed, false);
    assert_int_equal(dirty_bits_set(&dirty, 20, 5, NULL), BYRE_OK);
    assert_false(atomic_load(&dirty.changed));
    assert_int_equal(dirty_bits_set(&dirty, 20, 6, NULL), BYRE_OK);
    assert_true(atomic_load(&dirty.changed));
    dirty_bits_done(&dirty);
}

#define THREADS 4

struct setter {
    struct dirty_bits *dirty;
    uint64_t first;
    pthread_t thread;
};

static void *set_every_fourth(void *user)
{
    struct setter *setter = user;

    for (uint64_t i = setter->first; i < setter->dirty->bits; i += THREADS) {
        if (dirty_bits_set(setter->dirty, i, 1, NULL) < 0)
            abort();
    }
    return NULL;
}

/* Threads that meet in each word lose none of their bits. */
static void test_threads(void **state)
{
    struct setter setters[THREADS];
    struct dirty_bits dirty;

    (void)state;
    assert_int_equal(dirty_bits_init(&dirty, 3 * DIRTY_CHUNK_BITS + 7, NULL),
                     BYRE_OK);
    for (uint64_t i = 0; i < THREADS; i++) {
        setters[i] = (struct setter){ .dirty = &dirty, .first = i };
        assert_int_equal(pthread_create(&setters[i].thread, NULL,
                                        set_every_fourth, &setters[i]),
                         0);
    }
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(setters[i].thread, NULL);
    assert_int_equal(dirty_bits_count(&dirty, 0, dirty.bits), dirty.bits);
    dirty_bits_done(&dirty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),  cmocka_unit_test(test_edges),
        cmocka_unit_test(test_all),     cmocka_unit_test(test_changed),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
