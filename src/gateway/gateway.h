/* gateway.h - the front door: who is it, may they, and where does the request go.
 *
 * On loopback a caller without a token is the local user when the peer socket belongs to root or to the user who started tidemill
 * (asked of the kernel); everybody else, pods included, shows a token. The gateway knows components only as http_apis that are
 * mounted on its listener; it never sees the embedded cluster. Today: one local user and the administrator's token; sign-in comes
 * with tenancy. Source: DESIGN 6; pipelines-api spec 2.1. */
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
    /* Puts what is running into obj, for the start page and GET /api/tidemill/v1/status. Any worker thread. */
    void (*describe)(void *self, struct jm *m, jmval *obj);
    void *self;
};
struct gateway *gateway_new(const struct gateway_config *cfg);
void gateway_free(struct gateway *g);
/* The administrator's bearer token; before the listener starts. Copied. */
void gateway_set_token(struct gateway *g, const char *token);
/* Routes of the gateway's own: start page, status, health. To be mounted at "/". */
const struct http_api *gateway_http(struct gateway *g);

/* Hooks for the APIs behind the door (struct http_api's authenticate and authorize, with the gateway as self). Until tenancy
 * comes, whoever is the local user or the administrator may do everything, and service accounts what the pipelines' editor role
 * allows. */
int gateway_authenticate(void *gateway, struct ctx *ctx, struct http_req *req, struct err *err);
int gateway_authorize(void *gateway, struct ctx *ctx, struct http_req *req, struct err *err);

#endif
