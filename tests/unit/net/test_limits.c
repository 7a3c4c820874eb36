/* test_limits.c - limits, time-outs, clients that behave badly, and stopping. */
#include "kit.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define HOST "Host: localhost\r\n"

static void test_head_sizes(void **state)
{
    struct kit k;
    kit_start(&k, &(struct server_limits){.max_header_bytes = 4096, .max_headers = 20});
    AUTOFREE char *fill = xcalloc(1, 10001);
    memset(fill, 'a', 10000);
    AUTOFREE char *url = xasprintf("GET /%s HTTP/1.1\r\n" HOST "\r\n", fill);
    AUTOFREE char *a = kit_talk(k.port, url);
    assert_status(a, 414);
    AUTOFREE char *value = xasprintf("GET /hello/x HTTP/1.1\r\n" HOST "X: %s\r\n\r\n", fill);
    AUTOFREE char *b = kit_talk(k.port, value);
    assert_status(b, 431);
    AUTOFREE char *name = xasprintf("GET /hello/x HTTP/1.1\r\n" HOST "%s: x\r\n\r\n", fill);
    AUTOFREE char *c = kit_talk(k.port, name);
    assert_status(c, 431);
    BUF(many);
    buf_adds(&many, "GET /hello/x HTTP/1.1\r\n" HOST);
    for (int i = 0; i < 19; i++)
        buf_addf(&many, "X-%d: y\r\n", i);
    AUTOFREE char *just = xasprintf("%s\r\n", many.data);
    int fd = kit_connect(k.port);
    BUF(answer);
    kit_send(fd, just);
    kit_read_until(fd, &answer, "hello x");
    close(fd);
    buf_adds(&many, "X-more: y\r\n\r\n");
    AUTOFREE char *d = kit_talk(k.port, many.data);
    assert_status(d, 431);
    BUF(trailer);
    buf_adds(&trailer, "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n");
    buf_addf(&trailer, "T: %s\r\n\r\n", fill);
    AUTOFREE char *e = kit_talk(k.port, trailer.data);
    assert_status(e, 431);
    AUTOFREE char *extension =
        xasprintf("POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1;x=%s\r\na\r\n0\r\n\r\n", fill);
    AUTOFREE char *f = kit_talk(k.port, extension);
    assert_status(f, 431);
    kit_stop(&k);
}

static void test_body_sizes(void **state)
{
    struct kit k;
    kit_start(&k, &(struct server_limits){.max_body_in_flight = 2 << 20});
    AUTOFREE char *told = kit_talk(k.port, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 1048577\r\n\r\nx");
    assert_status(told, 413);
    assert_has(told, "error: the request body has 1048577 bytes, the limit here is 1048576");
    assert_has(told, "Connection: close");
    int fd = kit_connect(k.port);
    kit_send(fd, "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    AUTOFREE char *chunk = xcalloc(1, 65536);
    memset(chunk, 'c', 65536);
    for (int i = 0; i < 20; i++) {
        kit_send(fd, "10000\r\n");
        kit_send_n(fd, chunk, 65536);
        kit_send(fd, "\r\n");
    }
    BUF(b);
    kit_read_until(fd, &b, "the limit here");
    assert_status(b.data, 413);
    close(fd);
    /* Together too much: one of the three is told to come again. */
    AUTOFREE char *part = xcalloc(1, (1 << 20) + 1);
    memset(part, 'p', 1 << 20);
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = kit_connect(k.port);
        kit_send(fds[i], "POST /echo/large HTTP/1.1\r\n" HOST "Content-Length: 1048577\r\n\r\n");
        kit_send_n(fds[i], part, i == 2 ? 1000 : 1 << 20);
        usleep(20000);
    }
    int told_off = -1;
    for (int i = 0; i < 200 && told_off < 0; i++) { /* whoever's bytes were read last */
        struct pollfd p[3] = {{fds[0], POLLIN, 0}, {fds[1], POLLIN, 0}, {fds[2], POLLIN, 0}};
        for (int at = poll(p, 3, 50) > 0 ? 0 : 3; at < 3; at++)
            if (p[at].revents)
                told_off = fds[at];
        if (told_off < 0)
            kit_send_n(fds[2], part, 100);
    }
    assert_true(told_off >= 0);
    buf_reset(&b);
    kit_read_until(told_off, &b, "too many large requests");
    assert_status(b.data, 503);
    assert_has(b.data, "Retry-After: 1\r\n");
    close(fds[2]);
    for (int i = 0; i < 2; i++)
        close(fds[i]);
    kit_wait_connections(&k, 0);
    /* And what they held is given back. */
    fd = kit_connect(k.port);
    kit_send(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 1048576\r\nConnection: close\r\n\r\n");
    kit_send_n(fd, part, 1 << 20);
    buf_reset(&b);
    kit_read_all(fd, &b);
    assert_status(b.data, 200);
    close(fd);
    kit_stop(&k);
}

static void test_slow_clients(void **state)
{
    struct kit k;
    kit_start(&k, &(struct server_limits){.header_timeout_ms = 150, .body_idle_timeout_ms = 150, .idle_timeout_ms = 400});
    int64_t t = kit_now_ms();
    int fd = kit_connect(k.port);
    BUF(b);
    for (const char *p = "GET /hello/x HTTP/1.1\r\n"; *p && kit_now_ms() - t < 300; p++) {
        kit_send_n(fd, p, 1); /* each byte is in time, the header is not */
        usleep(20000);
    }
    kit_read_all(fd, &b);
    assert_status(b.data, 408);
    close(fd);
    buf_reset(&b);
    fd = kit_connect(k.port);
    kit_send(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\n");
    for (int i = 0; i < 5; i++) { /* slow, but alive */
        usleep(80000);
        kit_send(fd, "x");
    }
    kit_read_all(fd, &b);
    assert_status(b.data, 408);
    close(fd);
    buf_reset(&b);
    fd = kit_connect(k.port); /* says nothing: closed without a word */
    t = kit_now_ms();
    kit_read_all(fd, &b);
    assert_int_equal(b.len, 0);
    assert_true(kit_now_ms() - t >= 300);
    close(fd);
    fd = kit_connect(k.port);
    kit_send(fd, "GET /hello/x HTTP/1.1\r\n" HOST "\r\n");
    t = kit_now_ms();
    kit_read_all(fd, &b);
    assert_has(b.data, "hello x");
    assert_true(kit_now_ms() - t >= 300);
    close(fd);
    kit_stop(&k);
}

static void test_reader_stops(void **state)
{
    struct kit k;
    kit_start(&k, &(struct server_limits){.write_timeout_ms = 200});
    char path[] = "/tmp/tidemill-net-XXXXXX";
    int f = mkstemp(path);
    assert_int_equal(ftruncate(f, 200 << 20), 0);
    int fd = kit_connect(k.port);
    AUTOFREE char *r = xasprintf("GET /file?path=%s HTTP/1.1\r\n" HOST "\r\n", path);
    kit_send(fd, r);
    for (int i = 0; i < 10000 && http_server_connections(k.server) == 0; i++)
        usleep(1000);
    kit_wait_connections(&k, 0);
    assert_int_equal(http_server_connections(k.server), 0);
    close(fd);
    /* A file that shrinks while it is sent breaks the answer, visibly. */
    fd = kit_connect(k.port);
    kit_send(fd, r);
    BUF(b);
    kit_read_until(fd, &b, "\r\n\r\n");
    assert_int_equal(ftruncate(f, 100000), 0);
    char *sink = xmalloc(1 << 20);
    ssize_t n;
    size_t total = 0;
    while ((n = recv(fd, sink, 1 << 20, 0)) > 0)
        total += (size_t)n;
    assert_true(total < (200u << 20) - 16384);
    free(sink);
    close(fd);
    close(f);
    unlink(path);
    kit_stop(&k);
}

static void test_half_close(void **state)
{
    struct kit k;
    kit_start(&k, NULL);
    BUF(b);
    int fd = kit_connect(k.port);
    kit_send(fd, "GET /slow HTTP/1.1\r\n" HOST "\r\nPOST /echo HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nlast");
    shutdown(fd, SHUT_WR);
    kit_read_all(fd, &b);
    assert_has(b.data, "slow");
    assert_has(b.data, "\r\n\r\nlast");
    close(fd);
    static const char *const cut[] = {"GET /slow HTT", "GET /slow HTTP/1.1\r\nHos",
                                      "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nla",
                                      "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n4\r\nla"};
    for (size_t i = 0; i < ARRAY_LEN(cut); i++) {
        buf_reset(&b);
        fd = kit_connect(k.port);
        kit_send(fd, cut[i]);
        shutdown(fd, SHUT_WR);
        kit_read_all(fd, &b);
        assert_status(b.data, 400);
        assert_has(b.data, "in the middle");
        close(fd);
    }
    /* A client that resets while its handler runs: the handler's context is cancelled, so that the server can stop at once. */
    int begun = atomic_load(&kit_begun);
    fd = kit_connect(k.port);
    kit_send(fd, "GET /waits HTTP/1.1\r\n" HOST "\r\n");
    kit_wait(&kit_begun, begun + 1);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    close(fd);
    int64_t t = kit_now_ms();
    http_server_stop(k.server, 30000);
    assert_true(kit_now_ms() - t < 30000); /* the handler would wait for a minute */
}

static void test_max_connections(void **state)
{
    struct kit k;
    kit_start(&k, &(struct server_limits){.max_connections = 3});
    int fds[4];
    BUF(b);
    for (int i = 0; i < 4; i++) {
        fds[i] = kit_connect(k.port);
        kit_send(fds[i], "GET /hello/x HTTP/1.1\r\n" HOST "\r\n");
        buf_reset(&b);
        kit_read_until(fds[i], &b, "hello x");
        assert_int_equal(strstr(buf_str(&b), "hello x") != NULL, i < 3);
    }
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    kit_stop(&k);
}

static void test_defence(void **state)
{
    struct kit k;
    const char *hosts[] = {"tide.example", NULL};
    kit_start_with(&k, NULL, &(struct listener_config){.extra_hosts = hosts, .check_browser = true});
    static const char *const cases[][2] = {
        {"GET /hello/x HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", "421"},
        {"GET http://evil.example/hello/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "421"},
        {"GET /hello/x HTTP/1.1\r\nHost: tide.example:8080\r\nConnection: close\r\n\r\n", "200"},
        {"GET /hello/x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", "200"},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nContent-Length: 0\r\nConnection: "
         "close\r\n\r\n",
         "403"},
        {"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\nContent-Length: 0\r\nConnection: "
         "close\r\n\r\n",
         "403"},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
         "200"},
        {"GET /hello/x HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nConnection: Upgrade\r\nUpgrade: "
         "websocket\r\n\r\n",
         "403"},
        {"GET /hello/x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n", "200"},
        {"POST /echo HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 3000000\r\n\r\nabc", "421"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *a = kit_talk(k.port, cases[i][0]);
        if (strncmp(a + 9, cases[i][1], 3) != 0)
            fail_msg("case %zu: want %s\n%s\n%s", i, cases[i][1], cases[i][0], a);
    }
    kit_stop(&k);
}

static void test_port_in_use(void **state)
{
    struct kit k;
    kit_start(&k, NULL);
    ERR(e);
    struct http_server *s = http_server_new(NULL, &e);
    static const struct mount m = {"/", false, &kit_api};
    AUTOFREE char *address = xasprintf("127.0.0.1:%d", k.port);
    assert_int_equal(
        http_server_listen(s, &(struct listener_config){.address = address, .mounts = &m, .n_mounts = 1, .flag = "--listen"},
                           NULL, &e),
        -1);
    assert_int_equal(e.code, ERR_CONFLICT);
    assert_has(err_text(&e), "--listen");
    assert_has(err_text(&e), address);
    AUTOFREE char *pid = xasprintf("unit_net (process %d)", (int)getpid());
    assert_has(err_text(&e), pid);
    static const char *const bad[] = {"",       "8080", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "nobody.example:1",
                                      "[::1:1", "unix:"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        err_clear(&e);
        assert_int_equal(
            http_server_listen(s, &(struct listener_config){.address = bad[i], .mounts = &m, .n_mounts = 1}, NULL, &e), -1);
        assert_int_equal(e.code, ERR_BAD_REQUEST);
    }
    http_server_stop(s, 0);
    kit_stop(&k);
}

static void test_graceful_stop(void **state)
{
    struct kit k;
    kit_start(&k, NULL);
    int busy = kit_connect(k.port), idle = kit_connect(k.port), begun = atomic_load(&kit_begun);
    kit_send(busy, "GET /slow HTTP/1.1\r\n" HOST "\r\n");
    kit_wait(&kit_begun, begun + 1);
    int64_t t = kit_now_ms();
    http_server_stop(k.server, 30000);
    assert_true(kit_now_ms() - t < 30000); /* it does not wait for those that are idle */
    BUF(b);
    kit_read_all(busy, &b); /* what was under way was answered */
    assert_has(b.data, "Connection: close\r\n");
    assert_has(b.data, "slow");
    BUF(c);
    kit_read_all(idle, &c);
    assert_int_equal(c.len, 0);
    close(busy);
    close(idle);
}

/* Idle connections cost no CPU. */
static void test_idle_is_idle(void **state)
{
    struct kit k;
    kit_start(&k, NULL);
    int fds[50];
    BUF(b);
    for (int i = 0; i < 50; i++) {
        fds[i] = kit_connect(k.port);
        kit_send(fds[i], "GET /hello/x HTTP/1.1\r\n" HOST "\r\n");
        kit_read_until(fds[i], &b, "hello x");
        buf_reset(&b);
    }
    struct rusage before, after;
    long turns = 5;
    for (int i = 0; i < 20 && turns >= 5; i++) { /* once all that was under way is done */
        getrusage(RUSAGE_SELF, &before);
        usleep(300000);
        getrusage(RUSAGE_SELF, &after);
        turns = after.ru_nvcsw - before.ru_nvcsw;
    }
    assert_true(turns < 5);
    for (int i = 0; i < 50; i++)
        close(fds[i]);
    kit_stop(&k);
}

TEST_GROUP(limits, cmocka_unit_test(test_head_sizes), cmocka_unit_test(test_body_sizes), cmocka_unit_test(test_slow_clients),
           cmocka_unit_test(test_reader_stops), cmocka_unit_test(test_half_close), cmocka_unit_test(test_max_connections),
           cmocka_unit_test(test_defence), cmocka_unit_test(test_port_in_use), cmocka_unit_test(test_graceful_stop),
           cmocka_unit_test(test_idle_is_idle))
