/* dns_message.h - DNS messages: one question in, an answer out. RFC 1035, 6891 (EDNS), 2782 (SRV).
 *
 * Reading is for hostile bytes: everything is bounded, pointers go backwards only, and nothing is allocated. Writing never goes
 * beyond the buffer: what does not fit sets the TC bit, and the client comes again over TCP. Pure functions, any thread. */
#ifndef TM_NODE_DNS_MESSAGE_H
#define TM_NODE_DNS_MESSAGE_H

#include <netinet/in.h>

#include "base/base.h"

enum {
    DNS_NAME_MAX = 256, /* dotted text with NUL */
    DNS_UDP_PLAIN = 512,
    DNS_UDP_MAX = 1232,
    DNS_MAX = 65535
};
enum dns_type {
    DNS_A = 1,
    DNS_NS = 2,
    DNS_CNAME = 5,
    DNS_SOA = 6,
    DNS_PTR = 12,
    DNS_TXT = 16,
    DNS_AAAA = 28,
    DNS_SRV = 33,
    DNS_OPT = 41,
    DNS_ANY = 255
};
enum dns_rcode { DNS_NOERROR, DNS_FORMERR, DNS_SERVFAIL, DNS_NXDOMAIN, DNS_NOTIMP, DNS_REFUSED };

struct dns_question {
    uint16_t id, flags, type, klass;
    size_t end;  /* of the question in the query */
    size_t room; /* of a UDP answer, by EDNS or without */
    bool edns;
    char name[DNS_NAME_MAX]; /* lower case, without the last dot; "" is the root */
};
/* DNS_NOERROR: a question of class IN; another rcode: to be answered so; -1: no query at all, say nothing. */
int dns_parse(const uint8_t *p, size_t n, struct dns_question *q);

struct dns_writer {
    uint8_t *p;
    size_t n, cap; /* cap: what the client takes */
    bool truncated;
};
/* Header and question of the answer to a query that dns_parse has read. */
void dns_begin(struct dns_writer *w, uint8_t *buf, size_t cap, const uint8_t *query, const struct dns_question *q,
               enum dns_rcode rcode, bool authoritative);
/* Answers, in any order, before dns_soa and dns_end. name NULL: that of the question. */
void dns_a(struct dns_writer *w, const char *name, uint32_t ttl, struct in_addr a);
void dns_name_rr(struct dns_writer *w, enum dns_type type, const char *name, uint32_t ttl, const char *target); /* CNAME, PTR */
void dns_srv(struct dns_writer *w, uint32_t ttl, uint16_t weight, uint16_t port, const char *target);
/* Copies the answers A, AAAA and CNAME of another server's message. */
void dns_copy_answers(struct dns_writer *w, const uint8_t *p, size_t n);
/* How long "no" may be remembered. After the answers. */
void dns_soa(struct dns_writer *w, const char *zone, uint32_t ttl);
size_t dns_end(struct dns_writer *w, const struct dns_question *q); /* length */

/* A new query. Length; 0: the name is no name. */
size_t dns_query(uint8_t *buf, size_t cap, uint16_t id, const char *name, uint16_t type);
/* Whether p is an answer to that question. */
bool dns_answers(const uint8_t *p, size_t n, const struct dns_question *q);
/* Where the question of an answer ends; 0: there is not one question. */
size_t dns_question_end(const uint8_t *p, size_t n);
/* For how long an answer of another server may be kept, in seconds, at most max; 0: not at all. */
uint32_t dns_keep_for(const uint8_t *p, size_t n, uint32_t max);

#endif
