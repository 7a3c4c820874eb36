/* auth.h - who we are towards registries: credentials out of Docker's configuration files and pull secrets, and the challenges
 * that registries answer with. Pure. Source: kube.md 17; RFC 7235; the registry token specification. */
#ifndef TM_NODE_IMAGE_AUTH_H
#define TM_NODE_IMAGE_AUTH_H

#include "base/err.h"
#include "cluster/node/images/ref.h"

struct credential {
    char *place;           /* "docker.io", "*.example.com:5000/team": host (globs a label) and path prefix */
    char *user, *password; /* "" when there is none */
    char *identity_token;  /* to be exchanged for access tokens; NULL: none */
};
struct keyring {
    struct credential *v;
    size_t n;
};
void keyring_free(struct keyring *k);
#define KEYRING(name) CLEANUP(keyring_free) struct keyring name = {0}
/* Adds what a file in the form of ~/.docker/config.json ({"auths": {...}}) or of the older ~/.dockercfg (legacy) holds. What
 * concerns credential helpers is passed over: they are programs. ERR_BAD_REQUEST for what is no such file. */
int keyring_add(struct keyring *k, const char *text, size_t len, bool legacy, struct err *err);
/* A copy of those that are for this image, the longest place first. */
void keyring_select(const struct keyring *k, const struct image_ref *ref, struct keyring *out);
/* The same credentials give the same text; the caller frees. Not reversible. */
char *keyring_id(const struct keyring *k);

/* One challenge of a WWW-Authenticate header. */
struct challenge {
    bool bearer;                           /* else Basic */
    char *realm, *service, *scope, *error; /* NULL when not given */
};
void challenge_free(struct challenge *c);
/* The best that we can answer of all challenges in the header: Bearer, else Basic. ERR_UNAUTHENTICATED when there is none. */
int challenge_parse(const char *header, struct challenge *out, struct err *err);

#endif
