/* SPDX-License-Identifier: MIT */
/*
 * Creating: byre_create() and byre_create_store().
 *
 *     check the options - look at the backing file - settle the size - think
 *     the image out, keys and all - open or make the files, lock them, see that
 *     none is used by the others - fill the data file - fill the image, its
 *     header last - flush, names too
 *
 * Up to the locks nothing of an existing file is touched; from then on a
 * failure removes what was made and leaves what was there empty.
 */
#include <string.h>

#include "base/error.h"
#include "image/create_backing.h"
#include "image/create_check.h"
#include "image/create_file.h"
#include "image/names.h"
#include "qcow1/create.h"
#include "qcow2/create.h"
#include "raw/create.h"

struct creation {
    struct byre_create_options opts;
    const char *path; /* of the image; NULL: a store */
    struct create_backing backing;
    struct qcow2_creation qcow2; /* for this format */
    struct create_file image;
    struct create_file data; /* the external data file, if there is one */
    bool data_reads_zero;
};

static bool is_qcow2(const struct creation *creation)
{
    return strcmp(creation->opts.format, "qcow2") == 0;
}

/* ---- Before anything is touched ---- */

static int look_at_backing(struct creation *creation, struct byre_error *err)
{
    struct byre_create_options *opts = &creation->opts;
    int r;

    if (opts->backing_name == NULL)
        return BYRE_OK;

    r = create_backing_look(opts, creation->path, &creation->backing, err);
    if (r < 0)
        return r;
    if (opts->virtual_size_bytes == BYRE_NO_OFFSET)
        opts->virtual_size_bytes = creation->backing.size_bytes;
    return BYRE_OK;
}

static int think_out(struct creation *creation,
                     const struct byre_create_options *given,
                     struct byre_error *err)
{
    int r;

    r = create_check(given, &creation->opts, err);
    if (r == BYRE_OK)
        r = look_at_backing(creation, err);
    if (r == BYRE_OK)
        r = create_check_size(&creation->opts, err);
    if (r == BYRE_OK && is_qcow2(creation))
        r = qcow2_creation_init(&creation->qcow2, &creation->opts, err);
    return r;
}

/* ---- The files ---- */

/* A data file that is kept must hold the whole disk. */
static int check_kept(const struct creation *creation, struct byre_error *err)
{
    uint64_t have_bytes;
    int r;

    if (!create_flag(&creation->opts, BYRE_CREATE_KEEP_DATA_FILE))
        return BYRE_OK;

    r = store_get_size(creation->data.store, &have_bytes, err);
    if (r < 0)
        return r;
    if (have_bytes < creation->opts.virtual_size_bytes)
        return fail(err, BYRE_E_INVALID,
                    "the data file to be kept has %llu bytes, fewer than the "
                    "disk's %llu",
                    (unsigned long long)have_bytes,
                    (unsigned long long)creation->opts.virtual_size_bytes);
    return BYRE_OK;
}

static int open_data(struct creation *creation, struct byre_error *err)
{
    const struct byre_create_options *opts = &creation->opts;
    const unsigned flags =
        (create_flag(opts, BYRE_CREATE_KEEP_DATA_FILE) ? CREATE_FILE_EXISTING
                                                       : 0) |
        (create_flag(opts, BYRE_CREATE_NOCOW) ? CREATE_FILE_NOCOW : 0);
    int r = BYRE_OK;

    if (opts->data_store != NULL)
        create_file_take(opts->data_store, &creation->data);
    else
        r = create_file_open(opts->data_file, flags, &creation->data, err);
    if (r < 0)
        error_prefix(err, "data file");
    return r;
}

static int prepare_data(struct creation *creation, struct byre_error *err)
{
    struct create_file *data = &creation->data;
    const char *name = data->name != NULL ? data->name : "the data file";
    int r;

    if (data->store == creation->image.store ||
        create_same_file(&data->store->identity,
                         &creation->image.store->identity))
        return fail(err, BYRE_E_INVALID,
                    "the data file '%s' is the image itself", name);

    r = create_file_fits(data, creation->opts.virtual_size_bytes, err);
    if (r == BYRE_OK)
        r = create_backing_refuse(&creation->backing, &data->store->identity,
                                  name, err);
    if (r == BYRE_OK)
        r = create_file_lock(data, err);
    if (r == BYRE_OK)
        r = check_kept(creation, err);
    return r;
}

static uint64_t bytes_needed(const struct creation *creation)
{
    if (is_qcow2(creation))
        return qcow2_creation_bytes(&creation->qcow2);
    if (strcmp(creation->opts.format, "qcow") == 0)
        return qcow1_create_bytes(&creation->opts);
    return creation->opts.virtual_size_bytes;
}

/* Everything that can be refused is, before anything is emptied. */
static int prepare_files(struct creation *creation, struct byre_error *err)
{
    struct create_file *image = &creation->image;
    int r;

    r = create_file_fits(image, bytes_needed(creation), err);
    if (r == BYRE_OK)
        r = create_backing_refuse(
            &creation->backing, &image->store->identity,
            image->name != NULL ? image->name : "the store", err);
    if (r == BYRE_OK && qcow2_create_has_data_file(&creation->opts)) {
        r = open_data(creation, err);
        if (r == BYRE_OK)
            r = prepare_data(creation, err);
    }
    if (r == BYRE_OK)
        r = create_file_lock(image, err);
    return r;
}

/* ---- Filling ---- */

/*
 * What the data file is asked to be.  Where no table maps it, or a table says
 * that it is not to be read, it need not be zero; without a table it must.
 */
static uint32_t data_preallocation(const struct byre_create_options *opts)
{
    if (opts->preallocation >= BYRE_PREALLOCATION_FALLOC)
        return opts->preallocation;
    return create_flag(opts, BYRE_CREATE_DATA_FILE_RAW)
               ? BYRE_PREALLOCATION_OFF
               : BYRE_PREALLOCATION_METADATA;
}

static int fill_data(struct creation *creation, struct byre_error *err)
{
    const struct byre_create_options *opts = &creation->opts;
    struct filler filler;
    int r;

    if (creation->data.store == NULL ||
        create_flag(opts, BYRE_CREATE_KEEP_DATA_FILE))
        return BYRE_OK;

    creation->data.touched = true;
    r = filler_init(&filler, creation->data.store,
                    !create_flag(opts, BYRE_CREATE_NO_SYNC), err);
    if (r == BYRE_OK) {
        creation->data_reads_zero =
            filler.reads_zero ||
            opts->preallocation >= BYRE_PREALLOCATION_FALLOC;
        r = raw_create(&filler, opts->virtual_size_bytes,
                       data_preallocation(opts), err);
        filler_done(&filler);
    }
    if (r < 0)
        error_prefix(err, "data file");
    return r;
}

static int fill_by_format(const struct creation *creation,
                          struct filler *filler, struct byre_error *err)
{
    const struct byre_create_options *opts = &creation->opts;

    if (is_qcow2(creation))
        return qcow2_creation_write(&creation->qcow2, filler,
                                    creation->data_reads_zero, err);
    if (strcmp(opts->format, "qcow") == 0)
        return qcow1_create(opts, filler, err);
    return raw_create(filler, opts->virtual_size_bytes, opts->preallocation,
                      err);
}

static int fill_image(struct creation *creation, struct byre_error *err)
{
    struct filler filler;
    int r;

    creation->image.touched = true;
    r = filler_init(&filler, creation->image.store,
                    !create_flag(&creation->opts, BYRE_CREATE_NO_SYNC), err);
    if (r < 0)
        return r;

    r = fill_by_format(creation, &filler, err);
    filler_done(&filler);
    return r;
}

static int sync_names(const struct creation *creation, struct byre_error *err)
{
    int r = BYRE_OK;

    if (create_flag(&creation->opts, BYRE_CREATE_NO_SYNC))
        return BYRE_OK;
    if (creation->data.store != NULL)
        r = create_file_sync_name(&creation->data, err);
    if (r == BYRE_OK)
        r = create_file_sync_name(&creation->image, err);
    return r;
}

/* With the image's file or store at hand. */
static int create_image(struct creation *creation, struct byre_error *err)
{
    int r;

    r = prepare_files(creation, err);
    if (r == BYRE_OK)
        r = fill_data(creation, err);
    if (r == BYRE_OK)
        r = fill_image(creation, err);
    if (r == BYRE_OK)
        r = sync_names(creation, err);
    return r;
}

static void creation_done(struct creation *creation, bool failed,
                          struct byre_error *err)
{
    create_file_close(&creation->image, failed, err);
    create_file_close(&creation->data, failed, err);
    qcow2_creation_done(&creation->qcow2);
    create_backing_done(&creation->backing);
}

/* ---- The calls ---- */

static int path_of(const char *name, const char **ret_path,
                   struct byre_error *err)
{
    const size_t protocol = name_protocol_length(name);

    if (strncmp(name, "file:", 5) == 0)
        name += 5;
    else if (protocol > 0)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "Unknown protocol '%.*s': an image is created at a path; "
                    "write ./%s if it is one",
                    (int)protocol, name, name);
    if (name[0] == '\0')
        return fail(err, BYRE_E_INVALID, "the name of the image is empty");
    *ret_path = name;
    return BYRE_OK;
}

static int open_image(struct creation *creation, struct byre_error *err)
{
    const struct byre_create_options *opts = &creation->opts;
    const unsigned flags =
        (create_flag(opts, BYRE_CREATE_EXCLUSIVE) ? CREATE_FILE_NEW : 0) |
        (create_flag(opts, BYRE_CREATE_NOCOW) ? CREATE_FILE_NOCOW : 0);

    return create_file_open(creation->path, flags, &creation->image, err);
}

int byre_create(const char *name, const struct byre_create_options *opts,
                struct byre_error *err)
{
    struct creation creation = { 0 };
    int r;

    if (name == NULL)
        return fail(err, BYRE_E_INVALID, "a name is required");

    r = path_of(name, &creation.path, err);
    if (r == BYRE_OK)
        r = think_out(&creation, opts, err);
    if (r == BYRE_OK)
        r = open_image(&creation, err);
    if (r == BYRE_OK)
        r = create_image(&creation, err);
    creation_done(&creation, r < 0, err);
    return r;
}

int byre_create_store(struct byre_store *store,
                      const struct byre_create_options *opts,
                      struct byre_error *err)
{
    struct creation creation = { 0 };
    int r;

    if (store == NULL)
        return fail(err, BYRE_E_INVALID, "a store is required");

    r = think_out(&creation, opts, err);
    if (r == BYRE_OK) {
        create_file_take(store, &creation.image);
        r = create_image(&creation, err);
    }
    creation_done(&creation, r < 0, err);
    return r;
}
