/* test_stream.c - answers that go on: chunks, back-pressure, wakes, timers, aborts, upgrades. */
#include "kit.h"

#include <stdatomic.h>
#include <unistd.h>

struct s {
    const char *mode;
    int n;
};
static atomic_int opened, closed, released, wakes_seen;
static _Atomic size_t max_queued;
static atomic_int stop_waker;
static pthread_t waker;

static void on_release(void *owner) { atomic_fetch_add(&released, 1); }

static void *wake_thread(void *arg)
{
    struct stream_handle *h = arg;
    while (!atomic_load(&stop_waker)) {
        stream_wake(h);
        usleep(500);
    }
    for (int i = 0; i < 1000; i++)
        stream_wake(h); /* also when the stream is gone */
    stream_handle_unref(h);
    return NULL;
}

static void on_start(struct stream *st, void *state)
{
    struct s *s = state;
    static const char text[] = "shared bytes";
    if (str_eq(s->mode, "count")) {
        stream_timer(st, 5);
    } else if (str_eq(s->mode, "shared")) {
        stream_write(st, "a", 1);
        stream_write_shared(st, text, sizeof text - 1, on_release, NULL);
        stream_write_shared(st, text, 0, on_release, NULL);
        stream_write(st, "", 0);
        stream_write(st, "b", 1);
        stream_end(st);
        stream_write(st, "late", 4);
        stream_write_shared(st, text, 4, on_release, NULL);
    } else if (str_eq(s->mode, "abort")) {
        stream_write(st, "some", 4);
        stream_timer(st, 20);
    } else if (str_eq(s->mode, "wake")) {
        waker = thread_start("test-waker", wake_thread, stream_handle(st));
    } else if (str_eq(s->mode, "flood")) {
        static char mega[1 << 20];
        for (int i = 0; i < 40; i++)
            stream_write(st, mega, sizeof mega);
    } else if (str_eq(s->mode, "pump")) {
        stream_write(st, "start;", 6);
        stream_timer(st, 1);
    }
}

static void fill(struct stream *st, struct s *s)
{
    static char block[16384];
    memset(block, 'x', sizeof block);
    while (s->n < 2000 && stream_queued(st) < 128 * 1024) {
        stream_write(st, block, sizeof block);
        s->n++;
        if (stream_queued(st) > atomic_load(&max_queued))
            atomic_store(&max_queued, stream_queued(st));
    }
    if (s->n == 2000)
        stream_end(st);
}

static void on_writable(struct stream *st, void *state)
{
    struct s *s = state;
    if (str_eq(s->mode, "pump"))
        fill(st, s);
}

static void on_wake(struct stream *st, void *state)
{
    struct s *s = state;
    atomic_fetch_add(&wakes_seen, 1);
    char text[32];
    int n = snprintf(text, sizeof text, "wake %d;", ++s->n);
    stream_write(st, text, (size_t)n);
    if (s->n == 20)
        stream_end(st);
}

static void on_timer(struct stream *st, void *state)
{
    struct s *s = state;
    if (str_eq(s->mode, "abort")) {
        stream_abort(st);
        stream_write(st, "never", 5);
    } else if (str_eq(s->mode, "pump")) {
        fill(st, s);
    } else {
        char text[32];
        int n = snprintf(text, sizeof text, "tick %d;", ++s->n);
        stream_write(st, text, (size_t)n);
        if (s->n == 3)
            stream_end(st);
        else
            stream_timer(st, 5);
    }
}

static void on_close(struct stream *st, void *state)
{
    struct s *s = state;
    atomic_fetch_add(&closed, 1);
    free(s);
}

static const struct stream_ops ops = {
    .on_start = on_start, .on_writable = on_writable, .on_wake = on_wake, .on_timer = on_timer, .on_close = on_close};

static int start_stream(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct s *s = calloc(1, sizeof *s);
    static const char *const modes[] = {"count", "shared", "abort", "wake", "flood", "pump", "idle", "fail", NULL};
    for (size_t i = 0; modes[i]; i++)
        if (str_eq(modes[i], http_param(req, "mode")))
            s->mode = modes[i];
    atomic_fetch_add(&opened, 1);
    http_stream(res, "application/x-test", &ops, s);
    if (str_eq(s->mode, "fail"))
        return err_set(err, ERR_INTERNAL, "changed its mind");
    return 0;
}

/* ---- an upgraded echo that takes 10 bytes at a time and resumes itself by a timer ---- */

static void echo_start(struct stream *st, void *state) { stream_write(st, "hi;", 3); }
static size_t echo_data(struct stream *st, void *state, const char *p, size_t n)
{
    size_t take = n < 10 ? n : 10;
    stream_write(st, p, take);
    if (memchr(p, '!', take))
        stream_end(st);
    else if (take < n)
        stream_timer(st, 1);
    return take;
}
static void echo_timer(struct stream *st, void *state) { stream_resume(st); }
static void echo_close(struct stream *st, void *state) { atomic_fetch_add(&closed, 1); }
static const struct stream_ops echo_ops = {
    .on_start = echo_start, .on_data = echo_data, .on_timer = echo_timer, .on_close = echo_close};

static int upgrade(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    atomic_fetch_add(&opened, 1);
    http_set_header(res, "Upgrade", "echo");
    http_upgrade(res, &echo_ops, NULL);
    return 0;
}

static const struct route routes[] = {
    {HTTP_GET, "/stream/{mode}", start_stream, PERM_OPEN},
    {HTTP_GET, "/upgrade", upgrade, PERM_OPEN},
};
static const struct http_api api = {.name = "streams", .routes = routes, .n_routes = ARRAY_LEN(routes)};
static const struct mount mount = {"/", false, &api};

static void start(struct kit *k, const struct server_limits *limits)
{
    atomic_store(&opened, 0);
    atomic_store(&closed, 0);
    atomic_store(&released, 0);
    kit_start_with(k, limits, &(struct listener_config){.mounts = &mount, .n_mounts = 1});
}

static void stop(struct kit *k)
{
    kit_stop(k);
    assert_int_equal(atomic_load(&opened), atomic_load(&closed));
}

static void test_chunks(void **state)
{
    struct kit k;
    start(&k, NULL);
    int fd = kit_connect(k.port);
    BUF(b);
    kit_send(fd, "GET /stream/count HTTP/1.1\r\nHost: localhost\r\n\r\n");
    kit_read_until(fd, &b, "0\r\n\r\n");
    assert_has(b.data, "\r\nTransfer-Encoding: chunked\r\n");
    assert_has(b.data, "\r\nContent-Type: application/x-test\r\n");
    assert_has(b.data, "7\r\ntick 1;\r\n7\r\ntick 2;\r\n7\r\ntick 3;\r\n0\r\n\r\n");
    buf_reset(&b);
    kit_send(fd, "GET /stream/shared HTTP/1.1\r\nHost: localhost\r\n\r\n"); /* the connection is kept */
    kit_read_until(fd, &b, "0\r\n\r\n");
    assert_has(b.data, "1\r\na\r\nc\r\nshared bytes\r\n1\r\nb\r\n0\r\n\r\n");
    kit_send(fd, "HEAD /stream/count HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    buf_reset(&b);
    kit_read_all(fd, &b);
    assert_status(b.data, 200);
    assert_null(strstr(b.data, "tick"));
    assert_int_equal(atomic_load(&released), 3);
    close(fd);
    AUTOFREE char *old = kit_talk(k.port, "GET /stream/count HTTP/1.0\r\nHost: localhost\r\n\r\n");
    assert_has(old, "\r\n\r\ntick 1;tick 2;tick 3;");
    AUTOFREE char *failed = kit_get(k.port, "/stream/fail");
    assert_status(failed, 500);
    stop(&k);
}

static void test_abort(void **state)
{
    struct kit k;
    start(&k, NULL);
    AUTOFREE char *a = kit_get(k.port, "/stream/abort");
    assert_has(a, "4\r\nsome\r\n");
    assert_null(strstr(a, "0\r\n\r\n"));
    assert_null(strstr(a, "never"));
    stop(&k);
}

static void test_wakes(void **state)
{
    struct kit k;
    start(&k, NULL);
    atomic_store(&stop_waker, 0);
    AUTOFREE char *a = kit_get(k.port, "/stream/wake");
    assert_has(a, "wake 20;");
    assert_null(strstr(a, "wake 21;"));
    atomic_store(&stop_waker, 1);
    pthread_join(waker, NULL); /* it went on waking what is gone */
    stop(&k);
}

static void test_back_pressure(void **state)
{
    struct kit k;
    start(&k, NULL);
    atomic_store(&max_queued, 0);
    int fd = kit_connect(k.port);
    kit_send(fd, "GET /stream/pump HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    usleep(100000); /* nobody reads: the pump must stand still */
    assert_true(atomic_load(&max_queued) > 0);
    BUF(b);
    kit_read_all(fd, &b);
    size_t n = 0;
    for (size_t i = 0; i < b.len; i++)
        n += b.data[i] == 'x';
    assert_true(n >= 2000 * 16384);
    assert_true(atomic_load(&max_queued) < 256 * 1024);
    close(fd);
    stop(&k);
}

static void test_flood_is_cut(void **state)
{
    struct kit k;
    start(&k, NULL);
    int fd = kit_connect(k.port);
    kit_send(fd, "GET /stream/flood HTTP/1.1\r\nHost: localhost\r\n\r\n");
    BUF(b);
    kit_read_all(fd, &b);
    assert_true(b.len < 40 << 20);
    close(fd);
    stop(&k);
}

static void test_client_goes(void **state)
{
    struct kit k;
    start(&k, NULL);
    int fd = kit_connect(k.port);
    kit_send(fd, "GET /stream/idle HTTP/1.1\r\nHost: localhost\r\n\r\n");
    BUF(b);
    kit_read_until(fd, &b, "\r\n\r\n");
    assert_int_equal(atomic_load(&closed), 0);
    close(fd);
    for (int i = 0; i < 300 && !atomic_load(&closed); i++)
        usleep(10000);
    assert_int_equal(atomic_load(&closed), 1);
    stop(&k);
}

static void test_stop_ends_streams(void **state)
{
    struct kit k;
    start(&k, NULL);
    int fd = kit_connect(k.port);
    kit_send(fd, "GET /stream/idle HTTP/1.1\r\nHost: localhost\r\n\r\n");
    BUF(b);
    kit_read_until(fd, &b, "\r\n\r\n");
    int64_t t = kit_now_ms();
    http_server_stop(k.server, 300);
    assert_true(kit_now_ms() - t < 1500);
    kit_read_all(fd, &b);
    assert_has(b.data, "0\r\n\r\n");
    assert_int_equal(atomic_load(&closed), 1);
    close(fd);
}

static void test_upgrade(void **state)
{
    struct kit k;
    start(&k, NULL);
    int fd = kit_connect(k.port);
    BUF(b);
    kit_send(
        fd,
        "GET /upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly bytes, more than ten;");
    kit_read_until(fd, &b, "ten;");
    assert_status(b.data, 101);
    assert_has(b.data, "\r\nUpgrade: echo\r\n");
    assert_has(b.data, "\r\nConnection: Upgrade\r\n");
    assert_null(strstr(b.data, "chunked"));
    assert_has(b.data, "\r\n\r\nhi;early bytes, more than ten;");
    buf_reset(&b);
    kit_send(fd, "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0123456789;");
    kit_read_until(fd, &b, "789;");
    assert_string_equal(b.data, "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0123456789;");
    buf_reset(&b);
    kit_send(fd, "end!");
    kit_read_all(fd, &b);
    assert_string_equal(b.data, "end!");
    close(fd);
    /* The peer's half-close: what it sent before is still echoed. */
    fd = kit_connect(k.port);
    kit_send(fd, "GET /upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    buf_reset(&b);
    kit_read_until(fd, &b, "hi;");
    kit_send(fd, "last one");
    shutdown(fd, SHUT_WR);
    kit_read_all(fd, &b);
    assert_has(b.data, "hi;last one");
    close(fd);
    stop(&k);
}

static void test_many_idle(void **state)
{
    struct kit k;
    start(&k, NULL);
    int fds[200];
    for (int i = 0; i < 200; i++) {
        fds[i] = kit_connect(k.port);
        kit_send(fds[i], "GET /stream/idle HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    for (int i = 0; i < 200; i++) {
        BUF(b);
        kit_read_until(fds[i], &b, "\r\n\r\n");
    }
    assert_int_equal(http_server_connections(k.server), 200);
    for (int i = 0; i < 200; i++)
        close(fds[i]);
    stop(&k);
}

TEST_GROUP(streams, cmocka_unit_test(test_chunks), cmocka_unit_test(test_abort), cmocka_unit_test(test_wakes),
           cmocka_unit_test(test_back_pressure), cmocka_unit_test(test_flood_is_cut), cmocka_unit_test(test_client_goes),
           cmocka_unit_test(test_stop_ends_streams), cmocka_unit_test(test_upgrade), cmocka_unit_test(test_many_idle))
