/* test_basic.c - requests and answers over plain HTTP. */
#include "kit.h"

#include <unistd.h>

static void test_simple(void **state)
{
    struct kit k;
    kit_start(&k, NULL);
    AUTOFREE char *a = kit_get(k.port, "/hello/w%C3%B6rld");
    assert_status(a, 200);
    assert_has(a, "\r\nContent-Type: text/plain; charset=utf-8\r\n");
    assert_has(a, "\r\nContent-Length: 12\r\n");
    assert_has(a, "\r\nAudit-Id: ");
    assert_has(a, "\r\nDate: ");
    assert_has(a, " GMT\r\n");
    assert_has(a, "\r\nConnection: close\r\n");
    assert_has(a, "\r\n\r\nhello w\xc3\xb6rld");
    assert_null(strstr(a, "one"));
    assert_has(a, "x-kit: two\r\nX-Kit: three  X-Evil: yes\r\n");
    AUTOFREE char *b = kit_get(k.port, "//hello///x?y=1");
    assert_has(b, "\r\n\r\nhello x");
    AUTOFREE char *c = kit_get(k.port, "/pipeline/hello/x");
    assert_has(c, "\r\n\r\nhello x");
    AUTOFREE char *d = kit_talk(
        k.port, "GET /pipelines/hello/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer joe\r\nConnection: close\r\n\r\n");
    assert_status(d, 404);
    assert_has(d, "nothing at /pipelines/hello/x");
    AUTOFREE char *e = kit_get(k.port, "/empty");
    assert_status(e, 204);
    assert_null(strstr(e, "Content-Length"));
    AUTOFREE char *f = kit_get(k.port, "http://localhost/hello/abs");
    assert_has(f, "\r\n\r\nhello abs");
    kit_stop(&k);
}

static void test_errors(void **state)
{
    static const struct {
        const char *request, *status, *part;
    } cases[] = {
        {"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "401", "error: show a token"},
        {"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer joe\r\nConnection: close\r\n\r\n", "404",
         "error: there is nothing at /nowhere"},
        {"DELETE /echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer joe\r\nConnection: close\r\n\r\n", "405",
         "\r\nAllow: POST, PUT\r\n"},
        {"POST /hello/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer joe\r\nConnection: close\r\nContent-Length: "
         "2\r\n\r\nab",
         "405", "\r\nAllow: GET, HEAD\r\n"},
        {"GET /fails HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "409", "\r\nRetry-After: 7\r\n"},
        {"GET /fails HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "409", "error: somebody was here before"},
        {"GET /hello/%zz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "400", "percent-encoded"},
        {"GET /hello/%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "400", "percent-encoded"},
        {"GET /hello/../x HTTP/1.1\r\nHost: localhost\r\n\r\n", "400", "segment"},
        {"GET /hello/%2e%2E HTTP/1.1\r\nHost: localhost\r\n\r\n", "400", "segment"},
        {"GET /secret HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "401", "error: show a token"},
        {"GET /secret HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer eve\r\nConnection: close\r\n\r\n", "403",
         "eve may not get secrets"},
        {"GET /secret HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer admin\r\nConnection: close\r\n\r\n", "200",
         "secret for admin"},
        {"GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "200", "nobody tls=0 loopback=1"},
        {"GET /who HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer joe\r\nConnection: close\r\n\r\n", "200",
         "joe tls=0 loopback=1"},
        {"GET /who HTTP/1.1\r\nConnection: close\r\n\r\n", "400", "one Host field"},
        {"GET /who HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", "400", "one Host field"},
        {"GET /who HTTP/2.0\r\nHost: localhost\r\n\r\n", "505", "HTTP/1.1"},
        {"GET /who HTTP/1.1\r\nHost localhost\r\n\r\n", "400", "header field"},
        {"GET /who\x01 HTTP/1.1\r\nHost: localhost\r\n\r\n", "400", ""},
        {"GET who HTTP/1.1\r\nHost: localhost\r\n\r\n", "400", ""},
        {"rubbish\r\n\r\n", "400", ""},
        {"\x16\x03\x01\x02\x01\x01", "400", "not TLS"},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400", ""},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\nab", "400", ""},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\nab", "400", ""},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18446744073709551615\r\n\r\nab", "400", ""},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400", ""},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", "400", ""},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", "400", ""},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "400", ""},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "400", ""},
        {"GET /who HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n", "400", "CR LF"},
        {"GET /who HTTP/1.1\nHost: localhost\n\n", "400", "CR LF"},
        {"GET /who HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n", "400", "CR LF"},
        {"GET /who HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n", "400", "folded"},
        {"GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX : y\r\n\r\n", "400", ""},
        {"GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n: y\r\n\r\n", "400", ""},
        {"GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: a\x01y\r\n\r\n", "400", ""},
        {"GET /who\r\nHost: localhost\r\n\r\n", "505", ""},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 5 5\r\n\r\nab", "400", ""},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: +5\r\n\r\nab", "400", ""},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0x5\r\n\r\nab", "400", ""},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: \r\n\r\nab", "400", ""},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "400",
         ""},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "400",
         ""},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
         "400", ""},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: "
         "chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
         "400", ""},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: "
         "chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
         "400", ""},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: "
         "chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
         "400", ""},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3 ; "
         "a\r\nabc\r\n0\r\n\r\n",
         "400", ""},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 200-ok\r\nContent-Length: 2\r\n\r\nab", "417", ""},
        {"GET /other?path=/hello/inner HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "200", "hello inner"},
        {"GET /other?path=/nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "404", "nothing at /nowhere"},
        {"GET /other?path=/a/../b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "400", "segment"},
        /* Methods that nobody has a name for: the API's own 405, or 404. */
        {"BREW /echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer joe\r\nConnection: close\r\n\r\n", "405",
         "error: BREW is not possible at /echo"},
        {"TRACE /echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer joe\r\nConnection: close\r\n\r\n", "405",
         "\r\nAllow: POST, PUT\r\n"},
        {"get /none HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer joe\r\nConnection: close\r\n\r\n", "404", "error: "},
        {"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", "400", ""},
        {"POST /other?path=/hello/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "405", ""},
        {"POST /runs/7:archive HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "200",
         "archive 7"},
        {"POST /runs/a:b:archive HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "200",
         "archive a:b"},
        {"GET /rest/a/b%2Fc HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "200", "rest=a/b/c"},
        {"GET /rest/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "200", "rest="},
        {"POST /json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 11\r\n\r\n{\"a\": 1.10}", "201",
         "{\"a\":1.10}"},
        {"GET /query?a=1&b=x+y%21&a=2&&c&bad=%zz&flag=False HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "200",
         "a=1;b=x y!;a=2;c=;flag=False; n(a)=2 a[1]=2 flag=0"},
        {"GET /query?flag HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "200", "flag=1"},
    };
    struct kit k;
    kit_start(&k, NULL);
    int wrong = 0;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *a = kit_talk(k.port, cases[i].request);
        if (strncmp(a, "HTTP/1.1 ", 9) != 0 || strncmp(a + 9, cases[i].status, 3) != 0 || !strstr(a, cases[i].part))
            print_message("case %zu: want %s \"%s\" for\n%s\ngot:\n%s", i, cases[i].status, cases[i].part, cases[i].request, a),
                wrong++;
    }
    assert_int_equal(wrong, 0);
    kit_stop(&k);
}

static void test_keep_alive_and_pipelining(void **state)
{
    struct kit k;
    kit_start(&k, NULL);
    int fd = kit_connect(k.port);
    BUF(b);
    kit_send(fd, "GET /hello/1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    kit_read_until(fd, &b, "hello 1");
    /* Two and a half requests at once, then the rest. */
    kit_send(fd, "\r\nPOST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nfirstGET /slow HTTP/1.1\r\nHost: "
                 "localhost\r\n\r\nGET /hel");
    kit_read_until(fd, &b, "slow");
    kit_send(fd, "lo/last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\nGET /hello/never HTTP/1.1\r\n");
    kit_read_all(fd, &b);
    const char *first = strstr(b.data, "first"), *slow_at = strstr(b.data, "\r\n\r\nslow"), *last = strstr(b.data, "hello last");
    assert_true(first && slow_at && last && first < slow_at && slow_at < last);
    assert_null(strstr(b.data, "never"));
    close(fd);
    /* HTTP/1.0 closes unless asked not to. */
    AUTOFREE char *old = kit_talk(k.port, "GET /hello/old HTTP/1.0\r\n\r\n");
    assert_status(old, 421);
    AUTOFREE char *old2 = kit_talk(k.port, "GET /hello/old HTTP/1.0\r\nHost: localhost\r\n\r\n");
    assert_has(old2, "hello old");
    kit_stop(&k);
}

static void test_bytewise(void **state)
{
    struct kit k;
    kit_start(&k, NULL);
    int fd = kit_connect(k.port);
    const char *r = "POST /echo?x=1 HTTP/1.1\r\nHost: localhost\r\nX-Long-Name: some value\r\nTransfer-Encoding: "
                    "chunked\r\nConnection: close\r\n\r\n"
                    "3;ext=1\r\nabc\r\n4\r\ndefg\r\n0\r\nTrailer: yes\r\n\r\n";
    for (; *r; r++) {
        kit_send_n(fd, r, 1);
        usleep(200);
    }
    BUF(b);
    kit_read_all(fd, &b);
    assert_has(b.data, "\r\n\r\nabcdefg");
    close(fd);
    kit_stop(&k);
}

static void test_expect_continue(void **state)
{
    struct kit k;
    kit_start(&k, NULL);
    int fd = kit_connect(k.port);
    BUF(b);
    kit_send(fd,
             "POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\n");
    kit_read_until(fd, &b, "HTTP/1.1 100 Continue\r\n\r\n");
    kit_send(fd, "body");
    kit_read_all(fd, &b);
    assert_has(b.data, "\r\n\r\nbody");
    close(fd);
    AUTOFREE char *none =
        kit_talk(k.port, "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_status(none, 401);
    AUTOFREE char *big =
        kit_talk(k.port, "POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 4000000\r\n\r\n");
    assert_status(big, 413);
    kit_stop(&k);
}

static void test_head(void **state)
{
    struct kit k;
    kit_start(&k, NULL);
    int fd = kit_connect(k.port);
    BUF(b);
    kit_send(fd, "HEAD /hello/12345 HTTP/1.1\r\nHost: localhost\r\n\r\nHEAD /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"
                 "GET /hello/z HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    kit_read_all(fd, &b);
    assert_has(b.data, "Content-Length: 11\r\n");
    assert_null(strstr(b.data, "hello 12345"));
    assert_has(b.data, "HTTP/1.1 401");
    assert_null(strstr(b.data, "show a token"));
    assert_has(b.data, "hello z");
    close(fd);
    kit_stop(&k);
}

static void test_many_at_once(void **state)
{
    struct kit k;
    kit_start(&k, &(struct server_limits){.workers = 4});
    int fds[50];
    for (int i = 0; i < 50; i++) {
        fds[i] = kit_connect(k.port);
        AUTOFREE char *r = xasprintf("GET /hello/n%d HTTP/1.1\r\nHost: localhost\r\n\r\n", i);
        kit_send(fds[i], r);
    }
    for (int i = 0; i < 50; i++) {
        BUF(b);
        AUTOFREE char *want = xasprintf("hello n%d", i);
        kit_read_until(fds[i], &b, want);
        assert_has(b.data, want);
    }
    assert_int_equal(http_server_connections(k.server), 50);
    for (int i = 0; i < 50; i++)
        close(fds[i]);
    kit_wait_connections(&k, 0);
    assert_int_equal(http_server_connections(k.server), 0);
    kit_stop(&k);
}

static void test_stop_without_start(void **state)
{
    ERR(e);
    struct http_server *s = http_server_new(NULL, &e);
    static const struct mount m = {"/", false, &kit_api};
    int port;
    assert_int_equal(
        http_server_listen(s, &(struct listener_config){.address = "127.0.0.1:0", .mounts = &m, .n_mounts = 1}, &port, &e), 0);
    assert_true(port > 0);
    http_server_stop(s, 100);
}

TEST_GROUP(basic, cmocka_unit_test(test_simple), cmocka_unit_test(test_errors), cmocka_unit_test(test_keep_alive_and_pipelining),
           cmocka_unit_test(test_bytewise), cmocka_unit_test(test_expect_continue), cmocka_unit_test(test_head),
           cmocka_unit_test(test_many_at_once), cmocka_unit_test(test_stop_without_start))
