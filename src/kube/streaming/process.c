/* A program's streams over a carrier: channels of a WebSocket, or streams of SPDY. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kube/streaming/carrier_priv.h"
#include "kube/streaming/streaming.h"
#include "net/upgrade/spdy.h"

enum channel { STDIN, STDOUT, STDERR, ERROR, RESIZE, N_CHANNELS, CLOSE = 255 };
enum {
    PACKET_MAX = 32 * 1024, /* of conmon's input */
    SPDY_STREAMS = 8,
    SPDY_WAIT_MS = 30000,
    RESIZE_MS = 50, /* between sizes that a terminal is told */
    SIZE_MAX_TEXT = 256,
    DRAIN_MS = 1000, /* after the end of the program, for what its children still hold open */
};

struct session;
struct output {
    struct session *s;
    enum channel channel;
    struct stream_fd *fd; /* NULL: not asked for, or over */
};
struct session {
    struct carrier *carrier;
    struct node_process proc; /* descriptors move to what watches them once it has started */
    bool tty, v5, old, packets, started, input_ended, input_over, ended, finished, moved, complained;
    struct stream_handle *handle;
    struct output out, err;
    struct stream_fd *in, *status;
    struct buf input; /* from the client, not yet taken by the program */
    int code;
    struct err failure;
    struct buf sizes;  /* of the terminal: what came of a message so far */
    int columns, rows; /* the size that the terminal could not be told yet; columns 0: none */
    bool resting;      /* it has been told one just now */
    /* SPDY */
    struct spdy *spdy;
    uint32_t ids[N_CHANNELS];
    unsigned expected; /* bits of channels that the client opens streams for */
};

/* ---- towards the client ------------------------------------------------------------------------------------------------------
 */

static void flush_spdy(struct session *s)
{
    struct buf *out = s->spdy ? spdy_out(s->spdy) : NULL;
    if (!out || !out->len)
        return;
    carrier_send(s->carrier, out->data, out->len);
    buf_reset(out);
}

static void emit(struct session *s, enum channel channel, const char *p, size_t n)
{
    if (s->spdy) {
        if (s->ids[channel])
            spdy_data(s->spdy, s->ids[channel], p, n);
        flush_spdy(s);
        return;
    }
    BUF(message);
    buf_addc(&message, (char)channel);
    if (n)
        buf_add(&message, p, n);
    carrier_send(s->carrier, message.data, message.len);
}

static void status_json(const struct session *s, struct buf *out)
{
    JM_NEW(m);
    jmval *root = jm_obj(m), *cause = jm_obj(m), *causes = jm_arr(m);
    bool failed = s->failure.code != 0;
    jm_put(m, root, "metadata", jm_obj(m));
    jm_put(m, root, "status", jm_str(m, failed || s->code ? "Failure" : "Success"));
    if (failed) {
        const char *text = err_text(&s->failure);
        jm_put(m, root, "message", jm_strf(m, "Internal error occurred: error executing command in container: %s", text));
        jm_put(m, root, "reason", jm_str(m, "InternalError"));
        jm_put(m, root, "code", jm_i64(m, 500));
        jm_put(m, cause, "message", jm_strf(m, "error executing command in container: %s", text));
    } else if (s->code) {
        jm_put(m, root, "message", jm_str(m, "command terminated with non-zero exit code"));
        jm_put(m, root, "reason", jm_str(m, "NonZeroExitCode"));
        jm_put(m, cause, "reason", jm_str(m, "ExitCode"));
        jm_put(m, cause, "message", jm_strf(m, "%d", s->code));
    }
    if (failed || s->code) {
        jm_push(causes, cause);
        jm_put(m, jm_obj_at(m, root, "details"), "causes", causes);
    }
    jmv_write(root, JW_COMPACT, out);
}

/* What a shell would say and answer when there is no such program: people's scripts look for 126 and 127. */
static void as_shell(struct session *s)
{
    if (s->failure.code != ERR_NOT_FOUND && s->failure.code != ERR_FORBIDDEN)
        return;
    AUTOFREE char *line = xasprintf("%s%s", err_text(&s->failure), s->tty ? "\r\n" : "\n");
    s->code = s->failure.code == ERR_NOT_FOUND ? 127 : 126;
    enum channel to = s->expected & 1U << STDERR ? STDERR : STDOUT;
    if (s->expected & 1U << to && !s->complained) /* some versions of crun say it themselves */
        emit(s, to, line, strlen(line));
    err_clear(&s->failure);
}

/* Before v4 there was no Status: silence is success. */
static void status_text(const struct session *s, struct buf *out)
{
    if (s->failure.code)
        buf_addf(out, "Internal error occurred: error executing command in container: %s", err_text(&s->failure));
    else if (s->code)
        buf_adds(out, "command terminated with non-zero exit code");
}

static void finish(struct session *s)
{
    BUF(status);
    if (s->finished)
        return;
    s->finished = true;
    as_shell(s);
    (s->old ? status_text : status_json)(s, &status);
    if (status.len)
        emit(s, ERROR, status.data, status.len);
    if (s->spdy) {
        for (int i = 0; i < N_CHANNELS; i++)
            if (s->ids[i])
                spdy_end(s->spdy, s->ids[i]);
        flush_spdy(s);
    }
    carrier_close(s->carrier);
}

/* Over when the program is and has said everything. */
static void look(struct session *s)
{
    bool silent = !s->out.fd && !s->err.fd;
    if (s->started && silent && (s->ended || !s->status))
        finish(s);
}

/* The descriptor goes with its watcher, and its number may be another's at once. */
static void drop(struct stream_fd **f, int *fd)
{
    stream_fd_free(*f);
    *f = NULL;
    *fd = -1;
}

/* Packets of conmon say of which output they are. */
static void emit_packet(struct session *s, const char *p, size_t n)
{
    if (n > 1 && (p[0] == 2 || p[0] == 3))
        emit(s, p[0] == 3 ? STDERR : STDOUT, p + 1, n - 1);
}

static void on_output(void *arg, int events)
{
    struct output *o = arg;
    struct session *s = o->s;
    static _Thread_local char piece[PIECE];
    (void)events;
    int fd = o->channel == STDERR ? s->proc.err : s->proc.out;
    while (o->fd && carrier_queued(s->carrier) < QUEUE_HIGH) {
        ssize_t n = read(fd, piece, sizeof piece);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0) { /* a terminal whose other side is closed: EIO */
            drop(&o->fd, o->channel == STDERR ? &s->proc.err : &s->proc.out);
            look(s);
            return;
        }
        s->moved = true;
        s->complained |= o->channel == STDERR || s->tty;
        if (s->packets)
            emit_packet(s, piece, (size_t)n);
        else
            emit(s, o->channel, piece, (size_t)n);
        if (s->finished)
            return;
    }
    if (o->fd)
        stream_fd_want(o->fd, 0);
}

static void on_status(void *arg, int events)
{
    struct session *s = arg;
    (void)events;
    int rc = node_process_ended(&s->proc, &s->code, &s->failure);
    if (rc == 0)
        return;
    s->ended = true;
    /* The watcher stays until the end: its descriptor's closing is what ends the program. */
    stream_fd_want(s->status, 0);
    carrier_timer(s->carrier, DRAIN_MS);
    look(s);
}

/* ---- towards the program ------------------------------------------------------------------------------------------------------
 */

static ssize_t put_some(struct session *s)
{
    size_t n = s->packets && s->input.len > PACKET_MAX ? PACKET_MAX : s->input.len;
    return s->packets ? send(s->proc.in, s->input.data, n, MSG_NOSIGNAL) : write(s->proc.in, s->input.data, n);
}

static void end_input(struct session *s)
{
    s->input_over = true;
    if (s->in && s->packets)
        shutdown(s->proc.in, SHUT_WR);
    if (!s->tty)
        drop(&s->in, &s->proc.in);
    else if (s->in)
        stream_fd_want(s->in, 0);
}

static void push_input(struct session *s)
{
    while (s->in && !s->input_over && s->input.len) {
        ssize_t n = put_some(s);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (n < 0) { /* it reads no more */
            buf_reset(&s->input);
            end_input(s);
            break;
        }
        buf_consume(&s->input, (size_t)n);
    }
    if (s->in && !s->input_over)
        stream_fd_want(s->in, s->input.len ? POLLOUT : 0);
    if (!s->input.len && s->input_ended && !s->input_over)
        end_input(s);
    if (s->input.len > INPUT_HIGH)
        carrier_pause(s->carrier);
    else
        carrier_resume(s->carrier);
}

static void on_input_room(void *arg, int events)
{
    (void)events;
    push_input(arg);
}

static void on_input(struct session *s, const char *p, size_t n)
{
    if (s->input_ended || s->input_over || (s->started && !s->in))
        return;
    buf_add(&s->input, p, n);
    if (s->started)
        push_input(s);
    else if (s->input.len > INPUT_HIGH)
        carrier_pause(s->carrier); /* its other streams should have come first: the timer ends it */
}

static void on_input_end(struct session *s)
{
    s->input_ended = true;
    if (s->started)
        push_input(s);
}

static void tell_size(struct session *s)
{
    if (!s->columns || s->ended || s->resting)
        return;
    if (node_process_resize(&s->proc, s->columns, s->rows))
        s->columns = 0;
    s->resting = true;
    carrier_timer(s->carrier, RESIZE_MS);
}

/* Objects like {"Width":120,"Height":40}, one after the other; SPDY's frames may cut them anywhere. The last one counts. */
static void on_resize(struct session *s, const char *p, size_t n)
{
    char *end;
    if (!s->tty || !s->started)
        return;
    buf_add(&s->sizes, p, n);
    while (s->sizes.len && (end = memchr(s->sizes.data, '}', s->sizes.len))) {
        size_t len = (size_t)(end - (char *)s->sizes.data) + 1;
        JSON_REF(doc) = json_parse(s->sizes.data, len, NULL, NULL);
        jval *size = doc ? json_root(doc) : NULL;
        int64_t columns = jv_i64_or(jv_get(size, "Width"), 0), rows = jv_i64_or(jv_get(size, "Height"), 0);
        if (columns > 0 && rows > 0 && columns <= UINT16_MAX && rows <= UINT16_MAX) {
            s->columns = (int)columns;
            s->rows = (int)rows;
        }
        buf_consume(&s->sizes, len);
    }
    if (s->sizes.len > SIZE_MAX_TEXT)
        buf_reset(&s->sizes);
    tell_size(s);
}

static void on_channel(struct session *s, enum channel channel, const char *p, size_t n)
{
    if (channel == STDIN)
        on_input(s, p, n);
    else if (channel == RESIZE)
        on_resize(s, p, n);
}

/* ---- begin and end
 * ------------------------------------------------------------------------------------------------------------- */

static struct stream_fd *watch(struct session *s, int *fd, void (*fn)(void *, int), void *arg, int events)
{
    struct stream_fd *f = *fd >= 0 ? stream_fd_new(s->handle, *fd, fn, arg) : NULL;
    if (f) {
        stream_fd_want(f, events);
    } else if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    return f;
}

static void start(struct session *s)
{
    s->started = true;
    s->in = watch(s, &s->proc.in, on_input_room, s, 0);
    s->out.fd = watch(s, &s->proc.out, on_output, &s->out, POLLIN);
    s->err.fd = watch(s, &s->proc.err, on_output, &s->err, POLLIN);
    s->status = watch(s, &s->proc.status, on_status, s, POLLIN);
    push_input(s);
    look(s);
}

static void on_open(void *state)
{
    struct session *s = state;
    s->handle = carrier_handle(s->carrier);
    if (s->spdy) {
        carrier_timer(s->carrier, SPDY_WAIT_MS);
        return;
    }
    emit(s, s->expected & 1U << STDOUT ? STDOUT : s->expected & 1U << STDERR ? STDERR : ERROR, NULL, 0);
    start(s);
}

static void on_writable(void *state)
{
    struct session *s = state;
    struct output *both[] = {&s->out, &s->err};
    for (size_t i = 0; i < ARRAY_LEN(both); i++)
        if (both[i]->fd)
            stream_fd_want(both[i]->fd, POLLIN);
}

static void on_wake(void *state) { (void)state; }

static void on_timer(void *state)
{
    struct session *s = state;
    if (!s->started) { /* streams that never came */
        carrier_abort(s->carrier);
        return;
    }
    if (!s->ended) {
        s->resting = false;
        tell_size(s);
        return;
    }
    /* A slow client, or a child of the program that still writes. */
    if (s->moved || carrier_queued(s->carrier)) {
        s->moved = false;
        carrier_timer(s->carrier, DRAIN_MS);
        return;
    }
    drop(&s->out.fd, &s->proc.out);
    drop(&s->err.fd, &s->proc.err);
    look(s);
}

static void session_free(struct session *s)
{
    if (s->started) { /* the descriptors belong to their watchers */
        drop(&s->in, &s->proc.in);
        drop(&s->out.fd, &s->proc.out);
        drop(&s->err.fd, &s->proc.err);
        drop(&s->status, &s->proc.status);
    }
    node_process_close(&s->proc);
    stream_handle_unref(s->handle);
    spdy_free(s->spdy);
    buf_free(&s->input);
    buf_free(&s->sizes);
    err_clear(&s->failure);
    free(s);
}

static void on_close(void *state) { session_free(state); }

/* ---- channels
 * ------------------------------------------------------------------------------------------------------------------ */

static void on_message(struct session *s, const char *p, size_t n)
{
    if (!n)
        return;
    unsigned char channel = (unsigned char)p[0];
    if (channel == CLOSE && s->v5) {
        if (n == 2 && p[1] == STDIN)
            on_input_end(s);
        return;
    }
    on_channel(s, (enum channel)channel, p + 1, n - 1);
}

/* ---- SPDY
 * ---------------------------------------------------------------------------------------------------------------------- */

static const char *const stream_types[N_CHANNELS] = {"stdin", "stdout", "stderr", "error", "resize"};

static void on_spdy_open(struct spdy *sp, void *state, uint32_t id, const struct spdy_header *h, size_t n)
{
    struct session *s = state;
    const char *type = spdy_find(h, n, "streamtype");
    unsigned have = 0;
    for (int i = 0; i < N_CHANNELS; i++)
        if (str_eq(type, stream_types[i]) && s->expected & 1U << i && !s->ids[i]) {
            s->ids[i] = id;
            spdy_accept(sp, id);
            type = "";
        }
    if (type && *type)
        spdy_reset(sp, id, SPDY_REFUSED_STREAM);
    for (int i = 0; i < N_CHANNELS; i++)
        have |= s->ids[i] ? 1U << i : 0;
    if (have == s->expected && !s->started) {
        carrier_timer(s->carrier, -1);
        start(s);
    }
}

static void on_spdy_data(struct spdy *sp, void *state, uint32_t id, const char *p, size_t n)
{
    struct session *s = state;
    (void)sp;
    for (int i = 0; i < N_CHANNELS; i++)
        if (s->ids[i] == id)
            on_channel(s, (enum channel)i, p, n);
}

static void on_spdy_end(struct spdy *sp, void *state, uint32_t id)
{
    struct session *s = state;
    (void)sp;
    if (s->ids[STDIN] == id)
        on_input_end(s);
}

static void on_spdy_reset(struct spdy *sp, void *state, uint32_t id)
{
    struct session *s = state;
    on_spdy_end(sp, state, id);
    for (int i = 0; i < N_CHANNELS; i++)
        if (s->ids[i] == id)
            s->ids[i] = 0;
}

static const struct spdy_ops spdy_ops = {on_spdy_open, on_spdy_data, on_spdy_end, on_spdy_reset};

static void on_bytes(void *state, const char *p, size_t n)
{
    struct session *s = state;
    ERR(e);
    if (s->finished)
        return;
    if (!s->spdy) {
        on_message(s, p, n);
        return;
    }
    int rc = spdy_feed(s->spdy, p, n, &e);
    flush_spdy(s);
    if (rc < 0)
        carrier_close(s->carrier);
}

static const struct carrier_ops carrier_ops = {on_open, on_bytes, on_writable, on_wake, on_timer, on_close};

void streaming_process(struct http_req *req, struct http_res *res, const struct streaming_how *how,
                       const struct node_process_opts *o, struct node_process *take)
{
    struct session *s = xcalloc(1, sizeof *s);
    s->proc = *take;
    *take = (struct node_process)NODE_PROCESS_NONE;
    s->tty = o->tty;
    s->packets = s->proc.packets;
    s->old = how->old;
    s->v5 = str_eq(how->protocol, "v5.channel.k8s.io");
    s->out = (struct output){.s = s, .channel = STDOUT};
    s->err = (struct output){.s = s, .channel = STDERR};
    s->expected = 1U << ERROR | (unsigned)o->in << STDIN | (unsigned)o->out << STDOUT | (unsigned)o->err << STDERR |
                  (unsigned)o->tty << RESIZE;
    if (!how->websocket)
        s->spdy = spdy_new(SPDY_STREAMS, &spdy_ops, s);
    carrier_start(req, res, how, &carrier_ops, s, &s->carrier);
}
