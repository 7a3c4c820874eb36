/* Kubernetes' IP and CIDR libraries: addresses without zone, IPv4-mapped IPv6 refused, as there. */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "value/cel_priv.h"

typedef const struct cel_value *val;

struct net {
    unsigned char addr[16];
    unsigned family; /* 4 or 6 */
    unsigned prefix; /* of a CIDR */
};

static bool net_equal(const void *a, const void *b)
{
    const struct net *x = a, *y = b;
    return x->family == y->family && x->prefix == y->prefix && memcmp(x->addr, y->addr, sizeof x->addr) == 0;
}
static const struct cel_opaque ip_type = {.name = "net.IP", .equal = net_equal},
                               cidr_type = {.name = "net.CIDR", .equal = net_equal};

static bool parse_ip(const char *s, size_t n, struct net *out)
{
    static const unsigned char mapped[12] = {[10] = 0xFF, [11] = 0xFF};
    char text[64];
    *out = (struct net){0};
    if (n >= sizeof text || memchr(s, 0, n))
        return false;
    memcpy(text, s, n);
    text[n] = 0;
    if (inet_pton(AF_INET, text, out->addr) == 1) {
        out->family = 4;
        out->prefix = 32;
        return true;
    }
    out->family = 6;
    out->prefix = 128;
    return inet_pton(AF_INET6, text, out->addr) == 1 && memcmp(out->addr, mapped, sizeof mapped) != 0;
}

static bool parse_cidr(const char *s, size_t n, struct net *out)
{
    const char *slash = memchr(s, '/', n);
    if (!slash || !parse_ip(s, (size_t)(slash - s), out))
        return false;
    size_t digits = n - (size_t)(slash - s) - 1;
    const char *p = slash + 1;
    if (digits == 0 || digits > 3 || (digits > 1 && p[0] == '0'))
        return false;
    unsigned v = 0;
    for (size_t i = 0; i < digits; i++) {
        if (!isdigit((unsigned char)p[i]))
            return false;
        v = v * 10 + (unsigned)(p[i] - '0');
    }
    bool ok = v <= out->prefix;
    out->prefix = v;
    return ok;
}

static val wrap(struct cel_call *c, const struct cel_opaque *type, const struct net *n)
{
    struct net *p = ARENA_NEW(c->run->a, struct net);
    *p = *n;
    return cel_mk_opaque(c->run, type, p);
}

static const struct net *arg(struct cel_call *c, unsigned i, const struct cel_opaque *type)
{
    return i < c->n && c->args[i]->kind == CEL_OPAQUE && c->args[i]->type == type ? c->args[i]->p : NULL;
}

static val bad(struct cel_call *c, const char *what)
{
    val s = c->args[0];
    return cel_error(c->run, "%s parse error during conversion from string: '%.*s'", what, (int)(s->n > 100 ? 100 : s->n), s->s);
}

static val make_ip(struct cel_call *c)
{
    struct net n;
    return parse_ip(c->args[0]->s, c->args[0]->n, &n) ? wrap(c, &ip_type, &n) : bad(c, "IP Address");
}

static val make_cidr(struct cel_call *c)
{
    struct net n;
    return parse_cidr(c->args[0]->s, c->args[0]->n, &n) ? wrap(c, &cidr_type, &n) : bad(c, "network address");
}

static val is_ip(struct cel_call *c)
{
    struct net n;
    return cel_mk_bool(parse_ip(c->args[0]->s, c->args[0]->n, &n));
}

static val is_cidr(struct cel_call *c)
{
    struct net n;
    return cel_mk_bool(parse_cidr(c->args[0]->s, c->args[0]->n, &n));
}

static void ip_text(const struct net *n, char out[INET6_ADDRSTRLEN])
{
    inet_ntop(n->family == 4 ? AF_INET : AF_INET6, n->addr, out, INET6_ADDRSTRLEN);
}

static val is_canonical(struct cel_call *c)
{
    struct net n;
    char text[INET6_ADDRSTRLEN];
    if (!parse_ip(c->args[0]->s, c->args[0]->n, &n))
        return bad(c, "IP Address");
    ip_text(&n, text);
    return cel_mk_bool(strlen(text) == c->args[0]->n && memcmp(text, c->args[0]->s, c->args[0]->n) == 0);
}

static bool is_zero(const struct net *n)
{
    static const unsigned char zero[16];
    return memcmp(n->addr, zero, sizeof zero) == 0;
}

static bool is_loopback(const struct net *n)
{
    static const unsigned char one[16] = {[15] = 1};
    return n->family == 4 ? n->addr[0] == 127 : memcmp(n->addr, one, sizeof one) == 0;
}

static bool is_multicast(const struct net *n) { return n->family == 4 ? (n->addr[0] & 0xF0) == 0xE0 : n->addr[0] == 0xFF; }

static bool is_link_local_multicast(const struct net *n)
{
    return n->family == 4 ? n->addr[0] == 224 && n->addr[1] == 0 && n->addr[2] == 0
                          : n->addr[0] == 0xFF && (n->addr[1] & 0x0F) == 2;
}

static bool is_link_local_unicast(const struct net *n)
{
    return n->family == 4 ? n->addr[0] == 169 && n->addr[1] == 254 : n->addr[0] == 0xFE && (n->addr[1] & 0xC0) == 0x80;
}

static bool is_global_unicast(const struct net *n)
{
    static const unsigned char broadcast[4] = {255, 255, 255, 255};
    bool bc = n->family == 4 && memcmp(n->addr, broadcast, 4) == 0;
    return !bc && !is_zero(n) && !is_loopback(n) && !is_multicast(n) && !is_link_local_unicast(n);
}

static val ip_is(struct cel_call *c)
{
    static const struct {
        const char *name;
        bool (*test)(const struct net *);
    } tests[] = {
        {"isUnspecified", is_zero},
        {"isLoopback", is_loopback},
        {"isLinkLocalMulticast", is_link_local_multicast},
        {"isLinkLocalUnicast", is_link_local_unicast},
        {"isGlobalUnicast", is_global_unicast},
    };
    const struct net *n = arg(c, 0, &ip_type);
    for (size_t i = 0; n && i < ARRAY_LEN(tests); i++)
        if (str_eq(tests[i].name, c->node->name))
            return cel_mk_bool(tests[i].test(n));
    return cel_no_overload(c);
}

static val family(struct cel_call *c)
{
    const struct net *n = arg(c, 0, &ip_type);
    return n ? cel_mk_int(c->run, n->family) : cel_no_overload(c);
}

/* Clears the bits behind the prefix. */
static struct net mask(const struct net *n, unsigned prefix)
{
    struct net out = *n;
    for (unsigned bit = prefix; bit < (n->family == 4 ? 32u : 128u); bit++)
        out.addr[bit / 8] &= (unsigned char)~(0x80u >> (bit % 8));
    return out;
}

static bool contains(const struct net *net, const struct net *other)
{
    if (net->family != other->family || other->prefix < net->prefix)
        return false;
    struct net a = mask(net, net->prefix), b = mask(other, net->prefix);
    return memcmp(a.addr, b.addr, sizeof a.addr) == 0;
}

/* containsIP and containsCIDR, with a value or its text. */
static val cidr_contains(struct cel_call *c)
{
    bool want_ip = str_eq(c->node->name, "containsIP");
    const struct net *net = arg(c, 0, &cidr_type), *other = arg(c, 1, want_ip ? &ip_type : &cidr_type);
    struct net parsed;
    if (net && cel_arg_is(c, 1, CEL_STRING)) {
        val s = c->args[1];
        if (!(want_ip ? parse_ip(s->s, s->n, &parsed) : parse_cidr(s->s, s->n, &parsed)))
            return cel_error(c->run, "'%.*s' is no %s", (int)(s->n > 100 ? 100 : s->n), s->s,
                             want_ip ? "IP address" : "network address");
        other = &parsed;
    }
    return net && other ? cel_mk_bool(contains(net, other)) : cel_no_overload(c);
}

static val cidr_part(struct cel_call *c)
{
    const struct net *n = arg(c, 0, &cidr_type);
    if (!n)
        return cel_no_overload(c);
    if (str_eq(c->node->name, "prefixLength"))
        return cel_mk_int(c->run, n->prefix);
    struct net out = str_eq(c->node->name, "masked") ? mask(n, n->prefix) : *n;
    if (str_eq(c->node->name, "masked"))
        return wrap(c, &cidr_type, &out);
    out.prefix = out.family == 4 ? 32 : 128;
    return wrap(c, &ip_type, &out);
}

static val to_string(struct cel_call *c)
{
    const struct net *ip = arg(c, 0, &ip_type), *cidr = arg(c, 0, &cidr_type);
    char addr[INET6_ADDRSTRLEN], text[INET6_ADDRSTRLEN + 8];
    if (!ip && !cidr)
        return cel_no_overload(c);
    ip_text(ip ? ip : cidr, addr);
    snprintf(text, sizeof text, cidr ? "%s/%u" : "%s", addr, cidr ? cidr->prefix : 0);
    return cel_mk_copy(c->run, CEL_STRING, text, strlen(text));
}

#define N KIND(CEL_OPAQUE)
const struct cel_fn cel_lib_net[] = {
    {"ip", CEL_GLOBAL, 1, 1, KIND(CEL_STRING), make_ip},
    {"isIP", CEL_GLOBAL, 1, 1, KIND(CEL_STRING), is_ip},
    {"ip.isCanonical", CEL_GLOBAL, 1, 1, KIND(CEL_STRING), is_canonical},
    {"cidr", CEL_GLOBAL, 1, 1, KIND(CEL_STRING), make_cidr},
    {"isCIDR", CEL_GLOBAL, 1, 1, KIND(CEL_STRING), is_cidr},
    {"family", CEL_MEMBER, 1, 1, N, family},
    {"isUnspecified", CEL_MEMBER, 1, 1, N, ip_is},
    {"isLoopback", CEL_MEMBER, 1, 1, N, ip_is},
    {"isLinkLocalMulticast", CEL_MEMBER, 1, 1, N, ip_is},
    {"isLinkLocalUnicast", CEL_MEMBER, 1, 1, N, ip_is},
    {"isGlobalUnicast", CEL_MEMBER, 1, 1, N, ip_is},
    {"containsIP", CEL_MEMBER, 2, 2, N, cidr_contains},
    {"containsCIDR", CEL_MEMBER, 2, 2, N, cidr_contains},
    {"ip", CEL_MEMBER, 1, 1, N, cidr_part},
    {"masked", CEL_MEMBER, 1, 1, N, cidr_part},
    {"prefixLength", CEL_MEMBER, 1, 1, N, cidr_part},
    {"string", CEL_GLOBAL, 1, 1, N, to_string},
    {0},
};
