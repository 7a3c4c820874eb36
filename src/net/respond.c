/* respond.c - from an answer to bytes: the head, bodies from memory and from files. */
#define LOG_ROOM "http"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
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

/* Fields that say how the message is framed are ours to write. */
static bool ours(const char *name)
{
    static const char *const names[] = {"content-length", "transfer-encoding", "connection", "date"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcasecmp(name, names[i]) == 0)
            return true;
    return false;
}

enum framing { FRAME_LENGTH, FRAME_CHUNKED, FRAME_CLOSE, FRAME_NONE };

static void write_head(struct conn *c, enum framing framing, int64_t length)
{
    struct exchange *x = c->x;
    struct http_res *res = &x->res;
    BUF(h);
    buf_addf(&h, "HTTP/1.1 %d %s\r\nAudit-Id: %s\r\n", res->status, http_reason(res->status), x->req.request_id);
    for (size_t i = 0; i < res->n_headers; i++)
        if (!ours(res->headers[i].name))
            buf_addf(&h, "%s: %s\r\n", res->headers[i].name, res->headers[i].value);
    if (res->content_type && !res_header(res, "Content-Type"))
        buf_addf(&h, "Content-Type: %s\r\n", res->content_type);
    buf_addf(&h, "Date: %s\r\n", loop_date(c->loop));
    if (framing == FRAME_LENGTH)
        buf_addf(&h, "Content-Length: %" PRId64 "\r\n", length);
    else if (framing == FRAME_CHUNKED)
        buf_adds(&h, "Transfer-Encoding: chunked\r\n");
    if (res->status == 101)
        buf_adds(&h, "Connection: Upgrade\r\n");
    else if (c->close_after)
        buf_adds(&h, "Connection: close\r\n");
    else if (x->http10)
        buf_adds(&h, "Connection: keep-alive\r\n");
    buf_adds(&h, "\r\n");
    outq_add(&c->out, h.data, h.len);
}

void respond_plain(struct conn *c, int status, const char *text)
{
    bool head_only = c->x && c->x->req.method == HTTP_HEAD;
    BUF(h);
    buf_addf(&h, "HTTP/1.1 %d %s\r\n", status, http_reason(status));
    if (c->x)
        buf_addf(&h, "Audit-Id: %s\r\n", c->x->req.request_id);
    if (status == 503)
        buf_adds(&h, "Retry-After: 1\r\n");
    buf_addf(&h,
             "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nDate: %s\r\nContent-Length: %zu\r\n"
             "Connection: close\r\n\r\n",
             loop_date(c->loop), strlen(text) + 1);
    if (!head_only)
        buf_addf(&h, "%s\n", text);
    outq_add(&c->out, h.data, h.len);
    c->close_after = true;
    c->state = CONN_SENDING;
    conn_dirty(c);
}

/* ---- bodies ---- */

static void respond_stream(struct conn *c)
{
    struct exchange *x = c->x;
    enum framing framing = FRAME_CHUNKED;
    if (x->res.upgrade)
        framing = FRAME_NONE;
    else if (x->http10)
        framing = FRAME_CLOSE;
    if (framing == FRAME_CLOSE)
        c->close_after = true;
    write_head(c, framing, 0);
    stream_begin(c);
}

/* For a HEAD that was passed on to somebody else, who said how long the body would be. */
static int64_t told_length(const struct http_res *res, int64_t dflt)
{
    const char *told = res_header(res, "Content-Length");
    int64_t n;
    return told && dflt == 0 && str_to_i64(told, &n) && n >= 0 ? n : dflt;
}

void respond(struct conn *c)
{
    struct exchange *x = c->x;
    struct http_res *res = &x->res;
    const char *connection = res_header(res, "Connection");
    if (c->loop->stopping || (connection && strcasecmp(connection, "close") == 0))
        c->close_after = true;
    conn_dirty(c);
    if (res->ops) {
        respond_stream(c);
        return;
    }
    bool bodyless = res->status < 200 || res->status == 204 || res->status == 304;
    bool head_only = x->req.method == HTTP_HEAD;
    int64_t length = res->fd >= 0 ? res->file_left : (int64_t)res->body.len;
    write_head(c, bodyless ? FRAME_NONE : FRAME_LENGTH, head_only ? told_length(res, length) : length);
    c->state = CONN_SENDING;
    if (bodyless || head_only) {
        base_closep(&res->fd);
        res->fd = -1;
        return;
    }
    struct buf *b = res->fd >= 0 ? &x->first_chunk : &res->body;
    res->file_left -= (int64_t)x->first_chunk.len;
    res->file_offset += (int64_t)x->first_chunk.len;
    size_t n;
    char *bytes = buf_steal(b, &n);
    outq_add_shared(&c->out, bytes, n, free, bytes);
}

/* ---- files: read by the file pool a chunk at a time, so that a slow disk holds up nobody but who asked ---- */

struct file_job {
    struct post post;
    struct conn *conn;
    int fd;
    int64_t offset;
    ssize_t got;
    size_t want;
    char *bytes;
};

static ssize_t read_chunk(int fd, char *p, size_t n, int64_t offset)
{
    size_t got = 0;
    while (got < n) {
        ssize_t r = pread(fd, p + got, n - got, offset + (int64_t)got);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -1;
        if (r == 0)
            break;
        got += (size_t)r;
    }
    return (ssize_t)got;
}

static size_t chunk_size(int64_t left) { return left < (int64_t)FILE_CHUNK ? (size_t)left : FILE_CHUNK; }

static int measure_file(struct http_res *res, struct err *err)
{
    struct stat st;
    if (fstat(res->fd, &st) < 0)
        return err_errno(err, "looking at a file to be sent");
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INTERNAL, "what was to be sent is not a regular file");
    int64_t rest = st.st_size > res->file_offset ? st.st_size - res->file_offset : 0;
    if (res->file_left < 0 || res->file_left > rest)
        res->file_left = rest;
    return 0;
}

void respond_read_first(struct exchange *x)
{
    struct http_res *res = &x->res;
    if (res->fd < 0)
        return;
    ERR(e);
    int rc = measure_file(res, &e);
    if (rc == 0 && x->req.method != HTTP_HEAD && res->file_left > 0) {
        size_t want = chunk_size(res->file_left);
        buf_reserve(&x->first_chunk, want);
        ssize_t got = read_chunk(res->fd, x->first_chunk.data, want, res->file_offset);
        if (got == (ssize_t)want)
            x->first_chunk.len = want;
        else
            rc = got < 0 ? err_errno(&e, "reading a file to be sent")
                         : err_set(&e, ERR_IO, "a file became shorter while it was sent");
    }
    if (rc < 0) {
        log_warn("%s: %s", x->req.path, err_text(&e));
        buf_free(&x->first_chunk);
        res_reset(res);
        http_text(res, 500, "%s\n", err_text(&e));
    }
}

static void on_chunk(struct loop *l, struct post *p)
{
    struct file_job *j = CONTAINER_OF(p, struct file_job, post);
    struct conn *c = j->conn;
    c->file_reading = false;
    if (c->state == CONN_CLOSED) {
        free(j->bytes);
        conn_reap(c);
    } else if (j->got != (ssize_t)j->want) {
        /* The length was announced: cutting the connection is the only way to say that this is not the file. */
        log_warn("%s: a file could not be read to its end", c->x->req.path);
        free(j->bytes);
        conn_close(c);
    } else {
        c->x->res.file_offset += j->got;
        c->x->res.file_left -= j->got;
        outq_add_shared(&c->out, j->bytes, j->want, free, j->bytes);
        conn_dirty(c);
    }
    free(j);
}

static void read_job(void *arg)
{
    struct file_job *j = arg;
    struct loop *l = j->conn->loop;
    j->got = read_chunk(j->fd, j->bytes, j->want, j->offset);
    loop_post(l, &j->post);
}

void respond_more_file(struct conn *c)
{
    struct http_res *res = &c->x->res;
    if (c->file_reading)
        return;
    if (res->file_left == 0) {
        base_closep(&res->fd);
        res->fd = -1;
        if (!c->out.bytes)
            conn_next(c);
        return;
    }
    if (c->out.bytes >= FILE_CHUNK)
        return;
    struct file_job *j = xcalloc(1, sizeof *j);
    j->post.fn = on_chunk;
    j->conn = c;
    j->fd = res->fd;
    j->offset = res->file_offset;
    j->want = chunk_size(res->file_left);
    j->bytes = xmalloc(j->want);
    c->file_reading = true;
    if (!pool_submit(c->loop->server->files, read_job, j)) {
        c->file_reading = false;
        free(j->bytes);
        free(j);
        conn_close(c);
    }
}
