/* test_credential.c - tokens, files and plugins: kept, renewed, and what a plugin can do wrong. */
#include "unit.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/timefmt.h"
#include "kube/remote/credential.h"

#define V1 "client.authentication.k8s.io/v1"

static char dir[64];
static struct clock_manual now;

static int set_up(void **state)
{
    strcpy(dir, "/tmp/tidemill-credential-XXXXXX");
    clock_manual_init(&now, 1800000000 * NS_PER_S);
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state) { return fs_rm_rf(dir, NULL); }

static char *put(const char *name, mode_t mode, const char *fmt, ...)
{
    va_list ap;
    BUF(text);
    va_start(ap, fmt);
    buf_addv(&text, fmt, ap);
    va_end(ap);
    char *path = fs_join(dir, name);
    ERR(e);
    if (fs_write_atomic(path, text.data, text.len, mode, &e) < 0)
        fail_msg("%s", err_text(&e));
    return path;
}

static struct credential now_of(struct credentials *c)
{
    struct credential out;
    struct ctx ctx = ctx_background();
    ERR(e);
    if (credentials_get(c, &ctx, &out, &e) < 0)
        fail_msg("%s", err_text(&e));
    return out;
}

static void expect_auth(struct credentials *c, const char *want)
{
    CLEANUP(credential_clear) struct credential got = now_of(c);
    if (!str_eq(got.authorization, want))
        fail_msg("%s, not %s", got.authorization, want);
}

static void test_kinds(void **state)
{
    char name[] = "u", token[] = "t", password[] = "p:q";
    struct kube_access a = {.user = name, .token = token};
    struct credentials *c = credentials_new(&a, &now.clock);
    expect_auth(c, "Bearer t");
    credentials_free(c);
    a = (struct kube_access){.username = name, .password = password};
    c = credentials_new(&a, &now.clock);
    expect_auth(c, "Basic dTpwOnE=");
    assert_false(credentials_refused(c, 0)); /* there is no other */
    credentials_free(c);
    a = (struct kube_access){0};
    c = credentials_new(&a, &now.clock);
    expect_auth(c, NULL);
    credentials_free(c);
}

static void test_token_file(void **state)
{
    AUTOFREE char *path = put("token", 0600, "one\n");
    char user[] = "u";
    struct kube_access a = {.user = user, .token_file = path};
    struct credentials *c = credentials_new(&a, &now.clock);
    expect_auth(c, "Bearer one");
    free(put("token", 0600, "two"));
    expect_auth(c, "Bearer one");
    clock_manual_advance(&now, 61 * NS_PER_S);
    expect_auth(c, "Bearer two");
    /* Refused: read again at once. */
    free(put("token", 0600, "three"));
    CLEANUP(credential_clear) struct credential old = now_of(c);
    assert_true(credentials_refused(c, old.serial));
    expect_auth(c, "Bearer three");
    /* Away for a while, or empty: the old one holds. */
    unlink(path);
    clock_manual_advance(&now, 61 * NS_PER_S);
    expect_auth(c, "Bearer three");
    free(put("token", 0600, "\n"));
    clock_manual_advance(&now, 61 * NS_PER_S);
    expect_auth(c, "Bearer three");
    credentials_free(c);
    unlink(path);
    c = credentials_new(&a, &now.clock);
    struct credential none;
    struct ctx ctx = ctx_background();
    ERR(e);
    assert_int_equal(credentials_get(c, &ctx, &none, &e), -1);
    assert_int_equal(e.code, ERR_UNAUTHENTICATED);
    credentials_free(c);
}

/* A plugin that counts its calls and prints what out says. */
static struct kube_access plugin(const char *script)
{
    AUTOFREE char *path = put("plugin", 0700, "#!/bin/sh\necho x >> %s/calls\n%s\n", dir, script);
    return (struct kube_access){.user = xstrdup("u"),
                                .server = xstrdup("https://x"),
                                .ca_pem = xstrdup("pem"),
                                .exec = {.command = TAKE(path), .api_version = xstrdup(V1), .cluster_info = true}};
}

static size_t calls(void)
{
    AUTOFREE char *path = fs_join(dir, "calls");
    BUF(text);
    fs_read(path, 4096, &text, NULL);
    unlink(path);
    return text.len / 2;
}

static void test_plugin(void **state)
{
    char soon[TIME_TEXT_MAX];
    time_format(soon, atomic_load(&now.wall) + 60 * NS_PER_S, TIME_SECONDS);
    AUTOFREE char *script =
        xasprintf("printf '%%s' \"$KUBERNETES_EXEC_INFO\" > %s/info; test \"$N\" = v || exit 9\n"
                  "echo '{\"apiVersion\":\"" V1 "\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"tok\","
                  "\"expirationTimestamp\":\"%s\"}}'",
                  dir, soon);
    CLEANUP(kube_access_clear) struct kube_access a = plugin(script);
    strlist_add(&a.exec.env, "N=v");
    struct credentials *c = credentials_new(&a, &now.clock);
    expect_auth(c, "Bearer tok");
    expect_auth(c, "Bearer tok");
    assert_int_equal(calls(), 1);
    AUTOFREE char *info_path = fs_join(dir, "info");
    BUF(info);
    fs_read(info_path, 65536, &info, NULL);
    JSON_REF(d) = json_parse(buf_str(&info), info.len, NULL, NULL);
    assert_string_equal(jv_str(jv_path(json_root(d), "spec", "cluster", "server", NULL)), "https://x");
    assert_string_equal(jv_str(jv_path(json_root(d), "spec", "cluster", "certificate-authority-data", NULL)), "cGVt");
    assert_false(jv_bool(jv_path(json_root(d), "spec", "interactive", NULL), true));
    clock_manual_advance(&now, 55 * NS_PER_S); /* about to expire */
    expect_auth(c, "Bearer tok");
    assert_int_equal(calls(), 1);
    /* Refused by the server. */
    CLEANUP(credential_clear) struct credential old = now_of(c);
    calls();
    assert_true(credentials_refused(c, old.serial));
    expect_auth(c, "Bearer tok");
    assert_int_equal(calls(), 1);
    assert_true(credentials_refused(c, old.serial)); /* somebody else's news: renewed already */
    credentials_free(c);
}

static void test_plugin_wrong(void **state)
{
    static const struct {
        const char *script, *says;
    } cases[] = {
        {"echo oops, no network >&2; exit 3", "it failed with exit status 3: oops, no network"},
        {"echo rubbish", "it printed no JSON (8 bytes)"},
        {"true", "it printed no JSON (0 bytes)"},
        {"echo '{}'", "it printed a thing without kind"},
        {"echo "
         "'{\"apiVersion\":\"client.authentication.k8s.io/v1beta1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"t\"}}'",
         "but ExecCredential of client.authentication.k8s.io/v1 is asked for"},
        {"echo '{\"apiVersion\":\"" V1 "\",\"kind\":\"ExecCredential\"}'", "neither a token nor a client certificate"},
        {"echo '{\"apiVersion\":\"" V1 "\",\"kind\":\"ExecCredential\",\"status\":{\"clientKeyData\":\"k\",\"token\":\"t\"}}'",
         "without the other"},
        {"echo '{\"apiVersion\":\"" V1
         "\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"t\",\"expirationTimestamp\":\"soon\"}}'",
         "its expirationTimestamp is no time: soon"},
        {"echo '{\"apiVersion\":\"" V1 "\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"a\\\\nb\"}}'", "line breaks"},
        {"kill -9 $$", "it was ended by signal 9"},
        {"head -c 3000000 /dev/zero", "it prints more than 1048576 bytes"},
        {"yes", "it prints more than 1048576 bytes"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(kube_access_clear) struct kube_access a = plugin(cases[i].script);
        struct exec_credential out;
        struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, 30 * NS_PER_S);
        ERR(e);
        assert_int_equal(exec_plugin_run(&a, &ctx, &out, &e), -1);
        if (e.code != ERR_UNAUTHENTICATED || !strstr(err_text(&e), cases[i].says))
            fail_msg("%s: %d %s", cases[i].script, e.code, err_text(&e));
        assert_non_null(strstr(err_text(&e), "credentials of user \"u\" from plugin"));
        assert_null(strstr(err_text(&e), "rubbish")); /* what it prints may be a secret */
    }
}

static void test_plugin_missing_or_with_terminal(void **state)
{
    CLEANUP(kube_access_clear) struct kube_access a = plugin("true");
    struct exec_credential out;
    struct ctx ctx = ctx_background();
    ERR(e);
    free(a.exec.command);
    a.exec.command = xstrdup("no-such-plugin-anywhere");
    a.exec.install_hint = xstrdup("install it like this");
    assert_int_equal(exec_plugin_run(&a, &ctx, &out, &e), -1);
    assert_non_null(strstr(err_text(&e), "cannot be started: No such file or directory; install it like this"));
    a.exec.stdin_mode = KUBE_EXEC_ALWAYS;
    assert_int_equal(exec_plugin_run(&a, &ctx, &out, &e), -1);
    assert_non_null(strstr(err_text(&e), "it wants a terminal"));
}

/* It hangs, or it ends and leaves something that holds its pipes. */
static void test_plugin_hangs(void **state)
{
    CLEANUP(kube_access_clear) struct kube_access a = plugin("sleep 200 & echo $! > $PIDS; sleep 200");
    AUTOFREE char *pids = xasprintf("PIDS=%s/pids", dir), *pids_path = fs_join(dir, "pids");
    strlist_add(&a.exec.env, pids);
    struct exec_credential out;
    struct ctx bg = ctx_background();
    ERR(e);
    BUF(text);
    int64_t began = ctx_mono_ns(&bg);
    for (int64_t s = 2; !text.len && s < 50; s *= 2) { /* the shell has to come that far */
        err_clear(&e);
        struct ctx ctx = ctx_with_timeout(&bg, s * NS_PER_S);
        assert_int_equal(exec_plugin_run(&a, &ctx, &out, &e), -1);
        assert_int_equal(e.code, ERR_TIMEOUT);
        fs_read(pids_path, 100, &text, NULL);
    }
    assert_true(text.len > 0);
    assert_true(ctx_mono_ns(&bg) - began < 90 * NS_PER_S);
    int64_t pid;
    text.data[strcspn(text.data, "\n")] = '\0';
    assert_true(str_to_i64(text.data, &pid));
    AUTOFREE char *proc = xasprintf("/proc/%lld/cmdline", (long long)pid);
    for (int i = 0; i < 5000; i++) {
        BUF(line);
        if (fs_read(proc, 4096, &line, NULL) < 0 || !line.len || !strstr(line.data, "sleep"))
            break;
        assert_int_not_equal(i, 4999);
        usleep(10000);
    }
    CLEANUP(kube_access_clear)
    struct kube_access b =
        plugin("sleep 200 & echo '{\"apiVersion\":\"" V1 "\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"t\"}}'");
    began = ctx_mono_ns(&bg);
    err_clear(&e);
    if (exec_plugin_run(&b, &bg, &out, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_string_equal(out.token, "t");
    exec_credential_clear(&out);
    assert_true(ctx_mono_ns(&bg) - began < 150 * NS_PER_S);
}

/* It complains without end, faster than it can be read: time ends it all the same. */
static void test_plugin_complains(void **state)
{
    CLEANUP(kube_access_clear) struct kube_access a = plugin("yes >&2 & yes >&2 & yes >&2");
    struct exec_credential out;
    struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, 500 * NS_PER_MS);
    ERR(e);
    assert_int_equal(exec_plugin_run(&a, &ctx, &out, &e), -1);
    assert_int_equal(e.code, ERR_TIMEOUT);
}

static void test_certificate_files(void **state)
{
    AUTOFREE char *cert = put("cert", 0600, "cert one"), *key = put("key", 0600, "key one");
    struct kube_access a = {.cert_file = cert, .key_file = key, .cert_pem = xstrdup("cert one"), .key_pem = xstrdup("key one")};
    struct credentials *c = credentials_new(&a, &now.clock);
    CLEANUP(credential_clear) struct credential first = now_of(c);
    assert_string_equal(first.cert_pem, "cert one");
    free(put("cert", 0600, "cert two"));
    free(put("key", 0600, "key two"));
    clock_manual_advance(&now, 61 * NS_PER_S);
    CLEANUP(credential_clear) struct credential second = now_of(c);
    assert_string_equal(second.cert_pem, "cert two");
    assert_string_equal(second.key_pem, "key two");
    assert_int_not_equal(first.cert_serial, second.cert_serial);
    credentials_free(c);
    free(a.cert_pem);
    free(a.key_pem);
}

#define CASE(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
TEST_GROUP(credential, CASE(test_kinds), CASE(test_token_file), CASE(test_plugin), CASE(test_plugin_wrong),
           CASE(test_plugin_missing_or_with_terminal), CASE(test_plugin_hangs), CASE(test_plugin_complains),
           CASE(test_certificate_files))
