/* SPDX-License-Identifier: MIT */
/*
 * Without this test, creating could empty a file that it should have left
 * alone: one in use, one that the new image stands on, or one for which the
 * options were wrong; or leave behind what it could not finish.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "create_cases.h"
#include "store/file.h"

#define MIB UINT64_C(1048576)

static char folder[] = "/tmp/byre-create-XXXXXX";

static int enter_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL ? chdir(folder) : -1;
}

static int leave_folder(void **state)
{
    char command[sizeof(folder) + 16];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return chdir("/") == 0 ? system(command) : -1;
}

static struct byre_create_options options(void)
{
    struct byre_create_options opts = BYRE_CREATE_OPTIONS_INIT;

    opts.virtual_size_bytes = MIB;
    opts.flags = BYRE_CREATE_NO_SYNC;
    return opts;
}

static void make(const char *name, const struct byre_create_options *opts)
{
    struct byre_error err = { .message = "" };

    if (byre_create(name, opts, &err) < 0)
        flunk("%s: %s", name, err.message);
}

/* Fails with `code`, and says `text`. */
static void refuse(const char *name, const struct byre_create_options *opts,
                   int code, const char *text)
{
    struct byre_error err = { .message = "" };
    const int r = byre_create(name, opts, &err);

    if (r != code || strstr(err.message, text) == NULL)
        flunk("%s: %d, %s; not %d, %s", name, r, err.message, code, text);
    assert_int_equal(err.code, code);
}

static void write_text(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void assert_text(const char *name, const char *text)
{
    char buf[256] = "";
    FILE *file = fopen(name, "r");

    assert_non_null(file);
    assert_int_equal(fread(buf, 1, sizeof(buf) - 1, file), strlen(text));
    assert_string_equal(buf, text);
    fclose(file);
}

static bool exists(const char *name)
{
    struct stat st;

    return lstat(name, &st) == 0;
}

/* The disk of an image that is whole, by counting. */
static uint64_t disk_of(const char *name)
{
    struct byre_error err = { .message = "" };
    struct byre_store *store = NULL;
    uint64_t disk_bytes = 0, mapped;

    assert_int_equal(file_store_open(name, 0, &store, &err), BYRE_OK);
    if (count_image(store, &disk_bytes, &mapped, &err) < 0)
        flunk("%s: %s", name, err.message);
    byre_store_unref(store);
    return disk_bytes;
}

/* ---- Options that contradict each other ---- */

static void test_wrong_options(void **state)
{
    /* clang-format off */
    const struct {
        struct byre_create_options opts;
        int code;
        const char *text;
    } cases[] = {
        { { .version = 4 }, BYRE_E_INVALID, "version 4" },
        { { .cluster_size_bytes = 1000 }, BYRE_E_INVALID, "Cluster size must be a power of two" },
        { { .cluster_size_bytes = 256 }, BYRE_E_INVALID, "Cluster size must be" },
        { { .cluster_size_bytes = 4 * MIB }, BYRE_E_INVALID, "Cluster size must be" },
        { { .refcount_bits = 3 }, BYRE_E_INVALID, "Refcount width must be a power of two" },
        { { .refcount_bits = 128 }, BYRE_E_INVALID, "Refcount width must be" },
        { { .version = 2, .refcount_bits = 8 }, BYRE_E_INVALID, "compatibility level 1.1" },
        { { .version = 2, .flags = BYRE_CREATE_LAZY_REFCOUNTS }, BYRE_E_INVALID, "Lazy refcounts" },
        { { .version = 2, .flags = BYRE_CREATE_EXTENDED_L2 }, BYRE_E_INVALID, "Extended L2" },
        { { .version = 2, .compression_type = "zstd" }, BYRE_E_INVALID, "zlib" },
        { { .version = 2, .data_file = "data" }, BYRE_E_INVALID, "External data files" },
        { { .compression_type = "lzo" }, BYRE_E_INVALID, "'lzo'" },
        { { .cluster_size_bytes = 8192, .flags = BYRE_CREATE_EXTENDED_L2 }, BYRE_E_INVALID, "at least 16384" },
        { { .flags = BYRE_CREATE_DATA_FILE_RAW }, BYRE_E_INVALID, "requires data-file" },
        { { .flags = BYRE_CREATE_KEEP_DATA_FILE }, BYRE_E_INVALID, "requires data-file" },
        { { .data_file = "" }, BYRE_E_INVALID, "empty" },
        { { .data_file = "data", .flags = BYRE_CREATE_KEEP_DATA_FILE, .preallocation = 3 }, BYRE_E_INVALID, "preallocation" },
        { { .data_file = "data", .flags = BYRE_CREATE_DATA_FILE_RAW, .backing_name = "base", .backing_format = "raw" }, BYRE_E_INVALID, "Backing file and data-file-raw" },
        { { .data_file = "data", .flags = BYRE_CREATE_DATA_FILE_RAW, .encryption = 1, .passphrase = "x", .passphrase_bytes = 1 }, BYRE_E_INVALID, "encryption" },
        { { .preallocation = 4 }, BYRE_E_INVALID, "preallocation mode 4" },
        { { .preallocation = 1, .backing_name = "base", .backing_format = "raw" }, BYRE_E_INVALID, "if extended_l2 is on" },
        { { .backing_name = "base" }, BYRE_E_INVALID, "without backing format" },
        { { .backing_format = "raw" }, BYRE_E_INVALID, "without backing file" },
        { { .backing_name = "", .backing_format = "raw" }, BYRE_E_INVALID, "empty" },
        { { .backing_name = "base", .backing_format = "foo" }, BYRE_E_INVALID, "Unknown driver 'foo'" },
        { { .backing_name = "base", .backing_format = "vmdk" }, BYRE_E_UNSUPPORTED, "'vmdk'" },
        { { .backing_name = "nobody", .backing_format = "raw" }, BYRE_E_IO, "backing file 'nobody'" },
        { { .encryption = 3 }, BYRE_E_INVALID, "encryption 3" },
        { { .encryption = 1 }, BYRE_E_SECRET, "passphrase" },
        { { .encryption = 2 }, BYRE_E_SECRET, "passphrase" },
        { { .encryption = 1, .passphrase = "\xff", .passphrase_bytes = 1 }, BYRE_E_SECRET, "UTF-8" },
        { { .encryption = 1, .passphrase = "x", .passphrase_bytes = 1, .cipher_alg = "aes-256" }, BYRE_E_INVALID, "LUKS only" },
        { { .encryption = 2, .passphrase = "x", .passphrase_bytes = 1, .version = 2, .preallocation = 1 }, BYRE_E_INVALID, "Preallocation of an encrypted" },
        { { .virtual_size_bytes = MIB + 1 }, BYRE_E_INVALID, "no multiple of 512" },
        { { .virtual_size_bytes = BYRE_NO_OFFSET }, BYRE_E_INVALID, "needs a size" },
        { { .virtual_size_bytes = BYRE_NO_OFFSET - 511 }, BYRE_E_INVALID, "more than the limit" },
        { { .virtual_size_bytes = MIB << 20, .cluster_size_bytes = 512 }, BYRE_E_INVALID, "try using a larger cluster size" },
        { { .flags = UINT32_C(1) << 31 }, BYRE_E_INVALID, "0x80000000" },
        { { .format = "vmdk" }, BYRE_E_INVALID, "'vmdk'" },
        { { .format = "raw", .preallocation = 1 }, BYRE_E_INVALID, "metadata" },
        { { .format = "raw", .backing_name = "base", .backing_format = "raw" }, BYRE_E_INVALID, "Backing file not supported" },
        { { .format = "raw", .encryption = 1, .passphrase = "x", .passphrase_bytes = 1 }, BYRE_E_INVALID, "'raw'" },
        { { .format = "raw", .version = 3 }, BYRE_E_INVALID, "'raw'" },
        { { .format = "qcow", .cluster_size_bytes = 512 }, BYRE_E_INVALID, "a cluster size" },
        { { .format = "qcow", .preallocation = 3 }, BYRE_E_INVALID, "preallocation" },
        { { .format = "qcow", .encryption = 2, .passphrase = "x", .passphrase_bytes = 1 }, BYRE_E_INVALID, "LUKS" },
        { { .format = "qcow", .virtual_size_bytes = MIB << 30 }, BYRE_E_INVALID, "too large" },
    };
    /* clang-format on */

    (void)state;
    write_text("base", "base");
    write_text("old", "what was here");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct byre_create_options opts = cases[i].opts;

        opts.size = sizeof(opts);
        if (opts.virtual_size_bytes == 0)
            opts.virtual_size_bytes = MIB;
        if (opts.encryption == BYRE_ENCRYPTION_AES &&
            strstr(byre_features(), "crypto") == NULL)
            continue;
        refuse("old", &opts, cases[i].code, cases[i].text);
        refuse("new", &opts, cases[i].code, cases[i].text);
        assert_false(exists("new"));
        assert_false(exists("data"));
        assert_text("old", "what was here");
    }
}

static void test_wrong_names(void **state)
{
    struct byre_create_options opts = options();
    char name[1100];

    (void)state;
    refuse("json:{}", &opts, BYRE_E_UNSUPPORTED, "./json:{}");
    refuse("nbd:host", &opts, BYRE_E_UNSUPPORTED, "'nbd'");
    refuse("file:", &opts, BYRE_E_INVALID, "empty");
    refuse("no/folder", &opts, BYRE_E_IO, "no/folder");
    refuse(".", &opts, BYRE_E_IO, "directory");
    assert_int_equal(byre_create(NULL, &opts, NULL), BYRE_E_INVALID);
    assert_int_equal(byre_create("new", NULL, NULL), BYRE_E_INVALID);
    assert_false(exists("new"));

    memset(name, 'b', sizeof(name));
    opts.backing_name = name;
    opts.backing_format = "raw";
    opts.flags |= BYRE_CREATE_BACKING_UNCHECKED;
    name[1024] = '\0';
    refuse("new", &opts, BYRE_E_INVALID, "1023");
    name[1023] = '\0';
    opts.cluster_size_bytes = 1024;
    refuse("new", &opts, BYRE_E_INVALID, "shorter names");
    opts.cluster_size_bytes = 2048;
    make("new", &opts);
    assert_int_equal(disk_of("new"), MIB);
    unlink("new");
}

/* ---- Files ---- */

static void test_new_and_existing(void **state)
{
    struct byre_create_options opts = options();

    (void)state;
    make("file:image", &opts);
    assert_int_equal(disk_of("image"), MIB);
    opts.virtual_size_bytes = 1001;
    opts.flags |= BYRE_CREATE_ROUND_SIZE;
    make("image", &opts);
    assert_int_equal(disk_of("image"), 1024);

    opts.flags |= BYRE_CREATE_EXCLUSIVE;
    refuse("image", &opts, BYRE_E_IO, "File exists");
    assert_int_equal(disk_of("image"), 1024);
    make("exclusive", &opts);
    unlink("exclusive");
    unlink("image");
}

static void test_symlinks(void **state)
{
    struct byre_create_options opts = options();

    (void)state;
    assert_int_equal(mkdir("sub", 0700), 0);
    assert_int_equal(symlink("sub/middle", "link"), 0);
    assert_int_equal(symlink("../target", "sub/middle"), 0);
    make("link", &opts);
    assert_int_equal(disk_of("target"), MIB);
    make("link", &opts);
    assert_int_equal(disk_of("link"), MIB);

    unlink("target");
    opts.flags |= BYRE_CREATE_EXCLUSIVE;
    refuse("link", &opts, BYRE_E_IO, "File exists");
    opts.flags &= ~BYRE_CREATE_EXCLUSIVE;
    assert_int_equal(symlink("loop", "loop"), 0);
    refuse("loop", &opts, BYRE_E_IO, "symbolic links");

    /* What was made at the end of a symlink is removed there. */
    opts.data_file = "no/folder";
    refuse("link", &opts, BYRE_E_IO, "data file");
    assert_false(exists("target"));
    assert_true(exists("link"));
    unlink("link");
}

static void test_file_in_use(void **state)
{
    struct byre_create_options opts = options();
    struct byre_store *user = NULL;

    (void)state;
    write_text("used", "somebody's");
    assert_int_equal(file_store_open("used", 0, &user, NULL), BYRE_OK);
    assert_int_equal(file_store_lock(user, FILE_LOCK_READ,
                                     FILE_LOCK_WRITE | FILE_LOCK_RESIZE, "used",
                                     NULL),
                     BYRE_OK);
    refuse("used", &opts, BYRE_E_LOCKED, "used");
    assert_text("used", "somebody's");
    opts.data_file = "used";
    refuse("new", &opts, BYRE_E_LOCKED, "used");
    assert_text("used", "somebody's");
    assert_false(exists("new"));
    byre_store_unref(user);
    make("new", &opts);
    unlink("new");
    unlink("used");
}

/* ---- Backing files ---- */

static void test_backing_size(void **state)
{
    struct byre_create_options opts = options();

    (void)state;
    write_text("base", "some bytes");
    opts.virtual_size_bytes = BYRE_NO_OFFSET;
    opts.backing_name = "base";
    opts.backing_format = "raw";
    make("overlay", &opts);
    assert_int_equal(disk_of("overlay"), 512);

    opts.backing_name = "overlay";
    opts.backing_format = "qcow2";
    assert_int_equal(mkdir("over", 0700), 0);
    refuse("over/second", &opts, BYRE_E_IO, "over/overlay");
    opts.backing_name = "../overlay";
    make("over/second", &opts);
    assert_int_equal(disk_of("over/second"), 512);

    opts.flags |= BYRE_CREATE_BACKING_UNCHECKED;
    opts.backing_name = "nobody";
    refuse("new", &opts, BYRE_E_INVALID, "needs a size");
    opts.virtual_size_bytes = MIB;
    make("new", &opts);
    unlink("new");
}

/* base <- one <- two <- three, of which base and one must stay. */
static void test_own_backing_chain(void **state)
{
    struct byre_open_options below = BYRE_OPEN_OPTIONS_INIT;
    struct byre_create_options opts = options();

    (void)state;
    make("base", &opts);
    opts.backing_format = "qcow2";
    opts.backing_name = "base";
    make("one", &opts);
    opts.backing_name = "one";
    make("two", &opts);
    opts.backing_name = "two";
    opts.virtual_size_bytes = 2 * MIB;
    refuse("two", &opts, BYRE_E_INVALID, "backing file");
    assert_int_equal(link("one", "alias"), 0);
    refuse("alias", &opts, BYRE_E_INVALID, "backing file");

    /* Further down only by permission. */
    opts.backing_open = &below;
    below.flags = BYRE_OPEN_FOLLOW_BACKING;
    refuse("base", &opts, BYRE_E_INVALID, "backing file");
    opts.data_file = "base";
    refuse("three", &opts, BYRE_E_INVALID, "backing file");
    opts.data_file = "alias";
    refuse("three", &opts, BYRE_E_INVALID, "backing file");
    assert_false(exists("three"));
    assert_int_equal(disk_of("base"), MIB);
    assert_int_equal(disk_of("one"), MIB);
    assert_int_equal(disk_of("two"), MIB);

    /* Nor over a file that is only named. */
    opts.data_file = NULL;
    opts.flags |= BYRE_CREATE_BACKING_UNCHECKED;
    refuse("two", &opts, BYRE_E_INVALID, "backing file");
    opts.backing_name = "file:two";
    refuse("two", &opts, BYRE_E_INVALID, "backing file");
    assert_int_equal(disk_of("two"), MIB);

    opts.backing_name = "two";
    opts.flags &= ~BYRE_CREATE_BACKING_UNCHECKED;
    make("three", &opts);
    assert_int_equal(disk_of("three"), 2 * MIB);
}

static int refuse_ref(void *user, const struct byre_ref *ref,
                      struct byre_error *err)
{
    ++*(unsigned *)user;
    assert_int_equal(ref->depth, 2);
    assert_string_equal(ref->stored, "base");
    return fail(err, BYRE_E_CANCELED, "not that one");
}

/* The caller's own name needs no permission, what that image names does. */
static void test_permission(void **state)
{
    struct byre_open_options below = BYRE_OPEN_OPTIONS_INIT;
    struct byre_create_options opts = options();
    unsigned asked = 0;

    (void)state;
    opts.backing_name = "one";
    opts.backing_format = "qcow2";
    opts.backing_open = &below;
    below.allow_ref = refuse_ref;
    below.user = &asked;
    make("three", &opts);
    assert_int_equal(asked, 0);
    below.flags = BYRE_OPEN_FOLLOW_BACKING;
    refuse("four", &opts, BYRE_E_CANCELED, "not that one");
    assert_int_equal(asked, 1);
    assert_false(exists("four"));
}

/* ---- Data files ---- */

static void test_data_file(void **state)
{
    struct byre_create_options opts = options();
    struct stat st;

    (void)state;
    opts.data_file = "image";
    refuse("image", &opts, BYRE_E_INVALID, "the image itself");
    assert_false(exists("image"));

    opts.data_file = "disk";
    make("image", &opts);
    assert_int_equal(stat("disk", &st), 0);
    assert_int_equal(st.st_size, MIB);
    assert_int_equal(symlink("disk", "name"), 0);
    opts.data_file = "name";
    refuse("disk", &opts, BYRE_E_INVALID, "the image itself");

    opts.flags |= BYRE_CREATE_KEEP_DATA_FILE;
    opts.virtual_size_bytes = MIB + 512;
    refuse("image", &opts, BYRE_E_INVALID, "fewer than the disk's");
    assert_int_equal(disk_of("image"), MIB);
    opts.data_file = "nobody";
    refuse("image", &opts, BYRE_E_IO, "nobody");
    assert_false(exists("nobody"));
}

/* A data file that was new goes too when the image cannot be made. */
static void test_failure_removes_both(void **state)
{
    struct byre_create_options opts = options();

    (void)state;
    if (access("/dev/full", W_OK) < 0)
        skip();
    opts.data_file = "fresh";
    refuse("/dev/full", &opts, BYRE_E_UNSUPPORTED, "character device");
    assert_false(exists("fresh"));
    write_text("there", "there");
    opts.data_file = "/dev/full";
    refuse("fresh", &opts, BYRE_E_UNSUPPORTED, "character device");
    refuse("there", &opts, BYRE_E_UNSUPPORTED, "character device");
    assert_false(exists("fresh"));
    assert_text("there", "there");
}

/* Files may grow to `bytes`, and no further. */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit;

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes == RLIM_INFINITY ? limit.rlim_max : bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_no_room(void **state)
{
    struct byre_create_options opts = options();
    struct stat st;

    (void)state;
    write_text("there", "there");
    write_text("data", "there");
    limit_files(100000);
    refuse("fresh", &opts, BYRE_E_IO, "File too large");
    assert_false(exists("fresh"));
    refuse("there", &opts, BYRE_E_IO, "there is left empty");
    assert_int_equal(stat("there", &st), 0);
    assert_int_equal(st.st_size, 0);

    write_text("there", "there");
    opts.data_file = "data";
    refuse("there", &opts, BYRE_E_IO, "data is left empty");
    assert_text("there", "there");
    opts.data_file = "fresh data";
    refuse("fresh", &opts, BYRE_E_IO, "data file");
    assert_false(exists("fresh"));
    assert_false(exists("fresh data"));

    /* The data file is done, and then the image fails. */
    opts.virtual_size_bytes = 512;
    refuse("fresh", &opts, BYRE_E_IO, "File too large");
    assert_false(exists("fresh"));
    assert_false(exists("fresh data"));
    limit_files(RLIM_INFINITY);
    make("fresh", &opts);
    unlink("fresh");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_options),
        cmocka_unit_test(test_wrong_names),
        cmocka_unit_test(test_new_and_existing),
        cmocka_unit_test(test_symlinks),
        cmocka_unit_test(test_file_in_use),
        cmocka_unit_test(test_backing_size),
        cmocka_unit_test(test_own_backing_chain),
        cmocka_unit_test(test_permission),
        cmocka_unit_test(test_data_file),
        cmocka_unit_test(test_failure_removes_both),
        cmocka_unit_test(test_no_room),
    };

    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
