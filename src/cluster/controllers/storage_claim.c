/* One claim. Source: kube.md 13.13. */
#include <stdlib.h>

#include "base/str.h"
#include "cluster/controllers/storage.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

static void say(struct storage *s, jval *claim, const char *type, const char *reason, const char *text)
{
    event_record(s->events, claim, &KUBE_PERSISTENTVOLUMECLAIMS, type, reason, "%s", text);
}

static struct json *put(struct storage *s, const struct ctx *ctx, const struct kube_res *res, struct jm *m, const char *sub,
                        struct err *err)
{
    JSON_REF(want) = jm_freeze(m);
    jval *o = json_root(want);
    struct kube_opts opts = {.subresource = sub};
    return kube_update(s->cfg->kube, ctx, res, res->namespaced ? obj_namespace(o) : NULL, obj_name(o), o, &opts, err);
}

/* ---- its end ------------------------------------------------------------------------------------------------------- */

/* A pod that was bound to a node counts for as long as its object is there. */
static bool uses(jval *pod, const char *claim)
{
    jval *list = pod_spec_volumes(pod_spec(pod));
    for (size_t i = 0; i < jv_len(list) && !str_empty(pod_spec_node_name(pod_spec(pod))); i++) {
        AUTOFREE char *name = storage_claim_name(pod, jv_at(list, i));
        if (str_eq(name, claim))
            return true;
    }
    return false;
}

/* Asks the API: a pod that a cache does not have yet may be starting. */
static int in_use(struct storage *s, const struct ctx *ctx, jval *claim, bool *yes, struct err *err)
{
    struct kube_list pods = {0};
    if (kube_list(s->cfg->kube, ctx, &KUBE_PODS, obj_namespace(claim), NULL, &pods, err) < 0)
        return -1;
    *yes = false;
    for (size_t i = 0; i < pods.n && !*yes; i++)
        *yes = uses(json_root(pods.items[i]), obj_name(claim));
    kube_list_free(&pods);
    return 0;
}

static int let_go(struct storage *s, const struct ctx *ctx, jval *claim, struct err *err)
{
    bool used;
    if (!obj_has_finalizer(claim, CLAIM_PROTECTION))
        return 0;
    if (in_use(s, ctx, claim, &used, err) < 0)
        return -1;
    if (used)
        return 0; /* the end of a pod brings us back */
    JM(m, claim);
    obj_remove_finalizer(jm_root(m), CLAIM_PROTECTION);
    ERR(e);
    JSON_REF(now) = put(s, ctx, &KUBE_PERSISTENTVOLUMECLAIMS, m, NULL, &e);
    return now || e.code == ERR_NOT_FOUND ? 0 : err_move(err, &e);
}

/* ---- bound --------------------------------------------------------------------------------------------------------- */

/* Writes the status when it differs. size: what is shown as capacity; NULL: none is. */
static int set_status(struct storage *s, const struct ctx *ctx, jval *claim, const char *phase, jval *modes, jval *capacity,
                      struct err *err)
{
    jval *status = persistent_volume_claim_status(claim);
    if (str_eq(persistent_volume_claim_status_phase(status), phase) &&
        (!modes || jv_equal(persistent_volume_claim_status_access_modes(status), modes)) &&
        (!capacity || jv_equal(persistent_volume_claim_status_capacity(status), capacity)))
        return 0;
    JM(m, claim);
    jmval *to = persistent_volume_claim_make_status(m, jm_root(m));
    persistent_volume_claim_status_set_phase(m, to, phase);
    if (modes)
        persistent_volume_claim_status_set_access_modes(m, to, jm_val(m, modes));
    if (capacity)
        persistent_volume_claim_status_set_capacity(m, to, jm_val(m, capacity));
    JSON_REF(now) = put(s, ctx, &KUBE_PERSISTENTVOLUMECLAIMS, m, "status", err);
    return now ? 0 : -1;
}

static int lost(struct storage *s, const struct ctx *ctx, jval *claim, const char *reason, const char *text, struct err *err)
{
    if (!str_eq(persistent_volume_claim_status_phase(persistent_volume_claim_status(claim)), "Lost"))
        say(s, claim, "Warning", reason, text);
    return set_status(s, ctx, claim, "Lost", NULL, NULL, err);
}

/* What we made has no size of its own: it grows by being said to. 1: the volume was written; 0: nothing to do. */
static int grow(struct storage *s, const struct ctx *ctx, jval *claim, jval *volume, struct err *err)
{
    struct quantity wanted, has;
    const char *size = jv_str(jv_get(persistent_volume_spec_capacity(persistent_volume_spec(volume)), "storage"));
    if (!str_eq(obj_annotation(volume, PROVISIONED_BY), STORAGE_PROVISIONER) || !storage_request(claim, &wanted) || !size ||
        quantity_parse(size, &has, NULL) < 0 || quantity_cmp(&wanted, &has) <= 0)
        return 0;
    char text[QUANTITY_TEXT_MAX];
    JM(m, volume);
    jm_put(m, persistent_volume_spec_make_capacity(m, persistent_volume_make_spec(m, jm_root(m))), "storage",
           jm_str(m, quantity_format(&wanted, text)));
    JSON_REF(now) = put(s, ctx, &KUBE_PERSISTENTVOLUMES, m, NULL, err);
    if (!now)
        return -1;
    say(s, claim, "Normal", "VolumeResizeSuccessful", "Resize volume succeeded");
    JSON_REF(capacity) = json_from(persistent_volume_spec_capacity(persistent_volume_spec(json_root(now))));
    return set_status(s, ctx, claim, "Bound", persistent_volume_spec_access_modes(persistent_volume_spec(json_root(now))),
                      json_root(capacity), err) < 0
               ? -1
               : 1;
}

static int bound(struct storage *s, const struct ctx *ctx, jval *claim, struct err *err)
{
    const char *name = persistent_volume_claim_spec_volume_name(persistent_volume_claim_spec(claim));
    ERR(e);
    JSON_REF(volume) = str_empty(name) ? NULL : kube_get(s->cfg->kube, ctx, &KUBE_PERSISTENTVOLUMES, NULL, name, NULL, &e);
    if (!volume && e.code && e.code != ERR_NOT_FOUND)
        return err_move(err, &e);
    if (!volume)
        return lost(s, ctx, claim, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!", err);
    jval *v = json_root(volume), *spec = persistent_volume_spec(v);
    if (persistent_volume_spec_claim_ref(spec) && !storage_is_for(v, claim))
        return lost(s, ctx, claim, "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly",
                    err);
    int grown = grow(s, ctx, claim, v, err);
    if (grown)
        return grown < 0 ? -1 : 0;
    return set_status(s, ctx, claim, "Bound", persistent_volume_spec_access_modes(spec), persistent_volume_spec_capacity(spec),
                      err);
}

/* ---- not bound yet ------------------------------------------------------------------------------------------------- */

/* The volume first: whoever is killed in between finds it set aside for the claim. */
static int bind_volume(struct storage *s, const struct ctx *ctx, jval *claim, jval *volume, struct err *err)
{
    jval *ref = persistent_volume_spec_claim_ref(persistent_volume_spec(volume));
    if (ref && str_eq(object_reference_uid(ref), obj_uid(claim)))
        return 0;
    JM(m, volume);
    jmval *to = obj_make_reference(m, claim, &KUBE_PERSISTENTVOLUMECLAIMS);
    persistent_volume_spec_set_claim_ref(m, persistent_volume_make_spec(m, jm_root(m)), to);
    if (!ref)
        jm_put(m, object_meta_make_annotations(m, persistent_volume_make_metadata(m, jm_root(m))), BOUND_BY_CONTROLLER,
               jm_str(m, "yes"));
    JSON_REF(now) = put(s, ctx, &KUBE_PERSISTENTVOLUMES, m, NULL, err);
    return now ? 0 : -1;
}

static int bind(struct storage *s, const struct ctx *ctx, jval *claim, jval *volume, struct err *err)
{
    if (bind_volume(s, ctx, claim, volume, err) < 0)
        return -1;
    bool named = !str_empty(persistent_volume_claim_spec_volume_name(persistent_volume_claim_spec(claim)));
    JM(m, claim);
    jmval *annotations = object_meta_make_annotations(m, persistent_volume_claim_make_metadata(m, jm_root(m)));
    persistent_volume_claim_spec_set_volume_name(m, persistent_volume_claim_make_spec(m, jm_root(m)), obj_name(volume));
    jm_put(m, annotations, BIND_COMPLETED, jm_str(m, "yes"));
    if (!named)
        jm_put(m, annotations, BOUND_BY_CONTROLLER, jm_str(m, "yes"));
    JSON_REF(now) = put(s, ctx, &KUBE_PERSISTENTVOLUMECLAIMS, m, NULL, err);
    if (!now)
        return -1;
    jval *spec = persistent_volume_spec(volume);
    return set_status(s, ctx, json_root(now), "Bound", persistent_volume_spec_access_modes(spec),
                      persistent_volume_spec_capacity(spec), err);
}

static int bind_named(struct storage *s, const struct ctx *ctx, jval *claim, const char *name, struct err *err)
{
    JSON_REF(volume) = informer_get(s->volumes, name);
    if (!volume)
        return 0; /* it may come */
    jval *v = json_root(volume), *spec = persistent_volume_spec(v);
    if (persistent_volume_spec_claim_ref(spec) && !storage_is_for(v, claim)) {
        AUTOFREE char *text = xasprintf("volume \"%s\" already bound to a different claim.", name);
        say(s, claim, "Warning", "FailedBinding", text);
        return 0;
    }
    const char *class = persistent_volume_spec_storage_class_name(spec);
    if (!str_eq(class ? class : "", storage_class_of(claim))) {
        AUTOFREE char *text = xasprintf("Cannot bind to requested volume \"%s\": storageClassName does not match", name);
        say(s, claim, "Warning", "VolumeMismatch", text);
        return 0;
    }
    return bind(s, ctx, claim, v, err);
}

static int provision(struct storage *s, const struct ctx *ctx, jval *claim, jval *class, struct err *err)
{
    const char *by = storage_class_provisioner(class);
    if (!s->cfg->volumes_dir || !str_eq(by, STORAGE_PROVISIONER)) {
        AUTOFREE char *text =
            xasprintf("Waiting for a volume to be created either by the external provisioner '%s' or manually by the system "
                      "administrator. If volume creation is delayed, please verify that the provisioner is running and correctly "
                      "registered.",
                      by ? by : "");
        say(s, claim, "Normal", "ExternalProvisioning", text);
        return 0;
    }
    if (!obj_annotation(claim, CLAIM_PROVISIONER)) { /* its write brings the claim back here */
        JM(m, claim);
        jmval *annotations = object_meta_make_annotations(m, persistent_volume_claim_make_metadata(m, jm_root(m)));
        jm_put(m, annotations, "volume.beta.kubernetes.io/storage-provisioner", jm_str(m, by));
        jm_put(m, annotations, CLAIM_PROVISIONER, jm_str(m, by));
        JSON_REF(now) = put(s, ctx, &KUBE_PERSISTENTVOLUMECLAIMS, m, NULL, err);
        return now ? 0 : -1;
    }
    ERR(e);
    if (storage_provision(s, ctx, claim, class, &e) == 0)
        return 0;
    AUTOFREE char *text = xasprintf("failed to provision volume with StorageClass \"%s\": %s", obj_name(class), err_text(&e));
    say(s, claim, "Warning", "ProvisioningFailed", text);
    return e.code == ERR_PRECONDITION ? 0 : err_move(err, &e);
}

static int unbound(struct storage *s, const struct ctx *ctx, jval *claim, struct err *err)
{
    const char *volume = persistent_volume_claim_spec_volume_name(persistent_volume_claim_spec(claim));
    const char *class = storage_class_of(claim);
    if (!str_empty(volume))
        return bind_named(s, ctx, claim, volume, err);
    JSON_REF(c) = *class ? informer_get(s->classes, class) : NULL;
    bool waits = c && str_eq(storage_class_volume_binding_mode(json_root(c)), "WaitForFirstConsumer") &&
                 !obj_annotation(claim, SELECTED_NODE);
    size_t n;
    struct json **volumes = informer_list(s->volumes, &n);
    jval *match = storage_match(claim, volumes, n, waits);
    int rc = match ? bind(s, ctx, claim, match, err) : 0;
    for (size_t i = 0; i < n; i++)
        json_unref(volumes[i]);
    free(volumes);
    if (match)
        return rc;
    if (waits) {
        say(s, claim, "Normal", "WaitForFirstConsumer", "waiting for first consumer to be created before binding");
        return 0;
    }
    if (c)
        return provision(s, ctx, claim, json_root(c), err);
    if (!*class) {
        say(s, claim, "Normal", "FailedBinding", "no persistent volumes available for this claim and no storage class is set");
        return 0;
    }
    AUTOFREE char *text = xasprintf("storageclass.storage.k8s.io \"%s\" not found", class);
    say(s, claim, "Warning", "ProvisioningFailed", text);
    return 0;
}

int storage_claim(void *self, const struct ctx *ctx, const char *key, struct reconcile_result *res, struct err *err)
{
    struct storage *s = self;
    JSON_REF(doc) = informer_get(s->claims, key);
    jval *claim = json_root(doc);
    if (!doc)
        return 0;
    if (obj_deleting(claim))
        return let_go(s, ctx, claim, err);
    ERR(e);
    int rc = obj_annotation(claim, BIND_COMPLETED) ? bound(s, ctx, claim, &e) : unbound(s, ctx, claim, &e);
    /* Gone, or newer than what we saw: the cache will say. */
    if (rc < 0 && e.code != ERR_NOT_FOUND && e.code != ERR_CONFLICT)
        return err_move(err, &e);
    if (rc < 0 && e.code == ERR_CONFLICT)
        res->again_after_ns = 20 * NS_PER_MS; /* the volume's cache may have been the old one */
    return 0;
}
