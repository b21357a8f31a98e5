/* SPDX-License-Identifier: MIT */
#include "create_options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json_out.h"
#include "keyval.h"
#include "size.h"

/* The formats that an option belongs to, and those whose files have it. */
enum {
    RAW = 1,
    QCOW = 2,
    QCOW2 = 4,
    RAW_FILE = 8,
    QCOW_FILE = 16,
    QCOW2_FILE = 32,
    AMEND = 64, /* a QCOW2 image that is there */
    FILE_ONLY = RAW_FILE | QCOW_FILE | QCOW2_FILE
};

enum create_type { TYPE_TEXT, TYPE_SIZE, TYPE_NUMBER, TYPE_SWITCH };

struct create_option {
    const char *name;
    enum create_type type;
    unsigned formats;
    const char *qcow2_default; /* what QEMU prints for QCOW2, or NULL */
    const char *help;
};

/* clang-format off */
static const struct create_option create_options[CREATE_KEY_COUNT] = {
    [CREATE_BACKING_FILE] = { "backing_file", TYPE_TEXT, QCOW | QCOW2 | AMEND,
      NULL,
      "the image that holds what this one does not" },
    [CREATE_BACKING_FMT] = { "backing_fmt", TYPE_TEXT, QCOW | QCOW2 | AMEND,
      NULL,
      "format of that image: raw, qcow or qcow2" },
    [CREATE_CLUSTER_SIZE] = { "cluster_size", TYPE_SIZE, QCOW2, "65536",
      "unit of allocation: a power of two from 512 to 2M" },
    [CREATE_COMPAT] = { "compat", TYPE_TEXT, QCOW2 | AMEND, NULL,
      "version: v3 (also 1.1) or v2 (also 0.10)" },
    [CREATE_COMPRESSION_TYPE] = { "compression_type", TYPE_TEXT, QCOW2, "zlib",
      "how clusters are compressed: zlib or zstd" },
    [CREATE_DATA_FILE] = { "data_file", TYPE_TEXT, QCOW2 | AMEND, NULL,
      "a file of its own for the bytes of the disk" },
    [CREATE_DATA_FILE_RAW] = { "data_file_raw", TYPE_SWITCH, QCOW2 | AMEND, NULL,
      "the data file reads as the disk by itself" },
    [CREATE_CIPHER_ALG] = { "encrypt.cipher-alg", TYPE_TEXT, QCOW2, NULL,
      "LUKS: aes-256, aes-192 or aes-128" },
    [CREATE_CIPHER_MODE] = { "encrypt.cipher-mode", TYPE_TEXT, QCOW2, NULL,
      "LUKS: xts, cbc, ecb or ctr" },
    [CREATE_ENCRYPT_FORMAT] = { "encrypt.format", TYPE_TEXT, QCOW | QCOW2, NULL,
      "encrypt the disk: aes, or (qcow2) luks" },
    [CREATE_HASH_ALG] = { "encrypt.hash-alg", TYPE_TEXT, QCOW2, NULL,
      "LUKS: hash of the passphrase, as sha256" },
    [CREATE_ITER_TIME] = { "encrypt.iter-time", TYPE_NUMBER, QCOW2 | AMEND, NULL,
      "LUKS: milliseconds that trying a passphrase takes" },
    [CREATE_IVGEN_ALG] = { "encrypt.ivgen-alg", TYPE_TEXT, QCOW2, NULL,
      "LUKS: plain64, plain or essiv" },
    [CREATE_IVGEN_HASH_ALG] = { "encrypt.ivgen-hash-alg", TYPE_TEXT, QCOW2,
      NULL, "LUKS: the hash that essiv needs" },
    [CREATE_KEY_SECRET] = { "encrypt.key-secret", TYPE_TEXT, QCOW | QCOW2, NULL,
      "id of the --object that is the passphrase" },
    [CREATE_KEYSLOT] = { "encrypt.keyslot", TYPE_NUMBER, AMEND, NULL,
      "LUKS: the key slot that changes, 0 to 7" },
    [CREATE_NEW_SECRET] = { "encrypt.new-secret", TYPE_TEXT, AMEND, NULL,
      "LUKS: id of the --object that is the new passphrase" },
    [CREATE_OLD_SECRET] = { "encrypt.old-secret", TYPE_TEXT, AMEND, NULL,
      "LUKS: id of the --object whose key slots are erased" },
    [CREATE_KEY_STATE] = { "encrypt.state", TYPE_TEXT, AMEND, NULL,
      "LUKS: active adds a passphrase, inactive erases one" },
    [CREATE_ENCRYPTION] = { "encryption", TYPE_SWITCH, QCOW | QCOW2, NULL,
      "the old way to say encrypt.format=aes" },
    [CREATE_EXTENDED_L2] = { "extended_l2", TYPE_SWITCH, QCOW2, "off",
      "32 subclusters in each cluster" },
    [CREATE_EXTENT_SIZE_HINT] = { "extent_size_hint", TYPE_SIZE, FILE_ONLY,
      NULL, "taken, but has no effect" },
    [CREATE_KEEP_DATA_FILE] = { "keep_data_file", TYPE_SWITCH, QCOW2, NULL,
      "take over the data file with what it holds" },
    [CREATE_LAZY_REFCOUNTS] = { "lazy_refcounts", TYPE_SWITCH, QCOW2 | AMEND, "off",
      "recorded: other programs may then count references late" },
    [CREATE_NOCOW] = { "nocow", TYPE_SWITCH, FILE_ONLY, NULL,
      "no copy-on-write of the file system (btrfs)" },
    [CREATE_PREALLOCATION] = { "preallocation", TYPE_TEXT, QCOW2 | RAW_FILE,
      NULL, "space taken at once: off, metadata (qcow2), falloc or full" },
    [CREATE_REFCOUNT_BITS] = { "refcount_bits", TYPE_NUMBER, QCOW2 | AMEND, "16",
      "width of a reference count: 1, 2, 4, ... 64" },
    [CREATE_SIZE] = { "size", TYPE_SIZE, RAW | QCOW | QCOW2 | AMEND, NULL,
      "size of the disk" },
};

/* The orders in which QEMU prints the options of a new image. */
static const enum create_key qcow2_order[] = {
    CREATE_ENCRYPTION, CREATE_ENCRYPT_FORMAT, CREATE_KEY_SECRET,
    CREATE_CIPHER_ALG, CREATE_CIPHER_MODE, CREATE_IVGEN_ALG,
    CREATE_IVGEN_HASH_ALG, CREATE_HASH_ALG, CREATE_ITER_TIME,
    CREATE_CLUSTER_SIZE, CREATE_EXTENDED_L2, CREATE_PREALLOCATION,
    CREATE_COMPRESSION_TYPE, CREATE_SIZE, CREATE_COMPAT, CREATE_BACKING_FILE,
    CREATE_BACKING_FMT, CREATE_DATA_FILE, CREATE_DATA_FILE_RAW,
    CREATE_KEEP_DATA_FILE, CREATE_LAZY_REFCOUNTS, CREATE_REFCOUNT_BITS,
    CREATE_NOCOW, CREATE_EXTENT_SIZE_HINT,
};
static const enum create_key other_order[] = {
    CREATE_SIZE, CREATE_BACKING_FILE, CREATE_BACKING_FMT, CREATE_ENCRYPTION,
    CREATE_ENCRYPT_FORMAT, CREATE_KEY_SECRET, CREATE_PREALLOCATION,
    CREATE_NOCOW, CREATE_EXTENT_SIZE_HINT,
};
/* clang-format on */

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
    const char *name;
    unsigned formats;
    unsigned with_file;
} formats[] = {
    { "raw", RAW, RAW | RAW_FILE },
    { "qcow", QCOW, QCOW | QCOW_FILE },
    { "qcow2", QCOW2, QCOW2 | QCOW2_FILE },
};

/* The bits of a format in struct create_option. */
static unsigned format_bits(const char *format, bool with_file)
{
    for (size_t i = 0; i < COUNT(formats); i++)
        if (strcmp(format, formats[i].name) == 0)
            return with_file ? formats[i].with_file : formats[i].formats;
    return 0;
}

bool create_format_check(const struct tool *tool, const char *name,
                         const char *format)
{
    if (format_bits(format, false) != 0)
        return true;
    report(tool, "%s%sUnknown file format '%s'; there are raw, qcow and qcow2",
           name != NULL ? name : "", name != NULL ? ": " : "", format);
    return false;
}

const char *create_key_name(enum create_key key)
{
    return create_options[key].name;
}

/* ---- The lists ---- */

static bool is_list(const char *text)
{
    const size_t length = strlen(text);
    size_t commas = 0;

    while (commas < length && text[length - 1 - commas] == ',')
        commas++;
    /* A doubled comma is one within a value; a single one ends it. */
    return length > 0 && text[0] != ',' && commas % 2 == 0;
}

/* Whether a word of the list asks for help.  `word` has room for the list. */
static bool asks_for_help(const char *text, char *word)
{
    while (*text != '\0') {
        text = keyval_next(text, word);
        if (strcmp(word, "help") == 0 || strcmp(word, "?") == 0)
            return true;
    }
    return false;
}

bool create_list_take(struct create_list *list, const struct tool *tool,
                      const char *argument)
{
    const size_t old_length = list->text != NULL ? strlen(list->text) : 0;
    const size_t size = old_length + strlen(argument) + 2;
    char *text;

    if (!is_list(argument)) {
        report(tool, "Invalid option list: %s", argument);
        return false;
    }
    text = malloc(size);
    if (text == NULL) {
        report(tool, "out of memory");
        return false;
    }
    list->help = asks_for_help(argument, text) || list->help;
    snprintf(text, size, "%s%s%s", old_length > 0 ? list->text : "",
             old_length > 0 ? "," : "", argument);
    free(list->text);
    list->text = text;
    return true;
}

void create_list_done(struct create_list *list)
{
    free(list->text);
    *list = (struct create_list){ 0 };
}

/* ---- The values ---- */

static void print_rows(unsigned bits)
{
    static const char *const types[] = { "<str>", "<size>", "<num>",
                                         "<bool (on/off)>" };

    for (size_t i = 0; i < CREATE_KEY_COUNT; i++) {
        const struct create_option *option = &create_options[i];
        char left[64];

        if ((option->formats & bits) == 0)
            continue;
        snprintf(left, sizeof(left), "%s=%s", option->name,
                 types[option->type]);
        printf("  %-22s - %s\n", left, option->help);
    }
}

void create_options_print_amend(void)
{
    printf("Amend options for 'qcow2':\n");
    print_rows(AMEND);
}

void create_options_print(const char *format, bool with_file)
{
    if (with_file)
        printf("Supported options:\n");
    else
        printf("Supported %s options:\n", format);
    print_rows(format_bits(format, with_file));
    if (!with_file)
        printf("\nWith the name of the image, options of its file are listed "
               "as well.\n");
}

static bool take_size(const char *name, const char *value, char *ret_text,
                      size_t text_size, char *message)
{
    uint64_t size;
    const int r = size_parse(value, &size);

    if (r == -ERANGE)
        snprintf(message, CREATE_MESSAGE_SIZE,
                 "Value '%.100s' is out of range for parameter '%s'", value,
                 name);
    else if (r < 0)
        snprintf(message, CREATE_MESSAGE_SIZE,
                 "Parameter '%s' expects a size, not '%.100s'", name, value);
    else
        snprintf(ret_text, text_size, "%" PRIu64, size);
    return r == 0;
}

static bool take_number(const char *name, const char *value, char *ret_text,
                        size_t text_size, char *message)
{
    unsigned long long number;
    char *end;

    errno = 0;
    number = strtoull(value, &end, 0);
    if (end == value || *end != '\0' || errno != 0 ||
        strchr(value, '-') != NULL) {
        snprintf(message, CREATE_MESSAGE_SIZE,
                 "Parameter '%s' expects a number, not '%.100s'", name, value);
        return false;
    }
    snprintf(ret_text, text_size, "%llu", number);
    return true;
}

static bool take_switch(const char *name, const char *value, char *ret_text,
                        size_t text_size, char *message)
{
    static const struct {
        const char *word;
        bool on;
    } words[] = {
        { "on", true },   { "yes", true }, { "y", true },  { "true", true },
        { "off", false }, { "no", false }, { "n", false }, { "false", false },
    };

    for (size_t i = 0; i < COUNT(words); i++) {
        if (strcmp(value, words[i].word) == 0) {
            snprintf(ret_text, text_size, "%s", words[i].on ? "on" : "off");
            return true;
        }
    }
    snprintf(message, CREATE_MESSAGE_SIZE,
             "Parameter '%s' expects on or off, not '%.100s'", name, value);
    return false;
}

bool create_values_set(struct create_values *values, enum create_key key,
                       const char *text, char message[CREATE_MESSAGE_SIZE])
{
    char *copy = strdup(text);

    if (copy == NULL) {
        snprintf(message, CREATE_MESSAGE_SIZE, "out of memory");
        return false;
    }
    free(values->texts[key]);
    values->texts[key] = copy;
    return true;
}

/* CREATE_KEY_COUNT: the format has no option of that name. */
static enum create_key find_key(const struct create_values *values,
                                const char *name)
{
    const unsigned bits =
        values->amend ? AMEND : format_bits(values->format, true);
    enum create_key key = 0;

    while (key < CREATE_KEY_COUNT &&
           (strcmp(create_options[key].name, name) != 0 ||
            (create_options[key].formats & bits) == 0))
        key++;
    return key;
}

static bool is_for_new_images(const char *name)
{
    const struct create_values new_image = { .format = "qcow2" };

    return find_key(&new_image, name) != CREATE_KEY_COUNT;
}

static bool take_pair(struct create_values *values, const char *name,
                      const char *value, char *message)
{
    const enum create_key key = find_key(values, name);
    char text[32];
    bool good = true;

    if (key == CREATE_KEY_COUNT) {
        snprintf(message, CREATE_MESSAGE_SIZE, "Invalid parameter '%.200s'%s",
                 name,
                 values->amend && is_for_new_images(name)
                     ? "; it can only be chosen for a new image"
                     : "");
        return false;
    }
    switch (create_options[key].type) {
    case TYPE_TEXT:
        return create_values_set(values, key, value, message);
    case TYPE_SIZE:
        good = take_size(name, value, text, sizeof(text), message);
        break;
    case TYPE_NUMBER:
        good = take_number(name, value, text, sizeof(text), message);
        break;
    case TYPE_SWITCH:
        good = take_switch(name, value, text, sizeof(text), message);
        break;
    }
    return good && create_values_set(values, key, text, message);
}

static bool is_known(const struct create_values *values, const char *name)
{
    return find_key(values, name) != CREATE_KEY_COUNT;
}

/* One word of a list: KEY=VALUE, or KEY and noKEY of a switch. */
static bool take_word(struct create_values *values, char *word, char *message)
{
    char *equals = strchr(word, '=');

    if (equals != NULL) {
        *equals = '\0';
        return take_pair(values, word, equals + 1, message);
    }
    if (!is_known(values, word) && strncmp(word, "no", 2) == 0 &&
        is_known(values, word + 2))
        return take_pair(values, word + 2, "off", message);
    return take_pair(values, word, "on", message);
}

static bool parse_list(struct create_values *values,
                       const struct create_list *list, char *message)
{
    const char *text = list->text != NULL ? list->text : "";
    char *word = malloc(strlen(text) + 1);
    bool good = word != NULL;

    if (word == NULL)
        snprintf(message, CREATE_MESSAGE_SIZE, "out of memory");
    while (good && *text != '\0') {
        text = keyval_next(text, word);
        good = take_word(values, word, message);
    }
    free(word);
    return good;
}

bool create_values_parse(struct create_values *ret_values, const char *format,
                         const struct create_list *list,
                         char message[CREATE_MESSAGE_SIZE])
{
    *ret_values = (struct create_values){ .format = format };
    return parse_list(ret_values, list, message);
}

bool create_values_parse_amend(struct create_values *ret_values,
                               const struct create_list *list,
                               char message[CREATE_MESSAGE_SIZE])
{
    *ret_values = (struct create_values){ .format = "qcow2", .amend = true };
    return parse_list(ret_values, list, message);
}

bool create_values_set_backing(struct create_values *values,
                               const char *backing_file,
                               const char *backing_format,
                               char message[CREATE_MESSAGE_SIZE])
{
    const bool has_backing = (create_options[CREATE_BACKING_FILE].formats &
                              format_bits(values->format, false)) != 0;

    if (!has_backing && (backing_file != NULL || backing_format != NULL)) {
        snprintf(message, CREATE_MESSAGE_SIZE,
                 "Backing file%s not supported for file format '%s'",
                 backing_file == NULL ? " format" : "", values->format);
        return false;
    }
    if (backing_file != NULL &&
        !create_values_set(values, CREATE_BACKING_FILE, backing_file, message))
        return false;
    return backing_format == NULL ||
           create_values_set(values, CREATE_BACKING_FMT, backing_format,
                             message);
}

void create_values_done(struct create_values *values)
{
    for (size_t i = 0; i < CREATE_KEY_COUNT; i++)
        free(values->texts[i]);
    *values = (struct create_values){ 0 };
}

/* A comma within a value is doubled, as it was given. */
static void print_value(const char *name, const char *text)
{
    char *doubled = malloc(2 * strlen(text) + 1);
    char *end = doubled;

    if (doubled == NULL)
        return; /* making the image will tell */
    for (; *text != '\0'; text++) {
        if (*text == ',')
            *end++ = ',';
        *end++ = *text;
    }
    *end = '\0';
    printf(" %s=", name);
    print_plain(doubled);
    free(doubled);
}

/* The value at one place of the order, with the defaults; NULL: none. */
static const char *value_at(const struct create_values *values, size_t place,
                            const char **ret_name)
{
    const bool is_qcow2 = strcmp(values->format, "qcow2") == 0;
    const enum create_key key =
        is_qcow2 ? qcow2_order[place] : other_order[place];
    const char *text = values->texts[key];

    *ret_name = create_options[key].name;
    if (text == NULL && is_qcow2)
        return create_options[key].qcow2_default;
    return text;
}

static size_t place_count(const struct create_values *values)
{
    return strcmp(values->format, "qcow2") == 0 ? COUNT(qcow2_order)
                                                : COUNT(other_order);
}

void create_values_print(const struct create_values *values)
{
    for (size_t i = 0; i < place_count(values); i++) {
        const char *name;
        const char *text = value_at(values, i, &name);

        if (text != NULL)
            print_value(name, text);
    }
}

json_t *create_values_json(const struct create_values *values)
{
    json_t *object = json_object();

    for (size_t i = 0; i < place_count(values); i++) {
        const char *name;
        const char *text = value_at(values, i, &name);

        if (text != NULL)
            json_object_set_new(object, name, json_out_string(text));
    }
    return object;
}

/* The number of a value that was checked; `absent` if it was not given. */
static uint64_t number_of(const struct create_values *values,
                          enum create_key key, uint64_t absent)
{
    const char *text = values->texts[key];

    return text != NULL ? strtoull(text, NULL, 10) : absent;
}

bool create_values_size(const struct create_values *values, uint64_t *ret_size)
{
    if (values->texts[CREATE_SIZE] == NULL)
        return false;
    *ret_size = number_of(values, CREATE_SIZE, 0);
    return true;
}
