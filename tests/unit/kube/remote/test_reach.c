/* test_reach.c - how a kubeconfig says that a server is reached: authorities, names, proxies, and certificates that are replaced
 * while it is used. */
#include "unit.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/thread.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "kube/remote/remote.h"
#include "net/server.h"

static char dir[64];
static struct http_server *server;
static int port;
static char *ca, *ca_key, *cert, *key, *other_ca, *other_key;

/* A ConfigMap that is named after the client's certificate. */
static int on_object(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    AUTOFREE char *text = xasprintf("{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"%s\"}}",
                                    req->peer->cert_cn ? req->peer->cert_cn : "nobody");
    http_body(res, "application/json", text, strlen(text));
    return 0;
}

static int everybody(void *self, struct ctx *ctx, struct http_req *req, struct err *err) { return 0; }
static void write_error(void *self, struct http_req *req, struct http_res *res, const struct err *e)
{
    http_text(res, err_http_status(e), "%s", err_text(e));
}
static const struct route routes[] = {{HTTP_GET, "/api/v1/namespaces/{ns}/configmaps/{name}", on_object, PERM_OPEN, 0}};
static const struct http_api api = {.name = "reach",
                                    .routes = routes,
                                    .n_routes = ARRAY_LEN(routes),
                                    .authenticate = everybody,
                                    .authorize = everybody,
                                    .write_error = write_error};

/* Its certificate is for "kube.example" alone. */
static int set_up(void **state)
{
    static const char *const names[] = {"kube.example", NULL}, *const any[] = {"*", NULL};
    ERR(e);
    strcpy(dir, "/tmp/tidemill-reach-XXXXXX");
    if (!mkdtemp(dir) || tls_make_ca("right", &ca, &ca_key, &e) < 0 || tls_make_ca("wrong", &other_ca, &other_key, &e) < 0 ||
        tls_make_cert(ca, ca_key, "server", NULL, names, false, &cert, &key, &e) < 0)
        return -1;
    server = http_server_new(NULL, &e);
    struct tls_server_config tls = {.cert_pem = cert, .key_pem = key, .client_ca_pem = ca};
    struct mount m = {.prefix = "/", .api = &api};
    struct listener_config lc = {.address = "127.0.0.1:0", .tls = &tls, .mounts = &m, .n_mounts = 1, .extra_hosts = any};
    return http_server_listen(server, &lc, &port, &e) < 0 || http_server_start(server, &e) < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    http_server_stop(server, 1000);
    char **all[] = {&ca, &ca_key, &cert, &key, &other_ca, &other_key};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        free(TAKE(*all[i]));
    return fs_rm_rf(dir, NULL);
}

static void put(const char *name, const char *text)
{
    ERR(e);
    AUTOFREE char *path = fs_join(dir, name);
    if (fs_write_atomic(path, text, strlen(text), 0600, &e) < 0)
        fail_msg("%s", err_text(&e));
}

/* Of a kubeconfig with these lines in its cluster and its user. */
static struct kube *open_kube(const char *cluster, const char *user, const struct clock *clock)
{
    AUTOFREE char *text = xasprintf("current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"
                                    "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:%d', %s}}]\n"
                                    "users: [{name: u, user: {%s}}]\n",
                                    port, cluster, user),
                  *path = fs_join(dir, "config");
    put("config", text);
    ERR(e);
    struct kube_access a;
    if (kube_access_load(path, NULL, &a, &e) < 0)
        fail_msg("%s", err_text(&e));
    struct kube *k = kube_remote_new(&(struct kube_remote_config){.access = &a, .clock = clock}, &e);
    if (!k)
        fail_msg("%s", err_text(&e));
    return k;
}

/* Who the server says we are; NULL with an error. Caller frees. */
static char *who(struct kube *k, struct err *e)
{
    struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, 30 * NS_PER_S);
    JSON_REF(d) = kube_get(k, &ctx, &KUBE_CONFIGMAPS, "n", "x", NULL, e);
    return d ? xstrdup(obj_name(json_root(d))) : NULL;
}

static void test_trust(void **state)
{
    static const struct {
        const char *cluster;
        const char *says; /* NULL: it is reached */
    } cases[] = {
        {"certificate-authority: ca, tls-server-name: kube.example", NULL},   /* relative to the file */
        {"certificate-authority: ca", "is not trusted: IP address mismatch"}, /* the certificate has another name */
        {"certificate-authority: ca, tls-server-name: else.example", "is not trusted: hostname mismatch"},
        {"certificate-authority: other, tls-server-name: kube.example", "not trusted"},
        {"tls-server-name: kube.example", "not trusted"}, /* the system's authorities do not know it */
        {"insecure-skip-tls-verify: true", NULL},
        {"insecure-skip-tls-verify: true, tls-server-name: else.example", NULL},
    };
    put("ca", ca);
    put("other", other_ca);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kube *k = open_kube(cases[i].cluster, "token: t", NULL);
        ERR(e);
        AUTOFREE char *got = who(k, &e);
        if (cases[i].says ? got || e.code != ERR_UNAVAILABLE || !strstr(err_text(&e), cases[i].says) : !got)
            fail_msg("%s: %d %s", cases[i].cluster, e.code, err_text(&e));
        kube_remote_free(k);
    }
}

static void put_client(const char *name)
{
    AUTOFREE char *pem = NULL, *pem_key = NULL;
    ERR(e);
    assert_int_equal(tls_make_cert(ca, ca_key, name, NULL, NULL, true, &pem, &pem_key, &e), 0);
    put("client.crt", pem);
    put("client.key", pem_key);
}

/* A certificate that is replaced is used within a minute, by the next call, on a connection of its own. */
static void test_certificate_is_replaced(void **state)
{
    struct clock_manual clock;
    clock_manual_init(&clock, clock_system.wall_ns(&clock_system));
    put("ca", ca);
    put_client("ann");
    struct kube *k = open_kube("certificate-authority: ca, tls-server-name: kube.example",
                               "client-certificate: client.crt, client-key: client.key", &clock.clock);
    ERR(e);
    AUTOFREE char *first = who(k, &e);
    assert_string_equal(first ? first : err_text(&e), "ann");
    put_client("bea");
    AUTOFREE char *still = who(k, &e);
    assert_string_equal(still ? still : err_text(&e), "ann");
    clock_manual_advance(&clock, 61 * NS_PER_S);
    AUTOFREE char *second = who(k, &e);
    assert_string_equal(second ? second : err_text(&e), "bea");
    kube_remote_free(k);
}

/* ---- proxies ---- */

struct proxy {
    int listener, port;
    pthread_t thread;
    char head[512];
};

static void carry(int a, int b)
{
    struct pollfd p[2] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
    char piece[16384];
    for (;;) {
        if (poll(p, 2, 10000) <= 0)
            return;
        for (int i = 0; i < 2; i++) {
            ssize_t n = p[i].revents ? read(p[i].fd, piece, sizeof piece) : 1;
            if (n <= 0 || (p[i].revents && write(p[!i].fd, piece, (size_t)n) != n))
                return;
        }
    }
}

/* One CONNECT, to the server of this test whatever is asked. */
static void *proxy_main(void *arg)
{
    struct proxy *p = arg;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int in = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC), out = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (in < 0)
        return NULL;
    size_t n = 0;
    while (n + 1 < sizeof p->head && !strstr(p->head, "\r\n\r\n") && read(in, p->head + n, 1) == 1)
        n++;
    static const char yes[] = "HTTP/1.1 200 OK\r\n\r\n";
    if (connect(out, (struct sockaddr *)&a, sizeof a) == 0 && write(in, yes, strlen(yes)) > 0)
        carry(in, out);
    close(in);
    close(out);
    return NULL;
}

static void proxy_start(struct proxy *p)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    *p = (struct proxy){.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_int_equal(bind(p->listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(p->listener, 4), 0);
    assert_int_equal(getsockname(p->listener, (struct sockaddr *)&a, &n), 0);
    p->port = ntohs(a.sin_port);
    p->thread = thread_start("proxy", proxy_main, p);
}

static void proxy_end(struct proxy *p)
{
    shutdown(p->listener, SHUT_RDWR);
    pthread_join(p->thread, NULL);
    close(p->listener);
}

static void test_proxy(void **state)
{
    put("ca", ca);
    struct proxy p;
    proxy_start(&p);
    AUTOFREE char *cluster =
        xasprintf("certificate-authority: ca, tls-server-name: kube.example, proxy-url: 'http://me:pass@127.0.0.1:%d'", p.port);
    struct kube *k = open_kube(cluster, "token: t", NULL);
    ERR(e);
    AUTOFREE char *got = who(k, &e);
    assert_string_equal(got ? got : err_text(&e), "nobody");
    kube_remote_free(k);
    proxy_end(&p);
    AUTOFREE char *want = xasprintf("CONNECT 127.0.0.1:%d HTTP/1.1\r\n", port);
    assert_true(str_starts(p.head, want));
    assert_non_null(strcasestr(p.head, "Proxy-Authorization: Basic bWU6cGFzcw=="));
    assert_null(strstr(p.head, "Bearer")); /* the token is for the server alone */
}

/* A proxy that is not there, or of a kind that is not known, is told as such and never gone around. */
static void test_proxy_away(void **state)
{
    put("ca", ca);
    struct proxy p;
    proxy_start(&p);
    proxy_end(&p);
    AUTOFREE char *cluster =
        xasprintf("certificate-authority: ca, tls-server-name: kube.example, proxy-url: 'socks5://127.0.0.1:%d'", p.port);
    struct kube *k = open_kube(cluster, "token: t", NULL);
    ERR(e);
    assert_null(who(k, &e));
    assert_int_equal(e.code, ERR_UNAVAILABLE);
    kube_remote_free(k);
    struct kube_access a = {.server = xstrdup("https://x"), .proxy_url = xstrdup("https://127.0.0.1:1")};
    err_clear(&e);
    assert_null(kube_remote_new(&(struct kube_remote_config){.access = &a}, &e));
    assert_non_null(strstr(err_text(&e), "proxies of scheme \"https\" are not known"));
}

#define CASE(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
TEST_GROUP(reach, CASE(test_trust), CASE(test_certificate_is_replaced), CASE(test_proxy), CASE(test_proxy_away))
