/* SPDX-License-Identifier: MIT */
#include "strict.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store.h"
#include "strict_scan.h"

#define MAGIC           0x514649fbu
#define V2_HEADER_BYTES 72
#define V3_HEADER_BYTES 104
#define MAX_TABLE_BYTES (UINT64_C(64) << 20)

/* ---- Reporting ---- */

static void note(struct strict_scan *scan, const char *format, va_list args)
{
    struct strict_report *report = scan->report;

    report->corruptions++;
    if (report->first[0] == '\0')
        vsnprintf(report->first, sizeof(report->first), format, args);
}

void strict_structural(struct strict_scan *scan, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    note(scan, format, args);
    va_end(args);
    scan->report->structural++;
}

void strict_corruption(struct strict_scan *scan, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    note(scan, format, args);
    va_end(args);
}

/* ---- Reading ---- */

uint8_t *strict_load(struct strict_scan *scan, const char *what,
                     uint64_t offset, uint64_t length)
{
    uint8_t *bytes = NULL;

    if (length <= MAX_TABLE_BYTES)
        bytes = calloc(1, (size_t)length + 1);
    if (bytes == NULL || scan->source->read(scan->source->user, offset, bytes,
                                            (size_t)length) < 0) {
        strict_structural(scan, "%s at %#llx: %llu bytes are not readable",
                          what, (unsigned long long)offset,
                          (unsigned long long)length);
        free(bytes);
        return NULL;
    }
    return bytes;
}

bool strict_is_aligned(struct strict_scan *scan, const char *what,
                       uint64_t offset)
{
    if ((offset & (scan->cluster_bytes - 1)) == 0)
        return true;
    strict_structural(scan, "%s at %#llx is not aligned to a cluster", what,
                      (unsigned long long)offset);
    return false;
}

/* ---- References ---- */

static const char *use_name(unsigned use)
{
    static const char *const names[] = {
        "nothing", "header",       "refcount table", "refcount block",
        "L1",      "snapshots",    "LUKS",           "bitmaps",
        "L2",      "data cluster", "compressed data"
    };

    return names[use];
}

static bool is_shareable(unsigned use)
{
    return use == USE_L2 || use == USE_DATA || use == USE_COMPRESSED;
}

static void refer_once(struct strict_scan *scan, enum strict_use use,
                       uint32_t tree, uint64_t index)
{
    struct strict_cluster *cluster = &scan->clusters[index];

    if (cluster->references > 0 &&
        (cluster->use != use || !is_shareable(use) ||
         (cluster->last_tree == tree && use != USE_COMPRESSED)))
        strict_structural(scan, "host cluster %#llx is %s and also %s",
                          (unsigned long long)(index << scan->cluster_bits),
                          use_name(cluster->use), use_name(use));
    cluster->use = (uint8_t)use;
    cluster->last_tree = tree;
    cluster->references++;
}

void strict_refer(struct strict_scan *scan, enum strict_use use, uint32_t tree,
                  uint64_t offset, uint64_t length)
{
    const uint64_t end = offset + length;

    if (length == 0)
        return;
    if (end < offset || (end > scan->source->length &&
                         end - scan->source->length >= scan->cluster_bytes)) {
        strict_structural(scan, "%s at %#llx lies past the end of the file",
                          use_name(use), (unsigned long long)offset);
        return;
    }
    for (uint64_t i = offset >> scan->cluster_bits;
         i <= (end - 1) >> scan->cluster_bits; i++)
        refer_once(scan, use, tree, i);
}

/* ---- The header of QCOW2 ---- */

struct tables {
    uint64_t l1_offset;
    uint64_t l1_entries;
    uint64_t snapshots_offset;
    uint32_t snapshot_count;
    uint64_t extensions; /* where they start */
    uint64_t extensions_end;
};

static bool read_features(struct strict_scan *scan, const uint8_t *header,
                          struct tables *tables)
{
    tables->extensions = V2_HEADER_BYTES;
    scan->refcount_order = 4;
    if (scan->version < 3)
        return true;
    scan->incompatible = strict_be64(header + 72);
    scan->autoclear = strict_be64(header + 88);
    scan->refcount_order = strict_be32(header + 96);
    tables->extensions = strict_be32(header + 100);
    scan->report->dirty = (scan->incompatible & INCOMPATIBLE_DIRTY) != 0;
    scan->report->marked_corrupt =
        (scan->incompatible & INCOMPATIBLE_CORRUPT) != 0;
    if ((scan->incompatible & ~INCOMPATIBLE_KNOWN) != 0 ||
        scan->refcount_order > 6 || tables->extensions < V3_HEADER_BYTES ||
        tables->extensions > scan->cluster_bytes) {
        strict_structural(scan, "header: features, refcounts or length");
        return false;
    }
    return true;
}

static bool read_header(struct strict_scan *scan, const uint8_t *header,
                        struct tables *tables)
{
    const uint64_t backing = strict_be64(header + 8);
    const uint32_t bits = strict_be32(header + 20);

    if (bits < 9 || bits > 21) {
        strict_structural(scan, "header: %u cluster bits", bits);
        return false;
    }
    scan->cluster_bits = bits;
    scan->cluster_bytes = UINT64_C(1) << bits;
    scan->size_bytes = strict_be64(header + 24);
    tables->l1_entries = strict_be32(header + 36);
    tables->l1_offset = strict_be64(header + 40);
    scan->refcount_table = strict_be64(header + 48);
    scan->refcount_table_clusters = strict_be32(header + 56);
    tables->snapshot_count = strict_be32(header + 60);
    tables->snapshots_offset = strict_be64(header + 64);
    tables->extensions_end = backing != 0 ? backing : scan->cluster_bytes;
    if (backing + strict_be32(header + 16) > scan->cluster_bytes) {
        strict_structural(scan, "header: the backing name leaves its cluster");
        return false;
    }
    return read_features(scan, header, tables);
}

/* The L1 table must cover the disk. */
static void check_l1_size(struct strict_scan *scan, const struct tables *tables)
{
    const unsigned entry_bits =
        (scan->incompatible & INCOMPATIBLE_EXTENDED_L2) != 0 ? 4 : 3;
    const unsigned bits = 2 * scan->cluster_bits - entry_bits;
    const uint64_t needed =
        (scan->size_bytes >> bits) +
        ((scan->size_bytes & ((UINT64_C(1) << bits) - 1)) != 0);

    if (tables->l1_entries < needed)
        strict_structural(scan, "header: %llu L1 entries for %llu",
                          (unsigned long long)tables->l1_entries,
                          (unsigned long long)needed);
}

/* ---- The whole ---- */

static void scan_tables(struct strict_scan *scan, const struct tables *tables,
                        const uint8_t *header)
{
    strict_refer(scan, USE_HEADER, 0, 0, scan->cluster_bytes);
    check_l1_size(scan, tables);
    strict_scan_tree(scan, tables->l1_offset, tables->l1_entries, 1);
    strict_scan_snapshots(scan, tables->snapshots_offset,
                          tables->snapshot_count);
    strict_scan_extensions(scan, header, tables->extensions,
                           tables->extensions_end);
    strict_load_refcounts(scan);
    if (scan->report->dirty)
        return;
    strict_compare_refcounts(scan);
    strict_check_copied(scan, tables->l1_offset, tables->l1_entries);
}

static void scan_qcow2(struct strict_scan *scan, const uint8_t *header)
{
    struct tables tables;
    uint8_t *cluster = NULL;

    if (!read_header(scan, header, &tables))
        return;
    scan->cluster_count = ((scan->source->length + (scan->cluster_bytes - 1)) >>
                           scan->cluster_bits) +
                          1;
    scan->clusters = calloc(scan->cluster_count, sizeof(*scan->clusters));
    scan->stored = calloc(scan->cluster_count, sizeof(*scan->stored));
    cluster = strict_load(scan, "header", 0, scan->cluster_bytes);
    if (scan->clusters != NULL && scan->stored != NULL && cluster != NULL)
        scan_tables(scan, &tables, cluster);
    else
        strict_structural(scan, "memory ran out");
    free(cluster);
    free(scan->clusters);
    free(scan->stored);
}

void strict_check(const struct strict_source *source,
                  struct strict_report *ret_report)
{
    struct strict_scan scan = { .source = source, .report = ret_report };
    uint8_t *header = NULL;

    *ret_report = (struct strict_report){ .version = 0 };
    header = strict_load(&scan, "header", 0, 112);
    if (header == NULL)
        return;
    scan.version = ret_report->version = strict_be32(header + 4);
    if (strict_be32(header) != MAGIC || scan.version < 1 || scan.version > 3)
        strict_structural(&scan, "no header of QCOW");
    else if (scan.version == 1)
        strict_scan_qcow1(&scan);
    else
        scan_qcow2(&scan, header);
    free(header);
}

static int read_store(void *user, uint64_t offset, void *buf, size_t length)
{
    struct byre_store *store = user;
    struct byre_error err;

    return store->ops.read(store->user, offset, buf, length, &err);
}

void strict_check_store(struct byre_store *store,
                        struct strict_report *ret_report)
{
    struct strict_source source = { .read = read_store, .user = store };
    struct byre_error err;

    store->ops.get_size(store->user, &source.length, &err);
    strict_check(&source, ret_report);
}
