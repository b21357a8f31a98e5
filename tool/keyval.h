/* SPDX-License-Identifier: MIT */
/*
 * Lists of "key=value,key=value" as options carry them.  A comma inside a value
 * is doubled.
 */
#ifndef TOOL_KEYVAL_H
#define TOOL_KEYVAL_H

#include <stddef.h>

#include <jansson.h>

#define KEYVAL_MESSAGE_SIZE 256

/*
 * Copies the first element of the list `text` into `element`, which has room
 * for all of the list, with doubled commas made single.  Returns what follows
 * its comma.
 */
const char *keyval_next(const char *text, char *element);

/*
 * Parses `text` into an object of strings, in its order, the last of equal keys
 * winning.  A first element without '=' is the value of `implied_key`, if that
 * is not NULL.  Returns NULL and fills `message` if the text is malformed.
 */
json_t *keyval_parse(const char *text, const char *implied_key,
                     char message[KEYVAL_MESSAGE_SIZE]);

/*
 * The "json:{...}" name that says the same as the list `text` of --image-opts.
 * The caller frees it.  Returns NULL and fills `message` on failure.
 */
char *keyval_to_json_name(const char *text, char message[KEYVAL_MESSAGE_SIZE]);

#endif /* TOOL_KEYVAL_H */
