/* watch.c - a watch: one JSON object a line, until the server ends it. Source: specs kube.md 5. */
#include <stdlib.h>

#include "base/id.h"
#include "kube/remote/internal.h"
#include "kube/remote/status.h"

enum { EVENT_MAX = 64 << 20, PIECE = 16384, TIMEOUT_MIN_S = 300 };
#define LATE_NS (30 * NS_PER_S) /* a server that should have ended the watch so long ago is not there */

struct kube_watch {
    struct remote *r;
    struct session *session;
    struct http_body *body;
    struct buf text; /* received, no whole line yet in text[..scanned] */
    size_t at;       /* where the next line begins */
    size_t scanned;
    int64_t ends_ns; /* monotonic */
    bool began, over;
};

static const struct kube_opts no_opts;

struct kube_watch *remote_watch(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns,
                                const struct kube_opts *o, struct err *err)
{
    struct remote *r = (struct remote *)k;
    o = o ? o : &no_opts;
    int timeout_s = o->timeout_s > 0 ? o->timeout_s : TIMEOUT_MIN_S + (int)(random_u64() % TIMEOUT_MIN_S);
    BUF(path);
    if (remote_path(res, ns, NULL, NULL, &path, err) < 0)
        return NULL;
    query_add(&path, "watch", "true");
    query_selection(&path, o);
    query_add(&path, "allowWatchBookmarks", o->bookmarks ? "true" : NULL);
    query_add(&path, "sendInitialEvents", o->send_initial_events ? "true" : NULL);
    if (o->send_initial_events && str_empty(o->resource_version_match))
        query_add(&path, "resourceVersionMatch", "NotOlderThan");
    query_addi(&path, "timeoutSeconds", timeout_s);
    struct session *session = NULL;
    const struct remote_call call = {.method = HTTP_GET,
                                     .path = path.data,
                                     .accept = o->metadata_only ? "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
                                                                : NULL};
    struct http_body *body = remote_open(r, ctx, &call, &session, err);
    if (!body)
        return NULL;
    struct kube_watch *w = xcalloc(1, sizeof *w);
    w->r = r;
    w->session = session;
    w->body = body;
    w->ends_ns = ctx_mono_ns(ctx) + timeout_s * NS_PER_S + LATE_NS;
    return w;
}

void remote_watch_close(struct kube_watch *w)
{
    if (!w)
        return;
    http_body_close(w->body);
    session_unref(w->session);
    buf_free(&w->text);
    free(w);
}

/* ---- lines to events ---- */

static bool type_of(const char *text, enum kube_event_type *out)
{
    static const struct {
        const char *text;
        enum kube_event_type type;
    } types[] = {{"ADDED", KUBE_ADDED}, {"MODIFIED", KUBE_MODIFIED}, {"DELETED", KUBE_DELETED}, {"BOOKMARK", KUBE_BOOKMARK}};
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_eq(text, types[i].text)) {
            *out = types[i].type;
            return true;
        }
    return false;
}

/* 1, or -1 with what the server says is wrong. */
static int event_of(struct kube_watch *w, const char *line, size_t n, struct kube_event *ev, struct err *err)
{
    JSON_REF(d) = json_parse(line, n, NULL, err);
    if (!d) {
        w->over = true;
        if (err)
            err->code = ERR_UNAVAILABLE;
        return err_wrap(err, "an event of the watch");
    }
    jval *object = jv_get(json_root(d), "object");
    const char *type = jv_str_or(jv_get(json_root(d), "type"), "");
    if (str_eq(type, "ERROR")) {
        w->over = true;
        return status_error_json(500, object, err);
    }
    if (!type_of(type, &ev->type) || !jv_is(object, J_OBJECT)) {
        w->over = true;
        return err_set(err, ERR_UNAVAILABLE, "the watch sent an event of unknown type \"%.40s\"", type);
    }
    ev->object = json_from(object);
    w->began = true;
    return 1;
}

/* The next whole line; false when there is none yet. */
static bool next_line(struct kube_watch *w, const char **line, size_t *n)
{
    for (;;) {
        char *end = w->scanned < w->text.len ? memchr(w->text.data + w->scanned, '\n', w->text.len - w->scanned) : NULL;
        if (!end) {
            buf_consume(&w->text, w->at);
            w->at = 0;
            w->scanned = w->text.len;
            return false;
        }
        *line = w->text.data + w->at;
        *n = (size_t)(end - *line);
        w->at = w->scanned = (size_t)(end - w->text.data) + 1;
        if (*n > 0)
            return true;
    }
}

/* A connection that is lost once the watch has begun is as good as a clean end. */
static int lost(struct kube_watch *w, const struct ctx *ctx, struct err *e, struct err *err)
{
    if ((e->code == ERR_TIMEOUT || e->code == ERR_CANCELLED) && ctx_mono_ns(ctx) < w->ends_ns)
        return err_move(err, e); /* the caller's own time is up; the watch goes on */
    w->over = true;
    if (w->began || e->code == ERR_TIMEOUT)
        return 0;
    e->code = ERR_UNAVAILABLE;
    return err_move(err, e);
}

int remote_watch_next(struct kube_watch *w, const struct ctx *outer, struct kube_event *ev, struct err *err)
{
    struct ctx ctx = *outer;
    if (!ctx.deadline_mono_ns || ctx.deadline_mono_ns > w->ends_ns)
        ctx.deadline_mono_ns = w->ends_ns;
    while (!w->over) {
        const char *line;
        size_t n;
        if (next_line(w, &line, &n))
            return event_of(w, line, n, ev, err);
        char piece[PIECE];
        ERR(e);
        ssize_t got = http_body_read(w->body, &ctx, piece, sizeof piece, &e);
        if (got < 0)
            return lost(w, outer, &e, err);
        if (got == 0) {
            w->over = true;
            break;
        }
        buf_add(&w->text, piece, (size_t)got);
        if (w->text.len > EVENT_MAX) {
            w->over = true;
            return err_set(err, ERR_TOO_LARGE, "an event of the watch has more than %d bytes", EVENT_MAX);
        }
    }
    return 0;
}
