/* SPDX-License-Identifier: MIT */
/*
 * Without these, a crash or a failing disk in the middle of a repair could cost
 * what the damage had left, leave an image that cannot be repaired any more, or
 * take the marks of damage off one that is not.
 */
#include "rebuild_image.h"

#include "store/fault.h"
#include "store/recorder.h"

#define DISK_BYTES 65536

/* ---- Damage ---- */

static const struct {
    const char *name;
    const char *options;
    /* In Python, with the words of damage_py. */
    const char *damage;
    const char *setup; /* of the image, before; NULL: none */
} cases[] = {
    { "leaks", "cluster_size=512", "count(30, 3); count(31, 0x8000)", NULL },
    { "low counts", "cluster_size=512", "count(0, 0); count(5, 0); count(9, 0)",
      NULL },
    { "low and high counts", "cluster_size=1k,refcount_bits=16",
      "count(4, 0); count(3, 7); count(7, 0); count(40, 2)", NULL },
    { "reserved bits", "cluster_size=512",
      "word(l1(0), get(l1(0)) | 5); word(l2(0), get(l2(0)) | 1 << 60)", NULL },
    { "stray flags", "cluster_size=512",
      "word(l1(0), get(l1(0)) ^ 1 << 63); word(l2(50), 1 << 63)", NULL },
    { "no block", "cluster_size=512", "word(table(0), 0)", NULL },
    { "a block with reserved bits", "cluster_size=512",
      "word(table(0), get(table(0)) | 1)", NULL },
    { "a block in use twice", "cluster_size=512",
      "word(table(0), get(l1(0)) & ~(1 << 63))", NULL },
    { "no table", "cluster_size=512", "word(56, get(56) & 0xffffffff)", NULL },
    { "a cluster used twice", "cluster_size=512", "word(l2(50), get(l2(1)))",
      NULL },
    { "a reserved cluster at no place", "cluster_size=512",
      "word(l2(50), 0x8000000000000301)", NULL },
    { "past the end", "cluster_size=4k", "word(l2(14), 0x8000000010000000)",
      NULL },
    { "more references than a narrow count has", "cluster_size=16k",
      "for i in range(10, 1500): word(l2(i), get(l2(1)))", NULL },
    { "data in a snapshot's table", "cluster_size=512",
      "word(l2(50), get(get(64)) | 1 << 63)", NULL },
    { "data in the refcount table", "cluster_size=512",
      "word(l2(50), get(48) | 1 << 63)", NULL },
    { "data in a block", "cluster_size=512,refcount_bits=16",
      "word(l2(50), get(table(0)) | 1 << 63)", NULL },
    { "an incomplete snapshot", "cluster_size=1k",
      "t = get(64); struct.pack_into('>I', b, t + 36, 8); "
      "b[t + 48:t + 50] = b[t + 64:t + 66]",
      NULL },
    { "an unreadable bitmap", "cluster_size=1k",
      "d = get(b.index(bytes.fromhex('23852875')) + 24); b[d + 32 + 16] = 9",
      "qemu-img bitmap --add img one; qemu-img bitmap --add img two" },
    { "no readable bitmap", "cluster_size=1k",
      "d = get(b.index(bytes.fromhex('23852875')) + 24); b[d + 16] = 9",
      "qemu-img bitmap --add img one; qemu-img bitmap --add img two" },
    { "marked", "cluster_size=512", "word(72, 3); count(5, 0); count(30, 2)",
      NULL },
    { "subclusters", "cluster_size=16k,extended_l2=on",
      "word(l2(3), 1); count(8, 2); count(3, 0)", NULL },
    { "version 2", "cluster_size=1k,compat=0.10",
      "count(4, 0); count(3, 7); word(l2(50), 1 << 63)", NULL },
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

static const char damage_py[] =
    "import struct\n"
    "b = bytearray(open('img', 'rb').read()) + bytes(4096)\n"
    "def get(at): return struct.unpack_from('>Q', b, at)[0]\n"
    "def word(at, v): struct.pack_into('>Q', b, at, v)\n"
    "c = 1 << struct.unpack_from('>I', b, 20)[0]\n"
    "n = 16 if struct.unpack_from('>I', b, 4)[0] > 2 and get(72) & 16 else 8\n"
    "mask = 0xfffffffffffe00\n"
    "def table(i): return get(48) + 8 * i\n"
    "def l1(i): return get(40) + 8 * i\n"
    "def l2(i):\n"
    "    return (get(l1(i * n // c)) & mask) + i * n % c\n"
    "def count(i, v):\n"
    "    struct.pack_into('>H', b, get(table(2 * i // c)) + 2 * i % c, v)\n"
    "exec(open('damage').read())\n"
    "open('img', 'wb').write(b[:-4096])\n";

static void save_text(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* A damaged image with a snapshot, "content" and "snapshot" beside it. */
static uint8_t *make_damaged(size_t index, size_t *ret_length)
{
    char line[1024];

    snprintf(line, sizeof(line),
             CREATE "%s img 64k; qemu-io -c 'write -P 1 0 24k' img;"
                    "qemu-img snapshot -c a img;"
                    "qemu-io -c 'write -P 2 4k 4k' -c 'write -P 3 32k 512' img;"
                    "%s",
             cases[index].options,
             cases[index].setup != NULL ? cases[index].setup : "true");
    must_run(line);
    save_text("damage", cases[index].damage);
    save_text("damage.py", damage_py);
    must_run("python3 damage.py");
    return load_file("img", ret_length);
}

/* ---- Reading and repairing ---- */

/* The disk, or the snapshot, sector by sector: what cannot be read is 0xee. */
static void read_disk(struct byre_store *store, const char *snapshot,
                      uint8_t *bytes)
{
    struct byre_open_options options = BYRE_OPEN_OPTIONS_INIT;
    struct byre_error err = { .message = "" };
    struct byre *img = NULL;

    options.snapshot_name = snapshot;
    memset(bytes, 0xee, DISK_BYTES);
    if (byre_open_store(store, NULL, &options, &img, &err) < 0)
        return;
    for (size_t i = 0; i < DISK_BYTES; i += 512)
        byre_read(img, i, bytes + i, 512, NULL);
    byre_close(img, NULL);
}

/* All that the image gives: its disk and its snapshot. */
struct content {
    uint8_t disk[DISK_BYTES];
    uint8_t snapshot[DISK_BYTES];
};

static struct content *read_content(struct byre_store *store)
{
    struct content *content = malloc(sizeof(*content));

    read_disk(store, NULL, content->disk);
    read_disk(store, "a", content->snapshot);
    return content;
}

static int check(struct byre_store *store, uint32_t repair,
                 struct byre_check_result *ret, struct byre_error *err)
{
    struct byre_open_options options = BYRE_OPEN_OPTIONS_INIT;
    struct byre_check_options check_options = BYRE_CHECK_OPTIONS_INIT;
    struct byre_job *job = NULL;
    struct byre *img = NULL;
    int r;

    options.flags = BYRE_OPEN_CHECK | (repair != 0 ? BYRE_OPEN_WRITE : 0);
    check_options.flags = repair;
    check_options.memory_bytes = 1;
    *ret = (struct byre_check_result)BYRE_CHECK_RESULT_INIT;
    r = byre_open_store(store, NULL, &options, &img, err);
    if (r == BYRE_OK)
        r = byre_check(img, &check_options, &job, err);
    if (r == BYRE_OK)
        r = byre_job_run(job, err);
    if (r == BYRE_OK)
        r = byre_check_get_result(job, ret, err);
    byre_job_free(job);
    byre_close(img, NULL);
    return r;
}

/* Where the disk could not be opened at all, anything is better. */
static int compare(const uint8_t *before, const uint8_t *after,
                   const char *what, struct byre_error *err)
{
    for (size_t i = 0; i < DISK_BYTES; i++)
        if (before[i] != after[i] && before[i] != 0xee)
            return fail(err, BYRE_E_CORRUPT, "%s reads wrong at %zu", what, i);
    return BYRE_OK;
}

/* Repaired, it counts clean and reads as before. */
static int judge_repair(struct byre_store *store, const struct content *before,
                        struct byre_error *err)
{
    struct byre_check_result result;
    struct content *after;
    struct qcow2 *qcow2;
    int r = check(store, BYRE_CHECK_REPAIR_ALL, &result, err);

    if (r < 0)
        return r;
    if (result.corruptions + result.leaks + result.check_errors != 0)
        return fail(
            err, BYRE_E_CORRUPT,
            "repaired, it has %llu corruptions, %llu leaks, %llu errors",
            (unsigned long long)result.corruptions,
            (unsigned long long)result.leaks,
            (unsigned long long)result.check_errors);
    after = read_content(store);
    r = compare(before->disk, after->disk, "the disk", err);
    if (r == BYRE_OK)
        r = compare(before->snapshot, after->snapshot, "the snapshot", err);
    free(after);
    if (r < 0)
        return r;
    qcow2 = open_image(store);
    r = judge_image(qcow2, err);
    if (r == BYRE_OK && (qcow2->header.incompatible & 3) != 0)
        r = fail(err, BYRE_E_CORRUPT, "the marks of damage are still there");
    close_image(qcow2);
    return r;
}

/* ---- Crashes ---- */

struct crash {
    struct content *before;
    uint64_t visited;
};

static int visit_crash(void *user, const struct crash_point *point,
                       struct byre_store *const *stores, struct byre_error *err)
{
    struct crash *crash = user;
    struct content *now = read_content(stores[0]);
    int r;

    (void)point;
    crash->visited++;
    r = compare(crash->before->disk, now->disk, "before a repair, the disk",
                err);
    if (r == BYRE_OK)
        r = compare(crash->before->snapshot, now->snapshot,
                    "before a repair, the snapshot", err);
    free(now);
    if (r == BYRE_OK)
        r = judge_repair(stores[0], crash->before, err);
    if (r == BYRE_OK && crash->visited % 128 == 0) {
        save_file(stores[0], "img");
        must_run("qemu-img check img");
    }
    return r;
}

static void crash_case(size_t index)
{
    const struct crash_limits limits = { .states_per_cut = 40 };
    struct byre_error err = { .message = "" };
    struct byre_check_result result;
    struct record_log *log = NULL;
    struct byre_store *store = NULL;
    struct crash_report report;
    struct crash crash = { 0 };
    size_t length;
    uint8_t *bytes = make_damaged(index, &length);

    assert_int_equal(record_log_new(&log, NULL), BYRE_OK);
    assert_int_equal(recorder_store_new(log, bytes, length, &store, NULL),
                     BYRE_OK);
    crash.before = read_content(store);
    assert_int_equal(check(store, BYRE_CHECK_REPAIR_ALL, &result, &err),
                     BYRE_OK);
    assert_true(result.corruptions_fixed + result.leaks_fixed > 0);
    if (judge_repair(store, crash.before, &err) == BYRE_OK)
        crash_replay(log, &limits, 1, visit_crash, &crash, &report, &err);
    if (err.message[0] != '\0')
        print_error("%s: %s\n", cases[index].name, err.message);
    assert_string_equal(err.message, "");
    print_message("%s: %llu states at %llu cuts\n", cases[index].name,
                  (unsigned long long)report.states,
                  (unsigned long long)report.cuts);
    byre_store_unref(store);
    record_log_free(log);
    free(crash.before);
    free(bytes);
}

static void test_crashes(void **state)
{
    (void)state;
    if (!have_qemu())
        skip();
    for (size_t i = 0; i < CASES; i++)
        crash_case(i);
}

/* ---- Faults ---- */

/* Returns whether the n-th call was made, and so failed. */
static bool fail_nth(const uint8_t *bytes, size_t length, enum fault_kind kind,
                     const struct fault *fault)
{
    struct byre_store *base = store_of(bytes, length), *store = NULL;
    struct content *before = read_content(base);
    struct byre_error err = { .message = "" };
    struct byre_check_result result;
    struct faults faults;
    bool failed;
    int r;

    faults_init(&faults);
    assert_int_equal(fault_store_new(base, &faults, &store, NULL), BYRE_OK);
    faults_set(&faults, kind, fault);
    r = check(store, BYRE_CHECK_REPAIR_ALL, &result, &err);
    failed = faults_failed(&faults) > 0;
    assert_int_equal(r, failed ? BYRE_E_IO : BYRE_OK);
    assert_int_equal(err.message[0] != '\0', failed);
    byre_store_unref(store);

    err.message[0] = '\0';
    if (judge_repair(base, before, &err) < 0)
        print_error("%d, %llu: %s\n", (int)kind, (unsigned long long)fault->nth,
                    err.message);
    assert_string_equal(err.message, "");
    free(before);
    byre_store_unref(base);
    return failed;
}

static void test_faults(void **state)
{
    static const enum fault_kind kinds[] = { FAULT_READ, FAULT_WRITE,
                                             FAULT_FLUSH, FAULT_GET_SIZE };
    static const uint32_t flags[] = { 0, FAULT_PERSISTS };

    (void)state;
    if (!have_qemu())
        skip();
    for (size_t index = 0; index < CASES; index++) {
        size_t length;
        uint8_t *bytes = make_damaged(index, &length);

        for (size_t i = 0; i < 2 * sizeof(kinds) / sizeof(kinds[0]); i++) {
            struct fault fault = { .flags = flags[i % 2],
                                   .sectors_landed = i % 2 };

            do {
                fault.nth += 1 + fault.nth / 8;
            } while (fail_nth(bytes, length, kinds[i / 2], &fault));
            assert_true(fault.nth > 1);
        }
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crashes),
        cmocka_unit_test(test_faults),
    };

    return cmocka_run_group_tests_name("check_crash", tests, enter_scratch,
                                       leave_scratch);
}
