/* SPDX-License-Identifier: MIT */
/*
 * The options of new images, as lists of -o carry them.  The lists are
 * collected first, for what a list may hold depends on the format, which may be
 * named behind it; then they are read as the options of one format; and the
 * values become a struct byre_create_options.
 */
#ifndef TOOL_CREATE_OPTIONS_H
#define TOOL_CREATE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <byre.h>
#include <jansson.h>

#include "report.h"
#include "secrets.h"

/* In the order of their names, in which they are listed. */
enum create_key {
    CREATE_BACKING_FILE,
    CREATE_BACKING_FMT,
    CREATE_CLUSTER_SIZE,
    CREATE_COMPAT,
    CREATE_COMPRESSION_TYPE,
    CREATE_DATA_FILE,
    CREATE_DATA_FILE_RAW,
    CREATE_CIPHER_ALG,
    CREATE_CIPHER_MODE,
    CREATE_ENCRYPT_FORMAT,
    CREATE_HASH_ALG,
    CREATE_ITER_TIME,
    CREATE_IVGEN_ALG,
    CREATE_IVGEN_HASH_ALG,
    CREATE_KEY_SECRET,
    CREATE_KEYSLOT,
    CREATE_NEW_SECRET,
    CREATE_OLD_SECRET,
    CREATE_KEY_STATE,
    CREATE_ENCRYPTION,
    CREATE_EXTENDED_L2,
    CREATE_EXTENT_SIZE_HINT,
    CREATE_KEEP_DATA_FILE,
    CREATE_LAZY_REFCOUNTS,
    CREATE_NOCOW,
    CREATE_PREALLOCATION,
    CREATE_REFCOUNT_BITS,
    CREATE_SIZE,
    CREATE_KEY_COUNT
};

/* As lists spell it. */
const char *create_key_name(enum create_key key);

/* ---- The lists ---- */

struct create_list {
    char *text; /* all of them, joined by commas; NULL: there was none */
    bool help;  /* one of them asks what there is */
};

/*
 * Takes the argument of one -o; several add up, and of equal keys the last one
 * counts.  Returns false after a message.
 */
bool create_list_take(struct create_list *list, const struct tool *tool,
                      const char *argument);

void create_list_done(struct create_list *list);

/* ---- The values ---- */

/* A message of the library, and where it came about. */
#define CREATE_MESSAGE_SIZE (BYRE_ERROR_MESSAGE_SIZE + 128)

/*
 * Whether the format is raw, qcow or qcow2.  Returns false after a message,
 * which begins with `name` unless that is NULL.
 */
bool create_format_check(const struct tool *tool, const char *name,
                         const char *format);

/* Prints what -o takes where a QCOW2 image is amended. */
void create_options_print_amend(void);

/*
 * Prints what -o takes for images of the format; with `with_file` that what
 * belongs to their files too.
 */
void create_options_print(const char *format, bool with_file);

/*
 * What was given, in one spelling: sizes and numbers in decimal, switches as on
 * and off.  Each is owned; NULL: not given.
 */
struct create_values {
    const char *format;
    bool amend; /* options of an image that is there */
    char *texts[CREATE_KEY_COUNT];
};

/*
 * Reads the list (its text may be NULL) as options of `format`, a known one,
 * which must outlive the values.  Returns false and fills `message` if there is
 * something wrong with it; create_values_done() is due in either case.
 */
bool create_values_parse(struct create_values *ret_values, const char *format,
                         const struct create_list *list,
                         char message[CREATE_MESSAGE_SIZE]);

/* The same for the options that amend takes, of a QCOW2 image. */
bool create_values_parse_amend(struct create_values *ret_values,
                               const struct create_list *list,
                               char message[CREATE_MESSAGE_SIZE]);

/*
 * Sets a value besides the list: a copy of `text`, which is not checked.
 * Returns false and fills `message` if memory ran out.
 */
bool create_values_set(struct create_values *values, enum create_key key,
                       const char *text, char message[CREATE_MESSAGE_SIZE]);

/*
 * Sets the backing file and its format as the options -b and -F name them; NULL
 * leaves that of the list.  Returns false and fills `message` if the format has
 * no backing files.
 */
bool create_values_set_backing(struct create_values *values,
                               const char *backing_file,
                               const char *backing_format,
                               char message[CREATE_MESSAGE_SIZE]);

void create_values_done(struct create_values *values);

/*
 * Prints the values as "KEY=VALUE KEY=VALUE" in QEMU's order, each behind a
 * space, with the defaults that QEMU prints.
 */
void create_values_print(const struct create_values *values);

/* The same as an object of texts. */
json_t *create_values_json(const struct create_values *values);

/* The size among the values.  Returns false if there is none. */
bool create_values_size(const struct create_values *values, uint64_t *ret_size);

/* 2 or 3, as the option compat names it.  Returns false if none is named so,
   and fills `message`; NULL leaves *ret_version alone. */
bool version_parse(const char *text, uint32_t *ret_version,
                   char message[CREATE_MESSAGE_SIZE]);

/* BYRE_PREALLOCATION_* as the options name it.  Returns false if none is. */
bool preallocation_parse(const char *text, uint32_t *ret_preallocation);

/* The passphrase of a new image; overwritten when it goes. */
struct create_passphrase {
    unsigned char *bytes;
};

void create_passphrase_done(struct create_passphrase *passphrase);

/*
 * Fills all of *ret_options but the size from `values`, which must outlive it,
 * and finds the passphrase in `secrets`; `name` is that of the image.  Returns
 * false and fills `message` on failure; create_passphrase_done() is due in
 * either case.
 */
bool create_values_fill(const struct create_values *values,
                        struct secrets *secrets, const char *name,
                        struct byre_create_options *ret_options,
                        struct create_passphrase *ret_passphrase,
                        char message[CREATE_MESSAGE_SIZE]);

#endif /* TOOL_CREATE_OPTIONS_H */
