/* apply_type.c - types of places in objects: from the tables, from schemas, or deduced. */
#include <stdlib.h>

#include "kube/apply/apply_priv.h"
#include "kube/schema/schema_priv.h"

static const struct ftype any = {.form = FT_ANY}, scalar = {.form = FT_SCALAR};

/* ---- schemas of custom kinds ---------------------------------------------------------------------------------------------- */

static struct ftype of_schema(jval *s)
{
    const char *type = jv_str(jv_get(s, "type"));
    bool preserve = jv_bool(jv_get(s, "x-kubernetes-preserve-unknown-fields"), false);
    struct ftype t = {.form = FT_ANY, .schema = s, .object = jv_bool(jv_get(s, "x-kubernetes-embedded-resource"), false)};
    if (!s || jv_bool(jv_get(s, "x-kubernetes-int-or-string"), false))
        return s ? scalar : any;
    if (str_eq(type, "array")) {
        const char *list = jv_str(jv_get(s, "x-kubernetes-list-type"));
        t.form = FT_LIST;
        t.atomic = !str_eq(list, "map") && !str_eq(list, "set");
    } else if (str_eq(type, "object") && (jv_get(s, "properties") || jv_get(s, "additionalProperties") || !preserve)) {
        t.form = jv_get(s, "properties") ? FT_STRUCT : FT_MAP;
        t.atomic = str_eq(jv_str(jv_get(s, "x-kubernetes-map-type")), "atomic");
    } else if (type && !str_eq(type, "object")) {
        t.form = FT_SCALAR;
    }
    return t;
}

/* ---- tables of built-in kinds ------------------------------------------------------------------------------------------------
 */

static struct ftype of_struct(const struct ktype *type)
{
    return (struct ftype){.form = FT_STRUCT, .type = type, .atomic = type->atomic};
}

/* One value of the field, without its list or map. */
static struct ftype of_value(const struct kfield *f)
{
    if (f->form == KFORM_STRUCT)
        return of_struct(f->type);
    if (f->form == KFORM_RAW || f->form == KFORM_EMPTY || f->form >= KFORM_SCHEMAORBOOL)
        return (struct ftype){.form = FT_ANY, .atomic = true};
    return (struct ftype){.form = FT_SCALAR, .field = f};
}

static struct ftype of_field(const struct kfield *f)
{
    struct ftype t = {.field = f};
    switch (f->shape) {
    case KSHAPE_LIST:
        t.form = FT_LIST;
        t.atomic = !f->map_keys && !(f->flags & KFIELD_SET);
        return t;
    case KSHAPE_MAP:
    case KSHAPE_MAPLIST:
        t.form = FT_MAP;
        t.atomic = f->flags & KFIELD_ATOMIC;
        return t;
    default:
        t = of_value(f);
        t.atomic |= (f->flags & KFIELD_ATOMIC) != 0;
        return t;
    }
}

/* ---- doors ----------------------------------------------------------------------------------------------------------------- */

struct ftype ftype_of(const struct ktype *type, const struct schema *schema)
{
    struct ftype t = type ? of_struct(type) : schema ? of_schema(json_root(schema->doc)) : any;
    t.object = true;
    return t;
}

struct ftype ftype_for(const struct ftype *t, jval *v)
{
    if (t->form != FT_ANY)
        return *t;
    struct ftype out = *t;
    out.form = jv_is(v, J_OBJECT) ? FT_MAP : jv_is(v, J_ARRAY) ? FT_LIST : FT_SCALAR;
    out.atomic |= out.form == FT_LIST;
    return out;
}

bool ftype_member(const struct ftype *t, const char *name, struct ftype *out)
{
    *out = any;
    if (t->object && (strcmp(name, "apiVersion") == 0 || strcmp(name, "kind") == 0)) {
        *out = scalar;
        return true;
    }
    if (t->type && t->form == FT_STRUCT) {
        const struct kfield *f = ktype_field(t->type, name);
        if (f)
            *out = of_field(f);
        return f != NULL;
    }
    if (t->object && strcmp(name, "metadata") == 0) {
        *out = of_struct(ktype_find("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"));
        return true;
    }
    if (t->field && t->field->shape == KSHAPE_MAPLIST)
        *out = (struct ftype){.form = FT_LIST, .atomic = true};
    else if (t->field)
        *out = of_value(t->field);
    jval *s = jv_get(jv_get(t->schema, "properties"), name);
    if (s) {
        *out = of_schema(s);
        return true;
    }
    if (jv_is(jv_get(t->schema, "additionalProperties"), J_OBJECT))
        *out = of_schema(jv_get(t->schema, "additionalProperties"));
    return false;
}

bool ftype_closed(const struct ftype *t)
{
    if (!t->schema)
        return t->form == FT_STRUCT && t->type;
    return !jv_bool(jv_get(t->schema, "x-kubernetes-preserve-unknown-fields"), false) &&
           !jv_present(jv_get(t->schema, "additionalProperties"));
}

struct ftype ftype_element(const struct ftype *list)
{
    if (list->field)
        return of_value(list->field);
    return list->schema ? of_schema(jv_get(list->schema, "items")) : any;
}

/* ---- items of lists ----------------------------------------------------------------------------------------------------------
 */

static void keys_of(const struct ftype *list, struct strlist *keys)
{
    for (const char *const *k = list->field ? list->field->map_keys : NULL; k && *k; k++)
        strlist_add(keys, *k);
    struct jiter it = jv_iter(jv_get(list->schema, "x-kubernetes-list-map-keys"));
    jval *v;
    while (jv_next(&it, NULL, &v))
        strlist_add(keys, jv_str_or(v, ""));
    strlist_sort(keys);
}

/* What a key is when an item does not say it; NULL: nothing. */
static struct json *key_default(const struct ftype *list, const char *key)
{
    if (list->schema) {
        jval *d = jv_get(jv_get(jv_get(jv_get(list->schema, "items"), "properties"), key), "default");
        return d ? json_from(d) : NULL;
    }
    const struct kfield *f = list->field->type ? ktype_field(list->field->type, key) : NULL;
    if (!f)
        return NULL;
    if (f->dflt)
        return json_parse_str(f->dflt, NULL);
    if (!(f->flags & KFIELD_REQUIRED))
        return NULL;
    return json_parse_str(f->form == KFORM_INT32 || f->form == KFORM_INT64 ? "0" : "\"\"", NULL);
}

static int keyed_step(const struct ftype *list, const struct strlist *keys, jval *item, struct buf *step, struct err *err)
{
    if (!jv_is(item, J_OBJECT))
        return err_set(err, ERR_BAD_REQUEST, "associative list with keys may not have %s element%s",
                       jv_is(item, J_NULL) ? "a null" : "non-map", jv_is(item, J_NULL) ? "" : "s");
    size_t n = 0;
    buf_adds(step, "k:{");
    for (size_t i = 0; i < keys->n; i++) {
        JSON_REF(dflt) = NULL;
        jval *v = jv_get(item, keys->v[i]);
        if (!v && (dflt = key_default(list, keys->v[i])))
            v = json_root(dflt);
        if (!v)
            continue;
        buf_adds(step, n++ ? "," : "");
        json_quote(step, keys->v[i], strlen(keys->v[i]));
        buf_addc(step, ':');
        jv_write(v, JW_COMPACT | JW_SORTED, step);
    }
    buf_addc(step, '}');
    if (n)
        return 0;
    AUTOFREE char *all = strlist_join(keys, "\" \"");
    return err_set(
        err, ERR_BAD_REQUEST,
        "associative list with keys has an element that omits all key fields [\"%s\"] (and doesn't have default values "
        "for any key fields)",
        all);
}

int ftype_step(const struct ftype *list, jval *item, struct buf *step, struct err *err)
{
    STRLIST(keys);
    keys_of(list, &keys);
    if (keys.n)
        return keyed_step(list, &keys, item, step, err);
    if (jv_is(item, J_OBJECT))
        return err_set(err, ERR_BAD_REQUEST, "associative list without keys has an element that's a map type");
    if (jv_is(item, J_ARRAY))
        return err_set(err, ERR_BAD_REQUEST, "not supported: associative list with lists as elements");
    if (jv_is(item, J_NULL))
        return err_set(err, ERR_BAD_REQUEST, "associative list without keys has an element that's an explicit null");
    buf_adds(step, "v:");
    jv_write(item, JW_COMPACT, step);
    return 0;
}
