/* SPDX-License-Identifier: MIT */
/*
 * A check (engine.h) as its files share it.
 *
 * The look: all references are walked and counted, in as many windows of host
 * clusters as the budget makes it; what is wrong with an entry is found in the
 * first walk; each window is then held against the refcounts in the file.
 * Last come the COPIED flags, which are held against those refcounts too.
 *
 * A repair looks first without a word, to learn what may be relied on, and
 * then mends and reports in this order, each step durable before the next:
 * entries; refcounts; flags.  What is raised is raised before a flag is set or
 * a pointer made; what is lowered, after the pointer is gone.
 *
 * What counts as what is QEMU's: a refcount above the references is a leak, one
 * below them a corruption; clusters are compared up to the end of the file.
 */
#ifndef BYRE_QCOW2_CHECK_H
#define BYRE_QCOW2_CHECK_H

#include "qcow2/check_owners.h"
#include "qcow2/reference_counts.h"
#include "qcow2/stored_counts.h"

enum check_mode {
    CHECK_REPORT,   /* finds and reports */
    CHECK_SURVEY,   /* finds, for a repair */
    CHECK_MEND,     /* corrects refcounts in place, and reports */
    CHECK_REPLACING /* reports refcounts as corrected: they will be rebuilt */
};

struct check {
    struct qcow2 *qcow2;
    uint32_t repair; /* BYRE_CHECK_REPAIR_* */
    uint64_t memory_bytes;
    const struct check_sink *sink;
    enum check_mode mode;
    struct byre_check_result result;

    uint64_t cluster_bytes;
    uint64_t file_clusters; /* the last one may be cut off */
    struct reference_counts counts;
    struct stored_counts stored;
    uint64_t end;     /* one past the last cluster to compare */
    uint64_t highest; /* one past the last cluster that is in use or counted */
    bool in_first_walk;
    uint64_t contiguous; /* where the next cluster would lie; 0: unknown */

    /* What was found, on the way to mending it. */
    uint64_t faults;
    bool incomplete;   /* snapshots do not record what version 3 asks for */
    bool bitmaps_lost; /* the bitmap directory cannot be read */
    bool quiet;        /* finds nothing: tidies up behind a repair */
    bool cut_off;      /* something lies past the end of the file */
    uint64_t mismatches;
    uint64_t overlaps;
    bool blind;  /* a part could not be looked at: it may refer to anything */
    bool hidden; /* ... so much that refcounts that seem too high say nothing */
    bool broken; /* refcount blocks or their table contradict something */
    bool missing; /* what is in use has no refcount block */
    struct check_owners owners;
};

/* Of the memory for flags: a bit a cluster, where counts take two bytes. */
static inline uint64_t check_flag_bytes(const struct check *check)
{
    return check->memory_bytes / 16;
}

static inline bool check_repairs_all(const struct check *check)
{
    return (check->repair & BYRE_CHECK_REPAIR_ALL) != 0;
}

/* ---- check.c ---- */

/* Room for the window, within the budget, unless there is. */
int check_init_counts(struct check *check, struct byre_error *err);

/* Takes in how long the file is, and makes the counts for all of it. */
int check_measure_file(struct check *check, struct byre_error *err);

/* ---- check_report.c ---- */

struct check_place {
    const char *object;
    uint64_t host_offset;
    uint64_t guest_offset;
};

/* Counts one finding and passes it on. */
void check_found(struct check *check, uint32_t kind, bool repaired,
                 const struct check_place *place, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* The same for what is wrong with a reference; `fault` is one bit. */
void check_found_fault(struct check *check, const struct reference *ref,
                       uint32_t fault, bool repaired);

/* ---- check_counts.c ---- */

/* Counts all references, window by window, and compares. */
int check_counts(struct check *check, struct byre_error *err);

/* Whether entries of an L1 or L2 table may be changed in place: not where it
   is something else too. */
bool check_may_write_table(const struct check *check,
                           const struct reference *table);

/* ---- check_entries.c ---- */

/*
 * Lengthens a file that was cut off to hold again what its refcounts say is in
 * use, as zeroes, which is how it reads.  Durable.
 */
int check_lengthen(struct check *check, bool *ret_lengthened,
                   struct byre_error *err);

/* Mends entries of L1 and L2 tables where that changes nothing that can be
   read, and reports them.  Durable. */
int check_entries(struct check *check, struct byre_error *err);

/* ---- check_space.c ---- */

/* Takes free clusters for `bytes`, counted once, durably.  BYRE_E_LIMIT: there
   are none. */
int check_take(struct check *check, uint64_t bytes, uint64_t *ret_offset,
               struct byre_error *err);

/* ---- check_structures.c ---- */

/* Each leaves what it replaced as a leak, and reports what it did. */
int check_complete_snapshots(struct check *check, struct byre_error *err);
int check_shorten_bitmaps(struct check *check, struct byre_error *err);
int check_part_data(struct check *check, struct byre_error *err);

/* ---- check_mend.c ---- */

/* Looks, mends what `repair` allows, and reports what was mended. */
int check_mend(struct check *check, struct byre_error *err);

/* ---- check_flags.c ---- */

int check_flags(struct check *check, bool correct, struct byre_error *err);

#endif
