/* The helper process: packets, namespaces, network, programs, death. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fs.h"
#include "base/str.h"
#include "cluster/node/helper/helper_call.h"
#include "cluster/node/helper/proc.h"
#include "node_test.h"
#include "unit.h"

static void packets(void **state)
{
    ERR(e);
    int s[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s), 0);
    struct helper_packet *p = calloc(1, sizeof *p);
    struct helper_header h = {.id = 7, .op = HELPER_RUN, .n = 3};
    int fd = open("/dev/null", O_RDONLY);
    assert_int_equal(helper_packet_send(s[0], &h, (const char *const[]){"a", "", "long one"}, &fd, 1, &e), 0);
    assert_int_equal(helper_packet_recv(s[1], p, &e), 1);
    assert_int_equal(p->h.id, 7);
    assert_int_equal(p->h.n, 3);
    assert_string_equal(p->v[1], "");
    assert_string_equal(p->v[2], "long one");
    assert_int_equal(p->n_fds, 1);
    close(p->fds[0]);
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {{"", 0}, {"short", 5}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        memcpy(p->bytes, bad[i].bytes, bad[i].len);
        assert_int_equal(helper_packet_parse(p, bad[i].len, NULL), -1);
    }
    /* One string announced, but no NUL; then one too many bytes; then too many strings. */
    h = (struct helper_header){.n = 1};
    memcpy(p->bytes, &h, sizeof h);
    memcpy(p->bytes + sizeof h, "abc", 3);
    assert_int_equal(helper_packet_parse(p, sizeof h + 3, NULL), -1);
    memcpy(p->bytes + sizeof h, "ab\0c", 4);
    assert_int_equal(helper_packet_parse(p, sizeof h + 4, NULL), -1);
    assert_int_equal(helper_packet_parse(p, sizeof h + 3, NULL), 0);
    h.n = HELPER_STRINGS_MAX + 1;
    memcpy(p->bytes, &h, sizeof h);
    assert_int_equal(helper_packet_parse(p, sizeof h + 4, NULL), -1);
    close(s[0]);
    assert_int_equal(helper_packet_recv(s[1], p, &e), 0);
    close(s[1]);
    close(fd);
    free(p);
}

static void processes(void **state)
{
    int64_t start = proc_start_time(getpid());
    assert_true(start > 0);
    assert_true(proc_alive(getpid(), start));
    assert_false(proc_alive(getpid(), start + 1));
    assert_int_equal(proc_start_time(0x3ffffff), 0);
    /* A pid whose start time is another's is not touched: SIGKILL to ourselves would be noticed. */
    assert_int_equal(proc_kill(getpid(), start + 1, SIGKILL, NULL), 0);
}

/* Names on the machine that no other run of this test has: "tmu<pid>", and those of links behind it. */
static const char *own(const char *suffix)
{
    static char names[8][16];
    static unsigned next;
    char *n = names[next++ % ARRAY_LEN(names)];
    snprintf(n, sizeof names[0], "tmu%07x%s", (unsigned)getpid() & 0xfffffff, suffix);
    return n;
}

#define ASK(h, op, out, ...)                                                                                                     \
    do {                                                                                                                         \
        ERR(e_);                                                                                                                 \
        if (helper_ask(h, op, out, &e_, __VA_ARGS__, NULL) < 0)                                                                  \
            fail_msg("%s: %s", #op, err_text(&e_));                                                                              \
    } while (0)

static void programs(void **state)
{
    NEED_NODE();
    AUTOFREE char *dir = node_test_dir();
    struct helper *h = helper_new(&(struct helper_config){.node_dir = dir, .instance = own("")});
    {
        HELPER_ANSWER(a);
        ASK(h, HELPER_RUN, &a, "/bin/sh", "-c", "echo out; echo wrong >&2; exit 3");
        assert_int_equal(a.rc, 3);
        assert_string_equal(a.text, "wrong");
    }
    {
        HELPER_ANSWER(a);
        ASK(h, HELPER_RUN, &a, "/does/not/exist");
        assert_int_equal(a.rc, 127);
    }
    {
        /* A child gets the descriptors it is given from 3 on, its environment string, and no others. */
        int p[2];
        assert_int_equal(pipe(p), 0);
        ERR(e);
        HELPER_ANSWER(a);
        static const char *const v[] = {"WORD=hello", "", "/bin/sh", "-c", "echo $WORD $(ls /proc/self/fd | tr '\\n' ' ') >&3",
                                        NULL};
        assert_int_equal(helper_call(h, HELPER_SPAWN, v, &p[1], 1, &a, &e), 0);
        assert_true(a.rc > 1);
        close(p[1]);
        char got[128] = {0};
        assert_true(read(p[0], got, sizeof got - 1) > 0);
        assert_true(str_starts(got, "hello 0 1 2 3"));
        close(p[0]);
    }
    {
        AUTOFREE char *path = fs_join(dir, "secret");
        HELPER_ANSWER(a);
        ASK(h, HELPER_TMPFS, &a, path, "mode=700,size=1m");
        int fd = openat(a.fd, "x", O_CREAT | O_WRONLY, 0600);
        assert_true(fd >= 0);
        close(fd);
        AUTOFREE char *outside = fs_join(path, "x");
        assert_false(fs_exists(outside)); /* mounted where only the helper sees it */
        HELPER_ANSWER(again);
        ASK(h, HELPER_TMPFS, &again, path, "mode=700,size=1m");
        assert_int_equal(faccessat(again.fd, "x", F_OK, 0), 0);
        ASK(h, HELPER_REMOVE, NULL, path);
        assert_false(fs_exists(path));
    }
    ERR(e);
    assert_int_equal(helper_ask(h, HELPER_REMOVE, NULL, &e, "/etc", NULL), -1);
    ASK(h, HELPER_SWEEP, NULL, "");
    ASK(h, HELPER_CGROUP_RM, NULL, own(""));
    helper_free(h);
    node_test_rm(dir);
    AUTOFREE char *left = node_test_left(dir, own(""));
    assert_string_equal(left, "");
}

static void dies_and_comes_back(void **state)
{
    NEED_NODE();
    AUTOFREE char *dir = node_test_dir();
    AUTOFREE char *path = fs_join(dir, "kept");
    struct helper *h = helper_new(&(struct helper_config){.node_dir = dir, .instance = own("")});
    HELPER_ANSWER(a);
    ASK(h, HELPER_TMPFS, &a, path, "mode=700");
    close(openat(a.fd, "x", O_CREAT | O_WRONLY, 0600));
    ERR(e);
    assert_int_equal(helper_ask(h, HELPER_RUN, NULL, &e, "/bin/sh", "-c", "kill -9 $PPID", NULL), -1);
    assert_int_equal(e.code, ERR_UNAVAILABLE);
    HELPER_ANSWER(b);
    ASK(h, HELPER_TMPFS, &b, path, "mode=700");
    assert_int_equal(faccessat(b.fd, "x", F_OK, 0), 0); /* the pinned namespace was entered again */
    ASK(h, HELPER_SWEEP, NULL, "");
    ASK(h, HELPER_CGROUP_RM, NULL, own(""));
    helper_free(h);
    node_test_rm(dir);
}

/* A name inside a volume is mounted as what it is now, and never leads out of the volume. */
static void sub_paths(void **state)
{
    NEED_NODE();
    AUTOFREE char *dir = node_test_dir(), *base = fs_join(dir, "volume"), *to = fs_join(dir, "to");
    struct helper *h = helper_new(&(struct helper_config){.node_dir = dir, .instance = own("")});
    assert_int_equal(fs_mkdir_p(base, 0755, NULL) | fs_mkdir_p(to, 0755, NULL), 0);
    free(node_test_sh("cd %s && mkdir in && echo file > in/f && ln -s /etc out && ln -s in link && ln -s ../../../../etc up",
                      base));
    static const struct {
        const char *sub, *holds; /* holds NULL: a new, empty directory */
    } cases[] = {{"in", "f"}, {"link", "f"}, {"new/dir", NULL}, {"in/f", "-"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *target = xasprintf("%s/%zu", to, i);
        ASK(h, HELPER_BIND_SUB, NULL, base, cases[i].sub, target);
        HELPER_ANSWER(a);
        ASK(h, HELPER_RUN, &a, "/bin/sh", "-c", "if [ -d $0 ]; then ls $0 >&2; else echo - >&2; fi", target);
        assert_string_equal(a.text, cases[i].holds ? cases[i].holds : "");
    }
    /* These name things inside the volume, where they are not: /etc of the machine is not there. */
    static const char *const bad[] = {"out/passwd", "up/passwd"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        AUTOFREE char *target = xasprintf("%s/bad%zu", to, i);
        ERR(e);
        HELPER_ANSWER(a);
        if (helper_ask(h, HELPER_BIND_SUB, NULL, &e, base, bad[i], target, NULL) < 0)
            continue;
        ASK(h, HELPER_RUN, &a, "/bin/sh", "-c", "test -d $0 || echo FILE >&2", target);
        assert_string_equal(a.text, "");
    }
    ERR(e);
    assert_int_equal(helper_ask(h, HELPER_BIND_SUB, NULL, &e, base, "in", "/tmp/elsewhere", NULL), -1);
    ASK(h, HELPER_SWEEP, NULL, "");
    ASK(h, HELPER_CGROUP_RM, NULL, own(""));
    helper_free(h);
    node_test_rm(dir);
}

static void network(void **state)
{
    NEED_NODE();
    AUTOFREE char *dir = node_test_dir();
    struct helper *h = helper_new(&(struct helper_config){.node_dir = dir, .instance = own("")});
    AUTOFREE char *table = xasprintf("table inet %s {}\n", own(""));
    HELPER_ANSWER(up);
    ASK(h, HELPER_NET_UP, &up, own(""), "10.201.0.1", "16", "1400", table, "10.202.0.0/16");
    bool ours = up.text[0] == '0';
    ASK(h, HELPER_NETNS_ADD, NULL, own("-a"), "10.201.0.2", "10.201.0.1", own(""), "1400");
    ASK(h, HELPER_NETNS_ADD, NULL, own("-a"), "10.201.0.2", "10.201.0.1", own(""), "1400");
    ASK(h, HELPER_NETNS_ADD, NULL, own("-b"), "10.201.0.3", "10.201.0.1", own(""), "1400");
    AUTOFREE char *net = xasprintf("--net=%s/net/%s", dir, own("-a"));
    HELPER_ANSWER(a);
    ASK(h, HELPER_RUN, &a, "/usr/bin/nsenter", net, "/bin/sh", "-c", "exec >&2; ip -br addr; ip route");
    assert_int_equal(a.rc, 0);
    /* No neighbours but the gateway. */
    assert_non_null(strstr(a.text, "10.201.0.2/32"));
    assert_non_null(strstr(a.text, "10.201.0.1 dev eth0"));
    assert_non_null(strstr(a.text, "default via 10.201.0.1 dev eth0"));
    assert_non_null(strstr(a.text, "127.0.0.1/8"));
    HELPER_ANSWER(routes);
    ASK(h, HELPER_RUN, &routes, "/bin/sh", "-c", "exec >&2; ip route");
    assert_non_null(strstr(routes.text, "10.202.0.0/16 dev"));
    ERR(e);
    assert_int_equal(helper_ask(h, HELPER_NETNS_ADD, NULL, &e, own("-c"), "10.201.0.9", "10.201.0.1", "nobridge", "1400", NULL),
                     -1);
    ASK(h, HELPER_NETNS_DEL, NULL, own("-a"));
    ASK(h, HELPER_NETNS_DEL, NULL, own("-a"));
    ASK(h, HELPER_NETNS_DEL, NULL, own("-b"));
    ASK(h, HELPER_NET_DOWN, NULL, own(""), own(""), ours ? "1" : "0");
    ASK(h, HELPER_SWEEP, NULL, "");
    ASK(h, HELPER_CGROUP_RM, NULL, own(""));
    helper_free(h);
    node_test_rm(dir);
    AUTOFREE char *left = node_test_left(dir, own(""));
    assert_string_equal(left, "");
}

TEST_GROUP(helper, cmocka_unit_test(packets), cmocka_unit_test(processes), cmocka_unit_test(programs),
           cmocka_unit_test(dies_and_comes_back), cmocka_unit_test(sub_paths), cmocka_unit_test(network))
