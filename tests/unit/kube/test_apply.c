/* Server-side apply without a server: sets of fields, comparison, merge, removal, and configurations that do not fit. */
#include "kube/apply/apply.h"
#include "unit.h"

static struct json *doc(const char *text)
{
    ERR(e);
    struct json *d = json_parse_str(text, &e);
    if (!d)
        fail_msg("%s: %s", text, err_text(&e));
    return d;
}

static char *set_text(const struct fset *s)
{
    JM_NEW(m);
    jm_set_root(m, fset_write(s, m));
    JSON_REF(d) = jm_freeze(m);
    return jv_text(json_root(d), JW_COMPACT);
}

static struct ftype pod_type(void) { return ftype_of(ktype_find("io.k8s.api.core.v1.Pod"), NULL); }

#define SPEC(x) "{\"spec\":{" x "}}"

static void test_sets(void **state)
{
    static const struct {
        const char *obj, *want;
    } t[] = {
        {SPEC("\"hostNetwork\":true"), "{\"f:spec\":{\"f:hostNetwork\":{}}}"},
        {SPEC("\"nodeSelector\":{\"a\":\"b\"},\"tolerations\":[{}]"),
         "{\"f:spec\":{\"f:nodeSelector\":{},\"f:tolerations\":{}}}"},
        {SPEC("\"containers\":[{\"name\":\"c\",\"args\":[\"x\"],\"env\":[{\"name\":\"E\"}]}]"),
         "{\"f:spec\":{\"f:containers\":{\"k:{\\\"name\\\":\\\"c\\\"}\":{\".\":{},\"f:args\":{},\"f:env\":{\"k:{\\\"name\\\":"
         "\\\"E\\\"}\":"
         "{\".\":{},\"f:name\":{}}},\"f:name\":{}}}}}"},
        {SPEC("\"containers\":[{\"name\":\"c\",\"ports\":[{\"containerPort\":80}]}]"),
         "{\"f:spec\":{\"f:containers\":{\"k:{\\\"name\\\":\\\"c\\\"}\":{\".\":{},\"f:name\":{},\"f:ports\":{\"k:{"
         "\\\"containerPort\\\":80,"
         "\\\"protocol\\\":\\\"TCP\\\"}\":{\".\":{},\"f:containerPort\":{}}}}}}}"},
        {"{\"metadata\":{\"finalizers\":[\"a/b\"],\"labels\":{\"l\":\"1\"},\"annotations\":{}}}",
         "{\"f:metadata\":{\"f:annotations\":{},\"f:finalizers\":{\"v:\\\"a/b\\\"\":{}},\"f:labels\":{\"f:l\":{}}}}"},
    };
    struct ftype pod = pod_type();
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        JSON_REF(d) = doc(t[i].obj);
        JSON_REF(want) = doc(t[i].want);
        FSET(s) = apply_set(&pod, json_root(d));
        FSET(back) = fset_parse(json_root(want));
        AUTOFREE char *text = set_text(s);
        assert_string_equal(text, t[i].want);
        assert_true(fset_equal(s, back));
    }
}

static void test_malformed_sets(void **state)
{
    static const char *const bad[] = {"[]", "{\"x\":{}}", "{\"f:a\":1}", "{\"f:a\":{\"b\":{}}}", "\"f:a\"", "{\"f\":{}}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        JSON_REF(d) = doc(bad[i]);
        assert_null(fset_parse(json_root(d)));
    }
}

/* Many fields, in the worst order: found by a hash, written in order. */
static void test_large_sets(void **state)
{
    FSET(s) = fset_new();
    FSET(t) = fset_new();
    for (int i = 200000; i-- > 0;) {
        char step[16];
        const char *path[] = {"f:data", step};
        snprintf(step, sizeof(step), "f:k%06d", i);
        fset_insert(s, path, 2);
        if (i % 2)
            fset_insert(t, path, 2);
    }
    FSET(left) = fset_minus(s, t);
    STRLIST(paths);
    fset_paths(left, &paths);
    assert_int_equal(paths.n, 100000);
    assert_string_equal(paths.v[0], ".data.k000000");
    assert_string_equal(paths.v[99999], ".data.k199998");
    assert_false(fset_equal(s, t));
}

static void test_compare(void **state)
{
    static const struct {
        const char *old, *now, *changed, *removed;
    } t[] = {
        {"{}", SPEC("\"hostNetwork\":true"), "{\"f:spec\":{\".\":{},\"f:hostNetwork\":{}}}", "{}"},
        {SPEC("\"hostNetwork\":true"), SPEC("\"hostPID\":true"), "{\"f:spec\":{\"f:hostPID\":{}}}",
         "{\"f:spec\":{\"f:hostNetwork\":{}}}"},
        {SPEC("\"tolerations\":[{\"key\":\"a\"}]"), SPEC("\"tolerations\":[{\"key\":\"b\"}]"),
         "{\"f:spec\":{\"f:tolerations\":{}}}", "{}"},
        {SPEC("\"containers\":[{\"name\":\"a\",\"image\":\"1\"},{\"name\":\"b\"}]"),
         SPEC("\"containers\":[{\"name\":\"a\",\"image\":\"2\"}]"),
         "{\"f:spec\":{\"f:containers\":{\"k:{\\\"name\\\":\\\"a\\\"}\":{\"f:image\":{}}}}}",
         "{\"f:spec\":{\"f:containers\":{\"k:{\\\"name\\\":\\\"b\\\"}\":{\".\":{},\"f:name\":{}}}}}"},
        {SPEC("\"nodeSelector\":{}"), SPEC(""), "{}", "{\"f:spec\":{\"f:nodeSelector\":{}}}"},
    };
    struct ftype pod = pod_type();
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        JSON_REF(old) = doc(t[i].old);
        JSON_REF(now) = doc(t[i].now);
        FSET(changed) = fset_new();
        FSET(removed) = fset_new();
        apply_compare(&pod, json_root(old), json_root(now), changed, removed);
        AUTOFREE char *c = set_text(changed), *r = set_text(removed);
        assert_string_equal(c, t[i].changed);
        assert_string_equal(r, t[i].removed);
    }
}

static void test_merge(void **state)
{
#define C(...) SPEC("\"containers\":[" __VA_ARGS__ "]")
    static const struct {
        const char *live, *config, *want;
    } t[] = {
        {SPEC("\"hostPID\":true"), SPEC("\"hostNetwork\":true"), SPEC("\"hostPID\":true,\"hostNetwork\":true")},
        {SPEC("\"nodeSelector\":{\"a\":\"1\"}"), SPEC("\"nodeSelector\":{\"b\":\"1\"}"), SPEC("\"nodeSelector\":{\"b\":\"1\"}")},
        {C("{\"name\":\"a\",\"image\":\"1\"}"), C("{\"name\":\"b\"}"), C("{\"name\":\"a\",\"image\":\"1\"},{\"name\":\"b\"}")},
        {C("{\"name\":\"a\",\"image\":\"1\"},{\"name\":\"b\"}"), C("{\"name\":\"b\",\"image\":\"2\"},{\"name\":\"a\"}"),
         C("{\"name\":\"b\",\"image\":\"2\"},{\"name\":\"a\",\"image\":\"1\"}")},
        {C("{\"name\":\"a\"},{\"name\":\"x\"}"), C("{\"name\":\"n\"},{\"name\":\"a\"}"),
         C("{\"name\":\"n\"},{\"name\":\"a\"},{\"name\":\"x\"}")},
        {C("{\"name\":\"a\"}"), C(), C("{\"name\":\"a\"}")},
        {"{\"metadata\":{\"labels\":{\"a\":\"1\"}}}", "{\"metadata\":{\"labels\":{\"b\":\"2\"}}}",
         "{\"metadata\":{\"labels\":{\"a\":\"1\",\"b\":\"2\"}}}"},
    };
    struct ftype pod = pod_type();
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        JSON_REF(live) = doc(t[i].live);
        JSON_REF(config) = doc(t[i].config);
        JSON_REF(out) = apply_merge(&pod, json_root(live), json_root(config));
        AUTOFREE char *text = jv_text(json_root(out), JW_COMPACT);
        assert_string_equal(text, t[i].want);
    }
}

static void test_prune(void **state)
{
    static const struct {
        const char *merged, *last, *owned, *want;
    } t[] = {
        {"{\"metadata\":{\"labels\":{\"a\":\"1\",\"b\":\"1\"}}}", "{\"f:metadata\":{\"f:labels\":{\"f:a\":{}}}}",
         "{\"f:metadata\":{\"f:labels\":{\"f:b\":{}}}}", "{\"metadata\":{\"labels\":{\"b\":\"1\"}}}"},
        {C("{\"name\":\"a\",\"image\":\"1\",\"imagePullPolicy\":\"Always\"},{\"name\":\"b\"}"),
         "{\"f:spec\":{\"f:containers\":{\"k:{\\\"name\\\":\\\"a\\\"}\":{\".\":{},\"f:image\":{},\"f:name\":{}}}}}",
         "{\"f:spec\":{\"f:containers\":{\"k:{\\\"name\\\":\\\"b\\\"}\":{\".\":{},\"f:name\":{}}}}}", C("{\"name\":\"b\"}")},
        {SPEC("\"hostPID\":true"), "{\"f:spec\":{\"f:hostPID\":{}}}", "{\"f:spec\":{\"f:hostPID\":{}}}",
         SPEC("\"hostPID\":true")},
        {SPEC("\"hostPID\":true"), "{}", "{}", SPEC("\"hostPID\":true")},
    };
    struct ftype pod = pod_type();
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        JSON_REF(merged) = doc(t[i].merged);
        JSON_REF(last) = doc(t[i].last);
        JSON_REF(owned) = doc(t[i].owned);
        FSET(l) = fset_parse(json_root(last));
        FSET(o) = fset_parse(json_root(owned));
        JSON_REF(out) = apply_prune(&pod, json_root(merged), l, o);
        AUTOFREE char *text = jv_text(json_root(out), JW_COMPACT);
        assert_string_equal(text, t[i].want);
    }
}

static void test_check(void **state)
{
    static const struct {
        const char *obj, *want; /* NULL: it fits */
    } t[] = {
        {C("{\"name\":\"a\",\"image\":\"1\"}"), NULL},
        {SPEC("\"foo\":1"), ".spec.foo: field not declared in schema"},
        {SPEC("\"hostPID\":\"x\""), ".spec.hostPID: expected boolean, got &{x}"},
        {SPEC("\"priority\":\"x\""), ".spec.priority: expected numeric (int or float), got string"},
        {SPEC("\"nodeName\":5"), ".spec.nodeName: expected string, got &value.valueUnstructured{Value:5}"},
        {SPEC("\"containers\":5"), ".spec.containers: expected list, got &{5}"},
        {SPEC("\"nodeSelector\":\"x\""), ".spec.nodeSelector: expected map, got &{x}"},
        {C("{\"name\":\"a\"},{\"name\":\"a\"}"), ".spec.containers: duplicate entries for key [name=\"a\"]"},
        {C("null"), ".spec.containers: element 0: associative list with keys may not have a null element"},
        {C("{\"image\":\"i\"}"), NULL}, /* the name's default is a key too */
        {SPEC("\"foo\":1,\"bar\":2"),
         "errors:\n  .spec.foo: field not declared in schema\n  .spec.bar: field not declared in schema"},
    };
    struct ftype pod = pod_type();
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        JSON_REF(d) = doc(t[i].obj);
        ERR(e);
        int rc = apply_check(&pod, json_root(d), &e);
        assert_int_equal(rc, t[i].want ? -1 : 0);
        if (t[i].want)
            assert_string_equal(err_text(&e), t[i].want);
    }
}

static void test_schemas(void **state)
{
    ERR(e);
    JSON_REF(text) =
        doc("{\"type\":\"object\",\"properties\":{\"spec\":{\"type\":\"object\",\"properties\":{\"m\":{\"type\":\"object\","
            "\"additionalProperties\":{\"type\":\"string\"}},\"a\":{\"type\":\"object\",\"x-kubernetes-map-type\":\"atomic\","
            "\"additionalProperties\":{\"type\":\"string\"}},\"l\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"s\":{"
            "\"type\":\"array\",\"x-kubernetes-list-type\":\"set\",\"items\":{\"type\":\"string\"}},\"free\":{\"type\":"
            "\"object\",\"x-kubernetes-preserve-unknown-fields\":true}}}}}");
    struct schema *s = schema_compile(json_root(text), &e);
    assert_non_null(s);
    struct ftype t = ftype_of(NULL, s);
    JSON_REF(obj) = doc(SPEC("\"m\":{\"k\":\"v\"},\"a\":{\"k\":\"v\"},\"l\":[\"x\"],\"s\":[\"x\"],\"free\":{\"y\":{\"z\":1}}"));
    FSET(set) = apply_set(&t, json_root(obj));
    AUTOFREE char *got = set_text(set);
    assert_string_equal(
        got, "{\"f:spec\":{\"f:a\":{},\"f:free\":{\"f:y\":{\".\":{},\"f:z\":{}}},\"f:l\":{},\"f:m\":{\"f:k\":{}},\"f:s\":{"
             "\"v:\\\"x\\\"\":{}}}}");
    JSON_REF(bad) = doc(SPEC("\"nope\":1"));
    assert_int_equal(apply_check(&t, json_root(obj), &e), 0);
    assert_int_equal(apply_check(&t, json_root(bad), &e), -1);
    assert_string_equal(err_text(&e), ".spec.nope: field not declared in schema");
    schema_free(s);
}

TEST_GROUP(apply, cmocka_unit_test(test_sets), cmocka_unit_test(test_malformed_sets), cmocka_unit_test(test_large_sets),
           cmocka_unit_test(test_compare), cmocka_unit_test(test_merge), cmocka_unit_test(test_prune),
           cmocka_unit_test(test_check), cmocka_unit_test(test_schemas))
