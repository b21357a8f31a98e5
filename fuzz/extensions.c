/* SPDX-License-Identifier: MIT */
/*
 * Header extensions: stepping through an area never leaves it, always comes to
 * an end, and each record and payload encodes to what it was.
 */
#include "format/extensions.h"
#include "fuzz.h"

static void check_record(const struct qcow2_extension *record)
{
    const size_t bytes = qcow2_extension_bytes(record->length);
    uint8_t *encoded = fuzz_alloc(bytes);
    struct qcow2_extension again = { 0 };
    struct byre_error err;
    size_t position = 0;
    int r;

    qcow2_extension_encode(record, encoded);
    r = qcow2_extension_next(encoded, bytes, &position, &again, &err);
    FUZZ_ASSERT(r == 1);
    FUZZ_ASSERT(position == bytes);
    FUZZ_ASSERT(again.type == record->type);
    FUZZ_ASSERT(again.length == record->length);
    FUZZ_ASSERT(memcmp(again.data, record->data, record->length) == 0);
    r = qcow2_extension_next(encoded, bytes, &position, &again, &err);
    FUZZ_ASSERT(r == 0);
    free(encoded);
}

static void check_bitmaps(const struct qcow2_extension *record,
                          uint32_t cluster_bits)
{
    struct qcow2_bitmaps_extension value;
    struct byre_error err;
    uint8_t encoded[24];
    const int r =
        qcow2_bitmaps_extension_decode(record, cluster_bits, &value, &err);

    fuzz_check_result(r, &err);
    if (r < 0)
        return;
    qcow2_bitmaps_extension_encode(&value, encoded);
    FUZZ_ASSERT(record->length == sizeof(encoded));
    FUZZ_ASSERT(memcmp(encoded, record->data, sizeof(encoded)) == 0);
}

static void check_crypto(const struct qcow2_extension *record,
                         uint32_t cluster_bits)
{
    struct qcow2_crypto_extension value;
    struct byre_error err;
    uint8_t encoded[16];
    const int r =
        qcow2_crypto_extension_decode(record, cluster_bits, &value, &err);

    fuzz_check_result(r, &err);
    if (r < 0)
        return;
    qcow2_crypto_extension_encode(&value, encoded);
    FUZZ_ASSERT(record->length == sizeof(encoded));
    FUZZ_ASSERT(memcmp(encoded, record->data, sizeof(encoded)) == 0);
}

static void check_feature_names(const struct qcow2_extension *record)
{
    struct qcow2_feature_name name;

    for (size_t i = 0; qcow2_feature_name_decode(record, i, &name); i++) {
        uint8_t encoded[QCOW2_FEATURE_NAME_BYTES];

        FUZZ_ASSERT((i + 1) * sizeof(encoded) <= record->length);
        FUZZ_ASSERT(memchr(name.name, '\0', sizeof(name.name)) != NULL);
        qcow2_feature_name_encode(&name, encoded);
        FUZZ_ASSERT(memcmp(encoded, record->data + i * sizeof(encoded),
                           sizeof(encoded)) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = { data, size };
    const uint32_t cluster_bits = fuzz_take_range(&input, 9, 21);
    const size_t first = fuzz_take(&input, 1);
    size_t position = first < input.left ? first : input.left;
    struct qcow2_extension record;
    struct byre_error err;
    int r = 1;

    while (r == 1) {
        const size_t before = position;

        r = qcow2_extension_next(input.data, input.left, &position, &record,
                                 &err);
        fuzz_check_result(r, &err);
        if (r != 1)
            break;
        FUZZ_ASSERT(position > before);
        FUZZ_ASSERT(record.data >= input.data + before);
        FUZZ_ASSERT(record.data + record.length <= input.data + input.left);
        check_record(&record);
        check_bitmaps(&record, cluster_bits);
        check_crypto(&record, cluster_bits);
        check_feature_names(&record);
    }
    return 0;
}
