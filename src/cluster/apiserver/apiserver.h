/* apiserver.h - the embedded Kubernetes API server: the one public header of this room.
 *
 *     struct apiserver *a = apiserver_new(&cfg, &e);          // opens the store, makes keys and certificates, boots
 *     apiserver_set_node(a, node);                            // once there is a node: logs
 *     struct kube *k = apiserver_kube(a, &identity);          // function calls, bound to an identity, RBAC applies
 *     http_server_listen(server, &(struct listener_config){ .tls = apiserver_tls(a), .mounts = {"/", apiserver_http(a)} ...
 *     ...
 *     http_server_stop(server); apiserver_stop(a);
 *
 * The data directory gets kube.db (the store), pki/ (authority, serving certificate, token-signing key) and admin.token, all
 * 0600. Every function is thread-safe but apiserver_new and apiserver_stop. Source: docs of Kubernetes' API conventions; the
 * contract is recorded by the golden cases. */
#ifndef TM_CLUSTER_APISERVER_H
#define TM_CLUSTER_APISERVER_H

#include "base/ctx.h"
#include "kube/kube.h"
#include "kube/node_api.h"
#include "net/http.h"
#include "net/server.h"

/* A service whose backend is in this process: /api/v1/namespaces/{ns}/services/[http:]{name}[:port]/proxy/... is dispatched to
 * it with the caller's identity. */
struct apiserver_backend {
    const char *ns, *name;
    const struct http_api *api;
};

/* A check that whoever serves a kind makes before an object of it is stored, as a validating webhook does elsewhere. It runs on
 * the thread of the request, after the built-in admission and before the schema's validation, and may read through struct kube.
 */
struct apiserver_check {
    const char *group, *plural;
    void *self;
    /* old: NULL when the object is made; changes of the status are not asked about. -1: it is refused with this error. */
    int (*check)(void *self, const struct ctx *ctx, const struct identity *who, jval *old, jval *now, struct err *err);
};

struct apiserver_config {
    const char *data_dir;          /* made (0700) when missing */
    const struct clock *clock;     /* NULL: the system's */
    const char *const *cert_names; /* NULL-terminated further names and addresses for the serving certificate; may be NULL */
    const char *service_cidr;      /* where Services get their addresses from; NULL: the usual (kube/rules/service_range.h) */
    const struct apiserver_backend *backends;
    size_t n_backends;                    /* copied */
    const struct apiserver_check *checks; /* what they point to must outlive the server */
    size_t n_checks;
};

struct apiserver;
/* NULL on failure: ERR_CONFLICT when another process holds the data directory, ERR_PRECONDITION when a newer version wrote it. */
struct apiserver *apiserver_new(const struct apiserver_config *cfg, struct err *err);
/* Ends watches, finishes queued writes, closes the store. Call after the HTTP server has stopped and no struct kube is in use. */
void apiserver_stop(struct apiserver *a);

/* What answers pods/log, exec and the like, and nodes/NAME/proxy; NULL takes it away again (waits for calls in progress). Not
 * owned. */
void apiserver_set_node(struct apiserver *a, const struct node_api *node);

/* The HTTP face: for a listener with TLS. Lives as long as the server. */
const struct http_api *apiserver_http(struct apiserver *a);
const struct tls_server_config *apiserver_tls(struct apiserver *a);
const char *apiserver_ca_pem(struct apiserver *a);
const char *apiserver_admin_token(struct apiserver *a);
/* A kubeconfig (YAML) for the administrator, with a client certificate made for it; server is "https://127.0.0.1:6443". Caller
 * frees. */
char *apiserver_kubeconfig(struct apiserver *a, const char *server, struct err *err);

/* The in-process face. who is copied; freed with the server. Use identity {user "system:..", groups {"system:masters"}} for the
 * parts of the cluster itself. A user of a ServiceAccount ("system:serviceaccount:ns:name") needs its groups in who as well. */
struct kube *apiserver_kube(struct apiserver *a, const struct identity *who);

/* What struct controllers_config asks for in each_kind: calls fn for every collection that can be listed, watched and deleted,
 * one version each. self is the API server. */
void apiserver_each_kind(void *self, void (*fn)(void *arg, const struct kube_res *res), void *arg);
/* Called (from a thread that just wrote) when a definition came, changed or went. One listener; NULL takes it away. */
void apiserver_on_kinds_changed(struct apiserver *a, void (*fn)(void *arg), void *arg);

#endif
