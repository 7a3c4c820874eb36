/* apply_check.c - does a configuration fit the schema, so that it can be applied? All that does not is told. */
#include "kube/apply/apply_priv.h"

static void check(const struct ftype *type, jval *v, struct buf *at, struct strlist *out);

static void tell(struct strlist *out, const struct buf *at, const char *text)
{
    strlist_addf(out, "%s%s%s", buf_str(at), at->len ? ": " : "", text);
}

/* A value as the server's own language prints it. */
static void show(jval *v, bool typed, struct buf *out)
{
    buf_adds(out, typed ? "&value.valueUnstructured{Value:" : "&{");
    if (jv_str(v) && !typed)
        buf_adds(out, jv_str(v));
    else if (jv_is(v, J_NULL))
        buf_adds(out, typed ? "interface {}(nil)" : "<nil>");
    else
        jv_write(v, JW_COMPACT, out);
    buf_addc(out, '}');
}

static const char *go_type(jval *v)
{
    switch (jv_type(v)) {
    case J_STRING:
        return "string";
    case J_BOOL:
        return "bool";
    case J_ARRAY:
        return "[]interface {}";
    case J_OBJECT:
        return "map[string]interface {}";
    default:
        return "float64";
    }
}

/* What a scalar may be: 's', 'n', 'b', or 0 for any. */
static char scalar_of(const struct ftype *t)
{
    if (t->schema) {
        const char *type = jv_str(jv_get(t->schema, "type"));
        return str_eq(type, "string")                              ? 's'
               : str_eq(type, "boolean")                           ? 'b'
               : str_eq(type, "integer") || str_eq(type, "number") ? 'n'
                                                                   : 0;
    }
    if (!t->field)
        return 0;
    switch (t->field->form) {
    case KFORM_STRING:
    case KFORM_BYTES:
    case KFORM_DURATION:
        return 's';
    case KFORM_INT32:
    case KFORM_INT64:
    case KFORM_DOUBLE:
        return 'n';
    case KFORM_BOOL:
        return 'b';
    default:
        return 0;
    }
}

static void check_scalar(const struct ftype *t, jval *v, struct buf *at, struct strlist *out)
{
    char want = scalar_of(t);
    BUF(text);
    if (jv_is(v, J_NULL) || (want == 's' && jv_is(v, J_STRING)) || (want == 'n' && jv_is(v, J_NUMBER)) ||
        (want == 'b' && jv_is(v, J_BOOL)) || (!want && !jv_is(v, J_OBJECT) && !jv_is(v, J_ARRAY)))
        return;
    if (want == 'n') {
        buf_addf(&text, "expected numeric (int or float), got %s", go_type(v));
    } else {
        buf_addf(&text, "expected %s, got ", want == 's' ? "string" : want == 'b' ? "boolean" : "any scalar");
        show(v, want == 's', &text);
    }
    tell(out, at, buf_str(&text));
}

static void check_items(const struct ftype *t, jval *v, struct buf *at, struct strlist *out)
{
    CLEANUP(strmap_free) struct strmap seen = STRMAP_INIT(NULL);
    struct ftype of = ftype_element(t);
    for (size_t i = 0; i < jv_len(v); i++) {
        size_t len = at->len;
        BUF(step);
        BUF(text);
        ERR(e);
        if (t->atomic) {
            buf_addf(&step, "i:%zu", i);
        } else if (ftype_step(t, jv_at(v, i), &step, &e) < 0) {
            buf_addf(&text, "element %zu: %s", i, err_text(&e));
            tell(out, at, buf_str(&text));
            return;
        }
        fset_step_text(buf_str(&step), &text);
        if (!t->atomic && strmap_get(&seen, buf_str(&step))) {
            AUTOFREE char *twice = xasprintf("duplicate entries for key %s", buf_str(&text));
            tell(out, at, twice);
        }
        strmap_put(&seen, buf_str(&step), &seen);
        buf_adds(at, buf_str(&text));
        check(&of, jv_at(v, i), at, out);
        at->data[at->len = len] = '\0';
    }
}

static void check_members(const struct ftype *t, jval *v, struct buf *at, struct strlist *out)
{
    struct jiter it = jv_iter(v);
    const char *key;
    jval *x;
    while (jv_next(&it, &key, &x)) {
        struct ftype of;
        size_t len = at->len;
        bool known = ftype_member(t, key, &of);
        buf_addf(at, ".%s", key);
        if (!known && ftype_closed(t))
            tell(out, at, "field not declared in schema");
        else
            check(&of, x, at, out);
        at->data[at->len = len] = '\0';
    }
}

static void check(const struct ftype *type, jval *v, struct buf *at, struct strlist *out)
{
    struct ftype t = ftype_for(type, v);
    BUF(text);
    if (t.form == FT_SCALAR) {
        check_scalar(&t, v, at, out);
    } else if (jv_is(v, J_NULL)) {
        return;
    } else if (!jv_is(v, t.form == FT_LIST ? J_ARRAY : J_OBJECT)) {
        buf_addf(&text, "expected %s, got ", t.form == FT_LIST ? "list" : "map");
        show(v, false, &text);
        tell(out, at, buf_str(&text));
    } else if (t.form == FT_LIST) {
        check_items(&t, v, at, out);
    } else {
        check_members(&t, v, at, out);
    }
}

int apply_check(const struct ftype *t, jval *obj, struct err *err)
{
    STRLIST(bad);
    BUF(at);
    struct ftype root = ftype_for(t, obj);
    check_members(&root, obj, &at, &bad);
    if (!bad.n)
        return 0;
    if (bad.n == 1)
        return err_set(err, ERR_BAD_REQUEST, "%s", bad.v[0]);
    AUTOFREE char *all = strlist_join(&bad, "\n  ");
    return err_set(err, ERR_BAD_REQUEST, "errors:\n  %s", all);
}
