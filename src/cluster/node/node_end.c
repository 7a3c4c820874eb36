/* The end of the node's pods when it is told to leave nothing: signal, a moment, SIGKILL, and away with what they had. */
#include <unistd.h>

#include "base/log.h"
#include "base/thread.h"
#include "cluster/node/node_priv.h"

/* A pod has the grace to end of itself; when none ends for the patience, no more is waited for. */
#define REMOVE_GRACE (3 * NS_PER_S)
#define PATIENCE     (2 * REMOVE_GRACE)

/* Some of the pods that end with the node: nobody else touches their records. */
struct ending {
    struct node *node;
    char **uids;
    size_t n;
};

static struct pod *record(struct node *n, const char *uid)
{
    LOCK_GUARD(&n->lock);
    return strmap_get(&n->records, uid);
}

/* One more step of the pod's end; whether there are more to come. */
static bool end_pod(struct node *n, const struct ctx *ctx, const char *uid)
{
    struct pod *p = record(n, uid);
    struct reconcile_result res = {0};
    ERR(e);
    if (!p || p->state == POD_GONE)
        return false;
    pod_evict(p, "Terminated", "Pod was terminated in response to imminent node shutdown.");
    int64_t mono = n->clock->mono_ns(n->clock);
    if (!p->kill_mono_ns || p->kill_mono_ns > mono + REMOVE_GRACE)
        p->kill_mono_ns = mono + REMOVE_GRACE;
    if (node_sync_pod(n, ctx, &p, &res, &e) < 0)
        log_warn("ending pod %s: %s", uid, err_text(&e));
    p = record(n, uid);
    return p && p->state != POD_GONE;
}

static void *end_some(void *arg)
{
    struct ending *a = arg;
    struct ctx ctx = ctx_background();
    ctx.who = a->node->kube->who;
    ctx.clock = a->node->clock;
    /* The machine's clock, not the node's: a test's clock may stand still. */
    int64_t until = clock_system.mono_ns(&clock_system) + PATIENCE;
    for (size_t before = a->n + 1, alive = a->n; alive; before = alive) {
        alive = 0;
        for (size_t i = 0; i < a->n; i++)
            alive += end_pod(a->node, &ctx, a->uids[i]);
        int64_t now = clock_system.mono_ns(&clock_system);
        if (alive < before)
            until = now + PATIENCE;
        if (alive && now > until) {
            log_error("%zu pods did not end in time", alive);
            break;
        }
        if (alive)
            usleep(10000);
    }
    return NULL;
}

void node_end_pods(struct node *n, size_t n_threads)
{
    STRLIST(uids);
    AUTOFREE struct ending *part = xcalloc(n_threads, sizeof *part);
    AUTOFREE pthread_t *thread = xcalloc(n_threads, sizeof *thread);
    for (struct strmap_entry *e = strmap_first(&n->records); e; e = strmap_next(e))
        strlist_add(&uids, e->key);
    for (size_t i = 0; i < n_threads; i++) {
        size_t from = uids.n * i / n_threads, to = uids.n * (i + 1) / n_threads;
        part[i] = (struct ending){.node = n, .uids = uids.v + from, .n = to - from};
        thread[i] = thread_start("node-end", end_some, &part[i]);
    }
    for (size_t i = 0; i < n_threads; i++)
        pthread_join(thread[i], NULL);
}
