/* SPDX-License-Identifier: MIT */
/*
 * L1 and L2 entries, standard, compressed and extended, in every format: what
 * is decoded keeps its limits and encodes to an entry of the same meaning.
 */
#include "format/entry.h"
#include "fuzz.h"

static void check_l1(uint64_t raw, const struct l2_format *format)
{
    uint64_t offset = 0;

    if (!l1_entry_decode(raw, format->cluster_bits, &offset))
        return;
    FUZZ_ASSERT(offset % (UINT64_C(1) << format->cluster_bits) == 0);
    FUZZ_ASSERT(l1_entry_encode(offset, raw >> 63) ==
                (raw & ~QCOW2_L1_RESERVED_MASK));
}

static void check_limits(const struct l2_entry *entry,
                         const struct l2_format *format)
{
    const uint64_t cluster_bytes = UINT64_C(1) << format->cluster_bits;

    FUZZ_ASSERT(entry->host_offset < UINT64_C(1) << 56);
    switch (entry->kind) {
    case L2_UNALLOCATED:
    case L2_ZERO:
    case L2_INVALID:
        FUZZ_ASSERT(entry->host_offset == 0);
        break;
    case L2_ZERO_ALLOC:
    case L2_RESERVED:
    case L2_DATA:
        FUZZ_ASSERT(entry->host_offset % cluster_bytes == 0);
        break;
    case L2_COMPRESSED:
        FUZZ_ASSERT(entry->compressed_bytes > 0);
        FUZZ_ASSERT(entry->compressed_bytes <= 2 * cluster_bytes);
        FUZZ_ASSERT(!format->data_file);
        return;
    }
    FUZZ_ASSERT(entry->compressed_bytes == 0);
}

static void check_l2(uint64_t raw, const struct l2_format *format)
{
    const struct l2_entry entry = l2_entry_decode(raw, format);
    struct l2_entry again;
    uint64_t encoded;

    check_limits(&entry, format);
    FUZZ_ASSERT(entry.kind != L2_RESERVED);
    if (entry.kind == L2_INVALID)
        return;

    encoded = l2_entry_encode(&entry, raw >> 63, format);
    again = l2_entry_decode(encoded, format);
    FUZZ_ASSERT(again.kind == entry.kind);
    FUZZ_ASSERT(again.host_offset == entry.host_offset);
    FUZZ_ASSERT(again.compressed_bytes == entry.compressed_bytes);
    FUZZ_ASSERT(l2_entry_encode(&again, raw >> 63, format) == encoded);
}

/* What one subcluster is, straight from the specification's table. */
static enum l2_kind expected_kind(uint64_t raw, uint64_t bitmap, uint32_t index,
                                  const struct l2_format *format)
{
    const struct l2_entry entry = l2_entry_decode(raw, format);
    const bool has_cluster = entry.kind == L2_DATA;
    const uint64_t allocated = bitmap & UINT32_MAX;
    const uint64_t zero = bitmap >> 32;

    if (entry.kind == L2_COMPRESSED || entry.kind == L2_INVALID)
        return entry.kind;
    if ((allocated & zero) != 0 || (allocated != 0 && !has_cluster))
        return L2_INVALID;
    if ((allocated >> index & 1) != 0)
        return L2_DATA;
    if ((zero >> index & 1) != 0)
        return has_cluster ? L2_ZERO_ALLOC : L2_ZERO;
    return has_cluster ? L2_RESERVED : L2_UNALLOCATED;
}

static void check_subclusters(uint64_t raw, uint64_t bitmap,
                              const struct l2_format *format)
{
    uint32_t index = 0;

    while (index < QCOW2_SUBCLUSTERS) {
        uint32_t count = 0;
        const enum l2_kind kind =
            l2_subcluster_kind(raw, bitmap, index, format, &count);

        FUZZ_ASSERT(count >= 1 && count <= QCOW2_SUBCLUSTERS - index);
        for (uint32_t i = index; i < index + count; i++)
            FUZZ_ASSERT(expected_kind(raw, bitmap, i, format) == kind);
        index += count;
        FUZZ_ASSERT(index == QCOW2_SUBCLUSTERS ||
                    expected_kind(raw, bitmap, index, format) != kind);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = { data, size };
    const uint64_t bits = fuzz_take(&input, 1);
    struct l2_format format = {
        .version = (bits & 1) != 0 ? 2 : 3,
        .extended = (bits & 3) == 2,
        .data_file = (bits & 5) == 4,
    };

    format.cluster_bits = fuzz_take_range(&input, format.extended ? 14 : 9, 21);
    while (input.left > 0) {
        const uint64_t raw = fuzz_take(&input, 8);

        check_l1(raw, &format);
        check_l2(raw, &format);
        if (format.extended)
            check_subclusters(raw, fuzz_take(&input, 8), &format);
    }
    return 0;
}
