/* SPDX-License-Identifier: MIT */
#include "raw/raw.h"

#include <stdlib.h>

#include "base/arith.h"
#include "base/error.h"
#include "raw/raw_write.h"

static int raw_prepare(struct engine *engine,
                       const struct snapshot_selector *selector,
                       struct byre_error *err)
{
    (void)engine;
    if (snapshot_is_selected(selector))
        return fail(err, BYRE_E_NOT_FOUND, "a raw disk has no snapshots");
    return BYRE_OK;
}

static int raw_map(struct engine *engine, uint64_t guest_offset,
                   uint64_t length, struct mapping *ret, struct byre_error *err)
{
    (void)err;
    *ret = (struct mapping){
        .kind = L2_DATA,
        .length = length,
        .store = raw_of(engine)->store,
        .host_offset = guest_offset,
        .in_place = true,
    };
    return BYRE_OK;
}

static int raw_read(struct engine *engine, const struct mapping *mapping,
                    uint64_t guest_offset, void *buf, size_t length,
                    struct byre_error *err)
{
    (void)engine;
    (void)guest_offset;
    return store_read(mapping->store, mapping->host_offset, buf, length, err);
}

static bool raw_may_have_holes(struct engine *engine)
{
    (void)engine;
    return true;
}

static void raw_free(struct engine *engine)
{
    byre_store_unref(raw_of(engine)->store);
    pthread_mutex_destroy(&raw_of(engine)->end_lock);
    pthread_mutex_destroy(&raw_of(engine)->start_lock);
    engine_done(engine);
    free(engine);
}

static const struct engine_ops raw_ops = {
    .prepare = raw_prepare,
    .map = raw_map,
    .read = raw_read,
    .may_have_holes = raw_may_have_holes,
    .prepare_write = raw_prepare_write,
    .write = raw_write,
    .zero = raw_zero,
    .discard = raw_discard,
    .flush = raw_flush,
    .resize = raw_resize,
    .finish = raw_flush,
    .end_write = raw_end_write,
    .free = raw_free,
};

int raw_open(struct byre_store *store, bool guessed, struct engine **ret_engine,
             struct byre_error *err)
{
    struct raw *raw;
    uint64_t size_bytes;
    int r;

    r = store_get_size(store, &size_bytes, err);
    if (r < 0)
        return r;

    raw = calloc(1, sizeof(*raw));
    if (raw == NULL)
        return fail_nomem(err, "a disk", sizeof(*raw));

    engine_init(&raw->engine, &raw_ops);
    raw->engine.format = "raw";
    raw->engine.size_bytes = align_up(size_bytes, ENGINE_SECTOR_BYTES);
    raw->store = store_ref(store);
    raw->guessed = guessed;
    pthread_mutex_init(&raw->start_lock, NULL);
    pthread_mutex_init(&raw->end_lock, NULL);
    *ret_engine = &raw->engine;
    return BYRE_OK;
}
