/* SPDX-License-Identifier: MIT */
/* byre bitmap: persistent bitmaps added, changed, merged, removed, listed. */
#include "bitmap.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "image.h"
#include "json_out.h"
#include "size.h"

enum {
    OPTION_ADD = OPTION_OTHER,
    OPTION_REMOVE,
    OPTION_REMOVE_ALL,
    OPTION_CLEAR,
    OPTION_ENABLE,
    OPTION_DISABLE,
    OPTION_MERGE,
    OPTION_LIST
};

/* One thing to do; they are done in the order of the command line. */
struct action {
    int id;                  /* OPTION_ADD ... OPTION_MERGE */
    const char *source_name; /* of OPTION_MERGE */
};

struct bitmap_request {
    struct image_options image;
    struct action *actions;
    size_t action_count;
    const char *source_file;
    const char *source_format;
    uint64_t granularity_bytes; /* 0: the default */
    bool has_granularity;
    bool list;
    bool json;
    const char *file;
    const char *name; /* NULL: none is needed */
};

/* clang-format off */
static const struct option_spec bitmap_specs[] = {
    { 'f', "format", "FMT", "format of the image; else it is probed" },
    { OPTION_ADD, "add", NULL, "add the bitmap, which notes writes from then "
      "on" },
    { 'g', "granularity", "SIZE", "of the bitmap that --add adds" },
    { OPTION_REMOVE, "remove", NULL, "remove the bitmap" },
    { OPTION_REMOVE_ALL, "remove-all", NULL, "remove all bitmaps, damaged "
      "ones too" },
    { OPTION_CLEAR, "clear", NULL, "forget all that the bitmap has noted" },
    { OPTION_ENABLE, "enable", NULL, "note writes from now on" },
    { OPTION_DISABLE, "disable", NULL, "note writes no more" },
    { OPTION_MERGE, "merge", "SOURCE", "add what the bitmap SOURCE has noted" },
    { 'b', "source-file", "SRC_FILE", "image that --merge takes SOURCE from" },
    { 'F', "source-format", "SRC_FMT", "format of SRC_FILE" },
    { OPTION_LIST, "list", NULL, "show the bitmaps, and how much they have "
      "noted" },
    { OPTION_OUTPUT, "output", "FMT", "human (the default) or json" },
    WRITTEN_IMAGE_OPTION_SPECS,
    SHARE_OPTION_SPEC,
    HELP_OPTION_SPEC,
    { 0, NULL, NULL, NULL },
};
/* clang-format on */

static const char *action_name(int id)
{
    switch (id) {
    case OPTION_ADD:
        return "add";
    case OPTION_REMOVE:
        return "remove";
    case OPTION_REMOVE_ALL:
        return "remove-all";
    case OPTION_CLEAR:
        return "clear";
    case OPTION_ENABLE:
        return "enable";
    case OPTION_DISABLE:
        return "disable";
    default:
        return "merge";
    }
}

/* ---- The command line ---- */

static int append_action(const struct tool *tool,
                         struct bitmap_request *request, int id,
                         const char *source_name)
{
    struct action *actions =
        realloc(request->actions,
                (request->action_count + 1) * sizeof(request->actions[0]));

    if (actions == NULL) {
        report(tool, "out of memory");
        return EXIT_FAILURE;
    }
    request->actions = actions;
    actions[request->action_count++] = (struct action){ id, source_name };
    return PARSE_ON;
}

static int take_option(const struct tool *tool, int id, const char *argument,
                       void *user)
{
    struct bitmap_request *request = user;

    switch (id) {
    case 'g':
        request->has_granularity = true;
        return size_option(tool, "granularity", argument,
                           &request->granularity_bytes)
                   ? PARSE_ON
                   : EXIT_FAILURE;
    case 'b':
        request->source_file = argument;
        break;
    case 'F':
        request->source_format = argument;
        break;
    case OPTION_LIST:
        request->list = true;
        break;
    case OPTION_OUTPUT:
        return output_is_json(tool, argument, &request->json) ? PARSE_ON
                                                              : EXIT_FAILURE;
    default:
        return append_action(tool, request, id, argument);
    }
    return PARSE_ON;
}

static size_t count_actions(const struct bitmap_request *request, int id)
{
    size_t count = 0;

    for (size_t i = 0; i < request->action_count; i++)
        count += request->actions[i].id == id;
    return count;
}

/* What does not go together, or NULL; in the order of QEMU's questions. */
static const char *find_misuse(const struct bitmap_request *request,
                               int operands)
{
    const bool no_name =
        request->list ||
        (request->action_count > 0 &&
         count_actions(request, OPTION_REMOVE_ALL) == request->action_count);

    if (operands != 2 && !(no_name && operands == 1))
        return "Expecting filename and bitmap name";
    if (request->list && request->action_count > 0)
        return "--list changes nothing, and stands alone";
    if (!request->list && request->action_count == 0)
        return "Need at least one of --add, --remove, --remove-all, --clear, "
               "--enable, --disable, or --merge";
    if (request->has_granularity && count_actions(request, OPTION_ADD) == 0)
        return "granularity only supported with --add";
    if (request->source_format != NULL && request->source_file == NULL)
        return "-F only supported with -b";
    if (request->source_file != NULL &&
        count_actions(request, OPTION_MERGE) == 0)
        return "Merge bitmap source file only supported with --merge";
    if (request->image.shared && !request->list)
        return "-U only supported with --list";
    return NULL;
}

static int parse(const struct tool *tool, int argc, char **argv,
                 struct bitmap_request *request)
{
    const int status = verb_parse(tool, &bitmap_verb, argc, argv,
                                  &request->image, take_option, request);
    const char *misuse;

    if (status != PARSE_ON)
        return status;
    misuse = find_misuse(request, argc - optind);
    if (misuse != NULL) {
        report(tool, "%s", misuse);
        return EXIT_FAILURE;
    }
    if (!image_options_agree(tool, &request->image, request->image.format))
        return EXIT_FAILURE;
    request->file = argv[optind];
    request->name = argv[optind + 1]; /* or the NULL at the end */
    return PARSE_ON;
}

/* ---- Actions ---- */

static int remove_all(struct byre *img, struct byre_error *err)
{
    for (;;) {
        const struct byre_bitmap *list;
        size_t count;
        int r;

        r = byre_bitmap_list(img, &list, &count, err);
        if (r < 0 || count == 0)
            return r;
        r = byre_bitmap_remove(img, list[count - 1].name, err);
        if (r < 0)
            return r;
    }
}

static int act(const struct bitmap_request *request,
               const struct action *action, struct byre *img,
               struct byre *source, struct byre_error *err)
{
    switch (action->id) {
    case OPTION_ADD:
        return byre_bitmap_add(img, request->name, request->granularity_bytes,
                               0, err);
    case OPTION_REMOVE:
        return byre_bitmap_remove(img, request->name, err);
    case OPTION_REMOVE_ALL:
        return remove_all(img, err);
    case OPTION_CLEAR:
        return byre_bitmap_clear(img, request->name, err);
    case OPTION_ENABLE:
        return byre_bitmap_enable(img, request->name, err);
    case OPTION_DISABLE:
        return byre_bitmap_disable(img, request->name, err);
    default:
        return byre_bitmap_merge(img, request->name,
                                 source != NULL ? source : img,
                                 action->source_name, err);
    }
}

static bool act_all(const struct tool *tool,
                    const struct bitmap_request *request, struct byre *img,
                    struct byre *source)
{
    struct byre_error err;

    for (size_t i = 0; i < request->action_count; i++) {
        const struct action *action = &request->actions[i];

        if (act(request, action, img, source, &err) == BYRE_OK)
            continue;
        if (request->name == NULL)
            report(tool, "Operation %s failed: %s", action_name(action->id),
                   err.message);
        else
            report(tool, "Operation %s on bitmap %s failed: %s",
                   action_name(action->id), request->name, err.message);
        return false;
    }
    return true;
}

/* ---- Opening ---- */

/* The description is enough to look at bitmaps. */
static struct byre *open_source(const struct tool *tool,
                                const struct bitmap_request *request)
{
    return image_open(tool, &request->image, request->source_file,
                      request->source_format, BYRE_OPEN_METADATA_ONLY, NULL);
}

static struct byre *open_target(const struct tool *tool,
                                const struct bitmap_request *request)
{
    const uint32_t flags = BYRE_OPEN_WRITE | BYRE_OPEN_FOLLOW_BACKING |
                           BYRE_OPEN_FOLLOW_DATA_FILE |
                           (count_actions(request, OPTION_REMOVE_ALL) > 0
                                ? BYRE_OPEN_GIVE_UP_BITMAPS
                                : 0);

    return image_open(tool, &request->image, request->file,
                      request->image.format, flags, NULL);
}

static void print_json(const struct bitmap_request *request)
{
    json_t *object = json_object();
    json_t *actions = json_array();

    json_object_set_new(object, "filename", json_out_string(request->file));
    if (request->name != NULL)
        json_object_set_new(object, "bitmap", json_out_string(request->name));
    for (size_t i = 0; i < request->action_count; i++)
        json_array_append_new(actions,
                              json_string(action_name(request->actions[i].id)));
    json_object_set_new(object, "actions", actions);
    json_out(stdout, object);
    json_decref(object);
}

static int change(const struct tool *tool, const struct bitmap_request *request)
{
    struct byre *img, *source = NULL;
    struct byre_error err;
    bool done;

    img = open_target(tool, request);
    if (img == NULL)
        return EXIT_FAILURE;
    if (request->source_file != NULL)
        source = open_source(tool, request);
    done = (request->source_file == NULL || source != NULL) &&
           act_all(tool, request, img, source);
    byre_close(source, NULL);
    /* What was done before a failure stays, as in QEMU. */
    if (byre_close(img, &err) < 0) {
        report(tool, "Could not close '%s': %s", request->file, err.message);
        done = false;
    }
    if (done && request->json)
        print_json(request);
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int list(const struct tool *tool, const struct bitmap_request *request)
{
    struct byre *img =
        image_open(tool, &request->image, request->file, request->image.format,
                   BYRE_OPEN_METADATA_ONLY, NULL);
    bool done;

    if (img == NULL)
        return EXIT_FAILURE;
    done = bitmap_list_print(tool, img, request->name, request->json);
    byre_close(img, NULL);
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int run(const struct tool *tool, int argc, char **argv)
{
    struct bitmap_request request = { .granularity_bytes = 0 };
    int status;

    image_options_init(&request.image, tool);
    status = parse(tool, argc, argv, &request);
    if (status == PARSE_ON)
        status = request.list ? list(tool, &request) : change(tool, &request);
    image_options_done(&request.image);
    free(request.actions);
    return status;
}

const struct verb bitmap_verb = {
    .name = "bitmap",
    .synopsis = "(--add [-g SIZE] | --remove | --remove-all | --clear | "
                "--enable | --disable | --merge SOURCE [-b SRC_FILE "
                "[-F SRC_FMT]])... | --list "
                "[-f FMT | --image-opts] [--output=human|json] FILE [BITMAP]",
    .purpose = "Add, change, merge, remove or list persistent bitmaps.",
    .options = bitmap_specs,
    .run = run,
};
