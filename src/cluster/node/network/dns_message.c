#include "cluster/node/network/dns_message.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

enum { HEADER = 12, LABEL_MAX = 63, JUMPS_MAX = 64, OPT_SIZE = 11, SERIAL = 1, RECORDS_MAX = 512 };
enum { QR = 0x8000, OPCODE = 0x7800, AA = 0x0400, TC = 0x0200, RD = 0x0100, RA = 0x0080 };

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }

/* ---- reading ------------------------------------------------------------------------------------------------------- */

/* A name at `at`, as lower-case text. Where it ends in the message; 0: it is none. out may be NULL. */
static size_t read_name(const uint8_t *p, size_t n, size_t at, char *out)
{
    size_t len = 0, end = 0, limit = at;
    for (int jumps = 0; at < n;) {
        uint8_t c = p[at];
        if ((c & 0xc0) == 0xc0) {
            if (at + 1 >= n || ++jumps > JUMPS_MAX)
                return 0;
            size_t to = (size_t)(c & 0x3f) << 8 | p[at + 1];
            if (!end)
                end = at + 2;
            if (to >= limit) /* backwards only */
                return 0;
            at = limit = to;
            continue;
        }
        if (c > LABEL_MAX || at + 1 + c > n)
            return 0;
        if (c == 0) {
            if (out)
                out[len] = 0;
            return end ? end : at + 1;
        }
        if (len + c + 2 > DNS_NAME_MAX)
            return 0;
        if (len && out)
            out[len] = '.';
        len += len ? 1 : 0;
        for (size_t i = 0; i < c && out; i++) {
            uint8_t b = p[at + 1 + i];
            if (b == '.' || b < 0x21 || b > 0x7e) /* what no name of ours holds, and would be ambiguous as text */
                return 0;
            out[len + i] = (char)(b >= 'A' && b <= 'Z' ? b + 32 : b);
        }
        len += c;
        at += 1 + (size_t)c;
    }
    return 0;
}

struct record {
    size_t at, data, next; /* name, data, behind it */
    uint16_t type, klass, len;
    uint32_t ttl;
};

static bool read_record(const uint8_t *p, size_t n, size_t at, struct record *r)
{
    size_t end = read_name(p, n, at, NULL);
    if (!end || end + 10 > n)
        return false;
    *r = (struct record){
        .at = at, .type = get16(p + end), .klass = get16(p + end + 2), .ttl = get32(p + end + 4), .len = get16(p + end + 8)};
    r->data = end + 10;
    r->next = r->data + r->len;
    return r->next <= n;
}

int dns_parse(const uint8_t *p, size_t n, struct dns_question *q)
{
    memset(q, 0, sizeof *q);
    q->room = DNS_UDP_PLAIN;
    if (n < HEADER)
        return -1;
    q->id = get16(p);
    q->flags = get16(p + 2);
    if (q->flags & QR)
        return -1;
    q->end = HEADER;
    if (q->flags & OPCODE)
        return DNS_NOTIMP;
    if (get16(p + 4) != 1 || get16(p + 6) != 0)
        return DNS_FORMERR;
    size_t end = read_name(p, n, HEADER, q->name);
    if (!end || end + 4 > n)
        return DNS_FORMERR;
    q->type = get16(p + end);
    q->klass = get16(p + end + 2);
    q->end = end + 4;
    struct record r;
    size_t at = q->end, extra = (size_t)get16(p + 8) + get16(p + 10);
    for (size_t i = 0; i < extra && i < RECORDS_MAX && read_record(p, n, at, &r); i++, at = r.next)
        if (r.type == DNS_OPT) {
            q->edns = true;
            q->room = r.klass < DNS_UDP_PLAIN ? DNS_UDP_PLAIN : r.klass > DNS_UDP_MAX ? DNS_UDP_MAX : r.klass;
        }
    return q->klass == 1 ? DNS_NOERROR : DNS_REFUSED;
}

bool dns_answers(const uint8_t *p, size_t n, const struct dns_question *q)
{
    char name[DNS_NAME_MAX];
    if (n < HEADER || !(get16(p + 2) & QR) || get16(p) != q->id || get16(p + 4) != 1)
        return false;
    size_t end = read_name(p, n, HEADER, name);
    return end && end + 4 <= n && get16(p + end) == q->type && get16(p + end + 2) == q->klass && str_eq(name, q->name);
}

/* The records begin there. */
size_t dns_question_end(const uint8_t *p, size_t n)
{
    if (n < HEADER || get16(p + 4) != 1)
        return 0;
    size_t end = read_name(p, n, HEADER, NULL);
    return end && end + 4 <= n ? end + 4 : 0;
}

uint32_t dns_keep_for(const uint8_t *p, size_t n, uint32_t max)
{
    struct record r;
    size_t at = dns_question_end(p, n);
    if (!at || (get16(p + 2) & TC))
        return 0;
    int rcode = get16(p + 2) & 0xf;
    size_t answers = get16(p + 6), all = answers + get16(p + 8);
    uint32_t keep = max;
    bool any = false;
    for (size_t i = 0; i < all && i < RECORDS_MAX; i++, at = r.next) {
        if (!read_record(p, n, at, &r))
            return 0;
        if (i < answers || r.type == DNS_SOA) {
            any = true;
            keep = r.ttl < keep ? r.ttl : keep;
        }
    }
    return any && (rcode == DNS_NOERROR || rcode == DNS_NXDOMAIN) ? keep : 0;
}

/* ---- writing ------------------------------------------------------------------------------------------------------- */

static bool room(struct dns_writer *w, size_t n)
{
    if (!w->truncated && w->n + n + OPT_SIZE <= w->cap)
        return true;
    w->truncated = true;
    return false;
}

static void put16(struct dns_writer *w, uint16_t v)
{
    w->p[w->n++] = (uint8_t)(v >> 8);
    w->p[w->n++] = (uint8_t)v;
}

static void put32(struct dns_writer *w, uint32_t v)
{
    put16(w, (uint16_t)(v >> 16));
    put16(w, (uint16_t)v);
}

/* The wire form; its length, 0: no name. */
static size_t name_wire(const char *name, uint8_t out[DNS_NAME_MAX])
{
    size_t n = 0;
    while (*name) {
        size_t len = strcspn(name, ".");
        if (!len || len > LABEL_MAX || n + len + 2 > DNS_NAME_MAX - 1)
            return 0;
        out[n++] = (uint8_t)len;
        memcpy(out + n, name, len);
        n += len;
        name += len;
        if (*name == '.')
            name++;
    }
    out[n++] = 0;
    return n;
}

static void bump(struct dns_writer *w, size_t counter)
{
    uint16_t n = (uint16_t)(get16(w->p + counter) + 1);
    w->p[counter] = (uint8_t)(n >> 8);
    w->p[counter + 1] = (uint8_t)n;
}

/* Name, type, class, TTL and length of a record whose data is that long. False: there is no room, or the name is none. */
static bool start_record(struct dns_writer *w, size_t counter, const char *name, uint16_t type, uint32_t ttl, size_t len)
{
    uint8_t wire[DNS_NAME_MAX];
    size_t n = name ? name_wire(name, wire) : 2;
    if (!n || len > 0xffff || !room(w, n + 10 + len))
        return false;
    if (name) {
        memcpy(w->p + w->n, wire, n);
        w->n += n;
    } else {
        put16(w, 0xc000 | HEADER);
    }
    put16(w, type);
    put16(w, 1);
    put32(w, ttl);
    put16(w, (uint16_t)len);
    bump(w, counter);
    return true;
}

enum { ANSWERS = 6, AUTHORITY = 8, ADDITIONAL = 10 };

void dns_begin(struct dns_writer *w, uint8_t *buf, size_t cap, const uint8_t *query, const struct dns_question *q,
               enum dns_rcode rcode, bool authoritative)
{
    bool has_question = q->end > HEADER;
    *w = (struct dns_writer){.p = buf, .cap = cap};
    ASSERT(cap >= q->end + OPT_SIZE);
    put16(w, q->id);
    put16(w, (uint16_t)(QR | (q->flags & (OPCODE | RD)) | RA | (authoritative ? AA : 0) | rcode));
    put16(w, has_question ? 1 : 0);
    put16(w, 0);
    put32(w, 0);
    memcpy(w->p + w->n, query + HEADER, q->end - HEADER);
    w->n = q->end;
}

static void put_bytes(struct dns_writer *w, const void *p, size_t n)
{
    memcpy(w->p + w->n, p, n);
    w->n += n;
}

void dns_a(struct dns_writer *w, const char *name, uint32_t ttl, struct in_addr a)
{
    if (start_record(w, ANSWERS, name, DNS_A, ttl, sizeof a))
        put_bytes(w, &a, sizeof a);
}

void dns_name_rr(struct dns_writer *w, enum dns_type type, const char *name, uint32_t ttl, const char *target)
{
    uint8_t wire[DNS_NAME_MAX];
    size_t n = name_wire(target, wire);
    if (n && start_record(w, ANSWERS, name, (uint16_t)type, ttl, n))
        put_bytes(w, wire, n);
}

void dns_srv(struct dns_writer *w, uint32_t ttl, uint16_t weight, uint16_t port, const char *target)
{
    uint8_t wire[DNS_NAME_MAX];
    size_t n = name_wire(target, wire);
    if (!n || !start_record(w, ANSWERS, NULL, DNS_SRV, ttl, n + 6))
        return;
    put16(w, 0);
    put16(w, weight);
    put16(w, port);
    put_bytes(w, wire, n);
}

void dns_copy_answers(struct dns_writer *w, const uint8_t *p, size_t n)
{
    struct record r;
    size_t at = dns_question_end(p, n), answers = n >= HEADER ? get16(p + 6) : 0;
    for (size_t i = 0; at && i < answers && i < RECORDS_MAX && read_record(p, n, at, &r); i++, at = r.next) {
        char owner[DNS_NAME_MAX], target[DNS_NAME_MAX];
        if (r.klass != 1 || !read_name(p, n, r.at, owner))
            continue;
        if (r.type == DNS_CNAME && read_name(p, n, r.data, target))
            dns_name_rr(w, DNS_CNAME, owner, r.ttl, target);
        else if ((r.type == DNS_A && r.len == 4) || (r.type == DNS_AAAA && r.len == 16)) {
            if (start_record(w, ANSWERS, owner, r.type, r.ttl, r.len))
                put_bytes(w, p + r.data, r.len);
        }
    }
}

void dns_soa(struct dns_writer *w, const char *zone, uint32_t ttl)
{
    uint8_t ns[DNS_NAME_MAX], mail[DNS_NAME_MAX];
    char text[DNS_NAME_MAX + 16];
    snprintf(text, sizeof text, "ns.dns.%s", zone);
    size_t a = name_wire(text, ns);
    snprintf(text, sizeof text, "hostmaster.%s", zone);
    size_t b = name_wire(text, mail);
    if (!a || !b || !start_record(w, AUTHORITY, zone, DNS_SOA, ttl, a + b + 20))
        return;
    put_bytes(w, ns, a);
    put_bytes(w, mail, b);
    const uint32_t numbers[] = {SERIAL, 7200, 1800, 86400, ttl};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        put32(w, numbers[i]);
}

size_t dns_end(struct dns_writer *w, const struct dns_question *q)
{
    if (w->truncated)
        w->p[2] |= TC >> 8;
    if (q->edns && w->n + OPT_SIZE <= w->cap) {
        w->p[w->n++] = 0;
        put16(w, DNS_OPT);
        put16(w, DNS_UDP_MAX);
        put32(w, 0);
        put16(w, 0);
        bump(w, ADDITIONAL);
    }
    return w->n;
}

size_t dns_query(uint8_t *buf, size_t cap, uint16_t id, const char *name, uint16_t type)
{
    uint8_t wire[DNS_NAME_MAX];
    size_t n = name_wire(name, wire);
    struct dns_writer w = {.p = buf, .cap = cap};
    if (!n || HEADER + n + 4 > cap)
        return 0;
    put16(&w, id);
    put16(&w, RD);
    put16(&w, 1);
    put16(&w, 0);
    put32(&w, 0);
    put_bytes(&w, wire, n);
    put16(&w, type);
    put16(&w, 1);
    return w.n;
}
