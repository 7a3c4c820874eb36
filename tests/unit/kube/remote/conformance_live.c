/* conformance_live.c - watches, and what stands on them: informers, events, elections, over a restart of the API server. */
#include "conformance.h"
#include "kube/fields.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/thread.h"
#include "kube/events.h"
#include "kube/informer.h"
#include "kube/leader.h"

static char *list_rv(struct target *t)
{
    struct ctx ctx = soon();
    struct kube_list l;
    ERR(e);
    if (kube_list(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, NULL, &l, &e) < 0)
        fail_msg("%s", err_text(&e));
    char *rv = xstrdup(l.resource_version);
    kube_list_free(&l);
    return rv;
}

static struct kube_watch *watch(struct target *t, const struct kube_opts *o)
{
    struct ctx ctx = soon();
    ERR(e);
    struct kube_watch *w = kube_watch(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, o, &e);
    if (!w)
        fail_msg("%s", err_text(&e));
    return w;
}

static void patch_map(struct target *t, const char *name, const char *text)
{
    struct ctx ctx = soon();
    ERR(e);
    JSON_REF(p) = doc("%s", text);
    JSON_REF(d) = kube_patch(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, name, KUBE_PATCH_MERGE, json_root(p), NULL, &e);
    if (!d)
        fail_msg("%s", err_text(&e));
}

static void drop(struct target *t, const char *name)
{
    struct ctx ctx = soon();
    ERR(e);
    if (kube_delete(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, name, NULL, NULL, &e) < 0)
        fail_msg("%s", err_text(&e));
}

static void case_watch(struct target *t)
{
    AUTOFREE char *rv = list_rv(t);
    json_unref(make_map(t, "w1", ""));
    struct kube_watch *w = watch(t, &(struct kube_opts){.resource_version = rv, .bookmarks = true});
    expect_event(t, w, KUBE_ADDED, "w1"); /* from before the watch, but after its revision */
    patch_map(t, "w1", "{'data': {'x': 'y'}}");
    json_unref(make_map(t, "w2", ""));
    drop(t, "w1");
    expect_event(t, w, KUBE_MODIFIED, "w1");
    expect_event(t, w, KUBE_ADDED, "w2");
    struct kube_event ev = next_event(t, w);
    assert_int_equal(ev.type, KUBE_DELETED);
    assert_string_equal(text_at(json_root(ev.object), "data.x"), "y"); /* as it was, with the revision of its end */
    assert_string_equal(obj_kind(json_root(ev.object)), "ConfigMap");
    json_unref(ev.object);
    kube_watch_close(t->kube, w);
}

/* Metadata is there; what is more may be, but for those who say that it is not. */
static void expect_metadata(struct target *t, jval *o, const char *name, const char *label)
{
    assert_string_equal(obj_name(o), name);
    assert_string_equal(obj_namespace(o), t->ns);
    assert_int_equal(strlen(obj_uid(o)), 36);
    assert_true(obj_rv(o) > 0);
    assert_string_equal(obj_label(o, "in"), label);
    bool partial = strcmp(obj_kind(o), "PartialObjectMetadata") == 0;
    assert_true(partial || strcmp(obj_kind(o), "ConfigMap") == 0);
    assert_string_equal(obj_api_version(o), partial ? "meta.k8s.io/v1" : "v1");
    assert_int_equal(jv_present(config_map_data(o)), !partial);
}

static void case_metadata_only(struct target *t)
{
    json_unref(make_map(t, "meta", "'in': 'a'"));
    struct kube_list l;
    struct ctx ctx = soon();
    ERR(e);
    const struct kube_opts lo = {.metadata_only = true, .field_selector = "metadata.name=meta"};
    if (kube_list(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, &lo, &l, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_int_equal(l.n, 1);
    expect_metadata(t, json_root(l.items[0]), "meta", "a");
    struct kube_watch *w =
        watch(t, &(struct kube_opts){.resource_version = l.resource_version, .metadata_only = true, .label_selector = "in"});
    kube_list_free(&l);
    patch_map(t, "meta", "{'metadata': {'labels': {'in': 'b'}}}");
    drop(t, "meta");
    static const enum kube_event_type types[] = {KUBE_MODIFIED, KUBE_DELETED};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct kube_event ev = next_event(t, w);
        assert_int_equal(ev.type, types[i]);
        expect_metadata(t, json_root(ev.object), "meta", "b");
        json_unref(ev.object);
    }
    kube_watch_close(t->kube, w);
}

static void case_watch_selected(struct target *t)
{
    AUTOFREE char *rv = list_rv(t);
    struct kube_watch *w = watch(t, &(struct kube_opts){.resource_version = rv, .label_selector = "in=yes"});
    json_unref(make_map(t, "in1", "'in': 'yes'"));
    json_unref(make_map(t, "out1", "'in': 'no'"));
    patch_map(t, "in1", "{'metadata': {'labels': {'in': 'no'}}}");
    patch_map(t, "out1", "{'metadata': {'labels': {'in': 'yes'}}}");
    expect_event(t, w, KUBE_ADDED, "in1");
    expect_event(t, w, KUBE_DELETED, "in1"); /* it has left the selection */
    expect_event(t, w, KUBE_ADDED, "out1");
    kube_watch_close(t->kube, w);
}

/* A caller whose time is up goes on with the same watch. */
static void case_watch_waits(struct target *t)
{
    AUTOFREE char *rv = list_rv(t);
    struct kube_watch *w = watch(t, &(struct kube_opts){.resource_version = rv});
    struct ctx bg = ctx_background();
    struct kube_event ev;
    for (int i = 0; i < 3; i++) {
        struct ctx brief = ctx_with_timeout(&bg, 50 * NS_PER_MS);
        ERR(e);
        assert_int_equal(kube_watch_next(t->kube, w, &brief, &ev, &e), -1);
        assert_int_equal(e.code, ERR_TIMEOUT);
    }
    json_unref(make_map(t, "late", ""));
    expect_event(t, w, KUBE_ADDED, "late");
    kube_watch_close(t->kube, w);
}

static void *raise_soon(void *cancel)
{
    usleep(200000);
    cancel_raise(cancel);
    return NULL;
}

static void case_watch_cancelled(struct target *t)
{
    struct cancel cancel;
    ERR(e);
    assert_int_equal(cancel_init(&cancel, &e), 0);
    struct kube_watch *w = watch(t, &(struct kube_opts){.resource_version = NULL, .label_selector = "nothing-has-this"});
    struct ctx ctx = soon();
    ctx.cancel = &cancel;
    struct kube_event ev;
    pthread_t thread = thread_start("canceller", raise_soon, &cancel);
    assert_int_equal(kube_watch_next(t->kube, w, &ctx, &ev, &e), -1);
    assert_int_equal(e.code, ERR_CANCELLED);
    pthread_join(thread, NULL);
    kube_watch_close(t->kube, w);
    cancel_close(&cancel);
}

static void case_watch_ends(struct target *t)
{
    AUTOFREE char *rv = list_rv(t);
    struct kube_watch *w =
        watch(t, &(struct kube_opts){.resource_version = rv, .timeout_s = 1, .label_selector = "nothing-has-this"});
    struct ctx ctx = soon();
    struct kube_event ev;
    ERR(e);
    int rc;
    while ((rc = kube_watch_next(t->kube, w, &ctx, &ev, &e)) == 1)
        json_unref(ev.object); /* a last bookmark */
    if (rc != 0)
        fail_msg("%s", err_text(&e));
    kube_watch_close(t->kube, w);
}

static void case_watch_from_the_start(struct target *t)
{
    json_unref(make_map(t, "first", "'start': 'yes'"));
    const struct kube_opts o = {
        .send_initial_events = true, .bookmarks = true, .resource_version_match = "NotOlderThan", .label_selector = "start"};
    struct ctx ctx = soon();
    ERR(e);
    struct kube_watch *w = watch(t, &o);
    struct kube_event ev;
    assert_int_equal(kube_watch_next(t->kube, w, &ctx, &ev, &e), 1);
    assert_int_equal(ev.type, KUBE_ADDED);
    assert_string_equal(obj_name(json_root(ev.object)), "first");
    json_unref(ev.object);
    bool end = false;
    while (!end) {
        if (kube_watch_next(t->kube, w, &ctx, &ev, &e) != 1)
            fail_msg("%s", err_text(&e));
        assert_int_equal(ev.type, KUBE_BOOKMARK);
        end = str_eq(obj_annotation(json_root(ev.object), "k8s.io/initial-events-end"), "true");
        json_unref(ev.object);
    }
    kube_watch_close(t->kube, w);
}

static void case_watch_refused(struct target *t)
{
    struct ctx ctx = soon();
    ERR(e);
    assert_null(kube_watch(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, (&(struct kube_opts){.label_selector = "a in ("}), &e));
    expect_error("selector", &e, ERR_BAD_REQUEST, "unable to parse requirement");
    static const struct kube_res nothings = {"", "v1", "nothings", "Nothing", true};
    assert_null(kube_watch(t->kube, &ctx, &nothings, t->ns, NULL, &e));
    expect_error("resource", &e, ERR_NOT_FOUND, "the server could not find the requested resource");
}

/* ---- informers ---- */

struct seen {
    struct informer *informer;
    atomic_int adds, changes, deletes;
    const char *key;
};

static void changed(void *self, struct json *old, struct json *now)
{
    struct seen *s = self;
    atomic_fetch_add(!old ? &s->adds : !now ? &s->deletes : &s->changes, 1);
}

static bool has_key(void *arg)
{
    struct seen *s = arg;
    JSON_REF(d) = informer_get(s->informer, s->key);
    return d != NULL;
}

static bool has_not_key(void *arg) { return !has_key(arg); }

static void informer_open(struct target *t, struct seen *s)
{
    *s = (struct seen){0};
    s->informer = informer_new(&(struct informer_config){
        .kube = t->kube, .res = &KUBE_CONFIGMAPS, .ns = t->ns, .label_selector = "informed", .clock = &clock_system});
    informer_add_handler(s->informer, (struct informer_handler){changed, s});
    informer_start(s->informer);
    struct ctx ctx = soon();
    ERR(e);
    if (informer_wait_synced(s->informer, &ctx, &e) < 0)
        fail_msg("%s", err_text(&e));
}

static void case_informer(struct target *t)
{
    json_unref(make_map(t, "i1", "'informed': 'yes'"));
    struct seen s;
    informer_open(t, &s);
    AUTOFREE char *one = obj_key_of(t->ns, "i1"), *two = obj_key_of(t->ns, "i2");
    s.key = one;
    assert_true(has_key(&s));
    JSON_REF(made) = make_map(t, "i2", "'informed': 'yes'");
    struct ctx ctx = soon();
    ERR(e);
    if (informer_wait_rv(s.informer, two, obj_rv_text(json_root(made)), &ctx, &e) < 0)
        fail_msg("%s", err_text(&e));
    s.key = two;
    assert_true(has_key(&s));
    patch_map(t, "i1", "{'data': {'x': 'y'}}");
    drop(t, "i2");
    assert_true(eventually(has_not_key, &s));
    assert_int_equal(atomic_load(&s.adds), 2);
    assert_int_equal(atomic_load(&s.changes), 1);
    assert_int_equal(atomic_load(&s.deletes), 1);
    informer_stop(s.informer);
}

/* What changes while the server comes back, is seen; what did not, is not told twice. */
static void case_informer_over_a_restart(struct target *t)
{
    if (!t->restart)
        skip();
    json_unref(make_map(t, "r1", "'informed': 'yes'"));
    json_unref(make_map(t, "r2", "'informed': 'yes'"));
    struct seen s;
    informer_open(t, &s);
    int adds = atomic_load(&s.adds);
    t->restart(t);
    /* Until it answers again; the informer finds out by itself. */
    struct ctx ctx = soon();
    JSON_REF(back) = NULL;
    while (!back && ctx_check(&ctx, NULL) == 0)
        if (!(back = kube_get(t->kube, &ctx, &KUBE_CONFIGMAPS, t->ns, "r1", NULL, NULL)))
            usleep(100000);
    assert_non_null(back);
    json_unref(make_map(t, "r3", "'informed': 'yes'"));
    drop(t, "r2");
    AUTOFREE char *two = obj_key_of(t->ns, "r2"), *three = obj_key_of(t->ns, "r3");
    s.key = three;
    assert_true(eventually(has_key, &s));
    s.key = two;
    assert_true(eventually(has_not_key, &s));
    assert_int_equal(atomic_load(&s.adds), adds + 1);
    assert_int_equal(atomic_load(&s.deletes), 1);
    informer_stop(s.informer);
}

/* ---- events ---- */

static void case_events(struct target *t)
{
    JSON_REF(map) = make_map(t, "eventful", "");
    struct event_recorder *r = event_recorder_new(t->kube, "conformance", "here", &clock_system);
    for (int i = 0; i < 3; i++) {
        event_record(r, json_root(map), &KUBE_CONFIGMAPS, "Normal", "Happened", "it did");
        assert_true(event_recorder_flush(r, 20000));
    }
    struct ctx ctx = soon();
    struct kube_list l;
    ERR(e);
    const struct kube_opts o = {.field_selector = "involvedObject.name=eventful"};
    if (kube_list(t->kube, &ctx, &KUBE_EVENTS, t->ns, &o, &l, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_int_equal(l.n, 1);
    jval *ev = json_root(l.items[0]);
    assert_string_equal(text_at(ev, "reason"), "Happened");
    assert_string_equal(text_at(ev, "message"), "it did");
    assert_string_equal(text_at(ev, "source.component"), "conformance");
    assert_string_equal(text_at(ev, "involvedObject.uid"), obj_uid(json_root(map)));
    assert_int_equal(jv_i64_or(jv_get(ev, "count"), 0), 3);
    kube_list_free(&l);
    event_recorder_free(r);
}

/* ---- elections ---- */

static void on_lost(void *self) { atomic_store((atomic_bool *)self, true); }

static void case_election(struct target *t)
{
    atomic_bool lost = false;
    struct leader_config a = {.kube = t->kube,
                              .ns = t->ns,
                              .name = "job",
                              .identity = "a",
                              .lease_ns = 120 * NS_PER_S, /* nobody loses it because the machine is busy */
                              .renew_ns = 60 * NS_PER_S,
                              .retry_ns = 200 * NS_PER_MS,
                              .lost = on_lost,
                              .self = &lost},
                         b = a;
    b.identity = "b";
    struct ctx ctx = soon(), bg = ctx_background(), brief;
    ERR(e);
    struct leader *first = leader_start(&a);
    if (leader_wait(first, &ctx, &e) < 0)
        fail_msg("%s", err_text(&e));
    struct leader *second = leader_start(&b);
    for (int i = 0; i < 60 && (i == 0 || strstr(err_text(&e), "which nobody holds")); i++) { /* until it has looked */
        err_clear(&e);
        brief = ctx_with_timeout(&bg, NS_PER_S);
        assert_int_equal(leader_wait(second, &brief, &e), -1);
    }
    expect_error("second", &e, ERR_TIMEOUT, "which a holds");
    JSON_REF(lease) = get(t, &KUBE_LEASES, "job");
    assert_string_equal(text_at(json_root(lease), "spec.holderIdentity"), "a");
    assert_int_equal(jv_i64_or(jv_path(json_root(lease), "spec", "leaseDurationSeconds", NULL), 0), 120);
    int64_t began = ctx_mono_ns(&ctx);
    leader_stop(first); /* gives it back */
    if (leader_wait(second, &ctx, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_true(ctx_mono_ns(&ctx) - began < 60 * NS_PER_S); /* it did not have to run out */
    assert_false(atomic_load(&lost));
    JSON_REF(after) = get(t, &KUBE_LEASES, "job");
    assert_string_equal(text_at(json_root(after), "spec.holderIdentity"), "b");
    assert_true(jv_i64_or(jv_path(json_root(after), "spec", "leaseTransitions", NULL), 0) >= 1);
    /* Somebody takes it away: told at once. */
    JSON_REF(p) = doc("{'spec': {'holderIdentity': 'c', 'leaseDurationSeconds': 60}}");
    JSON_REF(stolen) = kube_patch(t->kube, &ctx, &KUBE_LEASES, t->ns, "job", KUBE_PATCH_MERGE, json_root(p), NULL, &e);
    assert_non_null(stolen);
    for (int i = 0; i < 6000 && !atomic_load(&lost); i++)
        usleep(10000);
    assert_true(atomic_load(&lost));
    assert_false(leader_is(second));
    leader_stop(second);
}

const struct conformance_case conformance_live[] = {
    {"watch", case_watch},
    {"metadata_only", case_metadata_only},
    {"watch_selected", case_watch_selected},
    {"watch_waits", case_watch_waits},
    {"watch_cancelled", case_watch_cancelled},
    {"watch_ends", case_watch_ends},
    {"watch_from_the_start", case_watch_from_the_start},
    {"watch_refused", case_watch_refused},
    {"informer", case_informer},
    {"events", case_events},
    {"election", case_election},
    {"informer_over_a_restart", case_informer_over_a_restart},
};
const size_t n_conformance_live = ARRAY_LEN(conformance_live);
