/* SPDX-License-Identifier: MIT */
/*
 * Which snapshots an image may have, and must have, at a crash; what they hold;
 * and when which signs of work on them are allowed.
 *
 * Moments are those of disk_model.h.
 */
#ifndef BYRE_TESTS_CRASH_SNAPSHOT_MODEL_H
#define BYRE_TESTS_CRASH_SNAPSHOT_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "byre.h"

struct model_snapshot {
    char name[8];
    uint8_t *bytes; /* of the disk */
    uint64_t length;
    uint8_t *vm_state;
    uint64_t vm_state_length;
    uint64_t begun;
    uint64_t promised;
    uint64_t gone_begun;
    uint64_t gone;
};

/* From `begun` to `ended`; MODEL_NEVER: to the end. */
struct model_window {
    uint64_t begun;
    uint64_t ended;
};

/* The disk changes as a whole. */
struct model_switch {
    struct model_window window;
    uint8_t *before;
    uint64_t before_length;
    uint8_t *after;
    uint64_t after_length;
};

#define MODEL_SNAPSHOTS 24

struct snapshot_model {
    struct model_snapshot snapshots[MODEL_SNAPSHOTS];
    size_t snapshot_count;
    /* COPIED flags may be missing. */
    struct model_window flags[MODEL_SNAPSHOTS];
    size_t flags_count;
    struct model_switch switches[MODEL_SNAPSHOTS];
    size_t switch_count;
    uint64_t vm_state_length; /* that was written since the last snapshot */
};

void snapshot_model_done(struct snapshot_model *model);

/* A snapshot of that name is being made; both buffers are copied. */
struct model_snapshot *snapshot_model_add(struct snapshot_model *model,
                                          const char *name,
                                          const uint8_t *bytes, uint64_t length,
                                          const uint8_t *vm_state,
                                          uint64_t vm_state_length,
                                          uint64_t now);

/* The newest of that name that is not gone, or NULL. */
struct model_snapshot *snapshot_model_find(struct snapshot_model *model,
                                           const char *name);

struct model_window *snapshot_model_flags(struct snapshot_model *model,
                                          uint64_t now);
/* Buffers are copied. */
struct model_switch *snapshot_model_switch(struct snapshot_model *model,
                                           const uint8_t *before,
                                           uint64_t before_length,
                                           const uint8_t *after,
                                           uint64_t after_length, uint64_t now);

bool snapshot_model_allows_missing_flags(const struct snapshot_model *model,
                                         uint64_t cut);

/* The disk is one of the two while it is switched. */
int snapshot_model_check_disk(const struct snapshot_model *model, uint64_t cut,
                              const uint8_t *bytes, uint64_t length,
                              struct byre_error *err);

/* What a snapshot of an image is, for the check. */
struct found_snapshot {
    const char *name;
    const uint8_t *bytes;
    uint64_t length;
    const uint8_t *vm_state;
    uint64_t vm_state_length;
};

/* Names that no script has made are let pass. */
int snapshot_model_check_found(const struct snapshot_model *model, uint64_t cut,
                               const struct found_snapshot *found,
                               struct byre_error *err);

/* None that is promised may be missing. */
int snapshot_model_check_names(const struct snapshot_model *model, uint64_t cut,
                               const char *const *names, size_t count,
                               struct byre_error *err);

#endif
