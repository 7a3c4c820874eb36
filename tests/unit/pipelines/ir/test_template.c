#include "unit.h"

#include "base/str.h"
#include "pipelines/ir/template.h"

/* Shows what a placeholder was recognised as. */
static int show(void *self, const struct tmpl_seg *s, struct buf *out, struct err *err)
{
    if (str_eq(s->key, "unknown"))
        return 0;
    buf_addf(out, "<%d", (int)s->kind);
    if (s->key)
        buf_addf(out, " %s", s->key);
    if (s->sub)
        buf_addf(out, " %s", s->sub);
    buf_addc(out, '>');
    return 1;
}

static bool present(void *self, const char *input) { return str_eq(input, "there"); }

static const struct tmpl_scope scope = {.value = show, .present = present};

static char *eval(const char *s, struct err *e)
{
    ARENA(a);
    struct tmpl_arg arg;
    STRLIST(out);
    if (tmpl_arg_parse(&a, s, strlen(s), &arg, e) < 0 || tmpl_arg_eval(&arg, &scope, &out, e) < 0)
        return NULL;
    return strlist_join(&out, "|");
}

static void placeholders(void **state)
{
    static const struct {
        const char *s;
        enum tmpl_kind kind;
        const char *rest; /* key and sub as shown */
    } cases[] = {
        {"{{$}}", TMPL_INPUT, ""},
        {"{{$.inputs.parameters['a b']}}", TMPL_IN_PARAM, " a b"},
        {"{{$.inputs.parameters[''a'']}}", TMPL_IN_PARAM, " a"},
        {"{{$.inputs.artifacts['m'].uri}}", TMPL_IN_ARTIFACT_URI, " m"},
        {"{{$.inputs.artifacts['m'].path}}", TMPL_IN_ARTIFACT_PATH, " m"},
        {"{{$.inputs.artifacts['m'].name}}", TMPL_IN_ARTIFACT_NAME, " m"},
        {"{{$.inputs.artifacts['m']}}", TMPL_IN_ARTIFACT, " m"},
        {"{{$.inputs.artifacts['m'].metadata}}", TMPL_IN_ARTIFACT_METADATA, " m"},
        {"{{$.inputs.artifacts['m'].metadata['k']}}", TMPL_IN_ARTIFACT_METADATA, " m k"},
        {"{{$.inputs.artifacts['m'].properties['k']}}", TMPL_IN_ARTIFACT_METADATA, " m k"},
        {"{{$.outputs.parameters['o'].output_file}}", TMPL_OUT_PARAM_FILE, " o"},
        {"{{$.outputs.artifacts['o'].uri}}", TMPL_OUT_ARTIFACT_URI, " o"},
        {"{{$.outputs.artifacts['o'].path}}", TMPL_OUT_ARTIFACT_PATH, " o"},
        {"{{$.outputs.artifacts['o'].metadata['k']}}", TMPL_OUT_ARTIFACT_METADATA, " o k"},
        {"{{$.outputs.output_file}}", TMPL_OUTPUT_FILE, ""},
        {"{{$.outputMetadataUri}}", TMPL_OUTPUT_FILE, ""},
        {"{{$.pipeline_job_name}}", TMPL_JOB_NAME, ""},
        {"{{$.pipeline_job_resource_name}}", TMPL_JOB_RESOURCE_NAME, ""},
        {"{{$.pipeline_job_uuid}}", TMPL_JOB_UUID, ""},
        {"{{$.pipeline_task_name}}", TMPL_TASK_NAME, ""},
        {"{{$.pipeline_task_uuid}}", TMPL_TASK_UUID, ""},
        {"{{$.pipeline_job_create_time_utc}}", TMPL_CREATE_TIME, ""},
        {"{{$.pipeline_job_schedule_time_utc}}", TMPL_SCHEDULE_TIME, ""},
        {"{{$.pipeline_root}}", TMPL_PIPELINE_ROOT, ""},
        {"{{$.workspace_path}}", TMPL_WORKSPACE_PATH, ""},
    };
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        ERR(e);
        AUTOFREE char *s = xasprintf("a%sb", cases[n].s);
        AUTOFREE char *got = eval(s, &e);
        AUTOFREE char *want = xasprintf("a<%d%s>b", (int)cases[n].kind, cases[n].rest);
        assert_string_equal(got, want);
    }
}

static void text_stays(void **state)
{
    static const char *const cases[] = {
        "",
        "plain",
        "{{",
        "{{$",
        "{{$.inputs.parameters['x'",
        "{{$.what}}",
        "{{$.inputs.parameters['unknown']}}",
        "{{workflow.name}}",
        "{{$.inputs.parameters[x]}}",
        "{{$.pipeline_google_cloud_location}}",
        "{$}",
        "{{$.inputs.parameters['x'].uri}}",
        "{\"a\": 1}",
        "{\"IfPresent\": ",
        "{{$.inputs.parameters['']}}",
    };
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        ERR(e);
        AUTOFREE char *got = eval(cases[n], &e);
        assert_string_equal(got, cases[n]);
    }
}

static void structures(void **state)
{
    static const char *const cases[][2] = {
        {"{\"IfPresent\": {\"InputName\": \"there\", \"Then\": [\"a\", \"b\"], \"Else\": \"c\"}}", "a|b"},
        {"{\"IfPresent\": {\"InputName\": \"gone\", \"Then\": [\"a\"], \"Else\": [\"c\", \"d\"]}}", "c|d"},
        {" { \"IfPresent\": {\"InputName\": \"gone\", \"Then\": \"a\"}}", ""},
        {"{\"Concat\": [\"a\", \"{{$}}\", {\"IfPresent\": {\"InputName\": \"gone\", \"Then\": \"x\"}}, \"b\"]}", "a<1>b"},
        {"{\"Concat\": [\"a\", {\"Concat\": [\"b\", \"c\"]}]}", "abc"},
        {"{\"IfPresent\": {\"InputName\": \"there\", \"Then\": [{\"Concat\": [\"--x=\", \"1\"]}, \"y\"]}}", "--x=1|y"},
    };
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        ERR(e);
        AUTOFREE char *got = eval(cases[n][0], &e);
        if (!got)
            fail_msg("%s", err_text(&e));
        assert_string_equal(got, cases[n][1]);
    }
}

static void refused(void **state)
{
    static const char *const cases[] = {
        "{\"Concat\": [\"a\", [\"b\"]]}",
        "{\"IfPresent\": {\"Then\": \"a\"}}",
        "x {{$.json_escape[1]}}{{$.inputs}}",
        "{\"Concat\": [{\"What\": 1}]}",
    };
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        ERR(e);
        AUTOFREE char *got = eval(cases[n], &e);
        if (got)
            fail_msg("%s gave %s", cases[n], got);
        assert_int_equal(e.code, ERR_BAD_REQUEST);
    }
}

static int inject(void *self, const struct tmpl_seg *s, struct buf *out, struct err *err)
{
    buf_adds(out, "{{$.inputs.parameters['y']}}");
    return 1;
}

static void one_pass(void **state)
{
    ARENA(a);
    struct tmpl t;
    BUF(b);
    ERR(e);
    const struct tmpl_scope sc = {.value = inject, .present = present};
    const char *s = "{{$.inputs.parameters['x']}}";
    assert_int_equal(tmpl_parse(&a, s, strlen(s), &t, &e), 0);
    assert_int_equal(tmpl_eval(&t, &sc, &b, &e), 0);
    assert_string_equal(buf_str(&b), "{{$.inputs.parameters['y']}}");
}

/* Texts in which each place looks like the beginning of a long placeholder are read in one go, not once a place. */
static void hostile_texts(void **state)
{
#ifdef __SANITIZE_THREAD__ /* it looks at all that memmem might read, at each call */
    const size_t size = 64 << 10;
#else
    const size_t size = 4 << 20;
#endif
    static const char *const beginnings[] = {"{{$", "{{$.inputs.parameters['", "{{$.inputs.artifacts['a'].metadata['"};
    for (size_t n = 0; n < ARRAY_LEN(beginnings); n++) {
        ARENA(a);
        struct tmpl t;
        BUF(s);
        ERR(e);
        while (s.len < size)
            buf_adds(&s, beginnings[n]);
        buf_adds(&s, "x}} {{$.pipeline_job_name}}");
        assert_int_equal(tmpl_parse(&a, s.data, s.len, &t, &e), 0);
        assert_int_equal(t.n, 2);
        assert_int_equal(t.segs[1].kind, TMPL_JOB_NAME);
    }
}

TEST_GROUP(templates, cmocka_unit_test(placeholders), cmocka_unit_test(text_stays), cmocka_unit_test(structures),
           cmocka_unit_test(refused), cmocka_unit_test(one_pass), cmocka_unit_test(hostile_texts))
