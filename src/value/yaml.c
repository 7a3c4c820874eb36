/* Reading YAML: libyaml's events become a tree of nodes in an arena (aliases point to what they name), the tree is
 * written as JSON text, and the JSON reader makes the document of it. So duplicate members, depth and numbers behave in
 * YAML exactly as they do in JSON.
 *
 * What an alias would expand to is known before it is expanded: every node carries its height and its size written out,
 * and each alias is charged for the size of its target. A bomb is refused at the alias that goes too far. */
#include "value/yaml.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <yaml.h>

#include "base/arena.h"
#include "base/str.h"
#include "value/yaml_scalar.h"

#define DEFAULT_DEPTH     512
#define ALIAS_BYTES_FLOOR (4u << 20) /* what aliases may always expand to, and ... */
#define ALIAS_BYTES_TIMES 4          /* ... in multiples of the input's size */

struct node;
struct pair {
    struct node *key, *val;
};
struct node {
    enum { N_SCALAR, N_SEQ, N_MAP } kind;
    bool done;        /* false while its children are still being read */
    bool merge;       /* a plain << */
    unsigned height;  /* levels of containers in it */
    uint64_t size;    /* bytes it takes when written, aliases expanded */
    size_t line, col; /* from 1 */
    const char *json; /* N_SCALAR: JSON text */
    size_t json_len;
    const char *text; /* N_SCALAR: the string or the number's text, for use as a key */
    size_t text_len;
    struct node **items;
    struct pair *pairs;
    size_t n, cap;
};

struct anchor {
    const char *name;
    struct node *node;
    UT_hash_handle hh;
};

struct frame {
    struct node *node;
    struct node *key; /* N_MAP: a key that waits for its value */
    size_t merges;    /* how many << it has */
};

struct reader {
    yaml_parser_t parser;
    struct arena arena;
    struct anchor *anchors;
    struct frame *stack;
    unsigned depth, max_depth;
    uint64_t alias_budget;
    const struct json_opts *opts;
    struct err *err;
};

static int fail_at(struct reader *r, size_t line, size_t col, const char *fmt, ...) PRINTF_LIKE(4, 5);
static int fail_at(struct reader *r, size_t line, size_t col, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    AUTOFREE char *text = NULL;
    BUF(b);
    buf_addv(&b, fmt, ap);
    va_end(ap);
    text = buf_steal(&b, NULL);
    return err_set(r->err, ERR_BAD_REQUEST, "yaml: line %zu, column %zu: %s", line, col, text);
}

static int fail_parser(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_READER_ERROR)
        return err_set(r->err, ERR_BAD_REQUEST, "yaml: byte %zu: %s", p->problem_offset, p->problem);
    bool ctx = p->context && p->context_mark.line != p->problem_mark.line;
    if (ctx)
        return fail_at(r, p->problem_mark.line + 1, p->problem_mark.column + 1, "%s (%s that began on line %zu)", p->problem,
                       p->context, p->context_mark.line + 1);
    return fail_at(r, p->problem_mark.line + 1, p->problem_mark.column + 1, "%s%s%s", p->context ? p->context : "",
                   p->context ? ": " : "", p->problem ? p->problem : "malformed");
}

/* ---- the tree ------------------------------------------------------------------------------------------------- */

static struct node *node_new(struct reader *r, int kind, const yaml_event_t *ev)
{
    struct node *n = ARENA_NEW(&r->arena, struct node);
    n->kind = kind;
    n->line = ev->start_mark.line + 1;
    n->col = ev->start_mark.column + 1;
    return n;
}

static void grow(struct reader *r, struct node *n)
{
    if (n->n < n->cap)
        return;
    size_t cap = n->cap ? n->cap * 2 : 8;
    size_t item = n->kind == N_SEQ ? sizeof *n->items : sizeof *n->pairs;
    void *p = arena_alloc(&r->arena, cap * item);
    if (n->n)
        memcpy(p, n->kind == N_SEQ ? (void *)n->items : (void *)n->pairs, n->n * item);
    n->cap = cap;
    if (n->kind == N_SEQ)
        n->items = p;
    else
        n->pairs = p;
}

/* Takes in the height and size of a child. */
static void absorb(struct node *n, const struct node *child)
{
    if (child->height + 1 > n->height)
        n->height = child->height + 1;
    if (__builtin_add_overflow(n->size, child->size + 1, &n->size))
        n->size = UINT64_MAX / 4;
}

static int check_key(struct reader *r, const struct node *key)
{
    if (key->kind != N_SCALAR)
        return fail_at(r, key->line, key->col, "a key must be a scalar, not a %s", key->kind == N_SEQ ? "sequence" : "mapping");
    if (memchr(key->text, 0, key->text_len))
        return fail_at(r, key->line, key->col, "a key must not hold a NUL character");
    return 0;
}

static int attach(struct reader *r, struct node *child, struct node **root)
{
    if (r->depth == 0) {
        *root = child;
        return 0;
    }
    struct frame *f = &r->stack[r->depth - 1];
    struct node *n = f->node;
    if (n->kind == N_SEQ) {
        grow(r, n);
        n->items[n->n++] = child;
        return 0;
    }
    if (!f->key) {
        f->key = child;
        return check_key(r, child);
    }
    grow(r, n);
    n->pairs[n->n++] = (struct pair){f->key, child};
    f->merges += f->key->merge;
    f->key = NULL;
    return 0;
}

/* ---- merge keys ----------------------------------------------------------------------------------------------- */

struct seen {
    const char *key;
    UT_hash_handle hh;
};
struct merging {
    struct reader *r;
    struct node *into;
    struct seen *seen;
};

/* True when the key is new. */
static bool see(struct merging *m, const struct node *key)
{
    struct seen *s;
    HASH_FIND(hh, m->seen, key->text, key->text_len, s);
    if (s)
        return false;
    s = ARENA_NEW(&m->r->arena, struct seen);
    s->key = key->text;
    HASH_ADD_KEYPTR(hh, m->seen, s->key, key->text_len, s);
    return true;
}

static int merge_one(struct merging *m, const struct node *key, const struct node *src)
{
    struct reader *r = m->r;
    if (src->kind != N_MAP || !src->done)
        return fail_at(r, src->line, src->col, "a merge key (<<) takes a mapping or a sequence of mappings");
    for (size_t i = 0; i < src->n; i++) {
        uint64_t cost = src->pairs[i].key->size + src->pairs[i].val->size + sizeof(struct pair);
        if (cost > r->alias_budget)
            return fail_at(r, key->line, key->col, "merge keys and aliases expand to too much");
        r->alias_budget -= cost;
        if (!see(m, src->pairs[i].key))
            continue;
        grow(r, m->into);
        m->into->pairs[m->into->n++] = src->pairs[i];
    }
    return 0;
}

static int merge_value(struct merging *m, const struct pair *p)
{
    if (p->val->kind != N_SEQ)
        return merge_one(m, p->key, p->val);
    for (size_t i = 0; i < p->val->n; i++)
        if (merge_one(m, p->key, p->val->items[i]) < 0)
            return -1;
    return 0;
}

/* Replaces the pairs of a mapping that has merge keys: what is merged comes first, own keys win over merged ones, and
 * of several sources the earlier wins. Sources are complete, so their own merges are done. */
static int merge_keys(struct reader *r, struct node *n)
{
    struct node own = *n;
    n->pairs = NULL;
    n->n = n->cap = 0;
    struct merging m = {.r = r, .into = n};
    for (size_t i = 0; i < own.n; i++)
        if (!own.pairs[i].key->merge)
            see(&m, own.pairs[i].key);
    int rc = 0;
    for (size_t i = 0; i < own.n && rc == 0; i++)
        if (own.pairs[i].key->merge)
            rc = merge_value(&m, &own.pairs[i]);
    HASH_CLEAR(hh, m.seen);
    for (size_t i = 0; i < own.n; i++) {
        if (own.pairs[i].key->merge)
            continue;
        grow(r, n);
        n->pairs[n->n++] = own.pairs[i];
    }
    return rc;
}

/* ---- events --------------------------------------------------------------------------------------------------- */

static int scalar(struct reader *r, const yaml_event_t *ev, struct node **out)
{
    struct node *n = node_new(r, N_SCALAR, ev);
    const char *text = (const char *)ev->data.scalar.value;
    size_t len = ev->data.scalar.length;
    const char *tag = (const char *)ev->data.scalar.tag;
    bool plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    BUF(num);
    struct yaml_scalar s;
    ERR(e);
    if (yaml_scalar_resolve(text, len, tag, plain, &s, &num, &e) < 0)
        return fail_at(r, n->line, n->col, "%s", err_text(&e));
    if (tag == NULL && plain && r->opts && r->opts->short_bools && s.kind == YS_STRING && len == 1 && strchr("yYnN", *text))
        s = strchr("yY", *text) ? (struct yaml_scalar){YS_BOOL, "true", 4} : (struct yaml_scalar){YS_BOOL, "false", 5};
    if (s.kind == YS_NONFINITE && !(r->opts && r->opts->allow_nan))
        return fail_at(r, n->line, n->col, "%.*s has no JSON form", (int)len, text);
    n->merge = plain && s.kind == YS_STRING && len == 2 && memcmp(text, "<<", 2) == 0;
    if (s.kind == YS_STRING || s.kind == YS_NONFINITE) {
        BUF(q);
        json_quote(&q, s.text, s.len);
        n->json = arena_strndup(&r->arena, q.data, q.len);
        n->json_len = q.len;
    } else {
        n->json = arena_strndup(&r->arena, s.text, s.len);
        n->json_len = s.len;
    }
    char *copy = arena_alloc(&r->arena, s.len + 1);
    memcpy(copy, s.text, s.len);
    n->text = copy;
    n->text_len = s.len;
    n->size = n->json_len;
    n->done = true;
    *out = n;
    return 0;
}

static void name_anchor(struct reader *r, const yaml_char_t *name, struct node *n)
{
    if (!name)
        return;
    struct anchor *a;
    HASH_FIND_STR(r->anchors, (const char *)name, a);
    if (!a) {
        a = ARENA_NEW(&r->arena, struct anchor);
        a->name = arena_strdup(&r->arena, (const char *)name);
        HASH_ADD_KEYPTR(hh, r->anchors, a->name, strlen(a->name), a);
    }
    a->node = n;
}

static int alias(struct reader *r, const yaml_event_t *ev, struct node **out)
{
    const char *name = (const char *)ev->data.alias.anchor;
    size_t line = ev->start_mark.line + 1, col = ev->start_mark.column + 1;
    struct anchor *a;
    HASH_FIND_STR(r->anchors, name, a);
    if (!a)
        return fail_at(r, line, col, "unknown anchor '%s' referenced", name);
    if (!a->node->done)
        return fail_at(r, line, col, "anchor '%s' value contains itself", name);
    if (r->depth + a->node->height > r->max_depth)
        return fail_at(r, line, col, "alias '%s' nests deeper than %u levels", name, r->max_depth);
    if (a->node->size > r->alias_budget)
        return fail_at(r, line, col, "alias '%s': aliases expand to too much", name);
    r->alias_budget -= a->node->size;
    *out = a->node;
    return 0;
}

static int open_container(struct reader *r, int kind, const yaml_event_t *ev, const yaml_char_t *anchor, struct node **root)
{
    struct node *n = node_new(r, kind, ev);
    n->height = 1;
    n->size = 2;
    if (r->depth >= r->max_depth)
        return fail_at(r, n->line, n->col, "nested deeper than %u levels", r->max_depth);
    name_anchor(r, anchor, n);
    if (attach(r, n, root) < 0)
        return -1;
    r->stack = xreallocarray(r->stack, r->depth + 1, sizeof *r->stack);
    r->stack[r->depth++] = (struct frame){.node = n};
    return 0;
}

static int close_container(struct reader *r)
{
    struct frame f = r->stack[r->depth - 1];
    struct node *n = f.node;
    if (f.merges && merge_keys(r, n) < 0)
        return -1;
    for (size_t i = 0; i < n->n; i++) {
        if (n->kind == N_MAP) {
            absorb(n, n->pairs[i].val);
            n->size += n->pairs[i].key->size + 3;
        } else {
            absorb(n, n->items[i]);
        }
    }
    n->done = true;
    r->depth--;
    if (r->depth + n->height > r->max_depth)
        return fail_at(r, n->line, n->col, "nested deeper than %u levels", r->max_depth);
    return 0;
}

static int take_event(struct reader *r, const yaml_event_t *ev, struct node **root)
{
    struct node *n = NULL;
    switch (ev->type) {
    case YAML_SCALAR_EVENT:
        if (scalar(r, ev, &n) < 0)
            return -1;
        name_anchor(r, ev->data.scalar.anchor, n);
        return attach(r, n, root);
    case YAML_ALIAS_EVENT:
        return alias(r, ev, &n) < 0 ? -1 : attach(r, n, root);
    case YAML_SEQUENCE_START_EVENT:
        return open_container(r, N_SEQ, ev, ev->data.sequence_start.anchor, root);
    case YAML_MAPPING_START_EVENT:
        return open_container(r, N_MAP, ev, ev->data.mapping_start.anchor, root);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return close_container(r);
    default:
        return 0;
    }
}

/* ---- the tree as JSON text ------------------------------------------------------------------------------------ */

/* Recursion is bounded by max_depth (checked by height when the tree was made). */
static void emit(const struct node *n, struct buf *out)
{
    if (n->kind == N_SCALAR) {
        buf_add(out, n->json, n->json_len);
        return;
    }
    buf_addc(out, n->kind == N_SEQ ? '[' : '{');
    for (size_t i = 0; i < n->n; i++) {
        if (i)
            buf_addc(out, ',');
        if (n->kind == N_SEQ) {
            emit(n->items[i], out);
            continue;
        }
        json_quote(out, n->pairs[i].key->text, n->pairs[i].key->text_len);
        buf_addc(out, ':');
        emit(n->pairs[i].val, out);
    }
    buf_addc(out, n->kind == N_SEQ ? ']' : '}');
}

/* Reads the events of one document, its start already seen. */
static struct json *read_document(struct reader *r)
{
    struct node *root = NULL;
    for (;;) {
        yaml_event_t ev;
        if (!yaml_parser_parse(&r->parser, &ev)) {
            fail_parser(r);
            return NULL;
        }
        yaml_event_type_t type = ev.type;
        int rc = take_event(r, &ev, &root);
        yaml_event_delete(&ev);
        if (rc < 0)
            return NULL;
        if (type == YAML_DOCUMENT_END_EVENT)
            break;
    }
    BUF(text);
    if (root)
        emit(root, &text);
    else
        buf_adds(&text, "null");
    HASH_CLEAR(hh, r->anchors);
    arena_free(&r->arena);
    struct json_opts opts = r->opts ? *r->opts : (struct json_opts){0};
    opts.max_depth = r->max_depth;
    return json_parse(text.data, text.len, &opts, r->err);
}

static int read_stream(struct reader *r, struct json ***docs, size_t *n)
{
    for (;;) {
        yaml_event_t ev;
        if (!yaml_parser_parse(&r->parser, &ev))
            return fail_parser(r);
        yaml_event_type_t type = ev.type;
        yaml_event_delete(&ev);
        if (type == YAML_STREAM_END_EVENT)
            return 0;
        if (type != YAML_DOCUMENT_START_EVENT)
            continue;
        struct json *d = read_document(r);
        if (!d)
            return -1;
        *docs = xreallocarray(*docs, *n + 1, sizeof **docs);
        (*docs)[(*n)++] = d;
    }
}

static void drop_docs(struct json **docs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        json_unref(docs[i]);
    free(docs);
}

static int parse_yaml(const char *text, size_t len, const struct json_opts *opts, struct json ***docs, size_t *n, struct err *err)
{
    *docs = NULL;
    *n = 0;
    struct reader r = {.opts = opts, .err = err};
    r.max_depth = opts && opts->max_depth ? opts->max_depth : DEFAULT_DEPTH;
    r.alias_budget = ALIAS_BYTES_FLOOR + (uint64_t)len * ALIAS_BYTES_TIMES;
    if (!yaml_parser_initialize(&r.parser))
        return err_set(err, ERR_INTERNAL, "libyaml could not start");
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
    struct json **list = xmalloc(sizeof *list);
    size_t count = 0;
    int rc = read_stream(&r, &list, &count);
    yaml_parser_delete(&r.parser);
    HASH_CLEAR(hh, r.anchors);
    arena_free(&r.arena);
    free(r.stack);
    if (rc < 0) {
        drop_docs(list, count);
        return -1;
    }
    *docs = list;
    *n = count;
    return 0;
}

/* ---- JSON, and one document ------------------------------------------------------------------------------------ */

/* 0: not JSON by its first characters; 1: perhaps; 2: surely meant as JSON. */
static int looks_like_json(const char *text, size_t len)
{
    const char *ws = " \t\r\n";
    size_t i = 0;
    while (i < len && strchr(ws, text[i]) && text[i])
        i++;
    if (i >= len || (text[i] != '{' && text[i] != '['))
        return 0;
    bool object = text[i++] == '{';
    while (i < len && text[i] && strchr(ws, text[i]))
        i++;
    return object && i < len && text[i] == '"' ? 2 : 1;
}

int yaml_parse(const char *text, size_t len, const struct json_opts *opts, struct json ***docs, size_t *n, struct err *err)
{
    struct json *d = looks_like_json(text, len) ? json_parse(text, len, opts, NULL) : NULL;
    if (!d)
        return parse_yaml(text, len, opts, docs, n, err);
    *docs = xmalloc(sizeof **docs);
    (*docs)[0] = d;
    *n = 1;
    return 0;
}

/* Empty documents beside the one that counts (a trailing "---") are let through. */
static struct json *pick_one(struct json **docs, size_t n, struct err *err)
{
    size_t real = 0, at = 0;
    for (size_t i = 0; i < n; i++) {
        if (jv_type(json_root(docs[i])) == J_NULL)
            continue;
        real++;
        at = i;
    }
    if (n == 0)
        return err_set(err, ERR_BAD_REQUEST, "yaml: the document is empty"), NULL;
    if (real > 1)
        return err_set(err, ERR_BAD_REQUEST, "yaml: expected one document, found %zu", real), NULL;
    return json_ref(docs[real ? at : 0]);
}

struct json *yaml_parse_one(const char *text, size_t len, const struct json_opts *opts, struct err *err)
{
    int json = looks_like_json(text, len);
    ERR(json_err);
    if (json) {
        struct json *d = json_parse(text, len, opts, &json_err);
        if (d)
            return d;
    }
    struct json **docs;
    size_t n;
    ERR(e);
    if (parse_yaml(text, len, opts, &docs, &n, &e) < 0) {
        err_move(err, json == 2 ? &json_err : &e);
        return NULL;
    }
    struct json *d = pick_one(docs, n, err);
    drop_docs(docs, n);
    return d;
}
