/* SPDX-License-Identifier: MIT */
/* What byre check says: findings as they come, and the summary at the end. */
#ifndef TOOL_CHECK_H
#define TOOL_CHECK_H

#include <stdbool.h>

#include <byre.h>
#include <jansson.h>

#include "options.h"

/* What --findings lists at most; the others are only counted. */
#define CHECK_MOST_FINDINGS 65536

/* Takes findings: onto stderr, one a line, or into a list. */
struct check_log {
    json_t *list; /* of --findings; NULL: onto stderr */
    uint64_t omitted;
};

/* byre_check_options.found, with a struct check_log as `user`. */
void check_log_found(void *user, const struct byre_finding *finding);

/* Of which image the summary is, and what it is to hold. */
struct check_summary {
    const char *name;
    const char *format;
    const struct byre_check_result *result;
    const struct check_log *log;
};

/* What was repaired, if anything was. */
void check_print_repairs(const struct byre_check_result *result);
void check_print_human(const struct byre_check_result *result);
/* What is 0 is left out, as in qemu-img. */
void check_print_json(const struct check_summary *summary,
                      const struct job_options *options);

#endif /* TOOL_CHECK_H */
