#include "cluster/node/heartbeat.h"

#include <stdlib.h>

#include "base/str.h"
#include "base/thread.h"
#include "base/timefmt.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

#define LOG_ROOM "node"
#include "base/log.h"

#define LEASE_NS   "kube-node-lease"
#define BEAT_NS    (10 * NS_PER_S)
#define RETRY_NS   (2 * NS_PER_S)
#define REFRESH_NS (300 * NS_PER_S)
enum { LEASE_SECONDS = 40 };

struct heartbeat {
    struct kube *kube;
    char *node;
    const struct clock *clock;
    struct heartbeat_config cfg;
    struct cancel cancel;
    pthread_t thread;
};

/* The Lease as it should be now; from: as it is, NULL for a new one. */
static struct json *lease_now(const struct heartbeat *h, jval *from, jval *node)
{
    char now[TIME_TEXT_MAX];
    struct jm *m = from ? jm_copy(from) : jm_new();
    if (!from) {
        jm_set_root(m, jm_obj(m));
        lease_set_api_version(m, jm_root(m), "coordination.k8s.io/v1");
        lease_set_kind(m, jm_root(m), "Lease");
        jmval *meta = lease_make_metadata(m, jm_root(m));
        object_meta_set_name(m, meta, h->node);
        object_meta_set_namespace(m, meta, LEASE_NS);
        if (node) /* it goes with its node */
            jm_push(object_meta_make_owner_references(m, meta), obj_make_owner_ref(m, node, &KUBE_NODES, false));
    }
    jmval *spec = lease_make_spec(m, jm_root(m));
    lease_spec_set_holder_identity(m, spec, h->node);
    lease_spec_set_lease_duration_seconds(m, spec, LEASE_SECONDS);
    lease_spec_set_renew_time(m, spec, time_format(now, h->clock->wall_ns(h->clock), TIME_MICROS));
    struct json *d = jm_freeze(m);
    jm_free(m);
    return d;
}

static int renew(const struct heartbeat *h, const struct ctx *ctx, jval *node, struct err *err)
{
    ERR(e);
    JSON_REF(have) = kube_get(h->kube, ctx, &KUBE_LEASES, LEASE_NS, h->node, NULL, &e);
    if (!have && e.code != ERR_NOT_FOUND)
        return err_move(err, &e);
    JSON_REF(now) = lease_now(h, have ? json_root(have) : NULL, node);
    JSON_REF(done) = have ? kube_update(h->kube, ctx, &KUBE_LEASES, LEASE_NS, h->node, json_root(now), NULL, err)
                          : kube_create(h->kube, ctx, &KUBE_LEASES, LEASE_NS, json_root(now), NULL, err);
    return done ? 0 : -1;
}

/* Has somebody declared us lost, or is what we said last old? */
static bool is_stale(const struct heartbeat *h, jval *node)
{
    jval *list = node_status_conditions(node_status(node));
    for (size_t i = 0; i < jv_len(list); i++) {
        jval *c = jv_at(list, i);
        if (!str_eq(node_condition_type(c), "Ready"))
            continue;
        int64_t said;
        const char *at = node_condition_last_heartbeat_time(c);
        return str_eq(node_condition_status(c), "Unknown") || !at || !time_parse(at, &said) ||
               h->clock->wall_ns(h->clock) - said > REFRESH_NS;
    }
    return true;
}

static int beat(const struct heartbeat *h, const struct ctx *ctx, struct err *err)
{
    JSON_REF(node) = kube_get(h->kube, ctx, &KUBE_NODES, NULL, h->node, NULL, err);
    if (!node || renew(h, ctx, json_root(node), err) < 0)
        return -1;
    if (h->cfg.seen)
        h->cfg.seen(h->cfg.self, json_root(node));
    return is_stale(h, json_root(node)) ? h->cfg.refresh(h->cfg.self, ctx, err) : 0;
}

static void *run(void *arg)
{
    struct heartbeat *h = arg;
    struct ctx ctx = {.clock = h->clock, .cancel = &h->cancel};
    bool failing = false;
    for (;;) {
        struct ctx brief = ctx_with_timeout(&ctx, BEAT_NS);
        ERR(e);
        int rc = beat(h, &brief, &e);
        if (atomic_load(&h->cancel.raised))
            return NULL;
        if (rc < 0 && !failing)
            log_warn("no sign of life could be given: %s", err_text(&e));
        failing = rc < 0;
        if (ctx_sleep(&ctx, failing ? RETRY_NS : BEAT_NS, NULL) < 0)
            return NULL;
    }
}

struct heartbeat *heartbeat_start(const struct heartbeat_config *cfg)
{
    struct heartbeat *h = xcalloc(1, sizeof *h);
    *h = (struct heartbeat){.kube = cfg->kube, .node = xstrdup(cfg->node), .clock = cfg->clock, .cfg = *cfg};
    ERR(e);
    if (cancel_init(&h->cancel, &e) < 0)
        h->cancel.fd = -1;
    h->thread = thread_start("node-heartbeat", run, h);
    return h;
}

void heartbeat_stop(struct heartbeat *h)
{
    if (!h)
        return;
    cancel_raise(&h->cancel);
    pthread_join(h->thread, NULL);
    cancel_close(&h->cancel);
    free(h->node);
    free(h);
}
