/* The scheduler on an API in memory. That API knows no binding: the call is answered by a face in front of it, as the API server
 * does. */
#include <unistd.h>

#include "cluster/scheduler/scheduler.h"
#include "fake_kube.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "unit.h"

struct face {
    struct kube base;
    struct fake_kube *fake;
    struct kube *real;
    struct kube_ops ops;
    int bindings;
    bool late; /* binding succeeds, but the watch does not tell of it yet */
    bool gone; /* what before does is done */
    void (*before)(struct face *f, const char *verb, const char *name); /* a pod is bound ("bind") or a volume read ("get") */
};

static struct json *face_create(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns,
                                const char *name, jval *obj, const struct kube_opts *opts, struct err *err)
{
    struct face *f = (struct face *)k;
    if (!opts || !str_eq(opts->subresource, "binding"))
        return f->real->ops->create(f->real, ctx, res, ns, name, obj, opts, err);
    if (f->before)
        f->before(f, "bind", name);
    JSON_REF(pod) = fake_get(f->fake, &KUBE_PODS, ns, name);
    if (!pod) {
        err_set(err, ERR_NOT_FOUND, "pod %s not found", name);
        return NULL;
    }
    JM(m, json_root(pod));
    jm_put(m, jmv_get(jm_root(m), "spec"), "nodeName", jm_val(m, jv_path(obj, "target", "name", NULL)));
    JSON_REF(doc) = jm_freeze(m);
    __atomic_add_fetch(&f->bindings, 1, __ATOMIC_SEQ_CST);
    if (f->late)
        return json_ref(doc);
    return kube_update(f->real, ctx, &KUBE_PODS, ns, name, json_root(doc), NULL, err);
}

#define PASS(type, name, params, args)                                                                                           \
    static type face_##name params                                                                                               \
    {                                                                                                                            \
        struct kube *real = ((struct face *)k)->real;                                                                            \
        return real->ops->name args;                                                                                             \
    }
PASS(int, list,
     (struct kube * k, const struct ctx *c, const struct kube_res *r, const char *ns, const struct kube_opts *o,
      struct kube_list *l, struct err *e),
     (real, c, r, ns, o, l, e))
PASS(struct json *, update,
     (struct kube * k, const struct ctx *c, const struct kube_res *r, const char *ns, const char *n, jval *v,
      const struct kube_opts *o, struct err *e),
     (real, c, r, ns, n, v, o, e))
PASS(struct json *, patch,
     (struct kube * k, const struct ctx *c, const struct kube_res *r, const char *ns, const char *n, enum kube_patch p, jval *v,
      const struct kube_opts *o, struct err *e),
     (real, c, r, ns, n, p, v, o, e))
PASS(int, del,
     (struct kube * k, const struct ctx *c, const struct kube_res *r, const char *ns, const char *n, const struct kube_opts *o,
      struct json **j, struct err *e),
     (real, c, r, ns, n, o, j, e))
PASS(struct kube_watch *, watch,
     (struct kube * k, const struct ctx *c, const struct kube_res *r, const char *ns, const struct kube_opts *o, struct err *e),
     (real, c, r, ns, o, e))
PASS(bool, streams_lists, (struct kube * k, const struct ctx *c), (real, c))

static struct json *face_get(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns, const char *name,
                             const struct kube_opts *opts, struct err *err)
{
    struct face *f = (struct face *)k;
    if (f->before && str_eq(res->plural, "persistentvolumes"))
        f->before(f, "get", name);
    return f->real->ops->get(f->real, ctx, res, ns, name, opts, err);
}

static void face_init(struct face *f)
{
    *f = (struct face){.fake = fake_kube_new()};
    f->real = fake_kube_face(f->fake);
    f->ops = *f->real->ops;
    f->ops.create = face_create;
    f->ops.get = face_get;
    f->ops.list = face_list;
    f->ops.update = face_update;
    f->ops.patch = face_patch;
    f->ops.del = face_del;
    f->ops.watch = face_watch;
    f->ops.streams_lists = face_streams_lists;
    f->base = (struct kube){.ops = &f->ops, .who = f->real->who};
}

static void put_node(struct face *f, const char *cpu, const char *extra)
{
    json_unref(
        fake_put(f->fake, &KUBE_NODES,
                 "{\"metadata\":{\"name\":\"n1\"},\"spec\":{%s},\"status\":{\"allocatable\":{\"cpu\":\"%s\",\"pods\":\"10\"}}}",
                 extra, cpu));
}

static void put_pod(struct face *f, const char *name, const char *cpu, const char *extra)
{
    json_unref(fake_put(
        f->fake, &KUBE_PODS,
        "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"ns\"},\"spec\":{\"schedulerName\":\"default-scheduler\","
        "\"containers\":[{\"name\":\"c\",\"resources\":{\"requests\":{\"cpu\":\"%s\"}}}]%s},\"status\":{\"phase\":\"Pending\"}}",
        name, cpu, extra));
}

/* Waits for the pod's node ("" for none) and, when message is given, for what PodScheduled says. */
static void expect(struct face *f, const char *name, const char *node, const char *reason, const char *message)
{
    AUTOFREE char *last = NULL;
    for (int i = 0; i < 12000; i++) {
        JSON_REF(o) = fake_get(f->fake, &KUBE_PODS, "ns", name);
        jval *c = obj_condition(json_root(o), "PodScheduled");
        const char *have = pod_spec_node_name(pod_spec(json_root(o)));
        if (str_eq(have ? have : "", node) && (!reason || str_eq(pod_condition_reason(c), reason)) &&
            (!message || str_eq(pod_condition_message(c), message)))
            return;
        free(last);
        last = o ? jv_text(json_root(o), JW_PRETTY) : xstrdup("no object");
        usleep(5000);
    }
    fail_msg("pod %s: %s", name, last);
}

static void binds(void **state)
{
    struct face f;
    face_init(&f);
    put_node(&f, "4", "");
    struct scheduler *s = scheduler_start(&f.base, NULL, NULL);
    assert_non_null(s);
    put_pod(&f, "a", "3", "");
    expect(&f, "a", "n1", NULL, NULL);
    /* No room beside it; as soon as it has ended there is. */
    put_pod(&f, "b", "2", "");
    expect(&f, "b", "", "Unschedulable",
           "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No "
           "preemption victims "
           "found for incoming pod.");
    put_pod(&f, "huge", "100", "");
    expect(&f, "huge", "", "Unschedulable",
           "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 "
           "Preemption is not "
           "helpful for scheduling.");
    fake_remove(f.fake, &KUBE_PODS, "ns", "a");
    expect(&f, "b", "n1", NULL, NULL);
    /* A bigger node helps the big one. */
    put_node(&f, "200", "");
    expect(&f, "huge", "n1", NULL, NULL);
    assert_int_equal(f.bindings, 3);
    scheduler_stop(s);
    fake_kube_free(f.fake);
}

/* The most important gets the room of the least important, who are told; nobody in between takes it. */
static void preempts(void **state)
{
    struct face f;
    face_init(&f);
    put_node(&f, "4", "");
    struct scheduler *s = scheduler_start(&f.base, NULL, NULL);
    put_pod(&f, "low", "2", ",\"priority\":1");
    expect(&f, "low", "n1", NULL, NULL);
    put_pod(&f, "mid", "2", ",\"priority\":5");
    expect(&f, "mid", "n1", NULL, NULL);
    put_pod(&f, "same", "1", ",\"priority\":1");
    expect(&f, "same", "", "Unschedulable",
           "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No "
           "preemption victims found for incoming pod.");
    put_pod(&f, "never", "2", ",\"priority\":9,\"preemptionPolicy\":\"Never\"");
    expect(&f, "never", "", "Unschedulable",
           "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: not eligible due to "
           "preemptionPolicy=Never.");
    fake_remove(f.fake, &KUBE_PODS, "ns", "never");
    put_pod(&f, "high", "2", ",\"priority\":10");
    expect(&f, "high", "n1", NULL, NULL); /* the API in memory lets pods go at once */
    JSON_REF(low) = fake_get(f.fake, &KUBE_PODS, "ns", "low");
    JSON_REF(high) = fake_get(f.fake, &KUBE_PODS, "ns", "high");
    assert_null(low);
    assert_string_equal(pod_status_nominated_node_name(pod_status(json_root(high))), "n1");
    expect(&f, "mid", "n1", NULL, NULL);
    expect(&f, "same", "", "Unschedulable", NULL);
    scheduler_stop(s);
    fake_kube_free(f.fake);
}

/* A pod that was bound, and is looked at again before the watch says so, is not in its own way: nobody is preempted for it. */
static void knows_what_it_bound(void **state)
{
    struct face f;
    face_init(&f);
    put_node(&f, "4", "");
    struct scheduler *s = scheduler_start(&f.base, NULL, NULL);
    put_pod(&f, "mid", "2", ",\"priority\":5");
    expect(&f, "mid", "n1", NULL, NULL);
    f.late = true;
    put_pod(&f, "high", "2", ",\"priority\":10");
    for (int i = 0; i < 12000 && __atomic_load_n(&f.bindings, __ATOMIC_SEQ_CST) < 2; i++)
        usleep(5000);
    JSON_REF(high) = fake_get(f.fake, &KUBE_PODS, "ns", "high");
    JM(m, json_root(high));
    jm_put(m, jm_obj_at(m, jmv_get(jm_root(m), "metadata"), "labels"), "touched", jm_str(m, "yes"));
    struct ctx ctx = ctx_background();
    JSON_REF(touched) = jm_freeze(m);
    json_unref(kube_update(f.real, &ctx, &KUBE_PODS, "ns", "high", json_root(touched), NULL, NULL));
    put_pod(&f, "last", "1", ""); /* behind it in the queue */
    expect(&f, "last", "", "Unschedulable", NULL);
    expect(&f, "mid", "n1", NULL, NULL);
    expect(&f, "high", "", NULL, NULL);
    assert_int_equal(f.bindings, 2);
    scheduler_stop(s);
    fake_kube_free(f.fake);
}

static void put_claim(struct face *f, const char *mode)
{
    json_unref(fake_put(f->fake, &KUBE_PERSISTENTVOLUMES, "{\"metadata\":{\"name\":\"v\"},\"spec\":{}}"));
    json_unref(fake_put(f->fake, &KUBE_PERSISTENTVOLUMECLAIMS,
                        "{\"metadata\":{\"name\":\"c\",\"namespace\":\"ns\",\"annotations\":{"
                        "\"pv.kubernetes.io/bind-completed\":\"yes\"}},\"spec\":{\"volumeName\":\"v\",\"accessModes\":[\"%s\"]}}",
                        mode));
}

#define WITH_CLAIM ",\"volumes\":[{\"name\":\"v\",\"persistentVolumeClaim\":{\"claimName\":\"c\"}}]"

/* A claim for one pod only is not given to a second one before the watch says that the first is bound. */
static void claims_for_one(void **state)
{
    struct face f;
    face_init(&f);
    put_node(&f, "4", "");
    put_claim(&f, "ReadWriteOncePod");
    struct scheduler *s = scheduler_start(&f.base, NULL, NULL);
    f.late = true;
    put_pod(&f, "first", "1", WITH_CLAIM);
    for (int i = 0; i < 12000 && __atomic_load_n(&f.bindings, __ATOMIC_SEQ_CST) < 1; i++)
        usleep(5000);
    put_pod(&f, "second", "1", WITH_CLAIM);
    expect(
        &f, "second", "", "Unschedulable",
        "0/1 nodes are available: node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode. "
        "not found");
    assert_int_equal(f.bindings, 1);
    f.late = false;
    fake_remove(f.fake, &KUBE_PODS, "ns", "first");
    expect(&f, "second", "n1", NULL, NULL);
    scheduler_stop(s);
    fake_kube_free(f.fake);
}

static bool must_wait(struct face *f, const char *name)
{
    JSON_REF(o) = fake_get(f->fake, &KUBE_PODS, "ns", name);
    return obj_condition_is(json_root(o), "PodScheduled", "False");
}

/* The pod goes while it is bound, when the other has found no room beside it. */
static void goes(struct face *f, const char *verb, const char *name)
{
    if (!str_eq(name, "gone"))
        return;
    put_pod(f, "other", "3", "");
    for (int i = 0; i < 12000 && !must_wait(f, "other"); i++)
        usleep(5000);
    usleep(100000); /* what it was told has come back to it by now, and is not what helps it */
    fake_remove(f->fake, &KUBE_PODS, "ns", name);
}

/* Room that was kept for a pod that went before it was bound is free, and those who wait hear of it. */
static void gives_back(void **state)
{
    struct face f;
    face_init(&f);
    put_node(&f, "4", "");
    f.before = goes;
    struct scheduler *s = scheduler_start(&f.base, NULL, NULL);
    put_pod(&f, "gone", "3", "");
    expect(&f, "other", "n1", NULL, NULL);
    scheduler_stop(s);
    fake_kube_free(f.fake);
}

/* The pod goes while it is looked at, and the scheduler knows it: a pod that came later is bound. */
static void goes_unseen(struct face *f, const char *verb, const char *name)
{
    if (!str_eq(verb, "get"))
        return;
    fake_remove(f->fake, &KUBE_PODS, "ns", "high");
    put_pod(f, "later", "1", ",\"priority\":10");
    expect(f, "later", "n1", NULL, NULL);
    __atomic_store_n(&f->gone, true, __ATOMIC_SEQ_CST);
}

/* Nobody makes room for a pod that is gone, and none is kept for it. */
static void forgets_the_gone(void **state)
{
    struct face f;
    face_init(&f);
    put_node(&f, "4", "");
    put_claim(&f, "ReadWriteOnce");
    struct scheduler *s = scheduler_start(&f.base, NULL, NULL);
    put_pod(&f, "mid", "3", ",\"priority\":5");
    expect(&f, "mid", "n1", NULL, NULL);
    f.before = goes_unseen;
    put_pod(&f, "high", "2", ",\"priority\":10" WITH_CLAIM);
    for (int i = 0; i < 12000 && !__atomic_load_n(&f.gone, __ATOMIC_SEQ_CST); i++)
        usleep(5000);
    assert_true(f.gone);
    fake_remove(f.fake, &KUBE_PODS, "ns", "later");
    put_pod(&f, "low", "1", ",\"priority\":1");
    expect(&f, "low", "n1", NULL, NULL);
    expect(&f, "mid", "n1", NULL, NULL);
    scheduler_stop(s);
    fake_kube_free(f.fake);
}

static void leaves_alone(void **state)
{
    struct face f;
    face_init(&f);
    struct scheduler *s = scheduler_start(&f.base, NULL, NULL);
    put_pod(&f, "nonode", "1", "");
    expect(&f, "nonode", "", "Unschedulable", "no nodes available to schedule pods");
    put_node(&f, "4", "\"unschedulable\":true");
    expect(&f, "nonode", "", "Unschedulable",
           "0/1 nodes are available: 1 node(s) were unschedulable. no new claims to deallocate, preemption: 0/1 nodes are "
           "available: 1 Preemption is "
           "not helpful for scheduling.");
    put_pod(&f, "gated", "1", ",\"schedulingGates\":[{\"name\":\"g\"}]");
    expect(&f, "gated", "", "SchedulingGated", NULL);
    json_unref(fake_put(f.fake, &KUBE_PODS,
                        "{\"metadata\":{\"name\":\"other\",\"namespace\":\"ns\"},\"spec\":{\"schedulerName\":\"theirs\"}}"));
    put_node(&f, "4", "");
    expect(&f, "nonode", "n1", NULL, NULL);
    expect(&f, "other", "", NULL, NULL);
    assert_int_equal(f.bindings, 1);
    scheduler_stop(s);
    fake_kube_free(f.fake);
}

TEST_GROUP(scheduler, cmocka_unit_test(binds), cmocka_unit_test(preempts), cmocka_unit_test(knows_what_it_bound),
           cmocka_unit_test(claims_for_one), cmocka_unit_test(gives_back), cmocka_unit_test(forgets_the_gone),
           cmocka_unit_test(leaves_alone))
