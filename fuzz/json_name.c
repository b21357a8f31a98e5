/* SPDX-License-Identifier: MIT */
/*
 * Names of images: paths, "file:" and "json:" trees.  What is accepted is a
 * tree of bounded depth with a path at its bottom.  Opens nothing.
 */
#include "fuzz.h"
#include "image/names.h"
#include "image/node.h"

static void check_node(const struct node *node, unsigned depth)
{
    if (node == NULL)
        return;
    FUZZ_ASSERT(depth <= NODE_MAX_DEPTH);
    FUZZ_ASSERT(node_path(node) != NULL);
    FUZZ_ASSERT(!(node->no_backing && node->backing != NULL));
    check_node(node->file, depth + 1);
    check_node(node->backing, depth + 1);
    check_node(node->data_file, depth + 1);
}

/* What a tree is called can be parsed, or refused, like any other name. */
static void check_describe(const struct node *node)
{
    struct node *again = NULL;
    struct byre_error err;
    char *name = NULL;
    int r;

    r = node_describe(node, &name, &err);
    fuzz_check_result(r, &err);
    FUZZ_ASSERT((name != NULL) == (r == BYRE_OK));
    if (r < 0)
        return;
    r = node_parse(name, &again, &err);
    fuzz_check_result(r, &err);
    node_free(again);
    free(name);
}

static void check_resolve(const char *image_path, const char *stored)
{
    struct byre_error err;
    char *name = NULL;
    const int r = name_resolve(image_path, stored, &name, &err);

    fuzz_check_result(r, &err);
    FUZZ_ASSERT((name != NULL) == (r == BYRE_OK));
    if (r == BYRE_OK)
        FUZZ_ASSERT(strlen(name) <=
                    strlen(stored) + (image_path ? strlen(image_path) : 0));
    free(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *name = fuzz_alloc(size + 1);
    struct node *node = NULL;
    struct byre_error err;
    int r;

    if (size > 0)
        memcpy(name, data, size);
    name[size] = '\0';
    r = node_parse(name, &node, &err);
    fuzz_check_result(r, &err);
    FUZZ_ASSERT((node != NULL) == (r == BYRE_OK));
    check_node(node, 0);
    if (node != NULL)
        check_describe(node);
    node_free(node);

    check_resolve(NULL, name);
    check_resolve("folder/overlay.qcow2", name);
    check_resolve(name, "base.raw");
    free(name);
    return 0;
}
