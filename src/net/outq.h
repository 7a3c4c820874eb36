/* outq.h - bytes that wait to be sent on one connection. Private to net/, owned by one loop. */
#ifndef TM_NET_OUTQ_H
#define TM_NET_OUTQ_H

#include <sys/uio.h>

#include "base/base.h"

struct outq_seg;
struct outq {
    struct outq_seg *head, *tail;
    size_t bytes;
};
void outq_add(struct outq *q, const void *p, size_t n); /* copied; small pieces share a segment */
/* Not copied; release(owner) is called when the bytes are sent or dropped. */
void outq_add_shared(struct outq *q, const void *p, size_t n, void (*release)(void *), void *owner);
/* Views of the first bytes: at most max pieces. Returns their number. */
int outq_peek(const struct outq *q, struct iovec *iov, int max);
void outq_consume(struct outq *q, size_t n);
size_t outq_take(struct outq *q, void *p, size_t n); /* copies at most n bytes out, and consumes them */
void outq_clear(struct outq *q);

#endif
