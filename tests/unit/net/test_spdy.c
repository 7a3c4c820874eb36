/* SPDY frames as a client makes them, with a compressor of its own; the dictionary is known by its checksum. */
#include <string.h>
#include <zlib.h>

#include "net/upgrade/spdy.h"
#include "unit.h"

struct seen {
    struct buf log, data;
    bool accept;
};

static void on_open(struct spdy *s, void *state, uint32_t id, const struct spdy_header *h, size_t n)
{
    struct seen *w = state;
    buf_addf(&w->log, "open %u", id);
    for (size_t i = 0; i < n; i++)
        buf_addf(&w->log, " %s=%s", h[i].name, h[i].value);
    buf_addc(&w->log, '\n');
    if (w->accept)
        spdy_accept(s, id);
}

static void on_data(struct spdy *s, void *state, uint32_t id, const char *p, size_t n)
{
    struct seen *w = state;
    (void)s;
    (void)id;
    buf_add(&w->data, p, n);
}

static void on_end(struct spdy *s, void *state, uint32_t id)
{
    (void)s;
    buf_addf(&((struct seen *)state)->log, "end %u\n", id);
}

static void on_reset(struct spdy *s, void *state, uint32_t id)
{
    (void)s;
    buf_addf(&((struct seen *)state)->log, "reset %u\n", id);
}

static const struct spdy_ops ops = {on_open, on_data, on_end, on_reset};

static void u32(struct buf *b, uint32_t v)
{
    char c[4] = {(char)(v >> 24), (char)(v >> 16), (char)(v >> 8), (char)v};
    buf_add(b, c, 4);
}

/* The client's compressor: takes the dictionary from a server's packed answer would be cheating, so it is spelled once more by
 * its checksum only: a block without dictionary is as valid. */
struct client {
    z_stream z;
    struct buf out;
};

static void client_open(struct client *c)
{
    *c = (struct client){0};
    assert_int_equal(deflateInit(&c->z, 6), Z_OK);
}

static void client_close(struct client *c)
{
    deflateEnd(&c->z);
    buf_free(&c->out);
}

static void syn(struct client *c, uint32_t id, unsigned flags, const char *const *pairs)
{
    BUF(block);
    BUF(packed);
    uint32_t n = 0;
    while (pairs[n * 2])
        n++;
    u32(&block, n);
    for (uint32_t i = 0; i < n * 2; i++) {
        u32(&block, (uint32_t)strlen(pairs[i]));
        buf_adds(&block, pairs[i]);
    }
    buf_reserve(&packed, 4096);
    c->z.next_in = (Bytef *)block.data;
    c->z.avail_in = (uInt)block.len;
    c->z.next_out = (Bytef *)packed.data;
    c->z.avail_out = 4096;
    assert_int_equal(deflate(&c->z, Z_SYNC_FLUSH), Z_OK);
    packed.len = 4096 - c->z.avail_out;
    u32(&c->out, 0x80030001);
    u32(&c->out, flags << 24 | (uint32_t)(10 + packed.len));
    u32(&c->out, id);
    u32(&c->out, 0);
    buf_add(&c->out, "\0\0", 2);
    buf_add(&c->out, packed.data, packed.len);
}

static void data(struct client *c, uint32_t id, unsigned flags, const char *p, size_t n)
{
    u32(&c->out, id);
    u32(&c->out, flags << 24 | (uint32_t)n);
    buf_add(&c->out, p, n);
}

/* The whole talk, in pieces of any size. */
static void talk(void **state)
{
    static const char *const error[] = {"StreamType", "error", "port", "80", "requestid", "0", NULL};
    static const char *const bytes[] = {"streamtype", "data", "port", "80", "requestid", "0", NULL};
    (void)state;
    for (size_t piece = 1; piece < 80; piece += piece < 10 ? 1 : 13) {
        struct seen w = {.accept = true};
        struct client c;
        ERR(e);
        client_open(&c);
        struct spdy *s = spdy_new(10, &ops, &w);
        syn(&c, 1, 1, error);
        syn(&c, 3, 0, bytes);
        data(&c, 3, 0, "hello ", 6);
        u32(&c.out, 0x80030009); /* WINDOW_UPDATE is read over */
        u32(&c.out, 8);
        u32(&c.out, 3);
        u32(&c.out, 1000);
        data(&c, 3, 1, "world", 5);
        u32(&c.out, 0x80030006);
        u32(&c.out, 4);
        u32(&c.out, 7);
        for (size_t at = 0; at < c.out.len; at += piece)
            assert_int_equal(spdy_feed(s, c.out.data + at, c.out.len - at < piece ? c.out.len - at : piece, &e), 0);
        assert_string_equal(buf_str(&w.log), "open 1 streamtype=error port=80 requestid=0\nend 1\n"
                                             "open 3 streamtype=data port=80 requestid=0\nend 3\n");
        assert_string_equal(buf_str(&w.data), "hello world");
        struct buf *out = spdy_out(s);
        /* SYN_REPLY 1, SYN_REPLY 3, the ping. */
        assert_memory_equal(out->data, "\x80\3\0\2", 4);
        assert_memory_equal(out->data + out->len - 12, "\x80\3\0\6\0\0\0\4\0\0\0\7", 12);
        /* The first block of ours names the dictionary of the protocol. */
        assert_memory_equal(out->data + 14, "\xe3\xc6\xa7\xc2", 4);
        buf_reset(out);
        spdy_data(s, 3, "abc", 3);
        spdy_end(s, 3);
        spdy_data(s, 3, "late", 4);
        assert_int_equal(out->len, 8 + 3 + 8);
        assert_memory_equal(out->data, "\0\0\0\3\0\0\0\3abc\0\0\0\3\1\0\0\0", 19);
        spdy_free(s);
        client_close(&c);
        buf_free(&w.log);
        buf_free(&w.data);
    }
}

static void refuses(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
    } bad[] = {
        {"\x80\2\0\1\0\0\0\0", 8},                         /* version 2 */
        {"\x80\3\0\1\1\xff\xff\xff", 8},                   /* 16 MiB of control data */
        {"\x80\3\0\1\0\0\0\4\0\0\0\1", 12},                /* SYN_STREAM that is cut off */
        {"\x80\3\0\1\0\0\0\14\0\0\0\1\0\0\0\0\0\0xy", 20}, /* no zlib */
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct seen w = {0};
        ERR(e);
        struct spdy *s = spdy_new(10, &ops, &w);
        assert_int_equal(spdy_feed(s, bad[i].bytes, bad[i].n, &e), -1);
        assert_int_equal(e.code, ERR_BAD_REQUEST);
        assert_memory_equal(spdy_out(s)->data, "\x80\3\0\7", 4);
        assert_int_equal(spdy_feed(s, "x", 1, &e), -1);
        assert_int_equal(w.log.len, 0);
        spdy_free(s);
    }
}

static void bounds(void **state)
{
    static const char *const pairs[] = {"a", "b", NULL};
    struct seen w = {.accept = true};
    struct client c;
    ERR(e);
    (void)state;
    client_open(&c);
    struct spdy *s = spdy_new(2, &ops, &w);
    for (uint32_t id = 1; id < 7; id += 2)
        syn(&c, id, 0, pairs);
    assert_int_equal(spdy_feed(s, c.out.data, c.out.len, &e), 0);
    assert_string_equal(buf_str(&w.log), "open 1 a=b\nopen 3 a=b\n");
    assert_memory_equal(spdy_out(s)->data + spdy_out(s)->len - 16, "\x80\3\0\3\0\0\0\10\0\0\0\5\0\0\0\3", 16);
    /* One that is reset makes room; a number that was used is a fault. */
    buf_reset(&c.out);
    u32(&c.out, 0x80030003);
    u32(&c.out, 8);
    u32(&c.out, 1);
    u32(&c.out, 5);
    syn(&c, 7, 0, pairs);
    assert_int_equal(spdy_feed(s, c.out.data, c.out.len, &e), 0);
    assert_non_null(strstr(w.log.data, "reset 1\nopen 7 a=b\n"));
    buf_reset(&c.out);
    syn(&c, 7, 0, pairs);
    assert_int_equal(spdy_feed(s, c.out.data, c.out.len, &e), -1);
    spdy_free(s);
    client_close(&c);
    buf_free(&w.log);
    buf_free(&w.data);
}

/* What one of them has for the other. */
static void carry(struct spdy *from, struct spdy *to)
{
    ERR(e);
    if (spdy_feed(to, spdy_out(from)->data, spdy_out(from)->len, &e) < 0)
        fail_msg("%s", err_text(&e));
    buf_reset(spdy_out(from));
}

/* A client of ours and a server of ours: streams both ways, half by half. */
static void client_talks(void **state)
{
    const struct spdy_header h[] = {{"streamtype", "data"}, {"port", "80"}};
    struct seen ours = {0}, theirs = {.accept = true};
    ERR(e);
    (void)state;
    struct spdy *c = spdy_new(2, &ops, &ours), *s = spdy_new(9, &ops, &theirs);
    assert_int_equal(spdy_open(c, h, 2), 1);
    assert_int_equal(spdy_open(c, h, 1), 3);
    assert_int_equal(spdy_open(c, h, 2), 0); /* as many as may be */
    spdy_data(c, 3, "question", 8);
    spdy_end(c, 3);
    spdy_data(c, 3, "late", 4);
    carry(c, s);
    assert_string_equal(buf_str(&theirs.log), "open 1 streamtype=data port=80\nopen 3 streamtype=data\nend 3\n");
    assert_string_equal(buf_str(&theirs.data), "question");
    carry(s, c); /* SYN_REPLYs say nothing */
    assert_int_equal(ours.log.len, 0);
    spdy_data(s, 3, "answer", 6);
    spdy_end(s, 3);
    spdy_reset(s, 1, SPDY_CANCEL);
    carry(s, c);
    assert_string_equal(buf_str(&ours.log), "end 3\nreset 1\n");
    assert_string_equal(buf_str(&ours.data), "answer");
    assert_int_equal(spdy_open(c, h, 1), 5); /* there is room again */
    carry(c, s);
    assert_non_null(strstr(theirs.log.data, "open 5 streamtype=data\n"));
    buf_reset(spdy_out(s));
    /* A server's pings are even, and answered; it opens nothing. */
    assert_int_equal(spdy_feed(c, "\x80\3\0\6\0\0\0\4\0\0\0\2\x80\3\0\6\0\0\0\4\0\0\0\1", 24, &e), 0);
    assert_int_equal(spdy_out(c)->len, 12);
    assert_memory_equal(spdy_out(c)->data + 8, "\0\0\0\2", 4);
    struct client k;
    client_open(&k);
    static const char *const none[] = {NULL};
    syn(&k, 7, 0, none);
    assert_int_equal(spdy_feed(c, k.out.data, k.out.len, &e), -1);
    client_close(&k);
    spdy_free(c);
    spdy_free(s);
    struct seen *all[] = {&ours, &theirs};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        buf_free(&all[i]->log);
        buf_free(&all[i]->data);
    }
}

TEST_GROUP(spdy, cmocka_unit_test(talk), cmocka_unit_test(client_talks), cmocka_unit_test(refuses), cmocka_unit_test(bounds))
