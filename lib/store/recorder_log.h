/* SPDX-License-Identifier: MIT */
/*
 * The inside of a log, for the modules of the recorder.
 */
#ifndef BYRE_STORE_RECORDER_LOG_H
#define BYRE_STORE_RECORDER_LOG_H

#include <assert.h>
#include <pthread.h>

#include "store/recorder.h"
#include "store/recorder_bytes.h"

static_assert(SECTOR_BYTES == RECORDER_SECTOR_BYTES, "one sector, two names");

/* What the log keeps of one store. */
struct recorder {
    struct record_log *log;
    size_t index;
    struct sparse_bytes first;  /* before the first operation */
    struct sparse_bytes newest; /* with all operations; on top of `first` */
};

struct record_log {
    /* Held for writing from the change of the newest bytes to its record, so
       that the sequence is the order in which stores changed. */
    pthread_rwlock_t lock;
    struct record *records;
    uint64_t count;
    uint64_t capacity;
    struct recorder **stores;
    size_t store_count;
};

/* Does to `bytes` what the record says, but for a flush. */
int record_apply(const struct record *record, struct sparse_bytes *bytes,
                 struct byre_error *err);

#endif
