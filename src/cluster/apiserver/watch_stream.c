/* watch_stream.c - a watch over HTTP: one JSON object a line, for as long as the client wants. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/id.h"
#include "cluster/apiserver/face.h"

#define HIGH_WATER      (256 * 1024)
#define BOOKMARK_MS     60000
#define BEFORE_END_MS   2000
#define DEFAULT_SECONDS 1800

struct watch_stream {
    struct apiserver *a;
    struct watch *w;    /* NULL: only the error is sent */
    struct json *error; /* Status of a watch that could not be opened any more */
    struct accept accept;
    bool columns_sent;
    bool ended;
    int64_t end_ms, bookmark_ms; /* monotonic */
    int64_t last_rv;
    _Atomic(struct stream_handle *) handle;
};

static int64_t now_ms(const struct watch_stream *s) { return s->a->clock->mono_ns(s->a->clock) / NS_PER_MS; }

static void notify(void *arg)
{
    struct watch_stream *s = arg;
    struct stream_handle *h = atomic_load(&s->handle);
    if (h) /* else the stream has not started: it looks for itself when it does */
        stream_wake(h);
}

/* ---- writing ----------------------------------------------------------------------------------------------------------- */

static void write_table(struct watch_stream *s, jval *o, struct buf *b)
{
    struct table_list_meta meta = {.api_version = s->accept.form_version, .resource_version = obj_rv_text(o), .remaining = -1};
    table_write(s->w->res->columns, &o, 1, s->accept.include, &meta, !s->columns_sent, s->a->clock->wall_ns(s->a->clock), b);
    s->columns_sent = true;
}

static void write_event(struct watch_stream *s, struct stream *st, const char *type, const struct store_obj *o)
{
    BUF(b);
    buf_reserve(&b, o->len + 64);
    buf_addf(&b, "{\"type\":\"%s\",\"object\":", type);
    if (s->accept.as == AS_TABLE)
        write_table(s, obj_root(o), &b);
    else if (s->accept.as != AS_OBJECT)
        partial_write(obj_root(o), s->accept.form_version, &b);
    else
        buf_add(&b, o->bytes, o->len);
    buf_adds(&b, "}\n");
    stream_write(st, b.data, b.len);
}

/* A bookmark is an object of the kind with nothing but a revision, and what the kind always has. */
static void write_bookmark(struct watch_stream *s, struct stream *st, int64_t rv, bool initial_end)
{
    JM_NEW(m);
    jm_set_root(m, jm_obj(m));
    object_put_header(m, s->w->res);
    jmval *meta = jm_obj_at(m, jm_root(m), "metadata");
    jm_put(m, meta, "resourceVersion", jm_strf(m, "%" PRId64, rv));
    if (initial_end)
        jm_put(m, jm_obj_at(m, meta, "annotations"), "k8s.io/initial-events-end", jm_str(m, "true"));
    struct json *d = jm_freeze(m);
    if (!s->w->res->cv) {
        struct json *full = decode_value(s->w->res->kind->type, json_root(d), NULL, NULL);
        if (full) {
            json_unref(d);
            d = full;
        }
    }
    OBJ_REF(o) = store_obj_new("", rv, d);
    write_event(s, st, "BOOKMARK", o);
    s->last_rv = rv;
}

static void finish(struct watch_stream *s, struct stream *st)
{
    if (!s->ended)
        stream_end(st);
    s->ended = true;
}

static void drain(struct stream *st, struct watch_stream *s)
{
    static const char *const types[] = {"ADDED", "MODIFIED", "DELETED"};
    while (!s->ended && stream_queued(st) < HIGH_WATER) {
        struct store_event ev;
        switch (store_watch_next(s->w->w, &ev)) {
        case STORE_NEXT_EVENT: {
            OBJ_REF(o) = watch_object(s->w, &ev);
            store_obj_unref(ev.obj);
            write_event(s, st, types[ev.type], o);
            s->last_rv = ev.rv;
            break;
        }
        case STORE_NEXT_INITIAL_END:
            if (s->w->initial_mark)
                write_bookmark(s, st, ev.rv, true);
            break;
        case STORE_NEXT_OVER:
            finish(s, st);
            return;
        case STORE_NEXT_NONE:
            return;
        }
    }
}

/* ---- times ------------------------------------------------------------------------------------------------------------- */

static void set_timer(struct watch_stream *s, struct stream *st)
{
    int64_t now = now_ms(s), next = s->end_ms;
    if (s->w->bookmarks && s->bookmark_ms < next)
        next = s->bookmark_ms;
    stream_timer(st, next > now ? next - now : 0);
}

static void on_timer(struct stream *st, void *state)
{
    struct watch_stream *s = state;
    if (s->ended)
        return;
    int64_t now = now_ms(s);
    drain(st, s);
    if (s->w->bookmarks && now >= s->bookmark_ms && !s->ended) {
        struct store_event ev;
        /* Only when nothing is waiting is the revision one below which nothing is to come. */
        if (stream_queued(st) < HIGH_WATER && store_watch_next(s->w->w, &ev) == STORE_NEXT_NONE)
            write_bookmark(s, st, ev.rv, s->w->late_mark);
        s->w->late_mark = false;
        int64_t last = s->end_ms - BEFORE_END_MS;
        s->bookmark_ms = now < last && now + BOOKMARK_MS > last ? last : now + BOOKMARK_MS;
    }
    if (now >= s->end_ms)
        finish(s, st);
    else
        set_timer(s, st);
}

/* ---- life -------------------------------------------------------------------------------------------------------------- */

static void on_start(struct stream *st, void *state)
{
    struct watch_stream *s = state;
    if (s->error) {
        BUF(b);
        buf_adds(&b, "{\"type\":\"ERROR\",\"object\":");
        jv_write(json_root(s->error), JW_COMPACT, &b);
        buf_adds(&b, "}\n");
        stream_write(st, b.data, b.len);
        finish(s, st);
        return;
    }
    atomic_store(&s->handle, stream_handle(st));
    drain(st, s);
    set_timer(s, st);
}

static void on_more(struct stream *st, void *state)
{
    struct watch_stream *s = state;
    if (s->w)
        drain(st, s);
}

static void on_close(struct stream *st, void *state)
{
    (void)st;
    struct watch_stream *s = state;
    watch_close(s->w); /* no notify after this */
    struct stream_handle *h = atomic_load(&s->handle);
    if (h)
        stream_handle_unref(h);
    json_unref(s->error);
    free(s);
}

static const struct stream_ops ops = {
    .on_start = on_start, .on_writable = on_more, .on_wake = on_more, .on_timer = on_timer, .on_close = on_close};

int handle_watch(struct op *op, struct http_req *req, struct http_res *res, struct err *err)
{
    struct watch_stream *s = xcalloc(1, sizeof(*s));
    int64_t seconds = 0;
    s->a = op->a;
    const char *text = http_query(req, "timeoutSeconds");
    if (!str_empty(text))
        str_to_i64(text, &seconds);
    if (accept_parse(req, &s->accept, err) < 0) {
        free(s);
        return -1;
    }
    if (seconds <= 0)
        seconds = DEFAULT_SECONDS + (int64_t)(random_u64() % DEFAULT_SECONDS);
    s->end_ms = now_ms(s) + seconds * 1000;
    s->bookmark_ms = now_ms(s) + BOOKMARK_MS;
    if (s->bookmark_ms > s->end_ms - BEFORE_END_MS)
        s->bookmark_ms = s->end_ms - BEFORE_END_MS;
    ERR(e);
    s->w = watch_open(op, notify, s, &e);
    if (!s->w && e.code != ERR_GONE) {
        free(s);
        return err_move(err, &e);
    }
    if (!s->w)
        s->error = status_of(&e);
    http_stream(res, "application/json", &ops, s);
    return 0;
}
