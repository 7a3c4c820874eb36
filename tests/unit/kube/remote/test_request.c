/* test_request.c - against a server that says "later", "who?", nothing at all, or rubbish. */
#include "unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "kube/remote/remote.h"
#include "net/server.h"

/* ---- the server: the name of the object says what it does ---- */

static atomic_int asked;
static _Atomic(const char *) good_token;

static void status(struct http_res *res, int code, const char *reason)
{
    AUTOFREE char *text = xasprintf("{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\"message\":\"%s it "
                                    "is\",\"reason\":\"%s\",\"code\":%d}",
                                    reason, reason, code);
    http_status(res, code);
    http_body(res, "application/json", text, strlen(text));
}

static void object(struct http_res *res, const char *name)
{
    AUTOFREE char *text = xasprintf(
        "{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"%s\",\"resourceVersion\":\"7\"}}", name);
    http_body(res, "application/json", text, strlen(text));
}

static int on_object(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    const char *name = http_param(req, "name");
    int n = atomic_fetch_add(&asked, 1);
    if (str_eq(name, "later") && n < 2) {
        http_set_header(res, "Retry-After", "0");
        status(res, 429, "TooManyRequests");
    } else if (str_eq(name, "never")) {
        http_set_header(res, "Retry-After", "0");
        status(res, 429, "TooManyRequests");
    } else if (str_eq(name, "much-later")) {
        http_set_header(res, "Retry-After", "120");
        status(res, 503, "ServiceUnavailable");
    } else if (str_eq(name, "gateway") && n < 2) {
        http_text(res, 502, "upstream is away");
    } else if (str_eq(name, "broken")) {
        status(res, 500, "InternalError");
    } else if (str_eq(name, "rubbish")) {
        http_text(res, 200, "not JSON");
    } else if (str_eq(name, "slow")) {
        ctx_sleep(ctx, 3 * NS_PER_S, NULL);
        object(res, name);
    } else if (str_eq(name, "who")) {
        const char *sent = http_header_get(req, "authorization");
        if (str_eq(sent, atomic_load(&good_token)))
            object(res, name);
        else
            status(res, 401, "Unauthorized");
    } else if (str_eq(name, "as")) {
        object(res, str_eq(http_header_get(req, "impersonate-user"), "boss") &&
                            str_eq(http_header_get(req, "impersonate-group"), "g") &&
                            str_eq(http_header_get(req, "impersonate-extra-a%2fb"), "c")
                        ? "yes"
                        : "no");
    } else {
        http_add_header(res, "Warning", "299 - \"that is old\"");
        object(res, name);
    }
    return 0;
}

static void watch_start(struct stream *st, void *state)
{
    const char *text = state;
    stream_write(st, text, strlen(text));
    stream_end(st);
}
static void watch_close(struct stream *st, void *state) {}
static const struct stream_ops watch_ops = {.on_start = watch_start, .on_close = watch_close};

/* The label selector says how the watch goes. */
static int on_collection(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    static char gone[] = "{\"type\":\"ADDED\",\"object\":{\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\"}}}\n\n"
                         "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"message\":\"too old resource "
                         "version\",\"reason\":\"Expired\",\"code\":410}}\n";
    static char rubbish[] = "{\"type\":\"ADDED\",\"obj\n";
    static char unknown[] = "{\"type\":\"SINGING\",\"object\":{}}\n";
    static char part[] = "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"a\"}}}\n{\"type\":\"MODI";
    const char *how = http_query(req, "labelSelector");
    atomic_fetch_add(&asked, 1);
    if (!http_query_bool(req, "watch")) {
        static const char list[] = "{\"kind\":\"ConfigMapList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"9\"},"
                                   "\"items\":[{\"metadata\":{\"name\":\"a\"}},"
                                   "{\"kind\":\"Other\",\"apiVersion\":\"x/v1\",\"metadata\":{\"name\":\"b\"}}]}";
        static const char odd[] = "{\"kind\":\"Pod\"}";
        const char *text = str_eq(how, "odd") ? odd : list;
        http_body(res, "application/json", text, strlen(text));
        return 0;
    }
    http_stream(res, "application/json", &watch_ops,
                str_eq(how, "gone")      ? gone
                : str_eq(how, "rubbish") ? rubbish
                : str_eq(how, "unknown") ? unknown
                                         : part);
    return 0;
}

static int everybody(void *self, struct ctx *ctx, struct http_req *req, struct err *err) { return 0; }
static void write_error(void *self, struct http_req *req, struct http_res *res, const struct err *e)
{
    http_text(res, err_http_status(e), "%s", err_text(e));
}
static const struct route routes[] = {
    {HTTP_GET | HTTP_PUT | HTTP_PATCH | HTTP_DELETE, "/api/v1/namespaces/{ns}/configmaps/{name}", on_object, PERM_OPEN, 0},
    {HTTP_GET | HTTP_POST, "/api/v1/namespaces/{ns}/configmaps", on_collection, PERM_OPEN, 0},
};
static const struct http_api api = {.name = "liar",
                                    .routes = routes,
                                    .n_routes = ARRAY_LEN(routes),
                                    .authenticate = everybody,
                                    .authorize = everybody,
                                    .write_error = write_error};

static struct http_server *server;
static int port;

static int set_up(void **state)
{
    ERR(e);
    server = http_server_new(NULL, &e);
    struct mount m = {.prefix = "/", .api = &api};
    struct listener_config lc = {.address = "127.0.0.1:0", .mounts = &m, .n_mounts = 1};
    atomic_store(&asked, 0);
    return http_server_listen(server, &lc, &port, &e) < 0 || http_server_start(server, &e) < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    http_server_stop(server, 1000);
    return 0;
}

static struct kube *client(struct kube_access *a, int64_t timeout_ns)
{
    ERR(e);
    a->server = xasprintf("http://127.0.0.1:%d", port);
    struct kube *k = kube_remote_new(&(struct kube_remote_config){.access = a, .call_timeout_ns = timeout_ns}, &e);
    if (!k)
        fail_msg("%s", err_text(&e));
    return k;
}

static struct json *get(struct kube *k, const char *name, struct err *e)
{
    struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, 100 * NS_PER_S);
    return kube_get(k, &ctx, &KUBE_CONFIGMAPS, "ns", name, NULL, e);
}

static int put(struct kube *k, const char *name, struct err *e)
{
    struct ctx bg = ctx_background(), ctx = ctx_with_timeout(&bg, 100 * NS_PER_S);
    JSON_REF(d) = json_parse_str("{\"metadata\":{}}", NULL);
    JSON_REF(done) = kube_update(k, &ctx, &KUBE_CONFIGMAPS, "ns", name, json_root(d), NULL, e);
    return done ? 0 : -1;
}

/* ---- tests ---- */

static void test_repeated_where_safe(void **state)
{
    static const struct {
        const char *name;
        bool writes, works;
        int calls;
        enum err_code code;
    } cases[] = {
        {"plain", false, true, 1, 0},
        {"later", false, true, 3, 0},
        {"later", true, true, 3, 0},
        {"gateway", false, true, 3, 0},
        {"gateway", true, false, 1, ERR_UNAVAILABLE},
        {"broken", false, false, 1, ERR_INTERNAL},
        {"broken", true, false, 1, ERR_INTERNAL},
        {"never", false, false, 11, ERR_TOO_MANY},
        {"much-later", false, false, 1, ERR_UNAVAILABLE},
        {"rubbish", false, false, 1, ERR_UNAVAILABLE},
    };
    struct kube_access a = {0};
    struct kube *k = client(&a, 100 * NS_PER_S);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ERR(e);
        atomic_store(&asked, 0);
        JSON_REF(d) = cases[i].writes ? NULL : get(k, cases[i].name, &e);
        bool works = cases[i].writes ? put(k, cases[i].name, &e) == 0 : d != NULL;
        if (works != cases[i].works || atomic_load(&asked) != cases[i].calls || e.code != cases[i].code)
            fail_msg("%s: %d, %d calls, code %d: %s", cases[i].name, works, atomic_load(&asked), e.code, err_text(&e));
        if (str_eq(cases[i].name, "much-later"))
            assert_int_equal(e.retry_after_s, 120);
    }
    kube_remote_free(k);
}

static void test_time_out(void **state)
{
    struct kube_access a = {0};
    struct kube *k = client(&a, NS_PER_S / 2);
    ERR(e);
    assert_null(get(k, "slow", &e));
    assert_int_equal(e.code, ERR_TIMEOUT);
    assert_non_null(strstr(err_text(&e), "gave no answer within"));
    kube_remote_free(k);
}

static void test_nobody_there(void **state)
{
    struct kube_access a = {.server = xstrdup("http://127.0.0.1:1")};
    ERR(e);
    struct kube *k = kube_remote_new(&(struct kube_remote_config){.access = &a}, &e);
    assert_null(get(k, "x", &e));
    assert_int_equal(e.code, ERR_UNAVAILABLE);
    assert_int_equal(put(k, "x", &e), -1);
    assert_int_equal(e.code, ERR_UNAVAILABLE);
    kube_remote_free(k);
}

/* Credentials that expire: a plugin is asked once more, a fixed token is not. */
static void test_unauthorized(void **state)
{
    char path[] = "/tmp/tidemill-plugin-XXXXXX", count[] = "/tmp/tidemill-count-XXXXXX";
    int fd = mkstemp(path), cfd = mkstemp(count);
    AUTOFREE char *script = xasprintf(
        "#!/bin/sh\necho x >> %s\necho '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\","
        "\"status\":{\"token\":\"t'$(wc -l < %s)'\"}}'\n",
        count, count);
    assert_int_equal(write(fd, script, strlen(script)), strlen(script));
    fchmod(fd, 0700);
    close(fd);
    close(cfd);
    struct kube_access a = {.user = xstrdup("u"),
                            .exec = {.command = xstrdup(path), .api_version = xstrdup("client.authentication.k8s.io/v1")}};
    struct kube *k = client(&a, 0);
    ERR(e);
    atomic_store(&good_token, "Bearer t1");
    json_unref(get(k, "who", &e));
    assert_int_equal(e.code, 0);
    int64_t began = clock_system.mono_ns(&clock_system);
    atomic_store(&good_token, "Bearer t2"); /* the first has expired */
    JSON_REF(d) = get(k, "who", &e);
    if (!d)
        fail_msg("%s", err_text(&e));
    atomic_store(&good_token, "Bearer none");
    atomic_store(&asked, 0);
    assert_null(get(k, "who", &e));
    assert_int_equal(e.code, ERR_UNAUTHENTICATED);
    /* The last renewal was a moment ago: neither the server is asked twice for each call, nor the plugin once. */
    for (int i = 0; i < 20; i++)
        assert_null(get(k, "who", NULL));
    BUF(runs);
    assert_int_equal(fs_read(count, 4096, &runs, &e), 0);
    int renewals = (int)(runs.len / strlen("x\n")) - 2; /* one for each second that a busy machine took, at most */
    assert_in_range(renewals, 0, (clock_system.mono_ns(&clock_system) - began) / NS_PER_S);
    assert_int_equal(atomic_load(&asked), 21 + renewals);
    kube_remote_free(k);
    unlink(path);
    unlink(count);
    struct kube_access fixed = {.token = xstrdup("old")};
    k = client(&fixed, 0);
    atomic_store(&asked, 0);
    assert_null(get(k, "who", &e));
    assert_int_equal(e.code, ERR_UNAUTHENTICATED);
    assert_int_equal(atomic_load(&asked), 1);
    kube_remote_free(k);
}

static void test_impersonation(void **state)
{
    struct kube_access a = {.as = xstrdup("boss")};
    strlist_add(&a.as_groups, "g");
    strlist_add(&a.as_extra, "a/b=c");
    struct kube *k = client(&a, 0);
    ERR(e);
    JSON_REF(d) = get(k, "as", &e);
    assert_string_equal(obj_name(json_root(d)), "yes");
    kube_remote_free(k);
}

static void test_lists(void **state)
{
    struct kube_access a = {0};
    struct kube *k = client(&a, 0);
    struct ctx ctx = ctx_background();
    struct kube_list l;
    ERR(e);
    if (kube_list(k, &ctx, &KUBE_CONFIGMAPS, "ns", NULL, &l, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_int_equal(l.n, 2);
    assert_string_equal(obj_kind(json_root(l.items[0])), "ConfigMap");
    assert_string_equal(obj_api_version(json_root(l.items[0])), "v1");
    assert_string_equal(obj_kind(json_root(l.items[1])), "Other");
    assert_string_equal(l.resource_version, "9");
    assert_null(l.continue_token);
    kube_list_free(&l);
    assert_int_equal(kube_list(k, &ctx, &KUBE_CONFIGMAPS, "ns", (&(struct kube_opts){.label_selector = "odd"}), &l, &e), -1);
    assert_int_equal(e.code, ERR_UNAVAILABLE);
    kube_remote_free(k);
}

static void test_watches(void **state)
{
    static const struct {
        const char *how;
        int events, end; /* what comes after them */
        enum err_code code;
        const char *says;
    } cases[] = {
        {"gone", 1, -1, ERR_GONE, "too old resource version"},
        {"rubbish", 0, -1, ERR_UNAVAILABLE, "an event of the watch"},
        {"unknown", 0, -1, ERR_UNAVAILABLE, "unknown type \"SINGING\""},
        {"part", 1, 0, 0, ""},
    };
    struct kube_access a = {0};
    struct kube *k = client(&a, 0);
    struct ctx ctx = ctx_background();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ERR(e);
        const struct kube_opts o = {.label_selector = cases[i].how};
        struct kube_watch *w = kube_watch(k, &ctx, &KUBE_CONFIGMAPS, "ns", &o, &e);
        if (!w)
            fail_msg("%s", err_text(&e));
        struct kube_event ev;
        int n = 0, rc;
        while ((rc = kube_watch_next(k, w, &ctx, &ev, &e)) == 1) {
            json_unref(ev.object);
            n++;
        }
        if (n != cases[i].events || rc != cases[i].end || e.code != cases[i].code || !strstr(err_text(&e), cases[i].says))
            fail_msg("%s: %d events, then %d %d %s", cases[i].how, n, rc, e.code, err_text(&e));
        assert_int_equal(kube_watch_next(k, w, &ctx, &ev, &e), 0); /* it stays over */
        kube_watch_close(k, w);
    }
    kube_remote_free(k);
}

static void test_names_that_are_paths(void **state)
{
    static const char *const names[] = {"a/b", "..", ".", "a%2fb"};
    struct kube_access a = {0};
    struct kube *k = client(&a, 0);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        ERR(e);
        assert_null(get(k, names[i], &e));
        assert_int_equal(e.code, ERR_BAD_REQUEST);
    }
    assert_int_equal(atomic_load(&asked), 0);
    kube_remote_free(k);
}

static void test_rate(void **state)
{
    struct kube_access a = {.server = xasprintf("http://127.0.0.1:%d", port)};
    ERR(e);
    struct kube *k = kube_remote_new(&(struct kube_remote_config){.access = &a, .qps = 20, .burst = 2}, &e);
    struct ctx ctx = ctx_background();
    int64_t began = ctx_mono_ns(&ctx);
    for (int i = 0; i < 8; i++)
        json_unref(get(k, "plain", &e));
    assert_true(ctx_mono_ns(&ctx) - began >= 290 * NS_PER_MS); /* six waits of 50 ms */
    kube_remote_free(k);
}

#define CASE(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
TEST_GROUP(request, CASE(test_repeated_where_safe), CASE(test_time_out), CASE(test_nobody_there), CASE(test_unauthorized),
           CASE(test_impersonation), CASE(test_lists), CASE(test_watches), CASE(test_names_that_are_paths), CASE(test_rate))
