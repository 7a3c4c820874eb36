/* test_proxy.c - the client through HTTP CONNECT and SOCKS5 proxies, which are a thread and two sockets here. */
#include "kit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "base/str.h"
#include "net/client.h"
#include "net/proxy.h"

struct fake_proxy {
    int listener, port;
    const char *refuse; /* the answer instead of a tunnel */
    bool socks;
    struct buf asked; /* what the client said before the tunnel */
    pthread_t thread;
};

static void tunnel(int a, int b)
{
    struct pollfd p[2] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
    char chunk[4096];
    while (poll(p, 2, 5000) > 0)
        for (int i = 0; i < 2; i++) {
            ssize_t n = p[i].revents ? read(p[i].fd, chunk, sizeof chunk) : -2;
            if (n == 0 || n == -1)
                return;
            if (n > 0 && write(p[!i].fd, chunk, (size_t)n) != n)
                return;
        }
}

static void read_n(int fd, struct buf *out, size_t n)
{
    char c;
    while (n-- > 0 && read(fd, &c, 1) == 1)
        buf_addc(out, c);
}

/* Returns the port that is asked for. */
static int listen_to_socks(struct fake_proxy *p, int fd)
{
    read_n(fd, &p->asked, 4); /* 5, two ways, none and login */
    assert_int_equal(write(fd, "\5\2", 2), 2);
    read_n(fd, &p->asked, 2 + 3 + 1 + 4);
    assert_int_equal(write(fd, "\1\0", 2), 2);
    read_n(fd, &p->asked, 5);
    read_n(fd, &p->asked, (size_t)p->asked.data[p->asked.len - 1] + 2);
    const unsigned char *end = (unsigned char *)p->asked.data + p->asked.len;
    assert_int_equal(write(fd, "\5\0\0\3\4host\0\1", 11), 11);
    return end[-2] << 8 | end[-1];
}

static void *proxy_main(void *arg)
{
    struct fake_proxy *p = arg;
    int fd = accept(p->listener, NULL, NULL), port = 0;
    if (fd < 0)
        return NULL;
    if (p->socks) {
        port = listen_to_socks(p, fd);
    } else {
        while (!str_ends(buf_str(&p->asked), "\r\n\r\n"))
            read_n(fd, &p->asked, 1);
        port = atoi(strchr(p->asked.data, ':') + 1);
    }
    if (p->refuse) {
        assert_true(write(fd, p->refuse, strlen(p->refuse)) > 0);
    } else {
        int up = kit_connect(port);
        if (!p->socks)
            assert_true(write(fd, "HTTP/1.1 200 go on\r\nX: y\r\n\r\n", 28) == 28);
        tunnel(fd, up);
        close(up);
    }
    close(fd);
    return NULL;
}

static void proxy_start(struct fake_proxy *p)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof in;
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(p->listener, (struct sockaddr *)&in, n), 0);
    assert_int_equal(listen(p->listener, 4), 0);
    getsockname(p->listener, (struct sockaddr *)&in, &n);
    p->port = ntohs(in.sin_port);
    p->thread = thread_start("fake-proxy", proxy_main, p);
}

static void proxy_end(struct fake_proxy *p)
{
    shutdown(p->listener, SHUT_RDWR);
    pthread_join(p->thread, NULL);
    close(p->listener);
    buf_free(&p->asked);
}

static int get(const char *proxy, const char *url, struct http_answer *a, struct err *e)
{
    struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, 10 * NS_PER_S);
    struct http_client *c = http_client_new(&(struct http_client_config){.proxy = proxy}, e);
    if (!c)
        return -1;
    int rc = http_fetch(c, &ctx, &(struct http_call){.method = HTTP_GET, .url = url}, a, e);
    http_client_free(c);
    return rc;
}

static void test_connect(void **state)
{
    struct kit k;
    kit_start(&k, NULL);
    struct fake_proxy p = {0};
    proxy_start(&p);
    AUTOFREE char *proxy = xasprintf("http://me:p%%40ss@127.0.0.1:%d", p.port),
                  *url = xasprintf("http://127.0.0.1:%d/hello/x", k.port);
    struct http_answer a;
    ERR(e);
    if (get(proxy, url, &a, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_string_equal(buf_str(&a.body), "hello x");
    http_answer_free(&a);
    assert_has(p.asked.data, "CONNECT 127.0.0.1:");
    assert_has(p.asked.data, "Proxy-Authorization: Basic bWU6cEBzcw==\r\n"); /* me:p@ss */
    proxy_end(&p);
    kit_stop(&k);
}

static void test_socks(void **state)
{
    struct kit k;
    kit_start(&k, NULL);
    struct fake_proxy p = {.socks = true};
    proxy_start(&p);
    AUTOFREE char *proxy = xasprintf("socks5://abc:word@127.0.0.1:%d", p.port),
                  *url = xasprintf("http://localhost:%d/hello/x", k.port);
    struct http_answer a;
    ERR(e);
    if (get(proxy, url, &a, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_string_equal(buf_str(&a.body), "hello x");
    http_answer_free(&a);
    assert_memory_equal(p.asked.data, "\5\2\0\2\1\3abc\4word\5\1\0\3\11localhost", 4 + 1 + 4 + 5 + 5 + 9);
    proxy_end(&p);
    kit_stop(&k);
}

static void test_refused(void **state)
{
    struct fake_proxy p = {.refuse = "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"};
    proxy_start(&p);
    AUTOFREE char *proxy = xasprintf("http://127.0.0.1:%d", p.port);
    struct http_answer a;
    ERR(e);
    assert_int_equal(get(proxy, "https://example.invalid/", &a, &e), -1);
    assert_has(err_text(&e), "through the proxy 127.0.0.1:");
    assert_has(err_text(&e), "it refused: HTTP/1.1 407 Proxy Authentication Required");
    assert_has(p.asked.data, "CONNECT example.invalid:443 HTTP/1.1\r\n");
    proxy_end(&p);
}

static void test_parse(void **state)
{
    static const struct {
        const char *text, *host, *wrong;
        int port;
        bool socks;
    } t[] = {
        {"http://proxy", "proxy", NULL, 80, false},
        {"http://proxy:3128/", "proxy", NULL, 3128, false},
        {"http://u@[::1]:3128", "::1", NULL, 3128, false},
        {"socks5://proxy", "proxy", NULL, 1080, true},
        {"socks5h://[::1]", "::1", NULL, 1080, true},
        {"proxy:3128", NULL, "has no scheme", 0, false},
        {"https://proxy", NULL, "proxies of scheme \"https\" are not known", 0, false},
        {"http://%zz@proxy", NULL, "percent-encoded", 0, false},
        {"http://", NULL, "has no host", 0, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct proxy p;
        ERR(e);
        int rc = proxy_parse(t[i].text, &p, &e);
        if (t[i].wrong) {
            assert_int_equal(rc, -1);
            assert_has(err_text(&e), t[i].wrong);
            continue;
        }
        if (rc < 0)
            fail_msg("%s: %s", t[i].text, err_text(&e));
        assert_string_equal(p.at.host, t[i].host);
        assert_int_equal(p.at.port, t[i].port);
        assert_int_equal(p.socks, t[i].socks);
        proxy_free(&p);
    }
}

TEST_GROUP(proxy, cmocka_unit_test(test_connect), cmocka_unit_test(test_socks), cmocka_unit_test(test_refused),
           cmocka_unit_test(test_parse))
