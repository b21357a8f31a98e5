/* SPDX-License-Identifier: MIT */
#include "keyval.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *keyval_next(const char *text, char *element)
{
    *element = '\0';
    while (*text != '\0') {
        if (*text == ',' && text[1] != ',')
            return text + 1;
        if (*text == ',')
            text++;
        *element++ = *text++;
        *element = '\0';
    }
    return text;
}

/* Stores one element; returns false and fills `message` if it is malformed. */
static bool store_element(json_t *object, char *element,
                          const char *implied_key, char *message)
{
    char *equals = strchr(element, '=');
    const char *key = element;
    const char *value = element;

    if (equals == NULL && implied_key != NULL) {
        key = implied_key;
    } else if (equals == NULL || equals == element) {
        snprintf(message, KEYVAL_MESSAGE_SIZE, "Expected KEY=VALUE in '%.150s'",
                 element);
        return false;
    } else {
        *equals = '\0';
        value = equals + 1;
    }
    if (json_object_set_new(object, key, json_string(value)) != 0) {
        snprintf(message, KEYVAL_MESSAGE_SIZE,
                 "The value of '%.100s' is not UTF-8 text", key);
        return false;
    }
    return true;
}

json_t *keyval_parse(const char *text, const char *implied_key,
                     char message[KEYVAL_MESSAGE_SIZE])
{
    json_t *object = json_object();
    const size_t element_size = strlen(text) + 1;
    char *element = malloc(element_size);
    bool good = object != NULL && element != NULL;

    snprintf(message, KEYVAL_MESSAGE_SIZE, "out of memory");
    while (good && *text != '\0') {
        text = keyval_next(text, element);
        good = store_element(object, element, implied_key, message);
        implied_key = NULL;
    }
    if (element != NULL)
        explicit_bzero(element, element_size); /* it may have held a secret */
    free(element);
    if (good)
        return object;
    json_decref(object);
    return NULL;
}

char *keyval_to_json_name(const char *text, char message[KEYVAL_MESSAGE_SIZE])
{
    static const char prefix[] = "json:";
    json_t *object = keyval_parse(text, NULL, message);
    char *json = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
    char *name = NULL;
    const size_t size = json != NULL ? sizeof(prefix) + strlen(json) : 0;

    if (json != NULL)
        name = malloc(size);
    if (name != NULL)
        snprintf(name, size, "%s%s", prefix, json);
    free(json);
    json_decref(object);
    return name;
}
