#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/str.h"
#include "kube/kind.h"

#define ALL_VERBS 255u

/* The kind and all that it points to. */
struct owned {
    struct kind kind;
    struct arena arena;
};

static const char *const *copy_names(struct arena *a, const char *const *names, size_t n)
{
    if (!n)
        return NULL;
    const char **out = arena_alloc(a, (n + 1) * sizeof *out);
    for (size_t i = 0; i < n; i++)
        out[i] = arena_strdup(a, names[i]);
    return out;
}

static void add_sub(struct kube_sub *sub, const char *name, const char *group, const char *version, const char *kind)
{
    *sub = (struct kube_sub){.name = name,
                             .group = group,
                             .version = version,
                             .kind = kind,
                             .verbs = KVERB_GET | KVERB_PATCH | KVERB_UPDATE,
                             .served = true};
}

struct kind *kind_new(const struct kind_custom *c)
{
    struct owned *o = xcalloc(1, sizeof *o);
    struct arena *a = &o->arena;
    struct kind *k = &o->kind;
    struct kube_sub *subs = arena_alloc(a, 2 * sizeof *subs);
    k->res = (struct kube_res){.group = arena_strdup(a, c->group),
                               .version = arena_strdup(a, c->version),
                               .plural = arena_strdup(a, c->plural),
                               .kind = arena_strdup(a, c->kind),
                               .namespaced = c->namespaced};
    k->list_kind = arena_strdup(a, c->list_kind);
    k->singular = arena_strdup(a, c->singular);
    k->short_names = copy_names(a, c->short_names, c->n_short_names);
    k->categories = copy_names(a, c->categories, c->n_categories);
    k->verbs = ALL_VERBS;
    k->store = KSTORE_DURABLE;
    k->store_group = k->res.group;
    k->store_version = k->res.version;
    k->served = true;
    k->subs = subs;
    if (c->scale)
        add_sub(&subs[k->n_subs++], "scale", "autoscaling", "v1", "Scale");
    if (c->status)
        add_sub(&subs[k->n_subs++], "status", "", "", k->res.kind);
    k->hash = arena_strdup(a, c->hash ? c->hash : "");
    return k;
}

void kind_free(struct kind *k)
{
    if (!k)
        return;
    struct owned *o = CONTAINER_OF(k, struct owned, kind);
    arena_free(&o->arena);
    free(o);
}

/* v<major>[(alpha|beta)<minor>]: stability 2, 1, 0; anything else -1. */
struct version {
    int stability;
    unsigned long major, minor;
};

static bool number(const char **s, unsigned long *out)
{
    size_t n = strspn(*s, "0123456789");
    if (!n || n > 9 || **s == '0')
        return false;
    *out = strtoul(*s, NULL, 10);
    *s += n;
    return true;
}

static struct version parse(const char *s)
{
    struct version v = {.stability = 2}, none = {.stability = -1};
    if (*s++ != 'v' || !number(&s, &v.major))
        return none;
    if (!*s)
        return v;
    v.stability = str_starts(s, "beta") ? 1 : str_starts(s, "alpha") ? 0 : -1;
    if (v.stability < 0)
        return none;
    s += v.stability ? 4 : 5;
    return number(&s, &v.minor) && !*s ? v : none;
}

int kind_version_cmp(const char *a, const char *b)
{
    struct version x = parse(a), y = parse(b);
    if (x.stability != y.stability)
        return x.stability > y.stability ? -1 : 1;
    if (x.stability < 0)
        return strcmp(a, b);
    if (x.major != y.major)
        return x.major > y.major ? -1 : 1;
    return x.minor > y.minor ? -1 : x.minor < y.minor;
}
