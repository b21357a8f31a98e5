/* SPDX-License-Identifier: MIT */
/*
 * Without this test counts of one of the seven widths could be read from the
 * wrong bits, a count could change its neighbours, and a table entry could
 * point where no block can be.
 */
#include "format_case.h"

#include "format/refcount.h"

/* ---- Counts ---- */

/* clang-format off */
static const struct {
    const char *name;
    uint32_t order;
    uint8_t block[32];
    uint64_t counts[16];
    size_t count;
} blocks[] = {
    { "1 bit: clusters 0 to 13 in use", 0, { 0xff, 0x3f },
      { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0 }, 16 },
    { "1 bit: lowest first", 0, { 0x01, 0x80 },
      { 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 }, 16 },
    { "2 bits", 1, { 0x55, 0xa9 }, { 1, 1, 1, 1, 1, 2, 2, 2 }, 8 },
    { "2 bits: all values", 1, { 0xe4 }, { 0, 1, 2, 3 }, 4 },
    { "4 bits", 2, { 0x21, 0xf0 }, { 1, 2, 0, 15 }, 4 },
    { "8 bits", 3, { 0x01, 0x00, 0xff, 0x80 }, { 1, 0, 255, 128 }, 4 },
    { "16 bits", 4, { 0x00, 0x01, 0x12, 0x34, 0xff, 0xff },
      { 1, 0x1234, 65535 }, 3 },
    { "32 bits", 5,
      { 0x00, 0x00, 0x00, 0x01, 0x12, 0x34, 0x56, 0x78, 0xff, 0xff, 0xff,
        0xff },
      { 1, 0x12345678, UINT32_MAX }, 3 },
    { "64 bits", 6,
      { 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x12, 0x34, 0x56, 0x78,
        0x9a, 0xbc, 0xde, 0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff },
      { 1, UINT64_C(0x123456789abcdef0), UINT64_MAX }, 3 },
};
/* clang-format on */

static void counts_of_all_widths_are_read_and_written(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        const uint32_t order = blocks[i].order;
        const size_t bytes = ((blocks[i].count << order) + 7) / 8;
        uint8_t *in = exact_copy(blocks[i].block, bytes);
        uint8_t *out = exact_copy(blocks[i].block, bytes);

        memset(out, 0, bytes);
        for (size_t k = 0; k < blocks[i].count; k++) {
            CHECK(blocks[i].name,
                  refcount_get(in, k, order) == blocks[i].counts[k]);
            refcount_put(out, k, order, blocks[i].counts[k]);
        }
        CHECK(blocks[i].name, memcmp(in, out, bytes) == 0);
        free(out);
        free(in);
    }
}

/* The last index of a block is inside it, and a put touches one count only. */
static void a_put_changes_one_count(void **state)
{
    (void)state;
    for (uint32_t order = 0; order <= 6; order++) {
        const uint64_t max = refcount_max(order);
        const uint64_t count = refcounts_per_block(9, order);
        uint8_t *block = malloc(512);

        assert_non_null(block);
        memset(block, 0xff, 512);
        for (uint64_t i = 0; i < count; i += count / 64) {
            refcount_put(block, i, order, 0);
            assert_int_equal(refcount_get(block, i, order), 0);
            if (i > 0)
                assert_int_equal(refcount_get(block, i - 1, order), max);
            assert_int_equal(refcount_get(block, (i + 1) % count, order), max);
            refcount_put(block, i, order, max);
            assert_true(all_bytes_are(block, 512, 0xff));
        }
        refcount_put(block, count - 1, order, max / 2);
        assert_int_equal(refcount_get(block, count - 1, order), max / 2);
        free(block);
    }
}

static void widths_follow_from_the_order(void **state)
{
    static const uint64_t max[] = {
        1, 3, 15, 255, 65535, UINT32_MAX, UINT64_MAX
    };

    (void)state;
    for (uint32_t order = 0; order <= 6; order++) {
        assert_int_equal(refcount_max(order), max[order]);
        for (uint32_t bits = 9; bits <= 21; bits++)
            assert_int_equal(refcounts_per_block(bits, order),
                             (UINT64_C(8) << bits) / (UINT64_C(1) << order));
    }
}

/* ---- Table entries ---- */

/* clang-format off */
static const struct {
    const char *name;
    uint64_t raw;
    uint32_t cluster_bits;
    bool want;
    uint64_t block_offset;
} entries[] = {
    { "none", 0, 16, true, 0 },
    { "a block", 0x20000, 16, true, 0x20000 },
    { "reserved bits are ignored", 0x201ff, 16, true, 0x20000 },
    { "reserved bits alone are none", 0x1ff, 9, true, 0 },
    { "unaligned", 0x20200, 16, false, 0 },
    { "aligned to small clusters", 0x20200, 9, true, 0x20200 },
    { "unaligned by half a cluster", 0x100000, 21, false, 0 },
    { "a block past 2^56", UINT64_C(1) << 60, 16, true, UINT64_C(1) << 60 },
    { "the last block a file can hold", UINT64_C(0x7ffffffffffe0000), 16,
      true, UINT64_C(0x7ffffffffffe0000) },
    { "one that ends at 2^63", UINT64_C(0x7fffffffffff0000), 16, false, 0 },
    { "2^63", UINT64_C(1) << 63, 16, false, 0 },
    { "all ones", UINT64_MAX, 9, false, 0 },
};
/* clang-format on */

static void table_entries_are_checked(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(entries); i++) {
        uint64_t block_offset = 77;
        const bool ok = refcount_table_entry_decode(
            entries[i].raw, entries[i].cluster_bits, &block_offset);

        CHECK(entries[i].name, ok == entries[i].want);
        CHECK(entries[i].name,
              block_offset == (ok ? entries[i].block_offset : 77));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_of_all_widths_are_read_and_written),
        cmocka_unit_test(a_put_changes_one_count),
        cmocka_unit_test(widths_follow_from_the_order),
        cmocka_unit_test(table_entries_are_checked),
    };

    return cmocka_run_group_tests_name("format_refcount", tests, NULL, NULL);
}
