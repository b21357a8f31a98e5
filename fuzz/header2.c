/* SPDX-License-Identifier: MIT */
/* The QCOW2 header: decode, check, and the same bytes when encoded again. */
#include "format/header.h"
#include "fuzz.h"

/* The bytes that a decoded header stands for, `header_bytes` of them. */
static uint8_t *meant_bytes(const uint8_t *data, size_t size,
                            const struct qcow2_header *header)
{
    const size_t header_bytes = header->header_bytes;
    uint8_t *meant = fuzz_alloc(header_bytes);

    memset(meant, 0, header_bytes);
    memcpy(meant, data, size < header_bytes ? size : header_bytes);
    if (header->backing_offset == 0)
        memset(meant + 16, 0, 4); /* the length of a name that is not there */
    for (size_t i = 105; i < header_bytes && i < QCOW2_HEADER_BYTES; i++)
        meant[i] = 0; /* padding */
    return meant;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qcow2_header header;
    struct byre_error err;
    uint32_t version = 0;
    uint8_t *meant;
    uint8_t *encoded;
    int r;

    r = qcow2_header_decode(data, size, &header, &err);
    fuzz_check_result(r, &err);
    FUZZ_ASSERT(r < 0 || (qcow_probe(data, size, &version) &&
                          version == header.version));
    if (r < 0)
        return 0;

    fuzz_check_result(qcow2_header_check(&header, &err), &err);
    meant = meant_bytes(data, size, &header);
    encoded = fuzz_alloc(header.header_bytes);
    qcow2_header_encode(&header, meant + QCOW2_HEADER_BYTES, encoded);
    FUZZ_ASSERT(memcmp(encoded, meant, header.header_bytes) == 0);
    free(encoded);
    free(meant);
    return 0;
}
