/* References, mirrors, credentials, challenges: tables. */
#include <unistd.h>

#include "base/fs.h"
#include "cluster/node/images/auth.h"
#include "cluster/node/images/registries.h"
#include "unit.h"

static void references(void **state)
{
#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    static const struct {
        const char *text, *full; /* NULL: refused */
    } cases[] = {
        {"busybox", "docker.io/library/busybox:latest"},
        {"busybox:1.36", "docker.io/library/busybox:1.36"},
        {"user/app", "docker.io/user/app:latest"},
        {"docker.io/busybox", "docker.io/library/busybox:latest"},
        {"index.docker.io/library/busybox:x", "docker.io/library/busybox:x"},
        {"ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1"},
        {"localhost/app", "localhost/app:latest"},
        {"localhost:5000/app", "localhost:5000/app:latest"},
        {"127.0.0.1:5000/app:1", "127.0.0.1:5000/app:1"},
        {"[::1]:5000/app:1", "[::1]:5000/app:1"},
        {"app@sha256:" HEX64, "docker.io/library/app@sha256:" HEX64},
        {"app:1@sha256:" HEX64, "docker.io/library/app:1@sha256:" HEX64},
        {"a--b/c__d.e:A_b-C.9", "docker.io/a--b/c__d.e:A_b-C.9"},
        {"UPPER/x", "UPPER/x:latest"}, /* a host, as it cannot be a path */
        {"", NULL},
        {" x", NULL},
        {"x ", NULL},
        {"X", NULL},
        {"a/X", NULL},
        {"-x", NULL},
        {"x-", NULL},
        {"x..y", NULL},
        {"x___y", NULL},
        {"a//b", NULL},
        {"/a", NULL},
        {"a/", NULL},
        {"a:", NULL},
        {":1", NULL},
        {"a:.1", NULL},
        {"a:1:2", NULL},
        {"a@", NULL},
        {"a@sha256:1234", NULL},
        {"a@sha256:" HEX64 "0", NULL},
        {"a/../b", NULL},
        {"https://ghcr.io/a", NULL},
        {"ghcr.io:port/a", NULL},
        {"a?b", NULL},
        {HEX64, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        IMAGE_REF(ref);
        ERR(e);
        int rc = image_ref_parse(cases[i].text, &ref, &e);
        AUTOFREE char *full = rc == 0 ? image_ref_full(&ref) : NULL;
        if ((full == NULL) != (cases[i].full == NULL) || (full && !str_eq(full, cases[i].full)))
            fail_msg("\"%s\" is %s, not %s", cases[i].text, full ? full : err_text(&e),
                     cases[i].full ? cases[i].full : "refused");
        if (!full)
            assert_int_equal(e.code, ERR_BAD_REQUEST);
    }
    char long_tag[300] = "a:", long_name[300];
    memset(long_tag + 2, 'x', 128);
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    IMAGE_REF(a);
    IMAGE_REF(b);
    assert_int_equal(image_ref_parse(long_tag, &a, NULL), 0);
    long_tag[130] = 'x';
    assert_int_equal(image_ref_parse(long_tag, &b, NULL), -1);
    assert_int_equal(image_ref_parse(long_name, &b, NULL), -1);
}

static void short_names(void **state)
{
    static const char *const cases[][2] = {{"busybox", "busybox:latest"}, {"u/a:1", "u/a:1"}, {"ghcr.io/u/a:1", "ghcr.io/u/a:1"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        IMAGE_REF(ref);
        assert_int_equal(image_ref_parse(cases[i][0], &ref, NULL), 0);
        AUTOFREE char *text = image_ref_short(&ref);
        assert_string_equal(text, cases[i][1]);
    }
}

static void mirrors(void **state)
{
    struct registries *r = registries_new();
    ERR(e);
    assert_int_equal(registries_add_mirror(r, "docker.io=https://mirror.example.com/cache/", &e), 0);
    assert_int_equal(registries_add_mirror(r, "*=http://127.0.0.1:5000", &e), 0);
    assert_int_equal(registries_add_insecure(r, "registry.local:5000", &e), 0);
    static const char *const bad[] = {"docker.io=ftp://x", "docker.io=", "docker.io=https://a b", "docker.io=https://h/../x",
                                      "a/b=https://h"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(registries_add_mirror(r, bad[i], NULL), -1);
    assert_int_equal(registries_add_insecure(r, "http://x", NULL), -1);
    static const struct {
        const char *image;
        size_t n;
        const char *hosts[3], *schemes[3], *paths[3];
    } cases[] = {
        {"busybox",
         3,
         {"mirror.example.com", "127.0.0.1:5000", "registry-1.docker.io"},
         {"https", "http", "https"},
         {"cache/library/busybox", "library/busybox", "library/busybox"}},
        {"registry.local:5000/a", 2, {"127.0.0.1:5000", "registry.local:5000"}, {"http", NULL}, {"a", "a"}},
        {"localhost:1/a", 2, {"127.0.0.1:5000", "localhost:1"}, {"http", NULL}, {"a", "a"}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        IMAGE_REF(ref);
        size_t n;
        assert_int_equal(image_ref_parse(cases[i].image, &ref, NULL), 0);
        struct endpoint *v = registries_endpoints(r, &ref, &n);
        assert_int_equal(n, cases[i].n);
        for (size_t k = 0; k < n; k++) {
            assert_string_equal(v[k].host, cases[i].hosts[k]);
            assert_true(str_eq(v[k].scheme, cases[i].schemes[k]));
            assert_string_equal(v[k].as.path, cases[i].paths[k]);
        }
        endpoints_free(v, n);
    }
    registries_free(r);
}

static void registries_file(void **state)
{
    char path[] = "/tmp/tm-registries-XXXXXX";
    int fd = mkstemp(path);
    static const char good[] = "# ours\n\nmirror docker.io 127.0.0.1:5000 # near\n insecure\ta.b:1\r\n", bad[] = "\nmirrors x\n";
    assert_true(fd >= 0 && write(fd, good, strlen(good)) == (ssize_t)strlen(good));
    struct registries *r = registries_new();
    ERR(e);
    assert_int_equal(registries_add_file(r, path, &e), 0);
    assert_int_equal(registries_add_file(r, "/nowhere/registries", &e), 0);
    assert_true(ftruncate(fd, 0) == 0 && pwrite(fd, bad, strlen(bad), 0) == (ssize_t)strlen(bad));
    assert_int_equal(registries_add_file(r, path, &e), -1);
    assert_non_null(strstr(err_text(&e), "line 2"));
    registries_free(r);
    close(fd);
    unlink(path);
}

TEST_GROUP(names, cmocka_unit_test(references), cmocka_unit_test(short_names), cmocka_unit_test(mirrors),
           cmocka_unit_test(registries_file))

/* ---- credentials ---------------------------------------------------------------------------------------------------------- */

static void keyrings(void **state)
{
    static const char config[] =
        "{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"aHVnbzpodWJwYXNz\"},"
        "\"*.example.com:5000\":{\"username\":\"any\",\"password\":\"p1\"},"
        "\"reg.example.com:5000/team\":{\"username\":\"team\",\"password\":\"p:2\"},"
        "\"https://reg.example.com:5000/v2/\":{\"username\":\"host\",\"password\":\"p3\"},"
        "\"gcr.io\":{\"identitytoken\":\"idt\"},\"empty.io\":{}},\"credsStore\":\"desktop\",\"credHelpers\":{\"x\":\"y\"}}";
    KEYRING(k);
    ERR(e);
    assert_int_equal(keyring_add(&k, config, strlen(config), false, &e), 0);
    assert_int_equal(k.n, 5);
    static const struct {
        const char *image, *users; /* in order, joined */
    } cases[] = {{"busybox", "hugo"},
                 {"docker.io/me/x", "hugo"},
                 {"reg.example.com:5000/team/app", "team host any"},
                 {"reg.example.com:5000/teamwork/app", "host any"},
                 {"other.example.com:5000/a", "any"},
                 {"a.b.example.com:5000/a", ""},
                 {"reg.example.com/a", ""},
                 {"gcr.io/a", ""},
                 {"empty.io/a", ""}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        IMAGE_REF(ref);
        KEYRING(own);
        BUF(users);
        assert_int_equal(image_ref_parse(cases[i].image, &ref, NULL), 0);
        keyring_select(&k, &ref, &own);
        for (size_t u = 0; u < own.n; u++)
            buf_addf(&users, "%s%s", u && *own.v[u].user ? " " : "", own.v[u].user);
        if (!str_eq(buf_str(&users), cases[i].users))
            fail_msg("%s: \"%s\" instead of \"%s\"", cases[i].image, buf_str(&users), cases[i].users);
        if (str_eq(cases[i].image, "busybox"))
            assert_string_equal(own.v[0].password, "hubpass");
    }
    static const char legacy[] = "{\"quay.io\":{\"username\":\"q\",\"password\":\"p\"}}";
    assert_int_equal(keyring_add(&k, legacy, strlen(legacy), true, &e), 0);
    assert_int_equal(k.n, 6);
    static const char *const bad[] = {"", "[]", "{\"auths\":[]}", "{\"auths\":{\"x\":{\"auth\":\"!\"}}}",
                                      "{\"auths\":{\"x\":{\"auth\":\"bm9jb2xvbg==\"}}}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(keyring_add(&k, bad[i], strlen(bad[i]), false, NULL), -1);
    AUTOFREE char *id = keyring_id(&k);
    assert_int_equal(strlen(id), 64);
    assert_null(strstr(id, "hubpass"));
}

static void challenges(void **state)
{
    static const struct {
        const char *header;
        int bearer; /* -1: none */
        const char *realm, *service, *scope;
    } cases[] = {
        {"Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:a:pull\"", 1,
         "https://auth.docker.io/token", "registry.docker.io", "repository:a:pull"},
        {"bearer  realm = \"https://x\" , service=y", 1, "https://x", "y", NULL},
        {"Basic realm=\"r\"", 0, "r", NULL, NULL},
        {"Basic realm=\"r\", Bearer realm=\"https://b\"", 1, "https://b", NULL, NULL},
        {"Negotiate, Basic realm=\"a, b\"", 0, "a, b", NULL, NULL},
        {"Bearer realm=\"http://a\\\"b\"", 1, "http://a\"b", NULL, NULL},
        {"Bearer realm=\"unix:/run/x.sock:/token\"", -1, NULL, NULL, NULL}, /* a socket of this machine */
        {"Bearer realm=\"file:///etc/passwd\", Basic realm=\"r\"", 0, "r", NULL, NULL},
        {"Basic", 0, NULL, NULL, NULL},
        {"Bearer", -1, NULL, NULL, NULL},
        {"Bearer realm=\"\"", -1, NULL, NULL, NULL},
        {"Bearer realm=\"open", -1, NULL, NULL, NULL},
        {"Digest realm=\"x\"", -1, NULL, NULL, NULL},
        {"", -1, NULL, NULL, NULL},
        {",,,", -1, NULL, NULL, NULL},
        {"=\"", -1, NULL, NULL, NULL},
        {NULL, -1, NULL, NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(challenge_free) struct challenge c = {0};
        ERR(e);
        int rc = challenge_parse(cases[i].header, &c, &e);
        if ((rc < 0) != (cases[i].bearer < 0))
            fail_msg("%s: %d", cases[i].header, rc);
        if (rc < 0) {
            assert_int_equal(e.code, ERR_UNAUTHENTICATED);
            continue;
        }
        assert_int_equal(c.bearer, cases[i].bearer);
        assert_true(str_eq(c.realm, cases[i].realm));
        assert_true(str_eq(c.service, cases[i].service));
        assert_true(str_eq(c.scope, cases[i].scope));
    }
}

TEST_GROUP(credentials, cmocka_unit_test(keyrings), cmocka_unit_test(challenges))
