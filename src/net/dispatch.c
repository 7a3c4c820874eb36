/* dispatch.c - what a worker does with a request: authenticate, authorize, handle, and turn an error into an answer. */
#define LOG_ROOM "http"
#include <string.h>

#include "base/log.h"
#include "net/exchange.h"
#include "net/internal.h"

/* A part of the path, percent-decoded. */
int params_fill(struct http_params *p, struct arena *a, const struct route_match *m, struct err *err)
{
    p->n = m->n;
    for (size_t i = 0; i < m->n; i++) {
        AUTOFREE char *value = NULL;
        if (url_decode(m->params[i].p, m->params[i].len, false, &value) < 0)
            return err_set(err, ERR_BAD_REQUEST, "the path part %.*s is not correctly percent-encoded", (int)m->params[i].len,
                           m->params[i].p);
        p->v[i] = (struct http_header){m->params[i].name, arena_strdup(a, value)};
    }
    return 0;
}

static void allow_header(struct http_res *res, unsigned methods)
{
    BUF(text);
    if (methods & HTTP_GET)
        methods |= HTTP_HEAD;
    for (unsigned bit = HTTP_GET; bit <= HTTP_OPTIONS; bit <<= 1)
        if (methods & bit)
            buf_addf(&text, "%s%s", text.len ? ", " : "", http_method_name((enum http_method)bit));
    http_set_header(res, "Allow", buf_str(&text));
}

static void answer_error(const struct http_api *api, struct http_req *req, struct http_res *res, struct err *e)
{
    if (!e->code)
        err_set(e, ERR_INTERNAL, "the handler of %s failed without saying why", req->path);
    res_reset(res);
    if (api->write_error) {
        http_status(res, err_http_status(e));
        api->write_error(api->self, req, res, e);
    } else {
        http_text(res, err_http_status(e), "%s\n", err_text(e));
    }
    if (e->retry_after_s > 0 && !res_header(res, "Retry-After")) {
        char text[16];
        snprintf(text, sizeof text, "%d", e->retry_after_s);
        http_set_header(res, "Retry-After", text);
    }
}

/* Also where there is no route: what exists here is told to nobody who has not said who he is. */
static int may_they(const struct http_api *api, struct ctx *ctx, struct http_req *req, bool skip_auth, struct err *err)
{
    bool open = req->route && req->route->perm.open;
    if (!skip_auth && api->authenticate) {
        ERR(e);
        if (api->authenticate(api->self, ctx, req, &e) < 0) {
            if (!open)
                return err_move(err, &e);
            ctx->who = NULL;
        }
    }
    if (open || !req->route || !api->authorize)
        return 0;
    return api->authorize(api->self, ctx, req, err);
}

static int handle(const struct http_api *api, struct ctx *ctx, struct http_req *req, struct http_res *res,
                  const struct route_match *m, enum route_result found, bool skip_auth, struct err *err)
{
    req->route = found == ROUTE_FOUND ? m->route : NULL;
    if (found == ROUTE_FOUND && params_fill(req->params, &req->params->x->arena, m, err) < 0)
        return -1; /* before the hooks: they may look at parameters */
    if (may_they(api, ctx, req, skip_auth, err) < 0)
        return -1;
    if (found == ROUTE_NONE)
        return err_set(err, ERR_NOT_FOUND, "there is nothing at %s", req->path);
    if (found == ROUTE_METHOD)
        return err_set(err, ERR_METHOD, "%s is not possible at %s", req->method_text, req->path);
    return m->route->handle(api->self, ctx, req, res, err);
}

static void run(const struct http_api *api, struct ctx *ctx, struct http_req *req, struct http_res *res,
                const struct route_match *m, enum route_result found, bool skip_auth)
{
    int64_t start = ctx_mono_ns(ctx);
    ERR(e);
    if (handle(api, ctx, req, res, m, found, skip_auth, &e) < 0) {
        log_debug("%s %s: %s", req->method_text, req->path, err_text(&e));
        answer_error(api, req, res, &e);
        if (found == ROUTE_METHOD && e.code == ERR_METHOD)
            allow_header(res, m->allowed);
    }
    if (api->after)
        api->after(api->self, req, res->status, ctx_mono_ns(ctx) - start);
}

void http_dispatch(const struct http_api *api, struct ctx *ctx, struct http_req *req, struct http_res *res, const char *path,
                   bool skip_auth)
{
    struct exchange *x = req->params->x;
    const struct api_table *table = server_table(x->server, api);
    struct http_req *sub = ARENA_NEW(&x->arena, struct http_req);
    *sub = *req;
    sub->params = ARENA_NEW(&x->arena, struct http_params);
    sub->params->x = x;
    sub->route = NULL;
    sub->path = path_clean(&x->arena, path);
    if (!sub->path) {
        ERR(e);
        err_set(&e, ERR_BAD_REQUEST, "the path %s has a segment \".\" or \"..\"", path);
        sub->path = arena_strdup(&x->arena, path);
        answer_error(api, sub, res, &e);
        return;
    }
    struct route_match m;
    enum route_result found = route_match(table->routes, sub->method, sub->path, &m);
    run(api, ctx, sub, res, &m, found, skip_auth);
}

void exchange_run(struct exchange *x)
{
    struct ctx ctx = ctx_background();
    ctx.cancel = x->cancel;
    ctx.request_id = x->req.request_id;
    x->req.body = buf_str(&x->body);
    x->req.body_len = x->body.len;
    if (x->refusal.code)
        answer_error(x->table->api, &x->req, &x->res, &x->refusal);
    else
        run(x->table->api, &ctx, &x->req, &x->res, &x->match, x->found, false);
}
