#include "cluster/node/images/registry.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "base/thread.h"
#include "cluster/node/images/manifest.h"
#include "net/address.h"

#define LOG_ROOM "images"
#include "base/log.h"

enum { TRIES = 4, REDIRECTS_MAX = 5, TOKEN_MAX = 1 << 20, CHUNK = 64 << 10, WAIT_MAX_S = 60, ERROR_BODY_MAX = 4096 };
#define QUIET_NS   (60 * NS_PER_S) /* a server that says nothing for so long has gone */
#define FIRST_WAIT (300 * NS_PER_MS)

struct place { /* an endpoint and what we found out about it */
    struct endpoint e;
    struct http_client *client, *away; /* for itself, and for where it sends us; NULL: not made yet */
    struct keyring keys;
    pthread_mutex_t lock; /* the two below */
    char *scheme;
    char *authorization; /* "Bearer ...", "Basic ..."; NULL: none yet */
};
struct session {
    struct place *places;
    size_t n, at; /* at: the one that had the manifest; written before blobs are fetched */
    struct image_ref ref;
};

static void ref_copy(struct image_ref *to, const struct image_ref *from)
{
    *to = (struct image_ref){
        .domain = xstrdup(from->domain), .path = xstrdup(from->path), .tag = xstrdup(from->tag), .digest = xstrdup(from->digest)};
}

struct session *session_new(const struct registries *r, const struct image_ref *ref, const struct keyring *keys)
{
    struct session *s = xcalloc(1, sizeof *s);
    struct endpoint *v = registries_endpoints(r, ref, &s->n);
    ref_copy(&s->ref, ref);
    s->places = xcalloc(s->n, sizeof *s->places);
    for (size_t i = 0; i < s->n; i++) {
        struct place *p = &s->places[i];
        p->e = v[i];
        p->scheme = xstrdup(v[i].scheme);
        pthread_mutex_init(&p->lock, NULL);
        keyring_select(keys, &p->e.as, &p->keys);
    }
    free(v);
    return s;
}

void session_free(struct session *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++) {
        struct place *p = &s->places[i];
        http_client_free(p->client);
        http_client_free(p->away);
        keyring_free(&p->keys);
        pthread_mutex_destroy(&p->lock);
        free(p->scheme);
        free(p->authorization);
        free(p->e.scheme);
        free(p->e.host);
        free(p->e.ca_pem);
        image_ref_free(&p->e.as);
    }
    free(s->places);
    image_ref_free(&s->ref);
    free(s);
}

/* ---- one request ------------------------------------------------------------------------------------------------------------
 */

struct ask {
    enum http_method method;
    const char *path; /* below /v2/<repository>/ */
    const char *accept, *range;
};

static struct http_client *make_client(struct place *p, struct http_client **which, bool outside, struct err *err)
{
    const struct http_client_config cfg = {
        .ca_pem = p->e.ca_pem, .insecure = p->e.insecure, .max_response = TOKEN_MAX, .outside = outside};
    LOCK_GUARD(&p->lock);
    if (!*which)
        *which = http_client_new(&cfg, err);
    return *which;
}

static struct http_client *client_of(struct place *p, struct err *err) { return make_client(p, &p->client, false, err); }

/* A registry elsewhere has nothing for us on this machine or its link, where only we are let in: neither its token server nor its
 * layers. One that is there itself, or that who runs this machine has named, may have. */
static struct http_client *client_away(struct place *p, struct err *err)
{
    const char *colon = strrchr(p->e.host, ':');
    AUTOFREE char *host = xstrndup(p->e.host, colon && !strchr(colon, ']') ? (size_t)(colon - p->e.host) : strlen(p->e.host));
    return make_client(p, &p->away, !(p->e.insecure || p->e.ca_pem || host_is_near(host)), err);
}

static void drain(struct http_body *b, const struct ctx *ctx, struct buf *out)
{
    char chunk[4096];
    ssize_t n;
    while (out->len < ERROR_BODY_MAX && (n = http_body_read(b, ctx, chunk, sizeof chunk, NULL)) > 0)
        buf_add(out, chunk, (size_t)n);
}

/* A scheme stands at the beginning: "://" further on is a part of a path or a query. */
static bool has_scheme(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");
    return n > 0 && s[n] == ':';
}

static char *resolve_location(const char *base, const char *location)
{
    if (has_scheme(location))
        return xstrdup(location);
    const char *host = strstr(base, "://") + 3, *path = host + strcspn(host, "/?#");
    if (str_starts(location, "//"))
        return xasprintf("%.*s:%s", (int)(host - 3 - base), base, location);
    return xasprintf("%.*s%s%s", (int)(path - base), base, location[0] == '/' ? "" : "/", location);
}

static bool same_host(const char *a, const char *b)
{
    size_t x = (size_t)(strstr(a, "://") + 3 - a), y = (size_t)(strstr(b, "://") + 3 - b);
    x += strcspn(a + x, "/?");
    y += strcspn(b + y, "/?");
    return x == y && strncasecmp(a, b, x) == 0;
}

/* Sends a request and follows redirects; the authorization goes to the first host only, and never from TLS to plain text. */
static struct http_body *send_to(struct place *p, const struct ctx *ctx, const char *first, const struct ask *a,
                                 const char *authorization, struct http_answer *head, struct err *err)
{
    AUTOFREE char *url = xstrdup(first);
    for (int i = 0; i <= REDIRECTS_MAX; i++) {
        struct http_header h[3];
        size_t n = 0;
        if (a->accept)
            h[n++] = (struct http_header){.name = "Accept", .value = a->accept};
        if (a->range)
            h[n++] = (struct http_header){.name = "Range", .value = a->range};
        if (authorization && same_host(first, url))
            h[n++] = (struct http_header){.name = "Authorization", .value = authorization};
        struct http_call call = {.method = a->method, .url = url, .headers = h, .n_headers = n};
        struct ctx limited = ctx_with_timeout(ctx, QUIET_NS);
        struct http_client *c = i == 0 ? client_of(p, err) : client_away(p, err);
        struct http_body *b = c ? http_open(c, &limited, &call, head, err) : NULL;
        if (!b)
            return NULL;
        const char *to = http_answer_header(head, "location");
        if (!(head->status == 301 || head->status == 302 || head->status == 303 || head->status == 307 || head->status == 308) ||
            !to)
            return b;
        char *next = resolve_location(url, to);
        http_body_close(b);
        free(url);
        url = next;
        http_answer_free(head);
        if (!str_starts(url, "http://") && !str_starts(url, "https://")) {
            err_set(err, ERR_BAD_REQUEST, "the registry redirects to \"%.200s\"", url);
            return NULL;
        }
    }
    err_set(err, ERR_BAD_REQUEST, "the registry redirects more than %d times", REDIRECTS_MAX);
    return NULL;
}

/* ---- authentication
 * ------------------------------------------------------------------------------------------------------------ */

static char *scheme_of(struct place *p)
{
    LOCK_GUARD(&p->lock);
    return xstrdup(p->scheme);
}

static char *basic(const struct credential *c)
{
    AUTOFREE char *both = xasprintf("%s:%s", c->user, c->password), *text = base64_encode(both, strlen(both));
    return xasprintf("Basic %s", text);
}

static void add_query(struct buf *b, const char *name, const char *value)
{
    AUTOFREE char *text = url_encode(value);
    buf_addf(b, "%c%s=%s", strchr(buf_str(b), '?') ? '&' : '?', name, text);
}

static int fetch_token(struct place *p, const struct ctx *ctx, const struct challenge *ch, const struct credential *c, char **out,
                       struct err *err)
{
    AUTOFREE char *scope = ch->scope ? xstrdup(ch->scope) : xasprintf("repository:%s:pull", p->e.as.path);
    BUF(url);
    BUF(form);
    struct http_header h = {.name = "Content-Type", .value = "application/x-www-form-urlencoded"};
    struct http_call call = {.method = HTTP_GET};
    AUTOFREE char *auth = c && *c->user ? basic(c) : NULL;
    buf_adds(&url, ch->realm);
    AUTOFREE char *scheme = scheme_of(p);
    if (c && !str_starts(ch->realm, "https://") && str_eq(scheme, "https"))
        return err_set(err, ERR_FORBIDDEN, "the registry wants our password sent to %.200s, which has no TLS", ch->realm);
    AUTOFREE char *registry = xasprintf("%s://%s/", str_eq(scheme, "http") ? "http" : "https", p->e.host);
    /* A POST without TLS to somebody else tells everybody the token; on this machine others listen who would take it for ours. */
    if (c && c->identity_token && !str_starts(ch->realm, "https://") && !same_host(ch->realm, registry))
        return err_set(err, ERR_FORBIDDEN,
                       "the registry wants our identity token sent to %.200s, which is neither itself nor has TLS", ch->realm);
    if (c && c->identity_token) {
        AUTOFREE char *token = url_encode(c->identity_token), *service = url_encode(ch->service ? ch->service : ""),
                      *text = url_encode(scope);
        buf_addf(&form, "grant_type=refresh_token&client_id=tidemill&service=%s&scope=%s&refresh_token=%s", service, text, token);
        call = (struct http_call){.method = HTTP_POST, .headers = &h, .n_headers = 1, .body = form.data, .body_len = form.len};
    } else {
        if (ch->service)
            add_query(&url, "service", ch->service);
        add_query(&url, "scope", scope);
        h = (struct http_header){.name = "Authorization", .value = auth};
        call.headers = &h;
        call.n_headers = auth ? 1 : 0;
    }
    call.url = buf_str(&url);
    struct http_answer a;
    struct ctx limited = ctx_with_timeout(ctx, QUIET_NS);
    struct http_client *client = client_away(p, err);
    if (!client || http_fetch(client, &limited, &call, &a, err) < 0)
        return err_wrap(err, "failed to fetch %s token", c ? "oauth" : "anonymous");
    int rc = 0;
    JSON_REF(doc) = a.status == 200 ? json_parse(buf_str(&a.body), a.body.len, NULL, NULL) : NULL;
    const char *token = jv_str(jv_get(json_root(doc), "token"));
    if (str_empty(token))
        token = jv_str(jv_get(json_root(doc), "access_token"));
    if (str_empty(token) || strpbrk(token, "\r\n"))
        rc = err_set(err, a.status == 401 || a.status == 403 ? ERR_UNAUTHENTICATED : ERR_UNAVAILABLE,
                     "failed to authorize: failed to fetch %s token: unexpected status from GET request to %.300s: %d",
                     c ? "oauth" : "anonymous", ch->realm, a.status);
    else
        *out = xasprintf("Bearer %s", token);
    http_answer_free(&a);
    return rc;
}

/* What to say to a challenge, with the i-th credential; nobody after the last. */
static int answer_challenge(struct place *p, const struct ctx *ctx, const char *header, size_t i, char **out, struct err *err)
{
    CLEANUP(challenge_free) struct challenge ch = {0};
    const struct credential *c = i < p->keys.n ? &p->keys.v[i] : NULL;
    if (challenge_parse(header, &ch, err) < 0)
        return -1;
    if (ch.bearer)
        return fetch_token(p, ctx, &ch, c, out, err);
    if (!c)
        return err_set(err, ERR_UNAUTHENTICATED, "the registry wants a user and a password, and there are none for it");
    *out = basic(c);
    return 0;
}

static char *authorization_of(struct place *p)
{
    LOCK_GUARD(&p->lock);
    return xstrdup(p->authorization);
}

static void authorization_set(struct place *p, char *text)
{
    LOCK_GUARD(&p->lock);
    free(p->authorization);
    p->authorization = text;
}

/* With a scheme that is not known: TLS first, then plain text. */
static struct http_body *send_by_scheme(struct place *p, const struct ctx *ctx, const struct ask *a, const char *authorization,
                                        struct http_answer *head, struct err *err)
{
    AUTOFREE char *scheme = scheme_of(p);
    const char *const tries[] = {scheme ? scheme : "https", scheme ? NULL : "http"};
    for (size_t i = 0; i < ARRAY_LEN(tries) && tries[i]; i++) {
        AUTOFREE char *url = xasprintf("%s://%s/v2/%s/%s", tries[i], p->e.host, p->e.as.path, a->path);
        ERR(e);
        struct http_body *b = send_to(p, ctx, url, a, authorization, head, &e);
        if (b) {
            LOCK_GUARD(&p->lock);
            if (!p->scheme)
                p->scheme = xstrdup(tries[i]);
            return b;
        }
        if (i == 1 || scheme || ctx_check(ctx, NULL) < 0) {
            err_move(err, &e);
            return NULL;
        }
    }
    return NULL;
}

/* One request with whatever authentication it takes. Answers of any status but 401 count. */
static struct http_body *send_as_somebody(struct place *p, const struct ctx *ctx, const struct ask *a, struct http_answer *head,
                                          struct err *err)
{
    AUTOFREE char *auth = authorization_of(p);
    ERR(denied);
    for (size_t i = 0; i <= p->keys.n + 1; i++) {
        struct http_body *b = send_by_scheme(p, ctx, a, auth, head, err);
        if (!b || head->status != 401 || i > p->keys.n)
            return b;
        AUTOFREE char *header = xstrdup(http_answer_header(head, "www-authenticate"));
        BUF(body);
        drain(b, ctx, &body);
        http_body_close(b);
        http_answer_free(head);
        free(auth);
        auth = NULL;
        err_clear(&denied);
        while (answer_challenge(p, ctx, header, i, &auth, &denied) < 0) {
            if (i++ >= p->keys.n || ctx_check(ctx, NULL) < 0) {
                err_move(err, &denied);
                return NULL;
            }
        }
        authorization_set(p, xstrdup(auth));
    }
    return NULL;
}

/* ---- answers that are none, and tries
 * ------------------------------------------------------------------------------------------ */

/* {"errors": [{"code", "message"}]} as one line. */
static char *server_words(const struct buf *body)
{
    JSON_REF(doc) = json_parse(buf_str(body), body->len, NULL, NULL);
    jval *first = jv_at(jv_get(json_root(doc), "errors"), 0);
    const char *code = jv_str(jv_get(first, "code")), *message = jv_str(jv_get(first, "message"));
    return first ? xasprintf(": %.100s: %.300s", code ? code : "?", message ? message : "") : xstrdup("");
}

static int refused(struct place *p, const struct ctx *ctx, struct http_body *b, const struct http_answer *head, struct err *err)
{
    BUF(body);
    drain(b, ctx, &body);
    AUTOFREE char *said = server_words(&body), *name = image_ref_full(&p->e.as);
    int64_t after = 0;
    switch (head->status) {
    case 404:
        return err_set(err, ERR_NOT_FOUND, "%s: not found", name);
    case 401:
    case 403:
        return err_set(err, ERR_UNAUTHENTICATED,
                       "pull access denied, repository does not exist or may require authorization: server message%s",
                       *said                 ? said
                       : head->status == 401 ? ": 401 Unauthorized"
                                             : ": 403 Forbidden");
    case 429:
        err_set(err, ERR_TOO_MANY, "unexpected status from %s: 429 Too Many Requests%s", p->e.host, said);
        if (http_answer_header(head, "retry-after") && str_to_i64(http_answer_header(head, "retry-after"), &after) && err)
            err->retry_after_s = after < 0 ? 0 : after > 86400 ? 86400 : (int)after;
        return -1;
    default:
        return err_set(err, head->status >= 500 ? ERR_UNAVAILABLE : ERR_BAD_REQUEST, "unexpected status from %s: %d%s", p->e.host,
                       head->status, said);
    }
}

static bool worth_another(const struct err *e)
{
    return e->code == ERR_UNAVAILABLE || e->code == ERR_IO || e->code == ERR_TIMEOUT || e->code == ERR_TOO_MANY;
}

/* False when the context ends first, or the server asks for more patience than a pull has. */
static bool pause_before(const struct ctx *ctx, int try, const struct err *why)
{
    int64_t ns = FIRST_WAIT << try;
    if (why->retry_after_s > WAIT_MAX_S)
        return false;
    if (why->retry_after_s)
        ns = why->retry_after_s * NS_PER_S;
    for (int64_t until = ctx_mono_ns(ctx) + ns; ctx_mono_ns(ctx) < until;) {
        if (ctx_check(ctx, NULL) < 0)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 50 * NS_PER_MS}, NULL);
    }
    return true;
}

/* ---- manifests
 * ------------------------------------------------------------------------------------------------------------------- */

static int read_all(struct http_body *b, const struct ctx *ctx, size_t max, struct buf *out, struct err *err)
{
    char chunk[16384];
    for (;;) {
        struct ctx limited = ctx_with_timeout(ctx, QUIET_NS);
        ssize_t n = http_body_read(b, &limited, chunk, sizeof chunk, err);
        if (n <= 0)
            return n < 0 ? -1 : 0;
        if (out->len + (size_t)n > max)
            return err_set(err, ERR_TOO_LARGE, "the registry sends a manifest of more than %zu bytes", max);
        buf_add(out, chunk, (size_t)n);
    }
}

struct fetched {
    struct buf *text;
    char *media_type, *digest;
};

static void fetched_clear(struct fetched *f)
{
    free(f->media_type);
    free(f->digest);
    f->media_type = f->digest = NULL;
    if (f->text)
        buf_reset(f->text);
}

static int one_manifest(struct place *p, const struct ctx *ctx, const struct ask *a, const char *want, struct fetched *f,
                        struct err *err)
{
    struct http_answer head = {0};
    struct http_body *b = send_as_somebody(p, ctx, a, &head, err);
    if (!b)
        return -1;
    const char *said = http_answer_header(&head, "docker-content-digest");
    int rc = head.status == 200 ? 0 : refused(p, ctx, b, &head, err);
    if (rc == 0 && a->method == HTTP_HEAD) {
        f->digest = digest_is_sha256(said) ? xstrdup(said) : NULL;
    } else if (rc == 0 && (rc = read_all(b, ctx, MANIFEST_MAX, f->text, err)) == 0) {
        f->digest = digest_of(buf_str(f->text), f->text->len);
        f->media_type = xstrdup(http_answer_header(&head, "content-type"));
        if (want && !str_eq(want, f->digest))
            rc = err_set(err, ERR_INVALID, "failed commit on ref \"manifest-%s\": unexpected commit digest %s, expected %s", want,
                         f->digest, want);
        else if (said && digest_is_sha256(said) && !str_eq(said, f->digest))
            rc = err_set(err, ERR_INVALID, "the registry says that the manifest has digest %s, but it has %s", said, f->digest);
    }
    http_body_close(b);
    http_answer_free(&head);
    return rc;
}

static int ask_places(struct session *s, const struct ctx *ctx, struct ask *a, const char *want, struct fetched *f,
                      struct err *err)
{
    ERR(last);
    for (size_t i = s->at; i < s->n; i++) {
        for (int try = 0; try < TRIES; try++) {
            err_clear(&last);
            fetched_clear(f);
            if (one_manifest(&s->places[i], ctx, a, want, f, &last) == 0) {
                s->at = i;
                return 0;
            }
            if (ctx_check(ctx, NULL) < 0 || !worth_another(&last) || try + 1 == TRIES || i + 1 < s->n ||
                !pause_before(ctx, try, &last))
                break;
        }
        if (ctx_check(ctx, NULL) < 0)
            break;
        if (i + 1 < s->n)
            log_info("mirror %s: %s", s->places[i].e.host, err_text(&last));
    }
    fetched_clear(f);
    return err_move(err, &last);
}

int session_resolve(struct session *s, const struct ctx *ctx, char **digest, struct err *err)
{
    AUTOFREE char *path = xasprintf("manifests/%s", s->ref.digest ? s->ref.digest : s->ref.tag);
    struct ask a = {.method = HTTP_HEAD, .path = path, .accept = MANIFEST_ACCEPT};
    struct fetched f = {0};
    *digest = NULL;
    if (ask_places(s, ctx, &a, NULL, &f, err) < 0)
        return -1;
    *digest = f.digest;
    return 0;
}

int session_manifest(struct session *s, const struct ctx *ctx, const char *want, struct buf *out, char **media_type,
                     char **digest, struct err *err)
{
    const char *name = want ? want : s->ref.digest ? s->ref.digest : s->ref.tag;
    AUTOFREE char *path = xasprintf("manifests/%s", name);
    struct ask a = {.method = HTTP_GET, .path = path, .accept = MANIFEST_ACCEPT};
    struct fetched f = {.text = out};
    if (ask_places(s, ctx, &a, want ? want : s->ref.digest, &f, err) < 0)
        return -1;
    *media_type = f.media_type;
    *digest = f.digest;
    return 0;
}

/* ---- blobs
 * ---------------------------------------------------------------------------------------------------------------------- */

struct transfer {
    const char *digest;
    int64_t size, got;
    EVP_MD_CTX *hash;
    blob_sink *sink;
    void *self;
    bool sink_failed;
};

static int take(struct transfer *t, const char *p, size_t n, struct err *err)
{
    if (t->got + (int64_t)n > t->size)
        return err_set(err, ERR_INVALID, "the registry sends more than the %lld bytes of blob %s", (long long)t->size, t->digest);
    ASSERT(EVP_DigestUpdate(t->hash, p, n) == 1);
    t->got += (int64_t)n;
    if (t->sink(t->self, p, n, err) == 0)
        return 0;
    t->sink_failed = true;
    return -1;
}

/* Where the bytes of a 206 begin; -1 when the answer does not say. */
static int64_t range_start(const struct http_answer *head)
{
    const char *s = http_answer_header(head, "content-range");
    long long from;
    return s && sscanf(s, "bytes %lld-", &from) == 1 ? from : -1;
}

static int one_stretch(struct place *p, const struct ctx *ctx, struct transfer *t, struct err *err)
{
    AUTOFREE char *path = xasprintf("blobs/%s", t->digest), *range = t->got ? xasprintf("bytes=%lld-", (long long)t->got) : NULL;
    struct ask a = {.method = HTTP_GET, .path = path, .range = range};
    struct http_answer head = {0};
    struct http_body *b = send_as_somebody(p, ctx, &a, &head, err);
    if (!b)
        return -1;
    int64_t skip = head.status == 200 ? t->got : 0;
    int rc = 0;
    if (head.status == 206 && range_start(&head) != t->got)
        rc = err_set(err, ERR_UNAVAILABLE, "%s answers with another part than it was asked for", p->e.host);
    else if (head.status != 200 && head.status != 206)
        rc = refused(p, ctx, b, &head, err);
    AUTOFREE char *chunk = xmalloc(CHUNK);
    while (rc == 0) {
        struct ctx limited = ctx_with_timeout(ctx, QUIET_NS);
        ssize_t n = http_body_read(b, &limited, chunk, CHUNK, err);
        if (n <= 0) {
            rc = n < 0 ? -1
                 : t->got == t->size
                     ? 0
                     : err_set(err, ERR_UNAVAILABLE, "%s ended %lld bytes too early", p->e.host, (long long)(t->size - t->got));
            break;
        }
        /* A server without ranges begins anew. */
        size_t past = skip < n ? (size_t)skip : (size_t)n;
        skip -= (int64_t)past;
        if ((size_t)n > past)
            rc = take(t, chunk + past, (size_t)n - past, err);
    }
    http_body_close(b);
    http_answer_free(&head);
    return rc;
}

static int transfer_all(struct session *s, const struct ctx *ctx, struct transfer *t, struct err *err)
{
    ERR(last);
    for (size_t i = s->at; i < s->n; i++) {
        for (int try = 0; try < TRIES; try++) {
            int64_t before = t->got;
            err_clear(&last);
            if (one_stretch(&s->places[i], ctx, t, &last) == 0)
                return 0;
            if (t->got > before)
                try = 0; /* it goes on, if in pieces */
            if (t->sink_failed || ctx_check(ctx, NULL) < 0 || !worth_another(&last) || !pause_before(ctx, try, &last))
                break;
            log_info("blob %s of %s: %s; going on at %lld", t->digest, s->places[i].e.host, err_text(&last), (long long)t->got);
        }
        if (t->sink_failed || ctx_check(ctx, NULL) < 0 || last.code == ERR_INVALID)
            break;
    }
    return err_move(err, &last);
}

int session_blob(struct session *s, const struct ctx *ctx, const char *digest, int64_t size, blob_sink *sink, void *self,
                 struct err *err)
{
    struct transfer t = {.digest = digest, .size = size, .sink = sink, .self = self, .hash = EVP_MD_CTX_new()};
    ASSERT(t.hash && EVP_DigestInit_ex(t.hash, EVP_sha256(), NULL) == 1);
    int rc = transfer_all(s, ctx, &t, err);
    if (rc == 0) {
        unsigned char sum[EVP_MAX_MD_SIZE];
        unsigned len = 0;
        ASSERT(EVP_DigestFinal_ex(t.hash, sum, &len) == 1);
        AUTOFREE char *hex = hex_encode(sum, len);
        if (!str_eq(hex, digest + strlen("sha256:")))
            rc = err_set(err, ERR_INVALID, "failed commit on ref \"layer-%s\": unexpected commit digest sha256:%s, expected %s",
                         digest, hex, digest);
    }
    EVP_MD_CTX_free(t.hash);
    return rc;
}
