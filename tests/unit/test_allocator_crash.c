/* SPDX-License-Identifier: MIT */
/*
 * Without these, a power cut or a failing write could leave a cluster that
 * something points to with a count of zero: the next program would hand it out,
 * and two files would share it.
 */
#include <stdio.h>

#include "allocator_fixture.h"
#include "store/fault.h"
#include "store/recorder.h"

/* ---- What the engine would do ---- */

#define MAX_RUNS 2048
#define CLUSTERS (1u << 15)

/* A run that was taken; a pointer to it is on the disk between two cuts. */
struct owned {
    uint64_t cluster;
    uint64_t clusters;
    uint64_t linked;   /* the cut from which on the pointer may be there */
    uint64_t unlinked; /* the one from which on it is gone */
    enum { TAKEN, LINKED, RELEASED, GONE } state;
};

struct script {
    struct fixture f;
    struct record_log *log; /* NULL: no cuts */
    struct owned runs[MAX_RUNS];
    size_t count;
    uint64_t random;
    uint64_t failed;
};

static uint64_t next_random(struct script *s, uint64_t below)
{
    s->random = s->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (s->random >> 33) % below;
}

static uint64_t now(const struct script *s)
{
    return s->log != NULL ? record_log_length(s->log) : 0;
}

static void own(struct script *s, uint64_t cluster, uint64_t clusters)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct owned *run = &s->runs[i];

        if (run->state == GONE)
            continue;
        if (cluster < run->cluster + run->clusters &&
            run->cluster < cluster + clusters)
            fail_msg("cluster %llu is handed out twice",
                     (unsigned long long)cluster);
    }
    assert_true(s->count < MAX_RUNS);
    s->runs[s->count++] = (struct owned){
        .cluster = cluster,
        .clusters = clusters,
        .linked = UINT64_MAX,
        .unlinked = UINT64_MAX,
        .state = TAKEN,
    };
}

static void step_take(struct script *s)
{
    const uint64_t n = next_random(s, 90) + 1;
    struct host_run run;
    int r;

    r = next_random(s, 3) == 0
            ? allocator_take_all(s->f.allocator, n, &run, NULL)
            : allocator_take(s->f.allocator, n, &run, NULL);
    if (r < 0) {
        s->failed++;
        return;
    }
    if (next_random(s, 8) == 0)
        s->failed += allocator_give_back(s->f.allocator, run.offset,
                                         run.clusters << 9, NULL) < 0;
    else
        own(s, run.offset >> 9, run.clusters);
}

static void step_release(struct script *s)
{
    struct owned *run;

    if (s->count == 0)
        return;
    run = &s->runs[next_random(s, s->count)];
    if (run->state == TAKEN || run->state == LINKED) {
        assert_int_equal(allocator_release(s->f.allocator, run->cluster << 9,
                                           run->clusters << 9, ALLOCATOR_PUNCH,
                                           NULL),
                         BYRE_OK);
        run->state = RELEASED;
    }
}

/* The flush of allocator.h, with the pointers of all that was taken. */
static int flush_parts(struct script *s, struct release_batch **batch)
{
    struct allocator *a = s->f.allocator;
    const size_t count = s->count;
    bool *covered = calloc(MAX_RUNS, sizeof(*covered));
    int r;

    for (size_t i = 0; i < count; i++)
        covered[i] = s->runs[i].state == RELEASED;
    r = allocator_flush_begin(a, batch, NULL);
    if (r == BYRE_OK)
        r = allocator_flush_counts(a, NULL);
    if (r == BYRE_OK)
        r = store_flush(s->f.store, NULL);
    if (r == BYRE_OK) {
        allocator_flush_durable(a);
        for (size_t i = 0; i < count; i++) {
            if (s->runs[i].state == TAKEN) {
                s->runs[i].state = LINKED;
                s->runs[i].linked = now(s);
            }
        }
        r = store_flush(s->f.store, NULL);
    }
    if (r == BYRE_OK) {
        for (size_t i = 0; i < count; i++) {
            if (covered[i] && s->runs[i].state == RELEASED) {
                s->runs[i].state = GONE;
                s->runs[i].unlinked = now(s);
            }
        }
        r = allocator_flush_unlinked(a, *batch, NULL);
    }
    free(covered);
    return r;
}

static void step_flush(struct script *s)
{
    struct release_batch *batch = NULL;

    if (flush_parts(s, &batch) < 0) {
        allocator_flush_failed(s->f.allocator, batch);
        s->failed++;
    }
}

static void run_script(struct script *s, int steps, uint64_t seed)
{
    s->random = seed;
    for (int i = 0; i < steps; i++) {
        switch (next_random(s, 8)) {
        case 0:
            step_flush(s);
            break;
        case 1:
        case 2:
            step_release(s);
            break;
        default:
            step_take(s);
        }
    }
}

/* ---- Power cuts ---- */

static int visit(void *user, const struct crash_point *point,
                 struct byre_store *const *stores, struct byre_error *err)
{
    const struct script *s = user;
    struct disk_counts d = { 0 };
    int r = BYRE_OK;

    if (!disk_counts_read(stores[0], &d) || !disk_counts_take_metadata(&d)) {
        snprintf(err->message, sizeof(err->message), "metadata counts as free");
        r = BYRE_E_CORRUPT;
    }
    for (size_t i = 0; i < s->count && r == BYRE_OK; i++) {
        const struct owned *run = &s->runs[i];

        if (point->cut < run->linked || point->cut >= run->unlinked)
            continue;
        for (uint64_t j = 0; j < run->clusters; j++) {
            if (disk_count(&d, run->cluster + j) == 0) {
                snprintf(err->message, sizeof(err->message),
                         "cluster %llu counts as free",
                         (unsigned long long)(run->cluster + j));
                r = BYRE_E_CORRUPT;
            }
        }
    }
    disk_counts_done(&d);
    return r;
}

static void test_cuts_lose_no_count(void **state)
{
    const struct crash_limits limits = { .states_per_cut = 12 };

    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct script *s = calloc(1, sizeof(*s));
        struct byre_store *store = NULL;
        struct crash_report report;
        struct byre_error err = { 0 };
        size_t length;
        uint8_t *bytes = minimal_image(9, 6, &length);
        int r;

        assert_int_equal(record_log_new(&s->log, NULL), BYRE_OK);
        assert_int_equal(
            recorder_store_new(s->log, bytes, length, &store, NULL), BYRE_OK);
        assert_int_equal(fixture_open(&s->f, store, 0, NULL), BYRE_OK);
        run_script(s, 420, seed);
        assert_int_equal(s->failed, 0);
        assert_true(s->f.qcow2.header.refcount_table_clusters > 1);
        r = crash_replay(s->log, &limits, seed, visit, s, &report, &err);
        if (r < 0)
            print_error("seed %llu: %s\n", (unsigned long long)seed,
                        err.message);
        assert_int_equal(r, BYRE_OK);
        assert_true(report.states > 500);
        fixture_done(&s->f);
        record_log_free(s->log);
        free(bytes);
        free(s);
    }
}

/* ---- Failures ---- */

/* What the file counts is what is owned, and its own structures. */
static void check_exactly(struct script *s)
{
    uint8_t *want = calloc(CLUSTERS, 1);
    struct disk_counts d = { 0 };

    for (size_t i = 0; i < s->count; i++) {
        if (s->runs[i].state != GONE)
            memset(want + s->runs[i].cluster, 1, s->runs[i].clusters);
    }
    assert_true(disk_counts_read(s->f.store, &d));
    assert_true(disk_counts_take_metadata(&d));
    for (uint64_t i = 0; i < max_u64(CLUSTERS, d.clusters); i++)
        assert_int_equal(disk_count(&d, i), i < CLUSTERS ? want[i] : 0);
    disk_counts_done(&d);
    free(want);
}

/* Returns whether the call was reached at all. */
static bool fail_once(enum fault_kind kind, uint64_t nth, uint64_t sectors)
{
    const struct fault fault = { .nth = nth, .sectors_landed = sectors };
    struct script *s = calloc(1, sizeof(*s));
    struct byre_store *base = minimal_store(9, 6), *store = NULL;
    struct faults faults;
    bool reached;

    faults_init(&faults);
    assert_int_equal(fault_store_new(base, &faults, &store, NULL), BYRE_OK);
    assert_int_equal(fixture_open(&s->f, store, 0, NULL), BYRE_OK);
    faults_set(&faults, kind, &fault);
    run_script(s, 420, 5);
    reached = faults_failed(&faults) > 0;
    faults_init(&faults);
    for (int i = 0; allocator_is_dirty(s->f.allocator) && i < 4; i++)
        step_flush(s);
    assert_false(allocator_is_dirty(s->f.allocator));
    check_exactly(s);
    assert_true(s->f.qcow2.header.refcount_table_clusters > 1);
    fixture_done(&s->f);
    byre_store_unref(base);
    free(s);
    return reached;
}

static void test_failures_lose_nothing(void **state)
{
    static const enum fault_kind kinds[] = { FAULT_READ, FAULT_WRITE,
                                             FAULT_FLUSH };

    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        uint64_t nth = 1;

        while (fail_once(kinds[i], nth, 0))
            nth++;
        assert_true(nth > 20);
    }
    for (uint64_t nth = 1; fail_once(FAULT_WRITE, nth, 1); nth++)
        ;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts_lose_no_count),
        cmocka_unit_test(test_failures_lose_nothing),
    };

    return cmocka_run_group_tests_name("allocator_crash", tests, NULL, NULL);
}
