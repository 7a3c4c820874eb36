/* OpenAPI documents: what kubectl looks for, and that all references lead somewhere. */
#include "unit.h"

#include "kube/documents/openapi.h"

static struct openapi *with(const struct openapi_kind *more)
{
    struct openapi_kind ks[200];
    size_t n = 0;
    for
        KINDS_EACH(k)
    ks[n++] = (struct openapi_kind){k, NULL, NULL};
    if (more)
        ks[n++] = *more;
    return openapi_new(ks, n);
}

static struct json *group(struct openapi *o, const char *g, const char *v)
{
    const struct kube_doc *doc = openapi_group(o, g, v);
    assert_non_null(doc);
    return json_parse(doc->body, doc->len, NULL, NULL);
}

static void expect_text(jval *v, const char *want)
{
    AUTOFREE char *have = v ? jv_text(v, JW_SORTED) : xstrdup("");
    AUTOFREE char *w = xstrdup(want);
    for (char *p = w; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    assert_string_equal(have, w);
}

static void test_index(void **state)
{
    (void)state;
    struct openapi *o = with(NULL);
    const struct kube_doc *doc = openapi_index(o);
    JSON_REF(index) = json_parse(doc->body, doc->len, NULL, NULL);
    jval *paths = jv_get(json_root(index), "paths");
    assert_null(jv_get(paths, "apis/apps/v1"));
    const char *url = jv_str(jv_path(paths, "apis/coordination.k8s.io/v1", "serverRelativeURL", NULL));
    AUTOFREE char *want =
        xasprintf("/openapi/v3/apis/coordination.k8s.io/v1?hash=%s", openapi_group(o, "coordination.k8s.io", "v1")->etag);
    assert_string_equal(url, want);
    assert_non_null(jv_get(paths, "api/v1"));
    assert_null(openapi_group(o, "apps", "v1"));
    assert_null(openapi_group(o, "none.example", "v1"));
    openapi_free(o);
}

/* kubectl looks for a PATCH of the kind with these parameters before it creates anything. */
static void test_patch_operation(void **state)
{
    (void)state;
    struct openapi *o = with(NULL);
    JSON_REF(core) = group(o, "", "v1");
    jval *patch = jv_path(json_root(core), "paths", "/api/v1/namespaces/{namespace}/pods/{name}", "patch", NULL);
    expect_text(jv_get(patch, "x-kubernetes-group-version-kind"), "{'group':'','kind':'Pod','version':'v1'}");
    expect_text(jv_get(patch, "x-kubernetes-action"), "'patch'");
    expect_text(jv_get(patch, "operationId"), "'patchCoreV1NamespacedPod'");
    static const char *const names[] = {"dryRun", "fieldManager", "fieldValidation", "force"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_string_equal(jv_str(jv_get(jv_at(jv_get(patch, "parameters"), i), "name")), names[i]);
        assert_string_equal(jv_str(jv_get(jv_at(jv_get(patch, "parameters"), i), "in")), "query");
    }
    jval *paths = jv_get(json_root(core), "paths");
    assert_non_null(jv_path(paths, "/api/v1/pods", "get", NULL));
    assert_null(jv_path(paths, "/api/v1/pods", "post", NULL));
    assert_null(jv_path(paths, "/api/v1/namespaces", "delete", NULL));
    assert_non_null(jv_path(paths, "/api/v1/namespaces/{namespace}/pods/{name}/log", "get", NULL));
    assert_non_null(jv_path(paths, "/api/v1/namespaces/{namespace}/pods/{name}/binding", "post", NULL));
    assert_null(jv_get(paths, "/api/v1/namespaces/{namespace}/pods/{name}/resize"));
    openapi_free(o);
}

static void test_schemas(void **state)
{
    (void)state;
    struct openapi *o = with(NULL);
    JSON_REF(core) = group(o, "", "v1");
    jval *s = jv_path(json_root(core), "components", "schemas", NULL);
    expect_text(jv_path(s, "io.k8s.api.core.v1.Pod", "x-kubernetes-group-version-kind", NULL),
                "[{'group':'','kind':'Pod','version':'v1'}]");
    expect_text(jv_path(s, "io.k8s.api.core.v1.PodSpec", "required", NULL), "['containers']");
    expect_text(jv_path(s, "io.k8s.api.core.v1.PodSpec", "properties", "containers", NULL),
                "{'items':{'allOf':[{'$ref':'#/components/schemas/io.k8s.api.core.v1.Container'}],'default':{}},'type':'array',"
                "'x-kubernetes-list-map-keys':['name'],'x-kubernetes-list-type':'map','x-kubernetes-patch-merge-key':'name',"
                "'x-kubernetes-patch-strategy':'merge'}");
    expect_text(jv_path(s, "io.k8s.api.core.v1.PodSpec", "properties", "volumes", "x-kubernetes-patch-strategy", NULL),
                "'merge,retainKeys'");
    expect_text(jv_path(s, "io.k8s.api.core.v1.PodSpec", "properties", "nodeSelector", NULL),
                "{'additionalProperties':{'default':'','type':'string'},'type':'object','x-kubernetes-map-type':'atomic'}");
    expect_text(jv_path(s, "io.k8s.api.core.v1.PodSpec", "properties", "restartPolicy", NULL),
                "{'enum':['Always','Never','OnFailure'],'type':'string'}");
    expect_text(jv_path(s, "io.k8s.api.core.v1.ContainerPort", "properties", "containerPort", NULL),
                "{'default':0,'format':'int32','type':'integer'}");
    expect_text(jv_path(s, "io.k8s.api.core.v1.ContainerPort", "properties", "protocol", NULL),
                "{'default':'TCP','enum':['SCTP','TCP','UDP'],'type':'string'}");
    expect_text(jv_path(s, "io.k8s.api.core.v1.PodList", "properties", "items", "items", "allOf", NULL),
                "[{'$ref':'#/components/schemas/io.k8s.api.core.v1.Pod'}]");
    openapi_free(o);
}

static void check_refs(jval *v, jval *schemas)
{
    struct jiter it = jv_iter(v);
    const char *key;
    jval *x;
    while (jv_next(&it, &key, &x)) {
        if (key && !strcmp(key, "$ref") && jv_is(x, J_STRING))
            assert_non_null(jv_get(schemas, strrchr(jv_str(x), '/') + 1));
        check_refs(x, schemas);
    }
}

static void test_references(void **state)
{
    (void)state;
    struct openapi *o = with(NULL);
    for
        KINDS_EACH(k)
        {
            if (!k->served)
                continue;
            JSON_REF(d) = group(o, k->res.group, k->res.version);
            check_refs(json_root(d), jv_path(json_root(d), "components", "schemas", NULL));
            assert_non_null(jv_path(json_root(d), "components", "schemas", k->type->schema, NULL));
        }
    openapi_free(o);
}

static void test_custom(void **state)
{
    (void)state;
    struct kind *k = kind_new(&(struct kind_custom){.group = "example.com",
                                                    .version = "v1",
                                                    .plural = "widgets",
                                                    .singular = "widget",
                                                    .kind = "Widget",
                                                    .list_kind = "WidgetList",
                                                    .namespaced = false,
                                                    .status = true});
    JSON_REF(doc) = json_parse_str("{\"s\":{\"type\":\"object\",\"properties\":{\"spec\":{\"type\":\"integer\"}}}}", NULL);
    struct openapi *o = with(&(struct openapi_kind){k, doc, jv_get(json_root(doc), "s")});
    JSON_REF(d) = group(o, "example.com", "v1");
    jval *s = jv_path(json_root(d), "components", "schemas", "com.example.v1.Widget", NULL);
    expect_text(jv_path(s, "properties", "spec", NULL), "{'type':'integer'}");
    expect_text(jv_path(s, "properties", "kind", NULL), "{'type':'string'}");
    expect_text(jv_get(s, "x-kubernetes-group-version-kind"), "[{'group':'example.com','kind':'Widget','version':'v1'}]");
    check_refs(json_root(d), jv_path(json_root(d), "components", "schemas", NULL));
    jval *patch = jv_path(json_root(d), "paths", "/apis/example.com/v1/widgets/{name}", "patch", NULL);
    expect_text(jv_get(patch, "x-kubernetes-group-version-kind"), "{'group':'example.com','kind':'Widget','version':'v1'}");
    assert_null(jv_path(patch, "requestBody", "content", "application/strategic-merge-patch+json", NULL));
    assert_non_null(jv_path(json_root(d), "paths", "/apis/example.com/v1/widgets/{name}/status", "put", NULL));
    openapi_free(o);
    kind_free(k);
}

TEST_GROUP(openapi, cmocka_unit_test(test_index), cmocka_unit_test(test_patch_operation), cmocka_unit_test(test_schemas),
           cmocka_unit_test(test_references), cmocka_unit_test(test_custom))
