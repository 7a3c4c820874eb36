#include "value/patch.h"

#include <string.h>

#include "base/str.h"

/* What `copy` operations may add up to: each can double the document. */
#define COPY_BYTES_MAX (3u << 20)

/* A path that is taken apart: the container and the last token. `whole` for "". */
struct place {
    bool whole;
    jmval *in;
    char *token;
};
static void place_clear(struct place *p) { base_freep(&p->token); }
#define PLACE(name) CLEANUP(place_clear) struct place name = {0}

struct patching {
    struct jm *m;
    size_t copied;
    struct err *err;
};

/* ---- RFC 6901 ------------------------------------------------------------------------------------------------- */

/* The next token of a pointer, unescaped; *p is at a '/' and moves behind the token. NULL on a bad escape. */
static char *next_token(const char **p)
{
    BUF(b);
    const char *s = *p + 1;
    buf_adds(&b, "");
    for (; *s && *s != '/'; s++) {
        if (*s != '~') {
            buf_addc(&b, *s);
            continue;
        }
        s++;
        if (*s != '0' && *s != '1')
            return NULL;
        buf_addc(&b, *s == '0' ? '~' : '/');
    }
    *p = s;
    return buf_steal(&b, NULL);
}

/* An index of decimal digits without leading zeros, below limit. */
static bool array_index(const char *token, size_t limit, size_t *out)
{
    size_t n = strspn(token, "0123456789");
    int64_t v;
    if (!n || token[n] || (n > 1 && token[0] == '0') || !str_to_i64(token, &v) || (uint64_t)v >= limit)
        return false;
    *out = (size_t)v;
    return true;
}

static jmval *child(jmval *v, const char *token)
{
    size_t i;
    if (jmv_type(v) == J_OBJECT)
        return jmv_get(v, token);
    if (jmv_type(v) == J_ARRAY && array_index(token, jmv_len(v), &i))
        return jmv_at(v, i);
    return NULL;
}

static int find_place(struct patching *p, const char *path, struct place *out)
{
    if (!*path) {
        out->whole = true;
        return 0;
    }
    jmval *at = jm_root(p->m);
    const char *s = strchr(path, '/'); /* what stands before the first slash is passed over, as Kubernetes' library does */
    if (!s)
        return err_set(p->err, ERR_INVALID, "a path begins with '/'");
    for (;;) {
        base_freep(&out->token);
        out->token = next_token(&s);
        if (!out->token)
            return err_set(p->err, ERR_INVALID, "'~' in a path must be written ~0 (and '/' ~1)");
        if (!*s)
            break;
        at = child(at, out->token);
        if (!at)
            return err_set(p->err, ERR_INVALID, "'%s' does not exist", out->token);
    }
    if (jmv_type(at) != J_OBJECT && jmv_type(at) != J_ARRAY)
        return err_set(p->err, ERR_INVALID, "what holds '%s' is neither an object nor an array", out->token);
    out->in = at;
    return 0;
}

static jmval *value_at(struct patching *p, const struct place *pl)
{
    return pl->whole ? jm_root(p->m) : child(pl->in, pl->token);
}

static int no_index(struct patching *p, const struct place *pl)
{
    return err_set(p->err, ERR_INVALID, "'%s' is no index of an array of %zu", pl->token, jmv_len(pl->in));
}

/* ---- operations ----------------------------------------------------------------------------------------------- */

static int add_at(struct patching *p, const struct place *pl, jmval *v)
{
    if (pl->whole) {
        jm_set_root(p->m, v);
        return 0;
    }
    if (jmv_type(pl->in) == J_OBJECT) {
        jm_put(p->m, pl->in, pl->token, v);
        return 0;
    }
    size_t i = jmv_len(pl->in);
    if (!str_eq(pl->token, "-") && !array_index(pl->token, jmv_len(pl->in) + 1, &i))
        return no_index(p, pl);
    jm_insert(pl->in, i, v);
    return 0;
}

static int remove_at(struct patching *p, const struct place *pl)
{
    size_t i;
    if (pl->whole)
        return err_set(p->err, ERR_INVALID, "the whole document cannot be removed");
    if (jmv_type(pl->in) == J_ARRAY) {
        if (!array_index(pl->token, jmv_len(pl->in), &i))
            return no_index(p, pl);
        jm_remove(pl->in, i);
        return 0;
    }
    if (!jm_del(pl->in, pl->token))
        return err_set(p->err, ERR_INVALID, "'%s' does not exist", pl->token);
    return 0;
}

static int replace_at(struct patching *p, const struct place *pl, jmval *v)
{
    size_t i;
    if (pl->whole || jmv_type(pl->in) == J_OBJECT)
        return add_at(p, pl, v);
    if (!array_index(pl->token, jmv_len(pl->in), &i))
        return no_index(p, pl);
    jm_replace(pl->in, i, v);
    return 0;
}

/* A test for null passes on an absent member too, as in the library that Kubernetes uses. */
static int test_at(struct patching *p, const struct place *pl, jval *want)
{
    jmval *have = value_at(p, pl);
    bool null = !jv_present(want);
    if (have ? (null ? jmv_type(have) == J_NULL : jmv_equal(have, want)) : null && jmv_type(pl->in) == J_OBJECT)
        return 0;
    return err_set(p->err, ERR_INVALID, "the value is another one");
}

/* A copy of the value at `from`. What an object lacks is copied as null (Kubernetes' library), but cannot be moved. */
static jmval *take_from(struct patching *p, const struct place *from, bool move)
{
    jmval *v = value_at(p, from);
    if (!v && !move && jmv_type(from->in) == J_OBJECT)
        return jm_null(p->m);
    if (!v) {
        err_set(p->err, ERR_INVALID, "'from': '%s' does not exist", from->token);
        return NULL;
    }
    BUF(text);
    jmv_write(v, JW_COMPACT, &text);
    p->copied += text.len;
    if (p->copied > COPY_BYTES_MAX) {
        err_set(p->err, ERR_TOO_LARGE, "copy and move operations add up to more than %u bytes", COPY_BYTES_MAX);
        return NULL;
    }
    return jm_dup(p->m, v);
}

static int copy_or_move(struct patching *p, bool move, const char *from_path, const char *path)
{
    size_t n = strlen(from_path);
    if (move && strncmp(from_path, path, n) == 0 && path[n] == '/')
        return err_set(p->err, ERR_INVALID, "'%s' cannot be moved into itself", from_path);
    PLACE(from);
    if (find_place(p, from_path, &from) < 0)
        return err_wrap(p->err, "'from'");
    jmval *v = take_from(p, &from, move);
    if (!v || (move && strcmp(from_path, path) != 0 && remove_at(p, &from) < 0))
        return -1;
    PLACE(to); /* looked up after the removal, which may shift indexes */
    if (find_place(p, path, &to) < 0)
        return -1;
    return move && strcmp(from_path, path) == 0 ? 0 : add_at(p, &to, v);
}

static int apply(struct patching *p, const char *op, const char *path, jval *o)
{
    jval *value = jv_get(o, "value");
    if (str_eq(op, "move") || str_eq(op, "copy")) {
        const char *from = jv_str(jv_get(o, "from"));
        if (!from)
            return err_set(p->err, ERR_INVALID, "'from' is missing");
        return copy_or_move(p, str_eq(op, "move"), from, path);
    }
    PLACE(pl);
    if (find_place(p, path, &pl) < 0)
        return -1;
    if (str_eq(op, "remove"))
        return remove_at(p, &pl);
    if (str_eq(op, "test"))
        return test_at(p, &pl, value);
    jmval *v = value ? jm_val(p->m, value) : jm_null(p->m);
    if (str_eq(op, "add"))
        return add_at(p, &pl, v);
    if (str_eq(op, "replace"))
        return replace_at(p, &pl, v);
    return err_set(p->err, ERR_INVALID, "unknown operation; there are add, remove, replace, move, copy and test");
}

static int check_list(jval *patch, size_t max_ops, struct err *err)
{
    if (jv_type(patch) != J_ARRAY)
        return err_set(err, ERR_BAD_REQUEST, "a JSON patch is an array of operations, not a %s", jtype_name(jv_type(patch)));
    if (jv_len(patch) > max_ops)
        return err_set(err, ERR_TOO_LARGE, "the JSON patch has %zu operations, at most %zu are allowed", jv_len(patch), max_ops);
    struct jiter it = jv_iter(patch);
    jval *o;
    for (size_t i = 0; jv_next(&it, NULL, &o); i++)
        if (jv_type(o) != J_OBJECT)
            return err_set(err, ERR_BAD_REQUEST, "operation %zu of the JSON patch is a %s, not an object", i,
                           jtype_name(jv_type(o)));
    return 0;
}

struct json *json_patch(jval *doc, jval *patch, size_t max_ops, struct err *err)
{
    if (check_list(patch, max_ops, err) < 0)
        return NULL;
    JM(m, doc);
    ERR(e);
    struct patching p = {.m = m, .err = &e};
    struct jiter it = jv_iter(patch);
    jval *o;
    for (size_t i = 0; jv_next(&it, NULL, &o); i++) {
        const char *op = jv_str(jv_get(o, "op")), *path = jv_str(jv_get(o, "path"));
        int rc =
            op && path ? apply(&p, op, path, o) : err_set(&e, ERR_INVALID, "'%s' is missing or no string", op ? "path" : "op");
        if (rc < 0) {
            err_wrap(&e, "JSON patch operation %zu (%s %s)", i, op ? op : "?", path ? path : "?");
            err_move(err, &e);
            return NULL;
        }
    }
    return jm_freeze(m);
}

/* ---- RFC 7386 ------------------------------------------------------------------------------------------------- */

static void merge_into(struct jm *m, jmval *target, jval *patch)
{
    struct jiter it = jv_iter(patch);
    const char *key;
    jval *v;
    while (jv_next(&it, &key, &v)) {
        if (jv_type(v) == J_NULL)
            jm_del(target, key);
        else if (jv_type(v) == J_OBJECT)
            merge_into(m, jm_obj_at(m, target, key), v);
        else
            jm_put(m, target, key, jm_val(m, v));
    }
}

struct json *json_merge_patch(jval *doc, jval *patch, struct err *err)
{
    if (jv_type(patch) == J_NONE)
        return err_set(err, ERR_BAD_REQUEST, "the merge patch is empty"), NULL;
    if (jv_type(patch) != J_OBJECT)
        return json_from(patch);
    JM_NEW(m);
    jm_set_root(m, jv_type(doc) == J_OBJECT ? jm_val(m, doc) : jm_obj(m));
    merge_into(m, jm_root(m), patch);
    return jm_freeze(m);
}
