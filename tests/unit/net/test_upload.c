/* test_upload.c - request bodies that a handler reads while they arrive. */
#include "kit.h"

#include <unistd.h>

#include "net/client.h"

#define HOST "Host: localhost\r\n"

static size_t sum_of(const char *p, size_t n)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = sum * 31 + (unsigned char)p[i];
    return sum;
}

static void wait_uploads(int n)
{
    kit_wait(&kit_uploads, n);
    assert_int_equal(atomic_load(&kit_uploads), n);
}

static void test_whole(void **state)
{
    struct kit k;
    kit_start(&k, &(struct server_limits){.max_body_in_flight = 1 << 20}); /* is not what bounds these */
    size_t n = 20 << 20;
    AUTOFREE char *big = xmalloc(n);
    for (size_t i = 0; i < n; i++)
        big[i] = (char)(i * 2654435761U >> 13);
    ERR(e);
    struct http_client *c = http_client_new(NULL, &e);
    AUTOFREE char *url = xasprintf("http://127.0.0.1:%d/upload", k.port),
                  *want = xasprintf("%zu bytes, sum %zu, body_len 0", n, sum_of(big, n));
    for (int i = 0; i < 3; i++) {
        struct ctx ctx = ctx_background();
        struct http_answer a;
        if (http_fetch(c, &ctx, &(struct http_call){.method = HTTP_POST, .url = url, .body = big, .body_len = n}, &a, &e) < 0)
            fail_msg("%s", err_text(&e));
        assert_string_equal(buf_str(&a.body), want);
        http_answer_free(&a);
    }
    assert_int_equal(http_server_connections(k.server), 1); /* kept */
    http_client_free(c);
    /* Chunked, in pieces; and none at all. The connection goes on. */
    int fd = kit_connect(k.port);
    kit_send(fd, "POST /upload HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nab");
    usleep(20000);
    kit_send(fd, "c\r\n2\r\n");
    usleep(20000);
    kit_send(fd, "de\r\n0\r\n\r\nPOST /upload HTTP/1.1\r\n" HOST "Content-Length: 0\r\nConnection: close\r\n\r\n");
    BUF(b);
    kit_read_all(fd, &b);
    AUTOFREE char *five = xasprintf("5 bytes, sum %zu,", sum_of("abcde", 5));
    assert_has(b.data, five);
    assert_has(b.data, "0 bytes, sum 0,");
    close(fd);
    kit_stop(&k);
}

struct pieces {
    size_t left, sum, fail_at;
};

static ssize_t next_piece(void *self, void *p, size_t n, struct err *err)
{
    struct pieces *s = self;
    size_t max = 1 + s->left % 7919;
    n = n < max ? n : max;
    n = n < s->left ? n : s->left;
    if (s->fail_at && s->left < s->fail_at)
        return err_set(err, ERR_IO, "the source ran dry");
    memset(p, (int)(s->left % 251), n);
    for (size_t i = 0; i < n; i++)
        s->sum = s->sum * 31 + s->left % 251;
    s->left -= n;
    return (ssize_t)n;
}

/* The client's bodies in pieces, of a known length and not. */
static void test_pieces(void **state)
{
    struct kit k;
    kit_start(&k, NULL);
    ERR(e);
    struct ctx ctx = ctx_background();
    struct http_client *c = http_client_new(NULL, &e);
    AUTOFREE char *url = xasprintf("http://127.0.0.1:%d/upload", k.port), *echo = xasprintf("http://127.0.0.1:%d/echo", k.port);
    const size_t n = 3000000;
    for (int i = 0; i < 2; i++) {
        struct pieces s = {.left = n};
        struct http_answer a;
        const struct http_call call = {
            .method = HTTP_PUT, .url = url, .body_read = next_piece, .body_self = &s, .body_len = i ? n : HTTP_LENGTH_UNKNOWN};
        if (http_fetch(c, &ctx, &call, &a, &e) < 0)
            fail_msg("%s", err_text(&e));
        AUTOFREE char *want = xasprintf("%zu bytes, sum %zu, body_len 0", n, s.sum);
        assert_string_equal(buf_str(&a.body), want);
        http_answer_free(&a);
    }
    assert_int_equal(http_server_connections(k.server), 1);
    /* A source that fails, one that is shorter than was said, and a server that has heard enough. */
    struct pieces s = {.left = n, .fail_at = n / 2};
    struct http_answer a;
    struct http_call call = {.method = HTTP_PUT, .url = url, .body_read = next_piece, .body_self = &s, .body_len = n};
    assert_int_equal(http_fetch(c, &ctx, &call, &a, &e), -1);
    assert_has(err_text(&e), "the source ran dry");
    err_clear(&e);
    s = (struct pieces){.left = n - 1};
    assert_int_equal(http_fetch(c, &ctx, &call, &a, &e), -1);
    assert_has(err_text(&e), "has not the");
    err_clear(&e);
    s = (struct pieces){.left = 100 * n};
    call.url = echo;
    call.body_len = HTTP_LENGTH_UNKNOWN;
    if (http_fetch(c, &ctx, &call, &a, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_int_equal(a.status, 413);
    assert_true(s.left > 50 * n);
    http_answer_free(&a);
    http_client_free(c);
    kit_stop(&k);
}

/* Whoever reads slowly holds the client up; what lies between them is small. */
static void test_back_pressure(void **state)
{
    struct kit k;
    kit_start(&k, NULL);
    int fd = kit_connect(k.port);
    kit_send(fd, "POST /upload?slow=20 HTTP/1.1\r\n" HOST "Content-Length: 60000000\r\n\r\n");
    AUTOFREE char *block = xcalloc(1, 65536);
    size_t sent = 0;
    for (int64_t end = kit_now_ms() + 500; kit_now_ms() < end && sent < 59000000;) {
        ssize_t n = send(fd, block, 65536, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            sent += (size_t)n;
        else
            usleep(2000);
    }
    assert_true(sent < 40000000); /* 25 reads, the pipe, and what the kernel holds */
    int before = atomic_load(&kit_uploads);
    close(fd); /* the handler hears of it */
    wait_uploads(before + 1);
    kit_stop(&k);
}

static void test_refused(void **state)
{
    struct kit k;
    kit_start(&k, &(struct server_limits){.body_idle_timeout_ms = 5000});
    /* Announced too large; found too large; and refused before a byte of it was asked for. */
    AUTOFREE char *told = kit_talk(k.port, "POST /upload HTTP/1.1\r\n" HOST "Content-Length: 67108865\r\n\r\n");
    assert_status(told, 413);
    int fd = kit_connect(k.port);
    kit_send(fd, "POST /upload HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n4200000\r\n");
    AUTOFREE char *block = xcalloc(1, 1 << 20);
    for (int i = 0; i < 66; i++)
        kit_send_n(fd, block, 1 << 20);
    kit_send(fd, "\r\n0\r\n\r\n");
    BUF(found);
    kit_read_all(fd, &found);
    assert_status(found.data, 413);
    assert_has(found.data, "the limit here");
    close(fd);
    AUTOFREE char *refused =
        kit_talk(k.port, "POST /upload?refuse HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n");
    assert_status(refused, 403);
    assert_has(refused, "Connection: close");
    /* Read: told to go on by then. */
    fd = kit_connect(k.port);
    BUF(b);
    kit_send(fd, "POST /upload HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nConnection: close\r\nContent-Length: 3\r\n\r\n");
    kit_read_until(fd, &b, "\r\n\r\n");
    assert_string_equal(b.data, "HTTP/1.1 100 Continue\r\n\r\n");
    kit_send(fd, "abc");
    kit_read_all(fd, &b);
    assert_has(b.data, "3 bytes");
    close(fd);
    /* Stops reading: answered at once, and the rest is not waited for. */
    fd = kit_connect(k.port);
    buf_reset(&b);
    kit_send(fd, "POST /upload?stop=3 HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\nabc");
    kit_read_all(fd, &b);
    assert_has(b.data, "3 bytes");
    assert_has(b.data, "Connection: close");
    close(fd);
    kit_stop(&k);
}

static void test_broken(void **state)
{
    struct kit k;
    kit_start(&k, &(struct server_limits){.body_idle_timeout_ms = 150});
    AUTOFREE char *stalls = kit_talk(k.port, "POST /upload HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\nabc");
    assert_status(stalls, 408);
    AUTOFREE char *bad = kit_talk(k.port, "POST /upload HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabcxyz\r\n");
    assert_status(bad, 400);
    int fd = kit_connect(k.port);
    kit_send(fd, "POST /upload HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\nabc");
    shutdown(fd, SHUT_WR);
    BUF(b);
    kit_read_all(fd, &b);
    assert_status(b.data, 400);
    assert_has(b.data, "in the middle of the request");
    close(fd);
    /* Our own slowness is not the client's. */
    fd = kit_connect(k.port);
    buf_reset(&b);
    kit_send(fd, "POST /upload?slow=100 HTTP/1.1\r\n" HOST "Connection: close\r\nContent-Length: 400000\r\n\r\n");
    AUTOFREE char *block = xcalloc(1, 400000);
    kit_send_n(fd, block, 400000);
    kit_read_all(fd, &b);
    assert_has(b.data, "400000 bytes");
    close(fd);
    /* The server stops while a body is awaited. */
    int before = atomic_load(&kit_uploads), begun = atomic_load(&kit_begun);
    fd = kit_connect(k.port);
    kit_send(fd, "POST /upload HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\nabc");
    kit_wait(&kit_begun, begun + 1);
    http_server_stop(k.server, 50);
    assert_int_equal(atomic_load(&kit_uploads), before + 1);
    close(fd);
}

TEST_GROUP(uploads, cmocka_unit_test(test_whole), cmocka_unit_test(test_pieces), cmocka_unit_test(test_back_pressure),
           cmocka_unit_test(test_refused), cmocka_unit_test(test_broken))
