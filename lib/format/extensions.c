/* SPDX-License-Identifier: MIT */
#include "format/extensions.h"

#include <inttypes.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/error.h"
#include "format/bitmap.h"

#define RECORD_HEADER_BYTES 8
#define BITMAPS_BYTES       24
#define CRYPTO_BYTES        16
#define FEATURE_NAME_AT     2
#define FEATURE_NAME_CHARS  46

int qcow2_extension_next(const uint8_t *buf, size_t area_bytes,
                         size_t *position, struct qcow2_extension *ret,
                         struct byre_error *err)
{
    const size_t start = *position;
    struct qcow2_extension record;
    size_t left;

    /* An area that is exactly filled needs no end record. */
    if (start >= area_bytes)
        return 0;

    left = area_bytes - start;
    if (left < RECORD_HEADER_BYTES)
        return fail_at(err, BYRE_E_CORRUPT, start,
                       "header extension needs %d bytes, more than the %zu "
                       "left in its area",
                       RECORD_HEADER_BYTES, left);

    left -= RECORD_HEADER_BYTES;
    record.type = be32_get(buf + start);
    record.length = be32_get(buf + start + 4);
    record.data = buf + start + RECORD_HEADER_BYTES;
    if (record.length > left)
        return fail_at(err, BYRE_E_CORRUPT, start,
                       "header extension 0x%08" PRIx32 " has %" PRIu32
                       " bytes, more than the %zu left in its area",
                       record.type, record.length, left);
    /* The position stays, so that the end is the end however often asked. */
    if (record.type == QCOW2_EXT_END)
        return 0;

    *position = start + qcow2_extension_bytes(record.length);
    *ret = record;
    return 1;
}

size_t qcow2_extension_area(const struct qcow2_header *header, size_t length)
{
    if (header->backing_offset == 0)
        return length;
    return (size_t)min_u64(header->backing_offset, length);
}

size_t qcow2_extension_bytes(uint32_t length)
{
    return (size_t)align_up(RECORD_HEADER_BYTES + (uint64_t)length, 8);
}

void qcow2_extension_encode(const struct qcow2_extension *extension,
                            uint8_t *buf)
{
    memset(buf, 0, qcow2_extension_bytes(extension->length));
    be32_put(buf, extension->type);
    be32_put(buf + 4, extension->length);
    if (extension->length > 0)
        memcpy(buf + RECORD_HEADER_BYTES, extension->data, extension->length);
}

static int check_length(const struct qcow2_extension *extension,
                        const char *object, uint32_t want_bytes,
                        struct byre_error *err)
{
    if (extension->length == want_bytes)
        return BYRE_OK;
    return fail(err, BYRE_E_CORRUPT,
                "%s extension has %" PRIu32 " bytes, it must have %" PRIu32,
                object, extension->length, want_bytes);
}

static int check_bitmaps(const struct qcow2_bitmaps_extension *value,
                         uint32_t cluster_bits, struct byre_error *err)
{
    const uint64_t least_bytes =
        (uint64_t)value->bitmap_count * QCOW2_BITMAP_FIXED_BYTES;

    if (value->bitmap_count == 0)
        return fail(err, BYRE_E_CORRUPT,
                    "bitmaps extension has 0 bitmaps, less than the least of "
                    "1");
    if (value->bitmap_count > QCOW2_MAX_BITMAPS)
        return fail(err, BYRE_E_CORRUPT,
                    "bitmaps extension has %" PRIu32
                    " bitmaps, more than the limit of %" PRIu32,
                    value->bitmap_count, QCOW2_MAX_BITMAPS);
    if (value->directory_bytes > QCOW2_MAX_BITMAP_DIRECTORY_BYTES)
        return fail(err, BYRE_E_CORRUPT,
                    "bitmap directory has %" PRIu64
                    " bytes, more than the limit of %" PRIu64,
                    value->directory_bytes, QCOW2_MAX_BITMAP_DIRECTORY_BYTES);
    if (value->directory_bytes < least_bytes)
        return fail(err, BYRE_E_CORRUPT,
                    "bitmap directory has %" PRIu64
                    " bytes, less than the %" PRIu64 " that %" PRIu32
                    " bitmaps need",
                    value->directory_bytes, least_bytes, value->bitmap_count);
    return qcow2_table_check("bitmap directory", BYRE_NO_OFFSET,
                             value->directory_offset, value->directory_bytes,
                             cluster_bits, err);
}

int qcow2_bitmaps_extension_decode(const struct qcow2_extension *extension,
                                   uint32_t cluster_bits,
                                   struct qcow2_bitmaps_extension *ret,
                                   struct byre_error *err)
{
    struct qcow2_bitmaps_extension value;
    uint32_t reserved;
    int r;

    r = check_length(extension, "bitmaps", BITMAPS_BYTES, err);
    if (r < 0)
        return r;

    value.bitmap_count = be32_get(extension->data);
    reserved = be32_get(extension->data + 4);
    value.directory_bytes = be64_get(extension->data + 8);
    value.directory_offset = be64_get(extension->data + 16);
    if (reserved != 0)
        return fail(err, BYRE_E_CORRUPT,
                    "bitmaps extension has 0x%08" PRIx32
                    " in its reserved field, which must be 0",
                    reserved);

    r = check_bitmaps(&value, cluster_bits, err);
    if (r < 0)
        return r;

    *ret = value;
    return BYRE_OK;
}

void qcow2_bitmaps_extension_encode(const struct qcow2_bitmaps_extension *value,
                                    uint8_t buf[24])
{
    be32_put(buf, value->bitmap_count);
    be32_put(buf + 4, 0);
    be64_put(buf + 8, value->directory_bytes);
    be64_put(buf + 16, value->directory_offset);
}

int qcow2_crypto_extension_decode(const struct qcow2_extension *extension,
                                  uint32_t cluster_bits,
                                  struct qcow2_crypto_extension *ret,
                                  struct byre_error *err)
{
    struct qcow2_crypto_extension value;
    int r;

    r = check_length(extension, "encryption header", CRYPTO_BYTES, err);
    if (r < 0)
        return r;

    value.offset = be64_get(extension->data);
    value.length = be64_get(extension->data + 8);
    r = qcow2_table_check("encryption header", BYRE_NO_OFFSET, value.offset,
                          value.length, cluster_bits, err);
    if (r < 0)
        return r;

    *ret = value;
    return BYRE_OK;
}

void qcow2_crypto_extension_encode(const struct qcow2_crypto_extension *value,
                                   uint8_t buf[16])
{
    be64_put(buf, value->offset);
    be64_put(buf + 8, value->length);
}

bool qcow2_feature_name_decode(const struct qcow2_extension *extension,
                               size_t index, struct qcow2_feature_name *ret)
{
    const uint8_t *raw;

    if (index >= extension->length / QCOW2_FEATURE_NAME_BYTES)
        return false;

    raw = extension->data + index * QCOW2_FEATURE_NAME_BYTES;
    ret->type = raw[0];
    ret->bit = raw[1];
    memcpy(ret->name, raw + FEATURE_NAME_AT, FEATURE_NAME_CHARS);
    ret->name[FEATURE_NAME_CHARS] = '\0';
    return true;
}

void qcow2_feature_name_encode(const struct qcow2_feature_name *name,
                               uint8_t buf[QCOW2_FEATURE_NAME_BYTES])
{
    buf[0] = name->type;
    buf[1] = name->bit;
    memcpy(buf + FEATURE_NAME_AT, name->name, FEATURE_NAME_CHARS);
}
