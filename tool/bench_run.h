/* SPDX-License-Identifier: MIT */
/*
 * The requests of byre bench: equal ones, so many at a time.
 *
 * Each request in flight is a thread.  Beyond 64 the depth is only a number:
 * what is more waits until a thread is free.  The place of a request follows
 * from its number alone, so that nothing but a counter is shared.
 */
#ifndef TOOL_BENCH_RUN_H
#define TOOL_BENCH_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include <byre.h>

struct bench_plan {
    uint64_t count;
    uint64_t depth; /* at least 1 */
    uint64_t offset;
    uint64_t buffer_size;
    uint64_t step;
    uint64_t flush_interval; /* 0: no flush */
    uint32_t write_flags;    /* BYRE_WRITE_* */
    uint8_t pattern;
    bool write;
    bool no_drain;
};

/* Sends all requests to `img` and measures how long it takes. */
int bench_run(const struct bench_plan *plan, struct byre *img,
              double *ret_seconds, struct byre_error *err);

#endif /* TOOL_BENCH_RUN_H */
