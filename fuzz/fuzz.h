/* SPDX-License-Identifier: MIT */
/*
 * What the fuzz targets share.  A target is one file with one function, called
 * with bytes that may be anything: under libFuzzer by itself, under replay.c
 * with the files of a corpus.
 */
#ifndef BYRE_FUZZ_FUZZ_H
#define BYRE_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "byre.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Unlike assert(), there in every build. */
#define FUZZ_ASSERT(condition)                                                 \
    do {                                                                       \
        if (!(condition))                                                      \
            fuzz_fail(__FILE__, __LINE__, #condition);                         \
    } while (0)

static inline _Noreturn void fuzz_fail(const char *file, int line,
                                       const char *condition)
{
    fprintf(stderr, "%s:%d: not true: %s\n", file, line, condition);
    abort();
}

/* A failure must come with its code and one line of words. */
static inline void fuzz_check_result(int r, const struct byre_error *err)
{
    if (r >= 0)
        return;
    FUZZ_ASSERT(r >= BYRE_E_CANCELED);
    FUZZ_ASSERT(err->code == r);
    FUZZ_ASSERT(err->message[0] != '\0');
    FUZZ_ASSERT(memchr(err->message, '\0', sizeof(err->message)) != NULL);
    for (const char *p = err->message; *p != '\0'; p++)
        FUZZ_ASSERT((unsigned char)*p >= 0x20 && *p != 0x7f);
}

/* Bytes that are taken from the front, to choose what to do with the rest. */
struct fuzz_input {
    const uint8_t *data;
    size_t left;
};

/* The next `bytes` as a number; what is missing counts as zero. */
static inline uint64_t fuzz_take(struct fuzz_input *input, unsigned bytes)
{
    uint64_t value = 0;

    while (bytes-- > 0) {
        value <<= 8;
        if (input->left > 0) {
            value |= *input->data++;
            input->left--;
        }
    }
    return value;
}

/* A number from `least` to `most`. */
static inline uint32_t fuzz_take_range(struct fuzz_input *input, uint32_t least,
                                       uint32_t most)
{
    return least + (uint32_t)fuzz_take(input, 1) % (most - least + 1);
}

/* Memory of exactly that length, so that a sanitizer sees any step past it. */
static inline void *fuzz_alloc(size_t length)
{
    void *memory = malloc(length);

    FUZZ_ASSERT(memory != NULL || length == 0);
    return memory;
}

#endif
