/* SPDX-License-Identifier: MIT */
#include "store/fault.h"

#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/error.h"

struct fault_store {
    struct byre_store *base;
    struct faults *faults;
};

static const char *const kind_names[FAULT_KINDS] = {
    [FAULT_READ] = "read",     [FAULT_WRITE] = "write",
    [FAULT_FLUSH] = "flush",   [FAULT_RESIZE] = "resize",
    [FAULT_ZERO] = "zero",     [FAULT_GET_SIZE] = "get_size",
    [FAULT_EXTENT] = "extent", [FAULT_DISCARD] = "discard",
    [FAULT_ANY] = "call",
};

/* ---- Plans and counts ---- */

static void start_counts(struct faults *faults)
{
    for (int kind = 0; kind < FAULT_KINDS; kind++)
        atomic_store(&faults->calls[kind], 0);
    atomic_store(&faults->failed, 0);
}

void faults_init(struct faults *faults)
{
    for (int kind = 0; kind < FAULT_KINDS; kind++) {
        faults->plan[kind] = (struct fault){ 0 };
        atomic_init(&faults->calls[kind], 0);
    }
    atomic_init(&faults->failed, 0);
}

void faults_set(struct faults *faults, enum fault_kind kind,
                const struct fault *fault)
{
    faults->plan[kind] = *fault;
    start_counts(faults);
}

uint64_t faults_calls(const struct faults *faults, enum fault_kind kind)
{
    return atomic_load(&faults->calls[kind]);
}

uint64_t faults_failed(const struct faults *faults)
{
    return atomic_load(&faults->failed);
}

/* Counts one call of `kind`, and tells whether the plan for it is to fail. */
static bool count_call(struct faults *faults, enum fault_kind kind)
{
    const struct fault *plan = &faults->plan[kind];
    const uint64_t call = atomic_fetch_add(&faults->calls[kind], 1) + 1;

    if (plan->nth == 0)
        return false;
    return call == plan->nth ||
           (call > plan->nth && (plan->flags & FAULT_PERSISTS));
}

/* The plan by which this call fails, or NULL.  Both counts go on. */
static const struct fault *next_fault(struct faults *faults,
                                      enum fault_kind kind)
{
    const bool by_kind = count_call(faults, kind);
    const bool by_any = count_call(faults, FAULT_ANY);

    if (!by_kind && !by_any)
        return NULL;
    atomic_fetch_add(&faults->failed, 1);
    return &faults->plan[by_kind ? kind : FAULT_ANY];
}

static int fail_as_planned(const struct fault *plan, enum fault_kind kind,
                           struct byre_error *err)
{
    if (plan->code != 0 && plan->code != BYRE_E_IO)
        return fail(err, plan->code, "a test fails this %s", kind_names[kind]);
    return fail_errno(err, plan->sys_errno != 0 ? plan->sys_errno : EIO,
                      "a test fails this %s", kind_names[kind]);
}

/* Fails the call if that is planned; the store below does not see it then. */
static int check_fault(struct fault_store *store, enum fault_kind kind,
                       struct byre_error *err)
{
    const struct fault *plan = next_fault(store->faults, kind);

    return plan == NULL ? BYRE_OK : fail_as_planned(plan, kind, err);
}

/* ---- The store ---- */

static int fault_read(void *user, uint64_t offset, void *buf, size_t length,
                      struct byre_error *err)
{
    struct fault_store *store = user;
    const int r = check_fault(store, FAULT_READ, err);

    return r < 0 ? r : store_read(store->base, offset, buf, length, err);
}

static int fault_get_size(void *user, uint64_t *ret_size_bytes,
                          struct byre_error *err)
{
    struct fault_store *store = user;
    const int r = check_fault(store, FAULT_GET_SIZE, err);

    return r < 0 ? r : store_get_size(store->base, ret_size_bytes, err);
}

static int fault_extent(void *user, uint64_t offset, uint64_t length,
                        uint32_t *ret_kind, uint64_t *ret_length,
                        struct byre_error *err)
{
    struct fault_store *store = user;
    const int r = check_fault(store, FAULT_EXTENT, err);

    return r < 0 ? r
                 : store_extent(store->base, offset, length, ret_kind,
                                ret_length, err);
}

/* How many bytes of a write its first `sectors` sectors hold. */
static size_t landed_bytes(uint64_t offset, size_t length, uint64_t sectors)
{
    const uint64_t skip = offset % FAULT_SECTOR_BYTES;
    const uint64_t touched = div_round_up(skip + length, FAULT_SECTOR_BYTES);

    if (sectors == 0)
        return 0;
    if (sectors >= touched)
        return length;
    return (size_t)(sectors * FAULT_SECTOR_BYTES - skip);
}

static int fault_write(void *user, uint64_t offset, const void *buf,
                       size_t length, struct byre_error *err)
{
    struct fault_store *store = user;
    const struct fault *plan = next_fault(store->faults, FAULT_WRITE);
    size_t landed;
    int r;

    if (plan == NULL)
        return store_write(store->base, offset, buf, length, err);

    landed = landed_bytes(offset, length, plan->sectors_landed);
    if (landed > 0) {
        r = store_write(store->base, offset, buf, landed, err);
        if (r < 0)
            return r;
    }
    return fail_as_planned(plan, FAULT_WRITE, err);
}

static int fault_flush(void *user, struct byre_error *err)
{
    struct fault_store *store = user;
    const int r = check_fault(store, FAULT_FLUSH, err);

    return r < 0 ? r : store_flush(store->base, err);
}

static int fault_resize(void *user, uint64_t size_bytes, struct byre_error *err)
{
    struct fault_store *store = user;
    const int r = check_fault(store, FAULT_RESIZE, err);

    return r < 0 ? r : store_resize(store->base, size_bytes, err);
}

/* Asks the base itself: if it cannot, the zeroes are writes of this store. */
static int fault_zero(void *user, uint64_t offset, uint64_t length,
                      uint32_t flags, struct byre_error *err)
{
    struct fault_store *store = user;
    struct byre_store *base = store->base;
    const int r = check_fault(store, FAULT_ZERO, err);

    return r < 0 ? r : base->ops.zero(base->user, offset, length, flags, err);
}

static int fault_discard(void *user, uint64_t offset, uint64_t length,
                         struct byre_error *err)
{
    struct fault_store *store = user;
    const int r = check_fault(store, FAULT_DISCARD, err);

    return r < 0 ? r : store_discard(store->base, offset, length, err);
}

static int fault_allocated(void *user, uint64_t *ret_bytes,
                           struct byre_error *err)
{
    struct fault_store *store = user;

    *ret_bytes = store_allocated_bytes(store->base);
    return *ret_bytes != BYRE_NO_OFFSET
               ? BYRE_OK
               : fail(err, BYRE_E_UNSUPPORTED, "the store cannot tell");
}

static void fault_close(void *user)
{
    struct fault_store *store = user;

    byre_store_unref(store->base);
    free(store);
}

/* What the store below lacks is missing here too. */
static struct byre_store_ops ops_like(const struct byre_store_ops *base)
{
    return (struct byre_store_ops){
        .size = sizeof(struct byre_store_ops),
        .read = fault_read,
        .get_size = fault_get_size,
        .extent = base->extent != NULL ? fault_extent : NULL,
        .write = base->write != NULL ? fault_write : NULL,
        .flush = base->flush != NULL ? fault_flush : NULL,
        .resize = base->resize != NULL ? fault_resize : NULL,
        .zero = base->zero != NULL ? fault_zero : NULL,
        .close = fault_close,
        .discard = base->discard != NULL ? fault_discard : NULL,
    };
}

int fault_store_new(struct byre_store *base, struct faults *faults,
                    struct byre_store **ret_store, struct byre_error *err)
{
    const struct byre_store_ops ops = ops_like(&base->ops);
    struct fault_store *store = malloc(sizeof(*store));
    int r;

    if (store == NULL)
        return fail_nomem(err, "a fault store", sizeof(*store));

    *store = (struct fault_store){ store_ref(base), faults };
    r = store_new(&ops, store, base->protocol, ret_store, err);
    if (r < 0) {
        fault_close(store);
        return r;
    }
    (*ret_store)->identity = base->identity;
    (*ret_store)->file_offset = base->file_offset;
    (*ret_store)->allocated = fault_allocated;
    return BYRE_OK;
}
