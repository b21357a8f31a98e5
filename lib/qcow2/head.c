/* SPDX-License-Identifier: MIT */
#include "qcow2/head.h"

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"

/* ---- Loading ---- */

static int copy_bytes(const void *data, size_t length, uint8_t **ret_copy,
                      struct byre_error *err)
{
    uint8_t *copy = malloc(length > 0 ? length : 1);

    if (copy == NULL)
        return fail_nomem(err, "a part of the header", length);
    if (length > 0)
        memcpy(copy, data, length);
    *ret_copy = copy;
    return BYRE_OK;
}

/* Makes room for one at `index`, which is empty then. */
static int insert_extension(struct head *head, size_t index,
                            struct byre_error *err)
{
    const size_t bytes =
        (head->extension_count + 1) * sizeof(*head->extensions);
    struct head_extension *list = realloc(head->extensions, bytes);

    if (list == NULL)
        return fail_nomem(err, "the header extensions", bytes);
    memmove(&list[index + 1], &list[index],
            (head->extension_count - index) * sizeof(*list));
    list[index] = (struct head_extension){ 0 };
    head->extensions = list;
    head->extension_count++;
    return BYRE_OK;
}

static int load_extensions(struct head *head, const uint8_t *cluster,
                           size_t length, struct byre_error *err)
{
    const struct qcow2_header *header = &head->header;
    const size_t area = qcow2_extension_area(header, length);
    size_t position = header->header_bytes;
    struct qcow2_extension record;
    int r;

    for (;;) {
        struct head_extension *last;

        r = qcow2_extension_next(cluster, area, &position, &record, err);
        if (r <= 0)
            return r;
        r = insert_extension(head, head->extension_count, err);
        if (r < 0)
            return r;
        last = &head->extensions[head->extension_count - 1];
        last->type = record.type;
        last->length = record.length;
        r = copy_bytes(record.data, record.length, &last->data, err);
        if (r < 0)
            return r;
    }
}

static int load_parts(struct head *head, const uint8_t *cluster, size_t length,
                      struct byre_error *err)
{
    const struct qcow2_header *header = &head->header;
    int r = BYRE_OK;

    if (header->header_bytes > QCOW2_HEADER_BYTES)
        r = copy_bytes(cluster + QCOW2_HEADER_BYTES,
                       header->header_bytes - QCOW2_HEADER_BYTES,
                       &head->unknown, err);
    if (r == BYRE_OK)
        r = load_extensions(head, cluster, length, err);
    if (r == BYRE_OK && header->backing_offset != 0 &&
        header->backing_bytes != 0)
        r = engine_copy_string(cluster + header->backing_offset,
                               header->backing_bytes, &head->backing_name, err);
    return r;
}

int head_load(struct qcow2 *qcow2, struct head *ret_head,
              struct byre_error *err)
{
    const size_t length = (size_t)qcow2_cluster_bytes(&qcow2->header);
    struct head head = { .header = qcow2->header };
    uint8_t *cluster = malloc(length);
    int r;

    if (cluster == NULL)
        return fail_nomem(err, "the header cluster", length);

    r = store_read(qcow2->store, 0, cluster, length, err);
    if (r == BYRE_OK)
        r = load_parts(&head, cluster, length, err);
    free(cluster);
    if (r < 0) {
        head_done(&head);
        return r;
    }
    *ret_head = head;
    return BYRE_OK;
}

void head_done(struct head *head)
{
    for (size_t i = 0; i < head->extension_count; i++)
        free(head->extensions[i].data);
    free(head->extensions);
    free(head->unknown);
    free(head->backing_name);
    *head = (struct head){ 0 };
}

/* ---- Changing ---- */

/* The last one counts, as for those who read images. */
const struct head_extension *head_find(const struct head *head, uint32_t type)
{
    for (size_t i = head->extension_count; i > 0; i--) {
        if (head->extensions[i - 1].type == type)
            return &head->extensions[i - 1];
    }
    return NULL;
}

/*
 * Where a new extension goes.  The table of feature names, which is long, is
 * behind all that is known, so that those lie in the first sector; what nobody
 * knows comes last.
 */
static unsigned rank_of(uint32_t type)
{
    static const uint32_t order[] = {
        QCOW2_EXT_BACKING_FORMAT, QCOW2_EXT_DATA_FILE,     QCOW2_EXT_CRYPTO,
        QCOW2_EXT_BITMAPS,        QCOW2_EXT_FEATURE_NAMES,
    };
    unsigned rank = 0;

    while (rank < sizeof(order) / sizeof(order[0]) && order[rank] != type)
        rank++;
    return rank;
}

static size_t place_of(const struct head *head, uint32_t type)
{
    size_t index = 0;

    while (index < head->extension_count &&
           rank_of(head->extensions[index].type) < rank_of(type))
        index++;
    return index;
}

/* Removes all of a type; returns where the first one was, or SIZE_MAX. */
static size_t remove_extensions(struct head *head, uint32_t type)
{
    size_t kept = 0, place = SIZE_MAX;

    for (size_t i = 0; i < head->extension_count; i++) {
        if (head->extensions[i].type != type) {
            head->extensions[kept++] = head->extensions[i];
            continue;
        }
        free(head->extensions[i].data);
        if (place == SIZE_MAX)
            place = kept;
    }
    head->extension_count = kept;
    return place;
}

int head_set_extension(struct head *head, uint32_t type, const void *data,
                       uint32_t length, struct byre_error *err)
{
    uint8_t *copy = NULL;
    size_t place;
    int r;

    if (data == NULL) {
        remove_extensions(head, type);
        return BYRE_OK;
    }

    r = copy_bytes(data, length, &copy, err);
    if (r < 0)
        return r;
    place = remove_extensions(head, type);
    if (place == SIZE_MAX)
        place = place_of(head, type);
    r = insert_extension(head, place, err);
    if (r < 0) {
        free(copy);
        return r;
    }
    head->extensions[place] = (struct head_extension){ type, length, copy };
    return BYRE_OK;
}

int head_set_backing_name(struct head *head, const char *name,
                          struct byre_error *err)
{
    char *copy = NULL;

    if (name != NULL && strlen(name) > QCOW2_MAX_BACKING_NAME_BYTES)
        return fail(err, BYRE_E_INVALID,
                    "the backing file name has %zu bytes, more than the limit "
                    "of %d",
                    strlen(name), QCOW2_MAX_BACKING_NAME_BYTES);
    if (name != NULL) {
        copy = strdup(name);
        if (copy == NULL)
            return fail_nomem(err, "a name", strlen(name));
    }
    free(head->backing_name);
    head->backing_name = copy;
    return BYRE_OK;
}
