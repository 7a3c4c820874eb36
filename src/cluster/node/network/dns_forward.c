/* Questions that others answer: to the machine's resolvers over UDP, over TCP when the answer is too long for that. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/ctx.h"
#include "base/id.h"
#include "base/str.h"
#include "cluster/node/network/dns_priv.h"

#define RESOLVERS_FOR (5 * NS_PER_S)

/* ---- what is remembered -------------------------------------------------------------------------------------------- */

static struct kept *slot_of(struct dns_server *s, const struct dns_question *q)
{
    uint32_t h = 2166136261U ^ q->type ^ (uint32_t)q->edns << 16;
    for (const char *c = q->name; *c; c++)
        h = (h ^ (uint8_t)*c) * 16777619U;
    return &s->kept[h % KEPT];
}

static void keep(struct dns_server *s, const struct dns_question *q, const uint8_t *p, size_t n)
{
    uint32_t seconds = dns_keep_for(p, n, KEEP_S);
    struct kept *k = slot_of(s, q);
    if (!seconds || n > 4096)
        return;
    free(k->bytes);
    *k = (struct kept){
        .type = q->type, .edns = q->edns, .until_ns = dns_now() + seconds * NS_PER_S, .bytes = xmemdup(p, n), .len = n};
    memcpy(k->name, q->name, sizeof k->name);
}

/* The question of the answer is that of the query, letter by letter: some clients mix cases to know their answers. */
static bool answer_from_kept(struct dns_server *s, const struct dns_client *c, const uint8_t *query, const struct dns_question *q)
{
    struct kept *k = slot_of(s, q);
    if (!k->bytes || k->until_ns < dns_now() || k->type != q->type || k->edns != q->edns || !str_eq(k->name, q->name) ||
        dns_question_end(k->bytes, k->len) != q->end)
        return false;
    uint8_t *p = s->answer;
    memcpy(p, k->bytes, k->len);
    memcpy(p, query, 2);
    memcpy(p + 12, query + 12, q->end - 12);
    dns_reply(s, c, query, q, p, k->len);
    return true;
}

/* ---- resolvers ----------------------------------------------------------------------------------------------------- */

static void find_resolvers(struct dns_server *s)
{
    if (dns_now() < s->resolvers_until_ns)
        return;
    AUTOFREE char *text = s->cfg.resolvers(s->cfg.zone.self);
    STRLIST(lines);
    s->n_resolvers = 0;
    s->resolvers_until_ns = dns_now() + RESOLVERS_FOR;
    str_split(text ? text : "", '\n', &lines);
    for (size_t i = 0; i < lines.n && s->n_resolvers < RESOLVERS; i++) {
        char *ip = lines.v[i] + strcspn(lines.v[i], " \t");
        if (!str_starts(lines.v[i], "nameserver"))
            continue;
        ip += strspn(ip, " \t");
        ip[strcspn(ip, " \t\r#;")] = 0;
        if (inet_pton(AF_INET, ip, &s->resolvers[s->n_resolvers]) == 1 && !str_eq(ip, s->cfg.avoid))
            s->n_resolvers++;
    }
}

/* ---- one question -------------------------------------------------------------------------------------------------- */

static void close_fd(struct exchange *e)
{
    if (e->fd >= 0)
        close(e->fd);
    e->fd = -1;
}

void dns_exchange_free(struct exchange *e)
{
    close_fd(e);
    free(e->in);
    e->in = NULL;
    e->state = EX_FREE;
}

static int64_t try_until(const struct dns_server *s)
{
    return dns_now() + (s->cfg.timeout_ms ? s->cfg.timeout_ms : 2000) * NS_PER_MS;
}

/* A socket of this question's own: its port is part of what an answer has to know. */
static bool open_to(struct dns_server *s, struct exchange *e, int type)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(s->cfg.resolver_port ? s->cfg.resolver_port : 53), .sin_addr = e->resolver};
    close_fd(e);
    e->fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    e->until_ns = try_until(s);
    return e->fd >= 0 && (connect(e->fd, (struct sockaddr *)&to, sizeof to) == 0 || errno == EINPROGRESS);
}

static void give_up(struct dns_server *s, struct exchange *e)
{
    dns_fail(s, &e->client, e->query, &e->q, DNS_SERVFAIL);
    dns_exchange_free(e);
}

/* The next try: the resolvers in turn. */
static void try_next(struct dns_server *s, struct exchange *e)
{
    while (s->n_resolvers && e->tries < TRIES) {
        e->resolver = s->resolvers[(size_t)e->tries++ % s->n_resolvers];
        if (!open_to(s, e, SOCK_DGRAM) || send(e->fd, e->sent + 2, e->sent_len, 0) != (ssize_t)e->sent_len)
            continue;
        e->state = EX_UDP;
        return;
    }
    give_up(s, e);
}

static bool prepare(struct exchange *e, const uint8_t *query, size_t n, const char *alias)
{
    uint16_t id;
    random_bytes(&id, sizeof id);
    if (alias) {
        e->sent_len = dns_query(e->sent + 2, DNS_QUERY_MAX, id, alias, e->q.type);
    } else {
        memcpy(e->sent + 2, query, n);
        e->sent[2] = (uint8_t)(id >> 8);
        e->sent[3] = (uint8_t)id;
        e->sent_len = n;
    }
    e->sent[0] = (uint8_t)(e->sent_len >> 8);
    e->sent[1] = (uint8_t)e->sent_len;
    return e->sent_len && dns_parse(e->sent + 2, e->sent_len, &e->asked) == DNS_NOERROR;
}

void dns_forward(struct dns_server *s, const struct dns_client *c, const uint8_t *query, size_t n, const struct dns_question *q,
                 const char *alias)
{
    if (!alias && answer_from_kept(s, c, query, q))
        return;
    find_resolvers(s);
    for (size_t i = 0; i < EXCHANGES; i++) {
        struct exchange *e = &s->exchanges[i];
        if (e->state != EX_FREE)
            continue;
        e->fd = -1;
        e->tries = 0;
        e->client = *c;
        e->q = *q;
        e->query_len = n;
        memcpy(e->query, query, n);
        e->alias = alias != NULL;
        if (alias)
            memcpy(e->target, alias, strlen(alias) + 1);
        if (prepare(e, query, n, alias)) {
            e->state = EX_UDP;
            try_next(s, e);
        } else {
            give_up(s, e);
        }
        return;
    }
    dns_fail(s, c, query, q, DNS_SERVFAIL); /* too many at once */
}

/* ---- answers ------------------------------------------------------------------------------------------------------- */

static void deliver_alias(struct dns_server *s, struct exchange *e, const uint8_t *p, size_t n)
{
    struct dns_writer w;
    dns_begin(&w, s->answer, e->client.slot >= 0 ? DNS_MAX : e->q.room, e->query, &e->q, DNS_NOERROR, true);
    dns_name_rr(&w, DNS_CNAME, NULL, DNS_TTL, e->target);
    dns_copy_answers(&w, p, n);
    size_t len = dns_end(&w, &e->q);
    dns_reply(s, &e->client, e->query, &e->q, s->answer, len);
}

static void deliver(struct dns_server *s, struct exchange *e, uint8_t *p, size_t n)
{
    if (e->alias) {
        deliver_alias(s, e, p, n);
    } else {
        keep(s, &e->q, p, n);
        memcpy(p, e->query, 2);
        dns_reply(s, &e->client, e->query, &e->q, p, n);
    }
    dns_exchange_free(e);
}

static void start_tcp(struct dns_server *s, struct exchange *e)
{
    e->at = 0;
    e->state = EX_CONNECT;
    if (!open_to(s, e, SOCK_STREAM))
        try_next(s, e);
}

static void read_udp(struct dns_server *s, struct exchange *e)
{
    ssize_t n = recv(e->fd, s->buf, DNS_MAX, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) { /* nobody listens there */
        try_next(s, e);
        return;
    }
    if (!dns_answers(s->buf, (size_t)n, &e->asked))
        return; /* not an answer to this: go on waiting */
    bool truncated = s->buf[2] & 0x02;
    int rcode = s->buf[3] & 0xf;
    if (truncated && e->client.slot >= 0)
        start_tcp(s, e);
    else if ((rcode == DNS_SERVFAIL || rcode == DNS_REFUSED) && e->tries < TRIES && s->n_resolvers > 1)
        try_next(s, e);
    else
        deliver(s, e, s->buf, (size_t)n);
}

static void send_tcp(struct dns_server *s, struct exchange *e)
{
    ssize_t n = send(e->fd, e->sent + e->at, 2 + e->sent_len - e->at, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOTCONN))
        return;
    if (n <= 0) {
        try_next(s, e);
        return;
    }
    e->at += (size_t)n;
    e->state = EX_SEND;
    if (e->at < 2 + e->sent_len)
        return;
    free(e->in);
    e->in = xmalloc(2 + DNS_MAX);
    e->in_len = 0;
    e->in_want = 2;
    e->state = EX_RECEIVE;
}

static void read_tcp(struct dns_server *s, struct exchange *e)
{
    ssize_t n = recv(e->fd, e->in + e->in_len, e->in_want - e->in_len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        try_next(s, e);
        return;
    }
    e->in_len += (size_t)n;
    if (e->in_len == 2)
        e->in_want = 2 + ((size_t)e->in[0] << 8 | e->in[1]);
    if (e->in_len < e->in_want)
        return;
    if (dns_answers(e->in + 2, e->in_len - 2, &e->asked))
        deliver(s, e, e->in + 2, e->in_len - 2);
    else
        try_next(s, e);
}

short dns_exchange_events(const struct exchange *e) { return e->state == EX_CONNECT || e->state == EX_SEND ? POLLOUT : POLLIN; }

void dns_exchange_ready(struct dns_server *s, struct exchange *e)
{
    if (e->state == EX_UDP)
        read_udp(s, e);
    else if (e->state == EX_RECEIVE)
        read_tcp(s, e);
    else
        send_tcp(s, e);
}

void dns_exchange_late(struct dns_server *s, struct exchange *e) { try_next(s, e); }
