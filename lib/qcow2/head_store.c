/* SPDX-License-Identifier: MIT */
/*
 * Putting a head in the place of the live one.
 *
 * A layout says where the parts of a head go.  It can be switched to directly
 * if what differs behind the first sector lies in bytes that the live head does
 * not use: those are written first, then, after a barrier, the first sector.
 * Where a head cannot be reached so, there is a step between that has the same
 * meaning: without the table of feature names, which is long, or (version 3)
 * with the extensions further back, behind a longer header.  In such a longer
 * header the bytes of the old extensions stand for fields that nobody knows;
 * only a crash between the two steps leaves it so.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "qcow2/head.h"

#define SECTOR_BYTES     512
#define AT_HEADER_LENGTH 100

/* Where the parts of a head go. */
struct layout_choice {
    bool names;          /* the table of feature names is there */
    size_t header_bytes; /* the extensions follow */
    size_t least_name;   /* the backing name is there, or behind */
};

/* The first cluster as it is in the file, and as it is to be. */
struct head_switch {
    struct qcow2 *qcow2;
    const struct head *head;
    size_t cluster_bytes;
    bool rehearsal; /* nothing is written */
    uint8_t *live;  /* the cluster, and which of its bytes are used */
    uint8_t *used;
    uint8_t *next; /* the same of the head to come */
    uint8_t *next_used;
    struct qcow2_header live_header;
    struct qcow2_header next_header;
};

/* ---- What is used ---- */

static void mark(uint8_t *used, size_t from, size_t to)
{
    if (to > from)
        memset(used + from, 1, to - from);
}

/* The header, the records up to the end of their area, and the name. */
static void mark_live(struct head_switch *change)
{
    const struct qcow2_header *header = &change->live_header;
    const size_t area = qcow2_extension_area(header, change->cluster_bytes);
    size_t position = header->header_bytes;
    struct qcow2_extension record;

    memset(change->used, 0, change->cluster_bytes);
    while (qcow2_extension_next(change->live, area, &position, &record, NULL) >
           0)
        ;
    mark(change->used, 0, (size_t)min_u64(position + 8, area));
    if (header->backing_offset != 0)
        mark(change->used, (size_t)header->backing_offset,
             (size_t)min_u64(header->backing_offset + header->backing_bytes,
                             change->cluster_bytes));
}

static size_t live_end(const struct head_switch *change)
{
    size_t end = change->cluster_bytes;

    while (end > 0 && change->used[end - 1] == 0)
        end--;
    return end;
}

/* ---- Composing ---- */

/* What the fields take: those we know, and the unknown ones. */
static size_t home_header_bytes(const struct head *head)
{
    if (head->header.version == 2)
        return QCOW2_V2_HEADER_BYTES;
    return head->unknown != NULL ? head->header.header_bytes
                                 : QCOW2_HEADER_BYTES;
}

static bool is_left_out(const struct head_extension *extension,
                        const struct layout_choice *choice)
{
    return extension->type == QCOW2_EXT_FEATURE_NAMES && !choice->names;
}

/* Where the extensions end that start at choice->header_bytes. */
static size_t extensions_end(const struct head *head,
                             const struct layout_choice *choice)
{
    size_t end = choice->header_bytes + qcow2_extension_bytes(0);

    for (size_t i = 0; i < head->extension_count; i++) {
        if (!is_left_out(&head->extensions[i], choice))
            end += qcow2_extension_bytes(head->extensions[i].length);
    }
    return end;
}

static size_t name_bytes(const struct head *head)
{
    return head->backing_name != NULL ? strlen(head->backing_name) : 0;
}

static void compose_extensions(struct head_switch *change,
                               const struct layout_choice *choice)
{
    const struct qcow2_extension end = { QCOW2_EXT_END, 0, NULL };
    size_t at = choice->header_bytes;

    for (size_t i = 0; i < change->head->extension_count; i++) {
        const struct head_extension *extension = &change->head->extensions[i];
        const struct qcow2_extension record = { extension->type,
                                                extension->length,
                                                extension->data };

        if (is_left_out(extension, choice))
            continue;
        qcow2_extension_encode(&record, change->next + at);
        at += qcow2_extension_bytes(record.length);
    }
    qcow2_extension_encode(&end, change->next + at);
    mark(change->next_used, choice->header_bytes,
         at + qcow2_extension_bytes(0));
}

static void compose_name(struct head_switch *change, size_t at)
{
    const size_t bytes = name_bytes(change->head);

    change->next_header.backing_offset = bytes > 0 ? at : 0;
    change->next_header.backing_bytes = (uint32_t)bytes;
    if (bytes == 0)
        return;
    memcpy(change->next + at, change->head->backing_name, bytes);
    mark(change->next_used, at, at + bytes);
}

/* A header that is longer than its fields need keeps what is there now. */
static void compose_header(struct head_switch *change,
                           const struct layout_choice *choice)
{
    const size_t home = home_header_bytes(change->head);
    struct qcow2_header header = change->next_header;
    uint8_t *next = change->next;

    header.header_bytes = (uint32_t)home;
    qcow2_header_encode(&header, change->head->unknown, next);
    if (choice->header_bytes != home)
        be32_put(next + AT_HEADER_LENGTH, (uint32_t)choice->header_bytes);
    mark(change->next_used, 0, home);
    change->next_header.header_bytes = (uint32_t)choice->header_bytes;
}

/* Fills next, next_used and next_header; false: it does not fit. */
static bool compose(struct head_switch *change,
                    const struct layout_choice *choice)
{
    const size_t end = extensions_end(change->head, choice);
    const size_t name_at = (size_t)max_u64(end, choice->least_name);

    if (end > change->cluster_bytes ||
        (name_bytes(change->head) > 0 &&
         name_at + name_bytes(change->head) > change->cluster_bytes))
        return false;

    memcpy(change->next, change->live, change->cluster_bytes);
    memset(change->next_used, 0, change->cluster_bytes);
    change->next_header = change->head->header;
    compose_extensions(change, choice);
    compose_name(change, name_at);
    compose_header(change, choice);
    return true;
}

/* ---- Switching ---- */

static size_t first_sector_bytes(const struct head_switch *change)
{
    return (size_t)min_u64(SECTOR_BYTES, change->cluster_bytes);
}

/* Whether a crash on the way leaves the one head or the other. */
static bool is_direct(const struct head_switch *change)
{
    for (size_t i = first_sector_bytes(change); i < change->cluster_bytes;
         i++) {
        if (change->used[i] != 0 && change->next[i] != change->live[i])
            return false;
    }
    return true;
}

static bool can_switch(struct head_switch *change,
                       const struct layout_choice *choice)
{
    return compose(change, choice) && is_direct(change);
}

/* The composed head becomes the live one in memory. */
static void turn(struct head_switch *change)
{
    uint8_t *bytes = change->live, *used = change->used;

    change->live = change->next;
    change->used = change->next_used;
    change->next = bytes;
    change->next_used = used;
    change->live_header = change->next_header;
}

/* What is behind the first sector, from the first difference to the last. */
static int write_staged(struct head_switch *change, struct byre_error *err)
{
    size_t from = first_sector_bytes(change), to = change->cluster_bytes;
    int r;

    while (to > from && change->next[to - 1] == change->live[to - 1])
        to--;
    while (from < to && change->next[from] == change->live[from])
        from++;
    if (from == to)
        return BYRE_OK;
    r = store_write(change->qcow2->store, from, change->next + from, to - from,
                    err);
    return r < 0 ? r : store_flush(change->qcow2->store, err);
}

/* The file has the old head or the new one: nothing may be written then. */
static int fail_switch(struct qcow2 *qcow2, int r, struct byre_error *why,
                       struct byre_error *err)
{
    error_prefix(why, "image header");
    if (writer_is_set_up(&qcow2->writer))
        writer_stick(&qcow2->writer, why);
    if (err != NULL)
        *err = *why;
    return r;
}

static int write_composed(struct head_switch *change, struct byre_error *err)
{
    struct byre_store *store = change->qcow2->store;
    struct byre_error why = { 0 };
    int r;

    if (change->rehearsal) {
        turn(change);
        return BYRE_OK;
    }

    r = write_staged(change, &why);
    if (r == BYRE_OK)
        r = store_write(store, 0, change->next, first_sector_bytes(change),
                        &why);
    if (r == BYRE_OK)
        r = store_flush(store, &why);
    if (r < 0)
        return fail_switch(change->qcow2, r, &why, err);
    turn(change);
    return BYRE_OK;
}

/* ---- Finding a way ---- */

/*
 * A layout that can be switched to: the name behind the extensions or, where
 * that is in the way, behind all that is used.
 */
static bool find_layout(struct head_switch *change, bool names,
                        size_t header_bytes)
{
    const struct layout_choice near = { names, header_bytes, 0 };
    const struct layout_choice far = { names, header_bytes, live_end(change) };

    return can_switch(change, &near) || can_switch(change, &far);
}

/* The last step: all of it in its place, if need be without feature names. */
static bool find_final(struct head_switch *change)
{
    const size_t home = home_header_bytes(change->head);

    if (change->head->header.version > 2 && find_layout(change, true, home))
        return true;
    return find_layout(change, false, home);
}

/* A step between, with the extensions behind all that is used. */
static bool find_staged(struct head_switch *change)
{
    const size_t behind =
        (size_t)align_up(max_u64(live_end(change), SECTOR_BYTES), 8);

    return change->head->header.version > 2 &&
           change->live_header.version > 2 &&
           (find_layout(change, true, behind) ||
            find_layout(change, false, behind));
}

static int fail_room(const struct head_switch *change, struct byre_error *err)
{
    return fail(err, BYRE_E_LIMIT,
                "the header with its extensions and names has no room in its "
                "cluster of %zu bytes, where it is changed: use shorter names",
                change->cluster_bytes);
}

static bool has_names(const struct head_switch *change)
{
    size_t position = change->live_header.header_bytes;
    struct qcow2_extension record;

    while (qcow2_extension_next(change->live,
                                qcow2_extension_area(&change->live_header,
                                                     change->cluster_bytes),
                                &position, &record, NULL) > 0) {
        if (record.type == QCOW2_EXT_FEATURE_NAMES)
            return true;
    }
    return false;
}

/* The table of feature names, which had to make way, comes back. */
static int bring_names_back(struct head_switch *change, struct byre_error *err)
{
    if (change->head->header.version == 2 || has_names(change) ||
        head_find(change->head, QCOW2_EXT_FEATURE_NAMES) == NULL ||
        !find_layout(change, true, home_header_bytes(change->head)))
        return BYRE_OK;
    return write_composed(change, err);
}

static int run_steps(struct head_switch *change, struct byre_error *err)
{
    int r = BYRE_OK;

    if (!find_final(change)) {
        if (!find_staged(change))
            return fail_room(change, err);
        r = write_composed(change, err);
        if (r == BYRE_OK && !find_final(change))
            return fail_room(change, err);
    }
    if (r == BYRE_OK)
        r = write_composed(change, err);
    if (r == BYRE_OK)
        r = bring_names_back(change, err);
    return r;
}

static int load_live(struct head_switch *change, struct byre_error *err)
{
    int r;

    change->live_header = change->qcow2->header;
    r = store_read(change->qcow2->store, 0, change->live, change->cluster_bytes,
                   err);
    if (r == BYRE_OK)
        mark_live(change);
    return r;
}

/* The way is gone in memory first, so that it has no end in the middle. */
static int run(struct head_switch *change, bool store, struct byre_error *err)
{
    int r;

    change->rehearsal = true;
    r = load_live(change, err);
    if (r == BYRE_OK)
        r = run_steps(change, err);
    if (r < 0 || !store)
        return r;

    change->rehearsal = false;
    r = load_live(change, err);
    if (r == BYRE_OK)
        r = run_steps(change, err);
    return r;
}

/* ---- The calls ---- */

static int change_head(struct qcow2 *qcow2, struct head *head, bool store,
                       struct byre_error *err)
{
    const size_t bytes = (size_t)qcow2_cluster_bytes(&qcow2->header);
    uint8_t *room = calloc(4, bytes);
    struct head_switch change = { .qcow2 = qcow2,
                                  .head = head,
                                  .cluster_bytes = bytes };
    int r;

    if (room == NULL)
        return fail_nomem(err, "the header cluster", 4 * bytes);
    change.live = room;
    change.used = room + bytes;
    change.next = room + 2 * bytes;
    change.next_used = room + 3 * bytes;

    r = run(&change, store, err);
    free(room);
    if (r < 0 || !store)
        return r;
    head->header = change.live_header;
    qcow2->header = change.live_header;
    return BYRE_OK;
}

int head_check_room(struct qcow2 *qcow2, struct head *head,
                    struct byre_error *err)
{
    return change_head(qcow2, head, false, err);
}

int head_store(struct qcow2 *qcow2, struct head *head, struct byre_error *err)
{
    return change_head(qcow2, head, true, err);
}
