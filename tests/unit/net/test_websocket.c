/* test_websocket.c - WebSockets: the opening handshake, frames as a peer sends them byte by byte, the closing handshake,
 * back-pressure both ways, and our client against our server. */
#include "kit.h"

#include <stdatomic.h>
#include <unistd.h>

#include "net/upgrade/websocket.h"
#include "net/upgrade/ws_shake.h"

/* ---- a server that does what text messages say, and echoes binary ones ---- */

static atomic_int opened, closed, close_code, messages, never_started;
static _Atomic size_t bytes_seen;

struct s {
    int timers;
    size_t pump;
};

static void on_open(struct ws *ws, void *state)
{
    atomic_fetch_add(&opened, 1);
    const char *p = ws_protocol(ws) ? ws_protocol(ws) : "-";
    ws_send(ws, WS_TEXT, p, strlen(p));
}

static void pump(struct ws *ws, struct s *s)
{
    static char block[16384];
    for (; s->pump > 0 && ws_queued(ws) < 128 * 1024; s->pump--)
        ws_send(ws, WS_BINARY, block, sizeof block);
    if (!s->pump)
        ws_close(ws, WS_NORMAL, "pumped");
}

static void *waker(void *arg)
{
    usleep(10000);
    stream_wake(arg);
    stream_handle_unref(arg);
    return NULL;
}

static void on_message(struct ws *ws, void *state, enum ws_type type, const char *p, size_t n)
{
    struct s *s = state;
    atomic_fetch_add(&messages, 1);
    atomic_fetch_add(&bytes_seen, n);
    if (type == WS_TEXT && n == 5 && memcmp(p, "close", 5) == 0) {
        ws_close(ws, 3000, "as you wish");
    } else if (type == WS_TEXT && n == 5 && memcmp(p, "abort", 5) == 0) {
        ws_abort(ws);
    } else if (type == WS_TEXT && n == 5 && memcmp(p, "pause", 5) == 0) {
        ws_pause(ws);
        ws_timer(ws, 50);
    } else if (type == WS_TEXT && n == 5 && memcmp(p, "sleep", 5) == 0) {
        ws_pause(ws);
    } else if (type == WS_TEXT && n == 4 && memcmp(p, "pump", 4) == 0) {
        s->pump = 1000;
        pump(ws, s);
    } else if (type == WS_TEXT && n == 4 && memcmp(p, "wake", 4) == 0) {
        pthread_t t = thread_start("ws-waker", waker, ws_handle(ws));
        pthread_detach(t);
    } else {
        ws_send(ws, type, p, n);
    }
}

static void on_writable(struct ws *ws, void *state)
{
    struct s *s = state;
    if (s->pump)
        pump(ws, s);
}

static void on_wake(struct ws *ws, void *state) { ws_send(ws, WS_TEXT, "woken", 5); }

static void on_timer(struct ws *ws, void *state)
{
    ws_send(ws, WS_TEXT, "resumed", 7);
    ws_resume(ws);
}

static void on_close(struct ws *ws, void *state, int code)
{
    if (!ws)
        atomic_fetch_add(&never_started, 1);
    atomic_store(&close_code, code);
    atomic_fetch_add(&closed, 1);
    free(state);
}

static const struct ws_ops ops = {on_open, on_message, on_writable, on_wake, on_timer, on_close};
static const char *const protocols[] = {"v4.channel.k8s.io", "v5.channel.k8s.io", NULL};

static int open_ws(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    const char *chosen, *ping = http_query(req, "ping");
    if (ws_negotiate(req, protocols, &chosen, err) < 0)
        return -1;
    const struct ws_config cfg = {.max_message = 100000, .ping_ms = ping ? atoi(ping) : 0};
    ws_upgrade(req, res, chosen, &cfg, &ops, xcalloc(1, sizeof(struct s)));
    if (http_query(req, "fail"))
        return err_set(err, ERR_CONFLICT, "after all, no");
    return 0;
}

static const struct route routes[] = {{HTTP_GET | HTTP_POST, "/ws", open_ws, PERM_OPEN}};
static const struct http_api api = {.name = "ws", .routes = routes, .n_routes = 1};
static const struct mount mounts[] = {{"/", false, &api}};

static void start(struct kit *k, const struct tls_server_config *tls)
{
    struct listener_config cfg = {.mounts = mounts, .n_mounts = 1, .tls = tls};
    atomic_store(&opened, 0);
    atomic_store(&closed, 0);
    atomic_store(&close_code, 0);
    atomic_store(&messages, 0);
    atomic_store(&bytes_seen, 0);
    atomic_store(&never_started, 0);
    kit_start_with(k, NULL, &cfg);
}

static void wait_closed(int n)
{
    kit_wait(&closed, n);
    assert_int_equal(atomic_load(&closed), n);
}

/* ---- a peer made of bytes ---- */

#define ASK                                                                                                                      \
    "GET /ws%s HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"                         \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

static int connect_ws(struct kit *k, const char *query)
{
    AUTOFREE char *ask = xasprintf(ASK, query);
    int fd = kit_connect(k->port);
    kit_send(fd, ask);
    BUF(b);
    kit_read_until(fd, &b, "\x81\x01-"); /* the first message */
    assert_status(b.data, 101);
    return fd;
}

static void add_frame(struct buf *b, int first, bool mask, const void *p, size_t n)
{
    buf_addc(b, (char)first);
    int bit = mask ? 0x80 : 0;
    if (n < 126) {
        buf_addc(b, (char)(bit | (int)n));
    } else if (n < 65536) {
        buf_addc(b, (char)(bit | 126));
        buf_addc(b, (char)(n >> 8));
        buf_addc(b, (char)n);
    } else {
        buf_addc(b, (char)(bit | 127));
        for (int i = 7; i >= 0; i--)
            buf_addc(b, (char)((uint64_t)n >> (8 * i)));
    }
    static const char key[4] = {1, 2, 3, 4};
    if (mask)
        buf_add(b, key, 4);
    for (size_t i = 0; i < n; i++)
        buf_addc(b, (char)(((const char *)p)[i] ^ (mask ? key[i % 4] : 0)));
}

static void send_frame(int fd, int first, const char *text)
{
    BUF(b);
    add_frame(&b, first, true, text, strlen(text));
    kit_send_n(fd, b.data, b.len);
}

static bool contains(const struct buf *b, const char *p, size_t n) { return b->len >= n && memmem(b->data, b->len, p, n); }

static void read_until(int fd, struct buf *b, const char *want, size_t n)
{
    for (size_t from = 0; b->len < n || !memmem(b->data + from, b->len - from, want, n);) {
        char c[65536];
        from = b->len < n ? 0 : b->len - n + 1; /* what was looked at is not looked at again: some of this is long */
        ssize_t got = recv(fd, c, sizeof c, 0);
        if (got <= 0)
            fail_msg("the connection ended");
        buf_add(b, c, (size_t)got);
    }
}

static void test_handshake(void **state)
{
    char accept[WS_ACCEPT_SIZE];
    ws_accept_key("dGhlIHNhbXBsZSBub25jZQ==", accept);
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="); /* RFC 6455 1.3 */
    static const struct {
        const char *method, *fields;
        int status;
        const char *part;
    } cases[] = {
        {"GET", "", 101, "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"},
        {"GET", "Sec-WebSocket-Protocol: chat, v5.channel.k8s.io ,v4.channel.k8s.io\r\n", 101,
         "\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n"},
        {"GET", "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n", 101,
         "\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n"},
        {"GET", "Sec-WebSocket-Protocol: chat, V5.channel.k8s.io\r\n", 400, "v4.channel.k8s.io, v5.channel.k8s.io"},
        {"POST", "", 400, "this needs a WebSocket"},
        {"GET", "?", 400, "Sec-WebSocket-Version is missing"},
        {"GET", "Sec-WebSocket-Version: 8\r\n", 400, "is 8"},
    };
    struct kit k;
    start(&k, NULL);
    int started = 0;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *fields = cases[i].fields;
        const char *version = fields[0] == '?' || strstr(fields, "Version") ? "" : "Sec-WebSocket-Version: 13\r\n";
        if (fields[0] == '?')
            fields = "";
        AUTOFREE char *ask = xasprintf("%s /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n%s"
                                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 0\r\n%s\r\n",
                                       cases[i].method, version, fields);
        int fd = kit_connect(k.port);
        kit_send(fd, ask);
        shutdown(fd, SHUT_WR);
        BUF(b);
        kit_read_all(fd, &b);
        assert_int_equal(atoi(buf_str(&b) + 9), cases[i].status);
        assert_has(buf_str(&b), cases[i].part);
        started += cases[i].status == 101;
        close(fd);
    }
    wait_closed(started);
    assert_int_equal(atomic_load(&close_code), WS_ABNORMAL);
    /* A key that is not one, and a handler that changes its mind. */
    AUTOFREE char *bad =
        kit_talk(k.port, "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: close, Upgrade\r\nUpgrade: websocket"
                         "\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n\r\n");
    assert_status(bad, 400);
    AUTOFREE char *ask = xasprintf(ASK, "?fail=1");
    int fd = kit_connect(k.port);
    kit_send(fd, ask);
    BUF(b);
    kit_read_until(fd, &b, "after all");
    assert_status(b.data, 409);
    close(fd);
    assert_int_equal(atomic_load(&never_started), 1);
    kit_stop(&k);
}

static void test_frames(void **state)
{
    struct kit k;
    start(&k, NULL);
    int fd = connect_ws(&k, "");
    BUF(b);
    BUF(out);
    /* A message in three fragments with a ping between, sent a byte at a time. */
    add_frame(&out, 0x02, true, "one ", 4);
    add_frame(&out, 0x89, true, "are you there", 13);
    add_frame(&out, 0x00, true, "two ", 4);
    add_frame(&out, 0x80, true, "three", 5);
    for (size_t i = 0; i < out.len; i++)
        kit_send_n(fd, out.data + i, 1);
    read_until(fd, &b, "\x82\x0done two three", 15);
    assert_true(contains(&b,
                         "\x8a\x0d"
                         "are you there",
                         15));
    buf_reset(&b);
    /* Lengths around the limits of their encodings. */
    static const size_t sizes[] = {0, 1, 125, 126, 127, 65535, 65536, 100000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        AUTOFREE char *p = xcalloc(1, sizes[i] + 1);
        memset(p, 'x', sizes[i]);
        buf_reset(&out);
        buf_reset(&b);
        add_frame(&out, 0x82, true, p, sizes[i]);
        kit_send_n(fd, out.data, out.len);
        BUF(want);
        add_frame(&want, 0x82, false, p, sizes[i]);
        while (b.len < want.len) {
            char c[65536];
            ssize_t n = recv(fd, c, sizeof c, 0);
            assert_true(n > 0);
            buf_add(&b, c, (size_t)n);
        }
        assert_int_equal(b.len, want.len);
        assert_memory_equal(b.data, want.data, b.len);
    }
    /* Wakes and timers; what comes behind a pause in the same read waits for the resume, in order. */
    buf_reset(&b);
    send_frame(fd, 0x81, "wake");
    read_until(fd, &b, "woken", 5);
    buf_reset(&b);
    buf_reset(&out);
    add_frame(&out, 0x81, true, "pause", 5);
    add_frame(&out, 0x81, true, "first", 5);
    add_frame(&out, 0x81, true, "pause", 5);
    add_frame(&out, 0x81, true, "second", 6);
    kit_send_n(fd, out.data, out.len);
    read_until(fd, &b, "second", 6);
    const char all[] = "\x81\x07resumed\x81\x05"
                       "first\x81\x07resumed\x81\x06second";
    assert_int_equal(b.len, sizeof all - 1);
    assert_memory_equal(b.data, all, b.len);
    /* The server closes; nothing is delivered after that. */
    buf_reset(&out);
    buf_reset(&b);
    int before = atomic_load(&messages);
    add_frame(&out, 0x81, true, "close", 5);
    add_frame(&out, 0x81, true, "late", 4);
    kit_send_n(fd, out.data, out.len);
    read_until(fd, &b,
               "\x88\x0d\x0b\xb8"
               "as you wish",
               15);
    assert_int_equal(atomic_load(&closed), 0);
    send_frame(fd, 0x88, "\x0b\xb8");
    kit_read_all(fd, &b);
    wait_closed(1);
    assert_int_equal(atomic_load(&close_code), 3000);
    assert_int_equal(atomic_load(&messages), before + 1);
    close(fd);
    kit_stop(&k);
}

static void test_peer_ends(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        int told;         /* what the handler hears */
        const char *says; /* what the peer is told, 4 bytes */
    } cases[] = {
        {"\x88\x82\0\0\0\0\x03\xe8", 8, 1000, "\x88\x02\x03\xe8"},
        {"\x88\x80\0\0\0\0", 6, WS_NO_CODE, "\x88"},
        {"\x82\x01x", 3, 1002, "\x88\x02\x03\xea"},                                /* not masked */
        {"\x83\x80\0\0\0\0", 6, 1002, "\x88\x02\x03\xea"},                         /* no such opcode */
        {"\xc2\x80\0\0\0\0", 6, 1002, "\x88\x02\x03\xea"},                         /* compressed, but nobody agreed on that */
        {"\x80\x80\0\0\0\0", 6, 1002, "\x88\x02\x03\xea"},                         /* goes on with nothing */
        {"\x81\x82\0\0\0\0\xff\xfe", 8, 1007, "\x88\x02\x03\xef"},                 /* not UTF-8 */
        {"\x82\xff\0\0\0\0\0\x01\x86\xa1\0\0\0\0x", 15, 1009, "\x88\x02\x03\xf1"}, /* 100001 bytes */
        {"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0x", 15, 1009, "\x88\x02\x03\xf1"},
        {"\x88\x81\0\0\0\0\x03", 7, WS_NO_CODE, ""}, /* half a code */
        {"\x09\x80\0\0\0\0", 6, 1002, ""},           /* a ping in fragments */
        {"", 0, WS_ABNORMAL, ""},
    };
    struct kit k;
    start(&k, NULL);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int fd = connect_ws(&k, "");
        kit_send_n(fd, cases[i].bytes, cases[i].n);
        if (!cases[i].n)
            shutdown(fd, SHUT_WR);
        BUF(b);
        kit_read_all(fd, &b);
        wait_closed((int)i + 1);
        if (atomic_load(&close_code) != cases[i].told)
            fail_msg("case %zu: %d", i, atomic_load(&close_code));
        size_t n = i == 1 ? 1 : cases[i].says[0] ? 4 : 0;
        assert_true(b.len >= n);
        assert_memory_equal(buf_str(&b), cases[i].says, n);
        close(fd);
    }
    /* A message in crumbs: each of them costs more than it holds. */
    int fd = connect_ws(&k, "");
    BUF(crumbs);
    for (int i = 0; i < 5000; i++)
        add_frame(&crumbs, i ? 0x00 : 0x02, true, "x", 1);
    kit_send_n(fd, crumbs.data, crumbs.len);
    BUF(said);
    kit_read_all(fd, &said);
    wait_closed(ARRAY_LEN(cases) + 1);
    assert_int_equal(atomic_load(&close_code), 1009);
    close(fd);
    /* Cut by the server. */
    fd = connect_ws(&k, "");
    send_frame(fd, 0x81, "abort");
    BUF(b);
    kit_read_all(fd, &b);
    wait_closed(ARRAY_LEN(cases) + 2);
    assert_int_equal(atomic_load(&close_code), WS_ABNORMAL);
    close(fd);
    kit_stop(&k);
}

static void test_keep_alive(void **state)
{
    struct kit k;
    start(&k, NULL);
    int fd = connect_ws(&k, "?ping=700"); /* as long as this thread may be kept from answering */
    BUF(b);
    int64_t t = kit_now_ms();
    for (int i = 0; i < 3; i++) { /* who answers lives */
        buf_reset(&b);
        read_until(fd, &b, "\x89\x00", 2);
        send_frame(fd, 0x8a, "");
    }
    assert_int_equal(atomic_load(&closed), 0);
    kit_read_all(fd, &b); /* who does not, does not */
    assert_true(kit_now_ms() - t >= 300);
    wait_closed(1);
    assert_int_equal(atomic_load(&close_code), WS_ABNORMAL);
    close(fd);
    /* While the handler does not want to read, silence is no sign. */
    fd = connect_ws(&k, "?ping=30");
    send_frame(fd, 0x81, "sleep");
    usleep(300000);
    assert_int_equal(atomic_load(&closed), 1);
    close(fd);
    kit_stop(&k);
    wait_closed(2);
}

static void test_back_pressure(void **state)
{
    struct kit k;
    start(&k, NULL);
    /* From the peer: a paused handler makes the peer's writes block, and what is held is small. */
    int fd = connect_ws(&k, "");
    send_frame(fd, 0x81, "sleep");
    kit_wait(&messages, 1);
    BUF(block);
    char *p = xcalloc(1, 65000);
    add_frame(&block, 0x82, true, p, 65000);
    size_t sent = 0;
    for (int idle = 0; idle < 20 && sent < 200u << 20;) {
        ssize_t n = send(fd, block.data + sent % block.len, block.len - sent % block.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            sent += (size_t)n;
        else
            usleep(10000);
        idle = n > 0 ? 0 : idle + 1;
    }
    assert_true(sent < 100u << 20);
    assert_int_equal(atomic_load(&messages), 1);
    close(fd);
    free(p);
    /* To the peer: the pump stands still until somebody reads. */
    fd = connect_ws(&k, "");
    send_frame(fd, 0x81, "pump");
    usleep(100000);
    BUF(b);
    read_until(fd, &b, "\x88\x08\x03\xe8pumped", 10);
    assert_true(b.len > 1000 * 16384);
    close(fd);
    /* A peer that pings and does not read is not read from either. */
    fd = connect_ws(&k, "");
    BUF(pings);
    char text[125];
    memset(text, 'p', sizeof text);
    for (int i = 0; i < 500; i++)
        add_frame(&pings, 0x89, true, text, sizeof text);
    sent = 0;
    for (int idle = 0; idle < 20 && sent < 200u << 20;) {
        ssize_t n = send(fd, pings.data + sent % pings.len, pings.len - sent % pings.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            sent += (size_t)n;
        else
            usleep(10000);
        idle = n > 0 ? 0 : idle + 1;
    }
    assert_true(sent < 100u << 20);
    assert_true(atomic_load(&closed) < 3);
    close(fd);
    kit_stop(&k);
    wait_closed(3);
}

static void test_stop(void **state)
{
    struct kit k;
    start(&k, NULL);
    int fd = connect_ws(&k, "");
    int64_t t = kit_now_ms();
    http_server_stop(k.server, 1000);
    assert_true(kit_now_ms() - t < 2500);
    BUF(b);
    kit_read_all(fd, &b);
    assert_true(contains(&b, "\x88\x12\x03\xe9the server stops", 20));
    assert_int_equal(atomic_load(&close_code), WS_GOING_AWAY);
    close(fd);
}

/* ---- our client ---- */

static struct ctx soon(void)
{
    struct ctx bg = ctx_background();
    return ctx_with_timeout(&bg, 20 * NS_PER_S);
}

static void expect_message(struct ws_client *w, enum ws_type type, const char *text)
{
    ERR(e);
    BUF(b);
    enum ws_type got;
    struct ctx ctx = soon();
    if (ws_client_recv(w, &ctx, &got, &b, &e) != 1)
        fail_msg("%s (%d)", err_text(&e), ws_client_code(w));
    assert_int_equal(got, type);
    assert_string_equal(buf_str(&b), text);
}

static void *client_writer(void *arg)
{
    struct ctx ctx = soon();
    static const char block[5000];
    for (int i = 0; i < 500; i++)
        if (ws_client_send(arg, &ctx, WS_BINARY, block, sizeof block, NULL) < 0 || ws_client_ping(arg, &ctx, NULL) < 0)
            return NULL;
    return NULL;
}

static void client_round(struct http_client *c, const char *url)
{
    ERR(e);
    struct ctx ctx = soon();
    static const char *const offers[] = {"v5.channel.k8s.io", "v4.channel.k8s.io", NULL};
    const struct ws_call call = {.url = url, .protocols = offers};
    struct ws_client *w = ws_dial(c, &ctx, &call, NULL, &e);
    if (!w)
        fail_msg("%s", err_text(&e));
    assert_string_equal(ws_client_protocol(w), "v5.channel.k8s.io");
    expect_message(w, WS_TEXT, "v5.channel.k8s.io");
    assert_int_equal(ws_client_send(w, &ctx, WS_TEXT, "gr\xc3\xbc\xc3\x9f", 6, &e), 0);
    expect_message(w, WS_TEXT, "gr\xc3\xbc\xc3\x9f");
    /* Two threads send while this one receives. */
    pthread_t a = thread_start("ws-a", client_writer, w), b = thread_start("ws-b", client_writer, w);
    BUF(m);
    enum ws_type type;
    for (int i = 0; i < 1000; i++) {
        if (ws_client_recv(w, &ctx, &type, &m, &e) != 1)
            fail_msg("%d: %s", i, err_text(&e));
        assert_int_equal(m.len, 5000);
    }
    pthread_join(a, NULL);
    pthread_join(b, NULL);
    struct ctx short_ctx = ctx_with_timeout(&ctx, 50 * NS_PER_MS);
    assert_int_equal(ws_client_recv(w, &short_ctx, &type, &m, &e), -1);
    assert_int_equal(e.code, ERR_TIMEOUT);
    err_clear(&e);
    assert_int_equal(ws_client_close(w, &ctx, WS_NORMAL, "done", &e), 0);
    assert_int_equal(ws_client_send(w, &ctx, WS_TEXT, "late", 4, &e), -1);
    assert_int_equal(e.code, ERR_UNAVAILABLE);
    err_clear(&e);
    assert_int_equal(ws_client_recv(w, &ctx, &type, &m, &e), 0);
    assert_int_equal(ws_client_code(w), WS_NORMAL);
    ws_client_free(w);
    /* Closed by the server. */
    w = ws_dial(c, &ctx, &(struct ws_call){.url = url}, NULL, &e);
    expect_message(w, WS_TEXT, "-");
    assert_null(ws_client_protocol(w));
    assert_int_equal(ws_client_send(w, &ctx, WS_TEXT, "close", 5, &e), 0);
    assert_int_equal(ws_client_recv(w, &ctx, &type, &m, &e), 0);
    assert_int_equal(ws_client_code(w), 3000);
    ws_client_free(w);
    /* Too large for the client. */
    w = ws_dial(c, &ctx, &(struct ws_call){.url = url, .max_message = 1000}, NULL, &e);
    expect_message(w, WS_TEXT, "-");
    assert_int_equal(ws_client_send(w, &ctx, WS_BINARY, m.data, 0, &e), 0);
    assert_int_equal(ws_client_recv(w, &ctx, &type, &m, &e), 1);
    AUTOFREE char *big = xcalloc(1, 2000);
    assert_int_equal(ws_client_send(w, &ctx, WS_BINARY, big, 2000, &e), 0);
    assert_int_equal(ws_client_recv(w, &ctx, &type, &m, &e), -1);
    err_clear(&e);
    ws_client_free(w);
}

static void test_client(void **state)
{
    struct kit k;
    start(&k, NULL);
    ERR(e);
    struct http_client *c = http_client_new(NULL, &e);
    AUTOFREE char *url = xasprintf("ws://127.0.0.1:%d/ws", k.port), *none = xasprintf("http://127.0.0.1:%d/none", k.port);
    client_round(c, url);
    struct ctx ctx = soon();
    struct http_answer refusal;
    assert_null(ws_dial(c, &ctx, &(struct ws_call){.url = none}, &refusal, &e));
    assert_int_equal(refusal.status, 404);
    assert_has(err_text(&e), "404");
    assert_true(refusal.body.len > 0);
    http_answer_free(&refusal);
    http_client_free(c);
    kit_stop(&k);
    wait_closed(3);
}

static void test_client_tls(void **state)
{
    struct kit k;
    ERR(e);
    AUTOFREE char *ca = NULL, *ca_key = NULL, *cert = NULL, *key = NULL;
    static const char *const names[] = {"127.0.0.1", NULL};
    assert_int_equal(tls_make_ca("test", &ca, &ca_key, &e), 0);
    assert_int_equal(tls_make_cert(ca, ca_key, "server", NULL, names, false, &cert, &key, &e), 0);
    const struct tls_server_config tls = {.cert_pem = cert, .key_pem = key};
    start(&k, &tls);
    struct http_client *c = http_client_new(&(struct http_client_config){.ca_pem = ca}, &e);
    AUTOFREE char *url = xasprintf("wss://127.0.0.1:%d/ws", k.port);
    client_round(c, url);
    http_client_free(c);
    kit_stop(&k);
    wait_closed(3);
}

TEST_GROUP(websockets, cmocka_unit_test(test_handshake), cmocka_unit_test(test_frames), cmocka_unit_test(test_peer_ends),
           cmocka_unit_test(test_keep_alive), cmocka_unit_test(test_back_pressure), cmocka_unit_test(test_stop),
           cmocka_unit_test(test_client), cmocka_unit_test(test_client_tls))
