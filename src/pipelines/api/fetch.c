/* fetch.c - packages by URL, and which URLs are not asked (spec 4.2).
 *
 * The host must be on the list, and every address that it resolves to must be a public one. The connection then goes to the
 * address that was checked, so that a second look-up cannot lead elsewhere. Each redirect is checked in the same way. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "net/client.h"
#include "pipelines/api/internal.h"

enum { REDIRECTS_MAX = 10, TIMEOUT_S = 30 };
static const char *const DOMAINS[] = {"storage.googleapis.com", "s3.amazonaws.com", "github.com", "raw.githubusercontent.com"};

struct url {
    bool https;
    char *host;       /* without brackets */
    const char *port; /* digits; the scheme's own when not given */
    char *port_text;
    const char *path; /* points into the text; "/..." or "" */
    bool user, literal_v6;
};
static void url_clear(struct url *u)
{
    free(u->host);
    free(u->port_text);
}

static int refuse(struct err *err, const char *url, const char *why)
{
    return err_set(err, ERR_INVALID, "Pipeline URL validation failed: %.200s: %s", url, why);
}

static int parse_url(const char *text, struct url *u, struct err *err)
{
    const char *rest = NULL;
    if (strncasecmp(text, "https://", 8) == 0) {
        u->https = true;
        rest = text + 8;
    } else if (strncasecmp(text, "http://", 7) == 0) {
        rest = text + 7;
    } else if (!strstr(text, "://")) {
        return err_set(err, ERR_INVALID, "invalid pipeline spec URL: %.200s", text);
    } else {
        return refuse(err, text, "only https is fetched");
    }
    size_t n = strcspn(rest, "/?#");
    AUTOFREE char *authority = xstrndup(rest, n);
    u->path = rest + n;
    char *at = strrchr(authority, '@'), *host = at ? at + 1 : authority, *port = NULL;
    u->user = at != NULL;
    if (*host == '[') {
        char *close = strchr(host, ']');
        if (!close)
            return refuse(err, text, "the host is malformed");
        *close = '\0';
        host++;
        u->literal_v6 = true;
        port = close[1] == ':' ? close + 2 : NULL;
    } else if ((port = strchr(host, ':'))) {
        *port++ = '\0';
    }
    if (!*host)
        return refuse(err, text, "it names no host");
    u->host = xstrdup(host);
    u->port_text = xstrdup(port && *port ? port : u->https ? "443" : "80");
    u->port = u->port_text;
    return 0;
}

/* ---- rules ---------------------------------------------------------------------------------------------------------- */

static bool host_listed(const char *host, const char *more)
{
    for (size_t i = 0; i < ARRAY_LEN(DOMAINS); i++) {
        if (strcasecmp(host, DOMAINS[i]) == 0)
            return true;
    }
    AUTOFREE char *list = xstrdup(more ? more : "");
    char *save = NULL;
    for (char *d = strtok_r(list, ", ", &save); d; d = strtok_r(NULL, ", ", &save)) {
        if (strcasecmp(host, d) == 0 || (strchr(d, '*') && str_glob(d, host)))
            return true;
    }
    return false;
}

static bool v4_public(uint32_t a)
{
    static const struct {
        uint32_t net, mask;
    } closed[] = {
        {0x00000000, 0xff000000}, {0x0a000000, 0xff000000}, {0x64400000, 0xffc00000}, {0x7f000000, 0xff000000},
        {0xa9fe0000, 0xffff0000}, {0xac100000, 0xfff00000}, {0xc0000000, 0xffffff00}, {0xc0a80000, 0xffff0000},
        {0xc6120000, 0xfffe0000}, {0xe0000000, 0xe0000000},
    };
    for (size_t i = 0; i < ARRAY_LEN(closed); i++) {
        if ((a & closed[i].mask) == closed[i].net)
            return false;
    }
    return true;
}

static bool address_public(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return v4_public(ntohl(((const struct sockaddr_in *)sa)->sin_addr.s_addr));
    if (sa->sa_family != AF_INET6)
        return false;
    const uint8_t *a = ((const struct sockaddr_in6 *)sa)->sin6_addr.s6_addr;
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}, nat64[12] = {0x00, 0x64, 0xff, 0x9b};
    if (memcmp(a, mapped, 12) == 0 || memcmp(a, nat64, 12) == 0)
        return v4_public((uint32_t)a[12] << 24 | (uint32_t)a[13] << 16 | (uint32_t)a[14] << 8 | a[15]);
    return (a[0] & 0xe0) == 0x20; /* global unicast 2000::/3 only */
}

/* Resolves the host; *address is one that may be connected to, in the form of a URL's host. All of them must be public. */
static int resolve_public(const char *url, const struct url *u, char **address, struct err *err)
{
    struct addrinfo *list = NULL;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    int rc = getaddrinfo(u->host, u->port, &hints, &list);
    if (rc != 0)
        return err_set(err, ERR_INVALID, "Failed to fetch pipeline spec with url: %.200s: %s", url, gai_strerror(rc));
    bool good = list != NULL;
    for (const struct addrinfo *a = list; a; a = a->ai_next)
        good = good && address_public(a->ai_addr);
    char text[INET6_ADDRSTRLEN] = "";
    if (good && getnameinfo(list->ai_addr, list->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) == 0)
        *address = xasprintf(strchr(text, ':') ? "[%s]" : "%s", text);
    freeaddrinfo(list);
    return *address ? 0 : refuse(err, url, "the host's address is not a public one");
}

static int check_rules(const struct pipelines_url_rules *rules, const char *text, const struct url *u, char **address,
                       struct err *err)
{
    if (!u->https && !rules->allow_http)
        return refuse(err, text, "only https is fetched");
    if (u->user)
        return refuse(err, text, "user and password in a URL are not used");
    if (strcmp(u->port, u->https ? "443" : "80") != 0)
        return refuse(err, text, "only the standard port is used");
    if (!host_listed(u->host, rules->domains))
        return refuse(err, text, "the host is not on the list of allowed ones (PIPELINE_URL_ALLOWED_DOMAINS)");
    return resolve_public(text, u, address, err);
}

/* ---- fetching ------------------------------------------------------------------------------------------------------- */

static int fetch_pinned(struct http_client *shared, const struct ctx *ctx, const char *url, const struct url *u,
                        const char *address, struct http_answer *out, struct err *err)
{
    struct http_call call = {.method = HTTP_GET, .url = url};
    if (!address)
        return http_fetch(shared, ctx, &call, out, err);
    const struct http_client_config cfg = {.server_name = u->host, .max_response = PACKAGE_MAX};
    struct http_client *client = http_client_new(&cfg, err);
    if (!client)
        return -1;
    AUTOFREE char *pinned = xasprintf("%s://%s%s%s", u->https ? "https" : "http", address, *u->path == '/' ? "" : "/", u->path);
    const struct http_header host = {"host", u->host};
    call.url = pinned;
    call.headers = &host;
    call.n_headers = 1;
    int rc = http_fetch(client, ctx, &call, out, err);
    http_client_free(client);
    return rc;
}

static int fetch_once(struct pipelines_api *api, const struct ctx *ctx, const char *url, struct http_answer *out, struct err *err)
{
    CLEANUP(url_clear) struct url u = {0};
    AUTOFREE char *address = NULL;
    if (parse_url(url, &u, err) < 0 || (!api->urls.open && check_rules(&api->urls, url, &u, &address, err) < 0))
        return -1;
    ERR(e);
    if (fetch_pinned(api->client, ctx, url, &u, address, out, &e) < 0)
        return err_set(err, ERR_INVALID, "Failed to fetch pipeline spec with url: %.200s: %s", url, err_text(&e));
    return 0;
}

static char *last_part(const char *url)
{
    const char *path = strstr(url, "://");
    path = path ? path + 3 : url;
    size_t n = strcspn(path, "?#");
    const char *start = path + n;
    while (start > path && start[-1] != '/')
        start--;
    char *name = NULL;
    if (url_decode(start, (size_t)(path + n - start), false, &name) < 0)
        name = xstrdup("");
    return name;
}

/* A Location, made absolute. Caller frees. */
static char *follow(const char *url, const char *location)
{
    if (strstr(location, "://"))
        return xstrdup(location);
    const char *host = strstr(url, "://") + 3;
    size_t n = (size_t)(host - url) + strcspn(host, "/?#");
    return xasprintf("%.*s%s%s", (int)n, url, *location == '/' ? "" : "/", location);
}

int package_fetch(struct pipelines_api *api, const struct ctx *ctx, const char *url, struct buf *out, char **file_name,
                  struct err *err)
{
    int64_t seconds = api->urls.timeout_s > 0 ? api->urls.timeout_s : TIMEOUT_S;
    struct ctx limited = ctx_with_timeout(ctx, seconds * NS_PER_S);
    AUTOFREE char *at = xstrdup(url);
    for (int i = 0; i <= REDIRECTS_MAX; i++) {
        CLEANUP(http_answer_free) struct http_answer a = {0};
        if (fetch_once(api, &limited, at, &a, err) < 0)
            return -1;
        if (a.status == 200) {
            if (a.body.len > PACKAGE_MAX)
                return err_set(err, ERR_INVALID, "Failed to fetch pipeline spec with url: %.200s: it has more than 32 MiB", url);
            *file_name = last_part(url);
            buf_add(out, a.body.data, a.body.len);
            return 0;
        }
        const char *location = http_answer_header(&a, "location");
        if (a.status < 301 || a.status > 308 || !location)
            return err_set(err, ERR_INVALID, "Failed to fetch pipeline spec with url: %.200s. Request returned %d", url,
                           a.status);
        char *next = follow(at, location);
        free(at);
        at = next;
    }
    return err_set(err, ERR_INVALID, "Failed to fetch pipeline spec with url: %.200s: more than %d redirects", url,
                   REDIRECTS_MAX);
}
