/* ws_shake.c - the opening handshake: what a request must have, which subprotocol is chosen, the proof that we understood. */
#include "net/upgrade/ws_shake.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "net/upgrade/websocket.h"

void ws_accept_key(const char *key, char out[WS_ACCEPT_SIZE])
{
    AUTOFREE char *text = xasprintf("%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    unsigned char digest[SHA_DIGEST_LENGTH];
    SHA1((const unsigned char *)text, strlen(text), digest);
    AUTOFREE char *encoded = base64_encode(digest, sizeof digest);
    snprintf(out, WS_ACCEPT_SIZE, "%s", encoded);
}

/* The next element of a comma-separated list, without the blanks around it. False at the end. */
static bool next_element(const char **at, const char **p, size_t *n)
{
    const char *s = *at;
    while (*s == ' ' || *s == '\t' || *s == ',')
        s++;
    if (!*s)
        return false;
    size_t len = strcspn(s, ",");
    *at = s + len;
    while (len && (s[len - 1] == ' ' || s[len - 1] == '\t'))
        len--;
    *p = s;
    *n = len;
    return true;
}

bool ws_list_has(const char *list, const char *token)
{
    const char *p;
    size_t n, len = strlen(token);
    while (next_element(&list, &p, &n))
        if (n == len && strncasecmp(p, token, n) == 0)
            return true;
    return false;
}

/* A list may be spread over several fields of one name. */
static bool header_has(const struct http_req *req, const char *name, const char *token)
{
    for (size_t i = 0; i < req->n_headers; i++)
        if (strcmp(req->headers[i].name, name) == 0 && ws_list_has(req->headers[i].value, token))
            return true;
    return false;
}

bool ws_asked(const struct http_req *req)
{
    return req->method == HTTP_GET && header_has(req, "upgrade", "websocket") && header_has(req, "connection", "upgrade");
}

static bool key_is_right(const char *key)
{
    AUTOFREE unsigned char *bytes = NULL;
    size_t n = 0;
    return key && base64_decode(key, strlen(key), &bytes, &n) == 0 && n == 16;
}

static int handshake(const struct http_req *req, struct err *err)
{
    if (!ws_asked(req))
        return err_set(err, ERR_BAD_REQUEST,
                       "this needs a WebSocket: a GET with \"Connection: Upgrade\" and \"Upgrade: websocket\"");
    const char *version = http_header_get(req, "sec-websocket-version");
    if (!version || strcmp(version, "13") != 0)
        return err_set(err, ERR_BAD_REQUEST, "the WebSocket version that is spoken here is 13, Sec-WebSocket-Version is %s",
                       version ? version : "missing");
    if (!key_is_right(http_header_get(req, "sec-websocket-key")))
        return err_set(err, ERR_BAD_REQUEST, "Sec-WebSocket-Key is not 16 bytes in base64");
    return 0;
}

static const char *find(const char *const *protocols, const char *p, size_t n)
{
    for (; *protocols; protocols++)
        if (strlen(*protocols) == n && memcmp(*protocols, p, n) == 0)
            return *protocols;
    return NULL;
}

int ws_negotiate(const struct http_req *req, const char *const *protocols, const char **chosen, struct err *err)
{
    *chosen = NULL;
    if (handshake(req, err) < 0)
        return -1;
    BUF(offers);
    for (size_t i = 0; protocols && i < req->n_headers; i++)
        if (strcmp(req->headers[i].name, "sec-websocket-protocol") == 0)
            buf_addf(&offers, "%s%s", offers.len ? ", " : "", req->headers[i].value);
    const char *at = buf_str(&offers), *p;
    size_t n;
    while (!*chosen && next_element(&at, &p, &n))
        *chosen = find(protocols, p, n);
    if (*chosen || !offers.len)
        return 0;
    BUF(ours);
    for (const char *const *o = protocols; *o; o++)
        buf_addf(&ours, "%s%s", ours.len ? ", " : "", *o);
    return err_set(err, ERR_BAD_REQUEST,
                   "unable to upgrade: none of the offered subprotocols (%s) is among those of this path (%s)", buf_str(&offers),
                   buf_str(&ours));
}
