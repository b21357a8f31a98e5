/* SPDX-License-Identifier: MIT */
/*
 * Reads compressed clusters.  A small cache keeps what was decompressed, so
 * that reading a cluster in 4 KiB pieces inflates it once, and threads that
 * want one cluster at the same time wait for the first of them.  A read of a
 * whole cluster that is not cached goes straight into the caller's buffer.
 */
#ifndef BYRE_ENGINE_CLUSTER_READER_H
#define BYRE_ENGINE_CLUSTER_READER_H

#include "codec/codec.h"
#include "store/store.h"

struct cluster_reader;

/* Where a compressed cluster is. */
struct compressed_cluster {
    struct byre_store *store;
    uint64_t host_offset;
    uint32_t stream_bytes; /* the most the stream spans; at most 2 clusters */
};

/* `cluster_bytes` is a power of two; the cache keeps `budget_bytes`. */
int cluster_reader_new(enum codec_type codec, uint32_t cluster_bytes,
                       uint64_t budget_bytes,
                       struct cluster_reader **ret_reader,
                       struct byre_error *err);

/* NULL is allowed. */
void cluster_reader_free(struct cluster_reader *reader);

/* Reads `length` bytes at `offset` of the cluster, a range within it. */
int cluster_reader_read(struct cluster_reader *reader,
                        const struct compressed_cluster *cluster,
                        uint32_t offset, void *buf, size_t length,
                        struct byre_error *err);

/*
 * Drops what was decompressed from `host_offset`: another stream is there now.
 * Nobody reads there meanwhile.
 */
void cluster_reader_forget(struct cluster_reader *reader, uint64_t host_offset);

/* The same for all of them; nobody reads. */
void cluster_reader_clear(struct cluster_reader *reader);

#endif
