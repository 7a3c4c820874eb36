/* storage.c - see storage.h: what brings which key, and the claims of ephemeral volumes. */
#include "cluster/controllers/storage.h"

#include <stdlib.h>

#include "base/str.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

/* ---- what happens -------------------------------------------------------------------------------------------------- */

static void add_claims_of_pod(jval *pod, struct workqueue *q)
{
    jval *list = pod_spec_volumes(pod_spec(pod));
    for (size_t i = 0; i < jv_len(list); i++) {
        AUTOFREE char *name = storage_claim_name(pod, jv_at(list, i)), *key = name ? obj_key_of(obj_namespace(pod), name) : NULL;
        if (key)
            workqueue_add(q, key);
    }
}

/* A pod that went may have held a claim. */
static void pod_gone(void *self, struct json *old, struct json *now, struct workqueue *q)
{
    if (old && (!now || !str_eq(obj_uid(json_root(old)), obj_uid(json_root(now)))))
        add_claims_of_pod(json_root(old), q);
}

/* Claims that wait, of one class. */
static void add_waiting(struct storage *s, const char *class, struct workqueue *q)
{
    size_t n;
    struct json **claims = informer_list(s->claims, &n);
    for (size_t i = 0; i < n; i++) {
        jval *c = json_root(claims[i]);
        if (!obj_annotation(c, BIND_COMPLETED) && str_eq(storage_class_of(c), class)) {
            AUTOFREE char *key = obj_key(c);
            workqueue_add(q, key);
        }
        json_unref(claims[i]);
    }
    free(claims);
}

static void class_changed(void *self, struct json *old, struct json *now, struct workqueue *q)
{
    if (now)
        add_waiting(self, obj_name(json_root(now)), q);
}

static void volume_to_claim(void *self, struct json *old, struct json *now, struct workqueue *q)
{
    jval *v = json_root(now ? now : old), *ref = persistent_volume_spec_claim_ref(persistent_volume_spec(v));
    const char *class = persistent_volume_spec_storage_class_name(persistent_volume_spec(v));
    if (ref) {
        AUTOFREE char *key = obj_key_of(object_reference_namespace(ref), object_reference_name(ref));
        workqueue_add(q, key);
    } else if (now) {
        add_waiting(self, class ? class : "", q);
    }
}

static void claim_to_volume(void *self, struct json *old, struct json *now, struct workqueue *q)
{
    jval *claim = json_root(now ? now : old);
    const char *volume = persistent_volume_claim_spec_volume_name(persistent_volume_claim_spec(claim));
    if (!str_empty(volume))
        workqueue_add(q, volume);
    /* One that was provisioned for it, and that it was not bound to any more. */
    AUTOFREE char *ours = xasprintf("pvc-%s", obj_uid(claim));
    if (!now && !str_eq(volume, ours))
        workqueue_add(q, ours);
}

/* ---- ephemeral volumes --------------------------------------------------------------------------------------------- */

static bool has_ephemeral(jval *pod)
{
    jval *list = pod_spec_volumes(pod_spec(pod));
    for (size_t i = 0; i < jv_len(list); i++)
        if (volume_ephemeral(jv_at(list, i)))
            return true;
    return false;
}

static void ephemeral_pod(void *self, struct json *old, struct json *now, struct workqueue *q)
{
    if (!now || !has_ephemeral(json_root(now)))
        return;
    AUTOFREE char *key = obj_key(json_root(now));
    workqueue_add(q, key);
}

static struct json *claim_of(jval *pod, jval *template, const char *name)
{
    JM_NEW(m);
    jmval *o = jm_obj(m), *meta, *owners = jm_arr(m);
    jval *given = persistent_volume_claim_template_metadata(template);
    jm_set_root(m, o);
    persistent_volume_claim_set_api_version(m, o, "v1");
    persistent_volume_claim_set_kind(m, o, "PersistentVolumeClaim");
    meta = persistent_volume_claim_make_metadata(m, o);
    object_meta_set_name(m, meta, name);
    if (jv_len(object_meta_labels(given)))
        object_meta_set_labels(m, meta, jm_val(m, object_meta_labels(given)));
    if (jv_len(object_meta_annotations(given)))
        object_meta_set_annotations(m, meta, jm_val(m, object_meta_annotations(given)));
    jm_push(owners, obj_make_owner_ref(m, pod, &KUBE_PODS, true));
    object_meta_set_owner_references(m, meta, owners);
    persistent_volume_claim_set_spec(m, o, jm_val(m, persistent_volume_claim_template_spec(template)));
    return jm_freeze(m);
}

static int make_claim(struct storage *s, const struct ctx *ctx, jval *pod, jval *volume, struct err *err)
{
    AUTOFREE char *name = storage_claim_name(pod, volume);
    ERR(e);
    JSON_REF(have) = kube_get(s->cfg->kube, ctx, &KUBE_PERSISTENTVOLUMECLAIMS, obj_namespace(pod), name, NULL, &e);
    if (!have && e.code != ERR_NOT_FOUND)
        return err_move(err, &e);
    if (have && !obj_is_controlled_by(json_root(have), obj_uid(pod)))
        event_record(s->events, pod, &KUBE_PODS, "Warning", "FailedBinding",
                     "PVC \"%s/%s\" was not created for pod \"%s/%s\" (pod is not owner)", obj_namespace(pod), name,
                     obj_namespace(pod), obj_name(pod));
    if (have)
        return 0;
    JSON_REF(want) = claim_of(pod, ephemeral_volume_source_volume_claim_template(volume_ephemeral(volume)), name);
    JSON_REF(made) = kube_create(s->cfg->kube, ctx, &KUBE_PERSISTENTVOLUMECLAIMS, obj_namespace(pod), json_root(want), NULL, err);
    if (!made)
        event_record(s->events, pod, &KUBE_PODS, "Warning", "FailedBinding", "ephemeral volume %s: create PVC %s/%s: %s",
                     volume_name(volume), obj_namespace(pod), name, err_text(err));
    return made ? 0 : -1;
}

int storage_ephemeral(void *self, const struct ctx *ctx, const char *key, struct reconcile_result *res, struct err *err)
{
    struct storage *s = self;
    JSON_REF(doc) = informer_get(s->pods, key);
    jval *pod = json_root(doc), *list = pod_spec_volumes(pod_spec(pod));
    const char *phase = pod_status_phase(pod_status(pod));
    if (!doc || obj_deleting(pod) || str_eq(phase, "Succeeded") || str_eq(phase, "Failed"))
        return 0;
    for (size_t i = 0; i < jv_len(list); i++)
        if (volume_ephemeral(jv_at(list, i)) && make_claim(s, ctx, pod, jv_at(list, i), err) < 0)
            return -1;
    return 0;
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

static struct controller_run *run(struct storage *s, const char *name, const struct controller_source *sources, size_t n,
                                  unsigned workers, reconcile_fn *fn)
{
    const struct controller def = {.name = name, .sources = sources, .n_sources = n, .workers = workers, .reconcile = fn};
    return controller_start(&def, s, s->cfg->clock, NS_PER_MS);
}

struct storage *storage_start(const struct controllers_config *cfg, struct informer *claims, struct informer *volumes,
                              struct informer *classes, struct informer *pods)
{
    struct storage *s = xcalloc(1, sizeof *s);
    *s = (struct storage){.cfg = cfg, .claims = claims, .volumes = volumes, .classes = classes, .pods = pods};
    s->events = event_recorder_new(cfg->kube, "persistentvolume-controller", NULL, cfg->clock);
    const struct controller_source for_claims[] = {{.informer = claims},
                                                   {.informer = volumes, .map = volume_to_claim},
                                                   {.informer = classes, .map = class_changed},
                                                   {.informer = pods, .map = pod_gone}};
    const struct controller_source for_volumes[] = {{.informer = volumes}, {.informer = claims, .map = claim_to_volume}};
    const struct controller_source for_pods[] = {{.informer = pods, .map = ephemeral_pod}};
    s->claim_run = run(s, "claims", for_claims, ARRAY_LEN(for_claims), 2, storage_claim);
    s->volume_run = run(s, "volumes", for_volumes, ARRAY_LEN(for_volumes), 2, storage_volume);
    s->ephemeral_run = run(s, "ephemeral-volumes", for_pods, ARRAY_LEN(for_pods), 1, storage_ephemeral);
    return s;
}

void storage_stop(struct storage *s)
{
    if (!s)
        return;
    controller_stop(s->claim_run);
    controller_stop(s->volume_run);
    controller_stop(s->ephemeral_run);
    event_recorder_free(s->events);
    free(s);
}
