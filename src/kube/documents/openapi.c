#include "kube/documents/openapi.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"
#include "kube/documents/doc.h"
#include "kube/documents/openapi_priv.h"

struct version {
    const char *group, *version;
    struct kube_doc doc;
    char *hash; /* known once the document was made, even when only the index wanted it */
};

struct openapi {
    pthread_mutex_t lock;       /* guards documents and hashes while they are made */
    struct openapi_kind *kinds; /* served ones, sorted */
    size_t n_kinds;
    struct version *versions;
    size_t n_versions;
    struct kube_doc index, v2[2]; /* v2: JSON, protobuf */
};

struct openapi *openapi_new(const struct openapi_kind *kinds, size_t n)
{
    struct openapi *o = xcalloc(1, sizeof *o);
    ASSERT(pthread_mutex_init(&o->lock, NULL) == 0);
    AUTOFREE const struct kind **sorted = xcalloc(n + 1, sizeof *sorted);
    for (size_t i = 0; i < n; i++)
        sorted[i] = kinds[i].kind;
    o->n_kinds = kinds_sort_served(sorted, n);
    o->kinds = xcalloc(o->n_kinds + 1, sizeof *o->kinds);
    o->versions = xcalloc(o->n_kinds + 1, sizeof *o->versions);
    for (size_t i = 0; i < o->n_kinds; i++) {
        size_t j = 0;
        while (kinds[j].kind != sorted[i])
            j++;
        o->kinds[i] = (struct openapi_kind){sorted[i], json_ref(kinds[j].doc), kinds[j].schema};
        const struct kube_res *r = &sorted[i]->res;
        struct version *last = o->n_versions ? &o->versions[o->n_versions - 1] : NULL;
        if (!last || strcmp(last->group, r->group) || strcmp(last->version, r->version))
            o->versions[o->n_versions++] = (struct version){.group = r->group, .version = r->version};
    }
    return o;
}

void openapi_free(struct openapi *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->n_kinds; i++)
        json_unref(o->kinds[i].doc);
    for (size_t i = 0; i < o->n_versions; i++) {
        kube_doc_clear(&o->versions[i].doc);
        free(o->versions[i].hash);
    }
    kube_doc_clear(&o->index);
    kube_doc_clear(&o->v2[0]);
    kube_doc_clear(&o->v2[1]);
    free(o->kinds);
    free(o->versions);
    pthread_mutex_destroy(&o->lock);
    free(o);
}

static void make(struct openapi *o, struct version *v, struct kube_doc *out)
{
    JM_NEW(m);
    jmval *root = jm_obj(m);
    jm_put(m, root, "openapi", jm_str(m, "3.0.0"));
    jmval *info = jm_obj_at(m, root, "info");
    jm_put(m, info, "title", jm_str(m, "Kubernetes"));
    jm_put(m, info, "version", jm_str(m, "unversioned"));
    struct openapi_draft d = {.m = m, .types = STRMAP_INIT(NULL)};
    d.paths = jm_obj_at(m, root, "paths");
    d.schemas = jm_obj_at(m, jm_obj_at(m, root, "components"), "schemas");
    for (size_t i = 0; i < o->n_kinds; i++) {
        const struct kube_res *r = &o->kinds[i].kind->res;
        if (strcmp(r->group, v->group) || strcmp(r->version, v->version))
            continue;
        openapi_put_kind(&d, &o->kinds[i]);
        openapi_put_paths(&d, o->kinds[i].kind);
    }
    openapi_put_types(&d);
    strmap_free(&d.types);
    kube_doc_set(out, root);
    if (!v->hash)
        v->hash = xstrdup(out->etag);
}

const struct kube_doc *openapi_v2(struct openapi *o, bool protobuf)
{
    LOCK_GUARD(&o->lock);
    struct kube_doc *doc = &o->v2[protobuf];
    if (doc->body)
        return doc;
    JM_NEW(m);
    struct openapi_draft d = {.m = m, .types = STRMAP_INIT(NULL), .schemas = jm_obj(m)};
    for (size_t i = 0; i < o->n_kinds; i++)
        openapi_put_kind(&d, &o->kinds[i]);
    openapi_put_types(&d);
    strmap_free(&d.types);
    openapi_make_v2(d.schemas, protobuf, doc);
    return doc;
}

const struct kube_doc *openapi_index(struct openapi *o)
{
    LOCK_GUARD(&o->lock);
    if (o->index.body)
        return &o->index;
    JM_NEW(m);
    jmval *root = jm_obj(m), *paths = jm_obj_at(m, root, "paths");
    for (size_t i = 0; i < o->n_versions; i++) {
        struct version *v = &o->versions[i];
        if (!v->hash) { /* only its hash is kept: few documents are ever asked for */
            struct kube_doc doc = {0};
            make(o, v, &doc);
            kube_doc_clear(&doc);
        }
        AUTOFREE char *path = *v->group ? xasprintf("apis/%s/%s", v->group, v->version) : xasprintf("api/%s", v->version);
        jm_put(m, jm_obj_at(m, paths, path), "serverRelativeURL", jm_strf(m, "/openapi/v3/%s?hash=%s", path, v->hash));
    }
    kube_doc_set(&o->index, root);
    return &o->index;
}

const struct kube_doc *openapi_group(struct openapi *o, const char *group, const char *version)
{
    LOCK_GUARD(&o->lock);
    for (size_t i = 0; i < o->n_versions; i++) {
        struct version *v = &o->versions[i];
        if (strcmp(v->group, group) || strcmp(v->version, version))
            continue;
        if (!v->doc.body)
            make(o, v, &v->doc);
        return &v->doc;
    }
    return NULL;
}
