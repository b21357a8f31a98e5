/* SPDX-License-Identifier: MIT */
/*
 * Without this test QEMU's locks could stop keeping two users of a file apart,
 * a lock outlive the call that failed to take it, or an error blame the wrong
 * process.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "store/lock_holder.h"
#include "store_scratch.h"

#define R FILE_LOCK_READ
#define W FILE_LOCK_WRITE
#define S FILE_LOCK_RESIZE

/* One bit for each byte from 100 on, and from 200 on 16 bits higher. */
#define UNSHARED_SHIFT        16
#define BYTES(used, unshared) ((used) | (unsigned)(unshared) << UNSHARED_SHIFT)

/* The bytes of the file that others hold locks on. */
static unsigned bytes_held(const char *path)
{
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    unsigned held = 0;

    assert_true(fd >= 0);
    for (unsigned i = 0; i < 8; i++) {
        for (unsigned j = 0; j < 2; j++) {
            struct flock lock = { .l_type = F_WRLCK,
                                  .l_whence = SEEK_SET,
                                  .l_start = 100 + 100 * (off_t)j + (off_t)i,
                                  .l_len = 1 };

            assert_int_equal(fcntl(fd, F_OFD_GETLK, &lock), 0);
            if (lock.l_type != F_UNLCK)
                held |= 1u << (i + j * UNSHARED_SHIFT);
        }
    }
    close(fd);
    return held;
}

/* ---- Two users in one process ---- */

/* What opens take, as QEMU 7.2 does. */
struct opener {
    const char *name;
    unsigned used, unshared;
};

enum { READER, SHARED, WRITER, DATA_FILE, CREATOR, DESCRIBER, OPENERS };

static const struct opener openers[OPENERS] = {
    [READER] = { "a reader", R, W | S },
    [SHARED] = { "a reader that shares", R, 0 },
    [WRITER] = { "a writer", R | W | S, W | S },
    [DATA_FILE] = { "a writer of a data file", R | W | S, S },
    [CREATOR] = { "a creator", W | S, S },
    [DESCRIBER] = { "one that describes", 0, W | S },
};

static int lock_as(struct byre_store *store, int opener, struct byre_error *err)
{
    return file_store_lock(store, openers[opener].used,
                           openers[opener].unshared, "disk.img", err);
}

/* Rows: who holds the file; columns: who is let in then. */
static const bool let_in[OPENERS][OPENERS] = {
    [READER] = { [READER] = true, [SHARED] = true, [DESCRIBER] = true },
    [SHARED] = { true, true, true, true, true, true },
    [WRITER] = { [SHARED] = true },
    [DATA_FILE] = { [SHARED] = true },
    [CREATOR] = { [SHARED] = true },
    [DESCRIBER] = { [READER] = true, [SHARED] = true, [DESCRIBER] = true },
};

static void check_pair(const char *path, int first, int second)
{
    struct byre_store *holder = open_store(path, FILE_STORE_WRITE);
    struct byre_store *store = open_store(path, 0);
    struct byre_error err = { .message = "" };
    const unsigned held = BYTES(openers[first].used, openers[first].unshared);
    int r;

    assert_int_equal(lock_as(holder, first, NULL), BYRE_OK);
    assert_int_equal(bytes_held(path), held);
    r = lock_as(store, second, &err);
    if (r != (let_in[first][second] ? BYRE_OK : BYRE_E_LOCKED))
        fail_msg("%s, then %s: %d", openers[first].name, openers[second].name,
                 r);
    if (r < 0) {
        /* Nothing of the attempt is left. */
        assert_int_equal(bytes_held(path), held);
        assert_non_null(strstr(err.message,
                               "Is another process using the image "
                               "[disk.img]? It is held by this process"));
    }

    /* Closing gives the locks back. */
    byre_store_unref(holder);
    if (lock_as(store, second, &err) < 0)
        fail_msg("%s: still locked after close", openers[first].name);
    file_store_unlock(store);
    assert_int_equal(bytes_held(path), 0);
    byre_store_unref(store);
}

static void test_pairs(void **state)
{
    struct scratch *scratch = *state;

    for (int first = 0; first < OPENERS; first++)
        for (int second = 0; second < OPENERS; second++)
            check_pair(scratch->path, first, second);
}

static void test_messages(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *holder = open_store(scratch->path, FILE_STORE_WRITE);
    struct byre_store *store = open_store(scratch->path, 0);
    struct byre_error err = { .message = "" };

    assert_int_equal(lock_as(holder, READER, NULL), BYRE_OK);
    assert_int_equal(lock_as(store, WRITER, &err), BYRE_E_LOCKED);
    assert_string_equal(err.message,
                        "Failed to get \"write\" lock; Is another process "
                        "using the image [disk.img]? It is held by this "
                        "process");
    assert_int_equal(file_store_lock(holder, S, 0, "it", NULL), BYRE_OK);
    assert_int_equal(lock_as(store, READER, &err), BYRE_E_LOCKED);
    assert_string_equal(err.message,
                        "Failed to get shared \"resize\" lock; Is another "
                        "process using the image [disk.img]? It is held by "
                        "this process");
    byre_store_unref(holder);
    byre_store_unref(store);
}

/* Somebody who does not know of shared locks is met when ours are taken. */
static void test_exclusive_holder(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *store = open_store(scratch->path, 0);
    struct byre_error err = { .message = "" };
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 203, .l_len = 1
    };

    assert_int_equal(fcntl(scratch->fd, F_OFD_SETLK, &lock), 0);
    assert_int_equal(lock_as(store, READER, &err), BYRE_E_LOCKED);
    assert_non_null(strstr(err.message, "Failed to lock byte 203"));
    assert_non_null(strstr(err.message, "held by this process"));
    assert_int_equal(bytes_held(scratch->path), BYTES(0, S));
    byre_store_unref(store);
}

/* ---- Changing what is held ---- */

static void test_changes(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *store = open_store(scratch->path, FILE_STORE_WRITE);

    for (int i = 0; i < OPENERS * OPENERS; i++) {
        const int opener = i % 2 == 0 ? i / OPENERS : i % OPENERS;

        assert_int_equal(lock_as(store, opener, NULL), BYRE_OK);
        assert_int_equal(bytes_held(scratch->path),
                         BYTES(openers[opener].used, openers[opener].unshared));
    }
    file_store_unlock(store);
    file_store_unlock(store);
    assert_int_equal(bytes_held(scratch->path), 0);
    byre_store_unref(store);
}

/* Who is not let in with more keeps what it had, and may try again. */
static void test_refused_change(void **state)
{
    struct scratch *scratch = *state;
    struct byre_store *store = open_store(scratch->path, FILE_STORE_WRITE);
    struct byre_store *other = open_store(scratch->path, 0);

    assert_int_equal(lock_as(store, READER, NULL), BYRE_OK);
    assert_int_equal(lock_as(other, READER, NULL), BYRE_OK);
    assert_int_equal(lock_as(store, WRITER, NULL), BYRE_E_LOCKED);
    file_store_unlock(other);
    assert_int_equal(bytes_held(scratch->path), BYTES(R, W | S));
    assert_int_equal(lock_as(store, WRITER, NULL), BYRE_OK);
    assert_int_equal(bytes_held(scratch->path), BYTES(R | W | S, W | S));
    byre_store_unref(other);
    byre_store_unref(store);
}

/* ---- Another process ---- */

struct process {
    pid_t pid;
    int stop; /* closed, it ends */
};

static void process_stop(struct process *process)
{
    close(process->stop);
    assert_int_equal(waitpid(process->pid, NULL, 0), process->pid);
}

/* A child of this name that holds what a writer holds. */
static struct process writer_start(const char *path, const char *name)
{
    int ready[2], stop[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    assert_int_equal(pipe2(stop, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct byre_store *store = NULL;

        close(stop[1]);
        prctl(PR_SET_NAME, name);
        if (file_store_open(path, FILE_STORE_WRITE, &store, NULL) < 0 ||
            file_store_lock(store, R | W, 0, path, NULL) < 0 ||
            write(ready[1], "x", 1) != 1)
            _exit(1);
        _exit(read(stop[0], &byte, 1) != 0);
    }
    close(ready[1]);
    close(stop[0]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return (struct process){ pid, stop[1] };
}

static void test_other_process(void **state)
{
    struct scratch *scratch = *state;
    struct process writer = writer_start(scratch->path, "a\nwriter");
    struct byre_store *store = open_store(scratch->path, 0);
    struct byre_error err = { .message = "" };
    char want[64];

    assert_int_equal(lock_as(store, READER, &err), BYRE_E_LOCKED);
    snprintf(want, sizeof(want), "]? It is held by process %d (a?writer)",
             writer.pid);
    assert_string_equal(strstr(err.message, "]?"), want);
    process_stop(&writer);
    assert_int_equal(lock_as(store, READER, &err), BYRE_OK);
    byre_store_unref(store);
}

/* Three are named; a fourth is told of. */
static void test_several_processes(void **state)
{
    struct scratch *scratch = *state;
    struct process writers[4];
    struct byre_store *store = open_store(scratch->path, 0);
    struct byre_error err = { .message = "" };

    for (int i = 0; i < 4; i++) {
        const char *tail;

        writers[i] = writer_start(scratch->path, "one");
        assert_int_equal(lock_as(store, READER, &err), BYRE_E_LOCKED);
        tail = strstr(err.message, "It is held by ");
        assert_non_null(tail);
        assert_true((strstr(tail, " and process ") != NULL) ==
                    (i == 1 || i == 2));
        assert_true((strstr(tail, " and others") != NULL) == (i == 3));
        for (int j = 0; j <= i && i < 3; j++) {
            char want[32];

            snprintf(want, sizeof(want), "process %d (one)", writers[j].pid);
            assert_non_null(strstr(tail, want));
        }
    }
    /* The last first: each child has the ends of those before it. */
    for (int i = 4; i-- > 0;)
        process_stop(&writers[i]);
    byre_store_unref(store);
}

/* ---- Against QEMU ---- */

enum { QEMU_WRITES, QEMU_READS, QEMU_SHARES, QEMU_RAW, QEMU_MODES };

struct qemu_mode {
    const char *argv[8];
    unsigned held;
    bool with[OPENERS]; /* of ours */
};

/* clang-format off */
static const struct qemu_mode qemu_modes[QEMU_MODES] = {
    [QEMU_WRITES] = { { "qemu-io", "-f", "qcow2" }, BYTES(R | W | S, W | S),
                      { [SHARED] = true } },
    [QEMU_READS] = { { "qemu-io", "-f", "qcow2", "-r" }, BYTES(R, W | S),
                     { [READER] = true, [SHARED] = true,
                       [DESCRIBER] = true } },
    [QEMU_SHARES] = { { "qemu-io", "-f", "qcow2", "-r", "-U" }, BYTES(R, 0),
                      { true, true, true, true, true, true } },
    [QEMU_RAW] = { { "qemu-io", "-f", "raw" }, BYTES(R | W, 0),
                   { [SHARED] = true, [DATA_FILE] = true, [CREATOR] = true } },
};
/* clang-format on */

/* Starts QEMU on the image; with `quit` it opens it and ends. */
static struct process qemu_start(const char *path, int mode, bool quit)
{
    const char *argv[16];
    size_t argc = 0;
    int input[2];
    pid_t pid;

    while (qemu_modes[mode].argv[argc] != NULL) {
        argv[argc] = qemu_modes[mode].argv[argc];
        argc++;
    }
    argv[argc++] = "-c";
    argv[argc] = "quit";
    argc += quit ? 1u : (size_t)-1;
    argv[argc++] = path;
    argv[argc] = NULL;

    assert_int_equal(pipe2(input, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const int null = open("/dev/null", O_RDWR);

        dup2(input[0], 0);
        dup2(null, 1);
        dup2(null, 2);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    close(input[0]);
    return (struct process){ pid, input[1] };
}

/* QEMU's exit code if it opens the image now. */
static int qemu_opens(const char *path, int mode)
{
    struct process qemu = qemu_start(path, mode, true);
    int status = 0;

    assert_int_equal(waitpid(qemu.pid, &status, 0), qemu.pid);
    close(qemu.stop);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Makes the file an image that QEMU opens, or skips the test. */
static void need_qemu(const char *path)
{
    char command[128];

    snprintf(command, sizeof(command),
             "qemu-img create -q -f qcow2 %s 1M && qemu-io -c quit %s", path,
             path);
    if (system("command -v qemu-img qemu-io >/dev/null") != 0) {
        print_message("no qemu-img and qemu-io here\n");
        skip();
    }
    assert_int_equal(system(command), 0);
}

static void test_before_qemu(void **state)
{
    struct scratch *scratch = *state;

    need_qemu(scratch->path);
    for (int mode = 0; mode < QEMU_MODES; mode++) {
        for (int opener = 0; opener < OPENERS; opener++) {
            struct byre_store *store =
                open_store(scratch->path, FILE_STORE_WRITE);
            int code;

            assert_int_equal(lock_as(store, opener, NULL), BYRE_OK);
            code = qemu_opens(scratch->path, mode);
            if (code != (qemu_modes[mode].with[opener] ? 0 : 1))
                fail_msg("%s, then mode %d of QEMU: %d", openers[opener].name,
                         mode, code);
            byre_store_unref(store);
        }
    }
}

static void wait_for_bytes(const char *path, unsigned bytes)
{
    for (int i = 0; i < 1000 && bytes_held(path) != bytes; i++)
        usleep(10000);
    assert_int_equal(bytes_held(path), bytes);
}

static void check_behind_qemu(const char *path, int mode, int opener,
                              const struct process *qemu)
{
    struct byre_store *store = open_store(path, FILE_STORE_WRITE);
    struct byre_error err = { .message = "" };
    const int r = lock_as(store, opener, &err);
    char want[64];

    if (r != (qemu_modes[mode].with[opener] ? BYRE_OK : BYRE_E_LOCKED))
        fail_msg("mode %d of QEMU, then %s: %d", mode, openers[opener].name, r);
    snprintf(want, sizeof(want), "]? It is held by process %d (qemu-io)",
             qemu->pid);
    if (r < 0)
        assert_string_equal(strstr(err.message, "]?"), want);
    byre_store_unref(store);
    assert_int_equal(bytes_held(path), qemu_modes[mode].held);
}

static void test_behind_qemu(void **state)
{
    struct scratch *scratch = *state;

    need_qemu(scratch->path);
    for (int mode = 0; mode < QEMU_MODES; mode++) {
        struct process qemu = qemu_start(scratch->path, mode, false);

        wait_for_bytes(scratch->path, qemu_modes[mode].held);
        for (int opener = 0; opener < OPENERS; opener++)
            check_behind_qemu(scratch->path, mode, opener, &qemu);
        process_stop(&qemu);
    }
}

/* ---- Lines of fdinfo ---- */

static void put_file(const char *folder, const char *name, const char *text)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void put_folder(const char *folder, const char *name)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

struct line_case {
    const char *name;
    const char *line;
    bool exclusive_only;
    const char *want; /* NULL: nobody */
};

/* clang-format off */
static const struct line_case line_cases[] = {
    { "a shared lock", "lock:\t1: OFDLCK ADVISORY  READ -1 08:11:77 101 101\n",
      false, "process 12 (a?b)" },
    { "the same, of a process",
      "lock:\t1: POSIX  ADVISORY  READ 12 08:11:77 0 EOF\n", false,
      "process 12 (a?b)" },
    { "behind other lines",
      "pos:\t0\nflags:\t02\n"
      "lock:\t1: OFDLCK ADVISORY  READ -1 08:11:77 100 100\n"
      "lock:\t1: OFDLCK ADVISORY  READ -1 08:11:77 101 103\n",
      false, "process 12 (a?b)" },
    { "bytes before", "lock:\t1: OFDLCK ADVISORY  READ -1 08:11:77 99 100\n",
      false, NULL },
    { "bytes behind", "lock:\t1: OFDLCK ADVISORY  READ -1 08:11:77 102 EOF\n",
      false, NULL },
    { "another file", "lock:\t1: OFDLCK ADVISORY  READ -1 08:11:78 101 101\n",
      false, NULL },
    { "a file of another device number",
      "lock:\t1: OFDLCK ADVISORY  READ -1 00:2a:77 101 101\n", false,
      "process 12 (a?b)" },
    { "a lock of another kind",
      "lock:\t1: FLOCK  ADVISORY  WRITE 12 08:11:77 0 EOF\n", false, NULL },
    { "shared, and not in the way",
      "lock:\t1: OFDLCK ADVISORY  READ -1 08:11:77 101 101\n", true, NULL },
    { "exclusive, and in the way",
      "lock:\t1: OFDLCK ADVISORY  WRITE -1 08:11:77 101 101\n", true,
      "process 12 (a?b)" },
    { "cut off", "lock:\t1: OFDLCK ADVISORY  READ -1 08:11:", false, NULL },
    { "no lock", "eventfd-count: 101\n", false, NULL },
    { "nothing", "", false, NULL },
};
/* clang-format on */

static const struct lock_conflict line_conflict = {
    .fd = 3, .device = 0x811, .inode = 77, .byte = 101
};

static void folder_remove(const char *folder)
{
    char command[64];

    snprintf(command, sizeof(command), "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

static void test_lines(void **state)
{
    char proc[] = "/tmp/byre-test-proc-XXXXXX";

    (void)state;
    assert_non_null(mkdtemp(proc));
    put_folder(proc, "12");
    put_folder(proc, "12/fdinfo");
    put_folder(proc, "irq");
    put_file(proc, "12/comm",
             "a\x1b"
             "b\n");
    for (size_t i = 0; i < sizeof(line_cases) / sizeof(line_cases[0]); i++) {
        const struct line_case *c = &line_cases[i];
        struct lock_conflict conflict = line_conflict;
        char text[LOCK_HOLDER_TEXT_SIZE] = "";

        conflict.exclusive_only = c->exclusive_only;
        put_file(proc, "12/fdinfo/3", c->line);
        if (lock_holder_describe(proc, &conflict, text) != (c->want != NULL) ||
            strcmp(text, c->want != NULL ? c->want : "") != 0)
            fail_msg("%s: '%s'", c->name, text);
    }
    folder_remove(proc);
    assert_false(lock_holder_describe(proc, &line_conflict,
                                      (char[LOCK_HOLDER_TEXT_SIZE]){ 0 }));
}

/* Who holds the file by all its numbers is named, and not a namesake. */
static void test_choice(void **state)
{
    static const char exact[] =
        "lock:\t1: OFDLCK ADVISORY  READ -1 08:11:77 101 101\n";
    static const char other_device[] =
        "lock:\t1: OFDLCK ADVISORY  READ -1 00:2a:77 101 101\n";
    char proc[] = "/tmp/byre-test-proc-XXXXXX", self[64];
    char text[LOCK_HOLDER_TEXT_SIZE] = "";

    (void)state;
    assert_non_null(mkdtemp(proc));
    for (int i = 1; i <= 3; i++) {
        char name[32];

        snprintf(name, sizeof(name), "%d", i);
        put_folder(proc, name);
        snprintf(name, sizeof(name), "%d/fdinfo", i);
        put_folder(proc, name);
    }
    put_file(proc, "1/fdinfo/9", other_device);
    put_file(proc, "2/fdinfo/9", exact);
    put_file(proc, "3/fdinfo/3", exact);
    snprintf(self, sizeof(self), "%s/self", proc);
    assert_int_equal(symlink("3", self), 0);

    /* Our own descriptor 3 does not count, another one of ours does. */
    assert_true(lock_holder_describe(proc, &line_conflict, text));
    assert_string_equal(text, "process 2");
    put_file(proc, "2/fdinfo/9", "");
    put_file(proc, "3/fdinfo/4", exact);
    assert_true(lock_holder_describe(proc, &line_conflict, text));
    assert_string_equal(text, "this process");
    put_file(proc, "3/fdinfo/4", "");
    assert_true(lock_holder_describe(proc, &line_conflict, text));
    assert_string_equal(text, "process 1");
    folder_remove(proc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_pairs),
        FILE_TEST(test_messages),
        FILE_TEST(test_exclusive_holder),
        FILE_TEST(test_changes),
        FILE_TEST(test_refused_change),
        FILE_TEST(test_other_process),
        FILE_TEST(test_several_processes),
        FILE_TEST(test_before_qemu),
        FILE_TEST(test_behind_qemu),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_choice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
