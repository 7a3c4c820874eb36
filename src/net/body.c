/* body.c - request bodies that handlers read in pieces. */
#include "net/body.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/internal.h"

struct body_pipe {
    struct post post; /* to the loop: there is room. The exchange outlives it: what its worker posts comes behind */
    struct exchange *x;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t cond;
    struct buf data;
    size_t at;    /* of data: taken */
    size_t total; /* put; the loop's alone */
    size_t taken; /* not yet told to the loop */
    bool ended, posted, asked;
    struct err why;
};

struct body_pipe *body_pipe_new(struct exchange *x)
{
    struct body_pipe *b = xcalloc(1, sizeof *b);
    b->x = x;
    pthread_mutex_init(&b->lock, NULL);
    thread_cond_init(&b->cond);
    return b;
}

void body_pipe_free(struct body_pipe *b)
{
    if (!b)
        return;
    buf_free(&b->data);
    err_clear(&b->why);
    pthread_cond_destroy(&b->cond);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

/* ---- on the loop ---- */

bool body_pipe_put(struct body_pipe *b, const char *p, size_t n)
{
    LOCK_GUARD(&b->lock);
    b->total += n;
    if (b->why.code)
        return true; /* nobody will read it */
    if (b->at == b->data.len) {
        buf_reset(&b->data);
        b->at = 0;
    }
    buf_add(&b->data, p, n);
    pthread_cond_signal(&b->cond);
    return b->data.len - b->at < PIPE_BYTES;
}

void body_pipe_end(struct body_pipe *b)
{
    LOCK_GUARD(&b->lock);
    b->ended = true;
    pthread_cond_signal(&b->cond);
}

void body_pipe_fail(struct body_pipe *b, const struct err *why)
{
    LOCK_GUARD(&b->lock);
    if (b->why.code || b->ended)
        return;
    err_copy(&b->why, why);
    pthread_cond_signal(&b->cond);
}

size_t body_pipe_total(const struct body_pipe *b) { return b->total; }

bool body_pipe_full(struct body_pipe *b)
{
    LOCK_GUARD(&b->lock);
    return !b->why.code && b->data.len - b->at >= PIPE_BYTES;
}

bool body_pipe_ended(struct body_pipe *b)
{
    LOCK_GUARD(&b->lock);
    return b->ended;
}

size_t body_pipe_taken(struct body_pipe *b)
{
    LOCK_GUARD(&b->lock);
    size_t n = b->taken;
    b->taken = 0;
    return n;
}

static void on_room(struct loop *l, struct post *p)
{
    struct body_pipe *b = CONTAINER_OF(p, struct body_pipe, post);
    struct exchange *x = b->x;
    bool asked;
    {
        LOCK_GUARD(&b->lock);
        b->posted = false;
        asked = b->asked;
    }
    if (x->phase == X_LOST)
        return;
    if (asked && x->expects) {
        x->expects = false;
        x->carrier->go_on(x);
    }
    x->carrier->room(x);
}

/* ---- on the worker ---- */

/* Under the lock. */
static void tell_loop(struct body_pipe *b)
{
    if (b->posted)
        return;
    b->posted = true;
    b->post.fn = on_room;
    loop_post(b->x->conn->loop, &b->post);
}

/* Under the lock: until there is something to say. */
static int wait_for_bytes(struct body_pipe *b, const struct ctx *ctx, struct err *err)
{
    while (b->at == b->data.len && !b->ended && !b->why.code) {
        if (!b->asked) { /* the first time: a client that asked whether it may send is told so */
            b->asked = true;
            tell_loop(b);
        }
        if (ctx_check(ctx, err) < 0)
            return -1;
        if (ctx->deadline_mono_ns)
            thread_cond_wait_until(&b->cond, &b->lock, ctx->deadline_mono_ns);
        else
            pthread_cond_wait(&b->cond, &b->lock);
    }
    return 0;
}

ssize_t body_pipe_read(struct body_pipe *b, const struct ctx *ctx, void *p, size_t n, struct err *err)
{
    LOCK_GUARD(&b->lock);
    if (wait_for_bytes(b, ctx, err) < 0)
        return -1;
    if (b->why.code) {
        err_copy(err, &b->why);
        return -1;
    }
    size_t have = b->data.len - b->at;
    n = n < have ? n : have;
    if (n == 0)
        return 0;
    memcpy(p, b->data.data + b->at, n);
    b->at += n;
    b->taken += n;
    if (b->at == b->data.len) {
        buf_reset(&b->data);
        b->at = 0;
    }
    if (b->taken >= PIPE_BYTES / 2 || b->data.len == 0)
        tell_loop(b);
    return (ssize_t)n;
}

/* ---- what handlers call ---- */

ssize_t http_req_read(struct http_req *req, const struct ctx *ctx, void *p, size_t n, struct err *err)
{
    ASSERT(n > 0);
    struct exchange *x = req->params->x;
    if (x->pipe)
        return body_pipe_read(x->pipe, ctx, p, n, err);
    size_t have = x->body.len - x->body_read;
    n = n < have ? n : have;
    if (n)
        memcpy(p, x->body.data + x->body_read, n);
    x->body_read += n;
    return (ssize_t)n;
}

static int write_all(int fd, const char *p, size_t n, struct err *err)
{
    while (n > 0) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return err_errno(err, "storing the request body");
        p += w;
        n -= (size_t)w;
    }
    return 0;
}

int http_req_spool(struct http_req *req, const struct ctx *ctx, int fd, int64_t *size, struct err *err)
{
    AUTOFREE char *chunk = xmalloc(PIPE_BYTES / 4);
    int64_t total = 0;
    ssize_t n;
    while ((n = http_req_read(req, ctx, chunk, PIPE_BYTES / 4, err)) > 0) {
        if (write_all(fd, chunk, (size_t)n, err) < 0)
            return -1;
        total += n;
    }
    if (n < 0)
        return -1;
    if (size)
        *size = total;
    return 0;
}
