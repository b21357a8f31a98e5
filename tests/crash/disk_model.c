/* SPDX-License-Identifier: MIT */
#include "disk_model.h"

#include "memory.h"
#include <assert.h>

static const uint8_t zeroes[MODEL_SECTOR];

static uint64_t sectors_of(uint64_t bytes)
{
    return (bytes + MODEL_SECTOR - 1) / MODEL_SECTOR;
}

void disk_model_init(struct disk_model *model, uint64_t bytes,
                     uint64_t max_bytes)
{
    *model = (struct disk_model){ .sector_count = sectors_of(max_bytes) };
    model->sectors =
        memory_new((model->sector_count + 1) * sizeof(*model->sectors));
    for (uint64_t i = 0; i < model->sector_count; i++)
        model->sectors[i].start = zeroes;
    model->sizes[0] = (struct model_size){ .bytes = bytes, .certain = true };
    model->size_count = 1;
}

void disk_model_done(struct disk_model *model)
{
    for (uint64_t i = 0; model->sectors != NULL && i < model->sector_count; i++)
        free(model->sectors[i].versions);
    for (size_t i = 0; i < model->blob_count; i++)
        free(model->blobs[i]);
    free(model->blobs);
    free(model->sectors);
    *model = (struct disk_model){ .sectors = NULL };
}

uint64_t disk_model_bytes(const struct disk_model *model)
{
    return model->sizes[model->size_count - 1].bytes;
}

/* ---- Contents ---- */

/* `sectors` zeroed sectors that live as long as the model. */
static uint8_t *new_blob(struct disk_model *model, uint64_t sectors)
{
    uint8_t *blob = memory_new((sectors + 1) * MODEL_SECTOR);

    if (model->blob_count == model->blob_capacity) {
        model->blob_capacity = model->blob_capacity * 2 + 64;
        model->blobs =
            memory_grow(model->blobs, model->blob_count * sizeof(*model->blobs),
                        model->blob_capacity * sizeof(*model->blobs));
    }
    model->blobs[model->blob_count++] = blob;
    return blob;
}

const uint8_t *disk_model_older(const struct disk_model *model, uint64_t sector,
                                uint32_t back)
{
    const struct model_sector *at = &model->sectors[sector];

    return at->count > back ? at->versions[at->count - 1 - back].bytes
                            : at->start;
}

const uint8_t *disk_model_newest(const struct disk_model *model,
                                 uint64_t sector)
{
    return disk_model_older(model, sector, 0);
}

void disk_model_start(struct disk_model *model, const uint8_t *bytes,
                      uint64_t length)
{
    uint8_t *blob = new_blob(model, sectors_of(length));

    memcpy(blob, bytes, length);
    for (uint64_t i = 0; i < sectors_of(length); i++)
        model->sectors[i].start = blob + i * MODEL_SECTOR;
}

static void push(struct model_sector *at, const struct model_version *version)
{
    if (at->count == at->capacity) {
        at->capacity = at->capacity * 2 + 4;
        at->versions =
            memory_grow(at->versions, at->count * sizeof(*at->versions),
                        at->capacity * sizeof(*at->versions));
    }
    at->versions[at->count++] = *version;
}

void disk_model_begin(struct disk_model *model, uint64_t offset,
                      const uint8_t *bytes, uint64_t length, uint64_t now)
{
    const uint64_t first = offset / MODEL_SECTOR;
    const uint64_t end = sectors_of(offset + length);
    uint8_t *blob = length > 0 ? new_blob(model, end - first) : NULL;

    if (length == 0)
        return;
    for (uint64_t i = first; i < end; i++)
        memcpy(blob + (i - first) * MODEL_SECTOR, disk_model_newest(model, i),
               MODEL_SECTOR);
    if (bytes != NULL)
        memcpy(blob + (offset - first * MODEL_SECTOR), bytes, length);
    else
        memset(blob + (offset - first * MODEL_SECTOR), 0, length);
    for (uint64_t i = first; i < end; i++) {
        const struct model_version version = {
            .bytes = blob + (i - first) * MODEL_SECTOR,
            .begun = now,
            .promised = MODEL_NEVER,
            .whole = i * MODEL_SECTOR >= offset &&
                     (i + 1) * MODEL_SECTOR <= offset + length
        };

        push(&model->sectors[i], &version);
    }
}

/* Whether all of the last version is known, now that it has succeeded: one
   that covers a part of its sector has the rest from the one before. */
static bool is_known(const struct model_sector *at)
{
    const struct model_version *last = &at->versions[at->count - 1];

    return last->whole || at->count == 1 || last[-1].certain;
}

void disk_model_succeed(struct disk_model *model, uint64_t offset,
                        uint64_t length)
{
    for (uint64_t i = offset / MODEL_SECTOR; i < sectors_of(offset + length);
         i++) {
        struct model_sector *at = &model->sectors[i];

        if (length > 0)
            at->versions[at->count - 1].certain = is_known(at);
    }
}

/* ---- Promises ---- */

static void promise_sector(struct model_sector *at, uint64_t now)
{
    for (uint32_t i = at->count; i-- > 0;) {
        struct model_version *version = &at->versions[i];

        if (version->promised != MODEL_NEVER)
            return;
        version->promised = now;
    }
}

void disk_model_promise(struct disk_model *model, uint64_t now)
{
    for (uint64_t i = 0; i < model->sector_count; i++)
        promise_sector(&model->sectors[i], now);
}

/* Whether a promise for the last version tells of the whole sector. */
static bool is_alone(const struct model_sector *at)
{
    const struct model_version *last = &at->versions[at->count - 1];

    return last->whole || at->count == 1 || last[-1].promised != MODEL_NEVER;
}

void disk_model_promise_range(struct disk_model *model, uint64_t offset,
                              uint64_t length, uint64_t now)
{
    for (uint64_t i = offset / MODEL_SECTOR; i < sectors_of(offset + length);
         i++)
        if (is_alone(&model->sectors[i]))
            promise_sector(&model->sectors[i], now);
}

/* ---- Sizes ---- */

void disk_model_begin_size(struct disk_model *model, uint64_t bytes,
                           uint64_t now)
{
    assert(model->size_count < MODEL_MAX_SIZES);
    model->sizes[model->size_count++] = (struct model_size){
        .bytes = bytes, .begun = now, .promised = MODEL_NEVER
    };
}

void disk_model_succeed_size(struct disk_model *model, uint64_t now)
{
    model->sizes[model->size_count - 1].certain = true;
    model->sizes[model->size_count - 1].promised = now;
}

bool disk_model_allows_size(const struct disk_model *model, uint64_t cut,
                            uint64_t bytes)
{
    for (size_t i = model->size_count; i-- > 0;) {
        const struct model_size *size = &model->sizes[i];

        if (size->bytes == bytes &&
            (i == 0 || size->begun < cut || size->promised <= cut))
            return true;
        if (size->certain && size->promised <= cut)
            return false;
    }
    return false;
}

bool disk_model_allows_size_now(const struct disk_model *model, uint64_t bytes)
{
    for (size_t i = model->size_count; i-- > 0;) {
        if (model->sizes[i].bytes == bytes)
            return true;
        if (model->sizes[i].certain)
            return false;
    }
    return false;
}

/* ---- Doubt ---- */

void disk_model_doubt(struct disk_model *model)
{
    for (uint64_t i = 0; i < model->sector_count; i++) {
        struct model_sector *at = &model->sectors[i];

        for (uint32_t j = at->count; j-- > 0;) {
            if (at->versions[j].promised != MODEL_NEVER)
                break;
            at->versions[j].certain = false;
        }
    }
}

/* ---- What is allowed ---- */

/* The versions of a sector that are possible: from `first`, which is -1 for
   the start, to before `end`. */
struct window {
    int64_t first;
    int64_t end;
    bool mixed;
};

static const uint8_t *bytes_at(const struct model_sector *at, int64_t index)
{
    return index < 0 ? at->start : at->versions[index].bytes;
}

static bool allows_byte(const struct model_sector *at,
                        const struct window *window, size_t byte, uint8_t value)
{
    for (int64_t i = window->first; i < window->end; i++)
        if (bytes_at(at, i)[byte] == value)
            return true;
    return false;
}

static bool window_allows(const struct model_sector *at,
                          const struct window *window, const uint8_t *bytes)
{
    for (int64_t i = window->end; i-- > window->first;)
        if (memcmp(bytes_at(at, i), bytes, MODEL_SECTOR) == 0)
            return true;
    for (size_t i = 0; window->mixed && i < MODEL_SECTOR; i++)
        if (!allows_byte(at, window, i, bytes[i]))
            return false;
    return window->mixed;
}

/* One that changed nothing on the stores is promised when it begins. */
static bool is_to_come(const struct model_version *version, uint64_t cut)
{
    return version->begun >= cut && version->promised > cut;
}

bool disk_model_allows(const struct disk_model *model, uint64_t cut,
                       uint64_t sector, const uint8_t *bytes)
{
    const struct model_sector *at = &model->sectors[sector];
    struct window window = { .first = (int64_t)at->count - 1 };

    while (window.first >= 0 && is_to_come(&at->versions[window.first], cut))
        window.first--;
    window.end = window.first + 1;
    for (; window.first >= 0; window.first--) {
        const struct model_version *version = &at->versions[window.first];

        if (version->certain && version->promised <= cut)
            break;
        window.mixed |= !version->whole;
    }
    return window_allows(at, &window, bytes);
}

bool disk_model_allows_now(const struct disk_model *model, uint64_t sector,
                           const uint8_t *bytes)
{
    const struct model_sector *at = &model->sectors[sector];
    struct window window = { .first = (int64_t)at->count - 1,
                             .end = (int64_t)at->count };

    for (; window.first >= 0 && !at->versions[window.first].certain;
         window.first--)
        window.mixed |= !at->versions[window.first].whole;
    return window_allows(at, &window, bytes);
}

/* ---- Contents to write ---- */

static uint64_t mix(uint64_t value)
{
    value ^= value >> 33;
    value *= UINT64_C(0xff51afd7ed558ccd);
    value ^= value >> 33;
    value *= UINT64_C(0xc4ceb9fe1a85ec53);
    return value ^ value >> 33;
}

void disk_pattern(uint64_t number, uint64_t offset, uint8_t *bytes,
                  uint64_t length)
{
    for (uint64_t i = 0; i < length;) {
        const uint64_t at = offset + i;
        const uint64_t word = mix(number << 32 ^ at / MODEL_SECTOR) | 1;
        const uint64_t step = at % 8 == 0 && length - i >= 8 ? 8 : 1;

        for (uint64_t j = 0; j < step; j++)
            bytes[i + j] = (uint8_t)(word >> ((at + j) % 8 * 8));
        i += step;
    }
}
