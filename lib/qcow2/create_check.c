/* SPDX-License-Identifier: MIT */
/*
 * Which options of a new QCOW2 image go together.
 */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "qcow2/create.h"

static bool is_power_of_two(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

static int check_sizes(const struct byre_create_options *opts,
                       struct byre_error *err)
{
    if (opts->version != 2 && opts->version != 3)
        return fail(err, BYRE_E_INVALID,
                    "version %" PRIu32 " of qcow2 does not exist; there are 2 "
                    "and 3",
                    opts->version);
    if (!is_power_of_two(opts->cluster_size_bytes) ||
        opts->cluster_size_bytes < UINT64_C(1) << QCOW2_MIN_CLUSTER_BITS ||
        opts->cluster_size_bytes > UINT64_C(1) << QCOW2_MAX_CLUSTER_BITS)
        return fail(err, BYRE_E_INVALID,
                    "Cluster size must be a power of two between 512 and "
                    "2048k, not %" PRIu64,
                    opts->cluster_size_bytes);
    if (!is_power_of_two(opts->refcount_bits) || opts->refcount_bits > 64)
        return fail(err, BYRE_E_INVALID,
                    "Refcount width must be a power of two and may not exceed "
                    "64 bits, not %" PRIu32,
                    opts->refcount_bits);
    if (opts->compression_type != NULL &&
        strcmp(opts->compression_type, "zlib") != 0 &&
        strcmp(opts->compression_type, "zstd") != 0)
        return fail(err, BYRE_E_INVALID,
                    "the compression type '%s' does not exist; there are zlib "
                    "and zstd",
                    opts->compression_type);
    return BYRE_OK;
}

static int needs_version_3(const char *what, struct byre_error *err)
{
    return fail(err, BYRE_E_INVALID,
                "%s only supported with compatibility level 1.1 and above "
                "(use version=v3 or greater)",
                what);
}

static int check_version_2(const struct byre_create_options *opts,
                           struct byre_error *err)
{
    if (opts->version != 2)
        return BYRE_OK;
    if (opts->refcount_bits != 16)
        return needs_version_3("Refcount widths other than 16 bits are", err);
    if (opts->flags & BYRE_CREATE_LAZY_REFCOUNTS)
        return needs_version_3("Lazy refcounts are", err);
    if (opts->flags & BYRE_CREATE_EXTENDED_L2)
        return needs_version_3("Extended L2 entries are", err);
    if (opts->compression_type != NULL &&
        strcmp(opts->compression_type, "zlib") != 0)
        return needs_version_3("Compression types other than zlib are", err);
    if (qcow2_create_has_data_file(opts))
        return needs_version_3("External data files are", err);
    /* There is no zero flag to tell that the clusters are not to be read. */
    if (opts->encryption != BYRE_ENCRYPTION_NONE &&
        opts->preallocation != BYRE_PREALLOCATION_OFF)
        return needs_version_3("Preallocation of an encrypted image is", err);
    return BYRE_OK;
}

static int check_data_file(const struct byre_create_options *opts,
                           struct byre_error *err)
{
    const bool raw = (opts->flags & BYRE_CREATE_DATA_FILE_RAW) != 0;
    const bool keep = (opts->flags & BYRE_CREATE_KEEP_DATA_FILE) != 0;

    if (opts->data_file != NULL && opts->data_file[0] == '\0')
        return fail(err, BYRE_E_INVALID, "the name of the data file is empty");
    if (raw && !qcow2_create_has_data_file(opts))
        return fail(err, BYRE_E_INVALID, "data-file-raw requires data-file");
    if (keep && !qcow2_create_has_data_file(opts))
        return fail(err, BYRE_E_INVALID, "keep-data-file requires data-file");
    if (raw && opts->backing_name != NULL)
        return fail(err, BYRE_E_INVALID,
                    "Backing file and data-file-raw cannot be used at the same "
                    "time");
    if (raw && opts->encryption != BYRE_ENCRYPTION_NONE)
        return fail(err, BYRE_E_INVALID,
                    "data-file-raw and encryption cannot be used at the same "
                    "time: the encrypted file is not the disk");
    if (keep && (opts->preallocation == BYRE_PREALLOCATION_FALLOC ||
                 opts->preallocation == BYRE_PREALLOCATION_FULL))
        return fail(err, BYRE_E_INVALID,
                    "keep-data-file and preallocation of the data file cannot "
                    "be used at the same time");
    return BYRE_OK;
}

static int check_combinations(const struct byre_create_options *opts,
                              struct byre_error *err)
{
    const bool extended = (opts->flags & BYRE_CREATE_EXTENDED_L2) != 0;

    if (extended && opts->cluster_size_bytes <
                        UINT64_C(1) << QCOW2_MIN_EXTENDED_CLUSTER_BITS)
        return fail(err, BYRE_E_INVALID,
                    "Extended L2 entries are only supported with cluster sizes "
                    "of at least %u bytes, not %" PRIu64,
                    1U << QCOW2_MIN_EXTENDED_CLUSTER_BITS,
                    opts->cluster_size_bytes);
    if (opts->preallocation != BYRE_PREALLOCATION_OFF &&
        opts->backing_name != NULL && !extended)
        return fail(err, BYRE_E_INVALID,
                    "Backing file and preallocation can only be used at the "
                    "same time if extended_l2 is on");
    return BYRE_OK;
}

int qcow2_create_check(const struct byre_create_options *opts,
                       struct byre_error *err)
{
    int r;

    r = check_sizes(opts, err);
    if (r == BYRE_OK)
        r = check_version_2(opts, err);
    if (r == BYRE_OK)
        r = check_data_file(opts, err);
    if (r == BYRE_OK)
        r = check_combinations(opts, err);
    return r;
}
