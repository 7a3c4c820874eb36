/* request.c - what handlers ask of a request, and how a request is made of a head. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/id.h"
#include "net/exchange.h"
#include "net/parse.h"

static const struct {
    enum http_method method;
    const char *name;
} methods[] = {
    {HTTP_GET, "GET"},     {HTTP_HEAD, "HEAD"},     {HTTP_POST, "POST"},       {HTTP_PUT, "PUT"},
    {HTTP_PATCH, "PATCH"}, {HTTP_DELETE, "DELETE"}, {HTTP_OPTIONS, "OPTIONS"},
};

const char *http_method_name(enum http_method m)
{
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (methods[i].method == m)
            return methods[i].name;
    return "OTHER";
}

static enum http_method method_of(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (strcmp(methods[i].name, name) == 0)
            return methods[i].method;
    return HTTP_OTHER;
}

void *http_alloc(struct http_req *req, size_t n) { return arena_alloc(&req->params->x->arena, n); }
char *http_strdup(struct http_req *req, const char *s) { return arena_strdup(&req->params->x->arena, s); }

const char *http_header_get(const struct http_req *r, const char *lower_name)
{
    for (size_t i = 0; i < r->n_headers; i++)
        if (strcmp(r->headers[i].name, lower_name) == 0)
            return r->headers[i].value;
    return NULL;
}

const char *http_param(const struct http_req *r, const char *name)
{
    for (size_t i = 0; i < r->params->n; i++)
        if (strcmp(r->params->v[i].name, name) == 0)
            return r->params->v[i].value;
    ASSERT(!"the route has such a parameter");
}

/* ---- query ---- */

/* As Go's url.ParseQuery: '+' is a space, empty pairs and those with broken escapes are left out. */
static void query_parse(const struct http_req *r)
{
    struct http_params *p = r->params;
    struct arena *a = &p->x->arena;
    p->query_parsed = true;
    size_t max = 1;
    for (const char *c = r->query; *c; c++)
        max += *c == '&';
    p->query = arena_alloc(a, max * sizeof *p->query);
    for (const char *at = r->query; *at;) {
        size_t len = strcspn(at, "&");
        const char *eq = memchr(at, '=', len);
        size_t name_len = eq ? (size_t)(eq - at) : len;
        AUTOFREE char *name = NULL, *value = NULL;
        if (len && url_decode(at, name_len, true, &name) == 0 &&
            url_decode(eq ? eq + 1 : "", eq ? len - name_len - 1 : 0, true, &value) == 0)
            p->query[p->n_query++] = (struct http_header){arena_strdup(a, name), arena_strdup(a, value)};
        at += len + (at[len] == '&');
    }
}

bool http_query_at(const struct http_req *r, size_t i, const char **name, const char **value)
{
    if (!r->params->query_parsed)
        query_parse(r);
    if (i >= r->params->n_query)
        return false;
    *name = r->params->query[i].name;
    *value = r->params->query[i].value;
    return true;
}

const char *http_query_nth(const struct http_req *r, const char *name, size_t i)
{
    const char *k, *v;
    for (size_t at = 0; http_query_at(r, at, &k, &v); at++)
        if (strcmp(k, name) == 0 && i-- == 0)
            return v;
    return NULL;
}

const char *http_query(const struct http_req *r, const char *name) { return http_query_nth(r, name, 0); }

size_t http_query_count(const struct http_req *r, const char *name)
{
    size_t n = 0;
    const char *k, *v;
    for (size_t at = 0; http_query_at(r, at, &k, &v); at++)
        n += strcmp(k, name) == 0;
    return n;
}

bool http_query_bool(const struct http_req *r, const char *name)
{
    const char *v = http_query(r, name);
    return v && strcmp(v, "0") != 0 && strcasecmp(v, "false") != 0;
}

/* ---- making ---- */

struct exchange *exchange_new(struct http_server *server, struct conn *conn)
{
    struct exchange *x = xcalloc(1, sizeof *x);
    x->server = server;
    x->conn = conn;
    x->params.x = x;
    x->req.params = &x->params;
    x->req.method_text = x->req.raw_path = x->req.path = x->req.query = x->req.body = "";
    uuid4(x->req.request_id);
    res_init(&x->res, x);
    x->stream.x = x;
    return x;
}

void exchange_free(struct exchange *x)
{
    if (!x)
        return;
    res_reset(&x->res);
    if (x->body_charged)
        intake_uncharge(x);
    buf_free(&x->body);
    body_pipe_free(x->pipe);
    buf_free(&x->first_chunk);
    err_clear(&x->refusal);
    arena_free(&x->arena);
    free(x);
}

/* "." or "..", with any of the dots percent-encoded. */
static bool dot_segment(const char *seg, size_t len)
{
    size_t dots = 0;
    while (len > 0 && dots < 3) {
        size_t step = seg[0] == '.' ? 1 : len >= 3 && strncasecmp(seg, "%2e", 3) == 0 ? 3 : 0;
        if (!step)
            return false;
        seg += step;
        len -= step;
        dots++;
    }
    return dots == 1 || dots == 2;
}

char *path_clean(struct arena *a, const char *path)
{
    size_t n = strlen(path);
    char *out = arena_alloc(a, n + 2), *w = out;
    if (path[0] != '/')
        *w++ = '/';
    for (const char *p = path; *p;) {
        if (*p == '/') {
            while (p[1] == '/')
                p++;
            *w++ = *p++;
            continue;
        }
        size_t len = strcspn(p, "/");
        if (dot_segment(p, len))
            return NULL;
        memcpy(w, p, len);
        w += len;
        p += len;
    }
    *w = '\0';
    return out;
}

/* origin-form, or absolute-form as a client that thinks we are a proxy sends it (RFC 9112 3.2.2: must be accepted, and its
 * authority replaces the Host field). */
static const char *target_path(struct exchange *x, const char *target, const char **host)
{
    size_t scheme = strncasecmp(target, "http://", 7) == 0 ? 7 : strncasecmp(target, "https://", 8) == 0 ? 8 : 0;
    if (!scheme)
        return target;
    size_t len = strcspn(target + scheme, "/?");
    *host = arena_strndup(&x->arena, target + scheme, len);
    target += scheme + len;
    return *target == '/' ? target : arena_printf(&x->arena, "/%s", target);
}

static int set_target(struct exchange *x, const char *target, struct err *err)
{
    struct http_req *r = &x->req;
    if (target[0] != '/')
        return err_set(err, ERR_BAD_REQUEST, "the request target must start with '/'");
    size_t path_len = strcspn(target, "?#");
    const char *query = target[path_len] == '?' ? target + path_len + 1 : "";
    r->raw_path = arena_strndup(&x->arena, target, path_len);
    r->query = arena_strndup(&x->arena, query, strcspn(query, "#"));
    r->path = path_clean(&x->arena, r->raw_path);
    if (!r->path)
        return err_set(err, ERR_BAD_REQUEST, "the path has a segment \".\" or \"..\"");
    return 0;
}

int exchange_set_head(struct exchange *x, const struct head *head, struct err *err)
{
    struct http_req *r = &x->req;
    const char *host = head->host ? arena_strdup(&x->arena, head->host) : NULL;
    r->method = method_of(head->method);
    r->method_text = arena_strdup(&x->arena, head->method);
    const char *target = target_path(x, head->target, &host);
    size_t n = head->n_headers, hosts = 0;
    struct http_header *h = arena_alloc(&x->arena, (n + 2) * sizeof *h);
    for (size_t i = 0; i < n; i++) {
        h[i] =
            (struct http_header){arena_strdup(&x->arena, head->headers[i].name), arena_strdup(&x->arena, head->headers[i].value)};
        if (strcmp(h[i].name, "host") == 0) {
            hosts++;
            if (host)
                h[i].value = host;
        }
    }
    if (hosts == 0 && head->host) {
        h[n++] = (struct http_header){"host", host};
        hosts++;
    }
    r->headers = h;
    r->n_headers = n;
    x->http10 = head->http10;
    x->keep_alive = head->keep_alive;
    if (hosts > 1 || (hosts == 0 && !x->http10))
        return err_set(err, ERR_BAD_REQUEST, "a request has one Host field, this one has %zu", hosts);
    return set_target(x, target, err);
}

int exchange_set_h1(struct exchange *x, const struct h1 *h1, struct err *err)
{
    size_t n = h1_fields(h1);
    AUTOFREE struct http_header *fields = xcalloc(n + 1, sizeof *fields);
    for (size_t i = 0; i < n; i++)
        fields[i] = (struct http_header){h1_name(h1, i), h1_value(h1, i)};
    const struct head head = {.method = h1_method(h1),
                              .target = h1_target(h1),
                              .headers = fields,
                              .n_headers = n,
                              .http10 = h1_minor(h1) == 0,
                              .keep_alive = h1_keep_alive(h1)};
    return exchange_set_head(x, &head, err);
}
