/* SPDX-License-Identifier: MIT */
#include "crypto/random.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"

void random_source_init(struct random_source *source, uint64_t seed)
{
    *source = (struct random_source){ .seed = seed, .state = seed };
}

/* The system gives up to 256 bytes whole; more may come in pieces. */
static int fill_from_system(uint8_t *buf, size_t length, struct byre_error *err)
{
    size_t done = 0;

    while (done < length) {
        const ssize_t got = getrandom(buf + done, length - done, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_errno(err, errno,
                              "the system gives no random bytes (%zu of %zu)",
                              done, length);
        done += (size_t)got;
    }
    return BYRE_OK;
}

/*
 * splitmix64 (Steele, Lea, Flood 2014): even, fast, and known to whoever knows
 * eight bytes of it.
 */
static uint64_t next_from_seed(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void fill_from_seed(uint64_t *state, uint8_t *buf, size_t length)
{
    for (size_t done = 0; done < length; done += sizeof(uint64_t)) {
        uint8_t bytes[sizeof(uint64_t)];

        le64_put(bytes, next_from_seed(state));
        memcpy(buf + done, bytes, min_u64(sizeof(bytes), length - done));
    }
}

int random_source_fill(struct random_source *source, void *buf, size_t length,
                       struct byre_error *err)
{
    if (source->seed == 0)
        return fill_from_system(buf, length, err);
    fill_from_seed(&source->state, buf, length);
    return BYRE_OK;
}
