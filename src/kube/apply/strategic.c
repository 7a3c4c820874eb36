#include "kube/apply/strategic.h"

#include <stdlib.h>

#include "kube/apply/strategic_priv.h"
#include "kube/wire/decode.h"
#include "kube/wire/gotext.h"

#define RETAIN_KEYS "$retainKeys"
#define ORDER       "$setElementOrder/"
#define DELETE      "$deleteFromPrimitiveList/"
#define MAX_SHOWN   8192
#define MAX_DEPTH   200 /* of objects that are merged; types of ours end long before */

int merge_fail(struct merge *mg, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_setv(mg->err, ERR_INTERNAL, fmt, ap);
    va_end(ap);
    if (mg->err)
        mg->err->reason = "";
    return -1;
}

static void show(jmval *v, struct buf *out)
{
    JSON_REF(d) = jm_freeze_val(v);
    gotext_print(json_root(d), MAX_SHOWN, out);
}

int no_merge_key(struct merge *mg, jmval *v, const char *key)
{
    BUF(text);
    show(v, &text);
    return merge_fail(mg, "map: %s does not contain declared merge key: %s", buf_str(&text), key);
}

int bad_directive(struct merge *mg, const char *directive, jmval *v)
{
    BUF(text);
    show(v, &text);
    return merge_fail(mg, "unknown patch type: %s in map: %s", directive ? directive : "%!s(<nil>)", buf_str(&text));
}

/* ---- what is not merged ---------------------------------------------------------------------------------------------------- */

/* What a value that is not merged loses: nulls, at any depth. */
static void drop_nulls(struct jm *m, jmval *v)
{
    struct jmiter it = jmv_iter(v);
    const char *key;
    jmval *x;
    bool any = false;
    if (jmv_type(v) != J_OBJECT && jmv_type(v) != J_ARRAY)
        return;
    while (jmv_next(&it, &key, &x)) {
        any |= jmv_type(v) == J_OBJECT && jmv_type(x) == J_NULL;
        drop_nulls(m, x);
    }
    if (!any)
        return;
    struct strmap members = jm_take_members(v);
    for (struct strmap_entry *e = strmap_first(&members); e; e = strmap_next(e))
        if (jmv_type(e->value) != J_NULL)
            jm_add(m, v, e->key, e->value);
    strmap_free(&members);
}

static bool drop_in_object(struct jm *m, jmval *v)
{
    if (jmv_get(v, DIRECTIVE))
        return false;
    struct strmap members = jm_take_members(v);
    for (struct strmap_entry *e = strmap_first(&members); e; e = strmap_next(e))
        if (drop_directives(m, e->value))
            jm_add(m, v, e->key, e->value);
    strmap_free(&members);
    return true;
}

bool drop_directives(struct jm *m, jmval *v)
{
    if (jmv_type(v) == J_OBJECT)
        return drop_in_object(m, v);
    if (jmv_type(v) != J_ARRAY)
        return true;
    ITEMS(all);
    items_open(&all, v, NULL);
    for (size_t i = 0; i < all.n; i++)
        if (drop_directives(m, all.v[i].v))
            jm_push(v, all.v[i].v);
    return true;
}

/* ---- merging ------------------------------------------------------------------------------------------------------------ */

static const char *merge_key(const struct kfield *f) { return f ? f->merge_key : NULL; }

/* The keys that may stay. What the patch gives must be among them. */
static int retain_keys(struct merge *mg, struct strmap *original, struct strmap *patch)
{
    jmval *keys = strmap_take(patch, RETAIN_KEYS), *k;
    if (!keys)
        return 0;
    if (jmv_type(keys) != J_ARRAY)
        return merge_fail(mg, "invalid patch format of retainKeys");
    struct strmap retained = STRMAP_INIT(NULL), kept = STRMAP_INIT(NULL);
    struct jmiter it = jmv_iter(keys);
    while (jmv_next(&it, NULL, &k))
        if (jmv_str(k))
            strmap_put(&retained, jmv_str(k), k);
    int rc = 0;
    for (struct strmap_entry *e = strmap_first(patch); e && !rc; e = strmap_next(e))
        if (jmv_type(e->value) != J_NULL && !str_starts(e->key, DELETE) && !str_starts(e->key, ORDER) &&
            !strmap_has(&retained, e->key))
            rc = merge_fail(mg, "invalid patch format of retainKeys");
    for (struct strmap_entry *e = strmap_first(original); e; e = strmap_next(e))
        if (strmap_has(&retained, e->key))
            strmap_put(&kept, e->key, e->value);
    strmap_free(original);
    *original = kept;
    strmap_free(&retained);
    return rc;
}

static int want_array(struct merge *mg, jmval *v)
{
    if (!v || jmv_type(v) == J_ARRAY)
        return 0;
    return merge_fail(mg, "expected a slice, but received a %s", jtype_name(jmv_type(v)));
}

/* One $setElementOrder/<name>, with the list of that name in both. */
static int merge_ordered(struct merge *mg, struct strmap *original, struct strmap *patch, const char *name, jmval *order_list,
                         const struct ktype *t)
{
    const struct kfield *f = t ? ktype_field(t, name) : NULL;
    const char *key = merge_key(f);
    jmval *have = strmap_get(original, name), *give = strmap_get(patch, name);
    if (want_array(mg, order_list) || want_array(mg, have) || want_array(mg, give))
        return -1;
    if (t && !f)
        return merge_fail(mg, "unable to find api field in struct %s for the json field \"%s\"", t->name, name);
    ITEMS(order);
    ITEMS(was);
    ITEMS(had);
    ITEMS(gives);
    ITEMS(merged);
    ITEMS(sorted);
    items_open(&order, order_list, key);
    items_open(&gives, give, key);
    if (check_order(mg, &gives, &order, key) < 0)
        return -1;
    if (!have && !give)
        return 0;
    items_open(&had, have, key);
    for (size_t i = 0; i < had.n; i++) /* merging changes had; the order was this one */
        items_add(&was, had.v[i].v, had.v[i].id);
    if (have && give && f && (f->flags & KFIELD_MERGE)) {
        if (merge_lists(mg, &had, &gives, f, false, &merged) < 0)
            return -1;
    } else {
        struct items *from = give ? &gives : &had;
        for (size_t i = 0; i < from->n; i++)
            if (!give || drop_directives(mg->m, from->v[i].v))
                items_add(&merged, from->v[i].v, from->v[i].id);
    }
    if (apply_order(mg, &merged, &order, &was, key, &sorted) < 0)
        return -1;
    strmap_put(original, name, items_array(mg->m, &sorted));
    if (give)
        strmap_del(patch, name);
    return 0;
}

static int merge_orders(struct merge *mg, struct strmap *original, struct strmap *patch, const struct ktype *t)
{
    STRLIST(keys);
    for (struct strmap_entry *e = strmap_first(patch); e; e = strmap_next(e))
        if (str_starts(e->key, ORDER))
            strlist_add(&keys, e->key);
    for (size_t i = 0; i < keys.n; i++) {
        jmval *order = strmap_take(patch, keys.v[i]);
        if (merge_ordered(mg, original, patch, keys.v[i] + strlen(ORDER), order, t) < 0)
            return -1;
    }
    return 0;
}

static int merge_list_member(struct merge *mg, jmval *have, jmval *give, const struct kfield *f, bool delete, jmval **out)
{
    if (!delete &&(!f || !(f->flags & KFIELD_MERGE))) {
        *out = give;
        return 0;
    }
    ITEMS(had);
    ITEMS(gives);
    ITEMS(merged);
    items_open(&had, have, merge_key(f));
    items_open(&gives, give, merge_key(f));
    if (merge_lists(mg, &had, &gives, f, delete, &merged) < 0)
        return -1;
    *out = items_array(mg->m, &merged);
    return 0;
}

static int merge_member(struct merge *mg, struct strmap *original, const char *key, jmval *give, const struct ktype *t)
{
    bool delete = str_starts(key, DELETE);
    if (delete)
        key += strlen(DELETE);
    if (jmv_type(give) == J_NULL) {
        strmap_del(original, key);
        return 0;
    }
    jmval *have = strmap_get(original, key), *out = give;
    enum jtype type = jmv_type(give);
    if (!have || jmv_type(have) != type || (type != J_OBJECT && type != J_ARRAY)) {
        if (delete)
            return 0;
        drop_nulls(mg->m, give);
        if (drop_directives(mg->m, give))
            strmap_put(original, key, give);
        else
            strmap_del(original, key);
        return 0;
    }
    const struct kfield *f = t ? ktype_field(t, key) : NULL;
    if (type == J_ARRAY) {
        if (merge_list_member(mg, have, give, f, delete, &out) < 0)
            return -1;
    } else if (!f || !(f->flags & KFIELD_REPLACE)) {
        if (merge_objects(mg, have, give, f && f->shape == KSHAPE_ONE ? f->type : NULL, &out) < 0)
            return -1;
    }
    strmap_put(original, key, out);
    return 0;
}

/* $patch inside an object: nothing is merged. */
static int whole_object(struct merge *mg, jmval *patch, jmval *directive, jmval **out)
{
    const char *d = jmv_str(directive);
    if (d && !strcmp(d, "replace")) {
        jm_del(patch, DIRECTIVE);
        *out = patch;
        return 0;
    }
    if (d && !strcmp(d, "delete")) {
        *out = jm_obj(mg->m);
        return 0;
    }
    return bad_directive(mg, d, patch);
}

int merge_objects(struct merge *mg, jmval *original, jmval *patch, const struct ktype *t, jmval **out)
{
    jmval *directive = jmv_get(patch, DIRECTIVE);
    if (directive)
        return whole_object(mg, patch, directive, out);
    if (mg->depth == MAX_DEPTH)
        return merge_fail(mg, "the patch is nested too deeply");
    struct strmap have = jm_take_members(original), give = jm_take_members(patch);
    mg->depth++;
    int rc = retain_keys(mg, &have, &give);
    if (!rc)
        rc = merge_orders(mg, &have, &give, t);
    for (struct strmap_entry *e = strmap_first(&give); e && !rc; e = strmap_next(e))
        rc = merge_member(mg, &have, e->key, e->value, t);
    mg->depth--;
    jm_put_members(mg->m, original, &have);
    strmap_free(&give);
    *out = original;
    return rc;
}

/* ---- doors -------------------------------------------------------------------------------------------------------------- */

struct json *strategic_merge(const struct ktype *t, jval *original, jval *patch, struct err *err)
{
    if (!patch || (!jv_is(patch, J_OBJECT) && !jv_is(patch, J_NULL))) {
        err_set(err, ERR_BAD_REQUEST, "json: cannot unmarshal %s into Go value of type map[string]interface {}",
                jtype_name(jv_type(patch)));
        return NULL;
    }
    JM(m, original);
    struct merge mg = {m, err, 0};
    jmval *out = NULL, *p = jv_is(patch, J_OBJECT) ? jm_val(m, patch) : jm_obj(m);
    if (jmv_type(jm_root(m)) != J_OBJECT)
        jm_set_root(m, jm_obj(m));
    if (merge_objects(&mg, jm_root(m), p, t, &out) < 0)
        return NULL;
    jm_set_root(m, out);
    return jm_freeze(m);
}

int strategic_refuse(jval *patch, const char *text, struct err *err)
{
    BUF(shown);
    BUF(quoted);
    gotext_print(patch, MAX_SHOWN, &shown);
    json_quote(&quoted, buf_str(&shown), shown.len);
    err_set(err, ERR_INVALID, " \"\" is invalid: patch: Invalid value: %s: %s", buf_str(&quoted), text);
    err_cause(err, "FieldValueInvalid", "patch", "Invalid value: %s: %s", buf_str(&quoted), text);
    return -1;
}

struct json *strategic_patch(const struct ktype *t, jval *original, jval *patch, struct strlist *unknown, struct err *err)
{
    JSON_REF(merged) = strategic_merge(t, original, patch, err);
    if (!merged)
        return NULL;
    ERR(e);
    struct json *out = decode_merged(t, json_root(merged), unknown, &e);
    if (!out)
        strategic_refuse(patch, err_text(&e), err);
    return out;
}
