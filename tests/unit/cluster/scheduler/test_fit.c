/* The filter, rule by rule. */
#include "cluster/scheduler/fit.h"
#include "unit.h"

static const char NODE[] =
    "{\"metadata\":{\"name\":\"n\",\"labels\":{\"zone\":\"a\",\"size\":\"5\"}},\"spec\":{%s},\"status\":{\"allocatable\":"
    "{\"cpu\":\"4\",\"memory\":\"8Gi\",\"pods\":\"3\",\"nvidia.com/gpu\":\"1\"}}}";

static void filter(void **state)
{
#define CPU(q) "\"containers\":[{\"resources\":{\"requests\":{\"cpu\":\"" q "\"}}}]"
#define AFFINITY(op, values)                                                                                                     \
    "\"affinity\":{\"nodeAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":{\"nodeSelectorTerms\":[{"               \
    "\"matchExpressions\":"                                                                                                      \
    "[{\"key\":\"size\",\"operator\":\"" op "\",\"values\":[" values "]}]}]}}}"
#define TAINT "\"taints\":[{\"key\":\"k\",\"value\":\"v\",\"effect\":\"NoSchedule\"}]"
    static const struct {
        const char *pod, *node, *why; /* why NULL: fits */
        bool helps;
    } cases[] = {
        {"", "", NULL},
        {CPU("4"), "", NULL},
        {CPU("5"), "", "Insufficient cpu", false},
        {"\"containers\":[{\"resources\":{\"limits\":{\"memory\":\"9Gi\"}}}]", "", "Insufficient memory", false},
        {"\"containers\":[{\"resources\":{\"limits\":{\"nvidia.com/gpu\":\"2\"}}}]", "", "Insufficient nvidia.com/gpu", false},
        {"\"containers\":[{\"resources\":{\"limits\":{\"amd.com/gpu\":\"1\"}}}]", "", "Insufficient amd.com/gpu", false},
        {"\"initContainers\":[{\"resources\":{\"requests\":{\"cpu\":\"5\"}}}]", "", "Insufficient cpu", false},
        {"\"nodeSelector\":{\"zone\":\"a\"}", "", NULL},
        {"\"nodeSelector\":{\"zone\":\"b\"}", "", "node(s) didn't match Pod's node affinity/selector", false},
        {AFFINITY("In", "\"5\",\"6\""), "", NULL},
        {AFFINITY("NotIn", "\"5\""), "", "node(s) didn't match Pod's node affinity/selector", false},
        {AFFINITY("Gt", "\"4\""), "", NULL},
        {AFFINITY("Lt", "\"4\""), "", "node(s) didn't match Pod's node affinity/selector", false},
        {AFFINITY("Exists", ""), "", NULL},
        {AFFINITY("DoesNotExist", ""), "", "node(s) didn't match Pod's node affinity/selector", false},
        {"", TAINT, "node(s) had untolerated taint(s)", false},
        {"\"tolerations\":[{\"operator\":\"Exists\"}]", TAINT, NULL},
        {"\"tolerations\":[{\"key\":\"k\",\"value\":\"v\",\"effect\":\"NoSchedule\"}]", TAINT, NULL},
        {"\"tolerations\":[{\"key\":\"k\",\"value\":\"x\"}]", TAINT, "node(s) had untolerated taint(s)", false},
        {"", "\"taints\":[{\"key\":\"k\",\"effect\":\"PreferNoSchedule\"}]", NULL},
        {"", "\"unschedulable\":true", "node(s) were unschedulable", false},
        {"\"tolerations\":[{\"key\":\"node.kubernetes.io/unschedulable\",\"operator\":\"Exists\"}]", "\"unschedulable\":true",
         NULL},
        {"\"containers\":[{\"ports\":[{\"hostPort\":80}]}]", "", "node(s) didn't have free ports for the requested pod ports",
         true},
        {"\"containers\":[{\"ports\":[{\"hostPort\":81}]}]", "", NULL},
    };
    struct usage u = {0};
    strlist_add(&u.ports, "TCP/80");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *pt = xasprintf("{\"metadata\":{\"name\":\"p\"},\"spec\":{%s}}", cases[i].pod),
                      *nt = xasprintf(NODE, cases[i].node);
        JSON_REF(pod) = json_parse_str(pt, NULL);
        JSON_REF(node) = json_parse_str(nt, NULL);
        assert_non_null(pod);
        STRLIST(why);
        bool helps = false, fits = node_fits(json_root(pod), json_root(node), &u, &why, &helps);
        if (fits != !cases[i].why)
            fail_msg("case %zu: %s", i, why.n ? why.v[0] : "fits");
        if (cases[i].why)
            assert_string_equal(why.v[0], cases[i].why);
        assert_int_equal(helps, cases[i].helps);
    }
    strlist_free(&u.ports);
}

static void sums(void **state)
{
    JSON_REF(pod) = json_parse_str(
        "{\"spec\":{\"overhead\":{\"cpu\":\"250m\"},\"containers\":[{\"resources\":{\"requests\":{\"cpu\":\"1\"}}},{"
        "\"resources\":{\"requests\":{\"cpu\":\"500m\","
        "\"memory\":\"1Gi\"}}}],\"initContainers\":[{\"resources\":{\"requests\":{\"cpu\":\"1200m\",\"memory\":\"2Gi\"}}}]}}",
        NULL);
    CLEANUP(amounts_free) struct amounts a = {0};
    CLEANUP(amounts_free) struct amounts twice = {0};
    pod_requests(json_root(pod), &a);
    assert_true(amounts_get(&a, "cpu") == (__int128)1750 * 1000000);
    assert_true(amounts_get(&a, "memory") == ((__int128)2 << 30) * 1000000000);
    assert_true(amounts_get(&a, "nothing") == 0);
    amounts_add(&twice, &a, 1);
    amounts_add(&twice, &a, 1);
    amounts_add(&twice, &a, -1);
    assert_true(amounts_get(&twice, "cpu") == amounts_get(&a, "cpu"));
}

static void room(void **state)
{
    AUTOFREE char *nt = xasprintf(NODE, "");
    JSON_REF(pod) = json_parse_str("{\"spec\":{" CPU("3") "}}", NULL);
    JSON_REF(node) = json_parse_str(nt, NULL);
    CLEANUP(amounts_free) struct amounts one = {0};
    struct usage u = {0};
    pod_requests(json_root(pod), &one);
    amounts_add(&u.used, &one, 1);
    u.pods = 3;
    STRLIST(why);
    bool helps = false;
    assert_false(node_fits(json_root(pod), json_root(node), &u, &why, &helps));
    assert_true(helps);
    assert_true(strlist_has(&why, "Insufficient cpu"));
    assert_true(strlist_has(&why, "Too many pods"));
    amounts_free(&u.used);
}

/* Side-cars go on: beside the containers, and beside the init containers after them. */
static void test_sidecars(void **state)
{
    static const struct {
        const char *inits;
        int64_t milli;
    } cases[] = {
        {"", 100},
        {"{'restartPolicy':'Always','resources':{'requests':{'cpu':'50m'}}}", 150},
        {"{'resources':{'requests':{'cpu':'300m'}}},{'restartPolicy':'Always','resources':{'requests':{'cpu':'50m'}}}", 300},
        {"{'restartPolicy':'Always','resources':{'requests':{'cpu':'50m'}}},{'resources':{'requests':{'cpu':'300m'}}}", 350},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *text = xasprintf(
            "{'spec':{'initContainers':[%s],'containers':[{'resources':{'requests':{'cpu':'100m'}}}]}}", cases[i].inits);
        for (char *c = text; *c; c++)
            if (*c == '\'')
                *c = '"';
        JSON_REF(pod) = json_parse_str(text, NULL);
        CLEANUP(amounts_free) struct amounts a = {0};
        assert_non_null(pod);
        pod_requests(json_root(pod), &a);
        assert_int_equal((int64_t)(amounts_get(&a, "cpu") / 1000000), cases[i].milli);
    }
}

TEST_GROUP(fit, cmocka_unit_test(test_sidecars), cmocka_unit_test(filter), cmocka_unit_test(sums), cmocka_unit_test(room))
