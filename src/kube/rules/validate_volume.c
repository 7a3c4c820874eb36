/* Volumes of pods. Sources that the program does not serve are checked for their shape only. */
#include <stdlib.h>

#include "kube/fields.h"
#include "kube/object.h"
#include "kube/rules/validate_priv.h"
#include "value/quantity.h"

static void check_relative(struct faults *f, const char *member, const char *path)
{
    if (!*path)
        fault_required(f, member, NULL);
    else if (*path == '/')
        fault_invalid_str(f, member, path, "must be a relative path");
    for (const char *p = path; p && *p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL)
        if (str_starts(p, "..") && (!p[2] || p[2] == '/')) {
            fault_invalid_str(f, member, path, "must not contain '..'");
            break;
        }
    if (str_starts(path, "..") && path[2] && path[2] != '/')
        fault_invalid_str(f, member, path, "must not start with '..'");
}

static void check_mode(struct faults *f, const char *member, jval *mode)
{
    int64_t n;
    if (jv_i64(mode, &n) && (n < 0 || n > 0777))
        fault_invalid_i64(f, member, n, "must be a number between 0 and 0777 (octal), both inclusive");
}

static void check_items(struct faults *f, jval *items)
{
    for (size_t i = 0, n = jv_is(items, J_ARRAY) ? jv_len(items) : 0; i < n; i++) {
        jval *item = jv_at(items, i);
        size_t at = validate_push_item(f, "items", i);
        if (str_empty(key_to_path_key(item)))
            fault_required(f, "key", NULL);
        check_relative(f, "path", jv_str_or(jv_get(item, "path"), ""));
        check_mode(f, "mode", jv_get(item, "mode"));
        fault_pop(f, at);
    }
}

static void check_downward(struct faults *f, jval *items)
{
    for (size_t i = 0, n = jv_is(items, J_ARRAY) ? jv_len(items) : 0; i < n; i++) {
        jval *item = jv_at(items, i), *field = downward_api_volume_file_field_ref(item),
             *resource = downward_api_volume_file_resource_field_ref(item);
        size_t at = fault_push(f, "items");
        check_relative(f, "path", jv_str_or(jv_get(item, "path"), ""));
        if (jv_is(field, J_OBJECT))
            validate_field_ref(f, field, true);
        if (jv_is(field, J_OBJECT) && jv_is(resource, J_OBJECT))
            fault_invalid_str(f, NULL, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
        else if (jv_is(resource, J_OBJECT))
            validate_resource_field_ref(f, resource, true);
        else if (!jv_is(field, J_OBJECT))
            fault_required(f, NULL, "one of fieldRef and resourceFieldRef is required");
        check_mode(f, "mode", jv_get(item, "mode"));
        fault_pop(f, at);
    }
}

static void check_token(struct faults *f, jval *t)
{
    int64_t seconds = service_account_token_projection_expiration_seconds(t, 3600);
    const char *path = jv_str_or(jv_get(t, "path"), "");
    if (seconds < 600)
        fault_invalid_i64(f, "expirationSeconds", seconds, "may not specify a duration less than 10 minutes");
    if (seconds > (1LL << 32))
        fault_invalid_i64(f, "expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds");
    check_relative(f, "path", path);
}

static void check_projected(struct faults *f, jval *p)
{
    jval *sources = projected_volume_source_sources(p);
    static const char *const kinds[] = {"secret",        "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle",
                                        "podCertificate"};
    check_mode(f, "defaultMode", jv_get(p, "defaultMode"));
    for (size_t i = 0, n = jv_is(sources, J_ARRAY) ? jv_len(sources) : 0; i < n; i++) {
        jval *s = jv_at(sources, i);
        size_t found = 0, at = validate_push_item(f, "sources", i);
        for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
            jval *x = jv_get(s, kinds[k]);
            if (!jv_is(x, J_OBJECT))
                continue;
            if (found++) {
                fault_forbidden(f, kinds[k], "may not specify more than 1 volume type per source");
                continue;
            }
            size_t kat = fault_push(f, kinds[k]);
            if (k < 2 && str_empty(jv_str(jv_get(x, "name"))))
                fault_required(f, "name", NULL);
            if (k < 2)
                check_items(f, jv_get(x, "items"));
            else if (k == 2)
                check_downward(f, downward_api_projection_items(x));
            else if (k == 3)
                check_token(f, x);
            fault_pop(f, kat);
        }
        if (!found)
            fault_required(f, NULL, "must specify a volume type");
        fault_pop(f, at);
    }
}

static void check_empty_dir(struct faults *f, jval *v)
{
    jval *limit = jv_get(v, "sizeLimit");
    const char *text = jv_is(limit, J_NUMBER) ? jv_num_text(limit) : jv_str(limit);
    struct quantity q;
    if (text && quantity_parse(text, &q, NULL) == 0 && q.nano < 0)
        fault_forbidden(f, "sizeLimit", "SizeLimit field must be a valid resource quantity");
}

static void check_host_path(struct faults *f, jval *v)
{
    static const char *const types[] = {"",     "BlockDevice",  "CharDevice", "Directory", "DirectoryOrCreate",
                                        "File", "FileOrCreate", "Socket",     NULL};
    const char *path = jv_str_or(jv_get(v, "path"), ""), *type = jv_str_or(jv_get(v, "type"), "");
    bool known = false;
    if (!*path)
        fault_required(f, "path", NULL);
    for (const char *p = path; p && *p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL)
        if (str_starts(p, "..") && (!p[2] || p[2] == '/')) {
            fault_invalid_str(f, "path", path, "must not contain '..'");
            break;
        }
    for (size_t i = 0; types[i]; i++)
        known |= str_eq(types[i], type);
    if (!known)
        fault_unsupported(f, "type", type, types);
}

static void check_source(struct faults *f, const char *kind, jval *v)
{
    size_t at = fault_push(f, kind);
    if (str_eq(kind, "emptyDir")) {
        check_empty_dir(f, v);
    } else if (str_eq(kind, "hostPath")) {
        check_host_path(f, v);
    } else if (str_eq(kind, "image")) {
        static const char *const pull[] = {"Always", "IfNotPresent", "Never", NULL};
        if (str_empty(image_volume_source_reference(v)))
            fault_required(f, "reference", NULL);
        validate_enum(f, "pullPolicy", image_volume_source_pull_policy(v), pull);
    } else if (str_eq(kind, "secret") || str_eq(kind, "configMap")) {
        const char *member = str_eq(kind, "secret") ? "secretName" : "name";
        if (str_empty(jv_str(jv_get(v, member))))
            fault_required(f, member, NULL);
        check_mode(f, "defaultMode", jv_get(v, "defaultMode"));
        check_items(f, jv_get(v, "items"));
    } else if (str_eq(kind, "downwardAPI")) {
        check_mode(f, "defaultMode", jv_get(v, "defaultMode"));
        check_downward(f, downward_api_volume_source_items(v));
    } else if (str_eq(kind, "projected")) {
        check_projected(f, v);
    } else if (str_eq(kind, "persistentVolumeClaim")) {
        if (str_empty(persistent_volume_claim_volume_source_claim_name(v)))
            fault_required(f, "claimName", NULL);
    }
    fault_pop(f, at);
}

void validate_volumes(struct faults *f, jval *volumes, struct strmap *names)
{
    for (size_t i = 0, n = jv_is(volumes, J_ARRAY) ? jv_len(volumes) : 0; i < n; i++) {
        jval *v = jv_at(volumes, i), *source;
        const char *name = jv_str_or(jv_get(v, "name"), ""), *kind;
        size_t at = validate_push_item(f, "volumes", i), sources = 0, before = f->texts.n;
        struct jiter it = jv_iter(v);
        while (jv_next(&it, &kind, &source)) {
            if (str_eq(kind, "name") || !jv_present(source))
                continue;
            if (sources++)
                fault_forbidden(f, kind, "may not specify more than 1 volume type");
            else
                check_source(f, kind, source);
        }
        if (!sources)
            fault_required(f, NULL, "must specify a volume type");
        if (!*name)
            fault_required(f, "name", NULL);
        else
            validate_name(f, "name", name, name_dns1123_label(name));
        if (*name && strmap_has(names, name))
            fault_duplicate_str(f, "name", name);
        if (f->texts.n == before)
            strmap_put(names, name, (void *)v);
        fault_pop(f, at);
    }
}
