/* SPDX-License-Identifier: MIT */
/*
 * How many PBKDF2 iterations a new header asks for: as many as this machine
 * does in the time that somebody with the passphrase is willing to wait.
 *
 * Processor time is measured, not that of the clock on the wall, so that a busy
 * machine does not make weak keys.
 */
#include <errno.h>
#include <time.h>

#include "base/arith.h"
#include "base/error.h"
#include "crypto/hash.h"
#include "crypto/luks1.h"
#include "crypto/luks1_parts.h"

#define DEFAULT_TIME_MSEC 2000
#define MIN_ITERATIONS    1000 /* spec: LUKS1 and RFC 2898, 4.2 */
#define DIGEST_TIME_SHARE 8    /* the digest's time is an eighth, as QEMU's */
#define NSEC_PER_SEC      UINT64_C(1000000000)
#define MSEC_PER_SEC      UINT64_C(1000)
#define NSEC_PER_MSEC     (NSEC_PER_SEC / MSEC_PER_SEC)

/*
 * A round is long enough where a clock that only counts ticks of 10 ms errs by
 * a tenth.  A clock that stands still ends the doubling at the limit, which
 * no machine gets through in that time.  Who wants to wait for so little that
 * it hardly guards anything gets a shorter round.
 */
#define ROUND_NSEC           (NSEC_PER_SEC / 10)
#define ROUND_SHARE          10
#define FIRST_ROUND          UINT32_C(8192)
#define MAX_ROUND_ITERATIONS (UINT32_C(1) << 27)

static int thread_time(uint64_t *ret_nsec, struct byre_error *err)
{
    struct timespec time;

    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) != 0)
        return fail_errno(err, errno, "the processor time cannot be measured");
    *ret_nsec = (uint64_t)time.tv_sec * NSEC_PER_SEC + (uint64_t)time.tv_nsec;
    return BYRE_OK;
}

/* The time that one derivation of a slot's key takes. */
static int time_round(const struct luks1_header *header, uint32_t iterations,
                      uint64_t *ret_nsec, struct byre_error *err)
{
    static const uint8_t salt[LUKS1_SALT_BYTES];
    uint8_t unused_key[LUKS1_MAX_KEY_BYTES];
    uint64_t begin, end;
    int r;

    r = thread_time(&begin, err);
    if (r < 0)
        return r;
    r = hash_pbkdf2(header->hash, "", 0, salt, sizeof(salt), iterations,
                    unused_key, header->key_bytes, err);
    if (r < 0)
        return r;
    r = thread_time(&end, err);
    if (r < 0)
        return r;

    *ret_nsec = end > begin ? end - begin : 0;
    return BYRE_OK;
}

/* Each round is twice the one before, which has warmed the caches for it. */
static int measure_rate(const struct luks1_header *header, uint64_t time_msec,
                        uint64_t *ret_per_second, struct byre_error *err)
{
    const uint64_t enough = time_msec < ROUND_NSEC / ROUND_SHARE / NSEC_PER_MSEC
                                ? time_msec * NSEC_PER_MSEC * ROUND_SHARE
                                : ROUND_NSEC;
    uint32_t iterations = FIRST_ROUND;
    uint64_t nsec;
    int r;

    for (;;) {
        r = time_round(header, iterations, &nsec, err);
        if (r < 0)
            return r;
        if (nsec >= enough)
            break;
        if (iterations >= MAX_ROUND_ITERATIONS)
            return fail(err, BYRE_E_UNSUPPORTED,
                        "the processor time cannot be measured: %u PBKDF2 "
                        "iterations took %llu ns; name the iterations instead",
                        iterations, (unsigned long long)nsec);
        iterations *= 2;
    }

    *ret_per_second = iterations * NSEC_PER_SEC / nsec;
    return BYRE_OK;
}

static int measure_slot(const struct luks1_header *header, uint64_t time_msec,
                        uint32_t *ret_iterations, struct byre_error *err)
{
    uint64_t per_second = 0;
    uint64_t wanted;
    int r;

    r = measure_rate(header, time_msec, &per_second, err);
    if (r < 0)
        return r;

    if (mul_overflow(per_second, time_msec, &wanted) ||
        wanted / MSEC_PER_SEC > UINT32_MAX)
        return fail(err, BYRE_E_INVALID,
                    "iteration time of %llu ms is more than the %u PBKDF2 "
                    "iterations that LUKS can store, which this machine does "
                    "in %llu ms",
                    (unsigned long long)time_msec, UINT32_MAX,
                    (unsigned long long)(UINT32_MAX * MSEC_PER_SEC /
                                         max_u64(per_second, 1)));
    *ret_iterations = (uint32_t)max_u64(wanted / MSEC_PER_SEC, MIN_ITERATIONS);
    return BYRE_OK;
}

/*
 * PBKDF2 takes its iterations once for each digest that its output is long:
 * this tells an iteration for the slot's key from one for the shorter digest.
 */
static int digest_iterations(const struct luks1_header *header, uint32_t slot,
                             uint32_t *ret_iterations, struct byre_error *err)
{
    size_t hash_bytes;
    uint64_t slot_work, digest_blocks;
    int r;

    r = hash_digest_bytes(header->hash, &hash_bytes, err);
    if (r < 0)
        return r;

    slot_work = slot * div_round_up(header->key_bytes, hash_bytes);
    digest_blocks = div_round_up(LUKS1_DIGEST_BYTES, hash_bytes);
    *ret_iterations = (uint32_t)max_u64(
        slot_work / digest_blocks / DIGEST_TIME_SHARE, MIN_ITERATIONS);
    return BYRE_OK;
}

int luks1_iterations_choose(const struct luks1_choice *choice,
                            const struct luks1_header *header,
                            struct luks1_iterations *ret_iterations,
                            struct byre_error *err)
{
    const uint64_t time_msec = choice->iter_time_msec != 0
                                   ? choice->iter_time_msec
                                   : DEFAULT_TIME_MSEC;
    struct luks1_iterations iterations = { .slot = choice->iterations };
    int r = BYRE_OK;

    if (iterations.slot == 0)
        r = measure_slot(header, time_msec, &iterations.slot, err);
    if (r < 0)
        return r;
    r = digest_iterations(header, iterations.slot, &iterations.digest, err);
    if (r < 0)
        return r;

    *ret_iterations = iterations;
    return BYRE_OK;
}
