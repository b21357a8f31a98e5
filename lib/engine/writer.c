/* SPDX-License-Identifier: MIT */
#include "engine/writer.h"

#include <stdio.h>

#include "base/error.h"
#include "engine/encoders.h"

unsigned writer_failed_flushes(const struct writer *writer)
{
    unsigned failed = atomic_load(&writer->store->failed_flushes);

    if (writer->data_store != writer->store)
        failed += atomic_load(&writer->data_store->failed_flushes);
    return failed;
}

int writer_init(struct writer *writer, enum codec_type codec,
                struct byre_error *err)
{
    int r;

    r = encoders_new(codec, (uint32_t)engine_cluster_bytes(writer->engine),
                     &writer->encoders, err);
    if (r < 0)
        return r;

    writer->failed_flushes = writer_failed_flushes(writer);
    range_locks_init(&writer->clusters);
    range_locks_init(&writer->making);
    pthread_mutex_init(&writer->flush_lock, NULL);
    pthread_mutex_init(&writer->stuck_lock, NULL);
    return BYRE_OK;
}

void writer_done(struct writer *writer)
{
    if (!writer_is_set_up(writer))
        return;
    encoders_free(writer->encoders);
    range_locks_done(&writer->clusters);
    range_locks_done(&writer->making);
    pthread_mutex_destroy(&writer->flush_lock);
    pthread_mutex_destroy(&writer->stuck_lock);
    writer->encoders = NULL;
}

/* The first reason stays. */
void writer_stick(struct writer *writer, const struct byre_error *err)
{
    pthread_mutex_lock(&writer->stuck_lock);
    if (!atomic_load(&writer->stuck))
        snprintf(writer->why, sizeof(writer->why), "%s", err->message);
    atomic_store(&writer->stuck, true);
    pthread_mutex_unlock(&writer->stuck_lock);
}

int writer_check(struct writer *writer, struct byre_error *err)
{
    if (!atomic_load_explicit(&writer->stuck, memory_order_relaxed))
        return BYRE_OK;
    pthread_mutex_lock(&writer->stuck_lock);
    fail(err, BYRE_E_STATE,
         "the image can only be read since an earlier failure (%s); close it "
         "and open it again",
         writer->why);
    pthread_mutex_unlock(&writer->stuck_lock);
    return BYRE_E_STATE;
}

/* *ret_full: what fails is not the load, but the flush that makes room. */
static int load_slice(struct writer *writer, uint64_t host_offset,
                      bool *ret_full, struct byre_error *err)
{
    for (;;) {
        const uint64_t seen = atomic_load(&writer->flushes_run);
        int r;

        r = table_cache_load(writer->tables, host_offset, err);
        *ret_full = r == TABLE_CACHE_FULL;
        if (r != TABLE_CACHE_FULL)
            return r;

        r = writer_flush_since(writer, seen, err);
        if (r < 0)
            return r;
    }
}

int writer_load_slice_to_read(struct writer *writer, uint64_t host_offset,
                              struct byre_error *err)
{
    bool full;
    const int r = load_slice(writer, host_offset, &full, err);

    return r < 0 && full ? TABLE_CACHE_FULL : r;
}

int writer_load_slice(struct writer *writer, uint64_t host_offset,
                      struct byre_error *err)
{
    bool full;

    return load_slice(writer, host_offset, &full, err);
}
