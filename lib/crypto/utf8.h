/* SPDX-License-Identifier: MIT */
/*
 * Whether bytes are text: a passphrase that is not could be typed into no other
 * program.
 */
#ifndef BYRE_CRYPTO_UTF8_H
#define BYRE_CRYPTO_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Strict UTF-8 (RFC 3629): shortest forms only, no surrogates, nothing above
 * U+10FFFF; and no zero byte.
 */
bool utf8_is_text(const void *bytes, size_t length);

#endif
