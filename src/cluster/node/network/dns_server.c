#include "cluster/node/network/dns_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/ctx.h"
#include "base/str.h"
#include "base/thread.h"
#include "cluster/node/network/dns_priv.h"

#define CLIENT_IDLE (10 * NS_PER_S)

enum { BURST = 64, ALIASES = 4, PORT_TRIES = 16, FIXED = 3 };

int64_t dns_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* ---- answers ------------------------------------------------------------------------------------------------------- */

static void close_client(struct tcp_client *c)
{
    close(c->fd);
    free(c->out);
    unsigned generation = c->generation + 1;
    *c = (struct tcp_client){.fd = -1, .generation = generation};
}

static void flush_client(struct tcp_client *c)
{
    ssize_t n = send(c->fd, c->out + c->out_at, c->out_len - c->out_at, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        close_client(c);
        return;
    }
    c->out_at += (size_t)n;
    if (c->out_at < c->out_len)
        return;
    free(c->out);
    c->out = NULL;
    c->waits = false;
    c->until_ns = dns_now() + CLIENT_IDLE;
}

static void reply_tcp(struct dns_server *s, const struct dns_client *to, const uint8_t *p, size_t n)
{
    struct tcp_client *c = &s->clients[to->slot];
    if (c->fd < 0 || c->generation != to->generation || n > DNS_MAX)
        return;
    c->out = xmalloc(n + 2);
    c->out[0] = (uint8_t)(n >> 8);
    c->out[1] = (uint8_t)n;
    memcpy(c->out + 2, p, n);
    c->out_len = n + 2;
    c->out_at = 0;
    flush_client(c);
}

void dns_reply(struct dns_server *s, const struct dns_client *c, const uint8_t *query, const struct dns_question *q,
               const uint8_t *p, size_t n)
{
    uint8_t brief[DNS_UDP_MAX + DNS_NAME_MAX];
    if (c->slot >= 0) {
        reply_tcp(s, c, p, n);
        return;
    }
    if (n > q->room) {
        struct dns_writer w;
        dns_begin(&w, brief, sizeof brief, query, q, DNS_NOERROR, false);
        w.truncated = true;
        n = dns_end(&w, q);
        p = brief;
    }
    sendto(s->udp, p, n, MSG_DONTWAIT, (const struct sockaddr *)&c->address, sizeof c->address);
}

void dns_fail(struct dns_server *s, const struct dns_client *c, const uint8_t *query, const struct dns_question *q,
              enum dns_rcode rcode)
{
    uint8_t out[DNS_UDP_MAX + DNS_NAME_MAX];
    struct dns_writer w;
    dns_begin(&w, out, sizeof out, query, q, rcode, false);
    size_t n = dns_end(&w, q);
    dns_reply(s, c, query, q, out, n);
}

/* An alias to another name of the cluster is followed here; what leads out of it is asked elsewhere. */
static void follow_alias(struct dns_server *s, const struct dns_client *c, const uint8_t *query, size_t n,
                         const struct dns_question *q, const char *first, struct dns_writer *w)
{
    char target[DNS_NAME_MAX];
    memcpy(target, first, strlen(first) + 1);
    for (int i = 0; i < ALIASES; i++) {
        uint8_t ask[DNS_NAME_MAX + 32];
        struct dns_question inner;
        struct dns_writer found;
        size_t len = dns_query(ask, sizeof ask, q->id, target, q->type);
        if (!len || dns_parse(ask, len, &inner) != DNS_NOERROR)
            break;
        enum zone_result r = zone_answer(&s->cfg.zone, ask, &inner, s->buf, DNS_MAX, &found, target);
        if (r == ZONE_FORWARD) {
            dns_forward(s, c, query, n, q, first);
            return;
        }
        dns_copy_answers(w, s->buf, found.n);
        if (r == ZONE_ANSWERED)
            break;
    }
    size_t len = dns_end(w, q);
    dns_reply(s, c, query, q, s->answer, len);
}

/* query is not in s->buf nor in s->answer. */
static void handle(struct dns_server *s, const struct dns_client *c, const uint8_t *query, size_t n)
{
    struct dns_question q;
    struct dns_writer w;
    char target[DNS_NAME_MAX];
    int rcode = dns_parse(query, n, &q);
    if (rcode < 0)
        return;
    if (rcode) {
        dns_fail(s, c, query, &q, (enum dns_rcode)rcode);
        return;
    }
    switch (zone_answer(&s->cfg.zone, query, &q, s->answer, c->slot >= 0 ? DNS_MAX : q.room + q.end, &w, target)) {
    case ZONE_ANSWERED:
        n = dns_end(&w, &q);
        dns_reply(s, c, query, &q, s->answer, n);
        break;
    case ZONE_ALIAS:
        follow_alias(s, c, query, n, &q, target, &w);
        break;
    case ZONE_FORWARD:
        dns_forward(s, c, query, n, &q, NULL);
        break;
    }
}

/* ---- clients ------------------------------------------------------------------------------------------------------- */

static void read_udp(struct dns_server *s)
{
    uint8_t query[DNS_QUERY_MAX + 1];
    for (int i = 0; i < BURST; i++) {
        struct dns_client c = {.slot = -1};
        socklen_t len = sizeof c.address;
        ssize_t n = recvfrom(s->udp, query, sizeof query, MSG_DONTWAIT, (struct sockaddr *)&c.address, &len);
        if (n < 0)
            return;
        if (n <= DNS_QUERY_MAX)
            handle(s, &c, query, (size_t)n);
    }
}

static void accept_client(struct dns_server *s)
{
    int fd = accept4(s->tcp, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    for (size_t i = 0; i < CLIENTS; i++)
        if (s->clients[i].fd < 0) {
            s->clients[i].fd = fd;
            s->clients[i].until_ns = dns_now() + CLIENT_IDLE;
            return;
        }
    close(fd);
}

static void read_client(struct dns_server *s, size_t slot)
{
    struct tcp_client *c = &s->clients[slot];
    size_t want = c->in_len < 2 ? 2 : 2 + ((size_t)c->in[0] << 8 | c->in[1]);
    ssize_t n = want > sizeof c->in ? 0 : recv(c->fd, c->in + c->in_len, want - c->in_len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        close_client(c);
        return;
    }
    c->in_len += (size_t)n;
    want = c->in_len < 2 ? 2 : 2 + ((size_t)c->in[0] << 8 | c->in[1]);
    if (c->in_len < 2 || c->in_len < want || want == 2)
        return;
    uint8_t query[DNS_QUERY_MAX];
    size_t len = c->in_len - 2;
    memcpy(query, c->in + 2, len);
    c->in_len = 0;
    c->waits = true;
    struct dns_client to = {.slot = (int)slot, .generation = c->generation};
    handle(s, &to, query, len);
}

/* ---- the loop ------------------------------------------------------------------------------------------------------ */

static void add_poll(struct pollfd *v, size_t *n, int fd, short events)
{
    v[*n] = (struct pollfd){.fd = fd, .events = events};
    ++*n;
}

/* What is waited for, and until when at most. which says whose each descriptor is. */
static size_t collect(struct dns_server *s, struct pollfd *v, int *which, int64_t *until)
{
    size_t n = 0;
    add_poll(v, &n, s->wake, POLLIN);
    add_poll(v, &n, s->udp, POLLIN);
    add_poll(v, &n, s->tcp, POLLIN);
    for (int i = 0; i < CLIENTS; i++) {
        struct tcp_client *c = &s->clients[i];
        if (c->fd < 0)
            continue;
        *until = c->until_ns < *until ? c->until_ns : *until;
        which[n] = i;
        /* One question at a time: the next one waits in the socket. */
        add_poll(v, &n, c->fd, c->out ? POLLOUT : c->waits ? 0 : POLLIN);
    }
    for (int i = 0; i < EXCHANGES; i++) {
        struct exchange *e = &s->exchanges[i];
        if (e->state == EX_FREE)
            continue;
        *until = e->until_ns < *until ? e->until_ns : *until;
        which[n] = CLIENTS + i;
        add_poll(v, &n, e->fd, dns_exchange_events(e));
    }
    return n;
}

static void serve_ready(struct dns_server *s, const struct pollfd *p, int which)
{
    if (which >= CLIENTS) {
        struct exchange *e = &s->exchanges[which - CLIENTS];
        if (e->state != EX_FREE && e->fd == p->fd)
            dns_exchange_ready(s, e);
        return;
    }
    struct tcp_client *c = &s->clients[which];
    if (c->fd != p->fd)
        return;
    if (c->out)
        flush_client(c);
    else if (c->waits)
        close_client(c); /* it hung up */
    else
        read_client(s, (size_t)which);
}

static void expire(struct dns_server *s)
{
    int64_t now = dns_now();
    for (size_t i = 0; i < EXCHANGES; i++)
        if (s->exchanges[i].state != EX_FREE && s->exchanges[i].until_ns <= now)
            dns_exchange_late(s, &s->exchanges[i]);
    for (size_t i = 0; i < CLIENTS; i++)
        if (s->clients[i].fd >= 0 && s->clients[i].until_ns <= now)
            close_client(&s->clients[i]);
}

static void *serve(void *arg)
{
    struct dns_server *s = arg;
    struct pollfd v[FIXED + CLIENTS + EXCHANGES];
    int which[FIXED + CLIENTS + EXCHANGES];
    for (;;) {
        int64_t until = INT64_MAX;
        size_t n = collect(s, v, which, &until);
        int64_t wait = until == INT64_MAX ? -1 : (until - dns_now()) / NS_PER_MS + 1;
        int ready = poll(v, n, wait < 0 && until != INT64_MAX ? 0 : (int)wait);
        if (ready > 0 && v[0].revents)
            return NULL;
        if (ready > 0 && v[1].revents)
            read_udp(s);
        if (ready > 0 && v[2].revents)
            accept_client(s);
        for (size_t i = FIXED; ready > 0 && i < n; i++)
            if (v[i].revents)
                serve_ready(s, &v[i], which[i]);
        expire(s);
    }
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

/* The same port for both: the one that is wanted, or one that UDP gives, if TCP has it too. */
static int open_sockets(struct dns_server *s, int *port, struct err *err)
{
    for (int i = 0; i < PORT_TRIES; i++) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(i == 0 ? *port : 0))};
        int one = 1;
        socklen_t len = sizeof a;
        inet_pton(AF_INET, s->cfg.listen, &a.sin_addr);
        s->udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        s->tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (s->udp < 0 || s->tcp < 0)
            return err_errno(err, "opening the name server's sockets");
        setsockopt(s->tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        bool bound = bind(s->udp, (struct sockaddr *)&a, sizeof a) == 0;
        if ((!bound && !a.sin_port) || getsockname(s->udp, (struct sockaddr *)&a, &len) < 0)
            return err_errno(err, "opening the name server on %s", s->cfg.listen);
        if (bound)
            *port = ntohs(a.sin_port);
        if (bound && bind(s->tcp, (struct sockaddr *)&a, sizeof a) == 0 && listen(s->tcp, CLIENTS) == 0)
            return 0;
        close(s->udp);
        close(s->tcp);
        s->udp = s->tcp = -1;
    }
    return err_set(err, ERR_UNAVAILABLE, "no port of %s is free for the name server", s->cfg.listen);
}

static void destroy(struct dns_server *s)
{
    int fds[] = {s->udp, s->tcp, s->wake};
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    for (size_t i = 0; i < CLIENTS; i++)
        if (s->clients[i].fd >= 0)
            close_client(&s->clients[i]);
    for (size_t i = 0; i < EXCHANGES; i++)
        if (s->exchanges[i].state != EX_FREE)
            dns_exchange_free(&s->exchanges[i]);
    for (size_t i = 0; i < KEPT; i++)
        free(s->kept[i].bytes);
    free(s);
}

struct dns_server *dns_server_start(const struct dns_server_config *cfg, int *port, struct err *err)
{
    struct dns_server *s = xcalloc(1, sizeof *s);
    s->cfg = *cfg;
    s->udp = s->tcp = -1;
    for (size_t i = 0; i < CLIENTS; i++)
        s->clients[i].fd = -1;
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->wake < 0 || open_sockets(s, port, err) < 0) {
        destroy(s);
        return NULL;
    }
    s->thread = thread_start("dns", serve, s);
    return s;
}

void dns_server_stop(struct dns_server *s)
{
    if (!s)
        return;
    uint64_t one = 1;
    ASSERT(write(s->wake, &one, sizeof one) == sizeof one);
    pthread_join(s->thread, NULL);
    destroy(s);
}
