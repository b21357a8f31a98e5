/* SPDX-License-Identifier: MIT */
/*
 * From a store to a description, and from that to a disk.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/error.h"
#include "qcow2/internal.h"
#include "qcow2/qcow2.h"

/* ---- Header and extensions ---- */

/* The first cluster, as far as the file reaches; it holds all names. */
static int read_first_cluster(struct byre_store *store,
                              const struct qcow2_header *header,
                              uint8_t **ret_buf, size_t *ret_length,
                              struct byre_error *err)
{
    const size_t length = (size_t)qcow2_cluster_bytes(header);
    uint8_t *buf = malloc(length);
    int r;

    if (buf == NULL)
        return fail_nomem(err, "the header cluster", length);

    r = store_read(store, 0, buf, length, err);
    if (r < 0) {
        free(buf);
        return r;
    }
    *ret_buf = buf;
    *ret_length = length;
    return BYRE_OK;
}

static int take_backing_format(struct qcow2 *qcow2,
                               const struct qcow2_extension *extension,
                               struct byre_error *err)
{
    if (extension->length > QCOW2_MAX_BACKING_FORMAT_BYTES)
        return fail(err, BYRE_E_CORRUPT,
                    "the backing format has %u bytes, more than the limit of "
                    "%d",
                    extension->length, QCOW2_MAX_BACKING_FORMAT_BYTES);
    free(qcow2->engine.backing_format);
    qcow2->engine.backing_format = NULL;
    return engine_copy_string(extension->data, extension->length,
                              &qcow2->engine.backing_format, err);
}

static int take_data_file(struct qcow2 *qcow2,
                          const struct qcow2_extension *extension,
                          struct byre_error *err)
{
    if ((qcow2->header.incompatible & QCOW2_INCOMPAT_DATA_FILE) == 0)
        return BYRE_OK;
    free(qcow2->engine.data_file_name);
    qcow2->engine.data_file_name = NULL;
    return engine_copy_string(extension->data, extension->length,
                              &qcow2->engine.data_file_name, err);
}

/* Bitmaps are valid only while the autoclear bit vouches for them. */
static int take_bitmaps(struct qcow2 *qcow2,
                        const struct qcow2_extension *extension)
{
    struct byre_error ignored;

    qcow2->has_bitmaps =
        (qcow2->header.autoclear & QCOW2_AUTOCLEAR_BITMAPS) != 0;
    qcow2->bitmaps_are_stale = !qcow2->has_bitmaps;
    qcow2->bitmaps_damaged =
        qcow2_bitmaps_extension_decode(extension, qcow2->header.cluster_bits,
                                       &qcow2->bitmaps_extension, &ignored) < 0;
    if (qcow2->bitmaps_damaged)
        snprintf(qcow2->bitmaps_damage, sizeof(qcow2->bitmaps_damage), "%s",
                 ignored.message);
    return BYRE_OK;
}

static int take_extension(struct qcow2 *qcow2,
                          const struct qcow2_extension *extension,
                          struct byre_error *err)
{
    switch (extension->type) {
    case QCOW2_EXT_BACKING_FORMAT:
        return take_backing_format(qcow2, extension, err);
    case QCOW2_EXT_DATA_FILE:
        return take_data_file(qcow2, extension, err);
    case QCOW2_EXT_BITMAPS:
        return take_bitmaps(qcow2, extension);
    case QCOW2_EXT_CRYPTO:
        if (qcow2->header.crypt_method != QCOW2_CRYPT_LUKS)
            return fail(err, BYRE_E_CORRUPT,
                        "the image has a crypto header extension, but its "
                        "encryption method is %u, not %d (LUKS)",
                        qcow2->header.crypt_method, QCOW2_CRYPT_LUKS);
        qcow2->has_crypto = true;
        return qcow2_crypto_extension_decode(
            extension, qcow2->header.cluster_bits, &qcow2->crypto, err);
    default: /* unknown ones are for newer programs */
        return BYRE_OK;
    }
}

/* ---- Unknown features ---- */

static void append(char *text, size_t capacity, const char *more)
{
    const size_t used = strlen(text);

    snprintf(text + used, capacity - used, "%s%s", used > 0 ? ", " : "", more);
}

/* Appends the names the image has for `bits`; returns those without one. */
static uint64_t name_features(const struct qcow2_extension *names,
                              uint64_t bits, char *text, size_t capacity)
{
    struct qcow2_feature_name name;

    for (size_t i = 0; qcow2_feature_name_decode(names, i, &name); i++) {
        const uint64_t bit = name.bit < 64 ? UINT64_C(1) << name.bit : 0;

        if (name.type != QCOW2_FEATURE_INCOMPATIBLE || (bits & bit) == 0)
            continue;
        append(text, capacity, name.name);
        bits &= ~bit;
    }
    return bits;
}

static int refuse_unknown_features(const struct qcow2 *qcow2,
                                   const struct qcow2_extension *names,
                                   struct byre_error *err)
{
    uint64_t bits = qcow2->header.incompatible & ~QCOW2_INCOMPAT_KNOWN;
    char text[512] = "", unnamed[64];

    if (bits == 0)
        return BYRE_OK;
    if (names->data != NULL)
        bits = name_features(names, bits, text, sizeof(text));
    if (bits != 0) {
        snprintf(unnamed, sizeof(unnamed),
                 "Unknown incompatible feature: %" PRIx64, bits);
        append(text, sizeof(text), unnamed);
    }
    return fail_at(err, BYRE_E_UNSUPPORTED, 72,
                   "Unsupported qcow2 feature(s): %s", text);
}

static int read_extensions(struct qcow2 *qcow2, const uint8_t *buf,
                           size_t length, struct byre_error *err)
{
    const size_t area = qcow2_extension_area(&qcow2->header, length);
    struct qcow2_extension extension, feature_names = { 0 };
    size_t position = qcow2->header.header_bytes;
    int r;

    /* An unknown feature may change what the rest means: look for names only,
       and report damage of the rest after it. */
    while (qcow2_extension_next(buf, area, &position, &extension, NULL) > 0) {
        if (extension.type == QCOW2_EXT_FEATURE_NAMES)
            feature_names = extension;
    }
    r = refuse_unknown_features(qcow2, &feature_names, err);
    if (r < 0)
        return r;

    position = qcow2->header.header_bytes;
    for (;;) {
        r = qcow2_extension_next(buf, area, &position, &extension, err);
        if (r <= 0)
            return r;
        r = take_extension(qcow2, &extension, err);
        if (r < 0)
            return r;
    }
}

static int read_names(struct qcow2 *qcow2, struct byre_error *err)
{
    const struct qcow2_header *header = &qcow2->header;
    uint8_t *buf = NULL;
    size_t length = 0;
    int r;

    r = read_first_cluster(qcow2->store, header, &buf, &length, err);
    if (r < 0)
        return r;

    r = read_extensions(qcow2, buf, length, err);
    if (r == BYRE_OK && header->backing_offset != 0 &&
        header->backing_bytes != 0)
        r = engine_copy_string(buf + header->backing_offset,
                               header->backing_bytes,
                               &qcow2->engine.backing_name, err);
    free(buf);
    return r;
}

/* ---- The engine's steps ---- */

static void describe(struct engine *engine, struct byre_info *info)
{
    const struct qcow2_header *header = &qcow2_of(engine)->header;
    static const struct {
        uint64_t incompatible;
        uint32_t flag;
    } bits[] = {
        { QCOW2_INCOMPAT_DIRTY, BYRE_INFO_DIRTY },
        { QCOW2_INCOMPAT_CORRUPT, BYRE_INFO_CORRUPT },
        { QCOW2_INCOMPAT_DATA_FILE, BYRE_INFO_EXTERNAL_DATA },
        { QCOW2_INCOMPAT_EXTENDED_L2, BYRE_INFO_EXTENDED_L2 },
    };

    info->version = header->version;
    info->refcount_bits = UINT32_C(1) << header->refcount_order;
    info->compression_type =
        header->compression_type == QCOW2_COMPRESSION_ZSTD ? "zstd" : "zlib";
    for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
        if (header->incompatible & bits[i].incompatible)
            info->flags |= bits[i].flag;
    }
    if (header->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS)
        info->flags |= BYRE_INFO_LAZY_REFCOUNTS;
    if (header->autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW)
        info->flags |= BYRE_INFO_DATA_FILE_RAW;
}

static void set_data_store(struct engine *engine, struct byre_store *store)
{
    struct qcow2 *qcow2 = qcow2_of(engine);

    byre_store_unref(qcow2->data_store);
    qcow2->data_store = store_ref(store);
}

/* Where the L1 table of the chosen disk is; a snapshot has its own size. */
static int choose_l1(struct qcow2 *qcow2,
                     const struct snapshot_selector *selector,
                     uint64_t *ret_offset, uint64_t *ret_entries,
                     struct byre_error *err)
{
    const struct qcow2_snapshot *snapshot;
    size_t index;
    int r;

    if (!snapshot_is_selected(selector)) {
        *ret_offset = qcow2->header.l1_offset;
        *ret_entries = qcow2->header.l1_entries;
        return BYRE_OK;
    }

    r = qcow2_find_snapshot(qcow2, selector, NULL, &index, err);
    if (r < 0)
        return r;

    snapshot = &qcow2->snapshots.entries[index];
    r = qcow2_snapshot_check(snapshot, &qcow2->header, err);
    if (r < 0)
        return r;

    qcow2->engine.size_bytes =
        align_down(snapshot->size_bytes, ENGINE_SECTOR_BYTES);
    *ret_offset = snapshot->l1_offset;
    *ret_entries = snapshot->l1_entries;
    return BYRE_OK;
}

/*
 * Some times all L2 tables of the disk: a cache need not be larger.  With no
 * more than all of them, some set would be full of changed slices too soon.
 */
static uint64_t enough_for_tables(const struct qcow2 *qcow2)
{
    return (qcow2->engine.size_bytes >> qcow2->header.cluster_bits) * 8 *
           qcow2->entry_words * 4;
}

int qcow2_make_table_cache(struct qcow2 *qcow2, struct table_cache **ret_cache,
                           struct byre_error *err)
{
    const uint32_t slice_bytes = (UINT32_C(8) * qcow2->entry_words)
                                 << qcow2->slice_bits;

    return table_cache_new(
        qcow2->store, slice_bytes,
        min_u64(qcow2->limits.table_cache_bytes, enough_for_tables(qcow2)),
        ret_cache, err);
}

static int prepare(struct engine *engine,
                   const struct snapshot_selector *selector,
                   struct byre_error *err)
{
    struct qcow2 *qcow2 = qcow2_of(engine);
    uint64_t l1_offset, l1_entries;
    int r;

    r = choose_l1(qcow2, selector, &l1_offset, &l1_entries, err);
    if (r < 0)
        return r;

    /* Entries beyond the disk (VM state) are left out where they are many. */
    l1_entries = min_u64(
        l1_entries,
        max_u64(qcow2_l1_entries_needed(&qcow2->header, engine->size_bytes),
                qcow2->limits.max_table_bytes / 8));
    r = l1_load(&qcow2->l1, qcow2->store, l1_offset, l1_entries,
                qcow2->limits.max_table_bytes, err);
    if (r < 0)
        return r;

    r = qcow2_make_table_cache(qcow2, &qcow2->tables, err);
    if (r < 0)
        return r;
    return cluster_reader_new(
        qcow2->header.compression_type == QCOW2_COMPRESSION_ZSTD
            ? CODEC_ZSTD
            : CODEC_DEFLATE,
        (uint32_t)engine_cluster_bytes(engine),
        qcow2->limits.cluster_cache_bytes, &qcow2->transfer.clusters, err);
}

int qcow2_reload_l1(struct qcow2 *qcow2, struct byre_error *err)
{
    const struct qcow2_header *header = &qcow2->header;

    /* Room is made for all entries, not only for those the file reaches. */
    if (header->l1_entries > qcow2->limits.max_table_bytes / 8)
        return fail_at(err, BYRE_E_LIMIT, header->l1_offset,
                       "the L1 table has %" PRIu32
                       " entries, more than the limit of %" PRIu64,
                       header->l1_entries, qcow2->limits.max_table_bytes / 8);

    return l1_reload(&qcow2->l1, qcow2->store, header->l1_offset,
                     header->l1_entries, qcow2->limits.max_table_bytes, err);
}

static void qcow2_free(struct engine *engine)
{
    struct qcow2 *qcow2 = qcow2_of(engine);

    qcow2_writable_done(qcow2);
    l1_done(&qcow2->l1);
    table_cache_free(qcow2->tables);
    transfer_done(&qcow2->transfer);
    qcow2_snapshots_free(&qcow2->snapshots);
    bitmap_set_done(&qcow2->bitmaps);
    free(qcow2->luks_texts);
    pthread_mutex_destroy(&qcow2->lists_lock);
    byre_store_unref(qcow2->data_store);
    byre_store_unref(qcow2->store);
    engine_done(engine);
    free(qcow2);
}

static const struct engine_ops qcow2_ops = {
    .describe = describe,
    .luks_info = qcow2_luks_info,
    .snapshots = qcow2_snapshots,
    .bitmaps = qcow2_bitmaps,
    .set_data_store = set_data_store,
    .unlock = qcow2_unlock,
    .prepare = prepare,
    .map = qcow2_map,
    .read = qcow2_read,
    .find_loss = qcow2_find_loss,
    .may_have_holes = qcow2_may_have_holes,
    .prepare_write = qcow2_prepare_write,
    .write = qcow2_write,
    .zero = qcow2_zero,
    .discard = qcow2_discard,
    .flush = qcow2_flush,
    .resize = qcow2_resize,
    .snapshot_create = qcow2_snapshot_create,
    .snapshot_apply = qcow2_snapshot_apply,
    .snapshot_delete = qcow2_snapshot_delete,
    .vm_state_read = qcow2_vm_state_read,
    .vm_state_write = qcow2_vm_state_write,
    .vm_state_reserve = qcow2_vm_state_reserve,
    .compact = qcow2_compact,
    .finish = qcow2_finish,
    .bitmap_ops = &qcow2_bitmap_ops,
    .end_write = qcow2_end_write,
    .set_backing_name = qcow2_set_backing_name,
    .set_backing = qcow2_set_backing,
    .empty = qcow2_empty,
    .amend = qcow2_amend,
    .key_add = qcow2_key_add,
    .key_erase = qcow2_key_erase,
    .key_erase_passphrase = qcow2_key_erase_passphrase,
    .check = qcow2_check,
    .mark_sound = qcow2_mark_sound,
    .free = qcow2_free,
};

static void derive_from_header(struct qcow2 *qcow2)
{
    static const uint32_t encryptions[] = {
        [QCOW2_CRYPT_NONE] = BYRE_ENCRYPTION_NONE,
        [QCOW2_CRYPT_AES] = BYRE_ENCRYPTION_AES,
        [QCOW2_CRYPT_LUKS] = BYRE_ENCRYPTION_LUKS,
    };
    const struct qcow2_header *header = &qcow2->header;
    struct engine *engine = &qcow2->engine;

    engine->format = "qcow2";
    engine->size_bytes = align_down(header->size_bytes, ENGINE_SECTOR_BYTES);
    engine->cluster_bits = header->cluster_bits;
    engine->encryption = encryptions[header->crypt_method];
    engine->needs_data_file =
        (header->incompatible & QCOW2_INCOMPAT_DATA_FILE) != 0;

    qcow2->transfer.iv_is_host = engine->encryption == BYRE_ENCRYPTION_LUKS;
    qcow2->l2_format = (struct l2_format){
        .version = header->version,
        .cluster_bits = header->cluster_bits,
        .extended = qcow2_has_extended_l2(header),
        .data_file = engine->needs_data_file,
    };
    qcow2->entry_words = qcow2->l2_format.extended ? 2 : 1;
    qcow2->l2_bits = log2_of(qcow2_l2_entries(header));
    qcow2->slice_bits =
        (uint32_t)min_u64(qcow2->l2_bits, log2_of(TABLE_SLICE_MAX_BYTES /
                                                  (8 * qcow2->entry_words)));
}

static int read_header(struct qcow2 *qcow2, struct byre_error *err)
{
    uint8_t buf[QCOW2_HEADER_BYTES];
    int r;

    r = store_read(qcow2->store, 0, buf, sizeof(buf), err);
    if (r < 0)
        return r;

    r = qcow2_header_decode(buf, sizeof(buf), &qcow2->header, err);
    if (r < 0)
        return r;

    derive_from_header(qcow2);
    r = read_names(qcow2, err);
    if (r < 0)
        return r;
    return qcow2->to_check ? qcow2_header_check_disk(&qcow2->header, err)
                           : qcow2_header_check(&qcow2->header, err);
}

static int open_store(struct byre_store *store,
                      const struct engine_limits *limits, bool to_check,
                      struct engine **ret_engine, struct byre_error *err)
{
    struct qcow2 *qcow2 = calloc(1, sizeof(*qcow2));
    int r;

    if (qcow2 == NULL)
        return fail_nomem(err, "an image", sizeof(*qcow2));

    engine_init(&qcow2->engine, &qcow2_ops);
    l1_init(&qcow2->l1);
    qcow2->store = store_ref(store);
    qcow2->data_store = store_ref(store);
    qcow2->limits = *limits;
    qcow2->to_check = to_check;
    pthread_mutex_init(&qcow2->lists_lock, NULL);
    r = read_header(qcow2, err);
    if (r < 0) {
        qcow2_free(&qcow2->engine);
        return r;
    }
    *ret_engine = &qcow2->engine;
    return BYRE_OK;
}

int qcow2_open(struct byre_store *store, const struct engine_limits *limits,
               struct engine **ret_engine, struct byre_error *err)
{
    return open_store(store, limits, false, ret_engine, err);
}

int qcow2_open_to_check(struct byre_store *store,
                        const struct engine_limits *limits,
                        struct engine **ret_engine, struct byre_error *err)
{
    return open_store(store, limits, true, ret_engine, err);
}
