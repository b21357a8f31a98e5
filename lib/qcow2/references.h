/* SPDX-License-Identifier: MIT */
/*
 * Everything in an image that refers to host clusters, one reference after the
 * other: what refcounts are the counts of.
 *
 * The walk reads the tables straight from the store, in pieces of bounded size,
 * and judges nothing: an entry that cannot be is visited like any other, with
 * its faults.  Counting, checking and repair are the visitor's.  Nobody may
 * change the tables behind the walk but the visitor, and it only what the walk
 * does not look at again: flags of the entry it is shown.
 *
 * spec: qcow2 "Host cluster management": what is counted.
 */
#ifndef BYRE_QCOW2_REFERENCES_H
#define BYRE_QCOW2_REFERENCES_H

#include "qcow2/internal.h"

/* What a reference is to. */
enum reference_owner {
    REFERENCE_HEADER,
    REFERENCE_REFCOUNT_TABLE,
    REFERENCE_REFCOUNT_BLOCK,
    REFERENCE_L1_TABLE, /* a snapshot's too: see `snapshot` */
    REFERENCE_L2_TABLE,
    REFERENCE_DATA, /* a whole guest cluster, or room for one */
    REFERENCE_COMPRESSED,
    REFERENCE_EXTERNAL_DATA, /* in the data file: not counted */
    REFERENCE_NOTHING,       /* an entry without a cluster, but with faults */
    REFERENCE_SNAPSHOT_TABLE,
    REFERENCE_LUKS,
    REFERENCE_BITMAP_DIRECTORY,
    REFERENCE_BITMAP_TABLE,
    REFERENCE_BITMAP_DATA
};

/* What is wrong with an entry; several may be. */
#define REFERENCE_UNALIGNED (UINT32_C(1) << 0)
/* It ends past what a file or its entry can hold. */
#define REFERENCE_BEYOND_LIMIT (UINT32_C(1) << 1)
/* It ends a cluster or more past the end of the file. */
#define REFERENCE_BEYOND_FILE   (UINT32_C(1) << 2)
#define REFERENCE_RESERVED_BITS (UINT32_C(1) << 3)
/* COPIED on a compressed stream, or where there is no cluster. */
#define REFERENCE_STRAY_COPIED (UINT32_C(1) << 4)
/* Compressed, in an image with an external data file. */
#define REFERENCE_NOT_RAW (UINT32_C(1) << 5)
/* The bitmap of an extended entry contradicts its cluster, or itself. */
#define REFERENCE_SUBCLUSTERS (UINT32_C(1) << 6)
/* The zero flag, in version 2. */
#define REFERENCE_ZERO_FLAG (UINT32_C(1) << 7)
/* In the data file, but not where the guest has it. */
#define REFERENCE_MISPLACED (UINT32_C(1) << 8)
/* The table (of snapshots, of bitmaps) cannot be decoded, or its sizes lie:
   what it refers to is not walked. */
#define REFERENCE_DAMAGED (UINT32_C(1) << 9)
/* The L1 table of a snapshot that version 3 wants to record more about. */
#define REFERENCE_INCOMPLETE (UINT32_C(1) << 10)
/* The L1 table of a snapshot that records more than the limit of extra data. */
#define REFERENCE_OVERLONG (UINT32_C(1) << 11)

#define REFERENCE_NO_SNAPSHOT UINT32_MAX

struct reference {
    enum reference_owner owner;
    uint32_t faults; /* REFERENCE_*; 0: none */

    /* The host bytes, as far as the entry can be believed; the clusters they
       touch are counted.  None if `bytes` is 0. */
    uint64_t offset;
    uint64_t bytes;

    /* The table it stands in and its place there; BYRE_NO_OFFSET: the header
       or one of its extensions. */
    uint64_t table_offset;
    uint64_t index;
    uint64_t raw; /* the entry there, without its subcluster bitmap */
    bool in_l1;   /* an entry of an L1 table */
    bool copied;

    bool active;           /* in the active tree */
    uint32_t snapshot;     /* index in the table; REFERENCE_NO_SNAPSHOT */
    enum l2_kind kind;     /* of an entry of an L2 table */
    uint64_t guest_offset; /* the same; and of what an L2 table maps */
};

/*
 * Looks at one reference.  Negative ends the walk, positive goes on but leaves
 * out what the reference leads to (the entries of an L1 or L2 table).
 */
typedef int reference_visit(void *user, const struct reference *ref,
                            struct byre_error *err);

/* What to walk, in this order. */
#define REFERENCES_HEADER    (UINT32_C(1) << 0)
#define REFERENCES_REFCOUNTS (UINT32_C(1) << 1) /* table and blocks */
#define REFERENCES_ACTIVE    (UINT32_C(1) << 2) /* L1, L2, data */
#define REFERENCES_SNAPSHOTS (UINT32_C(1) << 3) /* their table and trees */
#define REFERENCES_LUKS      (UINT32_C(1) << 4)
#define REFERENCES_BITMAPS   (UINT32_C(1) << 5)
#define REFERENCES_ALL       UINT32_C(0x3f)
/* Entries of the data file too, as REFERENCE_EXTERNAL_DATA. */
#define REFERENCES_EXTERNAL (UINT32_C(1) << 6)
/* Those that read as zeroes without a cluster too, as REFERENCE_NOTHING. */
#define REFERENCES_ZEROES (UINT32_C(1) << 7)

/*
 * Visits what `what` (REFERENCES_*) names.  An L2 table that several trees
 * share is walked for each.  Needs about REFERENCES_BUFFER_BYTES, and the
 * snapshot table and the bitmap directory, which have limits of their own.
 * Returns the first negative result of the visitor or of reading.
 */
int references_walk(struct qcow2 *qcow2, uint32_t what, reference_visit *visit,
                    void *user, struct byre_error *err);

/* An L2 table, from wherever it is referred to: so many times. */
struct l2_reference {
    uint64_t offset; /* a multiple of the cluster size */
    uint32_t times;
};

/*
 * Visits the tables, as REFERENCE_L2_TABLE with `index` their place among
 * `tables`, and what their entries refer to.  Neighbours are read together.
 * Guest offsets are those in the range of a table.
 */
int references_walk_tables(struct qcow2 *qcow2,
                           const struct l2_reference *tables, size_t count,
                           reference_visit *visit, void *user,
                           struct byre_error *err);

#define REFERENCES_BUFFER_BYTES (UINT32_C(512) << 10)

/* "L2 table" and so on, for messages. */
const char *reference_owner_name(enum reference_owner owner);

#define REFERENCE_TEXT_BYTES 160

/* What the reference is and where it stands: "entry 3 of the table at ...". */
void reference_describe(const struct reference *ref, char *text,
                        size_t capacity);

/* Those of its faults that leave in doubt which host clusters are in use, or
   what they mean. */
uint32_t reference_grave_faults(const struct reference *ref);

/* What the lowest of `faults` says of the entry: "is not aligned". */
const char *reference_fault_text(uint32_t faults);

#endif
