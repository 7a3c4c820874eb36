/* test_stores.c - object stores that hang, lie, refuse and break off; signatures, XML, settings, keys from files. */
#include "data_test.h"

#include <sys/stat.h>
#include <unistd.h>

#include "data/blob.h"
#include "data/blob_aws.h"
#include "data/blob_crypto.h"
#include "data/blob_sigv4.h"
#include "data/blob_xml.h"
#include "fake_store.h"

/* ---- signatures ----------------------------------------------------------------------------------------------- */

/* Amazon's published examples for S3 (key AKIAIOSFODNN7EXAMPLE, 24 May 2013, us-east-1). */
static void test_signatures(void **state)
{
    static const struct sig_key key = {.access = "AKIAIOSFODNN7EXAMPLE",
                                       .secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                                       .region = "us-east-1",
                                       .service = "s3"};
    static const char empty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", time[] = "20130524T000000Z";
    const struct sig_pair get[] = {{"range", "bytes=0-9"}, {"x-amz-content-sha256", empty}, {"x-amz-date", time}};
    const struct sig_pair plain[] = {{"x-amz-content-sha256", empty}, {"x-amz-date", time}};
    const struct sig_pair lifecycle[] = {{"lifecycle", ""}}, list[] = {{"prefix", "J"}, {"max-keys", "2"}};
    const struct {
        struct sig_request r;
        const char *signature;
    } cases[] = {
        {{"GET", "examplebucket.s3.amazonaws.com", "/test.txt", NULL, 0, get, 3, empty},
         "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
        {{"GET", "examplebucket.s3.amazonaws.com", "/", lifecycle, 1, plain, 2, empty},
         "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
        {{"GET", "examplebucket.s3.amazonaws.com", "/", list, 2, plain, 2, empty},
         "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *auth = sig_authorization(&cases[i].r, &key, time);
        assert_non_null(strstr(auth, cases[i].signature));
    }
    const struct sig_request url = {
        .method = "GET", .host = "examplebucket.s3.amazonaws.com", .path = "/test.txt", .payload = "UNSIGNED-PAYLOAD"};
    AUTOFREE char *query = sig_presign(&url, &key, time, 86400, NULL);
    assert_non_null(strstr(query, "X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"));
    char text[17];
    sig_time(1369353600LL * NS_PER_S, text);
    assert_string_equal(text, time);
    AUTOFREE char *path = sig_encode("a b/\xc3\xa4+~", true);
    assert_string_equal(path, "a%20b/%C3%A4%2B~");
}

/* ---- XML ------------------------------------------------------------------------------------------------------ */

static void test_xml(void **state)
{
    static const char list[] =
        "<?xml version=\"1.0\"?><ListBucketResult "
        "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><IsTruncated>true</IsTruncated>"
        "<NextContinuationToken>t1</NextContinuationToken><Contents><Key>a&amp;b</Key><Size>3</Size><Owner><ID>x</ID></Owner></"
        "Contents>"
        "<Contents><Key>c</Key><Size>0</Size></Contents><CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></ListBucketResult>";
    S3_ANSWER(a);
    ERR(e);
    assert_int_equal(s3_answer_parse(list, sizeof list - 1, &a, &e), 0);
    assert_int_equal(a.page.n, 2);
    assert_string_equal(a.page.v[0].key, "a&b");
    assert_int_equal(a.page.v[0].size, 3);
    assert_true(a.truncated);
    assert_string_equal(a.page.next, "t1");
    static const char error[] = "<s:Error xmlns:s=\"x\"><s:Code>SlowDown</s:Code><s:Message>wait</s:Message></s:Error>";
    S3_ANSWER(b);
    assert_int_equal(s3_answer_parse(error, sizeof error - 1, &b, &e), 0);
    assert_string_equal(b.code, "SlowDown");
    BUF(deep);
    for (int i = 0; i < 40; i++)
        buf_adds(&deep, "<a>");
    static const char *const bad[] = {"", "not xml", "<a>", "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
                                      "<ListBucketResult><Contents><Key>k</Key><Size>-1</Size></Contents></ListBucketResult>"};
    S3_ANSWER(c);
    assert_int_equal(s3_answer_parse(deep.data, deep.len, &c, &e), -1);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        ERR(x);
        assert_int_equal(s3_answer_parse(bad[i], strlen(bad[i]), &c, &x), -1);
        assert_int_equal(x.code, ERR_IO);
    }
}

/* ---- settings ------------------------------------------------------------------------------------------------- */

static void test_settings(void **state)
{
    struct blob_settings s = {0}, back;
    ERR(e);
    assert_int_equal(
        blob_settings_query(&s, "region=eu-west-1&endpoint=localhost%3A9000&disableSSL=true&s3ForcePathStyle=true&awssdk=v2", &e),
        0);
    assert_string_equal(s.region, "eu-west-1");
    assert_string_equal(s.endpoint, "localhost:9000");
    assert_true(s.no_tls);
    assert_false(s.virtual_host);
    assert_int_equal(blob_settings_query(&s, "s3ForcePathStyle=false", &e), 0);
    assert_true(s.virtual_host);
    assert_int_equal(blob_settings_query(&s, "", &e), 0);
    static const char *const bad[] = {"disableSSL=perhaps", "colour=red", "region=%zz"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(blob_settings_query(&s, bad[i], &e), -1);
        assert_int_equal(e.code, ERR_INVALID);
    }
    s.max_retries = 7;
    s.provider = xstrdup("minio");
    s.from_env = true;
    JM_NEW(m);
    jm_set_root(m, blob_settings_json(m, &s));
    JSON_REF(d) = jm_freeze(m);
    assert_int_equal(blob_settings_from_json(json_root(d), &back, &e), 0);
    assert_string_equal(back.provider, "minio");
    assert_string_equal(back.region, "eu-west-1");
    assert_int_equal(back.max_retries, 7);
    assert_true(back.from_env && back.no_tls && back.virtual_host);
    blob_settings_clear(&s);
    blob_settings_clear(&back);
    static const struct {
        struct blob_settings s;
        enum err_code code;
    } refused[] = {
        {{.provider = (char *)"ftp"}, ERR_INVALID},
        {{.provider = (char *)"s3"}, ERR_UNAUTHENTICATED},
        {{.provider = (char *)"s3", .access_key = (char *)"a"}, ERR_UNAUTHENTICATED},
        {{.provider = (char *)"s3", .anonymous = true, .endpoint = (char *)"http://h/path"}, ERR_INVALID},
        {{.provider = (char *)"gs"}, ERR_UNAUTHENTICATED},
        {{.provider = (char *)"gs", .token = (char *)"{}"}, ERR_INVALID},
        {{.provider = (char *)"gs", .token = (char *)"no json"}, ERR_BAD_REQUEST},
    };
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        ERR(x);
        assert_null(blob_store_open(&refused[i].s, &x));
        if (x.code != refused[i].code)
            fail_msg("%zu: %s", i, err_text(&x));
    }
}

static void test_uri_query(void **state)
{
    char *s, *b, *k;
    assert_int_equal(blob_uri_split("s3://b/a/c?region=x&endpoint=h/i", &s, &b, &k, NULL), 0);
    assert_string_equal(b, "b");
    assert_string_equal(k, "a/c");
    free(s), free(b), free(k);
    assert_int_equal(blob_uri_split("s3://b?region=x", &s, &b, &k, NULL), 0);
    assert_string_equal(b, "b");
    assert_string_equal(k, "");
    free(s), free(b), free(k);
    assert_string_equal(blob_uri_query("s3://b/a?region=x"), "region=x");
    assert_string_equal(blob_uri_query("s3://b/a"), "");
}

static void test_ini(void **state)
{
    static const char text[] = "# c\n[default]\naws_access_key_id = A\naws_secret_access_key=B=\n[ two ]\naws_access_key_id=C\n"
                               "aws_secret_access_key = D\naws_session_token = T\n";
    struct aws_keys k;
    assert_true(aws_keys_from_ini(text, "default", &k));
    assert_string_equal(k.access, "A");
    assert_string_equal(k.secret, "B=");
    assert_null(k.token);
    aws_keys_clear(&k);
    assert_true(aws_keys_from_ini(text, "two", &k));
    assert_string_equal(k.token, "T");
    aws_keys_clear(&k);
    assert_false(aws_keys_from_ini(text, "three", &k));
}

/* ---- stores that misbehave ------------------------------------------------------------------------------------ */

#define S3(f, ...)                                                                                                               \
    AUTOFREE char *endpoint__ = xasprintf("http://127.0.0.1:%d", (f)->port);                                                     \
    struct blob_settings set__ = {__VA_ARGS__};                                                                                  \
    set__.provider = (char *)"s3";                                                                                               \
    set__.endpoint = endpoint__;                                                                                                 \
    set__.access_key = set__.secret_key = (char *)"a";                                                                           \
    if (!set__.timeout_ns)                                                                                                       \
        set__.timeout_ns = 60 * NS_PER_S;                                                                                        \
    struct blob_store *s = blob_store_open(&set__, NULL);                                                                        \
    assert_non_null(s)

#define SILENCE_NS (1500 * NS_PER_MS) /* what a store is left after; one that answers must be quicker */

static struct ctx soon(int64_t ms)
{
    struct ctx bg = ctx_background();
    return ctx_with_timeout(&bg, ms * NS_PER_MS);
}

#define OK(n)            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " #n "\r\n"
#define REFUSED(s, code) "HTTP/1.1 " s "\r\nConnection: close\r\n\r\n<Error><Code>" code "</Code><Message>no</Message></Error>"
#define XML(text)        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" text

static void test_reads(void **state)
{
    static const struct {
        const char *name;
        struct fake_answer a[4];
        const char *bytes; /* NULL: fails with */
        enum err_code code;
        const char *part;
    } cases[] = {
        {"whole", {{OK(5) "\r\nhello", .expect = "Authorization: AWS4-HMAC-SHA256 Credential=a/"}}, "hello", 0, NULL},
        {"its etag is the MD5", {{OK(5) "ETag: \"5d41402abc4b2a76b9719d911017c592\"\r\n\r\nhello"}}, "hello", 0, NULL},
        {"another etag", {{OK(5) "ETag: \"5d41402abc4b2a76b9719d911017c593\"\r\n\r\nhello"}}, NULL, ERR_IO, "checksum"},
        {"an etag of parts says nothing",
         {{OK(5) "ETag: \"5d41402abc4b2a76b9719d911017c593-2\"\r\n\r\nhello"}},
         "hello",
         0,
         NULL},
        {"slow down, then well", {{REFUSED("503 Slow Down", "SlowDown")}, {OK(5) "\r\nhello"}}, "hello", 0, NULL},
        {"retry after",
         {{"HTTP/1.1 429 X\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"}, {OK(5) "\r\nhello"}},
         "hello",
         0,
         NULL},
        {"cut body",
         {{OK(5) "ETag: \"x\"\r\n\r\nhe"},
          {"HTTP/1.1 206 P\r\nContent-Range: bytes 2-4/5\r\nETag: \"x\"\r\nContent-Length: 3\r\n\r\nllo",
           .expect = "range: bytes=2-"}},
         "hello",
         0,
         NULL},
        {"cut, and the range is ignored", {{OK(5) "\r\nhe"}, {OK(5) "\r\nhello", .expect = "range: bytes=2-"}}, "hello", 0, NULL},
        {"cut, and replaced",
         {{OK(5) "ETag: \"x\"\r\n\r\nhe"}, {"HTTP/1.1 412 No\r\nContent-Length: 0\r\n\r\n", .expect = "if-match: \"x\""}},
         NULL,
         ERR_CONFLICT,
         "replaced"},
        {"cut, then another length",
         {{OK(5) "\r\nhe"}, {"HTTP/1.1 206 P\r\nContent-Range: bytes 2-6/7\r\nContent-Length: 5\r\n\r\nllo!!"}},
         NULL,
         ERR_CONFLICT,
         "replaced"},
        {"another part",
         {{OK(5) "\r\nhe"}, {"HTTP/1.1 206 P\r\nContent-Range: bytes 0-2/5\r\nContent-Length: 3\r\n\r\nhel"}},
         NULL,
         ERR_IO,
         "begins at 0, not 2"},
        {"a part that ends nowhere",
         {{OK(5) "\r\nhe"}, {"HTTP/1.1 206 P\r\nContent-Range: bytes 2-9223372036854775807/5\r\n\r\nllo"}},
         NULL,
         ERR_IO,
         "no part"},
        {"a part that ends before it begins",
         {{OK(5) "\r\nhe"}, {"HTTP/1.1 206 P\r\nContent-Range: bytes 2-1/5\r\n\r\nllo"}},
         NULL,
         ERR_IO,
         "no part"},
        {"a part of nothing", {{"HTTP/1.1 206 P\r\nContent-Length: 3\r\n\r\nhel"}}, NULL, ERR_IO, "Content-Range"},
        {"refused", {{REFUSED("403 Forbidden", "AccessDen")}}, NULL, ERR_FORBIDDEN, "AccessDen: no"},
        {"not there", {{REFUSED("404 Not Found", "NoSuchKey")}}, NULL, ERR_NOT_FOUND, "NoSuchKey"},
        {"elsewhere",
         {{"HTTP/1.1 301 M\r\nx-amz-bucket-region: eu-west-1\r\nContent-Length: 0\r\n\r\n"}},
         NULL,
         ERR_IO,
         "in region eu-west-1"},
        {"no HTTP", {{"SSH-2.0-x\r\n"}, {OK(5) "\r\nhello"}}, "hello", 0, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t n = 0;
        while (n < ARRAY_LEN(cases[i].a) && cases[i].a[n].text)
            n++;
        struct fake_store f;
        fake_start(&f, cases[i].a, n);
        S3(&f, 0);
        struct ctx ctx = soon(120000);
        ERR(e);
        BUF(b);
        int rc = blob_read(s, &ctx, "b", "k", 0, -1, 100, &b, &e);
        if (cases[i].bytes ? rc < 0 || strcmp(buf_str(&b), cases[i].bytes) != 0
                           : rc == 0 || e.code != cases[i].code || !strstr(err_text(&e), cases[i].part))
            fail_msg("%s: %d \"%s\": %s", cases[i].name, rc, buf_str(&b), err_text(&e));
        blob_store_free(s);
        if (fake_stop(&f) != n)
            fail_msg("%s: not all answers were asked for", cases[i].name);
    }
}

/* A store that is silent is left after timeout_ns, tried again, and given up; the caller's own deadline is sooner than that. */
static void test_silent(void **state)
{
    static const struct fake_answer hangs[] = {{NULL}, {NULL}, {OK(5) "\r\nhello"}};
    struct fake_store f;
    fake_start(&f, hangs, 3);
    {
        S3(&f, .timeout_ns = SILENCE_NS);
        struct ctx ctx = soon(120000);
        BUF(b);
        assert_int_equal(blob_read(s, &ctx, "b", "k", 0, -1, 100, &b, NULL), 0);
        blob_store_free(s);
    }
    assert_int_equal(fake_stop(&f), 3);
    static const struct fake_answer ever[] = {{NULL}, {NULL}};
    fake_start(&f, ever, 2);
    {
        S3(&f, .max_retries = 1, .timeout_ns = SILENCE_NS);
        struct ctx ctx = soon(120000);
        ERR(e);
        struct blob_page p;
        assert_int_equal(blob_list(s, &ctx, "b", "", NULL, 0, &p, &e), -1);
        assert_int_equal(e.code, ERR_TIMEOUT);
        blob_store_free(s);
    }
    assert_int_equal(fake_stop(&f), 2);
    fake_start(&f, ever, 1);
    {
        S3(&f, .timeout_ns = 60 * NS_PER_S);
        struct ctx ctx = soon(200);
        ERR(e);
        assert_int_equal(blob_write(s, &ctx, "b", "k", "x", 1, &e), -1);
        assert_int_equal(e.code, ERR_TIMEOUT);
        blob_store_free(s);
    }
    fake_stop(&f);
}

static void test_gives_up(void **state)
{
    static const struct fake_answer busy[] = {{REFUSED("503 Slow Down", "SlowDown!")}, {REFUSED("503 Slow Down", "SlowDown!")}};
    struct fake_store f;
    fake_start(&f, busy, 2);
    S3(&f, .max_retries = 1);
    struct ctx ctx = soon(120000);
    ERR(e);
    assert_int_equal(blob_write(s, &ctx, "b", "k", "x", 1, &e), -1);
    assert_int_equal(e.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(err_text(&e), "503 SlowDown!"));
    blob_store_free(s);
    assert_int_equal(fake_stop(&f), 2);
}

static void test_writes(void **state)
{
    static const char id[] = XML("<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>");
    static const char part[] = OK(0) "ETag: \"p\"\r\n\r\n";
    static const char done[] = XML("<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUp>");
    static const char complete[] = XML("<CompleteMultipartUploadResult><ETag>\"p-2\"</ETag></CompleteMultipartUploadResult> ");
    static const char late[] = XML("<Error><Code>Internal</Code><Message>x</Message></Error>");
    static const struct {
        const char *name;
        size_t bytes;
        struct fake_answer a[6];
        enum err_code code;
        const char *part;
    } cases[] = {
        {"small",
         3,
         {{OK(0) "ETag: \"900150983cd24fb0d6963f7d28e17f72\"\r\n\r\n", .expect = "content-md5: kAFQmDzST7DWlj99KOF/cg=="}},
         0,
         NULL},
        {"stored wrong", 3, {{OK(0) "ETag: \"900150983cd24fb0d6963f7d28e17f73\"\r\n\r\n"}}, ERR_IO, "other bytes"},
        {"parts",
         12,
         {{id, .expect = "POST /b/k?uploads="},
          {part, .expect = "PUT /b/k?partNumber=1&uploadId=u1"},
          {part, .expect = "partNumber=2"},
          {complete, .expect = "POST /b/k?uploadId=u1"}},
         0,
         NULL},
        {"no name", 12, {{OK(0) "\r\n"}}, ERR_IO, "XML"},
        {"refused part",
         12,
         {{id}, {REFUSED("403 Forbidden", "AccessDen")}, {OK(0) "\r\n", .expect = "DELETE /b/k?uploadId=u1"}},
         ERR_FORBIDDEN,
         "part 1"},
        {"refused after the head",
         12,
         {{id}, {part}, {part}, {late}, {OK(0) "\r\n", .expect = "DELETE"}},
         ERR_UNAVAILABLE,
         "Internal"},
        {"no XML at the end", 12, {{id}, {part}, {part}, {done}, {OK(0) "\r\n", .expect = "DELETE"}}, ERR_IO, "XML"},
        {"a part without etag", 12, {{id}, {OK(0) "\r\n"}, {OK(0) "\r\n", .expect = "DELETE"}}, ERR_IO, "no ETag"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t n = 0;
        while (n < ARRAY_LEN(cases[i].a) && cases[i].a[n].text)
            n++;
        struct fake_store f;
        fake_start(&f, cases[i].a, n);
        S3(&f, .part_size = 8, .max_retries = -1);
        struct ctx ctx = soon(120000);
        ERR(e);
        int rc = blob_write(s, &ctx, "b", "k", "abcdefghijklmnop", cases[i].bytes, &e);
        if (cases[i].code == 0 ? rc < 0 : rc == 0 || e.code != cases[i].code || !strstr(err_text(&e), cases[i].part))
            fail_msg("%s: %d %d: %s", cases[i].name, rc, e.code, err_text(&e));
        blob_store_free(s);
        if (fake_stop(&f) != n)
            fail_msg("%s: not all answers were asked for", cases[i].name);
    }
}

/* Where an upload goes on is said by the store: nowhere but on itself, and to no socket of this machine. */
static void test_sent_elsewhere(void **state)
{
    static const char *const places[] = {"unix:/run/x.sock:/y", "http://127.0.0.2:1/y", "http://127.0.0.1/y", "ftp://x"};
    size_t n = 600 << 10;
    AUTOFREE char *bytes = xcalloc(1, n);
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        AUTOFREE char *answer = xasprintf(OK(0) "Location: %s\r\n\r\n", places[i]);
        const struct fake_answer script[] = {{answer, .expect = "uploadType=resumable"}};
        struct fake_store f;
        fake_start(&f, script, 1);
        AUTOFREE char *endpoint = xasprintf("http://127.0.0.1:%d", f.port);
        const struct blob_settings set = {.provider = (char *)"gs",
                                          .endpoint = endpoint,
                                          .anonymous = true,
                                          .part_size = 1,
                                          .max_retries = -1,
                                          .timeout_ns = 60 * NS_PER_S};
        ERR(e);
        struct blob_store *s = blob_store_open(&set, &e);
        if (!s)
            fail_msg("%s", err_text(&e));
        struct ctx ctx = soon(120000);
        assert_int_equal(blob_write(s, &ctx, "b", "k", bytes, n, &e), -1);
        if (!strstr(err_text(&e), "elsewhere"))
            fail_msg("%s: %s", places[i], err_text(&e));
        blob_store_free(s);
        assert_int_equal(fake_stop(&f), 1);
    }
}

static void test_lists(void **state)
{
#define LIST(inner) XML("<ListBucketResult>" inner "</ListBucketResult>")
    static const struct fake_answer pages[] = {
        {LIST("<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken><Contents><Key>a/b</Key><Size>1</"
              "Size></Contents>"),
         .expect = "GET /b?list-type=2&max-keys=1000&prefix=a HTTP"},
        {LIST("<Contents><Key>ab</Key><Size>1</Size></Contents><Contents><Key>a/c</Key><Size>2</Size></Contents>  "),
         .expect = "continuation-token=t"},
        {LIST("<IsTruncated>true</IsTruncated>  ")},
    };
    struct fake_store f;
    fake_start(&f, pages, 3);
    S3(&f, 0);
    struct ctx ctx = soon(120000);
    ERR(e);
    struct blob_page p;
    if (blob_list(s, &ctx, "b", "a", NULL, 0, &p, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_int_equal(p.n, 1);
    assert_string_equal(p.v[0].key, "a/b");
    AUTOFREE char *token = TAKE(p.next);
    blob_page_clear(&p);
    if (blob_list(s, &ctx, "b", "a", token, 0, &p, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_int_equal(p.n, 1); /* ab is not below a */
    assert_string_equal(p.v[0].key, "a/c");
    assert_null(p.next);
    blob_page_clear(&p);
    assert_int_equal(blob_list(s, &ctx, "b", "", NULL, 0, &p, &e), -1);
    assert_int_equal(e.code, ERR_IO);
    blob_store_free(s);
    assert_int_equal(fake_stop(&f), 3);
}

/* Keys with ".." never become files. */
static void test_evil_keys(void **state)
{
    static const struct fake_answer answers[] = {
        {REFUSED("404 Not Found", "NoSuchKey")},
        {LIST("<Contents><Key>k/../../x</Key><Size>1</Size></Contents>")},
        {LIST("<Contents><Key>k/../../x</Key><Size>1</Size></Contents>")},
    };
    struct fake_store f;
    fake_start(&f, answers, 3);
    S3(&f, 0);
    struct ctx ctx = soon(120000);
    ERR(e);
    AUTOFREE char *to = fs_join(*state, "to");
    assert_int_equal(blob_download(s, &ctx, "b", "k", to, NULL, &e), -1);
    if (e.code != ERR_INVALID)
        fail_msg("%s", err_text(&e));
    blob_store_free(s);
    fake_stop(&f);
}

TEST_GROUP(stores, cmocka_unit_test(test_signatures), cmocka_unit_test(test_xml), cmocka_unit_test(test_settings),
           cmocka_unit_test(test_uri_query), cmocka_unit_test(test_ini), cmocka_unit_test(test_reads),
           cmocka_unit_test(test_silent), cmocka_unit_test(test_gives_up), cmocka_unit_test(test_writes),
           cmocka_unit_test(test_lists), cmocka_unit_test(test_sent_elsewhere), IN_DIR(test_evil_keys))
