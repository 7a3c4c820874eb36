/* What roles give, and what nobody can give to themselves. */
#include "base/fs.h"
#include "cluster/apiserver/apiserver.h"
#include "kube/kinds.h"
#include "unit.h"

struct fix {
    char dir[64];
    struct apiserver *a;
    struct kube *admin, *alice;
    struct ctx ctx;
};

static void fix_init(struct fix *f)
{
    static const char *const masters[] = {"system:masters", "system:authenticated", NULL}, *const people[] = {
                                                                                               "system:authenticated", NULL};
    strcpy(f->dir, "/tmp/tm-rbac-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    ERR(e);
    f->a = apiserver_new(&(struct apiserver_config){.data_dir = f->dir}, &e);
    if (!f->a)
        fail_msg("%s", err_text(&e));
    f->admin = apiserver_kube(f->a, &(struct identity){"admin", "", masters, NULL});
    f->alice = apiserver_kube(f->a, &(struct identity){"alice", "", people, NULL});
    f->ctx = ctx_background();
}

static void fix_done(struct fix *f)
{
    apiserver_stop(f->a);
    fs_rm_rf(f->dir, NULL);
}

static void create(struct fix *f, const struct kube_res *res, const char *ns, const char *text)
{
    ERR(e);
    JSON_REF(obj) = json_parse_str(text, &e);
    JSON_REF(made) = kube_create(f->admin, &f->ctx, res, ns, json_root(obj), NULL, &e);
    if (!made)
        fail_msg("%s: %s", text, err_text(&e));
}

/* Gives alice a cluster role with the rules. */
static void grant(struct fix *f, const char *rules)
{
    AUTOFREE char *role =
        xasprintf("{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":\"ClusterRole\",\"metadata\":{\"name\":\"alice\"},"
                  "\"rules\":%s}",
                  rules);
    create(f, &KUBE_CLUSTERROLES, NULL, role);
    create(f, &KUBE_CLUSTERROLEBINDINGS, NULL,
           "{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":\"ClusterRoleBinding\",\"metadata\":{\"name\":\"alice\"},"
           "\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"ClusterRole\",\"name\":\"alice\"},"
           "\"subjects\":[{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"User\",\"name\":\"alice\"}]}");
}

static enum err_code code_of_get(struct fix *f, const struct kube_res *res, const char *ns, const char *name)
{
    ERR(e);
    JSON_REF(o) = kube_get(f->alice, &f->ctx, res, ns, name, NULL, &e);
    return o ? ERR_OK : e.code;
}

/* An aggregated role is filled by the server: who may write it holds what every role of the cluster gives. */
static void aggregation_is_no_way_up(void **state)
{
    struct fix f;
    fix_init(&f);
    grant(&f, "[{\"apiGroups\":[\"rbac.authorization.k8s.io\"],\"resources\":[\"clusterroles\"],\"verbs\":[\"get\",\"create\","
              "\"update\",\"patch\"]}]");
    static const char *const patches[] = {"{\"aggregationRule\":{\"clusterRoleSelectors\":[{\"matchLabels\":{\"kubernetes.io/"
                                          "bootstrapping\":\"rbac-defaults\"}}]}}",
                                          "{\"aggregationRule\":{\"clusterRoleSelectors\":[{}]}}"};
    for (size_t i = 0; i < ARRAY_LEN(patches); i++) {
        ERR(e);
        JSON_REF(patch) = json_parse_str(patches[i], NULL);
        JSON_REF(o) =
            kube_patch(f.alice, &f.ctx, &KUBE_CLUSTERROLES, NULL, "alice", KUBE_PATCH_MERGE, json_root(patch), NULL, &e);
        assert_null(o);
        assert_int_equal(e.code, ERR_FORBIDDEN);
        assert_int_equal(code_of_get(&f, &KUBE_SECRETS, "kube-system", "none"), ERR_FORBIDDEN);
    }
    ERR(e);
    JSON_REF(fresh) = json_parse_str(
        "{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":\"ClusterRole\",\"metadata\":{\"name\":\"new\"},"
        "\"aggregationRule\":{\"clusterRoleSelectors\":[{}]}}",
        NULL);
    JSON_REF(o) = kube_create(f.alice, &f.ctx, &KUBE_CLUSTERROLES, NULL, json_root(fresh), NULL, &e);
    assert_null(o);
    assert_int_equal(e.code, ERR_FORBIDDEN);
    fix_done(&f);
}

/* In resourceNames a star is a name like any other. */
static void names_have_no_star(void **state)
{
    struct fix f;
    fix_init(&f);
    grant(&f, "[{\"apiGroups\":[\"\"],\"resources\":[\"secrets\"],\"resourceNames\":[\"*\"],\"verbs\":[\"get\"]},"
              "{\"apiGroups\":[\"\"],\"resources\":[\"configmaps\"],\"resourceNames\":[\"one\"],\"verbs\":[\"get\"]}]");
    assert_int_equal(code_of_get(&f, &KUBE_SECRETS, "default", "any"), ERR_FORBIDDEN);
    assert_int_equal(code_of_get(&f, &KUBE_CONFIGMAPS, "default", "two"), ERR_FORBIDDEN);
    assert_int_equal(code_of_get(&f, &KUBE_CONFIGMAPS, "default", "one"), ERR_NOT_FOUND);
    fix_done(&f);
}

/* Kinds whose PUT creates what is missing: that takes the right to create. */
static void put_creates_for_creators(void **state)
{
    static const char role[] =
        "{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":\"Role\",\"metadata\":{\"name\":\"x\"},\"rules\":[]}";
    struct fix f;
    fix_init(&f);
    grant(&f, "[{\"apiGroups\":[\"rbac.authorization.k8s.io\"],\"resources\":[\"roles\"],\"verbs\":[\"update\"]}]");
    ERR(e);
    JSON_REF(obj) = json_parse_str(role, NULL);
    JSON_REF(o) = kube_update(f.alice, &f.ctx, &KUBE_ROLES, "default", "x", json_root(obj), NULL, &e);
    assert_null(o);
    assert_int_equal(e.code, ERR_FORBIDDEN);
    JSON_REF(p) = kube_update(f.admin, &f.ctx, &KUBE_ROLES, "default", "x", json_root(obj), NULL, NULL);
    assert_non_null(p);
    err_clear(&e);
    JSON_REF(q) = kube_update(f.alice, &f.ctx, &KUBE_ROLES, "default", "x", json_root(obj), NULL, &e);
    if (!q)
        fail_msg("%s", err_text(&e));
    fix_done(&f);
}

TEST_GROUP(rbac, cmocka_unit_test(aggregation_is_no_way_up), cmocka_unit_test(names_have_no_star),
           cmocka_unit_test(put_creates_for_creators))
