/* The pod worker: a node on the scripted runtime and a Kubernetes API in memory. */
#include <errno.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fs.h"
#include "cluster/node/node.h"
#include "cluster/node/runtime/runtime.h"
#include "fake_kube.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "node_test.h"
#include "unit.h"

struct world {
    struct fake_kube *fake;
    struct node *node;
    char *dir;
    int flaky;   /* how often "flaky" still fails */
    int healthy; /* what the program "check" answers: 0 is well */
    int asked;   /* how often "count" ran */
    int begun;   /* how many containers were made */
};

/* A container's command is its script: exit CODE | sleep MS CODE | forever | stubborn | say TEXT | fail | oom | flaky. */
static void decide(void *self, const struct container_spec *spec, struct script *out)
{
    struct world *w = self;
    const char *what = spec->args.v[0];
    const char *arg = spec->args.n > 1 ? spec->args.v[1] : "";
    __atomic_add_fetch(&w->begun, 1, __ATOMIC_SEQ_CST);
    *out = (struct script){0};
    if (strcmp(what, "exit") == 0)
        out->exit_code = atoi(arg);
    else if (strcmp(what, "sleep") == 0)
        *out = (struct script){.run_ns = atoi(arg) * NS_PER_MS, .exit_code = spec->args.n > 2 ? atoi(spec->args.v[2]) : 0};
    else if (strcmp(what, "forever") == 0)
        out->run_ns = -1;
    else if (strcmp(what, "stubborn") == 0)
        *out = (struct script){.run_ns = -1, .ignore_term = true};
    else if (strcmp(what, "say") == 0)
        *out = (struct script){.termination = "the last word", .log = "hello"};
    else if (strcmp(what, "fail") == 0)
        out->fail_start = "executable file `fail` not found in $PATH";
    else if (strcmp(what, "oom") == 0)
        *out = (struct script){.exit_code = 137, .oom = true};
    else if (strcmp(what, "flaky") == 0)
        out->exit_code = __atomic_fetch_sub(&w->flaky, 1, __ATOMIC_SEQ_CST) > 0 ? 1 : 0;
}

/* Programs beside a container's own: check | well | ill | hang | count. */
static int beside(void *self, const char *const *args, struct buf *out)
{
    struct world *w = self;
    if (strcmp(args[0], "hang") == 0)
        return -1;
    if (strcmp(args[0], "count") == 0)
        __atomic_add_fetch(&w->asked, 1, __ATOMIC_SEQ_CST);
    if (strcmp(args[0], "ill") == 0)
        buf_adds(out, "not well");
    return strcmp(args[0], "check") == 0 ? __atomic_load_n(&w->healthy, __ATOMIC_SEQ_CST) : strcmp(args[0], "ill") == 0;
}

static void start(struct world *w)
{
    ERR(e);
    struct node_config cfg = {
        .data_dir = w->dir, .node_name = "n1", .runtime = runtime_scripted_new(decide, w), .backoff_base_ns = 20 * NS_PER_MS};
    runtime_scripted_exec(cfg.runtime, beside);
    w->node = node_start(&cfg, fake_kube_face(w->fake), &e);
    if (!w->node)
        fail_msg("%s", err_text(&e));
    struct ctx base = ctx_background(), ctx = ctx_with_timeout(&base, 60 * NS_PER_S);
    if (node_wait_ready(w->node, &ctx, &e) < 0)
        fail_msg("%s", err_text(&e));
}

static void world_open(struct world *w)
{
    *w = (struct world){.fake = fake_kube_new(), .dir = node_test_dir()};
    start(w);
}

static void world_close(struct world *w)
{
    node_stop(w->node, NODE_REMOVE);
    fake_kube_free(w->fake);
    node_test_rm(w->dir);
    free(w->dir);
}

/* spec is JSON members of the pod's spec. */
static void put_pod(struct world *w, const char *name, const char *spec)
{
    json_unref(fake_put(w->fake, &KUBE_PODS,
                        "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"ns\"},\"spec\":{\"nodeName\":\"n1\",%s},\"status\":{"
                        "\"phase\":\"Pending\"}}",
                        name, spec));
}

static char *container(const char *name, const char *command)
{
    return xasprintf("{\"name\":\"%s\",\"image\":\"host\",\"command\":%s}", name, command);
}

static void put_simple(struct world *w, const char *name, const char *policy, const char *command)
{
    AUTOFREE char *c = container("main", command), *spec = xasprintf("\"restartPolicy\":\"%s\",\"containers\":[%s]", policy, c);
    put_pod(w, name, spec);
}

/* Waits until a value of the pod (by path below status, or containerStatuses[0] with "c.") is text; prints the object if it is
 * not in time. */
static void expect(struct world *w, const char *name, const char *path, const char *text)
{
    AUTOFREE char *last = NULL;
    for (int i = 0; i < 12000; i++) {
        JSON_REF(o) = fake_get(w->fake, &KUBE_PODS, "ns", name);
        jval *v = pod_status(json_root(o));
        STRLIST(parts);
        str_split(path, '.', &parts);
        for (size_t k = 0; k < parts.n; k++)
            v = strcmp(parts.v[k], "c") == 0   ? jv_at(pod_status_container_statuses(v), 0)
                : strcmp(parts.v[k], "i") == 0 ? jv_at(pod_status_init_container_statuses(v), 0)
                : strcmp(parts.v[k], "e") == 0 ? jv_at(pod_status_ephemeral_container_statuses(v), 0)
                                               : jv_get(v, parts.v[k]);
        const char *have = jv_str(v)          ? jv_str(v)
                           : jv_num_text(v)   ? jv_num_text(v)
                           : jv_is(v, J_BOOL) ? (jv_bool(v, false) ? "true" : "false")
                                              : "";
        if (strcmp(have, text) == 0)
            return;
        free(last);
        last = o ? jv_text(json_root(o), JW_PRETTY) : xstrdup("no object");
        usleep(5000);
    }
    fail_msg("pod %s: %s is not \"%s\": %s", name, path, text, last);
}

static void expect_gone(struct world *w, const char *name)
{
    for (int i = 0; i < 12000; i++) {
        JSON_REF(o) = fake_get(w->fake, &KUBE_PODS, "ns", name);
        if (!o)
            return;
        usleep(5000);
    }
    fail_msg("pod %s is still there", name);
}

static void ends(void **state)
{
    static const struct {
        const char *name, *policy, *command, *phase, *reason, *code;
    } cases[] = {
        {"good", "Never", "[\"exit\",\"0\"]", "Succeeded", "Completed", "0"},
        {"bad", "Never", "[\"exit\",\"3\"]", "Failed", "Error", "3"},
        {"onfailure", "OnFailure", "[\"exit\",\"0\"]", "Succeeded", "Completed", "0"},
        {"oom", "Never", "[\"oom\"]", "Failed", "OOMKilled", "137"},
        {"absent", "Never", "[\"fail\"]", "Failed", "ContainerCannotRun", "127"},
        {"slow", "Never", "[\"sleep\",\"30\",\"4\"]", "Failed", "Error", "4"},
    };
    struct world w;
    world_open(&w);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        put_simple(&w, cases[i].name, cases[i].policy, cases[i].command);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        expect(&w, cases[i].name, "phase", cases[i].phase);
        expect(&w, cases[i].name, "c.state.terminated.reason", cases[i].reason);
        expect(&w, cases[i].name, "c.state.terminated.exitCode", cases[i].code);
        expect(&w, cases[i].name, "c.restartCount", "0");
    }
    world_close(&w);
}

static void restarts(void **state)
{
    struct world w;
    world_open(&w);
    w.flaky = 3;
    put_simple(&w, "flaky", "OnFailure", "[\"flaky\"]");
    expect(&w, "flaky", "phase", "Succeeded");
    expect(&w, "flaky", "c.restartCount", "3");
    expect(&w, "flaky", "c.lastState.terminated.exitCode", "1");
    put_simple(&w, "always", "Always", "[\"exit\",\"0\"]");
    expect(&w, "always", "c.state.waiting.reason", "CrashLoopBackOff");
    expect(&w, "always", "phase", "Running");
    world_close(&w);
}

static void waits(void **state)
{
    struct world w;
    world_open(&w);
    put_pod(
        &w, "noimage",
        "\"restartPolicy\":\"Never\",\"containers\":[{\"name\":\"main\",\"image\":\"missing:1\",\"command\":[\"exit\",\"0\"]}]");
    expect(&w, "noimage", "c.state.waiting.reason", "ErrImagePull");
    put_pod(&w, "never", "\"containers\":[{\"name\":\"main\",\"image\":\"missing:1\",\"imagePullPolicy\":\"Never\"}]");
    expect(&w, "never", "c.state.waiting.reason", "ErrImageNeverPull");
    put_pod(&w, "badname", "\"containers\":[{\"name\":\"main\",\"image\":\"bad name\"}]");
    expect(&w, "badname", "c.state.waiting.reason", "InvalidImageName");
    put_pod(&w, "root", "\"securityContext\":{\"runAsNonRoot\":true},\"containers\":[{\"name\":\"main\",\"image\":\"x\"}]");
    expect(&w, "root", "c.state.waiting.reason", "CreateContainerConfigError");
    put_pod(&w, "env",
            "\"restartPolicy\":\"Never\",\"containers\":[{\"name\":\"main\",\"image\":\"x\",\"command\":[\"exit\",\"$(A)\"],"
            "\"env\":[{\"name\":\"A\","
            "\"valueFrom\":{\"configMapKeyRef\":{\"name\":\"cm\",\"key\":\"a\"}}}]}]");
    expect(&w, "env", "c.state.waiting.message", "configmap \"cm\" not found");
    put_pod(&w, "volume",
            "\"restartPolicy\":\"Never\",\"containers\":[{\"name\":\"main\",\"image\":\"x\",\"command\":[\"exit\",\"6\"]}],"
            "\"volumes\":[{\"name\":\"v\",\"configMap\":{\"name\":\"cm\"}}]");
    expect(&w, "volume", "phase", "Pending");
    json_unref(
        fake_put(w.fake, &KUBE_CONFIGMAPS, "{\"metadata\":{\"name\":\"cm\",\"namespace\":\"ns\"},\"data\":{\"a\":\"5\"}}"));
    expect(&w, "env", "c.state.terminated.exitCode", "5");
    expect(&w, "volume", "c.state.terminated.exitCode", "6");
    world_close(&w);
}

#define IMAGE_VOLUME(image)                                                                                                      \
    "\"restartPolicy\":\"Never\",\"containers\":[{\"name\":\"main\",\"image\":\"x\",\"command\":[\"exit\",\"0\"],"               \
    "\"volumeMounts\":[{\"name\":\"v\",\"mountPath\":\"/v\"}]}],\"volumes\":[{\"name\":\"v\",\"image\":{" image "}}]"

/* The container says what its volume waits for; one that mounts none does not wait. */
static void image_volumes(void **state)
{
    struct world w;
    world_open(&w);
    put_pod(&w, "never", IMAGE_VOLUME("\"reference\":\"missing:1\",\"pullPolicy\":\"Never\""));
    expect(&w, "never", "c.state.waiting.reason", "ErrImageNeverPull");
    expect(&w, "never", "c.state.waiting.message", "Container image \"missing:1\" is not present with pull policy of Never");
    put_pod(&w, "missing", IMAGE_VOLUME("\"reference\":\"missing:1\""));
    expect(&w, "missing", "c.state.waiting.reason", "ErrImagePull");
    expect(&w, "missing", "c.state.waiting.reason", "ImagePullBackOff");
    put_pod(&w, "badname", IMAGE_VOLUME("\"reference\":\"bad name\""));
    expect(&w, "badname", "c.state.waiting.reason", "InvalidImageName");
    put_pod(&w, "host", IMAGE_VOLUME("\"reference\":\"host\""));
    expect(&w, "host", "c.state.waiting.reason", "CreateContainerError");
    put_pod(&w, "other",
            "\"restartPolicy\":\"Never\",\"containers\":[{\"name\":\"main\",\"image\":\"x\",\"command\":[\"exit\",\"0\"]}],"
            "\"volumes\":[{\"name\":\"v\",\"image\":{\"reference\":\"missing:1\"}}]");
    expect(&w, "other", "phase", "Succeeded");
    world_close(&w);
}

/* As put_pod, of a pod that is there: its ephemeral containers. */
static void put_ephemeral(struct world *w, const char *name, const char *containers)
{
    JSON_REF(o) = fake_get(w->fake, &KUBE_PODS, "ns", name);
    JSON_REF(list) = json_parse_str(containers, NULL);
    JM(m, json_root(o));
    pod_spec_set_ephemeral_containers(m, pod_make_spec(m, jm_root(m)), jm_val(m, json_root(list)));
    JSON_REF(doc) = jm_freeze(m);
    AUTOFREE char *text = jv_text(json_root(doc), JW_COMPACT);
    json_unref(fake_put(w->fake, &KUBE_PODS, "%s", text));
}

/* Whoever looks into a pod changes nothing about it, comes once, and goes with it. */
static void ephemeral(void **state)
{
    struct world w;
    world_open(&w);
    put_simple(&w, "a", "Always", "[\"forever\"]");
    expect(&w, "a", "phase", "Running");
    put_ephemeral(&w, "a", "[{\"name\":\"e\",\"image\":\"x\",\"command\":[\"exit\",\"3\"],\"targetContainerName\":\"main\"}]");
    expect(&w, "a", "e.state.terminated.exitCode", "3");
    expect(&w, "a", "e.restartCount", "0");
    expect(&w, "a", "e.ready", "false");
    expect(&w, "a", "phase", "Running");
    expect(&w, "a", "c.ready", "true");
    put_simple(&w, "b", "Never", "[\"sleep\",\"3000\"]"); /* long enough for another to come */
    expect(&w, "b", "phase", "Running");
    put_ephemeral(&w, "b", "[{\"name\":\"e\",\"image\":\"x\",\"command\":[\"forever\"]}]");
    expect(&w, "b", "phase", "Succeeded");
    expect(&w, "b", "e.state.terminated.exitCode", "143");
    put_pod(&w, "c",
            "\"initContainers\":[{\"name\":\"i\",\"image\":\"x\",\"command\":[\"forever\"]}],"
            "\"containers\":[{\"name\":\"main\",\"image\":\"x\",\"command\":[\"forever\"]}]");
    expect(&w, "c", "i.started", "true");
    put_ephemeral(&w, "c", "[{\"name\":\"e\",\"image\":\"x\",\"command\":[\"exit\",\"0\"],\"targetContainerName\":\"main\"}]");
    expect(&w, "c", "e.state.waiting.reason", "CreateContainerConfigError");
    expect(&w, "c", "e.state.waiting.message", "unable to find target container main");
    expect(&w, "c", "phase", "Pending");
    world_close(&w);
}

static void init_containers(void **state)
{
    struct world w;
    world_open(&w);
    AUTOFREE char *ok = container("a", "[\"sleep\",\"20\"]"), *bad = container("b", "[\"exit\",\"2\"]");
    AUTOFREE char *mainc = container("main", "[\"exit\",\"0\"]");
    AUTOFREE char *good = xasprintf("\"restartPolicy\":\"Never\",\"initContainers\":[%s],\"containers\":[%s]", ok, mainc);
    AUTOFREE char *fails =
        xasprintf("\"restartPolicy\":\"Never\",\"initContainers\":[%s,%s],\"containers\":[%s]", ok, bad, mainc);
    put_pod(&w, "good", good);
    put_pod(&w, "fails", fails);
    expect(&w, "good", "phase", "Succeeded");
    expect(&w, "good", "i.state.terminated.reason", "Completed");
    expect(&w, "fails", "phase", "Failed");
    expect(&w, "fails", "c.state.waiting.reason", "PodInitializing");
    world_close(&w);
}

#define PROBE(what, program) "\"" what "\":{\"exec\":{\"command\":[\"" program "\"]},\"periodSeconds\":1,\"failureThreshold\":1}"
#define MAIN(command, more)  "\"containers\":[{\"name\":\"main\",\"image\":\"x\",\"command\":" command "," more "}]"

static bool has_event(struct world *w, const char *text)
{
    struct ctx ctx = ctx_background();
    CLEANUP(kube_list_free) struct kube_list l = {0};
    struct kube *k = fake_kube_face(w->fake);
    bool found = false;
    ERR(e);
    if (kube_list(k, &ctx, &KUBE_EVENTS, "ns", NULL, &l, &e) < 0)
        return false;
    for (size_t i = 0; i < l.n; i++) {
        const char *message = event_message(json_root(l.items[i]));
        found |= message && strstr(message, text);
    }
    return found;
}

static void expect_event(struct world *w, const char *text)
{
    for (int i = 0; i < 12000 && !has_event(w, text); i++)
        usleep(5000);
    if (!has_event(w, text))
        fail_msg("no event says \"%s\"", text);
}

static void ask_delete(struct world *w, const char *name, int grace);

static void probes(void **state)
{
    struct world w;
    world_open(&w);
    __atomic_store_n(&w.healthy, 1, __ATOMIC_SEQ_CST);
    put_pod(&w, "waits", MAIN("[\"forever\"]", PROBE("readinessProbe", "check")));
    put_pod(
        &w, "starts",
        MAIN("[\"forever\"]",
             PROBE("readinessProbe", "well") "," PROBE(
                 "livenessProbe",
                 "well") ","
                         "\"startupProbe\":{\"exec\":{\"command\":[\"check\"]},\"periodSeconds\":1,\"failureThreshold\":30}"));
    put_pod(&w, "ill", "\"terminationGracePeriodSeconds\":1," MAIN("[\"forever\"]", PROBE("livenessProbe", "ill")));
    put_pod(&w, "once", "\"restartPolicy\":\"Never\"," MAIN("[\"forever\"]", PROBE("livenessProbe", "ill")));
    put_pod(&w, "hangs", MAIN("[\"forever\"]", PROBE("readinessProbe", "hang")));
    put_pod(&w, "never", MAIN("[\"forever\"]", PROBE("startupProbe", "ill")));
    expect(&w, "waits", "c.started", "true");
    expect_event(&w, "Readiness probe failed: ");
    expect(&w, "waits", "c.ready", "false");
    expect(&w, "starts", "c.started", "false");
    expect(&w, "starts", "c.ready", "false");
    __atomic_store_n(&w.healthy, 0, __ATOMIC_SEQ_CST);
    expect(&w, "waits", "c.ready", "true");
    expect(&w, "starts", "c.started", "true");
    expect(&w, "starts", "c.ready", "true");
    __atomic_store_n(&w.healthy, 1, __ATOMIC_SEQ_CST);
    expect(&w, "waits", "c.ready", "false");
    expect(&w, "starts", "c.ready", "true");
    expect(&w, "ill", "c.lastState.terminated.exitCode", "143");
    expect_event(&w, "Liveness probe failed: not well");
    expect_event(&w, "Container main failed liveness probe, will be restarted");
    expect(&w, "once", "phase", "Failed");
    expect(&w, "once", "c.state.terminated.exitCode", "143");
    expect_event(&w, "Container main failed liveness probe");
    expect(&w, "never", "c.lastState.terminated.exitCode", "143");
    expect_event(&w, "Container main failed startup probe, will be restarted");
    expect_event(&w, "command timed out: \"hang\" timed out after 1s");
    world_close(&w);
}

static void hooks(void **state)
{
    struct world w;
    world_open(&w);
    put_pod(&w, "after",
            MAIN("[\"forever\"]", "\"lifecycle\":{\"postStart\":{\"exec\":{\"command\":[\"well\"]}},"
                                  "\"preStop\":{\"exec\":{\"command\":[\"count\"]}}}"));
    put_pod(&w, "hangs", MAIN("[\"forever\"]", "\"lifecycle\":{\"postStart\":{\"exec\":{\"command\":[\"hang\"]}}}"));
    put_pod(&w, "bad",
            "\"terminationGracePeriodSeconds\":1," MAIN("[\"forever\"]",
                                                        "\"lifecycle\":{\"postStart\":{\"exec\":{\"command\":[\"ill\"]}}}"));
    put_pod(&w, "slow",
            "\"terminationGracePeriodSeconds\":1," MAIN("[\"forever\"]",
                                                        "\"lifecycle\":{\"preStop\":{\"exec\":{\"command\":[\"hang\"]}}}"));
    expect(&w, "after", "c.ready", "true");
    expect(&w, "slow", "c.ready", "true");
    expect(&w, "hangs", "c.ready", "false");
    expect(&w, "bad", "c.lastState.terminated.exitCode", "143");
    expect_event(&w, "PostStartHook failed");
    expect_event(&w, "FailedPostStartHook");
    ask_delete(&w, "after", 30);
    expect_gone(&w, "after"); /* of the API in memory it goes with the first write of its status, hook or not */
    for (int i = 0; i < 12000 && !__atomic_load_n(&w.asked, __ATOMIC_SEQ_CST); i++)
        usleep(5000);
    assert_int_equal(w.asked, 1);
    ask_delete(&w, "slow", 1);
    expect_gone(&w, "slow");
    put_pod(&w, "rude", MAIN("[\"forever\"]", "\"lifecycle\":{\"preStop\":{\"exec\":{\"command\":[\"ill\"]}}}"));
    expect(&w, "rude", "c.ready", "true");
    ask_delete(&w, "rude", 30);
    expect_gone(&w, "rude");
    expect_event(&w, "PreStopHook failed");
    world_close(&w);
}

#define SIDECAR(name, command, more)                                                                                             \
    "{\"name\":\"" name "\",\"image\":\"x\",\"restartPolicy\":\"Always\",\"command\":" command more "}"

static void sidecars(void **state)
{
    struct world w;
    world_open(&w);
    __atomic_store_n(&w.healthy, 1, __ATOMIC_SEQ_CST);
    put_pod(&w, "job",
            "\"restartPolicy\":\"Never\",\"initContainers\":[" SIDECAR(
                "s", "[\"forever\"]", "") "],"
                                          "\"containers\":[{\"name\":\"main\",\"image\":\"x\",\"command\":[\"sleep\",\"500\"]}]");
    put_pod(&w, "late",
            "\"restartPolicy\":\"Never\",\"initContainers\":[" SIDECAR(
                "s", "[\"forever\"]",
                "," PROBE("startupProbe",
                          "check")) "],"
                                    "\"containers\":[{\"name\":\"main\",\"image\":\"x\",\"command\":[\"exit\",\"3\"]}]");
    put_pod(&w, "again",
            "\"restartPolicy\":\"Never\",\"initContainers\":[" SIDECAR(
                "s", "[\"exit\",\"1\"]", "") "],"
                                             "\"containers\":[{\"name\":\"main\",\"image\":\"x\",\"command\":[\"forever\"]}]");
    expect(&w, "job", "i.ready", "true");
    expect(&w, "job", "i.started", "true");
    expect(&w, "job", "phase", "Running");
    expect(&w, "job", "phase", "Succeeded");
    expect(&w, "job", "i.state.terminated.exitCode", "143");
    expect(&w, "late", "c.state.waiting.reason", "PodInitializing");
    expect(&w, "again", "i.lastState.terminated.exitCode", "1");
    __atomic_store_n(&w.healthy, 0, __ATOMIC_SEQ_CST);
    expect(&w, "late", "phase", "Failed");
    expect(&w, "late", "c.state.terminated.exitCode", "3");
    world_close(&w);
}

static void refused(void **state)
{
    static const struct {
        const char *name, *spec, *reason, *message;
    } cases[] = {
        {"cpu", "\"containers\":[{\"name\":\"m\",\"image\":\"x\",\"resources\":{\"requests\":{\"cpu\":\"100k\"}}}]", "OutOfcpu",
         "Node didn't have enough resource: cpu, requested: 100000000, used: "},
        {"memory", "\"containers\":[{\"name\":\"m\",\"image\":\"x\",\"resources\":{\"requests\":{\"memory\":\"9Ti\"}}}]",
         "OutOfmemory", "requested: 9895604649984"},
        {"sidecar",
         "\"initContainers\":[{\"name\":\"s\",\"image\":\"x\",\"restartPolicy\":\"Always\",\"resources\":{\"requests\":{\"cpu\":"
         "\"60k\"}}},"
         "{\"name\":\"i\",\"image\":\"x\",\"resources\":{\"requests\":{\"cpu\":\"70k\"}}}],"
         "\"containers\":[{\"name\":\"m\",\"image\":\"x\",\"resources\":{\"requests\":{\"cpu\":\"10k\"}}}]",
         "OutOfcpu", "requested: 130000000"},
        {"sysctl",
         "\"securityContext\":{\"sysctls\":[{\"name\":\"kernel/msgmax\",\"value\":\"1\"}]}," MAIN("[\"forever\"]",
                                                                                                  "\"tty\":false"),
         "SysctlForbidden", "forbidden sysctl: \"kernel.msgmax\" not allowlisted"},
        {"hostnet",
         "\"hostNetwork\":true,\"securityContext\":{\"sysctls\":[{\"name\":\"net.ipv4.tcp_syncookies\",\"value\":\"1\"}]}," MAIN(
             "[\"forever\"]", "\"tty\":false"),
         "SysctlForbidden", "not allowed with host net enabled"},
    };
    struct world w;
    world_open(&w);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        put_pod(&w, cases[i].name, cases[i].spec);
        expect(&w, cases[i].name, "phase", "Failed");
        expect(&w, cases[i].name, "reason", cases[i].reason);
        JSON_REF(o) = fake_get(w.fake, &KUBE_PODS, "ns", cases[i].name);
        assert_non_null(strstr(pod_status_message(pod_status(json_root(o))), cases[i].message));
    }
    world_close(&w);
}

static void put_large(struct world *w, const char *name)
{
    long long most = (long long)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE) / 10 * 6;
    AUTOFREE char *spec = xasprintf("\"containers\":[{\"name\":\"m\",\"image\":\"x\",\"command\":[\"forever\"],\"resources\":{"
                                    "\"requests\":{\"memory\":\"%lld\"}}}]",
                                    most);
    put_pod(w, name, spec);
}

static bool has_phase(struct world *w, const char *name, const char *phase)
{
    JSON_REF(o) = fake_get(w->fake, &KUBE_PODS, "ns", name);
    return str_eq(pod_status_phase(pod_status(json_root(o))), phase);
}

/* Bound at once, of pods that only fit alone one is taken in, whatever statuses say by then; what ended makes room, a restart
 * does not. */
static void room_for_one(void **state)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    struct world w;
    world_open(&w);
    for (int round = 0; round < 10; round++) {
        int failed = 0, run = 0;
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            put_large(&w, names[i]);
        for (int tries = 0; tries < 12000 && failed + run < 4; tries++) {
            failed = run = 0;
            for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                failed += has_phase(&w, names[i], "Failed");
                run += has_phase(&w, names[i], "Running");
            }
            usleep(5000);
        }
        assert_int_equal(failed, 3);
        assert_int_equal(run, 1);
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
            ask_delete(&w, names[i], 1);
            expect_gone(&w, names[i]);
        }
    }
    put_large(&w, "stays");
    expect(&w, "stays", "phase", "Running");
    node_stop(w.node, NODE_KEEP);
    start(&w);
    put_large(&w, "more");
    expect(&w, "more", "reason", "OutOfmemory");
    world_close(&w);
}

static void readiness_gates(void **state)
{
    struct world w;
    world_open(&w);
    put_pod(&w, "gated", "\"readinessGates\":[{\"conditionType\":\"ex.com/up\"}]," MAIN("[\"forever\"]", "\"tty\":false"));
    expect(&w, "gated", "c.ready", "true");
    JSON_REF(o) = fake_get(w.fake, &KUBE_PODS, "ns", "gated");
    AUTOFREE char *text = jv_text(pod_status_conditions(pod_status(json_root(o))), JW_COMPACT);
    assert_non_null(strstr(text, "\"ReadinessGatesNotReady\""));
    assert_non_null(strstr(text, "corresponding condition of pod readiness gate \\\"ex.com/up\\\" does not exist."));
    world_close(&w);
}

/* Asks for an end as the API server does: a time stamp and the grace. */
static void ask_delete(struct world *w, const char *name, int grace)
{
    JSON_REF(o) = fake_get(w->fake, &KUBE_PODS, "ns", name);
    JM(m, json_root(o));
    jmval *meta = jmv_get(jm_root(m), "metadata");
    object_meta_set_deletion_timestamp(m, meta, "2026-11-25T13:00:00Z");
    object_meta_set_deletion_grace_period_seconds(m, meta, grace);
    JSON_REF(doc) = jm_freeze(m);
    AUTOFREE char *text = jv_text(json_root(doc), JW_COMPACT);
    json_unref(fake_put(w->fake, &KUBE_PODS, "%s", text));
}

static void deletion(void **state)
{
    struct world w;
    world_open(&w);
    put_simple(&w, "polite", "Always", "[\"forever\"]");
    put_simple(&w, "stubborn", "Always", "[\"stubborn\"]");
    put_simple(&w, "done", "Never", "[\"exit\",\"0\"]");
    put_simple(&w, "forced", "Always", "[\"forever\"]");
    expect(&w, "polite", "c.ready", "true");
    expect(&w, "stubborn", "c.ready", "true");
    expect(&w, "forced", "c.ready", "true");
    expect(&w, "done", "phase", "Succeeded");
    ask_delete(&w, "polite", 30);
    ask_delete(&w, "stubborn", 1);
    ask_delete(&w, "done", 30);
    fake_remove(w.fake, &KUBE_PODS, "ns", "forced");
    expect_gone(&w, "polite");
    expect_gone(&w, "done");
    expect_gone(&w, "stubborn");
    /* Nothing of them is left, logs included. */
    AUTOFREE char *pods = fs_join(w.dir, "node/pods"), *logs = fs_join(w.dir, "logs/pods");
    for (int i = 0; i < 12000 && fs_du(pods) + fs_du(logs); i++)
        usleep(5000);
    AUTOFREE char *left = node_test_sh("ls %s %s | grep -v : | tr -d '\\n'", pods, logs);
    for (int i = 0; i < 6000 && *left; i++) {
        usleep(10000);
        free(left);
        left = node_test_sh("ls %s %s | grep -v : | tr -d '\\n'", pods, logs);
    }
    assert_string_equal(left, "");
    world_close(&w);
}

/* A pod that is made anew under its name before the old one has ended: the old one is forgotten in a turn that goes on with the
 * new one. */
static void same_name(void **state)
{
    struct world w;
    world_open(&w);
    put_simple(&w, "web", "Always", "[\"stubborn\"]");
    expect(&w, "web", "c.ready", "true");
    fake_remove(w.fake, &KUBE_PODS, "ns", "web");
    put_simple(&w, "web", "Always", "[\"forever\"]");
    expect(&w, "web", "c.ready", "true");
    JSON_REF(o) = fake_get(w.fake, &KUBE_PODS, "ns", "web");
    AUTOFREE char *pods = fs_join(w.dir, "node/pods"), *left = NULL;
    for (int i = 0; i < 12000 && (!left || strcmp(left, obj_uid(json_root(o))) != 0); i++) {
        usleep(5000);
        free(left);
        left = node_test_sh("ls %s | tr -d '\\n'", pods);
    }
    assert_string_equal(left, obj_uid(json_root(o)));
    usleep(20000);
    world_close(&w);
}

static void deadline(void **state)
{
    struct world w;
    world_open(&w);
    put_pod(&w, "late",
            "\"restartPolicy\":\"Never\",\"activeDeadlineSeconds\":1,\"containers\":[{\"name\":\"main\",\"image\":\"x\","
            "\"command\":[\"forever\"]}]");
    expect(&w, "late", "phase", "Failed");
    expect(&w, "late", "reason", "DeadlineExceeded");
    expect(&w, "late", "c.state.terminated.exitCode", "143");
    world_close(&w);
}

/* A running pod sees a change of its ConfigMap, and one that waits for a Secret does not wait for its next turn. */
static void source_changes(void **state)
{
    struct world w;
    world_open(&w);
    json_unref(
        fake_put(w.fake, &KUBE_CONFIGMAPS, "{\"metadata\":{\"name\":\"cm\",\"namespace\":\"ns\"},\"data\":{\"a\":\"1\"}}"));
    put_pod(&w, "reads",
            "\"containers\":[{\"name\":\"main\",\"image\":\"x\",\"command\":[\"forever\"]}],"
            "\"volumes\":[{\"name\":\"v\",\"configMap\":{\"name\":\"cm\"}}]");
    expect(&w, "reads", "c.ready", "true");
    JSON_REF(pod) = fake_get(w.fake, &KUBE_PODS, "ns", "reads");
    AUTOFREE char *file = xasprintf("%s/node/pods/%s/volumes/v/a", w.dir, obj_uid(json_root(pod)));
    json_unref(
        fake_put(w.fake, &KUBE_CONFIGMAPS, "{\"metadata\":{\"name\":\"cm\",\"namespace\":\"ns\"},\"data\":{\"a\":\"2\"}}"));
    BUF(text);
    for (int i = 0; i < 12000 && strcmp(buf_str(&text), "2") != 0; i++) {
        usleep(5000);
        buf_reset(&text);
        assert_int_equal(fs_read(file, 100, &text, NULL), 0);
    }
    assert_string_equal(buf_str(&text), "2");
    world_close(&w);
}

static bool watch_is_refused(void *arg)
{
    struct world *w = arg;
    return fake_calls(w->fake, "watch", "pods") >= 2;
}

/* A pod that has ended and is gone does not begin anew because the cache still has it. */
static void old_view(void **state)
{
    struct world w;
    world_open(&w);
    json_unref(fake_put(w.fake, &KUBE_CONFIGMAPS, "{\"metadata\":{\"name\":\"cm\",\"namespace\":\"ns\"},\"data\":{}}"));
    put_pod(&w, "p",
            "\"restartPolicy\":\"Never\",\"containers\":[{\"name\":\"main\",\"image\":\"x\",\"command\":[\"sleep\",\"1000\"]}],"
            "\"volumes\":[{\"name\":\"v\",\"configMap\":{\"name\":\"cm\"}}]");
    expect(&w, "p", "phase", "Running");
    JSON_REF(pod) = fake_get(w.fake, &KUBE_PODS, "ns", "p");
    AUTOFREE char *logs = xasprintf("%s/logs/pods/ns_p_%s", w.dir, obj_uid(json_root(pod)));
    assert_true(fs_is_dir(logs));
    fake_fail(w.fake, "watch", "pods", 1000, ERR_UNAVAILABLE);
    fake_end_watches(w.fake, "pods", ERR_UNAVAILABLE);
    assert_true(fake_eventually(watch_is_refused, &w));
    fake_remove(w.fake, &KUBE_PODS, "ns", "p");
    for (int i = 0; i < 12000 && fs_is_dir(logs); i++)
        usleep(5000);
    assert_false(fs_is_dir(logs));
    json_unref(
        fake_put(w.fake, &KUBE_CONFIGMAPS, "{\"metadata\":{\"name\":\"cm\",\"namespace\":\"ns\"},\"data\":{\"a\":\"1\"}}"));
    usleep(200000);
    assert_int_equal(__atomic_load_n(&w.begun, __ATOMIC_SEQ_CST), 1);
    world_close(&w);
}

/* A new node on the rows of the old one. The scripted runtime forgets, as a machine does in a crash: what ran is lost. */
static void new_life(void **state)
{
    struct world w;
    world_open(&w);
    put_simple(&w, "done", "Never", "[\"exit\",\"3\"]");
    put_simple(&w, "lost", "Never", "[\"forever\"]");
    put_simple(&w, "again", "Always", "[\"forever\"]");
    expect(&w, "done", "phase", "Failed");
    expect(&w, "lost", "c.ready", "true");
    expect(&w, "again", "c.ready", "true");
    node_stop(w.node, NODE_KEEP);
    start(&w);
    expect(&w, "lost", "phase", "Failed");
    expect(&w, "lost", "c.state.terminated.reason", "ContainerStatusUnknown");
    expect(&w, "again", "c.restartCount", "1");
    expect(&w, "again", "c.lastState.terminated.exitCode", "137");
    expect(&w, "done", "c.state.terminated.exitCode", "3");
    world_close(&w);
}

static void api_trouble(void **state)
{
    struct world w;
    world_open(&w);
    fake_fail(w.fake, "update", "pods", 3, ERR_UNAVAILABLE);
    put_simple(&w, "a", "Never", "[\"exit\",\"0\"]");
    expect(&w, "a", "phase", "Succeeded");
    fake_fail(w.fake, "update", "pods", 2, ERR_CONFLICT);
    put_simple(&w, "b", "Never", "[\"exit\",\"1\"]");
    expect(&w, "b", "phase", "Failed");
    world_close(&w);
}

static void messages_and_logs(void **state)
{
    struct world w;
    world_open(&w);
    put_simple(&w, "say", "Never", "[\"say\"]");
    expect(&w, "say", "phase", "Succeeded");
    expect(&w, "say", "c.state.terminated.message", "the last word");
    JSON_REF(pod) = fake_get(w.fake, &KUBE_PODS, "ns", "say");
    const struct node_api *api = node_api(w.node);
    struct ctx ctx = ctx_background();
    struct kube_log_opts o = {.container = "main", .tail_lines = -1};
    ERR(e);
    BUF(text);
    struct node_log *log = api->log_open(api->self, &ctx, json_root(pod), &o, NULL, NULL, &e);
    assert_non_null(log);
    while (log->read(log, 65536, &text, &e) == 1)
        ;
    assert_string_equal(buf_str(&text), "hello\n");
    log->close(log);
    static const struct {
        struct kube_log_opts opts;
        const char *text;
    } bad[] = {
        {{.container = "nope"}, "container nope is not valid for pod say"},
        {{.container = "main", .previous = true}, "previous terminated container \"main\" in pod \"say\" not found"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_null(api->log_open(api->self, &ctx, json_root(pod), &bad[i].opts, NULL, NULL, &e));
        assert_int_equal(e.code, ERR_BAD_REQUEST);
        assert_string_equal(err_text(&e), bad[i].text);
        err_clear(&e);
    }
    world_close(&w);
}

static void node_object(void **state)
{
    struct world w;
    world_open(&w);
    JSON_REF(o) = fake_get(w.fake, &KUBE_NODES, NULL, "n1");
    jval *n = json_root(o);
    assert_true(obj_condition_is(n, "Ready", "True"));
    assert_true(obj_condition_is(n, "DiskPressure", "False"));
    assert_string_equal(obj_label(n, "kubernetes.io/os"), "linux");
    assert_non_null(jv_str(jv_get(node_status_allocatable(node_status(n)), "memory")));
    world_close(&w);
}

TEST_GROUP(pod, cmocka_unit_test(ends), cmocka_unit_test(restarts), cmocka_unit_test(waits), cmocka_unit_test(image_volumes),
           cmocka_unit_test(ephemeral), cmocka_unit_test(init_containers), cmocka_unit_test(probes), cmocka_unit_test(hooks),
           cmocka_unit_test(sidecars), cmocka_unit_test(readiness_gates), cmocka_unit_test(refused),
           cmocka_unit_test(room_for_one), cmocka_unit_test(deletion), cmocka_unit_test(same_name), cmocka_unit_test(deadline),
           cmocka_unit_test(source_changes), cmocka_unit_test(old_view), cmocka_unit_test(new_life),
           cmocka_unit_test(api_trouble), cmocka_unit_test(messages_and_logs), cmocka_unit_test(node_object))
