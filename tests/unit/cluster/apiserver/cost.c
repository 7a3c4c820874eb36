/* What requests with large objects cost, counted and not timed: this program links base/, value/, kube/ and the API server
 * compiled with -fsanitize-coverage=trace-pc, so that each basic block they pass is one step. A body of twice the size may not
 * take three times the steps: what is quadratic takes four, and holds a worker for minutes when somebody means harm. */
#include "base/fs.h"
#include "cluster/apiserver/apiserver.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "kube/wire/decode.h"
#include "unit.h"

static _Thread_local unsigned long steps;
void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void) { steps++; }

enum { SMALL = 3000 };

static const struct kube_res things = {"ex.org", "v1", "things", "Thing", true};

struct room {
    char dir[32];
    struct apiserver *a;
    struct kube *kube;
};

/* ---- bodies ------------------------------------------------------------------------------------------------------------------
 */

/* `template` with the one '@' replaced by n pieces, each `piece` with '#' replaced by its number, with commas between. */
static struct json *body(const char *template, const char *piece, int n)
{
    BUF(b);
    for (const char *s = template; *s; s++) {
        if (*s != '@') {
            buf_addc(&b, *s);
            continue;
        }
        for (int i = 0; i < n; i++) {
            buf_adds(&b, i ? "," : "");
            for (const char *p = piece; *p; p++)
                if (*p == '#')
                    buf_addf(&b, "%d", i);
                else
                    buf_addc(&b, *p);
        }
    }
    ERR(e);
    struct json *d = json_parse(buf_str(&b), b.len, NULL, &e);
    if (!d)
        fail_msg("%s: %s", template, err_text(&e));
    return d;
}

enum how { CREATE, UPDATE, APPLY, MERGE, STRATEGIC, JSON };

struct cost_case {
    const char *what;
    const struct kube_res *res;
    const char *was, *was_piece; /* the object before; NULL: none */
    enum how how;
    const char *body, *piece;
    int small; /* 0: SMALL */
};

#define CM(data)    "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"x\"},\"data\":{" data "}}"
#define META(more)  "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"x\"," more "}}"
#define POD(more)   "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"x\"},\"spec\":{" more "}}"
#define ONE(more)   POD("\"containers\":[{\"name\":\"c\",\"image\":\"i\"," more "}]")
#define SVC(more)   "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"x\"},\"spec\":{" more "}}"
#define THING(more) "{\"apiVersion\":\"ex.org/v1\",\"kind\":\"Thing\",\"metadata\":{\"name\":\"x\"},\"spec\":{" more "}}"
#define CRD(schema)                                                                                                              \
    "{\"apiVersion\":\"apiextensions.k8s.io/v1\",\"kind\":\"CustomResourceDefinition\",\"metadata\":{\"name\":\"xs.many.org\"}," \
    "\"spec\":{\"group\":\"many.org\",\"scope\":\"Namespaced\",\"names\":{\"plural\":\"xs\",\"kind\":\"X\"},\"versions\":[{"     \
    "\"name\":\"v1\",\"served\":true,\"storage\":true," schema "}]}}"
#define KV "\"k#\":\"v\""

static const struct cost_case cases[] = {
    {"create flat", &KUBE_CONFIGMAPS, NULL, NULL, CREATE, CM("@"), KV, 0},
    {"update flat", &KUBE_CONFIGMAPS, CM("@"), KV, UPDATE, CM("@"), "\"k#\":\"w\"", 0},
    {"update to other keys", &KUBE_CONFIGMAPS, CM("@"), KV, UPDATE, CM("@"), "\"m#\":\"w\"", 0},
    {"update in another order", &KUBE_CONFIGMAPS, CM("@"), KV, UPDATE, CM("\"last\":\"w\",@"), KV, 0},
    {"apply anew", &KUBE_CONFIGMAPS, NULL, NULL, APPLY, CM("@"), KV, 0},
    {"apply again", &KUBE_CONFIGMAPS, CM("@"), KV, APPLY, CM("@"), KV, 0},
    {"apply other values", &KUBE_CONFIGMAPS, CM("@"), KV, APPLY, CM("@"), "\"k#\":\"w\"", 0},
    {"apply other keys", &KUBE_CONFIGMAPS, CM("@"), KV, APPLY, CM("@"), "\"m#\":\"w\"", 0},
    {"apply nothing", &KUBE_CONFIGMAPS, CM("@"), KV, APPLY, CM(""), "", 0},
    {"merge values", &KUBE_CONFIGMAPS, CM("@"), KV, MERGE, "{\"data\":{@}}", "\"k#\":\"w\"", 0},
    {"merge new keys", &KUBE_CONFIGMAPS, CM("@"), KV, MERGE, "{\"data\":{@}}", "\"m#\":\"w\"", 0},
    {"merge away", &KUBE_CONFIGMAPS, CM("@"), KV, MERGE, "{\"data\":{@}}", "\"k#\":null", 0},
    {"merge away what is not there", &KUBE_CONFIGMAPS, CM("@"), KV, MERGE, "{\"data\":{@}}", "\"m#\":null", 0},
    {"strategic values", &KUBE_CONFIGMAPS, CM("@"), KV, STRATEGIC, "{\"data\":{@}}", "\"k#\":\"w\"", 0},
    {"strategic new keys", &KUBE_CONFIGMAPS, CM("@"), KV, STRATEGIC, "{\"data\":{@}}", "\"m#\":\"w\"", 0},
    {"JSON patch adds", &KUBE_CONFIGMAPS, CM("@"), KV, JSON, "[@]", "{\"op\":\"add\",\"path\":\"/data/m#\",\"value\":\"w\"}", 0},
    {"JSON patch replaces", &KUBE_CONFIGMAPS, CM("@"), KV, JSON, "[@]",
     "{\"op\":\"replace\",\"path\":\"/data/k#\",\"value\":\"w\"}", 0},
    {"JSON patch removes", &KUBE_CONFIGMAPS, CM("@"), KV, JSON, "[@]", "{\"op\":\"remove\",\"path\":\"/data/k#\"}", 0},
    {"JSON patch tests", &KUBE_CONFIGMAPS, CM("@"), KV, JSON, "[@]", "{\"op\":\"test\",\"path\":\"/data/k#\",\"value\":\"v\"}",
     0},
    {"labels", &KUBE_CONFIGMAPS, NULL, NULL, CREATE, META("\"labels\":{@}"), KV, 0},
    {"annotations", &KUBE_CONFIGMAPS, NULL, NULL, CREATE, META("\"annotations\":{@}"), KV, 0},
    {"finalizers", &KUBE_CONFIGMAPS, NULL, NULL, CREATE, META("\"finalizers\":[@]"), "\"a.b/f#\"", 0},
    {"owners", &KUBE_CONFIGMAPS, NULL, NULL, CREATE, META("\"ownerReferences\":[@]"),
     "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"p\",\"uid\":\"u#\"}", 0},
    {"owners applied", &KUBE_CONFIGMAPS, META("\"ownerReferences\":[@]"),
     "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"p\",\"uid\":\"u#\"}", APPLY, META("\"ownerReferences\":[@]"),
     "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"p\",\"uid\":\"u#\"}", 0},
    {"secret", &KUBE_SECRETS, NULL, NULL, CREATE,
     "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"x\"},\"stringData\":{@}}", KV, 0},
    {"environment", &KUBE_PODS, NULL, NULL, CREATE, ONE("\"env\":[@]"), "{\"name\":\"E#\",\"value\":\"v\"}", 0},
    {"environment applied", &KUBE_PODS, ONE("\"env\":[@]"), "{\"name\":\"E#\",\"value\":\"v\"}", APPLY, ONE("\"env\":[@]"),
     "{\"name\":\"E#\",\"value\":\"v\"}", 0},
    {"ports of a container", &KUBE_PODS, NULL, NULL, CREATE, ONE("\"ports\":[@]"), "{\"containerPort\":1#,\"name\":\"p#\"}",
     1500},
    {"volumes and mounts", &KUBE_PODS, NULL, NULL, CREATE,
     POD("\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"volumeMounts\":[{\"name\":\"v0\",\"mountPath\":\"/m\"}]}],"
         "\"volumes\":[@]"),
     "{\"name\":\"v#\",\"emptyDir\":{}}", 0},
    {"mounts", &KUBE_PODS, NULL, NULL, CREATE,
     POD("\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"volumeMounts\":[@]}],\"volumes\":[{\"name\":\"v\",\"emptyDir\":{}}]"),
     "{\"name\":\"v\",\"mountPath\":\"/m#\"}", 0},
    {"mounts of nothing", &KUBE_PODS, NULL, NULL, CREATE, ONE("\"volumeMounts\":[@]"), "{\"name\":\"v#\",\"mountPath\":\"/m#\"}",
     0},
    {"containers", &KUBE_PODS, NULL, NULL, CREATE, POD("\"containers\":[@]"), "{\"name\":\"c#\",\"image\":\"i\"}", 0},
    {"init containers", &KUBE_PODS, NULL, NULL, CREATE,
     POD("\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"initContainers\":[@]"), "{\"name\":\"i#\",\"image\":\"i\"}", 0},
    {"containers of one name", &KUBE_PODS, NULL, NULL, CREATE, POD("\"containers\":[@]"), "{\"name\":\"c\",\"image\":\"i\"}", 0},
    {"tolerations", &KUBE_PODS, NULL, NULL, CREATE, POD("\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"tolerations\":[@]"),
     "{\"key\":\"k#\",\"operator\":\"Exists\"}", 0},
    {"unknown fields", &KUBE_PODS, NULL, NULL, CREATE, ONE("@"), KV, 0},
    {"limits", &KUBE_PODS, NULL, NULL, CREATE, ONE("\"resources\":{\"limits\":{@}}"), "\"a.b/r#\":\"1\"", 0},
    {"host aliases", &KUBE_PODS, NULL, NULL, CREATE, POD("\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"hostAliases\":[@]"),
     "{\"ip\":\"10.0.0.1\",\"hostnames\":[\"h#\"]}", 0},
    {"pull secrets", &KUBE_PODS, NULL, NULL, CREATE,
     POD("\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"imagePullSecrets\":[@]"), "{\"name\":\"s#\"}", 0},
    {"topology spread", &KUBE_PODS, NULL, NULL, CREATE,
     POD("\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"topologySpreadConstraints\":[@]"),
     "{\"maxSkew\":1,\"topologyKey\":\"k#\",\"whenUnsatisfiable\":\"DoNotSchedule\",\"labelSelector\":{}}", 0},
    {"values of a selector", &KUBE_PODS, NULL, NULL, CREATE,
     POD("\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"affinity\":{\"podAffinity\":{"
         "\"requiredDuringSchedulingIgnoredDuringExecution\":[{\"topologyKey\":\"k\",\"labelSelector\":{\"matchExpressions\":[{"
         "\"key\":\"a\",\"operator\":\"In\",\"values\":[@]}]}}]}}"),
     "\"v#\"", 0},
    {"claims of a container", &KUBE_PODS, NULL, NULL, CREATE,
     POD("\"resourceClaims\":[{\"name\":\"r0\"}],\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"resources\":{\"claims\":[@]}}"
         "]"),
     "{\"name\":\"r#\"}", 0},
    {"sysctls", &KUBE_PODS, NULL, NULL, CREATE,
     POD("\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"securityContext\":{\"sysctls\":[@]}"),
     "{\"name\":\"net.x#\",\"value\":\"1\"}", 0},
    {"environment merged by name", &KUBE_PODS, ONE("\"env\":[@]"), "{\"name\":\"E#\",\"value\":\"v\"}", STRATEGIC,
     "{\"spec\":{\"containers\":[{\"name\":\"c\",\"env\":[@]}]}}", "{\"name\":\"E#\",\"value\":\"w\"}", 0},
    {"environment taken away", &KUBE_PODS, ONE("\"env\":[@]"), "{\"name\":\"E#\",\"value\":\"v\"}", STRATEGIC,
     "{\"spec\":{\"containers\":[{\"name\":\"c\",\"env\":[@]}]}}", "{\"name\":\"E#\",\"$patch\":\"delete\"}", 0},
    {"finalizers merged", &KUBE_CONFIGMAPS, META("\"finalizers\":[@]"), "\"a.b/f#\"", STRATEGIC,
     "{\"metadata\":{\"finalizers\":[@]}}", "\"a.b/g#\"", 0},
    {"finalizers taken away", &KUBE_CONFIGMAPS, META("\"finalizers\":[@]"), "\"a.b/f#\"", STRATEGIC,
     "{\"metadata\":{\"$deleteFromPrimitiveList/finalizers\":[@]}}", "\"a.b/f#\"", 0},
    {"ports of a service", &KUBE_SERVICES, NULL, NULL, CREATE, SVC("\"ports\":[@]"), "{\"name\":\"p#\",\"port\":1#}", 1500},
    {"node ports kept", &KUBE_SERVICES, SVC("\"type\":\"NodePort\",\"ports\":[@]"), "{\"name\":\"p#\",\"port\":1#}", UPDATE,
     SVC("\"type\":\"NodePort\",\"ports\":[@]"), "{\"name\":\"q#\",\"port\":1#}", 700},
    {"taints", &KUBE_NODES, NULL, NULL, CREATE,
     "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"x\"},\"spec\":{\"taints\":[@]}}",
     "{\"key\":\"k#\",\"effect\":\"NoSchedule\"}", 0},
    {"rules of a role", &KUBE_ROLES, NULL, NULL, CREATE,
     "{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":\"Role\",\"metadata\":{\"name\":\"x\"},\"rules\":[@]}",
     "{\"apiGroups\":[\"\"],\"resources\":[\"r#\"],\"verbs\":[\"get\"]}", 0},
    {"subjects of a binding", &KUBE_ROLEBINDINGS, NULL, NULL, CREATE,
     "{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":\"RoleBinding\",\"metadata\":{\"name\":\"x\"},\"roleRef\":"
     "{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"ClusterRole\",\"name\":\"view\"},\"subjects\":[@]}",
     "{\"kind\":\"User\",\"apiGroup\":\"rbac.authorization.k8s.io\",\"name\":\"u#\"}", 0},
    {"quota", &KUBE_RESOURCEQUOTAS, NULL, NULL, CREATE,
     "{\"apiVersion\":\"v1\",\"kind\":\"ResourceQuota\",\"metadata\":{\"name\":\"x\"},\"spec\":{\"hard\":{@}}}",
     "\"count/r#\":\"1000000\"", 0},
    {"scopes of a quota", &KUBE_RESOURCEQUOTAS, NULL, NULL, CREATE,
     "{\"apiVersion\":\"v1\",\"kind\":\"ResourceQuota\",\"metadata\":{\"name\":\"x\"},\"spec\":{\"hard\":{\"pods\":\"1\"},"
     "\"scopes\":[@]}}",
     "\"s#\"", 0},
    {"limit range", &KUBE_LIMITRANGES, NULL, NULL, CREATE,
     "{\"apiVersion\":\"v1\",\"kind\":\"LimitRange\",\"metadata\":{\"name\":\"x\"},\"spec\":{\"limits\":[{\"type\":\"Container\","
     "\"max\":{@}}]}}",
     "\"a.b/r#\":\"1\"", 0},
    {"custom: unknown fields", &things, NULL, NULL, CREATE, THING("@"), KV, 0},
    {"custom: free map", &things, NULL, NULL, CREATE, THING("\"map\":{@}"), KV, 0},
    {"custom: free map applied", &things, THING("\"map\":{@}"), KV, APPLY, THING("\"map\":{@}"), "\"m#\":\"w\"", 0},
    {"custom: nulls with a default", &things, NULL, NULL, CREATE, THING("\"map\":{@}"), "\"k#\":null", 0},
    {"custom: nulls without", &things, NULL, NULL, CREATE, THING("\"bare\":{@}"), "\"k#\":null", 0},
    {"custom: list of nulls", &things, NULL, NULL, CREATE, THING("\"list\":[@]"), "null", 0},
    {"custom: keyed list", &things, NULL, NULL, CREATE, THING("\"keyed\":[@]"), "{\"name\":\"n#\"}", 0},
    {"custom: keyed list updated", &things, THING("\"keyed\":[@]"), "{\"name\":\"n#\"}", UPDATE, THING("\"keyed\":[@]"),
     "{\"name\":\"n#\",\"v\":1}", 0},
    {"custom: keyed list applied", &things, THING("\"keyed\":[@]"), "{\"name\":\"n#\"}", APPLY, THING("\"keyed\":[@]"),
     "{\"name\":\"m#\"}", 0},
    {"custom: set", &things, NULL, NULL, CREATE, THING("\"set\":[@]"), "\"s#\"", 0},
    {"custom: set updated", &things, THING("\"set\":[@]"), "\"s#\"", UPDATE, THING("\"set\":[@]"), "\"t#\"", 0},
    {"custom: anything", &things, THING("\"any\":{@}"), KV, APPLY, THING("\"any\":{@}"), "\"k#\":[1,2]", 0},
    {"custom: list updated", &things, THING("\"list\":[@]"), "\"a#\"", UPDATE, THING("\"list\":[@]"), "\"b#\"", 0},
    {"definition: properties", &KUBE_CUSTOMRESOURCEDEFINITIONS, NULL, NULL, CREATE,
     CRD("\"schema\":{\"openAPIV3Schema\":{\"type\":\"object\",\"properties\":{\"spec\":{\"type\":\"object\",\"properties\":"
         "{@}}}}}"),
     "\"p#\":{\"type\":\"string\",\"default\":\"v\"}", 0},
    {"definition: required", &KUBE_CUSTOMRESOURCEDEFINITIONS, NULL, NULL, CREATE,
     CRD("\"schema\":{\"openAPIV3Schema\":{\"type\":\"object\",\"properties\":{\"spec\":{\"type\":\"object\",\"required\":[@]}}"
         "}}"),
     "\"p#\"", 0},
    {"definition: enum", &KUBE_CUSTOMRESOURCEDEFINITIONS, NULL, NULL, CREATE,
     CRD("\"schema\":{\"openAPIV3Schema\":{\"type\":\"object\",\"properties\":{\"spec\":{\"type\":\"string\",\"enum\":[@]}}}}"),
     "\"p#\"", 0},
    {"definition: columns", &KUBE_CUSTOMRESOURCEDEFINITIONS, NULL, NULL, CREATE,
     CRD("\"schema\":{\"openAPIV3Schema\":{\"type\":\"object\"}},\"additionalPrinterColumns\":[@]"),
     "{\"name\":\"C#\",\"type\":\"string\",\"jsonPath\":\".spec.c#\"}", 0},
    {"definition: short names", &KUBE_CUSTOMRESOURCEDEFINITIONS, NULL, NULL, CREATE,
     "{\"apiVersion\":\"apiextensions.k8s.io/v1\",\"kind\":\"CustomResourceDefinition\",\"metadata\":{\"name\":\"xs.many.org\"},"
     "\"spec\":{\"group\":\"many.org\",\"scope\":\"Namespaced\",\"names\":{\"plural\":\"xs\",\"kind\":\"X\",\"shortNames\":[@]},"
     "\"versions\":[{\"name\":\"v1\",\"served\":true,\"storage\":true,\"schema\":{\"openAPIV3Schema\":{\"type\":\"object\"}}}]}}",
     "\"s#\"", 0},
    {"definition: versions", &KUBE_CUSTOMRESOURCEDEFINITIONS, NULL, NULL, CREATE,
     "{\"apiVersion\":\"apiextensions.k8s.io/v1\",\"kind\":\"CustomResourceDefinition\",\"metadata\":{\"name\":\"xs.many.org\"},"
     "\"spec\":{\"group\":\"many.org\",\"scope\":\"Namespaced\",\"names\":{\"plural\":\"xs\",\"kind\":\"X\"},"
     "\"versions\":[{\"name\":\"v0\",\"served\":true,\"storage\":true,\"schema\":{\"openAPIV3Schema\":{\"type\":\"object\"}}},@]}"
     "}",
     "{\"name\":\"v1#\",\"served\":true,\"storage\":false,\"schema\":{\"openAPIV3Schema\":{\"type\":\"object\"}}}", 500},
};

/* ---- counting ----------------------------------------------------------------------------------------------------------------
 */

static const char definition[] =
    "{\"apiVersion\":\"apiextensions.k8s.io/v1\",\"kind\":\"CustomResourceDefinition\",\"metadata\":{\"name\":\"things.ex.org\"},"
    "\"spec\":{\"group\":\"ex.org\",\"scope\":\"Namespaced\",\"names\":{\"plural\":\"things\",\"kind\":\"Thing\"},\"versions\":[{"
    "\"name\":\"v1\",\"served\":true,\"storage\":true,\"schema\":{\"openAPIV3Schema\":{\"type\":\"object\",\"properties\":{"
    "\"spec\":"
    "{\"type\":\"object\",\"properties\":{"
    "\"map\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\",\"default\":\"d\"}},"
    "\"bare\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}},"
    "\"any\":{\"type\":\"object\",\"x-kubernetes-preserve-unknown-fields\":true},"
    "\"list\":{\"type\":\"array\",\"items\":{\"type\":\"string\",\"default\":\"d\"}},"
    "\"set\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"set\",\"items\":{\"type\":\"string\"}},"
    "\"keyed\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"map\",\"x-kubernetes-list-map-keys\":[\"name\"],\"items\":"
    "{\"type\":\"object\",\"required\":[\"name\"],\"properties\":{\"name\":{\"type\":\"string\"},\"v\":{\"type\":\"integer\"}}}}"
    "}}}}}}]}}";

static int open_room(void **state)
{
    static const char *const masters[] = {"system:masters", "system:authenticated", NULL};
    struct room *r = xcalloc(1, sizeof *r);
    strcpy(r->dir, "/tmp/tm-cost-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    ERR(e);
    r->a = apiserver_new(&(struct apiserver_config){.data_dir = r->dir}, &e);
    if (!r->a)
        fail_msg("%s", err_text(&e));
    r->kube = apiserver_kube(r->a, &(struct identity){"admin", "", masters, NULL});
    struct ctx ctx = ctx_background();
    JSON_REF(crd) = json_parse_str(definition, &e);
    JSON_REF(made) = kube_create(r->kube, &ctx, &KUBE_CUSTOMRESOURCEDEFINITIONS, NULL, json_root(crd), NULL, &e);
    if (!made)
        fail_msg("%s", err_text(&e));
    JSON_REF(account) =
        json_parse_str("{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount\",\"metadata\":{\"name\":\"default\"}}", &e);
    JSON_REF(there) = kube_create(r->kube, &ctx, &KUBE_SERVICEACCOUNTS, "default", json_root(account), NULL, &e);
    if (!there)
        fail_msg("%s", err_text(&e));
    *state = r;
    return 0;
}

static int close_room(void **state)
{
    struct room *r = *state;
    apiserver_stop(r->a);
    fs_rm_rf(r->dir, NULL);
    free(r);
    return 0;
}

static struct json *act(struct room *r, const struct cost_case *c, const char *ns, enum how how, jval *v, struct err *err)
{
    static const enum kube_patch types[] = {
        [APPLY] = KUBE_PATCH_APPLY, [MERGE] = KUBE_PATCH_MERGE, [STRATEGIC] = KUBE_PATCH_STRATEGIC, [JSON] = KUBE_PATCH_JSON};
    struct ctx ctx = ctx_background();
    struct kube_opts opts = {.field_manager = "cost"};
    if (how == CREATE)
        return kube_create(r->kube, &ctx, c->res, ns, v, &opts, err);
    if (how == UPDATE) {
        JSON_REF(there) = kube_get(r->kube, &ctx, c->res, ns, obj_name(v), NULL, err);
        JM(m, v);
        jm_put(m, jm_obj_at(m, jm_root(m), "metadata"), "resourceVersion", jm_str(m, obj_rv_text(json_root(there))));
        JSON_REF(with) = jm_freeze(m);
        return kube_update(r->kube, &ctx, c->res, ns, obj_name(v), json_root(with), &opts, err);
    }
    return kube_patch(r->kube, &ctx, c->res, ns, "x", types[how], v, &opts, err);
}

/* The steps of one request. It may be refused: refusing has to be cheap, too. */
static unsigned long cost(struct room *r, const struct cost_case *c, int n, char **outcome)
{
    struct ctx ctx = ctx_background();
    const char *ns = c->res->namespaced ? "default" : NULL;
    ERR(e);
    if (c->was) {
        JSON_REF(was) = body(c->was, c->was_piece, n);
        JSON_REF(made) = act(r, c, ns, c->how == APPLY ? APPLY : CREATE, json_root(was), &e);
        if (!made)
            fail_msg("%s: %s", c->what, err_text(&e));
    }
    JSON_REF(given) = body(c->body, c->piece, n);
    unsigned long before = steps;
    JSON_REF(done) = act(r, c, ns, c->how, json_root(given), &e);
    unsigned long took = steps - before;
    *outcome = done ? xstrdup("done") : xasprintf("%.60s", err_text(&e));
    int64_t now = 0;
    kube_delete(r->kube, &ctx, c->res, ns, "x", &((struct kube_opts){.grace_seconds = &now}), NULL, NULL);
    if (c->res == &KUBE_CUSTOMRESOURCEDEFINITIONS)
        kube_delete(r->kube, &ctx, c->res, ns, "xs.many.org", NULL, NULL, NULL);
    JSON_REF(bare) = json_parse_str("{\"metadata\":{\"finalizers\":null}}", NULL); /* they would keep it */
    const char *name = c->res == &KUBE_CUSTOMRESOURCEDEFINITIONS ? "xs.many.org" : "x";
    JSON_REF(gone) = kube_patch(r->kube, &ctx, c->res, ns, name, KUBE_PATCH_MERGE, json_root(bare), NULL, NULL);
    return took;
}

static void requests(void **state)
{
    struct room *r = *state;
    int bad = 0;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct cost_case *c = &cases[i];
        int n = c->small ? c->small : SMALL;
        AUTOFREE char *first = NULL;
        AUTOFREE char *second = NULL;
        unsigned long one = cost(r, c, n, &first), two = cost(r, c, 2 * n, &second);
        bool worse = two >= 3 * one;
        bad += worse;
        if (worse || getenv("TIDEMILL_SHOW_COSTS"))
            print_message("%s %-32s %9lu %9lu %4.2f %5.0f a piece: %s\n", worse ? "BAD" : "   ", c->what, one, two,
                          (double)two / (double)one, (double)one / n, second);
    }
    assert_int_equal(bad, 0);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(requests, open_room, close_room)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
