#include "cluster/node/env.h"

#include <stdlib.h>
#include <string.h>

#include "cluster/node/network/podnet.h"
#include "cluster/node/network/services.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/names.h"
#include "kube/object.h"
#include "value/quantity.h"

/* ---- downward API --------------------------------------------------------------------------------------------------- */

static char *map_lines(jval *map)
{
    BUF(b);
    struct jiter it = jv_iter(map);
    const char *k;
    jval *v;
    while (jv_next(&it, &k, &v)) {
        const char *s = jv_str_or(v, "");
        buf_addf(&b, "%s%s=", b.len ? "\n" : "", k);
        json_quote(&b, s, strlen(s));
    }
    return buf_steal(&b, NULL);
}

/* "metadata.labels['k']": the k, or NULL. The caller frees. */
static char *subscript(const char *path, const char *field)
{
    size_t n = strlen(field), len = strlen(path);
    if (strncmp(path, field, n) != 0 || len < n + 4 || strncmp(path + n, "['", 2) != 0 || !str_eq(path + len - 2, "']"))
        return NULL;
    return xstrndup(path + n + 2, len - n - 4);
}

char *downward_field(const struct pod_facts *f, const char *path, bool maps, struct err *err)
{
    jval *spec = pod_spec(f->pod);
    const struct {
        const char *path, *value;
    } plain[] = {
        {"metadata.name", obj_name(f->pod)},
        {"metadata.namespace", obj_namespace(f->pod)},
        {"metadata.uid", obj_uid(f->pod)},
        {"spec.nodeName", f->node_name},
        {"spec.serviceAccountName", pod_spec_service_account_name(spec)},
        {"status.hostIP", f->host_ip},
        {"status.hostIPs", f->host_ip},
        {"status.podIP", f->pod_ip},
        {"status.podIPs", f->pod_ip},
    };
    for (size_t i = 0; i < ARRAY_LEN(plain); i++)
        if (str_eq(path, plain[i].path))
            return xstrdup(plain[i].value ? plain[i].value : "");
    AUTOFREE char *label = subscript(path, "metadata.labels"), *annotation = subscript(path, "metadata.annotations");
    if (label)
        return xstrdup(jv_str_or(jv_get(obj_labels(f->pod), label), ""));
    if (annotation)
        return xstrdup(jv_str_or(jv_get(obj_annotations(f->pod), annotation), ""));
    if (maps && str_eq(path, "metadata.labels"))
        return map_lines(obj_labels(f->pod));
    if (maps && str_eq(path, "metadata.annotations"))
        return map_lines(obj_annotations(f->pod));
    err_set(err, ERR_PRECONDITION, "unsupported fieldPath: %s", path);
    return NULL;
}

static jval *container_named(jval *pod, const char *name)
{
    jval *lists[] = {pod_spec_containers(pod_spec(pod)), pod_spec_init_containers(pod_spec(pod))};
    for (size_t l = 0; l < ARRAY_LEN(lists); l++)
        for (size_t i = 0; i < jv_len(lists[l]); i++)
            if (str_eq(container_name(jv_at(lists[l], i)), name))
                return jv_at(lists[l], i);
    return NULL;
}

static bool get_quantity(jval *map, const char *key, struct quantity *q)
{
    const char *s = jv_str(jv_get(map, key));
    return s && quantity_parse(s, q, NULL) == 0;
}

char *downward_resource(const struct pod_facts *f, jval *ref, const char *container, struct err *err)
{
    const char *resource = jv_str_or(jv_get(ref, "resource"), "");
    const char *name = resource_field_selector_container_name(ref);
    jval *c = container_named(f->pod, str_empty(name) ? container : name);
    if (!c) {
        err_set(err, ERR_PRECONDITION, "container %s not found", name);
        return NULL;
    }
    const char *dot = strchr(resource, '.');
    bool limit = str_starts(resource, "limits.");
    if (!dot || (!limit && !str_starts(resource, "requests."))) {
        err_set(err, ERR_PRECONDITION, "unsupported container resource : %s", resource);
        return NULL;
    }
    jval *res = container_resources(c);
    struct quantity q, divisor;
    if (!get_quantity(limit ? resource_requirements_limits(res) : resource_requirements_requests(res), dot + 1, &q)) {
        q = (struct quantity){0};
        if (limit && str_eq(dot + 1, "cpu"))
            q.nano = (__int128)f->node_cpu_milli * 1000000;
        else if (limit && str_eq(dot + 1, "memory"))
            q.nano = (__int128)f->node_memory * 1000000000;
    }
    const char *d = jv_str(jv_get(ref, "divisor"));
    if (!d || quantity_parse(d, &divisor, NULL) < 0 || divisor.nano <= 0)
        divisor.nano = 1000000000;
    return xasprintf("%lld", (long long)((q.nano + divisor.nano - 1) / divisor.nano));
}

/* ---- expansion -------------------------------------------------------------------------------------------------------- */

char *env_expand(const char *text, const struct strmap *vars)
{
    BUF(b);
    for (const char *s = text; *s;) {
        if (s[0] == '$' && s[1] == '$') {
            buf_addc(&b, '$');
            s += 2;
            continue;
        }
        const char *end = s[0] == '$' && s[1] == '(' ? strchr(s + 2, ')') : NULL;
        if (!end) {
            buf_addc(&b, *s++);
            continue;
        }
        AUTOFREE char *name = xstrndup(s + 2, (size_t)(end - s - 2));
        const char *value = strmap_get(vars, name);
        if (value)
            buf_adds(&b, value);
        else
            buf_add(&b, s, (size_t)(end - s + 1));
        s = end + 1;
    }
    return buf_steal(&b, NULL);
}

/* ---- sources ------------------------------------------------------------------------------------------------------------ */

/* A ConfigMap or Secret; NULL without an error when it is optional and missing. */
static struct json *get_source(struct kube *kube, const struct ctx *ctx, const struct kube_res *res, const char *ns,
                               const char *name, bool optional, struct err *err)
{
    ERR(e);
    struct json *o = kube_get(kube, ctx, res, ns, name, NULL, &e);
    if (o || (e.code == ERR_NOT_FOUND && optional))
        return o;
    if (e.code == ERR_NOT_FOUND)
        err_set(err, ERR_PRECONDITION, "%s \"%s\" not found", res == &KUBE_SECRETS ? "secret" : "configmap", name);
    else
        err_move(err, &e);
    return NULL;
}

/* Value of a key as text; NULL when it is missing. Environment values end at a NUL. The caller frees. */
static char *key_value(jval *o, bool secret, const char *key)
{
    const char *s = jv_str(jv_get(secret ? secret_data(o) : config_map_data(o), key));
    if (!s)
        return NULL;
    if (!secret)
        return xstrdup(s);
    unsigned char *bytes;
    size_t n;
    if (base64_decode(s, strlen(s), &bytes, &n) < 0)
        return NULL;
    char *text = xstrndup((const char *)bytes, n);
    free(bytes);
    return text;
}

static int from_key(struct kube *kube, const struct ctx *ctx, const char *ns, jval *ref, bool secret, char **out, struct err *err)
{
    const char *name = jv_str_or(jv_get(ref, "name"), ""), *key = jv_str_or(jv_get(ref, "key"), "");
    bool optional = jv_bool(jv_get(ref, "optional"), false);
    ERR(e);
    JSON_REF(o) = get_source(kube, ctx, secret ? &KUBE_SECRETS : &KUBE_CONFIGMAPS, ns, name, optional, &e);
    if (!o)
        return e.code ? err_move(err, &e) : 0;
    *out = key_value(json_root(o), secret, key);
    if (!*out && !optional)
        return err_set(err, ERR_PRECONDITION, "couldn't find key %s in %s %s/%s", key, secret ? "Secret" : "ConfigMap", ns, name);
    return 0;
}

static int add_env_from(struct kube *kube, const struct ctx *ctx, const char *ns, jval *source, struct strmap *vars,
                        struct strlist *skipped, struct err *err)
{
    jval *ref = env_from_source_secret_ref(source);
    bool secret = ref != NULL;
    if (!secret)
        ref = env_from_source_config_map_ref(source);
    const char *name = jv_str_or(jv_get(ref, "name"), ""), *prefix = env_from_source_prefix(source);
    ERR(e);
    JSON_REF(o) =
        get_source(kube, ctx, secret ? &KUBE_SECRETS : &KUBE_CONFIGMAPS, ns, name, jv_bool(jv_get(ref, "optional"), false), &e);
    if (!o)
        return e.code ? err_move(err, &e) : 0;
    jval *data = secret ? secret_data(json_root(o)) : config_map_data(json_root(o));
    struct jiter it = jv_iter(data);
    const char *k;
    jval *v;
    STRLIST(bad);
    while (jv_next(&it, &k, &v)) {
        AUTOFREE char *full = xasprintf("%s%s", prefix ? prefix : "", k);
        if (name_env_var(full).n)
            strlist_add(&bad, full);
        else
            strmap_put(vars, full, key_value(json_root(o), secret, k));
    }
    if (bad.n) {
        AUTOFREE char *list = strlist_join(&bad, ", ");
        strlist_addf(
            skipped,
            "Keys [%s] from the EnvFrom %s %s/%s were skipped since they are considered invalid environment variable names.",
            list, secret ? "secret" : "configMap", ns, name);
    }
    return 0;
}

static int add_env(struct kube *kube, const struct ctx *ctx, const struct pod_facts *f, jval *container, jval *var,
                   struct strmap *vars, struct err *err)
{
    const char *ns = obj_namespace(f->pod), *name = env_var_name(var);
    jval *from = env_var_value_from(var);
    char *value = NULL;
    if (!from) {
        strmap_put(vars, name, env_expand(env_var_value(var) ? env_var_value(var) : "", vars));
        return 0;
    }
    if (env_var_source_field_ref(from)) {
        value = downward_field(f, jv_str_or(jv_get(env_var_source_field_ref(from), "fieldPath"), ""), false, err);
        if (!value)
            return -1;
    } else if (env_var_source_resource_field_ref(from)) {
        value = downward_resource(f, env_var_source_resource_field_ref(from), container_name(container), err);
        if (!value)
            return -1;
    } else if (env_var_source_config_map_key_ref(from)) {
        if (from_key(kube, ctx, ns, env_var_source_config_map_key_ref(from), false, &value, err) < 0)
            return -1;
    } else if (env_var_source_secret_key_ref(from)) {
        if (from_key(kube, ctx, ns, env_var_source_secret_key_ref(from), true, &value, err) < 0)
            return -1;
    } else {
        return err_set(err, ERR_PRECONDITION, "environment variable %s: this node does not serve this source yet", name);
    }
    if (value)
        strmap_put(vars, name, value);
    return 0;
}

/* KUBERNETES_* of Service default/kubernetes, which every pod gets. */
static void add_kubernetes(const char *ip, struct strmap *vars)
{
    static const char *const hosts[] = {"KUBERNETES_SERVICE_HOST", "KUBERNETES_PORT_443_TCP_ADDR"};
    static const char *const urls[] = {"KUBERNETES_PORT", "KUBERNETES_PORT_443_TCP"};
    static const char *const ports[] = {"KUBERNETES_SERVICE_PORT", "KUBERNETES_SERVICE_PORT_HTTPS",
                                        "KUBERNETES_PORT_443_TCP_PORT"};
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
        strmap_put(vars, hosts[i], xstrdup(ip));
    for (size_t i = 0; i < ARRAY_LEN(urls); i++)
        strmap_put(vars, urls[i], xasprintf("tcp://%s:443", ip));
    for (size_t i = 0; i < ARRAY_LEN(ports); i++)
        strmap_put(vars, ports[i], xstrdup("443"));
    strmap_put(vars, "KUBERNETES_PORT_443_TCP_PROTO", xstrdup("tcp"));
}

int env_build(struct kube *kube, const struct ctx *ctx, const struct pod_facts *f, jval *container,
              const struct image_info *image, const char *hostname, const char *home, struct strmap *vars,
              struct strlist *skipped, struct err *err)
{
    strmap_put(vars, "HOSTNAME", xstrdup(hostname));
    strmap_put(vars, "HOME", xstrdup(home));
    for (size_t i = 0; i < image->env.n; i++) {
        const char *eq = strchr(image->env.v[i], '=');
        if (!eq)
            continue;
        AUTOFREE char *name = xstrndup(image->env.v[i], (size_t)(eq - image->env.v[i]));
        strmap_put(vars, name, xstrdup(eq + 1));
    }
    if (pod_spec_enable_service_links(pod_spec(f->pod), true))
        service_net_env(f->services, obj_namespace(f->pod), vars);
    add_kubernetes(f->api_ip, vars);
    jval *from = container_env_from(container), *env = container_env(container);
    for (size_t i = 0; i < jv_len(from); i++)
        if (add_env_from(kube, ctx, obj_namespace(f->pod), jv_at(from, i), vars, skipped, err) < 0)
            return -1;
    for (size_t i = 0; i < jv_len(env); i++)
        if (add_env(kube, ctx, f, container, jv_at(env, i), vars, err) < 0)
            return -1;
    return 0;
}

static void add_expanded(jval *list, const struct strmap *vars, struct strlist *out)
{
    for (size_t i = 0; i < jv_len(list); i++)
        strlist_take(out, env_expand(jv_str_or(jv_at(list, i), ""), vars));
}

int env_command(jval *container, const struct image_info *image, const struct strmap *vars, struct strlist *out, struct err *err)
{
    jval *command = container_command(container), *args = container_args(container);
    if (jv_len(command))
        add_expanded(command, vars, out);
    else
        for (size_t i = 0; i < image->entrypoint.n; i++)
            strlist_add(out, image->entrypoint.v[i]);
    if (jv_len(args))
        add_expanded(args, vars, out);
    else if (!jv_len(command))
        for (size_t i = 0; i < image->cmd.n; i++)
            strlist_add(out, image->cmd.v[i]);
    if (!out->n)
        return err_set(err, ERR_PRECONDITION, "no command specified: image %s has none of its own", container_image(container));
    return 0;
}
