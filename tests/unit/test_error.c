/* SPDX-License-Identifier: MIT */
/*
 * Without this test an error could be more than one line, run over its buffer,
 * carry a stale offset or errno, or send control characters that an image chose
 * to somebody's terminal.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* cmocka has a macro of this name; here it is the function under test. */
#undef fail

#include "base/error.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* An error full of what an earlier failure may have left. */
static struct byre_error stale_error(void)
{
    struct byre_error err = { .code = -99, .sys_errno = 99, .offset = 99 };

    memset(err.message, 'x', sizeof(err.message));
    return err;
}

static void assert_error(const struct byre_error *err, int code, int sys_errno,
                         uint64_t offset, const char *message)
{
    assert_int_equal(err->code, code);
    assert_int_equal(err->sys_errno, sys_errno);
    assert_int_equal(err->offset, offset);
    assert_string_equal(err->message, message);
}

/* ---- Each way to fail ---- */

static void failing_fills_everything(void **state)
{
    struct byre_error err = stale_error();

    (void)state;
    assert_int_equal(fail(&err, BYRE_E_CORRUPT, "L1 table has %d entries", 9),
                     BYRE_E_CORRUPT);
    assert_error(&err, BYRE_E_CORRUPT, 0, BYRE_NO_OFFSET,
                 "L1 table has 9 entries");
}

static void failing_at_keeps_the_offset(void **state)
{
    struct byre_error err = stale_error();

    (void)state;
    assert_int_equal(
        fail_at(&err, BYRE_E_UNSUPPORTED, 4, "version %d is not supported", 4),
        BYRE_E_UNSUPPORTED);
    assert_error(&err, BYRE_E_UNSUPPORTED, 0, 4, "version 4 is not supported");
}

static void system_errors_are_appended(void **state)
{
    static const struct {
        int sys_errno;
        const char *text;
        const char *want;
    } cases[] = {
        { ENOENT, "cannot open 'a'",
          "cannot open 'a': No such file or directory" },
        { ENOSPC, "", "No space left on device" },
        { 0, "cannot open 'a'", "cannot open 'a'" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct byre_error err = stale_error();

        assert_int_equal(
            fail_errno(&err, cases[i].sys_errno, "%s", cases[i].text),
            BYRE_E_IO);
        assert_error(&err, BYRE_E_IO, cases[i].sys_errno, BYRE_NO_OFFSET,
                     cases[i].want);
    }
}

static void running_out_of_memory_names_what_for(void **state)
{
    struct byre_error err = stale_error();

    (void)state;
    assert_int_equal(fail_nomem(&err, "L1 table", 4096), BYRE_E_NOMEM);
    assert_error(&err, BYRE_E_NOMEM, 0, BYRE_NO_OFFSET,
                 "out of memory for L1 table of 4096 bytes");
}

static void no_error_struct_is_no_harm(void **state)
{
    (void)state;
    assert_int_equal(fail(NULL, BYRE_E_STATE, "%s", "x"), BYRE_E_STATE);
    assert_int_equal(fail_at(NULL, BYRE_E_CORRUPT, 1, "%s", "x"),
                     BYRE_E_CORRUPT);
    assert_int_equal(fail_errno(NULL, EIO, "%s", "x"), BYRE_E_IO);
    assert_int_equal(fail_nomem(NULL, "x", 1), BYRE_E_NOMEM);
    error_prefix(NULL, "%s", "x");
}

/* ---- What a message may be ---- */

static void control_characters_are_replaced(void **state)
{
    static const struct {
        const char *text;
        const char *want;
    } cases[] = {
        { "two\nlines", "two?lines" },
        { "\x1b[31mred", "?[31mred" },
        { "\t\r\x01\x1f\x7f", "?????" },
        { "plain ~ text", "plain ~ text" },
        { "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct byre_error err = stale_error();

        fail(&err, BYRE_E_FORMAT, "%s", cases[i].text);
        assert_string_equal(err.message, cases[i].want);
        error_prefix(&err, "%s", cases[i].text);
        assert_memory_equal(err.message, cases[i].want, strlen(cases[i].want));
        assert_null(strchr(err.message, '\n'));
    }
}

static void prefixes_are_put_in_front(void **state)
{
    struct byre_error err = stale_error();

    (void)state;
    fail_at(&err, BYRE_E_CORRUPT, 40, "L1 table is unaligned");
    error_prefix(&err, "snapshot %d", 1);
    error_prefix(&err, "disk.qcow2");
    assert_error(&err, BYRE_E_CORRUPT, 0, 40,
                 "disk.qcow2: snapshot 1: L1 table is unaligned");
}

/* Texts around the size of the message are cut, never written past it. */
static void long_messages_are_cut(void **state)
{
    static const size_t lengths[] = {
        BYRE_ERROR_MESSAGE_SIZE - 2, BYRE_ERROR_MESSAGE_SIZE - 1,
        BYRE_ERROR_MESSAGE_SIZE,     BYRE_ERROR_MESSAGE_SIZE + 1,
        4 * BYRE_ERROR_MESSAGE_SIZE,
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        const size_t kept = lengths[i] < BYRE_ERROR_MESSAGE_SIZE
                                ? lengths[i]
                                : BYRE_ERROR_MESSAGE_SIZE - 1;
        char *text = malloc(lengths[i] + 1);
        struct byre_error *err = malloc(sizeof(*err));

        assert_non_null(text);
        assert_non_null(err);
        memset(text, 'a', lengths[i]);
        text[lengths[i]] = '\0';

        fail(err, BYRE_E_CORRUPT, "%s", text);
        assert_int_equal(strlen(err->message), kept);
        /* What went wrong is kept; where it did is cut. */
        fail_errno(err, ENOENT, "%s", text);
        assert_in_range(strlen(err->message), kept,
                        BYRE_ERROR_MESSAGE_SIZE - 1);
        assert_string_equal(err->message + strlen(err->message) - 29,
                            "aa: No such file or directory");

        fail(err, BYRE_E_CORRUPT, "b");
        error_prefix(err, "%s", text);
        assert_in_range(strlen(err->message), BYRE_ERROR_MESSAGE_SIZE - 2,
                        BYRE_ERROR_MESSAGE_SIZE - 1);
        assert_string_equal(err->message + strlen(err->message) - 5, "aa: b");

        fail(err, BYRE_E_CORRUPT, "%s", text);
        error_prefix(err, "b");
        assert_in_range(strlen(err->message), kept,
                        BYRE_ERROR_MESSAGE_SIZE - 1);
        assert_int_equal(err->message[strlen(err->message) - 1], 'a');
        free(err);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failing_fills_everything),
        cmocka_unit_test(failing_at_keeps_the_offset),
        cmocka_unit_test(system_errors_are_appended),
        cmocka_unit_test(running_out_of_memory_names_what_for),
        cmocka_unit_test(no_error_struct_is_no_harm),
        cmocka_unit_test(control_characters_are_replaced),
        cmocka_unit_test(prefixes_are_put_in_front),
        cmocka_unit_test(long_messages_are_cut),
    };

    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
