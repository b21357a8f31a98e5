/* SPDX-License-Identifier: MIT */
/*
 * The open policy: what is opened, in which format, with which locks, and by
 * whose permission (docs/open-policy.md).
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "image/locate.h"
#include "image/names.h"
#include "image/request.h"
#include "image/secret.h"
#include "qcow1/qcow1.h"
#include "qcow2/qcow2.h"
#include "raw/raw.h"
#include "store/file.h"

#define DEFAULT_CHAIN_DEPTH         200
#define DEFAULT_TABLE_CACHE_BYTES   (UINT64_C(32) << 20)
#define DEFAULT_CLUSTER_CACHE_BYTES (UINT64_C(8) << 20)
#define DEFAULT_KDF_ITERATIONS      (UINT64_C(1) << 26)
#define DEFAULT_TABLE_BYTES         (UINT64_C(64) << 20)
#define DEFAULT_REFCOUNT_BYTES      (UINT64_C(4) << 20)

static uint64_t or_default(uint64_t value, uint64_t default_value)
{
    return value != 0 ? value : default_value;
}

/* ---- The format ---- */

static int choose_format(const struct request *request, const char **ret_format,
                         struct byre_error *err)
{
    const bool top = request->depth == 0;
    const uint32_t flags = request->opts->flags;

    if (request->format != NULL) {
        *ret_format = request->format;
        return BYRE_OK;
    }
    if (!top && (flags & BYRE_OPEN_PROBE_BACKING) == 0)
        return fail(err, BYRE_E_POLICY,
                    "its format is not recorded, and guessing it is not "
                    "allowed");
    if (flags & BYRE_OPEN_NO_PROBE)
        return fail(err, BYRE_E_POLICY,
                    "no format is given, and guessing it is not allowed");
    return locate_probe(request->store, ret_format, err);
}

static int open_engine(const struct request *request, const char *format,
                       struct engine **ret_engine, struct byre_error *err)
{
    const struct byre_open_options *opts = request->opts;
    const struct engine_limits limits = {
        .table_cache_bytes =
            or_default(opts->table_cache_bytes, DEFAULT_TABLE_CACHE_BYTES),
        .cluster_cache_bytes =
            or_default(opts->cluster_cache_bytes, DEFAULT_CLUSTER_CACHE_BYTES),
        .max_kdf_iterations =
            or_default(opts->max_kdf_iterations, DEFAULT_KDF_ITERATIONS),
        .max_table_bytes =
            or_default(opts->max_table_bytes, DEFAULT_TABLE_BYTES),
    };

    if (strcmp(format, "raw") == 0)
        return raw_open(request->store, request->format == NULL, ret_engine,
                        err);
    if (strcmp(format, "qcow") == 0)
        return qcow1_open(request->store, &limits, ret_engine, err);
    if (strcmp(format, "qcow2") == 0 && (opts->flags & BYRE_OPEN_CHECK) != 0)
        return qcow2_open_to_check(request->store, &limits, ret_engine, err);
    if (strcmp(format, "qcow2") == 0)
        return qcow2_open(request->store, &limits, ret_engine, err);
    return fail(err, BYRE_E_UNSUPPORTED,
                "Unknown driver '%s'; there are raw, qcow and qcow2", format);
}

/* ---- Locks and loops ---- */

bool request_writes(const struct request *request)
{
    return request->depth == 0 && (request->opts->flags & BYRE_OPEN_WRITE) != 0;
}

unsigned request_file_flags(const struct byre_open_options *opts,
                            uint32_t depth)
{
    unsigned flags = 0;

    if (opts->flags & BYRE_OPEN_DIRECT)
        flags |= FILE_STORE_DIRECT;
    if (depth == 0 && (opts->flags & BYRE_OPEN_WRITE) != 0) {
        flags |= FILE_STORE_WRITE;
        if (opts->flags & BYRE_OPEN_NO_SYNC)
            flags |= FILE_STORE_NO_SYNC;
    }
    return flags;
}

/* Writers of a raw disk do not keep one another away. */
static int lock_for_writing(struct byre_store *file, const char *format,
                            const char *name, struct byre_error *err)
{
    if (strcmp(format, "raw") == 0)
        return file_store_lock(file, FILE_LOCK_READ | FILE_LOCK_WRITE, 0, name,
                               err);
    return file_store_lock(file,
                           FILE_LOCK_READ | FILE_LOCK_WRITE | FILE_LOCK_RESIZE,
                           FILE_LOCK_WRITE | FILE_LOCK_RESIZE, name, err);
}

/*
 * A reader keeps writers away; who only describes a raw disk asks nothing of
 * anybody.  (Measured on QEMU 7.2, tests/interop.)
 */
int lock_image(const struct byre *img, const char *format, bool writes,
               struct byre_error *err)
{
    const uint32_t flags = img->open_flags;
    const bool describes = (flags & BYRE_OPEN_METADATA_ONLY) != 0;

    if ((flags & BYRE_OPEN_NO_LOCK) || img->file == NULL ||
        (describes && strcmp(format, "raw") == 0))
        return BYRE_OK;
    if (writes)
        return lock_for_writing(img->file, format, img->name, err);
    return file_store_lock(
        img->file, describes ? 0 : FILE_LOCK_READ,
        flags & BYRE_OPEN_SHARED ? 0 : FILE_LOCK_WRITE | FILE_LOCK_RESIZE,
        img->name, err);
}

static bool same_file(const struct store_identity *a,
                      const struct store_identity *b)
{
    return a->known && b->known && a->is_device == b->is_device &&
           a->device == b->device && a->inode == b->inode;
}

static int refuse_loops(const struct request *request, struct byre_error *err)
{
    const uint32_t asked = request->opts->max_chain_depth != 0
                               ? request->opts->max_chain_depth
                               : DEFAULT_CHAIN_DEPTH;
    const uint32_t most = asked < CHAIN_MAX_DEPTH ? asked : CHAIN_MAX_DEPTH;

    if (request->depth >= most)
        return fail(err, BYRE_E_LIMIT,
                    "the chain has more than the limit of %u images", most);
    for (const struct ancestor *a = request->above; a != NULL; a = a->above) {
        if (same_file(&a->image->store->identity, &request->store->identity))
            return fail(err, BYRE_E_CORRUPT,
                        "the backing file '%s' creates an infinite loop",
                        request->name);
    }
    return BYRE_OK;
}

static bool same_store(const struct byre_store *a, const struct byre_store *b)
{
    if (a == b)
        return true;
    return a != NULL && b != NULL && a->file_offset == b->file_offset &&
           same_file(&a->identity, &b->identity);
}

bool image_is_same(const struct byre *a, const struct byre *b)
{
    return same_store(a->store, b->store) &&
           same_store(a->data_store, b->data_store) &&
           a->is_snapshot == b->is_snapshot && !a->is_snapshot &&
           a->engine->size_bytes == b->engine->size_bytes &&
           strcmp(a->engine->format, b->engine->format) == 0;
}

bool chain_uses_file(const struct byre *img,
                     const struct store_identity *identity)
{
    for (; img != NULL; img = img->backing) {
        if (same_file(&img->store->identity, identity) ||
            (img->data_store != NULL &&
             same_file(&img->data_store->identity, identity)))
            return true;
    }
    return false;
}

/* ---- From a store to a disk ---- */

/* What a name says of the encryption must be so. */
static int check_encryption(const struct request *request,
                            const struct engine *engine, struct byre_error *err)
{
    static const char *const formats[] = {
        [BYRE_ENCRYPTION_NONE] = "none",
        [BYRE_ENCRYPTION_AES] = "aes",
        [BYRE_ENCRYPTION_LUKS] = "luks",
    };
    const char *said =
        request->node != NULL ? request->node->encrypt_format : NULL;

    if (said == NULL || strcmp(said, formats[engine->encryption]) == 0)
        return BYRE_OK;
    return fail(err, BYRE_E_INVALID,
                "the encryption is '%s', but the options say '%s'",
                formats[engine->encryption], said);
}

static int unlock(const struct request *request, struct byre *img,
                  struct byre_error *err)
{
    struct secret secret;
    int r;

    r = check_encryption(request, img->engine, err);
    if (r < 0 || img->engine->encryption == BYRE_ENCRYPTION_NONE)
        return r;

    r = secret_get(request->opts,
                   request->node != NULL ? request->node->key_secret : NULL,
                   img->name, request->depth, &secret, err);
    if (r < 0)
        return r;

    r = img->engine->ops->unlock(img->engine, secret.bytes, secret.length, err);
    secret_done(&secret);
    return r;
}

static int prepare_disk(const struct request *request, struct byre *img,
                        struct byre_error *err)
{
    const struct byre_open_options *opts = request->opts;
    const struct snapshot_selector none = { 0 };
    const struct snapshot_selector selector = { opts->snapshot,
                                                opts->snapshot_id,
                                                opts->snapshot_name };
    int r;

    r = request_open_data_file(request, img, err);
    if (r == BYRE_OK)
        r = unlock(request, img, err);
    if (r == BYRE_OK)
        r = img->engine->ops->prepare(
            img->engine, request->depth == 0 ? &selector : &none, err);
    return r;
}

/*
 * A check needs no disk.  A data file is looked for where the caller allows it,
 * for its locks; one that is gone keeps nobody from looking at the tables.
 */
static int prepare_check(const struct request *request, struct byre *img,
                         struct byre_error *err)
{
    const struct byre_open_options *opts = request->opts;
    int r;

    if (opts->data_store == NULL &&
        (request->node == NULL || request->node->data_file == NULL) &&
        (img->engine->data_file_name == NULL ||
         (opts->flags & BYRE_OPEN_FOLLOW_DATA_FILE) == 0))
        return BYRE_OK;

    r = request_open_data_file(request, img, err);
    return r == BYRE_E_IO && img->data_store == NULL ? BYRE_OK : r;
}

static int set_names(const struct request *request, struct byre *img,
                     struct byre_error *err)
{
    img->name = strdup(request->name);
    if (img->name == NULL)
        return fail_nomem(err, "a name", strlen(request->name));
    if (request->path == NULL)
        return BYRE_OK;
    img->path = strdup(request->path);
    return img->path != NULL ? BYRE_OK
                             : fail_nomem(err, "a name", strlen(request->path));
}

/* Everything but what lies below it in the chain. */
static int open_alone(const struct request *request, struct byre *img,
                      struct byre_error *err)
{
    const char *format = NULL;
    int r;

    img->store = store_ref(request->store);
    img->file = request->file != NULL ? store_ref(request->file) : NULL;
    img->open_flags = request->opts->flags;
    img->refcount_cache_bytes =
        or_default(request->opts->refcount_cache_bytes, DEFAULT_REFCOUNT_BYTES);
    img->is_snapshot =
        request->depth == 0 && (request->opts->snapshot != NULL ||
                                request->opts->snapshot_id != NULL ||
                                request->opts->snapshot_name != NULL);
    img->metadata_only = (request->opts->flags & BYRE_OPEN_METADATA_ONLY) != 0;
    img->check_only = (request->opts->flags & BYRE_OPEN_CHECK) != 0;
    r = set_names(request, img, err);
    if (r == BYRE_OK)
        r = refuse_loops(request, err);
    if (r == BYRE_OK)
        r = choose_format(request, &format, err);
    if (r == BYRE_OK)
        r = lock_image(img, format, request_writes(request), err);
    if (r == BYRE_OK)
        r = open_engine(request, format, &img->engine, err);
    if (r == BYRE_OK && img->engine->backing_name != NULL)
        name_resolve(request->path, img->engine->backing_name,
                     &img->backing_resolved, NULL);
    if (r == BYRE_OK && img->check_only)
        r = prepare_check(request, img, err);
    else if (r == BYRE_OK && !img->metadata_only)
        r = prepare_disk(request, img, err);
    if (r == BYRE_OK && img->check_only)
        img->may_repair = request_writes(request);
    img->failed_flushes = image_failed_flushes(img);
    return r;
}

int request_open(const struct request *request, struct byre **ret_img,
                 struct byre_error *err)
{
    struct byre *img = calloc(1, sizeof(*img));
    int r;

    if (img == NULL)
        return fail_nomem(err, "an image", sizeof(*img));

    pthread_rwlock_init(&img->writing, NULL);
    r = open_alone(request, img, err);
    if (r < 0 && request->depth > 0)
        error_prefix(err, "Could not open backing file '%s'", request->name);
    if (r == BYRE_OK && !img->metadata_only && !img->check_only)
        r = request_open_backing(request, img, err);
    if (r == BYRE_OK && request_writes(request) && !img->check_only)
        r = image_prepare_write(img, request->opts->flags, err);
    if (r < 0) {
        byre_close(img, NULL);
        return r;
    }
    *ret_img = img;
    return BYRE_OK;
}

/* The tree of a json: name may give the format, or the caller; not both. */
static int take_format(struct request *request, struct byre_error *err)
{
    const char *of_tree =
        request->node != NULL ? locate_format(request->node) : NULL;
    const char *of_caller = request->opts->format;

    if (of_tree != NULL && of_caller != NULL && strcmp(of_tree, of_caller) != 0)
        return fail(err, BYRE_E_INVALID,
                    "the format is given as '%s' and, in the name, as '%s'",
                    of_caller, of_tree);
    request->format = of_tree != NULL ? of_tree : of_caller;
    return BYRE_OK;
}

static int check_call(const struct byre_open_options *given,
                      struct byre *const *ret_img,
                      struct byre_open_options *ret, struct byre_error *err)
{
    if (ret_img == NULL)
        return fail(err, BYRE_E_INVALID, "room for the image is required");
    return check_options(given, ret, err);
}

static int open_top(struct request *request, struct byre **ret_img,
                    struct byre_error *err)
{
    int r;

    r = take_format(request, err);
    if (r < 0)
        return r;
    return request_open(request, ret_img, err);
}

static int open_node(const struct node *node,
                     const struct byre_open_options *given,
                     struct byre **ret_img, struct byre_error *err)
{
    struct byre_open_options tuned;
    const struct byre_open_options *opts = &tuned;
    struct request request = { .opts = opts,
                               .node = node,
                               .path = node_path(node) };
    char *description = NULL;
    int r;

    r = tune_options(node, given, &tuned, err);
    if (r == BYRE_OK)
        r = node_describe(node, &description, err);
    if (r == BYRE_OK)
        r = locate_store(node, request_file_flags(opts, 0), &request.store,
                         &request.file, err);
    if (r == BYRE_OK) {
        request.name = description;
        r = open_top(&request, ret_img, err);
    }
    byre_store_unref(request.store);
    byre_store_unref(request.file);
    free(description);
    return r;
}

int byre_open(const char *name, const struct byre_open_options *opts,
              struct byre **ret_img, struct byre_error *err)
{
    struct byre_open_options known;
    struct node *node = NULL;
    int r;

    if (name == NULL)
        return fail(err, BYRE_E_INVALID, "a name is required");

    r = check_call(opts, ret_img, &known, err);
    if (r == BYRE_OK)
        r = node_parse(name, &node, err);
    if (r == BYRE_OK)
        r = open_node(node, &known, ret_img, err);
    node_free(node);
    return r;
}

int byre_open_fd(int fd, const char *name, const struct byre_open_options *opts,
                 struct byre **ret_img, struct byre_error *err)
{
    struct byre_open_options known;
    struct request request = { .opts = &known,
                               .name = name != NULL ? name : "descriptor",
                               .path = name };
    int r;

    r = check_call(opts, ret_img, &known, err);
    if (r == BYRE_OK)
        r = file_store_open_fd(fd, request_file_flags(&known, 0),
                               &request.store, err);
    if (r < 0)
        return r;

    request.file = request.store;
    r = open_top(&request, ret_img, err);
    byre_store_unref(request.store);
    return r;
}

int byre_open_store(struct byre_store *store, const char *name,
                    const struct byre_open_options *opts, struct byre **ret_img,
                    struct byre_error *err)
{
    struct byre_open_options known;
    struct request request = { .opts = &known,
                               .store = store,
                               .name = name != NULL ? name : "store",
                               .path = name };
    int r;

    if (store == NULL)
        return fail(err, BYRE_E_INVALID, "a store is required");

    r = check_call(opts, ret_img, &known, err);
    if (r < 0)
        return r;
    return open_top(&request, ret_img, err);
}

static void image_free(struct byre *img)
{
    if (img->engine != NULL)
        img->engine->ops->free(img->engine);
    byre_store_unref(img->data_store);
    byre_store_unref(img->file);
    byre_store_unref(img->store);
    pthread_rwlock_destroy(&img->writing);
    free(img->name);
    free(img->path);
    free(img->data_path);
    free(img->backing_resolved);
    free(img);
}

/* An image below the top one may have been opened for writing by itself. */
static int finish(struct byre *img, struct byre_error *err)
{
    int r = BYRE_OK;

    while (img != NULL && img->engine != NULL) {
        struct byre_error why;

        if (img->engine->writable &&
            img->engine->ops->finish(img->engine, &why) < 0 && r == BYRE_OK) {
            r = why.code;
            error_prefix(&why, "%s", img->name);
            if (err != NULL)
                *err = why;
        }
        img = img->backing_is_lent ? NULL : img->backing;
    }
    return r;
}

int byre_close(struct byre *img, struct byre_error *err)
{
    const int r = finish(img, err);

    while (img != NULL) {
        struct byre *backing = img->backing_is_lent ? NULL : img->backing;

        image_free(img);
        img = backing;
    }
    return r;
}
