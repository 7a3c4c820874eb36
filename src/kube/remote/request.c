/* request.c - one call: credentials, rate, sending, and sending again where that is safe. */
#include <errno.h>
#include <stdlib.h>

#include "base/id.h"
#include "kube/remote/internal.h"
#include "kube/remote/status.h"
#include "net/upgrade/websocket.h"

#define LOG_ROOM "kube"
#include "base/log.h"

enum { LATER_MAX = 10, LOST_MAX = 3, WARNED_MAX = 256, AFTER_MAX_S = 120, ERROR_BODY_MAX = 1 << 20 };
#define FIRST_PAUSE_NS (100 * NS_PER_MS)
#define MAX_ANSWER     ((size_t)512 << 20)

/* ---- sessions ---- */

void session_unref(struct session *s)
{
    if (s && atomic_fetch_sub(&s->refs, 1) == 1) {
        http_client_free(s->http);
        free(s);
    }
}

/* The session for this certificate: a reference. */
static struct session *session_for(struct remote *r, const struct credential *c, struct err *err)
{
    LOCK_GUARD(&r->lock);
    if (!r->session || r->session->cert_serial != c->cert_serial) {
        const struct kube_access *a = &r->access;
        struct http_client_config cfg = {.ca_pem = a->ca_pem,
                                         .client_cert_pem = c->cert_pem,
                                         .client_key_pem = c->key_pem,
                                         .insecure = a->insecure,
                                         .server_name = a->tls_server_name,
                                         .user_agent = r->agent,
                                         .proxy = r->proxy,
                                         .max_response = MAX_ANSWER};
        struct http_client *http = http_client_new(&cfg, err);
        if (!http)
            return NULL;
        session_unref(r->session);
        r->session = xcalloc(1, sizeof *r->session);
        r->session->http = http;
        r->session->cert_serial = c->cert_serial;
        atomic_init(&r->session->refs, 1);
    }
    atomic_fetch_add(&r->session->refs, 1);
    return r->session;
}

/* ---- rate ---- */

/* Takes a token; *wait_ns gets how long it is until it is really there. */
static void take_token(struct remote *r, int64_t *wait_ns)
{
    *wait_ns = 0;
    if (r->qps <= 0)
        return;
    LOCK_GUARD(&r->lock);
    int64_t now = r->clock->mono_ns(r->clock);
    r->tokens += (double)(now - r->tokens_at_ns) / (double)NS_PER_S * r->qps;
    r->tokens_at_ns = now;
    if (r->tokens > r->burst)
        r->tokens = r->burst;
    r->tokens -= 1;
    if (r->tokens < 0)
        *wait_ns = (int64_t)(-r->tokens / r->qps * (double)NS_PER_S);
}

/* ---- one try ---- */

/* `299 - "text"` to text, in place. */
static char *warning_text(char *value)
{
    char *from = strchr(value, '"'), *to = from ? strrchr(value, '"') : NULL;
    if (!from || to == from)
        return value;
    *to = '\0';
    return from + 1;
}

static void log_warnings(struct remote *r, const struct http_answer *a)
{
    for (size_t i = 0; i < a->n_headers; i++) {
        if (!str_eq(a->headers[i].name, "warning"))
            continue;
        AUTOFREE char *value = xstrdup(a->headers[i].value);
        const char *text = warning_text(value);
        LOCK_GUARD(&r->lock);
        if (strmap_has(&r->warned, text) || strmap_count(&r->warned) >= WARNED_MAX)
            continue;
        strmap_put(&r->warned, text, NULL);
        log_warn("the API server warns: %s", text);
    }
}

/* The fields that say who asks. names keeps what they point to, with the credential. */
struct fields {
    struct http_header *v;
    size_t n;
    struct strlist names;
};

static void fields_free(struct fields *f)
{
    free(f->v);
    strlist_free(&f->names);
}

static void add_field(struct fields *f, const char *name, const char *value)
{
    if (value)
        f->v[f->n++] = (struct http_header){name, value};
}

static void identify(const struct kube_access *a, const struct credential *c, struct fields *f)
{
    f->v = xcalloc(8 + a->as_groups.n + a->as_extra.n, sizeof *f->v);
    add_field(f, "Authorization", c->authorization);
    add_field(f, "Impersonate-User", a->as);
    add_field(f, "Impersonate-Uid", a->as_uid);
    for (size_t i = 0; i < a->as_groups.n; i++)
        add_field(f, "Impersonate-Group", a->as_groups.v[i]);
    for (size_t i = 0; i < a->as_extra.n; i++) {
        const char *eq = strchr(a->as_extra.v[i], '=');
        AUTOFREE char *key = xstrndup(a->as_extra.v[i], (size_t)(eq - a->as_extra.v[i])), *encoded = url_encode(key);
        strlist_addf(&f->names, "Impersonate-Extra-%s", encoded);
        add_field(f, f->names.v[f->names.n - 1], eq + 1);
    }
}

static struct http_body *send_once(struct remote *r, struct session *s, const struct credential *c, const struct ctx *ctx,
                                   const struct remote_call *call, struct http_answer *head, struct err *err)
{
    AUTOFREE char *url = xasprintf("%s%s", r->access.server, call->path);
    CLEANUP(fields_free) struct fields f = {0};
    identify(&r->access, c, &f);
    add_field(&f, "Accept", call->accept ? call->accept : "application/json");
    add_field(&f, "Content-Type", call->content_type);
    struct http_call hc = {.method = call->method,
                           .url = url,
                           .headers = f.v,
                           .n_headers = f.n,
                           .body = call->body ? call->body->data : NULL,
                           .body_len = call->body ? call->body->len : 0};
    struct http_body *b = http_open(s->http, ctx, &hc, head, err);
    if (b)
        log_warnings(r, head);
    return b;
}

/* ---- what to do about a failure ---- */

struct tries {
    unsigned later, lost;
    bool renewed;
    int64_t pause_ns;
};

static bool only_reads(const struct remote_call *call) { return call->method & (HTTP_GET | HTTP_HEAD); }

/* The connection failed. True: wait t->pause_ns and send again. */
static bool again_after_loss(struct tries *t, const struct remote_call *call, const struct ctx *ctx, const struct err *e)
{
    if (e->code == ERR_TIMEOUT || e->code == ERR_CANCELLED || e->code == ERR_BAD_REQUEST || ctx_check(ctx, NULL) < 0)
        return false;
    if (t->lost >= LOST_MAX || !(only_reads(call) || e->sys_errno == ECONNREFUSED))
        return false;
    int64_t pause = FIRST_PAUSE_NS << (2 * t->lost++);
    t->pause_ns = pause / 2 + (int64_t)(random_u64() % (uint64_t)pause);
    return true;
}

/* The server answered with an error. */
static bool again_after_answer(struct remote *r, struct tries *t, const struct remote_call *call, const struct ctx *ctx,
                               const struct credential *c, const struct http_answer *head)
{
    if (head->status == 401 && !t->renewed) {
        t->renewed = true;
        t->pause_ns = 0;
        return credentials_refused(r->credentials, c->serial);
    }
    const char *after = http_answer_header(head, "retry-after");
    int64_t s = 0;
    bool busy = head->status == 429 || head->status >= 500;
    if (busy && after && str_to_i64(after, &s) && s >= 0 && s <= AFTER_MAX_S && t->later < LATER_MAX) {
        t->later++;
        t->pause_ns = s ? s * NS_PER_S : FIRST_PAUSE_NS;
        return ctx_left_ns(ctx) > t->pause_ns; /* else the caller is told now, while it can still do something */
    }
    if (only_reads(call) && (head->status == 502 || head->status == 503 || head->status == 504) && t->lost < LOST_MAX) {
        t->pause_ns = FIRST_PAUSE_NS << (2 * t->lost++);
        return true;
    }
    return false;
}

static void read_error_body(struct http_body *b, const struct ctx *ctx, struct buf *out)
{
    char chunk[8192];
    ssize_t n;
    while (out->len < ERROR_BODY_MAX && (n = http_body_read(b, ctx, chunk, sizeof chunk, NULL)) > 0)
        buf_add(out, chunk, (size_t)n);
}

/* What a header says about when to come again stands for a Status that says nothing. */
static void answer_to_error(const struct http_answer *head, struct err *err)
{
    const char *after = http_answer_header(head, "retry-after");
    int64_t s;
    ERR(e);
    status_error(head->status, buf_str(&head->body), head->body.len, &e);
    if (!e.retry_after_s && after && str_to_i64(after, &s) && s > 0 && s < 86400)
        e.retry_after_s = (int)s;
    err_move(err, &e);
}

/* Our own limit is told as what it is. */
static void name_timeout(struct remote *r, const struct ctx *outer, struct err *e)
{
    if (e->code == ERR_TIMEOUT && ctx_check(outer, NULL) == 0)
        err_set(e, ERR_TIMEOUT, "%s gave no answer within %lld s", r->access.server, (long long)(r->call_timeout_ns / NS_PER_S));
}

/* ---- the loop ---- */

/* What one try came to. */
enum outcome { DONE, FAILED, AGAIN };

static enum outcome one_try(struct remote *r, const struct ctx *ctx, const struct remote_call *call, struct tries *t,
                            struct http_answer *head, struct http_body **body, struct session **session, struct err *err)
{
    int64_t wait;
    take_token(r, &wait);
    CLEANUP(credential_clear) struct credential c = {0};
    if ((wait && ctx_sleep(ctx, wait, err) < 0) || credentials_get(r->credentials, ctx, &c, err) < 0)
        return FAILED;
    if (!(*session = session_for(r, &c, err)))
        return FAILED;
    *body = send_once(r, *session, &c, ctx, call, head, err);
    if (*body && head->status >= 200 && head->status < 300)
        return DONE;
    bool again;
    if (*body) {
        read_error_body(*body, ctx, &head->body);
        again = again_after_answer(r, t, call, ctx, &c, head);
        answer_to_error(head, err);
        http_body_close(TAKE(*body));
        http_answer_free(head);
    } else {
        again = again_after_loss(t, call, ctx, err);
        if (err->code == ERR_IO) /* a lost connection is nobody's input: the server is not there */
            err->code = ERR_UNAVAILABLE;
    }
    session_unref(TAKE(*session));
    return again ? AGAIN : FAILED;
}

static struct http_body *open_call(struct remote *r, const struct ctx *outer, const struct ctx *ctx,
                                   const struct remote_call *call, struct http_answer *head, struct session **session,
                                   struct err *err)
{
    struct tries t = {0};
    for (;;) {
        struct http_body *b = NULL;
        ERR(e);
        switch (one_try(r, ctx, call, &t, head, &b, session, &e)) {
        case DONE:
            return b;
        case FAILED:
            name_timeout(r, outer, &e);
            err_move(err, &e);
            return NULL;
        case AGAIN:
            log_debug("%s %s: %s; again in %lld ms", http_method_name(call->method), call->path, err_text(&e),
                      (long long)(t.pause_ns / NS_PER_MS));
            if (ctx_sleep(ctx, t.pause_ns, NULL) < 0) {
                name_timeout(r, outer, &e);
                err_move(err, &e);
                return NULL;
            }
        }
    }
}

int remote_fetch(struct remote *r, const struct ctx *outer, const struct remote_call *call, struct http_answer *out,
                 struct err *err)
{
    struct ctx ctx = ctx_with_timeout(outer, r->call_timeout_ns);
    for (unsigned lost = 0;; lost++) {
        struct session *s = NULL;
        *out = (struct http_answer){0};
        struct http_body *b = open_call(r, outer, &ctx, call, out, &s, err);
        if (!b)
            return -1;
        ERR(e);
        char chunk[16384];
        ssize_t n;
        while ((n = http_body_read(b, &ctx, chunk, sizeof chunk, &e)) > 0 && out->body.len <= MAX_ANSWER)
            buf_add(&out->body, chunk, (size_t)n);
        http_body_close(b);
        session_unref(s);
        if (n == 0)
            return 0;
        http_answer_free(out);
        if (n > 0)
            return err_set(err, ERR_TOO_LARGE, "the API server's answer has more than %zu bytes", MAX_ANSWER);
        struct tries t = {.lost = lost};
        if (!only_reads(call) || !again_after_loss(&t, call, &ctx, &e) || ctx_sleep(&ctx, t.pause_ns, NULL) < 0) {
            e.code = e.code == ERR_IO ? ERR_UNAVAILABLE : e.code;
            name_timeout(r, outer, &e);
            return err_move(err, &e);
        }
    }
}

struct http_body *remote_open(struct remote *r, const struct ctx *outer, const struct remote_call *call, struct session **session,
                              struct err *err)
{
    struct ctx ctx = ctx_with_timeout(outer, r->call_timeout_ns);
    struct http_answer head = {0};
    struct http_body *b = open_call(r, outer, &ctx, call, &head, session, err);
    http_answer_free(&head);
    return b;
}

/* Not repeated: what an exec has begun cannot be taken back. But a 401 has begun nothing. */
struct ws_client *remote_dial(struct remote *r, const struct ctx *outer, const char *path, const char *const *protocols,
                              struct session **session, struct err *err)
{
    struct ctx ctx = ctx_with_timeout(outer, r->call_timeout_ns);
    AUTOFREE char *url = xasprintf("%s%s", r->access.server, path);
    for (bool renewed = false;; renewed = true) {
        CLEANUP(credential_clear) struct credential c = {0};
        CLEANUP(fields_free) struct fields f = {0};
        int64_t wait;
        take_token(r, &wait);
        if ((wait && ctx_sleep(&ctx, wait, err) < 0) || credentials_get(r->credentials, &ctx, &c, err) < 0 ||
            !(*session = session_for(r, &c, err)))
            return NULL;
        identify(&r->access, &c, &f);
        struct ws_call call = {.url = url, .headers = f.v, .n_headers = f.n, .protocols = protocols};
        CLEANUP(http_answer_free) struct http_answer refusal = {0};
        ERR(e);
        struct ws_client *ws = ws_dial((*session)->http, &ctx, &call, &refusal, &e);
        if (ws)
            return ws;
        session_unref(TAKE(*session));
        if (refusal.status == 401 && !renewed && credentials_refused(r->credentials, c.serial))
            continue;
        if (refusal.status)
            answer_to_error(&refusal, &e);
        else if (e.code == ERR_IO)
            e.code = ERR_UNAVAILABLE;
        name_timeout(r, outer, &e);
        err_move(err, &e);
        return NULL;
    }
}
