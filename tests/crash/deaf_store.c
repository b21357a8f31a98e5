/* SPDX-License-Identifier: MIT */
#include "deaf_store.h"

#include "memory.h"

struct deaf {
    struct byre_store *base;
    struct deafness *deafness;
};

static int deaf_read(void *user, uint64_t offset, void *buf, size_t length,
                     struct byre_error *err)
{
    const struct deaf *deaf = user;

    return store_read(deaf->base, offset, buf, length, err);
}

static int deaf_get_size(void *user, uint64_t *ret_size_bytes,
                         struct byre_error *err)
{
    const struct deaf *deaf = user;

    return store_get_size(deaf->base, ret_size_bytes, err);
}

static int deaf_write(void *user, uint64_t offset, const void *buf,
                      size_t length, struct byre_error *err)
{
    const struct deaf *deaf = user;

    return store_write(deaf->base, offset, buf, length, err);
}

static int deaf_flush(void *user, struct byre_error *err)
{
    const struct deaf *deaf = user;
    const uint64_t number = atomic_fetch_add(&deaf->deafness->flushes, 1) + 1;

    if (number == deaf->deafness->omitted)
        return BYRE_OK;
    return store_flush(deaf->base, err);
}

static int deaf_resize(void *user, uint64_t size_bytes, struct byre_error *err)
{
    const struct deaf *deaf = user;

    return store_resize(deaf->base, size_bytes, err);
}

static int deaf_zero(void *user, uint64_t offset, uint64_t length,
                     uint32_t flags, struct byre_error *err)
{
    const struct deaf *deaf = user;

    return store_zero(deaf->base, offset, length, flags, err);
}

static int deaf_discard(void *user, uint64_t offset, uint64_t length,
                        struct byre_error *err)
{
    const struct deaf *deaf = user;

    return store_discard(deaf->base, offset, length, err);
}

static void deaf_close(void *user)
{
    struct deaf *deaf = user;

    byre_store_unref(deaf->base);
    free(deaf);
}

static const struct byre_store_ops deaf_ops = {
    .size = sizeof(struct byre_store_ops),
    .read = deaf_read,
    .get_size = deaf_get_size,
    .write = deaf_write,
    .flush = deaf_flush,
    .resize = deaf_resize,
    .zero = deaf_zero,
    .discard = deaf_discard,
    .close = deaf_close,
};

int deaf_store_new(struct byre_store *base, struct deafness *deafness,
                   struct byre_store **ret_store, struct byre_error *err)
{
    struct deaf *deaf = memory_new(sizeof(*deaf));
    int r;

    *deaf = (struct deaf){ .base = base, .deafness = deafness };
    r = store_new(&deaf_ops, deaf, "store", ret_store, err);
    if (r < 0) {
        free(deaf);
        return r;
    }
    store_ref(base);
    return BYRE_OK;
}
