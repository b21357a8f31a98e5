/* SPDX-License-Identifier: MIT */
/*
 * What the files of the engine for version 1 share.  All but what a writable
 * disk adds is set before the first data call, and only read afterwards.
 */
#ifndef BYRE_QCOW1_INTERNAL_H
#define BYRE_QCOW1_INTERNAL_H

#include "engine/engine.h"
#include "engine/l1.h"
#include "engine/table_cache.h"
#include "engine/transfer.h"
#include "engine/writer.h"
#include "format/qcow1.h"
#include "qcow1/space.h"

struct qcow1 {
    struct engine engine; /* first, so that the two convert */
    struct byre_store *store;
    struct engine_limits limits;
    struct qcow1_header header;
    uint32_t slice_bits; /* log2 of the entries of a slice of an L2 table */
    struct l1_table l1;
    struct table_cache *tables;
    struct transfer transfer;

    /* Of a disk that is open for writing (writable.c). */
    bool has_writer; /* the following is set up, or begun */
    struct writer writer;
    struct qcow1_space space;
};

static inline struct qcow1 *qcow1_of(struct engine *engine)
{
    return (struct qcow1 *)engine;
}

/* Bytes of the disk that one L1 entry stands for. */
static inline uint64_t qcow1_l1_range_bytes(const struct qcow1 *qcow1)
{
    return UINT64_C(1) << (qcow1->header.cluster_bits + qcow1->header.l2_bits);
}

/* Bytes of the disk that one slice of an L2 table stands for. */
static inline uint64_t qcow1_slice_range_bytes(const struct qcow1 *qcow1)
{
    return UINT64_C(1) << (qcow1->header.cluster_bits + qcow1->slice_bits);
}

/* An L2 table in the file. */
static inline uint64_t qcow1_l2_bytes(const struct qcow1 *qcow1)
{
    return UINT64_C(8) << qcow1->header.l2_bits;
}

/* Where a guest offset's entry is: which slice, and where in it. */
struct qcow1_place {
    uint64_t host_offset; /* of the slice */
    uint32_t index;       /* of the entry in it */
};

/* qcow1.c */
struct qcow1_place qcow1_slice_place(const struct qcow1 *qcow1,
                                     uint64_t l2_offset, uint64_t guest_offset);
/* The only code that decodes an L2 entry. */
struct l2_entry qcow1_decode_entry(const struct qcow1 *qcow1, uint64_t raw);

/* write.c */
extern const struct writer_ops qcow1_writer_ops;

/* writable.c: the engine's calls for writing. */
int qcow1_prepare_write(struct engine *engine,
                        const struct write_options *options,
                        struct byre_error *err);
int qcow1_write(struct engine *engine, uint64_t offset, const void *buf,
                size_t length, uint32_t flags, const struct write_order *order,
                struct byre_error *err);
int qcow1_zero(struct engine *engine, uint64_t offset, uint64_t length,
               uint32_t flags, struct byre_error *err);
int qcow1_discard(struct engine *engine, uint64_t offset, uint64_t length,
                  struct byre_error *err);
int qcow1_flush(struct engine *engine, struct byre_error *err);
int qcow1_finish(struct engine *engine, struct byre_error *err);
int qcow1_end_write(struct engine *engine, struct byre_error *err);
void qcow1_set_backing(struct engine *engine,
                       const struct engine_backing *backing);
/* Finds what is in use, which nothing in the file says. */
int qcow1_find_space(struct qcow1 *qcow1, struct byre_error *err);
void qcow1_writable_done(struct qcow1 *qcow1);
/*
 * Ends writing, if `r` says that the tables lie; returns `r`.  The format has
 * no mark for that in the file.
 */
int qcow1_note_corrupt(struct qcow1 *qcow1, int r, struct byre_error *err);

/* chain.c */
int qcow1_set_backing_name(struct engine *engine, const char *name,
                           const char *format, struct byre_error *err);
int qcow1_empty(struct engine *engine, const struct engine_progress *progress,
                struct byre_error *err);

#endif
