/* The pods of the engine through struct kube: which are its own. */
#include "base/ctx.h"
#include "base/str.h"
#include "base/timefmt.h"
#include "fake_kube.h"
#include "kube/fields.h"
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
    struct pods *p = pods_new(fake_kube_face(f), &clock_system, &(struct pod_place){.agent_path = "/agent"});
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

/* What is said of a pod with that status, which waits. */
static void waits(const char *status, bool hopeless, const char *reason, const char *message)
{
    struct fake_kube *f = fake_kube_new();
    struct ctx ctx = ctx_background();
    ERR(e);
    AUTOFREE char *pod = xasprintf("{\"metadata\":{\"name\":\"p\",\"namespace\":\"ns\"},\"status\":%s}", status);
    json_unref(fake_put(f, &KUBE_PODS, "%s", pod));
    struct pods *p = pods_new(fake_kube_face(f), &clock_system, &(struct pod_place){.agent_path = "/agent"});
    struct task_runtime rt = pods_runtime(p);
    struct attempt_view v;
    assert_int_equal(pods_start(p, &ctx, &e), 0);
    assert_int_equal(rt.observe(rt.self, &ctx, "ns", "p", &v, &e), 0);
    assert_int_equal(v.phase, ATTEMPT_PENDING);
    assert_int_equal(v.hopeless, hopeless);
    assert_string_equal(v.reason, reason);
    assert_string_equal(v.message, message);
    attempt_view_clear(&v);
    pods_free(p);
    fake_kube_free(f);
}

/* A pod that no node takes says so in a condition, not in its container. */
static void unscheduled(void **state)
{
    waits("{\"phase\":\"Pending\",\"conditions\":"
          "[{\"type\":\"PodScheduled\",\"status\":\"False\",\"reason\":\"Unschedulable\",\"message\":\"no GPU\"}]}",
          false, "Unschedulable", "no GPU");
}

/* What a registry denies is over at once; one that does not answer gets its time. */
static void images(void **state)
{
    static const struct {
        const char *reason, *message;
        bool hopeless, waits;
    } cases[] = {
        {"ErrImagePull", "registry.local: connection refused", false, true},
        {"ErrImagePull", "manifest unknown", false, true}, /* its back-off comes next, and decides */
        {"ImagePullBackOff", "Back-off pulling image \\\"x\\\": ErrImagePull: registry.local: connection refused", false, true},
        {"ImagePullBackOff", "Back-off pulling image \\\"x\\\": ErrImagePull: 503 Service Unavailable", false, true},
        {"ImagePullBackOff", "Back-off pulling image \\\"x\\\": ErrImagePull: rpc error: code = NotFound desc = x: not found",
         true, true},
        {"ImagePullBackOff", "pull access denied, repository does not exist or may require authorization", true, true},
        {"ImagePullBackOff", "dial tcp: lookup registry.typo: no such host", true, true},
        {"InvalidImageName", "invalid reference format", true, false},
        {"ErrImageNeverPull", "", true, false},
        {"CreateContainerConfigError", "no config map", true, false},
        {"ContainerCreating", "", false, false},
    };
    struct fake_kube *f = fake_kube_new();
    struct ctx ctx = ctx_background();
    ERR(e);
    const struct pod_place place = {.agent_path = "/agent", .image_patience_ns = 300 * NS_PER_S};
    struct pods *p = pods_new(fake_kube_face(f), &clock_system, &place);
    struct task_runtime rt = pods_runtime(p);
    assert_int_equal(pods_start(p, &ctx, &e), 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *text =
            xasprintf("{\"metadata\":{\"name\":\"p%zu\",\"namespace\":\"ns\"},\"status\":{\"phase\":\"Pending\",\"startTime\":"
                      "\"2026-01-01T00:00:10Z\",\"containerStatuses\":[{\"name\":\"main\",\"state\":{\"waiting\":{"
                      "\"reason\":\"%s\",\"message\":\"%s\"}}}]}}",
                      i, cases[i].reason, cases[i].message);
        AUTOFREE char *name = xasprintf("p%zu", i);
        json_unref(fake_put(f, &KUBE_PODS, "%s", text));
        struct attempt_view v;
        int64_t started;
        assert_int_equal(rt.observe(rt.self, &ctx, "ns", name, &v, &e), 0);
        if (v.hopeless != cases[i].hopeless)
            fail_msg("%s %s", cases[i].reason, cases[i].message);
        time_parse("2026-01-01T00:00:10Z", &started);
        assert_int_equal(v.hopeless_at_ns, cases[i].waits ? started + 300 * NS_PER_S : 0);
        attempt_view_clear(&v);
    }
    pods_free(p);
    fake_kube_free(f);
}

/* On a cluster the data are a claim, of which each step sees its own parts, and the agent comes out of an image. */
static void on_a_claim(void **state)
{
    const struct pod_place place = {.agent_image = "tidemill:1", .claim = "data", .root = "/shared"};
    char host[] = "/shared/artifacts/b/k", path[] = "/minio/b/k";
    struct task_mount m[] = {{.host_path = host, .container_path = path, .is_file = true, .read_only = true}};
    struct task_start t = {.run_id = RUN,
                           .run_name = "r",
                           .task_name = "t",
                           .ns = "ns",
                           .pod_name = "p",
                           .image = "i",
                           .task_dir = "/shared/engine/x/0",
                           .mounts = m,
                           .n_mounts = 1};
    ERR(e);
    JSON_REF(pod) = pod_make(&t, &place, &e);
    if (!pod)
        fail_msg("%s", err_text(&e));
    AUTOFREE char *text = jv_text(json_root(pod), JW_COMPACT);
    assert_null(strstr(text, "hostPath"));
    static const char *const parts[] = {
        "{\"name\":\"tidemill-data\",\"persistentVolumeClaim\":{\"claimName\":\"data\"}}",
        "{\"name\":\"tidemill-data\",\"mountPath\":\"/tidemill/task\",\"subPath\":\"engine/x/0\"}",
        "{\"name\":\"tidemill-data\",\"mountPath\":\"/minio/b/k\",\"subPath\":\"artifacts/b/k\",\"readOnly\":true}",
        "\"initContainers\":[{\"name\":\"tidemill-agent\",\"image\":\"tidemill:1\",\"command\":[\"/usr/bin/"
        "tidemill-agent\",\"install\",\"/tidemill/bin\"]",
        "{\"name\":\"tidemill-agent\",\"mountPath\":\"/tidemill/agent\",\"subPath\":\"tidemill-agent\",\"readOnly\":true}",
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (!strstr(text, parts[i]))
            fail_msg("%s is not in %s", parts[i], text);
    t.task_dir = "/elsewhere/x";
    assert_null(pod_make(&t, &place, &e));
    assert_non_null(strstr(err_text(&e), "/elsewhere/x is not on the volume of claim data (/shared)"));
}

/* The set-up is filled by a container that sees nothing of the step's, before all others; the step sees it read-only, and nothing
 * of the configuration leads there another way. */
static void set_up_first(void **state)
{
    const struct pod_place place = {.agent_path = "/a", .root = "/data", .artifacts = "/data/artifacts", .claim = NULL};
    static const char config[] =
        "{\"emptyDirMounts\":[{\"volumeName\":\"tidemill-setup\",\"mountPath\":\"/w\"}],\"pvcMount\":[{\"constant\":\"tidemill-"
        "artifacts\",\"mountPath\":\"/"
        "x\"}],\"secretAsEnv\":[{\"secretName\":\"s\",\"keyToEnv\":[{\"secretKey\":\"k\",\"envVar\":\"PIP_"
        "INDEX_URL\"}]}],\"imagePullPolicy\":\"Always\",\"securityContext\":{\"runAsUser\":7},\"initContainers\":[{\"name\":"
        "\"mine\","
        "\"image\":\"i2\",\"volumeMounts\":[{\"volumeName\":\"tidemill-setup\",\"mountPath\":\"/y\"}]}]}";
    JSON_REF(kubernetes) = json_parse_str(config, NULL);
    JSON_REF(env) = json_parse_str("[{\"name\":\"PIP_X\",\"value\":\"1\"}]", NULL);
    struct task_start t = {.run_id = RUN,
                           .run_name = "r",
                           .task_name = "t",
                           .ns = "ns",
                           .pod_name = "p",
                           .image = "i",
                           .task_dir = "/data/engine/x/0",
                           .setup = "/data/setup/.x.0/key",
                           .fill_env = json_root(env),
                           .kubernetes = json_root(kubernetes)};
    ERR(e);
    JSON_REF(pod) = pod_make(&t, &place, &e);
    if (!pod)
        fail_msg("%s", err_text(&e));
    jval *spec = pod_spec(json_root(pod)), *first = jv_at(pod_spec_init_containers(spec), 0);
    AUTOFREE char *fill = jv_text(first, JW_COMPACT), *text = jv_text(json_root(pod), JW_COMPACT);
    assert_string_equal(
        fill,
        "{\"name\":\"tidemill-setup\",\"image\":\"i\",\"command\":[\"/tidemill/agent\",\"setup\"],\"env\":[{\"name\":\"PIP_X\","
        "\"value\":\"1\"}],\"securityContext\":{\"allowPrivilegeEscalation\":false,\"capabilities\":{\"drop\":[\"ALL\"]},"
        "\"seccompProfile\":{\"type\":\"RuntimeDefault\"},\"runAsUser\":7},\"volumeMounts\":[{\"name\":\"tidemill-agent\","
        "\"mountPath\":\"/tidemill/agent\",\"readOnly\":true},{\"name\":\"tidemill-task\",\"mountPath\":\"/tidemill/task\","
        "\"readOnly\":true},{\"name\":\"tidemill-setup\",\"mountPath\":\"/tidemill/setup\"}],\"imagePullPolicy\":\"Always\"}");
    static const char *const parts[] = {
        "{\"name\":\"tidemill-setup\",\"hostPath\":{\"path\":\"/data/setup/.x.0/key\",\"type\":\"Directory\"}}",
        "{\"name\":\"tidemill-setup\",\"mountPath\":\"/tidemill/setup\",\"readOnly\":true}",
        "{\"name\":\"step-tidemill-setup\",\"mountPath\":\"/w\"}",
        "{\"name\":\"step-tidemill-setup\",\"mountPath\":\"/y\"}",
        "{\"name\":\"step-tidemill-setup\",\"emptyDir\":{}}",
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (!strstr(text, parts[i]))
            fail_msg("%s is not in %s", parts[i], text);
    /* Complete: nobody writes there any more. */
    t.fill_env = NULL;
    JSON_REF(later) = pod_make(&t, &place, &e);
    AUTOFREE char *second = jv_text(json_root(later), JW_COMPACT);
    assert_non_null(strstr(second, parts[1]));
    assert_null(strstr(second, "\"name\":\"tidemill-setup\",\"image\""));
    /* What belongs to all is not a step's volume. */
    const struct pod_place claim = {.agent_path = "/a", .root = "/data", .claim = "data"};
    JSON_REF(takes) = json_parse_str("{\"pvcMount\":[{\"constant\":\"data\",\"mountPath\":\"/x\"}]}", NULL);
    t.kubernetes = json_root(takes);
    assert_null(pod_make(&t, &claim, &e));
    assert_non_null(strstr(err_text(&e), "belongs to all runs"));
}

/* On one machine the artifact store is one volume, of which a step gets parts: the node looks them up without leaving it,
 * whatever links a step has planted there meanwhile. Keys of stores elsewhere are files of a Secret. */
static void on_a_machine(void **state)
{
    const struct pod_place place = {.agent_path = "/a", .root = "/data", .artifacts = "/data/artifacts"};
    char host[] = "/data/artifacts/b/k", path[] = "/minio/b/k", ws[] = "/data/workspaces/r", wp[] = "/kfp-workspace",
         name[] = "keys", keys[] = "/tidemill/stores/0";
    struct task_mount m[] = {{.host_path = host, .container_path = path, .read_only = true},
                             {.host_path = ws, .container_path = wp}};
    struct task_secret s[] = {{name, keys}};
    struct task_start t = {.run_id = RUN,
                           .run_name = "r",
                           .task_name = "t",
                           .ns = "ns",
                           .pod_name = "p",
                           .image = "i",
                           .task_dir = "/data/engine/x/0",
                           .mounts = m,
                           .n_mounts = 2,
                           .secrets = s,
                           .n_secrets = 1};
    ERR(e);
    JSON_REF(pod) = pod_make(&t, &place, &e);
    if (!pod)
        fail_msg("%s", err_text(&e));
    AUTOFREE char *text = jv_text(json_root(pod), JW_COMPACT);
    static const char *const parts[] = {
        "{\"name\":\"tidemill-artifacts\",\"hostPath\":{\"path\":\"/data/artifacts\",\"type\":\"Directory\"}}",
        "{\"name\":\"tidemill-artifacts\",\"mountPath\":\"/minio/b/k\",\"subPath\":\"b/k\",\"readOnly\":true}",
        "\"hostPath\":{\"path\":\"/data/workspaces/r\",\"type\":\"Directory\"}",
        "{\"name\":\"store-0\",\"secret\":{\"secretName\":\"keys\"}}",
        "{\"name\":\"store-0\",\"mountPath\":\"/tidemill/stores/0\",\"readOnly\":true}",
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (!strstr(text, parts[i]))
            fail_msg("%s is not in %s", parts[i], text);
    assert_null(strstr(text, "/data/artifacts/b"));
}

static int64_t age_of_a; /* s; 0: as everybody's */

/* "a" ended at 100, "b" at 200, "c" goes on. */
static int64_t run_end(void *self, const char *run, int64_t *age_ns)
{
    ++*(int *)self;
    if (age_of_a && str_eq(run, "a"))
        *age_ns = age_of_a * NS_PER_S;
    return str_eq(run, "a") ? 100 * NS_PER_S : str_eq(run, "b") ? 200 * NS_PER_S : 0;
}

static void put_pods(struct fake_kube *f)
{
    static const struct {
        const char *name, *run, *phase;
    } pods[] = {{"a1", "a", "Succeeded"}, {"b1", "b", "Failed"},    {"c1", "c", "Succeeded"}, {"a2", "a", "Failed"},
                {"a3", "a", "Running"},   {"b2", "b", "Succeeded"}, {"x", NULL, "Succeeded"}};
    for (size_t i = 0; i < ARRAY_LEN(pods); i++)
        json_unref(fake_put(f, &KUBE_PODS,
                            "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"ns\",\"labels\":{\"%s\":\"%s\"}},"
                            "\"status\":{\"phase\":\"%s\"}}",
                            pods[i].name, pods[i].run ? "pipelines.tidemill.dev/run" : "other", pods[i].run ? pods[i].run : "a",
                            pods[i].phase));
}

/* Ended pods of ended runs go: by number, the oldest first, and by age. Others stay. */
static void the_end(void **state)
{
    static const struct {
        size_t max;
        int64_t age_s, now_s;
        const char *gone; /* of a1 a2 b1 b2 */
        size_t left;
        int64_t age_of_a_s;
    } cases[] = {
        {100, 1000, 300, "", 4, 0},           {100, 150, 300, "a1 a2", 2, 0},
        {100, 100, 300, "a1 a2 b1 b2", 0, 0}, {2, 1000, 300, "a1 a2", 2, 0},
        {0, 1000, 300, "a1 a2 b1 b2", 0, 0},  {100, 0, 300, "a1 a2 b1 b2", 0, 0},
        {100, 1000, 300, "a1 a2", 2, 60},     {100, 60, 300, "b1 b2", 2, 1000},
        {2, 500, 300, "a1 a2", 2, 5000}, /* nobody pushes out others by asking for long */
    };
    static const char *const all[] = {"a1", "a2", "a3", "b1", "b2", "c1", "x"};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_kube *f = fake_kube_new();
        struct ctx ctx = ctx_background();
        ERR(e);
        int asked = 0;
        size_t left = 99;
        put_pods(f);
        age_of_a = cases[i].age_of_a_s;
        struct pods *p = pods_new(fake_kube_face(f), &clock_system, &(struct pod_place){.agent_path = "/agent"});
        assert_int_equal(pods_start(p, &ctx, &e), 0);
        const struct pods_retire how = {.max = cases[i].max,
                                        .age_ns = cases[i].age_s * NS_PER_S,
                                        .now_ns = cases[i].now_s * NS_PER_S,
                                        .self = &asked,
                                        .ended = run_end};
        assert_int_equal(pods_retire(p, &ctx, &how, &left, &e), 0);
        assert_int_equal(left, cases[i].left);
        assert_int_equal(asked, 3); /* each run once */
        for (size_t n = 0; n < ARRAY_LEN(all); n++) {
            JSON_REF(pod) = fake_get(f, &KUBE_PODS, "ns", all[n]);
            if (!pod != !!strstr(cases[i].gone, all[n]))
                fail_msg("case %zu: %s", i, all[n]);
        }
        pods_free(p);
        fake_kube_free(f);
    }
}

/* Nothing is shared: the task stands in an annotation that the pod sees as a file, and its directory is its own. */
static void apart(void **state)
{
    const struct pod_place place = {.root = "/data"};
    const struct task_start t = {.run_id = RUN,
                                 .run_name = "r",
                                 .task_name = "t",
                                 .ns = "ns",
                                 .pod_name = "p",
                                 .image = "i",
                                 .task_text = "{\"version\":1}"};
    ERR(e);
    JSON_REF(pod) = pod_make(&t, &place, &e);
    assert_non_null(pod);
    AUTOFREE char *text = jv_text(json_root(pod), JW_COMPACT);
    assert_null(strstr(text, "hostPath"));
    assert_null(strstr(text, "persistentVolumeClaim"));
    assert_non_null(strstr(text, "\"pipelines.tidemill.dev/task\":\"{\\\"version\\\":1}\""));
    assert_non_null(strstr(text, "\"command\":[\"/tidemill/agent\",\"launch\",\"--task\",\"/tidemill/in\"]"));
    assert_non_null(strstr(text, "{\"path\":\"task.json\",\"fieldRef\":{\"fieldPath\":"
                                 "\"metadata.annotations['pipelines.tidemill.dev/task']\"}}"));
}

/* ---- platform configuration ------------------------------------------------------------------------------------ */

/* What cannot be meant is refused, with the place: nothing is dropped in silence. */
static void bad_configuration(void **state)
{
    static const struct {
        const char *config, *error;
    } cases[] = {
        {"{\"secretAsEnv\":\"keys\"}", "secretAsEnv must be a list, got string"},
        {"{\"secretAsVolume\":[\"keys\"]}", "secretAsVolume[0] must be an object, got string"},
        {"{\"configMapAsEnv\":[{},3]}", "configMapAsEnv[1] must be an object, got number"},
        {"{\"configMapAsVolume\":[null]}", "configMapAsVolume[0] must be an object, got null"},
        {"{\"fieldPathAsEnv\":{}}", "fieldPathAsEnv must be a list, got object"},
        {"{\"pvcMount\":[[]]}", "pvcMount[0] must be an object, got array"},
        {"{\"emptyDirMounts\":[true]}", "emptyDirMounts[0] must be an object, got boolean"},
        {"{\"genericEphemeralVolume\":[1]}", "genericEphemeralVolume[0] must be an object"},
        {"{\"tolerations\":[\"x\"]}", "tolerations[0] must be an object"},
        {"{\"tolerations\":[{\"tolerationJson\":\"x\"}]}", "a toleration must be an object, got string"},
        {"{\"tolerations\":[{\"tolerationJson\":[{},\"x\"]}]}", "tolerationJson[1] must be an object, got string"},
        {"{\"nodeAffinity\":\"zone\"}", "nodeAffinity must be a list, got string"},
        {"{\"nodeAffinity\":[{\"nodeAffinityJson\":[]}]}", "nodeAffinityJson must be a node affinity, got array"},
        {"{\"podAffinity\":[\"x\"]}", "podAffinity[0] must be an object"},
        {"{\"podAffinity\":[{}]}", "podAffinity needs a topologyKey"},
        {"{\"imagePullSecret\":[\"x\"]}", "imagePullSecret[0] must be an object"},
        {"{\"imagePullSecret\":[{\"secretNameParameter\":\"\"}]}", "secretNameParameter must be a name, got \"\""},
        {"{\"imagePullPolicy\":\"Sometimes\"}", "imagePullPolicy must be Always, Never or IfNotPresent, got \"Sometimes\""},
        {"{\"nodeSelector\":{\"nodeSelectorJson\":\"x\"}}", "nodeSelector must be an object of labels, got string"},
        {"{\"securityContext\":{\"runAsUser\":\"0\",\"runAsNonRoot\":true}}", "runAsUser 0 and runAsNonRoot"},
        {"{\"initContainers\":[\"x\"]}", "initContainers[0] must be an object"},
        {"{\"initContainers\":[{\"name\":\"main\",\"image\":\"i\"}]}", "the name \"main\" of an init container is taken"},
        {"{\"initContainers\":[{\"name\":\"kfp-launcher\",\"image\":\"i\"}]}", "the name \"kfp-launcher\""},
        {"{\"initContainers\":[{\"name\":\"a\",\"image\":\"i\",\"restartPolicy\":\"Never\"}]}",
         "restartPolicy may be Always only"},
        {"{\"initContainers\":[{\"name\":\"a\",\"image\":\"i\",\"volumeMounts\":[{\"volumeName\":\"v\",\"mountPath\":\"x\"}]}]}",
         "a mount needs a volumeName and an absolute mountPath"},
        {"{\"secretAsVolume\":[{\"secretName\":\"s\"}]}", "secret s has no mountPath"},
        {"{\"secretAsEnv\":[{\"secretName\":\"s\",\"keyToEnv\":[{}]}]}", "an environment variable from s needs a key and envVar"},
        {"{\"pvcMount\":[{\"constant\":\"c\"}]}", "volume claim c has no mountPath"},
        {"{\"emptyDirMounts\":[{\"volumeName\":\"v\"}]}", "emptyDirMounts needs volumeName and mountPath"},
        {"{\"activeDeadlineSeconds\":-1}", "activeDeadlineSeconds must not be negative"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ERR(e);
        JSON_REF(config) = json_parse_str(cases[i].config, &e);
        assert_non_null(config);
        const struct task_start t = {.run_id = RUN,
                                     .run_name = "r",
                                     .task_name = "t",
                                     .ns = "ns",
                                     .pod_name = "p",
                                     .image = "i",
                                     .task_dir = "/t",
                                     .kubernetes = json_root(config)};
        JSON_REF(pod) = pod_make(&t, &(struct pod_place){0}, &e);
        if (pod || e.code != ERR_INVALID || !strstr(err_text(&e), cases[i].error))
            fail_msg("%s: %s", cases[i].config, pod ? "accepted" : err_text(&e));
    }
}

/* ---- container images as inputs -------------------------------------------------------------------------------- */

/* An API server that leaves image volumes out without a word, as those before 1.35 do. */
static struct json *forgetful_create(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns,
                                     const char *name, jval *obj, const struct kube_opts *o, struct err *err);
static struct forgetful {
    struct kube face;
    struct kube_ops ops;
    struct kube *real;
    bool forgets;
    int shows;
    enum err_code refuses;
} server;

static struct json *forgetful_create(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns,
                                     const char *name, jval *obj, const struct kube_opts *o, struct err *err)
{
    if (!o || !o->dry_run)
        return server.real->ops->create(server.real, ctx, res, ns, name, obj, o, err);
    server.shows++;
    if (server.refuses) {
        err_set(err, server.refuses, "refused");
        return NULL;
    }
    if (!server.forgets)
        return json_from(obj);
    JM(m, obj);
    jm_del(jmv_get(jm_root(m), "spec"), "volumes");
    return jm_freeze(m);
}

static struct task_image images_of_step[] = {{(char[]){"r.example/car:1"}, (char[]){"/oci/r.example_car:1/models"}}};
static const struct task_start reads_an_image = {.run_id = RUN,
                                                 .run_name = "r",
                                                 .task_name = "t",
                                                 .ns = "ns",
                                                 .pod_name = "p",
                                                 .image = "i",
                                                 .task_dir = "/t",
                                                 .images = images_of_step,
                                                 .n_images = 1};

/* Which way a step gets to see its image, and how often the API server was asked. */
static void image_inputs(void **state)
{
    static const struct {
        bool forgets;
        enum err_code refuses;
        int rc, shows; /* of two steps */
        bool side_car;
    } cases[] = {
        {false, 0, 0, 1, false},          {true, 0, 0, 1, true},
        {false, ERR_INVALID, 0, 2, true}, /* told by the pod itself, and asked again the next time */
        {false, ERR_EXISTS, 0, 2, false}, {false, ERR_UNAVAILABLE, -1, 2, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_kube *f = fake_kube_new();
        struct ctx ctx = ctx_background();
        server = (struct forgetful){.real = fake_kube_face(f), .forgets = cases[i].forgets, .refuses = cases[i].refuses};
        server.ops = (struct kube_ops){.create = forgetful_create};
        server.face.ops = &server.ops;
        struct pods *p = pods_new(&server.face, &clock_system, &(struct pod_place){.agent_path = "/agent"});
        struct task_runtime rt = pods_runtime(p);
        for (int n = 0; n < 2; n++) {
            ERR(e);
            struct task_start t = reads_an_image;
            t.pod_name = n ? "q" : "p";
            assert_int_equal(rt.start(rt.self, &ctx, &t, &e), cases[i].rc);
        }
        assert_int_equal(server.shows, cases[i].shows);
        JSON_REF(pod) = fake_get(f, &KUBE_PODS, "ns", "q");
        assert_true(!pod == (cases[i].rc < 0));
        AUTOFREE char *text = pod ? jv_text(json_root(pod), JW_COMPACT) : NULL;
        assert_true(!pod || !!strstr(text, "shareProcessNamespace") == cases[i].side_car);
        assert_true(!pod || !!strstr(text, "\"image\":{\"reference\"") == !cases[i].side_car);
        pods_free(p);
        fake_kube_free(f);
    }
}

static void shows(const struct pod_place *place, const char *const *parts, size_t n)
{
    ERR(e);
    JSON_REF(pod) = pod_make(&reads_an_image, place, &e);
    if (!pod)
        fail_msg("%s", err_text(&e));
    AUTOFREE char *text = jv_text(json_root(pod), JW_COMPACT);
    for (size_t i = 0; i < n; i++)
        if (!strstr(text, parts[i]))
            fail_msg("%s is not in %s", parts[i], text);
}

static void image_volume(void **state)
{
    static const char *const parts[] = {
        "{\"name\":\"oci-0\",\"image\":{\"reference\":\"r.example/car:1\"}}",
        "{\"name\":\"oci-0\",\"mountPath\":\"/oci/r.example_car:1/models\",\"subPath\":\"models\",\"readOnly\":true}",
    };
    shows(&(struct pod_place){0}, parts, ARRAY_LEN(parts));
}

/* The side-car runs the agent, wherever that comes from; what it leaves is seen read-only. */
static void image_side_car(void **state)
{
    static const char *const parts[] = {
        "{\"name\":\"oci-0\",\"emptyDir\":{}}",
        "{\"name\":\"oci-0\",\"mountPath\":\"/oci/r.example_car:1\",\"readOnly\":true}",
        "\"command\":[\"/tidemill/agent\",\"models\",\"check\"]",
        "\"command\":[\"/tidemill/agent\",\"models\",\"serve\",\"/oci/r.example_car:1\"]",
        "\"restartPolicy\":\"Always\"",
        "\"startupProbe\":{\"exec\":{\"command\":[\"/tidemill/agent\",\"models\",\"ready\",\"/oci/r.example_car:1\"]}",
        "\"shareProcessNamespace\":true",
    };
    static const char *const from_image[] = {
        "{\"name\":\"oci-0-check\",\"image\":\"r.example/car:1\",\"volumeMounts\":[{\"name\":\"tidemill-agent\",\"mountPath\":"
        "\"/tidemill/agent\",\"subPath\":\"tidemill-agent\",\"readOnly\":true}]",
    };
    shows(&(struct pod_place){.side_cars = true}, parts, ARRAY_LEN(parts));
    shows(&(struct pod_place){.side_cars = true, .agent_path = "/a"}, parts, ARRAY_LEN(parts));
    shows(&(struct pod_place){.side_cars = true, .agent_image = "tidemill:1"}, from_image, ARRAY_LEN(from_image));
}

/* A pod whose init container failed says which, and what that said. */
static void init_container_failed(void **state)
{
    static const struct {
        const char *said, *message;
    } cases[] = {{"the image holds no model\\n", "the image holds no model"}, {"", "exit status 3"}};
    struct fake_kube *f = fake_kube_new();
    struct ctx ctx = ctx_background();
    ERR(e);
    struct pods *p = pods_new(fake_kube_face(f), &clock_system, &(struct pod_place){.agent_path = "/agent"});
    struct task_runtime rt = pods_runtime(p);
    assert_int_equal(pods_start(p, &ctx, &e), 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *name = xasprintf("p%zu", i);
        json_unref(fake_put(
            f, &KUBE_PODS,
            "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"ns\"},\"status\":{\"phase\":\"Failed\","
            "\"initContainerStatuses\":[{\"name\":\"a\",\"state\":{\"terminated\":{\"exitCode\":0}}},"
            "{\"name\":\"oci-0-check\",\"state\":{\"terminated\":{\"exitCode\":3,\"reason\":\"Error\",\"message\":\"%s\"}}}],"
            "\"containerStatuses\":[{\"name\":\"main\",\"state\":{\"waiting\":{\"reason\":\"PodInitializing\"}}}]}}",
            name, cases[i].said));
        struct attempt_view v;
        assert_int_equal(rt.observe(rt.self, &ctx, "ns", name, &v, &e), 0);
        assert_int_equal(v.phase, ATTEMPT_ENDED);
        assert_string_equal(v.reason, "init container oci-0-check failed");
        assert_string_equal(v.message, cases[i].message);
        attempt_view_clear(&v);
    }
    pods_free(p);
    fake_kube_free(f);
}

/* While init containers run, the one that cannot start says why the pod waits. */
static void init_container_waits(void **state)
{
    waits("{\"phase\":\"Pending\",\"initContainerStatuses\":[{\"name\":\"a\",\"state\":{\"terminated\":{\"exitCode\":0}}},"
          "{\"name\":\"oci-0-check\",\"state\":{\"waiting\":{\"reason\":\"ImagePullBackOff\",\"message\":"
          "\"manifest unknown\"}}}],\"containerStatuses\":[{\"name\":\"main\",\"state\":{\"waiting\":{"
          "\"reason\":\"PodInitializing\"}}}]}",
          true, "ImagePullBackOff", "manifest unknown");
}

TEST_GROUP(pods, cmocka_unit_test(bad_configuration), cmocka_unit_test(image_inputs), cmocka_unit_test(image_volume),
           cmocka_unit_test(image_side_car), cmocka_unit_test(init_container_waits), cmocka_unit_test(init_container_failed),
           cmocka_unit_test(the_end), cmocka_unit_test(apart), cmocka_unit_test(set_up_first), cmocka_unit_test(on_a_machine),
           cmocka_unit_test(on_a_claim), cmocka_unit_test(unscheduled), cmocka_unit_test(images),
           cmocka_unit_test(pods_of_others))
