/* The verbs through struct kube: objects from the first write to the last, rights, watches. */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fs.h"
#include "cluster/apiserver/internal.h"
#include "kube/kinds.h"
#include "unit.h"

struct server {
    char dir[64];
    struct apiserver *a;
    struct kube *k;
    struct ctx ctx;
};

static void server_start(struct server *s)
{
    static const char *const masters[] = {"system:masters", NULL};
    ERR(e);
    s->a = apiserver_new(&(struct apiserver_config){.data_dir = s->dir}, &e);
    if (!s->a)
        fail_msg("%s", err_text(&e));
    s->k = apiserver_kube(s->a, &(struct identity){"test", "", masters, NULL});
    s->ctx = ctx_background();
}

static void server_init(struct server *s)
{
    strcpy(s->dir, "/tmp/tm-api-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    server_start(s);
}

static void server_done(struct server *s)
{
    apiserver_stop(s->a);
    fs_rm_rf(s->dir, NULL);
}

static struct json *create_as(struct server *s, struct kube *k, const struct kube_res *res, const char *ns, const char *text,
                              struct err *err)
{
    JSON_REF(d) = json_parse_str(text, NULL);
    assert_non_null(d);
    return kube_create(k, &s->ctx, res, ns, json_root(d), NULL, err);
}

static struct json *create(struct server *s, const struct kube_res *res, const char *ns, const char *text)
{
    ERR(e);
    struct json *o = create_as(s, s->k, res, ns, text, &e);
    if (!o)
        fail_msg("%s", err_text(&e));
    return o;
}

static void add_account(struct server *s)
{
    json_unref(create(s, &KUBE_SERVICEACCOUNTS, "default", "{\"metadata\":{\"name\":\"default\"}}"));
}

static void test_life_of_a_config_map(void **state)
{
    struct server s;
    server_init(&s);
    ERR(e);
    JSON_REF(a) = create(&s, &KUBE_CONFIGMAPS, "default",
                         "{\"metadata\":{\"generateName\":\"x-\",\"uid\":\"mine\"},\"data\":{\"k\":\"v\"}}");
    const char *name = obj_name(json_root(a));
    assert_int_equal(strlen(name), 7);
    assert_string_not_equal(obj_uid(json_root(a)), "mine");
    /* A change, nothing, and a stale one. */
    JM(m, json_root(a));
    jm_put(m, jm_obj_at(m, jm_root(m), "data"), "k", jm_str(m, "w"));
    JSON_REF(want) = jm_freeze(m);
    JSON_REF(b) = kube_update(s.k, &s.ctx, &KUBE_CONFIGMAPS, "default", name, json_root(want), NULL, &e);
    assert_non_null(b);
    assert_true(obj_rv(json_root(b)) > obj_rv(json_root(a)));
    JSON_REF(c) = kube_update(s.k, &s.ctx, &KUBE_CONFIGMAPS, "default", name, json_root(b), NULL, &e);
    assert_int_equal(obj_rv(json_root(c)), obj_rv(json_root(b)));
    assert_null(kube_update(s.k, &s.ctx, &KUBE_CONFIGMAPS, "default", name, json_root(a), NULL, &e));
    assert_int_equal(e.code, ERR_CONFLICT);
    /* With a finalizer it stays until that is gone. */
    JSON_REF(patch) = json_parse_str("{\"metadata\":{\"finalizers\":[\"a.b/c\"]}}", NULL);
    JSON_REF(d) = kube_patch(s.k, &s.ctx, &KUBE_CONFIGMAPS, "default", name, KUBE_PATCH_MERGE, json_root(patch), NULL, &e);
    assert_non_null(d);
    JSON_REF(gone) = NULL;
    assert_int_equal(kube_delete(s.k, &s.ctx, &KUBE_CONFIGMAPS, "default", name, NULL, &gone, &e), 0);
    assert_string_equal(obj_kind(json_root(gone)), "ConfigMap");
    assert_true(obj_deleting(json_root(gone)));
    AUTOFREE char *with_revision = jv_text(json_root(a), JW_COMPACT);
    assert_null(create_as(&s, s.k, &KUBE_CONFIGMAPS, "default", with_revision, &e));
    assert_int_equal(e.code, ERR_INTERNAL);
    JSON_REF(none) = json_parse_str("{\"metadata\":{\"finalizers\":null}}", NULL);
    JSON_REF(f) = kube_patch(s.k, &s.ctx, &KUBE_CONFIGMAPS, "default", name, KUBE_PATCH_MERGE, json_root(none), NULL, &e);
    assert_non_null(f);
    assert_null(kube_get(s.k, &s.ctx, &KUBE_CONFIGMAPS, "default", name, NULL, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    server_done(&s);
}

static void test_pods(void **state)
{
    static const char pod[] = "{\"metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]},"
                              "\"status\":{\"phase\":\"Failed\"}}";
    struct server s;
    server_init(&s);
    ERR(e);
    assert_null(create_as(&s, s.k, &KUBE_PODS, "default", pod, &e));
    assert_int_equal(e.code, ERR_FORBIDDEN); /* no service account yet */
    assert_null(create_as(&s, s.k, &KUBE_PODS, "nowhere", pod, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    add_account(&s);
    JSON_REF(p) = create(&s, &KUBE_PODS, "default", pod);
    jval *root = json_root(p);
    assert_string_equal(jv_str(jv_path(root, "status", "phase", NULL)), "Pending");
    assert_string_equal(jv_str(jv_path(root, "spec", "containers", "0", "volumeMounts", "0", "mountPath", NULL)),
                        "/var/run/secrets/kubernetes.io/serviceaccount");
    assert_int_equal(jv_len(jv_path(root, "spec", "tolerations", NULL)), 2);
    /* Bound once, which ends what the scheduler said; the status subresource changes the status alone. */
    JSON_REF(bind) = json_parse_str("{\"metadata\":{\"name\":\"p\"},\"target\":{\"kind\":\"Node\",\"name\":\"n\"}}", NULL);
    const struct kube_opts binding = {.subresource = "binding"}, status = {.subresource = "status"};
    JSON_REF(refusal) = json_parse_str(
        "{\"status\":{\"conditions\":[{\"type\":\"PodScheduled\",\"status\":\"False\",\"observedGeneration\":1}]}}", NULL);
    JSON_REF(waiting) = kube_patch(s.k, &s.ctx, &KUBE_PODS, "default", "p", KUBE_PATCH_MERGE, json_root(refusal), &status, &e);
    assert_non_null(waiting);
    JSON_REF(ok) = kube_create_sub(s.k, &s.ctx, &KUBE_PODS, "default", "p", json_root(bind), &binding, &e);
    assert_non_null(ok);
    JSON_REF(bound) = kube_get(s.k, &s.ctx, &KUBE_PODS, "default", "p", NULL, &e);
    jval *scheduled = jv_path(json_root(bound), "status", "conditions", "0", NULL);
    assert_string_equal(jv_str(jv_get(scheduled, "status")), "True");
    assert_null(jv_get(scheduled, "observedGeneration"));
    assert_null(kube_create_sub(s.k, &s.ctx, &KUBE_PODS, "default", "p", json_root(bind), &binding, &e));
    assert_int_equal(e.code, ERR_CONFLICT);
    JSON_REF(run) = json_parse_str("{\"status\":{\"phase\":\"Running\"},\"spec\":{\"nodeName\":\"other\"}}", NULL);
    JSON_REF(r) = kube_patch(s.k, &s.ctx, &KUBE_PODS, "default", "p", KUBE_PATCH_MERGE, json_root(run), &status, &e);
    assert_string_equal(jv_str(jv_path(json_root(r), "status", "phase", NULL)), "Running");
    assert_string_equal(jv_str(jv_path(json_root(r), "spec", "nodeName", NULL)), "n");
    /* What stands for the pod's address has to be one. */
    static const struct {
        const char *status, *fault; /* NULL: taken */
    } ips[] = {
        {"{\"podIP\":\"10.1.2.3\",\"podIPs\":[{\"ip\":\"10.1.2.3\"},{\"ip\":\"fd00::1\"}]}", NULL},
        {"{\"podIP\":\"localhost\",\"podIPs\":null}", "status.podIPs[0].ip: Invalid value: \"localhost\": must be a valid IP"},
        {"{\"podIP\":\"10.1.2.3/../x\"}", "status.podIPs[0].ip: Invalid value: \"10.1.2.3/../x\""},
        {"{\"podIPs\":[{\"ip\":\"10.1.2.3\"},{\"ip\":\"@evil\"}]}", "status.podIPs[1].ip: Invalid value: \"@evil\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(ips); i++) {
        AUTOFREE char *text = xasprintf("{\"status\":%s}", ips[i].status);
        JSON_REF(patch) = json_parse_str(text, NULL);
        ERR(refused);
        JSON_REF(got) =
            kube_patch(s.k, &s.ctx, &KUBE_PODS, "default", "p", KUBE_PATCH_MERGE, json_root(patch), &status, &refused);
        assert_int_equal(got != NULL, ips[i].fault == NULL);
        if (!got && !strstr(err_text(&refused), ips[i].fault))
            fail_msg("%s", err_text(&refused));
    }
    /* Grace may be shortened, never lengthened; 0 removes. */
    int64_t grace[] = {20, 25, 5, 0};
    int64_t left[] = {20, 20, 5};
    for (int i = 0; i < 4; i++) {
        JSON_REF(d) = NULL;
        const struct kube_opts o = {.grace_seconds = &grace[i]};
        assert_int_equal(kube_delete(s.k, &s.ctx, &KUBE_PODS, "default", "p", &o, &d, &e), 0);
        if (i < 3)
            assert_int_equal(jv_i64_or(jv_path(json_root(d), "metadata", "deletionGracePeriodSeconds", NULL), -1), left[i]);
    }
    assert_null(kube_get(s.k, &s.ctx, &KUBE_PODS, "default", "p", NULL, &e));
    server_done(&s);
}

static void test_rights(void **state)
{
    struct server s;
    server_init(&s);
    ERR(e);
    static const char *const groups[] = {"system:authenticated", NULL};
    struct kube *alice = apiserver_kube(s.a, &(struct identity){"alice", "", groups, NULL});
    struct kube_list l;
    assert_int_equal(kube_list(alice, &s.ctx, &KUBE_CONFIGMAPS, "default", NULL, &l, &e), -1);
    assert_int_equal(e.code, ERR_FORBIDDEN);
    assert_string_equal(err_text(&e),
                        "configmaps is forbidden: User \"alice\" cannot list resource \"configmaps\" in API group \"\" in the "
                        "namespace \"default\"");
    json_unref(
        create(&s, &KUBE_ROLEBINDINGS, "default",
               "{\"metadata\":{\"name\":\"b\"},\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"ClusterRole\","
               "\"name\":"
               "\"edit\"},\"subjects\":[{\"kind\":\"User\",\"apiGroup\":\"rbac.authorization.k8s.io\",\"name\":\"alice\"}]}"));
    assert_int_equal(kube_list(alice, &s.ctx, &KUBE_CONFIGMAPS, "default", NULL, &l, &e), 0);
    kube_list_free(&l);
    assert_int_equal(kube_list(alice, &s.ctx, &KUBE_CONFIGMAPS, NULL, NULL, &l, &e), -1);
    assert_int_equal(kube_list(alice, &s.ctx, &KUBE_ROLES, "default", NULL, &l, &e), -1);
    json_unref(create_as(&s, alice, &KUBE_CONFIGMAPS, "default", "{\"metadata\":{\"name\":\"a\"}}", &e));
    /* Who may write roles still cannot grant what they do not hold. */
    json_unref(create(
        &s, &KUBE_CLUSTERROLES, NULL,
        "{\"metadata\":{\"name\":\"roles\"},\"rules\":[{\"verbs\":[\"create\"],\"apiGroups\":[\"rbac.authorization.k8s.io\"],"
        "\"resources\":[\"roles\"]}]}"));
    json_unref(
        create(&s, &KUBE_CLUSTERROLEBINDINGS, NULL,
               "{\"metadata\":{\"name\":\"roles\"},\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":"
               "\"ClusterRole\",\"name\":"
               "\"roles\"},\"subjects\":[{\"kind\":\"User\",\"apiGroup\":\"rbac.authorization.k8s.io\",\"name\":\"alice\"}]}"));
    static const char wide[] =
        "{\"metadata\":{\"name\":\"w\"},\"rules\":[{\"verbs\":[\"get\"],\"apiGroups\":[\"\"],\"resources\":[\"nodes\"]}]}";
    static const char held[] =
        "{\"metadata\":{\"name\":\"h\"},\"rules\":[{\"verbs\":[\"get\"],\"apiGroups\":[\"\"],\"resources\":[\"pods\"]}]}";
    assert_null(create_as(&s, alice, &KUBE_ROLES, "default", wide, &e));
    assert_int_equal(e.code, ERR_FORBIDDEN);
    JSON_REF(h) = create_as(&s, alice, &KUBE_ROLES, "default", held, &e);
    assert_non_null(h);
    server_done(&s);
}

static void test_tokens(void **state)
{
    struct server s;
    server_init(&s);
    add_account(&s);
    ERR(e);
    JSON_REF(req) = json_parse_str("{\"spec\":{\"expirationSeconds\":600}}", NULL);
    const struct kube_opts o = {.subresource = "token"};
    JSON_REF(t) = kube_create_sub(s.k, &s.ctx, &KUBE_SERVICEACCOUNTS, "default", "default", json_root(req), &o, &e);
    assert_non_null(t);
    const char *token = jv_str(jv_path(json_root(t), "status", "token", NULL));
    assert_true(str_starts(token, "eyJhbGciOiJSUzI1NiIs")); /* {"alg":"RS256", */
    struct identity *who = authn_token(s.a, token, &e);
    assert_string_equal(who->user, "system:serviceaccount:default:default");
    assert_true(identity_in_group(who, "system:serviceaccounts:default"));
    identity_free(who);
    /* One bit less, another audience, and an account that is gone. */
    char *bad = xstrdup(token);
    bad[strlen(bad) - 10] ^= 1;
    assert_null(authn_token(s.a, bad, &e));
    free(bad);
    static const char *const other[] = {"elsewhere", NULL};
    assert_null(authn_claims(s.a, token, other, NULL, &e));
    assert_int_equal(kube_delete(s.k, &s.ctx, &KUBE_SERVICEACCOUNTS, "default", "default", NULL, NULL, &e), 0);
    assert_null(authn_token(s.a, token, &e));
    assert_int_equal(e.code, ERR_UNAUTHENTICATED);
    assert_null(authn_token(s.a, "", &e));
    assert_null(authn_token(s.a, "a.b.c", &e));
    who = authn_token(s.a, apiserver_admin_token(s.a), &e);
    assert_true(identity_in_group(who, "system:masters"));
    identity_free(who);
    server_done(&s);
}

static void test_watch_and_pages(void **state)
{
    struct server s;
    server_init(&s);
    ERR(e);
    const struct kube_opts wo = {
        .label_selector = "a=b", .send_initial_events = true, .bookmarks = true, .resource_version_match = "NotOlderThan"};
    json_unref(create(&s, &KUBE_CONFIGMAPS, "default", "{\"metadata\":{\"name\":\"one\",\"labels\":{\"a\":\"b\"}}}"));
    struct kube_watch *w = kube_watch(s.k, &s.ctx, &KUBE_CONFIGMAPS, "default", &wo, &e);
    assert_non_null(w);
    json_unref(create(&s, &KUBE_CONFIGMAPS, "default", "{\"metadata\":{\"name\":\"two\",\"labels\":{\"a\":\"b\"}}}"));
    json_unref(create(&s, &KUBE_CONFIGMAPS, "default", "{\"metadata\":{\"name\":\"three\"}}"));
    static const enum kube_event_type want[] = {KUBE_ADDED, KUBE_BOOKMARK, KUBE_ADDED};
    for (int i = 0; i < 3; i++) {
        struct kube_event ev;
        assert_int_equal(kube_watch_next(s.k, w, &s.ctx, &ev, &e), 1);
        assert_int_equal(ev.type, want[i]);
        json_unref(ev.object);
    }
    struct ctx soon = ctx_with_timeout(&s.ctx, 20 * NS_PER_MS);
    struct kube_event ev;
    assert_int_equal(kube_watch_next(s.k, w, &soon, &ev, &e), -1);
    assert_int_equal(e.code, ERR_TIMEOUT);
    kube_watch_close(s.k, w);
    /* Pages are of the first page's revision. */
    struct kube_list l;
    assert_int_equal(kube_list(s.k, &s.ctx, &KUBE_CONFIGMAPS, "default", &(struct kube_opts){.limit = 2}, &l, &e), 0);
    assert_int_equal(l.n, 2);
    char *token = xstrdup(l.continue_token);
    kube_list_free(&l);
    json_unref(create(&s, &KUBE_CONFIGMAPS, "default", "{\"metadata\":{\"name\":\"zzz\"}}"));
    assert_int_equal(kube_list(s.k, &s.ctx, &KUBE_CONFIGMAPS, "default", &(struct kube_opts){.continue_token = token}, &l, &e),
                     0);
    assert_int_equal(l.n, 1);
    assert_string_equal(obj_name(json_root(l.items[0])), "two");
    kube_list_free(&l);
    free(token);
    server_done(&s);
}

static void test_custom_kinds(void **state)
{
    static const struct kube_res widgets = {"e.com", "v1", "widgets", "Widget", true};
    struct server s;
    server_init(&s);
    ERR(e);
    static const char widget[] =
        "{\"apiVersion\":\"e.com/v1\",\"kind\":\"Widget\",\"metadata\":{\"name\":\"w\"},\"spec\":{\"n\":1,\"other\":2}}";
    assert_null(create_as(&s, s.k, &widgets, "default", widget, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    json_unref(create(&s, &KUBE_CUSTOMRESOURCEDEFINITIONS, NULL,
                      "{\"metadata\":{\"name\":\"widgets.e.com\"},\"spec\":{\"group\":\"e.com\",\"scope\":\"Namespaced\","
                      "\"names\":{\"plural\":\"widgets\",\"kind\":"
                      "\"Widget\"},\"versions\":[{\"name\":\"v1\",\"served\":true,\"storage\":true,\"schema\":{"
                      "\"openAPIV3Schema\":{\"type\":\"object\","
                      "\"properties\":{\"spec\":{\"type\":\"object\",\"properties\":{\"n\":{\"type\":\"integer\",\"maximum\":5},"
                      "\"d\":{\"type\":\"string\","
                      "\"default\":\"x\"}}}}}}}]}}"));
    JSON_REF(w) = create(&s, &widgets, "default", widget);
    assert_string_equal(jv_str(jv_path(json_root(w), "spec", "d", NULL)), "x");
    assert_null(jv_path(json_root(w), "spec", "other", NULL));
    JSON_REF(patch) = json_parse_str("{\"spec\":{\"n\":9}}", NULL);
    assert_null(kube_patch(s.k, &s.ctx, &widgets, "default", "w", KUBE_PATCH_MERGE, json_root(patch), NULL, &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_null(kube_patch(s.k, &s.ctx, &widgets, "default", "w", KUBE_PATCH_STRATEGIC, json_root(patch), NULL, &e));
    assert_int_equal(e.code, ERR_MEDIA_TYPE);
    /* All of it is there again after a restart. */
    apiserver_stop(s.a);
    server_start(&s);
    JSON_REF(again) = kube_get(s.k, &s.ctx, &widgets, "default", "w", NULL, &e);
    assert_true(jv_equal(json_root(again), json_root(w)));
    server_done(&s);
}

/* A node whose every program says what it is asked to, upper case on its error output, and ends with 3. */
static int fake_process_open(void *self, const struct ctx *ctx, jval *pod, const struct node_process_opts *o,
                             struct node_process *out, struct err *err)
{
    int status[2], text[2], bad[2];
    *out = (struct node_process)NODE_PROCESS_NONE;
    if (strcmp(o->container, "asleep") == 0)
        return err_set(err, ERR_INTERNAL, "container not found (\"asleep\")");
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, status), 0);
    assert_int_equal(pipe2(text, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(pipe2(bad, O_CLOEXEC | O_NONBLOCK), 0);
    *out = (struct node_process){.in = -1, .out = text[0], .err = bad[0], .status = status[0]};
    assert_int_equal(write(text[1], o->command[0], strlen(o->command[0])), (ssize_t)strlen(o->command[0]));
    assert_int_equal(write(bad[1], "WRONG", 5), 5);
    assert_int_equal(send(status[1], "exit 3", 6, 0), 6);
    close(text[1]);
    close(bad[1]);
    close(status[1]);
    return 0;
}

static void test_exec(void **state)
{
    static const char *const command[] = {"said", NULL};
    struct node_api node = {.process_open = fake_process_open};
    struct server s;
    ERR(e);
    server_init(&s);
    add_account(&s);
    json_unref(
        create(&s, &KUBE_PODS, "default",
               "{\"metadata\":{\"name\":\"p\"},\"spec\":{\"nodeName\":\"n\",\"containers\":[{\"name\":\"a\",\"image\":\"x\"},"
               "{\"name\":\"asleep\",\"image\":\"x\"}]}}"));
    struct kube_exec_opts o = {.container = "a", .command = command};
    assert_null(kube_exec(s.k, &s.ctx, "default", "p", &o, &e));
    assert_int_equal(e.code, ERR_UNAVAILABLE); /* no node yet */
    apiserver_set_node(s.a, &node);
    struct kube_process *p = kube_exec(s.k, &s.ctx, "default", "p", &o, &e);
    assert_non_null(p);
    BUF(out);
    BUF(bad);
    int rc, code = -1;
    enum kube_stream from;
    for (;;) {
        BUF(piece);
        rc = kube_process_recv(p, &s.ctx, &from, &piece, &code, &e);
        if (rc != 1)
            break;
        buf_add(from == KUBE_STDERR ? &bad : &out, piece.data, piece.len);
    }
    assert_int_equal(rc, 0);
    assert_int_equal(code, 3);
    assert_string_equal(buf_str(&out), "said");
    assert_string_equal(buf_str(&bad), "WRONG");
    kube_process_close(p);
    static const struct {
        const char *pod, *container;
        enum err_code code;
    } refused[] = {
        {"p", NULL, ERR_BAD_REQUEST}, {"p", "b", ERR_BAD_REQUEST}, {"q", "a", ERR_NOT_FOUND}, {"p", "asleep", ERR_INTERNAL}};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        o.container = refused[i].container;
        assert_null(kube_exec(s.k, &s.ctx, "default", refused[i].pod, &o, &e));
        assert_int_equal(e.code, refused[i].code);
    }
    static const char *const nobody[] = {"system:authenticated", NULL};
    struct kube *weak = apiserver_kube(s.a, &(struct identity){"weak", "", nobody, NULL});
    o.container = "a";
    assert_null(kube_exec(weak, &s.ctx, "default", "p", &o, &e));
    assert_int_equal(e.code, ERR_FORBIDDEN);
    apiserver_set_node(s.a, NULL);
    server_done(&s);
}

TEST_GROUP(api, cmocka_unit_test(test_exec), cmocka_unit_test(test_life_of_a_config_map), cmocka_unit_test(test_pods),
           cmocka_unit_test(test_rights), cmocka_unit_test(test_tokens), cmocka_unit_test(test_watch_and_pages),
           cmocka_unit_test(test_custom_kinds))
