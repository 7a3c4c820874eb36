#include "cluster/scheduler/claims.h"

#include <stdlib.h>

#include "base/str.h"
#include "cluster/scheduler/fit.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

#define BIND_COMPLETED "pv.kubernetes.io/bind-completed"
#define SELECTED_NODE  "volume.kubernetes.io/selected-node"

void pod_claims_free(struct pod_claims *c)
{
    for (size_t i = 0; i < c->n_unbound; i++)
        json_unref(c->unbound[i]);
    for (size_t i = 0; i < c->n_volumes; i++)
        json_unref(c->volumes[i]);
    free(c->unbound);
    free(c->volumes);
    free(c->missing);
    strlist_free(&c->exclusive);
    *c = (struct pod_claims){0};
}

static void add(struct json ***list, size_t *n, struct json *o)
{
    *list = xreallocarray(*list, *n + 1, sizeof **list);
    (*list)[(*n)++] = json_ref(o);
}

static bool is_exclusive(jval *claim)
{
    jval *modes = persistent_volume_claim_spec_access_modes(persistent_volume_claim_spec(claim));
    return str_eq(jv_str(jv_at(modes, 0)), "ReadWriteOncePod");
}

bool pod_claims_share(const struct pod_claims *c, jval *pod, jval *other)
{
    jval *list = pod_spec_volumes(pod_spec(other));
    for (size_t i = 0; str_eq(obj_namespace(other), obj_namespace(pod)) && i < jv_len(list); i++) {
        const char *name = persistent_volume_claim_volume_source_claim_name(volume_persistent_volume_claim(jv_at(list, i)));
        if (name && strlist_has(&c->exclusive, name))
            return true;
    }
    return false;
}

static int find_volume(struct kube *kube, const struct ctx *ctx, jval *claim, struct pod_claims *out, struct err *err)
{
    const char *name = persistent_volume_claim_spec_volume_name(persistent_volume_claim_spec(claim));
    ERR(e);
    JSON_REF(volume) = kube_get(kube, ctx, &KUBE_PERSISTENTVOLUMES, NULL, name, NULL, &e);
    if (!volume && e.code != ERR_NOT_FOUND)
        return err_move(err, &e);
    if (!volume)
        out->missing =
            xasprintf("persistentvolumeclaim \"%s\" bound to non-existent persistentvolume \"%s\"", obj_name(claim), name);
    else if (jv_is(persistent_volume_spec_node_affinity(persistent_volume_spec(json_root(volume))), J_OBJECT))
        add(&out->volumes, &out->n_volumes, volume);
    return 0;
}

static int find_unbound(struct kube *kube, const struct ctx *ctx, struct json *claim, struct pod_claims *out, struct err *err)
{
    const char *class = persistent_volume_claim_spec_storage_class_name(persistent_volume_claim_spec(json_root(claim)));
    ERR(e);
    JSON_REF(c) = str_empty(class) ? NULL : kube_get(kube, ctx, &KUBE_STORAGECLASSES, NULL, class, NULL, &e);
    if (!c && e.code && e.code != ERR_NOT_FOUND)
        return err_move(err, &e);
    if (c && str_eq(storage_class_volume_binding_mode(json_root(c)), "WaitForFirstConsumer"))
        add(&out->unbound, &out->n_unbound, claim);
    else
        out->missing = xstrdup("pod has unbound immediate PersistentVolumeClaims");
    return 0;
}

static int find_one(struct kube *kube, const struct ctx *ctx, struct informer *claims, jval *pod, jval *volume,
                    struct pod_claims *out, struct err *err)
{
    const char *given = persistent_volume_claim_volume_source_claim_name(volume_persistent_volume_claim(volume));
    bool ephemeral = !given && volume_ephemeral(volume);
    if (!given && !ephemeral)
        return 0;
    AUTOFREE char *name = given ? xstrdup(given) : xasprintf("%s-%s", obj_name(pod), volume_name(volume));
    AUTOFREE char *key = obj_key_of(obj_namespace(pod), name);
    JSON_REF(doc) = informer_get(claims, key);
    jval *claim = json_root(doc);
    if (doc && is_exclusive(claim))
        strlist_add(&out->exclusive, name);
    if (!doc && ephemeral)
        out->missing = xasprintf("waiting for ephemeral volume controller to create the persistentvolumeclaim \"%s\"", name);
    else if (!doc)
        out->missing = xasprintf("persistentvolumeclaim \"%s\" not found", name);
    else if (ephemeral && !obj_is_controlled_by(claim, obj_uid(pod)))
        out->missing =
            xasprintf("PVC \"%s\" was not created for pod \"%s/%s\" (pod is not owner)", key, obj_namespace(pod), obj_name(pod));
    else if (obj_deleting(claim))
        out->missing = xasprintf("persistentvolumeclaim \"%s\" is being deleted", name);
    else if (obj_annotation(claim, BIND_COMPLETED))
        return find_volume(kube, ctx, claim, out, err);
    else
        return find_unbound(kube, ctx, doc, out, err);
    return 0;
}

int pod_claims_find(struct kube *kube, const struct ctx *ctx, struct informer *claims, jval *pod, struct pod_claims *out,
                    struct err *err)
{
    jval *list = pod_spec_volumes(pod_spec(pod));
    for (size_t i = 0; i < jv_len(list) && !out->missing; i++)
        if (find_one(kube, ctx, claims, pod, jv_at(list, i), out, err) < 0)
            return -1;
    return 0;
}

bool pod_claims_fit(const struct pod_claims *c, jval *node, struct strlist *why)
{
    for (size_t i = 0; i < c->n_volumes; i++) {
        jval *need =
            volume_node_affinity_required(persistent_volume_spec_node_affinity(persistent_volume_spec(json_root(c->volumes[i]))));
        if (need && !node_selector_matches(need, node)) {
            strlist_add(why, "node(s) didn't match PersistentVolume's node affinity");
            return false;
        }
    }
    return true;
}

int pod_claims_select(struct kube *kube, const struct ctx *ctx, const struct pod_claims *c, const char *node, struct err *err)
{
    for (size_t i = 0; i < c->n_unbound; i++) {
        jval *claim = json_root(c->unbound[i]);
        if (str_eq(obj_annotation(claim, SELECTED_NODE), node))
            continue;
        JM(m, claim);
        jm_put(m, object_meta_make_annotations(m, persistent_volume_claim_make_metadata(m, jm_root(m))), SELECTED_NODE,
               jm_str(m, node));
        JSON_REF(want) = jm_freeze(m);
        JSON_REF(now) = kube_update(kube, ctx, &KUBE_PERSISTENTVOLUMECLAIMS, obj_namespace(claim), obj_name(claim),
                                    json_root(want), NULL, err);
        if (!now)
            return -1;
    }
    return 0;
}
