/* gateway.h - the front door: who is it, may they, and where does the request go.
 *
 * On loopback a caller without a token is the local user when the peer socket belongs to root or to the user who started tidemill
 * (asked of the kernel); everybody else, pods included, shows a token. The gateway knows components only as http_apis that are
 * mounted on its listener; it never sees the embedded cluster. Others are who the cluster says their token is, and may do what
 * the cluster's rules say, where it is asked; sign-in with a browser comes with tenancy.
 *
 * A Kubernetes API server that passes requests on (services/proxy) takes the caller's token off before it does so: nobody behind
 * it can tell who calls. It has asked its own rules, though, whether they may use services/proxy. Such requests come to a door of
 * their own, and are believed when they come from the API server's addresses. Source: DESIGN 6; pipelines-api spec 2.1. */
#ifndef TM_GATEWAY_GATEWAY_H
#define TM_GATEWAY_GATEWAY_H

#include "net/http.h"

struct gateway;
struct gateway_config {
    unsigned owner_uid;     /* the user who started tidemill (under sudo: the caller of sudo) */
    const char *owner_name; /* for the identity's user name; copied */
    /* Tells a token of the cluster (service accounts of pods) from garbage: fills ctx->who with memory of the request, or
     * ERR_UNAUTHENTICATED. May be NULL. */
    int (*review_token)(void *self, struct ctx *ctx, struct http_req *req, const char *token, struct err *err);
    /* May ctx->who do this in the namespace of the pipelines? 0, ERR_FORBIDDEN, or our own trouble. NULL: service accounts may do
     * everything with pipelines, as upstream's single-user mode lets them. */
    int (*review_access)(void *self, const struct ctx *ctx, const struct perm *what, struct err *err);
    const char *const
        *proxies; /* addresses of the API server, "10.0.0.1" or "10.0.0.0/24"; NULL-terminated; may be NULL; copied */
    /* Puts what is running into obj, for the start page and GET /api/tidemill/v1/status. Any worker thread. */
    void (*describe)(void *self, struct jm *m, jmval *obj);
    void *self;
};
/* NULL: one of proxies is no address. */
struct gateway *gateway_new(const struct gateway_config *cfg, struct err *err);
void gateway_free(struct gateway *g);
/* The administrator's bearer token; before the listener starts. Copied. */
void gateway_set_token(struct gateway *g, const char *token);
/* The port of the door for what an API server passes on; before the listener starts. There are no tokens at that door. */
void gateway_set_proxy_port(struct gateway *g, int port);
/* Routes of the gateway's own: start page, status, health. To be mounted at "/". */
const struct http_api *gateway_http(struct gateway *g);

/* Hooks for the APIs behind the door (struct http_api's authenticate and authorize, with the gateway as self). The
 * local user and the administrator may do everything; others what review_access says; who comes through the API server, all with
 * pipelines. */
int gateway_authenticate(void *gateway, struct ctx *ctx, struct http_req *req, struct err *err);
int gateway_authorize(void *gateway, struct ctx *ctx, struct http_req *req, struct err *err);

#endif
