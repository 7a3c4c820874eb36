/* test_h2_limits.c - HTTP/2 clients that are slow, half there, or mean harm. */
#include "h2kit.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

static void is_alive(struct kit *k)
{
    AUTOFREE char *a = peer_talk(k->port, "GET", "/hello/x", NULL, NULL);
    assert_has(a, "hello x");
}

static void test_heads(void **state)
{
    struct kit k;
    kit_start(&k, &(struct server_limits){.max_header_bytes = 4096, .max_headers = 20});
    AUTOFREE char *fill = xcalloc(1, 5001);
    memset(fill, 'a', 5000);
    AUTOFREE char *one = xasprintf("x: %s\n", fill);
    AUTOFREE char *a = peer_talk(k.port, "GET", "/hello/x", one, NULL);
    assert_has(a, "431\n");
    BUF(many);
    for (int i = 0; i < 20; i++)
        buf_addf(&many, "x-%d: y\n", i);
    AUTOFREE char *b = peer_talk(k.port, "GET", "/hello/x", many.data, NULL);
    assert_has(b, "200\n");
    buf_adds(&many, "x-more: y\n");
    AUTOFREE char *c = peer_talk(k.port, "GET", "/hello/x", many.data, NULL);
    assert_has(c, "431\n");
    /* The connection goes on after such a one, but not after a bomb: a small head that unpacks to a large one. */
    struct peer *p = peer_open(k.port);
    struct peer_stream *large = peer_ask(p, "GET", "/hello/x", one, NULL, 0);
    peer_until(p, large, NULL);
    assert_int_equal(large->status, 431);
    struct peer_stream *fine = peer_get(p, "/hello/x");
    peer_until(p, fine, NULL);
    assert_int_equal(fine->status, 200);
    AUTOFREE char *short_fill = xstrndup(fill, 3000);
    BUF(bomb);
    for (int i = 0; i < 200; i++)
        buf_addf(&bomb, "x: %s\n", short_fill);
    struct peer_stream *boom = peer_ask(p, "GET", "/hello/x", bomb.data, NULL, 0);
    peer_until_gone(p);
    assert_int_equal(boom->status, 0);
    peer_close(p);
    is_alive(&k);
    kit_stop(&k);
}

static void frame(struct buf *b, size_t len, int type, int flags, uint32_t id, const void *payload)
{
    const unsigned char h[9] = {(unsigned char)(len >> 16), (unsigned char)(len >> 8), (unsigned char)len,
                                (unsigned char)type,        (unsigned char)flags,      (unsigned char)(id >> 24),
                                (unsigned char)(id >> 16),  (unsigned char)(id >> 8),  (unsigned char)id};
    buf_add(b, h, 9);
    if (len)
        buf_add(b, payload, len);
}

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
/* ":method: GET, :scheme: http, :path: /waits, :authority: localhost", packed without a table */
#define GET_WAITS "\x82\x86\x04\x06/waits\x01\x09localhost"

/* Sends the frames again and again until the server has had enough: true. */
static bool flood(struct kit *k, const struct buf *frames, int times)
{
    int fd = kit_connect(k->port);
    kit_send(fd, PREFACE);
    BUF(b);
    frame(&b, 0, 4, 0, 0, NULL);
    kit_send_n(fd, b.data, b.len);
    bool enough = false;
    char drop[65536];
    for (int i = 0; i < times && !enough; i++) {
        kit_send_n(fd, frames->data, frames->len);
        ssize_t n;
        while ((n = recv(fd, drop, sizeof drop, MSG_DONTWAIT)) > 0)
            ;
        enough = n == 0 || (n < 0 && errno != EAGAIN);
    }
    for (int i = 0; i < 6000 && !enough; i++) {
        ssize_t n = recv(fd, drop, sizeof drop, MSG_DONTWAIT);
        enough = n == 0 || (n < 0 && errno != EAGAIN);
        if (n < 0)
            usleep(10000);
    }
    close(fd);
    return enough;
}

static void test_floods(void **state)
{
    struct kit k;
    kit_start(&k, NULL);
    static const struct {
        const char *name;
        int type, flags;
        uint32_t id;
        size_t len;
    } cases[] = {
        {"pings", 6, 0, 0, 8},
        {"settings", 4, 0, 0, 0},
        {"priorities", 2, 0, 1, 5},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        BUF(b);
        for (int n = 0; n < 100; n++)
            frame(&b, cases[i].len, cases[i].type, cases[i].flags, cases[i].id, "\0\0\0\0\0\0\0\0");
        if (!flood(&k, &b, 1000))
            fail_msg("%s were put up with", cases[i].name);
    }
    /* A head that goes on and on, and one that goes on with nothing. */
    for (size_t len = 0; len <= 16; len += 16) {
        BUF(b);
        frame(&b, sizeof GET_WAITS - 1, 1, 0, 1, GET_WAITS);
        for (int n = 0; n < 60000; n++)
            frame(&b, len, 9, 0, 1, "\0\1x\1y\0\1x\1y\0\1x\1y\0"); /* x: y, three times; and one that goes on */
        assert_true(flood(&k, &b, 1));
    }
    /* Empty pieces of a body. */
    BUF(b);
    frame(&b, sizeof GET_WAITS - 1, 1, 4, 1, GET_WAITS);
    for (int n = 0; n < 5000; n++)
        frame(&b, 0, 0, 0, 1, NULL);
    assert_true(flood(&k, &b, 1));
    is_alive(&k);
    kit_stop(&k);
}

/* CVE-2023-44487: opened and reset at once, again and again. */
static void test_rapid_reset(void **state)
{
    struct kit k;
    kit_start(&k, &(struct server_limits){.workers = 4});
    BUF(b);
    for (uint32_t id = 1; id < 20000; id += 2) {
        frame(&b, sizeof GET_WAITS - 1, 1, 5, id, GET_WAITS);
        frame(&b, 4, 3, 0, id, "\0\0\0\x08");
    }
    assert_true(flood(&k, &b, 1));
    is_alive(&k);
    /* A stream that was reset keeps its place until its handler is back: what runs at once is bounded. */
    struct peer *p = peer_open(k.port);
    for (int i = 0; i < 240; i++) {
        struct peer_stream *s = peer_get(p, "/slow");
        peer_flush(p);
        nghttp2_submit_rst_stream(p->session, 0, s->id, NGHTTP2_CANCEL);
        peer_flush(p);
    }
    for (int i = 0; i < 100; i++)
        peer_get(p, "/hello/x");
    int refused = 0, fine = 0;
    for (size_t i = 240; i < p->n; i++) {
        peer_until(p, &p->streams[i], NULL);
        fine += p->streams[i].status == 200;
        refused += p->streams[i].code == NGHTTP2_REFUSED_STREAM;
    }
    assert_int_equal(fine + refused, 100);
    peer_close(p);
    kit_stop(&k);
}

static void test_time(void **state)
{
    struct kit k;
    kit_start(&k, &(struct server_limits){.idle_timeout_ms = 300, .write_timeout_ms = 300});
    /* Nothing to do: good-bye. */
    struct peer *p = peer_open(k.port);
    struct peer_stream *s = peer_get(p, "/hello/x");
    int64_t t = kit_now_ms();
    peer_until_gone(p);
    assert_true(kit_now_ms() - t >= 250);
    assert_int_equal(s->status, 200);
    assert_true(p->goaway && p->goaway_code == NGHTTP2_NO_ERROR);
    peer_close(p);
    /* A window that stays shut: that stream alone is given up. */
    AUTOFREE char *big = xcalloc(1, 500000);
    p = peer_open_with(k.port, 1000);
    s = peer_ask(p, "POST", "/echo", NULL, big, 500000);
    peer_until(p, s, NULL);
    assert_int_equal(s->code, NGHTTP2_CANCEL);
    assert_int_equal(s->body.len, 1000);
    assert_false(p->gone);
    peer_close(p);
    /* A socket that nobody reads. */
    char path[] = "/tmp/tidemill-net-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(ftruncate(fd, 100 << 20), 0);
    close(fd);
    AUTOFREE char *file = xasprintf("/file?path=%s", path);
    p = peer_open(k.port);
    for (int i = 0; i < 60; i++)
        peer_get(p, file);
    peer_flush(p);
    kit_wait_connections(&k, 0);
    assert_int_equal(http_server_connections(k.server), 0);
    unlink(path);
    peer_close(p);
    kit_stop(&k);
}

/* A head that is half there when time is over is answered; what comes of it later begins nothing. */
static void test_late_head(void **state)
{
    struct kit k;
    kit_start(&k, &(struct server_limits){.body_idle_timeout_ms = 200});
    static const char put[] = "\x02\x03PUT\x86\x04\x07/upload\x01\x09localhost";
    int before = atomic_load(&kit_uploads), fd = kit_connect(k.port);
    BUF(b);
    kit_send(fd, PREFACE);
    frame(&b, 0, 4, 0, 0, NULL);
    frame(&b, sizeof put - 1, 1, 0, 1, put);
    kit_send_n(fd, b.data, b.len);
    BUF(got);
    char chunk[4096];
    while (!memmem(buf_str(&got), got.len, "did not arrive in time", 22)) {
        ssize_t n = recv(fd, chunk, sizeof chunk, 0);
        assert_true(n > 0);
        buf_add(&got, chunk, (size_t)n);
    }
    buf_reset(&b);
    frame(&b, 0, 9, 4, 1, NULL);
    frame(&b, 3, 0, 1, 1, "abc");
    kit_send_n(fd, b.data, b.len);
    usleep(300000);
    assert_int_equal(atomic_load(&kit_uploads), before);
    close(fd);
    is_alive(&k);
    kit_stop(&k);
}

/* Refusals that nobody reads (CVE-2019-9514, and heads beyond the streams that may be open): the server stops to read as well. */
static void test_unread_refusals(void **state)
{
    struct kit k;
    kit_start(&k, NULL);
    int fd = kit_connect(k.port);
    kit_send(fd, PREFACE);
    BUF(b);
    frame(&b, 0, 4, 0, 0, NULL);
    kit_send_n(fd, b.data, b.len);
    size_t sent = 0;
    const size_t enough = 48 << 20;
    for (uint32_t id = 1; sent < enough;) {
        buf_reset(&b);
        for (int i = 0; i < 4000; i++, id += 2)
            frame(&b, 3, 1, 4, id, "\x82\x86\x84"); /* its body never comes */
        for (size_t at = 0; at < b.len;) {
            ssize_t n = send(fd, b.data + at, b.len - at, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (n < 0 && errno == EAGAIN) {
                struct pollfd p = {.fd = fd, .events = POLLOUT};
                if (poll(&p, 1, 1500) == 0)
                    goto stopped;
                continue;
            }
            assert_true(n > 0);
            at += (size_t)n;
            sent += (size_t)n;
        }
    }
    fail_msg("%zu bytes were read, and what they made waits in memory", sent);
stopped:
    close(fd);
    is_alive(&k);
    kit_stop(&k);
}

static size_t with_status(const struct peer *p, int status)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++)
        n += p->streams[i].status == status;
    return n;
}

/* Asks, and waits for heads: bodies do not come through windows of 0. */
static struct peer_stream *ask_head(struct peer *p, const char *method, const char *path)
{
    struct peer_stream *s = peer_ask(p, method, path, NULL, NULL, 0);
    for (int64_t end = kit_now_ms() + 10000; !s->status && !s->closed && kit_now_ms() < end;)
        peer_run(p, 10);
    return s;
}

/* A client that opens no window is answered, for as long as what waits for it is not too much: its own, or that of all. */
static void test_unread_answers(void **state)
{
    struct kit k;
    kit_start(&k, &(struct server_limits){.max_held_connection = 1 << 20, .max_held = 5 << 19});
    struct peer *p = peer_open_with(k.port, 0), *others[2];
    for (int i = 0; i < 200; i++)
        peer_get(p, "/big");
    for (int64_t end = kit_now_ms() + 20000; with_status(p, 200) + with_status(p, 429) < 200 && kit_now_ms() < end;)
        peer_run(p, 20);
    /* Beyond the mark by one answer at most. */
    assert_int_equal(with_status(p, 200), 2);
    assert_int_equal(with_status(p, 429), 198);
    for (size_t i = 0; i < p->n; i++)
        if (p->streams[i].status == 429) {
            assert_true(p->streams[i].closed && p->streams[i].ended); /* nothing of it waits */
            assert_has(buf_str(&p->streams[i].head), "retry-after: 1\n");
        }
    assert_int_equal(ask_head(p, "GET", "/hello/x")->status, 200); /* small ones go on */
    struct peer_stream *changes = ask_head(p, "POST", "/big");     /* done, but nobody can be told: no status is right */
    assert_true(changes->closed && changes->status == 0 && changes->code == NGHTTP2_INTERNAL_ERROR);
    /* All together. */
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        others[i] = peer_open_with(k.port, 0);
        for (int n = 0; n < 3; n++)
            ask_head(others[i], "GET", "/big");
    }
    assert_int_equal(with_status(others[0], 200), 2);
    assert_int_equal(with_status(others[1], 200), 1);
    struct peer *late = peer_open(k.port);
    struct peer_stream *refused = ask_head(late, "GET", "/big"), *fine = peer_get(late, "/hello/y");
    assert_int_equal(refused->status, 429);
    peer_until(late, fine, NULL);
    assert_string_equal(buf_str(&fine->body), "hello y");
    /* Over HTTP/1.1 as well, and the connection goes on. */
    AUTOFREE char *old = kit_get(k.port, "/big");
    assert_status(old, 429);
    assert_has(old, "Content-Length: 0");
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        peer_close(others[i]);
    peer_close(p);
    /* Whoever goes gives it all back. */
    struct peer_stream *again = NULL;
    for (int64_t end = kit_now_ms() + 10000; (!again || again->status != 200) && kit_now_ms() < end;) {
        again = peer_get(late, "/big");
        peer_until(late, again, NULL);
    }
    assert_int_equal(again->status, 200);
    assert_int_equal(again->body.len, 1 << 19);
    peer_close(late);
    kit_stop(&k);
}

static void test_half_closed(void **state)
{
    struct kit k;
    kit_start(&k, NULL);
    struct peer *p = peer_open(k.port);
    struct peer_stream *slow = peer_get(p, "/slow"), *open = peer_ask_open(p, "POST", "/echo", NULL, "abc", 3);
    peer_run(p, 50);
    shutdown(p->fd, SHUT_WR);
    int64_t end = kit_now_ms() + 5000;
    while (!p->gone && kit_now_ms() < end) {
        char chunk[4096];
        ssize_t n = recv(p->fd, chunk, sizeof chunk, 0);
        if (n <= 0 || nghttp2_session_mem_recv(p->session, (uint8_t *)chunk, (size_t)n) < 0)
            p->gone = true;
    }
    assert_true(p->gone);
    assert_string_equal(buf_str(&slow->body), "slow"); /* complete: answered */
    assert_true(slow->ended && !open->ended);
    peer_close(p);
    kit_stop(&k);
}

static void test_stop(void **state)
{
    struct kit k;
    kit_start(&k, NULL);
    struct peer *p = peer_open(k.port), *idle = peer_open(k.port);
    peer_run(idle, 30);
    struct peer_stream *slow = peer_get(p, "/slow");
    peer_run(p, 50);
    int64_t t = kit_now_ms();
    http_server_stop(k.server, 3000);
    assert_true(kit_now_ms() - t < 2500);
    peer_until_gone(p);
    peer_until_gone(idle);
    assert_int_equal(slow->status, 200); /* what was under way is answered */
    assert_string_equal(buf_str(&slow->body), "slow");
    assert_true(p->goaway && idle->goaway);
    peer_close(p);
    peer_close(idle);
}

TEST_GROUP(h2_limits, cmocka_unit_test(test_heads), cmocka_unit_test(test_floods), cmocka_unit_test(test_rapid_reset),
           cmocka_unit_test(test_time), cmocka_unit_test(test_late_head), cmocka_unit_test(test_unread_refusals),
           cmocka_unit_test(test_unread_answers), cmocka_unit_test(test_half_closed), cmocka_unit_test(test_stop))
