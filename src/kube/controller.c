#include "kube/controller.h"

#include <stdlib.h>

#include "base/str.h"
#include "base/thread.h"
#include "kube/object.h"

#define LOG_ROOM "controller"
#include "base/log.h"

#define LONG_NS NS_PER_S

/* What an informer calls: one for each source. */
struct source_run {
    struct controller_run *run;
    struct controller_source source;
};
struct controller_run {
    char *name;
    reconcile_fn *reconcile;
    void *self;
    const struct clock *clock;
    struct workqueue *queue;
    struct cancel cancel;
    struct source_run *sources;
    size_t n_sources;
    pthread_t *workers;
    size_t n_workers;
};

static void source_changed(void *arg, struct json *old, struct json *now)
{
    struct source_run *s = arg;
    if (s->source.map) {
        s->source.map(s->run->self, old, now, s->run->queue);
        return;
    }
    AUTOFREE char *key = obj_key(json_root(now ? now : old));
    workqueue_add(s->run->queue, key);
}

/* A conflict means that we read something old: it is tried again at once, but with patience from the second time on. */
static void failed(struct controller_run *r, const char *key, struct err *e)
{
    if (atomic_load(&r->cancel.raised))
        return;
    unsigned failures = workqueue_failures(r->queue, key);
    if (e->code != ERR_CONFLICT || failures >= 5)
        log_warn("controller=%s key=%s failures=%u: %s", r->name, key, failures + 1, err_text(e));
    workqueue_retry(r->queue, key, e->retry_after_s * NS_PER_S);
    if (e->code == ERR_CONFLICT && failures == 0)
        workqueue_add(r->queue, key);
}

static void work_on(struct controller_run *r, const char *key)
{
    struct ctx ctx = {.clock = r->clock, .cancel = &r->cancel};
    struct reconcile_result res = {0};
    ERR(e);
    int64_t began = r->clock->mono_ns(r->clock);
    if (r->reconcile(r->self, &ctx, key, &res, &e) < 0) {
        failed(r, key, &e);
        return;
    }
    /* A long time is a point in time: it counts from when the turn began, however long that took. A short one is a pause. */
    if (res.again_after_ns >= LONG_NS) {
        res.again_after_ns -= r->clock->mono_ns(r->clock) - began;
        if (res.again_after_ns <= 0)
            workqueue_add(r->queue, key);
    }
    workqueue_done(r->queue, key, res.again_after_ns);
}

static void *worker(void *arg)
{
    struct controller_run *r = arg;
    char *key;
    while ((key = workqueue_take(r->queue))) {
        work_on(r, key);
        workqueue_finish(r->queue, key);
        free(key);
    }
    return NULL;
}

struct controller_run *controller_start(const struct controller *c, void *self, const struct clock *clock, int64_t base_delay_ns)
{
    struct controller_run *r = xcalloc(1, sizeof *r);
    r->name = xstrdup(c->name);
    r->reconcile = c->reconcile;
    r->self = self;
    r->clock = clock;
    r->queue = workqueue_new(clock, base_delay_ns);
    ERR(e);
    if (cancel_init(&r->cancel, &e) < 0) {
        log_warn("controller=%s: %s; stopping may take as long as a call does", c->name, err_text(&e));
        r->cancel.fd = -1;
    }
    r->n_sources = c->n_sources;
    r->sources = xcalloc(c->n_sources ? c->n_sources : 1, sizeof *r->sources);
    for (size_t i = 0; i < c->n_sources; i++) {
        r->sources[i] = (struct source_run){r, c->sources[i]};
        informer_add_handler(c->sources[i].informer, (struct informer_handler){source_changed, &r->sources[i]});
    }
    r->n_workers = c->workers ? c->workers : 1;
    r->workers = xcalloc(r->n_workers, sizeof *r->workers);
    for (size_t i = 0; i < r->n_workers; i++)
        r->workers[i] = thread_start(c->name, worker, r);
    return r;
}

struct workqueue *controller_queue(struct controller_run *r) { return r->queue; }

void controller_halt(struct controller_run *r)
{
    cancel_raise(&r->cancel);
    workqueue_shutdown(r->queue);
    for (size_t i = 0; i < r->n_workers; i++)
        pthread_join(r->workers[i], NULL);
    r->n_workers = 0;
}

void controller_stop(struct controller_run *r)
{
    if (!r)
        return;
    controller_halt(r);
    for (size_t i = 0; i < r->n_sources; i++)
        informer_remove_handler(r->sources[i].source.informer, &r->sources[i]);
    workqueue_free(r->queue);
    cancel_close(&r->cancel);
    free(r->sources);
    free(r->workers);
    free(r->name);
    free(r);
}
