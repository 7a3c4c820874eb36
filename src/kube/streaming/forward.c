/* Port-forward: connections of the client, each to a port of the pod.
 *
 * A link is one of them: two channels towards the client (data, and an error text), a socket in the pod. Over SPDY the client
 * opens a pair of streams for each; in the form with channels all are there from the start. Dialling may block, so it is done on
 * the pool: the link waits in `dialled` until the loop takes it. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kube/streaming/carrier_priv.h"
#include "kube/streaming/streaming.h"
#include "net/upgrade/spdy.h"

enum { LINKS_MAX = 512, PORTS_MAX = 100 };

struct forward;
struct link {
    struct link *next, *next_dialled;
    struct forward *f;
    uint32_t data, error; /* streams or channels; 0 while it has not come (SPDY) */
    char *request;        /* the pair's name (SPDY) */
    int port, fd;         /* fd: from the dial, until it is watched */
    bool dialling, up, input_ended, input_over, output_over, dead;
    char *failure;
    struct stream_fd *watch;
    struct buf input;
};
struct forward {
    atomic_int refs; /* the stream, and dials under way */
    struct streaming_dial dial;
    struct carrier *carrier; /* NULL once closed */
    struct spdy *spdy;       /* NULL: channels */
    struct link *links;
    size_t n_links;
    struct stream_handle *handle;
    pthread_mutex_t lock; /* dialled, closed */
    struct link *dialled;
    bool closed;
};

/* ---- towards the client ------------------------------------------------------------------------------------------------------
 */

static void flush(struct forward *f)
{
    struct buf *out = f->spdy ? spdy_out(f->spdy) : NULL;
    if (!out || !out->len)
        return;
    carrier_send(f->carrier, out->data, out->len);
    buf_reset(out);
}

static void emit(struct link *l, uint32_t to, const char *p, size_t n)
{
    struct forward *f = l->f;
    if (f->spdy) {
        spdy_data(f->spdy, to, p, n);
        flush(f);
        return;
    }
    BUF(message);
    buf_addc(&message, (char)to);
    buf_add(&message, p, n);
    carrier_send(f->carrier, message.data, message.len);
}

static void link_free(struct link *l)
{
    if (l->watch)
        stream_fd_free(l->watch);
    else if (l->fd >= 0)
        close(l->fd);
    free(l->request);
    free(l->failure);
    buf_free(&l->input);
    free(l);
}

/* Takes it out once nobody needs it. */
static void remove_link(struct link *l)
{
    struct forward *f = l->f;
    struct link **at = &f->links;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    f->n_links--;
    link_free(l);
}

/* Channels cannot be ended one by one: the end of the last is that of the connection. */
static void close_when_over(struct forward *f)
{
    for (const struct link *l = f->links; l; l = l->next)
        if (!l->dead)
            return;
    carrier_close(f->carrier);
}

static void close_link(struct link *l)
{
    struct forward *f = l->f;
    l->dead = true;
    if (f->spdy) {
        spdy_end(f->spdy, l->error);
        spdy_end(f->spdy, l->data);
        /* The client's half may still be open: nothing more is wanted of it. */
        if (!l->input_ended)
            spdy_reset(f->spdy, l->data, SPDY_CANCEL);
        flush(f);
    }
    if (l->dialling)
        return;
    if (f->spdy) {
        remove_link(l);
    } else { /* the channel stays, what comes on it is dropped */
        stream_fd_free(l->watch);
        if (l->watch)
            l->fd = -1;
        l->watch = NULL;
        close_when_over(f);
    }
}

static void failed(struct link *l, const char *why)
{
    AUTOFREE char *text = xasprintf("error forwarding port %d to pod %s: %s", l->port, l->f->dial.pod, why);
    emit(l, l->error, text, strlen(text));
    close_link(l);
}

/* The socket's own error. With channels the client has this one connection and learns why it ends. Over SPDY nothing is said:
 * kubectl gives up all of its connections when one has an error. */
static void broken(struct link *l, int code)
{
    char text[128];
    if (l->f->spdy)
        close_link(l);
    else
        failed(l, strerror_r(code, text, sizeof text));
}

/* ---- the pod's side
 * ------------------------------------------------------------------------------------------------------------ */

static void want(struct link *l)
{
    int events = (l->output_over || carrier_queued(l->f->carrier) >= QUEUE_HIGH ? 0 : POLLIN) | (l->input.len ? POLLOUT : 0);
    stream_fd_want(l->watch, events);
}

/* While one link has too much that its socket does not take, nothing more is read for any: they share the connection. */
static void balance(struct forward *f)
{
    bool full = false;
    for (struct link *l = f->links; l; l = l->next)
        full |= !l->dead && l->input.len > INPUT_HIGH;
    if (full)
        carrier_pause(f->carrier);
    else
        carrier_resume(f->carrier);
}

/* False when the link is gone. */
static bool push_input(struct link *l)
{
    while (l->input.len) {
        ssize_t n = send(l->fd, l->input.data, l->input.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (n < 0) {
            broken(l, errno);
            return false;
        }
        buf_consume(&l->input, (size_t)n);
    }
    if (!l->input.len && l->input_ended && !l->input_over) {
        l->input_over = true;
        shutdown(l->fd, SHUT_WR);
    }
    if (l->output_over && l->input_over) {
        close_link(l);
        return false;
    }
    return true;
}

/* False when the link is gone. */
static bool pull_output(struct link *l)
{
    static _Thread_local char piece[PIECE];
    while (!l->output_over && carrier_queued(l->f->carrier) < QUEUE_HIGH) {
        ssize_t n = recv(l->fd, piece, sizeof piece, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return true;
        if (n <= 0) {
            l->output_over = true;
            if (n < 0) {
                broken(l, errno);
                return false;
            }
            if (l->input_over || !l->f->spdy) {
                close_link(l);
                return false;
            }
            spdy_end(l->f->spdy, l->data);
            flush(l->f);
            return true;
        }
        emit(l, l->data, piece, (size_t)n);
    }
    return true;
}

static void on_socket(void *arg, int events)
{
    struct link *l = arg;
    struct forward *f = l->f;
    if (((events & POLLOUT) && !push_input(l)) || ((events & POLLIN) && !pull_output(l))) {
        balance(f);
        return;
    }
    want(l);
    balance(f);
}

static void link_up(struct link *l)
{
    l->watch = stream_fd_new(l->f->handle, l->fd, on_socket, l);
    if (!l->watch) {
        failed(l, "the connection cannot be watched");
        return;
    }
    l->up = true;
    if (push_input(l))
        want(l);
}

/* ---- dialling
 * ------------------------------------------------------------------------------------------------------------------ */

static void unref(struct forward *f)
{
    if (atomic_fetch_sub(&f->refs, 1) != 1)
        return;
    while (f->links) {
        struct link *l = f->links;
        f->links = l->next;
        link_free(l);
    }
    if (f->dial.release)
        f->dial.release(f->dial.arg);
    free(f->dial.pod);
    stream_handle_unref(f->handle);
    spdy_free(f->spdy);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

static void dial_job(void *arg)
{
    struct link *l = arg;
    struct forward *f = l->f;
    ERR(e);
    int fd = -1;
    char *why = f->dial.dial(f->dial.arg, l->port, &fd, &e) < 0 ? xstrdup(err_text(&e)) : NULL;
    {
        LOCK_GUARD(&f->lock);
        l->fd = fd;
        l->failure = why;
        l->next_dialled = f->dialled;
        f->dialled = l;
        if (!f->closed)
            stream_wake(f->handle);
    }
    unref(f);
}

static void link_dial(struct link *l)
{
    struct forward *f = l->f;
    l->dialling = true;
    atomic_fetch_add(&f->refs, 1);
    if (pool_submit(f->dial.pool, dial_job, l))
        return;
    atomic_fetch_sub(&f->refs, 1);
    l->dialling = false;
    failed(l, "too many connections at once");
}

static void on_wake(void *state)
{
    struct forward *f = state;
    struct link *list;
    {
        LOCK_GUARD(&f->lock);
        list = f->dialled;
        f->dialled = NULL;
    }
    while (list) {
        struct link *l = list;
        list = l->next_dialled;
        l->dialling = false;
        if (l->dead)
            close_link(l);
        else if (l->failure)
            failed(l, l->failure);
        else
            link_up(l);
    }
    balance(f);
}

/* ---- SPDY
 * ---------------------------------------------------------------------------------------------------------------------- */

static struct link *link_new(struct forward *f, const char *request, int port)
{
    struct link *l = xcalloc(1, sizeof *l);
    *l = (struct link){.f = f, .next = f->links, .request = xstrdup(request), .port = port, .fd = -1};
    f->links = l;
    f->n_links++;
    return l;
}

static struct link *link_named(struct forward *f, const char *request)
{
    for (struct link *l = f->links; l; l = l->next)
        if (str_eq(l->request, request) && !l->dead)
            return l;
    return NULL;
}

static struct link *link_of(struct forward *f, uint32_t data)
{
    for (struct link *l = f->links; l; l = l->next)
        if (l->data == data && !l->dead)
            return l;
    return NULL;
}

static void on_spdy_open(struct spdy *sp, void *state, uint32_t id, const struct spdy_header *h, size_t n)
{
    struct forward *f = state;
    const char *type = spdy_find(h, n, "streamtype"), *text = spdy_find(h, n, "port"), *request = spdy_find(h, n, "requestid");
    int64_t port;
    bool data = str_eq(type, "data");
    if ((!data && !str_eq(type, "error")) || !text || !str_to_i64(text, &port) || port < 1 || port > 65535) {
        spdy_reset(sp, id, SPDY_PROTOCOL_ERROR);
        return;
    }
    struct link *l = link_named(f, request ? request : text);
    if (!l && f->n_links >= LINKS_MAX) {
        spdy_reset(sp, id, SPDY_REFUSED_STREAM);
        return;
    }
    if (!l)
        l = link_new(f, request ? request : text, (int)port);
    if (data ? l->data : l->error) {
        spdy_reset(sp, id, SPDY_PROTOCOL_ERROR);
        return;
    }
    *(data ? &l->data : &l->error) = id;
    spdy_accept(sp, id);
    if (l->data && l->error)
        link_dial(l);
}

static void link_input(struct link *l, const char *p, size_t n)
{
    if (l->input_ended || l->dead)
        return;
    buf_add(&l->input, p, n);
    if (l->up && push_input(l))
        want(l);
}

static void on_spdy_data(struct spdy *sp, void *state, uint32_t id, const char *p, size_t n)
{
    struct link *l = link_of(state, id);
    (void)sp;
    if (l)
        link_input(l, p, n);
}

static void on_spdy_end(struct spdy *sp, void *state, uint32_t id)
{
    struct link *l = link_of(state, id);
    (void)sp;
    if (!l)
        return;
    l->input_ended = true;
    if (l->up && push_input(l))
        want(l);
}

static void on_spdy_reset(struct spdy *sp, void *state, uint32_t id)
{
    struct link *l = link_of(state, id);
    (void)sp;
    if (l)
        close_link(l);
}

static const struct spdy_ops spdy_ops = {on_spdy_open, on_spdy_data, on_spdy_end, on_spdy_reset};

/* ---- the carrier
 * ----------------------------------------------------------------------------------------------------------------- */

/* Each channel is opened by its port in two bytes, low one first. */
static void on_open(void *state)
{
    struct forward *f = state;
    f->handle = carrier_handle(f->carrier);
    for (struct link *l = f->links; l && !f->spdy; l = l->next) {
        const char port[2] = {(char)(l->port & 255), (char)(l->port >> 8)};
        emit(l, l->data, port, 2);
        emit(l, l->error, port, 2);
        link_dial(l);
    }
}

static void on_bytes(void *state, const char *p, size_t n)
{
    struct forward *f = state;
    ERR(e);
    if (!f->spdy) {
        struct link *l = n > 1 ? link_of(f, (unsigned char)p[0]) : NULL;
        if (l)
            link_input(l, p + 1, n - 1);
    } else {
        int rc = spdy_feed(f->spdy, p, n, &e);
        flush(f);
        if (rc < 0)
            carrier_close(f->carrier);
    }
    balance(f);
}

static void on_writable(void *state)
{
    struct forward *f = state;
    for (struct link *l = f->links; l; l = l->next)
        if (l->watch)
            want(l);
}

static void on_timer(void *state) { (void)state; }

static void on_close(void *state)
{
    struct forward *f = state;
    {
        LOCK_GUARD(&f->lock);
        f->closed = true;
    }
    for (struct link *l = f->links; l; l = l->next) {
        l->dead = true;
        stream_fd_free(l->watch);
        if (l->watch)
            l->fd = -1;
        l->watch = NULL;
    }
    unref(f);
}

static const struct carrier_ops carrier_ops = {on_open, on_bytes, on_writable, on_wake, on_timer, on_close};

static int add_port(struct forward *f, const char *text, struct err *err)
{
    int64_t port;
    if (!str_to_i64(text, &port) || port < 1 || port > 65535)
        return err_set(err, ERR_BAD_REQUEST, "unable to parse \"%s\" as a port", text);
    if (f->n_links >= PORTS_MAX)
        return err_set(err, ERR_BAD_REQUEST, "more than %d ports", PORTS_MAX);
    uint32_t channel = 2 * (uint32_t)f->n_links;
    struct link *l = link_new(f, NULL, (int)port);
    l->data = channel;
    l->error = channel + 1;
    return 0;
}

/* ?ports=80,81&ports=82 is asked of an API server, which asks ?port=80,81,82 of a kubelet. */
static int add_ports(struct forward *f, struct http_req *req, struct err *err)
{
    static const char *const names[] = {"ports", "port"};
    for (size_t name = 0; name < ARRAY_LEN(names); name++)
        for (size_t i = 0; i < http_query_count(req, names[name]); i++) {
            STRLIST(ports);
            str_split(http_query_nth(req, names[name], i), ',', &ports);
            for (size_t k = 0; k < ports.n; k++)
                if (add_port(f, ports.v[k], err) < 0)
                    return -1;
        }
    return f->links ? 0 : err_set(err, ERR_BAD_REQUEST, "query parameter \"ports\" is required");
}

int streaming_forward(struct http_req *req, struct http_res *res, const struct streaming_how *how, struct streaming_dial *dial,
                      struct err *err)
{
    struct forward *f = xcalloc(1, sizeof *f);
    atomic_init(&f->refs, 1);
    pthread_mutex_init(&f->lock, NULL);
    f->dial = *dial;
    *dial = (struct streaming_dial){0};
    if (!how->websocket || (how->protocol && str_starts(how->protocol, "SPDY/"))) {
        f->spdy = spdy_new(2 * LINKS_MAX, &spdy_ops, f);
    } else if (add_ports(f, req, err) < 0) {
        unref(f);
        return -1;
    }
    carrier_start(req, res, how, &carrier_ops, f, &f->carrier);
    return 0;
}
