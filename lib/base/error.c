/* SPDX-License-Identifier: MIT */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/*
 * Control characters come from names inside an image; they would break the
 * promise of one line and reach the terminal of whoever reads it.
 */
static void replace_control_characters(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
    }
}

static void error_set(struct byre_error *err, int code, int sys_errno,
                      uint64_t offset, const char *format, va_list args)
    BYRE_PRINTF(5, 0);

static void error_set(struct byre_error *err, int code, int sys_errno,
                      uint64_t offset, const char *format, va_list args)
{
    size_t used;

    if (err == NULL)
        return;

    err->code = code;
    err->sys_errno = sys_errno;
    err->offset = offset;
    vsnprintf(err->message, sizeof(err->message), format, args);
    used = strlen(err->message);
    if (sys_errno != 0)
        snprintf(err->message + used, sizeof(err->message) - used, "%s%s",
                 used > 0 ? ": " : "", strerror(sys_errno));
    replace_control_characters(err->message);
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

/* Appends as much of `more` as a message has room for. */
static void append(char *message, const char *more)
{
    const size_t used = strlen(message);
    const size_t room = BYRE_ERROR_MESSAGE_SIZE - 1 - used;
    const size_t n = strlen(more) < room ? strlen(more) : room;

    memcpy(message + used, more, n);
    message[used + n] = '\0';
}

void error_prefix(struct byre_error *err, const char *format, ...)
{
    char message[BYRE_ERROR_MESSAGE_SIZE];
    va_list args;

    if (err == NULL)
        return;

    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    append(message, ": ");
    append(message, err->message);
    memcpy(err->message, message, sizeof(message));
    replace_control_characters(err->message);
}
