/* SPDX-License-Identifier: MIT */
#include "engine/engine.h"

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "engine/l1.h"

void engine_init(struct engine *engine, const struct engine_ops *ops)
{
    engine->ops = ops;
    gate_init(&engine->gate);
}

void engine_done(struct engine *engine)
{
    gate_done(&engine->gate);
    free(engine->backing_name);
    free(engine->backing_format);
    free(engine->data_file_name);
}

int engine_copy_string(const void *text, size_t bytes, char **ret_text,
                       struct byre_error *err)
{
    char *copy = NULL;

    if (bytes > 0 && *(const char *)text != '\0') {
        copy = strndup(text, bytes);
        if (copy == NULL)
            return fail_nomem(err, "a name", bytes);
    }
    *ret_text = copy;
    return BYRE_OK;
}

int engine_read_string(struct byre_store *store, uint64_t offset,
                       uint32_t bytes, char **ret_text, struct byre_error *err)
{
    char *text = calloc(1, (size_t)bytes + 1);
    int r;

    if (text == NULL)
        return fail_nomem(err, "a name", bytes);

    r = store_read(store, offset, text, bytes, err);
    if (r == BYRE_OK)
        r = engine_copy_string(text, bytes, ret_text, err);
    free(text);
    return r;
}

int engine_load_words(struct byre_store *store, const char *name,
                      uint64_t offset, uint64_t entries, uint64_t max_bytes,
                      uint64_t **ret_words, uint64_t *ret_held,
                      struct byre_error *err)
{
    uint64_t file_bytes, held;
    uint64_t *words;
    int r;

    r = store_get_size(store, &file_bytes, err);
    if (r < 0)
        return r;

    held = offset < file_bytes ? div_round_up(file_bytes - offset, 8) : 0;
    held = min_u64(held, entries);
    if (held > max_bytes / 8)
        return fail_at(err, BYRE_E_LIMIT, offset,
                       "the %s has %llu entries, more than the limit of %llu",
                       name, (unsigned long long)held,
                       (unsigned long long)(max_bytes / 8));

    words = malloc(held > 0 ? (size_t)held * 8 : 1);
    if (words == NULL)
        return fail_nomem(err, name, (size_t)held * 8);

    r = store_read(store, offset, words, (size_t)held * 8, err);
    if (r < 0) {
        error_prefix(err, "%s", name);
        free(words);
        return r;
    }

    for (uint64_t i = 0; i < held; i++)
        words[i] = be64_get((const uint8_t *)&words[i]);
    *ret_words = words;
    *ret_held = held;
    return BYRE_OK;
}

void engine_map_gap(const struct l1_table *l1, uint64_t mask,
                    uint64_t range_bytes, uint64_t guest_offset,
                    uint64_t length, struct mapping *ret)
{
    uint64_t index = guest_offset / range_bytes;
    uint64_t run = min_u64(length, range_bytes - guest_offset % range_bytes);

    while (run < length && ++index < l1->held &&
           (l1_get(l1, index) & mask) == 0)
        run = min_u64(length, run + range_bytes);
    if (index >= l1->held)
        run = length;

    *ret = (struct mapping){ .kind = L2_UNALLOCATED, .length = run };
}
