/* SPDX-License-Identifier: MIT */
/*
 * What table_cache.c and table_write.c share: the slots.
 */
#ifndef BYRE_ENGINE_TABLE_SLOTS_H
#define BYRE_ENGINE_TABLE_SLOTS_H

#include <pthread.h>

#include "engine/table_cache.h"

#define WAYS       4
#define EMPTY_SLOT UINT64_MAX

struct slot {
    atomic_uint sequence; /* odd while the slot changes */
    atomic_bool used;
    _Atomic uint64_t host_offset;      /* or EMPTY_SLOT */
    _Atomic(_Atomic uint64_t *) words; /* allocated with the first slice */
    bool changed;                      /* since it was last taken to a batch */
    bool listed;                       /* among those that may have changed */
    bool being_written;                /* it is in a batch */
};

struct table_cache {
    struct byre_store *store;
    uint32_t slice_bytes;
    uint32_t set_bits;
    pthread_mutex_t lock; /* of whoever changes a slot */
    struct slot **listed; /* room for all slots */
    size_t listed_count;
    /* Moves on when slices in the file become newer than an earlier read. */
    atomic_uint_fast64_t generation;
    struct slot *slots;
};

static inline size_t table_cache_slots(const struct table_cache *cache)
{
    return (size_t)WAYS << cache->set_bits;
}

/* Notes that a slot has changed; called locked. */
static inline void table_slot_changed(struct table_cache *cache,
                                      struct slot *slot)
{
    slot->changed = true;
    if (!slot->listed)
        cache->listed[cache->listed_count++] = slot;
    slot->listed = true;
}

#endif
