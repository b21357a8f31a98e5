/* SPDX-License-Identifier: MIT */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "byre.h"

/*
 * Decodes the character at `p`: its length in bytes, and the code point; 0 if
 * it is no valid UTF-8.  (RFC 3629, except that surrogates pass.)
 */
static size_t decode_character(const uint8_t *p, uint32_t *ret_code_point)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    const size_t length = p[0] < 0x80             ? 1
                          : (p[0] & 0xe0) == 0xc0 ? 2
                          : (p[0] & 0xf0) == 0xe0 ? 3
                          : (p[0] & 0xf8) == 0xf0 ? 4
                                                  : 0;
    uint32_t code_point = length < 2 ? p[0] : p[0] & (0x7fu >> length);

    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code_point = code_point << 6 | (p[i] & 0x3fu);
    }
    if (length == 0 || code_point < least[length] || code_point > 0x10ffff)
        return 0;
    *ret_code_point = code_point;
    return length;
}

static bool is_plain(uint32_t c)
{
    const bool control = c < 0x20 || (c >= 0x7f && c < 0xa0);
    const bool breaks_line = c == 0x2028 || c == 0x2029;
    const bool turns =
        (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);

    return !control && !breaks_line && !turns;
}

void byre_text_make_plain(char *text)
{
    uint8_t *p = (uint8_t *)text;

    while (*p != '\0') {
        uint32_t code_point = 0;
        size_t length = decode_character(p, &code_point);

        if (length == 0 || !is_plain(code_point)) {
            length = length > 0 ? length : 1;
            memset(p, '?', length);
        }
        p += length;
    }
}
