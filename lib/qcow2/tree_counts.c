/* SPDX-License-Identifier: MIT */
#include "qcow2/tree_counts.h"

#include <inttypes.h>

#include "base/arith.h"
#include "base/error.h"
#include "qcow2/allocator.h"

/* Between two flushes; a release takes some 32 bytes. */
#define RELEASES_A_FLUSH (UINT32_C(1) << 18)

#define NOWHERE                                                                \
    (REFERENCE_UNALIGNED | REFERENCE_BEYOND_LIMIT | REFERENCE_BEYOND_FILE)

/* Host bytes that follow one another, of one owner. */
struct host_bytes {
    uint64_t offset;
    uint64_t bytes;
    enum reference_owner owner;
};

struct tree_walk;

typedef int apply_run(struct tree_walk *walk, const struct host_bytes *run,
                      struct byre_error *err);

struct tree_walk {
    struct qcow2 *qcow2;
    const struct l2_list *list;
    apply_run *apply;
    bool lenient;
    struct host_bytes run;
    uint32_t times;    /* of the table that is walked */
    uint64_t done;     /* bytes that were raised */
    uint32_t releases; /* since the last flush */
};

static int finish_run(struct tree_walk *walk, struct byre_error *err)
{
    const struct host_bytes run = walk->run;

    walk->run.bytes = 0;
    return run.bytes > 0 ? walk->apply(walk, &run, err) : BYRE_OK;
}

/* Streams may share a cluster, so each of them is a run. */
static int add_to_run(struct tree_walk *walk, const struct reference *ref,
                      struct byre_error *err)
{
    struct host_bytes *run = &walk->run;
    int r;

    if (run->bytes > 0 && run->owner == ref->owner &&
        ref->owner != REFERENCE_COMPRESSED &&
        run->offset + run->bytes == ref->offset) {
        run->bytes += ref->bytes;
        return BYRE_OK;
    }
    r = finish_run(walk, err);
    *run = (struct host_bytes){ ref->offset, ref->bytes, ref->owner };
    return r;
}

static int fail_place(const struct reference *ref, struct byre_error *err)
{
    return fail_at(err, BYRE_E_CORRUPT, ref->offset,
                   "%s at offset %" PRIu64 " %s; run a check of the image",
                   reference_owner_name(ref->owner), ref->offset,
                   reference_fault_text(ref->faults & NOWHERE));
}

/* With an external data file the tables alone are counted. */
static bool is_counted(const struct tree_walk *walk, enum reference_owner owner)
{
    return owner == REFERENCE_L2_TABLE ||
           (!walk->qcow2->engine.needs_data_file &&
            (owner == REFERENCE_DATA || owner == REFERENCE_COMPRESSED));
}

static int visit(void *user, const struct reference *ref,
                 struct byre_error *err)
{
    struct tree_walk *walk = user;
    int r = BYRE_OK;

    if (!is_counted(walk, ref->owner))
        return BYRE_OK;
    if ((ref->faults & NOWHERE) != 0)
        return walk->lenient ? 1 : fail_place(ref, err);
    if (ref->owner == REFERENCE_L2_TABLE &&
        walk->times != walk->list->tables[ref->index].times) {
        r = finish_run(walk, err);
        walk->times = walk->list->tables[ref->index].times;
    }
    return r < 0 ? r : add_to_run(walk, ref, err);
}

static int walk_tree(struct tree_walk *walk, struct byre_error *err)
{
    int r;

    r = references_walk_tables(walk->qcow2, walk->list->tables,
                               walk->list->count, visit, walk, err);
    return r < 0 ? r : finish_run(walk, err);
}

/* ---- Looking ---- */

/* What is taken for data must be no structure: it would be written over. */
static int check_run(struct tree_walk *walk, const struct host_bytes *run,
                     struct byre_error *err)
{
    int r = BYRE_OK;

    if (run->owner != REFERENCE_L2_TABLE)
        r = metadata_check(&walk->qcow2->metadata, run->offset,
                           run->owner == REFERENCE_DATA ? run->bytes : 1, err);
    if (r < 0)
        return r;
    return allocator_can_raise(walk->qcow2->allocator, run->offset, run->bytes,
                               err);
}

int tree_counts_check(struct qcow2 *qcow2, const struct l2_list *list,
                      struct byre_error *err)
{
    struct tree_walk walk = { .qcow2 = qcow2,
                              .list = list,
                              .apply = check_run };

    return walk_tree(&walk, err);
}

/* ---- Raising ---- */

static int raise_run(struct tree_walk *walk, const struct host_bytes *run,
                     struct byre_error *err)
{
    int r;

    r = allocator_raise(walk->qcow2->allocator, run->offset, run->bytes, err);
    if (r == BYRE_OK)
        walk->done += run->bytes;
    return r;
}

#define UNDONE BYRE_E_CANCELED

/* Runs come as they were raised; as many as then are taken back. */
static int lower_run(struct tree_walk *walk, const struct host_bytes *run,
                     struct byre_error *err)
{
    if (walk->done == 0)
        return UNDONE;
    walk->done -= run->bytes;
    allocator_give_back(walk->qcow2->allocator, run->offset, run->bytes, err);
    return BYRE_OK;
}

int tree_counts_raise(struct qcow2 *qcow2, const struct l2_list *list,
                      struct byre_error *err)
{
    struct tree_walk walk = { .qcow2 = qcow2,
                              .list = list,
                              .apply = raise_run };
    int r;

    r = walk_tree(&walk, err);
    if (r < 0 && walk.done > 0) {
        walk.apply = lower_run;
        walk.run.bytes = 0;
        walk.times = 0;
        walk_tree(&walk, NULL); /* what is not reached is a leak */
    }
    return r;
}

void tree_counts_lower(struct qcow2 *qcow2, const struct l2_list *list)
{
    struct tree_walk walk = {
        .qcow2 = qcow2, .list = list, .apply = lower_run, .done = UINT64_MAX
    };

    walk_tree(&walk, NULL);
}

/* ---- Releasing ---- */

/* Space is not emptied on the word of an entry that takes a table for data. */
static int check_released(struct tree_walk *walk, const struct host_bytes *run,
                          struct byre_error *err)
{
    struct byre_error why = { 0 };
    int r;

    r = metadata_check(&walk->qcow2->metadata, run->offset,
                       run->owner == REFERENCE_DATA ? run->bytes : 1, &why);
    if (r < 0 && err != NULL)
        *err = why;
    return qcow2_mark_corrupt(walk->qcow2, r, &why);
}

static int note_release(struct tree_walk *walk, uint64_t offset, uint64_t bytes,
                        uint32_t times, struct byre_error *err)
{
    struct qcow2 *qcow2 = walk->qcow2;
    int r;

    r = allocator_release_times(qcow2->allocator, offset, bytes, times,
                                qcow2->keep_space ? 0 : ALLOCATOR_PUNCH, err);
    if (r < 0 || ++walk->releases < RELEASES_A_FLUSH)
        return r;
    walk->releases = 0;
    return writer_flush(&qcow2->writer, err);
}

static int release_run(struct tree_walk *walk, const struct host_bytes *run,
                       struct byre_error *err)
{
    int r;

    if (run->owner == REFERENCE_L2_TABLE)
        return BYRE_OK;
    r = check_released(walk, run, err);
    if (r < 0)
        return r;
    return note_release(walk, run->offset, run->bytes, walk->times, err);
}

/* Tables go last: they are read until then. */
static int release_tables(struct tree_walk *walk, struct byre_error *err)
{
    const uint64_t cluster = engine_cluster_bytes(&walk->qcow2->engine);
    const uint64_t end = atomic_load(&walk->qcow2->file_end_bytes);
    const struct l2_list *list = walk->list;
    int r = BYRE_OK;

    for (size_t i = 0; i < list->count && r == BYRE_OK; i++) {
        if (range_within(list->tables[i].offset, cluster, end))
            r = note_release(walk, list->tables[i].offset, cluster,
                             list->tables[i].times, err);
    }
    return r;
}

int tree_counts_release(struct qcow2 *qcow2, const struct l2_list *list,
                        struct byre_error *err)
{
    struct tree_walk walk = {
        .qcow2 = qcow2, .list = list, .apply = release_run, .lenient = true
    };
    int r;

    r = walk_tree(&walk, err);
    return r < 0 ? r : release_tables(&walk, err);
}
