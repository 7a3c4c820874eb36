/* Request bodies: the JSON mapping of protobuf. */
#include "unit.h"

#include "base/str.h"
#include "pipelines/api/proto_json.h"

static void test_decoded(void **state)
{
    static const struct {
        const struct pj_message *message;
        const char *in, *out;
    } cases[] = {
        {&PJ_EXPERIMENT, "", "{}"},
        {&PJ_EXPERIMENT, "{}", "{}"},
        {&PJ_EXPERIMENT, "{\"displayName\":\"x\"}", "{\"display_name\":\"x\"}"},
        {&PJ_EXPERIMENT, "{\"display_name\":null}", "{}"},
        {&PJ_EXPERIMENT, "{\"storageState\":\"ARCHIVED\"}", "{\"storage_state\":2}"},
        {&PJ_EXPERIMENT, "{\"storage_state\":99}", "{\"storage_state\":99}"},
        {&PJ_EXPERIMENT, "{\"created_at\":\"2090-01-01T00:00:00.5+01:00\"}", "{\"created_at\":\"2090-01-01T00:00:00.5+01:00\"}"},
        {&PJ_RUN, "{\"runtimeConfig\":{\"parameters\":{\"displayName\":[1,null]}}}",
         "{\"runtime_config\":{\"parameters\":{\"displayName\":[1,null]}}}"},
        {&PJ_RUN, "{\"runtime_config\":{\"parameters\":null}}", "{\"runtime_config\":{}}"},
        {&PJ_RUN, "{\"runtime_config\":{\"parameters\":{\"i\":9007199254740993}}}",
         "{\"runtime_config\":{\"parameters\":{\"i\":9007199254740993}}}"},
        {&PJ_RECURRING_RUN, "{\"maxConcurrency\":\"10\"}", "{\"max_concurrency\":10}"},
        {&PJ_RECURRING_RUN, "{\"max_concurrency\":9223372036854775807}", "{\"max_concurrency\":9223372036854775807}"},
        {&PJ_PIPELINE, "{\"tags\":{\"displayName\":\"v\"}}", "{\"tags\":{\"displayName\":\"v\"}}"},
        {&PJ_FILTER, "{\"predicates\":[{\"stringValue\":\"x\",\"operation\":1}]}",
         "{\"predicates\":[{\"string_value\":\"x\",\"operation\":1}]}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ERR(e);
        JSON_REF(got) = pj_decode(cases[i].message, cases[i].in, strlen(cases[i].in), &e);
        if (!got)
            fail_msg("%s: %s", cases[i].in, err_text(&e));
        JSON_REF(want) = json_parse_str(cases[i].out, &e);
        AUTOFREE char *text = jv_text(json_root(got), 0);
        if (!jv_equal(json_root(got), json_root(want)))
            fail_msg("%s: got %s", cases[i].in, text);
    }
}

static void test_refused(void **state)
{
    static const struct {
        const struct pj_message *message;
        const char *in, *says;
    } cases[] = {
        {&PJ_EXPERIMENT, "null", "null"},
        {&PJ_EXPERIMENT, "[]", "array"},
        {&PJ_EXPERIMENT, "\"x\"", "string"},
        {&PJ_EXPERIMENT, "{", ""},
        {&PJ_EXPERIMENT, "\xef\xbb\xbf{}", ""},
        {&PJ_EXPERIMENT, "{\"colour\":1}", "colour"},
        {&PJ_EXPERIMENT, "{\"Display_name\":\"x\"}", "Display_name"},
        {&PJ_EXPERIMENT, "{\"display_name\":\"a\",\"displayName\":\"b\"}", "displayName"},
        {&PJ_EXPERIMENT, "{\"display_name\":null,\"displayName\":\"b\"}", "displayName"},
        {&PJ_EXPERIMENT, "{\"display_name\":\"a\",\"display_name\":\"b\"}", "display_name"},
        {&PJ_EXPERIMENT, "{\"display_name\":1}", "display_name"},
        {&PJ_EXPERIMENT, "{\"display_name\":\"a\\u0000b\"}", "NUL"},
        {&PJ_EXPERIMENT, "{\"created_at\":\"soon\"}", "soon"},
        {&PJ_EXPERIMENT, "{\"storage_state\":\"MAYBE\"}", "MAYBE"},
        {&PJ_EXPERIMENT, "{\"storage_state\":1.5}", "storage_state"},
        {&PJ_RUN, "{\"pipeline_spec\":\"text\"}", "pipeline_spec"},
        {&PJ_RUN, "{\"pipeline_spec\":{},\"pipelineVersionReference\":{}}", "exclude"},
        {&PJ_RUN, "{\"runtime_config\":{\"parameter_values\":{}}}", "parameter_values"},
        {&PJ_RUN, "{\"plugins_input\":{\"x\":5}}", "plugins_input"},
        {&PJ_RUN, "{\"state_history\":{}}", "state_history"},
        {&PJ_RUN, "{\"state_history\":[null]}", "state_history"},
        {&PJ_PIPELINE, "{\"tags\":{\"k\":1}}", "tags"},
        {&PJ_RECURRING_RUN, "{\"trigger\":{\"cron_schedule\":{\"crom\":\"x\"}}}", "crom"},
        {&PJ_RECURRING_RUN, "{\"max_concurrency\":\"1x\"}", "max_concurrency"},
        {&PJ_FILTER, "{\"predicates\":[{\"int_value\":2147483648}]}", "int_value"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ERR(e);
        JSON_REF(got) = pj_decode(cases[i].message, cases[i].in, strlen(cases[i].in), &e);
        if (got)
            fail_msg("%s is accepted", cases[i].in);
        assert_int_equal(e.code, ERR_BAD_REQUEST);
        if (!strstr(err_text(&e), cases[i].says))
            fail_msg("%s: %s does not say %s", cases[i].in, err_text(&e), cases[i].says);
    }
}

static void test_deep(void **state)
{
    enum { DEPTH = 100000 };
    BUF(b);
    for (int i = 0; i < DEPTH; i++)
        buf_adds(&b, "{\"a\":");
    ERR(e);
    assert_null(pj_decode(&PJ_RUN, b.data, b.len, &e));
    assert_int_equal(e.code, ERR_BAD_REQUEST);
}

TEST_GROUP(bodies, cmocka_unit_test(test_decoded), cmocka_unit_test(test_refused), cmocka_unit_test(test_deep))
