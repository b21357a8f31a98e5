/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "size.h"

#define SECTOR_SIZE 512

int io_split(char *line, char **ret_words, int capacity)
{
    static const char blanks[] = " \t";
    char *rest = NULL;
    int count = 0;

    for (char *word = strtok_r(line, blanks, &rest); word != NULL;
         word = strtok_r(NULL, blanks, &rest)) {
        if (count == capacity)
            return -1;
        ret_words[count++] = word;
    }
    return count;
}

bool io_parse_number(const char *text, uint64_t *ret_number)
{
    const int r = size_parse(text, ret_number);

    if (r == -ERANGE)
        print_line(stdout, "Parsing error: argument too large -- %s", text);
    else if (r < 0)
        print_line(stdout,
                   "Parsing error: non-numeric argument, or "
                   "extraneous/unrecognized suffix -- %s",
                   text);
    return r == 0;
}

bool io_parse_pattern(const char *text, uint8_t *ret_pattern)
{
    char *end;
    const long value = strtol(text, &end, 0);

    if (end == text || *end != '\0' || value < 0 || value > UINT8_MAX) {
        print_line(stdout, "%s is not a valid pattern byte", text);
        return false;
    }
    *ret_pattern = (uint8_t)value;
    return true;
}

bool io_is_sector_aligned(uint64_t number, const char *what)
{
    if (number % SECTOR_SIZE == 0)
        return true;
    printf("%" PRIu64 " is not a sector-aligned value for '%s'\n", number,
           what);
    return false;
}
