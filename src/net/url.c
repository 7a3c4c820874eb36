#include "net/url.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

void url_free(struct url *u)
{
    free(u->socket);
    free(u->host);
    free(u->authority);
    free(u->target);
    *u = (struct url){0};
}

static char *target_of(const char *p)
{
    size_t n = strcspn(p, "#");
    return *p == '/' ? xstrndup(p, n) : xasprintf("/%.*s", (int)n, p);
}

static int bad(struct err *err, const char *text, const char *why)
{
    return err_set(err, ERR_BAD_REQUEST, "the URL \"%.200s\" %s", text, why);
}

static int parse_authority(const char *text, const char *p, size_t n, struct url *out, struct err *err)
{
    if (memchr(p, '@', n))
        return bad(err, text, "carries a user name; credentials belong into headers");
    const char *end = p + n, *host = p, *host_end, *colon;
    if (*p == '[') {
        host++;
        host_end = memchr(p, ']', n);
        colon = host_end ? host_end + 1 : end;
    } else {
        colon = memchr(p, ':', n);
        host_end = colon = colon ? colon : end;
    }
    if (!host_end || host_end == host || (colon != end && *colon != ':'))
        return bad(err, text, "has no host");
    out->port = out->tls ? 443 : 80;
    if (colon != end && colon + 1 != end) {
        AUTOFREE char *digits = xstrndup(colon + 1, (size_t)(end - colon) - 1);
        int64_t port;
        if (!str_to_i64(digits, &port) || port < 1 || port > 65535)
            return bad(err, text, "has no valid port");
        out->port = (int)port;
    }
    out->host = xstrndup(host, (size_t)(host_end - host));
    out->authority = xstrndup(p, n);
    return 0;
}

int url_parse(const char *text, struct url *out, struct err *err)
{
    *out = (struct url){0};
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f)
            return bad(err, text, "has a blank or a control character, which must be percent-encoded");
    if (str_starts(text, "unix:/")) {
        const char *colon = strchr(text + 5, ':');
        out->socket = xstrndup(text + 5, colon ? (size_t)(colon - text) - 5 : strlen(text + 5));
        out->host = xstrdup("localhost");
        out->authority = xstrdup("localhost");
        out->target = target_of(colon ? colon + 1 : "");
        return 0;
    }
    out->tls = str_starts(text, "https://");
    if (!out->tls && !str_starts(text, "http://"))
        return bad(err, text, "does not start with http://, https:// or unix:/");
    const char *p = text + (out->tls ? 8 : 7);
    size_t n = strcspn(p, "/?#");
    out->target = target_of(p + n);
    if (parse_authority(text, p, n, out, err) == 0)
        return 0;
    url_free(out);
    return -1;
}
