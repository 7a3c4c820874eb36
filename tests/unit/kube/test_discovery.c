/* Discovery documents, and kinds of definitions in them. */
#include "unit.h"

#include "kube/documents/discovery.h"
#include "value/json.h"

static const struct kind_custom widget = {
    .group = "example.com",
    .version = "v1",
    .plural = "widgets",
    .singular = "widget",
    .kind = "Widget",
    .list_kind = "WidgetList",
    .short_names = (const char *const[]){"wd"},
    .n_short_names = 1,
    .categories = (const char *const[]){"all", "mine"},
    .n_categories = 2,
    .namespaced = true,
    .status = true,
    .scale = true,
    .hash = "1",
};

static struct discovery *of_builtin(struct kind *const *more, size_t n)
{
    const struct kind *ks[200];
    size_t k = 0;
    for
        KINDS_EACH(b)
    ks[k++] = b;
    for (size_t i = 0; i < n; i++)
        ks[k++] = more[i];
    return discovery_new(ks, k);
}

static struct json *parsed(const struct kube_doc *doc)
{
    assert_non_null(doc);
    assert_int_equal(strlen(doc->body), doc->len);
    assert_int_equal(strlen(doc->etag), 128);
    return json_parse(doc->body, doc->len, NULL, NULL);
}

static jval *find(jval *arr, const char *key, const char *value)
{
    struct jiter it = jv_iter(arr);
    jval *x;
    while (jv_next(&it, NULL, &x))
        if (!strcmp(jv_str_or(jv_get(x, key), ""), value))
            return x;
    return NULL;
}

static void expect_text(jval *v, const char *want)
{
    AUTOFREE char *have = v ? jv_text(v, 0) : xstrdup("");
    AUTOFREE char *w = xstrdup(want);
    for (char *p = w; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    assert_string_equal(have, w);
}

static void test_old_form(void **state)
{
    (void)state;
    struct discovery *d = of_builtin(NULL, 0);
    JSON_REF(api) = parsed(discovery_api(d));
    expect_text(json_root(api), "{'kind':'APIVersions','versions':['v1'],'serverAddressByClientCIDRs':[]}");
    JSON_REF(core) = parsed(discovery_version(d, "", "v1"));
    assert_null(jv_get(json_root(core), "apiVersion"));
    jval *rs = jv_get(json_root(core), "resources");
    expect_text(find(rs, "name", "pods"),
                "{'name':'pods','singularName':'pod','namespaced':true,'kind':'Pod','verbs':['create','delete',"
                "'deletecollection','get','list','patch','update','watch'],'shortNames':['po'],'categories':['all']}");
    expect_text(find(rs, "name", "pods/log"),
                "{'name':'pods/log','singularName':'','namespaced':true,'kind':'Pod','verbs':['get']}");
    expect_text(find(rs, "name", "serviceaccounts/token"),
                "{'name':'serviceaccounts/token','singularName':'','namespaced':true,"
                "'group':'authentication.k8s.io','version':'v1','kind':'TokenRequest','verbs':['create']}");
    assert_null(find(rs, "name", "pods/resize")); /* known, not served */
    assert_non_null(find(rs, "name", "services/proxy"));
    JSON_REF(apis) = parsed(discovery_apis(d));
    assert_non_null(find(jv_get(json_root(apis), "groups"), "name", "coordination.k8s.io"));
    assert_null(find(jv_get(json_root(apis), "groups"), "name", "apps"));
    JSON_REF(group) = parsed(discovery_group(d, "coordination.k8s.io"));
    expect_text(
        json_root(group),
        "{'kind':'APIGroup','apiVersion':'v1','name':'coordination.k8s.io','versions':[{'groupVersion':"
        "'coordination.k8s.io/v1','version':'v1'}],'preferredVersion':{'groupVersion':'coordination.k8s.io/v1','version':'v1'}}");
    assert_null(discovery_group(d, ""));
    assert_null(discovery_group(d, "apps"));
    assert_null(discovery_version(d, "coordination.k8s.io", "v2"));
    assert_ptr_equal(discovery_api(d), discovery_api(d));
    discovery_free(d);
}

static void test_aggregated(void **state)
{
    (void)state;
    struct discovery *d = of_builtin(NULL, 0);
    JSON_REF(api) = parsed(discovery_api_aggregated(d));
    jval *items = jv_get(json_root(api), "items");
    assert_int_equal(jv_len(items), 1);
    expect_text(jv_get(jv_at(items, 0), "metadata"), "{}");
    jval *pods = find(jv_path(items, "0", "versions", "0", "resources", NULL), "resource", "pods");
    expect_text(jv_get(pods, "responseKind"), "{'group':'','version':'','kind':'Pod'}");
    expect_text(find(jv_get(pods, "subresources"), "subresource", "binding"),
                "{'subresource':'binding','responseKind':{'group':'','version':'','kind':'Binding'},'verbs':['create']}");
    JSON_REF(apis) = parsed(discovery_apis_aggregated(d));
    jval *groups = jv_get(json_root(apis), "items");
    expect_text(jv_path(groups, "0", "metadata", NULL), "{'name':'events.k8s.io'}"); /* the first in order of preference */
    expect_text(jv_path(groups, "0", "versions", "0", "freshness", NULL), "'Current'");
    discovery_free(d);
}

static void test_custom(void **state)
{
    (void)state;
    struct kind_custom old = widget;
    old.version = "v1beta1";
    struct kind *ks[] = {kind_new(&old), kind_new(&widget)};
    struct discovery *d = of_builtin(ks, 2);
    JSON_REF(group) = parsed(discovery_group(d, "example.com"));
    expect_text(jv_get(json_root(group), "versions"),
                "[{'groupVersion':'example.com/v1','version':'v1'},{'groupVersion':'example.com/v1beta1',"
                "'version':'v1beta1'}]");
    JSON_REF(list) = parsed(discovery_version(d, "example.com", "v1"));
    expect_text(
        json_root(list),
        "{'kind':'APIResourceList','apiVersion':'v1','groupVersion':'example.com/v1','resources':[{'name':'widgets',"
        "'singularName':'widget','namespaced':true,'kind':'Widget','verbs':['delete','deletecollection','get','list','patch',"
        "'create','update','watch'],'shortNames':['wd'],'categories':['all','mine']},{'name':'widgets/scale','singularName':'',"
        "'namespaced':true,'group':'autoscaling','version':'v1','kind':'Scale','verbs':['get','patch','update']},"
        "{'name':'widgets/status','singularName':'','namespaced':true,'kind':'Widget','verbs':['get','patch','update']}]}");
    JSON_REF(apis) = parsed(discovery_apis_aggregated(d));
    jval *items = jv_get(json_root(apis), "items"), *last = jv_at(items, jv_len(items) - 1);
    expect_text(jv_get(last, "metadata"), "{'name':'example.com'}");
    expect_text(jv_path(last, "versions", "0", "resources", "0", "responseKind", NULL),
                "{'group':'example.com','version':'v1','kind':'Widget'}");
    struct discovery *without = of_builtin(NULL, 0);
    assert_string_not_equal(discovery_apis_aggregated(d)->etag, discovery_apis_aggregated(without)->etag);
    assert_string_equal(discovery_api_aggregated(d)->etag, discovery_api_aggregated(without)->etag);
    discovery_free(without);
    discovery_free(d);
    kind_free(ks[0]);
    kind_free(ks[1]);
    kind_free(NULL);
}

static void test_version_order(void **state)
{
    (void)state;
    static const char *const order[] = {"v10",      "v2",   "v1", "v11beta2", "v2beta1",  "v2alpha3",
                                        "v1alpha1", "foo1", "v0", "v1beta",   "v1gamma1", "v1x"};
    for (size_t i = 0; i < ARRAY_LEN(order); i++)
        for (size_t j = 0; j < ARRAY_LEN(order); j++) {
            int c = kind_version_cmp(order[i], order[j]);
            assert_true(i < j ? c < 0 : i > j ? c > 0 : c == 0);
        }
}

TEST_GROUP(discovery, cmocka_unit_test(test_old_form), cmocka_unit_test(test_aggregated), cmocka_unit_test(test_custom),
           cmocka_unit_test(test_version_order))
