/* log_stream.c - logs of a container over HTTP. */
#include "cluster/apiserver/face.h"
#include "kube/streaming/streaming.h"

int handle_log(struct op *op, struct http_req *req, struct http_res *res, struct err *err)
{
    struct kube_log_opts asked, opts;
    OBJ_REF(pod) = NULL;
    AUTOFREE char *container = NULL;
    if (streaming_log_opts(req, &asked, err) < 0 || sub_log_options(op, &asked, &opts, &pod, &container, err) < 0)
        return -1;
    if (!pod) {
        http_body(res, "text/plain", "", 0);
        return 0;
    }
    struct streaming_log *s = streaming_log_new(op->a->log_pool);
    const struct node_api *node = &op->a->node_door;
    struct node_log *log = node->log_open(node->self, op->ctx, obj_root(pod), &opts, streaming_log_notify, s, err);
    if (!log) {
        streaming_log_drop(s);
        return -1;
    }
    streaming_log_answer(s, log, res);
    return 0;
}
