/* Kubernetes' URL library: absolute URIs and absolute paths, as Go's url.ParseRequestURI takes them. */
#include <ctype.h>
#include <string.h>

#include "value/cel_priv.h"

typedef const struct cel_value *val;

struct part {
    const char *s;
    size_t n;
};
struct url {
    struct part whole, scheme, host, path, query; /* host with its port and without the user */
};

static bool same(const void *a, const void *b)
{
    const struct url *x = a, *y = b;
    return x->whole.n == y->whole.n && memcmp(x->whole.s, y->whole.s, x->whole.n) == 0;
}
static const struct cel_opaque type = {.name = "kubernetes.URL", .equal = same};

static bool escapes_ok(struct part p)
{
    for (size_t i = 0; i < p.n; i++) {
        if ((unsigned char)p.s[i] <= 0x20 || p.s[i] == 0x7F)
            return false;
        if (p.s[i] == '%' && (i + 2 >= p.n || !isxdigit((unsigned char)p.s[i + 1]) || !isxdigit((unsigned char)p.s[i + 2])))
            return false;
    }
    return true;
}

/* Where the port's colon is, n when there is none. */
static size_t port_at(struct part host)
{
    const char *close = host.n && host.s[0] == '[' ? memchr(host.s, ']', host.n) : NULL;
    size_t from = close ? (size_t)(close - host.s) + 1 : 0;
    const char *colon = memrchr(host.s + from, ':', host.n - from);
    return colon ? (size_t)(colon - host.s) : host.n;
}

static bool host_ok(struct part h)
{
    if (h.n && h.s[0] == '[' && !memchr(h.s, ']', h.n))
        return false;
    size_t port = port_at(h);
    for (size_t i = port + 1; i < h.n; i++)
        if (!isdigit((unsigned char)h.s[i]))
            return false;
    for (size_t i = 0; i < port; i++)
        if (strchr(" \"<>\\^`{|}#", h.s[i]) || !h.s[i])
            return false;
    return true;
}

static bool parse(val v, struct url *u)
{
    const char *s = v->s, *end = v->s + v->n;
    *u = (struct url){.whole = {v->s, v->n}, .scheme = {"", 0}, .host = {"", 0}, .query = {"", 0}};
    if (v->n == 0 || !escapes_ok(u->whole))
        return false;
    if (*s != '/') {
        const char *p = s;
        while (p < end && (isalnum((unsigned char)*p) || (p > s && strchr("+-.", *p))))
            p++;
        if (p == s || p >= end || *p != ':' || !isalpha((unsigned char)*s))
            return false;
        u->scheme = (struct part){s, (size_t)(p - s)};
        s = p + 1;
    }
    if (u->scheme.n && end - s >= 2 && s[0] == '/' && s[1] == '/') {
        const char *h = s + 2, *stop = h;
        while (stop < end && *stop != '/' && *stop != '?')
            stop++;
        const char *at = memrchr(h, '@', (size_t)(stop - h));
        if (at)
            h = at + 1;
        u->host = (struct part){h, (size_t)(stop - h)};
        if (!host_ok(u->host))
            return false;
        s = stop;
    } else if (u->scheme.n && (s >= end || *s != '/')) {
        return false; /* opaque ("mailto:x") is no request URI */
    }
    const char *q = memchr(s, '?', (size_t)(end - s));
    u->path = (struct part){s, (size_t)((q ? q : end) - s)};
    if (q)
        u->query = (struct part){q + 1, (size_t)(end - q) - 1};
    return true;
}

static val make(struct cel_call *c)
{
    struct url *u = ARENA_NEW(c->run->a, struct url);
    val s = c->args[0];
    if (parse(s, u))
        return cel_mk_opaque(c->run, &type, u);
    return cel_error(c->run, "URL parse error during conversion from string: '%.*s' is no absolute URL or path",
                     (int)(s->n > 100 ? 100 : s->n), s->s);
}

static val is_url(struct cel_call *c)
{
    struct url u;
    return cel_mk_bool(parse(c->args[0], &u));
}

static val get(struct cel_call *c)
{
    if (c->args[0]->kind != CEL_OPAQUE || c->args[0]->type != &type)
        return cel_no_overload(c);
    const struct url *u = c->args[0]->p;
    const char *name = c->node->name;
    struct part p = u->path;
    size_t port = port_at(u->host);
    if (str_eq(name, "getScheme")) {
        p = u->scheme;
    } else if (str_eq(name, "getHost")) {
        p = u->host;
    } else if (str_eq(name, "getPort")) {
        p = port < u->host.n ? (struct part){u->host.s + port + 1, u->host.n - port - 1} : (struct part){"", 0};
    } else if (str_eq(name, "getHostname")) {
        p = (struct part){u->host.s, port};
        if (p.n >= 2 && p.s[0] == '[')
            p = (struct part){p.s + 1, p.n - 2};
    }
    return cel_mk_copy(c->run, CEL_STRING, p.s, p.n);
}

static void decode(struct part p, struct buf *out)
{
    AUTOFREE char *text = NULL;
    if (url_decode(p.s, p.n, true, &text) == 0)
        buf_adds(out, text);
    else
        buf_add(out, p.s, p.n);
}

/* A map of lists of strings, in the order of first mention. */
static val get_query(struct cel_call *c)
{
    if (c->args[0]->kind != CEL_OPAQUE || c->args[0]->type != &type)
        return cel_no_overload(c);
    const struct url *u = c->args[0]->p;
    size_t count = 1;
    for (size_t i = 0; i < u->query.n; i++)
        count += u->query.s[i] == '&';
    if (cel_charge(c->run, count * 2 + u->query.n / 8) < 0)
        return NULL;
    struct cel_pair *pairs = arena_alloc(c->run->a, count * sizeof *pairs);
    struct cel_value *map = cel_mk(c->run, CEL_MAP);
    map->pairs = pairs;
    for (size_t at = 0; at < u->query.n;) {
        const char *s = u->query.s + at, *amp = memchr(s, '&', u->query.n - at);
        size_t n = amp ? (size_t)(amp - s) : u->query.n - at;
        const char *eq = memchr(s, '=', n);
        BUF(k);
        BUF(v);
        decode((struct part){s, eq ? (size_t)(eq - s) : n}, &k);
        if (eq)
            decode((struct part){eq + 1, n - (size_t)(eq - s) - 1}, &v);
        at += n + 1;
        if (!n)
            continue;
        val key = cel_mk_copy(c->run, CEL_STRING, buf_str(&k), k.len),
            value = cel_mk_copy(c->run, CEL_STRING, buf_str(&v), v.len);
        if (!key || !value || cel_charge(c->run, map->len / 8) < 0)
            return NULL;
        struct cel_value *list = (struct cel_value *)(uintptr_t)cel_map_get(c->run, map, key);
        if (!list) {
            list = cel_mk(c->run, CEL_LIST);
            pairs[map->len++] = (struct cel_pair){key, list};
        }
        if (cel_charge(c->run, list->len) < 0)
            return NULL;
        const struct cel_value **items = arena_alloc(c->run->a, (list->len + 1) * sizeof(val));
        if (list->len)
            memcpy(items, list->items, list->len * sizeof(val));
        items[list->len++] = value;
        list->items = items;
    }
    return map;
}

#define U KIND(CEL_OPAQUE)
const struct cel_fn cel_lib_url[] = {
    {"url", CEL_GLOBAL, 1, 1, KIND(CEL_STRING), make},
    {"isURL", CEL_GLOBAL, 1, 1, KIND(CEL_STRING), is_url},
    {"getScheme", CEL_MEMBER, 1, 1, U, get},
    {"getHost", CEL_MEMBER, 1, 1, U, get},
    {"getHostname", CEL_MEMBER, 1, 1, U, get},
    {"getPort", CEL_MEMBER, 1, 1, U, get},
    {"getEscapedPath", CEL_MEMBER, 1, 1, U, get},
    {"getQuery", CEL_MEMBER, 1, 1, U, get_query},
    {0},
};
