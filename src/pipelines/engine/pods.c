#include "pipelines/engine/pods.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/timefmt.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "pipelines/engine/podspec.h"

#define TAIL_MAX (64u << 10)
#define LOG_MAX  (16u << 20) /* of a whole log */

enum { VOLUMES_UNKNOWN, VOLUMES_KNOWN, VOLUMES_NOT_KNOWN };
struct pods {
    struct kube *kube;
    atomic_int image_volumes; /* whether the API server knows them: asked when the first task needs them */
    struct pod_place place;
    struct informer *informer;
};

void attempt_view_clear(struct attempt_view *v)
{
    free(v->pod_uid);
    free(v->reason);
    free(v->message);
    *v = (struct attempt_view){0};
}

/* ---- starting and stopping ------------------------------------------------------------------------------------ */

/* An API server that does not know image volumes takes the pod without them, and its step would miss its model: the pod is made
 * for show first. 1: they can be used, 0: they cannot. */
static int ask_for_image_volumes(struct pods *p, const struct ctx *ctx, const struct task_start *t, struct err *err)
{
    int known = atomic_load(&p->image_volumes);
    if (known != VOLUMES_UNKNOWN)
        return known == VOLUMES_KNOWN;
    ERR(e);
    JSON_REF(pod) = pod_make(t, &p->place, err);
    if (!pod)
        return -1;
    const struct kube_opts show = {.dry_run = true};
    JSON_REF(made) = kube_create(p->kube, ctx, &KUBE_PODS, t->ns, json_root(pod), &show, &e);
    if (!made && e.code == ERR_EXISTS)
        return 1; /* it was made before, one way or the other */
    if (!made)
        return e.code == ERR_INVALID ? 0 : err_move(err, &e); /* whatever is wrong with it is told when it is made */
    bool kept = pod_kept_images(json_root(made), t->n_images);
    atomic_store(&p->image_volumes, kept ? VOLUMES_KNOWN : VOLUMES_NOT_KNOWN);
    return kept;
}

static int start(void *self, const struct ctx *ctx, const struct task_start *t, struct err *err)
{
    struct pods *p = self;
    struct pod_place place = p->place;
    if (t->n_images > 0) {
        int known = ask_for_image_volumes(p, ctx, t, err);
        if (known < 0)
            return -1;
        place.side_cars = !known;
    }
    ERR(e);
    JSON_REF(pod) = pod_make(t, &place, err);
    if (!pod)
        return -1;
    JSON_REF(made) = kube_create(p->kube, ctx, &KUBE_PODS, t->ns, json_root(pod), NULL, &e);
    if (made || e.code == ERR_EXISTS)
        return 0;
    return err_move(err, &e);
}

static int stop(void *self, const struct ctx *ctx, const char *ns, const char *pod_name, struct err *err)
{
    struct pods *p = self;
    ERR(e);
    if (kube_delete(p->kube, ctx, &KUBE_PODS, ns, pod_name, NULL, NULL, &e) == 0 || e.code == ERR_NOT_FOUND)
        return 0;
    return err_move(err, &e);
}

static int tail(void *self, const struct ctx *ctx, const char *ns, const char *pod_name, int lines, struct buf *out,
                struct err *err)
{
    struct pods *p = self;
    const struct kube_log_opts lo = {.container = "main", .tail_lines = lines};
    return kube_logs(p->kube, ctx, ns, pod_name, &lo, lines < 0 ? LOG_MAX : TAIL_MAX, out, err);
}

static int forget(void *self, const struct ctx *ctx, const char *run_id, struct err *err)
{
    struct pods *p = self;
    size_t n = 0;
    struct json **all = informer_list(p->informer, &n);
    int rc = 0, left = 0;
    for (size_t k = 0; k < n; k++) {
        jval *pod = json_root(all[k]);
        if (str_eq(obj_label(pod, RUN_LABEL), run_id)) {
            left++;
            if (rc == 0 && !obj_deleting(pod))
                rc = stop(p, ctx, obj_namespace(pod), obj_name(pod), err);
        }
        json_unref(all[k]);
    }
    free(all);
    return rc < 0 ? -1 : left > 0;
}

/* ---- looking -------------------------------------------------------------------------------------------------- */

/* Waiting reasons that do not pass by themselves. */
static bool is_hopeless(const char *reason)
{
    static const char *const reasons[] = {"ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError",
                                          "CreateContainerError", "RunContainerError"};
    for (size_t k = 0; k < ARRAY_LEN(reasons); k++)
        if (str_eq(reason, reasons[k]))
            return true;
    return false;
}

/* What a registry that answers says of an image that there is not, or not for us; whatever else went wrong with it may pass.
 * Texts of registries, container runtimes and of our node. */
static bool is_no_image(const char *message)
{
    static const char *const texts[] = {"not found",
                                        "manifest unknown",
                                        "name unknown",
                                        "repository does not exist",
                                        "denied",
                                        "unauthorized",
                                        "Unauthorized",
                                        "forbidden",
                                        "Forbidden",
                                        "no such host",
                                        "no match for",
                                        "unsupported",
                                        "authentication required",
                                        "Name or service not known",
                                        "unknown node or service"};
    for (size_t k = 0; message && k < ARRAY_LEN(texts); k++)
        if (strstr(message, texts[k]))
            return true;
    return false;
}

static char *copy_or_null(const char *s) { return str_empty(s) ? NULL : xstrdup(s); }

/* A pod whose main container never ran: the init container that ended it. */
static void blame_init_container(jval *status, struct attempt_view *v)
{
    jval *list = pod_status_init_container_statuses(status);
    for (size_t k = 0; k < jv_len(list); k++) {
        jval *ended = container_state_terminated(container_status_state(jv_at(list, k)));
        int64_t code = container_state_terminated_exit_code(ended, 0);
        if (code == 0)
            continue;
        const char *said = container_state_terminated_message(ended), *name = container_status_name(jv_at(list, k));
        size_t n = said ? strlen(said) : 0;
        while (n > 0 && said[n - 1] == '\n')
            n--;
        free(v->reason);
        free(v->message);
        v->reason = xasprintf("init container %s failed", name ? name : "");
        v->message = n > 0 ? xstrndup(said, n) : xasprintf("exit status %lld", (long long)code);
        return;
    }
}

static jval *main_status(jval *status)
{
    jval *list = pod_status_container_statuses(status);
    for (size_t k = 0; k < jv_len(list); k++)
        if (str_eq(container_status_name(jv_at(list, k)), "main"))
            return jv_at(list, k);
    return NULL;
}

/* Of a pod that has not started: the container that holds it up. While init containers run that is one of them. */
static jval *waits_in(jval *status)
{
    jval *list = pod_status_init_container_statuses(status);
    for (size_t k = 0; k < jv_len(list); k++) {
        jval *waiting = container_state_waiting(container_status_state(jv_at(list, k)));
        const char *reason = container_state_waiting_reason(waiting);
        if (!str_empty(reason) && !str_eq(reason, "PodInitializing"))
            return waiting;
    }
    return container_state_waiting(container_status_state(main_status(status)));
}

static void view_of(const struct pods *p, jval *pod, struct attempt_view *v)
{
    jval *status = pod_status(pod);
    const char *phase = pod_status_phase(status);
    jval *state = container_status_state(main_status(status));
    jval *ended = container_state_terminated(state);
    v->exit_code = -1;
    v->pod_uid = copy_or_null(obj_uid(pod));
    v->deleting = obj_deleting(pod);
    if (str_eq(phase, "Succeeded") || str_eq(phase, "Failed")) {
        v->phase = ATTEMPT_ENDED;
        v->succeeded = str_eq(phase, "Succeeded");
        v->exit_code = (int)container_state_terminated_exit_code(ended, -1);
        const char *reason = pod_status_reason(status), *why = container_state_terminated_reason(ended);
        if (str_empty(reason) && !str_eq(why, "Error") && !str_eq(why, "Completed"))
            reason = why;
        v->reason = copy_or_null(reason);
        v->message = copy_or_null(pod_status_message(status));
        if (!v->message)
            v->message = copy_or_null(container_state_terminated_message(ended));
        if (!v->succeeded && !ended && !v->message)
            blame_init_container(status, v);
        return;
    }
    v->phase = container_state_running(state) || ended ? ATTEMPT_RUNNING : ATTEMPT_PENDING;
    jval *waiting = v->phase == ATTEMPT_PENDING ? waits_in(status) : NULL;
    v->reason = copy_or_null(container_state_waiting_reason(waiting));
    v->message = copy_or_null(container_state_waiting_message(waiting));
    v->hopeless = is_hopeless(v->reason) || (str_eq(v->reason, "ImagePullBackOff") && is_no_image(v->message));
    if (str_eq(v->reason, "ImagePullBackOff") || str_eq(v->reason, "ErrImagePull")) {
        int64_t since = obj_creation_ns(pod); /* a pod may have waited long for its node */
        const char *began = pod_status_start_time(status);
        if (began)
            time_parse(began, &since);
        v->hopeless_at_ns = since + p->place.image_patience_ns;
    }
    jval *scheduled = obj_condition(pod, "PodScheduled");
    if (!v->message && scheduled && str_eq(pod_condition_status(scheduled), "False")) {
        free(v->reason);
        v->reason = copy_or_null(pod_condition_reason(scheduled));
        v->message = copy_or_null(pod_condition_message(scheduled));
    }
}

static int observe(void *self, const struct ctx *ctx, const char *ns, const char *pod_name, struct attempt_view *out,
                   struct err *err)
{
    struct pods *p = self;
    *out = (struct attempt_view){.phase = ATTEMPT_MISSING, .exit_code = -1};
    AUTOFREE char *key = obj_key_of(ns, pod_name);
    JSON_REF(pod) = informer_get(p->informer, key);
    if (!pod) {
        /* The cache may be behind: what is about to be taken for lost is asked for once more. */
        ERR(e);
        pod = kube_get(p->kube, ctx, &KUBE_PODS, ns, pod_name, NULL, &e);
        if (!pod && e.code != ERR_NOT_FOUND)
            return err_move(err, &e);
    }
    if (pod)
        view_of(p, json_root(pod), out);
    return 0;
}

/* ---- the end of pods ------------------------------------------------------------------------------------------ */

struct old_pod {
    struct json *pod; /* owned by the list */
    const char *run;
    int64_t ended_ns, due_ns; /* when its run ended; when it goes, by its age */
};

static int by_run(const void *a, const void *b)
{
    return strcmp(((const struct old_pod *)a)->run, ((const struct old_pod *)b)->run);
}

static int newest_first(const void *a, const void *b)
{
    int64_t x = ((const struct old_pod *)a)->ended_ns, y = ((const struct old_pod *)b)->ended_ns;
    return x < y ? 1 : x > y ? -1 : 0;
}

static bool has_ended(jval *pod)
{
    const char *phase = pod_status_phase(pod_status(pod));
    return (str_eq(phase, "Succeeded") || str_eq(phase, "Failed")) && !obj_deleting(pod) && !str_empty(obj_label(pod, RUN_LABEL));
}

/* Pods that have ended and whose runs have, the last to go first. Each run is asked for once. */
static size_t find_old(struct json **all, size_t n, const struct pods_retire *how, struct old_pod *old)
{
    size_t found = 0, kept = 0;
    for (size_t k = 0; k < n; k++)
        if (has_ended(json_root(all[k])))
            old[found++] = (struct old_pod){all[k], obj_label(json_root(all[k]), RUN_LABEL), 0};
    if (found > 1)
        qsort(old, found, sizeof *old, by_run);
    for (size_t k = 0; k < found; k++) {
        struct old_pod o = old[k];
        bool same = kept > 0 && str_eq(old[kept - 1].run, o.run);
        int64_t age = how->age_ns;
        o.ended_ns = same ? old[kept - 1].ended_ns : how->ended(how->self, o.run, &age);
        o.due_ns = same ? old[kept - 1].due_ns : o.ended_ns + age;
        if (o.ended_ns > 0)
            old[kept++] = o;
    }
    if (kept > 1)
        qsort(old, kept, sizeof *old, newest_first);
    return kept;
}

int pods_retire(struct pods *p, const struct ctx *ctx, const struct pods_retire *how, size_t *left, struct err *err)
{
    size_t n = 0;
    struct json **all = informer_list(p->informer, &n);
    AUTOFREE struct old_pod *old = xcalloc(n + 1, sizeof *old);
    int rc = 0;
    size_t found = find_old(all, n, how, old);
    *left = found;
    /* Too many: those that ended first go, however long their pipeline wants them to stay. Of the rest, who is old enough. */
    for (size_t k = found; k-- > 0 && rc == 0;) {
        const struct old_pod *o = &old[k];
        if (k < how->max && how->now_ns < o->due_ns)
            continue;
        rc = ctx_check(ctx, err) < 0 ? -1 : stop(p, ctx, obj_namespace(json_root(o->pod)), obj_name(json_root(o->pod)), err);
        --*left;
    }
    for (size_t k = 0; k < n; k++)
        json_unref(all[k]);
    free(all);
    return rc;
}

/* ---- wiring --------------------------------------------------------------------------------------------------- */

struct pods *pods_new(struct kube *kube, const struct clock *clock, const struct pod_place *place)
{
    struct pods *p = xcalloc(1, sizeof *p);
    p->kube = kube;
    p->place = *place;
    const struct informer_config cfg = {.kube = kube, .res = &KUBE_PODS, .label_selector = RUN_LABEL, .clock = clock};
    p->informer = informer_new(&cfg);
    return p;
}

void pods_free(struct pods *p)
{
    if (!p)
        return;
    informer_stop(p->informer);
    free(p);
}

struct task_runtime pods_runtime(struct pods *p)
{
    return (struct task_runtime){
        .self = p, .start = start, .observe = observe, .stop = stop, .tail = tail, .forget = forget, .tells = true};
}

struct informer *pods_informer(struct pods *p) { return p->informer; }

int pods_start(struct pods *p, const struct ctx *ctx, struct err *err)
{
    informer_start(p->informer);
    return informer_wait_synced(p->informer, ctx, err);
}
