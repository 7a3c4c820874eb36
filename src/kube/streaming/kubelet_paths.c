#include "kube/streaming/kubelet_paths.h"

#include <stdlib.h>

#include "value/json.h"

#define ASK_LIMIT_NS (10 * NS_PER_S)

static struct json *pod_of(struct kubelet_paths *k, struct http_req *req, struct err *err)
{
    struct json *pod = k->pod(k->self, http_param(req, "ns"), http_param(req, "pod"));
    if (!pod)
        err_set(err, ERR_NOT_FOUND, "pod \"%s\" not found", http_param(req, "pod"));
    return pod;
}

static int get_health(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    http_text(res, 200, "ok");
    return 0;
}

static int get_pods(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct kubelet_paths *k = self;
    size_t n;
    struct json **all = k->pods(k->self, &n);
    BUF(out);
    buf_adds(&out, "{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{},\"items\":[");
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_addc(&out, ',');
        jv_write(json_root(all[i]), JW_COMPACT, &out);
        json_unref(all[i]);
    }
    free(all);
    buf_adds(&out, "]}");
    http_body_buf(res, "application/json", &out);
    return 0;
}

static int get_log(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct kubelet_paths *k = self;
    struct kube_log_opts o;
    JSON_REF(pod) = NULL;
    if (streaming_log_opts(req, &o, err) < 0 || !(pod = pod_of(k, req, err)))
        return -1;
    o.container = http_param(req, "container");
    struct streaming_log *s = streaming_log_new(k->pool);
    struct node_log *log = k->node->log_open(k->node->self, ctx, json_root(pod), &o, streaming_log_notify, s, err);
    if (!log) {
        streaming_log_drop(s);
        return -1;
    }
    streaming_log_answer(s, log, res);
    return 0;
}

/* The API server speaks of streams as input, output and error, where clients say stdin, stdout and stderr. */
static int process_opts(struct http_req *req, bool exec, struct node_process_opts *o, struct err *err)
{
    const struct streaming_words words = {http_param(req, "container"), "input", "output", "error"};
    return streaming_process_words(req, exec, &words, o, err);
}

static int run_process(struct kubelet_paths *k, struct ctx *ctx, struct http_req *req, struct http_res *res, bool exec,
                       struct err *err)
{
    struct node_process_opts o;
    struct streaming_how how;
    struct node_process process = NODE_PROCESS_NONE;
    JSON_REF(pod) = pod_of(k, req, err);
    if (!pod || process_opts(req, exec, &o, err) < 0 || streaming_negotiate(req, STREAMING_PROCESS, &how, err) < 0 ||
        k->node->process_open(k->node->self, ctx, json_root(pod), &o, &process, err) < 0)
        return -1;
    streaming_process(req, res, &how, &o, &process);
    return 0;
}

static int on_exec(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    return run_process(self, ctx, req, res, true, err);
}

static int on_attach(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    return run_process(self, ctx, req, res, false, err);
}

struct forward_to {
    const struct node_api *node;
    struct json *pod;
};

static int dial(void *arg, int port, int *fd, struct err *err)
{
    struct forward_to *f = arg;
    struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, ASK_LIMIT_NS);
    return f->node->dial(f->node->self, &ctx, json_root(f->pod), port, fd, err);
}

static void release(void *arg)
{
    struct forward_to *f = arg;
    json_unref(f->pod);
    free(f);
}

static int on_forward(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct kubelet_paths *k = self;
    struct streaming_how how;
    JSON_REF(pod) = pod_of(k, req, err);
    if (!pod || streaming_negotiate(req, STREAMING_FORWARD, &how, err) < 0)
        return -1;
    struct forward_to *f = xcalloc(1, sizeof *f);
    *f = (struct forward_to){k->node, json_ref(pod)};
    struct streaming_dial d = {
        .dial = dial, .release = release, .arg = f, .pool = k->pool, .pod = xstrdup(http_param(req, "pod"))};
    return streaming_forward(req, res, &how, &d, err);
}

void kubelet_write_error(void *self, struct http_req *req, struct http_res *res, const struct err *e)
{
    if (!req->route && e->code == ERR_NOT_FOUND)
        http_text(res, 404, "404 page not found\n");
    else
        http_text(res, err_http_status(e), "%s", err_text(e));
}

bool kubelet_path_acts(const char *path)
{
    static const char *const acts[] = {"exec", "attach", "portForward"};
    while (*path == '/')
        path++;
    for (size_t i = 0; i < ARRAY_LEN(acts); i++)
        if (strncmp(path, acts[i], strlen(acts[i])) == 0)
            return true;
    return false;
}

#define NODE_PERM(v, sub)                                                                                                        \
    {                                                                                                                            \
        .verb = (v), .group = "", .resource = "nodes", .subresource = (sub)                                                      \
    }
const struct route kubelet_routes[] = {
    {HTTP_GET, "/healthz", get_health, NODE_PERM("get", "healthz"), 0},
    {HTTP_GET, "/pods", get_pods, NODE_PERM("get", "pods"), 0},
    {HTTP_GET, "/containerLogs/{ns}/{pod}/{container}", get_log, NODE_PERM("get", "proxy"), 0},
    {HTTP_GET | HTTP_POST, "/exec/{ns}/{pod}/{container}", on_exec, NODE_PERM("create", "proxy"), 0},
    {HTTP_GET | HTTP_POST, "/attach/{ns}/{pod}/{container}", on_attach, NODE_PERM("create", "proxy"), 0},
    {HTTP_GET | HTTP_POST, "/portForward/{ns}/{pod}", on_forward, NODE_PERM("create", "proxy"), 0},
};
const size_t kubelet_n_routes = ARRAY_LEN(kubelet_routes);
