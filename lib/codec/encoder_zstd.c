/* SPDX-License-Identifier: MIT */
/*
 * One zstd frame a cluster.  QEMU's reader takes what follows a frame for the
 * next one only while bytes are missing, so that the frame needs no end mark.
 */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "codec/encoder_ops.h"

#if BYRE_HAVE_ZSTD

#include <zstd.h>
#include <zstd_errors.h>

/*
 * Frames are made in a place of their own: zstd in one call asks for more room
 * than its result takes, by up to 3 % of the cluster, and gives up what would
 * have fit.
 */
struct zstd_state {
    ZSTD_CCtx *context;
    uint8_t *frame;
    size_t frame_capacity;
};

static int check_level(int level, struct byre_error *err)
{
    if (level >= ZSTD_minCLevel() && level <= ZSTD_maxCLevel())
        return BYRE_OK;
    return fail(err, BYRE_E_INVALID,
                "zstd has no level %d; it has %d to %d, and 0 for its default",
                level, ZSTD_minCLevel(), ZSTD_maxCLevel());
}

/* Said although they are the library's defaults: the format wants them. */
static int set_parameters(ZSTD_CCtx *context, int level, struct byre_error *err)
{
    const struct {
        ZSTD_cParameter parameter;
        int value;
    } parameters[] = {
        { ZSTD_c_compressionLevel, level != 0 ? level : ZSTD_CLEVEL_DEFAULT },
        { ZSTD_c_contentSizeFlag, 1 },
        { ZSTD_c_checksumFlag, 0 },
    };

    for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++) {
        const size_t r = ZSTD_CCtx_setParameter(
            context, parameters[i].parameter, parameters[i].value);

        if (ZSTD_isError(r))
            return fail(err, BYRE_E_UNSUPPORTED, "zstd refuses level %d: %s",
                        level, ZSTD_getErrorName(r));
    }
    return BYRE_OK;
}

static void zstd_done(void *state)
{
    struct zstd_state *zstd = state;

    ZSTD_freeCCtx(zstd->context);
    free(zstd->frame);
    free(zstd);
}

static int zstd_init(int level, void **ret_state, struct byre_error *err)
{
    struct zstd_state *zstd;
    int r;

    r = check_level(level, err);
    if (r < 0)
        return r;
    zstd = calloc(1, sizeof(*zstd));
    if (zstd == NULL)
        return fail_nomem(err, "a zstd encoder", sizeof(*zstd));

    zstd->context = ZSTD_createCCtx();
    r = zstd->context != NULL
            ? set_parameters(zstd->context, level, err)
            : fail(err, BYRE_E_NOMEM, "out of memory for zstd");
    if (r < 0) {
        zstd_done(zstd);
        return r;
    }
    *ret_state = zstd;
    return BYRE_OK;
}

/* Clusters of one image have one size, so that this allocates once. */
static int prepare_frame(struct zstd_state *zstd, size_t capacity,
                         struct byre_error *err)
{
    if (zstd->frame_capacity >= capacity)
        return BYRE_OK;
    free(zstd->frame);
    zstd->frame_capacity = 0;
    zstd->frame = malloc(capacity);
    if (zstd->frame == NULL)
        return fail_nomem(err, "a zstd frame", capacity);
    zstd->frame_capacity = capacity;
    return BYRE_OK;
}

static int zstd_run(void *state, const void *input, size_t input_bytes,
                    void *output, size_t capacity, struct byre_error *err)
{
    struct zstd_state *zstd = state;
    size_t made;
    int r;

    r = prepare_frame(zstd, ZSTD_compressBound(input_bytes), err);
    if (r < 0)
        return r;

    made = ZSTD_compress2(zstd->context, zstd->frame, zstd->frame_capacity,
                          input, input_bytes);
    if (ZSTD_getErrorCode(made) == ZSTD_error_memory_allocation)
        return fail(err, BYRE_E_NOMEM, "out of memory for zstd");
    if (ZSTD_isError(made))
        return fail(err, BYRE_E_UNSUPPORTED,
                    "zstd cannot compress a cluster of %zu bytes: %s",
                    input_bytes, ZSTD_getErrorName(made));
    if (made > capacity)
        return 0;
    memcpy(output, zstd->frame, made);
    return (int)made;
}

const struct encoder_ops encoder_zstd_ops = {
    .init = zstd_init,
    .run = zstd_run,
    .done = zstd_done,
};

#else

static int zstd_init(int level, void **ret_state, struct byre_error *err)
{
    (void)level;
    (void)ret_state;
    return fail(err, BYRE_E_UNSUPPORTED,
                "this build has no zstd, so zstd-compressed clusters cannot "
                "be written");
}

/* Nothing comes past init. */
const struct encoder_ops encoder_zstd_ops = { .init = zstd_init };

#endif
