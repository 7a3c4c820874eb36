/* proxy_priv.h - what pods/proxy and services/proxy share. Private to this room. Source: kube.md 9.6. */
#ifndef TM_APISERVER_PROXY_PRIV_H
#define TM_APISERVER_PROXY_PRIV_H

#include "cluster/apiserver/face.h"

/* "name", "name:port", "scheme:name:port". The scheme is http when none is given, the port "". */
struct relay_target {
    char *scheme, *name, *port;
};
void relay_parse(const char *text, struct relay_target *out);
void relay_target_free(struct relay_target *t);

/* Passes the request on to that address and port, and its answer back; an upgrade becomes a tunnel. */
int relay_to(const struct relay_target *t, const char *ip, int64_t port, struct ctx *ctx, struct http_req *req,
             struct http_res *res, const struct reqinfo *ri, struct err *err);
/* proxy_tunnel.c: over plain HTTP; answers may be of any length, and go on for as long as they like. */
int relay_plain(const char *ip, int64_t port, const struct ctx *ctx, struct http_req *req, struct http_res *res,
                const struct reqinfo *ri, struct err *err);
/* Headers that are about one connection only, and what tells who asks: they are not passed on. */
bool relay_keeps(const char *header);

#endif
