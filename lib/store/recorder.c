/* SPDX-License-Identifier: MIT */
/*
 * Recording.  An operation makes room for its record first, changes the newest
 * bytes, and then enters the log, so that one that fails has done neither.
 */
#include "store/recorder.h"

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "store/recorder_log.h"

/* ---- The log ---- */

int record_log_new(struct record_log **ret_log, struct byre_error *err)
{
    struct record_log *log = calloc(1, sizeof(*log));

    if (log == NULL)
        return fail_nomem(err, "a log of writes", sizeof(*log));
    pthread_rwlock_init(&log->lock, NULL);
    *ret_log = log;
    return BYRE_OK;
}

static void recorder_free(struct recorder *recorder)
{
    sparse_done(&recorder->newest);
    sparse_done(&recorder->first);
    free(recorder);
}

void record_log_free(struct record_log *log)
{
    if (log == NULL)
        return;
    for (uint64_t i = 0; i < log->count; i++)
        free((void *)log->records[i].bytes);
    for (size_t i = 0; i < log->store_count; i++)
        recorder_free(log->stores[i]);
    free(log->records);
    free(log->stores);
    pthread_rwlock_destroy(&log->lock);
    free(log);
}

size_t record_log_stores(struct record_log *log)
{
    size_t count;

    pthread_rwlock_rdlock(&log->lock);
    count = log->store_count;
    pthread_rwlock_unlock(&log->lock);
    return count;
}

uint64_t record_log_length(struct record_log *log)
{
    uint64_t count;

    pthread_rwlock_rdlock(&log->lock);
    count = log->count;
    pthread_rwlock_unlock(&log->lock);
    return count;
}

struct record record_log_at(struct record_log *log, uint64_t index)
{
    struct record record;

    pthread_rwlock_rdlock(&log->lock);
    record = log->records[index];
    pthread_rwlock_unlock(&log->lock);
    return record;
}

int record_apply(const struct record *record, struct sparse_bytes *bytes,
                 struct byre_error *err)
{
    switch (record->kind) {
    case RECORD_WRITE:
        return sparse_write(bytes, record->offset, record->bytes,
                            (size_t)record->length, err);
    case RECORD_ZERO:
        return sparse_zero(bytes, record->offset, record->length, err);
    case RECORD_RESIZE:
        sparse_resize(bytes, record->length);
        return BYRE_OK;
    case RECORD_DISCARD:
        return sparse_discard(bytes, record->offset, record->length, err);
    case RECORD_FLUSH:
        return BYRE_OK;
    }
    return BYRE_OK;
}

/* Makes room for one more record, with the lock held for writing. */
static int reserve_record(struct record_log *log, struct byre_error *err)
{
    const uint64_t capacity = max_u64(64, log->capacity * 2);
    struct record *records;

    if (log->count < log->capacity)
        return BYRE_OK;
    records = realloc(log->records, (size_t)capacity * sizeof(*records));
    if (records == NULL)
        return fail_nomem(err, "a log of writes",
                          (size_t)capacity * sizeof(*records));
    log->records = records;
    log->capacity = capacity;
    return BYRE_OK;
}

/* Does what the record says, and logs it. */
static int perform(struct recorder *recorder, const struct record *record,
                   struct byre_error *err)
{
    struct record_log *log = recorder->log;
    int r;

    pthread_rwlock_wrlock(&log->lock);
    r = reserve_record(log, err);
    if (r == BYRE_OK)
        r = record_apply(record, &recorder->newest, err);
    if (r == BYRE_OK)
        log->records[log->count++] = *record;
    pthread_rwlock_unlock(&log->lock);
    return r;
}

/* ---- The store ---- */

static int recorder_read(void *user, uint64_t offset, void *buf, size_t length,
                         struct byre_error *err)
{
    struct recorder *recorder = user;

    (void)err;
    pthread_rwlock_rdlock(&recorder->log->lock);
    sparse_read(&recorder->newest, offset, buf, length);
    pthread_rwlock_unlock(&recorder->log->lock);
    return BYRE_OK;
}

static int recorder_get_size(void *user, uint64_t *ret_size_bytes,
                             struct byre_error *err)
{
    struct recorder *recorder = user;

    (void)err;
    pthread_rwlock_rdlock(&recorder->log->lock);
    *ret_size_bytes = recorder->newest.length;
    pthread_rwlock_unlock(&recorder->log->lock);
    return BYRE_OK;
}

static int recorder_write(void *user, uint64_t offset, const void *buf,
                          size_t length, struct byre_error *err)
{
    struct recorder *recorder = user;
    uint8_t *bytes = malloc(length > 0 ? length : 1);
    int r;

    if (bytes == NULL)
        return fail_nomem(err, "a recorded write", length);
    if (length > 0)
        memcpy(bytes, buf, length);
    r = perform(recorder,
                &(struct record){ .kind = RECORD_WRITE,
                                  .store = recorder->index,
                                  .offset = offset,
                                  .length = length,
                                  .bytes = bytes },
                err);
    if (r < 0)
        free(bytes);
    return r;
}

static int recorder_zero(void *user, uint64_t offset, uint64_t length,
                         uint32_t flags, struct byre_error *err)
{
    struct recorder *recorder = user;

    (void)flags;
    return perform(recorder,
                   &(struct record){ .kind = RECORD_ZERO,
                                     .store = recorder->index,
                                     .offset = offset,
                                     .length = length },
                   err);
}

static int recorder_discard(void *user, uint64_t offset, uint64_t length,
                            struct byre_error *err)
{
    struct recorder *recorder = user;

    return perform(recorder,
                   &(struct record){ .kind = RECORD_DISCARD,
                                     .store = recorder->index,
                                     .offset = offset,
                                     .length = length },
                   err);
}

static int recorder_resize(void *user, uint64_t size_bytes,
                           struct byre_error *err)
{
    struct recorder *recorder = user;

    return perform(recorder,
                   &(struct record){ .kind = RECORD_RESIZE,
                                     .store = recorder->index,
                                     .length = size_bytes },
                   err);
}

static int recorder_flush(void *user, struct byre_error *err)
{
    struct recorder *recorder = user;

    return perform(
        recorder,
        &(struct record){ .kind = RECORD_FLUSH, .store = recorder->index },
        err);
}

static const struct byre_store_ops recorder_ops = {
    .size = sizeof(struct byre_store_ops),
    .read = recorder_read,
    .get_size = recorder_get_size,
    .write = recorder_write,
    .flush = recorder_flush,
    .resize = recorder_resize,
    .zero = recorder_zero,
    .discard = recorder_discard,
};

/* Takes over `recorder` into the log, if there is memory for it. */
static int add_store(struct record_log *log, struct recorder *recorder,
                     struct byre_error *err)
{
    const size_t bytes = (log->store_count + 1) * sizeof(*log->stores);
    struct recorder **stores = realloc(log->stores, bytes);

    if (stores == NULL)
        return fail_nomem(err, "a log of writes", bytes);
    log->stores = stores;
    recorder->index = log->store_count;
    stores[log->store_count++] = recorder;
    return BYRE_OK;
}

int recorder_store_new(struct record_log *log, const void *buf, size_t length,
                       struct byre_store **ret_store, struct byre_error *err)
{
    struct recorder *recorder = calloc(1, sizeof(*recorder));
    struct byre_store *store = NULL;
    int r;

    if (recorder == NULL)
        return fail_nomem(err, "a recorder", sizeof(*recorder));

    recorder->log = log;
    r = sparse_write(&recorder->first, 0, buf, length, err);
    sparse_init(&recorder->newest, &recorder->first);
    if (r == BYRE_OK)
        r = store_new(&recorder_ops, recorder, "memory", &store, err);
    if (r == BYRE_OK) {
        pthread_rwlock_wrlock(&log->lock);
        r = add_store(log, recorder, err);
        pthread_rwlock_unlock(&log->lock);
    }
    if (r < 0) {
        byre_store_unref(store);
        recorder_free(recorder);
        return r;
    }
    *ret_store = store;
    return BYRE_OK;
}
