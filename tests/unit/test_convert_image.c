/* SPDX-License-Identifier: MIT */
/*
 * Without these, an image could depend on which of the workers was first, a
 * worker that fails could leave the others waiting for ever, and a copy that
 * failed could leave something that looks like a disk.
 */
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "byre.h"

#define KIB          ((size_t)1024)
#define MIB          (1024 * KIB)
#define SOURCE_BYTES (3 * MIB + 5 * 512)
#define TRIGGER_OFF  UINT_MAX

static char folder[] = "/tmp/byre-convert-image-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL && chdir(folder) == 0 ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

/* ---- A source that acts when it is read for the n-th time ---- */

struct source {
    uint8_t *bytes;
    struct byre *img;
    atomic_uint reads;
    unsigned trigger;     /* which read */
    struct byre_job *job; /* is cancelled then; NULL: the read fails */
};

static int source_read(void *user, uint64_t offset, void *buf, size_t length,
                       struct byre_error *err)
{
    struct source *source = user;
    const size_t n = offset >= SOURCE_BYTES ? 0
                     : length < SOURCE_BYTES - offset
                         ? length
                         : SOURCE_BYTES - (size_t)offset;

    if (atomic_fetch_add(&source->reads, 1) == source->trigger) {
        if (source->job == NULL) {
            err->code = BYRE_E_IO;
            snprintf(err->message, sizeof(err->message), "as it was asked to");
            return BYRE_E_IO;
        }
        byre_job_cancel(source->job);
    }
    memcpy(buf, source->bytes + (n > 0 ? offset : 0), n);
    memset((uint8_t *)buf + n, 0, length - n);
    return BYRE_OK;
}

static int source_size(void *user, uint64_t *ret_size_bytes,
                       struct byre_error *err)
{
    (void)user;
    (void)err;
    *ret_size_bytes = SOURCE_BYTES;
    return BYRE_OK;
}

/* Noise, text and zeroes, in runs from a sector to some clusters. */
static void fill(uint8_t *bytes)
{
    uint32_t noise = 1;
    size_t at = 0;

    while (at < SOURCE_BYTES) {
        const uint32_t kind = (noise >> 8) % 3;
        size_t n = (size_t)512 << (noise >> 16) % 9;

        if (n > SOURCE_BYTES - at)
            n = SOURCE_BYTES - at;
        for (size_t i = 0; i < n; i++) {
            noise = noise * 1664525 + 1013904223;
            bytes[at + i] = kind == 0   ? 0
                            : kind == 1 ? (uint8_t)(noise >> 24)
                                        : (uint8_t)("text"[i % 4]);
        }
        at += n;
    }
}

static void open_source(struct source *source)
{
    static const struct byre_store_ops ops = {
        .size = sizeof(ops),
        .read = source_read,
        .get_size = source_size,
    };
    struct byre_open_options open = BYRE_OPEN_OPTIONS_INIT;
    struct byre_store *store;

    *source = (struct source){ .trigger = TRIGGER_OFF };
    source->bytes = malloc(SOURCE_BYTES);
    assert_non_null(source->bytes);
    fill(source->bytes);
    assert_int_equal(byre_store_new(&ops, source, &store, NULL), BYRE_OK);
    open.format = "raw";
    assert_int_equal(byre_open_store(store, NULL, &open, &source->img, NULL),
                     BYRE_OK);
    byre_store_unref(store);
}

static void close_source(struct source *source)
{
    assert_int_equal(byre_close(source->img, NULL), BYRE_OK);
    free(source->bytes);
}

static int convert(struct byre *img, const char *target,
                   const struct byre_convert_options *opts,
                   struct byre_error *err)
{
    uint64_t done = 0, total = 0;
    struct byre_job *job = NULL;
    int r;

    r = byre_convert(&img, 1, target, opts, &job, err);
    if (r < 0)
        return r;
    r = byre_job_run(job, err);
    byre_job_progress(job, &done, &total);
    if (r == BYRE_OK)
        assert_int_equal(done, total);
    byre_job_free(job);
    return r;
}

/* ---- Files ---- */

static uint8_t *read_all(const char *name, size_t *ret_length)
{
    FILE *file = fopen(name, "rb");
    struct stat st;
    uint8_t *bytes;

    assert_non_null(file);
    assert_int_equal(fstat(fileno(file), &st), 0);
    *ret_length = (size_t)st.st_size;
    bytes = malloc(*ret_length + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *ret_length, file), *ret_length);
    fclose(file);
    return bytes;
}

static void assert_disk(const char *name, const uint8_t *want)
{
    struct byre_open_options open = BYRE_OPEN_OPTIONS_INIT;
    uint8_t *bytes = malloc(SOURCE_BYTES);
    struct byre *img = NULL;

    assert_non_null(bytes);
    open.flags = BYRE_OPEN_FOLLOW_BACKING | BYRE_OPEN_FOLLOW_DATA_FILE;
    assert_int_equal(byre_open(name, &open, &img, NULL), BYRE_OK);
    assert_int_equal(byre_read(img, 0, bytes, SOURCE_BYTES, NULL), BYRE_OK);
    assert_memory_equal(bytes, want, SOURCE_BYTES);
    byre_close(img, NULL);
    free(bytes);
}

static void create_image(const char *name, const char *backing)
{
    struct byre_create_options create = BYRE_CREATE_OPTIONS_INIT;

    create.virtual_size_bytes = SOURCE_BYTES;
    create.backing_name = backing;
    create.backing_format = backing != NULL ? "qcow2" : NULL;
    assert_int_equal(byre_create(name, &create, NULL), BYRE_OK);
}

static bool exists(const char *name)
{
    return access(name, F_OK) == 0;
}

static bool is_empty(const char *name)
{
    struct stat st;

    return stat(name, &st) == 0 && st.st_size == 0;
}

/* ---- The same for any number of workers ---- */

struct kind {
    const char *format;
    uint64_t cluster_bytes;
    const char *compression; /* NULL: none */
    uint32_t create_flags;
    uint64_t sparse_bytes;
};

static void convert_kind(struct source *source, const struct kind *kind,
                         uint32_t workers)
{
    struct byre_convert_options opts = BYRE_CONVERT_OPTIONS_INIT;
    struct byre_create_options create = BYRE_CREATE_OPTIONS_INIT;
    struct byre_error err;
    int r;

    create.format = kind->format;
    create.cluster_size_bytes = kind->cluster_bytes;
    create.flags = kind->create_flags;
    if (strcmp(kind->format, "qcow2") == 0)
        create.compression_type = kind->compression;
    opts.create = &create;
    opts.workers = workers;
    opts.sparse_bytes = kind->sparse_bytes;
    opts.flags = BYRE_CONVERT_NO_SYNC |
                 (kind->compression != NULL ? BYRE_CONVERT_COMPRESS : 0);
    unlink("out");
    r = convert(source->img, "out", &opts, &err);
    if (r < 0)
        fail_msg("%s", err.message);
}

static void test_same_for_any_number_of_workers(void **state)
{
    static const struct kind kinds[] = {
        { "qcow2", 512, NULL, 0, 0 },
        { "qcow2", 4 * KIB, NULL, 0, 0 },
        { "qcow2", 0, NULL, 0, 0 },
        { "qcow2", 2 * MIB, NULL, 0, 0 },
        { "qcow2", 0, NULL, BYRE_CREATE_EXTENDED_L2, 0 },
        { "qcow2", 0, NULL, BYRE_CREATE_LAZY_REFCOUNTS, 0 },
        { "qcow2", 4 * KIB, NULL, 0, BYRE_SPARSE_NONE },
        { "qcow2", 4 * KIB, NULL, 0, 64 * KIB },
        { "qcow2", 512, "zlib", 0, 0 },
        { "qcow2", 4 * KIB, "zlib", 0, 0 },
        { "qcow2", 0, "zlib", 0, 0 },
        { "qcow2", 2 * MIB, "zlib", 0, 0 },
        { "qcow2", 0, "zlib", 0, BYRE_SPARSE_NONE },
        { "qcow2", 4 * KIB, "zstd", 0, 0 },
        { "qcow2", 0, "zstd", 0, 0 },
        { "qcow", 0, NULL, 0, 0 },
        { "qcow", 0, "zlib", 0, 0 },
    };
    static const uint32_t workers[] = { 1, 2, 8 };
    struct source source;

    (void)state;
    open_source(&source);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        uint8_t *first = NULL;
        size_t first_length = 0;

        if (kinds[i].compression != NULL &&
            strstr(byre_features(), kinds[i].compression) == NULL)
            continue;
        for (size_t j = 0; j < sizeof(workers) / sizeof(workers[0]); j++) {
            size_t length;
            uint8_t *bytes;

            convert_kind(&source, &kinds[i], workers[j]);
            bytes = read_all("out", &length);
            if (first != NULL) {
                assert_int_equal(length, first_length);
                assert_memory_equal(bytes, first, length);
            }
            if (kinds[i].compression != NULL)
                assert_int_equal(length % 512, 0);
            free(first);
            first = bytes;
            first_length = length;
        }
        free(first);
        assert_disk("out", source.bytes);
    }
    unlink("out");
    close_source(&source);
}

/* ---- Failures ---- */

/* Whichever read fails, the job ends, and what was made is gone. */
static void test_each_read_fails(void **state)
{
    struct byre_convert_options opts = BYRE_CONVERT_OPTIONS_INIT;
    struct byre_create_options create = BYRE_CREATE_OPTIONS_INIT;
    struct source source;
    unsigned failures = 0;

    (void)state;
    open_source(&source);
    create.format = "qcow2";
    opts.create = &create;
    opts.workers = 4;
    for (opts.flags = BYRE_CONVERT_NO_SYNC;;
         opts.flags ^= BYRE_CONVERT_COMPRESS) {
        struct byre_error err;
        int r;

        unlink("out");
        source.trigger = failures;
        atomic_store(&source.reads, 0);
        r = convert(source.img, "out", &opts, &err);
        if (r == BYRE_OK && (opts.flags & BYRE_CONVERT_COMPRESS) != 0)
            break;
        if (r < 0) {
            assert_int_equal(r, BYRE_E_IO);
            assert_non_null(strstr(err.message, "as it was asked to"));
            assert_false(exists("out"));
        }
        failures += (opts.flags & BYRE_CONVERT_COMPRESS) != 0;
    }
    assert_in_range(failures, 20, 1000);
    unlink("out");
    close_source(&source);
}

static void test_canceled_anywhere(void **state)
{
    struct byre_convert_options opts = BYRE_CONVERT_OPTIONS_INIT;
    struct byre_create_options create = BYRE_CREATE_OPTIONS_INIT;
    struct source source;

    (void)state;
    open_source(&source);
    opts.create = &create;
    opts.workers = 4;
    opts.flags = BYRE_CONVERT_NO_SYNC | BYRE_CONVERT_COMPRESS;
    for (unsigned n = 0; n < 30; n += 7) {
        struct byre_job *job;

        source.trigger = n;
        atomic_store(&source.reads, 0);
        assert_int_equal(byre_convert(&source.img, 1, "out", &opts, &job, NULL),
                         BYRE_OK);
        source.job = job;
        assert_int_equal(byre_job_run(job, NULL), BYRE_E_CANCELED);
        byre_job_free(job);
        assert_false(exists("out"));
    }
    close_source(&source);
}

/* Not half-filled, and not the image that was there before either. */
static void test_a_failure_empties_what_was_there(void **state)
{
    struct byre_convert_options opts = BYRE_CONVERT_OPTIONS_INIT;
    struct byre_create_options create = BYRE_CREATE_OPTIONS_INIT;
    struct source source;

    (void)state;
    open_source(&source);
    source.trigger = 2;
    create_image("out", NULL);
    opts.create = &create;
    assert_int_equal(convert(source.img, "out", &opts, NULL), BYRE_E_IO);
    assert_true(is_empty("out"));

    /* The same of a data file, new and not; the link stays, its file goes. */
    create.data_file = "data";
    atomic_store(&source.reads, 0);
    assert_int_equal(symlink("behind", "link"), 0);
    assert_int_equal(convert(source.img, "link", &opts, NULL), BYRE_E_IO);
    assert_false(exists("data"));
    assert_false(exists("behind"));

    close(open("data", O_CREAT | O_WRONLY, 0600));
    atomic_store(&source.reads, 0);
    assert_int_equal(convert(source.img, "out", &opts, NULL), BYRE_E_IO);
    assert_true(is_empty("out"));
    assert_true(is_empty("data"));
    unlink("link");
    unlink("out");
    unlink("data");
    close_source(&source);
}

/* What is refused is not touched. */
static void test_a_target_in_use(void **state)
{
    struct byre_convert_options opts = BYRE_CONVERT_OPTIONS_INIT;
    struct byre_create_options create = BYRE_CREATE_OPTIONS_INIT;
    struct byre_open_options open = BYRE_OPEN_OPTIONS_INIT;
    uint8_t *before, *after;
    struct source source;
    struct byre *user = NULL;
    size_t length, length_after;

    (void)state;
    open_source(&source);
    create_image("out", NULL);
    before = read_all("out", &length);
    opts.create = &create;

    open.flags = BYRE_OPEN_WRITE;
    assert_int_equal(byre_open("out", &open, &user, NULL), BYRE_OK);
    assert_int_equal(convert(source.img, "out", &opts, NULL), BYRE_E_LOCKED);
    byre_close(user, NULL);

    /* A source in its own target's place, or in that of the data file. */
    open.flags = BYRE_OPEN_NO_LOCK;
    assert_int_equal(byre_open("out", &open, &user, NULL), BYRE_OK);
    assert_int_equal(convert(user, "out", &opts, NULL), BYRE_E_INVALID);
    create.data_file = "out";
    assert_int_equal(convert(user, "other", &opts, NULL), BYRE_E_INVALID);
    assert_false(exists("other"));
    opts.flags = BYRE_CONVERT_NO_CREATE;
    opts.target_open = &open;
    assert_int_equal(convert(user, "out", &opts, NULL), BYRE_E_INVALID);
    byre_close(user, NULL);

    after = read_all("out", &length_after);
    assert_int_equal(length, length_after);
    assert_memory_equal(before, after, length);
    free(before);
    free(after);
    unlink("out");
    close_source(&source);
}

/* ---- Backing files ---- */

/* What is below the backing file is opened only if the caller allows it. */
static void test_what_is_below_the_backing_file(void **state)
{
    struct byre_convert_options opts = BYRE_CONVERT_OPTIONS_INIT;
    struct byre_create_options create = BYRE_CREATE_OPTIONS_INIT;
    struct byre_open_options open = BYRE_OPEN_OPTIONS_INIT;
    struct source source;
    struct byre_error err;

    (void)state;
    open_source(&source);
    create_image("base", NULL);
    create_image("middle", "base");
    create.backing_name = "middle";
    create.backing_format = "qcow2";
    opts.create = &create;
    assert_int_equal(convert(source.img, "out", &opts, &err), BYRE_E_POLICY);
    assert_non_null(strstr(err.message, "base"));
    assert_false(exists("out"));

    open.flags = BYRE_OPEN_FOLLOW_BACKING;
    opts.target_open = &open;
    assert_int_equal(convert(source.img, "out", &opts, NULL), BYRE_OK);
    assert_disk("out", source.bytes);
    unlink("base");
    unlink("middle");
    unlink("out");
    close_source(&source);
}

/* ---- Options ---- */

static void test_options_are_checked(void **state)
{
    struct byre_convert_options opts = BYRE_CONVERT_OPTIONS_INIT;
    struct byre_create_options create = BYRE_CREATE_OPTIONS_INIT;
    struct source source;
    struct byre *both[2];
    struct byre_job *job;

    (void)state;
    open_source(&source);
    opts.flags = BYRE_CONVERT_COMPRESS;
    assert_int_equal(convert(source.img, "out", &opts, NULL),
                     BYRE_E_UNSUPPORTED);
    opts.create = &create;
    create.format = "raw";
    assert_int_equal(convert(source.img, "out", &opts, NULL),
                     BYRE_E_UNSUPPORTED);
    create.format = "qcow2";
    create.data_file = "data";
    assert_int_equal(convert(source.img, "out", &opts, NULL), BYRE_E_INVALID);
    create.data_file = NULL;
    create.encryption = BYRE_ENCRYPTION_LUKS;
    assert_int_equal(convert(source.img, "out", &opts, NULL), BYRE_E_INVALID);
    create.encryption = BYRE_ENCRYPTION_NONE;
    create.preallocation = BYRE_PREALLOCATION_METADATA;
    assert_int_equal(convert(source.img, "out", &opts, NULL), BYRE_E_INVALID);
    opts.flags = 0;
    create.format = "raw";
    assert_int_equal(convert(source.img, "out", &opts, NULL), BYRE_E_INVALID);

    create = (struct byre_create_options)BYRE_CREATE_OPTIONS_INIT;
    create.backing_name = "base";
    create.backing_format = "raw";
    both[0] = both[1] = source.img;
    assert_int_equal(byre_convert(both, 2, "out", &opts, &job, NULL),
                     BYRE_E_INVALID);
    create.backing_name = create.backing_format = NULL;
    assert_int_equal(mkfifo("pipe", 0600), 0);
    assert_int_equal(convert(source.img, "pipe", &opts, NULL), BYRE_E_INVALID);
    unlink("pipe");
    assert_false(exists("out"));
    close_source(&source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_for_any_number_of_workers),
        cmocka_unit_test(test_each_read_fails),
        cmocka_unit_test(test_canceled_anywhere),
        cmocka_unit_test(test_a_failure_empties_what_was_there),
        cmocka_unit_test(test_a_target_in_use),
        cmocka_unit_test(test_what_is_below_the_backing_file),
        cmocka_unit_test(test_options_are_checked),
    };

    return cmocka_run_group_tests_name("convert_image", tests, make_folder,
                                       remove_folder);
}
