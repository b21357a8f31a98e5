/* SPDX-License-Identifier: MIT */
/*
 * Without these, a crash or a failing disk in the middle of a rebuild could
 * leave an image that nobody can rebuild any more, or that claims to be clean.
 */
#include "rebuild_image.h"

#include "store/fault.h"
#include "store/recorder.h"

/* A small spoilt image with a snapshot. */
static uint8_t *make_small(const char *options, size_t *ret_length)
{
    struct byre_store *store;
    uint8_t *bytes;
    char line[1024];

    snprintf(line, sizeof(line),
             CREATE "%s img 64k; qemu-io -c 'write -P 1 0 24k' img;"
                    "qemu-img snapshot -c a img;"
                    "qemu-io -c 'write -P 2 4k 4k' img;"
                    "qemu-img convert -O raw img content;"
                    "qemu-img convert -O raw -l a img snapshot",
             options);
    must_run(line);
    bytes = load_file("img", ret_length);
    store = store_of(bytes, *ret_length);
    free(bytes);
    spoil(store);
    bytes = copy_bytes(store, ret_length);
    byre_store_unref(store);
    return bytes;
}

struct crash {
    uint64_t old_table; /* where it was before */
    bool has_dirty_bit;
    uint64_t visited;
    uint64_t clean;
};

/* A state is clean and right, or dirty, and then it can be rebuilt. */
static int visit_crash(void *user, const struct crash_point *point,
                       struct byre_store *const *stores, struct byre_error *err)
{
    struct crash *crash = user;
    struct qcow2 *qcow2 = open_image(stores[0]);
    const bool is_old =
        crash->has_dirty_bit
            ? is_dirty(qcow2)
            : qcow2->header.refcount_table_offset == crash->old_table;
    int r = BYRE_OK;

    (void)point;
    crash->visited++;
    crash->clean += !is_old;
    /* Without the bit, the flags come after the counts. */
    if (!is_old)
        r = judge_parts(qcow2, crash->has_dirty_bit, err);
    if (r == BYRE_OK && (is_old || !crash->has_dirty_bit))
        r = qcow2_rebuild_refcounts(qcow2, SMALL_BUDGET, err);
    if (r == BYRE_OK)
        r = judge_image(qcow2, err);
    if (r == BYRE_OK && crash->visited % 64 == 0) {
        save_file(stores[0], "img");
        qemu_judges("img", true);
    }
    close_image(qcow2);
    return r;
}

static void crash_image(const char *options)
{
    const struct crash_limits limits = { .states_per_cut = 100 };
    struct byre_error err = { .message = "" };
    struct record_log *log = NULL;
    struct byre_store *store = NULL;
    struct crash_report report;
    struct crash crash = { 0 };
    struct qcow2 *qcow2;
    size_t length;
    uint8_t *bytes = make_small(options, &length);

    assert_int_equal(record_log_new(&log, NULL), BYRE_OK);
    assert_int_equal(recorder_store_new(log, bytes, length, &store, NULL),
                     BYRE_OK);
    qcow2 = open_image(store);
    crash.old_table = qcow2->header.refcount_table_offset;
    crash.has_dirty_bit = qcow2->header.version >= 3;
    assert_int_equal(qcow2_rebuild_refcounts(qcow2, SMALL_BUDGET, &err),
                     BYRE_OK);
    close_image(qcow2);
    byre_store_unref(store);
    if (crash_replay(log, &limits, 1, visit_crash, &crash, &report, &err) < 0)
        print_error("%s: %s\n", options, err.message);
    assert_string_equal(err.message, "");
    assert_true(crash.clean > 0 && crash.visited > crash.clean + 20);
    print_message("%s: %llu states at %llu cuts\n", options,
                  (unsigned long long)report.states,
                  (unsigned long long)report.cuts);
    record_log_free(log);
    free(bytes);
}

static void test_crashes(void **state)
{
    (void)state;
    if (!have_qemu())
        skip();
    crash_image("cluster_size=512");
    crash_image("cluster_size=512,refcount_bits=64");
    crash_image("cluster_size=4k,refcount_bits=2");
    crash_image("cluster_size=16k,extended_l2=on");
    crash_image("cluster_size=1k,compat=0.10");
}

/* Returns whether the n-th call was made, and so failed. */
static bool fail_nth(const uint8_t *bytes, size_t length, enum fault_kind kind,
                     const struct fault *fault)
{
    struct byre_store *base = store_of(bytes, length), *store = NULL;
    struct byre_error err = { .message = "" };
    struct faults faults;
    struct qcow2 *qcow2;
    bool failed;
    int r;

    faults_init(&faults);
    assert_int_equal(fault_store_new(base, &faults, &store, NULL), BYRE_OK);
    qcow2 = open_image(store);
    faults_set(&faults, kind, fault);
    r = qcow2_rebuild_refcounts(qcow2, SMALL_BUDGET, &err);
    failed = faults_failed(&faults) > 0;
    assert_int_equal(r, failed ? BYRE_E_IO : BYRE_OK);
    assert_int_equal(err.message[0] != '\0', failed);
    close_image(qcow2);
    byre_store_unref(store);

    qcow2 = open_image(base);
    if (is_dirty(qcow2))
        assert_int_equal(qcow2_rebuild_refcounts(qcow2, SMALL_BUDGET, NULL),
                         BYRE_OK);
    assert_int_equal(judge_image(qcow2, NULL), BYRE_OK);
    close_image(qcow2);
    byre_store_unref(base);
    return failed;
}

static void test_faults(void **state)
{
    static const enum fault_kind kinds[] = { FAULT_READ, FAULT_WRITE,
                                             FAULT_FLUSH, FAULT_GET_SIZE };
    static const uint32_t flags[] = { 0, FAULT_PERSISTS };
    uint8_t *bytes;
    size_t length;

    (void)state;
    if (!have_qemu())
        skip();
    bytes = make_small("cluster_size=1k,refcount_bits=8", &length);
    for (size_t i = 0; i < 2 * sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct fault fault = { .flags = flags[i % 2], .sectors_landed = i % 2 };

        do {
            fault.nth++;
        } while (fail_nth(bytes, length, kinds[i / 2], &fault));
        assert_true(fault.nth > 2);
    }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crashes),
        cmocka_unit_test(test_faults),
    };

    return cmocka_run_group_tests_name("rebuild_crash", tests, enter_scratch,
                                       leave_scratch);
}
