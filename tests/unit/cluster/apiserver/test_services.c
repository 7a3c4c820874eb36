/* Addresses and node ports of Services: each to one at a time, also over a restart; what the server does for claims. */
#include "base/fs.h"
#include "cluster/apiserver/apiserver.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "unit.h"

static const char *const masters[] = {"system:masters", "system:authenticated", NULL};

static struct apiserver *open_server(const char *dir, struct kube **kube)
{
    ERR(e);
    struct apiserver *a = apiserver_new(&(struct apiserver_config){.data_dir = dir}, &e);
    if (!a)
        fail_msg("%s", err_text(&e));
    *kube = apiserver_kube(a, &(struct identity){"admin", "", masters, NULL});
    return a;
}

/* The error's text must hold want; want NULL: it is taken. A reference. */
static struct json *create(struct kube *k, const struct kube_res *res, const char *want, const char *spec, const char *name)
{
    struct ctx ctx = ctx_background();
    ERR(e);
    AUTOFREE char *text =
        xasprintf("{\"apiVersion\":\"v1\",\"kind\":\"%s\",\"metadata\":{\"name\":\"%s\"},%s}", res->kind, name, spec);
    JSON_REF(o) = json_parse_str(text, NULL);
    assert_non_null(o);
    struct json *made = kube_create(k, &ctx, res, res->namespaced ? "default" : NULL, json_root(o), NULL, &e);
    if (!made != !!want || (want && !strstr(err_text(&e), want)))
        fail_msg("%s: %s", name, made ? "taken" : err_text(&e));
    return made;
}

#define PORTS "\"ports\":[{\"port\":80}]"

static void addresses(void **state)
{
    char dir[] = "/tmp/tm-services-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct kube *k;
    struct apiserver *a = open_server(dir, &k);
    JSON_REF(one) = create(k, &KUBE_SERVICES, NULL, "\"spec\":{\"clusterIP\":\"10.96.7.7\"," PORTS "}", "one");
    JSON_REF(two) =
        create(k, &KUBE_SERVICES, "provided IP is already allocated", "\"spec\":{\"clusterIP\":\"10.96.7.7\"," PORTS "}", "two");
    JSON_REF(far) =
        create(k, &KUBE_SERVICES, "does not match the current range", "\"spec\":{\"clusterIP\":\"1.2.3.4\"," PORTS "}", "far");
    JSON_REF(any) = create(k, &KUBE_SERVICES, NULL, "\"spec\":{" PORTS "}", "any");
    assert_memory_equal(service_spec_cluster_ip(service_spec(json_root(any))), "10.96.", 6);
    JSON_REF(node) =
        create(k, &KUBE_SERVICES, NULL, "\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"port\":80,\"nodePort\":30500}]}", "node");
    JSON_REF(same) = create(k, &KUBE_SERVICES, "provided port is already allocated",
                            "\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"port\":80,\"nodePort\":30500}]}", "same");
    JSON_REF(low) = create(k, &KUBE_SERVICES, "provided port is not in the valid range",
                           "\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"port\":80,\"nodePort\":22}]}", "low");
    JSON_REF(last) = create(k, &KUBE_SERVICES, "does not match the current range",
                            "\"spec\":{\"clusterIP\":\"10.96.255.255\"," PORTS "}", "last");
    apiserver_stop(a);
    a = open_server(dir, &k);
    JSON_REF(three) = create(k, &KUBE_SERVICES, "already allocated", "\"spec\":{\"clusterIP\":\"10.96.7.7\"," PORTS "}", "three");
    struct ctx ctx = ctx_background();
    assert_int_equal(kube_delete(k, &ctx, &KUBE_SERVICES, "default", "one", NULL, NULL, NULL), 0);
    JSON_REF(four) = create(k, &KUBE_SERVICES, NULL, "\"spec\":{\"clusterIP\":\"10.96.7.7\"," PORTS "}", "four");
    apiserver_stop(a);
    fs_rm_rf(dir, NULL);
}

static int64_t node_port(struct json *service, size_t i)
{
    return service_port_node_port(jv_at(service_spec_ports(service_spec(json_root(service))), i), 0);
}

/* TCP and UDP of one port are one node port, wherever it is named. */
static void shared_ports(void **state)
{
    char dir[] = "/tmp/tm-services-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct kube *k;
    struct apiserver *a = open_server(dir, &k);
#define TWO(first, second)                                                                                                       \
    "\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"name\":\"t\",\"port\":80" first                                               \
    "},{\"name\":\"u\",\"protocol\":\"UDP\",\"port\":80" second "},{\"name\":\"v\",\"port\":81}]}"
    JSON_REF(any) = create(k, &KUBE_SERVICES, NULL, TWO("", ""), "any");
    assert_true(node_port(any, 0) >= 30000);
    assert_int_equal(node_port(any, 0), node_port(any, 1));
    assert_int_not_equal(node_port(any, 0), node_port(any, 2));
    JSON_REF(first) = create(k, &KUBE_SERVICES, NULL, TWO(",\"nodePort\":30083", ""), "first");
    assert_int_equal(node_port(first, 1), 30083);
    JSON_REF(second) = create(k, &KUBE_SERVICES, NULL, TWO("", ",\"nodePort\":30084"), "second");
    assert_int_equal(node_port(second, 0), 30084);
    /* A number is one Service's, whatever the protocol; a Service's own may change places. */
#define UDP(n) "\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"protocol\":\"UDP\",\"port\":80,\"nodePort\":" n "}]}"
    JSON_REF(other) =
        create(k, &KUBE_SERVICES, "Invalid value: 30084: provided port is already allocated", UDP("30084"), "other");
    JSON_REF(twice) =
        create(k, &KUBE_SERVICES, "spec.ports[2].nodePort: Invalid value: 30085: provided port is already allocated",
               "\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"name\":\"a\",\"port\":80,\"nodePort\":30085},{\"name\":\"b\","
               "\"port\":80,\"protocol\":\"UDP\",\"nodePort\":30085},{\"name\":\"c\",\"port\":81,\"protocol\":\"SCTP\","
               "\"nodePort\":30085}]}",
               "twice");
    struct ctx ctx = ctx_background();
    ERR(e);
    JSON_REF(swap) =
        json_parse_str("{\"spec\":{\"ports\":[{\"name\":\"t\",\"port\":80,\"nodePort\":30086},{\"name\":\"u\",\"port\":82,"
                       "\"protocol\":\"UDP\",\"nodePort\":30084}]}}",
                       NULL);
    JSON_REF(swapped) = kube_patch(k, &ctx, &KUBE_SERVICES, "default", "second", KUBE_PATCH_MERGE, json_root(swap), NULL, &e);
    assert_non_null(swapped);
    assert_int_equal(node_port(swapped, 1), 30084);
    JSON_REF(asks) =
        json_parse_str("{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"asks\"}," UDP("30086") "}", NULL);
    assert_null(kube_create(k, &ctx, &KUBE_SERVICES, "default", json_root(asks), &(struct kube_opts){.dry_run = true}, &e));
    assert_non_null(strstr(err_text(&e), "already allocated"));
    err_clear(&e);
    /* A dry run takes nothing and promises nothing. */
    JSON_REF(dry) =
        json_parse_str("{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"dry\"}," TWO("", "") "}", NULL);
    for (int i = 0; i < 2; i++) {
        JSON_REF(shown) =
            kube_create(k, &ctx, &KUBE_SERVICES, "default", json_root(dry), &(struct kube_opts){.dry_run = true}, &e);
        assert_non_null(shown);
        assert_int_equal(node_port(shown, 0), 32769);
        assert_int_equal(node_port(shown, 1), 32769);
        assert_int_equal(node_port(shown, 2), 32770);
        assert_string_equal(service_spec_cluster_ip(service_spec(json_root(shown))), "10.96.0.0");
    }
    apiserver_stop(a);
    fs_rm_rf(dir, NULL);
}

/* The port of a load balancer's check, where somebody names one. */
static void check_ports(void **state)
{
    char dir[] = "/tmp/tm-services-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct kube *k;
    struct apiserver *a = open_server(dir, &k);
    struct ctx ctx = ctx_background();
    ERR(e);
#define CHECKED(policy, n)                                                                                                       \
    "\"spec\":{\"type\":\"LoadBalancer\",\"externalTrafficPolicy\":\"" policy "\",\"healthCheckNodePort\":" n "," PORTS "}"
    JSON_REF(one) = create(k, &KUBE_SERVICES, NULL, CHECKED("Local", "30012"), "one");
    JSON_REF(same) =
        create(k, &KUBE_SERVICES, "failed to allocate requested HealthCheck NodePort 30012: provided port is already allocated",
               CHECKED("Local", "30012"), "same");
    JSON_REF(low) =
        create(k, &KUBE_SERVICES, "failed to allocate requested HealthCheck NodePort 22: provided port is not in the valid range",
               CHECKED("Local", "22"), "low");
    JSON_REF(cluster) = create(k, &KUBE_SERVICES, "spec.healthCheckNodePort: Invalid value: 30013: may only be set when",
                               CHECKED("Cluster", "30013"), "cluster");
#define NODE_PORT(n) "\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"port\":80,\"nodePort\":" n "}]}"
    JSON_REF(node) = create(k, &KUBE_SERVICES, "provided port is already allocated", NODE_PORT("30012"), "node");
    static const struct {
        const char *patch, *refused;
        int64_t port;
    } steps[] = {
        {"{\"spec\":{\"healthCheckNodePort\":30014}}", "spec.healthCheckNodePort: Forbidden: field is immutable", 30012},
        {"{\"spec\":{\"healthCheckNodePort\":null}}", NULL, 30012},
        {"{\"spec\":{\"externalTrafficPolicy\":\"Cluster\"}}", NULL, 0},
        {"{\"spec\":{\"externalTrafficPolicy\":\"Local\",\"healthCheckNodePort\":30015}}", NULL, 30015},
        {"{\"spec\":{\"type\":\"NodePort\"}}", NULL, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        JSON_REF(patch) = json_parse_str(steps[i].patch, NULL);
        JSON_REF(done) = kube_patch(k, &ctx, &KUBE_SERVICES, "default", "one", KUBE_PATCH_MERGE, json_root(patch), NULL, &e);
        if (!done != !!steps[i].refused || (steps[i].refused && !strstr(err_text(&e), steps[i].refused)))
            fail_msg("step %zu: %s", i, done ? "taken" : err_text(&e));
        JSON_REF(now) = kube_get(k, &ctx, &KUBE_SERVICES, "default", "one", NULL, NULL);
        assert_int_equal(service_spec_health_check_node_port(service_spec(json_root(now)), 0), steps[i].port);
    }
    JSON_REF(free_now) = create(k, &KUBE_SERVICES, NULL, NODE_PORT("30012"), "free");
    apiserver_stop(a);
    fs_rm_rf(dir, NULL);
}

static void claims(void **state)
{
    char dir[] = "/tmp/tm-services-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct kube *k;
    struct apiserver *a = open_server(dir, &k);
#define CLAIM "\"spec\":{\"accessModes\":[\"ReadWriteOnce\"],\"resources\":{\"requests\":{\"storage\":\"1Gi\"}}}"
    JSON_REF(plain) = create(k, &KUBE_PERSISTENTVOLUMECLAIMS, NULL, CLAIM, "plain");
    assert_true(obj_has_finalizer(json_root(plain), "kubernetes.io/pvc-protection"));
    assert_null(persistent_volume_claim_spec_storage_class_name(persistent_volume_claim_spec(json_root(plain))));
    struct ctx ctx = ctx_background();
    JSON_REF(class) =
        json_parse_str("{\"apiVersion\":\"storage.k8s.io/v1\",\"kind\":\"StorageClass\",\"provisioner\":\"a/b\",\"metadata\":{"
                       "\"name\":\"std\",\"annotations\":{\"storageclass.kubernetes.io/is-default-class\":\"true\"}}}",
                       NULL);
    JSON_REF(made) = kube_create(k, &ctx, &KUBE_STORAGECLASSES, NULL, json_root(class), NULL, NULL);
    assert_non_null(made);
    JSON_REF(classed) = create(k, &KUBE_PERSISTENTVOLUMECLAIMS, NULL, CLAIM, "classed");
    assert_string_equal(persistent_volume_claim_spec_storage_class_name(persistent_volume_claim_spec(json_root(classed))), "std");
    apiserver_stop(a);
    fs_rm_rf(dir, NULL);
}

TEST_GROUP(services, cmocka_unit_test(addresses), cmocka_unit_test(shared_ports), cmocka_unit_test(check_ports),
           cmocka_unit_test(claims))
