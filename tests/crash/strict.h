/* SPDX-License-Identifier: MIT */
/*
 * A strict checker of QCOW and QCOW2 images that shares no line of code with
 * the library: it reads the format by itself, so that a mistake in the
 * library's understanding of it does not excuse the same mistake in its
 * output.
 *
 * Every reference to every host cluster is counted and compared with the stored
 * count.  What is found falls into three classes:
 *
 * - corruption: data is wrong or at risk (a count below the references, a
 *   cluster with two uses, a pointer to nowhere, COPIED where others look);
 * - a missing COPIED flag, which costs a copy;
 * - a leak, which costs space.
 *
 * Some corruptions need no stored count to be seen.  They are counted apart,
 * since they must not be in a dirty image either.
 */
#ifndef BYRE_TESTS_CRASH_STRICT_H
#define BYRE_TESTS_CRASH_STRICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct byre_store;

/* Where the image's bytes come from; what lies past the end reads as zero. */
struct strict_source {
    uint64_t length;
    int (*read)(void *user, uint64_t offset, void *buf, size_t length);
    void *user;
};

struct strict_report {
    unsigned version; /* 1, 2 or 3 */
    bool dirty;
    bool marked_corrupt;
    uint64_t corruptions; /* all of them, but for missing COPIED flags */
    uint64_t structural;  /* of which need no stored count to be seen */
    uint64_t missing_copied;
    uint64_t leaks;          /* clusters */
    uint64_t leaks_past_end; /* counts of clusters that the file lacks */
    char first[200];         /* the first corruption, or empty */
    char first_leak[80];     /* the first leak, or empty */
};

/* Writes *ret_report.  An image without a usable header is one corruption. */
void strict_check(const struct strict_source *source,
                  struct strict_report *ret_report);

/* The same for a store of the library's. */
void strict_check_store(struct byre_store *store,
                        struct strict_report *ret_report);

#endif
