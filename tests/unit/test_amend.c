/* SPDX-License-Identifier: MIT */
/*
 * Without these, an image could be half changed by what is refused, or say that
 * it is what it is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "byre.h"
#include "new_image.h"
#include "store/store.h"

#define MIB        UINT64_C(1048576)
#define DISK_BYTES MIB

#define VERSION   BYRE_AMEND_VERSION
#define WIDTH     BYRE_AMEND_REFCOUNT_BITS
#define LAZY      BYRE_AMEND_LAZY_REFCOUNTS
#define DATA_FILE BYRE_AMEND_DATA_FILE
#define DATA_RAW  BYRE_AMEND_DATA_FILE_RAW
#define SIZE      BYRE_AMEND_SIZE

/* What an image is made with. */
struct kind {
    uint32_t version;
    uint32_t refcount_bits;
    uint32_t create_flags;
    const char *compression_type;
    bool data_file;
    bool compressed; /* its second cluster is */
};

static const struct kind plain = { .version = 3 };
static const struct kind old = { .version = 2 };
static const struct kind wide = { .version = 3, .refcount_bits = 64 };
static const struct kind lazy = { .version = 3,
                                  .create_flags = BYRE_CREATE_LAZY_REFCOUNTS };
static const struct kind extended = { .version = 3,
                                      .create_flags = BYRE_CREATE_EXTENDED_L2 };
static const struct kind zstd = { .version = 3, .compression_type = "zstd" };
static const struct kind zstd_used = { .version = 3,
                                       .compression_type = "zstd",
                                       .compressed = true };
static const struct kind external = { .version = 3, .data_file = true };
static const struct kind external_raw = {
    .version = 3, .create_flags = BYRE_CREATE_DATA_FILE_RAW, .data_file = true
};

/* ---- Images ---- */

struct fixture {
    struct byre_store *store;
    struct byre_store *data; /* or NULL */
    struct byre *img;
};

static void open_image(struct fixture *f, uint32_t flags)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre_error err = { 0 };

    opts.flags = flags;
    opts.format = "qcow2";
    opts.data_store = f->data;
    if (byre_open_store(f->store, NULL, &opts, &f->img, &err) < 0)
        fail_msg("%s", err.message);
}

static void write_byte(struct byre *img, uint64_t offset, int byte,
                       uint64_t length, uint32_t flags)
{
    uint8_t *bytes = malloc((size_t)length);

    assert_non_null(bytes);
    memset(bytes, byte, (size_t)length);
    assert_int_equal(
        byre_write(img, offset, bytes, (size_t)length, flags, NULL), 0);
    free(bytes);
}

/* Data, zeroes over data, zeroes over nothing, a gap. */
static void begin(struct fixture *f, const struct kind *kind)
{
    struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;

    *f = (struct fixture){ .store = new_store() };
    opts.virtual_size_bytes = DISK_BYTES;
    opts.version = kind->version;
    opts.refcount_bits = kind->refcount_bits;
    opts.flags = kind->create_flags;
    opts.compression_type = kind->compression_type;
    if (kind->data_file) {
        f->data = new_store();
        opts.data_file = "data.raw";
        opts.data_store = f->data;
    }
    assert_int_equal(byre_create_store(f->store, &opts, NULL), 0);
    open_image(f, BYRE_OPEN_WRITE);
    write_byte(f->img, 0, 1, 65536, 0);
    if (kind->compressed)
        write_byte(f->img, 65536, 2, 65536, BYRE_WRITE_COMPRESSED);
    write_byte(f->img, 131072, 3, 131072, 0);
    assert_int_equal(byre_zero(f->img, 131072, 65536, 0, NULL), 0);
    assert_int_equal(byre_zero(f->img, 524288, 65536, 0, NULL), 0);
    assert_int_equal(byre_close(f->img, NULL), 0);
    open_image(f, BYRE_OPEN_WRITE);
}

static void end(struct fixture *f)
{
    byre_close(f->img, NULL);
    byre_store_unref(f->store);
    byre_store_unref(f->data);
}

static uint8_t *bytes_of(struct byre_store *store, size_t *ret_length)
{
    uint64_t size;
    uint8_t *bytes;

    assert_int_equal(store_get_size(store, &size, NULL), 0);
    bytes = malloc((size_t)size + 1);
    assert_non_null(bytes);
    assert_int_equal(store_read(store, 0, bytes, (size_t)size, NULL), 0);
    *ret_length = (size_t)size;
    return bytes;
}

static int amend(struct byre *img, const struct byre_amend_options *opts,
                 struct byre_error *err)
{
    struct byre_job *job = NULL;
    int r = byre_amend(img, opts, &job, err);

    if (r == BYRE_OK)
        r = byre_job_run(job, err);
    byre_job_free(job);
    return r;
}

/* ---- What is refused ---- */

#define OPTIONS(...)                                                           \
    {                                                                          \
        .size = sizeof(struct byre_amend_options), __VA_ARGS__                 \
    }

static const struct {
    const char *name;
    const struct kind *kind;
    struct byre_amend_options opts;
    int result;
    const char *message; /* a part of it */
} refusals[] = {
    { "version 4", &plain, OPTIONS(.which = VERSION, .version = 4),
      BYRE_E_INVALID, "there are 2 and 3" },
    { "width 3", &plain, OPTIONS(.which = WIDTH, .refcount_bits = 3),
      BYRE_E_INVALID, "power of two" },
    { "width 0", &plain, OPTIONS(.which = WIDTH), BYRE_E_INVALID,
      "power of two" },
    { "width 128", &plain, OPTIONS(.which = WIDTH, .refcount_bits = 128),
      BYRE_E_INVALID, "power of two" },
    { "another width in version 2", &old,
      OPTIONS(.which = WIDTH, .refcount_bits = 8), BYRE_E_INVALID,
      "16 bits only" },
    { "version 2 with another width", &wide,
      OPTIONS(.which = VERSION, .version = 2), BYRE_E_INVALID,
      "choose refcount_bits=16" },
    { "version 2 with subclusters", &extended,
      OPTIONS(.which = VERSION, .version = 2), BYRE_E_UNSUPPORTED,
      "extended L2" },
    { "version 2 with a data file", &external,
      OPTIONS(.which = VERSION, .version = 2), BYRE_E_UNSUPPORTED,
      "data file" },
    { "version 2 compressed by zstd", &zstd_used,
      OPTIONS(.which = VERSION, .version = 2), BYRE_E_UNSUPPORTED,
      "guest offset 65536 is compressed by zstd" },
    { "lazy refcounts in version 2", &old,
      OPTIONS(.which = LAZY, .lazy_refcounts = 1), BYRE_E_INVALID,
      "no lazy refcounts" },
    { "version 2 with lazy refcounts", &plain,
      OPTIONS(.which = VERSION | LAZY, .version = 2, .lazy_refcounts = 1),
      BYRE_E_INVALID, "no lazy refcounts" },
    { "a size of no sectors", &plain,
      OPTIONS(.which = SIZE | WIDTH, .size_bytes = 1000, .refcount_bits = 8),
      BYRE_E_INVALID, "multiple of 512" },
    { "a size past all", &plain,
      OPTIONS(.which = SIZE, .size_bytes = UINT64_C(1) << 63), BYRE_E_LIMIT,
      "limit" },
    { "a size of too many L1 entries", &old,
      OPTIONS(.which = SIZE | VERSION, .version = 3,
              .size_bytes = UINT64_C(1) << 60),
      BYRE_E_LIMIT, "L1 entries" },
    { "a data file where there is none", &plain,
      OPTIONS(.which = DATA_FILE, .data_file = "x"), BYRE_E_INVALID,
      "not in an external data file" },
    { "a data file that becomes raw", &external,
      OPTIONS(.which = DATA_RAW, .data_file_raw = 1), BYRE_E_INVALID,
      "given up, but not set" },
    { "what nobody knows", &plain, OPTIONS(.which = 1u << 30), BYRE_E_INVALID,
      "unknown things" },
};

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct byre_error err = { 0 };
        size_t length, after_length;
        uint8_t *before, *after;
        struct fixture f;
        int r;

        if (refusals[i].kind->compression_type != NULL &&
            strstr(byre_features(), "zstd") == NULL)
            continue;
        begin(&f, refusals[i].kind);
        before = bytes_of(f.store, &length);
        r = amend(f.img, &refusals[i].opts, &err);
        if (r != refusals[i].result ||
            strstr(err.message, refusals[i].message) == NULL)
            fail_msg("%s: %d, %s", refusals[i].name, r, err.message);
        after = bytes_of(f.store, &after_length);
        if (length != after_length || memcmp(before, after, length) != 0)
            fail_msg("%s: the file has changed", refusals[i].name);
        free(before);
        free(after);
        end(&f);
    }
}

/* ---- What is done ---- */

static const struct {
    const char *name;
    const struct kind *kind;
    struct byre_amend_options opts;
    uint32_t version;
    uint32_t refcount_bits;
    uint32_t flags; /* BYRE_INFO_* */
    uint64_t size_bytes;
    const char *data_file;
} changes[] = {
    { "nothing", &plain, OPTIONS(.which = 0), 3, 16, 0, DISK_BYTES, NULL },
    { "what it is", &wide,
      OPTIONS(.which = VERSION | WIDTH | SIZE, .version = 3,
              .refcount_bits = 64, .size_bytes = DISK_BYTES),
      3, 64, 0, DISK_BYTES, NULL },
    { "older", &plain, OPTIONS(.which = VERSION, .version = 2), 2, 16, 0,
      DISK_BYTES, NULL },
    { "older, lazy before", &lazy, OPTIONS(.which = VERSION, .version = 2), 2,
      16, 0, DISK_BYTES, NULL },
    { "older, zstd before", &zstd, OPTIONS(.which = VERSION, .version = 2), 2,
      16, 0, DISK_BYTES, NULL },
    { "older and narrower", &wide,
      OPTIONS(.which = VERSION | WIDTH, .version = 2, .refcount_bits = 16), 2,
      16, 0, DISK_BYTES, NULL },
    { "newer", &old, OPTIONS(.which = VERSION, .version = 3), 3, 16, 0,
      DISK_BYTES, NULL },
    { "newer and all else", &old,
      OPTIONS(.which = VERSION | WIDTH | LAZY | SIZE, .version = 3,
              .refcount_bits = 1, .lazy_refcounts = 1, .size_bytes = 3 * MIB),
      3, 1, BYRE_INFO_LAZY_REFCOUNTS, 3 * MIB, NULL },
    { "lazy", &plain, OPTIONS(.which = LAZY, .lazy_refcounts = 1), 3, 16,
      BYRE_INFO_LAZY_REFCOUNTS, DISK_BYTES, NULL },
    { "not lazy", &lazy, OPTIONS(.which = LAZY), 3, 16, 0, DISK_BYTES, NULL },
    { "smaller and older", &plain,
      OPTIONS(.which = SIZE | VERSION, .version = 2, .size_bytes = MIB / 2), 2,
      16, 0, MIB / 2, NULL },
    { "another data file", &external,
      OPTIONS(.which = DATA_FILE, .data_file = "elsewhere.raw"), 3, 16,
      BYRE_INFO_EXTERNAL_DATA, DISK_BYTES, "elsewhere.raw" },
    { "a data file without name", &external_raw, OPTIONS(.which = DATA_FILE), 3,
      16, BYRE_INFO_EXTERNAL_DATA | BYRE_INFO_DATA_FILE_RAW, DISK_BYTES, NULL },
    { "an empty name", &external, OPTIONS(.which = DATA_FILE, .data_file = ""),
      3, 16, BYRE_INFO_EXTERNAL_DATA, DISK_BYTES, NULL },
    { "a data file that is not raw", &external_raw, OPTIONS(.which = DATA_RAW),
      3, 16, BYRE_INFO_EXTERNAL_DATA, DISK_BYTES, "data.raw" },
    { "a data file that stays raw", &external_raw,
      OPTIONS(.which = DATA_RAW, .data_file_raw = 1), 3, 16,
      BYRE_INFO_EXTERNAL_DATA | BYRE_INFO_DATA_FILE_RAW, DISK_BYTES,
      "data.raw" },
    { "subclusters and another width", &extended,
      OPTIONS(.which = WIDTH, .refcount_bits = 4), 3, 4, BYRE_INFO_EXTENDED_L2,
      DISK_BYTES, NULL },
};

static void assert_same_text(const char *name, const char *a, const char *b)
{
    if ((a == NULL) != (b == NULL) || (a != NULL && strcmp(a, b) != 0))
        fail_msg("%s: \"%s\" instead of \"%s\"", name, a, b);
}

static void assert_changed(struct byre *img, size_t i)
{
    struct byre_info info = BYRE_INFO_INIT;

    assert_int_equal(byre_get_info(img, &info, NULL), 0);
    if (info.version != changes[i].version ||
        info.refcount_bits != changes[i].refcount_bits ||
        info.flags != changes[i].flags ||
        info.virtual_size_bytes != changes[i].size_bytes ||
        strcmp(info.compression_type, "zlib") != 0)
        fail_msg("%s: version %u, width %u, flags 0x%x, %s", changes[i].name,
                 info.version, info.refcount_bits, info.flags,
                 info.compression_type);
    assert_same_text(changes[i].name, info.data_file, changes[i].data_file);
}

/* The disk is as it was made, and goes on being written. */
static void assert_disk(struct byre *img, const char *name, int first)
{
    static const struct {
        uint64_t offset;
        int byte;
    } bytes[] = { { 131072, 0 },
                  { 131072 + 65535, 0 },
                  { 196608, 3 },
                  { 196608 + 65535, 3 },
                  { 300000, 0 } };
    uint8_t byte;

    assert_int_equal(byre_read(img, 5, &byte, 1, NULL), 0);
    if (byte != first)
        fail_msg("%s: %d at the start", name, byte);
    for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
        assert_int_equal(byre_read(img, bytes[i].offset, &byte, 1, NULL), 0);
        if (byte != bytes[i].byte)
            fail_msg("%s: %d at %llu", name, byte,
                     (unsigned long long)bytes[i].offset);
    }
}

static void test_changes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        struct byre_error err = { 0 };
        struct fixture f;

        if (changes[i].kind->compression_type != NULL &&
            strstr(byre_features(), "zstd") == NULL)
            continue;
        begin(&f, changes[i].kind);
        if (amend(f.img, &changes[i].opts, &err) < 0)
            fail_msg("%s: %s", changes[i].name, err.message);
        assert_changed(f.img, i);
        assert_disk(f.img, changes[i].name, 1);
        write_byte(f.img, 0, 9, 4096, 0);
        if (!changes[i].kind->data_file)
            write_byte(f.img, 393216, 0, 65536, BYRE_WRITE_COMPRESSED);
        assert_int_equal(byre_close(f.img, NULL), 0);

        open_image(&f, BYRE_OPEN_WRITE);
        assert_changed(f.img, i);
        assert_disk(f.img, changes[i].name, 9);
        end(&f);
    }
}

/* ---- The job ---- */

static void test_canceled(void **state)
{
    const struct byre_amend_options opts =
        OPTIONS(.which = VERSION | WIDTH, .version = 2, .refcount_bits = 16);
    struct byre_job *job = NULL;
    size_t length, after_length;
    uint8_t *before, *after;
    struct fixture f;

    (void)state;
    begin(&f, &wide);
    before = bytes_of(f.store, &length);
    assert_int_equal(byre_amend(f.img, &opts, &job, NULL), 0);
    byre_job_cancel(job);
    assert_int_equal(byre_job_run(job, NULL), BYRE_E_CANCELED);
    byre_job_free(job);
    after = bytes_of(f.store, &after_length);
    assert_int_equal(length, after_length);
    assert_memory_equal(before, after, length);
    free(before);
    free(after);
    end(&f);
}

/* A store that cancels a job at its n-th write. */
struct canceling {
    struct byre_store *base;
    struct byre_job *job;
    unsigned writes_left;
};

static int canceling_read(void *user, uint64_t offset, void *buf, size_t length,
                          struct byre_error *err)
{
    return store_read(((struct canceling *)user)->base, offset, buf, length,
                      err);
}

static int canceling_size(void *user, uint64_t *ret_size,
                          struct byre_error *err)
{
    return store_get_size(((struct canceling *)user)->base, ret_size, err);
}

static int canceling_write(void *user, uint64_t offset, const void *buf,
                           size_t length, struct byre_error *err)
{
    struct canceling *c = user;

    if (c->job != NULL && c->writes_left-- == 1)
        byre_job_cancel(c->job);
    return store_write(c->base, offset, buf, length, err);
}

static int canceling_flush(void *user, struct byre_error *err)
{
    return store_flush(((struct canceling *)user)->base, err);
}

static int canceling_resize(void *user, uint64_t size, struct byre_error *err)
{
    return store_resize(((struct canceling *)user)->base, size, err);
}

static const struct byre_store_ops canceling_ops = {
    .size = sizeof(canceling_ops),
    .read = canceling_read,
    .get_size = canceling_size,
    .write = canceling_write,
    .flush = canceling_flush,
    .resize = canceling_resize,
};

static void assert_version(struct byre *img, uint32_t version)
{
    struct byre_info info = BYRE_INFO_INIT;
    uint8_t byte = 1;

    assert_int_equal(byre_get_info(img, &info, NULL), 0);
    assert_int_equal(info.version, version);
    assert_int_equal(info.flags & BYRE_INFO_DIRTY, 0);
    assert_int_equal(byre_read(img, 512, &byte, 1, NULL), 0);
    assert_int_equal(byte, 7);
    assert_int_equal(byre_read(img, DISK_BYTES / 2, &byte, 1, NULL), 0);
    assert_int_equal(byte, 0);
}

/* Some thousand clusters of zeroes: ended amidst them the image is whole. */
static void test_canceled_amidst(void **state)
{
    static const unsigned at[] = { 1, 2, 3, 5, 8, 13 };
    const struct byre_amend_options opts =
        OPTIONS(.which = VERSION, .version = 2);

    (void)state;
    for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
        struct canceling c = { .base = new_image(DISK_BYTES, 512) };
        struct fixture f = { .data = NULL };
        struct byre_error err = { 0 };
        struct byre_job *job = NULL;
        int r;

        assert_int_equal(byre_store_new(&canceling_ops, &c, &f.store, NULL), 0);
        open_image(&f, BYRE_OPEN_WRITE);
        write_byte(f.img, 0, 7, DISK_BYTES, 0);
        assert_int_equal(byre_zero(f.img, 4096, DISK_BYTES / 2, 0, NULL), 0);
        assert_int_equal(byre_zero(f.img, DISK_BYTES / 2, DISK_BYTES / 2,
                                   BYRE_WRITE_MAY_UNMAP, NULL),
                         0);
        assert_int_equal(byre_flush(f.img, NULL), 0);
        assert_int_equal(byre_amend(f.img, &opts, &job, NULL), 0);
        c.job = job;
        c.writes_left = at[i];
        r = byre_job_run(job, &err);
        if (r != BYRE_E_CANCELED)
            fail_msg("at write %u: %d, %s", at[i], r, err.message);
        c.job = NULL;
        byre_job_free(job);
        assert_version(f.img, 3);
        assert_int_equal(amend(f.img, &opts, NULL), 0);
        assert_version(f.img, 2);
        assert_int_equal(byre_close(f.img, NULL), 0);
        open_image(&f, BYRE_OPEN_WRITE);
        assert_version(f.img, 2);
        end(&f);
        byre_store_unref(c.base);
    }
}

static void test_progress(void **state)
{
    const struct byre_amend_options opts =
        OPTIONS(.which = WIDTH, .refcount_bits = 8);
    struct byre_job *job = NULL;
    uint64_t done, total;
    struct fixture f;

    (void)state;
    begin(&f, &plain);
    assert_int_equal(byre_amend(f.img, &opts, &job, NULL), 0);
    assert_int_equal(byre_job_run(job, NULL), 0);
    byre_job_progress(job, &done, &total);
    assert_int_equal(done, total);
    assert_int_not_equal(total, 0);
    byre_job_free(job);
    end(&f);
}

static void test_other_images(void **state)
{
    const struct byre_amend_options opts = OPTIONS(.which = 0);
    struct byre_open_options raw = BYRE_OPEN_OPTIONS_INIT;
    struct byre_job *job = NULL;
    struct fixture f;

    (void)state;
    begin(&f, &plain);
    byre_close(f.img, NULL);
    open_image(&f, 0);
    assert_int_equal(byre_amend(f.img, &opts, &job, NULL), BYRE_E_STATE);
    byre_close(f.img, NULL);
    raw.format = "raw";
    raw.flags = BYRE_OPEN_WRITE;
    assert_int_equal(byre_open_store(f.store, NULL, &raw, &f.img, NULL), 0);
    assert_int_equal(byre_amend(f.img, &opts, &job, NULL), BYRE_E_UNSUPPORTED);
    assert_int_equal(byre_amend(NULL, &opts, &job, NULL), BYRE_E_INVALID);
    assert_int_equal(byre_amend(f.img, NULL, &job, NULL), BYRE_E_INVALID);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_changes),
        cmocka_unit_test(test_canceled), cmocka_unit_test(test_canceled_amidst),
        cmocka_unit_test(test_progress), cmocka_unit_test(test_other_images),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
