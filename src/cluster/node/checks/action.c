#include "cluster/node/checks/action.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"
#include "base/timefmt.h"
#include "kube/fields.h"
#include "net/client.h"

enum { OUTPUT_MAX = 10 * 1024, REDIRECTS_MAX = 10, HEADERS_MAX = 64 };
#define USER_AGENT "kube-probe/1.34"

void action_add_seconds(struct buf *b, int64_t ns)
{
    char text[TIME_TEXT_MAX];
    buf_adds(b, duration_format(text, ns));
}

static int poll_ms(const struct ctx *ctx)
{
    int64_t left = ctx_left_ns(ctx);
    return left > INT32_MAX * NS_PER_MS ? INT32_MAX : (int)((left + NS_PER_MS - 1) / NS_PER_MS);
}

/* Waits until fd is ready; -1 when time is over or the wait was given up. */
static int wait_for(const struct action_env *env, int fd, short events)
{
    struct pollfd p[] = {{.fd = fd, .events = events}, {.fd = env->ctx.cancel ? env->ctx.cancel->fd : -1, .events = POLLIN}};
    ERR(e);
    for (;;) {
        if (ctx_check(&env->ctx, &e) < 0) {
            errno = ETIMEDOUT;
            return -1;
        }
        int rc = poll(p, ARRAY_LEN(p), poll_ms(&env->ctx));
        if (rc > 0 && p[0].revents)
            return 0;
        if (rc < 0 && errno != EINTR)
            return -1;
    }
}

/* ---- ports and hosts ---------------------------------------------------------------------------------------------------- */

/* A number, or the name of one of the container's ports. */
static int port_of(const struct action_env *env, jval *v)
{
    int64_t n = jv_i64_or(v, 0);
    const char *name = jv_str(v);
    jval *ports = container_ports(env->container);
    for (size_t i = 0; name && i < jv_len(ports); i++)
        if (str_eq(container_port_name(jv_at(ports, i)), name))
            n = container_port_container_port(jv_at(ports, i), 0);
    if (name && !n && !str_to_i64(name, &n))
        n = 0;
    return n > 0 && n < 65536 ? (int)n : -1;
}

int action_connect(const struct action_env *env, const char *host, int port)
{
    char service[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    snprintf(service, sizeof service, "%d", port);
    if (getaddrinfo(host, service, &hints, &list) != 0) {
        errno = EHOSTUNREACH;
        return -1;
    }
    int fd = -1, why = EHOSTUNREACH;
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        socklen_t len = sizeof why;
        why = errno;
        if (fd < 0)
            continue;
        why = connect(fd, a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
        if (why == EINPROGRESS && wait_for(env, fd, POLLOUT) < 0)
            why = ETIMEDOUT;
        else if (why == EINPROGRESS && getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &len) < 0)
            why = errno;
        if (why) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    errno = why;
    return fd;
}

static void add_host(struct buf *b, const char *host, int port)
{
    buf_addf(b, strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, port);
}

/* ---- exec ------------------------------------------------------------------------------------------------------------------ */

/* Reads what is there; closes at the end. */
static void drain(int *fd, struct buf *out)
{
    char piece[4096];
    ssize_t n;
    while (*fd >= 0 && (n = read(*fd, piece, sizeof piece)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            break;
        if (out->len < OUTPUT_MAX)
            buf_add(out, piece, (size_t)n < OUTPUT_MAX - out->len ? (size_t)n : OUTPUT_MAX - out->len);
    }
    base_closep(fd);
    *fd = -1;
}

/* 1: it ended with *code; 0: time is over; -1: it could not be started. */
static int follow(const struct action_env *env, struct node_process *p, struct buf *text, int *code, struct err *err)
{
    for (;;) {
        struct pollfd fds[] = {{.fd = p->status, .events = POLLIN},
                               {.fd = p->out, .events = POLLIN},
                               {.fd = p->err, .events = POLLIN},
                               {.fd = env->ctx.cancel ? env->ctx.cancel->fd : -1, .events = POLLIN}};
        ERR(late);
        if (ctx_check(&env->ctx, &late) < 0)
            return 0;
        if (poll(fds, ARRAY_LEN(fds), poll_ms(&env->ctx)) < 0 && errno != EINTR)
            return err_errno(err, "poll");
        drain(&p->out, text);
        drain(&p->err, text);
        if (!fds[0].revents)
            continue;
        int rc = node_process_ended(p, code, err);
        drain(&p->out, text);
        drain(&p->err, text);
        if (rc != 0)
            return rc;
    }
}

static enum action_result run_exec(const struct action_env *env, jval *exec, struct buf *text)
{
    jval *command = exec_action_command(exec);
    AUTOFREE const char **args = xcalloc(jv_len(command) + 1, sizeof *args);
    struct node_process p = NODE_PROCESS_NONE;
    int code = 0;
    ERR(e);
    for (size_t i = 0; i < jv_len(command); i++)
        args[i] = jv_str_or(jv_at(command, i), "");
    struct exec_spec spec = {.args = args, .out = true, .err = true};
    if (env->runtime->ops->exec(env->runtime, &env->ref, &spec, &p, &e) < 0) {
        buf_adds(text, err_text(&e));
        return ACTION_ERROR;
    }
    int rc = follow(env, &p, text, &code, &e);
    node_process_close(&p);
    if (rc == 0) {
        BUF(words);
        for (size_t i = 0; args[i]; i++)
            buf_addf(&words, "%s%s", i ? " " : "", args[i]);
        buf_reset(text);
        buf_addf(text, "command timed out: \"%s\" timed out after ", buf_str(&words));
        action_add_seconds(text, env->timeout_ns);
        return ACTION_FAILED;
    }
    if (rc < 0) {
        if (!text->len)
            buf_adds(text, err_text(&e));
        return ACTION_FAILED;
    }
    return code ? ACTION_FAILED : ACTION_OK;
}

/* ---- HTTP -------------------------------------------------------------------------------------------------------------------
 */

static size_t headers_of(jval *list, struct http_header *out)
{
    size_t n = 0;
    bool agent = false, accept = false;
    for (size_t i = 0; i < jv_len(list) && n < HEADERS_MAX - 3; i++) {
        const char *name = http_header_name(jv_at(list, i)), *value = http_header_value(jv_at(list, i));
        if (str_empty(name))
            continue;
        agent |= strcasecmp(name, "user-agent") == 0;
        accept |= strcasecmp(name, "accept") == 0;
        if (!str_empty(value)) /* an empty one says: send none */
            out[n++] = (struct http_header){name, value};
    }
    if (!agent)
        out[n++] = (struct http_header){"User-Agent", USER_AGENT};
    if (!accept)
        out[n++] = (struct http_header){"Accept", "*/*"};
    out[n++] = (struct http_header){"Connection", "close"};
    return n;
}

/* "http://host:port" of a URL. */
static size_t origin_len(const char *url)
{
    const char *at = strstr(url, "://");
    return at ? (size_t)(at + 3 - url) + strcspn(at + 3, "/?#") : 0;
}

/* In Go's words. */
static void add_failure(const struct action_env *env, struct buf *text, const char *url, const char *host, int port,
                        const struct err *e)
{
    BUF(where);
    add_host(&where, host, port);
    buf_addf(text, "Get \"%s\": ", url);
    if (e->sys_errno == ECONNREFUSED || strstr(err_text(e), "refused"))
        buf_addf(text, "dial tcp %s: connect: connection refused", buf_str(&where));
    else if (e->code == ERR_TIMEOUT || ctx_left_ns(&env->ctx) == 0)
        buf_adds(text, "context deadline exceeded (Client.Timeout exceeded while awaiting headers)");
    else
        buf_adds(text, err_text(e));
}

static enum action_result judge(const struct http_answer *head, const char *url, char **next, struct buf *text)
{
    const char *location = http_answer_header(head, "location");
    if (head->status >= 300 && head->status < 400 && location) {
        size_t own = origin_len(url);
        if (location[0] == '/' && location[1] != '/')
            *next = xasprintf("%.*s%s", (int)own, url, location);
        else if (own && strncmp(location, url, own) == 0)
            *next = xstrdup(location);
        if (*next)
            return ACTION_OK;
        buf_addf(text, "Probe terminated redirects, Response body: ");
        return ACTION_WARNING;
    }
    if (head->status >= 200 && head->status < 400)
        return ACTION_OK;
    buf_addf(text, "HTTP probe failed with statuscode: %d", head->status);
    return ACTION_FAILED;
}

static enum action_result run_http(const struct action_env *env, jval *get, struct buf *text)
{
    struct http_header headers[HEADERS_MAX];
    const char *scheme = http_get_action_scheme(get), *path = http_get_action_path(get), *host = http_get_action_host(get);
    int port = port_of(env, http_get_action_port(get));
    BUF(where);
    if (port < 0) {
        buf_addf(text, "invalid port number");
        return ACTION_ERROR;
    }
    if (str_empty(host))
        host = env->pod_ip ? env->pod_ip : "127.0.0.1";
    add_host(&where, host, port);
    AUTOFREE char *url = xasprintf("%s://%s%s%s", scheme && strcasecmp(scheme, "HTTPS") == 0 ? "https" : "http", buf_str(&where),
                                   path && path[0] == '/' ? "" : "/", path ? path : "");
    struct http_call call = {
        .method = HTTP_GET, .headers = headers, .n_headers = headers_of(http_get_action_http_headers(get), headers)};
    for (int i = 0; i <= REDIRECTS_MAX; i++) {
        struct http_answer head = {0};
        AUTOFREE char *next = NULL;
        ERR(e);
        call.url = url;
        struct http_body *body = http_open(env->http, &env->ctx, &call, &head, &e);
        if (!body) {
            add_failure(env, text, url, host, port, &e);
            return ACTION_FAILED;
        }
        enum action_result r = judge(&head, url, &next, text);
        http_body_close(body);
        http_answer_free(&head);
        if (!next)
            return r;
        free(url);
        url = TAKE(next);
    }
    buf_addf(text, "Get \"%s\": stopped after %d redirects", url, REDIRECTS_MAX);
    return ACTION_FAILED;
}

/* ---- the others
 * ---------------------------------------------------------------------------------------------------------------- */

static enum action_result run_tcp(const struct action_env *env, jval *tcp, struct buf *text)
{
    const char *host = tcp_socket_action_host(tcp);
    int port = port_of(env, tcp_socket_action_port(tcp));
    if (port < 0) {
        buf_addf(text, "invalid port number");
        return ACTION_ERROR;
    }
    if (str_empty(host))
        host = env->pod_ip ? env->pod_ip : "127.0.0.1";
    AUTOCLOSE int fd = action_connect(env, host, port);
    if (fd >= 0)
        return ACTION_OK;
    int why = errno;
    buf_adds(text, "dial tcp ");
    add_host(text, host, port);
    if (why == ETIMEDOUT) {
        buf_adds(text, ": i/o timeout");
        return ACTION_FAILED;
    }
    AUTOFREE char *words = xstrdup(strerror(why));
    words[0] = (char)tolower((unsigned char)words[0]);
    buf_addf(text, ": connect: %s", words);
    return ACTION_FAILED;
}

static enum action_result run_sleep(const struct action_env *env, jval *sleep_)
{
    struct pollfd p = {.fd = env->ctx.cancel ? env->ctx.cancel->fd : -1, .events = POLLIN};
    int64_t ns = sleep_action_seconds(sleep_, 0) * NS_PER_S, left = ctx_left_ns(&env->ctx);
    int64_t ms = (ns < left ? ns : left) / NS_PER_MS;
    poll(&p, 1, ms > INT32_MAX ? INT32_MAX : (int)ms);
    return ACTION_OK;
}

enum action_result action_run(const struct action_env *env, const struct action *a, struct buf *text)
{
    if (a->exec)
        return run_exec(env, a->exec, text);
    if (a->http)
        return run_http(env, a->http, text);
    if (a->tcp)
        return run_tcp(env, a->tcp, text);
    if (a->grpc)
        return action_grpc(env, env->pod_ip ? env->pod_ip : "127.0.0.1", (int)grpc_action_port(a->grpc, 0),
                           grpc_action_service(a->grpc), text);
    if (a->sleep)
        return run_sleep(env, a->sleep);
    buf_adds(text, "no handler is given");
    return ACTION_ERROR;
}
