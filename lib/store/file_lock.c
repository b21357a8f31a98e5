/* SPDX-License-Identifier: MIT */
#include "store/file_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "base/error.h"
#include "store/lock_holder.h"

#ifdef F_OFD_SETLK

#define USED_BYTE     100u
#define UNSHARED_BYTE 200u
#define PERMISSIONS   4u

static const char *const permission_names[PERMISSIONS] = {
    "consistent read", "write", "write unchanged", "resize"
};

/* Why the locks cannot be had. */
struct refusal {
    unsigned byte;
    bool was_test; /* the byte was tested; else it was to be locked */
    int sys_errno; /* of the call that failed; 0: somebody holds the byte */
};

static int lock_byte(int fd, int command, short type, unsigned byte,
                     struct flock *ret_lock)
{
    *ret_lock = (struct flock){
        .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1
    };
    return fcntl(fd, command, ret_lock);
}

/* Locks or unlocks the bytes of `permissions`. */
static bool set_bytes(int fd, short type, unsigned permissions,
                      unsigned first_byte, struct refusal *ret_refusal)
{
    struct flock lock;

    for (unsigned i = 0; i < PERMISSIONS; i++) {
        if ((permissions & 1u << i) == 0)
            continue;
        if (lock_byte(fd, F_OFD_SETLK, type, first_byte + i, &lock) < 0) {
            *ret_refusal =
                (struct refusal){ .byte = first_byte + i, .sys_errno = errno };
            return false;
        }
    }
    return true;
}

static bool set_locks(int fd, short type, const struct file_lock *locks,
                      struct refusal *ret_refusal)
{
    return set_bytes(fd, type, locks->used, USED_BYTE, ret_refusal) &&
           set_bytes(fd, type, locks->unshared, UNSHARED_BYTE, ret_refusal);
}

/* Returns false if somebody else holds one of the bytes. */
static bool test_bytes(int fd, unsigned permissions, unsigned first_byte,
                       struct refusal *ret_refusal)
{
    struct flock lock;

    for (unsigned i = 0; i < PERMISSIONS; i++) {
        int r;

        if ((permissions & 1u << i) == 0)
            continue;
        r = lock_byte(fd, F_OFD_GETLK, F_WRLCK, first_byte + i, &lock);
        if (r == 0 && lock.l_type == F_UNLCK)
            continue;
        *ret_refusal = (struct refusal){ .byte = first_byte + i,
                                         .was_test = true,
                                         .sys_errno = r < 0 ? errno : 0 };
        return false;
    }
    return true;
}

/* What is used must be shared by all others, and the other way round. */
static bool test_locks(int fd, const struct file_lock *locks,
                       struct refusal *ret_refusal)
{
    return test_bytes(fd, locks->used, UNSHARED_BYTE, ret_refusal) &&
           test_bytes(fd, locks->unshared, USED_BYTE, ret_refusal);
}

/* What `locks` has and `kept` has not. */
static struct file_lock without(const struct file_lock *locks,
                                const struct file_lock *kept)
{
    return (struct file_lock){ locks->used & ~kept->used,
                               locks->unshared & ~kept->unshared };
}

/* Who holds the byte, as the end of a message; "" if nobody can be named. */
static const char *describe_holder(int fd, const struct refusal *refusal,
                                   char text[LOCK_HOLDER_TEXT_SIZE])
{
    struct stat st;

    text[0] = '\0';
    if (fstat(fd, &st) < 0)
        return "";
    return lock_holder_describe(
               "/proc",
               &(struct lock_conflict){ .fd = fd,
                                        .device = st.st_dev,
                                        .inode = st.st_ino,
                                        .byte = refusal->byte,
                                        .exclusive_only = !refusal->was_test },
               text)
               ? " It is held by "
               : "";
}

static int fail_refused(int fd, const struct refusal *refusal, const char *name,
                        struct byre_error *err)
{
    const bool others_share = refusal->byte >= UNSHARED_BYTE;
    const bool is_held = refusal->sys_errno == 0 ||
                         refusal->sys_errno == EAGAIN ||
                         refusal->sys_errno == EACCES;
    char holder[LOCK_HOLDER_TEXT_SIZE] = "";
    const char *held_by;

    if (!is_held)
        return fail_errno(err, refusal->sys_errno,
                          "Failed to lock byte %u of '%s'", refusal->byte,
                          name);

    held_by = err != NULL ? describe_holder(fd, refusal, holder) : "";
    if (!refusal->was_test)
        return fail(err, BYRE_E_LOCKED,
                    "Failed to lock byte %u; Is another process using the "
                    "image [%s]?%s%s",
                    refusal->byte, name, held_by, holder);
    return fail(err, BYRE_E_LOCKED,
                "Failed to get %s\"%s\" lock; Is another process using the "
                "image [%s]?%s%s",
                others_share ? "" : "shared ",
                permission_names[(refusal->byte - USED_BYTE) %
                                 (UNSHARED_BYTE - USED_BYTE)],
                name, held_by, holder);
}

static bool system_has_locks(int fd)
{
    struct flock lock;

    return lock_byte(fd, F_OFD_GETLK, F_WRLCK, 0, &lock) == 0;
}

int file_lock_take(int fd, struct file_lock *held,
                   const struct file_lock *wanted, const char *name,
                   struct byre_error *err)
{
    const struct file_lock added = without(wanted, held);
    const struct file_lock dropped = without(held, wanted);
    struct refusal refusal, ignored;

    if (!system_has_locks(fd))
        return BYRE_OK;

    if (!set_locks(fd, F_RDLCK, &added, &refusal) ||
        !test_locks(fd, wanted, &refusal)) {
        set_locks(fd, F_UNLCK, &added, &ignored);
        return fail_refused(fd, &refusal, name, err);
    }

    held->used |= wanted->used;
    held->unshared |= wanted->unshared;
    if (!set_locks(fd, F_UNLCK, &dropped, &refusal))
        return fail_errno(err, refusal.sys_errno,
                          "cannot unlock byte %u of '%s'", refusal.byte, name);
    *held = *wanted;
    return BYRE_OK;
}

int file_lock_copy(int fd, const struct file_lock *held, struct byre_error *err)
{
    struct refusal refusal;

    if (set_locks(fd, F_RDLCK, held, &refusal))
        return BYRE_OK;
    return fail_errno(err, refusal.sys_errno, "Failed to lock byte %u",
                      refusal.byte);
}

void file_lock_release(int fd, struct file_lock *held)
{
    struct refusal ignored;

    set_locks(fd, F_UNLCK, held, &ignored);
    *held = (struct file_lock){ 0 };
}

#else

int file_lock_take(int fd, struct file_lock *held,
                   const struct file_lock *wanted, const char *name,
                   struct byre_error *err)
{
    (void)fd;
    (void)held;
    (void)wanted;
    (void)name;
    (void)err;
    return BYRE_OK;
}

int file_lock_copy(int fd, const struct file_lock *held, struct byre_error *err)
{
    (void)fd;
    (void)held;
    (void)err;
    return BYRE_OK;
}

void file_lock_release(int fd, struct file_lock *held)
{
    (void)fd;
    (void)held;
}

#endif
