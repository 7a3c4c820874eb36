/* proxy_pod.c - pods/{[scheme:]name[:port]}/proxy/...: a request is passed on to a port of the pod's address, and its answer
 * back. Both are whole in memory, within the client's bound; upgrades are refused. */
#include <stdlib.h>
#include <strings.h>

#include "cluster/apiserver/face.h"
#include "kube/fields.h"
#include "net/client.h"

enum { HEADERS_MAX = 100 };
#define TIMEOUT (60 * NS_PER_S)

struct target {
    char *scheme, *name, *port;
};

static void target_free(struct target *t)
{
    free(t->scheme);
    free(t->name);
    free(t->port);
}

/* "name", "name:port", "scheme:name:port". */
static void parse_target(const char *text, struct target *out)
{
    STRLIST(parts);
    str_split(text, ':', &parts);
    bool scheme = parts.n == 3;
    out->scheme = xstrdup(scheme && *parts.v[0] ? parts.v[0] : "http");
    out->name = xstrdup(parts.v[scheme]);
    out->port = xstrdup(parts.n > 1 ? parts.v[parts.n - 1] : "");
}

/* A number, or the name of a port of the pod; without one its first. 0: none. */
static int64_t port_of(jval *pod, const char *text)
{
    jval *containers = pod_spec_containers(pod_spec(pod));
    int64_t n = 0;
    if (str_to_i64(text, &n))
        return n;
    for (size_t i = 0; i < jv_len(containers); i++) {
        jval *ports = container_ports(jv_at(containers, i));
        for (size_t k = 0; k < jv_len(ports); k++)
            if (!*text || str_eq(container_port_name(jv_at(ports, k)), text))
                return container_port_container_port(jv_at(ports, k), 0);
    }
    return *text ? 0 : 80;
}

/* Headers that are about one connection only, and what tells who asks, stay here. */
static bool stays(const char *name)
{
    static const char *const list[] = {"connection",
                                       "keep-alive",
                                       "proxy-authenticate",
                                       "proxy-authorization",
                                       "te",
                                       "trailer",
                                       "transfer-encoding",
                                       "upgrade",
                                       "content-length",
                                       "host",
                                       "authorization",
                                       "expect",
                                       "date"};
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        if (strcasecmp(list[i], name) == 0)
            return true;
    return false;
}

static int pass_on(struct http_req *req, struct http_res *res, const struct ctx *ctx, const char *url, struct err *err)
{
    struct http_header headers[HEADERS_MAX];
    struct http_call call = {.method = req->method, .url = url, .headers = headers, .body = req->body, .body_len = req->body_len};
    CLEANUP(http_answer_free) struct http_answer answer = {0};
    for (size_t i = 0; i < req->n_headers && call.n_headers < HEADERS_MAX; i++)
        if (!stays(req->headers[i].name) && !str_starts(req->headers[i].name, "impersonate-"))
            headers[call.n_headers++] = req->headers[i];
    /* As kubelet's and the API server's own: pods' certificates are their own business. */
    struct http_client *client = http_client_new(&(struct http_client_config){.insecure = true}, err);
    if (!client)
        return -1;
    struct ctx limited = ctx_with_timeout(ctx, TIMEOUT);
    ERR(e);
    int rc = http_fetch(client, &limited, &call, &answer, &e);
    http_client_free(client);
    if (rc < 0)
        return err_set(err, ERR_UNAVAILABLE, "error trying to reach service: %s", err_text(&e));
    const char *type = http_answer_header(&answer, "content-type");
    http_status(res, answer.status);
    for (size_t i = 0; i < answer.n_headers; i++)
        if (!stays(answer.headers[i].name) && strcasecmp(answer.headers[i].name, "content-type") != 0)
            http_add_header(res, answer.headers[i].name, answer.headers[i].value);
    http_body_buf(res, type ? type : "application/octet-stream", &answer.body);
    return 0;
}

/* A pod's address stands in its status, which its owner may write: it must not lead to the machine's own loopback or link. */
static bool is_forbidden(const char *ip)
{
    static const char *const prefixes[] = {"127.", "169.254.", "0.", "::", "fe80:"};
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        if (str_starts(ip, prefixes[i]))
            return true;
    return false;
}

int handle_pod_proxy(struct apiserver *a, struct ctx *ctx, struct http_req *req, struct http_res *res, const struct reqinfo *ri,
                     struct err *err)
{
    CLEANUP(target_free) struct target t = {0};
    parse_target(ri->name, &t);
    AUTOFREE char *key = xasprintf("%s/%s", ri->ns, t.name);
    OBJ_REF(pod) = store_get(a->pods, key);
    if (!pod) {
        err_set(err, ERR_NOT_FOUND, "pods \"%s\" not found", t.name);
        err_subject(err, "", "pods", t.name);
        return -1;
    }
    const char *ip = pod_status_pod_ip(pod_status(obj_root(pod)));
    int64_t port = port_of(obj_root(pod), t.port);
    if (port < 1 || port > 65535 || (strcmp(t.scheme, "http") != 0 && strcmp(t.scheme, "https") != 0))
        return err_set(err, ERR_BAD_REQUEST, "invalid pod request \"%s\"", ri->name);
    if (str_empty(ip))
        return err_set(err, ERR_BAD_REQUEST, "address not allowed: the pod has none yet");
    if (is_forbidden(ip))
        return err_set(err, ERR_BAD_REQUEST, "address not allowed: %s", ip);
    if (http_header_get(req, "upgrade"))
        return err_set(err, ERR_BAD_REQUEST, "upgrades are not passed on to pods; use port-forward");
    AUTOFREE char *url =
        xasprintf("%s://%s:%lld/%s%s%s", t.scheme, ip, (long long)port, ri->rest, *req->query ? "?" : "", req->query);
    return pass_on(req, res, ctx, url, err);
}
