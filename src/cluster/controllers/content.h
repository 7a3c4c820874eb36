/* content.h - deletes what a namespace holds and says what is left. Private to the room. */
#ifndef TM_CLUSTER_CONTROLLERS_CONTENT_H
#define TM_CLUSTER_CONTROLLERS_CONTENT_H

#include "base/buf.h"
#include "cluster/controllers/controllers.h"

/* Messages as Kubernetes' conditions have them; empty when there is nothing to say. */
struct content_left {
    struct buf objects;    /* "Some resources are remaining: pods. has 2 resource instances" */
    struct buf finalizers; /* "Some content in the namespace has finalizers remaining: x.y/hold in 1 resource instances" */
    struct buf failed;     /* the first deletion that failed */
};
static inline void content_left_clear(struct content_left *l)
{
    buf_free(&l->objects);
    buf_free(&l->finalizers);
    buf_free(&l->failed);
}
#define CONTENT_LEFT(name) CLEANUP(content_left_clear) struct content_left name = {{0}, {0}, {0}}

/* Asks for the deletion of every object of every served namespaced kind in ns: pods first, by their grace. A kind that cannot be
 * listed is noted in left->failed; -1 only when the context ended. */
int content_delete(const struct controllers_config *cfg, const struct ctx *ctx, const char *ns, struct content_left *left,
                   struct err *err);

#endif
