#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "kube/documents/openapi_priv.h"

#define META "io.k8s.apimachinery.pkg.apis.meta.v1."

#define WRITE_QUERY "dryRun", "fieldManager", "fieldValidation"
#define LIST_QUERY                                                                                                               \
    "allowWatchBookmarks?", "continue", "fieldSelector", "labelSelector", "limit#", "resourceVersion", "resourceVersionMatch",   \
        "sendInitialEvents?", "timeoutSeconds#", "watch?"
#define DELETE_QUERY "dryRun", "gracePeriodSeconds#", "orphanDependents?", "propagationPolicy"

enum body { BODY_NONE, BODY_OBJECT, BODY_PATCH, BODY_DELETE_OPTIONS };
enum place { ON_COLLECTION, ON_ITEM };

/* What can be done, and how it is described. A query parameter ends in ? (boolean), # (integer) or is text. */
struct operation {
    enum kverb verb;
    enum place place;
    const char *method, *action, *id;
    const char *query[14];
    enum body body;
    bool creates; /* 201 is possible */
};
static const struct operation operations[] = {
    {KVERB_LIST, ON_COLLECTION, "get", "list", "list", {LIST_QUERY}, BODY_NONE, false},
    {KVERB_CREATE, ON_COLLECTION, "post", "post", "create", {WRITE_QUERY}, BODY_OBJECT, true},
    {KVERB_DELETECOLLECTION,
     ON_COLLECTION,
     "delete",
     "deletecollection",
     "deleteCollection",
     {DELETE_QUERY, "continue", "fieldSelector", "labelSelector", "limit#", "resourceVersion", "resourceVersionMatch",
      "timeoutSeconds#"},
     BODY_DELETE_OPTIONS,
     false},
    {KVERB_GET, ON_ITEM, "get", "get", "read", {NULL}, BODY_NONE, false},
    {KVERB_UPDATE, ON_ITEM, "put", "put", "replace", {WRITE_QUERY}, BODY_OBJECT, true},
    {KVERB_PATCH, ON_ITEM, "patch", "patch", "patch", {WRITE_QUERY, "force?"}, BODY_PATCH, true},
    {KVERB_DELETE, ON_ITEM, "delete", "delete", "delete", {DELETE_QUERY}, BODY_DELETE_OPTIONS, false},
};
/* A subresource that is only made (binding, token), and the log, which has parameters of its own. */
static const struct operation sub_create = {KVERB_CREATE, ON_ITEM, "post", "post", "create", {WRITE_QUERY}, BODY_OBJECT, true};
static const struct operation sub_log = {
    KVERB_GET, ON_ITEM,
    "get",     "get",
    "read",    {"container", "follow?", "limitBytes#", "previous?", "sinceSeconds#", "sinceTime", "tailLines#", "timestamps?"},
    BODY_NONE, false};

/* What an operation is about. */
struct subject {
    const struct kind *kind;
    const struct kube_sub *sub; /* NULL: the kind itself */
    char *schema;               /* of bodies and answers */
};

static jmval *parameter(struct jm *m, const char *name, const char *in)
{
    size_t n = strlen(name);
    const char *type = name[n - 1] == '?' ? "boolean" : name[n - 1] == '#' ? "integer" : "string";
    jmval *p = jm_obj(m), *schema = jm_obj(m);
    jm_put(m, schema, "type", jm_str(m, type));
    jm_put(m, schema, "uniqueItems", jm_bool(m, true));
    jm_put(m, p, "name", jm_strn(m, name, n - (strcmp(type, "string") ? 1 : 0)));
    jm_put(m, p, "in", jm_str(m, in));
    if (!strcmp(in, "path"))
        jm_put(m, p, "required", jm_bool(m, true));
    jm_put(m, p, "schema", schema);
    return p;
}

/* schema NULL: an object without a known form. */
static jmval *content(struct jm *m, const char *const *types, const char *schema)
{
    jmval *o = jm_obj(m);
    for (; *types; types++) {
        jmval *s = jm_obj_at(m, jm_obj_at(m, o, *types), "schema");
        if (schema)
            jm_put(m, s, "$ref", jm_strf(m, REF_PREFIX "%s", schema));
        else
            jm_put(m, s, "type", jm_str(m, strcmp(*types, "text/plain") ? "object" : "string"));
    }
    return o;
}

static void put_body(struct openapi_draft *d, jmval *op, const struct operation *o, const struct subject *s)
{
    static const char *const any[] = {"*/*", NULL};
    static const char *const patches[] = {"application/json-patch+json", "application/merge-patch+json",
                                          "application/strategic-merge-patch+json", NULL};
    static const char *const custom_patches[] = {"application/json-patch+json", "application/merge-patch+json", NULL};
    struct jm *m = d->m;
    if (o->body == BODY_NONE)
        return;
    jmval *body = jm_obj_at(m, op, "requestBody"), *c;
    if (o->body == BODY_PATCH) {
        c = content(m, s->kind->type ? patches : custom_patches, NULL);
    } else if (o->body == BODY_DELETE_OPTIONS) {
        const struct ktype *t = ktype_find(META "DeleteOptions");
        openapi_ref(d, t);
        c = content(m, any, t->schema);
    } else {
        c = content(m, any, s->schema);
    }
    jm_put(m, body, "content", c);
    if (o->body != BODY_DELETE_OPTIONS)
        jm_put(m, body, "required", jm_bool(m, true));
}

static void put_responses(struct openapi_draft *d, jmval *op, const struct operation *o, const struct subject *s)
{
    static const char *const json[] = {"application/json", "application/yaml", NULL}, *const text[] = {"text/plain", NULL};
    struct jm *m = d->m;
    jmval *responses = jm_obj_at(m, op, "responses");
    AUTOFREE char *list = o->verb == KVERB_LIST ? openapi_schema_name(s->kind, true) : NULL;
    const char *schema = list ? list : s->schema;
    if (o->body == BODY_DELETE_OPTIONS) {
        const struct ktype *t = ktype_find(META "Status");
        openapi_ref(d, t);
        schema = t->schema;
    }
    for (int i = 0; i < (o->creates ? 2 : 1); i++) {
        jmval *r = jm_obj_at(m, responses, i ? "201" : "200");
        jm_put(m, r, "description", jm_str(m, i ? "Created" : "OK"));
        jm_put(m, r, "content", o == &sub_log ? content(m, text, NULL) : content(m, json, schema));
    }
    jm_put(m, jm_obj_at(m, responses, "401"), "description", jm_str(m, "Unauthorized"));
}

/* "rbac.authorization.k8s.io", "v1" -> "RbacAuthorizationV1". */
static void add_camel(struct buf *b, const char *s)
{
    bool up = true;
    for (; *s && strcmp(s, ".k8s.io"); s++) {
        if (isalnum((unsigned char)*s))
            buf_addc(b, up ? (char)toupper((unsigned char)*s) : *s);
        up = !isalnum((unsigned char)*s);
    }
}

static jmval *operation_id(struct jm *m, const struct operation *o, const struct subject *s, bool namespaced)
{
    BUF(b);
    bool collection = o->verb == KVERB_DELETECOLLECTION;
    buf_adds(&b, collection ? "delete" : o->id);
    add_camel(&b, *s->kind->res.group ? s->kind->res.group : "core");
    add_camel(&b, s->kind->res.version);
    buf_adds(&b, collection ? "Collection" : "");
    buf_adds(&b, namespaced ? "Namespaced" : "");
    buf_adds(&b, s->kind->res.kind);
    if (s->sub)
        add_camel(&b, s->sub->name);
    if (o->verb == KVERB_LIST && s->kind->res.namespaced && !namespaced)
        buf_adds(&b, "ForAllNamespaces");
    return jm_str(m, buf_str(&b));
}

static void put_gvk(struct jm *m, jmval *op, const struct subject *s)
{
    const struct kube_sub *sub = s->sub && *s->sub->version ? s->sub : NULL;
    jmval *gvk = jm_obj_at(m, op, "x-kubernetes-group-version-kind");
    jm_put(m, gvk, "group", jm_str(m, sub ? sub->group : s->kind->res.group));
    jm_put(m, gvk, "version", jm_str(m, sub ? sub->version : s->kind->res.version));
    jm_put(m, gvk, "kind", jm_str(m, s->sub ? s->sub->kind : s->kind->res.kind));
}

static void put_operation(struct openapi_draft *d, jmval *path, const struct operation *o, const struct subject *s,
                          bool namespaced)
{
    struct jm *m = d->m;
    jmval *op = jm_obj_at(m, path, o->method);
    jm_put(m, op, "operationId", operation_id(m, o, s, namespaced));
    for (size_t i = 0; i < ARRAY_LEN(o->query) && o->query[i]; i++)
        jm_push(jm_arr_at(m, op, "parameters"), parameter(m, o->query[i], "query"));
    put_body(d, op, o, s);
    put_responses(d, op, o, s);
    jm_put(m, op, "x-kubernetes-action", jm_str(m, o->action));
    put_gvk(m, op, s);
}

static void put_path_parameters(struct jm *m, jmval *path, bool name, bool namespaced)
{
    jmval *params = jm_arr_at(m, path, "parameters");
    if (name)
        jm_push(params, parameter(m, "name", "path"));
    if (namespaced)
        jm_push(params, parameter(m, "namespace", "path"));
    jm_push(params, parameter(m, "pretty", "query"));
}

static void put_collection(struct openapi_draft *d, const struct subject *s, const char *base, bool namespaced, unsigned verbs)
{
    jmval *path = jm_obj_at(d->m, d->paths, base);
    for (size_t i = 0; i < ARRAY_LEN(operations); i++)
        if (operations[i].place == ON_COLLECTION && (verbs & operations[i].verb))
            put_operation(d, path, &operations[i], s, namespaced);
    put_path_parameters(d->m, path, false, namespaced);
}

static void put_item(struct openapi_draft *d, const struct subject *s, const char *base, unsigned verbs)
{
    bool namespaced = s->kind->res.namespaced, log = s->sub && !strcmp(s->sub->name, "log");
    jmval *path = jm_obj_at(d->m, d->paths, base);
    if (s->sub && (verbs & KVERB_CREATE))
        put_operation(d, path, &sub_create, s, namespaced);
    for (size_t i = 0; i < ARRAY_LEN(operations); i++)
        if (operations[i].place == ON_ITEM && (verbs & operations[i].verb))
            put_operation(d, path, log ? &sub_log : &operations[i], s, namespaced);
    put_path_parameters(d->m, path, true, namespaced);
}

/* The schema of what a subresource takes and gives; NULL when we know no type of that name (options of connections). */
static char *sub_schema(struct openapi_draft *d, const struct kind *k, const struct kube_sub *s)
{
    if (!*s->version && !strcmp(s->kind, k->res.kind))
        return openapi_schema_name(k, false);
    const struct kind *body =
        *s->version ? kind_by_gvk(s->group, s->version, s->kind) : kind_by_gvk(k->res.group, k->res.version, s->kind);
    if (!body)
        return NULL;
    openapi_ref(d, body->type);
    return xstrdup(body->type->schema);
}

void openapi_put_paths(struct openapi_draft *d, const struct kind *k)
{
    AUTOFREE char *api_version = kind_api_version(k), *schema = openapi_schema_name(k, false);
    AUTOFREE char *root = xasprintf("/%s/%s/", *k->res.group ? "apis" : "api", api_version);
    AUTOFREE char *base = xasprintf("%s%s%s", root, k->res.namespaced ? "namespaces/{namespace}/" : "", k->res.plural);
    AUTOFREE char *all = xasprintf("%s%s", root, k->res.plural);
    AUTOFREE char *item = xasprintf("%s/{name}", base);
    struct subject self = {k, NULL, schema};
    put_collection(d, &self, base, k->res.namespaced, k->verbs);
    if (k->res.namespaced && kind_has_verb(k, KVERB_LIST))
        put_collection(d, &self, all, false, KVERB_LIST);
    if (k->verbs & (KVERB_GET | KVERB_UPDATE | KVERB_PATCH | KVERB_DELETE))
        put_item(d, &self, item, k->verbs);
    for (size_t i = 0; i < k->n_subs; i++) {
        if (!k->subs[i].served)
            continue;
        AUTOFREE char *path = xasprintf("%s/%s", item, k->subs[i].name), *body = sub_schema(d, k, &k->subs[i]);
        struct subject sub = {k, &k->subs[i], body};
        put_item(d, &sub, path, k->subs[i].verbs);
    }
}
