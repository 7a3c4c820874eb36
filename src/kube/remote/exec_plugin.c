/* exec_plugin.c - a program that gives credentials. Source: client.authentication.k8s.io/v1.
 *
 * It is started with posix_spawn, which copies nothing of a threaded process, in a process group of its own, so that what it
 * started ends with it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/timefmt.h"
#include "kube/remote/credential.h"

extern char **environ;

enum { OUTPUT_MAX = 1 << 20, COMPLAINT_MAX = 2048, LOOK_MS = 50, TAKES = 64 };
#define LIMIT_NS (60 * NS_PER_S)

void exec_credential_clear(struct exec_credential *c)
{
    free(c->token);
    free(c->cert_pem);
    free(c->key_pem);
    *c = (struct exec_credential){0};
}

int exec_credential_parse(const char *text, size_t len, const char *api_version, struct exec_credential *out, struct err *err)
{
    *out = (struct exec_credential){0};
    JSON_REF(d) = json_parse(text, len, NULL, NULL);
    jval *root = json_root(d), *status = jv_get(root, "status");
    if (!d)
        return err_set(err, ERR_UNAUTHENTICATED, "it printed no JSON (%zu bytes)", len);
    const char *kind = jv_str_or(jv_get(root, "kind"), ""), *version = jv_str_or(jv_get(root, "apiVersion"), "");
    if (!str_eq(kind, "ExecCredential") || !str_eq(version, api_version))
        return err_set(err, ERR_UNAUTHENTICATED, "it printed a %.60s of %.60s, but ExecCredential of %s is asked for",
                       *kind ? kind : "thing without kind", *version ? version : "no version", api_version);
    const char *token = jv_str(jv_get(status, "token")), *cert = jv_str(jv_get(status, "clientCertificateData")),
               *key = jv_str(jv_get(status, "clientKeyData")), *until = jv_str(jv_get(status, "expirationTimestamp"));
    if (str_empty(token) && (str_empty(cert) || str_empty(key)))
        return err_set(err, ERR_UNAUTHENTICATED, "it gave neither a token nor a client certificate with its key");
    if (str_empty(cert) != str_empty(key))
        return err_set(err, ERR_UNAUTHENTICATED, "it gave a client certificate or a key without the other");
    if (token && strpbrk(token, "\r\n"))
        return err_set(err, ERR_UNAUTHENTICATED, "its token has line breaks");
    if (!str_empty(until) && !time_parse(until, &out->expires_ns))
        return err_set(err, ERR_UNAUTHENTICATED, "its expirationTimestamp is no time: %.60s", until);
    out->token = str_empty(token) ? NULL : xstrdup(token);
    out->cert_pem = str_empty(cert) ? NULL : xstrdup(cert);
    out->key_pem = str_empty(key) ? NULL : xstrdup(key);
    return 0;
}

/* ---- what it is told ---- */

static char *exec_info(const struct kube_access *a)
{
    JM_NEW(m);
    jmval *o = jm_obj(m);
    jm_set_root(m, o);
    jm_put(m, o, "apiVersion", jm_str(m, a->exec.api_version));
    jm_put(m, o, "kind", jm_str(m, "ExecCredential"));
    jmval *spec = jm_obj_at(m, o, "spec");
    jm_put(m, spec, "interactive", jm_bool(m, false));
    if (a->exec.cluster_info) {
        jmval *c = jm_obj_at(m, spec, "cluster");
        jm_put(m, c, "server", jm_str(m, a->server));
        if (a->tls_server_name)
            jm_put(m, c, "tls-server-name", jm_str(m, a->tls_server_name));
        if (a->insecure)
            jm_put(m, c, "insecure-skip-tls-verify", jm_bool(m, true));
        if (a->ca_pem) {
            AUTOFREE char *data = base64_encode(a->ca_pem, strlen(a->ca_pem));
            jm_put(m, c, "certificate-authority-data", jm_str(m, data));
        }
        if (a->proxy_url)
            jm_put(m, c, "proxy-url", jm_str(m, a->proxy_url));
        if (a->exec.extension)
            jm_put(m, c, "config", jm_val(m, json_root(a->exec.extension)));
    }
    BUF(text);
    jmv_write(o, JW_COMPACT, &text);
    return xasprintf("KUBERNETES_EXEC_INFO=%s", text.data);
}

static bool same_name(const char *a, const char *b)
{
    size_t n = strcspn(a, "=");
    return strncmp(a, b, n) == 0 && b[n] == '=';
}

/* Ours, with the plugin's own on top. NULL-terminated; the list owns the strings. */
static void environment(const struct kube_access *a, struct strlist *out)
{
    for (char **e = environ; *e; e++) {
        bool over = same_name("KUBERNETES_EXEC_INFO", *e);
        for (size_t i = 0; i < a->exec.env.n && !over; i++)
            over = same_name(a->exec.env.v[i], *e);
        if (!over)
            strlist_add(out, *e);
    }
    for (size_t i = 0; i < a->exec.env.n; i++)
        strlist_add(out, a->exec.env.v[i]);
    strlist_take(out, exec_info(a));
    strlist_take(out, NULL);
}

/* ---- running it ---- */

struct plugin {
    pid_t pid;
    int out, complaints;
};

static int spawn(const struct kube_access *a, struct plugin *p, struct err *err)
{
    int out[2], said[2];
    if (pipe2(out, O_CLOEXEC) < 0)
        return err_errno(err, "pipe");
    if (pipe2(said, O_CLOEXEC) < 0) {
        close(out[0]);
        close(out[1]);
        return err_errno(err, "pipe");
    }
    STRLIST(env);
    environment(a, &env);
    char **argv = xcalloc(a->exec.args.n + 2, sizeof *argv);
    argv[0] = a->exec.command;
    for (size_t i = 0; i < a->exec.args.n; i++)
        argv[i + 1] = a->exec.args.v[i];
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, dflt;
    sigemptyset(&none);
    sigemptyset(&dflt);
    sigaddset(&dflt, SIGPIPE);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, out[1], 1);
    posix_spawn_file_actions_adddup2(&files, said[1], 2);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &dflt);
    int rc = posix_spawnp(&p->pid, a->exec.command, &files, &attr, argv, env.v);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    free(argv);
    close(out[1]);
    close(said[1]);
    p->out = out[0];
    p->complaints = said[0];
    fcntl(p->out, F_SETFL, O_NONBLOCK);
    fcntl(p->complaints, F_SETFL, O_NONBLOCK);
    if (rc == 0)
        return 0;
    close(p->out);
    close(p->complaints);
    char text[128];
    return err_set(err, ERR_UNAUTHENTICATED, "it cannot be started: %s%s%s", strerror_r(rc, text, sizeof text),
                   a->exec.install_hint ? "; " : "", a->exec.install_hint ? a->exec.install_hint : "");
}

/* Takes what is there, but no more at once than a program that never stops to print can give. False at the end. */
static bool take(int fd, struct buf *to, size_t max, bool *too_much)
{
    char chunk[4096];
    ssize_t n = 1;
    for (int i = 0; i < TAKES && (n = read(fd, chunk, sizeof chunk)) > 0; i++) {
        if (to->len + (size_t)n <= max)
            buf_add(to, chunk, (size_t)n);
        else if (too_much)
            *too_much = true;
    }
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* Until it has ended. What it left running may hold its pipes: they are not waited for. */
static int follow(struct plugin *p, const struct ctx *ctx, struct buf *out, struct buf *said, int *status, struct err *err)
{
    bool out_open = true, said_open = true, too_much = false;
    for (;;) {
        if (ctx_check(ctx, err) < 0)
            return -1;
        pid_t ended = waitpid(p->pid, status, WNOHANG);
        if (out_open)
            out_open = take(p->out, out, OUTPUT_MAX, &too_much);
        if (said_open)
            said_open = take(p->complaints, said, COMPLAINT_MAX, NULL);
        if (too_much)
            return err_set(err, ERR_UNAUTHENTICATED, "it prints more than %d bytes", OUTPUT_MAX);
        if (ended == p->pid) {
            p->pid = -1;
            return 0;
        }
        if (ended < 0 && errno != EINTR)
            return err_errno(err, "waiting for it");
        struct pollfd fds[3] = {{.fd = out_open ? p->out : -1, .events = POLLIN},
                                {.fd = said_open ? p->complaints : -1, .events = POLLIN},
                                {.fd = ctx->cancel ? ctx->cancel->fd : -1, .events = POLLIN}};
        poll(fds, 3, out_open ? LOOK_MS : LOOK_MS / 10);
    }
}

static int judge(int status, const struct buf *said, struct err *err)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    AUTOFREE char *why = xstrdup(buf_str(said));
    for (char *p = why; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
    const char *colon = *why ? ": " : "";
    if (WIFEXITED(status))
        return err_set(err, ERR_UNAUTHENTICATED, "it failed with exit status %d%s%.500s", WEXITSTATUS(status), colon, why);
    return err_set(err, ERR_UNAUTHENTICATED, "it was ended by signal %d%s%.500s", WTERMSIG(status), colon, why);
}

static int run(const struct kube_access *a, const struct ctx *ctx, struct exec_credential *out, struct err *err)
{
    struct plugin p;
    BUF(text);
    BUF(said);
    int status = 0;
    if (a->exec.stdin_mode == KUBE_EXEC_ALWAYS)
        return err_set(err, ERR_UNAUTHENTICATED, "it wants a terminal (interactiveMode: Always), and there is none here");
    if (spawn(a, &p, err) < 0)
        return -1;
    struct ctx limited = ctx_with_timeout(ctx, LIMIT_NS);
    ERR(e);
    int rc = follow(&p, &limited, &text, &said, &status, &e);
    if (p.pid > 0) {
        kill(-p.pid, SIGKILL);
        waitpid(p.pid, &status, 0);
    }
    close(p.out);
    close(p.complaints);
    if (rc < 0 && e.code == ERR_TIMEOUT)
        return err_set(err, ERR_TIMEOUT, "it gave no answer in time and was ended");
    if (rc < 0)
        return err_move(err, &e);
    return judge(status, &said, err) < 0 ? -1 : exec_credential_parse(buf_str(&text), text.len, a->exec.api_version, out, err);
}

int exec_plugin_run(const struct kube_access *a, const struct ctx *ctx, struct exec_credential *out, struct err *err)
{
    *out = (struct exec_credential){0};
    return run(a, ctx, out, err) == 0 ? 0 : err_wrap(err, "credentials of user \"%s\" from plugin %s", a->user, a->exec.command);
}
