#include "net/proxy.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#define HEAD_MAX ((size_t)16 * 1024)

void proxy_free(struct proxy *p)
{
    url_free(&p->at);
    free(p->user);
    free(p->password);
    *p = (struct proxy){0};
}

/* "user:password" with percent-encoding. */
static int parse_login(const char *text, size_t n, struct proxy *out, struct err *err)
{
    const char *colon = memchr(text, ':', n);
    size_t user = colon ? (size_t)(colon - text) : n;
    if (url_decode(text, user, false, &out->user) < 0 ||
        url_decode(colon ? colon + 1 : "", colon ? n - user - 1 : 0, false, &out->password) < 0)
        return err_set(err, ERR_BAD_REQUEST, "the login in the proxy's URL is not percent-encoded as it should be");
    if (strlen(out->user) > 255 || strlen(out->password) > 255)
        return err_set(err, ERR_BAD_REQUEST, "the login in the proxy's URL is too long");
    return 0;
}

static int parse(const char *text, struct proxy *out, struct err *err)
{
    const char *rest = strstr(text, "://");
    if (!rest)
        return err_set(err, ERR_BAD_REQUEST, "the proxy's URL has no scheme: http://host:port and socks5://host:port are known");
    rest += 3;
    out->socks = str_starts(text, "socks5://") || str_starts(text, "socks5h://");
    if (!out->socks && !str_starts(text, "http://"))
        return err_set(err, ERR_BAD_REQUEST, "proxies of scheme \"%.*s\" are not known: http and socks5 are",
                       (int)strnlen(text, (size_t)(rest - text) - 3), text);
    size_t authority = strcspn(rest, "/?#");
    const char *at = memrchr(rest, '@', authority);
    if (at && parse_login(rest, (size_t)(at - rest), out, err) < 0)
        return -1;
    const char *host = at ? at + 1 : rest;
    AUTOFREE char *plain = xasprintf("http://%.*s/", (int)(authority - (size_t)(host - rest)), host);
    if (url_parse(plain, &out->at, err) < 0)
        return err_wrap(err, "proxy");
    if (out->socks && !strchr(strchr(out->at.authority, ']') ? strchr(out->at.authority, ']') : out->at.authority, ':'))
        out->at.port = 1080;
    return 0;
}

int proxy_parse(const char *text, struct proxy *out, struct err *err)
{
    *out = (struct proxy){0};
    if (parse(text, out, err) == 0)
        return 0;
    proxy_free(out);
    return -1;
}

static int say(struct wire *w, const struct buf *b, const struct ctx *ctx, struct err *err)
{
    bool early = false;
    return wire_write(w, b->data, b->len, &early, ctx, err);
}

static int hear(struct wire *w, void *p, size_t n, const struct ctx *ctx, struct err *err)
{
    for (char *at = p; n > 0;) {
        ssize_t got = wire_read(w, at, n, ctx, err);
        if (got <= 0)
            return got < 0 ? -1 : err_set(err, ERR_UNAVAILABLE, "it closed the connection");
        at += got;
        n -= (size_t)got;
    }
    return 0;
}

/* Byte by byte: what follows the head is the target's. */
static int tunnel_http(const struct proxy *p, struct wire *w, const struct url *t, const struct ctx *ctx, struct err *err)
{
    BUF(b);
    const char *form =
        strchr(t->host, ':') ? "CONNECT [%s]:%d HTTP/1.1\r\nHost: [%s]:%d\r\n" : "CONNECT %s:%d HTTP/1.1\r\nHost: %s:%d\r\n";
    buf_addf(&b, form, t->host, t->port, t->host, t->port);
    if (p->user) {
        AUTOFREE char *login = xasprintf("%s:%s", p->user, p->password);
        AUTOFREE char *text = base64_encode(login, strlen(login));
        buf_addf(&b, "Proxy-Authorization: Basic %s\r\n", text);
    }
    buf_adds(&b, "\r\n");
    if (say(w, &b, ctx, err) < 0)
        return -1;
    buf_reset(&b);
    while (!str_ends(buf_str(&b), "\r\n\r\n")) {
        char c;
        if (hear(w, &c, 1, ctx, err) < 0)
            return -1;
        buf_addc(&b, c ? c : '?');
        if (b.len > HEAD_MAX)
            return err_set(err, ERR_UNAVAILABLE, "its answer has no end");
    }
    if (str_starts(b.data, "HTTP/1.") && b.len > 12 && b.data[9] == '2')
        return 0;
    return err_set(err, ERR_UNAVAILABLE, "it refused: %.*s", (int)strcspn(b.data, "\r\n"), b.data);
}

static int socks_login(const struct proxy *p, struct wire *w, const struct ctx *ctx, struct err *err)
{
    BUF(b);
    unsigned char answer[2];
    buf_addc(&b, 1);
    buf_addc(&b, (char)strlen(p->user));
    buf_adds(&b, p->user);
    buf_addc(&b, (char)strlen(p->password));
    buf_adds(&b, p->password);
    if (say(w, &b, ctx, err) < 0 || hear(w, answer, 2, ctx, err) < 0)
        return -1;
    return answer[1] == 0 ? 0 : err_set(err, ERR_UNAVAILABLE, "it refused the login");
}

static int tunnel_socks(const struct proxy *p, struct wire *w, const struct url *t, const struct ctx *ctx, struct err *err)
{
    BUF(b);
    unsigned char answer[256];
    size_t host = strlen(t->host);
    if (host > 255)
        return err_set(err, ERR_BAD_REQUEST, "the host's name is too long for it");
    buf_add(&b, p->user ? "\5\2\0\2" : "\5\1\0", p->user ? 4 : 3);
    if (say(w, &b, ctx, err) < 0 || hear(w, answer, 2, ctx, err) < 0)
        return -1;
    if (answer[0] != 5 || (answer[1] != 0 && (answer[1] != 2 || !p->user)))
        return err_set(err, ERR_UNAVAILABLE, "it takes none of the ways to log in that we have");
    if (answer[1] == 2 && socks_login(p, w, ctx, err) < 0)
        return -1;
    buf_reset(&b);
    buf_add(&b, "\5\1\0\3", 4);
    buf_addc(&b, (char)host);
    buf_add(&b, t->host, host);
    buf_addc(&b, (char)(t->port >> 8));
    buf_addc(&b, (char)(t->port & 255));
    if (say(w, &b, ctx, err) < 0 || hear(w, answer, 4, ctx, err) < 0)
        return -1;
    if (answer[0] != 5 || answer[1] != 0)
        return err_set(err, ERR_UNAVAILABLE, "it refused with SOCKS error %d", answer[1]);
    unsigned char kind = answer[3], len = kind == 4 ? 16 : 4;
    if (kind == 3 && hear(w, &len, 1, ctx, err) < 0)
        return -1;
    unsigned char port[2];
    return (len == 0 || hear(w, answer, len, ctx, err) == 0) && hear(w, port, 2, ctx, err) == 0 ? 0 : -1;
}

int proxy_tunnel(const struct proxy *p, struct wire *w, const struct url *target, const struct ctx *ctx, struct err *err)
{
    int rc = p->socks ? tunnel_socks(p, w, target, ctx, err) : tunnel_http(p, w, target, ctx, err);
    return rc == 0 ? 0 : err_wrap(err, "through the proxy %s", p->at.authority);
}
