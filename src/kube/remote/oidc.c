/* oidc.c - see oidc.h. */
#include "kube/remote/oidc.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/thread.h"
#include "net/client.h"

#define LOG_ROOM "kube"
#include "base/log.h"

enum { ANSWER_MAX = 1 << 20, KUBECONFIG_MAX = 8 << 20 };
#define LIMIT_NS (30 * NS_PER_S)
#define SOON_NS  (10 * NS_PER_S)

void oidc_tokens_clear(struct oidc_tokens *t)
{
    free(t->id_token);
    free(t->refresh_token);
    *t = (struct oidc_tokens){0};
}

void oidc_tokens_first(const struct kube_oidc *o, struct oidc_tokens *out)
{
    *out = (struct oidc_tokens){.id_token = xstrdup(o->id_token),
                                .refresh_token = xstrdup(o->refresh_token),
                                .expires_ns = o->id_token ? jwt_expiry_ns(o->id_token) : 0};
}

int64_t jwt_expiry_ns(const char *token)
{
    const char *from = strchr(token, '.'), *to = from ? strchr(from + 1, '.') : NULL;
    unsigned char *bytes = NULL;
    size_t n;
    int64_t s = 0;
    if (!to || base64url_decode(from + 1, (size_t)(to - from - 1), &bytes, &n) < 0)
        return 0;
    JSON_REF(claims) = json_parse((char *)bytes, n, NULL, NULL);
    double f = 0; /* it may have a fraction */
    if (jv_f64(jv_get(json_root(claims), "exp"), &f) && f > 0 && f < (double)INT64_MAX / NS_PER_S)
        s = (int64_t)f;
    free(bytes);
    return s * NS_PER_S;
}

/* ---- asking the issuer ---- */

/* Its answer as JSON; what is no JSON, or no success, is an error. */
static struct json *ask(struct http_client *http, const struct ctx *ctx, const struct http_call *call, struct err *err)
{
    CLEANUP(http_answer_free) struct http_answer a = {0};
    if (http_fetch(http, ctx, call, &a, err) < 0) {
        if (err && err->code != ERR_TIMEOUT && err->code != ERR_CANCELLED)
            err->code = ERR_UNAVAILABLE;
        err_wrap(err, "%s", call->url);
        return NULL;
    }
    JSON_REF(d) = json_parse(buf_str(&a.body), a.body.len, NULL, NULL);
    if (a.status == 200 && d)
        return TAKE(d);
    const char *what = jv_str_or(jv_get(json_root(d), "error"), ""),
               *why = jv_str_or(jv_get(json_root(d), "error_description"), "");
    enum err_code code = a.status == 400 || a.status == 401 ? ERR_UNAUTHENTICATED : ERR_UNAVAILABLE;
    err_set(err, code, "%s answered %d%s%.100s%s%.300s", call->url, a.status, *what ? ": " : "", what, *why ? ": " : "", why);
    return NULL;
}

/* The issuer's own words about itself. Its name has to be the one that it was asked by. */
static struct json *discover(struct http_client *http, const struct ctx *ctx, const struct kube_oidc *o, struct err *err)
{
    size_t n = strlen(o->issuer);
    while (n && o->issuer[n - 1] == '/')
        n--;
    AUTOFREE char *url = xasprintf("%.*s/.well-known/openid-configuration", (int)n, o->issuer);
    JSON_REF(d) = ask(http, ctx, &(struct http_call){.method = HTTP_GET, .url = url}, err);
    if (!d)
        return NULL;
    const char *endpoint = jv_str_or(jv_get(json_root(d), "token_endpoint"), "");
    if (str_starts(endpoint, "https://") || (str_starts(endpoint, "http://") && str_starts(o->issuer, "http://")))
        return TAKE(d);
    err_set(err, ERR_UNAVAILABLE, "%s names no usable token_endpoint", url);
    return NULL;
}

static bool takes_secret_in_body(jval *about)
{
    struct jiter it = jv_iter(jv_get(about, "token_endpoint_auth_methods_supported"));
    jval *v;
    while (jv_next(&it, NULL, &v))
        if (str_eq(jv_str(v), "client_secret_post"))
            return true;
    return false;
}

static void add_field(struct buf *form, const char *name, const char *value)
{
    AUTOFREE char *encoded = url_encode(value);
    buf_addf(form, "%s%s=%s", form->len ? "&" : "", name, encoded);
}

static struct json *trade(struct http_client *http, const struct ctx *ctx, const struct kube_oidc *o, jval *about,
                          const char *refresh_token, struct err *err)
{
    BUF(form);
    AUTOFREE char *authorization = NULL;
    add_field(&form, "grant_type", "refresh_token");
    add_field(&form, "refresh_token", refresh_token);
    if (o->client_secret && !takes_secret_in_body(about)) {
        AUTOFREE char *id = url_encode(o->client_id), *secret = url_encode(o->client_secret),
                      *pair = xasprintf("%s:%s", id, secret), *encoded = base64_encode(pair, strlen(pair));
        authorization = xasprintf("Basic %s", encoded);
    } else {
        add_field(&form, "client_id", o->client_id);
        if (o->client_secret)
            add_field(&form, "client_secret", o->client_secret);
    }
    const struct http_header headers[] = {
        {"Content-Type", "application/x-www-form-urlencoded"}, {"Accept", "application/json"}, {"Authorization", authorization}};
    const struct http_call call = {.method = HTTP_POST,
                                   .url = jv_str(jv_get(about, "token_endpoint")),
                                   .headers = headers,
                                   .n_headers = authorization ? 3 : 2,
                                   .body = form.data,
                                   .body_len = form.len};
    return ask(http, ctx, &call, err);
}

/* ---- keeping ---- */

/* Every place where the old text stands gets the new one. False when it stands nowhere. */
static bool swap(struct buf *text, const char *old, const char *now)
{
    BUF(out);
    const char *from = buf_str(text), *at;
    bool found = false;
    while ((at = strstr(from, old))) {
        buf_add(&out, from, (size_t)(at - from));
        buf_adds(&out, now);
        from = at + strlen(old);
        found = true;
    }
    buf_adds(&out, from);
    buf_reset(text);
    buf_add(text, out.data, out.len);
    return found;
}

/* Best effort: who cannot write goes on with what is in memory, and says what that means. */
static void write_back(const struct kube_oidc *o, const struct oidc_tokens *old, const struct oidc_tokens *now)
{
    struct stat st;
    BUF(text);
    ERR(e);
    if (!o->file || str_eq(old->refresh_token, now->refresh_token))
        return;
    if (fs_read(o->file, KUBECONFIG_MAX, &text, &e) == 0 && stat(o->file, &st) == 0) {
        if (!swap(&text, old->refresh_token, now->refresh_token))
            return; /* somebody else has written the file meanwhile */
        if (old->id_token)
            swap(&text, old->id_token, now->id_token);
        if (fs_write_atomic(o->file, text.data, text.len, st.st_mode & 0777, &e) == 0)
            return;
    }
    log_warn("%s: the issuer has replaced the refresh-token, and the new one cannot be written back (%s): it is lost with this "
             "process",
             o->file, err_text(&e));
}

static int take(struct oidc_tokens *t, const struct kube_oidc *o, jval *answer, struct err *err)
{
    const char *id = jv_str(jv_get(answer, "id_token")), *refresh = jv_str(jv_get(answer, "refresh_token"));
    if (str_empty(id) || strpbrk(id, "\r\n"))
        return err_set(err, ERR_UNAVAILABLE, "%s gave no id_token: was scope openid asked for when the login was made?",
                       o->issuer);
    struct oidc_tokens now = {.id_token = xstrdup(id),
                              .refresh_token = xstrdup(str_empty(refresh) ? t->refresh_token : refresh),
                              .expires_ns = jwt_expiry_ns(id)};
    write_back(o, t, &now);
    oidc_tokens_clear(t);
    *t = now;
    return 0;
}

static int refresh(const struct kube_oidc *o, const struct ctx *ctx, struct oidc_tokens *t, struct err *err)
{
    if (!t->refresh_token)
        return err_set(err, ERR_UNAUTHENTICATED, "the id-token has expired and there is no refresh-token: log in again");
    const struct http_client_config cfg = {.ca_pem = o->ca_pem, .max_response = ANSWER_MAX};
    struct http_client *http = http_client_new(&cfg, err);
    if (!http)
        return -1;
    struct ctx limited = ctx_with_timeout(ctx, LIMIT_NS);
    JSON_REF(about) = discover(http, &limited, o, err);
    JSON_REF(answer) = about ? trade(http, &limited, o, json_root(about), t->refresh_token, err) : NULL;
    http_client_free(http);
    return answer ? take(t, o, json_root(answer), err) : -1;
}

/* What somebody else has got meanwhile, out of the file. True when it will do. */
static bool adopt(const struct kube_oidc *o, int64_t now_ns, struct oidc_tokens *t)
{
    struct oidc_tokens there = {0};
    kube_oidc_reread(o, &there.id_token, &there.refresh_token);
    there.expires_ns = there.id_token ? jwt_expiry_ns(there.id_token) : 0;
    bool other = there.refresh_token && !str_eq(there.refresh_token, t->refresh_token);
    bool will_do = there.id_token && !str_eq(there.id_token, t->id_token) && there.expires_ns > now_ns + SOON_NS;
    if (!other && !will_do) {
        oidc_tokens_clear(&there);
        return false;
    }
    if (!there.refresh_token)
        there.refresh_token = TAKE(t->refresh_token);
    oidc_tokens_clear(t);
    *t = there;
    return will_do;
}

/* Parts of one process read the same kubeconfig: they come one after the other. */
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

int oidc_refresh(const struct kube_oidc *o, const struct ctx *ctx, int64_t now_ns, struct oidc_tokens *t, struct err *err)
{
    LOCK_GUARD(&one_at_a_time);
    if (adopt(o, now_ns, t))
        return 0;
    return refresh(o, ctx, t, err) == 0 ? 0 : err_wrap(err, "a new id-token");
}
