/* test_client.c - the client and the server against each other: TLS both ways, certificates, unix sockets, kept connections,
 * deadlines. */
#include "kit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "net/address.h"
#include "net/client.h"

static struct http_answer fetch(struct http_client *c, enum http_method m, const char *url, const char *body, int status)
{
    ERR(e);
    struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, 10 * NS_PER_S);
    struct http_answer a;
    if (http_fetch(c, &ctx, &(struct http_call){.method = m, .url = url, .body = body, .body_len = body ? strlen(body) : 0}, &a,
                   &e) < 0)
        fail_msg("%s", err_text(&e));
    if (a.status != status)
        fail_msg("%s: %d, not %d: %s", url, a.status, status, buf_str(&a.body));
    return a;
}

static void expect(struct http_client *c, enum http_method m, const char *url, const char *body, int status, const char *text)
{
    struct http_answer a = fetch(c, m, url, body, status);
    if (strcmp(buf_str(&a.body), text) != 0)
        fail_msg("%s: \"%s\", not \"%s\"", url, buf_str(&a.body), text);
    http_answer_free(&a);
}

static void expect_failure(struct http_client *c, const char *url, enum err_code code, const char *part)
{
    ERR(e);
    struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, code == ERR_TIMEOUT ? 500 * NS_PER_MS : 60 * NS_PER_S);
    struct http_answer a;
    assert_int_equal(http_fetch(c, &ctx, &(struct http_call){.method = HTTP_GET, .url = url}, &a, &e), -1);
    if (e.code != code || !strstr(err_text(&e), part))
        fail_msg("%d %s", e.code, err_text(&e));
}

static void test_plain(void **state)
{
    struct kit k;
    kit_start(&k, NULL);
    ERR(e);
    struct http_client *c = http_client_new(NULL, &e);
    AUTOFREE char *base = xasprintf("http://127.0.0.1:%d", k.port);
    AUTOFREE char *hello = xasprintf("%s/hello/x", base), *echo = xasprintf("%s/echo", base), *none = xasprintf("%s/none", base);
    for (int i = 0; i < 5; i++)
        expect(c, HTTP_GET, hello, NULL, 200, "hello x");
    assert_int_equal(http_server_connections(k.server), 1); /* kept */
    expect(c, HTTP_POST, echo, "some body", 200, "some body");
    expect(c, HTTP_POST, echo, NULL, 200, "");
    expect(c, HTTP_HEAD, hello, NULL, 200, "");
    expect(c, HTTP_GET, none, NULL, 401, "error: show a token");
    struct http_answer a = fetch(c, HTTP_GET, hello, NULL, 200);
    assert_string_equal(http_answer_header(&a, "content-type"), "text/plain; charset=utf-8");
    assert_null(http_answer_header(&a, "nothing"));
    http_answer_free(&a);
    /* A large body both ways, from memory and from a file. */
    size_t n = 20 << 20;
    char *big = xmalloc(n);
    for (size_t i = 0; i < n; i++)
        big[i] = (char)(i * 2654435761U >> 13);
    AUTOFREE char *large = xasprintf("%s/echo/large", base);
    struct ctx ctx = ctx_background();
    if (http_fetch(c, &ctx, &(struct http_call){.method = HTTP_POST, .url = large, .body = big, .body_len = n}, &a, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_int_equal(a.body.len, n);
    assert_memory_equal(a.body.data, big, n);
    http_answer_free(&a);
    char path[] = "/tmp/tidemill-net-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, big, n), n);
    lseek(fd, 5, SEEK_SET);
    if (http_fetch(c, &ctx, &(struct http_call){.method = HTTP_POST, .url = large, .body_fd = fd, .body_len = n - 5}, &a, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_int_equal(a.body.len, n - 5);
    assert_memory_equal(a.body.data, big + 5, n - 5);
    http_answer_free(&a);
    /* Files as answers: whole, and a part. */
    AUTOFREE char *whole = xasprintf("%s/file?path=%s", base, path),
                  *part = xasprintf("%s/file?path=%s&from=300000&len=700000", base, path);
    a = fetch(c, HTTP_GET, whole, NULL, 200);
    assert_int_equal(a.body.len, n);
    assert_memory_equal(a.body.data, big, n);
    http_answer_free(&a);
    a = fetch(c, HTTP_GET, part, NULL, 200);
    assert_int_equal(a.body.len, 700000);
    assert_memory_equal(a.body.data, big + 300000, 700000);
    http_answer_free(&a);
    a = fetch(c, HTTP_HEAD, whole, NULL, 200);
    assert_string_equal(http_answer_header(&a, "content-length"), "20971520");
    http_answer_free(&a);
    /* Too large for the route: said before all of it was sent. */
    int rc = http_fetch(c, &ctx, &(struct http_call){.method = HTTP_POST, .url = echo, .body = big, .body_len = n}, &a, &e);
    if (rc < 0 || a.status != 413)
        fail_msg("%d %s", a.status, err_text(&e));
    assert_has(buf_str(&a.body), "the limit here is 1048576");
    http_answer_free(&a);
    close(fd);
    unlink(path);
    free(big);
    http_client_free(c);
    kit_stop(&k);
}

/* A kept connection that the server has closed meanwhile is replaced. */
static void test_restart_behind_the_client(void **state)
{
    struct kit k;
    kit_start(&k, NULL);
    ERR(e);
    struct http_client *c = http_client_new(NULL, &e);
    AUTOFREE char *url = xasprintf("http://localhost:%d/hello/x", k.port);
    AUTOFREE char *address = xasprintf("127.0.0.1:%d", k.port);
    expect(c, HTTP_GET, url, NULL, 200, "hello x");
    kit_stop(&k);
    kit_start_with(&k, NULL, &(struct listener_config){.address = address});
    expect(c, HTTP_GET, url, NULL, 200, "hello x");
    http_client_free(c);
    kit_stop(&k);
}

static void test_tls(void **state)
{
    ERR(e);
    AUTOFREE char *ca = NULL, *ca_key = NULL, *cert = NULL, *key = NULL, *client = NULL, *client_key = NULL, *ca2 = NULL,
                  *ca2_key = NULL;
    AUTOFREE char *stranger = NULL, *stranger_key = NULL, *bad1 = NULL, *bad2 = NULL;
    assert_int_equal(tls_make_ca("tidemill test", &ca, &ca_key, &e), 0);
    assert_int_equal(tls_make_ca("another", &ca2, &ca2_key, &e), 0);
    const char *names[] = {"127.0.0.1", "tide.example", "::1", NULL}, *orgs[] = {"system:masters", "b", NULL};
    if (tls_make_cert(ca, ca_key, "server", NULL, names, false, &cert, &key, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_int_equal(tls_make_cert(ca, ca_key, "joe", orgs, NULL, true, &client, &client_key, &e), 0);
    assert_int_equal(tls_make_cert(ca2, ca2_key, "eve", orgs, NULL, true, &stranger, &stranger_key, &e), 0);
    assert_int_equal(tls_make_cert(ca, ca2_key, "x", NULL, NULL, true, &bad1, &bad2, &e), -1);
    assert_int_equal(tls_make_ca("", &bad1, &bad2, &e), -1);

    struct kit k;
    struct tls_server_config tls = {.cert_pem = cert, .key_pem = key, .client_ca_pem = ca};
    kit_start_with(&k, NULL, &(struct listener_config){.tls = &tls});
    AUTOFREE char *who = xasprintf("https://127.0.0.1:%d/who", k.port), *by_name = xasprintf("https://localhost:%d/who", k.port);
    AUTOFREE char *large = xasprintf("https://127.0.0.1:%d/echo/large", k.port);

    struct http_client *c = http_client_new(&(struct http_client_config){.ca_pem = ca}, &e);
    expect(c, HTTP_GET, who, NULL, 200, "nobody tls=1 loopback=1 cn=- org=-");
    expect(c, HTTP_GET, who, NULL, 200, "nobody tls=1 loopback=1 cn=- org=-");
    assert_int_equal(http_server_connections(k.server), 1);
    expect_failure(c, by_name, ERR_UNAVAILABLE, "not trusted"); /* the certificate does not have that name */
    size_t n = 5 << 20;
    char *big = xcalloc(1, n);
    memset(big, 'y', n);
    struct ctx ctx = ctx_background();
    struct http_answer a;
    if (http_fetch(c, &ctx, &(struct http_call){.method = HTTP_POST, .url = large, .body = big, .body_len = n}, &a, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_int_equal(a.body.len, n);
    assert_memory_equal(a.body.data, big, n);
    http_answer_free(&a);
    AUTOFREE char *echo = xasprintf("https://127.0.0.1:%d/echo", k.port);
    if (http_fetch(c, &ctx, &(struct http_call){.method = HTTP_POST, .url = echo, .body = big, .body_len = n}, &a, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_int_equal(a.status, 413); /* refused early, and still read by a client that sends everything first */
    http_answer_free(&a);
    free(big);
    http_client_free(c);

    c = http_client_new(
        &(struct http_client_config){
            .ca_pem = ca, .server_name = "tide.example", .client_cert_pem = client, .client_key_pem = client_key},
        &e);
    expect(c, HTTP_GET, by_name, NULL, 200, "nobody tls=1 loopback=1 cn=joe org=system:masters");
    http_client_free(c);
    c = http_client_new(&(struct http_client_config){.ca_pem = ca, .client_cert_pem = stranger, .client_key_pem = stranger_key},
                        &e);
    expect_failure(c, who, ERR_IO, ""); /* TLS 1.3: refused after the client thought that it was done */
    http_client_free(c);
    c = http_client_new(&(struct http_client_config){.ca_pem = ca2}, &e);
    expect_failure(c, who, ERR_UNAVAILABLE, "not trusted");
    http_client_free(c);
    c = http_client_new(&(struct http_client_config){.insecure = true}, &e);
    expect(c, HTTP_GET, by_name, NULL, 200, "nobody tls=1 loopback=1 cn=- org=-");
    http_client_free(c);
    /* The system's authorities: those of the moment of the first call. */
    char system[] = "/tmp/tidemill-ca-XXXXXX";
    close(mkstemp(system));
    assert_int_equal(fs_write_atomic(system, ca, strlen(ca), 0600, &e), 0);
    c = http_client_new(NULL, &e);
    setenv("SSL_CERT_FILE", system, 1);
    expect(c, HTTP_GET, who, NULL, 200, "nobody tls=1 loopback=1 cn=- org=-");
    expect_failure(c, by_name, ERR_UNAVAILABLE, "not trusted");
    unsetenv("SSL_CERT_FILE");
    http_client_free(c);
    c = http_client_new(NULL, &e);
    expect_failure(c, who, ERR_UNAVAILABLE, "not trusted");
    http_client_free(c);
    unlink(system);
    AUTOFREE char *plain = kit_get(k.port, "/who");
    assert_status(plain, 400);
    assert_has(plain, "HTTPS");
    assert_null(http_client_new(&(struct http_client_config){.ca_pem = "rubbish"}, &e));
    kit_stop(&k);

    struct http_server *s = http_server_new(NULL, &e);
    struct tls_server_config wrong = {.cert_pem = cert, .key_pem = client_key};
    static const struct mount m = {"/", false, &kit_api};
    assert_int_equal(
        http_server_listen(s, &(struct listener_config){.address = "127.0.0.1:0", .tls = &wrong, .mounts = &m, .n_mounts = 1},
                           NULL, &e),
        -1);
    http_server_stop(s, 0);
}

static void test_unix(void **state)
{
    char dir[] = "/tmp/tidemill-net-XXXXXX";
    assert_non_null(mkdtemp(dir));
    AUTOFREE char *path = xasprintf("%s/s", dir), *address = xasprintf("unix:%s", path),
                  *url = xasprintf("unix:%s:/hello/sock", path);
    struct kit k;
    kit_start_with(&k, NULL, &(struct listener_config){.address = address});
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    ERR(e);
    struct http_client *c = http_client_new(NULL, &e);
    expect(c, HTTP_GET, url, NULL, 200, "hello sock");
    struct http_server *second = http_server_new(NULL, &e);
    static const struct mount m = {"/", false, &kit_api};
    assert_int_equal(
        http_server_listen(second, &(struct listener_config){.address = address, .mounts = &m, .n_mounts = 1}, NULL, &e), -1);
    assert_int_equal(e.code, ERR_CONFLICT);
    http_server_stop(second, 0);
    expect(c, HTTP_GET, url, NULL, 200, "hello sock");
    kit_stop(&k);
    assert_int_equal(access(path, F_OK), -1);
    expect_failure(c, url, ERR_UNAVAILABLE, "connecting");
    http_client_free(c);
    rmdir(dir);
}

/* ---- a server that misbehaves: it sends what it is told to each connection, one after another ---- */

struct bad_server {
    int fd, port, n;
    const char *const *answers; /* NULL-terminated; each connection gets the next, then is closed */
    pthread_t thread;
};

static void *bad_main(void *arg)
{
    struct bad_server *b = arg;
    for (int i = 0; b->answers[i]; i++) {
        int fd = accept(b->fd, NULL, NULL);
        if (fd < 0)
            break;
        char chunk[4096];
        (void)!recv(fd, chunk, sizeof chunk, 0);
        b->n++;
        kit_send(fd, b->answers[i]);
        while (strstr(b->answers[i], "X-Hold") && recv(fd, chunk, sizeof chunk, 0) > 0)
            ; /* until the client has had enough */
        close(fd);
    }
    return NULL;
}

static void bad_start(struct bad_server *b, const char *const *answers)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    *b = (struct bad_server){.fd = socket(AF_INET, SOCK_STREAM, 0), .answers = answers};
    assert_int_equal(bind(b->fd, (struct sockaddr *)&a, sizeof a), 0);
    getsockname(b->fd, (struct sockaddr *)&a, &len);
    listen(b->fd, 10);
    b->port = ntohs(a.sin_port);
    b->thread = thread_start("bad-server", bad_main, b);
}

static void bad_stop(struct bad_server *b)
{
    pthread_join(b->thread, NULL);
    close(b->fd);
}

static void test_bad_servers(void **state)
{
    static const char *const answers[] = {
        "rubbish\r\n\r\n",
        "",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\n\r\nto the end",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: "
        "4\r\n\r\nreal",
        "HTTP/1.1 200 OK\r\nX-Hold: 1\r\nContent-Length: 4\r\n\r\n",
        NULL,
    };
    struct bad_server b;
    bad_start(&b, answers);
    ERR(e);
    struct http_client *c = http_client_new(NULL, &e);
    AUTOFREE char *url = xasprintf("http://127.0.0.1:%d/x", b.port);
    expect_failure(c, url, ERR_IO, "not HTTP");
    expect_failure(c, url, ERR_UNAVAILABLE, "without an answer");
    expect_failure(c, url, ERR_UNAVAILABLE, "in the middle");
    expect_failure(c, url, ERR_UNAVAILABLE, "in the middle");
    expect(c, HTTP_GET, url, NULL, 200, "to the end");
    expect(c, HTTP_GET, url, NULL, 200, "real");
    expect_failure(c, url, ERR_TIMEOUT, "");
    http_client_free(c);
    bad_stop(&b);
}

static void *raise_later(void *arg)
{
    usleep(100 * 1000);
    cancel_raise(arg);
    return NULL;
}

static void test_cancel_and_pieces(void **state)
{
    struct kit k;
    kit_start(&k, NULL);
    ERR(e);
    struct http_client *c = http_client_new(NULL, &e);
    AUTOFREE char *waits = xasprintf("http://127.0.0.1:%d/waits", k.port),
                  *hello = xasprintf("http://127.0.0.1:%d/hello/pieces", k.port);
    for (int with_fd = 0; with_fd < 2; with_fd++) {
        struct cancel cancel = {.fd = -1};
        if (with_fd)
            assert_int_equal(cancel_init(&cancel, &e), 0);
        struct ctx ctx = ctx_background();
        ctx.cancel = &cancel;
        pthread_t t = thread_start("raise", raise_later, &cancel);
        struct http_answer a;
        int64_t start = kit_now_ms();
        err_clear(&e);
        assert_int_equal(http_fetch(c, &ctx, &(struct http_call){.method = HTTP_GET, .url = waits}, &a, &e), -1);
        assert_int_equal(e.code, ERR_CANCELLED);
        assert_true(kit_now_ms() - start < 2000);
        pthread_join(t, NULL);
        if (with_fd)
            cancel_close(&cancel);
    }
    struct ctx ctx = ctx_background();
    struct http_answer head;
    struct http_body *b = http_open(c, &ctx, &(struct http_call){.method = HTTP_GET, .url = hello}, &head, &e);
    assert_non_null(b);
    assert_int_equal(head.status, 200);
    char p[4];
    BUF(all);
    ssize_t n;
    while ((n = http_body_read(b, &ctx, p, sizeof p, &e)) > 0)
        buf_add(&all, p, (size_t)n);
    assert_int_equal(n, 0);
    assert_string_equal(all.data, "hello pieces");
    http_body_close(b);
    http_answer_free(&head);
    http_client_free(c);
    http_server_stop(k.server, 100); /* the waiting handlers are cancelled */
}

static void test_peer_uid(void **state)
{
    int l = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    assert_int_equal(bind(l, (struct sockaddr *)&a, sizeof a), 0);
    getsockname(l, (struct sockaddr *)&a, &len);
    listen(l, 1);
    int c = kit_connect(ntohs(a.sin_port)), s = accept(l, NULL, NULL);
    struct http_peer p = {.loopback = true};
    len = sizeof p.remote;
    getpeername(s, (struct sockaddr *)&p.remote, &len);
    len = sizeof p.local;
    getsockname(s, (struct sockaddr *)&p.local, &len);
    ERR(e);
    unsigned uid = 12345;
    if (peer_uid(&p, &uid, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_int_equal(uid, getuid());
    close(c);
    assert_int_equal(peer_uid(&p, &uid, &e), -1);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    p.loopback = false;
    assert_int_equal(peer_uid(&p, &uid, &e), -1);
    close(s);
    close(l);
}

static void test_near(void **state)
{
    static const char *const near[] = {"127.0.0.1",
                                       "127.255.0.1",
                                       "0.0.0.0",
                                       "0.1.2.3",
                                       "169.254.169.254",
                                       "169.254.0.1",
                                       "168.63.129.16",
                                       "100.100.100.200",
                                       "localhost",
                                       "LOCALHOST",
                                       "::1",
                                       "[::1]",
                                       "::",
                                       "::ffff:127.0.0.1",
                                       "::127.0.0.1",
                                       "fe80::1",
                                       "febf::1",
                                       "64:ff9b::7f00:1",
                                       "2002:7f00:1::",
                                       "fd00:ec2::254",
                                       "fd20:ce::254"};
    static const char *const far[] = {
        "10.0.0.1",    "192.168.1.1",           "8.8.8.8", "128.0.0.1", "169.253.1.1", "2001:db8::1", "fd00::1",
        "example.com", "localhost.example.com", "127.1",   "",          "[",           "[]"};
    for (size_t i = 0; i < ARRAY_LEN(near); i++)
        if (!host_is_near(near[i]))
            fail_msg("%s", near[i]);
    for (size_t i = 0; i < ARRAY_LEN(far); i++)
        if (host_is_near(far[i]))
            fail_msg("%s", far[i]);
}

/* By what a name leads to, not by how it is written. */
static void test_outside(void **state)
{
    struct kit k;
    kit_start(&k, NULL);
    ERR(e);
    struct http_client *c = http_client_new(&(struct http_client_config){.outside = true, .insecure = true}, &e);
    static const char *const hosts[] = {"127.0.0.1", "127.1", "2130706433", "0x7f.1", "localhost", "0", "[::ffff:127.0.0.1]"};
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        AUTOFREE char *url = xasprintf("http://%s:%d/hello/x", hosts[i], k.port),
                      *tls = xasprintf("https://%s:%d/hello/x", hosts[i], k.port);
        expect_failure(c, url, ERR_FORBIDDEN, "leads to this machine");
        expect_failure(c, tls, ERR_FORBIDDEN, "leads to this machine");
    }
    expect_failure(c, "unix:/run/any.sock:/", ERR_FORBIDDEN, "sockets of this machine");
    assert_int_equal(http_server_connections(k.server), 0);
    http_client_free(c);
    kit_stop(&k);
}

static void test_peer_source(void **state)
{
    static const struct {
        int family;
        const char *address, *source;
    } cases[] = {{AF_INET, "10.1.2.3", "10.1.2.3"},
                 {AF_INET6, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"},
                 {AF_INET6, "::ffff:10.1.2.3", "10.1.2.3"},
                 {AF_UNIX, NULL, "unix"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_peer p = {.remote.ss_family = (sa_family_t)cases[i].family};
        char text[PEER_SOURCE_TEXT];
        if (cases[i].family == AF_INET)
            inet_pton(AF_INET, cases[i].address, &((struct sockaddr_in *)&p.remote)->sin_addr);
        else if (cases[i].family == AF_INET6)
            inet_pton(AF_INET6, cases[i].address, &((struct sockaddr_in6 *)&p.remote)->sin6_addr);
        assert_string_equal(peer_source(&p, text), cases[i].source);
    }
}

TEST_GROUP(client, cmocka_unit_test(test_peer_source), cmocka_unit_test(test_near), cmocka_unit_test(test_outside),
           cmocka_unit_test(test_plain), cmocka_unit_test(test_restart_behind_the_client), cmocka_unit_test(test_tls),
           cmocka_unit_test(test_unix), cmocka_unit_test(test_bad_servers), cmocka_unit_test(test_cancel_and_pieces),
           cmocka_unit_test(test_peer_uid))
