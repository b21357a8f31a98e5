/* SPDX-License-Identifier: MIT */
/* Refcounts of every width: what is put is got, and nothing else changes. */
#include "format/refcount.h"
#include "fuzz.h"

#define CLUSTER_BITS 9
#define BLOCK_BYTES  (1 << CLUSTER_BITS)

static void check_table_entry(uint64_t raw, uint32_t cluster_bits)
{
    uint64_t offset = 0;

    if (!refcount_table_entry_decode(raw, cluster_bits, &offset))
        return;
    FUZZ_ASSERT(offset % (UINT64_C(1) << cluster_bits) == 0);
    FUZZ_ASSERT(offset == (raw & QCOW2_REFCOUNT_TABLE_OFFSET_MASK));
}

static void check_put(uint8_t *block, uint32_t order, uint64_t index,
                      uint64_t value)
{
    const uint64_t count = refcounts_per_block(CLUSTER_BITS, order);
    uint64_t before[BLOCK_BYTES * 8];

    for (uint64_t i = 0; i < count; i++)
        before[i] = refcount_get(block, i, order);
    refcount_put(block, index, order, value);
    for (uint64_t i = 0; i < count; i++)
        FUZZ_ASSERT(refcount_get(block, i, order) ==
                    (i == index ? value : before[i]));
    refcount_put(block, index, order, before[index]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = { data, size };
    const uint32_t order = fuzz_take_range(&input, 0, 6);
    const uint32_t cluster_bits = fuzz_take_range(&input, 9, 21);
    const uint64_t raw = fuzz_take(&input, 8);
    const uint64_t value = fuzz_take(&input, 8) & refcount_max(order);
    const uint64_t index =
        fuzz_take(&input, 2) % refcounts_per_block(CLUSTER_BITS, order);
    uint8_t *block = fuzz_alloc(BLOCK_BYTES);
    uint8_t before[BLOCK_BYTES] = { 0 };

    check_table_entry(raw, cluster_bits);
    memcpy(before, input.data,
           input.left < BLOCK_BYTES ? input.left : BLOCK_BYTES);
    memcpy(block, before, BLOCK_BYTES);
    check_put(block, order, index, value);
    FUZZ_ASSERT(memcmp(block, before, BLOCK_BYTES) == 0);
    free(block);
    return 0;
}
