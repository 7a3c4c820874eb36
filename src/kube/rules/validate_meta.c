/* Rules of metadata: names by kind, labels, annotations, owners, finalizers, and what an update may change. */
#include "kube/fields.h"
#include "kube/names.h"
#include "kube/object.h"
#include "kube/rules/validate.h"
#include "kube/rules/validate_priv.h"

#include <ctype.h>
#include <stdlib.h>

enum { ANNOTATIONS_MAX = 256 * 1024 };

void validate_name(struct faults *f, const char *member, const char *value, struct name_faults bad)
{
    for (size_t i = 0; i < bad.n; i++)
        fault_invalid_str(f, member, value, "%s", bad.text[i]);
}

/* The rule for names of a kind. */
static struct name_faults name_of_kind(const struct kube_res *res, const char *name)
{
    if (str_eq(res->group, "rbac.authorization.k8s.io"))
        return name_path_segment(name);
    if (str_eq(res->group, "") && str_eq(res->kind, "Namespace"))
        return name_dns1123_label(name);
    if (str_eq(res->group, "") && str_eq(res->kind, "Service"))
        return name_dns1035_label(name);
    return name_dns1123_subdomain(name);
}

void validate_labels(struct faults *f, const char *member, jval *labels)
{
    struct jiter it = jv_iter(jv_is(labels, J_OBJECT) ? labels : NULL);
    const char *k;
    jval *v;
    while (jv_next(&it, &k, &v)) {
        const char *value = jv_str_or(v, "");
        validate_name(f, member, k, name_qualified(k));
        validate_name(f, member, value, name_label_value(value));
    }
}

void validate_annotations(struct faults *f, const char *member, jval *annotations)
{
    size_t total = 0;
    struct jiter it = jv_iter(jv_is(annotations, J_OBJECT) ? annotations : NULL);
    const char *k;
    jval *v;
    while (jv_next(&it, &k, &v)) {
        AUTOFREE char *lower = xstrdup(k);
        for (char *p = lower; *p; p++)
            *p = (char)tolower((unsigned char)*p);
        validate_name(f, member, k, name_qualified(lower));
        total += strlen(k) + jv_len(v);
    }
    if (total > ANNOTATIONS_MAX)
        fault_too_long(f, member, ANNOTATIONS_MAX);
}

static void check_owner(struct faults *f, jval *ref)
{
    static const struct {
        const char *member, *text;
    } needed[] = {{"kind", "must not be empty"}, {"name", "must not be empty"}, {"uid", "must not be empty"}};
    const char *given = owner_reference_api_version(ref), *api_version = given ? given : "";
    const char *slash = strchr(api_version, '/');
    if (!*api_version || (slash && strchr(slash + 1, '/')))
        fault_invalid_str(f, "apiVersion", api_version, "version must not be empty");
    for (size_t i = 0; i < ARRAY_LEN(needed); i++)
        if (str_empty(jv_str(jv_get(ref, needed[i].member))))
            fault_invalid_str(f, needed[i].member, "", "%s", needed[i].text);
    if (str_eq(api_version, "v1") && str_eq(owner_reference_kind(ref), "Event"))
        fault_invalid(f, NULL, ref, "/v1, Kind=Event is disallowed from being an owner");
}

static void check_owners(struct faults *f, jval *refs)
{
    size_t at = fault_push(f, "ownerReferences");
    jval *controller = NULL;
    struct jiter it = jv_iter(jv_is(refs, J_ARRAY) ? refs : NULL);
    jval *ref;
    while (jv_next(&it, NULL, &ref)) {
        check_owner(f, ref);
        if (!owner_reference_controller(ref, false))
            continue;
        if (controller)
            fault_invalid(f, NULL, refs,
                          "Only one reference can have Controller set to true. Found \"true\" in references for %s/%s and %s/%s",
                          owner_reference_kind(controller), owner_reference_name(controller), owner_reference_kind(ref),
                          owner_reference_name(ref));
        else
            controller = ref;
    }
    fault_pop(f, at);
}

static void check_finalizers(struct faults *f, jval *finalizers, bool builtin)
{
    bool orphan = false, foreground = false;
    size_t n = jv_is(finalizers, J_ARRAY) ? jv_len(finalizers) : 0;
    for (size_t i = 0; i < n; i++) {
        const char *name = jv_str_or(jv_at(finalizers, i), "");
        validate_name(f, "finalizers", name, name_qualified(name));
        orphan |= str_eq(name, "orphan");
        foreground |= str_eq(name, "foregroundDeletion");
    }
    if (orphan && foreground)
        fault_invalid(f, "finalizers", finalizers, "finalizer orphan and foregroundDeletion cannot be both set");
    for (size_t i = 0; builtin && i < n; i++) {
        const char *name = jv_str_or(jv_at(finalizers, i), "");
        if (strchr(name, '/') || str_eq(name, "orphan") || str_eq(name, "foregroundDeletion") || str_eq(name, "kubernetes"))
            continue;
        size_t at = fault_push(f, "finalizers");
        fault_push_index(f, i);
        fault_invalid_str(f, NULL, name, "name is neither a standard finalizer name nor is it fully qualified");
        fault_pop(f, at);
    }
}

void validate_metadata_create(struct faults *f, const struct kube_res *res, jval *obj)
{
    jval *meta = obj_meta(obj);
    const char *name = obj_name(obj), *prefix = obj_generate_name(obj), *ns = obj_namespace(obj);
    size_t at = fault_push(f, "metadata");
    if (*prefix && !*name)
        validate_name(f, "generateName", prefix, name_of_kind(res, prefix));
    if (!*name)
        fault_required(f, "name", "name or generateName is required");
    else
        validate_name(f, "name", name, name_of_kind(res, name));
    if (res->namespaced && !*ns)
        fault_required(f, "namespace", NULL);
    else if (res->namespaced)
        validate_name(f, "namespace", ns, name_dns1123_label(ns));
    else if (*ns)
        fault_forbidden(f, "namespace", "not allowed on this type");
    if (obj_generation(obj) < 0)
        fault_invalid_i64(f, "generation", obj_generation(obj), "must be greater than or equal to 0");
    validate_labels(f, "labels", object_meta_labels(meta));
    validate_annotations(f, "annotations", object_meta_annotations(meta));
    check_owners(f, object_meta_owner_references(meta));
    check_finalizers(f, object_meta_finalizers(meta), validate_is_builtin(res));
    fault_pop(f, at);
}

/* ---- update ---------------------------------------------------------------------------------------------------------------- */

static void check_new_finalizers(struct faults *f, jval *old, jval *now)
{
    BUF(added);
    struct jiter it = jv_iter(object_meta_finalizers(obj_meta(now)));
    jval *x;
    if (!obj_deleting(old))
        return;
    while (jv_next(&it, NULL, &x))
        if (!obj_has_finalizer(old, jv_str_or(x, "")))
            buf_addf(&added, "%s\"%s\"", added.len ? ", " : "", jv_str_or(x, ""));
    if (added.len)
        fault_forbidden(f, "finalizers",
                        "no new finalizers can be added if the object is being deleted, found new finalizers []string{%s}",
                        buf_str(&added));
}

void validate_immutable(struct faults *f, const char *member, jval *old, jval *now)
{
    bool a = jv_present(old), b = jv_present(now);
    if (a != b || (a && !jv_equal(old, now)))
        fault_invalid(f, member, now, "field is immutable");
}

void validate_metadata_update(struct faults *f, jval *old, jval *now)
{
    static const char *const fixed[] = {
        "name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"};
    jval *was = obj_meta(old), *meta = obj_meta(now);
    size_t at = fault_push(f, "metadata");
    check_new_finalizers(f, old, now);
    if (obj_generation(now) < obj_generation(old))
        fault_invalid_i64(f, "generation", obj_generation(now), "must not be decremented");
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        validate_immutable(f, fixed[i], jv_get(was, fixed[i]), jv_get(meta, fixed[i]));
    validate_labels(f, "labels", object_meta_labels(meta));
    validate_annotations(f, "annotations", object_meta_annotations(meta));
    check_owners(f, object_meta_owner_references(meta));
    fault_pop(f, at);
}
