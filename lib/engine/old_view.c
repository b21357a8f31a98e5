/* SPDX-License-Identifier: MIT */
#include "engine/old_view.h"

#include <string.h>

#include "base/arith.h"

/*
 * Behind the last cluster of the disk there is VM state, which no backing file
 * has a part in.
 */
static bool is_vm_state(const struct writer *writer, uint64_t offset)
{
    const struct engine *engine = writer->engine;

    return offset >= align_up(engine->size_bytes, engine_cluster_bytes(engine));
}

static int read_run(struct writer *writer, uint64_t offset, void *buf,
                    size_t length, size_t *ret_done, struct byre_error *err)
{
    struct engine *engine = writer->engine;
    struct mapping mapping;
    int r;

    r = engine->ops->map(engine, offset, length, &mapping, err);
    if (r < 0)
        return r;

    *ret_done = (size_t)mapping.length;
    switch (mapping.kind) {
    case L2_UNALLOCATED:
    case L2_RESERVED:
        if (writer->backing.read != NULL && !is_vm_state(writer, offset))
            return writer->backing.read(writer->backing.user, offset, buf,
                                        *ret_done, err);
        break;
    case L2_ZERO:
    case L2_ZERO_ALLOC:
        break;
    case L2_DATA:
    case L2_COMPRESSED:
    case L2_INVALID:
        return engine->ops->read(engine, &mapping, offset, buf, *ret_done, err);
    }
    memset(buf, 0, *ret_done);
    return BYRE_OK;
}

/* How much of a range lies on the disk, or in VM state. */
static uint64_t on_disk(const struct writer *writer, uint64_t offset,
                        uint64_t length)
{
    const uint64_t end = writer->engine->size_bytes;

    if (is_vm_state(writer, offset))
        return length;
    return offset < end ? min_u64(length, end - offset) : 0;
}

int old_view_read(struct writer *writer, uint64_t offset, void *buf,
                  size_t length, struct byre_error *err)
{
    size_t left = (size_t)on_disk(writer, offset, length);
    uint8_t *p = buf;

    memset(p + left, 0, length - left);
    while (left > 0) {
        size_t done;
        int r;

        r = read_run(writer, offset, p, left, &done, err);
        if (r < 0)
            return r;
        offset += done;
        p += done;
        left -= done;
    }
    return BYRE_OK;
}

int writer_is_zero(struct writer *writer, uint64_t offset, uint64_t length,
                   bool *ret_zero, uint64_t *ret_length, struct byre_error *err)
{
    const struct engine_backing *backing = &writer->backing;
    struct mapping mapping;
    int r;

    r = writer->engine->ops->map(writer->engine, offset, length, &mapping, err);
    if (r < 0)
        return r;

    *ret_length = mapping.length;
    switch (mapping.kind) {
    case L2_UNALLOCATED:
    case L2_RESERVED:
        if (backing->is_zero != NULL && !is_vm_state(writer, offset))
            return backing->is_zero(backing->user, offset, mapping.length,
                                    ret_zero, ret_length, err);
        *ret_zero = true;
        return BYRE_OK;
    case L2_ZERO:
    case L2_ZERO_ALLOC:
        *ret_zero = true;
        return BYRE_OK;
    case L2_DATA:
    case L2_COMPRESSED:
    case L2_INVALID:
        break;
    }
    *ret_zero = false;
    return BYRE_OK;
}

int old_view_is_zero(struct writer *writer, uint64_t offset, uint64_t length,
                     bool *ret_zero, struct byre_error *err)
{
    uint64_t left = on_disk(writer, offset, length);
    bool zero = true;

    while (left > 0 && zero) {
        uint64_t done;
        int r;

        r = writer_is_zero(writer, offset, left, &zero, &done, err);
        if (r < 0)
            return r;
        offset += done;
        left -= done;
    }
    *ret_zero = zero;
    return BYRE_OK;
}
