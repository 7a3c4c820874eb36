/* Bodies to objects: JSON and what is refused of it. Protobuf has a file of its own. */
#include "unit.h"

#include "kube/wire/decode.h"
#include "kube/wire/gotext.h"

static struct json *decode(const char *kind, enum field_validation fv, const char *text, struct strlist *w, struct err *e)
{
    const struct kind *k = kind_by_short_name(kind);
    assert_non_null(k);
    return decode_body(k, DECODE_JSON, fv, text, strlen(text), w, e);
}

/* Body and what is stored of it. */
static const struct {
    const char *kind, *in, *out;
} forms[] = {
    {"cm", "{}", "{'kind':'ConfigMap','apiVersion':'v1','metadata':{}}"},
    {"cm", "null", "{'kind':'ConfigMap','apiVersion':'v1','metadata':{}}"},
    {"cm", "{'data':{'b':'2','a':'1','n':null},'metadata':{'name':'x','creationTimestamp':null,'labels':{}},'immutable':false}",
     "{'kind':'ConfigMap','apiVersion':'v1','metadata':{'name':'x'},'immutable':false,'data':{'b':'2','a':'1','n':''}}"},
    {"cm", "{'metadata':{'generateName':'','generation':0,'ownerReferences':[],'deletionGracePeriodSeconds':0}}",
     "{'kind':'ConfigMap','apiVersion':'v1','metadata':{'deletionGracePeriodSeconds':0}}"},
    {"secret", "{'data':{'k':'aGVsbG8='}}", "{'kind':'Secret','apiVersion':'v1','metadata':{},'data':{'k':'aGVsbG8='}}"},
    {"po", "{'spec':{'containers':[{'name':'c','stdin':false,'command':[],'securityContext':{}}],'hostNetwork':false}}",
     "{'kind':'Pod','apiVersion':'v1','metadata':{},'spec':{'containers':[{'name':'c','resources':{},'securityContext':{}}]},'"
     "status':{}}"},
    {"po", "{}", "{'kind':'Pod','apiVersion':'v1','metadata':{},'spec':{'containers':null},'status':{}}"},
    {"po",
     "{'spec':{'containers':[{'name':'c','resources':{'limits':{'cpu':'1000m','memory':'1024Mi','x':2}}}],'runtimeClassName':''}"
     "}",
     "{'kind':'Pod','apiVersion':'v1','metadata':{},'spec':{'containers':[{'name':'c','resources':{'limits':{'cpu':'1','memory':'"
     "1Gi',"
     "'x':'2'}}}],'runtimeClassName':''},'status':{}}"},
    {"po",
     "{'spec':{'containers':[]},'status':{'startTime':'2026-01-01T02:00:00.5+01:00','conditions':[{'type':'Ready','status':'True'"
     "}]}}",
     "{'kind':'Pod','apiVersion':'v1','metadata':{},'spec':{'containers':null},'status':{'conditions':[{'type':'Ready','status':'"
     "True',"
     "'lastProbeTime':null,'lastTransitionTime':null}],'startTime':'2026-01-01T01:00:00Z'}}"},
    {"lease", "{'spec':{'renewTime':'2001-01-01T00:00:00.123456Z'}}",
     "{'kind':'Lease','apiVersion':'coordination.k8s.io/v1','metadata':{},'spec':{'renewTime':'2001-01-01T00:00:00.123456Z'}}"},
    {"clusterrole", "{'rules':[]}",
     "{'kind':'ClusterRole','apiVersion':'rbac.authorization.k8s.io/v1','metadata':{},'rules':null}"},
    {"ev", "{'involvedObject':{'name':'x'},'count':0}",
     "{'kind':'Event','apiVersion':'v1','metadata':{},'involvedObject':{'name':'x'},'source':{},'firstTimestamp':null,"
     "'lastTimestamp':null,'eventTime':null,'reportingComponent':'','reportingInstance':''}"},
};

static char *quotes(const char *s)
{
    char *t = xstrdup(s);
    for (char *p = t; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    return t;
}

static void test_forms(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        ERR(e);
        AUTOFREE char *in = quotes(forms[i].in), *out = quotes(forms[i].out);
        JSON_REF(d) = decode(forms[i].kind, FIELDS_STRICT, in, NULL, &e);
        assert_string_equal(err_text(&e), "");
        JSON_REF(want) = json_parse_str(out, NULL);
        AUTOFREE char *have = jv_text(json_root(d), JW_SORTED), *wanted = jv_text(json_root(want), JW_SORTED);
        assert_string_equal(have, wanted);
        /* What was decoded decodes to itself. */
        JSON_REF(again) = decode(forms[i].kind, FIELDS_STRICT, out, NULL, &e);
        assert_true(jv_equal(json_root(again), json_root(d)));
    }
}

static const struct {
    const char *kind, *in, *message;
} refused[] = {
    {"deploy", "{'spec':{'replicas':'three'}}",
     "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"},
    {"deploy", "{'spec':{'replicas':1.0}}",
     "json: cannot unmarshal number 1.0 into Go struct field DeploymentSpec.spec.replicas of type int32"},
    {"po", "{'spec':{'priority':99999999999}}",
     "json: cannot unmarshal number 99999999999 into Go struct field PodSpec.spec.priority of type int32"},
    {"po", "{'spec':{'containers':{'name':'c'}}}",
     "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container"},
    {"po", "{'spec':{'containers':[{'image':5}]}}",
     "json: cannot unmarshal number into Go struct field Container.spec.containers.image of type string"},
    {"cm", "{'data':{'k':5}}", "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"},
    {"cm", "{'metadata':'x'}", "json: cannot unmarshal string into Go struct field ConfigMap.metadata of type v1.ObjectMeta"},
    {"cm", "{'metadata':{'creationTimestamp':'yesterday'}}",
     "parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\": it does not match"},
    {"secret", "{'data':{'a':'not base64!'}}", "illegal base64 data at input byte 3"},
    {"lease", "{'spec':{'renewTime':'2001-01-01T00:00:00.1234567Z'}}",
     "parsing time \"2001-01-01T00:00:00.1234567Z\" as \"2006-01-02T15:04:05.000000Z07:00\": it does not match"},
    {"po", "{'spec':{'overhead':{'cpu':'1e'}}}", "unable to parse quantity's suffix"},
    {"po", "{'spec':{'overhead':{'cpu':''}}}",
     "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"},
    {"po", "{'spec':{'overhead':{'cpu':'1 Gi'}}}",
     "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        ERR(e);
        AUTOFREE char *in = quotes(refused[i].in);
        JSON_REF(d) = decode(refused[i].kind, FIELDS_WARN, in, NULL, &e);
        assert_null(d);
        const struct kind *k = kind_by_short_name(refused[i].kind);
        AUTOFREE char *want =
            xasprintf("%s in version \"v1\" cannot be handled as a %s: %s", k->res.kind, k->res.kind, refused[i].message);
        assert_string_equal(err_text(&e), want);
        assert_int_equal(err_http_status(&e), 400);
    }
}

static void test_gvk(void **state)
{
    (void)state;
    static const struct {
        const char *kind, *in, *message;
    } t[] = {
        {"cm", "{'apiVersion':'v1','kind':'Pod'}",
         "Pod in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown conversion"},
        {"cm", "{'apiVersion':'v2','kind':'ConfigMap'}",
         "ConfigMap in version \"v2\" cannot be handled as a ConfigMap: no kind \"ConfigMap\" is "
         "registered for version \"v2\" in scheme \"pkg/api/legacyscheme/scheme.go:30\""},
        {"cm", "{'apiVersion':'apps/v1','kind':'ConfigMap'}",
         "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: no kind \"ConfigMap\" is "
         "registered for version \"apps/v1\" in scheme \"pkg/api/legacyscheme/scheme.go:30\""},
        {"deploy", "{'apiVersion':'apps/v1beta1','kind':'Deployment'}",
         "the API version in the data (apps/v1beta1) does not match the expected API version (apps/v1)"},
        {"cm", "[]",
         "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: "
         "json: cannot unmarshal into an object with apiVersion and kind (5b5d)"},
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        ERR(e);
        AUTOFREE char *in = quotes(t[i].in);
        JSON_REF(d) = decode(t[i].kind, FIELDS_WARN, in, NULL, &e);
        assert_null(d);
        assert_string_equal(err_text(&e), t[i].message);
    }
    static const char *const broken[] = {"", "{", "not json", "{\"a\":1} trailing", "\"x\"", "{\"kind\":5}"};
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        ERR(e);
        JSON_REF(d) = decode("cm", FIELDS_WARN, broken[i], NULL, &e);
        assert_null(d);
        assert_true(str_starts(err_text(&e),
                               "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; "));
    }
}

static void test_field_validation(void **state)
{
    (void)state;
    const char *body =
        "{\"metadata\":{\"name\":\"z\",\"name\":\"z\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"nope\":1,"
        "\"ports\":[{\"containerPort\":80,\"zip\":1},{\"containerPort\":81,\"zip\":1}]}],\"Foo\":{\"x\":1}},\"bar\":2}";
    ERR(e);
    STRLIST(w);
    JSON_REF(d) = decode("po", FIELDS_WARN, body, &w, &e);
    assert_non_null(d);
    AUTOFREE char *all = strlist_join(&w, "|");
    assert_string_equal(
        all, "duplicate field \"metadata.name\"|unknown field \"spec.containers[0].nope\"|unknown field "
             "\"spec.containers[0].ports[0].zip\"|unknown field \"spec.containers[0].ports[1].zip\"|unknown field \"spec.Foo\"|"
             "unknown field \"bar\"");
    assert_null(jv_get(json_root(d), "bar"));
    STRLIST(none);
    JSON_REF(ignored) = decode("po", FIELDS_IGNORE, body, &none, &e);
    assert_non_null(ignored);
    assert_int_equal(none.n, 0);
    JSON_REF(strict) = decode("cm", FIELDS_STRICT, "{\"foo\":1,\"metadata\":{\"Labels\":{}}}", &none, &e);
    assert_null(strict);
    assert_string_equal(err_text(&e), "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: "
                                      "unknown field \"foo\", unknown field \"metadata.Labels\"");
    assert_int_equal(none.n, 0);
}

/* Unknown fields are named a hundred times at most. */
static void test_many_unknown(void **state)
{
    (void)state;
    BUF(b);
    buf_adds(&b, "{");
    for (int i = 0; i < 500; i++)
        buf_addf(&b, "%s\"x%d\":1", i ? "," : "", i);
    buf_adds(&b, "}");
    STRLIST(w);
    JSON_REF(d) = decode("cm", FIELDS_WARN, buf_str(&b), &w, NULL);
    assert_non_null(d);
    assert_int_equal(w.n, 100);
}

static void test_yaml(void **state)
{
    (void)state;
    ERR(e);
    STRLIST(w);
    const char *text = "kind: ConfigMap\nmetadata:\n  name: b\ndata:\n  k: v\nfoo: 1\n";
    JSON_REF(d) = decode_body(kind_by_short_name("cm"), DECODE_YAML, FIELDS_WARN, text, strlen(text), &w, &e);
    assert_non_null(d);
    assert_string_equal(jv_str(jv_path(json_root(d), "data", "k", NULL)), "v");
    assert_int_equal(w.n, 1);
}

static void test_yaml_repeated_keys(void **state)
{
    (void)state;
    ERR(e);
    STRLIST(w);
    const char *text =
        "kind: ConfigMap\nmetadata: {name: x, name: z}\nfoo: [{a: 1}, {a: 2}]\ndata:\n  a: '1'\n  b: '1'\n  a: '2'\n";
    const struct kind *cm = kind_by_short_name("cm");
    JSON_REF(d) = decode_body(cm, DECODE_YAML, FIELDS_STRICT, text, strlen(text), NULL, &e);
    assert_null(d);
    assert_string_equal(err_text(&e),
                        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: yaml: unmarshal "
                        "errors:\n  line 2: key \"name\" already set in map\n  line 7: key \"a\" already set in map, "
                        "unknown field \"foo\"");
    JSON_REF(warned) = decode_body(cm, DECODE_YAML, FIELDS_WARN, text, strlen(text), &w, &e);
    assert_string_equal(jv_str(jv_path(json_root(warned), "data", "a", NULL)), "2");
    assert_int_equal(w.n, 3);
}

static void test_schema_unions(void **state)
{
    (void)state;
    ERR(e);
    const char *body =
        "{\"spec\":{\"group\":\"g\",\"names\":{\"plural\":\"p\",\"kind\":\"K\"},\"scope\":\"Cluster\",\"versions\":[{\"name\":"
        "\"v1\","
        "\"served\":true,\"storage\":true,\"schema\":{\"openAPIV3Schema\":{\"type\":\"object\",\"default\":{\"a\":[1.10,null]},"
        "\"properties\":{\"a\":{\"additionalProperties\":false,\"x-kubernetes-preserve-unknown-fields\":true,\"nope\":1},"
        "\"b\":{\"items\":{\"type\":\"string\",\"nope\":1}},\"c\":{\"enum\":[1,null]}}}}}]}}";
    STRLIST(w);
    JSON_REF(d) = decode("crd", FIELDS_WARN, body, &w, &e);
    assert_string_equal(err_text(&e), "");
    jval *s = jv_path(json_root(d), "spec", "versions", "0", "schema", "openAPIV3Schema", NULL);
    AUTOFREE char *text = jv_text(jv_get(s, "properties"), JW_SORTED);
    assert_string_equal(text, "{\"a\":{\"additionalProperties\":false,\"x-kubernetes-preserve-unknown-fields\":true},"
                              "\"b\":{\"items\":{\"type\":\"string\"}},\"c\":{\"enum\":[1,null]}}");
    AUTOFREE char *dflt = jv_text(jv_get(s, "default"), 0);
    assert_string_equal(dflt, "{\"a\":[1.10,null]}");
    assert_int_equal(w.n, 1); /* the one inside items says nothing, as upstream */
}

static void test_options(void **state)
{
    (void)state;
    ERR(e);
    const char *body = "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"meta.k8s.io/v1\",\"gracePeriodSeconds\":0,\"what\":1}";
    JSON_REF(d) = decode_options("DeleteOptions", DECODE_JSON, body, strlen(body), &e);
    AUTOFREE char *text = jv_text(json_root(d), JW_SORTED);
    assert_string_equal(text, "{\"apiVersion\":\"meta.k8s.io/v1\",\"gracePeriodSeconds\":0,\"kind\":\"DeleteOptions\"}");
    JSON_REF(empty) = decode_options("DeleteOptions", DECODE_JSON, "", 0, &e);
    assert_int_equal(jv_len(json_root(empty)), 0);
    JSON_REF(bad) = decode_options("DeleteOptions", DECODE_JSON, "{", 1, &e);
    assert_null(bad);
    assert_int_equal(err_http_status(&e), 400);
}

static void test_go_faults(void **state)
{
    (void)state;
    static const struct {
        const char *text, *fault; /* NULL: none */
    } cases[] = {
        {"{}", NULL},
        {" [1, -0.5e+3, \"a\\u00e9\\n\", true, false, null, {\"a\": [[], {}]}] ", NULL},
        {"\"x\"", NULL},
        {"0", NULL},
        {"", "unexpected end of JSON input"},
        {"  ", "unexpected end of JSON input"},
        {"{\"a\":1", "unexpected end of JSON input"},
        {"[1,", "unexpected end of JSON input"},
        {"tru", "unexpected end of JSON input"},
        {"\"a", "unexpected end of JSON input"},
        {"nojson", "invalid character 'o' in literal null (expecting 'u')"},
        {"trve", "invalid character 'v' in literal true (expecting 'u')"},
        {"x", "invalid character 'x' looking for beginning of value"},
        {"[1,]", "invalid character ']' looking for beginning of value"},
        {"{,}", "invalid character ',' looking for beginning of object key string"},
        {"{\"a\":1,}", "invalid character '}' looking for beginning of object key string"},
        {"{\"a\" 1}", "invalid character '1' after object key"},
        {"{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair"},
        {"[1 2]", "invalid character '2' after array element"},
        {"{} x", "invalid character 'x' after top-level value"},
        {"01", "invalid character '1' after top-level value"},
        {"-x", "invalid character 'x' in numeric literal"},
        {"1.x", "invalid character 'x' after decimal point in numeric literal"},
        {"1e+'", "invalid character '\\'' in exponent of numeric literal"},
        {"\"a\nb\"", "invalid character '\\n' in string literal"},
        {"\"\x01\"", "invalid character '\\x01' in string literal"},
        {"\"\\q\"", "invalid character 'q' in string escape code"},
        {"\"\\u12g4\"", "invalid character 'g' in \\u hexadecimal character escape"},
        {"\xc3\xa9", "invalid character '\xc3\x83' looking for beginning of value"},
        {"\x80", "invalid character '\\u0080' looking for beginning of value"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        BUF(fault);
        bool bad = gotext_json_fault(cases[i].text, strlen(cases[i].text), &fault);
        assert_int_equal(bad, cases[i].fault != NULL);
        if (bad)
            assert_string_equal(buf_str(&fault), cases[i].fault);
    }
    BUF(deep); /* many levels, no recursion */
    for (int i = 0; i < 100000; i++)
        buf_addc(&deep, '[');
    BUF(fault);
    assert_true(gotext_json_fault(buf_str(&deep), deep.len, &fault));
}

TEST_GROUP(decode, cmocka_unit_test(test_go_faults), cmocka_unit_test(test_forms), cmocka_unit_test(test_refused),
           cmocka_unit_test(test_gvk), cmocka_unit_test(test_field_validation), cmocka_unit_test(test_many_unknown),
           cmocka_unit_test(test_yaml), cmocka_unit_test(test_yaml_repeated_keys), cmocka_unit_test(test_schema_unions),
           cmocka_unit_test(test_options))
