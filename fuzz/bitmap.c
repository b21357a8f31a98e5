/* SPDX-License-Identifier: MIT */
/*
 * The bitmap directory and bitmap tables: entries lie within the directory and
 * encode to the same bytes.
 */
#include "format/bitmap.h"
#include "fuzz.h"

static void check_table_entry(uint64_t raw, uint32_t cluster_bits)
{
    enum bitmap_cluster_kind kind;
    uint64_t offset = 0;

    if (!qcow2_bitmap_table_entry_decode(raw, cluster_bits, &kind, &offset))
        return;
    FUZZ_ASSERT(offset % (UINT64_C(1) << cluster_bits) == 0);
    FUZZ_ASSERT((kind == BITMAP_CLUSTER_DATA) == (offset != 0));
    FUZZ_ASSERT(qcow2_bitmap_table_entry_encode(kind, offset) == raw);
}

/* The padding behind a name is written as zeroes, whatever it was. */
static void check_round_trip(const struct qcow2_bitmap_entry *entry,
                             const uint8_t *data, size_t entry_bytes)
{
    const size_t meant_bytes = 24 + (size_t)entry->name_bytes;
    uint8_t *encoded = fuzz_alloc(entry_bytes);

    FUZZ_ASSERT(qcow2_bitmap_entry_bytes(entry) == entry_bytes);
    qcow2_bitmap_entry_encode(entry, encoded);
    FUZZ_ASSERT(memcmp(encoded, data, meant_bytes) == 0);
    for (size_t i = meant_bytes; i < entry_bytes; i++)
        FUZZ_ASSERT(encoded[i] == 0);
    free(encoded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = { data, size };
    const uint64_t raw = fuzz_take(&input, 8);
    const uint64_t disk_size_bytes = fuzz_take(&input, 8);
    const uint32_t cluster_bits = fuzz_take_range(&input, 9, 21);
    struct byre_error err;

    check_table_entry(raw, cluster_bits);
    while (input.left > 0) {
        struct qcow2_bitmap_entry entry;
        size_t entry_bytes = 0;
        const int r = qcow2_bitmap_entry_decode(input.data, input.left,
                                                cluster_bits, disk_size_bytes,
                                                &entry, &entry_bytes, &err);

        fuzz_check_result(r, &err);
        if (r < 0)
            break;
        FUZZ_ASSERT(entry_bytes > 0 && entry_bytes <= input.left);
        check_round_trip(&entry, input.data, entry_bytes);
        input.data += entry_bytes;
        input.left -= entry_bytes;
    }
    return 0;
}
