#include "cluster/scheduler/scheduler.h"

#include <stdlib.h>

#include "base/thread.h"
#include "cluster/scheduler/affinity.h"
#include "cluster/scheduler/charges.h"
#include "cluster/scheduler/claims.h"
#include "cluster/scheduler/fit.h"
#include "cluster/scheduler/preempt.h"
#include "cluster/scheduler/writes.h"
#include "kube/controller.h"
#include "kube/events.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

#define LOG_ROOM "scheduler"
#include "base/log.h"

enum { WORKERS = 4 };
#define RETRY_BASE (NS_PER_S / 1000)

struct scheduler {
    struct kube *kube;
    const struct clock *clock;
    struct event_recorder *events;
    struct informer *pods, *nodes, *claims, *namespaces;
    struct controller_run *run;
    pthread_mutex_t lock; /* all below */
    struct charges charges;
    struct strmap nominated; /* pod uid -> struct charge: room that others make for it, and that nobody less important gets */
    struct strmap waiting;   /* keys of pods that did not fit, or are being looked at -> anything; &others_matter when a pod that
                                comes can help too */
};

/* What is to be done so that a pod gets its room. */
struct plan {
    char *node;            /* NULL: nothing helps */
    struct json **victims; /* references */
    size_t n;
};

static void plan_clear(struct plan *p)
{
    free(p->node);
    for (size_t i = 0; i < p->n; i++)
        json_unref(p->victims[i]);
    free(p->victims);
}

/* ---- what happens ------------------------------------------------------------------------------------------------------------
 */

static bool is_over(jval *pod)
{
    const char *phase = pod_status_phase(pod_status(pod));
    return str_eq(phase, "Succeeded") || str_eq(phase, "Failed");
}

static bool is_bound(jval *pod) { return !str_empty(pod_spec_node_name(pod_spec(pod))); }

static char others_matter; /* see scheduler.waiting */

/* Lock held. */
static void retry_waiting(struct scheduler *s, struct workqueue *q)
{
    for (struct strmap_entry *e = strmap_first(&s->waiting); e; e = strmap_next(e))
        workqueue_add(q, e->key);
}

/* Lock held. What was kept for a pod is free again: the others have not heard of it from any watch. */
static void give_back(struct scheduler *s, jval *pod)
{
    AUTOFREE char *own = obj_key(pod);
    if (!charges_drop(&s->charges, obj_uid(pod)))
        return;
    for (struct strmap_entry *e = strmap_first(&s->waiting); e; e = strmap_next(e))
        if (!str_eq(e->key, own))
            workqueue_add(controller_queue(s->run), e->key);
}

/* Lock held. A pod has come to a node, or has other labels: who wants to be beside such a one is looked at again. */
static void retry_those_who_look(struct scheduler *s, struct workqueue *q)
{
    for (struct strmap_entry *e = strmap_first(&s->waiting); e; e = strmap_next(e))
        if (e->value == &others_matter)
            workqueue_add(q, e->key);
}

/* Sums follow the cache; a pod without a node is a key. */
static void pod_changed(void *self, struct json *old, struct json *now, struct workqueue *q)
{
    struct scheduler *s = self;
    jval *before = json_root(old), *pod = json_root(now);
    LOCK_GUARD(&s->lock);
    bool same = old && now && str_eq(obj_uid(before), obj_uid(pod));
    if (old && !same && charges_drop(&s->charges, obj_uid(before)))
        retry_waiting(s, q);
    if (!now) {
        AUTOFREE char *gone = obj_key(before);
        strmap_del(&s->waiting, gone);
        strmap_del(&s->nominated, obj_uid(before));
        return;
    }
    AUTOFREE char *key = obj_key(pod);
    if (is_over(pod)) {
        strmap_del(&s->waiting, key);
        strmap_del(&s->nominated, obj_uid(pod));
        if (charges_drop(&s->charges, obj_uid(pod)))
            retry_waiting(s, q);
        return;
    }
    if (is_bound(pod)) {
        charges_put(&s->charges, now, pod_spec_node_name(pod_spec(pod)));
        strmap_del(&s->waiting, key);
        strmap_del(&s->nominated, obj_uid(pod));
        if (!same || !is_bound(before) || !jv_equal(obj_labels(before), obj_labels(pod)) ||
            obj_deleting(before) != obj_deleting(pod))
            retry_those_who_look(s, q);
        return;
    }
    workqueue_add(q, key);
}

static void node_changed(void *self, struct json *old, struct json *now, struct workqueue *q)
{
    struct scheduler *s = self;
    LOCK_GUARD(&s->lock);
    /* A heartbeat helps nobody: only what the filter looks at. */
    jval *a = json_root(old), *b = json_root(now);
    if (old && now && jv_equal(node_spec(a), node_spec(b)) && jv_equal(obj_labels(a), obj_labels(b)) &&
        jv_equal(node_status_allocatable(node_status(a)), node_status_allocatable(node_status(b))))
        return;
    retry_waiting(s, q);
}

/* A claim that was bound, or came, lets pods go on. */
static void claim_changed(void *self, struct json *old, struct json *now, struct workqueue *q)
{
    struct scheduler *s = self;
    jval *a = persistent_volume_claim_status(json_root(old)), *b = persistent_volume_claim_status(json_root(now));
    if (!now || (old && str_eq(persistent_volume_claim_status_phase(a), persistent_volume_claim_status_phase(b))))
        return;
    LOCK_GUARD(&s->lock);
    retry_waiting(s, q);
}

/* ---- one pod
 * -------------------------------------------------------------------------------------------------------------------- */

/* What keeps the pod from any node. The caller frees. */
static char *no_node(size_t nodes, const char *why) { return xasprintf("0/%zu nodes are available: %s. not found", nodes, why); }

/* Counts equal reasons over nodes: "1 Insufficient cpu, 2 node(s) were unschedulable". */
static char *reasons_text(size_t nodes, struct strlist *why, const char *outcome, bool helps)
{
    BUF(b);
    if (!nodes)
        return xstrdup("no nodes available to schedule pods");
    strlist_sort(why);
    buf_addf(&b, "0/%zu nodes are available: ", nodes);
    for (size_t i = 0; i < why->n;) {
        size_t same = i;
        while (same < why->n && str_eq(why->v[same], why->v[i]))
            same++;
        buf_addf(&b, "%s%zu %s", i ? ", " : "", same - i, why->v[i]);
        i = same;
    }
    if (outcome) {
        buf_addf(&b, ".%s%s", *outcome ? " no new claims to deallocate, preemption: " : "", outcome);
        return buf_steal(&b, NULL);
    }
    buf_addf(&b, ". no new claims to deallocate, preemption: 0/%zu nodes are available: %zu %s.", nodes, nodes,
             helps ? "No preemption victims found for incoming pod" : "Preemption is not helpful for scheduling");
    return buf_steal(&b, NULL);
}

/* Labels of a namespace, which live as long as the surroundings do. */
struct namespaces {
    struct informer *informer;
    struct json **seen;
    size_t n;
};

static jval *namespace_labels(void *arg, const char *name)
{
    struct namespaces *n = arg;
    for (size_t i = 0; i < n->n; i++)
        if (strcmp(obj_name(json_root(n->seen[i])), name) == 0)
            return obj_labels(json_root(n->seen[i]));
    struct json *d = informer_get(n->informer, name);
    if (!d)
        return NULL;
    n->seen = xreallocarray(n->seen, n->n + 1, sizeof(*n->seen));
    n->seen[n->n++] = d;
    return obj_labels(json_root(d));
}

static jval *node_named(struct json **nodes, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(obj_name(json_root(nodes[i])), name) == 0)
            return json_root(nodes[i]);
    return NULL;
}

/* Who is where. Lock held, as long as it is used. Pods that nobody keeps away, and that keep nobody away, need not be asked,
 * unless all are wanted. */
static void look_around(struct scheduler *s, jval *pod, struct json **nodes, size_t n, bool all, struct surroundings *out)
{
    all |= pod_looks_at_others(pod);
    out->nodes = xcalloc(n + 1, sizeof(*out->nodes));
    for (size_t i = 0; i < n; i++)
        out->nodes[out->n_nodes++] = json_root(nodes[i]);
    out->peers = xcalloc(strmap_count(&s->charges.of_pods) + 1, sizeof(*out->peers));
    for (struct strmap_entry *e = strmap_first(&s->charges.of_pods); e; e = strmap_next(e)) {
        struct charge *c = e->value;
        if (all || c->looks)
            out->peers[out->n_peers++] = (struct peer){json_root(c->pod), node_named(nodes, n, c->node)};
    }
}

/* Whether the pod would fit beside those for whom room is made there, of which the less important ones do not count. Lock held.
 */
static bool leaves_room(struct scheduler *s, jval *pod, jval *node, struct strlist *why, bool *helps)
{
    struct usage *u = charges_on(&s->charges, obj_name(node));
    CLEANUP(usage_clear) struct usage sum = {.pods = u->pods};
    amounts_add(&sum.used, &u->used, 1);
    for (size_t i = 0; i < u->ports.n; i++)
        strlist_add(&sum.ports, u->ports.v[i]);
    for (struct strmap_entry *e = strmap_first(&s->nominated); e; e = strmap_next(e)) {
        struct charge *c = e->value;
        jval *other = json_root(c->pod);
        if (str_eq(e->key, obj_uid(pod)) || !str_eq(c->node, obj_name(node)) || POD_PRIORITY(other) < POD_PRIORITY(pod))
            continue;
        usage_of_pods(&other, 1, &sum);
    }
    return node_fits(pod, node, &sum, why, helps);
}

/* Whether a less important pod is on its way out of the node that was promised. Lock held. */
static bool room_is_being_made(struct scheduler *s, jval *pod)
{
    struct charge *promised = strmap_get(&s->nominated, obj_uid(pod));
    for (struct strmap_entry *e = promised ? strmap_first(&s->charges.of_pods) : NULL; e; e = strmap_next(e)) {
        struct charge *c = e->value;
        if (str_eq(c->node, promised->node) && obj_deleting(json_root(c->pod)) &&
            POD_PRIORITY(json_root(c->pod)) < POD_PRIORITY(pod))
            return true;
    }
    return false;
}

static struct json *charged_doc(struct scheduler *s, jval *pod)
{
    struct charge *c = strmap_get(&s->charges.of_pods, obj_uid(pod));
    return c ? json_ref(c->pod) : NULL;
}

/* Whether the cache still has it. Lock held: if so, what is kept for it from here on is taken back when the cache says that it
 * went. */
static bool is_there(struct scheduler *s, jval *pod)
{
    AUTOFREE char *key = obj_key(pod);
    JSON_REF(now) = informer_get(s->pods, key);
    return now && str_eq(obj_uid(json_root(now)), obj_uid(pod));
}

/* The node where the least important have to go, then the fewest. Lock held. What comes of it, in Kubernetes' words; NULL: no
 * victims help; "": the plan does. */
static const char *plan_room(struct scheduler *s, struct json *doc, const struct pod_claims *claims, struct json **nodes,
                             size_t n, struct namespaces *namespaces, struct plan *plan)
{
    jval *pod = json_root(doc);
    struct surroundings around = {.namespace_labels = namespace_labels, .arg = namespaces};
    int64_t best_priority = 0;
    if (!is_there(s, pod))
        return NULL;
    if (str_eq(pod_spec_preemption_policy(pod_spec(pod)), "Never"))
        return "not eligible due to preemptionPolicy=Never.";
    if (room_is_being_made(s, pod))
        return "not eligible due to a terminating pod on the nominated node.";
    look_around(s, pod, nodes, n, true, &around);
    AUTOFREE bool *victim = xcalloc(around.n_peers + 1, sizeof *victim);
    for (size_t i = 0; i < n; i++) {
        int64_t priority = INT64_MIN;
        size_t count = 0;
        STRLIST(why);
        if (!pod_claims_fit(claims, json_root(nodes[i]), &why) || !preempt_victims(pod, json_root(nodes[i]), &around, victim))
            continue;
        for (size_t k = 0; k < around.n_peers; k++)
            if (victim[k]) {
                count++;
                priority = POD_PRIORITY(around.peers[k].pod) > priority ? POD_PRIORITY(around.peers[k].pod) : priority;
            }
        if (plan->node && (priority > best_priority || (priority == best_priority && count >= plan->n)))
            continue;
        plan_clear(plan);
        *plan = (struct plan){.node = xstrdup(obj_name(json_root(nodes[i]))), .victims = xcalloc(count, sizeof *plan->victims)};
        for (size_t k = 0; k < around.n_peers; k++)
            if (victim[k] && (plan->victims[plan->n] = charged_doc(s, around.peers[k].pod)))
                plan->n++;
        best_priority = priority;
    }
    free(around.nodes);
    free(around.peers);
    if (!plan->node)
        return NULL;
    struct charge *promised = xcalloc(1, sizeof *promised);
    promised->node = xstrdup(plan->node);
    promised->pod = json_ref(doc);
    strmap_put(&s->nominated, obj_uid(pod), promised);
    return "";
}

/* Whether a node was chosen already, and the cache does not know yet that the pod is bound. Without this the pod would find its
 * own requests in its way, and preempt others for room that it has. */
static bool is_placed(struct scheduler *s, jval *pod)
{
    LOCK_GUARD(&s->lock);
    return strmap_get(&s->charges.of_pods, obj_uid(pod));
}

/* From before it is looked at on: what changes meanwhile brings it back. */
static void wait_in_line(struct scheduler *s, const char *key, jval *pod)
{
    LOCK_GUARD(&s->lock);
    strmap_put(&s->waiting, key, pod_looks_at_others(pod) ? (void *)&others_matter : s);
}

/* Another pod that has a node, or is about to get one, and one of the claims that are for one pod only. Lock held: the charges
 * know of it before any watch does. */
static bool claim_is_taken(struct scheduler *s, jval *pod, const struct pod_claims *claims)
{
    for (struct strmap_entry *e = claims->exclusive.n ? strmap_first(&s->charges.of_pods) : NULL; e; e = strmap_next(e)) {
        jval *other = json_root(((struct charge *)e->value)->pod);
        if (!str_eq(e->key, obj_uid(pod)) && pod_claims_share(claims, pod, other))
            return true;
    }
    return false;
}

/* Finds a node and charges it, or says why there is none, and what can be done about it. The caller frees *node. */
static bool choose(struct scheduler *s, struct json *doc, const struct pod_claims *claims, char **node, char **text,
                   struct plan *plan)
{
    STRLIST(why);
    bool helps = false;
    size_t n;
    jval *pod = json_root(doc);
    struct json **nodes = informer_list(s->nodes, &n);
    *node = NULL;
    LOCK_GUARD(&s->lock);
    struct namespaces namespaces = {.informer = s->namespaces};
    struct surroundings around = {.namespace_labels = namespace_labels, .arg = &namespaces};
    bool taken = claim_is_taken(s, pod, claims);
    look_around(s, pod, nodes, n, false, &around);
    for (size_t i = 0; i < n && !taken; i++) {
        jval *o = json_root(nodes[i]);
        if (!*node && leaves_room(s, pod, o, &why, &helps) && pod_claims_fit(claims, o, &why) &&
            pod_affinity_fits(pod, o, &around, &why, &helps))
            *node = xstrdup(obj_name(o));
    }
    if (*node)
        charges_put(&s->charges, doc, *node);
    free(around.nodes);
    free(around.peers);
    const char *outcome = *node || n == 0 || taken ? NULL : plan_room(s, doc, claims, nodes, n, &namespaces, plan);
    for (size_t i = 0; i < namespaces.n; i++)
        json_unref(namespaces.seen[i]);
    free(namespaces.seen);
    for (size_t i = 0; i < n; i++)
        json_unref(nodes[i]);
    free(nodes);
    if (!*node)
        *text = taken ? no_node(n, CLAIM_TAKEN) : reasons_text(n, &why, outcome, helps);
    return *node;
}

static int make_room(struct scheduler *s, const struct ctx *ctx, jval *pod, const struct plan *plan, struct err *err)
{
    for (size_t i = 0; i < plan->n; i++)
        if (preempt_pod(s->kube, s->events, ctx, pod, json_root(plan->victims[i]), plan->node, err) < 0) {
            LOCK_GUARD(&s->lock);
            strmap_del(&s->nominated, obj_uid(pod)); /* tried again from the start */
            return err_wrap(err, "making room for pod %s/%s", obj_namespace(pod), obj_name(pod));
        }
    return 0;
}

static size_t count_nodes(struct scheduler *s)
{
    size_t n;
    struct json **nodes = informer_list(s->nodes, &n);
    for (size_t i = 0; i < n; i++)
        json_unref(nodes[i]);
    free(nodes);
    return n;
}

/* The pod is not bound after all. Somebody else may have bound it meanwhile, or our call went through unheard: what the watch
 * said of that found our charge there. */
static void not_bound(struct scheduler *s, const char *key, jval *pod)
{
    LOCK_GUARD(&s->lock);
    JSON_REF(now) = informer_get(s->pods, key);
    jval *o = json_root(now);
    give_back(s, pod);
    if (now && is_bound(o) && !is_over(o))
        charges_put(&s->charges, now, pod_spec_node_name(pod_spec(o)));
}

static int reconcile(void *self, const struct ctx *ctx, const char *key, struct reconcile_result *res, struct err *err)
{
    struct scheduler *s = self;
    JSON_REF(obj) = informer_get(s->pods, key);
    jval *pod = json_root(obj);
    if (!obj) {
        LOCK_GUARD(&s->lock);
        strmap_del(&s->waiting, key);
        return 0;
    }
    if (is_bound(pod) || is_over(pod) || obj_deleting(pod) || !str_eq(pod_spec_scheduler_name(pod_spec(pod)), SCHEDULER_NAME) ||
        is_placed(s, pod))
        return 0;
    if (jv_len(pod_spec_scheduling_gates(pod_spec(pod))))
        return say_unscheduled(s->kube, ctx, obj, "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates",
                               NULL, err);
    CLEANUP(plan_clear) struct plan plan = {0};
    AUTOFREE char *node = NULL, *text = NULL;
    POD_CLAIMS(claims);
    wait_in_line(s, key, pod);
    if (pod_claims_find(s->kube, ctx, s->claims, pod, &claims, err) < 0)
        return -1;
    if (claims.missing) {
        text = no_node(count_nodes(s), claims.missing);
        event_record_action(s->events, pod, &KUBE_PODS, NULL, "Scheduling", "Warning", "FailedScheduling", "%s", text);
        return say_unscheduled(s->kube, ctx, obj, "Unschedulable", text, NULL, err);
    }
    if (!choose(s, obj, &claims, &node, &text, &plan)) {
        event_record_action(s->events, pod, &KUBE_PODS, NULL, "Scheduling", "Warning", "FailedScheduling", "%s", text);
        return make_room(s, ctx, pod, &plan, err) < 0 ? -1
                                                      : say_unscheduled(s->kube, ctx, obj, "Unschedulable", text, plan.node, err);
    }
    ERR(e);
    if (claims.n_unbound) { /* they are bound, or made, for this node; that brings the pod back */
        not_bound(s, key, pod);
        return pod_claims_select(s->kube, ctx, &claims, node, err);
    }
    if (bind_pod(s->kube, ctx, pod, node, &e) < 0) {
        not_bound(s, key, pod);
        /* Gone, or somebody else bound it: the cache will say. */
        return e.code == ERR_NOT_FOUND || e.code == ERR_CONFLICT ? 0 : err_move(err, &e);
    }
    {
        LOCK_GUARD(&s->lock);
        strmap_del(&s->waiting, key);
    }
    event_record_action(s->events, pod, &KUBE_PODS, NULL, "Binding", "Normal", "Scheduled", "Successfully assigned %s to %s", key,
                        node);
    return 0;
}

/* ---- face
 * ------------------------------------------------------------------------------------------------------------------------- */

struct scheduler *scheduler_start(struct kube *kube, const struct clock *clock, struct err *err)
{
    struct scheduler *s = xcalloc(1, sizeof *s);
    s->kube = kube;
    s->clock = clock ? clock : &clock_system;
    s->charges = CHARGES_INIT;
    s->nominated = STRMAP_INIT(charge_free);
    s->waiting = STRMAP_INIT(NULL);
    pthread_mutex_init(&s->lock, NULL);
    s->events = event_recorder_new(kube, SCHEDULER_NAME, NULL, s->clock);
    s->pods = informer_new(&(struct informer_config){.kube = kube, .res = &KUBE_PODS, .clock = s->clock});
    s->nodes = informer_new(&(struct informer_config){.kube = kube, .res = &KUBE_NODES, .clock = s->clock});
    s->claims = informer_new(&(struct informer_config){.kube = kube, .res = &KUBE_PERSISTENTVOLUMECLAIMS, .clock = s->clock});
    s->namespaces = informer_new(&(struct informer_config){.kube = kube, .res = &KUBE_NAMESPACES, .clock = s->clock});
    struct controller_source sources[] = {{.informer = s->pods, .map = pod_changed},
                                          {.informer = s->nodes, .map = node_changed},
                                          {.informer = s->claims, .map = claim_changed}};
    const struct controller c = {
        .name = "scheduler", .sources = sources, .n_sources = ARRAY_LEN(sources), .workers = WORKERS, .reconcile = reconcile};
    s->run = controller_start(&c, s, s->clock, RETRY_BASE);
    informer_start(s->nodes);
    informer_start(s->claims);
    informer_start(s->namespaces);
    /* Pods last: one that is looked at before its node, claim or namespace is known would be told a lie. */
    struct ctx base = ctx_background(), ctx = ctx_with_timeout(&base, 10 * NS_PER_S);
    if (informer_wait_synced(s->nodes, &ctx, err) < 0 || informer_wait_synced(s->claims, &ctx, err) < 0 ||
        informer_wait_synced(s->namespaces, &ctx, err) < 0)
        log_warn("nodes, claims and namespaces are not known yet: %s", err_text(err));
    err_clear(err);
    informer_start(s->pods);
    return s;
}

void scheduler_stop(struct scheduler *s)
{
    controller_stop(s->run);
    informer_stop(s->pods);
    informer_stop(s->nodes);
    informer_stop(s->claims);
    informer_stop(s->namespaces);
    event_recorder_flush(s->events, 200);
    event_recorder_free(s->events);
    charges_free(&s->charges);
    strmap_free(&s->nominated);
    strmap_free(&s->waiting);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
