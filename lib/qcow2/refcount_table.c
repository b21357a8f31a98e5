/* SPDX-License-Identifier: MIT */
/*
 * Writing the refcount table, when all counts are written:
 *
 *     barrier                     counts and blocks are durable
 *     pending entries, in place; or the new table - barrier - the header
 *
 * The caller has a barrier to follow before anything may point to what was
 * allocated.  A failure leaves the table on the disk valid, old or new, and
 * everything is written again.
 */
#include <stdlib.h>

#include "base/bytes.h"
#include "base/error.h"
#include "qcow2/allocator_internal.h"
#include "qcow2/header_write.h"

/* The entries [first, first + count), at their place in the table. */
static int write_entries(struct allocator *a, uint64_t first, size_t count,
                         struct byre_error *err)
{
    uint8_t *raw = malloc(count * 8);
    int r;

    if (raw == NULL)
        return fail_nomem(err, "the refcount table", count * 8);
    for (size_t i = 0; i < count; i++)
        be64_put(raw + i * 8, a->table[first + i]);
    r = store_write(a->store, a->table_offset + first * 8, raw, count * 8, err);
    if (r < 0)
        error_prefix(err, "refcount table");
    free(raw);
    return r;
}

static int write_moved(struct allocator *a, struct byre_error *err)
{
    const uint64_t clusters = a->table_entries * 8 >> a->cluster_bits;
    int r;

    r = write_entries(a, 0, (size_t)a->table_entries, err);
    if (r < 0)
        return r;
    r = store_flush(a->store, err);
    if (r < 0)
        return r;
    return header_write_refcount_table(a->qcow2, a->table_offset,
                                       (uint32_t)clusters, err);
}

static int write_pending(struct allocator *a, struct byre_error *err)
{
    for (size_t i = 0; i < a->pending_count; i++) {
        size_t n = 1;
        int r;

        while (i + n < a->pending_count &&
               a->pending[i + n] == a->pending[i] + n)
            n++;
        r = write_entries(a, a->pending[i], n, err);
        if (r < 0)
            return r;
        i += n - 1;
    }
    return BYRE_OK;
}

int refcount_table_write(struct allocator *a, struct byre_error *err)
{
    int r;

    if (a->pending_count == 0 && !a->table_moved)
        return BYRE_OK;
    r = store_flush(a->store, err);
    if (r < 0)
        return r;
    r = a->table_moved ? write_moved(a, err) : write_pending(a, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&a->lock);
    a->pending_count = 0;
    a->table_moved = false;
    pthread_mutex_unlock(&a->lock);
    return BYRE_OK;
}
