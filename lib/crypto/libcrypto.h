/* SPDX-License-Identifier: MIT */
/*
 * A libcrypto context of our own.  The process that this library is part of
 * may have its own providers, properties and configuration: they are neither
 * used nor changed, and what they hold back (md5, cast5) still reads an image.
 */
#ifndef BYRE_CRYPTO_LIBCRYPTO_H
#define BYRE_CRYPTO_LIBCRYPTO_H

#include <openssl/provider.h>
#include <openssl/types.h>

#include "byre.h"

struct libcrypto {
    OSSL_LIB_CTX *context;
    OSSL_PROVIDER *standard; /* the provider called "default" */
    OSSL_PROVIDER *legacy;   /* NULL until libcrypto_add_legacy() */
};

/* Release with libcrypto_done(), after everything that was fetched from it. */
int libcrypto_init(struct libcrypto *library, struct byre_error *err);

/* Releases one that is half-made, or zeroed, too. */
void libcrypto_done(struct libcrypto *library);

/*
 * Loads the legacy provider, for the sake of `algorithm`; where there is none,
 * BYRE_E_UNSUPPORTED.
 */
int libcrypto_add_legacy(struct libcrypto *library, const char *algorithm,
                         struct byre_error *err);

/* Why libcrypto's last call in this thread failed, in its own words. */
const char *libcrypto_reason(void);

#endif
