/* SPDX-License-Identifier: MIT */
#include "write_run.h"

#define PIECE_BYTES ((size_t)4096)

enum {
    OP_WRITE,
    OP_ZERO,
    OP_DISCARD,
    OP_FLUSH,
    OP_RESIZE,
    OP_READ,
    OP_WRITE_COMPRESSED,
    OP_REOPEN,
    OP_KIND = 0x07,
    OP_MAY_UNMAP = 0x08,
    OP_FUA = 0x10,
    OP_WHOLE_CLUSTERS = 0x20,
    OP_FROM_END = 0x40,
    OP_FAR = 0x80
};

struct op {
    unsigned kind;
    unsigned flags;
    uint64_t offset;
    uint64_t length;
    uint8_t pattern;
    uint8_t choice;
};

/* Refusals that say nothing about the image or its store. */
static bool is_trouble(int r)
{
    return r < 0 && r != BYRE_E_INVALID && r != BYRE_E_UNSUPPORTED &&
           r != BYRE_E_POLICY && r != BYRE_E_LIMIT;
}

static void note_result(struct write_run *run, int r,
                        const struct byre_error *err)
{
    fuzz_check_result(r, err);
    if (is_trouble(r))
        run->trouble = true;
}

bool write_run_stores_failed(const struct write_run *run)
{
    return run->image.failed || run->data.failed;
}

/* ---- Reading ---- */

static void read_piece(struct write_run *run, uint64_t offset, size_t length,
                       bool discarded)
{
    uint8_t *buf = fuzz_alloc(length);
    struct byre_error err;
    const int r = byre_read(run->img, offset, buf, length, &err);

    fuzz_check_result(r, &err);
    if (run->sound && r < 0) {
        FUZZ_ASSERT(write_run_stores_failed(run) ||
                    !model_knows(&run->model, offset, length));
    } else if (run->sound && discarded) {
        model_compare_discarded(&run->model, offset, buf, length);
        model_set(&run->model, offset, length, buf);
    } else if (run->sound) {
        model_compare(&run->model, offset, buf, length);
        model_set(&run->model, offset, length, buf);
    }
    free(buf);
}

/* In pieces, so that one bad cluster does not hide the rest. */
static void read_range(struct write_run *run, uint64_t offset, uint64_t length,
                       bool discarded)
{
    while (length > 0) {
        const uint64_t most = PIECE_BYTES - offset % PIECE_BYTES;
        const size_t n = (size_t)(length < most ? length : most);

        read_piece(run, offset, n, discarded);
        offset += n;
        length -= n;
    }
}

void write_run_read_window(struct write_run *run)
{
    read_range(run, 0, model_clip(0, run->size_bytes), false);
}

/* ---- Operations ---- */

static struct op take_op(struct fuzz_input *input)
{
    const unsigned first = (unsigned)fuzz_take(input, 1);
    struct op op = { .kind = first & OP_KIND,
                     .flags = first & ~(OP_KIND + 0u) };

    op.offset = fuzz_take(input, 3);
    op.length = fuzz_take(input, 2);
    op.pattern = (uint8_t)fuzz_take(input, 1);
    op.choice = (uint8_t)fuzz_take(input, 1);
    return op;
}

/* Moves the range into the disk, as it is now. */
static void place_op(const struct write_run *run, struct op *op)
{
    const uint64_t size = run->size_bytes;
    const uint64_t mask = run->cluster_bytes - 1;

    if (op->flags & OP_FAR)
        op->offset <<= 20;
    op->offset = size > 0 ? op->offset % size : 0;
    if (size > 0 && (op->flags & OP_FROM_END))
        op->offset = size - 1 - op->offset;
    if ((op->flags & OP_WHOLE_CLUSTERS) && run->cluster_bytes <= WINDOW_BYTES) {
        op->length += (op->offset & mask) + mask;
        op->offset &= ~mask;
        op->length &= ~mask;
    }
    if (op->length > size - op->offset)
        op->length = size - op->offset;
}

/* One that compresses well, zeroes, or one that does not compress. */
static void fill(uint8_t *buf, size_t length, uint64_t offset, uint8_t pattern)
{
    uint32_t state = pattern * UINT32_C(2654435761) + (uint32_t)offset + 1;

    for (size_t i = 0; i < length; i++) {
        state = state * 1664525 + 1013904223;
        if (pattern & 1)
            buf[i] = (uint8_t)(pattern + i / 64);
        else
            buf[i] = pattern == 0 ? 0 : (uint8_t)(state >> 24);
    }
}

static void run_write(struct write_run *run, const struct op *op)
{
    uint8_t *buf = fuzz_alloc((size_t)op->length);
    struct byre_error err;
    uint32_t flags = op->flags & OP_FUA ? BYRE_WRITE_FUA : 0;
    int r;

    if (op->kind == OP_WRITE_COMPRESSED)
        flags |= BYRE_WRITE_COMPRESSED;
    fill(buf, (size_t)op->length, op->offset, op->pattern);
    r = byre_write(run->img, op->offset, buf, (size_t)op->length, flags, &err);
    note_result(run, r, &err);
    if (r == BYRE_OK)
        model_set(&run->model, op->offset, op->length, buf);
    else
        model_forget(&run->model, op->offset, op->length);
    free(buf);
}

static void run_zero(struct write_run *run, const struct op *op)
{
    const uint64_t length =
        op->choice & 1 ? (op->length << 8 | 0xff) : op->length;
    const uint64_t most = run->size_bytes - op->offset;
    const uint64_t n = length < most ? length : most;
    struct byre_error err;
    uint32_t flags = op->flags & OP_FUA ? BYRE_WRITE_FUA : 0;
    int r;

    if (op->flags & OP_MAY_UNMAP)
        flags |= BYRE_WRITE_MAY_UNMAP;
    if (op->choice & 2)
        flags |= BYRE_WRITE_FAST_ZERO;
    r = byre_zero(run->img, op->offset, n, flags, &err);
    note_result(run, r, &err);
    if (r == BYRE_OK)
        model_set(&run->model, op->offset, n, NULL);
    else
        model_forget(&run->model, op->offset, n);
}

static void run_discard(struct write_run *run, const struct op *op)
{
    struct byre_error err;
    const uint32_t flags = op->flags & OP_FUA ? BYRE_WRITE_FUA : 0;
    const int r = byre_discard(run->img, op->offset, op->length, flags, &err);

    note_result(run, r, &err);
    if (r < 0)
        model_forget(&run->model, op->offset, op->length);
    else
        read_range(run, op->offset, model_clip(op->offset, op->length), true);
}

uint64_t write_run_disk_size(struct byre *img)
{
    struct byre_info info = BYRE_INFO_INIT;

    FUZZ_ASSERT(byre_get_info(img, &info, NULL) == BYRE_OK);
    FUZZ_ASSERT(info.virtual_size_bytes <= INT64_MAX);
    return info.virtual_size_bytes;
}

static void run_resize(struct write_run *run, uint64_t units,
                       const struct op *op)
{
    const uint64_t before = run->size_bytes;
    const uint64_t size = (op->flags & OP_FAR ? units << 20 : units & 0xffff)
                          << 9;
    const uint32_t flags = op->flags & OP_FUA ? 0 : BYRE_RESIZE_SHRINK;
    struct byre_error err;
    const int r = byre_resize(run->img, size, flags, op->choice & 3, &err);
    uint64_t least;

    note_result(run, r, &err);
    run->size_bytes = write_run_disk_size(run->img);
    FUZZ_ASSERT(r < 0 || run->size_bytes == size);
    least = before < run->size_bytes ? before : run->size_bytes;
    if (r == BYRE_OK)
        model_set(&run->model, least, WINDOW_BYTES, NULL);
    else if (is_trouble(r))
        model_forget(&run->model, least < size ? least : size, WINDOW_BYTES);
}

static void run_flush(struct write_run *run)
{
    struct byre_error err;
    const int r = byre_flush(run->img, &err);

    note_result(run, r, &err);
}

/* ---- Opening and closing ---- */

static int open_image(struct write_run *run, struct byre_error *err)
{
    const int r = byre_open_store(run->image_store, "fuzz.img", &run->options,
                                  &run->img, err);

    fuzz_check_result(r, err);
    FUZZ_ASSERT((run->img != NULL) == (r == BYRE_OK));
    if (r == BYRE_OK)
        run->size_bytes = write_run_disk_size(run->img);
    return r;
}

/* Stops the program if the image had to open. */
static void check_refusal(const struct write_run *run, bool wrong,
                          const struct byre_error *err)
{
    if (!wrong || write_run_stores_failed(run))
        return;
    fprintf(stderr, "%s\n", err->message);
    FUZZ_ASSERT(write_run_stores_failed(run));
}

/* A sound image is not corrupt, whatever else may be wrong with it. */
bool write_run_open(struct write_run *run)
{
    struct byre_error err;
    const int r = open_image(run, &err);

    check_refusal(run, run->sound && r == BYRE_E_CORRUPT, &err);
    return r == BYRE_OK;
}

void write_run_close(struct write_run *run)
{
    struct byre_error err;
    const int r = byre_close(run->img, &err);

    run->img = NULL;
    note_result(run, r, &err);
    if (run->trouble)
        model_forget(&run->model, 0, WINDOW_BYTES);
}

bool write_run_reopen(struct write_run *run)
{
    const bool must = (run->sound || !run->trouble) && !run->guessed;
    struct byre_error err;
    int r;

    checked_store_heal(&run->image);
    checked_store_heal(&run->data);
    run->trouble = false;
    r = open_image(run, &err);
    check_refusal(run, must && r < 0, &err);
    return r == BYRE_OK;
}

/* ---- The script ---- */

static void run_op(struct write_run *run, struct op *op)
{
    const uint64_t units = op->offset;

    place_op(run, op);
    switch (op->kind) {
    case OP_WRITE:
    case OP_WRITE_COMPRESSED:
        run_write(run, op);
        break;
    case OP_ZERO:
        run_zero(run, op);
        break;
    case OP_DISCARD:
        run_discard(run, op);
        break;
    case OP_RESIZE:
        run_resize(run, units, op);
        break;
    case OP_READ:
        read_range(run, op->offset, op->length, false);
        break;
    default:
        run_flush(run);
        break;
    }
}

bool write_run_script(struct write_run *run, struct fuzz_input *script)
{
    while (script->left > 0) {
        struct op op = take_op(script);

        if (op.kind == OP_REOPEN) {
            write_run_close(run);
            if (!write_run_reopen(run))
                return false;
        } else {
            run_op(run, &op);
        }
    }
    return true;
}
