/* conformance_objects.c - verbs on objects: create, get, list, update, patch, delete, and what they refuse. */
#include "conformance.h"

static void case_create_and_get(struct target *t)
{
    JSON_REF(made) = make_map(t, "one", "'a': 'b'");
    jval *m = json_root(made);
    assert_string_equal(obj_kind(m), "ConfigMap");
    assert_string_equal(obj_api_version(m), "v1");
    assert_string_equal(obj_namespace(m), t->ns);
    assert_int_equal(strlen(obj_uid(m)), 36);
    assert_true(obj_rv(m) > 0);
    assert_true(obj_creation_ns(m) > 0);
    JSON_REF(got) = get(t, &KUBE_CONFIGMAPS, "one");
    assert_string_equal(obj_uid(json_root(got)), obj_uid(m));
    assert_string_equal(obj_rv_text(json_root(got)), obj_rv_text(m));
    assert_string_equal(text_at(json_root(got), "data.k"), "v");
    JSON_REF(named) = make(t, &KUBE_CONFIGMAPS, "{'metadata': {'generateName': 'some-'}}");
    assert_true(str_starts(obj_name(json_root(named)), "some-"));
    assert_int_equal(strlen(obj_name(json_root(named))), 10);
}

/* ---- what is refused ---- */

static struct err failed_create(struct target *t, const struct kube_res *res, const char *ns, const char *text)
{
    JSON_REF(d) = doc("%s", text);
    struct err e = ERR_INIT;
    struct ctx ctx = soon();
    JSON_REF(made) = kube_create(t->kube, &ctx, res, ns, json_root(d), NULL, &e);
    if (made)
        fail_msg("%s was taken", text);
    return e;
}

static const struct kube_res nothings = {"", "v1", "nothings", "Nothing", true};

static void case_refused_creates(struct target *t)
{
    static const struct {
        const struct kube_res *res;
        const char *ns, *body;
        enum err_code code;
        const char *text, *field;
    } cases[] = {
        {&KUBE_CONFIGMAPS, NULL, "{'metadata': {'name': 'Bad_Name'}}", ERR_INVALID,
         "ConfigMap \"Bad_Name\" is invalid: metadata.name: Invalid value: \"Bad_Name\"", "metadata.name"},
        {&KUBE_CONFIGMAPS, NULL, "{'metadata': {}}", ERR_INVALID, "name or generateName is required", "metadata.name"},
        {&KUBE_CONFIGMAPS, "nowhere-at-all", "{'metadata': {'name': 'x'}}", ERR_NOT_FOUND,
         "namespaces \"nowhere-at-all\" not found", NULL},
        {&KUBE_CONFIGMAPS, NULL, "{'metadata': {'name': 'x', 'namespace': 'other'}}", ERR_BAD_REQUEST,
         "the namespace of the provided object does not match the namespace sent on the request", NULL},
        {&KUBE_CONFIGMAPS, NULL, "{'metadata': {'name': 'x'}, 'data': {'a b': 'c'}}", ERR_INVALID, "data[a b]: Invalid value",
         "data[a b]"},
        {&KUBE_PODS, NULL, "{'metadata': {'name': 'x'}, 'spec': {'containers': []}}", ERR_INVALID,
         "spec.containers: Required value", "spec.containers"},
        {&KUBE_SECRETS, NULL, "{'metadata': {'name': 'x'}, 'kind': 'ConfigMap', 'apiVersion': 'v1'}", ERR_BAD_REQUEST,
         "ConfigMap", NULL},
        {&nothings, NULL, "{'metadata': {'name': 'x'}}", ERR_NOT_FOUND, "the server could not find the requested resource", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (strstr(cases[i].body, "'kind'") && !t->wire)
            continue;
        CLEANUP(err_clear)
        struct err e = failed_create(t, cases[i].res, cases[i].ns ? cases[i].ns : t->ns, cases[i].body);
        expect_error(cases[i].body, &e, cases[i].code, cases[i].text);
        if (cases[i].field) {
            assert_true(e.n_causes > 0);
            assert_string_equal(e.causes[0].field, cases[i].field);
        }
    }
}

static void case_exists_conflict_missing(struct target *t)
{
    struct ctx ctx = soon();
    JSON_REF(made) = make_map(t, "taken", "");
    CLEANUP(err_clear) struct err e = failed_create(t, &KUBE_CONFIGMAPS, t->ns, "{'metadata': {'name': 'taken'}}");
    expect_error("twice", &e, ERR_EXISTS, "configmaps \"taken\" already exists");
    assert_string_equal(e.subject_kind, "configmaps");
    assert_string_equal(e.subject_name, "taken");
    assert_int_equal(err_http_status(&e), 409);
    JSON_REF(none) = kube_get(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, "none", NULL, &e);
    assert_null(none);
    expect_error("get", &e, ERR_NOT_FOUND, "configmaps \"none\" not found");
    assert_string_equal(e.subject_name, "none");
    assert_string_equal(err_reason(&e), "NotFound");
    /* An update with an old revision. */
    JM(m, json_root(made));
    jm_put(m, jm_obj_at(m, jm_root(m), "data"), "k", jm_str(m, "w"));
    JSON_REF(changed) = jm_freeze(m);
    JSON_REF(updated) = kube_update(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, "taken", json_root(changed), NULL, &e);
    assert_non_null(updated);
    assert_true(obj_rv(json_root(updated)) > obj_rv(json_root(made)));
    JSON_REF(again) = kube_update(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, "taken", json_root(changed), NULL, &e);
    assert_null(again);
    expect_error("old revision", &e, ERR_CONFLICT,
                 "the object has been modified; please apply your changes to the latest version");
    assert_string_equal(err_reason(&e), "Conflict");
    /* One that changes nothing writes nothing. */
    JSON_REF(same) = kube_update(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, "taken", json_root(updated), NULL, &e);
    assert_non_null(same);
    assert_string_equal(obj_rv_text(json_root(same)), obj_rv_text(json_root(updated)));
    assert_int_equal(kube_delete(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, "none", NULL, NULL, &e), -1);
    expect_error("delete", &e, ERR_NOT_FOUND, "configmaps \"none\" not found");
}

static void case_bad_questions(struct target *t)
{
    static const struct {
        struct kube_opts o;
        enum err_code code;
        const char *text;
    } cases[] = {
        {{.label_selector = "a in ("}, ERR_BAD_REQUEST, "unable to parse requirement"},
        {{.field_selector = "spec.nothing=1"}, ERR_BAD_REQUEST, "\"spec.nothing\" is not a known field selector"},
        {{.continue_token = "rubbish"}, ERR_BAD_REQUEST, "continue key is not valid"},
        {{.resource_version = "yesterday"}, ERR_INVALID, "resourceVersion"},
    };
    struct ctx ctx = soon();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ERR(e);
        struct kube_list l;
        assert_int_equal(kube_list(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, &cases[i].o, &l, &e), -1);
        if (e.code != ERR_BAD_REQUEST && e.code != ERR_INVALID)
            expect_error(cases[i].text, &e, cases[i].code, cases[i].text);
        expect_error(cases[i].text, &e, e.code, cases[i].text);
    }
    ERR(e);
    assert_null(kube_get(t->kube, &ctx, &KUBE_CONFIGMAPS, NULL, "x", NULL, &e));
    assert_int_equal(e.code, ERR_BAD_REQUEST);
    assert_null(kube_get(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, "", NULL, &e));
}

/* ---- patches ---- */

static struct json *patch(struct target *t, const struct kube_res *res, const char *name, enum kube_patch type, const char *text)
{
    JSON_REF(p) = doc("%s", text);
    ERR(e);
    struct ctx ctx = soon();
    struct json *d = kube_patch(t->kube, &ctx, res, t->ns, name, type, json_root(p), NULL, &e);
    if (!d)
        fail_msg("%s: %s", text, err_text(&e));
    return d;
}

static void case_patches(struct target *t)
{
    json_unref(make_map(t, "patched", "'a': 'b'"));
    JSON_REF(merged) = patch(t, &KUBE_CONFIGMAPS, "patched", KUBE_PATCH_MERGE, "{'data': {'k': null, 'n': '1'}}");
    assert_string_equal(text_at(json_root(merged), "data.k"), "");
    assert_string_equal(text_at(json_root(merged), "data.n"), "1");
    JSON_REF(ops) = patch(t, &KUBE_CONFIGMAPS, "patched", KUBE_PATCH_JSON,
                          "[{'op': 'test', 'path': '/data/n', 'value': '1'}, {'op': 'add', 'path': '/data/m', 'value': '2'}]");
    assert_string_equal(text_at(json_root(ops), "data.m"), "2");
    /* Lists with a merge key are merged by it. */
    json_unref(make(
        t, &KUBE_PODS,
        "{'metadata': {'name': 'patched'}, 'spec': {'schedulerName': 'nobody', 'containers': [{'name': 'a', 'image': 'x:1'}]}}"));
    JSON_REF(strategic) = patch(t, &KUBE_PODS, "patched", KUBE_PATCH_STRATEGIC,
                                "{'spec': {'containers': [{'name': 'a', 'image': 'x:2'}]}, 'metadata': {'labels': {'l': 'm'}}}");
    jval *pod = json_root(strategic);
    assert_int_equal(jv_len(jv_path(pod, "spec", "containers", NULL)), 1);
    assert_string_equal(text_at(pod, "spec.containers.0.image"), "x:2");
    assert_string_equal(text_at(pod, "spec.containers.0.imagePullPolicy"), "IfNotPresent");
    assert_string_equal(text_at(pod, "metadata.labels.l"), "m");
    /* What is wrong with one. */
    ERR(e);
    struct ctx ctx = soon();
    JSON_REF(fails) = doc("[{'op': 'test', 'path': '/data/n', 'value': 'other'}]");
    assert_null(kube_patch(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, "patched", KUBE_PATCH_JSON, json_root(fails), NULL, &e));
    assert_int_equal(e.code, ERR_INVALID);
    JSON_REF(missing) = doc("{}");
    assert_null(kube_patch(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, "none", KUBE_PATCH_MERGE, json_root(missing), NULL, &e));
    expect_error("patch", &e, ERR_NOT_FOUND, "configmaps \"none\" not found");
    JSON_REF(forbidden) = doc("{'spec': {'containers': [{'name': 'a', 'command': ['x']}]}}");
    assert_null(kube_patch(t->kube, &ctx, &KUBE_PODS, t->ns, "patched", KUBE_PATCH_STRATEGIC, json_root(forbidden), NULL, &e));
    expect_error("immutable", &e, ERR_INVALID, "Forbidden: pod updates may not change fields other than");
}

/* ---- delete ---- */

static void case_delete(struct target *t)
{
    struct ctx ctx = soon();
    ERR(e);
    JSON_REF(made) = make_map(t, "goes", "");
    struct kube_opts wrong = {.precondition_uid = "11111111-2222-3333-4444-555555555555"};
    assert_int_equal(kube_delete(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, "goes", &wrong, NULL, &e), -1);
    expect_error("precondition", &e, ERR_CONFLICT,
                 "the UID in the precondition (11111111-2222-3333-4444-555555555555) does not match the UID in record");
    struct kube_opts dry = {.dry_run = true}, right = {.precondition_uid = obj_uid(json_root(made))};
    assert_int_equal(kube_delete(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, "goes", &dry, NULL, &e), 0);
    json_unref(get(t, &KUBE_CONFIGMAPS, "goes"));
    struct json *answer = NULL;
    if (kube_delete(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, "goes", &right, &answer, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_string_equal(obj_kind(json_root(answer)), "Status");
    assert_string_equal(text_at(json_root(answer), "status"), "Success");
    json_unref(answer);
    assert_null(kube_get(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, "goes", NULL, NULL));
    /* With a finalizer it stays until that is gone. */
    json_unref(make(t, &KUBE_CONFIGMAPS, "{'metadata': {'name': 'stays', 'finalizers': ['example.com/f']}}"));
    assert_int_equal(kube_delete(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, "stays", NULL, &answer, &e), 0);
    assert_string_equal(obj_name(json_root(answer)), "stays");
    assert_true(obj_deleting(json_root(answer)));
    json_unref(answer);
    json_unref(patch(t, &KUBE_CONFIGMAPS, "stays", KUBE_PATCH_MERGE, "{'metadata': {'finalizers': null}}"));
    assert_null(kube_get(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, "stays", NULL, NULL));
}

static size_t count(struct target *t, const struct kube_opts *o)
{
    struct ctx ctx = soon();
    struct kube_list l;
    ERR(e);
    if (kube_list(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, o, &l, &e) < 0)
        fail_msg("%s", err_text(&e));
    size_t n = l.n;
    kube_list_free(&l);
    return n;
}

static void case_delete_collection(struct target *t)
{
    struct ctx ctx = soon();
    ERR(e);
    for (int i = 0; i < 5; i++) {
        AUTOFREE char *name = xasprintf("many-%d", i);
        json_unref(make_map(t, name, i < 3 ? "'many': 'yes'" : "'many': 'no'"));
    }
    if (kube_delete_collection(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, &(struct kube_opts){.label_selector = "many=yes"}, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_int_equal(count(t, &(struct kube_opts){.label_selector = "many=yes"}), 0);
    assert_int_equal(count(t, &(struct kube_opts){.label_selector = "many"}), 2);
}

static void case_dry_run(struct target *t)
{
    struct ctx ctx = soon();
    ERR(e);
    const struct kube_opts dry = {.dry_run = true};
    JSON_REF(d) = doc("{'metadata': {'name': 'dry'}}");
    JSON_REF(made) = kube_create(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, json_root(d), &dry, &e);
    if (!made)
        fail_msg("%s", err_text(&e));
    assert_string_equal(obj_name(json_root(made)), "dry");
    assert_null(kube_get(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, "dry", NULL, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
}

static void case_field_validation(struct target *t)
{
    if (!t->wire)
        skip();
    struct ctx ctx = soon();
    ERR(e);
    JSON_REF(d) = doc("{'metadata': {'name': 'strict'}, 'dat': {}}");
    assert_null(
        kube_create(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, json_root(d), &(struct kube_opts){.field_validation = "Strict"}, &e));
    expect_error("strict", &e, ERR_BAD_REQUEST, "unknown field \"dat\"");
}

/* ---- lists ---- */

static void case_selectors(struct target *t)
{
    json_unref(make_map(t, "s1", "'team': 'a', 'tier': 'front'"));
    json_unref(make_map(t, "s2", "'team': 'a', 'tier': 'back'"));
    json_unref(make_map(t, "s3", "'team': 'b'"));
    static const struct {
        struct kube_opts o;
        size_t n;
    } cases[] = {
        {{.label_selector = "team=a"}, 2},           {{.label_selector = "team in (a, b), tier != back"}, 2},
        {{.label_selector = "team,!tier"}, 1},       {{.label_selector = "team=c"}, 0},
        {{.field_selector = "metadata.name=s2"}, 1}, {{.field_selector = "metadata.name=s2", .label_selector = "team=b"}, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(count(t, &cases[i].o), cases[i].n);
    /* All namespaces. */
    struct ctx ctx = soon();
    struct kube_list l;
    ERR(e);
    if (kube_list(t->kube, &ctx, &KUBE_CONFIGMAPS, NULL, &(struct kube_opts){.label_selector = "team=a"}, &l, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_true(l.n >= 2);
    for (size_t i = 0; i < l.n; i++) {
        assert_string_equal(obj_kind(json_root(l.items[i])), "ConfigMap");
        assert_string_equal(obj_api_version(json_root(l.items[i])), "v1");
    }
    kube_list_free(&l);
}

static void case_pages(struct target *t)
{
    for (int i = 0; i < 7; i++) {
        AUTOFREE char *name = xasprintf("page-%d", i);
        json_unref(make_map(t, name, "'paged': 'yes'"));
    }
    struct ctx ctx = soon();
    AUTOFREE char *token = NULL;
    AUTOFREE char *rv = NULL;
    static const size_t sizes[] = {3, 3, 1};
    size_t seen = 0;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct kube_list l;
        ERR(e);
        struct kube_opts o = {.label_selector = "paged", .limit = 3, .continue_token = token};
        if (kube_list(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, &o, &l, &e) < 0)
            fail_msg("page %zu: %s", i, err_text(&e));
        assert_int_equal(l.n, sizes[i]);
        for (size_t k = 0; k < l.n; k++) {
            AUTOFREE char *name = xasprintf("page-%zu", seen++);
            assert_string_equal(obj_name(json_root(l.items[k])), name);
        }
        if (rv)
            assert_string_equal(rv, l.resource_version); /* one moment, however many pages */
        free(rv);
        rv = xstrdup(l.resource_version);
        free(token);
        token = TAKE(l.continue_token);
        assert_int_equal(token != NULL, i < 2);
        kube_list_free(&l);
        if (i == 0)
            json_unref(make_map(t, "page-99", "'paged': 'yes'")); /* comes too late for this list */
    }
}

/* ---- subresources ---- */

static void case_status_is_apart(struct target *t)
{
    struct ctx ctx = soon();
    ERR(e);
    json_unref(make(t, &KUBE_PODS,
                    "{'metadata': {'name': 'apart'}, 'spec': {'schedulerName': 'nobody', 'containers': [{'name': 'a', 'image': "
                    "'x:1'}]}, 'status': {'phase': 'Failed'}}"));
    JSON_REF(pod) = get(t, &KUBE_PODS, "apart");
    assert_string_equal(text_at(json_root(pod), "status.phase"), "Pending");
    JSON_REF(p) = doc("{'status': {'phase': 'Running', 'message': 'told'}, 'metadata': {'labels': {'not': 'taken'}}}");
    const struct kube_opts o = {.subresource = "status"};
    JSON_REF(done) = kube_patch(t->kube, &ctx, &KUBE_PODS, t->ns, "apart", KUBE_PATCH_MERGE, json_root(p), &o, &e);
    if (!done)
        fail_msg("%s", err_text(&e));
    assert_string_equal(text_at(json_root(done), "status.message"), "told");
    JSON_REF(again) = get(t, &KUBE_PODS, "apart");
    assert_string_equal(text_at(json_root(again), "status.phase"), "Running");
}

static void case_binding(struct target *t)
{
    struct ctx ctx = soon();
    ERR(e);
    json_unref(make(
        t, &KUBE_PODS,
        "{'metadata': {'name': 'bound'}, 'spec': {'schedulerName': 'nobody', 'containers': [{'name': 'a', 'image': 'x:1'}]}}"));
    JSON_REF(b) =
        doc("{'apiVersion': 'v1', 'kind': 'Binding', 'metadata': {'name': 'bound'}, 'target': {'apiVersion': 'v1', 'kind': "
            "'Node', 'name': 'somewhere'}}");
    const struct kube_opts o = {.subresource = "binding"};
    JSON_REF(done) = kube_create_sub(t->kube, &ctx, &KUBE_PODS, t->ns, "bound", json_root(b), &o, &e);
    if (!done)
        fail_msg("%s", err_text(&e));
    JSON_REF(pod) = get(t, &KUBE_PODS, "bound");
    assert_string_equal(text_at(json_root(pod), "spec.nodeName"), "somewhere");
    assert_true(obj_condition_is(json_root(pod), "PodScheduled", "True"));
    JSON_REF(twice) = kube_create_sub(t->kube, &ctx, &KUBE_PODS, t->ns, "bound", json_root(b), &o, &e);
    assert_null(twice);
    expect_error("bound twice", &e, ERR_CONFLICT, "is already assigned to node \"somewhere\"");
    const int64_t now = 0;
    assert_int_equal(kube_delete(t->kube, &ctx, &KUBE_PODS, t->ns, "bound", &(struct kube_opts){.grace_seconds = &now}, NULL, &e),
                     0);
}

static void case_tokens_and_reviews(struct target *t)
{
    struct ctx ctx = soon();
    ERR(e);
    JSON_REF(ask) =
        doc("{'apiVersion': 'authentication.k8s.io/v1', 'kind': 'TokenRequest', 'spec': {'expirationSeconds': 3600}}");
    JSON_REF(token) = kube_create_sub(t->kube, &ctx, &KUBE_SERVICEACCOUNTS, t->ns, "default", json_root(ask),
                                      (&(struct kube_opts){.subresource = "token"}), &e);
    if (!token)
        fail_msg("%s", err_text(&e));
    JSON_REF(review) = doc("{'apiVersion': 'authentication.k8s.io/v1', 'kind': 'TokenReview', 'spec': {'token': '%s'}}",
                           text_at(json_root(token), "status.token"));
    JSON_REF(who) = kube_create(t->kube, &ctx, &KUBE_TOKENREVIEWS, NULL, json_root(review), NULL, &e);
    if (!who)
        fail_msg("%s", err_text(&e));
    AUTOFREE char *user = xasprintf("system:serviceaccount:%s:default", t->ns);
    assert_string_equal(text_at(json_root(who), "status.user.username"), user);
    JSON_REF(may) = doc("{'apiVersion': 'authorization.k8s.io/v1', 'kind': 'SubjectAccessReview', 'spec': {'user': '%s', "
                        "'resourceAttributes': {'verb': 'delete', 'resource': 'nodes'}}}",
                        user);
    static const struct kube_res reviews = {"authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", false};
    JSON_REF(says) = kube_create(t->kube, &ctx, &reviews, NULL, json_root(may), NULL, &e);
    if (!says)
        fail_msg("%s", err_text(&e));
    assert_false(jv_bool(jv_path(json_root(says), "status", "allowed", NULL), true));
}

static void case_logs_of_nothing(struct target *t)
{
    struct ctx ctx = soon();
    ERR(e);
    BUF(out);
    const struct kube_log_opts lo = {.tail_lines = -1};
    assert_int_equal(kube_logs(t->kube, &ctx, t->ns, "none", &lo, 1000, &out, &e), -1);
    expect_error("log", &e, ERR_NOT_FOUND, "pods \"none\" not found");
}

const struct conformance_case conformance_objects[] = {
    {"create_and_get", case_create_and_get},
    {"refused_creates", case_refused_creates},
    {"exists_conflict_missing", case_exists_conflict_missing},
    {"bad_questions", case_bad_questions},
    {"patches", case_patches},
    {"delete", case_delete},
    {"delete_collection", case_delete_collection},
    {"dry_run", case_dry_run},
    {"field_validation", case_field_validation},
    {"selectors", case_selectors},
    {"pages", case_pages},
    {"status_is_apart", case_status_is_apart},
    {"binding", case_binding},
    {"tokens_and_reviews", case_tokens_and_reviews},
    {"logs_of_nothing", case_logs_of_nothing},
};
const size_t n_conformance_objects = ARRAY_LEN(conformance_objects);
