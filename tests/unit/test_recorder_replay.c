/* SPDX-License-Identifier: MIT */
/*
 * Without this test, samples could show what no power cut leaves, or always the
 * same, and a replay could pass a program that forgets a barrier.
 */
#include "recorder_script.h"

/* ---- Random logs ---- */

static void random_word(uint64_t *seed, unsigned unit, char *word, size_t size)
{
    const unsigned units = DISK_SECTORS * SECTOR / 2 / unit;
    const unsigned offset = next_random(seed, units) * unit;
    const unsigned length = (1 + next_random(seed, 3)) * unit;
    const unsigned store = next_random(seed, MAX_STORES);

    switch (next_random(seed, 9)) {
    case 0:
        snprintf(word, size, "%u:F", store);
        break;
    case 1:
        snprintf(word, size, "%u:R%u", store, offset);
        break;
    case 2:
        snprintf(word, size, "%u:Z%u+%u", store, offset, length);
        break;
    case 3:
        snprintf(word, size, "%u:D%u+%u", store, offset, length);
        break;
    default:
        snprintf(word, size, "%u:W%u+%u=%c", store, offset, length,
                 'A' + (char)next_random(seed, 26));
    }
}

static void random_recording(struct recording *rec, uint64_t seed,
                             unsigned words)
{
    const unsigned unit = seed % 2 == 0 ? SECTOR : 128;
    char word[64];

    recording_init(rec, "xyz|pq");
    while (words-- > 0) {
        random_word(&seed, unit, word, sizeof(word));
        run_word(rec, word);
    }
}

/*
 * What is sampled is a state, the second sample is the newest.  Returns how
 * many of the states were met.
 */
static size_t check_samples(struct recording *rec, uint64_t seed,
                            const struct texts *all)
{
    const uint64_t limit = all->count - 1;
    bool *met = calloc(all->count, sizeof(*met));
    struct crash_states *states = NULL;
    char text[MAX_TEXT], newest[MAX_TEXT];
    size_t count = 0;

    assert_int_equal(crash_states_new(rec->log, limit, seed, &states, NULL),
                     BYRE_OK);
    assert_int_equal(
        crash_states_seek(states, record_log_length(rec->log), NULL), BYRE_OK);
    assert_false(crash_states_exhaustive(states));
    assert_int_equal(crash_states_count(states), limit);
    print_stores(rec->stores, rec->store_count, newest);
    for (uint64_t i = 0; i < limit; i++) {
        size_t index;

        build_text(states, rec->store_count, i, text);
        index = find_text(all, text);
        if (index == all->count)
            print_error("seed %llu: no state: %s\n", (unsigned long long)seed,
                        text);
        assert_in_range(index, 0, all->count - 1);
        if (i == 1)
            assert_string_equal(text, newest);
        count += !met[index];
        met[index] = true;
    }
    crash_states_free(states);
    free(met);
    return count;
}

/* Sampling and listing agree, and sampling does not draw the same for ever. */
static void test_samples_are_states(void **state)
{
    size_t compared = 0, total = 0, met = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct recording rec;
        struct texts all;
        bool exhaustive;

        random_recording(&rec, seed, 6);
        all =
            list_states(&rec, record_log_length(rec.log), 2000, 0, &exhaustive);
        for (size_t i = 1; exhaustive && i < all.count; i++)
            assert_string_not_equal(all.list[i - 1], all.list[i]);
        if (exhaustive && all.count > 2) {
            met += check_samples(&rec, seed, &all);
            total += all.count;
            compared++;
        }
        free(all.list);
        recording_done(&rec);
    }
    assert_true(compared >= 50);
    assert_true(met >= total / 5);
}

/* ---- The states of a long log ---- */

/* The same numbers give the same states, however the cut was reached. */
static void test_seeds(void **state)
{
    struct crash_states *once = NULL, *again = NULL, *other = NULL;
    char text[MAX_TEXT], text_again[MAX_TEXT], text_other[MAX_TEXT];
    size_t different = 0, sampled = 0;
    struct recording rec;
    uint64_t length;

    (void)state;
    random_recording(&rec, 7, 60);
    length = record_log_length(rec.log);
    assert_int_equal(crash_states_new(rec.log, 40, 5, &once, NULL), BYRE_OK);
    assert_int_equal(crash_states_new(rec.log, 40, 5, &again, NULL), BYRE_OK);
    assert_int_equal(crash_states_new(rec.log, 40, 6, &other, NULL), BYRE_OK);
    for (uint64_t cut = 0; cut <= length; cut++) {
        assert_int_equal(crash_states_seek(once, cut, NULL), BYRE_OK);
        assert_int_equal(crash_states_seek(again, length, NULL), BYRE_OK);
        assert_int_equal(crash_states_seek(again, cut, NULL), BYRE_OK);
        assert_int_equal(crash_states_seek(other, cut, NULL), BYRE_OK);
        assert_int_equal(crash_states_count(once), crash_states_count(again));
        sampled += !crash_states_exhaustive(once);
        for (uint64_t i = crash_states_count(once); i-- > 0;) {
            build_text(once, rec.store_count, i, text);
            build_text(again, rec.store_count, i, text_again);
            build_text(other, rec.store_count, i, text_other);
            assert_string_equal(text, text_again);
            different += strcmp(text, text_other) != 0;
        }
    }
    assert_true(sampled > 10 && different > 100);
    crash_states_free(once);
    crash_states_free(again);
    crash_states_free(other);
    recording_done(&rec);
}

/* ---- A journal of two sectors ---- */

/*
 * A toy that keeps two sectors equal: it writes both beside their places, marks
 * that as valid, writes them in place, and clears the mark.  A barrier stands
 * behind each of the four steps; `omitted` names one that is left out.
 *
 * The mark is in a store of its own, so that a barrier of the wrong store shows
 * as well.
 */
enum { HOME = 0, COPY = 2, TRANSACTIONS = 3, STEPS = 4 };

struct toy {
    struct recording rec;
    int omitted; /* 0 to STEPS - 1; STEPS: none; STEPS + 1: all on one store */
    /* Where the log was when transaction i was promised. */
    uint64_t promised[TRANSACTIONS + 1];
};

static void barrier(struct toy *toy, int step)
{
    const bool on_mark = step == 1 || step == 3;

    if (toy->omitted == step || (toy->omitted == STEPS + 1 && on_mark))
        return;
    run_word(&toy->rec, on_mark ? "1:F" : "0:F");
}

static void run_transaction(struct toy *toy, int number)
{
    const char letter = (char)('A' + number);
    char word[64];

    snprintf(word, sizeof(word), "W%d+1024=%c", COPY * SECTOR, letter);
    run_word(&toy->rec, word);
    barrier(toy, 0);
    run_word(&toy->rec, "1:W0+512=V");
    barrier(toy, 1);
    snprintf(word, sizeof(word), "W%d+1024=%c", HOME * SECTOR, letter);
    run_word(&toy->rec, word);
    barrier(toy, 2);
    run_word(&toy->rec, "1:Z0+512");
    barrier(toy, 3);
    toy->promised[number] = record_log_length(toy->rec.log);
}

static void toy_init(struct toy *toy, int omitted)
{
    *toy = (struct toy){ .omitted = omitted };
    recording_init(&toy->rec, "AA..|.");
    for (int i = 1; i <= TRANSACTIONS; i++)
        run_transaction(toy, i);
}

/* What the toy does after a power cut. */
static void recover(struct byre_store *const *stores, uint8_t *home)
{
    uint8_t mark = 0;

    store_read(stores[1], 0, &mark, 1, NULL);
    store_read(stores[0], (mark == 'V' ? COPY : HOME) * SECTOR, home,
               2 * SECTOR, NULL);
}

/* Both sectors are equal, and no older than what was promised. */
static int visit_toy(void *user, const struct crash_point *point,
                     struct byre_store *const *stores, struct byre_error *err)
{
    const struct toy *toy = user;
    uint8_t home[2 * SECTOR];
    int newest = 0;

    recover(stores, home);
    for (int i = 1; i <= TRANSACTIONS; i++)
        if (point->cut >= toy->promised[i])
            newest = i;
    if (all_bytes_are(home, sizeof(home), home[0]) && home[0] >= 'A' + newest)
        return BYRE_OK;
    err->code = BYRE_E_CORRUPT;
    snprintf(err->message, sizeof(err->message), "%c and %c after %d", home[0],
             home[SECTOR], newest);
    return BYRE_E_CORRUPT;
}

/* The point of the report fails again when it is built by itself. */
static void check_reproduces(struct toy *toy, const struct crash_point *point)
{
    struct byre_store *stores[MAX_STORES];
    struct crash_states *states = NULL;
    struct byre_error err = { .message = "" };

    assert_int_equal(crash_states_new(toy->rec.log, point->limit, point->seed,
                                      &states, NULL),
                     BYRE_OK);
    assert_int_equal(crash_states_seek(states, point->cut, NULL), BYRE_OK);
    assert_int_equal(crash_states_build(states, point->number, stores, NULL),
                     BYRE_OK);
    assert_int_equal(visit_toy(toy, point, stores, &err), BYRE_E_CORRUPT);
    byre_store_unref(stores[0]);
    byre_store_unref(stores[1]);
    crash_states_free(states);
}

static void test_replay_passes_a_right_journal(void **state)
{
    struct crash_limits limits = { 0 };
    struct crash_report report = { 0 };
    struct byre_error err = { .message = "" };
    struct toy toy;

    (void)state;
    toy_init(&toy, STEPS);
    if (crash_replay(toy.rec.log, &limits, 1, visit_toy, &toy, &report, &err) <
        0)
        print_error("%s\n", err.message);
    assert_string_equal(err.message, "");
    assert_int_equal(report.cuts, record_log_length(toy.rec.log) + 1);
    assert_int_equal(report.exhaustive_cuts, report.cuts);
    /* A write of two sectors has 4 states, the mark 2, a barrier 1. */
    assert_int_equal(report.states, 1 + TRANSACTIONS * 2 * (4 + 1 + 2 + 1));

    limits = (struct crash_limits){ .first_cut = 3, .last_cut = 9 };
    assert_int_equal(
        crash_replay(toy.rec.log, &limits, 1, visit_toy, &toy, &report, NULL),
        BYRE_OK);
    assert_int_equal(report.cuts, 7);
    recording_done(&toy.rec);
}

/* Whether the replay of a toy fails, and says where. */
static bool is_caught(int omitted, uint64_t limit, uint64_t seed)
{
    const struct crash_limits limits = { .states_per_cut = limit };
    struct crash_report report = { 0 };
    struct byre_error err = { .message = "" };
    char where[64];
    struct toy toy;
    int r;

    toy_init(&toy, omitted);
    r = crash_replay(toy.rec.log, &limits, seed, visit_toy, &toy, &report,
                     &err);
    if (r < 0) {
        assert_int_equal(r, BYRE_E_CORRUPT);
        snprintf(where, sizeof(where), "cut %llu, state %llu (",
                 (unsigned long long)report.last.cut,
                 (unsigned long long)report.last.number);
        assert_memory_equal(err.message, where, strlen(where));
        check_reproduces(&toy, &report.last);
    }
    recording_done(&toy.rec);
    return r < 0;
}

#define SEEDS 20

/* Whichever barrier is left out, a state shows it, and some seeds do with
   fewer samples than there are states. */
static void test_replay_catches_wrong_journals(void **state)
{
    (void)state;
    for (int omitted = 0; omitted <= STEPS + 1; omitted++) {
        int caught = 0;

        if (omitted == STEPS)
            continue;
        assert_true(is_caught(omitted, 0, 1));
        for (uint64_t seed = 0; seed < SEEDS; seed++)
            caught += is_caught(omitted, 6, seed);
        if (caught < SEEDS / 10)
            print_error("without barrier %d: %d caught\n", omitted, caught);
        assert_in_range(caught, SEEDS / 10, SEEDS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples_are_states),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_replay_passes_a_right_journal),
        cmocka_unit_test(test_replay_catches_wrong_journals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
