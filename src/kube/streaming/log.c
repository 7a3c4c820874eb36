/* log.c - logs of a container over HTTP. Files are read in a small pool, never on a loop: the stream asks for a piece, a worker
 * reads it into a buffer and wakes the stream, the stream sends it and asks for the next one while the client keeps up. */
#include <stdatomic.h>
#include <stdlib.h>

#include "base/timefmt.h"
#include "kube/rules/validate.h"
#include "kube/streaming/streaming.h"

#define PIECE      (64 * 1024)
#define HIGH_WATER (256 * 1024)

struct streaming_log {
    atomic_int refs; /* the stream, and a job that is queued or running */
    struct pool *pool;
    pthread_mutex_t lock; /* all below */
    struct node_log *log;
    struct stream_handle *handle;
    struct buf pending; /* read, not yet given to the stream */
    bool reading, more, over, failed, closed;
};

static void unref(struct streaming_log *s)
{
    if (atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    if (s->log)
        s->log->close(s->log); /* no notify after this */
    if (s->handle)
        stream_handle_unref(s->handle);
    buf_free(&s->pending);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void read_piece(void *arg)
{
    struct streaming_log *s = arg;
    BUF(b);
    ERR(e);
    int rc = s->log->read(s->log, PIECE, &b, &e);
    pthread_mutex_lock(&s->lock);
    buf_add(&s->pending, b.data ? b.data : "", b.len);
    s->reading = false;
    s->more |= rc == 1;
    s->over = rc == 2 || rc < 0;
    s->failed = rc < 0;
    struct stream_handle *h = s->closed ? NULL : s->handle;
    if (h)
        stream_wake(h);
    pthread_mutex_unlock(&s->lock);
    unref(s);
}

/* Under the lock. */
static void ask(struct streaming_log *s)
{
    if (s->reading || s->over || s->closed || !s->more)
        return;
    s->reading = true;
    s->more = false;
    atomic_fetch_add(&s->refs, 1);
    if (pool_submit(s->pool, read_piece, s))
        return;
    s->reading = false;
    s->over = s->failed = true;
    atomic_fetch_sub(&s->refs, 1);
}

void streaming_log_notify(void *arg)
{
    struct streaming_log *s = arg;
    LOCK_GUARD(&s->lock);
    s->more = true;
    if (s->handle && !s->closed)
        stream_wake(s->handle);
}

static void on_more(struct stream *st, void *state)
{
    struct streaming_log *s = state;
    LOCK_GUARD(&s->lock);
    if (s->pending.len)
        stream_write(st, s->pending.data, s->pending.len);
    buf_reset(&s->pending);
    if (s->failed)
        stream_abort(st);
    else if (s->over)
        stream_end(st);
    else if (stream_queued(st) < HIGH_WATER)
        ask(s);
}

static void on_start(struct stream *st, void *state)
{
    struct streaming_log *s = state;
    pthread_mutex_lock(&s->lock);
    s->handle = stream_handle(st);
    s->more = true;
    pthread_mutex_unlock(&s->lock);
    on_more(st, state);
}

static void on_close(struct stream *st, void *state)
{
    (void)st;
    struct streaming_log *s = state;
    pthread_mutex_lock(&s->lock);
    s->closed = true;
    pthread_mutex_unlock(&s->lock);
    unref(s);
}

static const struct stream_ops ops = {.on_start = on_start, .on_writable = on_more, .on_wake = on_more, .on_close = on_close};

/* ---- options ----------------------------------------------------------------------------------------------------------------
 */

static int number(struct http_req *req, struct faults *f, const char *name, int64_t least, int64_t *out, struct err *err)
{
    const char *text = http_query(req, name);
    if (str_empty(text))
        return 0;
    if (!str_to_i64(text, out)) {
        BUF(q);
        json_quote(&q, text, strlen(text));
        return err_set(err, ERR_BAD_REQUEST, "strconv.ParseInt: parsing %s: invalid syntax", buf_str(&q));
    }
    if (*out < least)
        fault_invalid_i64(f, name, *out, "must be greater than %s", least ? "0" : "or equal to 0");
    return 0;
}

int streaming_log_opts(struct http_req *req, struct kube_log_opts *o, struct err *err)
{
    FAULTS(f);
    *o = (struct kube_log_opts){.container = http_query(req, "container"), .tail_lines = -1};
    o->follow = http_query(req, "follow") && http_query_bool(req, "follow");
    o->previous = http_query(req, "previous") && http_query_bool(req, "previous");
    o->timestamps = http_query(req, "timestamps") && http_query_bool(req, "timestamps");
    if (number(req, &f, "tailLines", 0, &o->tail_lines, err) < 0 || number(req, &f, "limitBytes", 1, &o->limit_bytes, err) < 0 ||
        number(req, &f, "sinceSeconds", 1, &o->since_seconds, err) < 0)
        return -1;
    const char *since = http_query(req, "sinceTime");
    if (!str_empty(since) && !time_parse(since, &o->since_time_ns))
        return err_set(err, ERR_BAD_REQUEST, "sinceTime: %s is no time in RFC 3339", since);
    if (!str_empty(since) && o->since_seconds)
        fault_forbidden(&f, "sinceTime", "at most one of `sinceTime` or `sinceSeconds` may be specified");
    return faults_done(&f, "", "PodLogOptions", "", err);
}

/* ---- doors ------------------------------------------------------------------------------------------------------------------
 */

struct streaming_log *streaming_log_new(struct pool *pool)
{
    struct streaming_log *s = xcalloc(1, sizeof(*s));
    atomic_init(&s->refs, 1);
    s->pool = pool;
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

void streaming_log_drop(struct streaming_log *s) { unref(s); }

void streaming_log_answer(struct streaming_log *s, struct node_log *log, struct http_res *res)
{
    s->log = log;
    http_stream(res, "text/plain", &ops, s);
}
