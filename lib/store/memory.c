/* SPDX-License-Identifier: MIT */
/*
 * A store in memory that grows.  One reader-writer lock: writers replace the
 * buffer when it grows, so a reader must not hold a stale pointer.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "store/store.h"

struct memory_store {
    pthread_rwlock_t lock;
    uint8_t *bytes;
    size_t length;
    size_t capacity;
};

static int memory_read(void *user, uint64_t offset, void *buf, size_t length,
                       struct byre_error *err)
{
    struct memory_store *memory = user;
    size_t available;

    (void)err;
    pthread_rwlock_rdlock(&memory->lock);
    available = offset < memory->length ? memory->length - (size_t)offset : 0;
    if (available > length)
        available = length;
    if (available > 0)
        memcpy(buf, memory->bytes + offset, available);
    pthread_rwlock_unlock(&memory->lock);

    memset((uint8_t *)buf + available, 0, length - available);
    return BYRE_OK;
}

static int memory_get_size(void *user, uint64_t *ret_size_bytes,
                           struct byre_error *err)
{
    struct memory_store *memory = user;

    (void)err;
    pthread_rwlock_rdlock(&memory->lock);
    *ret_size_bytes = memory->length;
    pthread_rwlock_unlock(&memory->lock);
    return BYRE_OK;
}

/* Sets the length under the write lock; a grown part reads as zeroes. */
static int set_length(struct memory_store *memory, uint64_t length,
                      struct byre_error *err)
{
    size_t capacity = memory->capacity;
    uint8_t *bytes;

    if (length > SIZE_MAX / 2)
        return fail_nomem(err, "a memory store", (size_t)length);

    if (length > capacity) {
        capacity = max_u64(length, capacity + capacity / 2);
        bytes = realloc(memory->bytes, capacity);
        if (bytes == NULL)
            return fail_nomem(err, "a memory store", capacity);
        memory->bytes = bytes;
        memory->capacity = capacity;
    }
    if (length > memory->length)
        memset(memory->bytes + memory->length, 0,
               (size_t)length - memory->length);
    memory->length = (size_t)length;
    return BYRE_OK;
}

static int memory_write(void *user, uint64_t offset, const void *buf,
                        size_t length, struct byre_error *err)
{
    struct memory_store *memory = user;
    int r = BYRE_OK;

    pthread_rwlock_wrlock(&memory->lock);
    if (offset + length > memory->length)
        r = set_length(memory, offset + length, err);
    if (r == BYRE_OK && length > 0)
        memcpy(memory->bytes + offset, buf, length);
    pthread_rwlock_unlock(&memory->lock);
    return r;
}

static int memory_resize(void *user, uint64_t size_bytes,
                         struct byre_error *err)
{
    struct memory_store *memory = user;
    int r;

    pthread_rwlock_wrlock(&memory->lock);
    r = set_length(memory, size_bytes, err);
    pthread_rwlock_unlock(&memory->lock);
    return r;
}

static int memory_zero(void *user, uint64_t offset, uint64_t length,
                       uint32_t flags, struct byre_error *err)
{
    struct memory_store *memory = user;

    (void)flags;
    (void)err;
    pthread_rwlock_wrlock(&memory->lock);
    if (offset < memory->length)
        memset(memory->bytes + offset, 0,
               (size_t)min_u64(length, memory->length - offset));
    pthread_rwlock_unlock(&memory->lock);
    return BYRE_OK;
}

/* No memory is freed; but who still reads it shall notice. */
static int memory_discard(void *user, uint64_t offset, uint64_t length,
                          struct byre_error *err)
{
    return memory_zero(user, offset, length, BYRE_STORE_MAY_UNMAP, err);
}

static int memory_flush(void *user, struct byre_error *err)
{
    (void)user;
    (void)err;
    return BYRE_OK;
}

static void memory_close(void *user)
{
    struct memory_store *memory = user;

    pthread_rwlock_destroy(&memory->lock);
    free(memory->bytes);
    free(memory);
}

static const struct byre_store_ops memory_ops = {
    .size = sizeof(struct byre_store_ops),
    .read = memory_read,
    .get_size = memory_get_size,
    .write = memory_write,
    .flush = memory_flush,
    .resize = memory_resize,
    .zero = memory_zero,
    .close = memory_close,
    .discard = memory_discard,
};

int byre_store_new_memory(const void *buf, size_t length,
                          struct byre_store **ret_store, struct byre_error *err)
{
    struct memory_store *memory;
    int r;

    if (ret_store == NULL || (buf == NULL && length > 0))
        return fail(err, BYRE_E_INVALID, "a memory store needs its bytes");

    memory = calloc(1, sizeof(*memory));
    if (memory == NULL)
        return fail_nomem(err, "a memory store", sizeof(*memory));

    pthread_rwlock_init(&memory->lock, NULL);
    r = memory_write(memory, 0, buf, length, err);
    if (r == BYRE_OK)
        r = store_new(&memory_ops, memory, "memory", ret_store, err);
    if (r < 0)
        memory_close(memory);
    return r;
}
