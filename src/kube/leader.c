/* leader.c - see leader.h. One thread: wants it, holds it, loses it. */
#include "kube/leader.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/id.h"
#include "base/str.h"
#include "base/thread.h"
#include "base/timefmt.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

#define LOG_ROOM "leader"
#include "base/log.h"

struct leader {
    struct kube *kube;
    char *ns, *name, *identity;
    const struct clock *clock;
    int64_t lease_ns, renew_ns, retry_ns;
    void (*lost)(void *self);
    void *self;
    struct cancel cancel;
    pthread_t thread;

    pthread_mutex_t lock; /* guards holds, over, holder */
    pthread_cond_t changed;
    bool holds, over;
    char *holder;

    /* the thread's own */
    struct json *seen;  /* the Lease as last seen */
    int64_t seen_at_ns; /* monotonic: when it was seen to change */
    bool unsure;        /* a claim was written without an answer: it may hold */
};

static int64_t mono(const struct leader *l) { return l->clock->mono_ns(l->clock); }

/* ---- the Lease ---- */

static void note(struct leader *l, struct json *lease)
{
    bool same = l->seen && jv_equal(lease_spec(json_root(l->seen)), lease_spec(json_root(lease)));
    if (!same)
        l->seen_at_ns = mono(l);
    json_unref(l->seen);
    l->seen = json_ref(lease);
    const char *holder = lease_spec_holder_identity(lease_spec(json_root(lease)));
    LOCK_GUARD(&l->lock);
    if (!str_empty(holder) && !str_eq(holder, l->identity) && !str_eq(holder, l->holder))
        log_info("lease=%s/%s: %s holds it", l->ns, l->name, holder);
    free(l->holder);
    l->holder = xstrdup(holder ? holder : "");
}

/* Does somebody else hold it still? */
static bool taken(const struct leader *l)
{
    jval *spec = lease_spec(json_root(l->seen));
    const char *holder = lease_spec_holder_identity(spec);
    if (str_empty(holder) || str_eq(holder, l->identity))
        return false;
    return l->seen_at_ns + lease_spec_lease_duration_seconds(spec, 0) * NS_PER_S > mono(l);
}

static void set_time(struct jm *m, jmval *spec, int64_t wall, bool acquire)
{
    char text[TIME_TEXT_MAX];
    time_format(text, wall, TIME_MICROS);
    if (acquire)
        lease_spec_set_acquire_time(m, spec, text);
    lease_spec_set_renew_time(m, spec, text);
}

/* A Lease that says that we hold it; from: the one that is there, NULL for a new one. */
static struct json *claim(const struct leader *l, jval *from)
{
    struct jm *m = from ? jm_copy(from) : jm_new();
    if (!from) {
        jm_set_root(m, jm_obj(m));
        lease_set_api_version(m, jm_root(m), "coordination.k8s.io/v1");
        lease_set_kind(m, jm_root(m), "Lease");
        object_meta_set_name(m, lease_make_metadata(m, jm_root(m)), l->name);
        object_meta_set_namespace(m, lease_make_metadata(m, jm_root(m)), l->ns);
    }
    jval *old = from ? lease_spec(from) : NULL;
    bool ours = old && str_eq(lease_spec_holder_identity(old), l->identity);
    jmval *spec = lease_make_spec(m, jm_root(m));
    lease_spec_set_holder_identity(m, spec, l->identity);
    lease_spec_set_lease_duration_seconds(m, spec, (l->lease_ns + NS_PER_S - 1) / NS_PER_S);
    set_time(m, spec, l->clock->wall_ns(l->clock), !ours);
    lease_spec_set_lease_transitions(m, spec, old ? lease_spec_lease_transitions(old, 0) + !ours : 0);
    struct json *d = jm_freeze(m);
    jm_free(m);
    return d;
}

/* 1: we hold it; 0: somebody else does; -1: it could not be told. */
static int try_hold(struct leader *l, const struct ctx *ctx, struct err *err)
{
    ERR(e);
    JSON_REF(now) = kube_get(l->kube, ctx, &KUBE_LEASES, l->ns, l->name, NULL, &e);
    if (!now && e.code == ERR_NOT_FOUND) {
        JSON_REF(fresh) = claim(l, NULL);
        JSON_REF(made) = kube_create(l->kube, ctx, &KUBE_LEASES, l->ns, json_root(fresh), NULL, err);
        if (made)
            note(l, made);
        l->unsure = !made;
        return made ? 1 : -1;
    }
    if (!now)
        return err_move(err, &e);
    note(l, now);
    if (taken(l))
        return 0;
    JSON_REF(mine) = claim(l, json_root(now));
    JSON_REF(done) = kube_update(l->kube, ctx, &KUBE_LEASES, l->ns, l->name, json_root(mine), NULL, &e);
    l->unsure = !done && e.code != ERR_CONFLICT && e.code != ERR_EXISTS;
    if (done) {
        note(l, done);
        return 1;
    }
    if (e.code == ERR_CONFLICT || e.code == ERR_EXISTS)
        return 0; /* somebody was faster */
    return err_move(err, &e);
}

static bool is_ours(const struct leader *l, jval *lease)
{
    return str_eq(lease_spec_holder_identity(lease_spec(lease)), l->identity);
}

static int release(struct leader *l, const struct ctx *ctx, jval *lease, struct err *err)
{
    JM(m, lease);
    jmval *spec = lease_make_spec(m, jm_root(m));
    lease_spec_set_holder_identity(m, spec, "");
    lease_spec_set_lease_duration_seconds(m, spec, 1);
    set_time(m, spec, l->clock->wall_ns(l->clock), true);
    JSON_REF(d) = jm_freeze(m);
    JSON_REF(done) = kube_update(l->kube, ctx, &KUBE_LEASES, l->ns, l->name, json_root(d), NULL, err);
    return done ? 0 : -1;
}

/* So that the next one need not wait for the end of our time. A renewal that was cut may have been written all the same: then
 * what was seen last is old, and the Lease is read again. */
static void give_back(struct leader *l)
{
    struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, l->renew_ns);
    JSON_REF(lease) = json_ref(l->seen);
    ERR(e);
    for (int i = 0; i < 3; i++) {
        if (lease && is_ours(l, json_root(lease)) && (release(l, &ctx, json_root(lease), &e) == 0 || e.code != ERR_CONFLICT))
            break;
        err_clear(&e);
        json_unref(lease);
        lease = kube_get(l->kube, &ctx, &KUBE_LEASES, l->ns, l->name, NULL, &e);
        if (!lease || !is_ours(l, json_root(lease)))
            break;
    }
    if (e.code && e.code != ERR_NOT_FOUND)
        log_info("lease=%s/%s: giving it back: %s", l->ns, l->name, err_text(&e));
}

/* ---- the thread ---- */

static void set_state(struct leader *l, bool holds, bool over)
{
    LOCK_GUARD(&l->lock);
    l->holds = holds;
    l->over = over;
    pthread_cond_broadcast(&l->changed);
}

static int64_t jittered(int64_t ns) { return ns + (int64_t)(random_u64() % (uint64_t)(ns / 5 + 1)); }

/* Until we hold it: true; stopped: false. */
static bool acquire(struct leader *l, const struct ctx *ctx)
{
    AUTOFREE char *last = NULL;
    for (;;) {
        struct ctx one = ctx_with_timeout(ctx, l->renew_ns);
        ERR(e);
        int rc = try_hold(l, &one, &e);
        if (rc == 1)
            return true;
        if (rc < 0 && !str_eq(last, err_text(&e)) && !atomic_load(&l->cancel.raised)) {
            log_warn("lease=%s/%s: %s; trying again", l->ns, l->name, err_text(&e));
            free(last);
            last = xstrdup(err_text(&e));
        }
        if (ctx_sleep(ctx, jittered(l->retry_ns), NULL) < 0)
            return false;
    }
}

/* While we hold it. Returns when it is lost, or we are stopped. */
static void hold(struct leader *l, const struct ctx *ctx)
{
    int64_t renewed = mono(l);
    while (ctx_sleep(ctx, l->retry_ns, NULL) == 0) {
        int64_t left = renewed + l->renew_ns - mono(l);
        struct ctx one = ctx_with_timeout(ctx, left > 0 ? left : 1);
        ERR(e);
        int64_t began = mono(l);
        int rc = try_hold(l, &one, &e);
        if (rc == 1) {
            renewed = began;
            continue;
        }
        bool other = rc == 0 && taken(l);
        if (other || mono(l) - renewed >= l->renew_ns) {
            if (!atomic_load(&l->cancel.raised))
                log_error("lease=%s/%s was lost: %s", l->ns, l->name, rc < 0 ? err_text(&e) : "somebody else holds it");
            return;
        }
        log_warn("lease=%s/%s was not renewed: %s", l->ns, l->name, rc < 0 ? err_text(&e) : "somebody wrote it meanwhile");
    }
}

static void *run(void *arg)
{
    struct leader *l = arg;
    struct ctx ctx = {.clock = l->clock, .cancel = &l->cancel};
    if (acquire(l, &ctx)) {
        set_state(l, true, false);
        hold(l, &ctx);
        bool stopped = atomic_load(&l->cancel.raised);
        if (!stopped && l->lost)
            l->lost(l->self);
    }
    set_state(l, false, true);
    return NULL;
}

/* ---- doors ---- */

static char *make_identity(void)
{
    char host[256] = "", part[9];
    gethostname(host, sizeof host - 1);
    return xasprintf("%s_%s", host, random_hex(part, 4));
}

struct leader *leader_start(const struct leader_config *cfg)
{
    struct leader *l = xcalloc(1, sizeof *l);
    l->kube = cfg->kube;
    l->ns = xstrdup(cfg->ns);
    l->name = xstrdup(cfg->name);
    l->identity = cfg->identity ? xstrdup(cfg->identity) : make_identity();
    l->clock = cfg->clock ? cfg->clock : &clock_system;
    l->lease_ns = cfg->lease_ns ? cfg->lease_ns : 15 * NS_PER_S;
    l->renew_ns = cfg->renew_ns ? cfg->renew_ns : 10 * NS_PER_S;
    l->retry_ns = cfg->retry_ns ? cfg->retry_ns : 2 * NS_PER_S;
    l->lost = cfg->lost;
    l->self = cfg->self;
    l->holder = xstrdup("");
    pthread_mutex_init(&l->lock, NULL);
    thread_cond_init(&l->changed);
    ERR(e);
    if (cancel_init(&l->cancel, &e) < 0)
        l->cancel.fd = -1;
    l->thread = thread_start("leader", run, l);
    return l;
}

int leader_wait(struct leader *l, const struct ctx *ctx, struct err *err)
{
    LOCK_GUARD(&l->lock);
    while (!l->holds) {
        if (l->over)
            return err_set(err, ERR_CANCELLED, "the lease %s/%s was lost", l->ns, l->name);
        if (ctx_check(ctx, err) < 0)
            return err_wrap(err, "waiting for the lease %s/%s, which %s holds", l->ns, l->name,
                            *l->holder ? l->holder : "nobody");
        thread_cond_wait_until(&l->changed, &l->lock, clock_system.mono_ns(&clock_system) + 50 * NS_PER_MS);
    }
    return 0;
}

bool leader_is(struct leader *l)
{
    LOCK_GUARD(&l->lock);
    return l->holds;
}

void leader_stop(struct leader *l)
{
    if (!l)
        return;
    bool held = leader_is(l);
    cancel_raise(&l->cancel);
    pthread_join(l->thread, NULL);
    if (held || l->unsure)
        give_back(l);
    json_unref(l->seen);
    cancel_close(&l->cancel);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    free(l->ns);
    free(l->name);
    free(l->identity);
    free(l->holder);
    free(l);
}
