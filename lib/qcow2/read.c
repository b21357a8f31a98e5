/* SPDX-License-Identifier: MIT */
/*
 * The transfer of what map points to.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "qcow2/internal.h"

/* Why the bitmap of an extended entry contradicts it. */
static void explain_subclusters(const struct mapping *mapping, char *ret_text,
                                size_t capacity)
{
    const uint32_t allocated = (uint32_t)mapping->bitmap;
    const uint32_t zero = (uint32_t)(mapping->bitmap >> QCOW2_SUBCLUSTERS);

    if ((allocated & zero) != 0)
        snprintf(ret_text, capacity,
                 "has subcluster %d both allocated and reading as zero",
                 __builtin_ctz(allocated & zero));
    else
        snprintf(ret_text, capacity,
                 "has subcluster %d allocated, but no cluster for it",
                 allocated != 0 ? __builtin_ctz(allocated) : 0);
}

/* What is wrong with an entry that map found to be invalid. */
static void explain_entry(const struct qcow2 *qcow2,
                          const struct mapping *mapping, char *ret_text,
                          size_t capacity)
{
    const uint64_t host_offset = mapping->entry & QCOW2_ENTRY_OFFSET_MASK;
    const uint64_t cluster = engine_cluster_bytes(&qcow2->engine);
    const bool compressed = (mapping->entry & QCOW2_ENTRY_COMPRESSED) != 0 &&
                            strcmp(mapping->table, "L2") == 0;

    if (compressed && qcow2->l2_format.data_file)
        snprintf(ret_text, capacity,
                 "is compressed, which an external data file cannot be");
    else if (compressed)
        snprintf(ret_text, capacity,
                 "is compressed, at an offset of 2^56 or more");
    else if (!is_aligned(host_offset, cluster))
        snprintf(ret_text, capacity,
                 "points to %" PRIu64
                 ", no multiple of the cluster size %" PRIu64,
                 host_offset, cluster);
    else if (qcow2->header.version < 3)
        snprintf(ret_text, capacity,
                 "is a zero cluster, which version 2 does not have");
    else if (qcow2->l2_format.data_file)
        snprintf(ret_text, capacity,
                 "does not point to that offset of the data file");
    else
        explain_subclusters(mapping, ret_text, capacity);
}

static int fail_invalid_entry(const struct qcow2 *qcow2,
                              const struct mapping *mapping,
                              uint64_t guest_offset, struct byre_error *err)
{
    char why[128];

    explain_entry(qcow2, mapping, why, sizeof(why));
    return fail(err, BYRE_E_CORRUPT,
                "%s entry 0x%016" PRIx64 " of guest offset %" PRIu64 " %s",
                mapping->table, mapping->entry, guest_offset, why);
}

int qcow2_read(struct engine *engine, const struct mapping *mapping,
               uint64_t guest_offset, void *buf, size_t length,
               struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);

    if (mapping->kind != L2_DATA && mapping->kind != L2_COMPRESSED)
        return fail_invalid_entry(qcow2, mapping, guest_offset, err);
    return transfer_read(&qcow2->transfer, engine, mapping, guest_offset, buf,
                         length, err);
}
