#include "net/outq.h"

#include <stdlib.h>
#include <string.h>

#define SEG_MIN 4096

struct outq_seg {
    struct outq_seg *next;
    const char *p; /* the first byte not yet sent */
    size_t len;    /* bytes left */
    size_t room;   /* bytes that still fit behind; 0 for shared ones */
    size_t held;   /* what it counts for in the account */
    void (*release)(void *);
    void *owner;
    char data[];
};

void outq_account(struct outq_account *a, size_t more, size_t less)
{
    if (!a || more == less)
        return;
    a->held += more - less;
    if (a->total)
        atomic_fetch_add_explicit(a->total, more - less, memory_order_relaxed);
}

static void push(struct outq *q, struct outq_seg *s)
{
    outq_account(q->account, s->held, 0);
    if (q->tail)
        q->tail->next = s;
    else
        q->head = s;
    q->tail = s;
}

void outq_add(struct outq *q, const void *p, size_t n)
{
    if (n == 0)
        return;
    struct outq_seg *s = q->tail;
    if (!s || s->room < n) {
        size_t cap = n > SEG_MIN ? n : SEG_MIN;
        s = xmalloc(sizeof *s + cap);
        *s = (struct outq_seg){.p = s->data, .room = cap, .held = sizeof *s + cap};
        push(q, s);
    }
    memcpy((char *)s->p + s->len, p, n);
    s->len += n;
    s->room -= n;
    q->bytes += n;
}

static void add_as_is(struct outq *q, const void *p, size_t n, size_t held, void (*release)(void *), void *owner)
{
    if (n == 0) {
        if (release)
            release(owner);
        return;
    }
    struct outq_seg *s = xmalloc(sizeof *s);
    *s = (struct outq_seg){.p = p, .len = n, .release = release, .owner = owner, .held = sizeof *s + held};
    push(q, s);
    q->bytes += n;
}

void outq_add_shared(struct outq *q, const void *p, size_t n, void (*release)(void *), void *owner)
{
    add_as_is(q, p, n, 0, release, owner);
}

void outq_add_owned(struct outq *q, char *p, size_t n) { add_as_is(q, p, n, n, free, p); }

int outq_peek(const struct outq *q, struct iovec *iov, int max)
{
    int n = 0;
    for (const struct outq_seg *s = q->head; s && n < max; s = s->next)
        iov[n++] = (struct iovec){.iov_base = (void *)s->p, .iov_len = s->len};
    return n;
}

void outq_consume(struct outq *q, size_t n)
{
    ASSERT(n <= q->bytes);
    q->bytes -= n;
    while (q->head && n >= q->head->len) {
        struct outq_seg *s = q->head;
        n -= s->len;
        q->head = s->next;
        if (!q->head)
            q->tail = NULL;
        if (s->release)
            s->release(s->owner);
        outq_account(q->account, 0, s->held);
        free(s);
    }
    if (n) {
        q->head->p += n;
        q->head->len -= n;
    }
}

size_t outq_take(struct outq *q, void *p, size_t n)
{
    size_t took = 0;
    while (took < n && q->head) {
        size_t step = q->head->len < n - took ? q->head->len : n - took;
        memcpy((char *)p + took, q->head->p, step);
        took += step;
        outq_consume(q, step);
    }
    return took;
}

void outq_clear(struct outq *q) { outq_consume(q, q->bytes); }
