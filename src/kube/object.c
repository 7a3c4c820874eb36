#include "kube/object.h"

#include <stdlib.h>

#include "base/timefmt.h"

jval *obj_meta(jval *o) { return jv_get(o, "metadata"); }

const char *obj_kind(jval *o) { return jv_str_or(jv_get(o, "kind"), ""); }

const char *obj_api_version(jval *o) { return jv_str_or(jv_get(o, "apiVersion"), ""); }

static const char *meta_str(jval *o, const char *member) { return jv_str_or(jv_get(obj_meta(o), member), ""); }

const char *obj_name(jval *o) { return meta_str(o, "name"); }

const char *obj_generate_name(jval *o) { return meta_str(o, "generateName"); }

const char *obj_namespace(jval *o) { return meta_str(o, "namespace"); }

const char *obj_uid(jval *o) { return meta_str(o, "uid"); }

const char *obj_rv_text(jval *o) { return meta_str(o, "resourceVersion"); }

int64_t obj_rv(jval *o)
{
    int64_t rv = 0;
    return str_to_i64(obj_rv_text(o), &rv) && rv > 0 ? rv : 0;
}

int64_t obj_generation(jval *o) { return jv_i64_or(jv_get(obj_meta(o), "generation"), 0); }

jval *obj_labels(jval *o) { return jv_get(obj_meta(o), "labels"); }

const char *obj_label(jval *o, const char *key) { return jv_str(jv_get(obj_labels(o), key)); }

jval *obj_annotations(jval *o) { return jv_get(obj_meta(o), "annotations"); }

const char *obj_annotation(jval *o, const char *key) { return jv_str(jv_get(obj_annotations(o), key)); }

const char *obj_deletion_timestamp(jval *o) { return jv_str(jv_get(obj_meta(o), "deletionTimestamp")); }

int64_t obj_creation_ns(jval *o)
{
    int64_t ns;
    const char *text = jv_str(jv_get(obj_meta(o), "creationTimestamp"));
    return text && time_parse(text, &ns) ? ns : 0;
}

/* ---- groups and keys --------------------------------------------------------------------------------------------- */

void api_version_split(const char *api_version, char **group, char **version)
{
    const char *slash = strchr(api_version, '/');
    *group = slash ? xstrndup(api_version, (size_t)(slash - api_version)) : xstrdup("");
    *version = xstrdup(slash ? slash + 1 : api_version);
}

bool api_version_same_group(const char *a, const char *b)
{
    const char *sa = strchr(a, '/'), *sb = strchr(b, '/');
    size_t na = sa ? (size_t)(sa - a) : 0, nb = sb ? (size_t)(sb - b) : 0;
    return na == nb && memcmp(a, b, na) == 0;
}

char *obj_key_of(const char *ns, const char *name) { return str_empty(ns) ? xstrdup(name) : xasprintf("%s/%s", ns, name); }

char *obj_key(jval *o) { return obj_key_of(obj_namespace(o), obj_name(o)); }

void obj_key_split(const char *key, char **ns, char **name)
{
    api_version_split(key, ns, name); /* the same form: an optional part before the first slash */
}

/* ---- owners and finalizers ----------------------------------------------------------------------------------------- */

jval *obj_owner_refs(jval *o)
{
    jval *refs = jv_get(obj_meta(o), "ownerReferences");
    return jv_is(refs, J_ARRAY) ? refs : NULL;
}

jval *obj_controller_ref(jval *o)
{
    struct jiter it = jv_iter(obj_owner_refs(o));
    jval *ref;
    while (jv_next(&it, NULL, &ref))
        if (jv_bool(jv_get(ref, "controller"), false))
            return ref;
    return NULL;
}

bool obj_has_owner(jval *o, const char *uid)
{
    struct jiter it = jv_iter(obj_owner_refs(o));
    jval *ref;
    while (jv_next(&it, NULL, &ref))
        if (str_eq(jv_str(jv_get(ref, "uid")), uid))
            return true;
    return false;
}

bool obj_is_controlled_by(jval *o, const char *uid) { return str_eq(jv_str(jv_get(obj_controller_ref(o), "uid")), uid); }

static jmval *api_version_of(struct jm *m, const struct kube_res *res)
{
    return *res->group ? jm_strf(m, "%s/%s", res->group, res->version) : jm_str(m, res->version);
}

jmval *obj_make_owner_ref(struct jm *m, jval *owner, const struct kube_res *res, bool controller)
{
    jmval *ref = jm_obj(m);
    jm_put(m, ref, "apiVersion", api_version_of(m, res));
    jm_put(m, ref, "kind", jm_str(m, res->kind));
    jm_put(m, ref, "name", jm_str(m, obj_name(owner)));
    jm_put(m, ref, "uid", jm_str(m, obj_uid(owner)));
    if (controller) {
        jm_put(m, ref, "controller", jm_bool(m, true));
        jm_put(m, ref, "blockOwnerDeletion", jm_bool(m, true));
    }
    return ref;
}

jmval *obj_make_reference(struct jm *m, jval *o, const struct kube_res *res)
{
    jmval *ref = jm_obj(m);
    jm_put(m, ref, "kind", jm_str(m, res->kind));
    if (*obj_namespace(o))
        jm_put(m, ref, "namespace", jm_str(m, obj_namespace(o)));
    jm_put(m, ref, "name", jm_str(m, obj_name(o)));
    if (*obj_uid(o))
        jm_put(m, ref, "uid", jm_str(m, obj_uid(o)));
    jm_put(m, ref, "apiVersion", api_version_of(m, res));
    if (*obj_rv_text(o))
        jm_put(m, ref, "resourceVersion", jm_str(m, obj_rv_text(o)));
    return ref;
}

bool obj_has_finalizer(jval *o, const char *name)
{
    struct jiter it = jv_iter(jv_get(obj_meta(o), "finalizers"));
    jval *f;
    while (jv_next(&it, NULL, &f))
        if (str_eq(jv_str(f), name))
            return true;
    return false;
}

bool obj_has_finalizers(jval *o) { return jv_len(jv_get(obj_meta(o), "finalizers")) > 0; }

static size_t find_string(jmval *arr, const char *s)
{
    size_t n = jmv_len(arr);
    for (size_t i = 0; i < n; i++)
        if (str_eq(jmv_str(jmv_at(arr, i)), s))
            return i;
    return n;
}

bool obj_add_finalizer(struct jm *m, jmval *o, const char *name)
{
    jmval *list = jm_arr_at(m, jm_obj_at(m, o, "metadata"), "finalizers");
    if (find_string(list, name) < jmv_len(list))
        return false;
    jm_push(list, jm_str(m, name));
    return true;
}

bool obj_remove_finalizer(jmval *o, const char *name)
{
    jmval *meta = jmv_get(o, "metadata");
    jmval *list = jmv_get(meta, "finalizers");
    if (jmv_type(list) != J_ARRAY)
        return false;
    size_t i = find_string(list, name);
    if (i == jmv_len(list))
        return false;
    jm_remove(list, i);
    if (jmv_len(list) == 0)
        jm_del(meta, "finalizers");
    return true;
}

/* ---- conditions ---------------------------------------------------------------------------------------------------- */

jval *obj_condition(jval *o, const char *type)
{
    struct jiter it = jv_iter(jv_path(o, "status", "conditions", NULL));
    jval *c;
    while (jv_next(&it, NULL, &c))
        if (str_eq(jv_str(jv_get(c, "type")), type))
            return c;
    return NULL;
}

bool obj_condition_is(jval *o, const char *type, const char *status)
{
    return str_eq(jv_str(jv_get(obj_condition(o, type), "status")), status);
}

static jmval *condition_of(jmval *list, const char *type, size_t *index)
{
    for (size_t i = 0, n = jmv_len(list); i < n; i++) {
        jmval *c = jmv_at(list, i);
        if (str_eq(jmv_str(jmv_get(c, "type")), type)) {
            *index = i;
            return c;
        }
    }
    return NULL;
}

/* NULL takes the member away. True when that changed something. */
static bool set_member(struct jm *m, jmval *c, const char *member, const char *value)
{
    if (!value)
        return jm_del(c, member);
    if (str_eq(jmv_str(jmv_get(c, member)), value))
        return false;
    jm_put(m, c, member, jm_str(m, value));
    return true;
}

bool obj_set_condition(struct jm *m, jmval *o, const char *type, const char *status, const char *reason, const char *message,
                       int64_t now_ns)
{
    jmval *list = jm_arr_at(m, jm_obj_at(m, o, "status"), "conditions");
    size_t i;
    bool changed = false;
    jmval *c = condition_of(list, type, &i);
    if (!c) {
        c = jm_obj(m);
        jm_put(m, c, "type", jm_str(m, type));
        jm_push(list, c);
    }
    if (set_member(m, c, "status", status)) {
        char text[TIME_TEXT_MAX];
        jm_put(m, c, "lastTransitionTime", jm_str(m, time_format(text, now_ns, TIME_SECONDS)));
        changed = true;
    }
    changed |= set_member(m, c, "reason", reason);
    changed |= set_member(m, c, "message", message);
    return changed;
}

bool obj_remove_condition(jmval *o, const char *type)
{
    jmval *list = jmv_path(o, "status", "conditions", NULL);
    size_t i;
    return condition_of(list, type, &i) && jm_remove(list, i);
}
