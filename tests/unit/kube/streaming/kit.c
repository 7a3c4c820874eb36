/* kit.c - see kit.h. */
#include "kit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

int kit_port, kit_forward_to;
static struct http_server *server;
static struct pool *pool;
static struct node_process next; /* written by the test before it asks */
static atomic_int fence;         /* orders what the test and the server do to it */

struct ctx kit_soon(void)
{
    struct ctx bg = ctx_background();
    return ctx_with_timeout(&bg, 30 * NS_PER_S);
}

/* ---- the server ---- */

static int on_process(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct streaming_how how;
    struct node_process_opts o;
    if (streaming_process_opts(req, false, &o, err) < 0 || streaming_negotiate(req, STREAMING_PROCESS, &how, err) < 0)
        return -1;
    atomic_fetch_add(&fence, 1);
    struct node_process mine = next;
    next = (struct node_process)NODE_PROCESS_NONE;
    atomic_fetch_add(&fence, 1);
    streaming_process(req, res, &how, &o, &mine);
    return 0;
}

static int dial(void *arg, int port, int *fd, struct err *err)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)kit_forward_to), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (port == 7)
        return err_set(err, ERR_UNAVAILABLE, "no container runs");
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (connect(*fd, (struct sockaddr *)&a, sizeof a) < 0 && errno != EINPROGRESS)
        return err_errno(err, "connect");
    return 0;
}

static int on_forward(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct streaming_how how;
    struct streaming_dial d = {.dial = dial, .pool = pool, .pod = NULL};
    if (streaming_negotiate(req, STREAMING_FORWARD, &how, err) < 0)
        return -1;
    d.pod = xstrdup("p");
    return streaming_forward(req, res, &how, &d, err);
}

static int everybody(void *self, struct ctx *ctx, struct http_req *req, struct err *err) { return 0; }
static void write_error(void *self, struct http_req *req, struct http_res *res, const struct err *e)
{
    http_text(res, err_http_status(e), "%s", err_text(e));
}
static const struct route routes[] = {
    {HTTP_GET | HTTP_POST, "/process", on_process, PERM_OPEN, 0},
    {HTTP_GET | HTTP_POST, "/forward", on_forward, PERM_OPEN, 0},
};
static const struct http_api api = {.name = "node",
                                    .routes = routes,
                                    .n_routes = ARRAY_LEN(routes),
                                    .authenticate = everybody,
                                    .authorize = everybody,
                                    .write_error = write_error};

int kit_up(void **state)
{
    ERR(e);
    pool = pool_new("kit", 4, 100);
    server = http_server_new(NULL, &e);
    struct mount m = {.prefix = "/", .api = &api};
    struct listener_config lc = {.address = "127.0.0.1:0", .mounts = &m, .n_mounts = 1};
    return http_server_listen(server, &lc, &kit_port, &e) < 0 || http_server_start(server, &e) < 0 ? -1 : 0;
}

int kit_down(void **state)
{
    http_server_stop(server, 1000);
    pool_stop(pool);
    return 0;
}

/* ---- the far side ---- */

static void nonblocking(int fd) { assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0); }

void far_open(struct far *f, bool tty)
{
    int in[2], out[2], bad[2], status[2];
    *f = (struct far){-1, -1, -1, -1, -1};
    atomic_fetch_add(&fence, 1);
    next = (struct node_process)NODE_PROCESS_NONE;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, status), 0);
    next.status = status[0];
    f->status = status[1];
    if (tty) {
        int master;
        assert_int_equal(openpty(&master, &f->tty, NULL, NULL, NULL), 0);
        next.out = master;
        next.in = dup(master);
        nonblocking(master);
        atomic_fetch_add(&fence, 1);
        return;
    }
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(bad, O_CLOEXEC), 0);
    next.in = in[1];
    next.out = out[0];
    next.err = bad[0];
    *f = (struct far){in[0], out[1], bad[1], status[1], -1};
    const int all[] = {in[1], out[0], bad[0], out[1], bad[1]};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        nonblocking(all[i]);
    atomic_fetch_add(&fence, 1);
}

void far_close(struct far *f)
{
    int *const all[] = {&f->in, &f->out, &f->err, &f->status, &f->tty};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (*all[i] >= 0)
            close(*all[i]);
        *all[i] = -1;
    }
}

void far_ends(struct far *f, const char *how) { assert_int_equal(send(f->status, how, strlen(how), MSG_NOSIGNAL), strlen(how)); }

void far_expect(int fd, const char *text)
{
    char got[256] = "";
    size_t n = 0, want = strlen(text);
    assert_true(want < sizeof got);
    while (n < want) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t k = poll(&p, 1, 10000) == 1 ? read(fd, got + n, want - n) : 0;
        if (k <= 0)
            fail_msg("\"%s\" came, not \"%s\"", got, text);
        n += (size_t)k;
    }
    assert_string_equal(got, text);
}

bool far_closed(int fd)
{
    struct pollfd p = {.fd = fd, .events = 0};
    return poll(&p, 1, 10000) == 1 && p.revents & (POLLHUP | POLLERR);
}

size_t far_fill(int fd, size_t max)
{
    static const char piece[8192];
    size_t n = 0;
    while (n < max) {
        ssize_t k = write(fd, piece, sizeof piece < max - n ? sizeof piece : max - n);
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        if (k > 0)
            n += (size_t)k;
        else if (poll(&p, 1, 500) == 0)
            break;
    }
    return n;
}

/* ---- WebSocket ---- */

void talk_open(struct talk *t, const char *path, const char *protocol)
{
    *t = (struct talk){0};
    ERR(e);
    struct ctx ctx = kit_soon();
    t->http = http_client_new(&(struct http_client_config){0}, &e);
    AUTOFREE char *url = xasprintf("ws://127.0.0.1:%d%s", kit_port, path);
    const char *const protocols[] = {protocol, NULL};
    t->ws = ws_dial(t->http, &ctx, &(struct ws_call){.url = url, .protocols = protocols}, NULL, &e);
    if (!t->ws)
        fail_msg("%s", err_text(&e));
}

void talk_close(struct talk *t)
{
    ws_client_free(t->ws);
    http_client_free(t->http);
    for (size_t i = 0; i < CHANNELS; i++)
        buf_free(&t->got[i]);
}

void talk_send(struct talk *t, unsigned char channel, const char *bytes, size_t n)
{
    BUF(message);
    ERR(e);
    struct ctx ctx = kit_soon();
    buf_addc(&message, (char)channel);
    if (n)
        buf_add(&message, bytes, n);
    if (ws_client_send(t->ws, &ctx, WS_BINARY, message.data, message.len, &e) < 0)
        fail_msg("%s", err_text(&e));
}

/* One message, or the end. */
static void talk_take(struct talk *t)
{
    BUF(message);
    ERR(e);
    enum ws_type type;
    struct ctx ctx = kit_soon();
    int rc = ws_client_recv(t->ws, &ctx, &type, &message, &e);
    if (rc < 0)
        fail_msg("%s", err_text(&e));
    if (rc == 0) {
        t->closed = true;
        return;
    }
    unsigned char channel = (unsigned char)message.data[0];
    assert_true(channel < CHANNELS);
    buf_add(&t->got[channel], message.data + 1, message.len - 1);
}

void talk_wait(struct talk *t, unsigned channel, size_t n)
{
    while (!t->closed && t->got[channel].len < n)
        talk_take(t);
    if (t->got[channel].len < n)
        fail_msg("closed after %zu of %zu bytes on channel %u", t->got[channel].len, n, channel);
}

void talk_end(struct talk *t)
{
    while (!t->closed)
        talk_take(t);
}

/* ---- SPDY ---- */

static void u32(struct buf *b, uint32_t v)
{
    const char c[4] = {(char)(v >> 24), (char)(v >> 16), (char)(v >> 8), (char)v};
    buf_add(b, c, 4);
}

static uint32_t u32_at(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

void spdy_talk_open(struct spdy_talk *t, const char *path, const char *protocol)
{
    *t = (struct spdy_talk){0};
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)kit_port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    t->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(t->fd, (struct sockaddr *)&a, sizeof a), 0);
    AUTOFREE char *head = xasprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
                                    "X-Stream-Protocol-Version: %s\r\nContent-Length: 0\r\n\r\n",
                                    path, protocol);
    assert_int_equal(send(t->fd, head, strlen(head), MSG_NOSIGNAL), strlen(head));
    char c;
    BUF(answer);
    while (!strstr(buf_str(&answer), "\r\n\r\n") && read(t->fd, &c, 1) == 1)
        buf_addc(&answer, c);
    if (!str_starts(buf_str(&answer), "HTTP/1.1 101 "))
        fail_msg("%s", buf_str(&answer));
    z_stream *z = xcalloc(1, sizeof *z);
    assert_int_equal(deflateInit(z, 6), Z_OK);
    t->z = z;
}

void spdy_talk_close(struct spdy_talk *t)
{
    if (t->fd >= 0)
        close(t->fd);
    deflateEnd(t->z);
    free(t->z);
    buf_free(&t->sent);
    buf_free(&t->in);
    for (size_t i = 0; i < ARRAY_LEN(t->got); i++)
        buf_free(&t->got[i]);
}

void spdy_stream(struct spdy_talk *t, unsigned id, const char *const *pairs)
{
    BUF(block);
    char packed[4096];
    uint32_t n = 0;
    while (pairs[2 * n])
        n++;
    u32(&block, n);
    for (uint32_t i = 0; i < 2 * n; i++) {
        u32(&block, (uint32_t)strlen(pairs[i]));
        buf_adds(&block, pairs[i]);
    }
    z_stream *z = t->z;
    z->next_in = (Bytef *)block.data;
    z->avail_in = (uInt)block.len;
    z->next_out = (Bytef *)packed;
    z->avail_out = sizeof packed;
    assert_int_equal(deflate(z, Z_SYNC_FLUSH), Z_OK);
    size_t len = sizeof packed - z->avail_out;
    u32(&t->sent, 0x80030001);
    u32(&t->sent, (uint32_t)len + 10);
    u32(&t->sent, id);
    u32(&t->sent, 0);
    buf_add(&t->sent, "\0\0", 2);
    buf_add(&t->sent, packed, len);
}

void spdy_bytes(struct spdy_talk *t, unsigned id, bool end, const char *p, size_t n)
{
    u32(&t->sent, id);
    u32(&t->sent, (uint32_t)end << 24 | (uint32_t)n);
    if (n)
        buf_add(&t->sent, p, n);
}

void spdy_cut(struct spdy_talk *t, unsigned id)
{
    u32(&t->sent, 0x80030003);
    u32(&t->sent, 8);
    u32(&t->sent, id);
    u32(&t->sent, 5);
}

void spdy_send(struct spdy_talk *t, size_t piece)
{
    for (size_t at = 0, n; at < t->sent.len; at += n) {
        n = piece && piece < t->sent.len - at ? piece : t->sent.len - at;
        assert_int_equal(send(t->fd, t->sent.data + at, n, MSG_NOSIGNAL), n);
        if (piece)
            usleep(500); /* so that they arrive apart */
    }
    buf_reset(&t->sent);
}

/* Takes whole frames out of what came. */
static void frames(struct spdy_talk *t)
{
    while (t->in.len >= 8) {
        const char *p = t->in.data;
        size_t len = u32_at(p + 4) & 0xffffff;
        unsigned flags = (unsigned char)p[4];
        if (t->in.len < 8 + len)
            return;
        unsigned id = u32_at(p) & 0x7fffffff;
        if (!(u32_at(p) >> 31)) {
            assert_true(id < ARRAY_LEN(t->got));
            buf_add(&t->got[id], p + 8, len);
            t->ended[id] |= flags & 1;
        } else if ((u32_at(p) & 0xffff) == 3 && u32_at(p + 8) < ARRAY_LEN(t->got)) {
            t->reset[u32_at(p + 8)] = true;
        }
        buf_consume(&t->in, 8 + len);
    }
}

void spdy_read(struct spdy_talk *t, bool (*until)(const struct spdy_talk *, const void *arg), const void *arg)
{
    while (!until(t, arg)) {
        char piece[65536];
        struct pollfd p = {.fd = t->fd, .events = POLLIN};
        ssize_t n = !t->closed && poll(&p, 1, 30000) == 1 ? read(t->fd, piece, sizeof piece) : -1;
        if (t->closed || (n < 0 && errno != ECONNRESET))
            fail_msg("it did not come to that");
        if (n <= 0) {
            t->closed = true;
            continue;
        }
        buf_add(&t->in, piece, (size_t)n);
        frames(t);
    }
}
