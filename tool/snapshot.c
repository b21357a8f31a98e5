/* SPDX-License-Identifier: MIT */
/* byre snapshot: the internal snapshots of an image. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "image.h"
#include "info.h"
#include "json_out.h"

/* qemu-img cuts longer names off. */
#define QEMU_NAME_BYTES 255

enum { OPTION_ID = OPTION_OTHER };

enum action {
    ACTION_NONE,
    ACTION_LIST,
    ACTION_CREATE,
    ACTION_APPLY,
    ACTION_DELETE
};

struct snapshot_request {
    struct image_options image;
    enum action action;
    const char *name;  /* of ACTION_CREATE and ACTION_APPLY */
    const char **gone; /* of ACTION_DELETE */
    size_t gone_count;
    bool by_id;
    bool json;
    bool quiet;
};

/* clang-format off */
static const struct option_spec snapshot_specs[] = {
    { 'f', "format", "FMT", "format of the image; else it is probed" },
    { 'l', "list", NULL, "list the snapshots (the default)" },
    { 'c', "create", "SNAPSHOT", "keep the disk as it is under this name" },
    { 'a', "apply", "SNAPSHOT",
      "make the disk what it was: of this id or, if there is none, name" },
    { 'd', "delete", "SNAPSHOT",
      "delete the snapshot of this name; may be repeated" },
    { OPTION_ID, "id", NULL, "-a and -d name ids, and nothing else" },
    { OPTION_OUTPUT, "output", "FORM", "human (the default) or json" },
    { 'q', "quiet", NULL, "print nothing but errors, and the list" },
    IMAGE_OPTION_SPECS,
    { 0, NULL, NULL, NULL },
};
/* clang-format on */

/* ---- The command line ---- */

static int take_action(const struct tool *tool,
                       struct snapshot_request *request, enum action action)
{
    const bool again = action == ACTION_DELETE && request->action == action;

    if (request->action != ACTION_NONE && !again) {
        report_usage(tool, "snapshot", "Cannot mix '-l', '-a', '-c', '-d'");
        return EXIT_FAILURE;
    }
    request->action = action;
    return PARSE_ON;
}

static int take_option(const struct tool *tool, int id, const char *argument,
                       void *user)
{
    struct snapshot_request *request = user;

    switch (id) {
    case 'l':
        return take_action(tool, request, ACTION_LIST);
    case 'c':
        request->name = argument;
        return take_action(tool, request, ACTION_CREATE);
    case 'a':
        request->name = argument;
        return take_action(tool, request, ACTION_APPLY);
    case 'd':
        request->gone[request->gone_count++] = argument;
        return take_action(tool, request, ACTION_DELETE);
    case OPTION_ID:
        request->by_id = true;
        break;
    case 'q':
        request->quiet = true;
        break;
    case OPTION_OUTPUT:
        if (!output_is_json(tool, argument, &request->json))
            return EXIT_FAILURE;
        break;
    }
    return PARSE_ON;
}

/* Returns PARSE_ON, or the exit status. */
static int parse(const struct tool *tool, int argc, char **argv,
                 struct snapshot_request *request)
{
    const int status = verb_parse(tool, &snapshot_verb, argc, argv,
                                  &request->image, take_option, request);

    if (status != PARSE_ON)
        return status;
    if (argc - optind != 1) {
        report_usage(tool, "snapshot", "Expecting one image file name");
        return EXIT_FAILURE;
    }
    if (request->by_id && request->action != ACTION_APPLY &&
        request->action != ACTION_DELETE) {
        report_usage(tool, "snapshot", "--id goes with -a and -d");
        return EXIT_FAILURE;
    }
    return image_options_agree(tool, &request->image, request->image.format)
               ? PARSE_ON
               : EXIT_FAILURE;
}

/* ---- What is done ---- */

static int list(const struct tool *tool, const struct snapshot_request *request,
                struct byre *img)
{
    struct byre_error err = { 0 };
    json_t *snapshots = info_snapshots_json(img, &err);

    if (snapshots == NULL) {
        report(tool, "Could not list the snapshots: %s", err.message);
        return EXIT_FAILURE;
    }
    if (request->json)
        json_out(stdout, snapshots);
    else
        info_print_snapshots(snapshots);
    json_decref(snapshots);
    return EXIT_SUCCESS;
}

static int create(const struct tool *tool,
                  const struct snapshot_request *request, struct byre *img)
{
    struct byre_snapshot_options options = BYRE_SNAPSHOT_OPTIONS_INIT;
    char name[QEMU_NAME_BYTES + 1];
    struct byre_error err = { 0 };

    options.name = request->name;
    if (tool->as_qemu_img) {
        snprintf(name, sizeof(name), "%s", request->name);
        options.name = name;
    }
    if (byre_snapshot_create(img, &options, &err) == BYRE_OK)
        return EXIT_SUCCESS;
    report(tool, "Could not create snapshot '%s': %s", request->name,
           err.message);
    return EXIT_FAILURE;
}

static int apply(const struct tool *tool,
                 const struct snapshot_request *request, struct byre *img)
{
    const struct byre_snapshot_ref ref = {
        .id_or_name = request->by_id ? NULL : request->name,
        .id = request->by_id ? request->name : NULL,
    };
    struct byre_error err = { 0 };

    if (byre_snapshot_apply(img, &ref, &err) == BYRE_OK)
        return EXIT_SUCCESS;
    report(tool, "Could not apply snapshot '%s': %s", request->name,
           err.message);
    return EXIT_FAILURE;
}

static int delete (const struct tool *tool,
                   const struct snapshot_request *request, struct byre *img)
{
    struct byre_snapshot_ref *refs =
        calloc(request->gone_count, sizeof(refs[0]));
    struct byre_error err = { 0 };
    int r;

    if (refs == NULL) {
        report(tool, "out of memory");
        return EXIT_FAILURE;
    }
    for (size_t i = 0; i < request->gone_count; i++) {
        refs[i].name = request->by_id ? NULL : request->gone[i];
        refs[i].id = request->by_id ? request->gone[i] : NULL;
    }
    r = byre_snapshot_delete(img, refs, request->gone_count, &err);
    free(refs);
    if (r == BYRE_OK)
        return EXIT_SUCCESS;
    if (request->gone_count == 1)
        report(tool, "Could not delete snapshot '%s': %s%s", request->gone[0],
               r == BYRE_E_NOT_FOUND ? "snapshot not found: " : "",
               err.message);
    else
        report(tool, "Could not delete the snapshots: %s", err.message);
    return EXIT_FAILURE;
}

static int act(const struct tool *tool, const struct snapshot_request *request,
               struct byre *img)
{
    switch (request->action) {
    case ACTION_CREATE:
        return create(tool, request, img);
    case ACTION_APPLY:
        return apply(tool, request, img);
    case ACTION_DELETE:
        return delete (tool, request, img);
    case ACTION_NONE:
    case ACTION_LIST:
        break;
    }
    return list(tool, request, img);
}

/* The image after a change: the id of what was taken is found here. */
static json_t *describe(const char *name, struct byre *img)
{
    json_t *object = json_object();
    json_t *snapshots = info_snapshots_json(img, NULL);

    json_object_set_new(object, "filename", json_out_string(name));
    if (snapshots != NULL)
        json_object_set_new(object, "snapshots", snapshots);
    return object;
}

static int open_and_act(const struct tool *tool,
                        const struct snapshot_request *request,
                        const char *name)
{
    const bool reads =
        request->action == ACTION_NONE || request->action == ACTION_LIST;
    struct byre *img =
        image_open(tool, &request->image, name, request->image.format,
                   reads ? BYRE_OPEN_METADATA_ONLY
                         : BYRE_OPEN_WRITE | BYRE_OPEN_FOLLOW_BACKING |
                               BYRE_OPEN_FOLLOW_DATA_FILE,
                   NULL);
    struct byre_error err = { 0 };
    json_t *object = NULL;
    int status;

    if (img == NULL)
        return EXIT_FAILURE;
    status = act(tool, request, img);
    if (!reads && status == EXIT_SUCCESS && request->json && !request->quiet)
        object = describe(name, img);
    if (byre_close(img, &err) < 0) {
        report(tool, "Could not close '%s': %s", name, err.message);
        status = EXIT_FAILURE;
    }
    if (status == EXIT_SUCCESS && object != NULL)
        json_out(stdout, object);
    json_decref(object);
    return status;
}

static int run(const struct tool *tool, int argc, char **argv)
{
    struct snapshot_request request = { 0 };
    int status = EXIT_FAILURE;

    request.gone = calloc((size_t)argc, sizeof(request.gone[0]));
    image_options_init(&request.image, tool);
    if (request.gone == NULL)
        report(tool, "out of memory");
    else
        status = parse(tool, argc, argv, &request);
    if (status == PARSE_ON)
        status = open_and_act(tool, &request, argv[optind]);
    image_options_done(&request.image);
    free(request.gone);
    return status;
}

const struct verb snapshot_verb = {
    .name = "snapshot",
    .synopsis = "[-f FMT | --image-opts] [-l | -c NAME | -a SNAPSHOT | "
                "-d SNAPSHOT...] [--id] [--output=human|json] [-U] [-q] FILE",
    .purpose = "List, take, apply or delete the snapshots inside an image.",
    .options = snapshot_specs,
    .run = run,
};
