/* respond.c - from an answer to bytes, whatever carries them: bodies from memory and from files, and plain refusals. */
#define LOG_ROOM "http"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "net/internal.h"

bool header_is_ours(const char *name)
{
    static const char *const names[] = {"content-length", "transfer-encoding", "connection", "date"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcasecmp(name, names[i]) == 0)
            return true;
    return false;
}

void respond_plain(struct exchange *x, int status, const char *text)
{
    res_reset(&x->res);
    http_text(&x->res, status, "%s\n", text);
    http_set_header(&x->res, "X-Content-Type-Options", "nosniff");
    if (status == 503)
        http_set_header(&x->res, "Retry-After", "1");
    x->carrier->last(x);
    respond(x);
}

/* For a HEAD that was passed on to somebody else, who said how long the body would be. */
static int64_t told_length(const struct http_res *res, int64_t dflt)
{
    const char *told = res_header(res, "Content-Length");
    int64_t n;
    return told && dflt == 0 && str_to_i64(told, &n) && n >= 0 ? n : dflt;
}

static void queue_body(struct exchange *x)
{
    struct http_res *res = &x->res;
    struct buf *b = res->fd >= 0 ? &x->first_chunk : &res->body;
    res->file_left -= (int64_t)x->first_chunk.len;
    res->file_offset += (int64_t)x->first_chunk.len;
    x->all_queued = res->fd < 0;
    size_t n;
    char *bytes = buf_steal(b, &n);
    outq_add_owned(x->out, bytes, n);
}

/* Too much waits for this client already. What only reads may be asked again; it is told so by a head alone, which no window
 * holds up. Of what has changed something only the end of the connection says nothing wrong. */
static bool too_much_waits(struct exchange *x)
{
    struct http_res *res = &x->res;
    size_t n = res->body.len + x->first_chunk.len;
    if (!x->conn || conn_may_hold(x->conn, n))
        return false;
    if (loop_may_warn(x->conn->loop))
        log_warn("%s: an answer of %zu bytes was not kept for a client that leaves %zu bytes unread", x->req.path, n,
                 x->conn->held.held);
    if (!(x->req.method & (HTTP_GET | HTTP_HEAD))) {
        x->carrier->cut(x);
        return true;
    }
    buf_free(&x->first_chunk);
    res_reset(res);
    res->status = 429;
    http_set_header(res, "Retry-After", "1");
    return false;
}

void respond(struct exchange *x)
{
    struct http_res *res = &x->res;
    if (x->pipe && !body_pipe_ended(x->pipe))
        x->carrier->last(x);
    x->carrier->changed(x);
    if (too_much_waits(x))
        return;
    if (res->ops) {
        x->carrier->head(x, res->upgrade ? BODY_NONE : BODY_STREAM);
        if (x->phase != X_LOST)
            stream_begin(x);
        return;
    }
    bool bodyless = res->status < 200 || res->status == 204 || res->status == 304;
    bool head_only = x->req.method == HTTP_HEAD;
    int64_t length = res->fd >= 0 ? res->file_left : (int64_t)res->body.len;
    x->carrier->head(x, bodyless ? BODY_NONE : head_only ? told_length(res, length) : length);
    x->phase = X_SENDING;
    if (bodyless || head_only) {
        base_closep(&res->fd);
        res->fd = -1;
        x->all_queued = true;
        return;
    }
    queue_body(x);
}

/* ---- files: read by the file pool a chunk at a time, so that a slow disk holds up nobody but who asked ---- */

struct file_job {
    struct post post;
    struct exchange *x;
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
    struct exchange *x = j->x;
    x->file_reading = false;
    if (x->phase == X_LOST) {
        free(j->bytes);
        x->carrier->reap(x);
    } else if (j->got != (ssize_t)j->want) {
        /* The length was announced: cutting the answer is the only way to say that this is not the file. */
        log_warn("%s: a file could not be read to its end", x->req.path);
        free(j->bytes);
        x->carrier->cut(x);
    } else {
        x->res.file_offset += j->got;
        x->res.file_left -= j->got;
        outq_add_owned(x->out, j->bytes, j->want);
        x->carrier->changed(x);
    }
    free(j);
}

static void read_job(void *arg)
{
    struct file_job *j = arg;
    struct loop *l = j->x->conn->loop;
    j->got = read_chunk(j->fd, j->bytes, j->want, j->offset);
    loop_post(l, &j->post);
}

static void more_of_file(struct exchange *x)
{
    struct http_res *res = &x->res;
    if (x->file_reading)
        return;
    if (res->file_left == 0) {
        base_closep(&res->fd);
        res->fd = -1;
        x->all_queued = true;
        if (!x->out->bytes)
            x->carrier->over(x);
        return;
    }
    if (x->out->bytes >= FILE_CHUNK)
        return;
    struct file_job *j = xcalloc(1, sizeof *j);
    j->post.fn = on_chunk;
    j->x = x;
    j->fd = res->fd;
    j->offset = res->file_offset;
    j->want = chunk_size(res->file_left);
    j->bytes = xmalloc(j->want);
    x->file_reading = true;
    if (!pool_submit(x->server->files, read_job, j)) {
        x->file_reading = false;
        free(j->bytes);
        free(j);
        x->carrier->cut(x);
    }
}

/* ---- what the carrier tells ---- */

void respond_drained(struct exchange *x)
{
    if (x->phase == X_STREAM)
        stream_drained(x);
    else if (x->phase == X_SENDING && !x->all_queued)
        more_of_file(x);
    else if (x->phase == X_SENDING && !x->out->bytes)
        x->carrier->over(x);
}
