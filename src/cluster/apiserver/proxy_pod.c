/* proxy_pod.c - pods/{[scheme:]name[:port]}/proxy/...: a request is passed on to a port of the pod's address, and its answer
 * back, as it comes (proxy_tunnel.c); over TLS both are whole in memory, within the client's bound. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <strings.h>

#include "cluster/apiserver/proxy_priv.h"
#include "kube/fields.h"
#include "net/address.h"
#include "net/client.h"

enum { HEADERS_MAX = 100 };
#define TIMEOUT (60 * NS_PER_S)

void relay_target_free(struct relay_target *t)
{
    free(t->scheme);
    free(t->name);
    free(t->port);
}

void relay_parse(const char *text, struct relay_target *out)
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

bool relay_keeps(const char *name)
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
            return false;
    return strncasecmp(name, "impersonate-", strlen("impersonate-")) != 0;
}

static int pass_on(struct http_req *req, struct http_res *res, const struct ctx *ctx, const char *url, struct err *err)
{
    struct http_header headers[HEADERS_MAX];
    struct http_call call = {.method = req->method, .url = url, .headers = headers, .body = req->body, .body_len = req->body_len};
    CLEANUP(http_answer_free) struct http_answer answer = {0};
    for (size_t i = 0; i < req->n_headers && call.n_headers < HEADERS_MAX; i++)
        if (relay_keeps(req->headers[i].name))
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
        if (relay_keeps(answer.headers[i].name) && strcasecmp(answer.headers[i].name, "content-type") != 0)
            http_add_header(res, answer.headers[i].name, answer.headers[i].value);
    http_body_buf(res, type ? type : "application/octet-stream", &answer.body);
    return 0;
}

/* A pod's address stands in its status, which its owner may write: it must not lead to the machine's own loopback or link, nor be
 * a name that does. */
static bool is_forbidden(const char *ip)
{
    struct in_addr a;
    return inet_pton(AF_INET, ip, &a) != 1 || host_is_near(ip);
}

int relay_to(const struct relay_target *t, const char *ip, int64_t port, struct ctx *ctx, struct http_req *req,
             struct http_res *res, const struct reqinfo *ri, struct err *err)
{
    bool tls = str_eq(t->scheme, "https");
    if (port < 1 || port > 65535 || (!tls && !str_eq(t->scheme, "http")))
        return err_set(err, ERR_BAD_REQUEST, "invalid %s request \"%s\"", str_eq(ri->plural, "pods") ? "pod" : "service",
                       ri->name);
    if (is_forbidden(ip))
        return err_set(err, ERR_BAD_REQUEST, "address not allowed: %s", ip);
    if (http_header_get(req, "upgrade") && tls)
        return err_set(err, ERR_BAD_REQUEST, "upgrades are passed on over plain HTTP only; use port-forward");
    if (!tls)
        return relay_plain(ip, port, ctx, req, res, ri, err);
    AUTOFREE char *url = xasprintf("https://%s:%lld/%s%s%s", ip, (long long)port, ri->rest, *req->query ? "?" : "", req->query);
    return pass_on(req, res, ctx, url, err);
}

int handle_pod_proxy(struct apiserver *a, struct ctx *ctx, struct http_req *req, struct http_res *res, const struct reqinfo *ri,
                     struct err *err)
{
    CLEANUP(relay_target_free) struct relay_target t = {0};
    relay_parse(ri->name, &t);
    AUTOFREE char *key = xasprintf("%s/%s", ri->ns, t.name);
    OBJ_REF(pod) = store_get(a->pods, key);
    if (!pod) {
        err_set(err, ERR_NOT_FOUND, "pods \"%s\" not found", t.name);
        err_subject(err, "", "pods", t.name);
        return -1;
    }
    const char *ip = pod_status_pod_ip(pod_status(obj_root(pod)));
    if (str_empty(ip))
        return err_set(err, ERR_BAD_REQUEST, "address not allowed: the pod has none yet");
    return relay_to(&t, ip, port_of(obj_root(pod), t.port), ctx, req, res, ri, err);
}
