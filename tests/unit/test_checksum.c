/* SPDX-License-Identifier: MIT */
/*
 * Without these, a checksum could depend on who computed it, be given where a
 * part could not be read, or keep a program waiting that has cancelled it; and
 * measure could answer what was never asked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "crypto/hash.h"
#include "image_builder.h"

#define CLUSTERS 8u
#define BLOCK    65536u

/* Data in the clusters 0, 2 and 5; 7 is compressed. */
static struct byre *open_disk(struct builder *b, uint32_t flags)
{
    struct byre_open_options opts = BYRE_OPEN_OPTIONS_INIT;
    struct byre_store *store;
    struct byre *img = NULL;

    opts.flags = flags;
    builder_init(b, CLUSTERS);
    builder_data(b, 0, 0, 0x10);
    builder_data(b, 2, 1, 0x12);
    builder_data(b, 5, 2, 0x15);
    builder_compressed(b, 7, 3, 0, 0x17);
    store = builder_store(b);
    assert_int_equal(byre_open_store(store, NULL, &opts, &img, NULL), BYRE_OK);
    byre_store_unref(store);
    return img;
}

static int checksum(struct byre *img, uint32_t workers, const char *algorithm,
                    uint8_t *digest, struct byre_error *err)
{
    struct byre_checksum_options opts = BYRE_CHECKSUM_OPTIONS_INIT;
    struct byre_job *job = NULL;
    size_t length = 0;
    int r;

    opts.workers = workers;
    opts.algorithm = algorithm;
    r = byre_checksum(img, &opts, &job, err);
    if (r == BYRE_OK)
        r = byre_job_run(job, err);
    if (r == BYRE_OK)
        r = byre_checksum_get_result(job, digest, &length, err);
    else if (job != NULL)
        assert_int_equal(byre_checksum_get_result(job, digest, &length, NULL),
                         BYRE_E_STATE);
    byre_job_free(job);
    return r;
}

/* The same by the words of docs/checksum.md. */
static void expected(struct byre *img, uint8_t *digest)
{
    struct byre_info info = BYRE_INFO_INIT;
    uint8_t digests[CLUSTERS * HASH_MAX_BYTES + 8];
    size_t used = 0;
    uint8_t *block = malloc(BLOCK);

    byre_get_info(img, &info, NULL);
    for (uint64_t at = 0; at < info.virtual_size_bytes; at += BLOCK) {
        const uint64_t left = info.virtual_size_bytes - at;
        const size_t n = left < BLOCK ? (size_t)left : BLOCK;

        assert_int_equal(byre_read(img, at, block, n, NULL), BYRE_OK);
        assert_int_equal(hash_run("sha256", block, n, digests + used, NULL),
                         BYRE_OK);
        used += 32;
    }
    for (unsigned i = 0; i < 8; i++)
        digests[used++] = (uint8_t)(info.virtual_size_bytes >> 8 * i);
    assert_int_equal(hash_run("sha256", digests, used, digest, NULL), BYRE_OK);
    free(block);
}

static void skip_without_crypto(void)
{
    if (strstr(byre_features(), "crypto") == NULL)
        skip();
}

static void test_same_for_any_number_of_workers(void **state)
{
    uint8_t want[32], got[BYRE_MAX_DIGEST_BYTES];
    struct builder b;
    struct byre *img;

    (void)state;
    skip_without_crypto();
    img = open_disk(&b, 0);
    expected(img, want);
    for (uint32_t workers = 0; workers <= 64; workers = 2 * workers + 1) {
        assert_int_equal(checksum(img, workers, NULL, got, NULL), BYRE_OK);
        assert_memory_equal(got, want, sizeof(want));
    }
    byre_close(img, NULL);
    builder_done(&b);
}

static void test_unreadable_disk_has_none(void **state)
{
    uint8_t digest[BYRE_MAX_DIGEST_BYTES];
    struct byre_store *store;
    struct byre_error err;
    struct byre *img = NULL;
    struct builder b;

    (void)state;
    skip_without_crypto();
    builder_init(&b, CLUSTERS);
    builder_data(&b, 0, 0, 1);
    builder_entry(&b, 6, UINT64_C(0x4000000000000000) + 8192);
    store = builder_store(&b);
    assert_int_equal(byre_open_store(store, NULL, NULL, &img, NULL), BYRE_OK);
    assert_int_equal(checksum(img, 4, NULL, digest, &err), BYRE_E_CORRUPT);
    byre_close(img, NULL);
    byre_store_unref(store);
    builder_done(&b);
}

static void test_refusals(void **state)
{
    uint8_t digest[BYRE_MAX_DIGEST_BYTES];
    struct byre_job *job = NULL;
    struct byre_error err;
    struct builder b;
    struct byre *img = open_disk(&b, 0);
    size_t length;

    (void)state;
    assert_int_equal(checksum(img, 1, "sha257", digest, &err), BYRE_E_INVALID);
    assert_non_null(strstr(err.message, "sha257"));
    assert_int_equal(byre_checksum(NULL, NULL, &job, NULL), BYRE_E_INVALID);
    assert_int_equal(byre_checksum(img, NULL, NULL, NULL), BYRE_E_INVALID);
    assert_int_equal(byre_checksum(img, NULL, &job, NULL), BYRE_OK);
    assert_int_equal(byre_checksum_get_result(job, digest, &length, NULL),
                     BYRE_E_STATE);
    byre_job_cancel(job);
    assert_int_equal(byre_job_run(job, NULL), BYRE_E_CANCELED);
    assert_int_equal(byre_checksum_get_result(job, digest, &length, NULL),
                     BYRE_E_STATE);
    assert_int_equal(byre_job_run(job, NULL), BYRE_E_STATE);
    byre_job_free(job);
    byre_close(img, NULL);
    builder_done(&b);
}

static void test_measure(void **state)
{
    struct byre_measure_result result = BYRE_MEASURE_RESULT_INIT;
    struct byre_create_options target = BYRE_CREATE_OPTIONS_INIT;
    struct byre_error err;
    struct builder b;
    struct byre *img = open_disk(&b, 0);

    (void)state;
    /* Four of the eight clusters, in clusters as large as the source's. */
    target.cluster_size_bytes = BUILDER_CLUSTER;
    assert_int_equal(byre_measure(img, &target, &result, NULL), BYRE_OK);
    assert_int_equal(result.fully_allocated_bytes - result.required_bytes,
                     4 * BUILDER_CLUSTER);
    assert_int_equal(result.bitmaps_bytes, 0);
    /* An empty disk. */
    target.virtual_size_bytes = CLUSTERS * BUILDER_CLUSTER;
    assert_int_equal(byre_measure(NULL, &target, &result, NULL), BYRE_OK);
    assert_int_equal(result.fully_allocated_bytes - result.required_bytes,
                     8 * BUILDER_CLUSTER);
    assert_true(result.bitmaps_bytes == BYRE_NO_OFFSET);

    result.required_bytes = 7;
    target = (struct byre_create_options)BYRE_CREATE_OPTIONS_INIT;
    target.format = "qcow";
    assert_int_equal(byre_measure(img, &target, &result, &err),
                     BYRE_E_UNSUPPORTED);
    target.format = "raw";
    assert_int_equal(byre_measure(img, NULL, &result, NULL), BYRE_E_INVALID);
    assert_int_equal(byre_measure(img, &target, NULL, NULL), BYRE_E_INVALID);
    target.virtual_size_bytes = BYRE_NO_OFFSET;
    assert_int_equal(byre_measure(NULL, &target, &result, NULL),
                     BYRE_E_INVALID);
    target.format = "qcow2";
    target.virtual_size_bytes = UINT64_C(1) << 62;
    assert_int_equal(byre_measure(NULL, &target, &result, NULL),
                     BYRE_E_INVALID);
    assert_int_equal(result.required_bytes, 7);
    byre_close(img, NULL);
    builder_done(&b);
}

static void test_description_is_not_enough(void **state)
{
    struct byre_measure_result result = BYRE_MEASURE_RESULT_INIT;
    struct byre_create_options target = BYRE_CREATE_OPTIONS_INIT;
    struct byre_job *job = NULL;
    struct builder b;
    struct byre *img = open_disk(&b, BYRE_OPEN_METADATA_ONLY);

    (void)state;
    assert_int_equal(byre_measure(img, &target, &result, NULL), BYRE_E_STATE);
    assert_int_equal(byre_checksum(img, NULL, &job, NULL), BYRE_E_STATE);
    byre_close(img, NULL);
    builder_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_for_any_number_of_workers),
        cmocka_unit_test(test_unreadable_disk_has_none),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_measure),
        cmocka_unit_test(test_description_is_not_enough),
    };

    return cmocka_run_group_tests_name("checksum", tests, NULL, NULL);
}
