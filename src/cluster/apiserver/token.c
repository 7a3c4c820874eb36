/* token.c - JSON Web Tokens of service accounts: RS256 (RFC 7515, 7518 3.3), which every client
 * and verifier of Kubernetes knows, signed by a key of the data directory; and its public half as verifiers ask for it. */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/thread.h"
#include "cluster/apiserver/internal.h"

#define LOG_ROOM "apiserver"
#include "base/log.h"

#define MAX_TOKEN 16384
#define MAX_SIG   1024 /* bytes: keys of up to 8192 bits */

struct token_signer {
    /* While a first key is being made, the rest is the maker's. */
    atomic_bool making;
    pthread_mutex_t lock; /* whoever waits for the maker */
    pthread_t maker;
    char *data_dir;
    EVP_PKEY *key; /* NULL: none could be made */
    char *kid;
    char *header; /* base64url */
    char *jwks;   /* the public key as a JSON document */
};

static char *key_id(EVP_PKEY *key)
{
    unsigned char *der = NULL, md[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    int len = i2d_PUBKEY(key, &der);
    char *id = NULL;
    if (len > 0 && EVP_Digest(der, (size_t)len, md, &n, EVP_sha256(), NULL) == 1)
        id = base64url_encode(md, n);
    OPENSSL_free(der);
    return id;
}

/* One of the two numbers of a public key, as RFC 7518 6.3.1 writes it. */
static char *key_number(EVP_PKEY *key, const char *which)
{
    BIGNUM *n = NULL;
    if (EVP_PKEY_get_bn_param(key, which, &n) != 1)
        return NULL;
    unsigned char raw[MAX_SIG];
    char *text = BN_num_bytes(n) <= (int)sizeof(raw) ? base64url_encode(raw, (size_t)BN_bn2bin(n, raw)) : NULL;
    BN_free(n);
    return text;
}

static char *key_set(EVP_PKEY *key, const char *kid)
{
    AUTOFREE char *n = key_number(key, OSSL_PKEY_PARAM_RSA_N), *e = key_number(key, OSSL_PKEY_PARAM_RSA_E);
    if (!n || !e)
        return NULL;
    return xasprintf("{\"keys\":[{\"use\":\"sig\",\"kty\":\"RSA\",\"kid\":\"%s\",\"alg\":\"RS256\",\"n\":\"%s\",\"e\":\"%s\"}]}",
                     kid, n, e);
}

static struct token_signer *empty(void)
{
    struct token_signer *t = xcalloc(1, sizeof(*t));
    ASSERT(pthread_mutex_init(&t->lock, NULL) == 0);
    return t;
}

static int take_key(struct token_signer *t, const char *key_pem, struct err *err)
{
    BIO *bio = BIO_new_mem_buf(key_pem, -1);
    t->key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    bool good = t->key && EVP_PKEY_get_base_id(t->key) == EVP_PKEY_RSA && EVP_PKEY_get_size(t->key) <= MAX_SIG;
    if (!good || !(t->kid = key_id(t->key)) || !(t->jwks = key_set(t->key, t->kid))) {
        EVP_PKEY_free(TAKE(t->key));
        return err_set(err, ERR_INTERNAL, "the key that signs tokens (pki/sa.key) is no RSA key that can be read");
    }
    AUTOFREE char *header = xasprintf("{\"alg\":\"RS256\",\"kid\":\"%s\"}", t->kid);
    t->header = base64url_encode(header, strlen(header));
    return 0;
}

struct token_signer *token_signer_new(const char *key_pem, struct err *err)
{
    struct token_signer *t = empty();
    if (take_key(t, key_pem, err) == 0)
        return t;
    token_signer_free(t);
    return NULL;
}

static void *make(void *arg)
{
    struct token_signer *t = arg;
    ERR(e);
    AUTOFREE char *pem = keys_make_signing_key(t->data_dir, &e);
    if (!pem || take_key(t, pem, &e) < 0)
        log_error("tokens of service accounts cannot be signed: %s", err_text(&e));
    return NULL;
}

struct token_signer *token_signer_make(const char *data_dir)
{
    struct token_signer *t = empty();
    t->data_dir = xstrdup(data_dir);
    atomic_store(&t->making, true);
    t->maker = thread_start("token-key", make, t);
    return t;
}

/* Whether there is a key, once it has been made. */
static bool ready(struct token_signer *t)
{
    if (atomic_load(&t->making)) {
        LOCK_GUARD(&t->lock);
        if (atomic_load(&t->making)) {
            pthread_join(t->maker, NULL);
            atomic_store(&t->making, false);
        }
    }
    return t->key != NULL;
}

const char *token_jwks(struct token_signer *t) { return ready(t) ? t->jwks : NULL; }

void token_signer_free(struct token_signer *t)
{
    if (!t)
        return;
    ready(t);
    pthread_mutex_destroy(&t->lock);
    free(t->data_dir);
    EVP_PKEY_free(t->key);
    free(t->kid);
    free(t->header);
    free(t->jwks);
    free(t);
}

/* The length of the signature in out, 0 when it failed. */
static size_t sign_raw(EVP_PKEY *key, const char *text, size_t len, unsigned char out[MAX_SIG])
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    size_t n = MAX_SIG;
    bool good = EVP_DigestSignInit(c, NULL, EVP_sha256(), NULL, key) == 1 &&
                EVP_DigestSign(c, out, &n, (const unsigned char *)text, len) == 1;
    EVP_MD_CTX_free(c);
    return good ? n : 0;
}

static bool verify_raw(EVP_PKEY *key, const char *text, size_t len, const unsigned char *sig, size_t n)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool good = EVP_DigestVerifyInit(c, NULL, EVP_sha256(), NULL, key) == 1 &&
                EVP_DigestVerify(c, sig, n, (const unsigned char *)text, len) == 1;
    EVP_MD_CTX_free(c);
    return good;
}

char *token_sign(struct token_signer *t, jmval *claims, struct err *err)
{
    if (!ready(t)) {
        err_set(err, ERR_INTERNAL, "there is no key that signs tokens");
        return NULL;
    }
    BUF(body);
    jmv_write(claims, JW_COMPACT, &body);
    AUTOFREE char *payload = base64url_encode(body.data, body.len);
    AUTOFREE char *text = xasprintf("%s.%s", t->header, payload);
    unsigned char raw[MAX_SIG];
    size_t n = sign_raw(t->key, text, strlen(text), raw);
    if (!n) {
        err_set(err, ERR_INTERNAL, "a token could not be signed");
        return NULL;
    }
    AUTOFREE char *sig = base64url_encode(raw, n);
    return xasprintf("%s.%s", text, sig);
}

static struct json *part(const char *s, size_t n)
{
    unsigned char *raw = NULL;
    size_t len;
    if (base64url_decode(s, n, &raw, &len) < 0)
        return NULL;
    struct json *d = json_parse((const char *)raw, len, NULL, NULL);
    free(raw);
    return d;
}

static bool has_audience(jval *aud, const char *wanted)
{
    if (jv_str(aud))
        return strcmp(jv_str(aud), wanted) == 0;
    struct jiter it = jv_iter(aud);
    jval *a;
    while (jv_is(aud, J_ARRAY) && jv_next(&it, NULL, &a))
        if (str_eq(jv_str(a), wanted))
            return true;
    return false;
}

bool token_for_audience(jval *claims, const char *audience) { return has_audience(jv_get(claims, "aud"), audience); }

static int check_audience(jval *aud, const char *const *wanted, struct err *err)
{
    static const char *const api[] = {TOKEN_ISSUER, NULL};
    if (!wanted || !*wanted)
        wanted = api;
    BUF(list);
    for (const char *const *w = wanted; *w; w++) {
        if (has_audience(aud, *w))
            return 0;
        buf_addf(&list, "%s\"%s\"", list.len ? " " : "", *w);
    }
    BUF(have);
    struct jiter it = jv_iter(aud);
    jval *a;
    while (jv_next(&it, NULL, &a))
        buf_addf(&have, "%s\"%s\"", have.len ? " " : "", jv_str_or(a, ""));
    return err_set(err, ERR_UNAUTHENTICATED,
                   "[invalid bearer token, token audiences [%s] is invalid for the target audiences [%s]]", buf_str(&have),
                   buf_str(&list));
}

struct json *token_verify(struct token_signer *t, const char *token, const char *const *audiences, int64_t now_ns,
                          struct err *err)
{
    const char *dot1 = strchr(token, '.'), *dot2 = dot1 ? strchr(dot1 + 1, '.') : NULL;
    unsigned char *raw = NULL;
    size_t n = 0;
    if (!dot2 || strchr(dot2 + 1, '.') || strlen(token) > MAX_TOKEN ||
        base64url_decode(dot2 + 1, strlen(dot2 + 1), &raw, &n) < 0) {
        free(raw);
        err_set(err, ERR_UNAUTHENTICATED, "invalid bearer token");
        return NULL;
    }
    JSON_REF(header) = part(token, (size_t)(dot1 - token));
    bool good = str_eq(jv_str(jv_get(json_root(header), "alg")), "RS256") && ready(t) &&
                verify_raw(t->key, token, (size_t)(dot2 - token), raw, n);
    free(raw);
    JSON_REF(claims) = good ? part(dot1 + 1, (size_t)(dot2 - dot1 - 1)) : NULL;
    jval *c = json_root(claims);
    if (!claims || !str_eq(jv_str(jv_get(c, "iss")), TOKEN_ISSUER)) {
        err_set(err, ERR_UNAUTHENTICATED, "invalid bearer token");
        return NULL;
    }
    int64_t now = now_ns / NS_PER_S;
    if (now >= jv_i64_or(jv_get(c, "exp"), 0) || now + 60 < jv_i64_or(jv_get(c, "nbf"), 0)) {
        err_set(err, ERR_UNAUTHENTICATED, "[invalid bearer token, service account token has expired]");
        return NULL;
    }
    if (check_audience(jv_get(c, "aud"), audiences, err) < 0)
        return NULL;
    return TAKE(claims);
}
