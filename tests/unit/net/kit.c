#include "kit.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

int64_t kit_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- the API ---- */

atomic_int kit_uploads, kit_begun, kit_slow_most;
static atomic_int slow_now;
enum { PATIENCE_MS = 60000 };

static int echo(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    http_body(res, "application/octet-stream", req->body, req->body_len);
    return 0;
}

static int hello(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    http_text(res, 200, "hello %s", http_param(req, "name"));
    http_set_header(res, "X-Kit", "one");
    http_set_header(res, "x-kit", "two");
    http_add_header(res, "X-Kit", "three\r\nX-Evil: yes");
    return 0;
}

/* Reads the body itself. ?stop=N: leaves the rest after N bytes; ?slow=MS: waits between reads; ?refuse: before the first. */
static int upload(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    atomic_fetch_add(&kit_begun, 1);
    if (http_query(req, "refuse"))
        return err_set(err, ERR_FORBIDDEN, "not from you");
    const char *stop = http_query(req, "stop"), *slow = http_query(req, "slow");
    char chunk[20000];
    size_t total = 0, sum = 0;
    ssize_t n;
    while ((n = http_req_read(req, ctx, chunk, sizeof chunk, err)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            sum = sum * 31 + (unsigned char)chunk[i];
        total += (size_t)n;
        if (stop && total >= (size_t)atoll(stop))
            break;
        if (slow)
            usleep((useconds_t)atoi(slow) * 1000);
    }
    atomic_fetch_add(&kit_uploads, 1);
    if (n < 0)
        return -1;
    http_text(res, 200, "%zu bytes, sum %zu, body_len %zu", total, sum, req->body_len);
    return 0;
}

static int verb(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    http_text(res, 200, "archive %s", http_param(req, "id"));
    return 0;
}

static int rest(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    http_text(res, 200, "rest=%s", http_param(req, "rest"));
    return 0;
}

static int fails(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    err_set(err, ERR_CONFLICT, "somebody was here before");
    err->retry_after_s = 7;
    return -1;
}

static int query(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    const char *k, *v;
    BUF(b);
    for (size_t i = 0; http_query_at(req, i, &k, &v); i++)
        buf_addf(&b, "%s=%s;", k, v);
    http_text(res, 200, "%s n(a)=%zu a[1]=%s flag=%d", buf_str(&b), http_query_count(req, "a"),
              http_query_nth(req, "a", 1) ? http_query_nth(req, "a", 1) : "(none)", http_query_bool(req, "flag"));
    return 0;
}

static int json(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    JSON_REF(d) = json_parse(req->body, req->body_len, NULL, err);
    if (!d)
        return -1;
    http_status(res, 201);
    http_body_json(res, json_root(d));
    return 0;
}

static int who(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    http_text(res, 200, "%s tls=%d loopback=%d cn=%s org=%s", ctx->who ? ctx->who->user : "nobody", req->peer->tls,
              req->peer->loopback, req->peer->cert_cn ? req->peer->cert_cn : "-",
              req->peer->cert_cn && req->peer->cert_orgs[0] ? req->peer->cert_orgs[0] : "-");
    return 0;
}

static int empty(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    http_status(res, 204);
    return 0;
}

static int slow(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    atomic_fetch_add(&kit_begun, 1);
    int n = atomic_fetch_add(&slow_now, 1) + 1;
    if (n > atomic_load(&kit_slow_most))
        atomic_store(&kit_slow_most, n);
    usleep(200 * 1000);
    atomic_fetch_sub(&slow_now, 1);
    http_text(res, 200, "slow");
    return 0;
}

static int waits(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct pollfd p = {.fd = ctx->cancel->fd, .events = POLLIN};
    atomic_fetch_add(&kit_begun, 1);
    poll(&p, 1, PATIENCE_MS);
    return ctx_check(ctx, err);
}

static int file(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    const char *path = http_query(req, "path"), *from = http_query(req, "from"), *len = http_query(req, "len");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "opening %s", path);
    http_body_file(res, "application/octet-stream", fd, from ? atoll(from) : 0, len ? atoll(len) : -1);
    return 0;
}

static int other(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    http_dispatch(&kit_api, ctx, req, res, http_query(req, "path"), true);
    return 0;
}

static int secret(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    http_text(res, 200, "secret for %s", ctx->who->user);
    return 0;
}

static int authenticate(void *self, struct ctx *ctx, struct http_req *req, struct err *err)
{
    const char *a = http_header_get(req, "authorization");
    if (!a || !str_starts(a, "Bearer "))
        return err_set(err, ERR_UNAUTHENTICATED, "show a token");
    struct identity *id = http_alloc(req, sizeof *id);
    id->user = http_strdup(req, a + 7);
    id->uid = "";
    static const char *const none[] = {NULL};
    id->groups = none;
    ctx->who = id;
    return 0;
}

static int authorize(void *self, struct ctx *ctx, struct http_req *req, struct err *err)
{
    if (str_eq(ctx->who ? ctx->who->user : "admin", "admin"))
        return 0;
    return err_set(err, ERR_FORBIDDEN, "%s may not %s %s", ctx->who->user, req->route->perm.verb, req->route->perm.resource);
}

static void write_error(void *self, struct http_req *req, struct http_res *res, const struct err *e)
{
    http_text(res, err_http_status(e), "error: %s", err_text(e));
}

/* An answer of half a MiB, out of memory. */
static int big(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    BUF(b);
    for (int i = 0; i < 1 << 15; i++)
        buf_adds(&b, "sixteen bytes.. ");
    http_body(res, "application/octet-stream", b.data, b.len);
    return 0;
}

static const struct route routes[] = {
    {HTTP_GET | HTTP_POST, "/big", big, PERM_OPEN},
    {HTTP_POST | HTTP_PUT, "/echo", echo, PERM_OPEN},
    {HTTP_POST, "/echo/large", echo, PERM_OPEN, .max_body = 64 << 20},
    {HTTP_POST | HTTP_PUT, "/upload", upload, PERM_OPEN, .max_body = 64 << 20, .stream_body = true},
    {HTTP_GET, "/hello/{name}", hello, PERM_OPEN},
    {HTTP_POST, "/runs/{id}:archive", verb, PERM_OPEN},
    {HTTP_GET, "/rest/{rest...}", rest, PERM_OPEN},
    {HTTP_GET, "/fails", fails, PERM_OPEN},
    {HTTP_GET, "/query", query, PERM_OPEN},
    {HTTP_POST, "/json", json, PERM_OPEN},
    {HTTP_GET, "/who", who, PERM_OPEN},
    {HTTP_GET, "/empty", empty, PERM_OPEN},
    {HTTP_GET, "/slow", slow, PERM_OPEN},
    {HTTP_GET, "/waits", waits, PERM_OPEN},
    {HTTP_GET, "/file", file, PERM_OPEN},
    {HTTP_GET | HTTP_POST, "/other", other, PERM_OPEN},
    {HTTP_GET, "/secret", secret, PERM("get", "", "secrets")},
};
const struct http_api kit_api = {
    .name = "kit",
    .routes = routes,
    .n_routes = ARRAY_LEN(routes),
    .max_body = 1 << 20,
    .authenticate = authenticate,
    .authorize = authorize,
    .write_error = write_error,
};

/* ---- the server ---- */

void kit_start_with(struct kit *k, const struct server_limits *limits, struct listener_config *cfg)
{
    static const struct mount mounts[] = {{"/", false, &kit_api}, {"/pipeline", true, &kit_api}};
    ERR(e);
    if (!cfg->address)
        cfg->address = "127.0.0.1:0";
    if (!cfg->mounts) {
        cfg->mounts = mounts;
        cfg->n_mounts = ARRAY_LEN(mounts);
    }
    k->server = http_server_new(limits, &e);
    assert_non_null(k->server);
    if (http_server_listen(k->server, cfg, &k->port, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_int_equal(http_server_start(k->server, &e), 0);
}

void kit_start(struct kit *k, const struct server_limits *limits)
{
    struct listener_config cfg = {0};
    kit_start_with(k, limits, &cfg);
}

void kit_stop(struct kit *k)
{
    http_server_stop(k->server, 3000);
    k->server = NULL;
}

void kit_wait(atomic_int *counter, int n)
{
    for (int64_t end = kit_now_ms() + PATIENCE_MS; atomic_load(counter) < n && kit_now_ms() < end;)
        usleep(2000);
}

void kit_wait_connections(struct kit *k, int n)
{
    for (int64_t end = kit_now_ms() + PATIENCE_MS; http_server_connections(k->server) > (size_t)n && kit_now_ms() < end;)
        usleep(2000);
}

/* ---- the client ---- */

int kit_connect(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

void kit_send_n(int fd, const void *p, size_t n)
{
    const char *at = p;
    while (n > 0) {
        ssize_t w = send(fd, at, n, MSG_NOSIGNAL);
        if (w <= 0)
            return; /* the server has had enough: the test looks at what it answered */
        at += w;
        n -= (size_t)w;
    }
}

void kit_send(int fd, const char *text) { kit_send_n(fd, text, strlen(text)); }

void kit_read_until(int fd, struct buf *out, const char *want)
{
    int64_t end = kit_now_ms() + PATIENCE_MS;
    while (!want || !strstr(buf_str(out), want)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = end - kit_now_ms();
        if (left <= 0 || poll(&p, 1, (int)left) <= 0)
            fail_msg("timed out; so far:\n%.2000s", buf_str(out));
        char chunk[16384];
        ssize_t n = recv(fd, chunk, sizeof chunk, 0);
        if (n <= 0)
            return;
        buf_add(out, chunk, (size_t)n);
    }
}

void kit_read_all(int fd, struct buf *out) { kit_read_until(fd, out, NULL); }

char *kit_talk(int port, const char *request)
{
    BUF(b);
    int fd = kit_connect(port);
    kit_send(fd, request);
    kit_read_all(fd, &b);
    close(fd);
    size_t n;
    return buf_steal(&b, &n);
}

char *kit_get(int port, const char *path)
{
    AUTOFREE char *r = xasprintf("GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
    return kit_talk(port, r);
}
