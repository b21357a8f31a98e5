/* SPDX-License-Identifier: MIT */
/*
 * Without this test a change of names or extensions could lose what else is in
 * the first cluster, or a power cut in the middle leave a head that is neither
 * the old one nor the new.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#undef fail /* the macro of cmocka; base/error.h has a function */

#include "base/error.h"
#include "qcow2/head.h"
#include "qcow2/qcow2.h"
#include "store/recorder.h"

#define UNKNOWN_TYPE UINT32_C(0x12345678)
#define CHANGES      60

static const struct engine_limits limits = {
    .table_cache_bytes = 1 << 20,
    .cluster_cache_bytes = 1 << 20,
    .max_kdf_iterations = 1000,
    .max_table_bytes = 1 << 20,
};

static void must(int r, const struct byre_error *err)
{
    if (r < 0)
        print_error("%s\n", err->message);
    assert_int_equal(r, BYRE_OK);
}

/* ---- Heads that say the same ---- */

static bool counts(const struct head_extension *extension)
{
    return extension->type != QCOW2_EXT_FEATURE_NAMES;
}

static const struct head_extension *nth_extension(const struct head *head,
                                                  size_t n)
{
    for (size_t i = 0; i < head->extension_count; i++) {
        if (counts(&head->extensions[i]) && n-- == 0)
            return &head->extensions[i];
    }
    return NULL;
}

static bool same_extension(const struct head_extension *a,
                           const struct head_extension *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return a->type == b->type && a->length == b->length &&
           memcmp(a->data, b->data, a->length) == 0;
}

static bool same_name(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* But for the names of features, which a crash may lose. */
static bool same_head(const struct head *a, const struct head *b)
{
    for (size_t i = 0;; i++) {
        const struct head_extension *left = nth_extension(a, i);
        const struct head_extension *right = nth_extension(b, i);

        if (!same_extension(left, right))
            return false;
        if (left == NULL)
            break;
    }
    return same_name(a->backing_name, b->backing_name) &&
           a->header.version == b->header.version &&
           a->header.compatible == b->header.compatible &&
           a->header.autoclear == b->header.autoclear &&
           a->header.l1_offset == b->header.l1_offset;
}

static bool has_names(const struct head *head)
{
    return head_find(head, QCOW2_EXT_FEATURE_NAMES) != NULL;
}

/* ---- Images ---- */

struct start {
    uint32_t version;
    uint64_t cluster_bytes;
    const char *backing_name;
};

struct fixture {
    struct record_log *log;
    struct byre_store *store;
    struct engine *engine;
};

static void set_up(struct fixture *f, const struct start *start)
{
    struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;
    struct byre_store *made;
    struct byre_error err;
    uint8_t *bytes;
    uint64_t length;

    opts.version = start->version;
    opts.cluster_size_bytes = start->cluster_bytes;
    opts.virtual_size_bytes = 1 << 20;
    opts.backing_name = start->backing_name;
    opts.backing_format = start->backing_name != NULL ? "raw" : NULL;
    opts.flags = BYRE_CREATE_BACKING_UNCHECKED;
    assert_int_equal(byre_store_new_memory(NULL, 0, &made, &err), BYRE_OK);
    must(byre_create_store(made, &opts, &err), &err);
    assert_int_equal(store_get_size(made, &length, NULL), BYRE_OK);
    bytes = malloc((size_t)length);
    assert_int_equal(store_read(made, 0, bytes, (size_t)length, NULL), BYRE_OK);
    assert_int_equal(record_log_new(&f->log, NULL), BYRE_OK);
    assert_int_equal(
        recorder_store_new(f->log, bytes, (size_t)length, &f->store, NULL),
        BYRE_OK);
    assert_int_equal(qcow2_open(f->store, &limits, &f->engine, NULL), BYRE_OK);
    byre_store_unref(made);
    free(bytes);
}

static void tear_down(struct fixture *f)
{
    f->engine->ops->free(f->engine);
    byre_store_unref(f->store);
    record_log_free(f->log);
}

static int load(struct byre_store *store, struct head *ret_head,
                struct byre_error *err)
{
    struct engine *engine;
    int r = qcow2_open(store, &limits, &engine, err);

    if (r < 0)
        return r;
    r = head_load(qcow2_of(engine), ret_head, err);
    engine->ops->free(engine);
    return r;
}

/* ---- Crashes ---- */

struct allowed {
    const struct head *old_head;
    const struct head *new_head;
};

static int visit(void *user, const struct crash_point *point,
                 struct byre_store *const *stores, struct byre_error *err)
{
    const struct allowed *allowed = user;
    struct head head;
    int r = load(stores[0], &head, err);

    (void)point;
    if (r < 0)
        return r;
    if (!same_head(&head, allowed->old_head) &&
        !same_head(&head, allowed->new_head))
        r = fail(err, BYRE_E_CORRUPT, "neither the old head nor the new");
    head_done(&head);
    return r;
}

static void check_crashes(struct fixture *f, uint64_t first_cut,
                          const struct head *old_head,
                          const struct head *new_head)
{
    const struct crash_limits states = { .states_per_cut = 24,
                                         .first_cut = first_cut,
                                         .last_cut =
                                             record_log_length(f->log) };
    struct allowed allowed = { old_head, new_head };
    struct byre_error err;

    must(crash_replay(f->log, &states, 1, visit, &allowed, NULL, &err), &err);
}

/* ---- Changes ---- */

static uint64_t draw(uint64_t *seed, uint64_t below)
{
    *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (*seed >> 33) % below;
}

static void set_text(struct head *head, uint32_t type, uint64_t *seed,
                     uint64_t most)
{
    uint8_t text[1100];
    const uint32_t length = (uint32_t)draw(seed, most);

    memset(text, 'a' + (int)draw(seed, 26), sizeof(text));
    assert_int_equal(head_set_extension(head, type,
                                        draw(seed, 4) == 0 ? NULL : text,
                                        length, NULL),
                     BYRE_OK);
}

static void set_name(struct head *head, uint64_t *seed)
{
    char name[1024] = "";
    const size_t length = 1 + (size_t)draw(seed, draw(seed, 3) ? 40 : 1023);

    memset(name, 'a' + (int)draw(seed, 26), length);
    assert_int_equal(
        head_set_backing_name(head, draw(seed, 4) == 0 ? NULL : name, NULL),
        BYRE_OK);
}

static void change(struct head *head, uint64_t *seed)
{
    switch (draw(seed, 6)) {
    case 0:
        set_name(head, seed);
        break;
    case 1:
        set_text(head, QCOW2_EXT_BACKING_FORMAT, seed, 15);
        set_name(head, seed);
        break;
    case 2:
        set_text(head, QCOW2_EXT_DATA_FILE, seed, draw(seed, 3) ? 60 : 700);
        break;
    case 3:
        set_text(head, UNKNOWN_TYPE, seed, draw(seed, 3) ? 30 : 900);
        break;
    case 4:
        set_text(head, UNKNOWN_TYPE + 1, seed, 24);
        break;
    default:
        head->header.compatible ^= head->header.version > 2 ? 1 : 0;
        break;
    }
}

/* One change: all of it, or the reason and nothing. */
static bool change_once(struct fixture *f, uint64_t *seed)
{
    struct qcow2 *qcow2 = qcow2_of(f->engine);
    const uint64_t before = record_log_length(f->log);
    struct head old_head, new_head, stored;
    struct byre_error err;
    int r;

    assert_int_equal(head_load(qcow2, &old_head, NULL), BYRE_OK);
    assert_int_equal(head_load(qcow2, &new_head, NULL), BYRE_OK);
    change(&new_head, seed);
    r = head_store(qcow2, &new_head, &err);
    if (r < 0) {
        assert_int_equal(r, BYRE_E_LIMIT);
        assert_int_equal(record_log_length(f->log), before);
    } else {
        assert_int_equal(load(f->store, &stored, NULL), BYRE_OK);
        assert_true(same_head(&stored, &new_head));
        assert_int_equal(stored.header.header_bytes,
                         stored.header.version > 2 ? QCOW2_HEADER_BYTES
                                                   : QCOW2_V2_HEADER_BYTES);
        head_done(&stored);
        check_crashes(f, before, &old_head, &new_head);
    }
    head_done(&old_head);
    head_done(&new_head);
    return r == BYRE_OK;
}

static void test_random_changes(void **state)
{
    static const struct start starts[] = {
        { 2, 512, NULL },   { 2, 4096, "base" }, { 2, 65536, NULL },
        { 3, 512, "base" }, { 3, 1024, NULL },   { 3, 2048, "base" },
        { 3, 4096, NULL },  { 3, 8192, "base" }, { 3, 65536, NULL },
    };
    unsigned done = 0, refused = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        uint64_t seed = 100 + i;
        struct fixture f;

        set_up(&f, &starts[i]);
        for (int n = 0; n < CHANGES; n++) {
            if (change_once(&f, &seed))
                done++;
            else
                refused++;
        }
        tear_down(&f);
    }
    print_message("# %u changes, %u refused\n", done, refused);
    assert_true(done > refused);
}

/* The names of features come back behind what is new. */
static void test_feature_names_stay(void **state)
{
    const struct start start = { 3, 65536, "a-backing-file" };
    struct fixture f;
    struct head head;
    uint8_t payload[24] = { 1 };

    (void)state;
    set_up(&f, &start);
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(head_load(qcow2_of(f.engine), &head, NULL), BYRE_OK);
        payload[0] = (uint8_t)i;
        assert_int_equal(head_set_extension(&head, QCOW2_EXT_BITMAPS,
                                            i == 4 ? NULL : payload,
                                            sizeof(payload), NULL),
                         BYRE_OK);
        assert_int_equal(head_store(qcow2_of(f.engine), &head, NULL), BYRE_OK);
        head_done(&head);
        assert_int_equal(load(f.store, &head, NULL), BYRE_OK);
        assert_true(has_names(&head));
        head_done(&head);
    }
    tear_down(&f);
}

/* Version 2 has no names of features, and a shorter header. */
static void test_versions(void **state)
{
    const struct start start = { 3, 65536, "a-backing-file" };
    struct fixture f;
    struct head old_head, head;

    (void)state;
    set_up(&f, &start);
    for (uint32_t version = 2; version <= 3; version++) {
        const uint64_t before = record_log_length(f.log);

        assert_int_equal(load(f.store, &old_head, NULL), BYRE_OK);
        assert_int_equal(head_load(qcow2_of(f.engine), &head, NULL), BYRE_OK);
        head.header.version = version;
        assert_int_equal(head_store(qcow2_of(f.engine), &head, NULL), BYRE_OK);
        check_crashes(&f, before, &old_head, &head);
        head_done(&head);
        head_done(&old_head);
        assert_int_equal(load(f.store, &head, NULL), BYRE_OK);
        assert_int_equal(head.header.version, version);
        assert_false(has_names(&head));
        head_done(&head);
    }
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_changes),
        cmocka_unit_test(test_feature_names_stay),
        cmocka_unit_test(test_versions),
    };

    return cmocka_run_group_tests_name("head", tests, NULL, NULL);
}
