/* The pods of the engine through struct kube: which are its own. */
#include "base/ctx.h"
#include "fake_kube.h"
#include "kube/kinds.h"
#include "pipelines/engine/pods.h"
#include "unit.h"

#define RUN "8c0e1c5e-0000-4000-8000-000000000001"

/* Upstream's engine labels its pods pipeline/runid, too: on a cluster that has both, its pods are not ours to end. */
static void pods_of_others(void **state)
{
    struct fake_kube *f = fake_kube_new();
    struct ctx ctx = ctx_background();
    ERR(e);
    const struct task_start t = {
        .run_id = RUN, .run_name = "r", .task_name = "t", .ns = "ns", .pod_name = "ours", .image = "i", .task_dir = "/t"};
    json_unref(fake_put(f, &KUBE_PODS,
                        "{\"metadata\":{\"name\":\"theirs\",\"namespace\":\"ns\",\"labels\":{\"pipeline/runid\":\"" RUN "\"}}}"));
    struct pods *p = pods_new(fake_kube_face(f), &clock_system, "/agent");
    struct task_runtime rt = pods_runtime(p);
    assert_int_equal(rt.start(rt.self, &ctx, &t, &e), 0);
    assert_int_equal(pods_start(p, &ctx, &e), 0);
    assert_int_equal(rt.forget(rt.self, &ctx, RUN, &e), 1);
    JSON_REF(theirs) = fake_get(f, &KUBE_PODS, "ns", "theirs");
    JSON_REF(ours) = fake_get(f, &KUBE_PODS, "ns", "ours");
    assert_non_null(theirs);
    assert_null(ours);
    pods_free(p);
    fake_kube_free(f);
}

/* A pod that no node takes says so in a condition, not in its container. */
static void unscheduled(void **state)
{
    struct fake_kube *f = fake_kube_new();
    struct ctx ctx = ctx_background();
    ERR(e);
    json_unref(
        fake_put(f, &KUBE_PODS,
                 "{\"metadata\":{\"name\":\"p\",\"namespace\":\"ns\"},\"status\":{\"phase\":\"Pending\",\"conditions\":"
                 "[{\"type\":\"PodScheduled\",\"status\":\"False\",\"reason\":\"Unschedulable\",\"message\":\"no GPU\"}]}}"));
    struct pods *p = pods_new(fake_kube_face(f), &clock_system, "/agent");
    struct task_runtime rt = pods_runtime(p);
    struct attempt_view v;
    assert_int_equal(pods_start(p, &ctx, &e), 0);
    assert_int_equal(rt.observe(rt.self, &ctx, "ns", "p", &v, &e), 0);
    assert_int_equal(v.phase, ATTEMPT_PENDING);
    assert_false(v.hopeless);
    assert_string_equal(v.reason, "Unschedulable");
    assert_string_equal(v.message, "no GPU");
    attempt_view_clear(&v);
    pods_free(p);
    fake_kube_free(f);
}

TEST_GROUP(pods, cmocka_unit_test(unscheduled), cmocka_unit_test(pods_of_others))
