/* SPDX-License-Identifier: MIT */
/* byre convert: the disks of images, one behind the other, into a new one. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "convert.h"
#include "convert_salvage.h"
#include "keyval.h"
#include "progress.h"
#include "size.h"

#define MAX_WORKERS      16
#define MAX_SPARSE_BYTES ((uint64_t)16 << 20)
#define SECTOR_SIZE      512

enum {
    OPTION_BITMAPS = OPTION_OTHER,
    OPTION_SKIP_BROKEN_BITMAPS,
    OPTION_SALVAGE,
    OPTION_TARGET_IMAGE_OPTS,
    OPTION_TARGET_IS_ZERO
};

/* clang-format off */
static const struct option_spec convert_specs[] = {
    { 'f', "source-format", "FMT", "format of the sources: raw, qcow or qcow2; "
      "else it is probed" },
    { 'O', "target-format", "FMT", "format of the target: raw (the default), "
      "qcow or qcow2" },
    { 'o', "target-format-options", "LIST",
      "KEY=VALUE,... for the target; 'help' lists them" },
    { 'c', "compress", NULL, "compress the clusters of the target" },
    { 'b', "backing", "FILE", "the target stands on this image, and holds only "
      "what the source itself does; also -B" },
    { 'B', NULL, "FILE", NULL },
    { 'F', "backing-format", "FMT", "format of that image" },
    { 'l', "snapshot", "SNAPSHOT", "read this snapshot: its id or name, or "
      "snapshot.id=ID,snapshot.name=NAME" },
    { 'n', "no-create", NULL, "write into the existing target" },
    { OPTION_TARGET_IS_ZERO, "target-is-zero", NULL,
      "the existing target reads as zeroes already" },
    { OPTION_TARGET_IMAGE_OPTS, "target-image-opts", NULL,
      "the target is a list of options: driver=raw,file.filename=NAME" },
    { OPTION_BITMAPS, "bitmaps", NULL, "copy bitmaps too; only sources without "
      "any are taken" },
    { OPTION_SKIP_BROKEN_BITMAPS, "skip-broken-bitmaps", NULL,
      "with --bitmaps: leave out those in use" },
    { 'S', "sparse-size", "SIZE", "runs of so many zero bytes become holes "
      "(4k); 0: no holes" },
    { 'm', "parallel", "N", "copy with so many threads, 1 to 16" },
    { 'W', "oob-writes", NULL, "write out of order; it always does" },
    { 'C', "copy-range-offloading", NULL, "taken as in qemu-img; has no "
      "effect" },
    { 'r', "rate-limit", "RATE", "at most so many bytes a second" },
    { 't', "target-cache", "CACHE", "none, directsync, writeback, "
      "writethrough or unsafe" },
    { 'T', "source-cache", "CACHE", "cache mode of the sources; has no effect" },
    { OPTION_SALVAGE, "salvage", NULL, "what cannot be read becomes zeroes" },
    JOB_OPTION_SPECS,
    IMAGE_OPTION_SPECS,
    { 0, NULL, NULL, NULL },
};
/* clang-format on */

/* ---- Arguments of single options ---- */

static bool take_sparse_size(struct convert_request *request,
                             const struct tool *tool, const char *argument)
{
    uint64_t size;

    if (!size_option(tool, "sparse size", argument, &size))
        return false;
    if (size % SECTOR_SIZE != 0 || size > MAX_SPARSE_BYTES) {
        report(tool,
               "Invalid sparse size specified: %" PRIu64
               " is not a multiple of %d up to %" PRIu64,
               size, SECTOR_SIZE, MAX_SPARSE_BYTES);
        return false;
    }
    request->sparse_given = true;
    request->job.sparse_bytes = size == 0 ? BYRE_SPARSE_NONE : size;
    return true;
}

static bool take_workers(struct convert_request *request,
                         const struct tool *tool, const char *argument)
{
    char *end;
    const long workers = strtol(argument, &end, 10);

    if (end == argument || *end != '\0' || workers < 1 ||
        workers > MAX_WORKERS) {
        report(tool, "Invalid number of threads '%s': it must be 1 to %d",
               argument, MAX_WORKERS);
        return false;
    }
    request->job.workers = (uint32_t)workers;
    return true;
}

static bool take_target_cache(struct convert_request *request,
                              const struct tool *tool, const char *argument)
{
    uint32_t cache;

    if (!cache_mode_parse(argument, &cache)) {
        report(tool, "Invalid cache option: %s", argument);
        return false;
    }
    request->job.flags &= ~(BYRE_CONVERT_DIRECT | BYRE_CONVERT_NO_SYNC);
    if ((cache & CACHE_DIRECT) != 0)
        request->job.flags |= BYRE_CONVERT_DIRECT;
    if ((cache & CACHE_NO_SYNC) != 0)
        request->job.flags |= BYRE_CONVERT_NO_SYNC;
    return true;
}

/* "snapshot.id=ID,snapshot.name=NAME", or what may be either. */
static bool take_snapshot(struct convert_request *request,
                          const struct tool *tool, const char *argument)
{
    char message[KEYVAL_MESSAGE_SIZE];
    const char *key;
    json_t *value;

    request->snapshot = (struct snapshot_choice){ .any = argument };
    if (strncmp(argument, "snapshot.", strlen("snapshot.")) != 0)
        return true;

    json_decref(request->snapshot_keys);
    request->snapshot_keys = keyval_parse(argument, NULL, message);
    if (request->snapshot_keys == NULL) {
        report(tool, "Could not parse the snapshot '%s': %s", argument,
               message);
        return false;
    }
    request->snapshot.any = NULL;
    json_object_foreach(request->snapshot_keys, key, value)
    {
        if (strcmp(key, "snapshot.id") == 0) {
            request->snapshot.id = json_string_value(value);
        } else if (strcmp(key, "snapshot.name") == 0) {
            request->snapshot.name = json_string_value(value);
        } else {
            report(tool, "Invalid parameter '%s' of the snapshot '%s'", key,
                   argument);
            return false;
        }
    }
    return true;
}

/* Options whose argument may be wrong. */
static bool take_checked(struct convert_request *request,
                         const struct tool *tool, int id, const char *argument)
{
    switch (id) {
    case 'o':
        return create_list_take(&request->target_list, tool, argument);
    case 'l':
        return take_snapshot(request, tool, argument);
    case 'S':
        return take_sparse_size(request, tool, argument);
    case 'm':
        return take_workers(request, tool, argument);
    case 'r':
        return size_option(tool, "rate limit", argument,
                           &request->job.rate_bytes_per_second);
    case 't':
        return take_target_cache(request, tool, argument);
    case 'T':
        return source_cache_take(tool, argument);
    default:
        return true; /* -W: nothing to do */
    }
}

/* Options that are a flag of the job, or 0. */
static uint32_t job_flag(int id)
{
    switch (id) {
    case 'c':
        return BYRE_CONVERT_COMPRESS;
    case 'n':
        return BYRE_CONVERT_NO_CREATE;
    case OPTION_TARGET_IS_ZERO:
        return BYRE_CONVERT_TARGET_IS_ZERO;
    case OPTION_SALVAGE:
        return BYRE_CONVERT_SALVAGE;
    default:
        return 0;
    }
}

static int take_option(const struct tool *tool, int id, const char *argument,
                       void *user)
{
    struct convert_request *request = user;

    if (job_options_take(&request->output, id))
        return PARSE_ON;
    request->job.flags |= job_flag(id);
    switch (id) {
    case 'O':
        request->target_format = argument;
        break;
    case 'b':
    case 'B':
        request->backing_file = argument;
        break;
    case 'F':
        request->backing_format = argument;
        break;
    case OPTION_BITMAPS:
        request->bitmaps = true;
        break;
    case OPTION_SKIP_BROKEN_BITMAPS:
        request->skip_broken_bitmaps = true;
        break;
    case OPTION_TARGET_IMAGE_OPTS:
        request->target_image_opts = true;
        break;
    case 'C':
        request->copy_offload = true;
        break;
    default:
        if (!take_checked(request, tool, id, argument))
            return EXIT_FAILURE;
    }
    return PARSE_ON;
}

/* ---- The request as a whole ---- */

/* Returns what is wrong with -C, or NULL. */
static const char *offload_contradiction(const struct convert_request *request)
{
    if (!request->copy_offload)
        return NULL;
    if (request->sparse_given)
        return "Cannot enable copy offloading when -S is used";
    if (convert_has_flag(request, BYRE_CONVERT_COMPRESS))
        return "Cannot enable copy offloading when -c is used";
    if (convert_has_flag(request, BYRE_CONVERT_SALVAGE))
        return "Cannot use copy offloading in salvaging mode";
    return NULL;
}

/* Returns what is wrong with the options together, or NULL. */
static const char *contradiction(const struct convert_request *request,
                                 size_t source_count)
{
    const bool no_create = convert_has_flag(request, BYRE_CONVERT_NO_CREATE);

    if (!no_create && convert_has_flag(request, BYRE_CONVERT_TARGET_IS_ZERO))
        return "--target-is-zero requires use of -n flag";
    if (!no_create && request->target_image_opts)
        return "--target-image-opts requires use of -n flag";
    if (no_create && request->target_list.text != NULL)
        return "-o has no effect when skipping image creation";
    if (request->target_image_opts && request->target_format != NULL)
        return "--target-image-opts and -O are mutually exclusive";
    if (request->skip_broken_bitmaps && !request->bitmaps)
        return "Use of --skip-broken-bitmaps requires --bitmaps";
    if (source_count > 1 && request->bitmaps)
        return "Copying bitmaps only possible with single source";
    return offload_contradiction(request);
}

/* -O and -o help; returns PARSE_ON, or the exit status. */
static int check_target_format(const struct tool *tool,
                               const struct convert_request *request,
                               bool with_file)
{
    const char *format =
        request->target_format != NULL ? request->target_format : "raw";

    if (!create_format_check(tool, NULL, format))
        return EXIT_FAILURE;
    if (!request->target_list.help)
        return PARSE_ON;
    create_options_print(format, with_file);
    return EXIT_SUCCESS;
}

/* Returns PARSE_ON, or the exit status. */
static int parse(const struct tool *tool, int argc, char **argv,
                 struct convert_request *request)
{
    const char *wrong;
    int status = verb_parse(tool, &convert_verb, argc, argv, &request->image,
                            take_option, request);

    if (status == PARSE_ON)
        status = check_target_format(tool, request, argc - optind > 1);
    if (status != PARSE_ON)
        return status;
    if (argc - optind < 2) {
        report_usage(tool, "convert", "Must specify image file name");
        return EXIT_FAILURE;
    }
    wrong = contradiction(request, (size_t)(argc - optind) - 1);
    if (wrong != NULL) {
        report(tool, "%s", wrong);
        return EXIT_FAILURE;
    }
    if (argc - optind > 2 &&
        (request->snapshot.any != NULL || request->snapshot_keys != NULL)) {
        report(tool, "-l goes with one source, not with %d", argc - optind - 1);
        return EXIT_FAILURE;
    }
    return image_options_agree(tool, &request->image, request->image.format)
               ? PARSE_ON
               : EXIT_FAILURE;
}

/* ---- Sources ---- */

/*
 * Whether the snapshot that was opened by its id has the name that was given
 * too.  Returns false after a message.
 */
static bool snapshot_is_named(const struct tool *tool, struct byre *img,
                              const struct snapshot_choice *snapshot)
{
    const struct byre_snapshot *list = NULL;
    size_t count = 0;

    if (snapshot->id == NULL || snapshot->name == NULL)
        return true;
    if (byre_snapshot_list(img, &list, &count, NULL) < 0)
        count = 0;
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].id, snapshot->id) == 0 &&
            strcmp(list[i].name, snapshot->name) == 0)
            return true;
    report(tool, "No snapshot has both the id '%s' and the name '%s'",
           snapshot->id, snapshot->name);
    return false;
}

/* What a missing backing file held is lost, the rest is not. */
static struct byre *open_alone(const struct tool *tool,
                               const struct convert_request *request,
                               const char *text,
                               const struct snapshot_choice *snapshot)
{
    struct byre *img =
        image_open(tool, &request->image, text, request->image.format,
                   BYRE_OPEN_NO_BACKING | BYRE_OPEN_FOLLOW_DATA_FILE, snapshot);

    if (img != NULL)
        report(tool, "warning: '%s' is read without its backing file", text);
    return img;
}

static struct byre *open_source(const struct tool *tool,
                                const struct convert_request *request,
                                const char *text)
{
    struct snapshot_choice snapshot = request->snapshot;
    struct byre *img;

    if (snapshot.id != NULL)
        snapshot.name = NULL; /* the library takes one way at a time */
    img = image_open_disk(tool, &request->image, text, request->image.format,
                          &snapshot);
    if (img == NULL && convert_has_flag(request, BYRE_CONVERT_SALVAGE))
        img = open_alone(tool, request, text, &snapshot);
    if (img != NULL && convert_has_flag(request, BYRE_CONVERT_SALVAGE) &&
        !request->output.quiet)
        salvage_lists(tool, img);
    if (img == NULL || snapshot_is_named(tool, img, &request->snapshot))
        return img;
    byre_close(img, NULL);
    return NULL;
}

static void close_sources(struct byre **sources, size_t count)
{
    for (size_t i = 0; sources != NULL && i < count; i++)
        byre_close(sources[i], NULL);
    free(sources);
}

/* Opens them all or none; free with close_sources(). */
static struct byre **open_sources(const struct tool *tool,
                                  const struct convert_request *request,
                                  char *const *names, size_t count)
{
    struct byre **sources = calloc(count, sizeof(struct byre *));
    size_t opened = 0;

    if (sources == NULL) {
        report(tool, "out of memory");
        return NULL;
    }
    while (opened < count) {
        sources[opened] = open_source(tool, request, names[opened]);
        if (sources[opened] == NULL)
            break;
        opened++;
    }
    if (opened == count)
        return sources;
    close_sources(sources, opened);
    return NULL;
}

/*
 * Whether there is no bitmap to be copied with --bitmaps.  Returns false after
 * a message.
 */
static bool bitmaps_may_stay(const struct tool *tool,
                             const struct convert_request *request,
                             struct byre *source)
{
    const struct byre_bitmap *list = NULL;
    size_t count = 0;
    struct byre_error err;

    if (!request->bitmaps)
        return true;
    if (byre_bitmap_list(source, &list, &count, &err) < 0) {
        report(tool, "%s", err.message);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if ((list[i].flags & BYRE_BITMAP_IN_USE) == 0 ||
            !request->skip_broken_bitmaps) {
            report(tool,
                   "Cannot copy the bitmap '%s': this version copies none; "
                   "without --bitmaps the disk is converted alone",
                   list[i].name);
            return false;
        }
        report(tool, "warning: Skipping inconsistent bitmap '%s'",
               list[i].name);
    }
    return true;
}

/* ---- The copy ---- */

static int copy(const struct tool *tool, struct convert_request *request,
                struct byre *const *sources, size_t count, const char *target)
{
    struct byre_job *job = NULL;
    struct byre_error err;
    struct salvage salvage = { .tool = tool };
    FILE *stream = NULL;
    int r;

    if (request->output.progress && !request->output.quiet)
        stream = target_is_stdout(target) ? stderr : stdout;
    if (!request->output.quiet)
        request->job.salvaged = salvage_note;
    request->job.user = &salvage;

    r = byre_convert(sources, count, target, &request->job, &job, &err);
    if (r >= 0) {
        r = progress_run(job, stream, &err);
        progress_end(stream);
        salvage_end(&salvage);
    }
    if (r < 0)
        report(tool, "%s", err.message);
    byre_job_free(job);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int convert(const struct tool *tool, struct convert_request *request,
                   char *const *names, size_t count)
{
    const size_t source_count = count - 1;
    struct convert_target target;
    struct byre **sources = NULL;
    int status = EXIT_FAILURE;

    if (convert_target_prepare(tool, request, names[source_count], source_count,
                               &target))
        sources = open_sources(tool, request, names, source_count);
    if (sources != NULL && bitmaps_may_stay(tool, request, sources[0]))
        status = copy(tool, request, sources, source_count, target.target.name);
    close_sources(sources, source_count);
    convert_target_done(&target);
    return status;
}

static int run(const struct tool *tool, int argc, char **argv)
{
    struct convert_request request = { 0 };
    int status;

    progress_prepare();
    image_options_init(&request.image, tool);
    request.job = (struct byre_convert_options)BYRE_CONVERT_OPTIONS_INIT;
    if (tool->as_qemu_img)
        request.job.flags = BYRE_CONVERT_NO_SYNC;
    status = parse(tool, argc, argv, &request);
    if (status == PARSE_ON)
        status =
            convert(tool, &request, argv + optind, (size_t)(argc - optind));
    json_decref(request.snapshot_keys);
    create_list_done(&request.target_list);
    image_options_done(&request.image);
    return status;
}

const struct verb convert_verb = {
    .name = "convert",
    .synopsis = "[-f FMT | --image-opts] [-O FMT] [-o LIST] [-c] "
                "[-b FILE -F FMT] [-l SNAPSHOT] [-n] [-S SIZE] [-m N] "
                "[-t CACHE] [-T CACHE] [-p] [-q] [-U] FILE... TARGET",
    .purpose = "Copy the disks of images, one behind the other, into a new "
               "image, a device or a pipe.",
    .options = convert_specs,
    .run = run,
};
