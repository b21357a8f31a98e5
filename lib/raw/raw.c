/* SPDX-License-Identifier: MIT */
#include "raw/raw.h"

#include <stdlib.h>

#include "base/arith.h"
#include "base/error.h"

struct raw {
    struct engine engine; /* first, so that the two convert */
    struct byre_store *store;
};

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
        .store = ((struct raw *)engine)->store,
        .host_offset = guest_offset,
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
    byre_store_unref(((struct raw *)engine)->store);
    engine_done(engine);
    free(engine);
}

static const struct engine_ops raw_ops = {
    .prepare = raw_prepare,
    .map = raw_map,
    .read = raw_read,
    .may_have_holes = raw_may_have_holes,
    .free = raw_free,
};

int raw_open(struct byre_store *store, struct engine **ret_engine,
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

    raw->engine.ops = &raw_ops;
    raw->engine.format = "raw";
    raw->engine.size_bytes = align_up(size_bytes, ENGINE_SECTOR_BYTES);
    raw->store = store_ref(store);
    *ret_engine = &raw->engine;
    return BYRE_OK;
}
