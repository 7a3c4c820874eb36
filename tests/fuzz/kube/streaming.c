/* A session of exec or port-forward from its socket on, after a good upgrade: channels of a WebSocket (v5, v4, older, in base64),
 * SPDY, SPDY within a WebSocket. The input is a list of commands that become well-formed frames around fuzzed contents, or raw
 * bytes. The loop is turned by hand; the far side is a program that has said something, or ports that answer. Whatever comes,
 * nothing may crash, every session ends, and every descriptor is closed. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include "../net/talk.h"
#include "base/log.h"
#include "base/str.h"
#include "kube/streaming/streaming.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { KEPT = 12 };

static struct pool *pool;
static uint8_t shape; /* of the far side */

/* Both ends; what is written to the first comes out of the second. */
static void pair(int *ours, int *theirs, int type)
{
    int fds[2];
    ASSERT(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
    *ours = fds[0];
    *theirs = fds[1];
}

static int far_end(int type, const char *says)
{
    int ours, theirs;
    pair(&ours, &theirs, type);
    if (says)
        ASSERT(send(theirs, says, strlen(says), 0) >= 0);
    close(theirs);
    return ours;
}

static int on_process(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct streaming_how how;
    struct node_process_opts o;
    if (streaming_process_opts(req, false, &o, err) < 0 || streaming_negotiate(req, STREAMING_PROCESS, &how, err) < 0)
        return -1;
    struct node_process p = NODE_PROCESS_NONE;
    static const char *const ends[] = {"exit 0", "exit 3", "fail 127 none", "nonsense"};
    p.in = o.in ? far_end(SOCK_STREAM, NULL) : -1;
    p.out = o.out ? far_end(SOCK_STREAM, "some output") : -1;
    p.err = o.err ? far_end(SOCK_STREAM, "a complaint") : -1;
    p.status = far_end(SOCK_SEQPACKET, ends[shape % ARRAY_LEN(ends)]);
    streaming_process(req, res, &how, &o, &p);
    return 0;
}

static int dial(void *arg, int port, int *fd, struct err *err)
{
    if (port % 5 == 3)
        return err_set(err, ERR_UNAVAILABLE, "no container runs");
    *fd = far_end(SOCK_STREAM, port % 2 ? "hello" : NULL);
    return 0;
}

static int on_forward(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct streaming_how how;
    struct streaming_dial d = {.dial = dial, .pool = pool};
    if (streaming_negotiate(req, STREAMING_FORWARD, &how, err) < 0)
        return -1;
    d.pod = xstrdup("p");
    return streaming_forward(req, res, &how, &d, err);
}

static const struct route routes[] = {{HTTP_GET | HTTP_POST, "/process", on_process, PERM_OPEN},
                                      {HTTP_GET | HTTP_POST, "/forward", on_forward, PERM_OPEN}};
static const struct http_api api = {.name = "fuzz", .routes = routes, .n_routes = ARRAY_LEN(routes)};
static const struct mount mounts[] = {{"/", false, &api}};

static struct http_server *server(void)
{
    static struct http_server *s;
    if (s)
        return s;
    log_set_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
    signal(SIGPIPE, SIG_IGN); /* as every program of ours does */
    pool = pool_new("dial", 1, 64);
    s = http_server_new(&(struct server_limits){.workers = 2}, NULL);
    static const char *const any[] = {"*", NULL};
    const struct listener_config cfg = {.address = "127.0.0.1:0", .mounts = mounts, .n_mounts = 1, .extra_hosts = any};
    ASSERT(s && http_server_listen(s, &cfg, NULL, NULL) == 0);
    return s;
}

/* ---- what the client says ---------------------------------------------------------------------------------------- */

static const struct {
    const char *path, *protocol;
    bool websocket, spdy, text;
} kinds[] = {
    {"/process?stdin=1&stdout=1&stderr=1", "v5.channel.k8s.io", true, false, false},
    {"/process?stdin=1&stdout=1", "v4.channel.k8s.io", true, false, false},
    {"/process?stdin=1&stdout=1&tty=1", "v4.base64.channel.k8s.io", true, false, true},
    {"/process?stderr=1", NULL, true, false, false},
    {"/process?stdin=1&stdout=1&stderr=1", "v5.channel.k8s.io", false, true, false},
    {"/process?stdin=1&stdout=1&tty=1", "v4.channel.k8s.io", false, true, false},
    {"/forward?ports=1,2&ports=3", "v4.channel.k8s.io", true, false, false},
    {"/forward?ports=80", NULL, true, false, false},
    {"/forward?ports=81,82", "v4.base64.channel.k8s.io", true, false, true},
    {"/forward", "SPDY/3.1+portforward.k8s.io", true, true, false},
    {"/forward", "portforward.k8s.io", false, true, false},
};

static void put_head(struct buf *out, size_t k)
{
    const char *protocol = kinds[k].protocol;
    buf_addf(out, "%s %s HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n", kinds[k].websocket ? "GET" : "POST", kinds[k].path);
    if (kinds[k].websocket) {
        buf_adds(out, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
        if (protocol)
            buf_addf(out, "Sec-WebSocket-Protocol: %s\r\n", protocol);
    } else {
        buf_addf(out, "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: %s\r\nContent-Length: 0\r\n", protocol);
    }
    buf_adds(out, "\r\n");
}

static void put_u32(struct buf *out, uint32_t v)
{
    const char b[4] = {(char)(v >> 24), (char)(v >> 16), (char)(v >> 8), (char)v};
    buf_add(out, b, 4);
}

/* One masked frame with a key of zeroes. Below 126 bytes, which is what commands make, or in two bytes of length. */
static void put_message(struct buf *out, bool text, const char *p, size_t n)
{
    buf_addc(out, (char)(0x80 | (text ? 1 : 2)));
    if (n < 126) {
        buf_addc(out, (char)(0x80 | n));
    } else {
        buf_addc(out, (char)(0x80 | 126));
        buf_addc(out, (char)(n >> 8));
        buf_addc(out, (char)n);
    }
    put_u32(out, 0);
    buf_add(out, p, n);
}

/* The headers of a stream that sessions know, or nearly. */
static void put_stream(struct buf *out, z_stream *z, uint32_t id, uint8_t which)
{
    static const char *const types[] = {"data", "error", "stdin", "stdout", "stderr", "resize", "", "other"};
    char port[8], request[8], packed[1024];
    snprintf(port, sizeof port, "%d", which >> 3);
    snprintf(request, sizeof request, "%d", which >> 4);
    const char *pairs[] = {"streamtype", types[which % 8], "port", port, "requestid", request};
    BUF(block);
    put_u32(&block, 3);
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        put_u32(&block, (uint32_t)strlen(pairs[i]));
        buf_adds(&block, pairs[i]);
    }
    z->next_in = (Bytef *)block.data;
    z->avail_in = (uInt)block.len;
    z->next_out = (Bytef *)packed;
    z->avail_out = sizeof packed;
    ASSERT(deflate(z, Z_SYNC_FLUSH) == Z_OK);
    size_t len = sizeof packed - z->avail_out;
    put_u32(out, 0x80030001);
    put_u32(out, (uint32_t)len + 10);
    put_u32(out, id);
    put_u32(out, 0);
    buf_add(out, "\0\0", 2);
    buf_add(out, packed, len);
}

static void put_spdy(struct buf *out, z_stream *z, uint8_t op, uint8_t arg, const char *p, size_t n)
{
    uint32_t id = arg & 15;
    switch (op % 5) {
    case 0:
        put_stream(out, z, id, n ? (uint8_t)p[0] : arg);
        return;
    case 1:
    case 2: /* data; with FIN */
        put_u32(out, id);
        put_u32(out, (uint32_t)(op % 5 == 2) << 24 | (uint32_t)n);
        buf_add(out, p, n);
        return;
    case 3: /* RST_STREAM */
        put_u32(out, 0x80030003);
        put_u32(out, 8);
        put_u32(out, id);
        put_u32(out, 5);
        return;
    default:
        buf_add(out, p, n);
    }
}

/* Commands of at least three bytes: what, an argument, how many bytes follow. */
static void put_commands(struct buf *out, size_t kind, const uint8_t *p, size_t n)
{
    z_stream z = {0};
    ASSERT(deflateInit(&z, 1) == Z_OK);
    while (n >= 3) {
        size_t len = p[2] < n - 3 ? p[2] : n - 3;
        const char *rest = (const char *)p + 3;
        BUF(one);
        if (kinds[kind].spdy) {
            put_spdy(&one, &z, p[0], p[1], rest, len);
        } else if (p[0] % 8 == 7) {
            buf_add(&one, rest, len);
        } else if (kinds[kind].text && p[0] % 8) {
            AUTOFREE char *packed = base64_encode(rest, len);
            buf_addf(&one, "%c%s", '0' + p[1] % 8, packed);
        } else {
            buf_addc(&one, (char)p[1]);
            buf_add(&one, rest, len);
        }
        if (kinds[kind].websocket && p[0] % 8 != 7)
            put_message(out, kinds[kind].text, buf_str(&one), one.len);
        else
            buf_add(out, buf_str(&one), one.len);
        p += 3 + len;
        n -= 3 + len;
    }
    deflateEnd(&z);
}

static int descriptors(void)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct http_server *s = server();
    static int at_first;
    int ours, theirs;
    if (!at_first)
        at_first = descriptors();
    size_t kind = data[0] % ARRAY_LEN(kinds);
    shape = data[1];
    pair(&ours, &theirs, SOCK_STREAM);
    atomic_fetch_add(&s->n_conns, 1);
    conn_open(&s->loops[0], s->listeners, ours);
    BUF(all);
    put_head(&all, kind);
    put_commands(&all, kind, data + 2, size - 2);
    talk(s, theirs, all.data, all.len, &(const struct talk_how){20, SHUT_RDWR, 5});
    close(theirs);
    /* A dial under way closes what it got; workers keep a few of their own. What leaks goes beyond them in the end. */
    for (int i = 0; descriptors() > at_first + KEPT; i++) {
        ASSERT(i < 50000);
        usleep(100);
    }
    return 0;
}
