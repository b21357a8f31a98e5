/* SPDX-License-Identifier: MIT */
#include "target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "keyval.h"

/*
 * Whether a key changes only how QEMU caches, locks and discards, which is
 * taken without effect for targets as it is for sources.
 */
static bool is_tuning_key(const char *key)
{
    static const char *const keys[] = {
        "aio",     "auto-read-only", "cache.direct", "cache.no-flush",
        "discard", "detect-zeroes",  "locking",      "node-name",
    };

    if (strncmp(key, "file.", strlen("file.")) == 0)
        key += strlen("file.");
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (strcmp(key, keys[i]) == 0)
            return true;
    return false;
}

/* Whether a pair of --target-image-opts says what is so anyway. */
static bool is_raw_file_pair(const char *key, const char *value)
{
    if (strcmp(key, "driver") == 0)
        return strcmp(value, "raw") == 0;
    if (strcmp(key, "file.driver") == 0)
        return strcmp(value, "file") == 0 || strcmp(value, "host_device") == 0;
    return strcmp(key, "file.filename") == 0 || is_tuning_key(key);
}

/* The path that a list names whose driver is raw, or NULL after a message. */
static char *path_from_list(const struct tool *tool, const char *text,
                            json_t *list)
{
    const char *path =
        json_string_value(json_object_get(list, "file.filename"));
    const char *key;
    json_t *value;
    char *copy;

    json_object_foreach(list, key, value)
    {
        if (!is_raw_file_pair(key, json_string_value(value))) {
            report(tool,
                   "Could not open '%s': '%s=%s' is not supported for a raw "
                   "target; use driver=raw,file.filename=NAME",
                   text, key, json_string_value(value));
            return NULL;
        }
    }
    if (path == NULL) {
        report(tool, "Could not open '%s': file.filename is missing", text);
        return NULL;
    }
    copy = strdup(path);
    if (copy == NULL)
        report(tool, "out of memory");
    return copy;
}

bool target_from_list(const struct tool *tool, const char *text,
                      struct target *ret_target)
{
    char message[KEYVAL_MESSAGE_SIZE];
    json_t *list = keyval_parse(text, NULL, message);
    const char *driver;
    struct target target = { 0 };

    if (list == NULL) {
        report(tool, "Could not open '%s': %s", text, message);
        return false;
    }
    driver = json_string_value(json_object_get(list, "driver"));
    if (driver != NULL && strcmp(driver, "raw") == 0) {
        target.format = "raw";
        target.name = path_from_list(tool, text, list);
    } else {
        target.name = keyval_to_json_name(text, message);
        if (target.name == NULL)
            report(tool, "Could not open '%s': %s", text, message);
    }
    json_decref(list);
    if (target.name != NULL)
        *ret_target = target;
    return target.name != NULL;
}

void target_done(struct target *target)
{
    free(target->name);
    *target = (struct target){ 0 };
}

/* Takes the prefix off the name, if it is there. */
static const char *without_prefix(const char *name, const char *prefix)
{
    const size_t length = strlen(prefix);

    return strncmp(name, prefix, length) == 0 ? name + length : name;
}

char *target_path(const struct tool *tool, const char *text)
{
    const char *name = without_prefix(text, "zeroinit:");
    const char *path = without_prefix(name, "file:");
    bool has_colon;
    size_t size;
    char *copy;

    if (strncmp(name, "json:", strlen("json:")) == 0) {
        report(tool,
               "Could not open '%s': a target is a path; json: names are for "
               "images that are read",
               text);
        return NULL;
    }
    /* What has a protocol is no path. */
    if (path == name && name[strcspn(name, ":/")] == ':') {
        report(tool,
               "Could not open '%s': a target is a path; write ./%s if it is "
               "one",
               text, name);
        return NULL;
    }
    /* Behind "file:" a colon is nothing but a letter; it shall stay so. */
    has_colon = path[strcspn(path, ":/")] == ':';
    size = strlen(path) + sizeof("./");
    copy = malloc(size);
    if (copy == NULL)
        report(tool, "out of memory");
    else
        snprintf(copy, size, "%s%s", has_colon ? "./" : "", path);
    return copy;
}

bool target_exists(const char *name)
{
    struct stat file;

    return lstat(name, &file) == 0;
}

bool target_is_device(const char *name)
{
    struct stat file;

    return stat(name, &file) == 0 && !S_ISREG(file.st_mode);
}

bool target_is_same_file(const char *name, const char *other)
{
    struct stat first;
    struct stat second;

    return stat(name, &first) == 0 && stat(other, &second) == 0 &&
           first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

bool target_is_stdout(const char *name)
{
    struct stat target;
    struct stat output;

    return stat(name, &target) == 0 && fstat(STDOUT_FILENO, &output) == 0 &&
           !S_ISCHR(output.st_mode) && target.st_dev == output.st_dev &&
           target.st_ino == output.st_ino;
}
