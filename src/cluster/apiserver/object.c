/* object.c - objects between the store and the answer. */
#include <stdlib.h>

#include "cluster/apiserver/internal.h"
#include "kube/fields.h"
#include "kube/schema/schema.h"

void object_put_header(struct jm *m, const struct resource *r)
{
    AUTOFREE char *api_version = kind_api_version(r->kind);
    jm_put(m, jm_root(m), "kind", jm_str(m, res_of(r)->kind));
    jm_put(m, jm_root(m), "apiVersion", jm_str(m, api_version));
}

struct jm *object_ordered(jval *v)
{
    struct jm *m = jm_new();
    jmval *root = jm_obj(m);
    jm_set_root(m, root);
    static const char *const first[] = {"kind", "apiVersion", "metadata"};
    for (size_t i = 0; i < ARRAY_LEN(first); i++)
        if (jv_get(v, first[i]))
            jm_put(m, root, first[i], jm_val(m, jv_get(v, first[i])));
    struct jiter it = jv_iter(v);
    const char *key;
    jval *x;
    while (jv_next(&it, &key, &x))
        if (strcmp(key, first[0]) != 0 && strcmp(key, first[1]) != 0 && strcmp(key, first[2]) != 0)
            jm_add(m, root, key, jm_val(m, x));
    return m;
}

struct store_obj *object_virtual(struct jm *m)
{
    jmval *meta = jmv_get(jm_root(m), "metadata");
    if (str_empty(jmv_str(object_meta_mut_resource_version(meta))) && meta)
        object_meta_del_resource_version(meta); /* a place that the store would have filled in */
    return store_obj_new("", 0, jm_freeze(m));
}

struct store_obj *object_as(const struct resource *r, struct store_obj *o)
{
    if (o && is_face(r))
        return store_obj_new(o->key, o->rv, face_of(r, obj_root(o)));
    if (!r->cv || !o)
        return store_obj_ref(o);
    AUTOFREE char *api_version = kind_api_version(r->kind);
    bool same = str_eq(obj_api_version(obj_root(o)), api_version);
    if (same && o->rv > r->since)
        return store_obj_ref(o);
    JM(m, obj_root(o));
    bool changed = !same;
    if (!same)
        jm_put(m, jm_root(m), "apiVersion", jm_str(m, api_version));
    if (r->cv->schema) {
        changed |= schema_prune(r->cv->schema, m, jm_root(m), NULL);
        changed |= schema_default(r->cv->schema, m, jm_root(m));
    }
    return changed ? store_obj_new(o->key, o->rv, jm_freeze(m)) : store_obj_ref(o);
}

struct json *status_success(struct jm *details)
{
    JM_NEW(m);
    jmval *root = jm_obj(m);
    jm_set_root(m, root);
    jm_put(m, root, "kind", jm_str(m, "Status"));
    jm_put(m, root, "apiVersion", jm_str(m, "v1"));
    jm_put(m, root, "metadata", jm_obj(m));
    jm_put(m, root, "status", jm_str(m, "Success"));
    if (details)
        jm_put(m, root, "details", jm_dup(m, jm_root(details)));
    return jm_freeze(m);
}

int object_write(struct op *op, const char *key, int64_t expect, struct jm *m, bool remove, bool soft, struct store_obj **out,
                 struct err *err)
{
    OBJ_REF(stored) = NULL;
    face_to_store(op->res, m);
    struct store_write w = {.coll = op->res->coll,
                            .key = key,
                            .expect = expect,
                            .doc = m,
                            .remove = remove,
                            .soft = soft || op->res->kind->store == KSTORE_SOFT};
    if (store_write(op->a->store, &w, &stored, err) < 0)
        return -1;
    if (out)
        *out = object_as(op->res, stored);
    return 0;
}
