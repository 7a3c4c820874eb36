/* outq.h - bytes that wait to be sent on one connection. Private to net/, owned by one loop. */
#ifndef TM_NET_OUTQ_H
#define TM_NET_OUTQ_H

#include <stdatomic.h>
#include <sys/uio.h>

#include "base/base.h"

/* Memory that queues hold and that nobody else has: copies, what they own, and a little for each shared piece. */
struct outq_account {
    size_t held;          /* by the queues of one connection, on its loop */
    atomic_size_t *total; /* by all of them; may be NULL */
};

struct outq_seg;
struct outq {
    struct outq_seg *head, *tail;
    size_t bytes;
    struct outq_account *account; /* NULL: nobody counts; set before the first byte */
};
void outq_add(struct outq *q, const void *p, size_t n); /* copied; small pieces share a segment */
/* Not copied; release(owner) is called when the bytes are sent or dropped. */
void outq_add_shared(struct outq *q, const void *p, size_t n, void (*release)(void *), void *owner);
void outq_add_owned(struct outq *q, char *p, size_t n); /* not copied; p is freed with free() */
void outq_account(struct outq_account *a, size_t more, size_t less);
/* Views of the first bytes: at most max pieces. Returns their number. */
int outq_peek(const struct outq *q, struct iovec *iov, int max);
void outq_consume(struct outq *q, size_t n);
size_t outq_take(struct outq *q, void *p, size_t n); /* copies at most n bytes out, and consumes them */
void outq_clear(struct outq *q);

#endif
