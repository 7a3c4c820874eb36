/* test_h2_client.c - our client on HTTP/2 against our server: many threads on one connection, streams that are read slowly or
 * given up, servers that go and come back. */
#include "stream_api.h"

#include <unistd.h>

#include "net/client.h"
#include "net/upgrade/websocket.h"

struct tls_kit {
    struct kit kit;
    char *ca, *ca_key, *cert, *key, *base;
    struct tls_server_config tls;
    struct http_client *client;
};

static void open_kit(struct tls_kit *t, const struct server_limits *limits, bool streams)
{
    ERR(e);
    *t = (struct tls_kit){0};
    static const char *const names[] = {"127.0.0.1", NULL};
    assert_int_equal(tls_make_ca("test", &t->ca, &t->ca_key, &e), 0);
    assert_int_equal(tls_make_cert(t->ca, t->ca_key, "server", NULL, names, false, &t->cert, &t->key, &e), 0);
    t->tls = (struct tls_server_config){.cert_pem = t->cert, .key_pem = t->key};
    struct listener_config cfg = {.tls = &t->tls};
    if (streams)
        streams_start_with(&t->kit, limits, &cfg);
    else
        kit_start_with(&t->kit, limits, &cfg);
    t->client = http_client_new(&(struct http_client_config){.ca_pem = t->ca}, &e);
    assert_non_null(t->client);
    t->base = xasprintf("https://127.0.0.1:%d", t->kit.port);
}

static void close_kit(struct tls_kit *t)
{
    http_client_free(t->client);
    if (t->kit.server)
        kit_stop(&t->kit);
    free(t->ca);
    free(t->ca_key);
    free(t->cert);
    free(t->key);
    free(t->base);
}

static struct ctx soon(int64_t ms)
{
    struct ctx bg = ctx_background();
    return ctx_with_timeout(&bg, ms * NS_PER_MS);
}

static void expect(struct tls_kit *t, enum http_method m, const char *path, const char *body, int status, const char *part)
{
    ERR(e);
    struct ctx ctx = soon(120000);
    AUTOFREE char *url = xasprintf("%s%s", t->base, path);
    struct http_answer a;
    if (http_fetch(t->client, &ctx,
                   &(struct http_call){.method = m, .url = url, .body = body, .body_len = body ? strlen(body) : 0}, &a, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_int_equal(a.status, status);
    assert_has(buf_str(&a.body), part);
    http_answer_free(&a);
}

static void *caller(void *arg)
{
    for (int i = 0; i < 50; i++) {
        expect(arg, HTTP_GET, "/hello/x", NULL, 200, "hello x");
        expect(arg, HTTP_POST, "/echo", "some body", 200, "some body");
    }
    expect(arg, HTTP_GET, "/slow", NULL, 200, "slow");
    return NULL;
}

static void test_many_threads(void **state)
{
    struct tls_kit t;
    open_kit(&t, NULL, false);
    expect(&t, HTTP_GET, "/who", NULL, 200, "nobody tls=1");
    pthread_t threads[20];
    atomic_store(&kit_slow_most, 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        threads[i] = thread_start("h2-caller", caller, &t);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_true(atomic_load(&kit_slow_most) > 1); /* nobody waits for another's answer */
    assert_int_equal(http_server_connections(t.kit.server), 1);
    expect(&t, HTTP_HEAD, "/hello/x", NULL, 200, "");
    expect(&t, HTTP_GET, "/none", NULL, 401, "show a token");
    expect(&t, HTTP_GET, "/empty", NULL, 204, "");
    close_kit(&t);
}

static ssize_t zeros(void *self, void *p, size_t n, struct err *err)
{
    size_t *left = self;
    n = n < *left ? n : *left;
    memset(p, 0, n);
    *left -= n;
    return (ssize_t)n;
}

static void test_bodies(void **state)
{
    struct tls_kit t;
    open_kit(&t, NULL, false);
    ERR(e);
    size_t n = 10 << 20;
    AUTOFREE char *big = xmalloc(n);
    for (size_t i = 0; i < n; i++)
        big[i] = (char)(i * 2654435761U >> 13);
    AUTOFREE char *large = xasprintf("%s/echo/large", t.base), *echo = xasprintf("%s/echo", t.base),
                  *up = xasprintf("%s/upload", t.base);
    struct ctx ctx = soon(120000);
    struct http_answer a;
    if (http_fetch(t.client, &ctx, &(struct http_call){.method = HTTP_POST, .url = large, .body = big, .body_len = n}, &a, &e) <
        0)
        fail_msg("%s", err_text(&e));
    assert_int_equal(a.body.len, n);
    assert_memory_equal(a.body.data, big, n);
    http_answer_free(&a);
    char path[] = "/tmp/tidemill-net-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, big, n), n);
    lseek(fd, 5, SEEK_SET);
    if (http_fetch(t.client, &ctx, &(struct http_call){.method = HTTP_POST, .url = large, .body_fd = fd, .body_len = n - 5}, &a,
                   &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_int_equal(a.body.len, n - 5);
    assert_memory_equal(a.body.data, big + 5, n - 5);
    http_answer_free(&a);
    close(fd);
    unlink(path);
    for (int i = 0; i < 2; i++) {
        size_t left = 3000000;
        const struct http_call call = {
            .method = HTTP_PUT, .url = up, .body_read = zeros, .body_self = &left, .body_len = i ? left : HTTP_LENGTH_UNKNOWN};
        if (http_fetch(t.client, &ctx, &call, &a, &e) < 0)
            fail_msg("%s", err_text(&e));
        assert_has(a.body.data, "3000000 bytes");
        http_answer_free(&a);
    }
    /* Refused in the middle: the answer is read, the connection goes on. */
    size_t left = 500 << 20;
    const struct http_call call = {
        .method = HTTP_PUT, .url = echo, .body_read = zeros, .body_self = &left, .body_len = HTTP_LENGTH_UNKNOWN};
    if (http_fetch(t.client, &ctx, &call, &a, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_int_equal(a.status, 413);
    assert_true(left > 400 << 20);
    http_answer_free(&a);
    expect(&t, HTTP_GET, "/hello/x", NULL, 200, "hello x");
    assert_int_equal(http_server_connections(t.kit.server), 1);
    close_kit(&t);
}

static struct http_body *open_stream(struct tls_kit *t, const char *path)
{
    ERR(e);
    struct ctx ctx = soon(120000);
    AUTOFREE char *url = xasprintf("%s%s", t->base, path);
    struct http_answer head;
    struct http_body *b = http_open(t->client, &ctx, &(struct http_call){.method = HTTP_GET, .url = url}, &head, &e);
    if (!b)
        fail_msg("%s", err_text(&e));
    assert_int_equal(head.status, 200);
    http_answer_free(&head);
    return b;
}

static void *raises(void *arg)
{
    usleep(50000);
    cancel_raise(arg);
    return NULL;
}

static void test_streams(void **state)
{
    struct tls_kit t;
    open_kit(&t, NULL, true);
    ERR(e);
    char chunk[65536];
    struct http_body *idle[50];
    for (int i = 0; i < 50; i++)
        idle[i] = open_stream(&t, "/stream/idle");
    /* A slow reader holds its own stream up, nobody else's. */
    struct http_body *pump = open_stream(&t, "/stream/pump");
    streams_wait_queued();
    usleep(100000);
    expect(&t, HTTP_GET, "/stream/count", NULL, 200, "tick 1;tick 2;tick 3;");
    struct ctx ctx = soon(120000);
    size_t total = 0;
    ssize_t n;
    while ((n = http_body_read(pump, &ctx, chunk, sizeof chunk, &e)) > 0)
        total += (size_t)n;
    assert_int_equal(n, 0);
    assert_true(total >= 2000 * 16384);
    assert_true(atomic_load(&counts.max_queued) < 256 * 1024);
    http_body_close(pump);
    /* Broken off by the server; and given up by deadline and by cancel. */
    struct http_body *aborted = open_stream(&t, "/stream/abort");
    while ((n = http_body_read(aborted, &ctx, chunk, sizeof chunk, &e)) > 0)
        ;
    assert_int_equal(n, -1);
    assert_has(err_text(&e), "broke its answer off");
    err_clear(&e);
    http_body_close(aborted);
    struct ctx short_ctx = soon(50);
    assert_int_equal(http_body_read(idle[0], &short_ctx, chunk, sizeof chunk, &e), -1);
    assert_int_equal(e.code, ERR_TIMEOUT);
    err_clear(&e);
    struct cancel cancel;
    assert_int_equal(cancel_init(&cancel, &e), 0);
    pthread_t r = thread_start("h2-raises", raises, &cancel);
    ctx.cancel = &cancel;
    assert_int_equal(http_body_read(idle[1], &ctx, chunk, sizeof chunk, &e), -1);
    assert_int_equal(e.code, ERR_CANCELLED);
    err_clear(&e);
    pthread_join(r, NULL);
    cancel_close(&cancel);
    assert_int_equal(http_server_connections(t.kit.server), 1);
    /* Whoever closes resets, and the server hears of it. */
    int before = atomic_load(&counts.closed);
    for (int i = 0; i < 25; i++)
        http_body_close(idle[i]);
    streams_wait_closed(before + 25);
    /* The server stops: a clean end. */
    http_server_stop(TAKE(t.kit.server), 30000);
    ctx = soon(120000);
    for (int i = 25; i < 50; i++) {
        assert_int_equal(http_body_read(idle[i], &ctx, chunk, sizeof chunk, &e), 0);
        http_body_close(idle[i]);
    }
    close_kit(&t);
    assert_int_equal(atomic_load(&counts.opened), atomic_load(&counts.closed));
}

/* Connections end, and calls go on: idle ones that the server closed, and a server that was started anew. */
static void test_comes_back(void **state)
{
    struct tls_kit t;
    open_kit(&t, &(struct server_limits){.idle_timeout_ms = 50}, false);
    for (int i = 0; i < 4; i++) {
        expect(&t, HTTP_POST, "/echo", "x", 200, "x"); /* also what may not be sent twice */
        usleep(i * 30000);
    }
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%d", t.kit.port);
    kit_stop(&t.kit);
    ERR(e);
    struct ctx ctx = soon(120000);
    AUTOFREE char *url = xasprintf("%s/hello/x", t.base);
    struct http_answer a;
    assert_int_equal(http_fetch(t.client, &ctx, &(struct http_call){.method = HTTP_GET, .url = url}, &a, &e), -1);
    assert_int_equal(e.code, ERR_UNAVAILABLE);
    kit_start_with(&t.kit, NULL, &(struct listener_config){.tls = &t.tls, .address = address});
    expect(&t, HTTP_GET, "/hello/x", NULL, 200, "hello x");
    close_kit(&t);
}

/* An upgrade, and a handler that wants the connection for itself, get HTTP/1.1 of the same client. */
static void test_upgrade(void **state)
{
    struct tls_kit t;
    open_kit(&t, NULL, true);
    ERR(e);
    expect(&t, HTTP_GET, "/stream/count", NULL, 200, "tick 3;");
    struct ctx ctx = soon(5000);
    AUTOFREE char *url = xasprintf("%s/upgrade", t.base);
    const struct http_header fields[] = {{"Connection", "Upgrade"}, {"Upgrade", "echo"}};
    struct http_answer head;
    struct http_body *b = http_open(
        t.client, &ctx, &(struct http_call){.method = HTTP_GET, .url = url, .headers = fields, .n_headers = 2}, &head, &e);
    if (!b)
        fail_msg("%s", err_text(&e));
    assert_int_equal(head.status, 101);
    http_answer_free(&head);
    assert_int_equal(http_body_write(b, &ctx, "end!", 4, &e), 0);
    BUF(all);
    char chunk[100];
    ssize_t n;
    while ((n = http_body_read(b, &ctx, chunk, sizeof chunk, &e)) > 0)
        buf_add(&all, chunk, (size_t)n);
    assert_string_equal(buf_str(&all), "hi;end!");
    http_body_close(b);
    /* Without having asked for it: 101 is refused, after the server had said HTTP_1_1_REQUIRED. */
    assert_null(http_open(t.client, &ctx, &(struct http_call){.method = HTTP_GET, .url = url}, &head, &e));
    assert_has(err_text(&e), "without having been asked");
    close_kit(&t);
}

TEST_GROUP(h2_client, cmocka_unit_test(test_many_threads), cmocka_unit_test(test_bodies), cmocka_unit_test(test_streams),
           cmocka_unit_test(test_comes_back), cmocka_unit_test(test_upgrade))
