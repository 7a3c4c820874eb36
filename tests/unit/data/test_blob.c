#include "data_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/beneath.h"
#include "data/blob.h"

static const struct ctx *bg(void)
{
    static struct ctx c;
    c = ctx_background();
    return &c;
}

static void test_uri(void **state)
{
    static const struct {
        const char *uri, *scheme, *bucket, *key;
    } good[] = {
        {"minio://mlpipeline/v2/a", "minio", "mlpipeline", "v2/a"},
        {"s3://b", "s3", "b", ""},
        {"s3://b/", "s3", "b", ""},
        {"gs://b/dir/", "gs", "b", "dir"},
        {"x+y.z-1://b/a b/%41", "x+y.z-1", "b", "a b/%41"},
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        char *s, *b, *k;
        ERR(e);
        assert_int_equal(blob_uri_split(good[i].uri, &s, &b, &k, &e), 0);
        assert_string_equal(s, good[i].scheme);
        assert_string_equal(b, good[i].bucket);
        assert_string_equal(k, good[i].key);
        free(s), free(b), free(k);
    }
    static const char *const bad[] = {"",          "/a/b",      "s3:/b/k", "s3:///k", "1s://b/k", "s3://b/../k", "s3://b/a//b",
                                      "s3://../k", "s3://b/./k"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char *s, *b, *k;
        ERR(e);
        assert_int_equal(blob_uri_split(bad[i], &s, &b, &k, &e), -1);
        assert_int_equal(e.code, ERR_INVALID);
        assert_null(s);
    }
}

static void read_back(struct blob_store *s, const char *key, const char *want)
{
    BUF(b);
    ERR(e);
    assert_int_equal(blob_read(s, bg(), "b", key, 0, -1, 1000, &b, &e), 0);
    assert_string_equal(buf_str(&b), want);
}

static void round_trip(const char *dir)
{
    AUTOFREE char *root = fs_join(dir, "store");
    ERR(e);
    struct blob_store *s = blob_store_dir(root, &e);
    assert_non_null(s);
    struct stat st;
    assert_int_equal(stat(root, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);

    assert_int_equal(blob_write(s, bg(), "b", "x/y/z", "hello", 5, &e), 0);
    read_back(s, "x/y/z", "hello");
    assert_int_equal(blob_write(s, bg(), "b", "x/y/z", "bye", 3, &e), 0);
    read_back(s, "x/y/z", "bye");
    BUF(b);
    assert_int_equal(blob_read(s, bg(), "b", "x/y/z", 1, 1, 10, &b, &e), 0);
    assert_string_equal(buf_str(&b), "y");
    assert_int_equal(blob_read(s, bg(), "b", "x/y/z", 10, 5, 10, &b, &e), 0); /* behind the end: nothing */
    assert_int_equal(b.len, 1);
    assert_int_equal(blob_read(s, bg(), "b", "x/y/z", 0, -1, 2, &b, &e), -1);
    assert_int_equal(e.code, ERR_TOO_LARGE);
    assert_int_equal(blob_read(s, bg(), "b", "x/y", 0, -1, 2, &b, &e), -1);
    assert_int_equal(e.code, ERR_INVALID);

    struct blob_info info;
    assert_int_equal(blob_stat(s, bg(), "b", "x/y/z", &info, &e), 0);
    assert_int_equal(info.size, 3);
    assert_false(info.is_dir);
    assert_int_equal(blob_stat(s, bg(), "b", "x", &info, &e), 0);
    assert_true(info.is_dir);
    assert_int_equal(blob_stat(s, bg(), "b", "nope", &info, &e), -1);
    assert_int_equal(e.code, ERR_NOT_FOUND);

    assert_int_equal(blob_delete(s, bg(), "b", "x", &e), 0);
    assert_int_equal(blob_stat(s, bg(), "b", "x/y/z", &info, &e), -1);
    assert_int_equal(blob_delete(s, bg(), "b", "x/y", &e), 0); /* missing is fine */

    AUTOFREE char *place = blob_as_path(s, NULL, "b", "runs/1/model", true, &e);
    AUTOFREE char *want = xasprintf("%s/b/runs/1/model", root);
    assert_string_equal(place, want);
    AUTOFREE char *parent = xasprintf("%s/b/runs/1", root);
    assert_true(fs_is_dir(parent));
    assert_false(fs_exists(place));
    blob_store_free(s);
}

/* A directory becomes a link to another place and back, as a container may do it at any moment: what was opened is what lies in
 * the store. */
static void *flip(void *arg)
{
    char *const *v = arg; /* the name, the link beside it, the end mark */
    while (!fs_exists(v[2]))
        renameat2(AT_FDCWD, v[0], AT_FDCWD, v[1], RENAME_EXCHANGE);
    return NULL;
}

static void flipping(const char *dir)
{
    AUTOFREE char *root = fs_join(dir, "flipping"), *outside = fs_join(dir, "flip-out"), *name = fs_join(root, "b/d"),
                  *link = fs_join(root, "b/l"), *end = fs_join(dir, "flip-end"), *secret = fs_join(outside, "k");
    ERR(e);
    pthread_t t;
    char *const v[] = {name, link, end};
    struct blob_store *s = blob_store_dir(root, &e);
    assert_int_equal(fs_mkdir_p(outside, 0700, &e), 0);
    assert_int_equal(fs_write_atomic(secret, "secret", 6, 0600, &e), 0);
    assert_int_equal(blob_write(s, bg(), "b", "d/k", "plain", 5, &e), 0);
    assert_int_equal(symlink(outside, link), 0);
    assert_int_equal(pthread_create(&t, NULL, flip, (void *)v), 0);
    for (int i = 0; i < 20000; i++) {
        int fd;
        char text[8] = "";
        if (blob_open(s, bg(), "b", "d/k", &fd, NULL) == 0) {
            assert_int_equal(read(fd, text, 7), 5);
            assert_string_equal(text, "plain");
            close(fd);
        }
    }
    assert_int_equal(fs_write_atomic(end, "", 0, 0600, &e), 0);
    pthread_join(t, NULL);
    blob_store_free(s);
}

/* Bringing bytes to a place below which somebody else writes. */
static void beneath_download(const char *dir)
{
    AUTOFREE char *root = fs_join(dir, "bd-store"), *space = fs_join(dir, "bd-space"), *outside = fs_join(dir, "bd-out"),
                  *way = fs_join(space, "way"), *written = fs_join(space, "in/k"), *stolen = fs_join(outside, "k"),
                  *in = fs_join(space, "in"), *tree = fs_join(outside, "d/k");
    ERR(e);
    struct blob_store *s = blob_store_dir(root, &e);
    assert_int_equal(blob_write(s, bg(), "b", "d/k", "bytes", 5, &e), 0);
    assert_int_equal(fs_mkdir_p(outside, 0700, &e), 0);
    assert_int_equal(fs_mkdir_p(space, 0777, &e), 0);
    assert_int_equal(blob_download_beneath(s, bg(), "b", "d/k", space, "in/k", NULL, &e), 0);
    BUF(b);
    assert_int_equal(fs_read(written, 10, &b, &e), 0);
    assert_string_equal(buf_str(&b), "bytes");
    assert_int_equal(blob_download_beneath(s, bg(), "b", "d", space, "in/tree", NULL, &e), 0);

    assert_int_equal(symlink(outside, way), 0);
    static const char *const paths[] = {"way/k", "way/d/k", "../bd-out/k", "/k", ""};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        err_clear(&e);
        assert_int_equal(blob_download_beneath(s, bg(), "b", "d/k", space, paths[i], NULL, &e), -1);
        assert_int_equal(e.code, ERR_INVALID);
        assert_int_equal(blob_download_beneath(s, bg(), "b", "d", space, paths[i], NULL, NULL), -1);
    }
    assert_false(fs_exists(stolen));
    assert_false(fs_exists(tree));
    assert_int_equal(fs_rm_rf(in, &e), 0);
    assert_int_equal(symlink(outside, in), 0);
    assert_int_equal(blob_download_beneath(s, bg(), "b", "d/k", space, "in/k", NULL, &e), -1);
    assert_false(fs_exists(stolen));
    blob_store_free(s);
}

/* What a container may have left in its output directory. */
static void hostile(const char *dir)
{
    AUTOFREE char *root = fs_join(dir, "hostile");
    AUTOFREE char *outside = fs_join(dir, "outside");
    AUTOFREE char *secret = fs_join(outside, "secret");
    AUTOFREE char *bucket = fs_join(root, "b");
    AUTOFREE char *link = fs_join(bucket, "link");
    AUTOFREE char *file_link = fs_join(bucket, "file");
    AUTOFREE char *fifo = fs_join(bucket, "fifo");
    ERR(e);
    struct blob_store *s = blob_store_dir(root, &e);
    assert_int_equal(fs_mkdir_p(outside, 0700, &e), 0);
    assert_int_equal(fs_write_atomic(secret, "s", 1, 0600, &e), 0);
    assert_int_equal(fs_mkdir_p(bucket, 0755, &e), 0);
    assert_int_equal(symlink(outside, link), 0);
    assert_int_equal(symlink(secret, file_link), 0);
    assert_int_equal(mkfifo(fifo, 0600), 0);

    BUF(b);
    struct blob_info info;
    static const char *const keys[] = {"link/secret", "file", "link/new/deeper"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        assert_int_equal(blob_read(s, bg(), "b", keys[i], 0, -1, 10, &b, &e), -1);
        assert_int_equal(e.code, ERR_INVALID);
        assert_null(blob_as_path(s, NULL, "b", keys[i], true, &e));
        int fd;
        assert_int_equal(blob_open(s, bg(), "b", keys[i], &fd, &e), -1);
        assert_int_equal(fd, -1);
    }
    assert_int_equal(blob_stat(s, bg(), "b", "link/secret", &info, &e), -1);
    assert_int_equal(blob_write(s, bg(), "b", "link/new", "x", 1, &e), -1);
    assert_int_equal(blob_delete(s, bg(), "b", "link/secret", &e), -1);
    assert_true(fs_exists(secret));
    assert_int_equal(blob_read(s, bg(), "b", "fifo", 0, -1, 10, &b, &e), -1);
    assert_int_equal(e.code, ERR_INVALID);

    assert_int_equal(blob_write(s, bg(), "b", "file", "mine", 4, &e), 0); /* replaces the link, does not write through it */
    read_back(s, "file", "mine");
    assert_int_equal(blob_delete(s, bg(), "b", "", &e), 0);
    assert_true(fs_exists(secret));
    blob_store_free(s);
}

static void test_names(void **state)
{
    ERR(e);
    struct blob_store *s = blob_store_dir(*state, &e);
    static const char *const bad[] = {"", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "../x"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(blob_write(s, bg(), "b", bad[i], "x", 1, &e), -1);
        assert_int_equal(e.code, ERR_INVALID);
    }
    char long_part[300];
    memset(long_part, 'a', sizeof long_part - 1);
    long_part[sizeof long_part - 1] = '\0';
    assert_int_equal(blob_write(s, bg(), "b", long_part, "x", 1, &e), -1);
    assert_int_equal(blob_write(s, bg(), "..", "k", "x", 1, &e), -1);
    assert_int_equal(blob_write(s, bg(), "a/b", "k", "x", 1, &e), -1);
    assert_int_equal(blob_write(s, bg(), "b", "..a/a..b", "x", 1, &e), 0);
    blob_store_free(s);
}

static void test_openat2(void **state)
{
    beneath_no_openat2 = false;
    round_trip(*state);
    hostile(*state);
    flipping(*state);
    beneath_download(*state);
}

static void test_step_by_step(void **state)
{
    beneath_no_openat2 = true;
    round_trip(*state);
    hostile(*state);
    flipping(*state);
    beneath_download(*state);
    beneath_no_openat2 = false;
}

TEST_GROUP(blob, cmocka_unit_test(test_uri), IN_DIR(test_names), IN_DIR(test_openat2), IN_DIR(test_step_by_step))
