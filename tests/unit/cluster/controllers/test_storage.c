/* Claims, volumes and what is behind Services: the pure rules, and the controllers on a struct kube in memory. */
#include "unit.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "cluster/controllers/controllers.h"
#include "cluster/controllers/endpoints.h"
#include "cluster/controllers/storage.h"
#include "fake_kube.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

static struct json *parse(const char *text)
{
    char *copy = xstrdup(text);
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    struct json *d = json_parse_str(copy, NULL);
    free(copy);
    assert_non_null(d);
    return d;
}

/* ---- which volume fits --------------------------------------------------------------------------------------------- */

static void match(void **state)
{
    static const char *const volumes[] = {
        "{'metadata':{'name':'big'},'spec':{'capacity':{'storage':'10Gi'},'accessModes':['ReadWriteOnce'],'storageClassName':'x'}"
        "}",
        "{'metadata':{'name':'fit'},'spec':{'capacity':{'storage':'2Gi'},'accessModes':['ReadWriteOnce','ReadOnlyMany'],"
        "'storageClassName':'x'}}",
        "{'metadata':{'name':'small'},'spec':{'capacity':{'storage':'1Mi'},'accessModes':['ReadWriteOnce'],'storageClassName':'x'"
        "}}",
        "{'metadata':{'name':'taken'},'spec':{'capacity':{'storage':'1Gi'},'accessModes':['ReadWriteOnce'],'storageClassName':'x'"
        ","
        "'claimRef':{'namespace':'a','name':'other'}}}",
        "{'metadata':{'name':'aside'},'spec':{'capacity':{'storage':'9Gi'},'accessModes':['ReadWriteOnce'],'storageClassName':'x'"
        ","
        "'claimRef':{'namespace':'a','name':'mine'}}}",
        "{'metadata':{'name':'plain','labels':{'disk':'fast'}},'spec':{'capacity':{'storage':'1Gi'},'accessModes':['"
        "ReadWriteOnce']}}",
        "{'metadata':{'name':'block'},'spec':{'capacity':{'storage':'1Gi'},'accessModes':['ReadWriteOnce'],'storageClassName':'x'"
        ","
        "'volumeMode':'Block'}}",
    };
    static const struct {
        const char *name, *spec;
        bool only_aside;
        const char *want;
    } cases[] = {
        {"c", "'storageClassName':'x','accessModes':['ReadWriteOnce'],'resources':{'requests':{'storage':'1Gi'}}", false, "fit"},
        {"c", "'storageClassName':'x','accessModes':['ReadWriteOnce'],'resources':{'requests':{'storage':'3Gi'}}", false, "big"},
        {"c", "'storageClassName':'x','accessModes':['ReadWriteOnce'],'resources':{'requests':{'storage':'30Gi'}}", false, NULL},
        {"c", "'storageClassName':'x','accessModes':['ReadWriteMany'],'resources':{'requests':{'storage':'1Gi'}}", false, NULL},
        {"c", "'storageClassName':'x','accessModes':['ReadWriteOnce'],'resources':{'requests':{'storage':'1Gi'}}", true, NULL},
        {"mine", "'storageClassName':'x','accessModes':['ReadWriteOnce'],'resources':{'requests':{'storage':'1Gi'}}", true,
         "aside"},
        {"c", "'accessModes':['ReadWriteOnce'],'resources':{'requests':{'storage':'1Gi'}}", false, "plain"},
        {"c",
         "'accessModes':['ReadWriteOnce'],'resources':{'requests':{'storage':'1Gi'}},'selector':{'matchLabels':{'disk':'fast'}}",
         false, "plain"},
        {"c",
         "'accessModes':['ReadWriteOnce'],'resources':{'requests':{'storage':'1Gi'}},'selector':{'matchLabels':{'disk':'slow'}}",
         false, NULL},
        {"c",
         "'storageClassName':'x','volumeMode':'Block','accessModes':['ReadWriteOnce'],'resources':{'requests':{'storage':'1'}}",
         false, "block"},
    };
    struct json *docs[ARRAY_LEN(volumes)];
    for (size_t i = 0; i < ARRAY_LEN(volumes); i++)
        docs[i] = parse(volumes[i]);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *text =
            xasprintf("{'metadata':{'namespace':'a','name':'%s','uid':'u'},'spec':{%s}}", cases[i].name, cases[i].spec);
        JSON_REF(claim) = parse(text);
        jval *got = storage_match(json_root(claim), docs, ARRAY_LEN(docs), cases[i].only_aside);
        if (!str_eq(got ? obj_name(got) : NULL, cases[i].want))
            fail_msg("case %zu: got %s", i, got ? obj_name(got) : "none");
    }
    for (size_t i = 0; i < ARRAY_LEN(volumes); i++)
        json_unref(docs[i]);
}

/* ---- endpoints ----------------------------------------------------------------------------------------------------- */

static void expect(struct json *got, const char *want)
{
    AUTOFREE char *text = jv_text(json_root(got), JW_COMPACT);
    for (char *c = text; *c; c++)
        *c = *c == '"' ? '\'' : *c;
    assert_string_equal(text, want);
}

static void endpoints(void **state)
{
    static const char *const texts[] = {
        "{'metadata':{'name':'b','namespace':'n','uid':'2','labels':{'app':'w'}},'spec':{'nodeName':'x','containers':[{'name':'c'"
        ",'ports':"
        "[{'name':'web','containerPort':9090}]}]},'status':{'podIP':'10.0.0.2','phase':'Running','conditions':[{'type':'Ready','"
        "status':"
        "'True'}]}}",
        "{'metadata':{'name':'a','namespace':'n','uid':'1','labels':{'app':'w'}},'spec':{'hostname':'h','subdomain':'s','"
        "containers':[]},"
        "'status':{'podIP':'10.0.0.1','phase':'Running'}}",
        "{'metadata':{'name':'done','namespace':'n','uid':'3','labels':{'app':'w'}},'spec':{},'status':{'podIP':'10.0.0.3','"
        "phase':"
        "'Succeeded'}}",
        "{'metadata':{'name':'else','namespace':'m','uid':'4','labels':{'app':'w'}},'spec':{},'status':{'podIP':'10.0.0.4','"
        "phase':"
        "'Running'}}",
    };
    struct json *pods[ARRAY_LEN(texts)];
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        pods[i] = parse(texts[i]);
    JSON_REF(service) =
        parse("{'metadata':{'name':'s','namespace':'n'},'spec':{'selector':{'app':'w'},'ports':[{'name':'p','protocol':'TCP',"
              "'port':80,'targetPort':'web'},{'name':'q','protocol':'TCP','port':81,'targetPort':81}]}}");
    JSON_REF(slices) = endpoints_want(json_root(service), pods, ARRAY_LEN(pods));
    expect(
        slices,
        "[{'ports':[{'name':'q','protocol':'TCP','port':81}],'endpoints':[{'addresses':['10.0.0.1'],'conditions':{'ready':false,"
        "'serving':false,'terminating':false},'hostname':'h','targetRef':{'kind':'Pod','namespace':'n','name':'a','uid':'1'}}]},"
        "{'ports':[{'name':'p','protocol':'TCP','port':9090},{'name':'q','protocol':'TCP','port':81}],'endpoints':[{'addresses':["
        "'10.0.0.2'],'conditions':{'ready':true,'serving':true,'terminating':false},'targetRef':{'kind':'Pod','namespace':'n','"
        "name':"
        "'b','uid':'2'},'nodeName':'x'}]}]");
    JSON_REF(subsets) = endpoints_subsets_want(json_root(service), pods, ARRAY_LEN(pods));
    expect(
        subsets,
        "[{'ports':[{'name':'q','port':81,'protocol':'TCP'}],'notReadyAddresses':[{'ip':'10.0.0.1','hostname':'h','targetRef':{"
        "'kind':'Pod','namespace':'n','name':'a','uid':'1'}}]},{'ports':[{'name':'p','port':9090,'protocol':'TCP'},{'name':'q',"
        "'port':81,'protocol':'TCP'}],'addresses':[{'ip':'10.0.0.2','nodeName':'x','targetRef':{'kind':'Pod','namespace':'n',"
        "'name':'b','uid':'2'}}]}]");
    JSON_REF(old) =
        parse("{'subsets':[{'addresses':[{'ip':'1.2.3.4'}],'notReadyAddresses':[{'ip':'1.2.3.5'}],'ports':[{'port':80}]}]}");
    JSON_REF(mirror) = endpoints_mirror(json_root(old));
    expect(mirror,
           "[{'endpoints':[{'addresses':['1.2.3.4'],'conditions':{'ready':true}},{'addresses':['1.2.3.5'],'conditions':{'ready':"
           "false}}],'ports':[{'name':'','protocol':'TCP','port':80}]}]");
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        json_unref(pods[i]);
}

/* ---- the controllers ----------------------------------------------------------------------------------------------- */

static void no_kinds(void *self, void (*fn)(void *arg, const struct kube_res *res), void *arg) {}

struct fixture {
    struct fake_kube *fake;
    struct controllers *c;
    char *dir;
};

static void open_all(struct fixture *f)
{
    char dir[] = "/tmp/tm-storage-XXXXXX";
    assert_non_null(mkdtemp(dir));
    f->dir = xstrdup(dir);
    f->fake = fake_kube_new();
    JSON_REF(c) = fake_put(f->fake, &KUBE_STORAGECLASSES,
                           "{\"metadata\":{\"name\":\"wait\"},\"provisioner\":\"" STORAGE_PROVISIONER
                           "\",\"reclaimPolicy\":\"Delete\",\"volumeBindingMode\":\"WaitForFirstConsumer\"}");
    JSON_REF(d) = fake_put(f->fake, &KUBE_STORAGECLASSES,
                           "{\"metadata\":{\"name\":\"now\"},\"provisioner\":\"" STORAGE_PROVISIONER
                           "\",\"reclaimPolicy\":\"Delete\",\"volumeBindingMode\":\"Immediate\"}");
    struct controllers_config cfg = {
        .kube = fake_kube_face(f->fake), .clock = &clock_system, .ca_pem = "PEM", .each_kind = no_kinds, .volumes_dir = f->dir};
    struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, 60 * NS_PER_S);
    f->c = controllers_start(&cfg, &ctx, NULL);
    assert_non_null(f->c);
}

static void close_all(struct fixture *f)
{
    controllers_stop(f->c);
    fake_kube_free(f->fake);
    fs_rm_rf(f->dir, NULL);
    free(f->dir);
}

struct wanted {
    struct fixture *f;
    const struct kube_res *res;
    const char *ns, *name, *phase; /* phase NULL: gone */
};
static bool has_phase(void *arg)
{
    struct wanted *w = arg;
    JSON_REF(o) = fake_get(w->f->fake, w->res, w->ns, w->name);
    return w->phase ? o && str_eq(jv_str(jv_path(json_root(o), "status", "phase", NULL)), w->phase) : !o;
}
static void await(struct fixture *f, const struct kube_res *res, const char *ns, const char *name, const char *phase)
{
    struct wanted w = {f, res, ns, name, phase};
    if (!fake_eventually(has_phase, &w))
        fail_msg("%s %s is not %s", res->kind, name, phase ? phase : "gone");
}

static struct json *put_claim(struct fixture *f, const char *name, const char *class)
{
    return fake_put(f->fake, &KUBE_PERSISTENTVOLUMECLAIMS,
                    "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"default\",\"finalizers\":[\"" CLAIM_PROTECTION
                    "\"]},\"spec\":{\"accessModes\":[\"ReadWriteOnce\"],\"storageClassName\":\"%s\",\"resources\":{\"requests\":{"
                    "\"storage\":\"1Gi\"}}},\"status\":{\"phase\":\"Pending\"}}",
                    name, class);
}

static int drop(struct fixture *f, const struct kube_res *res, const char *ns, const char *name)
{
    struct ctx ctx = ctx_background();
    return kube_delete(fake_kube_face(f->fake), &ctx, res, ns, name, NULL, NULL, NULL);
}

static void a_claim_is_made_and_taken_back(void **state)
{
    struct fixture f;
    open_all(&f);
    JSON_REF(claim) = put_claim(&f, "c", "now");
    await(&f, &KUBE_PERSISTENTVOLUMECLAIMS, "default", "c", "Bound");
    AUTOFREE char *name = xasprintf("pvc-%s", obj_uid(json_root(claim))), *dir = fs_join(f.dir, name);
    await(&f, &KUBE_PERSISTENTVOLUMES, NULL, name, "Bound");
    assert_true(fs_is_dir(dir));
    /* A pod that was bound holds it. */
    JSON_REF(pod) = fake_put(
        f.fake, &KUBE_PODS,
        "{\"metadata\":{\"name\":\"p\",\"namespace\":\"default\"},\"spec\":{\"nodeName\":\"n\",\"volumes\":[{\"name\":\"v\","
        "\"persistentVolumeClaim\":{\"claimName\":\"c\"}}]}}");
    assert_int_equal(drop(&f, &KUBE_PERSISTENTVOLUMECLAIMS, "default", "c"), 0);
    usleep(50000);
    await(&f, &KUBE_PERSISTENTVOLUMECLAIMS, "default", "c", "Bound");
    fake_remove(f.fake, &KUBE_PODS, "default", "p");
    await(&f, &KUBE_PERSISTENTVOLUMECLAIMS, "default", "c", NULL);
    await(&f, &KUBE_PERSISTENTVOLUMES, NULL, name, NULL);
    assert_false(fs_exists(dir));
    close_all(&f);
}

static void a_claim_waits_for_a_node(void **state)
{
    struct fixture f;
    open_all(&f);
    JSON_REF(claim) = put_claim(&f, "c", "wait");
    usleep(50000);
    assert_int_equal(fake_count(f.fake, &KUBE_PERSISTENTVOLUMES, NULL), 0);
    JM_NEW(m);
    jm_set_root(m, jm_obj(m));
    jm_put(m, object_meta_make_annotations(m, persistent_volume_claim_make_metadata(m, jm_root(m))), SELECTED_NODE,
           jm_str(m, "n1"));
    JSON_REF(patch) = jm_freeze(m);
    struct ctx ctx = ctx_background();
    JSON_REF(now) = kube_patch(fake_kube_face(f.fake), &ctx, &KUBE_PERSISTENTVOLUMECLAIMS, "default", "c", KUBE_PATCH_MERGE,
                               json_root(patch), NULL, NULL);
    assert_non_null(now);
    await(&f, &KUBE_PERSISTENTVOLUMECLAIMS, "default", "c", "Bound");
    assert_int_equal(fake_count(f.fake, &KUBE_PERSISTENTVOLUMES, NULL), 1);
    close_all(&f);
}

/* Whoever may write volumes cannot make us remove what is not ours. */
static void only_what_was_made_is_removed(void **state)
{
    struct fixture f;
    open_all(&f);
    AUTOFREE char *precious = fs_join(f.dir, "precious");
    assert_int_equal(mkdir(precious, 0755), 0);
    JSON_REF(v) =
        fake_put(f.fake, &KUBE_PERSISTENTVOLUMES,
                 "{\"metadata\":{\"name\":\"pvc-1\",\"annotations\":{\"" PROVISIONED_BY "\":\"" STORAGE_PROVISIONER
                 "\"}},\"spec\":{\"hostPath\":{\"path\":\"%s\"},\"persistentVolumeReclaimPolicy\":\"Delete\",\"claimRef\":{"
                 "\"namespace\":\"default\",\"name\":\"gone\",\"uid\":\"x\"}}}",
                 precious);
    await(&f, &KUBE_PERSISTENTVOLUMES, NULL, "pvc-1", "Failed");
    assert_true(fs_is_dir(precious));
    JSON_REF(kept) =
        fake_put(f.fake, &KUBE_PERSISTENTVOLUMES,
                 "{\"metadata\":{\"name\":\"kept\"},\"spec\":{\"hostPath\":{\"path\":\"%s\"},\"persistentVolumeReclaimPolicy\":"
                 "\"Retain\",\"claimRef\":{\"namespace\":\"default\",\"name\":\"gone\",\"uid\":\"x\"}}}",
                 precious);
    await(&f, &KUBE_PERSISTENTVOLUMES, NULL, "kept", "Released");
    assert_true(fs_is_dir(precious));
    close_all(&f);
}

#define MADE(policy)                                                                                                             \
    "{\"metadata\":{\"name\":\"pvc-1\",\"annotations\":{\"" PROVISIONED_BY "\":\"" STORAGE_PROVISIONER                           \
    "\"}},\"spec\":{\"hostPath\":{\"path\":\"%s\"},\"persistentVolumeReclaimPolicy\":\"" policy                                  \
    "\",\"claimRef\":{\"namespace\":\"default\",\"name\":\"gone\",\"uid\":\"x\"}},\"status\":{\"phase\":\"Released\"}}"

static bool watch_is_refused(void *arg) { return fake_calls(arg, "watch", "persistentvolumes") >= 2; }

/* Somebody chose to keep a volume, and the cache has not heard of it: nothing is removed. */
static void an_old_view_removes_nothing(void **state)
{
    char top[] = "/tmp/tm-storage-XXXXXX";
    assert_non_null(mkdtemp(top));
    AUTOFREE char *dir = fs_join(top, "pvc-1");
    assert_int_equal(mkdir(dir, 0755), 0);
    struct fake_kube *fake = fake_kube_new();
    struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, 60 * NS_PER_S);
    json_unref(fake_put(fake, &KUBE_PERSISTENTVOLUMES, MADE("Delete"), dir));
    struct controllers_config cfg = {.kube = fake_kube_face(fake), .clock = &clock_system, .volumes_dir = top};
    struct storage s = {
        .cfg = &cfg,
        .volumes = informer_new(&(struct informer_config){.kube = cfg.kube, .res = &KUBE_PERSISTENTVOLUMES, .clock = cfg.clock})};
    informer_start(s.volumes);
    assert_int_equal(informer_wait_synced(s.volumes, &ctx, NULL), 0);
    while (fake_calls(fake, "watch", "persistentvolumes") < 1)
        usleep(1000);
    fake_fail(fake, "watch", "persistentvolumes", 100, ERR_UNAVAILABLE);
    fake_end_watches(fake, "persistentvolumes", ERR_UNAVAILABLE);
    assert_true(fake_eventually(watch_is_refused, fake));
    json_unref(fake_put(fake, &KUBE_PERSISTENTVOLUMES, MADE("Retain"), dir));
    struct reconcile_result res = {0};
    assert_int_equal(storage_volume(&s, &ctx, "pvc-1", &res, NULL), 0);
    assert_true(res.again_after_ns > 0);
    assert_true(fs_is_dir(dir));
    informer_stop(s.volumes);
    fake_kube_free(fake);
    fs_rm_rf(top, NULL);
}

static bool is_free(void *arg)
{
    JSON_REF(v) = fake_get(((struct fixture *)arg)->fake, &KUBE_PERSISTENTVOLUMES, NULL, "second");
    return !persistent_volume_spec_claim_ref(persistent_volume_spec(json_root(v))) &&
           !obj_annotation(json_root(v), BOUND_BY_CONTROLLER) &&
           str_eq(persistent_volume_status_phase(persistent_volume_status(json_root(v))), "Available");
}

/* Two volumes were set aside for one claim, which took the first. */
static void the_second_choice_is_free_again(void **state)
{
    struct fixture f;
    open_all(&f);
    JSON_REF(claim) = fake_put(f.fake, &KUBE_PERSISTENTVOLUMECLAIMS,
                               "{\"metadata\":{\"name\":\"c\",\"namespace\":\"default\",\"annotations\":{\"" BIND_COMPLETED
                               "\":\"yes\"}},\"spec\":{\"volumeName\":\"first\"},\"status\":{\"phase\":\"Bound\"}}");
    json_unref(fake_put(f.fake, &KUBE_PERSISTENTVOLUMES,
                        "{\"metadata\":{\"name\":\"second\",\"annotations\":{\"" BOUND_BY_CONTROLLER
                        "\":\"yes\"}},\"spec\":{\"persistentVolumeReclaimPolicy\":\"Delete\",\"claimRef\":{\"namespace\":"
                        "\"default\",\"name\":\"c\",\"uid\":\"%s\"}}}",
                        obj_uid(json_root(claim))));
    assert_true(fake_eventually(is_free, &f));
    close_all(&f);
}

/* Killed between the directory and its volume; the claim is gone by now. */
static void what_a_kill_left_goes(void **state)
{
    struct fixture f;
    open_all(&f);
    AUTOFREE char *empty = fs_join(f.dir, "pvc-empty"), *full = fs_join(f.dir, "pvc-full"), *other = fs_join(f.dir, "other"),
                  *used = fs_join(f.dir, "pvc-used"), *file = fs_join(full, "file");
    const char *const dirs[] = {empty, full, other, used};
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
        assert_int_equal(mkdir(dirs[i], 0755), 0);
    assert_int_equal(fs_write_atomic(file, "x", 1, 0644, NULL), 0);
    JSON_REF(v) = fake_put(f.fake, &KUBE_PERSISTENTVOLUMES,
                           "{\"metadata\":{\"name\":\"pvc-used\"},\"spec\":{\"persistentVolumeReclaimPolicy\":\"Retain\"}}");
    struct controllers_config cfg = {.kube = fake_kube_face(f.fake), .volumes_dir = f.dir};
    struct ctx ctx = ctx_background();
    storage_sweep(&cfg, &ctx);
    assert_false(fs_exists(empty));
    assert_true(fs_exists(file) && fs_is_dir(other) && fs_is_dir(used));
    close_all(&f);
}

static void ephemeral_volumes_get_claims(void **state)
{
    struct fixture f;
    open_all(&f);
    JSON_REF(pod) = fake_put(
        f.fake, &KUBE_PODS,
        "{\"metadata\":{\"name\":\"p\",\"namespace\":\"default\"},\"spec\":{\"volumes\":[{\"name\":\"v\",\"ephemeral\":{"
        "\"volumeClaimTemplate\":{\"spec\":{\"accessModes\":[\"ReadWriteOnce\"],\"storageClassName\":\"now\",\"resources\":"
        "{\"requests\":{\"storage\":\"1\"}}}}}}]}}");
    await(&f, &KUBE_PERSISTENTVOLUMECLAIMS, "default", "p-v", "Bound");
    JSON_REF(claim) = fake_get(f.fake, &KUBE_PERSISTENTVOLUMECLAIMS, "default", "p-v");
    assert_true(obj_is_controlled_by(json_root(claim), obj_uid(json_root(pod))));
    close_all(&f);
}

TEST_GROUP(storage, cmocka_unit_test(match), cmocka_unit_test(endpoints), cmocka_unit_test(a_claim_is_made_and_taken_back),
           cmocka_unit_test(a_claim_waits_for_a_node), cmocka_unit_test(only_what_was_made_is_removed),
           cmocka_unit_test(an_old_view_removes_nothing), cmocka_unit_test(the_second_choice_is_free_again),
           cmocka_unit_test(what_a_kill_left_goes), cmocka_unit_test(ephemeral_volumes_get_claims))
