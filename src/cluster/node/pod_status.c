/* A pod's status: phase, conditions and container states from what the node knows. Source: kube.md 15.1. */
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/timefmt.h"
#include "cluster/node/pod.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

#define LOG_ROOM "node"
#include "base/log.h"

enum { STATUS_TRIES = 5 };

static const char *time_text(int64_t ns, char out[TIME_TEXT_MAX]) { return time_format(out, ns, TIME_SECONDS); }

/* ---- containers ---------------------------------------------------------------------------------------------------------- */

void box_terminated(struct jm *m, jmval *out, const struct box *b)
{
    char t[TIME_TEXT_MAX];
    container_state_terminated_set_exit_code(m, out, b->exit_code);
    container_state_terminated_set_reason(m, out, b->reason ? b->reason : b->exit_code ? "Error" : "Completed");
    if (!str_empty(b->message))
        container_state_terminated_set_message(m, out, b->message);
    container_state_terminated_set_started_at(m, out, time_text(b->started_ns, t));
    container_state_terminated_set_finished_at(m, out, time_text(b->finished_ns, t));
    if (b->cid)
        container_state_terminated_set_container_id(m, out, "");
    if (b->cid)
        jm_put(m, out, "containerID", jm_strf(m, "crun://%s", b->cid));
}

/* A sidecar is done with its part in the start once it is up; what it does later is another matter. */
static bool init_complete(const struct pod *p, const struct box *b)
{
    if (box_is_sidecar(p, b))
        return p->state >= POD_RUN || (b->state == BOX_RUNNING && b->hooked && b->started);
    return b->state == BOX_EXITED && b->exit_code == 0;
}

static bool init_done(const struct pod *p)
{
    for (size_t i = 0; i < p->n_init; i++)
        if (!init_complete(p, &p->boxes[i]))
            return false;
    return true;
}

static void waiting(struct jm *m, jmval *state, const struct pod *p, const struct box *b)
{
    jmval *w = jm_obj(m);
    const char *usual = b->init || p->n_init == 0 || init_done(p)
                            ? (b->init && p->n_init > 0 ? "PodInitializing" : "ContainerCreating")
                            : "PodInitializing";
    container_state_waiting_set_reason(m, w, b->wait_reason ? b->wait_reason : usual);
    if (b->wait_message)
        container_state_waiting_set_message(m, w, b->wait_message);
    container_state_set_waiting(m, state, w);
}

static jmval *box_status(struct jm *m, const struct pod *p, const struct box *b)
{
    jmval *s = jm_obj(m), *state = jm_obj(m), *last = jm_obj(m);
    jval *c = pod_box_container(p, b);
    char t[TIME_TEXT_MAX];
    const char *image = container_image(c);
    bool running = b->state == BOX_RUNNING && b->started_ns;
    container_status_set_name(m, s, b->name);
    if (running) {
        jmval *r = jm_obj(m);
        container_state_running_set_started_at(m, r, time_text(b->started_ns, t));
        container_state_set_running(m, state, r);
    } else if (b->state == BOX_EXITED) {
        jmval *r = jm_obj(m);
        box_terminated(m, r, b);
        container_state_set_terminated(m, state, r);
    } else {
        waiting(m, state, p, b);
    }
    container_status_set_state(m, s, state);
    JSON_REF(before) = b->last ? json_parse_str(b->last, NULL) : NULL;
    if (before)
        container_state_set_terminated(m, last, jm_val(m, json_root(before)));
    container_status_set_last_state(m, s, last);
    bool serves = running && b->ready && (p->state == POD_RUN || box_is_sidecar(p, b));
    serves &= b->kind != BOX_EPHEMERAL; /* it is not there to serve */
    container_status_set_ready(m, s, b->init && !box_is_sidecar(p, b) ? b->state == BOX_EXITED && b->exit_code == 0 : serves);
    /* A restart counts once it has happened, not while it is waited for. */
    container_status_set_restart_count(m, s, b->state == BOX_WAITING && b->attempt > 0 ? b->attempt - 1 : b->attempt);
    container_status_set_image(m, s, image ? image : "");
    container_status_set_image_id(m, s, b->image_id ? b->image_id : "");
    if (b->cid && b->state != BOX_WAITING) {
        AUTOFREE char *id = xasprintf("crun://%s", b->cid);
        container_status_set_container_id(m, s, id);
    }
    if (b->kind != BOX_EPHEMERAL)
        container_status_set_started(m, s, running && (b->started || (b->init && !box_is_sidecar(p, b))));
    return s;
}

/* ---- conditions ------------------------------------------------------------------------------------------------------------ */

static void add_names(struct buf *b, const char *name) { buf_addf(b, "%s%s", b->len ? " " : "", name); }

/* Puts a condition; its lastTransitionTime moves only when its status does. */
static void condition(const struct pod_host *h, struct jm *m, jmval *out, jval *old, const char *type, bool is,
                      const char *reason, const char *message, int64_t generation)
{
    char t[TIME_TEXT_MAX];
    jval *before = NULL;
    jmval *c = jm_obj(m);
    for (size_t i = 0; i < jv_len(old) && !before; i++)
        if (str_eq(pod_condition_type(jv_at(old, i)), type))
            before = jv_at(old, i);
    const char *status = is ? "True" : "False", *since = pod_condition_last_transition_time(before);
    pod_condition_set_type(m, c, type);
    if (generation)
        pod_condition_set_observed_generation(m, c, generation);
    pod_condition_set_status(m, c, status);
    jm_put(m, c, "lastProbeTime", jm_null(m));
    pod_condition_set_last_transition_time(
        m, c, since && str_eq(pod_condition_status(before), status) ? since : time_text(h->clock->wall_ns(h->clock), t));
    if (reason)
        pod_condition_set_reason(m, c, reason);
    if (message)
        pod_condition_set_message(m, c, message);
    jm_push(out, c);
}

static bool is_ours(const char *type)
{
    static const char *const ours[] = {"PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"};
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        if (str_eq(type, ours[i]))
            return true;
    return false;
}

/* What keeps a pod whose containers are ready from being so: conditions that somebody else sets. */
static void closed_gates(jval *pod, jval *conds, struct buf *out)
{
    jval *gates = pod_spec_readiness_gates(pod_spec(pod));
    for (size_t i = 0; i < jv_len(gates); i++) {
        const char *type = pod_readiness_gate_condition_type(jv_at(gates, i)), *status = NULL;
        for (size_t k = 0; k < jv_len(conds); k++)
            if (str_eq(pod_condition_type(jv_at(conds, k)), type))
                status = pod_condition_status(jv_at(conds, k));
        if (str_eq(status, "True"))
            continue;
        buf_adds(out, out->len ? ", " : "");
        if (status)
            buf_addf(out, "the status of pod readiness gate \"%s\" is not \"True\", but %s", type, status);
        else
            buf_addf(out, "corresponding condition of pod readiness gate \"%s\" does not exist.", type);
    }
}

static void conditions(const struct pod_host *h, const struct pod *p, struct jm *m, jmval *status, jval *old, const char *phase)
{
    jmval *out = jm_arr(m);
    BUF(uninit);
    BUF(unready);
    bool over = str_eq(phase, "Succeeded") || str_eq(phase, "Failed"), won = str_eq(phase, "Succeeded");
    int64_t gen = obj_generation(json_root(p->obj));
    for (size_t i = 0; i < p->n_boxes; i++) {
        const struct box *b = &p->boxes[i];
        bool sidecar = box_is_sidecar(p, b);
        if (b->kind == BOX_EPHEMERAL)
            continue;
        if (b->init && !init_complete(p, b))
            add_names(&uninit, b->name);
        if ((!b->init || sidecar) && (b->state != BOX_RUNNING || !b->ready))
            add_names(&unready, b->name);
    }
    bool initialized = !uninit.len, ready = !unready.len && initialized && p->state == POD_RUN;
    AUTOFREE char *uninit_text = xasprintf("containers with incomplete status: [%s]", buf_str(&uninit));
    AUTOFREE char *unready_text = xasprintf("containers with unready status: [%s]", buf_str(&unready));
    condition(h, m, out, old, "PodReadyToStartContainers", p->has_sandbox && p->state < POD_GONE && !over, NULL, NULL, gen);
    condition(h, m, out, old, "Initialized", initialized || won,
              won && p->n_init ? "PodCompleted"
              : initialized    ? (won ? "PodCompleted" : NULL)
                               : "ContainersNotInitialized",
              initialized || won ? NULL : uninit_text, gen);
    BUF(gates);
    if (ready)
        closed_gates(json_root(p->obj), old, &gates);
    if (gates.len)
        condition(h, m, out, old, "Ready", false, "ReadinessGatesNotReady", buf_str(&gates), gen);
    for (int i = gates.len ? 1 : 0; i < 2; i++)
        condition(h, m, out, old, i ? "ContainersReady" : "Ready", ready,
                  ready                     ? NULL
                  : won                     ? "PodCompleted"
                  : str_eq(phase, "Failed") ? "PodFailed"
                                            : "ContainersNotReady",
                  ready || over ? NULL : unready_text, gen);
    for (size_t i = 0; i < jv_len(old); i++)
        if (!is_ours(pod_condition_type(jv_at(old, i))))
            jm_push(out, jm_val(m, jv_at(old, i)));
    pod_status_set_conditions(m, status, out);
}

/* ---- phase and the rest ------------------------------------------------------------------------------------------------------
 */

static const char *phase_of(const struct pod *p, jval *old)
{
    const char *before = pod_status_phase(old);
    bool started = false, failed = p->reason != NULL;
    if (str_eq(before, "Succeeded") || str_eq(before, "Failed"))
        return before; /* terminal phases never change */
    for (size_t i = 0; i < p->n_boxes; i++) {
        const struct box *b = &p->boxes[i];
        if (box_is_sidecar(p, b) || b->kind == BOX_EPHEMERAL)
            continue;
        started |= !b->init && (b->state == BOX_RUNNING || b->state == BOX_EXITED || b->attempt > 0);
        failed |= b->state == BOX_WAITING ? p->state >= POD_ENDED : b->state == BOX_EXITED && b->exit_code != 0;
    }
    if (p->state >= POD_ENDED)
        return failed ? "Failed" : "Succeeded";
    return started ? "Running" : "Pending";
}

static void address(struct jm *m, jmval *status, const char *ip, bool pod)
{
    jmval *list = jm_arr(m), *one = jm_obj(m);
    if (str_empty(ip))
        return;
    jm_put(m, one, "ip", jm_str(m, ip));
    jm_push(list, one);
    if (pod) {
        pod_status_set_pod_ip(m, status, ip);
        pod_status_set_pod_ips(m, status, list);
    } else {
        pod_status_set_host_ip(m, status, ip);
        pod_status_set_host_ips(m, status, list);
    }
}

struct json *pod_build_status(const struct pod_host *h, const struct pod *p)
{
    jval *pod = json_root(p->obj), *old = pod_status(pod);
    struct jm *m = old ? jm_copy(old) : jm_new();
    char t[TIME_TEXT_MAX];
    if (!old)
        jm_set_root(m, jm_obj(m));
    jmval *s = jm_root(m), *inits = jm_arr(m), *regular = jm_arr(m), *ephemeral = jm_arr(m);
    const char *phase = phase_of(p, old);
    if (obj_generation(pod))
        pod_status_set_observed_generation(m, s, obj_generation(pod));
    pod_status_set_phase(m, s, phase);
    conditions(h, p, m, s, pod_status_conditions(old), phase);
    if (p->reason) {
        pod_status_set_reason(m, s, p->reason);
        pod_status_set_message(m, s, p->message ? p->message : "");
    }
    address(m, s, h->host_ip, false);
    address(m, s, p->sandbox.ip, true);
    if (p->started_ns)
        pod_status_set_start_time(m, s, time_text(p->started_ns, t));
    for (size_t i = 0; i < p->n_boxes; i++)
        jm_push(p->boxes[i].kind == BOX_EPHEMERAL ? ephemeral
                : p->boxes[i].init                ? inits
                                                  : regular,
                box_status(m, p, &p->boxes[i]));
    if (p->n_init)
        pod_status_set_init_container_statuses(m, s, inits);
    pod_status_set_container_statuses(m, s, regular);
    if (jmv_len(ephemeral))
        pod_status_set_ephemeral_container_statuses(m, s, ephemeral);
    pod_status_set_qos_class(m, s, pod_qos(pod));
    struct json *out = jm_freeze(m);
    jm_free(m);
    return out;
}

/* ---- writing
 * --------------------------------------------------------------------------------------------------------------------- */

/* Takes the newer of the two: our own writes come back through the cache later. */
static void newer(struct pod *p, struct json *obj)
{
    json_unref(p->obj);
    p->obj = obj;
}

int pod_write_status(const struct pod_host *h, const struct ctx *ctx, struct pod *p, struct err *err)
{
    struct kube_opts opts = {.subresource = "status"};
    for (int i = 0; !p->object_gone; i++) {
        JSON_REF(status) = pod_build_status(h, p);
        if (jv_equal(json_root(status), pod_status(json_root(p->obj))))
            return 0;
        JM(m, json_root(p->obj));
        pod_set_status(m, jm_root(m), jm_val(m, json_root(status)));
        JSON_REF(doc) = jm_freeze(m);
        ERR(e);
        struct json *now = kube_update(h->kube, ctx, &KUBE_PODS, p->ns, p->name, json_root(doc), &opts, &e);
        if (now) {
            newer(p, now);
            FAULT("node.status.written");
            return 0;
        }
        if (e.code == ERR_NOT_FOUND) {
            p->object_gone = true;
            return 0;
        }
        if (e.code != ERR_CONFLICT || i >= STATUS_TRIES) {
            err_wrap(&e, "writing the status of pod %s", p->key);
            return err_move(err, &e);
        }
        err_clear(&e);
        now = kube_get(h->kube, ctx, &KUBE_PODS, p->ns, p->name, NULL, &e);
        if (!now && e.code != ERR_NOT_FOUND)
            return err_move(err, &e);
        if (!now || !str_eq(obj_uid(json_root(now)), p->uid)) {
            json_unref(now);
            p->object_gone = true;
            return 0;
        }
        newer(p, now);
    }
    return 0;
}
