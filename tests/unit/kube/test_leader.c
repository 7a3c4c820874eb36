/* The leader's Lease on an API in memory, whose answers get lost now and then. */
#include "fake_kube.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/leader.h"
#include "unit.h"

struct face {
    struct kube base;
    struct fake_kube *fake;
    struct kube *real;
    struct kube_ops ops;
    atomic_bool lose; /* what is written arrives, and its answer does not */
    atomic_int lost;
    _Atomic int64_t slow_ns; /* how long an update takes to arrive */
};

static struct json *answer(struct face *f, struct json *done, struct err *err)
{
    if (!done || !atomic_load(&f->lose))
        return done;
    json_unref(done);
    atomic_fetch_add(&f->lost, 1);
    err_set(err, ERR_CANCELLED, "the answer was lost");
    return NULL;
}

static struct json *face_get(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns, const char *name,
                             const struct kube_opts *o, struct err *err)
{
    struct face *f = (struct face *)k;
    return f->real->ops->get(f->real, ctx, res, ns, name, o, err);
}

static struct json *face_create(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns,
                                const char *name, jval *obj, const struct kube_opts *o, struct err *err)
{
    struct face *f = (struct face *)k;
    return answer(f, f->real->ops->create(f->real, ctx, res, ns, name, obj, o, err), err);
}

static struct json *face_update(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns,
                                const char *name, jval *obj, const struct kube_opts *o, struct err *err)
{
    struct face *f = (struct face *)k;
    if (atomic_load(&f->slow_ns) && ctx_sleep(ctx, atomic_load(&f->slow_ns), err) < 0)
        return NULL;
    struct json *done = answer(f, f->real->ops->update(f->real, ctx, res, ns, name, obj, o, err), err);
    if (!done && atomic_load(&f->lose))
        atomic_store(&f->lose, false);
    return done;
}

static void face_init(struct face *f)
{
    *f = (struct face){.fake = fake_kube_new()};
    f->real = fake_kube_face(f->fake);
    f->ops = *f->real->ops;
    f->ops.get = face_get;
    f->ops.create = face_create;
    f->ops.update = face_update;
    f->base = (struct kube){.ops = &f->ops, .who = f->real->who};
}

static struct leader_config config(struct face *f, const char *identity)
{
    return (struct leader_config){.kube = &f->base,
                                  .ns = "ns",
                                  .name = "l",
                                  .identity = identity,
                                  .lease_ns = 600 * NS_PER_S,
                                  .renew_ns = 300 * NS_PER_S,
                                  .retry_ns = NS_PER_S / 50};
}

static bool has_lost(void *arg) { return atomic_load(&((struct face *)arg)->lost) > 0; }

static void assert_free(struct face *f)
{
    JSON_REF(lease) = fake_get(f->fake, &KUBE_LEASES, "ns", "l");
    assert_non_null(lease);
    assert_string_equal(lease_spec_holder_identity(lease_spec(json_root(lease))), "");
}

static void gives_back(void **state)
{
    struct face f;
    face_init(&f);
    struct leader_config c = config(&f, "one");
    struct leader *l = leader_start(&c);
    struct ctx ctx = ctx_background();
    assert_int_equal(leader_wait(l, &ctx, NULL), 0);
    /* A renewal is written, and its answer is lost: what was seen last is old by then. */
    atomic_store(&f.lose, true);
    assert_true(fake_eventually(has_lost, &f));
    leader_stop(l);
    assert_free(&f);
    fake_kube_free(f.fake);
}

static void gives_back_what_it_never_saw(void **state)
{
    struct face f;
    face_init(&f);
    atomic_store(&f.lose, true);
    struct leader_config c = config(&f, "one");
    c.retry_ns = 3600 * NS_PER_S;
    struct leader *l = leader_start(&c);
    assert_true(fake_eventually(has_lost, &f));
    atomic_store(&f.lose, false);
    leader_stop(l);
    assert_free(&f);
    fake_kube_free(f.fake);
}

/* As long as a renewal may take, this may. */
static void gives_back_to_a_slow_server(void **state)
{
    struct face f;
    face_init(&f);
    struct leader_config c = config(&f, "one");
    struct leader *l = leader_start(&c);
    struct ctx ctx = ctx_background();
    assert_int_equal(leader_wait(l, &ctx, NULL), 0);
    atomic_store(&f.slow_ns, 10 * c.retry_ns);
    leader_stop(l);
    assert_free(&f);
    fake_kube_free(f.fake);
}

TEST_GROUP(leader, cmocka_unit_test(gives_back), cmocka_unit_test(gives_back_to_a_slow_server),
           cmocka_unit_test(gives_back_what_it_never_saw))
