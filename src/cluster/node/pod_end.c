/* What becomes of containers that run: hooks and probes, and their orderly end.
 *
 *   end          what happens in it                                             leaves to
 *   ----------   ------------------------------------------------------------- ---------------------------------------
 *   END_NO       it is to go on                                                 END_HOOK, by box_end
 *   END_HOOK     its preStop hook runs, within the grace                        END_TURN
 *   END_TURN     a sidecar waits for those that are listed after it to end      END_TERM
 *   END_TERM     it has its signal                                              END_KILL when the grace is over
 *   END_KILL     SIGKILL, again each second                                     (BOX_EXITED)
 */
#include <signal.h>
#include <stdlib.h>

#include "cluster/node/pod.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

/* What a container has at least after its preStop hook. */
#define GRACE_LEAST (2 * NS_PER_S)
/* The first process of a container ignores a signal that it has no handler for: one that comes before the program is up would be
 * lost, and the pod would sit out its whole grace period. */
#define SETTLE (300 * NS_PER_MS)

bool box_is_sidecar(const struct pod *p, const struct box *b)
{
    return b->init && p->obj && str_eq(container_restart_policy(pod_box_container(p, b)), "Always");
}

static struct check_target target_of(const struct pod *p, const struct box *b, const char *bundle)
{
    return (struct check_target){.key = p->key,
                                 .pod_ip = p->sandbox.ip,
                                 .pod = p->obj,
                                 .ref = {.id = b->cid, .bundle = bundle},
                                 .container = pod_box_container(p, b),
                                 .init = b->init,
                                 .started_ns = b->started_ns};
}

static void tell(const struct pod_host *h, const struct pod *p, const struct box *b, const char *text)
{
    AUTOFREE char *field = box_field(b);
    if (p->obj)
        event_record_field(h->events, json_root(p->obj), &KUBE_PODS, field, "Normal", "Killing", "%s", text);
}

/* ---- hooks and probes --------------------------------------------------------------------------------------------------------
 */

/* What the status of a container that was adopted says of it. */
static struct check_result was_known(const struct pod *p, const struct box *b)
{
    jval *status = pod_status(json_root(p->obj));
    jval *list = b->init ? pod_status_init_container_statuses(status) : pod_status_container_statuses(status);
    struct check_result was = {0};
    for (size_t i = 0; i < jv_len(list); i++)
        if (str_eq(container_status_name(jv_at(list, i)), b->name)) {
            was.started = container_status_started(jv_at(list, i), false);
            was.ready = container_status_ready(jv_at(list, i), false);
        }
    return was;
}

static bool never_restarts(const struct pod *p, const struct box *b)
{
    return !box_is_sidecar(p, b) && str_eq(pod_spec_restart_policy(pod_spec(json_root(p->obj))), "Never");
}

static void condemn(const struct pod_host *h, struct pod *p, struct box *b, const char *why, int64_t grace_s)
{
    if (b->end_why)
        return;
    if (grace_s < 0)
        grace_s = pod_spec_termination_grace_period_seconds(pod_spec(json_root(p->obj)), 30);
    b->end_why = xstrdup(why);
    b->kill_mono_ns = h->clock->mono_ns(h->clock) + grace_s * NS_PER_S;
    b->ready = false;
}

void box_look(const struct pod_host *h, struct pod *p, struct box *b)
{
    jval *c = pod_box_container(p, b);
    if (b->state != BOX_RUNNING || !b->cid || !c)
        return;
    AUTOFREE char *bundle = pod_bundle(h, p, b);
    struct check_target t = target_of(p, b, bundle);
    if (!b->hooked) {
        enum hook_state s = checks_hook(h->checks, &t, false, 0);
        if (s == HOOK_RUNS)
            return;
        b->hooked = true;
        if (s == HOOK_FAILED)
            condemn(h, p, b, "FailedPostStartHook", -1);
    }
    if (!checks_needed(c)) {
        b->started = true;
        b->ready = !b->end_why;
        return;
    }
    struct check_result was = b->adopted ? was_known(p, b) : (struct check_result){0}, r = {0};
    checks_watch(h->checks, &t, b->adopted ? &was : NULL, &r);
    b->started = r.started;
    b->ready = r.ready && !b->end_why;
    if (r.health == CHECK_FINE || b->end_why)
        return;
    AUTOFREE char *why =
        xasprintf("Container %s failed %s probe%s", b->name, r.health == CHECK_STARTUP_FAILED ? "startup" : "liveness",
                  never_restarts(p, b) ? "" : ", will be restarted");
    b->must_restart = !never_restarts(p, b);
    condemn(h, p, b, why, r.grace_s);
}

/* ---- the end
 * --------------------------------------------------------------------------------------------------------------------- */

/* "SIGUSR1", "SIGRTMIN+3"; 0 when it is none. */
static int signal_named(const char *name)
{
    int64_t n = 0;
    if (str_empty(name) || !str_starts(name, "SIG"))
        return 0;
    if (str_starts(name, "SIGRTMIN"))
        return name[8] == 0 ? SIGRTMIN : name[8] == '+' && str_to_i64(name + 9, &n) ? SIGRTMIN + (int)n : 0;
    if (str_starts(name, "SIGRTMAX"))
        return name[8] == 0 ? SIGRTMAX : name[8] == '-' && str_to_i64(name + 9, &n) ? SIGRTMAX - (int)n : 0;
    for (int i = 1; i < 32; i++)
        if (str_eq(sigabbrev_np(i), name + 3))
            return i;
    return 0;
}

static int send_signal(const struct pod_host *h, const struct pod *p, const struct box *b, int sig, struct err *err)
{
    AUTOFREE char *bundle = pod_bundle(h, p, b);
    struct container_ref ref = {.id = b->cid, .bundle = bundle};
    return h->runtime->ops->signal(h->runtime, &ref, sig, err);
}

static int polite_signal(const struct pod *p, const struct box *b)
{
    int own = p->obj ? signal_named(lifecycle_stop_signal(container_lifecycle(pod_box_container(p, b)))) : 0;
    return own ? own : b->stop_signal ? b->stop_signal : SIGTERM;
}

/* Sidecars end after all regular containers, the last of the list first. */
static bool must_wait(const struct pod *p, const struct box *b)
{
    if (!box_is_sidecar(p, b))
        return false;
    for (const struct box *later = b + 1; later < p->boxes + p->n_boxes; later++)
        if (later->state == BOX_RUNNING && later->kind != BOX_EPHEMERAL && (!later->init || box_is_sidecar(p, later)))
            return true;
    return false;
}

static bool has_pre_stop(const struct pod *p, const struct box *b)
{
    return p->obj && lifecycle_pre_stop(container_lifecycle(pod_box_container(p, b)));
}

static void begin_end(const struct pod_host *h, struct pod *p, struct box *b, const char *why)
{
    AUTOFREE char *text = why ? xstrdup(why) : xasprintf("Stopping container %s", b->name);
    checks_quiet(h->checks, b->cid);
    if (b->state == BOX_RUNNING)
        tell(h, p, b, text);
    b->end = END_HOOK;
}

/* True while the hook runs. */
static bool hook_runs(const struct pod_host *h, struct pod *p, struct box *b, int64_t left)
{
    if (left <= 0 || !p->obj || b->state != BOX_RUNNING || !pod_box_container(p, b))
        return false;
    AUTOFREE char *bundle = pod_bundle(h, p, b);
    struct check_target t = target_of(p, b, bundle);
    return checks_hook(h->checks, &t, true, left) == HOOK_RUNS;
}

int box_end(const struct pod_host *h, struct pod *p, struct box *b, const char *why, int64_t kill_mono, int64_t *wake,
            struct err *err)
{
    int64_t now = h->clock->mono_ns(h->clock), age = h->clock->wall_ns(h->clock) - b->started_ns;
    bool had_time = kill_mono > now, hook_ran = b->end == END_HOOK;
    if ((b->state != BOX_RUNNING && b->state != BOX_PREPARED) || !b->cid)
        return 0;
    if (b->end == END_NO)
        begin_end(h, p, b, why);
    if (b->end == END_HOOK) {
        if (hook_runs(h, p, b, kill_mono - now)) {
            pod_wake_at(h, wake, kill_mono);
            return 0;
        }
        b->end = END_TURN;
        if (hook_ran || (had_time && has_pre_stop(p, b)))
            b->least_mono_ns = now + GRACE_LEAST;
    }
    if (b->end == END_TURN && (had_time || b->least_mono_ns > now)) {
        if (had_time && must_wait(p, b)) {
            pod_wake_at(h, wake, kill_mono);
            return 0;
        }
        if (age >= 0 && age < SETTLE && kill_mono - now > 2 * SETTLE) {
            pod_wake_at(h, wake, now + SETTLE - age);
            return 0;
        }
        if (send_signal(h, p, b, polite_signal(p, b), err) < 0)
            return -1;
        b->end = END_TERM;
    }
    int64_t until = kill_mono > b->least_mono_ns ? kill_mono : b->least_mono_ns;
    if (b->end == END_TERM && until > now) {
        pod_wake_at(h, wake, until);
        return 0;
    }
    b->end = END_KILL;
    if (send_signal(h, p, b, SIGKILL, err) < 0)
        return -1;
    pod_wake_at(h, wake, now + NS_PER_S);
    return 0;
}

void box_begin_anew(struct box *b)
{
    free(b->end_why);
    b->end_why = NULL;
    b->end = END_NO;
    b->started = b->ready = b->hooked = b->adopted = b->must_restart = false;
    b->kill_mono_ns = b->least_mono_ns = 0;
}
