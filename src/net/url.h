/* url.h - the three forms of URL that the client takes: http://, https://, and "unix:/path/of/socket:/request/path". Private to
 * net/. */
#ifndef TM_NET_URL_H
#define TM_NET_URL_H

#include "base/err.h"

struct url {
    bool tls;
    char *socket; /* path of a unix socket, else NULL */
    char *host;   /* without brackets */
    int port;
    char *authority; /* as the Host field has it */
    char *target;    /* "/path?query", never empty */
};
int url_parse(const char *text, struct url *out, struct err *err);
void url_free(struct url *u);
#define URL(name) CLEANUP(url_free) struct url name = {0}

#endif
