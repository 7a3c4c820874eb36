#include "kube/rules/service_range.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "base/str.h"

enum { API_PART = 1, DNS_PART = 10 };

static void text_of(uint32_t address, char out[16])
{
    struct in_addr a = {.s_addr = htonl(address)};
    inet_ntop(AF_INET, &a, out, INET_ADDRSTRLEN);
}

int service_range_parse(const char *cidr, struct service_range *out, struct err *err)
{
    STRLIST(p);
    struct in_addr a;
    int64_t bits;
    if (!cidr)
        cidr = SERVICE_RANGE_USUAL;
    str_split(cidr, '/', &p);
    if (p.n != 2 || inet_pton(AF_INET, p.v[0], &a) != 1 || !str_to_i64(p.v[1], &bits) || bits < 12 || bits > 24)
        return err_set(err, ERR_BAD_REQUEST,
                       "range of Services \"%s\" is no IPv4 range of /12 to /24, as " SERVICE_RANGE_USUAL " is", cidr);
    char first[16];
    *out = (struct service_range){.size = 1u << (32 - bits)};
    out->base = ntohl(a.s_addr) & ~(out->size - 1);
    text_of(out->base, first);
    text_of(out->base + API_PART, out->api);
    text_of(out->base + DNS_PART, out->dns);
    snprintf(out->cidr, sizeof out->cidr, "%s/%d", first, (int)bits);
    return 0;
}

bool service_range_has(const struct service_range *r, const char *ip)
{
    struct in_addr a;
    return ip && inet_pton(AF_INET, ip, &a) == 1 && ntohl(a.s_addr) - r->base < r->size;
}
