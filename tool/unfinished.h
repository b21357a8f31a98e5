/* SPDX-License-Identifier: MIT */
/*
 * New files that a signal shall not leave behind half made.
 *
 * A thread of its own waits for SIGINT, SIGTERM and SIGHUP, which are blocked
 * everywhere else: it removes the files, and then lets the signal end the
 * program as it would have.  Nothing runs in a signal handler.
 */
#ifndef TOOL_UNFINISHED_H
#define TOOL_UNFINISHED_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

/* An image, and the file for its data. */
#define UNFINISHED_MOST_FILES 2

struct unfinished {
    const char *paths[UNFINISHED_MOST_FILES]; /* NULL: was there before */
    sigset_t signals;
    sigset_t before;
    pthread_t thread;
    bool watched;
    atomic_bool finished;
};

/*
 * Starts to watch over the files at `path` and `data_path`, which may be NULL
 * and both of which must outlive it.  Those that exist already stay.  No other
 * thread may run yet that takes signals.
 */
void unfinished_begin(struct unfinished *unfinished, const char *path,
                      const char *data_path);

/* From here on the files stay: made, or removed by whoever failed to make them.
 */
void unfinished_end(struct unfinished *unfinished);

#endif /* TOOL_UNFINISHED_H */
