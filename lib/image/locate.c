/* SPDX-License-Identifier: MIT */
#include "image/locate.h"

#include <string.h>

#include "base/error.h"
#include "format/header.h"
#include "store/file.h"
#include "store/slice.h"

/* Sixteen bytes would do; QEMU looks at this many. */
#define PROBE_BYTES 512

static bool has_driver(const struct node *node, const char *driver)
{
    return node->driver != NULL && strcmp(node->driver, driver) == 0;
}

static int open_leaf(const struct node *node, unsigned file_flags,
                     struct byre_store **ret_store,
                     struct byre_store **ret_file, struct byre_error *err)
{
    int r;

    r = file_store_open(node->filename, file_flags, ret_store, err);
    if (r == BYRE_OK)
        *ret_file = store_ref(*ret_store);
    return r;
}

/* The bytes of a node that another one stands on: a file, or raw windows. */
static int open_storage(const struct node *node, unsigned file_flags,
                        struct byre_store **ret_store,
                        struct byre_store **ret_file, struct byre_error *err)
{
    struct byre_store *base, *file;
    int r;

    if (node->file == NULL)
        return open_leaf(node, file_flags, ret_store, ret_file, err);
    if (!has_driver(node, "raw"))
        return fail(err, BYRE_E_UNSUPPORTED,
                    "json: name: an image of format '%s' inside another one "
                    "is not supported; convert it first",
                    node->driver != NULL ? node->driver : "(none)");

    r = open_storage(node->file, file_flags, &base, &file, err);
    if (r < 0)
        return r;

    if (node->offset == 0 && node->window_bytes == BYRE_NO_OFFSET) {
        *ret_store = base;
        *ret_file = file;
        return BYRE_OK;
    }

    r = slice_store_new(base, node->offset, node->window_bytes, ret_store, err);
    byre_store_unref(base);
    if (r < 0)
        byre_store_unref(file);
    else
        *ret_file = file;
    return r;
}

int locate_store(const struct node *node, unsigned file_flags,
                 struct byre_store **ret_store, struct byre_store **ret_file,
                 struct byre_error *err)
{
    if (node->file == NULL || has_driver(node, "raw"))
        return open_storage(node, file_flags, ret_store, ret_file, err);
    return open_storage(node->file, file_flags, ret_store, ret_file, err);
}

const char *locate_format(const struct node *node)
{
    if (node->file == NULL && node->driver != NULL)
        return "raw"; /* a protocol's bytes, as they are */
    return node->driver;
}

/*
 * Formats that others have: to read such a file as a raw disk would give bytes
 * that nobody means.
 */
static const char *foreign_format(const uint8_t *buf)
{
    static const struct {
        const char *format;
        size_t offset;
        const char *magic;
    } magics[] = {
        { "vmdk", 0, "KDMV" },
        { "vmdk", 0, "COWD" },
        { "vmdk", 0, "# Disk DescriptorFile" },
        { "vdi", 64, "\x7f\x10\xda\xbe" },
        { "vpc", 0, "conectix" },
        { "vhdx", 0, "vhdxfile" },
        { "qed", 0, "QED" },
        { "luks", 0, "LUKS\xba\xbe" },
        { "parallels", 0, "WithoutFreeSpace" },
        { "parallels", 0, "WithouFreSpacExt" },
        { "bochs", 0, "Bochs Virtual HD Image" },
    };

    for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++) {
        const char *magic = magics[i].magic;

        if (memcmp(buf + magics[i].offset, magic, strlen(magic)) == 0)
            return magics[i].format;
    }
    return NULL;
}

int locate_probe(struct byre_store *store, const char **ret_format,
                 struct byre_error *err)
{
    const char *foreign;
    uint8_t buf[PROBE_BYTES];
    uint32_t version;
    int r;

    r = store_read(store, 0, buf, sizeof(buf), err);
    if (r < 0)
        return r;

    foreign = foreign_format(buf);
    if (foreign != NULL)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "the file looks like format '%s', which is not supported; "
                    "there are raw, qcow and qcow2 (as raw, if you say so, it "
                    "is read byte by byte)",
                    foreign);

    if (!qcow_probe(buf, sizeof(buf), &version) || version == 0)
        *ret_format = "raw";
    else
        *ret_format = version == 1 ? "qcow" : "qcow2";
    return BYRE_OK;
}
