#include "net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

static bool v4_near(uint32_t a)
{
    /* 0.0.0.0/8 is this machine as well; the last two are Azure's and Alibaba's metadata. */
    return a >> 24 == 127 || a >> 24 == 0 || a >> 16 == 0xa9fe || a == 0xa83f8110 || a == 0x646464c8;
}

static bool v6_near(const uint8_t a[16])
{
    static const uint8_t zero[12], mapped[12] = {[10] = 0xff, [11] = 0xff}, nat64[12] = {0x00, 0x64, 0xff, 0x9b},
                                   aws[16] = {0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54},
                                   google[16] = {0xfd, 0x20, 0x00, 0xce, [14] = 0x02, [15] = 0x54};
    uint32_t v4 = (uint32_t)a[12] << 24 | (uint32_t)a[13] << 16 | (uint32_t)a[14] << 8 | a[15];
    if (memcmp(a, mapped, 12) == 0 || memcmp(a, nat64, 12) == 0)
        return v4_near(v4);
    if (a[0] == 0x20 && a[1] == 0x02) /* 6to4 */
        return v4_near((uint32_t)a[2] << 24 | (uint32_t)a[3] << 16 | (uint32_t)a[4] << 8 | a[5]);
    return memcmp(a, zero, 12) == 0 || (a[0] == 0xfe && (a[1] & 0xc0) == 0x80) || memcmp(a, aws, 16) == 0 ||
           memcmp(a, google, 16) == 0;
}

bool address_is_near(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return v4_near(ntohl(((const struct sockaddr_in *)(const void *)sa)->sin_addr.s_addr));
    return sa->sa_family != AF_INET6 || v6_near(((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr.s6_addr);
}

bool host_is_near(const char *host)
{
    char name[64];
    size_t n = strlen(host);
    if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
        host++;
        n -= 2;
    }
    if (n >= sizeof name)
        return false;
    memcpy(name, host, n);
    name[n] = '\0';
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, name, &v4) == 1)
        return v4_near(ntohl(v4.s_addr));
    return strcasecmp(name, "localhost") == 0 || (inet_pton(AF_INET6, name, &v6) == 1 && v6_near(v6.s6_addr));
}
