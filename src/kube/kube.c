#include "kube/kube.h"

#include <stdlib.h>

void kube_list_free(struct kube_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        json_unref(l->items[i]);
    free(l->items);
    free(l->resource_version);
    free(l->continue_token);
    *l = (struct kube_list){0};
}

struct kube_process *kube_exec(struct kube *k, const struct ctx *ctx, const char *ns, const char *pod,
                               const struct kube_exec_opts *opts, struct err *err)
{
    if (k->ops->exec)
        return k->ops->exec(k, ctx, ns, pod, opts, err);
    err_set(err, ERR_METHOD, "programs cannot be run in pods over this connection");
    return NULL;
}

struct kube_pipe *kube_log(struct kube *k, const struct ctx *ctx, const char *ns, const char *pod, const struct kube_log_opts *lo,
                           struct err *err)
{
    if (k->ops->log)
        return k->ops->log(k, ctx, ns, pod, lo, err);
    err_set(err, ERR_METHOD, "logs cannot be followed over this connection");
    return NULL;
}

struct kube_pipe *kube_forward(struct kube *k, const struct ctx *ctx, const char *ns, const char *pod, int port, struct err *err)
{
    if (port < 1 || port > 65535) {
        err_set(err, ERR_BAD_REQUEST, "%d is no port", port);
        return NULL;
    }
    if (k->ops->forward)
        return k->ops->forward(k, ctx, ns, pod, port, err);
    err_set(err, ERR_METHOD, "ports of pods cannot be reached over this connection");
    return NULL;
}
