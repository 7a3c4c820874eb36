/* server.c - putting a server together, and taking it apart in the right order. */
#define LOG_ROOM "http"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "net/internal.h"
#include "net/tls.h"

#define FILE_READERS 4

static void fill_limits(struct server_limits *l)
{
#define DEFAULT(field, value) l->field = l->field ? l->field : (value)
    DEFAULT(max_header_bytes, 64 * 1024);
    DEFAULT(max_headers, 100);
    DEFAULT(header_timeout_ms, 10000);
    DEFAULT(body_idle_timeout_ms, 30000);
    DEFAULT(idle_timeout_ms, 75000);
    DEFAULT(write_timeout_ms, 60000);
    DEFAULT(max_connections, 10000);
    DEFAULT(max_body_in_flight, (size_t)256 * 1024 * 1024);
    DEFAULT(max_stream_queue, (size_t)16 * 1024 * 1024);
    DEFAULT(max_held_connection, (size_t)64 * 1024 * 1024);
    DEFAULT(max_held, (size_t)512 * 1024 * 1024);
    DEFAULT(workers, 64);
#undef DEFAULT
}

struct http_server *http_server_new(const struct server_limits *limits, struct err *err)
{
    struct http_server *s = xcalloc(1, sizeof *s);
    if (limits)
        s->limits = *limits;
    fill_limits(&s->limits);
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->cancel_lock, NULL);
    for (unsigned i = 0; i < N_LOOPS; i++)
        if (loop_init(&s->loops[i], s, i, err) < 0) {
            while (i-- > 0) {
                s->loops[i].stopping = true;
                loop_maybe_finish(&s->loops[i]);
                loop_main(&s->loops[i]);
                loop_free(&s->loops[i]);
            }
            free(s);
            return NULL;
        }
    /* The queues hold at most a job a connection. */
    s->workers = pool_new("http", s->limits.workers, s->limits.max_connections + 1);
    s->files = pool_new("http-file", FILE_READERS, s->limits.max_connections + 1);
    return s;
}

/* ---- APIs ---- */

const struct api_table *server_table(struct http_server *s, const struct http_api *api)
{
    LOCK_GUARD(&s->lock);
    for (struct api_table *t = s->tables; t; t = t->next)
        if (t->api == api)
            return t;
    struct api_table *t = xcalloc(1, sizeof *t);
    t->api = api;
    t->routes = route_table_new(api->routes, api->n_routes);
    t->next = s->tables;
    s->tables = t;
    return t;
}

/* ---- listeners ---- */

static int by_length(const void *a, const void *b)
{
    const struct mounted *x = a, *y = b;
    return (x->len < y->len) - (x->len > y->len);
}

static void copy_config(struct http_server *s, struct listener *ln, const struct listener_config *cfg)
{
    ln->mounts = xcalloc(cfg->n_mounts, sizeof *ln->mounts);
    ln->n_mounts = cfg->n_mounts;
    for (size_t i = 0; i < cfg->n_mounts; i++) {
        struct mounted *m = &ln->mounts[i];
        m->prefix = xstrdup(cfg->mounts[i].prefix);
        m->len = strlen(m->prefix);
        while (m->len && m->prefix[m->len - 1] == '/')
            m->prefix[--m->len] = '\0';
        m->strip = cfg->mounts[i].strip;
        m->table = server_table(s, cfg->mounts[i].api);
    }
    qsort(ln->mounts, ln->n_mounts, sizeof *ln->mounts, by_length);
    size_t n = 0;
    while (cfg->extra_hosts && cfg->extra_hosts[n])
        n++;
    ln->hosts.extra = xcalloc(n + 1, sizeof *ln->hosts.extra);
    for (size_t i = 0; i < n; i++) {
        ln->hosts.any |= strcmp(cfg->extra_hosts[i], "*") == 0;
        ln->hosts.extra[i] = xstrdup(cfg->extra_hosts[i]);
    }
    ln->check_browser = cfg->check_browser;
}

static void listener_free(struct listener *ln)
{
    if (ln->fd >= 0)
        close(ln->fd);
    if (ln->unix_path)
        unlink(ln->unix_path);
    for (size_t i = 0; i < ln->n_mounts; i++)
        free(ln->mounts[i].prefix);
    for (char **e = ln->hosts.extra; e && *e; e++)
        free(*e);
    free(ln->hosts.extra);
    free(ln->mounts);
    free(ln->address);
    free(ln->unix_path);
    SSL_CTX_free(ln->tls);
    free(ln);
}

static void on_attach(struct loop *l, struct post *p)
{
    if (!l->stopping)
        listener_attach(l, CONTAINER_OF(p, struct listener, post));
}

int http_server_listen(struct http_server *s, const struct listener_config *cfg, int *port_out, struct err *err)
{
    struct listener *ln = xcalloc(1, sizeof *ln);
    ln->server = s;
    ln->fd = -1;
    if (cfg->tls && !(ln->tls = tls_server_ctx(cfg->tls, err))) {
        listener_free(ln);
        return err_wrap(err, "listening on %s", cfg->address);
    }
    if (listener_open(ln, cfg, port_out, err) < 0) {
        listener_free(ln);
        return -1;
    }
    copy_config(s, ln, cfg);
    ln->post.fn = on_attach;
    LOCK_GUARD(&s->lock);
    ln->next = s->listeners;
    s->listeners = ln;
    loop_post(&s->loops[0], &ln->post); /* taken up once the loop runs */
    return 0;
}

int http_server_start(struct http_server *s, struct err *err)
{
    ASSERT(!s->started);
    s->started = true;
    for (unsigned i = 0; i < N_LOOPS; i++)
        s->loops[i].thread = thread_start(i ? "http-loop-1" : "http-loop-0", loop_main, &s->loops[i]);
    return 0;
}

size_t http_server_connections(const struct http_server *s) { return atomic_load(&s->n_conns); }

/* ---- stopping ---- */

static void on_grace(uv_timer_t *t)
{
    struct loop *l = t->data;
    struct conn *c, *next;
    size_t n = 0;
    for (c = LIST_FIRST(&l->conns); c; c = next, n++) {
        next = LIST_NEXT(c, all);
        conn_close(c);
    }
    if (n)
        log_debug("%zu connections were cut at the end of the grace period", n);
}

static void on_stop(struct loop *l, struct post *p)
{
    struct http_server *s = l->server;
    l->stopping = true;
    if (l->index == 0) { /* it accepts: the others are told after the last connection that they were handed */
        for (struct listener *ln = s->listeners; ln; ln = ln->next)
            listener_detach(ln);
        for (unsigned i = 1; i < N_LOOPS; i++)
            loop_post(&s->loops[i], &s->loops[i].stop_post);
    }
    struct conn *c, *next;
    for (c = LIST_FIRST(&l->conns); c; c = next) {
        next = LIST_NEXT(c, all);
        conn_stop(c);
        conn_flush(c);
        conn_update(c);
    }
    uv_timer_start(&l->grace, on_grace, (uint64_t)(l->grace_ms > 0 ? l->grace_ms : 0), 0);
}

/* First the loops, each after its last connection; what workers do meanwhile comes back to them. Then nothing can post any
 * more, and the pools and the rest can go. A handler that does not heed its ctx is waited for: its thread cannot be taken away.
 */
void http_server_stop(struct http_server *s, int64_t grace_ms)
{
    if (!s)
        return;
    for (unsigned i = 0; i < N_LOOPS; i++) {
        s->loops[i].grace_ms = grace_ms;
        s->loops[i].stop_post.fn = on_stop;
    }
    loop_post(&s->loops[0], &s->loops[0].stop_post);
    for (unsigned i = 0; i < N_LOOPS; i++) {
        if (s->started)
            pthread_join(s->loops[i].thread, NULL);
        else
            loop_main(&s->loops[i]);
    }
    pool_stop(s->workers);
    pool_stop(s->files);
    for (unsigned i = 0; i < N_LOOPS; i++)
        loop_free(&s->loops[i]);
    while (s->listeners) {
        struct listener *ln = s->listeners;
        s->listeners = ln->next;
        listener_free(ln);
    }
    while (s->tables) {
        struct api_table *t = s->tables;
        s->tables = t->next;
        route_table_free(t->routes);
        free(t);
    }
    cancel_free_all(s);
    pthread_mutex_destroy(&s->cancel_lock);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
