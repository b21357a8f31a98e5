/* SPDX-License-Identifier: MIT */
/*
 * What a disk may hold: a flat array of sectors beside an image under test.
 *
 * Every sector has the versions that were written to it, in order.  Each knows
 * from which moment it may be found (its write had begun), and from which
 * moment none before it may (a flush that covers it has returned).  A moment is
 * a length of the recorder's log, which is also what a cut is.
 *
 * A version whose write has failed stays possible and is never required.  One
 * that covers only some bytes of its sector may be mixed with its neighbours
 * byte by byte; whole ones may not.
 */
#ifndef BYRE_TESTS_CRASH_DISK_MODEL_H
#define BYRE_TESTS_CRASH_DISK_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_SECTOR 512u
#define MODEL_NEVER  UINT64_MAX

struct model_version {
    const uint8_t *bytes; /* a whole sector */
    uint64_t begun;
    uint64_t promised; /* MODEL_NEVER: not yet */
    bool certain;      /* its call has succeeded */
    bool whole;        /* it covers its sector */
};

struct model_sector {
    struct model_version *versions; /* after the first, which is `start` */
    uint32_t count;
    uint32_t capacity;
    const uint8_t *start;
};

struct model_size {
    uint64_t bytes;
    uint64_t begun;
    uint64_t promised;
    bool certain;
};

#define MODEL_MAX_SIZES 64

struct disk_model {
    struct model_sector *sectors;
    uint64_t sector_count; /* as far as the disk ever reaches */
    struct model_size sizes[MODEL_MAX_SIZES];
    size_t size_count;
    uint8_t **blobs; /* what versions point to */
    size_t blob_count;
    size_t blob_capacity;
};

/* A disk of `bytes` zeroes that may grow up to `max_bytes`. */
void disk_model_init(struct disk_model *model, uint64_t bytes,
                     uint64_t max_bytes);
void disk_model_done(struct disk_model *model);

/* What the first `length` bytes hold from the start. */
void disk_model_start(struct disk_model *model, const uint8_t *bytes,
                      uint64_t length);

/* The size as far as is known. */
uint64_t disk_model_bytes(const struct disk_model *model);

/* A write of `bytes` (NULL: zeroes) begins: it may be found from `now` on. */
void disk_model_begin(struct disk_model *model, uint64_t offset,
                      const uint8_t *bytes, uint64_t length, uint64_t now);

/* The last write to the range has succeeded. */
void disk_model_succeed(struct disk_model *model, uint64_t offset,
                        uint64_t length);

/* All that has begun and succeeded before is durable from `now` on. */
void disk_model_promise(struct disk_model *model, uint64_t now);
/* The same for what was written to a range last. */
void disk_model_promise_range(struct disk_model *model, uint64_t offset,
                              uint64_t length, uint64_t now);

/* A change of size begins; it succeeds, durably. */
void disk_model_begin_size(struct disk_model *model, uint64_t bytes,
                           uint64_t now);
void disk_model_succeed_size(struct disk_model *model, uint64_t now);

/* Whether a crash at `cut` may leave this size. */
bool disk_model_allows_size(const struct disk_model *model, uint64_t cut,
                            uint64_t bytes);

/* Whether the running image may have this size. */
bool disk_model_allows_size_now(const struct disk_model *model, uint64_t bytes);

/* Closing has failed: all that was not promised may be lost. */
void disk_model_doubt(struct disk_model *model);

/* Whether a crash at `cut` may leave these bytes in the sector. */
bool disk_model_allows(const struct disk_model *model, uint64_t cut,
                       uint64_t sector, const uint8_t *bytes);

/* Whether the running image may read so. */
bool disk_model_allows_now(const struct disk_model *model, uint64_t sector,
                           const uint8_t *bytes);

/* The newest version of the sector, certain or not. */
const uint8_t *disk_model_newest(const struct disk_model *model,
                                 uint64_t sector);

/* The newest version but the last `back` ones. */
const uint8_t *disk_model_older(const struct disk_model *model, uint64_t sector,
                                uint32_t back);

/*
 * Fills `length` bytes that stand at `offset` with content that no other
 * `number` has there and that compresses well.
 */
void disk_pattern(uint64_t number, uint64_t offset, uint8_t *bytes,
                  uint64_t length);

#endif
