/* Patches: what each type makes of an object, and how what cannot be is refused. */
#include "base/fs.h"
#include "cluster/apiserver/apiserver.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "unit.h"

struct room {
    char dir[32];
    struct apiserver *a;
    struct kube *kube;
};

static int open_room(void **state)
{
    static const char *const masters[] = {"system:masters", "system:authenticated", NULL};
    struct room *r = xcalloc(1, sizeof *r);
    strcpy(r->dir, "/tmp/tm-patch-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    ERR(e);
    r->a = apiserver_new(&(struct apiserver_config){.data_dir = r->dir}, &e);
    if (!r->a)
        fail_msg("%s", err_text(&e));
    r->kube = apiserver_kube(r->a, &(struct identity){"admin", "", masters, NULL});
    *state = r;
    return 0;
}

static int close_room(void **state)
{
    struct room *r = *state;
    apiserver_stop(r->a);
    fs_rm_rf(r->dir, NULL);
    free(r);
    return 0;
}

static void patches(void **state)
{
    struct room *r = *state;
    struct ctx ctx = ctx_background();
    static const struct {
        enum kube_patch type;
        const char *patch;
        enum err_code code; /* 0: the data afterwards is want */
        const char *want;
    } cases[] = {
        {KUBE_PATCH_JSON, "[{\"op\":\"add\",\"path\":\"/data/b\",\"value\":\"2\"}]", 0, "{\"a\":\"1\",\"b\":\"2\"}"},
        {KUBE_PATCH_MERGE, "{\"data\":{\"a\":null,\"b\":\"2\"}}", 0, "{\"b\":\"2\"}"},
        {KUBE_PATCH_STRATEGIC, "{\"data\":{\"$patch\":\"replace\",\"c\":\"3\"}}", 0, "{\"c\":\"3\"}"},
        {KUBE_PATCH_JSON, "null", 0, "{\"a\":\"1\"}"},
        {KUBE_PATCH_STRATEGIC, "null", 0, "{\"a\":\"1\"}"},
        {KUBE_PATCH_JSON, "[{\"op\":\"test\",\"path\":\"/data/a\",\"value\":\"x\"}]", ERR_INVALID,
         "the server rejected our request due to an error in our request"},
        /* What a JSON patch made is shown as JSON, a strategic patch itself as Go prints maps. */
        {KUBE_PATCH_JSON, "[{\"op\":\"add\",\"path\":\"/data\",\"value\":5}]", ERR_INVALID,
         " \"\" is invalid: patch: Invalid value: \"{"},
        {KUBE_PATCH_STRATEGIC, "{\"data\":[]}", ERR_INVALID, " \"\" is invalid: patch: Invalid value: \"map[data:[]]\": "},
        {KUBE_PATCH_STRATEGIC, "[]", ERR_BAD_REQUEST, ""},
        {KUBE_PATCH_MERGE, "5", ERR_BAD_REQUEST, ""},
        {KUBE_PATCH_STRATEGIC, "{\"data\":{\"$patch\":\"mend\"}}", ERR_INTERNAL, "mend"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ERR(e);
        AUTOFREE char *name = xasprintf("c%zu", i);
        AUTOFREE char *text = xasprintf("{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"%s\"},"
                                        "\"data\":{\"a\":\"1\"}}",
                                        name);
        JSON_REF(given) = json_parse_str(text, NULL);
        JSON_REF(made) = kube_create(r->kube, &ctx, &KUBE_CONFIGMAPS, "default", json_root(given), NULL, &e);
        assert_non_null(made);
        JSON_REF(patch) = json_parse_str(cases[i].patch, NULL);
        JSON_REF(got) = kube_patch(r->kube, &ctx, &KUBE_CONFIGMAPS, "default", name, cases[i].type, json_root(patch), NULL, &e);
        if (cases[i].code) {
            assert_null(got);
            assert_int_equal(e.code, cases[i].code);
            if (!strstr(err_text(&e), cases[i].want))
                fail_msg("%s: %s", cases[i].patch, err_text(&e));
            continue;
        }
        if (!got)
            fail_msg("%s: %s", cases[i].patch, err_text(&e));
        AUTOFREE char *data = jv_text(jv_get(json_root(got), "data"), JW_COMPACT);
        assert_string_equal(data, cases[i].want);
    }
}

TEST_GROUP(patches, cmocka_unit_test_setup_teardown(patches, open_room, close_room))
