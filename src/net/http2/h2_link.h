/* h2_link.h - the client's side of an HTTP/2 connection: many calls of many threads on one socket. Private to net/.
 *
 * A link has a thread that reads the socket; callers block on a descriptor of their own until their call moves on, their deadline
 * comes or they are cancelled. Whatever is to be written is written by whoever has it; what the socket does not take at once is
 * left to the thread. Each call has its own window: an answer that nobody reads holds up nobody else. */
#ifndef TM_NET_H2_LINK_H
#define TM_NET_H2_LINK_H

#include "net/client.h"
#include "net/dial.h"

struct h2_link;
struct h2_call;
/* Takes w, whose ALPN chose h2, and its key. Comes with a place reserved for a call. */
struct h2_link *h2_link_new(struct wire *w);
const char *h2_link_key(const struct h2_link *l);
/* Keeps a place for a call, which h2_call_open fills or gives back; the link stays until then. False: there is none. */
bool h2_link_reserve(struct h2_link *l);
bool h2_link_is_over(struct h2_link *l); /* closed, and without calls: h2_link_free does not wait */
void h2_link_free(struct h2_link *l);    /* no call may be open */

enum h2_verdict {
    H2_FAILED,
    H2_RETRY,  /* the server has done nothing with it: any call may be sent again */
    H2_LOST,   /* the connection broke before an answer: idempotent ones may */
    H2_USE_H1, /* the server wants HTTP/1.1 for it (RFC 9113, HTTP_1_1_REQUIRED) */
};
/* In the place that was reserved: sends the request and waits for the head of the answer. NULL with an error and a verdict.
 * *took_pieces: a body_read was asked for bytes. The caller has checked that the header fields can be sent. */
struct h2_call *h2_call_open(struct h2_link *l, const struct url *u, const struct http_call *call, const char *user_agent,
                             const struct ctx *ctx, struct http_answer *head, enum h2_verdict *verdict, bool *took_pieces,
                             struct err *err);
ssize_t h2_call_read(struct h2_call *c, const struct ctx *ctx, void *p, size_t n, struct err *err);
void h2_call_close(struct h2_call *c);

#endif
