/* SPDX-License-Identifier: MIT */
#include "qcow2/l2_list.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/error.h"

void l2_list_done(struct l2_list *list)
{
    free(list->tables);
    *list = (struct l2_list){ 0 };
}

static int append(struct l2_list *list, uint64_t offset, struct byre_error *err)
{
    const size_t capacity = list->capacity * 2 + 16;
    struct l2_reference *tables = list->tables;

    if (list->count == list->capacity) {
        tables = realloc(tables, capacity * sizeof(*tables));
        if (tables == NULL)
            return fail_nomem(err, "a list of L2 tables",
                              capacity * sizeof(*tables));
        list->tables = tables;
        list->capacity = capacity;
    }
    tables[list->count++] = (struct l2_reference){ offset, 1 };
    return BYRE_OK;
}

int l2_list_add(struct l2_list *list, const struct qcow2 *qcow2,
                const uint64_t *entries, uint64_t count, bool lenient,
                struct byre_error *err)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t offset = 0;
        int r = BYRE_OK;

        if (!l1_entry_decode(entries[i], qcow2->header.cluster_bits, &offset)) {
            if (lenient)
                continue;
            return fail(err, BYRE_E_CORRUPT,
                        "L1 entry %" PRIu64 ", 0x%016" PRIx64
                        ", points to no multiple of the cluster size; run a "
                        "check of the image",
                        i, entries[i]);
        }
        if (offset != 0)
            r = append(list, offset, err);
        if (r < 0)
            return r;
    }
    return BYRE_OK;
}

static int by_offset(const void *left, const void *right)
{
    const struct l2_reference *a = left, *b = right;

    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

void l2_list_sort(struct l2_list *list)
{
    size_t kept = 0;

    if (list->count > 0)
        qsort(list->tables, list->count, sizeof(list->tables[0]), by_offset);
    for (size_t i = 0; i < list->count; i++) {
        if (kept > 0 && list->tables[kept - 1].offset == list->tables[i].offset)
            list->tables[kept - 1].times += list->tables[i].times;
        else
            list->tables[kept++] = list->tables[i];
    }
    list->count = kept;
}

static void drop_unreferenced(struct l2_list *list)
{
    size_t kept = 0;

    for (size_t i = 0; i < list->count; i++) {
        if (list->tables[i].times > 0)
            list->tables[kept++] = list->tables[i];
    }
    list->count = kept;
}

void l2_list_part(struct l2_list *a, struct l2_list *b)
{
    for (size_t i = 0, j = 0; i < a->count && j < b->count;) {
        struct l2_reference *x = &a->tables[i], *y = &b->tables[j];

        if (x->offset == y->offset) {
            const uint32_t both = x->times < y->times ? x->times : y->times;

            x->times -= both;
            y->times -= both;
        }
        i += x->offset <= y->offset;
        j += y->offset <= x->offset;
    }
    drop_unreferenced(a);
    drop_unreferenced(b);
}

int l2_list_copy(struct l2_list *ret_list, const struct l2_list *list,
                 struct byre_error *err)
{
    const size_t bytes = (list->count + 1) * sizeof(list->tables[0]);
    struct l2_list copy = { .tables = malloc(bytes),
                            .count = list->count,
                            .capacity = list->count + 1 };

    if (copy.tables == NULL)
        return fail_nomem(err, "a list of L2 tables", bytes);
    for (size_t i = 0; i < list->count; i++)
        copy.tables[i] = list->tables[i];
    *ret_list = copy;
    return BYRE_OK;
}

int l2_list_active(struct l2_list *ret_list, const struct qcow2 *qcow2,
                   struct byre_error *err)
{
    struct l2_list list = { 0 };
    int r = BYRE_OK;

    for (uint64_t i = 0; i < qcow2->l1.held && r == BYRE_OK; i++) {
        const uint64_t entry = l1_get(&qcow2->l1, i);

        r = l2_list_add(&list, qcow2, &entry, 1, false, err);
    }
    if (r < 0) {
        l2_list_done(&list);
        return r;
    }
    l2_list_sort(&list);
    *ret_list = list;
    return BYRE_OK;
}
