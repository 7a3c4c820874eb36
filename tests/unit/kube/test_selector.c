/* Label and field selectors. */
#include "unit.h"

#include "base/str.h"
#include "kube/selector.h"

static void test_label_matching(void **state)
{
    (void)state;
    static const struct {
        const char *selector, *labels;
        bool matches;
    } cases[] = {
        {"", "{}", true},
        {"a", "{\"a\":\"1\"}", true},
        {"a", "{}", false},
        {"!a", "{}", true},
        {"!a", "{\"a\":\"1\"}", false},
        {"a=1", "{\"a\":\"1\"}", true},
        {"a==1", "{\"a\":\"2\"}", false},
        {"a=", "{\"a\":\"\"}", true},
        {"a!=1", "{}", true},
        {"a!=1", "{\"a\":\"1\"}", false},
        {"a in (1,2)", "{\"a\":\"2\"}", true},
        {"a in (1,)", "{\"a\":\"\"}", true},
        {"a in (,1)", "{\"a\":\"\"}", true},
        {"a notin (1,2)", "{\"a\":\"2\"}", false},
        {"a notin (1,2)", "{}", true},
        {"n>4", "{\"n\":\"5\"}", true},
        {"n>5", "{\"n\":\"5\"}", false},
        {"n<6", "{\"n\":\"5\"}", true},
        {"n<6", "{\"n\":\"x\"}", false},
        {" a = 1 , b ", "{\"a\":\"1\",\"b\":\"\"}", true},
        {"in=notin", "{\"in\":\"notin\"}", true},
        {"c.d/e=f", "{\"c.d/e\":\"f\"}", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ERR(e);
        struct label_selector *s = label_selector_parse(cases[i].selector, &e);
        if (!s)
            fail_msg("%s: %s", cases[i].selector, err_text(&e));
        JSON_REF(d) = json_parse_str(cases[i].labels, NULL);
        if (label_selector_matches(s, json_root(d)) != cases[i].matches)
            fail_msg("%s against %s", cases[i].selector, cases[i].labels);
        label_selector_free(s);
    }
}

/* The texts were recorded from Kubernetes 1.34. */
static void test_label_errors(void **state)
{
    (void)state;
    static const struct {
        const char *selector, *text;
    } cases[] = {
        {",a", "found ',', expected: !, identifier, or 'end of string'"},
        {"a in 1", "unable to parse requirement: found '1' expected: '('"},
        {"a in (1", "unable to parse requirement: found '', expected: ',' or ')'"},
        {"a=1 b=2", "found 'b', expected: ',' or 'end of string'"},
        {"a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"},
        {"a,", "found '', expected: identifier after ','"},
        {"a>x",
         "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer"},
        {"a in ()",
         "unable to parse requirement: values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"},
        {"a=-", "unable to parse requirement: values[0][a]: Invalid value: \"-\": a valid label must be an empty string or "
                "consist of alphanumeric "
                "characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or "
                "'my_value',  or '12345', "
                "regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ERR(e);
        assert_null(label_selector_parse(cases[i].selector, &e));
        assert_int_equal(e.code, ERR_BAD_REQUEST);
        assert_string_equal(err_text(&e), cases[i].text);
    }
}

static void test_label_objects(void **state)
{
    (void)state;
    JSON_REF(d) = json_parse_str(
        "{\"matchLabels\":{\"b\":\"1\"},\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"In\",\"values\":[\"y\",\"x\"]},"
        "{\"key\":\"c\",\"operator\":\"DoesNotExist\"}]}",
        NULL);
    ERR(e);
    struct label_selector *s = label_selector_from(json_root(d), &e);
    assert_non_null(s);
    AUTOFREE char *text = label_selector_text(s);
    assert_string_equal(text, "a in (x,y),b=1,!c");
    JSON_REF(good) = json_parse_str("{\"a\":\"x\",\"b\":\"1\"}", NULL);
    JSON_REF(bad) = json_parse_str("{\"a\":\"x\",\"b\":\"1\",\"c\":\"\"}", NULL);
    assert_true(label_selector_matches(s, json_root(good)));
    assert_false(label_selector_matches(s, json_root(bad)));
    label_selector_free(s);
    s = label_selector_from(NULL, &e);
    assert_false(label_selector_matches(s, json_root(good)));
    label_selector_free(s);
    JSON_REF(empty) = json_parse_str("{}", NULL);
    s = label_selector_from(json_root(empty), &e);
    assert_true(label_selector_all(s));
    assert_true(label_selector_matches(s, NULL));
    label_selector_free(s);
    JSON_REF(wrong) = json_parse_str("{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"X\"}]}", NULL);
    assert_null(label_selector_from(json_root(wrong), &e));
    assert_string_equal(err_text(&e), "\"X\" is not a valid label selector operator");
}

static void test_fields(void **state)
{
    (void)state;
    JSON_REF(d) = json_parse_str(
        "{\"metadata\":{\"name\":\"a\",\"namespace\":\"s\"},\"spec\":{\"nodeName\":\"n\"},\"status\":{\"phase\":\"Running\","
        "\"podIPs\":[{\"ip\":\"1.2.3.4\"}]}}",
        NULL);
    static const struct {
        const char *text;
        bool matches;
    } cases[] = {
        {"", true},
        {"metadata.name=a", true},
        {"metadata.name==a,spec.nodeName!=m", true},
        {"metadata.name!=a", false},
        {"spec.hostNetwork=false", true},
        {"status.podIPs=1.2.3.4", false},
        {"status.nominatedNodeName=", true},
        {"status.phase=Pending", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct field_selector *s = field_selector_parse(cases[i].text, field_labels_of("", "Pod"), NULL);
        assert_non_null(s);
        if (field_selector_matches(s, json_root(d)) != cases[i].matches)
            fail_msg("%s", cases[i].text);
        field_selector_free(s);
    }
    struct field_selector *s = field_selector_parse("metadata.name=a\\,b,status.phase!=x", field_labels_of("", "Pod"), NULL);
    assert_string_equal(field_selector_exact(s, "metadata.name"), "a,b");
    assert_null(field_selector_exact(s, "status.phase"));
    field_selector_free(s);
}

static void test_field_errors(void **state)
{
    (void)state;
    ERR(e);
    assert_null(field_selector_parse("spec.nope=x", field_labels_of("", "Pod"), &e));
    assert_string_equal(err_text(&e), "field label not supported: spec.nope");
    assert_null(field_selector_parse("status.replicas=0", field_labels_of("apps", "Deployment"), &e));
    assert_string_equal(err_text(&e),
                        "\"status.replicas\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"");
    assert_null(field_selector_parse("metadata.name", field_labels_of("", "Pod"), &e));
    assert_string_equal(err_text(&e), "invalid selector: 'metadata.name'; can't understand 'metadata.name'");
    assert_null(field_selector_parse("metadata.name=a\\x", field_labels_of("", "Pod"), &e));
    assert_int_equal(e.code, ERR_BAD_REQUEST);
}

static void test_custom_fields(void **state)
{
    (void)state;
    JSON_REF(fields) = json_parse_str("[{\"jsonPath\":\".spec.color\"},{\"jsonPath\":\".spec.n\"}]", NULL);
    JSON_REF(o) = json_parse_str("{\"spec\":{\"color\":\"red\",\"n\":5}}", NULL);
    struct field_labels *l = field_labels_new(json_root(fields));
    struct field_selector *s = field_selector_parse("spec.color=red,spec.n=5", l, NULL);
    assert_non_null(s);
    assert_true(field_selector_matches(s, json_root(o)));
    field_selector_free(s);
    ERR(e);
    assert_null(field_selector_parse("spec.none=1", l, &e));
    assert_string_equal(err_text(&e), "field label not supported: spec.none");
    field_labels_free(l);
}

TEST_GROUP(selector, cmocka_unit_test(test_label_matching), cmocka_unit_test(test_label_errors),
           cmocka_unit_test(test_label_objects), cmocka_unit_test(test_fields), cmocka_unit_test(test_field_errors),
           cmocka_unit_test(test_custom_fields))
