/* SPDX-License-Identifier: MIT */
#include "snapshot_choice.h"

#include <string.h>

#include "keyval.h"

bool snapshot_choice_take(const struct tool *tool, const char *argument,
                          struct snapshot_choice *ret_choice, json_t **keys)
{
    char message[KEYVAL_MESSAGE_SIZE];
    const char *key;
    json_t *value;

    *ret_choice = (struct snapshot_choice){ .any = argument };
    if (strncmp(argument, "snapshot.", strlen("snapshot.")) != 0)
        return true;

    json_decref(*keys);
    *keys = keyval_parse(argument, NULL, message);
    if (*keys == NULL) {
        report(tool, "Could not parse the snapshot '%s': %s", argument,
               message);
        return false;
    }
    ret_choice->any = NULL;
    json_object_foreach(*keys, key, value)
    {
        if (strcmp(key, "snapshot.id") == 0) {
            ret_choice->id = json_string_value(value);
        } else if (strcmp(key, "snapshot.name") == 0) {
            ret_choice->name = json_string_value(value);
        } else {
            report(tool, "Invalid parameter '%s' of the snapshot '%s'", key,
                   argument);
            return false;
        }
    }
    return true;
}

/*
 * Whether the snapshot that was opened by its id has the name that was given
 * too.  Returns false after a message.
 */
static bool is_named(const struct tool *tool, struct byre *img,
                     const struct snapshot_choice *snapshot)
{
    const struct byre_snapshot *list = NULL;
    size_t count = 0;

    if (snapshot->id == NULL || snapshot->name == NULL)
        return true;
    if (byre_snapshot_list(img, &list, &count, NULL) < 0)
        count = 0;
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].id, snapshot->id) == 0 &&
            strcmp(list[i].name, snapshot->name) == 0)
            return true;
    report(tool, "No snapshot has both the id '%s' and the name '%s'",
           snapshot->id, snapshot->name);
    return false;
}

struct byre *image_open_snapshot(const struct tool *tool,
                                 const struct image_options *options,
                                 const char *text, const char *format,
                                 uint32_t flags,
                                 const struct snapshot_choice *snapshot)
{
    struct snapshot_choice one_way = *snapshot;
    struct byre *img;

    if (one_way.id != NULL)
        one_way.name = NULL; /* the library takes one way at a time */
    img = image_open(tool, options, text, format, flags, &one_way);
    if (img == NULL || is_named(tool, img, snapshot))
        return img;
    byre_close(img, NULL);
    return NULL;
}
