/* Tasks that make or delete a PersistentVolumeClaim: no pod, the engine asks the cluster within its turn.
 *
 * A turn that died before it was written is done again: a generated name is made of run and task, so that the same claim comes of
 * it, and a claim that carries this task's mark is its own. Source: pipelines-runtime spec 16. */
#include <stdlib.h>

#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "pipelines/engine/live.h"
#include "pipelines/engine/podspec.h"
#include "pipelines/ir/types.h"
#include "pipelines/store/hash.h"

#define TASK_NOTE "pipelines.tidemill.dev/task"

static bool image_is(const struct inst *i, const char *name)
{
    const struct tmpl *image = i->c->kind == IR_CONTAINER ? &i->c->container->image : NULL;
    return image && image->n == 1 && image->segs[0].len == strlen(name) && strncmp(image->segs[0].text, name, strlen(name)) == 0;
}

static bool makes(const struct inst *i) { return image_is(i, "argostub/createpvc"); }
bool is_claim_task(const struct inst *i) { return makes(i) || image_is(i, "argostub/deletepvc"); }

/* The value of an input; NULL when it has none. */
static jval *input(const struct inst *i, const char *key)
{
    int at = ir_param_at(i->c->in_params, i->c->n_in_params, key);
    if (at == IR_NONE)
        return NULL;
    jval *v = i->in_params[at] ? json_root(i->in_params[at]) : i->c->in_params[at].dflt;
    return jv_present(v) ? v : NULL;
}

/* What the task gives, as it is: NULL although the component has a default. */
static jval *given(const struct inst *i, const char *key)
{
    int at = ir_param_at(i->c->in_params, i->c->n_in_params, key);
    jval *v = at == IR_NONE ? NULL : json_root(i->in_params[at]);
    return jv_present(v) ? v : NULL;
}

static const char *text(const struct inst *i, const char *key) { return jv_str(input(i, key)); }

static const char *ns_of(const struct inst *i) { return str_empty(i->live->run.ns) ? "kubeflow" : i->live->run.ns; }

/* What the cluster says of the request is the task's failure; that it does not answer is ours. */
static int failed(struct err *e, struct err *err)
{
    switch (e->code) {
    case ERR_BAD_REQUEST:
    case ERR_INVALID:
    case ERR_FORBIDDEN:
    case ERR_EXISTS:
    case ERR_NOT_FOUND:
    case ERR_TOO_LARGE:
        e->code = ERR_INVALID;
        break;
    default:
        break;
    }
    return err_move(err, e);
}

/* ---- making -------------------------------------------------------------------------------------------------------- */

/* A uuid that is always the same for this task of this run. */
static char *generated(const struct inst *i)
{
    char hash[HASH_TEXT];
    AUTOFREE char *what = xasprintf("%s/%s", i->live->run.run_id, i->row.path);
    sha256_hex(what, strlen(what), hash);
    return xasprintf("%.8s-%.4s-4%.3s-a%.3s-%.12s", hash, hash + 8, hash + 13, hash + 17, hash + 20);
}

static int check_inputs(const struct inst *i, struct err *err)
{
    if (!jv_len(input(i, "access_modes")) || !jv_is(input(i, "access_modes"), J_ARRAY))
        return err_set(err, ERR_INVALID, "access_modes must be a list with at least one access mode");
    if (str_empty(text(i, "size")))
        return err_set(err, ERR_INVALID, "size must say how much storage the claim asks for, as \"5Gi\" does");
    if (!str_empty(text(i, "pvc_name")) && !str_empty(text(i, "pvc_name_suffix")))
        return err_set(err, ERR_INVALID, "only one of pvc_name and pvc_name_suffix can be given, got \"%s\" and \"%s\"",
                       text(i, "pvc_name"), text(i, "pvc_name_suffix"));
    return 0;
}

static char *name_of(const struct inst *i)
{
    const char *name = text(i, "pvc_name"), *suffix = text(i, "pvc_name_suffix");
    if (!str_empty(name))
        return xstrdup(name);
    AUTOFREE char *uuid = generated(i);
    return xasprintf("%s%s", uuid, suffix ? suffix : "");
}

static void put_spec(const struct inst *i, struct jm *m, jmval *spec)
{
    /* The SDK's component has "" for a default, and upstream does not heed it: most people who name no class have one in mind. */
    jval *class = given(i, "storage_class_name"), *source = input(i, "data_source");
    const char *volume = text(i, "volume_name");
    persistent_volume_claim_spec_set_access_modes(m, spec, jm_val(m, input(i, "access_modes")));
    jmval *resources = persistent_volume_claim_spec_make_resources(m, spec);
    jm_put(m, volume_resource_requirements_make_requests(m, resources), "storage", jm_str(m, text(i, "size")));
    if (jv_str(class)) /* "" is none at all; absent is the cluster's default */
        persistent_volume_claim_spec_set_storage_class_name(m, spec, jv_str(class));
    if (!str_empty(volume))
        persistent_volume_claim_spec_set_volume_name(m, spec, volume);
    if (jv_len(source))
        persistent_volume_claim_spec_set_data_source(m, spec, jm_val(m, source));
}

static struct json *claim_of(const struct inst *i, const char *name)
{
    JM_NEW(m);
    jmval *o = jm_obj(m), *meta, *notes;
    jm_set_root(m, o);
    persistent_volume_claim_set_api_version(m, o, "v1");
    persistent_volume_claim_set_kind(m, o, "PersistentVolumeClaim");
    meta = persistent_volume_claim_make_metadata(m, o);
    object_meta_set_name(m, meta, name);
    object_meta_set_namespace(m, meta, ns_of(i));
    jm_put(m, object_meta_make_labels(m, meta), RUN_LABEL, jm_str(m, i->live->run.run_id));
    notes = object_meta_make_annotations(m, meta);
    struct jiter it = jv_iter(input(i, "annotations"));
    const char *k;
    jval *v;
    while (jv_is(input(i, "annotations"), J_OBJECT) && jv_next(&it, &k, &v)) {
        BUF(b);
        value_as_text(v, &b);
        jm_put(m, notes, k, jm_str(m, buf_str(&b)));
    }
    jm_put(m, notes, TASK_NOTE, jm_str(m, i->row.path));
    put_spec(i, m, persistent_volume_claim_make_spec(m, o));
    return jm_freeze(m);
}

/* Whether a claim of that name is what this task made, before somebody killed us. */
static bool is_own(struct inst *i, const struct ctx *ctx, const char *name)
{
    JSON_REF(have) = kube_get(i->live->e->cfg.kube, ctx, &KUBE_PERSISTENTVOLUMECLAIMS, ns_of(i), name, NULL, NULL);
    return have && !obj_deleting(json_root(have)) && str_eq(obj_label(json_root(have), RUN_LABEL), i->live->run.run_id) &&
           str_eq(obj_annotation(json_root(have), TASK_NOTE), i->row.path);
}

static void set_output(struct inst *i, const char *name)
{
    int at = ir_param_at(i->c->out_params, i->c->n_out_params, "name");
    JM_NEW(m);
    if (at == IR_NONE)
        return;
    jm_set_root(m, jm_str(m, name));
    json_unref(i->out_params[at]);
    i->out_params[at] = jm_freeze(m);
    record_outputs(i);
}

static int make(struct inst *i, const struct ctx *ctx, struct err *err)
{
    if (check_inputs(i, err) < 0)
        return -1;
    AUTOFREE char *name = name_of(i);
    JSON_REF(want) = claim_of(i, name);
    ERR(e);
    JSON_REF(made) = kube_create(i->live->e->cfg.kube, ctx, &KUBE_PERSISTENTVOLUMECLAIMS, ns_of(i), json_root(want), NULL, &e);
    if (!made && !(e.code == ERR_EXISTS && is_own(i, ctx, name))) {
        err_wrap(&e, "failed to create PVC");
        return failed(&e, err);
    }
    set_output(i, name);
    return 0;
}

/* ---- deleting ------------------------------------------------------------------------------------------------------ */

static int drop(struct inst *i, const struct ctx *ctx, struct err *err)
{
    const char *name = text(i, "pvc_name");
    if (str_empty(name))
        return err_set(err, ERR_INVALID, "pvc_name must name the claim to delete");
    if (str_eq(name, i->live->e->cfg.claim))
        return err_set(err, ERR_INVALID, "volume claim %s holds what belongs to all runs, and is not for one of them to delete",
                       name);
    ERR(e);
    if (kube_delete(i->live->e->cfg.kube, ctx, &KUBE_PERSISTENTVOLUMECLAIMS, ns_of(i), name, NULL, NULL, &e) == 0)
        return 0;
    err_wrap(&e, "failed to delete PVC %s", name);
    return failed(&e, err);
}

int claim_task(struct inst *i, const struct ctx *ctx, struct err *err)
{
    if (!i->live->e->cfg.kube)
        return err_set(err, ERR_INVALID, "there is no cluster that could make or delete a volume claim");
    return makes(i) ? make(i, ctx, err) : drop(i, ctx, err);
}

bool claim_task_may_reuse(const struct inst *i) { return makes(i) && !str_empty(text(i, "pvc_name")); }

bool claim_task_is_there(struct inst *i, const struct ctx *ctx)
{
    if (!i->live->e->cfg.kube)
        return false;
    JSON_REF(have) = kube_get(i->live->e->cfg.kube, ctx, &KUBE_PERSISTENTVOLUMECLAIMS, ns_of(i), text(i, "pvc_name"), NULL, NULL);
    return have && !obj_deleting(json_root(have));
}
