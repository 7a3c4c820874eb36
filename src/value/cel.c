/* The face of the engine: compiling, evaluating, and what becomes of the result. */
#include "value/cel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "value/cel_priv.h"

#define DEFAULT_COST 1000000

/* ---- libraries ------------------------------------------------------------------------------------------------ */

static const struct library {
    const struct cel_fn *fns;
    bool kubernetes, pipelines; /* only in these environments */
} libraries[] = {
    {cel_lib_std, false, false},    {cel_lib_time, false, false},    {cel_lib_optional, false, false},
    {cel_lib_strings, true, false}, {cel_lib_format, true, false},   {cel_lib_lists, true, false},
    {cel_lib_regex, true, false},   {cel_lib_quantity, true, false}, {cel_lib_url, true, false},
    {cel_lib_net, true, false},     {cel_lib_sets, true, false},     {cel_lib_pipelines, false, true},
    {cel_lib_semver, true, false},  {cel_lib_named, true, false},
};

static bool library_on(const struct cel_program *p, const struct library *l)
{
    return (!l->kubernetes || p->kubernetes) && (!l->pipelines || p->pipelines);
}

unsigned cel_find_fns(const struct cel_program *p, const char *name, enum cel_how how, unsigned n, const struct cel_fn **out)
{
    unsigned found = 0;
    for (size_t i = 0; i < ARRAY_LEN(libraries); i++) {
        if (!library_on(p, &libraries[i]))
            continue;
        for (const struct cel_fn *f = libraries[i].fns; f->name; f++) {
            if (!(f->how & how) || n < f->min || n > f->max || strcmp(f->name, name) != 0)
                continue;
            ASSERT(found < CEL_OVERLOADS);
            out[found++] = f;
        }
    }
    return found;
}

bool cel_fn_known(const struct cel_program *p, const char *name, enum cel_how how)
{
    for (size_t i = 0; i < ARRAY_LEN(libraries); i++)
        for (const struct cel_fn *f = libraries[i].fns; f->name && library_on(p, &libraries[i]); f++)
            if ((f->how & how) && strcmp(f->name, name) == 0)
                return true;
    return false;
}

/* ---- compiling ------------------------------------------------------------------------------------------------ */

static struct cel_program *program_new(const char *expression, const struct cel_env *env)
{
    struct cel_program *p = xcalloc(1, sizeof *p);
    p->source = arena_strdup(&p->arena, expression);
    p->numbers_as_double = env->numbers_as_double;
    p->kubernetes = env->kubernetes;
    p->pipelines = env->pipelines;
    p->formats = env->formats;
    while (env->variables && env->variables[p->n_variables])
        p->n_variables++;
    const char **names = arena_alloc(&p->arena, (p->n_variables + 1) * sizeof(char *));
    for (unsigned i = 0; i < p->n_variables; i++)
        names[i] = arena_strdup(&p->arena, env->variables[i]);
    p->variables = names;
    return p;
}

struct cel_program *cel_compile(const char *expression, const struct cel_env *env, struct err *err)
{
    size_t len = strlen(expression);
    if (len > CEL_SOURCE_MAX)
        return err_set(err, ERR_INVALID, "1:1: the expression has %zu bytes, at most %u are allowed", len, CEL_SOURCE_MAX), NULL;
    if (!str_utf8_valid(expression, len))
        return err_set(err, ERR_INVALID, "1:1: the expression is not valid UTF-8"), NULL;
    struct cel_program *p = program_new(expression, env);
    if (cel_parse(p, err) < 0) {
        cel_free(p);
        return NULL;
    }
    return p;
}

void cel_free(struct cel_program *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n_regexes; i++)
        regex_free(p->regexes[i]);
    free(p->regexes);
    arena_free(&p->arena);
    free(p);
}

/* ---- evaluating ----------------------------------------------------------------------------------------------- */

const struct cel_value *cel_eval(const struct cel_program *p, const struct cel_input *in, struct arena *a, struct err *err)
{
    ERR(e); /* && and || look at the error, so there must be one even when the caller wants none */
    struct cel_run r = {.prog = p, .a = a, .err = &e};
    r.vars = in ? in->values : NULL;
    r.left = in && in->cost_limit ? in->cost_limit : DEFAULT_COST;
    r.locals = arena_alloc(a, (p->n_locals + 1) * sizeof(struct cel_value *));
    const struct cel_value *v = cel_run_node(&r, p->root);
    if (!v)
        err_move(err, &e);
    return v;
}

int cel_eval_bool(const struct cel_program *p, const struct cel_input *in, bool *out, struct err *err)
{
    ARENA(a);
    const struct cel_value *v = cel_eval(p, in, &a, err);
    if (!v)
        return -1;
    if (v->kind != CEL_BOOL)
        return err_set(err, ERR_INVALID, "the result of the expression is %s, not bool", cel_kind_name(v->kind));
    *out = v->b;
    return 0;
}

enum cel_kind cel_kind_of(const struct cel_value *v) { return v->kind; }
const char *cel_string(const struct cel_value *v) { return v->kind == CEL_STRING ? v->s : NULL; }

/* ---- results as JSON ------------------------------------------------------------------------------------------ */

static jmval *list_to_json(const struct cel_value *v, struct jm *m, struct err *err)
{
    jmval *arr = jm_arr(m);
    for (size_t i = 0; i < v->len; i++) {
        jmval *x = cel_to_json(v->items[i], m, err);
        if (!x)
            return NULL;
        jm_push(arr, x);
    }
    return arr;
}

static bool key_text(const struct cel_value *k, struct buf *b)
{
    buf_adds(b, "");
    switch (k->kind) {
    case CEL_STRING:
        buf_add(b, k->s, k->n);
        return !memchr(k->s, 0, k->n);
    case CEL_BOOL:
        buf_adds(b, k->b ? "true" : "false");
        return true;
    case CEL_INT:
        buf_addf(b, "%lld", (long long)k->i);
        return true;
    case CEL_UINT:
        buf_addf(b, "%llu", (unsigned long long)k->u);
        return true;
    default:
        return false;
    }
}

static jmval *map_to_json(const struct cel_value *v, struct jm *m, struct err *err)
{
    jmval *obj = jm_obj(m);
    for (size_t i = 0; i < v->len; i++) {
        BUF(key);
        if (!key_text(v->pairs[i].key, &key))
            return err_set(err, ERR_INVALID, "a key of the map has no JSON form"), NULL;
        jmval *x = cel_to_json(v->pairs[i].val, m, err);
        if (!x)
            return NULL;
        jm_put(m, obj, key.data, x);
    }
    return obj;
}

static jmval *double_to_json(double d, struct jm *m)
{
    if (isnan(d) || isinf(d))
        return jm_str(m, isnan(d) ? "NaN" : d < 0 ? "-Infinity" : "Infinity");
    return jm_f64(m, d);
}

jmval *cel_to_json(const struct cel_value *v, struct jm *m, struct err *err)
{
    BUF(b);
    switch (v->kind) {
    case CEL_NULL:
        return jm_null(m);
    case CEL_BOOL:
        return jm_bool(m, v->b);
    case CEL_INT:
        return jm_i64(m, v->i);
    case CEL_UINT:
        buf_addf(&b, "%llu", (unsigned long long)v->u);
        return jm_num(m, b.data);
    case CEL_DOUBLE:
        return double_to_json(v->d, m);
    case CEL_STRING:
        return jm_strn(m, v->s, v->n);
    case CEL_BYTES: {
        AUTOFREE char *text = base64_encode(v->s, v->n);
        return jm_str(m, text);
    }
    case CEL_LIST:
        return v->j ? jm_val(m, v->j) : list_to_json(v, m, err);
    case CEL_MAP:
        return v->j ? jm_val(m, v->j) : map_to_json(v, m, err);
    case CEL_TIMESTAMP:
        cel_time_text(v->sec, v->nsec, &b);
        return jm_strn(m, b.data, b.len);
    case CEL_DURATION:
        cel_duration_text(v->i, &b);
        return jm_strn(m, b.data, b.len);
    case CEL_OPTIONAL:
        if (v->inner)
            return cel_to_json(v->inner, m, err);
        break;
    default:
        break;
    }
    err_set(err, ERR_INVALID, "a result of type %s has no JSON form", cel_kind_name(v->kind));
    return NULL;
}
