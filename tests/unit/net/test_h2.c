/* test_h2.c - requests on HTTP/2: what the same handlers answer, many at once, bodies both ways. */
#include "h2kit.h"

#include <unistd.h>

static void test_answers(void **state)
{
    static const struct {
        const char *method, *path, *extra, *body, *status;
        const char *parts[3];
    } cases[] = {
        {"GET", "/hello/w%6frld", NULL, NULL, "200", {"\nx-kit: two\n", "x-kit: three  X-Evil: yes\n", "\nhello world"}},
        {"GET",
         "/hello/x",
         NULL,
         NULL,
         "200",
         {"audit-id: ", "content-length: 7\n", "content-type: text/plain; charset=utf-8\n"}},
        {"HEAD", "/hello/x", NULL, NULL, "200", {"content-length: 7\n", "\n\n"}},
        {"POST", "/echo", NULL, "some body", "200", {"\nsome body"}},
        {"PUT", "/echo", NULL, NULL, "200", {"content-length: 0\n"}},
        {"GET", "/empty", NULL, NULL, "204", {"audit-id: "}},
        {"GET", "/fails", NULL, NULL, "409", {"retry-after: 7\n", "error: somebody was here before"}},
        {"GET", "/query?a=1&a=2&flag", NULL, NULL, "200", {"a=1;a=2;flag=; n(a)=2 a[1]=2 flag=1"}},
        {"GET", "/who", "authorization: Bearer joe\n", NULL, "200", {"joe tls=0 loopback=1"}},
        {"GET", "/secret", NULL, NULL, "401", {"show a token"}},
        {"GET", "/secret", "authorization: Bearer joe\n", NULL, "403", {"joe may not get secrets"}},
        {"GET", "/none", "authorization: Bearer joe\n", NULL, "404", {"there is nothing at /none"}},
        {"BREW", "/echo", "authorization: Bearer joe\n", NULL, "405", {"BREW is not possible at /echo", "allow: POST, PUT\n"}},
        {"GET", "/pipeline/hello/x", NULL, NULL, "200", {"hello x"}},
        {"GET", "/other?path=/hello/x", NULL, NULL, "200", {"hello x"}},
        {"GET", "/hello/../x", NULL, NULL, "400", {"segment"}},
        {"GET", "/hello/%zz", NULL, NULL, "400", {"percent-encoded"}},
        {"GET", "/who", ":authority: evil.example\n", NULL, "421", {"nosniff"}},
        {"POST", "/echo", "origin: https://evil.example\n", "x", "403", {"another site"}},
        {"POST", "/echo", "sec-fetch-site: cross-site\n", "x", "403", {"cross-site"}},
        {"POST", "/echo", "expect: wonders\n", "x", "417", {"100-continue"}},
        {"POST", "/json", NULL, "{\"a\": 1}", "201", {"{\"a\":1}"}},
    };
    struct kit k;
    kit_start_with(&k, NULL, &(struct listener_config){.check_browser = true});
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *a = peer_talk(k.port, cases[i].method, cases[i].path, cases[i].extra, cases[i].body);
        if (strncmp(a, cases[i].status, 3) != 0)
            fail_msg("case %zu, %s %s, not %s:\n%s", i, cases[i].method, cases[i].path, cases[i].status, a);
        for (int j = 0; j < 3 && cases[i].parts[j]; j++)
            assert_has(a, cases[i].parts[j]);
    }
    kit_stop(&k);
}

static void test_many_at_once(void **state)
{
    struct kit k;
    kit_start(&k, NULL);
    struct peer *p = peer_open(k.port);
    struct peer_stream *slow = peer_get(p, "/slow"), *fast = peer_get(p, "/hello/fast");
    peer_until(p, fast, NULL);
    assert_false(slow->closed);
    for (int i = 0; i < 500; i++)
        peer_get(p, i % 2 ? "/hello/x" : "/query?a=1"); /* more than may be open at once: the rest wait */
    peer_until(p, slow, NULL);
    for (size_t i = 0; i < p->n; i++) {
        peer_until(p, &p->streams[i], NULL);
        assert_int_equal(p->streams[i].status, 200);
    }
    assert_int_equal(http_server_connections(k.server), 1);
    /* One that nobody waits for any more: its handler hears of it. */
    struct peer_stream *waits = peer_get(p, "/waits");
    peer_run(p, 50);
    nghttp2_submit_rst_stream(p->session, 0, waits->id, NGHTTP2_CANCEL);
    peer_flush(p);
    int64_t t = kit_now_ms();
    peer_close(p);
    kit_stop(&k);
    assert_true(kit_now_ms() - t < 2000);
}

static void test_bodies(void **state)
{
    struct kit k;
    kit_start(&k, NULL);
    size_t n = 20 << 20;
    AUTOFREE char *big = xmalloc(n);
    size_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        big[i] = (char)(i * 2654435761U >> 13);
        sum = sum * 31 + (unsigned char)big[i];
    }
    struct peer *p = peer_open(k.port);
    struct peer_stream *large = peer_ask(p, "POST", "/echo/large", NULL, big, n),
                       *up = peer_ask(p, "PUT", "/upload", NULL, big, n);
    peer_until(p, large, NULL);
    assert_int_equal(large->body.len, n);
    assert_memory_equal(large->body.data, big, n);
    peer_until(p, up, NULL);
    AUTOFREE char *want = xasprintf("%zu bytes, sum %zu, body_len 0", n, sum);
    assert_string_equal(buf_str(&up->body), want);
    /* Files: whole, a part, and the length alone. */
    char path[] = "/tmp/tidemill-net-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, big, n), n);
    close(fd);
    AUTOFREE char *whole = xasprintf("/file?path=%s", path), *part = xasprintf("/file?path=%s&from=300000&len=700000", path);
    struct peer_stream *a = peer_get(p, whole), *b = peer_get(p, part), *h = peer_ask(p, "HEAD", whole, NULL, NULL, 0);
    peer_until(p, a, NULL);
    peer_until(p, b, NULL);
    peer_until(p, h, NULL);
    assert_int_equal(a->body.len, n);
    assert_memory_equal(a->body.data, big, n);
    assert_int_equal(b->body.len, 700000);
    assert_memory_equal(b->body.data, big + 300000, 700000);
    assert_has(h->head.data, "content-length: 20971520\n");
    unlink(path);
    /* Too large: told, and found out. The connection goes on, and the rest is not wanted. */
    struct peer_stream *told = peer_ask(p, "POST", "/echo", "content-length: 20971520\n", big, n);
    peer_until(p, told, NULL);
    assert_int_equal(told->status, 413);
    assert_int_equal(told->code, NGHTTP2_NO_ERROR);
    struct peer_stream *found = peer_ask(p, "POST", "/echo", NULL, big, n);
    peer_until(p, found, NULL);
    assert_int_equal(found->status, 413);
    assert_has(found->body.data, "error: the request body has more than 1048576 bytes");
    struct peer_stream *stops = peer_ask(p, "PUT", "/upload?stop=100", NULL, big, n);
    peer_until(p, stops, NULL);
    assert_int_equal(stops->status, 200);
    struct peer_stream *rests = peer_ask_open(p, "PUT", "/upload?stop=3", NULL, "abc", 3); /* and does not go on */
    peer_until(p, rests, NULL);
    assert_int_equal(rests->status, 200);
    assert_int_equal(rests->code, NGHTTP2_NO_ERROR);
    struct peer_stream *hello = peer_get(p, "/hello/x");
    peer_until(p, hello, NULL);
    assert_int_equal(hello->status, 200);
    peer_close(p);
    kit_stop(&k);
}

static void test_uploads(void **state)
{
    struct kit k;
    kit_start(&k, &(struct server_limits){.body_idle_timeout_ms = 3000}); /* longer than this thread is kept from sending */
    struct peer *p = peer_open(k.port);
    /* One that is read slowly is held up by its own window; others of the connection are not. */
    size_t n = 4 << 20;
    AUTOFREE char *big = xcalloc(1, n);
    struct peer_stream *slow = peer_ask(p, "PUT", "/upload?slow=10", NULL, big, n);
    peer_run(p, 150);
    assert_true(slow->sent < 1 << 20);
    struct peer_stream *fast = peer_ask(p, "PUT", "/upload", NULL, big, n);
    peer_until(p, fast, NULL);
    assert_int_equal(fast->status, 200);
    assert_false(slow->closed);
    peer_until(p, slow, NULL);
    assert_int_equal(slow->status, 200);
    /* Told to go on by the first read, or refused before. */
    struct peer_stream *go = peer_ask_open(p, "PUT", "/upload", "expect: 100-continue\ncontent-length: 3\n", NULL, 0),
                       *no = peer_ask_open(p, "PUT", "/upload?refuse", "expect: 100-continue\ncontent-length: 3\n", NULL, 0);
    peer_run(p, 100);
    assert_true(go->interim && !go->status && !no->interim);
    peer_send_more(p, go, "abc", 3, true);
    peer_until(p, go, NULL);
    assert_has(go->body.data, "3 bytes");
    peer_until(p, no, NULL);
    assert_int_equal(no->status, 403);
    /* Stalls, and goes away. */
    struct peer_stream *stalls = peer_ask_open(p, "PUT", "/upload", NULL, "abc", 3),
                       *plain = peer_ask_open(p, "POST", "/echo", NULL, "abc", 3);
    peer_until(p, stalls, NULL);
    peer_until(p, plain, NULL);
    assert_int_equal(stalls->status, 408);
    assert_int_equal(plain->status, 408);
    int before = atomic_load(&kit_uploads), begun = atomic_load(&kit_begun);
    struct peer_stream *gone = peer_ask_open(p, "PUT", "/upload", NULL, "abc", 3);
    peer_run(p, 30);
    kit_wait(&kit_begun, begun + 1);
    nghttp2_submit_rst_stream(p->session, 0, gone->id, NGHTTP2_CANCEL);
    peer_run(p, 10);
    kit_wait(&kit_uploads, before + 1);
    assert_int_equal(atomic_load(&kit_uploads), before + 1);
    assert_false(p->gone);
    peer_close(p);
    kit_stop(&k);
}

/* The preface may come in pieces, and what begins like it may be something else. */
static void test_preface(void **state)
{
    struct kit k;
    kit_start(&k, &(struct server_limits){.header_timeout_ms = 2000, .idle_timeout_ms = 2000});
    int fd = kit_connect(k.port);
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for (size_t i = 0; i < sizeof preface - 1; i++)
        kit_send_n(fd, preface + i, 1);
    kit_send_n(fd, "\0\0\0\4\0\0\0\0\0", 9);
    char c[9];
    assert_int_equal(recv(fd, c, 9, MSG_WAITALL), 9);
    assert_int_equal(c[3], 4); /* SETTINGS */
    close(fd);
    static const char *const others[] = {"PUT /echo HTTP/1.1\r\n", "POST /echo HTTP/1.1\r\n", "PRINT /echo HTTP/1.1\r\n"};
    static const char *const statuses[] = {"200", "200", "401"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        fd = kit_connect(k.port);
        BUF(b);
        kit_send_n(fd, others[i], 1);
        usleep(5000);
        kit_send_n(fd, others[i] + 1, 1);
        usleep(5000);
        kit_send(fd, others[i] + 2);
        kit_send(fd, "Host: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
        kit_read_all(fd, &b);
        assert_memory_equal(b.data + 9, statuses[i], 3);
        close(fd);
    }
    /* Half a preface, and nothing more; the whole, and then rubbish. */
    fd = kit_connect(k.port);
    kit_send(fd, "PRI * HT");
    BUF(b);
    kit_read_all(fd, &b);
    assert_int_equal(b.len, 0);
    close(fd);
    fd = kit_connect(k.port);
    kit_send(fd, preface);
    kit_send(fd, "this is not a frame at all, it is far too long to be one");
    kit_read_all(fd, &b);
    assert_true(b.len > 9);
    close(fd);
    kit_stop(&k);
}

TEST_GROUP(h2, cmocka_unit_test(test_answers), cmocka_unit_test(test_many_at_once), cmocka_unit_test(test_bodies),
           cmocka_unit_test(test_uploads), cmocka_unit_test(test_preface))
