/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "image/image.h"

int check_disk_range(const struct byre *img, uint64_t offset, uint64_t length,
                     struct byre_error *err)
{
    if (img == NULL)
        return fail(err, BYRE_E_INVALID, "an image is required");
    if (img->metadata_only)
        return fail(err, BYRE_E_STATE,
                    "the image was opened for its description only");
    if (img->check_only)
        return fail(err, BYRE_E_STATE, "the image was opened to be checked");
    if (!range_within(offset, length, img->engine->size_bytes))
        return fail(err, BYRE_E_INVALID,
                    "%llu bytes at %llu end past the disk's %llu bytes",
                    (unsigned long long)length, (unsigned long long)offset,
                    (unsigned long long)img->engine->size_bytes);
    return BYRE_OK;
}

/* Whether the image leaves the answer to the one below it. */
static bool falls_through(enum l2_kind kind)
{
    return kind == L2_UNALLOCATED || kind == L2_RESERVED;
}

/* ---- Gates ---- */

void chain_enter_next(struct chain_pass *pass, struct byre *img)
{
    const struct gate_pass entered = gate_enter(&img->engine->gate);
    const uint32_t i = pass->entered++;

    if (i % 64 == 0)
        pass->parities[i / 64] = 0;
    pass->parities[i / 64] |= (uint64_t)entered.parity << (i % 64);
    pass->stripe = entered.stripe;
    pass->images[i] = img;
}

void chain_enter(struct chain_pass *pass, struct byre *top)
{
    pass->top = top;
    pass->entered = 0;
    if (top != NULL)
        chain_enter_next(pass, top);
}

/* From the lowest up: who closes the gate of an image and is alone may free
   what was below it. */
void chain_leave(struct chain_pass *pass)
{
    while (pass->entered > 0) {
        const uint32_t i = --pass->entered;
        const struct gate_pass entered = {
            .stripe = pass->stripe,
            .parity = (unsigned)(pass->parities[i / 64] >> (i % 64) & 1),
        };

        gate_leave(&pass->images[i]->engine->gate, entered);
    }
}

/* ---- Mapping and reading ---- */

int chain_map(struct chain_pass *pass, uint64_t offset, uint64_t length,
              bool shallow, struct chain_mapping *ret, struct byre_error *err)
{
    struct chain_mapping chain = { .image = pass->top };
    int r;

    for (;;) {
        struct byre *backing = chain.image->backing;
        uint64_t backing_bytes;

        r = chain.image->engine->ops->map(chain.image->engine, offset, length,
                                          &chain.mapping, err);
        if (r < 0) {
            error_prefix(err, "%s", chain.image->name);
            return r;
        }
        assert(chain.mapping.length > 0 && chain.mapping.length <= length);
        if (!falls_through(chain.mapping.kind) || backing == NULL || shallow)
            break;

        if (chain.depth + 1 == pass->entered)
            chain_enter_next(pass, backing);
        length = chain.mapping.length;
        backing_bytes = backing->engine->size_bytes;
        if (offset >= backing_bytes)
            break;
        length = min_u64(length, backing_bytes - offset);
        chain.image = backing;
        chain.depth++;
    }
    *ret = chain;
    return BYRE_OK;
}

int chain_read(const struct chain_mapping *chain, uint64_t offset, void *buf,
               size_t length, struct byre_error *err)
{
    struct engine *engine = chain->image->engine;
    int r;

    switch (chain->mapping.kind) {
    case L2_UNALLOCATED:
    case L2_RESERVED:
    case L2_ZERO:
    case L2_ZERO_ALLOC:
        memset(buf, 0, length);
        return BYRE_OK;
    case L2_DATA:
    case L2_COMPRESSED:
    case L2_INVALID:
        break;
    }

    r = engine->ops->read(engine, &chain->mapping, offset, buf, length, err);
    if (r < 0)
        error_prefix(err, "%s", chain->image->name);
    return r;
}

struct gate_pass image_enter(struct byre *img)
{
    const struct gate_pass none = { 0 };

    return img != NULL ? gate_enter(&img->engine->gate) : none;
}

void image_leave(struct byre *img, struct gate_pass pass)
{
    if (img != NULL)
        gate_leave(&img->engine->gate, pass);
}

static int read_range(struct chain_pass *pass, uint64_t offset, uint8_t *p,
                      size_t length, struct byre_error *err)
{
    while (length > 0) {
        struct chain_mapping chain;
        size_t n;
        int r;

        r = chain_map(pass, offset, length, false, &chain, err);
        if (r < 0)
            return r;

        n = (size_t)chain.mapping.length;
        r = chain_read(&chain, offset, p, n, err);
        if (r < 0)
            return r;
        p += n;
        offset += n;
        length -= n;
    }
    return BYRE_OK;
}

int image_read_past_end(struct byre *img, uint64_t offset, void *buf,
                        size_t length, struct byre_error *err)
{
    struct chain_pass pass;
    uint64_t end;
    size_t n;
    int r;

    chain_enter(&pass, img);
    end = img->engine->size_bytes;
    n = offset < end ? (size_t)min_u64(length, end - offset) : 0;
    memset((uint8_t *)buf + n, 0, length - n);
    r = read_range(&pass, offset, buf, n, err);
    chain_leave(&pass);
    return r;
}

int byre_read(struct byre *img, uint64_t offset, void *buf, size_t length,
              struct byre_error *err)
{
    struct chain_pass pass;
    int r;

    chain_enter(&pass, img);
    r = check_disk_range(img, offset, length, err);
    if (r == BYRE_OK && buf == NULL && length > 0)
        r = fail(err, BYRE_E_INVALID, "a buffer is required");
    if (r == BYRE_OK)
        r = read_range(&pass, offset, buf, length, err);
    chain_leave(&pass);
    return r;
}
