/* Layers, good and hostile, in this process and in the one that is shut in. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/thread.h"
#include "cluster/node/images/manifest.h"
#include "cluster/node/images/ref.h"
#include "cluster/node/images/unpack.h"
#include "cluster/node/images/user.h"
#include "kit.h"
#include "unit.h"

static int fd_of(const void *p, size_t n)
{
    int fd = memfd_create("layer", MFD_CLOEXEC);
    assert_true(fd >= 0 && (n == 0 || write(fd, p, n) == (ssize_t)n) && lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static int unpack_bytes(const void *p, size_t n, const char *dir, const struct unpack_limits *l, struct unpack_result *r,
                        struct err *err)
{
    AUTOCLOSE int fd = fd_of(p, n);
    return unpack_layer(fd, dir, l, r, err);
}

static char *at(const char *dir, const char *name) { return fs_join(dir, name); }

static char *content(const char *dir, const char *name)
{
    AUTOFREE char *path = at(dir, name);
    BUF(b);
    return fs_read(path, 1 << 20, &b, NULL) == 0 ? buf_steal(&b, NULL) : NULL;
}

static void expect_text(const char *dir, const char *name, const char *text)
{
    AUTOFREE char *got = content(dir, name);
    if (!str_eq(got, text))
        fail_msg("%s holds \"%s\" instead of \"%s\"", name, got ? got : "(nothing)", text);
}

static bool is_whiteout(const char *dir, const char *name)
{
    AUTOFREE char *path = at(dir, name);
    struct stat st;
    return lstat(path, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == 0;
}

static bool is_opaque(const char *dir, const char *name)
{
    AUTOFREE char *path = at(dir, name);
    char v = 0;
    return getxattr(path, "user.overlay.opaque", &v, 1) == 1 && v == 'y';
}

static void need_root(void)
{
    if (geteuid() != 0) {
        print_message("skipped: needs root\n");
        skip();
    }
}

static void usual_tree(struct kit_tar *t, const char *filter)
{
    kit_tar_open(t, filter);
    kit_tar_add(t, "./", AE_IFDIR, NULL);
    kit_tar_add(t, "./etc/", AE_IFDIR, NULL);
    kit_tar_add(t, "./etc/name", AE_IFREG, "layer\n");
    kit_tar_link(t, "etc/same", "etc/name");
    kit_tar_add(t, "etc/link", AE_IFLNK, "../../../etc/passwd");
    kit_tar_add(t, "/abs/file", AE_IFREG, "absolute");
    kit_tar_add(t, "not/listed/parent", AE_IFREG, "p");
    kit_tar_add(t, "pipe", AE_IFIFO, NULL);
    kit_tar_add(t, "f\xc3\xb6o", AE_IFREG, "utf8");
    struct archive_entry *e = kit_tar_entry("suid", AE_IFREG);
    archive_entry_set_perm(e, 04755);
    archive_entry_set_uid(e, 1234);
    archive_entry_set_gid(e, 4321);
    archive_entry_xattr_add_entry(e, "user.note", "n", 1);
    archive_entry_xattr_add_entry(e, "user.overlay.opaque", "y", 1);
    archive_entry_xattr_add_entry(e, "trusted.overlay.opaque", "y", 1);
    kit_tar_put(t, e, "s", 1);
    kit_tar_add(t, "dev/null", AE_IFREG, "a file may be there");
    kit_tar_add(t, "dev/sda", AE_IFBLK, NULL);
    kit_tar_end(t);
}

static void check_usual_tree(const char *dir)
{
    struct stat a, b;
    char note;
    expect_text(dir, "etc/name", "layer\n");
    expect_text(dir, "abs/file", "absolute");
    expect_text(dir, "not/listed/parent", "p");
    expect_text(dir, "f\xc3\xb6o", "utf8");
    AUTOFREE char *one = at(dir, "etc/name"), *two = at(dir, "etc/same"), *suid = at(dir, "suid"), *sda = at(dir, "dev/sda"),
                  *etc = at(dir, "etc");
    assert_true(stat(one, &a) == 0 && stat(two, &b) == 0 && a.st_ino == b.st_ino);
    assert_int_equal(a.st_mtim.tv_sec, 1700000000);
    assert_int_equal(stat(suid, &a), 0);
    assert_int_equal(a.st_mode & 07777, 04755);
    assert_int_equal(a.st_uid, 1234);
    assert_int_equal(a.st_gid, 4321);
    assert_int_equal(getxattr(suid, "user.note", &note, 1), 1);
    assert_true(getxattr(suid, "user.overlay.opaque", &note, 1) < 0 && getxattr(suid, "trusted.overlay.opaque", &note, 1) < 0);
    assert_false(fs_exists(sda));
    assert_int_equal(stat(etc, &a), 0);
    assert_int_equal(a.st_mtim.tv_sec, 1700000000);
}

static void usual(void **state)
{
    need_root();
    static const char *const filters[] = {NULL, "gzip", "zstd"};
    char first[72] = "";
    for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
        struct kit_tar t;
        struct unpack_result r;
        char *dir = kit_dir();
        ERR(e);
        usual_tree(&t, filters[i]);
        if (unpack_bytes(t.bytes, t.used, dir, &unpack_limits, &r, &e) < 0)
            fail_msg("%s: %s", filters[i] ? filters[i] : "tar", err_text(&e));
        check_usual_tree(dir);
        if (!i) {
            AUTOFREE char *digest = digest_of(t.bytes, t.used);
            assert_string_equal(r.diff_id, digest);
            snprintf(first, sizeof first, "%s", r.diff_id);
        }
        kit_tar_free(&t);
        kit_rm(dir);
    }
}

/* The same by the process; nothing of the directory is visible to it by another name. */
static void by_process(void **state)
{
    need_root();
    struct kit_tar t;
    struct unpack_result r;
    char *dir = kit_dir();
    ERR(e);
    usual_tree(&t, "gzip");
    AUTOCLOSE int fd = fd_of(t.bytes, t.used);
    if (unpack_spawn(NULL, fd, dir, &r, &e) < 0)
        fail_msg("%s", err_text(&e));
    check_usual_tree(dir);
    assert_true(digest_is_sha256(r.diff_id));
    AUTOCLOSE int bad = fd_of("no tar at all, but long enough to be looked at by somebody", 58);
    assert_int_equal(unpack_spawn(NULL, bad, dir, &r, &e), -1);
    kit_tar_free(&t);
    kit_rm(dir);
}

static void whiteouts(void **state)
{
    need_root();
    struct kit_tar t;
    struct unpack_result r;
    char *dir = kit_dir();
    ERR(e);
    kit_tar_open(&t, NULL);
    kit_tar_add(&t, "a/.wh.gone", AE_IFREG, "");
    kit_tar_add(&t, "b/.wh..wh..opq", AE_IFREG, "");
    kit_tar_add(&t, "b/new", AE_IFREG, "n");
    kit_tar_add(&t, "c", AE_IFREG, "stays");
    kit_tar_add(&t, ".wh.c", AE_IFREG, "");
    kit_tar_add(&t, ".wh.d", AE_IFREG, "");
    kit_tar_add(&t, "d", AE_IFREG, "comes after");
    kit_tar_add(&t, "e/in", AE_IFREG, "e");
    kit_tar_add(&t, ".wh.e", AE_IFREG, "");
    kit_tar_add(&t, ".wh.f", AE_IFREG, "");
    kit_tar_add(&t, "f/", AE_IFDIR, NULL);
    kit_tar_add(&t, ".wh..wh.aufs", AE_IFREG, "");
    kit_tar_add(&t, ".wh..wh.plnk/1.2", AE_IFREG, "");
    kit_tar_end(&t);
    if (unpack_bytes(t.bytes, t.used, dir, &unpack_limits, &r, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_true(is_whiteout(dir, "a/gone"));
    assert_true(is_opaque(dir, "b"));
    expect_text(dir, "b/new", "n");
    expect_text(dir, "c", "stays");
    expect_text(dir, "d", "comes after");
    assert_true(is_opaque(dir, "e"));
    expect_text(dir, "e/in", "e");
    assert_true(is_opaque(dir, "f"));
    assert_false(is_whiteout(dir, ".wh..wh.aufs") || is_whiteout(dir, ".wh.aufs"));
    kit_tar_free(&t);
    kit_rm(dir);
}

/* What is replaced: by another kind, again and again. */
static void replaced(void **state)
{
    need_root();
    struct kit_tar t;
    struct unpack_result r;
    char *dir = kit_dir();
    ERR(e);
    kit_tar_open(&t, NULL);
    kit_tar_add(&t, "x/deep/er/file", AE_IFREG, "1");
    kit_tar_add(&t, "x", AE_IFREG, "file now");
    kit_tar_add(&t, "y", AE_IFREG, "1");
    kit_tar_add(&t, "y/", AE_IFDIR, NULL);
    kit_tar_add(&t, "y/z", AE_IFREG, "z");
    kit_tar_add(&t, "l", AE_IFLNK, "y");
    kit_tar_add(&t, "l/w", AE_IFREG, "through the link");
    kit_tar_add(&t, "l", AE_IFREG, "no link any more");
    kit_tar_link(&t, "y/z", "y/z");
    kit_tar_end(&t);
    if (unpack_bytes(t.bytes, t.used, dir, &unpack_limits, &r, &e) < 0)
        fail_msg("%s", err_text(&e));
    expect_text(dir, "x", "file now");
    expect_text(dir, "y/z", "z");
    expect_text(dir, "y/w", "through the link");
    expect_text(dir, "l", "no link any more");
    kit_tar_free(&t);
    kit_rm(dir);
}

/* Links that lead out lead inside; names that lead out are refused. Nothing outside is touched. */
static void escapes(void **state)
{
    need_root();
    struct kit_tar t;
    struct unpack_result r;
    char *outside = kit_dir(), *dir = kit_dir();
    AUTOFREE char *victim = at(outside, "victim"), *inside = at(dir, victim + 1);
    ERR(e);
    assert_int_equal(fs_write_atomic(victim, "safe", 4, 0644, &e), 0);
    kit_tar_open(&t, NULL);
    kit_tar_add(&t, outside, AE_IFDIR, NULL);
    kit_tar_add(&t, "abs", AE_IFLNK, outside);
    kit_tar_add(&t, "abs/victim", AE_IFREG, "hit");
    kit_tar_add(&t, "up", AE_IFLNK, "../../../../../../../..");
    kit_tar_add(&t, "up/up-file", AE_IFREG, "inside");
    kit_tar_add(&t, "direct", AE_IFLNK, victim);
    kit_tar_add(&t, "direct", AE_IFREG, "own");
    kit_tar_end(&t);
    if (unpack_bytes(t.bytes, t.used, dir, &unpack_limits, &r, &e) < 0)
        fail_msg("%s", err_text(&e));
    expect_text(outside, "victim", "safe");
    expect_text(dir, "up-file", "inside");
    expect_text(dir, "direct", "own");
    assert_true(fs_exists(inside));
    kit_tar_free(&t);
    kit_rm(dir);
    kit_rm(outside);
}

static void refused(void **state)
{
    need_root();
    static const struct {
        const char *path;
        unsigned type;
        const char *what;  /* content or target; of AE_IFMT: hard link */
        const char *error; /* part of the message */
    } cases[] = {
        {"../x", AE_IFREG, "", "would leave"},
        {"a/../../x", AE_IFREG, "", "would leave"},
        {"a/..", AE_IFDIR, NULL, "would leave"},
        {"/..", AE_IFDIR, NULL, "would leave"},
        {"sda", AE_IFBLK, NULL, "device"},
        {"etc/tty", AE_IFCHR, NULL, "device"},
        {"link", AE_IFMT, "../outside", "would leave"},
        {"link", AE_IFMT, "/etc/passwd", "not in this layer"},
        {"link", AE_IFMT, "dir", "no file"},
        {"dir/.wh..", AE_IFREG, "", "hides nothing"},
        {"dir/.wh.", AE_IFREG, "", "hides nothing"},
        {"dir/.wh...", AE_IFREG, "", "hides nothing"},
        {"./.", AE_IFREG, "x", "no name of a file"},
        {"nowhere/x", AE_IFREG, "x", "nowhere"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kit_tar t;
        struct unpack_result r;
        char *dir = kit_dir();
        ERR(e);
        kit_tar_open(&t, NULL);
        kit_tar_add(&t, "dir/", AE_IFDIR, NULL);
        kit_tar_add(&t, "nowhere", AE_IFLNK, "/proc/self/root");
        if (cases[i].type == AE_IFMT)
            kit_tar_link(&t, cases[i].path, cases[i].what);
        else
            kit_tar_add(&t, cases[i].path, cases[i].type, cases[i].what);
        kit_tar_end(&t);
        int rc = unpack_bytes(t.bytes, t.used, dir, &unpack_limits, &r, &e);
        if (rc == 0 || !strstr(err_text(&e), cases[i].error))
            fail_msg("%s: %s instead of %s", cases[i].path, rc ? err_text(&e) : "accepted", cases[i].error);
        kit_tar_free(&t);
        kit_rm(dir);
    }
}

static void bounded(void **state)
{
    need_root();
    static const struct unpack_limits few = {.max_bytes = 1 << 20, .max_entries = 100, .max_ratio = 50, .free_bytes = 64 << 10};
    AUTOFREE char *zeros = xcalloc(1, 900 << 10);
    struct unpack_result r;
    for (int i = 0; i < 3; i++) {
        struct kit_tar t;
        char *dir = kit_dir();
        ERR(e);
        kit_tar_open(&t, i == 0 ? "gzip" : NULL);
        if (i == 0) { /* a bomb: 900 kB out of one */
            kit_tar_put(&t, kit_tar_entry("z", AE_IFREG), zeros, 900 << 10);
        } else if (i == 1) {
            for (int n = 0; n < 101; n++) {
                AUTOFREE char *name = xasprintf("f%d", n);
                kit_tar_add(&t, name, AE_IFREG, "");
            }
        } else { /* more than may be, in pieces */
            kit_tar_put(&t, kit_tar_entry("a", AE_IFREG), zeros, 900 << 10);
            kit_tar_put(&t, kit_tar_entry("b", AE_IFREG), zeros, 900 << 10);
        }
        kit_tar_end(&t);
        assert_int_equal(unpack_bytes(t.bytes, t.used, dir, &few, &r, &e), -1);
        if (e.code != ERR_TOO_LARGE && !strstr(err_text(&e), "larger") && !strstr(err_text(&e), "grows"))
            fail_msg("case %d: %s", i, err_text(&e));
        kit_tar_free(&t);
        kit_rm(dir);
    }
}

/* Packed twice it is no layer: what grows in between would be counted by nobody. */
static void packed_twice(void **state)
{
    need_root();
    struct kit_tar t;
    struct unpack_result r;
    usual_tree(&t, "gzip");
    char twice[65536];
    size_t used = 0;
    struct archive *a = archive_write_new();
    struct archive_entry *e = kit_tar_entry("data", AE_IFREG);
    archive_write_set_format_raw(a);
    archive_write_add_filter_gzip(a);
    assert_int_equal(archive_write_open_memory(a, twice, sizeof twice, &used), ARCHIVE_OK);
    assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
    assert_int_equal(archive_write_data(a, t.bytes, t.used), t.used);
    archive_write_close(a);
    archive_write_free(a);
    archive_entry_free(e);
    char *dir = kit_dir();
    ERR(err);
    assert_int_equal(unpack_bytes(twice, used, dir, &unpack_limits, &r, &err), -1);
    assert_non_null(strstr(err_text(&err), "the layer is no tar archive"));
    assert_int_equal(unpack_bytes("\x1f\x8b\x08\0garbage, and no deflate stream", 33, dir, &unpack_limits, &r, &err), -1);
    assert_non_null(strstr(err_text(&err), "cannot be decompressed"));
    assert_int_equal(unpack_bytes("\x1f\x8bnonsense", 10, dir, &unpack_limits, &r, &err), -1); /* nor is half of a head one */
    assert_non_null(strstr(err_text(&err), "cannot be decompressed"));
    kit_tar_free(&t);
    kit_rm(dir);
}

/* Cut anywhere, or with a bit turned: an error, or another digest; never anything worse. */
static void damaged(void **state)
{
    need_root();
    struct kit_tar t;
    struct unpack_result whole, r;
    usual_tree(&t, "gzip");
    char *dir = kit_dir();
    assert_int_equal(unpack_bytes(t.bytes, t.used, dir, &unpack_limits, &whole, NULL), 0);
    kit_rm(dir);
    for (size_t n = 0; n < t.used; n += 7) {
        dir = kit_dir();
        int rc = unpack_bytes(t.bytes, n, dir, &unpack_limits, &r, NULL);
        assert_true(rc < 0 || !str_eq(r.diff_id, whole.diff_id));
        kit_rm(dir);
    }
    for (size_t n = 10; n < t.used; n += 11) {
        dir = kit_dir();
        t.bytes[n] ^= 0x10;
        int rc = unpack_bytes(t.bytes, t.used, dir, &unpack_limits, &r, NULL);
        t.bytes[n] ^= 0x10;
        assert_true(rc < 0 || n + 8 > t.used || !str_eq(r.diff_id, whole.diff_id));
        kit_rm(dir);
    }
    dir = kit_dir();
    assert_int_equal(unpack_bytes("", 0, dir, &unpack_limits, &r, NULL), 0); /* nothing is an empty layer */
    kit_rm(dir);
    kit_tar_free(&t);
}

static void many_small_files(void **state)
{
    need_root();
    struct kit_tar t;
    struct unpack_result r;
    char *dir = kit_dir();
    ERR(e);
    kit_tar_open(&t, "gzip");
    for (int i = 0; i < 10000; i++) {
        AUTOFREE char *name = xasprintf("d%d/f%d", i / 100, i);
        kit_tar_add(&t, name, AE_IFREG, "x");
    }
    kit_tar_end(&t);
    if (unpack_bytes(t.bytes, t.used, dir, &unpack_limits, &r, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_int_equal(r.entries, 10000);
    expect_text(dir, "d99/f9999", "x");
    kit_tar_free(&t);
    kit_rm(dir);
}

/* ---- users, out of layers
 * ------------------------------------------------------------------------------------------------------ */

static void put(const char *dir, const char *name, const char *text)
{
    AUTOFREE char *path = at(dir, name), *parent = xstrndup(path, (size_t)(strrchr(path, '/') - path));
    ERR(e);
    if (fs_mkdir_p(parent, 0755, &e) < 0 || fs_write_atomic(path, text, strlen(text), 0644, &e) < 0)
        fail_msg("%s", err_text(&e));
}

static void users(void **state)
{
    need_root();
    char *low = kit_dir(), *high = kit_dir();
    STRLIST(layers);
    strlist_add(&layers, low);
    strlist_add(&layers, high);
    put(low, "etc/passwd", "root:x:0:0::/root:\nold:x:7:7::/:\napp:x:1000:1001::/home/app:/bin/sh\nbad:x:y:z::/:\n");
    put(low, "etc/group", "app:x:1001:\nwheel:x:10:other,app\nmore:x:11:app\n");
    static const struct {
        const char *user;
        int64_t uid, gid; /* uid -1: refused */
        const char *groups, *home;
    } cases[] = {{"", 0, 0, "", "/root"},
                 {"app", 1000, 1001, "10 11", "/home/app"},
                 {"1000", 1000, 1001, "10 11", "/home/app"},
                 {"app:wheel", 1000, 10, "", "/home/app"},
                 {"app:5", 1000, 5, "", "/home/app"},
                 {"65534", 65534, 0, "", "/"},
                 {"65534:65534", 65534, 65534, "", "/"},
                 {"nobody", -1, 0, "", ""},
                 {"app:nogroup", -1, 0, "", ""},
                 {"bad", -1, 0, "", ""},
                 {"-1", -1, 0, "", ""},
                 {"99999999999", -1, 0, "", ""}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(image_user_free) struct image_user u = {0};
        ERR(e);
        int rc = image_user_find(&layers, cases[i].user, &u, &e);
        if (rc < 0 ? cases[i].uid >= 0 : u.uid != cases[i].uid || u.gid != cases[i].gid)
            fail_msg("%s: %s %lld:%lld", cases[i].user, err_text(&e), (long long)u.uid, (long long)u.gid);
        if (rc < 0)
            continue;
        AUTOFREE char *groups = strlist_join(&u.groups, " ");
        assert_string_equal(groups ? groups : "", cases[i].groups);
        assert_string_equal(u.home, cases[i].home);
    }
    BUF(text);
    put(high, "etc/passwd", "new:x:1:1::/:\n"); /* hides the one below */
    assert_true(image_file_read(&layers, "etc", "passwd", 4096, &text));
    assert_string_equal(buf_str(&text), "new:x:1:1::/:\n");
    AUTOFREE char *path = at(high, "etc/passwd"), *etc = at(high, "etc");
    assert_true(unlink(path) == 0 && mknod(path, S_IFCHR, 0) == 0);
    assert_false(image_file_read(&layers, "etc", "passwd", 4096, &text));
    assert_true(unlink(path) == 0 && symlink("/etc/shadow", path) == 0); /* of its layer, which has none */
    assert_false(image_file_read(&layers, "etc", "passwd", 4096, &text));
    assert_true(unlink(path) == 0 && setxattr(etc, "user.overlay.opaque", "y", 1, 0) == 0);
    assert_false(image_file_read(&layers, "etc", "passwd", 4096, &text));
    kit_rm(low);
    kit_rm(high);
}

TEST_GROUP(unpacking, cmocka_unit_test(usual), cmocka_unit_test(by_process), cmocka_unit_test(whiteouts),
           cmocka_unit_test(replaced), cmocka_unit_test(escapes), cmocka_unit_test(refused), cmocka_unit_test(bounded),
           cmocka_unit_test(packed_twice), cmocka_unit_test(damaged), cmocka_unit_test(many_small_files), cmocka_unit_test(users))
