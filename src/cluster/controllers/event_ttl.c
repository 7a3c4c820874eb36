/* event_ttl.c - see event_ttl.h. Each Event waits in the queue until its time has come: nothing is polled. */
#include "cluster/controllers/event_ttl.h"

#include <stdlib.h>

#include "base/str.h"
#include "base/timefmt.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

#define TTL_NS (3600 * NS_PER_S)

struct event_ttl_controller {
    const struct controllers_config *cfg;
    int64_t ttl_ns;
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

static int reconcile(void *self, const struct ctx *ctx, const char *key, struct reconcile_result *res, struct err *err)
{
    struct event_ttl_controller *c = self;
    JSON_REF(ev) = informer_get(c->events, key);
    if (!ev)
        return 0;
    int64_t now = ctx_now_ns(ctx), left = last_written(json_root(ev)) + c->ttl_ns - now;
    if (left > c->ttl_ns)
        left = c->ttl_ns; /* a time in the future does not make it live longer */
    if (left > 0) {
        res->again_after_ns = left;
        return 0;
    }
    jval *o = json_root(ev);
    struct kube_opts opts = {.precondition_uid = obj_uid(o), .precondition_rv = obj_rv_text(o)};
    ERR(e);
    if (kube_delete(c->cfg->kube, ctx, &KUBE_EVENTS, obj_namespace(o), obj_name(o), &opts, NULL, &e) < 0 &&
        e.code != ERR_NOT_FOUND)
        return err_move(err, &e);
    return 0;
}

struct event_ttl_controller *event_ttl_controller_start(const struct controllers_config *cfg, struct informer *events)
{
    struct event_ttl_controller *c = xcalloc(1, sizeof *c);
    *c =
        (struct event_ttl_controller){.cfg = cfg, .ttl_ns = cfg->event_ttl_ns > 0 ? cfg->event_ttl_ns : TTL_NS, .events = events};
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
