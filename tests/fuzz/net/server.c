/* A connection of the server, from the socket on: HTTP/1.1, HTTP/2 behind its preface, and WebSocket frames behind an upgrade, as
 * the first byte says. The loop is turned by hand. Whatever the bytes are, nothing may crash, every stream that was set is closed
 * once, and the connection ends. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "net/upgrade/websocket.h"
#include "talk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static atomic_int streams; /* opened and not closed */

static int echo(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    http_body(res, http_header_get(req, "content-type"), req->body, req->body_len);
    return 0;
}

static int upload(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    char chunk[100];
    ssize_t n;
    size_t total = 0;
    while ((n = http_req_read(req, ctx, chunk, sizeof chunk, err)) > 0)
        total += (size_t)n;
    ASSERT(total <= 1000);
    http_text(res, 200, "%zu", total);
    return n < 0 ? -1 : 0;
}

static void on_start(struct stream *st, void *state)
{
    for (int i = 0; i < 20; i++)
        stream_write(st, "0123456789", 10);
    stream_end(st);
}
static void on_close(struct stream *st, void *state) { atomic_fetch_sub(&streams, 1); }
static const struct stream_ops ops = {.on_start = on_start, .on_close = on_close};

static int stream(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    atomic_fetch_add(&streams, 1);
    http_stream(res, "text/plain", &ops, NULL);
    return 0;
}

static void on_message(struct ws *ws, void *state, enum ws_type type, const char *p, size_t n)
{
    ASSERT(n <= 5000);
    if (type == WS_TEXT)
        ASSERT(str_utf8_valid(p, n));
    ws_send(ws, type, p, n);
    if (n && p[0] == 'c')
        ws_close(ws, WS_NORMAL, "bye");
    if (n && p[0] == 'p') {
        ws_pause(ws);
        ws_timer(ws, 0);
    }
}
static void on_ws_timer(struct ws *ws, void *state) { ws_resume(ws); }
static void on_ws_close(struct ws *ws, void *state, int code) { atomic_fetch_sub(&streams, 1); }
static const struct ws_ops ws_ops = {.on_message = on_message, .on_timer = on_ws_timer, .on_close = on_ws_close};

static int websocket(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    const char *chosen;
    static const char *const protocols[] = {"a", "b", NULL};
    if (ws_negotiate(req, protocols, &chosen, err) < 0)
        return -1;
    atomic_fetch_add(&streams, 1);
    ws_upgrade(req, res, chosen, &(struct ws_config){.max_message = 5000}, &ws_ops, NULL);
    return 0;
}

static const struct route routes[] = {
    {HTTP_GET | HTTP_POST | HTTP_PUT, "/", echo, PERM_OPEN},
    {HTTP_POST, "/up", upload, PERM_OPEN, .stream_body = true},
    {HTTP_GET, "/st", stream, PERM_OPEN},
    {HTTP_GET, "/ws", websocket, PERM_OPEN},
};
static const struct http_api api = {.name = "fuzz", .routes = routes, .n_routes = ARRAY_LEN(routes), .max_body = 1000};
static const struct mount mounts[] = {{"/", false, &api}};

static struct http_server *server(void)
{
    static struct http_server *s;
    if (s)
        return s;
    log_set_fd(open("/dev/null", O_WRONLY | O_CLOEXEC)); /* floods are warned of */
    s = http_server_new(&(struct server_limits){.workers = 2, .max_header_bytes = 2000, .max_headers = 30}, NULL);
    static const char *const any[] = {"*", NULL};
    const struct listener_config cfg = {.address = "127.0.0.1:0", .mounts = mounts, .n_mounts = 1, .extra_hosts = any};
    ASSERT(s && http_server_listen(s, &cfg, NULL, NULL) == 0);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char h2[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    static const char upgrade[] = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                                  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    if (size < 1)
        return 0;
    struct http_server *s = server();
    int fds[2];
    ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    atomic_fetch_add(&s->n_conns, 1);
    conn_open(&s->loops[0], s->listeners, fds[0]);
    BUF(all);
    if (data[0] % 3 == 1)
        buf_add(&all, h2, sizeof h2 - 1);
    else if (data[0] % 3 == 2)
        buf_add(&all, upgrade, sizeof upgrade - 1);
    buf_add(&all, data + 1, size - 1);
    talk(s, fds[1], buf_str(&all), all.len, &(const struct talk_how){2, SHUT_WR, 20});
    close(fds[1]);
    ASSERT(atomic_load(&streams) == 0);
    return 0;
}
