/* Structural schemas and CustomResourceDefinitions. The texts were recorded from Kubernetes 1.34. */
#include "unit.h"

#include "base/str.h"
#include "kube/fields.h"
#include "kube/object.h"
#include "kube/schema/crd.h"
#include "kube/schema/schema_priv.h"

static struct json *doc(const char *text)
{
    ERR(e);
    struct json *d = json_parse_str(text, &e);
    if (!d)
        fail_msg("%s: %s", text, err_text(&e));
    return d;
}

static struct schema *compile(const char *text)
{
    ERR(e);
    JSON_REF(d) = doc(text);
    struct schema *s = schema_compile(json_root(d), &e);
    if (!s)
        fail_msg("%s", err_text(&e));
    return s;
}

/* Object with a schema around its spec. */
#define SPEC(props) "{\"type\":\"object\",\"properties\":{\"spec\":{\"type\":\"object\",\"properties\":" props "}}}"

static const char keywords[] = SPEC(
    "{\"name\":{\"type\":\"string\",\"minLength\":2,\"maxLength\":5,\"pattern\":\"^[a-z]+$\"},\"n\":{\"type\":\"integer\","
    "\"minimum\":1,"
    "\"maximum\":9,\"multipleOf\":2},\"f\":{\"type\":\"number\",\"exclusiveMinimum\":true,\"minimum\":0},\"mode\":{\"type\":"
    "\"string\",\"enum\":"
    "[\"a\",\"b\"]},\"list\":{\"type\":\"array\",\"maxItems\":2,\"minItems\":1,\"items\":{\"type\":\"string\"}},\"m\":{\"type\":"
    "\"object\","
    "\"maxProperties\":1,\"additionalProperties\":{\"type\":\"integer\"}},\"ios\":{\"x-kubernetes-int-or-string\":true},\"date\":"
    "{\"type\":"
    "\"string\",\"format\":\"date-time\"},\"ip\":{\"type\":\"string\",\"format\":\"ipv4\"},\"dur\":{\"type\":\"string\","
    "\"format\":\"duration\"},"
    "\"req\":{\"type\":\"object\",\"properties\":{\"x\":{\"type\":\"string\"}},\"required\":[\"x\",\"y\"]},\"one\":{\"type\":"
    "\"object\","
    "\"properties\":{\"p\":{\"type\":\"string\"},\"q\":{\"type\":\"string\"}},\"oneOf\":[{\"required\":[\"p\"]},{\"required\":["
    "\"q\"]}]},"
    "\"set\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"set\",\"items\":{\"type\":\"string\"}},\"map\":{\"type\":\"array\","
    "\"x-kubernetes-list-type\":\"map\",\"x-kubernetes-list-map-keys\":[\"k\"],\"items\":{\"type\":\"object\",\"required\":["
    "\"k\"],\"properties\":"
    "{\"k\":{\"type\":\"string\"},\"v\":{\"type\":\"integer\",\"maximum\":5}}}}}");

static char *faults_of(const struct schema *s, const char *spec, const char *old_spec)
{
    FAULTS(f);
    AUTOFREE char *text = xasprintf("{\"spec\":%s}", spec), *old_text = old_spec ? xasprintf("{\"spec\":%s}", old_spec) : NULL;
    JSON_REF(d) = doc(text);
    JSON_REF(old) = old_text ? doc(old_text) : NULL;
    schema_validate(s, &f, json_root(d), json_root(old));
    return strlist_join(&f.texts, "; ");
}

struct value_case {
    const char *spec, *faults, *old_spec;
};

static void run_cases(const struct schema *s, const struct value_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        AUTOFREE char *got = faults_of(s, cases[i].spec, cases[i].old_spec);
        if (!str_eq(got, cases[i].faults))
            fail_msg("%s:\n  want %s\n  got  %s", cases[i].spec, cases[i].faults, got);
    }
}

static void test_values(void **state)
{
    (void)state;
    static const struct value_case cases[] = {
        {"{\"name\":\"abc\",\"n\":2.0,\"f\":0.1,\"ios\":5,\"dur\":\"1h\"}", "", NULL},
        {"{\"name\":\"a\"}", "spec.name: Invalid value: \"a\": spec.name in body should be at least 2 chars long", NULL},
        {"{\"name\":\"abcdef\"}", "spec.name: Too long: may not be more than 5 bytes", NULL},
        {"{\"name\":\"A1\"}", "spec.name: Invalid value: \"A1\": spec.name in body should match '^[a-z]+$'", NULL},
        {"{\"name\":5}", "spec.name: Invalid value: \"integer\": spec.name in body must be of type string: \"integer\"", NULL},
        {"{\"n\":0}", "spec.n: Invalid value: 0: spec.n in body should be greater than or equal to 1", NULL},
        {"{\"n\":10}", "spec.n: Invalid value: 10: spec.n in body should be less than or equal to 9", NULL},
        {"{\"n\":2.5}",
         "spec.n: Invalid value: \"number\": spec.n in body must be of type integer: \"number\"; spec.n: Invalid value: 2.5: "
         "spec.n in body should be a "
         "multiple of 2",
         NULL},
        {"{\"f\":0}", "spec.f: Invalid value: 0: spec.f in body should be greater than 0", NULL},
        {"{\"mode\":\"c\"}", "spec.mode: Unsupported value: \"c\": supported values: \"a\", \"b\"", NULL},
        {"{\"list\":[]}", "spec.list: Invalid value: 0: spec.list in body should have at least 1 items", NULL},
        {"{\"list\":[\"a\",\"b\",\"c\"]}", "spec.list: Too many: 3: must have at most 2 items", NULL},
        {"{\"list\":[1]}", "spec.list[0]: Invalid value: \"integer\": spec.list[0] in body must be of type string: \"integer\"",
         NULL},
        {"{\"m\":{\"a\":1,\"b\":2}}", "spec.m: Too many: 2: must have at most 1 item", NULL},
        {"{\"m\":{\"a\":\"x\"}}", "spec.m.a: Invalid value: \"string\": spec.m.a in body must be of type integer: \"string\"",
         NULL},
        {"{\"ios\":1.5}", "spec.ios: Invalid value: \"number\": spec.ios in body must be of type integer,string: \"number\"",
         NULL},
        {"{\"date\":\"yesterday\"}",
         "spec.date: Invalid value: \"yesterday\": spec.date in body must be of type date-time: \"yesterday\"", NULL},
        {"{\"ip\":\"1.2.3\"}", "spec.ip: Invalid value: \"1.2.3\": spec.ip in body must be of type ipv4: \"1.2.3\"", NULL},
        {"{\"req\":{}}", "spec.req.x: Required value; spec.req.y: Required value", NULL},
        {"{\"one\":{\"p\":\"1\",\"q\":\"1\"}}",
         "spec.one: Invalid value: \"\": \"spec.one\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
         NULL},
        {"{\"set\":[\"a\",\"b\",\"a\",\"a\"]}", "spec.set[2]: Duplicate value: \"a\"", NULL},
        {"{\"map\":[{\"k\":\"a\"},{\"k\":\"a\"}]}", "spec.map[1]: Duplicate value: {\"k\":\"a\"}", NULL},
    };
    struct schema *s = compile(keywords);
    run_cases(s, cases, ARRAY_LEN(cases));
    schema_free(s);
}

static void test_ratcheting(void **state)
{
    (void)state;
    static const struct value_case cases[] = {
        {"{\"n\":99,\"mode\":\"a\"}", "", "{\"n\":99}"},
        {"{\"n\":97}",
         "spec.n: Invalid value: 97: spec.n in body should be a multiple of 2; spec.n: Invalid value: 97: spec.n in body should "
         "be less than or "
         "equal to 9",
         "{\"n\":99}"},
        {"{\"map\":[{\"k\":\"b\",\"v\":1},{\"k\":\"a\",\"v\":9}]}", "", "{\"map\":[{\"k\":\"a\",\"v\":9}]}"},
        {"{\"map\":[{\"k\":\"b\",\"v\":9}]}",
         "spec.map[0].v: Invalid value: 9: spec.map[0].v in body should be less than or equal to 5",
         "{\"map\":[{\"k\":\"a\",\"v\":9}]}"},
    };
    struct schema *s = compile(keywords);
    run_cases(s, cases, ARRAY_LEN(cases));
    schema_free(s);
}

static void test_rules(void **state)
{
    (void)state;
    static const struct value_case cases[] = {
        {"{\"min\":1,\"max\":2}", "", NULL},
        {"{\"min\":3,\"max\":2}",
         "spec: Invalid value: \"object\": failed rule: !has(self.min) || !has(self.max) || self.min <= self.max", NULL},
        {"{\"name\":\"b\"}", "spec.name: Invalid value: \"string\": must start with a", NULL},
        {"{\"name\":\"abad\"}", "spec.name: Invalid value: \"string\": not abad", NULL},
        {"{\"list\":[\"no\"]}", "spec.list: Forbidden: failed rule: self.all(x, x != 'no')", NULL},
        {"{\"ios\":0}", "spec.ios: Invalid value: \"\": failed rule: type(self) == int ? self > 0 : self.endsWith('%')", NULL},
        {"{\"ios\":\"5%\"}", "", NULL},
        {"{\"opt\":\"r\"}", "spec.opt: Required value: opt needed", NULL},
        {"{\"div\":0}", "spec.div: Invalid value: \"integer\": division by zero evaluating rule: 10 / self > 1", NULL},
        {"{\"min\":\"x\"}",
         "spec.min: Invalid value: \"string\": spec.min in body must be of type integer: \"string\"; <nil>: Invalid value: null: "
         "some validation rules were "
         "not checked because the object was invalid; correct the existing errors to complete validation",
         NULL},
        {"{\"fix\":\"a\"}", "", NULL},
        {"{\"fix\":\"b\"}", "spec.fix: Invalid value: \"string\": is fixed", "{\"fix\":\"a\"}"},
        {"{\"once\":\"later\"}", "spec.once: Invalid value: \"string\": failed rule: oldSelf.hasValue() || self == 'first'",
         NULL},
        {"{\"once\":\"later\"}", "", "{\"once\":\"first\"}"},
    };
    struct schema *s = compile(
        "{\"type\":\"object\",\"properties\":{\"spec\":{\"type\":\"object\",\"properties\":{\"min\":{\"type\":\"integer\"},"
        "\"max\":{\"type\":\"integer\"},"
        "\"name\":{\"type\":\"string\",\"x-kubernetes-validations\":[{\"rule\":\"self.startsWith('a')\",\"message\":\"must start "
        "with a\"},{\"rule\":"
        "\"self != 'abad'\",\"messageExpression\":\"'not ' + "
        "self\"}]},\"list\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},"
        "\"x-kubernetes-validations\":[{\"rule\":\"self.all(x, x != 'no')\",\"reason\":\"FieldValueForbidden\"}]},\"ios\":{"
        "\"x-kubernetes-int-or-string\":true,\"x-kubernetes-validations\":[{\"rule\":\"type(self) == int ? self > 0 : "
        "self.endsWith('%')\"}]},"
        "\"opt\":{\"type\":\"string\"},\"div\":{\"type\":\"integer\",\"x-kubernetes-validations\":[{\"rule\":\"10 / self > "
        "1\"}]},\"fix\":{\"type\":"
        "\"string\",\"x-kubernetes-validations\":[{\"rule\":\"self == oldSelf\",\"message\":\"is "
        "fixed\"}]},\"once\":{\"type\":\"string\","
        "\"x-kubernetes-validations\":[{\"rule\":\"oldSelf.hasValue() || self == "
        "'first'\",\"optionalOldSelf\":true}]}},\"x-kubernetes-validations\":["
        "{\"rule\":\"!has(self.min) || !has(self.max) || self.min <= self.max\"},{\"rule\":\"!has(self.opt) || self.opt != "
        "'r'\",\"reason\":"
        "\"FieldValueRequired\",\"fieldPath\":\".opt\",\"message\":\"opt needed\"}]}}}");
    run_cases(s, cases, ARRAY_LEN(cases));
    schema_free(s);
}

static void test_defaults_and_pruning(void **state)
{
    (void)state;
    struct schema *s = compile(SPEC("{\"a\":{\"type\":\"string\",\"default\":\"x\"},\"full\":{\"type\":\"object\",\"properties\":"
                                    "{\"c\":{\"type\":\"string\",\"default\":\"y\"}},"
                                    "\"default\":{}},\"l\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{"
                                    "\"d\":{\"type\":\"string\",\"default\":\"z\"}}}},"
                                    "\"nul\":{\"type\":\"string\",\"nullable\":true,\"default\":\"q\"},\"deep\":{\"type\":"
                                    "\"object\",\"properties\":{}},\"free\":{\"type\":\"object\","
                                    "\"x-kubernetes-preserve-unknown-fields\":true,\"properties\":{\"known\":{\"type\":"
                                    "\"object\",\"properties\":{\"x\":{\"type\":\"string\"}}}}}}"));
    JSON_REF(d) = doc(
        "{\"apiVersion\":\"g/"
        "v1\",\"kind\":\"W\",\"metadata\":{\"name\":\"w\",\"nope\":1},\"extra\":5,\"spec\":{\"zz\":1,\"nul\":null,\"deep\":null,"
        "\"l\":[{},{\"d\":\"own\",\"e\":1}],\"free\":{\"any\":1,\"known\":{\"x\":\"1\",\"drop\":1}}}}");
    JM(m, json_root(d));
    STRLIST(unknown);
    assert_true(schema_prune(s, m, jm_root(m), &unknown));
    AUTOFREE char *all = strlist_join(&unknown, " ");
    assert_string_equal(all, "extra metadata.nope spec.free.known.drop spec.l[1].e spec.zz");
    assert_false(schema_prune(s, m, jm_root(m), NULL));
    assert_true(schema_default(s, m, jm_root(m)));
    JSON_REF(now) = jm_freeze(m);
    JSON_REF(want) =
        doc("{\"apiVersion\":\"g/"
            "v1\",\"kind\":\"W\",\"metadata\":{\"name\":\"w\"},\"spec\":{\"a\":\"x\",\"full\":{\"c\":\"y\"},\"nul\":null,\"l\":["
            "{\"d\":\"z\"},{\"d\":\"own\"}],\"free\":{\"any\":1,\"known\":{\"x\":\"1\"}}}}");
    assert_true(jv_equal(json_root(now), json_root(want)));
    assert_false(schema_default(s, m, jm_root(m)));
    schema_free(s);
}

/* ---- definitions
 * ------------------------------------------------------------------------------------------------------------------- */

/* A definition with one version and this for a schema. */
static struct json *definition(const char *schema, const char *more)
{
    AUTOFREE char *text =
        xasprintf("{\"metadata\":{\"name\":\"widgets.x.io\"},\"spec\":{\"group\":\"x.io\",\"scope\":\"Namespaced\",\"names\":{"
                  "\"plural\":\"widgets\",\"kind\":\"Widget\"},"
                  "\"versions\":[{\"name\":\"v1\",\"served\":true,\"storage\":true,\"schema\":{\"openAPIV3Schema\":%s}%s}]}}",
                  schema, more);
    JSON_REF(d) = doc(text);
    JM(m, json_root(d));
    crd_default(m, jm_root(m));
    crd_prepare_status(m, jm_root(m), NULL);
    return jm_freeze(m);
}

static void test_structural(void **state)
{
    (void)state;
#define P "spec.validation.openAPIV3Schema"
#define A P ".properties[spec].properties[a]"
    static const struct {
        const char *schema, *fault;
    } cases[] = {
        {"{\"type\":\"object\",\"x-kubernetes-preserve-unknown-fields\":true}", NULL},
        {"{}", P ".type: Required value: must not be empty at the root"},
        {"{\"type\":\"string\"}", P ".type: Invalid value: \"string\": must be object at the root"},
        {SPEC("{\"a\":{}}"), A ".type: Required value: must not be empty for specified object fields"},
        {SPEC("{\"a\":{\"type\":\"array\"}}"), A ".items: Required value: must be specified"},
        {SPEC("{\"a\":{\"type\":\"array\",\"items\":{}}}"),
         A ".items.type: Required value: must not be empty for specified array items"},
        {SPEC("{\"a\":{\"type\":\"string\",\"$ref\":\"#/x\"}}"), A ".$ref: Forbidden: $ref is not supported"},
        {SPEC("{\"a\":{\"type\":\"string\",\"anyOf\":[{\"type\":\"string\"}]}}"),
         A ".anyOf[0].type: Forbidden: must be empty to be structural"},
        {SPEC("{\"a\":{\"x-kubernetes-int-or-string\":true,\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"string\"}]}}"), NULL},
        {SPEC("{\"a\":{\"type\":\"thing\"}}"), A ".type: Unsupported value: \"thing\": supported values: \"array\", \"boolean\", "
                                                 "\"integer\", \"number\", \"object\", \"string\""},
        {SPEC("{\"a\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"map\",\"items\":{\"type\":\"object\"}}}"),
         A ".x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map"},
        {SPEC("{\"a\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"map\",\"x-kubernetes-list-map-keys\":[\"k\"],\"items\":{"
              "\"type\":\"object\",\"properties\":"
              "{\"k\":{\"type\":\"string\"}}}}}"),
         A ".items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a "
           "default or be a required property"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ERR(e);
        JSON_REF(d) = definition(cases[i].schema, "");
        int rc = crd_validate(json_root(d), NULL, &e);
        AUTOFREE char *want =
            cases[i].fault
                ? xasprintf("CustomResourceDefinition.apiextensions.k8s.io \"widgets.x.io\" is invalid: %s", cases[i].fault)
                : xstrdup("");
        if ((rc < 0) != (cases[i].fault != NULL) || !str_eq(err_text(&e), want))
            fail_msg("%s:\n  want %s\n  got  %s", cases[i].schema, want, err_text(&e));
    }
}

static void test_definition_life(void **state)
{
    (void)state;
    ERR(e);
    JSON_REF(d) = definition("{\"type\":\"object\",\"x-kubernetes-preserve-unknown-fields\":true}",
                             ",\"deprecated\":true,\"subresources\":{\"status\":{}},\"selectableFields\":[]");
    assert_int_equal(crd_validate(json_root(d), NULL, &e), 0);
    assert_false(crd_established(json_root(d)));
    JM(m, json_root(d));
    assert_true(crd_accept(m, jm_root(m), NULL, 0, NS_PER_S));
    assert_false(crd_accept(m, jm_root(m), NULL, 0, 2 * NS_PER_S));
    JSON_REF(live) = jm_freeze(m);
    assert_true(crd_established(json_root(live)));
    assert_string_equal(jv_str(jv_path(json_root(live), "status", "acceptedNames", "listKind", NULL)), "WidgetList");
    assert_string_equal(jv_str(jv_path(json_root(live), "status", "storedVersions", "0", NULL)), "v1");

    struct crd_info *c = crd_compile(json_root(live), &e);
    assert_non_null(c);
    assert_string_equal(c->singular, "widget");
    assert_true(c->namespaced);
    const struct crd_version *v = crd_find_version(c, "v1");
    assert_non_null(v);
    assert_true(v->status_subresource);
    assert_string_equal(v->deprecation_warning, "x.io/v1 Widget is deprecated");
    assert_null(crd_find_version(c, "v2"));
    crd_info_free(c);

    custom_resource_definition_spec_set_scope(m, jmv_get(jm_root(m), "spec"), "Cluster");
    JSON_REF(changed) = jm_freeze(m);
    assert_int_equal(crd_validate(json_root(changed), json_root(live), &e), -1);
    assert_non_null(strstr(err_text(&e), "spec.scope: Invalid value: \"Cluster\": field is immutable"));

    /* Another definition of the group that wants the same names. */
    JM(other, json_root(d));
    jmval *names = jmv_path(jm_root(other), "spec", "names", NULL);
    object_meta_set_name(other, jmv_get(jm_root(other), "metadata"), "gadgets.x.io");
    custom_resource_definition_names_set_plural(other, names, "gadgets");
    jval *all[] = {json_root(live)};
    assert_true(crd_accept(other, jm_root(other), all, 1, NS_PER_S));
    JSON_REF(refused) = jm_freeze(other);
    jval *c2 = obj_condition(json_root(refused), "NamesAccepted");
    assert_string_equal(jv_str(jv_get(c2, "reason")), "ListKindConflict");
    assert_string_equal(jv_str(jv_get(c2, "message")), "\"WidgetList\" is already in use");
    assert_true(obj_condition_is(json_root(refused), "Established", "False"));
    AUTOFREE char *accepted = jv_text(jv_path(json_root(refused), "status", "acceptedNames", NULL), JW_SORTED);
    assert_string_equal(accepted, "{\"kind\":\"\",\"plural\":\"gadgets\"}");
    /* What was established stays so, whatever comes. */
    JM(m3, json_root(live));
    all[0] = json_root(live);
    JM(rival, json_root(live));
    object_meta_set_name(rival, jmv_get(jm_root(rival), "metadata"), "rival.x.io");
    JSON_REF(rival_doc) = jm_freeze(rival);
    all[0] = json_root(rival_doc);
    assert_true(crd_accept(m3, jm_root(m3), all, 1, NS_PER_S));
    JSON_REF(kept) = jm_freeze(m3);
    assert_true(crd_established(json_root(kept)));
    assert_true(obj_condition_is(json_root(kept), "NamesAccepted", "False"));
}

static void test_named_formats(void **state)
{
    static const struct {
        const char *format, *text, *fault; /* a part of the first fault; NULL: good */
    } cases[] = {
        {"dns1123Label", "a-b", NULL},
        {"dns1123Label", "A", "a lowercase RFC 1123 label must consist of"},
        {"dns1123Label", "a.b", "must not contain dots"},
        {"dns1123Label", "a-", "a lowercase RFC 1123 label must consist of"},
        {"dns1123LabelPrefix", "a-b-", NULL},
        {"dns1123LabelPrefix", "-", "a lowercase RFC 1123 label must consist of"},
        {"dns1123Subdomain", "a.b", NULL},
        {"dns1123Subdomain", "a..b", "a lowercase RFC 1123 subdomain must consist of"},
        {"dns1123SubdomainPrefix", "a.b-", NULL},
        {"dns1035Label", "a1", NULL},
        {"dns1035Label", "1a", "a DNS-1035 label must consist of"},
        {"dns1035LabelPrefix", "ab-", NULL},
        {"qualifiedName", "example.com/name", NULL},
        {"qualifiedName", "a/b/c", "a qualified name must consist of"},
        {"labelValue", "", NULL},
        {"labelValue", "a b", "a valid label must be"},
        {"uri", "http://example.com", NULL},
        {"uri", "x", "parse \"x\": invalid URI for request"},
        {"uuid", "123e4567-e89b-12d3-a456-426614174000", NULL},
        {"uuid", "123e4567", "does not match the UUID format"},
        {"byte", "aGVsbG8=", NULL},
        {"byte", "?", "invalid base64"},
        {"date", "2021-01-01", NULL},
        {"date", "2021-13-01", "invalid date"},
        {"datetime", "2021-01-01T00:00:00Z", NULL},
        {"datetime", "2021-01-01", "invalid datetime"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct cel_format *f = schema_named_formats;
        while (f->name && !str_eq(f->name, cases[i].format))
            f++;
        assert_non_null(f->name);
        STRLIST(faults);
        f->check(cases[i].text, &faults);
        bool ok = cases[i].fault ? faults.n && strstr(faults.v[0], cases[i].fault) : !faults.n;
        if (!ok)
            fail_msg("%s of \"%s\": %s", cases[i].format, cases[i].text, faults.n ? faults.v[0] : "no fault");
    }
}

/* The path of a fault is whole, what its text tells begins where it was asked to. */
static void test_text_root(void **state)
{
    struct schema *s = compile("{\"type\":\"object\",\"properties\":{\"status\":{\"type\":\"object\",\"properties\":{\"s\":{"
                               "\"type\":\"string\"}}}}}");
    JSON_REF(o) = json_parse_str("{\"status\":{\"s\":5}}", NULL);
    FAULTS(f);
    f.text_root = "status.";
    schema_validate(s, &f, json_root(o), NULL);
    assert_int_equal(f.texts.n, 1);
    assert_string_equal(f.texts.v[0], "status.s: Invalid value: \"integer\": s in body must be of type string: \"integer\"");
    schema_free(s);
}

TEST_GROUP(schema, cmocka_unit_test(test_text_root), cmocka_unit_test(test_named_formats), cmocka_unit_test(test_values),
           cmocka_unit_test(test_ratcheting), cmocka_unit_test(test_rules), cmocka_unit_test(test_defaults_and_pruning),
           cmocka_unit_test(test_structural), cmocka_unit_test(test_definition_life))
