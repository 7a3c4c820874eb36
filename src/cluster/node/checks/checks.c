#include "cluster/node/checks/checks.h"

#include <stdlib.h>

#include "base/str.h"
#include "base/thread.h"
#include "cluster/node/checks/action.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "net/client.h"

#define LOG_ROOM "node"
#include "base/log.h"

enum { THREADS = 32, QUEUE = 10000, TRIES = 3 };
enum kind { STARTUP, LIVENESS, READINESS, N_KINDS };
enum outcome { UNKNOWN, SUCCESS, FAILURE };

static const char *const kind_names[N_KINDS] = {"Startup", "Liveness", "Readiness"};

struct probe {
    jval *spec; /* NULL: none */
    bool running, on_hold;
    int64_t due; /* mono */
    enum outcome result, last;
    int64_t run;
};
struct watch {
    unsigned refs; /* the map's, and one for each job */
    struct checks *c;
    char *key, *cid, *bundle, *pod_ip;
    struct json *pod;
    jval *container;
    bool init, started, quiet, gone;
    struct probe probes[N_KINDS];
    enum hook_state hooks[2];
    struct cancel cancel;
};
struct job {
    struct watch *w;
    enum kind kind;
    bool hook, pre_stop;
    int64_t timeout_ns;
};
struct checks {
    struct checks_config cfg;
    struct http_client *http;
    struct pool *pool;
    pthread_mutex_t lock; /* all below, and all of every watch that changes */
    pthread_cond_t changed;
    struct strmap watches; /* by container id */
    bool stopping, has_thread;
    pthread_t thread;
};

/* ---- watches ------------------------------------------------------------------------------------------------------------- */

static void watch_unref(struct watch *w)
{
    if (--w->refs)
        return;
    free(w->key);
    free(w->cid);
    free(w->bundle);
    free(w->pod_ip);
    json_unref(w->pod);
    cancel_close(&w->cancel);
    free(w);
}

/* The map's reference: what is under way is given up. */
static void watch_drop(void *at)
{
    struct watch *w = at;
    w->gone = true;
    cancel_raise(&w->cancel);
    watch_unref(w);
}

static int64_t spec_or(int64_t v, int64_t usual) { return v > 0 ? v : usual; }

static struct watch *watch_new(struct checks *c, const struct check_target *t, const struct check_result *was)
{
    struct watch *w = xcalloc(1, sizeof *w);
    int64_t mono = c->cfg.clock->mono_ns(c->cfg.clock), wall = c->cfg.clock->wall_ns(c->cfg.clock);
    *w = (struct watch){.refs = 1,
                        .c = c,
                        .key = xstrdup(t->key),
                        .cid = xstrdup(t->ref.id),
                        .bundle = xstrdup(t->ref.bundle),
                        .pod_ip = xstrdup(t->pod_ip),
                        .pod = json_ref(t->pod),
                        .container = t->container,
                        .init = t->init};
    ERR(e);
    if (cancel_init(&w->cancel, &e) < 0)
        log_warn("%s", err_text(&e));
    jval *specs[N_KINDS] = {[STARTUP] = container_startup_probe(t->container),
                            [LIVENESS] = container_liveness_probe(t->container),
                            [READINESS] = container_readiness_probe(t->container)};
    for (int k = 0; k < N_KINDS; k++) {
        int64_t delay = spec_or(probe_initial_delay_seconds(specs[k], 0), 0) * NS_PER_S;
        w->probes[k].spec = specs[k];
        w->probes[k].due = mono + delay - (wall - t->started_ns);
        if (w->probes[k].due < mono)
            w->probes[k].due = mono;
    }
    w->probes[LIVENESS].result = SUCCESS;
    w->probes[READINESS].result = was && was->ready ? SUCCESS : FAILURE;
    w->started = !specs[STARTUP] || (was && was->started);
    return w;
}

bool checks_needed(jval *container)
{
    return container_startup_probe(container) || container_liveness_probe(container) || container_readiness_probe(container);
}

/* Lock held. */
static struct watch *watch_for(struct checks *c, const struct check_target *t, const struct check_result *was)
{
    struct watch *w = strmap_get(&c->watches, t->ref.id);
    if (w)
        return w;
    w = watch_new(c, t, was);
    strmap_put(&c->watches, t->ref.id, w);
    pthread_cond_signal(&c->changed);
    return w;
}

/* ---- what a job does
 * ------------------------------------------------------------------------------------------------------------ */

static void tell(struct watch *w, const char *reason, const char *fmt, const char *a, const char *b)
{
    AUTOFREE char *field = xasprintf("spec.%s{%s}", w->init ? "initContainers" : "containers", container_name(w->container));
    AUTOFREE char *text = xasprintf(fmt, a, b);
    event_record_field(w->c->cfg.events, json_root(w->pod), &KUBE_PODS, field, "Warning", reason, "%s", text);
}

static enum action_result ask(struct watch *w, const struct action *a, int64_t timeout_ns, struct buf *text)
{
    struct ctx base = ctx_background();
    struct action_env env = {.runtime = w->c->cfg.runtime,
                             .http = w->c->http,
                             .ref = {.id = w->cid, .bundle = w->bundle},
                             .pod_ip = w->pod_ip,
                             .container = w->container,
                             .timeout_ns = timeout_ns};
    base.cancel = &w->cancel;
    env.ctx = timeout_ns ? ctx_with_timeout(&base, timeout_ns) : base;
    return action_run(&env, a, text);
}

/* Lock held. True when the pod is to be looked at. */
static bool count(struct watch *w, enum kind k, enum outcome o)
{
    struct probe *p = &w->probes[k];
    p->run = p->last == o ? p->run + 1 : 1;
    p->last = o;
    int64_t threshold =
        o == FAILURE ? spec_or(probe_failure_threshold(p->spec, 0), 3) : spec_or(probe_success_threshold(p->spec, 0), 1);
    if (p->run < threshold || (w->quiet && k != READINESS))
        return false;
    bool news = p->result != o;
    p->result = o;
    if (k != READINESS && o == FAILURE) {
        p->on_hold = true;
        p->run = 0;
    }
    if (k == STARTUP && o == SUCCESS && !w->started) {
        w->started = news = true;
        int64_t now = w->c->cfg.clock->mono_ns(w->c->cfg.clock);
        if (w->probes[READINESS].due > now)
            w->probes[READINESS].due = now;
        pthread_cond_signal(&w->c->changed);
    }
    return news;
}

static void run_probe(struct watch *w, enum kind k)
{
    jval *spec = w->probes[k].spec;
    struct action a = {
        .exec = probe_exec(spec), .http = probe_http_get(spec), .tcp = probe_tcp_socket(spec), .grpc = probe_grpc(spec)};
    enum action_result r = ACTION_ERROR;
    BUF(text);
    for (int i = 0; i < TRIES && r == ACTION_ERROR; i++) {
        buf_reset(&text);
        r = ask(w, &a, spec_or(probe_timeout_seconds(spec, 0), 1) * NS_PER_S, &text);
    }
    struct checks *c = w->c;
    bool news = false, gone;
    {
        LOCK_GUARD(&c->lock);
        gone = w->gone || c->stopping;
        w->probes[k].running = false;
        if (!gone && r != ACTION_ERROR)
            news = count(w, k, r == ACTION_FAILED ? FAILURE : SUCCESS);
        pthread_cond_signal(&c->changed);
    }
    if (gone)
        return;
    if (r == ACTION_FAILED)
        tell(w, "Unhealthy", "%s probe failed: %s", kind_names[k], buf_str(&text));
    else if (r == ACTION_ERROR)
        tell(w, "Unhealthy", "%s probe errored and resulted in unknown state: %s", kind_names[k], buf_str(&text));
    else if (r == ACTION_WARNING)
        tell(w, "ProbeWarning", "%s probe warning: %s", kind_names[k], buf_str(&text));
    if (news)
        c->cfg.changed(c->cfg.self, w->key);
}

static jval *hook_of(jval *container, bool pre_stop)
{
    jval *l = container_lifecycle(container);
    return pre_stop ? lifecycle_pre_stop(l) : lifecycle_post_start(l);
}

static void run_hook(struct watch *w, bool pre_stop, int64_t timeout_ns)
{
    jval *h = hook_of(w->container, pre_stop);
    struct action a = {.exec = lifecycle_handler_exec(h),
                       .http = lifecycle_handler_http_get(h),
                       .tcp = lifecycle_handler_tcp_socket(h),
                       .sleep = lifecycle_handler_sleep(h)};
    BUF(text);
    enum action_result r = ask(w, &a, timeout_ns, &text);
    /* A hook by HTTP asks for an answer, not for a good one. */
    if (a.http && r == ACTION_FAILED && str_starts(buf_str(&text), "HTTP probe failed"))
        r = ACTION_OK;
    bool ok = r == ACTION_OK || r == ACTION_WARNING, gone;
    if (!ok)
        log_debug("%s hook of container %s in pod %s: %s", pre_stop ? "preStop" : "postStart", container_name(w->container),
                  w->key, buf_str(&text));
    struct checks *c = w->c;
    {
        LOCK_GUARD(&c->lock);
        gone = w->gone;
        w->hooks[pre_stop] = ok ? HOOK_DONE : HOOK_FAILED;
    }
    if (!gone && !ok)
        tell(w, pre_stop ? "FailedPreStopHook" : "FailedPostStartHook", "%s%s", pre_stop ? "PreStopHook" : "PostStartHook",
             " failed");
    if (!gone)
        c->cfg.changed(c->cfg.self, w->key);
}

static void do_job(void *arg)
{
    struct job *j = arg;
    struct watch *w = j->w;
    if (j->hook)
        run_hook(w, j->pre_stop, j->timeout_ns);
    else
        run_probe(w, j->kind);
    LOCK_GUARD(&w->c->lock);
    watch_unref(w);
    free(j);
}

/* Lock held. */
static bool submit(struct checks *c, struct watch *w, const struct job *what)
{
    struct job *j = xmemdup(what, sizeof *what);
    j->w = w;
    w->refs++;
    if (pool_submit(c->pool, do_job, j))
        return true;
    w->refs--;
    free(j);
    return false;
}

/* ---- the passage of time
 * -------------------------------------------------------------------------------------------------------- */

/* Lock held. When this probe is to be looked at again; INT64_MAX: not by the clock. */
static int64_t step(struct checks *c, struct watch *w, enum kind k, int64_t now)
{
    struct probe *p = &w->probes[k];
    if (!p->spec || p->running || p->on_hold || (k == STARTUP) == w->started || (w->quiet && k != READINESS))
        return INT64_MAX;
    if (p->due > now)
        return p->due;
    p->due = now + spec_or(probe_period_seconds(p->spec, 0), 10) * NS_PER_S;
    p->running = submit(c, w, &(struct job){.kind = k});
    return p->running ? INT64_MAX : p->due;
}

static void *keep_time(void *arg)
{
    struct checks *c = arg;
    LOCK_GUARD(&c->lock);
    while (!c->stopping) {
        int64_t now = c->cfg.clock->mono_ns(c->cfg.clock), next = INT64_MAX;
        for (struct strmap_entry *e = strmap_first(&c->watches); e; e = strmap_next(e))
            for (int k = 0; k < N_KINDS; k++) {
                int64_t due = step(c, e->value, k, now);
                next = due < next ? due : next;
            }
        if (next == INT64_MAX)
            pthread_cond_wait(&c->changed, &c->lock);
        else
            thread_cond_wait_until(&c->changed, &c->lock, clock_system.mono_ns(&clock_system) + (next - now));
    }
    return NULL;
}

/* ---- the face
 * ------------------------------------------------------------------------------------------------------------------- */

struct checks *checks_new(const struct checks_config *cfg)
{
    struct checks *c = xcalloc(1, sizeof *c);
    ERR(e);
    c->cfg = *cfg;
    c->http = http_client_new(&(struct http_client_config){.insecure = true}, &e);
    if (!c->http)
        log_warn("probes by HTTP: %s", err_text(&e));
    c->pool = pool_new("node-checks", THREADS, QUEUE);
    c->watches = STRMAP_INIT(watch_drop);
    pthread_mutex_init(&c->lock, NULL);
    thread_cond_init(&c->changed);
    return c;
}

void checks_free(struct checks *c)
{
    if (!c)
        return;
    {
        LOCK_GUARD(&c->lock);
        c->stopping = true;
        pthread_cond_signal(&c->changed);
        strmap_free(&c->watches);
        c->watches = STRMAP_INIT(watch_drop);
    }
    if (c->has_thread)
        pthread_join(c->thread, NULL);
    pool_stop(c->pool);
    if (c->http)
        http_client_free(c->http);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void checks_watch(struct checks *c, const struct check_target *t, const struct check_result *was, struct check_result *out)
{
    LOCK_GUARD(&c->lock);
    if (c->stopping)
        return;
    struct watch *w = watch_for(c, t, was);
    if (!c->has_thread)
        c->thread = thread_start("node-probes", keep_time, c);
    c->has_thread = true;
    jval *failed = w->probes[STARTUP].spec && w->probes[STARTUP].result == FAILURE ? w->probes[STARTUP].spec
                   : w->probes[LIVENESS].result == FAILURE                         ? w->probes[LIVENESS].spec
                                                                                   : NULL;
    *out = (struct check_result){
        .started = w->started,
        .ready = w->started && (!w->probes[READINESS].spec || w->probes[READINESS].result == SUCCESS),
        .health = !failed                             ? CHECK_FINE
                  : failed == w->probes[STARTUP].spec ? CHECK_STARTUP_FAILED
                                                      : CHECK_LIVENESS_FAILED,
        .grace_s = probe_termination_grace_period_seconds(failed, -1),
    };
}

void checks_quiet(struct checks *c, const char *cid)
{
    LOCK_GUARD(&c->lock);
    struct watch *w = strmap_get(&c->watches, cid);
    if (w)
        w->quiet = true;
}

void checks_forget(struct checks *c, const char *cid)
{
    LOCK_GUARD(&c->lock);
    strmap_del(&c->watches, cid);
}

enum hook_state checks_hook(struct checks *c, const struct check_target *t, bool pre_stop, int64_t timeout_ns)
{
    if (!hook_of(t->container, pre_stop))
        return HOOK_ABSENT;
    LOCK_GUARD(&c->lock);
    if (c->stopping)
        return HOOK_FAILED;
    struct watch *w = watch_for(c, t, NULL);
    if (w->hooks[pre_stop] == HOOK_ABSENT)
        w->hooks[pre_stop] =
            submit(c, w, &(struct job){.hook = true, .pre_stop = pre_stop, .timeout_ns = timeout_ns}) ? HOOK_RUNS : HOOK_FAILED;
    return w->hooks[pre_stop];
}
