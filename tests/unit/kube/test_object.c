/* Objects and names. */
#include "unit.h"

#include "kube/names.h"
#include "kube/object.h"

static struct json *doc(const char *text)
{
    struct json *d = json_parse_str(text, NULL);
    assert_non_null(d);
    return d;
}

static void test_reading(void **state)
{
    (void)state;
    JSON_REF(d) =
        doc("{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"n\",\"namespace\":\"s\",\"uid\":\"u\","
            "\"resourceVersion\":\"42\",\"generation\":3,\"creationTimestamp\":\"1970-01-01T00:00:07Z\",\"labels\":{\"a\":\"b\"},"
            "\"finalizers\":[\"x/y\"],\"ownerReferences\":[{\"uid\":\"o1\"},{\"uid\":\"o2\",\"controller\":true}]},"
            "\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}}");
    jval *o = json_root(d);
    assert_string_equal(obj_name(o), "n");
    assert_string_equal(obj_namespace(o), "s");
    assert_int_equal(obj_rv(o), 42);
    assert_int_equal(obj_generation(o), 3);
    assert_int_equal(obj_creation_ns(o), 7000000000LL);
    assert_string_equal(obj_label(o, "a"), "b");
    assert_null(obj_annotation(o, "a"));
    assert_false(obj_deleting(o));
    assert_true(obj_has_owner(o, "o1"));
    assert_false(obj_is_controlled_by(o, "o1"));
    assert_true(obj_is_controlled_by(o, "o2"));
    assert_true(obj_has_finalizer(o, "x/y"));
    assert_true(obj_condition_is(o, "Ready", "True"));
    assert_false(obj_condition_is(o, "Other", "True"));
    AUTOFREE char *key = obj_key(o);
    assert_string_equal(key, "s/n");
    assert_string_equal(obj_name(NULL), "");
    assert_int_equal(obj_rv(NULL), 0);
}

static void test_keys(void **state)
{
    (void)state;
    char *ns, *name;
    obj_key_split("a/b", &ns, &name);
    assert_string_equal(ns, "a");
    assert_string_equal(name, "b");
    free(ns);
    free(name);
    obj_key_split("b", &ns, &name);
    assert_string_equal(ns, "");
    assert_string_equal(name, "b");
    free(ns);
    free(name);
    assert_true(api_version_same_group("apps/v1", "apps/v1beta1"));
    assert_true(api_version_same_group("v1", "v2"));
    assert_false(api_version_same_group("v1", "apps/v1"));
    assert_false(api_version_same_group("app/v1", "apps/v1"));
}

static void test_finalizers(void **state)
{
    (void)state;
    JSON_REF(d) = doc("{\"metadata\":{\"name\":\"n\"}}");
    JM(m, json_root(d));
    assert_true(obj_add_finalizer(m, jm_root(m), "a"));
    assert_false(obj_add_finalizer(m, jm_root(m), "a"));
    assert_true(obj_add_finalizer(m, jm_root(m), "b"));
    assert_true(obj_remove_finalizer(jm_root(m), "a"));
    assert_false(obj_remove_finalizer(jm_root(m), "a"));
    assert_true(obj_remove_finalizer(jm_root(m), "b"));
    JSON_REF(now) = jm_freeze(m);
    assert_true(jv_equal(json_root(now), json_root(d)));
}

static void test_conditions(void **state)
{
    (void)state;
    JSON_REF(d) = doc("{}");
    JM(m, json_root(d));
    assert_true(obj_set_condition(m, jm_root(m), "Ready", "False", "Why", "text", 1000000000LL));
    assert_false(obj_set_condition(m, jm_root(m), "Ready", "False", "Why", "text", 2000000000LL));
    assert_true(obj_set_condition(m, jm_root(m), "Ready", "False", "Other", NULL, 3000000000LL));
    JSON_REF(now) = jm_freeze(m);
    jval *c = obj_condition(json_root(now), "Ready");
    assert_string_equal(jv_str(jv_get(c, "lastTransitionTime")), "1970-01-01T00:00:01Z");
    assert_string_equal(jv_str(jv_get(c, "reason")), "Other");
    assert_null(jv_get(c, "message"));
    assert_true(obj_set_condition(m, jm_root(m), "Ready", "True", "Other", NULL, 4000000000LL));
    assert_string_equal(jmv_str(jmv_path(jm_root(m), "status", "conditions", "0", "lastTransitionTime", NULL)),
                        "1970-01-01T00:00:04Z");
    assert_true(obj_remove_condition(jm_root(m), "Ready"));
    assert_false(obj_remove_condition(jm_root(m), "Ready"));
}

static void test_names(void **state)
{
    (void)state;
    static const struct {
        struct name_faults (*rule)(const char *);
        const char *name;
        size_t faults;
        const char *starts; /* of the first */
    } cases[] = {
        {name_dns1123_label, "a", 0, NULL},
        {name_dns1123_label, "1-a", 0, NULL},
        {name_dns1123_label, "", 1, "a lowercase RFC 1123 label must"},
        {name_dns1123_label, "a.b", 1, "must not contain dots"},
        {name_dns1123_label, "-a", 1, "a lowercase RFC 1123 label must"},
        {name_dns1123_label, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 1,
         "must be no more than 63 characters"},
        {name_dns1123_subdomain, "a.b-c.d", 0, NULL},
        {name_dns1123_subdomain, "a..b", 1, "a lowercase RFC 1123 subdomain must"},
        {name_dns1123_subdomain, "A", 1, "a lowercase RFC 1123 subdomain must"},
        {name_dns1123_subdomain, "a.", 1, "a lowercase RFC 1123 subdomain must"},
        {name_dns1035_label, "a1", 0, NULL},
        {name_dns1035_label, "1a", 1, "a DNS-1035 label must"},
        {name_path_segment, "A_B c", 0, NULL},
        {name_path_segment, "..", 1, "may not be '..'"},
        {name_path_segment, "a/%", 2, "may not contain '/'"},
        {name_qualified, "a", 0, NULL},
        {name_qualified, "x.y/A_b.c", 0, NULL},
        {name_qualified, "", 2, "name part must be non-empty"},
        {name_qualified, "/a", 1, "prefix part must be non-empty"},
        {name_qualified, "X/a", 1, "prefix part a lowercase RFC 1123 subdomain"},
        {name_qualified, "a/b/c", 1, "a qualified name must consist"},
        {name_label_value, "", 0, NULL},
        {name_label_value, "-", 1, "a valid label must be an empty string"},
        {name_port, "http", 0, NULL},
        {name_port, "123", 1, "must contain at least one letter (a-z)"},
        {name_port, "a--b-", 2, "must not contain consecutive hyphens"},
        {name_port, "aaaaaaaaaaaaaaaa", 1, "must be no more than 15 characters"},
        {name_env_var, "A b-c", 0, NULL},
        {name_env_var, "a=b", 1, "a valid environment variable name must consist only of printable"},
        {name_config_key, "a.b", 0, NULL},
        {name_config_key, "a b", 1, "a valid config key must consist"},
        {name_config_key, "..", 1, "must not be '..'"},
        {name_config_key, "..a", 1, "must not start with '..'"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct name_faults f = cases[i].rule(cases[i].name);
        if (f.n != cases[i].faults)
            fail_msg("case %zu \"%s\": %zu faults", i, cases[i].name, f.n);
        if (f.n && !str_starts(f.text[0], cases[i].starts))
            fail_msg("case %zu \"%s\": %s", i, cases[i].name, f.text[0]);
    }
}

TEST_GROUP(object, cmocka_unit_test(test_reading), cmocka_unit_test(test_keys), cmocka_unit_test(test_finalizers),
           cmocka_unit_test(test_conditions), cmocka_unit_test(test_names))
