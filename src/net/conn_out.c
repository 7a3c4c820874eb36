/* conn_out.c - how HTTP/1.1 carries an exchange: the text of the head, chunks, and what moves the connection on. */
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "net/internal.h"

static const struct {
    int status;
    const char *text;
} reasons[] = {
    {101, "Switching Protocols"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Request Entity Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Requested Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Entity"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {499, "Client Closed Request"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

const char *http_reason(int status)
{
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return "Status";
}

/* ---- the head ---- */

static bool is_chunked(const struct exchange *x) { return !x->http10 && !x->stream.upgraded; }

static void connection_field(const struct conn *c, const struct exchange *x, struct buf *h)
{
    if (x->res.status == 101)
        buf_adds(h, "Connection: Upgrade\r\n");
    else if (c->close_after)
        buf_adds(h, "Connection: close\r\n");
    else if (x->http10)
        buf_adds(h, "Connection: keep-alive\r\n");
}

static void head(struct exchange *x, int64_t length)
{
    struct conn *c = x->conn;
    struct http_res *res = &x->res;
    const char *connection = res_header(res, "Connection");
    if (c->loop->stopping || (connection && strcasecmp(connection, "close") == 0) || (length == BODY_STREAM && x->http10))
        c->close_after = true;
    BUF(h);
    buf_addf(&h, "HTTP/1.1 %d %s\r\nAudit-Id: %s\r\n", res->status, http_reason(res->status), x->req.request_id);
    for (size_t i = 0; i < res->n_headers; i++)
        if (!header_is_ours(res->headers[i].name))
            buf_addf(&h, "%s: %s\r\n", res->headers[i].name, res->headers[i].value);
    if (res->content_type && !res_header(res, "Content-Type"))
        buf_addf(&h, "Content-Type: %s\r\n", res->content_type);
    buf_addf(&h, "Date: %s\r\n", loop_date(c->loop));
    if (length >= 0)
        buf_addf(&h, "Content-Length: %" PRId64 "\r\n", length);
    else if (length == BODY_STREAM && !x->http10)
        buf_adds(&h, "Transfer-Encoding: chunked\r\n");
    connection_field(c, x, &h);
    buf_adds(&h, "\r\n");
    outq_add(x->out, h.data, h.len);
    c->state = CONN_ANSWER;
}

/* ---- streams ---- */

static void chunk(struct exchange *x, size_t n)
{
    if (!is_chunked(x))
        return;
    char text[24];
    int len = snprintf(text, sizeof text, "%zx\r\n", n);
    outq_add(x->out, text, (size_t)len);
}

static void chunk_end(struct exchange *x)
{
    if (is_chunked(x))
        outq_add(x->out, "\r\n", 2);
}

static void stream_is_over(struct exchange *x)
{
    if (is_chunked(x))
        outq_add(x->out, "0\r\n\r\n", 5);
}

/* ---- the connection ---- */

static void go_on(struct exchange *x)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (x->conn->state == CONN_ANSWER) /* it has gone on by itself, or is refused by now */
        return;
    outq_add(x->out, text, sizeof text - 1);
    conn_dirty(x->conn);
}

static void changed(struct exchange *x) { conn_dirty(x->conn); }

static void room(struct exchange *x)
{
    struct conn *c = x->conn;
    if (c->state != CONN_BODY || !c->body_full || body_pipe_full(x->pipe))
        return;
    c->body_full = false;
    conn_deadline(c, c->loop->server->limits.body_idle_timeout_ms);
    conn_dirty(c);
}

static void last(struct exchange *x) { x->conn->close_after = true; }
static void cut(struct exchange *x) { conn_close(x->conn); }
static void over(struct exchange *x) { conn_next(x->conn); }
static void reap(struct exchange *x) { conn_reap(x->conn); }

const struct carrier h1_carrier = {
    .head = head,
    .chunk = chunk,
    .chunk_end = chunk_end,
    .stream_end = stream_is_over,
    .go_on = go_on,
    .changed = changed,
    .room = room,
    .last = last,
    .cut = cut,
    .over = over,
    .reap = reap,
};
