/* SPDX-License-Identifier: MIT */
/*
 * The strict checker for version 1, which counts no references: no two of its
 * parts may share a byte, and none may lie behind the end of the file.
 */
#include <stdlib.h>

#include "strict_scan.h"

struct part {
    uint64_t offset;
    uint64_t length;
    const char *name;
};

struct parts {
    struct strict_scan *scan;
    struct part *list;
    size_t count;
    size_t capacity;
    unsigned l2_bits;
};

static void add_part(struct parts *parts, const char *name, uint64_t offset,
                     uint64_t length)
{
    const uint64_t file = parts->scan->source->length;

    if (length == 0)
        return;
    if (offset + length < offset ||
        (offset + length > file &&
         offset + length - file >= parts->scan->cluster_bytes)) {
        strict_structural(parts->scan,
                          "%s at %#llx lies past the end of the file", name,
                          (unsigned long long)offset);
        return;
    }
    if (parts->count == parts->capacity) {
        const size_t capacity = parts->capacity * 2 + 64;
        struct part *list =
            realloc(parts->list, capacity * sizeof(*parts->list));

        if (list == NULL) {
            strict_structural(parts->scan, "memory ran out");
            return;
        }
        parts->list = list;
        parts->capacity = capacity;
    }
    parts->list[parts->count++] = (struct part){ offset, length, name };
}

static int compare_parts(const void *a, const void *b)
{
    const struct part *first = a, *second = b;

    return (first->offset > second->offset) - (first->offset < second->offset);
}

static void find_overlaps(struct parts *parts)
{
    if (parts->count > 0)
        qsort(parts->list, parts->count, sizeof(*parts->list), compare_parts);
    for (size_t i = 1; i < parts->count; i++) {
        const struct part *one = &parts->list[i - 1];
        const struct part *other = &parts->list[i];

        if (other->offset < one->offset + one->length)
            strict_structural(parts->scan,
                              "%s at %#llx and %s at %#llx overlap", one->name,
                              (unsigned long long)one->offset, other->name,
                              (unsigned long long)other->offset);
    }
}

static void scan_entry(struct parts *parts, uint64_t word)
{
    const unsigned bits = parts->scan->cluster_bits;

    if (word == 0)
        return;
    if (word >> 63 != 0) {
        add_part(parts, "compressed data", strict_bits(word, 0, 63 - bits - 1),
                 strict_bits(word, 63 - bits, 62) >> (63 - bits));
        return;
    }
    if (word % 512 != 0)
        strict_structural(parts->scan, "L2 entry %#llx is not aligned",
                          (unsigned long long)word);
    add_part(parts, "data cluster", word, parts->scan->cluster_bytes);
}

static void scan_table(struct parts *parts, uint64_t offset)
{
    const uint64_t entries = UINT64_C(1) << parts->l2_bits;
    uint8_t *table = strict_load(parts->scan, "L2", offset, entries * 8);

    add_part(parts, "L2", offset, entries * 8);
    for (uint64_t i = 0; table != NULL && i < entries; i++)
        scan_entry(parts, strict_be64(table + i * 8));
    free(table);
}

static void scan_header(struct parts *parts, const uint8_t *header)
{
    const uint64_t l1_offset = strict_be64(header + 40);
    const unsigned bits = parts->scan->cluster_bits + parts->l2_bits;
    const uint64_t size = strict_be64(header + 24);
    const uint64_t entries =
        (size >> bits) + ((size & ((UINT64_C(1) << bits) - 1)) != 0);
    uint8_t *l1 = strict_load(parts->scan, "L1", l1_offset, entries * 8);

    add_part(parts, "header", 0, 48);
    add_part(parts, "backing name", strict_be64(header + 8),
             strict_be32(header + 16));
    add_part(parts, "L1", l1_offset, entries * 8);
    for (uint64_t i = 0; l1 != NULL && i < entries; i++)
        if (strict_be64(l1 + i * 8) != 0)
            scan_table(parts, strict_be64(l1 + i * 8));
    free(l1);
}

void strict_scan_qcow1(struct strict_scan *scan)
{
    struct parts parts = { .scan = scan };
    uint8_t *header = strict_load(scan, "header", 0, 48);

    if (header == NULL)
        return;
    scan->cluster_bits = header[32];
    parts.l2_bits = header[33];
    if (scan->cluster_bits < 9 || scan->cluster_bits > 16 ||
        parts.l2_bits < 6 || parts.l2_bits > 13) {
        strict_structural(scan, "header: cluster or L2 bits");
    } else {
        scan->cluster_bytes = UINT64_C(1) << scan->cluster_bits;
        scan_header(&parts, header);
        find_overlaps(&parts);
    }
    free(parts.list);
    free(header);
}
