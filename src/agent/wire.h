/* wire.h - the agent's connections: TCP, and TLS by Mbed TLS, which is small enough to be linked into a static program of a few
 * megabytes (OpenSSL alone is five). Blocking for the caller until its deadline. */
#ifndef TM_AGENT_WIRE_H
#define TM_AGENT_WIRE_H

#include <sys/types.h>

#include "base/ctx.h"

/* Certificates to trust; shared by connections. */
struct wire_trust;
/* ca_pem: only these. NULL: SSL_CERT_FILE, else the places where distributions keep theirs, read when first needed. */
struct wire_trust *wire_trust_new(const char *ca_pem, struct err *err);
void wire_trust_free(struct wire_trust *t);

struct wire;
struct wire *wire_open(const char *host, int port, bool tls, struct wire_trust *trust, const struct ctx *ctx, struct err *err);
void wire_close(struct wire *w);
ssize_t wire_read(struct wire *w, void *p, size_t n, const struct ctx *ctx, struct err *err); /* 0: the peer's end */
int wire_write(struct wire *w, const void *p, size_t n, const struct ctx *ctx, struct err *err);
/* Has the peer closed it, or said something unasked? */
bool wire_stale(const struct wire *w);

#endif
