/* SPDX-License-Identifier: MIT */
#include "base/offset_list.h"

#include <stdlib.h>

#include "base/error.h"

void offset_list_done(struct offset_list *list)
{
    free(list->offsets);
    *list = (struct offset_list){ 0 };
}

int offset_list_add(struct offset_list *list, uint64_t offset,
                    struct byre_error *err)
{
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity > 0 ? 2 * list->capacity : 16;
        uint64_t *offsets =
            realloc(list->offsets, capacity * sizeof(offsets[0]));

        if (offsets == NULL)
            return fail_nomem(err, "a list of offsets",
                              capacity * sizeof(offsets[0]));
        list->offsets = offsets;
        list->capacity = capacity;
    }
    list->offsets[list->count++] = offset;
    return BYRE_OK;
}

static int compare_offsets(const void *left, const void *right)
{
    const uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

    return a < b ? -1 : a > b;
}

void offset_list_sort(struct offset_list *list)
{
    if (list->count > 1)
        qsort(list->offsets, list->count, sizeof(list->offsets[0]),
              compare_offsets);
}
