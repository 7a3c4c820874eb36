#include "kube/wire/decode.h"

#include <limits.h>

#include "base/timefmt.h"
#include "value/quantity.h"

/* The path to a value, as a chain on the stack: it costs nothing until somebody asks for the text. */
struct at {
    const struct at *up;
    const char *name; /* member or key; NULL: element */
    size_t index;
    const struct ktype *owner; /* of a member: the struct it is in; NULL: key or element */
};

struct decoder {
    struct jm *m;
    struct strlist *unknown; /* NULL: do not collect */
    struct err *err;
    bool merged; /* see decode_merged */
};

#define MAX_UNKNOWN 100

static void path_text(const struct at *at, struct buf *out)
{
    if (!at)
        return;
    path_text(at->up, out);
    if (!at->name)
        buf_addf(out, "[%zu]", at->index);
    else
        buf_addf(out, "%s%s", out->len ? "." : "", at->name);
}

/* The path as Go's decoder gives it: names of fields only. */
static void go_path(const struct at *at, struct buf *out)
{
    if (!at)
        return;
    go_path(at->up, out);
    if (at->owner)
        buf_addf(out, "%s%s", out->len ? "." : "", at->name);
}

static const char *go_kind(jval *v)
{
    switch (jv_type(v)) {
    case J_STRING:
        return "string";
    case J_NUMBER:
        return strpbrk(jv_num_text(v), ".eE") ? "float64" : "int64";
    case J_BOOL:
        return "bool";
    case J_ARRAY:
        return "slice";
    default:
        return "map";
    }
}

static int wrong_shape(struct decoder *d, jval *v, const char *want)
{
    if (!strcmp(want, "struct"))
        return err_set(d->err, ERR_BAD_REQUEST, "cannot restore struct from: %s", go_kind(v));
    if (!strcmp(want, "slice") || !strcmp(want, "map"))
        return err_set(d->err, ERR_BAD_REQUEST, "cannot restore %s from %s", want, go_kind(v));
    return err_set(d->err, ERR_BAD_REQUEST, "unrecognized type: %s", want);
}

static int wrong_type(struct decoder *d, const struct at *at, jval *v, const char *want)
{
    if (d->merged)
        return wrong_shape(d, v, want);
    const char *got = jtype_name(jv_type(v));
    bool number = jv_is(v, J_NUMBER) && (!strncmp(want, "int", 3) || !strcmp(want, "float64"));
    const struct at *member = at;
    while (member && !member->owner)
        member = member->up;
    BUF(path);
    go_path(member, &path);
    return err_set(d->err, ERR_BAD_REQUEST, "json: cannot unmarshal %s%s%s into Go %s%s%s%s of type %s", got, number ? " " : "",
                   number ? jv_num_text(v) : "", member ? "struct field " : "value", member ? member->owner->name : "",
                   member ? "." : "", buf_str(&path), want);
}

static void unknown_field(struct decoder *d, const struct at *at)
{
    if (!d->unknown || d->unknown->n >= MAX_UNKNOWN)
        return;
    BUF(path);
    path_text(at, &path);
    AUTOFREE char *text = xasprintf("unknown field \"%s\"", buf_str(&path));
    if (!strlist_has(d->unknown, text))
        strlist_add(d->unknown, text);
}

/* ---- scalars: *out stays NULL for "zero", which the caller drops or writes as the field says --------------------------------
 */

static int decode_string(struct decoder *d, const struct at *at, jval *v, jmval **out)
{
    if (!jv_is(v, J_STRING))
        return wrong_type(d, at, v, "string");
    *out = jm_val(d->m, v);
    return 0;
}

/* Integers are taken as text: 1.0 and 1e3 are refused, as Go does (but not after a merge). */
static int decode_int(struct decoder *d, const struct at *at, jval *v, bool wide, jmval **out)
{
    int64_t n;
    const char *want = wide ? "int64" : "int32";
    if (!jv_is(v, J_NUMBER) || (!d->merged && strpbrk(jv_num_text(v), ".eE")) || !jv_i64(v, &n))
        return wrong_type(d, at, v, want);
    if (!wide && (n < INT32_MIN || n > INT32_MAX))
        return wrong_type(d, at, v, want);
    *out = jm_i64(d->m, n);
    return 0;
}

static int decode_bytes(struct decoder *d, const struct at *at, jval *v, jmval **out)
{
    if (!jv_is(v, J_STRING))
        return wrong_type(d, at, v, "[]uint8");
    const char *s = jv_str(v);
    AUTOFREE char *clean = NULL;
    size_t n = jv_len(v);
    if (memchr(s, '\n', n) || memchr(s, '\r', n)) { /* line breaks are allowed inside */
        char *w = clean = xmalloc(n + 1);
        for (size_t i = 0; i < n; i++)
            if (s[i] != '\n' && s[i] != '\r')
                *w++ = s[i];
        *w = 0;
        s = clean;
        n = (size_t)(w - clean);
    }
    AUTOFREE unsigned char *raw = NULL;
    size_t raw_len;
    if (base64_decode(s, n, &raw, &raw_len) < 0) {
        size_t bad = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
        return err_set(d->err, ERR_BAD_REQUEST, "illegal base64 data at input byte %zu", bad);
    }
    AUTOFREE char *text = base64_encode(raw, raw_len);
    *out = jm_str(d->m, text);
    return 0;
}

#define QUANTITY_FORM "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"

/* Kubernetes' words: the text as a whole has the wrong form, or only its suffix means nothing. */
static const char *quantity_fault(const char *s)
{
    s += *s == '+' || *s == '-';
    size_t digits = strspn(s, "0123456789.");
    s += digits;
    s += strspn(s, "eEinumkKMGTP");
    s += *s == '+' || *s == '-';
    s += strspn(s, "0123456789");
    return digits && !*s ? "unable to parse quantity's suffix"
                         : "quantities must match the regular expression '" QUANTITY_FORM "'";
}

static int decode_quantity(struct decoder *d, jval *v, jmval **out)
{
    BUF(text);
    if (jv_is(v, J_STRING))
        buf_add(&text, jv_str(v), jv_len(v));
    else
        jv_write(v, JW_COMPACT, &text);
    struct quantity q;
    char canonical[QUANTITY_TEXT_MAX];
    if (strlen(buf_str(&text)) != text.len)
        buf_reset(&text); /* a NUL inside is as wrong as nothing */
    if (quantity_parse(buf_str(&text), &q, NULL) < 0)
        return err_set(d->err, ERR_BAD_REQUEST, "%s", quantity_fault(buf_str(&text)));
    *out = jm_str(d->m, quantity_text_kept(buf_str(&text)) ? buf_str(&text) : quantity_format(&q, canonical));
    return 0;
}

static bool six_digits(const char *s)
{
    const char *dot = strchr(s, '.');
    return dot && strspn(dot + 1, "0123456789") == 6;
}

static int decode_time(struct decoder *d, const struct at *at, jval *v, bool micro, jmval **out)
{
    int64_t ns;
    char text[TIME_TEXT_MAX];
    const char *s = jv_str(v);
    if (!s)
        return wrong_type(d, at, v, micro ? "v1.MicroTime" : "v1.Time");
    if (str_starts(s, "0001-01-01T00:00:00") && str_ends(s, "Z"))
        return 0; /* Go's zero time */
    if ((micro && !six_digits(s)) || !time_parse(s, &ns))
        return err_set(d->err, ERR_BAD_REQUEST, "parsing time \"%s\" as \"%s\": it does not match", s,
                       micro ? "2006-01-02T15:04:05.000000Z07:00" : "2006-01-02T15:04:05Z07:00");
    *out = jm_str(d->m, time_format(text, ns, micro ? TIME_MICROS : TIME_SECONDS));
    return 0;
}

static int decode_duration(struct decoder *d, const struct at *at, jval *v, jmval **out)
{
    int64_t ns;
    char text[TIME_TEXT_MAX];
    if (!jv_is(v, J_STRING))
        return wrong_type(d, at, v, "string");
    if (!duration_parse(jv_str(v), &ns))
        return err_set(d->err, ERR_BAD_REQUEST, "time: invalid duration \"%s\"", jv_str(v));
    *out = jm_str(d->m, duration_format(text, ns));
    return 0;
}

static int decode_struct(struct decoder *d, const struct at *at, const struct ktype *t, jval *v, jmval **out);

/* JSON Schema's `additionalProperties: false` and the like. Inside, unknown fields vanish without a word. */
static int decode_union(struct decoder *d, const struct at *at, const struct kfield *f, jval *v, jmval **out)
{
    struct decoder quiet = *d;
    quiet.unknown = NULL;
    if (jv_is(v, J_OBJECT))
        return decode_struct(&quiet, at, f->type, v, out);
    if (f->form == KFORM_SCHEMAORBOOL) {
        if (!jv_is(v, J_BOOL))
            return err_set(d->err, ERR_BAD_REQUEST, "json: boolean or JSON schema expected");
        *out = jm_val(d->m, v);
        return 0;
    }
    if (!jv_is(v, J_ARRAY))
        return err_set(d->err, ERR_BAD_REQUEST, "json: array or JSON schema expected");
    *out = jm_arr(d->m);
    struct jiter it = jv_iter(v);
    jval *x;
    for (size_t i = 0; jv_next(&it, NULL, &x); i++) {
        struct at here = {at, NULL, i, NULL};
        jmval *e = NULL;
        if (f->form == KFORM_SCHEMAORARRAY ? decode_struct(&quiet, &here, f->type, x, &e) : decode_string(&quiet, &here, x, &e))
            return -1;
        jm_push(*out, e);
    }
    return 0;
}

/* One value of a field's form (not null). *out stays NULL when it is a zero that JSON cannot show (the zero time). */
static int decode_one(struct decoder *d, const struct at *at, const struct kfield *f, jval *v, jmval **out)
{
    switch ((enum kform)f->form) {
    case KFORM_STRING:
        return decode_string(d, at, v, out);
    case KFORM_INT32:
        return decode_int(d, at, v, false, out);
    case KFORM_INT64:
        return decode_int(d, at, v, true, out);
    case KFORM_BOOL:
        *out = jv_is(v, J_BOOL) ? jm_val(d->m, v) : NULL;
        return *out ? 0 : wrong_type(d, at, v, "bool");
    case KFORM_DOUBLE:
        *out = jv_is(v, J_NUMBER) ? jm_val(d->m, v) : NULL;
        return *out ? 0 : wrong_type(d, at, v, "float64");
    case KFORM_BYTES:
        return decode_bytes(d, at, v, out);
    case KFORM_QUANTITY:
        return decode_quantity(d, v, out);
    case KFORM_INTORSTRING:
        return jv_is(v, J_STRING) ? decode_string(d, at, v, out) : decode_int(d, at, v, false, out);
    case KFORM_TIME:
    case KFORM_MICROTIME:
        return decode_time(d, at, v, f->form == KFORM_MICROTIME, out);
    case KFORM_DURATION:
        return decode_duration(d, at, v, out);
    case KFORM_RAW:
        *out = jm_val(d->m, v);
        return 0;
    case KFORM_EMPTY:
        *out = jv_is(v, J_OBJECT) ? jm_obj(d->m) : NULL;
        return *out ? 0 : wrong_type(d, at, v, "struct");
    case KFORM_STRUCT:
        return decode_struct(d, at, f->type, v, out);
    case KFORM_SCHEMAORBOOL:
    case KFORM_SCHEMAORARRAY:
    case KFORM_SCHEMAORSTRINGS:
        return decode_union(d, at, f, v, out);
    }
    ASSERT(!"form of a field");
    return -1;
}

/* What stands for "nothing" where a value must be written: an element that was null, or a field that is always there. */
static int zero_of(struct decoder *d, const struct kfield *f, jmval **out)
{
    switch ((enum kform)f->form) {
    case KFORM_STRING:
        *out = jm_str(d->m, "");
        return 0;
    case KFORM_INT32:
    case KFORM_INT64:
    case KFORM_DOUBLE:
    case KFORM_INTORSTRING:
        *out = jm_i64(d->m, 0);
        return 0;
    case KFORM_BOOL:
        *out = jm_bool(d->m, false);
        return 0;
    case KFORM_QUANTITY:
        *out = jm_str(d->m, "0");
        return 0;
    case KFORM_DURATION:
        *out = jm_str(d->m, "0s");
        return 0;
    case KFORM_EMPTY:
        *out = jm_obj(d->m);
        return 0;
    case KFORM_STRUCT:
        return decode_struct(d, NULL, f->type, NULL, out);
    default:
        *out = jm_null(d->m);
        return 0;
    }
}

/* "[]v1.Container", "map[string]string" */
static int wrong_container(struct decoder *d, const struct at *at, jval *v, const struct kfield *f, const char *kind,
                           const char *prefix)
{
    static const char *const names[] = {
        [KFORM_INT32] = "int32",    [KFORM_INT64] = "int64",   [KFORM_BOOL] = "bool",
        [KFORM_DOUBLE] = "float64", [KFORM_BYTES] = "[]uint8", [KFORM_QUANTITY] = "resource.Quantity",
        [KFORM_RAW] = "v1.JSON"};
    const char *name = f->form < ARRAY_LEN(names) && names[f->form] ? names[f->form] : "string";
    AUTOFREE char *want = f->type ? xasprintf("%sv1.%s", prefix, f->type->name) : xasprintf("%s%s", prefix, name);
    return wrong_type(d, at, v, d->merged ? kind : want);
}

static int decode_list(struct decoder *d, const struct at *at, const struct kfield *f, jval *v, jmval **out)
{
    if (!jv_is(v, J_ARRAY))
        return wrong_container(d, at, v, f, "slice", "[]");
    jmval *arr = jm_arr(d->m);
    struct jiter it = jv_iter(v);
    jval *x;
    for (size_t i = 0; jv_next(&it, NULL, &x); i++) {
        struct at here = {at, NULL, i, NULL};
        jmval *e = NULL;
        if (jv_present(x) && decode_one(d, &here, f, x, &e) < 0)
            return -1;
        if (!e && zero_of(d, f, &e) < 0)
            return -1;
        jm_push(arr, e);
    }
    *out = jv_len(v) ? arr : NULL;
    return 0;
}

static int decode_map(struct decoder *d, const struct at *at, const struct kfield *f, jval *v, jmval **out)
{
    if (!jv_is(v, J_OBJECT))
        return wrong_container(d, at, v, f, "map", f->shape == KSHAPE_MAPLIST ? "map[string][]" : "map[string]");
    jmval *obj = jm_obj(d->m);
    struct jiter it = jv_iter(v);
    const char *key;
    jval *x;
    while (jv_next(&it, &key, &x)) {
        struct at here = {at, key, 0, NULL};
        jmval *e = NULL;
        if (f->shape == KSHAPE_MAPLIST) {
            if (jv_present(x) && decode_list(d, &here, f, x, &e) < 0)
                return -1;
            e = e ? e : jv_is(x, J_ARRAY) ? jm_arr(d->m) : jm_null(d->m);
        } else if (jv_present(x) && decode_one(d, &here, f, x, &e) < 0) {
            return -1;
        }
        if (!e && zero_of(d, f, &e) < 0)
            return -1;
        jm_add(d->m, obj, key, e);
    }
    *out = jv_len(v) ? obj : NULL;
    return 0;
}

/* Whether a scalar that was given is the zero value, which an optional field that is no pointer does not keep. */
static bool is_zero(const struct kfield *f, jmval *v)
{
    int64_t n;
    switch ((enum kform)f->form) {
    case KFORM_STRING:
    case KFORM_BYTES:
        return jmv_len(v) == 0;
    case KFORM_INT32:
    case KFORM_INT64:
    case KFORM_DOUBLE:
        return jmv_i64(v, &n) && n == 0;
    case KFORM_BOOL:
        return !jmv_bool(v, false);
    default:
        return false;
    }
}

static int wrong_struct(struct decoder *d, const struct at *at, jval *v, const struct ktype *t)
{
    AUTOFREE char *want = xasprintf("v1.%s", t->name);
    return wrong_type(d, at, v, d->merged ? "struct" : want);
}

/* The value of a field that is in the document. *out stays NULL when nothing is to be kept of it. */
static int decode_given(struct decoder *d, const struct at *at, const struct kfield *f, jval *v, jmval **out)
{
    if (!jv_present(v))
        return 0;
    if (f->shape == KSHAPE_LIST)
        return decode_list(d, at, f, v, out);
    if (f->shape != KSHAPE_ONE)
        return decode_map(d, at, f, v, out);
    if (decode_one(d, at, f, v, out) < 0)
        return -1;
    if (*out && !(f->flags & (KFIELD_POINTER | KFIELD_KEEP)) && is_zero(f, *out))
        *out = NULL;
    return 0;
}

/* What an always written field shows when there is nothing. */
static int decode_absent(struct decoder *d, const struct kfield *f, jmval **out)
{
    if (!(f->flags & KFIELD_KEEP))
        return 0;
    if (f->shape == KSHAPE_ONE && !(f->flags & KFIELD_POINTER))
        return zero_of(d, f, out);
    *out = jm_null(d->m);
    return 0;
}

/* Members are read in the order of the document (that of the warnings) and written in the order of the type. */
static int decode_struct(struct decoder *d, const struct at *at, const struct ktype *t, jval *v, jmval **out)
{
    if (v && !jv_is(v, J_OBJECT) && !jv_is(v, J_NULL))
        return wrong_struct(d, at, v, t);
    AUTOFREE jmval **slots = xcalloc(t->n_fields + 1, sizeof *slots);
    struct jiter it = jv_iter(v);
    const char *key;
    jval *x;
    while (jv_is(v, J_OBJECT) && jv_next(&it, &key, &x)) {
        const struct kfield *f = ktype_field(t, key);
        struct at here = {at, key, 0, t};
        if (!f)
            unknown_field(d, &here);
        else if (decode_given(d, &here, f, x, &slots[f - t->fields]) < 0)
            return -1;
    }
    jmval *obj = *out = jm_obj(d->m);
    for (size_t i = 0; i < t->n_fields; i++) {
        if (!slots[i] && decode_absent(d, &t->fields[i], &slots[i]) < 0)
            return -1;
        if (slots[i])
            jm_add(d->m, obj, t->fields[i].name, slots[i]);
    }
    return 0;
}

static struct json *decode_root(const struct ktype *t, jval *v, bool merged, struct strlist *unknown, struct err *err)
{
    JM_NEW(m);
    struct decoder d = {m, unknown, err, merged};
    jmval *out = NULL;
    if (decode_struct(&d, NULL, t, v, &out) < 0)
        return NULL;
    jm_set_root(m, out);
    return jm_freeze(m);
}

struct json *decode_value(const struct ktype *t, jval *v, struct strlist *unknown, struct err *err)
{
    return decode_root(t, v, false, unknown, err);
}

struct json *decode_merged(const struct ktype *t, jval *v, struct strlist *unknown, struct err *err)
{
    return decode_root(t, v, true, unknown, err);
}
