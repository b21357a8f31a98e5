/* SPDX-License-Identifier: MIT */
#include "image/create_check.h"

#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "base/sized.h"
#include "crypto/cipher.h"
#include "crypto/utf8.h"
#include "engine/engine.h"
#include "format/header.h"
#include "qcow1/create.h"
#include "qcow2/create.h"
#include "raw/create.h"
#include "store/store.h"

#define QCOW2_FLAGS                                                            \
    (BYRE_CREATE_LAZY_REFCOUNTS | BYRE_CREATE_EXTENDED_L2 |                    \
     BYRE_CREATE_DATA_FILE_RAW | BYRE_CREATE_KEEP_DATA_FILE)
#define KNOWN_FLAGS                                                            \
    (QCOW2_FLAGS | BYRE_CREATE_NOCOW | BYRE_CREATE_BACKING_UNCHECKED |         \
     BYRE_CREATE_EXCLUSIVE | BYRE_CREATE_NO_SYNC | BYRE_CREATE_ROUND_SIZE)

#define DEFAULT_VERSION       3
#define DEFAULT_CLUSTER_BYTES (UINT64_C(64) << 10)
#define DEFAULT_REFCOUNT_BITS 16

static bool is_format(const struct byre_create_options *opts,
                      const char *format)
{
    return strcmp(opts->format, format) == 0;
}

/* What only QCOW2 has; `what` names the first that is set, or is NULL. */
static const char *qcow2_option(const struct byre_create_options *opts)
{
    if (opts->version != 0)
        return "a compatibility level";
    if (opts->cluster_size_bytes != 0)
        return "a cluster size";
    if (opts->refcount_bits != 0)
        return "a refcount width";
    if (opts->compression_type != NULL)
        return "a compression type";
    if (qcow2_create_has_data_file(opts))
        return "a data file";
    if (opts->flags & QCOW2_FLAGS)
        return "lazy refcounts, extended L2 entries and a data file";
    return NULL;
}

static int check_format(struct byre_create_options *opts,
                        struct byre_error *err)
{
    const char *foreign = qcow2_option(opts);

    if (opts->format == NULL)
        opts->format = "qcow2";
    if (!is_format(opts, "raw") && !is_format(opts, "qcow") &&
        !is_format(opts, "qcow2"))
        return fail(err, BYRE_E_INVALID,
                    "Unknown file format '%s'; there are raw, qcow and qcow2",
                    opts->format);
    if (foreign != NULL && !is_format(opts, "qcow2"))
        return fail(err, BYRE_E_INVALID,
                    "%s can be chosen for file format 'qcow2', not for '%s'",
                    foreign, opts->format);
    return BYRE_OK;
}

static void fill_in(struct byre_create_options *opts)
{
    if (opts->version == 0)
        opts->version = DEFAULT_VERSION;
    if (opts->cluster_size_bytes == 0)
        opts->cluster_size_bytes = DEFAULT_CLUSTER_BYTES;
    if (opts->refcount_bits == 0)
        opts->refcount_bits = DEFAULT_REFCOUNT_BITS;
}

/* ---- Backing file ---- */

/*
 * Without a look at the file, any format that some program could open: a name
 * that none knows makes an image that none can read.
 */
static bool is_known_format(const char *format)
{
    static const char *const formats[] = {
        "raw",  "qcow",  "qcow2", "qed",         "vmdk",      "vdi",
        "vpc",  "vhdx",  "bochs", "cloop",       "parallels", "dmg",
        "luks", "vvfat", "file",  "host_device",
    };

    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        if (strcmp(format, formats[i]) == 0)
            return true;
    }
    return false;
}

static int check_backing(const struct byre_create_options *opts,
                         struct byre_error *err)
{
    if (opts->backing_name == NULL && opts->backing_format != NULL)
        return fail(err, BYRE_E_INVALID,
                    "Backing format cannot be used without backing file");
    if (opts->backing_name == NULL)
        return BYRE_OK;
    if (opts->backing_name[0] == '\0')
        return fail(err, BYRE_E_INVALID, "the backing file name is empty");
    if (strlen(opts->backing_name) > QCOW2_MAX_BACKING_NAME_BYTES)
        return fail(err, BYRE_E_INVALID,
                    "the backing file name has %zu bytes, more than the limit "
                    "of %d",
                    strlen(opts->backing_name), QCOW2_MAX_BACKING_NAME_BYTES);
    if (opts->backing_format == NULL)
        return fail(err, BYRE_E_INVALID,
                    "Backing file specified without backing format; say which "
                    "format '%s' has",
                    opts->backing_name);
    if (!is_known_format(opts->backing_format))
        return fail(err, BYRE_E_INVALID,
                    "Unknown driver '%s' as the format of the backing file; "
                    "there are raw, qcow and qcow2",
                    opts->backing_format);
    return BYRE_OK;
}

/* ---- Encryption ---- */

static bool has_luks_options(const struct byre_create_options *opts)
{
    return opts->cipher_alg != NULL || opts->cipher_mode != NULL ||
           opts->ivgen_alg != NULL || opts->ivgen_hash_alg != NULL ||
           opts->hash_alg != NULL || opts->iter_time_msec != 0;
}

/* Whether this build could read the image that is asked for. */
static int check_aes(const struct byre_create_options *opts,
                     struct byre_error *err)
{
    struct sector_cipher *cipher;
    int r;

    r = sector_cipher_new_aes(opts->passphrase, opts->passphrase_bytes, &cipher,
                              err);
    if (r == BYRE_OK)
        sector_cipher_free(cipher);
    return r;
}

static int check_encryption(const struct byre_create_options *opts,
                            struct byre_error *err)
{
    if (opts->encryption > BYRE_ENCRYPTION_LUKS)
        return fail(err, BYRE_E_INVALID, "encryption %u does not exist",
                    opts->encryption);
    if (opts->encryption != BYRE_ENCRYPTION_LUKS && has_luks_options(opts))
        return fail(err, BYRE_E_INVALID,
                    "cipher, hash and iteration time can be chosen for LUKS "
                    "only");
    if (opts->encryption == BYRE_ENCRYPTION_NONE)
        return BYRE_OK;
    if (opts->passphrase == NULL)
        return fail(err, BYRE_E_SECRET,
                    "an encrypted image needs a passphrase (Parameter "
                    "'encrypt.key-secret' is required for cipher)");
    if (!utf8_is_text(opts->passphrase, opts->passphrase_bytes))
        return fail(err, BYRE_E_SECRET, "the passphrase is no valid UTF-8");
    return opts->encryption == BYRE_ENCRYPTION_AES ? check_aes(opts, err)
                                                   : BYRE_OK;
}

/* ---- All of it ---- */

static int check_by_format(const struct byre_create_options *opts,
                           struct byre_error *err)
{
    if (is_format(opts, "raw"))
        return raw_create_check(opts, err);
    if (is_format(opts, "qcow"))
        return qcow1_create_check(opts, err);
    return qcow2_create_check(opts, err);
}

int create_check(const struct byre_create_options *given,
                 struct byre_create_options *ret, struct byre_error *err)
{
    int r;

    if (given == NULL)
        return fail(err, BYRE_E_INVALID,
                    "creating an image needs options, with its size");

    r = sized_copy_in(given, sizeof(size_t), ret, sizeof(*ret),
                      "struct byre_create_options", err);
    if (r < 0)
        return r;
    if (ret->flags & ~KNOWN_FLAGS)
        return fail(err, BYRE_E_INVALID, "unknown create flags 0x%x",
                    ret->flags & ~KNOWN_FLAGS);
    if (ret->preallocation > BYRE_PREALLOCATION_FULL)
        return fail(err, BYRE_E_INVALID, "preallocation mode %u does not exist",
                    ret->preallocation);

    r = check_format(ret, err);
    if (r < 0)
        return r;
    fill_in(ret);
    r = check_backing(ret, err);
    if (r == BYRE_OK)
        r = check_by_format(ret, err);
    if (r == BYRE_OK)
        r = check_encryption(ret, err);
    return r;
}

int create_check_size(struct byre_create_options *opts, struct byre_error *err)
{
    const uint64_t most = align_down(STORE_MAX_OFFSET, ENGINE_SECTOR_BYTES);
    uint64_t *size = &opts->virtual_size_bytes;

    if (*size == BYRE_NO_OFFSET)
        return fail(err, BYRE_E_INVALID,
                    "Image creation needs a size parameter");
    if (*size > most)
        return fail(err, BYRE_E_INVALID,
                    "the size of %llu bytes is more than the limit of %llu",
                    (unsigned long long)*size, (unsigned long long)most);
    if (!is_aligned(*size, ENGINE_SECTOR_BYTES) &&
        !create_flag(opts, BYRE_CREATE_ROUND_SIZE))
        return fail(err, BYRE_E_INVALID,
                    "the size of %llu bytes is no multiple of 512",
                    (unsigned long long)*size);
    *size = align_up(*size, ENGINE_SECTOR_BYTES);
    return is_format(opts, "qcow") ? qcow1_create_check_size(opts, err)
                                   : BYRE_OK;
}
