/* SPDX-License-Identifier: MIT */
/*
 * Sizes in the option tree of a name: numbers, or the text of a command line.
 */
#ifndef BYRE_IMAGE_SIZE_TEXT_H
#define BYRE_IMAGE_SIZE_TEXT_H

#include <jansson.h>

#include "byre.h"

/* "4096", "0x1000", "4k", or the number; `key` is for the message. */
int size_text_take(const json_t *value, const char *key, uint64_t *ret_bytes,
                   struct byre_error *err);

#endif
