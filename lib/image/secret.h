/* SPDX-License-Identifier: MIT */
/*
 * Passphrases, from where the caller keeps them.
 */
#ifndef BYRE_IMAGE_SECRET_H
#define BYRE_IMAGE_SECRET_H

#include "byre.h"

/* The longest passphrase that is taken. */
#define SECRET_MAX_BYTES 65536

struct secret {
    uint8_t *bytes;
    size_t length;
};

/*
 * Asks for the passphrase of `image_name`: of the passphrase file if it is the
 * top image and one is given, else of the callback.  BYRE_E_SECRET if there is
 * neither.  Release it with secret_done().
 */
int secret_get(const struct byre_open_options *opts, const char *secret_id,
               const char *image_name, uint32_t depth,
               struct secret *ret_secret, struct byre_error *err);

/* Wipes and frees. */
void secret_done(struct secret *secret);

#endif
