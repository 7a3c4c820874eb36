/* The row of a pod. Its status is a word for people, made of the phase and of what the containers say. */
#include "base/str.h"
#include "base/timefmt.h"
#include "kube/documents/table_priv.h"
#include "kube/fields.h"
#include "kube/object.h"

struct summary {
    struct buf reason;
    int64_t ready, total, restarts, last_restart_ns;
};

static void say(struct summary *s, const char *prefix, const char *reason)
{
    buf_reset(&s->reason);
    buf_addf(&s->reason, "%s%s", prefix, reason);
}

static void count_restart(int64_t *restarts, int64_t *last_ns, jval *status)
{
    int64_t ns;
    const char *finished =
        container_state_terminated_finished_at(container_state_terminated(container_status_last_state(status)));
    *restarts += container_status_restart_count(status, 0);
    if (finished && time_parse(finished, &ns) && ns > *last_ns)
        *last_ns = ns;
}

/* A container that ended: its reason, else the signal or exit code. */
static void say_terminated(struct summary *s, const char *prefix, jval *terminated)
{
    const char *reason = container_state_terminated_reason(terminated);
    int64_t signal = container_state_terminated_signal(terminated, 0);
    if (!str_empty(reason)) {
        say(s, prefix, reason);
        return;
    }
    buf_reset(&s->reason);
    buf_addf(&s->reason, "%s%s:%lld", prefix, signal ? "Signal" : "ExitCode",
             (long long)(signal ? signal : container_state_terminated_exit_code(terminated, 0)));
}

static bool is_sidecar(jval *spec, const char *name)
{
    struct jiter it = jv_iter(pod_spec_init_containers(spec));
    jval *c;
    while (jv_next(&it, NULL, &c))
        if (str_eq(container_name(c), name))
            return str_eq(container_restart_policy(c), "Always");
    return false;
}

struct init_result {
    bool initializing;
    int64_t sidecar_restarts, sidecar_last_ns;
};

static struct init_result walk_init(struct summary *s, jval *spec, jval *statuses)
{
    struct init_result r = {0};
    for (size_t i = 0, n = jv_is(statuses, J_ARRAY) ? jv_len(statuses) : 0; i < n; i++) {
        jval *status = jv_at(statuses, i), *state = container_status_state(status);
        jval *terminated = container_state_terminated(state), *waiting = container_state_waiting(state);
        const char *waits_for = container_state_waiting_reason(waiting);
        bool sidecar = is_sidecar(spec, container_status_name(status)), ended = jv_present(terminated);
        count_restart(&s->restarts, &s->last_restart_ns, status);
        if (sidecar)
            count_restart(&r.sidecar_restarts, &r.sidecar_last_ns, status);
        if (ended && container_state_terminated_exit_code(terminated, 0) == 0)
            continue;
        if (sidecar && container_status_started(status, false)) {
            s->ready += container_status_ready(status, false);
            continue;
        }
        r.initializing = true;
        if (ended) {
            say_terminated(s, "Init:", terminated);
        } else if (!str_empty(waits_for) && !str_eq(waits_for, "PodInitializing")) {
            say(s, "Init:", waits_for);
        } else {
            buf_reset(&s->reason);
            buf_addf(&s->reason, "Init:%zu/%zu", i, jv_len(pod_spec_init_containers(spec)));
        }
        break;
    }
    return r;
}

static void walk_containers(struct summary *s, jval *pod, jval *statuses)
{
    bool running = false;
    for (size_t i = jv_is(statuses, J_ARRAY) ? jv_len(statuses) : 0; i-- > 0;) {
        jval *status = jv_at(statuses, i), *state = container_status_state(status),
             *terminated = container_state_terminated(state);
        const char *waits_for = container_state_waiting_reason(container_state_waiting(state));
        count_restart(&s->restarts, &s->last_restart_ns, status);
        if (!str_empty(waits_for)) {
            say(s, "", waits_for);
        } else if (jv_present(terminated)) {
            say_terminated(s, "", terminated);
        } else if (container_status_ready(status, false) && jv_present(container_state_running(state))) {
            running = true;
            s->ready++;
        }
    }
    if (running && str_eq(buf_str(&s->reason), "Completed"))
        say(s, "", obj_condition_is(pod, "Ready", "True") ? "Running" : "NotReady");
}

static void summarize(struct summary *s, jval *pod)
{
    jval *spec = pod_spec(pod), *status = pod_status(pod);
    const char *phase = pod_status_phase(status), *reason = pod_status_reason(status);
    s->total = (int64_t)jv_len(pod_spec_containers(spec));
    struct jiter it = jv_iter(pod_spec_init_containers(spec));
    jval *c;
    while (jv_next(&it, NULL, &c))
        s->total += str_eq(container_restart_policy(c), "Always");
    say(s, "", !str_empty(reason) ? reason : phase ? phase : "");
    if (str_eq(pod_condition_reason(obj_condition(pod, "PodScheduled")), "SchedulingGated"))
        say(s, "", "SchedulingGated");
    struct init_result init = walk_init(s, spec, pod_status_init_container_statuses(status));
    if (!init.initializing || obj_condition_is(pod, "Initialized", "True")) {
        s->restarts = init.sidecar_restarts;
        s->last_restart_ns = init.sidecar_last_ns;
        walk_containers(s, pod, pod_status_container_statuses(status));
    }
    if (!obj_deleting(pod))
        return;
    if (str_eq(reason, "NodeLost"))
        say(s, "", "Unknown");
    else if (!str_eq(phase, "Succeeded") && !str_eq(phase, "Failed"))
        say(s, "", "Terminating");
}

static void cell_readiness_gates(struct row *r, jval *pod)
{
    jval *gates = pod_spec_readiness_gates(pod_spec(pod)), *gate;
    size_t met = 0, n = jv_is(gates, J_ARRAY) ? jv_len(gates) : 0;
    struct jiter it = jv_iter(gates);
    while (jv_next(&it, NULL, &gate))
        met += obj_condition_is(pod, pod_readiness_gate_condition_type(gate), "True");
    if (n)
        cell_fmt(r, "%zu/%zu", met, n);
    else
        cell_str(r, "<none>");
}

void table_pod_row(struct row *r, jval *pod)
{
    struct summary s = {0};
    char age[AGE_TEXT];
    jval *spec = pod_spec(pod), *status = pod_status(pod);
    summarize(&s, pod);
    cell_str(r, obj_name(pod));
    cell_fmt(r, "%lld/%lld", (long long)s.ready, (long long)s.total);
    cell_str(r, buf_str(&s.reason));
    if (s.restarts && s.last_restart_ns)
        cell_fmt(r, "%lld (%s ago)", (long long)s.restarts, age_format(age, s.last_restart_ns, r->now_ns));
    else
        cell_fmt(r, "%lld", (long long)s.restarts);
    cell_since_creation(r, pod);
    const char *ip = pod_ip_ip(jv_at(pod_status_pod_ips(status), 0));
    cell_or_none(r, str_empty(ip) ? pod_status_pod_ip(status) : ip);
    cell_or_none(r, pod_spec_node_name(spec));
    cell_or_none(r, pod_status_nominated_node_name(status));
    cell_readiness_gates(r, pod);
    buf_free(&s.reason);
}
