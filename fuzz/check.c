/* SPDX-License-Identifier: MIT */
/*
 * Checking and repairing hostile images: any bytes are opened to be checked,
 * in a store that watches them, and repaired; then they are looked at again.
 *
 * What a repair says it has left is what a check finds then, repairs come to an
 * end, an image that only was looked at has not changed, and what can be read
 * before a repair still reads the same after it.
 *
 *     byte 0       how (HOW_*)
 *     byte 1       as many times eight bytes are passed over: inputs are those
 *                  of open_write.c, which has operations there
 *     bytes 2, 3   which call that changes the store fails; 0: none
 *     the rest     the image
 */
#include "checked_store.h"

#define HOW_LEAKS     0x01u /* repair leaks only */
#define HOW_LOOK      0x02u /* repair nothing */
#define HOW_CANCEL    0x04u
#define HOW_MEMORY    0x08u /* as little memory as can be */
#define READ_BYTES    ((size_t)64 << 10)
#define CLUSTER_BYTES 512

struct counted {
    struct byre_check_result result;
    uint64_t found;
    struct byre_job *cancel; /* at the first finding; NULL: go on */
};

static void count_finding(void *user, const struct byre_finding *finding)
{
    struct counted *counted = user;

    FUZZ_ASSERT(finding->text[0] != '\0' && finding->object[0] != '\0');
    FUZZ_ASSERT(finding->kind <= BYRE_FINDING_ERROR && finding->repaired <= 1);
    counted->found++;
    if (counted->cancel != NULL)
        byre_job_cancel(counted->cancel);
}

/* Whether the check came to its end. */
static bool check(struct byre_store *store, unsigned how, uint32_t repair,
                  struct counted *ret)
{
    struct byre_open_options options = BYRE_OPEN_OPTIONS_INIT;
    struct byre_check_options check_options = BYRE_CHECK_OPTIONS_INIT;
    struct byre_error err = { .message = "" };
    struct byre_job *job = NULL;
    struct byre *img = NULL;
    int r;

    *ret = (struct counted){ .result = BYRE_CHECK_RESULT_INIT };
    options.flags = BYRE_OPEN_CHECK | (repair != 0 ? BYRE_OPEN_WRITE : 0);
    check_options.flags = repair;
    check_options.memory_bytes = (how & HOW_MEMORY) != 0 ? 1 : 0;
    check_options.found = count_finding;
    check_options.user = ret;
    r = byre_open_store(store, NULL, &options, &img, &err);
    if (r == BYRE_OK)
        r = byre_check(img, &check_options, &job, &err);
    if (r == BYRE_OK) {
        ret->cancel = (how & HOW_CANCEL) != 0 ? job : NULL;
        r = byre_job_run(job, &err);
    }
    fuzz_check_result(r, &err);
    if (r == BYRE_OK)
        FUZZ_ASSERT(byre_check_get_result(job, &ret->result, NULL) == BYRE_OK);
    byre_job_free(job);
    byre_close(img, NULL);
    return r == BYRE_OK;
}

/* The start of the disk, sector by sector; what cannot be read is left out. */
static size_t read_disk(struct byre_store *store, uint8_t *buf, uint8_t *known)
{
    struct byre_open_options options = BYRE_OPEN_OPTIONS_INIT;
    struct byre_info info = BYRE_INFO_INIT;
    struct byre *img = NULL;
    size_t bytes;

    options.flags = BYRE_OPEN_NO_BACKING;
    if (byre_open_store(store, NULL, &options, &img, NULL) < 0)
        return 0;
    FUZZ_ASSERT(byre_get_info(img, &info, NULL) == BYRE_OK);
    bytes = info.virtual_size_bytes < READ_BYTES
                ? (size_t)info.virtual_size_bytes
                : READ_BYTES;
    for (size_t i = 0; i < bytes; i += CLUSTER_BYTES)
        known[i / CLUSTER_BYTES] =
            byre_read(img, i, buf + i, CLUSTER_BYTES, NULL) == BYRE_OK;
    byre_close(img, NULL);
    return bytes;
}

/* What could be read reads the same. */
static void compare_disk(struct byre_store *store, const uint8_t *before,
                         const uint8_t *known, size_t bytes)
{
    uint8_t *after = fuzz_alloc(READ_BYTES);
    uint8_t *still = fuzz_alloc(READ_BYTES / CLUSTER_BYTES);

    FUZZ_ASSERT(read_disk(store, after, still) >= bytes);
    for (size_t i = 0; i < bytes; i += CLUSTER_BYTES) {
        if (!known[i / CLUSTER_BYTES])
            continue;
        FUZZ_ASSERT(still[i / CLUSTER_BYTES]);
        FUZZ_ASSERT(memcmp(before + i, after + i, CLUSTER_BYTES) == 0);
    }
    free(still);
    free(after);
}

static uint32_t repair_flags(unsigned how)
{
    if ((how & HOW_LOOK) != 0)
        return 0;
    return (how & HOW_LEAKS) != 0 ? BYRE_CHECK_REPAIR_LEAKS
                                  : BYRE_CHECK_REPAIR_ALL;
}

static void run(struct checked_store *checked, struct byre_store *store,
                unsigned how)
{
    const unsigned quiet = how & HOW_MEMORY;
    const uint32_t repair = repair_flags(how);
    struct counted first, second, third, fourth;
    bool ended, failed;

    ended = check(store, how, repair, &first);
    FUZZ_ASSERT(repair != 0 || checked->changes == 0);
    failed = checked->failed;
    checked_store_heal(checked);
    if (!check(store, quiet, 0, &second))
        return;
    if (ended && !failed) {
        FUZZ_ASSERT(second.result.corruptions == first.result.corruptions);
        FUZZ_ASSERT(second.result.leaks == first.result.leaks);
        FUZZ_ASSERT(second.result.check_errors == first.result.check_errors);
    }
    /* Repairs come to an end: the third changes nothing any more. */
    if (repair == 0 || !check(store, quiet, repair, &third) ||
        !check(store, quiet, repair, &fourth))
        return;
    FUZZ_ASSERT(fourth.result.corruptions == third.result.corruptions);
    FUZZ_ASSERT(fourth.result.leaks == third.result.leaks);
    FUZZ_ASSERT(fourth.result.check_errors == third.result.check_errors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = { .data = data, .left = size };
    const unsigned how = (unsigned)fuzz_take(&input, 1);
    const size_t skipped = (size_t)fuzz_take(&input, 1) % 33 * 8;
    const uint32_t failing = (uint32_t)fuzz_take(&input, 2);
    uint8_t *before = fuzz_alloc(READ_BYTES);
    uint8_t *known = fuzz_alloc(READ_BYTES / CLUSTER_BYTES);
    struct checked_store checked;
    struct byre_store *store;
    size_t bytes;

    input.data += skipped < input.left ? skipped : input.left;
    input.left -= skipped < input.left ? skipped : input.left;
    checked_store_init(&checked, input.data, input.left);
    store = checked_store_new(&checked, true);
    bytes = read_disk(store, before, known);
    checked.failing_change = failing;
    run(&checked, store, how);
    checked_store_heal(&checked);
    compare_disk(store, before, known, bytes);
    byre_store_unref(store);
    checked_store_done(&checked);
    free(known);
    free(before);
    return 0;
}
