/* SPDX-License-Identifier: MIT */
/* QCOW version 1: the header and the entries of its tables. */
#include "format/qcow1.h"
#include "fuzz.h"

#define ENTRY_BYTES 8

static void check_entry(uint64_t raw, uint32_t cluster_bits)
{
    const struct l2_entry entry = qcow1_l2_entry_decode(raw, cluster_bits);

    switch (entry.kind) {
    case L2_UNALLOCATED:
    case L2_DATA:
    case L2_COMPRESSED:
        FUZZ_ASSERT(qcow1_l2_entry_encode(&entry, cluster_bits) == raw);
        break;
    case L2_INVALID:
        break;
    case L2_ZERO:
    case L2_ZERO_ALLOC:
    case L2_RESERVED:
        fuzz_fail(__FILE__, __LINE__, "a kind that version 1 has");
    }
    FUZZ_ASSERT((entry.kind == L2_COMPRESSED) == (entry.compressed_bytes != 0));
    FUZZ_ASSERT(entry.compressed_bytes < UINT32_C(1) << cluster_bits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = { data, size };
    uint8_t encoded[QCOW1_HEADER_BYTES];
    uint8_t meant[QCOW1_HEADER_BYTES] = { 0 };
    struct qcow1_header header;
    struct byre_error err;
    int r;

    r = qcow1_header_decode(data, size, &header, &err);
    fuzz_check_result(r, &err);
    if (r < 0)
        return 0;

    memcpy(meant, data, size < sizeof(meant) ? size : sizeof(meant));
    memset(meant + 34, 0, 2); /* padding */
    if (header.backing_offset == 0)
        memset(meant + 16, 0, 4); /* the length of a name that is not there */
    qcow1_header_encode(&header, encoded);
    FUZZ_ASSERT(memcmp(encoded, meant, sizeof(meant)) == 0);
    FUZZ_ASSERT(qcow1_l1_entries(&header) <= QCOW1_MAX_L1_ENTRIES);

    input.data += size < sizeof(meant) ? size : sizeof(meant);
    input.left -= size < sizeof(meant) ? size : sizeof(meant);
    while (input.left >= ENTRY_BYTES)
        check_entry(fuzz_take(&input, ENTRY_BYTES), header.cluster_bits);
    return 0;
}
