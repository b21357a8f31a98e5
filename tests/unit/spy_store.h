/* SPDX-License-Identifier: MIT */
/*
 * A store in memory that counts what is asked of it; for tests.
 */
#ifndef BYRE_TESTS_SPY_STORE_H
#define BYRE_TESTS_SPY_STORE_H

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "store/store.h"

struct spy {
    struct byre_store *base;
    bool pauses; /* in a read or write it lets other threads run */
    atomic_uint writes;
    atomic_uint zeroes; /* that must keep the space */
    atomic_uint unmaps; /* zeroes that need not, and discards */
};

static int spy_read(void *user, uint64_t offset, void *buf, size_t length,
                    struct byre_error *err)
{
    struct spy *spy = user;

    if (spy->pauses)
        sched_yield();
    return store_read(spy->base, offset, buf, length, err);
}

static int spy_get_size(void *user, uint64_t *ret_size, struct byre_error *err)
{
    struct spy *spy = user;

    return store_get_size(spy->base, ret_size, err);
}

static int spy_write(void *user, uint64_t offset, const void *buf,
                     size_t length, struct byre_error *err)
{
    struct spy *spy = user;

    atomic_fetch_add(&spy->writes, 1);
    if (spy->pauses)
        sched_yield();
    return store_write(spy->base, offset, buf, length, err);
}

static int spy_flush(void *user, struct byre_error *err)
{
    struct spy *spy = user;

    return store_flush(spy->base, err);
}

static int spy_resize(void *user, uint64_t size_bytes, struct byre_error *err)
{
    struct spy *spy = user;

    return store_resize(spy->base, size_bytes, err);
}

static int spy_zero(void *user, uint64_t offset, uint64_t length,
                    uint32_t flags, struct byre_error *err)
{
    struct spy *spy = user;

    atomic_fetch_add(flags & BYRE_STORE_MAY_UNMAP ? &spy->unmaps : &spy->zeroes,
                     1);
    return store_zero(spy->base, offset, length, flags, err);
}

static int spy_discard(void *user, uint64_t offset, uint64_t length,
                       struct byre_error *err)
{
    struct spy *spy = user;

    atomic_fetch_add(&spy->unmaps, 1);
    return store_discard(spy->base, offset, length, err);
}

static void spy_close(void *user)
{
    struct spy *spy = user;

    byre_store_unref(spy->base);
}

static inline void spy_forget(struct spy *spy)
{
    atomic_store(&spy->writes, 0);
    atomic_store(&spy->zeroes, 0);
    atomic_store(&spy->unmaps, 0);
}

/* An empty one, which can zero by itself or not; `spy` must outlive it. */
static inline int spy_store_new(struct spy *spy, bool can_zero,
                                struct byre_store **ret_store)
{
    const struct byre_store_ops ops = {
        .size = sizeof(ops),
        .read = spy_read,
        .get_size = spy_get_size,
        .write = spy_write,
        .flush = spy_flush,
        .resize = spy_resize,
        .zero = can_zero ? spy_zero : NULL,
        .close = spy_close,
        .discard = spy_discard,
    };
    int r;

    spy_forget(spy);
    r = byre_store_new_memory(NULL, 0, &spy->base, NULL);
    return r < 0 ? r : byre_store_new(&ops, spy, ret_store, NULL);
}

#endif
