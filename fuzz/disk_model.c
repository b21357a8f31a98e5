/* SPDX-License-Identifier: MIT */
#include "disk_model.h"

void model_init(struct disk_model *model)
{
    model->bytes = calloc(WINDOW_BYTES, 1);
    model->known = calloc(WINDOW_BYTES, 1);
    FUZZ_ASSERT(model->bytes != NULL && model->known != NULL);
}

void model_done(struct disk_model *model)
{
    free(model->bytes);
    free(model->known);
}

size_t model_clip(uint64_t offset, uint64_t length)
{
    if (offset >= WINDOW_BYTES)
        return 0;
    if (length > WINDOW_BYTES - offset)
        return WINDOW_BYTES - (size_t)offset;
    return (size_t)length;
}

void model_forget(struct disk_model *model, uint64_t offset, uint64_t length)
{
    if (model_clip(offset, length) > 0)
        memset(model->known + offset, 0, model_clip(offset, length));
}

void model_set(struct disk_model *model, uint64_t offset, uint64_t length,
               const uint8_t *bytes)
{
    const size_t n = model_clip(offset, length);

    if (n == 0)
        return;
    memset(model->known + offset, 1, n);
    if (bytes != NULL)
        memcpy(model->bytes + offset, bytes, n);
    else
        memset(model->bytes + offset, 0, n);
}

bool model_knows(const struct disk_model *model, uint64_t offset, size_t length)
{
    return model_clip(offset, length) == length &&
           memchr(model->known + offset, 0, length) == NULL;
}

void model_compare(const struct disk_model *model, uint64_t offset,
                   const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < model_clip(offset, length); i++)
        FUZZ_ASSERT(!model->known[offset + i] ||
                    model->bytes[offset + i] == bytes[i]);
}

void model_compare_discarded(const struct disk_model *model, uint64_t offset,
                             const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < model_clip(offset, length); i++)
        FUZZ_ASSERT(!model->known[offset + i] || bytes[i] == 0 ||
                    model->bytes[offset + i] == bytes[i]);
}
