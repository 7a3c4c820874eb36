/* internal.h - the inside of the remote API: one request, and what all of them share. Private to remote/. */
#ifndef TM_KUBE_REMOTE_INTERNAL_H
#define TM_KUBE_REMOTE_INTERNAL_H

#include <stdatomic.h>

#include "base/thread.h"
#include "kube/remote/credential.h"
#include "kube/remote/remote.h"
#include "net/client.h"

/* Connections that were made with one certificate. A watch holds on to its own while others have gone on to the next. */
struct session {
    struct http_client *http;
    unsigned cert_serial;
    atomic_uint refs;
};
void session_unref(struct session *s);

struct remote {
    struct kube kube; /* first member */
    struct kube_access access;
    struct identity who;
    char *agent, *proxy;
    const struct clock *clock;
    struct credentials *credentials;
    int64_t call_timeout_ns;
    atomic_int streams_lists; /* 1: yes; -1: no; 0: not yet known */

    pthread_mutex_t lock; /* guards all below */
    struct session *session;
    double qps, burst, tokens;
    int64_t tokens_at_ns;
    struct strmap warned; /* texts of warnings */
};

struct remote_call {
    enum http_method method;
    const char *path;         /* with its query */
    const char *content_type; /* of the body; NULL without */
    const char *accept;       /* NULL: application/json */
    const struct buf *body;   /* NULL: none */
};
/* One call with all that remote.h promises. 0: the answer is 2xx and the caller frees it. */
int remote_fetch(struct remote *r, const struct ctx *ctx, const struct remote_call *call, struct http_answer *out,
                 struct err *err);
/* As remote_fetch, with the body to be read in pieces. *session is to be given back after the body was closed. */
struct http_body *remote_open(struct remote *r, const struct ctx *ctx, const struct remote_call *call, struct session **session,
                              struct err *err);

struct ws_client;
/* A WebSocket to a path. *session is to be given back after it was freed. */
struct ws_client *remote_dial(struct remote *r, const struct ctx *ctx, const char *path, const char *const *protocols,
                              struct session **session, struct err *err);

/* ---- path.c ---- */

/* "/api/v1/namespaces/ns/pods/name/sub?query". ns and name may be NULL. Appends. ERR_BAD_REQUEST for names that no path can have.
 */
int remote_path(const struct kube_res *res, const char *ns, const char *name, const char *sub, struct buf *out, struct err *err);
void query_add(struct buf *path, const char *name, const char *value); /* nothing when value is NULL or "" */
void query_addi(struct buf *path, const char *name, int64_t value);

/* ---- watch.c ---- */
struct kube_watch *remote_watch(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns,
                                const struct kube_opts *o, struct err *err);
int remote_watch_next(struct kube_watch *w, const struct ctx *ctx, struct kube_event *ev, struct err *err);
void remote_watch_close(struct kube_watch *w);

/* ---- process.c ---- */
struct kube_process *remote_exec(struct kube *k, const struct ctx *ctx, const char *ns, const char *pod,
                                 const struct kube_exec_opts *o, struct err *err);

/* ---- pipe.c ---- */
int remote_logs(struct kube *k, const struct ctx *ctx, const char *ns, const char *pod, const struct kube_log_opts *lo,
                size_t max, struct buf *out, struct err *err);
struct kube_pipe *remote_log(struct kube *k, const struct ctx *ctx, const char *ns, const char *pod,
                             const struct kube_log_opts *lo, struct err *err);
/* The path of a subresource of a pod; both names must be there. */
int remote_pod_path(const char *ns, const char *pod, const char *sub, struct buf *path, struct err *err);

/* ---- port.c ---- */
struct kube_pipe *remote_forward(struct kube *k, const struct ctx *ctx, const char *ns, const char *pod, int port,
                                 struct err *err);

/* Query of list and watch. */
void query_selection(struct buf *path, const struct kube_opts *o);

#endif
