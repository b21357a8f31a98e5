/* SPDX-License-Identifier: MIT */
/*
 * The flush.  A pointer reaches the disk only after what it points to and the
 * count of it; a count is lowered only after the pointer is gone from the disk:
 *
 *   take    releases noted so far, then changed tables with their content
 *   write   counts                       (the data is written already)
 *   barrier data file, then image
 *   write   tables and L1 entries
 *   barrier
 *   lower   the counts of what was released
 *
 * New L2 tables are written whole when they are made, before an L1 entry points
 * to them even in memory.  What other threads add meanwhile belongs to the next
 * flush.
 */
#include <stdio.h>

#include "base/error.h"
#include "engine/writer.h"

/* What one flush has taken. */
struct flush {
    void *releases;
    struct table_batch *tables;
    struct l1_batch l1;
};

/* A barrier that failed is final: a second one would prove nothing. */
static int stick_if_barrier_failed(struct writer *writer, int r,
                                   const struct byre_error *why)
{
    if (r < 0 && writer_failed_flushes(writer) != writer->failed_flushes)
        writer_stick(writer, why);
    return r;
}

int writer_barrier(struct writer *writer, struct byre_error *err)
{
    struct byre_error why = { 0 };
    int r = BYRE_OK;

    if (writer->data_store != writer->store)
        r = store_flush(writer->data_store, &why);
    if (r == BYRE_OK)
        r = store_flush(writer->store, &why);
    if (r < 0 && err != NULL)
        *err = why;
    return stick_if_barrier_failed(writer, r, &why);
}

static int take(struct writer *writer, struct flush *flush,
                struct byre_error *err)
{
    int r = BYRE_OK;

    if (writer->ops->flush_begin != NULL)
        r = writer->ops->flush_begin(writer->engine, &flush->releases, err);
    if (r == BYRE_OK)
        r = l1_take_changed(writer->l1, &flush->l1, err);
    if (r == BYRE_OK)
        r = table_cache_take_changed(writer->tables, &flush->tables, err);
    return r;
}

static bool has_tables(const struct flush *flush)
{
    return flush->tables != NULL || flush->l1.count > 0;
}

static int write_tables(struct writer *writer, const struct flush *flush,
                        struct byre_error *err)
{
    int r = BYRE_OK;

    if (flush->tables != NULL)
        r = table_batch_write(writer->tables, flush->tables, err);
    if (r == BYRE_OK)
        r = l1_write_batch(writer->l1, writer->store, &flush->l1, err);
    if (r == BYRE_OK)
        r = writer_barrier(writer, err);
    return r;
}

static int run(struct writer *writer, struct flush *flush,
               struct byre_error *err)
{
    const struct writer_ops *ops = writer->ops;
    int r;

    r = take(writer, flush, err);
    if (r == BYRE_OK && ops->flush_counts != NULL)
        r = ops->flush_counts(writer->engine, err);
    if (r == BYRE_OK)
        r = writer_barrier(writer, err);
    if (r < 0)
        return r;

    if (ops->flush_durable != NULL)
        ops->flush_durable(writer->engine);
    if (has_tables(flush))
        r = write_tables(writer, flush, err);
    return r;
}

/* What could not be written is to be written by the next flush. */
static void put_back(struct writer *writer, struct flush *flush)
{
    struct byre_error why = { 0 };

    table_batch_done(writer->tables, flush->tables, false);
    if (l1_batch_done(writer->l1, &flush->l1, false, &why) < 0)
        writer_stick(writer, &why);
    if (writer->ops->flush_failed != NULL)
        writer->ops->flush_failed(writer->engine, flush->releases);
}

static int flush_once(struct writer *writer, struct byre_error *err)
{
    struct flush flush = { 0 };
    int r;

    r = run(writer, &flush, err);
    if (r < 0) {
        put_back(writer, &flush);
        return r;
    }

    table_batch_done(writer->tables, flush.tables, true);
    l1_batch_done(writer->l1, &flush.l1, true, NULL);
    if (writer->ops->flush_unlinked != NULL) {
        r = writer->ops->flush_unlinked(writer->engine, flush.releases, err);
        if (r < 0)
            writer->ops->flush_failed(writer->engine, flush.releases);
    }
    return r;
}

/* Under flush_lock: runs a flush, which serves all that want one by now. */
static int serve(struct writer *writer, struct byre_error *err)
{
    const uint64_t covered = atomic_load(&writer->flushes_wanted);
    struct byre_error why = { 0 };
    int r;

    r = stick_if_barrier_failed(writer, flush_once(writer, &why), &why);
    if (r < 0) {
        if (err != NULL)
            *err = why;
        return r;
    }
    writer->flushes_done = covered;
    atomic_fetch_add(&writer->flushes_run, 1);
    return BYRE_OK;
}

/* Those who come while a flush runs share the next one. */
int writer_flush(struct writer *writer, struct byre_error *err)
{
    const uint64_t wanted = atomic_fetch_add(&writer->flushes_wanted, 1) + 1;
    int r;

    pthread_mutex_lock(&writer->flush_lock);
    r = writer_check(writer, err);
    if (r == BYRE_OK && writer->flushes_done < wanted)
        r = serve(writer, err);
    pthread_mutex_unlock(&writer->flush_lock);
    return r;
}

int writer_flush_since(struct writer *writer, uint64_t seen,
                       struct byre_error *err)
{
    int r;

    pthread_mutex_lock(&writer->flush_lock);
    r = writer_check(writer, err);
    if (r == BYRE_OK && atomic_load(&writer->flushes_run) == seen)
        r = serve(writer, err);
    pthread_mutex_unlock(&writer->flush_lock);
    return r;
}
