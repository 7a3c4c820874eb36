/* test_route.c - the route table alone, the browser defence, URLs, the output queue, and clean paths. */
#include "unit.h"

#include "net/defence.h"
#include "net/exchange.h"
#include "net/outq.h"
#include "net/parse.h"
#include "net/route.h"
#include "net/url.h"

static int nothing(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err) { return 0; }

static void test_table(void **state)
{
    static const struct route routes[] = {
        {HTTP_GET, "/", nothing},
        {HTTP_GET, "/api", nothing},
        {HTTP_GET | HTTP_POST, "/api/v1/namespaces/{ns}/pods", nothing},
        {HTTP_GET, "/api/v1/namespaces/{ns}/pods/{name}", nothing},
        {HTTP_DELETE, "/api/v1/namespaces/{namespace}/pods/{pod}", nothing},
        {HTTP_GET, "/api/v1/namespaces/{ns}/pods/{name}/log", nothing},
        {HTTP_GET, "/api/v1/namespaces/{ns}/{resource}/{name}/status", nothing},
        {HTTP_GET | HTTP_POST, "/api/v1/namespaces/{ns}/services/{name}/proxy/{rest...}", nothing},
        {HTTP_GET, "/api/v1/watch/{rest...}", nothing},
        {HTTP_GET, "/runs/{id}", nothing},
        {HTTP_POST, "/runs/{id}:archive", nothing},
        {HTTP_POST, "/runs/{id}:terminate", nothing},
        {HTTP_POST, "/runs/special", nothing},
        {HTTP_POST, "/runs/{id}", nothing},
        {HTTP_HEAD, "/heads", nothing},
        {HTTP_GET, "/heads", nothing},
        {HTTP_GET, "/a/{x}/c", nothing},
        {HTTP_GET, "/a/b/d", nothing},
        {HTTP_GET, "/a/{rest...}", nothing},
        {HTTP_PUT, "/files/{rest...}", nothing},
        {HTTP_GET, "/trailing/", nothing},
    };
    static const struct {
        enum http_method method;
        const char *path;
        int found; /* index of the route, -404 or -405 */
        const char *params;
    } cases[] = {
        {HTTP_GET, "/", 0, ""},
        {HTTP_GET, "/api", 1, ""},
        {HTTP_GET, "/api/", -404, ""},
        {HTTP_GET, "/apix", -404, ""},
        {HTTP_GET, "/ap", -404, ""},
        {HTTP_POST, "/api", -405, ""},
        {HTTP_POST, "/api/v1/namespaces/default/pods", 2, "ns=default "},
        {HTTP_GET, "/api/v1/namespaces//pods", -404, ""},
        {HTTP_GET, "/api/v1/namespaces/n/pods/p", 3, "ns=n name=p "},
        {HTTP_HEAD, "/api/v1/namespaces/n/pods/p", 3, "ns=n name=p "},
        {HTTP_DELETE, "/api/v1/namespaces/n/pods/p", 4, "namespace=n pod=p "},
        {HTTP_PUT, "/api/v1/namespaces/n/pods/p", -405, ""},
        {HTTP_GET, "/api/v1/namespaces/n/pods/p/log", 5, "ns=n name=p "},
        {HTTP_GET, "/api/v1/namespaces/n/pods/p/status", 6, "ns=n resource=pods name=p "}, /* back from the literal branch */
        {HTTP_GET, "/api/v1/namespaces/n/pods/p/nothing", -404, ""},
        {HTTP_GET, "/api/v1/namespaces/n/services/http:ml:8888/proxy/a/b", 7, "ns=n name=http:ml:8888 rest=a/b "},
        {HTTP_GET, "/api/v1/namespaces/n/services/s/proxy/", 7, "ns=n name=s rest= "},
        {HTTP_GET, "/api/v1/namespaces/n/services/s/proxy", -404, ""},
        {HTTP_GET, "/api/v1/watch/pods", 8, "rest=pods "},
        {HTTP_GET, "/runs/7", 9, "id=7 "},
        {HTTP_GET, "/runs/7:archive", 9, "id=7:archive "}, /* the verb exists only for POST */
        {HTTP_POST, "/runs/7:archive", 10, "id=7 "},
        {HTTP_POST, "/runs/7:x:terminate", 11, "id=7:x "},
        {HTTP_POST, "/runs/special", 12, ""},
        {HTTP_GET, "/runs/special", 9, "id=special "},
        {HTTP_POST, "/runs/7:nothing", 13, "id=7:nothing "},
        {HTTP_POST, "/runs/:archive", 13, "id=:archive "},
        {HTTP_HEAD, "/heads", 14, ""},
        {HTTP_GET, "/heads", 15, ""},
        {HTTP_GET, "/a/b/c", 16, "x=b "},
        {HTTP_GET, "/a/b/d", 17, ""},
        {HTTP_GET, "/a/b/e", 18, "rest=b/e "},
        {HTTP_GET, "/a/", 18, "rest= "},
        {HTTP_GET, "/a", -404, ""},
        {HTTP_GET, "/files/x", -405, ""},
        {HTTP_PUT, "/files/x/", 19, "rest=x/ "},
        {HTTP_GET, "/trailing/", 20, ""},
        {HTTP_GET, "/trailing", -404, ""},
        {HTTP_OTHER, "/runs/7", -405, ""},
        {HTTP_GET, "", -404, ""},
        {HTTP_GET, "x", -404, ""},
    };
    struct route_table *t = route_table_new(routes, ARRAY_LEN(routes));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct route_match m;
        enum route_result r = route_match(t, cases[i].method, cases[i].path, &m);
        int found = r == ROUTE_FOUND ? (int)(m.route - routes) : r == ROUTE_NONE ? -404 : -405;
        BUF(params);
        buf_adds(&params, "");
        for (size_t j = 0; r == ROUTE_FOUND && j < m.n; j++)
            buf_addf(&params, "%s=%.*s ", m.params[j].name, (int)m.params[j].len, m.params[j].p);
        if (found != cases[i].found || strcmp(buf_str(&params), cases[i].params) != 0)
            fail_msg("%s %s: got %d \"%s\", want %d \"%s\"", http_method_name(cases[i].method), cases[i].path, found,
                     buf_str(&params), cases[i].found, cases[i].params);
    }
    struct route_match m;
    route_match(t, HTTP_PUT, "/runs/7:archive", &m);
    assert_int_equal(m.allowed, HTTP_GET | HTTP_POST);
    route_table_free(t);
}

static void test_hosts(void **state)
{
    char *extra[] = {(char *)"tidemill.example.org", NULL};
    const struct host_rules loop = {.address = "127.0.0.1", .loopback = true, .extra = extra}, any6 = {.address = "::"},
                            free_for_all = {.any = true};
    static const struct {
        const char *host;
        bool loop, any6;
    } cases[] = {
        {"127.0.0.1", true, false},
        {"127.0.0.1:8080", true, false},
        {"localhost:1", true, true},
        {"LOCALHOST", true, true},
        {"localhost.", true, true},
        {"[::1]:8080", true, false},
        {"127.1.2.3", true, false},
        {"tidemill.example.org:80", true, false},
        {"TideMill.Example.Org.", true, false},
        {"10.0.0.7:99", true, true},
        {"evil.example", false, false},
        {"", false, false},
        {":80", false, false},
        {"localhost.evil.example", false, false},
        {"127.0.0.1.evil.example", false, false},
        {"[::1", false, false},
        {"[::1]x", false, false},
        {"::1", false, false},
        {"10.0.0.8", false, false},
        {"0x7f.1", false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (host_allowed(&loop, cases[i].host, "10.0.0.7") != cases[i].loop ||
            host_allowed(&any6, cases[i].host, "10.0.0.7") != cases[i].any6)
            fail_msg("%s", cases[i].host);
        assert_true(host_allowed(&free_for_all, cases[i].host, NULL));
    }
    assert_false(host_allowed(&loop, NULL, NULL));
}

static void test_browser(void **state)
{
    static const struct {
        enum http_method method;
        const char *origin, *site, *upgrade;
        bool refused;
    } cases[] = {
        {HTTP_POST, NULL, NULL, NULL, false},
        {HTTP_POST, "http://localhost:8080", "same-origin", NULL, false},
        {HTTP_POST, "http://LOCALHOST:8080", NULL, NULL, false},
        {HTTP_POST, "http://localhost:8081", NULL, NULL, true},
        {HTTP_POST, "http://localhost", NULL, NULL, true},
        {HTTP_POST, "http://evil.example", NULL, NULL, true},
        {HTTP_POST, "null", NULL, NULL, true},
        {HTTP_POST, "", NULL, NULL, true},
        {HTTP_POST, NULL, "cross-site", NULL, true},
        {HTTP_POST, NULL, "Cross-Site", NULL, true},
        {HTTP_POST, NULL, "same-origin", NULL, false},
        {HTTP_POST, NULL, "none", NULL, false},
        {HTTP_DELETE, "http://evil.example", NULL, NULL, true},
        {HTTP_OTHER, "http://evil.example", NULL, NULL, true},
        {HTTP_GET, "http://evil.example", "cross-site", NULL, false},
        {HTTP_GET, "http://evil.example", NULL, "websocket", true},
        {HTTP_GET, NULL, "cross-site", "websocket", true},
        {HTTP_GET, "http://localhost:8080", NULL, "websocket", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_header h[4] = {{"host", "localhost:8080"}};
        struct http_req r = {.method = cases[i].method, .headers = h, .n_headers = 1};
        if (cases[i].origin)
            h[r.n_headers++] = (struct http_header){"origin", cases[i].origin};
        if (cases[i].site)
            h[r.n_headers++] = (struct http_header){"sec-fetch-site", cases[i].site};
        if (cases[i].upgrade)
            h[r.n_headers++] = (struct http_header){"upgrade", cases[i].upgrade};
        if ((browser_refuses(&r) != NULL) != cases[i].refused)
            fail_msg("case %zu", i);
    }
    struct http_header h[] = {{"host", "example.org"}, {"origin", "https://example.org:443"}};
    struct http_req r = {.method = HTTP_POST, .headers = h, .n_headers = 2};
    assert_null(browser_refuses(&r));
}

static void test_clean_paths(void **state)
{
    static const char *const cases[][2] = {
        {"/a//b///c/", "/a/b/c/"},
        {"//", "/"},
        {"a", "/a"},
        {"", "/"},
        {"/.a/..b/...", "/.a/..b/..."},
        {"/a%2Fb", "/a%2Fb"},
        {"/.", NULL},
        {"/..", NULL},
        {"/a/../b", NULL},
        {"/%2e", NULL},
        {"/.%2E/x", NULL},
        {"/%2e%2e", NULL},
        {"/%2e%2e%2e", "/%2e%2e%2e"},
        {"/%2f..", "/%2f.."},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ARENA(a);
        char *got = path_clean(&a, cases[i][0]);
        if (!str_eq(got, cases[i][1]))
            fail_msg("%s: got %s", cases[i][0], got ? got : "(refused)");
    }
}

static void test_urls(void **state)
{
    static const struct {
        const char *text, *host, *authority, *target, *socket;
        int port;
        bool tls;
    } good[] = {
        {"http://a.example", "a.example", "a.example", "/", NULL, 80, false},
        {"https://a.example:8443/x?y=1#frag", "a.example", "a.example:8443", "/x?y=1", NULL, 8443, true},
        {"http://[::1]:81?q", "::1", "[::1]:81", "/?q", NULL, 81, false},
        {"http://h:/", "h", "h:", "/", NULL, 80, false},
        {"unix:/run/x.sock:/v1/y?z", "localhost", "localhost", "/v1/y?z", "/run/x.sock", 0, false},
        {"unix:/run/x.sock", "localhost", "localhost", "/", "/run/x.sock", 0, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        ERR(e);
        URL(u);
        if (url_parse(good[i].text, &u, &e) < 0)
            fail_msg("%s", err_text(&e));
        if (!str_eq(u.host, good[i].host) || !str_eq(u.authority, good[i].authority) || !str_eq(u.target, good[i].target) ||
            !str_eq(u.socket, good[i].socket) || u.port != good[i].port || u.tls != good[i].tls)
            fail_msg("%s: %s %s %s %d", good[i].text, u.host, u.authority, u.target, u.port);
    }
    static const char *const bad[] = {
        "",           "ftp://x",     "http://",       "http://:80",   "http://x:0",           "http://x:99999", "http://x:a",
        "http://u@x", "http://[::1", "http://[::1]x", "http://x/a b", "http://x/\r\nEvil: 1", "x.example"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        ERR(e);
        URL(u);
        if (url_parse(bad[i], &u, &e) == 0)
            fail_msg("\"%s\" was accepted", bad[i]);
        assert_int_equal(e.code, ERR_BAD_REQUEST);
    }
}

static void count_release(void *n) { ++*(int *)n; }

static void test_queue(void **state)
{
    struct outq q = {0};
    int released = 0;
    BUF(want);
    for (int i = 0; i < 100; i++) {
        char text[64];
        int n = snprintf(text, sizeof text, "piece %d;", i);
        outq_add(&q, text, (size_t)n);
        buf_add(&want, text, (size_t)n);
        if (i % 10 == 0) {
            outq_add_shared(&q, "shared;", 7, count_release, &released);
            buf_adds(&want, "shared;");
        }
    }
    outq_add_shared(&q, "", 0, count_release, &released);
    assert_int_equal(released, 1);
    assert_int_equal(q.bytes, want.len);
    BUF(got);
    size_t step = 1;
    while (q.bytes) {
        struct iovec iov[3];
        int n = outq_peek(&q, iov, 3);
        size_t take = 0;
        for (int i = 0; i < n && take < step; i++) {
            size_t part = iov[i].iov_len < step - take ? iov[i].iov_len : step - take;
            buf_add(&got, iov[i].iov_base, part);
            take += part;
        }
        outq_consume(&q, take);
        step = step % 17 + 3;
    }
    assert_string_equal(got.data, want.data);
    assert_int_equal(released, 11);
    outq_add_shared(&q, "x", 1, count_release, &released);
    outq_clear(&q);
    assert_int_equal(released, 12);
}

static int no_head(void *self) { return 0; }
static int collect(void *self, const char *p, size_t n)
{
    buf_add(self, p, n);
    return 0;
}

/* The answer parser: bodies by length, in chunks, to the end of the connection; interim answers. */
static void test_answers(void **state)
{
    static const struct {
        const char *text, *body;
        bool done, at_eof;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", true, true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", "abc", false, false},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc", true, true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "abc", false, false},
        {"HTTP/1.1 200 OK\r\n\r\nabc", "abc", false, true},
        {"HTTP/1.1 204 No Content\r\n\r\n", "", true, true},
        {"HTTP/1.1 200 OK\r\nContent-", "", false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        static const struct h1_limits limits = {4096, 4096, 50};
        static const struct h1_ops ops = {no_head, collect};
        BUF(body);
        buf_adds(&body, "");
        struct h1 *h = h1_response_new(&limits, &ops, &body);
        size_t used;
        enum h1_result r = h1_feed(h, cases[i].text, strlen(cases[i].text), &used);
        if ((r == H1_DONE) != cases[i].done || h1_finish(h) != cases[i].at_eof || strcmp(buf_str(&body), cases[i].body) != 0)
            fail_msg("case %zu: result %d", i, r);
        h1_free(h);
    }
}

TEST_GROUP(route, cmocka_unit_test(test_table), cmocka_unit_test(test_hosts), cmocka_unit_test(test_browser),
           cmocka_unit_test(test_clean_paths), cmocka_unit_test(test_urls), cmocka_unit_test(test_queue),
           cmocka_unit_test(test_answers))
