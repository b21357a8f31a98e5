/* SPDX-License-Identifier: MIT */
#include "secrets.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <byre.h>
#include <jansson.h>

#include "keyval.h"

/* Passphrases are short; a file beyond this is a mistake, a device perhaps. */
#define MAX_SECRET_BYTES ((size_t)1 << 20)

void secrets_init(struct secrets *secrets)
{
    *secrets = (struct secrets){ 0 };
}

static void wipe_and_free(void *bytes, size_t length)
{
    if (bytes != NULL)
        explicit_bzero(bytes, length);
    free(bytes);
}

static void forget(struct secret *secret)
{
    free(secret->id);
    wipe_and_free(secret->bytes, secret->written_bytes);
}

void secrets_done(struct secrets *secrets)
{
    for (size_t i = 0; i < secrets->count; i++)
        forget(&secrets->items[i]);
    forget(&secrets->passphrase);
    free(secrets->items);
    secrets_init(secrets);
}

static const struct secret *find(const struct secrets *secrets, const char *id)
{
    for (size_t i = 0; i < secrets->count; i++)
        if (strcmp(secrets->items[i].id, id) == 0)
            return &secrets->items[i];
    return NULL;
}

/* ---- Bytes of a secret ---- */

static bool read_file(const char *name, struct secret *ret_secret,
                      char *message)
{
    unsigned char *bytes = malloc(MAX_SECRET_BYTES + 1);
    FILE *file = fopen(name, "re");
    size_t length = 0;
    bool good = bytes != NULL && file != NULL;

    if (good) {
        /* Unbuffered, so that no copy of the secret stays behind in stdio. */
        setvbuf(file, NULL, _IONBF, 0);
        errno = 0;
        length = fread(bytes, 1, MAX_SECRET_BYTES + 1, file);
        good = ferror(file) == 0;
    }
    if (!good)
        snprintf(message, SECRETS_MESSAGE_SIZE,
                 "Unable to read the secret in '%.200s': %s", name,
                 strerror(errno));
    if (good && length > MAX_SECRET_BYTES) {
        snprintf(message, SECRETS_MESSAGE_SIZE,
                 "The secret in '%.200s' is longer than the limit of %zu bytes",
                 name, MAX_SECRET_BYTES);
        good = false;
    }
    if (file != NULL)
        fclose(file);
    if (!good) {
        wipe_and_free(bytes, length);
        return false;
    }
    ret_secret->bytes = bytes;
    ret_secret->length = length;
    ret_secret->written_bytes = length;
    return true;
}

static int base64_value(unsigned char c)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "abcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = strchr(alphabet, c);

    return c == '\0' || found == NULL ? -1 : (int)(found - alphabet);
}

/* Decodes in place; line breaks are skipped.  Returns false on other bytes. */
static bool base64_decode(struct secret *secret)
{
    uint32_t group = 0;
    size_t digits = 0;
    size_t padding = 0;
    size_t written = 0;

    for (size_t i = 0; i < secret->length; i++) {
        const unsigned char c = secret->bytes[i];
        const int value = base64_value(c);

        if (c == '\n' || c == '\r')
            continue;
        if (c == '=') {
            padding++;
            continue;
        }
        if (value < 0 || padding > 0)
            return false;
        group = group << 6 | (uint32_t)value;
        digits++;
        if (digits % 4 != 1)
            secret->bytes[written++] =
                (unsigned char)(group >> (6 - 2 * ((digits - 1) % 4)));
    }
    secret->length = written;
    return digits % 4 != 1 && padding < 3 && (digits + padding) % 4 == 0;
}

/* The length of the UTF-8 sequence that `lead` begins, or 0. */
static size_t utf8_length(unsigned char lead)
{
    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead < 0xe0)
        return 2;
    if (lead >= 0xe0 && lead < 0xf0)
        return 3;
    return lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
}

/*
 * Whether a second byte belongs to the lead: not if the sequence is longer than
 * its character needs, stands for half a surrogate pair, or lies past U+10FFFF.
 */
static bool utf8_second_fits(unsigned char lead, unsigned char second)
{
    switch (lead) {
    case 0xe0:
        return second >= 0xa0;
    case 0xed:
        return second < 0xa0;
    case 0xf0:
        return second >= 0x90;
    case 0xf4:
        return second < 0x90;
    default:
        return true;
    }
}

/* Images take text only: an agreement that other readers rely on. */
static bool is_utf8(const unsigned char *bytes, size_t length)
{
    for (size_t i = 0; i < length;) {
        const size_t sequence = utf8_length(bytes[i]);

        if (sequence == 0 || sequence > length - i)
            return false;
        if (sequence > 1 && !utf8_second_fits(bytes[i], bytes[i + 1]))
            return false;
        for (size_t j = 1; j < sequence; j++)
            if ((bytes[i + j] & 0xc0) != 0x80)
                return false;
        i += sequence;
    }
    return true;
}

/* ---- Definitions ---- */

static const char *text_of(const json_t *definition, const char *key)
{
    return json_string_value(json_object_get(definition, key));
}

static bool check_keys(const json_t *definition, char *message)
{
    static const char *const known[] = { "qom-type", "id", "data", "file",
                                         "format" };
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)definition, key, value)
    {
        bool found = false;

        if (strcmp(key, "keyid") == 0 || strcmp(key, "iv") == 0) {
            snprintf(message, SECRETS_MESSAGE_SIZE,
                     "Encrypted secrets ('%s') are not supported; give the "
                     "secret itself with file= or data=",
                     key);
            return false;
        }
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
            found = found || strcmp(key, known[i]) == 0;
        if (!found || !json_is_string(value)) {
            snprintf(message, SECRETS_MESSAGE_SIZE,
                     "Parameter '%.100s' is unexpected", key);
            return false;
        }
    }
    return true;
}

static bool check_definition(const struct secrets *secrets,
                             const json_t *definition, char *message)
{
    const char *type = text_of(definition, "qom-type");
    const char *id = text_of(definition, "id");
    const char *format = text_of(definition, "format");
    const bool has_data = text_of(definition, "data") != NULL;
    const bool has_file = text_of(definition, "file") != NULL;

    if (type == NULL || strcmp(type, "secret") != 0)
        snprintf(message, SECRETS_MESSAGE_SIZE,
                 "Objects of type '%.100s' are not supported, only 'secret'",
                 type != NULL ? type : "");
    else if (!check_keys(definition, message))
        return false;
    else if (id == NULL)
        snprintf(message, SECRETS_MESSAGE_SIZE, "Parameter 'id' is missing");
    else if (find(secrets, id) != NULL)
        snprintf(message, SECRETS_MESSAGE_SIZE,
                 "There are two secrets with id '%.100s'", id);
    else if (!has_data && !has_file)
        snprintf(message, SECRETS_MESSAGE_SIZE,
                 "Either 'file' or 'data' must be provided");
    else if (has_data && has_file)
        snprintf(message, SECRETS_MESSAGE_SIZE,
                 "'file' and 'data' are mutually exclusive");
    else if (format != NULL && strcmp(format, "raw") != 0 &&
             strcmp(format, "base64") != 0)
        snprintf(message, SECRETS_MESSAGE_SIZE,
                 "Parameter 'format' does not accept value '%.100s'", format);
    else
        return true;
    return false;
}

/* Fills ret_secret->bytes from a definition that was checked. */
static bool load_bytes(const json_t *definition, struct secret *ret_secret,
                       char *message)
{
    const char *data = text_of(definition, "data");
    const char *format = text_of(definition, "format");

    if (data == NULL) {
        if (!read_file(text_of(definition, "file"), ret_secret, message))
            return false;
    } else {
        ret_secret->bytes = (unsigned char *)strdup(data);
        if (ret_secret->bytes == NULL) {
            snprintf(message, SECRETS_MESSAGE_SIZE, "out of memory");
            return false;
        }
        ret_secret->length = strlen(data);
        ret_secret->written_bytes = ret_secret->length;
    }
    if (format != NULL && strcmp(format, "base64") == 0 &&
        !base64_decode(ret_secret)) {
        snprintf(message, SECRETS_MESSAGE_SIZE,
                 "The secret '%.100s' is not base64 text",
                 text_of(definition, "id"));
        return false;
    }
    return true;
}

static bool append(struct secrets *secrets, const struct secret *secret,
                   char *message)
{
    struct secret *items =
        realloc(secrets->items, (secrets->count + 1) * sizeof(*secrets->items));

    if (items == NULL) {
        snprintf(message, SECRETS_MESSAGE_SIZE, "out of memory");
        return false;
    }
    secrets->items = items;
    items[secrets->count++] = *secret;
    return true;
}

static json_t *parse_definition(const char *definition, char *message)
{
    char keyval_message[KEYVAL_MESSAGE_SIZE];
    json_error_t error;
    json_t *object;

    if (definition[0] != '{') {
        object = keyval_parse(definition, "qom-type", keyval_message);
        if (object == NULL)
            snprintf(message, SECRETS_MESSAGE_SIZE, "%s", keyval_message);
        return object;
    }
    object = json_loads(definition, JSON_REJECT_DUPLICATES, &error);
    if (object == NULL)
        snprintf(message, SECRETS_MESSAGE_SIZE, "--object: %s", error.text);
    return object;
}

bool secrets_add(struct secrets *secrets, const char *definition,
                 char message[SECRETS_MESSAGE_SIZE])
{
    json_t *object = parse_definition(definition, message);
    struct secret secret = { 0 };
    bool good;

    if (object == NULL)
        return false;
    good = check_definition(secrets, object, message) &&
           load_bytes(object, &secret, message);
    if (good) {
        secret.id = strdup(text_of(object, "id"));
        good = secret.id != NULL && append(secrets, &secret, message);
    }
    if (!good)
        forget(&secret);
    json_decref(object);
    return good;
}

/* ---- Asking ---- */

static int refuse(struct byre_error *err, const char *format, const char *id)
    __attribute__((format(printf, 2, 0)));

static int refuse(struct byre_error *err, const char *format, const char *id)
{
    *err =
        (struct byre_error){ .code = BYRE_E_SECRET, .offset = BYRE_NO_OFFSET };
    snprintf(err->message, sizeof(err->message), format, id);
    return BYRE_E_SECRET;
}

static int give(const struct secret *secret, void *buf, size_t *ret_length)
{
    memcpy(buf, secret->bytes, secret->length);
    *ret_length = secret->length;
    return BYRE_OK;
}

static int get_passphrase(struct secrets *secrets, void *buf, size_t capacity,
                          size_t *ret_length, struct byre_error *err)
{
    struct secret *passphrase = &secrets->passphrase;
    char message[SECRETS_MESSAGE_SIZE];

    if (passphrase->bytes == NULL &&
        !read_file(secrets->passphrase_file, passphrase, message))
        return refuse(err, "%s", message);
    if (passphrase->length > capacity)
        return refuse(err, "The passphrase in '%s' is too long for an image",
                      secrets->passphrase_file);
    return give(passphrase, buf, ret_length);
}

int secrets_get(void *user, const char *secret_id, const char *image_name,
                void *buf, size_t capacity, size_t *ret_length,
                struct byre_error *err)
{
    struct secrets *secrets = user;
    const struct secret *secret;

    (void)image_name; /* the library's caller names the image */
    if (secret_id == NULL && secrets->passphrase_file != NULL)
        return get_passphrase(secrets, buf, capacity, ret_length, err);
    if (secret_id == NULL)
        return refuse(err,
                      "Parameter '%s' is required for cipher; give it with "
                      "--image-opts, or the passphrase with --passphrase-file",
                      "encrypt.key-secret");
    secret = find(secrets, secret_id);
    if (secret == NULL)
        return refuse(err, "No secret with id '%s'", secret_id);
    if (!is_utf8(secret->bytes, secret->length))
        return refuse(err, "Data from secret %s is not valid UTF-8", secret_id);
    if (secret->length > capacity)
        return refuse(err, "The secret '%s' is too long for an image",
                      secret_id);
    return give(secret, buf, ret_length);
}
