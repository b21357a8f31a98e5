/* SPDX-License-Identifier: MIT */
/*
 * The snapshot table, read at the first question about it: an image with a
 * damaged table still gives its disk.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "qcow2/internal.h"

#define FIRST_READ_BYTES 4096

void qcow2_snapshots_free(struct snapshot_list *list)
{
    free(list->raw);
    free(list->entries);
    free(list->public_entries);
    free(list->texts);
    *list = (struct snapshot_list){ 0 };
}

/* The most one entry can take: fixed part, extra data, two 16-bit texts. */
static uint64_t most_entry_bytes(const struct qcow2 *qcow2)
{
    const uint32_t extra_bytes = qcow2->to_check
                                     ? QCOW2_MOST_SNAPSHOT_EXTRA_BYTES
                                     : QCOW2_MAX_SNAPSHOT_EXTRA_BYTES;

    return QCOW2_SNAPSHOT_FIXED_BYTES + extra_bytes + 2 * UINT64_C(65535) + 8;
}

/* Decodes the whole table; `length` bytes of it are in list->raw. */
static int decode_entries(const struct qcow2 *qcow2, struct snapshot_list *list,
                          size_t length, struct byre_error *err)
{
    int (*const decode)(const uint8_t *, size_t, uint64_t,
                        struct qcow2_snapshot *, size_t *,
                        struct byre_error *) =
        qcow2->to_check ? qcow2_snapshot_decode_any : qcow2_snapshot_decode;
    size_t position = 0, entry_bytes;

    for (size_t i = 0; i < list->count; i++) {
        const int r = decode(list->raw + position, length - position,
                             qcow2->header.size_bytes, &list->entries[i],
                             &entry_bytes, err);

        if (r < 0) {
            error_prefix(err, "snapshot %zu of %zu", i + 1, list->count);
            return r;
        }
        position += entry_bytes;
    }
    list->table_bytes = position;
    return BYRE_OK;
}

/*
 * The table's length is not stored: reads twice as much until it decodes, up to
 * what its entries could take, the limit, and (beyond it all is zero, and
 * zeroes decode) the end of the file.
 */
static int load_entries(const struct qcow2 *qcow2, struct snapshot_list *list,
                        struct byre_error *err)
{
    const uint64_t offset = qcow2->header.snapshots_offset;
    const uint64_t most = min_u64(min_u64(list->count * most_entry_bytes(qcow2),
                                          QCOW2_MAX_SNAPSHOT_TABLE_BYTES),
                                  qcow2->limits.max_table_bytes);
    uint64_t length = min_u64(FIRST_READ_BYTES, most);
    int r;

    for (;;) {
        uint8_t *raw = realloc(list->raw, (size_t)length);

        if (raw == NULL)
            return fail_nomem(err, "the snapshot table", (size_t)length);
        list->raw = raw;

        r = store_read(qcow2->store, offset, raw, (size_t)length, err);
        if (r < 0)
            return r;

        r = decode_entries(qcow2, list, (size_t)length, err);
        if (r == BYRE_E_CORRUPT && length == qcow2->limits.max_table_bytes)
            return fail_at(err, BYRE_E_LIMIT, offset,
                           "the snapshot table takes more than the limit of "
                           "%" PRIu64 " bytes",
                           qcow2->limits.max_table_bytes);
        if (r != BYRE_E_CORRUPT || length == most)
            return r;
        length = min_u64(length * 2, most);
    }
}

static char *copy_text(char *to, const char *text, size_t bytes,
                       const char **ret_text)
{
    memcpy(to, text, bytes);
    to[bytes] = '\0';
    *ret_text = to;
    return to + bytes + 1;
}

static int publish_entries(struct snapshot_list *list, struct byre_error *err)
{
    size_t texts_bytes = 1;
    char *text;

    for (size_t i = 0; i < list->count; i++)
        texts_bytes +=
            (size_t)list->entries[i].id_bytes + list->entries[i].name_bytes + 2;
    list->texts = malloc(texts_bytes);
    list->public_entries =
        calloc(list->count + 1, sizeof(list->public_entries[0]));
    if (list->texts == NULL || list->public_entries == NULL)
        return fail_nomem(err, "the snapshot list", texts_bytes);

    text = list->texts;
    for (size_t i = 0; i < list->count; i++) {
        const struct qcow2_snapshot *entry = &list->entries[i];
        struct byre_snapshot *snapshot = &list->public_entries[i];

        text = copy_text(text, entry->id, entry->id_bytes, &snapshot->id);
        text = copy_text(text, entry->name, entry->name_bytes, &snapshot->name);
        snapshot->vm_state_bytes = entry->vm_state_bytes;
        snapshot->virtual_size_bytes = entry->size_bytes;
        snapshot->vm_clock_nsec = entry->vm_clock_nsec;
        snapshot->icount = entry->icount;
        snapshot->date_sec = entry->date_sec;
        snapshot->date_nsec = entry->date_nsec;
    }
    return BYRE_OK;
}

static int load(struct qcow2 *qcow2, struct snapshot_list *ret_list,
                struct byre_error *err)
{
    struct snapshot_list list = { .count = qcow2->header.snapshot_count };
    int r;

    r = qcow2_header_check_snapshots(&qcow2->header, err);
    if (r < 0)
        return r;

    list.entries = calloc(list.count + 1, sizeof(list.entries[0]));
    if (list.entries == NULL)
        return fail_nomem(err, "the snapshot list",
                          list.count * sizeof(list.entries[0]));

    if (list.count > 0)
        r = load_entries(qcow2, &list, err);
    if (r == BYRE_OK)
        r = publish_entries(&list, err);
    if (r < 0) {
        qcow2_snapshots_free(&list);
        return r;
    }
    *ret_list = list;
    return BYRE_OK;
}

int qcow2_snapshots_decode(struct qcow2 *qcow2, uint8_t *raw, size_t length,
                           size_t count, struct snapshot_list *ret_list,
                           struct byre_error *err)
{
    struct snapshot_list list = { .raw = raw, .count = count };
    int r;

    list.entries = calloc(count + 1, sizeof(list.entries[0]));
    if (list.entries == NULL)
        r = fail_nomem(err, "the snapshot list", count);
    else
        r = decode_entries(qcow2, &list, length, err);
    if (r == BYRE_OK)
        r = publish_entries(&list, err);
    if (r < 0)
        qcow2_snapshots_free(&list);
    else
        *ret_list = list;
    return r;
}

void qcow2_snapshots_install(struct qcow2 *qcow2, struct snapshot_list *list)
{
    struct snapshot_list old;

    pthread_mutex_lock(&qcow2->lists_lock);
    old = qcow2->snapshots;
    qcow2->snapshots = *list;
    qcow2->snapshots_loaded = true;
    pthread_mutex_unlock(&qcow2->lists_lock);
    qcow2_snapshots_free(&old);
    *list = (struct snapshot_list){ 0 };
}

int qcow2_snapshots(struct engine *engine, const struct byre_snapshot **ret,
                    size_t *ret_count, struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    int r = BYRE_OK;

    pthread_mutex_lock(&qcow2->lists_lock);
    if (!qcow2->snapshots_loaded)
        r = load(qcow2, &qcow2->snapshots, err);
    if (r == BYRE_OK) {
        qcow2->snapshots_loaded = true;
        *ret = qcow2->snapshots.public_entries;
        *ret_count = qcow2->snapshots.count;
    }
    pthread_mutex_unlock(&qcow2->lists_lock);
    return r;
}

enum match_by { MATCH_ID, MATCH_NAME, MATCH_BOTH };

static bool matches(const struct byre_snapshot *snapshot, enum match_by by,
                    const char *id, const char *name)
{
    const bool same_id = id != NULL && strcmp(snapshot->id, id) == 0;
    const bool same_name = name != NULL && strcmp(snapshot->name, name) == 0;

    switch (by) {
    case MATCH_ID:
        return same_id;
    case MATCH_NAME:
        return same_name;
    case MATCH_BOTH:
        return same_id && same_name;
    }
    return false;
}

/* The first match wins, as in QEMU; the count if there is none. */
static size_t find(const struct snapshot_list *list, const bool *skipped,
                   enum match_by by, const char *id, const char *name)
{
    for (size_t i = 0; i < list->count; i++) {
        if ((skipped == NULL || !skipped[i]) &&
            matches(&list->public_entries[i], by, id, name))
            return i;
    }
    return list->count;
}

static size_t find_selected(const struct snapshot_list *list,
                            const bool *skipped,
                            const struct snapshot_selector *selector)
{
    const char *either = selector->id_or_name;

    if (either != NULL) {
        const size_t found = find(list, skipped, MATCH_ID, either, NULL);

        return found < list->count
                   ? found
                   : find(list, skipped, MATCH_NAME, NULL, either);
    }
    if (selector->id != NULL && selector->name != NULL)
        return find(list, skipped, MATCH_BOTH, selector->id, selector->name);
    if (selector->id != NULL)
        return find(list, skipped, MATCH_ID, selector->id, NULL);
    return find(list, skipped, MATCH_NAME, NULL, selector->name);
}

int qcow2_find_snapshot(struct qcow2 *qcow2,
                        const struct snapshot_selector *selector,
                        const bool *skipped, size_t *ret_index,
                        struct byre_error *err)
{
    const struct byre_snapshot *unused_list;
    size_t found, count = 0;
    int r;

    r = qcow2_snapshots(&qcow2->engine, &unused_list, &count, err);
    if (r < 0)
        return r;

    found = find_selected(&qcow2->snapshots, skipped, selector);
    if (found == count)
        return fail(err, BYRE_E_NOT_FOUND,
                    "the image has no snapshot '%s' among its %zu",
                    selector->id_or_name != NULL ? selector->id_or_name
                    : selector->name != NULL     ? selector->name
                                                 : selector->id,
                    count);
    *ret_index = found;
    return BYRE_OK;
}
