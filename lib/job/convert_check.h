/* SPDX-License-Identifier: MIT */
/* What byre_convert() is asked for, checked as far as no file is needed. */
#ifndef BYRE_JOB_CONVERT_CHECK_H
#define BYRE_JOB_CONVERT_CHECK_H

#include "byre.h"

/* The public options with the structs they point to. */
struct convert_options {
    struct byre_convert_options job;
    struct byre_create_options create; /* job.create: this, or NULL */
    struct byre_open_options open;     /* job.target_open: this, or NULL */
};

/*
 * Copies what the caller gave, which may be NULL, with the defaults filled in,
 * to where it stays; what the structs point to is the caller's.
 */
int convert_check(const struct byre_convert_options *given, size_t source_count,
                  struct convert_options *ret, struct byre_error *err);

#endif
