/* Programs in containers and connections into pods, for the API server. */
#include <stdlib.h>

#include "cluster/node/node_priv.h"
#include "kube/object.h"

void node_live_free(void *at)
{
    struct live_box *l = at;
    free(l->cid);
    free(l->bundle);
    sandbox_free(&l->sandbox);
    free(l);
}

static char *live_key(const char *uid, const char *container) { return xasprintf("%s/%s", uid, container); }

void node_live(struct node *n, const struct pod *p, const struct box *b, bool runs)
{
    AUTOFREE char *key = live_key(p->uid, b->name);
    if (!runs) {
        LOCK_GUARD(&n->lock);
        strmap_del(&n->live, key);
        return;
    }
    struct live_box *l = xcalloc(1, sizeof *l);
    *l = (struct live_box){
        .cid = xstrdup(b->cid),
        .bundle = pod_bundle(&n->host, p, b),
        .sandbox = {.name = xstrdup(p->sandbox.name), .ip = xstrdup(p->sandbox.ip), .net_path = xstrdup(p->sandbox.net_path)}};
    LOCK_GUARD(&n->lock);
    strmap_put(&n->live, key, l);
}

/* A copy; false when the container does not run. */
static bool find_live(struct node *n, const char *key, struct live_box *out)
{
    LOCK_GUARD(&n->lock);
    struct live_box *l = n->stopping ? NULL : strmap_get(&n->live, key);
    if (!l)
        return false;
    *out = (struct live_box){.cid = xstrdup(l->cid),
                             .bundle = xstrdup(l->bundle),
                             .sandbox = {.name = xstrdup(l->sandbox.name), .net_path = xstrdup(l->sandbox.net_path)}};
    return true;
}

static void live_clear(struct live_box *l)
{
    free(l->cid);
    free(l->bundle);
    sandbox_free(&l->sandbox);
}

int node_process_open(void *self, const struct ctx *ctx, jval *pod, const struct node_process_opts *o, struct node_process *out,
                      struct err *err)
{
    struct node *n = self;
    AUTOFREE char *key = live_key(obj_uid(pod), o->container);
    CLEANUP(live_clear) struct live_box live = {0};
    struct exec_spec spec = {.args = o->command, .in = o->in, .out = o->out, .err = o->err, .tty = o->tty};
    ERR(e);
    (void)ctx;
    *out = (struct node_process)NODE_PROCESS_NONE;
    if (!find_live(n, key, &live))
        return err_set(err, ERR_INTERNAL, "container not found (\"%s\")", o->container);
    struct container_ref ref = {.id = live.cid, .bundle = live.bundle};
    int rc = o->command ? n->runtime->ops->exec(n->runtime, &ref, &spec, out, &e)
                        : n->runtime->ops->attach(n->runtime, &ref, &spec, out, &e);
    if (rc < 0 && e.code == ERR_NOT_FOUND)
        return err_set(err, ERR_INTERNAL, "container not found (\"%s\")", o->container);
    return rc < 0 ? err_move(err, &e) : 0;
}

int node_dial(void *self, const struct ctx *ctx, jval *pod, int port, int *fd, struct err *err)
{
    struct node *n = self;
    CLEANUP(live_clear) struct live_box live = {0};
    AUTOFREE char *prefix = live_key(obj_uid(pod), ""), *key = NULL;
    (void)ctx;
    {
        LOCK_GUARD(&n->lock);
        for (struct strmap_entry *e = strmap_first(&n->live); e && !key; e = strmap_next(e))
            if (str_starts(e->key, prefix))
                key = xstrdup(e->key);
    }
    if (!key || !find_live(n, key, &live))
        return err_set(err, ERR_UNAVAILABLE, "no container of pod %s runs", obj_name(pod));
    return n->runtime->ops->dial(n->runtime, &live.sandbox, port, fd, err);
}
