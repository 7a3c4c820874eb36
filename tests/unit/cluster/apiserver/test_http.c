/* The HTTP face over TLS: paths, media types, identities, patches, watches, errors, as tables of requests. */
#include <unistd.h>

#include "base/fs.h"
#include "cluster/apiserver/apiserver.h"
#include "net/client.h"
#include "unit.h"

struct web {
    char dir[64];
    struct apiserver *a;
    struct http_server *s;
    struct http_client *c;
    struct ctx ctx;
    int port;
};

static void web_init(struct web *w)
{
    ERR(e);
    strcpy(w->dir, "/tmp/tm-http-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    w->ctx = ctx_background();
    w->a = apiserver_new(&(struct apiserver_config){.data_dir = w->dir}, &e);
    w->s = http_server_new(NULL, &e);
    struct mount m = {.prefix = "/", .api = apiserver_http(w->a)};
    struct listener_config lc = {.address = "127.0.0.1:0", .tls = apiserver_tls(w->a), .mounts = &m, .n_mounts = 1};
    if (!w->a || http_server_listen(w->s, &lc, &w->port, &e) < 0 || http_server_start(w->s, &e) < 0)
        fail_msg("%s", err_text(&e));
    w->c = http_client_new(&(struct http_client_config){.ca_pem = apiserver_ca_pem(w->a)}, &e);
    assert_non_null(w->c);
}

static void web_done(struct web *w)
{
    http_client_free(w->c);
    http_server_stop(w->s, 1000);
    apiserver_stop(w->a);
    fs_rm_rf(w->dir, NULL);
}

#define ADMIN "admin"

struct step {
    enum http_method method;
    const char *path;
    const char *token;   /* ADMIN: the administrator's */
    const char *headers; /* "name: value\nname: value" */
    const char *body;
    int want;
    const char *has;  /* in the body; NULL: whatever */
    const char *type; /* content type; NULL: whatever */
};

static void run_step(struct web *w, const struct step *s, size_t line)
{
    ERR(e);
    struct http_header h[8];
    size_t n = 0;
    AUTOFREE char *url = xasprintf("https://127.0.0.1:%d%s", w->port, s->path);
    AUTOFREE char *bearer =
        s->token ? xasprintf("Bearer %s", strcmp(s->token, ADMIN) == 0 ? apiserver_admin_token(w->a) : s->token) : NULL;
    if (bearer)
        h[n++] = (struct http_header){"Authorization", bearer};
    AUTOFREE char *text = xstrdup(s->headers ? s->headers : "");
    char *save = NULL;
    for (char *t = strtok_r(text, "\n", &save); t; t = strtok_r(NULL, "\n", &save)) {
        char *colon = strchr(t, ':');
        *colon = '\0';
        h[n++] = (struct http_header){t, colon + 2};
    }
    struct http_call call = {.method = s->method,
                             .url = url,
                             .headers = h,
                             .n_headers = n,
                             .body = s->body,
                             .body_len = s->body ? strlen(s->body) : 0};
    struct http_answer a = {0};
    if (http_fetch(w->c, &w->ctx, &call, &a, &e) < 0)
        fail_msg("step %zu %s: %s", line, s->path, err_text(&e));
    const char *type = http_answer_header(&a, "content-type");
    if (a.status != s->want || (s->has && !strstr(buf_str(&a.body), s->has)) ||
        (s->type && (!type || strcmp(type, s->type) != 0)))
        fail_msg("step %zu %s: status %d (want %d), type %s, body %s", line, s->path, a.status, s->want, type, buf_str(&a.body));
    http_answer_free(&a);
}

static void run_steps(const struct step *s, size_t n)
{
    struct web w;
    web_init(&w);
    for (size_t i = 0; i < n; i++)
        run_step(&w, &s[i], i);
    web_done(&w);
}
#define RUN_STEPS(s) run_steps((s), ARRAY_LEN(s))

static void test_paths(void **state)
{
    static const struct step steps[] = {
        {HTTP_GET, "/version/", NULL, NULL, NULL, 200, "\"minor\":\"34\"", "application/json"},
        {HTTP_GET, "/readyz", NULL, NULL, NULL, 200, "ok", NULL},
        {HTTP_GET, "/readyz?verbose", NULL, NULL, NULL, 200, "[+]ping ok", NULL},
        {HTTP_GET, "/api/v1/namespaces/default", ADMIN, NULL, NULL, 200, "\"phase\":\"Active\"", NULL},
        {HTTP_GET, "/api/v1/namespaces/default/pods/", ADMIN, NULL, NULL, 200, "\"items\":[]", NULL},
        {HTTP_GET, "/api/v1//namespaces//default", ADMIN, NULL, NULL, 200, NULL, NULL},
        {HTTP_GET, "/api/v1/nodes/a%2Fb", ADMIN, NULL, NULL, 404, "nodes \\\"a/b\\\" not found", NULL},
        {HTTP_GET, "/api/v1/nope", ADMIN, NULL, NULL, 404, "could not find the requested resource", "application/json"},
        {HTTP_GET, "/api/v1/namespaces/default/nodes", ADMIN, NULL, NULL, 404, NULL, "application/json"},
        {HTTP_GET, "/apis/nope.example/v1/x", ADMIN, NULL, NULL, 404, "404 page not found", "text/plain; charset=utf-8"},
        {HTTP_GET, "/nope", ADMIN, NULL, NULL, 404, "404 page not found", NULL},
        {HTTP_POST, "/api/v1/pods", ADMIN, NULL, "{}", 405, "MethodNotAllowed", NULL},
        {HTTP_PUT, "/api/v1/namespaces/default/pods", ADMIN, NULL, "{}", 405, NULL, NULL},
        {HTTP_GET, "/api/v1/namespaces/default/pods/x/exec", ADMIN, NULL, NULL, 404, NULL, NULL},
        {HTTP_GET, "/api/v1/namespaces/default/pods/x/binding", ADMIN, NULL, NULL, 405, NULL, NULL},
        {HTTP_GET, "/api/v1/namespaces/kubeflow/services/none:http/proxy/x", ADMIN, NULL, NULL, 404,
         "services \\\"none\\\" not found", NULL},
    };
    RUN_STEPS(steps);
}

static void test_who(void **state)
{
    static const struct step steps[] = {
        {HTTP_GET, "/api/v1/namespaces", NULL, NULL, NULL, 403, "User \\\"system:anonymous\\\" cannot list resource", NULL},
        {HTTP_GET, "/apis", NULL, NULL, NULL, 403, "cannot get path \\\"/apis\\\"", NULL},
        {HTTP_GET, "/api/v1/namespaces", "bogus", NULL, NULL, 401, "\"reason\":\"Unauthorized\"", NULL},
        {HTTP_GET, "/healthz", "bogus", NULL, NULL, 401, NULL, NULL},
        {HTTP_GET, "/api/v1/namespaces", ADMIN, "Impersonate-User: bob", NULL, 403, "User \\\"bob\\\" cannot list", NULL},
        {HTTP_GET, "/api/v1/namespaces", ADMIN, "Impersonate-User: bob\nImpersonate-Group: system:masters", NULL, 200, NULL,
         NULL},
        {HTTP_GET, "/api/v1/namespaces", ADMIN, "Impersonate-Group: system:masters", NULL, 500, "without impersonating a user",
         NULL},
        {HTTP_POST, "/apis/authentication.k8s.io/v1/selfsubjectreviews", ADMIN, "Impersonate-User: system:serviceaccount:a:b",
         "{}", 201, "system:serviceaccounts:a", NULL},
    };
    RUN_STEPS(steps);
}

/* What verifiers of tokens read. */
static void test_openid(void **state)
{
    static const struct step steps[] = {
        {HTTP_GET, "/.well-known/openid-configuration", ADMIN, NULL, NULL, 200, "\"RS256\"", "application/json"},
        {HTTP_GET, "/openid/v1/jwks", ADMIN, NULL, NULL, 200, "\"kty\":\"RSA\"", "application/jwk-set+json"},
        {HTTP_GET, "/openid/v1/jwks", ADMIN, "Accept: application/jwk-set+json", NULL, 200, "\"alg\":\"RS256\"", NULL},
        {HTTP_GET, "/openid/v1/jwks", ADMIN, "Accept: application/json", NULL, 406, NULL, NULL},
        {HTTP_GET, "/openid/v1/jwks", NULL, NULL, NULL, 403, NULL, NULL},
        {HTTP_POST, "/openid/v1/jwks", ADMIN, NULL, "{}", 405, NULL, NULL},
    };
    RUN_STEPS(steps);
}

/* What namespaces ask of pods, and what classes make of them. */
#define NS        "/api/v1/namespaces"
#define PC        "/apis/scheduling.k8s.io/v1/priorityclasses"
#define PODS      NS "/default/pods?dryRun=All"
#define BARE      "{\"metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]"
#define MERGE     "Content-Type: application/merge-patch+json"
#define LABELS(x) "{\"metadata\":{\"labels\":{" x "}}}"
static void test_admission(void **state)
{
    static const struct step steps[] = {
        {HTTP_POST, NS "/default/serviceaccounts", ADMIN, NULL, "{\"metadata\":{\"name\":\"default\"}}", 201, NULL, NULL},
        {HTTP_PATCH, NS "/default", ADMIN, MERGE, LABELS("\"pod-security.kubernetes.io/enforce\":\"x\""), 422,
         "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \\\"x\\\": must be one of privileged", NULL},
        {HTTP_PATCH, NS "/default", ADMIN, MERGE, LABELS("\"pod-security.kubernetes.io/enforce\":\"baseline\""), 200, NULL, NULL},
        {HTTP_POST, PODS, ADMIN, NULL, BARE "}}", 201, NULL, NULL},
        {HTTP_POST, PODS, ADMIN, NULL, BARE ",\"hostPID\":true}}", 403,
         "pods \\\"p\\\" is forbidden: violates PodSecurity \\\"baseline:latest\\\": host namespaces (hostPID=true)", NULL},
        {HTTP_PATCH, NS "/default", ADMIN, MERGE, LABELS("\"pod-security.kubernetes.io/enforce\":null"), 200, NULL, NULL},
        {HTTP_POST, PODS, ADMIN, NULL, BARE ",\"hostPID\":true}}", 201, "\"preemptionPolicy\":\"PreemptLowerPriority\"", NULL},
        {HTTP_POST, PODS, ADMIN, NULL, BARE ",\"priorityClassName\":\"high\"}}", 403, "no PriorityClass with name high was found",
         NULL},
        {HTTP_POST, PC, ADMIN, NULL, "{\"metadata\":{\"name\":\"high\"},\"value\":7,\"preemptionPolicy\":\"Never\"}", 201, NULL,
         NULL},
        {HTTP_POST, PODS, ADMIN, NULL, BARE ",\"priorityClassName\":\"high\"}}", 201, "\"priority\":7", NULL},
        {HTTP_POST, PODS, ADMIN, NULL, BARE ",\"priorityClassName\":\"high\",\"priority\":8}}", 403,
         "the integer value of priority (8) must not be provided", NULL},
        {HTTP_POST, PODS, ADMIN, NULL, BARE ",\"priorityClassName\":\"system-node-critical\"}}", 201, "2000001000", NULL},
        {HTTP_POST, PC, ADMIN, NULL, "{\"metadata\":{\"name\":\"d\"},\"value\":3,\"globalDefault\":true}", 201, NULL, NULL},
        {HTTP_POST, PC, ADMIN, NULL, "{\"metadata\":{\"name\":\"e\"},\"value\":4,\"globalDefault\":true}", 403,
         "PriorityClass d is already marked as default. Only one default can exist", NULL},
        {HTTP_POST, PODS, ADMIN, NULL, BARE "}}", 201, "\"priorityClassName\":\"d\"", NULL},
        {HTTP_PATCH, PC "/high", ADMIN, MERGE, "{\"value\":9}", 422, "value: Forbidden: may not be changed in an update.", NULL},
        {HTTP_POST, PC, ADMIN, NULL, "{\"metadata\":{\"name\":\"system-x\"},\"value\":3}", 422,
         "system-x is not a known system priority class", NULL},
        {HTTP_POST, PC, ADMIN, NULL, "{\"metadata\":{\"name\":\"x\"},\"value\":1000000001}", 422,
         "maximum allowed value of a user defined priority is 1000000000", NULL},
    };
    RUN_STEPS(steps);
}

static void test_media_types(void **state)
{
    static const char *const cms = "/api/v1/namespaces/default/configmaps";
    const struct step steps[] = {
        {HTTP_POST, cms, ADMIN, "Content-Type: application/yaml", "metadata:\n  name: ym\ndata:\n  k: 'v'\n", 201, "\"k\":\"v\"",
         NULL},
        {HTTP_POST, cms, ADMIN, "Content-Type: text/plain", "x", 415, "unknown format", NULL},
        {HTTP_POST, cms, ADMIN, NULL, "{\"metadata\":{\"name\":\"j\"}}", 201, NULL, "application/json"},
        {HTTP_POST, cms, ADMIN, NULL, "{", 400, NULL, NULL},
        {HTTP_POST, cms, ADMIN, "Content-Type: application/vnd.kubernetes.protobuf", "k8s", 400, NULL, NULL},
        {HTTP_GET, "/api/v1/namespaces/default/configmaps/ym", ADMIN, "Accept: application/yaml", NULL, 200, "kind: ConfigMap",
         "application/yaml"},
        {HTTP_GET, "/api/v1/namespaces/default/configmaps/ym", ADMIN,
         "Accept: application/vnd.kubernetes.protobuf, application/json", NULL, 200, NULL, "application/json"},
        {HTTP_GET, "/api/v1/namespaces/default/configmaps/y", ADMIN, "Accept: text/html", NULL, 406, "NotAcceptable", NULL},
        {HTTP_GET, cms, ADMIN, "Accept: application/json;as=Table;v=v1;g=meta.k8s.io", NULL, 200, "\"kind\":\"Table\"", NULL},
        {HTTP_GET, cms, ADMIN, "Accept: application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", NULL, 200,
         "PartialObjectMetadataList", NULL},
        {HTTP_GET, "/api/v1/namespaces/kube-node-lease/secrets", ADMIN,
         "Accept: application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", NULL, 200, "\"items\":null", NULL},
        {HTTP_DELETE, "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles", ADMIN,
         "Accept: application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", NULL, 406,
         "you requested PartialObjectMetadata, but the requested object is a list (*rbac.RoleList)", NULL},
        {HTTP_GET, "/api/v1/namespaces/default/configmaps/ym", ADMIN,
         "Accept: application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json", NULL, 406,
         "you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)", NULL},
        {HTTP_GET, cms, ADMIN, "Accept: application/json;as=Other;v=v1;g=meta.k8s.io", NULL, 406,
         "only the following media types are accepted: application/json, application/yaml", NULL},
        {HTTP_GET, "/api", ADMIN, "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", NULL, 200,
         "APIGroupDiscoveryList", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"},
        {HTTP_GET, "/apis", ADMIN, NULL, NULL, 200, "\"kind\":\"APIGroupList\"", NULL},
        {HTTP_GET, "/openapi/v3", ADMIN, NULL, NULL, 200, "api/v1", NULL},
        {HTTP_GET, "/openapi/v2", ADMIN, NULL, NULL, 200, "\"swagger\":\"2.0\"", "application/json"},
        {HTTP_GET, "/openapi/v2", ADMIN, "Accept: application/com.github.proto-openapi.spec.v2@v1.0+protobuf", NULL, 200,
         "2.0\x12", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"},
    };
    RUN_STEPS(steps);
}

static void test_patches_and_options(void **state)
{
    static const char *const cm = "/api/v1/namespaces/default/configmaps/a";
    static const char merge[] = "Content-Type: application/merge-patch+json",
                      json[] = "Content-Type: application/json-patch+json",
                      smp[] = "Content-Type: application/strategic-merge-patch+json",
                      apply[] = "Content-Type: application/apply-patch+cbor";
    const struct step steps[] = {
        {HTTP_POST, "/api/v1/namespaces/default/configmaps?dryRun=All", ADMIN, NULL, "{\"metadata\":{\"name\":\"a\"}}", 201, NULL,
         NULL},
        {HTTP_GET, cm, ADMIN, NULL, NULL, 404, NULL, NULL},
        {HTTP_POST, "/api/v1/namespaces/default/configmaps?dryRun=x", ADMIN, NULL, "{\"metadata\":{\"name\":\"a\"}}", 422,
         "dryRun", NULL},
        {HTTP_POST, "/api/v1/namespaces/default/configmaps?fieldValidation=Strict", ADMIN, NULL,
         "{\"metadata\":{\"name\":\"a\"},\"x\":1}", 400, "unknown field \\\"x\\\"", NULL},
        {HTTP_POST, "/api/v1/namespaces/default/configmaps", ADMIN, NULL,
         "{\"metadata\":{\"name\":\"a\"},\"data\":{\"k\":\"v\"},\"x\":1}", 201, NULL, NULL},
        {HTTP_PATCH, cm, ADMIN, merge, "{\"data\":{\"l\":\"w\"}}", 200, "\"data\":{\"k\":\"v\",\"l\":\"w\"}", NULL},
        {HTTP_PATCH, cm, ADMIN, json, "[{\"op\":\"remove\",\"path\":\"/data/k\"}]", 200, "\"data\":{\"l\":\"w\"}", NULL},
        {HTTP_PATCH, cm, ADMIN, json, "[{\"op\":\"test\",\"path\":\"/data/l\",\"value\":\"no\"}]", 422,
         "the server rejected our request", NULL},
        {HTTP_PATCH, cm, ADMIN, json, "{}", 400, NULL, NULL},
        {HTTP_PATCH, cm, ADMIN, smp, "{\"data\":{\"l\":null}}", 200, NULL, NULL},
        {HTTP_PATCH, cm, ADMIN, apply, "{}", 415, "415: Unsupported Media Type", NULL},
        {HTTP_PATCH, cm, ADMIN, merge, "{\"metadata\":{\"name\":\"b\"}}", 400, "does not match the name on the URL", NULL},
        {HTTP_PATCH, cm, ADMIN, merge, "{\"metadata\":{\"resourceVersion\":\"1\"}}", 409, "the object has been modified", NULL},
        {HTTP_DELETE, cm, ADMIN, NULL, "{\"preconditions\":{\"uid\":\"x\"}}", 409, "UID in the precondition", NULL},
        {HTTP_DELETE, "/api/v1/namespaces/default/configmaps/a?propagationPolicy=Foreground", ADMIN, NULL, NULL, 200,
         "foregroundDeletion", NULL},
        {HTTP_DELETE, "/api/v1/namespaces/default", ADMIN, NULL, NULL, 403, "this namespace may not be deleted", NULL},
        {HTTP_GET, "/api/v1/namespaces/default/configmaps?limit=x", ADMIN, NULL, NULL, 400, "strconv.ParseInt", NULL},
        {HTTP_GET, "/api/v1/namespaces/default/configmaps?resourceVersion=99999999", ADMIN, NULL, NULL, 504,
         "ResourceVersionTooLarge", NULL},
        {HTTP_GET, "/api/v1/namespaces/default/configmaps?continue=x", ADMIN, NULL, NULL, 400, "continue key is not valid", NULL},
    };
    RUN_STEPS(steps);
}

/* Server-side apply: who owns what, conflicts, force, removal, and what an apply must carry. */
static void test_apply(void **state)
{
    static const char *cm = NS "/default/configmaps/a", *yaml = "Content-Type: application/apply-patch+yaml";
    static const char merge[] = "Content-Type: application/merge-patch+json\nUser-Agent: tool/1.2 (linux)";
#define CM(x) "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\"}," x "}"
#define AS(m) NS "/default/configmaps/a?fieldManager=" m
    const struct step steps[] = {
        {HTTP_PATCH, cm, ADMIN, yaml, CM("\"data\":{}"), 422, "fieldManager: Required value: is required for apply patch", NULL},
        {HTTP_PATCH, AS("one"), ADMIN, yaml, "x: [", 400, "BadRequest", NULL},
        {HTTP_PATCH, AS("one"), ADMIN, yaml, "[]", 400, NULL, NULL},
        {HTTP_PATCH, AS("one"), ADMIN, yaml, "kind: ConfigMap", 400, "invalid object type: /, Kind=ConfigMap", NULL},
        {HTTP_PATCH, AS("one"), ADMIN, yaml, CM("\"data\":{\"x\":5}"), 500,
         "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .data.x: expected string, got", NULL},
        {HTTP_PATCH, AS("one"), ADMIN, yaml, "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, managedFields: []}}", 400,
         "metadata.managedFields must be nil", NULL},
        {HTTP_PATCH, AS("one"), ADMIN, yaml, "{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}", 400,
         "does not match the name on the URL", NULL},
        {HTTP_PATCH, AS("one") "&dryRun=All", ADMIN, yaml, CM("\"data\":{\"x\":\"1\"}"), 201, NULL, NULL},
        {HTTP_GET, cm, ADMIN, NULL, NULL, 404, NULL, NULL},
        {HTTP_PATCH, AS("one"), ADMIN, yaml, CM("\"data\":{\"x\":\"1\",\"y\":\"1\"}"), 201,
         "\"fieldsV1\":{\"f:data\":{\"f:x\":{},\"f:y\":{}}}", NULL},
        {HTTP_PATCH, AS("two"), ADMIN, yaml, CM("\"data\":{\"x\":\"2\"}"), 409,
         "Apply failed with 1 conflict: conflict with \\\"one\\\": .data.x", NULL},
        {HTTP_PATCH, AS("two") "&force=true", ADMIN, yaml, CM("\"data\":{\"x\":\"2\"}"), 200,
         "\"data\":{\"x\":\"2\",\"y\":\"1\"}", NULL},
        {HTTP_PATCH, AS("one"), ADMIN, yaml, CM("\"data\":{}"), 200, "\"data\":{\"x\":\"2\"}", NULL}, /* y was one's alone */
        {HTTP_PATCH, cm, ADMIN, merge, "{\"data\":{\"z\":\"1\"}}", 200, "\"manager\":\"tool\",\"operation\":\"Update\"", NULL},
        {HTTP_PATCH, AS("two"), ADMIN, yaml, CM("\"data\":{\"z\":\"2\"}"), 409, "conflict with \\\"tool\\\" using v1: .data.z",
         NULL},
        {HTTP_PATCH, AS("m") "&force=1", ADMIN, merge, "{}", 422, "force: Forbidden: may not be specified for non-apply patch",
         NULL},
        {HTTP_PATCH, cm, ADMIN, merge, "{\"metadata\":{\"managedFields\":[{}]}}", 200, "\"data\":{\"x\":\"2\",\"z\":\"1\"}",
         NULL},
        {HTTP_PATCH, AS("new"), ADMIN, yaml, CM("\"data\":{\"z\":\"2\"}"), 409,
         "conflict with \\\"before-first-apply\\\" using v1: .data.z", NULL},
    };
    RUN_STEPS(steps);
}

/* The collection of bindings, and replicas of a custom kind at the places that its definition names. */
static void test_bindings_and_scale(void **state)
{
    static const char crd[] =
        "{\"metadata\":{\"name\":\"ws.e.com\"},\"spec\":{\"group\":\"e.com\",\"scope\":\"Namespaced\",\"names\":{\"plural\":"
        "\"ws\",\"kind\":"
        "\"W\"},\"versions\":[{\"name\":\"v1\",\"served\":true,\"storage\":true,\"schema\":{\"openAPIV3Schema\":{\"type\":"
        "\"object\","
        "\"x-kubernetes-preserve-unknown-fields\":true}},\"subresources\":{\"scale\":{\"specReplicasPath\":\".spec.a.n\","
        "\"statusReplicasPath\":\".status.n\",\"labelSelectorPath\":\".status.sel\"}}}]}}";
#define WS "/apis/e.com/v1/namespaces/default/ws"
#define SCALE(n)                                                                                                                 \
    "{\"kind\":\"Scale\",\"apiVersion\":\"autoscaling/v1\",\"metadata\":{\"name\":\"w\"},\"spec\":{\"replicas\":" n "}}"
    static const struct step steps[] = {
        {HTTP_POST, NS "/default/serviceaccounts", ADMIN, NULL, "{\"metadata\":{\"name\":\"default\"}}", 201, NULL, NULL},
        {HTTP_POST, NS "/default/pods", ADMIN, NULL, BARE "}}", 201, NULL, NULL},
        {HTTP_POST, NS "/default/bindings", ADMIN, NULL,
         "{\"metadata\":{\"name\":\"p\"},\"target\":{\"kind\":\"Pod\",\"name\":\"n\"}}", 500, "target.kind: Unsupported value",
         NULL},
        {HTTP_POST, NS "/default/bindings", ADMIN, NULL, "{\"metadata\":{\"name\":\"q\"},\"target\":{\"name\":\"n\"}}", 404,
         "pods \\\"q\\\"", NULL},
        {HTTP_POST, NS "/default/bindings", ADMIN, NULL, "{\"metadata\":{\"name\":\"p\"},\"target\":{\"name\":\"n\"}}", 201,
         "Success", NULL},
        {HTTP_GET, NS "/default/pods/p", ADMIN, NULL, NULL, 200, "\"nodeName\":\"n\"", NULL},
        {HTTP_GET, NS "/default/bindings", ADMIN, NULL, NULL, 405, NULL, NULL},
        {HTTP_POST, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", ADMIN, NULL, crd, 201, NULL, NULL},
        {HTTP_POST, WS, ADMIN, NULL,
         "{\"kind\":\"W\",\"apiVersion\":\"e.com/v1\",\"metadata\":{\"name\":\"w\"},\"status\":{\"n\":2,\"sel\":\"a=b\"}}", 201,
         NULL, NULL},
        {HTTP_GET, WS "/w/scale", ADMIN, NULL, NULL, 500, "the spec replicas field \\\".spec.a.n\\\" does not exist", NULL},
        {HTTP_PATCH, WS "/w/scale", ADMIN, MERGE, "{\"spec\":{\"replicas\":3}}", 200, "\"spec\":{\"replicas\":3}", NULL},
        {HTTP_GET, WS "/w/scale", ADMIN, NULL, NULL, 200, "\"status\":{\"replicas\":2,\"selector\":\"a=b\"}", NULL},
        {HTTP_PUT, WS "/w/scale", ADMIN, NULL, SCALE("5"), 200, "\"replicas\":5", NULL},
        {HTTP_PUT, WS "/w/scale", ADMIN, NULL, SCALE("-1"), 422, ".spec.a.n: Invalid value: -1: should be a non-negative integer",
         NULL},
        {HTTP_GET, WS "/w", ADMIN, NULL, NULL, 200, "\"a\":{\"n\":5}", NULL},
        {HTTP_GET, WS "/none/scale", ADMIN, NULL, NULL, 404, "ws.e.com \\\"none\\\" not found", NULL},
    };
    RUN_STEPS(steps);
}

/* An eviction is a delete that is seen in the pod's conditions; what it says of itself and of the delete is checked first. */
static void test_eviction(void **state)
{
#define EVICT       NS "/default/pods/p/eviction"
#define EVICTION(x) "{\"apiVersion\":\"policy/v1\",\"kind\":\"Eviction\",\"metadata\":{\"name\":\"p\"" x "}"
#define OPTIONS(x)  EVICTION("},\"deleteOptions\":{" x "}")
#define POD         NS "/default/pods/p"
    static const struct step steps[] = {
        {HTTP_GET, "/api/v1", ADMIN, NULL, NULL, 200,
         "{\"name\":\"pods/eviction\",\"singularName\":\"\",\"namespaced\":true,\"group\":\"policy\",\"version\":\"v1\",\"kind\":"
         "\"Eviction\",\"verbs\":[\"create\"]}",
         NULL},
        {HTTP_POST, NS "/default/serviceaccounts", ADMIN, NULL, "{\"metadata\":{\"name\":\"default\"}}", 201, NULL, NULL},
        {HTTP_POST, EVICT, ADMIN, NULL, EVICTION("}"), 404, "pods \\\"p\\\" not found", NULL},
        {HTTP_POST, NS "/default/pods", ADMIN, NULL, BARE ",\"nodeName\":\"n\"}}", 201, NULL, NULL},
        {HTTP_GET, EVICT, ADMIN, NULL, NULL, 405, NULL, NULL},
        {HTTP_POST, EVICT, NULL, NULL, EVICTION("}"), 403, "cannot create resource \\\"pods/eviction\\\"", NULL},
        {HTTP_POST, EVICT, ADMIN, NULL, "", 400, "the object provided is unrecognized (must be of type Eviction)", NULL},
        {HTTP_POST, EVICT, ADMIN, NULL, "{}", 400, "name in URL does not match name in Eviction object", NULL},
        {HTTP_POST, EVICT, ADMIN, NULL, EVICTION("x\"}"), 400, NULL, NULL},
        {HTTP_POST, EVICT, ADMIN, NULL, EVICTION(",\"namespace\":\"other\"}"), 400,
         "the namespace of the provided object does not match", NULL},
        {HTTP_POST, EVICT "?fieldValidation=Strict", ADMIN, NULL, EVICTION("},\"bla\":1"), 400,
         "Eviction in version \\\"v1\\\" cannot be handled as a Eviction: strict decoding error: unknown field \\\"bla\\\"",
         NULL},
        {HTTP_POST, EVICT, ADMIN, NULL, OPTIONS("\"dryRun\":[\"Some\"]"), 422, "dryRun: Unsupported value: [\\\"Some\\\"]", NULL},
        {HTTP_POST, EVICT, ADMIN, NULL, OPTIONS("\"propagationPolicy\":\"Some\""), 422, "propagationPolicy: Unsupported value",
         NULL},
        {HTTP_POST, EVICT, ADMIN, NULL, OPTIONS("\"preconditions\":{\"uid\":\"abc\"}"), 409,
         "Operation cannot be fulfilled on Pod \\\"p\\\": the UID in the precondition (abc) does not match the UID in record",
         NULL},
        {HTTP_POST, EVICT, ADMIN, NULL, OPTIONS("\"preconditions\":{\"resourceVersion\":\"1\"}"), 409,
         "the ResourceVersion in the precondition (1) does not match", NULL},
        {HTTP_POST, EVICT "?dryRun=All", ADMIN, NULL, EVICTION("}"), 201, "\"status\":\"Success\",\"code\":201", NULL},
        {HTTP_POST, EVICT, ADMIN, NULL, OPTIONS("\"dryRun\":[\"All\"]"), 201, "Success", NULL},
        {HTTP_GET, POD, ADMIN, NULL, NULL, 200, "\"status\":{\"phase\":\"Pending\",\"qosClass\":\"BestEffort\"}", NULL},
        {HTTP_POST, EVICT, ADMIN, NULL, OPTIONS("\"gracePeriodSeconds\":5"), 201, "Success", NULL},
        {HTTP_GET, POD, ADMIN, NULL, NULL, 200, "\"deletionGracePeriodSeconds\":5", NULL},
        {HTTP_GET, POD, ADMIN, NULL, NULL, 200, "{\"type\":\"DisruptionTarget\",\"status\":\"True\",\"lastTransitionTime\":\"",
         NULL},
        {HTTP_GET, POD, ADMIN, NULL, NULL, 200,
         "\"reason\":\"EvictionByEvictionAPI\",\"message\":\"Eviction API: evicting\",\"lastProbeTime\":null}", NULL},
        {HTTP_POST, EVICT, ADMIN, NULL, OPTIONS("\"gracePeriodSeconds\":0"), 201, "Success", NULL},
        {HTTP_GET, POD, ADMIN, NULL, NULL, 404, NULL, NULL},
        /* A pod that nobody has started goes at once, and what was true of it before the mark is true after it. */
        {HTTP_POST, NS "/default/pods", ADMIN, NULL, BARE "}}", 201, NULL, NULL},
        {HTTP_POST, EVICT, ADMIN, NULL, EVICTION("}"), 201, "Success", NULL},
        {HTTP_GET, POD, ADMIN, NULL, NULL, 404, NULL, NULL},
    };
    RUN_STEPS(steps);
}

/* nodes/NAME/proxy: the kubelet's paths over the node in this process; who may only read may not run anything by way of it. */
static int open_nothing(void *self, const struct ctx *ctx, jval *pod, const struct node_process_opts *o, struct node_process *out,
                        struct err *err)
{
    return err_set(err, ERR_INTERNAL, "container not found (\"%s\")", o->container);
}

static struct node_log *no_log(void *self, const struct ctx *ctx, jval *pod, const struct kube_log_opts *o,
                               void (*notify)(void *arg), void *arg, struct err *err)
{
    err_set(err, ERR_BAD_REQUEST, "container \"%s\" is waiting to start", o->container);
    return NULL;
}

static void test_node_proxy(void **state)
{
#define PROXY(n)  "/api/v1/nodes/" n "/proxy"
#define AS_VIEWER "Impersonate-User: viewer"
#define UPGRADE   "Connection: Upgrade\nUpgrade: SPDY/3.1\nX-Stream-Protocol-Version: v4.channel.k8s.io"
    static const char role[] = "{\"metadata\":{\"name\":\"v\"},\"rules\":[{\"apiGroups\":[\"\"],\"resources\":[\"nodes/proxy\"],"
                               "\"verbs\":[\"get\"]}]}",
                      binding[] =
                          "{\"metadata\":{\"name\":\"v\"},\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":"
                          "\"ClusterRole\",\"name\":\"v\"},\"subjects\":[{\"kind\":\"User\",\"apiGroup\":"
                          "\"rbac.authorization.k8s.io\",\"name\":\"viewer\"}]}";
    static const struct step before[] = {
        {HTTP_POST, "/api/v1/nodes", ADMIN, NULL, "{\"metadata\":{\"name\":\"n\"}}", 201, NULL, NULL},
        {HTTP_POST, "/api/v1/nodes", ADMIN, NULL, "{\"metadata\":{\"name\":\"m\"}}", 201, NULL, NULL},
        {HTTP_POST, "/apis/rbac.authorization.k8s.io/v1/clusterroles", ADMIN, NULL, role, 201, NULL, NULL},
        {HTTP_POST, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", ADMIN, NULL, binding, 201, NULL, NULL},
        {HTTP_POST, NS "/default/serviceaccounts", ADMIN, NULL, "{\"metadata\":{\"name\":\"default\"}}", 201, NULL, NULL},
        {HTTP_POST, NS "/default/pods", ADMIN, NULL, BARE ",\"nodeName\":\"n\"}}", 201, NULL, NULL},
        {HTTP_GET, PROXY("n") "/pods", ADMIN, NULL, NULL, 503, "node \\\"n\\\" does not run in this process", NULL},
    };
    static const struct step steps[] = {
        {HTTP_GET, PROXY("n") "/healthz", ADMIN, NULL, NULL, 200, "ok", NULL},
        {HTTP_GET, PROXY("n:10250") "/healthz", ADMIN, NULL, NULL, 200, "ok", NULL},
        {HTTP_GET, PROXY("https:n:10250") "/healthz", ADMIN, NULL, NULL, 200, "ok", NULL},
        {HTTP_GET, PROXY("n:22") "/healthz", ADMIN, NULL, NULL, 400, "address not allowed", NULL},
        {HTTP_GET, PROXY("ftp:n:10250") "/healthz", ADMIN, NULL, NULL, 400, "invalid node request \\\"ftp:n:10250\\\"", NULL},
        {HTTP_GET, PROXY("m") "/healthz", ADMIN, NULL, NULL, 503, "node \\\"m\\\" does not run in this process", NULL},
        {HTTP_GET, PROXY("o") "/healthz", ADMIN, NULL, NULL, 404, "nodes \\\"o\\\" not found", NULL},
        {HTTP_GET, PROXY("n") "/pods", ADMIN, NULL, NULL, 200,
         "\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{},\"items\":[{\"", NULL},
        {HTTP_GET, PROXY("n") "/logs/", ADMIN, NULL, NULL, 404, "404 page not found", NULL},
        {HTTP_GET, PROXY("n"), ADMIN, NULL, NULL, 404, "404 page not found", NULL},
        {HTTP_GET, PROXY("n") "/containerLogs/default/p/c", ADMIN, NULL, NULL, 400, "container \"c\" is waiting to start", NULL},
        {HTTP_GET, PROXY("n") "/containerLogs/default/q/c", ADMIN, NULL, NULL, 404, "pod \"q\" not found", NULL},
        {HTTP_POST, PROXY("n") "/exec/default/p/c?command=x&output=1", ADMIN, NULL, NULL, 400, "pgrade", NULL},
        {HTTP_POST, PROXY("n") "/exec/default/p/c?command=x&output=1", ADMIN, UPGRADE, NULL, 500, "container not found (\"c\")",
         NULL},
        {HTTP_GET, PROXY("n") "/pods", NULL, NULL, NULL, 403, "cannot get resource \\\"nodes/proxy\\\"", NULL},
        {HTTP_GET, PROXY("n") "/pods", ADMIN, AS_VIEWER, NULL, 200, NULL, NULL},
        {HTTP_GET, PROXY("n") "/exec/default/p/c?command=x&output=1", ADMIN, AS_VIEWER, NULL, 403,
         "cannot create resource \\\"nodes/proxy\\\"", NULL},
        {HTTP_GET, PROXY("n") "//attach/default/p/c?output=1", ADMIN, AS_VIEWER, NULL, 403, "cannot create", NULL},
        {HTTP_GET, PROXY("n") "/portForward/default/p", ADMIN, AS_VIEWER, NULL, 403, "cannot create", NULL},
    };
    const struct node_api node = {.name = "n", .log_open = no_log, .process_open = open_nothing};
    struct web w;
    web_init(&w);
    for (size_t i = 0; i < ARRAY_LEN(before); i++)
        run_step(&w, &before[i], i);
    apiserver_set_node(w.a, &node);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        run_step(&w, &steps[i], 100 + i);
    apiserver_set_node(w.a, NULL);
    web_done(&w);
}

/* What a cache has is answered as a whole, but for Events; pages go on as they began. */
static void test_limits(void **state)
{
#define CMS NS "/default/configmaps"
    static const struct step steps[] = {
        {HTTP_POST, CMS, ADMIN, NULL, "{\"metadata\":{\"name\":\"a\"}}", 201, NULL, NULL},
        {HTTP_POST, CMS, ADMIN, NULL, "{\"metadata\":{\"name\":\"b\"}}", 201, NULL, NULL},
        {HTTP_POST, CMS, ADMIN, NULL, "{\"metadata\":{\"name\":\"c\"}}", 201, NULL, NULL},
        {HTTP_GET, CMS "?limit=2", ADMIN, NULL, NULL, 200, "\"remainingItemCount\":1", NULL},
        {HTTP_GET, CMS "?limit=2&resourceVersion=0", ADMIN, NULL, NULL, 200, "\"name\":\"c\"", NULL},
        {HTTP_GET, CMS "?limit=2&resourceVersion=0&resourceVersionMatch=NotOlderThan", ADMIN, NULL, NULL, 200, "\"name\":\"c\"",
         NULL},
        {HTTP_GET, CMS "?limit=2&resourceVersion=1&resourceVersionMatch=NotOlderThan", ADMIN, NULL, NULL, 200,
         "\"remainingItemCount\":1", NULL},
        {HTTP_POST, NS "/default/events", ADMIN, NULL,
         "{\"metadata\":{\"name\":\"a\",\"namespace\":\"default\"},\"involvedObject\":{"
         "\"namespace\":\"default\"}}",
         201, NULL, NULL},
        {HTTP_POST, NS "/default/events", ADMIN, NULL,
         "{\"metadata\":{\"name\":\"b\",\"namespace\":\"default\"},\"involvedObject\":{"
         "\"namespace\":\"default\"}}",
         201, NULL, NULL},
        {HTTP_GET, NS "/default/events?limit=1&resourceVersion=0", ADMIN, NULL, NULL, 200, "\"continue\":\"", NULL},
    };
    RUN_STEPS(steps);
}

static void test_watch_over_http(void **state)
{
    const struct step steps[] = {
        {HTTP_POST, "/api/v1/namespaces/default/configmaps", ADMIN, NULL, "{\"metadata\":{\"name\":\"a\"}}", 201, NULL, NULL},
        {HTTP_GET,
         "/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=1&allowWatchBookmarks=true&sendInitialEvents=true"
         "&resourceVersionMatch=NotOlderThan",
         ADMIN, NULL, NULL, 200, "\"k8s.io/initial-events-end\":\"true\"", "application/json"},
        {HTTP_GET, "/api/v1/watch/namespaces/default/configmaps/a?timeoutSeconds=1", ADMIN, NULL, NULL, 200,
         "{\"type\":\"ADDED\",\"object\":{\"kind\":", NULL},
        {HTTP_GET, "/api/v1/configmaps?watch=true&sendInitialEvents=true", ADMIN, NULL, NULL, 422, "resourceVersionMatch", NULL},
    };
    RUN_STEPS(steps);
}

TEST_GROUP(http, cmocka_unit_test(test_paths), cmocka_unit_test(test_who), cmocka_unit_test(test_openid),
           cmocka_unit_test(test_admission), cmocka_unit_test(test_media_types), cmocka_unit_test(test_patches_and_options),
           cmocka_unit_test(test_apply), cmocka_unit_test(test_bindings_and_scale), cmocka_unit_test(test_eviction),
           cmocka_unit_test(test_node_proxy), cmocka_unit_test(test_limits), cmocka_unit_test(test_watch_over_http))
