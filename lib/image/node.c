/* SPDX-License-Identifier: MIT */
#include "image/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

#if BYRE_HAVE_JSON
#include <jansson.h>

#include "image/size_text.h"
#endif

#include "base/error.h"
#include "image/names.h"

void node_free(struct node *node)
{
    if (node == NULL)
        return;
    node_free(node->file);
    node_free(node->backing);
    node_free(node->data_file);
    free(node->driver);
    free(node->filename);
    free(node->key_secret);
    free(node->encrypt_format);
    free(node);
}

const char *node_path(const struct node *node)
{
    while (node->file != NULL)
        node = node->file;
    return node->filename;
}

void node_tuning(const struct node *node, struct tuning *ret_tuning)
{
    *ret_tuning = (struct tuning){ 0 };
    for (; node != NULL; node = node->file) {
        const struct tuning *own = &node->tuning;

        ret_tuning->open_flags |= own->open_flags;
        ret_tuning->read_only = ret_tuning->read_only || own->read_only;
        if (own->table_cache_bytes != 0)
            ret_tuning->table_cache_bytes = own->table_cache_bytes;
        if (own->refcount_cache_bytes != 0)
            ret_tuning->refcount_cache_bytes = own->refcount_cache_bytes;
    }
}

/* Whether a path says all that decides what is read. */
static bool is_plain(const struct node *node)
{
    for (; node != NULL; node = node->file) {
        if (node->key_secret != NULL || node->data_file != NULL ||
            node->offset != 0 || node->window_bytes != BYRE_NO_OFFSET)
            return false;
    }
    return true;
}

static int node_new(struct node **ret_node, struct byre_error *err)
{
    struct node *node = calloc(1, sizeof(*node));

    if (node == NULL)
        return fail_nomem(err, "a name", sizeof(*node));
    node->window_bytes = BYRE_NO_OFFSET;
    *ret_node = node;
    return BYRE_OK;
}

static int set_text(char **to, const char *text, struct byre_error *err)
{
    char *copy = strdup(text);

    if (copy == NULL)
        return fail_nomem(err, "a name", strlen(text));
    free(*to);
    *to = copy;
    return BYRE_OK;
}

static int parse_path(const char *path, struct node **ret_node,
                      struct byre_error *err)
{
    struct node *node = NULL;
    int r;

    r = node_new(&node, err);
    if (r < 0)
        return r;

    r = set_text(&node->filename, path, err);
    if (r < 0) {
        node_free(node);
        return r;
    }
    *ret_node = node;
    return BYRE_OK;
}

#if BYRE_HAVE_JSON

static int parse_node(const json_t *object, const char *where, unsigned depth,
                      struct node **ret_node, struct byre_error *err);

static int take_text(const json_t *value, const char *key, char **to,
                     struct byre_error *err)
{
    if (!json_is_string(value))
        return fail(err, BYRE_E_INVALID, "json: name: '%s' must be a string",
                    key);
    return set_text(to, json_string_value(value), err);
}

static int take_encrypt(struct node *node, const json_t *value,
                        struct byre_error *err)
{
    const char *key;
    json_t *member;
    int r = BYRE_OK;

    if (!json_is_object(value))
        return fail(err, BYRE_E_INVALID,
                    "json: name: 'encrypt' must be an object");

    json_object_foreach((json_t *)value, key, member)
    {
        if (strcmp(key, "key-secret") == 0)
            r = take_text(member, key, &node->key_secret, err);
        else if (strcmp(key, "format") == 0)
            r = take_text(member, key, &node->encrypt_format, err);
        else
            r = fail(err, BYRE_E_INVALID,
                     "json: name: '%s' is not known in 'encrypt'", key);
        if (r < 0)
            return r;
    }
    return BYRE_OK;
}

static int take_backing(struct node *node, const json_t *value, unsigned depth,
                        struct byre_error *err)
{
    const char *text = json_string_value(value);

    if (json_is_null(value) || (text != NULL && text[0] == '\0')) {
        node->no_backing = true;
        return BYRE_OK;
    }
    return parse_node(value, "backing", depth + 1, &node->backing, err);
}

static bool is_protocol(const char *driver)
{
    return strcmp(driver, "file") == 0 || strcmp(driver, "host_device") == 0;
}

static bool is_format(const char *driver)
{
    return strcmp(driver, "raw") == 0 || strcmp(driver, "qcow") == 0 ||
           strcmp(driver, "qcow2") == 0;
}

static enum tuning_node tuning_node(const struct node *node,
                                    const json_t *object)
{
    if (node->driver != NULL && strcmp(node->driver, "qcow2") == 0)
        return TUNING_QCOW2;
    if (node->driver != NULL && is_format(node->driver))
        return TUNING_FORMAT;
    return json_object_get(object, "file") != NULL ? TUNING_UNKNOWN
                                                   : TUNING_PROTOCOL;
}

static int take_member(struct node *node, enum tuning_node kind,
                       const char *key, const json_t *value, unsigned depth,
                       struct byre_error *err)
{
    if (strcmp(key, "driver") == 0)
        return BYRE_OK; /* taken first: it decides what the others mean */
    if (strcmp(key, "filename") == 0)
        return take_text(value, key, &node->filename, err);
    if (strcmp(key, "file") == 0)
        return parse_node(value, key, depth + 1, &node->file, err);
    if (strcmp(key, "backing") == 0)
        return take_backing(node, value, depth, err);
    if (strcmp(key, "data-file") == 0)
        return parse_node(value, key, depth + 1, &node->data_file, err);
    if (strcmp(key, "encrypt") == 0)
        return take_encrypt(node, value, err);
    if (strcmp(key, "offset") == 0)
        return size_text_take(value, key, &node->offset, err);
    if (strcmp(key, "size") == 0)
        return size_text_take(value, key, &node->window_bytes, err);
    return tuning_take(&node->tuning, kind, key, value, err);
}

static int take_driver(struct node *node, const json_t *object,
                       struct byre_error *err)
{
    const json_t *value = json_object_get(object, "driver");
    int r;

    if (value == NULL)
        return BYRE_OK;

    r = take_text(value, "driver", &node->driver, err);
    if (r < 0)
        return r;
    if (!is_protocol(node->driver) && !is_format(node->driver))
        return fail(err, BYRE_E_UNSUPPORTED,
                    "json: name: the driver '%s' is not supported; there are "
                    "raw, qcow, qcow2, file and host_device",
                    node->driver);
    return BYRE_OK;
}

/* What a node of its kind needs and must not have. */
static int check_node(const struct node *node, const char *where,
                      struct byre_error *err)
{
    const char *driver = node->driver;
    const bool is_raw = driver != NULL && strcmp(driver, "raw") == 0;

    if (node->file != NULL && driver != NULL && is_protocol(driver))
        return fail(err, BYRE_E_INVALID,
                    "json: name: the driver '%s' has a 'filename', not a "
                    "'file'",
                    driver);
    if (node->file == NULL && node->filename == NULL)
        return fail(err, BYRE_E_INVALID,
                    "json: name: %s has neither 'file' nor 'filename'", where);
    if (node->file != NULL && node->filename != NULL)
        return fail(err, BYRE_E_INVALID,
                    "json: name: %s has both 'file' and 'filename'", where);
    if (node->filename != NULL && driver != NULL && is_format(driver))
        return fail(err, BYRE_E_INVALID,
                    "json: name: the driver '%s' needs a 'file'", driver);
    if (node->encrypt_format != NULL &&
        strcmp(node->encrypt_format, "aes") != 0 &&
        strcmp(node->encrypt_format, "luks") != 0)
        return fail(err, BYRE_E_INVALID,
                    "json: name: the encryption format '%s' is not known; "
                    "there are aes and luks",
                    node->encrypt_format);
    if (node->window_bytes != BYRE_NO_OFFSET && node->window_bytes % 512 != 0)
        return fail(err, BYRE_E_INVALID,
                    "json: name: 'size' is %llu, no multiple of 512",
                    (unsigned long long)node->window_bytes);
    if (!is_raw && (node->offset != 0 || node->window_bytes != BYRE_NO_OFFSET))
        return fail(err, BYRE_E_INVALID,
                    "json: name: 'offset' and 'size' belong to the driver raw");
    return BYRE_OK;
}

static int parse_node(const json_t *object, const char *where, unsigned depth,
                      struct node **ret_node, struct byre_error *err)
{
    struct node *node = NULL;
    enum tuning_node kind;
    const char *key;
    json_t *value;
    int r;

    if (!json_is_object(object))
        return fail(err, BYRE_E_INVALID,
                    "json: name: '%s' must be an object of options", where);
    if (depth >= NODE_MAX_DEPTH)
        return fail(err, BYRE_E_LIMIT,
                    "json: name: more than the limit of %d nested nodes",
                    NODE_MAX_DEPTH);

    r = node_new(&node, err);
    if (r < 0)
        return r;

    r = take_driver(node, object, err);
    if (r < 0)
        goto out;
    kind = tuning_node(node, object);
    json_object_foreach((json_t *)object, key, value)
    {
        r = take_member(node, kind, key, value, depth, err);
        if (r < 0)
            goto out;
    }
    r = check_node(node, where, err);
out:
    if (r < 0)
        node_free(node);
    else
        *ret_node = node;
    return r;
}

/* ---- Describing ---- */

static void put_text(json_t *object, const char *key, const char *text)
{
    if (text != NULL)
        json_object_set_new(object, key, json_string(text));
}

/* The order of the keys is that of QEMU's hash table (measured on 7.2). */
static json_t *describe_node(const struct node *node)
{
    json_t *object = json_object();

    if (node->offset != 0 || node->window_bytes != BYRE_NO_OFFSET)
        json_object_set_new(object, "offset",
                            json_integer((json_int_t)node->offset));
    if (node->data_file != NULL)
        json_object_set_new(object, "data-file",
                            describe_node(node->data_file));
    put_text(object, "encrypt.key-secret", node->key_secret);
    put_text(object, "driver",
             node->driver != NULL || node->file != NULL ? node->driver
                                                        : "file");
    put_text(object, "filename", node->filename);
    if (node->window_bytes != BYRE_NO_OFFSET)
        json_object_set_new(object, "size",
                            json_integer((json_int_t)node->window_bytes));
    if (node->file != NULL)
        json_object_set_new(object, "file", describe_node(node->file));
    return object;
}

static int describe_tree(const struct node *node, char **ret_name,
                         struct byre_error *err)
{
    json_t *object = describe_node(node);
    char *text = json_dumps(object, 0);
    int r = BYRE_OK;

    json_decref(object);
    *ret_name = NULL;
    if (text == NULL || asprintf(ret_name, "json:%s", text) < 0)
        r = fail_nomem(err, "a name", 0);
    free(text);
    return r;
}

/* ---- Dotted keys ---- */

/* Puts `value` at "a.b.c" below `object`, making the objects on the way. */
static int put_dotted(json_t *object, const char *key, json_t *value,
                      struct byre_error *err)
{
    const char *dot;
    unsigned depth = 0;

    while ((dot = strchr(key, '.')) != NULL) {
        const size_t length = (size_t)(dot - key);
        json_t *inner = json_object_getn(object, key, length);

        if (inner == NULL) {
            inner = json_object();
            if (json_object_setn_new(object, key, length, inner) < 0)
                return fail_nomem(err, "a json: name", length);
        }
        if (!json_is_object(inner) || ++depth > NODE_MAX_DEPTH)
            return fail(err, BYRE_E_INVALID,
                        "json: name: the key '%s' goes into what is no object",
                        key);
        object = inner;
        key = dot + 1;
    }
    if (json_object_get(object, key) != NULL)
        return fail(err, BYRE_E_INVALID, "json: name: '%s' is given twice",
                    key);
    if (json_object_set(object, key, value) < 0)
        return fail_nomem(err, "a json: name", strlen(key));
    return BYRE_OK;
}

/* Nested objects first, so that dotted keys find them to go into. */
static int expand_dotted(const json_t *from, json_t *to, bool dotted,
                         struct byre_error *err)
{
    const char *key;
    json_t *value;
    int r = BYRE_OK;

    json_object_foreach((json_t *)from, key, value)
    {
        json_t *copied;

        if ((strchr(key, '.') != NULL) != dotted)
            continue;
        copied = json_deep_copy(value);
        r = copied != NULL ? put_dotted(to, key, copied, err)
                           : fail_nomem(err, "a json: name", strlen(key));
        json_decref(copied);
        if (r < 0)
            return r;
    }
    return r;
}

static int parse_json(const char *text, struct node **ret_node,
                      struct byre_error *err)
{
    json_error_t why;
    json_t *given = json_loads(text, JSON_REJECT_DUPLICATES, &why);
    json_t *expanded = NULL;
    int r;

    if (given == NULL)
        return fail(err, BYRE_E_INVALID, "json: name: %s at column %d",
                    why.text, why.column);
    if (!json_is_object(given)) {
        r = fail(err, BYRE_E_INVALID, "json: name: it must be an object");
        goto out;
    }

    expanded = json_object();
    if (expanded == NULL) {
        r = fail_nomem(err, "a json: name", strlen(text));
        goto out;
    }
    r = expand_dotted(given, expanded, false, err);
    if (r == BYRE_OK)
        r = expand_dotted(given, expanded, true, err);
    if (r == BYRE_OK)
        r = parse_node(expanded, "the top node", 0, ret_node, err);
out:
    json_decref(given);
    json_decref(expanded);
    return r;
}

#else

static int describe_tree(const struct node *node, char **ret_name,
                         struct byre_error *err)
{
    *ret_name = NULL;
    return set_text(ret_name, node_path(node), err);
}

static int parse_json(const char *text, struct node **ret_node,
                      struct byre_error *err)
{
    (void)text;
    (void)ret_node;
    return fail(err, BYRE_E_UNSUPPORTED,
                "this build has no jansson, so json: names cannot be read");
}

#endif

int node_parse(const char *name, struct node **ret_node, struct byre_error *err)
{
    const size_t protocol = name_protocol_length(name);

    if (protocol == 0)
        return parse_path(name, ret_node, err);
    if (strncmp(name, "file:", 5) == 0)
        return parse_path(name + 5, ret_node, err);
    if (strncmp(name, "json:", 5) == 0)
        return parse_json(name + 5, ret_node, err);
    return fail(err, BYRE_E_UNSUPPORTED,
                "Unknown protocol '%.*s'; write ./%s if it is a file",
                (int)protocol, name, name);
}

int node_describe(const struct node *node, char **ret_name,
                  struct byre_error *err)
{
    *ret_name = NULL;
    if (is_plain(node))
        return set_text(ret_name, node_path(node), err);
    return describe_tree(node, ret_name, err);
}
