#include "net/upgrade/spdy.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/str.h"

enum {
    HEAD = 8,
    CONTROL_MAX = 64 * 1024,
    UNPACKED_MAX = 256 * 1024,
    HEADERS_MAX = 100,
    DATA_MAX = 32 * 1024,
    VERSION = 3,
    FLAG_FIN = 1,
    FLAG_UNIDIRECTIONAL = 2,
};
enum { SYN_STREAM = 1, SYN_REPLY = 2, RST_STREAM = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, HEADERS = 8, WINDOW_UPDATE = 9 };

struct stream {
    uint32_t id;
    bool ended_here, ended_there;
};

struct spdy {
    const struct spdy_ops *ops;
    void *state;
    unsigned max_streams;
    struct stream *streams;
    size_t n_streams;
    uint32_t last_id;
    struct buf in, out; /* in: the head of a frame, or a whole control frame */
    uint32_t data_id, data_left;
    bool in_data, data_fin, broken, gone, client;
    z_stream inflate, deflate; /* one of each for the connection: header blocks refer to those before them */
};

/* ---- the dictionary of header blocks --------------------------------------------------------------------------------- */

/* Names with their lengths before them, and a text. */
static const char *const words[] = {"options",
                                    "head",
                                    "post",
                                    "put",
                                    "delete",
                                    "trace",
                                    "accept",
                                    "accept-charset",
                                    "accept-encoding",
                                    "accept-language",
                                    "accept-ranges",
                                    "age",
                                    "allow",
                                    "authorization",
                                    "cache-control",
                                    "connection",
                                    "content-base",
                                    "content-encoding",
                                    "content-language",
                                    "content-length",
                                    "content-location",
                                    "content-md5",
                                    "content-range",
                                    "content-type",
                                    "date",
                                    "etag",
                                    "expect",
                                    "expires",
                                    "from",
                                    "host",
                                    "if-match",
                                    "if-modified-since",
                                    "if-none-match",
                                    "if-range",
                                    "if-unmodified-since",
                                    "last-modified",
                                    "location",
                                    "max-forwards",
                                    "pragma",
                                    "proxy-authenticate",
                                    "proxy-authorization",
                                    "range",
                                    "referer",
                                    "retry-after",
                                    "server",
                                    "te",
                                    "trailer",
                                    "transfer-encoding",
                                    "upgrade",
                                    "user-agent",
                                    "vary",
                                    "via",
                                    "warning",
                                    "www-authenticate",
                                    "method",
                                    "get",
                                    "status",
                                    "200 OK",
                                    "version",
                                    "HTTP/1.1",
                                    "url",
                                    "public",
                                    "set-cookie",
                                    "keep-alive",
                                    "origin"};
static const char text[] =
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative "
    "Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal "
    "Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, "
    "Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,"
    "text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

static void add_u32(struct buf *b, uint32_t v)
{
    unsigned char c[4] = {(unsigned char)(v >> 24), (unsigned char)(v >> 16), (unsigned char)(v >> 8), (unsigned char)v};
    buf_add(b, c, sizeof c);
}

static uint32_t get_u32(const void *p)
{
    const unsigned char *c = p;
    return (uint32_t)c[0] << 24 | (uint32_t)c[1] << 16 | (uint32_t)c[2] << 8 | c[3];
}

static void dictionary(struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        add_u32(out, (uint32_t)strlen(words[i]));
        buf_adds(out, words[i]);
    }
    buf_adds(out, text);
}

/* ---- life ------------------------------------------------------------------------------------------------------------- */

struct spdy *spdy_new(unsigned max_streams, const struct spdy_ops *ops, void *state)
{
    struct spdy *s = xcalloc(1, sizeof *s);
    BUF(d);
    s->ops = ops;
    s->state = state;
    s->max_streams = max_streams;
    dictionary(&d);
    ASSERT(inflateInit(&s->inflate) == Z_OK);
    /* Small windows: what we send is a few header blocks of a few bytes each. */
    ASSERT(deflateInit2(&s->deflate, Z_BEST_SPEED, Z_DEFLATED, 11, 1, Z_DEFAULT_STRATEGY) == Z_OK);
    ASSERT(deflateSetDictionary(&s->deflate, (const Bytef *)d.data, (uInt)d.len) == Z_OK);
    return s;
}

void spdy_free(struct spdy *s)
{
    if (!s)
        return;
    inflateEnd(&s->inflate);
    deflateEnd(&s->deflate);
    buf_free(&s->in);
    buf_free(&s->out);
    free(s->streams);
    free(s);
}

struct buf *spdy_out(struct spdy *s) { return &s->out; }

const char *spdy_find(const struct spdy_header *h, size_t n, const char *lower_name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(h[i].name, lower_name))
            return h[i].value;
    return NULL;
}

/* ---- streams ---------------------------------------------------------------------------------------------------------- */

static struct stream *find(struct spdy *s, uint32_t id)
{
    for (size_t i = 0; i < s->n_streams; i++)
        if (s->streams[i].id == id)
            return &s->streams[i];
    return NULL;
}

static void drop(struct spdy *s, struct stream *st) { *st = s->streams[--s->n_streams]; }

static void drop_if_over(struct spdy *s, struct stream *st)
{
    if (st->ended_here && st->ended_there)
        drop(s, st);
}

/* ---- what we send ------------------------------------------------------------------------------------------------------- */

static void control(struct spdy *s, unsigned type, unsigned flags, size_t len)
{
    add_u32(&s->out, 0x80000000U | VERSION << 16 | type);
    add_u32(&s->out, (uint32_t)flags << 24 | (uint32_t)len);
}

/* A block of headers, compressed as the next of this connection. */
static void put_block(struct spdy *s, const struct spdy_header *h, size_t n, struct buf *out)
{
    unsigned char packed[256];
    BUF(plain);
    add_u32(&plain, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        add_u32(&plain, (uint32_t)strlen(h[i].name));
        buf_adds(&plain, h[i].name);
        add_u32(&plain, (uint32_t)strlen(h[i].value));
        buf_adds(&plain, h[i].value);
    }
    s->deflate.next_in = (Bytef *)plain.data;
    s->deflate.avail_in = (uInt)plain.len;
    do {
        s->deflate.next_out = packed;
        s->deflate.avail_out = sizeof packed;
        ASSERT(deflate(&s->deflate, Z_SYNC_FLUSH) != Z_STREAM_ERROR);
        buf_add(out, packed, sizeof packed - s->deflate.avail_out);
    } while (s->deflate.avail_out == 0);
}

void spdy_accept(struct spdy *s, uint32_t id)
{
    BUF(block);
    if (!find(s, id))
        return;
    put_block(s, NULL, 0, &block);
    control(s, SYN_REPLY, 0, 4 + block.len);
    add_u32(&s->out, id);
    buf_add(&s->out, block.data, block.len);
}

static void add_stream(struct spdy *s, struct stream st)
{
    s->streams = xreallocarray(s->streams, s->n_streams + 1, sizeof *s->streams);
    s->streams[s->n_streams++] = st;
}

uint32_t spdy_open(struct spdy *s, const struct spdy_header *h, size_t n)
{
    BUF(block);
    if (s->n_streams >= s->max_streams)
        return 0;
    uint32_t id = s->client ? s->last_id + 2 : 1;
    s->client = true;
    s->last_id = id;
    put_block(s, h, n, &block);
    control(s, SYN_STREAM, 0, 10 + block.len);
    add_u32(&s->out, id);
    add_u32(&s->out, 0);         /* of no other stream */
    buf_add(&s->out, "\0\0", 2); /* priority, and a slot for certificates */
    buf_add(&s->out, block.data, block.len);
    add_stream(s, (struct stream){.id = id});
    return id;
}

static void data_frame(struct spdy *s, uint32_t id, unsigned flags, const void *p, size_t n)
{
    add_u32(&s->out, id);
    add_u32(&s->out, (uint32_t)flags << 24 | (uint32_t)n);
    if (n)
        buf_add(&s->out, p, n);
}

void spdy_data(struct spdy *s, uint32_t id, const void *p, size_t n)
{
    struct stream *st = find(s, id);
    for (const char *at = p; st && !st->ended_here && n > 0;) {
        size_t part = n < DATA_MAX ? n : DATA_MAX;
        data_frame(s, id, 0, at, part);
        at += part;
        n -= part;
    }
}

void spdy_end(struct spdy *s, uint32_t id)
{
    struct stream *st = find(s, id);
    if (!st || st->ended_here)
        return;
    data_frame(s, id, FLAG_FIN, NULL, 0);
    st->ended_here = true;
    drop_if_over(s, st);
}

static void send_reset(struct spdy *s, uint32_t id, enum spdy_status status)
{
    control(s, RST_STREAM, 0, 8);
    add_u32(&s->out, id);
    add_u32(&s->out, status);
}

void spdy_reset(struct spdy *s, uint32_t id, enum spdy_status status)
{
    struct stream *st = find(s, id);
    if (!st)
        return;
    send_reset(s, id, status);
    drop(s, st);
}

static void send_goaway(struct spdy *s, uint32_t why)
{
    if (s->gone)
        return;
    s->gone = true;
    control(s, GOAWAY, 0, 8);
    add_u32(&s->out, s->last_id);
    add_u32(&s->out, why);
}

static int fail(struct spdy *s, struct err *err, const char *what)
{
    s->broken = true;
    send_goaway(s, SPDY_PROTOCOL_ERROR);
    return err_set(err, ERR_BAD_REQUEST, "SPDY: %s", what);
}

/* ---- header blocks ---------------------------------------------------------------------------------------------------- */

static int unpack(struct spdy *s, const char *p, size_t n, struct buf *out, struct err *err)
{
    s->inflate.next_in = (Bytef *)p;
    s->inflate.avail_in = (uInt)n;
    for (;;) {
        buf_reserve(out, 4096);
        s->inflate.next_out = (Bytef *)out->data + out->len;
        s->inflate.avail_out = 4096;
        int rc = inflate(&s->inflate, Z_SYNC_FLUSH);
        if (rc == Z_NEED_DICT) {
            BUF(d);
            dictionary(&d);
            if (inflateSetDictionary(&s->inflate, (const Bytef *)d.data, (uInt)d.len) != Z_OK)
                return fail(s, err, "headers are packed with another dictionary");
            continue;
        }
        if (rc != Z_OK && rc != Z_BUF_ERROR)
            return fail(s, err, "headers cannot be unpacked");
        size_t got = 4096 - s->inflate.avail_out;
        out->len += got;
        if (out->len > UNPACKED_MAX)
            return fail(s, err, "headers are too large");
        if (got == 0 || (!s->inflate.avail_in && s->inflate.avail_out))
            return 0;
    }
}

/* One string of a block: its length and its bytes, which get their NUL from the next length's first byte once that was read. */
static const char *block_string(struct buf *b, size_t *at, size_t *len)
{
    if (b->len - *at < 4)
        return NULL;
    *len = get_u32(b->data + *at);
    if (*len > b->len - *at - 4)
        return NULL;
    const char *p = b->data + *at + 4;
    b->data[*at] = 0;
    *at += 4 + *len;
    return p;
}

/* The block is changed into NUL-terminated strings. A value that holds several (separated by NUL) is its first. */
static int parse_block(struct spdy *s, struct buf *b, struct spdy_header *h, size_t *n, struct err *err)
{
    if (b->len < 4)
        return fail(s, err, "a block of headers is cut off");
    size_t count = get_u32(b->data), at = 4, len;
    if (count > HEADERS_MAX)
        return fail(s, err, "too many headers");
    buf_reserve(b, 1);
    for (size_t i = 0; i < count; i++) {
        h[i].name = block_string(b, &at, &len);
        if (!h[i].name || !len)
            return fail(s, err, "a block of headers is cut off");
        for (char *c = (char *)h[i].name; c < h[i].name + len; c++)
            *c = (char)tolower((unsigned char)*c);
        h[i].value = block_string(b, &at, &len);
        if (!h[i].value)
            return fail(s, err, "a block of headers is cut off");
    }
    b->data[at] = 0;
    *n = count;
    return 0;
}

/* ---- what the peer sends ------------------------------------------------------------------------------------------------ */

static void peer_ended(struct spdy *s, uint32_t id)
{
    struct stream *st = find(s, id);
    if (!st || st->ended_there)
        return;
    st->ended_there = true;
    s->ops->on_end(s, s->state, id);
    st = find(s, id);
    if (st)
        drop_if_over(s, st);
}

static int on_syn_stream(struct spdy *s, unsigned flags, const char *p, size_t n, struct err *err)
{
    struct spdy_header h[HEADERS_MAX];
    size_t count = 0;
    BUF(block);
    if (n < 10)
        return fail(s, err, "SYN_STREAM is too short");
    uint32_t id = get_u32(p) & 0x7fffffff;
    /* Unpacked in any case: the next block refers to this one. */
    if (unpack(s, p + 10, n - 10, &block, err) < 0 || parse_block(s, &block, h, &count, err) < 0)
        return -1;
    if (s->client || !(id & 1) || id <= s->last_id)
        return fail(s, err, "the number of a new stream is wrong");
    s->last_id = id;
    if (s->n_streams >= s->max_streams) {
        send_reset(s, id, SPDY_REFUSED_STREAM);
        return 0;
    }
    add_stream(s, (struct stream){.id = id, .ended_here = flags & FLAG_UNIDIRECTIONAL});
    s->ops->on_open(s, s->state, id, h, count);
    if (flags & FLAG_FIN)
        peer_ended(s, id);
    return 0;
}

static int on_control(struct spdy *s, unsigned type, unsigned flags, const char *p, size_t n, struct err *err)
{
    struct stream *st;
    switch (type) {
    case SYN_STREAM:
        return on_syn_stream(s, flags, p, n, err);
    case SYN_REPLY:
    case HEADERS: {
        BUF(block);
        if (n < 4)
            return fail(s, err, "a frame of headers is too short");
        if (unpack(s, p + 4, n - 4, &block, err) < 0)
            return -1;
        if (flags & FLAG_FIN)
            peer_ended(s, get_u32(p) & 0x7fffffff);
        return 0;
    }
    case RST_STREAM:
        if (n < 8)
            return fail(s, err, "RST_STREAM is too short");
        st = find(s, get_u32(p) & 0x7fffffff);
        if (st) {
            uint32_t id = st->id;
            drop(s, st);
            s->ops->on_reset(s, s->state, id);
        }
        return 0;
    case PING:
        if (n < 4)
            return fail(s, err, "PING is too short");
        if ((get_u32(p) & 1) != s->client) { /* the peer's own; a client's are odd */
            control(s, PING, 0, 4);
            buf_add(&s->out, p, 4);
        }
        return 0;
    default: /* SETTINGS, GOAWAY, WINDOW_UPDATE and whatever may come */
        return 0;
    }
}

/* Bytes of a data frame as they come; how many were taken. */
static size_t on_data(struct spdy *s, const char *p, size_t n)
{
    size_t part = n < s->data_left ? n : s->data_left;
    struct stream *st = find(s, s->data_id);
    s->data_left -= (uint32_t)part;
    if (part && st && !st->ended_there)
        s->ops->on_data(s, s->state, s->data_id, p, part);
    if (!s->data_left) {
        s->in_data = false;
        if (s->data_fin)
            peer_ended(s, s->data_id);
    }
    return part;
}

/* A frame's head is complete. */
static int on_head(struct spdy *s, struct err *err)
{
    const unsigned char *h = (const unsigned char *)s->in.data;
    uint32_t len = get_u32(h + 4) & 0xffffff;
    if (!(h[0] & 0x80)) {
        s->in_data = true;
        s->data_id = get_u32(h);
        s->data_left = len;
        s->data_fin = h[4] & FLAG_FIN;
        buf_reset(&s->in);
        on_data(s, NULL, 0);
        return 0;
    }
    if ((get_u32(h) >> 16 & 0x7fff) != VERSION)
        return fail(s, err, "a frame of another version");
    return len > CONTROL_MAX ? fail(s, err, "a control frame is too large") : 0;
}

int spdy_feed(struct spdy *s, const char *p, size_t n, struct err *err)
{
    if (s->broken)
        return err_set(err, ERR_BAD_REQUEST, "SPDY: the connection is broken");
    while (n > 0) {
        if (s->in_data) {
            size_t took = on_data(s, p, n);
            p += took;
            n -= took;
            continue;
        }
        size_t whole = s->in.len < HEAD ? HEAD : HEAD + (get_u32(s->in.data + 4) & 0xffffff);
        size_t part = n < whole - s->in.len ? n : whole - s->in.len;
        buf_add(&s->in, p, part);
        p += part;
        n -= part;
        if (s->in.len < whole)
            return 0;
        if (whole == HEAD && on_head(s, err) < 0)
            return -1;
        if (s->in.len < HEAD || s->in.len < HEAD + (get_u32(s->in.data + 4) & 0xffffff))
            continue;
        const unsigned char *h = (const unsigned char *)s->in.data;
        if (on_control(s, get_u32(h) & 0xffff, h[4], s->in.data + HEAD, s->in.len - HEAD, err) < 0)
            return -1;
        buf_reset(&s->in);
    }
    return 0;
}
