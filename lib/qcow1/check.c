/* SPDX-License-Identifier: MIT */
/*
 * A check of version 1, which has nothing to hold its tables against but
 * themselves: every byte has one owner, and all of it lies in the file.
 *
 * What is in use is noted for a window of the file, two bits a sector: all of
 * it is in use, or some of it.  Two that each use some of one sector may do so
 * in peace: streams, and tables at odd offsets, can be neighbours there.
 *
 * Nothing is mended.  What nobody refers to cannot be given to anybody, and of
 * two owners none is the wrong one.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "qcow1/check.h"

#define SECTOR       ENGINE_SECTOR_BYTES
#define L1_PIECE     ((size_t)64 << 10)
#define LEAST_WINDOW ((uint64_t)1 << 20)

enum { USE_SOME = 1, USE_ALL = 2 };

/* ---- Findings ---- */

static void found(struct qcow1_check *check, uint32_t kind,
                  const struct qcow1_use *use, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void found(struct qcow1_check *check, uint32_t kind,
                  const struct qcow1_use *use, const char *format, ...)
{
    char text[BYRE_ERROR_MESSAGE_SIZE];
    const struct byre_finding finding = {
        .size = sizeof(finding),
        .kind = kind,
        .object = use->object,
        .host_offset = use->offset,
        .guest_offset = use->guest_offset,
        .text = text,
    };
    va_list args;

    *(kind == BYRE_FINDING_LEAK ? &check->result.leaks
                                : &check->result.corruptions) += 1;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    check->sink->found(check->sink->user, &finding);
}

static void describe(const struct qcow1_use *use, char *text, size_t capacity)
{
    if (use->guest_offset == BYRE_NO_OFFSET)
        snprintf(text, capacity, "%s", use->object);
    else
        snprintf(text, capacity, "%s for guest offset %" PRIu64, use->object,
                 use->guest_offset);
}

/* ---- What is used twice ---- */

/* One conflict for all that a pair of owners shares. */
static void note_conflict(struct qcow1_check *check,
                          const struct qcow1_use *use, uint64_t sector)
{
    struct qcow1_conflict *conflict;

    if (check->conflict_count == QCOW1_MOST_CONFLICTS) {
        found(check, BYRE_FINDING_CORRUPTION, use,
              "the sector at %" PRIu64 " is used as %s, and as something else",
              sector * SECTOR, use->object);
        return;
    }
    conflict = &check->conflicts[check->conflict_count++];
    *conflict = (struct qcow1_conflict){ .sector = sector, .second = *use };
}

static int by_sector(const void *left, const void *right)
{
    const uint64_t a = ((const struct qcow1_conflict *)left)->sector;
    const uint64_t b = ((const struct qcow1_conflict *)right)->sector;

    return a < b ? -1 : a > b;
}

/* The first conflict at `sector` or behind it; they are sorted. */
static size_t find_from(const struct qcow1_check *check, uint64_t sector)
{
    size_t low = 0, high = check->conflict_count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;

        if (check->conflicts[middle].sector < sector)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The walk that finds the first owners comes past all uses again. */
static void find_first_owner(struct qcow1_check *check,
                             const struct qcow1_use *use)
{
    if (!range_within(use->offset, use->bytes, STORE_MAX_OFFSET))
        return;
    for (size_t i = find_from(check, use->offset / SECTOR);
         i < check->conflict_count &&
         check->conflicts[i].sector * SECTOR < use->offset + use->bytes;
         i++) {
        if (check->conflicts[i].first.object == NULL)
            check->conflicts[i].first = *use;
    }
}

static void report_conflicts(struct qcow1_check *check)
{
    char first[96], second[96];

    for (size_t i = 0; i < check->conflict_count; i++) {
        const struct qcow1_conflict *conflict = &check->conflicts[i];

        describe(&conflict->first, first, sizeof(first));
        describe(&conflict->second, second, sizeof(second));
        found(check, BYRE_FINDING_CORRUPTION, &conflict->second,
              "the sector at %" PRIu64 " is used twice: as %s, and as %s",
              conflict->sector * SECTOR, first, second);
    }
}

/* ---- What is in use ---- */

static uint8_t get_use(const struct qcow1_check *check, uint64_t place)
{
    return check->uses[place / 4] >> place % 4 * 2 & 3;
}

static void set_use(struct qcow1_check *check, uint64_t place, uint8_t use)
{
    check->uses[place / 4] |= (uint8_t)(use << place % 4 * 2);
}

/* Returns whether the sector was free for it. */
static bool take_sector(struct qcow1_check *check, const struct qcow1_use *use,
                        uint64_t sector)
{
    const bool all = use->offset <= sector * SECTOR &&
                     (sector + 1) * SECTOR <= use->offset + use->bytes;
    const uint64_t place = sector - check->first;
    const uint8_t before = get_use(check, place);

    set_use(check, place, all ? USE_ALL : USE_SOME);
    return all ? before == 0 : (before & USE_ALL) == 0;
}

/* Whether it hits the header, the name or the L1 table, by the byte. */
static bool hits_fixed(const struct qcow1_check *check,
                       const struct qcow1_use *use)
{
    for (size_t i = 0; i < check->fixed_count; i++) {
        const struct qcow1_use *other = &check->fixed[i];

        if (other->offset < use->offset + use->bytes &&
            use->offset < other->offset + other->bytes)
            return true;
    }
    return false;
}

static void take(struct qcow1_check *check, const struct qcow1_use *use)
{
    const uint64_t first = use->offset / SECTOR;
    const uint64_t end = div_round_up(use->offset + use->bytes, SECTOR);
    const uint64_t window_end = check->first + check->sectors;
    bool conflict = false;

    check->end = max_u64(check->end, use->offset + use->bytes);
    if (end > window_end)
        check->next = min_u64(check->next, max_u64(first, window_end));
    for (uint64_t sector = max_u64(first, check->first);
         sector < min_u64(end, window_end); sector++) {
        if (take_sector(check, use, sector) || conflict)
            continue;
        conflict = true;
        note_conflict(check, use, sector);
    }
    if (check->in_first_walk && !conflict && !use->is_fixed &&
        hits_fixed(check, use))
        note_conflict(check, use, first);
}

/* ---- One thing ---- */

/* Whether it lies in the file, but for the rest of its last cluster. */
static bool is_in_file(const struct qcow1_check *check,
                       const struct qcow1_use *use)
{
    return range_within(use->offset, use->bytes, STORE_MAX_OFFSET) &&
           (use->offset + use->bytes <= check->file_bytes ||
            use->offset + use->bytes - check->file_bytes <
                engine_cluster_bytes(&check->qcow1->engine));
}

/* Negative: the walk ends.  Positive: it cannot be looked into. */
static int visit(struct qcow1_check *check, const struct qcow1_use *use)
{
    char text[96];

    if (use->bytes == 0)
        return 1;
    if (check->finding_owners) {
        find_first_owner(check, use);
        return BYRE_OK;
    }
    if (is_in_file(check, use)) {
        take(check, use);
        return BYRE_OK;
    }
    describe(use, text, sizeof(text));
    if (check->in_first_walk)
        found(check, BYRE_FINDING_CORRUPTION, use,
              "the %s at %" PRIu64 " ends past the end of the file", text,
              use->offset);
    return 1;
}

static void count_cluster(struct qcow1_check *check,
                          const struct l2_entry *entry)
{
    struct byre_check_result *result = &check->result;
    const bool compressed = entry->kind == L2_COMPRESSED;

    if (!check->in_first_walk)
        return;
    result->allocated_clusters++;
    result->compressed_clusters += compressed;
    result->fragmented_clusters +=
        compressed ||
        (check->contiguous != 0 && entry->host_offset != check->contiguous);
    check->contiguous =
        compressed
            ? 0
            : entry->host_offset + engine_cluster_bytes(&check->qcow1->engine);
}

static void visit_cluster(struct qcow1_check *check, uint64_t raw,
                          uint64_t guest_offset)
{
    const struct qcow1 *qcow1 = check->qcow1;
    const struct l2_entry entry = qcow1_decode_entry(qcow1, raw);
    const struct qcow1_use use = {
        .object =
            entry.kind == L2_COMPRESSED ? "compressed cluster" : "data cluster",
        .offset = entry.host_offset,
        .bytes = entry.kind == L2_COMPRESSED
                     ? entry.compressed_bytes
                     : engine_cluster_bytes(&qcow1->engine),
        .guest_offset = guest_offset,
    };

    if (entry.kind == L2_UNALLOCATED)
        return;
    if (entry.kind != L2_INVALID) {
        count_cluster(check, &entry);
        visit(check, &use);
    } else if (check->in_first_walk) {
        found(check, BYRE_FINDING_CORRUPTION, &use,
              "the entry for guest offset %" PRIu64 " is 0x%016" PRIx64
              ", which can be no cluster",
              guest_offset, raw);
    }
}

/* ---- The walk ---- */

static int walk_l2(struct qcow1_check *check, uint64_t index, uint64_t offset,
                   struct byre_error *err)
{
    const struct qcow1 *qcow1 = check->qcow1;
    const size_t bytes = (size_t)qcow1_l2_bytes(qcow1);
    const uint64_t guest = index * qcow1_l1_range_bytes(qcow1);
    const struct qcow1_use use = {
        .object = "L2 table",
        .offset = offset,
        .bytes = bytes,
        .guest_offset = guest,
    };
    const struct engine_progress *progress = &check->sink->progress;
    int r;

    if (progress->advance != NULL) {
        r = progress->advance(progress->user, guest, qcow1->engine.size_bytes,
                              err);
        if (r < 0)
            return r;
    }
    check->contiguous = 0;
    if (visit(check, &use) > 0)
        return BYRE_OK;
    r = store_read(qcow1->store, offset, check->l2, bytes, err);
    for (size_t at = 0; r == BYRE_OK && at < bytes; at += 8) {
        const uint64_t raw = be64_get(check->l2 + at);

        if (raw != 0)
            visit_cluster(check, raw,
                          guest +
                              at / 8 * engine_cluster_bytes(&qcow1->engine));
    }
    return r;
}

/* The L1 table, as far as the file holds it. */
static int walk_l1(struct qcow1_check *check, struct byre_error *err)
{
    const struct qcow1_header *header = &check->qcow1->header;
    const uint64_t in_file =
        check->file_bytes > header->l1_offset
            ? align_up(check->file_bytes - header->l1_offset, 8)
            : 0;
    const uint64_t length = min_u64(qcow1_l1_entries(header) * 8, in_file);
    int r;

    for (uint64_t at = 0; at < length; at += L1_PIECE) {
        const size_t bytes = (size_t)min_u64(length - at, L1_PIECE);

        r = store_read(check->qcow1->store, header->l1_offset + at, check->l1,
                       bytes, err);
        for (size_t i = 0; r == BYRE_OK && i < bytes; i += 8) {
            const uint64_t offset = be64_get(check->l1 + i);

            if (offset != 0)
                r = walk_l2(check, (at + i) / 8, offset, err);
        }
        if (r < 0)
            return r;
    }
    return BYRE_OK;
}

static int walk(struct qcow1_check *check, struct byre_error *err)
{
    for (size_t i = 0; i < check->fixed_count; i++)
        visit(check, &check->fixed[i]);
    return walk_l1(check, err);
}

/* ---- What nobody uses ---- */

static void report_unused(struct qcow1_check *check, uint64_t from,
                          uint64_t clusters)
{
    const uint64_t cluster = engine_cluster_bytes(&check->qcow1->engine);
    const struct qcow1_use use = {
        .object = "cluster",
        .offset = from * cluster,
        .guest_offset = BYRE_NO_OFFSET,
    };

    if (clusters == 0)
        return;
    found(check, BYRE_FINDING_LEAK, &use,
          "nothing refers to the %" PRIu64 " bytes at %" PRIu64,
          clusters * cluster, use.offset);
    check->result.leaks += clusters - 1;
}

static bool is_unused(const struct qcow1_check *check, uint64_t cluster)
{
    const uint64_t cluster_bytes = engine_cluster_bytes(&check->qcow1->engine);
    const uint64_t sectors = cluster_bytes / SECTOR;
    const struct qcow1_header *header = &check->qcow1->header;
    const uint64_t l1_bytes = align_up(qcow1_l1_entries(header) * 8, SECTOR);

    /* QEMU pads the L1 table to whole sectors. */
    if (cluster * cluster_bytes < header->l1_offset + l1_bytes &&
        header->l1_offset < (cluster + 1) * cluster_bytes)
        return false;
    for (uint64_t i = 0; i < sectors; i++)
        if (get_use(check, cluster * sectors + i - check->first) != 0)
            return false;
    return true;
}

/* Whole clusters of the window, and of what lies between it and the next. */
static void find_unused(struct qcow1_check *check)
{
    const uint64_t sectors =
        engine_cluster_bytes(&check->qcow1->engine) / SECTOR;
    const uint64_t end = check->file_bytes / SECTOR / sectors;
    const uint64_t window_end =
        min_u64((check->first + check->sectors) / sectors, end);
    const uint64_t next = min_u64(check->next / sectors, end);
    uint64_t run = 0, cluster = check->first / sectors;

    for (; cluster < window_end; cluster++) {
        if (is_unused(check, cluster)) {
            run++;
            continue;
        }
        report_unused(check, cluster - run, run);
        run = 0;
    }
    if (next > cluster) {
        run += next - cluster;
        cluster = next;
    }
    report_unused(check, cluster - run, run);
}

/* ---- All of it ---- */

static int look(struct qcow1_check *check, struct byre_error *err)
{
    const uint64_t sectors =
        engine_cluster_bytes(&check->qcow1->engine) / SECTOR;
    int r;

    check->in_first_walk = true;
    for (uint64_t first = 0; first != UINT64_MAX; first = check->next) {
        check->first = align_down(first, sectors);
        check->next = UINT64_MAX;
        memset(check->uses, 0, (size_t)(check->sectors / 4));
        r = walk(check, err);
        if (r < 0)
            return r;
        check->in_first_walk = false;
        find_unused(check);
    }
    if (check->conflict_count == 0)
        return BYRE_OK;
    check->finding_owners = true;
    qsort(check->conflicts, check->conflict_count, sizeof(check->conflicts[0]),
          by_sector);
    r = walk(check, err);
    if (r == BYRE_OK)
        report_conflicts(check);
    return r;
}

static void list_fixed(struct qcow1_check *check)
{
    const struct qcow1_header *header = &check->qcow1->header;
    const struct qcow1_use uses[] = {
        { "header", 0, QCOW1_HEADER_BYTES, BYRE_NO_OFFSET, true },
        { "backing file name", header->backing_offset, header->backing_bytes,
          BYRE_NO_OFFSET, true },
        { "L1 table", header->l1_offset, qcow1_l1_entries(header) * 8,
          BYRE_NO_OFFSET, true },
    };

    for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++)
        if (uses[i].bytes > 0)
            check->fixed[check->fixed_count++] = uses[i];
}

static int check_init(struct qcow1_check *check, uint64_t memory_bytes,
                      struct byre_error *err)
{
    const struct qcow1 *qcow1 = check->qcow1;
    uint64_t bytes;
    int r;

    r = store_get_size(qcow1->store, &check->file_bytes, err);
    if (r < 0)
        return r;
    list_fixed(check);
    check->result.total_clusters = div_round_up(
        qcow1->engine.size_bytes, engine_cluster_bytes(&qcow1->engine));

    /* A multiple of any cluster, and not more than the file needs. */
    bytes = min_u64(max_u64(memory_bytes, LEAST_WINDOW),
                    check->file_bytes / SECTOR / 4 + LEAST_WINDOW);
    bytes = align_down(bytes, 1024);
    check->sectors = bytes * 4;
    check->uses = malloc((size_t)bytes);
    check->l1 = malloc(L1_PIECE);
    check->l2 = malloc((size_t)qcow1_l2_bytes(qcow1));
    check->conflicts =
        calloc(QCOW1_MOST_CONFLICTS, sizeof(check->conflicts[0]));
    if (check->uses == NULL || check->l1 == NULL || check->l2 == NULL ||
        check->conflicts == NULL)
        return fail_nomem(err, "what is in use", (size_t)bytes);
    return BYRE_OK;
}

int qcow1_check(struct engine *engine, uint32_t repair, uint64_t memory_bytes,
                const struct check_sink *sink, struct byre_check_result *ret,
                struct byre_error *err)
{
    struct qcow1_check check = {
        .qcow1 = qcow1_of(engine),
        .sink = sink,
        .result = BYRE_CHECK_RESULT_INIT,
    };
    int r;

    (void)repair;
    r = check_init(&check, memory_bytes, err);
    if (r == BYRE_OK)
        r = look(&check, err);
    free(check.uses);
    free(check.l1);
    free(check.l2);
    free(check.conflicts);
    if (r < 0)
        return r;
    check.result.image_end_offset = check.end;
    *ret = check.result;
    return BYRE_OK;
}
