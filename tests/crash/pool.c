/* SPDX-License-Identifier: MIT */
#include "pool.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the processes share. */
struct shared {
    atomic_size_t next;
    struct pool_result results[];
};

static void work(const struct pool *pool, struct shared *shared)
{
    for (;;) {
        const size_t index = atomic_fetch_add(&shared->next, 1);
        struct pool_result *result;

        if (index >= pool->cases)
            return;
        result = &shared->results[index];
        result->started = true;
        pool->run(pool->user, index, result);
        result->finished = true;
    }
}

static void start(const struct pool *pool, struct shared *shared)
{
    const pid_t child = fork();

    if (child < 0) {
        perror("fork");
        exit(1);
    }
    if (child > 0)
        return;
    work(pool, shared);
    fflush(NULL);
    _exit(0);
}

/* One that has died takes its case along; another one goes on. */
static void run_all(const struct pool *pool, struct shared *shared)
{
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    const unsigned jobs = pool->jobs != 0  ? pool->jobs
                          : processors > 0 ? (unsigned)processors
                                           : 1;
    int status;

    for (unsigned i = 0; i < jobs; i++)
        start(pool, shared);
    while (wait(&status) > 0)
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            start(pool, shared);
}

static bool report(const struct pool *pool, size_t index,
                   const struct pool_result *result)
{
    const bool passed = result->finished && !result->failed;
    char name[200];

    pool->name(pool->user, index, name, sizeof(name));
    printf("%sok %zu - %s\n", passed ? "" : "not ", index + 1, name);
    if (result->note[0] != '\0')
        printf("# %s\n", result->note);
    if (!passed)
        printf("# %s\n",
               result->finished ? result->message : "its process has died");
    fflush(stdout);
    return passed;
}

size_t pool_run(const struct pool *pool, size_t more, uint64_t *ret_count)
{
    const size_t bytes =
        sizeof(struct shared) + (pool->cases + 1) * sizeof(struct pool_result);
    struct shared *shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    size_t failed = 0;

    if (shared == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    printf("1..%zu\n", pool->cases + more);
    fflush(stdout);
    run_all(pool, shared);
    *ret_count = 0;
    for (size_t i = 0; i < pool->cases; i++) {
        failed += !report(pool, i, &shared->results[i]);
        *ret_count += shared->results[i].count;
    }
    munmap(shared, bytes);
    return failed;
}
