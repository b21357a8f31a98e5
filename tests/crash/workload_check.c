/* SPDX-License-Identifier: MIT */
/*
 * Repairs, between writes: of leaks, and of an image that was left dirty.  What
 * spoils the image keeps within what a crash may leave.
 */
#include "base/bytes.h"
#include "script.h"
#include "store/store.h"

#include "runner.h"

#define AT_CLUSTER_BITS   20
#define AT_REFCOUNT_TABLE 48
#define AT_INCOMPATIBLE   72

static int get_word(struct byre_store *store, uint64_t offset,
                    uint64_t *ret_word, struct byre_error *err)
{
    uint8_t word[8] = { 0 };
    const int r = store_read(store, offset, word, sizeof(word), err);

    *ret_word = be64_get(word);
    return r;
}

/* Where the counts are, of 16 bits, and how many lie in the file. */
static int find_counts(struct byre_store *store, uint64_t *ret_offset,
                       uint64_t *ret_count, struct byre_error *err)
{
    uint64_t size = 0, word = 0, bits;
    int r;

    r = get_word(store, AT_CLUSTER_BITS, &word, err);
    bits = word >> 32;
    if (r == BYRE_OK)
        r = get_word(store, AT_REFCOUNT_TABLE, &word, err);
    if (r == BYRE_OK)
        r = get_word(store, word, ret_offset, err);
    if (r == BYRE_OK)
        r = store_get_size(store, &size, err);
    if (r < 0)
        return r;
    *ret_count = size >> bits;
    if (*ret_count > UINT64_C(1) << (bits - 1))
        *ret_count = UINT64_C(1) << (bits - 1);
    return BYRE_OK;
}

/* Puts `value` as the count of clusters that have another, or of free ones. */
static int spoil_counts(struct byre_store *store, uint16_t value,
                        bool only_free, struct byre_error *err)
{
    uint64_t offset = 0, count = 0;
    uint8_t raw[2];
    int r = find_counts(store, &offset, &count, err);

    for (uint64_t i = 0; r == BYRE_OK && i < count; i++) {
        r = store_read(store, offset + 2 * i, raw, sizeof(raw), err);
        if (r < 0 || (only_free ? be16_get(raw) != 0 : i % 3 != 0))
            continue;
        be16_put(raw, value);
        r = store_write(store, offset + 2 * i, raw, sizeof(raw), err);
    }
    return r < 0 ? r : store_flush(store, err);
}

static int mark_dirty(struct byre_store *store, struct byre_error *err)
{
    uint64_t features = 0;
    uint8_t word[8];
    int r = get_word(store, AT_INCOMPATIBLE, &features, err);

    be64_put(word, features | 1);
    if (r == BYRE_OK)
        r = store_write(store, AT_INCOMPATIBLE, word, sizeof(word), err);
    return r < 0 ? r : store_flush(store, err);
}

static int repair(struct byre_store *store, uint32_t flags,
                  struct byre_error *err)
{
    struct byre_open_options options = BYRE_OPEN_OPTIONS_INIT;
    struct byre_check_options check_options = BYRE_CHECK_OPTIONS_INIT;
    struct byre_job *job = NULL;
    struct byre *img = NULL;
    int r;

    options.flags = BYRE_OPEN_CHECK | BYRE_OPEN_WRITE;
    check_options.flags = flags;
    r = byre_open_store(store, NULL, &options, &img, err);
    if (r == BYRE_OK)
        r = byre_check(img, &check_options, &job, err);
    if (r == BYRE_OK)
        r = byre_job_run(job, err);
    byre_job_free(job);
    byre_close(img, NULL);
    return r;
}

/* Does `between` while the image is closed. */
static int while_closed(struct runner *runner,
                        int (*between)(struct byre_store *store,
                                       struct byre_error *err),
                        struct byre_error *err)
{
    const struct image_options options = { .flags = BYRE_OPEN_WRITE };
    struct byre_error opening = { .message = "" };
    int r = runner_close(runner, err), r_open;

    if (r == BYRE_OK)
        r = between(runner->used[0], err);
    r_open = image_open(runner->plan->kind, runner->used, &options,
                        &runner->image, &opening);
    if (r == BYRE_OK && r_open < 0)
        *err = opening;
    return r < 0 ? r : r_open;
}

static int leak_and_repair(struct byre_store *store, struct byre_error *err)
{
    const int r = spoil_counts(store, 1, true, err);

    return r < 0 ? r : repair(store, BYRE_CHECK_REPAIR_LEAKS, err);
}

static int repair_leaks(struct runner *runner, const struct step *step,
                        struct byre_error *err)
{
    (void)step;
    return while_closed(runner, leak_and_repair, err);
}

static int soil_and_repair(struct byre_store *store, struct byre_error *err)
{
    int r = mark_dirty(store, err);

    if (r == BYRE_OK)
        r = spoil_counts(store, 0, false, err);
    if (r == BYRE_OK)
        r = spoil_counts(store, 3, true, err);
    return r < 0 ? r : repair(store, BYRE_CHECK_REPAIR_ALL, err);
}

static int repair_dirty(struct runner *runner, const struct step *step,
                        struct byre_error *err)
{
    (void)step;
    return while_closed(runner, soil_and_repair, err);
}

static const struct action leaks = { .name = "repair leaks",
                                     .run = repair_leaks,
                                     .reopens = true };
static const struct action dirty = { .name = "repair what is dirty",
                                     .run = repair_dirty,
                                     .reopens = true };

/* Clusters are freed first, so that some can leak. */
static const struct step leaks_steps[] = {
    WC(0, 6),         FLUSH,    DC(1, 3), FLUSH,
    DO(&leaks, 0, 0), WC(2, 3), FLUSH,    DC(0, 2),
    DO(&leaks, 0, 0), W(3, 5),  END
};

static const struct step dirty_steps[] = {
    WC(0, 6), FLUSH, DC(1, 3),         FLUSH,   DO(&dirty, 0, 0),
    WC(2, 3), FLUSH, DO(&dirty, 0, 0), W(3, 5), END
};

static const struct script check_scripts[] = {
    { "repair-leaks", leaks_steps, 0 },
    { "repair-dirty", dirty_steps, 0 },
};

static const struct workload check_workloads[] = {
    { "v3-4k", "repair-leaks", 0, 0 },
    { "v3-4k", "repair-dirty", 0, 0 },
    { "v3-512", "repair-dirty", 0, 0 },
    { "v3-64k", "repair-dirty", 0, 50 },
    { "v2-4k", "repair-leaks", 0, 0 },
    { "extended-16k", "repair-dirty", 0, 0 },
    { "snapshot-4k", "repair-leaks", 0, 0 },
    { "snapshot-4k", "repair-dirty", 0, 0 },
    { "data-4k", "repair-leaks", 0, 0 },
    { "compressed-4k", "repair-dirty", 0, 0 },
};

const struct workload_set check_set = {
    check_scripts,
    sizeof(check_scripts) / sizeof(check_scripts[0]),
    check_workloads,
    sizeof(check_workloads) / sizeof(check_workloads[0]),
};
