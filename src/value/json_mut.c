/* json_mut.c - mutable documents; see json.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "value/json_priv.h"

struct jm *jm_new(void)
{
    struct jm *m = xmalloc(sizeof *m);
    m->doc = yyjson_mut_doc_new(&json_alc);
    ASSERT(m->doc);
    return m;
}

struct jm *jm_copy(jval *v)
{
    struct jm *m = jm_new();
    jm_set_root(m, jm_val(m, v));
    return m;
}

void jm_free(struct jm *m)
{
    if (!m)
        return;
    yyjson_mut_doc_free(m->doc);
    free(m);
}

jmval *jm_root(struct jm *m) { return jmv_of(yyjson_mut_doc_get_root(m->doc)); }
void jm_set_root(struct jm *m, jmval *v) { yyjson_mut_doc_set_root(m->doc, ym(v)); }

struct json *jm_freeze_val(jmval *v)
{
    yyjson_doc *doc = yyjson_mut_val_imut_copy(ym(v), &json_alc);
    ASSERT(doc);
    return json_wrap(doc, yyjson_doc_get_read_size(doc) + yyjson_doc_get_val_count(doc) * 2 * sizeof(yyjson_val));
}

struct json *jm_freeze(struct jm *m)
{
    ASSERT(jm_root(m));
    return jm_freeze_val(jm_root(m));
}

void jmv_write(jmval *v, int flags, struct buf *out)
{
    JSON_REF(d) = jm_freeze_val(v);
    jv_write(json_root(d), flags, out);
}

/* ---- making values ---- */

static jmval *made(yyjson_mut_val *v)
{
    ASSERT(v);
    return jmv_of(v);
}

jmval *jm_obj(struct jm *m) { return made(yyjson_mut_obj(m->doc)); }
jmval *jm_arr(struct jm *m) { return made(yyjson_mut_arr(m->doc)); }
jmval *jm_null(struct jm *m) { return made(yyjson_mut_null(m->doc)); }
jmval *jm_bool(struct jm *m, bool b) { return made(yyjson_mut_bool(m->doc, b)); }
jmval *jm_str(struct jm *m, const char *s) { return s ? made(yyjson_mut_strcpy(m->doc, s)) : jm_null(m); }
jmval *jm_strn(struct jm *m, const char *s, size_t n) { return made(yyjson_mut_strncpy(m->doc, s, n)); }

jmval *jm_strf(struct jm *m, const char *fmt, ...)
{
    BUF(b);
    va_list ap;
    va_start(ap, fmt);
    buf_addv(&b, fmt, ap);
    va_end(ap);
    return jm_strn(m, buf_str(&b), b.len);
}

static bool is_number(const char *s)
{
    double d;
    const char *digits = *s == '-' ? s + 1 : s;
    if (digits[0] < '0' || digits[0] > '9' || (digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9'))
        return false;
    const char *dot = strchr(s, '.');
    return str_to_f64(s, &d) && (!dot || (dot[1] >= '0' && dot[1] <= '9'));
}

jmval *jm_num(struct jm *m, const char *text)
{
    ASSERT(is_number(text));
    return made(yyjson_mut_rawcpy(m->doc, text));
}

jmval *jm_i64(struct jm *m, int64_t n)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)n);
    return made(yyjson_mut_rawcpy(m->doc, text));
}

jmval *jm_f64(struct jm *m, double d)
{
    char text[40];
    if (!isfinite(d))
        return jm_null(m);
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, d);
        if (strtod(text, NULL) == d)
            break;
    }
    return made(yyjson_mut_rawcpy(m->doc, text));
}

jmval *jm_val(struct jm *m, jval *v) { return v ? made(yyjson_val_mut_copy(m->doc, yv(v))) : jm_null(m); }
jmval *jm_dup(struct jm *m, jmval *v) { return made(yyjson_mut_val_mut_copy(m->doc, ym(v))); }

/* ---- changing ---- */

void jm_put(struct jm *m, jmval *obj, const char *key, jmval *v)
{
    yyjson_mut_val *o = ym(obj), *k = NULL;
    ASSERT(yyjson_mut_is_obj(o));
    size_t i, max, len = strlen(key);
    yyjson_mut_val *at, *x, *prev = NULL;
    yyjson_mut_obj_foreach(o, i, max, at, x)
    {
        if (unsafe_yyjson_equals_strn(at, key, len)) {
            prev = at;
            break;
        }
    }
    if (!prev) {
        k = yyjson_mut_strncpy(m->doc, key, len);
        ASSERT(k && yyjson_mut_obj_add(o, k, ym(v)));
        return;
    }
    /* The member stays where it is: its value is taken out of the ring and the new one put in. (yyjson's own replace
     * copies the value, and what the caller then adds to v would be lost.) */
    x = prev->next;
    ym(v)->next = x->next;
    prev->next = ym(v);
}

void jm_add(struct jm *m, jmval *obj, const char *key, jmval *v)
{
    yyjson_mut_val *k = yyjson_mut_strcpy(m->doc, key);
    ASSERT(k && yyjson_mut_obj_add(ym(obj), k, ym(v)));
}

bool jm_del(jmval *obj, const char *key) { return yyjson_mut_is_obj(ym(obj)) && yyjson_mut_obj_remove_key(ym(obj), key) != NULL; }

struct strmap jm_take_members(jmval *obj)
{
    struct strmap members = STRMAP_INIT(NULL);
    struct jmiter it = jmv_iter(obj);
    const char *key;
    jmval *v;
    while (jmv_next(&it, &key, &v))
        strmap_put(&members, key, v);
    jm_clear(obj);
    return members;
}

void jm_put_members(struct jm *m, jmval *obj, struct strmap *members)
{
    for (struct strmap_entry *e = strmap_first(members); e; e = strmap_next(e))
        jm_add(m, obj, e->key, e->value);
    strmap_free(members);
}

void jm_clear(jmval *container)
{
    if (!yyjson_mut_obj_clear(ym(container)))
        ASSERT(yyjson_mut_arr_clear(ym(container)));
}

void jm_push(jmval *arr, jmval *v) { ASSERT(yyjson_mut_arr_append(ym(arr), ym(v))); }
void jm_insert(jmval *arr, size_t i, jmval *v) { ASSERT(yyjson_mut_arr_insert(ym(arr), ym(v), i)); }
bool jm_remove(jmval *arr, size_t i) { return yyjson_mut_arr_remove(ym(arr), i) != NULL; }
void jm_replace(jmval *arr, size_t i, jmval *v) { ASSERT(yyjson_mut_arr_replace(ym(arr), i, ym(v)) != NULL); }

jmval *jm_obj_at(struct jm *m, jmval *obj, const char *key)
{
    jmval *v = jmv_get(obj, key);
    if (jmv_type(v) != J_OBJECT)
        jm_put(m, obj, key, v = jm_obj(m));
    return v;
}

jmval *jm_arr_at(struct jm *m, jmval *obj, const char *key)
{
    jmval *v = jmv_get(obj, key);
    if (jmv_type(v) != J_ARRAY)
        jm_put(m, obj, key, v = jm_arr(m));
    return v;
}

/* ---- reading ---- */

enum jtype jmv_type(jmval *v) { return v ? json_type_of_tag(yyjson_mut_get_type(ym(v))) : J_NONE; }
jmval *jmv_get(jmval *obj, const char *key) { return jmv_of(yyjson_mut_obj_get(ym(obj), key)); }
jmval *jmv_at(jmval *arr, size_t i) { return jmv_of(yyjson_mut_arr_get(ym(arr), i)); }
const char *jmv_str(jmval *v) { return yyjson_mut_get_str(ym(v)); }
const char *jmv_num_text(jmval *v) { return v ? yyjson_mut_get_raw(ym(v)) : NULL; }
bool jmv_i64(jmval *v, int64_t *out) { return json_num_to_i64(jmv_num_text(v), out); }
bool jmv_bool(jmval *v, bool dflt) { return jmv_type(v) == J_BOOL ? yyjson_mut_get_bool(ym(v)) : dflt; }

jmval *jmv_path(jmval *v, ...)
{
    va_list ap;
    const char *part;
    va_start(ap, v);
    while (v && (part = va_arg(ap, const char *))) {
        int64_t i;
        if (jmv_type(v) == J_ARRAY)
            v = str_to_i64(part, &i) && i >= 0 ? jmv_at(v, (size_t)i) : NULL;
        else
            v = jmv_get(v, part);
    }
    va_end(ap);
    return v;
}

size_t jmv_len(jmval *v)
{
    enum jtype t = jmv_type(v);
    return t == J_STRING || t == J_ARRAY || t == J_OBJECT ? unsafe_yyjson_get_len(ym(v)) : 0;
}

bool jmv_equal(jmval *a, jval *b)
{
    enum jtype t = jmv_type(a);
    if (t != jv_type(b))
        return false;
    struct jmiter it = jmv_iter(a);
    const char *k;
    jmval *x;
    jval *y;
    switch (t) {
    case J_BOOL:
        return jmv_bool(a, false) == jv_bool(b, false);
    case J_NUMBER:
        return json_num_equal(jmv_num_text(a), jv_num_text(b));
    case J_STRING:
        return jmv_len(a) == jv_len(b) && memcmp(jmv_str(a), jv_str(b), jv_len(b)) == 0;
    case J_ARRAY:
        if (jmv_len(a) != jv_len(b))
            return false;
        for (struct jiter jt = jv_iter(b); jmv_next(&it, NULL, &x) && jv_next(&jt, NULL, &y);)
            if (!jmv_equal(x, y))
                return false;
        return true;
    case J_OBJECT: {
        JFINDER(in_b, b);
        if (jmv_len(a) != jv_len(b))
            return false;
        while (jmv_next(&it, &k, &x))
            if (!(y = jfind(&in_b, k)) || !jmv_equal(x, y))
                return false;
        return true;
    }
    default:
        return true;
    }
}

struct jmiter jmv_iter(jmval *v)
{
    enum jtype t = jmv_type(v);
    size_t n = jmv_len(v);
    if ((t != J_ARRAY && t != J_OBJECT) || !n)
        return (struct jmiter){0};
    /* A container points at its last element (for an object: the last key); the ring leads from there to the first. */
    yyjson_mut_val *last = ym(v)->uni.ptr;
    yyjson_mut_val *first = t == J_OBJECT ? last->next->next : last->next;
    return (struct jmiter){.cur = jmv_of(first), .container = v, .left = n, .obj = t == J_OBJECT};
}

bool jmv_next(struct jmiter *it, const char **key, jmval **val)
{
    if (!it->left)
        return false;
    it->left--;
    yyjson_mut_val *c = ym(it->cur);
    if (key)
        *key = it->obj ? yyjson_mut_get_str(c) : NULL;
    if (it->obj)
        c = c->next;
    *val = jmv_of(c);
    it->cur = jmv_of(c->next);
    return true;
}
