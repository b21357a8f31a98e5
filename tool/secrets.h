/* SPDX-License-Identifier: MIT */
/*
 * The secrets of --object: passphrases by id, given to the library when an
 * image asks for one; and the passphrase of --passphrase-file.  Their bytes are
 * overwritten when they go.  The words of the command line itself are not, nor
 * what the parser of JSON made of them: a secret is better kept in a file.
 */
#ifndef TOOL_SECRETS_H
#define TOOL_SECRETS_H

#include <stdbool.h>
#include <stddef.h>

struct byre_error;

struct secret {
    char *id;
    unsigned char *bytes;
    size_t length;
    size_t written_bytes; /* of `bytes`, to be overwritten: at least length */
};

struct secrets {
    struct secret *items;
    size_t count;
    const char *passphrase_file; /* of images that name no secret, or NULL */
    struct secret passphrase;    /* what was in it, once it was asked for */
};

#define SECRETS_MESSAGE_SIZE 512

void secrets_init(struct secrets *secrets);
void secrets_done(struct secrets *secrets);

/*
 * Adds what one --object argument defines: "secret,id=ID" with "data=TEXT" or
 * "file=NAME" and optionally "format=raw|base64", or the same as a JSON object.
 * Returns false and fills `message` if it cannot be used.
 */
bool secrets_add(struct secrets *secrets, const char *definition,
                 char message[SECRETS_MESSAGE_SIZE]);

/*
 * byre_open_options.get_secret, with a struct secrets as `user`.  The
 * passphrase file is read the first time only, so that it may be a pipe.
 */
int secrets_get(void *user, const char *secret_id, const char *image_name,
                void *buf, size_t capacity, size_t *ret_length,
                struct byre_error *err);

#endif /* TOOL_SECRETS_H */
