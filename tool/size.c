/* SPDX-License-Identifier: MIT */
#include "size.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char size_letters[] = "bkmgtpe";

/* The power of two behind a suffix letter, or -1. */
static int suffix_shift(char letter)
{
    const char *found = strchr(size_letters, tolower((unsigned char)letter));

    if (letter == '\0' || found == NULL)
        return -1;
    return (int)(found - size_letters) * 10;
}

/* Moves *text past ".digits" and returns their value below one. */
static double take_fraction(const char **text, bool *ret_present)
{
    double value = 0;
    double scale = 0.1;

    *ret_present = false;
    if (**text != '.')
        return 0;
    for ((*text)++; isdigit((unsigned char)**text); (*text)++) {
        value += scale * (**text - '0');
        scale /= 10;
        *ret_present = true;
    }
    return value;
}

static int parse_hexadecimal(const char *text, uint64_t *ret_size)
{
    char *end;
    unsigned long long value;

    if (!isxdigit((unsigned char)text[2]))
        return -EINVAL;
    errno = 0;
    value = strtoull(text, &end, 16);
    if (*end != '\0')
        return -EINVAL;
    if (errno == ERANGE || value > INT64_MAX)
        return -ERANGE;
    *ret_size = value;
    return 0;
}

int size_parse(const char *text, uint64_t *ret_size)
{
    unsigned long long whole;
    bool has_fraction;
    double fraction;
    uint64_t size;
    char *end;
    const char *rest;
    int shift = 0;

    while (isspace((unsigned char)*text))
        text++;
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
        return parse_hexadecimal(text, ret_size);
    if (*text == '+')
        text++;
    if (!isdigit((unsigned char)*text))
        return -EINVAL;

    errno = 0;
    whole = strtoull(text, &end, 10);
    if (errno == ERANGE)
        return -ERANGE;
    rest = end;
    fraction = take_fraction(&rest, &has_fraction);
    if (*rest != '\0')
        shift = suffix_shift(*rest++);
    if (shift < 0 || *rest != '\0' || (has_fraction && shift == 0))
        return -EINVAL;

    if (whole > ((uint64_t)INT64_MAX >> shift))
        return -ERANGE;
    size = (uint64_t)whole << shift;
    size += (uint64_t)(fraction * (double)(UINT64_C(1) << shift) + 0.5);
    if (size > INT64_MAX)
        return -ERANGE;
    *ret_size = size;
    return 0;
}

bool size_option(const struct tool *tool, const char *what, const char *text,
                 uint64_t *ret_size)
{
    const int r = size_parse(text, ret_size);

    if (r == -ERANGE)
        report(tool, "Invalid %s specified. Must be between 0 and %lld.", what,
               (long long)INT64_MAX);
    else if (r < 0)
        report(tool,
               "Invalid %s specified: '%s' is not a number with one of the "
               "suffixes b, k, M, G, T, P, E",
               what, text);
    return r == 0;
}

const char *size_text(uint64_t size, char buf[SIZE_TEXT_SIZE])
{
    static const char *const prefixes[] = { "",   "Ki", "Mi", "Gi",
                                            "Ti", "Pi", "Ei" };
    double value = (double)size;
    size_t prefix = 0;

    /* Three digits show four only from 1000 on, so the change is there. */
    while (value >= 1000 && prefix + 1 < sizeof(prefixes) / sizeof(*prefixes)) {
        value /= 1024;
        prefix++;
    }
    snprintf(buf, SIZE_TEXT_SIZE, "%0.3g %sB", value, prefixes[prefix]);
    return buf;
}
