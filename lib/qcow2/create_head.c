/* SPDX-License-Identifier: MIT */
#include "qcow2/create_head.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "format/extensions.h"

/* The table of feature names is left out where it would fill the cluster. */
#define LEAST_CLUSTER_BITS_WITH_NAMES 13

/* The names as other programs know and print them. */
static const struct qcow2_feature_name feature_names[] = {
    { QCOW2_FEATURE_INCOMPATIBLE, 0, "dirty bit" },
    { QCOW2_FEATURE_INCOMPATIBLE, 1, "corrupt bit" },
    { QCOW2_FEATURE_INCOMPATIBLE, 2, "external data file" },
    { QCOW2_FEATURE_INCOMPATIBLE, 3, "compression type" },
    { QCOW2_FEATURE_INCOMPATIBLE, 4, "extended L2 entries" },
    { QCOW2_FEATURE_COMPATIBLE, 0, "lazy refcounts" },
    { QCOW2_FEATURE_AUTOCLEAR, 0, "bitmaps" },
    { QCOW2_FEATURE_AUTOCLEAR, 1, "raw external data" },
};

#define FEATURE_NAMES       (sizeof(feature_names) / sizeof(feature_names[0]))
#define FEATURE_NAMES_BYTES (FEATURE_NAMES * QCOW2_FEATURE_NAME_BYTES)

static size_t length_of(const char *text)
{
    return text != NULL ? strlen(text) : 0;
}

/* More than any choice of extensions takes. */
static size_t most_head_bytes(const struct byre_create_options *opts)
{
    return QCOW2_HEADER_BYTES +
           qcow2_extension_bytes((uint32_t)length_of(opts->backing_format)) +
           qcow2_extension_bytes((uint32_t)length_of(opts->data_file)) +
           qcow2_extension_bytes(16) +
           qcow2_extension_bytes(FEATURE_NAMES_BYTES) +
           qcow2_extension_bytes(0) + length_of(opts->backing_name);
}

static void add_extension(struct qcow2_creation *creation, uint32_t type,
                          const void *data, size_t length)
{
    const struct qcow2_extension extension = { type, (uint32_t)length, data };

    qcow2_extension_encode(&extension, creation->head + creation->head_bytes);
    creation->head_bytes += qcow2_extension_bytes(extension.length);
}

static void add_text(struct qcow2_creation *creation, uint32_t type,
                     const char *text)
{
    if (text != NULL)
        add_extension(creation, type, text, strlen(text));
}

static void add_crypto(struct qcow2_creation *creation)
{
    const struct qcow2_crypto_extension crypto = { creation->layout.luks.offset,
                                                   creation->luks_bytes };
    uint8_t raw[16];

    if (creation->luks_bytes == 0)
        return;
    qcow2_crypto_extension_encode(&crypto, raw);
    add_extension(creation, QCOW2_EXT_CRYPTO, raw, sizeof(raw));
}

static void add_feature_names(struct qcow2_creation *creation)
{
    uint8_t raw[FEATURE_NAMES_BYTES];

    if (creation->header.version < 3 ||
        creation->header.cluster_bits < LEAST_CLUSTER_BITS_WITH_NAMES)
        return;
    for (size_t i = 0; i < FEATURE_NAMES; i++)
        qcow2_feature_name_encode(&feature_names[i],
                                  raw + i * QCOW2_FEATURE_NAME_BYTES);
    add_extension(creation, QCOW2_EXT_FEATURE_NAMES, raw, sizeof(raw));
}

static void add_backing_name(struct qcow2_creation *creation)
{
    const char *name = creation->opts->backing_name;
    const size_t length = length_of(name);

    if (length == 0)
        return;
    memcpy(creation->head + creation->head_bytes, name, length);
    creation->header.backing_offset = creation->head_bytes;
    creation->header.backing_bytes = (uint32_t)length;
    creation->head_bytes += length;
}

/* Order: as QEMU writes them. */
int create_head(struct qcow2_creation *creation, struct byre_error *err)
{
    const struct byre_create_options *opts = creation->opts;
    const size_t most = most_head_bytes(opts);

    creation->head = calloc(1, most);
    if (creation->head == NULL)
        return fail_nomem(err, "a header", most);

    creation->head_bytes = creation->header.header_bytes;
    add_text(creation, QCOW2_EXT_BACKING_FORMAT, opts->backing_format);
    add_text(creation, QCOW2_EXT_DATA_FILE, opts->data_file);
    add_crypto(creation);
    add_feature_names(creation);
    add_extension(creation, QCOW2_EXT_END, NULL, 0);
    add_backing_name(creation);
    if (creation->head_bytes > opts->cluster_size_bytes)
        return fail(err, BYRE_E_INVALID,
                    "the header with its names takes %zu bytes, more than the "
                    "%llu of its cluster; use shorter names or larger clusters",
                    creation->head_bytes,
                    (unsigned long long)opts->cluster_size_bytes);

    qcow2_header_encode(&creation->header, NULL, creation->head);
    return BYRE_OK;
}
