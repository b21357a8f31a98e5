/* SPDX-License-Identifier: MIT */
#include "image/tuning.h"

#if BYRE_HAVE_JSON

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "image/size_text.h"

/* Where an option belongs. */
enum {
    ANY = 1 << TUNING_PROTOCOL | 1 << TUNING_QCOW2 | 1 << TUNING_FORMAT |
          1 << TUNING_UNKNOWN,
    PROTOCOL = 1 << TUNING_PROTOCOL,
    QCOW2 = 1 << TUNING_QCOW2 | 1 << TUNING_UNKNOWN
};

enum tuning_type { TYPE_SWITCH, TYPE_SIZE, TYPE_TEXT, TYPE_WORD };

struct option {
    const char *name;
    int nodes;
    enum tuning_type type;
    const char *words;   /* TYPE_WORD: "a b c" */
    uint32_t flag;       /* BYRE_OPEN_* it sets */
    bool flag_if_off;    /* ... when switched off, not on */
    size_t budget_place; /* of a uint64_t in struct tuning, or 0 */
};

#define BUDGET(member) offsetof(struct tuning, member)

/* clang-format off */
static const struct option options[] = {
    { .name = "auto-read-only", .nodes = ANY },
    { .name = "cache.direct", .nodes = ANY, .flag = BYRE_OPEN_DIRECT },
    { .name = "cache.no-flush", .nodes = ANY, .flag = BYRE_OPEN_NO_SYNC },
    { .name = "detect-zeroes", .nodes = ANY, .type = TYPE_WORD,
      .words = "off on unmap" },
    { .name = "discard", .nodes = ANY, .type = TYPE_WORD,
      .words = "ignore off unmap on" },
    { .name = "force-share", .nodes = ANY, .flag = BYRE_OPEN_SHARED },
    { .name = "node-name", .nodes = ANY, .type = TYPE_TEXT },
    { .name = "read-only", .nodes = ANY },
    { .name = "aio", .nodes = PROTOCOL, .type = TYPE_WORD,
      .words = "threads native io_uring" },
    { .name = "aio-max-batch", .nodes = PROTOCOL, .type = TYPE_SIZE },
    { .name = "drop-cache", .nodes = PROTOCOL },
    { .name = "locking", .nodes = PROTOCOL, .type = TYPE_WORD,
      .words = "auto on off" },
    { .name = "cache-clean-interval", .nodes = QCOW2, .type = TYPE_SIZE },
    { .name = "cache-size", .nodes = QCOW2, .type = TYPE_SIZE,
      .budget_place = BUDGET(table_cache_bytes) },
    { .name = "discard-no-unref", .nodes = QCOW2,
      .flag = BYRE_OPEN_KEEP_CLUSTERS },
    { .name = "discard-subclusters", .nodes = QCOW2 },
    { .name = "l2-cache-entry-size", .nodes = QCOW2, .type = TYPE_SIZE },
    { .name = "l2-cache-size", .nodes = QCOW2, .type = TYPE_SIZE,
      .budget_place = BUDGET(table_cache_bytes) },
    { .name = "lazy-refcounts", .nodes = QCOW2 },
    { .name = "overlap-check", .nodes = QCOW2, .type = TYPE_WORD,
      .words = "none constant cached all" },
    { .name = "overlap-check.template", .nodes = QCOW2, .type = TYPE_WORD,
      .words = "none constant cached all" },
    { .name = "overlap-check.main-header", .nodes = QCOW2 },
    { .name = "overlap-check.active-l1", .nodes = QCOW2 },
    { .name = "overlap-check.active-l2", .nodes = QCOW2 },
    { .name = "overlap-check.refcount-table", .nodes = QCOW2 },
    { .name = "overlap-check.refcount-block", .nodes = QCOW2 },
    { .name = "overlap-check.snapshot-table", .nodes = QCOW2 },
    { .name = "overlap-check.inactive-l1", .nodes = QCOW2 },
    { .name = "overlap-check.inactive-l2", .nodes = QCOW2 },
    { .name = "overlap-check.bitmap-directory", .nodes = QCOW2 },
    { .name = "pass-discard-other", .nodes = QCOW2 },
    { .name = "pass-discard-request", .nodes = QCOW2,
      .flag = BYRE_OPEN_KEEP_SPACE, .flag_if_off = true },
    { .name = "pass-discard-snapshot", .nodes = QCOW2 },
    { .name = "refcount-cache-size", .nodes = QCOW2, .type = TYPE_SIZE,
      .budget_place = BUDGET(refcount_cache_bytes) },
};
/* clang-format on */

static bool word_in(const char *words, const char *word)
{
    const size_t length = strlen(word);

    for (const char *at = words; at != NULL && length > 0;
         at = strchr(at, ' ')) {
        at += *at == ' ';
        if (strncmp(at, word, length) == 0 &&
            (at[length] == ' ' || at[length] == '\0'))
            return true;
    }
    return false;
}

/* A switch in JSON, or in the text of a command line. */
static int take_switch(struct tuning *tuning, const struct option *option,
                       const json_t *value, struct byre_error *err)
{
    const char *text = json_string_value(value);
    bool on;

    if (!json_is_boolean(value) &&
        (text == NULL || !word_in("on yes true y off no false n", text)))
        return fail(err, BYRE_E_INVALID, "json: name: '%s' must be on or off",
                    option->name);
    on = text != NULL ? word_in("on yes true y", text) : json_is_true(value);
    if (strcmp(option->name, "read-only") == 0)
        tuning->read_only = on;
    if (on != option->flag_if_off)
        tuning->open_flags |= option->flag;
    return BYRE_OK;
}

static int take_word(struct tuning *tuning, const struct option *option,
                     const json_t *value, struct byre_error *err)
{
    const char *text = json_string_value(value);

    if (text == NULL || !word_in(option->words, text))
        return fail(err, BYRE_E_INVALID, "json: name: '%s' must be one of: %s",
                    option->name, option->words);
    if (strcmp(option->name, "locking") == 0 && strcmp(text, "off") == 0)
        tuning->open_flags |= BYRE_OPEN_NO_LOCK;
    return BYRE_OK;
}

static int take_size(struct tuning *tuning, const struct option *option,
                     const json_t *value, struct byre_error *err)
{
    uint64_t bytes;
    int r;

    r = size_text_take(value, option->name, &bytes, err);
    if (r == BYRE_OK && option->budget_place != 0)
        memcpy((char *)tuning + option->budget_place, &bytes, sizeof(bytes));
    return r;
}

static int take(struct tuning *tuning, const struct option *option,
                const json_t *value, struct byre_error *err)
{
    switch (option->type) {
    case TYPE_SIZE:
        return take_size(tuning, option, value, err);
    case TYPE_WORD:
        return take_word(tuning, option, value, err);
    case TYPE_TEXT:
        if (!json_is_string(value))
            return fail(err, BYRE_E_INVALID,
                        "json: name: '%s' must be a string", option->name);
        return BYRE_OK;
    default:
        return take_switch(tuning, option, value, err);
    }
}

/* The members of an object one by one, as "key.member". */
static int take_members(struct tuning *tuning, enum tuning_node kind,
                        const char *key, const json_t *object,
                        struct byre_error *err)
{
    const char *member;
    json_t *value;

    json_object_foreach((json_t *)object, member, value)
    {
        char name[64];
        int r;

        snprintf(name, sizeof(name), "%s.%s", key, member);
        r = tuning_take(tuning, kind, name, value, err);
        if (r < 0)
            return r;
    }
    return BYRE_OK;
}

int tuning_take(struct tuning *tuning, enum tuning_node kind, const char *key,
                const json_t *value, struct byre_error *err)
{
    if (json_is_object(value) &&
        (strcmp(key, "cache") == 0 || strcmp(key, "overlap-check") == 0))
        return take_members(tuning, kind, key, value, err);
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        if (strcmp(options[i].name, key) != 0)
            continue;
        if ((options[i].nodes & 1 << kind) == 0)
            return fail(err, BYRE_E_INVALID,
                        "json: name: the key '%s' belongs to %s", key,
                        options[i].nodes == PROTOCOL
                            ? "the file below the format"
                            : "the driver qcow2");
        return take(tuning, &options[i], value, err);
    }
    return fail(err, BYRE_E_INVALID, "json: name: the key '%s' is not known",
                key);
}

#endif
