/* SPDX-License-Identifier: MIT */
/* A growing list of offsets; zeroed it is empty. */
#ifndef BYRE_BASE_OFFSET_LIST_H
#define BYRE_BASE_OFFSET_LIST_H

#include <stddef.h>
#include <stdint.h>

#include "byre.h"

struct offset_list {
    uint64_t *offsets;
    size_t count;
    size_t capacity;
};

void offset_list_done(struct offset_list *list);
int offset_list_add(struct offset_list *list, uint64_t offset,
                    struct byre_error *err);
/* In ascending order. */
void offset_list_sort(struct offset_list *list);

#endif
