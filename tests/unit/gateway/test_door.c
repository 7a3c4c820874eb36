/* Unit tests of who gets in by which door, and what they may. */
#include "unit.h"

#include <arpa/inet.h>

#include "gateway/gateway.h"

static struct sockaddr_storage at(const char *ip, int port)
{
    struct sockaddr_storage ss = {0};
    if (strchr(ip, ':')) {
        struct sockaddr_in6 *a = (void *)&ss;
        a->sin6_family = AF_INET6;
        a->sin6_port = htons((uint16_t)port);
        assert_int_equal(inet_pton(AF_INET6, ip, &a->sin6_addr), 1);
    } else {
        struct sockaddr_in *a = (void *)&ss;
        a->sin_family = AF_INET;
        a->sin_port = htons((uint16_t)port);
        assert_int_equal(inet_pton(AF_INET, ip, &a->sin_addr), 1);
    }
    return ss;
}

static int asked;
static int review(void *self, const struct ctx *ctx, const struct perm *what, struct err *err)
{
    asked++;
    return strcmp(what->verb, "get") == 0 ? 0 : err_set(err, ERR_FORBIDDEN, "no");
}

static struct gateway *make(const char *const *proxies)
{
    ERR(e);
    const struct gateway_config cfg = {.owner_name = "me", .owner_uid = 1, .proxies = proxies, .review_access = review};
    struct gateway *g = gateway_new(&cfg, &e);
    if (!g)
        fail_msg("%s", err_text(&e));
    gateway_set_proxy_port(g, 9000);
    return g;
}

/* Only the API server's addresses count, and only at the door that is theirs. */
static void test_proxied(void **state)
{
    static const char *const proxies[] = {"10.1.0.0/20", "192.0.2.7", "fd00:1::/36", NULL};
    static const struct {
        const char *from;
        int port;
        bool in;
    } cases[] = {
        {"10.1.0.1", 9000, true},        {"10.1.15.255", 9000, true},      {"10.1.16.0", 9000, false},
        {"10.0.255.255", 9000, false},   {"192.0.2.7", 9000, true},        {"192.0.2.6", 9000, false},
        {"fd00:1::9", 9000, true},       {"fd00:1:0fff::1", 9000, true},   {"fd00:1:1000::1", 9000, false},
        {"::ffff:10.1.0.1", 9000, true}, {"::ffff:10.2.0.1", 9000, false}, {"10.1.0.1", 9001, false},
    };
    struct gateway *g = make(proxies);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_peer peer = {.remote = at(cases[i].from, 5), .local = at("10.9.9.9", cases[i].port)};
        struct http_req req = {.peer = &peer};
        struct ctx ctx = ctx_background();
        ERR(e);
        int rc = gateway_authenticate(g, &ctx, &req, &e);
        if ((rc == 0) != cases[i].in || (rc < 0 && e.code != ERR_UNAUTHENTICATED))
            fail_msg("%zu: %s", i, err_text(&e));
    }
    gateway_free(g);
}

/* They may use pipelines and nothing else, without another question; of others the cluster is asked. */
static void test_rights(void **state)
{
    static const char *const proxies[] = {"10.0.0.1", NULL};
    static const struct {
        struct perm perm;
        bool proxied, token;
    } cases[] = {
        {PERM("get", "pipelines.kubeflow.org", "runs"), true, true},
        {PERM("create", "pipelines.kubeflow.org", "runs"), true, false},
        {PERM("get", "tidemill.dev", "status"), false, true},
    };
    static const char *const groups[] = {"system:serviceaccounts", NULL};
    static const struct identity account = {.user = "u", .uid = "", .groups = groups};
    struct gateway *g = make(proxies);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct route route = {.perm = cases[i].perm};
        struct http_peer peer = {.remote = at("10.0.0.1", 5), .local = at("10.0.0.2", 9000)};
        struct http_req req = {.peer = &peer, .route = &route};
        struct ctx ctx = ctx_background();
        assert_int_equal(gateway_authenticate(g, &ctx, &req, NULL), 0);
        int before = asked;
        assert_int_equal(gateway_authorize(g, &ctx, &req, NULL) == 0, cases[i].proxied);
        assert_int_equal(asked, before);
        ctx.who = &account;
        assert_int_equal(gateway_authorize(g, &ctx, &req, NULL) == 0, cases[i].token);
        assert_int_equal(asked, before + 1);
    }
    gateway_free(g);
}

static void test_bad_addresses(void **state)
{
    static const char *const bad[] = {"", "10.0.0", "10.0.0.1/33", "10.0.0.1/", "10.0.0.1/-1", "fd00::/129", "localhost", "/8"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const char *const proxies[] = {"10.0.0.1", bad[i], NULL};
        ERR(e);
        assert_null(gateway_new(&(struct gateway_config){.owner_name = "me", .proxies = proxies}, &e));
        assert_int_equal(e.code, ERR_BAD_REQUEST);
    }
}

TEST_GROUP(door, cmocka_unit_test(test_proxied), cmocka_unit_test(test_rights), cmocka_unit_test(test_bad_addresses))
