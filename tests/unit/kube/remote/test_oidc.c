/* test_oidc.c - the auth-provider "oidc" against an issuer: refreshed in time, written back, refused, and no storm. */
#include "unit.h"

#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/thread.h"
#include "kube/remote/credential.h"
#include "kube/remote/oidc.h"
#include "net/server.h"

#define BEGIN_S 1800000000LL

static char dir[64];
static struct clock_manual now;
static struct http_server *server;
static int port;

/* What the issuer does, and what it was asked. Set between requests. */
static struct {
    atomic_int discoveries, trades, fence; /* fence: orders what the issuer's thread and the test do to the rest */
    bool secret_in_body, revoked, away, without_id, rotates;
    int64_t lasts_s; /* an id-token's life */
    char form[1024], authorization[256];
} issuer;

static char *jwt(int64_t exp_s, int serial)
{
    AUTOFREE char *claims = xasprintf("{\"sub\":\"ann\",\"exp\":%lld,\"n\":%d}", (long long)exp_s, serial),
                  *middle = base64url_encode(claims, strlen(claims));
    return xasprintf("e30.%s.c2ln", middle);
}

static int on_discovery(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    atomic_fetch_add(&issuer.fence, 1);
    atomic_fetch_add(&issuer.discoveries, 1);
    if (issuer.away) {
        http_text(res, 503, "away");
        return 0;
    }
    AUTOFREE char *text =
        xasprintf("{\"issuer\":\"http://127.0.0.1:%d/realm\",\"token_endpoint\":\"http://127.0.0.1:%d/token\"%s}", port, port,
                  issuer.secret_in_body ? ",\"token_endpoint_auth_methods_supported\":[\"client_secret_post\"]" : "");
    http_body(res, "application/json", text, strlen(text));
    return 0;
}

static int on_token(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    atomic_fetch_add(&issuer.fence, 1);
    int n = atomic_fetch_add(&issuer.trades, 1) + 1;
    assert_true(req->body_len < sizeof issuer.form);
    memcpy(issuer.form, req->body, req->body_len);
    issuer.form[req->body_len] = '\0';
    const char *auth = http_header_get(req, "authorization");
    snprintf(issuer.authorization, sizeof issuer.authorization, "%s", auth ? auth : "");
    AUTOFREE char *id = jwt(atomic_load(&now.wall) / NS_PER_S + issuer.lasts_s, n);
    AUTOFREE char *text = issuer.revoked ? xstrdup("{\"error\":\"invalid_grant\",\"error_description\":\"Session not active\"}")
                          : issuer.without_id ? xstrdup("{\"access_token\":\"a\"}")
                          : issuer.rotates    ? xasprintf("{\"id_token\":\"%s\",\"refresh_token\":\"refresh-%d\"}", id, n)
                                              : xasprintf("{\"id_token\":\"%s\"}", id);
    http_status(res, issuer.revoked ? 400 : 200);
    http_body(res, "application/json", text, strlen(text));
    atomic_fetch_add(&issuer.fence, 1);
    return 0;
}

static int everybody(void *self, struct ctx *ctx, struct http_req *req, struct err *err) { return 0; }
static void write_error(void *self, struct http_req *req, struct http_res *res, const struct err *e)
{
    http_text(res, err_http_status(e), "%s", err_text(e));
}
static const struct route routes[] = {
    {HTTP_GET, "/realm/.well-known/openid-configuration", on_discovery, PERM_OPEN, 0},
    {HTTP_POST, "/token", on_token, PERM_OPEN, 0},
};
static const struct http_api api = {.name = "issuer",
                                    .routes = routes,
                                    .n_routes = ARRAY_LEN(routes),
                                    .authenticate = everybody,
                                    .authorize = everybody,
                                    .write_error = write_error};

static int set_up(void **state)
{
    ERR(e);
    strcpy(dir, "/tmp/tidemill-oidc-XXXXXX");
    clock_manual_init(&now, BEGIN_S * NS_PER_S);
    memset(&issuer, 0, sizeof issuer);
    issuer.lasts_s = 300;
    server = http_server_new(NULL, &e);
    struct mount m = {.prefix = "/", .api = &api};
    struct listener_config lc = {.address = "127.0.0.1:0", .mounts = &m, .n_mounts = 1};
    return !mkdtemp(dir) || http_server_listen(server, &lc, &port, &e) < 0 || http_server_start(server, &e) < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    http_server_stop(server, 1000);
    return fs_rm_rf(dir, NULL);
}

/* A kubeconfig whose user has these lines in the provider's config. */
static char *config_file(const char *lines)
{
    AUTOFREE char *text =
        xasprintf("# mine, with a comment\ncurrent-context: x\nclusters: [{name: c, cluster: {server: 'https://x'}}]\n"
                  "contexts: [{name: x, context: {cluster: c, user: u}}]\nusers:\n- name: u\n  user:\n"
                  "    auth-provider:\n      name: oidc\n      config:\n"
                  "        idp-issuer-url: http://127.0.0.1:%d/realm/\n        client-id: kube\n%s",
                  port, lines);
    char *path = fs_join(dir, "config");
    ERR(e);
    if (fs_write_atomic(path, text, strlen(text), 0640, &e) < 0)
        fail_msg("%s", err_text(&e));
    return path;
}

static void load(const char *path, struct kube_access *a)
{
    ERR(e);
    if (kube_access_load(path, NULL, a, &e) < 0)
        fail_msg("%s", err_text(&e));
}

static char *bearer(struct credentials *c, struct err *e)
{
    struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, 30 * NS_PER_S);
    struct credential got = {0};
    atomic_fetch_add(&issuer.fence, 1);
    char *out = credentials_get(c, &ctx, &got, e) == 0 ? xstrdup(got.authorization) : NULL;
    atomic_fetch_add(&issuer.fence, 1);
    credential_clear(&got);
    return out;
}

static void expect(struct credentials *c, const char *token)
{
    ERR(e);
    AUTOFREE char *got = bearer(c, &e), *want = xasprintf("Bearer %s", token);
    if (!str_eq(got, want))
        fail_msg("%s (%s), not %s", got, err_text(&e), want);
}

static void test_used_while_good(void **state)
{
    AUTOFREE char *id = jwt(BEGIN_S + 100, 0), *next = jwt(BEGIN_S + 95 + 300, 1),
                  *lines = xasprintf("        id-token: %s\n        refresh-token: r&1\n        client-secret: s/1\n", id),
                  *path = config_file(lines);
    CLEANUP(kube_access_clear) struct kube_access a;
    load(path, &a);
    struct credentials *c = credentials_new(&a, &now.clock);
    expect(c, id);
    assert_int_equal(atomic_load(&issuer.discoveries), 0);
    clock_manual_advance(&now, 95 * NS_PER_S); /* about to expire */
    expect(c, next);
    assert_string_equal(issuer.form, "grant_type=refresh_token&refresh_token=r%261");
    assert_string_equal(issuer.authorization, "Basic a3ViZTpzJTJGMQ=="); /* kube:s%2F1 */
    expect(c, next);
    assert_int_equal(atomic_load(&issuer.trades), 1);
    credentials_free(c);
    /* The refresh-token is as it was: so is the file. */
    BUF(text);
    assert_int_equal(fs_read(path, 65536, &text, NULL), 0);
    assert_non_null(strstr(text.data, id));
}

static void test_secret_in_body_or_none(void **state)
{
    AUTOFREE char *path = config_file("        refresh-token: r\n        client-secret: s\n");
    CLEANUP(kube_access_clear) struct kube_access a;
    load(path, &a);
    issuer.secret_in_body = true;
    struct credentials *c = credentials_new(&a, &now.clock);
    ERR(e);
    AUTOFREE char *got = bearer(c, &e);
    assert_non_null(got);
    assert_string_equal(issuer.form, "grant_type=refresh_token&refresh_token=r&client_id=kube&client_secret=s");
    assert_string_equal(issuer.authorization, "");
    credentials_free(c);
    free(TAKE(a.oidc.client_secret));
    issuer.secret_in_body = false;
    c = credentials_new(&a, &now.clock);
    AUTOFREE char *again = bearer(c, &e);
    assert_non_null(again);
    assert_string_equal(issuer.form, "grant_type=refresh_token&refresh_token=r&client_id=kube");
    credentials_free(c);
}

/* Refresh-tokens that are good once: the next process finds the new one, all else in the file stays. */
static void test_written_back(void **state)
{
    AUTOFREE char *id = jwt(BEGIN_S - 1, 0), *first = jwt(BEGIN_S + 300, 1), *second = jwt(BEGIN_S + 600, 2),
                  *lines = xasprintf("        id-token: %s\n        refresh-token: \"refresh-0\"\n", id),
                  *path = config_file(lines);
    issuer.rotates = true;
    for (int round = 1; round <= 2; round++) {
        CLEANUP(kube_access_clear) struct kube_access a;
        load(path, &a);
        struct credentials *c = credentials_new(&a, &now.clock);
        expect(c, round == 1 ? first : second);
        credentials_free(c);
        clock_manual_advance(&now, 300 * NS_PER_S);
    }
    assert_non_null(strstr(issuer.form, "refresh_token=refresh-1"));
    AUTOFREE char *want = xasprintf("        id-token: %s\n        refresh-token: \"refresh-2\"\n", second);
    BUF(text);
    struct stat st;
    assert_int_equal(fs_read(path, 65536, &text, NULL), 0);
    assert_non_null(strstr(text.data, want));
    assert_true(str_starts(text.data, "# mine, with a comment\n"));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
}

/* Two parts that read the same kubeconfig: the second finds what the first has got, and asks for nothing with an old token. */
static void test_shared(void **state)
{
    AUTOFREE char *id = jwt(BEGIN_S - 1, 0), *first = jwt(BEGIN_S + 300, 1), *second = jwt(BEGIN_S + 600, 2),
                  *lines = xasprintf("        id-token: %s\n        refresh-token: refresh-0\n", id), *path = config_file(lines);
    issuer.rotates = true;
    CLEANUP(kube_access_clear) struct kube_access a, b;
    load(path, &a);
    load(path, &b);
    struct credentials *one = credentials_new(&a, &now.clock), *two = credentials_new(&b, &now.clock);
    expect(one, first);
    expect(two, first);
    assert_int_equal(atomic_load(&issuer.trades), 1);
    clock_manual_advance(&now, 300 * NS_PER_S);
    expect(two, second);
    assert_non_null(strstr(issuer.form, "refresh_token=refresh-1"));
    expect(one, second);
    assert_int_equal(atomic_load(&issuer.trades), 2);
    credentials_free(one);
    credentials_free(two);
}

static void test_refused_by_the_issuer(void **state)
{
    AUTOFREE char *path = config_file("        refresh-token: secret-refresh\n");
    CLEANUP(kube_access_clear) struct kube_access a;
    load(path, &a);
    issuer.revoked = true;
    struct credentials *c = credentials_new(&a, &now.clock);
    for (int i = 0; i < 50; i++) { /* asked once; all are told */
        ERR(e);
        assert_null(bearer(c, &e));
        assert_int_equal(e.code, ERR_UNAUTHENTICATED);
        if (!strstr(err_text(&e), "invalid_grant: Session not active") || strstr(err_text(&e), "secret-refresh"))
            fail_msg("%s", err_text(&e));
    }
    assert_int_equal(atomic_load(&issuer.trades), 1);
    /* Again after a second, two, four ... a minute. */
    for (int i = 0; i < 100; i++) {
        clock_manual_advance(&now, NS_PER_S);
        assert_null(bearer(c, NULL));
    }
    assert_in_range(atomic_load(&issuer.trades), 6, 8);
    issuer.revoked = false;
    clock_manual_advance(&now, 60 * NS_PER_S);
    ERR(e);
    AUTOFREE char *got = bearer(c, &e);
    assert_non_null(got);
    credentials_free(c);
}

static void test_wrong_answers(void **state)
{
    AUTOFREE char *id = jwt(BEGIN_S - 1, 0), *expired = xasprintf("        id-token: %s\n", id);
    const struct {
        const char *lines;
        bool away, without_id;
        enum err_code code;
        const char *says;
    } cases[] = {
        {"        refresh-token: r\n", true, false, ERR_UNAVAILABLE, "/realm/.well-known/openid-configuration answered 503"},
        {"        refresh-token: r\n", false, true, ERR_UNAVAILABLE, "gave no id_token"},
        {expired, false, false, ERR_UNAUTHENTICATED, "there is no refresh-token: log in again"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *path = config_file(cases[i].lines);
        CLEANUP(kube_access_clear) struct kube_access a;
        load(path, &a);
        issuer.away = cases[i].away;
        issuer.without_id = cases[i].without_id;
        struct credentials *c = credentials_new(&a, &now.clock);
        ERR(e);
        assert_null(bearer(c, &e));
        if (e.code != cases[i].code || !strstr(err_text(&e), cases[i].says))
            fail_msg("%d %s", e.code, err_text(&e));
        assert_non_null(strstr(err_text(&e), "user \"u\""));
        credentials_free(c);
    }
}

/* The API server does not take a token that looks good: another one is got, once. */
static void test_refused_by_the_server(void **state)
{
    AUTOFREE char *id = jwt(BEGIN_S + 1000, 0), *next = jwt(BEGIN_S + 300, 1),
                  *lines = xasprintf("        id-token: %s\n        refresh-token: r\n", id), *path = config_file(lines);
    CLEANUP(kube_access_clear) struct kube_access a;
    load(path, &a);
    struct credentials *c = credentials_new(&a, &now.clock);
    struct ctx ctx = ctx_background();
    CLEANUP(credential_clear) struct credential old = {0}, fresh = {0};
    assert_int_equal(credentials_get(c, &ctx, &old, NULL), 0);
    assert_true(credentials_refused(c, old.serial));
    expect(c, next);
    assert_int_equal(credentials_get(c, &ctx, &fresh, NULL), 0);
    assert_false(credentials_refused(c, fresh.serial)); /* that one too, a moment later */
    expect(c, next);
    assert_int_equal(atomic_load(&issuer.trades), 1);
    credentials_free(c);
}

static void test_expiry(void **state)
{
    static const struct {
        const char *token;
        int64_t s;
    } cases[] = {{"e30.eyJleHAiOjEwMH0.x", 100},    /* {"exp":100} */
                 {"e30.eyJleHAiOjEwMC43fQ.x", 100}, /* {"exp":100.7} */
                 {"e30.e30.x", 0},
                 {"e30.!!.x", 0},
                 {"opaque", 0},
                 {"a.b", 0},
                 {"e30.eyJleHAiOi01fQ.x", 0},      /* {"exp":-5} */
                 {"e30.eyJleHAiOjFlMzAwfQ.x", 0},  /* {"exp":1e300} */
                 {"e30.eyJleHAiOiIxMDAifQ.x", 0}}; /* {"exp":"100"} */
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(jwt_expiry_ns(cases[i].token), cases[i].s * NS_PER_S);
}

#define CASE(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
TEST_GROUP(oidc, CASE(test_used_while_good), CASE(test_secret_in_body_or_none), CASE(test_written_back), CASE(test_shared),
           CASE(test_refused_by_the_issuer), CASE(test_wrong_answers), CASE(test_refused_by_the_server),
           cmocka_unit_test(test_expiry))
