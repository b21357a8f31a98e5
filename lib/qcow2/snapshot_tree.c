/* SPDX-License-Identifier: MIT */
#include "qcow2/snapshot_tree.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "qcow2/copied_flags.h"

/* One bit a cluster: as much as is walked over at once. */
#define FLAGS_BYTES (UINT64_C(32) << 20)

int snapshot_check_allowed(struct qcow2 *qcow2, struct byre_error *err)
{
    if (qcow2->engine.needs_data_file)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "an image with an external data file has no snapshots: "
                    "they could not keep what it holds");
    return writer_check(&qcow2->writer, err);
}

int snapshot_write_l1(struct qcow2 *qcow2, const uint64_t *entries,
                      uint64_t count, struct host_run *ret_run,
                      struct byre_error *err)
{
    const uint64_t cluster = engine_cluster_bytes(&qcow2->engine);
    const uint64_t clusters = div_round_up(count * 8, cluster);
    const size_t length = (size_t)(clusters * cluster);
    struct host_run run = { 0 };
    uint8_t *buf;
    int r;

    *ret_run = run;
    if (count == 0)
        return BYRE_OK;
    buf = calloc(1, length);
    if (buf == NULL)
        return fail_nomem(err, "an L1 table", length);
    for (uint64_t i = 0; i < count; i++)
        be64_put(buf + i * 8, entries[i] & QCOW2_ENTRY_OFFSET_MASK);

    r = qcow2_mark_corrupt(
        qcow2, allocator_take_all(qcow2->allocator, clusters, &run, err), err);
    if (r == BYRE_OK) {
        qcow2_raise_file_end(qcow2, run.offset + length);
        r = store_write(qcow2->store, run.offset, buf, length, err);
        if (r < 0) {
            error_prefix(err, "L1 table");
            allocator_give_back(qcow2->allocator, run.offset, length, NULL);
        }
    }
    free(buf);
    if (r == BYRE_OK)
        *ret_run = run;
    return r;
}

int snapshot_load_l1(struct qcow2 *qcow2, const struct qcow2_snapshot *snapshot,
                     uint64_t **ret_entries, uint64_t *ret_count,
                     struct byre_error *err)
{
    int r;

    r = qcow2_snapshot_check(snapshot, &qcow2->header, err);
    if (r < 0)
        return r;
    return engine_load_words(qcow2->store, "L1 table of a snapshot",
                             snapshot->l1_offset, snapshot->l1_entries,
                             qcow2->limits.max_table_bytes, ret_entries,
                             ret_count, err);
}

/* The flags in memory follow those of the file. */
static int reload_l1(struct qcow2 *qcow2, struct byre_error *err)
{
    const struct qcow2_header *header = &qcow2->header;
    const uint64_t count = header->l1_entries;
    uint64_t *words, *held_words = NULL;
    uint64_t held = 0;
    int r;

    words = calloc((size_t)count + 1, sizeof(*words));
    if (words == NULL)
        return fail_nomem(err, "an L1 table", (size_t)count * sizeof(*words));
    r = engine_load_words(qcow2->store, "L1 table", header->l1_offset, count,
                          qcow2->limits.max_table_bytes, &held_words, &held,
                          err);
    if (r < 0) {
        free(words);
        return r;
    }
    memcpy(words, held_words, (size_t)held * sizeof(*words));
    free(held_words);
    l1_replace(&qcow2->l1, words, count, header->l1_offset);
    return BYRE_OK;
}

/*
 * Also after a failure on the way: a flag that the file has and memory does not
 * know of would not be cleared when the next snapshot is taken.
 */
int snapshot_correct_flags(struct qcow2 *qcow2, struct byre_error *err)
{
    struct byre_error why = { 0 };
    int r, reloaded;

    r = copied_flags_correct(qcow2, FLAGS_BYTES, err);
    table_cache_forget_all(qcow2->tables);
    if (r == BYRE_OK)
        r = writer_barrier(&qcow2->writer, err);
    reloaded = reload_l1(qcow2, &why);
    if (reloaded < 0)
        writer_stick(&qcow2->writer, &why);
    if (r == BYRE_OK && reloaded < 0 && err != NULL)
        *err = why;
    return r < 0 ? r : reloaded;
}
