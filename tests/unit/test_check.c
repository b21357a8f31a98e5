/* SPDX-License-Identifier: MIT */
/*
 * Without these, an image could be opened to be checked and then written as a
 * disk, a check could miss what only we look for, or find something else with
 * little memory than with much, and a repair of leaks could take the dirty bit
 * off an image whose refcounts are wrong.
 */
#include "rebuild_image.h"

/* ---- Checking ---- */

#define MOST_TEXTS 64

struct findings {
    size_t count;
    char texts[MOST_TEXTS][256];
    struct byre_finding last;
    struct byre_job *cancel;
};

static void note(void *user, const struct byre_finding *finding)
{
    struct findings *findings = user;

    if (findings->count < MOST_TEXTS)
        snprintf(findings->texts[findings->count], 256, "%s", finding->text);
    findings->count++;
    findings->last = *finding;
    if (findings->cancel != NULL)
        byre_job_cancel(findings->cancel);
}

static int open_to_check(struct byre_store *store, uint32_t flags,
                         struct byre **ret_img)
{
    struct byre_open_options options = BYRE_OPEN_OPTIONS_INIT;
    struct byre_error err = { .message = "" };
    int r;

    options.flags = BYRE_OPEN_CHECK | flags;
    r = byre_open_store(store, "img", &options, ret_img, &err);
    if (r < 0)
        print_message("%s\n", err.message);
    return r;
}

static int run_check(struct byre *img, uint32_t repair, uint64_t memory_bytes,
                     struct findings *findings, bool cancel,
                     struct byre_check_result *ret)
{
    struct byre_check_options options = BYRE_CHECK_OPTIONS_INIT;
    struct byre_error err = { .message = "" };
    struct byre_job *job = NULL;
    int r;

    options.flags = repair;
    options.memory_bytes = memory_bytes;
    options.found = note;
    options.user = findings;
    r = byre_check(img, &options, &job, &err);
    if (r == BYRE_OK) {
        findings->cancel = cancel ? job : NULL;
        r = byre_job_run(job, &err);
    }
    if (r == BYRE_OK)
        assert_int_equal(byre_check_get_result(job, ret, NULL), BYRE_OK);
    else
        print_message("%s\n", err.message);
    byre_job_free(job);
    return r;
}

static struct byre_check_result check_store(struct byre_store *store,
                                            uint32_t repair,
                                            uint64_t memory_bytes,
                                            struct findings *ret_findings)
{
    struct byre_check_result result = BYRE_CHECK_RESULT_INIT;
    struct byre *img = NULL;

    *ret_findings = (struct findings){ .count = 0 };
    assert_int_equal(
        open_to_check(store, repair != 0 ? BYRE_OPEN_WRITE : 0, &img), BYRE_OK);
    assert_int_equal(
        run_check(img, repair, memory_bytes, ret_findings, false, &result),
        BYRE_OK);
    byre_close(img, NULL);
    return result;
}

/* An image that a shell makes, changed by words at offsets; 0 ends them. */
struct word {
    uint64_t offset;
    uint64_t value;
};

static void put_word(struct byre_store *store, uint64_t offset, uint64_t value)
{
    uint8_t word[8];

    be64_put(word, value);
    assert_int_equal(store_write(store, offset, word, sizeof(word), NULL),
                     BYRE_OK);
}

static uint64_t get_word(struct byre_store *store, uint64_t offset)
{
    uint8_t word[8];

    assert_int_equal(store_read(store, offset, word, sizeof(word), NULL),
                     BYRE_OK);
    return be64_get(word);
}

static struct byre_store *make(const char *command, const struct word *words)
{
    struct byre_store *store;
    size_t length;
    uint8_t *bytes;

    must_run(command);
    bytes = load_file("img", &length);
    store = store_of(bytes, length);
    free(bytes);
    for (; words != NULL && words->offset != 0; words++)
        put_word(store, words->offset, words->value);
    return store;
}

static bool has_text(const struct findings *findings, const char *words)
{
    for (size_t i = 0; i < findings->count && i < MOST_TEXTS; i++)
        if (strstr(findings->texts[i], words) != NULL)
            return true;
    return false;
}

/* ---- What an image is opened for ---- */

#define SMALL CREATE "cluster_size=4k img 1M; qemu-io -c 'write 0 64k' img"

static void test_opened_to_be_checked(void **state)
{
    struct findings findings = { .count = 0 };
    struct byre_check_result result = BYRE_CHECK_RESULT_INIT;
    struct byre_open_options options = BYRE_OPEN_OPTIONS_INIT;
    struct byre_extent extent;
    struct byre_store *store;
    struct byre *img = NULL;
    size_t count;
    char byte = 0;

    (void)state;
    if (!have_qemu())
        skip();
    store = make(SMALL, NULL);
    assert_int_equal(open_to_check(store, BYRE_OPEN_WRITE, &img), BYRE_OK);
    assert_int_equal(byre_read(img, 0, &byte, 1, NULL), BYRE_E_STATE);
    assert_int_equal(byre_write(img, 0, &byte, 1, 0, NULL), BYRE_E_STATE);
    assert_int_equal(byre_flush(img, NULL), BYRE_E_STATE);
    assert_int_equal(byre_extents(img, 0, 1, 0, &extent, 1, &count, NULL),
                     BYRE_E_STATE);
    assert_int_equal(run_check(img, 8, 0, &findings, false, &result),
                     BYRE_E_INVALID);
    byre_close(img, NULL);

    assert_int_equal(open_to_check(store, 0, &img), BYRE_OK);
    assert_int_equal(
        run_check(img, BYRE_CHECK_REPAIR_ALL, 0, &findings, false, &result),
        BYRE_E_STATE);
    byre_close(img, NULL);
    assert_int_equal(open_to_check(store, BYRE_OPEN_METADATA_ONLY, &img),
                     BYRE_E_INVALID);

    assert_int_equal(byre_open_store(store, NULL, &options, &img, NULL),
                     BYRE_OK);
    assert_int_equal(run_check(img, 0, 0, &findings, false, &result),
                     BYRE_E_STATE);
    byre_close(img, NULL);

    options.flags = BYRE_OPEN_CHECK;
    options.format = "raw";
    assert_int_equal(byre_open_store(store, NULL, &options, &img, NULL),
                     BYRE_OK);
    assert_int_equal(run_check(img, 0, 0, &findings, false, &result),
                     BYRE_E_UNSUPPORTED);
    byre_close(img, NULL);
    byre_store_unref(store);
}

static void test_cancel(void **state)
{
    const struct word words[] = { { 0x2000, 0 }, { 0 } };
    struct findings findings = { .count = 0 };
    struct byre_check_result result = BYRE_CHECK_RESULT_INIT;
    struct byre_store *store;
    struct byre *img = NULL;

    (void)state;
    if (!have_qemu())
        skip();
    store = make(SMALL "; qemu-img snapshot -c a img", words);
    assert_int_equal(open_to_check(store, BYRE_OPEN_WRITE, &img), BYRE_OK);
    assert_int_equal(
        run_check(img, BYRE_CHECK_REPAIR_ALL, 0, &findings, true, &result),
        BYRE_E_CANCELED);
    byre_close(img, NULL);
    byre_store_unref(store);
}

/* ---- What only we look for ---- */

#define COPIED (UINT64_C(1) << 63)

static const struct {
    const char *make;
    struct word words[4];
    const char *text;
} missed[] = {
    /* L2 at 0x4000, data from 0x5000 on. */
    { SMALL,
      { { 0x4000 + 8 * 100, COPIED | 0x1000 }, { 0 } },
      "used twice: as refcount table, and as data cluster for guest offset "
      "409600" },
    { SMALL,
      { { 0x4000 + 8 * 100, COPIED | 0x5000 }, { 0 } },
      "has the refcount 1, but 2 references: data cluster for guest offset 0, "
      "data cluster for guest offset 409600" },
    { CREATE "cluster_size=16k,extended_l2=on img 1M;"
             "qemu-io -c 'write 0 64k' img",
      { { 0x10000, COPIED | 0x14001 }, { 0 } },
      "has reserved bits set" },
    { CREATE "cluster_size=4k,data_file=data img 1M;"
             "qemu-io -c 'write 0 64k' img",
      { { 0x4008, COPIED | 0x2000 }, { 0 } },
      "is not where the guest has it" },
    { SMALL,
      { { 0x4000 + 8 * 100, COPIED }, { 0 } },
      "is marked as copied where nothing can be" },
};

static void test_what_qemu_misses(void **state)
{
    (void)state;
    if (!have_qemu())
        skip();
    for (size_t i = 0; i < sizeof(missed) / sizeof(missed[0]); i++) {
        struct byre_store *store = make(missed[i].make, missed[i].words);
        struct findings findings;
        const struct byre_check_result result =
            check_store(store, 0, 0, &findings);

        if (!has_text(&findings, missed[i].text))
            print_error("missing: %s\n", missed[i].text);
        assert_true(has_text(&findings, missed[i].text));
        assert_true(result.corruptions > 0);
        byre_store_unref(store);
    }
}

/* ---- Memory ---- */

/* Windows of a thousand clusters find what one of all of them does. */
static void test_little_memory(void **state)
{
    struct byre_store *store;
    struct findings much, little;
    struct byre_check_result with_much, with_little;
    uint64_t l2;

    (void)state;
    if (!have_qemu())
        skip();
    store = make(CREATE "cluster_size=512,refcount_bits=64 img 4M;"
                        "qemu-io -c 'write 0 3M' img;"
                        "qemu-img snapshot -c a img;"
                        "qemu-io -c 'write 1M 1M' img",
                 NULL);
    l2 = get_word(store, get_word(store, 40)) & QCOW2_ENTRY_OFFSET_MASK;
    put_word(store, l2 + 8, COPIED | 0x210);
    put_word(store, l2 + 16, COPIED | 0x400000000);
    put_word(store, l2 + 24, COPIED | l2);
    put_word(store, l2 + 32, get_word(store, l2 + 40));
    put_word(store, get_word(store, get_word(store, 48)) + 8, 5);
    with_much = check_store(store, 0, 0, &much);
    with_little = check_store(store, 0, 1, &little);
    assert_true(with_much.corruptions > 0);
    assert_memory_equal(&with_much, &with_little, sizeof(with_much));
    assert_int_equal(much.count, little.count);
    byre_store_unref(store);
}

/* ---- Marks of damage ---- */

#define LAZY                                                                   \
    CREATE "lazy_refcounts=on,cluster_size=4k img 16M;"                        \
           "qemu-io -c 'write 0 9M' -c flush -c abort img || true"

static void test_dirty_image(void **state)
{
    struct byre_check_result result;
    struct findings findings;
    struct byre_store *store;
    struct qcow2 *qcow2;

    (void)state;
    if (!have_qemu())
        skip();
    store = make(LAZY, NULL);
    result = check_store(store, BYRE_CHECK_REPAIR_LEAKS, 0, &findings);
    assert_true(result.corruptions > 0);
    qcow2 = open_image(store);
    assert_true(is_dirty(qcow2));
    close_image(qcow2);

    result = check_store(store, BYRE_CHECK_REPAIR_ALL, 0, &findings);
    assert_int_equal(result.corruptions + result.leaks + result.check_errors,
                     0);
    assert_true(result.corruptions_fixed > 0);
    qcow2 = open_image(store);
    assert_false(is_dirty(qcow2));
    assert_int_equal(judge_image(qcow2, NULL), BYRE_OK);
    close_image(qcow2);
    byre_store_unref(store);
}

/* ---- Version 1 ---- */

static void test_version_1(void **state)
{
    static const char make_v1[] =
        "qemu-img create -q -f qcow img 1M;"
        "qemu-io -f qcow -c 'write 0 64k' -c 'write 128k 4k' img";
    /* L1 at 48, L2 at 0x1000, data from 0x2000 on. */
    static const struct {
        struct word words[3];
        const char *text;
    } cases[] = {
        { { { 0x1008, 0x2000 }, { 0 } },
          "used twice: as data cluster for guest offset 0, and as data cluster "
          "for guest offset 4096" },
        { { { 0x1008, 0x1000 }, { 0 } }, "as L2 table for guest offset 0" },
        { { { 0x1008, 0x7000000 }, { 0 } }, "ends past the end of the file" },
        { { { 0x1008, 0x2001 }, { 0 } }, "which can be no cluster" },
        { { { 0x1008, 0 }, { 0 } },
          "nothing refers to the 4096 bytes at 12288" },
        { { { 48, 0x100000000 }, { 0 } }, "the L2 table for guest offset 0" },
        { { { 0x1008, COPIED | 0x10 }, { 0 } }, "which can be no cluster" },
        { { { 0x1008, COPIED | (UINT64_C(100) << 51) | 8 }, { 0 } },
          "as header, and as compressed cluster for guest offset 4096" },
    };
    struct byre_check_result result;
    struct findings findings;
    struct byre_store *store;

    (void)state;
    if (!have_qemu())
        skip();
    store = make(make_v1, NULL);
    result = check_store(store, 0, 0, &findings);
    assert_int_equal(findings.count, 0);
    assert_int_equal(result.allocated_clusters, 17);
    assert_int_equal(result.total_clusters, 256);
    byre_store_unref(store);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        store = make(make_v1, cases[i].words);
        check_store(store, BYRE_CHECK_REPAIR_ALL, 0, &findings);
        if (!has_text(&findings, cases[i].text))
            print_error("missing: %s; %s\n", cases[i].text, findings.texts[0]);
        assert_true(has_text(&findings, cases[i].text));
        byre_store_unref(store);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opened_to_be_checked),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_what_qemu_misses),
        cmocka_unit_test(test_little_memory),
        cmocka_unit_test(test_dirty_image),
        cmocka_unit_test(test_version_1),
    };

    return cmocka_run_group_tests_name("check", tests, enter_scratch,
                                       leave_scratch);
}
