/* registry.c - what is served: the built-in kinds, and those of the definitions in the store. The table is made anew when a
 * definition changed, and shared by the requests that are under way. */
#include <stdlib.h>

#include "cluster/apiserver/internal.h"
#include "kube/fields.h"

#define LOG_ROOM "apiserver"
#include "base/log.h"

static void add(struct resources *r, size_t *cap, struct resource res)
{
    if (r->n == *cap) {
        *cap = *cap ? *cap * 2 : 64;
        r->v = xreallocarray(r->v, *cap, sizeof(*r->v));
    }
    const struct kube_res *k = &res.kind->res;
    res.full = *k->group ? xasprintf("%s.%s", k->plural, k->group) : xstrdup(k->plural);
    r->v[r->n++] = res;
}

static void add_builtin(struct apiserver *a, struct resources *r, size_t *cap)
{
    for
        KINDS_EACH(k)
        {
            if (!k->served || !*k->res.plural)
                continue;
            struct resource res = {.kind = k,
                                   .fields = field_labels_of(k->res.group, k->res.kind),
                                   .columns = table_columns_of(k->res.group, k->res.kind)};
            if (k->store != KSTORE_NONE)
                res.coll = store_coll(a->store, k->store_group, k->res.plural);
            add(r, cap, res);
        }
}

/* A list of owned strings as a constant array that shares them; caller frees the array. */
static const char *const *shared_list(const struct strlist *l)
{
    if (!l->n)
        return NULL;
    const char **v = xcalloc(l->n + 1, sizeof(*v));
    for (size_t i = 0; i < l->n; i++)
        v[i] = l->v[i];
    return v;
}

static struct kube_sub *custom_subs(const struct crd_version *v, size_t *n)
{
    struct kube_sub *subs = xcalloc(2, sizeof(*subs));
    *n = 0;
    if (v->status_subresource)
        subs[(*n)++] = (struct kube_sub){"status", NULL, "", NULL, KVERB_GET | KVERB_PATCH | KVERB_UPDATE, true};
    if (v->scale_subresource)
        subs[(*n)++] = (struct kube_sub){"scale", "autoscaling", "v1", "Scale", KVERB_GET | KVERB_PATCH | KVERB_UPDATE, true};
    return subs;
}

static void kind_of_version(struct kind *k, const struct crd_info *info, const struct crd_version *v, jval *crd)
{
    size_t n_subs;
    struct kube_sub *subs = custom_subs(v, &n_subs);
    for (size_t i = 0; i < n_subs; i++)
        if (!subs[i].kind) {
            subs[i].group = info->group;
            subs[i].kind = info->kind;
        }
    *k = (struct kind){
        .res = {info->group, v->name, info->plural, info->kind, info->namespaced},
        .list_kind = info->list_kind,
        .singular = info->singular,
        .short_names = shared_list(&info->short_names),
        .categories = shared_list(&info->categories),
        .verbs = KVERB_CREATE | KVERB_DELETE | KVERB_DELETECOLLECTION | KVERB_GET | KVERB_LIST | KVERB_PATCH | KVERB_UPDATE |
                 KVERB_WATCH,
        .store = KSTORE_DURABLE,
        .store_group = info->group,
        .store_version = v->name,
        .served = true,
        .subs = subs,
        .n_subs = n_subs,
        .hash = xasprintf("%s-%s", obj_uid(crd), obj_rv_text(crd)),
    };
}

static void add_custom(struct apiserver *a, struct resources *r, size_t *cap, struct store_obj *crd, size_t index)
{
    ERR(e);
    struct custom *c = &r->customs[index];
    c->info = crd_compile(obj_root(crd), &e);
    if (!c->info) {
        log_warn("custom resource definition %s: %s", crd->key, err_text(&e));
        return;
    }
    c->crd = store_obj_ref(crd);
    c->kinds = xcalloc(c->info->n_versions, sizeof(*c->kinds));
    for (size_t i = 0; i < c->info->n_versions; i++) {
        struct crd_version *v = &c->info->versions[i];
        if (!v->served)
            continue;
        struct kind *k = &c->kinds[c->n_kinds++];
        kind_of_version(k, c->info, v, obj_root(crd));
        add(r, cap,
            (struct resource){.kind = k,
                              .cv = v,
                              .coll = store_coll(a->store, c->info->group, c->info->plural),
                              .fields = v->field_labels,
                              .columns = v->columns,
                              .since = crd->rv});
    }
}

/* A definition whose names were refused is not served. */
static bool names_refused(jval *crd) { return obj_condition_is(crd, "NamesAccepted", "False"); }

/* The schema of one version, inside the definition's document. */
static jval *schema_of(jval *crd, const char *version)
{
    struct jiter it = jv_iter(custom_resource_definition_spec_versions(custom_resource_definition_spec(crd)));
    jval *v;
    while (jv_next(&it, NULL, &v))
        if (str_eq(custom_resource_definition_version_name(v), version))
            return custom_resource_validation_open_apiv3_schema(custom_resource_definition_version_schema(v));
    return NULL;
}

static struct store_obj *definition_of(const struct resources *r, const struct kind *k)
{
    for (size_t i = 0; i < r->n_customs; i++)
        for (size_t n = 0; n < r->customs[i].n_kinds; n++)
            if (&r->customs[i].kinds[n] == k)
                return r->customs[i].crd;
    return NULL;
}

static void make_docs(struct resources *r)
{
    AUTOFREE const struct kind **kinds = xcalloc(r->n + 1, sizeof(*kinds));
    AUTOFREE struct openapi_kind *ok = xcalloc(r->n + 1, sizeof(*ok));
    for (size_t i = 0; i < r->n; i++) {
        kinds[i] = r->v[i].kind;
        ok[i].kind = r->v[i].kind;
        struct store_obj *crd = definition_of(r, r->v[i].kind);
        jval *schema = crd ? schema_of(obj_root(crd), res_of(&r->v[i])->version) : NULL;
        if (schema) {
            ok[i].doc = crd->doc;
            ok[i].schema = schema;
        }
    }
    r->discovery = discovery_new(kinds, r->n);
    r->openapi = openapi_new(ok, r->n);
}

static struct resources *resources_make(struct apiserver *a)
{
    struct resources *r = xcalloc(1, sizeof(*r));
    atomic_init(&r->refs, 1);
    size_t cap = 0;
    r->crd_rev = store_coll_rev(a->crds);
    add_builtin(a, r, &cap);
    struct store_list l;
    if (store_list(a->crds, &(struct store_query){0}, &l, NULL) == 0) {
        r->customs = xcalloc(l.n + 1, sizeof(*r->customs));
        for (size_t i = 0; i < l.n; i++)
            if (!names_refused(obj_root(l.v[i])))
                add_custom(a, r, &cap, l.v[i], r->n_customs++);
        store_list_free(&l);
    }
    make_docs(r);
    return r;
}

void resources_unref(struct resources *r)
{
    if (!r || atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    discovery_free(r->discovery);
    openapi_free(r->openapi);
    for (size_t i = 0; i < r->n; i++)
        free(r->v[i].full);
    free(r->v);
    for (size_t i = 0; i < r->n_customs; i++) {
        struct custom *c = &r->customs[i];
        for (size_t k = 0; k < c->n_kinds; k++) {
            free((void *)(uintptr_t)c->kinds[k].short_names);
            free((void *)(uintptr_t)c->kinds[k].categories);
            free((void *)(uintptr_t)c->kinds[k].subs);
            free((void *)(uintptr_t)c->kinds[k].hash);
        }
        free(c->kinds);
        if (c->info)
            crd_info_free(c->info);
        store_obj_unref(c->crd);
    }
    free(r->customs);
    free(r);
}

struct resources *resources_get(struct apiserver *a)
{
    LOCK_GUARD(&a->res_lock);
    if (!a->resources || a->resources->crd_rev != store_coll_rev(a->crds)) {
        resources_unref(a->resources);
        a->resources = resources_make(a);
    }
    atomic_fetch_add(&a->resources->refs, 1);
    return a->resources;
}

const struct resource *resource_find(const struct resources *r, const char *group, const char *version, const char *plural)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct kube_res *k = res_of(&r->v[i]);
        if (strcmp(k->plural, plural) == 0 && strcmp(k->group, group) == 0 && (!version || strcmp(k->version, version) == 0))
            return &r->v[i];
    }
    return NULL;
}

bool resources_has_group(const struct resources *r, const char *group) { return resources_has_version(r, group, NULL); }

bool resources_has_version(const struct resources *r, const char *group, const char *version)
{
    for (size_t i = 0; i < r->n; i++)
        if (strcmp(res_of(&r->v[i])->group, group) == 0 && (!version || strcmp(res_of(&r->v[i])->version, version) == 0))
            return true;
    return false;
}

bool resource_has_sub(const struct resource *r, const char *sub)
{
    const struct kube_sub *s = kind_sub(r->kind, sub);
    return s && s->served;
}
