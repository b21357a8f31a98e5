/* SPDX-License-Identifier: MIT */
#include "command.h"

#include <stdio.h>
#include <stdlib.h>

static void print_help(const struct tool *tool, const struct verb *verb)
{
    printf("Usage: %s %s %s\n%s\n\n", tool->name, verb->name, verb->synopsis,
           verb->purpose);
    options_print(verb->options);
}

int verb_parse(const struct tool *tool, const struct verb *verb, int argc,
               char **argv, struct image_options *image, verb_take_option *take,
               void *request)
{
    for (;;) {
        const char *argument;
        const int id = options_next(tool, verb->name, verb->options, argc, argv,
                                    &argument);
        int status = PARSE_ON;
        enum image_option taken;

        if (id == OPTION_END)
            return PARSE_ON;
        if (id == OPTION_BAD)
            return EXIT_FAILURE;
        if (id == 'h') {
            print_help(tool, verb);
            return EXIT_SUCCESS;
        }
        taken = image_options_take(image, tool, id, argument);
        if (taken == IMAGE_OPTION_BAD)
            return EXIT_FAILURE;
        if (taken == IMAGE_OPTION_HELP)
            return EXIT_SUCCESS;
        if (taken == IMAGE_OPTION_NONE)
            status = take(tool, id, argument, request);
        if (status != PARSE_ON)
            return status;
    }
}
