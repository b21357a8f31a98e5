/* SPDX-License-Identifier: MIT */
#include "image/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "crypto/hash.h"

/* A pipe is a file too, and gives its bytes once. */
static int read_all(int fd, const char *path, struct secret *secret,
                    struct byre_error *err)
{
    while (secret->length <= SECRET_MAX_BYTES) {
        const ssize_t n = read(fd, secret->bytes + secret->length,
                               SECRET_MAX_BYTES + 1 - secret->length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, errno, "cannot read passphrase file '%s'",
                              path);
        if (n == 0)
            return BYRE_OK;
        secret->length += (size_t)n;
    }
    return fail(err, BYRE_E_LIMIT,
                "passphrase file '%s' has more than the limit of %d bytes",
                path, SECRET_MAX_BYTES);
}

static int read_passphrase_file(const char *path, struct secret *secret,
                                struct byre_error *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    int r;

    if (fd < 0)
        return fail_errno(err, errno, "cannot open passphrase file '%s'", path);
    r = read_all(fd, path, secret, err);
    close(fd);
    return r;
}

static int ask(const struct byre_open_options *opts, const char *secret_id,
               const char *image_name, uint32_t depth, struct secret *secret,
               struct byre_error *err)
{
    int r;

    if (depth == 0 && opts->passphrase_file != NULL)
        return read_passphrase_file(opts->passphrase_file, secret, err);
    if (opts->get_secret == NULL)
        return fail(err, BYRE_E_SECRET,
                    "the image is encrypted and no passphrase is given");

    r = opts->get_secret(opts->user, secret_id, image_name, secret->bytes,
                         SECRET_MAX_BYTES, &secret->length, err);
    if (r == BYRE_OK && secret->length > SECRET_MAX_BYTES)
        return fail(err, BYRE_E_INVALID,
                    "a passphrase has %zu bytes, more than the limit of %d",
                    secret->length, SECRET_MAX_BYTES);
    return r;
}

int secret_get(const struct byre_open_options *opts, const char *secret_id,
               const char *image_name, uint32_t depth,
               struct secret *ret_secret, struct byre_error *err)
{
    struct byre_error scratch;
    struct secret secret = { .bytes = malloc(SECRET_MAX_BYTES + 1) };
    int r;

    if (secret.bytes == NULL)
        return fail_nomem(err, "a passphrase", SECRET_MAX_BYTES + 1);

    r = ask(opts, secret_id, image_name, depth, &secret,
            err != NULL ? err : &scratch);
    if (r < 0) {
        secret_done(&secret);
        return r;
    }
    *ret_secret = secret;
    return BYRE_OK;
}

void secret_done(struct secret *secret)
{
    if (secret->bytes != NULL)
        secret_wipe(secret->bytes, SECRET_MAX_BYTES + 1);
    free(secret->bytes);
}
