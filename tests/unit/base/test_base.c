/* Unit tests of base/. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

#include "base/arena.h"
#include "base/ctx.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/str.h"
#include "base/terminal.h"
#include "base/thread.h"
#include "base/timefmt.h"

/* A file that is missing is our fault, unless it is what the caller asked for. */
static void test_errno(void **state)
{
    ERR(e);
    errno = ENOENT;
    assert_int_equal(err_errno(&e, "our %s", "key"), -1);
    assert_int_equal(e.code, ERR_IO);
    assert_int_equal(e.sys_errno, ENOENT);
    assert_int_equal(err_http_status(&e), 500);
    assert_string_equal(err_text(&e), "our key: No such file or directory");
    err_errno_asked(&e, "artifact x");
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_int_equal(err_http_status(&e), 404);
    errno = EACCES;
    err_errno_asked(&e, "artifact x");
    assert_int_equal(e.code, ERR_IO);
    BUF(b);
    assert_int_equal(fs_read("/no/such/file", 10, &b, &e), -1);
    assert_int_equal(e.code, ERR_IO);
    assert_int_equal(fs_read_plain("/no/such/file", 10, &b, &e), -1);
    assert_int_equal(e.code, ERR_NOT_FOUND);
}

static void test_err(void **state)
{
    ERR(e);
    assert_int_equal(err_set(&e, ERR_NOT_FOUND, "pod %s", "x"), -1);
    err_wrap(&e, "starting");
    assert_string_equal(err_text(&e), "starting: pod x");
    assert_int_equal(err_http_status(&e), 404);
    assert_string_equal(err_reason(&e), "NotFound");
    err_cause(&e, "FieldValueInvalid", "spec.x", "bad %d", 3);
    ERR(copy);
    err_copy(&copy, &e);
    assert_int_equal(copy.n_causes, 1);
    assert_string_equal(copy.causes[0].message, "bad 3");
    /* An error may be formatted from its own text. */
    err_set(&e, ERR_INTERNAL, "again: %s", err_text(&e));
    assert_string_equal(err_text(&e), "again: starting: pod x");
    errno = ENOENT;
    err_errno(&e, "open %s", "f");
    assert_string_equal(err_text(&e), "open f: No such file or directory");
    assert_int_equal(e.sys_errno, ENOENT);
    assert_int_equal(err_set(NULL, ERR_IO, "nobody listens"), -1);
    ERR(none);
    err_wrap(&none, "nothing happened");
    assert_int_equal(none.code, ERR_OK);
}

static void test_buf(void **state)
{
    BUF(b);
    assert_string_equal(buf_str(&b), "");
    for (int i = 0; i < 1000; i++)
        buf_addf(&b, "%d,", i % 10);
    assert_int_equal(b.len, 2000);
    buf_consume(&b, 1998);
    assert_string_equal(buf_str(&b), "9,");
    size_t n;
    AUTOFREE char *s = buf_steal(&b, &n);
    assert_int_equal(n, 2);
    assert_null(b.data);
}

static void test_numbers(void **state)
{
    int64_t v;
    assert_true(str_to_i64("-9223372036854775808", &v) && v == INT64_MIN);
    assert_true(str_to_i64("+7", &v) && v == 7);
    static const char *const bad[] = {"", " 1", "1 ", "9223372036854775808", "1.0", "0x1", "-", "a"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(str_to_i64(bad[i], &v));
    double d;
    assert_true(str_to_f64("1e3", &d) && d == 1000);
    assert_false(str_to_f64("inf", &d) || str_to_f64("nan", &d) || str_to_f64("0x1p3", &d) || str_to_f64("1e", &d));
}

static void test_glob(void **state)
{
    assert_true(str_glob("python:*", "python:3.11") && str_glob("*", "") && str_glob("a?c*e", "abcdde"));
    assert_false(str_glob("python:*", "xpython:3") || str_glob("a?", "a"));
}

static void test_utf8(void **state)
{
    assert_true(str_utf8_valid("a\xc3\xa9\xf0\x9f\x8c\x8a", 7));
    static const char *const bad[] = {"\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc3", "\x80", "\xe0\x80\x80"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(str_utf8_valid(bad[i], strlen(bad[i])));
}

/* Who wants a NULL-terminated list may be given v. */
static void test_strlist(void **state)
{
    STRLIST(l);
    assert_null(l.v);
    for (size_t i = 0; i < 40; i++) {
        strlist_add(&l, "x");
        assert_int_equal(l.n, i + 1);
        assert_null(l.v[l.n]);
    }
}

static void *own_signals(void *arg)
{
    sigset_t *set = arg;
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, set), 0);
    return NULL;
}

/* A fault in a thread is told; everything else is the main thread's. */
static void test_signals_of_threads(void **state)
{
    sigset_t set;
    pthread_join(thread_start("signals", own_signals, &set), NULL);
    assert_true(sigismember(&set, SIGTERM) && sigismember(&set, SIGCHLD));
    assert_false(sigismember(&set, SIGSEGV) || sigismember(&set, SIGBUS) || sigismember(&set, SIGABRT));
}

static void test_strmap(void **state)
{
    struct strmap m = STRMAP_INIT(free);
    for (int i = 0; i < 100; i++) {
        AUTOFREE char *k = xasprintf("k%d", i);
        strmap_put(&m, k, xstrdup(k));
    }
    strmap_put(&m, "k5", xstrdup("five"));
    assert_string_equal(strmap_get(&m, "k5"), "five");
    assert_true(strmap_del(&m, "k7"));
    assert_false(strmap_has(&m, "k7"));
    assert_int_equal(strmap_count(&m), 99);
    int i = 0;
    for (struct strmap_entry *e = strmap_first(&m); e; e = strmap_next(e), i++)
        if (i == 6)
            assert_string_equal(e->key, "k6");
    assert_int_equal(i, 99);
    strmap_free(&m);
}

static void test_encodings(void **state)
{
    static const struct {
        const char *plain, *b64, *b64url;
    } cases[] = {
        {"", "", ""}, {"f", "Zg==", "Zg"}, {"fo", "Zm8=", "Zm8"}, {"foo", "Zm9v", "Zm9v"}, {"\xff\xfe\xfb", "//77", "__77"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *e = base64_encode(cases[i].plain, strlen(cases[i].plain));
        AUTOFREE char *u = base64url_encode(cases[i].plain, strlen(cases[i].plain));
        assert_string_equal(e, cases[i].b64);
        assert_string_equal(u, cases[i].b64url);
        unsigned char *out;
        size_t n;
        assert_int_equal(base64_decode(e, strlen(e), &out, &n), 0);
        assert_int_equal(n, strlen(cases[i].plain));
        assert_memory_equal(out, cases[i].plain, n);
        free(out);
    }
    unsigned char *out;
    size_t n;
    static const char *const bad[] = {"Zg", "Zg=", "Z", "Zg==x", "Zm9v=", "Z*==", "===="};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(base64_decode(bad[i], strlen(bad[i]), &out, &n), -1);
    char *s;
    assert_int_equal(url_decode("a%20b+c%2F", 10, true, &s), 0);
    assert_string_equal(s, "a b c/");
    free(s);
    static const char *const bad_url[] = {"%", "%2", "%zz", "%00"};
    for (size_t i = 0; i < ARRAY_LEN(bad_url); i++)
        assert_int_equal(url_decode(bad_url[i], strlen(bad_url[i]), false, &s), -1);
    AUTOFREE char *enc = url_encode("a b/\xc3\xa9~");
    assert_string_equal(enc, "a%20b%2F%C3%A9~");
}

static void test_time(void **state)
{
    static const struct {
        const char *in, *seconds;
        int64_t ns;
    } cases[] = {
        {"1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", 0},
        {"2026-11-25T13:07:13.25+02:00", "2026-11-25T11:07:13Z", 1795604833250000000LL},
        {"2000-02-29T23:59:59Z", "2000-02-29T23:59:59Z", 951868799000000000LL},
        {"1969-12-31T23:59:59Z", "1969-12-31T23:59:59Z", -1000000000LL},
    };
    char out[TIME_TEXT_MAX];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t ns;
        assert_true(time_parse(cases[i].in, &ns));
        assert_int_equal(ns, cases[i].ns);
        assert_string_equal(time_format(out, ns, TIME_SECONDS), cases[i].seconds);
    }
    assert_string_equal(time_format(out, 1500000, TIME_MILLIS_TRIMMED), "1970-01-01T00:00:00.001Z");
    assert_string_equal(time_format(out, 0, TIME_MICROS), "1970-01-01T00:00:00.000000Z");
    assert_string_equal(time_format(out, 120000000, TIME_NANOS_TRIMMED), "1970-01-01T00:00:00.12Z");
    int64_t ns;
    static const char *const bad[] = {"",
                                      "2026-02-29T00:00:00Z",
                                      "2026-1-01T00:00:00Z",
                                      "2026-01-01 00:00:00Z",
                                      "2026-01-01T24:00:00Z",
                                      "2026-01-01T00:00:00",
                                      "2026-01-01T00:00:00.Z",
                                      "2026-01-01T00:00:00z",
                                      "9999-01-01T00:00:00Z"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(time_parse(bad[i], &ns));
}

static void test_duration(void **state)
{
    static const struct {
        const char *in, *out;
        int64_t ns;
    } cases[] = {{"0", "0s", 0},
                 {"1h2m3.5s", "1h2m3.5s", 3723500000000LL},
                 {"-1.5h", "-1h30m0s", -5400000000000LL},
                 {"300ms", "300ms", 300000000},
                 {"1us", "1\xc2\xb5s", 1000},
                 {"90s", "1m30s", 90000000000LL}};
    char out[TIME_TEXT_MAX];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t ns;
        assert_true(duration_parse(cases[i].in, &ns));
        assert_int_equal(ns, cases[i].ns);
        assert_string_equal(duration_format(out, ns), cases[i].out);
    }
    int64_t ns;
    static const char *const bad[] = {"", "1", "s", "1x", ".s", "1h-2m", "9999999999h"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(duration_parse(bad[i], &ns));
}

static void test_ids(void **state)
{
    char u[UUID_TEXT], v[UUID_TEXT], s[6];
    assert_true(uuid_valid(uuid4(u)));
    assert_string_not_equal(u, uuid4(v));
    assert_int_equal(u[14], '4');
    assert_int_equal(strlen(random_suffix(s, 5)), 5);
    assert_int_equal(strspn(s, "bcdfghjklmnpqrstvwxz2456789"), 5);
    assert_false(uuid_valid("x") || uuid_valid(NULL));
}

static void test_ctx(void **state)
{
    struct clock_manual c;
    clock_manual_init(&c, 0);
    struct ctx base = {.clock = &c.clock}, ctx = ctx_with_timeout(&base, 5 * NS_PER_S);
    ERR(e);
    assert_int_equal(ctx_check(&ctx, &e), 0);
    struct ctx longer = ctx_with_timeout(&ctx, 60 * NS_PER_S);
    assert_int_equal(longer.deadline_mono_ns, ctx.deadline_mono_ns);
    clock_manual_advance(&c, 5 * NS_PER_S);
    assert_int_equal(ctx_check(&ctx, &e), -1);
    assert_int_equal(e.code, ERR_TIMEOUT);
    struct cancel cancel;
    assert_int_equal(cancel_init(&cancel, &e), 0);
    base.cancel = &cancel;
    assert_int_equal(ctx_check(&base, &e), 0);
    cancel_raise(&cancel);
    cancel_raise(&cancel);
    assert_int_equal(ctx_check(&base, &e), -1);
    assert_int_equal(e.code, ERR_CANCELLED);
    cancel_close(&cancel);
}

/* Deeper than there are descriptors, and wider. */
static void test_deep_sizes(void **state)
{
    char dir[] = "/tmp/tidemill-base-XXXXXX";
    assert_non_null(mkdtemp(dir));
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 2000; i++) {
        assert_int_equal(mkdirat(fd, "d", 0700), 0);
        assert_int_equal(mkdirat(fd, "e", 0700), 0);
        assert_int_equal(symlinkat("/etc", fd, "link"), 0);
        AUTOCLOSE int f = openat(fd, i % 2 ? "e/f" : "f", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(write(f, "abc", 3), 3);
        int sub = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(fd);
        fd = sub;
    }
    close(fd);
    struct rlimit was, few;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    few = (struct rlimit){64, was.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    int64_t size = fs_du(dir);
    setrlimit(RLIMIT_NOFILE, &was);
    assert_int_equal(size, 6000);
    ERR(e);
    assert_int_equal(fs_rm_rf(dir, &e), 0);
}

static void test_fs(void **state)
{
    char dir[] = "/tmp/tidemill-base-XXXXXX";
    assert_non_null(mkdtemp(dir));
    ERR(e);
    AUTOFREE char *deep = fs_join(dir, "a/b/c");
    assert_int_equal(fs_mkdir_p(deep, 0700, &e), 0);
    assert_int_equal(fs_mkdir_p(deep, 0700, &e), 0);
    AUTOFREE char *file = fs_join(deep, "f");
    assert_int_equal(fs_write_atomic(file, "hello", 5, 0600, &e), 0);
    assert_int_equal(fs_write_atomic(file, "hello again", 11, 0640, &e), 0);
    struct stat st;
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    BUF(b);
    assert_int_equal(fs_read(file, 100, &b, &e), 0);
    assert_string_equal(buf_str(&b), "hello again");
    assert_int_equal(fs_read(file, 5, &b, &e), -1);
    assert_int_equal(e.code, ERR_TOO_LARGE);
    assert_int_equal(fs_du(dir), 11);
    AUTOFREE char *link = fs_join(dir, "link");
    assert_int_equal(symlink("/etc", link), 0);
    assert_int_equal(fs_mkdir_p(file, 0700, &e), -1);
    assert_int_equal(fs_rm_rf(dir, &e), 0);
    assert_false(fs_exists(dir));
    assert_true(fs_exists("/etc/passwd"));
    assert_int_equal(fs_rm_rf(dir, &e), 0);
}

/* A step of a pipeline may leave any tree behind. */
static void test_rm_deep(void **state)
{
    char dir[] = "/tmp/tidemill-base-XXXXXX";
    assert_non_null(mkdtemp(dir));
    int at = open(dir, O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(mkdirat(at, "d", 0755), 0);
        assert_int_equal(mkdirat(at, "side", 0755), 0);
        int next = openat(at, "d", O_RDONLY | O_DIRECTORY);
        assert_true(next >= 0);
        close(at);
        at = next;
    }
    close(at);
    ERR(e);
    if (fs_rm_rf(dir, &e) < 0)
        fail_msg("%.200s", err_text(&e));
    assert_false(fs_exists(dir));
}

static atomic_int done_jobs;
static void count_job(void *arg) { atomic_fetch_add(&done_jobs, 1); }

static void test_pool(void **state)
{
    struct pool *p = pool_new("test", 3, 10000);
    for (int i = 0; i < 5000; i++)
        assert_true(pool_submit(p, count_job, NULL));
    pool_stop(p);
    assert_int_equal(atomic_load(&done_jobs), 5000);
}

static void test_arena(void **state)
{
    ARENA(a);
    char *first = arena_strdup(&a, "first");
    for (int i = 0; i < 1000; i++) {
        char *p = arena_alloc(&a, (size_t)i);
        memset(p, 1, (size_t)i);
    }
    assert_string_equal(first, "first");
    assert_string_equal(arena_printf(&a, "%d-%s", 7, "x"), "7-x");
    memset(arena_alloc(&a, 200000), 1, 200000);
}

#define CSI "\xc2\x9b"     /* ESC [ as one character */
#define RLO "\xe2\x80\xae" /* what follows is shown from right to left */

static void test_terminal_text(void **state)
{
    static const char *const cases[][2] = {
        {"plain \xc3\xa4 \xe2\x82\xac\n\ttext", "plain \xc3\xa4 \xe2\x82\xac\n\ttext"},
        {"a\033[2Jb", "a?[2Jb"},
        {"a\rb\bc\x7f", "a?b?c?"},
        {"a" CSI "31mb", "a??31mb"},
        {"a" RLO "b", "a???b"},
        {"\xc2", "\xc2"},
        {"\xe2\x80", "\xe2\x80"},
        {"\033", "?"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *s = xstrdup(cases[i][0]);
        terminal_tame(s, strlen(s));
        assert_string_equal(s, cases[i][1]);
    }
}

static void test_terminal_json(void **state)
{
    static const char *const cases[][2] = {
        {"{\n\t\"a\": \"b\\n\\t\\u00e4\\\"\"}", "{\n\t\"a\": \"b\\n\\t\\u00e4\\\"\"}"},
        {"[\"\\u001b[2J\"]", "[\"\\ufffd[2J\"]"},
        {"[\"\\u001B\\u009b\\u202e\\u000a\\u0009\"]", "[\"\\ufffd\\ufffd\\ufffd\\u000a\\u0009\"]"},
        {"[\"\\\\u001b \\\\r\"]", "[\"\\\\u001b \\\\r\"]"}, /* a backslash, and then letters */
        {"[\"\\r\\b\\f\"]", "[\"??????\"]"},
        {"[\"" CSI RLO "\"]", "[\"?????\"]"},
        {"[\"\\u00", "[\"\\u00"},
        {"\\", "\\"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *s = xstrdup(cases[i][0]);
        terminal_tame_json(s, strlen(s));
        assert_string_equal(s, cases[i][1]);
    }
}

/* Whatever the pieces that a stream comes in. */
static void test_terminal_stream(void **state)
{
    static const char *const cases[][2] = {
        {"\033[1;31mred\033[0m 50%\r\n\xe2\x82\xac", "\033[1;31mred\033[0m 50%\r\n\xe2\x82\xac"},
        {"\033]0;title\007x", "?]0;title?x"},
        {"\033[6nx\033[2Jy\033cz", "?[6nx?[2Jy?cz"},
        {"\033\033[31mx", "?\033[31mx"},
        {"\033[1111111111111111111111111111111111m", "?[1111111111111111111111111111111111m"},
        {CSI "31m" RLO "x\xc2\033[2J", "??31m???x\xc2?[2J"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t piece = 1; piece < 5; piece++) {
            struct terminal_filter f = {0};
            BUF(out);
            size_t n = strlen(cases[i][0]);
            for (size_t at = 0; at < n; at += piece)
                terminal_filter(&f, cases[i][0] + at, n - at < piece ? n - at : piece, &out);
            assert_string_equal(buf_str(&out), cases[i][1]);
        }
}

TEST_GROUP(base, cmocka_unit_test(test_errno), cmocka_unit_test(test_err), cmocka_unit_test(test_buf),
           cmocka_unit_test(test_numbers), cmocka_unit_test(test_glob), cmocka_unit_test(test_utf8),
           cmocka_unit_test(test_strlist), cmocka_unit_test(test_signals_of_threads), cmocka_unit_test(test_strmap),
           cmocka_unit_test(test_encodings), cmocka_unit_test(test_time), cmocka_unit_test(test_duration),
           cmocka_unit_test(test_ids), cmocka_unit_test(test_ctx), cmocka_unit_test(test_deep_sizes), cmocka_unit_test(test_fs),
           cmocka_unit_test(test_rm_deep), cmocka_unit_test(test_pool), cmocka_unit_test(test_arena),
           cmocka_unit_test(test_terminal_text), cmocka_unit_test(test_terminal_json), cmocka_unit_test(test_terminal_stream))
