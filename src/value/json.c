/* json.c - immutable documents on yyjson; see json.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "value/json_priv.h"

#define DEFAULT_DEPTH 512

static void *alc_malloc(void *ctx, size_t size) { return xmalloc(size); }
static void *alc_realloc(void *ctx, void *p, size_t old, size_t size) { return xrealloc(p, size); }
static void alc_free(void *ctx, void *p) { free(p); }
const yyjson_alc json_alc = {alc_malloc, alc_realloc, alc_free, NULL};

/* ---- places in lists ----
 *
 * Values lie one behind the other, so the i-th of a list is i steps away, and loops over indexes would be quadratic: a body of
 * one MiB could keep a worker busy for minutes. So each thread keeps the places in long lists where it was last. A list is known
 * by its address, which another may get once a document was freed: whoever frees one that could hold a long list counts it, and
 * places from before that count are void. (Memory passes from the one who frees to the one who allocates: that orders it.) */
enum { LONG_LIST = 32, PLACES = 16 /* a power of two: lists in lists are walked together */ };

static atomic_ulong freed;
static _Thread_local struct place {
    jval *list, *item;
    size_t at;
    unsigned long freed;
} places[PLACES];

static jval *far_item(jval *list, size_t i)
{
    struct place *p = &places[((uintptr_t)list >> 4) % PLACES];
    unsigned long now = atomic_load_explicit(&freed, memory_order_relaxed);
    if (p->list != list || p->freed != now || p->at > i)
        *p = (struct place){.list = list, .item = jv_of(unsafe_yyjson_get_first(yv(list))), .freed = now};
    yyjson_val *v = yv(p->item);
    for (; p->at < i; p->at++)
        v = unsafe_yyjson_get_next(v);
    p->item = jv_of(v);
    return p->item;
}

/* ---- documents ---- */

struct json *json_wrap(yyjson_doc *doc, size_t bytes)
{
    struct json *d = xmalloc(sizeof *d);
    atomic_init(&d->refs, 1);
    d->doc = doc;
    d->bytes = bytes;
    return d;
}

struct json *json_ref(struct json *d)
{
    if (d)
        atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
    return d;
}

void json_unref(struct json *d)
{
    if (!d || atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (yyjson_doc_get_val_count(d->doc) > LONG_LIST)
        atomic_fetch_add_explicit(&freed, 1, memory_order_relaxed); /* before its memory can be another's */
    yyjson_doc_free(d->doc);
    free(d);
}

jval *json_root(const struct json *d) { return d ? jv_of(yyjson_doc_get_root(d->doc)) : NULL; }
size_t json_mem(const struct json *d) { return d ? d->bytes + sizeof *d : 0; }

/* Line and column (from 1) of an offset. */
static void position(const char *text, size_t at, unsigned *line, unsigned *col)
{
    *line = 1;
    *col = 1;
    for (size_t i = 0; i < at; i++) {
        if (text[i] == '\n') {
            ++*line;
            *col = 1;
        } else {
            ++*col;
        }
    }
}

/* Everything that walks a document later may recurse, since depth is bounded here, before parsing. */
static int check_depth(const char *text, size_t len, unsigned max, struct err *err)
{
    unsigned depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > max)
                return err_set(err, ERR_BAD_REQUEST, "JSON nested deeper than %u levels", max);
        } else if (c == '}' || c == ']') {
            depth -= depth > 0;
        }
    }
    return 0;
}

/* One level of the path to where the duplicate check is. */
struct path_part {
    const struct path_part *up;
    const char *key; /* NULL: index */
    size_t index;
};

static void write_path(const struct path_part *p, struct buf *out)
{
    if (!p)
        return;
    write_path(p->up, out);
    if (!p->key) {
        buf_addf(out, "[%zu]", p->index);
        return;
    }
    if (out->len)
        buf_addc(out, '.');
    buf_adds(out, p->key);
}

struct dup_check {
    const struct json_opts *opts;
    bool found;
};

struct key_at {
    const char *s;
    size_t len, i;
};

static int by_key(const void *a, const void *b)
{
    const struct key_at *x = a, *y = b;
    size_t n = x->len < y->len ? x->len : y->len;
    int c = memcmp(x->s, y->s, n);
    return c ? c : x->len != y->len ? (x->len < y->len ? -1 : 1) : (x->i < y->i ? -1 : x->i > y->i);
}

static void report_dup(struct dup_check *dc, const struct path_part *up, const char *key)
{
    dc->found = true;
    if (!dc->opts || !dc->opts->on_duplicate)
        return;
    BUF(path);
    struct path_part here = {.up = up, .key = key};
    write_path(&here, &path);
    dc->opts->on_duplicate(dc->opts->self, buf_str(&path));
}

static void check_keys(yyjson_val *obj, struct dup_check *dc, const struct path_part *up)
{
    size_t n = yyjson_obj_size(obj), i, max;
    yyjson_val *k, *v;
    if (n < 2)
        return;
    struct key_at small[16], *keys = n <= ARRAY_LEN(small) ? small : xreallocarray(NULL, n, sizeof *keys);
    yyjson_obj_foreach(obj, i, max, k, v) keys[i] = (struct key_at){yyjson_get_str(k), yyjson_get_len(k), i};
    qsort(keys, n, sizeof *keys, by_key);
    for (i = 1; i < n; i++)
        if (keys[i].len == keys[i - 1].len && memcmp(keys[i].s, keys[i - 1].s, keys[i].len) == 0)
            report_dup(dc, up, keys[i].s);
    if (keys != small)
        free(keys);
}

/* Looks for duplicate members, and turns NaN and Infinity (read as raw numbers) into strings. */
static void inspect(yyjson_val *v, struct dup_check *dc, const struct path_part *up)
{
    size_t i, max;
    yyjson_val *k, *x;
    if (yyjson_is_raw(v)) {
        const char *raw = yyjson_get_raw(v);
        char first = raw[0] == '-' ? raw[1] : raw[0];
        if (first < '0' || first > '9')
            v->tag = (v->tag & ~(uint64_t)0xff) | YYJSON_TYPE_STR;
    } else if (yyjson_is_arr(v)) {
        yyjson_arr_foreach(v, i, max, x)
        {
            struct path_part here = {.up = up, .index = i};
            inspect(x, dc, &here);
        }
    } else if (yyjson_is_obj(v)) {
        check_keys(v, dc, up);
        yyjson_obj_foreach(v, i, max, k, x)
        {
            struct path_part here = {.up = up, .key = yyjson_get_str(k)};
            inspect(x, dc, &here);
        }
    }
}

/* Keeps the last of several members of one name, at the place of the first. */
static void drop_duplicates(struct jm *m, jmval *v)
{
    const char *key;
    jmval *x;
    struct jmiter it = jmv_iter(v);
    if (jmv_type(v) == J_ARRAY) {
        while (jmv_next(&it, &key, &x))
            drop_duplicates(m, x);
        return;
    }
    if (jmv_type(v) != J_OBJECT)
        return;
    struct strmap seen = STRMAP_INIT(NULL);
    while (jmv_next(&it, &key, &x)) {
        drop_duplicates(m, x);
        strmap_put(&seen, key, x);
    }
    if (strmap_count(&seen) != jmv_len(v)) {
        yyjson_mut_obj_clear(ym(v));
        for (struct strmap_entry *e = strmap_first(&seen); e; e = strmap_next(e))
            yyjson_mut_obj_add(ym(v), yyjson_mut_strcpy(m->doc, e->key), ym(e->value));
    }
    strmap_free(&seen);
}

struct json *json_parse(const char *text, size_t len, const struct json_opts *opts, struct err *err)
{
    unsigned depth = opts && opts->max_depth ? opts->max_depth : DEFAULT_DEPTH;
    if (check_depth(text, len, depth, err) < 0)
        return NULL;
    yyjson_read_err e;
    yyjson_read_flag flags = YYJSON_READ_NUMBER_AS_RAW | (opts && opts->allow_nan ? YYJSON_READ_ALLOW_INF_AND_NAN : 0);
    yyjson_doc *doc = len ? yyjson_read_opts((char *)(uintptr_t)text, len, flags, &json_alc, &e) : NULL;
    if (!doc) {
        unsigned line = 1, col = 1;
        if (!len)
            e.msg = "no input";
        else
            position(text, e.pos < len ? e.pos : len, &line, &col);
        err_set(err, ERR_BAD_REQUEST, "invalid JSON: %s at line %u column %u", e.msg, line, col);
        return NULL;
    }
    struct dup_check dc = {.opts = opts};
    inspect(yyjson_doc_get_root(doc), &dc, NULL);
    struct json *d = json_wrap(doc, yyjson_doc_get_val_count(doc) * sizeof(yyjson_val) + len);
    if (!dc.found)
        return d;
    JM(m, json_root(d));
    drop_duplicates(m, jm_root(m));
    json_unref(d);
    return jm_freeze(m);
}

struct json *json_parse_str(const char *text, struct err *err) { return json_parse(text, strlen(text), NULL, err); }

struct json *json_from(jval *v)
{
    JM(m, v);
    return jm_freeze(m);
}

/* ---- reading ---- */

enum jtype json_type_of_tag(yyjson_type t)
{
    switch (t) {
    case YYJSON_TYPE_NULL:
        return J_NULL;
    case YYJSON_TYPE_BOOL:
        return J_BOOL;
    case YYJSON_TYPE_RAW:
    case YYJSON_TYPE_NUM:
        return J_NUMBER;
    case YYJSON_TYPE_STR:
        return J_STRING;
    case YYJSON_TYPE_ARR:
        return J_ARRAY;
    case YYJSON_TYPE_OBJ:
        return J_OBJECT;
    default:
        return J_NONE;
    }
}

enum jtype jv_type(jval *v) { return v ? json_type_of_tag(yyjson_get_type(yv(v))) : J_NONE; }

const char *jtype_name(enum jtype t)
{
    static const char *const names[] = {"nothing", "null", "boolean", "number", "string", "array", "object"};
    return names[t];
}

jval *jv_get(jval *obj, const char *key) { return jv_of(yyjson_obj_get(yv(obj), key)); }
jval *jv_getn(jval *obj, const char *key, size_t len) { return jv_of(yyjson_obj_getn(yv(obj), key, len)); }

jval *jv_at(jval *arr, size_t i)
{
    yyjson_val *v = yv(arr);
    if (!yyjson_is_arr(v) || i >= unsafe_yyjson_get_len(v))
        return NULL;
    bool near = unsafe_yyjson_get_len(v) <= LONG_LIST || unsafe_yyjson_arr_is_flat(v);
    return near ? jv_of(yyjson_arr_get(v, i)) : far_item(arr, i);
}

jval *jv_path(jval *v, ...)
{
    va_list ap;
    const char *part;
    va_start(ap, v);
    while (v && (part = va_arg(ap, const char *))) {
        int64_t i;
        if (jv_type(v) == J_ARRAY)
            v = str_to_i64(part, &i) && i >= 0 ? jv_at(v, (size_t)i) : NULL;
        else
            v = jv_get(v, part);
    }
    va_end(ap);
    return v;
}

size_t jv_len(jval *v)
{
    switch (jv_type(v)) {
    case J_STRING:
        return yyjson_get_len(yv(v));
    case J_ARRAY:
    case J_OBJECT:
        return unsafe_yyjson_get_len(yv(v));
    default:
        return 0;
    }
}

const char *jv_str(jval *v) { return yyjson_get_str(yv(v)); }

const char *jv_str_or(jval *v, const char *dflt)
{
    const char *s = jv_str(v);
    return s ? s : dflt;
}

const char *jv_num_text(jval *v) { return v ? yyjson_get_raw(yv(v)) : NULL; }

bool json_num_to_i64(const char *text, int64_t *out)
{
    double d;
    if (!text)
        return false;
    if (str_to_i64(text, out))
        return true;
    /* 1.0 and 1e3 are integers too; beyond 2^53 a double cannot say which one. */
    if (!strpbrk(text, ".eE") || !str_to_f64(text, &d) || d != floor(d) || fabs(d) > 9007199254740992.0)
        return false;
    *out = (int64_t)d;
    return true;
}

bool jv_i64(jval *v, int64_t *out) { return json_num_to_i64(jv_num_text(v), out); }

int64_t jv_i64_or(jval *v, int64_t dflt)
{
    int64_t n;
    return jv_i64(v, &n) ? n : dflt;
}

bool jv_f64(jval *v, double *out)
{
    const char *t = jv_num_text(v);
    return t && str_to_f64(t, out);
}

bool jv_bool(jval *v, bool dflt) { return jv_type(v) == J_BOOL ? yyjson_get_bool(yv(v)) : dflt; }

bool json_num_equal(const char *a, const char *b)
{
    if (strcmp(a, b) == 0)
        return true;
    int64_t x, y;
    if (str_to_i64(a, &x) && str_to_i64(b, &y))
        return x == y;
    double p, q;
    return str_to_f64(a, &p) && str_to_f64(b, &q) && p == q;
}

bool jv_equal(jval *a, jval *b)
{
    enum jtype t = jv_type(a);
    if (a == b)
        return true;
    if (t != jv_type(b))
        return false;
    struct jiter it = jv_iter(a);
    jval *x;
    const char *k;
    switch (t) {
    case J_BOOL:
        return yyjson_get_bool(yv(a)) == yyjson_get_bool(yv(b));
    case J_NUMBER:
        return json_num_equal(jv_num_text(a), jv_num_text(b));
    case J_STRING:
        return jv_len(a) == jv_len(b) && memcmp(jv_str(a), jv_str(b), jv_len(a)) == 0;
    case J_ARRAY:
        if (jv_len(a) != jv_len(b))
            return false;
        for (struct jiter jt = jv_iter(b); jv_next(&it, NULL, &x);) {
            jval *y;
            if (!jv_next(&jt, NULL, &y) || !jv_equal(x, y))
                return false;
        }
        return true;
    case J_OBJECT: {
        JFINDER(in_b, b);
        if (jv_len(a) != jv_len(b))
            return false;
        while (jv_next(&it, &k, &x)) {
            jval *y = jfind(&in_b, k);
            if (!y || !jv_equal(x, y))
                return false;
        }
        return true;
    }
    default:
        return true;
    }
}

struct jiter jv_iter(jval *v)
{
    enum jtype t = jv_type(v);
    if (t != J_ARRAY && t != J_OBJECT)
        return (struct jiter){0};
    return (struct jiter){.cur = jv_of(unsafe_yyjson_get_first(yv(v))), .left = jv_len(v), .obj = t == J_OBJECT};
}

bool jv_next(struct jiter *it, const char **key, jval **val)
{
    if (!it->left)
        return false;
    it->left--;
    yyjson_val *c = yv(it->cur);
    if (key)
        *key = it->obj ? unsafe_yyjson_get_str(c) : NULL;
    if (it->obj)
        c++;
    *val = jv_of(c);
    it->cur = jv_of(unsafe_yyjson_get_next(c));
    return true;
}

enum { SMALL_OBJECT = 16 }; /* is looked through */

struct jfinder jfinder_open(jval *obj)
{
    bool object = jv_type(obj) == J_OBJECT;
    return (struct jfinder){.obj = object ? obj : NULL, .next = jv_iter(object ? obj : NULL)};
}

void jfinder_close(struct jfinder *f) { strmap_free(&f->index); }

static void index_members(struct jfinder *f)
{
    struct jiter it = jv_iter(f->obj);
    const char *key;
    jval *x;
    while (jv_next(&it, &key, &x))
        strmap_put(&f->index, key, (void *)(uintptr_t)x);
    f->indexed = true;
}

jval *jfind(struct jfinder *f, const char *key)
{
    struct jiter it = f->next;
    const char *k;
    jval *x;
    if (jv_next(&it, &k, &x) && strcmp(k, key) == 0) {
        f->next = it;
        return x;
    }
    if (jv_len(f->obj) <= SMALL_OBJECT)
        return jv_get(f->obj, key);
    if (!f->indexed)
        index_members(f);
    return strmap_get(&f->index, key);
}

/* ---- writing ---- */

void json_quote(struct buf *out, const char *s, size_t n)
{
    static const char short_escape[32] = {['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
    buf_reserve(out, n + 2);
    buf_addc(out, '"');
    size_t start = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        buf_add(out, s + start, i - start);
        start = i + 1;
        buf_addc(out, '\\');
        if (c == '"' || c == '\\')
            buf_addc(out, (char)c);
        else if (short_escape[c])
            buf_addc(out, short_escape[c]);
        else
            buf_addf(out, "u%04x", c);
    }
    buf_add(out, s + start, n - start);
    buf_addc(out, '"');
}

struct member {
    const char *key;
    jval *val;
};

static int by_member(const void *a, const void *b)
{
    return strcmp(((const struct member *)a)->key, ((const struct member *)b)->key);
}

static void newline(struct buf *out, int flags, int depth)
{
    if (!(flags & JW_PRETTY))
        return;
    buf_addc(out, '\n');
    for (int i = 0; i < depth; i++)
        buf_adds(out, "  ");
}

static void write_value(jval *v, int flags, int depth, struct buf *out);

static void write_object(jval *v, int flags, int depth, struct buf *out)
{
    size_t n = jv_len(v), i = 0;
    AUTOFREE struct member *members = xreallocarray(NULL, n, sizeof *members);
    for (struct jiter it = jv_iter(v); jv_next(&it, &members[i].key, &members[i].val);)
        i++;
    if (n > 1 && (flags & JW_SORTED))
        qsort(members, n, sizeof *members, by_member);
    buf_addc(out, '{');
    for (i = 0; i < n; i++) {
        if (i)
            buf_addc(out, ',');
        newline(out, flags, depth + 1);
        json_quote(out, members[i].key, strlen(members[i].key));
        buf_adds(out, flags & JW_PRETTY ? ": " : ":");
        write_value(members[i].val, flags, depth + 1, out);
    }
    if (n)
        newline(out, flags, depth);
    buf_addc(out, '}');
}

static void write_value(jval *v, int flags, int depth, struct buf *out)
{
    switch (jv_type(v)) {
    case J_BOOL:
        buf_adds(out, jv_bool(v, false) ? "true" : "false");
        break;
    case J_NUMBER:
        buf_adds(out, jv_num_text(v));
        break;
    case J_STRING:
        json_quote(out, jv_str(v), jv_len(v));
        break;
    case J_OBJECT:
        write_object(v, flags, depth, out);
        break;
    case J_ARRAY: {
        jval *x;
        bool first = true;
        buf_addc(out, '[');
        for (struct jiter it = jv_iter(v); jv_next(&it, NULL, &x); first = false) {
            if (!first)
                buf_addc(out, ',');
            newline(out, flags, depth + 1);
            write_value(x, flags, depth + 1, out);
        }
        if (!first)
            newline(out, flags, depth);
        buf_addc(out, ']');
        break;
    }
    default:
        buf_adds(out, "null");
    }
}

void jv_write(jval *v, int flags, struct buf *out)
{
    if (flags || !v) {
        write_value(v, flags, 0, out);
        return;
    }
    size_t n;
    char *text = yyjson_val_write_opts(yv(v), YYJSON_WRITE_NOFLAG, &json_alc, &n, NULL);
    ASSERT(text);
    buf_add(out, text, n);
    free(text);
}

char *jv_text(jval *v, int flags)
{
    BUF(b);
    jv_write(v, flags, &b);
    return buf_steal(&b, NULL);
}
