/* SPDX-License-Identifier: MIT */
#include "bitmap.h"
#include "info.h"

#include <stdbool.h>
#include <string.h>

#include "json_out.h"

#define SECTOR_SIZE     UINT64_C(512)
#define NSEC_PER_SECOND UINT64_C(1000000000)

/* JSON integers are signed; the sum of the header's fields may not be. */
static void set_number(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

static void set_flag(json_t *object, const char *key, bool value)
{
    json_object_set_new(object, key, json_boolean(value));
}

/* Leaves the key out where there is no text. */
static void set_text(json_t *object, const char *key, const char *text)
{
    if (text != NULL)
        json_object_set_new(object, key, json_out_string(text));
}

/* ---- Parts of a description ---- */

static json_t *snapshot_json(const struct byre_snapshot *snapshot)
{
    json_t *object = json_object();

    if (snapshot->icount != BYRE_NO_ICOUNT)
        set_number(object, "icount", snapshot->icount);
    set_number(object, "vm-clock-nsec",
               snapshot->vm_clock_nsec % NSEC_PER_SECOND);
    set_text(object, "name", snapshot->name);
    set_number(object, "date-sec", snapshot->date_sec);
    set_number(object, "date-nsec", snapshot->date_nsec);
    set_number(object, "vm-clock-sec",
               snapshot->vm_clock_nsec / NSEC_PER_SECOND);
    set_text(object, "id", snapshot->id);
    set_number(object, "vm-state-size", snapshot->vm_state_bytes);
    return object;
}

json_t *info_snapshots_json(struct byre *img, struct byre_error *err)
{
    const struct byre_snapshot *list = NULL;
    size_t count = 0;
    json_t *array;

    if (byre_snapshot_list(img, &list, &count, err) < 0)
        return NULL;
    array = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, snapshot_json(&list[i]));
    return array;
}

static int add_snapshots(struct byre *img, json_t *node, struct byre_error *err)
{
    json_t *array = info_snapshots_json(img, err);

    if (array == NULL)
        return err->code;
    if (json_array_size(array) > 0)
        json_object_set(node, "snapshots", array);
    json_decref(array);
    return BYRE_OK;
}

static int add_bitmaps(struct byre *img, json_t *data, struct byre_error *err)
{
    const struct byre_bitmap *list = NULL;
    size_t count = 0;
    json_t *array;
    int r;

    r = byre_bitmap_list(img, &list, &count, err);
    if (r < 0 || count == 0)
        return r;

    array = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, bitmap_json(&list[i]));
    json_object_set_new(data, "bitmaps", array);
    return BYRE_OK;
}

static json_t *slot_json(const struct byre_luks_slot *slot)
{
    json_t *object = json_object();

    set_flag(object, "active", slot->active != 0);
    if (slot->active != 0)
        set_number(object, "iters", slot->iterations);
    set_number(object, "key-offset", slot->key_offset_bytes);
    if (slot->active != 0)
        set_number(object, "stripes", slot->stripes);
    return object;
}

static json_t *luks_json(const struct byre_luks_info *luks)
{
    json_t *object = json_object();
    json_t *slots = json_array();

    for (size_t i = 0; i < sizeof(luks->slots) / sizeof(luks->slots[0]); i++)
        json_array_append_new(slots, slot_json(&luks->slots[i]));
    set_text(object, "ivgen-alg", luks->ivgen_alg);
    /* An image file has no place for a header outside itself. */
    set_flag(object, "detached-header", false);
    set_text(object, "hash-alg", luks->hash_alg);
    set_text(object, "cipher-alg", luks->cipher_alg);
    set_text(object, "uuid", luks->uuid);
    set_text(object, "ivgen-hash-alg", luks->ivgen_hash);
    set_text(object, "format", "luks");
    set_text(object, "cipher-mode", luks->cipher_mode);
    json_object_set_new(object, "slots", slots);
    set_number(object, "payload-offset", luks->payload_offset_bytes);
    set_number(object, "master-key-iters", luks->master_key_iterations);
    return object;
}

static int add_encryption(struct byre *img, const struct byre_info *info,
                          json_t *data, struct byre_error *err)
{
    struct byre_luks_info luks = BYRE_LUKS_INFO_INIT;
    json_t *object;
    int r;

    if (info->encryption == BYRE_ENCRYPTION_AES) {
        object = json_object();
        set_text(object, "format", "aes");
        json_object_set_new(data, "encrypt", object);
    }
    if (info->encryption != BYRE_ENCRYPTION_LUKS)
        return BYRE_OK;

    r = byre_get_luks_info(img, &luks, err);
    if (r < 0)
        return r;

    json_object_set_new(data, "encrypt", luks_json(&luks));
    return BYRE_OK;
}

static json_t *typed(const char *type, json_t *data)
{
    json_t *object = json_object();

    set_text(object, "type", type);
    json_object_set_new(object, "data", data);
    return object;
}

/* What only versions 2 and 3 have. */
static int add_qcow2(struct byre *img, const struct byre_info *info,
                     json_t *node, struct byre_error *err)
{
    const bool v3 = info->version >= 3;
    json_t *data = json_object();
    int r = BYRE_OK;

    json_object_set_new(node, "format-specific", typed("qcow2", data));
    set_text(data, "compat", v3 ? "1.1" : "0.10");
    set_text(data, "compression-type", info->compression_type);
    if (v3) {
        set_flag(data, "lazy-refcounts",
                 (info->flags & BYRE_INFO_LAZY_REFCOUNTS) != 0);
        r = add_bitmaps(img, data, err);
    }
    set_number(data, "refcount-bits", info->refcount_bits);
    if (v3)
        set_text(data, "data-file", info->data_file);
    if (r >= 0)
        r = add_encryption(img, info, data, err);
    if (v3 && (info->flags & BYRE_INFO_EXTERNAL_DATA) != 0)
        set_flag(data, "data-file-raw",
                 (info->flags & BYRE_INFO_DATA_FILE_RAW) != 0);
    if (v3) {
        set_flag(data, "corrupt", (info->flags & BYRE_INFO_CORRUPT) != 0);
        set_flag(data, "extended-l2",
                 (info->flags & BYRE_INFO_EXTENDED_L2) != 0);
    }
    return r;
}

/* The node of the file that the image is stored in. */
static json_t *file_json(const struct byre_info *info)
{
    const uint64_t sectors =
        (info->file_size_bytes + SECTOR_SIZE - 1) / SECTOR_SIZE;
    json_t *node = json_object();

    json_object_set_new(node, "children", json_array());
    set_number(node, "virtual-size", sectors * SECTOR_SIZE);
    set_text(node, "filename", info->path != NULL ? info->path : info->name);
    set_text(node, "format", info->protocol);
    if (info->allocated_bytes != BYRE_NO_OFFSET)
        set_number(node, "actual-size", info->allocated_bytes);
    json_object_set_new(node, "format-specific", typed("file", json_object()));
    set_flag(node, "dirty-flag", false);
    return node;
}

static json_t *children_json(const struct byre_info *info)
{
    json_t *child = json_object();
    json_t *children = json_array();

    set_text(child, "name", "file");
    json_object_set_new(child, "info", file_json(info));
    json_array_append_new(children, child);
    return children;
}

static int fill_node(struct byre *img, const struct byre_info *info,
                     json_t *node, struct byre_error *err)
{
    int r;

    json_object_set_new(node, "children", children_json(info));
    set_text(node, "backing-filename-format",
             info->backing_name != NULL ? info->backing_format : NULL);
    r = add_snapshots(img, node, err);
    if (r < 0)
        return r;

    set_number(node, "virtual-size", info->virtual_size_bytes);
    set_text(node, "filename", info->name);
    if (info->cluster_size_bytes != 0)
        set_number(node, "cluster-size", info->cluster_size_bytes);
    set_text(node, "format", info->format);
    if (info->allocated_bytes != BYRE_NO_OFFSET)
        set_number(node, "actual-size", info->allocated_bytes);
    if (info->version >= 2) {
        r = add_qcow2(img, info, node, err);
        if (r < 0)
            return r;
    }

    if (info->backing_name != NULL)
        set_text(node, "full-backing-filename", info->backing_resolved);
    if ((info->flags & BYRE_INFO_ENCRYPTED) != 0)
        set_flag(node, "encrypted", true);
    set_text(node, "backing-filename", info->backing_name);
    set_flag(node, "dirty-flag", (info->flags & BYRE_INFO_DIRTY) != 0);
    return BYRE_OK;
}

/* Any request is taken; these are served without more work than they say. */
static json_t *limits_json(uint64_t alignment, uint64_t unit)
{
    json_t *limits = json_object();

    set_number(limits, "request-alignment", alignment);
    if (unit != 0)
        set_number(limits, "discard-alignment", unit);
    if (unit != 0)
        set_number(limits, "write-zeroes-alignment", unit);
    set_number(limits, "max-iov", 1);
    set_number(limits, "min-mem-alignment", 1);
    set_number(limits, "opt-mem-alignment", 4096);
    return limits;
}

void info_add_limits(struct byre *img, json_t *node)
{
    struct byre_info info = BYRE_INFO_INIT;
    json_t *children = json_object_get(node, "children");
    uint64_t unit;

    if (byre_get_info(img, &info, NULL) < 0)
        return;
    unit = info.cluster_size_bytes;
    json_object_set_new(
        node, "limits",
        limits_json((info.flags & BYRE_INFO_ENCRYPTED) != 0 ? SECTOR_SIZE : 1,
                    unit));
    for (size_t i = 0; i < json_array_size(children); i++)
        json_object_set_new(
            json_object_get(json_array_get(children, i), "info"), "limits",
            limits_json(1, 0));
}

json_t *info_json(struct byre *img, struct byre_error *err)
{
    struct byre_info info = BYRE_INFO_INIT;
    json_t *node;

    if (byre_get_info(img, &info, err) < 0)
        return NULL;
    node = json_object();
    if (fill_node(img, &info, node, err) == BYRE_OK)
        return node;
    json_decref(node);
    return NULL;
}
