/* SPDX-License-Identifier: MIT */
/*
 * libbyre: disk images of the QCOW family, opened as disks.
 *
 * An image is opened from a name, a file descriptor or a store of the caller's
 * own, and is then a disk of `virtual_size_bytes` bytes that any number of
 * threads may read and write at once.  Images are QCOW version 1, QCOW2
 * versions 2 and 3, and raw files, on top of one another in any mix.
 *
 * What byre_flush() has returned for survives a crash, and a crash at any other
 * instant costs space at worst (docs/crash-safety.md).
 *
 * Nothing that an image names is opened unless the caller allows it, and a
 * format is guessed only where docs/open-policy.md says so.
 *
 * Manners, the same for every call:
 *
 * - A call that can fail returns 0 (or a positive count) on success and a
 *   negative BYRE_E_* on failure.  Outputs are untouched on failure.
 * - `err` may be NULL.  It is the caller's, is written only on failure, and
 *   holds one line that names the object, the value and the limit.
 * - Option structs begin with their size; fill them from their _INIT macro.
 *   Zero is the default of every member.  A struct from a newer header works
 *   with an older library as long as the members it does not know are zero.
 * - Byte quantities are uint64_t, memory sizes are size_t, ranges half-open.
 * - Strings that a call returns belong to the image and live until it closes.
 */
#ifndef BYRE_H
#define BYRE_H

#include <stddef.h>
#include <stdint.h>

#ifndef BYRE_API
#if defined(__GNUC__)
#define BYRE_API __attribute__((visibility("default")))
#else
#define BYRE_API
#endif
#endif

#ifdef __cplusplus
extern "C" {
#define BYRE_SIZED(type)                                                       \
    {                                                                          \
        sizeof(type)                                                           \
    }
#else
#define BYRE_SIZED(type)                                                       \
    {                                                                          \
        .size = sizeof(type)                                                   \
    }
#endif

#define BYRE_VERSION_MAJOR 0
#define BYRE_VERSION_MINOR 1
#define BYRE_VERSION_PATCH 0

/* The version of the library at run time, as "0.1.0". */
BYRE_API const char *byre_version(void);

/*
 * The libraries this one was built with, separated by spaces: "zlib" and some
 * of "libdeflate", "zstd", "crypto", "json".  What is missing is named by the
 * call that needs it, with BYRE_E_UNSUPPORTED.
 */
BYRE_API const char *byre_features(void);

/* ---- Errors ---- */

/* Grouped by what the caller can do about them. */
enum {
    BYRE_OK = 0,
    BYRE_E_INVALID = -1,     /* an argument is wrong: a bug in the caller */
    BYRE_E_STATE = -2,       /* the call does not fit how it was opened */
    BYRE_E_NOMEM = -3,       /* memory ran out */
    BYRE_E_IO = -4,          /* a system call or store failed: sys_errno */
    BYRE_E_LOCKED = -5,      /* another process uses the file */
    BYRE_E_FORMAT = -6,      /* the file is not of this format */
    BYRE_E_CORRUPT = -7,     /* of the format, but it contradicts itself */
    BYRE_E_UNSUPPORTED = -8, /* valid, but this library cannot do it */
    BYRE_E_LIMIT = -9,       /* a named limit of the options was exceeded */
    BYRE_E_POLICY = -10,     /* the caller did not allow it; see the message */
    BYRE_E_SECRET = -11,     /* a passphrase is missing or wrong */
    BYRE_E_NOT_FOUND = -12,  /* no snapshot (or other part) of that name */
    BYRE_E_CANCELED = -13    /* byre_job_cancel() was called */
};

/* Stands for "no offset" wherever an offset is reported. */
#define BYRE_NO_OFFSET UINT64_MAX

#define BYRE_ERROR_MESSAGE_SIZE 1024

struct byre_error {
    int32_t code;      /* BYRE_E_* */
    int32_t sys_errno; /* errno of the failed system call, or 0 */
    uint64_t offset; /* in the file, where the trouble is; or BYRE_NO_OFFSET */
    char message[BYRE_ERROR_MESSAGE_SIZE]; /* one line, no newline, no period */
};

/*
 * Makes text that may come from an image fit for a terminal or a log, in place:
 * every byte becomes a question mark that is part of a control character, of
 * one that breaks lines or turns the direction of writing, or of no valid
 * UTF-8. Messages in struct byre_error have been through it; names and other
 * strings that the library returns are as the image has them.
 */
BYRE_API void byre_text_make_plain(char *text);

/* ---- Stores: where bytes live ---- */

struct byre_store;

/* What byre_store_ops.extent reports of a range. */
#define BYRE_STORE_DATA 0u /* may hold anything */
#define BYRE_STORE_HOLE 1u /* reads as zeroes and takes no space */

/* byre_store_ops.zero: the space need not stay reserved. */
#define BYRE_STORE_MAY_UNMAP (UINT32_C(1) << 0)

/*
 * A store of the caller's own: a VM monitor's memory, an object, a device.
 * Every function may be called from several threads at once, with `user` as it
 * was given.  Members marked optional may be NULL.  Functions return 0 or a
 * negative BYRE_E_*, and fill `err` (never NULL here) when they fail.
 */
struct byre_store_ops {
    size_t size; /* sizeof(struct byre_store_ops) */

    /* Fills all of `buf`; what lies past the end of the store reads as zero. */
    int (*read)(void *user, uint64_t offset, void *buf, size_t length,
                struct byre_error *err);
    /* The length of the store in bytes. */
    int (*get_size)(void *user, uint64_t *ret_size_bytes,
                    struct byre_error *err);
    /*
     * Optional.  Whether the range at `offset` is data or a hole, and for how
     * long (at least 1, at most `length` bytes).  Without it all is data.
     */
    int (*extent)(void *user, uint64_t offset, uint64_t length,
                  uint32_t *ret_kind, uint64_t *ret_length,
                  struct byre_error *err);
    /*
     * Optional (a store without it is read-only).  Grows the store where it
     * ends behind the end; what it leaves out in between reads as zeroes.
     */
    int (*write)(void *user, uint64_t offset, const void *buf, size_t length,
                 struct byre_error *err);
    /* Optional.  A barrier: all that was written before it is durable. */
    int (*flush)(void *user, struct byre_error *err);
    /* Optional.  Sets the length; a grown part reads as zeroes. */
    int (*resize)(void *user, uint64_t size_bytes, struct byre_error *err);
    /*
     * Optional.  Makes the range read as zeroes; with BYRE_STORE_MAY_UNMAP it
     * frees the space if it can.  What lies past the end reads as zero already:
     * the length stays as it is.  BYRE_E_UNSUPPORTED: not for this range, and
     * zeroes are written instead.
     */
    int (*zero)(void *user, uint64_t offset, uint64_t length, uint32_t flags,
                struct byre_error *err);
    /* Optional.  Called once, when the last image on the store has closed. */
    void (*close)(void *user);
    /*
     * Optional.  Nobody needs the bytes of the range any more: it may free
     * them, and they may read as they were or as zeroes.
     */
    int (*discard)(void *user, uint64_t offset, uint64_t length,
                   struct byre_error *err);
};

/*
 * Makes a store from the caller's functions.  `ops` is copied.  The result has
 * one reference, released by byre_store_unref(); images hold their own.
 */
BYRE_API int byre_store_new(const struct byre_store_ops *ops, void *user,
                            struct byre_store **ret_store,
                            struct byre_error *err);

/* A growing store in memory that starts as a copy of `length` bytes of `buf`.
 */
BYRE_API int byre_store_new_memory(const void *buf, size_t length,
                                   struct byre_store **ret_store,
                                   struct byre_error *err);

/* Drops a reference; NULL is allowed. */
BYRE_API void byre_store_unref(struct byre_store *store);

/* ---- Opening ---- */

struct byre;

/* Open the backing files that images of the chain name. */
#define BYRE_OPEN_FOLLOW_BACKING (UINT32_C(1) << 0)
/* Open the external data file that an image names. */
#define BYRE_OPEN_FOLLOW_DATA_FILE (UINT32_C(1) << 1)
/* Guess the format of a backing file where the overlay does not record it. */
#define BYRE_OPEN_PROBE_BACKING (UINT32_C(1) << 2)
/* Never guess: a top image without `format` is an error too. */
#define BYRE_OPEN_NO_PROBE (UINT32_C(1) << 3)
/* Share the file with a writer (qemu-img's -U); what is read may be torn. */
#define BYRE_OPEN_SHARED (UINT32_C(1) << 4)
/*
 * Read the description only: header, snapshots, bitmaps, LUKS header.  Opens no
 * backing or data file and needs no passphrase; data calls give BYRE_E_STATE.
 */
#define BYRE_OPEN_METADATA_ONLY (UINT32_C(1) << 5)
/* Take and test no locks at all. */
#define BYRE_OPEN_NO_LOCK (UINT32_C(1) << 6)
/*
 * Open the image alone: what it leaves to a backing file reads as zeroes, and
 * a write that needs it, to fill up a cluster, is refused.
 */
#define BYRE_OPEN_NO_BACKING (UINT32_C(1) << 7)
/*
 * Open for writing too.  Images below it in the chain stay read-only.  Refused
 * for snapshots, with BYRE_OPEN_SHARED or BYRE_OPEN_METADATA_ONLY, for an image
 * that is marked corrupt, and, untouched, for one whose structures overlap or
 * count as free.  Refcounts of an image that was not closed cleanly are rebuilt
 * first.
 */
#define BYRE_OPEN_WRITE (UINT32_C(1) << 8)
/* Space that discards free stays in the file, for later writes. */
#define BYRE_OPEN_KEEP_SPACE (UINT32_C(1) << 9)
/* Direct I/O, where the file system has it. */
#define BYRE_OPEN_DIRECT (UINT32_C(1) << 10)
/*
 * Flushes do not wait for the disk: what is lost if the machine stops is the
 * caller's to make again.
 */
#define BYRE_OPEN_NO_SYNC (UINT32_C(1) << 11)
/*
 * Open for byre_check() alone: as little as possible is taken for granted, no
 * passphrase is needed, no backing file opened, and data calls give
 * BYRE_E_STATE.  With BYRE_OPEN_WRITE the check may repair; nothing is repaired
 * by opening then, and an image that is marked corrupt opens too.
 */
#define BYRE_OPEN_CHECK (UINT32_C(1) << 12)
/*
 * With BYRE_OPEN_WRITE: give up the bitmaps of an image where they are damaged,
 * all of them, for which it is refused otherwise.
 */
#define BYRE_OPEN_GIVE_UP_BITMAPS (UINT32_C(1) << 13)
/*
 * What discards and zeroing free stays reserved for its part of the disk, as
 * zeroes, instead of becoming free for others (QCOW2 version 3).
 */
#define BYRE_OPEN_KEEP_CLUSTERS (UINT32_C(1) << 14)

/* What a reference found in an image points to. */
enum { BYRE_REF_BACKING = 1, BYRE_REF_DATA_FILE = 2 };

/* A name inside an image that is about to be opened. */
struct byre_ref {
    uint32_t kind;          /* BYRE_REF_* */
    uint32_t depth;         /* 1 for the top image's own references */
    const char *image_name; /* the image that holds the name */
    const char *stored;     /* the name as it is stored */
    const char *resolved;   /* the name that would be opened; may be json: */
    const char *format;     /* as recorded, or NULL */
};

struct byre_open_options {
    size_t size;
    uint32_t flags;           /* BYRE_OPEN_* */
    uint32_t max_chain_depth; /* images in a chain; 0: 200; 1024 at most */

    /* "raw", "qcow" or "qcow2"; NULL: probed, see docs/open-policy.md. */
    const char *format;

    /* Open this snapshot as a read-only disk: by id, by name, or (snapshot) by
       id first and then by name.  At most one of the ways is used. */
    const char *snapshot;
    const char *snapshot_id;
    const char *snapshot_name;

    /* Handed to the callbacks below. */
    void *user;

    /*
     * Asked before each reference is opened (whose BYRE_OPEN_FOLLOW_* flag must
     * be set as well).  Returns 0 to allow it, or a negative BYRE_E_* with
     * `err` filled to fail the open.
     */
    int (*allow_ref)(void *user, const struct byre_ref *ref,
                     struct byre_error *err);

    /*
     * Asked for the passphrase of an encrypted image.  `secret_id` is the
     * key-secret of a json: name, or NULL.  Stores at most `capacity` bytes.
     */
    int (*get_secret)(void *user, const char *secret_id, const char *image_name,
                      void *buf, size_t capacity, size_t *ret_length,
                      struct byre_error *err);
    /* Or: a file whose bytes, all of them, are the top image's passphrase. */
    const char *passphrase_file;

    /* Budgets, each for every image of a chain; 0 means the default. */
    uint64_t table_cache_bytes;   /* cached tables of each image: 32 MiB */
    uint64_t cluster_cache_bytes; /* decompressed clusters: 8 MiB */
    uint64_t max_kdf_iterations;  /* PBKDF2, over all slots tried: 2^26 */
    uint64_t max_table_bytes;     /* L1 and snapshot tables held: 64 MiB each */
    uint64_t refcount_cache_bytes; /* refcounts of a writable image: 4 MiB */

    /*
     * Instead of what the image names: its external data file, of which the
     * image takes a reference; and the image it stands on, open for reading,
     * which stays the caller's and must stay open as long as this one.
     */
    struct byre_store *data_store;
    struct byre *backing;
};

#define BYRE_OPEN_OPTIONS_INIT BYRE_SIZED(struct byre_open_options)

/*
 * Opens the image at `name`.  An image that names a backing or data
 * file is refused with BYRE_E_POLICY unless the flags say what to do about it:
 * it would not read as its disk without.  A `name` is a path, "file:PATH", or
 * "json:{...}" with QEMU's option tree (drivers raw, qcow, qcow2 over file and
 * host_device).  `opts` may be NULL.  Close the result with byre_close().
 */
BYRE_API int byre_open(const char *name, const struct byre_open_options *opts,
                       struct byre **ret_img, struct byre_error *err);

/*
 * The same for an open file descriptor, which is duplicated: the caller keeps
 * its own.  `name` is for messages and for resolving relative names; it may be
 * NULL, and then relative names in the image are refused.
 */
BYRE_API int byre_open_fd(int fd, const char *name,
                          const struct byre_open_options *opts,
                          struct byre **ret_img, struct byre_error *err);

/* The same for a store, of which the image takes a reference. */
BYRE_API int byre_open_store(struct byre_store *store, const char *name,
                             const struct byre_open_options *opts,
                             struct byre **ret_img, struct byre_error *err);

/*
 * Closes the image and its chain.  NULL is allowed.  Data calls must be over.
 * A writable image is flushed first; the result tells whether that went well,
 * and the image is gone in either case.
 */
BYRE_API int byre_close(struct byre *img, struct byre_error *err);

/* ---- Creating ---- */

/* Raise refcounts only when the image closes (QCOW2 version 3). */
#define BYRE_CREATE_LAZY_REFCOUNTS (UINT32_C(1) << 0)
/* Subclusters: 32 to a cluster (version 3). */
#define BYRE_CREATE_EXTENDED_L2 (UINT32_C(1) << 1)
/* The external data file shall read as the disk by itself. */
#define BYRE_CREATE_DATA_FILE_RAW (UINT32_C(1) << 2)
/*
 * Take over the data file with the content it has; with
 * BYRE_CREATE_DATA_FILE_RAW that is the disk's content from the start.
 */
#define BYRE_CREATE_KEEP_DATA_FILE (UINT32_C(1) << 3)
/* Ask the file system not to copy on write (btrfs), for new files. */
#define BYRE_CREATE_NOCOW (UINT32_C(1) << 4)
/* Do not open the backing file: it need not exist, and a size is required. */
#define BYRE_CREATE_BACKING_UNCHECKED (UINT32_C(1) << 5)
/* Fail if the file exists, instead of making the image in its place. */
#define BYRE_CREATE_EXCLUSIVE (UINT32_C(1) << 6)
/* Do not wait for the disk before reporting success. */
#define BYRE_CREATE_NO_SYNC (UINT32_C(1) << 7)
/* Round the size up to 512 bytes, as qemu-img does, instead of refusing it. */
#define BYRE_CREATE_ROUND_SIZE (UINT32_C(1) << 8)

enum {
    BYRE_PREALLOCATION_OFF,
    BYRE_PREALLOCATION_METADATA, /* all tables, clusters as holes */
    BYRE_PREALLOCATION_FALLOC,   /* space is reserved */
    BYRE_PREALLOCATION_FULL      /* zeroes are written */
};

struct byre_create_options {
    size_t size;
    uint32_t flags;              /* BYRE_CREATE_* */
    const char *format;          /* "qcow2" (NULL too), "qcow" or "raw" */
    uint64_t virtual_size_bytes; /* BYRE_NO_OFFSET: that of the backing file */

    /* QCOW2. */
    uint32_t version;             /* 2 or 3; 0: 3 */
    uint64_t cluster_size_bytes;  /* 512 ... 2 MiB; 0: 64 KiB */
    uint32_t refcount_bits;       /* 1, 2, 4 ... 64; 0: 16 */
    const char *compression_type; /* "zlib" (NULL too) or "zstd" */
    const char *data_file;        /* name of an external data file */

    uint32_t preallocation;     /* BYRE_PREALLOCATION_*; QCOW2 and raw */
    const char *backing_name;   /* as it shall be stored */
    const char *backing_format; /* required with it */

    uint32_t encryption;    /* BYRE_ENCRYPTION_* */
    const void *passphrase; /* for it */
    size_t passphrase_bytes;
    /* LUKS; NULL and 0 stand for the defaults. */
    const char *cipher_alg;     /* "aes-128", "aes-192", "aes-256" */
    const char *cipher_mode;    /* "xts", "cbc", "ecb", "ctr" */
    const char *ivgen_alg;      /* "plain64", "plain", "essiv" */
    const char *ivgen_hash_alg; /* with essiv: "sha256" */
    const char *hash_alg;       /* "sha256" */
    uint64_t iter_time_msec;    /* what trying a passphrase takes: 2000 */

    /* Tests only: not 0 makes keys, salts and uuids repeatable and weak. */
    uint64_t seed;

    /* Open the backing file with these, or NULL: for its size and format. */
    const struct byre_open_options *backing_open;
    /* Instead of `data_file` being opened or made by its name. */
    struct byre_store *data_store;
};

#define BYRE_CREATE_OPTIONS_INIT BYRE_SIZED(struct byre_create_options)

/*
 * Makes an image at `name`, a path.  Impossible combinations of options are
 * BYRE_E_INVALID before anything is touched.  A new file is made exclusively
 * and removed again on failure; an existing file or block device is locked and
 * emptied, and gets its header last.
 */
BYRE_API int byre_create(const char *name,
                         const struct byre_create_options *opts,
                         struct byre_error *err);

/* The same in a store, whatever it held. */
BYRE_API int byre_create_store(struct byre_store *store,
                               const struct byre_create_options *opts,
                               struct byre_error *err);

/* ---- Description ---- */

/* struct byre_info.flags */
#define BYRE_INFO_DIRTY          (UINT32_C(1) << 0)
#define BYRE_INFO_CORRUPT        (UINT32_C(1) << 1)
#define BYRE_INFO_LAZY_REFCOUNTS (UINT32_C(1) << 2)
#define BYRE_INFO_EXTENDED_L2    (UINT32_C(1) << 3)
#define BYRE_INFO_EXTERNAL_DATA  (UINT32_C(1) << 4)
#define BYRE_INFO_DATA_FILE_RAW  (UINT32_C(1) << 5)
#define BYRE_INFO_ENCRYPTED      (UINT32_C(1) << 6)

enum { BYRE_ENCRYPTION_NONE, BYRE_ENCRYPTION_AES, BYRE_ENCRYPTION_LUKS };

struct byre_info {
    size_t size;
    uint32_t flags;               /* BYRE_INFO_* */
    uint32_t version;             /* 1, 2 or 3; 0 for raw */
    const char *format;           /* "raw", "qcow" or "qcow2" */
    const char *name;             /* as it was opened */
    const char *path;             /* the file at its bottom; NULL: unknown */
    const char *protocol;         /* "file", "host_device", "memory", "store" */
    uint64_t virtual_size_bytes;  /* the disk */
    uint64_t file_size_bytes;     /* the image file */
    uint64_t allocated_bytes;     /* space it takes; BYRE_NO_OFFSET: unknown */
    uint64_t cluster_size_bytes;  /* 0 for raw */
    uint32_t refcount_bits;       /* 0 where the format has none */
    uint32_t encryption;          /* BYRE_ENCRYPTION_* */
    const char *compression_type; /* "zlib" or "zstd"; NULL for raw */
    const char *backing_name;     /* as stored; NULL: none */
    const char *backing_format;   /* as stored; NULL: not recorded */
    const char *backing_resolved; /* the name that would be opened; NULL: none,
                                     or it cannot be told */
    const char *data_file;        /* as stored; NULL: none recorded */
};

#define BYRE_INFO_INIT BYRE_SIZED(struct byre_info)

BYRE_API int byre_get_info(struct byre *img, struct byre_info *ret_info,
                           struct byre_error *err);

/* The image this one stands on, owned by it; NULL: none, or not opened. */
BYRE_API struct byre *byre_get_backing(struct byre *img);

struct byre_luks_slot {
    uint32_t active; /* 0 or 1 */
    uint32_t iterations;
    uint32_t stripes;
    uint64_t key_offset_bytes; /* in the LUKS area */
};

struct byre_luks_info {
    size_t size;
    const char *cipher_alg;  /* as "aes-256" */
    const char *cipher_mode; /* as "xts" */
    const char *ivgen_alg;   /* as "plain64" */
    const char *ivgen_hash;  /* as "sha256"; NULL where there is none */
    const char *hash_alg;
    const char *uuid;
    uint64_t payload_offset_bytes;
    uint32_t master_key_iterations;
    struct byre_luks_slot slots[8];
};

#define BYRE_LUKS_INFO_INIT BYRE_SIZED(struct byre_luks_info)

/* BYRE_E_STATE if the image is not encrypted with LUKS. */
BYRE_API int byre_get_luks_info(struct byre *img,
                                struct byre_luks_info *ret_info,
                                struct byre_error *err);

#define BYRE_NO_ICOUNT UINT64_MAX

struct byre_snapshot {
    const char *id;
    const char *name;
    uint64_t vm_state_bytes;
    uint64_t virtual_size_bytes;
    uint64_t vm_clock_nsec;
    uint64_t icount; /* BYRE_NO_ICOUNT: not recorded */
    uint32_t date_sec;
    uint32_t date_nsec;
};

/*
 * The image's internal snapshots, in its order; the list belongs to it, and
 * lives until the snapshots change.
 */
BYRE_API int byre_snapshot_list(struct byre *img,
                                const struct byre_snapshot **ret_list,
                                size_t *ret_count, struct byre_error *err);

#define BYRE_BITMAP_IN_USE (UINT32_C(1) << 0)
#define BYRE_BITMAP_AUTO   (UINT32_C(1) << 1)

struct byre_bitmap {
    const char *name;
    uint64_t granularity_bytes;
    uint32_t flags; /* BYRE_BITMAP_* */
};

/*
 * The image's persistent bitmaps, in its order; the list belongs to it, and
 * lives until the bitmaps change.
 */
BYRE_API int byre_bitmap_list(struct byre *img,
                              const struct byre_bitmap **ret_list,
                              size_t *ret_count, struct byre_error *err);

/* ---- Data ---- */

/*
 * Reads `length` bytes of the disk at `offset`, of any alignment: all or
 * failure, never short.  Past the end of the disk is BYRE_E_INVALID.  Any
 * number of threads at once.
 */
BYRE_API int byre_read(struct byre *img, uint64_t offset, void *buf,
                       size_t length, struct byre_error *err);

/* Return only when it is durable. */
#define BYRE_WRITE_FUA (UINT32_C(1) << 0)
/* byre_zero(): the space need not stay reserved. */
#define BYRE_WRITE_MAY_UNMAP (UINT32_C(1) << 1)
/* byre_zero(): BYRE_E_UNSUPPORTED where zeroes would have to be written out. */
#define BYRE_WRITE_FAST_ZERO (UINT32_C(1) << 2)
/*
 * byre_write(): store each cluster compressed.  For whole clusters (the last
 * one of the disk may be short) that hold nothing yet; one that does not shrink
 * is stored as it is.
 */
#define BYRE_WRITE_COMPRESSED (UINT32_C(1) << 3)

/*
 * Writes `length` bytes at `offset`, of any alignment.  What is written
 * survives a crash only after byre_flush(), or with BYRE_WRITE_FUA.  A call
 * that fails may have written any part of its range, and nothing else.  Past
 * the end of the disk is BYRE_E_INVALID, an image not opened for writing
 * BYRE_E_STATE.  Any number of threads at once; writes that overlap while
 * running leave each byte as one of them has it.
 *
 * BYRE_E_CORRUPT means that the image's tables cannot be: nothing more is
 * written, and a version 3 image is marked corrupt, so that nobody writes it
 * before a repair.  Reading goes on.
 */
BYRE_API int byre_write(struct byre *img, uint64_t offset, const void *buf,
                        size_t length, uint32_t flags, struct byre_error *err);

/*
 * Makes a range read as zeroes, by the tables alone where that is possible.
 * Version 2 gives the space up even without BYRE_WRITE_MAY_UNMAP.
 */
BYRE_API int byre_zero(struct byre *img, uint64_t offset, uint64_t length,
                       uint32_t flags, struct byre_error *err);

/*
 * Gives up the content of a range: whole clusters of it read as zeroes from
 * then on or, where the format cannot say so, as before.  Parts of clusters
 * stay as they are.  `flags` is 0 or BYRE_WRITE_FUA.  The space is free for
 * others two flushes later.
 */
BYRE_API int byre_discard(struct byre *img, uint64_t offset, uint64_t length,
                          uint32_t flags, struct byre_error *err);

/*
 * A barrier: every write that had returned before the call is durable when it
 * returns.  If the system fails to make it so, what was not durable before may
 * be lost, and the image can only be read until it is opened again.
 * BYRE_E_STATE for an image that is open for reading only.
 */
BYRE_API int byre_flush(struct byre *img, struct byre_error *err);

/* The disk may become smaller, and loses what lies behind the new end. */
#define BYRE_RESIZE_SHRINK (UINT32_C(1) << 0)

/*
 * Sets the size of the disk, a multiple of 512 bytes, durably.  A grown part
 * reads as zeroes, with `preallocation` (BYRE_PREALLOCATION_*) given space.
 * Waits for data calls to end, and holds off new ones.  When shrinking fails
 * after the new size is durable, byre_get_info() has the new size.  If it
 * cannot be told which size the file has, the image can only be read until it
 * is opened again.
 */
BYRE_API int byre_resize(struct byre *img, uint64_t size_bytes, uint32_t flags,
                         uint32_t preallocation, struct byre_error *err);

/* struct byre_extent.flags */
#define BYRE_EXTENT_ALLOCATED  (UINT32_C(1) << 0) /* some image holds it */
#define BYRE_EXTENT_DATA       (UINT32_C(1) << 1) /* it has bytes stored */
#define BYRE_EXTENT_ZERO       (UINT32_C(1) << 2) /* it reads as zeroes */
#define BYRE_EXTENT_COMPRESSED (UINT32_C(1) << 3)
#define BYRE_EXTENT_ENCRYPTED  (UINT32_C(1) << 4)

/* struct byre_extent.cluster_class: what the image that answers calls it. */
enum {
    BYRE_CLASS_UNALLOCATED,
    BYRE_CLASS_ZERO_PLAIN,     /* reads as zeroes, nothing stored */
    BYRE_CLASS_ZERO_ALLOCATED, /* reads as zeroes, space is reserved */
    BYRE_CLASS_NORMAL,
    BYRE_CLASS_COMPRESSED,
    BYRE_CLASS_RESERVED, /* unallocated, but space is reserved for it */
    BYRE_CLASS_INVALID   /* the format forbids the entry; reading fails */
};

struct byre_extent {
    uint64_t offset; /* on the disk */
    uint64_t length; /* in bytes, never 0 */
    /* In `file`, where the bytes lie as they are; BYRE_NO_OFFSET: they do not.
       BYRE_EXTENTS_CLASSES tells it of encrypted and compressed ones too. */
    uint64_t host_offset;
    const char *file;       /* the file that holds it, or NULL */
    uint32_t depth;         /* which image of the chain answers, from 0 */
    uint32_t flags;         /* BYRE_EXTENT_* */
    uint32_t cluster_class; /* BYRE_CLASS_* of its first byte */
};

/* Ask this image only, not its backing chain. */
#define BYRE_EXTENTS_SHALLOW (UINT32_C(1) << 0)
/*
 * One extent for each run of one class, compressed clusters one by one with the
 * host offset of their stream; BYRE_CLASS_INVALID is reported, not an error.
 */
#define BYRE_EXTENTS_CLASSES (UINT32_C(1) << 1)

/*
 * Describes `length` bytes at `offset` in ascending, contiguous extents clipped
 * to the range, equal neighbours joined; at most `capacity` of them, at least
 * one if `length` is not 0.  Go on behind the last one.  `length` bounds the
 * work: tables are read for as much of it as the answer covers.  The call fails
 * only if what is at `offset` itself cannot be told; trouble further on ends
 * the answer before it.
 */
BYRE_API int byre_extents(struct byre *img, uint64_t offset, uint64_t length,
                          uint32_t flags, struct byre_extent *ret_extents,
                          size_t capacity, size_t *ret_count,
                          struct byre_error *err);

/* ---- Changing how an image is open ---- */

/*
 * Opens the image for writing (`flags` with BYRE_OPEN_WRITE), or for reading
 * only, without closing it; of the other flags BYRE_OPEN_KEEP_SPACE and
 * BYRE_OPEN_NO_SYNC are looked at.  Locks change with it.  Waits for data calls
 * to end, and holds off new ones.  Going to read-only flushes first; when that
 * fails the image is open for reading only, and the error says what may be
 * lost.  When opening for writing fails the image stays open for reading.  The
 * images below it stay as they are; one below another that is open may be
 * reopened by itself (byre_get_backing()), as commit does.
 * An image that was opened by a descriptor for reading stays so, and so do a
 * snapshot and an image that is shared with a writer.
 */
BYRE_API int byre_reopen(struct byre *img, uint32_t flags,
                         struct byre_error *err);

/* byre_set_backing(): do not open it: it need not exist. */
#define BYRE_BACKING_UNCHECKED (UINT32_C(1) << 0)

/*
 * Records that the image stands on `name`, of format `format`, and opens it
 * with `open` (NULL: the defaults with following allowed; its flags are those
 * of the policy) in the place of what it stood on.  NULL for `name`: on nothing
 * from now on.  The content of the disk is the caller's business: nothing is
 * copied (see byre_rebase()).  Needs an image that is open for writing; waits
 * for data calls to end.  Durable when it returns; a crash or a failure leaves
 * the old name or the new one.  `open->backing` is an open image to stand on
 * instead of one that is opened by the name.  What byre_get_info() and
 * byre_get_backing() have told of the old one is gone then.
 */
BYRE_API int byre_set_backing(struct byre *img, const char *name,
                              const char *format,
                              const struct byre_open_options *open,
                              uint32_t flags, struct byre_error *err);

/* ---- Snapshots ---- */

/*
 * These need an image that is open for writing, wait for data calls to end and
 * hold off new ones, and are durable when they return.  A crash or a failure
 * leaves the snapshots before or after the call, and leaks at worst.
 */

struct byre_snapshot_options {
    size_t size;
    const char *name;  /* 255 bytes at most; may be empty, and not unique */
    const char *id;    /* 127 bytes at most, and in no use; NULL: the largest
                          number in use and one */
    uint32_t date_sec; /* with date_nsec; 0: now */
    uint32_t date_nsec;
    uint64_t vm_clock_nsec;
    uint64_t icount; /* BYRE_NO_ICOUNT: not recorded */
    /* VM state that byre_vm_state_write() has put there; it is the snapshot's
       from then on, and no more the disk's. */
    uint64_t vm_state_bytes;
};

#define BYRE_SNAPSHOT_OPTIONS_INIT BYRE_SIZED(struct byre_snapshot_options)

/* Which snapshot: of what is not NULL, all must agree; the first one wins. */
struct byre_snapshot_ref {
    const char *id_or_name; /* an id first, then a name; then no other is set */
    const char *id;
    const char *name;
};

/*
 * Keeps the disk as it is now under a name.  BYRE_E_LIMIT where a cluster
 * cannot be referred to once more, or there are too many; BYRE_E_UNSUPPORTED
 * for images with an external data file, version 1 and raw.
 */
BYRE_API int byre_snapshot_create(struct byre *img,
                                  const struct byre_snapshot_options *opts,
                                  struct byre_error *err);

/*
 * Makes the disk what it was when the snapshot was taken, its size too; what
 * was written since is gone unless another snapshot has it.  Enabled
 * bitmaps have all their bits set afterwards.
 */
BYRE_API int byre_snapshot_apply(struct byre *img,
                                 const struct byre_snapshot_ref *ref,
                                 struct byre_error *err);

/*
 * Deletes snapshots, all or none, in one pass over the tables however many they
 * are.  Of several references that fit the same snapshots each takes another
 * one.
 */
BYRE_API int byre_snapshot_delete(struct byre *img,
                                  const struct byre_snapshot_ref *refs,
                                  size_t count, struct byre_error *err);

/*
 * What a VM monitor keeps beside a disk, from `offset` 0 on: of the snapshot
 * the image was opened as, or of the disk itself until byre_snapshot_create()
 * takes it.  Reading past what was written gives zeroes.  Thread rules are
 * those of byre_read() and byre_write().
 */
BYRE_API int byre_vm_state_read(struct byre *img, uint64_t offset, void *buf,
                                size_t length, struct byre_error *err);
BYRE_API int byre_vm_state_write(struct byre *img, uint64_t offset,
                                 const void *buf, size_t length,
                                 struct byre_error *err);

/* ---- Bitmaps ---- */

/*
 * A bitmap notes which parts of the disk were written.  While an image with
 * bitmaps is open for writing they are marked in use in the file, and written
 * back when it closes: after a crash they are inconsistent, which
 * BYRE_BITMAP_IN_USE in the list tells; such a bitmap can only be removed.
 *
 * The calls that change bitmaps need an image that is open for writing, wait
 * for data calls to end, and take effect in the file when it closes or with
 * byre_bitmap_store().
 */

/* byre_bitmap_add(): does not note writes yet. */
#define BYRE_BITMAP_DISABLED (UINT32_C(1) << 8)

/*
 * Adds an empty bitmap; `granularity_bytes` is a power of two, 512 ... 2 GiB,
 * and 0 stands for the cluster size but 4 KiB at least and 64 KiB at most.
 */
BYRE_API int byre_bitmap_add(struct byre *img, const char *name,
                             uint64_t granularity_bytes, uint32_t flags,
                             struct byre_error *err);
BYRE_API int byre_bitmap_remove(struct byre *img, const char *name,
                                struct byre_error *err);
/* Forgets all that it has noted. */
BYRE_API int byre_bitmap_clear(struct byre *img, const char *name,
                               struct byre_error *err);
/* Notes writes from now on, or no more. */
BYRE_API int byre_bitmap_enable(struct byre *img, const char *name,
                                struct byre_error *err);
BYRE_API int byre_bitmap_disable(struct byre *img, const char *name,
                                 struct byre_error *err);
/*
 * Adds what the bitmap `source_name` of `source` (which may be `img`) has noted
 * to `name`; granularities may differ, the disks' sizes may not.
 */
BYRE_API int byre_bitmap_merge(struct byre *img, const char *name,
                               struct byre *source, const char *source_name,
                               struct byre_error *err);
/* Writes all bitmaps out now; they stay in use, for a crash to tell. */
BYRE_API int byre_bitmap_store(struct byre *img, struct byre_error *err);

/*
 * Whether the bitmap has noted a write at `offset`, and for how long the answer
 * holds (at most `length` bytes, at least 1).  An image open for reading, too.
 */
BYRE_API int byre_bitmap_extent(struct byre *img, const char *name,
                                uint64_t offset, uint64_t length,
                                uint32_t *ret_dirty, uint64_t *ret_length,
                                struct byre_error *err);
/* The bytes of the disk that the bitmap has noted. */
BYRE_API int byre_bitmap_dirty_bytes(struct byre *img, const char *name,
                                     uint64_t *ret_bytes,
                                     struct byre_error *err);

/* ---- Keys of LUKS images ---- */

/* Do it even if a passphrase is lost by it: an occupied slot, the last one. */
#define BYRE_KEY_FORCE    (UINT32_C(1) << 0)
#define BYRE_KEY_ANY_SLOT UINT32_MAX

/*
 * These are durable when they return, and hold off data calls meanwhile.  A
 * crash leaves each slot as it was, as it is to be, or free; when a slot in use
 * is replaced, a copy of it stays in a free one until the new one is there.
 *
 * Adds a passphrase to an image that was opened with one, for writing, into
 * `slot` (0 ... 7) or, with BYRE_KEY_ANY_SLOT, the first free one.
 * `iter_time_msec` is what trying it shall take; 0: 2000.
 */
BYRE_API int byre_key_add(struct byre *img, uint32_t slot,
                          const void *passphrase, size_t passphrase_bytes,
                          uint64_t iter_time_msec, uint32_t flags,
                          struct byre_error *err);

/* Makes a slot free and its key unreadable. */
BYRE_API int byre_key_erase(struct byre *img, uint32_t slot, uint32_t flags,
                            struct byre_error *err);

/* The same for every slot that the passphrase opens. */
BYRE_API int byre_key_erase_passphrase(struct byre *img, const void *passphrase,
                                       size_t passphrase_bytes, uint32_t flags,
                                       struct byre_error *err);

/* ---- Jobs: long work ---- */

struct byre_job;

/*
 * Runs the job to its end in the calling thread and its workers.  Once.  A job
 * that fails or is cancelled leaves nothing half-made that it created itself.
 */
BYRE_API int byre_job_run(struct byre_job *job, struct byre_error *err);

/* How far the job is, in bytes of the disk.  From any thread, at any time. */
BYRE_API void byre_job_progress(const struct byre_job *job,
                                uint64_t *ret_done_bytes,
                                uint64_t *ret_total_bytes);

/* Ends the job soon with BYRE_E_CANCELED.  Any thread; safe in a signal. */
BYRE_API void byre_job_cancel(struct byre_job *job);

/* Frees a job that is not running; NULL is allowed. */
BYRE_API void byre_job_free(struct byre_job *job);

/* Write into the existing target instead of making a new one. */
#define BYRE_CONVERT_NO_CREATE (UINT32_C(1) << 0)
/* The existing target reads as zeroes, so zeroes need no writing. */
#define BYRE_CONVERT_TARGET_IS_ZERO (UINT32_C(1) << 1)
/* Report success without waiting for the bytes to be durable. */
#define BYRE_CONVERT_NO_SYNC (UINT32_C(1) << 2)
/*
 * What cannot be read becomes zeroes (qemu-img's --salvage), and so does, told
 * to `salvaged` too, what a file that was cut short does not have any more, or
 * a backing file that was not opened.
 */
#define BYRE_CONVERT_SALVAGE (UINT32_C(1) << 3)
/* Open the target for direct I/O. */
#define BYRE_CONVERT_DIRECT (UINT32_C(1) << 4)
/* Compress the clusters of a QCOW target. */
#define BYRE_CONVERT_COMPRESS (UINT32_C(1) << 5)
/* Copy the bitmaps of the source, the only one, to a QCOW2 target. */
#define BYRE_CONVERT_BITMAPS (UINT32_C(1) << 6)
/* ... but those that are inconsistent, instead of refusing them. */
#define BYRE_CONVERT_SKIP_BROKEN_BITMAPS (UINT32_C(1) << 7)

/* sparse_bytes: write every byte, leave no holes. */
#define BYRE_SPARSE_NONE UINT64_MAX

struct byre_convert_options {
    size_t size;
    uint32_t flags;        /* BYRE_CONVERT_* */
    uint32_t workers;      /* threads that copy; 0: one a processor */
    uint64_t sparse_bytes; /* zero blocks of this size become holes; 0: 4096 */
    uint64_t rate_bytes_per_second; /* 0: no limit */
    /* Called for each range that BYRE_CONVERT_SALVAGE gave up on, or NULL. */
    void (*salvaged)(void *user, uint64_t offset, uint64_t length,
                     const struct byre_error *why);
    void *user;
    /* How the target is made; its size need not be set.  NULL: a raw file. */
    const struct byre_create_options *create;
    /*
     * How an existing target is opened (BYRE_CONVERT_NO_CREATE), which may be a
     * json: name then; NULL: as a raw file.  Of a new one: what its backing
     * file may open in turn.  Its flags are the job's, but for those of the
     * policy.  What this and `create` point to must live as long as the job.
     */
    const struct byre_open_options *target_open;
    /*
     * Copy only what this bitmap of the source, the only one, has noted: the
     * target is an overlay with the changes since the bitmap began.  `create`
     * names what it stands on.  NULL: copy all.
     */
    const char *bitmap;
};

#define BYRE_CONVERT_OPTIONS_INIT BYRE_SIZED(struct byre_convert_options)

/*
 * Prepares to copy the disks of `sources`, one behind the other, to the image
 * file or block device `target_name`, or raw to a pipe, in one pass.  The
 * target is the same for any number of workers.  With a backing file, what a
 * source's own backing files hold is taken to be there already, and is not
 * copied.  Nothing is opened or made before byre_job_run(); the sources must
 * stay open until byre_job_free().
 */
BYRE_API int byre_convert(struct byre *const *sources, size_t source_count,
                          const char *target_name,
                          const struct byre_convert_options *opts,
                          struct byre_job **ret_job, struct byre_error *err);

enum {
    BYRE_COMPARE_EQUAL,
    BYRE_COMPARE_CONTENT, /* the bytes differ */
    BYRE_COMPARE_STATUS,  /* strict: one is allocated, the other is not */
    BYRE_COMPARE_SIZE     /* strict: the sizes differ */
};

/* Where comparing two disks stopped, for exit codes that tell. */
enum {
    BYRE_COMPARE_READ_FIRST = 1,
    BYRE_COMPARE_READ_SECOND = 2,
    BYRE_COMPARE_MAP_FIRST = 3,
    BYRE_COMPARE_MAP_SECOND = 4
};

struct byre_compare_result {
    size_t size;
    uint32_t outcome;     /* BYRE_COMPARE_EQUAL ... */
    uint32_t failed_step; /* BYRE_COMPARE_READ_FIRST ..., 0: nothing failed */
    uint64_t offset;      /* of the first difference (content: of its 512-byte
                             sector), or where it failed */
};

#define BYRE_COMPARE_RESULT_INIT BYRE_SIZED(struct byre_compare_result)

/* Sizes and allocation must agree too. */
#define BYRE_COMPARE_STRICT (UINT32_C(1) << 0)

/*
 * Prepares to compare two disks.  Where one is longer, the rest of it must read
 * as zeroes.  A difference is a result, not an error.  Both images must stay
 * open until byre_job_free().
 */
BYRE_API int byre_compare(struct byre *first, struct byre *second,
                          uint32_t flags, struct byre_job **ret_job,
                          struct byre_error *err);

/* What a compare job that ran has found; BYRE_E_STATE for any other job. */
BYRE_API int byre_compare_get_result(const struct byre_job *job,
                                     struct byre_compare_result *ret_result,
                                     struct byre_error *err);

/* ---- Jobs that look ---- */

/* What byre_check() has found. */
enum {
    BYRE_FINDING_CORRUPTION, /* data may be, or may become, wrong */
    BYRE_FINDING_LEAK,       /* space that nothing refers to */
    BYRE_FINDING_ERROR       /* a part that could not be looked at */
};

struct byre_finding {
    size_t size;
    uint32_t kind;         /* BYRE_FINDING_* */
    uint32_t repaired;     /* 0 or 1 */
    const char *object;    /* "L2 table", "refcount block", "bitmap" ... */
    uint64_t host_offset;  /* in the image file; BYRE_NO_OFFSET: none */
    uint64_t guest_offset; /* on the disk; BYRE_NO_OFFSET: none, or many */
    const char *text;      /* one line that says it all */
};

/* Correct refcounts that are too high; with BYRE_CHECK_REPAIR_ALL, all that can
   be corrected without losing data. */
#define BYRE_CHECK_REPAIR_LEAKS (UINT32_C(1) << 0)
#define BYRE_CHECK_REPAIR_ALL   (UINT32_C(1) << 1)

struct byre_check_options {
    size_t size;
    uint32_t flags;        /* BYRE_CHECK_* */
    uint64_t memory_bytes; /* that checking may take; 0: 192 MiB */
    /* Called for each finding as it is found, from the thread that runs the
       job; what it is given lives until it returns.  NULL: only counted. */
    void (*found)(void *user, const struct byre_finding *finding);
    void *user;
};

#define BYRE_CHECK_OPTIONS_INIT BYRE_SIZED(struct byre_check_options)

/* After a repair the counts are those of a second look, but for the fixed. */
struct byre_check_result {
    size_t size;
    uint64_t check_errors; /* what could not be looked at */
    uint64_t corruptions;
    uint64_t leaks;
    uint64_t corruptions_fixed;
    uint64_t leaks_fixed;
    uint64_t image_end_offset;   /* where the last cluster in use ends */
    uint64_t total_clusters;     /* of the disk */
    uint64_t allocated_clusters; /* of these, in the image itself */
    uint64_t fragmented_clusters;
    uint64_t compressed_clusters;
};

#define BYRE_CHECK_RESULT_INIT BYRE_SIZED(struct byre_check_result)

/*
 * Prepares to check an image of the QCOW family that was opened with
 * BYRE_OPEN_CHECK, and to repair it if it is open for writing and the flags ask
 * for it.  Findings are a result, not an error; the job fails where the check
 * did not come to its end.  A repair never gives up data that can be read, and
 * one that fails leaves the image marked as it was.
 */
BYRE_API int byre_check(struct byre *img, const struct byre_check_options *opts,
                        struct byre_job **ret_job, struct byre_error *err);
BYRE_API int byre_check_get_result(const struct byre_job *job,
                                   struct byre_check_result *ret_result,
                                   struct byre_error *err);

#define BYRE_MAX_DIGEST_BYTES 64

struct byre_checksum_options {
    size_t size;
    const char *algorithm; /* "sha256" (NULL too), "sha512", "sha1", ... */
    uint32_t workers;      /* threads; 0: one a processor */
};

#define BYRE_CHECKSUM_OPTIONS_INIT BYRE_SIZED(struct byre_checksum_options)

/*
 * Prepares to compute the checksum of a disk's content: the same whatever the
 * format, layout and chain behind it (docs/checksum.md has the algorithm).
 */
BYRE_API int byre_checksum(struct byre *img,
                           const struct byre_checksum_options *opts,
                           struct byre_job **ret_job, struct byre_error *err);
/* The digest of a job that ran; `ret_digest` has BYRE_MAX_DIGEST_BYTES. */
BYRE_API int byre_checksum_get_result(const struct byre_job *job,
                                      uint8_t *ret_digest, size_t *ret_bytes,
                                      struct byre_error *err);

struct byre_measure_result {
    size_t size;
    uint64_t required_bytes;
    uint64_t fully_allocated_bytes;
    uint64_t bitmaps_bytes; /* BYRE_NO_OFFSET: the target cannot have any */
};

#define BYRE_MEASURE_RESULT_INIT BYRE_SIZED(struct byre_measure_result)

/*
 * How large an image file would be that byre_convert() makes of `source` as
 * `target` says; of an empty disk of target->virtual_size_bytes where `source`
 * is NULL.  Exact for what is known before compressing.
 */
BYRE_API int byre_measure(struct byre *source,
                          const struct byre_create_options *target,
                          struct byre_measure_result *ret_result,
                          struct byre_error *err);

/* ---- Jobs that change an image in place ---- */

/* Leave the image as it is instead of emptying it. */
#define BYRE_COMMIT_KEEP (UINT32_C(1) << 0)

struct byre_commit_options {
    size_t size;
    uint32_t flags; /* BYRE_COMMIT_* */
    uint32_t workers;
    struct byre *base; /* of the image's chain; NULL: what it stands on.  One
                          further down implies BYRE_COMMIT_KEEP */
    uint64_t rate_bytes_per_second; /* 0: no limit */
};

#define BYRE_COMMIT_OPTIONS_INIT BYRE_SIZED(struct byre_commit_options)

/*
 * Prepares to write what the image and those between it and the base hold into
 * the base, which is opened for writing meanwhile and grows to the size of the
 * disk if it is smaller; then the image is emptied.  The disk reads the same at
 * every moment; a run that was interrupted can be repeated.  Others may read
 * the disk meanwhile, but not write it.
 */
BYRE_API int byre_commit(struct byre *img,
                         const struct byre_commit_options *opts,
                         struct byre_job **ret_job, struct byre_error *err);

/* Change the recorded name only; the content is the caller's business. */
#define BYRE_REBASE_UNSAFE (UINT32_C(1) << 0)
/* What is copied into the image is compressed where it can be. */
#define BYRE_REBASE_COMPRESS (UINT32_C(1) << 1)

struct byre_rebase_options {
    size_t size;
    uint32_t flags; /* BYRE_REBASE_* */
    uint32_t workers;
    const char *backing_name;   /* as it shall be stored; NULL: none */
    const char *backing_format; /* required with it */
    const struct byre_open_options *backing_open; /* or NULL */
};

#define BYRE_REBASE_OPTIONS_INIT BYRE_SIZED(struct byre_rebase_options)

/*
 * Prepares to put the image, which is open for writing, on another backing
 * file: what the old one has and the new one has not is copied into the image
 * first, so the disk reads the same at every moment.  A run that was
 * interrupted can be repeated.  Others may read the disk meanwhile, but not
 * write it.  `backing_open->backing` is as in byre_set_backing().
 */
BYRE_API int byre_rebase(struct byre *img,
                         const struct byre_rebase_options *opts,
                         struct byre_job **ret_job, struct byre_error *err);

/* Which members of byre_amend_options are to be taken. */
#define BYRE_AMEND_VERSION        (UINT32_C(1) << 0)
#define BYRE_AMEND_REFCOUNT_BITS  (UINT32_C(1) << 1)
#define BYRE_AMEND_LAZY_REFCOUNTS (UINT32_C(1) << 2)
#define BYRE_AMEND_DATA_FILE      (UINT32_C(1) << 3)
#define BYRE_AMEND_DATA_FILE_RAW  (UINT32_C(1) << 4)
#define BYRE_AMEND_SIZE           (UINT32_C(1) << 5)

struct byre_amend_options {
    size_t size;
    uint32_t which;   /* BYRE_AMEND_* */
    uint32_t version; /* 2 or 3 */
    uint32_t refcount_bits;
    uint32_t lazy_refcounts; /* 0 or 1 */
    uint32_t data_file_raw;  /* 0 or 1; it can only be given up */
    const char *data_file;   /* the name to store; NULL or empty: none */
    uint64_t size_bytes; /* of the disk; a smaller one loses what is behind */
};

#define BYRE_AMEND_OPTIONS_INIT BYRE_SIZED(struct byre_amend_options)

/*
 * Prepares to change what a QCOW2 image is, in an order in which each step
 * leaves a whole image: the newer version, refcounts, data file, lazy
 * refcounts, size, the older version.  What cannot be is refused before
 * anything is touched; so is version 2 for an image with bitmaps, which are to
 * be removed first.  Waits for data calls to end, and holds off new ones.
 * Durable when the job ends.  What byre_get_info() told of a data file is
 * void if its name changes.
 */
BYRE_API int byre_amend(struct byre *img, const struct byre_amend_options *opts,
                        struct byre_job **ret_job, struct byre_error *err);

struct byre_compact_result {
    size_t size;
    uint64_t before_bytes; /* the file's length */
    uint64_t after_bytes;
    uint64_t freed_clusters; /* zero or leaked ones given back */
    uint64_t moved_clusters;
};

#define BYRE_COMPACT_RESULT_INIT BYRE_SIZED(struct byre_compact_result)

/*
 * Prepares to make the file of a QCOW2 image, which is open for writing, as
 * small as it can be in place: leaked clusters and those that hold zeroes are
 * given back, the others moved to the front, in the order of the disk as far as
 * the space allows, and the file is cut.  On a device the free space is
 * discarded.
 *
 * Until the job has ended other calls on the image wait.  It may be cancelled
 * at any moment; what was done until then stays.  A crash leaves leaks at
 * worst. An image that has errors other than leaks is refused (BYRE_E_CORRUPT).
 */
BYRE_API int byre_compact(struct byre *img, struct byre_job **ret_job,
                          struct byre_error *err);
BYRE_API int byre_compact_get_result(const struct byre_job *job,
                                     struct byre_compact_result *ret_result,
                                     struct byre_error *err);

#ifdef __cplusplus
}
#endif

#endif /* BYRE_H */
