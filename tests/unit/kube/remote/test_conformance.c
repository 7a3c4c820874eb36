/* test_conformance.c - the table of conformance.h against each `struct kube` that is in reach. */
#include "conformance.h"
#include "fake_node.h"

#include <signal.h>
#include <unistd.h>

#include "base/fs.h"
#include "cluster/apiserver/apiserver.h"
#include "cluster/controllers/controllers.h"
#include "kube/remote/remote.h"

#define LOG_ROOM "conformance"
#include "base/log.h"

/* ---- the embedded API server ---- */

struct embedded {
    char dir[64];
    struct apiserver *apiserver;
    struct http_server *http;
    struct controllers *controllers;
    int port;
    struct kube *inproc, *remote;
};

static void kinds_changed(void *c) { controllers_kinds_changed(c); }

static void embedded_up(struct embedded *s)
{
    static const char *const masters[] = {"system:masters", "system:authenticated", NULL};
    ERR(e);
    s->apiserver = apiserver_new(&(struct apiserver_config){.data_dir = s->dir}, &e);
    if (!s->apiserver)
        fail_msg("%s", err_text(&e));
    apiserver_set_node(s->apiserver, &fake_node);
    s->http = http_server_new(NULL, &e);
    struct mount mount = {.prefix = "/", .api = apiserver_http(s->apiserver)};
    AUTOFREE char *address = xasprintf("127.0.0.1:%d", s->port);
    struct listener_config lc = {.address = address, .tls = apiserver_tls(s->apiserver), .mounts = &mount, .n_mounts = 1};
    if (http_server_listen(s->http, &lc, &s->port, &e) < 0 || http_server_start(s->http, &e) < 0)
        fail_msg("%s", err_text(&e));
    s->inproc = apiserver_kube(s->apiserver, &(struct identity){"system:tidemill", "", masters, NULL});
    struct ctx ctx = soon();
    const struct controllers_config cc = {.kube = s->inproc,
                                          .clock = &clock_system,
                                          .ca_pem = apiserver_ca_pem(s->apiserver),
                                          .each_kind = apiserver_each_kind,
                                          .self = s->apiserver};
    if (!(s->controllers = controllers_start(&cc, &ctx, &e)))
        fail_msg("%s", err_text(&e));
    apiserver_on_kinds_changed(s->apiserver, kinds_changed, s->controllers);
}

static void embedded_down(struct embedded *s)
{
    apiserver_on_kinds_changed(s->apiserver, NULL, NULL);
    controllers_stop(s->controllers);
    http_server_stop(s->http, 1000);
    apiserver_set_node(s->apiserver, NULL);
    apiserver_stop(s->apiserver);
}

static void embedded_restart(struct target *t)
{
    struct embedded *s = t->self;
    embedded_down(s);
    usleep(500000);
    embedded_up(s);
}

static struct kube *remote_of(const char *kubeconfig)
{
    ERR(e);
    struct kube_access a;
    if (kube_access_load(kubeconfig, NULL, &a, &e) < 0)
        fail_msg("%s", err_text(&e));
    struct kube *k = kube_remote_new(&(struct kube_remote_config){.access = &a, .component = "conformance", .qps = -1}, &e);
    if (!k)
        fail_msg("%s", err_text(&e));
    return k;
}

static void embedded_start(struct embedded *s)
{
    *s = (struct embedded){.dir = "/tmp/tidemill-conformance-XXXXXX"};
    assert_non_null(mkdtemp(s->dir));
    embedded_up(s);
    ERR(e);
    AUTOFREE char *url = xasprintf("https://127.0.0.1:%d", s->port), *config = apiserver_kubeconfig(s->apiserver, url, &e),
                  *path = fs_join(s->dir, "kubeconfig");
    assert_int_equal(fs_write_atomic(path, config, strlen(config), 0600, &e), 0);
    s->remote = remote_of(path);
}

static void embedded_end(struct embedded *s)
{
    kube_remote_free(s->remote);
    embedded_down(s);
    fs_rm_rf(s->dir, NULL);
}

/* ---- running the table ---- */

static struct target *current;

/* cmocka hands a test its state; the case itself comes from its place in the table. */
static void run_case(void **state)
{
    const struct conformance_case *c = *state;
    c->run(current);
}

static int run_table(struct target *t, const char *name, const struct conformance_case *cases, size_t n)
{
    struct CMUnitTest *tests = xcalloc(n, sizeof *tests);
    char **names = xcalloc(n, sizeof *names);
    for (size_t i = 0; i < n; i++) {
        names[i] = xasprintf("%s_%s", t->name, cases[i].name);
        tests[i] = (struct CMUnitTest){names[i], run_case, NULL, NULL, (void *)&cases[i]};
    }
    current = t;
    int failed = _cmocka_run_group_tests(name, tests, n, NULL, NULL);
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
    free(tests);
    return failed;
}

static int run_target(struct target *t)
{
    AUTOFREE char *objects = xasprintf("%s_objects", t->name), *live = xasprintf("%s_live", t->name),
                  *node = xasprintf("%s_node", t->name);
    target_open(t);
    int failed = run_table(t, objects, conformance_objects, n_conformance_objects) +
                 run_table(t, node, conformance_node, n_conformance_node) +
                 run_table(t, live, conformance_live, n_conformance_live);
    target_close(t);
    return failed;
}

int group_conformance(void);
int group_conformance(void)
{
    struct embedded s;
    embedded_start(&s);
    struct target inproc = {.name = "inproc", .node = "fake", .kube = s.inproc, .self = &s};
    struct target remote = {
        .name = "https", .node = "fake", .wire = true, .kube = s.remote, .self = &s, .restart = embedded_restart};
    int failed = run_target(&inproc) + run_target(&remote);
    if (failed) /* what a failed case left running (an informer, a candidate) uses all of it still */
        fs_rm_rf(s.dir, NULL);
    else
        embedded_end(&s);
    return failed;
}

/* ---- a real Kubernetes ---- */

static void real_restart(struct target *t)
{
    if (system(getenv("TIDEMILL_CONFORMANCE_RESTART")) != 0)
        fail_msg("the API server was not started again");
}

int group_conformance_real(void);
int group_conformance_real(void)
{
    const char *path = getenv("TIDEMILL_CONFORMANCE_KUBECONFIG");
    if (str_empty(path))
        return 0;
    struct target t = {.name = "real", .wire = true, .kube = remote_of(path), .node = getenv("TIDEMILL_CONFORMANCE_NODE")};
    t.real_node = t.node != NULL;
    if (!str_empty(getenv("TIDEMILL_CONFORMANCE_RESTART")))
        t.restart = real_restart;
    int failed = run_target(&t);
    kube_remote_free(t.kube);
    return failed;
}
