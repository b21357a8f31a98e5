/* SPDX-License-Identifier: MIT */
/*
 * Scripted work on an image: a table of steps, and which script runs on which
 * kind of image.  A script counts in units or clusters of its kind, so that one
 * serves all of them.
 */
#ifndef BYRE_TESTS_CRASH_WORKLOAD_H
#define BYRE_TESTS_CRASH_WORKLOAD_H

#include "image_kind.h"

enum step_kind {
    STEP_END,
    STEP_WRITE,
    STEP_COMPRESS, /* clusters only */
    STEP_ZERO,
    STEP_UNMAP, /* zero, and the space need not stay */
    STEP_DISCARD,
    STEP_FLUSH,
    STEP_RESIZE,   /* to `length`, growing or shrinking */
    STEP_REOPEN,   /* close, and open again */
    STEP_PARALLEL, /* threads that write between each other, in the range */
    STEP_ACTION,   /* what the step's action does, which is durable then */
    STEP_MARK      /* crashes before this one are not looked at */
};

struct runner;
struct step;

/*
 * A change of the image's structure, for which there is no step of its own.  It
 * calls the library on runner->image.disk, and tells runner->model what the
 * disk may read as from before the first write on (disk_model_begin()), and
 * after success (disk_model_succeed()); all of it is promised then.
 */
struct action {
    const char *name;
    int (*run)(struct runner *runner, const struct step *step,
               struct byre_error *err);
    /* What an image must be able to go through in any state that a crash
       leaves, without its disk changing; NULL: nothing. */
    int (*again)(struct image *image, struct byre_error *err);
    /* It flushes other images too: one that fails is not the end of this one.
     */
    bool flushes_others;
    bool reopens; /* closes the image and opens it again */
};

#define STEP_CLUSTERS (1u << 0) /* the numbers are clusters, not units */
#define STEP_FUA      (1u << 1)
#define STEP_NOISE    (1u << 2) /* bytes that do not compress */

struct step {
    enum step_kind kind;
    unsigned flags;
    uint64_t offset;
    uint64_t length;
    const struct action *action; /* of STEP_ACTION */
};

struct script {
    const char *name;
    const struct step *steps; /* to STEP_END; NULL: drawn by `seed` */
    uint64_t seed;
};

struct workload {
    const char *kind;
    const char *script;
    uint64_t cache_bytes; /* of tables and refcounts; 0: the default */
    /* Its part of all states, in percent of an average one; 0: 100. */
    unsigned share;
};

/* The workloads of one area, and the scripts that they name. */
struct workload_set {
    const struct script *scripts;
    size_t script_count;
    const struct workload *workloads;
    size_t workload_count;
};

/* workload_write.c and so on */
extern const struct workload_set write_set;
extern const struct workload_set amend_set;
extern const struct workload_set bitmap_set;
extern const struct workload_set chain_set;
extern const struct workload_set check_set;
extern const struct workload_set compact_set;
extern const struct workload_set snapshot_set;

/* The workloads of all sets, one after the other; NULL past the last one. */
const struct workload *workload_at(size_t index);

#define MAX_STEPS 64

/* A workload with its kind, and with its steps in bytes. */
struct plan {
    const struct workload *workload;
    const struct image_kind *kind;
    char name[80];
    struct step steps[MAX_STEPS]; /* to STEP_END */
    uint64_t max_bytes;           /* as far as the disk ever reaches */
};

/* Draws up the plan of a workload, which names a kind and a script. */
void workload_plan(const struct workload *workload, struct plan *ret_plan);

/*
 * A script of its own for a seed: a fixed number of steps, all that the kind
 * can do, most of them in a few places.
 */
void workload_draw(const struct image_kind *kind, uint64_t seed,
                   struct step *ret_steps);

/* The next number of a sequence that is the same everywhere, below `limit`. */
uint64_t draw(uint64_t *seed, uint64_t limit);

#endif
