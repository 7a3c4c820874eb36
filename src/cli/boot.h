/* boot.h - small parts of the wiring that stand alone: objects that the components need in the cluster, addresses, identities. */
#ifndef TM_CLI_BOOT_H
#define TM_CLI_BOOT_H

#include "kube/kube.h"
#include "kube/reviews.h"
#include "net/http.h"

/* Creates what deploy/base holds (namespaces, service accounts, roles and bindings of the components), as `kubectl apply -k` does
 * on a cluster; what exists and differs is replaced. With a node of its own the embedded cluster gets what deploy/embedded holds,
 * once. */
int boot_objects(struct kube *k, const struct ctx *ctx, bool own_node, struct err *err);
/* "127.0.0.1:0" and 8080 give "127.0.0.1:8080". Caller frees. */
char *address_with_port(const char *address, int port);
bool address_is_loopback(const char *address);
/* A token that is not the administrator's: asked of the cluster, as any component on a cluster does it. Fills ctx->who with
 * memory of the request; ERR_UNAUTHENTICATED when it is none. */
int boot_review_token(struct reviews *r, struct ctx *ctx, struct http_req *req, const char *token, struct err *err);

/* May ctx->who do this in ns? Asked of the cluster: ERR_FORBIDDEN when not. */
int boot_review_access(struct reviews *r, const struct ctx *ctx, const char *ns, const struct perm *what, struct err *err);

#endif
