/* SPDX-License-Identifier: MIT */
#include "store/lock_holder.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/sysmacros.h>
#endif

#include "byre.h"

#define MAX_NAMED 3
#define NAME_SIZE 64

/* A file under many locks shows them all, in each of its descriptors. */
#define MAX_LINES 4096

enum match { MATCH_NOT, MATCH_INODE, MATCH_FILE };

struct names {
    char list[MAX_NAMED][NAME_SIZE];
    size_t count; /* of the processes found: may be one more than are listed */
};

struct search {
    const struct lock_conflict *conflict;
    char self[16];        /* our own process, as `proc` numbers it */
    unsigned entries;     /* looked at */
    struct names by_file; /* device and inode are those of the file */
    struct names by_inode;
};

static bool is_number(const char *text)
{
    return text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';
}

/*
 * Looks at a line of an fdinfo entry, as "lock: 1: OFDLCK ADVISORY READ -1
 * fe:00:1234 100 101".  The second of the two bytes is in the lock, too.
 */
static enum match match_line(const struct lock_conflict *conflict,
                             const char *line)
{
    unsigned long long inode, first, last = UINT64_MAX;
    char kind[16], mode[16], end[32];
    unsigned major_number, minor_number;

    if (sscanf(line, "lock: %*d: %15s %*s %15s %*d %x:%x:%llu %llu %31s", kind,
               mode, &major_number, &minor_number, &inode, &first, end) != 7)
        return MATCH_NOT;
    if (strcmp(kind, "OFDLCK") != 0 && strcmp(kind, "POSIX") != 0)
        return MATCH_NOT;
    if (conflict->exclusive_only && strcmp(mode, "WRITE") != 0)
        return MATCH_NOT;

    if (strcmp(end, "EOF") != 0)
        last = strtoull(end, NULL, 10);
    if (inode != conflict->inode || conflict->byte < first ||
        conflict->byte > last)
        return MATCH_NOT;
    return major_number == major(conflict->device) &&
                   minor_number == minor(conflict->device)
               ? MATCH_FILE
               : MATCH_INODE;
}

/* Looks at one descriptor of a process. */
static enum match match_entry(const struct lock_conflict *conflict, int folder,
                              const char *name)
{
    const int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
    enum match best = MATCH_NOT;
    char line[256];

    if (file == NULL) {
        if (fd >= 0)
            close(fd);
        return MATCH_NOT;
    }
    for (int i = 0; i < MAX_LINES && best != MATCH_FILE &&
                    fgets(line, sizeof(line), file) != NULL;
         i++) {
        const enum match match = match_line(conflict, line);

        best = match > best ? match : best;
    }
    fclose(file);
    return best;
}

static DIR *open_folder(int parent, const char *name)
{
    const int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (dir == NULL && fd >= 0)
        close(fd);
    return dir;
}

/* Looks at the descriptors of a process until one holds the lock. */
static enum match match_process(struct search *search, int proc,
                                const char *pid)
{
    const bool is_self = strcmp(pid, search->self) == 0;
    enum match best = MATCH_NOT;
    const struct dirent *entry;
    char path[32];
    DIR *dir;

    snprintf(path, sizeof(path), "%.15s/fdinfo", pid);
    dir = open_folder(proc, path);
    if (dir == NULL)
        return MATCH_NOT;
    while (best != MATCH_FILE && (entry = readdir(dir)) != NULL) {
        enum match match;

        if (!is_number(entry->d_name) ||
            (is_self && atoi(entry->d_name) == search->conflict->fd))
            continue;
        if (++search->entries > LOCK_HOLDER_MAX_ENTRIES)
            break;
        match = match_entry(search->conflict, dirfd(dir), entry->d_name);
        best = match > best ? match : best;
    }
    closedir(dir);
    return best;
}

/* ---- Names ---- */

/* The first line of a process's comm, which it may set itself. */
static void read_name(int proc, const char *pid, char *ret_name, size_t size)
{
    char path[32];
    ssize_t length = -1;
    int fd;

    snprintf(path, sizeof(path), "%.15s/comm", pid);
    fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        length = read(fd, ret_name, size - 1);
        close(fd);
    }
    while (length > 0 && ret_name[length - 1] == '\n')
        length--;
    ret_name[length > 0 ? length : 0] = '\0';
    byre_text_make_plain(ret_name);
}

static void add_name(const struct search *search, int proc, const char *pid,
                     struct names *names)
{
    char *text, name[32];

    if (names->count++ >= MAX_NAMED)
        return;
    text = names->list[names->count - 1];
    if (strcmp(pid, search->self) == 0) {
        strcpy(text, "this process");
        return;
    }
    read_name(proc, pid, name, sizeof(name));
    if (name[0] != '\0')
        snprintf(text, NAME_SIZE, "process %.15s (%s)", pid, name);
    else
        snprintf(text, NAME_SIZE, "process %.15s", pid);
}

/* As "a", "a and b", "a, b and c", "a, b, c and others". */
static void join_names(const struct names *names,
                       char ret_text[LOCK_HOLDER_TEXT_SIZE])
{
    const size_t listed = names->count < MAX_NAMED ? names->count : MAX_NAMED;
    size_t used = 0;

    for (size_t i = 0; i < listed; i++) {
        const char *glue = i == 0 ? "" : i + 1 < names->count ? ", " : " and ";

        used += (size_t)snprintf(ret_text + used, LOCK_HOLDER_TEXT_SIZE - used,
                                 "%s%s", glue, names->list[i]);
    }
    if (names->count > listed)
        snprintf(ret_text + used, LOCK_HOLDER_TEXT_SIZE - used, " and others");
}

static_assert(MAX_NAMED * (NAME_SIZE + 5) + 12 < LOCK_HOLDER_TEXT_SIZE,
              "all names fit the text");

/* Our own process as `proc` numbers it: not getpid() in every namespace. */
static void find_self(int proc, struct search *search)
{
    const ssize_t length =
        readlinkat(proc, "self", search->self, sizeof(search->self) - 1);

    search->self[length > 0 ? length : 0] = '\0';
}

bool lock_holder_describe(const char *proc,
                          const struct lock_conflict *conflict,
                          char ret_text[LOCK_HOLDER_TEXT_SIZE])
{
    struct search search = { .conflict = conflict };
    DIR *dir = open_folder(AT_FDCWD, proc);
    const struct dirent *entry;
    const struct names *names;

    if (dir == NULL)
        return false;
    find_self(dirfd(dir), &search);
    while (search.entries <= LOCK_HOLDER_MAX_ENTRIES &&
           search.by_file.count <= MAX_NAMED &&
           (entry = readdir(dir)) != NULL) {
        enum match match;

        if (!is_number(entry->d_name))
            continue;
        match = match_process(&search, dirfd(dir), entry->d_name);
        if (match == MATCH_FILE)
            add_name(&search, dirfd(dir), entry->d_name, &search.by_file);
        if (match == MATCH_INODE)
            add_name(&search, dirfd(dir), entry->d_name, &search.by_inode);
    }
    closedir(dir);

    names = search.by_file.count > 0 ? &search.by_file : &search.by_inode;
    if (names->count > 0)
        join_names(names, ret_text);
    return names->count > 0;
}
