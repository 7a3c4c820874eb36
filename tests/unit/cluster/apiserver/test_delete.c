/* Deletes against writers that are faster. */
#include "base/fs.h"
#include "base/thread.h"
#include "cluster/apiserver/apiserver.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "unit.h"

enum { PODS = 300 };

struct race {
    struct kube *kube;
    char name[32];
    atomic_bool over;
};

/* Changes a label as fast as it can. */
static void *change(void *arg)
{
    struct race *r = arg;
    struct ctx ctx = ctx_background();
    for (int i = 0; !atomic_load(&r->over); i++) {
        AUTOFREE char *text = xasprintf("{\"metadata\":{\"labels\":{\"n\":\"%d\"}}}", i);
        JSON_REF(patch) = json_parse_str(text, NULL);
        JSON_REF(o) = kube_patch(r->kube, &ctx, &KUBE_PODS, "default", r->name, KUBE_PATCH_MERGE, json_root(patch), NULL, NULL);
    }
    return NULL;
}

/* Whoever deletes a pod that is there is told that it went, also when a write came in between. */
static void delete_wins(void **state)
{
    static const char *const masters[] = {"system:masters", "system:authenticated", NULL};
    char dir[] = "/tmp/tm-delete-XXXXXX";
    assert_non_null(mkdtemp(dir));
    ERR(e);
    struct apiserver *a = apiserver_new(&(struct apiserver_config){.data_dir = dir}, &e);
    if (!a)
        fail_msg("%s", err_text(&e));
    struct race r = {.kube = apiserver_kube(a, &(struct identity){"admin", "", masters, NULL})};
    struct ctx ctx = ctx_background();
    JSON_REF(account) =
        json_parse_str("{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount\",\"metadata\":{\"name\":\"default\"}}", NULL);
    JSON_REF(made) = kube_create(r.kube, &ctx, &KUBE_SERVICEACCOUNTS, "default", json_root(account), NULL, NULL);
    for (int i = 0; i < PODS; i++) {
        snprintf(r.name, sizeof r.name, "p%d", i);
        AUTOFREE char *text = xasprintf("{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"%s\"},"
                                        "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"host\"}]}}",
                                        r.name);
        JSON_REF(pod) = json_parse_str(text, NULL);
        JSON_REF(o) = kube_create(r.kube, &ctx, &KUBE_PODS, "default", json_root(pod), NULL, &e);
        if (!o)
            fail_msg("%s", err_text(&e));
        atomic_store(&r.over, false);
        pthread_t t = thread_start("change", change, &r);
        int rc = kube_delete(r.kube, &ctx, &KUBE_PODS, "default", r.name, NULL, NULL, &e);
        atomic_store(&r.over, true);
        pthread_join(t, NULL);
        if (rc < 0)
            fail_msg("pod %d: %s", i, err_text(&e));
        JSON_REF(left) = kube_get(r.kube, &ctx, &KUBE_PODS, "default", r.name, NULL, NULL);
        assert_null(left);
    }
    apiserver_stop(a);
    fs_rm_rf(dir, NULL);
}

TEST_GROUP(deletes, cmocka_unit_test(delete_wins))
