/* verbs_apply.c - server-side apply: PATCH with application/apply-patch+yaml. */
#include <stdlib.h>

#include "cluster/apiserver/managed.h"
#include "kube/fields.h"

/* What an apply must carry, and must not. */
static int check_config(struct op *op, jval *config, struct err *err)
{
    const struct kube_res *k = res_of(op->res);
    AUTOFREE char *want = kind_api_version(op->res->kind);
    const char *version = obj_api_version(config), *slash = strchr(version, '/');
    if (!jv_is(config, J_OBJECT))
        return err_set(err, ERR_BAD_REQUEST, "error decoding YAML: the configuration that is applied must be an object");
    if (strcmp(version, want) != 0 || strcmp(obj_kind(config), k->kind) != 0)
        return err_set(err, ERR_BAD_REQUEST, "invalid object type: %s%s, Kind=%s", slash || !*version ? "" : "/",
                       *version ? version : "/", obj_kind(config));
    if (jv_present(object_meta_managed_fields(obj_meta(config))))
        return err_set(err, ERR_BAD_REQUEST, "metadata.managedFields must be nil");
    struct ftype t = managed_type(op->res);
    ERR(e);
    if (apply_check(&t, config, &e) == 0)
        return 0;
    AUTOFREE char *group = slash ? xstrdup(version) : xasprintf("/%s", version);
    return fail_internal(err, "failed to create typed patch object (%s/%s; %s, Kind=%s): %s", obj_namespace(config),
                         obj_name(config), group, k->kind, err_text(&e));
}

/* The configuration without the revision, which is a precondition and no field. */
static struct json *without_revision(jval *config)
{
    JM(m, config);
    object_meta_del_resource_version(jm_obj_at(m, jm_root(m), "metadata"));
    return jm_freeze(m);
}

static struct store_obj *create_applied(struct op *op, jval *config, struct err *err)
{
    const char *uid = obj_uid(config);
    if (op->sub) {
        fail_not_found(err, op->res, op->name);
        return NULL;
    }
    if (*uid) {
        AUTOFREE char *why =
            xasprintf("uid mismatch: the provided object specified uid %s, and no existing object was found", uid);
        fail_conflict(err, op->res, op->name, why);
        return NULL;
    }
    if (op_check_identity(op, config, err) < 0)
        return NULL;
    struct op creates = *op;
    creates.verb = "create"; /* who may only change things may not make them */
    if (op_authorize(&creates, err) < 0)
        return NULL;
    JSON_REF(bare) = without_revision(config);
    JSON_REF(d) = decode_inproc(&creates, json_root(bare), err);
    creates.applying = json_root(bare);
    return d ? verb_create(&creates, json_root(d), err) : NULL;
}

static struct json *apply_transform(struct op *op, void *arg, jval *live, struct err *err)
{
    jval *config = arg;
    const char *rv = obj_rv_text(config);
    if (*rv && strcmp(rv, obj_rv_text(live)) != 0) {
        fail_conflict(err, op->res, op->name, MODIFIED_TEXT);
        return NULL;
    }
    JSON_REF(bare) = without_revision(config);
    JSON_REF(merged) = managed_apply(op, live, json_root(bare), err);
    if (!merged)
        return NULL;
    JSON_REF(out) = decode_patched(op, json_root(merged), false, err);
    return out ? without_revision(json_root(out)) : NULL;
}

struct store_obj *verb_apply(struct op *op, jval *config, bool *created, struct err *err)
{
    *created = false;
    if (str_empty(op->o->field_manager)) {
        err_set(err, ERR_INVALID, "fieldManager: Required value: is required for apply patch");
        return NULL;
    }
    if (check_config(op, config, err) < 0)
        return NULL;
    AUTOFREE char *key = op_key(op);
    OBJ_REF(there) = store_get(op->res->coll, key);
    ERR(e);
    if (!there) {
        struct store_obj *made = create_applied(op, config, &e);
        *created = made != NULL;
        if (made)
            return made;
        if (e.code != ERR_EXISTS) {
            err_move(err, &e);
            return NULL;
        }
    }
    struct op applies = *op;
    applies.applying = config;
    return update_loop(&applies, apply_transform, (void *)(uintptr_t)config, err);
}
