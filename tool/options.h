/* SPDX-License-Identifier: MIT */
/*
 * Options of a verb as a table: what getopt_long() takes and what --help prints
 * both come from it, so that they cannot disagree.
 *
 * The grammar is GNU's: options and operands in any order, "--" ends the
 * options, long names may be shortened, short ones take their argument attached
 * or apart.
 */
#ifndef TOOL_OPTIONS_H
#define TOOL_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "report.h"
#include "secrets.h"

struct option_spec {
    int id;           /* the letter, or an OPTION_* of those without one */
    const char *name; /* the long name, without dashes; NULL: none */
    /* What it takes, for --help; NULL: nothing; "[=A|B]": of the long form, at
       will, one of these words. */
    const char *argument;
    const char *help; /* one line; NULL: taken, but not shown */
};

/* Ids of options that have no letter. */
enum {
    OPTION_END = -1,
    OPTION_BAD = -2,
    OPTION_IMAGE_OPTS = 256,
    OPTION_OBJECT,
    OPTION_PROBE_BACKING,
    OPTION_PASSPHRASE_FILE,
    OPTION_OUTPUT,
    OPTION_OTHER /* verbs count their own from here */
};

/*
 * The next option of `verb`, with its argument or NULL in *ret_argument.
 * OPTION_END when none is left: the operands are then argv[optind] onwards.
 * OPTION_BAD after a message about a wrong one.
 */
int options_next(const struct tool *tool, const char *verb,
                 const struct option_spec *specs, int argc, char **argv,
                 const char **ret_argument);

/* Prints the shown options of `specs`, one a line. */
void options_print(const struct option_spec *specs);

/* ---- What every verb takes about the images it opens ---- */

struct image_options {
    const char *format;     /* -f; NULL: probed */
    bool as_options;        /* --image-opts: names are key=value lists */
    bool probe_backing;     /* --probe-backing */
    bool shared;            /* -U */
    struct secrets secrets; /* --object secret and --passphrase-file */
};

/* The rows of the options that image_options_take() knows, except -f. */
/* clang-format off */
#define SECRET_OPTION_SPECS                                                    \
    { OPTION_OBJECT, "object", "OBJDEF",                                       \
      "a secret: secret,id=ID,file=NAME or secret,id=ID,data=TEXT" },          \
    { OPTION_PASSPHRASE_FILE, "passphrase-file", "NAME",                       \
      "all bytes of this file are the passphrase of images" }
#define SHARE_OPTION_SPEC                                                      \
    { 'U', "force-share", NULL,                                                \
      "open even while another program writes to the image" }
#define HELP_OPTION_SPEC { 'h', "help", NULL, "show this help" }
/* Of verbs that write to the image: those do not share it. */
#define WRITTEN_IMAGE_OPTION_SPECS                                             \
    { OPTION_IMAGE_OPTS, "image-opts", NULL,                                   \
      "FILE is a list of options: driver=qcow2,file.filename=NAME" },          \
    SECRET_OPTION_SPECS,                                                       \
    { OPTION_PROBE_BACKING, "probe-backing", NULL,                             \
      "guess the format of a backing file that records none" }
#define IMAGE_OPTION_SPECS                                                     \
    WRITTEN_IMAGE_OPTION_SPECS, SHARE_OPTION_SPEC, HELP_OPTION_SPEC
/* clang-format on */

/* Fresh options with the defaults of the name the program runs under. */
void image_options_init(struct image_options *options, const struct tool *tool);

/* Frees what image_options_take() collected, see struct secrets. */
void image_options_done(struct image_options *options);

enum image_option {
    IMAGE_OPTION_NONE,
    IMAGE_OPTION_TAKEN,
    IMAGE_OPTION_HELP,
    IMAGE_OPTION_BAD
};

/*
 * Takes the option `id` if it is one of the shared ones or -f.  Returns
 * IMAGE_OPTION_NONE if it is not one of these, IMAGE_OPTION_BAD after a
 * message, IMAGE_OPTION_HELP if it asked for help, which was printed.
 */
enum image_option image_options_take(struct image_options *options,
                                     const struct tool *tool, int id,
                                     const char *argument);

/* What --output= says.  Returns false after a message. */
bool output_is_json(const struct tool *tool, const char *argument,
                    bool *ret_json);

/* ---- What long work takes about its output ---- */

struct job_options {
    bool progress;      /* -p */
    bool progress_json; /* --progress=json */
    bool quiet;         /* -q */
    bool json;          /* --output=json, of verbs that have it */
};

/* clang-format off */
#define JOB_OPTION_SPECS                                                       \
    { 'p', "progress", "[=human|json]",                                        \
      "show progress; json: as objects, one a line" },                         \
    { 'q', "quiet", NULL, "print nothing but errors" }
/* clang-format on */

/* Takes -p or -q, the argument of --progress= from getopt itself.  Returns
   whether the option was one of them. */
bool job_options_take(struct job_options *options, int id);

/* ---- Cache modes ---- */

#define CACHE_DIRECT  0x1u /* past the page cache */
#define CACHE_NO_SYNC 0x2u /* nothing waits for the bytes to be durable */

/* The flags of a mode as -t and -T name it.  Returns false if there is none. */
bool cache_mode_parse(const char *text, uint32_t *ret_flags);

/*
 * The same as BYRE_OPEN_* flags of an image that is written to; returns false
 * after a message.
 */
bool written_cache_take(const struct tool *tool, const char *text,
                        uint32_t *ret_open_flags);

/*
 * Takes the mode of images that are read, which has no effect.  Returns false
 * after a message if there is no such mode.
 */
bool source_cache_take(const struct tool *tool, const char *text);

#endif /* TOOL_OPTIONS_H */
