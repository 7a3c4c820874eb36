/* verbs_write.c - create, update and patch: from a decoded object to a stored one. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/id.h"
#include "cluster/apiserver/internal.h"
#include "kube/apply/strategic.h"
#include "kube/fields.h"
#include "kube/rules/validate.h"
#include "kube/rules/warn.h"
#include "value/patch.h"

#define UPDATE_TRIES   6
#define GENERATE_TRIES 8
#define MAX_PATCH_OPS  10000
#define MAX_OBJECT     (3u << 19) /* 1.5 MiB: what etcd takes, so that users stay portable */

/* ---- create --------------------------------------------------------------------------------------------------- */

static int check_size(const struct resource *r, struct jm *m, struct err *err)
{
    BUF(b);
    jmv_write(jm_root(m), JW_COMPACT, &b);
    (void)r;
    if (b.len <= MAX_OBJECT)
        return 0;
    return err_set(err, ERR_TOO_LARGE, "Request entity too large: limit is %u", MAX_OBJECT);
}

static int validate_custom(struct op *op, jval *old, jval *now, struct err *err)
{
    const struct kube_res *k = res_of(op->res);
    FAULTS(f);
    f.text_root = str_eq(op->sub, "status") ? "status." : NULL; /* upstream looks at that part of the schema alone */
    if (old)
        validate_metadata_update(&f, old, now);
    else
        validate_metadata_create(&f, k, now);
    if (op->res->cv->schema)
        schema_validate(op->res->cv->schema, &f, now, old);
    return faults_done(&f, k->group, k->kind, obj_name(now), err);
}

static int validate_new(struct op *op, jval *now, struct err *err)
{
    if (op->res->cv)
        return validate_custom(op, NULL, now, err);
    return validate_create(res_of(op->res), now, err);
}

static int validate_change(struct op *op, jval *old, jval *now, struct err *err)
{
    if (op->res->cv)
        return validate_custom(op, old, now, err);
    return validate_update(res_of(op->res), op->sub, old, now, err);
}

static bool is_definition(const struct op *op) { return op->res->coll == op->a->crds; }

/* Doubts about what was found valid; old is NULL for a new object. */
static void warn_of(struct op *op, jval *old, jval *now)
{
    STRLIST(texts);
    if (op->res->coll == op->a->pods && !old)
        warn_pod(now, &texts);
    if (str_eq(op->res->full, "services"))
        warn_service(now, &texts);
    if (op->res->cv)
        warn_finalizers(old, now, &texts);
    for (size_t i = 0; i < texts.n; i++)
        op_warn(op, "%s", texts.v[i]);
}

/* One attempt; the name is fixed by now. */
static struct store_obj *store_new(struct op *op, struct jm *m, struct err *err)
{
    JSON_REF(doc) = jm_freeze(m);
    if (validate_new(op, json_root(doc), err) < 0 || check_size(op->res, m, err) < 0)
        return NULL;
    warn_of(op, NULL, json_root(doc));
    const char *name = obj_name(json_root(doc));
    AUTOFREE char *key = obj_key_of(res_of(op->res)->namespaced ? op->ns : NULL, name);
    OBJ_REF(there) = store_get(op->res->coll, key);
    struct store_obj *out = NULL;
    STRLIST(got);
    ERR(e);
    struct quota_hold hold = {0};
    if (limits_refuse(op, json_root(doc), err) < 0 || quota_take(op, NULL, json_root(doc), &hold, err) < 0)
        return NULL;
    if (!there && services_allocate(op, NULL, m, &got, err) < 0) {
        quota_settle(op, &hold, false);
        return NULL;
    }
    if (!there && op->o->dry_run)
        out = object_virtual(m);
    else if (!there && object_write(op, key, 0, m, false, false, &out, &e) < 0)
        out = NULL;
    services_settle(op, &got);
    quota_settle(op, &hold, out && !op->o->dry_run);
    if (out)
        return out;
    if (!there && e.code != ERR_EXISTS) {
        err_move(err, &e);
        return NULL;
    }
    fail_exists(err, op->res, name);
    if (there && obj_deleting(obj_root(there)))
        err_wrap(err, "object is being deleted");
    return NULL;
}

static int check_namespace(const struct op *op, jval *obj, struct err *err)
{
    const char *ns = obj_namespace(obj);
    if (res_of(op->res)->namespaced && *ns && !str_eq(ns, op->ns))
        return err_set(err, ERR_BAD_REQUEST,
                       "the namespace of the provided object does not match the namespace sent on the request");
    return 0;
}

struct store_obj *verb_create(struct op *op, jval *obj, struct err *err)
{
    if (!op->res->coll)
        return review_create(op, obj, err);
    if (check_namespace(op, obj, err) < 0)
        return NULL;
    if (*obj_rv_text(obj)) {
        fail_internal(err, "resourceVersion should not be set on objects to be created");
        return NULL;
    }
    bool generated = !*obj_name(obj) && *obj_generate_name(obj);
    for (int try = 1;; try++) {
        CLEANUP(jm_freep) struct jm *m = object_ordered(obj);
        object_put_header(m, op->res);
        struct op named = *op;
        if (prepare_create(&named, m, err) < 0 || admit_create(&named, m, err) < 0 ||
            (is_definition(op) && crd_before_write(&named, m, NULL, err) < 0))
            return NULL;
        ERR(e);
        struct store_obj *o = store_new(&named, m, &e);
        if (o) {
            if (!op->o->dry_run)
                after_write(op, NULL, obj_root(o));
            return o;
        }
        if (!generated || e.code != ERR_EXISTS || try == GENERATE_TRIES) {
            err_move(err, &e);
            return NULL;
        }
    }
}

/* ---- update --------------------------------------------------------------------------------------------------- */

int op_check_identity(const struct op *op, jval *now, struct err *err)
{
    const char *name = obj_name(now);
    if (!*name)
        return err_set(err, ERR_BAD_REQUEST, "the name of the object (%s based on URL) was undeterminable: name must be provided",
                       op->name);
    if (strcmp(name, op->name) != 0)
        return err_set(err, ERR_BAD_REQUEST, "the name of the object (%s) does not match the name on the URL (%s)", name,
                       op->name);
    return check_namespace(op, now, err);
}

/* A revision that the client sent is a precondition, and the uid in a whole object (one in a patch is refused as a change). */
static int check_preconditions(const struct op *op, jval *old, jval *now, struct err *err)
{
    const char *uid = obj_uid(now), *rv = obj_rv_text(now);
    if (strcmp(op->verb, "update") == 0 && *uid && strcmp(uid, obj_uid(old)) != 0) {
        AUTOFREE char *why = xasprintf(
            "StorageError: invalid object, Code: 4, Key: /registry/%s%s%s%s%s/%s, ResourceVersion: 0, AdditionalErrorMsg: "
            "Precondition failed: UID in precondition: %s, UID in object meta: %s",
            res_of(op->res)->group, *res_of(op->res)->group ? "/" : "", res_of(op->res)->plural,
            res_of(op->res)->namespaced ? "/" : "", res_of(op->res)->namespaced ? op->ns : "", op->name, uid, obj_uid(old));
        return fail_conflict(err, op->res, op->name, why);
    }
    int64_t n;
    if (*rv && strcmp(rv, "0") != 0 && (!str_to_i64(rv, &n) || n < 0)) {
        BUF(q);
        json_quote(&q, rv, strlen(rv));
        return fail_internal(err, "strconv.ParseUint: parsing %s: invalid syntax", buf_str(&q));
    }
    if (*rv && strcmp(rv, "0") != 0 && strcmp(rv, obj_rv_text(old)) != 0)
        return fail_conflict(err, op->res, op->name, MODIFIED_TEXT);
    return 0;
}

static bool done_deleting(const struct op *op, jval *now)
{
    if (!obj_deleting(now) || obj_has_finalizers(now))
        return false;
    if (op->res->coll == op->a->namespaces && jv_len(namespace_spec_finalizers(namespace_spec(now))) > 0)
        return false;
    return object_meta_deletion_grace_period_seconds(obj_meta(now), 0) == 0;
}

/* A write that takes the last finalizer of a deleted object away removes it: watchers get its last stored state, the caller the
 * new one. */
static int write_change(struct op *op, struct store_obj *cur, struct jm *m, bool gone, struct store_obj **out, struct err *err)
{
    if (!gone)
        return object_write(op, cur->key, cur->rv, m, false, false, out, err);
    JM(last, obj_root(cur));
    struct store_write w = {.coll = op->res->coll, .key = cur->key, .expect = cur->rv, .doc = last, .remove = true};
    if (store_write(op->a->store, &w, NULL, err) < 0)
        return -1;
    *out = object_virtual(m);
    return 0;
}

/* 1: *out is the answer; 0: somebody else was faster; -1. */
static int update_once(struct op *op, struct store_obj *cur, transform_fn *fn, void *arg, struct store_obj **out, struct err *err)
{
    OBJ_REF(shown) = object_as(op->res, cur);
    jval *old = obj_root(shown);
    JSON_REF(wanted) = fn(op, arg, old, err);
    if (!wanted || op_check_identity(op, json_root(wanted), err) < 0 || check_preconditions(op, old, json_root(wanted), err) < 0)
        return -1;
    bool conditional = *obj_rv_text(json_root(wanted)) && strcmp(obj_rv_text(json_root(wanted)), "0") != 0;
    CLEANUP(jm_freep) struct jm *m = object_ordered(json_root(wanted));
    object_put_header(m, op->res);
    if (prepare_update(op, old, m, err) < 0 || admit_update(op, old, m, err) < 0 ||
        (is_definition(op) && crd_before_write(op, m, old, err) < 0))
        return -1;
    JSON_REF(now) = jm_freeze(m);
    if (validate_change(op, old, json_root(now), err) < 0 || check_size(op->res, m, err) < 0)
        return -1;
    warn_of(op, old, json_root(now));
    bool gone = done_deleting(op, json_root(now));
    ERR(e);
    if (!gone && jv_equal(old, json_root(now))) { /* nothing changes: nothing is written, nobody is told */
        *out = TAKE(shown);
        return 1;
    }
    STRLIST(got);
    struct quota_hold hold = {0};
    if ((!op->sub && limits_refuse(op, json_root(now), err) < 0) || quota_take(op, old, json_root(now), &hold, err) < 0)
        return -1;
    if (services_allocate(op, old, m, &got, err) < 0) {
        quota_settle(op, &hold, false);
        return -1;
    }
    if (op->o->dry_run) {
        services_settle(op, &got);
        quota_settle(op, &hold, false);
        *out = object_virtual(m);
        return 1;
    }
    int rc = write_change(op, cur, m, gone, out, &e);
    services_settle(op, &got);
    quota_settle(op, &hold, rc == 0);
    if (rc == 0) {
        after_write(op, gone ? NULL : old, obj_root(*out));
        return 1;
    }
    if (e.code == ERR_NOT_FOUND)
        return fail_not_found(err, op->res, op->name);
    if (e.code != ERR_CONFLICT)
        return err_move(err, &e);
    return conditional ? fail_conflict(err, op->res, op->name, MODIFIED_TEXT) : 0;
}

struct store_obj *update_loop(struct op *op, transform_fn *fn, void *arg, struct err *err)
{
    AUTOFREE char *key = op_key(op);
    for (int try = 0; try < UPDATE_TRIES; try++) {
        OBJ_REF(cur) = store_get(op->res->coll, key);
        if (!cur) {
            fail_not_found(err, op->res, op->name);
            return NULL;
        }
        struct store_obj *out = NULL;
        int rc = update_once(op, cur, fn, arg, &out, err);
        if (rc < 0)
            return NULL;
        if (rc > 0)
            return out;
    }
    fail_conflict(err, op->res, op->name, MODIFIED_TEXT);
    return NULL;
}

static struct json *replace_whole(struct op *op, void *arg, jval *old, struct err *err)
{
    (void)op;
    (void)old;
    (void)err;
    return json_from(arg);
}

/* Kinds whose PUT creates what is not there. */
static bool put_creates(const struct kube_res *k)
{
    static const char *const full[] = {"leases.coordination.k8s.io",
                                       "endpoints.",
                                       "events.",
                                       "events.events.k8s.io",
                                       "services.",
                                       "limitranges.",
                                       "roles.rbac.authorization.k8s.io",
                                       "rolebindings.rbac.authorization.k8s.io",
                                       "clusterroles.rbac.authorization.k8s.io",
                                       "clusterrolebindings.rbac.authorization.k8s.io"};
    AUTOFREE char *name = xasprintf("%s.%s", k->plural, k->group);
    for (size_t i = 0; i < ARRAY_LEN(full); i++)
        if (strcmp(full[i], name) == 0)
            return true;
    return false;
}

static bool lacks_revision(const struct op *op, jval *obj) { return op->res->cv && str_empty(obj_rv_text(obj)); }

struct store_obj *verb_update(struct op *op, jval *obj, bool *created, struct err *err)
{
    *created = false;
    if (op_is_scale(op))
        return scale_update(op, obj, err);
    if (op_check_identity(op, obj, err) < 0)
        return NULL;
    AUTOFREE char *key = op_key(op);
    OBJ_REF(there) = store_get(op->res->coll, key);
    if (!there && !op->sub && put_creates(res_of(op->res))) {
        struct op creates = *op;
        creates.verb = "create"; /* who may only change things may not make them */
        if (op_authorize(&creates, err) < 0)
            return NULL;
        JM(m, obj);
        jm_del(jm_obj_at(m, jm_root(m), "metadata"), "resourceVersion");
        JSON_REF(fresh) = jm_freeze(m);
        *created = true;
        return verb_create(op, json_root(fresh), err);
    }
    if (there && lacks_revision(op, obj)) {
        FAULTS(f);
        fault_invalid_i64(&f, "metadata.resourceVersion", 0, "must be specified for an update");
        faults_done(&f, res_of(op->res)->group, res_of(op->res)->plural, op->name, err);
        return NULL;
    }
    return update_loop(op, replace_whole, (void *)(uintptr_t)obj, err);
}

/* ---- patch ---------------------------------------------------------------------------------------------------- */

struct patching {
    enum kube_patch type;
    jval *patch;
};

/* The 422 about what a JSON or merge patch made of the object; a strategic patch is shown itself (strategic_refuse). */
static int refuse_patched(jval *result, const char *text, struct err *err)
{
    AUTOFREE char *shown = jv_text(result, JW_COMPACT | JW_SORTED);
    BUF(quoted);
    json_quote(&quoted, shown, strlen(shown));
    err_set(err, ERR_INVALID, " \"\" is invalid: patch: Invalid value: %s: %s", buf_str(&quoted), text);
    err_cause(err, "FieldValueInvalid", "patch", "Invalid value: %s: %s", buf_str(&quoted), text);
    return -1;
}

/* What the patch makes of old, before it is looked at as an object. The document null is a patch that changes nothing. */
static struct json *patch_raw(struct op *op, const struct patching *p, jval *old, struct err *err)
{
    bool nothing = jv_is(p->patch, J_NULL);
    struct json *out = NULL;
    ERR(e);
    switch (p->type) {
    case KUBE_PATCH_JSON:
        out = nothing ? json_from(old) : json_patch(old, p->patch, MAX_PATCH_OPS, &e);
        if (!out && e.code == ERR_INVALID)
            err_set(&e, ERR_INVALID, "the server rejected our request due to an error in our request");
        break;
    case KUBE_PATCH_MERGE:
        if (!jv_is(p->patch, J_OBJECT))
            err_set(&e, ERR_BAD_REQUEST, "error decoding patch: a merge patch must be an object");
        else
            out = json_merge_patch(old, p->patch, &e);
        break;
    case KUBE_PATCH_STRATEGIC:
        out = nothing ? json_from(old) : strategic_merge(op->res->kind->type, old, p->patch, &e);
        break;
    case KUBE_PATCH_APPLY:
        ASSERT(!"an apply is not a patch of this kind"); /* verb_patch */
    }
    if (!out)
        err_move(err, &e);
    return out;
}

static struct json *patch_apply(struct op *op, void *arg, jval *old, struct err *err)
{
    const struct patching *p = arg;
    JSON_REF(raw) = patch_raw(op, p, old, err);
    if (!raw)
        return NULL;
    ERR(e);
    struct json *out = decode_patched(op, json_root(raw), p->type == KUBE_PATCH_STRATEGIC, &e);
    if (!out && e.code != ERR_BAD_REQUEST)
        err_move(err, &e);
    else if (!out && p->type == KUBE_PATCH_STRATEGIC)
        strategic_refuse(p->patch, err_text(&e), err);
    else if (!out)
        refuse_patched(json_root(raw), err_text(&e), err);
    if (!out)
        return NULL;
    /* The revision of the object itself is no precondition; one that the patch put there is. */
    if (!str_eq(obj_rv_text(json_root(out)), obj_rv_text(old)) || jv_get(jv_get(p->patch, "metadata"), "resourceVersion"))
        return out;
    JM(m, json_root(out));
    jm_del(jm_obj_at(m, jm_root(m), "metadata"), "resourceVersion");
    json_unref(out);
    return jm_freeze(m);
}

struct store_obj *verb_patch(struct op *op, enum kube_patch type, jval *patch, struct err *err)
{
    if (type == KUBE_PATCH_STRATEGIC && op->res->cv) {
        err_set(err, ERR_MEDIA_TYPE,
                "the body of the request was in an unknown format - accepted media types include: "
                "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml");
        return NULL;
    }
    bool created;
    if (op_is_scale(op))
        return scale_patch(op, type, patch, err);
    if (type == KUBE_PATCH_APPLY)
        return verb_apply(op, patch, &created, err);
    struct patching p = {type, patch};
    return update_loop(op, patch_apply, &p, err);
}
