/* cancel.c - what ctx->cancel of a handler is. Each has an eventfd, for handlers that wait for something else meanwhile; so they
 * are kept and used again, and there are never more than workers. */
#define LOG_ROOM "http"
#include <stdlib.h>

#include "base/log.h"
#include "net/internal.h"

static struct cancel *take(struct http_server *s)
{
    struct cancel_node *n = s->cancels;
    if (n) {
        s->cancels = n->next;
        return &n->cancel;
    }
    n = xcalloc(1, sizeof *n);
    if (cancel_init(&n->cancel, NULL) < 0)
        n->cancel.fd = -1; /* no descriptor left: it can still be asked */
    return &n->cancel;
}

static void drop(struct cancel_node *n)
{
    cancel_close(&n->cancel);
    free(n);
}

bool cancel_begin(struct exchange *x)
{
    LOCK_GUARD(&x->server->cancel_lock);
    if (x->gone)
        return false;
    x->cancel = take(x->server);
    return true;
}

void cancel_end(struct exchange *x)
{
    LOCK_GUARD(&x->server->cancel_lock);
    struct cancel_node *n = CONTAINER_OF(x->cancel, struct cancel_node, cancel);
    x->cancel = NULL;
    if (atomic_load(&n->cancel.raised) || n->cancel.fd < 0) {
        drop(n);
        return;
    }
    n->next = x->server->cancels;
    x->server->cancels = n;
}

void cancel_gone(struct exchange *x)
{
    LOCK_GUARD(&x->server->cancel_lock);
    x->gone = true;
    if (x->cancel)
        cancel_raise(x->cancel);
}

void cancel_free_all(struct http_server *s)
{
    while (s->cancels) {
        struct cancel_node *n = s->cancels;
        s->cancels = n->next;
        drop(n);
    }
}
