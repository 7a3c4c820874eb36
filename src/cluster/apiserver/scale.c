/* scale.c - the subresource scale of custom kinds: replicas at the places that the definition names, as an autoscaling/v1 Scale.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "cluster/apiserver/internal.h"
#include "kube/apply/strategic.h"
#include "kube/fields.h"
#include "kube/rules/validate.h"
#include "value/patch.h"

/* What stands at ".spec.replicas"; the definition's rules let no other form of path through. */
static jval *at_path(jval *o, const char *path)
{
    STRLIST(steps);
    str_split(path ? path : "", '.', &steps);
    for (size_t i = 1; i < steps.n && o; i++)
        o = jv_get(o, steps.v[i]);
    return steps.n > 1 ? o : NULL;
}

static void put_at_path(struct jm *m, const char *path, int64_t n)
{
    STRLIST(steps);
    str_split(path, '.', &steps);
    jmval *o = jm_root(m);
    for (size_t i = 1; i + 1 < steps.n; i++)
        o = jm_obj_at(m, o, steps.v[i]);
    jm_put(m, o, steps.v[steps.n - 1], jm_i64(m, n));
}

/* An object as its Scale. strict: replicas must be said. */
static struct json *scale_of(const struct op *op, jval *o, bool strict, struct err *err)
{
    const struct crd_version *cv = op->res->cv;
    jval *replicas = at_path(o, cv->scale_spec_path), *meta = obj_meta(o);
    if (!replicas && strict) {
        err_set(err, ERR_INTERNAL, "Internal error occurred: the spec replicas field \"%s\" does not exist", cv->scale_spec_path);
        err_cause(err, "", NULL, "the spec replicas field \"%s\" does not exist", cv->scale_spec_path);
        return NULL;
    }
    JM_NEW(m);
    jmval *root = jm_obj(m);
    jm_set_root(m, root);
    jm_put(m, root, "kind", jm_str(m, "Scale"));
    jm_put(m, root, "apiVersion", jm_str(m, "autoscaling/v1"));
    jmval *to = scale_make_metadata(m, root);
    object_meta_set_name(m, to, obj_name(o));
    if (*obj_namespace(o))
        object_meta_set_namespace(m, to, obj_namespace(o));
    object_meta_set_uid(m, to, obj_uid(o));
    object_meta_set_resource_version(m, to, obj_rv_text(o));
    object_meta_set_creation_timestamp(m, to, object_meta_creation_timestamp(meta));
    jmval *spec = scale_make_spec(m, root), *status = scale_make_status(m, root);
    if (jv_i64_or(replicas, 0))
        scale_spec_set_replicas(m, spec, jv_i64_or(replicas, 0));
    scale_status_set_replicas(m, status, jv_i64_or(at_path(o, cv->scale_status_path), 0));
    const char *selector = jv_str(at_path(o, cv->scale_selector_path));
    if (!str_empty(selector))
        scale_status_set_selector(m, status, selector);
    return jm_freeze(m);
}

static struct store_obj *shown(struct op *op, struct store_obj *o, bool strict, struct err *err)
{
    struct json *d = o ? scale_of(op, obj_root(o), strict, err) : NULL;
    return d ? store_obj_new("", 0, d) : NULL;
}

struct store_obj *scale_get(struct op *op, struct err *err)
{
    AUTOFREE char *key = op_key(op);
    OBJ_REF(o) = store_get(op->res->coll, key);
    if (!o) {
        fail_not_found(err, op->res, op->name);
        return NULL;
    }
    OBJ_REF(as) = object_as(op->res, o);
    return shown(op, as, true, err);
}

/* How the wanted Scale is made of the present one. */
struct scaling {
    jval *whole; /* a PUT */
    jval *patch;
    enum kube_patch type;
};

static struct json *wanted_scale(const struct scaling *s, jval *now, struct err *err)
{
    if (s->whole)
        return json_from(s->whole);
    if (s->type == KUBE_PATCH_JSON)
        return json_patch(now, s->patch, 1000, err);
    return json_merge_patch(now, s->patch, err); /* a Scale has no lists, so the strategic one is the same */
}

static struct json *rescale(struct op *op, void *arg, jval *old, struct err *err)
{
    const struct scaling *s = arg;
    const char *path = op->res->cv->scale_spec_path;
    JSON_REF(now) = scale_of(op, old, false, err);
    JSON_REF(wanted) = wanted_scale(s, json_root(now), err);
    if (!wanted)
        return NULL;
    const char *rv = obj_rv_text(json_root(wanted));
    int64_t replicas = scale_spec_replicas(scale_spec(json_root(wanted)), 0);
    if (*rv && strcmp(rv, obj_rv_text(old)) != 0) {
        fail_conflict(err, op->res, op->name, MODIFIED_TEXT);
        return NULL;
    }
    if (replicas < 0) {
        FAULTS(f);
        fault_invalid_i64(&f, path, replicas, "should be a non-negative integer");
        faults_done(&f, res_of(op->res)->group, res_of(op->res)->kind, op->name, err);
        return NULL;
    }
    JM(m, old);
    put_at_path(m, path, replicas);
    if (!*rv)
        object_meta_del_resource_version(jm_obj_at(m, jm_root(m), "metadata"));
    return jm_freeze(m);
}

static struct store_obj *scale_write(struct op *op, struct scaling *s, struct err *err)
{
    struct op whole = *op; /* the object itself is what is written */
    whole.sub = NULL;
    OBJ_REF(o) = update_loop(&whole, rescale, s, err);
    return shown(op, o, false, err);
}

struct store_obj *scale_update(struct op *op, jval *scale, struct err *err)
{
    const char *name = obj_name(scale);
    if (*name && strcmp(name, op->name) != 0) {
        err_set(err, ERR_BAD_REQUEST, "the name of the object (%s) does not match the name on the URL (%s)", name, op->name);
        return NULL;
    }
    return scale_write(op, &(struct scaling){.whole = scale}, err);
}

struct store_obj *scale_patch(struct op *op, enum kube_patch type, jval *patch, struct err *err)
{
    if (type == KUBE_PATCH_APPLY) {
        err_set(err, ERR_MEDIA_TYPE, "415: Unsupported Media Type");
        return NULL;
    }
    return scale_write(op, &(struct scaling){.patch = patch, .type = type}, err);
}
