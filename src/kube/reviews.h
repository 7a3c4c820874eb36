/* reviews.h - whose token is it, and may they? What a server that is not the API server asks of it about its own callers, with a
 * memory, so that not every request costs two more.
 *
 *     struct reviews *r = reviews_new(&(struct reviews_config){.kube = kube, .clock = &clock_system, .remember = true});
 *     JSON_REF(user) = reviews_token(r, &ctx, token, source, err);          // TokenReview
 *     who = reviews_identity(json_root(user), alloc, req);
 *     int may = reviews_access(r, &ctx, who, &what, err);                   // SubjectAccessReview
 *
 * What is remembered lasts as long as upstream's servers keep it: a token that is good two minutes, one that is not ten seconds,
 * a yes five minutes, a no thirty seconds. Answers that could not be had are not remembered. A token is kept as a hash with a
 * key of this process. Each of the four has its own bound, so that who sends garbage pushes out garbage; and a source of ever new
 * garbage is asked about a few times a second only (tokens that turn out to be good, and what is known, cost it nothing).
 * Thread-safe.
 * Source: kubelet's webhook authentication and authorization; apiserver token cache. */
#ifndef TM_KUBE_REVIEWS_H
#define TM_KUBE_REVIEWS_H

#include "kube/kube.h"

struct reviews_config {
    struct kube *kube; /* outlives it */
    const struct clock *clock;
    bool remember; /* else each question is asked: where asking is a function call */
};
struct reviews;
struct reviews *reviews_new(const struct reviews_config *cfg);
void reviews_free(struct reviews *r); /* NULL is fine */

/* The UserInfo of a token: a reference. ERR_UNAUTHENTICATED when it is none; ERR_TOO_MANY: this source has sent too many that
 * were none; other errors: the cluster could not be asked. source: whoever counts as one caller (http_peer_source). */
struct json *reviews_token(struct reviews *r, const struct ctx *ctx, const char *token, const char *source, struct err *err);
/* An identity of a UserInfo, in memory of alloc's (which may give it back all at once later). */
const struct identity *reviews_identity(jval *user, void *(*alloc)(void *arg, size_t n), void *arg);

/* What somebody wants to do; NULL is "not given". */
struct review {
    const char *ns, *verb, *group, *version, *resource, *subresource, *name;
};
/* 1: they may; 0: they may not; -1: the cluster could not be asked. */
int reviews_access(struct reviews *r, const struct ctx *ctx, const struct identity *who, const struct review *what,
                   struct err *err);

#endif
