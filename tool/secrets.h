/* SPDX-License-Identifier: MIT */
/*
 * The secrets of --object: passphrases by id, given to the library when an
 * image asks for one.  Their bytes are overwritten when they go.
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
};

struct secrets {
    struct secret *items;
    size_t count;
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

/* byre_open_options.get_secret, with a struct secrets as `user`. */
int secrets_get(void *user, const char *secret_id, const char *image_name,
                void *buf, size_t capacity, size_t *ret_length,
                struct byre_error *err);

#endif /* TOOL_SECRETS_H */
