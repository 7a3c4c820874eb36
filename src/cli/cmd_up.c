/* cmd_up.c - tidemill up: the whole of it on this machine, in the foreground or detached. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "cli/boot.h"
#include "cli/cli.h"
#include "cli/server.h"

#define LOG_ROOM "up"
#include "base/log.h"

struct up {
    const struct command *self;
    const char *data, *listen, *kube_listen, *ready_file, *pod_cidr, *service_cidr, *log_level;
    bool detach, no_node, no_engine, pods_reach_metadata;
    const char *registries, *docker_config, *image_gc, *artifacts;
    unsigned image_gc_high, image_gc_low;
    struct strlist host_images, host_envs, host_paths, mirrors, insecure;
    struct caller caller;
    char *data_dir, *artifacts_dir;
    FILE *say; /* where the person reads: the terminal, or through the pipe of --detach */
};

static int prepare_data_dir(struct up *u, struct err *err)
{
    u->data_dir = place_data_dir(u->data, err);
    if (!u->data_dir || fs_mkdir_p(u->data_dir, 0700, err) < 0)
        return -1;
    if (chmod(u->data_dir, 0700) < 0)
        return err_errno(err, "%s", u->data_dir);
    return 0;
}

static bool within(const char *dir, const char *path)
{
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && (!path[n] || path[n] == '/');
}

/* Records say where artifacts are below this directory, not where it is: that belongs to the data, like the range of Services. */
#define ARTIFACTS_AT     "artifacts-dir"
#define ARTIFACTS_AT_MAX (4 << 10)

/* Where --artifacts of an earlier time said; NULL: nowhere. */
static char *remembered(const struct up *u, struct err *err)
{
    AUTOFREE char *path = fs_join(u->data_dir, ARTIFACTS_AT);
    BUF(text);
    if (!fs_exists(path) || fs_read(path, ARTIFACTS_AT_MAX, &text, err) < 0)
        return NULL;
    while (text.len > 0 && text.data[text.len - 1] == '\n')
        text.data[--text.len] = '\0';
    if (text.len == 0 || text.data[0] != '/') {
        err_set(err, ERR_INVALID, "%s is damaged: it holds the path of the directory with the artifacts", path);
        return NULL;
    }
    return buf_steal(&text, NULL);
}

static int remember(const struct up *u, const char *before, struct err *err)
{
    AUTOFREE char *path = fs_join(u->data_dir, ARTIFACTS_AT), *line = xasprintf("%s\n", u->artifacts_dir);
    if (str_eq(before, u->artifacts_dir))
        return 0;
    if (before)
        log_warn("artifacts were in %s until now: what earlier runs left is found once it has been moved to %s", before,
                 u->artifacts_dir);
    return fs_write_atomic(path, line, strlen(line), 0600, err);
}

static int choose_known_dir(struct up *u, char *before, struct err *err)
{
    u->artifacts_dir = before ? before : fs_join(u->data_dir, "artifacts");
    if (before && !fs_is_dir(before))
        return err_set(
            err, ERR_INVALID,
            "the artifacts of %s are in %s, as --artifacts said at an earlier start, and that is not there: mount it, or "
            "say where they are with --artifacts DIR",
            u->data_dir, before);
    return 0;
}

/* Steps may read and write everything in it: neither what we keep nor the whole machine. */
static int choose_artifacts_dir(struct up *u, struct err *err)
{
    ERR(e);
    AUTOFREE char *before = remembered(u, &e);
    if (e.code)
        return err_move(err, &e);
    if (!u->artifacts)
        return choose_known_dir(u, TAKE(before), err);
    AUTOFREE char *data = realpath(u->data_dir, NULL);
    if (!data)
        return err_errno(err, "%s", u->data_dir);
    if (fs_mkdir_p(u->artifacts, 0700, err) < 0)
        return err_wrap(err, "--artifacts");
    u->artifacts_dir = realpath(u->artifacts, NULL);
    if (!u->artifacts_dir)
        return err_errno(err, "--artifacts %s", u->artifacts);
    AUTOFREE char *usual = fs_join(data, "artifacts");
    if (str_eq(u->artifacts_dir, "/") || within(u->artifacts_dir, data) ||
        (within(data, u->artifacts_dir) && !within(usual, u->artifacts_dir)))
        return err_set(
            err, ERR_BAD_REQUEST,
            "--artifacts %s: steps read and write there, so it must be a directory of its own, apart from the data directory %s",
            u->artifacts, data);
    return remember(u, before, err);
}

static int read_image_gc(struct up *u, struct err *err)
{
    unsigned high = 0, low = 0;
    char more;
    if (!u->image_gc)
        return 0;
    if (sscanf(u->image_gc, "%3u,%3u%c", &high, &low, &more) != 2 || high < 1 || high > 100 || low < 1 || low > high)
        return err_set(err, ERR_BAD_REQUEST, "--image-gc %s: give two percentages, the higher first, as in 85,80", u->image_gc);
    u->image_gc_high = high;
    u->image_gc_low = low;
    return 0;
}

static int check_options(struct up *u, struct err *err)
{
    if (read_image_gc(u, err) < 0 || cli_log_level(u->log_level, err) < 0)
        return -1;
    const struct {
        const char *flag, *value;
    } addresses[] = {{"--listen", u->listen}, {"--kube-listen", u->kube_listen}};
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++)
        if (!strchr(addresses[i].value, ':'))
            return err_set(err, ERR_BAD_REQUEST, "%s %s: give an address and a port, as in 127.0.0.1:8080", addresses[i].flag,
                           addresses[i].value);
    /* Without TLS and sign-in the front door trusts the peer socket's owner, which means nothing across a network. */
    if (!address_is_loopback(u->listen))
        return err_set(err, ERR_FORBIDDEN,
                       "--listen %s: the front door has no TLS and no sign-in yet, so it opens on loopback only (127.0.0.1:8080)",
                       u->listen);
    return 0;
}

static void report(struct up *u, struct server *s, const char *kubeconfig, int node_rc, const struct err *node_err)
{
    FILE *f = u->say;
    if (node_rc < 0)
        fprintf(f, "Pods cannot run here: %s\n", err_text(node_err));
    fprintf(f, "tidemill %s is up (process %d)\n", TIDEMILL_VERSION, (int)getpid());
    fprintf(f, "  Front door        %s\n", server_url(s));
    fprintf(f, "  Kubernetes API    %s\n", server_kube_url(s));
    fprintf(f, "  Kubeconfig        %s\n", kubeconfig);
    fprintf(f, "  Data              %s\n", u->data_dir);
    fprintf(f, "Try:\n");
    fprintf(f, "  kubectl --kubeconfig %s get pods -A -w\n", kubeconfig);
    fprintf(f, "  tidemill run pipeline.yaml --watch\n");
    fprintf(f, "  python3 -c 'import kfp; print(kfp.Client(host=\"%s\").list_experiments())'\n", server_url(s));
    fflush(f);
}

/* Waits for the signal that ends us: SIGINT takes pods down, SIGTERM leaves them. */
static enum node_stop_mode wait_for_end(void)
{
    sigset_t set;
    int sig = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    while (sigwait(&set, &sig) != 0)
        ;
    return sig == SIGINT ? NODE_REMOVE : NODE_KEEP;
}

static int serve(struct up *u)
{
    ERR(e);
    struct server_options o = {.data_dir = u->data_dir,
                               .artifacts_dir = u->artifacts_dir,
                               .listen = u->listen,
                               .kube_listen = u->kube_listen,
                               .no_node = u->no_node,
                               .no_engine = u->no_engine,
                               .pod_cidr = u->pod_cidr,
                               .service_cidr = u->service_cidr,
                               .pods_reach_metadata = u->pods_reach_metadata,
                               .caller = &u->caller,
                               .host_images = (const char *const *)u->host_images.v,
                               .host_envs = (const char *const *)u->host_envs.v,
                               .host_paths = (const char *const *)u->host_paths.v,
                               .image_mirrors = (const char *const *)u->mirrors.v,
                               .insecure_registries = (const char *const *)u->insecure.v,
                               .registries_file = u->registries,
                               .docker_config = u->docker_config,
                               .image_gc_high = u->image_gc_high,
                               .image_gc_low = u->image_gc_low};
    struct server *s = server_start(&o, &e);
    if (!s)
        return cli_fail(u->self, &e);
    ERR(node_err);
    struct ctx base = ctx_background(), ctx = ctx_with_timeout(&base, 30 * NS_PER_S);
    int node_rc = server_wait_node(s, &ctx, &node_err);
    AUTOFREE char *kubeconfig_text = server_kubeconfig(s, &e);
    AUTOFREE char *kubeconfig = NULL;
    const struct place_run told = {.pid = getpid(),
                                   .url = server_url(s),
                                   .kubernetes = server_kube_url(s),
                                   .data_dir = u->data_dir,
                                   .artifacts_dir = u->artifacts_dir};
    if (!kubeconfig_text || place_publish(&told, &u->caller, kubeconfig_text, u->ready_file, &kubeconfig, &e) < 0) {
        server_stop(s, NODE_REMOVE);
        return cli_fail(u->self, &e);
    }
    server_set_kubeconfig_path(s, kubeconfig);
    report(u, s, kubeconfig, node_rc, &node_err);
    if (u->detach) {
        /* The waiting parent sees the end of the pipe and leaves. */
        fclose(u->say);
        u->say = stderr;
    }
    enum node_stop_mode mode = wait_for_end();
    log_info("stopping%s", mode == NODE_REMOVE ? " with all pods" : ", pods go on");
    server_stop(s, mode);
    place_unpublish(u->data_dir, &u->caller, getpid());
    return EXIT_OK;
}

/* The child goes on as the server, with its log in the data directory; the parent shows what it says until it is ready. */
static int detach(struct up *u)
{
    int fds[2];
    ERR(e);
    if (pipe2(fds, O_CLOEXEC) < 0) {
        err_errno(&e, "pipe");
        return cli_fail(u->self, &e);
    }
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0) {
        err_errno(&e, "fork");
        return cli_fail(u->self, &e);
    }
    if (pid > 0) {
        char chunk[4096];
        ssize_t n;
        size_t total = 0;
        close(fds[1]);
        while ((n = read(fds[0], chunk, sizeof chunk)) > 0 || (n < 0 && errno == EINTR)) {
            if (n > 0 && fs_write(STDOUT_FILENO, chunk, (size_t)n, NULL) == 0)
                total += (size_t)n;
        }
        if (total)
            return EXIT_OK;
        fprintf(stderr, "tidemill up: it did not start; the end of %s/tidemill.log says why\n", u->data_dir);
        return EXIT_FAILED;
    }
    close(fds[0]);
    setsid();
    AUTOFREE char *log = fs_join(u->data_dir, "tidemill.log");
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600), null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (out >= 0) {
        dup2(out, STDOUT_FILENO);
        dup2(out, STDERR_FILENO);
        close(out);
    }
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        close(null);
    }
    u->say = fdopen(fds[1], "w");
    return serve(u);
}

static void block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

/* Names of directories are given as seen from here; pods see them under their whole name. */
static void make_absolute(struct strlist *paths)
{
    AUTOFREE char *here = getcwd(NULL, 0);
    for (size_t i = 0; here && i < paths->n; i++) {
        char *path = paths->v[i], *part = str_starts(path, "./") ? path + 2 : path;
        if (path[0] == '/' || !*part)
            continue;
        paths->v[i] = fs_join(here, part);
        free(path);
    }
}

static int run_up(struct up *u)
{
    ERR(e);
    cli_be_a_server();
    caller_find(&u->caller);
    if (check_options(u, &e) < 0 || prepare_data_dir(u, &e) < 0 || choose_artifacts_dir(u, &e) < 0)
        return cli_fail(u->self, &e);
    make_absolute(&u->host_envs);
    make_absolute(&u->host_paths);
    /* NULL-terminated from here on. */
    strlist_take(&u->host_images, NULL);
    strlist_take(&u->host_envs, NULL);
    strlist_take(&u->host_paths, NULL);
    strlist_take(&u->mirrors, NULL);
    strlist_take(&u->insecure, NULL);
    block_signals();
    return u->detach ? detach(u) : serve(u);
}

static int up_main(const struct command *self, int argc, char **argv)
{
    struct up u = {.self = self, .listen = "127.0.0.1:8080", .kube_listen = "127.0.0.1:6443", .log_level = "warn", .say = stdout};
    const struct opt opts[] = {
        {"data", 0, OPT_TEXT, &u.data, "DIR", "where everything is kept (root: /var/lib/tidemill, else ~/.local/share/tidemill)"},
        {"artifacts", 0, OPT_TEXT, &u.artifacts, "DIR",
         "where artifacts are kept, from now on; pipeline roots may be file://DIR/... [as before, at first DATA/artifacts]"},
        {"listen", 0, OPT_TEXT, &u.listen, "ADDR:PORT",
         "front door: pipelines API and start page [127.0.0.1:8080]; port 0 takes a free one"},
        {"kube-listen", 0, OPT_TEXT, &u.kube_listen, "ADDR:PORT", "Kubernetes API [127.0.0.1:6443]"},
        {"host-image", 0, OPT_LIST, &u.host_images, "GLOB",
         "images that this machine's own file system stands in for, e.g. 'python:*'"},
        {"host-env", 0, OPT_LIST, &u.host_envs, "PREFIX", "a venv, conda or pyenv prefix that such pods see and use"},
        {"host-path", 0, OPT_LIST, &u.host_paths, "DIR", "a directory that such pods see, read-only"},
        {"image-mirror", 0, OPT_LIST, &u.mirrors, "DOMAIN=URL",
         "ask there first for images, e.g. docker.io=https://mirror.example.com"},
        {"insecure-registry", 0, OPT_LIST, &u.insecure, "HOST:PORT",
         "a registry with plain HTTP or a certificate that nobody vouches for"},
        {"registries", 0, OPT_TEXT, &u.registries, "FILE",
         "mirrors, insecure registries and certificates, one a line [DIR/registries]"},
        {"docker-config", 0, OPT_TEXT, &u.docker_config, "FILE",
         "credentials for registries beside pull secrets, e.g. ~/.docker/config.json"},
        {"image-gc", 0, OPT_TEXT, &u.image_gc, "HIGH,LOW",
         "a disk fuller than HIGH percent loses unused images until it is down to LOW [85,80]"},
        {"pod-cidr", 0, OPT_TEXT, &u.pod_cidr, "CIDR", "addresses of pods [chosen so that it does not collide]"},
        {"service-cidr", 0, OPT_TEXT, &u.service_cidr, "CIDR",
         "addresses of Services [10.96.0.0/16, or the next that nobody on this machine has]"},
        {"pods-reach-metadata", 0, OPT_FLAG, &u.pods_reach_metadata, NULL,
         "let pods ask the cloud's metadata address, where this machine's credentials are"},
        {"no-node", 0, OPT_FLAG, &u.no_node, NULL, "serve the APIs only: pods stay Pending"},
        {"no-engine", 0, OPT_FLAG, &u.no_engine, NULL, "accept runs and leave them PENDING"},
        {"ready-file", 0, OPT_TEXT, &u.ready_file, "FILE",
         "write {pid, url, kubernetes, kubeconfig, data} there once everything answers"},
        {"detach", 'd', OPT_FLAG, &u.detach, NULL, "go on in the background; stop with 'tidemill down'"},
        {"log-level", 0, OPT_TEXT, &u.log_level, "LEVEL", "debug, info, warn or error [warn]"},
    };
    STRLIST(rest);
    int code;
    if (cli_options(self, argc, argv, opts, ARRAY_LEN(opts), &rest, 0, 0, &code) < 0)
        return code;
    code = run_up(&u);
    strlist_free(&u.host_images);
    strlist_free(&u.host_envs);
    strlist_free(&u.host_paths);
    strlist_free(&u.mirrors);
    strlist_free(&u.insecure);
    caller_clear(&u.caller);
    free(u.data_dir);
    free(u.artifacts_dir);
    return code;
}

const struct command cmd_up = {
    .name = "up",
    .summary = "Start everything on this machine",
    .usage = "up [OPTIONS]",
    .help =
        "Ctrl-C and 'tidemill down' stop pods and take back what was made on the machine; the data stays. SIGTERM leaves pods\n"
        "running for the next start. Pods need root (or sudo); without it the APIs serve and pods stay Pending.",
    .main = up_main,
};
