/* SPDX-License-Identifier: MIT */
/*
 * strict IMAGE...: what the strict checker says, a line an image:
 *
 *     version=3 dirty=0 corruptions=0 missing-copied=0 leaks=2 first=...
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "strict.h"

static int read_file(void *user, uint64_t offset, void *buf, size_t length)
{
    const int fd = *(const int *)user;
    uint8_t *at = buf;

    memset(buf, 0, length);
    while (length > 0) {
        const ssize_t r = pread(fd, at, length, (off_t)offset);

        if (r < 0)
            return -1;
        if (r == 0)
            return 0;
        at += r;
        offset += (uint64_t)r;
        length -= (size_t)r;
    }
    return 0;
}

static int check_file(const char *name)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    struct strict_source source = { .read = read_file, .user = &fd };
    struct strict_report report;
    struct stat status;

    if (fd < 0 || fstat(fd, &status) < 0) {
        perror(name);
        return 1;
    }
    source.length = (uint64_t)status.st_size;
    strict_check(&source, &report);
    close(fd);
    printf("version=%u dirty=%d corruptions=%llu missing-copied=%llu "
           "leaks=%llu past-end=%llu first=%s%s%s\n",
           report.version, report.dirty, (unsigned long long)report.corruptions,
           (unsigned long long)report.missing_copied,
           (unsigned long long)report.leaks,
           (unsigned long long)report.leaks_past_end, report.first,
           report.first[0] != '\0' ? "" : "; ", report.first_leak);
    return 0;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (check_file(argv[i]) != 0)
            return 1;
    return 0;
}
