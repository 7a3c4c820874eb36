/* answer.c - the handler's side of an answer: it only fills a struct http_res; respond.c sends it. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "net/exchange.h"

void res_init(struct http_res *res, struct exchange *x) { *res = (struct http_res){.x = x, .status = 200, .fd = -1}; }

static void body_drop(struct http_res *res)
{
    buf_free(&res->body);
    base_closep(&res->fd);
    res->fd = -1;
    if (res->ops) {
        const struct stream_ops *ops = TAKE(res->ops);
        ops->on_close(&res->x->stream, TAKE(res->state));
    }
    res->upgrade = false;
    res->content_type = NULL;
}

void res_reset(struct http_res *res)
{
    body_drop(res);
    res->status = 200;
    res->n_headers = 0;
}

void http_status(struct http_res *res, int status)
{
    ASSERT(status >= 100 && status <= 999);
    res->status = status;
}

/* Names are ours, and tokens (RFC 9110 5.6.2). */
static bool is_token(const char *s) { return *s && !strpbrk(s, " \t\r\n:\"(),/;<=>?@[\\]{}"); }

/* Values may carry what a client sent, as in a Warning: a control character must neither start another field nor end the process.
 */
static char *clean_value(struct arena *a, const char *value)
{
    char *copy = arena_strdup(a, value);
    for (char *c = copy; *c; c++)
        if (((unsigned char)*c < ' ' && *c != '\t') || *c == 0x7f)
            *c = ' ';
    return copy;
}

const char *res_header(const struct http_res *res, const char *name)
{
    for (size_t i = 0; i < res->n_headers; i++)
        if (strcasecmp(res->headers[i].name, name) == 0)
            return res->headers[i].value;
    return NULL;
}

void http_add_header(struct http_res *res, const char *name, const char *value)
{
    ASSERT(is_token(name));
    struct arena *a = &res->x->arena;
    if (res->n_headers == res->cap_headers) {
        size_t cap = res->cap_headers ? res->cap_headers * 2 : 8;
        struct http_header *more = arena_alloc(a, cap * sizeof *more);
        if (res->n_headers)
            memcpy(more, res->headers, res->n_headers * sizeof *more);
        res->headers = more;
        res->cap_headers = cap;
    }
    res->headers[res->n_headers++] = (struct http_header){arena_strdup(a, name), clean_value(a, value)};
}

void http_set_header(struct http_res *res, const char *name, const char *value)
{
    size_t n = 0;
    for (size_t i = 0; i < res->n_headers; i++)
        if (strcasecmp(res->headers[i].name, name) != 0)
            res->headers[n++] = res->headers[i];
    res->n_headers = n;
    http_add_header(res, name, value);
}

static void content_type(struct http_res *res, const char *type)
{
    res->content_type = type ? clean_value(&res->x->arena, type) : NULL;
}

void http_body(struct http_res *res, const char *type, const void *p, size_t n)
{
    body_drop(res);
    content_type(res, type);
    if (n)
        buf_add(&res->body, p, n);
}

void http_body_buf(struct http_res *res, const char *type, struct buf *take)
{
    body_drop(res);
    content_type(res, type);
    res->body = *take;
    *take = BUF_INIT;
}

void http_text(struct http_res *res, int status, const char *fmt, ...)
{
    body_drop(res);
    http_status(res, status);
    content_type(res, "text/plain; charset=utf-8");
    va_list ap;
    va_start(ap, fmt);
    buf_addv(&res->body, fmt, ap);
    va_end(ap);
}

void http_body_file(struct http_res *res, const char *type, int fd, int64_t offset, int64_t length)
{
    ASSERT(fd >= 0 && offset >= 0);
    body_drop(res);
    content_type(res, type);
    res->fd = fd;
    res->file_offset = offset;
    res->file_left = length;
}

static void stream_set(struct http_res *res, const struct stream_ops *ops, void *state, bool upgrade)
{
    ASSERT(ops->on_close);
    body_drop(res);
    res->ops = ops;
    res->state = state;
    res->upgrade = upgrade;
}

void http_stream(struct http_res *res, const char *type, const struct stream_ops *ops, void *state)
{
    stream_set(res, ops, state, false);
    content_type(res, type);
}

void http_upgrade(struct http_res *res, const struct stream_ops *ops, void *state)
{
    ASSERT(ops->on_data);
    stream_set(res, ops, state, true);
    res->status = 101;
}
