/* oidc.h - the auth-provider "oidc" of kubeconfigs: an id-token, and a refresh-token that gets the next one. Private to remote/.
 *
 * The issuer says by discovery where its token endpoint is. A refresh-token that the issuer replaces is written back into the
 * kubeconfig that it came from, as kubectl does, since the old one is worth nothing from then on: the tokens' text alone changes,
 * all else in the file stays. Whoever wants new ones looks there first: another part or process may have got them, and a
 * refresh-token that is used twice may cost the whole login. Errors hold what the issuer says is wrong, never a token.
 * Source: client-go plugin/pkg/client/auth/oidc; OpenID Connect Core 12, Discovery 4; RFC 6749 6. */
#ifndef TM_KUBE_REMOTE_OIDC_H
#define TM_KUBE_REMOTE_OIDC_H

#include "base/ctx.h"
#include "kube/remote/kubeconfig.h"

struct oidc_tokens {
    char *id_token, *refresh_token; /* NULL: none */
    int64_t expires_ns;             /* of the id-token, Unix; 0: it does not say */
};
void oidc_tokens_clear(struct oidc_tokens *t);
/* What the kubeconfig holds. */
void oidc_tokens_first(const struct kube_oidc *o, struct oidc_tokens *out);
/* Gets tokens that are good at now_ns (Unix) for those of *t and replaces them. ERR_UNAUTHENTICATED: the issuer refuses, or there
 * is none; ERR_UNAVAILABLE: the issuer cannot be reached or makes no sense. At most half a minute for each that waits; one at a
 * time in a process. */
int oidc_refresh(const struct kube_oidc *o, const struct ctx *ctx, int64_t now_ns, struct oidc_tokens *t, struct err *err);
/* When a JWT says that it ends (Unix); 0 when it does not say. Its signature is the API server's business. */
int64_t jwt_expiry_ns(const char *token);

#endif
