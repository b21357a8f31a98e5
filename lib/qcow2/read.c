/* SPDX-License-Identifier: MIT */
/*
 * The transfer of what map points to.
 */
#include <inttypes.h>

#include "base/arith.h"
#include "base/error.h"
#include "engine/encrypted.h"
#include "qcow2/internal.h"

static int fail_invalid_entry(const struct qcow2 *qcow2,
                              const struct mapping *mapping,
                              uint64_t guest_offset, struct byre_error *err)
{
    const uint64_t host_offset = mapping->entry & QCOW2_ENTRY_OFFSET_MASK;

    if (qcow2->header.version < 3 && (mapping->entry & QCOW2_ENTRY_ZERO))
        return fail(err, BYRE_E_CORRUPT,
                    "L2 entry 0x%016" PRIx64 " of guest offset %" PRIu64
                    " is a zero cluster, which version 2 does not have",
                    mapping->entry, guest_offset);
    if (mapping->entry & QCOW2_ENTRY_COMPRESSED)
        return fail(err, BYRE_E_CORRUPT,
                    "compressed L2 entry 0x%016" PRIx64
                    " of guest offset %" PRIu64 " %s",
                    mapping->entry, guest_offset,
                    qcow2->l2_format.data_file
                        ? "cannot be in an external data file"
                        : "has an offset of 2^56 or more");
    if (!is_aligned(host_offset, engine_cluster_bytes(&qcow2->engine)))
        return fail(err, BYRE_E_CORRUPT,
                    "the entry 0x%016" PRIx64 " of guest offset %" PRIu64
                    " points to %" PRIu64
                    ", no multiple of the cluster size %" PRIu64,
                    mapping->entry, guest_offset, host_offset,
                    engine_cluster_bytes(&qcow2->engine));
    if (qcow2->l2_format.data_file)
        return fail(err, BYRE_E_CORRUPT,
                    "L2 entry 0x%016" PRIx64 " of guest offset %" PRIu64
                    " does not lie at that offset of the data file",
                    mapping->entry, guest_offset);
    return fail(err, BYRE_E_CORRUPT,
                "L2 entry 0x%016" PRIx64 " with bitmap 0x%016" PRIx64
                " of guest offset %" PRIu64 " is not valid",
                mapping->entry, mapping->bitmap, guest_offset);
}

static int read_compressed(struct qcow2 *qcow2, const struct mapping *mapping,
                           uint64_t guest_offset, void *buf, size_t length,
                           struct byre_error *err)
{
    const struct compressed_cluster cluster = {
        .store = mapping->store,
        .host_offset = mapping->host_offset,
        .stream_bytes = mapping->compressed_bytes,
    };
    const uint64_t mask = engine_cluster_bytes(&qcow2->engine) - 1;
    int r;

    r = cluster_reader_read(qcow2->clusters, &cluster,
                            (uint32_t)(guest_offset & mask), buf, length, err);
    if (r == BYRE_E_CORRUPT)
        error_prefix(err, "guest offset %" PRIu64 ", host offset %" PRIu64,
                     guest_offset & ~mask, mapping->host_offset);
    return r;
}

/* Compressed clusters are stored in the clear, even in encrypted images. */
int qcow2_read(struct engine *engine, const struct mapping *mapping,
               uint64_t guest_offset, void *buf, size_t length,
               struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);

    if (mapping->kind == L2_COMPRESSED)
        return read_compressed(qcow2, mapping, guest_offset, buf, length, err);
    if (mapping->kind != L2_DATA)
        return fail_invalid_entry(qcow2, mapping, guest_offset, err);
    if (qcow2->cipher == NULL)
        return store_read(mapping->store, mapping->host_offset, buf, length,
                          err);
    return encrypted_read(mapping->store, qcow2->cipher, mapping->host_offset,
                          engine->encryption == BYRE_ENCRYPTION_LUKS
                              ? mapping->host_offset
                              : guest_offset,
                          buf, length, err);
}
