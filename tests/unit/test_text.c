/* SPDX-License-Identifier: MIT */
/*
 * Without this, a name inside an image could move the cursor, colour or turn
 * the line of the terminal that shows an error about it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "byre.h"

/* clang-format off */
static const struct { const char *given, *want; } cases[] = {
    { "", "" },
    { "plain ~ text", "plain ~ text" },
    { "a\nb\tc\x1b[31m\x7f", "a?b?c?[31m?" },
    { "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
    { "\xe2\x82\xac \xf0\x9f\x98\x80", "\xe2\x82\xac \xf0\x9f\x98\x80" },
    { "a\xc2\x9b" "31m", "a??31m" },         /* CSI as a C1 control */
    { "a\xc2\x85" "b", "a??b" },             /* next line */
    { "a\xe2\x80\xa8" "b", "a???b" },        /* line separator */
    { "a\xe2\x80\xae" "b", "a???b" },        /* right-to-left override */
    { "a\xe2\x81\xa6" "b", "a???b" },        /* isolate */
    { "a\x9b" "b", "a?b" },                  /* no UTF-8 */
    { "a\xff\xfe", "a??" },
    { "a\xc0\x80" "b", "a??b" },             /* too long for its value */
    { "a\xe2\x80", "a??" },                  /* cut short */
    { "a\xf4\x90\x80\x80", "a????" },        /* past the last code point */
};
/* clang-format on */

static void test_make_plain(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[64];

        strcpy(text, cases[i].given);
        byre_text_make_plain(text);
        assert_string_equal(text, cases[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_make_plain),
    };

    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
