/* body.h - a request body that a handler reads while it arrives. Private to net/.
 *
 * The loop puts bytes in, the worker takes them out and sleeps meanwhile; a pipe that is full tells the loop to stop reading, and
 * the worker posts to the loop once there is room again. */
#ifndef TM_NET_BODY_H
#define TM_NET_BODY_H

#include <sys/types.h>

#include "base/buf.h"
#include "base/ctx.h"

#define PIPE_BYTES ((size_t)256 * 1024)

struct exchange;
struct body_pipe;
struct body_pipe *body_pipe_new(struct exchange *x);
void body_pipe_free(struct body_pipe *b);
/* On the loop. True while there is room for more; what comes after false is taken as well. */
bool body_pipe_put(struct body_pipe *b, const char *p, size_t n);
void body_pipe_end(struct body_pipe *b);
void body_pipe_fail(struct body_pipe *b, const struct err *why); /* who reads now gets this */
size_t body_pipe_total(const struct body_pipe *b);               /* bytes that were put */
bool body_pipe_full(struct body_pipe *b);
bool body_pipe_ended(struct body_pipe *b); /* it was put in whole */
/* Bytes that were taken since the last call. */
size_t body_pipe_taken(struct body_pipe *b);
/* On the worker. */
ssize_t body_pipe_read(struct body_pipe *b, const struct ctx *ctx, void *p, size_t n, struct err *err);

#endif
