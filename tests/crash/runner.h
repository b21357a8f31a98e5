/* SPDX-License-Identifier: MIT */
/*
 * One run of a plan: an image on recorded stores, and beside it the model of
 * what its disk may hold.
 */
#ifndef BYRE_TESTS_CRASH_RUNNER_H
#define BYRE_TESTS_CRASH_RUNNER_H

#include "disk_model.h"
#include "snapshot_model.h"
#include "store/fault.h"
#include "store/recorder.h"
#include "workload.h"

#define MAX_STORES 3

/* What the image holds before the first step, prepared once for many runs. */
struct beginning {
    const struct plan *plan;
    uint8_t *files[MAX_STORES]; /* durable from the start; a recipe's, a base */
    size_t file_bytes[MAX_STORES];
    uint8_t *disk;     /* what the disk reads as */
    uint8_t *snapshot; /* the same of the snapshot "one"; NULL: none */
};

/* Runs the recipe, if there is one.  Negative with `err` filled on failure. */
int beginning_init(struct beginning *beginning, const struct plan *plan,
                   struct byre_error *err);
void beginning_done(struct beginning *beginning);

struct runner {
    const struct beginning *beginning;
    const struct plan *plan;
    struct record_log *log;
    struct byre_store *stores[MAX_STORES]; /* recorded */
    struct byre_store *used[MAX_STORES];   /* what the image is opened on */
    struct faults *faults;                 /* NULL: none are wanted */
    struct image image;
    struct disk_model model;
    struct snapshot_model snapshots;
    uint64_t created; /* the first cut at which the image must open */
    uint64_t mark;    /* the first cut that is looked at */
    uint64_t pattern;
    unsigned operations;
    const struct step *step; /* that runs, or has failed */
};

/* Stores and a model; with `faults` calls of the stores may fail. */
int runner_init(struct runner *runner, const struct beginning *beginning,
                struct faults *faults, struct byre_error *err);
void runner_done(struct runner *runner);

/* Makes the image, unless it is there from the start, and opens it. */
int runner_begin(struct runner *runner, struct byre_error *err);

/* Runs one step; what its call returns. */
int runner_step(struct runner *runner, const struct step *step,
                struct byre_error *err);

/* Every sector of the running image must read as one that is allowed. */
int runner_verify(struct runner *runner, struct byre_error *err);

/* Closes the image, which makes all of it durable if it succeeds. */
int runner_close(struct runner *runner, struct byre_error *err);

/* All of it, without faults: the log and the model are complete then. */
int runner_run(struct runner *runner, struct byre_error *err);

/* ---- For actions ---- */

/* What the harness itself asks of the image neither fails nor counts. */
struct runner_pause {
    struct fault plan[FAULT_KINDS];
    uint64_t calls[FAULT_KINDS];
};

void runner_pause_faults(struct runner *runner, struct runner_pause *pause);
void runner_resume_faults(struct runner *runner,
                          const struct runner_pause *pause);

/* The size of the disk; after a resize that failed it may be either. */
uint64_t runner_disk_bytes(struct runner *runner);

/* What a step is, for messages. */
void step_describe(const struct step *step, char *text, size_t size);

#endif
