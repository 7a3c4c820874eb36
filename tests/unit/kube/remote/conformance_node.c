/* conformance_node.c - what is asked of a pod's node through the API: programs, logs, ports. Pods are of image busybox:1 and use
 * its shell. */
#include "conformance.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/thread.h"

/* ---- pods ---- */

struct pod {
    struct target *t;
    const char *name;
};

static bool container_runs(void *arg)
{
    struct pod *p = arg;
    JSON_REF(d) = get(p->t, &KUBE_PODS, p->name);
    jval *state = jv_path(json_root(d), "status", "containerStatuses", "0", "state", NULL);
    return jv_present(jv_get(state, "running")) || jv_present(jv_get(state, "terminated"));
}

/* A pod whose container "a" runs a script. */
static void run_pod(struct target *t, const char *name, const char *script, const char *more)
{
    if (!t->node)
        skip();
    json_unref(make(t, &KUBE_PODS,
                    "{'metadata': {'name': '%s'}, 'spec': {'nodeName': '%s', 'restartPolicy': 'Never', "
                    "'terminationGracePeriodSeconds': 0, %s 'containers': [{'name': 'a', 'image': 'busybox:1', 'command': ['sh', "
                    "'-c', '%s']}%s]}}",
                    name, t->node, str_eq(more, "host") ? "'hostNetwork': true," : "", script,
                    str_eq(more, "asleep") ? ", {'name': 'asleep', 'image': 'nowhere.invalid/x:1'}" : ""));
    if (t->real_node) {
        struct pod p = {t, name};
        assert_true(eventually(container_runs, &p));
        return;
    }
    struct ctx ctx = soon();
    ERR(e);
    JSON_REF(p) = doc("{'status': {'phase': 'Running'}}");
    JSON_REF(d) = kube_patch(t->kube, &ctx, &KUBE_PODS, t->ns, name, KUBE_PATCH_MERGE, json_root(p),
                             (&(struct kube_opts){.subresource = "status"}), &e);
    if (!d)
        fail_msg("%s", err_text(&e));
}

/* ---- programs ---- */

static struct kube_process *run(struct target *t, const char *pod, const struct kube_exec_opts *o)
{
    struct ctx ctx = soon();
    ERR(e);
    struct kube_process *p = kube_exec(t->kube, &ctx, t->ns, pod, o, &e);
    if (!p)
        fail_msg("%s", err_text(&e));
    return p;
}

/* Everything that it says until it ends; its code. */
static int listen_to(struct kube_process *p, struct buf *out, struct buf *bad)
{
    struct ctx ctx = soon();
    ERR(e);
    int rc, code = -1;
    enum kube_stream from;
    for (;;) {
        BUF(piece);
        if ((rc = kube_process_recv(p, &ctx, &from, &piece, &code, &e)) != 1)
            break;
        buf_add(from == KUBE_STDERR ? bad : out, piece.data, piece.len);
    }
    if (rc != 0)
        fail_msg("%s", err_text(&e));
    return code;
}

static void case_exec(struct target *t)
{
    static const char *const command[] = {"sh",    "-c", "printf %s \"$1\"; printf %s \"$2$3\" >&2; exit 3", "sh", "said", "",
                                          "a b&c", NULL};
    run_pod(t, "runs", "sleep 300", "asleep");
    struct kube_exec_opts o = {.container = "a", .command = command};
    BUF(out);
    BUF(bad);
    struct kube_process *p = run(t, "runs", &o);
    assert_int_equal(listen_to(p, &out, &bad), 3);
    assert_string_equal(buf_str(&out), "said");
    assert_string_equal(buf_str(&bad), "a b&c");
    kube_process_close(p);
    static const struct {
        const char *pod, *container;
        enum err_code code;
    } refused[] = {{"runs", NULL, ERR_BAD_REQUEST},
                   {"runs", "b", ERR_BAD_REQUEST},
                   {"none", "a", ERR_NOT_FOUND},
                   {"runs", "asleep", ERR_INTERNAL}};
    struct ctx ctx = soon();
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        ERR(e);
        o.container = refused[i].container;
        p = kube_exec(t->kube, &ctx, t->ns, refused[i].pod, &o, &e);
        if (p) { /* an API server that asks the node only after it has answered: then the first word is the refusal */
            enum kube_stream from;
            int code;
            assert_int_equal(kube_process_recv(p, &ctx, &from, &out, &code, &e), -1);
            kube_process_close(p);
        }
        if (e.code != refused[i].code)
            fail_msg("%s, %s: %d: %s", refused[i].pod, refused[i].container, e.code, err_text(&e));
    }
}

/* More than any buffer on the way holds goes in and comes back, the end of the input is told, and the code comes last. */
static void case_exec_input(struct target *t)
{
    enum { LINES = 20000 };
    static const char *const command[] = {"sh", "-c", "cat; exit 4", NULL};
    run_pod(t, "reads", "sleep 300", "");
    BUF(text);
    for (int i = 0; i < LINES; i++)
        buf_addf(&text, "this is line %06d\n", i);
    struct kube_process *p = run(t, "reads", &(struct kube_exec_opts){.container = "a", .command = command, .in = true});
    struct ctx ctx = soon();
    ERR(e);
    BUF(out);
    BUF(bad);
    /* A piece at a time, with what comes back taken meanwhile: one thread must not fill both pipes. */
    for (size_t at = 0; at < text.len;) {
        size_t n = text.len - at < 20000 ? text.len - at : 20000;
        if (kube_process_send(p, &ctx, text.data + at, n, &e) < 0)
            fail_msg("%s", err_text(&e));
        at += n;
        while (out.len < at) {
            enum kube_stream from;
            int code;
            if (kube_process_recv(p, &ctx, &from, &out, &code, &e) != 1)
                fail_msg("after %zu of %zu bytes: %s", out.len, at, err_text(&e));
        }
    }
    if (kube_process_send(p, &ctx, NULL, 0, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_int_equal(listen_to(p, &out, &bad), 4);
    assert_int_equal(out.len, text.len);
    assert_memory_equal(out.data, text.data, text.len);
    assert_int_equal(bad.len, 0);
    kube_process_close(p);
}

/* A caller whose time is up goes on with the same program; one that is closed is no matter to the next. */
static void case_exec_waits(struct target *t)
{
    static const char *const naps[] = {"sh", "-c", "read x; echo woke", NULL}, *const sleeps[] = {"sleep", "300", NULL};
    run_pod(t, "naps", "sleep 300", "");
    struct kube_process *p = run(t, "naps", &(struct kube_exec_opts){.container = "a", .command = sleeps});
    kube_process_close(p);
    p = run(t, "naps", &(struct kube_exec_opts){.container = "a", .command = naps, .in = true});
    struct ctx bg = ctx_background(), brief = ctx_with_timeout(&bg, 100 * NS_PER_MS);
    ERR(e);
    BUF(out);
    BUF(bad);
    enum kube_stream from;
    int code;
    assert_int_equal(kube_process_recv(p, &brief, &from, &out, &code, &e), -1);
    assert_int_equal(e.code, ERR_TIMEOUT);
    err_clear(&e);
    struct ctx ctx = soon();
    assert_int_equal(kube_process_send(p, &ctx, "\n", 1, &e), 0);
    assert_int_equal(listen_to(p, &out, &bad), 0);
    assert_string_equal(buf_str(&out), "woke\n");
    kube_process_close(p);
}

/* ---- logs ---- */

static void case_log_followed(struct target *t)
{
    run_pod(t, "talks", "echo line 1; sleep 1; echo line 2", "");
    struct kube_log_opts lo = {.container = "a", .tail_lines = -1, .follow = true};
    struct ctx ctx = soon(), bg = ctx_background();
    ERR(e);
    struct kube_pipe *p = kube_log(t->kube, &ctx, t->ns, "talks", &lo, &e);
    if (!p)
        fail_msg("%s", err_text(&e));
    BUF(text);
    int rc;
    for (;;) { /* one whose time is up goes on */
        struct ctx brief = ctx_with_timeout(&bg, 50 * NS_PER_MS);
        rc = kube_pipe_recv(p, &brief, &text, &e);
        if (rc == 0 || (rc < 0 && (e.code != ERR_TIMEOUT || ctx_check(&ctx, NULL) < 0)))
            break;
        err_clear(&e);
    }
    if (rc != 0)
        fail_msg("%s", err_text(&e));
    assert_string_equal(buf_str(&text), "line 1\nline 2\n");
    kube_pipe_close(p);
    /* Without following it ends at once. */
    lo.follow = false;
    p = kube_log(t->kube, &ctx, t->ns, "talks", &lo, &e);
    assert_non_null(p);
    buf_reset(&text);
    while ((rc = kube_pipe_recv(p, &ctx, &text, &e)) == 1)
        ;
    assert_int_equal(rc, 0);
    assert_string_equal(buf_str(&text), "line 1\nline 2\n");
    kube_pipe_close(p);
    lo.container = "b";
    assert_null(kube_log(t->kube, &ctx, t->ns, "talks", &lo, &e));
    expect_error("container", &e, ERR_BAD_REQUEST, "container b is not valid for pod talks");
    assert_null(kube_log(t->kube, &ctx, t->ns, "none", &lo, &e));
    expect_error("pod", &e, ERR_NOT_FOUND, "pods \"none\" not found");
}

static void *raise_soon(void *cancel)
{
    usleep(200000);
    cancel_raise(cancel);
    return NULL;
}

static void case_log_cancelled(struct target *t)
{
    run_pod(t, "silent", "sleep 300", "");
    struct cancel cancel;
    ERR(e);
    assert_int_equal(cancel_init(&cancel, &e), 0);
    struct ctx ctx = soon();
    ctx.cancel = &cancel;
    const struct kube_log_opts lo = {.container = "a", .tail_lines = -1, .follow = true};
    struct kube_pipe *p = kube_log(t->kube, &ctx, t->ns, "silent", &lo, &e);
    if (!p)
        fail_msg("%s", err_text(&e));
    pthread_t thread = thread_start("canceller", raise_soon, &cancel);
    BUF(text);
    int rc;
    while ((rc = kube_pipe_recv(p, &ctx, &text, &e)) == 1)
        ;
    if (t->real_node || rc < 0) { /* the log of the other kind of node may end before that */
        assert_int_equal(rc, -1);
        assert_int_equal(e.code, ERR_CANCELLED);
    }
    pthread_join(thread, NULL);
    kube_pipe_close(p);
    cancel_close(&cancel);
}

/* ---- ports ---- */

/* Sends back what comes, until that ends or is "bye". */
static void *echo(void *arg)
{
    int listener = *(int *)arg, fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        char piece[8192];
        ssize_t n;
        while ((n = read(fd, piece, sizeof piece)) > 0 && !(n == 3 && memcmp(piece, "bye", 3) == 0))
            for (ssize_t k, at = 0; at < n; at += k)
                if ((k = write(fd, piece + at, (size_t)(n - at))) < 0)
                    break;
        close(fd);
    }
    return NULL;
}

static int listen_here(int *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static void expect_back(struct kube_pipe *p, const void *bytes, size_t n)
{
    struct ctx ctx = soon();
    ERR(e);
    BUF(back);
    if (kube_pipe_send(p, &ctx, bytes, n, &e) < 0)
        fail_msg("%s", err_text(&e));
    while (back.len < n)
        if (kube_pipe_recv(p, &ctx, &back, &e) != 1)
            fail_msg("after %zu of %zu bytes: %s", back.len, n, err_text(&e));
    assert_int_equal(back.len, n);
    assert_memory_equal(back.data, bytes, n);
}

static void case_forward(struct target *t)
{
    enum { MANY = 100000 };
    run_pod(t, "serves", "sleep 300", "host"); /* in the machine's own network, where this test listens */
    int port, listener = listen_here(&port);
    assert_int_equal(listen(listener, 8), 0);
    pthread_t thread = thread_start("echo", echo, &listener);
    struct ctx ctx = soon();
    ERR(e);
    struct kube_pipe *two[2];
    for (int i = 0; i < 2; i++)
        if (!(two[i] = kube_forward(t->kube, &ctx, t->ns, "serves", port, &e)))
            fail_msg("%s", err_text(&e));
    expect_back(two[0], "hello", 5);
    kube_pipe_close(two[0]); /* frees the listener, which takes one at a time, for the other */
    BUF(text);
    for (int i = 0; text.len < MANY; i++)
        buf_addf(&text, "%d ", i);
    for (size_t at = 0; at < text.len; at += 10000)
        expect_back(two[1], text.data + at, text.len - at < 10000 ? text.len - at : 10000);
    BUF(rest);
    assert_int_equal(kube_pipe_send(two[1], &ctx, "bye", 3, &e), 0);
    assert_int_equal(kube_pipe_recv(two[1], &ctx, &rest, &e), 0);
    kube_pipe_close(two[1]);
    shutdown(listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(listener);
}

/* Says how much came, once that is over. */
static void *count(void *arg)
{
    int fd = accept4(*(int *)arg, NULL, NULL, SOCK_CLOEXEC);
    char piece[8192];
    size_t all = 0;
    ssize_t n;
    while ((n = read(fd, piece, sizeof piece)) > 0)
        all += (size_t)n;
    dprintf(fd, "%zu", all);
    close(fd);
    return NULL;
}

/* The end of what is sent reaches the pod, and its answer comes back afterwards. */
static void case_forward_half(struct target *t)
{
    static char much[300000];
    run_pod(t, "counts", "sleep 300", "host");
    int port, listener = listen_here(&port);
    assert_int_equal(listen(listener, 8), 0);
    pthread_t thread = thread_start("count", count, &listener);
    struct ctx ctx = soon();
    ERR(e);
    BUF(back);
    struct kube_pipe *p = kube_forward(t->kube, &ctx, t->ns, "counts", port, &e);
    if (!p || kube_pipe_send(p, &ctx, much, sizeof much, &e) < 0 || kube_pipe_send(p, &ctx, NULL, 0, &e) < 0)
        fail_msg("%s", err_text(&e));
    int rc;
    while ((rc = kube_pipe_recv(p, &ctx, &back, &e)) == 1)
        ;
    if (rc < 0)
        fail_msg("%s", err_text(&e));
    assert_string_equal(buf_str(&back), "300000");
    kube_pipe_close(p);
    pthread_join(thread, NULL);
    close(listener);
}

static void case_forward_refused(struct target *t)
{
    run_pod(t, "closed", "sleep 300", "host");
    int port, listener = listen_here(&port); /* bound, so that nobody else has it, and not listening */
    struct ctx ctx = soon();
    ERR(e);
    BUF(text);
    struct kube_pipe *p = kube_forward(t->kube, &ctx, t->ns, "closed", port, &e);
    if (p) {
        assert_int_equal(kube_pipe_recv(p, &ctx, &text, &e), -1);
        kube_pipe_close(p);
    }
    if (!strstr(err_text(&e), "refused")) /* or "refused or broke", where an API server does not say which */
        fail_msg("%s", err_text(&e));
    assert_int_equal(e.code, ERR_UNAVAILABLE);
    close(listener);
    assert_null(kube_forward(t->kube, &ctx, t->ns, "none", 80, &e));
    expect_error("pod", &e, ERR_NOT_FOUND, "pods \"none\" not found");
    assert_null(kube_forward(t->kube, &ctx, t->ns, "closed", 65536, &e));
    expect_error("port", &e, ERR_BAD_REQUEST, "65536 is no port");
}

const struct conformance_case conformance_node[] = {
    {"exec", case_exec},
    {"exec_input", case_exec_input},
    {"exec_waits", case_exec_waits},
    {"log_followed", case_log_followed},
    {"log_cancelled", case_log_cancelled},
    {"forward", case_forward},
    {"forward_half", case_forward_half},
    {"forward_refused", case_forward_refused},
};
const size_t n_conformance_node = ARRAY_LEN(conformance_node);
