/* SPDX-License-Identifier: MIT */
#include "job/pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"

/* How long cancel may go unheard. */
#define TICK_MILLISECONDS 50

static bool is_stream(mode_t mode)
{
    return S_ISFIFO(mode) || S_ISSOCK(mode) || S_ISCHR(mode);
}

bool pipe_is_one(const char *name)
{
    struct stat st;

    return stat(name, &st) == 0 && is_stream(st.st_mode);
}

/* What is opened may be another thing than what was looked at before. */
static int check_opened(int fd, const char *name, struct byre_error *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return fail_errno(err, errno, "Could not open '%s'", name);
    if (!is_stream(st.st_mode))
        return fail(err, BYRE_E_STATE, "'%s' was a pipe and is none any more",
                    name);
    return BYRE_OK;
}

int pipe_open(const char *name, const atomic_bool *canceled, int *ret_fd,
              struct byre_error *err)
{
    const struct timespec tick = { 0, TICK_MILLISECONDS * 1000 * 1000 };
    int fd, r;

    /* ENXIO: nobody reads yet. */
    while ((fd = open(name, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)) <
               0 &&
           errno == ENXIO && pipe_is_one(name)) {
        if (atomic_load(canceled))
            return fail(err, BYRE_E_CANCELED, "canceled");
        nanosleep(&tick, NULL);
    }
    if (fd < 0)
        return fail_errno(err, errno, "Could not open '%s'", name);

    r = check_opened(fd, name, err);
    if (r < 0) {
        close(fd);
        return r;
    }
    *ret_fd = fd;
    return BYRE_OK;
}

/* SIGPIPE would end a program that knows nothing of this pipe. */
static ssize_t write_without_signal(int fd, const void *buf, size_t length)
{
    const struct timespec now = { 0, 0 };
    sigset_t sigpipe, before, pending;
    ssize_t n;
    int saved_errno;

    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
    n = write(fd, buf, length);
    saved_errno = errno;
    if (n < 0 && saved_errno == EPIPE && !sigismember(&pending, SIGPIPE))
        sigtimedwait(&sigpipe, NULL, &now);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = saved_errno;
    return n;
}

int pipe_write(int fd, const char *name, const atomic_bool *canceled,
               const void *buf, size_t length, struct byre_error *err)
{
    const uint8_t *p = buf;

    while (length > 0) {
        struct pollfd ready = { .fd = fd, .events = POLLOUT };
        ssize_t n;

        if (atomic_load_explicit(canceled, memory_order_relaxed))
            return fail(err, BYRE_E_CANCELED, "canceled");

        n = write_without_signal(fd, p, length);
        if (n < 0 && errno == EAGAIN) {
            poll(&ready, 1, TICK_MILLISECONDS);
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, errno, "cannot write to '%s'", name);
        p += n;
        length -= (size_t)n;
    }
    return BYRE_OK;
}
