/* SPDX-License-Identifier: MIT */
#include "workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct workload_set *const sets[] = {
    &write_set, &amend_set,   &bitmap_set,   &chain_set,
    &check_set, &compact_set, &snapshot_set,
};

#define SETS (sizeof(sets) / sizeof(sets[0]))

const struct workload *workload_at(size_t index)
{
    for (size_t i = 0; i < SETS; i++) {
        if (index < sets[i]->workload_count)
            return &sets[i]->workloads[index];
        index -= sets[i]->workload_count;
    }
    return NULL;
}

static const struct script *find_script(const char *name)
{
    for (size_t i = 0; i < SETS; i++)
        for (size_t j = 0; j < sets[i]->script_count; j++)
            if (strcmp(sets[i]->scripts[j].name, name) == 0)
                return &sets[i]->scripts[j];
    return NULL;
}

/* ---- Drawn scripts ---- */

uint64_t draw(uint64_t *seed, uint64_t limit)
{
    *seed =
        *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (*seed >> 33) % limit;
}

static const enum step_kind drawn_kinds[] = {
    STEP_WRITE, STEP_WRITE,   STEP_WRITE,   STEP_WRITE, STEP_ZERO,  STEP_UNMAP,
    STEP_UNMAP, STEP_DISCARD, STEP_DISCARD, STEP_FLUSH, STEP_FLUSH, STEP_REOPEN
};

void workload_draw(const struct image_kind *kind, uint64_t seed,
                   struct step *ret_steps)
{
    const uint64_t kinds = sizeof(drawn_kinds) / sizeof(drawn_kinds[0]);
    const size_t count = 24;

    seed = seed * 7919 + kind->cluster_bytes;
    for (size_t i = 0; i < count; i++) {
        struct step *step = &ret_steps[i];

        *step = (struct step){ .kind = drawn_kinds[draw(&seed, kinds)] };
        step->flags = draw(&seed, 8) == 0 ? STEP_FUA : 0;
        step->offset = draw(&seed, kind->disk_units / 2);
        step->length = 1 + draw(&seed, 12);
        if (draw(&seed, 3) != 0)
            continue;
        step->flags |= STEP_CLUSTERS;
        step->offset = draw(&seed, 6);
        step->length = 1 + draw(&seed, 2);
    }
    ret_steps[count] = (struct step){ .kind = STEP_END };
}

/* ---- Plans ---- */

static void copy_steps(const struct script *script,
                       const struct image_kind *kind, struct step *ret_steps)
{
    size_t i = 0;

    if (script->steps == NULL) {
        workload_draw(kind, script->seed, ret_steps);
        return;
    }
    do
        ret_steps[i] = script->steps[i];
    while (ret_steps[i++].kind != STEP_END);
}

void workload_plan(const struct workload *workload, struct plan *ret_plan)
{
    const struct image_kind *kind = image_kind_find(workload->kind);
    const struct script *script = find_script(workload->script);

    if (kind == NULL || script == NULL) {
        fprintf(stderr, "no workload %s/%s\n", workload->kind,
                workload->script);
        abort();
    }
    *ret_plan = (struct plan){ .workload = workload, .kind = kind };
    snprintf(ret_plan->name, sizeof(ret_plan->name), "%s/%s", kind->name,
             script->name);
    copy_steps(script, kind, ret_plan->steps);
    ret_plan->max_bytes = image_kind_disk(kind);
    for (struct step *step = ret_plan->steps; step->kind != STEP_END; step++) {
        const uint64_t scale = (step->flags & STEP_CLUSTERS) != 0
                                   ? kind->cluster_bytes
                                   : kind->unit_bytes;

        step->offset *= scale;
        step->length *= scale;
        if (step->kind == STEP_RESIZE)
            step->length = (step->length + 511) & ~UINT64_C(511);
        if (step->kind == STEP_RESIZE && step->length > ret_plan->max_bytes)
            ret_plan->max_bytes = step->length;
    }
}
