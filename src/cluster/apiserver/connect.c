/* connect.c - exec, attach and port-forward: the request is checked as every other, the node opens what is asked for, and
 * kube/streaming carries the bytes. */
#include <stdlib.h>

#include "cluster/apiserver/face.h"
#include "kube/fields.h"
#include "kube/streaming/streaming.h"

bool is_connect(const char *sub) { return str_eq(sub, "exec") || str_eq(sub, "attach") || str_eq(sub, "portforward"); }

static struct store_obj *placed_pod(struct op *op, struct err *err)
{
    OBJ_REF(pod) = sub_parent(op, err);
    if (pod && str_empty(pod_spec_node_name(pod_spec(obj_root(pod))))) {
        err_set(err, ERR_BAD_REQUEST, "pod %s does not have a host assigned", op->name);
        return NULL;
    }
    return TAKE(pod);
}

static int process_open(struct op *op, jval *pod, const struct node_process_opts *o, struct node_process *out, struct err *err)
{
    AUTOFREE char *container = NULL;
    if (sub_container(op, pod, o->container, &container, err) < 0)
        return -1;
    struct node_process_opts full = *o;
    full.container = container;
    const struct node_api *node = &op->a->node_door;
    return node->process_open(node->self, op->ctx, pod, &full, out, err);
}

int sub_process_open(struct op *op, const struct node_process_opts *o, struct node_process *out, struct err *err)
{
    OBJ_REF(pod) = placed_pod(op, err);
    return pod ? process_open(op, obj_root(pod), o, out, err) : -1;
}

static int handle_process(struct op *op, struct http_req *req, struct http_res *res, struct err *err)
{
    struct node_process_opts o;
    struct node_process process = NODE_PROCESS_NONE;
    struct streaming_how how;
    OBJ_REF(pod) = placed_pod(op, err);
    if (!pod || streaming_process_opts(req, str_eq(op->sub, "exec"), &o, err) < 0 ||
        streaming_negotiate(req, STREAMING_PROCESS, &how, err) < 0 || process_open(op, obj_root(pod), &o, &process, err) < 0)
        return -1;
    streaming_process(req, res, &how, &o, &process);
    return 0;
}

/* ---- port-forward --------------------------------------------------------------------------------------------------------- */

struct forwarded {
    struct apiserver *a;
    struct store_obj *pod;
};

static int dial_pod(struct apiserver *a, const struct ctx *ctx, jval *pod, int port, int *fd, struct err *err)
{
    return a->node_door.dial(a->node_door.self, ctx, pod, port, fd, err);
}

static int dial(void *arg, int port, int *fd, struct err *err)
{
    struct forwarded *f = arg;
    struct ctx ctx = ctx_background();
    return dial_pod(f->a, &ctx, obj_root(f->pod), port, fd, err);
}

static void release(void *arg)
{
    struct forwarded *f = arg;
    store_obj_unref(f->pod);
    free(f);
}

static int check_running(jval *pod, struct err *err)
{
    const char *phase = pod_status_phase(pod_status(pod));
    return str_eq(phase, "Running")
               ? 0
               : fail_internal(err, "unable to forward port because pod is not running. Current status=%s", phase);
}

int sub_dial(struct op *op, int port, int *fd, struct err *err)
{
    OBJ_REF(pod) = placed_pod(op, err);
    if (!pod || check_running(obj_root(pod), err) < 0)
        return -1;
    return dial_pod(op->a, op->ctx, obj_root(pod), port, fd, err);
}

static int handle_forward(struct op *op, struct http_req *req, struct http_res *res, struct err *err)
{
    struct streaming_how how;
    OBJ_REF(pod) = placed_pod(op, err);
    if (!pod || streaming_negotiate(req, STREAMING_FORWARD, &how, err) < 0 || check_running(obj_root(pod), err) < 0)
        return -1;
    struct forwarded *f = xcalloc(1, sizeof *f);
    *f = (struct forwarded){.a = op->a, .pod = TAKE(pod)};
    struct streaming_dial d = {.dial = dial, .release = release, .arg = f, .pool = op->a->log_pool, .pod = xstrdup(op->name)};
    return streaming_forward(req, res, &how, &d, err);
}

int handle_connect(struct op *op, struct http_req *req, struct http_res *res, struct err *err)
{
    return str_eq(op->sub, "portforward") ? handle_forward(op, req, res, err) : handle_process(op, req, res, err);
}
