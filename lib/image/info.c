/* SPDX-License-Identifier: MIT */
/*
 * The description of an image, for the public API.
 */
#include "base/error.h"
#include "base/sized.h"
#include "config.h"
#include "image/image.h"

const char *byre_version(void)
{
    return BYRE_VERSION_STRING;
}

const char *byre_features(void)
{
    return ""
#if BYRE_HAVE_LIBDEFLATE
           "libdeflate "
#endif
#if BYRE_HAVE_ZSTD
           "zstd "
#endif
#if BYRE_HAVE_CRYPTO
           "crypto "
#endif
#if BYRE_HAVE_JSON
           "json "
#endif
           "zlib";
}

static int require(const void *img, const void *ret, struct byre_error *err)
{
    if (img == NULL || ret == NULL)
        return fail(err, BYRE_E_INVALID,
                    "an image and room for the result are required");
    return BYRE_OK;
}

/* Inside the gate: what changes the image changes much of this. */
static void describe(struct byre *img, struct byre_info *info)
{
    const struct gate_pass pass = image_enter(img);
    struct engine *engine = img->engine;

    info->format = engine->format;
    info->name = img->name;
    info->path = img->path;
    info->protocol = img->store->protocol;
    info->virtual_size_bytes = engine->size_bytes;
    info->allocated_bytes = store_allocated_bytes(img->store);
    info->cluster_size_bytes =
        engine->cluster_bits != 0 ? engine_cluster_bytes(engine) : 0;
    info->encryption = engine->encryption;
    if (engine->encryption != BYRE_ENCRYPTION_NONE)
        info->flags |= BYRE_INFO_ENCRYPTED;
    info->backing_name = engine->backing_name;
    info->backing_format = engine->backing_format;
    info->backing_resolved = img->backing_resolved;
    info->data_file = engine->data_file_name;
    if (engine->ops->describe != NULL)
        engine->ops->describe(engine, info);
    image_leave(img, pass);
}

int byre_get_info(struct byre *img, struct byre_info *ret_info,
                  struct byre_error *err)
{
    struct byre_info info = BYRE_INFO_INIT;
    int r;

    r = require(img, ret_info, err);
    if (r < 0)
        return r;

    r = store_get_size(img->store, &info.file_size_bytes, err);
    if (r < 0)
        return r;

    describe(img, &info);
    return sized_copy_out(&info, sizeof(info), ret_info, "struct byre_info",
                          err);
}

struct byre *byre_get_backing(struct byre *img)
{
    return img != NULL ? img->backing : NULL;
}

int byre_get_luks_info(struct byre *img, struct byre_luks_info *ret_info,
                       struct byre_error *err)
{
    struct byre_luks_info info = BYRE_LUKS_INFO_INIT;
    struct gate_pass pass;
    int r;

    r = require(img, ret_info, err);
    if (r < 0)
        return r;
    if (img->engine->encryption != BYRE_ENCRYPTION_LUKS)
        return fail(err, BYRE_E_STATE, "the image is not encrypted with LUKS");

    pass = image_enter(img);
    r = img->engine->ops->luks_info(img->engine, &info, err);
    image_leave(img, pass);
    if (r < 0)
        return r;
    return sized_copy_out(&info, sizeof(info), ret_info,
                          "struct byre_luks_info", err);
}

int byre_snapshot_list(struct byre *img, const struct byre_snapshot **ret_list,
                       size_t *ret_count, struct byre_error *err)
{
    struct gate_pass pass;
    int r;

    r = require(img, ret_list, err);
    if (r == BYRE_OK)
        r = require(img, ret_count, err);
    if (r < 0)
        return r;
    if (img->engine->ops->snapshots == NULL) {
        *ret_list = NULL;
        *ret_count = 0;
        return BYRE_OK;
    }
    pass = image_enter(img);
    r = img->engine->ops->snapshots(img->engine, ret_list, ret_count, err);
    image_leave(img, pass);
    return r;
}
