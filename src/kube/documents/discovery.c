#include "kube/documents/discovery.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/thread.h"
#include "kube/documents/doc.h"

/* Kinds of one group and version: a run of the sorted array. */
struct version {
    const struct kind **kinds;
    size_t n;
    struct kube_doc resources;
};
/* Versions of one group: a run of the array of versions. */
struct group {
    const char *name;
    struct version *versions;
    size_t n;
    struct kube_doc doc;
};

struct discovery {
    pthread_mutex_t lock; /* guards the documents while they are made */
    const struct kind **kinds;
    struct version *versions;
    struct group *groups;
    size_t n_kinds, n_versions, n_groups;
    struct kube_doc api, apis, api_aggregated, apis_aggregated;
};

static bool same_group(const struct kind *a, const struct kind *b) { return !strcmp(a->res.group, b->res.group); }

static bool same_version(const struct kind *a, const struct kind *b)
{
    return same_group(a, b) && !strcmp(a->res.version, b->res.version);
}

struct discovery *discovery_new(const struct kind *const *kinds, size_t n)
{
    struct discovery *d = xcalloc(1, sizeof *d);
    ASSERT(pthread_mutex_init(&d->lock, NULL) == 0);
    d->kinds = xcalloc(n + 1, sizeof *d->kinds);
    memcpy(d->kinds, kinds, n * sizeof *kinds);
    d->n_kinds = kinds_sort_served(d->kinds, n);
    d->versions = xcalloc(d->n_kinds + 1, sizeof *d->versions);
    d->groups = xcalloc(d->n_kinds + 1, sizeof *d->groups);
    for (size_t i = 0; i < d->n_kinds; i++) {
        const struct kind **k = &d->kinds[i];
        bool new_version = !i || !same_version(k[-1], k[0]);
        if (new_version)
            d->versions[d->n_versions++].kinds = k;
        d->versions[d->n_versions - 1].n++;
        if (!i || !same_group(k[-1], k[0]))
            d->groups[d->n_groups++] = (struct group){.name = k[0]->res.group, .versions = &d->versions[d->n_versions - 1]};
        d->groups[d->n_groups - 1].n += new_version;
    }
    return d;
}

void discovery_free(struct discovery *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->n_versions; i++)
        kube_doc_clear(&d->versions[i].resources);
    for (size_t i = 0; i < d->n_groups; i++)
        kube_doc_clear(&d->groups[i].doc);
    kube_doc_clear(&d->api);
    kube_doc_clear(&d->apis);
    kube_doc_clear(&d->api_aggregated);
    kube_doc_clear(&d->apis_aggregated);
    free(d->kinds);
    free(d->versions);
    free(d->groups);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

/* ---- parts of documents --------------------------------------------------------------------------------------------------- */

static void put_str(struct jm *m, jmval *o, const char *key, const char *v) { jm_put(m, o, key, jm_str(m, v)); }

static void put_names(struct jm *m, jmval *o, const char *key, const char *const *names)
{
    if (!names || !*names)
        return;
    jmval *arr = jm_arr_at(m, o, key);
    for (; *names; names++)
        jm_push(arr, jm_str(m, *names));
}

static void put_verbs(struct jm *m, jmval *o, const struct kind *k, unsigned verbs)
{
    /* Kubernetes shows those of custom kinds in an order of its own. */
    static const char *const custom[] = {"delete", "deletecollection", "get", "list", "patch", "create", "update", "watch", NULL};
    const char *names[9] = {NULL};
    jmval *arr = jm_arr_at(m, o, "verbs");
    bool whole = !k->type && kverb_names(verbs, names) == 8;
    names[kverb_names(verbs, names)] = NULL;
    for (const char *const *v = whole ? custom : names; *v; v++)
        jm_push(arr, jm_str(m, *v));
}

static jmval *group_version(struct jm *m, const struct kind *k)
{
    AUTOFREE char *gv = kind_api_version(k);
    jmval *o = jm_obj(m);
    put_str(m, o, "groupVersion", gv);
    put_str(m, o, "version", k->res.version);
    return o;
}

static void put_group(struct jm *m, jmval *o, const struct group *g)
{
    put_str(m, o, "name", g->name);
    jmval *arr = jm_arr_at(m, o, "versions");
    for (size_t i = 0; i < g->n; i++)
        jm_push(arr, group_version(m, g->versions[i].kinds[0]));
    jm_put(m, o, "preferredVersion", group_version(m, g->versions[0].kinds[0]));
}

static jmval *resource(struct jm *m, const struct kind *k)
{
    jmval *o = jm_obj(m);
    put_str(m, o, "name", k->res.plural);
    put_str(m, o, "singularName", k->singular);
    jm_put(m, o, "namespaced", jm_bool(m, k->res.namespaced));
    put_str(m, o, "kind", k->res.kind);
    put_verbs(m, o, k, k->verbs);
    put_names(m, o, "shortNames", k->short_names);
    put_names(m, o, "categories", k->categories);
    return o;
}

static jmval *subresource(struct jm *m, const struct kind *k, const struct kube_sub *s)
{
    AUTOFREE char *name = xasprintf("%s/%s", k->res.plural, s->name);
    jmval *o = jm_obj(m);
    put_str(m, o, "name", name);
    put_str(m, o, "singularName", "");
    jm_put(m, o, "namespaced", jm_bool(m, k->res.namespaced));
    if (*s->version) {
        put_str(m, o, "group", s->group);
        put_str(m, o, "version", s->version);
    }
    put_str(m, o, "kind", s->kind);
    put_verbs(m, o, k, s->verbs);
    return o;
}

/* Built-in kinds are shown without the group and version that they have from their place; custom ones with them. */
static void put_response_kind(struct jm *m, jmval *o, const struct kind *k, const struct kube_sub *s)
{
    bool other = s && *s->version;
    jmval *r = jm_obj_at(m, o, "responseKind");
    put_str(m, r, "group", other ? s->group : k->type ? "" : k->res.group);
    put_str(m, r, "version", other ? s->version : k->type ? "" : k->res.version);
    put_str(m, r, "kind", s ? s->kind : k->res.kind);
}

static jmval *aggregated_resource(struct jm *m, const struct kind *k)
{
    jmval *o = jm_obj(m);
    put_str(m, o, "resource", k->res.plural);
    put_response_kind(m, o, k, NULL);
    put_str(m, o, "scope", k->res.namespaced ? "Namespaced" : "Cluster");
    put_str(m, o, "singularResource", k->singular);
    put_verbs(m, o, k, k->verbs);
    put_names(m, o, "shortNames", k->short_names);
    put_names(m, o, "categories", k->categories);
    for (size_t i = 0; i < k->n_subs; i++) {
        if (!k->subs[i].served)
            continue;
        jmval *s = jm_obj(m);
        put_str(m, s, "subresource", k->subs[i].name);
        put_response_kind(m, s, k, &k->subs[i]);
        put_verbs(m, s, k, k->subs[i].verbs);
        jm_push(jm_arr_at(m, o, "subresources"), s);
    }
    return o;
}

static jmval *aggregated_group(struct jm *m, const struct group *g)
{
    jmval *o = jm_obj(m);
    jmval *meta = jm_obj_at(m, o, "metadata");
    if (*g->name)
        put_str(m, meta, "name", g->name);
    jmval *versions = jm_arr_at(m, o, "versions");
    for (size_t i = 0; i < g->n; i++) {
        jmval *v = jm_obj(m);
        put_str(m, v, "version", g->versions[i].kinds[0]->res.version);
        jmval *resources = jm_arr_at(m, v, "resources");
        for (size_t j = 0; j < g->versions[i].n; j++)
            jm_push(resources, aggregated_resource(m, g->versions[i].kinds[j]));
        put_str(m, v, "freshness", "Current");
        jm_push(versions, v);
    }
    return o;
}

/* ---- documents ------------------------------------------------------------------------------------------------------------- */

static jmval *document(struct jm *m, const char *kind, const char *api_version)
{
    jmval *o = jm_obj(m);
    put_str(m, o, "kind", kind);
    if (api_version)
        put_str(m, o, "apiVersion", api_version);
    return o;
}

const struct kube_doc *discovery_api(struct discovery *d)
{
    LOCK_GUARD(&d->lock);
    if (d->api.body)
        return &d->api;
    JM_NEW(m);
    jmval *o = document(m, "APIVersions", NULL), *versions = jm_arr_at(m, o, "versions");
    for (size_t i = 0; i < d->n_groups; i++)
        for (size_t j = 0; !*d->groups[i].name && j < d->groups[i].n; j++)
            jm_push(versions, jm_str(m, d->groups[i].versions[j].kinds[0]->res.version));
    jm_arr_at(m, o, "serverAddressByClientCIDRs");
    kube_doc_set(&d->api, o);
    return &d->api;
}

const struct kube_doc *discovery_apis(struct discovery *d)
{
    LOCK_GUARD(&d->lock);
    if (d->apis.body)
        return &d->apis;
    JM_NEW(m);
    jmval *o = document(m, "APIGroupList", "v1"), *groups = jm_arr_at(m, o, "groups");
    for (size_t i = 0; i < d->n_groups; i++) {
        if (!*d->groups[i].name)
            continue;
        jmval *g = jm_obj(m);
        put_group(m, g, &d->groups[i]);
        jm_push(groups, g);
    }
    kube_doc_set(&d->apis, o);
    return &d->apis;
}

static const struct kube_doc *aggregated(struct discovery *d, struct kube_doc *doc, bool core)
{
    LOCK_GUARD(&d->lock);
    if (doc->body)
        return doc;
    JM_NEW(m);
    jmval *o = document(m, "APIGroupDiscoveryList", "apidiscovery.k8s.io/v2");
    jm_obj_at(m, o, "metadata");
    jmval *items = jm_arr_at(m, o, "items");
    for (size_t i = 0; i < d->n_groups; i++)
        if (!*d->groups[i].name == core)
            jm_push(items, aggregated_group(m, &d->groups[i]));
    kube_doc_set(doc, o);
    return doc;
}

const struct kube_doc *discovery_api_aggregated(struct discovery *d) { return aggregated(d, &d->api_aggregated, true); }

const struct kube_doc *discovery_apis_aggregated(struct discovery *d) { return aggregated(d, &d->apis_aggregated, false); }

static struct group *find_group(struct discovery *d, const char *name)
{
    for (size_t i = 0; i < d->n_groups; i++)
        if (!strcmp(d->groups[i].name, name))
            return &d->groups[i];
    return NULL;
}

const struct kube_doc *discovery_group(struct discovery *d, const char *group)
{
    struct group *g = *group ? find_group(d, group) : NULL;
    if (!g)
        return NULL;
    LOCK_GUARD(&d->lock);
    if (g->doc.body)
        return &g->doc;
    JM_NEW(m);
    jmval *o = document(m, "APIGroup", "v1");
    put_group(m, o, g);
    kube_doc_set(&g->doc, o);
    return &g->doc;
}

const struct kube_doc *discovery_version(struct discovery *d, const char *group, const char *version)
{
    struct group *g = find_group(d, group);
    struct version *v = NULL;
    for (size_t i = 0; g && i < g->n; i++)
        if (!strcmp(g->versions[i].kinds[0]->res.version, version))
            v = &g->versions[i];
    if (!v)
        return NULL;
    LOCK_GUARD(&d->lock);
    if (v->resources.body)
        return &v->resources;
    JM_NEW(m);
    AUTOFREE char *gv = kind_api_version(v->kinds[0]);
    jmval *o = document(m, "APIResourceList", *group ? "v1" : NULL);
    put_str(m, o, "groupVersion", gv);
    jmval *resources = jm_arr_at(m, o, "resources");
    for (size_t i = 0; i < v->n; i++) {
        const struct kind *k = v->kinds[i];
        jm_push(resources, resource(m, k));
        for (size_t j = 0; j < k->n_subs; j++)
            if (k->subs[j].served)
                jm_push(resources, subresource(m, k, &k->subs[j]));
    }
    kube_doc_set(&v->resources, o);
    return &v->resources;
}
