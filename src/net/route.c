#include "net/route.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/arena.h"

#define MAX_DEPTH 64

/* What ends at a node: a route and the names of the parameters on the way. */
struct leaf {
    const struct route *route;
    const char *names[ROUTE_MAX_PARAMS];
    size_t n_names;
    struct leaf *next;
};

struct node;
struct edge {
    const char *text; /* a literal segment, or a verb */
    size_t len;
    struct node *to;
};
struct edges {
    struct edge *v; /* sorted once the table is complete */
    size_t n, cap;
};

struct node {
    struct edges literals;
    struct edges verbs; /* "{id}:verb" */
    struct node *param;
    struct leaf *rest;   /* routes whose "{rest...}" starts here */
    struct leaf *leaves; /* routes that end here */
};

struct route_table {
    struct arena arena;
    struct node *root;
};

static int edge_cmp(const char *a, size_t an, const char *b, size_t bn)
{
    int c = memcmp(a, b, an < bn ? an : bn);
    return c ? c : (an > bn) - (an < bn);
}

/* Kept sorted while it grows; tables are small and built once. */
static struct node *edge_to(struct arena *a, struct edges *e, const char *text, size_t len)
{
    size_t i = 0;
    for (; i < e->n; i++) {
        int c = edge_cmp(text, len, e->v[i].text, e->v[i].len);
        if (c == 0)
            return e->v[i].to;
        if (c < 0)
            break;
    }
    if (e->n == e->cap) {
        size_t cap = e->cap ? e->cap * 2 : 4;
        struct edge *v = arena_alloc(a, cap * sizeof *v);
        if (e->n)
            memcpy(v, e->v, e->n * sizeof *v);
        e->v = v;
        e->cap = cap;
    }
    memmove(e->v + i + 1, e->v + i, (e->n - i) * sizeof *e->v);
    e->v[i] = (struct edge){.text = arena_strndup(a, text, len), .len = len, .to = ARENA_NEW(a, struct node)};
    e->n++;
    return e->v[i].to;
}

static const struct node *edge_find(const struct edges *e, const char *text, size_t len)
{
    size_t lo = 0, hi = e->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = edge_cmp(text, len, e->v[mid].text, e->v[mid].len);
        if (c == 0)
            return e->v[mid].to;
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

static void leaf_add(struct leaf **list, struct leaf *leaf)
{
    for (struct leaf *l = *list; l; l = l->next)
        ASSERT(!(l->route->methods & leaf->route->methods) && "two routes with the same pattern and method");
    leaf->next = *list;
    *list = leaf;
}

static void add_param(struct arena *a, struct leaf *leaf, const char *name, size_t len)
{
    ASSERT(len > 0 && leaf->n_names < ROUTE_MAX_PARAMS);
    leaf->names[leaf->n_names++] = arena_strndup(a, name, len);
}

static void route_add(struct route_table *t, const struct route *r)
{
    struct arena *a = &t->arena;
    struct node *at = t->root;
    struct leaf *leaf = ARENA_NEW(a, struct leaf);
    leaf->route = r;
    ASSERT(r->pattern[0] == '/' && r->methods && r->handle);
    const char *p = r->pattern;
    for (unsigned depth = 0; *p == '/'; depth++) {
        ASSERT(depth < MAX_DEPTH);
        const char *seg = p + 1;
        size_t len = strcspn(seg, "/");
        p = seg + len;
        if (seg[0] != '{') {
            ASSERT(!memchr(seg, '{', len) && "a parameter is a whole part");
            at = edge_to(a, &at->literals, seg, len);
            continue;
        }
        const char *close = memchr(seg, '}', len);
        ASSERT(close);
        size_t name = (size_t)(close - seg) - 1;
        if (name > 3 && memcmp(close - 3, "...", 3) == 0) {
            ASSERT(!*p && close + 1 == p && "{rest...} is the last part");
            add_param(a, leaf, seg + 1, name - 3);
            leaf_add(&at->rest, leaf);
            return;
        }
        add_param(a, leaf, seg + 1, name);
        if (close + 1 == p) {
            if (!at->param)
                at->param = ARENA_NEW(a, struct node);
            at = at->param;
        } else {
            ASSERT(close[1] == ':' && close + 2 < p && !*p && "a verb stands in the last part");
            at = edge_to(a, &at->verbs, close + 2, (size_t)(p - close) - 2);
        }
    }
    leaf_add(&at->leaves, leaf);
}

struct route_table *route_table_new(const struct route *routes, size_t n)
{
    struct route_table *t = xcalloc(1, sizeof *t);
    t->root = ARENA_NEW(&t->arena, struct node);
    for (size_t i = 0; i < n; i++)
        route_add(t, &routes[i]);
    return t;
}

void route_table_free(struct route_table *t)
{
    if (!t)
        return;
    arena_free(&t->arena);
    free(t);
}

struct search {
    enum http_method method;
    struct route_match *m;
    struct {
        const char *p;
        size_t len;
    } values[ROUTE_MAX_PARAMS];
};

static bool leaf_take(struct search *s, const struct leaf *list)
{
    const struct leaf *found = NULL;
    for (const struct leaf *l = list; l; l = l->next) {
        s->m->allowed |= l->route->methods;
        if (l->route->methods & s->method)
            found = l;
    }
    if (!found && s->method == HTTP_HEAD)
        for (const struct leaf *l = list; l && !found; l = l->next)
            if (l->route->methods & HTTP_GET)
                found = l;
    if (!found)
        return false;
    s->m->route = found->route;
    s->m->n = found->n_names;
    for (size_t i = 0; i < found->n_names; i++) {
        s->m->params[i].name = found->names[i];
        s->m->params[i].p = s->values[i].p;
        s->m->params[i].len = s->values[i].len;
    }
    return true;
}

static bool walk(struct search *s, const struct node *at, const char *path, size_t n_params);

/* The last colon of a segment, as it is or percent-encoded; *width is how many bytes it takes. */
static const char *last_colon(const char *seg, size_t len, size_t *width)
{
    for (size_t i = len; i-- > 0;) {
        *width = seg[i] == ':' ? 1 : len - i >= 3 && strncasecmp(seg + i, "%3A", 3) == 0 ? 3 : 0;
        if (*width)
            return seg + i;
    }
    return NULL;
}

static bool try_verb(struct search *s, const struct node *at, const char *seg, size_t len, size_t n_params)
{
    size_t width;
    const char *colon = at->verbs.n ? last_colon(seg, len, &width) : NULL;
    if (!colon || colon == seg)
        return false;
    const struct node *to = edge_find(&at->verbs, colon + width, len - (size_t)(colon - seg) - width);
    if (!to)
        return false;
    s->values[n_params].p = seg;
    s->values[n_params].len = (size_t)(colon - seg);
    return leaf_take(s, to->leaves);
}

/* path is "" at the end, else starts with '/'. */
static bool walk(struct search *s, const struct node *at, const char *path, size_t n_params)
{
    if (!*path)
        return leaf_take(s, at->leaves);
    const char *seg = path + 1;
    size_t len = strcspn(seg, "/");
    const struct node *to = edge_find(&at->literals, seg, len);
    if (to && walk(s, to, seg + len, n_params))
        return true;
    if (len && !seg[len] && try_verb(s, at, seg, len, n_params))
        return true;
    if (len && at->param) {
        s->values[n_params].p = seg;
        s->values[n_params].len = len;
        if (walk(s, at->param, seg + len, n_params + 1))
            return true;
    }
    if (!at->rest)
        return false;
    s->values[n_params].p = seg;
    s->values[n_params].len = strlen(seg);
    return leaf_take(s, at->rest);
}

enum route_result route_match(const struct route_table *t, enum http_method method, const char *path, struct route_match *m)
{
    *m = (struct route_match){0};
    struct search s = {.method = method, .m = m};
    if (path[0] == '/' && walk(&s, t->root, path, 0))
        return ROUTE_FOUND;
    return m->allowed ? ROUTE_METHOD : ROUTE_NONE;
}
