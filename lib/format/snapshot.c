/* SPDX-License-Identifier: MIT */
#include "format/snapshot.h"

#include <inttypes.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "store/store.h"

/* What of an id is shown in a message. */
#define MAX_SHOWN_BYTES 127

/* The extra data as far as it is known: it counts once it is whole. */
#define EXTRA_WITH_VM_STATE 8
#define EXTRA_WITH_SIZE     16
#define EXTRA_WITH_ICOUNT   24

static uint64_t unpadded_bytes(uint32_t extra_bytes, uint16_t id_bytes,
                               uint16_t name_bytes)
{
    return (uint64_t)QCOW2_SNAPSHOT_FIXED_BYTES + extra_bytes + id_bytes +
           name_bytes;
}

/* The fixed part; names and extra data are not looked at. */
static struct qcow2_snapshot read_fields(const uint8_t *raw,
                                         uint64_t disk_size_bytes)
{
    return (struct qcow2_snapshot){
        .l1_offset = be64_get(raw),
        .l1_entries = be32_get(raw + 8),
        .id_bytes = be16_get(raw + 12),
        .name_bytes = be16_get(raw + 14),
        .date_sec = be32_get(raw + 16),
        .date_nsec = be32_get(raw + 20),
        .vm_clock_nsec = be64_get(raw + 24),
        .vm_state_bytes = be32_get(raw + 32),
        .extra_bytes = be32_get(raw + 36),
        .size_bytes = disk_size_bytes,
        .icount = BYRE_NO_ICOUNT,
    };
}

/* spec: qcow2 "Snapshots": each field is there if the size reaches its end. */
static void read_extra(struct qcow2_snapshot *snapshot, const uint8_t *extra)
{
    if (snapshot->extra_bytes >= EXTRA_WITH_VM_STATE)
        snapshot->vm_state_bytes = be64_get(extra);
    if (snapshot->extra_bytes >= EXTRA_WITH_SIZE)
        snapshot->size_bytes = be64_get(extra + 8);
    if (snapshot->extra_bytes >= EXTRA_WITH_ICOUNT)
        snapshot->icount = be64_get(extra + 16);
    if (snapshot->extra_bytes > QCOW2_SNAPSHOT_EXTRA_BYTES) {
        snapshot->unknown_extra = extra + QCOW2_SNAPSHOT_EXTRA_BYTES;
        snapshot->unknown_extra_bytes =
            snapshot->extra_bytes - QCOW2_SNAPSHOT_EXTRA_BYTES;
    }
}

static int fail_cut_off(uint64_t needed_bytes, size_t length,
                        struct byre_error *err)
{
    return fail(err, BYRE_E_CORRUPT,
                "snapshot table entry needs %" PRIu64
                " bytes, more than the %zu left in the table",
                needed_bytes, length);
}

static int decode(const uint8_t *buf, size_t length, uint64_t disk_size_bytes,
                  uint32_t max_extra_bytes, struct qcow2_snapshot *ret_snapshot,
                  size_t *ret_entry_bytes, struct byre_error *err)
{
    struct qcow2_snapshot snapshot;
    uint64_t needed_bytes;

    if (length < QCOW2_SNAPSHOT_FIXED_BYTES)
        return fail_cut_off(QCOW2_SNAPSHOT_FIXED_BYTES, length, err);

    snapshot = read_fields(buf, disk_size_bytes);
    if (snapshot.extra_bytes > max_extra_bytes)
        return fail(err, BYRE_E_CORRUPT,
                    "snapshot table entry has %" PRIu32
                    " bytes of extra data, more than the limit of %" PRIu32,
                    snapshot.extra_bytes, max_extra_bytes);

    needed_bytes = unpadded_bytes(snapshot.extra_bytes, snapshot.id_bytes,
                                  snapshot.name_bytes);
    if (needed_bytes > length)
        return fail_cut_off(needed_bytes, length, err);

    read_extra(&snapshot, buf + QCOW2_SNAPSHOT_FIXED_BYTES);
    snapshot.id =
        (const char *)buf + QCOW2_SNAPSHOT_FIXED_BYTES + snapshot.extra_bytes;
    snapshot.name = snapshot.id + snapshot.id_bytes;
    *ret_snapshot = snapshot;
    *ret_entry_bytes = (size_t)min_u64(align_up(needed_bytes, 8), length);
    return BYRE_OK;
}

int qcow2_snapshot_decode(const uint8_t *buf, size_t length,
                          uint64_t disk_size_bytes,
                          struct qcow2_snapshot *ret_snapshot,
                          size_t *ret_entry_bytes, struct byre_error *err)
{
    return decode(buf, length, disk_size_bytes, QCOW2_MAX_SNAPSHOT_EXTRA_BYTES,
                  ret_snapshot, ret_entry_bytes, err);
}

int qcow2_snapshot_decode_any(const uint8_t *buf, size_t length,
                              uint64_t disk_size_bytes,
                              struct qcow2_snapshot *ret_snapshot,
                              size_t *ret_entry_bytes, struct byre_error *err)
{
    return decode(buf, length, disk_size_bytes, QCOW2_MOST_SNAPSHOT_EXTRA_BYTES,
                  ret_snapshot, ret_entry_bytes, err);
}

static int check_tables(const struct qcow2_snapshot *snapshot,
                        const struct qcow2_header *header,
                        struct byre_error *err)
{
    const uint64_t needed =
        qcow2_l1_entries_needed(header, snapshot->size_bytes);

    if (snapshot->size_bytes > STORE_MAX_OFFSET)
        return fail(err, BYRE_E_CORRUPT,
                    "disk size is %" PRIu64
                    " bytes, more than the limit of %" PRIu64,
                    snapshot->size_bytes, STORE_MAX_OFFSET);
    if (needed > QCOW2_MAX_L1_ENTRIES)
        return fail(err, BYRE_E_CORRUPT,
                    "disk of %" PRIu64 " bytes needs %" PRIu64
                    " L1 entries, more than the limit of %" PRIu32,
                    snapshot->size_bytes, needed, QCOW2_MAX_L1_ENTRIES);
    if (snapshot->l1_entries > QCOW2_MAX_L1_ENTRIES)
        return fail(err, BYRE_E_CORRUPT,
                    "L1 table has %" PRIu32
                    " entries, more than the limit of %" PRIu32,
                    snapshot->l1_entries, QCOW2_MAX_L1_ENTRIES);
    return qcow2_table_check("L1 table", BYRE_NO_OFFSET, snapshot->l1_offset,
                             (uint64_t)snapshot->l1_entries * 8,
                             header->cluster_bits, err);
}

int qcow2_snapshot_check(const struct qcow2_snapshot *snapshot,
                         const struct qcow2_header *header,
                         struct byre_error *err)
{
    int r;

    r = check_tables(snapshot, header, err);
    if (r < 0)
        error_prefix(err, "snapshot %.*s",
                     (int)min_u64(snapshot->id_bytes, MAX_SHOWN_BYTES),
                     snapshot->id);
    return r;
}

size_t qcow2_snapshot_bytes(const struct qcow2_snapshot *snapshot)
{
    return (size_t)align_up(unpadded_bytes(snapshot->extra_bytes,
                                           snapshot->id_bytes,
                                           snapshot->name_bytes),
                            8);
}

static void write_extra(const struct qcow2_snapshot *snapshot, uint8_t *extra)
{
    if (snapshot->extra_bytes >= EXTRA_WITH_VM_STATE)
        be64_put(extra, snapshot->vm_state_bytes);
    if (snapshot->extra_bytes >= EXTRA_WITH_SIZE)
        be64_put(extra + 8, snapshot->size_bytes);
    if (snapshot->extra_bytes >= EXTRA_WITH_ICOUNT)
        be64_put(extra + 16, snapshot->icount);
    if (snapshot->unknown_extra_bytes > 0)
        memcpy(extra + QCOW2_SNAPSHOT_EXTRA_BYTES, snapshot->unknown_extra,
               snapshot->unknown_extra_bytes);
}

void qcow2_snapshot_encode(const struct qcow2_snapshot *snapshot, uint8_t *buf)
{
    uint8_t *const extra = buf + QCOW2_SNAPSHOT_FIXED_BYTES;
    uint8_t *const id = extra + snapshot->extra_bytes;

    memset(buf, 0, qcow2_snapshot_bytes(snapshot));
    be64_put(buf, snapshot->l1_offset);
    be32_put(buf + 8, snapshot->l1_entries);
    be16_put(buf + 12, snapshot->id_bytes);
    be16_put(buf + 14, snapshot->name_bytes);
    be32_put(buf + 16, snapshot->date_sec);
    be32_put(buf + 20, snapshot->date_nsec);
    be64_put(buf + 24, snapshot->vm_clock_nsec);
    /* spec: qcow2 "Snapshots": 0 where the 32-bit field is too narrow. */
    if (snapshot->vm_state_bytes <= UINT32_MAX)
        be32_put(buf + 32, (uint32_t)snapshot->vm_state_bytes);
    be32_put(buf + 36, snapshot->extra_bytes);
    write_extra(snapshot, extra);
    if (snapshot->id_bytes > 0)
        memcpy(id, snapshot->id, snapshot->id_bytes);
    if (snapshot->name_bytes > 0)
        memcpy(id + snapshot->id_bytes, snapshot->name, snapshot->name_bytes);
}
