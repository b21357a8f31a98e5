/* SPDX-License-Identifier: MIT */
/*
 * Checks an image, and mends it if asked.  Prints a line for each finding, then
 * the counts.
 *
 *     check [leaks | all] IMAGE
 */
#include <byre.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void print_finding(void *user, const struct byre_finding *finding)
{
    static const char *const kinds[] = { "corruption", "leak", "error" };

    (void)user;
    printf("%s%s: %s\n", kinds[finding->kind],
           finding->repaired ? " (repaired)" : "", finding->text);
}

static void print_counts(const struct byre_check_result *result)
{
    printf("check-errors %" PRIu64 "\ncorruptions %" PRIu64 "\nleaks %" PRIu64
           "\n",
           result->check_errors, result->corruptions, result->leaks);
    printf("corruptions-fixed %" PRIu64 "\nleaks-fixed %" PRIu64 "\n",
           result->corruptions_fixed, result->leaks_fixed);
    printf("image-end-offset %" PRIu64 "\ntotal-clusters %" PRIu64
           "\nallocated-clusters %" PRIu64 "\nfragmented-clusters %" PRIu64
           "\ncompressed-clusters %" PRIu64 "\n",
           result->image_end_offset, result->total_clusters,
           result->allocated_clusters, result->fragmented_clusters,
           result->compressed_clusters);
}

static int check(struct byre *image, uint32_t flags, struct byre_error *err)
{
    struct byre_check_options options = BYRE_CHECK_OPTIONS_INIT;
    struct byre_check_result result = BYRE_CHECK_RESULT_INIT;
    struct byre_job *job = NULL;
    int r;

    options.flags = flags;
    options.found = print_finding;
    r = byre_check(image, &options, &job, err);
    if (r == BYRE_OK)
        r = byre_job_run(job, err);
    if (r == BYRE_OK)
        r = byre_check_get_result(job, &result, err);
    if (r == BYRE_OK)
        print_counts(&result);
    byre_job_free(job);
    return r;
}

int main(int argc, char **argv)
{
    struct byre_open_options options = BYRE_OPEN_OPTIONS_INIT;
    struct byre_error err = { .message = "" };
    struct byre *image = NULL;
    uint32_t flags = 0;
    int r;

    if (argc == 3)
        flags = strcmp(argv[1], "all") == 0 ? BYRE_CHECK_REPAIR_ALL
                                            : BYRE_CHECK_REPAIR_LEAKS;
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: check [leaks | all] IMAGE\n");
        return 1;
    }

    options.flags = BYRE_OPEN_CHECK | BYRE_OPEN_FOLLOW_DATA_FILE |
                    (flags != 0 ? BYRE_OPEN_WRITE : 0);
    r = byre_open(argv[argc - 1], &options, &image, &err);
    if (r == BYRE_OK)
        r = check(image, flags, &err);
    byre_close(image, NULL);
    if (r < 0)
        fprintf(stderr, "check: %s\n", err.message);
    return r < 0;
}
