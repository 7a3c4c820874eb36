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

void stream_begin(struct exchange *x)
{
    struct stream *st = &x->stream;
    st->ops = TAKE(x->res.ops);
    st->state = TAKE(x->res.state);
    st->upgraded = x->res.upgrade;
    x->phase = X_STREAM;
    if (x->req.method == HTTP_HEAD) {
        stream_close(x);
        x->phase = X_SENDING;
        x->all_queued = true;
        return;
    }
    if (x->conn->peer_hup && !st->upgraded) {
        x->carrier->cut(x);
        return;
    }
    st->started = true;
    if (st->ops->on_start)
        st->ops->on_start(st, st->state);
    if (x->conn->loop->stopping)
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

void stream_close(struct exchange *x)
{
    struct stream *st = &x->stream;
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
    if (st->x->carrier->stream_end)
        st->x->carrier->stream_end(st->x);
    st->ended = true;
    st->x->carrier->changed(st->x);
}

void stream_abort(struct stream *st)
{
    if (st->closed)
        return;
    st->aborted = true;
    st->x->carrier->changed(st->x);
}

/* ---- writing ---- */

static bool may_write(const struct stream *st, size_t n)
{
    return n > 0 && st->started && !st->ended && !st->closed && !st->aborted;
}

static void before(struct exchange *x, size_t n)
{
    if (x->carrier->chunk)
        x->carrier->chunk(x, n);
}

static void after(struct exchange *x)
{
    struct stream *st = &x->stream;
    if (x->carrier->chunk_end)
        x->carrier->chunk_end(x);
    if (x->out->bytes >= LOW_WATER)
        st->above_mark = true;
    if (x->out->bytes > x->server->limits.max_stream_queue || (x->conn && !conn_may_hold(x->conn, x->out->bytes)))
        st->aborted = true;
    x->carrier->changed(x);
}

void stream_write(struct stream *st, const void *p, size_t n)
{
    if (!may_write(st, n))
        return;
    before(st->x, n);
    outq_add(st->x->out, p, n);
    after(st->x);
}

void stream_write_shared(struct stream *st, const void *p, size_t n, void (*release)(void *), void *owner)
{
    if (!may_write(st, n)) {
        if (release)
            release(owner);
        return;
    }
    before(st->x, n);
    outq_add_shared(st->x->out, p, n, release, owner);
    after(st->x);
}

size_t stream_queued(const struct stream *st) { return st->x->out->bytes; }

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
    st->x->carrier->changed(st->x);
}

/* Half-closed: what is queued still goes out. */
void stream_peer_eof(struct exchange *x) { stream_end(&x->stream); }

/* ---- what the connection tells ---- */

void stream_drained(struct exchange *x)
{
    struct stream *st = &x->stream;
    if (st->upgraded)
        deliver_left(x->conn);
    if (st->above_mark && x->out->bytes < LOW_WATER) {
        st->above_mark = false;
        if (!st->ended && !st->aborted && st->ops->on_writable)
            st->ops->on_writable(st, st->state);
    }
    if (st->aborted) {
        x->carrier->cut(x);
    } else if (st->ended && !x->out->bytes) {
        if (st->upgraded)
            x->carrier->last(x);
        stream_close(x);
        x->phase = X_SENDING;
        x->all_queued = true;
        x->carrier->over(x);
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
        uv_timer_init(&st->x->conn->loop->uv, &st->timer->timer);
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
        h->loop = st->x->conn->loop;
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
    uv_close((uv_handle_t *)&f->poll, fd_closed); /* takes the number out of the loop's set: it is still ours */
    close(f->fd);
}
