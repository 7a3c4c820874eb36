/* test_forward.c - connections to ports of a pod: channels and SPDY, refused, cut, and what nobody should send. */
#include "kit.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define V4 "v4.channel.k8s.io"

static int listener;

static int up(void **state)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&a, sizeof a) < 0 || listen(listener, 16) < 0 ||
        getsockname(listener, (struct sockaddr *)&a, &n) < 0)
        return -1;
    kit_forward_to = ntohs(a.sin_port);
    return kit_up(state);
}

static int down(void **state)
{
    close(listener);
    return kit_down(state);
}

static int taken(void)
{
    struct pollfd p = {.fd = listener, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 10000), 1);
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void test_channels(void **state)
{
    struct talk t;
    talk_open(&t, "/forward?ports=80,443", V4);
    talk_send(&t, 0, "early", 5); /* before the pod's side is there */
    for (unsigned i = 0; i < 4; i++)
        talk_wait(&t, i, 2);
    assert_memory_equal(t.got[0].data, "\x50\0", 2); /* each begins with its port, low byte first */
    assert_memory_equal(t.got[1].data, "\x50\0", 2);
    assert_memory_equal(t.got[2].data, "\xbb\1", 2);
    int a = taken(), b = taken();
    char got[6] = "";
    struct pollfd p[2] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
    assert_int_equal(poll(p, 2, 10000), 1); /* which of the two is port 80 is told by the data */
    int first = p[0].revents ? a : b, second = p[0].revents ? b : a;
    assert_int_equal(read(first, got, 5), 5);
    assert_string_equal(got, "early");
    talk_send(&t, 1, "x", 1); /* the error channel is not the client's */
    talk_send(&t, 6, "x", 1);
    talk_send(&t, 255, "\0", 1);
    talk_send(&t, 2, "to two", 6);
    far_expect(second, "to two");
    assert_int_equal(write(second, "back", 4), 4);
    talk_wait(&t, 2, 6);
    assert_memory_equal(t.got[2].data + 2, "back", 4);
    close(first); /* the other one goes on */
    assert_int_equal(write(second, "more", 4), 4);
    talk_wait(&t, 2, 10);
    talk_send(&t, 0, "to nobody", 9);
    close(second);
    talk_end(&t); /* the last one's end is the connection's */
    assert_int_equal(t.got[1].len + t.got[3].len, 4);
    talk_close(&t);
}

static void test_no_subprotocol(void **state)
{
    struct talk t;
    talk_open(&t, "/forward?ports=80", NULL);
    assert_null(ws_client_protocol(t.ws));
    int fd = taken();
    talk_send(&t, 0, "ask", 3);
    far_expect(fd, "ask");
    assert_int_equal(write(fd, "answer", 6), 6);
    talk_wait(&t, 0, 8);
    assert_memory_equal(t.got[0].data, "\x50\0answer", 8);
    close(fd);
    talk_end(&t);
    talk_close(&t);
}

static void test_client_goes(void **state)
{
    struct talk t;
    talk_open(&t, "/forward?ports=80", V4);
    int fd = taken();
    talk_send(&t, 0, "half a req", 10);
    far_expect(fd, "half a req");
    talk_close(&t);
    char c;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_true(read(fd, &c, 1) <= 0);
    close(fd);
}

static void test_slow_pod(void **state)
{
    enum { PIECES = 512 };
    static const char piece[16384];
    struct talk t;
    talk_open(&t, "/forward?ports=80", V4);
    int fd = taken();
    for (int i = 0; i < 64; i++) /* a megabyte fits on the way */
        talk_send(&t, 0, piece, sizeof piece);
    size_t n = 0;
    char got[65536];
    while (n < 64 * sizeof piece) {
        ssize_t k = read(fd, got, sizeof got);
        assert_true(k > 0);
        n += (size_t)k;
    }
    /* And the other way: a client that does not read stops the pod. */
    assert_true(far_fill(fd, 1) == 1);
    talk_wait(&t, 0, 3);
    close(fd);
    talk_end(&t);
    talk_close(&t);
}

static void test_refused(void **state)
{
    struct talk t;
    talk_open(&t, "/forward?port=7", V4); /* as an API server asks a kubelet */
    talk_end(&t);
    assert_string_equal(buf_str(&t.got[1]) + 2, "error forwarding port 7 to pod p: no container runs");
    talk_close(&t);
    close(listener);
    talk_open(&t, "/forward?ports=80", V4);
    talk_end(&t);
    if (!strstr(buf_str(&t.got[1]) + 2, "error forwarding port 80 to pod p: ") ||
        !strstr(buf_str(&t.got[1]) + 2, "onnection refused"))
        fail_msg("%s", buf_str(&t.got[1]) + 2);
    talk_close(&t);
    listener = -1;
    static const char *const bad[] = {"/forward", "/forward?ports=", "/forward?ports=0", "/forward?ports=65536",
                                      "/forward?ports=80,x"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        ERR(e);
        struct ctx ctx = kit_soon();
        struct http_client *http = http_client_new(&(struct http_client_config){0}, &e);
        AUTOFREE char *url = xasprintf("ws://127.0.0.1:%d%s", kit_port, bad[i]);
        CLEANUP(http_answer_free) struct http_answer answer = {0};
        static const char *const protocols[] = {V4, NULL};
        assert_null(ws_dial(http, &ctx, &(struct ws_call){.url = url, .protocols = protocols}, &answer, &e));
        assert_int_equal(answer.status, 400);
        http_client_free(http);
    }
}

/* ---- SPDY ---- */

#define STREAM(type, id) ((const char *const[]){"streamtype", type, "port", "80", "requestid", id, NULL})

struct want {
    unsigned id;
    const char *part;
};

static bool has(const struct spdy_talk *t, const void *arg)
{
    const struct want *w = arg;
    if (!w->part)
        return t->ended[w->id];
    return *w->part ? strstr(buf_str(&t->got[w->id]), w->part) != NULL : t->reset[w->id];
}

static void spdy_expect(struct spdy_talk *t, unsigned id, const char *part) { spdy_read(t, has, &(struct want){id, part}); }

static void test_spdy_links(void **state)
{
    struct spdy_talk t;
    spdy_talk_open(&t, "/forward", "portforward.k8s.io");
    spdy_stream(&t, 1, STREAM("error", "0"));
    spdy_stream(&t, 3, STREAM("data", "0"));
    spdy_bytes(&t, 3, false, "hello", 5);
    spdy_send(&t, 3); /* in pieces */
    int a = taken();
    far_expect(a, "hello");
    assert_int_equal(write(a, "you too", 7), 7);
    spdy_expect(&t, 3, "you too");
    /* Half of it ends; the other half goes on. */
    spdy_bytes(&t, 3, true, "bye", 3);
    spdy_send(&t, 0);
    far_expect(a, "bye");
    char c;
    assert_int_equal(read(a, &c, 1), 0);
    assert_int_equal(write(a, " and bye", 8), 8);
    spdy_expect(&t, 3, " and bye");
    close(a);
    spdy_expect(&t, 3, NULL);
    spdy_expect(&t, 1, NULL);
    /* The next one on the same connection, reset in the middle. */
    spdy_stream(&t, 5, STREAM("error", "1"));
    spdy_stream(&t, 7, STREAM("data", "1"));
    spdy_stream(&t, 9, STREAM("data", "1")); /* a second for the same request */
    spdy_send(&t, 0);
    spdy_expect(&t, 9, "");
    int b = taken();
    spdy_cut(&t, 7);
    spdy_send(&t, 0);
    struct pollfd p = {.fd = b, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_true(read(b, &c, 1) <= 0);
    close(b);
    /* What is no stream of a port. */
    spdy_stream(&t, 11, (const char *const[]){"streamtype", "data", "port", "0", NULL});
    spdy_stream(&t, 13, (const char *const[]){"streamtype", "stdin", "port", "80", NULL});
    spdy_send(&t, 0);
    spdy_expect(&t, 11, "");
    spdy_expect(&t, 13, "");
    spdy_talk_close(&t);
}

#define CASE(t) cmocka_unit_test_setup_teardown(t, up, down)
TEST_GROUP(forward, CASE(test_channels), CASE(test_no_subprotocol), CASE(test_client_goes), CASE(test_slow_pod),
           CASE(test_refused), CASE(test_spdy_links))
