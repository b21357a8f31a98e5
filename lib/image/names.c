/* SPDX-License-Identifier: MIT */
#include "image/names.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

size_t name_protocol_length(const char *name)
{
    const size_t length = strcspn(name, ":/");

    return name[length] == ':' ? length : 0;
}

static int copy(const char *name, char **ret_name, struct byre_error *err)
{
    char *result = strdup(name);

    if (result == NULL)
        return fail_nomem(err, "a name", strlen(name));
    *ret_name = result;
    return BYRE_OK;
}

int name_resolve(const char *image_path, const char *stored, char **ret_name,
                 struct byre_error *err)
{
    const char *slash;
    size_t folder_bytes;
    char *result;

    if (stored[0] == '/' || name_has_protocol(stored))
        return copy(stored, ret_name, err);
    if (image_path == NULL)
        return fail(err, BYRE_E_UNSUPPORTED,
                    "the relative name '%s' cannot be found: the image was "
                    "opened without a path",
                    stored);

    slash = strrchr(image_path, '/');
    if (slash == NULL)
        return copy(stored, ret_name, err);

    folder_bytes = (size_t)(slash - image_path) + 1;
    result = malloc(folder_bytes + strlen(stored) + 1);
    if (result == NULL)
        return fail_nomem(err, "a name", folder_bytes + strlen(stored) + 1);
    memcpy(result, image_path, folder_bytes);
    memcpy(result + folder_bytes, stored, strlen(stored) + 1);
    *ret_name = result;
    return BYRE_OK;
}
