/* PersistentVolumeClaims, PersistentVolumes and StorageClasses. */
#include <stdlib.h>

#include "kube/fields.h"
#include "kube/object.h"
#include "kube/rules/validate_priv.h"
#include "value/quantity.h"

static const char *const access_modes[] = {"ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod", NULL};
static const char *const volume_modes[] = {"Block", "Filesystem", NULL};

static size_t items(jval *list) { return jv_is(list, J_ARRAY) ? jv_len(list) : 0; }

static const char *quantity_text(jval *v) { return jv_is(v, J_NUMBER) ? jv_num_text(v) : jv_str(v); }

static bool amount_of(jval *map, struct quantity *q)
{
    const char *text = quantity_text(jv_get(map, "storage"));
    return text && quantity_parse(text, q, NULL) == 0;
}

static void check_access_modes(struct faults *f, jval *modes, const char *none)
{
    bool pod = false, other = false;
    if (!items(modes))
        fault_required(f, "accessModes", none);
    for (size_t i = 0; i < items(modes); i++) {
        const char *mode = jv_str_or(jv_at(modes, i), "");
        bool known = false;
        for (size_t k = 0; access_modes[k]; k++)
            known |= str_eq(access_modes[k], mode);
        if (!known)
            fault_unsupported(f, "accessModes", mode, access_modes);
        pod |= str_eq(mode, "ReadWriteOncePod");
        other |= known && !str_eq(mode, "ReadWriteOncePod");
    }
    if (pod && other)
        fault_forbidden(f, "accessModes", "may not use ReadWriteOncePod with other access modes");
}

static void check_volume_mode(struct faults *f, const char *mode)
{
    if (mode && !str_eq(mode, "Block") && !str_eq(mode, "Filesystem"))
        fault_unsupported(f, "volumeMode", mode, volume_modes);
}

/* ---- claims -------------------------------------------------------------------------------------------------------- */

static void check_size(struct faults *f, const char *member, jval *map)
{
    size_t at = fault_push(f, member);
    fault_push_key(f, "storage");
    jval *v = jv_get(map, "storage");
    struct quantity q;
    if (!v)
        fault_required(f, NULL, NULL);
    else if (amount_of(map, &q) && q.nano <= 0)
        fault_invalid_str(f, NULL, quantity_text(v), "must be greater than zero");
    fault_pop(f, at);
}

void validate_claim_spec(struct faults *f, jval *spec)
{
    const char *class = persistent_volume_claim_spec_storage_class_name(spec);
    jval *selector = persistent_volume_claim_spec_selector(spec);
    check_access_modes(f, persistent_volume_claim_spec_access_modes(spec), "at least 1 access mode is required");
    if (jv_is(selector, J_OBJECT)) {
        size_t at = fault_push(f, "selector");
        validate_label_selector(f, selector);
        fault_pop(f, at);
    }
    check_size(f, "resources", volume_resource_requirements_requests(persistent_volume_claim_spec_resources(spec)));
    if (!str_empty(class))
        validate_name(f, "storageClassName", class, name_dns1123_subdomain(class));
    check_volume_mode(f, persistent_volume_claim_spec_volume_mode(spec));
}

void validate_claim(struct faults *f, jval *o)
{
    size_t at = fault_push(f, "spec");
    validate_claim_spec(f, persistent_volume_claim_spec(o));
    fault_pop(f, at);
}

/* The spec without what may change: the volume's name once, a class where there was none, the size asked for. */
static struct json *frozen_spec(jval *spec, bool no_volume, bool no_class)
{
    JM(m, spec);
    jmval *requests = volume_resource_requirements_mut_requests(persistent_volume_claim_spec_mut_resources(jm_root(m)));
    if (no_volume)
        persistent_volume_claim_spec_del_volume_name(jm_root(m));
    if (no_class)
        persistent_volume_claim_spec_del_storage_class_name(jm_root(m));
    persistent_volume_claim_spec_del_volume_attributes_class_name(jm_root(m));
    if (requests)
        jm_del(requests, "storage");
    return jm_freeze(m);
}

static void check_resize(struct faults *f, jval *old, jval *now)
{
    struct quantity was, wanted, has;
    if (!amount_of(
            volume_resource_requirements_requests(persistent_volume_claim_spec_resources(persistent_volume_claim_spec(old))),
            &was) ||
        !amount_of(
            volume_resource_requirements_requests(persistent_volume_claim_spec_resources(persistent_volume_claim_spec(now))),
            &wanted) ||
        quantity_cmp(&wanted, &was) == 0)
        return;
    jval *status = persistent_volume_claim_status(old);
    if (!str_eq(persistent_volume_claim_status_phase(status), "Bound")) {
        fault_forbidden(f, "spec",
                        "spec is immutable after creation except resources.requests and volumeAttributesClassName for "
                        "bound claims");
        return;
    }
    if (quantity_cmp(&wanted, &was) < 0 &&
        (!amount_of(persistent_volume_claim_status_capacity(status), &has) || quantity_cmp(&wanted, &has) <= 0))
        fault_forbidden(f, "spec.resources.requests.storage", "field can not be less than status.capacity");
}

void validate_claim_update(struct faults *f, jval *old, jval *now)
{
    jval *a = persistent_volume_claim_spec(old), *b = persistent_volume_claim_spec(now);
    bool no_volume = str_empty(persistent_volume_claim_spec_volume_name(a));
    bool no_class = !persistent_volume_claim_spec_storage_class_name(a);
    JSON_REF(was) = frozen_spec(a, no_volume, no_class);
    JSON_REF(is) = frozen_spec(b, no_volume, no_class);
    if (!jv_equal(json_root(was), json_root(is)))
        fault_forbidden(f, "spec",
                        "spec is immutable after creation except resources.requests and volumeAttributesClassName for "
                        "bound claims");
    else
        check_resize(f, old, now);
}

/* ---- volumes ------------------------------------------------------------------------------------------------------- */

/* Members of the spec that are no source of a volume. */
static bool is_source(const char *member)
{
    static const char *const others[] = {
        "capacity",     "accessModes", "claimRef",     "persistentVolumeReclaimPolicy", "storageClassName",
        "mountOptions", "volumeMode",  "nodeAffinity", "volumeAttributesClassName"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (str_eq(others[i], member))
            return false;
    return true;
}

static void check_path(struct faults *f, jval *source)
{
    const char *path = host_path_volume_source_path(source); /* the same name in a local volume */
    if (str_empty(path)) {
        fault_required(f, "path", NULL);
        return;
    }
    for (const char *p = path; p && *p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL)
        if (str_starts(p, "..") && (!p[2] || p[2] == '/')) {
            fault_invalid_str(f, "path", path, "must not contain '..'");
            return;
        }
}

static void check_sources(struct faults *f, jval *spec)
{
    struct jiter it = jv_iter(spec);
    const char *k;
    jval *v;
    size_t found = 0;
    while (jv_next(&it, &k, &v)) {
        if (!is_source(k) || !jv_is(v, J_OBJECT))
            continue;
        if (found++) {
            fault_forbidden(f, k, "may not specify more than 1 volume type");
            continue;
        }
        size_t at = fault_push(f, k);
        if (str_eq(k, "hostPath") || str_eq(k, "local"))
            check_path(f, v);
        fault_pop(f, at);
        if (str_eq(k, "local") && !jv_is(persistent_volume_spec_node_affinity(spec), J_OBJECT))
            fault_required(f, "nodeAffinity", "Local volume requires node affinity");
    }
    if (!found)
        fault_required(f, NULL, "must specify a volume type");
}

static void check_capacity(struct faults *f, jval *capacity)
{
    static const char text[] = "storage";
    size_t n = jv_is(capacity, J_OBJECT) ? jv_len(capacity) : 0;
    struct quantity q;
    if (!n)
        fault_required(f, "capacity", NULL);
    if (n != 1 || !jv_get(capacity, text)) {
        AUTOFREE char *shown = n ? jv_text(capacity, JW_COMPACT | JW_SORTED) : xstrdup("{}");
        AUTOFREE char *all = xasprintf("Unsupported value: %s: supported values: \"storage\"", shown);
        fault_add(f, "FieldValueNotSupported", "capacity", all);
        return;
    }
    size_t at = fault_push(f, "capacity");
    fault_push_key(f, text);
    if (amount_of(capacity, &q) && q.nano <= 0)
        fault_invalid_str(f, NULL, quantity_text(jv_get(capacity, text)), "must be greater than zero");
    fault_pop(f, at);
}

void validate_volume(struct faults *f, jval *o)
{
    static const char *const policies[] = {"Delete", "Recycle", "Retain", NULL};
    jval *spec = persistent_volume_spec(o), *affinity = persistent_volume_spec_node_affinity(spec);
    const char *policy = persistent_volume_spec_persistent_volume_reclaim_policy(spec);
    const char *class = persistent_volume_spec_storage_class_name(spec);
    size_t at = fault_push(f, "spec");
    check_access_modes(f, persistent_volume_spec_access_modes(spec), NULL);
    check_capacity(f, persistent_volume_spec_capacity(spec));
    if (!str_empty(policy))
        validate_enum(f, "persistentVolumeReclaimPolicy", policy, policies);
    if (jv_is(affinity, J_OBJECT) && !items(node_selector_node_selector_terms(volume_node_affinity_required(affinity))))
        fault_required(f, "nodeAffinity.required.nodeSelectorTerms", "must have at least one node selector term");
    check_sources(f, spec);
    if (str_eq(policy, "Recycle") && str_eq(host_path_volume_source_path(persistent_volume_spec_host_path(spec)), "/"))
        fault_forbidden(f, "persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'");
    if (!str_empty(class))
        validate_name(f, "storageClassName", class, name_dns1123_subdomain(class));
    check_volume_mode(f, persistent_volume_spec_volume_mode(spec));
    fault_pop(f, at);
}

void validate_volume_update(struct faults *f, jval *old, jval *now)
{
    jval *a = persistent_volume_spec(old), *b = persistent_volume_spec(now);
    struct jiter it = jv_iter(a);
    const char *k;
    jval *v;
    bool same = true;
    while (jv_next(&it, &k, &v))
        same &= !is_source(k) || jv_equal(v, jv_get(b, k));
    if (!same)
        fault_forbidden(f, "spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation");
    validate_immutable(f, "spec.volumeMode", jv_get(a, "volumeMode"), jv_get(b, "volumeMode"));
    if (jv_is(persistent_volume_spec_node_affinity(a), J_OBJECT))
        validate_immutable(f, "spec.nodeAffinity", jv_get(a, "nodeAffinity"), jv_get(b, "nodeAffinity"));
}

/* ---- classes ------------------------------------------------------------------------------------------------------- */

void validate_storage_class(struct faults *f, jval *o)
{
    static const char *const policies[] = {"Delete", "Retain", NULL};
    static const char *const modes[] = {"Immediate", "WaitForFirstConsumer", NULL};
    const char *provisioner = storage_class_provisioner(o);
    if (str_empty(provisioner)) {
        fault_required(f, "provisioner", NULL);
    } else {
        AUTOFREE char *lower = xstrdup(provisioner);
        for (char *p = lower; *p; p++)
            *p = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
        validate_name(f, "provisioner", provisioner, name_qualified(lower));
    }
    if (jv_get(storage_class_parameters(o), ""))
        fault_invalid_str(f, "parameters", "", "field can not be empty.");
    if (!str_empty(storage_class_reclaim_policy(o)))
        validate_enum(f, "reclaimPolicy", storage_class_reclaim_policy(o), policies);
    validate_enum(f, "volumeBindingMode", storage_class_volume_binding_mode(o), modes);
}

void validate_storage_class_update(struct faults *f, jval *old, jval *now)
{
    if (!jv_equal(storage_class_parameters(old) ? storage_class_parameters(old) : NULL,
                  storage_class_parameters(now) ? storage_class_parameters(now) : NULL))
        fault_forbidden(f, "parameters", "updates to parameters are forbidden.");
    if (!str_eq(storage_class_provisioner(old), storage_class_provisioner(now)))
        fault_forbidden(f, "provisioner", "updates to provisioner are forbidden.");
    if (!str_eq(storage_class_reclaim_policy(old), storage_class_reclaim_policy(now)))
        fault_forbidden(f, "reclaimPolicy", "updates to reclaimPolicy are forbidden.");
    validate_immutable(f, "volumeBindingMode", jv_get(old, "volumeBindingMode"), jv_get(now, "volumeBindingMode"));
}
