/* Which attempts a turn has to look at: those whose pods have changed since, of perhaps thousands.
 *
 * The informer's thread notes names of pods under the engine's lock; the turn that has the run takes them. What was noted before
 * the turn began is seen by it, and what comes later queues the run again. */
#include <stdlib.h>

#include "pipelines/engine/live.h"

static void free_names(void *p)
{
    struct strlist *names = p;
    strlist_free(names);
    free(names);
}

void touched_init(struct engine *e) { e->touched = STRMAP_INIT(free_names); }

void engine_pod_changed(struct engine *e, const char *run_id, const char *pod_name)
{
    LOCK_GUARD(&e->lock);
    struct strlist *names = strmap_get(&e->touched, run_id);
    if (!names) {
        names = xcalloc(1, sizeof *names);
        strmap_put(&e->touched, run_id, names);
    }
    strlist_add(names, pod_name);
}

struct strlist touched_take(struct engine *e, const char *run_id)
{
    LOCK_GUARD(&e->lock);
    AUTOFREE struct strlist *names = strmap_take(&e->touched, run_id);
    return names ? *names : (struct strlist){0};
}

void live_touch(struct live *l, const struct strlist *pods)
{
    for (size_t k = 0; k < pods->n; k++) {
        struct inst *i = strmap_get(&l->by_pod, pods->v[k]);
        if (i)
            i->look = true;
    }
}

void inst_set_pod(struct inst *i, const char *name)
{
    if (i->row.pod_name)
        strmap_del(&i->live->by_pod, i->row.pod_name);
    free(TAKE(i->row.pod_name));
    free(TAKE(i->row.pod_uid));
    i->row.pod_name = xstrdup(name);
    i->look = true;
    i->look_at_ns = 0;
    if (name)
        strmap_put(&i->live->by_pod, name, i);
}
