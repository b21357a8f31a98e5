/* SPDX-License-Identifier: MIT */
#include "job/target.h"

#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/error.h"
#include "job/pipe.h"
#include "raw/create.h"
#include "store/file.h"

#define ZEROES_BYTES 65536

/* Of a cluster with extended entries. */
#define SUBCLUSTERS 32

/* Aligned for direct I/O. */
static alignas(4096) const uint8_t zeroes[ZEROES_BYTES];

/* ---- Opening ---- */

bool target_is_image(const struct target_request *request)
{
    const char *format;

    if (request->flags & BYRE_CONVERT_NO_CREATE) {
        if (request->open == NULL)
            return false;
        format = request->open->format;
        /* A pipe cannot be probed; it takes raw disks. */
        return format == NULL ? !pipe_is_one(request->name)
                              : strcmp(format, "raw") != 0;
    }
    if (request->create == NULL)
        return false;
    format = request->create->format;
    return format == NULL || strcmp(format, "raw") != 0;
}

int target_refuse_sources(const struct target_request *request,
                          const struct store_identity *identity,
                          struct byre_error *err)
{
    for (size_t i = 0; i < request->source_count; i++) {
        if (chain_uses_file(request->sources[i], identity))
            return fail(err, BYRE_E_INVALID,
                        "the target '%s' is a file that the source '%s' reads "
                        "from",
                        request->name, request->sources[i]->name);
    }
    return BYRE_OK;
}

int target_check_room(const struct target_request *request, uint64_t have_bytes,
                      struct byre_error *err)
{
    if (have_bytes >= request->size_bytes)
        return BYRE_OK;
    return fail(err, BYRE_E_LIMIT,
                "the target '%s' has %llu bytes, too few for the disk's "
                "%llu",
                request->name, (unsigned long long)have_bytes,
                (unsigned long long)request->size_bytes);
}

/* A device takes the disk at its start; what is behind it stays. */
static int fit_device(const struct target *target,
                      const struct target_request *request,
                      struct byre_error *err)
{
    uint64_t target_bytes;
    int r;

    r = store_get_size(target->file.store, &target_bytes, err);
    if (r < 0)
        return r;
    return target_check_room(request, target_bytes, err);
}

static bool is_new(const struct target *target)
{
    return target->file.path != NULL;
}

/* Makes the empty file as long as the disk, with space as it was asked for. */
static int size_new(struct target *target, const struct target_request *request,
                    struct byre_error *err)
{
    const struct byre_create_options *create = request->create;
    struct filler filler;
    int r;

    r = store_resize(target->file.store, 0, err);
    if (r < 0)
        return r;
    if (create == NULL || create->preallocation == BYRE_PREALLOCATION_OFF)
        return store_resize(target->file.store, request->size_bytes, err);

    r = filler_init(&filler, target->file.store, false, err);
    if (r < 0)
        return r;
    r = raw_create(&filler, request->size_bytes, create->preallocation, err);
    filler_done(&filler);
    return r;
}

/* An existing file becomes empty and long enough; -n leaves it as it is. */
static int size_target(struct target *target,
                       const struct target_request *request,
                       struct byre_error *err)
{
    target->reads_zero = (request->flags & BYRE_CONVERT_TARGET_IS_ZERO) != 0;
    if (target->file.store->identity.is_device ||
        (request->flags & BYRE_CONVERT_NO_CREATE) != 0)
        return fit_device(target, request, err);

    target->file.emptied = !is_new(target);
    target->reads_zero = true;
    return size_new(target, request, err);
}

static bool create_has(const struct target_request *request, uint32_t flag)
{
    return request->create != NULL && (request->create->flags & flag) != 0;
}

static int make_file(struct target *target,
                     const struct target_request *request, unsigned direct,
                     struct byre_error *err)
{
    int r;

    r = file_store_open(request->name,
                        FILE_STORE_WRITE | FILE_STORE_CREATE | direct,
                        &target->file.store, err);
    if (r < 0)
        return r;

    target->file.path = strdup(request->name);
    if (target->file.path == NULL)
        return fail_nomem(err, "a name", strlen(request->name));
    return create_has(request, BYRE_CREATE_NOCOW)
               ? file_store_set_nocow(target->file.store, err)
               : BYRE_OK;
}

static int open_file(struct target *target,
                     const struct target_request *request,
                     struct byre_error *err)
{
    const unsigned direct =
        request->flags & BYRE_CONVERT_DIRECT ? FILE_STORE_DIRECT : 0;
    int r;

    if ((request->flags & BYRE_CONVERT_NO_CREATE) == 0) {
        struct byre_error why;

        r = make_file(target, request, direct, &why);
        if (r == BYRE_OK || why.sys_errno != EEXIST ||
            create_has(request, BYRE_CREATE_EXCLUSIVE)) {
            if (r < 0 && err != NULL)
                *err = why;
            return r;
        }
    }
    return file_store_open(request->name, FILE_STORE_WRITE | direct,
                           &target->file.store, err);
}

/* Whoever makes a file new also resizes it, and lets nobody else do so. */
static int lock_target(const struct target *target, uint32_t flags,
                       struct byre_error *err)
{
    const unsigned rewrite =
        flags & BYRE_CONVERT_NO_CREATE ? 0 : FILE_LOCK_RESIZE;

    return file_store_lock(target->file.store,
                           FILE_LOCK_READ | FILE_LOCK_WRITE | rewrite, rewrite,
                           target->name, err);
}

static int prepare_file(struct target *target,
                        const struct target_request *request,
                        struct byre_error *err)
{
    int r;

    r = open_file(target, request, err);
    if (r == BYRE_OK)
        r = target_refuse_sources(request, &target->file.store->identity, err);
    if (r == BYRE_OK)
        r = lock_target(target, request->flags, err);
    if (r == BYRE_OK)
        r = size_target(target, request, err);
    return r;
}

static int prepare(struct target *target, const struct target_request *request,
                   struct byre_error *err)
{
    const bool is_pipe = pipe_is_one(request->name);

    if (target_is_image(request)) {
        if (is_pipe)
            return fail(err, BYRE_E_INVALID,
                        "'%s' is a pipe, which takes a raw disk only: an image "
                        "is not written in order",
                        request->name);
        return target_prepare_image(target, request, err);
    }
    if (is_pipe)
        return pipe_open(request->name, request->canceled, &target->pipe_fd,
                         err);
    return prepare_file(target, request, err);
}

int target_open(const struct target_request *request, struct target *ret_target,
                struct byre_error *err)
{
    struct target target = {
        .name = strdup(request->name),
        .pipe_fd = -1,
        .compress = (request->flags & BYRE_CONVERT_COMPRESS) != 0,
        .backing_bytes = BYRE_NO_OFFSET,
        .canceled = request->canceled,
    };
    int r;

    if (target.name == NULL)
        return fail_nomem(err, "a name", strlen(request->name));

    r = prepare(&target, request, err);
    if (r < 0) {
        target_close(&target, true, NULL);
        return r;
    }
    *ret_target = target;
    return BYRE_OK;
}

/* ---- Writing ---- */

uint64_t target_unit_bytes(const struct target *target)
{
    const struct byre *img = target->image;

    return img != NULL && img->engine->cluster_bits != 0
               ? engine_cluster_bytes(img->engine)
               : 1;
}

uint64_t target_block_bytes(const struct target *target)
{
    const uint64_t unit = target_unit_bytes(target);
    struct byre_info info = BYRE_INFO_INIT;

    if (unit == 1 || target->compress ||
        byre_get_info(target->image, &info, NULL) < 0 ||
        (info.flags & BYRE_INFO_EXTENDED_L2) == 0)
        return unit;
    return unit / SUBCLUSTERS;
}

/* A cluster in part, at the end of the copy but not of the disk, is plain. */
static uint32_t write_flags(const struct target *target, uint64_t offset,
                            uint64_t length)
{
    const struct engine *engine = target->image->engine;
    const bool whole =
        is_aligned(offset + length, engine_cluster_bytes(engine)) ||
        offset + length == engine->size_bytes;

    return target->compress && whole ? BYRE_WRITE_COMPRESSED : 0;
}

int target_write(struct target *target, uint64_t offset, const void *buf,
                 size_t length, struct turn *turn, bool held,
                 struct byre_error *err)
{
    int r;

    if (target->image != NULL)
        return image_write(target->image, offset, buf, length,
                           write_flags(target, offset, length),
                           turn_order(turn, held), err);
    if (target->pipe_fd >= 0)
        return pipe_write(target->pipe_fd, target->name, target->canceled, buf,
                          length, err);
    r = store_write(target->file.store, offset, buf, length, err);
    if (r < 0)
        error_prefix(err, "%s", target->name);
    return r;
}

static int write_zeroes(struct target *target, uint64_t offset, uint64_t length,
                        struct turn *turn, struct byre_error *err)
{
    int r = BYRE_OK;

    while (length > 0 && r == BYRE_OK) {
        const size_t n = (size_t)min_u64(length, ZEROES_BYTES);

        r = target_write(target, offset, zeroes, n, turn, true, err);
        offset += n;
        length -= n;
    }
    return r;
}

int target_zero(struct target *target, uint64_t offset, uint64_t length,
                bool may_unmap, struct turn *turn, struct byre_error *err)
{
    int r;

    if (target->pipe_fd >= 0 || !may_unmap)
        return write_zeroes(target, offset, length, turn, err);
    if (target->image != NULL) {
        turn_wait(turn);
        return byre_zero(target->image, offset, length, BYRE_WRITE_MAY_UNMAP,
                         err);
    }
    r = store_zero(target->file.store, offset, length, BYRE_STORE_MAY_UNMAP,
                   err);
    if (r < 0)
        error_prefix(err, "%s", target->name);
    return r;
}

/* ---- Ending ---- */

/* Others expect an image of compressed clusters to end with a sector. */
static int round_length(const struct target *target, struct byre_error *err)
{
    struct byre_store *store = target->image->store;
    uint64_t bytes;
    int r;

    if (!target->compress || store->identity.is_device)
        return BYRE_OK;

    r = store_get_size(store, &bytes, err);
    if (r < 0 || is_aligned(bytes, ENGINE_SECTOR_BYTES))
        return r;
    return store_resize(store, align_up(bytes, ENGINE_SECTOR_BYTES), err);
}

static int sync_raw(struct target *target, struct byre_error *err)
{
    int r;

    r = store_flush(target->file.store, err);
    if (r < 0) {
        error_prefix(err, "%s", target->name);
        return r;
    }
    /* A new name is durable only when its folder is. */
    return is_new(target) ? file_store_sync_folder(target->name, err) : BYRE_OK;
}

int target_finish(struct target *target, bool sync, struct byre_error *err)
{
    int r;

    if (target->pipe_fd >= 0)
        return BYRE_OK;
    if (target->image == NULL)
        return sync ? sync_raw(target, err) : BYRE_OK;

    r = round_length(target, err);
    if (r == BYRE_OK && sync)
        r = byre_flush(target->image, err);
    return r;
}

int target_close(struct target *target, bool failed, struct byre_error *err)
{
    struct byre_store *store = NULL;
    int r = BYRE_OK;

    if (target->image != NULL) {
        /* Keeps its lock until what was done is undone. */
        store = store_ref(target->image->store);
        r = byre_close(target->image, err);
    }
    byre_close(target->backing, NULL);
    target_file_close(&target->data, failed || r < 0);
    target_file_close(&target->file, failed || r < 0);
    byre_store_unref(store);
    if (target->pipe_fd >= 0)
        close(target->pipe_fd);
    free(target->name);
    return failed ? BYRE_OK : r;
}
