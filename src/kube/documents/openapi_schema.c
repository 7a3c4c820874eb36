#include <stdlib.h>
#include <string.h>

#include "kube/documents/openapi_priv.h"

#define META "io.k8s.apimachinery.pkg.apis.meta.v1."

/* Forms that have a schema of their own in every document that uses them. */
static const struct {
    enum kform form;
    const char *name, *schema;
} shared[] = {
    {KFORM_QUANTITY, "io.k8s.apimachinery.pkg.api.resource.Quantity",
     "{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"number\"}]}"},
    {KFORM_INTORSTRING, "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
     "{\"format\":\"int-or-string\",\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"string\"}]}"},
    {KFORM_TIME, META "Time", "{\"type\":\"string\",\"format\":\"date-time\"}"},
    {KFORM_MICROTIME, META "MicroTime", "{\"type\":\"string\",\"format\":\"date-time\"}"},
    {KFORM_DURATION, META "Duration", "{\"type\":\"string\"}"},
};

static jmval *parsed(struct jm *m, const char *text)
{
    JSON_REF(d) = json_parse_str(text, NULL);
    ASSERT(d);
    return jm_val(m, json_root(d));
}

static jmval *ref_named(struct openapi_draft *d, const char *name)
{
    jmval *o = jm_obj(d->m);
    jm_put(d->m, o, "$ref", jm_strf(d->m, REF_PREFIX "%s", name));
    return o;
}

jmval *openapi_ref(struct openapi_draft *d, const struct ktype *t)
{
    if (!strmap_has(&d->types, t->schema))
        strmap_put(&d->types, t->schema, (void *)t);
    return ref_named(d, t->schema);
}

static jmval *ref_shared(struct openapi_draft *d, enum kform form)
{
    for (size_t i = 0; i < ARRAY_LEN(shared); i++) {
        if (shared[i].form != form)
            continue;
        if (!strmap_has(&d->types, shared[i].name)) {
            strmap_put(&d->types, shared[i].name, NULL);
            jm_put(d->m, d->schemas, shared[i].name, parsed(d->m, shared[i].schema));
        }
        return ref_named(d, shared[i].name);
    }
    return NULL;
}

static jmval *typed(struct openapi_draft *d, const char *type, const char *format)
{
    jmval *o = jm_obj(d->m);
    jm_put(d->m, o, "type", jm_str(d->m, type));
    if (format)
        jm_put(d->m, o, "format", jm_str(d->m, format));
    return o;
}

static jmval *all_of(struct openapi_draft *d, jmval *ref, bool with_default)
{
    jmval *o = jm_obj(d->m);
    if (with_default)
        jm_obj_at(d->m, o, "default");
    jm_push(jm_arr_at(d->m, o, "allOf"), ref);
    return o;
}

/* The schema of one value. zero: its default is the zero value (elements, and fields that are always there). in_map: Kubernetes
 * shows references as values of maps bare. */
static jmval *value_schema(struct openapi_draft *d, const struct kfield *f, bool zero, bool in_map)
{
    struct jm *m = d->m;
    jmval *o, *ref = ref_shared(d, (enum kform)f->form);
    if (ref)
        return in_map ? ref : all_of(d, ref, false);
    switch ((enum kform)f->form) {
    case KFORM_STRING:
        o = typed(d, "string", f->format);
        if (zero)
            jm_put(m, o, "default", jm_str(m, ""));
        return o;
    case KFORM_BYTES:
        return typed(d, "string", "byte");
    case KFORM_INT32:
    case KFORM_INT64:
        o = typed(d, "integer", f->form == KFORM_INT32 ? "int32" : "int64");
        if (zero)
            jm_put(m, o, "default", jm_i64(m, 0));
        return o;
    case KFORM_DOUBLE:
        return typed(d, "number", "double");
    case KFORM_BOOL:
        o = typed(d, "boolean", NULL);
        if (zero)
            jm_put(m, o, "default", jm_bool(m, false));
        return o;
    case KFORM_EMPTY:
        return typed(d, "object", NULL);
    case KFORM_STRUCT:
        return all_of(d, openapi_ref(d, f->type), zero);
    default: /* any JSON */
        o = jm_obj(m);
        jm_put(m, o, "x-kubernetes-preserve-unknown-fields", jm_bool(m, true));
        return o;
    }
}

static void put_strings(struct jm *m, jmval *o, const char *key, const char *const *v)
{
    jmval *arr = jm_arr_at(m, o, key);
    for (; v && *v; v++)
        jm_push(arr, jm_str(m, *v));
}

static void put_list_rules(struct jm *m, jmval *o, const struct kfield *f)
{
    jm_put(m, o, "x-kubernetes-list-type", jm_str(m, f->map_keys ? "map" : f->flags & KFIELD_SET ? "set" : "atomic"));
    if (f->map_keys)
        put_strings(m, o, "x-kubernetes-list-map-keys", f->map_keys);
}

static void put_patch_rules(struct jm *m, jmval *o, const struct kfield *f)
{
    if (f->merge_key)
        jm_put(m, o, "x-kubernetes-patch-merge-key", jm_str(m, f->merge_key));
    const char *merge = f->flags & KFIELD_MERGE ? "merge" : f->flags & KFIELD_REPLACE ? "replace" : NULL;
    bool retain = f->flags & KFIELD_RETAIN_KEYS;
    if (merge || retain)
        jm_put(m, o, "x-kubernetes-patch-strategy",
               jm_strf(m, "%s%s%s", merge ? merge : "", merge && retain ? "," : "", retain ? "retainKeys" : ""));
}

static jmval *field_schema(struct openapi_draft *d, const struct kfield *f)
{
    struct jm *m = d->m;
    jmval *o, *strings;
    if (f->shape == KSHAPE_ONE) {
        o = value_schema(d, f, (f->flags & KFIELD_KEEP) && !(f->flags & KFIELD_POINTER), false);
    } else if (f->shape == KSHAPE_LIST) {
        o = typed(d, "array", NULL);
        jm_put(m, o, "items", value_schema(d, f, true, false));
        put_list_rules(m, o, f);
    } else {
        o = typed(d, "object", NULL);
        strings = value_schema(d, f, true, true);
        if (f->shape == KSHAPE_MAPLIST) {
            jmval *list = typed(d, "array", NULL);
            jm_put(m, list, "items", strings);
            strings = list;
        }
        jm_put(m, o, "additionalProperties", strings);
    }
    if (f->dflt)
        jm_put(m, o, "default", parsed(m, f->dflt));
    const char *inner = f->shape == KSHAPE_LIST ? "items" : "additionalProperties";
    if (f->enums)
        put_strings(m, f->shape == KSHAPE_ONE ? o : jmv_get(o, inner), "enum", f->enums);
    if (f->flags & KFIELD_ATOMIC)
        jm_put(m, o, "x-kubernetes-map-type", jm_str(m, "atomic"));
    put_patch_rules(m, o, f);
    return o;
}

static jmval *type_schema(struct openapi_draft *d, const struct ktype *t)
{
    struct jm *m = d->m;
    jmval *o = typed(d, "object", NULL);
    if (!t->n_fields)
        return o;
    jmval *required = jm_arr(m), *properties = jm_obj(m);
    for (size_t i = 0; i < t->n_fields; i++) {
        jm_add(m, properties, t->fields[i].name, field_schema(d, &t->fields[i]));
        if (t->fields[i].flags & KFIELD_REQUIRED)
            jm_push(required, jm_str(m, t->fields[i].name));
    }
    if (jmv_len(required))
        jm_put(m, o, "required", required);
    jm_put(m, o, "properties", properties);
    if (t->atomic)
        jm_put(m, o, "x-kubernetes-map-type", jm_str(m, "atomic"));
    return o;
}

static void put_gvk(struct jm *m, jmval *o, const struct kind *k, const char *kind)
{
    jmval *gvk = jm_obj(m);
    jm_put(m, gvk, "group", jm_str(m, k->res.group));
    jm_put(m, gvk, "kind", jm_str(m, kind));
    jm_put(m, gvk, "version", jm_str(m, k->res.version));
    jm_push(jm_arr_at(m, o, "x-kubernetes-group-version-kind"), gvk);
}

/* Types that other groups' documents show are kinds still. */
static void put_own_gvk(struct jm *m, jmval *o, const struct ktype *t)
{
    for
        KINDS_EACH(k)
    if (k->type == t)
        put_gvk(m, o, k, k->res.kind);
}

void openapi_put_types(struct openapi_draft *d)
{
    /* New ones are put behind the last while this goes on. */
    for (struct strmap_entry *e = strmap_first(&d->types); e; e = strmap_next(e)) {
        const struct ktype *t = e->value;
        if (!t || jmv_get(d->schemas, t->schema))
            continue;
        jmval *o = type_schema(d, t);
        put_own_gvk(d->m, o, t);
        jm_put(d->m, d->schemas, t->schema, o);
    }
}

/* ---- kinds ------------------------------------------------------------------------------------------------------------------
 */

/* "example.com" is written backwards, as Java packages are. */
static char *reversed(const char *group)
{
    STRLIST(parts);
    BUF(b);
    str_split(group, '.', &parts);
    for (size_t i = parts.n; i-- > 0;)
        buf_addf(&b, "%s%s", parts.v[i], i ? "." : "");
    return buf_steal(&b, NULL);
}

char *openapi_schema_name(const struct kind *k, bool list)
{
    if (k->type)
        return xasprintf("%s%s", k->type->schema, list ? "List" : "");
    AUTOFREE char *group = reversed(k->res.group);
    return xasprintf("%s.%s.%s", group, k->res.version, list ? k->list_kind : k->res.kind);
}

/* A definition's schema, with the members that every object has. */
static jmval *custom_schema(struct openapi_draft *d, jval *schema)
{
    struct jm *m = d->m;
    jmval *o = jv_is(schema, J_OBJECT) ? jm_val(m, schema) : typed(d, "object", NULL);
    if (!schema)
        jm_put(m, o, "x-kubernetes-preserve-unknown-fields", jm_bool(m, true));
    const struct ktype *meta = ktype_find(META "ObjectMeta");
    jmval *properties = jm_obj_at(m, o, "properties");
    jm_put(m, properties, "apiVersion", typed(d, "string", NULL));
    jm_put(m, properties, "kind", typed(d, "string", NULL));
    jm_put(m, properties, "metadata", all_of(d, openapi_ref(d, meta), false));
    return o;
}

static jmval *list_schema(struct openapi_draft *d, const char *item)
{
    struct jm *m = d->m;
    jmval *o = typed(d, "object", NULL), *p = jm_obj(m), *items = typed(d, "array", NULL);
    put_strings(m, o, "required", (const char *const[]){"items", NULL});
    jm_put(m, p, "kind", typed(d, "string", NULL));
    jm_put(m, p, "apiVersion", typed(d, "string", NULL));
    jm_put(m, p, "metadata", all_of(d, openapi_ref(d, ktype_find(META "ListMeta")), true));
    jm_put(m, items, "items", all_of(d, ref_named(d, item), true));
    jm_put(m, p, "items", items);
    jm_put(m, o, "properties", p);
    return o;
}

void openapi_put_kind(struct openapi_draft *d, const struct openapi_kind *k)
{
    struct jm *m = d->m;
    AUTOFREE char *name = openapi_schema_name(k->kind, false), *list = openapi_schema_name(k->kind, true);
    jmval *o = k->kind->type ? type_schema(d, k->kind->type) : custom_schema(d, k->schema);
    put_gvk(m, o, k->kind, k->kind->res.kind);
    jm_put(m, d->schemas, name, o);
    if (k->kind->type)
        strmap_put(&d->types, k->kind->type->schema, NULL);
    if (!kind_has_verb(k->kind, KVERB_LIST))
        return;
    o = list_schema(d, name);
    put_gvk(m, o, k->kind, k->kind->list_kind);
    jm_put(m, d->schemas, list, o);
}
