/* The kubernetes platform spec of a task, applied to its pod. References were replaced by their values before; a value that is
 * null drops its entry. Source: pipelines-runtime spec 16. */
#include "kube/fields.h"
#include "pipelines/engine/podspec.h"

static int bad(struct pod_build *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
static int bad(struct pod_build *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_setv(b->err, ERR_INVALID, fmt, ap);
    va_end(ap);
    return err_wrap(b->err, "kubernetes configuration");
}

/* The name an entry refers to. 1: *out is set; 0: it resolved to nothing, the entry is dropped; -1: it is no name. */
static int name_of(struct pod_build *b, jval *entry, const char *ref, const char *old, const char **out)
{
    jval *v = jv_get(entry, ref);
    if (!v)
        v = jv_get(entry, old);
    *out = jv_str(v);
    if (!v || jv_is(v, J_NULL))
        return 0;
    if (str_empty(*out))
        return bad(b, "%s must be a name, got %s", ref, jv_str(v) ? "\"\"" : jtype_name(jv_type(v)));
    return 1;
}

int pod_each(struct pod_build *b, jval *config, const char *name, int (*fn)(struct pod_build *b, jval *entry))
{
    jval *list = jv_get(config, name), *v;
    if (jv_present(list) && !jv_is(list, J_ARRAY))
        return bad(b, "%s must be a list, got %s", name, jtype_name(jv_type(list)));
    struct jiter it = jv_iter(list);
    for (size_t k = 0; jv_present(list) && jv_next(&it, NULL, &v); k++) {
        if (!jv_is(v, J_OBJECT))
            return bad(b, "%s[%zu] must be an object, got %s", name, k, jtype_name(jv_type(v)));
        if (fn(b, v) < 0)
            return -1;
    }
    return 0;
}

/* What the configuration calls `name`, seen by the step at path. NULL: the volume is there already, else it is to be filled in.
 */
static jmval *mounted_volume(struct pod_build *b, const char *name, const char *path, const char *sub_path)
{
    AUTOFREE char *volume = pod_user_volume(b, name);
    pod_mount(b, volume, path, sub_path, false);
    return pod_volume(b, volume);
}

/* ---- secrets and config maps ---------------------------------------------------------------------------------- */

static int secret_volume(struct pod_build *b, jval *e)
{
    const char *name, *path = jv_str(jv_get(e, "mountPath"));
    int rc = name_of(b, e, "secretNameParameter", "secretName", &name);
    if (rc <= 0)
        return rc;
    if (str_empty(path))
        return bad(b, "secret %s has no mountPath", name);
    jmval *v = mounted_volume(b, name, path, NULL);
    if (v) {
        jmval *source = volume_make_secret(b->m, v);
        secret_volume_source_set_secret_name(b->m, source, name);
        secret_volume_source_set_optional(b->m, source, jv_bool(jv_get(e, "optional"), false));
    }
    return 0;
}

static int config_map_volume(struct pod_build *b, jval *e)
{
    const char *name, *path = jv_str(jv_get(e, "mountPath"));
    int rc = name_of(b, e, "configMapNameParameter", "configMapName", &name);
    if (rc <= 0)
        return rc;
    if (str_empty(path))
        return bad(b, "config map %s has no mountPath", name);
    jmval *v = mounted_volume(b, name, path, NULL);
    if (v) {
        jmval *source = volume_make_config_map(b->m, v);
        config_map_volume_source_set_name(b->m, source, name);
        config_map_volume_source_set_optional(b->m, source, jv_bool(jv_get(e, "optional"), false));
    }
    return 0;
}

static void add_key_env(struct pod_build *b, const char *var, bool secret, const char *name, const char *key, bool optional)
{
    jmval *e = jm_obj(b->m);
    env_var_set_name(b->m, e, var);
    jmval *from = env_var_make_value_from(b->m, e);
    if (secret) {
        jmval *ref = env_var_source_make_secret_key_ref(b->m, from);
        secret_key_selector_set_name(b->m, ref, name);
        secret_key_selector_set_key(b->m, ref, key);
        secret_key_selector_set_optional(b->m, ref, optional);
    } else {
        jmval *ref = env_var_source_make_config_map_key_ref(b->m, from);
        config_map_key_selector_set_name(b->m, ref, name);
        config_map_key_selector_set_key(b->m, ref, key);
        config_map_key_selector_set_optional(b->m, ref, optional);
    }
    jm_push(container_make_env(b->m, b->main), e);
}

static int keys_env(struct pod_build *b, jval *e, bool secret, const char *name)
{
    struct jiter it = jv_iter(jv_get(e, "keyToEnv"));
    jval *k;
    while (jv_next(&it, NULL, &k)) {
        const char *key = jv_str(jv_get(k, secret ? "secretKey" : "configMapKey")), *var = jv_str(jv_get(k, "envVar"));
        if (str_empty(key) || str_empty(var))
            return bad(b, "an environment variable from %s needs a key and envVar", name);
        add_key_env(b, var, secret, name, key, jv_bool(jv_get(e, "optional"), false));
    }
    return 0;
}

static int secret_env(struct pod_build *b, jval *e)
{
    const char *name;
    int rc = name_of(b, e, "secretNameParameter", "secretName", &name);
    return rc <= 0 ? rc : keys_env(b, e, true, name);
}

static int config_map_env(struct pod_build *b, jval *e)
{
    const char *name;
    int rc = name_of(b, e, "configMapNameParameter", "configMapName", &name);
    return rc <= 0 ? rc : keys_env(b, e, false, name);
}

static int field_env(struct pod_build *b, jval *e)
{
    const char *name = jv_str(jv_get(e, "name")), *path = jv_str(jv_get(e, "fieldPath"));
    if (str_empty(name) || str_empty(path))
        return bad(b, "fieldPathAsEnv needs name and fieldPath");
    jmval *v = jm_obj(b->m);
    env_var_set_name(b->m, v, name);
    object_field_selector_set_field_path(b->m, env_var_source_make_field_ref(b->m, env_var_make_value_from(b->m, v)), path);
    jm_push(container_make_env(b->m, b->main), v);
    return 0;
}

/* ---- other volumes -------------------------------------------------------------------------------------------- */

static int claim(struct pod_build *b, jval *e)
{
    const char *name, *path = jv_str(jv_get(e, "mountPath"));
    int rc = name_of(b, e, "pvcNameParameter", "constant", &name);
    if (rc <= 0)
        return rc;
    if (str_empty(path))
        return bad(b, "volume claim %s has no mountPath", name);
    if (b->place && str_eq(name, b->place->claim))
        return bad(b, "volume claim %s holds what belongs to all runs: a step sees its own part of it only", name);
    jmval *v = mounted_volume(b, name, path, jv_str(jv_get(e, "subPath")));
    if (v)
        persistent_volume_claim_volume_source_set_claim_name(b->m, volume_make_persistent_volume_claim(b->m, v), name);
    return 0;
}

static int empty_dir(struct pod_build *b, jval *e)
{
    const char *name = jv_str(jv_get(e, "volumeName")), *path = jv_str(jv_get(e, "mountPath"));
    if (str_empty(name) || str_empty(path))
        return bad(b, "emptyDirMounts needs volumeName and mountPath");
    jmval *v = mounted_volume(b, name, path, NULL);
    if (v) {
        jmval *source = volume_make_empty_dir(b->m, v);
        const char *medium = jv_str(jv_get(e, "medium")), *limit = jv_str(jv_get(e, "sizeLimit"));
        if (!str_empty(medium))
            empty_dir_volume_source_set_medium(b->m, source, medium);
        if (!str_empty(limit))
            empty_dir_volume_source_set_size_limit(b->m, source, limit);
    }
    return 0;
}

static int ephemeral(struct pod_build *b, jval *e)
{
    const char *name = jv_str(jv_get(e, "volumeName")), *path = jv_str(jv_get(e, "mountPath")), *size = jv_str(jv_get(e, "size"));
    jval *class = jv_get(e, "storageClassName"), *meta = persistent_volume_claim_template_metadata(e); /* the same name */
    if (str_empty(name) || str_empty(path) || str_empty(size) || !jv_len(jv_get(e, "accessModes")))
        return bad(b, "genericEphemeralVolume needs volumeName, mountPath, accessModes and size");
    jmval *v = mounted_volume(b, name, path, NULL);
    if (v) {
        jmval *template = ephemeral_volume_source_make_volume_claim_template(b->m, volume_make_ephemeral(b->m, v));
        jmval *spec = persistent_volume_claim_template_make_spec(b->m, template);
        persistent_volume_claim_spec_set_access_modes(b->m, spec, jm_val(b->m, jv_get(e, "accessModes")));
        jmval *resources = persistent_volume_claim_spec_make_resources(b->m, spec);
        jm_put(b->m, volume_resource_requirements_make_requests(b->m, resources), "storage", jm_str(b->m, size));
        if (!jv_bool(jv_get(e, "defaultStorageClass"), false) && jv_str(class))
            persistent_volume_claim_spec_set_storage_class_name(b->m, spec, jv_str(class));
        if (jv_len(object_meta_labels(meta)))
            object_meta_set_labels(b->m, persistent_volume_claim_template_make_metadata(b->m, template),
                                   jm_val(b->m, object_meta_labels(meta)));
        if (jv_len(object_meta_annotations(meta)))
            object_meta_set_annotations(b->m, persistent_volume_claim_template_make_metadata(b->m, template),
                                        jm_val(b->m, object_meta_annotations(meta)));
    }
    return 0;
}

static int shared_memory(struct pod_build *b, jval *e)
{
    if (!jv_is(e, J_OBJECT))
        return 0;
    const char *name = jv_str_or(jv_get(e, "volumeName"), "shm"), *size = jv_str(jv_get(e, "size"));
    jmval *v = mounted_volume(b, name, "/dev/shm", NULL);
    if (v) {
        jmval *source = volume_make_empty_dir(b->m, v);
        empty_dir_volume_source_set_medium(b->m, source, "Memory");
        if (!str_empty(size))
            empty_dir_volume_source_set_size_limit(b->m, source, size);
    }
    return 0;
}

/* ---- where and how it runs ------------------------------------------------------------------------------------ */

static int node_selector(struct pod_build *b, jval *e)
{
    jval *labels = jv_get(e, "nodeSelectorJson");
    if (!jv_present(labels))
        labels = object_meta_labels(e); /* the same name */
    if (!jv_present(labels))
        return 0;
    if (!jv_is(labels, J_OBJECT))
        return bad(b, "nodeSelector must be an object of labels, got %s", jtype_name(jv_type(labels)));
    if (jv_len(labels) > 0)
        pod_spec_set_node_selector(b->m, b->spec, jm_val(b->m, labels));
    return 0;
}

static int add_toleration(struct pod_build *b, jval *e)
{
    if (!jv_is(e, J_OBJECT))
        return bad(b, "a toleration must be an object, got %s", jtype_name(jv_type(e)));
    jmval *t = jm_obj(b->m);
    static const char *const text[] = {"key", "operator", "value", "effect"};
    for (size_t k = 0; k < ARRAY_LEN(text); k++)
        if (!str_empty(jv_str(jv_get(e, text[k]))))
            jm_put(b->m, t, text[k], jm_val(b->m, jv_get(e, text[k])));
    jval *seconds = jv_get(e, "tolerationSeconds");
    int64_t s;
    if (jv_i64(seconds, &s) || (jv_str(seconds) && str_to_i64(jv_str(seconds), &s)))
        toleration_set_toleration_seconds(b->m, t, s);
    if (jmv_len(t) > 0)
        jm_push(pod_spec_make_tolerations(b->m, b->spec), t);
    return 0;
}

static int toleration(struct pod_build *b, jval *e)
{
    jval *json = jv_get(e, "tolerationJson");
    if (!json)
        return add_toleration(b, e);
    if (jv_is(json, J_NULL))
        return 0;
    return jv_is(json, J_ARRAY) ? pod_each(b, e, "tolerationJson", add_toleration) : add_toleration(b, json);
}

static int pull_secret(struct pod_build *b, jval *e)
{
    const char *name;
    int rc = name_of(b, e, "secretNameParameter", "secretName", &name);
    if (rc <= 0)
        return rc;
    jmval *ref = jm_obj(b->m);
    object_meta_set_name(b->m, ref, name); /* a LocalObjectReference is a name only */
    jm_push(pod_spec_make_image_pull_secrets(b->m, b->spec), ref);
    return 0;
}

static int pull_policy(struct pod_build *b, jval *v)
{
    const char *p = jv_str(v);
    if (str_empty(p))
        return 0;
    if (!str_eq(p, "Always") && !str_eq(p, "Never") && !str_eq(p, "IfNotPresent"))
        return bad(b, "imagePullPolicy must be Always, Never or IfNotPresent, got \"%s\"", p);
    container_set_image_pull_policy(b->m, b->main, p);
    if (b->fill)
        container_set_image_pull_policy(b->m, b->fill, p);
    return 0;
}

static int security(struct pod_build *b, jval *v)
{
    jmval *const containers[] = {b->main, b->fill};
    int64_t user = -1, group = -1;
    jval *u = jv_get(v, "runAsUser"), *g = jv_get(v, "runAsGroup"), *n = jv_get(v, "runAsNonRoot");
    bool has_user = jv_i64(u, &user) || (jv_str(u) && str_to_i64(jv_str(u), &user));
    bool has_group = jv_i64(g, &group) || (jv_str(g) && str_to_i64(jv_str(g), &group));
    for (size_t k = 0; k < ARRAY_LEN(containers) && containers[k]; k++) {
        jmval *sc = container_make_security_context(b->m, containers[k]);
        if (has_user)
            security_context_set_run_as_user(b->m, sc, user);
        if (has_group)
            security_context_set_run_as_group(b->m, sc, group);
        if (jv_is(n, J_BOOL))
            security_context_set_run_as_non_root(b->m, sc, jv_bool(n, false));
    }
    if (user == 0 && jv_bool(n, false))
        return bad(b, "securityContext asks for runAsUser 0 and runAsNonRoot at the same time");
    return 0;
}

static int deadline(struct pod_build *b, jval *v)
{
    int64_t s = 0;
    if (!jv_i64(v, &s) && !(jv_str(v) && str_to_i64(jv_str(v), &s)))
        return 0;
    if (s < 0)
        return bad(b, "activeDeadlineSeconds must not be negative, got %lld", (long long)s);
    if (s > 0)
        pod_spec_set_active_deadline_seconds(b->m, b->spec, s);
    return 0;
}

static void user_metadata(struct pod_build *b, jval *v)
{
    jmval *meta = pod_make_metadata(b->m, b->pod);
    jmval *const to[] = {object_meta_make_labels(b->m, meta), object_meta_make_annotations(b->m, meta)};
    jval *const from[] = {object_meta_labels(v), object_meta_annotations(v)}; /* the same two names */
    for (size_t k = 0; k < ARRAY_LEN(to); k++) {
        struct jiter it = jv_iter(from[k]);
        const char *key;
        jval *x;
        while (jv_is(from[k], J_OBJECT) && jv_next(&it, &key, &x))
            if (jv_str(x))
                jm_put(b->m, to[k], key, jm_val(b->m, x));
    }
}

int pod_apply_config(struct pod_build *b, jval *config)
{
    user_metadata(b, jv_get(config, "podMetadata"));
    if (pod_each(b, config, "secretAsVolume", secret_volume) < 0 || pod_each(b, config, "secretAsEnv", secret_env) < 0 ||
        pod_each(b, config, "configMapAsVolume", config_map_volume) < 0 ||
        pod_each(b, config, "configMapAsEnv", config_map_env) < 0 || pod_each(b, config, "fieldPathAsEnv", field_env) < 0 ||
        pod_each(b, config, "pvcMount", claim) < 0 || pod_each(b, config, "emptyDirMounts", empty_dir) < 0 ||
        pod_each(b, config, "genericEphemeralVolume", ephemeral) < 0 ||
        shared_memory(b, jv_get(config, "enabledSharedMemory")) < 0 || node_selector(b, jv_get(config, "nodeSelector")) < 0 ||
        pod_each(b, config, "tolerations", toleration) < 0 || pod_apply_affinity(b, config) < 0 ||
        pod_each(b, config, "imagePullSecret", pull_secret) < 0 || pull_policy(b, jv_get(config, "imagePullPolicy")) < 0 ||
        security(b, jv_get(config, "securityContext")) < 0)
        return -1;
    if (pod_apply_init_containers(b, config) < 0)
        return -1;
    return deadline(b, jv_get(config, "activeDeadlineSeconds"));
}
