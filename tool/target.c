/* SPDX-License-Identifier: MIT */
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "keyval.h"
#include "size.h"

static bool take_preallocation(struct target_options *options,
                               const struct tool *tool, const char *value)
{
    if (strcmp(value, "off") == 0)
        options->preallocation = PREALLOCATION_OFF;
    else if (strcmp(value, "falloc") == 0)
        options->preallocation = PREALLOCATION_FALLOC;
    else if (strcmp(value, "full") == 0)
        options->preallocation = PREALLOCATION_FULL;
    else {
        report(tool,
               "Parameter 'preallocation' takes off, falloc or full, not '%s'",
               value);
        return false;
    }
    return true;
}

static bool check_switch(const struct tool *tool, const char *key,
                         const char *value)
{
    static const char *const words[] = { "on", "off", "yes",  "no",
                                         "y",  "n",   "true", "false" };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp(value, words[i]) == 0)
            return true;
    report(tool, "Parameter '%s' takes on or off, not '%s'", key, value);
    return false;
}

static bool take_pair(struct target_options *options, const struct tool *tool,
                      const char *key, const char *value)
{
    uint64_t size;

    if (strcmp(key, "preallocation") == 0)
        return take_preallocation(options, tool, value);
    if (strcmp(key, "nocow") == 0)
        return check_switch(tool, key, value);
    /* The target always has the size of its sources, in qemu-img as here. */
    if (strcmp(key, "size") != 0 && strcmp(key, "extent_size_hint") != 0) {
        report(tool, "Invalid parameter '%s'", key);
        return false;
    }
    if (size_parse(value, &size) == 0)
        return true;
    report(tool, "Parameter '%s' expects a size, not '%s'", key, value);
    return false;
}

static bool asks_for_help(const char *argument)
{
    return strcmp(argument, "help") == 0 || strcmp(argument, "?") == 0;
}

bool target_options_take(struct target_options *options,
                         const struct tool *tool, const char *argument)
{
    char message[KEYVAL_MESSAGE_SIZE];
    const char *key;
    json_t *value;
    json_t *list;
    bool good = true;

    options->given = true;
    if (asks_for_help(argument)) {
        options->help = true;
        return true;
    }
    list = keyval_parse(argument, NULL, message);
    if (list == NULL) {
        report(tool, "Invalid option list: %s", message);
        return false;
    }
    json_object_foreach(list, key, value)
    {
        good = take_pair(options, tool, key, json_string_value(value));
        if (!good)
            break;
    }
    json_decref(list);
    return good;
}

void target_options_print(void)
{
    printf("Supported raw options:\n"
           "  extent_size_hint=<size> - taken, but has no effect\n"
           "  nocow=<bool (on/off)>  - taken, but has no effect\n"
           "  preallocation=<str>    - what becomes of zeroes: off (holes), "
           "falloc, full\n"
           "  size=<size>            - taken, but the size is that of the "
           "sources\n");
}

bool target_format_is_raw(const struct tool *tool, const char *format)
{
    if (strcmp(format, "raw") == 0)
        return true;
    if (strcmp(format, "qcow2") == 0 || strcmp(format, "qcow") == 0)
        report(tool,
               "Cannot write format '%s': this version writes raw files only",
               format);
    else
        report(tool, "Unknown file format '%s'", format);
    return false;
}

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

static char *path_from_list(const struct tool *tool, const char *text)
{
    char message[KEYVAL_MESSAGE_SIZE];
    json_t *list = keyval_parse(text, NULL, message);
    const char *filename;
    const char *key;
    json_t *value;
    char *name = NULL;

    if (list == NULL) {
        report(tool, "Could not open '%s': %s", text, message);
        return NULL;
    }
    json_object_foreach(list, key, value)
    {
        if (!is_raw_file_pair(key, json_string_value(value))) {
            report(tool,
                   "Could not open '%s': '%s=%s' is not supported for a "
                   "target; use driver=raw,file.filename=NAME",
                   text, key, json_string_value(value));
            json_decref(list);
            return NULL;
        }
    }
    filename = json_string_value(json_object_get(list, "file.filename"));
    if (filename != NULL)
        name = strdup(filename);
    else
        report(tool, "Could not open '%s': file.filename is missing", text);
    json_decref(list);
    return name;
}

/* The path that a name stands for: names with a protocol are not paths. */
static char *path_from_name(const struct tool *tool, const char *text)
{
    static const char file_prefix[] = "file:";
    const size_t length = strcspn(text, ":/");
    char *path;

    if (strncmp(text, file_prefix, strlen(file_prefix)) == 0) {
        text += strlen(file_prefix);
    } else if (text[length] == ':') {
        report(tool,
               "Could not open '%s': a target is a path; write ./%s if it is "
               "one",
               text, text);
        return NULL;
    }
    path = strdup(text);
    if (path == NULL)
        report(tool, "out of memory");
    return path;
}

char *target_path(const struct tool *tool, const char *text, bool is_list)
{
    return is_list ? path_from_list(tool, text) : path_from_name(tool, text);
}

bool target_exists(const char *name)
{
    struct stat file;

    return lstat(name, &file) == 0;
}

/* Returns 0 or an errno. */
static int reserve(int fd, bool sync)
{
    struct stat file;
    int failure;

    if (fstat(fd, &file) < 0)
        return errno;
    if (!S_ISREG(file.st_mode) || file.st_size == 0)
        return 0;
    failure = posix_fallocate(fd, 0, file.st_size);
    if (failure == 0 && sync && fsync(fd) < 0)
        failure = errno;
    return failure;
}

bool target_reserve(const struct tool *tool, const char *name,
                    const struct reservation *reservation)
{
    const int fd = open(name, O_RDWR | O_CLOEXEC);
    int failure = fd < 0 ? errno : reserve(fd, reservation->sync);

    if (failure != 0) {
        report(tool, "Could not reserve the space of '%s': %s", name,
               strerror(failure));
        if (!reservation->existed)
            unlink(name);
        else if (fd >= 0 && ftruncate(fd, 0) < 0)
            report(tool, "Could not empty '%s': %s", name, strerror(errno));
    }
    if (fd >= 0)
        close(fd);
    return failure == 0;
}

bool target_is_stdout(const char *name)
{
    struct stat target;
    struct stat output;

    return stat(name, &target) == 0 && fstat(STDOUT_FILENO, &output) == 0 &&
           !S_ISCHR(output.st_mode) && target.st_dev == output.st_dev &&
           target.st_ino == output.st_ino;
}
