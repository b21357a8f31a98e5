/* SPDX-License-Identifier: MIT */
/* byre convert: the disks of images, one behind the other, into a new one. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "command.h"
#include "convert.h"
#include "convert_salvage.h"
#include "json_out.h"
#include "progress.h"
#include "size.h"
#include "snapshot_choice.h"
#include "workers.h"

#define MAX_WORKERS      16
#define MAX_SPARSE_BYTES ((uint64_t)16 << 20)
#define SECTOR_SIZE      512

enum {
    OPTION_BITMAP = OPTION_OTHER,
    OPTION_BITMAPS,
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
    { OPTION_BITMAPS, "bitmaps", NULL, "copy bitmaps too" },
    { OPTION_SKIP_BROKEN_BITMAPS, "skip-broken-bitmaps", NULL,
      "with --bitmaps: leave out those in use" },
    { OPTION_BITMAP, "bitmap", "NAME", "copy only what this bitmap has noted; "
      "the rest is in the backing file of the target" },
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
    { OPTION_OUTPUT, "output", "FORM", "human (the default), or json for a "
      "summary" },
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

/* Options whose argument may be wrong. */
static bool take_checked(struct convert_request *request,
                         const struct tool *tool, int id, const char *argument)
{
    switch (id) {
    case 'o':
        return create_list_take(&request->target_list, tool, argument);
    case OPTION_OUTPUT:
        return output_is_json(tool, argument, &request->output.json);
    case 'l':
        return snapshot_choice_take(tool, argument, &request->snapshot,
                                    &request->snapshot_keys);
    case 'S':
        return take_sparse_size(request, tool, argument);
    case 'm':
        return workers_take(tool, argument, MAX_WORKERS, &request->job.workers);
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
        request->job.flags |= BYRE_CONVERT_BITMAPS;
        break;
    case OPTION_SKIP_BROKEN_BITMAPS:
        request->skip_broken_bitmaps = true;
        request->job.flags |= BYRE_CONVERT_SKIP_BROKEN_BITMAPS;
        break;
    case OPTION_BITMAP:
        request->job.bitmap = argument;
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

#define ALONE (BYRE_OPEN_NO_BACKING | BYRE_OPEN_FOLLOW_DATA_FILE)

/* Salvaging, what a missing backing file held is lost, the rest is not. */
static struct byre *open_source(const struct tool *tool,
                                const struct convert_request *request,
                                const char *text)
{
    const bool salvaging = convert_has_flag(request, BYRE_CONVERT_SALVAGE);
    const char *format = request->image.format;
    struct byre *img = image_open_snapshot(tool, &request->image, text, format,
                                           IMAGE_WITH_ALL, &request->snapshot);

    if (!salvaging)
        return img;
    if (img == NULL) {
        img = image_open_snapshot(tool, &request->image, text, format, ALONE,
                                  &request->snapshot);
        if (img != NULL)
            report(tool, "warning: '%s' is read without its backing file",
                   text);
    }
    if (img != NULL && !request->output.quiet)
        salvage_lists(tool, img);
    return img;
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

/* The library leaves them out; who asked for it is told. */
static void warn_of_broken_bitmaps(const struct tool *tool,
                                   const struct convert_request *request,
                                   struct byre *source)
{
    const struct byre_bitmap *list = NULL;
    size_t count = 0;

    if (!request->skip_broken_bitmaps ||
        byre_bitmap_list(source, &list, &count, NULL) < 0)
        return;
    for (size_t i = 0; i < count; i++)
        if ((list[i].flags & BYRE_BITMAP_IN_USE) != 0)
            report(tool, "warning: Skipping inconsistent bitmap '%s'",
                   list[i].name);
}

/* ---- The copy ---- */

static void set_number(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

/* What came of it, for programs. */
static void print_summary(const struct convert_request *request,
                          const char *target, const struct byre_job *job,
                          json_t *salvaged, FILE *stream)
{
    json_t *object = json_object();
    uint64_t done, total;
    struct stat file;

    byre_job_progress(job, &done, &total);
    json_object_set_new(object, "filename", json_out_string(target));
    json_object_set_new(object, "format",
                        json_string(request->job.create->format));
    set_number(object, "virtual-size", total);
    if (stat(target, &file) == 0 && S_ISREG(file.st_mode)) {
        set_number(object, "file-length", (uint64_t)file.st_size);
        set_number(object, "actual-size", (uint64_t)file.st_blocks * 512);
    }
    json_object_set(object, "salvaged", salvaged);
    json_out_result(stream, &request->output, object);
}

static int copy(const struct tool *tool, struct convert_request *request,
                struct byre *const *sources, size_t count, const char *target)
{
    FILE *output = target_is_stdout(target) ? stderr : stdout;
    FILE *stream = progress_stream(&request->output) != NULL ? output : NULL;
    struct byre_job *job = NULL;
    struct byre_error err;
    struct salvage salvage = { .tool = tool,
                               .quiet = request->output.quiet,
                               .list = json_array() };
    int r;

    request->job.salvaged = salvage_note;
    request->job.user = &salvage;
    r = byre_convert(sources, count, target, &request->job, &job, &err);
    if (r >= 0) {
        r = progress_show(job, &request->output, stream, &err);
        progress_finish(&request->output, stream);
        salvage_end(&salvage);
    }
    if (r < 0)
        report(tool, "%s", err.message);
    else if (request->output.json && !request->output.quiet)
        print_summary(request, target, job, salvage.list, output);
    byre_job_free(job);
    json_decref(salvage.list);
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
    if (sources != NULL) {
        warn_of_broken_bitmaps(tool, request, sources[0]);
        status = copy(tool, request, sources, source_count, target.target.name);
    }
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
                "[-t CACHE] [-T CACHE] [--output=human|json] [-p] [-q] [-U] "
                "FILE... TARGET",
    .purpose = "Copy the disks of images, one behind the other, into a new "
               "image, a device or a pipe.",
    .options = convert_specs,
    .run = run,
};
