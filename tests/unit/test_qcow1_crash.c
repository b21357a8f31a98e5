/* SPDX-License-Identifier: MIT */
/*
 * Without these, a version 1 image could lose after a power cut what was
 * flushed, hand out again what its tables point to, or hide a failing call.
 */
#include "qcow1_case.h"
#include "store/fault.h"
#include "store/recorder.h"

/* ---- A script, and what it leaves ---- */

#define STEPS       24
#define CRASH_BYTES (96u * SECTOR)

/* What the disk held before and after each step of a script. */
struct history {
    uint8_t contents[STEPS + 1][CRASH_BYTES];
    uint64_t begun[STEPS + 1];      /* the log's length when its step began */
    size_t count;                   /* of contents */
    size_t flushed;                 /* the last content that is durable */
    uint64_t flushed_at[STEPS + 1]; /* the log's length then; 0: it is not */
};

/* Whether each sector is as in one of the contents [from, to]. */
static bool history_allows(const struct history *history, size_t from,
                           size_t to, const uint8_t *bytes)
{
    for (size_t at = 0; at < CRASH_BYTES; at += SECTOR) {
        size_t i = from;

        while (i <= to &&
               memcmp(history->contents[i] + at, bytes + at, SECTOR) != 0)
            i++;
        if (i > to)
            return false;
    }
    return true;
}

static int write_script_step(struct disk *disk, size_t step, uint64_t *seed,
                             struct byre_error *err)
{
    const uint32_t cluster = next_random(seed, CRASH_BYTES / CLUSTER) * CLUSTER;

    if (step % 4 == 3)
        return byre_flush(disk->img, err);
    if (step % 4 == 2 && !disk->shape->aes &&
        class_at(disk, cluster) == BYRE_CLASS_UNALLOCATED) {
        memset(disk->model + cluster, (int)step + 1, CLUSTER);
        return byre_write(disk->img, cluster, disk->model + cluster, CLUSTER,
                          BYRE_WRITE_COMPRESSED, err);
    }
    return operate(disk, seed, SECTOR, err);
}

static int run_script(struct disk *disk, struct record_log *log,
                      struct history *history, struct byre_error *err)
{
    uint64_t seed = 5;
    int r = BYRE_OK;

    *history = (struct history){ .count = 1 };
    memcpy(history->contents[0], disk->model, CRASH_BYTES);
    for (size_t step = 0; step < STEPS && r == BYRE_OK; step++) {
        history->begun[history->count] = log ? record_log_length(log) : 0;
        r = write_script_step(disk, step, &seed, err);
        memcpy(history->contents[history->count], disk->model, CRASH_BYTES);
        if (r == BYRE_OK && step % 4 == 3) {
            history->flushed = history->count;
            history->flushed_at[history->count] =
                log ? record_log_length(log) : 1;
        }
        history->count++;
    }
    return r;
}

struct crash {
    struct disk *disk; /* lends its backing image */
    const struct history *history;
};

/* Opens what was left, which holds what it must, and can be written. */
static int judge_file(const struct crash *crash, struct byre_store *store,
                      size_t from, size_t to, struct byre_error *err)
{
    struct disk left = *crash->disk;
    uint8_t bytes[CRASH_BYTES];
    int r;

    r = try_open(&left, store, BYRE_OPEN_WRITE, err);
    if (r < 0)
        return r;
    r = byre_read(left.img, 0, bytes, CRASH_BYTES, err);
    if (r == BYRE_OK && !history_allows(crash->history, from, to, bytes))
        r = fail(err, BYRE_E_CORRUPT, "a sector is what it never was");
    for (uint32_t at = 0; at < CRASH_BYTES && r == BYRE_OK; at += CLUSTER)
        r = byre_write(left.img, at + 3, "x", 1, 0, err);
    if (r < 0) {
        byre_close(left.img, NULL);
        return r;
    }
    r = byre_close(left.img, err);
    assert_layout(store, left.shape->name);
    return r;
}

static int visit_crash(void *user, const struct crash_point *point,
                       struct byre_store *const *stores, struct byre_error *err)
{
    const struct crash *crash = user;
    const struct history *history = crash->history;
    size_t from = 0, to = 0;

    for (size_t i = 1; i < history->count; i++) {
        if (history->flushed_at[i] != 0 && history->flushed_at[i] <= point->cut)
            from = i;
        if (history->begun[i] < point->cut)
            to = i;
    }
    return judge_file(crash, stores[0], from, to > from ? to : from, err);
}

/* ---- Crashes ---- */

static const struct shape crash_shapes[] = {
    { .name = "crash, plain" },
    { .name = "crash, small tables", 9, 6 },
    { .name = "crash, overlay", 12, 6, .overlay = true },
    { .name = "crash, AES", .aes = true },
};

#define CRASH_SHAPES (sizeof(crash_shapes) / sizeof(crash_shapes[0]))

static void crash_shape(const struct shape *shape)
{
    const struct crash_limits limits = { .states_per_cut = 48 };
    struct history *history = malloc(sizeof(*history));
    struct byre_error err = { .message = "" };
    struct byre_store *made = new_memory(NULL, 0), *store = NULL;
    struct crash_report report;
    struct record_log *log = NULL;
    struct disk disk;
    uint8_t head[2048];
    uint64_t length = 0;

    disk_init_on(&disk, shape, CRASH_BYTES, made);
    store_get_size(made, &length, NULL);
    assert_in_range(length, 1, sizeof(head));
    store_read(made, 0, head, (size_t)length, NULL);
    byre_store_unref(made);
    byre_store_unref(disk.store);
    assert_int_equal(record_log_new(&log, NULL), BYRE_OK);
    assert_int_equal(
        recorder_store_new(log, head, (size_t)length, &store, NULL), BYRE_OK);
    disk.store = store;
    open_disk(&disk);
    if (run_script(&disk, log, history, &err) < 0)
        flunk("%s: %s", shape->name, err.message);
    assert_content(&disk);
    close_disk(&disk);

    if (crash_replay(log, &limits, 1, visit_crash,
                     &(struct crash){ &disk, history }, &report, &err) < 0)
        flunk("%s: %s", shape->name, err.message);
    assert_true(report.states > 400);
    disk_done(&disk);
    record_log_free(log);
    free(history);
}

static void test_crashes(void **state)
{
    (void)state;
    for (size_t i = 0; i < CRASH_SHAPES; i++) {
        if (can_make(&crash_shapes[i]))
            crash_shape(&crash_shapes[i]);
    }
}

/* ---- Faults ---- */

/* One run with one fault; whether it was met. */
static bool run_with_fault(const struct shape *shape, enum fault_kind kind,
                           const struct fault *fault)
{
    struct history *history = malloc(sizeof(*history));
    struct byre_store *base = new_memory(NULL, 0), *store = NULL;
    struct byre_error err = { .message = "" };
    struct faults faults;
    struct disk disk;
    bool met;
    int r;

    disk_init_on(&disk, shape, CRASH_BYTES, base);
    faults_init(&faults);
    assert_int_equal(fault_store_new(base, &faults, &store, NULL), BYRE_OK);
    faults_set(&faults, kind, fault);
    *history = (struct history){ .count = 1 };
    memcpy(history->contents[0], disk.model, CRASH_BYTES);
    r = try_open(&disk, store, BYRE_OPEN_WRITE, &err);
    if (r == BYRE_OK)
        r = run_script(&disk, NULL, history, &err);
    if (disk.img != NULL && byre_close(disk.img, r < 0 ? NULL : &err) < 0)
        r = r < 0 ? r : err.code;
    disk.img = NULL;
    met = faults_failed(&faults) > 0;
    if (met != (r < 0) || (r < 0 && err.message[0] == '\0'))
        flunk("%s: call %llu: %d, '%s'", shape->name,
              (unsigned long long)fault->nth, r, err.message);
    if (judge_file(&(struct crash){ &disk, history }, base, history->flushed,
                   history->count - 1, &err) < 0)
        flunk("%s: call %llu: %s", shape->name, (unsigned long long)fault->nth,
              err.message);
    byre_store_unref(store);
    byre_store_unref(base);
    disk_done(&disk);
    free(history);
    return met;
}

static void test_every_failing_call(void **state)
{
    static const enum fault_kind kinds[] = { FAULT_READ, FAULT_WRITE,
                                             FAULT_FLUSH, FAULT_ANY };

    (void)state;
    for (size_t i = 0; i < CRASH_SHAPES; i++) {
        if (!can_make(&crash_shapes[i]))
            continue;
        for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
            struct fault fault = { .nth = 1, .sectors_landed = 1 };

            while (run_with_fault(&crash_shapes[i], kinds[k], &fault))
                fault.nth++;
            fault.flags = FAULT_PERSISTS;
            while (--fault.nth > 0)
                assert_true(run_with_fault(&crash_shapes[i], kinds[k], &fault));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crashes),
        cmocka_unit_test(test_every_failing_call),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
