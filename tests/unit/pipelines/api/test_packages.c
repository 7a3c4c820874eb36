/* What is uploaded: multipart bodies and archives, also those that were made to do harm. */
#include "kit.h"

#include <archive.h>
#include <archive_entry.h>

#include "base/str.h"
#include "pipelines/api/internal.h"
#include "pipelines/api/multipart.h"

/* ---- multipart ------------------------------------------------------------------------------------------------------ */

static void test_multipart(void **state)
{
    static const char type[] = "multipart/form-data; boundary=B";
#define PART(head, body)      "--B\r\n" head "\r\n\r\n" body "\r\n"
#define FILE_PART(head, body) PART("Content-Disposition: form-data; name=\"uploadfile\"; " head, body)
    static const struct {
        const char *type, *body, *name, *data; /* data NULL: refused */
    } cases[] = {
        {type, FILE_PART("filename=\"a.yaml\"", "x: 1") "--B--\r\n", "a.yaml", "x: 1"},
        {type, FILE_PART("filename=\"a.yaml\"", "") "--B--", "a.yaml", ""},
        {type, FILE_PART("filename=\"dir/sub/a.yaml\"", "x") "--B--", "a.yaml", "x"},
        {type, FILE_PART("filename=\"\"", "x") "--B--", "", "x"},
        {type, FILE_PART("filename=\"q\\\"uote.yaml\"", "x") "--B--", "q\"uote.yaml", "x"},
        {type, FILE_PART("filename*=UTF-8''%C3%BC.yaml", "x") "--B--", "\xc3\xbc.yaml", "x"},
        {type, FILE_PART("FileName=a.yaml", "x\r\n-- B\r\n--b") "--B--", "a.yaml", "x\r\n-- B\r\n--b"},
        {type, "preamble\r\n" FILE_PART("filename=a", "x") "--B--", "a", "x"},
        {type, PART("Content-Disposition: form-data; name=\"other\"", "1") FILE_PART("filename=a", "x") "--B--", "a", "x"},
        {type, PART("content-type: text/plain\r\ncontent-disposition: form-data; name=uploadfile; filename=a", "x") "--B--", "a",
         "x"},
        {"multipart/form-data; boundary=\"B\"", FILE_PART("filename=a", "x") "--B--", "a", "x"},
        {type, FILE_PART("x=y", "x") "--B--", NULL, NULL}, /* no file name: a plain field */
        {type, PART("Content-Disposition: form-data; name=\"file\"; filename=a", "x") "--B--", NULL, NULL},
        {type, "--B\r\nContent-Disposition: form-data; name=uploadfile; filename=a\r\n\r\nx", NULL, NULL}, /* cut off */
        {type, "--B\r\nContent-Disposition", NULL, NULL},
        {type, "--B--\r\n", NULL, NULL},
        {type, "", NULL, NULL},
        {"multipart/form-data", FILE_PART("filename=a", "x") "--B--", NULL, NULL},
        {"multipart/form-data; boundary=", FILE_PART("filename=a", "x") "--B--", NULL, NULL},
        {"multipart/form-data; boundary=aaaaaaaaaabbbbbbbbbbaaaaaaaaaabbbbbbbbbbaaaaaaaaaabbbbbbbbbbaaaaaaaaaab", "x", NULL,
         NULL},
        {"application/json", "{}", NULL, NULL},
        {NULL, "{}", NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ERR(e);
        AUTOFREE char *name = NULL;
        const char *data;
        size_t n;
        int rc = multipart_file(cases[i].type, cases[i].body, strlen(cases[i].body), "uploadfile", &name, &data, &n, &e);
        if (rc != (cases[i].data ? 0 : -1))
            fail_msg("case %zu: %d %s", i, rc, err_text(&e));
        if (rc < 0) {
            assert_int_equal(e.code, ERR_INVALID);
            continue;
        }
        assert_string_equal(name, cases[i].name);
        assert_int_equal(n, strlen(cases[i].data));
        assert_memory_equal(data, cases[i].data, n);
    }
}

static void test_multipart_many_parts(void **state)
{
    BUF(b);
    for (int i = 0; i < 10000; i++)
        buf_adds(&b, PART("a: b", ""));
    AUTOFREE char *name = NULL;
    const char *data;
    size_t n;
    ERR(e);
    assert_int_equal(multipart_file("multipart/form-data; boundary=B", b.data, b.len, "uploadfile", &name, &data, &n, &e), -1);
}

/* ---- archives --------------------------------------------------------------------------------------------------------- */

struct member {
    const char *name;
    const char *text; /* NULL: size zeros */
    size_t size;
    int type; /* 0: a file */
};

static void pack(bool zip, const struct member *v, size_t n, struct buf *out)
{
    size_t cap = 4 << 20, used = 0;
    char *mem = xmalloc(cap);
    struct archive *a = archive_write_new();
    assert_int_equal(zip ? archive_write_set_format_zip(a) : archive_write_set_format_ustar(a), ARCHIVE_OK);
    if (!zip)
        archive_write_add_filter_gzip(a);
    assert_int_equal(archive_write_open_memory(a, mem, cap, &used), ARCHIVE_OK);
    static char zeros[65536];
    for (size_t i = 0; i < n; i++) {
        struct archive_entry *entry = archive_entry_new();
        size_t size = v[i].text ? strlen(v[i].text) : v[i].size;
        archive_entry_set_pathname(entry, v[i].name);
        archive_entry_set_filetype(entry, v[i].type ? (unsigned)v[i].type : AE_IFREG);
        archive_entry_set_perm(entry, 0644);
        if (v[i].type == AE_IFLNK)
            archive_entry_set_symlink(entry, "/etc/passwd");
        archive_entry_set_size(entry, (la_int64_t)(v[i].type ? 0 : size));
        assert_int_equal(archive_write_header(a, entry), ARCHIVE_OK);
        for (size_t done = 0; !v[i].type && done < size;) {
            size_t piece = size - done < sizeof zeros ? size - done : sizeof zeros;
            assert_true(archive_write_data(a, v[i].text ? v[i].text + done : zeros, piece) == (la_ssize_t)piece);
            done += piece;
        }
        archive_entry_free(entry);
    }
    assert_int_equal(archive_write_free(a), ARCHIVE_OK);
    buf_add(out, mem, used);
    free(mem);
}

static void unpacked(bool zip, const struct member *v, size_t n, const char *want)
{
    BUF(packed);
    BUF(out);
    ERR(e);
    pack(zip, v, n, &packed);
    int rc = package_unpack("x.bin", packed.data, packed.len, &out, &e);
    if (!want) {
        assert_int_equal(rc, -1);
        assert_int_equal(e.code, ERR_INVALID);
        assert_int_equal(out.len <= PACKAGE_MAX, 1);
        return;
    }
    if (rc < 0)
        fail_msg("%s", err_text(&e));
    assert_string_equal(buf_str(&out), want);
}

static void test_archives(void **state)
{
    static const struct member right[] = {{"first.yml", "wrong", 0, 0}, {"pipeline.yaml", "right", 0, 0}};
    static const struct member first[] = {{"first.yml", "right", 0, 0}, {"dir/pipeline.yaml", "wrong", 0, 0}};
    static const struct member no_yaml[] = {{"readme.txt", "x", 0, 0}, {"x.yaml", "y", 0, 0}};
    static const struct member dot[] = {
        {"./", "", 0, AE_IFDIR}, {"./first.yaml", "wrong", 0, 0}, {"./pipeline.yaml", "right", 0, 0}};
    static const struct member behind[] = {{"dir/", "", 0, AE_IFDIR}, {"dir/first.yaml", "right", 0, 0}};
    static const struct member links[] = {{"pipeline.yaml", "", 0, AE_IFLNK}};
    static const struct member folder[] = {{"pipeline.yaml", "", 0, AE_IFDIR}};
    static const struct member bomb[] = {{"pipeline.yaml", NULL, 40 << 20, 0}};
    static const struct member bomb_before[] = {{"a.bin", NULL, 90 << 20, 0}, {"pipeline.yaml", "x", 0, 0}};
    static const struct member big[] = {{"a.bin", NULL, 20 << 20, 0}, {"pipeline.yaml", "right", 0, 0}};
    for (int zip = 0; zip < 2; zip++) {
        unpacked(zip, right, 2, "right");
        unpacked(zip, first, 2, "right");
        unpacked(zip, no_yaml, 2, NULL);
        unpacked(zip, dot, 3, "right");
        unpacked(zip, behind, 2, "right");
        unpacked(zip, links, 1, NULL);
        unpacked(zip, folder, 1, NULL);
        unpacked(zip, bomb, 1, NULL);
        unpacked(zip, bomb_before, 2, NULL);
        unpacked(zip, big, 2, "right");
    }
}

static void test_many_members(void **state)
{
    enum { N = 1500 };
    struct member *v = xcalloc(N, sizeof *v);
    for (size_t i = 0; i < N; i++)
        v[i] = (struct member){xasprintf("%zu.txt", i), "", 0, 0};
    unpacked(true, v, N, NULL);
    unpacked(false, v, N, NULL);
    for (size_t i = 0; i < N; i++)
        free((char *)v[i].name);
    free(v);
}

/* Cut at every length, and with every byte changed once: refused or read, never worse. */
static void test_broken_archives(void **state)
{
    static const struct member good[] = {{"pipeline.yaml", "right", 0, 0}};
    for (int zip = 0; zip < 2; zip++) {
        BUF(packed);
        pack(zip, good, 1, &packed);
        for (size_t n = 0; n < packed.len; n++) {
            BUF(out);
            AUTOFREE char *cut = xmemdup(packed.data, n ? n : 1);
            package_unpack("x.bin", cut, n, &out, NULL);
            BUF(out2);
            packed.data[n] ^= 0x55;
            package_unpack("x.bin", packed.data, packed.len, &out2, NULL);
            packed.data[n] ^= 0x55;
        }
    }
}

static void test_plain_files(void **state)
{
    ERR(e);
    static const struct {
        const char *name, *data;
        bool good;
    } cases[] = {{"a.yaml", "PK\3\4", true}, {"a.yml", "", true}, {"a.json", "{}", true},
                 {"a.txt", "x: 1", false},   {"a", "", false},    {"a.zip", "PK", false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        BUF(out);
        assert_int_equal(package_unpack(cases[i].name, cases[i].data, strlen(cases[i].data), &out, &e), cases[i].good ? 0 : -1);
        if (cases[i].good)
            assert_string_equal(buf_str(&out), cases[i].data);
    }
}

/* As the mirror of objects does it: rows with given ids from the specs of objects, edited, and taken away. */
struct apply_case {
    bool is_version;
    const char *id, *name, *spec; /* of a version %s: its pipelineSpec */
    int rc;
    const char *says; /* of an error */
};

static void apply(struct kit *k, const struct apply_case *c)
{
    ERR(e);
    struct ctx ctx = ctx_background();
    BUF(text);
    const char *hole = strstr(c->spec, "%s");
    buf_add(&text, c->spec, hole ? (size_t)(hole - c->spec) : strlen(c->spec));
    if (hole) {
        buf_adds(&text, HELLO_IR);
        buf_adds(&text, hole + 2);
    }
    JSON_REF(spec) = json_parse_str(buf_str(&text), &e);
    if (!spec)
        fail_msg("%s: %s", c->spec, err_text(&e));
    int rc =
        (c->is_version ? pipelines_version_apply : pipelines_pipeline_apply)(k->api, &ctx, c->id, c->name, json_root(spec), &e);
    if (rc != c->rc || (rc < 0 && !strstr(err_text(&e), c->says)))
        fail_msg("%s %s: %d %s", c->id, c->spec, rc, rc < 0 ? err_text(&e) : "");
}

static void test_objects(void **state)
{
    struct kit *k = *state;
    struct ctx ctx = ctx_background();
    static const struct apply_case cases[] = {
        {true, "v1", "v-obj", "{\"pipelineName\":\"p\",\"pipelineSpec\":%s}", -1, "p not found"},
        {false, "p1", "p", "{\"displayName\":\"P\",\"description\":\"d\",\"tags\":{\"a\":\"b\"}}", 0, NULL},
        {false, "p1", "p", "{\"displayName\":\"Q\",\"description\":\"d\"}", 0, NULL},
        {false, "p1", "p", "{\"displayName\":\"Q\",\"description\":\"other\"}", -1, "cannot be changed"},
        {false, "p2", "p", "{}", -1, "name p already"},
        {true, "v1", "v-obj", "{\"pipelineName\":\"p\",\"pipelineSpec\":%s}", 0, NULL},
        {true, "v1", "v-obj", "{\"pipelineName\":\"p\",\"displayName\":\"V\",\"tags\":{\"x\":\"y\"},\"pipelineSpec\":%s}", 0,
         NULL},
        {true, "v1", "v-obj", "{\"pipelineName\":\"p\",\"pipelineSpec\":{\"root\":{}}}", -1, ""},
        {true, "v1", "v-obj",
         "{\"pipelineName\":\"p\",\"platformSpec\":{\"platforms\":{\"kubernetes\":{\"deploymentSpec\":{}}}},"
         "\"pipelineSpec\":%s}",
         -1, "make another version"},
        {true, "v2", "v-two", "{\"pipelineName\":\"p\",\"versionName\":\"v-obj\",\"pipelineSpec\":%s}", -1, "name v-obj already"},
        {true, "v2", "v-two", "{\"pipelineName\":\"p\"}", -1, "spec.pipelineSpec is required"},
        {true, "v2", "v-two", "{\"pipelineSpec\":%s}", -1, "spec.pipelineName is required"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        apply(k, &cases[i]);
    JSON_REF(p) = kit_call(k, HTTP_GET, "/apis/v2beta1/pipelines/p1", NULL, 200);
    assert_string_equal(jv_str(jv_get(json_root(p), "display_name")), "Q");
    assert_null(jv_get(json_root(p), "tags"));
    JSON_REF(v) = kit_call(k, HTTP_GET, "/apis/v2beta1/pipelines/p1/versions/v1", NULL, 200);
    assert_string_equal(jv_str(jv_get(json_root(v), "name")), "v-obj");
    assert_string_equal(jv_str(jv_get(json_root(v), "display_name")), "V");
    assert_string_equal(jv_str(jv_path(json_root(v), "tags", "x", NULL)), "y");
    assert_int_equal(pipelines_version_delete(k->api, &ctx, "none", NULL), 0); /* missing is fine */
    assert_int_equal(pipelines_pipeline_delete(k->api, &ctx, "p1", NULL), 0);
    assert_int_equal(pipelines_pipeline_delete(k->api, &ctx, "p1", NULL), 0);
    json_unref(kit_call(k, HTTP_GET, "/apis/v2beta1/pipelines/p1/versions/v1", NULL, 404));
}

TEST_GROUP(packages, WITH_KIT(test_objects), cmocka_unit_test(test_multipart), cmocka_unit_test(test_multipart_many_parts),
           cmocka_unit_test(test_archives), cmocka_unit_test(test_many_members), cmocka_unit_test(test_broken_archives),
           cmocka_unit_test(test_plain_files))
