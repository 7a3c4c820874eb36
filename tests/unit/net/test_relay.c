/* test_relay.c - another server's answer, passed on as it comes: short ones whole, long ones as streams, broken ones broken. */
#include "kit.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "net/relay.h"

enum { LONG = 3000000 };

/* What the other server says, by a thread of its own. */
static struct script {
    const char *says;
    size_t then;         /* as many x */
    bool stays, upgrade; /* stays: it does not hang up */
    int fd;
    pthread_t by;
} script;

static void *say(void *arg)
{
    static char many[65536];
    struct script *s = arg;
    memset(many, 'x', sizeof many);
    if (send(s->fd, s->says, strlen(s->says), MSG_NOSIGNAL) < 0)
        return NULL;
    for (size_t left = s->then; left > 0;) {
        ssize_t n = send(s->fd, many, left < sizeof many ? left : sizeof many, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        left -= (size_t)n;
    }
    if (!s->stays)
        shutdown(s->fd, SHUT_WR);
    return NULL;
}

static bool keeps(const char *name) { return strcmp(name, "x-keep") == 0; }

static int pass_on(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct http_relay how = {.keeps = keeps,
                             .no_body = req->method == HTTP_HEAD,
                             .upgrade = script.upgrade,
                             .until_mono_ns = clock_system.mono_ns(&clock_system) + (script.stays ? 60 : 1) * NS_PER_S};
    int both[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both), 0);
    assert_int_equal(fcntl(both[0], F_SETFL, O_NONBLOCK), 0);
    script.fd = both[1];
    script.by = thread_start("says", say, &script);
    int rc = http_relay_answer(res, &both[0], &how, err);
    assert_int_equal(both[0] == -1, rc == 0 && !how.switched);
    if (how.switched)
        http_text(res, 200, "switched, then %s", buf_str(&how.rest));
    buf_free(&how.rest);
    if (both[0] >= 0)
        close(both[0]);
    return rc;
}

static void write_error(void *self, struct http_req *req, struct http_res *res, const struct err *e)
{
    http_text(res, err_http_status(e), "%s", err_text(e));
}

static const struct route routes[] = {{HTTP_GET | HTTP_HEAD, "/", pass_on, {.open = true}, 0}};
static const struct http_api api = {.name = "relay", .routes = routes, .n_routes = 1, .write_error = write_error};

static char *ask(const struct script *s, const char *method)
{
    struct kit k;
    struct mount m = {.prefix = "/", .api = &api};
    script = *s;
    kit_start_with(&k, NULL, &(struct listener_config){.mounts = &m, .n_mounts = 1});
    AUTOFREE char *request = xasprintf("%s / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", method);
    char *said = kit_talk(k.port, request);
    kit_stop(&k);
    pthread_join(script.by, NULL);
    close(script.fd);
    return said;
}

#define OK      "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nX-Keep: 1\r\nX-Drop: 2\r\n"
#define CHUNKED OK "Transfer-Encoding: chunked\r\n\r\n"

static void test_answers(void **state)
{
    static const struct {
        struct script says;
        const char *status, *has, *ends;
    } cases[] = {
        {{OK "Content-Length: 5\r\n\r\nhello", .stays = true}, "200", "ontent-Length: 5\r\n", "\r\n\r\nhello"},
        {{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nX-Keep: 9\r\n\r\n" OK "Content-Length: 2\r\n\r\nhi", .stays = true},
         "200",
         "x-keep: 1\r\n",
         "\r\n\r\nhi"},
        {{"HTTP/1.1 204 No Content\r\nX-Keep: 1\r\n\r\n", .stays = true}, "204", "x-keep: 1\r\n", "\r\n\r\n"},
        {{"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", .stays = true}, "404", "application/octet-stream", "no"},
        {{CHUNKED "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", .stays = true}, "200", "a/b", "hello world"},
        {{"HTTP/1.0 200 OK\r\n\r\nto the end"}, "200", "octet-stream", "to the end"},
        {{CHUNKED "5\r\nhello\r\n"}, "200", "hello", NULL},                          /* it broke off */
        {{CHUNKED "5\r\nhello\r\nzz\r\n", .stays = true}, "503", "malformed", NULL}, /* seen in time */
        {{OK "Content-Length: 9\r\n\r\nshort"}, "503", "EOF", NULL},
        {{OK}, "503", "EOF", NULL},
        {{"nonsense\r\n\r\n"}, "503", "malformed", NULL},
        {{"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nrest", .stays = true, .upgrade = true},
         "200",
         "upgrade: echo",
         "switched, then rest"},
        {{OK "Content-Length: 2\r\n\r\nhi", .stays = true, .upgrade = true},
         "503",
         "invalid upgrade response: status code 200",
         NULL},
        {{"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", .stays = true, .upgrade = true}, "403", "no", NULL},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *said = ask(&cases[i].says, "GET");
        size_t n = strlen(said), tail = cases[i].ends ? strlen(cases[i].ends) : 0;
        bool chunked = strstr(said, "chunked"), whole = n > 5 && strcmp(said + n - 5, "0\r\n\r\n") == 0;
        if (strncmp(said + 9, cases[i].status, 3) != 0 || !strstr(said, cases[i].has) || strstr(said, "x-drop"))
            fail_msg("case %zu: %s", i, said);
        if (cases[i].ends && !chunked && strcmp(said + n - tail, cases[i].ends) != 0)
            fail_msg("case %zu ends otherwise: %s", i, said);
        if (chunked && whole != !!cases[i].ends)
            fail_msg("case %zu: the client sees %s: %s", i, whole ? "a whole body" : "a broken one", said);
    }
    AUTOFREE char *head = ask(&(struct script){OK "Content-Length: 5\r\n\r\n", .stays = true}, "HEAD");
    assert_status(head, 200);
}

/* Longer than what is kept of an answer: by its length, in one piece to the end of the connection, and one that is cut. */
static void test_long(void **state)
{
    static const struct {
        const char *head;
        bool whole;
    } cases[] = {{OK "Content-Length: 3000000\r\n\r\n", true},
                 {"HTTP/1.0 200 OK\r\n\r\n", true},
                 {OK "Content-Length: 3000001\r\n\r\n", false}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *said = ask(&(struct script){cases[i].head, .then = LONG}, "GET");
        size_t got = 0, n = strlen(said);
        for (const char *p = strstr(said, "\r\n\r\n"); p && *p; p++)
            got += *p == 'x';
        assert_status(said, 200);
        assert_true(cases[i].whole ? got == LONG : got > 0 && got <= LONG); /* what was queued goes with the connection */
        assert_int_equal(strcmp(said + n - 5, "0\r\n\r\n") == 0, cases[i].whole);
    }
}

TEST_GROUP(relays, cmocka_unit_test(test_answers), cmocka_unit_test(test_long))
