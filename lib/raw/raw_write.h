/* SPDX-License-Identifier: MIT */
/*
 * Writing to a raw disk: all of it goes to the store as it is.
 */
#ifndef BYRE_RAW_RAW_WRITE_H
#define BYRE_RAW_RAW_WRITE_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/engine.h"

struct raw {
    struct engine engine; /* first, so that the two convert */
    struct byre_store *store;
    bool guessed; /* the format: it must stay what it looks like */
    pthread_mutex_t start_lock; /* of writing its first bytes, if guessed */
    bool keep_space;
    uint64_t stored_bytes;    /* of the file when it was opened for writing */
    pthread_mutex_t end_lock; /* of making its last sector whole */
    atomic_bool ends_short;   /* the file ends inside the last sector */
    atomic_bool stuck;        /* a barrier has failed: only reading goes on */
};

static inline struct raw *raw_of(struct engine *engine)
{
    return (struct raw *)engine;
}

int raw_prepare_write(struct engine *engine,
                      const struct write_options *options,
                      struct byre_error *err);
int raw_write(struct engine *engine, uint64_t offset, const void *buf,
              size_t length, uint32_t flags, const struct write_order *order,
              struct byre_error *err);
int raw_zero(struct engine *engine, uint64_t offset, uint64_t length,
             uint32_t flags, struct byre_error *err);
int raw_discard(struct engine *engine, uint64_t offset, uint64_t length,
                struct byre_error *err);
int raw_flush(struct engine *engine, struct byre_error *err);
int raw_end_write(struct engine *engine, struct byre_error *err);
int raw_resize(struct engine *engine, uint64_t size_bytes,
               uint32_t preallocation, struct byre_error *err);

#endif
