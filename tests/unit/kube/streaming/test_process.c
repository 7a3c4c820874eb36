/* test_process.c - a program's streams: ends, cuts, sizes in pieces, who is slow, and what nobody should send. */
#include "kit.h"

#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/thread.h"

enum { STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = 255 };
#define ALL "/process?stdin=1&stdout=1&stderr=1"
#define V4  "v4.channel.k8s.io"
#define V5  "v5.channel.k8s.io"

/* The last word, once everything is closed. */
static void expect_status(struct talk *t, const char *part)
{
    talk_end(t);
    if (!strstr(buf_str(&t->got[STATUS]), part))
        fail_msg("%s, not %s", buf_str(&t->got[STATUS]), part);
}

static void test_how_it_ended(void **state)
{
    static const struct {
        const char *how, *status, *bad;
    } cases[] = {
        {"exit 0", "{\"metadata\":{},\"status\":\"Success\"}", ""},
        {"exit 7", "\"reason\":\"NonZeroExitCode\",\"details\":{\"causes\":[{\"reason\":\"ExitCode\",\"message\":\"7\"}]}", ""},
        {"fail 127 no such program", "\"message\":\"127\"", "no such program\n"},
        {"fail 126 not executable", "\"message\":\"126\"", "not executable\n"},
        {"fail 1 the node is on fire", "error executing command in container: the node is on fire", ""},
        {"rubbish", "\"reason\":\"InternalError\"", ""},
        {NULL, "the node's helper process is gone", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct far f;
        struct talk t;
        far_open(&f, false);
        talk_open(&t, ALL, i % 2 ? V4 : V5);
        if (cases[i].how)
            far_ends(&f, cases[i].how);
        far_close(&f);
        expect_status(&t, cases[i].status);
        assert_string_equal(buf_str(&t.got[STDERR]), cases[i].bad);
        talk_close(&t);
    }
}

/* Clients that name no subprotocol, or that of old, get a text when it failed and nothing when it did not. */
static void test_before_v4(void **state)
{
    static const struct {
        const char *protocol, *how, *status;
    } cases[] = {
        {NULL, "exit 0", ""},
        {NULL, "exit 7", "command terminated with non-zero exit code"},
        {"channel.k8s.io", "exit 0", ""},
        {"channel.k8s.io", "fail 1 the node is on fire",
         "Internal error occurred: error executing command in container: the node is on fire"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct far f;
        struct talk t;
        far_open(&f, false);
        talk_open(&t, ALL, cases[i].protocol);
        if (cases[i].protocol)
            assert_string_equal(ws_client_protocol(t.ws), cases[i].protocol);
        else
            assert_null(ws_client_protocol(t.ws));
        far_ends(&f, cases[i].how);
        far_close(&f);
        talk_end(&t);
        assert_string_equal(buf_str(&t.got[STATUS]), cases[i].status);
        talk_close(&t);
    }
}

static void expect_text(struct talk *t, const char *wanted)
{
    BUF(got);
    ERR(e);
    enum ws_type type;
    struct ctx ctx = kit_soon();
    do
        assert_int_equal(ws_client_recv(t->ws, &ctx, &type, &got, &e), 1);
    while (got.len == 1); /* an empty message opens the session */
    assert_int_equal(type, WS_TEXT);
    assert_string_equal(buf_str(&got), wanted);
}

static void test_base64(void **state)
{
    struct far f;
    struct talk t;
    ERR(e);
    struct ctx ctx = kit_soon();
    far_open(&f, false);
    talk_open(&t, ALL, "v4.base64.channel.k8s.io");
    assert_int_equal(ws_client_send(t.ws, &ctx, WS_TEXT, "0YWI=", 5, &e), 0);
    far_expect(f.in, "ab");
    assert_int_equal(write(f.out, "cd", 2), 2);
    expect_text(&t, "1Y2Q=");
    assert_int_equal(write(f.err, "e", 1), 1);
    expect_text(&t, "2ZQ==");
    assert_int_equal(ws_client_send(t.ws, &ctx, WS_TEXT, "0*", 2, &e), 0);
    talk_end(&t);
    assert_int_equal(ws_client_code(t.ws), WS_BAD_DATA);
    far_close(&f);
    talk_close(&t);
}

/* Only v5 has a message that ends the input, and it has one form. */
static void test_end_of_input(void **state)
{
    struct far f;
    struct talk t;
    far_open(&f, false);
    talk_open(&t, ALL, V5);
    talk_send(&t, STDIN, "ab", 2);
    far_expect(f.in, "ab");
    talk_send(&t, CLOSE, "", 0);
    talk_send(&t, CLOSE, "\1", 1); /* stdout is not the client's to close */
    talk_send(&t, CLOSE, "\0\0", 2);
    talk_send(&t, STDIN, "c", 1);
    far_expect(f.in, "c");
    talk_send(&t, STDIN, "d", 1);
    talk_send(&t, CLOSE, "\0", 1);
    talk_send(&t, STDIN, "e", 1); /* too late */
    far_expect(f.in, "d");
    assert_true(far_closed(f.in));
    char c;
    assert_int_equal(read(f.in, &c, 1), 0);
    far_ends(&f, "exit 0");
    far_close(&f);
    expect_status(&t, "Success");
    talk_close(&t);
    far_open(&f, false);
    talk_open(&t, ALL, V4);
    talk_send(&t, CLOSE, "\0", 1); /* v4 knows no such thing */
    talk_send(&t, STDIN, "still", 5);
    far_expect(f.in, "still");
    talk_close(&t);
    assert_true(far_closed(f.status));
    far_close(&f);
}

static void test_what_nobody_should_send(void **state)
{
    struct far f;
    struct talk t;
    ERR(e);
    struct ctx ctx = kit_soon();
    far_open(&f, false);
    talk_open(&t, ALL, V5);
    static const unsigned char channels[] = {1, 2, 3, 4, 5, 7, 128, 254};
    for (size_t i = 0; i < ARRAY_LEN(channels); i++)
        talk_send(&t, channels[i], "{\"Width\":1,\"Height\":1}", 22);
    assert_int_equal(ws_client_send(t.ws, &ctx, WS_BINARY, "", 0, &e), 0); /* a message without a channel */
    assert_int_equal(ws_client_send(t.ws, &ctx, WS_TEXT, "\0text", 5, &e), 0);
    far_expect(f.in, "text");
    talk_send(&t, STDIN, "fine", 4);
    far_expect(f.in, "fine");
    far_ends(&f, "exit 0");
    far_close(&f);
    expect_status(&t, "Success");
    talk_close(&t);
}

/* The client is gone in the middle: the descriptor whose closing ends the program is closed. */
static void test_cut_in_the_middle(void **state)
{
    for (int i = 0; i < 3; i++) {
        struct far f;
        struct talk t;
        far_open(&f, i == 2);
        talk_open(&t, i == 2 ? "/process?stdin=1&stdout=1&tty=1" : ALL, V5);
        if (i == 1) { /* with much under way, both ways */
            far_fill(f.out, 3 << 20);
            for (int k = 0; k < 4; k++)
                talk_send(&t, STDIN, "some", 4);
        }
        talk_close(&t);
        assert_true(far_closed(f.status));
        far_close(&f);
    }
}

static bool size_is(int tty, int columns, int rows)
{
    struct winsize w = {0};
    for (int i = 0; i < 1000; i++) {
        ioctl(tty, TIOCGWINSZ, &w);
        if (w.ws_col == columns && w.ws_row == rows)
            return true;
        usleep(10000);
    }
    return false;
}

static void test_sizes(void **state)
{
    struct far f;
    struct talk t;
    far_open(&f, true);
    talk_open(&t, "/process?stdin=1&stdout=1&tty=1", V5);
    static const char *const whole = "{\"Width\":120,\"Height\":40}";
    talk_send(&t, RESIZE, whole, strlen(whole));
    assert_true(size_is(f.tty, 120, 40));
    static const char *const pieces[] = {
        "{\"Wid", "th\":", "9", "0,\"Height\":3", "0}", "\n{\"Width\":91,\"Height\":31}{\"Wi", "dth\":92,\"Height\":32}"};
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++)
        talk_send(&t, RESIZE, pieces[i], strlen(pieces[i]));
    assert_true(size_is(f.tty, 92, 32)); /* the last one counts */
    static const char *const wrong[] = {"{\"Width\":0,\"Height\":9}",
                                        "{\"Width\":70000,\"Height\":9}",
                                        "{\"Width\":9}",
                                        "}}}",
                                        "{\"Width\":\"9\",\"Height\":\"9\"}",
                                        "null}"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        talk_send(&t, RESIZE, wrong[i], strlen(wrong[i]));
    AUTOFREE char *endless = xcalloc(1, 1001);
    memset(endless, 'x', 1000);
    talk_send(&t, RESIZE, endless, 1000); /* without an end: thrown away, not kept for ever */
    talk_send(&t, RESIZE, whole, strlen(whole));
    assert_true(size_is(f.tty, 120, 40));
    assert_int_equal(write(f.tty, "hi", 2), 2);
    talk_wait(&t, STDOUT, 2);
    far_ends(&f, "exit 0");
    far_close(&f);
    expect_status(&t, "Success");
    talk_close(&t);
}

/* ---- who is slow ---- */

/* A client that does not read stops the program after a bounded while; what was said arrives once it does. */
static void test_slow_client(void **state)
{
    enum { MUCH = 64 << 20 };
    struct far f;
    struct talk t;
    far_open(&f, false);
    talk_open(&t, ALL, V5);
    size_t n = far_fill(f.out, MUCH);
    assert_true(n < MUCH / 2);
    int out = f.out;
    f.out = -1;
    far_ends(&f, "exit 0");
    far_close(&f);
    close(out);
    expect_status(&t, "Success"); /* though much of it is read more than a second after the program's end */
    assert_int_equal(t.got[STDOUT].len, n);
    talk_close(&t);
}

static void *send_much(void *arg)
{
    static const char piece[16384];
    for (int i = 0; i < 1024; i++)
        talk_send(arg, STDIN, piece, sizeof piece);
    talk_send(arg, CLOSE, "\0", 1);
    return NULL;
}

/* A program that does not read stops the client; nothing is lost when it does. */
static void test_slow_program(void **state)
{
    struct far f;
    struct talk t;
    far_open(&f, false);
    talk_open(&t, ALL, V5);
    pthread_t thread = thread_start("sender", send_much, &t);
    usleep(300000);
    size_t n = 0;
    char piece[65536];
    ssize_t k;
    while ((k = read(f.in, piece, sizeof piece)) > 0)
        n += (size_t)k;
    assert_int_equal(k, 0);
    assert_int_equal(n, 1024 * 16384);
    pthread_join(thread, NULL);
    far_ends(&f, "exit 0");
    far_close(&f);
    expect_status(&t, "Success");
    talk_close(&t);
}

/* A program that reads no more is no reason to end: it may have much to say. */
static void test_program_closes_its_input(void **state)
{
    struct far f;
    struct talk t;
    far_open(&f, false);
    talk_open(&t, ALL, V5);
    close(f.in);
    f.in = -1;
    for (int i = 0; i < 50; i++)
        talk_send(&t, STDIN, "nobody", 6);
    assert_int_equal(write(f.out, "said", 4), 4);
    talk_wait(&t, STDOUT, 4);
    far_ends(&f, "exit 3");
    far_close(&f);
    expect_status(&t, "\"message\":\"3\"");
    talk_close(&t);
}

/* A child of the program keeps its output open: its end is waited for until it is silent for a second. */
static void test_child_holds_the_output(void **state)
{
    struct far f;
    struct talk t;
    far_open(&f, false);
    talk_open(&t, ALL, V5);
    far_ends(&f, "exit 0");
    for (int i = 0; i < 15; i++) { /* longer than that second, and never silent for most of it */
        usleep(100000);
        assert_int_equal(write(f.out, "x", 1), 1);
    }
    expect_status(&t, "Success");
    assert_string_equal(buf_str(&t.got[STDOUT]), "xxxxxxxxxxxxxxx");
    far_close(&f);
    talk_close(&t);
}

/* ---- SPDY ---- */

#define STREAM(type) ((const char *const[]){"streamtype", type, NULL})

struct want {
    unsigned id;
    const char *part; /* NULL: its end; "": its reset */
};

static bool has(const struct spdy_talk *t, const void *arg)
{
    const struct want *w = arg;
    if (!w->part)
        return t->ended[w->id];
    return *w->part ? strstr(buf_str(&t->got[w->id]), w->part) != NULL : t->reset[w->id];
}

static bool is_closed(const struct spdy_talk *t, const void *arg) { return t->closed; }

static void spdy_expect(struct spdy_talk *t, unsigned id, const char *part) { spdy_read(t, has, &(struct want){id, part}); }

static void open_streams(struct spdy_talk *t)
{
    spdy_stream(t, 1, STREAM("error"));
    spdy_stream(t, 3, STREAM("stdin"));
    spdy_stream(t, 5, STREAM("stdout"));
    spdy_stream(t, 7, STREAM("stderr"));
}

/* Every frame arrives in pieces, of one byte and of others. */
static void test_half_frames(void **state)
{
    static const size_t pieces[] = {1, 3, 7, 11};
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        struct far f;
        struct spdy_talk t;
        far_open(&f, false);
        spdy_talk_open(&t, ALL, V4);
        open_streams(&t);
        spdy_bytes(&t, 3, false, "hello ", 6);
        spdy_bytes(&t, 3, true, "there", 5);
        spdy_send(&t, pieces[i]);
        far_expect(f.in, "hello there");
        assert_true(far_closed(f.in));
        assert_int_equal(write(f.out, "out", 3), 3);
        assert_int_equal(write(f.err, "bad", 3), 3);
        spdy_expect(&t, 5, "out");
        spdy_expect(&t, 7, "bad");
        far_ends(&f, "exit 5");
        far_close(&f);
        spdy_expect(&t, 1, "\"message\":\"5\"");
        spdy_expect(&t, 1, NULL);
        spdy_expect(&t, 5, NULL);
        spdy_read(&t, is_closed, NULL);
        spdy_talk_close(&t);
    }
}

/* A reset of the input is its end; a reset of an output silences it; the status comes all the same. */
static void test_resets(void **state)
{
    struct far f;
    struct spdy_talk t;
    far_open(&f, false);
    spdy_talk_open(&t, ALL, V4);
    open_streams(&t);
    spdy_stream(&t, 9, STREAM("stdout"));  /* one of each */
    spdy_stream(&t, 11, STREAM("resize")); /* there is no terminal */
    spdy_stream(&t, 13, STREAM("nonsense"));
    spdy_bytes(&t, 15, false, "to nobody", 9);
    spdy_bytes(&t, 3, false, "in", 2);
    spdy_send(&t, 0);
    spdy_expect(&t, 9, "");
    spdy_expect(&t, 11, "");
    spdy_expect(&t, 13, "");
    far_expect(f.in, "in");
    spdy_cut(&t, 3);
    spdy_cut(&t, 5);
    spdy_send(&t, 0);
    assert_true(far_closed(f.in));
    assert_int_equal(write(f.out, "unheard", 7), 7);
    assert_int_equal(write(f.err, "heard", 5), 5);
    spdy_expect(&t, 7, "heard");
    far_ends(&f, "exit 0");
    far_close(&f);
    spdy_expect(&t, 1, "Success");
    assert_null(strstr(buf_str(&t.got[5]), "unheard"));
    spdy_talk_close(&t);
}

/* Whoever breaks the protocol, or goes away before its streams have come, ends the program. */
static void test_spdy_broken(void **state)
{
    for (int i = 0; i < 4; i++) {
        struct far f;
        struct spdy_talk t;
        far_open(&f, false);
        spdy_talk_open(&t, ALL, V4);
        if (i > 0)
            open_streams(&t);
        if (i == 1)
            spdy_bytes(&t, 3, false, "half a frame", 12);
        if (i == 2)
            buf_add(&t.sent, "\x80\x03\0\1\xff\xff\xff\xff", 8);
        if (i == 3)
            buf_adds(&t.sent, "GET / HTTP/1.1\r\n\r\n");
        if (i == 1)
            t.sent.len -= 5;
        spdy_send(&t, 0);
        if (i < 2) {
            shutdown(t.fd, SHUT_RDWR);
            close(t.fd);
            t.fd = -1;
        }
        if (i < 3) /* to the last, "GET / HT" is data of a stream that is not there, of four bytes and then of more than come */
            assert_true(far_closed(f.status));
        spdy_talk_close(&t);
        assert_true(far_closed(f.status));
        far_close(&f);
    }
}

#define CASE(t) cmocka_unit_test_setup_teardown(t, kit_up, kit_down)
TEST_GROUP(process, CASE(test_how_it_ended), CASE(test_before_v4), CASE(test_base64), CASE(test_end_of_input),
           CASE(test_what_nobody_should_send), CASE(test_cut_in_the_middle), CASE(test_sizes), CASE(test_slow_client),
           CASE(test_slow_program), CASE(test_program_closes_its_input), CASE(test_child_holds_the_output),
           CASE(test_half_frames), CASE(test_resets), CASE(test_spdy_broken))
