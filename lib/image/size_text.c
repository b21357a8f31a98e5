/* SPDX-License-Identifier: MIT */
#include "config.h"

#if BYRE_HAVE_JSON

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "image/size_text.h"

/* The power of two a size's suffix stands for, as QEMU's; -1: none. */
static int suffix_bits(const char *suffix)
{
    static const char letters[] = "bKMGTPE";
    const char upper = (char)(suffix[0] == 'b' ? 'b' : toupper(suffix[0]));
    const char *found;

    if (suffix[0] == '\0')
        return 0;
    found = strchr(letters, upper);
    return found != NULL && suffix[1] == '\0' ? (int)(found - letters) * 10
                                              : -1;
}

/* "4096", "0x1000" or "4k": the text of a command line. */
static bool parse_size(const char *text, uint64_t *ret_bytes)
{
    unsigned long long number;
    char *end;
    int bits;

    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    number = strtoull(text, &end,
                      text[0] == '0' && (text[1] | 0x20) == 'x' ? 16 : 10);
    bits = suffix_bits(end);
    if (errno != 0 || bits < 0 || number > UINT64_MAX >> bits)
        return false;
    *ret_bytes = (uint64_t)number << bits;
    return true;
}

/* Numbers come as such, or as text. */
int size_text_take(const json_t *value, const char *key, uint64_t *ret_bytes,
                   struct byre_error *err)
{
    const char *text = json_string_value(value);

    if (json_is_integer(value) && json_integer_value(value) >= 0) {
        *ret_bytes = (uint64_t)json_integer_value(value);
        return BYRE_OK;
    }
    if (text != NULL && parse_size(text, ret_bytes))
        return BYRE_OK;
    return fail(err, BYRE_E_INVALID,
                "json: name: '%s' must be a number of bytes", key);
}

#endif
