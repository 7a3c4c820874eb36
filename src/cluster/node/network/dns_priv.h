/* dns_priv.h - the inside of the name server: dns_server.c (clients) and dns_forward.c (resolvers). */
#ifndef TM_NODE_DNS_PRIV_H
#define TM_NODE_DNS_PRIV_H

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include "cluster/node/network/dns_server.h"

enum {
    DNS_QUERY_MAX = 1232, /* a longer question is none that anybody asks */
    EXCHANGES = 256,      /* questions on their way to resolvers */
    CLIENTS = 64,         /* TCP connections */
    RESOLVERS = 3,
    TRIES = 4, /* over all resolvers */
    KEPT = 256,
    KEEP_S = 30
};

/* Who is to be answered. */
struct dns_client {
    struct sockaddr_in address; /* UDP */
    int slot;                   /* TCP: its connection; -1: UDP */
    unsigned generation;        /* of that slot: another client may have it by then */
};

enum exchange_state { EX_FREE, EX_UDP, EX_CONNECT, EX_SEND, EX_RECEIVE };
struct exchange {
    enum exchange_state state;
    int fd, tries;
    int64_t until_ns;
    struct dns_client client;
    uint8_t query[DNS_QUERY_MAX], sent[2 + DNS_QUERY_MAX]; /* the client's; ours, with two bytes of length in front for TCP */
    size_t query_len, sent_len, at;
    struct dns_question q, asked; /* the client's, what we ask */
    struct in_addr resolver;
    /* An alias: the answer so far, behind which that of the resolver goes. */
    bool alias;
    char target[DNS_NAME_MAX];
    uint8_t *in; /* over TCP */
    size_t in_len, in_want;
};

struct tcp_client {
    int fd; /* -1: free */
    unsigned generation;
    bool waits; /* for the answer to its question */
    int64_t until_ns;
    uint8_t in[2 + DNS_QUERY_MAX];
    size_t in_len;
    uint8_t *out;
    size_t out_len, out_at;
};

struct kept {
    char name[DNS_NAME_MAX];
    uint16_t type;
    bool edns;
    int64_t until_ns;
    uint8_t *bytes;
    size_t len;
};

struct dns_server {
    struct dns_server_config cfg;
    int udp, tcp, wake;
    pthread_t thread;
    struct in_addr resolvers[RESOLVERS];
    size_t n_resolvers;
    int64_t resolvers_until_ns;
    struct exchange exchanges[EXCHANGES];
    struct tcp_client clients[CLIENTS];
    struct kept kept[KEPT];
    uint8_t buf[2 + DNS_MAX], answer[2 + DNS_MAX];
};

int64_t dns_now(void);
/* Sends an answer; one that is too long for UDP goes as a truncated one. */
void dns_reply(struct dns_server *s, const struct dns_client *c, const uint8_t *query, const struct dns_question *q,
               const uint8_t *p, size_t n);
void dns_fail(struct dns_server *s, const struct dns_client *c, const uint8_t *query, const struct dns_question *q,
              enum dns_rcode rcode);

/* dns_forward.c */
/* Asks a resolver for what the client asks; for an alias, for its target. */
void dns_forward(struct dns_server *s, const struct dns_client *c, const uint8_t *query, size_t n, const struct dns_question *q,
                 const char *alias);
short dns_exchange_events(const struct exchange *e);
void dns_exchange_ready(struct dns_server *s, struct exchange *e);
void dns_exchange_late(struct dns_server *s, struct exchange *e);
void dns_exchange_free(struct exchange *e);

#endif
