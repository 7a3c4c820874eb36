/* Raw bytes as a client sends them, in two pieces: parser, request, defence, routes, parameters, query. And the same bytes as a
 * server's answer, and as a URL. Whatever they are, nothing may crash, and what was parsed must obey the limits. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/defence.h"
#include "net/exchange.h"
#include "net/parse.h"
#include "net/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int handle(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err) { return 0; }
static const struct route routes[] = {
    {HTTP_GET | HTTP_POST, "/apis/{group}/{version}/namespaces/{ns}/{kind}/{name}", handle},
    {HTTP_GET, "/runs/{id}", handle},
    {HTTP_POST, "/runs/{id}:archive", handle},
    {HTTP_GET, "/runs/last", handle},
    {HTTP_GET, "/a/{x}/c", handle},
    {HTTP_GET, "/a/b/d", handle},
    {HTTP_GET | HTTP_OTHER, "/proxy/{rest...}", handle},
    {HTTP_GET, "/", handle},
};

struct run {
    struct h1 *h1;
    struct exchange *x;
    const struct route_table *table;
    size_t body, heads;
};

static void ask(struct exchange *x)
{
    const char *k, *v;
    for (size_t i = 0; http_query_at(&x->req, i, &k, &v); i++)
        ASSERT(k && v && http_query(&x->req, k) && http_query_count(&x->req, k) > 0);
    http_query_bool(&x->req, "a");
    ASSERT(x->req.path[0] == '/' && !strstr(x->req.path, "//"));
    ASSERT(x->req.n_headers <= 50);
}

static int on_head(void *self)
{
    struct run *r = self;
    ASSERT(r->heads++ == 0);
    struct exchange *x = r->x;
    if (!x)
        return 0;
    ERR(e);
    if (exchange_set_h1(x, r->h1, &e) < 0) {
        ASSERT(e.code == ERR_BAD_REQUEST && *err_text(&e));
        return -1;
    }
    ask(x);
    static const struct host_rules rules = {.address = "127.0.0.1", .loopback = true};
    host_allowed(&rules, http_header_get(&x->req, "host"), "10.0.0.1");
    browser_refuses(&x->req);
    if (route_match(r->table, x->req.method, x->req.path, &x->match) == ROUTE_FOUND &&
        params_fill(&x->params, &x->arena, &x->match, &e) == 0)
        for (size_t i = 0; i < x->params.n; i++)
            ASSERT(str_eq(http_param(&x->req, x->params.v[i].name), x->params.v[i].value));
    return 0;
}

static int on_body(void *self, const char *p, size_t n)
{
    struct run *r = self;
    r->body += n;
    return r->body > 1000 ? -1 : 0;
}

static void parse(struct run *r, const char *p, size_t size, size_t cut)
{
    size_t used = 0, at = 0;
    enum h1_result res = H1_MORE;
    for (int piece = 0; piece < 2 && res == H1_MORE; piece++) {
        size_t n = piece ? size - cut : cut;
        res = h1_feed(r->h1, p + at, n, &used);
        ASSERT(used <= n);
        at += n;
    }
    if (res == H1_MORE)
        h1_finish(r->h1);
    if (res == H1_ERROR)
        ASSERT(h1_status(r->h1) >= 400 && *h1_reason(r->h1));
    ASSERT(h1_fields(r->h1) <= 50);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct route_table *table;
    if (!table)
        table = route_table_new(routes, ARRAY_LEN(routes));
    if (size < 1)
        return 0;
    size_t cut = data[0] % size;
    const char *p = (const char *)data + 1;
    size--;
    if (cut > size)
        cut = size;
    static const struct h1_limits limits = {.max_bytes = 4096, .max_url = 1024, .max_fields = 50};
    static const struct h1_ops ops = {on_head, on_body};

    struct run r = {.table = table, .x = exchange_new(NULL, NULL)};
    r.h1 = h1_request_new(&limits, &ops, &r);
    parse(&r, p, size, cut);
    h1_free(r.h1);
    exchange_free(r.x);

    r = (struct run){0};
    r.h1 = h1_response_new(&limits, &ops, &r);
    parse(&r, p, size, cut);
    h1_free(r.h1);

    char *text = strndup(p, size);
    URL(u);
    if (url_parse(text, &u, NULL) == 0)
        ASSERT(u.host && u.authority && u.target[0] == '/');
    free(text);
    return 0;
}
