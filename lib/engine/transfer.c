/* SPDX-License-Identifier: MIT */
#include "engine/transfer.h"

#include <assert.h>
#include <inttypes.h>

#include "base/error.h"
#include "engine/encrypted.h"

void transfer_done(struct transfer *transfer)
{
    cluster_reader_free(transfer->clusters);
    sector_cipher_free(transfer->cipher);
}

static int read_compressed(const struct transfer *transfer,
                           const struct engine *engine,
                           const struct mapping *mapping, uint64_t guest_offset,
                           void *buf, size_t length, struct byre_error *err)
{
    const struct compressed_cluster cluster = {
        .store = mapping->store,
        .host_offset = mapping->host_offset,
        .stream_bytes = mapping->compressed_bytes,
    };
    const uint64_t mask = engine_cluster_bytes(engine) - 1;
    int r;

    r = cluster_reader_read(transfer->clusters, &cluster,
                            (uint32_t)(guest_offset & mask), buf, length, err);
    if (r == BYRE_E_CORRUPT)
        error_prefix(err, "guest offset %" PRIu64 ", host offset %" PRIu64,
                     guest_offset & ~mask, mapping->host_offset);
    return r;
}

/* Compressed clusters are stored in the clear, even in encrypted images. */
int transfer_read(const struct transfer *transfer, const struct engine *engine,
                  const struct mapping *mapping, uint64_t guest_offset,
                  void *buf, size_t length, struct byre_error *err)
{
    assert(mapping->kind == L2_DATA || mapping->kind == L2_COMPRESSED);
    if (mapping->kind == L2_COMPRESSED)
        return read_compressed(transfer, engine, mapping, guest_offset, buf,
                               length, err);
    if (transfer->cipher == NULL)
        return store_read(mapping->store, mapping->host_offset, buf, length,
                          err);
    return encrypted_read(
        mapping->store, transfer->cipher, mapping->host_offset,
        transfer->iv_is_host ? mapping->host_offset : guest_offset, buf, length,
        err);
}

int transfer_write(const struct transfer *transfer, struct byre_store *store,
                   uint64_t host_offset, uint64_t guest_offset, const void *buf,
                   size_t length, struct byre_error *err)
{
    if (transfer->cipher == NULL)
        return store_write(store, host_offset, buf, length, err);
    return encrypted_write(store, transfer->cipher, host_offset,
                           transfer->iv_is_host ? host_offset : guest_offset,
                           buf, length, err);
}
