/* SPDX-License-Identifier: MIT */
/*
 * Without these, a json: name could be read differently from how QEMU reads it,
 * or a name inside an image could reach a driver that nobody meant.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config.h"
#include "image/names.h"
#include "image/node.h"

struct accepted {
    const char *name;
    const char *driver;
    const char *path;
    const char *key_secret;
    uint64_t offset;
    uint64_t window_bytes;
    bool no_backing;
    const char *description; /* NULL: the path */
};

/* clang-format off */
static const struct accepted accepted[] = {
    { "json:{\"driver\":\"raw\",\"offset\":\"0x200\",\"size\":\"1M\",\"file.filename\":\"x\"}",
      "raw", "x", NULL, 512, 1048576, false,
      "json:{\"offset\": 512, \"driver\": \"raw\", \"size\": 1048576, \"file\": {\"driver\": \"file\", \"filename\": \"x\"}}" },
    { "json:{\"driver\":\"raw\",\"offset\":\"1536b\",\"size\":\"2k\",\"file.filename\":\"x\"}",
      "raw", "x", NULL, 1536, 2048, false,
      "json:{\"offset\": 1536, \"driver\": \"raw\", \"size\": 2048, \"file\": {\"driver\": \"file\", \"filename\": \"x\"}}" },
    { "disk.img", NULL, "disk.img", NULL, 0, BYRE_NO_OFFSET, false, NULL },
    { "./a:b", NULL, "./a:b", NULL, 0, BYRE_NO_OFFSET, false, NULL },
    { "dir/a:b", NULL, "dir/a:b", NULL, 0, BYRE_NO_OFFSET, false, NULL },
    { "file:a/b", NULL, "a/b", NULL, 0, BYRE_NO_OFFSET, false, NULL },
    { "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"x\"}}",
      "qcow2", "x", NULL, 0, BYRE_NO_OFFSET, false, NULL },
    { "json:{\"driver\":\"qcow2\",\"file.filename\":\"x\"}",
      "qcow2", "x", NULL, 0, BYRE_NO_OFFSET, false, NULL },
    { "json:{\"file.driver\":\"file\",\"file.filename\":\"x\"}",
      NULL, "x", NULL, 0, BYRE_NO_OFFSET, false, NULL },
    { "json:{\"driver\":\"qcow2\",\"file.filename\":\"x\",\"backing\":null}",
      "qcow2", "x", NULL, 0, BYRE_NO_OFFSET, true, NULL },
    { "json:{\"driver\":\"qcow2\",\"file.filename\":\"x\",\"backing\":\"\"}",
      "qcow2", "x", NULL, 0, BYRE_NO_OFFSET, true, NULL },
    { "json:{\"driver\":\"raw\",\"offset\":512,\"size\":\"1024\",\"file.filename\":\"x\"}",
      "raw", "x", NULL, 512, 1024, false,
      "json:{\"offset\": 512, \"driver\": \"raw\", \"size\": 1024, \"file\": {\"driver\": \"file\", \"filename\": \"x\"}}" },
    { "json:{\"driver\":\"qcow2\",\"encrypt.key-secret\":\"s0\",\"encrypt.format\":\"luks\",\"file.filename\":\"x\"}",
      "qcow2", "x", "s0", 0, BYRE_NO_OFFSET, false,
      "json:{\"encrypt.key-secret\": \"s0\", \"driver\": \"qcow2\", \"file\": {\"driver\": \"file\", \"filename\": \"x\"}}" },
    { "json:{\"driver\":\"qcow2\",\"encrypt\":{\"key-secret\":\"s1\"},\"file\":{\"filename\":\"y\"}}",
      "qcow2", "y", "s1", 0, BYRE_NO_OFFSET, false,
      "json:{\"encrypt.key-secret\": \"s1\", \"driver\": \"qcow2\", \"file\": {\"driver\": \"file\", \"filename\": \"y\"}}" },
    { "json:{\"driver\":\"qcow2\",\"lazy-refcounts\":true,\"cache.direct\":\"on\",\"file.filename\":\"x\"}",
      "qcow2", "x", NULL, 0, BYRE_NO_OFFSET, false, NULL },
    { "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"raw\",\"offset\":4096,\"file\":{\"driver\":\"file\",\"filename\":\"x\"}}}",
      "qcow2", "x", NULL, 0, BYRE_NO_OFFSET, false,
      "json:{\"driver\": \"qcow2\", \"file\": {\"offset\": 4096, \"driver\": \"raw\", \"file\": {\"driver\": \"file\", \"filename\": \"x\"}}}" },
};

static const struct { const char *name; int code; const char *message; } refused[] = {
    { "nbd://host/x", BYRE_E_UNSUPPORTED, "Unknown protocol 'nbd'" },
    { "we:ird", BYRE_E_UNSUPPORTED, "Unknown protocol 'we'; write ./we:ird" },
    { "json:", BYRE_E_INVALID, "json: name" },
    { "json:[]", BYRE_E_INVALID, "must be an object" },
    { "json:{\"driver\":\"nbd\",\"host\":\"x\"}", BYRE_E_UNSUPPORTED, "driver 'nbd' is not supported" },
    { "json:{\"driver\":\"nbd\",\"filename\":\"x\"}", BYRE_E_UNSUPPORTED, "driver 'nbd' is not supported" },
    { "json:{\"driver\":\"qcow2\"}", BYRE_E_INVALID, "neither 'file' nor 'filename'" },
    { "json:{\"driver\":\"qcow2\",\"filename\":\"x\"}", BYRE_E_INVALID, "needs a 'file'" },
    { "json:{\"driver\":\"file\",\"file\":{\"filename\":\"x\"}}", BYRE_E_INVALID, "has a 'filename'" },
    { "json:{\"driver\":\"qcow2\",\"file\":\"node0\"}", BYRE_E_INVALID, "'file' must be an object" },
    { "json:{\"driver\":\"qcow2\",\"offset\":1,\"file.filename\":\"x\"}", BYRE_E_INVALID, "belong to the driver raw" },
    { "json:{\"driver\":\"raw\",\"offset\":-1,\"file.filename\":\"x\"}", BYRE_E_INVALID, "'offset' must be a number" },
    { "json:{\"driver\":\"raw\",\"offset\":\"99999999999999999999\",\"file.filename\":\"x\"}", BYRE_E_INVALID, "'offset' must be a number" },
    { "json:{\"driver\":\"raw\",\"driver\":\"qcow2\",\"file.filename\":\"x\"}", BYRE_E_INVALID, "json: name" },
    { "json:{\"file\":{\"filename\":\"x\"},\"file.filename\":\"y\"}", BYRE_E_INVALID, "given twice" },
    { "json:{\"driver\":\"raw\",\"offset\":\"1x\",\"file.filename\":\"x\"}", BYRE_E_INVALID, "'offset' must be a number" },
    { "json:{\"driver\":\"raw\",\"offset\":\"16E\",\"file.filename\":\"x\"}", BYRE_E_INVALID, "'offset' must be a number" },
    { "json:{\"driver\":\"raw\",\"size\":\"1000\",\"file.filename\":\"x\"}", BYRE_E_INVALID, "'size' is 1000, no multiple of 512" },
    { "json:{\"driver\":\"qcow2\",\"encrypt.format\":\"rot13\",\"file.filename\":\"x\"}", BYRE_E_INVALID, "encryption format 'rot13' is not known" },
    { "json:{\"driver\":1}", BYRE_E_INVALID, "'driver' must be a string" },
    { "json:{\"driver\":\"qcow2\",\"encrypt\":1}", BYRE_E_INVALID, "'encrypt' must be an object" },
    { "json:{\"driver\":\"qcow2\",\"encrypt.x\":\"1\"}", BYRE_E_INVALID, "'x' is not known in 'encrypt'" },
    { "json:{\"driver\":\"qcow2\",\"nosuch\":\"on\",\"file.filename\":\"x\"}", BYRE_E_INVALID, "the key 'nosuch' is not known" },
    { "json:{\"driver\":\"qcow2\",\"cache.nosuch\":\"on\",\"file.filename\":\"x\"}", BYRE_E_INVALID, "the key 'cache.nosuch' is not known" },
    { "json:{\"driver\":\"qcow2\",\"cache\":\"none\",\"file.filename\":\"x\"}", BYRE_E_INVALID, "the key 'cache' is not known" },
    { "json:{\"driver\":\"qcow2\",\"lazy-refcounts\":\"maybe\",\"file.filename\":\"x\"}", BYRE_E_INVALID, "'lazy-refcounts' must be on or off" },
    { "json:{\"driver\":\"qcow2\",\"overlap-check\":\"some\",\"file.filename\":\"x\"}", BYRE_E_INVALID, "'overlap-check' must be one of" },
    { "json:{\"driver\":\"qcow2\",\"l2-cache-size\":\"much\",\"file.filename\":\"x\"}", BYRE_E_INVALID, "'l2-cache-size' must be a number" },
    { "json:{\"driver\":\"raw\",\"lazy-refcounts\":\"on\",\"file.filename\":\"x\"}", BYRE_E_INVALID, "'lazy-refcounts' belongs to the driver qcow2" },
    { "json:{\"driver\":\"raw\",\"locking\":\"off\",\"file.filename\":\"x\"}", BYRE_E_INVALID, "'locking' belongs to the file below" },
    { "json:{\"driver\":\"raw\",\"file.locking\":\"of\",\"file.filename\":\"x\"}", BYRE_E_INVALID, "'locking' must be one of: auto on off" },
    { "json:{\"a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r\":1}", BYRE_E_INVALID, "no object" },
};

#if BYRE_HAVE_JSON
/* QEMU's run-time options, and what they come to. */
static const struct { const char *options; uint32_t flags; bool read_only; uint64_t tables, refcounts; } tuned[] = {
    { "\"lazy-refcounts\":true,\"node-name\":\"n\",\"detect-zeroes\":\"unmap\",\"discard\":\"unmap\",\"auto-read-only\":\"on\"", 0, false, 0, 0 },
    { "\"overlap-check\":\"all\",\"cache-clean-interval\":\"60\",\"l2-cache-entry-size\":4096", 0, false, 0, 0 },
    { "\"overlap-check\":{\"template\":\"none\",\"active-l2\":true}", 0, false, 0, 0 },
    { "\"overlap-check.inactive-l2\":\"off\"", 0, false, 0, 0 },
    { "\"cache.direct\":\"on\",\"cache.no-flush\":false", BYRE_OPEN_DIRECT, false, 0, 0 },
    { "\"cache\":{\"direct\":false,\"no-flush\":true}", BYRE_OPEN_NO_SYNC, false, 0, 0 },
    { "\"file.locking\":\"off\",\"file.aio\":\"io_uring\"", BYRE_OPEN_NO_LOCK, false, 0, 0 },
    { "\"file.locking\":\"auto\",\"file.cache.direct\":\"on\"", BYRE_OPEN_DIRECT, false, 0, 0 },
    { "\"force-share\":\"on\",\"read-only\":\"yes\"", BYRE_OPEN_SHARED, true, 0, 0 },
    { "\"discard-no-unref\":\"true\"", BYRE_OPEN_KEEP_CLUSTERS, false, 0, 0 },
    { "\"pass-discard-request\":\"off\",\"pass-discard-other\":true,\"pass-discard-snapshot\":\"off\"", BYRE_OPEN_KEEP_SPACE, false, 0, 0 },
    { "\"pass-discard-request\":\"on\"", 0, false, 0, 0 },
    { "\"l2-cache-size\":\"1M\",\"refcount-cache-size\":65536", 0, false, 1048576, 65536 },
};
#endif

static const struct { const char *image, *stored, *want; } resolved[] = {
    { "o.qcow2", "base", "base" },
    { "sub/o.qcow2", "base", "sub/base" },
    { "sub/o.qcow2", "../base", "sub/../base" },
    { "/a/b/o.qcow2", "c/base", "/a/b/c/base" },
    { "sub/o.qcow2", "/abs", "/abs" },
    { "sub/o.qcow2", "file:base", "file:base" },
    { "sub/o.qcow2", "json:{}", "json:{}" },
    { "sub/o.qcow2", "./we:ird", "sub/./we:ird" },
    { NULL, "/abs", "/abs" },
    { NULL, "base", NULL },
};
/* clang-format on */

static void assert_text(const char *got, const char *want)
{
    if (want == NULL)
        assert_null(got);
    else
        assert_string_equal(got, want);
}

/* A build without jansson refuses all of them, and says so. */
static bool needs_json(const char *name)
{
    return !BYRE_HAVE_JSON && strncmp(name, "json:", 5) == 0;
}

static void test_accepted(void **state)
{
    bool skipped = false;

    (void)state;
    for (size_t i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++) {
        const struct accepted *want = &accepted[i];
        struct byre_error err = { .message = "" };
        struct node *node = NULL;
        char *name = NULL;

        print_message("# %s\n", want->name);
        if (needs_json(want->name)) {
            skipped = true;
            continue;
        }
        assert_int_equal(node_parse(want->name, &node, &err), BYRE_OK);
        assert_text(node->driver, want->driver);
        assert_text(node_path(node), want->path);
        assert_text(node->key_secret, want->key_secret);
        assert_int_equal(node->offset, want->offset);
        assert_int_equal(node->window_bytes, want->window_bytes);
        assert_int_equal(node_describe(node, &name, NULL), BYRE_OK);
        assert_string_equal(name, want->description != NULL ? want->description
                                                            : want->path);
        free(name);
        assert_int_equal(node->no_backing, want->no_backing);
        node_free(node);
    }
    if (skipped)
        skip();
}

static void test_refused(void **state)
{
    bool skipped = false;

    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct byre_error err = { .message = "" };
        struct node *node = NULL;

        print_message("# %s\n", refused[i].name);
        if (needs_json(refused[i].name)) {
            skipped = true;
            continue;
        }
        assert_int_equal(node_parse(refused[i].name, &node, &err),
                         refused[i].code);
        assert_non_null(strstr(err.message, refused[i].message));
        assert_null(node);
    }
    if (skipped)
        skip();
}

/* Nesting costs stack, and the text may come from an image. */
static void test_deep_nesting_is_refused(void **state)
{
    char name[4096] = "json:";
    struct byre_error err;
    struct node *node = NULL;

    (void)state;
    if (!BYRE_HAVE_JSON)
        skip();
    for (int i = 0; i < NODE_MAX_DEPTH + 1; i++)
        strcat(name, "{\"driver\":\"raw\",\"file\":");
    strcat(name, "{\"filename\":\"x\"}");
    for (int i = 0; i < NODE_MAX_DEPTH + 1; i++)
        strcat(name, "}");
    assert_int_equal(node_parse(name, &node, &err), BYRE_E_LIMIT);
}

static void test_resolved(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(resolved) / sizeof(resolved[0]); i++) {
        char *name = NULL;
        const int r =
            name_resolve(resolved[i].image, resolved[i].stored, &name, NULL);

        assert_int_equal(r, resolved[i].want != NULL ? BYRE_OK
                                                     : BYRE_E_UNSUPPORTED);
        assert_text(name, resolved[i].want);
        free(name);
    }
}

#if BYRE_HAVE_JSON
/* Without this, locks could be left out, or flushes, that nobody asked for. */
static void test_tuning(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(tuned) / sizeof(tuned[0]); i++) {
        struct node *node = NULL;
        struct tuning tuning;
        char name[512];

        snprintf(name, sizeof(name),
                 "json:{\"driver\":\"qcow2\",\"file.filename\":\"x\",%s}",
                 tuned[i].options);
        assert_int_equal(node_parse(name, &node, NULL), BYRE_OK);
        node_tuning(node, &tuning);
        assert_int_equal(tuning.open_flags, tuned[i].flags);
        assert_int_equal(tuning.read_only, tuned[i].read_only);
        assert_int_equal(tuning.table_cache_bytes, tuned[i].tables);
        assert_int_equal(tuning.refcount_cache_bytes, tuned[i].refcounts);
        node_free(node);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_deep_nesting_is_refused),
        cmocka_unit_test(test_resolved),
#if BYRE_HAVE_JSON
        cmocka_unit_test(test_tuning),
#endif
    };

    return cmocka_run_group_tests_name("node", tests, NULL, NULL);
}
