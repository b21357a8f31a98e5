/* SPDX-License-Identifier: MIT */
/*
 * Without this test, a new image could count its clusters wrongly for one
 * cluster size and refcount width in a hundred, and only there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#undef fail /* the macro of cmocka; base/error.h has a function */

#include "base/arith.h"
#include "qcow2/layout.h"

#define GIB (UINT64_C(1) << 30)

static uint64_t end_of(const struct layout *layout,
                       const struct layout_part *part)
{
    return part->offset + layout_bytes(layout, part);
}

/* Each part follows the one before it; one that is empty is nowhere. */
static void check_order(const struct layout *layout)
{
    const struct layout_part *const parts[] = {
        &layout->refcount_table,
        &layout->refcount_blocks,
        &layout->l1,
        &layout->luks,
        &layout->l2,
        &layout->data,
    };
    uint64_t end = UINT64_C(1) << layout->cluster_bits;

    for (size_t i = 0; i < 6; i++) {
        if (parts[i]->clusters == 0) {
            assert_int_equal(parts[i]->offset, 0);
            continue;
        }
        assert_int_equal(parts[i]->offset, end);
        end = end_of(layout, parts[i]);
    }
    assert_int_equal(end, layout->clusters << layout->cluster_bits);
}

/* Enough of everything, and nothing that is not needed. */
static void check_amounts(const struct layout_choice *choice,
                          const struct layout *layout)
{
    const uint64_t cluster = UINT64_C(1) << choice->cluster_bits;
    const uint64_t refcount_bits = UINT64_C(1) << choice->refcount_order;
    const uint64_t l2_bytes =
        cluster / (choice->extended_l2 ? 16 : 8) * cluster;
    const uint64_t guest = div_round_up(choice->size_bytes, cluster);
    const uint64_t tables = div_round_up(choice->size_bytes, l2_bytes);

    assert_int_equal(
        layout->refcount_blocks.clusters,
        div_round_up(layout->clusters, cluster * 8 / refcount_bits));
    assert_int_equal(
        layout->refcount_table.clusters,
        div_round_up(layout->refcount_blocks.clusters * 8, cluster));
    assert_int_equal(layout->l1_entries, tables);
    assert_int_equal(layout->l1.clusters, div_round_up(tables * 8, cluster));
    assert_int_equal(layout->luks.clusters,
                     div_round_up(choice->luks_bytes, cluster));
    assert_int_equal(layout->l2.clusters, choice->tables ? tables : 0);
    assert_int_equal(layout->data.clusters, choice->clusters ? guest : 0);
    assert_int_equal(layout->guest_clusters, guest);
}

static unsigned check_choice(const struct layout_choice *choice)
{
    struct byre_error err = { .message = "" };
    struct layout layout;
    int r;

    r = layout_make(choice, &layout, &err);
    if (r < 0) {
        /* What does not fit says so, and why. */
        assert_int_equal(r, BYRE_E_INVALID);
        assert_string_not_equal(err.message, "");
        return 0;
    }
    check_order(&layout);
    check_amounts(choice, &layout);
    assert_in_range(layout_bytes(&layout, &layout.refcount_table), 1,
                    QCOW2_MAX_REFCOUNT_TABLE_BYTES);
    return 1;
}

static unsigned check_sizes(struct layout_choice choice)
{
    const uint64_t cluster = UINT64_C(1) << choice.cluster_bits;
    const uint64_t most =
        layout_max_disk_bytes(choice.cluster_bits, choice.extended_l2);
    const uint64_t sizes[] = {
        0,         512,       cluster - 512,        cluster, cluster + 512, GIB,
        GIB + 512, 100 * GIB, most & ~UINT64_C(511)
    };
    unsigned made = 0;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        choice.size_bytes = sizes[i];
        made += check_choice(&choice);
    }
    return made;
}

static void test_all_choices(void **state)
{
    unsigned made = 0;

    (void)state;
    for (uint32_t bits = 9; bits <= 21; bits++) {
        for (uint32_t order = 0; order <= 6; order++) {
            for (unsigned way = 0; way < 12; way++) {
                const struct layout_choice choice = {
                    .cluster_bits = bits,
                    .refcount_order = order,
                    .extended_l2 = way % 2 != 0 && bits >= 14,
                    .luks_bytes = way / 2 % 2 != 0 ? 2068480 : 0,
                    .tables = way / 4 != 0,
                    .clusters = way / 4 == 2,
                };

                made += check_sizes(choice);
            }
        }
    }
    /* Few are too large: 13 * 7 * 12 * 9 are tried. */
    assert_in_range(made, 9000, 13 * 7 * 12 * 9);
}

/*
 * Sizes at which the next cluster needs one more block, or the block one more
 * cluster of table: the smallest clusters and the widest counts, one by one.
 */
static void test_every_size_at_the_edge(void **state)
{
    (void)state;
    for (uint64_t clusters = 0; clusters < 9000; clusters++) {
        const struct layout_choice choice = {
            .size_bytes = clusters * 512,
            .cluster_bits = 9,
            .refcount_order = 6,
            .tables = true,
            .clusters = true,
        };

        assert_int_equal(check_choice(&choice), 1);
    }
}

static void test_limits(void **state)
{
    static const struct {
        uint32_t cluster_bits;
        bool extended;
        uint64_t want;
    } cases[] = {
        { 9, false, 128 * GIB },
        { 16, false, 2048 * 1024 * GIB },
        { 16, true, 1024 * 1024 * GIB },
        { 20, false, UINT64_C(512) * 1024 * 1024 * GIB },
        { 21, false, UINT64_C(2) * 1024 * 1024 * 1024 * GIB },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct layout_choice choice = {
            .size_bytes = cases[i].want,
            .cluster_bits = cases[i].cluster_bits,
            .refcount_order = 4,
            .extended_l2 = cases[i].extended,
        };
        struct layout layout;

        assert_int_equal(
            layout_max_disk_bytes(choice.cluster_bits, choice.extended_l2),
            cases[i].want);
        assert_int_equal(layout_make(&choice, &layout, NULL), BYRE_OK);
        assert_int_equal(layout.l1_entries, QCOW2_MAX_L1_ENTRIES);
        choice.size_bytes += 512;
        assert_int_equal(layout_make(&choice, &layout, NULL), BYRE_E_INVALID);
    }
}

/* Entries have 56 bits of offset, and the refcount table has its limit. */
static void test_files_that_are_too_large(void **state)
{
    struct layout_choice choice = { .size_bytes = UINT64_C(1) << 57,
                                    .cluster_bits = 21,
                                    .refcount_order = 0,
                                    .tables = true };
    struct byre_error err;
    struct layout layout;

    (void)state;
    assert_int_equal(layout_make(&choice, &layout, &err), BYRE_E_INVALID);
    assert_non_null(strstr(err.message, "72057594037927936"));
    choice.size_bytes = UINT64_C(1) << 56;
    assert_int_equal(layout_make(&choice, &layout, &err), BYRE_OK);
    choice.clusters = true;
    assert_int_equal(layout_make(&choice, &layout, &err), BYRE_E_INVALID);

    choice = (struct layout_choice){ .size_bytes = 100 * GIB,
                                     .cluster_bits = 9,
                                     .refcount_order = 6,
                                     .tables = true,
                                     .clusters = true };
    assert_int_equal(layout_make(&choice, &layout, &err), BYRE_E_INVALID);
    assert_non_null(strstr(err.message, "8388608"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_choices),
        cmocka_unit_test(test_every_size_at_the_edge),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_files_that_are_too_large),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
