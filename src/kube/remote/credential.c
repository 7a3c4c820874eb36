/* credential.c - see credential.h. */
#include "kube/remote/credential.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/thread.h"
#include "kube/remote/oidc.h"

#define LOG_ROOM "kube"
#include "base/log.h"

enum { FILE_MAX = 1 << 20 };
#define REREAD_NS (60 * NS_PER_S)
#define EARLY_NS  (10 * NS_PER_S) /* a token that ends so soon is renewed before it is used */
/* Between two renewals that came to nothing: each call would start the plugin or ask the issuer again. */
#define PAUSE_MIN_NS NS_PER_S
#define PAUSE_MAX_NS (60 * NS_PER_S)

struct credentials {
    const struct kube_access *a;
    const struct clock *clock;
    pthread_mutex_t lock; /* guards the rest; held while a plugin runs */
    struct exec_credential plugin;
    bool has_plugin;
    struct oidc_tokens oidc;
    bool oidc_refused;  /* the id-token is not good, whatever it says of itself */
    int64_t renewed_ns; /* monotonic: when the plugin or the issuer was last asked; 0: never */
    int64_t pause_ns;   /* for so long they are not asked again; 0: no pause */
    struct err failure; /* what came of it then; none: credentials that were refused */
    char *file_token;
    int64_t token_read_ns, certs_read_ns; /* monotonic; 0: never */
    char *cert_pem, *key_pem;
    unsigned serial, cert_serial;
};

void credential_clear(struct credential *c)
{
    free(c->authorization);
    free(c->cert_pem);
    free(c->key_pem);
    *c = (struct credential){0};
}

struct credentials *credentials_new(const struct kube_access *a, const struct clock *clock)
{
    struct credentials *c = xcalloc(1, sizeof *c);
    c->a = a;
    c->clock = clock;
    pthread_mutex_init(&c->lock, NULL);
    c->cert_pem = xstrdup(a->cert_pem);
    c->key_pem = xstrdup(a->key_pem);
    c->certs_read_ns = clock->mono_ns(clock);
    if (a->oidc.issuer)
        oidc_tokens_first(&a->oidc, &c->oidc);
    return c;
}

void credentials_free(struct credentials *c)
{
    if (!c)
        return;
    exec_credential_clear(&c->plugin);
    oidc_tokens_clear(&c->oidc);
    err_clear(&c->failure);
    free(c->file_token);
    free(c->cert_pem);
    free(c->key_pem);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static bool due(int64_t last, int64_t now) { return last == 0 || now - last >= REREAD_NS; }

/* A file that cannot be read for a while is being replaced: what was read before holds on. */
static int read_token(struct credentials *c, struct err *err)
{
    int64_t now = c->clock->mono_ns(c->clock);
    if (!due(c->token_read_ns, now))
        return 0;
    BUF(text);
    ERR(e);
    if (fs_read(c->a->token_file, FILE_MAX, &text, &e) < 0) {
        if (c->file_token || c->a->token)
            return 0;
        return err_set(err, ERR_UNAUTHENTICATED, "the token of user \"%s\": %s", c->a->user, err_text(&e));
    }
    while (text.len && strchr(" \t\r\n", text.data[text.len - 1]))
        text.len--;
    if (!text.len || memchr(text.data, '\n', text.len) || memchr(text.data, 0, text.len))
        return c->file_token ? 0 : err_set(err, ERR_UNAUTHENTICATED, "%s holds no token", c->a->token_file);
    char *token = xstrndup(text.data, text.len);
    if (!str_eq(token, c->file_token))
        c->serial++;
    free(c->file_token);
    c->file_token = token;
    c->token_read_ns = now ? now : 1;
    return 0;
}

static void set_pair(struct credentials *c, const char *cert, const char *key)
{
    if (str_eq(cert, c->cert_pem) && str_eq(key, c->key_pem))
        return;
    free(c->cert_pem);
    free(c->key_pem);
    c->cert_pem = xstrdup(cert);
    c->key_pem = xstrdup(key);
    c->cert_serial++;
    c->serial++;
}

/* Both files or neither: a pair that is half replaced does not fit and is looked at again. */
static void read_certs(struct credentials *c)
{
    int64_t now = c->clock->mono_ns(c->clock);
    if (!c->a->cert_file || !c->a->key_file || !due(c->certs_read_ns, now))
        return;
    BUF(cert);
    BUF(key);
    c->certs_read_ns = now;
    if (fs_read(c->a->cert_file, FILE_MAX, &cert, NULL) == 0 && fs_read(c->a->key_file, FILE_MAX, &key, NULL) == 0)
        set_pair(c, buf_str(&cert), buf_str(&key));
}

/* ---- what has to be asked for ---- */

static bool pausing(const struct credentials *c)
{
    return c->pause_ns && c->clock->mono_ns(c->clock) - c->renewed_ns < c->pause_ns;
}

static void longer_pause(struct credentials *c)
{
    c->pause_ns = c->pause_ns ? 2 * c->pause_ns : PAUSE_MIN_NS;
    if (c->pause_ns > PAUSE_MAX_NS)
        c->pause_ns = PAUSE_MAX_NS;
}

/* Takes *e for what the renewal came to, and tells the caller the same. */
static int renewal_failed(struct credentials *c, struct err *e, struct err *err)
{
    if (!c->failure.code)
        log_error("the credentials of user \"%s\" cannot be renewed: %s", c->a->user ? c->a->user : "", err_text(e));
    err_clear(&c->failure);
    err_copy(&c->failure, e);
    longer_pause(c);
    return err_move(err, e);
}

static void renewal_worked(struct credentials *c)
{
    if (c->failure.code) {
        log_info("the credentials of user \"%s\" were renewed", c->a->user ? c->a->user : "");
        c->pause_ns = 0;
    }
    err_clear(&c->failure);
    c->serial++;
}

static int same_failure(const struct credentials *c, struct err *err)
{
    if (err)
        err_copy(err, &c->failure);
    return -1;
}

/* The caller going away says nothing about the plugin. */
static bool gave_up(const struct ctx *ctx) { return ctx_check(ctx, NULL) < 0; }

static int ask_plugin(struct credentials *c, const struct ctx *ctx, struct err *err)
{
    int64_t now = c->clock->wall_ns(c->clock);
    bool good = c->has_plugin && (!c->plugin.expires_ns || now < c->plugin.expires_ns);
    if (good && (!c->plugin.expires_ns || now < c->plugin.expires_ns - EARLY_NS))
        return 0;
    if (pausing(c) && (good || c->failure.code))
        return good ? 0 : same_failure(c, err);
    struct exec_credential fresh;
    ERR(e);
    c->renewed_ns = c->clock->mono_ns(c->clock);
    if (exec_plugin_run(c->a, ctx, &fresh, &e) < 0) {
        if (gave_up(ctx))
            return err_move(err, &e);
        int rc = renewal_failed(c, &e, good ? NULL : err);
        return good ? 0 : rc; /* the old one is good for a few seconds yet */
    }
    if (fresh.expires_ns && fresh.expires_ns < now)
        log_warn("the plugin %s gave credentials that have expired already", c->a->exec.command);
    exec_credential_clear(&c->plugin);
    c->plugin = fresh;
    c->has_plugin = true;
    renewal_worked(c);
    if (fresh.cert_pem)
        set_pair(c, fresh.cert_pem, fresh.key_pem);
    return 0;
}

static int ask_issuer(struct credentials *c, const struct ctx *ctx, struct err *err)
{
    int64_t now = c->clock->wall_ns(c->clock), ends = c->oidc.expires_ns;
    bool good = c->oidc.id_token && !c->oidc_refused && (!ends || now < ends);
    if (good && (!ends || now < ends - EARLY_NS))
        return 0;
    if (pausing(c) && (good || c->failure.code))
        return good ? 0 : same_failure(c, err);
    ERR(e);
    c->renewed_ns = c->clock->mono_ns(c->clock);
    if (oidc_refresh(&c->a->oidc, ctx, now, &c->oidc, &e) < 0) {
        if (gave_up(ctx))
            return err_move(err, &e);
        err_wrap(&e, "user \"%s\"", c->a->user ? c->a->user : "");
        int rc = renewal_failed(c, &e, good ? NULL : err);
        return good ? 0 : rc;
    }
    c->oidc_refused = false;
    renewal_worked(c);
    return 0;
}

static char *authorization(const struct credentials *c)
{
    const struct kube_access *a = c->a;
    const char *token = c->has_plugin && c->plugin.token ? c->plugin.token : c->file_token ? c->file_token : a->token;
    if (!token)
        token = c->oidc.id_token;
    if (token)
        return xasprintf("Bearer %s", token);
    if (!a->username)
        return NULL;
    AUTOFREE char *pair = xasprintf("%s:%s", a->username, a->password ? a->password : "");
    AUTOFREE char *text = base64_encode(pair, strlen(pair));
    return xasprintf("Basic %s", text);
}

/* Whoever says something else besides means that. */
static bool asks_issuer(const struct kube_access *a) { return a->oidc.issuer && !a->exec.command && !a->token && !a->token_file; }

int credentials_get(struct credentials *c, const struct ctx *ctx, struct credential *out, struct err *err)
{
    *out = (struct credential){0};
    LOCK_GUARD(&c->lock);
    if (c->a->token_file && read_token(c, err) < 0)
        return -1;
    read_certs(c);
    if (c->a->exec.command && ask_plugin(c, ctx, err) < 0)
        return -1;
    if (asks_issuer(c->a) && ask_issuer(c, ctx, err) < 0)
        return -1;
    *out = (struct credential){.authorization = authorization(c),
                               .cert_pem = xstrdup(c->cert_pem),
                               .key_pem = xstrdup(c->key_pem),
                               .cert_serial = c->cert_serial,
                               .serial = c->serial};
    return 0;
}

bool credentials_refused(struct credentials *c, unsigned serial)
{
    LOCK_GUARD(&c->lock);
    if (serial != c->serial)
        return true; /* somebody has renewed them meanwhile */
    c->token_read_ns = c->certs_read_ns = 0;
    bool asked = c->a->exec.command || (asks_issuer(c->a) && c->oidc.refresh_token);
    if (!asked)
        return c->a->token_file || c->a->cert_file;
    /* What was got a moment ago is refused, too: asking again at once, for each call, would be a storm. */
    int64_t since = c->clock->mono_ns(c->clock) - c->renewed_ns;
    if (c->renewed_ns && pausing(c))
        return false;
    if (!c->renewed_ns || since >= 2 * PAUSE_MAX_NS)
        c->pause_ns = 0;
    longer_pause(c);
    exec_credential_clear(&c->plugin);
    c->has_plugin = false;
    c->oidc_refused = true;
    return true;
}
