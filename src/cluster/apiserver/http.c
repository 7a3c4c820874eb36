/* http.c - the HTTP face: one wildcard route into our own dispatcher. Who asks, whether they may, and what an error looks like
 * are the hooks of the API; what a request is comes out of its path (paths.c). */
#include <stdlib.h>

#include "cluster/apiserver/face.h"

#define ALL_METHODS (HTTP_GET | HTTP_HEAD | HTTP_POST | HTTP_PUT | HTTP_PATCH | HTTP_DELETE | HTTP_OPTIONS | HTTP_OTHER)
#define MAX_BODY    3145728

struct http_face {
    struct http_api api;
};

/* ---- identities in a request's memory ---------------------------------------------------------------------------------- */

static const char *const *list_into(struct http_req *req, const char *const *v)
{
    size_t n = 0;
    while (v && v[n])
        n++;
    const char **out = http_alloc(req, (n + 1) * sizeof(*out));
    for (size_t i = 0; i < n; i++)
        out[i] = http_strdup(req, v[i]);
    return out;
}

static struct identity *identity_into(struct http_req *req, const struct identity *who)
{
    struct identity *id = http_alloc(req, sizeof(*id));
    id->user = http_strdup(req, who->user);
    id->uid = http_strdup(req, who->uid ? who->uid : "");
    id->groups = list_into(req, who->groups);
    id->extra = who->extra ? list_into(req, who->extra) : NULL;
    return id;
}

static const struct identity *of_certificate(struct http_req *req)
{
    const char *groups[66];
    size_t n = 0;
    for (const char *const *g = req->peer->cert_orgs; g && *g && n < 64; g++)
        groups[n++] = *g;
    groups[n++] = "system:authenticated";
    groups[n] = NULL;
    return identity_into(req, &(struct identity){req->peer->cert_cn, "", groups, NULL});
}

static const struct identity *anonymous(void)
{
    static const char *const groups[] = {"system:unauthenticated", NULL};
    static const struct identity who = {"system:anonymous", "", groups, NULL};
    return &who;
}

/* ---- impersonation ------------------------------------------------------------------------------------------------------ */

static int may_impersonate(struct apiserver *a, const struct identity *who, const struct attrs *at, struct err *err)
{
    struct attrs full = *at;
    full.verb = "impersonate";
    if (rbac_allows(a->rbac, who, &full, NULL))
        return 0;
    AUTOFREE char *name = *at->group ? xasprintf("%s.%s", at->resource, at->group) : xstrdup(at->resource);
    return rbac_fail(err, who, &full, name, NULL);
}

/* "system:serviceaccount:ns:name" in its parts; false for other users. */
static bool account_parts(struct http_req *req, const char *user, char **ns, char **name)
{
    static const char prefix[] = "system:serviceaccount:";
    if (!str_starts(user, prefix))
        return false;
    const char *rest = user + sizeof(prefix) - 1, *colon = strchr(rest, ':');
    if (!colon)
        return false;
    *ns = http_alloc(req, (size_t)(colon - rest) + 1);
    memcpy(*ns, rest, (size_t)(colon - rest));
    *name = http_strdup(req, colon + 1);
    return true;
}

static int impersonated_user(struct apiserver *a, struct http_req *req, const struct identity *who, const char *user,
                             const char **groups, size_t *n, struct err *err)
{
    char *ns, *name;
    if (!account_parts(req, user, &ns, &name))
        return may_impersonate(a, who, &(struct attrs){.group = "", .resource = "users", .name = user}, err);
    if (may_impersonate(a, who, &(struct attrs){.group = "", .resource = "serviceaccounts", .ns = ns, .name = name}, err) < 0)
        return -1;
    if (*n == 0) { /* without groups of its own the account has those of all accounts */
        groups[(*n)++] = "system:serviceaccounts";
        char *group = http_alloc(req, strlen(ns) + 32);
        strcpy(group, "system:serviceaccounts:");
        groups[(*n)++] = strcat(group, ns);
    }
    return 0;
}

static bool has(const char **groups, size_t n, const char *g)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(groups[i], g) == 0)
            return true;
    return false;
}

static int impersonate(struct apiserver *a, struct ctx *ctx, struct http_req *req, struct err *err)
{
    const char *user = http_header_get(req, "impersonate-user"), *uid = http_header_get(req, "impersonate-uid");
    const char *groups[66], *extra[33];
    size_t n = 0, n_extra = 0;
    for (size_t i = 0; i < req->n_headers; i++) {
        const struct http_header *h = &req->headers[i];
        if (strcmp(h->name, "impersonate-group") == 0 && n < 60)
            groups[n++] = h->value;
        if (str_starts(h->name, "impersonate-extra-") && n_extra < 32) {
            char *key = NULL;
            if (url_decode(h->name + 18, strlen(h->name + 18), false, &key) < 0)
                continue;
            extra[n_extra++] = http_strdup(req, key);
            extra[n_extra++] = h->value;
            free(key);
        }
    }
    if (!user && !uid && !n && !n_extra)
        return 0;
    if (str_empty(user))
        return fail_internal(err, "requested [%s] without impersonating a user", n ? "groups" : uid ? "uid" : "extra");
    const struct identity *who = ctx->who;
    size_t asked = n;
    if (impersonated_user(a, req, who, user, groups, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < asked; i++)
        if (may_impersonate(a, who, &(struct attrs){.group = "", .resource = "groups", .name = groups[i]}, err) < 0)
            return -1;
    if (uid &&
        may_impersonate(a, who, &(struct attrs){.group = "authentication.k8s.io", .resource = "uids", .name = uid}, err) < 0)
        return -1;
    for (size_t i = 0; i < n_extra; i += 2)
        if (may_impersonate(
                a, who,
                &(struct attrs){
                    .group = "authentication.k8s.io", .resource = "userextras", .sub = extra[i], .name = extra[i + 1]},
                err) < 0)
            return -1;
    const char *implied = strcmp(user, "system:anonymous") == 0 ? "system:unauthenticated" : "system:authenticated";
    if (!has(groups, n, implied))
        groups[n++] = implied;
    groups[n] = NULL;
    extra[n_extra] = NULL;
    ctx->who = identity_into(req, &(struct identity){user, uid ? uid : "", groups, n_extra ? extra : NULL});
    return 0;
}

/* ---- hooks --------------------------------------------------------------------------------------------------------------- */

int authenticate(void *self, struct ctx *ctx, struct http_req *req, struct err *err)
{
    struct apiserver *a = self;
    const char *header = http_header_get(req, "authorization");
    if (header && strncasecmp(header, "bearer ", 7) == 0) {
        const char *token = header + 7;
        while (*token == ' ')
            token++;
        struct identity *who = authn_token(a, token, err);
        if (!who)
            return -1;
        ctx->who = identity_into(req, who);
        identity_free(who);
    } else if (req->peer && req->peer->cert_cn) {
        ctx->who = of_certificate(req);
    } else {
        ctx->who = anonymous();
    }
    return impersonate(a, ctx, req, err);
}

static int authorize(void *self, struct ctx *ctx, struct http_req *req, struct err *err)
{
    struct apiserver *a = self;
    struct reqinfo ri;
    if (reqinfo_parse(req, &ri, err) < 0)
        return -1;
    struct attrs at = {.verb = ri.verb};
    AUTOFREE char *full = *ri.group ? xasprintf("%s.%s", ri.plural, ri.group) : xstrdup(ri.plural);
    if (ri.resource) {
        at.group = ri.group;
        at.version = ri.version;
        at.resource = ri.plural;
        at.sub = ri.sub;
        at.ns = ri.ns;
        at.name = ri.name;
        if (!*at.name && (strcmp(ri.verb, "list") == 0 || strcmp(ri.verb, "watch") == 0)) {
            const char *field = http_query(req, "fieldSelector");
            if (field && str_starts(field, "metadata.name=") && !strpbrk(field + 14, ",=!\\"))
                at.name = field + 14;
        }
    } else {
        at.path = req->path;
    }
    /* A WebSocket comes by GET, and exec is something that is created all the same: who may read everything may not run things,
     * nor by way of the node. */
    bool acts =
        is_connect(at.sub) || (strcmp(ri.plural, "nodes") == 0 && strcmp(ri.sub, "proxy") == 0 && kubelet_path_acts(ri.rest));
    if (ri.resource && !*ri.group && acts && strcmp(at.verb, "get") == 0)
        at.verb = "create";
    if (rbac_allows(a->rbac, ctx->who, &at, NULL))
        return 0;
    if (!*ri.name)
        at.name = "";
    return rbac_fail(err, ctx->who, &at, full, NULL);
}

static void write_error(void *self, struct http_req *req, struct http_res *res, const struct err *err)
{
    (void)self;
    (void)req;
    ERR(e);
    err_copy(&e, err);
    if (e.code == ERR_TOO_LARGE && !e.n_causes && !str_starts(err_text(&e), "Request entity"))
        err_set(&e, ERR_TOO_LARGE, "Request entity too large: limit is %d", MAX_BODY);
    status_write(res, &e);
}

static int handle(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct apiserver *a = self;
    struct reqinfo ri;
    if (reqinfo_parse(req, &ri, err) < 0)
        return -1;
    http_set_header(res, "Cache-Control", "no-cache, private");
    if (!ri.resource)
        return handle_other(a, req, res, err);
    if (!*ri.group && strcmp(ri.plural, "services") == 0 && strcmp(ri.sub, "proxy") == 0)
        return handle_proxy(a, ctx, req, res, &ri, err);
    if (!*ri.group && strcmp(ri.plural, "pods") == 0 && strcmp(ri.sub, "proxy") == 0)
        return handle_pod_proxy(a, ctx, req, res, &ri, err);
    if (!*ri.group && strcmp(ri.plural, "nodes") == 0 && strcmp(ri.sub, "proxy") == 0)
        return handle_node_proxy(a, ctx, req, res, &ri, err);
    return handle_resource(a, ctx, req, res, &ri, err);
}

/* ---- doors ---------------------------------------------------------------------------------------------------------------- */

static const struct route routes[] = {
    {ALL_METHODS, "/", handle, {.verb = "*"}, 0},
    {ALL_METHODS, "/{rest...}", handle, {.verb = "*"}, 0},
};

struct http_face *http_face_new(struct apiserver *a)
{
    struct http_face *f = xcalloc(1, sizeof(*f));
    f->api = (struct http_api){.name = "kubernetes",
                               .routes = routes,
                               .n_routes = ARRAY_LEN(routes),
                               .self = a,
                               .max_body = MAX_BODY,
                               .authenticate = authenticate,
                               .authorize = authorize,
                               .write_error = write_error};
    return f;
}

void http_face_free(struct http_face *f) { free(f); }

const struct http_api *apiserver_http(struct apiserver *a) { return &a->http->api; }
