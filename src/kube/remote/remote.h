/* remote.h - `struct kube` over HTTPS: another Kubernetes, or our own from outside.
 *
 *     struct kube_access access;
 *     if (kube_access_load(NULL, NULL, &access, err) < 0) ...
 *     struct kube *k = kube_remote_new(&(struct kube_remote_config){.access = &access, .component = "pipelines"}, err);
 *     ...
 *     kube_remote_free(k);          // nobody is in a call, all watches are closed
 *
 * What a caller may rely on, beyond kube.h:
 *  - Errors have the codes, reasons, causes and texts that the embedded API server gives; a server that cannot be reached is
 *    ERR_UNAVAILABLE, no answer within call_timeout ERR_TIMEOUT, credentials that cannot be had ERR_UNAUTHENTICATED.
 *  - A call is sent again when nothing can have happened by the first: the server said "later" (429, or 5xx with Retry-After: at
 * most ten times), refused the connection, or the call only reads and the connection was lost (three times, with growing pauses).
 * A write whose answer was lost is not repeated: the caller cannot know, and has to look.
 *  - 401 renews credentials that can be renewed (plugins, files), once.
 *  - Calls beyond the rate (token bucket, 50 a second, 100 at once) wait.
 *  - A watch ends cleanly after five to ten minutes, or when its connection is lost after it has begun: start it again from the
 * last revision, as informers do.
 *  - Objects of lists have apiVersion and kind, which a server leaves out of the items of built-in kinds.
 * Warnings of the server are logged, each text once. Source: specs kube.md 20 (client-go rest). */
#ifndef TM_KUBE_REMOTE_REMOTE_H
#define TM_KUBE_REMOTE_REMOTE_H

#include "kube/kube.h"
#include "kube/remote/kubeconfig.h"

struct kube_remote_config {
    struct kube_access *access; /* its content is taken over, also on failure */
    const char *component;      /* for the User-Agent; may be NULL */
    const struct clock *clock;  /* NULL: the system's */
    double qps;                 /* 0: 50; < 0: no limit */
    int burst;                  /* 0: 100 */
    int64_t call_timeout_ns;    /* of every call but a watch's waiting; 0: 60 s */
};
struct kube *kube_remote_new(const struct kube_remote_config *cfg, struct err *err);
void kube_remote_free(struct kube *k); /* NULL is fine */

const char *kube_remote_server(const struct kube *k); /* "https://host:port" */
/* GET of a path that is no resource ("/version", "/openapi/v3"), as JSON; the caller unrefs. */
struct json *kube_remote_get_path(struct kube *k, const struct ctx *ctx, const char *path, struct err *err);
/* Calls fn for every collection that the server says can be listed, watched and deleted, in the version that it prefers. */
int kube_remote_each_kind(struct kube *k, const struct ctx *ctx, void (*fn)(void *arg, const struct kube_res *res), void *arg,
                          struct err *err);

#endif
