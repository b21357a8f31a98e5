/* SPDX-License-Identifier: MIT */
#include "base/workers.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/resource.h>
#include <unistd.h>

/* Address space is limited to 1 GiB in many clouds; the default stack is 8 MiB.
 */
#define STACK_BYTES (256 * 1024)

#define ADDRESS_BYTES_PER_THREAD (UINT64_C(128) << 20)

struct task {
    void (*work)(void *user);
    void *user;
};

static unsigned processors(void)
{
    cpu_set_t set;
    long count;

    /* The set is too small for the largest machines; then all count. */
    count = sched_getaffinity(0, sizeof(set), &set) == 0
                ? CPU_COUNT(&set)
                : sysconf(_SC_NPROCESSORS_ONLN);
    if (count < 1)
        return 1;
    return count > WORKERS_MAX ? WORKERS_MAX : (unsigned)count;
}

/* Each thread may bring an arena of the allocator's, 64 MiB of addresses. */
static unsigned fitting_address_space(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_AS, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY ||
        limit.rlim_cur / ADDRESS_BYTES_PER_THREAD > WORKERS_MAX)
        return WORKERS_MAX;
    if (limit.rlim_cur < ADDRESS_BYTES_PER_THREAD)
        return 1;
    return (unsigned)(limit.rlim_cur / ADDRESS_BYTES_PER_THREAD);
}

unsigned workers_default_count(void)
{
    const unsigned count = processors();
    const unsigned fitting = fitting_address_space();

    return count < fitting ? count : fitting;
}

static void *run_task(void *user)
{
    const struct task *task = user;

    task->work(task->user);
    return NULL;
}

/* Signals go to the program's own threads, whose handlers know about them. */
static unsigned start_threads(pthread_t *threads, unsigned count,
                              struct task *task)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    unsigned started = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    while (started < count &&
           pthread_create(&threads[started], &attributes, run_task, task) == 0)
        started++;
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

void workers_run(unsigned count, void (*work)(void *user), void *user)
{
    pthread_t threads[WORKERS_MAX];
    struct task task = { work, user };
    unsigned started = 0;

    if (count > WORKERS_MAX)
        count = WORKERS_MAX;
    if (count > 1)
        started = start_threads(threads, count - 1, &task);
    work(user);
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}
