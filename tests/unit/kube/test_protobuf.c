/* Protobuf bodies. They are made here by a small writer, so that each test shows what it sends. */
#include "unit.h"

#include "kube/wire/decode.h"
#include "kube/wire/protobuf.h"

static void varint(struct buf *b, uint64_t v)
{
    for (; v > 0x7f; v >>= 7)
        buf_addc(b, (char)(v | 0x80));
    buf_addc(b, (char)v);
}
static void put_int(struct buf *b, unsigned number, uint64_t v)
{
    varint(b, number << 3);
    varint(b, v);
}
static void put_bytes(struct buf *b, unsigned number, const char *p, size_t n)
{
    varint(b, number << 3 | 2);
    varint(b, n);
    buf_add(b, p, n);
}
static void put_str(struct buf *b, unsigned number, const char *s) { put_bytes(b, number, s, strlen(s)); }
static void put_msg(struct buf *b, unsigned number, const struct buf *msg) { put_bytes(b, number, buf_str(msg), msg->len); }
static void put_pair(struct buf *b, unsigned number, const char *k, const char *v)
{
    BUF(e);
    put_str(&e, 1, k);
    put_str(&e, 2, v);
    put_msg(b, number, &e);
}
static void envelope(struct buf *out, const char *api_version, const char *kind, const struct buf *raw)
{
    BUF(meta);
    put_str(&meta, 1, api_version);
    put_str(&meta, 2, kind);
    buf_add(out, "k8s", 4);
    put_msg(out, 1, &meta);
    put_msg(out, 2, raw);
    put_str(out, 3, "");
    put_str(out, 4, "");
}
/* What Go writes of a metadata with only a name: all scalars, and an empty creationTimestamp. */
static void object_meta(struct buf *b, const char *name)
{
    put_str(b, 1, name);
    put_str(b, 2, "");
    put_str(b, 3, "");
    put_str(b, 4, "");
    put_str(b, 5, "");
    put_str(b, 6, "");
    put_int(b, 7, 0);
    put_str(b, 8, "");
}

static struct json *decode(const char *kind, const struct buf *body, struct err *e)
{
    return decode_body(kind_by_short_name(kind), DECODE_PROTOBUF, FIELDS_STRICT, buf_str(body), body->len, NULL, e);
}

/* The protobuf and the JSON form of an object are stored as the same document. */
static void expect(const char *kind, const char *api_version, const char *name, const struct buf *raw, const char *json)
{
    ERR(e);
    BUF(body);
    envelope(&body, api_version, name, raw);
    JSON_REF(have) = decode(kind, &body, &e);
    assert_string_equal(err_text(&e), "");
    JSON_REF(want) = decode_body(kind_by_short_name(kind), DECODE_JSON, FIELDS_STRICT, json, strlen(json), NULL, &e);
    assert_string_equal(err_text(&e), "");
    AUTOFREE char *a = jv_text(json_root(have), JW_SORTED), *b = jv_text(json_root(want), JW_SORTED);
    assert_string_equal(a, b);
}

static void test_config_map(void **state)
{
    (void)state;
    BUF(meta);
    BUF(raw);
    object_meta(&meta, "a");
    put_msg(&raw, 1, &meta);
    put_pair(&raw, 2, "k", "1");
    put_pair(&raw, 2, "k", "2"); /* the last one counts */
    put_pair(&raw, 2, "e", "");
    put_pair(&raw, 3, "b", "\x01\xff");
    put_int(&raw, 4, 0);  /* immutable: a pointer, so false is kept */
    put_int(&raw, 99, 7); /* unknown */
    expect(
        "cm", "v1", "ConfigMap", &raw,
        "{\"metadata\":{\"name\":\"a\"},\"data\":{\"k\":\"2\",\"e\":\"\"},\"binaryData\":{\"b\":\"Af8=\"},\"immutable\":false}");
}

/* Embedded messages, quantities, int-or-string, packed and unpacked numbers, durations of time. */
static void test_pod(void **state)
{
    (void)state;
    BUF(meta);
    BUF(when);
    object_meta(&meta, "p");
    put_int(&when, 1, 86400);
    put_int(&when, 2, 5);
    put_msg(&meta, 9, &when);
    put_pair(&meta, 11, "l", "v");

    BUF(port);
    BUF(get);
    BUF(handler);
    BUF(probe);
    put_int(&port, 1, 1);
    put_int(&port, 2, 0);
    put_str(&port, 3, "web");
    put_msg(&get, 2, &port);
    put_msg(&handler, 2, &get);
    put_msg(&probe, 1, &handler); /* Probe.handler is embedded */
    put_int(&probe, 3, 0);

    BUF(q);
    BUF(entry);
    BUF(res);
    put_str(&q, 1, "1000m");
    put_str(&entry, 1, "cpu");
    put_msg(&entry, 2, &q);
    put_msg(&res, 1, &entry);

    BUF(c);
    put_str(&c, 1, "c");
    put_str(&c, 2, "img:1");
    put_str(&c, 3, "sh");
    put_str(&c, 3, "-c");
    put_msg(&c, 8, &res);
    put_msg(&c, 10, &probe);
    put_int(&c, 16, 0);

    BUF(source);
    BUF(secret);
    BUF(volume);
    put_str(&secret, 1, "s");
    put_int(&secret, 3, 0644);
    put_msg(&source, 6, &secret);
    put_str(&volume, 1, "v");
    put_msg(&volume, 2, &source);

    BUF(sc);
    put_int(&sc, 2, 0); /* runAsUser: pointer */
    put_bytes(&sc, 4, "\x07\x08", 2);
    put_int(&sc, 4, 9);

    BUF(spec);
    put_msg(&spec, 1, &volume);
    put_msg(&spec, 2, &c);
    put_int(&spec, 4, (uint64_t)-1);
    put_int(&spec, 11, 0);
    put_msg(&spec, 14, &sc);
    put_int(&spec, 25, (uint64_t)-5);

    BUF(raw);
    put_msg(&raw, 1, &meta);
    put_msg(&raw, 2, &spec);
    expect("po", "v1", "Pod", &raw,
           "{\"metadata\":{\"name\":\"p\",\"deletionTimestamp\":\"1970-01-02T00:00:00Z\",\"labels\":{\"l\":\"v\"}},\"spec\":{"
           "\"volumes\":[{\"name\":\"v\",\"secret\":{\"secretName\":\"s\",\"defaultMode\":420}}],\"containers\":[{\"name\":\"c\","
           "\"image\":\"img:1\",\"command\":[\"sh\",\"-c\"],\"resources\":{\"limits\":{\"cpu\":\"1\"}},\"livenessProbe\":{"
           "\"httpGet\":"
           "{\"port\":\"web\"}}}],\"terminationGracePeriodSeconds\":-1,\"securityContext\":{\"runAsUser\":0,"
           "\"supplementalGroups\":[7,8,9]},"
           "\"priority\":-5}}");
}

/* A singular message that comes in two parts is merged. */
static void test_merged_message(void **state)
{
    (void)state;
    BUF(a);
    BUF(b);
    BUF(raw);
    put_str(&a, 1, "n");
    put_pair(&b, 11, "l", "v");
    put_msg(&raw, 1, &a);
    put_msg(&raw, 1, &b);
    expect("cm", "v1", "ConfigMap", &raw, "{\"metadata\":{\"name\":\"n\",\"labels\":{\"l\":\"v\"}}}");
}

static void test_maps_of_lists_and_raw(void **state)
{
    (void)state;
    BUF(list);
    BUF(entry);
    BUF(user);
    BUF(status);
    BUF(raw);
    put_str(&list, 1, "x");
    put_str(&list, 1, "y");
    put_str(&entry, 1, "k");
    put_msg(&entry, 2, &list);
    put_msg(&user, 4, &entry);
    put_msg(&status, 2, &user);
    put_msg(&raw, 3, &status);
    expect("tokenreview", "authentication.k8s.io/v1", "TokenReview", &raw,
           "{\"status\":{\"user\":{\"extra\":{\"k\":[\"x\",\"y\"]}}}}");
    BUF(json);
    BUF(rev);
    put_str(&json, 1, "{\"a\":[1.50]}");
    put_msg(&rev, 2, &json);
    put_int(&rev, 3, 4);
    expect("controllerrevision", "apps/v1", "ControllerRevision", &rev, "{\"data\":{\"a\":[1.50]},\"revision\":4}");
}

#define BYTES(s) s, sizeof(s) - 1

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
    } t[] = {
        {BYTES("")},
        {BYTES("k8s")},
        {BYTES("k8s\0")},
        {BYTES("json{}")},
        {BYTES("k8s\0\xff\xff\xff")}, /* cut tag */
        {BYTES("k8s\0\x0a\x0f\x0a\x02v1\x12\x09"
               "ConfigMap\x12\x0d\x0a\x03\x0a\x01")}, /* cut message */
        {BYTES("k8s\0\x0a\x0f\x0a\x02v1\x12\x09"
               "ConfigMap\x12\x02\x0a\x05")}, /* length beyond the message */
        {BYTES("k8s\0\x0a\x0f\x0a\x02v1\x12\x09"
               "ConfigMap\x12\x02\x08\x05")}, /* metadata as a number */
        {BYTES("k8s\0\x0a\x0f\x0a\x02v1\x12\x09"
               "ConfigMap\x12\x02\x0b\x0c")}, /* a group */
        {BYTES("k8s\0\x0a\x0f\x0a\x02v1\x12\x09"
               "ConfigMap\x12\x05\x0a\x03\x0a\x01\xff")}, /* no UTF-8 */
        {BYTES("k8s\0\x0a\x0f\x0a\x02v1\x12\x09"
               "ConfigMap\x12\x02\x00\x00")},                     /* field 0 */
        {BYTES("k8s\0\x0a\x0a\x0a\x02v1\x12\x04Nope\x12\x00")},   /* unknown kind */
        {BYTES("k8s\0\x0a\x0c\x0a\x02v1\x12\x06Secret\x12\x00")}, /* another kind */
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        ERR(e);
        BUF(body);
        buf_add(&body, t[i].bytes, t[i].n);
        JSON_REF(d) = decode("cm", &body, &e);
        assert_null(d);
        assert_int_equal(err_http_status(&e), 400);
    }
}

/* Types that hold themselves do not use up the stack. */
static void test_nesting(void **state)
{
    (void)state;
    BUF(inner);
    put_str(&inner, 1, "x");
    for (int i = 0; i < 5000; i++) { /* JSONSchemaProps.not */
        BUF(outer);
        put_msg(&outer, 28, &inner);
        buf_reset(&inner);
        buf_add(&inner, outer.data, outer.len);
    }
    ERR(e);
    const struct ktype *t = ktype_find("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps");
    JSON_REF(d) = protobuf_decode_message(t, buf_str(&inner), inner.len, &e);
    assert_null(d);
    assert_string_equal(err_text(&e), "proto: messages are nested too deeply");
}

TEST_GROUP(protobuf, cmocka_unit_test(test_config_map), cmocka_unit_test(test_pod), cmocka_unit_test(test_merged_message),
           cmocka_unit_test(test_maps_of_lists_and_raw), cmocka_unit_test(test_refused), cmocka_unit_test(test_nesting))
