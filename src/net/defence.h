/* defence.h - what is refused before routing, to keep web pages from reaching us through their reader's browser. Private to net/.
 *
 * A page of a foreign site cannot choose the Host field that the browser sends: with DNS rebinding it is the site's own name,
 * which we do not know (421). A request that it makes to our real name carries Origin or Sec-Fetch-Site, which it cannot forge
 * (403). Pure functions. */
#ifndef TM_NET_DEFENCE_H
#define TM_NET_DEFENCE_H

#include "net/http.h"

struct host_rules {
    bool any;            /* unix sockets, or "*" among the extra hosts */
    const char *address; /* the listener's own, without port or brackets */
    bool loopback;       /* that address is loopback */
    char **extra;        /* NULL-terminated; may be NULL */
};
/* local_ip: the address that the connection came in on, or NULL. */
bool host_allowed(const struct host_rules *rules, const char *host, const char *local_ip);
/* NULL when the request may go on, else why not. */
const char *browser_refuses(const struct http_req *req);

#endif
