/* Strategic merge patches. */
#include "unit.h"

#include "kube/apply/strategic.h"
#include "kube/wire/decode.h"
#include "kube/wire/gotext.h"

static char *quotes(const char *s)
{
    char *t = xstrdup(s);
    for (char *p = t; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    return t;
}

#define POD                                                                                                                      \
    "{'metadata':{'finalizers':['a/a','a/"                                                                                       \
    "b']},'spec':{'containers':[{'name':'a','image':'a:1','env':[{'name':'X','value':'1'},{'name':'Y','value':'2'}],"            \
    "'ports':[{'containerPort':80,'name':'h'}],'args':['one','two']},{'name':'b','image':'b:1'}],'volumes':[{'name':'v','"       \
    "emptyDir':{}}],"                                                                                                            \
    "'tolerations':[{'key':'k'}],'nodeSelector':{'a':'b'}}}"

/* Patch of POD, and what is merged: a path and the JSON there ("" when absent), or the error. */
static const struct {
    const char *patch, *path, *out, *error;
} rules[] = {
    {"{'spec':{'containers':[{'name':'c','image':'c:1'}]}}", "spec.containers.*.name", "['c','a','b']", NULL},
    {"{'spec':{'containers':[{'name':'b','image':'b:2'}]}}", "spec.containers.*.image", "['a:1','b:2']", NULL},
    {"{'spec':{'containers':[{'name':'a','$patch':'delete'}]}}", "spec.containers.*.name", "['b']", NULL},
    {"{'spec':{'containers':[{'name':'a','$patch':'delete'},{'name':'b','$patch':'delete'},{'name':'z'}]}}",
     "spec.containers.*.name", "['z']", NULL},
    {"{'spec':{'containers':[{'$patch':'replace'},{'name':'z'}]}}", "spec.containers.*.name", "['z']", NULL},
    {"{'spec':{'volumes':[{'$patch':'replace'}]}}", "spec.volumes", "[]", NULL},
    {"{'spec':{'containers':[{'name':'a','args':['three']}]}}", "spec.containers.0.args", "['three']", NULL},
    {"{'spec':{'containers':[{'name':'a','args':null}]}}", "spec.containers.0.args", "", NULL},
    {"{'spec':{'tolerations':[{'key':'z'}]}}", "spec.tolerations", "[{'key':'z'}]", NULL},
    {"{'spec':{'containers':[{'name':'a','env':[{'name':'Y','value':'22'},{'name':'Z','value':'3'},{'name':'X','$patch':'delete'}"
     "]}]}}",
     "spec.containers.0.env", "[{'name':'Y','value':'22'},{'name':'Z','value':'3'}]", NULL},
    {"{'spec':{'containers':[{'name':'a','ports':[{'containerPort':80,'name':'web'},{'containerPort':81}]}]}}",
     "spec.containers.0.ports", "[{'containerPort':80,'name':'web'},{'containerPort':81}]", NULL},
    {"{'spec':{'$setElementOrder/containers':[{'name':'b'},{'name':'c'},{'name':'a'}],'containers':[{'name':'c'}]}}",
     "spec.containers.*.name", "['b','c','a']", NULL},
    {"{'spec':{'$setElementOrder/containers':[{'name':'c'},{'name':'b'}],'containers':[{'name':'c'}]}}", "spec.containers.*.name",
     "['c','a','b']", NULL},
    {"{'spec':{'$setElementOrder/containers':[{'name':'b'},{'name':'a'}]}}", "spec.containers.*.name", "['b','a']", NULL},
    {"{'spec':{'$setElementOrder/imagePullSecrets':[{'name':'x'}]}}", "spec.imagePullSecrets", "", NULL},
    {"{'spec':{'$setElementOrder/imagePullSecrets':[{'name':'y'},{'name':'x'}],'imagePullSecrets':[{'name':'y'},{'name':'x'}]}}",
     "spec.imagePullSecrets.*.name", "['y','x']", NULL},
    {"{'spec':{'volumes':[{'$retainKeys':['name','hostPath'],'name':'v','hostPath':{'path':'/x'}}]}}", "spec.volumes",
     "[{'hostPath':{'path':'/x'},'name':'v'}]", NULL},
    {"{'spec':{'nodeSelector':{'c':'d'}}}", "spec.nodeSelector", "{'a':'b','c':'d'}", NULL},
    {"{'spec':{'nodeSelector':{'$patch':'replace','c':'d'}}}", "spec.nodeSelector", "{'c':'d'}", NULL},
    {"{'spec':{'nodeSelector':{'$patch':'delete'}}}", "spec.nodeSelector", "{}", NULL},
    {"{'spec':{'nodeSelector':null}}", "spec.nodeSelector", "", NULL},
    {"{'spec':{'affinity':{'nodeAffinity':null}}}", "spec.affinity", "{}", NULL},
    {"{'metadata':{'finalizers':['a/c','a/a']}}", "metadata.finalizers", "['a/c','a/a','a/b']", NULL},
    {"{'metadata':{'$deleteFromPrimitiveList/finalizers':['a/a','a/q']}}", "metadata.finalizers", "['a/b']", NULL},
    {"{'metadata':{'$setElementOrder/finalizers':['a/b','a/d','a/a'],'finalizers':['a/d']}}", "metadata.finalizers",
     "['a/b','a/d','a/a']", NULL},
    {"null", "spec.nodeSelector", "{'a':'b'}", NULL},
    {"{'spec':{'containers':[{'name':'a','$patch':'nope'}]}}", NULL, NULL,
     "unknown patch type: nope in map: map[$patch:nope name:a]"},
    {"{'spec':{'nodeSelector':{'$patch':'merge'}}}", NULL, NULL, "unknown patch type: merge in map: map[$patch:merge]"},
    {"{'spec':{'containers':[{'image':'c:1'}]}}", NULL, NULL, "map: map[image:c:1] does not contain declared merge key: name"},
    {"{'spec':{'$setElementOrder/containers':[{'name':'a'}],'containers':[{'name':'c','image':'c:1'}]}}", NULL, NULL,
     "The order in patch list:\n[map[image:c:1 name:c]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n"},
    {"{'spec':{'tolerations':1,'volumes':['a']}}", NULL, NULL,
     "list element types are not identical: [[map[emptyDir:map[] name:v]] [a]]"},
    {"{'spec':{'volumes':[{'$retainKeys':['name'],'name':'v','hostPath':{'path':'/x'}}]}}", NULL, NULL,
     "invalid patch format of retainKeys"},
    {"[]", NULL, NULL, "json: cannot unmarshal array into Go value of type map[string]interface {}"},
};

static jval *step(jval *v, const char *part)
{
    int64_t n;
    return jv_is(v, J_ARRAY) && str_to_i64(part, &n) ? jv_at(v, (size_t)n) : jv_get(v, part);
}

/* "a.*.b" gives the list of all b. */
static char *at_path(jval *v, const char *path)
{
    STRLIST(parts);
    str_split(path, '.', &parts);
    for (size_t i = 0; i < parts.n; i++) {
        if (strcmp(parts.v[i], "*")) {
            v = step(v, parts.v[i]);
            continue;
        }
        BUF(b);
        buf_addc(&b, '[');
        for (size_t k = 0; k < jv_len(v); k++) {
            buf_adds(&b, k ? "," : "");
            jv_write(step(jv_at(v, k), parts.v[i + 1]), 0, &b);
        }
        buf_addc(&b, ']');
        return buf_steal(&b, NULL);
    }
    return v ? jv_text(v, JW_SORTED) : xstrdup("");
}

static void test_merges(void **state)
{
    (void)state;
    const struct ktype *t = ktype_find("io.k8s.api.core.v1.Pod");
    AUTOFREE char *pod = quotes(POD);
    JSON_REF(original) = json_parse_str(pod, NULL);
    assert_non_null(original);
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        ERR(e);
        AUTOFREE char *p = quotes(rules[i].patch);
        JSON_REF(patch) = json_parse_str(p, &e);
        assert_string_equal(err_text(&e), "");
        JSON_REF(d) = strategic_merge(t, json_root(original), json_root(patch), &e);
        if (rules[i].error) {
            assert_null(d);
            assert_string_equal(err_text(&e), rules[i].error);
            continue;
        }
        assert_string_equal(err_text(&e), "");
        AUTOFREE char *have = at_path(json_root(d), rules[i].path), *want = quotes(rules[i].out);
        assert_string_equal(have, want);
    }
}

static void test_result_is_decoded(void **state)
{
    (void)state;
    const struct ktype *t = ktype_find("io.k8s.api.apps.v1.Deployment");
    static const struct {
        const char *patch, *text;
    } bad[] = {
        {"{'spec':{'template':{'spec':{'containers':{'name':'a'}}}}}",
         " \"\" is invalid: patch: Invalid value: \"map[spec:map[template:map[spec:map[containers:map[name:a]]]]]\": cannot "
         "restore slice from map"},
        {"{'spec':[]}", " \"\" is invalid: patch: Invalid value: \"map[spec:[]]\": cannot restore struct from: slice"},
        {"{'spec':{'replicas':'x'}}",
         " \"\" is invalid: patch: Invalid value: \"map[spec:map[replicas:x]]\": unrecognized type: int32"},
    };
    JSON_REF(original) = json_parse_str("{\"spec\":{\"replicas\":1}}", NULL);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        ERR(e);
        AUTOFREE char *p = quotes(bad[i].patch);
        JSON_REF(patch) = json_parse_str(p, NULL);
        JSON_REF(d) = strategic_patch(t, json_root(original), json_root(patch), NULL, &e);
        assert_null(d);
        assert_string_equal(err_text(&e), bad[i].text);
        assert_int_equal(err_http_status(&e), 422);
        assert_string_equal(e.causes[0].field, "patch");
    }
    STRLIST(unknown);
    JSON_REF(patch) = json_parse_str("{\"spec\":{\"replicas\":2.0,\"foo\":1}}", NULL);
    JSON_REF(d) = strategic_patch(t, json_root(original), json_root(patch), &unknown, NULL);
    assert_int_equal(jv_i64_or(jv_path(json_root(d), "spec", "replicas", NULL), 0), 2);
    assert_int_equal(unknown.n, 1);
    assert_string_equal(unknown.v[0], "unknown field \"spec.foo\"");
}

static void test_error_has_no_reason(void **state)
{
    (void)state;
    ERR(e);
    JSON_REF(patch) = json_parse_str("{\"spec\":{\"containers\":[{}]}}", NULL);
    AUTOFREE char *pod = quotes(POD);
    JSON_REF(original) = json_parse_str(pod, NULL);
    JSON_REF(d) = strategic_merge(ktype_find("io.k8s.api.core.v1.Pod"), json_root(original), json_root(patch), &e);
    assert_null(d);
    assert_int_equal(err_http_status(&e), 500);
    assert_string_equal(err_reason(&e), "");
}

/* A selector that is replaced whole, and one that is merged. */
static void test_replaced_struct(void **state)
{
    (void)state;
    JSON_REF(original) = json_parse_str(
        "{\"spec\":{\"selector\":{\"matchLabels\":{\"a\":\"b\"}},\"podSelector\":{\"matchLabels\":{\"a\":\"b\"}}}}", NULL);
    JSON_REF(patch) = json_parse_str(
        "{\"spec\":{\"selector\":{\"matchLabels\":{\"c\":\"d\"}},\"podSelector\":{\"matchLabels\":{\"c\":\"d\"}}}}", NULL);
    JSON_REF(pdb) =
        strategic_merge(ktype_find("io.k8s.api.policy.v1.PodDisruptionBudget"), json_root(original), json_root(patch), NULL);
    AUTOFREE char *a = at_path(json_root(pdb), "spec.selector");
    assert_string_equal(a, "{\"matchLabels\":{\"c\":\"d\"}}");
    JSON_REF(np) =
        strategic_merge(ktype_find("io.k8s.api.networking.v1.NetworkPolicy"), json_root(original), json_root(patch), NULL);
    AUTOFREE char *b = at_path(json_root(np), "spec.podSelector");
    assert_string_equal(b, "{\"matchLabels\":{\"a\":\"b\",\"c\":\"d\"}}");
}

/* Long lists and maps merge in reasonable time, deep ones are refused. */
static void test_large(void **state)
{
    (void)state;
    BUF(b);
    buf_adds(&b, "{\"status\":{\"conditions\":[");
    for (int i = 0; i < 50000; i++)
        buf_addf(&b, "%s{\"type\":\"c%d\",\"status\":\"True\"}", i ? "," : "", i);
    buf_adds(&b, "]},\"metadata\":{\"labels\":{");
    for (int i = 0; i < 50000; i++)
        buf_addf(&b, "%s\"l%d\":\"v\"", i ? "," : "", i);
    buf_adds(&b, "}}}");
    JSON_REF(d) = json_parse(buf_str(&b), b.len, NULL, NULL);
    JSON_REF(out) = strategic_merge(ktype_find("io.k8s.api.core.v1.Pod"), json_root(d), json_root(d), NULL);
    assert_true(jv_equal(json_root(out), json_root(d)));
    BUF(deep);
    for (int i = 0; i < 300; i++)
        buf_adds(&deep, "{\"a\":");
    buf_adds(&deep, "1");
    for (int i = 0; i < 300; i++)
        buf_adds(&deep, "}");
    ERR(e);
    JSON_REF(nested) = json_parse(buf_str(&deep), deep.len, NULL, NULL);
    JSON_REF(none) = strategic_merge(ktype_find("io.k8s.api.core.v1.Pod"), json_root(nested), json_root(nested), &e);
    assert_null(none);
    assert_string_equal(err_text(&e), "the patch is nested too deeply");
}

static void test_gotext(void **state)
{
    (void)state;
    JSON_REF(d) = json_parse_str("{\"b\":[1,\"x\",null,true,1.50,1e21,0.00001],\"a\":{}}", NULL);
    BUF(b);
    gotext_print(json_root(d), 1000, &b);
    assert_string_equal(buf_str(&b), "map[a:map[] b:[1 x <nil> true 1.5 1e+21 1e-05]]");
    buf_reset(&b);
    gotext_print(json_root(d), 10, &b);
    assert_string_equal(buf_str(&b), "map[a:map[...");
}

TEST_GROUP(strategic, cmocka_unit_test(test_merges), cmocka_unit_test(test_result_is_decoded),
           cmocka_unit_test(test_error_has_no_reason), cmocka_unit_test(test_replaced_struct), cmocka_unit_test(test_large),
           cmocka_unit_test(test_gotext))
