/* openapi_v2.c - OpenAPI v2 (Swagger 2.0): the schemas of v3 in the older form, as JSON and in the protobuf messages that kubectl
 * reads (openapi.v2.Document of gnostic). There are no paths in it: kubectl looks for operations in v3, and here for schemas
 * (`explain --output=plaintext-openapiv2`, and kinds that v3 does not have). Source: gnostic's OpenAPIv2.proto; what Kubernetes
 * leaves out of definitions' schemas is in apiextensions-apiserver. */
#include <string.h>

#include "kube/documents/doc.h"
#include "kube/documents/openapi_priv.h"

#define DEFINITIONS "#/definitions/"

/* ---- v3 to v2 ------------------------------------------------------------------------------------------------------------
 */

static jmval *older(struct jm *m, jval *in);

static jmval *ref_of(struct jm *m, const char *ref)
{
    jmval *o = jm_obj(m);
    const char *name = str_starts(ref, REF_PREFIX) ? ref + strlen(REF_PREFIX) : ref;
    jm_put(m, o, "$ref", jm_strf(m, DEFINITIONS "%s", name));
    return o;
}

/* The type that a schema refers to, by itself or wrapped; NULL: none. */
static const char *referred(jval *in)
{
    jval *all = jv_get(in, "allOf");
    const char *ref = jv_str(jv_get(in, "$ref"));
    return ref ? ref : jv_len(all) == 1 ? jv_str(jv_get(jv_at(all, 0), "$ref")) : NULL;
}

static jmval *each_older(struct jm *m, jval *properties)
{
    jmval *o = jm_obj(m);
    struct jiter it = jv_iter(properties);
    const char *name;
    jval *v;
    while (jv_next(&it, &name, &v))
        jm_add(m, o, name, older(m, v));
    return o;
}

static bool is_true(jval *in, const char *key) { return jv_bool(jv_get(in, key), false); }

/* In v2 there is no null and no choice between types: what may be either is any value. */
static bool is_any(jval *in) { return is_true(in, "nullable") || is_true(in, "x-kubernetes-int-or-string"); }
/* What may have more members than are named would be refused if some were. */
static bool is_open(jval *in) { return is_any(in) || is_true(in, "x-kubernetes-preserve-unknown-fields"); }

static bool is_plain(const char *key)
{
    static const char *const names[] = {
        "format",           "title",     "description", "default", "multipleOf", "maximum",  "exclusiveMaximum", "minimum",
        "exclusiveMinimum", "maxLength", "minLength",   "pattern", "maxItems",   "minItems", "uniqueItems",      "maxProperties",
        "minProperties",    "required",  "enum"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(key, names[i]) == 0)
            return true;
    return str_starts(key, "x-kubernetes-");
}

static jmval *older(struct jm *m, jval *in)
{
    const char *ref = referred(in), *key;
    if (ref)
        return ref_of(m, ref);
    jmval *o = jm_obj(m);
    if (jv_len(jv_get(in, "oneOf"))) /* a quantity, or a number or a text */
        jm_put(m, o, "type", jm_str(m, "string"));
    struct jiter it = jv_iter(in);
    jval *v;
    while (jv_next(&it, &key, &v)) {
        if (is_plain(key))
            jm_put(m, o, key, jm_val(m, v));
        else if (strcmp(key, "type") == 0 && !is_any(in))
            jm_put(m, o, key, jm_val(m, v));
        else if (is_open(in))
            continue;
        else if (strcmp(key, "properties") == 0)
            jm_put(m, o, key, each_older(m, v));
        else if (strcmp(key, "items") == 0)
            jm_put(m, o, key, older(m, v));
        else if (strcmp(key, "additionalProperties") == 0)
            jm_put(m, o, key, jv_is(v, J_OBJECT) ? older(m, v) : jm_val(m, v));
    }
    return o;
}

/* ---- protobuf ------------------------------------------------------------------------------------------------------------
 */

enum { VARINT = 0, FIXED64 = 1, BYTES = 2 };
enum { ANY_YAML = 2, NAMED_NAME = 1, NAMED_VALUE = 2, LIST_ENTRY = 1, TYPE_VALUE = 1, MAP_SCHEMA = 1, MAP_BOOLEAN = 2 };
enum { DOC_SWAGGER = 1, DOC_INFO = 2, DOC_DEFINITIONS = 9, INFO_TITLE = 1, INFO_VERSION = 2 };
enum { SCHEMA_REF = 1, SCHEMA_REQUIRED = 19, SCHEMA_ENUM, SCHEMA_MAP, SCHEMA_TYPE, SCHEMA_ITEMS, SCHEMA_PROPERTIES = 25 };
enum { SCHEMA_EXTENSION = 31 };

static void put_varint(struct buf *b, uint64_t v)
{
    for (; v > 0x7f; v >>= 7)
        buf_addc(b, (char)(v | 0x80));
    buf_addc(b, (char)v);
}

static void put_bytes(struct buf *b, unsigned field, const void *p, size_t n)
{
    put_varint(b, field << 3 | BYTES);
    put_varint(b, n);
    buf_add(b, p, n);
}

static void put_text(struct buf *b, unsigned field, const char *s) { put_bytes(b, field, s, strlen(s)); }
static void put_message(struct buf *b, unsigned field, const struct buf *m)
{
    put_bytes(b, field, m->data ? m->data : "", m->len);
}

/* Any value, as YAML: of which JSON is a part. */
static void put_any(struct buf *b, unsigned field, jval *v)
{
    BUF(text);
    BUF(any);
    jv_write(v, JW_COMPACT, &text);
    put_bytes(&any, ANY_YAML, text.data, text.len);
    put_message(b, field, &any);
}

static void put_named(struct buf *b, unsigned field, const char *name, const struct buf *value)
{
    BUF(named);
    put_text(&named, NAMED_NAME, name);
    put_message(&named, NAMED_VALUE, value);
    put_message(b, field, &named);
}

/* Members that are one value, in the order of the message. */
static const struct simple {
    const char *name;
    unsigned field;
    enum { TEXT, NUMBER, WHOLE, TRUTH, ANYTHING } form;
} simple[] = {
    {"format", 2, TEXT},
    {"title", 3, TEXT},
    {"description", 4, TEXT},
    {"default", 5, ANYTHING},
    {"multipleOf", 6, NUMBER},
    {"maximum", 7, NUMBER},
    {"exclusiveMaximum", 8, TRUTH},
    {"minimum", 9, NUMBER},
    {"exclusiveMinimum", 10, TRUTH},
    {"maxLength", 11, WHOLE},
    {"minLength", 12, WHOLE},
    {"pattern", 13, TEXT},
    {"maxItems", 14, WHOLE},
    {"minItems", 15, WHOLE},
    {"uniqueItems", 16, TRUTH},
    {"maxProperties", 17, WHOLE},
    {"minProperties", 18, WHOLE},
};

static void put_number(struct buf *b, unsigned field, jval *v)
{
    double d = 0;
    uint64_t bits;
    jv_f64(v, &d);
    memcpy(&bits, &d, sizeof bits);
    put_varint(b, field << 3 | FIXED64);
    for (int i = 0; i < 8; i++)
        buf_addc(b, (char)(bits >> (8 * i)));
}

static void put_simple(struct buf *b, const struct simple *s, jval *v)
{
    if (s->form == TEXT && jv_str(v)) {
        put_text(b, s->field, jv_str(v));
    } else if (s->form == NUMBER) {
        put_number(b, s->field, v);
    } else if (s->form == WHOLE || s->form == TRUTH) {
        put_varint(b, s->field << 3 | VARINT);
        put_varint(b, s->form == TRUTH ? jv_bool(v, false) : (uint64_t)jv_i64_or(v, 0));
    } else if (s->form == ANYTHING) {
        put_any(b, s->field, v);
    }
}

static void put_schema(struct buf *out, jval *s);

static void put_inside(struct buf *out, jval *s)
{
    jval *v, *items = jv_get(s, "items"), *map = jv_get(s, "additionalProperties");
    const char *name;
    if (jv_is(map, J_OBJECT) || jv_is(map, J_BOOL)) {
        BUF(inner);
        BUF(schema);
        put_schema(&schema, map);
        if (jv_is(map, J_OBJECT)) {
            put_message(&inner, MAP_SCHEMA, &schema);
        } else {
            put_varint(&inner, MAP_BOOLEAN << 3 | VARINT);
            put_varint(&inner, jv_bool(map, false));
        }
        put_message(out, SCHEMA_MAP, &inner);
    }
    if (jv_str(jv_get(s, "type"))) {
        BUF(type);
        put_text(&type, TYPE_VALUE, jv_str(jv_get(s, "type")));
        put_message(out, SCHEMA_TYPE, &type);
    }
    if (items || str_eq(jv_str(jv_get(s, "type")), "array")) { /* readers want an array to say what of */
        BUF(list);
        BUF(schema);
        put_schema(&schema, items);
        put_message(&list, LIST_ENTRY, &schema);
        put_message(out, SCHEMA_ITEMS, &list);
    }
    if (jv_is(jv_get(s, "properties"), J_OBJECT)) {
        BUF(properties);
        struct jiter it = jv_iter(jv_get(s, "properties"));
        while (jv_next(&it, &name, &v)) {
            BUF(schema);
            put_schema(&schema, v);
            put_named(&properties, LIST_ENTRY, name, &schema);
        }
        put_message(out, SCHEMA_PROPERTIES, &properties);
    }
}

static void put_schema(struct buf *out, jval *s)
{
    jval *v;
    const char *name;
    if (jv_str(jv_get(s, "$ref")))
        put_text(out, SCHEMA_REF, jv_str(jv_get(s, "$ref")));
    for (size_t i = 0; i < ARRAY_LEN(simple); i++)
        if ((v = jv_get(s, simple[i].name)))
            put_simple(out, &simple[i], v);
    for (struct jiter it = jv_iter(jv_get(s, "required")); jv_next(&it, NULL, &v);)
        if (jv_str(v))
            put_text(out, SCHEMA_REQUIRED, jv_str(v));
    for (struct jiter it = jv_iter(jv_get(s, "enum")); jv_next(&it, NULL, &v);)
        put_any(out, SCHEMA_ENUM, v);
    put_inside(out, s);
    for (struct jiter it = jv_iter(s); jv_next(&it, &name, &v);) {
        BUF(text);
        BUF(any);
        if (!str_starts(name, "x-"))
            continue;
        jv_write(v, JW_COMPACT, &text);
        put_bytes(&any, ANY_YAML, text.data, text.len);
        put_named(out, SCHEMA_EXTENSION, name, &any);
    }
}

static void put_document(struct buf *out, jval *doc)
{
    BUF(info);
    BUF(all);
    put_text(out, DOC_SWAGGER, "2.0");
    put_text(&info, INFO_TITLE, jv_str(jv_get(jv_get(doc, "info"), "title")));
    put_text(&info, INFO_VERSION, jv_str(jv_get(jv_get(doc, "info"), "version")));
    put_message(out, DOC_INFO, &info);
    struct jiter it = jv_iter(jv_get(doc, "definitions"));
    const char *name;
    jval *v;
    while (jv_next(&it, &name, &v)) {
        BUF(schema);
        put_schema(&schema, v);
        put_named(&all, LIST_ENTRY, name, &schema);
    }
    put_message(out, DOC_DEFINITIONS, &all);
}

/* ---- the documents ------------------------------------------------------------------------------------------------------- */

void openapi_make_v2(jmval *schemas, bool protobuf, struct kube_doc *out)
{
    JSON_REF(newer) = jm_freeze_val(schemas);
    JM_NEW(m);
    jmval *root = jm_obj(m), *info, *definitions;
    jm_set_root(m, root);
    jm_put(m, root, "swagger", jm_str(m, "2.0"));
    info = jm_obj_at(m, root, "info");
    jm_put(m, info, "title", jm_str(m, "Kubernetes"));
    jm_put(m, info, "version", jm_str(m, "v1.34.0+tidemill." TIDEMILL_VERSION));
    jm_put(m, root, "paths", jm_obj(m));
    definitions = jm_obj_at(m, root, "definitions");
    struct jiter it = jv_iter(json_root(newer));
    const char *name;
    jval *v;
    while (jv_next(&it, &name, &v))
        jm_add(m, definitions, name, older(m, v));
    if (!protobuf) {
        kube_doc_set(out, root);
        return;
    }
    JSON_REF(d) = jm_freeze(m);
    BUF(b);
    put_document(&b, json_root(d));
    out->etag = kube_doc_hash(b.data, b.len);
    out->body = buf_steal(&b, &out->len);
}
