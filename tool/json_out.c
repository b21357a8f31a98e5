/* SPDX-License-Identifier: MIT */
#include "json_out.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define REPLACEMENT UINT32_C(0xfffd)

json_t *json_out_string(const char *text)
{
    return json_string_nocheck(text);
}

/* The bytes of a UTF-8 sequence behind its first, and the smallest value that
   needs so many. */
static int continuation_count(unsigned char lead, uint32_t *ret_least)
{
    static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
    int count = -1;

    if (lead < 0x80)
        count = 0;
    else if ((lead & 0xe0) == 0xc0)
        count = 1;
    else if ((lead & 0xf0) == 0xe0)
        count = 2;
    else if ((lead & 0xf8) == 0xf0)
        count = 3;
    *ret_least = count > 0 ? least[count] : 0;
    return count;
}

/* Takes one character off *text; what is not UTF-8 becomes REPLACEMENT. */
static uint32_t take_character(const unsigned char **text)
{
    uint32_t least;
    const unsigned char lead = *(*text)++;
    const int count = continuation_count(lead, &least);
    uint32_t value;

    if (count <= 0)
        return count == 0 ? lead : REPLACEMENT;
    value = lead & (0x3fu >> count);
    for (int i = 0; i < count; i++) {
        if ((**text & 0xc0) != 0x80)
            return REPLACEMENT;
        value = value << 6 | (*(*text)++ & 0x3fu);
    }
    if (value < least || value > 0x10ffff ||
        (value >= 0xd800 && value <= 0xdfff))
        return REPLACEMENT;
    return value;
}

static void print_character(FILE *stream, uint32_t value)
{
    static const char controls[] = "\b\f\n\r\t\"\\";
    static const char names[] = "bfnrt\"\\";
    const char *control =
        value != 0 && value < 0x80 ? strchr(controls, (int)value) : NULL;

    if (control != NULL)
        fprintf(stream, "\\%c", names[control - controls]);
    else if (value >= 0x20 && value < 0x7f)
        fputc((int)value, stream);
    else if (value < 0x10000)
        fprintf(stream, "\\u%04" PRIX32, value);
    else
        fprintf(stream, "\\u%04" PRIX32 "\\u%04" PRIX32,
                0xd800 + ((value - 0x10000) >> 10),
                0xdc00 + ((value - 0x10000) & 0x3ff));
}

static void print_string(FILE *stream, const char *string)
{
    const unsigned char *text = (const unsigned char *)string;

    fputc('"', stream);
    while (*text != '\0')
        print_character(stream, take_character(&text));
    fputc('"', stream);
}

static void print_value(FILE *stream, const json_t *value, int depth);

/* Starts an element of a list or an object on a line of its own. */
static void print_separator(FILE *stream, bool first, int depth)
{
    fprintf(stream, "%s%*s", first ? "" : ",\n", depth * 4, "");
}

static void print_object(FILE *stream, const json_t *object, int depth)
{
    const char *key;
    json_t *value;
    bool first = true;

    fputs("{\n", stream);
    json_object_foreach((json_t *)object, key, value)
    {
        print_separator(stream, first, depth + 1);
        print_string(stream, key);
        fputs(": ", stream);
        print_value(stream, value, depth + 1);
        first = false;
    }
    fprintf(stream, "%s%*s}", first ? "" : "\n", depth * 4, "");
}

static void print_array(FILE *stream, const json_t *array, int depth)
{
    const size_t count = json_array_size(array);

    fputs("[\n", stream);
    for (size_t i = 0; i < count; i++) {
        print_separator(stream, i == 0, depth + 1);
        print_value(stream, json_array_get(array, i), depth + 1);
    }
    fprintf(stream, "%s%*s]", count == 0 ? "" : "\n", depth * 4, "");
}

static void print_value(FILE *stream, const json_t *value, int depth)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        print_object(stream, value, depth);
        break;
    case JSON_ARRAY:
        print_array(stream, value, depth);
        break;
    case JSON_STRING:
        print_string(stream, json_string_value(value));
        break;
    case JSON_INTEGER:
        fprintf(stream, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL:
        fprintf(stream, "%.17g", json_real_value(value));
        break;
    case JSON_TRUE:
        fputs("true", stream);
        break;
    case JSON_FALSE:
        fputs("false", stream);
        break;
    case JSON_NULL:
        fputs("null", stream);
        break;
    }
}

void json_out(FILE *stream, const json_t *value)
{
    print_value(stream, value, 0);
    fputc('\n', stream);
}

void json_out_result(FILE *stream, const struct job_options *options,
                     json_t *value)
{
    char *line;

    if (!options->progress_json) {
        json_out(stream, value);
    } else {
        line = json_dumps(value, JSON_ENSURE_ASCII);
        fprintf(stream, "%s\n", line != NULL ? line : "{}");
        free(line);
    }
    json_decref(value);
}
