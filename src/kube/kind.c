#include "kube/kind.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

const struct ktype *ktype_find(const char *schema)
{
    for (size_t i = 0; i < kube_n_types; i++)
        if (!strcmp(kube_types[i]->schema, schema))
            return kube_types[i];
    return NULL;
}

/* As strcmp of a name that is not terminated and one that is. */
static int name_cmp(const char *a, size_t len, const char *b)
{
    int c = strncmp(a, b, len);
    return c ? c : b[len] ? -1 : 0;
}

const struct kfield *ktype_fieldn(const struct ktype *t, const char *name, size_t len)
{
    size_t lo = 0, hi = t->n_fields;
    if (memchr(name, 0, len))
        return NULL;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        const struct kfield *f = &t->fields[t->by_name[mid]];
        int c = name_cmp(name, len, f->name);
        if (!c)
            return f;
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

const struct kfield *ktype_field(const struct ktype *t, const char *name) { return ktype_fieldn(t, name, strlen(name)); }

const struct kfield *ktype_field_number(const struct ktype *t, unsigned number)
{
    if (!number)
        return NULL;
    for (size_t i = 0; i < t->n_fields; i++)
        if (t->fields[i].number == number)
            return &t->fields[i];
    return NULL;
}

size_t kverb_names(unsigned verbs, const char *out[8])
{
    static const char *const names[8] = {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"};
    size_t n = 0;
    for (unsigned i = 0; i < 8; i++)
        if (verbs & (1u << i))
            out[n++] = names[i];
    return n;
}

static bool has_version(const struct kind *k, const char *version) { return !version || !strcmp(k->res.version, version); }

const struct kind *kind_by_plural(const char *group, const char *version, const char *plural)
{
    for
        KINDS_EACH(k)
    if (*plural && !strcmp(k->res.plural, plural) && !strcmp(k->res.group, group) && has_version(k, version))
        return k;
    return NULL;
}

const struct kind *kind_by_gvk(const char *group, const char *version, const char *kind)
{
    for
        KINDS_EACH(k)
    if (!strcmp(k->res.kind, kind) && !strcmp(k->res.group, group) && has_version(k, version))
        return k;
    return NULL;
}

const struct kind *kind_by_api_version(const char *api_version, const char *kind)
{
    const char *slash = strchr(api_version, '/');
    if (!slash)
        return kind_by_gvk("", api_version, kind);
    AUTOFREE char *group = xstrndup(api_version, (size_t)(slash - api_version));
    return kind_by_gvk(group, slash + 1, kind);
}

const struct kind *kind_by_short_name(const char *name)
{
    for
        KINDS_EACH(k)
        {
            if (!*k->res.plural)
                continue;
            if (!strcmp(name, k->res.plural) || !strcmp(name, k->singular) || !strcasecmp(name, k->res.kind))
                return k;
            for (const char *const *s = k->short_names; s && *s; s++)
                if (!strcmp(name, *s))
                    return k;
        }
    return NULL;
}

const struct kube_sub *kind_sub(const struct kind *k, const char *name)
{
    for (size_t i = 0; i < k->n_subs; i++)
        if (!strcmp(k->subs[i].name, name))
            return &k->subs[i];
    return NULL;
}

bool kind_has_verb(const struct kind *k, unsigned verb) { return (k->verbs & verb) == verb; }

char *kind_api_version(const struct kind *k)
{
    return *k->res.group ? xasprintf("%s/%s", k->res.group, k->res.version) : xstrdup(k->res.version);
}

bool kube_res_equal(const struct kube_res *a, const struct kube_res *b)
{
    return a == b || (!strcmp(a->plural, b->plural) && !strcmp(a->group, b->group) && !strcmp(a->version, b->version));
}
