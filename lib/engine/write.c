/* SPDX-License-Identifier: MIT */
/*
 * Writing data: in place, or to a place of its own together with what it needs
 * of the old content around it, in one write.
 */
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "engine/encoders.h"
#include "engine/old_view.h"
#include "engine/writer.h"
#include "store/file.h"

static alignas(4096) const uint8_t zeroes[65536];

/* Areas up to this are put together in memory and written at once. */
#define JOIN_BYTES (UINT64_C(1) << 20)

/* Whose turn it is to allocate; passed on once, behind the last run. */
struct turn {
    const struct write_order *order; /* NULL: no order, or passed on */
    bool waited;
    uint64_t request_end;
};

static void wait_turn(struct turn *turn)
{
    if (turn->order != NULL && !turn->waited)
        turn->order->wait_turn(turn->order->user);
    turn->waited = true;
}

static void pass_turn(struct turn *turn)
{
    wait_turn(turn);
    if (turn->order != NULL)
        turn->order->pass_turn(turn->order->user);
    turn->order = NULL;
}

/* The places up to `end` are decided. */
static void decided(struct turn *turn, uint64_t end)
{
    if (end == turn->request_end)
        pass_turn(turn);
}

static uint64_t cluster_start(const struct writer *writer,
                              const struct write_plan *plan)
{
    return align_down(plan->guest_offset, engine_cluster_bytes(writer->engine));
}

/* Where a guest offset of the plan's clusters is. */
static uint64_t host_of(const struct writer *writer,
                        const struct write_plan *plan, uint64_t guest_offset)
{
    return plan->host_offset + (guest_offset - cluster_start(writer, plan));
}

/*
 * A file that ends inside a sector could be torn there by a later write, which
 * makes it longer: half of that sector would be new and half of it old.  So
 * what ends inside a sector of a place that may be the last one is filled up.
 * The file system does that beside whoever else writes, where it can.
 */
static int fill_last_sector(struct byre_store *store, uint64_t end,
                            struct byre_error *err)
{
    const uint64_t sector_end = align_up(end, ENGINE_SECTOR_BYTES);
    struct byre_error why;
    uint64_t file_bytes, from;
    int r;

    if (sector_end == end)
        return BYRE_OK;

    r = store_get_size(store, &file_bytes, err);
    if (r < 0 || file_bytes >= sector_end)
        return r;

    from = max_u64(file_bytes, end);

    r = file_store_preallocate(store, from, sector_end - from, &why);
    if (r == BYRE_E_UNSUPPORTED)
        return store_write(store, from, zeroes, (size_t)(sector_end - from),
                           err);
    if (r < 0 && err != NULL)
        *err = why;
    return r;
}

/* Writes to the place of the plan, past the guard. */
static int put(struct writer *writer, const struct write_plan *plan,
               uint64_t guest_offset, const void *buf, size_t length,
               struct byre_error *err)
{
    const uint64_t host_offset = host_of(writer, plan, guest_offset);
    int r;

    r = writer->ops->guard(writer->engine, plan->store, host_offset, length,
                           err);
    if (r < 0)
        return r;
    r = transfer_write(writer->transfer, plan->store, host_offset, guest_offset,
                       buf, length, err);
    return r < 0 ? r : fill_last_sector(plan->store, host_offset + length, err);
}

/* ---- New places ---- */

/* What a plan writes: its data, filled up on both sides. */
struct area {
    uint64_t start;
    uint64_t data_start;
    uint64_t data_end;
    uint64_t end;
};

static struct area area_of(const struct write_plan *plan)
{
    const uint64_t end = plan->guest_offset + plan->length;

    return (struct area){
        .start = align_down(plan->guest_offset, plan->fill_bytes),
        .data_start = plan->guest_offset,
        .data_end = end,
        .end = align_up(end, plan->fill_bytes),
    };
}

/* Puts [start, end) of the area together and writes it at once. */
static int put_joined(struct writer *writer, const struct write_plan *plan,
                      const struct area *area, uint64_t start, uint64_t end,
                      const uint8_t *data, struct byre_error *err)
{
    const uint64_t from = max_u64(start, area->data_start);
    const uint64_t to = min_u64(end, area->data_end);
    const size_t length = (size_t)(end - start);
    uint8_t *buf = malloc(length);
    int r;

    if (buf == NULL)
        return fail_nomem(err, "a copy of clusters", length);

    r = old_view_read(writer, start, buf, (size_t)(from - start), err);
    if (r == BYRE_OK)
        r = old_view_read(writer, to, buf + (to - start), (size_t)(end - to),
                          err);
    if (r == BYRE_OK) {
        memcpy(buf + (from - start), data + (from - area->data_start),
               (size_t)(to - from));
        r = put(writer, plan, start, buf, length, err);
    }
    free(buf);
    return r;
}

/* A long area: its first and last unit are joined, the rest goes as it is. */
static int put_long(struct writer *writer, const struct write_plan *plan,
                    const struct area *area, const uint8_t *data,
                    struct byre_error *err)
{
    const uint64_t first_end = area->start == area->data_start
                                   ? area->start
                                   : area->start + plan->fill_bytes;
    const uint64_t last_start =
        area->end == area->data_end ? area->end : area->end - plan->fill_bytes;
    int r = BYRE_OK;

    if (first_end > area->start)
        r = put_joined(writer, plan, area, area->start, first_end, data, err);
    if (r == BYRE_OK && last_start > first_end)
        r = put(writer, plan, first_end, data + (first_end - area->data_start),
                (size_t)(last_start - first_end), err);
    if (r == BYRE_OK && area->end > last_start)
        r = put_joined(writer, plan, area, last_start, area->end, data, err);
    return r;
}

/* Whether what surrounds the data is zero, and is so in the file already. */
static int surroundings_are_zero(struct writer *writer,
                                 const struct write_plan *plan,
                                 const struct area *area, bool *ret_zero,
                                 struct byre_error *err)
{
    int r;

    *ret_zero = false;
    if (!plan->reads_zero || writer->transfer->cipher != NULL)
        return BYRE_OK;

    r = old_view_is_zero(writer, area->start, area->data_start - area->start,
                         ret_zero, err);
    if (r < 0 || !*ret_zero)
        return r;
    return old_view_is_zero(writer, area->data_end, area->end - area->data_end,
                            ret_zero, err);
}

static int put_area(struct writer *writer, const struct write_plan *plan,
                    const uint8_t *data, struct byre_error *err)
{
    const struct area area = area_of(plan);
    const bool whole =
        area.start == area.data_start && area.end == area.data_end;
    bool zero = whole;
    int r;

    if (!whole) {
        r = surroundings_are_zero(writer, plan, &area, &zero, err);
        if (r < 0)
            return r;
    }
    if (zero)
        return put(writer, plan, plan->guest_offset, data, (size_t)plan->length,
                   err);
    if (area.end - area.start <= max_u64(JOIN_BYTES, 2 * plan->fill_bytes))
        return put_joined(writer, plan, &area, area.start, area.end, data, err);
    return put_long(writer, plan, &area, data, err);
}

/* ---- One run ---- */

/* The range is locked for several, and what is to be done needs it alone. */
#define NEEDS_ALONE 1

/* With the range locked: plans, allocates, writes and links one run. */
static int write_planned(struct writer *writer, struct write_plan *plan,
                         const uint8_t *data, bool shared, struct turn *turn,
                         struct byre_error *err)
{
    const struct writer_ops *ops = writer->ops;
    int r;

    r = ops->plan(writer->engine, plan, err);
    if (r < 0)
        return r;
    if (shared && plan->action != PLAN_OVERWRITE)
        return NEEDS_ALONE;
    if (plan->action == PLAN_ALLOCATE) {
        wait_turn(turn);
        r = ops->allocate(writer->engine, plan, err);
        if (r < 0)
            return r;
    }
    decided(turn, plan->guest_offset + plan->length);
    if (plan->action == PLAN_OVERWRITE)
        return put(writer, plan, plan->guest_offset, data, (size_t)plan->length,
                   err);

    r = put_area(writer, plan, data, err);
    if (r == BYRE_OK)
        r = ops->link(writer->engine, plan, err);
    if (r < 0 && plan->action == PLAN_ALLOCATE)
        ops->give_back(writer->engine, plan);
    return r;
}

/* The longest range that is locked at once. */
#define LOCK_BYTES (UINT64_C(32) << 20)

static int write_locked(struct writer *writer, uint64_t offset,
                        const uint8_t *data, size_t length, bool shared,
                        struct turn *turn, size_t *ret_done,
                        struct byre_error *err)
{
    const uint64_t cluster = engine_cluster_bytes(writer->engine);
    struct write_plan plan = {
        .guest_offset = offset,
        .length = min_u64(length, LOCK_BYTES),
    };
    const uint64_t start = align_down(offset, cluster);
    const uint64_t end = align_up(offset + plan.length, cluster);
    struct range_lock lock;
    int r;

    range_lock_take(&writer->clusters, &lock, start, end - start, shared);
    r = write_planned(writer, &plan, data, shared, turn, err);
    range_lock_drop(&writer->clusters, &lock);
    if (r == BYRE_OK)
        *ret_done = (size_t)plan.length;
    return r;
}

/*
 * Part of an encrypted sector is read, changed and written: nobody else may
 * write it meanwhile, not even in place.  Whole sectors share the range.
 */
static int write_encrypted(struct writer *writer, uint64_t offset,
                           const uint8_t *data, size_t length, bool in_place,
                           struct turn *turn, size_t *ret_done,
                           struct byre_error *err)
{
    int r = NEEDS_ALONE;

    if (in_place && is_aligned(offset | length, CIPHER_SECTOR_BYTES))
        r = write_locked(writer, offset, data, length, true, turn, ret_done,
                         err);
    if (r == NEEDS_ALONE)
        r = write_locked(writer, offset, data, length, false, turn, ret_done,
                         err);
    return r;
}

static int overwrite(struct writer *writer, const struct mapping *mapping,
                     const uint8_t *data, struct byre_error *err)
{
    int r;

    r = writer->ops->guard(writer->engine, mapping->store, mapping->host_offset,
                           mapping->length, err);
    if (r < 0)
        return r;
    return store_write(mapping->store, mapping->host_offset, data,
                       (size_t)mapping->length, err);
}

static int write_run(struct writer *writer, uint64_t offset,
                     const uint8_t *data, size_t length, struct turn *turn,
                     size_t *ret_done, struct byre_error *err)
{
    struct mapping mapping;
    bool in_place;
    int r;

    r = writer->engine->ops->map(writer->engine, offset, length, &mapping, err);
    if (r < 0)
        return r;

    in_place = mapping.kind == L2_DATA && mapping.in_place;
    if (writer->transfer->cipher != NULL)
        return write_encrypted(writer, offset, data, length, in_place, turn,
                               ret_done, err);
    /* Parts of a sector may be the last one of the file: put() fills it up,
       and nobody else may write what it fills. */
    if (!in_place || !is_aligned(offset | mapping.length, ENGINE_SECTOR_BYTES))
        return write_locked(writer, offset, data, length, false, turn, ret_done,
                            err);
    decided(turn, offset + mapping.length);
    *ret_done = (size_t)mapping.length;
    return overwrite(writer, &mapping, data, err);
}

/* ---- Compressed ---- */

/* With the range locked. */
static int write_stream(struct writer *writer, struct write_plan *plan,
                        const struct encoder_work *work, uint32_t bytes,
                        struct turn *turn, struct byre_error *err)
{
    const struct writer_ops *ops = writer->ops;
    int r;

    wait_turn(turn);
    r = ops->allocate_stream(writer->engine, plan, bytes, err);
    if (r < 0)
        return r;

    decided(turn,
            min_u64(plan->guest_offset + plan->length, turn->request_end));
    r = ops->guard(writer->engine, plan->store, plan->host_offset, bytes, err);
    if (r == BYRE_OK)
        r = store_write(plan->store, plan->host_offset, work->output, bytes,
                        err);
    if (r == BYRE_OK) {
        cluster_reader_forget(writer->transfer->clusters, plan->host_offset);
        r = ops->link_stream(writer->engine, plan, bytes, err);
    }
    if (r < 0)
        ops->give_back_stream(writer->engine, plan, bytes);
    return r;
}

static int write_encoded(struct writer *writer, uint64_t offset,
                         const uint8_t *cluster, struct turn *turn,
                         bool *ret_stored, struct byre_error *err)
{
    const uint64_t cluster_bytes = engine_cluster_bytes(writer->engine);
    struct write_plan plan = { .guest_offset = offset,
                               .length = cluster_bytes };
    struct encoder_work *work;
    struct range_lock lock;
    int r;

    r = encoders_get(writer->encoders, &work, err);
    if (r < 0)
        return r;

    r = encoder_run(work->encoder, cluster, (size_t)cluster_bytes, work->output,
                    (size_t)cluster_bytes - 1, err);
    *ret_stored = r > 0;
    if (r > 0) {
        range_lock_take(&writer->clusters, &lock, offset, cluster_bytes, false);
        r = write_stream(writer, &plan, work, (uint32_t)r, turn, err);
        range_lock_drop(&writer->clusters, &lock);
    }
    encoders_put(writer->encoders, work);
    return r;
}

/* The last cluster of the disk may be short; zeroes fill it up. */
static int write_compressed(struct writer *writer, uint64_t offset,
                            const uint8_t *data, size_t length,
                            struct turn *turn, size_t *ret_done,
                            struct byre_error *err)
{
    const uint64_t cluster_bytes = engine_cluster_bytes(writer->engine);
    const size_t n = (size_t)min_u64(length, cluster_bytes);
    uint8_t *filled = NULL;
    bool stored;
    int r;

    if (n < cluster_bytes) {
        filled = calloc(1, (size_t)cluster_bytes);
        if (filled == NULL)
            return fail_nomem(err, "a cluster", (size_t)cluster_bytes);
        memcpy(filled, data, n);
    }

    r = write_encoded(writer, offset, filled != NULL ? filled : data, turn,
                      &stored, err);
    free(filled);
    if (r < 0)
        return r;
    *ret_done = n;
    return stored ? BYRE_OK
                  : write_run(writer, offset, data, n, turn, ret_done, err);
}

static int check_compressed(const struct writer *writer, uint64_t offset,
                            uint64_t length, struct byre_error *err)
{
    const struct engine *engine = writer->engine;
    const uint64_t cluster_bytes = engine_cluster_bytes(engine);

    if (engine->encryption != BYRE_ENCRYPTION_NONE)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "compressed clusters are not encrypted: an encrypted image "
                    "takes none");
    if (engine->needs_data_file)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "an external data file takes no compressed clusters");
    if (!is_aligned(offset, cluster_bytes) ||
        (!is_aligned(length, cluster_bytes) &&
         offset + length != engine->size_bytes))
        return fail(err, BYRE_E_INVALID,
                    "a compressed write of %llu bytes at %llu is not of whole "
                    "clusters of %llu bytes",
                    (unsigned long long)length, (unsigned long long)offset,
                    (unsigned long long)cluster_bytes);
    return BYRE_OK;
}

/* ---- All of a request ---- */

static int write_all(struct writer *writer, uint64_t offset,
                     const uint8_t *data, size_t length, bool compressed,
                     struct turn *turn, struct byre_error *err)
{
    int r = BYRE_OK;

    while (length > 0 && r == BYRE_OK) {
        size_t done = 0;

        r = compressed
                ? write_compressed(writer, offset, data, length, turn, &done,
                                   err)
                : write_run(writer, offset, data, length, turn, &done, err);
        offset += done;
        data += done;
        length -= done;
    }
    return r;
}

int writer_write(struct writer *writer, uint64_t offset, const void *buf,
                 size_t length, uint32_t flags, const struct write_order *order,
                 struct byre_error *err)
{
    const bool compressed = (flags & BYRE_WRITE_COMPRESSED) != 0;
    struct turn turn = { .order = order, .request_end = offset + length };
    int r;

    r = writer_check(writer, err);
    if (r == BYRE_OK && compressed)
        r = check_compressed(writer, offset, length, err);
    if (r == BYRE_OK)
        r = write_all(writer, offset, buf, length, compressed, &turn, err);
    pass_turn(&turn);
    return r;
}

/* ---- Zeroes ---- */

static int zero_in_place(struct writer *writer, const struct mapping *mapping,
                         uint32_t flags, struct byre_error *err)
{
    const uint32_t store_flags =
        flags & BYRE_WRITE_MAY_UNMAP ? BYRE_STORE_MAY_UNMAP : 0;
    int r;

    r = writer->ops->guard(writer->engine, mapping->store, mapping->host_offset,
                           mapping->length, err);
    if (r < 0)
        return r;
    return (flags & BYRE_WRITE_FAST_ZERO ? store_zero_fast : store_zero)(
        mapping->store, mapping->host_offset, mapping->length, store_flags,
        err);
}

/* How much of a run in place is whole sectors; parts of one are written. */
static uint64_t whole_sectors(uint64_t offset, uint64_t length)
{
    return is_aligned(offset, ENGINE_SECTOR_BYTES)
               ? align_down(length, ENGINE_SECTOR_BYTES)
               : 0;
}

/* Zeroes a run that does not read as zero. */
static int zero_run(struct writer *writer, uint64_t offset, uint64_t length,
                    uint32_t flags, uint64_t *ret_done, struct byre_error *err)
{
    struct mapping mapping;
    bool in_place;
    int r;

    r = writer->engine->ops->map(writer->engine, offset, length, &mapping, err);
    if (r < 0)
        return r;
    in_place = mapping.kind == L2_DATA && mapping.in_place &&
               writer->transfer->cipher == NULL;
    mapping.length = min_u64(mapping.length, whole_sectors(offset, length));
    if (in_place && mapping.length > 0) {
        *ret_done = mapping.length;
        return zero_in_place(writer, &mapping, flags, err);
    }
    if (flags & BYRE_WRITE_FAST_ZERO)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "the range cannot be zeroed faster than by writing");
    *ret_done = min_u64(length, in_place ? ENGINE_SECTOR_BYTES -
                                               offset % ENGINE_SECTOR_BYTES
                                         : sizeof(zeroes));
    return writer_write(writer, offset, zeroes, (size_t)*ret_done, 0, NULL,
                        err);
}

int writer_write_zeroes(struct writer *writer, uint64_t offset, uint64_t length,
                        uint32_t flags, struct byre_error *err)
{
    while (length > 0) {
        uint64_t done;
        bool zero;
        int r;

        r = writer_is_zero(writer, offset, length, &zero, &done, err);
        if (r == BYRE_OK && !zero)
            r = zero_run(writer, offset, done, flags, &done, err);
        if (r < 0)
            return r;
        offset += done;
        length -= done;
    }
    return BYRE_OK;
}
