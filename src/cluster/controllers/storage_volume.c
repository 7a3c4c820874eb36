/* One volume, and the directories behind those that we make. Source: kube.md 13.13. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/timefmt.h"
#include "cluster/controllers/storage.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

#define LOG_ROOM "controllers"
#include "base/log.h"

static char *volume_dir(struct storage *s, const char *volume) { return fs_join(s->cfg->volumes_dir, volume); }

/* ---- making them --------------------------------------------------------------------------------------------------- */

/* The claim's node, or the first there is. The caller frees; NULL: none. */
static int node_of(struct storage *s, const struct ctx *ctx, jval *claim, char **out, struct err *err)
{
    const char *selected = obj_annotation(claim, SELECTED_NODE);
    struct kube_list nodes = {0};
    *out = xstrdup(selected);
    if (selected)
        return 0;
    if (kube_list(s->cfg->kube, ctx, &KUBE_NODES, NULL, NULL, &nodes, err) < 0)
        return -1;
    *out = nodes.n ? xstrdup(obj_name(json_root(nodes.items[0]))) : NULL;
    kube_list_free(&nodes);
    return 0;
}

static jmval *push_obj(struct jm *m, jmval *list)
{
    jmval *o = jm_obj(m);
    jm_push(list, o);
    return o;
}

static void set_affinity(struct jm *m, jmval *spec, const char *node)
{
    jmval *selector = volume_node_affinity_make_required(m, persistent_volume_spec_make_node_affinity(m, spec));
    jmval *term = push_obj(m, node_selector_make_node_selector_terms(m, selector));
    jmval *r = push_obj(m, node_selector_term_make_match_expressions(m, term)), *values = jm_arr(m);
    node_selector_requirement_set_key(m, r, "kubernetes.io/hostname");
    node_selector_requirement_set_operator(m, r, "In");
    jm_push(values, jm_str(m, node));
    node_selector_requirement_set_values(m, r, values);
}

static struct json *new_volume(jval *claim, jval *class, const char *name, const char *dir, const char *node)
{
    JM_NEW(m);
    jmval *o = jm_obj(m), *meta, *spec, *source, *annotations, *capacity;
    struct quantity size;
    char text[QUANTITY_TEXT_MAX];
    jm_set_root(m, o);
    persistent_volume_set_api_version(m, o, "v1");
    persistent_volume_set_kind(m, o, "PersistentVolume");
    meta = persistent_volume_make_metadata(m, o);
    object_meta_set_name(m, meta, name);
    annotations = object_meta_make_annotations(m, meta);
    jm_put(m, annotations, PROVISIONED_BY, jm_str(m, STORAGE_PROVISIONER));
    obj_add_finalizer(m, o, PROVISIONER_FINALIZER);
    spec = persistent_volume_make_spec(m, o);
    capacity = persistent_volume_spec_make_capacity(m, spec);
    jm_put(m, capacity, "storage", jm_str(m, storage_request(claim, &size) ? quantity_format(&size, text) : "0"));
    source = persistent_volume_spec_make_host_path(m, spec);
    host_path_volume_source_set_path(m, source, dir);
    host_path_volume_source_set_type(m, source, "DirectoryOrCreate");
    persistent_volume_spec_set_access_modes(
        m, spec, jm_val(m, persistent_volume_claim_spec_access_modes(persistent_volume_claim_spec(claim))));
    persistent_volume_spec_set_claim_ref(m, spec, obj_make_reference(m, claim, &KUBE_PERSISTENTVOLUMECLAIMS));
    const char *policy = storage_class_reclaim_policy(class);
    persistent_volume_spec_set_persistent_volume_reclaim_policy(m, spec, policy ? policy : "Delete");
    persistent_volume_spec_set_storage_class_name(m, spec, obj_name(class));
    persistent_volume_spec_set_volume_mode(m, spec, "Filesystem");
    if (node)
        set_affinity(m, spec, node);
    return jm_freeze(m);
}

static int make_dir(const char *dir, struct err *err)
{
    if (fs_mkdir_p(dir, 0777, err) < 0)
        return -1;
    return chmod(dir, 0777) < 0 ? err_errno(err, "making %s writable", dir) : 0;
}

int storage_provision(struct storage *s, const struct ctx *ctx, jval *claim, jval *class, struct err *err)
{
    jval *spec = persistent_volume_claim_spec(claim);
    if (str_eq(persistent_volume_claim_spec_volume_mode(spec), "Block"))
        return err_set(err, ERR_PRECONDITION, "volumes of this class are directories; volumeMode Block is not served");
    if (jv_present(persistent_volume_claim_spec_data_source(spec)) ||
        jv_present(persistent_volume_claim_spec_data_source_ref(spec)))
        return err_set(err, ERR_PRECONDITION, "volumes of this class start empty; a dataSource is not served");
    if (jv_is(persistent_volume_claim_spec_selector(spec), J_OBJECT))
        return err_set(err, ERR_PRECONDITION, "claim.Spec.Selector is not supported for dynamic provisioning");
    AUTOFREE char *name = xasprintf("pvc-%s", obj_uid(claim)), *dir = volume_dir(s, name), *node = NULL;
    if (node_of(s, ctx, claim, &node, err) < 0 || make_dir(dir, err) < 0)
        return -1;
    FAULT("storage.directory.made");
    JSON_REF(want) = new_volume(claim, class, name, dir, node);
    ERR(e);
    JSON_REF(made) = kube_create(s->cfg->kube, ctx, &KUBE_PERSISTENTVOLUMES, NULL, json_root(want), NULL, &e);
    if (!made && e.code != ERR_EXISTS)
        return err_move(err, &e);
    FAULT("storage.volume.made");
    if (made)
        event_record(s->events, claim, &KUBE_PERSISTENTVOLUMECLAIMS, "Normal", "ProvisioningSucceeded",
                     "Successfully provisioned volume %s (a directory of the node; its size is not enforced)", name);
    return 0;
}

int storage_remove(struct storage *s, jval *volume, struct err *err)
{
    const char *name = obj_name(volume),
               *path = host_path_volume_source_path(persistent_volume_spec_host_path(persistent_volume_spec(volume)));
    if (!s->cfg->volumes_dir || !str_eq(obj_annotation(volume, PROVISIONED_BY), STORAGE_PROVISIONER))
        return err_set(err, ERR_FORBIDDEN,
                       "error getting deleter volume plugin for volume \"%s\": no deletable volume plugin matched", name);
    AUTOFREE char *dir = volume_dir(s, name);
    /* Whoever may write volumes must not make us remove anything else. */
    if (!str_starts(name, "pvc-") || strchr(name, '/') || !str_eq(path, dir))
        return err_set(err, ERR_FORBIDDEN, "volume %s says it is %s, which is not the directory that was made for it", name,
                       path ? path : "nowhere");
    return fs_rm_rf(dir, err);
}

/* ---- what a kill left ---------------------------------------------------------------------------------------------- */

void storage_sweep(const struct controllers_config *cfg, const struct ctx *ctx)
{
    STRLIST(empty);
    DIR *d = cfg->volumes_dir ? opendir(cfg->volumes_dir) : NULL;
    for (const struct dirent *e; d && (e = readdir(d));)
        if (str_starts(e->d_name, "pvc-"))
            strlist_add(&empty, e->d_name);
    if (d)
        closedir(d);
    for (size_t i = 0; i < empty.n; i++) {
        ERR(e);
        JSON_REF(volume) = kube_get(cfg->kube, ctx, &KUBE_PERSISTENTVOLUMES, NULL, empty.v[i], NULL, &e);
        AUTOFREE char *dir = fs_join(cfg->volumes_dir, empty.v[i]);
        if (!volume && e.code == ERR_NOT_FOUND && rmdir(dir) == 0)
            log_info("removed %s, which has no volume", dir);
    }
}

/* ---- what becomes of them ------------------------------------------------------------------------------------------ */

/* 1: it was written; 0: there was nothing to write. */
static int set_phase(struct storage *s, const struct ctx *ctx, jval *volume, const char *phase, const char *reason,
                     const char *message, struct err *err)
{
    jval *status = persistent_volume_status(volume);
    const char *was = persistent_volume_status_phase(status), *had = persistent_volume_status_message(status);
    if (str_eq(was, phase) && str_eq(had ? had : "", message ? message : ""))
        return 0;
    JM(m, volume);
    jmval *to = persistent_volume_make_status(m, jm_root(m));
    char text[TIME_TEXT_MAX];
    persistent_volume_status_set_phase(m, to, phase);
    if (!str_eq(was, phase))
        persistent_volume_status_set_last_phase_transition_time(m, to, time_format(text, ctx_now_ns(ctx), TIME_SECONDS));
    if (message) {
        persistent_volume_status_set_message(m, to, message);
        persistent_volume_status_set_reason(m, to, reason);
    } else {
        persistent_volume_status_del_message(to);
        persistent_volume_status_del_reason(to);
    }
    struct kube_opts opts = {.subresource = "status"};
    JSON_REF(want) = jm_freeze(m);
    JSON_REF(now) = kube_update(s->cfg->kube, ctx, &KUBE_PERSISTENTVOLUMES, NULL, obj_name(volume), json_root(want), &opts, err);
    return now ? 1 : -1;
}

/* Whatever is written of a cache that is behind is refused, but nobody would refuse to remove a directory: what the volume says
 * now decides. */
static int must_be_current(struct storage *s, const struct ctx *ctx, jval *volume, struct err *err)
{
    JSON_REF(now) = kube_get(s->cfg->kube, ctx, &KUBE_PERSISTENTVOLUMES, NULL, obj_name(volume), NULL, err);
    if (!now)
        return -1;
    if (!str_eq(obj_uid(json_root(now)), obj_uid(volume)) || !str_eq(obj_rv_text(json_root(now)), obj_rv_text(volume)))
        return err_set(err, ERR_CONFLICT, "volume %s has changed since it was looked at", obj_name(volume));
    return 0;
}

static int drop_finalizers(struct storage *s, const struct ctx *ctx, jval *volume, struct err *err)
{
    JM(m, volume);
    bool changed = obj_remove_finalizer(jm_root(m), VOLUME_PROTECTION);
    changed |= obj_remove_finalizer(jm_root(m), PROVISIONER_FINALIZER);
    if (!changed)
        return 0;
    JSON_REF(want) = jm_freeze(m);
    JSON_REF(now) = kube_update(s->cfg->kube, ctx, &KUBE_PERSISTENTVOLUMES, NULL, obj_name(volume), json_root(want), NULL, err);
    return now ? 0 : -1;
}

static int failed(struct storage *s, const struct ctx *ctx, jval *volume, const char *reason, const char *text, struct err *err)
{
    if (!str_eq(persistent_volume_status_phase(persistent_volume_status(volume)), "Failed"))
        event_record(s->events, volume, &KUBE_PERSISTENTVOLUMES, "Warning", reason, "%s", text);
    return set_phase(s, ctx, volume, "Failed", reason, text, err);
}

/* Its claim is gone. */
static int released(struct storage *s, const struct ctx *ctx, jval *volume, struct err *err)
{
    const char *policy = persistent_volume_spec_persistent_volume_reclaim_policy(persistent_volume_spec(volume));
    bool has_failed = str_eq(persistent_volume_status_phase(persistent_volume_status(volume)), "Failed");
    int told = has_failed ? 0 : set_phase(s, ctx, volume, "Released", NULL, NULL, err);
    if (told < 0)
        return -1;
    if (str_eq(policy, "Recycle"))
        return failed(s, ctx, volume, "VolumeFailedRecycle", "No recycler plugin found for the volume!", err);
    if (!str_eq(policy, "Delete"))
        return 0;
    if (!told && must_be_current(s, ctx, volume, err) < 0)
        return -1;
    ERR(e);
    if (storage_remove(s, volume, &e) < 0)
        return e.code == ERR_FORBIDDEN ? failed(s, ctx, volume, "VolumeFailedDelete", err_text(&e), err) : err_move(err, &e);
    FAULT("storage.directory.removed");
    struct kube_opts opts = {.precondition_uid = obj_uid(volume)};
    return kube_delete(s->cfg->kube, ctx, &KUBE_PERSISTENTVOLUMES, NULL, obj_name(volume), &opts, NULL, err);
}

static int deleting(struct storage *s, const struct ctx *ctx, jval *volume, bool claimed, struct err *err)
{
    if (claimed)
        return 0; /* protected until its claim goes */
    ERR(e);
    if (str_eq(persistent_volume_spec_persistent_volume_reclaim_policy(persistent_volume_spec(volume)), "Delete") &&
        obj_has_finalizer(volume, PROVISIONER_FINALIZER)) {
        if (must_be_current(s, ctx, volume, err) < 0)
            return -1;
        if (storage_remove(s, volume, &e) < 0 && e.code != ERR_FORBIDDEN)
            return err_move(err, &e);
    }
    return drop_finalizers(s, ctx, volume, err);
}

/* Set aside for a claim that got another volume: two looks at old caches chose twice. What was made for it goes as if its claim
 * had; any other is there for the next. */
static int unbind(struct storage *s, const struct ctx *ctx, jval *volume, struct err *err)
{
    jval *spec = persistent_volume_spec(volume);
    if (str_eq(obj_annotation(volume, PROVISIONED_BY), STORAGE_PROVISIONER) &&
        str_eq(persistent_volume_spec_persistent_volume_reclaim_policy(spec), "Delete"))
        return released(s, ctx, volume, err);
    JM(m, volume);
    jmval *to = persistent_volume_make_spec(m, jm_root(m));
    if (obj_annotation(volume, BOUND_BY_CONTROLLER)) {
        persistent_volume_spec_del_claim_ref(to);
        jm_del(object_meta_make_annotations(m, persistent_volume_make_metadata(m, jm_root(m))), BOUND_BY_CONTROLLER);
    } else { /* somebody wrote whose it is, but not of which life */
        object_reference_del_uid(persistent_volume_spec_make_claim_ref(m, to));
    }
    JSON_REF(want) = jm_freeze(m);
    JSON_REF(now) = kube_update(s->cfg->kube, ctx, &KUBE_PERSISTENTVOLUMES, NULL, obj_name(volume), json_root(want), NULL, err);
    return now ? 0 : -1;
}

struct claim_look {
    bool claimed;   /* its claim is there, and bound to this volume, or may yet be */
    bool bound;     /* it is */
    bool elsewhere; /* its claim is there, and bound to another */
};

static int look_at_claim(struct storage *s, const struct ctx *ctx, jval *volume, struct claim_look *out, struct err *err)
{
    jval *ref = persistent_volume_spec_claim_ref(persistent_volume_spec(volume));
    *out = (struct claim_look){0};
    if (!ref || str_empty(object_reference_uid(ref)))
        return 0;
    ERR(e);
    JSON_REF(claim) = kube_get(s->cfg->kube, ctx, &KUBE_PERSISTENTVOLUMECLAIMS, object_reference_namespace(ref),
                               object_reference_name(ref), NULL, &e);
    if (!claim)
        return e.code == ERR_NOT_FOUND ? 0 : err_move(err, &e);
    const char *to = persistent_volume_claim_spec_volume_name(persistent_volume_claim_spec(json_root(claim)));
    bool ours = storage_is_for(volume, json_root(claim));
    out->elsewhere = ours && !str_empty(to) && !str_eq(to, obj_name(volume));
    out->claimed = ours && !out->elsewhere;
    out->bound = out->claimed && !str_empty(to);
    return 0;
}

int storage_volume(void *self, const struct ctx *ctx, const char *key, struct reconcile_result *res, struct err *err)
{
    struct storage *s = self;
    struct claim_look look;
    int rc;
    JSON_REF(doc) = informer_get(s->volumes, key);
    jval *volume = json_root(doc), *ref = persistent_volume_spec_claim_ref(persistent_volume_spec(volume));
    if (!doc)
        return 0;
    ERR(e);
    if (look_at_claim(s, ctx, volume, &look, &e) < 0)
        return err_move(err, &e);
    if (obj_deleting(volume))
        rc = deleting(s, ctx, volume, look.claimed, &e);
    else if (!ref || str_empty(object_reference_uid(ref)))
        rc = set_phase(s, ctx, volume, "Available", NULL, NULL, &e);
    else if (look.bound)
        rc = set_phase(s, ctx, volume, "Bound", NULL, NULL, &e);
    else if (look.elsewhere)
        rc = unbind(s, ctx, volume, &e);
    else
        rc = look.claimed ? 0 : released(s, ctx, volume, &e);
    if (rc >= 0 || e.code == ERR_NOT_FOUND)
        return 0;
    if (e.code == ERR_CONFLICT) { /* the cache will say */
        res->again_after_ns = 20 * NS_PER_MS;
        return 0;
    }
    return err_move(err, &e);
}
