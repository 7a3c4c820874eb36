/* proxy.h - tunnels through a proxy: HTTP CONNECT and SOCKS5. Private to net/. Source: RFC 9110 9.3.6, RFC 1928, RFC 1929. */
#ifndef TM_NET_PROXY_H
#define TM_NET_PROXY_H

#include "net/dial.h"

/* "http://[user:password@]host[:port]", "socks5://..." and "socks5h://..."; any other scheme is ERR_BAD_REQUEST. */
struct proxy {
    bool socks;
    struct url at;         /* host and port */
    char *user, *password; /* NULL: none */
};
int proxy_parse(const char *text, struct proxy *out, struct err *err);
void proxy_free(struct proxy *p);
/* On a connection to the proxy: asks it for one to the target. What follows on w is the target's. */
int proxy_tunnel(const struct proxy *p, struct wire *w, const struct url *target, const struct ctx *ctx, struct err *err);

#endif
