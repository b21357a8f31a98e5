/* SPDX-License-Identifier: MIT */
#include "check.h"

#include <inttypes.h>
#include <stdio.h>

#include "json_out.h"
#include "report.h"

/* ---- Findings ---- */

/* How a line begins: scripts look for the words of qemu-img. */
static const char *line_start(const struct byre_finding *finding)
{
    if (finding->repaired != 0)
        return "Repaired";
    return finding->kind == BYRE_FINDING_LEAK ? "Leaked cluster" : "ERROR";
}

static const char *kind_name(uint32_t kind)
{
    switch (kind) {
    case BYRE_FINDING_CORRUPTION:
        return "corruption";
    case BYRE_FINDING_LEAK:
        return "leak";
    default:
        return "error";
    }
}

/* JSON integers are signed; an offset from an image may be any. */
static void set_number(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

static void set_offset(json_t *object, const char *key, uint64_t offset)
{
    if (offset != BYRE_NO_OFFSET)
        set_number(object, key, offset);
}

static json_t *finding_json(const struct byre_finding *finding)
{
    json_t *object = json_object();

    json_object_set_new(object, "kind", json_string(kind_name(finding->kind)));
    json_object_set_new(object, "repaired",
                        json_boolean(finding->repaired != 0));
    json_object_set_new(object, "object", json_out_string(finding->object));
    set_offset(object, "host-offset", finding->host_offset);
    set_offset(object, "guest-offset", finding->guest_offset);
    json_object_set_new(object, "text", json_out_string(finding->text));
    return object;
}

void check_log_found(void *user, const struct byre_finding *finding)
{
    struct check_log *log = user;

    if (log->list == NULL)
        print_line(stderr, "%s: %s", line_start(finding), finding->text);
    else if (json_array_size(log->list) < CHECK_MOST_FINDINGS)
        json_array_append_new(log->list, finding_json(finding));
    else
        log->omitted++;
}

/* ---- The summary ---- */

void check_print_repairs(const struct byre_check_result *result)
{
    if (result->leaks_fixed == 0 && result->corruptions_fixed == 0)
        return;
    printf("The following inconsistencies were found and repaired:\n\n"
           "    %" PRIu64 " leaked clusters\n"
           "    %" PRIu64 " corruptions\n\n"
           "Double checking the fixed image now...\n",
           result->leaks_fixed, result->corruptions_fixed);
}

static double percent(uint64_t part, uint64_t whole)
{
    return 100.0 * (double)part / (double)whole;
}

static void print_clusters(const struct byre_check_result *result)
{
    if (result->total_clusters == 0 || result->allocated_clusters == 0)
        return;
    printf("%" PRIu64 "/%" PRIu64 " = %.2f%% allocated, %.2f%% fragmented, "
           "%.2f%% compressed clusters\n",
           result->allocated_clusters, result->total_clusters,
           percent(result->allocated_clusters, result->total_clusters),
           percent(result->fragmented_clusters, result->allocated_clusters),
           percent(result->compressed_clusters, result->allocated_clusters));
}

void check_print_human(const struct byre_check_result *result)
{
    if (result->corruptions == 0 && result->leaks == 0 &&
        result->check_errors == 0)
        printf("No errors were found on the image.\n");
    if (result->corruptions != 0)
        printf("\n%" PRIu64 " errors were found on the image.\n"
               "Data may be corrupted, or further writes to the image may "
               "corrupt it.\n",
               result->corruptions);
    if (result->leaks != 0)
        printf("\n%" PRIu64 " leaked clusters were found on the image.\n"
               "This means waste of disk space, but no harm to data.\n",
               result->leaks);
    if (result->check_errors != 0)
        printf("\n%" PRIu64 " internal errors have occurred during the "
               "check.\n",
               result->check_errors);
    print_clusters(result);
    if (result->image_end_offset != 0)
        printf("Image end offset: %" PRIu64 "\n", result->image_end_offset);
}

static void set_nonzero(json_t *object, const char *key, uint64_t value)
{
    if (value != 0)
        set_number(object, key, value);
}

void check_print_json(const struct check_summary *summary,
                      const struct job_options *options)
{
    const struct byre_check_result *result = summary->result;
    json_t *object = json_object();

    set_nonzero(object, "image-end-offset", result->image_end_offset);
    set_nonzero(object, "compressed-clusters", result->compressed_clusters);
    set_nonzero(object, "total-clusters", result->total_clusters);
    set_nonzero(object, "corruptions", result->corruptions);
    set_nonzero(object, "corruptions-fixed", result->corruptions_fixed);
    set_number(object, "check-errors", result->check_errors);
    set_nonzero(object, "leaks", result->leaks);
    set_nonzero(object, "leaks-fixed", result->leaks_fixed);
    set_nonzero(object, "allocated-clusters", result->allocated_clusters);
    json_object_set_new(object, "filename", json_out_string(summary->name));
    json_object_set_new(object, "format", json_out_string(summary->format));
    set_nonzero(object, "fragmented-clusters", result->fragmented_clusters);
    if (summary->log->list != NULL)
        json_object_set(object, "findings", summary->log->list);
    set_nonzero(object, "findings-omitted", summary->log->omitted);
    json_out_result(stdout, options, object);
}
