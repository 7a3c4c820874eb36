#include "net/defence.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

/* "[::1]:80" -> "::1", "Name.:80" -> "Name". False when it is no host at all. */
static bool host_name(const char *host, char *out, size_t size)
{
    const char *end;
    if (*host == '[') {
        host++;
        end = strchr(host, ']');
        if (!end || (end[1] && end[1] != ':'))
            return false;
    } else {
        end = host + strcspn(host, ":");
        if (end[0] && strchr(end + 1, ':'))
            return false;
    }
    size_t len = (size_t)(end - host);
    if (len && host[len - 1] == '.')
        len--;
    if (len == 0 || len >= size)
        return false;
    memcpy(out, host, len);
    out[len] = '\0';
    return true;
}

static bool same_ip(const char *a, const char *b)
{
    unsigned char x[16], y[16];
    if (inet_pton(AF_INET, a, x) == 1)
        return inet_pton(AF_INET, b, y) == 1 && memcmp(x, y, 4) == 0;
    return inet_pton(AF_INET6, a, x) == 1 && inet_pton(AF_INET6, b, y) == 1 && memcmp(x, y, 16) == 0;
}

static bool loopback_ip(const char *s)
{
    struct in_addr v4;
    if (inet_pton(AF_INET, s, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    struct in6_addr v6;
    return inet_pton(AF_INET6, s, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

bool host_allowed(const struct host_rules *rules, const char *host, const char *local_ip)
{
    char name[256];
    if (rules->any)
        return true;
    if (!host || !host_name(host, name, sizeof name))
        return false;
    if (strcasecmp(name, "localhost") == 0)
        return true;
    if (rules->address && (strcasecmp(name, rules->address) == 0 || same_ip(name, rules->address)))
        return true;
    /* A literal address is not subject to rebinding: right when the connection really came in on it. */
    if (local_ip && same_ip(name, local_ip))
        return true;
    if (rules->loopback && loopback_ip(name))
        return true;
    for (char **e = rules->extra; e && *e; e++)
        if (strcasecmp(*e, name) == 0)
            return true;
    return false;
}

/* Origin "https://name:port" against Host "name:port", where either may leave out the scheme's own port. */
static bool same_origin(const char *origin, const char *host)
{
    const char *port;
    if (strncasecmp(origin, "http://", 7) == 0) {
        origin += 7;
        port = ":80";
    } else if (strncasecmp(origin, "https://", 8) == 0) {
        origin += 8;
        port = ":443";
    } else {
        return false;
    }
    size_t on = strlen(origin), hn = strlen(host), pn = strlen(port);
    if (on > pn && strcmp(origin + on - pn, port) == 0)
        on -= pn;
    if (hn > pn && strcmp(host + hn - pn, port) == 0)
        hn -= pn;
    return on > 0 && on == hn && strncasecmp(origin, host, on) == 0;
}

const char *browser_refuses(const struct http_req *req)
{
    bool safe = req->method & (HTTP_GET | HTTP_HEAD | HTTP_OPTIONS);
    if (safe && !http_header_get(req, "upgrade"))
        return NULL;
    const char *site = http_header_get(req, "sec-fetch-site");
    if (site && strcasecmp(site, "cross-site") == 0)
        return "a page of another site may not do this (Sec-Fetch-Site: cross-site)";
    const char *origin = http_header_get(req, "origin");
    const char *host = http_header_get(req, "host");
    if (origin && !same_origin(origin, host ? host : ""))
        return "a page of another site may not do this (its Origin is not our Host)";
    return NULL;
}
