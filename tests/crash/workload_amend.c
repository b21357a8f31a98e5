/* SPDX-License-Identifier: MIT */
/*
 * Changing what an image is, between writes: its disk and its snapshots read as
 * before at every moment, and there is always a passphrase that opens it.
 */
#include "runner.h"
#include "script.h"

/* ---- Amending ---- */

static int run_amend(struct runner *runner,
                     const struct byre_amend_options *opts,
                     struct byre_error *err)
{
    struct byre_job *job = NULL;
    int r = byre_amend(runner->image.disk, opts, &job, err);

    if (r == BYRE_OK)
        r = byre_job_run(job, err);
    byre_job_free(job);
    return r;
}

/* An action that amends one thing. */
#define AMEND(name_, which_, ...)                                              \
    static int run_##name_(struct runner *runner, const struct step *step,     \
                           struct byre_error *err)                             \
    {                                                                          \
        const struct byre_amend_options opts = { .size = sizeof(opts),         \
                                                 .which = (which_),            \
                                                 __VA_ARGS__ };                \
                                                                               \
        (void)step;                                                            \
        return run_amend(runner, &opts, err);                                  \
    }                                                                          \
    static const struct action name_ = { .name = #name_, .run = run_##name_ }

AMEND(version_2, BYRE_AMEND_VERSION, .version = 2);
AMEND(version_3, BYRE_AMEND_VERSION, .version = 3);
AMEND(version_2_width_16, BYRE_AMEND_VERSION | BYRE_AMEND_REFCOUNT_BITS,
      .version = 2, .refcount_bits = 16);
AMEND(version_3_width_8, BYRE_AMEND_VERSION | BYRE_AMEND_REFCOUNT_BITS,
      .version = 3, .refcount_bits = 8);
AMEND(width_1, BYRE_AMEND_REFCOUNT_BITS, .refcount_bits = 1);
AMEND(width_4, BYRE_AMEND_REFCOUNT_BITS, .refcount_bits = 4);
AMEND(width_16, BYRE_AMEND_REFCOUNT_BITS, .refcount_bits = 16);
AMEND(width_64, BYRE_AMEND_REFCOUNT_BITS, .refcount_bits = 64);
AMEND(lazy_on, BYRE_AMEND_LAZY_REFCOUNTS, .lazy_refcounts = 1);
AMEND(lazy_off, BYRE_AMEND_LAZY_REFCOUNTS, .lazy_refcounts = 0);
AMEND(data_file_moved, BYRE_AMEND_DATA_FILE, .data_file = "elsewhere/data.raw");
AMEND(data_file_unnamed, BYRE_AMEND_DATA_FILE, .data_file = NULL);
AMEND(data_file_not_raw, BYRE_AMEND_DATA_FILE_RAW, .data_file_raw = 0);

static const struct step version_steps[] = { W(0, 30),
                                             FLUSH,
                                             ZC(1, 2),
                                             UC(3, 1),
                                             FLUSH,
                                             W(40, 3),
                                             DO(&version_2, 0, 0),
                                             W(3, 9),
                                             Z(20, 9),
                                             FLUSH,
                                             DO(&version_3, 0, 0),
                                             ZC(0, 2),
                                             UC(4, 1),
                                             Z(45, 12),
                                             DO(&version_2, 0, 0),
                                             W(1, 9),
                                             REOPEN,
                                             W(30, 9),
                                             END };

/* The zeroes and the new width are counted in one go. */
static const struct step width_steps[] = { W(0, 20),
                                           FLUSH,
                                           DO(&width_64, 0, 0),
                                           W(10, 20),
                                           D(3, 9),
                                           DO(&width_4, 0, 0),
                                           W(25, 9),
                                           ZC(0, 1),
                                           UC(2, 1),
                                           FLUSH,
                                           DO(&version_2_width_16, 0, 0),
                                           W(40, 8),
                                           DO(&version_3_width_8, 0, 0),
                                           W(5, 9),
                                           FLUSH,
                                           END };

static const struct step narrow_steps[] = {
    W(0, 20),  FLUSH,   DO(&width_1, 0, 0),
    W(10, 20), D(3, 9), DO(&width_16, 0, 0),
    W(25, 9),  FLUSH,   END
};

static const struct step upgrade_steps[] = { W(0, 20),
                                             DO(&version_3, 0, 0),
                                             W(5, 9),
                                             Z(20, 12),
                                             UC(0, 1),
                                             FLUSH,
                                             DO(&lazy_on, 0, 0),
                                             W(8, 9),
                                             DO(&lazy_off, 0, 0),
                                             W(1, 3),
                                             FLUSH,
                                             END };

static const struct step data_file_steps[] = { W(0, 20),
                                               FLUSH,
                                               DO(&data_file_moved, 0, 0),
                                               W(10, 9),
                                               DO(&data_file_not_raw, 0, 0),
                                               W(4, 9),
                                               DO(&data_file_unnamed, 0, 0),
                                               W(30, 4),
                                               FLUSH,
                                               END };

/* ---- Passphrases: that of the images always opens them ---- */

#define OTHER_PASSPHRASE "another secret"

static int add_key(struct runner *runner, uint32_t slot, const char *passphrase,
                   size_t bytes, uint32_t flags, struct byre_error *err)
{
    return byre_key_add(runner->image.disk, slot, passphrase, bytes, 1, flags,
                        err);
}

/* The record of slot 6 lies in two sectors. */
static int run_key_straddling(struct runner *runner, const struct step *step,
                              struct byre_error *err)
{
    (void)step;
    return add_key(runner, 6, IMAGE_PASSPHRASE, sizeof(IMAGE_PASSPHRASE) - 1, 0,
                   err);
}

static int run_key_replaced(struct runner *runner, const struct step *step,
                            struct byre_error *err)
{
    (void)step;
    return add_key(runner, 6, IMAGE_PASSPHRASE, sizeof(IMAGE_PASSPHRASE) - 1,
                   BYRE_KEY_FORCE, err);
}

static int run_key_other(struct runner *runner, const struct step *step,
                         struct byre_error *err)
{
    (void)step;
    return add_key(runner, BYRE_KEY_ANY_SLOT, OTHER_PASSPHRASE,
                   sizeof(OTHER_PASSPHRASE) - 1, 0, err);
}

static int run_key_erase_first(struct runner *runner, const struct step *step,
                               struct byre_error *err)
{
    (void)step;
    return byre_key_erase(runner->image.disk, 0, 0, err);
}

static int run_key_erase_other(struct runner *runner, const struct step *step,
                               struct byre_error *err)
{
    (void)step;
    return byre_key_erase_passphrase(runner->image.disk, OTHER_PASSPHRASE,
                                     sizeof(OTHER_PASSPHRASE) - 1, 0, err);
}

static const struct action key_straddling = { .name = "key in slot 6",
                                              .run = run_key_straddling };
static const struct action key_replaced = { .name = "key replaced",
                                            .run = run_key_replaced };
static const struct action key_other = { .name = "another key",
                                         .run = run_key_other };
static const struct action key_erase_first = { .name = "first key erased",
                                               .run = run_key_erase_first };
static const struct action key_erase_other = { .name = "another key erased",
                                               .run = run_key_erase_other };

static const struct step keys_steps[] = { W(0, 5),
                                          FLUSH,
                                          MARK,
                                          DO(&key_straddling, 0, 0),
                                          W(3, 5),
                                          FLUSH,
                                          DO(&key_erase_first, 0, 0),
                                          DO(&key_replaced, 0, 0),
                                          DO(&key_other, 0, 0),
                                          DO(&key_erase_other, 0, 0),
                                          W(20, 3),
                                          FLUSH,
                                          END };

/* ---- Which on which ---- */

static const struct script amend_scripts[] = {
    { "amend-version", version_steps, 0 },
    { "amend-width", width_steps, 0 },
    { "amend-narrow", narrow_steps, 0 },
    { "amend-upgrade", upgrade_steps, 0 },
    { "amend-data-file", data_file_steps, 0 },
    { "amend-keys", keys_steps, 0 },
};

static const struct workload amend_workloads[] = {
    { "v3-512", "amend-version", 0, 0 },
    { "v3-512", "amend-width", 0, 0 },
    { "v3-512", "amend-narrow", 0, 0 },
    { "v3-4k", "amend-version", 0, 0 },
    { "v3-64k", "amend-width", 0, 30 },
    { "lazy-4k", "amend-version", 0, 0 },
    { "lazy-4k", "amend-width", 0, 0 },
    { "zstd-64k", "amend-version", 0, 30 },
    { "width-64", "amend-narrow", 0, 0 },
    { "extended-16k", "amend-narrow", 0, 30 },
    { "overlay-long-4k", "amend-version", 0, 0 },
    { "overlay-long-512", "amend-width", 0, 0 },
    { "aes-4k", "amend-version", 0, 0 },
    { "luks-4k", "amend-version", 0, 15 },
    { "overlay-luks", "amend-width", 0, 15 },
    { "prealloc-4k", "amend-version", 0, 0 },
    { "snapshot-512", "amend-version", 0, 0 },
    { "snapshot-512", "amend-width", 0, 0 },
    { "snapshot-4k", "amend-version", 0, 0 },
    { "snapshot-zeroes", "amend-version", 0, 0 },
    { "snapshot-zeroes", "amend-width", 0, 0 },
    { "v2-512", "amend-upgrade", 0, 0 },
    { "v2-64k", "amend-upgrade", 0, 30 },
    { "overlay-v2-4k", "amend-upgrade", 0, 0 },
    { "snapshot-v2-4k", "amend-upgrade", 0, 0 },
    { "snapshot-v2-short", "amend-upgrade", 0, 0 },
    { "data-4k", "amend-data-file", 0, 0 },
    { "data-raw-4k", "amend-data-file", 0, 0 },
    { "data-4k", "amend-narrow", 0, 0 },
    { "luks-small", "amend-keys", 0, 15 },
};

const struct workload_set amend_set = {
    amend_scripts,
    sizeof(amend_scripts) / sizeof(amend_scripts[0]),
    amend_workloads,
    sizeof(amend_workloads) / sizeof(amend_workloads[0]),
};
