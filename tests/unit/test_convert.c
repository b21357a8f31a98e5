/* SPDX-License-Identifier: MIT */
/*
 * Without these, a copy could lose good data beside bad, leave half a file
 * behind, delete somebody else's, or end the program it runs in.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "image_builder.h"

#define CLUSTERS 8u

static char folder[] = "/tmp/byre-convert-XXXXXX";

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

/* Data in the clusters 0, 2 and 5; 7 is compressed. */
static struct byre *open_disk(struct builder *b)
{
    struct byre_store *store;
    struct byre *img = NULL;

    builder_init(b, CLUSTERS);
    builder_data(b, 0, 0, 0x10);
    builder_data(b, 2, 1, 0x12);
    builder_data(b, 5, 2, 0x15);
    builder_compressed(b, 7, 3, 0, 0x17);
    store = builder_store(b);
    assert_int_equal(byre_open_store(store, NULL, NULL, &img, NULL), BYRE_OK);
    byre_store_unref(store);
    return img;
}

static int convert(struct byre *img, const char *target,
                   const struct byre_convert_options *opts,
                   struct byre_error *err)
{
    struct byre_job *job = NULL;
    int r;

    r = byre_convert(&img, 1, target, opts, &job, err);
    if (r == BYRE_OK)
        r = byre_job_run(job, err);
    byre_job_free(job);
    return r;
}

/* The first byte of each cluster of a file. */
static void assert_file(const char *name, const uint8_t *want)
{
    FILE *file = fopen(name, "r");

    assert_non_null(file);
    for (uint32_t i = 0; i < CLUSTERS; i++) {
        fseek(file, (long)i * BUILDER_CLUSTER, SEEK_SET);
        assert_int_equal(fgetc(file), want[i]);
    }
    fclose(file);
}

static void test_same_for_any_number_of_workers(void **state)
{
    static const uint8_t want[CLUSTERS] = {
        0x10, 0, 0x12, 0, 0, 0x15, 0, 0x17
    };
    struct builder b;
    struct byre *img = open_disk(&b);

    (void)state;
    for (uint32_t workers = 1; workers <= 16; workers *= 4) {
        struct byre_convert_options opts = BYRE_CONVERT_OPTIONS_INIT;
        struct stat st;

        opts.workers = workers;
        assert_int_equal(convert(img, "out", &opts, NULL), BYRE_OK);
        assert_file("out", want);
        assert_int_equal(stat("out", &st), 0);
        assert_int_equal(st.st_size, CLUSTERS * BUILDER_CLUSTER);
        assert_true(st.st_blocks * 512 < CLUSTERS * BUILDER_CLUSTER);
        unlink("out");
    }
    byre_close(img, NULL);
    builder_done(&b);
}

struct salvaged {
    uint64_t bytes;
    uint64_t offset;
};

static void note_salvaged(void *user, uint64_t offset, uint64_t length,
                          const struct byre_error *why)
{
    struct salvaged *salvaged = user;

    assert_int_equal(why->code, BYRE_E_CORRUPT);
    salvaged->bytes += length;
    salvaged->offset = offset;
}

/* What a bad entry costs is its own cluster, not what lies before it. */
static void test_salvage_keeps_what_is_good(void **state)
{
    static const struct {
        uint64_t entry; /* of cluster 6 */
    } cases[] = {
        { BUILDER_FIRST_DATA + 512 },            /* unaligned */
        { UINT64_C(0x4000000000000000) + 8192 }, /* no deflate stream */
    };
    static const uint8_t want[CLUSTERS] = {
        0x10, 0, 0x12, 0, 0, 0x15, 0, 0x17
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct byre_convert_options opts = BYRE_CONVERT_OPTIONS_INIT;
        struct salvaged salvaged = { 0 };
        struct byre_store *store;
        struct byre_error err;
        struct byre *img = NULL;
        struct builder b;

        byre_close(open_disk(&b), NULL);
        memset(b.bytes + 8192, 0xff, 512);
        builder_entry(&b, 6, cases[i].entry);
        store = builder_store(&b);
        assert_int_equal(byre_open_store(store, NULL, NULL, &img, NULL),
                         BYRE_OK);
        byre_store_unref(store);

        assert_int_equal(convert(img, "out", NULL, &err), BYRE_E_CORRUPT);
        assert_int_equal(access("out", F_OK), -1);

        opts.flags = BYRE_CONVERT_SALVAGE;
        opts.salvaged = note_salvaged;
        opts.user = &salvaged;
        assert_int_equal(convert(img, "out", &opts, NULL), BYRE_OK);
        assert_file("out", want);
        assert_int_equal(salvaged.bytes, BUILDER_CLUSTER);
        assert_int_equal(salvaged.offset, 6 * BUILDER_CLUSTER);
        unlink("out");
        byre_close(img, NULL);
        builder_done(&b);
    }
}

/* ---- Pipes ---- */

static void *read_some_and_leave(void *user)
{
    const int fd = open("pipe", O_RDONLY);
    char buf[100];

    (void)user;
    if (read(fd, buf, sizeof(buf)) < 0)
        perror("read");
    close(fd);
    return NULL;
}

/* The default action of SIGPIPE would end this very program. */
static void test_a_reader_that_leaves(void **state)
{
    struct builder b;
    struct byre *img = open_disk(&b);
    struct byre_error err;
    pthread_t reader;

    (void)state;
    assert_int_equal(mkfifo("pipe", 0600), 0);
    pthread_create(&reader, NULL, read_some_and_leave, NULL);
    assert_int_equal(convert(img, "pipe", NULL, &err), BYRE_E_IO);
    assert_int_equal(err.sys_errno, EPIPE);
    pthread_join(reader, NULL);
    unlink("pipe");
    byre_close(img, NULL);
    builder_done(&b);
}

static void *cancel_job(void *user)
{
    byre_job_cancel(user);
    return NULL;
}

static void test_cancel_while_nobody_reads(void **state)
{
    struct builder b;
    struct byre *img = open_disk(&b);
    struct byre_job *job = NULL;
    pthread_t thread;

    (void)state;
    assert_int_equal(mkfifo("pipe", 0600), 0);
    assert_int_equal(byre_convert(&img, 1, "pipe", NULL, &job, NULL), BYRE_OK);
    pthread_create(&thread, NULL, cancel_job, job);
    assert_int_equal(byre_job_run(job, NULL), BYRE_E_CANCELED);
    assert_int_equal(byre_job_run(job, NULL), BYRE_E_STATE);
    pthread_join(thread, NULL);
    byre_job_free(job);
    unlink("pipe");
    byre_close(img, NULL);
    builder_done(&b);
}

/* ---- What is left behind ---- */

static void test_canceled_leaves_nothing(void **state)
{
    struct builder b;
    struct byre *img = open_disk(&b);
    struct byre_job *job = NULL;

    (void)state;
    assert_int_equal(byre_convert(&img, 1, "out", NULL, &job, NULL), BYRE_OK);
    byre_job_cancel(job);
    assert_int_equal(byre_job_run(job, NULL), BYRE_E_CANCELED);
    byre_job_free(job);
    assert_int_equal(access("out", F_OK), -1);
    byre_close(img, NULL);
    builder_done(&b);
}

/* An existing target keeps its name, and nothing that looks like a disk. */
static void test_a_failure_empties_an_existing_target(void **state)
{
    struct byre_store *store;
    struct byre *img = NULL;
    struct builder b;
    struct stat st;
    const int fd = open("out", O_CREAT | O_WRONLY, 0600);

    (void)state;
    assert_int_equal(write(fd, "before", 6), 6);
    close(fd);
    byre_close(open_disk(&b), NULL);
    builder_entry(&b, 6, BUILDER_FIRST_DATA + 512);
    store = builder_store(&b);
    assert_int_equal(byre_open_store(store, NULL, NULL, &img, NULL), BYRE_OK);
    byre_store_unref(store);
    assert_int_equal(convert(img, "out", NULL, NULL), BYRE_E_CORRUPT);
    assert_int_equal(stat("out", &st), 0);
    assert_int_equal(st.st_size, 0);
    unlink("out");
    byre_close(img, NULL);
    builder_done(&b);
}

/* Takes the target's name for another file, and then breaks the job. */
static void steal_name(void *user, uint64_t offset, uint64_t length,
                       const struct byre_error *why)
{
    const int fd = open("other", O_CREAT | O_WRONLY, 0600);

    (void)offset;
    (void)length;
    (void)why;
    close(fd);
    rename("other", "out");
    byre_job_cancel(*(struct byre_job **)user);
}

static void test_another_file_keeps_its_name(void **state)
{
    struct byre_convert_options opts = BYRE_CONVERT_OPTIONS_INIT;
    struct byre_store *store;
    struct byre_job *job = NULL;
    struct byre *img = NULL;
    struct builder b;

    (void)state;
    byre_close(open_disk(&b), NULL);
    builder_entry(&b, 1, BUILDER_FIRST_DATA + 512);
    store = builder_store(&b);
    assert_int_equal(byre_open_store(store, NULL, NULL, &img, NULL), BYRE_OK);
    byre_store_unref(store);
    opts.flags = BYRE_CONVERT_SALVAGE;
    opts.workers = 1;
    opts.salvaged = steal_name;
    opts.user = &job;
    assert_int_equal(byre_convert(&img, 1, "out", &opts, &job, NULL), BYRE_OK);
    assert_int_equal(byre_job_run(job, NULL), BYRE_E_CANCELED);
    assert_int_equal(access("out", F_OK), 0);
    byre_job_free(job);
    unlink("out");
    byre_close(img, NULL);
    builder_done(&b);
}

static void test_options_are_checked(void **state)
{
    struct byre_convert_options opts = BYRE_CONVERT_OPTIONS_INIT;
    struct builder b;
    struct byre *img = open_disk(&b);

    (void)state;
    opts.sparse_bytes = 1000;
    assert_int_equal(convert(img, "out", &opts, NULL), BYRE_E_INVALID);
    opts.sparse_bytes = 0;
    opts.flags = UINT32_C(1) << 30;
    assert_int_equal(convert(img, "out", &opts, NULL), BYRE_E_INVALID);
    assert_int_equal(convert(NULL, "out", NULL, NULL), BYRE_E_INVALID);
    byre_close(img, NULL);
    builder_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_for_any_number_of_workers),
        cmocka_unit_test(test_salvage_keeps_what_is_good),
        cmocka_unit_test(test_a_reader_that_leaves),
        cmocka_unit_test(test_cancel_while_nobody_reads),
        cmocka_unit_test(test_canceled_leaves_nothing),
        cmocka_unit_test(test_a_failure_empties_an_existing_target),
        cmocka_unit_test(test_another_file_keeps_its_name),
        cmocka_unit_test(test_options_are_checked),
    };

    return cmocka_run_group_tests_name("convert", tests, make_folder,
                                       remove_folder);
}
