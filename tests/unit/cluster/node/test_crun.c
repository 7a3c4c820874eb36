/* The crun runtime with real containers on the host's root file system. */
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fs.h"
#include "base/id.h"
#include "cluster/node/network/podnet.h"
#include "cluster/node/node.h"
#include "cluster/node/runtime/oci.h"
#include "cluster/node/runtime/runtime.h"
#include "node_test.h"
#include "unit.h"

struct world {
    char *dir, *bundles, *instance;
    struct runtime *rt;
    struct sandbox sandbox;
    unsigned n;
};

/* One container of the world; everything it needs, and what it said. */
struct run {
    struct container_spec spec;
    struct container_ref ref;
    char id[65];
    char *bundle, *log;
};

#define OK(call)                                                                                                                 \
    do {                                                                                                                         \
        ERR(e_);                                                                                                                 \
        struct err *err = &e_;                                                                                                   \
        if ((call) != 0)                                                                                                         \
            fail_msg("%s: %s", #call, err_text(err));                                                                            \
    } while (0)

static struct runtime *open_runtime(const char *dir)
{
    static const char *const images[] = {"python:*", NULL};
    struct node_config cfg = {.data_dir = dir, .host_images = images, .kube_addr = "127.0.0.1:6443"};
    ERR(e);
    struct runtime *rt = runtime_crun_new(&cfg, &e);
    if (!rt)
        fail_msg("%s", err_text(&e));
    AUTOFREE char *version = NULL;
    OK(rt->ops->ready(rt, &version, err));
    return rt;
}

static void world_open(struct world *w)
{
    *w = (struct world){.dir = node_test_dir()};
    w->rt = open_runtime(w->dir);
    w->instance = runtime_crun_instance(w->rt);
    w->bundles = fs_join(w->dir, "node/pods");
    OK(fs_mkdir_p(w->bundles, 0700, err));
    OK(w->rt->ops->sandbox_adopt(w->rt, NULL, 0, err));
    OK(w->rt->ops->sandbox_up(w->rt, "uid", false, &w->sandbox, err));
}

static void world_close(struct world *w)
{
    OK(w->rt->ops->sandbox_down(w->rt, "uid", &w->sandbox, err));
    w->rt->ops->stop(w->rt, true);
    sandbox_free(&w->sandbox);
    node_test_rm(w->dir);
    AUTOFREE char *left = node_test_left(w->dir, w->instance);
    assert_string_equal(left, "");
    free(w->instance);
    free(w->dir);
    free(w->bundles);
}

static void run_init(struct world *w, struct run *r, const char *script)
{
    *r = (struct run){0};
    random_hex(r->id, 32);
    r->bundle = xasprintf("%s/%u", w->bundles, w->n++);
    r->log = fs_join(r->bundle, "log");
    OK(fs_mkdir_p(r->bundle, 0700, err));
    r->ref = (struct container_ref){.id = r->id, .bundle = r->bundle};
    r->spec = (struct container_spec){.id = r->id,
                                      .name = "test",
                                      .bundle = r->bundle,
                                      .log_path = r->log,
                                      .cwd = xstrdup("/"),
                                      .hostname = xstrdup("box"),
                                      .sandbox = &w->sandbox,
                                      .seccomp_default = true};
    strlist_add(&r->spec.args, "sh");
    strlist_add(&r->spec.args, "-c");
    strlist_add(&r->spec.args, script);
    strlist_add(&r->spec.env, "PATH=/usr/local/bin:/usr/bin:/bin");
    oci_capabilities(NULL, 0, NULL, 0, false, &r->spec.caps);
}

static struct container_state wait_end(struct world *w, struct run *r)
{
    struct container_state st;
    for (int i = 0; i < 12000; i++) {
        OK(w->rt->ops->state(w->rt, &r->ref, &st, err));
        if (st.run == RUN_EXITED || st.run == RUN_LOST)
            return st;
        usleep(5000);
    }
    fail_msg("the container does not end");
    return st;
}

static void run_close(struct world *w, struct run *r)
{
    OK(w->rt->ops->remove(w->rt, &r->ref, err));
    OK(w->rt->ops->remove(w->rt, &r->ref, err));
    container_spec_free(&r->spec);
    free(r->bundle);
    free(r->log);
}

/* Runs a script to its end; the log's text goes to out. */
static int run_script(struct world *w, struct run *r, struct buf *out)
{
    struct container_state st;
    OK(w->rt->ops->create(w->rt, &r->spec, err));
    OK(w->rt->ops->state(w->rt, &r->ref, &st, err));
    assert_int_equal(st.run, RUN_CREATED);
    OK(w->rt->ops->start(w->rt, &r->ref, err));
    st = wait_end(w, r);
    assert_int_equal(st.run, RUN_EXITED);
    assert_true(st.finished_ns > 0);
    OK(fs_read(r->log, 1 << 20, out, err));
    return st.exit_code;
}

static void host_root(void **state)
{
    NEED_NODE();
    struct world w;
    struct run r;
    BUF(log);
    world_open(&w);
    run_init(&w, &r,
             "id -u; hostname; ls /home /srv /mnt /work; test -e /etc/shadow && echo LEAK; test -e /etc/ssl/private && echo LEAK;"
             "ls /usr/lib/python3*/EXTERNALLY-MANAGED; python3 -c 'print(6*7)'; python -c 'print(\"py\")';"
             "echo x > /tmp/x && touch /usr/bin/new /etc/new /root/new && echo written;"
             "cat /proc/1/status | grep -E 'CapEff|NoNewPrivs|Seccomp:'; ls /run /dev/shm; echo $PATH; ip -br addr");
    container_spec_mount(&r.spec, MOUNT_TMPFS, "size=1m mode=1777", "/dev/shm", false);
    int code = run_script(&w, &r, &log);
    print_message("%s\n", buf_str(&log));
    assert_int_equal(code, 0);
    assert_null(strstr(buf_str(&log), "LEAK"));
    assert_null(strstr(buf_str(&log), "/EXTERNALLY-MANAGED\n"));
    assert_non_null(strstr(buf_str(&log), "stdout F 42\n"));
    assert_non_null(strstr(buf_str(&log), "stdout F py\n"));
    assert_non_null(strstr(buf_str(&log), "stdout F written\n"));
    assert_non_null(strstr(buf_str(&log), "stdout F box\n"));
    assert_non_null(strstr(buf_str(&log), w.sandbox.ip));
    assert_false(fs_exists("/usr/bin/new"));
    assert_false(fs_exists("/etc/new"));
    run_close(&w, &r);
    world_close(&w);
}

static void exit_codes(void **state)
{
    NEED_NODE();
    static const struct {
        const char *script;
        int code;
    } cases[] = {{"exit 3", 3}, {"kill -9 $$", 137}, {"kill -TERM $$; sleep 1", 0}, {"exit 0", 0}};
    struct world w;
    world_open(&w);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct run r;
        BUF(log);
        run_init(&w, &r, cases[i].script);
        int code = run_script(&w, &r, &log);
        if (i != 1 && i != 2) /* signals to itself do not reach the first process of a pid namespace */
            assert_int_equal(code, cases[i].code);
        run_close(&w, &r);
    }
    /* What cannot be started says why, in the code and in words. */
    static const struct {
        const char *program;
        enum err_code code;
    } bad[] = {{"/does/not/exist", ERR_NOT_FOUND}, {"no-such-command", ERR_NOT_FOUND}, {"/etc/passwd", ERR_FORBIDDEN}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct run r;
        ERR(e);
        run_init(&w, &r, "");
        free(r.spec.args.v[0]);
        r.spec.args.v[0] = xstrdup(bad[i].program);
        assert_int_equal(w.rt->ops->create(w.rt, &r.spec, &e), -1);
        print_message("%s\n", err_text(&e));
        assert_int_equal(e.code, bad[i].code);
        run_close(&w, &r);
    }
    world_close(&w);
}

static void signals_and_memory(void **state)
{
    NEED_NODE();
    struct world w;
    struct run r;
    struct container_state st;
    world_open(&w);
    run_init(&w, &r, "trap 'echo bye; exit 7' TERM; echo hi; while :; do sleep 0.01; done");
    OK(w.rt->ops->create(w.rt, &r.spec, err));
    OK(w.rt->ops->start(w.rt, &r.ref, err));
    for (int i = 0; i < 6000 && access(r.log, F_OK) < 0; i++)
        usleep(5000);
    usleep(100000);
    OK(w.rt->ops->state(w.rt, &r.ref, &st, err));
    assert_int_equal(st.run, RUN_RUNNING);
    OK(w.rt->ops->signal(w.rt, &r.ref, SIGTERM, err));
    st = wait_end(&w, &r);
    assert_int_equal(st.exit_code, 7);
    assert_false(st.oom);
    run_close(&w, &r);

    BUF(log);
    run_init(&w, &r, "exec python3 -c 'x = bytearray(200 << 20); print(\"too much\")'");
    r.spec.memory_limit = 32 << 20;
    int code = run_script(&w, &r, &log);
    OK(w.rt->ops->state(w.rt, &r.ref, &st, err));
    AUTOFREE char *unenforced = w.rt->ops->unenforced(w.rt, true, false);
    if (unenforced) {
        assert_non_null(strstr(unenforced, "limits of memory are not enforced"));
        assert_int_equal(code, 0);
    } else {
        assert_int_equal(code, 137);
        assert_true(st.oom);
    }
    run_close(&w, &r);
    world_close(&w);
}

/* What the machine's control groups give is what the node says; and whatever they give, a container gets at no disk. */
static void control_groups(void **state)
{
    NEED_NODE();
    struct world w;
    struct run r;
    const char *want = getenv("TIDEMILL_TEST_CGROUPS"); /* set where the test was given a /sys/fs/cgroup of its own */
    world_open(&w);
    AUTOFREE char *limits = w.rt->ops->limits(w.rt), *both = w.rt->ops->unenforced(w.rt, true, true);
    if (want) {
        assert_int_equal(strncmp(limits, want, strlen(want)), 0);
        AUTOFREE char *file = node_test_sh("cat /sys/fs/cgroup/cgroup.controllers 2>/dev/null");
        assert_int_equal(both == NULL, strstr(file, "memory") && strstr(file, "cpu "));
        if (!strstr(file, "memory"))
            assert_non_null(strstr(both, "limits of memory"));
    }
    assert_null(w.rt->ops->unenforced(w.rt, false, false));
    BUF(log);
    run_init(&w, &r, "mknod /tmp/disk b 254 0 && head -c1 /tmp/disk >/dev/null && echo open");
    r.spec.cpu_shares = 100;
    r.spec.cpu_quota_us = 50000;
    r.spec.pids_limit = 1000;
    r.spec.memory_limit = 64 << 20;
    assert_int_not_equal(run_script(&w, &r, &log), 0);
    assert_null(strstr(buf_str(&log), "F open"));
    run_close(&w, &r);
    world_close(&w);
}

/* A server that is gone leaves its containers running; the next one finds them. */
static void outlives_us(void **state)
{
    NEED_NODE();
    struct world w;
    struct run r, never;
    struct container_state st;
    world_open(&w);
    AUTOFREE char *dir = fs_join(w.dir, "told"), *go = fs_join(dir, "go");
    OK(fs_mkdir_p(dir, 0755, err));
    run_init(&w, &r, "until test -e /told/go; do sleep 0.05; done; exit 5");
    container_spec_mount(&r.spec, MOUNT_BIND, dir, "/told", true);
    OK(w.rt->ops->create(w.rt, &r.spec, err));
    OK(w.rt->ops->start(w.rt, &r.ref, err));
    run_init(&w, &never, "exit 0");
    OK(w.rt->ops->state(w.rt, &never.ref, &st, err));
    assert_int_equal(st.run, RUN_ABSENT);
    w.rt->ops->stop(w.rt, false);
    w.rt = open_runtime(w.dir);
    const struct sandbox *used[] = {&w.sandbox};
    OK(w.rt->ops->sandbox_adopt(w.rt, used, 1, err));
    OK(w.rt->ops->state(w.rt, &r.ref, &st, err));
    assert_int_equal(st.run, RUN_RUNNING);
    OK(fs_write_atomic(go, "", 0, 0644, err));
    st = wait_end(&w, &r);
    assert_int_equal(st.run, RUN_EXITED);
    assert_int_equal(st.exit_code, 5);
    run_close(&w, &r);
    run_close(&w, &never);
    world_close(&w);
}

static void images(void **state)
{
    NEED_NODE();
    struct world w;
    world_open(&w);
    static const struct {
        const char *name;
        enum err_code code;
    } cases[] = {{"host", ERR_OK}, {"python:3.11-slim", ERR_OK}, {"busybox:1.36", ERR_NOT_FOUND}, {"bad name", ERR_BAD_REQUEST}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ERR(e);
        struct image_info info = {0};
        int rc = w.rt->ops->image(w.rt, cases[i].name, &info, &e);
        assert_int_equal(e.code, cases[i].code);
        assert_int_equal(rc, cases[i].code == ERR_OK ? 0 : -1);
        image_info_free(&info);
    }
    world_close(&w);
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* What the helper started (a conmon) may go on for a moment after its container has ended: its group goes all the same. */
static void groups_go(void **state)
{
    NEED_NODE();
    struct world w;
    world_open(&w);
    AUTOFREE char *v1 = xasprintf("/sys/fs/cgroup/memory/%s", w.instance), *v2 = xasprintf("/sys/fs/cgroup/%s", w.instance);
    AUTOFREE char *group = xstrdup(fs_is_dir(v2) ? v2 : v1), *procs = fs_join(group, "helper/cgroup.procs");
    bool has = fs_exists(procs); /* not when we are in the root group ourselves */
    pid_t pid = has ? fork() : -1;
    if (pid == 0) {
        FILE *f = fopen(procs, "w");
        bool in = f && fputs("0", f) >= 0 && fclose(f) == 0;
        usleep(3000000);
        _exit(in ? 0 : 1);
    }
    BUF(b);
    AUTOFREE char *line = xasprintf("%d\n", (int)pid);
    for (int i = 0; i < 6000 && has && !strstr(buf_str(&b), line); i++) {
        usleep(1000);
        buf_reset(&b);
        fs_read(procs, 65536, &b, NULL);
    }
    world_close(&w);
    int status = 0;
    if (has)
        assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_false(fs_exists(group));
}

/* A node that never was ready (it is to show a path that is not there) leaves no group, no link and no mount either. */
static void never_ready(void **state)
{
    NEED_NODE();
    AUTOFREE char *dir = node_test_dir();
    ERR(e);
    static const char *const nowhere[] = {"/nowhere", NULL};
    struct node_config cfg = {.data_dir = dir, .kube_addr = "127.0.0.1:6443", .host_paths = nowhere};
    struct runtime *rt = runtime_crun_new(&cfg, &e);
    if (!rt)
        fail_msg("%s", err_text(&e));
    AUTOFREE char *version = NULL, *instance = runtime_crun_instance(rt);
    assert_int_equal(rt->ops->ready(rt, &version, &e), -1);
    rt->ops->stop(rt, true);
    AUTOFREE char *left = node_test_left(dir, instance);
    assert_string_equal(left, "");
    node_test_rm(dir);
}

static void how_fast(void **state)
{
    NEED_NODE();
    if (!getenv("TIDEMILL_TIME"))
        skip();
    struct world w;
    world_open(&w);
    usleep(100000);
    for (int i = 0; i < 10; i++) {
        struct run r;
        run_init(&w, &r, "exit 0");
        r.spec.seccomp_default = i % 2;
        int64_t a = now();
        OK(w.rt->ops->create(w.rt, &r.spec, err));
        int64_t b = now();
        OK(w.rt->ops->start(w.rt, &r.ref, err));
        int64_t c = now();
        wait_end(&w, &r);
        int64_t d = now();
        OK(w.rt->ops->remove(w.rt, &r.ref, err));
        print_message("seccomp %d create %.1f start %.1f end %.1f remove %.1f ms\n", i % 2, (b - a) / 1e6, (c - b) / 1e6,
                      (d - c) / 1e6, (now() - d) / 1e6);
        run_close(&w, &r);
    }
    world_close(&w);
}

TEST_GROUP(crun, cmocka_unit_test(host_root), cmocka_unit_test(exit_codes), cmocka_unit_test(signals_and_memory),
           cmocka_unit_test(control_groups), cmocka_unit_test(groups_go), cmocka_unit_test(never_ready),
           cmocka_unit_test(outlives_us), cmocka_unit_test(images), cmocka_unit_test(how_fast))
