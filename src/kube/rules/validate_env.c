/* The environment of containers, and the references to fields that volumes have as well. */
#include <stdlib.h>

#include "kube/fields.h"
#include "kube/rules/validate_priv.h"
#include "value/quantity.h"

/* The key in metadata.labels['key'] or metadata.annotations['key']; NULL when the path has no such form. The caller frees. */
static char *subscript(const char *path, bool *label)
{
    const char *open = strchr(path, '['), *start;
    size_t n = strlen(path);
    *label = str_starts(path, "metadata.labels[");
    if (!open || (!*label && !str_starts(path, "metadata.annotations[")) || open[1] != '\'' || n < 4 ||
        strcmp(path + n - 2, "']") != 0)
        return NULL;
    start = open + 2;
    return path + n - 2 >= start ? xstrndup(start, (size_t)(path + n - 2 - start)) : NULL;
}

static bool one_of(const char *s, const char *const *list)
{
    for (size_t i = 0; list[i]; i++)
        if (str_eq(list[i], s))
            return true;
    return false;
}

void validate_field_ref(struct faults *f, jval *ref, bool volume)
{
    static const char *const for_env[] = {
        "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
        "status.hostIP", "status.hostIPs",     "status.podIP", "status.podIPs", NULL};
    static const char *const for_volume[] = {"metadata.annotations", "metadata.labels", "metadata.name",
                                             "metadata.namespace",   "metadata.uid",    NULL};
    static const char *const known[] = {
        "metadata.name",      "metadata.namespace", "metadata.uid",       "metadata.annotations",
        "metadata.labels",    "spec.nodeName",      "spec.restartPolicy", "spec.serviceAccountName",
        "spec.schedulerName", "spec.hostNetwork",   "status.phase",       "status.hostIP",
        "status.hostIPs",     "status.podIP",       "status.podIPs",      NULL};
    const char *path = jv_str_or(jv_get(ref, "fieldPath"), "");
    bool label;
    size_t at = fault_push(f, "fieldRef");
    AUTOFREE char *key = subscript(path, &label);
    if (str_empty(jv_str(jv_get(ref, "apiVersion"))))
        fault_required(f, "apiVersion", NULL);
    else if (!*path)
        fault_required(f, "fieldPath", NULL);
    else if (key)
        validate_name(f, NULL, key, name_qualified(key));
    else if (!one_of(path, known) || (!volume && (str_eq(path, "metadata.annotations") || str_eq(path, "metadata.labels"))))
        fault_invalid_str(f, "fieldPath", path, "error converting fieldPath: field label not supported: %s", path);
    else if (!one_of(path, volume ? for_volume : for_env))
        fault_unsupported(f, "fieldPath", path, volume ? for_volume : for_env);
    fault_pop(f, at);
}

static void check_divisor(struct faults *f, const char *resource, jval *divisor)
{
    static const struct {
        const char *suffix, *allowed, *text;
    } rules[] = {
        {".cpu", " 1m 1 ", "only divisor's values 1m and 1 are supported with the cpu resource"},
        {".memory", " 1 1k 1M 1G 1T 1P 1E 1Ki 1Mi 1Gi 1Ti 1Pi 1Ei ",
         "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource"},
        {".ephemeral-storage", " 1 1k 1M 1G 1T 1P 1E 1Ki 1Mi 1Gi 1Ti 1Pi 1Ei ",
         "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the local ephemeral "
         "storage resource"},
    };
    const char *given = jv_is(divisor, J_NUMBER) ? jv_num_text(divisor) : jv_str(divisor);
    struct quantity q;
    char text[QUANTITY_TEXT_MAX];
    if (str_empty(given) || quantity_parse(given, &q, NULL) < 0 || q.nano == 0)
        return;
    AUTOFREE char *padded = xasprintf(" %s ", quantity_format(&q, text));
    for (size_t i = 0; i < ARRAY_LEN(rules); i++)
        if (str_ends(resource, rules[i].suffix) && !strstr(rules[i].allowed, padded))
            fault_invalid_str(f, "divisor", resource, "%s", rules[i].text);
}

void validate_resource_field_ref(struct faults *f, jval *ref, bool volume)
{
    static const char *const resources[] = {"limits.cpu",
                                            "limits.ephemeral-storage",
                                            "limits.memory",
                                            "requests.cpu",
                                            "requests.ephemeral-storage",
                                            "requests.memory",
                                            NULL};
    const char *resource = jv_str_or(jv_get(ref, "resource"), "");
    size_t at = fault_push(f, "resourceFieldRef");
    if (volume && str_empty(resource_field_selector_container_name(ref)))
        fault_required(f, "containerName", NULL);
    else if (!*resource)
        fault_required(f, "resource", NULL);
    else if (!one_of(resource, resources) && !str_starts(resource, "limits.hugepages-") &&
             !str_starts(resource, "requests.hugepages-"))
        fault_unsupported(f, "resource", resource, resources);
    check_divisor(f, resource, jv_get(ref, "divisor"));
    fault_pop(f, at);
}

static void check_key_ref(struct faults *f, const char *member, jval *ref)
{
    const char *name = jv_str_or(jv_get(ref, "name"), ""), *key = jv_str_or(jv_get(ref, "key"), "");
    size_t at = fault_push(f, member);
    validate_name(f, "name", name, name_dns1123_subdomain(name));
    if (!*key)
        fault_required(f, "key", NULL);
    else
        validate_name(f, "key", key, name_config_key(key));
    fault_pop(f, at);
}

static void check_value_from(struct faults *f, jval *from, const char *value)
{
    static const char *const members[] = {"fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef"};
    size_t sources = 0, at = fault_push(f, "valueFrom");
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        jval *ref = jv_get(from, members[i]);
        if (!jv_is(ref, J_OBJECT))
            continue;
        sources++;
        if (i == 0)
            validate_field_ref(f, ref, false);
        else if (i == 1)
            validate_resource_field_ref(f, ref, false);
        else
            check_key_ref(f, members[i], ref);
    }
    if (sources == 0)
        fault_invalid_str(f, NULL, "",
                          "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`");
    else if (!str_empty(value))
        fault_invalid_str(f, NULL, "", "may not be specified when `value` is not empty");
    else if (sources > 1)
        fault_invalid_str(f, NULL, "", "may not have more than one field specified at a time");
    fault_pop(f, at);
}

static void check_env_from(struct faults *f, jval *list)
{
    static const char *const members[] = {"configMapRef", "secretRef"};
    for (size_t i = 0, n = jv_is(list, J_ARRAY) ? jv_len(list) : 0; i < n; i++) {
        jval *e = jv_at(list, i);
        const char *prefix = jv_str_or(jv_get(e, "prefix"), "");
        size_t at = validate_push_item(f, "envFrom", i), sources = 0;
        if (*prefix)
            validate_name(f, "prefix", prefix, name_env_var(prefix));
        for (size_t m = 0; m < ARRAY_LEN(members); m++) {
            jval *ref = jv_get(e, members[m]);
            const char *name = jv_str_or(jv_get(ref, "name"), "");
            if (!jv_is(ref, J_OBJECT))
                continue;
            sources++;
            size_t rat = fault_push(f, members[m]);
            if (!*name)
                fault_required(f, "name", NULL);
            else
                validate_name(f, "name", name, name_dns1123_subdomain(name));
            fault_pop(f, rat);
        }
        fault_pop(f, at);
        if (sources == 0)
            fault_invalid_str(f, "envFrom", "", "must specify one of: `configMapRef` or `secretRef`");
        else if (sources > 1)
            fault_invalid_str(f, "envFrom", "", "may not have more than one field specified at a time");
    }
}

void validate_env(struct faults *f, jval *container)
{
    jval *list = container_env(container);
    for (size_t i = 0, n = jv_is(list, J_ARRAY) ? jv_len(list) : 0; i < n; i++) {
        jval *e = jv_at(list, i);
        const char *name = jv_str_or(jv_get(e, "name"), "");
        size_t at = validate_push_item(f, "env", i);
        if (!*name)
            fault_required(f, "name", NULL);
        else
            validate_name(f, "name", name, name_env_var(name));
        if (jv_is(env_var_value_from(e), J_OBJECT))
            check_value_from(f, env_var_value_from(e), env_var_value(e));
        fault_pop(f, at);
    }
    check_env_from(f, container_env_from(container));
}
