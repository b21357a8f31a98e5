/* SPDX-License-Identifier: MIT */
/*
 * Without this test a guest cluster could be looked for in the wrong place: the
 * fields of an entry move with the cluster size, the version, subclusters and
 * an external data file, and each combination is a row here.
 */
#include "format_case.h"

#include "format/entry.h"

#define COPIED     QCOW2_ENTRY_COPIED
#define COMPRESSED QCOW2_ENTRY_COMPRESSED

static const struct l2_format v3 = { .version = 3, .cluster_bits = 16 };
static const struct l2_format v2 = { .version = 2, .cluster_bits = 16 };
static const struct l2_format small = { .version = 3, .cluster_bits = 9 };
static const struct l2_format large = { .version = 3, .cluster_bits = 21 };
static const struct l2_format data_file = { .version = 3,
                                            .cluster_bits = 16,
                                            .data_file = true };
static const struct l2_format extended = { .version = 3,
                                           .cluster_bits = 16,
                                           .extended = true };
static const struct l2_format extended_data_file = {
    .version = 3, .cluster_bits = 16, .extended = true, .data_file = true
};

/* ---- L1 ---- */

/* clang-format off */
static const struct {
    const char *name;
    uint64_t raw;
    uint32_t cluster_bits;
    bool want;
    uint64_t l2_offset;
} l1_cases[] = {
    { "none", 0, 16, true, 0 },
    { "none, copied", COPIED, 16, true, 0 },
    { "a table", COPIED | 0x40000, 16, true, 0x40000 },
    { "a shared table", 0x40000, 16, true, 0x40000 },
    { "reserved bits are ignored", UINT64_C(0x7f000000000401ff), 16, true,
      0x40000 },
    { "unaligned", COPIED | 0x40200, 16, false, 0 },
    { "aligned to small clusters", COPIED | 0x40200, 9, true, 0x40200 },
    { "unaligned to large clusters", COPIED | 0x100000, 21, false, 0 },
    { "largest", UINT64_C(0x00ffffffffff0000), 16, true,
      UINT64_C(0x00ffffffffff0000) },
    { "all ones", UINT64_MAX, 16, false, 0 },
};
/* clang-format on */

static void l1_entries_decode(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(l1_cases); i++) {
        uint64_t l2_offset = 77;
        const bool ok = l1_entry_decode(l1_cases[i].raw,
                                        l1_cases[i].cluster_bits, &l2_offset);

        CHECK(l1_cases[i].name, ok == l1_cases[i].want);
        CHECK(l1_cases[i].name, l2_offset == (ok ? l1_cases[i].l2_offset : 77));
    }
    assert_int_equal(l1_entry_encode(0x40000, true), COPIED | 0x40000);
    assert_int_equal(l1_entry_encode(0x40000, false), 0x40000);
    assert_int_equal(l1_entry_encode(0, false), 0);
}

/* ---- L2: what an entry means ---- */

/* `back` is what encoding gives again, with COPIED as it was. */
/* clang-format off */
static const struct {
    const char *name;
    const struct l2_format *format;
    uint64_t raw;
    struct l2_entry want;
    uint64_t back;
} l2_cases[] = {
    { "unallocated", &v3, 0, { L2_UNALLOCATED, 0, 0 }, 0 },
    { "unallocated, copied", &v3, COPIED, { L2_UNALLOCATED, 0, 0 }, 0 },
    { "unallocated in v2", &v2, 0, { L2_UNALLOCATED, 0, 0 }, 0 },
    { "reserved bits alone", &v3, UINT64_C(0x3f000000000001fe),
      { L2_UNALLOCATED, 0, 0 }, 0 },
    { "data", &v3, COPIED | 0x50000, { L2_DATA, 0x50000, 0 },
      COPIED | 0x50000 },
    { "shared data", &v3, 0x50000, { L2_DATA, 0x50000, 0 }, 0x50000 },
    { "data in v2", &v2, COPIED | 0x50000, { L2_DATA, 0x50000, 0 },
      COPIED | 0x50000 },
    { "data with reserved bits", &v3, UINT64_C(0x3f000000000501fe),
      { L2_DATA, 0x50000, 0 }, 0x50000 },
    { "zero", &v3, 1, { L2_ZERO, 0, 0 }, 1 },
    { "zero, copied", &v3, COPIED | 1, { L2_ZERO, 0, 0 }, 1 },
    { "zero with a cluster", &v3, COPIED | 0x50001,
      { L2_ZERO_ALLOC, 0x50000, 0 }, COPIED | 0x50001 },
    { "zero with a shared cluster", &v3, 0x50001,
      { L2_ZERO_ALLOC, 0x50000, 0 }, 0x50001 },
    { "zero in v2", &v2, 1, { L2_INVALID, 0, 0 }, 0 },
    { "zero with a cluster in v2", &v2, COPIED | 0x50001,
      { L2_INVALID, 0, 0 }, 0 },

    { "unaligned", &v3, COPIED | 0x50200, { L2_INVALID, 0, 0 }, 0 },
    { "unaligned zero", &v3, COPIED | 0x50201, { L2_INVALID, 0, 0 }, 0 },
    { "aligned to 512", &small, COPIED | 0x50200, { L2_DATA, 0x50200, 0 },
      COPIED | 0x50200 },
    { "unaligned to 2 MiB", &large, COPIED | 0x100000,
      { L2_INVALID, 0, 0 }, 0 },
    { "aligned to 2 MiB", &large, COPIED | 0x200000,
      { L2_DATA, 0x200000, 0 }, COPIED | 0x200000 },
    { "largest offset", &v3, UINT64_C(0x00ffffffffff0000),
      { L2_DATA, UINT64_C(0x00ffffffffff0000), 0 },
      UINT64_C(0x00ffffffffff0000) },

    { "data file: cluster 0", &data_file, COPIED, { L2_DATA, 0, 0 }, COPIED },
    { "data file: unallocated", &data_file, 0, { L2_UNALLOCATED, 0, 0 }, 0 },
    { "data file: cluster 1", &data_file, COPIED | 0x10000,
      { L2_DATA, 0x10000, 0 }, COPIED | 0x10000 },
    { "data file: zero", &data_file, 1, { L2_ZERO, 0, 0 }, 1 },
    { "data file: zero with a cluster", &data_file, COPIED | 0x10001,
      { L2_ZERO_ALLOC, 0x10000, 0 }, COPIED | 0x10001 },
    { "data file: compressed", &data_file, UINT64_C(0x5100000000050000),
      { L2_INVALID, 0, 0 }, 0 },

    { "compressed", &v3, UINT64_C(0x5100000000050000),
      { L2_COMPRESSED, 0x50000, 35328 }, UINT64_C(0x5100000000050000) },
    { "compressed in v2", &v2, UINT64_C(0x5100000000050000),
      { L2_COMPRESSED, 0x50000, 35328 }, UINT64_C(0x5100000000050000) },
    { "compressed, copied", &v3, COPIED | UINT64_C(0x5100000000050000),
      { L2_COMPRESSED, 0x50000, 35328 }, UINT64_C(0x5100000000050000) },
    { "compressed, odd offset and no more sectors", &v3,
      COMPRESSED | 0x500fd, { L2_COMPRESSED, 0x500fd, 512 - 0xfd },
      COMPRESSED | 0x500fd },
    { "compressed, last byte of a sector", &v3, COMPRESSED | 0x501ff,
      { L2_COMPRESSED, 0x501ff, 1 }, COMPRESSED | 0x501ff },
    { "compressed, the longest", &v3, UINT64_C(0x7fc0000000000000),
      { L2_COMPRESSED, 0, 131072 }, UINT64_C(0x7fc0000000000000) },
    { "compressed, all ones", &v3, UINT64_MAX,
      { L2_COMPRESSED, UINT64_C(0x003fffffffffffff), 130561 },
      UINT64_MAX & ~COPIED },

    { "extended: unallocated", &extended, 0, { L2_UNALLOCATED, 0, 0 }, 0 },
    { "extended: data", &extended, COPIED | 0x50000, { L2_DATA, 0x50000, 0 },
      COPIED | 0x50000 },
    { "extended: bit 0 is ignored", &extended, COPIED | 0x50001,
      { L2_DATA, 0x50000, 0 }, COPIED | 0x50000 },
    { "extended: bit 0 alone is ignored", &extended, 1,
      { L2_UNALLOCATED, 0, 0 }, 0 },
    { "extended: unaligned", &extended, COPIED | 0x50200,
      { L2_INVALID, 0, 0 }, 0 },
    { "extended: compressed", &extended, UINT64_C(0x5100000000050000),
      { L2_COMPRESSED, 0x50000, 35328 }, UINT64_C(0x5100000000050000) },
    { "extended, data file: cluster 0", &extended_data_file, COPIED,
      { L2_DATA, 0, 0 }, COPIED },
};
/* clang-format on */

static void l2_entries_decode_and_encode(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(l2_cases); i++) {
        const struct l2_entry got =
            l2_entry_decode(l2_cases[i].raw, l2_cases[i].format);

        CHECK(l2_cases[i].name, got.kind == l2_cases[i].want.kind);
        CHECK(l2_cases[i].name,
              got.host_offset == l2_cases[i].want.host_offset);
        CHECK(l2_cases[i].name,
              got.compressed_bytes == l2_cases[i].want.compressed_bytes);
        if (got.kind == L2_INVALID)
            continue;
        CHECK(l2_cases[i].name,
              l2_entry_encode(&got, (l2_cases[i].raw & COPIED) != 0,
                              l2_cases[i].format) == l2_cases[i].back);
    }
}

/* With subclusters the bitmap says what is zero, never the descriptor. */
static void extended_descriptors_have_no_zero_bit(void **state)
{
    const struct l2_entry zero = { .kind = L2_ZERO };
    const struct l2_entry zero_alloc = { .kind = L2_ZERO_ALLOC,
                                         .host_offset = 0x50000 };

    (void)state;
    assert_int_equal(l2_entry_encode(&zero, false, &extended), 0);
    assert_int_equal(l2_entry_encode(&zero_alloc, true, &extended),
                     COPIED | 0x50000);
}

/* ---- Compressed descriptors of all cluster sizes ---- */

/* clang-format off */
static const struct {
    uint32_t cluster_bits;
    uint32_t x;           /* bits of the offset field */
    uint32_t sector_bits; /* bits of the sector count */
} descriptors[] = {
    { 9, 61, 1 }, { 10, 60, 2 }, { 11, 59, 3 }, { 12, 58, 4 }, { 13, 57, 5 },
    { 14, 56, 6 }, { 15, 55, 7 }, { 16, 54, 8 }, { 17, 53, 9 }, { 18, 52, 10 },
    { 19, 51, 11 }, { 20, 50, 12 }, { 21, 49, 13 },
};
/* clang-format on */

static void check_descriptor(uint32_t cluster_bits, uint32_t x, uint64_t offset,
                             uint64_t more_sectors)
{
    const struct l2_format format = { .version = 3,
                                      .cluster_bits = cluster_bits };
    const uint64_t raw = COMPRESSED | more_sectors << x | offset;
    const struct l2_entry got = l2_entry_decode(raw, &format);

    assert_int_equal(got.kind, L2_COMPRESSED);
    assert_int_equal(got.host_offset, offset);
    assert_int_equal(got.compressed_bytes,
                     (more_sectors + 1) * 512 - offset % 512);
    assert_int_equal(l2_entry_encode(&got, true, &format), raw);
}

static void descriptors_of_all_cluster_sizes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(descriptors); i++) {
        const uint32_t bits = descriptors[i].cluster_bits;
        const uint32_t x = descriptors[i].x;
        const uint64_t most = (UINT64_C(1) << descriptors[i].sector_bits) - 1;
        const uint64_t end = UINT64_C(1) << (x < 56 ? x : 56);
        const uint64_t offsets[] = {
            0, 1, 511, 512, 0x50000, 0x12345, end - 1
        };

        assert_int_equal(x + descriptors[i].sector_bits, 62);
        for (size_t k = 0; k < COUNT_OF(offsets); k++) {
            check_descriptor(bits, x, offsets[k], 0);
            check_descriptor(bits, x, offsets[k], most / 2);
            check_descriptor(bits, x, offsets[k], most);
        }
    }
}

/* A stream of any length takes the sectors it touches, and no more. */
static void stream_lengths_round_to_sectors(void **state)
{
    /* clang-format off */
    static const struct {
        uint64_t offset;
        uint32_t bytes;
        uint64_t want;
    } cases[] = {
        { 0x50000, 1, COMPRESSED | 0x50000 },
        { 0x50000, 512, COMPRESSED | 0x50000 },
        { 0x50000, 513, COMPRESSED | UINT64_C(1) << 54 | 0x50000 },
        { 0x501ff, 1, COMPRESSED | 0x501ff },
        { 0x501ff, 2, COMPRESSED | UINT64_C(1) << 54 | 0x501ff },
        { 0x50001, 65535, COMPRESSED | UINT64_C(127) << 54 | 0x50001 },
        { 0x50002, 65535, COMPRESSED | UINT64_C(128) << 54 | 0x50002 },
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct l2_entry entry = { L2_COMPRESSED, cases[i].offset,
                                        cases[i].bytes };

        assert_int_equal(l2_entry_encode(&entry, false, &v3), cases[i].want);
        assert_true(l2_entry_decode(cases[i].want, &v3).compressed_bytes >=
                    cases[i].bytes);
    }
}

/* Bits 56 to x - 1 of small clusters are not part of an offset. */
static void offsets_past_56_bits_are_invalid(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(descriptors); i++) {
        const struct l2_format format = { .version = 3,
                                          .cluster_bits =
                                              descriptors[i].cluster_bits };

        for (uint32_t bit = 56; bit < descriptors[i].x; bit++) {
            const uint64_t raw = COMPRESSED | UINT64_C(1) << bit | 0x50000;

            assert_int_equal(l2_entry_decode(raw, &format).kind, L2_INVALID);
        }
    }
}

/* ---- Subclusters ---- */

#define ALLOCATED(mask) ((uint64_t)(mask))
#define ZERO(mask)      ((uint64_t)(mask) << 32)

/* clang-format off */
static const struct {
    const char *name;
    const struct l2_format *format;
    uint64_t raw;
    uint64_t bitmap;
    uint32_t index;
    enum l2_kind want;
    uint32_t count;
} subcluster_cases[] = {
    /* The six legal states. */
    { "normal", &extended, COPIED | 0x50000, ALLOCATED(0xffffffff), 0,
      L2_DATA, 32 },
    { "zero, space reserved", &extended, COPIED | 0x50000, ZERO(0xffffffff), 0,
      L2_ZERO_ALLOC, 32 },
    { "unallocated, space reserved", &extended, COPIED | 0x50000, 0, 0,
      L2_RESERVED, 32 },
    { "zero plain", &extended, 0, ZERO(0xffffffff), 0, L2_ZERO, 32 },
    { "unallocated", &extended, 0, 0, 0, L2_UNALLOCATED, 32 },
    { "compressed", &extended, UINT64_C(0x5100000000050000), 0, 0,
      L2_COMPRESSED, 32 },

    /* The three illegal ones, wherever in the entry they are. */
    { "allocated and zero", &extended, COPIED | 0x50000,
      ALLOCATED(1) | ZERO(1), 0, L2_INVALID, 32 },
    { "allocated and zero elsewhere", &extended, COPIED | 0x50000,
      ALLOCATED(0x80000001) | ZERO(0x80000000), 0, L2_INVALID, 32 },
    { "allocated without a cluster", &extended, 0, ALLOCATED(1), 0,
      L2_INVALID, 32 },
    { "allocated without a cluster elsewhere", &extended, 0,
      ALLOCATED(1) | ZERO(0xfffffffe), 31, L2_INVALID, 1 },
    { "both without a cluster", &extended, 0, ALLOCATED(4) | ZERO(4), 5,
      L2_INVALID, 27 },

    { "unaligned descriptor", &extended, COPIED | 0x50200,
      ALLOCATED(0xffffffff), 3, L2_INVALID, 29 },
    { "compressed ignores the bitmap", &extended,
      UINT64_C(0x5100000000050000), UINT64_MAX, 7, L2_COMPRESSED, 25 },
    { "bit 0 of a descriptor is ignored", &extended, COPIED | 0x50001,
      ALLOCATED(0xffffffff), 0, L2_DATA, 32 },
    { "bit 0 alone is ignored", &extended, 1, 0, 0, L2_UNALLOCATED, 32 },
    { "data file: cluster 0", &extended_data_file, COPIED,
      ALLOCATED(0xffffffff), 0, L2_DATA, 32 },
    { "data file: unallocated", &extended_data_file, 0, 0, 0,
      L2_UNALLOCATED, 32 },
    { "data file: compressed", &extended_data_file,
      UINT64_C(0x5100000000050000), 0, 2, L2_INVALID, 30 },

    /* Runs end where the state changes. */
    { "data run", &extended, 0x50000, ALLOCATED(0x0000000f), 0, L2_DATA, 4 },
    { "inside a data run", &extended, 0x50000, ALLOCATED(0x0000000f), 2,
      L2_DATA, 2 },
    { "behind a data run", &extended, 0x50000, ALLOCATED(0x0000000f), 4,
      L2_RESERVED, 28 },
    { "data then zero", &extended, 0x50000,
      ALLOCATED(0x000000f0) | ZERO(0x00000f00), 4, L2_DATA, 4 },
    { "zero behind data", &extended, 0x50000,
      ALLOCATED(0x000000f0) | ZERO(0x00000f00), 8, L2_ZERO_ALLOC, 4 },
    { "reserved before data", &extended, 0x50000,
      ALLOCATED(0x000000f0) | ZERO(0x00000f00), 1, L2_RESERVED, 3 },
    { "reserved before zero", &extended, 0x50000,
      ALLOCATED(0x00f00000) | ZERO(0x000000f0), 0, L2_RESERVED, 4 },
    { "unallocated before zero", &extended, 0, ZERO(0x80000000), 0,
      L2_UNALLOCATED, 31 },
    { "zero in the last one", &extended, 0, ZERO(0x80000000), 31, L2_ZERO, 1 },
    { "data in the last one", &extended, 0x50000, ALLOCATED(0x80000000), 31,
      L2_DATA, 1 },
    { "unallocated in the last one", &extended, 0, ZERO(0x7fffffff), 31,
      L2_UNALLOCATED, 1 },
};
/* clang-format on */

static void subclusters_have_their_states(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(subcluster_cases); i++) {
        uint32_t count = 0;
        const enum l2_kind kind = l2_subcluster_kind(
            subcluster_cases[i].raw, subcluster_cases[i].bitmap,
            subcluster_cases[i].index, subcluster_cases[i].format, &count);

        CHECK(subcluster_cases[i].name, kind == subcluster_cases[i].want);
        CHECK(subcluster_cases[i].name, count == subcluster_cases[i].count);
    }
}

/* What one subcluster is, straight from the table of states. */
static enum l2_kind state_of(bool has_cluster, uint64_t bitmap, uint32_t index)
{
    const bool allocated = (bitmap >> index & 1) != 0;
    const bool zero = (bitmap >> (32 + index) & 1) != 0;

    if (allocated)
        return has_cluster && !zero ? L2_DATA : L2_INVALID;
    if (zero)
        return has_cluster ? L2_ZERO_ALLOC : L2_ZERO;
    return has_cluster ? L2_RESERVED : L2_UNALLOCATED;
}

/* Runs over random bitmaps against a count bit by bit. */
static void runs_agree_with_single_subclusters(void **state)
{
    uint64_t seed = 3;

    (void)state;
    for (int i = 0; i < 2000; i++) {
        const bool has_cluster = next_number(&seed) % 2;
        const uint64_t raw = has_cluster ? 0x50000 : 0;
        const uint32_t zero =
            (uint32_t)(next_number(&seed) & next_number(&seed));
        const uint32_t allocated =
            has_cluster ? (uint32_t)next_number(&seed) & ~zero : 0;
        const uint64_t bitmap = ZERO(zero) | allocated;
        uint32_t count;

        for (uint32_t index = 0; index < 32; index++) {
            const enum l2_kind want = state_of(has_cluster, bitmap, index);
            uint32_t end = index;

            while (end < 32 && state_of(has_cluster, bitmap, end) == want)
                end++;
            assert_int_equal(
                l2_subcluster_kind(raw, bitmap, index, &extended, &count),
                want);
            assert_int_equal(count, end - index);
        }
    }
}

/* ---- Garbage ---- */

static void check_any_entry(uint64_t raw, uint64_t bitmap,
                            const struct l2_format *format)
{
    const struct l2_entry first = l2_entry_decode(raw, format);
    uint32_t count = 0;
    struct l2_entry again;

    l2_subcluster_kind(raw, bitmap, (uint32_t)(bitmap % 32), format, &count);
    assert_in_range(count, 1, 32 - bitmap % 32);
    if (first.kind == L2_INVALID)
        return;

    again = l2_entry_decode(
        l2_entry_encode(&first, (raw & COPIED) != 0, format), format);
    assert_int_equal(again.kind, first.kind);
    assert_int_equal(again.host_offset, first.host_offset);
    assert_int_equal(again.compressed_bytes, first.compressed_bytes);
    assert_true(first.host_offset >> 56 == 0);
    assert_true(first.compressed_bytes <= 2U << format->cluster_bits);
}

static void any_entry_is_survived(void **state)
{
    uint64_t seed = 4;

    (void)state;
    for (int i = 0; i < 50000; i++) {
        const uint64_t choice = next_number(&seed);
        const struct l2_format format = {
            .version = choice % 2 ? 3 : 2,
            .cluster_bits = 9 + (uint32_t)(choice / 2 % 13),
            .extended = choice >> 40 & 1,
            .data_file = choice >> 41 & 1,
        };

        check_any_entry(next_number(&seed) & next_number(&seed),
                        next_number(&seed), &format);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(l1_entries_decode),
        cmocka_unit_test(l2_entries_decode_and_encode),
        cmocka_unit_test(extended_descriptors_have_no_zero_bit),
        cmocka_unit_test(descriptors_of_all_cluster_sizes),
        cmocka_unit_test(stream_lengths_round_to_sectors),
        cmocka_unit_test(offsets_past_56_bits_are_invalid),
        cmocka_unit_test(subclusters_have_their_states),
        cmocka_unit_test(runs_agree_with_single_subclusters),
        cmocka_unit_test(any_entry_is_survived),
    };

    return cmocka_run_group_tests_name("format_entry", tests, NULL, NULL);
}
