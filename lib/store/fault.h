/* SPDX-License-Identifier: MIT */
/*
 * A store on top of another that fails the calls a test chooses; for tests.
 *
 * Calls are counted by kind, from 1, in the order in which they arrive; a call
 * counts whether it fails or not.  A call that is chosen fails without reaching
 * the store below, but for the sectors that a torn write writes first.  A test
 * that fails the n-th call for n = 1, 2, ... is done when one run ends with
 * faults_failed() still 0.
 *
 *     struct faults faults;
 *
 *     faults_init(&faults);
 *     fault_store_new(base, &faults, &store, err);
 *     faults_set(&faults, FAULT_WRITE, &(struct fault){ .nth = 3 });
 *
 * All of it may be used by many threads at once, but for faults_init() and
 * faults_set(), which want the store idle.
 */
#ifndef BYRE_STORE_FAULT_H
#define BYRE_STORE_FAULT_H

#include <stdatomic.h>

#include "store/store.h"

enum fault_kind {
    FAULT_READ,
    FAULT_WRITE,
    FAULT_FLUSH,
    FAULT_RESIZE,
    FAULT_ZERO,
    FAULT_GET_SIZE,
    FAULT_EXTENT,
    FAULT_DISCARD,
    FAULT_ANY, /* all of them, in one count */
    FAULT_KINDS
};

/* What is atomic when a write is torn. */
#define FAULT_SECTOR_BYTES 512

/* All calls from the n-th on fail: a full disk, a cable that is out. */
#define FAULT_PERSISTS (UINT32_C(1) << 0)

/* Which call fails, and how. */
struct fault {
    uint64_t nth;            /* counted by its kind, from 1; 0: none fails */
    uint32_t flags;          /* FAULT_* */
    int code;                /* BYRE_E_*; 0: BYRE_E_IO */
    int sys_errno;           /* with BYRE_E_IO; 0: EIO */
    uint64_t sectors_landed; /* a write: how many of the 512-byte sectors it
                                touches, from the first, are written although
                                the call fails */
};

/* What one or several fault stores do; the caller's, who lets it outlive them.
 */
struct faults {
    struct fault plan[FAULT_KINDS];
    atomic_uint_fast64_t calls[FAULT_KINDS];
    atomic_uint_fast64_t failed;
};

/* Nothing fails, nothing was counted. */
void faults_init(struct faults *faults);

/* Chooses the failing call of a kind, and starts all counts anew. */
void faults_set(struct faults *faults, enum fault_kind kind,
                const struct fault *fault);

/* Calls of a kind since the counts were started. */
uint64_t faults_calls(const struct faults *faults, enum fault_kind kind);

/* Calls that were made to fail since then. */
uint64_t faults_failed(const struct faults *faults);

/*
 * A store that passes its calls on to `base`, of which it takes a reference,
 * as far as `faults` lets it.  It has the functions and the identity of `base`.
 */
int fault_store_new(struct byre_store *base, struct faults *faults,
                    struct byre_store **ret_store, struct byre_error *err);

#endif
