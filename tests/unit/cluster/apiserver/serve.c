/* serve.c - the API server alone, with the core controllers and no node: what the recordings of a real one are replayed against.
 *
 *     apiserver_serve DATA-DIR PORT      prints "ready TOKEN" once it answers; ends on SIGTERM or SIGINT
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fs.h"
#include "base/log.h"
#include "cluster/apiserver/apiserver.h"
#ifdef WITH_CONTROLLERS
#include "cluster/controllers/controllers.h"
#endif

static int fail(const char *what, const struct err *e)
{
    fprintf(stderr, "%s: %s\n", what, err_text(e));
    return 1;
}

#ifdef WITH_CONTROLLERS
static void changed(void *arg) { controllers_kinds_changed(arg); }
#endif

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s DATA-DIR PORT\n", argv[0]);
        return 2;
    }
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    ERR(e);
    struct apiserver *a = apiserver_new(&(struct apiserver_config){.data_dir = argv[1]}, &e);
    if (!a)
        return fail("starting", &e);
    struct http_server *s = http_server_new(NULL, &e);
    char address[64];
    snprintf(address, sizeof(address), "127.0.0.1:%s", argv[2]);
    struct mount mount = {.prefix = "/", .api = apiserver_http(a)};
    struct listener_config lc = {.address = address, .tls = apiserver_tls(a), .mounts = &mount, .n_mounts = 1};
    int port;
    if (!s || http_server_listen(s, &lc, &port, &e) < 0 || http_server_start(s, &e) < 0)
        return fail("listening", &e);
    static const char *const masters[] = {"system:masters", "system:authenticated", NULL};
    struct kube *kube = apiserver_kube(a, &(struct identity){"system:kube-controller-manager", "", masters, NULL});
#ifdef WITH_CONTROLLERS
    struct ctx ctx = ctx_background(), started = ctx_with_timeout(&ctx, 60 * NS_PER_S);
    struct controllers *c = controllers_start(
        &(struct controllers_config){
            .kube = kube, .clock = &clock_system, .ca_pem = apiserver_ca_pem(a), .each_kind = apiserver_each_kind, .self = a},
        &started, &e);
    if (!c)
        return fail("starting controllers", &e);
    apiserver_on_kinds_changed(a, changed, c);
#else
    (void)kube;
#endif
    snprintf(address, sizeof(address), "https://127.0.0.1:%d", port);
    AUTOFREE char *config = apiserver_kubeconfig(a, address, &e), *path = fs_join(argv[1], "kubeconfig");
    if (!config || fs_write_atomic(path, config, strlen(config), 0600, &e) < 0)
        return fail("writing the kubeconfig", &e);
    printf("ready %s\n", apiserver_admin_token(a));
    fflush(stdout);
    int sig;
    sigwait(&set, &sig);
#ifdef WITH_CONTROLLERS
    apiserver_on_kinds_changed(a, NULL, NULL);
    controllers_stop(c);
#endif
    http_server_stop(s, 1000);
    apiserver_stop(a);
    return 0;
}
