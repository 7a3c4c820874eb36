/* docs.c - discovery and OpenAPI: documents that kube/ makes of the kinds that are served, with what caches need. */
#include <stdlib.h>

#include "cluster/apiserver/face.h"

#define AGGREGATED  "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
#define MAX_CLAUSES 16

static bool quoted_is(const char *header, const char *etag)
{
    size_t n = strlen(etag);
    return header && header[0] == '"' && strncmp(header + 1, etag, n) == 0 && strcmp(header + 1 + n, "\"") == 0;
}

static void put_etag(struct http_res *res, const struct kube_doc *d)
{
    BUF(b);
    buf_addf(&b, "\"%s\"", d->etag);
    http_set_header(res, "ETag", buf_str(&b));
    http_set_header(res, "Vary", "Accept");
}

/* True when the client has it already: then the answer is complete. */
static bool not_modified(struct http_req *req, struct http_res *res, const struct kube_doc *d)
{
    if (!quoted_is(http_header_get(req, "if-none-match"), d->etag))
        return false;
    http_status(res, 304);
    return true;
}

static bool wants_aggregated(struct http_req *req)
{
    const char *header = http_header_get(req, "accept");
    if (str_empty(header))
        return false;
    AUTOFREE char *text = xstrdup(header);
    struct media m[MAX_CLAUSES];
    size_t n = media_split(text, m, MAX_CLAUSES);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(m[i].type, "application/json") != 0)
            continue;
        if (!media_param(&m[i], "as"))
            return false;
        if (str_eq(media_param(&m[i], "as"), "APIGroupDiscoveryList") && str_eq(media_param(&m[i], "g"), "apidiscovery.k8s.io") &&
            str_eq(media_param(&m[i], "v"), "v2"))
            return true;
    }
    return false;
}

/* Whether the old form is acceptable; discovery lists what it has in its own words. */
static int accepts_plain(struct http_req *req, struct accept *acc, struct err *err)
{
    const char *header = http_header_get(req, "accept");
    *acc = (struct accept){.pretty = http_query(req, "pretty") && http_query_bool(req, "pretty")};
    if (str_empty(header))
        return 0;
    AUTOFREE char *text = xstrdup(header);
    struct media m[MAX_CLAUSES];
    size_t n = media_split(text, m, MAX_CLAUSES);
    for (size_t i = 0; i < n; i++) {
        acc->yaml = strcmp(m[i].type, "application/yaml") == 0;
        bool json = strcmp(m[i].type, "application/json") == 0 || strcmp(m[i].type, "*/*") == 0;
        if (acc->yaml || (json && !media_param(&m[i], "as")))
            return 0;
    }
    return err_set(err, ERR_NOT_ACCEPTABLE, "only the following media types are accepted: application/json, application/yaml");
}

static int send_discovery(struct http_req *req, struct http_res *res, const struct kube_doc *d, struct err *err)
{
    struct accept acc;
    if (accepts_plain(req, &acc, err) < 0)
        return -1;
    if (!acc.yaml && !acc.pretty) {
        http_body(res, "application/json", d->body, d->len);
        return 0;
    }
    JSON_REF(doc) = json_parse(d->body, d->len, NULL, NULL);
    answer_json(res, &acc, json_root(doc), 200);
    return 0;
}

static void send_aggregated(struct http_req *req, struct http_res *res, const struct kube_doc *d)
{
    put_etag(res, d);
    http_set_header(res, "Cache-Control", "public");
    if (!not_modified(req, res, d))
        http_body(res, AGGREGATED, d->body, d->len);
}

/* ---- /api, /apis and below ------------------------------------------------------------------------------------------ */

static int no_group(struct http_res *res)
{
    http_text(res, 404, "404 page not found\n");
    return 0;
}

int handle_discovery(struct apiserver *a, struct http_req *req, struct http_res *res, const char *path, struct err *err)
{
    RESOURCES(table, a);
    bool core = str_starts(path, "/api/") || strcmp(path, "/api") == 0;
    const char *rest = path + (core ? 4 : 5);
    if (*rest == '/')
        rest++;
    if (req->method != HTTP_GET)
        return fail_method(err);
    if (!*rest) {
        if (wants_aggregated(req)) {
            send_aggregated(req, res,
                            core ? discovery_api_aggregated(table->discovery) : discovery_apis_aggregated(table->discovery));
            return 0;
        }
        return send_discovery(req, res, core ? discovery_api(table->discovery) : discovery_apis(table->discovery), err);
    }
    STRLIST(parts);
    str_split(rest, '/', &parts);
    if (parts.n > 1 && !*parts.v[parts.n - 1])
        free(parts.v[--parts.n]); /* a slash at the end */
    const struct kube_doc *d;
    if (core)
        d = parts.n == 1 ? discovery_version(table->discovery, "", parts.v[0]) : NULL;
    else if (!resources_has_group(table, parts.v[0]))
        return no_group(res);
    else
        d = parts.n == 1 ? discovery_group(table->discovery, parts.v[0])
                         : discovery_version(table->discovery, parts.v[0], parts.v[1]);
    return d ? send_discovery(req, res, d, err) : fail_no_resource(err);
}

/* ---- OpenAPI --------------------------------------------------------------------------------------------------------- */

int handle_openapi(struct apiserver *a, struct http_req *req, struct http_res *res, const char *rest, struct err *err)
{
    RESOURCES(table, a);
    if (req->method != HTTP_GET)
        return fail_method(err);
    STRLIST(parts);
    str_split(rest, '/', &parts);
    while (parts.n && !*parts.v[parts.n - 1])
        free(parts.v[--parts.n]);
    const struct kube_doc *d = NULL;
    if (parts.n == 0)
        d = openapi_index(table->openapi);
    else if (parts.n == 2 && strcmp(parts.v[0], "api") == 0)
        d = openapi_group(table->openapi, "", parts.v[1]);
    else if (parts.n == 3 && strcmp(parts.v[0], "apis") == 0)
        d = openapi_group(table->openapi, parts.v[1], parts.v[2]);
    if (!d) {
        http_status(res, 404);
        return 0;
    }
    put_etag(res, d);
    if (str_eq(http_query(req, "hash"), d->etag))
        http_set_header(res, "Cache-Control", "public, immutable");
    if (!not_modified(req, res, d))
        http_body(res, parts.n ? "application/json" : "text/plain; charset=utf-8", d->body, d->len);
    return 0;
}

/* kubectl, which reads protobuf only, looks in v2 for what it does not find in v3 (a `List` in a file, a kind that is not
 * served). */
int handle_openapi_v2(struct apiserver *a, struct http_req *req, struct http_res *res, struct err *err)
{
    RESOURCES(table, a);
    const char *accept = http_header_get(req, "accept");
    if (req->method != HTTP_GET)
        return fail_method(err);
    bool protobuf = accept && strstr(accept, "proto-openapi.spec.v2@v1.0+protobuf");
    const struct kube_doc *d = openapi_v2(table->openapi, protobuf);
    put_etag(res, d);
    if (!not_modified(req, res, d))
        http_body(res, protobuf ? "application/com.github.proto-openapi.spec.v2.v1.0+protobuf" : "application/json", d->body,
                  d->len);
    return 0;
}

static void put_paths(const struct resources *table, struct jm *m, jmval *list)
{
    static const char *const fixed[] = {"/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"};
    STRLIST(paths);
    strlist_add(&paths, "/api");
    strlist_add(&paths, "/apis");
    for (size_t i = 0; i < table->n; i++) {
        const struct kube_res *k = res_of(&table->v[i]);
        AUTOFREE char *group = *k->group ? xasprintf("/apis/%s", k->group) : xstrdup("/api");
        AUTOFREE char *version = xasprintf("%s/%s", group, k->version);
        if (!strlist_has(&paths, group))
            strlist_add(&paths, group);
        if (!strlist_has(&paths, version))
            strlist_add(&paths, version);
    }
    strlist_sort(&paths);
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        strlist_add(&paths, fixed[i]);
    for (size_t i = 0; i < paths.n; i++)
        jm_push(list, jm_str(m, paths.v[i]));
}

int handle_root(struct apiserver *a, struct http_req *req, struct http_res *res, struct err *err)
{
    RESOURCES(table, a);
    if (req->method != HTTP_GET)
        return fail_method(err);
    JM_NEW(m);
    jm_set_root(m, jm_obj(m));
    put_paths(table, m, jm_arr_at(m, jm_root(m), "paths"));
    JSON_REF(d) = jm_freeze(m);
    http_body_json(res, json_root(d));
    return 0;
}
