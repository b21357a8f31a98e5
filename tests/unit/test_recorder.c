/* SPDX-License-Identifier: MIT */
/*
 * Without this test the recorder could leave out states that a power cut can
 * leave, and what it is there to catch would pass.
 */
#include <pthread.h>

#include "recorder_script.h"

#define WHOLE UINT64_MAX

struct states_case {
    const char *name;
    const char *initial;
    const char *script;
    uint64_t cut; /* WHOLE: behind the last operation */
    const char *want;
};

/* clang-format off */
static const struct states_case states_cases[] = {
    { "nothing", "xy", "", WHOLE, "xy" },
    { "two writes", "xy", "W0+512=A W512+512=B", WHOLE, "xy Ay xB AB" },
    { "the cut hides what follows", "xy", "W0+512=A W512+512=B", 1, "xy Ay" },
    { "before all", "xy", "W0+512=A F", 0, "xy" },
    { "a barrier", "xy", "W0+512=A F W512+512=B", 2, "Ay" },
    { "behind a barrier", "xy", "W0+512=A F W512+512=B", WHOLE, "Ay AB" },
    { "a barrier orders what it separates", "x", "W0+512=A F W0+512=B", WHOLE,
      "A B" },
    { "a torn write", "xy", "W0+1024=A", WHOLE, "xy Ay xA AA" },
    { "torn where it is unaligned", "xy", "W256+512=A", WHOLE,
      "xy (x256A256)y x(A256y256) (x256A256)(A256y256)" },
    { "overlapping writes", "xyz", "W0+1024=A W512+1024=B", WHOLE,
      "xyz xyB xAz xAB xBz xBB Ayz AyB AAz AAB ABz ABB" },
    { "overlapping parts of a sector", "x", "W0+300=A W200+312=B", WHOLE,
      "x (A300x212) (x200B312) (A200B312) (A300B212)" },
    { "disjoint parts of a sector", "x", "W0+100=A W100+100=B", WHOLE,
      "x (A100x412) (x100B100x312) (A100B100x312)" },
    { "a part, then the whole sector", "x", "W0+8=A W0+512=B", WHOLE,
      "x B (A8x504) (A8B504)" },
    { "one sector three times", "x", "W0+512=A W0+512=B W0+512=C", WHOLE,
      "x A B C" },
    { "the same bytes twice", "x", "W0+512=A W0+512=A", WHOLE, "x A" },
    { "the bytes that are there", "x", "W0+512=x", WHOLE, "x" },
    { "an empty write", "x", "W0+0=A", WHOLE, "x" },
    { "zeroes", "xy", "Z0+1024", WHOLE, "xy .y x. .." },
    { "zeroes before a write", "x", "Z0+512 W0+512=A", WHOLE, "x . A" },
    { "zeroes of some bytes", "x", "Z0+256", WHOLE, "x (.256x256)" },
    { "zeroes past the end", "x", "Z512+512", WHOLE, "x" },
    { "a discard", "xyz", "D0+1024", WHOLE, "xyz .yz x.z ..z" },
    { "a discard of some bytes", "x", "D0+256", WHOLE, "x (.256x256)" },
    { "a discard, and a write over it", "x", "D0+512 W0+512=A", WHOLE,
      "x . A" },
    { "a discard past the end", "x", "D512+512", WHOLE, "x" },
    /* Of sectors 0 to 4 the first and the third read as zeroes. */
    { "a discard behind a barrier", "vwxyz", "D0+2560 F", WHOLE, ".w.yz" },
    { "a discard, a barrier and a write", "vwx", "D0+1536 F W512+512=A", WHOLE,
      ".w. .A." },
    { "an append", "-", "W0+512=A", WHOLE, "- . A" },
    { "a torn append", "x", "W512+1024=A", WHOLE,
      "x x. xA x.. xA. x.A xAA" },
    { "an append of some bytes", "x", "W512+100=A", WHOLE,
      "x x(.100) x(A100)" },
    { "an append behind a gap", "x", "W1024+512=A", WHOLE, "x x.. x.A" },
    { "a resize that grows", "x", "R1024", WHOLE, "x x." },
    { "a resize and a write", "x", "R1024 W512+512=A", WHOLE, "x x. xA" },
    { "a resize that shrinks", "xy", "R512", WHOLE, "xy x" },
    { "to nothing", "xy", "R0", WHOLE, "xy -" },
    { "a write that is cut off", "xy", "W512+512=A R512", WHOLE, "xy xA x" },
    { "cut inside a sector", "x", "R100", WHOLE, "x (x100)" },
    { "cut inside a sector, with less to tell apart", "x",
      "W512+100=A W612+412=B R612", WHOLE,
      "x x(.100) x(A100) x. x(A100.412) x(.100B412) x(A100B412)" },
    { "shrunk and grown", "xy", "R512 R1024", WHOLE, "x xy x." },
    { "shrunk and appended to", "xy", "R512 W512+512=A", WHOLE,
      "x xy x. xA" },
    { "shrunk for good, then grown", "xy", "R512 F R1024", WHOLE, "x x." },
    { "shrunk and flushed", "xy", "R512 F", WHOLE, "x" },
    { "two stores", "x|p", "W0+512=A 1:W0+512=B", WHOLE,
      "x|p A|p x|B A|B" },
    { "a barrier on one store", "x|p", "W0+512=A 1:W0+512=B F", WHOLE,
      "A|p A|B" },
    { "a barrier on the other", "x|p", "W0+512=A 1:W0+512=B 1:F", WHOLE,
      "x|B A|B" },
    { "a barrier before the other's", "x|p", "1:F 1:W0+512=B W0+512=A F 1:F",
      4, "A|p A|B" },
};
/* clang-format on */

static void test_states(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(states_cases) / sizeof(states_cases[0]);
         i++) {
        const struct states_case *c = &states_cases[i];
        struct texts want = split_words(c->want);
        struct recording rec;
        struct texts got;
        bool all;

        recording_init(&rec, strcmp(c->initial, "-") == 0 ? "" : c->initial);
        run_script(&rec, c->script);
        got = list_states(&rec,
                          c->cut == WHOLE ? record_log_length(rec.log) : c->cut,
                          64, 0, &all);
        assert_true(all);
        assert_same_texts(c->name, &got, &want);
        free(got.list);
        free(want.list);
        recording_done(&rec);
    }
}

/* ---- Every order of the parts of a sector, tried the long way ---- */

#define ORDERED_WRITES 4

struct orders {
    unsigned offset[ORDERED_WRITES];
    unsigned length[ORDERED_WRITES];
    struct texts texts;
};

static void add_orders(struct orders *orders, const uint8_t *sector,
                       unsigned used)
{
    FILE *out =
        fmemopen(orders->texts.list[orders->texts.count], MAX_TEXT, "w");

    print_sector(sector, SECTOR, out);
    fclose(out);
    orders->texts.count++;
    for (unsigned i = 0; i < ORDERED_WRITES; i++) {
        uint8_t next[SECTOR];

        if (used & (1u << i))
            continue;
        memcpy(next, sector, SECTOR);
        memset(next + orders->offset[i], 'A' + (int)i, orders->length[i]);
        add_orders(orders, next, used | 1u << i);
    }
}

static void drop_doubles(struct texts *texts)
{
    size_t kept = 0;

    sort_texts(texts);
    for (size_t i = 0; i < texts->count; i++)
        if (kept == 0 || strcmp(texts->list[kept - 1], texts->list[i]) != 0)
            memmove(texts->list[kept++], texts->list[i], MAX_TEXT);
    texts->count = kept;
}

static void test_every_order_of_parts(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct orders orders = { .texts = { calloc(65, MAX_TEXT), 0 } };
        uint64_t random = seed;
        struct recording rec;
        struct texts got;
        uint8_t sector[SECTOR];
        char word[64];
        bool all;

        recording_init(&rec, "x");
        for (unsigned i = 0; i < ORDERED_WRITES; i++) {
            const bool whole = next_random(&random, 5) == 0;

            orders.offset[i] = whole ? 0 : next_random(&random, 4) * 64;
            orders.length[i] =
                whole ? SECTOR : (1 + next_random(&random, 4)) * 64;
            snprintf(word, sizeof(word), "W%u+%u=%c", orders.offset[i],
                     orders.length[i], 'A' + (char)i);
            run_word(&rec, word);
        }
        memset(sector, 'x', SECTOR);
        add_orders(&orders, sector, 0);
        drop_doubles(&orders.texts);
        got = list_states(&rec, ORDERED_WRITES, 100, 0, &all);
        assert_true(all);
        assert_same_texts("orders", &got, &orders.texts);
        free(got.list);
        free(orders.texts.list);
        recording_done(&rec);
    }
}

/* ---- States are stores ---- */

/* A state may be written without a trace in the next one or in the log. */
static void test_states_are_their_own(void **state)
{
    struct crash_states *states = NULL;
    struct byre_store *first = NULL, *second = NULL;
    struct recording rec;
    char text[MAX_TEXT];

    (void)state;
    recording_init(&rec, "xyz");
    run_script(&rec, "W0+512=A F W512+512=B");
    assert_int_equal(crash_states_new(rec.log, 16, 0, &states, NULL), BYRE_OK);
    assert_int_equal(crash_states_seek(states, 3, NULL), BYRE_OK);
    assert_int_equal(crash_states_build(states, 1, &first, NULL), BYRE_OK);
    assert_int_equal(store_resize(first, 600, NULL), BYRE_OK);
    assert_int_equal(store_write(first, 10, "123", 3, NULL), BYRE_OK);
    assert_int_equal(store_zero(first, 20, 5, 0, NULL), BYRE_OK);
    assert_int_equal(store_resize(first, 1536, NULL), BYRE_OK);
    assert_int_equal(store_flush(first, NULL), BYRE_OK);
    print_stores(&first, 1, text);
    assert_string_equal(text, "(A10112131A7.5A487)(B88.424).");

    assert_int_equal(crash_states_build(states, 1, &second, NULL), BYRE_OK);
    print_stores(&second, 1, text);
    assert_string_equal(text, "ABz");
    byre_store_unref(first);
    byre_store_unref(second);
    assert_int_equal(crash_states_build(states, 2, &second, NULL),
                     BYRE_E_INVALID);
    assert_int_equal(crash_states_seek(states, 4, NULL), BYRE_E_INVALID);
    crash_states_free(states);
    assert_int_equal(crash_states_new(rec.log, 0, 0, &states, NULL),
                     BYRE_E_INVALID);
    recording_done(&rec);
}

/*
 * Whoever goes on reading what is discarded meets zeroes, and whoever takes it
 * for zeroes meets what it was: in a store of the log and in those of a state.
 */
static void test_discarded_sectors(void **state)
{
    struct byre_store *store = NULL;
    struct crash_states *states = NULL;
    struct recording rec;
    char text[MAX_TEXT];

    (void)state;
    recording_init(&rec, "stuvwxyz");
    run_word(&rec, "D100+3900");
    print_stores(rec.stores, 1, text);
    assert_string_equal(text, "(s100.412)t.vw.y(.416z96)");

    assert_int_equal(crash_states_new(rec.log, 16, 0, &states, NULL), BYRE_OK);
    assert_int_equal(crash_states_build(states, 0, &store, NULL), BYRE_OK);
    assert_int_equal(store_discard(store, 100, 3900, NULL), BYRE_OK);
    print_stores(&store, 1, text);
    assert_string_equal(text, "(s100.412)t.vw.y(.416z96)");
    assert_int_equal(size_of(store), 4096);
    byre_store_unref(store);
    crash_states_free(states);
    recording_done(&rec);
}

/* ---- The stores ---- */

static void test_recorder_is_a_store(void **state)
{
    struct record_log *log = NULL;
    struct byre_store *store = NULL;
    struct record record;
    uint8_t buf[1000];

    (void)state;
    pattern_fill(buf, sizeof(buf), 0);
    assert_int_equal(record_log_new(&log, NULL), BYRE_OK);
    assert_int_equal(recorder_store_new(log, buf, 1000, &store, NULL), BYRE_OK);
    check_ends(store, 0);
    assert_int_equal(record_log_length(log), 0);

    assert_int_equal(store_write(store, 100, "abc", 3, NULL), BYRE_OK);
    assert_int_equal(store_resize(store, 101, NULL), BYRE_OK);
    assert_int_equal(store_resize(store, 2000, NULL), BYRE_OK);
    assert_int_equal(store_read(store, 99, buf, 1000, NULL), BYRE_OK);
    assert_int_equal(buf[0], pattern_at(99));
    assert_int_equal(buf[1], 'a');
    assert_true(all_bytes_are(buf + 2, 998, 0));
    assert_int_equal(size_of(store), 2000);

    /* Far offsets take no more memory than near ones. */
    assert_int_equal(store_write(store, UINT64_C(1) << 50, "z", 1, NULL),
                     BYRE_OK);
    assert_int_equal(size_of(store), (UINT64_C(1) << 50) + 1);
    assert_int_equal(store_flush(store, NULL), BYRE_OK);

    assert_int_equal(record_log_length(log), 5);
    record = record_log_at(log, 0);
    assert_int_equal(record.kind, RECORD_WRITE);
    assert_int_equal(record.offset, 100);
    assert_memory_equal(record.bytes, "abc", record.length);
    assert_int_equal(record_log_at(log, 4).kind, RECORD_FLUSH);
    assert_int_equal(store_discard(store, 512, 1024, NULL), BYRE_OK);
    record = record_log_at(log, 5);
    assert_int_equal(record.kind, RECORD_DISCARD);
    assert_int_equal(record.offset, 512);
    assert_int_equal(record.length, 1024);
    byre_store_unref(store);
    record_log_free(log);
}

#define THREADS       4
#define WRITES_OF_ONE 200

static void *write_often(void *user)
{
    struct byre_store *store = user;
    uint8_t byte = 0;

    for (unsigned i = 0; i < WRITES_OF_ONE; i++) {
        store_read(store, i, &byte, 1, NULL);
        byte = (uint8_t)(byte + 1 + i);
        store_write(store, i * 7 % 2048, &byte, 1, NULL);
        if (i % 50 == 49)
            store_flush(store, NULL);
    }
    return NULL;
}

/* With many threads the log is still the order in which the bytes changed. */
static void test_threads(void **state)
{
    struct crash_states *states = NULL;
    struct byre_store *last = NULL;
    uint8_t got[2048], want[2048];
    pthread_t threads[THREADS];
    struct recording rec;
    uint64_t length;

    (void)state;
    recording_init(&rec, "....");
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(
            pthread_create(&threads[i], NULL, write_often, rec.stores[0]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    run_word(&rec, "F");

    length = record_log_length(rec.log);
    assert_int_equal(length, THREADS * (WRITES_OF_ONE + 4) + 1);
    assert_int_equal(crash_states_new(rec.log, 8, 0, &states, NULL), BYRE_OK);
    assert_int_equal(crash_states_seek(states, length, NULL), BYRE_OK);
    assert_int_equal(crash_states_count(states), 1);
    assert_int_equal(crash_states_build(states, 0, &last, NULL), BYRE_OK);
    store_read(rec.stores[0], 0, want, sizeof(want), NULL);
    store_read(last, 0, got, sizeof(got), NULL);
    assert_memory_equal(got, want, sizeof(got));
    byre_store_unref(last);
    crash_states_free(states);
    recording_done(&rec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_every_order_of_parts),
        cmocka_unit_test(test_states_are_their_own),
        cmocka_unit_test(test_discarded_sectors),
        cmocka_unit_test(test_recorder_is_a_store),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
