/* What probes ask of the network, against servers that answer with canned bytes. */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/thread.h"
#include "cluster/node/checks/action.h"
#include "net/client.h"
#include "unit.h"

struct server {
    int fd, port;
    const char *answer;
    size_t n;
    pthread_t thread;
};

static void *serve(void *arg)
{
    struct server *s = arg;
    char in[4096];
    int fd = accept(s->fd, NULL, NULL);
    if (fd < 0)
        return NULL;
    (void)!read(fd, in, sizeof in);
    if (s->n)
        (void)!write(fd, s->answer, s->n);
    /* What comes after is read, so that closing does not reset what was sent. No answer: the connection is held. */
    while (read(fd, in, sizeof in) > 0)
        ;
    close(fd);
    return NULL;
}

static void server_start(struct server *s, const char *answer, size_t n)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    *s = (struct server){.answer = answer, .n = n, .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_int_equal(bind(s->fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(s->fd, 4), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&a, &len), 0);
    s->port = ntohs(a.sin_port);
    s->thread = thread_start("canned", serve, s);
}

static void server_stop(struct server *s)
{
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
}

static enum action_result ask(const char *what, int port, struct buf *text)
{
    AUTOFREE char *json = xasprintf(what, port);
    JSON_REF(doc) = json_parse_str(json, NULL);
    assert_non_null(doc);
    jval *root = json_root(doc);
    ERR(e);
    struct http_client *http = http_client_new(&(struct http_client_config){.insecure = true}, &e);
    struct ctx base = ctx_background();
    struct action_env env = {
        .http = http, .pod_ip = "127.0.0.1", .ctx = ctx_with_timeout(&base, NS_PER_S), .timeout_ns = NS_PER_S};
    struct action a = {.http = jv_get(root, "httpGet"), .tcp = jv_get(root, "tcpSocket"), .grpc = jv_get(root, "grpc")};
    enum action_result r = action_run(&env, &a, text);
    http_client_free(http);
    return r;
}

#define SETTINGS  "\0\0\0\4\0\0\0\0\0"
#define OK_HEAD   "\0\0\1\1\4\0\0\0\1\x88"                   /* :status 200 */
#define DATA(b)   "\0\0\7\0\0\0\0\0\1\0\0\0\0\2\x08" b       /* HealthCheckResponse{status} */
#define TRAILERS  "\0\0\17\1\5\0\0\0\1\0\13grpc-status\0010" /* 0 */
#define REFUSED   "\0\0\21\1\5\0\0\0\1\x88\0\13grpc-status\00212"
#define CANNED(s) s, sizeof(s) - 1

static void grpc(void **state)
{
    static const struct {
        const char *answer;
        size_t n;
        enum action_result result;
        const char *text;
    } cases[] = {
        {CANNED(SETTINGS OK_HEAD DATA("\1") TRAILERS), ACTION_OK, ""},
        {CANNED(SETTINGS OK_HEAD DATA("\2") TRAILERS), ACTION_FAILED, "service unhealthy (responded with \"NOT_SERVING\")"},
        {CANNED(SETTINGS REFUSED), ACTION_FAILED, "error: this server does not implement the grpc health protocol"},
        {CANNED("HTTP/1.1 400 Bad Request\r\n\r\n"), ACTION_FAILED, "error: health rpc probe failed"},
        {"", 0, ACTION_FAILED, "timeout: health rpc did not complete within 1s"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct server s;
        BUF(text);
        server_start(&s, cases[i].answer, cases[i].n);
        enum action_result r = ask("{\"grpc\":{\"port\":%d,\"service\":\"x\"}}", s.port, &text);
        if (r != cases[i].result || strncmp(buf_str(&text), cases[i].text, strlen(cases[i].text)) != 0)
            fail_msg("case %zu: result %d, \"%s\"", i, r, buf_str(&text));
        server_stop(&s);
    }
    BUF(text);
    assert_int_equal(ask("{\"grpc\":{\"port\":%d}}", 1, &text), ACTION_FAILED);
    assert_string_equal(buf_str(&text),
                        "timeout: failed to connect service \"127.0.0.1:1\" within 1s: context deadline exceeded");
}

static void http(void **state)
{
    static const struct {
        const char *answer;
        enum action_result result;
        const char *text;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ACTION_OK, ""},
        {"HTTP/1.1 399 X\r\nContent-Length: 0\r\n\r\n", ACTION_OK, ""},
        {"HTTP/1.1 400 X\r\nContent-Length: 0\r\n\r\n", ACTION_FAILED, "HTTP probe failed with statuscode: 400"},
        {"HTTP/1.1 302 X\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n", ACTION_WARNING,
         "Probe terminated redirects"},
        {"", ACTION_FAILED, "Get \"http://127.0.0.1:"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct server s;
        BUF(text);
        server_start(&s, cases[i].answer, strlen(cases[i].answer));
        enum action_result r = ask("{\"httpGet\":{\"path\":\"x\",\"port\":%d}}", s.port, &text);
        if (r != cases[i].result || strncmp(buf_str(&text), cases[i].text, strlen(cases[i].text)) != 0)
            fail_msg("case %zu: result %d, \"%s\"", i, r, buf_str(&text));
        server_stop(&s);
    }
    BUF(text);
    assert_int_equal(ask("{\"httpGet\":{\"path\":\"/a\",\"port\":%d}}", 1, &text), ACTION_FAILED);
    assert_string_equal(buf_str(&text), "Get \"http://127.0.0.1:1/a\": dial tcp 127.0.0.1:1: connect: connection refused");
}

static void tcp(void **state)
{
    struct server s;
    BUF(text);
    server_start(&s, "", 0);
    assert_int_equal(ask("{\"tcpSocket\":{\"port\":%d}}", s.port, &text), ACTION_OK);
    server_stop(&s);
    assert_int_equal(ask("{\"tcpSocket\":{\"port\":%d}}", 1, &text), ACTION_FAILED);
    assert_string_equal(buf_str(&text), "dial tcp 127.0.0.1:1: connect: connection refused");
    buf_reset(&text);
    assert_int_equal(ask("{\"tcpSocket\":{\"port\":\"none%d\"}}", 1, &text), ACTION_ERROR);
}

TEST_GROUP(action, cmocka_unit_test(grpc), cmocka_unit_test(http), cmocka_unit_test(tcp))
