/* SPDX-License-Identifier: MIT */
#include "info.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "size.h"

#define INDENT 4

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static uint64_t number_of(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

/* ---- Trees of values, as lines of "key: value" ---- */

static void print_tree(const json_t *value, int depth);

/* One entry of a list or an object; what has parts goes below its title. */
static void print_entry(const char *title, const json_t *value, int depth)
{
    const bool has_parts = json_is_object(value) || json_is_array(value);

    printf("%*s%s:%c", depth * INDENT, "", title, has_parts ? '\n' : ' ');
    print_tree(value, depth + 1);
    if (!has_parts)
        putchar('\n');
}

static void print_object(const json_t *object, int depth)
{
    const char *key;
    json_t *value;
    char title[64];

    json_object_foreach((json_t *)object, key, value)
    {
        snprintf(title, sizeof(title), "%s", key);
        for (char *dash = strchr(title, '-'); dash != NULL;
             dash = strchr(dash, '-'))
            *dash = ' ';
        print_entry(title, value, depth);
    }
}

static void print_array(const json_t *array, int depth)
{
    char title[32];

    for (size_t i = 0; i < json_array_size(array); i++) {
        snprintf(title, sizeof(title), "[%zu]", i);
        print_entry(title, json_array_get(array, i), depth);
    }
}

static void print_tree(const json_t *value, int depth)
{
    if (json_is_object(value))
        print_object(value, depth);
    else if (json_is_array(value))
        print_array(value, depth);
    else if (json_is_string(value))
        fputs(json_string_value(value), stdout);
    else if (json_is_integer(value))
        printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_boolean(value))
        fputs(json_is_true(value) ? "true" : "false", stdout);
}

/* ---- Snapshots ---- */

static void print_snapshot(const json_t *snapshot)
{
    const time_t date = (time_t)number_of(snapshot, "date-sec");
    const uint64_t seconds = number_of(snapshot, "vm-clock-sec");
    const json_t *icount = json_object_get(snapshot, "icount");
    char size[SIZE_TEXT_SIZE];
    char date_text[32] = "";
    char clock_text[48];
    char icount_text[32] = "--";
    struct tm local;

    if (localtime_r(&date, &local) != NULL)
        strftime(date_text, sizeof(date_text), "%Y-%m-%d %H:%M:%S", &local);
    snprintf(clock_text, sizeof(clock_text),
             "%04" PRIu64 ":%02" PRIu64 ":%02" PRIu64 ".%03" PRIu64,
             seconds / 3600, seconds / 60 % 60, seconds % 60,
             number_of(snapshot, "vm-clock-nsec") / 1000000);
    if (icount != NULL)
        snprintf(icount_text, sizeof(icount_text), "%" JSON_INTEGER_FORMAT,
                 json_integer_value(icount));
    printf("%-7s %-16s %8s %19s %15s %10s\n", text_of(snapshot, "id"),
           text_of(snapshot, "name"),
           size_text(number_of(snapshot, "vm-state-size"), size), date_text,
           clock_text, icount_text);
}

static void print_snapshots(const json_t *snapshots)
{
    const size_t count = json_array_size(snapshots);

    if (count == 0)
        return;
    printf("Snapshot list:\n");
    printf("%-7s %-16s %8s %19s %15s %10s\n", "ID", "TAG", "VM_SIZE", "DATE",
           "VM_CLOCK", "ICOUNT");
    for (size_t i = 0; i < count; i++)
        print_snapshot(json_array_get(snapshots, i));
}

/* ---- A node ---- */

/* The words of a title differ for the file below an image. */
static void print_title(const json_t *node, int margin, bool is_file)
{
    const json_t *allocated = json_object_get(node, "actual-size");
    const uint64_t size = number_of(node, "virtual-size");
    char text[SIZE_TEXT_SIZE];

    printf("%*s%s: %s\n", margin, "", is_file ? "filename" : "image",
           text_of(node, "filename"));
    printf("%*s%s: %s\n", margin, "", is_file ? "protocol type" : "file format",
           text_of(node, "format"));
    printf("%*s%s: %s (%" PRIu64 " bytes)\n", margin, "",
           is_file ? "file length" : "virtual size", size_text(size, text),
           size);
    printf("%*sdisk size: %s\n", margin, "",
           allocated != NULL ? size_text(number_of(node, "actual-size"), text)
                             : "unavailable");
}

static void print_backing(const json_t *node)
{
    const char *stored = text_of(node, "backing-filename");
    const char *actual = text_of(node, "full-backing-filename");
    const char *format = text_of(node, "backing-filename-format");

    if (stored == NULL)
        return;
    if (actual == NULL)
        printf("backing file: %s (cannot determine actual path)\n", stored);
    else if (strcmp(stored, actual) == 0)
        printf("backing file: %s\n", stored);
    else
        printf("backing file: %s (actual path: %s)\n", stored, actual);
    if (format != NULL)
        printf("backing file format: %s\n", format);
}

static void print_limits(const json_t *node, int margin)
{
    const json_t *limits = json_object_get(node, "limits");

    if (limits == NULL)
        return;
    printf("%*sBlock limits:\n", margin, "");
    print_tree(limits, margin / INDENT + 1);
}

static void print_child(const json_t *child)
{
    const json_t *node = json_object_get(child, "info");

    printf("Child node '/%s':\n", text_of(child, "name"));
    print_title(node, INDENT, true);
    print_limits(node, INDENT);
}

/* Names come from the image; nothing in them reaches a terminal as a command.
 */
static void make_plain(json_t *value)
{
    const char *key;
    json_t *part;
    size_t index;

    if (json_is_string(value)) {
        char *text = strdup(json_string_value(value));

        if (text != NULL) {
            byre_text_make_plain(text);
            json_string_set(value, text);
        }
        free(text);
    }
    json_object_foreach(value, key, part) make_plain(part);
    json_array_foreach(value, index, part) make_plain(part);
}

void info_print_snapshots(json_t *snapshots)
{
    make_plain(snapshots);
    print_snapshots(snapshots);
}

void info_print_specific(json_t *node)
{
    const json_t *specific = json_object_get(node, "format-specific");

    if (specific == NULL)
        return;
    make_plain(node);
    printf("Format specific information:\n");
    print_tree(json_object_get(specific, "data"), 1);
}

void info_print_human(json_t *node)
{
    const json_t *children = json_object_get(node, "children");

    make_plain(node);
    print_title(node, 0, false);
    if (json_is_true(json_object_get(node, "encrypted")))
        printf("encrypted: yes\n");
    if (json_object_get(node, "cluster-size") != NULL)
        printf("cluster_size: %" PRIu64 "\n", number_of(node, "cluster-size"));
    if (json_is_true(json_object_get(node, "dirty-flag")))
        printf("cleanly shut down: no\n");
    print_backing(node);
    print_snapshots(json_object_get(node, "snapshots"));
    info_print_specific(node);
    print_limits(node, 0);
    for (size_t i = 0; i < json_array_size(children); i++)
        print_child(json_array_get(children, i));
}
