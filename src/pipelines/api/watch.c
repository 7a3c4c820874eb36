/* watch.c - GET /runs/{run_id}:watch: server-sent events, one for each change of a state of the run or its tasks (spec 8.5).
 *
 *     id: 1764072000123456789          the stamp of the change; a client that comes back sends the last one as Last-Event-ID
 *     event: task                      or run; data is the task as in GET /runs/{run_id}/tasks, or the run without its pipeline
 *     data: {"task_id": ...}
 *
 * The rows are the queue: each knows the stamp of its last change (row_stamp), and a stream is a cursor over them. So a client
 * misses no state that lasts, however long it was away or the server down, states that passed meanwhile are left out, and a slow
 * client costs one page of events. A stream ends with an event "end" when the run is final.
 *
 * Two threads meet in a watch, under its lock: the reader (one for all watches) fills `page` while it is empty; the loop that
 * owns the socket takes it. A watch is freed by whoever lets go of it last. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/thread.h"
#include "pipelines/api/resource.h"

enum { PAGE_EVENTS = 100, QUEUE_MAX = 1 << 20, PING_MS = 15000 };

struct watches {
    const struct store *store;
    struct pool *reader;
    pthread_mutex_t lock; /* over first and the links */
    struct watch *first;
};

struct watch {
    struct watches *all;
    struct watch *next, **prev; /* guarded by all->lock */
    char *run_id;
    atomic_int refs;
    pthread_mutex_t lock;         /* over what follows */
    struct stream_handle *handle; /* NULL before on_start */
    int64_t cursor;
    struct buf page; /* not yet taken by the loop */
    bool queued;     /* the reader has it, or will */
    bool again;      /* something changed while it was reading */
    bool more;       /* rows were left behind the page */
    bool over, closed;
};

static void unref(struct watch *w)
{
    if (atomic_fetch_sub(&w->refs, 1) != 1)
        return;
    if (w->handle)
        stream_handle_unref(w->handle);
    pthread_mutex_destroy(&w->lock);
    buf_free(&w->page);
    free(w->run_id);
    free(w);
}

/* ---- reading -------------------------------------------------------------------------------------------------------- */

static void add_event(struct buf *b, int64_t id, const char *event, jmval *data)
{
    buf_addf(b, "id: %lld\nevent: %s\ndata: ", (long long)id, event);
    jmv_write(data, JW_COMPACT, b); /* one line: line ends in texts are escaped */
    buf_adds(b, "\n\n");
}

struct page {
    struct db *db;
    struct buf *out;
    const struct run *run;
    int64_t cursor;
    bool run_sent;
    int n;
};

static void add_run(struct page *p)
{
    JM_NEW(m);
    jmval *o = jm_obj(m);
    const struct run *r = p->run;
    jm_set_root(m, o);
    out_str(m, o, "run_id", r->run_id);
    out_str(m, o, "display_name", r->display_name);
    out_str(m, o, "state", run_state_name(r->state));
    out_time(m, o, "created_at", r->created_ns);
    out_time(m, o, "finished_at", r->finished_ns);
    if (r->error_code) {
        jmval *e = jm_obj_at(m, o, "error");
        out_i32(m, e, "code", r->error_code);
        out_str(m, e, "message", r->error_message);
    }
    add_event(p->out, r->changed, "run", o);
    p->run_sent = true;
    p->cursor = r->changed;
}

static int add_task(void *self, void *row, struct err *err)
{
    struct page *p = self;
    const struct task_row *t = row;
    if (!p->run_sent && p->run->changed < t->changed)
        add_run(p);
    JM_NEW(m);
    jmval *o = resource_out(&TASKS, p->db, m, t, VIEW_LIST, err);
    if (!o)
        return -1;
    jm_set_root(m, o);
    add_event(p->out, t->changed, "task", o);
    p->cursor = t->changed;
    p->n++;
    return 0;
}

/* The next page behind the cursor. *more: there may be another; *over: the run is final, and all was said. */
static int read_page(struct db *db, const char *run_id, int64_t *cursor, struct buf *out, bool *more, bool *over, struct err *err)
{
    static const char TAIL[] = "WHERE t.run_id = ?1 AND t.changed_at > CAST(?2 AS INTEGER) ORDER BY t.changed_at LIMIT 100";
    RUN(run);
    ERR(gone);
    if (run_get(db, run_id, &run, &gone) < 0) {
        if (gone.code != ERR_NOT_FOUND)
            return err_move(err, &gone);
        buf_adds(out, "event: end\ndata: {\"deleted\":true}\n\n");
        *over = true;
        return 0;
    }
    AUTOFREE char *after = xasprintf("%lld", (long long)*cursor);
    const char *const values[] = {run_id, after};
    struct page p = {.db = db, .out = out, .run = &run, .cursor = *cursor, .run_sent = run.changed <= *cursor};
    if (row_each(&TASK_ROWS, db, TAIL, values, 2, add_task, &p, err) < 0)
        return -1;
    *more = p.n == PAGE_EVENTS;
    if (!p.run_sent && !*more)
        add_run(&p);
    *cursor = p.cursor;
    *over = !*more && run_state_final(run.state);
    if (*over)
        buf_adds(out, "event: end\ndata: {}\n\n");
    return 0;
}

static int read_snapshot(struct watches *all, const char *run_id, int64_t *cursor, struct buf *out, bool *more, bool *over)
{
    ERR(e);
    struct db *db = db_reader_get(all->store->readers, &e);
    if (!db)
        return -1;
    int rc = db_exec(db, "BEGIN", &e);
    if (rc == 0) {
        rc = read_page(db, run_id, cursor, out, more, over, &e);
        db_rollback(db);
    }
    db_reader_put(all->store->readers, db);
    return rc;
}

/* On the reader's thread. */
static void read_job(void *arg)
{
    struct watch *w = arg;
    int64_t cursor = 0;
    bool read = false;
    {
        LOCK_GUARD(&w->lock);
        cursor = w->cursor;
        w->again = false;
        read = !w->closed && !w->over && w->page.len == 0;
    }
    BUF(out);
    bool more = false, over = false;
    int rc = read ? read_snapshot(w->all, w->run_id, &cursor, &out, &more, &over) : 0;
    bool resubmit;
    {
        LOCK_GUARD(&w->lock);
        if (read && rc == 0) {
            w->cursor = cursor;
            buf_add(&w->page, out.data, out.len);
            w->more = more;
            w->over = over;
            if (w->handle && out.len > 0)
                stream_wake(w->handle);
        }
        resubmit = w->again && !w->closed && !w->over && w->page.len == 0;
        w->queued = resubmit;
    }
    if (resubmit && pool_submit(w->all->reader, read_job, w))
        return; /* with the reference */
    unref(w);
}

static void want_page(struct watch *w)
{
    LOCK_GUARD(&w->lock);
    w->again = true;
    if (w->queued || w->closed || w->over || w->page.len > 0)
        return;
    atomic_fetch_add(&w->refs, 1);
    w->queued = true;
    if (!pool_submit(w->all->reader, read_job, w)) { /* too many at once: the next ping asks again */
        w->queued = false;
        atomic_fetch_sub(&w->refs, 1);
    }
}

static void run_changed(void *self, const char *run_id)
{
    struct watches *all = self;
    LOCK_GUARD(&all->lock);
    for (struct watch *w = all->first; w; w = w->next) {
        if (str_eq(w->run_id, run_id))
            want_page(w);
    }
}

/* ---- the stream ----------------------------------------------------------------------------------------------------- */

/* Sends what there is while the client takes it, and asks for more. */
static void pump(struct stream *st, struct watch *w)
{
    BUF(out);
    bool end, more;
    {
        LOCK_GUARD(&w->lock);
        if (stream_queued(st) > QUEUE_MAX)
            return;
        out = w->page;
        w->page = (struct buf){0};
        end = w->over;
        more = w->more || w->again;
    }
    if (more)
        want_page(w);
    if (out.len > 0)
        stream_write(st, out.data, out.len);
    if (end)
        stream_end(st);
}

static void on_start(struct stream *st, void *state)
{
    struct watch *w = state;
    stream_timer(st, PING_MS);
    {
        LOCK_GUARD(&w->lock);
        w->handle = stream_handle(st);
    }
    want_page(w);
}

static void on_pump(struct stream *st, void *state) { pump(st, state); }

static void on_timer(struct stream *st, void *state)
{
    struct watch *w = state;
    if (stream_queued(st) == 0)
        stream_write(st, ": ping\n\n", 8);
    stream_timer(st, PING_MS);
    want_page(w);
}

static void on_close(struct stream *st, void *state)
{
    struct watch *w = state;
    {
        LOCK_GUARD(&w->all->lock);
        *w->prev = w->next;
        if (w->next)
            w->next->prev = w->prev;
    }
    {
        LOCK_GUARD(&w->lock);
        w->closed = true;
    }
    unref(w);
}

static const struct stream_ops WATCH_STREAM = {
    .on_start = on_start, .on_writable = on_pump, .on_wake = on_pump, .on_timer = on_timer, .on_close = on_close};

/* Where the client was: what we sent as the id of its last event. Anything else starts from the beginning. */
static int64_t last_event(const struct http_req *req)
{
    const char *text = http_header_get(req, "last-event-id");
    int64_t n;
    if (!text)
        text = http_query(req, "last_event_id"); /* for clients that cannot set headers */
    return text && str_to_i64(text, &n) && n > 0 ? n : -1;
}

int run_watch_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct pipelines_api *api = self;
    struct watches *all = api->watches;
    {
        READER(r, api, err);
        RUN(run);
        if (!r.db || run_get(r.db, http_param(req, "run_id"), &run, err) < 0)
            return api_wrap(err, "Failed to watch a run");
    }
    struct watch *w = xcalloc(1, sizeof *w);
    w->all = all;
    w->run_id = xstrdup(http_param(req, "run_id"));
    w->cursor = last_event(req);
    atomic_init(&w->refs, 1);
    ASSERT(pthread_mutex_init(&w->lock, NULL) == 0);
    {
        LOCK_GUARD(&all->lock);
        w->next = all->first;
        w->prev = &all->first;
        if (w->next)
            w->next->prev = &w->next;
        all->first = w;
    }
    http_set_header(res, "Cache-Control", "no-cache");
    http_stream(res, "text/event-stream", &WATCH_STREAM, w);
    return 0;
}

/* ---- life ------------------------------------------------------------------------------------------------------------- */

struct watches *watches_new(const struct store *store)
{
    struct watches *all = xcalloc(1, sizeof *all);
    all->store = store;
    all->reader = pool_new("run-watch", 1, 16384);
    ASSERT(pthread_mutex_init(&all->lock, NULL) == 0);
    if (store->changes)
        changes_listen(store->changes, run_changed, all);
    return all;
}

void watches_free(struct watches *all)
{
    if (!all)
        return;
    if (all->store->changes)
        changes_unlisten(all->store->changes, all);
    pool_stop(all->reader);
    ASSERT(!all->first);
    pthread_mutex_destroy(&all->lock);
    free(all);
}
