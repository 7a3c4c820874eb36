#include "pipelines/store/changes.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/thread.h"

struct listener {
    changes_fn *fn;
    void *self;
};
struct changes {
    pthread_mutex_t lock; /* over all below, and held while listeners are called */
    struct listener *v;
    size_t n;
};

struct changes *changes_new(void)
{
    struct changes *c = xcalloc(1, sizeof *c);
    ASSERT(pthread_mutex_init(&c->lock, NULL) == 0);
    return c;
}

void changes_free(struct changes *c)
{
    if (!c)
        return;
    ASSERT(c->n == 0);
    pthread_mutex_destroy(&c->lock);
    free(c->v);
    free(c);
}

void changes_listen(struct changes *c, changes_fn *fn, void *self)
{
    LOCK_GUARD(&c->lock);
    c->v = xreallocarray(c->v, c->n + 1, sizeof *c->v);
    c->v[c->n++] = (struct listener){fn, self};
}

void changes_unlisten(struct changes *c, void *self)
{
    LOCK_GUARD(&c->lock);
    for (size_t i = 0; i < c->n; i++) {
        if (c->v[i].self == self) {
            c->v[i] = c->v[--c->n];
            return;
        }
    }
}

void changes_tell(struct changes *c, const char *run_id)
{
    if (!c)
        return;
    LOCK_GUARD(&c->lock);
    for (size_t i = 0; i < c->n; i++)
        c->v[i].fn(c->v[i].self, run_id);
}
