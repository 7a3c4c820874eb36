/* Work queue, informers, controllers, against the fake. */
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/str.h"
#include "base/thread.h"
#include "fake_kube.h"
#include "kube/controller.h"
#include "kube/kinds.h"
#include "kube/object.h"

/* ---- work queue ------------------------------------------------------------------------------------------------------------ */

static void take(struct workqueue *q, const char *want)
{
    AUTOFREE char *key = workqueue_take(q);
    assert_string_equal(key, want);
}

static void test_queue_order_and_sets(void **state)
{
    (void)state;
    struct workqueue *q = workqueue_new(&clock_system, NS_PER_MS);
    workqueue_add(q, "a");
    workqueue_add(q, "b");
    workqueue_add(q, "a"); /* there already */
    take(q, "a");
    workqueue_add(q, "a"); /* while it is worked on: comes after */
    take(q, "b");
    workqueue_finish(q, "b");
    workqueue_finish(q, "a");
    take(q, "a");
    workqueue_finish(q, "a");
    workqueue_shutdown(q);
    assert_null(workqueue_take(q));
    workqueue_free(q);
}

static void test_queue_delays(void **state)
{
    (void)state;
    struct clock_manual c;
    clock_manual_init(&c, 0);
    struct workqueue *q = workqueue_new(&c.clock, NS_PER_MS);
    workqueue_add_after(q, "late", 3 * NS_PER_S);
    workqueue_add_after(q, "soon", 2 * NS_PER_S);
    workqueue_add_after(q, "late", NS_PER_S); /* the earlier time counts */
    workqueue_add(q, "now");
    take(q, "now");
    clock_manual_advance(&c, NS_PER_S);
    take(q, "late");
    clock_manual_advance(&c, NS_PER_S);
    take(q, "soon");
    workqueue_finish(q, "now");
    workqueue_finish(q, "late");
    workqueue_finish(q, "soon");
    for (unsigned i = 0; i < 100; i++) { /* 2^100 ms is held to 1000 s */
        workqueue_add_rate_limited(q, "bad");
        assert_int_equal(workqueue_failures(q, "bad"), i + 1);
        clock_manual_advance(&c, 1000 * NS_PER_S);
        take(q, "bad");
        if (i == 99)
            workqueue_done(q, "bad", 0);
        workqueue_finish(q, "bad");
    }
    assert_int_equal(workqueue_failures(q, "bad"), 0);
    assert_int_equal(workqueue_keys(q), 0);
    /* A server that says when to come again is not asked before. */
    workqueue_retry(q, "told", 5 * NS_PER_S);
    workqueue_add_after(q, "first", 4 * NS_PER_S);
    clock_manual_advance(&c, 4 * NS_PER_S);
    take(q, "first");
    workqueue_finish(q, "first");
    clock_manual_advance(&c, NS_PER_S);
    take(q, "told");
    workqueue_finish(q, "told");
    workqueue_shutdown(q);
    workqueue_free(q);
}

/* What a turn asked for is over when a later turn asks for something else: a key whose object is gone does not stay for its hour.
 */
static void test_queue_last_word(void **state)
{
    (void)state;
    struct clock_manual c;
    clock_manual_init(&c, 0);
    struct workqueue *q = workqueue_new(&c.clock, NS_PER_MS);
    char key[16];
    for (int i = 0; i < 50; i++) {
        snprintf(key, sizeof key, "k%d", i);
        workqueue_add(q, key);
        take(q, key);
        workqueue_done(q, key, (3600 + i * 7 % 50) * NS_PER_S);
        workqueue_finish(q, key);
    }
    assert_int_equal(workqueue_keys(q), 50);
    for (int i = 0; i < 50; i += 2) { /* gone */
        snprintf(key, sizeof key, "k%d", i);
        workqueue_add(q, key);
        take(q, key);
        workqueue_done(q, key, 0);
        workqueue_finish(q, key);
    }
    assert_int_equal(workqueue_keys(q), 25);
    /* The others come in the order of their times. */
    for (int at = 0; at < 50; at++) {
        clock_manual_advance(&c, at ? NS_PER_S : 3600 * NS_PER_S);
        for (int i = 1; i < 50; i += 2)
            if (i * 7 % 50 == at) {
                snprintf(key, sizeof key, "k%d", i);
                take(q, key);
                workqueue_done(q, key, 0);
                workqueue_finish(q, key);
            }
    }
    assert_int_equal(workqueue_keys(q), 0);
    /* What somebody else asked for meanwhile stays. */
    workqueue_add(q, "x");
    take(q, "x");
    workqueue_done(q, "x", 10 * NS_PER_S);
    workqueue_finish(q, "x");
    workqueue_add(q, "x");
    take(q, "x");
    workqueue_add_after(q, "x", 20 * NS_PER_S);
    workqueue_done(q, "x", 0);
    workqueue_finish(q, "x");
    assert_int_equal(workqueue_keys(q), 1);
    clock_manual_advance(&c, 10 * NS_PER_S);
    take(q, "x");
    workqueue_finish(q, "x");
    workqueue_shutdown(q);
    workqueue_free(q);
}

struct stress {
    struct workqueue *q;
    atomic_int busy[8];
    atomic_int done;
};

static void *stress_worker(void *arg)
{
    struct stress *s = arg;
    char *key;
    while ((key = workqueue_take(s->q))) {
        atomic_int *busy = &s->busy[key[0] - '0'];
        assert_int_equal(atomic_fetch_add(busy, 1), 0); /* never two workers on one key */
        atomic_fetch_add(&s->done, 1);
        atomic_fetch_sub(busy, 1);
        workqueue_finish(s->q, key);
        free(key);
    }
    return NULL;
}

static bool stress_done(void *arg) { return atomic_load(&((struct stress *)arg)->done) >= 8; }

static void test_queue_many_workers(void **state)
{
    (void)state;
    struct stress s = {.q = workqueue_new(&clock_system, NS_PER_MS)};
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        t[i] = thread_start("stress", stress_worker, &s);
    for (int i = 0; i < 4000; i++) {
        char key[2] = {(char)('0' + i % 8), 0};
        if (i % 3)
            workqueue_add(s.q, key);
        else
            workqueue_add_after(s.q, key, 1000 * (i % 7));
    }
    assert_true(fake_eventually(stress_done, &s));
    workqueue_shutdown(s.q);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    workqueue_free(s.q);
}

/* ---- informers ---------------------------------------------------------------------------------------------------------------
 */

struct seen {
    pthread_mutex_t lock;
    struct strlist log;
};

static void on_change(void *self, struct json *old, struct json *now)
{
    struct seen *s = self;
    LOCK_GUARD(&s->lock);
    strlist_addf(&s->log, "%c %s", !old ? '+' : !now ? '-' : '~', obj_name(json_root(now ? now : old)));
}

struct wait_log {
    struct seen *seen;
    const char *want;
};

static bool log_has(void *arg)
{
    struct wait_log *w = arg;
    LOCK_GUARD(&w->seen->lock);
    return strlist_has(&w->seen->log, w->want);
}

static void expect_event(struct seen *s, const char *want)
{
    struct wait_log w = {s, want};
    if (!fake_eventually(log_has, &w))
        fail_msg("no event \"%s\"", want);
}

struct fixture {
    struct fake_kube *fake;
    struct informer *informer;
    struct seen seen;
};

static void start(struct fixture *f, const char *labels)
{
    pthread_mutex_init(&f->seen.lock, NULL);
    struct informer_config cfg = {fake_kube_face(f->fake), &KUBE_CONFIGMAPS, NULL, labels, NULL, &clock_system};
    f->informer = informer_new(&cfg);
    informer_add_handler(f->informer, (struct informer_handler){on_change, &f->seen});
    informer_start(f->informer);
    struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, 60 * NS_PER_S);
    ERR(e);
    if (informer_wait_synced(f->informer, &ctx, &e) < 0)
        fail_msg("%s", err_text(&e));
}

static void stop(struct fixture *f)
{
    informer_stop(f->informer);
    fake_kube_free(f->fake);
    strlist_free(&f->seen.log);
}

static void put(struct fixture *f, const char *name, const char *more)
{
    json_unref(fake_put(f->fake, &KUBE_CONFIGMAPS, "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"s\"%s}}", name, more));
}

static void test_informer_follows(void **state)
{
    (void)state;
    struct fixture f = {.fake = fake_kube_new()};
    put(&f, "one", "");
    start(&f, NULL);
    JSON_REF(one) = informer_get(f.informer, "s/one");
    assert_non_null(one);
    put(&f, "two", ",\"ownerReferences\":[{\"uid\":\"o\"}]");
    expect_event(&f.seen, "+ two");
    size_t n;
    struct json **owned = informer_by_owner(f.informer, "o", &n);
    assert_int_equal(n, 1);
    assert_string_equal(obj_name(json_root(owned[0])), "two");
    json_unref(owned[0]);
    free(owned);
    put(&f, "two", ",\"labels\":{\"a\":\"b\"}");
    expect_event(&f.seen, "~ two");
    owned = informer_by_owner(f.informer, "o", &n);
    assert_int_equal(n, 0);
    free(owned);
    fake_remove(f.fake, &KUBE_CONFIGMAPS, "s", "one");
    expect_event(&f.seen, "- one");
    assert_null(informer_get(f.informer, "s/one"));
    struct json **all = informer_list(f.informer, &n);
    assert_int_equal(n, 1);
    json_unref(all[0]);
    free(all);
    stop(&f);
}

static void test_informer_relists_when_gone(void **state)
{
    (void)state;
    struct fixture f = {.fake = fake_kube_new()};
    put(&f, "stays", "");
    put(&f, "goes", "");
    put(&f, "changes", "");
    start(&f, NULL);
    fake_fail(f.fake, "watch", "configmaps", 1, ERR_GONE); /* the next watch is refused, and much has happened meanwhile */
    fake_end_watches(f.fake, "configmaps", ERR_GONE);
    fake_remove(f.fake, &KUBE_CONFIGMAPS, "s", "goes");
    put(&f, "changes", ",\"labels\":{\"a\":\"b\"}");
    put(&f, "comes", "");
    expect_event(&f.seen, "- goes");
    expect_event(&f.seen, "~ changes");
    expect_event(&f.seen, "+ comes");
    assert_true(fake_calls(f.fake, "list", "configmaps") >= 2);
    {
        LOCK_GUARD(&f.seen.lock);
        assert_false(strlist_has(&f.seen.log, "~ stays"));
        assert_false(strlist_has(&f.seen.log, "- stays"));
    }
    stop(&f);
}

static void test_informer_resumes(void **state)
{
    (void)state;
    struct fixture f = {.fake = fake_kube_new()};
    start(&f, NULL);
    put(&f, "one", "");
    expect_event(&f.seen, "+ one");
    fake_end_watches(f.fake, "configmaps", ERR_OK);
    put(&f, "two", "");
    expect_event(&f.seen, "+ two");
    assert_int_equal(fake_calls(f.fake, "list", "configmaps"), 1);
    stop(&f);
}

/* Where lists are streamed none is asked for; what happened meanwhile is told as after a list. */
static void test_informer_streams(void **state)
{
    (void)state;
    struct fixture f = {.fake = fake_kube_new()};
    fake_stream_lists(f.fake, true);
    put(&f, "stays", "");
    put(&f, "goes", "");
    start(&f, NULL);
    put(&f, "two", "");
    expect_event(&f.seen, "+ two");
    fake_fail(f.fake, "watch", "configmaps", 1, ERR_GONE);
    fake_end_watches(f.fake, "configmaps", ERR_GONE);
    fake_remove(f.fake, &KUBE_CONFIGMAPS, "s", "goes");
    put(&f, "comes", "");
    expect_event(&f.seen, "- goes");
    expect_event(&f.seen, "+ comes");
    assert_int_equal(fake_calls(f.fake, "list", "configmaps"), 0);
    {
        LOCK_GUARD(&f.seen.lock);
        assert_false(strlist_has(&f.seen.log, "~ stays"));
        assert_false(strlist_has(&f.seen.log, "- stays"));
    }
    stop(&f);
}

/* A server that refuses to stream this list after all: it is listed as ever, and not asked again. */
static void test_informer_stream_refused(void **state)
{
    (void)state;
    struct fixture f = {.fake = fake_kube_new()};
    fake_stream_lists(f.fake, true);
    fake_fail(f.fake, "watch", "configmaps", 1, ERR_INVALID);
    put(&f, "one", "");
    start(&f, NULL);
    expect_event(&f.seen, "+ one");
    assert_int_equal(fake_calls(f.fake, "list", "configmaps"), 1);
    put(&f, "two", "");
    expect_event(&f.seen, "+ two");
    stop(&f);
}

/* A server that passes over the question never says where the list ends: after a while it is listed. */
static void test_informer_stream_without_end(void **state)
{
    (void)state;
    struct fake_kube *fake = fake_kube_new();
    struct clock_manual clock;
    clock_manual_init(&clock, NS_PER_S);
    fake_stream_lists(fake, false);
    json_unref(fake_put(fake, &KUBE_CONFIGMAPS, "{\"metadata\":{\"name\":\"one\",\"namespace\":\"s\"}}"));
    struct informer *i =
        informer_new(&(struct informer_config){.kube = fake_kube_face(fake), .res = &KUBE_CONFIGMAPS, .clock = &clock.clock});
    informer_start(i);
    struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, 50 * NS_PER_MS);
    assert_int_equal(informer_wait_synced(i, &ctx, NULL), -1);
    assert_int_equal(fake_calls(fake, "list", "configmaps"), 0);
    clock_manual_advance(&clock, 31 * NS_PER_S);
    ctx = ctx_with_timeout(&bg, 10 * NS_PER_S);
    assert_int_equal(informer_wait_synced(i, &ctx, NULL), 0);
    assert_int_equal(fake_calls(fake, "list", "configmaps"), 1);
    JSON_REF(one) = informer_get(i, "s/one");
    assert_non_null(one);
    informer_stop(i);
    fake_kube_free(fake);
}

static void test_informer_selector(void **state)
{
    (void)state;
    struct fixture f = {.fake = fake_kube_new()};
    start(&f, "a=b");
    put(&f, "x", "");
    put(&f, "y", ",\"labels\":{\"a\":\"b\"}");
    expect_event(&f.seen, "+ y");
    put(&f, "y", "");
    expect_event(&f.seen, "- y");
    assert_null(informer_get(f.informer, "s/x"));
    stop(&f);
}

static void test_informer_wait_rv(void **state)
{
    (void)state;
    struct fixture f = {.fake = fake_kube_new()};
    start(&f, NULL);
    JSON_REF(d) = fake_put(f.fake, &KUBE_CONFIGMAPS, "{\"metadata\":{\"name\":\"a\",\"namespace\":\"s\"}}");
    struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, 60 * NS_PER_S);
    ERR(e);
    assert_int_equal(informer_wait_rv(f.informer, "s/a", obj_rv_text(json_root(d)), &ctx, &e), 0);
    JSON_REF(seen) = informer_get(f.informer, "s/a");
    assert_non_null(seen);
    struct ctx brief = ctx_with_timeout(&bg, 20 * NS_PER_MS);
    assert_int_equal(informer_wait_rv(f.informer, "s/a", "999999", &brief, &e), -1);
    assert_int_equal(e.code, ERR_TIMEOUT);
    stop(&f);
}

static void test_informer_stops_while_failing(void **state)
{
    (void)state;
    struct fake_kube *fake = fake_kube_new();
    fake_fail(fake, "list", "configmaps", 1000, ERR_UNAVAILABLE);
    struct informer_config cfg = {fake_kube_face(fake), &KUBE_CONFIGMAPS, NULL, NULL, NULL, &clock_system};
    struct ctx bg = ctx_background();
    int64_t took = INT64_MAX;
    /* It must not sit out the back-off, which is never shorter than 800 ms; a busy machine may do so for it now and then. */
    for (int n = 0; n < 20 && took >= 500 * NS_PER_MS; n++) {
        struct informer *i = informer_new(&cfg);
        informer_start(i);
        struct ctx brief = ctx_with_timeout(&bg, 30 * NS_PER_MS);
        ERR(e);
        assert_int_equal(informer_wait_synced(i, &brief, &e), -1);
        int64_t before = ctx_mono_ns(&bg);
        informer_stop(i);
        took = ctx_mono_ns(&bg) - before;
    }
    assert_true(took < 500 * NS_PER_MS);
    fake_kube_free(fake);
}

/* ---- controllers
 * --------------------------------------------------------------------------------------------------------------- */

struct labeller {
    struct kube *kube;
    struct informer *informer;
    atomic_int failures_left;
    atomic_int reconciles;
};

/* Puts a label on each ConfigMap. */
static int label_it(void *self, const struct ctx *ctx, const char *key, struct reconcile_result *res, struct err *err)
{
    struct labeller *l = self;
    (void)res;
    atomic_fetch_add(&l->reconciles, 1);
    if (atomic_fetch_sub(&l->failures_left, 1) > 0)
        return err_set(err, ERR_CONFLICT, "not yet");
    JSON_REF(d) = informer_get(l->informer, key);
    if (!d || obj_label(json_root(d), "seen"))
        return 0;
    JSON_REF(patch) = json_parse_str("{\"metadata\":{\"labels\":{\"seen\":\"yes\"}}}", err);
    JSON_REF(now) = kube_patch(l->kube, ctx, &KUBE_CONFIGMAPS, obj_namespace(json_root(d)), obj_name(json_root(d)),
                               KUBE_PATCH_MERGE, json_root(patch), NULL, err);
    return now ? informer_wait_rv(l->informer, key, obj_rv_text(json_root(now)), ctx, err) : -1;
}

static bool all_labelled(void *arg)
{
    struct labeller *l = arg;
    size_t n, good = 0;
    struct json **all = informer_list(l->informer, &n);
    for (size_t i = 0; i < n; i++) {
        good += obj_label(json_root(all[i]), "seen") != NULL;
        json_unref(all[i]);
    }
    free(all);
    return n == 20 && good == n;
}

static void test_controller(void **state)
{
    (void)state;
    struct fake_kube *fake = fake_kube_new();
    struct informer_config cfg = {fake_kube_face(fake), &KUBE_CONFIGMAPS, NULL, NULL, NULL, &clock_system};
    struct labeller l = {.kube = fake_kube_face(fake), .informer = informer_new(&cfg)};
    atomic_store(&l.failures_left, 5);
    struct controller_source sources[] = {{l.informer, NULL}};
    struct controller c = {"labeller", sources, 1, 3, label_it};
    struct controller_run *run = controller_start(&c, &l, &clock_system, NS_PER_MS);
    informer_start(l.informer);
    for (int i = 0; i < 20; i++)
        json_unref(fake_put(fake, &KUBE_CONFIGMAPS, "{\"metadata\":{\"name\":\"m%d\",\"namespace\":\"s\"}}", i));
    assert_true(fake_eventually(all_labelled, &l));
    controller_stop(run);
    json_unref(fake_put(fake, &KUBE_CONFIGMAPS,
                        "{\"metadata\":{\"name\":\"after\",\"namespace\":\"s\"}}")); /* nobody listens: no crash */
    informer_stop(l.informer);
    fake_kube_free(fake);
}

/* A handler that comes late is told what is there, and then what changes. */
static void test_informer_late_handler(void **state)
{
    struct fixture f = {.fake = fake_kube_new()};
    struct seen late = {0};
    json_unref(fake_put(f.fake, &KUBE_CONFIGMAPS, "{\"metadata\":{\"name\":\"a\",\"namespace\":\"ns\"}}"));
    start(&f, NULL);
    pthread_mutex_init(&late.lock, NULL);
    informer_add_handler(f.informer, (struct informer_handler){on_change, &late});
    assert_true(strlist_has(&late.log, "+ a"));
    fake_remove(f.fake, &KUBE_CONFIGMAPS, "ns", "a");
    expect_event(&late, "- a");
    informer_remove_handler(f.informer, &late);
    stop(&f);
    strlist_free(&late.log);
}

TEST_GROUP(informer, cmocka_unit_test(test_informer_late_handler), cmocka_unit_test(test_queue_order_and_sets),
           cmocka_unit_test(test_queue_delays), cmocka_unit_test(test_queue_last_word), cmocka_unit_test(test_queue_many_workers),
           cmocka_unit_test(test_informer_follows), cmocka_unit_test(test_informer_relists_when_gone),
           cmocka_unit_test(test_informer_resumes), cmocka_unit_test(test_informer_streams),
           cmocka_unit_test(test_informer_stream_refused), cmocka_unit_test(test_informer_stream_without_end),
           cmocka_unit_test(test_informer_selector), cmocka_unit_test(test_informer_wait_rv),
           cmocka_unit_test(test_informer_stops_while_failing), cmocka_unit_test(test_controller))
