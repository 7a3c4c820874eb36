/* stream.c - answers that go on: see "streams" in http.h. Everything but stream_wake and the handles runs on the owning loop. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/internal.h"

struct stream_timer {
    uv_timer_t timer;
    struct stream *st; /* NULL once the stream is gone */
};

/* Reachable from any thread. st is changed by the loop only, under the lock; a waker holds the lock while it posts, so the loop
 * that it posts to is alive: a loop ends after its last stream. */
struct stream_handle {
    struct post post;
    atomic_uint refs;
    atomic_bool pending;
    pthread_mutex_t lock;
    struct stream *st;
    struct loop *loop;
};

/* ---- begin and end ---- */

void stream_begin(struct conn *c)
{
    struct exchange *x = c->x;
    struct stream *st = &x->stream;
    st->conn = c;
    st->ops = TAKE(x->res.ops);
    st->state = TAKE(x->res.state);
    st->upgraded = x->res.upgrade;
    st->chunked = !st->upgraded && !x->http10;
    c->state = CONN_STREAM;
    if (x->req.method == HTTP_HEAD) {
        stream_close(c);
        c->state = CONN_SENDING;
        return;
    }
    if (c->peer_hup && !st->upgraded) {
        conn_close(c);
        return;
    }
    st->started = true;
    if (st->ops->on_start)
        st->ops->on_start(st, st->state);
    if (c->loop->stopping)
        stream_stop(st);
}

void stream_stop(struct stream *st)
{
    if (st->ended || st->closed || st->aborted)
        return;
    if (st->ops->on_stop)
        st->ops->on_stop(st, st->state);
    else
        stream_end(st);
}

static void timer_closed(uv_handle_t *h) { free(h->data); }

void stream_close(struct conn *c)
{
    struct stream *st = &c->x->stream;
    if (st->closed)
        return;
    st->closed = true;
    if (st->timer) {
        st->timer->st = NULL;
        uv_close((uv_handle_t *)&st->timer->timer, timer_closed);
        st->timer = NULL;
    }
    if (st->handle) {
        struct stream_handle *h = TAKE(st->handle);
        {
            LOCK_GUARD(&h->lock);
            h->st = NULL;
        }
        stream_handle_unref(h);
    }
    st->ops->on_close(st, st->state);
}

void stream_end(struct stream *st)
{
    if (st->ended || st->closed || st->aborted)
        return;
    if (st->chunked)
        outq_add(&st->conn->out, "0\r\n\r\n", 5);
    st->ended = true;
    conn_dirty(st->conn);
}

void stream_abort(struct stream *st)
{
    if (st->closed)
        return;
    st->aborted = true;
    conn_dirty(st->conn);
}

/* ---- writing ---- */

static bool may_write(const struct stream *st, size_t n)
{
    return n > 0 && st->started && !st->ended && !st->closed && !st->aborted;
}

static void chunk_head(struct stream *st, size_t n)
{
    if (!st->chunked)
        return;
    char head[24];
    int len = snprintf(head, sizeof head, "%zx\r\n", n);
    outq_add(&st->conn->out, head, (size_t)len);
}

static void written(struct stream *st)
{
    struct conn *c = st->conn;
    if (st->chunked)
        outq_add(&c->out, "\r\n", 2);
    if (c->out.bytes >= LOW_WATER)
        st->above_mark = true;
    if (c->out.bytes > c->loop->server->limits.max_stream_queue)
        st->aborted = true;
    conn_dirty(c);
}

void stream_write(struct stream *st, const void *p, size_t n)
{
    if (!may_write(st, n))
        return;
    chunk_head(st, n);
    outq_add(&st->conn->out, p, n);
    written(st);
}

void stream_write_shared(struct stream *st, const void *p, size_t n, void (*release)(void *), void *owner)
{
    if (!may_write(st, n)) {
        if (release)
            release(owner);
        return;
    }
    chunk_head(st, n);
    outq_add_shared(&st->conn->out, p, n, release, owner);
    written(st);
}

size_t stream_queued(const struct stream *st) { return st->conn->out.bytes; }

/* ---- reading ---- */

/* Gives bytes to the stream; the number that it took. */
size_t stream_deliver(struct conn *c, const char *p, size_t n)
{
    struct stream *st = &c->x->stream;
    size_t used = 0;
    while (used < n && !st->ended && !st->aborted) {
        st->paused = true;
        size_t took = st->ops->on_data(st, st->state, p + used, n - used);
        ASSERT(took <= n - used);
        used += took;
        if (used < n && st->paused)
            break;
        st->paused = false;
        if (took == 0) { /* it resumed itself without taking anything: later */
            conn_dirty(c);
            break;
        }
    }
    if (used == n)
        st->paused = false;
    return st->ended || st->aborted ? n : used;
}

static void deliver_left(struct conn *c)
{
    struct stream *st = &c->x->stream;
    if (!st->upgraded || st->paused || !c->in.len || st->ended)
        return;
    size_t used = stream_deliver(c, c->in.data, c->in.len);
    buf_consume(&c->in, used);
    if (!c->in.len)
        buf_free(&c->in);
}

void stream_resume(struct stream *st)
{
    if (st->closed)
        return;
    st->paused = false;
    conn_dirty(st->conn);
}

/* Half-closed: what is queued still goes out. */
void stream_peer_eof(struct conn *c) { stream_end(&c->x->stream); }

/* ---- what the connection tells ---- */

void stream_drained(struct conn *c)
{
    struct stream *st = &c->x->stream;
    deliver_left(c);
    if (st->above_mark && c->out.bytes < LOW_WATER) {
        st->above_mark = false;
        if (!st->ended && !st->aborted && st->ops->on_writable)
            st->ops->on_writable(st, st->state);
    }
    if (st->aborted) {
        conn_close(c);
    } else if (st->ended && !c->out.bytes) {
        if (st->upgraded)
            c->close_after = true;
        stream_close(c);
        c->state = CONN_SENDING;
        conn_next(c);
    }
}

/* ---- timer ---- */

static void on_timer(uv_timer_t *t)
{
    struct stream_timer *timer = t->data;
    struct stream *st = timer->st;
    if (st && !st->ended && !st->aborted && st->ops->on_timer)
        st->ops->on_timer(st, st->state);
}

void stream_timer(struct stream *st, int64_t ms)
{
    if (st->closed)
        return;
    if (!st->timer) {
        if (ms < 0)
            return;
        st->timer = xcalloc(1, sizeof *st->timer);
        uv_timer_init(&st->conn->loop->uv, &st->timer->timer);
        st->timer->timer.data = st->timer;
        st->timer->st = st;
    }
    if (ms < 0)
        uv_timer_stop(&st->timer->timer);
    else
        uv_timer_start(&st->timer->timer, on_timer, (uint64_t)ms, 0);
}

/* ---- wakes ---- */

struct stream_handle *stream_handle(struct stream *st)
{
    ASSERT(!st->closed);
    if (!st->handle) {
        struct stream_handle *h = xcalloc(1, sizeof *h);
        pthread_mutex_init(&h->lock, NULL);
        atomic_init(&h->refs, 1);
        h->st = st;
        h->loop = st->conn->loop;
        st->handle = h;
    }
    atomic_fetch_add(&st->handle->refs, 1);
    return st->handle;
}

void stream_handle_unref(struct stream_handle *h)
{
    if (!h || atomic_fetch_sub(&h->refs, 1) != 1)
        return;
    pthread_mutex_destroy(&h->lock);
    free(h);
}

static void on_wake(struct loop *l, struct post *p)
{
    struct stream_handle *h = CONTAINER_OF(p, struct stream_handle, post);
    atomic_store(&h->pending, false);
    struct stream *st = h->st;
    if (st && !st->ended && !st->aborted && st->ops->on_wake)
        st->ops->on_wake(st, st->state);
    stream_handle_unref(h);
}

void stream_wake(struct stream_handle *h)
{
    if (atomic_exchange(&h->pending, true))
        return;
    LOCK_GUARD(&h->lock);
    if (!h->st)
        return;
    atomic_fetch_add(&h->refs, 1);
    h->post.fn = on_wake;
    loop_post(h->loop, &h->post);
}

/* ---- descriptors of the stream's own ---- */

struct stream_fd {
    uv_poll_t poll;
    int fd, events;
    void (*on_ready)(void *arg, int events); /* NULL once freed */
    void *arg;
};

struct stream_fd *stream_fd_new(struct stream_handle *h, int fd, void (*on_ready)(void *arg, int events), void *arg)
{
    struct stream_fd *f = xcalloc(1, sizeof *f);
    if (uv_poll_init(&h->loop->uv, &f->poll, fd) < 0) {
        free(f);
        return NULL;
    }
    f->poll.data = f;
    f->fd = fd;
    f->on_ready = on_ready;
    f->arg = arg;
    return f;
}

static void on_fd(uv_poll_t *p, int status, int events)
{
    struct stream_fd *f = p->data;
    int ready = (events & UV_READABLE ? POLLIN : 0) | (events & UV_WRITABLE ? POLLOUT : 0);
    if (status < 0)
        ready = f->events; /* who reads or writes now sees the error */
    if (f->on_ready)
        f->on_ready(f->arg, ready);
}

void stream_fd_want(struct stream_fd *f, int events)
{
    if (f->events == events)
        return;
    f->events = events;
    if (events)
        uv_poll_start(&f->poll, (events & POLLIN ? UV_READABLE : 0) | (events & POLLOUT ? UV_WRITABLE : 0), on_fd);
    else
        uv_poll_stop(&f->poll);
}

static void fd_closed(uv_handle_t *h) { free(h->data); }

void stream_fd_free(struct stream_fd *f)
{
    if (!f)
        return;
    f->on_ready = NULL;
    uv_poll_stop(&f->poll);
    close(f->fd);
    uv_close((uv_handle_t *)&f->poll, fd_closed);
}
