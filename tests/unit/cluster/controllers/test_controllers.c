/* The core controllers, on a struct kube in memory. */
#include "unit.h"

#include "base/str.h"
#include "base/timefmt.h"
#include "cluster/controllers/controllers.h"
#include "fake_kube.h"
#include "kube/kinds.h"
#include "kube/object.h"

static const struct kube_res widgets = {"x.io", "v1", "widgets", "Widget", true};

static void each_kind(void *self, void (*fn)(void *arg, const struct kube_res *res), void *arg)
{
    static const struct kube_res *const all[] = {&KUBE_CONFIGMAPS, &KUBE_SERVICEACCOUNTS, &KUBE_PODS, &KUBE_EVENTS, &widgets};
    (void)self;
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        fn(arg, all[i]);
}

enum { EVENTS_MAX = 40 };

struct fixture {
    struct fake_kube *fake;
    struct controllers *c;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->fake = fake_kube_new();
    struct controllers_config cfg = {.kube = fake_kube_face(f->fake),
                                     .clock = &clock_system,
                                     .ca_pem = "PEM",
                                     .each_kind = each_kind,
                                     .events_max = EVENTS_MAX};
    struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, 60 * NS_PER_S);
    ERR(e);
    f->c = controllers_start(&cfg, &ctx, &e);
    if (!f->c)
        fail_msg("%s", err_text(&e));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    controllers_stop(f->c);
    fake_kube_free(f->fake);
    free(f);
    return 0;
}

/* ---- waiting for what an object says
 * ------------------------------------------------------------------------------------------------- */

struct wait {
    struct fake_kube *fake;
    const struct kube_res *res;
    const char *ns, *name;
    bool (*holds)(jval *obj); /* NULL: it is there */
};

static bool there(void *arg)
{
    struct wait *w = arg;
    JSON_REF(d) = fake_get(w->fake, w->res, w->ns, w->name);
    return d && (!w->holds || w->holds(json_root(d)));
}

static bool gone(void *arg)
{
    struct wait *w = arg;
    JSON_REF(d) = fake_get(w->fake, w->res, w->ns, w->name);
    return !d;
}

static void expect(struct fixture *f, bool (*cond)(void *), const struct kube_res *res, const char *ns, const char *name,
                   bool (*holds)(jval *))
{
    struct wait w = {f->fake, res, ns, name, holds};
    if (!fake_eventually(cond, &w)) {
        JSON_REF(d) = fake_get(f->fake, res, ns, name);
        AUTOFREE char *text = d ? jv_text(json_root(d), JW_PRETTY) : xstrdup("(not there)");
        fail_msg("%s %s/%s is not as it should be: %s", res->kind, ns ? ns : "", name, text);
    }
}

static void put(struct fixture *f, const struct kube_res *res, const char *text)
{
    json_unref(fake_put(f->fake, res, "%s", text));
}

static void delete (struct fixture *f, const struct kube_res *res, const char *ns, const char *name, enum kube_propagation how)
{
    struct ctx ctx = ctx_background();
    struct kube_opts o = {.propagation = how};
    ERR(e);
    if (kube_delete(fake_kube_face(f->fake), &ctx, res, ns, name, &o, NULL, &e) < 0)
        fail_msg("%s", err_text(&e));
}

/* ---- namespaces
 * ------------------------------------------------------------------------------------------------------------------------ */

static bool holds_ca(jval *o) { return str_eq(jv_str(jv_path(o, "data", "ca.crt", NULL)), "PEM"); }

static bool content_remains(jval *o)
{
    return obj_condition_is(o, "NamespaceContentRemaining", "True") &&
           obj_condition_is(o, "NamespaceFinalizersRemaining", "True");
}

static void test_namespace(void **state)
{
    struct fixture *f = *state;
    put(f, &KUBE_NAMESPACES, "{\"metadata\":{\"name\":\"n\"},\"spec\":{\"finalizers\":[\"kubernetes\"]}}");
    expect(f, there, &KUBE_SERVICEACCOUNTS, "n", "default", NULL);
    expect(f, there, &KUBE_CONFIGMAPS, "n", "kube-root-ca.crt", holds_ca);
    delete (f, &KUBE_SERVICEACCOUNTS, "n", "default", KUBE_BACKGROUND);
    expect(f, there, &KUBE_SERVICEACCOUNTS, "n", "default", NULL);
    put(f, &widgets, "{\"metadata\":{\"name\":\"held\",\"namespace\":\"n\",\"finalizers\":[\"a/b\"]}}");
    put(f, &widgets, "{\"metadata\":{\"name\":\"free\",\"namespace\":\"n\"}}");
    delete (f, &KUBE_NAMESPACES, NULL, "n", KUBE_BACKGROUND);
    expect(f, there, &KUBE_NAMESPACES, NULL, "n", content_remains);
    expect(f, gone, &widgets, "n", "free", NULL);
    expect(f, gone, &KUBE_SERVICEACCOUNTS, "n", "default", NULL);
    fake_remove(f->fake, &widgets, "n", "held");
    expect(f, gone, &KUBE_NAMESPACES, NULL, "n", NULL);
}

/* ---- definitions
 * ------------------------------------------------------------------------------------------------------------------------- */

#define DEFINITION(name, plural, more)                                                                                           \
    "{\"metadata\":{\"name\":\"" name "\"" more                                                                                  \
    "},\"spec\":{\"group\":\"x.io\",\"scope\":\"Namespaced\",\"names\":{\"plural\":\"" plural                                    \
    "\",\"singular\":\"widget\",\"kind\":\"Widget\",\"listKind\":\"WidgetList\"},\"versions\":[{\"name\":\"v1\",\"served\":"     \
    "true,\"storage\":true}]},"                                                                                                  \
    "\"status\":{\"storedVersions\":[\"v1\"]}}"

static bool established(jval *o)
{
    return obj_condition_is(o, "Established", "True") && obj_condition_is(o, "NamesAccepted", "True");
}

static bool refused(jval *o)
{
    return obj_condition_is(o, "Established", "False") && obj_condition_is(o, "NamesAccepted", "False");
}

static bool terminating(jval *o) { return obj_condition_is(o, "Terminating", "True"); }

static void test_definition(void **state)
{
    struct fixture *f = *state;
    put(f, &KUBE_CUSTOMRESOURCEDEFINITIONS,
        DEFINITION("widgets.x.io", "widgets", ",\"finalizers\":[\"customresourcecleanup.apiextensions.k8s.io\"]"));
    expect(f, there, &KUBE_CUSTOMRESOURCEDEFINITIONS, NULL, "widgets.x.io", established);
    put(f, &KUBE_CUSTOMRESOURCEDEFINITIONS, DEFINITION("gadgets.x.io", "gadgets", ""));
    expect(f, there, &KUBE_CUSTOMRESOURCEDEFINITIONS, NULL, "gadgets.x.io", refused);
    put(f, &widgets, "{\"metadata\":{\"name\":\"held\",\"namespace\":\"n\",\"finalizers\":[\"a/b\"]}}");
    put(f, &widgets, "{\"metadata\":{\"name\":\"free\",\"namespace\":\"n\"}}");
    delete (f, &KUBE_CUSTOMRESOURCEDEFINITIONS, NULL, "widgets.x.io", KUBE_BACKGROUND);
    expect(f, there, &KUBE_CUSTOMRESOURCEDEFINITIONS, NULL, "widgets.x.io", terminating);
    expect(f, gone, &widgets, "n", "free", NULL);
    fake_remove(f->fake, &widgets, "n", "held");
    expect(f, gone, &KUBE_CUSTOMRESOURCEDEFINITIONS, NULL, "widgets.x.io", NULL);
    expect(f, there, &KUBE_CUSTOMRESOURCEDEFINITIONS, NULL, "gadgets.x.io", established); /* the names are free now */
}

/* ---- garbage
 * --------------------------------------------------------------------------------------------------------------------------- */

#define OWNED(name, refs, more)                                                                                                  \
    "{\"metadata\":{\"name\":\"" name "\",\"namespace\":\"s\",\"ownerReferences\":[" refs "]" more "}}"
#define REF(name, uid, more) "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"name\":\"" name "\",\"uid\":\"" uid "\"" more "}"

static void put_owner(struct fixture *f, const char *name)
{
    json_unref(
        fake_put(f->fake, &KUBE_CONFIGMAPS, "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"s\",\"uid\":\"u-%s\"}}", name, name));
}

static bool one_owner_left(jval *o) { return jv_len(obj_owner_refs(o)) == 1 && obj_has_owner(o, "u-o2"); }

static void test_gc_background(void **state)
{
    struct fixture *f = *state;
    put_owner(f, "o");
    put_owner(f, "o2");
    put(f, &KUBE_CONFIGMAPS, OWNED("d", REF("o", "u-o", "") "," REF("o2", "u-o2", ""), ""));
    put(f, &KUBE_CONFIGMAPS, OWNED("lost", REF("none", "u-none", ""), ""));
    put(f, &widgets, OWNED("w", REF("o2", "u-o2", ""), ""));
    expect(f, gone, &KUBE_CONFIGMAPS, "s", "lost", NULL);
    delete (f, &KUBE_CONFIGMAPS, "s", "o", KUBE_BACKGROUND);
    expect(f, there, &KUBE_CONFIGMAPS, "s", "d", one_owner_left);
    delete (f, &KUBE_CONFIGMAPS, "s", "o2", KUBE_BACKGROUND);
    expect(f, gone, &KUBE_CONFIGMAPS, "s", "d", NULL);
    expect(f, gone, &widgets, "s", "w", NULL);
}

static bool deleting(jval *o) { return obj_deleting(o); }

/* Nothing depends on it, so it need not wait for anything. */
static bool deleting_at_once(jval *o) { return obj_deleting(o) && !obj_has_finalizer(o, "foregroundDeletion"); }

static void test_gc_foreground(void **state)
{
    struct fixture *f = *state;
    put_owner(f, "o");
    put(f, &KUBE_CONFIGMAPS, OWNED("d", REF("o", "u-o", ",\"blockOwnerDeletion\":true"), ",\"finalizers\":[\"x.y/hold\"]"));
    delete (f, &KUBE_CONFIGMAPS, "s", "o", KUBE_FOREGROUND);
    expect(f, there, &KUBE_CONFIGMAPS, "s", "d", deleting_at_once);
    assert_int_equal(fake_calls(f->fake, "update", "configmaps"), 0); /* no finalizer had to be taken away again */
    expect(f, there, &KUBE_CONFIGMAPS, "s", "o", deleting);
    fake_remove(f->fake, &KUBE_CONFIGMAPS, "s", "d");
    expect(f, gone, &KUBE_CONFIGMAPS, "s", "o", NULL);
}

/* What another owner needs stays, and holds up nobody; nor does what somebody took away from its owner. */
static void test_gc_foreground_shared(void **state)
{
    struct fixture *f = *state;
    put_owner(f, "o");
    put_owner(f, "o2");
    put(f, &KUBE_CONFIGMAPS, OWNED("d", REF("o", "u-o", ",\"blockOwnerDeletion\":true") "," REF("o2", "u-o2", ""), ""));
    delete (f, &KUBE_CONFIGMAPS, "s", "o", KUBE_FOREGROUND);
    expect(f, gone, &KUBE_CONFIGMAPS, "s", "o", NULL);
    expect(f, there, &KUBE_CONFIGMAPS, "s", "d", one_owner_left);
    put_owner(f, "p");
    put(f, &KUBE_CONFIGMAPS, OWNED("e", REF("p", "u-p", ",\"blockOwnerDeletion\":true"), ",\"finalizers\":[\"x.y/hold\"]"));
    delete (f, &KUBE_CONFIGMAPS, "s", "p", KUBE_FOREGROUND);
    expect(f, there, &KUBE_CONFIGMAPS, "s", "e", deleting);
    struct ctx ctx = ctx_background();
    JSON_REF(patch) = json_parse_str("{\"metadata\":{\"ownerReferences\":null}}", NULL);
    json_unref(
        kube_patch(fake_kube_face(f->fake), &ctx, &KUBE_CONFIGMAPS, "s", "e", KUBE_PATCH_MERGE, json_root(patch), NULL, NULL));
    expect(f, gone, &KUBE_CONFIGMAPS, "s", "p", NULL);
    expect(f, there, &KUBE_CONFIGMAPS, "s", "e", deleting);
}

static bool no_owner(jval *o) { return jv_len(obj_owner_refs(o)) == 0; }

static void test_gc_orphan(void **state)
{
    struct fixture *f = *state;
    put_owner(f, "o");
    put(f, &KUBE_CONFIGMAPS, OWNED("d", REF("o", "u-o", ""), ""));
    expect(f, there, &KUBE_CONFIGMAPS, "s", "d", NULL);
    delete (f, &KUBE_CONFIGMAPS, "s", "o", KUBE_ORPHAN);
    expect(f, gone, &KUBE_CONFIGMAPS, "s", "o", NULL);
    expect(f, there, &KUBE_CONFIGMAPS, "s", "d", no_owner);
}

/* ---- events
 * ---------------------------------------------------------------------------------------------------------------------------- */

static void test_event_ttl(void **state)
{
    struct fixture *f = *state;
    char now[TIME_TEXT_MAX];
    time_format(now, clock_system.wall_ns(&clock_system), TIME_SECONDS);
    put(f, &KUBE_EVENTS, "{\"metadata\":{\"name\":\"old\",\"namespace\":\"s\",\"creationTimestamp\":\"2001-01-01T00:00:00Z\"}}");
    json_unref(fake_put(f->fake, &KUBE_EVENTS,
                        "{\"metadata\":{\"name\":\"counted\",\"namespace\":\"s\",\"creationTimestamp\":\"2001-01-01T00:00:00Z\"},"
                        "\"lastTimestamp\":\"%s\"}",
                        now));
    put(f, &KUBE_EVENTS, "{\"metadata\":{\"name\":\"new\",\"namespace\":\"s\"}}");
    expect(f, gone, &KUBE_EVENTS, "s", "old", NULL);
    expect(f, there, &KUBE_EVENTS, "s", "counted", NULL);
    expect(f, there, &KUBE_EVENTS, "s", "new", NULL);
}

/* Five more than the limit: the oldest make room. */
static void test_event_limit(void **state)
{
    struct fixture *f = *state;
    int64_t now = clock_system.wall_ns(&clock_system);
    for (int i = 0; i < EVENTS_MAX + 5; i++) {
        char at[TIME_TEXT_MAX];
        time_format(at, now - (EVENTS_MAX + 5 - i) * NS_PER_S, TIME_SECONDS);
        json_unref(fake_put(f->fake, &KUBE_EVENTS,
                            "{\"metadata\":{\"name\":\"e%d\",\"namespace\":\"s\",\"creationTimestamp\":\"%s\"}}", i, at));
    }
    expect(f, gone, &KUBE_EVENTS, "s", "e0", NULL);
    expect(f, gone, &KUBE_EVENTS, "s", "e2", NULL);
    expect(f, there, &KUBE_EVENTS, "s", "e10", NULL);
    char last[16];
    snprintf(last, sizeof last, "e%d", EVENTS_MAX + 4);
    expect(f, there, &KUBE_EVENTS, "s", last, NULL);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
TEST_GROUP(controllers, TEST(test_namespace), TEST(test_definition), TEST(test_gc_background), TEST(test_gc_foreground),
           TEST(test_gc_foreground_shared), TEST(test_gc_orphan), TEST(test_event_ttl), TEST(test_event_limit))
