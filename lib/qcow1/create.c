/* SPDX-License-Identifier: MIT */
#include "qcow1/create.h"

#include <inttypes.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "format/qcow1.h"

/* A table of 4 KiB clusters that fills one, and the other way around. */
#define CLUSTER_BITS         12
#define L2_BITS              9
#define OVERLAY_CLUSTER_BITS 9
#define OVERLAY_L2_BITS      12

#define L1_ALIGNMENT   8
#define L1_ENTRY_BYTES 8

int qcow1_create_check(const struct byre_create_options *opts,
                       struct byre_error *err)
{
    if (opts->preallocation != BYRE_PREALLOCATION_OFF)
        return fail(err, BYRE_E_INVALID,
                    "preallocation is not supported for file format 'qcow'");
    if (opts->encryption == BYRE_ENCRYPTION_LUKS)
        return fail(err, BYRE_E_INVALID,
                    "LUKS is not supported for file format 'qcow'; use qcow2");
    return BYRE_OK;
}

static struct qcow1_header header_of(const struct byre_create_options *opts)
{
    const bool overlay = opts->backing_name != NULL;
    struct qcow1_header header = {
        .size_bytes = opts->virtual_size_bytes,
        .cluster_bits = overlay ? OVERLAY_CLUSTER_BITS : CLUSTER_BITS,
        .l2_bits = overlay ? OVERLAY_L2_BITS : L2_BITS,
        .crypt_method = opts->encryption == BYRE_ENCRYPTION_AES ? 1 : 0,
        .l1_offset = QCOW1_HEADER_BYTES,
    };

    if (overlay) {
        header.backing_offset = QCOW1_HEADER_BYTES;
        header.backing_bytes = (uint32_t)strlen(opts->backing_name);
        header.l1_offset =
            align_up(QCOW1_HEADER_BYTES + header.backing_bytes, L1_ALIGNMENT);
    }
    return header;
}

int qcow1_create_check_size(const struct byre_create_options *opts,
                            struct byre_error *err)
{
    const struct qcow1_header header = header_of(opts);
    const uint64_t most = QCOW1_MAX_L1_ENTRIES
                          << (header.cluster_bits + header.l2_bits);

    if (header.size_bytes == 0)
        return fail(err, BYRE_E_INVALID,
                    "Image size is too small, cannot be zero length");
    if (header.size_bytes > most)
        return fail(err, BYRE_E_INVALID,
                    "The image size is too large for file format 'qcow': "
                    "%" PRIu64 " bytes are more than the limit of %" PRIu64,
                    header.size_bytes, most);
    return BYRE_OK;
}

static uint64_t l1_end(const struct qcow1_header *header)
{
    return header->l1_offset +
           align_up(qcow1_l1_entries(header) * L1_ENTRY_BYTES,
                    FILLER_SECTOR_BYTES);
}

uint64_t qcow1_create_bytes(const struct byre_create_options *opts)
{
    const struct qcow1_header header = header_of(opts);

    return l1_end(&header);
}

int qcow1_create(const struct byre_create_options *opts, struct filler *filler,
                 struct byre_error *err)
{
    const struct qcow1_header header = header_of(opts);
    uint8_t head[QCOW1_HEADER_BYTES + QCOW1_MAX_BACKING_NAME_BYTES];
    const size_t head_bytes = QCOW1_HEADER_BYTES + header.backing_bytes;
    int r;

    qcow1_header_encode(&header, head);
    if (header.backing_bytes > 0)
        memcpy(head + QCOW1_HEADER_BYTES, opts->backing_name,
               header.backing_bytes);

    r = filler_extend(filler, l1_end(&header), err);
    if (r == BYRE_OK)
        r = filler_zero(filler, head_bytes, l1_end(&header) - head_bytes, err);
    if (r == BYRE_OK)
        r = filler_finish(filler, head, head_bytes, err);
    return r;
}
