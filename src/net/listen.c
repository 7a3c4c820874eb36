/* listen.c - listening sockets: addresses, who holds a port, accepting. Accepting is loop 0's work; connections go round the
 * loops. */
#define LOG_ROOM "http"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "net/internal.h"

#define BACKLOG          1024
#define ACCEPTS_PER_TURN 64

/* ---- binding ---- */

static const char *flag_text(const struct listener_config *cfg) { return cfg->flag ? cfg->flag : "the listen address"; }

/* "host:port" or "[v6]:port". */
static int split_address(const char *address, char host[64], int *port, struct err *err)
{
    const char *start = address, *end, *colon;
    if (*address == '[') {
        start++;
        end = strchr(start, ']');
        colon = end ? end + 1 : NULL;
    } else {
        end = colon = strrchr(address, ':');
    }
    int64_t n;
    if (!end || *colon != ':' || (size_t)(end - start) >= 64 || !str_to_i64(colon + 1, &n) || n < 0 || n > 65535)
        return err_set(err, ERR_BAD_REQUEST, "\"%s\" is no address to listen on: use ADDRESS:PORT, [V6ADDRESS]:PORT or unix:PATH",
                       address);
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';
    *port = (int)n;
    return 0;
}

static int resolve(const char *host, int port, struct sockaddr_storage *ss, socklen_t *len, struct err *err)
{
    memset(ss, 0, sizeof *ss);
    struct sockaddr_in *v4 = (struct sockaddr_in *)ss;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ss;
    if (inet_pton(AF_INET, *host ? host : "0.0.0.0", &v4->sin_addr) == 1 ||
        (strcmp(host, "localhost") == 0 && inet_pton(AF_INET, "127.0.0.1", &v4->sin_addr) == 1)) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        *len = sizeof *v4;
        return 0;
    }
    memset(ss, 0, sizeof *ss);
    if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        *len = sizeof *v6;
        return 0;
    }
    return err_set(err, ERR_BAD_REQUEST, "\"%s\" is no IP address of this machine to listen on", host);
}

static int in_use(const struct listener_config *cfg, int port, struct err *err)
{
    AUTOFREE char *holder = port_holder(port);
    err_set(err, ERR_CONFLICT, "%s is already in use by %s; stop it, or choose another port with %s", cfg->address,
            holder ? holder : "another process", flag_text(cfg));
    return -1;
}

static int open_tcp(struct listener *ln, const struct listener_config *cfg, int *port_out, struct err *err)
{
    char host[64];
    int port = 0;
    struct sockaddr_storage ss;
    socklen_t len;
    if (split_address(cfg->address, host, &port, err) < 0 || resolve(host, port, &ss, &len, err) < 0)
        return -1;
    ln->fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (ln->fd < 0)
        return err_errno(err, "making a socket for %s", cfg->address);
    setsockopt(ln->fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (ss.ss_family == AF_INET6) /* "[::]" takes IPv4 as well */
        setsockopt(ln->fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){0}, sizeof(int));
    if (bind(ln->fd, (struct sockaddr *)&ss, len) < 0 || listen(ln->fd, BACKLOG) < 0) {
        if (errno == EADDRINUSE)
            return in_use(cfg, port, err);
        return err_errno(err, "listening on %s (%s)", cfg->address, flag_text(cfg));
    }
    getsockname(ln->fd, (struct sockaddr *)&ss, &len);
    *port_out = ntohs(ss.ss_family == AF_INET ? ((struct sockaddr_in *)&ss)->sin_port : ((struct sockaddr_in6 *)&ss)->sin6_port);
    ln->address = xstrdup(host);
    ln->hosts.address = ln->address;
    ln->hosts.loopback = ss.ss_family == AF_INET ? ntohl(((struct sockaddr_in *)&ss)->sin_addr.s_addr) >> 24 == 127
                                                 : IN6_IS_ADDR_LOOPBACK(&((struct sockaddr_in6 *)&ss)->sin6_addr);
    return 0;
}

/* A socket file that nobody answers on is left from a process that was killed. */
static bool stale_socket(const struct sockaddr_un *un)
{
    struct stat st;
    if (lstat(un->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    AUTOCLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && connect(fd, (const struct sockaddr *)un, sizeof *un) < 0 && errno == ECONNREFUSED;
}

static int open_unix(struct listener *ln, const struct listener_config *cfg, const char *path, struct err *err)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    if (!*path || strlen(path) >= sizeof un.sun_path)
        return err_set(err, ERR_BAD_REQUEST, "the path of a unix socket has 1 to %zu bytes: %s", sizeof un.sun_path - 1, path);
    memcpy(un.sun_path, path, strlen(path));
    ln->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (ln->fd < 0)
        return err_errno(err, "making a socket for %s", cfg->address);
    if (stale_socket(&un))
        unlink(path);
    if (fchmod(ln->fd, 0600) < 0) /* before the file is there: nobody else gets in between */
        return err_errno(err, "listening on %s", cfg->address);
    if (bind(ln->fd, (struct sockaddr *)&un, sizeof un) < 0) {
        if (errno == EADDRINUSE)
            return err_set(err, ERR_CONFLICT, "%s is already in use; choose another path with %s", cfg->address, flag_text(cfg));
        return err_errno(err, "listening on %s (%s)", cfg->address, flag_text(cfg));
    }
    ln->unix_path = xstrdup(path);
    ln->hosts.any = true; /* no browser, and no name server, reaches a file */
    if (listen(ln->fd, BACKLOG) < 0)
        return err_errno(err, "listening on %s (%s)", cfg->address, flag_text(cfg));
    return 0;
}

int listener_open(struct listener *ln, const struct listener_config *cfg, int *port_out, struct err *err)
{
    int port = 0;
    int rc = str_starts(cfg->address, "unix:") ? open_unix(ln, cfg, cfg->address + 5, err) : open_tcp(ln, cfg, &port, err);
    if (port_out)
        *port_out = port;
    return rc;
}

/* ---- accepting ---- */

struct accepted {
    struct post post;
    struct listener *listener;
    int fd;
};

static void on_accepted(struct loop *l, struct post *p)
{
    struct accepted *a = CONTAINER_OF(p, struct accepted, post);
    conn_open(l, a->listener, a->fd);
    free(a);
}

static void hand_over(struct loop *here, struct listener *ln, int fd)
{
    struct http_server *s = ln->server;
    if (atomic_fetch_add(&s->n_conns, 1) >= s->limits.max_connections) {
        atomic_fetch_sub(&s->n_conns, 1);
        if (loop_may_warn(here))
            log_warn("connections are refused: there are %zu already", s->limits.max_connections);
        close(fd);
        return;
    }
    struct loop *to = &s->loops[atomic_fetch_add(&s->next_loop, 1) % N_LOOPS];
    if (to == here) {
        conn_open(here, ln, fd);
        return;
    }
    struct accepted *a = xcalloc(1, sizeof *a);
    a->post.fn = on_accepted;
    a->listener = ln;
    a->fd = fd;
    loop_post(to, &a->post);
}

/* No descriptor is left: the spare one is given up to take and close the connection, else the loop would spin on it. */
static void refuse_one(struct loop *l, struct listener *ln)
{
    if (loop_may_warn(l))
        log_warn("connections are refused: the process has no file descriptors left (raise `ulimit -n`)");
    base_closep(&l->spare_fd);
    int fd = accept4(ln->fd, NULL, NULL, SOCK_CLOEXEC);
    base_closep(&fd);
    l->spare_fd = fcntl(ln->fd, F_DUPFD_CLOEXEC, 3);
}

static void on_connection(uv_poll_t *h, int status, int events)
{
    struct listener *ln = h->data;
    struct loop *l = CONTAINER_OF(h->loop, struct loop, uv);
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(ln->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            hand_over(l, ln, fd);
        } else if (errno == EMFILE || errno == ENFILE) {
            refuse_one(l, ln);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

void listener_attach(struct loop *l, struct listener *ln)
{
    int rc = uv_poll_init(&l->uv, &ln->poll, ln->fd);
    if (rc < 0) {
        log_error("a listener does not work: %s", uv_strerror(rc));
        return;
    }
    ln->poll.data = ln;
    ln->polling = true;
    uv_poll_start(&ln->poll, UV_READABLE, on_connection);
}

void listener_detach(struct listener *ln)
{
    if (ln->polling)
        uv_close((uv_handle_t *)&ln->poll, NULL);
    ln->polling = false;
}
