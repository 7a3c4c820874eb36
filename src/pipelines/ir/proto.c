#include "pipelines/ir/proto.h"

#include <math.h>

#include "base/str.h"
#include "base/timefmt.h"

#define DEPTH_MAX 200

/* Where we are, innermost last; printed only when something is wrong. */
struct place {
    const struct place *up;
    const char *name;
    long index; /* -1: name */
};

struct walk {
    struct jm *m;
    bool lenient;
    int depth;
    struct err *err;
};

static void put_place(const struct place *p, struct buf *out)
{
    if (!p)
        return;
    put_place(p->up, out);
    if (p->index >= 0)
        buf_addf(out, "[%ld]", p->index);
    else
        buf_addf(out, "%s%s", out->len ? "." : "", p->name);
}

static jmval *fail(struct walk *w, const struct place *at, const char *fmt, ...) PRINTF_LIKE(3, 4);
static jmval *fail(struct walk *w, const struct place *at, const char *fmt, ...)
{
    BUF(where);
    put_place(at, &where);
    va_list ap;
    va_start(ap, fmt);
    err_setv(w->err, ERR_BAD_REQUEST, fmt, ap);
    va_end(ap);
    err_wrap(w->err, "%s", where.len ? buf_str(&where) : "document");
    return NULL;
}

static jmval *wrong_type(struct walk *w, const struct place *at, const char *want, jval *v)
{
    return fail(w, at, "expected %s, got %s", want, jtype_name(jv_type(v)));
}

/* snake_case and lowerCamelCase name the same field. */
static bool names_field(const char *given, const char *field)
{
    for (; *given; given++, field++) {
        if (*given == '_' && given[1] >= 'a' && given[1] <= 'z') {
            given++;
            if (*field != *given - 'a' + 'A')
                return false;
        } else if (*field != *given) {
            return false;
        }
    }
    return *field == 0;
}

static const struct proto_field *find_field(const struct proto_message *msg, const char *key)
{
    for (const struct proto_field *f = msg->fields; f->name; f++)
        if (names_field(key, f->name))
            return f;
    return NULL;
}

static jmval *enum_value(struct walk *w, const struct place *at, const struct proto_enum *e, jval *v)
{
    size_t n = 0;
    while (e->values[n])
        n++;
    int64_t num;
    if (jv_i64(v, &num)) {
        if (num >= 0 && (size_t)num < n)
            return jm_str(w->m, e->values[num]);
        return fail(w, at, "%s has no value %lld", e->name, (long long)num);
    }
    if (!jv_str(v))
        return wrong_type(w, at, "the name of an enum value", v);
    for (size_t i = 0; i < n; i++)
        if (str_eq(jv_str(v), e->values[i]))
            return jm_str(w->m, e->values[i]);
    return fail(w, at, "%s has no value \"%s\"", e->name, jv_str(v));
}

static jmval *integer(struct walk *w, const struct place *at, bool wide, jval *v)
{
    int64_t i;
    bool ok = jv_str(v) ? str_to_i64(jv_str(v), &i) : jv_i64(v, &i);
    if (!ok)
        return jv_str(v) ? fail(w, at, "expected an integer, got \"%s\"", jv_str(v)) : wrong_type(w, at, "an integer", v);
    if (!wide && (i < INT32_MIN || i > INT32_MAX))
        return fail(w, at, "%lld does not fit into 32 bits", (long long)i);
    return jm_i64(w->m, i);
}

static jmval *real(struct walk *w, const struct place *at, jval *v)
{
    double d;
    if (jv_str(v) ? str_to_f64(jv_str(v), &d) : jv_f64(v, &d))
        return jm_f64(w->m, d);
    return wrong_type(w, at, "a number", v);
}

static jmval *duration(struct walk *w, const struct place *at, jval *v)
{
    int64_t ns;
    const char *s = jv_str(v);
    if (!s)
        return wrong_type(w, at, "a duration such as \"30s\"", v);
    /* Seconds and nothing else: the other units of Go's durations are none in proto3 JSON. */
    if (!str_eq(s + strspn(s, "+-0123456789."), "s") || !duration_parse(s, &ns))
        return fail(w, at, "expected a duration such as \"30s\", got \"%s\"", s);
    return jm_str(w->m, s);
}

static jmval *message(struct walk *w, const struct place *at, const struct proto_message *msg, jval *v);

static jmval *single(struct walk *w, const struct place *at, const struct proto_field *f, jval *v)
{
    switch (f->type) {
    case P_STRING:
        return jv_str(v) ? jm_val(w->m, v) : wrong_type(w, at, "a string", v);
    case P_BOOL:
        return jv_is(v, J_BOOL) ? jm_val(w->m, v) : wrong_type(w, at, "true or false", v);
    case P_INT32:
        return integer(w, at, false, v);
    case P_INT64:
        return integer(w, at, true, v);
    case P_DOUBLE:
        return real(w, at, v);
    case P_ENUM:
        return enum_value(w, at, f->of, v);
    case P_MESSAGE:
        return message(w, at, f->of, v);
    case P_STRUCT:
        return jv_is(v, J_OBJECT) ? jm_val(w->m, v) : wrong_type(w, at, "an object", v);
    case P_VALUE:
        return jm_val(w->m, v);
    case P_DURATION:
        return duration(w, at, v);
    }
    return NULL;
}

static jmval *list(struct walk *w, const struct place *at, const struct proto_field *f, jval *v)
{
    if (!jv_is(v, J_ARRAY))
        return wrong_type(w, at, "a list", v);
    jmval *out = jm_arr(w->m);
    struct jiter it = jv_iter(v);
    jval *x;
    for (long i = 0; jv_next(&it, NULL, &x); i++) {
        struct place here = {at, NULL, i};
        jmval *e = single(w, &here, f, x);
        if (!e)
            return NULL;
        jm_push(out, e);
    }
    return out;
}

static jmval *map(struct walk *w, const struct place *at, const struct proto_field *f, jval *v)
{
    if (!jv_is(v, J_OBJECT))
        return wrong_type(w, at, "an object", v);
    jmval *out = jm_obj(w->m);
    struct jiter it = jv_iter(v);
    jval *x;
    const char *key;
    while (jv_next(&it, &key, &x)) {
        struct place here = {at, key, -1};
        jmval *e = single(w, &here, f, x);
        if (!e)
            return NULL;
        jm_add(w->m, out, key, e);
    }
    return out;
}

static jmval *message(struct walk *w, const struct place *at, const struct proto_message *msg, jval *v)
{
    if (!jv_is(v, J_OBJECT))
        return wrong_type(w, at, "an object", v);
    if (++w->depth > DEPTH_MAX)
        return fail(w, at, "nested too deeply");
    jmval *out = jm_obj(w->m);
    const char *oneof[8] = {0};
    struct jiter it = jv_iter(v);
    jval *x;
    const char *key;
    while (jv_next(&it, &key, &x)) {
        const struct proto_field *f = find_field(msg, key);
        struct place here = {at, key, -1};
        if (!f && w->lenient)
            continue;
        if (!f)
            return fail(w, &here, "unknown field \"%s\" in %s", key, msg->name);
        /* In proto3 JSON null is an absent field, but for Value, which has a null of its own. */
        if (jv_is(x, J_NULL) && !(f->type == P_VALUE && f->card == P_ONE))
            continue;
        if (f->oneof && oneof[f->oneof])
            return fail(w, &here, "\"%s\" and \"%s\" exclude each other", oneof[f->oneof], f->name);
        if (f->oneof)
            oneof[f->oneof] = f->name;
        jmval *e = f->card == P_LIST ? list(w, &here, f, x) : f->card == P_MAP ? map(w, &here, f, x) : single(w, &here, f, x);
        if (!e)
            return NULL;
        jm_put(w->m, out, f->name, e);
    }
    w->depth--;
    return out;
}

jmval *proto_normalize(struct jm *m, const struct proto_message *msg, jval *v, bool lenient, struct err *err)
{
    struct walk w = {.m = m, .lenient = lenient, .err = err};
    return message(&w, NULL, msg, v);
}
