/* SPDX-License-Identifier: MIT */
/*
 * Running a job while its progress can be seen and signals can end it.
 *
 * A thread of its own waits for signals, which are blocked everywhere else, and
 * polls the job: nothing runs in a signal handler.  SIGUSR1 shows the progress
 * once, on stderr; SIGINT, SIGTERM and SIGHUP cancel the job, and a second one
 * ends the program where it stands.
 */
#ifndef TOOL_PROGRESS_H
#define TOOL_PROGRESS_H

#include <signal.h>
#include <stdio.h>

#include <byre.h>

#include "options.h"

/*
 * Keeps SIGUSR1 from ending the program before the job runs.  Once, before
 * anything is opened.
 */
void progress_prepare(void);

/* Where the options want progress to be shown; NULL: nowhere. */
FILE *progress_stream(const struct job_options *options);

/*
 * byre_job_run() with progress shown on `stream`, or not if that is NULL, in
 * the form that the options ask for: numbers that a terminal shows in one
 * place, whose line the caller ends with progress_finish(), or an object of
 * JSON on each line.
 */
int progress_show(struct byre_job *job, const struct job_options *options,
                  FILE *stream, struct byre_error *err);

/* Ends the line of progress if there is one. */
void progress_finish(const struct job_options *options, FILE *stream);

/*
 * The signals that end the program: SIGINT, SIGTERM and SIGHUP, without those
 * that whoever started it wants ignored.
 */
void ending_signals(sigset_t *ret_signals);

/* Ends the program as the signal does by itself. */
void end_by_signal(int signal_number);

#endif /* TOOL_PROGRESS_H */
