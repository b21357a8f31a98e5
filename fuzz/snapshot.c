/* SPDX-License-Identifier: MIT */
/*
 * The snapshot table: entries lie within it, steps go forward, and an entry
 * encodes to one of the same meaning and length.
 */
#include "format/snapshot.h"
#include "fuzz.h"

static void check_same(const struct qcow2_snapshot *a,
                       const struct qcow2_snapshot *b)
{
    FUZZ_ASSERT(a->l1_offset == b->l1_offset);
    FUZZ_ASSERT(a->l1_entries == b->l1_entries);
    FUZZ_ASSERT(a->date_sec == b->date_sec);
    FUZZ_ASSERT(a->date_nsec == b->date_nsec);
    FUZZ_ASSERT(a->vm_clock_nsec == b->vm_clock_nsec);
    FUZZ_ASSERT(a->vm_state_bytes == b->vm_state_bytes);
    FUZZ_ASSERT(a->size_bytes == b->size_bytes);
    FUZZ_ASSERT(a->icount == b->icount);
    FUZZ_ASSERT(a->extra_bytes == b->extra_bytes);
    FUZZ_ASSERT(a->unknown_extra_bytes == b->unknown_extra_bytes);
    FUZZ_ASSERT(a->unknown_extra_bytes == 0 ||
                memcmp(a->unknown_extra, b->unknown_extra,
                       a->unknown_extra_bytes) == 0);
    FUZZ_ASSERT(a->id_bytes == b->id_bytes);
    FUZZ_ASSERT(memcmp(a->id, b->id, a->id_bytes) == 0);
    FUZZ_ASSERT(a->name_bytes == b->name_bytes);
    FUZZ_ASSERT(memcmp(a->name, b->name, a->name_bytes) == 0);
}

/* The last entry may lack its padding: `left` bytes are there. */
static void check_round_trip(const struct qcow2_snapshot *snapshot,
                             uint64_t disk_size_bytes, size_t entry_bytes,
                             size_t left)
{
    const size_t bytes = qcow2_snapshot_bytes(snapshot);
    uint8_t *encoded = fuzz_alloc(bytes);
    struct qcow2_snapshot again;
    struct byre_error err;
    size_t again_bytes = 0;

    FUZZ_ASSERT(entry_bytes == (bytes < left ? bytes : left));
    qcow2_snapshot_encode(snapshot, encoded);
    FUZZ_ASSERT(qcow2_snapshot_decode(encoded, bytes, disk_size_bytes, &again,
                                      &again_bytes, &err) == BYRE_OK);
    FUZZ_ASSERT(again_bytes == bytes);
    check_same(snapshot, &again);
    free(encoded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = { data, size };
    struct qcow2_header header = { .version = 3 };
    const uint64_t disk_size_bytes = fuzz_take(&input, 8);
    struct byre_error err;

    header.cluster_bits = fuzz_take_range(&input, 9, 21);
    header.size_bytes = disk_size_bytes;
    while (input.left > 0) {
        struct qcow2_snapshot snapshot;
        size_t entry_bytes = 0;
        const int r =
            qcow2_snapshot_decode(input.data, input.left, disk_size_bytes,
                                  &snapshot, &entry_bytes, &err);

        fuzz_check_result(r, &err);
        if (r < 0)
            break;
        FUZZ_ASSERT(entry_bytes >= QCOW2_SNAPSHOT_FIXED_BYTES);
        fuzz_check_result(qcow2_snapshot_check(&snapshot, &header, &err), &err);
        check_round_trip(&snapshot, disk_size_bytes, entry_bytes, input.left);
        input.data += entry_bytes;
        input.left -= entry_bytes;
    }
    return 0;
}
