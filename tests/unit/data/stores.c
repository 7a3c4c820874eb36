/* stores.c - what every object store must do, against a real server.
 *
 * STORE is the settings as JSON (data/blob.h), BUCKET the name of a bucket that is there and empty. Without STORE a directory is
 * used. Run by tests/e2e/test_object_stores.py, which starts the servers. */
#include "data_test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/blob.h"
#include "net/client.h"

static struct blob_store *store;
static const char *bucket = "b";
static bool remote;

static const struct ctx *soon(void)
{
    static struct ctx ctx;
    struct ctx bg = ctx_background();
    ctx = ctx_with_timeout(&bg, 120 * NS_PER_S);
    return &ctx;
}

#define MUST(call)                                                                                                               \
    do {                                                                                                                         \
        ERR(e);                                                                                                                  \
        if ((call) < 0)                                                                                                          \
            fail_msg("%s: %s", #call, err_text(&e));                                                                             \
    } while (0)
#define FAILS(call, want)                                                                                                        \
    do {                                                                                                                         \
        ERR(e);                                                                                                                  \
        if ((call) == 0 || e.code != (want))                                                                                     \
            fail_msg("%s: %d: %s", #call, e.code, err_text(&e));                                                                 \
    } while (0)

static void holds(const char *key, const char *want)
{
    BUF(b);
    MUST(blob_read(store, soon(), bucket, key, 0, -1, 1 << 20, &b, &e));
    assert_string_equal(buf_str(&b), want);
}

static void test_objects(void **state)
{
    static const char *const keys[] = {"a", "x/y/z", "with blank/\xc3\xa4 +&=%.txt", "quote'\"<>"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        MUST(blob_write(store, soon(), bucket, keys[i], "hello", 5, &e));
        holds(keys[i], "hello");
        MUST(blob_write(store, soon(), bucket, keys[i], "bye", 3, &e));
        holds(keys[i], "bye");
        struct blob_info info;
        MUST(blob_stat(store, soon(), bucket, keys[i], &info, &e));
        assert_int_equal(info.size, 3);
        assert_false(info.is_dir);
    }
    struct blob_info info;
    MUST(blob_stat(store, soon(), bucket, "x", &info, &e));
    assert_true(info.is_dir);
    FAILS(blob_stat(store, soon(), bucket, "nothing", &info, &e), ERR_NOT_FOUND);
    BUF(b);
    FAILS(blob_read(store, soon(), bucket, "nothing", 0, -1, 10, &b, &e), ERR_NOT_FOUND);
    FAILS(blob_read(store, soon(), bucket, "a", 0, -1, 2, &b, &e), ERR_TOO_LARGE);
    buf_reset(&b);
    MUST(blob_read(store, soon(), bucket, "a", 1, 1, 10, &b, &e));
    assert_string_equal(buf_str(&b), "y");
    MUST(blob_read(store, soon(), bucket, "a", 1, -1, 10, &b, &e));
    assert_string_equal(buf_str(&b), "yye");
    MUST(blob_read(store, soon(), bucket, "a", 10, 5, 10, &b, &e)); /* behind the end: nothing */
    assert_int_equal(b.len, 3);
    MUST(blob_write(store, soon(), bucket, "empty", "", 0, &e));
    holds("empty", "");
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        MUST(blob_delete(store, soon(), bucket, keys[i], &e));
    MUST(blob_delete(store, soon(), bucket, "nothing", &e));
    if (remote) /* a directory stays without its files */
        FAILS(blob_stat(store, soon(), bucket, "x", &info, &e), ERR_NOT_FOUND);
}

static size_t list_all(const char *prefix, size_t page)
{
    AUTOFREE char *token = NULL;
    AUTOFREE char *last = NULL;
    size_t n = 0;
    do {
        struct blob_page p;
        MUST(blob_list(store, soon(), bucket, prefix, token, page, &p, &e));
        for (size_t i = 0; i < p.n; i++) {
            if (last)
                assert_string_not_equal(last, p.v[i].key);
            free(last);
            last = xstrdup(p.v[i].key);
        }
        n += p.n;
        free(token);
        token = TAKE(p.next);
        blob_page_clear(&p);
    } while (token);
    return n;
}

static void test_lists(void **state)
{
    static const char *const keys[] = {"l/a", "l/a.b", "l/a-b/c", "l/b/c", "l/b/d", "l/z", "lx", "l/deep/er/and/deeper"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        MUST(blob_write(store, soon(), bucket, keys[i], "x", 1, &e));
    assert_int_equal(list_all("l", 1000), 7);
    assert_int_equal(list_all("l", 2), 7);
    assert_int_equal(list_all("l", 1), 7);
    assert_int_equal(list_all("l/b", 1000), 2);
    assert_int_equal(list_all("l/a", 1000), 1);
    assert_int_equal(list_all("none", 1000), 0);
    MUST(blob_delete(store, soon(), bucket, "l", &e));
    assert_int_equal(list_all("l", 1000), 0);
    holds("lx", "x");
    MUST(blob_delete(store, soon(), bucket, "lx", &e));
}

/* 20 MiB in parts of 5 MiB, there and back, and a piece out of the middle. */
static void test_large(void **state)
{
    size_t n = (20 << 20) + 12345;
    char *bytes = xmalloc(n);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)(i * 2654435761u >> 15);
    MUST(blob_write(store, soon(), bucket, "large", bytes, n, &e));
    BUF(b);
    MUST(blob_read(store, soon(), bucket, "large", 0, -1, n, &b, &e));
    assert_int_equal(b.len, n);
    assert_memory_equal(b.data, bytes, n);
    buf_reset(&b);
    MUST(blob_read(store, soon(), bucket, "large", 7 << 20, 100, n, &b, &e));
    assert_int_equal(b.len, 100);
    assert_memory_equal(b.data, bytes + (7 << 20), 100);
    struct blob_info info;
    MUST(blob_stat(store, soon(), bucket, "large", &info, &e));
    assert_int_equal(info.size, n);
    MUST(blob_delete(store, soon(), bucket, "large", &e));
    free(bytes);
}

static void write_file(const char *dir, const char *name, const char *text)
{
    AUTOFREE char *path = fs_join(dir, name);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    MUST(fs_mkdir_p(path, 0755, &e));
    *slash = '/';
    MUST(fs_write_atomic(path, text, strlen(text), 0644, &e));
}

static void same_file(const char *dir, const char *name, const char *text)
{
    AUTOFREE char *path = fs_join(dir, name);
    BUF(b);
    MUST(fs_read(path, 1 << 20, &b, &e));
    assert_string_equal(buf_str(&b), text);
}

static void test_trees(void **state)
{
    AUTOFREE char *from = fs_join(*state, "from"), *to = fs_join(*state, "to"), *link = fs_join(from, "link"),
                  *out = fs_join(from, "out"), *one = fs_join(*state, "one/file"), *empty = fs_join(from, "empty");
    char name[32], text[32];
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "d%d/f%d", i % 5, i);
        snprintf(text, sizeof text, "text %d", i);
        write_file(from, name, text);
    }
    MUST(fs_mkdir_p(empty, 0755, &e));
    assert_int_equal(symlink("d0/f0", link), 0);
    assert_int_equal(symlink("/etc/passwd", out), 0);
    struct blob_transfer t = {0};
    MUST(blob_upload(store, soon(), bucket, "tree", from, &t, &e));
    assert_int_equal(t.files, 41); /* the link inside, not the one that leads out */
    assert_int_equal(list_all("tree", 1000), 41);
    MUST(blob_download(store, soon(), bucket, "tree", to, &t, &e));
    assert_int_equal(t.files, 41);
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "d%d/f%d", i % 5, i);
        snprintf(text, sizeof text, "text %d", i);
        same_file(to, name, text);
    }
    same_file(to, "link", "text 0");
    MUST(blob_download(store, soon(), bucket, "tree/d0/f0", one, &t, &e));
    same_file(*state, "one/file", "text 0");
    FAILS(blob_download(store, soon(), bucket, "no-tree", to, &t, &e), ERR_NOT_FOUND);
    MUST(blob_delete(store, soon(), bucket, "tree", &e));
}

static void test_signed(void **state)
{
    ERR(se);
    MUST(blob_write(store, soon(), bucket, "sig/ned", "secret", 6, &e));
    AUTOFREE char *url = blob_sign(store, soon(), bucket, "sig/ned", false, 60, &se);
    if (!url) {
        assert_int_equal(se.code, ERR_UNIMPLEMENTED);
        return;
    }
    struct http_client *c = http_client_new(NULL, NULL);
    struct http_answer a;
    MUST(http_fetch(c, soon(), &(struct http_call){.method = HTTP_GET, .url = url}, &a, &e));
    assert_int_equal(a.status, 200);
    assert_string_equal(buf_str(&a.body), "secret");
    http_answer_free(&a);
    AUTOFREE char *put = blob_sign(store, soon(), bucket, "sig/ned", true, 60, &se);
    MUST(http_fetch(c, soon(), &(struct http_call){.method = HTTP_PUT, .url = put, .body = "new", .body_len = 3}, &a, &e));
    assert_int_equal(a.status / 100, 2);
    http_answer_free(&a);
    holds("sig/ned", "new");
    /* A signature for reading is none for writing, and none for another key. */
    MUST(http_fetch(c, soon(), &(struct http_call){.method = HTTP_PUT, .url = url, .body = "evil", .body_len = 4}, &a, &e));
    assert_int_equal(a.status, 403);
    http_answer_free(&a);
    http_client_free(c);
    MUST(blob_delete(store, soon(), bucket, "sig", &e));
}

static void test_refused(void **state)
{
    const char *text = getenv("STORE");
    JSON_REF(d) = text ? json_parse_str(text, NULL) : NULL;
    struct blob_settings set = {0};
    if (!d || blob_settings_from_json(json_root(d), &set, NULL) < 0 || !set.access_key) {
        blob_settings_clear(&set);
        return;
    }
    set.secret_key[0] ^= 1;
    struct blob_store *wrong = blob_store_open(&set, NULL);
    BUF(b);
    FAILS(blob_write(wrong, soon(), bucket, "k", "x", 1, &e), ERR_FORBIDDEN);
    FAILS(blob_read(wrong, soon(), bucket, "k", 0, -1, 10, &b, &e), ERR_FORBIDDEN);
    blob_store_free(wrong);
    blob_settings_clear(&set);
    FAILS(blob_read(store, soon(), "no-such-bucket-here", "k", 0, -1, 10, &b, &e), ERR_NOT_FOUND);
}

static int open_store(void **state)
{
    const char *text = getenv("STORE");
    remote = text != NULL;
    if (getenv("BUCKET"))
        bucket = getenv("BUCKET");
    make_dir(state);
    ERR(e);
    if (text) {
        JSON_REF(d) = json_parse_str(text, &e);
        struct blob_settings set = {0};
        if (d && blob_settings_from_json(json_root(d), &set, &e) == 0)
            store = blob_store_open(&set, &e);
        blob_settings_clear(&set);
    } else {
        AUTOFREE char *root = fs_join(*state, "store");
        store = blob_store_dir(root, &e);
    }
    if (!store)
        fprintf(stderr, "%s\n", err_text(&e));
    return store ? 0 : -1;
}

static int close_store(void **state)
{
    blob_store_free(store);
    return remove_dir(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_objects), cmocka_unit_test(test_lists),
                                       cmocka_unit_test(test_large),   cmocka_unit_test(test_trees),
                                       cmocka_unit_test(test_signed),  cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests_name("stores", tests, open_store, close_store);
}
