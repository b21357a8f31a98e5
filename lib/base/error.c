/* SPDX-License-Identifier: MIT */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void error_set(struct byre_error *err, int code, int sys_errno,
                      uint64_t offset, const char *format, va_list args)
    BYRE_PRINTF(5, 0);

static void error_set(struct byre_error *err, int code, int sys_errno,
                      uint64_t offset, const char *format, va_list args)
{
    char reason[128] = "";

    if (err == NULL)
        return;

    /* The reason always fits: a long name is cut instead. */
    if (sys_errno != 0)
        snprintf(reason, sizeof(reason), ": %s", strerror(sys_errno));
    err->code = code;
    err->sys_errno = sys_errno;
    err->offset = offset;
    vsnprintf(err->message, sizeof(err->message) - strlen(reason), format,
              args);
    strcat(err->message,
           err->message[0] != '\0' ? reason : reason + strspn(reason, ": "));
    byre_text_make_plain(err->message);
}

int fail(struct byre_error *err, int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    error_set(err, code, 0, BYRE_NO_OFFSET, format, args);
    va_end(args);
    return code;
}

int fail_at(struct byre_error *err, int code, uint64_t offset,
            const char *format, ...)
{
    va_list args;

    va_start(args, format);
    error_set(err, code, 0, offset, format, args);
    va_end(args);
    return code;
}

int fail_errno(struct byre_error *err, int sys_errno, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    error_set(err, BYRE_E_IO, sys_errno, BYRE_NO_OFFSET, format, args);
    va_end(args);
    return BYRE_E_IO;
}

int fail_nomem(struct byre_error *err, const char *object, size_t length)
{
    return fail(err, BYRE_E_NOMEM, "out of memory for %s of %zu bytes", object,
                length);
}

void error_prefix(struct byre_error *err, const char *format, ...)
{
    char prefix[BYRE_ERROR_MESSAGE_SIZE];
    const size_t room = sizeof(prefix) - 1;
    size_t prefix_bytes, kept;
    va_list args;

    if (err == NULL)
        return;

    va_start(args, format);
    vsnprintf(prefix, sizeof(prefix), format, args);
    va_end(args);

    /* The cause matters more than where it was met: that is what is cut. */
    kept = strlen(err->message);
    if (kept + 2 > room)
        return;
    prefix_bytes = strlen(prefix);
    if (prefix_bytes > room - 2 - kept)
        prefix_bytes = room - 2 - kept;
    memmove(err->message + prefix_bytes + 2, err->message, kept + 1);
    memcpy(err->message, prefix, prefix_bytes);
    memcpy(err->message + prefix_bytes, ": ", 2);
    byre_text_make_plain(err->message);
}
