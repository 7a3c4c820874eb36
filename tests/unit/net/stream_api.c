#include "stream_api.h"

#include <unistd.h>

struct s {
    const char *mode;
    int n;
};
struct stream_counts counts;
pthread_t stream_waker;

static void on_release(void *owner) { atomic_fetch_add(&counts.released, 1); }

static void *wake_thread(void *arg)
{
    struct stream_handle *h = arg;
    while (!atomic_load(&counts.stop_waker)) {
        stream_wake(h);
        usleep(500);
    }
    for (int i = 0; i < 1000; i++)
        stream_wake(h); /* also when the stream is gone */
    stream_handle_unref(h);
    return NULL;
}

static void on_start(struct stream *st, void *state)
{
    struct s *s = state;
    static const char text[] = "shared bytes";
    if (str_eq(s->mode, "count")) {
        stream_timer(st, 5);
    } else if (str_eq(s->mode, "shared")) {
        stream_write(st, "a", 1);
        stream_write_shared(st, text, sizeof text - 1, on_release, NULL);
        stream_write_shared(st, text, 0, on_release, NULL);
        stream_write(st, "", 0);
        stream_write(st, "b", 1);
        stream_end(st);
        stream_write(st, "late", 4);
        stream_write_shared(st, text, 4, on_release, NULL);
    } else if (str_eq(s->mode, "abort")) {
        stream_write(st, "some", 4);
        stream_timer(st, 20);
    } else if (str_eq(s->mode, "wake")) {
        stream_waker = thread_start("test-waker", wake_thread, stream_handle(st));
    } else if (str_eq(s->mode, "flood")) {
        static char mega[1 << 20];
        for (int i = 0; i < 40; i++)
            stream_write(st, mega, sizeof mega);
    } else if (str_eq(s->mode, "pump")) {
        stream_write(st, "start;", 6);
        stream_timer(st, 1);
    }
}

static void fill(struct stream *st, struct s *s)
{
    static _Thread_local char block[16384];
    memset(block, 'x', sizeof block);
    while (s->n < 2000 && stream_queued(st) < 128 * 1024) {
        stream_write(st, block, sizeof block);
        s->n++;
        if (stream_queued(st) > atomic_load(&counts.max_queued))
            atomic_store(&counts.max_queued, stream_queued(st));
    }
    if (s->n == 2000)
        stream_end(st);
}

static void on_writable(struct stream *st, void *state)
{
    struct s *s = state;
    if (str_eq(s->mode, "pump"))
        fill(st, s);
}

static void on_wake(struct stream *st, void *state)
{
    struct s *s = state;
    atomic_fetch_add(&counts.wakes_seen, 1);
    char text[32];
    int n = snprintf(text, sizeof text, "wake %d;", ++s->n);
    stream_write(st, text, (size_t)n);
    if (s->n == 20)
        stream_end(st);
}

static void on_timer(struct stream *st, void *state)
{
    struct s *s = state;
    if (str_eq(s->mode, "abort") && stream_queued(st)) {
        stream_timer(st, 20); /* an answer that is cut before its head has left is none */
    } else if (str_eq(s->mode, "abort")) {
        stream_abort(st);
        stream_write(st, "never", 5);
    } else if (str_eq(s->mode, "pump")) {
        fill(st, s);
    } else {
        char text[32];
        int n = snprintf(text, sizeof text, "tick %d;", ++s->n);
        stream_write(st, text, (size_t)n);
        if (s->n == 3)
            stream_end(st);
        else
            stream_timer(st, 5);
    }
}

static void on_close(struct stream *st, void *state)
{
    struct s *s = state;
    atomic_fetch_add(&counts.closed, 1);
    free(s);
}

static const struct stream_ops ops = {
    .on_start = on_start, .on_writable = on_writable, .on_wake = on_wake, .on_timer = on_timer, .on_close = on_close};

static int start_stream(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct s *s = calloc(1, sizeof *s);
    static const char *const modes[] = {"count", "shared", "abort", "wake", "flood", "pump", "idle", "fail", NULL};
    for (size_t i = 0; modes[i]; i++)
        if (str_eq(modes[i], http_param(req, "mode")))
            s->mode = modes[i];
    atomic_fetch_add(&counts.opened, 1);
    http_stream(res, "application/x-test", &ops, s);
    if (str_eq(s->mode, "fail"))
        return err_set(err, ERR_INTERNAL, "changed its mind");
    return 0;
}

/* ---- an upgraded echo that takes 10 bytes at a time and resumes itself by a timer ---- */

static void echo_start(struct stream *st, void *state) { stream_write(st, "hi;", 3); }
static size_t echo_data(struct stream *st, void *state, const char *p, size_t n)
{
    size_t take = n < 10 ? n : 10;
    stream_write(st, p, take);
    if (memchr(p, '!', take))
        stream_end(st);
    else if (take < n)
        stream_timer(st, 1);
    return take;
}
static void echo_timer(struct stream *st, void *state) { stream_resume(st); }
static void echo_close(struct stream *st, void *state) { atomic_fetch_add(&counts.closed, 1); }
static const struct stream_ops echo_ops = {
    .on_start = echo_start, .on_data = echo_data, .on_timer = echo_timer, .on_close = echo_close};

static int upgrade(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    atomic_fetch_add(&counts.opened, 1);
    http_set_header(res, "Upgrade", "echo");
    http_upgrade(res, &echo_ops, NULL);
    return 0;
}

static const struct route routes[] = {
    {HTTP_GET, "/stream/{mode}", start_stream, PERM_OPEN},
    {HTTP_GET, "/upgrade", upgrade, PERM_OPEN},
};
static const struct http_api api = {.name = "streams", .routes = routes, .n_routes = ARRAY_LEN(routes)};
static const struct mount mount = {"/", false, &api};

void streams_start_with(struct kit *k, const struct server_limits *limits, struct listener_config *cfg)
{
    atomic_store(&counts.opened, 0);
    atomic_store(&counts.closed, 0);
    atomic_store(&counts.released, 0);
    atomic_store(&counts.max_queued, 0);
    cfg->mounts = &mount;
    cfg->n_mounts = 1;
    kit_start_with(k, limits, cfg);
}

void streams_start(struct kit *k, const struct server_limits *limits)
{
    struct listener_config cfg = {0};
    streams_start_with(k, limits, &cfg);
}

void streams_stop(struct kit *k)
{
    kit_stop(k);
    assert_int_equal(atomic_load(&counts.opened), atomic_load(&counts.closed));
}

void streams_wait_closed(int n)
{
    kit_wait(&counts.closed, n);
    assert_int_equal(atomic_load(&counts.closed), n);
}

void streams_wait_queued(void)
{
    for (int i = 0; i < 6000 && !atomic_load(&counts.max_queued); i++)
        usleep(10000);
    assert_true(atomic_load(&counts.max_queued) > 0);
}
