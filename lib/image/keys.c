/* SPDX-License-Identifier: MIT */
/*
 * The calls on the passphrases of an image.
 */
#include "base/error.h"
#include "image/image.h"

static int check_call(const struct byre *img, uint32_t flags,
                      struct byre_error *err)
{
    if (img == NULL)
        return fail(err, BYRE_E_INVALID, "an image is required");
    if (flags & ~BYRE_KEY_FORCE)
        return fail(err, BYRE_E_INVALID, "unknown flags 0x%x for keys",
                    flags & ~BYRE_KEY_FORCE);
    if (img->engine->ops->key_add == NULL)
        return fail(err, BYRE_E_STATE,
                    "%s: the image is not encrypted with LUKS, which alone has "
                    "key slots",
                    img->name);
    return BYRE_OK;
}

static int check_passphrase(const void *passphrase, size_t bytes,
                            struct byre_error *err)
{
    if (passphrase == NULL && bytes > 0)
        return fail(err, BYRE_E_INVALID, "a passphrase is required");
    return BYRE_OK;
}

int byre_key_add(struct byre *img, uint32_t slot, const void *passphrase,
                 size_t passphrase_bytes, uint64_t iter_time_msec,
                 uint32_t flags, struct byre_error *err)
{
    int r;

    r = check_call(img, flags, err);
    if (r == BYRE_OK)
        r = check_passphrase(passphrase, passphrase_bytes, err);
    if (r < 0)
        return r;

    r = image_change_begin(img, err);
    if (r < 0)
        return r;
    r = img->engine->ops->key_add(img->engine, slot, passphrase,
                                  passphrase_bytes, iter_time_msec, flags, err);
    return image_change_end(img, r, err);
}

int byre_key_erase(struct byre *img, uint32_t slot, uint32_t flags,
                   struct byre_error *err)
{
    int r;

    r = check_call(img, flags, err);
    if (r < 0)
        return r;

    r = image_change_begin(img, err);
    if (r < 0)
        return r;
    r = img->engine->ops->key_erase(img->engine, slot, flags, err);
    return image_change_end(img, r, err);
}

int byre_key_erase_passphrase(struct byre *img, const void *passphrase,
                              size_t passphrase_bytes, uint32_t flags,
                              struct byre_error *err)
{
    int r;

    r = check_call(img, flags, err);
    if (r == BYRE_OK)
        r = check_passphrase(passphrase, passphrase_bytes, err);
    if (r < 0)
        return r;

    r = image_change_begin(img, err);
    if (r < 0)
        return r;
    r = img->engine->ops->key_erase_passphrase(img->engine, passphrase,
                                               passphrase_bytes, flags, err);
    return image_change_end(img, r, err);
}
