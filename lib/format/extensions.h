/* SPDX-License-Identifier: MIT */
/*
 * Header extensions: typed records between the header and the backing name.
 * Unknown ones are kept, in their order, for whoever writes the header again.
 * spec: qcow2 "Header extensions".
 */
#ifndef BYRE_FORMAT_EXTENSIONS_H
#define BYRE_FORMAT_EXTENSIONS_H

#include "format/header.h"

#define QCOW2_EXT_END            UINT32_C(0x00000000)
#define QCOW2_EXT_BACKING_FORMAT UINT32_C(0xe2792aca)
#define QCOW2_EXT_FEATURE_NAMES  UINT32_C(0x6803f857)
#define QCOW2_EXT_BITMAPS        UINT32_C(0x23852875)
#define QCOW2_EXT_CRYPTO         UINT32_C(0x0537be77)
#define QCOW2_EXT_DATA_FILE      UINT32_C(0x44415441)

#define QCOW2_MAX_BACKING_FORMAT_BYTES 15

/* One record, its data inside the buffer that was decoded. */
struct qcow2_extension {
    uint32_t type;
    uint32_t length;
    const uint8_t *data;
};

/*
 * Steps through the records.  Start with *position = header_bytes; the area
 * ends at `area_bytes` (the backing name, or the end of the first cluster).
 * Returns 1 and a record, 0 at the end, or BYRE_E_CORRUPT for a record that
 * crosses the end of the area.
 */
int qcow2_extension_next(const uint8_t *buf, size_t area_bytes,
                         size_t *position, struct qcow2_extension *ret,
                         struct byre_error *err);

/* Where the area of the extensions ends: at the backing name, or with the
   `length` bytes of the cluster. */
size_t qcow2_extension_area(const struct qcow2_header *header, size_t length);

/* Bytes a record of `length` takes, and writing it there, zero-padded. */
size_t qcow2_extension_bytes(uint32_t length);
void qcow2_extension_encode(const struct qcow2_extension *extension,
                            uint8_t *buf);

/* The payloads with a structure. */
struct qcow2_bitmaps_extension {
    uint32_t bitmap_count;
    uint64_t directory_bytes;
    uint64_t directory_offset;
};

int qcow2_bitmaps_extension_decode(const struct qcow2_extension *extension,
                                   uint32_t cluster_bits,
                                   struct qcow2_bitmaps_extension *ret,
                                   struct byre_error *err);
void qcow2_bitmaps_extension_encode(const struct qcow2_bitmaps_extension *value,
                                    uint8_t buf[24]);

struct qcow2_crypto_extension {
    uint64_t offset;
    uint64_t length;
};

int qcow2_crypto_extension_decode(const struct qcow2_extension *extension,
                                  uint32_t cluster_bits,
                                  struct qcow2_crypto_extension *ret,
                                  struct byre_error *err);
void qcow2_crypto_extension_encode(const struct qcow2_crypto_extension *value,
                                   uint8_t buf[16]);

/* The feature name table: 48 bytes a name. */
enum {
    QCOW2_FEATURE_INCOMPATIBLE = 0,
    QCOW2_FEATURE_COMPATIBLE = 1,
    QCOW2_FEATURE_AUTOCLEAR = 2
};

#define QCOW2_FEATURE_NAME_BYTES 48

struct qcow2_feature_name {
    uint8_t type; /* QCOW2_FEATURE_* */
    uint8_t bit;
    char name[47]; /* 46 on disk, not always terminated there */
};

/* The index-th name of the table; false past its end. */
bool qcow2_feature_name_decode(const struct qcow2_extension *extension,
                               size_t index, struct qcow2_feature_name *ret);
void qcow2_feature_name_encode(const struct qcow2_feature_name *name,
                               uint8_t buf[QCOW2_FEATURE_NAME_BYTES]);

#endif
