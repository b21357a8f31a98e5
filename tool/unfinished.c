/* SPDX-License-Identifier: MIT */
#include "unfinished.h"

#include <stddef.h>
#include <unistd.h>

#include "progress.h"
#include "target.h"

/* Makes the watching thread look whether the work has ended. */
#define SIGNAL_FINISHED SIGUSR2

static void *watch(void *argument)
{
    struct unfinished *unfinished = argument;

    for (;;) {
        const int signal_number = sigwaitinfo(&unfinished->signals, NULL);

        if (atomic_load(&unfinished->finished))
            return NULL;
        if (signal_number <= 0 || signal_number == SIGNAL_FINISHED)
            continue;
        for (size_t i = 0; i < UNFINISHED_MOST_FILES; i++)
            if (unfinished->paths[i] != NULL)
                unlink(unfinished->paths[i]);
        end_by_signal(signal_number);
    }
}

void unfinished_begin(struct unfinished *unfinished, const char *path,
                      const char *data_path)
{
    const char *const paths[UNFINISHED_MOST_FILES] = { path, data_path };

    *unfinished = (struct unfinished){ .watched = false };
    for (size_t i = 0; i < UNFINISHED_MOST_FILES; i++)
        if (paths[i] != NULL && !target_exists(paths[i]))
            unfinished->paths[i] = paths[i];
    ending_signals(&unfinished->signals);
    sigaddset(&unfinished->signals, SIGNAL_FINISHED);
    pthread_sigmask(SIG_BLOCK, &unfinished->signals, &unfinished->before);
    unfinished->watched =
        pthread_create(&unfinished->thread, NULL, watch, unfinished) == 0;
    if (!unfinished->watched) /* nobody would take them */
        pthread_sigmask(SIG_SETMASK, &unfinished->before, NULL);
}

void unfinished_end(struct unfinished *unfinished)
{
    if (!unfinished->watched)
        return;
    atomic_store(&unfinished->finished, true);
    pthread_kill(unfinished->thread, SIGNAL_FINISHED);
    pthread_join(unfinished->thread, NULL);
    pthread_sigmask(SIG_SETMASK, &unfinished->before, NULL);
}
