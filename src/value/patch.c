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

/* Operations on members of one object often follow each other: it is taken apart for as long as they do, so that none of them has
 * to look through it. */
enum { RUN = 16 /* so many of them are worth it */ };
struct opened {
    jmval *in; /* NULL: none is */
    struct strmap members;
};

struct patching {
    struct jm *m;
    size_t copied;
    struct opened open;
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

static jmval *child(struct patching *p, jmval *v, const char *token)
{
    size_t i;
    if (v == p->open.in)
        return strmap_get(&p->open.members, token);
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
        at = child(p, at, out->token);
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
    return pl->whole ? jm_root(p->m) : child(p, pl->in, pl->token);
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
    if (pl->in == p->open.in) {
        strmap_put(&p->open.members, pl->token, v);
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
    if (pl->in == p->open.in ? !strmap_del(&p->open.members, pl->token) : !jm_del(pl->in, pl->token))
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

/* ---- runs of operations ---------------------------------------------------------------------------------------- */

static void close_object(struct patching *p)
{
    if (p->open.in)
        jm_put_members(p->m, p->open.in, &p->open.members);
    p->open = (struct opened){0};
}

/* The length of what stands before the last token of the path of an operation on one place. */
static bool parent_of(jval *o, const char **path, size_t *len)
{
    static const char *const ops[] = {"add", "remove", "replace", "test"};
    const char *op = jv_str(jv_get(o, "op")), *slash;
    *path = jv_str(jv_get(o, "path"));
    for (size_t i = 0; op && *path && i < ARRAY_LEN(ops); i++)
        if (strcmp(op, ops[i]) == 0 && (slash = strrchr(*path, '/'))) {
            *len = (size_t)(slash - *path);
            return true;
        }
    return false;
}

/* Are the next RUN operations on members of one object? */
static bool is_run(struct jiter it)
{
    const char *first, *path;
    size_t len, n;
    jval *o;
    if (!jv_next(&it, NULL, &o) || !parent_of(o, &first, &len))
        return false;
    for (int i = 1; i < RUN; i++)
        if (!jv_next(&it, NULL, &o) || !parent_of(o, &path, &n) || n != len || strncmp(path, first, len) != 0)
            return false;
    return true;
}

/* Before the operation that comes next, which is the left-th from the end of its run. */
static void open_or_close(struct patching *p, struct jiter next, size_t *left)
{
    if (*left > 0 && --*left > 0)
        return;
    if (is_run(next)) {
        *left = RUN; /* looked at again when they are done: the object stays as it is */
    } else {
        close_object(p);
        return;
    }
    const char *path;
    size_t len;
    jval *o;
    ERR(e);
    PLACE(pl);
    struct patching looking = {.m = p->m, .open = p->open, .err = &e};
    jv_next(&next, NULL, &o);
    parent_of(o, &path, &len);
    bool found = find_place(&looking, path, &pl) == 0 && !pl.whole;
    if (found && pl.in == p->open.in)
        return;
    close_object(p);
    if (found && jmv_type(pl.in) == J_OBJECT)
        p->open = (struct opened){pl.in, jm_take_members(pl.in)};
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
    size_t left = 0;
    for (size_t i = 0; open_or_close(&p, it, &left), jv_next(&it, NULL, &o); i++) {
        const char *op = jv_str(jv_get(o, "op")), *path = jv_str(jv_get(o, "path"));
        int rc =
            op && path ? apply(&p, op, path, o) : err_set(&e, ERR_INVALID, "'%s' is missing or no string", op ? "path" : "op");
        if (rc < 0) {
            err_wrap(&e, "JSON patch operation %zu (%s %s)", i, op ? op : "?", path ? path : "?");
            err_move(err, &e);
            close_object(&p);
            return NULL;
        }
    }
    close_object(&p);
    return jm_freeze(m);
}

/* ---- RFC 7386 ------------------------------------------------------------------------------------------------- */

static void merge_into(struct jm *m, jmval *target, jval *patch)
{
    struct strmap members = jm_take_members(target);
    struct jiter it = jv_iter(patch);
    const char *key;
    jval *v;
    while (jv_next(&it, &key, &v)) {
        if (jv_type(v) == J_NULL) {
            strmap_del(&members, key);
        } else if (jv_type(v) == J_OBJECT) {
            jmval *into = strmap_get(&members, key);
            if (jmv_type(into) != J_OBJECT)
                strmap_put(&members, key, into = jm_obj(m));
            merge_into(m, into, v);
        } else {
            strmap_put(&members, key, jm_val(m, v));
        }
    }
    jm_put_members(m, target, &members);
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
