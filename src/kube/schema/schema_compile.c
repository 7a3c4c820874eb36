#include "kube/schema/schema_priv.h"

#include <stdlib.h>

enum { MAX_DEPTH = 256 };

static struct schema_node *compile(struct schema *s, jval *v, unsigned depth, struct err *err);

static void node_free(void *p)
{
    struct schema_node *n = p;
    if (!n)
        return;
    strmap_free(&n->props);
    node_free(n->additional);
    node_free(n->items);
    node_free(n->not_);
    for (size_t i = 0; i < n->n_all_of; i++)
        node_free(n->all_of[i]);
    for (size_t i = 0; i < n->n_any_of; i++)
        node_free(n->any_of[i]);
    for (size_t i = 0; i < n->n_one_of; i++)
        node_free(n->one_of[i]);
    free(n->all_of);
    free(n->any_of);
    free(n->one_of);
    free(n->map_keys);
    free(n->required);
    regex_free(n->regex);
    schema_rules_free(n);
    free(n);
}

static enum schema_type type_of(const char *text)
{
    static const char *const names[] = {"", "object", "array", "string", "integer", "number", "boolean"};
    for (size_t i = 1; i < ARRAY_LEN(names); i++)
        if (str_eq(text, names[i]))
            return (enum schema_type)i;
    return ST_ANY;
}

const char *schema_type_text(const struct schema_node *n)
{
    static const char *const names[] = {"", "object", "array", "string", "integer", "number", "boolean"};
    return names[n->type];
}

static const char **strings_of(jval *arr, size_t *n)
{
    size_t len = jv_is(arr, J_ARRAY) ? jv_len(arr) : 0;
    const char **out = len ? xcalloc(len, sizeof *out) : NULL;
    *n = 0;
    for (size_t i = 0; i < len; i++)
        if (jv_str(jv_at(arr, i)))
            out[(*n)++] = jv_str(jv_at(arr, i));
    return out;
}

static int compile_list(struct schema *s, jval *arr, struct schema_node ***out, size_t *n, unsigned depth, struct err *err)
{
    size_t len = jv_is(arr, J_ARRAY) ? jv_len(arr) : 0;
    *out = len ? xcalloc(len, sizeof(struct schema_node *)) : NULL;
    for (*n = 0; *n < len; (*n)++)
        if (!((*out)[*n] = compile(s, jv_at(arr, *n), depth, err)))
            return -1;
    return 0;
}

/* A child schema when v is one; booleans and absent values have none. */
static int compile_child(struct schema *s, jval *v, struct schema_node **out, unsigned depth, struct err *err)
{
    if (!jv_is(v, J_OBJECT))
        return 0;
    *out = compile(s, v, depth, err);
    return *out ? 0 : -1;
}

static int compile_children(struct schema *s, struct schema_node *n, jval *v, unsigned depth, struct err *err)
{
    struct jiter it = jv_iter(jv_get(v, "properties"));
    const char *k;
    jval *p;
    while (jv_next(&it, &k, &p)) {
        struct schema_node *child = compile(s, p, depth, err);
        if (!child)
            return -1;
        strmap_put(&n->props, k, child);
    }
    jval *additional = jv_get(v, "additionalProperties");
    if (jv_is(additional, J_BOOL) && jv_bool(additional, false)) {
        n->preserve = true; /* anything goes below */
    } else if (compile_child(s, additional, &n->additional, depth, err) < 0) {
        return -1;
    }
    if (compile_child(s, jv_get(v, "items"), &n->items, depth, err) < 0 ||
        compile_child(s, jv_get(v, "not"), &n->not_, depth, err) < 0)
        return -1;
    if (compile_list(s, jv_get(v, "allOf"), &n->all_of, &n->n_all_of, depth, err) < 0 ||
        compile_list(s, jv_get(v, "anyOf"), &n->any_of, &n->n_any_of, depth, err) < 0 ||
        compile_list(s, jv_get(v, "oneOf"), &n->one_of, &n->n_one_of, depth, err) < 0)
        return -1;
    return 0;
}

static jval *number_at(jval *v, const char *key)
{
    jval *n = jv_get(v, key);
    return jv_is(n, J_NUMBER) ? n : NULL;
}

static void read_keywords(struct schema_node *n, jval *v)
{
    n->type = type_of(jv_str(jv_get(v, "type")));
    n->int_or_string =
        jv_bool(jv_get(v, "x-kubernetes-int-or-string"), false) || str_eq(jv_str(jv_get(v, "format")), "int-or-string");
    n->preserve = jv_bool(jv_get(v, "x-kubernetes-preserve-unknown-fields"), false);
    n->embedded = jv_bool(jv_get(v, "x-kubernetes-embedded-resource"), false);
    n->nullable = jv_bool(jv_get(v, "nullable"), false);
    n->map_keys = strings_of(jv_get(v, "x-kubernetes-list-map-keys"), &n->n_map_keys);
    n->required = strings_of(jv_get(v, "required"), &n->n_required);
    const char *list_type = jv_str(jv_get(v, "x-kubernetes-list-type"));
    n->list_type = str_eq(list_type, "map") ? LIST_MAP : str_eq(list_type, "set") ? LIST_SET : LIST_ATOMIC;
    jval *dflt = jv_get(v, "default"), *enums = jv_get(v, "enum");
    n->dflt = jv_present(dflt) ? dflt : NULL;
    n->enums = jv_len(enums) ? enums : NULL;
    n->minimum = number_at(v, "minimum");
    n->maximum = number_at(v, "maximum");
    n->multiple_of = number_at(v, "multipleOf");
    n->exclusive_min = jv_bool(jv_get(v, "exclusiveMinimum"), false);
    n->exclusive_max = jv_bool(jv_get(v, "exclusiveMaximum"), false);
    n->min_length = jv_i64_or(jv_get(v, "minLength"), -1);
    n->max_length = jv_i64_or(jv_get(v, "maxLength"), -1);
    n->min_items = jv_i64_or(jv_get(v, "minItems"), -1);
    n->max_items = jv_i64_or(jv_get(v, "maxItems"), -1);
    n->min_props = jv_i64_or(jv_get(v, "minProperties"), -1);
    n->max_props = jv_i64_or(jv_get(v, "maxProperties"), -1);
    n->pattern = jv_str(jv_get(v, "pattern"));
    n->format = jv_str(jv_get(v, "format"));
}

static struct schema_node *compile(struct schema *s, jval *v, unsigned depth, struct err *err)
{
    if (depth > MAX_DEPTH) {
        err_set(err, ERR_INVALID, "the schema is nested deeper than %d levels", MAX_DEPTH);
        return NULL;
    }
    struct schema_node *n = xcalloc(1, sizeof *n);
    n->props = STRMAP_INIT(node_free);
    read_keywords(n, v);
    jval *rules = jv_get(v, "x-kubernetes-validations");
    s->has_rules |= jv_len(rules) > 0;
    if ((!str_empty(n->pattern) && !(n->regex = regex_compile(n->pattern, err))) || schema_rules_compile(n, rules, err) < 0 ||
        compile_children(s, n, v, depth + 1, err) < 0) {
        node_free(n);
        return NULL;
    }
    return n;
}

struct schema *schema_compile(jval *open_api_v3_schema, struct err *err)
{
    struct schema *s = xcalloc(1, sizeof *s);
    s->doc = json_from(open_api_v3_schema);
    s->root = compile(s, json_root(s->doc), 0, err);
    if (!s->root) {
        schema_free(s);
        if (err && err->code != ERR_INVALID)
            err->code = ERR_INVALID;
        return NULL;
    }
    s->root->embedded = true; /* the root is an object with apiVersion, kind and metadata */
    return s;
}

void schema_free(struct schema *s)
{
    if (!s)
        return;
    node_free(s->root);
    json_unref(s->doc);
    free(s);
}
