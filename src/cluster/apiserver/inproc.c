/* inproc.c - struct kube as function calls: the same verbs as over HTTP, without bytes in between. */
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cluster/apiserver/internal.h"
#include "kube/kinds.h"

#define BOOKMARK_NS (60 * NS_PER_S)

struct inproc {
    struct kube kube; /* first member */
    struct apiserver *a;
    struct identity *who;
    struct inproc *next;
};

static const struct kube_opts no_opts;

static struct apiserver *server_of(struct kube *k) { return ((struct inproc *)k)->a; }

/* Fills an op and checks rights. The table that the resource belongs to must outlive the op. */
static int begin(struct op *op, struct kube *k, const struct resources *table, const struct ctx *ctx, const struct kube_res *res,
                 const char *verb, const char *ns, const char *name, const struct kube_opts *o, struct err *err)
{
    *op = (struct op){.a = server_of(k),
                      .ctx = ctx,
                      .who = k->who,
                      .verb = verb,
                      .ns = str_empty(ns) ? NULL : ns,
                      .name = str_empty(name) ? NULL : name,
                      .o = o ? o : &no_opts};
    op->sub = str_empty(op->o->subresource) ? NULL : op->o->subresource;
    op->res = resource_find(table, res->group, res->version, res->plural);
    if (!op->res || (op->sub && !resource_has_sub(op->res, op->sub))) {
        err_set(err, ERR_NOT_FOUND, "the server could not find the requested resource");
        err_subject(err, res->group, res->plural, name);
        return -1;
    }
    if (ctx_check(ctx, err) < 0)
        return -1;
    if (op->name && !op->ns && res_of(op->res)->namespaced)
        return err_set(err, ERR_BAD_REQUEST, "%s are in a namespace, and none was given for \"%s\"", op->res->full, op->name);
    return op_authorize(op, err);
}

static struct json *answer(struct store_obj *o)
{
    struct json *d = o ? json_ref(o->doc) : NULL;
    store_obj_unref(o);
    return d;
}

static struct json *k_get(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns, const char *name,
                          const struct kube_opts *o, struct err *err)
{
    RESOURCES(table, server_of(k));
    struct op op;
    if (begin(&op, k, table, ctx, res, "get", ns, name, o, err) < 0)
        return NULL;
    return answer(verb_get(&op, err));
}

static int k_list(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns, const struct kube_opts *o,
                  struct kube_list *out, struct err *err)
{
    RESOURCES(table, server_of(k));
    struct op op;
    *out = (struct kube_list){0};
    if (begin(&op, k, table, ctx, res, "list", ns, NULL, o, err) < 0)
        return -1;
    CLEANUP(listing_free) struct listing l = {0};
    if (verb_list(&op, &l, err) < 0)
        return -1;
    out->items = xcalloc(l.list.n + 1, sizeof(*out->items));
    for (size_t i = 0; i < l.list.n; i++)
        out->items[out->n++] = json_ref(l.list.v[i]->doc);
    out->resource_version = xasprintf("%lld", (long long)l.list.rv);
    out->continue_token = TAKE(l.continue_token);
    return 0;
}

static struct json *k_create(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns, const char *name,
                             jval *obj, const struct kube_opts *o, struct err *err)
{
    RESOURCES(table, server_of(k));
    struct op op;
    if (begin(&op, k, table, ctx, res, "create", ns, name, o, err) < 0)
        return NULL;
    if (op.sub)
        return answer(sub_create(&op, obj, err));
    JSON_REF(d) = decode_inproc(&op, obj, err);
    return d ? answer(verb_create(&op, json_root(d), err)) : NULL;
}

static struct json *k_update(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns, const char *name,
                             jval *obj, const struct kube_opts *o, struct err *err)
{
    RESOURCES(table, server_of(k));
    struct op op;
    if (begin(&op, k, table, ctx, res, "update", ns, name, o, err) < 0)
        return NULL;
    JSON_REF(d) = decode_inproc(&op, obj, err);
    bool created;
    return d ? answer(verb_update(&op, json_root(d), &created, err)) : NULL;
}

static struct json *k_patch(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns, const char *name,
                            enum kube_patch type, jval *patch, const struct kube_opts *o, struct err *err)
{
    RESOURCES(table, server_of(k));
    struct op op;
    if (begin(&op, k, table, ctx, res, "patch", ns, name, o, err) < 0)
        return NULL;
    return answer(verb_patch(&op, type, patch, err));
}

static int k_del(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns, const char *name,
                 const struct kube_opts *o, struct json **out, struct err *err)
{
    RESOURCES(table, server_of(k));
    struct op op;
    if (begin(&op, k, table, ctx, res, "delete", ns, name, o, err) < 0)
        return -1;
    CLEANUP(deletion_free) struct deletion d = {0};
    if (verb_delete(&op, &d, err) < 0)
        return -1;
    if (out)
        *out = d.obj ? json_ref(d.obj->doc) : json_ref(d.status);
    return 0;
}

static int k_del_collection(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns,
                            const struct kube_opts *o, struct err *err)
{
    RESOURCES(table, server_of(k));
    struct op op;
    if (begin(&op, k, table, ctx, res, "deletecollection", ns, NULL, o, err) < 0)
        return -1;
    CLEANUP(listing_free) struct listing l = {0};
    return verb_delete_collection(&op, &l, err);
}

/* ---- watches --------------------------------------------------------------------------------------------------------- */

struct kube_watch {
    struct watch *w;
    int news; /* eventfd: there may be something to take. An fd, so that a wait can end by the context's cancel too */
    int64_t next_bookmark; /* monotonic; 0: none are wanted */
    int64_t ends;          /* monotonic; 0: never */
    int64_t last_rv;
};

static void k_notify(void *arg)
{
    struct kube_watch *w = arg;
    uint64_t one = 1;
    ssize_t n = write(w->news, &one, sizeof(one)); /* full means that it is readable already */
    (void)n;
}

static void k_watch_close(struct kube_watch *w)
{
    if (!w)
        return;
    watch_close(w->w);
    if (w->news >= 0)
        close(w->news);
    free(w);
}

static struct kube_watch *k_watch(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns,
                                  const struct kube_opts *o, struct err *err)
{
    RESOURCES(table, server_of(k));
    struct op op;
    if (begin(&op, k, table, ctx, res, "watch", ns, NULL, o, err) < 0)
        return NULL;
    struct kube_watch *w = xcalloc(1, sizeof(*w));
    w->news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->news < 0)
        err_errno(err, "watching %s: eventfd", res->plural);
    else
        w->w = watch_open(&op, k_notify, w, err);
    if (!w->w) {
        k_watch_close(w);
        return NULL;
    }
    if (op.o->timeout_s > 0)
        w->ends = ctx_mono_ns(ctx) + op.o->timeout_s * NS_PER_S;
    if (op.o->bookmarks)
        w->next_bookmark = ctx_mono_ns(ctx) + BOOKMARK_NS;
    return w;
}

static struct json *bookmark(struct watch *w, int64_t rv, bool initial_end)
{
    JM_NEW(m);
    jm_set_root(m, jm_obj(m));
    object_put_header(m, w->res);
    jmval *meta = jm_obj_at(m, jm_root(m), "metadata");
    jm_put(m, meta, "resourceVersion", jm_strf(m, "%lld", (long long)rv));
    if (initial_end)
        jm_put(m, jm_obj_at(m, meta, "annotations"), "k8s.io/initial-events-end", jm_str(m, "true"));
    return jm_freeze(m);
}

/* 1: an event; 0: over; -1: nothing now, *rv is a revision at or below which nothing is to come. */
static int take(struct kube_watch *w, struct kube_event *ev, int64_t *rv)
{
    for (;;) {
        struct store_event se;
        switch (store_watch_next(w->w->w, &se)) {
        case STORE_NEXT_EVENT: {
            static const enum kube_event_type types[] = {KUBE_ADDED, KUBE_MODIFIED, KUBE_DELETED};
            OBJ_REF(o) = watch_object(w->w, &se);
            store_obj_unref(se.obj);
            w->last_rv = se.rv;
            *ev = (struct kube_event){types[se.type], json_ref(o->doc)};
            return 1;
        }
        case STORE_NEXT_INITIAL_END:
            w->last_rv = se.rv;
            if (!w->w->initial_mark)
                continue;
            *ev = (struct kube_event){KUBE_BOOKMARK, bookmark(w->w, se.rv, true)};
            return 1;
        case STORE_NEXT_OVER:
            return 0;
        case STORE_NEXT_NONE:
            *rv = se.rv;
            return -1;
        }
    }
}

#define CANCEL_LOOK_NS (100 * NS_PER_MS)

/* Waits for news, until (monotonic, 0: for ever), or the cancel. A cancel without an fd is looked at now and then. */
static void wait_for_news(struct kube_watch *w, const struct ctx *ctx, int64_t until)
{
    struct pollfd fds[2] = {{.fd = w->news, .events = POLLIN}, {.fd = ctx->cancel ? ctx->cancel->fd : -1, .events = POLLIN}};
    int64_t left = until ? until - ctx_mono_ns(ctx) : INT64_MAX;
    if (left < 0)
        left = 0;
    if (ctx->cancel && ctx->cancel->fd < 0 && left > CANCEL_LOOK_NS)
        left = CANCEL_LOOK_NS;
    struct timespec ts = {.tv_sec = left / NS_PER_S, .tv_nsec = left % NS_PER_S};
    if (ppoll(fds, 2, left == INT64_MAX ? NULL : &ts, NULL) > 0 && fds[0].revents) {
        uint64_t n;
        ssize_t got = read(w->news, &n, sizeof(n));
        (void)got;
    }
}

static int k_watch_next(struct kube_watch *w, const struct ctx *ctx, struct kube_event *ev, struct err *err)
{
    for (;;) {
        int64_t rv = 0;
        int rc = take(w, ev, &rv);
        if (rc >= 0)
            return rc;
        if (ctx_check(ctx, err) < 0)
            return -1;
        int64_t now = ctx_mono_ns(ctx);
        if (w->next_bookmark && now >= w->next_bookmark) {
            w->next_bookmark = now + BOOKMARK_NS;
            if (rv > w->last_rv) {
                w->last_rv = rv;
                *ev = (struct kube_event){KUBE_BOOKMARK, bookmark(w->w, rv, false)};
                return 1;
            }
        }
        if (w->ends && now >= w->ends)
            return 0;
        int64_t until = ctx->deadline_mono_ns;
        if (w->ends && (until == 0 || until > w->ends))
            until = w->ends;
        if (w->next_bookmark && (until == 0 || until > w->next_bookmark))
            until = w->next_bookmark;
        wait_for_news(w, ctx, until);
    }
}

static int k_logs(struct kube *k, const struct ctx *ctx, const char *ns, const char *pod, const struct kube_log_opts *lo,
                  size_t max, struct buf *out, struct err *err)
{
    RESOURCES(table, server_of(k));
    struct op op;
    const struct kube_opts o = {.subresource = "log"};
    if (begin(&op, k, table, ctx, &KUBE_PODS, "get", ns, pod, &o, err) < 0)
        return -1;
    return sub_log_read(&op, lo, max, out, err);
}

static struct kube_process *k_exec(struct kube *k, const struct ctx *ctx, const char *ns, const char *pod,
                                   const struct kube_exec_opts *eo, struct err *err)
{
    RESOURCES(table, server_of(k));
    struct op op;
    struct node_process process = NODE_PROCESS_NONE;
    const struct kube_opts o = {.subresource = eo->command ? "exec" : "attach"};
    const struct node_process_opts po = {.container = eo->container ? eo->container : "",
                                         .command = eo->command,
                                         .in = eo->in,
                                         .out = true,
                                         .err = !eo->tty,
                                         .tty = eo->tty};
    if (begin(&op, k, table, ctx, &KUBE_PODS, "create", ns, pod, &o, err) < 0 || sub_process_open(&op, &po, &process, err) < 0)
        return NULL;
    return inproc_process(&process);
}

static struct kube_pipe *k_log(struct kube *k, const struct ctx *ctx, const char *ns, const char *pod,
                               const struct kube_log_opts *lo, struct err *err)
{
    RESOURCES(table, server_of(k));
    struct op op;
    const struct kube_opts o = {.subresource = "log"};
    if (begin(&op, k, table, ctx, &KUBE_PODS, "get", ns, pod, &o, err) < 0)
        return NULL;
    return inproc_log(&op, lo, err);
}

static struct kube_pipe *k_forward(struct kube *k, const struct ctx *ctx, const char *ns, const char *pod, int port,
                                   struct err *err)
{
    RESOURCES(table, server_of(k));
    struct op op;
    int fd = -1;
    const struct kube_opts o = {.subresource = "portforward"};
    if (begin(&op, k, table, ctx, &KUBE_PODS, "create", ns, pod, &o, err) < 0 || sub_dial(&op, port, &fd, err) < 0)
        return NULL;
    return inproc_port(fd);
}

static const struct kube_ops inproc_ops = {
    .get = k_get,
    .list = k_list,
    .create = k_create,
    .update = k_update,
    .patch = k_patch,
    .del = k_del,
    .del_collection = k_del_collection,
    .watch = k_watch,
    .watch_next = k_watch_next,
    .watch_close = k_watch_close,
    .logs = k_logs,
    .exec = k_exec,
    .log = k_log,
    .forward = k_forward,
};

struct kube *apiserver_kube(struct apiserver *a, const struct identity *who)
{
    struct inproc *k = xcalloc(1, sizeof(*k));
    k->a = a;
    k->who = identity_copy(who);
    k->kube = (struct kube){&inproc_ops, k->who};
    LOCK_GUARD(&a->inproc_lock);
    k->next = a->inprocs;
    a->inprocs = k;
    return &k->kube;
}

void inproc_free_all(struct apiserver *a)
{
    while (a->inprocs) {
        struct inproc *k = a->inprocs;
        a->inprocs = k->next;
        identity_free(k->who);
        free(k);
    }
}
