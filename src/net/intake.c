/* intake.c - from a head to an exchange that a worker has, whatever carries it: what is refused before routing, the route, the
 * body and its limits, the worker and the way back. */
#define LOG_ROOM "http"
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "net/internal.h"

/* ---- refusing ---- */

/* The API's own error, written by a worker; the rest of the body is not read. */
static enum intake refuse_by_api(struct exchange *x, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
static enum intake refuse_by_api(struct exchange *x, enum err_code code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_setv(&x->refusal, code, fmt, ap);
    va_end(ap);
    x->carrier->last(x);
    return INTAKE_REFUSED;
}

static enum intake refuse_plain(struct exchange *x, int status, const char *text)
{
    respond_plain(x, status, text);
    return INTAKE_ANSWERED;
}

/* ---- the head ---- */

static const struct mounted *find_mount(const struct listener *ln, const char *path)
{
    for (size_t i = 0; i < ln->n_mounts; i++) {
        const struct mounted *m = &ln->mounts[i];
        if (strncmp(path, m->prefix, m->len) == 0 && (path[m->len] == '/' || path[m->len] == '\0'))
            return m;
    }
    return NULL;
}

/* Finds the API and the route, so that the body's limit is known before the body is read. */
static enum intake route(struct exchange *x)
{
    struct http_req *r = &x->req;
    const struct mounted *m = find_mount(x->conn->listener, r->path);
    if (!m)
        return refuse_plain(x, 404, "nothing is served at this path");
    if (m->strip)
        r->path = r->path[m->len] ? r->path + m->len : "/";
    x->table = m->table;
    x->found = route_match(m->table->routes, r->method, r->path, &x->match);
    size_t dflt = m->table->api->max_body ? m->table->api->max_body : DEFAULT_BODY;
    x->max_body = x->found == ROUTE_FOUND && x->match.route->max_body ? x->match.route->max_body : dflt;
    if (x->found == ROUTE_FOUND)
        r->route = x->match.route;
    return INTAKE_MORE;
}

static enum intake defend(struct exchange *x)
{
    const struct conn *c = x->conn;
    const char *host = http_header_get(&x->req, "host");
    if (!host_allowed(&c->listener->hosts, host, c->local_ip[0] ? c->local_ip : NULL))
        return refuse_plain(x, 421, "this server is not known by the name that the Host field gives");
    if (c->listener->check_browser) {
        const char *why = browser_refuses(&x->req);
        if (why)
            return refuse_plain(x, 403, why);
    }
    return INTAKE_MORE;
}

static enum intake expect(struct exchange *x, bool has_body)
{
    const char *value = http_header_get(&x->req, "expect");
    if (!value || x->http10)
        return INTAKE_MORE;
    if (strcasecmp(value, "100-continue") != 0)
        return refuse_plain(x, 417, "the only expectation that is met here is 100-continue");
    if (!has_body)
        return INTAKE_MORE;
    if (x->found != ROUTE_FOUND) { /* the client waits before it sends: spare it the body */
        x->carrier->last(x);
        return INTAKE_REFUSED;
    }
    if (x->match.route->stream_body)
        x->expects = true; /* until the handler reads */
    else
        x->carrier->go_on(x);
    return INTAKE_MORE;
}

enum intake intake_head(struct exchange *x, int64_t length, bool has_body)
{
    x->req.peer = &x->conn->peer;
    enum intake r = defend(x);
    if (r == INTAKE_MORE)
        r = route(x);
    if (r != INTAKE_MORE)
        return r;
    if (length > 0 && (uint64_t)length > x->max_body)
        return refuse_by_api(x, ERR_TOO_LARGE, "the request body has %" PRId64 " bytes, the limit here is %zu", length,
                             x->max_body);
    r = expect(x, has_body);
    if (r == INTAKE_MORE && x->found == ROUTE_FOUND && x->match.route->stream_body && has_body) {
        x->pipe = body_pipe_new(x);
        intake_dispatch(x);
        if (x->phase != X_HANDLING)
            return INTAKE_ANSWERED;
    }
    return r;
}

/* ---- the body ---- */

void intake_uncharge(struct exchange *x)
{
    if (x->body_charged)
        atomic_fetch_sub(&x->server->body_bytes, x->body_charged);
    x->body_charged = 0;
}

static enum intake piped(struct exchange *x, const char *p, size_t n)
{
    ERR(e);
    if (n > x->max_body - body_pipe_total(x->pipe)) {
        err_set(&e, ERR_TOO_LARGE, "the request body has more than %zu bytes, the limit here", x->max_body);
        body_pipe_fail(x->pipe, &e);
        x->carrier->last(x);
        return INTAKE_REFUSED;
    }
    return body_pipe_put(x->pipe, p, n) ? INTAKE_MORE : INTAKE_FULL;
}

enum intake intake_body(struct exchange *x, const char *p, size_t n)
{
    struct http_server *s = x->server;
    if (x->pipe)
        return piped(x, p, n);
    if (n > x->max_body - x->body.len)
        return refuse_by_api(x, ERR_TOO_LARGE, "the request body has more than %zu bytes, the limit here", x->max_body);
    if (atomic_fetch_add(&s->body_bytes, n) + n > s->limits.max_body_in_flight) {
        atomic_fetch_sub(&s->body_bytes, n);
        refuse_by_api(x, ERR_UNAVAILABLE, "too many large requests are under way; try again in a moment");
        x->refusal.retry_after_s = 1;
        return INTAKE_REFUSED;
    }
    x->body_charged += n;
    buf_add(&x->body, p, n);
    return INTAKE_MORE;
}

void intake_end(struct exchange *x)
{
    if (x->pipe)
        body_pipe_end(x->pipe);
    else
        intake_dispatch(x);
}

void intake_stalled(struct exchange *x)
{
    ERR(e);
    err_set(&e, ERR_TIMEOUT, "the body of the request did not arrive in time");
    e.http_status = 408;
    body_pipe_fail(x->pipe, &e);
    x->carrier->last(x);
}

/* ---- to a worker and back ---- */

static void on_answered(struct loop *l, struct post *p)
{
    struct exchange *x = CONTAINER_OF(p, struct exchange, post);
    struct conn *c = x->conn;
    x->busy = false;
    if (x->phase == X_LOST) {
        x->carrier->reap(x);
        return;
    }
    respond(x);
    conn_update(c);
}

static void work(void *arg)
{
    struct exchange *x = arg;
    struct loop *l = x->conn->loop;
    if (cancel_begin(x)) {
        exchange_run(x);
        respond_read_first(x);
        cancel_end(x);
    }
    loop_post(l, &x->post);
}

void intake_dispatch(struct exchange *x)
{
    x->phase = X_HANDLING;
    x->post.fn = on_answered;
    x->busy = true;
    if (!pool_submit(x->server->workers, work, x)) {
        x->busy = false;
        respond_plain(x, 503, "the server is overloaded or stopping; try again in a moment");
    }
}

void exchange_lost(struct exchange *x)
{
    if (x->phase == X_LOST)
        return;
    if (x->phase == X_STREAM)
        stream_close(x);
    x->phase = X_LOST;
    if (x->busy)
        cancel_gone(x);
    if (x->pipe) {
        ERR(e);
        err_set(&e, ERR_CANCELLED, "the client went away in the middle of the request body");
        body_pipe_fail(x->pipe, &e);
    }
}

bool exchange_is_away(const struct exchange *x) { return x->busy || x->file_reading; }
