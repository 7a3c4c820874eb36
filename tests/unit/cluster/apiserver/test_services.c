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
        create(k, &KUBE_SERVICES, "is not in the valid range", "\"spec\":{\"clusterIP\":\"1.2.3.4\"," PORTS "}", "far");
    JSON_REF(any) = create(k, &KUBE_SERVICES, NULL, "\"spec\":{" PORTS "}", "any");
    assert_memory_equal(service_spec_cluster_ip(service_spec(json_root(any))), "10.96.", 6);
    JSON_REF(node) =
        create(k, &KUBE_SERVICES, NULL, "\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"port\":80,\"nodePort\":30500}]}", "node");
    JSON_REF(same) = create(k, &KUBE_SERVICES, "provided port is already allocated",
                            "\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"port\":80,\"nodePort\":30500}]}", "same");
    JSON_REF(low) = create(k, &KUBE_SERVICES, "provided port is not in the valid range",
                           "\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"port\":80,\"nodePort\":22}]}", "low");
    apiserver_stop(a);
    a = open_server(dir, &k);
    JSON_REF(three) = create(k, &KUBE_SERVICES, "already allocated", "\"spec\":{\"clusterIP\":\"10.96.7.7\"," PORTS "}", "three");
    struct ctx ctx = ctx_background();
    assert_int_equal(kube_delete(k, &ctx, &KUBE_SERVICES, "default", "one", NULL, NULL, NULL), 0);
    JSON_REF(four) = create(k, &KUBE_SERVICES, NULL, "\"spec\":{\"clusterIP\":\"10.96.7.7\"," PORTS "}", "four");
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

TEST_GROUP(services, cmocka_unit_test(addresses), cmocka_unit_test(claims))
