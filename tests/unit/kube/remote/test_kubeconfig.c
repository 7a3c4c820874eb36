/* test_kubeconfig.c - files to access: merging, precedence, paths, what is refused. */
#include "unit.h"
#include <errno.h>

#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "kube/remote/kubeconfig.h"

#define ALL                                                                                                                      \
    "apiVersion: v1\nkind: Config\ncurrent-context: dev\n"                                                                       \
    "clusters:\n- name: c\n  cluster: {server: 'https://h:1/', certificate-authority-data: Y2E=, tls-server-name: n, "           \
    "proxy-url: 'http://p:1'}\n"                                                                                                 \
    "users:\n- name: u\n  user: {token: t, as: boss, as-groups: [g1, g2], as-uid: '7', as-user-extra: {scope: [a, b]}}\n"        \
    "contexts:\n- name: dev\n  context: {cluster: c, user: u, namespace: ns}\n"

static int pick_from(const char *const *texts, const char *context, struct kube_access *a, char **ca_file, struct err *e)
{
    struct kubeconfig k;
    kubeconfig_init(&k);
    int rc = 0;
    for (size_t i = 0; rc == 0 && texts[i]; i++) {
        AUTOFREE char *dir = xasprintf("/dir%zu", i);
        rc = kubeconfig_add(&k, texts[i], strlen(texts[i]), dir, "/dir/config", e);
    }
    if (rc == 0)
        rc = kubeconfig_pick(&k, context, a, ca_file, e);
    kubeconfig_clear(&k);
    return rc;
}

static void test_everything(void **state)
{
    CLEANUP(kube_access_clear) struct kube_access a;
    AUTOFREE char *ca = NULL;
    ERR(e);
    if (pick_from((const char *const[]){ALL, NULL}, NULL, &a, &ca, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_string_equal(a.server, "https://h:1");
    assert_string_equal(a.ca_pem, "ca");
    assert_string_equal(a.tls_server_name, "n");
    assert_string_equal(a.proxy_url, "http://p:1");
    assert_string_equal(a.ns, "ns");
    assert_string_equal(a.user, "u");
    assert_string_equal(a.token, "t");
    assert_string_equal(a.as, "boss");
    assert_string_equal(a.as_uid, "7");
    assert_int_equal(a.as_groups.n, 2);
    assert_string_equal(a.as_extra.v[1], "scope=b");
}

/* The first file that names something wins, and paths are relative to the file that holds them. */
static void test_merged(void **state)
{
    static const char one[] = "contexts: [{name: x, context: {cluster: c, user: u}}]\n"
                              "users: [{name: u, user: {tokenFile: tok, client-certificate: /abs/cert, client-key: key}}]\n";
    static const char two[] =
        "current-context: x\nclusters: [{name: c, cluster: {server: 'https://two', certificate-authority: ca.pem}}]\n"
        "users: [{name: u, user: {token: other}}]\ncontexts: [{name: x, context: {cluster: none, user: none}}]\n";
    CLEANUP(kube_access_clear) struct kube_access a;
    AUTOFREE char *ca = NULL;
    ERR(e);
    if (pick_from((const char *const[]){"", one, two, NULL}, NULL, &a, &ca, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_string_equal(a.server, "https://two");
    assert_string_equal(ca, "/dir2/ca.pem");
    assert_string_equal(a.token_file, "/dir1/tok");
    assert_string_equal(a.cert_file, "/abs/cert");
    assert_string_equal(a.key_file, "/dir1/key");
    assert_null(a.token);
}

static void test_exec(void **state)
{
    static const char text[] = "clusters: [{name: c, cluster: {server: 'https://x', extensions: [{name: "
                               "client.authentication.k8s.io/exec, extension: {a: 1}}]}}]\n"
                               "users: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: "
                               "bin/plugin, args: [a, b], env: [{name: N, value: v}],"
                               " provideClusterInfo: true, interactiveMode: Never, installHint: get it}}}]\n"
                               "contexts: [{name: x, context: {cluster: c, user: u}}]\n";
    CLEANUP(kube_access_clear) struct kube_access a;
    AUTOFREE char *ca = NULL;
    ERR(e);
    if (pick_from((const char *const[]){text, NULL}, "x", &a, &ca, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_string_equal(a.exec.command, "/dir0/bin/plugin");
    assert_int_equal(a.exec.args.n, 2);
    assert_string_equal(a.exec.env.v[0], "N=v");
    assert_true(a.exec.cluster_info);
    assert_int_equal(a.exec.stdin_mode, KUBE_EXEC_NEVER);
    assert_non_null(a.exec.extension);
}

static void test_refused(void **state)
{
#define CLUSTER "clusters: [{name: c, cluster: {server: 'https://x'}}]\n"
#define CONTEXT "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"
#define USER(u) CLUSTER CONTEXT "users: [{name: u, user: " u "}]\n"
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"[1, 2]", "an object is expected, not array"},
        {"kind: Pod", "its kind is Pod, not Config"},
        {"apiVersion: v2", "only v1 is known"},
        {"clusters: 7", "clusters must be a list, not number"},
        {"users: [{user: {}}]", "an entry of users has no name"},
        {"a: [", "line 2"},
        {"{}", "there is no current-context"},
        {"current-context: y", "there is no context \"y\""},
        {CONTEXT, "of cluster \"c\", which is not there"},
        {CLUSTER CONTEXT, "of user \"u\", who is not there"},
        {CONTEXT "users: [{name: u}]\nclusters: [{name: c}]", "cluster \"c\": it has no server"},
        {CONTEXT "users: [{name: u}]\nclusters: [{name: c, cluster: {server: 'ftp://x'}}]",
         "must begin with https:// or http://"},
        {CONTEXT "users: [{name: u}]\nclusters: [{name: c, cluster: {server: 'https://x', insecure-skip-tls-verify: true, "
                 "certificate-authority-data: Y2E=}}]",
         "only one of them can be meant"},
        {CONTEXT "users: [{name: u}]\nclusters: [{name: c, cluster: {server: 'https://x', certificate-authority-data: '?'}}]",
         "certificate-authority-data is not base64"},
        {USER("{client-certificate-data: Y2E=}"), "user \"u\": it has a client certificate without its key"},
        {USER("{client-key-data: Y2E=}"), "it has a client key without its certificate"},
        {USER("{as-groups: [a]}"), "but no user (as)"},
        {USER("{exec: {apiVersion: client.authentication.k8s.io/v1}}"), "exec has no command"},
        {USER("{exec: {apiVersion: client.authentication.k8s.io/v1alpha1, command: x}}"), "v1 and v1beta1 are known"},
        {USER("{exec: {apiVersion: client.authentication.k8s.io/v1, command: x, interactiveMode: Often}}"),
         "interactiveMode \"Often\""},
        {USER("{exec: {apiVersion: client.authentication.k8s.io/v1, command: x, env: [{name: 'a=b'}]}}"), "no usable name"},
        {USER("{auth-provider: {name: gcp}}"), "use the exec plugin gke-gcloud-auth-plugin"},
        {USER("{auth-provider: {name: azure}}"), "use the exec plugin kubelogin"},
        {USER("{auth-provider: {name: openstack}}"), "auth-provider \"openstack\" is not known"},
        {USER("{auth-provider: {name: oidc, config: {client-id: c}}}"), "auth-provider oidc has no idp-issuer-url"},
        {USER("{auth-provider: {name: oidc, config: {idp-issuer-url: 'https://i'}}}"), "auth-provider oidc has no client-id"},
        {USER("{auth-provider: {name: oidc, config: {idp-issuer-url: 'i', client-id: c}}}"), "must begin with https://"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kube_access a = {0};
        AUTOFREE char *ca = NULL;
        ERR(e);
        if (pick_from((const char *const[]){cases[i].text, NULL}, NULL, &a, &ca, &e) == 0)
            fail_msg("taken: %s", cases[i].text);
        if (!strstr(err_text(&e), cases[i].says))
            fail_msg("\"%s\" does not say \"%s\"", err_text(&e), cases[i].says);
    }
}

static void put(const char *dir, const char *name, const char *text)
{
    AUTOFREE char *path = fs_join(dir, name);
    ERR(e);
    if (fs_write_atomic(path, text, strlen(text), 0600, &e) < 0)
        fail_msg("%s", err_text(&e));
}

/* The environment's list: missing files are passed over; a file that was named has to be there. */
static void test_files(void **state)
{
    char dir[] = "/tmp/tidemill-kubeconfig-XXXXXX";
    assert_non_null(mkdtemp(dir));
    put(dir, "one", "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: ''}}]\n");
    put(dir, "two", "clusters: [{name: c, cluster: {server: 'https://x', certificate-authority: ca}}]\n");
    put(dir, "ca", "pem");
    AUTOFREE char *list = xasprintf("%s/none:%s/one::%s/two", dir, dir, dir), *none = fs_join(dir, "none"),
                  *one = fs_join(dir, "one");
    setenv("KUBECONFIG", list, 1);
    struct kube_access a;
    ERR(e);
    if (kube_access_load(NULL, NULL, &a, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_string_equal(a.ca_pem, "pem");
    kube_access_clear(&a);
    assert_int_equal(kube_access_load(none, NULL, &a, &e), -1);
    assert_int_equal(e.sys_errno, ENOENT);
    assert_int_equal(kube_access_load(one, NULL, &a, &e), -1);
    assert_non_null(strstr(err_text(&e), "which is not there"));
    setenv("KUBECONFIG", none, 1);
    unsetenv("KUBERNETES_SERVICE_HOST");
    assert_int_equal(kube_access_load(NULL, NULL, &a, &e), -1);
    assert_non_null(strstr(err_text(&e), "use --kubeconfig FILE"));
    unsetenv("KUBECONFIG");
    fs_rm_rf(dir, NULL);
}

static void test_in_cluster(void **state)
{
    char dir[] = "/tmp/tidemill-account-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct kube_access a;
    ERR(e);
    unsetenv("KUBERNETES_SERVICE_HOST");
    assert_int_equal(kube_access_in_cluster(dir, &a, &e), -1);
    assert_int_equal(e.code, ERR_PRECONDITION);
    setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
    setenv("KUBERNETES_SERVICE_PORT", "443", 1);
    assert_int_equal(kube_access_in_cluster(dir, &a, &e), -1);
    assert_non_null(strstr(err_text(&e), "no service account token"));
    put(dir, "token", "secret");
    put(dir, "ca.crt", "pem");
    put(dir, "namespace", "kubeflow\n");
    if (kube_access_in_cluster(dir, &a, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_string_equal(a.server, "https://[fd00::1]:443");
    assert_string_equal(a.ns, "kubeflow");
    assert_string_equal(a.ca_pem, "pem");
    assert_null(a.token);
    assert_non_null(a.token_file);
    kube_access_clear(&a);
    unsetenv("KUBERNETES_SERVICE_HOST");
    unsetenv("KUBERNETES_SERVICE_PORT");
    fs_rm_rf(dir, NULL);
}

TEST_GROUP(kubeconfig, cmocka_unit_test(test_everything), cmocka_unit_test(test_merged), cmocka_unit_test(test_exec),
           cmocka_unit_test(test_refused), cmocka_unit_test(test_files), cmocka_unit_test(test_in_cluster))
