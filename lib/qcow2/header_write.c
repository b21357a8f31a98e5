/* SPDX-License-Identifier: MIT */
#include "qcow2/header_write.h"

#include "base/bytes.h"
#include "base/error.h"

/* The fields of one call follow one another in the header (header.h). */
#define AT_SIZE           24
#define AT_REFCOUNT_TABLE 48
#define AT_SNAPSHOTS      60
#define AT_FEATURES       72

static int write_fields(struct qcow2 *qcow2, uint64_t offset,
                        const uint8_t *fields, size_t length,
                        struct byre_error *err)
{
    int r;

    r = store_write(qcow2->store, offset, fields, length, err);
    if (r < 0)
        error_prefix(err, "image header");
    return r;
}

int header_write_features(struct qcow2 *qcow2, uint64_t incompatible,
                          uint64_t compatible, uint64_t autoclear,
                          struct byre_error *err)
{
    struct qcow2_header *header = &qcow2->header;
    uint8_t fields[24];
    int r;

    if (header->version < 3) {
        if ((incompatible | compatible | autoclear) == 0)
            return BYRE_OK;
        return fail(err, BYRE_E_UNSUPPORTED,
                    "an image of version 2 has no feature bits; version 3 "
                    "has");
    }

    be64_put(fields, incompatible);
    be64_put(fields + 8, compatible);
    be64_put(fields + 16, autoclear);
    r = write_fields(qcow2, AT_FEATURES, fields, sizeof(fields), err);
    if (r < 0)
        return r;
    header->incompatible = incompatible;
    header->compatible = compatible;
    header->autoclear = autoclear;
    return BYRE_OK;
}

int header_write_disk(struct qcow2 *qcow2, uint64_t size_bytes,
                      uint64_t l1_offset, uint32_t l1_entries,
                      struct byre_error *err)
{
    struct qcow2_header *header = &qcow2->header;
    uint8_t fields[24];
    int r;

    be64_put(fields, size_bytes);
    be32_put(fields + 8, header->crypt_method); /* lies between, and stays */
    be32_put(fields + 12, l1_entries);
    be64_put(fields + 16, l1_offset);
    r = write_fields(qcow2, AT_SIZE, fields, sizeof(fields), err);
    if (r < 0)
        return r;
    header->size_bytes = size_bytes;
    header->l1_offset = l1_offset;
    header->l1_entries = l1_entries;
    return BYRE_OK;
}

int header_write_refcount_table(struct qcow2 *qcow2, uint64_t offset,
                                uint32_t clusters, struct byre_error *err)
{
    uint8_t fields[12];
    int r;

    be64_put(fields, offset);
    be32_put(fields + 8, clusters);
    r = write_fields(qcow2, AT_REFCOUNT_TABLE, fields, sizeof(fields), err);
    if (r < 0)
        return r;
    qcow2->header.refcount_table_offset = offset;
    qcow2->header.refcount_table_clusters = clusters;
    return BYRE_OK;
}

int header_write_snapshots(struct qcow2 *qcow2, uint64_t offset, uint32_t count,
                           struct byre_error *err)
{
    uint8_t fields[12];
    int r;

    be32_put(fields, count);
    be64_put(fields + 4, offset);
    r = write_fields(qcow2, AT_SNAPSHOTS, fields, sizeof(fields), err);
    if (r < 0)
        return r;
    qcow2->header.snapshot_count = count;
    qcow2->header.snapshots_offset = offset;
    return BYRE_OK;
}
