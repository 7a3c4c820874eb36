#include "cluster/node/pod.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fs.h"
#include "base/timefmt.h"
#include "cluster/node/volumes/volumes.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

#define LOG_ROOM "node"
#include "base/log.h"

#define SETUP_RETRY_FIRST (NS_PER_S / 2)
#define SETUP_RETRY_MAX   (122 * NS_PER_S)
#define MEASURE_EVERY     (10 * NS_PER_S)
#define FORCED_GRACE      (2 * NS_PER_S) /* of a pod whose object is gone already */
enum { GRACE_DEFAULT_S = 30, STEPS_MAX = 64 };

/* ---- records --------------------------------------------------------------------------------------------------------------- */

/* The lists of a spec, in the order of the boxes; as rows have them. */
enum list { REGULAR, INIT, EPHEMERAL };

static struct box *add_box(struct pod *p, const char *name, enum list list)
{
    p->boxes = xreallocarray(p->boxes, p->n_boxes + 1, sizeof *p->boxes);
    struct box *b = &p->boxes[p->n_boxes++];
    *b = (struct box){.name = xstrdup(name), .init = list == INIT, .kind = list == EPHEMERAL ? BOX_EPHEMERAL : BOX_CONTAINER};
    p->n_init += list == INIT;
    return b;
}

static struct box *box_named(struct pod *p, const char *name)
{
    for (size_t i = 0; i < p->n_boxes; i++)
        if (str_eq(p->boxes[i].name, name))
            return &p->boxes[i];
    return NULL;
}

/* The boxes in the order of the spec; those that rows brought keep their content. */
static void order_boxes(struct pod *p)
{
    jval *spec = pod_spec(json_root(p->obj));
    const struct {
        jval *list;
        enum list kind;
    } lists[] = {{pod_spec_init_containers(spec), INIT},
                 {pod_spec_containers(spec), REGULAR},
                 {pod_spec_ephemeral_containers(spec), EPHEMERAL}};
    struct pod sorted = {0};
    for (size_t l = 0; l < ARRAY_LEN(lists); l++)
        for (size_t i = 0; i < jv_len(lists[l].list); i++) {
            const char *name = container_name(jv_at(lists[l].list, i));
            struct box *have = box_named(p, name), *b = add_box(&sorted, name, lists[l].kind);
            if (have) {
                free(b->name);
                *b = *have;
                b->init = lists[l].kind == INIT;
                have->name = NULL;
            }
        }
    /* A box that lost its name was moved; the others have no container in the spec (which cannot lose one). */
    free(p->boxes);
    p->boxes = sorted.boxes;
    p->n_boxes = sorted.n_boxes;
    p->n_init = sorted.n_init;
}

/* Ephemeral containers come while the pod is there, and none goes: there is nothing new when there are as many boxes. */
static void add_ephemeral(struct pod *p)
{
    jval *spec = pod_spec(json_root(p->obj)), *list = pod_spec_ephemeral_containers(spec);
    if (jv_len(pod_spec_init_containers(spec)) + jv_len(pod_spec_containers(spec)) + jv_len(list) == p->n_boxes)
        return;
    for (size_t i = 0; i < jv_len(list); i++)
        if (!box_named(p, container_name(jv_at(list, i))))
            add_box(p, container_name(jv_at(list, i)), EPHEMERAL);
}

struct pod *pod_new(const struct pod_host *h, struct json *obj)
{
    struct pod *p = xcalloc(1, sizeof *p);
    jval *o = json_root(obj);
    p->key = obj_key(o);
    p->uid = xstrdup(obj_uid(o));
    p->ns = xstrdup(obj_namespace(o));
    p->name = xstrdup(obj_name(o));
    p->obj = json_ref(obj);
    p->started_ns = h->clock->wall_ns(h->clock);
    order_boxes(p);
    pod_add_image_volumes(p);
    return p;
}

struct pod *pod_from_row(const struct pod_host *h, const struct pod_row *r)
{
    struct pod *p = xcalloc(1, sizeof *p);
    p->uid = xstrdup(r->uid);
    p->ns = xstrdup(r->ns);
    p->name = xstrdup(r->name);
    p->key = xasprintf("%s/%s", r->ns, r->name);
    p->state = (enum pod_state)r->state;
    p->started_ns = r->started_ns;
    p->reason = xstrdup(r->reason);
    p->message = xstrdup(r->message);
    if (r->sandbox) {
        p->has_sandbox = true;
        p->sandbox = (struct sandbox){.name = xstrdup(r->sandbox),
                                      .ip = xstrdup(r->ip),
                                      .net_path = xstrdup(r->net_path),
                                      .ipc_path = xstrdup(r->ipc_path)};
    } else if (r->ip) {
        p->sandbox.ip = xstrdup(r->ip);
    }
    p->adopted = true;
    return p;
}

void pod_add_row(const struct pod_host *h, struct pod *p, const struct container_row *r)
{
    struct box *b = add_box(p, r->name, (enum list)r->list);
    b->attempt = r->attempt;
    b->state = (enum box_state)r->state;
    b->cid = xstrdup(r->cid);
    b->started_ns = r->started_ns;
    b->finished_ns = r->finished_ns;
    b->exit_code = r->exit_code;
    b->reason = xstrdup(r->reason);
    b->message = xstrdup(r->message);
    b->last = xstrdup(r->last);
    b->backoff_ns = r->backoff_ns;
    b->adopted = b->hooked = b->state == BOX_RUNNING;
    if (b->cid && (b->state == BOX_PREPARED || b->state == BOX_RUNNING)) {
        h->track(h->self, b->cid, p->key);
        h->running(h->self, p, b, b->state == BOX_RUNNING);
    }
}

static void free_boxes(struct box *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct box *b = &v[i];
        free(b->name);
        free(b->cid);
        free(b->reason);
        free(b->message);
        free(b->last);
        free(b->image_id);
        free(b->wait_reason);
        free(b->wait_message);
        free(b->end_why);
        box_drop_pull(b);
    }
    free(v);
}

void pod_free(struct pod *p)
{
    if (!p)
        return;
    free_boxes(p->boxes, p->n_boxes);
    free_boxes(p->image_volumes, p->n_image_volumes);
    free(p->key);
    free(p->uid);
    free(p->ns);
    free(p->name);
    free(p->reason);
    free(p->message);
    json_unref(p->obj);
    sandbox_free(&p->sandbox);
    free(p);
}

void pod_set_object(struct pod *p, struct json *obj)
{
    if (!obj) {
        p->object_gone = true;
        return;
    }
    bool first = !p->obj;
    if (p->obj && obj_rv(json_root(p->obj)) > obj_rv(json_root(obj)))
        return;
    struct json *old = p->obj;
    p->obj = json_ref(obj);
    json_unref(old);
    if (first) {
        order_boxes(p);
        pod_add_image_volumes(p);
    }
}

void pod_sources_changed(const struct pod_host *h, struct pod *p)
{
    p->refresh_mono_ns = h->clock->mono_ns(h->clock);
    p->setup_retry_mono_ns = 0;
    for (size_t i = 0; i < p->n_boxes; i++)
        if (str_eq(p->boxes[i].wait_reason, "CreateContainerConfigError"))
            p->boxes[i].retry_mono_ns = 0;
}

void pod_evict(struct pod *p, const char *reason, const char *message)
{
    if (p->reason || p->state >= POD_STOPPING)
        return;
    p->reason = xstrdup(reason);
    p->message = xstrdup(message);
}

static int save(const struct pod_host *h, const struct pod *p, struct err *err)
{
    struct pod_row r = {.uid = p->uid,
                        .ns = p->ns,
                        .name = p->name,
                        .state = p->state,
                        .ip = p->sandbox.ip,
                        .started_ns = p->started_ns,
                        .reason = p->reason,
                        .message = p->message};
    if (p->has_sandbox) {
        r.sandbox = p->sandbox.name;
        r.net_path = p->sandbox.net_path;
        r.ipc_path = p->sandbox.ipc_path;
    }
    return nodedb_put_pod(h->db, &r, err);
}

/* ---- what is asked -------------------------------------------------------------------------------------------------------- */

static bool asked_to_end(const struct pod *p) { return p->object_gone || p->reason || obj_deleting(json_root(p->obj)); }

static int64_t grace_ns(const struct pod *p)
{
    if (p->object_gone)
        return FORCED_GRACE;
    jval *o = json_root(p->obj);
    int64_t s = obj_deleting(o) ? object_meta_deletion_grace_period_seconds(obj_meta(o), GRACE_DEFAULT_S)
                                : pod_spec_termination_grace_period_seconds(pod_spec(o), GRACE_DEFAULT_S);
    if (s < 0)
        s = 0;
    if (s > INT32_MAX)
        s = INT32_MAX;
    return s * NS_PER_S;
}

/* activeDeadlineSeconds is counted from the start of the pod. */
static void check_deadline(const struct pod_host *h, struct pod *p, int64_t *wake)
{
    int64_t s = pod_spec_active_deadline_seconds(pod_spec(json_root(p->obj)), 0);
    if (s <= 0 || s > INT32_MAX || p->state >= POD_STOPPING || p->reason)
        return;
    int64_t left = p->started_ns + s * NS_PER_S - h->clock->wall_ns(h->clock);
    if (left > 0) {
        if (*wake == 0 || left < *wake)
            *wake = left;
        return;
    }
    pod_evict(p, "DeadlineExceeded", "Pod was active on the node longer than the specified deadline");
}

void pod_wake_at(const struct pod_host *h, int64_t *wake, int64_t mono)
{
    int64_t left = mono - h->clock->mono_ns(h->clock);
    if (left < 1)
        left = 1;
    if (*wake == 0 || left < *wake)
        *wake = left;
}

static bool restarts(const struct pod *p, const struct box *b)
{
    const char *policy = pod_spec_restart_policy(pod_spec(json_root(p->obj)));
    if (box_is_sidecar(p, b))
        return true;
    if (str_eq(policy, "Never") || b->kind == BOX_EPHEMERAL)
        return false;
    return b->must_restart ? true : b->init || str_eq(policy, "OnFailure") ? b->exit_code != 0 : true;
}

/* ---- steps: each does what it can and returns the next state, or its own to wait; -1 is an error
 * ------------------------------------- */

typedef int step_fn(const struct pod_host *h, const struct ctx *ctx, struct pod *p, int64_t *wake, struct err *err);

static int step_new(const struct pod_host *h, const struct ctx *ctx, struct pod *p, int64_t *wake, struct err *err)
{
    AUTOFREE char *reason = NULL, *message = NULL;
    if (asked_to_end(p))
        return POD_ENDED;
    if (h->admit(h->self, p, &reason, &message))
        return POD_SETUP;
    event_record(h->events, json_root(p->obj), &KUBE_PODS, "Warning", reason, "%s",
                 message + (str_starts(message, "Pod was rejected: ") ? strlen("Pod was rejected: ") : 0));
    pod_evict(p, reason, message);
    return POD_ENDED;
}

/* Disk volumes have no limit of their own: they are measured now and then, and a pod that took too much is ended. */
static void check_sizes(const struct pod_host *h, const struct ctx *ctx, struct pod *p, int64_t *wake)
{
    int64_t now = h->clock->mono_ns(h->clock);
    if ((p->state != POD_INIT && p->state != POD_RUN) || asked_to_end(p))
        return;
    if (p->measure_mono_ns <= now) {
        struct pod_facts facts = pod_facts(h, p);
        AUTOFREE char *dir = pod_dir(h, p);
        struct volumes_at at = {.facts = &facts, .pod_dir = dir};
        bool watched;
        AUTOFREE char *text = volumes_over_limit(&at, &watched);
        p->measure_mono_ns = watched ? now + MEASURE_EVERY : INT64_MAX;
        if (text) {
            event_record(h->events, json_root(p->obj), &KUBE_PODS, "Warning", "Evicted", "%s", text);
            pod_evict(p, "Evicted", text);
        }
    }
    if (p->measure_mono_ns != INT64_MAX)
        pod_wake_at(h, wake, p->measure_mono_ns);
}

/* Said once a pod, when its first sandbox is made. */
static void tell_of_limits(const struct pod_host *h, struct pod *p)
{
    bool memory, cpu;
    pod_limits(json_root(p->obj), &memory, &cpu);
    AUTOFREE char *text = memory || cpu ? h->runtime->ops->unenforced(h->runtime, memory, cpu) : NULL;
    if (text)
        event_record(h->events, json_root(p->obj), &KUBE_PODS, "Warning", "NodeResourceLimitsUnavailable", "%s", text);
}

static bool shares_pids(const struct pod *p)
{
    return p->obj && pod_spec_share_process_namespace(pod_spec(json_root(p->obj)), false);
}

static int make_pod(const struct pod_host *h, const struct ctx *ctx, struct pod *p, struct err *err)
{
    AUTOFREE char *dir = pod_dir(h, p), *volumes = fs_join(dir, "volumes"), *mem = pod_mem_dir(h, p);
    if (volumes_check(json_root(p->obj), err) < 0 || fs_mkdir_p(volumes, 0755, err) < 0)
        return -1;
    if (!p->has_sandbox) {
        sandbox_free(&p->sandbox);
        if (h->runtime->ops->sandbox_up(h->runtime, p->uid, pod_spec_host_network(pod_spec(json_root(p->obj)), false),
                                        &p->sandbox, err) < 0)
            return -1;
        p->has_sandbox = true;
        if (save(h, p, err) < 0)
            return -1;
        tell_of_limits(h, p);
    }
    if (shares_pids(p) && h->runtime->ops->share_pids(h->runtime, dir, true, err) < 0)
        return -1;
    struct pod_facts facts = pod_facts(h, p);
    struct volumes_at at = {.kube = h->kube,
                            .runtime = h->runtime,
                            .ctx = ctx,
                            .facts = &facts,
                            .pod_dir = dir,
                            .mem_dir = mem,
                            .mem_fd = h->mem_fd,
                            .fs_group =
                                pod_security_context_fs_group(pod_spec_security_context(pod_spec(json_root(p->obj))), -1)};
    int64_t refresh;
    if (volumes_make(&at, &refresh, err) < 0)
        return -1;
    p->refresh_mono_ns = refresh ? h->clock->mono_ns(h->clock) + refresh : 0;
    return pod_write_etc(h, p, err);
}

static int step_setup(const struct pod_host *h, const struct ctx *ctx, struct pod *p, int64_t *wake, struct err *err)
{
    ERR(e);
    if (asked_to_end(p))
        return POD_ENDED;
    if (p->setup_retry_mono_ns > h->clock->mono_ns(h->clock)) {
        pod_wake_at(h, wake, p->setup_retry_mono_ns);
        return POD_SETUP;
    }
    if (make_pod(h, ctx, p, &e) == 0)
        return p->n_init ? POD_INIT : POD_RUN;
    const char *reason = p->has_sandbox || e.code == ERR_PRECONDITION ? "FailedMount" : "FailedCreatePodSandBox";
    event_record(h->events, json_root(p->obj), &KUBE_PODS, "Warning", reason, "%s", err_text(&e));
    log_debug("pod %s: %s", p->key, err_text(&e));
    p->setup_wait_ns = p->setup_wait_ns ? p->setup_wait_ns * 2 : SETUP_RETRY_FIRST;
    if (p->setup_wait_ns > SETUP_RETRY_MAX)
        p->setup_wait_ns = SETUP_RETRY_MAX;
    p->setup_retry_mono_ns = h->clock->mono_ns(h->clock) + p->setup_wait_ns;
    pod_wake_at(h, wake, p->setup_retry_mono_ns);
    return POD_SETUP;
}

/* Starts a waiting container if it may be started now. */
static int go_on(const struct pod_host *h, const struct ctx *ctx, struct pod *p, struct box *b, int64_t *wake, struct err *err)
{
    bool now = b->pull ? box_pull_is_over(b) || b->tell_mono_ns <= h->clock->mono_ns(h->clock)
                       : b->retry_mono_ns <= h->clock->mono_ns(h->clock);
    if (b->state == BOX_WAITING && now && box_start(h, ctx, p, b, err) < 0)
        return -1;
    int64_t next = b->state == BOX_WAITING ? box_wake(h, p, b) : 0;
    if (next)
        pod_wake_at(h, wake, next);
    return 0;
}

/* Brings one container on: what has ended and restarts is restarted, what waits is started, what its probes or hook condemned
 * is ended. */
static int bring_on(const struct pod_host *h, const struct ctx *ctx, struct pod *p, struct box *b, int64_t *wake, struct err *err)
{
    if (b->state == BOX_EXITED && restarts(p, b) && box_restart(h, ctx, p, b, err) < 0)
        return -1;
    if (go_on(h, ctx, p, b, wake, err) < 0)
        return -1;
    box_look(h, p, b);
    if (b->end_why && box_end(h, p, b, b->end_why, b->kill_mono_ns, wake, err) < 0)
        return -1;
    /* An end that is known at once (it could not be started) is taken at the next turn. */
    if (b->state == BOX_EXITED && restarts(p, b))
        pod_wake_at(h, wake, 0);
    return 0;
}

static int bring_on_ephemeral(const struct pod_host *h, const struct ctx *ctx, struct pod *p, int64_t *wake, struct err *err)
{
    for (size_t i = 0; i < p->n_boxes; i++)
        if (p->boxes[i].kind == BOX_EPHEMERAL && bring_on(h, ctx, p, &p->boxes[i], wake, err) < 0)
            return -1;
    return 0;
}

static int step_init(const struct pod_host *h, const struct ctx *ctx, struct pod *p, int64_t *wake, struct err *err)
{
    if (asked_to_end(p))
        return POD_STOPPING;
    if (bring_on_ephemeral(h, ctx, p, wake, err) < 0)
        return -1;
    for (size_t i = 0; i < p->n_init; i++) {
        struct box *b = &p->boxes[i];
        if (b->state == BOX_EXITED && b->exit_code == 0 && !box_is_sidecar(p, b))
            continue;
        if (b->state == BOX_EXITED && !restarts(p, b))
            return POD_STOPPING; /* sidecars before it may still run */
        if (bring_on(h, ctx, p, b, wake, err) < 0)
            return -1;
        if (box_is_sidecar(p, b) && b->state == BOX_RUNNING && b->hooked && b->started)
            continue;
        if (b->state == BOX_EXITED)
            pod_wake_at(h, wake, 0);
        return POD_INIT;
    }
    return POD_RUN;
}

static int step_run(const struct pod_host *h, const struct ctx *ctx, struct pod *p, int64_t *wake, struct err *err)
{
    bool alive = false, hooks = false;
    if (asked_to_end(p))
        return POD_STOPPING;
    if (bring_on_ephemeral(h, ctx, p, wake, err) < 0)
        return -1;
    for (size_t i = 0; i < p->n_boxes; i++) {
        struct box *b = &p->boxes[i];
        if ((b->init && !box_is_sidecar(p, b)) || b->kind == BOX_EPHEMERAL)
            continue;
        /* The next is not started before the hook of the one before has ended. */
        bool held = hooks && b->state == BOX_WAITING && b->attempt == 0;
        if (!held && bring_on(h, ctx, p, b, wake, err) < 0)
            return -1;
        hooks |= !b->init && b->state == BOX_RUNNING && !b->hooked;
        alive |= !b->init && (b->state != BOX_EXITED || restarts(p, b));
    }
    return alive ? POD_RUN : POD_STOPPING; /* sidecars may still run */
}

static int step_stopping(const struct pod_host *h, const struct ctx *ctx, struct pod *p, int64_t *wake, struct err *err)
{
    int64_t now = h->clock->mono_ns(h->clock), grace = grace_ns(p);
    bool alive = false;
    for (size_t i = 0; i < p->n_boxes; i++)
        alive |= p->boxes[i].state == BOX_RUNNING || p->boxes[i].state == BOX_PREPARED;
    if (!alive)
        return POD_ENDED;
    /* A later request may shorten the grace, never lengthen it. */
    if (!p->kill_mono_ns || now + grace < p->kill_mono_ns)
        p->kill_mono_ns = now + grace;
    for (size_t i = 0; i < p->n_boxes; i++) {
        struct box *b = &p->boxes[i];
        int64_t kill = b->end_why && b->kill_mono_ns < p->kill_mono_ns ? b->kill_mono_ns : p->kill_mono_ns;
        if (box_end(h, p, b, NULL, kill, wake, err) < 0)
            return -1;
    }
    return POD_STOPPING;
}

/* Everything but the logs. Each part may have been taken back already. */
static int take_back(const struct pod_host *h, struct pod *p, struct err *err)
{
    AUTOFREE char *dir = pod_dir(h, p), *mem = pod_mem_dir(h, p);
    for (size_t i = 0; i < p->n_image_volumes; i++)
        box_drop_pull(&p->image_volumes[i]);
    for (size_t i = 0; i < p->n_boxes; i++) {
        AUTOFREE char *bundle = pod_bundle(h, p, &p->boxes[i]);
        struct container_ref ref = {.id = p->boxes[i].cid, .bundle = bundle};
        box_drop_pull(&p->boxes[i]);
        if (!ref.id)
            continue;
        if (h->runtime->ops->remove(h->runtime, &ref, err) < 0)
            return -1;
        h->untrack(h->self, ref.id);
    }
    FAULT("node.pod.removed");
    if (p->has_sandbox && h->runtime->ops->sandbox_down(h->runtime, p->uid, &p->sandbox, err) < 0)
        return -1;
    p->has_sandbox = false;
    if (shares_pids(p) && h->runtime->ops->share_pids(h->runtime, dir, false, err) < 0)
        return -1;
    if (h->runtime->ops->remove_tree(h->runtime, dir, err) < 0)
        return -1;
    if (faccessat(h->mem_fd, p->uid, F_OK, 0) < 0)
        return 0;
    return h->runtime->ops->remove_tree(h->runtime, mem, err);
}

static int step_ended(const struct pod_host *h, const struct ctx *ctx, struct pod *p, int64_t *wake, struct err *err)
{
    if (pod_write_status(h, ctx, p, err) < 0 || take_back(h, p, err) < 0)
        return -1;
    return POD_GONE;
}

static int step_gone(const struct pod_host *h, const struct ctx *ctx, struct pod *p, int64_t *wake, struct err *err)
{
    static const int64_t now = 0;
    if (p->object_gone || !obj_deleting(json_root(p->obj)))
        return POD_GONE;
    ERR(e);
    struct kube_opts opts = {.grace_seconds = &now, .precondition_uid = p->uid};
    if (kube_delete(h->kube, ctx, &KUBE_PODS, p->ns, p->name, &opts, NULL, &e) < 0 && e.code != ERR_NOT_FOUND &&
        e.code != ERR_CONFLICT)
        return err_move(err, &e);
    return POD_GONE;
}

static step_fn *const steps[] = {
    [POD_NEW] = step_new,           [POD_SETUP] = step_setup, [POD_INIT] = step_init, [POD_RUN] = step_run,
    [POD_STOPPING] = step_stopping, [POD_ENDED] = step_ended, [POD_GONE] = step_gone,
};

static int forget_pod(const struct pod_host *h, struct pod *p, struct err *err)
{
    AUTOFREE char *logs = pod_log_dir(h, p, NULL);
    if (fs_rm_rf(logs, err) < 0)
        return -1;
    return nodedb_del_pod(h->db, p->uid, err);
}

static void refresh_volumes(const struct pod_host *h, const struct ctx *ctx, struct pod *p)
{
    ERR(e);
    if ((p->state != POD_INIT && p->state != POD_RUN) || asked_to_end(p))
        return;
    if (p->refresh_mono_ns && p->refresh_mono_ns <= h->clock->mono_ns(h->clock) && make_pod(h, ctx, p, &e) < 0) {
        log_warn("refreshing the volumes of pod %s: %s", p->key, err_text(&e));
        p->refresh_mono_ns = h->clock->mono_ns(h->clock) + 30 * NS_PER_S;
    }
}

int pod_sync(const struct pod_host *h, const struct ctx *ctx, struct pod *p, int64_t *wake, bool *forget, struct err *err)
{
    *wake = 0;
    *forget = false;
    /* A row whose object was gone before we came back: there is nothing to read any more, only to take back. */
    if (!p->obj)
        p->object_gone = true;
    else
        add_ephemeral(p);
    for (size_t i = 0; i < p->n_boxes; i++)
        if (box_observe(h, p, &p->boxes[i], err) < 0)
            return -1;
    p->adopted = false;
    if (p->obj) {
        check_deadline(h, p, wake);
        check_sizes(h, ctx, p, wake);
        refresh_volumes(h, ctx, p);
    }
    for (int i = 0; i < STEPS_MAX; i++) {
        int next = steps[p->state](h, ctx, p, wake, err);
        if (next < 0)
            return -1;
        if (next == (int)p->state)
            break;
        p->state = (enum pod_state)next;
        if (next >= POD_ENDED) /* before anybody reads in its status that there is room */
            h->left(h->self, p);
        if (save(h, p, err) < 0)
            return -1;
    }
    if (p->refresh_mono_ns && (p->state == POD_INIT || p->state == POD_RUN))
        pod_wake_at(h, wake, p->refresh_mono_ns);
    if (p->object_gone && p->state == POD_GONE) {
        *forget = true;
        return forget_pod(h, p, err);
    }
    return p->state == POD_GONE ? 0 : pod_write_status(h, ctx, p, err);
}
