/* Manifests, indexes, configurations, signals. */
#include <signal.h>

#include "cluster/node/images/manifest.h"
#include "unit.h"

#define HEX(c)                   "sha256:" c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c
#define A                        HEX("aa")
#define B                        HEX("bb")
#define C                        HEX("cc")
#define OCI                      "application/vnd.oci.image."
#define DOCKER                   "application/vnd.docker."
#define CONFIG                   "{\"mediaType\":\"" OCI "config.v1+json\",\"digest\":\"" A "\",\"size\":3}"
#define LAYER(t)                 "{\"mediaType\":\"" t "\",\"digest\":\"" B "\",\"size\":7}"
#define MANIFEST(config, layers) "{\"schemaVersion\":2,\"config\":" config ",\"layers\":[" layers "]}"
#define ENTRY(d, platform)       "{\"mediaType\":\"" OCI "manifest.v1+json\",\"digest\":\"" d "\",\"size\":5,\"platform\":" platform "}"
#define INDEX(entries)           "{\"schemaVersion\":2,\"manifests\":[" entries "]}"

static void kinds(void **state)
{
    static const struct {
        const char *text, *type;
        int layers; /* -1: refused; -2: an index */
    } cases[] = {
        {MANIFEST(CONFIG, LAYER(OCI "layer.v1.tar+gzip")), OCI "manifest.v1+json", 1},
        {MANIFEST(CONFIG, LAYER(OCI "layer.v1.tar+zstd") "," LAYER(OCI "layer.v1.tar")), NULL, 2},
        {MANIFEST(CONFIG, LAYER(DOCKER "image.rootfs.diff.tar.gzip")), DOCKER "distribution.manifest.v2+json; charset=utf-8", 1},
        {MANIFEST(CONFIG, ""), NULL, 0},
        {INDEX(ENTRY(C, "{\"os\":\"linux\",\"architecture\":\"amd64\"}")), NULL, -2},
        {MANIFEST(CONFIG, LAYER("application/x-tar")), NULL, -1},
        {MANIFEST("{\"mediaType\":\"application/vnd.cncf.helm.config.v1+json\",\"digest\":\"" A "\",\"size\":3}", ""), NULL, -1},
        {MANIFEST("{}", ""), NULL, -1},
        {MANIFEST("{\"mediaType\":\"" OCI "config.v1+json\",\"digest\":\"sha512:00\",\"size\":3}", ""), NULL, -1},
        {MANIFEST("{\"mediaType\":\"" OCI "config.v1+json\",\"digest\":\"" A "\",\"size\":-3}", ""), NULL, -1},
        {MANIFEST("{\"mediaType\":\"" OCI "config.v1+json\",\"digest\":\"" A "\",\"size\":99999999999}", ""), NULL, -1},
        {"{\"mediaType\":\"" OCI "index.v1+json\",\"config\":" CONFIG ",\"layers\":[]}", OCI "manifest.v1+json", -1},
        {"{\"mediaType\":\"" OCI "index.v1+json\",\"config\":" CONFIG ",\"layers\":[]}", NULL, -1},
        {"{\"manifests\":[],\"config\":" CONFIG ",\"layers\":[]}", NULL, -1},
        {"{\"schemaVersion\":1,\"fsLayers\":[]}", "application/vnd.docker.distribution.manifest.v1+prettyjws", -1},
        {"[]", NULL, -1},
        {"{", NULL, -1},
        {"", NULL, -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(manifest_free) struct manifest m = {0};
        ERR(e);
        int rc = manifest_parse(cases[i].text, strlen(cases[i].text), cases[i].type, "amd64", &m, &e);
        int got = rc < 0 ? -1 : m.is_index ? -2 : (int)m.n_layers;
        if (got != cases[i].layers)
            fail_msg("case %zu: %d, not %d: %s", i, got, cases[i].layers, err_text(&e));
    }
}

static void platforms(void **state)
{
    static const struct {
        const char *text, *arch, *chosen; /* NULL: none */
    } cases[] = {
        {INDEX(ENTRY(A, "{\"os\":\"linux\",\"architecture\":\"arm64\",\"variant\":\"v8\"}") "," ENTRY(
             B, "{\"os\":\"linux\",\"architecture\":\"amd64\"}")),
         "amd64", B},
        {INDEX(ENTRY(A, "{\"os\":\"linux\",\"architecture\":\"arm64\",\"variant\":\"v8\"}")), "arm64", A},
        {INDEX(ENTRY(A, "{\"os\":\"linux\",\"architecture\":\"amd64\",\"variant\":\"v3\"}") "," ENTRY(
             B, "{\"os\":\"linux\",\"architecture\":\"amd64\"}")),
         "amd64", B},
        {INDEX(ENTRY(A, "{\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v6\"}") "," ENTRY(
             B, "{\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v7\"}")),
         "arm", B},
        {INDEX(ENTRY(A, "{\"os\":\"windows\",\"architecture\":\"amd64\"}")), "amd64", NULL},
        {INDEX(ENTRY(A, "{\"os\":\"unknown\",\"architecture\":\"unknown\"}")), "amd64", NULL}, /* an attestation */
        {INDEX(""), "amd64", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(manifest_free) struct manifest m = {0};
        ERR(e);
        int rc = manifest_parse(cases[i].text, strlen(cases[i].text), NULL, cases[i].arch, &m, &e);
        assert_int_equal(rc, cases[i].chosen ? 0 : -1);
        if (cases[i].chosen)
            assert_string_equal(m.chosen.digest, cases[i].chosen);
        else
            assert_int_equal(e.code, ERR_NOT_FOUND);
    }
}

static void too_many_layers(void **state)
{
    BUF(b);
    buf_adds(&b, "{\"config\":" CONFIG ",\"layers\":[");
    for (int i = 0; i < 128; i++)
        buf_addf(&b, "%s" LAYER(OCI "layer.v1.tar"), i ? "," : "");
    buf_adds(&b, "]}");
    CLEANUP(manifest_free) struct manifest m = {0};
    ERR(e);
    assert_int_equal(manifest_parse(buf_str(&b), b.len, NULL, "amd64", &m, &e), -1);
    assert_int_equal(e.code, ERR_TOO_LARGE);
}

static void configurations(void **state)
{
    static const char good[] =
        "{\"os\":\"linux\",\"architecture\":\"amd64\",\"config\":{\"Entrypoint\":[\"/e\"],\"Cmd\":null,\"Env\":[\"A=b\"],"
        "\"WorkingDir\":\"/w\",\"User\":\"u:g\",\"StopSignal\":\"SIGINT\",\"Volumes\":{\"/data\":{},\"rel\":{}}},"
        "\"rootfs\":{\"diff_ids\":[\"" A "\"]}}";
    CLEANUP(image_config_free) struct image_config c = {0};
    ERR(e);
    assert_int_equal(image_config_parse(good, strlen(good), &c, &e), 0);
    assert_string_equal(c.entrypoint.v[0], "/e");
    assert_int_equal(c.cmd.n, 0);
    assert_string_equal(c.cwd, "/w");
    assert_string_equal(c.user, "u:g");
    assert_int_equal(c.volumes.n, 1);
    assert_int_equal(c.diff_ids.n, 1);
    static const char *const bad[] = {"",
                                      "{\"config\":{\"Entrypoint\":\"x\"}}",
                                      "{\"config\":{\"Env\":[1]}}",
                                      "{\"os\":\"windows\"}",
                                      "{\"rootfs\":{\"diff_ids\":[\"md5:1\"]}}",
                                      "{\"config\":{\"Cmd\":[\"a\\u0000b\"]}}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CLEANUP(image_config_free) struct image_config x = {0};
        assert_int_equal(image_config_parse(bad[i], strlen(bad[i]), &x, NULL), -1);
    }
    CLEANUP(image_config_free) struct image_config empty = {0};
    assert_int_equal(image_config_parse("{}", 2, &empty, NULL), 0);
}

static void signals(void **state)
{
    const struct {
        const char *name;
        int number;
    } cases[] = {{"", SIGTERM},
                 {"SIGTERM", SIGTERM},
                 {"QUIT", SIGQUIT},
                 {"sigint", SIGINT},
                 {"9", SIGKILL},
                 {"0", 0},
                 {"999", 0},
                 {"SIGNONE", 0},
                 {"RTMIN", SIGRTMIN},
                 {"SIGRTMIN+3", SIGRTMIN + 3},
                 {"RTMAX-1", SIGRTMAX - 1},
                 {"RTMIN+99", 0},
                 {"RTMINx", 0}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (image_signal(cases[i].name) != cases[i].number)
            fail_msg("%s is %d", cases[i].name, image_signal(cases[i].name));
}

TEST_GROUP(manifests, cmocka_unit_test(kinds), cmocka_unit_test(platforms), cmocka_unit_test(too_many_layers),
           cmocka_unit_test(configurations), cmocka_unit_test(signals))
