/* SPDX-License-Identifier: MIT */
#include "progress.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

/* How often a shown progress is brought up to date. */
#define TICK_NSEC 100000000L

/* Makes the watching thread look whether the job has ended. */
#define SIGNAL_ENDED SIGUSR2

struct watch {
    struct byre_job *job;
    FILE *stream;
    bool json;
    sigset_t signals;
    pthread_t thread;
    atomic_bool ended; /* anybody can send the signal, so this decides */
    bool canceled;
    double shown; /* percent, as it was last printed */
};

void progress_prepare(void)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

static double percent_done(const struct byre_job *job)
{
    uint64_t done_bytes = 0;
    uint64_t total_bytes = 0;

    byre_job_progress(job, &done_bytes, &total_bytes);
    if (total_bytes == 0)
        return 100;
    return 100.0 * (double)done_bytes / (double)total_bytes;
}

static void show(FILE *stream, double percent, char line_end)
{
    fprintf(stream, "    (%3.2f/100%%)%c", percent, line_end);
    fflush(stream);
}

static void show_json(FILE *stream, const struct byre_job *job)
{
    uint64_t done_bytes = 0;
    uint64_t total_bytes = 0;

    byre_job_progress(job, &done_bytes, &total_bytes);
    fprintf(stream,
            "{\"percent\": %.2f, \"done-bytes\": %" PRIu64
            ", \"total-bytes\": %" PRIu64 "}\n",
            percent_done(job), done_bytes, total_bytes);
    fflush(stream);
}

/* Once more, whether it has moved or not. */
static void show_now(struct watch *watch)
{
    watch->shown = percent_done(watch->job);
    if (watch->json)
        show_json(watch->stream, watch->job);
    else
        show(watch->stream, watch->shown, '\r');
}

static void show_if_moved(struct watch *watch)
{
    if (percent_done(watch->job) - watch->shown >= 0.01)
        show_now(watch);
}

void end_by_signal(int signal_number)
{
    sigset_t only;

    signal(signal_number, SIG_DFL);
    sigemptyset(&only);
    sigaddset(&only, signal_number);
    pthread_sigmask(SIG_UNBLOCK, &only, NULL);
    raise(signal_number);
}

/* The first request lets the job clean up; the second does not wait for it. */
static void cancel(struct watch *watch, int signal_number)
{
    if (watch->canceled)
        end_by_signal(signal_number);
    watch->canceled = true;
    byre_job_cancel(watch->job);
}

static void *watch_job(void *argument)
{
    static const struct timespec tick = { .tv_nsec = TICK_NSEC };
    struct watch *watch = argument;

    for (;;) {
        const int signal_number =
            watch->stream != NULL ? sigtimedwait(&watch->signals, NULL, &tick)
                                  : sigwaitinfo(&watch->signals, NULL);

        if (signal_number == SIGNAL_ENDED) {
            if (atomic_load(&watch->ended))
                return NULL;
        } else if (signal_number == SIGUSR1) {
            show(stderr, percent_done(watch->job), '\n');
        } else if (signal_number > 0) {
            cancel(watch, signal_number);
        } else if (watch->stream != NULL) {
            show_if_moved(watch);
        }
    }
}

/* Those that whoever started the program wants ignored stay so (nohup). */
static bool is_ignored(int signal_number)
{
    struct sigaction action;

    return sigaction(signal_number, NULL, &action) == 0 &&
           action.sa_handler == SIG_IGN;
}

void ending_signals(sigset_t *ret_signals)
{
    static const int ending[] = { SIGINT, SIGTERM, SIGHUP };

    sigemptyset(ret_signals);
    for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
        if (!is_ignored(ending[i]))
            sigaddset(ret_signals, ending[i]);
}

int progress_show(struct byre_job *job, const struct job_options *options,
                  FILE *stream, struct byre_error *err)
{
    struct watch watch = {
        .job = job,
        .stream = stream,
        .json = options->progress_json,
    };
    sigset_t before;
    bool watched;
    int r;

    ending_signals(&watch.signals);
    sigaddset(&watch.signals, SIGUSR1);
    sigaddset(&watch.signals, SIGNAL_ENDED);
    pthread_sigmask(SIG_BLOCK, &watch.signals, &before);
    if (stream != NULL)
        show_now(&watch);
    watched = pthread_create(&watch.thread, NULL, watch_job, &watch) == 0;
    if (!watched) /* nobody would take them */
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    r = byre_job_run(job, err);
    if (watched) {
        atomic_store(&watch.ended, true);
        pthread_kill(watch.thread, SIGNAL_ENDED);
        pthread_join(watch.thread, NULL);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (stream != NULL && r >= 0)
        show_now(&watch);
    return r;
}

void progress_finish(const struct job_options *options, FILE *stream)
{
    if (stream == NULL || options->progress_json)
        return;
    fputc('\n', stream);
    fflush(stream);
}

FILE *progress_stream(const struct job_options *options)
{
    return options->progress && !options->quiet ? stdout : NULL;
}
