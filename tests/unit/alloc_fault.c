/* SPDX-License-Identifier: MIT */
#include "alloc_fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How many allocations are left until the one that fails; 0: none does. */
static atomic_uint_fast64_t left;
static atomic_bool has_failed;

void alloc_fault_arm(uint64_t nth)
{
    atomic_store(&has_failed, false);
    atomic_store(&left, nth);
}

bool alloc_fault_disarm(void)
{
    atomic_store(&left, 0);
    return atomic_load(&has_failed);
}

static bool fails_now(void)
{
    uint_fast64_t now = atomic_load(&left);

    while (now > 0 && !atomic_compare_exchange_weak(&left, &now, now - 1))
        continue;
    if (now != 1)
        return false;
    atomic_store(&has_failed, true);
    errno = ENOMEM;
    return true;
}

/* ---- What --wrap puts between the callers and the C library ---- */

/* These names are the linker's. */
void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
int __real_posix_memalign(void **ret, size_t alignment, size_t bytes);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t bytes);

void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
int __wrap_posix_memalign(void **ret, size_t alignment, size_t bytes);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t bytes);
int __wrap_asprintf(char **ret, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void *__wrap_malloc(size_t bytes)
{
    return fails_now() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails_now() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    return fails_now() ? NULL : __real_realloc(old, bytes);
}

int __wrap_posix_memalign(void **ret, size_t alignment, size_t bytes)
{
    return fails_now() ? ENOMEM : __real_posix_memalign(ret, alignment, bytes);
}

char *__wrap_strdup(const char *text)
{
    return fails_now() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t bytes)
{
    return fails_now() ? NULL : __real_strndup(text, bytes);
}

int __wrap_asprintf(char **ret, const char *format, ...)
{
    va_list args;
    int written;

    if (fails_now())
        return -1;
    va_start(args, format);
    written = vasprintf(ret, format, args);
    va_end(args);
    return written;
}
