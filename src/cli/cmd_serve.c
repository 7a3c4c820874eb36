/* cmd_serve.c - tidemill serve: parts of tidemill against another Kubernetes. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/ctx.h"
#include "base/fs.h"
#include "base/thread.h"
#include "cli/boot.h"
#include "cli/cli.h"
#include "cli/serve.h"

#define LOG_ROOM "serve"
#include "base/log.h"

struct serve {
    const struct command *self;
    const char *data, *shared, *ready_file, *log_level;
    struct strlist only, host_images, host_envs, host_paths, proxies;
    struct caller caller;
    char *data_dir, *shared_dir, *artifacts_dir;
    struct serve_options o;
};

static int choose_parts(struct serve *v, struct err *err)
{
    const struct {
        const char *name;
        bool *flag;
    } parts[] = {
        {"pipelines", &v->o.pipelines}, {"node", &v->o.node}, {"scheduler", &v->o.scheduler}, {"controllers", &v->o.controllers}};
    v->o.pipelines = v->only.n == 0;
    for (size_t i = 0; i < v->only.n; i++) {
        STRLIST(names);
        str_split(v->only.v[i], ',', &names);
        for (size_t n = 0; n < names.n; n++) {
            size_t k = 0;
            while (k < ARRAY_LEN(parts) && !str_eq(parts[k].name, names.v[n]))
                k++;
            if (k == ARRAY_LEN(parts))
                return err_set(err, ERR_BAD_REQUEST, "--only %s: the parts are pipelines, node, scheduler and controllers",
                               names.v[n]);
            *parts[k].flag = true;
        }
    }
    return 0;
}

static int check_doors(const struct serve *v, struct err *err)
{
    const struct serve_options *o = &v->o;
    if (!o->tls_cert != !o->tls_key)
        return err_set(err, ERR_BAD_REQUEST, "--tls-cert and --tls-key go together");
    if (!strchr(o->listen, ':'))
        return err_set(err, ERR_BAD_REQUEST, "--listen %s: an address with a port is wanted (127.0.0.1:8080)", o->listen);
    if (!o->tls_cert && !address_is_loopback(o->listen))
        return err_set(err, ERR_FORBIDDEN,
                       "--listen %s: tokens must not cross a network in the clear: give --tls-cert and --tls-key, or listen on "
                       "loopback (127.0.0.1:8080)",
                       o->listen);
    if (!o->proxy_listen != !v->proxies.n)
        return err_set(err, ERR_BAD_REQUEST, "--proxy-listen and --proxy-from (the API server's addresses) go together");
    return 0;
}

static int check(struct serve *v, struct err *err)
{
    struct serve_options *o = &v->o;
    if (choose_parts(v, err) < 0 || cli_log_level(v->log_level, err) < 0)
        return -1;
    if (o->in_cluster && (o->kubeconfig || o->context))
        return err_set(err, ERR_BAD_REQUEST, "--in-cluster takes what the pod has: --kubeconfig and --context do not go with it");
    if (check_doors(v, err) < 0)
        return -1;
    if (o->agent_image && o->agent_from_node)
        return err_set(err, ERR_BAD_REQUEST, "--agent-image and --agent-from-node: only one of them can be meant");
    if (o->claim && !v->shared)
        return err_set(err, ERR_BAD_REQUEST, "--claim %s: say with --shared DIR where it is mounted here", o->claim);
    if (o->apart && (o->claim || v->shared))
        return err_set(err, ERR_BAD_REQUEST,
                       "--object-stores: nothing is shared with pods, so --shared and --claim do not go with it");
    if (o->apart && !o->agent_image)
        o->agent_from_node = true;
    if (!o->node_cert != !o->node_key)
        return err_set(err, ERR_BAD_REQUEST, "--node-cert and --node-key go together");
    return 0;
}

/* Where links do not matter any more: parts of it are named to other machines. */
static int real_dir(const char *path, char **out, struct err *err)
{
    if (fs_mkdir_p(path, 0700, err) < 0)
        return -1;
    *out = realpath(path, NULL);
    return *out ? 0 : err_errno(err, "%s", path);
}

static int prepare(struct serve *v, struct err *err)
{
    AUTOFREE char *data = place_data_dir(v->data, err);
    if (!data || real_dir(data, &v->data_dir, err) < 0 || real_dir(v->shared ? v->shared : data, &v->shared_dir, err) < 0)
        return -1;
    v->o.data_dir = v->data_dir;
    v->o.shared_dir = v->shared_dir;
    v->o.artifacts_dir = v->artifacts_dir = fs_join(v->shared_dir, "artifacts");
    v->o.caller = &v->caller;
    strlist_take(&v->host_images, NULL);
    strlist_take(&v->host_envs, NULL);
    strlist_take(&v->host_paths, NULL);
    strlist_take(&v->proxies, NULL);
    v->o.proxies = (const char *const *)v->proxies.v;
    v->o.host_images = (const char *const *)v->host_images.v;
    v->o.host_envs = (const char *const *)v->host_envs.v;
    v->o.host_paths = (const char *const *)v->host_paths.v;
    return 0;
}

/* ---- signals: waiting for a lease ends by them as well ---- */

struct ending {
    struct cancel cancel;
    sigset_t set;
    int sig;
};

static void *wait_for_signal(void *arg)
{
    struct ending *e = arg;
    while (sigwait(&e->set, &e->sig) != 0)
        ;
    cancel_raise(&e->cancel);
    return NULL;
}

static int start_ending(struct ending *e, pthread_t *thread, struct err *err)
{
    sigemptyset(&e->set);
    sigaddset(&e->set, SIGINT);
    sigaddset(&e->set, SIGTERM);
    sigaddset(&e->set, SIGHUP);
    sigprocmask(SIG_BLOCK, &e->set, NULL);
    if (cancel_init(&e->cancel, err) < 0)
        return -1;
    *thread = thread_start("signals", wait_for_signal, e);
    return 0;
}

static void report(const struct serve *v, struct serving *s, int node_rc, const struct err *node_err)
{
    if (node_rc < 0)
        printf("Pods cannot run here: %s\n", err_text(node_err));
    printf("tidemill %s serves %s (process %d)\n", TIDEMILL_VERSION, serve_server(s), (int)getpid());
    if (serve_url(s))
        printf("  Front door        %s\n", serve_url(s));
    printf("  Data              %s\n", v->data_dir);
    fflush(stdout);
}

static int run(struct serve *v, const struct ctx *ctx, struct ending *ending)
{
    ERR(e);
    struct serving *s = serve_start(&v->o, ctx, &e);
    if (!s)
        return ending->sig ? EXIT_OK : cli_fail(v->self, &e);
    ERR(node_err);
    struct ctx brief = ctx_with_timeout(ctx, 30 * NS_PER_S);
    int node_rc = serve_wait_node(s, &brief, &node_err);
    const struct place_run told = {.pid = getpid(),
                                   .url = serve_url(s) ? serve_url(s) : "",
                                   .kubernetes = serve_server(s),
                                   .data_dir = v->data_dir,
                                   .artifacts_dir = v->o.apart ? NULL : v->o.artifacts_dir};
    if (place_publish(&told, &v->caller, NULL, v->ready_file, NULL, &e) < 0) {
        serve_stop(s, NODE_REMOVE);
        return cli_fail(v->self, &e);
    }
    report(v, s, node_rc, &node_err);
    ctx_sleep(ctx, INT64_MAX / 2, NULL);
    bool lost = serve_lost(s);
    log_info("stopping");
    serve_stop(s, ending->sig == SIGINT ? NODE_REMOVE : NODE_KEEP);
    place_unpublish(v->data_dir, &v->caller, getpid());
    return lost ? EXIT_FAILED : EXIT_OK;
}

static int run_serve(struct serve *v)
{
    ERR(e);
    struct ending ending = {0};
    pthread_t thread;
    cli_be_a_server();
    caller_find(&v->caller);
    if (check(v, &e) < 0 || prepare(v, &e) < 0 || start_ending(&ending, &thread, &e) < 0)
        return cli_fail(v->self, &e);
    struct ctx ctx = ctx_background();
    ctx.cancel = &ending.cancel;
    int code = run(v, &ctx, &ending);
    if (!atomic_load(&ending.cancel.raised))
        kill(getpid(), SIGTERM);
    pthread_join(thread, NULL);
    cancel_close(&ending.cancel);
    return code;
}

static int serve_main(const struct command *self, int argc, char **argv)
{
    struct serve v = {.self = self,
                      .log_level = "info",
                      .o = {.listen = "127.0.0.1:8080", .lease_namespace = "kubeflow", .node_listen = "0.0.0.0:10250"}};
    struct serve_options *o = &v.o;
    const struct opt opts[] = {
        {"kubeconfig", 0, OPT_TEXT, &o->kubeconfig, "FILE",
         "how the API server is reached [$KUBECONFIG, ~/.kube/config, the pod's account]"},
        {"context", 0, OPT_TEXT, &o->context, "NAME", "which of the kubeconfig's contexts [its current one]"},
        {"in-cluster", 0, OPT_FLAG, &o->in_cluster, NULL, "as the service account of the pod that this runs in"},
        {"only", 0, OPT_LIST, &v.only, "PART",
         "pipelines, node, scheduler or controllers; may be given several times [pipelines]"},
        {"data", 0, OPT_TEXT, &v.data, "DIR", "what is kept (root: /var/lib/tidemill, else ~/.local/share/tidemill)"},
        {"listen", 0, OPT_TEXT, &o->listen, "ADDR:PORT", "front door of the pipelines API [127.0.0.1:8080]"},
        {"tls-cert", 0, OPT_TEXT, &o->tls_cert, "FILE",
         "certificate (PEM) of the front door, which may then listen anywhere: callers show tokens of the cluster"},
        {"tls-key", 0, OPT_TEXT, &o->tls_key, "FILE", "its key"},
        {"proxy-listen", 0, OPT_TEXT, &o->proxy_listen, "ADDR:PORT",
         "a door for what the API server passes on (services/proxy), whose callers it has asked who they are"},
        {"proxy-from", 0, OPT_LIST, &v.proxies, "CIDR", "the API server's addresses: nobody else gets in there"},
        {"shared", 0, OPT_TEXT, &v.shared, "DIR",
         "where task directories and artifacts are, which pods see [the data directory]"},
        {"claim", 0, OPT_TEXT, &o->claim, "NAME",
         "the PersistentVolumeClaim that is mounted there; without it pods see this machine's directory"},
        {"object-stores", 0, OPT_FLAG, &o->apart, NULL,
         "pods share no directory with us: artifacts and results go through the stores of pipeline roots (ConfigMap "
         "kfp-launcher)"},
        {"agent-image", 0, OPT_TEXT, &o->agent_image, "IMAGE", "image with /usr/bin/tidemill-agent, from which steps copy it"},
        {"agent-from-node", 0, OPT_FLAG, &o->agent_from_node, NULL, "steps run on nodes of tidemill, which have the agent"},
        {"lease-namespace", 0, OPT_TEXT, &o->lease_namespace, "NS", "of the Lease that only one of several holds [kubeflow]"},
        {"no-engine", 0, OPT_FLAG, &o->no_engine, NULL, "accept runs and leave them PENDING"},
        {"node-name", 0, OPT_TEXT, &o->node_name, "NAME", "name of the Node [the host's]"},
        {"node-listen", 0, OPT_TEXT, &o->node_listen, "ADDR:PORT", "where the API server asks the node for logs [0.0.0.0:10250]"},
        {"node-cert", 0, OPT_TEXT, &o->node_cert, "FILE", "certificate (PEM) that is shown there [a self-signed one]"},
        {"node-key", 0, OPT_TEXT, &o->node_key, "FILE", "its key"},
        {"host-image", 0, OPT_LIST, &v.host_images, "GLOB", "images that this machine's own file system stands in for"},
        {"host-env", 0, OPT_LIST, &v.host_envs, "PREFIX", "a venv, conda or pyenv prefix that such pods see and use"},
        {"host-path", 0, OPT_LIST, &v.host_paths, "DIR", "a directory that such pods see, read-only"},
        {"pod-cidr", 0, OPT_TEXT, &o->pod_cidr, "CIDR", "addresses of pods [chosen so that it does not collide]"},
        {"service-cidr", 0, OPT_TEXT, &o->service_cidr, "CIDR", "addresses that the cluster gives to Services [10.96.0.0/16]"},
        {"pods-reach-metadata", 0, OPT_FLAG, &o->pods_reach_metadata, NULL,
         "let pods ask the cloud's metadata address, where this machine's credentials are"},
        {"ready-file", 0, OPT_TEXT, &v.ready_file, "FILE", "write {pid, url, kubernetes, data} there once everything runs"},
        {"log-level", 0, OPT_TEXT, &v.log_level, "LEVEL", "debug, info, warn or error [info]"},
    };
    STRLIST(rest);
    int code;
    if (cli_options(self, argc, argv, opts, ARRAY_LEN(opts), &rest, 0, 0, &code) < 0)
        return code;
    code = run_serve(&v);
    strlist_free(&v.only);
    strlist_free(&v.host_images);
    strlist_free(&v.host_envs);
    strlist_free(&v.host_paths);
    strlist_free(&v.proxies);
    caller_clear(&v.caller);
    free(v.data_dir);
    free(v.shared_dir);
    free(v.artifacts_dir);
    return code;
}

const struct command cmd_serve = {
    .name = "serve",
    .summary = "Run parts of tidemill against another Kubernetes",
    .usage = "serve [--kubeconfig FILE | --in-cluster] [--only PART]... [OPTIONS]",
    .help = "Without --only this is the pipelines component, as the service account kubeflow/ml-pipeline that deploy/base makes. "
            "Of several such\n"
            "processes one works, by a Lease. SIGTERM leaves pods running; Ctrl-C takes the pods of a node down.",
    .main = serve_main,
};
