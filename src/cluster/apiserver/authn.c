/* authn.c - who holds a bearer token: the administrator, or a service account whose account (and pod, secret or node) still
 * exists. */
#include <openssl/crypto.h>
#include <stdlib.h>

#include "cluster/apiserver/internal.h"

static bool same_secret(const char *a, const char *b)
{
    size_t n = strlen(a);
    return n == strlen(b) && CRYPTO_memcmp(a, b, n) == 0;
}

static bool alive(struct store_coll *c, const char *ns, jval *ref)
{
    const char *name = jv_str(jv_get(ref, "name")), *uid = jv_str(jv_get(ref, "uid"));
    if (!name || !uid)
        return false;
    AUTOFREE char *key = obj_key_of(ns, name);
    OBJ_REF(o) = store_get(c, key);
    return o && strcmp(obj_uid(obj_root(o)), uid) == 0;
}

/* What the token is bound to must still be there, with the same uid. */
static bool bindings_alive(struct apiserver *a, const char *ns, jval *k8s)
{
    struct {
        const char *name;
        struct store_coll *coll;
        const char *ns;
    } bound[] = {{"serviceaccount", a->accounts, ns}, {"pod", a->pods, ns}, {"secret", a->secrets, ns}};
    for (size_t i = 0; i < ARRAY_LEN(bound); i++) {
        jval *ref = jv_get(k8s, bound[i].name);
        if ((ref || i == 0) && !alive(bound[i].coll, bound[i].ns, ref))
            return false;
    }
    jval *node = jv_get(k8s, "node");
    return !node || jv_get(k8s, "pod") || alive(a->nodes, NULL, node);
}

static struct identity *account_identity(const char *ns, jval *claims, jval *k8s)
{
    const char *name = jv_str(jv_path(k8s, "serviceaccount", "name", NULL));
    AUTOFREE char *user = xasprintf("system:serviceaccount:%s:%s", ns, name);
    AUTOFREE char *group = xasprintf("system:serviceaccounts:%s", ns);
    const char *groups[] = {"system:serviceaccounts", group, "system:authenticated", NULL};
    const char *extra[9] = {NULL};
    size_t n = 0;
    const char *jti = jv_str(jv_get(claims, "jti"));
    AUTOFREE char *id = jti ? xasprintf("JTI=%s", jti) : NULL;
    struct {
        const char *key, *value;
    } all[] = {{"authentication.kubernetes.io/credential-id", id},
               {"authentication.kubernetes.io/node-name", jv_str(jv_path(k8s, "node", "name", NULL))},
               {"authentication.kubernetes.io/pod-name", jv_str(jv_path(k8s, "pod", "name", NULL))},
               {"authentication.kubernetes.io/pod-uid", jv_str(jv_path(k8s, "pod", "uid", NULL))}};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i].value) {
            extra[n++] = all[i].key;
            extra[n++] = all[i].value;
        }
    const char *uid = jv_str(jv_path(k8s, "serviceaccount", "uid", NULL));
    return identity_copy(&(struct identity){user, uid, groups, n ? extra : NULL});
}

/* claims (may be NULL) gets those of an account's token. */
struct identity *authn_claims(struct apiserver *a, const char *token, const char *const *audiences, struct json **claims_out,
                              struct err *err)
{
    if (same_secret(token, a->keys.admin_token)) {
        static const char *const groups[] = {"system:masters", "system:authenticated", NULL};
        return identity_copy(&(struct identity){"admin", "admin", groups, NULL});
    }
    JSON_REF(claims) = token_verify(a->signer, token, audiences, a->clock->wall_ns(a->clock), err);
    if (!claims)
        return NULL;
    jval *k8s = jv_get(json_root(claims), "kubernetes.io");
    const char *ns = jv_str(jv_get(k8s, "namespace"));
    if (!ns || !bindings_alive(a, ns, k8s)) {
        err_set(err, ERR_UNAUTHENTICATED, "[invalid bearer token, service account token has been invalidated]");
        return NULL;
    }
    struct identity *who = account_identity(ns, json_root(claims), k8s);
    if (claims_out)
        *claims_out = TAKE(claims);
    return who;
}

struct identity *authn_token(struct apiserver *a, const char *token, struct err *err)
{
    return authn_claims(a, token, NULL, NULL, err);
}
