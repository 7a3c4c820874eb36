/* Is a schema structural, and does it use only what is supported? Two walks, the second only after a clean first. */
#include "kube/schema/schema_priv.h"

static void check_keywords(struct faults *f, jval *v);

/* ---- first walk: keywords -------------------------------------------------------------------------------------------------- */

static void check_keywords_at(struct faults *f, const char *member, jval *v)
{
    if (!jv_is(v, J_OBJECT))
        return;
    size_t at = fault_push(f, member);
    check_keywords(f, v);
    fault_pop(f, at);
}

static void check_keywords_list(struct faults *f, const char *member, jval *list)
{
    for (size_t i = 0, n = jv_is(list, J_ARRAY) ? jv_len(list) : 0; i < n; i++) {
        size_t at = fault_push(f, member);
        fault_push_index(f, i);
        check_keywords(f, jv_at(list, i));
        fault_pop(f, at);
    }
}

static void check_unsupported(struct faults *f, jval *v)
{
    static const char *const names[] = {"definitions", "dependencies",    "id",     "patternProperties",
                                        "$ref",        "additionalItems", "$schema"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (jv_present(jv_get(v, names[i])))
            fault_forbidden(f, names[i], "%s is not supported", names[i]);
    if (jv_bool(jv_get(v, "uniqueItems"), false))
        fault_forbidden(f, "uniqueItems", "uniqueItems cannot be set to true since the runtime complexity becomes quadratic");
}

static void check_type_and_pattern(struct faults *f, jval *v)
{
    static const char *const types[] = {"array", "boolean", "integer", "number", "object", "string", NULL};
    const char *type = jv_str_or(jv_get(v, "type"), ""), *pattern = jv_str_or(jv_get(v, "pattern"), "");
    bool known = !*type;
    for (size_t i = 0; types[i]; i++)
        known |= str_eq(types[i], type);
    if (!known)
        fault_unsupported(f, "type", type, types);
    ERR(e);
    struct regex *r = *pattern ? regex_compile(pattern, &e) : NULL;
    if (*pattern && !r)
        fault_invalid_str(f, "pattern", pattern, "must be a valid regular expression, but isn't: %s", err_text(&e));
    regex_free(r);
}

static void check_map_keys(struct faults *f, jval *v, jval *keys)
{
    jval *items = jv_get(v, "items"), *props = jv_get(items, "properties");
    const char *item_type = jv_str_or(jv_get(items, "type"), "");
    if (jv_is(items, J_OBJECT) && !str_eq(item_type, "object")) {
        fault_invalid_str(f, "items.type", item_type, "must be object if parent array's x-kubernetes-list-type is map");
        return;
    }
    struct jiter it = jv_iter(keys);
    jval *key;
    bool all_known = true;
    while (jv_next(&it, NULL, &key))
        all_known &= jv_get(props, jv_str_or(key, "")) != NULL;
    if (!all_known) {
        fault_invalid(f, "x-kubernetes-list-map-keys", keys, "entries must all be names of item properties");
        return;
    }
    it = jv_iter(keys);
    while (jv_next(&it, NULL, &key)) {
        const char *name = jv_str_or(key, "");
        bool sure = jv_present(jv_path(props, name, "default", NULL));
        struct jiter rit = jv_iter(jv_get(items, "required"));
        jval *r;
        while (jv_next(&rit, NULL, &r))
            sure |= str_eq(jv_str(r), name);
        if (sure)
            continue;
        size_t at = fault_push(f, "items.properties");
        fault_push_key(f, name);
        fault_required(f, "default",
                       "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property");
        fault_pop(f, at);
    }
}

static void check_list_extensions(struct faults *f, jval *v)
{
    static const char *const list_types[] = {"atomic", "set", "map", NULL};
    static const char *const map_types[] = {"atomic", "granular", NULL};
    const char *type = jv_str_or(jv_get(v, "type"), "");
    const char *list_type = jv_str(jv_get(v, "x-kubernetes-list-type")), *map_type = jv_str(jv_get(v, "x-kubernetes-map-type"));
    jval *keys = jv_get(v, "x-kubernetes-list-map-keys"), *items = jv_get(v, "items");
    if (list_type && !str_eq(type, "array"))
        fault_invalid_str(f, "type", type, "must be array if x-kubernetes-list-type is specified");
    else if (list_type && !str_eq(list_type, "atomic") && !str_eq(list_type, "set") && !str_eq(list_type, "map"))
        fault_unsupported(f, "x-kubernetes-list-type", list_type, list_types);
    if (jv_len(keys) > 0 && !str_eq(list_type, "map"))
        fault_required(f, "x-kubernetes-list-type", "must be map if x-kubernetes-list-map-keys is non-empty");
    if (str_eq(list_type, "map") && jv_len(keys) == 0)
        fault_required(f, "x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map");
    else if (str_eq(list_type, "map"))
        check_map_keys(f, v, keys);
    if (str_eq(list_type, "set") && str_eq(jv_str(jv_get(items, "type")), "object") &&
        !str_eq(jv_str(jv_get(items, "x-kubernetes-map-type")), "atomic"))
        fault_invalid(f, "items.x-kubernetes-map-type", jv_get(items, "x-kubernetes-map-type"),
                      "must be atomic as item of a list with x-kubernetes-list-type=set");
    if (map_type && !str_eq(type, "object"))
        fault_invalid_str(f, "type", type, "must be object if x-kubernetes-map-type is specified");
    else if (map_type && !str_eq(map_type, "atomic") && !str_eq(map_type, "granular"))
        fault_unsupported(f, "x-kubernetes-map-type", map_type, map_types);
}

static void check_rules(struct faults *f, jval *rules)
{
    static const char *const reasons[] = {"FieldValueRequired", "FieldValueInvalid", "FieldValueForbidden", "FieldValueDuplicate",
                                          NULL};
    for (size_t i = 0, n = jv_is(rules, J_ARRAY) ? jv_len(rules) : 0; i < n; i++) {
        jval *r = jv_at(rules, i);
        const char *rule = jv_str_or(jv_get(r, "rule"), ""), *reason = jv_str(jv_get(r, "reason")),
                   *message = jv_str(jv_get(r, "message"));
        size_t at = fault_push(f, "x-kubernetes-validations");
        fault_push_index(f, i);
        bool known = !reason;
        for (size_t k = 0; reasons[k] && reason; k++)
            known |= str_eq(reasons[k], reason);
        if (!*rule)
            fault_required(f, "rule", "rule is not specified");
        if (message && !*message)
            fault_invalid_str(f, "message", message, "message must be non-empty if specified");
        if (!known)
            fault_unsupported(f, "reason", reason, reasons);
        struct schema_node node = {0};
        ERR(e);
        JM_NEW(m);
        jmval *list = jm_arr(m);
        jm_push(list, jm_val(m, r));
        JSON_REF(doc) = jm_freeze_val(list);
        if (*rule && schema_rules_compile(&node, json_root(doc), &e) < 0)
            fault_invalid(f, "rule", jv_get(r, "rule"), "compilation failed: %s", err_text(&e));
        schema_rules_free(&node);
        fault_pop(f, at);
    }
}

static void check_keywords(struct faults *f, jval *v)
{
    check_unsupported(f, v);
    check_type_and_pattern(f, v);
    check_list_extensions(f, v);
    jval *props = jv_get(v, "properties"), *items = jv_get(v, "items");
    if (jv_len(props) > 0 && jv_present(jv_get(v, "additionalProperties")))
        fault_forbidden(f, "additionalProperties", "additionalProperties and properties are mutual exclusive");
    if (jv_is(items, J_ARRAY))
        fault_forbidden(f, "items", "items must be a schema object and not an array");
    else if (str_eq(jv_str(jv_get(v, "type")), "array") && !jv_present(items))
        fault_required(f, "items", "must be specified");
    struct jiter it = jv_iter(props);
    const char *k;
    jval *p;
    while (jv_next(&it, &k, &p)) {
        size_t at = fault_push(f, "properties");
        fault_push_key(f, k);
        check_keywords(f, p);
        fault_pop(f, at);
    }
    check_keywords_at(f, "additionalProperties", jv_get(v, "additionalProperties"));
    check_keywords_at(f, "items", items);
    check_keywords_list(f, "allOf", jv_get(v, "allOf"));
    check_keywords_list(f, "anyOf", jv_get(v, "anyOf"));
    check_keywords_list(f, "oneOf", jv_get(v, "oneOf"));
    check_keywords_at(f, "not", jv_get(v, "not"));
    check_rules(f, jv_get(v, "x-kubernetes-validations"));
}

/* ---- second walk: structure -------------------------------------------------------------------------------------------------
 */

/* Below allOf, anyOf, oneOf and not there may be values only, no structure. */
static void check_nested(struct faults *f, jval *v)
{
    static const struct {
        const char *name, *text;
    } empty[] = {{"type", "must be empty to be structural"},
                 {"description", "must be empty to be structural"},
                 {"title", "must be empty to be structural"},
                 {"default", "must be undefined to be structural"},
                 {"additionalProperties", "must be undefined to be structural"},
                 {"nullable", "must be false to be structural"},
                 {"x-kubernetes-preserve-unknown-fields", "must be false to be structural"},
                 {"x-kubernetes-embedded-resource", "must be false to be structural"},
                 {"x-kubernetes-int-or-string", "must be false to be structural"},
                 {"x-kubernetes-list-type", "must be undefined to be structural"},
                 {"x-kubernetes-list-map-keys", "must be empty to be structural"},
                 {"x-kubernetes-map-type", "must be undefined to be structural"},
                 {"x-kubernetes-validations", "must be empty to be structural"}};
    for (size_t i = 0; i < ARRAY_LEN(empty); i++) {
        jval *x = jv_get(v, empty[i].name);
        if (jv_present(x) && !(jv_is(x, J_BOOL) && !jv_bool(x, false)) && !(jv_is(x, J_STRING) && jv_len(x) == 0))
            fault_forbidden(f, empty[i].name, "%s", empty[i].text);
    }
    struct jiter it = jv_iter(jv_get(v, "properties"));
    const char *k;
    jval *p;
    while (jv_next(&it, &k, &p)) {
        size_t at = fault_push(f, "properties");
        fault_push_key(f, k);
        check_nested(f, p);
        fault_pop(f, at);
    }
    static const char *const lists[] = {"allOf", "anyOf", "oneOf"}, *const singles[] = {"items", "not"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        jval *list = jv_get(v, lists[i]);
        for (size_t n = 0; n < (jv_is(list, J_ARRAY) ? jv_len(list) : 0); n++) {
            size_t at = fault_push(f, lists[i]);
            fault_push_index(f, n);
            check_nested(f, jv_at(list, n));
            fault_pop(f, at);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(singles); i++) {
        if (!jv_is(jv_get(v, singles[i]), J_OBJECT))
            continue;
        size_t at = fault_push(f, singles[i]);
        check_nested(f, jv_get(v, singles[i]));
        fault_pop(f, at);
    }
}

/* [{type: integer}, {type: string}]: how int-or-string is written out, and allowed there. */
static bool is_int_or_string_list(jval *any_of)
{
    return jv_len(any_of) == 2 && str_eq(jv_str(jv_path(any_of, "0", "type", NULL)), "integer") &&
           str_eq(jv_str(jv_path(any_of, "1", "type", NULL)), "string") && jv_len(jv_at(any_of, 0)) == 1 &&
           jv_len(jv_at(any_of, 1)) == 1;
}

static void check_combinations(struct faults *f, jval *v, bool int_or_string)
{
    static const char *const lists[] = {"allOf", "anyOf", "oneOf"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        jval *list = jv_get(v, lists[i]);
        if (int_or_string && i == 1 && is_int_or_string_list(list))
            continue;
        for (size_t n = 0; n < (jv_is(list, J_ARRAY) ? jv_len(list) : 0); n++) {
            if (int_or_string && i == 0 && n == 0 && is_int_or_string_list(jv_get(jv_at(list, 0), "anyOf")))
                continue;
            size_t at = fault_push(f, lists[i]);
            fault_push_index(f, n);
            check_nested(f, jv_at(list, n));
            fault_pop(f, at);
        }
    }
    if (jv_is(jv_get(v, "not"), J_OBJECT)) {
        size_t at = fault_push(f, "not");
        check_nested(f, jv_get(v, "not"));
        fault_pop(f, at);
    }
}

enum place { AT_ROOT, AT_FIELD, AT_ITEM };

static void check_structure(struct faults *f, jval *v, enum place place);

static void check_metadata(struct faults *f, jval *meta)
{
    struct jiter it = jv_iter(jv_get(meta, "properties"));
    const char *k;
    jval *p;
    bool other = false;
    while (jv_next(&it, &k, &p))
        other |= !str_eq(k, "name") && !str_eq(k, "generateName");
    if (other || jv_present(jv_get(meta, "additionalProperties")))
        fault_forbidden(f, NULL,
                        "must not specify anything other than name and generateName, but metadata is implicitly specified");
}

static void check_children(struct faults *f, jval *v, bool embedded)
{
    struct jiter it = jv_iter(jv_get(v, "properties"));
    const char *k;
    jval *p;
    while (jv_next(&it, &k, &p)) {
        size_t at = fault_push(f, "properties");
        fault_push_key(f, k);
        if (embedded && str_eq(k, "metadata"))
            check_metadata(f, p);
        check_structure(f, p, AT_FIELD);
        fault_pop(f, at);
    }
    if (jv_is(jv_get(v, "additionalProperties"), J_OBJECT)) {
        size_t at = fault_push(f, "additionalProperties");
        check_structure(f, jv_get(v, "additionalProperties"), AT_FIELD);
        fault_pop(f, at);
    }
    if (jv_is(jv_get(v, "items"), J_OBJECT)) {
        size_t at = fault_push(f, "items");
        check_structure(f, jv_get(v, "items"), AT_ITEM);
        fault_pop(f, at);
    }
}

static void check_structure(struct faults *f, jval *v, enum place place)
{
    const char *type = jv_str_or(jv_get(v, "type"), "");
    bool int_or_string = jv_bool(jv_get(v, "x-kubernetes-int-or-string"), false);
    bool preserve = jv_bool(jv_get(v, "x-kubernetes-preserve-unknown-fields"), false);
    bool embedded = jv_bool(jv_get(v, "x-kubernetes-embedded-resource"), false);
    check_combinations(f, v, int_or_string);
    check_children(f, v, embedded || place == AT_ROOT);
    if (embedded && !preserve && jv_len(jv_get(v, "properties")) == 0)
        fault_required(
            f, "properties",
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields");
    if (place == AT_ROOT && !*type)
        fault_required(f, "type", "must not be empty at the root");
    else if (place == AT_ROOT && !str_eq(type, "object"))
        fault_invalid_str(f, "type", type, "must be object at the root");
    else if (!*type && !int_or_string && !preserve)
        fault_required(f, "type",
                       place == AT_ITEM ? "must not be empty for specified array items"
                                        : "must not be empty for specified object fields");
}

void schema_check_structural(struct faults *f, jval *schema)
{
    size_t before = f->texts.n;
    check_keywords(f, schema);
    if (f->texts.n == before)
        check_structure(f, schema, AT_ROOT);
}
