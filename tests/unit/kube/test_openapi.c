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

/* names: the members of v are named by fields, of which one may be called "allOf". */
static void check_v2(jval *v, bool names)
{
    struct jiter it = jv_iter(v);
    const char *key;
    jval *x;
    while (jv_next(&it, &key, &x)) {
        assert_false(!names && key && (!strcmp(key, "allOf") || !strcmp(key, "oneOf") || !strcmp(key, "nullable")));
        check_v2(x, !names && key && !strcmp(key, "properties"));
    }
}

/* A field of a protobuf message, which must be the next; what it holds. Lengths in these tests are what they are. */
static const char *field(const char **p, const char *end, unsigned want, size_t *n)
{
    uint64_t v[2] = {0};
    for (int i = 0; i < 2; i++)
        for (int shift = 0;; shift += 7) {
            assert_true(*p < end);
            unsigned char c = (unsigned char)*(*p)++;
            v[i] |= (uint64_t)(c & 127) << shift;
            if (c < 128)
                break;
        }
    assert_int_equal(v[0], want << 3 | 2);
    assert_true(v[1] <= (size_t)(end - *p));
    const char *at = *p;
    *n = v[1];
    *p += v[1];
    return at;
}

static void test_v2(void **state)
{
    (void)state;
    struct kind *k = kind_new(&(struct kind_custom){.group = "example.com",
                                                    .version = "v1",
                                                    .plural = "widgets",
                                                    .singular = "widget",
                                                    .kind = "Widget",
                                                    .list_kind = "WidgetList"});
    JSON_REF(doc) = json_parse_str(
        "{\"s\":{\"type\":\"object\",\"properties\":{\"spec\":{\"type\":\"object\",\"properties\":{"
        "\"a\":{\"type\":\"integer\",\"minimum\":1,\"nullable\":true},\"b\":{\"x-kubernetes-int-or-string\":true,\"anyOf\":[{}]},"
        "\"c\":{\"type\":\"object\",\"x-kubernetes-preserve-unknown-fields\":true,\"properties\":{\"d\":{\"type\":\"string\"}}},"
        "\"e\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}}}}}}}",
        NULL);
    struct openapi *o = with(&(struct openapi_kind){k, doc, jv_get(json_root(doc), "s")});
    const struct kube_doc *json = openapi_v2(o, false), *packed = openapi_v2(o, true);
    JSON_REF(d) = json_parse(json->body, json->len, NULL, NULL);
    jval *s = jv_get(json_root(d), "definitions");
    check_refs(json_root(d), s);
    check_v2(json_root(d), false);
    for
        KINDS_EACH(b)
    if (b->served && *b->res.plural)
        assert_non_null(jv_path(s, b->type->schema, "x-kubernetes-group-version-kind", NULL));
    expect_text(jv_path(s, "io.k8s.api.core.v1.Pod", "properties", "spec", NULL),
                "{'$ref':'#/definitions/io.k8s.api.core.v1.PodSpec'}");
    expect_text(jv_get(s, "io.k8s.apimachinery.pkg.api.resource.Quantity"), "{'type':'string'}");
    expect_text(jv_get(s, "io.k8s.apimachinery.pkg.util.intstr.IntOrString"), "{'format':'int-or-string','type':'string'}");
    expect_text(jv_path(s, "com.example.v1.Widget", "properties", "spec", "properties", NULL),
                "{'a':{'minimum':1},'b':{'x-kubernetes-int-or-string':true},"
                "'c':{'type':'object','x-kubernetes-preserve-unknown-fields':true},"
                "'e':{'additionalProperties':{'items':{'type':'string'},'type':'array'},'type':'object'}}");
    /* The message: version, info, and a definition by its name first. kubectl reads the rest (test_kubectl.py). */
    const char *p = packed->body, *end = p + packed->len, *at;
    size_t n, whole;
    assert_memory_equal(field(&p, end, 1, &n), "2.0", 3);
    field(&p, end, 2, &n);
    at = field(&p, end, 9, &whole);
    assert_ptr_equal(p, end);
    size_t count = 0;
    for (const char *stop = at + whole; at < stop; count++) {
        const char *named = field(&at, stop, 1, &n), *named_end = named + n, *name = field(&named, named_end, 1, &n);
        AUTOFREE char *text = xstrndup(name, n);
        assert_non_null(jv_get(s, text));
        field(&named, named_end, 2, &n);
        assert_ptr_equal(named, named_end);
    }
    assert_int_equal(count, jv_len(s));
    assert_string_not_equal(json->etag, packed->etag);
    assert_ptr_equal(openapi_v2(o, true), packed); /* made once */
    openapi_free(o);
    kind_free(k);
}

TEST_GROUP(openapi, cmocka_unit_test(test_index), cmocka_unit_test(test_patch_operation), cmocka_unit_test(test_schemas),
           cmocka_unit_test(test_references), cmocka_unit_test(test_custom), cmocka_unit_test(test_v2))
