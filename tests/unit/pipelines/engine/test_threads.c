/* The engine as it really runs: a controller with several workers, runs that come, end and are given up at the same time. */
#include "kit.h"

#include <unistd.h>

#include "base/thread.h"

#define RUNS_N 24

/* Ends every step as soon as it was started. */
struct quick {
    pthread_mutex_t lock;
    struct strmap dirs;
    struct engine *engine;
};

static int start(void *self, const struct ctx *ctx, const struct task_start *t, struct err *err)
{
    struct quick *q = self;
    struct launch_result r;
    launch_result_init(&r);
    r.params = xcalloc(1, sizeof *r.params);
    r.n_params = 1;
    r.params[0] = (struct launch_result_param){.key = xstrdup("Output"), .text = xstrdup("x"), .len = 1};
    int rc = launch_result_write(&r, t->task_dir, err);
    launch_result_clear(&r);
    {
        LOCK_GUARD(&q->lock);
        strmap_put(&q->dirs, t->pod_name, xstrdup(t->run_id));
    }
    /* The first turns may come before the test was told its engine. */
    struct engine *e;
    while (!(e = __atomic_load_n(&q->engine, __ATOMIC_ACQUIRE)))
        usleep(100);
    engine_notify(e, t->run_id);
    return rc;
}

static int observe(void *self, const struct ctx *ctx, const char *ns, const char *pod, struct attempt_view *v, struct err *err)
{
    struct quick *q = self;
    LOCK_GUARD(&q->lock);
    *v = (struct attempt_view){.exit_code = -1};
    if (strmap_has(&q->dirs, pod)) {
        v->phase = ATTEMPT_ENDED;
        v->succeeded = true;
        v->pod_uid = xstrdup(pod);
    }
    return 0;
}

static int stop(void *self, const struct ctx *ctx, const char *ns, const char *pod, struct err *err) { return 0; }
static int tail(void *self, const struct ctx *ctx, const char *ns, const char *pod, int n, struct buf *out, struct err *err)
{
    return 0;
}
static int forget(void *self, const struct ctx *ctx, const char *run, struct err *err) { return 0; }

static void many_at_once(void **state)
{
    struct kit k;
    struct quick q = {.dirs = STRMAP_INIT(free)};
    ERR(e);
    pthread_mutex_init(&q.lock, NULL);
    kit_open(&k, NULL, 0);
    engine_free(k.engine);
    const struct task_runtime rt = {.self = &q, .start = start, .observe = observe, .stop = stop, .tail = tail, .forget = forget};
    k.cfg.runtime = &rt;
    k.cfg.clock = &clock_system;
    AUTOFREE char *y = kit_yaml("",
                                RUNS("a", "step") END RUNS("b", "step") FROM("a") END RUNS("c", "step") FROM("a")
                                    END RUNS("d", "step") FROM("b") AFTER("c") END,
                                STEP);
    char *ids[RUNS_N];
    for (int n = 0; n < RUNS_N / 2; n++)
        ids[n] = kit_submit(&k, y, NULL); /* taken up at start */
    k.engine = engine_start(&k.cfg, &e);
    if (!k.engine)
        fail_msg("%s", err_text(&e));
    __atomic_store_n(&q.engine, k.engine, __ATOMIC_RELEASE);
    struct ctx ctx = ctx_background();
    for (int n = RUNS_N / 2; n < RUNS_N; n++) {
        ids[n] = kit_submit(&k, y, NULL);
        engine_notify(k.engine, ids[n]);
        if (n % 5 == 0)
            assert_int_equal(engine_terminate(k.engine, &ctx, ids[n], "jane", &e), 0);
    }
    int final = 0;
    for (int tries = 0; tries < 3000 && final < RUNS_N; tries++) {
        usleep(10000);
        final = 0;
        for (int n = 0; n < RUNS_N; n++)
            final += run_state_final(kit_state(&k, ids[n], NULL));
    }
    assert_int_equal(final, RUNS_N);
    engine_stop(k.engine);
    k.engine = NULL;
    for (int n = 0; n < RUNS_N; n++) {
        if (n % 5 != 0 || n < RUNS_N / 2)
            assert_int_equal(kit_state(&k, ids[n], NULL), RUN_SUCCEEDED);
        free(ids[n]);
    }
    strmap_free(&q.dirs);
    pthread_mutex_destroy(&q.lock);
    kit_close(&k);
}

TEST_GROUP(threads, cmocka_unit_test(many_at_once))
