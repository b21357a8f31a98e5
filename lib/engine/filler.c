/* SPDX-License-Identifier: MIT */
#include "engine/filler.h"

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "store/file.h"

/* Aligned for direct I/O. */
#define BUFFER_ALIGNMENT 4096

/* What is wiped at the start of a store that cannot be cut: more than any
   header that says what the old content was. */
#define WIPED_BYTES (UINT64_C(64) << 10)

#define WORD_BYTES 8

static int write_zeroes(struct filler *filler, uint64_t offset, uint64_t length,
                        struct byre_error *err)
{
    int r = BYRE_OK;

    memset(filler->buffer, 0, (size_t)min_u64(length, FILLER_BUFFER_BYTES));
    while (length > 0 && r == BYRE_OK) {
        const size_t n = (size_t)min_u64(length, FILLER_BUFFER_BYTES);

        r = store_write(filler->store, offset, filler->buffer, n, err);
        offset += n;
        length -= n;
    }
    return r;
}

int filler_barrier(struct filler *filler, struct byre_error *err)
{
    /* A store without the function has nothing to wait for. */
    if (!filler->sync || filler->store->ops.flush == NULL)
        return BYRE_OK;
    return store_flush(filler->store, err);
}

/* A store of fixed length stays as long as it is, whatever it answers. */
static int cut(struct byre_store *store, uint64_t *ret_left_bytes,
               struct byre_error *err)
{
    struct byre_error why;
    int r;

    if (store->ops.resize != NULL) {
        r = store_resize(store, 0, &why);
        if (r < 0 && r != BYRE_E_UNSUPPORTED) {
            if (err != NULL)
                *err = why;
            return r;
        }
    }
    return store_get_size(store, ret_left_bytes, err);
}

static int empty_store(struct filler *filler, struct byre_error *err)
{
    uint64_t old_bytes, left_bytes;
    int r;

    r = store_get_size(filler->store, &old_bytes, err);
    if (r < 0 || old_bytes == 0) {
        filler->reads_zero = true;
        return r;
    }

    r = cut(filler->store, &left_bytes, err);
    if (r < 0)
        return r;

    filler->reads_zero = left_bytes == 0;
    r = write_zeroes(filler, 0, min_u64(left_bytes, WIPED_BYTES), err);
    if (r < 0)
        return r;
    return filler_barrier(filler, err);
}

int filler_init(struct filler *filler, struct byre_store *store, bool sync,
                struct byre_error *err)
{
    void *buffer = NULL;
    int r;

    if (posix_memalign(&buffer, BUFFER_ALIGNMENT, FILLER_BUFFER_BYTES) != 0)
        return fail_nomem(err, "a buffer", FILLER_BUFFER_BYTES);

    *filler = (struct filler){ .store = store, .buffer = buffer, .sync = sync };
    r = empty_store(filler, err);
    if (r < 0)
        filler_done(filler);
    return r;
}

void filler_done(struct filler *filler)
{
    free(filler->buffer);
    filler->buffer = NULL;
}

int filler_extend(struct filler *filler, uint64_t size_bytes,
                  struct byre_error *err)
{
    const uint8_t zero = 0;
    uint64_t now_bytes;
    int r;

    r = store_get_size(filler->store, &now_bytes, err);
    if (r < 0 || now_bytes >= size_bytes)
        return r;
    if (filler->store->ops.resize != NULL)
        return store_resize(filler->store, size_bytes, err);
    return store_write(filler->store, size_bytes - 1, &zero, 1, err);
}

int filler_write(struct filler *filler, uint64_t offset, const void *buf,
                 uint64_t length, struct byre_error *err)
{
    return length > 0
               ? store_write(filler->store, offset, buf, (size_t)length, err)
               : BYRE_OK;
}

int filler_zero(struct filler *filler, uint64_t offset, uint64_t length,
                struct byre_error *err)
{
    if (filler->reads_zero || length == 0)
        return BYRE_OK;
    return store_zero(filler->store, offset, length, BYRE_STORE_MAY_UNMAP, err);
}

int filler_reserve(struct filler *filler, uint64_t offset, uint64_t length,
                   uint32_t preallocation, struct byre_error *err)
{
    struct byre_error why;
    int r;

    if (length == 0 || preallocation == BYRE_PREALLOCATION_OFF ||
        preallocation == BYRE_PREALLOCATION_METADATA)
        return BYRE_OK;

    /* Only a file does it, and that has been cut: its space reads as zeroes. */
    if (preallocation == BYRE_PREALLOCATION_FALLOC) {
        r = file_store_preallocate(filler->store, offset, length, &why);
        if (r != BYRE_E_UNSUPPORTED) {
            if (r < 0 && err != NULL)
                *err = why;
            return r;
        }
    }
    return write_zeroes(filler, offset, length, err);
}

int filler_words(struct filler *filler, uint64_t offset, uint64_t area_bytes,
                 uint64_t count,
                 uint64_t (*word)(const void *user, uint64_t index),
                 const void *user, struct byre_error *err)
{
    const uint64_t words_bytes = count * WORD_BYTES;
    uint64_t index = 0;
    int r;

    while (index < count) {
        const uint64_t start = index;
        const uint64_t end =
            min_u64(count, start + FILLER_BUFFER_BYTES / WORD_BYTES);

        for (; index < end; index++)
            be64_put(filler->buffer + (index - start) * WORD_BYTES,
                     word(user, index));
        r = store_write(filler->store, offset + start * WORD_BYTES,
                        filler->buffer, (size_t)(end - start) * WORD_BYTES,
                        err);
        if (r < 0)
            return r;
    }
    return filler_zero(filler, offset + words_bytes, area_bytes - words_bytes,
                       err);
}

int filler_finish(struct filler *filler, const uint8_t *head, size_t length,
                  struct byre_error *err)
{
    const size_t first = (size_t)min_u64(length, FILLER_SECTOR_BYTES);
    int r;

    r = filler_write(filler, first, head + first, length - first, err);
    if (r == BYRE_OK)
        r = filler_barrier(filler, err);
    if (r == BYRE_OK)
        r = filler_write(filler, 0, head, first, err);
    if (r == BYRE_OK)
        r = filler_barrier(filler, err);
    return r;
}

void filler_wipe(struct byre_store *store)
{
    static const uint8_t zeroes[FILLER_SECTOR_BYTES];
    uint64_t left_bytes = 0;

    if (cut(store, &left_bytes, NULL) < 0 || left_bytes > 0)
        store_write(store, 0, zeroes, sizeof(zeroes), NULL);
}
