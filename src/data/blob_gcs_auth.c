#include "data/blob_gcs.h"

#include <stdlib.h>

#include "base/fs.h"
#include "base/thread.h"
#include "data/blob_crypto.h"
#include "data/blob_sigv4.h"

#define SCOPE    "https://www.googleapis.com/auth/devstorage.read_write"
#define GRANT    "urn:ietf:params:oauth:grant-type:jwt-bearer"
#define EARLY_NS (300 * NS_PER_S)
enum { KEY_MAX = 1 << 20 };

struct gcs_auth {
    char *email, *pem, *token_uri;                   /* a service account */
    char *client_id, *client_secret, *refresh_token; /* a user */
    pthread_mutex_t lock;                            /* guards token, expires_ns */
    char *token;
    int64_t expires_ns;
};

static int parse_key(struct gcs_auth *a, const char *text, size_t n, struct err *err)
{
    JSON_REF(d) = json_parse(text, n, NULL, err);
    if (!d)
        return err_wrap(err, "the key for Google Cloud Storage");
    jval *v = json_root(d);
    const char *type = jv_str_or(jv_get(v, "type"), "");
    if (str_eq(type, "service_account")) {
        a->email = xstrdup(jv_str(jv_get(v, "client_email")));
        a->pem = xstrdup(jv_str(jv_get(v, "private_key")));
        a->token_uri = xstrdup(jv_str_or(jv_get(v, "token_uri"), "https://oauth2.googleapis.com/token"));
        return a->email && a->pem ? 0 : err_set(err, ERR_INVALID, "the service account's key lacks client_email or private_key");
    }
    if (str_eq(type, "authorized_user")) {
        a->client_id = xstrdup(jv_str(jv_get(v, "client_id")));
        a->client_secret = xstrdup(jv_str(jv_get(v, "client_secret")));
        a->refresh_token = xstrdup(jv_str(jv_get(v, "refresh_token")));
        a->token_uri = xstrdup(jv_str_or(jv_get(v, "token_uri"), "https://oauth2.googleapis.com/token"));
        return a->client_id && a->client_secret && a->refresh_token
                   ? 0
                   : err_set(err, ERR_INVALID, "the user's key lacks client_id, client_secret or refresh_token");
    }
    return err_set(err, ERR_INVALID,
                   "the key for Google Cloud Storage is of type \"%.40s\"; service_account and authorized_user are known", type);
}

struct gcs_auth *gcs_auth_new(const struct blob_settings *set, struct err *err)
{
    struct gcs_auth *a = xcalloc(1, sizeof *a);
    ASSERT(pthread_mutex_init(&a->lock, NULL) == 0);
    const char *file = set->from_env ? getenv("GOOGLE_APPLICATION_CREDENTIALS") : NULL;
    int rc = 0;
    if (!str_empty(set->token)) {
        rc = parse_key(a, set->token, strlen(set->token), err);
    } else if (!str_empty(file)) {
        BUF(text);
        rc = fs_read(file, KEY_MAX, &text, err) < 0 ? -1 : parse_key(a, buf_str(&text), text.len, err);
    } else if (!set->from_env) {
        rc = err_set(err, ERR_UNAUTHENTICATED, "there is no key for Google Cloud Storage: give a service account's JSON key");
    }
    if (rc == 0)
        return a;
    gcs_auth_free(a);
    return NULL;
}

void gcs_auth_free(struct gcs_auth *a)
{
    if (!a)
        return;
    free(a->email);
    free(a->pem);
    free(a->token_uri);
    free(a->client_id);
    free(a->client_secret);
    free(a->refresh_token);
    free(a->token);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

const char *gcs_auth_key(const struct gcs_auth *a) { return a->pem; }
const char *gcs_auth_email(const struct gcs_auth *a) { return a->email; }

/* ---- asking for a token --------------------------------------------------------------------------------------- */

struct ask {
    enum http_method method;
    char *url, *form;
};

static int prepare(void *self, const struct ctx *ctx, struct blob_req *r, struct err *err)
{
    const struct ask *k = self;
    r->method = k->method;
    r->url = xstrdup(k->url);
    r->body = k->form;
    r->body_len = k->form ? strlen(k->form) : 0;
    if (k->form)
        blob_req_field(r, "content-type", "application/x-www-form-urlencoded");
    else
        blob_req_field(r, "metadata-flavor", "Google");
    return 0;
}

/* A statement signed with the account's key, good for an hour. */
static char *assertion(const struct gcs_auth *a, int64_t now_s, struct err *err)
{
    JM_NEW(m);
    jmval *o = jm_obj(m);
    jm_set_root(m, o);
    jm_put(m, o, "iss", jm_str(m, a->email));
    jm_put(m, o, "scope", jm_str(m, SCOPE));
    jm_put(m, o, "aud", jm_str(m, a->token_uri));
    jm_put(m, o, "iat", jm_i64(m, now_s));
    jm_put(m, o, "exp", jm_i64(m, now_s + 3600));
    BUF(claims);
    jmv_write(o, JW_COMPACT, &claims);
    static const char head[] = "{\"alg\":\"RS256\",\"typ\":\"JWT\"}";
    AUTOFREE char *h = base64url_encode(head, sizeof head - 1);
    AUTOFREE char *c = base64url_encode(claims.data, claims.len);
    AUTOFREE char *text = xasprintf("%s.%s", h, c);
    unsigned char *sig;
    size_t n;
    if (blob_rsa_sha256(a->pem, text, strlen(text), &sig, &n, err) < 0)
        return NULL;
    AUTOFREE char *s = base64url_encode(sig, n);
    free(sig);
    return xasprintf("%s.%s", text, s);
}

static int make_ask(const struct gcs_auth *a, const struct ctx *ctx, struct ask *k, struct err *err)
{
    *k = (struct ask){.method = HTTP_POST, .url = xstrdup(a->token_uri)};
    if (a->pem) {
        AUTOFREE char *jwt = assertion(a, ctx_now_ns(ctx) / NS_PER_S, err);
        if (!jwt)
            return -1;
        const struct sig_pair form[] = {{"grant_type", GRANT}, {"assertion", jwt}};
        k->form = sig_query(form, ARRAY_LEN(form));
    } else if (a->refresh_token) {
        const struct sig_pair form[] = {{"grant_type", "refresh_token"},
                                        {"client_id", a->client_id},
                                        {"client_secret", a->client_secret},
                                        {"refresh_token", a->refresh_token}};
        k->form = sig_query(form, ARRAY_LEN(form));
    } else {
        const char *host = getenv("GCE_METADATA_HOST");
        k->method = HTTP_GET;
        k->url = xasprintf("http://%s/computeMetadata/v1/instance/service-accounts/default/token",
                           str_empty(host) ? "metadata.google.internal" : host);
    }
    return 0;
}

static int renew(struct gcs_auth *a, const struct blob_http *h, const struct ctx *ctx, struct err *err)
{
    struct ask k;
    struct http_answer answer = {0};
    int rc = make_ask(a, ctx, &k, err);
    if (rc == 0)
        rc = blob_http_call(h, ctx, prepare, &k, &answer, NULL, err);
    free(k.url);
    free(k.form);
    if (rc < 0)
        return err_wrap(err, "asking Google for an access token");
    JSON_REF(d) = json_parse(buf_str(&answer.body), answer.body.len, NULL, NULL);
    jval *v = json_root(d);
    const char *token = jv_str(jv_get(v, "access_token"));
    if (answer.status != 200 || str_empty(token)) {
        rc = blob_http_status(err, answer.status, jv_str(jv_get(v, "error")), jv_str(jv_get(v, "error_description")));
        err_wrap(err, "asking Google for an access token");
    } else {
        free(a->token);
        a->token = xstrdup(token);
        a->expires_ns = ctx_now_ns(ctx) + jv_i64_or(jv_get(v, "expires_in"), 3600) * NS_PER_S;
    }
    http_answer_free(&answer);
    return rc;
}

char *gcs_auth_token(struct gcs_auth *a, const struct blob_http *h, const struct ctx *ctx, struct err *err)
{
    LOCK_GUARD(&a->lock);
    if ((!a->token || ctx_now_ns(ctx) >= a->expires_ns - EARLY_NS) && renew(a, h, ctx, err) < 0)
        return NULL;
    return xstrdup(a->token);
}
