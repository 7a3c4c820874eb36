/* test_face.c - the node towards a cluster that is not ours: signs of life, and who may ask its HTTPS face. */
#include "unit.h"

#include <stdatomic.h>
#include <unistd.h>

#include "base/str.h"
#include "cluster/node/heartbeat.h"
#include "cluster/node/kubelet.h"
#include "fake_kube.h"
#include "kube/kinds.h"
#include "net/client.h"

/* ---- signs of life ---- */

static int refreshed(void *self, const struct ctx *ctx, struct err *err)
{
    atomic_fetch_add((atomic_int *)self, 1);
    return 0;
}

static bool has_lease(void *arg)
{
    JSON_REF(l) = fake_get(arg, &KUBE_LEASES, "kube-node-lease", "n");
    return l != NULL;
}

static bool was_refreshed(void *arg) { return atomic_load((atomic_int *)arg) > 0; }

static atomic_int n_seen;

static void seen(void *self, jval *node)
{
    assert_string_equal(jv_str(jv_path(node, "metadata", "name", NULL)), "n");
    atomic_fetch_add(&n_seen, 1);
}

static bool was_seen(void *arg) { return atomic_load(&n_seen) > 0; }

static void put_node(struct fake_kube *f, const char *ready, const char *at)
{
    json_unref(fake_put(f, &KUBE_NODES,
                        "{\"metadata\":{\"name\":\"n\"},\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"%s\","
                        "\"lastHeartbeatTime\":\"%s\"}]}}",
                        ready, at));
}

static void test_heartbeat(void **state)
{
    static const struct {
        const char *ready, *at;
        bool refreshes;
    } cases[] = {
        {"True", "2026-01-01T00:00:00Z", false},   /* now */
        {"Unknown", "2026-01-01T00:00:00Z", true}, /* declared lost */
        {"True", "2025-12-31T23:50:00Z", true},    /* long ago */
        {"True", "whenever", true},
    };
    struct clock_manual clock;
    clock_manual_init(&clock, 1767225600 * NS_PER_S);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_kube *f = fake_kube_new();
        atomic_int n = 0;
        put_node(f, cases[i].ready, cases[i].at);
        atomic_store(&n_seen, 0);
        struct heartbeat *h = heartbeat_start(&(struct heartbeat_config){
            .kube = fake_kube_face(f), .node = "n", .clock = &clock.clock, .refresh = refreshed, .seen = seen, .self = &n});
        assert_true(fake_eventually(has_lease, f));
        assert_true(fake_eventually(was_seen, NULL));
        if (cases[i].refreshes)
            assert_true(fake_eventually(was_refreshed, &n));
        heartbeat_stop(h);
        assert_int_equal(atomic_load(&n), cases[i].refreshes ? 1 : 0);
        JSON_REF(lease) = fake_get(f, &KUBE_LEASES, "kube-node-lease", "n");
        jval *spec = jv_get(json_root(lease), "spec");
        assert_string_equal(jv_str(jv_get(spec, "holderIdentity")), "n");
        assert_string_equal(jv_str(jv_get(spec, "renewTime")), "2026-01-01T00:00:00.000000Z");
        assert_int_equal(jv_i64_or(jv_get(spec, "leaseDurationSeconds"), 0), 40);
        fake_kube_free(f);
    }
}

/* ---- the HTTPS face ---- */

static int ask(int port, const char *path, const char *auth)
{
    ERR(e);
    struct http_client *c = http_client_new(&(struct http_client_config){.insecure = true}, &e);
    AUTOFREE char *url = xasprintf("https://127.0.0.1:%d%s", port, path);
    struct http_header h[] = {{"Authorization", auth}};
    struct http_call call = {.method = HTTP_GET, .url = url, .headers = h, .n_headers = auth ? 1 : 0};
    struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, 20 * NS_PER_S);
    struct http_answer a;
    if (http_fetch(c, &ctx, &call, &a, &e) < 0)
        fail_msg("%s", err_text(&e));
    int status = a.status;
    http_answer_free(&a);
    http_client_free(c);
    return status;
}

/* Nothing is answered, not even that it lives, to those whom no review knows. */
static void test_strangers(void **state)
{
    struct fake_kube *f = fake_kube_new();
    int port;
    ERR(e);
    struct kubelet *k = kubelet_listen(&(struct kubelet_config){.kube = fake_kube_face(f), .listen = "127.0.0.1:0"}, &port, &e);
    if (!k || kubelet_start(k, NULL, &e) < 0)
        fail_msg("%s", err_text(&e));
    static const char *const paths[] = {"/healthz", "/pods", "/containerLogs/ns/p/c", "/exec/ns/p/c?command=x&output=1"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        assert_int_equal(ask(port, paths[i], NULL), 401);
        assert_int_equal(ask(port, paths[i], "Basic YTpi"), 401);
        assert_int_not_equal(ask(port, paths[i], "Bearer unknown"), 200);
    }
    kubelet_stop(k);
    fake_kube_free(f);
}

static void test_listen_refused(void **state)
{
    struct fake_kube *f = fake_kube_new();
    int port;
    ERR(e);
    assert_null(kubelet_listen(
        &(struct kubelet_config){.kube = fake_kube_face(f), .listen = "127.0.0.1:0", .cert_pem = "no", .key_pem = "no"}, &port,
        &e));
    assert_non_null(strstr(err_text(&e), "certificate"));
    fake_kube_free(f);
}

TEST_GROUP(face, cmocka_unit_test(test_heartbeat), cmocka_unit_test(test_strangers), cmocka_unit_test(test_listen_refused))
