/* SPDX-License-Identifier: MIT */
#include "crypto/libcrypto.h"

#include <openssl/crypto.h>
#include <openssl/err.h>

#include "base/error.h"

int libcrypto_init(struct libcrypto *library, struct byre_error *err)
{
    struct libcrypto made = { 0 };

    made.context = OSSL_LIB_CTX_new();
    if (made.context == NULL)
        return fail(err, BYRE_E_NOMEM, "out of memory for libcrypto's context");

    /*
     * Named, because libcrypto's implicit choice of it ends as soon as another
     * provider is loaded.
     */
    made.standard = OSSL_PROVIDER_load(made.context, "default");
    if (made.standard == NULL) {
        const int r = fail(err, BYRE_E_UNSUPPORTED,
                           "libcrypto's default provider cannot be loaded: %s",
                           libcrypto_reason());

        libcrypto_done(&made);
        return r;
    }

    *library = made;
    return BYRE_OK;
}

void libcrypto_done(struct libcrypto *library)
{
    if (library->legacy != NULL)
        OSSL_PROVIDER_unload(library->legacy);
    if (library->standard != NULL)
        OSSL_PROVIDER_unload(library->standard);
    OSSL_LIB_CTX_free(library->context);
    *library = (struct libcrypto){ 0 };
}

int libcrypto_add_legacy(struct libcrypto *library, const char *algorithm,
                         struct byre_error *err)
{
    if (library->legacy != NULL)
        return BYRE_OK;

    library->legacy = OSSL_PROVIDER_load(library->context, "legacy");
    if (library->legacy == NULL)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "%s needs libcrypto's legacy provider (legacy.so), which "
                    "cannot be loaded; install it beside libcrypto",
                    algorithm);
    return BYRE_OK;
}

const char *libcrypto_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());

    return reason != NULL ? reason : "no reason given";
}
