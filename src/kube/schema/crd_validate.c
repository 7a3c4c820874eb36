/* The rules of CustomResourceDefinitions. Schemas, columns and subresources that are the same in all versions are reported where
 * Kubernetes keeps them then: at spec.validation, spec.additionalPrinterColumns, ... */
#include <ctype.h>
#include <stdlib.h>

#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "kube/rules/validate_priv.h"
#include "kube/schema/crd.h"

static void check_label(struct faults *f, const char *member, const char *value, bool any_case)
{
    if (str_empty(value)) {
        fault_required(f, member, NULL);
        return;
    }
    AUTOFREE char *lower = xstrdup(value);
    for (char *p = lower; any_case && *p; p++)
        *p = (char)tolower((unsigned char)*p);
    struct name_faults bad = name_dns1035_label(lower);
    if (bad.n && any_case)
        fault_invalid_str(f, member, value, "may have mixed case, but should otherwise match: %s", bad.text[0]);
    else if (bad.n) /* one fault, with all its texts, as upstream joins them */
        fault_invalid_str(f, member, value, "%s%s%s", bad.text[0], bad.n > 1 ? "," : "", bad.n > 1 ? bad.text[1] : "");
}

static void check_label_list(struct faults *f, const char *member, jval *list)
{
    for (size_t i = 0, n = jv_is(list, J_ARRAY) ? jv_len(list) : 0; i < n; i++) {
        size_t at = validate_push_item(f, member, i);
        const char *value = jv_str_or(jv_at(list, i), "");
        validate_name(f, NULL, value, name_dns1035_label(value));
        fault_pop(f, at);
    }
}

static void check_names(struct faults *f, jval *names)
{
    size_t at = fault_push(f, "names");
    const char *kind = jv_str_or(jv_get(names, "kind"), ""), *list_kind = jv_str_or(jv_get(names, "listKind"), "");
    check_label(f, "plural", jv_str(jv_get(names, "plural")), false);
    check_label(f, "singular", jv_str(jv_get(names, "singular")), false);
    check_label(f, "kind", kind, true);
    check_label(f, "listKind", list_kind, true);
    check_label_list(f, "shortNames", custom_resource_definition_names_short_names(names));
    if (*kind && str_eq(kind, list_kind))
        fault_invalid_str(f, "listKind", list_kind, "kind and listKind may not be the same");
    check_label_list(f, "categories", custom_resource_definition_names_categories(names));
    fault_pop(f, at);
}

static void check_group(struct faults *f, const char *group)
{
    if (!*group) {
        fault_required(f, "group", NULL);
        return;
    }
    validate_name(f, "group", group, name_dns1123_subdomain(group));
    if (name_dns1123_subdomain(group).n == 0 && !strchr(group, '.'))
        fault_invalid_str(f, "group", group, "should be a domain with at least one dot");
}

static void check_warning(struct faults *f, jval *version)
{
    jval *v = jv_get(version, "deprecationWarning");
    const char *text = jv_str(v);
    if (!text)
        return;
    if (!custom_resource_definition_version_deprecated(version, false))
        fault_invalid(f, "deprecationWarning", v, "can only be set for deprecated versions");
    if (jv_len(v) > 256)
        fault_too_long(f, "deprecationWarning", 256);
    if (jv_len(v) == 0)
        fault_invalid(f, "deprecationWarning", v, "must not be an empty string");
    for (size_t i = 0; text[i]; i++) {
        if ((unsigned char)text[i] >= ' ' && text[i] != 0x7f)
            continue;
        fault_invalid(f, "deprecationWarning", v,
                      "must only contain printable UTF-8 characters; non-printable character found at index %zu", i);
        return;
    }
}

/* ---- parts of a version
 * ----------------------------------------------------------------------------------------------------------- */

static bool simple_path(const char *path) { return *path == '.'; }

static void check_scale(struct faults *f, jval *subresources)
{
    jval *scale = custom_resource_subresources_scale(subresources);
    if (!jv_is(scale, J_OBJECT))
        return;
    size_t at = fault_push(f, "subresources.scale");
    static const struct {
        const char *member, *under;
    } paths[] = {{"specReplicasPath", ".spec"}, {"statusReplicasPath", ".status"}};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        const char *path = jv_str_or(jv_get(scale, paths[i].member), "");
        size_t n = strlen(paths[i].under);
        if (!*path)
            fault_required(f, paths[i].member, NULL);
        else if (!simple_path(path))
            fault_invalid_str(f, paths[i].member, path, "must be a simple json path starting with .");
        else if (strncmp(path, paths[i].under, n) != 0 || path[n] != '.')
            fault_invalid_str(f, paths[i].member, path, "should be a json path under %s", paths[i].under);
    }
    const char *selector = custom_resource_subresource_scale_label_selector_path(scale);
    if (!str_empty(selector) && !simple_path(selector))
        fault_invalid_str(f, "labelSelectorPath", selector, "must be a simple json path starting with .");
    else if (!str_empty(selector) && !str_starts(selector, ".spec.") && !str_starts(selector, ".status."))
        fault_invalid_str(f, "labelSelectorPath", selector, "should be a json path under either .spec or .status");
    fault_pop(f, at);
}

static void check_columns(struct faults *f, jval *columns)
{
    static const char *const types[] = {"boolean", "date", "integer", "number", "string"};
    static const char *const formats[] = {"", "int32", "int64", "float", "double", "byte", "date", "date-time", "password"};
    for (size_t i = 0, n = jv_is(columns, J_ARRAY) ? jv_len(columns) : 0; i < n; i++) {
        jval *c = jv_at(columns, i);
        size_t at = validate_push_item(f, "additionalPrinterColumns", i);
        const char *type = jv_str_or(jv_get(c, "type"), ""), *format = jv_str_or(jv_get(c, "format"), ""),
                   *path = jv_str_or(jv_get(c, "jsonPath"), "");
        bool type_ok = false, format_ok = false;
        for (size_t k = 0; k < ARRAY_LEN(types); k++)
            type_ok |= str_eq(type, types[k]);
        for (size_t k = 0; k < ARRAY_LEN(formats); k++)
            format_ok |= str_eq(format, formats[k]);
        if (str_empty(custom_resource_column_definition_name(c)))
            fault_required(f, "name", NULL);
        if (!*type)
            fault_required(f, "type", "must be one of boolean,date,integer,number,string");
        else if (!type_ok)
            fault_invalid_str(f, "type", type, "must be one of boolean,date,integer,number,string");
        if (!format_ok)
            fault_invalid_str(f, "format", format, "must be one of byte,date,date-time,double,float,int32,int64,password");
        if (!*path)
            fault_required(f, "JSONPath", NULL);
        else if (!simple_path(path))
            fault_invalid_str(f, "JSONPath", path, "must be a simple json path starting with .");
        fault_pop(f, at);
    }
}

/* The schema that a simple path (".spec.color") leads to; NULL when it leads nowhere. metadata is nobody's to select. */
static jval *schema_at(jval *schema, const char *path)
{
    bool first = true;
    while (*path == '.') {
        size_t n = strcspn(++path, ".");
        AUTOFREE char *member = xstrndup(path, n);
        if (first && str_eq(member, "metadata"))
            return NULL;
        schema = jv_get(jv_get(schema, "properties"), member);
        path += n;
        first = false;
    }
    return *path ? NULL : schema;
}

static void check_selectable(struct faults *f, jval *fields, jval *schema)
{
    struct strmap seen = STRMAP_INIT(NULL);
    for (size_t i = 0, n = jv_is(fields, J_ARRAY) ? jv_len(fields) : 0; i < n; i++) {
        const char *path = jv_str_or(jv_get(jv_at(fields, i), "jsonPath"), "");
        size_t at = validate_push_item(f, "selectableFields", i);
        jval *field = schema_at(schema, path);
        const char *type = jv_str_or(jv_get(field, "type"), "");
        if (!*path)
            fault_required(f, "jsonPath", NULL);
        else if (!field)
            fault_invalid_str(f, "jsonPath", path, "is an invalid path: does not refer to a valid field");
        else if (!str_eq(type, "string") && !str_eq(type, "boolean") && !str_eq(type, "integer"))
            fault_invalid_str(f, "jsonPath", path,
                              "must point to a field of type string, boolean or integer. Enum string fields and strings with "
                              "formats are allowed.");
        else if (strmap_has(&seen, path))
            fault_duplicate_str(f, "jsonPath", path);
        strmap_put(&seen, path, NULL);
        fault_pop(f, at);
    }
    strmap_free(&seen);
}

static void check_parts(struct faults *f, jval *version, bool hoisted)
{
    jval *schema = custom_resource_validation_open_apiv3_schema(custom_resource_definition_version_schema(version));
    if (jv_is(schema, J_OBJECT)) {
        size_t at = fault_push(f, hoisted ? "validation.openAPIV3Schema" : "schema.openAPIV3Schema");
        schema_check_structural(f, schema);
        fault_pop(f, at);
    }
    check_scale(f, custom_resource_definition_version_subresources(version));
    check_columns(f, custom_resource_definition_version_additional_printer_columns(version));
    check_selectable(f, custom_resource_definition_version_selectable_fields(version), schema);
}

/* All versions have the same schema, subresources and columns. */
static bool all_alike(jval *versions)
{
    static const char *const parts[] = {"schema", "subresources", "additionalPrinterColumns", "selectableFields"};
    for (size_t i = 1; i < jv_len(versions); i++)
        for (size_t p = 0; p < ARRAY_LEN(parts); p++) {
            jval *a = jv_get(jv_at(versions, 0), parts[p]), *b = jv_get(jv_at(versions, i), parts[p]);
            if (jv_present(a) != jv_present(b) || (jv_present(a) && !jv_equal(a, b)))
                return false;
        }
    return true;
}

/* The versions as Kubernetes prints them in a message: its own structures, of which the names say enough. */
static void invalid_versions(struct faults *f, jval *versions, const char *text)
{
    BUF(b);
    buf_adds(&b, "Invalid value: [");
    for (size_t i = 0; i < jv_len(versions); i++) {
        jval *v = jv_at(versions, i);
        const char *name = jv_str_or(jv_get(v, "name"), "");
        buf_adds(&b, i ? ",{\"Name\":" : "{\"Name\":");
        json_quote(&b, name, strlen(name));
        buf_addf(&b, ",\"Served\":%s,\"Storage\":%s}", custom_resource_definition_version_served(v, false) ? "true" : "false",
                 custom_resource_definition_version_storage(v, false) ? "true" : "false");
    }
    buf_addf(&b, "]: %s", text);
    fault_add(f, "FieldValueInvalid", "versions", buf_str(&b));
}

static void check_versions(struct faults *f, jval *versions, bool alike)
{
    struct strmap names = STRMAP_INIT(NULL);
    size_t storage = 0, n = jv_is(versions, J_ARRAY) ? jv_len(versions) : 0;
    bool unique = true, schemas = true;
    for (size_t i = 0; i < n; i++) {
        jval *v = jv_at(versions, i);
        const char *name = jv_str_or(jv_get(v, "name"), "");
        jval *schema = custom_resource_validation_open_apiv3_schema(custom_resource_definition_version_schema(v));
        storage += custom_resource_definition_version_storage(v, false);
        unique &= !strmap_has(&names, name);
        strmap_put(&names, name, NULL);
        schemas &= jv_is(schema, J_OBJECT);
        size_t at = validate_push_item(f, "versions", i);
        validate_name(f, "name", name, name_dns1035_label(name));
        if (!jv_is(schema, J_OBJECT))
            fault_required(f, "schema.openAPIV3Schema", NULL);
        check_warning(f, v);
        if (!alike)
            check_parts(f, v, false);
        fault_pop(f, at);
    }
    if (!unique)
        invalid_versions(f, versions, "must contain unique version names");
    if (storage != 1)
        invalid_versions(f, versions, "must have exactly one version marked as storage version");
    if (n > 0) {
        const char *first = jv_str_or(jv_get(jv_at(versions, 0), "name"), "");
        validate_name(f, "version", first, name_dns1035_label(first));
    }
    if (alike && n > 0 && schemas)
        check_parts(f, jv_at(versions, 0), true);
    strmap_free(&names);
}

static void check_conversion(struct faults *f, jval *spec)
{
    static const char *const strategies[] = {"None", "Webhook", NULL};
    jval *conversion = custom_resource_definition_spec_conversion(spec), *hook = custom_resource_conversion_webhook(conversion);
    const char *strategy = custom_resource_conversion_strategy(conversion);
    if (!jv_is(conversion, J_OBJECT))
        return;
    if (str_eq(strategy, "Webhook")) {
        if (!jv_present(jv_get(hook, "clientConfig")))
            fault_required(f, "conversion.webhookClientConfig", "required when strategy is set to Webhook");
        if (jv_len(jv_get(hook, "conversionReviewVersions")) == 0)
            fault_required(f, "conversion.conversionReviewVersions", NULL);
        else
            fault_forbidden(f, "conversion.strategy", "conversion webhooks are not served here; use strategy None");
    } else if (str_empty(strategy)) {
        fault_required(f, "conversion.strategy", NULL);
    } else if (!str_eq(strategy, "None")) {
        fault_unsupported(f, "conversion.strategy", strategy, strategies);
    }
}

/* ---- the whole
 * -------------------------------------------------------------------------------------------------------------------- */

static bool protected_group(const char *group)
{
    return str_eq(group, "k8s.io") || str_ends(group, ".k8s.io") || str_eq(group, "kubernetes.io") ||
           str_ends(group, ".kubernetes.io");
}

static void check_approval(struct faults *f, jval *crd, const char *group)
{
    static const char key[] = "api-approved.kubernetes.io";
    if (!protected_group(group) || !str_empty(obj_annotation(crd, key)))
        return;
    size_t at = fault_push(f, "metadata.annotations");
    fault_push_key(f, key);
    fault_required(f, NULL,
                   "protected groups must have approval annotation \"api-approved.kubernetes.io\", see "
                   "https://github.com/kubernetes/enhancements/pull/1111");
    fault_pop(f, at);
}

static void check_stored(struct faults *f, jval *crd)
{
    jval *stored = custom_resource_definition_status_stored_versions(custom_resource_definition_status(crd));
    jval *versions = custom_resource_definition_spec_versions(custom_resource_definition_spec(crd));
    size_t n = jv_is(stored, J_ARRAY) ? jv_len(stored) : 0;
    if (n == 0) {
        fault_invalid(f, "status.storedVersions", stored, "must have at least one stored version");
        return;
    }
    const char *storage = NULL;
    for (size_t i = 0; i < n; i++) {
        const char *name = jv_str_or(jv_at(stored, i), "");
        bool found = false;
        for (size_t k = 0; k < jv_len(versions); k++)
            found |= str_eq(jv_str(jv_get(jv_at(versions, k), "name")), name);
        if (found)
            continue;
        size_t at = validate_push_item(f, "status.storedVersions", i);
        fault_invalid_str(
            f, NULL, name,
            "missing from spec.versions; %s was previously a storage version, and must remain in spec.versions until a "
            "storage migration ensures no data remains persisted in %s and removes %s from status.storedVersions",
            name, name, name);
        fault_pop(f, at);
    }
    for (size_t k = 0; k < jv_len(versions); k++)
        if (custom_resource_definition_version_storage(jv_at(versions, k), false))
            storage = jv_str_or(jv_get(jv_at(versions, k), "name"), "");
    bool has = !storage;
    for (size_t i = 0; i < n; i++)
        has |= str_eq(jv_str(jv_at(stored, i)), storage);
    if (!has)
        fault_invalid(f, "status.storedVersions", stored, "must have the storage version %s", storage);
}

static void check_spec(struct faults *f, jval *crd)
{
    static const char *const scopes[] = {"Cluster", "Namespaced", NULL};
    jval *spec = custom_resource_definition_spec(crd), *versions = custom_resource_definition_spec_versions(spec);
    const char *scope = jv_str_or(jv_get(spec, "scope"), "");
    size_t at = fault_push(f, "spec");
    check_group(f, jv_str_or(jv_get(spec, "group"), ""));
    validate_enum(f, "scope", scope, scopes);
    check_versions(f, versions, all_alike(versions));
    check_names(f, custom_resource_definition_spec_names(spec));
    if (custom_resource_definition_spec_preserve_unknown_fields(spec, false))
        fault_invalid(f, "preserveUnknownFields", jv_get(spec, "preserveUnknownFields"),
                      "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead");
    check_conversion(f, spec);
    fault_pop(f, at);
}

static void check_name(struct faults *f, jval *crd)
{
    jval *spec = custom_resource_definition_spec(crd), *names = custom_resource_definition_spec_names(spec);
    AUTOFREE char *wanted = xasprintf("%s.%s", jv_str_or(jv_get(names, "plural"), ""), jv_str_or(jv_get(spec, "group"), ""));
    if (!str_eq(obj_name(crd), wanted))
        fault_invalid_str(f, "metadata.name", obj_name(crd), "must be spec.names.plural+\".\"+spec.group");
}

/* What an established definition may not change; scope, group and plural can never be changed without a new name. */
static void check_update(struct faults *f, jval *old, jval *now)
{
    jval *was = custom_resource_definition_spec(old), *spec = custom_resource_definition_spec(now);
    size_t at = fault_push(f, "spec");
    if (crd_established(old)) {
        validate_immutable(f, "scope", jv_get(was, "scope"), jv_get(spec, "scope"));
        validate_immutable(f, "names.kind", jv_path(was, "names", "kind", NULL), jv_path(spec, "names", "kind", NULL));
    }
    validate_immutable(f, "group", jv_get(was, "group"), jv_get(spec, "group"));
    validate_immutable(f, "names.plural", jv_path(was, "names", "plural", NULL), jv_path(spec, "names", "plural", NULL));
    fault_pop(f, at);
}

int crd_validate(jval *crd, jval *old, struct err *err)
{
    FAULTS(f);
    if (old) {
        validate_metadata_update(&f, old, crd);
        check_update(&f, old, crd);
    } else {
        validate_metadata_create(&f, &KUBE_CUSTOMRESOURCEDEFINITIONS, crd);
        check_name(&f, crd);
    }
    check_spec(&f, crd);
    if (!old)
        check_approval(&f, crd, jv_str_or(jv_path(crd, "spec", "group", NULL), ""));
    check_stored(&f, crd);
    return faults_done(&f, KUBE_CUSTOMRESOURCEDEFINITIONS.group, KUBE_CUSTOMRESOURCEDEFINITIONS.kind, obj_name(crd), err);
}
