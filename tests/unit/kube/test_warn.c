/* Warnings about pods and finalizers. */
#include "kube/rules/warn.h"
#include "unit.h"

static void pods(void **state)
{
    static const struct {
        const char *spec, *want; /* warnings, joined by ; */
    } cases[] = {
        {"{\"containers\":[{\"name\":\"c\",\"resources\":{\"limits\":{\"memory\":\"1Gi\",\"cpu\":\"500m\"}},"
         "\"ports\":[{\"containerPort\":80,\"hostPort\":81,\"hostIP\":\"1.2.3.4\"}]}],"
         "\"topologySpreadConstraints\":[{\"topologyKey\":\"x\",\"labelSelector\":{}}],\"imagePullSecrets\":[{\"name\":\"s\"}]}",
         ""},
        {"{\"topologySpreadConstraints\":[{\"topologyKey\":\"x\"}]}",
         "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod"},
        {"{\"imagePullSecrets\":[{\"name\":\"s\"},{}]}", "spec.imagePullSecrets[1].name: invalid empty name \"\""},
        {"{\"containers\":[{},{\"resources\":{\"requests\":{\"memory\":\"500m\"},\"limits\":{\"memory\":\"1500m\"}}}]}",
         "spec.containers[1].resources.limits[memory]: fractional byte value \"1500m\" is invalid, must be an integer;"
         "spec.containers[1].resources.requests[memory]: fractional byte value \"500m\" is invalid, must be an integer"},
        {"{\"initContainers\":[{\"ports\":[{\"containerPort\":80,\"protocol\":\"TCP\",\"hostIP\":\"x\"}]}]}",
         "spec.initContainers[0].ports[0]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:80 Protocol:TCP "
         "HostIP:x}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *text = xasprintf("{\"spec\":%s}", cases[i].spec);
        JSON_REF(pod) = json_parse_str(text, NULL);
        assert_non_null(pod);
        STRLIST(got);
        warn_pod(json_root(pod), &got);
        AUTOFREE char *all = strlist_join(&got, ";");
        assert_string_equal(all, cases[i].want);
    }
}

static void finalizers(void **state)
{
    JSON_REF(old) = json_parse_str("{\"metadata\":{\"finalizers\":[\"a\"]}}", NULL);
    JSON_REF(now) = json_parse_str("{\"metadata\":{\"finalizers\":[\"a\",\"b\",\"x.y/z\",\"orphan\"]}}", NULL);
    STRLIST(first);
    STRLIST(later);
    warn_finalizers(NULL, json_root(now), &first);
    assert_int_equal(first.n, 2);
    warn_finalizers(json_root(old), json_root(now), &later);
    assert_int_equal(later.n, 1);
    assert_string_equal(
        later.v[0],
        "metadata.finalizers: \"b\": prefer a domain-qualified finalizer name to avoid accidental conflicts with other "
        "finalizer writers");
}

TEST_GROUP(warn, cmocka_unit_test(pods), cmocka_unit_test(finalizers))
