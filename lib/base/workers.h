/* SPDX-License-Identifier: MIT */
/*
 * Threads that do one thing together and are gone when it is done.
 */
#ifndef BYRE_BASE_WORKERS_H
#define BYRE_BASE_WORKERS_H

/* More than this many threads pay for nobody. */
#define WORKERS_MAX 64

/*
 * The processors this process may use, at least 1, at most WORKERS_MAX; fewer
 * where its address space is limited.
 */
unsigned workers_default_count(void);

/*
 * Runs work(user) in `count` threads, the caller's among them, and returns when
 * all are done.  Where the system has no more threads to give, fewer do it.
 * The new threads have small stacks and take no signals.
 */
void workers_run(unsigned count, void (*work)(void *user), void *user);

#endif
