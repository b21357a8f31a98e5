/* SPDX-License-Identifier: MIT */
#include "base/sized.h"

#include <string.h>

#include "base/error.h"

static size_t size_of(const void *sized)
{
    size_t size;

    memcpy(&size, sized, sizeof(size));
    return size;
}

int sized_copy_in(const void *from, size_t least_bytes, void *ret,
                  size_t known_bytes, const char *name, struct byre_error *err)
{
    const size_t size = size_of(from);
    const uint8_t *bytes = from;

    if (size < least_bytes)
        return fail(err, BYRE_E_INVALID,
                    "%s has size %zu, less than the %zu it needs", name, size,
                    least_bytes);

    for (size_t i = known_bytes; i < size; i++) {
        if (bytes[i] != 0)
            return fail(err, BYRE_E_INVALID,
                        "%s sets a member at byte %zu, newer than this library",
                        name, i);
    }

    memset(ret, 0, known_bytes);
    memcpy(ret, from, size < known_bytes ? size : known_bytes);
    memcpy(ret, &known_bytes, sizeof(known_bytes));
    return BYRE_OK;
}

int sized_copy_out(const void *from, size_t known_bytes, void *ret,
                   const char *name, struct byre_error *err)
{
    const size_t size = size_of(ret);

    if (size < sizeof(size))
        return fail(err, BYRE_E_INVALID,
                    "%s has size %zu; set it from its _INIT macro", name, size);

    if (size > known_bytes)
        memset((uint8_t *)ret + known_bytes, 0, size - known_bytes);
    memcpy((uint8_t *)ret + sizeof(size), (const uint8_t *)from + sizeof(size),
           (size < known_bytes ? size : known_bytes) - sizeof(size));
    return BYRE_OK;
}
