/* kube.h - the Kubernetes API as an interface: the hinge of the house.
 *
 * Components and the parts of the embedded cluster know the API only through a `struct kube`: the embedded API server implements
 * it as function calls, kube/remote over HTTPS. All functions block, are thread-safe, and take a context for deadline,
 * cancel and clock. Every `struct kube` is bound to an identity when it is made; there is no all-powerful default. Objects are
 * immutable JSON documents; the caller owns the references it gets and keeps those it passes. */
#ifndef TM_KUBE_KUBE_H
#define TM_KUBE_KUBE_H

#include "base/ctx.h"
#include "value/json.h"

/* Which collection. Constants for the built-in kinds are in kube/kinds.h (KUBE_PODS, KUBE_SECRETS, ...). Compared by content. One
 * that was made at run time has to live as long as the call; a watch keeps nothing of it, an informer copies it. */
struct kube_res {
    const char *group; /* "" for core */
    const char *version;
    const char *plural;
    const char *kind;
    bool namespaced;
};

enum kube_patch { KUBE_PATCH_JSON, KUBE_PATCH_MERGE, KUBE_PATCH_STRATEGIC, KUBE_PATCH_APPLY };
enum kube_propagation { KUBE_DEFAULT_PROPAGATION, KUBE_BACKGROUND, KUBE_FOREGROUND, KUBE_ORPHAN };

/* All options in one struct; a call reads those that it knows. Zero is "not given". */
struct kube_opts {
    const char *subresource;      /* "status", "binding", "finalize", ... */
    const char *resource_version; /* list, watch, get */
    const char *resource_version_match;
    const char *label_selector, *field_selector;
    int64_t limit;
    const char *continue_token;
    const char *field_manager;
    const char *field_validation; /* "Strict", "Warn", "Ignore" */
    bool dry_run, force;
    enum kube_propagation propagation;
    const char *precondition_uid, *precondition_rv;
    const int64_t *grace_seconds; /* delete; NULL: the object's own */
    bool send_initial_events;     /* watch */
    bool bookmarks;
    /* list, watch: only metadata is looked at. What is more in an object may be left out, and its kind be PartialObjectMetadata:
     * over HTTPS it is; in this process objects are shared, and whole ones cost nothing. */
    bool metadata_only;
    int timeout_s; /* watch: ends cleanly after so long; 0: when the server thinks it should */
};

struct kube_list {
    struct json **items; /* n references */
    size_t n;
    char *resource_version; /* revision at which the list was taken */
    char *continue_token;   /* NULL at the end */
};
void kube_list_free(struct kube_list *l);

enum kube_event_type { KUBE_ADDED, KUBE_MODIFIED, KUBE_DELETED, KUBE_BOOKMARK };
struct kube_event {
    enum kube_event_type type;
    struct json *object; /* a reference that the caller unrefs */
};

struct kube_watch; /* implementation's */

struct kube_log_opts {
    const char *container;
    bool follow, previous, timestamps;
    int64_t since_seconds; /* 0: all */
    int64_t since_time_ns; /* 0: all */
    int64_t tail_lines;    /* -1: all */
    int64_t limit_bytes;   /* 0: all */
};

/* A program in a container, or (command NULL) the container's own. One thread may receive while another sends. */
struct kube_exec_opts {
    const char *container;      /* NULL: the only one */
    const char *const *command; /* NULL-terminated */
    bool in, tty;               /* with a terminal everything it writes is KUBE_STDOUT */
};
enum kube_stream { KUBE_STDOUT = 1, KUBE_STDERR = 2 };
struct kube_process { /* implementations embed this as their first member */
    const struct kube_process_ops *ops;
};
struct kube_process_ops {
    /* 1: it wrote something (appended to out); 0: it has ended with *code, 128 + n for signal n; -1: error. Blocks. */
    int (*recv)(struct kube_process *, const struct ctx *, enum kube_stream *from, struct buf *out, int *code, struct err *);
    int (*send)(struct kube_process *, const struct ctx *, const void *p, size_t n, struct err *); /* n 0: the end of its input */
    void (*resize)(struct kube_process *, int columns, int rows);
    void (*close)(struct kube_process *); /* ends the program when it still runs; frees */
};

/* Bytes in a row: a log as it is written, a connection to a port of a pod. One thread may receive while another sends. Closed
 * before the `struct kube` goes. */
struct kube_pipe { /* implementations embed this as their first member */
    const struct kube_pipe_ops *ops;
};
struct kube_pipe_ops {
    /* 1: something came (appended to out); 0: the end; -1: error. Blocks. */
    int (*recv)(struct kube_pipe *, const struct ctx *, struct buf *out, struct err *);
    /* n 0: the end of what we send, where that can be told (by an API server before 1.30 it cannot: ERR_UNIMPLEMENTED, and the
     * connection stays). NULL: a log. */
    int (*send)(struct kube_pipe *, const struct ctx *, const void *p, size_t n, struct err *);
    void (*close)(struct kube_pipe *); /* frees */
};

struct kube;
struct kube_ops {
    struct json *(*get)(struct kube *, const struct ctx *, const struct kube_res *, const char *ns, const char *name,
                        const struct kube_opts *, struct err *);
    int (*list)(struct kube *, const struct ctx *, const struct kube_res *, const char *ns /* NULL: all */,
                const struct kube_opts *, struct kube_list *out, struct err *);
    struct json *(*create)(struct kube *, const struct ctx *, const struct kube_res *, const char *ns,
                           const char *name /* parent of a subresource, else NULL */, jval *obj, const struct kube_opts *,
                           struct err *);
    struct json *(*update)(struct kube *, const struct ctx *, const struct kube_res *, const char *ns, const char *name,
                           jval *obj, const struct kube_opts *, struct err *);
    struct json *(*patch)(struct kube *, const struct ctx *, const struct kube_res *, const char *ns, const char *name,
                          enum kube_patch, jval *patch, const struct kube_opts *, struct err *);
    /* *out (may be NULL) gets what the server answered: the object when it is still there, else a Status. */
    int (*del)(struct kube *, const struct ctx *, const struct kube_res *, const char *ns, const char *name,
               const struct kube_opts *, struct json **out, struct err *);
    /* Each object that the selectors of the options match, as if each were deleted by itself. */
    int (*del_collection)(struct kube *, const struct ctx *, const struct kube_res *, const char *ns, const struct kube_opts *,
                          struct err *);
    struct kube_watch *(*watch)(struct kube *, const struct ctx *, const struct kube_res *, const char *ns,
                                const struct kube_opts *, struct err *);
    /* 1: *ev filled; 0: the watch ended cleanly (start again from the last revision); -1: error, ERR_GONE: list again. Blocks
     * until there is something, the context's deadline passes (ERR_TIMEOUT) or its cancel is raised (ERR_CANCELLED). */
    int (*watch_next)(struct kube_watch *, const struct ctx *, struct kube_event *ev, struct err *);
    void (*watch_close)(struct kube_watch *);
    /* Whole log text so far (no follow), appended to out, at most max bytes. */
    int (*logs)(struct kube *, const struct ctx *, const char *ns, const char *pod, const struct kube_log_opts *, size_t max,
                struct buf *out, struct err *);
    /* NULL: not served. An exec needs the right to create pods/exec. */
    struct kube_process *(*exec)(struct kube *, const struct ctx *, const char *ns, const char *pod,
                                 const struct kube_exec_opts *, struct err *err);
    /* A log in pieces; with opts->follow it ends when its container does. NULL: not served. */
    struct kube_pipe *(*log)(struct kube *, const struct ctx *, const char *ns, const char *pod, const struct kube_log_opts *,
                             struct err *);
    /* A connection to a port of a running pod, as from inside it. Where nobody listens, this or the first recv is an error. Needs
     * the right to create pods/portforward. NULL: not served. */
    struct kube_pipe *(*forward)(struct kube *, const struct ctx *, const char *ns, const char *pod, int port, struct err *);
    /* Is a watch with send_initial_events and bookmarks the better list here (no pages, and it goes on as the watch)? Its initial
     * state ends with a bookmark that has the annotation KUBE_INITIAL_END. NULL: no. */
    bool (*streams_lists)(struct kube *, const struct ctx *);
};
#define KUBE_INITIAL_END "k8s.io/initial-events-end"
/* Implementations embed this as their first member. */
struct kube {
    const struct kube_ops *ops;
    const struct identity *who;
};

#define kube_get(k, ctx, res, ns, name, opts, err)   ((k)->ops->get((k), (ctx), (res), (ns), (name), (opts), (err)))
#define kube_list(k, ctx, res, ns, opts, out, err)   ((k)->ops->list((k), (ctx), (res), (ns), (opts), (out), (err)))
#define kube_create(k, ctx, res, ns, obj, opts, err) ((k)->ops->create((k), (ctx), (res), (ns), NULL, (obj), (opts), (err)))
#define kube_create_sub(k, ctx, res, ns, name, obj, opts, err)                                                                   \
    ((k)->ops->create((k), (ctx), (res), (ns), (name), (obj), (opts), (err)))
#define kube_update(k, ctx, res, ns, name, obj, opts, err)                                                                       \
    ((k)->ops->update((k), (ctx), (res), (ns), (name), (obj), (opts), (err)))
#define kube_patch(k, ctx, res, ns, name, type, p, opts, err)                                                                    \
    ((k)->ops->patch((k), (ctx), (res), (ns), (name), (type), (p), (opts), (err)))
#define kube_delete(k, ctx, res, ns, name, opts, out, err) ((k)->ops->del((k), (ctx), (res), (ns), (name), (opts), (out), (err)))
#define kube_delete_collection(k, ctx, res, ns, opts, err) ((k)->ops->del_collection((k), (ctx), (res), (ns), (opts), (err)))
#define kube_watch(k, ctx, res, ns, opts, err)             ((k)->ops->watch((k), (ctx), (res), (ns), (opts), (err)))
#define kube_watch_next(k, w, ctx, ev, err)                ((k)->ops->watch_next((w), (ctx), (ev), (err)))
#define kube_watch_close(k, w)                             ((k)->ops->watch_close((w)))
#define kube_logs(k, ctx, ns, pod, lo, max, out, err)      ((k)->ops->logs((k), (ctx), (ns), (pod), (lo), (max), (out), (err)))

struct kube_process *kube_exec(struct kube *k, const struct ctx *ctx, const char *ns, const char *pod,
                               const struct kube_exec_opts *opts, struct err *err);
#define kube_process_recv(p, ctx, from, out, code, err) ((p)->ops->recv((p), (ctx), (from), (out), (code), (err)))
#define kube_process_send(p, ctx, bytes, n, err)        ((p)->ops->send((p), (ctx), (bytes), (n), (err)))
#define kube_process_close(p)                           ((p)->ops->close((p)))

struct kube_pipe *kube_log(struct kube *k, const struct ctx *ctx, const char *ns, const char *pod, const struct kube_log_opts *lo,
                           struct err *err);
struct kube_pipe *kube_forward(struct kube *k, const struct ctx *ctx, const char *ns, const char *pod, int port, struct err *err);
#define kube_pipe_recv(p, ctx, out, err)      ((p)->ops->recv((p), (ctx), (out), (err)))
#define kube_pipe_send(p, ctx, bytes, n, err) ((p)->ops->send((p), (ctx), (bytes), (n), (err)))
#define kube_pipe_close(p)                    ((p)->ops->close((p)))

#endif
