/* Quotas and limits at the door of the server: nothing is given twice, whoever asks at once; what goes is free at once. */
#include "base/fs.h"
#include "base/thread.h"
#include "cluster/apiserver/apiserver.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "unit.h"

static const char *const masters[] = {"system:masters", "system:authenticated", NULL};

struct server {
    char dir[32];
    struct apiserver *a;
    struct kube *kube;
};

static void start(struct server *s)
{
    ERR(e);
    strcpy(s->dir, "/tmp/tm-quota-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    s->a = apiserver_new(&(struct apiserver_config){.data_dir = s->dir}, &e);
    if (!s->a)
        fail_msg("%s", err_text(&e));
    s->kube = apiserver_kube(s->a, &(struct identity){"admin", "", masters, NULL});
}

static void stop(struct server *s)
{
    apiserver_stop(s->a);
    fs_rm_rf(s->dir, NULL);
}

static int create(struct kube *k, const struct kube_res *res, const char *name, const char *rest, struct err *err)
{
    struct ctx ctx = ctx_background();
    AUTOFREE char *text = xasprintf("{\"metadata\":{\"name\":\"%s\"}%s%s}", name, *rest ? "," : "", rest);
    JSON_REF(o) = json_parse_str(text, NULL);
    assert_non_null(o);
    JSON_REF(made) = kube_create(k, &ctx, res, "default", json_root(o), NULL, err);
    return made ? 0 : -1;
}

static void must(struct kube *k, const struct kube_res *res, const char *name, const char *rest)
{
    ERR(e);
    if (create(k, res, name, rest, &e) < 0)
        fail_msg("%s: %s", name, err_text(&e));
}

static void must_not(struct kube *k, const struct kube_res *res, const char *name, const char *rest, const char *want)
{
    ERR(e);
    assert_int_equal(create(k, res, name, rest, &e), -1);
    assert_int_equal(e.code, ERR_FORBIDDEN);
    assert_string_equal(err_text(&e), want);
}

static void gone(struct kube *k, const struct kube_res *res, const char *name)
{
    struct ctx ctx = ctx_background();
    assert_int_equal(kube_delete(k, &ctx, res, "default", name, NULL, NULL, NULL), 0);
}

static void counts(void **state)
{
    struct server s;
    start(&s);
    must(s.kube, &KUBE_RESOURCEQUOTAS, "q", "\"spec\":{\"hard\":{\"configmaps\":\"1\",\"services.nodeports\":\"1\"}}");
    must(s.kube, &KUBE_CONFIGMAPS, "a", "");
    must_not(
        s.kube, &KUBE_CONFIGMAPS, "b", "",
        "configmaps \"b\" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=1, limited: configmaps=1");
    gone(s.kube, &KUBE_CONFIGMAPS, "a");
    must(s.kube, &KUBE_CONFIGMAPS, "b", "");
    must(s.kube, &KUBE_SECRETS, "any", "");
    must(s.kube, &KUBE_SERVICES, "s", "\"spec\":{\"ports\":[{\"name\":\"a\",\"port\":1},{\"name\":\"b\",\"port\":2}]}");
    struct ctx ctx = ctx_background();
    JSON_REF(patch) = json_parse_str("{\"spec\":{\"type\":\"NodePort\"}}", NULL);
    ERR(e);
    assert_null(kube_patch(s.kube, &ctx, &KUBE_SERVICES, "default", "s", KUBE_PATCH_MERGE, json_root(patch), NULL, &e));
    assert_string_equal(err_text(&e), "services \"s\" is forbidden: exceeded quota: q, requested: services.nodeports=2, used: "
                                      "services.nodeports=0, limited: services.nodeports=1");
    stop(&s);
}

struct racer {
    struct kube *kube;
    int id, made;
};

static void *race(void *arg)
{
    struct racer *r = arg;
    for (int i = 0; i < 10; i++) {
        AUTOFREE char *name = xasprintf("c-%d-%d", r->id, i);
        ERR(e);
        if (create(r->kube, &KUBE_CONFIGMAPS, name, "", &e) == 0)
            r->made++;
        else
            assert_non_null(strstr(err_text(&e), "exceeded quota: q"));
    }
    return NULL;
}

static void at_once(void **state)
{
    struct server s;
    start(&s);
    must(s.kube, &KUBE_RESOURCEQUOTAS, "q", "\"spec\":{\"hard\":{\"count/configmaps\":\"17\"}}");
    struct racer r[4];
    pthread_t t[4];
    int made = 0;
    for (int i = 0; i < 4; i++) {
        r[i] = (struct racer){.kube = s.kube, .id = i};
        t[i] = thread_start("racer", race, &r[i]);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
        made += r[i].made;
    }
    assert_int_equal(made, 17);
    stop(&s);
}

#define CLAIM(size) "\"spec\":{\"accessModes\":[\"ReadWriteOnce\"],\"resources\":{\"requests\":{\"storage\":\"" size "\"}}}"

static void claims(void **state)
{
    struct server s;
    start(&s);
    must(s.kube, &KUBE_RESOURCEQUOTAS, "q", "\"spec\":{\"hard\":{\"requests.storage\":\"3Gi\"}}");
    must(s.kube, &KUBE_LIMITRANGES, "l",
         "\"spec\":{\"limits\":[{\"type\":\"PersistentVolumeClaim\",\"max\":{\"storage\":\"2Gi\"}}]}");
    must(s.kube, &KUBE_PERSISTENTVOLUMECLAIMS, "a", CLAIM("2Gi"));
    must_not(s.kube, &KUBE_PERSISTENTVOLUMECLAIMS, "b", CLAIM("2Gi"),
             "persistentvolumeclaims \"b\" is forbidden: exceeded quota: q, requested: requests.storage=2Gi, used: "
             "requests.storage=2Gi, limited: requests.storage=3Gi");
    must_not(
        s.kube, &KUBE_PERSISTENTVOLUMECLAIMS, "c", CLAIM("5Gi"),
        "persistentvolumeclaims \"c\" is forbidden: maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 5Gi");
    stop(&s);
}

TEST_GROUP(quotas, cmocka_unit_test(counts), cmocka_unit_test(at_once), cmocka_unit_test(claims))
