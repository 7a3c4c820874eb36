/* gateway.c - identities of the front door, and its own few routes. */
#include "gateway/gateway.h"

#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <stdlib.h>

#include "gateway/page.h"
#include "net/server.h"

/* Addresses that share their first bits; IPv4 as it is mapped into IPv6. */
struct network {
    struct in6_addr address;
    unsigned bits;
};

struct gateway {
    unsigned owner_uid;
    char *owner_name, *token;
    int (*review_token)(void *self, struct ctx *ctx, struct http_req *req, const char *token, struct err *err);
    int (*review_access)(void *self, const struct ctx *ctx, const struct perm *what, struct err *err);
    void (*describe)(void *self, struct jm *m, jmval *obj);
    void *self;
    struct network *proxies;
    size_t n_proxies;
    int proxy_port;
    const char *groups[3];
    struct identity owner;
    struct http_api api;
};

/* ---- who ---- */

static const char *bearer(const struct http_req *req)
{
    const char *h = http_header_get(req, "authorization");
    return h && strncasecmp(h, "Bearer ", 7) == 0 ? h + 7 : NULL;
}

static bool same_token(const char *a, const char *b)
{
    size_t n = strlen(a);
    return n == strlen(b) && CRYPTO_memcmp(a, b, n) == 0;
}

/* ---- who comes through an API server ---- */

#define PROXIED_GROUP "tidemill:proxied"
static const char *const proxied_groups[] = {PROXIED_GROUP, "system:authenticated", NULL};
static const struct identity proxied = {.user = "tidemill:proxied", .uid = "", .groups = proxied_groups};

static struct in6_addr mapped(const struct sockaddr_storage *ss)
{
    if (ss->ss_family == AF_INET6)
        return ((const struct sockaddr_in6 *)ss)->sin6_addr;
    struct in6_addr a = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
    if (ss->ss_family == AF_INET)
        memcpy(&a.s6_addr[12], &((const struct sockaddr_in *)ss)->sin_addr, 4);
    return a;
}

static int port_of(const struct sockaddr_storage *ss)
{
    if (ss->ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)ss)->sin_port);
    return ss->ss_family == AF_INET6 ? ntohs(((const struct sockaddr_in6 *)ss)->sin6_port) : 0;
}

static int parse_network(const char *text, struct network *out, struct err *err)
{
    const char *slash = strchr(text, '/');
    AUTOFREE char *address = xstrndup(text, slash ? (size_t)(slash - text) : strlen(text));
    struct in_addr v4;
    int64_t bits;
    bool four = inet_pton(AF_INET, address, &v4) == 1;
    int64_t most = four ? 32 : 128;
    *out = (struct network){.address = {.s6_addr = {[10] = 0xff, [11] = 0xff}}};
    if (four)
        memcpy(&out->address.s6_addr[12], &v4, 4);
    bits = most;
    if ((!four && inet_pton(AF_INET6, address, &out->address) != 1) || (slash && !str_to_i64(slash + 1, &bits)) || bits < 0 ||
        bits > most)
        return err_set(err, ERR_BAD_REQUEST, "%s is neither an address nor a network (10.0.0.1, 10.0.0.0/24, fd00::/64)", text);
    out->bits = (unsigned)(bits + 128 - most);
    return 0;
}

static bool within(const struct network *n, const struct in6_addr *a)
{
    unsigned bytes = n->bits / 8, rest = n->bits % 8;
    if (memcmp(n->address.s6_addr, a->s6_addr, bytes) != 0)
        return false;
    return rest == 0 || ((n->address.s6_addr[bytes] ^ a->s6_addr[bytes]) >> (8 - rest)) == 0;
}

static int authenticate_proxied(const struct gateway *g, struct ctx *ctx, struct http_req *req, struct err *err)
{
    struct in6_addr from = mapped(&req->peer->remote);
    for (size_t i = 0; i < g->n_proxies; i++)
        if (within(&g->proxies[i], &from)) {
            ctx->who = &proxied;
            return 0;
        }
    return err_set(err, ERR_UNAUTHENTICATED, "this port is for what the API server passes on; others come by the front door");
}

int gateway_authenticate(void *self, struct ctx *ctx, struct http_req *req, struct err *err)
{
    struct gateway *g = self;
    const char *token = bearer(req);
    if (g->proxy_port && port_of(&req->peer->local) == g->proxy_port)
        return authenticate_proxied(g, ctx, req, err);
    if (token && g->token && same_token(token, g->token)) {
        ctx->who = &g->owner;
        return 0;
    }
    if (token) {
        if (g->review_token)
            return g->review_token(g->self, ctx, req, token, err);
        return err_set(err, ERR_UNAUTHENTICATED, "the bearer token is not known here");
    }
    unsigned uid;
    ERR(e);
    if (!req->peer->loopback || peer_uid(req->peer, &uid, &e) < 0)
        return err_set(
            err, ERR_UNAUTHENTICATED,
            "no token was sent, and the caller is not a process of this machine's user: send 'Authorization: Bearer TOKEN'");
    if (uid != 0 && uid != g->owner_uid)
        return err_set(err, ERR_UNAUTHENTICATED,
                       "user id %u did not start this tidemill (user id %u did): send 'Authorization: Bearer TOKEN'", uid,
                       g->owner_uid);
    ctx->who = &g->owner;
    return 0;
}

int gateway_authorize(void *self, struct ctx *ctx, struct http_req *req, struct err *err)
{
    struct gateway *g = self;
    if (!ctx->who)
        return err_set(err, ERR_UNAUTHENTICATED, "no identity");
    if (identity_in_group(ctx->who, "system:masters"))
        return 0;
    const struct perm *p = &req->route->perm;
    bool pipelines = str_eq(p->group, "pipelines.kubeflow.org");
    if (pipelines && ctx->who == &proxied)
        return 0;
    if (g->review_access && ctx->who != &proxied)
        return g->review_access(g->self, ctx, p, err);
    /* A pod's service account works with pipelines as upstream's single-user mode lets it; nothing else is open to it. */
    if (pipelines && identity_in_group(ctx->who, "system:serviceaccounts"))
        return 0;
    return err_set(err, ERR_FORBIDDEN, "user %s may not %s %s in group %s", ctx->who->user, p->verb ? p->verb : "use",
                   p->resource ? p->resource : "this", p->group ? p->group : "");
}

/* ---- own routes ---- */

static int get_status(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct gateway *g = self;
    JM_NEW(m);
    jm_set_root(m, jm_obj(m));
    g->describe(g->self, m, jm_root(m));
    JSON_REF(d) = jm_freeze(m);
    http_body_json(res, json_root(d));
    return 0;
}

static int get_page(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct gateway *g = self;
    JM_NEW(m);
    jm_set_root(m, jm_obj(m));
    g->describe(g->self, m, jm_root(m));
    JSON_REF(d) = jm_freeze(m);
    struct buf html = BUF_INIT;
    page_render(json_root(d), &html);
    http_set_header(res, "Content-Security-Policy",
                    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'");
    http_set_header(res, "X-Content-Type-Options", "nosniff");
    http_set_header(res, "Referrer-Policy", "no-referrer");
    http_set_header(res, "Cache-Control", "no-store");
    http_body_buf(res, "text/html; charset=utf-8", &html);
    return 0;
}

static int get_health(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    http_text(res, 200, "ok");
    return 0;
}

static void write_error(void *self, struct http_req *req, struct http_res *res, const struct err *e)
{
    http_text(res, err_http_status(e), "%s\n", e->code == ERR_NOT_FOUND && !req->route ? "404 page not found" : err_text(e));
}

static const struct route routes[] = {
    {HTTP_GET | HTTP_HEAD, "/", get_page, PERM("get", "tidemill.dev", "status"), 0},
    {HTTP_GET, "/api/tidemill/v1/status", get_status, PERM("get", "tidemill.dev", "status"), 0},
    {HTTP_GET | HTTP_HEAD, "/healthz", get_health, PERM_OPEN, 0},
    {HTTP_GET | HTTP_HEAD, "/readyz", get_health, PERM_OPEN, 0},
};

struct gateway *gateway_new(const struct gateway_config *cfg, struct err *err)
{
    struct gateway *g = xcalloc(1, sizeof *g);
    for (const char *const *p = cfg->proxies; p && *p; p++) {
        g->proxies = xreallocarray(g->proxies, g->n_proxies + 1, sizeof *g->proxies);
        if (parse_network(*p, &g->proxies[g->n_proxies++], err) < 0) {
            gateway_free(g);
            return NULL;
        }
    }
    g->review_access = cfg->review_access;
    g->owner_uid = cfg->owner_uid;
    g->owner_name = xstrdup(cfg->owner_name);
    g->review_token = cfg->review_token;
    g->describe = cfg->describe;
    g->self = cfg->self;
    g->groups[0] = "system:masters";
    g->groups[1] = "system:authenticated";
    g->owner = (struct identity){.user = g->owner_name, .uid = "", .groups = g->groups};
    g->api = (struct http_api){.name = "gateway",
                               .routes = routes,
                               .n_routes = ARRAY_LEN(routes),
                               .self = g,
                               .authenticate = gateway_authenticate,
                               .authorize = gateway_authorize,
                               .write_error = write_error};
    return g;
}

void gateway_free(struct gateway *g)
{
    if (!g)
        return;
    free(g->owner_name);
    free(g->token);
    free(g->proxies);
    free(g);
}

void gateway_set_proxy_port(struct gateway *g, int port) { g->proxy_port = port; }

void gateway_set_token(struct gateway *g, const char *token)
{
    free(g->token);
    g->token = xstrdup(token);
}

const struct http_api *gateway_http(struct gateway *g) { return &g->api; }
