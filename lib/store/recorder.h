/* SPDX-License-Identifier: MIT */
/*
 * A recorder: stores in memory that log what is done to them, and the states
 * that a power cut could leave of them; for tests.
 *
 * The stores of one log (an image and its data file, an overlay and its base)
 * write into one sequence of operations: writes with their bytes, zeroes,
 * discards, resizes and flushes.  Reads see the newest bytes.  A *cut* at c is
 * a power failure after the first c operations were issued and before any other
 * was.
 *
 * The model:
 *
 * - A flush is a barrier of its own store: what was done to that store before
 *   it in the sequence is durable.  It says nothing of other stores.  What was
 *   done to a store since its last flush before the cut is pending.
 * - A sector of 512 bytes is atomic, nothing else is.  A pending write is one
 *   part for each sector it touches, and so is a zero.  Each part by itself may
 *   have arrived or not, and in any order: a sector holds its durable bytes
 *   with any of its parts applied, each at most once, one after the other.  A
 *   part that covers its sector hides what came before; one that covers some
 *   bytes of it leaves the others.
 * - The length of a store is a choice of its own: its durable length, or what a
 *   pending resize sets, or what a pending write grows it to: its end, or a
 *   boundary between two sectors of it.  What lies past the length that is
 *   chosen vanishes, what lies before it and has not arrived reads as zeroes.
 * - What a pending resize cuts off, and a later pending operation reaches past
 *   again, is zeroed by the resize in parts, as by a zero.
 * - A zero or discard past the end of a store does not grow it.
 * - Of a discard each sector may keep its bytes or read as zeroes, as of a zero
 *   that may never arrive.  What reads see at once, and what is durable after a
 *   barrier, is zeroes in about half of the sectors and the old bytes in the
 *   others, always the same ones: a program that goes on reading what it has
 *   discarded is found, and so is one that takes it for zeroes.
 *
 * Files and disks order more than this: a file system does not let a write pass
 * an older truncation, and a page cache writes a sector with all that was done
 * to it.  What survives every state here does not lean on that.
 *
 * Not modelled: sectors torn inside, garbage that nobody wrote, decay, flushes
 * that lie, and names: whether a new file is found in its directory.  An
 * operation that fails is not logged; with a fault store on top, what that one
 * passes on is.
 */
#ifndef BYRE_STORE_RECORDER_H
#define BYRE_STORE_RECORDER_H

#include "store/store.h"

#define RECORDER_SECTOR_BYTES 512

/* ---- Recording ---- */

enum record_kind {
    RECORD_WRITE,
    RECORD_ZERO,
    RECORD_RESIZE,
    RECORD_FLUSH,
    RECORD_DISCARD
};

/* One operation of the sequence. */
struct record {
    enum record_kind kind;
    size_t store;    /* in the order in which the stores were made, from 0 */
    uint64_t offset; /* of a write, zero or discard */
    uint64_t length; /* of it in bytes; what a resize sets */
    const uint8_t *bytes; /* of a write; the log's */
};

struct record_log;

int record_log_new(struct record_log **ret_log, struct byre_error *err);

/* NULL is allowed.  Its stores and crash states must be gone. */
void record_log_free(struct record_log *log);

/*
 * A new store of `log` whose durable bytes are the `length` bytes of `buf`.
 * Stores are made before the first operation, and used by any threads.
 */
int recorder_store_new(struct record_log *log, const void *buf, size_t length,
                       struct byre_store **ret_store, struct byre_error *err);

size_t record_log_stores(struct record_log *log);

/*
 * How many operations the log has.  Taken when a flush of the program under
 * test has returned, it is the first cut at which its promise holds.
 */
uint64_t record_log_length(struct record_log *log);

/* The operation at `index`, which is less than record_log_length(). */
struct record record_log_at(struct record_log *log, uint64_t index);

/* ---- States at one cut ---- */

struct crash_states;

/*
 * The states at cut 0, to be moved by crash_states_seek().  Where a cut has at
 * most `limit` states there are all of them, no two alike; where it has more
 * there are `limit` samples drawn by `seed`: the first has nothing of what is
 * pending, the second all of it, and any two may be alike.  `limit` is not 0.
 */
int crash_states_new(struct record_log *log, uint64_t limit, uint64_t seed,
                     struct crash_states **ret_states, struct byre_error *err);

/* NULL is allowed.  Stores that were built must be gone. */
void crash_states_free(struct crash_states *states);

/*
 * Goes to the states at `cut`, at most record_log_length(); cheapest in
 * ascending order.  Stores that were built must be gone.
 */
int crash_states_seek(struct crash_states *states, uint64_t cut,
                      struct byre_error *err);

/* How many states there are at the cut: at least 1, at most the limit. */
uint64_t crash_states_count(const struct crash_states *states);

/* Whether these are all there are. */
bool crash_states_exhaustive(const struct crash_states *states);

/*
 * Builds the state `number`, less than the count: a store in memory for each of
 * the log's, in the same order, as the power cut has left it.  They may be
 * written, which changes nothing but themselves.  The same log, limit, seed,
 * cut and number give the same state.  The caller drops the references; on
 * failure there are none.
 */
int crash_states_build(struct crash_states *states, uint64_t number,
                       struct byre_store **ret_stores, struct byre_error *err);

/* ---- All states of a log ---- */

#define CRASH_DEFAULT_STATES 256

struct crash_limits {
    uint64_t states_per_cut; /* 0: CRASH_DEFAULT_STATES */
    uint64_t first_cut;
    uint64_t last_cut; /* 0: the length of the log */
};

/* What crash_states_new(), _seek() and _build() need to build it again. */
struct crash_point {
    uint64_t limit;
    uint64_t seed;
    uint64_t cut;
    uint64_t number;
};

struct crash_report {
    uint64_t cuts;            /* visited */
    uint64_t exhaustive_cuts; /* of which all states were */
    uint64_t states;          /* visited, the last one included */
    struct crash_point last;  /* the state that failed, or else the last one */
};

/*
 * Looks at one state; a negative BYRE_E_* with `err` (never NULL) filled ends
 * the replay.  The stores live until the call returns.
 */
typedef int crash_visit(void *user, const struct crash_point *point,
                        struct byre_store *const *stores,
                        struct byre_error *err);

/*
 * Visits the states of every cut from the first to the last, both included.
 * Returns what the first failing visit returns, its message behind the point
 * that reproduces it.  *ret_report (NULL is allowed) is written in either case.
 */
int crash_replay(struct record_log *log, const struct crash_limits *limits,
                 uint64_t seed, crash_visit *visit, void *user,
                 struct crash_report *ret_report, struct byre_error *err);

#endif
