/* SPDX-License-Identifier: MIT */
/*
 * Cases that run in child processes, several at once, and are reported as TAP
 * in their order.  A case that crashes is one that has failed.
 */
#ifndef BYRE_TESTS_CRASH_POOL_H
#define BYRE_TESTS_CRASH_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POOL_NOTE 160

/* What a case leaves. */
struct pool_result {
    bool started;
    bool finished;
    bool failed;
    uint64_t count;       /* summed over all cases */
    char note[POOL_NOTE]; /* printed behind its line */
    char message[1024];   /* why it failed */
};

/* Runs the case at `index`. */
typedef void pool_case(void *user, size_t index, struct pool_result *ret);

/* The name of a case. */
typedef void pool_name(void *user, size_t index, char *ret, size_t size);

struct pool {
    size_t cases;
    unsigned jobs; /* processes; 0: one a processor */
    pool_case *run;
    pool_name *name;
    void *user;
};

/*
 * Prints a plan of all cases and `more`, and a line a case.  Returns how many
 * have failed; *ret_count is the sum of their counts.
 */
size_t pool_run(const struct pool *pool, size_t more, uint64_t *ret_count);

#endif
