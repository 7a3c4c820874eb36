/* What objects count against quotas, and what limit ranges fill in and refuse: one line a case. */
#include "unit.h"

#include "base/str.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "kube/rules/quota.h"
#include "kube/rules/validate.h"

static struct json *parse(const char *text)
{
    char *copy = xstrdup(text);
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    struct json *d = json_parse_str(copy, NULL);
    if (!d)
        fail_msg("no JSON: %s", copy);
    free(copy);
    return d;
}

#define POD(x)         "{'metadata':{'name':'p'},'spec':{" x "}}"
#define ONE(resources) "'containers':[{'name':'c','resources':{" resources "}}]"

static void usage(void **state)
{
    static const struct {
        const struct kube_res *res;
        const char *object, *want; /* "name=amount,..." by name */
    } cases[] = {
        {&KUBE_PODS, POD(ONE("")), "count/pods=1,pods=1"},
        {&KUBE_PODS, POD(ONE("'requests':{'cpu':'500m','memory':'1Gi'},'limits':{'cpu':'1','memory':'1Gi'}")),
         "count/pods=1,cpu=500m,limits.cpu=1,limits.memory=1Gi,memory=1Gi,pods=1,requests.cpu=500m,requests.memory=1Gi"},
        {&KUBE_PODS, POD(ONE("'limits':{'example.com/gpu':'2','hugepages-2Mi':'4Mi'}")),
         "count/pods=1,hugepages-2Mi=4Mi,pods=1,requests.example.com/gpu=2,requests.hugepages-2Mi=4Mi"},
        {&KUBE_PODS, POD("'initContainers':[{'name':'i','resources':{'requests':{'cpu':'2'}}}]," ONE("'requests':{'cpu':'1'}")),
         "count/pods=1,cpu=2,pods=1,requests.cpu=2"},
        {&KUBE_PODS,
         POD("'initContainers':[{'name':'s','restartPolicy':'Always','resources':{'requests':{'cpu':'2'}}}]," ONE(
             "'requests':{'cpu':'1'}")),
         "count/pods=1,cpu=3,pods=1,requests.cpu=3"},
        {&KUBE_PODS, POD("'resources':{'requests':{'cpu':'3'}}," ONE("'requests':{'cpu':'1','memory':'1M'}")),
         "count/pods=1,cpu=3,memory=1M,pods=1,requests.cpu=3,requests.memory=1M"},
        {&KUBE_PODS, "{'spec':{" ONE("'requests':{'cpu':'1'}") "},'status':{'phase':'Succeeded'}}", "count/pods=1"},
        {&KUBE_PODS, "{'spec':{" ONE("'requests':{'cpu':'1'}") "},'status':{'phase':'Failed'}}", "count/pods=1"},
        {&KUBE_SERVICES, "{'spec':{'type':'ClusterIP','ports':[{'port':1}]}}",
         "count/services=1,services=1,services.loadbalancers=0,services.nodeports=0"},
        {&KUBE_SERVICES, "{'spec':{'type':'NodePort','ports':[{'port':1},{'port':2}]}}",
         "count/services=1,services=1,services.loadbalancers=0,services.nodeports=2"},
        {&KUBE_SERVICES, "{'spec':{'type':'LoadBalancer','ports':[{'port':1}]}}",
         "count/services=1,services=1,services.loadbalancers=1,services.nodeports=1"},
        {&KUBE_SERVICES, "{'spec':{'type':'LoadBalancer','allocateLoadBalancerNodePorts':false,'ports':[{'port':1}]}}",
         "count/services=1,services=1,services.loadbalancers=1,services.nodeports=0"},
        {&KUBE_PERSISTENTVOLUMECLAIMS, "{'spec':{'storageClassName':'fast','resources':{'requests':{'storage':'2Gi'}}}}",
         "count/persistentvolumeclaims=1,fast.storageclass.storage.k8s.io/persistentvolumeclaims=1,"
         "fast.storageclass.storage.k8s.io/requests.storage=2Gi,persistentvolumeclaims=1,requests.storage=2Gi"},
        {&KUBE_CONFIGMAPS, "{}", "configmaps=1,count/configmaps=1"},
        {&KUBE_LEASES, "{}", "count/leases.coordination.k8s.io=1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        JSON_REF(o) = parse(cases[i].object);
        CLEANUP(amounts_free) struct amounts got = {0};
        STRLIST(names);
        BUF(text);
        quota_usage(cases[i].res, json_root(o), &got);
        amounts_sort(&got);
        for (size_t k = 0; k < got.n; k++) {
            assert_true(quota_counts(cases[i].res, got.v[k].name));
            strlist_add(&names, got.v[k].name);
        }
        quota_text(&got, &names, &text);
        assert_string_equal(buf_str(&text), cases[i].want);
    }
    assert_false(quota_counts(&KUBE_PODS, "requests.storage"));
    assert_false(quota_counts(&KUBE_CONFIGMAPS, "secrets"));
    assert_false(quota_counts(&KUBE_LEASES, "count/leases"));
}

static void scopes(void **state)
{
    static const char best_effort[] = POD(ONE("")), burstable[] = POD(ONE("'requests':{'cpu':'1m'}"));
    static const char ends[] = POD("'activeDeadlineSeconds':5," ONE("")), classed[] = POD("'priorityClassName':'high'," ONE(""));
    static const char crossing[] =
        POD("'affinity':{'podAntiAffinity':{'requiredDuringSchedulingIgnoredDuringExecution':[{'namespaces':['x']}]}}," ONE(""));
#define SCOPE(s) "'scopes':['" s "']"
#define EXPR(s, op, values)                                                                                                      \
    "'scopeSelector':{'matchExpressions':[{'scopeName':'" s "','operator':'" op "','values':[" values "]}]}"
    static const struct {
        const char *spec, *pod;
        bool want;
    } cases[] = {
        {"'hard':{}", best_effort, true},
        {SCOPE("BestEffort"), best_effort, true},
        {SCOPE("BestEffort"), burstable, false},
        {SCOPE("NotBestEffort"), burstable, true},
        {SCOPE("Terminating"), ends, true},
        {SCOPE("Terminating"), best_effort, false},
        {SCOPE("NotTerminating"), best_effort, true},
        {SCOPE("CrossNamespacePodAffinity"), crossing, true},
        {SCOPE("CrossNamespacePodAffinity"), best_effort, false},
        {SCOPE("PriorityClass"), classed, true},
        {SCOPE("PriorityClass"), best_effort, false},
        {"'scopes':['BestEffort','Terminating']", best_effort, false},
        {EXPR("PriorityClass", "In", "'high'"), classed, true},
        {EXPR("PriorityClass", "In", "'low'"), classed, false},
        {EXPR("PriorityClass", "NotIn", "'low'"), classed, true},
        {EXPR("PriorityClass", "NotIn", "'low'"), best_effort, true},
        {EXPR("PriorityClass", "DoesNotExist", ""), best_effort, true},
        {EXPR("PriorityClass", "DoesNotExist", ""), classed, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *text = xasprintf("{'spec':{%s}}", cases[i].spec);
        JSON_REF(quota) = parse(text);
        JSON_REF(pod) = parse(cases[i].pod);
        if (quota_covers(json_root(quota), &KUBE_PODS, json_root(pod)) != cases[i].want)
            fail_msg("%s of %s", cases[i].spec, cases[i].pod);
    }
    JSON_REF(quota) = parse("{'spec':{" SCOPE("BestEffort") "}}");
    JSON_REF(service) = parse("{'spec':{}}");
    assert_false(quota_covers(json_root(quota), &KUBE_SERVICES, json_root(service)));
}

static void missing(void **state)
{
    static const struct {
        const char *hard, *pod, *want;
    } cases[] = {
        {"'requests.cpu':'1','limits.cpu':'1'", POD(ONE("")), "limits.cpu for: c; requests.cpu for: c"},
        {"'requests.cpu':'1'", POD(ONE("'requests':{'cpu':'1'}")), ""},
        {"'memory':'1'", POD("'containers':[{'name':'b'},{'name':'a'}]"), "memory for: a,b"},
        {"'cpu':'1'", POD("'initContainers':[{'name':'i'}]," ONE("'requests':{'cpu':'1'}")), "cpu for: i"},
        {"'pods':'1','requests.ephemeral-storage':'1'", POD(ONE("")), ""},
        {"'cpu':'1'", POD("'resources':{'requests':{'cpu':'1'}}," ONE("")), ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *text = xasprintf("{'spec':{'hard':{%s}}}", cases[i].hard);
        JSON_REF(quota) = parse(text);
        JSON_REF(pod) = parse(cases[i].pod);
        BUF(got);
        assert_int_equal(quota_missing(json_root(quota), json_root(pod), &got), *cases[i].want != 0);
        assert_string_equal(buf_str(&got), cases[i].want);
    }
}

#define CONTAINER(x) "{'spec':{'limits':[{'type':'Container'," x "}]}}"
#define WHOLE(x)     "{'spec':{'limits':[{'type':'Pod'," x "}]}}"

static void limits(void **state)
{
    static const struct {
        const char *range, *pod, *want;
    } cases[] = {
        {CONTAINER("'max':{'cpu':'1'}"), POD(ONE("'limits':{'cpu':'1'}")), ""},
        {CONTAINER("'max':{'cpu':'1'}"), POD(ONE("'limits':{'cpu':'2'}")),
         "maximum cpu usage per Container is 1, but limit is 2"},
        {CONTAINER("'max':{'cpu':'1'}"), POD(ONE("")), "maximum cpu usage per Container is 1.  No limit is specified"},
        {CONTAINER("'max':{'cpu':'1'}"), POD(ONE("'limits':{'cpu':'1'},'requests':{'cpu':'2'}")),
         "maximum cpu usage per Container is 1, but request is 2"},
        {CONTAINER("'min':{'cpu':'1'}"), POD(ONE("")), "minimum cpu usage per Container is 1.  No request is specified"},
        {CONTAINER("'min':{'cpu':'1'}"), POD(ONE("'requests':{'cpu':'100m'}")),
         "minimum cpu usage per Container is 1, but request is 100m"},
        {CONTAINER("'min':{'cpu':'1'}"), POD(ONE("'requests':{'cpu':'1'},'limits':{'cpu':'100m'}")),
         "minimum cpu usage per Container is 1, but limit is 100m"},
        {CONTAINER("'maxLimitRequestRatio':{'cpu':'2'}"), POD(ONE("'requests':{'cpu':'1'},'limits':{'cpu':'2'}")), ""},
        {CONTAINER("'maxLimitRequestRatio':{'cpu':'2'}"), POD(ONE("'requests':{'cpu':'1'},'limits':{'cpu':'2500m'}")),
         "cpu max limit to request ratio per Container is 2, but provided ratio is 2.500000"},
        {CONTAINER("'maxLimitRequestRatio':{'cpu':'2'}"), POD(ONE("")),
         "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0"},
        {CONTAINER("'maxLimitRequestRatio':{'cpu':'2'}"), POD(ONE("'requests':{'cpu':'1'}")),
         "cpu max limit to request ratio per Container is 2, but no limit is specified or limit is 0"},
        {CONTAINER("'max':{'cpu':'1'}"), POD("'containers':[{'name':'a'},{'name':'b'}]"),
         "maximum cpu usage per Container is 1.  No limit is specified"},
        {CONTAINER("'min':{'cpu':'1','memory':'1Gi'}"), POD(ONE("'requests':{'cpu':'1m','memory':'1'}")),
         "minimum cpu usage per Container is 1, but request is 1m|minimum memory usage per Container is 1Gi, but request is 1"},
        {CONTAINER("'max':{'cpu':'1'}"), POD("'initContainers':[{'name':'i','resources':{'limits':{'cpu':'3'}}}]"),
         "maximum cpu usage per Container is 1, but limit is 3"},
        {WHOLE("'max':{'cpu':'3'}"),
         POD("'containers':[{'name':'a','resources':{'limits':{'cpu':'2'}}},{'name':'b','resources':{'limits':{'cpu':'2'}}}]"),
         "maximum cpu usage per Pod is 3, but limit is 4"},
        {"{'spec':{'limits':[{'type':'PersistentVolumeClaim','max':{'storage':'1'}}]}}", POD(ONE("'limits':{'cpu':'2'}")), ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        JSON_REF(range) = parse(cases[i].range);
        JSON_REF(pod) = parse(cases[i].pod);
        STRLIST(faults);
        limits_check(json_root(range), &KUBE_PODS, json_root(pod), &faults);
        AUTOFREE char *got = strlist_join(&faults, "|");
        assert_string_equal(got, cases[i].want);
    }
    JSON_REF(range) =
        parse("{'spec':{'limits':[{'type':'PersistentVolumeClaim','min':{'storage':'1Gi'},'max':{'storage':'5Gi'}}]}}");
    static const char *const sizes[][2] = {{"1Gi", ""},
                                           {"9Gi", "maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 9Gi"},
                                           {"1Mi", "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"}};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        AUTOFREE char *text = xasprintf("{'spec':{'resources':{'requests':{'storage':'%s'}}}}", sizes[i][0]);
        JSON_REF(claim) = parse(text);
        STRLIST(faults);
        limits_check(json_root(range), &KUBE_PERSISTENTVOLUMECLAIMS, json_root(claim), &faults);
        AUTOFREE char *got = strlist_join(&faults, "|");
        assert_string_equal(got, sizes[i][1]);
    }
}

static void filling(void **state)
{
    JSON_REF(range) =
        parse(CONTAINER("'default':{'cpu':'500m','memory':'128Mi'},'defaultRequest':{'cpu':'100m','memory':'128Mi'}"));
    static const struct {
        const char *pod, *resources, *annotation;
    } cases[] = {
        {POD(ONE("")), "{'requests':{'cpu':'100m','memory':'128Mi'},'limits':{'cpu':'500m','memory':'128Mi'}}",
         "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c"},
        {POD(ONE("'requests':{'cpu':'1'}")), "{'requests':{'cpu':'1','memory':'128Mi'},'limits':{'cpu':'500m','memory':'128Mi'}}",
         "LimitRanger plugin set: memory request for container c; cpu, memory limit for container c"},
        {POD(ONE("'requests':{'cpu':'1','memory':'1'},'limits':{'cpu':'1','memory':'1'}")),
         "{'requests':{'cpu':'1','memory':'1'},'limits':{'cpu':'1','memory':'1'}}", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        JSON_REF(pod) = parse(cases[i].pod);
        JSON_REF(want) = parse(cases[i].resources);
        JM(m, json_root(pod));
        assert_int_equal(limits_fill(json_root(range), m), cases[i].annotation != NULL);
        JSON_REF(now) = jm_freeze(m);
        jval *c = jv_at(pod_spec_containers(pod_spec(json_root(now))), 0);
        assert_true(jv_equal(container_resources(c), json_root(want)));
        const char *told = obj_annotation(json_root(now), "kubernetes.io/limit-ranger");
        assert_true(str_eq(told, cases[i].annotation) || (!told && !cases[i].annotation));
    }
}

#define RANGE(x) "{'metadata':{'name':'l','namespace':'n'},'spec':{'limits':[" x "]}}"
#define QUOTA(x) "{'metadata':{'name':'q','namespace':'n'},'spec':{" x "}}"

static void rules(void **state)
{
    static const struct {
        const struct kube_res *res;
        const char *object, *want; /* want NULL: good */
    } cases[] = {
        {&KUBE_RESOURCEQUOTAS, QUOTA("'hard':{'pods':'1','count/widgets.example.com':'2','requests.example.com/gpu':'1'}"), NULL},
        {&KUBE_RESOURCEQUOTAS, QUOTA("'hard':{'nope':'1'}"),
         "spec.hard[nope]: Invalid value: \"nope\": must be a standard resource for quota"},
        {&KUBE_RESOURCEQUOTAS, QUOTA("'hard':{'pods':'-1'}"),
         "spec.hard[pods]: Invalid value: \"-1\": must be greater than or equal to 0"},
        {&KUBE_RESOURCEQUOTAS, QUOTA("'hard':{'pods':'1.5'}"), "spec.hard[pods]: Invalid value: \"1500m\": must be an integer"},
        {&KUBE_RESOURCEQUOTAS, QUOTA("'hard':{'count/secrets':'1.5'}"), "must be an integer"},
        {&KUBE_RESOURCEQUOTAS, QUOTA("'scopes':['X']"), "spec.scopes: Invalid value: [\"X\"]: unsupported scope"},
        {&KUBE_RESOURCEQUOTAS, QUOTA("'hard':{'cpu':'1'},'scopes':['BestEffort']"), "unsupported scope applied to resource"},
        {&KUBE_RESOURCEQUOTAS, QUOTA("'hard':{'cpu':'1'},'scopes':['NotBestEffort']"), NULL},
        {&KUBE_RESOURCEQUOTAS, QUOTA("'scopes':['Terminating','NotTerminating']"), "conflicting scopes"},
        {&KUBE_RESOURCEQUOTAS, QUOTA("'scopeSelector':{'matchExpressions':[{'scopeName':'PriorityClass','operator':'In'}]}"),
         "spec.scopeSelector.matchExpressions.values: Required value"},
        {&KUBE_RESOURCEQUOTAS,
         QUOTA("'scopeSelector':{'matchExpressions':[{'scopeName':'BestEffort','operator':'In','values':['a']}]}"),
         "must be 'Exist' when scope is any of"},
        {&KUBE_RESOURCEQUOTAS, QUOTA("'scopeSelector':{'matchExpressions':[{'scopeName':'PriorityClass','operator':'Is'}]}"),
         "not a valid selector operator"},
        {&KUBE_LIMITRANGES, RANGE("{'type':'Container','max':{'cpu':'1'}},{'type':'Pod','max':{'cpu':'1'}}"), NULL},
        {&KUBE_LIMITRANGES, RANGE("{'type':'example.com/thing'}"), NULL},
        {&KUBE_LIMITRANGES, RANGE("{'type':'X'}"), "must be a standard limit type or fully qualified"},
        {&KUBE_LIMITRANGES, RANGE("{'type':'Pod'},{'type':'Pod'}"), "spec.limits[1].type: Duplicate value: \"Pod\""},
        {&KUBE_LIMITRANGES, RANGE("{'type':'Pod','default':{'cpu':'1'}}"), "spec.limits[0].default: Forbidden"},
        {&KUBE_LIMITRANGES, RANGE("{'type':'PersistentVolumeClaim'}"), "spec.limits[0].limits: Required value"},
        {&KUBE_LIMITRANGES, RANGE("{'type':'Container','max':{'pods':'1'}}"), "must be a standard resource for containers"},
        {&KUBE_LIMITRANGES, RANGE("{'type':'Container','max':{'cpu':'1'},'min':{'cpu':'2'}}"),
         "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1"},
        {&KUBE_LIMITRANGES, RANGE("{'type':'Container','maxLimitRequestRatio':{'cpu':'0.5'}}"), "ratio 500m is less than 1"},
        {&KUBE_LIMITRANGES, RANGE("{'type':'Container','min':{'cpu':'1'},'max':{'cpu':'2'},'maxLimitRequestRatio':{'cpu':'3'}}"),
         "ratio 3 is greater than max/min = 2.000000"},
        {&KUBE_STORAGECLASSES,
         "{'metadata':{'name':'c'},'provisioner':'a','volumeBindingMode':'Immediate','parameters':{'':'x'}}",
         "parameters: Invalid value: \"\": field can not be empty."},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        JSON_REF(o) = parse(cases[i].object);
        ERR(e);
        int rc = validate_create(cases[i].res, json_root(o), &e);
        if (cases[i].want ? rc == 0 || !strstr(err_text(&e), cases[i].want) : rc < 0)
            fail_msg("%s: %s", cases[i].object, rc < 0 ? err_text(&e) : "taken");
    }
    JSON_REF(old) = parse(QUOTA("'scopes':['BestEffort']"));
    JSON_REF(now) = parse(QUOTA("'scopes':['Terminating']"));
    ERR(e);
    assert_int_equal(validate_update(&KUBE_RESOURCEQUOTAS, NULL, json_root(old), json_root(now), &e), -1);
    assert_non_null(strstr(err_text(&e), "spec.scopes: Invalid value"));
}

TEST_GROUP(quota, cmocka_unit_test(usage), cmocka_unit_test(scopes), cmocka_unit_test(missing), cmocka_unit_test(limits),
           cmocka_unit_test(filling), cmocka_unit_test(rules))
