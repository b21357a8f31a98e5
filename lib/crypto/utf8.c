/* SPDX-License-Identifier: MIT */
#include "crypto/utf8.h"

#include <stdint.h>

/*
 * The characters that a lead byte begins: how long they are, and what their
 * second byte may be.  That byte alone keeps long forms, surrogates and too
 * high numbers out; all later bytes are 0x80 to 0xbf.
 */
struct lead {
    uint8_t first, last; /* the lead bytes */
    uint8_t length;
    uint8_t second_first, second_last;
};

/* clang-format off */
static const struct lead leads[] = { /* RFC 3629, section 4 */
    { 0x01, 0x7f, 1, 0,    0    },
    { 0xc2, 0xdf, 2, 0x80, 0xbf },
    { 0xe0, 0xe0, 3, 0xa0, 0xbf },
    { 0xe1, 0xec, 3, 0x80, 0xbf },
    { 0xed, 0xed, 3, 0x80, 0x9f },
    { 0xee, 0xef, 3, 0x80, 0xbf },
    { 0xf0, 0xf0, 4, 0x90, 0xbf },
    { 0xf1, 0xf3, 4, 0x80, 0xbf },
    { 0xf4, 0xf4, 4, 0x80, 0x8f },
};
/* clang-format on */

static const struct lead *find_lead(uint8_t byte)
{
    for (size_t i = 0; i < sizeof(leads) / sizeof(leads[0]); i++) {
        if (byte >= leads[i].first && byte <= leads[i].last)
            return &leads[i];
    }
    return NULL;
}

/* The length of the character at `p`, or 0 if there is none within `left`. */
static size_t character_length(const uint8_t *p, size_t left)
{
    const struct lead *lead = find_lead(p[0]);

    if (lead == NULL || lead->length > left)
        return 0;
    if (lead->length > 1 &&
        (p[1] < lead->second_first || p[1] > lead->second_last))
        return 0;
    for (size_t i = 2; i < lead->length; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    return lead->length;
}

bool utf8_is_text(const void *bytes, size_t length)
{
    const uint8_t *p = bytes;
    size_t done = 0;

    while (done < length) {
        const size_t step = character_length(p + done, length - done);

        if (step == 0)
            return false;
        done += step;
    }
    return true;
}
