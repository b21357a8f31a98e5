/* SPDX-License-Identifier: MIT */
/*
 * Images for tests of rebuilding refcounts: made by qemu-img in a scratch
 * directory, held in memory, spoilt, and judged.
 */
#ifndef BYRE_TESTS_REBUILD_IMAGE_H
#define BYRE_TESTS_REBUILD_IMAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#undef fail /* the macro of cmocka; base/error.h has a function */

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "format/refcount.h"
#include "qcow2/internal.h"
#include "qcow2/qcow2.h"
#include "qcow2/rebuild.h"
#include "qcow2/references.h"

#define SMALL_BUDGET 0
#define LARGE_BUDGET (UINT64_C(64) << 20)

#define CREATE "qemu-img create -q -f qcow2 -o "

/* ---- Commands ---- */

static inline int run(const char *command)
{
    char line[4096];

    snprintf(line, sizeof(line), "{ ulimit -c 0; set -e; %s; } >log 2>&1",
             command);
    return system(line);
}

/* QEMU 7.2 does not always find out how fast it derives keys. */
#define MOST_TRIES 50

static inline bool is_clock_trouble(void)
{
    return system("grep -q 'accurate CPU usage' log") == 0;
}

static inline void must_run(const char *command)
{
    for (int i = 0; i < MOST_TRIES; i++) {
        if (run(command) == 0)
            return;
        if (!is_clock_trouble())
            break;
    }
    print_error("%s\n", command);
    (void)!system("cat log >&2");
    assert_true(false);
}

static inline bool have_qemu(void)
{
    return run("qemu-img --version && qemu-io --version") == 0;
}

static inline int enter_scratch(void **state)
{
    char *path = strdup("/tmp/byre-rebuild-XXXXXX");

    *state = path;
    return mkdtemp(path) == NULL || chdir(path) != 0 ? -1 : 0;
}

static inline int leave_scratch(void **state)
{
    char line[128];

    snprintf(line, sizeof(line), "rm -rf %s", (const char *)*state);
    free(*state);
    return chdir("/") != 0 || system(line) != 0 ? -1 : 0;
}

/* ---- Images in memory ---- */

static inline uint64_t store_bytes(struct byre_store *store)
{
    uint64_t size = 0;

    assert_int_equal(store_get_size(store, &size, NULL), BYRE_OK);
    return size;
}

static inline uint8_t *copy_bytes(struct byre_store *store, size_t *ret_length)
{
    uint8_t *bytes;

    *ret_length = (size_t)store_bytes(store);
    bytes = malloc(*ret_length + 1);
    assert_int_equal(store_read(store, 0, bytes, *ret_length, NULL), BYRE_OK);
    return bytes;
}

static inline struct byre_store *store_of(const void *bytes, size_t length)
{
    struct byre_store *store = NULL;

    assert_int_equal(byre_store_new_memory(bytes, length, &store, NULL),
                     BYRE_OK);
    return store;
}

static inline uint8_t *load_file(const char *name, size_t *ret_length)
{
    FILE *file = fopen(name, "rb");
    uint8_t *bytes;

    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    *ret_length = (size_t)ftell(file);
    rewind(file);
    bytes = malloc(*ret_length + 1);
    assert_int_equal(fread(bytes, 1, *ret_length, file), *ret_length);
    fclose(file);
    return bytes;
}

static inline void save_file(struct byre_store *store, const char *name)
{
    size_t length;
    uint8_t *bytes = copy_bytes(store, &length);
    FILE *file = fopen(name, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    fclose(file);
    free(bytes);
}

static inline struct qcow2 *open_image(struct byre_store *store)
{
    const struct engine_limits limits = {
        .table_cache_bytes = 1 << 20,
        .cluster_cache_bytes = 1 << 20,
        .max_kdf_iterations = 1 << 20,
        .max_table_bytes = 64 << 20,
    };
    struct byre_error err = { .message = "" };
    struct engine *engine = NULL;

    if (qcow2_open(store, &limits, &engine, &err) < 0)
        print_error("%s\n", err.message);
    assert_non_null(engine);
    return qcow2_of(engine);
}

static inline void close_image(struct qcow2 *qcow2)
{
    qcow2->engine.ops->free(&qcow2->engine);
}

static inline bool is_dirty(const struct qcow2 *qcow2)
{
    return (qcow2->header.incompatible & QCOW2_INCOMPAT_DIRTY) != 0;
}

/* ---- Spoiling ---- */

static inline int spoil_entry(void *user, const struct reference *ref,
                              struct byre_error *err)
{
    struct qcow2 *qcow2 = user;
    const uint64_t words =
        ref->owner == REFERENCE_L2_TABLE ? 1 : qcow2->entry_words;
    uint8_t entry[8];

    if (ref->owner != REFERENCE_L2_TABLE && ref->owner != REFERENCE_DATA &&
        ref->owner != REFERENCE_EXTERNAL_DATA)
        return BYRE_OK;
    /* There the flag is what tells cluster 0 from none. */
    if (ref->owner == REFERENCE_EXTERNAL_DATA && ref->offset == 0)
        return BYRE_OK;
    be64_put(entry, ref->raw ^ QCOW2_ENTRY_COPIED);
    return store_write(qcow2->store, ref->table_offset + ref->index * words * 8,
                       entry, sizeof(entry), err);
}

static inline int spoil_block(void *user, const struct reference *ref,
                              struct byre_error *err)
{
    struct qcow2 *qcow2 = user;
    uint8_t garbage[512];

    if (ref->owner != REFERENCE_REFCOUNT_BLOCK)
        return BYRE_OK;
    memset(garbage, 0x5a, sizeof(garbage));
    return store_write(qcow2->store, ref->offset, garbage, sizeof(garbage),
                       err);
}

/* Wrong counts, every flag wrong, and the dirty bit where there is one. */
static inline void spoil(struct byre_store *store)
{
    struct qcow2 *qcow2 = open_image(store);
    uint8_t word[8];

    assert_int_equal(
        references_walk(qcow2, REFERENCES_REFCOUNTS, spoil_block, qcow2, NULL),
        BYRE_OK);
    assert_int_equal(references_walk(qcow2,
                                     REFERENCES_ACTIVE | REFERENCES_EXTERNAL,
                                     spoil_entry, qcow2, NULL),
                     BYRE_OK);
    be64_put(word, qcow2->header.incompatible | QCOW2_INCOMPAT_DIRTY);
    if (qcow2->header.version >= 3)
        assert_int_equal(store_write(store, 72, word, sizeof(word), NULL),
                         BYRE_OK);
    close_image(qcow2);
}

/* ---- Judging ---- */

/* The image "img" checks clean, and reads as "content" and "snapshot" do. */
static inline void qemu_judges(const char *options, bool has_snapshot)
{
    char line[1024];

    snprintf(line, sizeof(line), "qemu-img check %s", options);
    must_run(line);
    snprintf(line, sizeof(line),
             "qemu-img convert -O raw %s again; cmp content again", options);
    must_run(line);
    if (has_snapshot)
        must_run("qemu-img convert -O raw -l a img again; cmp snapshot again");
}

struct judge {
    struct qcow2 *qcow2;
    uint64_t *counts; /* a cluster each */
    uint64_t clusters;
};

static inline int judge_count(void *user, const struct reference *ref,
                              struct byre_error *err)
{
    struct judge *judge = user;
    const uint64_t cluster_bytes = qcow2_cluster_bytes(&judge->qcow2->header);

    if (ref->faults != 0)
        return fail(err, BYRE_E_CORRUPT, "%s %s at %llu",
                    reference_owner_name(ref->owner),
                    reference_fault_text(ref->faults),
                    (unsigned long long)ref->table_offset);
    if (ref->bytes == 0 || ref->owner == REFERENCE_EXTERNAL_DATA)
        return BYRE_OK;
    for (uint64_t i = ref->offset / cluster_bytes;
         i * cluster_bytes < ref->offset + ref->bytes; i++)
        judge->counts[i]++;
    return BYRE_OK;
}

static inline int judge_copied(void *user, const struct reference *ref,
                               struct byre_error *err)
{
    struct judge *judge = user;
    const uint64_t cluster_bytes = qcow2_cluster_bytes(&judge->qcow2->header);
    bool want = false;

    if (ref->owner == REFERENCE_L1_TABLE)
        return BYRE_OK;
    if (ref->owner == REFERENCE_L2_TABLE || ref->owner == REFERENCE_DATA)
        want = judge->counts[ref->offset / cluster_bytes] == 1;
    if (ref->owner == REFERENCE_EXTERNAL_DATA)
        want = true;
    return want == ref->copied
               ? BYRE_OK
               : fail(err, BYRE_E_CORRUPT, "entry 0x%llx has the wrong flag",
                      (unsigned long long)ref->raw);
}

static inline uint64_t stored_count(struct qcow2 *qcow2, uint64_t cluster)
{
    const struct qcow2_header *header = &qcow2->header;
    const uint64_t per_block =
        refcounts_per_block(header->cluster_bits, header->refcount_order);
    uint8_t *block = malloc((size_t)qcow2_cluster_bytes(header));
    uint64_t count = 0;
    uint8_t entry[8] = { 0 };

    if (cluster / per_block <
        header->refcount_table_clusters * qcow2_cluster_bytes(header) / 8)
        store_read(qcow2->store,
                   header->refcount_table_offset + cluster / per_block * 8,
                   entry, sizeof(entry), NULL);
    if (be64_get(entry) != 0) {
        store_read(qcow2->store, be64_get(entry), block,
                   (size_t)qcow2_cluster_bytes(header), NULL);
        count =
            refcount_get(block, cluster % per_block, header->refcount_order);
    }
    free(block);
    return count;
}

/* Whether every count is right: no leak, no more; and then every flag. */
static inline int judge_parts(struct qcow2 *qcow2, bool flags,
                              struct byre_error *err)
{
    const uint64_t cluster_bytes = qcow2_cluster_bytes(&qcow2->header);
    struct judge judge = {
        .qcow2 = qcow2,
        .clusters = store_bytes(qcow2->store) / cluster_bytes + 2,
    };
    int r;

    judge.counts = calloc((size_t)judge.clusters, sizeof(judge.counts[0]));
    r = references_walk(qcow2, REFERENCES_ALL, judge_count, &judge, err);
    if (r == BYRE_OK && flags)
        r = references_walk(qcow2, REFERENCES_ACTIVE | REFERENCES_EXTERNAL,
                            judge_copied, &judge, err);
    for (uint64_t i = 0; r == BYRE_OK && i < judge.clusters; i++) {
        const uint64_t stored = stored_count(qcow2, i);

        if (stored != judge.counts[i])
            r = fail(err, BYRE_E_CORRUPT,
                     "cluster %llu has the count %llu, not %llu",
                     (unsigned long long)i, (unsigned long long)stored,
                     (unsigned long long)judge.counts[i]);
    }
    free(judge.counts);
    return r;
}

static inline int judge_image(struct qcow2 *qcow2, struct byre_error *err)
{
    return judge_parts(qcow2, true, err);
}

#endif
