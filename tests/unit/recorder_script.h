/* SPDX-License-Identifier: MIT */
/*
 * Recorded operations as a script, and stores as text, for tests of the
 * recorder.
 *
 * In a script "W512+300=A" writes 300 letters A at 512, "Z" zeroes, "D"
 * discards, "R" resizes, "F" flushes, "1:" in front names the store.  A store
 * is written as its sectors: a letter for one full of it, '.' for zeroes, else
 * its runs in brackets, "(A300x212)"; "-" is an empty store; '|' stands between
 * stores.
 */
#ifndef BYRE_TESTS_RECORDER_SCRIPT_H
#define BYRE_TESTS_RECORDER_SCRIPT_H

#include <stdio.h>

#include "store/recorder.h"
#include "store_cases.h"

#define SECTOR       RECORDER_SECTOR_BYTES
#define MAX_STORES   2
#define MAX_TEXT     1024
#define DISK_SECTORS 8

/* ---- Scripts ---- */

struct recording {
    struct record_log *log;
    struct byre_store *stores[MAX_STORES];
    size_t store_count;
};

/* A store a word of `initial`, a letter a sector. */
static inline void recording_init(struct recording *rec, const char *initial)
{
    *rec = (struct recording){ 0 };
    assert_int_equal(record_log_new(&rec->log, NULL), BYRE_OK);
    for (;;) {
        const size_t sectors = strcspn(initial, "|");
        uint8_t bytes[DISK_SECTORS * SECTOR] = { 0 };

        for (size_t i = 0; i < sectors; i++)
            memset(bytes + i * SECTOR, initial[i] == '.' ? 0 : initial[i],
                   SECTOR);
        assert_int_equal(recorder_store_new(rec->log, bytes, sectors * SECTOR,
                                            &rec->stores[rec->store_count++],
                                            NULL),
                         BYRE_OK);
        if (initial[sectors] == '\0')
            return;
        initial += sectors + 1;
    }
}

static inline void recording_done(struct recording *rec)
{
    for (size_t i = 0; i < rec->store_count; i++)
        byre_store_unref(rec->stores[i]);
    record_log_free(rec->log);
}

static inline void run_word(struct recording *rec, const char *word)
{
    struct byre_store *store = rec->stores[0];
    uint8_t bytes[DISK_SECTORS * SECTOR];
    unsigned offset = 0, length = 0;
    char letter = 0;
    int r = BYRE_E_INVALID;

    if (word[1] == ':') {
        store = rec->stores[word[0] - '0'];
        word += 2;
    }
    if (sscanf(word, "W%u+%u=%c", &offset, &length, &letter) == 3) {
        memset(bytes, letter, sizeof(bytes));
        r = store_write(store, offset, bytes, length, NULL);
    } else if (sscanf(word, "Z%u+%u", &offset, &length) == 2) {
        r = store_zero(store, offset, length, 0, NULL);
    } else if (sscanf(word, "D%u+%u", &offset, &length) == 2) {
        r = store_discard(store, offset, length, NULL);
    } else if (sscanf(word, "R%u", &length) == 1) {
        r = store_resize(store, length, NULL);
    } else if (word[0] == 'F') {
        r = store_flush(store, NULL);
    }
    assert_int_equal(r, BYRE_OK);
}

static inline void run_script(struct recording *rec, const char *script)
{
    char word[64];
    int used;

    while (sscanf(script, " %63s%n", word, &used) == 1) {
        run_word(rec, word);
        script += used;
    }
}

/* ---- Stores as text ---- */

static inline void print_sector(const uint8_t *bytes, size_t length, FILE *out)
{
    size_t run = 0;

    if (length == SECTOR && all_bytes_are(bytes, SECTOR, bytes[0])) {
        fputc(bytes[0] != 0 ? bytes[0] : '.', out);
        return;
    }
    fputc('(', out);
    for (size_t i = 0; i < length; i += run) {
        for (run = 1; i + run < length && bytes[i + run] == bytes[i];)
            run++;
        fprintf(out, "%c%zu", bytes[i] != 0 ? bytes[i] : '.', run);
    }
    fputc(')', out);
}

static inline void print_stores(struct byre_store *const *stores, size_t count,
                                char *text)
{
    FILE *out = fmemopen(text, MAX_TEXT, "w");

    for (size_t i = 0; i < count; i++) {
        const uint64_t size = size_of(stores[i]);
        uint8_t bytes[DISK_SECTORS * SECTOR];

        assert_in_range(size, 0, sizeof(bytes));
        store_read(stores[i], 0, bytes, sizeof(bytes), NULL);
        assert_true(all_bytes_are(bytes + size, sizeof(bytes) - size, 0));
        if (i > 0)
            fputc('|', out);
        if (size == 0)
            fputc('-', out);
        for (size_t at = 0; at < size; at += SECTOR)
            print_sector(bytes + at, size - at < SECTOR ? size - at : SECTOR,
                         out);
    }
    fclose(out);
}

static inline void build_text(struct crash_states *states, size_t store_count,
                              uint64_t number, char *text)
{
    struct byre_store *stores[MAX_STORES];

    assert_int_equal(crash_states_build(states, number, stores, NULL), BYRE_OK);
    print_stores(stores, store_count, text);
    for (size_t i = 0; i < store_count; i++)
        byre_store_unref(stores[i]);
}

/* ---- Sets of states ---- */

struct texts {
    char (*list)[MAX_TEXT];
    size_t count;
};

static inline int compare_texts(const void *a, const void *b)
{
    return strcmp(a, b);
}

static inline void sort_texts(struct texts *texts)
{
    qsort(texts->list, texts->count, MAX_TEXT, compare_texts);
}

/* Where the text is in a sorted list, or its count. */
static inline size_t find_text(const struct texts *texts, const char *text)
{
    const char(*found)[MAX_TEXT] =
        bsearch(text, texts->list, texts->count, MAX_TEXT, compare_texts);

    return found == NULL ? texts->count : (size_t)(found - texts->list);
}

/* All states of the recording at `cut`, sorted. */
static inline struct texts list_states(struct recording *rec, uint64_t cut,
                                       uint64_t limit, uint64_t seed,
                                       bool *ret_all)
{
    struct crash_states *states = NULL;
    struct texts texts;

    assert_int_equal(crash_states_new(rec->log, limit, seed, &states, NULL),
                     BYRE_OK);
    assert_int_equal(crash_states_seek(states, cut, NULL), BYRE_OK);
    texts.count = (size_t)crash_states_count(states);
    texts.list = calloc(texts.count, MAX_TEXT);
    for (size_t i = 0; i < texts.count; i++)
        build_text(states, rec->store_count, i, texts.list[i]);
    *ret_all = crash_states_exhaustive(states);
    crash_states_free(states);
    sort_texts(&texts);
    return texts;
}

static inline struct texts split_words(const char *words)
{
    struct texts texts = { calloc(64, MAX_TEXT), 0 };
    int used;

    while (sscanf(words, " %1023s%n", texts.list[texts.count], &used) == 1) {
        words += used;
        texts.count++;
    }
    sort_texts(&texts);
    return texts;
}

static inline void assert_same_texts(const char *name, const struct texts *got,
                                     const struct texts *want)
{
    bool same = got->count == want->count;

    for (size_t i = 0; same && i < got->count; i++)
        same = strcmp(got->list[i], want->list[i]) == 0;
    if (same)
        return;
    for (size_t i = 0; i < got->count; i++)
        print_error("%s: got %s\n", name, got->list[i]);
    for (size_t i = 0; i < want->count; i++)
        print_error("%s: want %s\n", name, want->list[i]);
    fail();
}

/* ---- Random ---- */

/* The next of a sequence that `*seed` names. */
static inline unsigned next_random(uint64_t *seed, unsigned limit)
{
    *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (unsigned)(*seed >> 33) % limit;
}

#endif
