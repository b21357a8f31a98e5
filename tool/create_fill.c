/* SPDX-License-Identifier: MIT */
/* What the values of -o mean to the library. */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "create_options.h"

/* As many as the library takes of a passphrase. */
#define MAX_PASSPHRASE_BYTES 65536

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A word of an option, and what it stands for. */
struct create_word {
    const char *text;
    uint32_t value;
};

static const struct create_word versions[] = {
    { "0.10", 2 }, { "v2", 2 }, { "1.1", 3 }, { "v3", 3 }, { NULL, 0 },
};
static const struct create_word preallocations[] = {
    { "off", BYRE_PREALLOCATION_OFF },
    { "metadata", BYRE_PREALLOCATION_METADATA },
    { "falloc", BYRE_PREALLOCATION_FALLOC },
    { "full", BYRE_PREALLOCATION_FULL },
    { NULL, 0 },
};
static const struct create_word encryptions[] = {
    { "aes", BYRE_ENCRYPTION_AES },
    { "luks", BYRE_ENCRYPTION_LUKS },
    { NULL, 0 },
};

/* Leaves *ret_value alone where `text` is NULL. */
static bool find_word(const struct create_word *words, const char *name,
                      const char *text, uint32_t *ret_value, char *message)
{
    if (text == NULL)
        return true;
    for (size_t i = 0; words[i].text != NULL; i++) {
        if (strcmp(words[i].text, text) == 0) {
            *ret_value = words[i].value;
            return true;
        }
    }
    snprintf(message, CREATE_MESSAGE_SIZE,
             "Parameter '%s' does not accept value '%.200s'", name, text);
    return false;
}

bool preallocation_parse(const char *text, uint32_t *ret_preallocation)
{
    char message[CREATE_MESSAGE_SIZE];

    return find_word(preallocations, "preallocation", text, ret_preallocation,
                     message);
}

bool version_parse(const char *text, uint32_t *ret_version,
                   char message[CREATE_MESSAGE_SIZE])
{
    return find_word(versions, "compat", text, ret_version, message);
}

static bool is_on(const struct create_values *values, enum create_key key)
{
    const char *text = values->texts[key];

    return text != NULL && strcmp(text, "on") == 0;
}

static uint32_t fill_flags(const struct create_values *values)
{
    static const struct {
        enum create_key key;
        uint32_t flag;
    } switches[] = {
        { CREATE_LAZY_REFCOUNTS, BYRE_CREATE_LAZY_REFCOUNTS },
        { CREATE_EXTENDED_L2, BYRE_CREATE_EXTENDED_L2 },
        { CREATE_DATA_FILE_RAW, BYRE_CREATE_DATA_FILE_RAW },
        { CREATE_KEEP_DATA_FILE, BYRE_CREATE_KEEP_DATA_FILE },
        { CREATE_NOCOW, BYRE_CREATE_NOCOW },
    };
    uint32_t flags = BYRE_CREATE_ROUND_SIZE;

    for (size_t i = 0; i < COUNT(switches); i++)
        if (is_on(values, switches[i].key))
            flags |= switches[i].flag;
    return flags;
}

/* A zero means the default to the library, and nothing to the user. */
static bool fill_number(const struct create_values *values, enum create_key key,
                        const char *wrong, uint64_t *ret_number, char *message)
{
    if (values->texts[key] == NULL)
        return true;
    *ret_number = strtoull(values->texts[key], NULL, 10);
    if (*ret_number > 0)
        return true;
    snprintf(message, CREATE_MESSAGE_SIZE, "%s", wrong);
    return false;
}

static bool fill_layout(const struct create_values *values,
                        struct byre_create_options *ret_options, char *message)
{
    uint64_t refcount_bits = 0;

    if (!fill_number(values, CREATE_CLUSTER_SIZE,
                     "Cluster size must be a power of two between 512 and "
                     "2048k, not 0",
                     &ret_options->cluster_size_bytes, message) ||
        !fill_number(values, CREATE_REFCOUNT_BITS,
                     "Refcount width must be a power of two from 1 to 64 bits, "
                     "not 0",
                     &refcount_bits, message))
        return false;
    if (refcount_bits > UINT32_MAX) {
        snprintf(message, CREATE_MESSAGE_SIZE,
                 "Refcount width must be a power of two and may not exceed 64 "
                 "bits, not %" PRIu64,
                 refcount_bits);
        return false;
    }
    ret_options->refcount_bits = (uint32_t)refcount_bits;
    return version_parse(values->texts[CREATE_COMPAT], &ret_options->version,
                         message) &&
           find_word(preallocations, "preallocation",
                     values->texts[CREATE_PREALLOCATION],
                     &ret_options->preallocation, message);
}

/* Only its header is read, whoever writes to it. */
static const struct byre_open_options backing_open = {
    .size = sizeof(backing_open),
    .flags = BYRE_OPEN_METADATA_ONLY | BYRE_OPEN_SHARED,
};

static bool fill_backing(const struct create_values *values,
                         struct byre_create_options *ret_options, char *message)
{
    const char *name = values->texts[CREATE_BACKING_FILE];
    const char *format = values->texts[CREATE_BACKING_FMT];
    const char *wrong = NULL;

    if (name != NULL && name[0] == '\0')
        wrong = "Expected backing file name, got empty string";
    else if (name == NULL && format != NULL)
        wrong = "Backing format cannot be used without backing file";
    if (wrong != NULL)
        snprintf(message, CREATE_MESSAGE_SIZE, "%s", wrong);
    ret_options->backing_name = name;
    ret_options->backing_format = format;
    ret_options->backing_open = name != NULL ? &backing_open : NULL;
    return wrong == NULL;
}

/* ---- Encryption ---- */

static const enum create_key luks_keys[] = {
    CREATE_CIPHER_ALG, CREATE_CIPHER_MODE,    CREATE_HASH_ALG,
    CREATE_IVGEN_ALG,  CREATE_IVGEN_HASH_ALG, CREATE_ITER_TIME,
};

/* The first LUKS option that was given, or CREATE_KEY_COUNT. */
static enum create_key first_luks_key(const struct create_values *values)
{
    for (size_t i = 0; i < COUNT(luks_keys); i++)
        if (values->texts[luks_keys[i]] != NULL)
            return luks_keys[i];
    return CREATE_KEY_COUNT;
}

/* The method, in *ret_method.  Returns false and fills `message`. */
static bool find_method(const struct create_values *values,
                        uint32_t *ret_method, char *message)
{
    const char *format = values->texts[CREATE_ENCRYPT_FORMAT];
    const enum create_key luks_key = first_luks_key(values);

    *ret_method = BYRE_ENCRYPTION_NONE;
    if (format != NULL && values->texts[CREATE_ENCRYPTION] != NULL) {
        snprintf(message, CREATE_MESSAGE_SIZE,
                 "'encrypt.format' and its old form 'encryption' exclude each "
                 "other");
        return false;
    }
    if (!find_word(encryptions, "encrypt.format", format, ret_method, message))
        return false;
    if (is_on(values, CREATE_ENCRYPTION))
        *ret_method = BYRE_ENCRYPTION_AES;
    if (*ret_method == BYRE_ENCRYPTION_NONE &&
        (luks_key != CREATE_KEY_COUNT ||
         values->texts[CREATE_KEY_SECRET] != NULL)) {
        snprintf(message, CREATE_MESSAGE_SIZE,
                 "Parameter 'encrypt.format' is missing");
        return false;
    }
    if (*ret_method == BYRE_ENCRYPTION_AES && luks_key != CREATE_KEY_COUNT) {
        snprintf(message, CREATE_MESSAGE_SIZE,
                 "Parameter '%s' is unexpected: it belongs to "
                 "encrypt.format=luks",
                 create_key_name(luks_key));
        return false;
    }
    return true;
}

static bool find_passphrase(const struct create_values *values,
                            struct secrets *secrets, const char *name,
                            struct byre_create_options *ret_options,
                            struct create_passphrase *ret_passphrase,
                            char *message)
{
    const char *id = values->texts[CREATE_KEY_SECRET];
    struct byre_error err;

    if (id == NULL && secrets->passphrase_file == NULL) {
        snprintf(message, CREATE_MESSAGE_SIZE,
                 "Parameter 'encrypt.key-secret' is required for cipher; or "
                 "give the passphrase with --passphrase-file");
        return false;
    }
    ret_passphrase->bytes = malloc(MAX_PASSPHRASE_BYTES);
    if (ret_passphrase->bytes == NULL) {
        snprintf(message, CREATE_MESSAGE_SIZE, "out of memory");
        return false;
    }
    if (secrets_get(secrets, id, name, ret_passphrase->bytes,
                    MAX_PASSPHRASE_BYTES, &ret_options->passphrase_bytes,
                    &err) < 0) {
        snprintf(message, CREATE_MESSAGE_SIZE, "%s", err.message);
        return false;
    }
    ret_options->passphrase = ret_passphrase->bytes;
    return true;
}

static bool fill_encryption(const struct create_values *values,
                            struct secrets *secrets, const char *name,
                            struct byre_create_options *ret_options,
                            struct create_passphrase *ret_passphrase,
                            char *message)
{
    const char *iter_time = values->texts[CREATE_ITER_TIME];

    if (!find_method(values, &ret_options->encryption, message))
        return false;
    if (ret_options->encryption == BYRE_ENCRYPTION_NONE)
        return true;
    ret_options->cipher_alg = values->texts[CREATE_CIPHER_ALG];
    ret_options->cipher_mode = values->texts[CREATE_CIPHER_MODE];
    ret_options->ivgen_alg = values->texts[CREATE_IVGEN_ALG];
    ret_options->ivgen_hash_alg = values->texts[CREATE_IVGEN_HASH_ALG];
    ret_options->hash_alg = values->texts[CREATE_HASH_ALG];
    if (iter_time != NULL)
        ret_options->iter_time_msec = strtoull(iter_time, NULL, 10);
    return find_passphrase(values, secrets, name, ret_options, ret_passphrase,
                           message);
}

void create_passphrase_done(struct create_passphrase *passphrase)
{
    if (passphrase->bytes != NULL)
        explicit_bzero(passphrase->bytes, MAX_PASSPHRASE_BYTES);
    free(passphrase->bytes);
    *passphrase = (struct create_passphrase){ 0 };
}

bool create_values_fill(const struct create_values *values,
                        struct secrets *secrets, const char *name,
                        struct byre_create_options *ret_options,
                        struct create_passphrase *ret_passphrase,
                        char message[CREATE_MESSAGE_SIZE])
{
    *ret_options = (struct byre_create_options)BYRE_CREATE_OPTIONS_INIT;
    *ret_passphrase = (struct create_passphrase){ 0 };
    ret_options->format = values->format;
    ret_options->flags = fill_flags(values);
    ret_options->compression_type = values->texts[CREATE_COMPRESSION_TYPE];
    ret_options->data_file = values->texts[CREATE_DATA_FILE];
    return fill_layout(values, ret_options, message) &&
           fill_backing(values, ret_options, message) &&
           fill_encryption(values, secrets, name, ret_options, ret_passphrase,
                           message);
}
