/* event_ttl.c - see event_ttl.h. Each Event waits in the queue until its time has come: nothing is polled. */
#include "cluster/controllers/event_ttl.h"

#include <stdlib.h>

#include "base/str.h"
#include "base/timefmt.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

#define TTL_NS (3600 * NS_PER_S)
enum { EVENTS_MAX = 10000, LOOK_EVERY = 20 /* a part of the limit */ };

struct event_ttl_controller {
    const struct controllers_config *cfg;
    int64_t ttl_ns;
    size_t max, arrived; /* arrived: since they were counted; the one worker's */
    struct informer *events;
    struct controller_run *run;
};

static void later(const char *text, int64_t *ns)
{
    int64_t t;
    if (text && time_parse(text, &t) && t > *ns)
        *ns = t;
}

/* When it was last written, as far as it tells. */
static int64_t last_written(jval *ev)
{
    int64_t ns = obj_creation_ns(ev);
    later(event_last_timestamp(ev), &ns);
    later(event_series_last_observed_time(event_series(ev)), &ns);
    return ns;
}

static int take_away(struct event_ttl_controller *c, const struct ctx *ctx, jval *o, struct err *err)
{
    struct kube_opts opts = {.precondition_uid = obj_uid(o), .precondition_rv = obj_rv_text(o)};
    ERR(e);
    if (kube_delete(c->cfg->kube, ctx, &KUBE_EVENTS, obj_namespace(o), obj_name(o), &opts, NULL, &e) < 0 &&
        e.code != ERR_NOT_FOUND)
        return err_move(err, &e);
    return 0;
}

struct aged {
    int64_t written_ns;
    struct json *event;
};

static int by_age(const void *a, const void *b)
{
    const struct aged *x = a, *y = b;
    return (x->written_ns > y->written_ns) - (x->written_ns < y->written_ns);
}

/* Counting is dear and a few more do no harm: looked at now and then only. */
static void keep_to_limit(struct event_ttl_controller *c, const struct ctx *ctx)
{
    size_t n;
    if (++c->arrived < c->max / LOOK_EVERY)
        return;
    c->arrived = 0;
    struct json **all = informer_list(c->events, &n);
    AUTOFREE struct aged *aged = xreallocarray(NULL, n + 1, sizeof *aged);
    for (size_t i = 0; i < n; i++)
        aged[i] = (struct aged){.written_ns = n > c->max ? last_written(json_root(all[i])) : 0, .event = all[i]};
    if (n > c->max)
        qsort(aged, n, sizeof *aged, by_age);
    for (size_t i = 0; i < n; i++) {
        ERR(e);
        if (i + c->max < n)
            take_away(c, ctx, json_root(aged[i].event), &e);
        json_unref(aged[i].event);
    }
    free(all);
}

static int reconcile(void *self, const struct ctx *ctx, const char *key, struct reconcile_result *res, struct err *err)
{
    struct event_ttl_controller *c = self;
    JSON_REF(ev) = informer_get(c->events, key);
    if (!ev)
        return 0;
    int64_t now = ctx_now_ns(ctx), left = last_written(json_root(ev)) + c->ttl_ns - now;
    if (left > c->ttl_ns)
        left = c->ttl_ns; /* a time in the future does not make it live longer */
    keep_to_limit(c, ctx);
    if (left > 0) {
        res->again_after_ns = left;
        return 0;
    }
    return take_away(c, ctx, json_root(ev), err);
}

struct event_ttl_controller *event_ttl_controller_start(const struct controllers_config *cfg, struct informer *events)
{
    struct event_ttl_controller *c = xcalloc(1, sizeof *c);
    *c = (struct event_ttl_controller){.cfg = cfg,
                                       .ttl_ns = cfg->event_ttl_ns > 0 ? cfg->event_ttl_ns : TTL_NS,
                                       .max = cfg->events_max ? cfg->events_max : EVENTS_MAX,
                                       .events = events};
    struct controller_source sources[] = {{.informer = events}};
    struct controller def = {.name = "event-ttl", .sources = sources, .n_sources = 1, .workers = 1, .reconcile = reconcile};
    c->run = controller_start(&def, c, cfg->clock, NS_PER_MS);
    return c;
}

void event_ttl_controller_stop(struct event_ttl_controller *c)
{
    if (!c)
        return;
    controller_stop(c->run);
    free(c);
}
