/* The node's parts that need neither root nor a cluster: expansion, environment, volume files, logs, OCI configuration, rules. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fs.h"
#include "cluster/node/env.h"
#include "cluster/node/logs.h"
#include "cluster/node/network/podnet.h"
#include "cluster/node/network/service_claim.h"
#include "cluster/node/pod.h"
#include "cluster/node/runtime/cgroup.h"
#include "cluster/node/runtime/hostroot.h"
#include "cluster/node/runtime/oci.h"
#include "cluster/node/volumes/volume_write.h"
#include "cluster/node/volumes/volumes.h"
#include "fake_kube.h"
#include "kube/kinds.h"
#include "node_test.h"
#include "unit.h"

/* ---- environment --------------------------------------------------------------------------------------------------------- */

static void expansion(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {{"", ""},           {"plain", "plain"}, {"$(A)", "1"},    {"x$(A)y$(B)", "x1y2"},
                 {"$(NO)", "$(NO)"}, {"$$(A)", "$(A)"},  {"$$$(A)", "$1"}, {"$", "$"},
                 {"$(", "$("},       {"$(A", "$(A"},     {"$A", "$A"},     {"$$", "$"},
                 {"$(A)$(A)", "11"}, {"$()", "$()"},     {"a$$b", "a$b"},  {"$(E)", ""}};
    CLEANUP(strmap_free) struct strmap vars = STRMAP_INIT(free);
    strmap_put(&vars, "A", strdup("1"));
    strmap_put(&vars, "B", strdup("2"));
    strmap_put(&vars, "E", strdup(""));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *got = env_expand(cases[i].text, &vars);
        assert_string_equal(got, cases[i].want);
    }
}

static const char POD[] =
    "{\"metadata\":{\"name\":\"p\",\"namespace\":\"ns\",\"uid\":\"u1\",\"labels\":{\"a/"
    "b\":\"c\"},\"annotations\":{\"k\":\"v\\\"w\"}},"
    "\"spec\":{\"serviceAccountName\":\"sa\",\"containers\":[{\"name\":\"c\",\"resources\":{\"limits\":{\"cpu\":\"1500m\"},"
    "\"requests\":{\"memory\":\"1Gi\"}}}]}}";

static void downward(void **state)
{
    JSON_REF(pod) = json_parse_str(POD, NULL);
    struct pod_facts f = {.pod = json_root(pod),
                          .pod_ip = "10.1.2.3",
                          .host_ip = "192.0.2.1",
                          .node_name = "n1",
                          .node_cpu_milli = 4000,
                          .node_memory = 8LL << 30};
    static const struct {
        const char *path, *want;
    } fields[] = {{"metadata.name", "p"},
                  {"metadata.namespace", "ns"},
                  {"metadata.uid", "u1"},
                  {"spec.nodeName", "n1"},
                  {"spec.serviceAccountName", "sa"},
                  {"status.podIP", "10.1.2.3"},
                  {"status.hostIP", "192.0.2.1"},
                  {"metadata.labels['a/b']", "c"},
                  {"metadata.labels['no']", ""},
                  {"metadata.annotations['k']", "v\"w"},
                  {"metadata.labels", NULL},
                  {"spec.containers", NULL},
                  {"metadata.labels['x", NULL}};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        AUTOFREE char *got = downward_field(&f, fields[i].path, false, NULL);
        if (fields[i].want)
            assert_string_equal(got, fields[i].want);
        else
            assert_null(got);
    }
    AUTOFREE char *labels = downward_field(&f, "metadata.labels", true, NULL),
                  *notes = downward_field(&f, "metadata.annotations", true, NULL);
    assert_string_equal(labels, "a/b=\"c\"");
    assert_string_equal(notes, "k=\"v\\\"w\"");
    static const struct {
        const char *ref, *want;
    } res[] = {{"{\"resource\":\"limits.cpu\"}", "2"},
               {"{\"resource\":\"limits.cpu\",\"divisor\":\"1m\"}", "1500"},
               {"{\"resource\":\"requests.memory\",\"divisor\":\"1Mi\"}", "1024"},
               {"{\"resource\":\"limits.memory\",\"divisor\":\"1Gi\"}", "8"},
               {"{\"resource\":\"requests.cpu\"}", "0"},
               {"{\"resource\":\"limits.cpu\",\"containerName\":\"zz\"}", NULL},
               {"{\"resource\":\"x\"}", NULL}};
    for (size_t i = 0; i < ARRAY_LEN(res); i++) {
        JSON_REF(ref) = json_parse_str(res[i].ref, NULL);
        AUTOFREE char *got = downward_resource(&f, json_root(ref), "c", NULL);
        if (res[i].want)
            assert_string_equal(got, res[i].want);
        else
            assert_null(got);
    }
}

static void environment(void **state)
{
    struct fake_kube *fake = fake_kube_new();
    json_unref(fake_put(fake, &KUBE_CONFIGMAPS,
                        "{\"metadata\":{\"name\":\"cm\",\"namespace\":\"ns\"},\"data\":{\"x\":\"1\",\"a=b\":\"2\"}}"));
    json_unref(
        fake_put(fake, &KUBE_SECRETS, "{\"metadata\":{\"name\":\"s\",\"namespace\":\"ns\"},\"data\":{\"pw\":\"c2VjcmV0\"}}"));
    JSON_REF(pod) = json_parse_str(POD, NULL);
    struct pod_facts f = {.pod = json_root(pod), .api_ip = "10.96.0.1"};
    struct ctx ctx = ctx_background();
    struct image_info image = {0};
    strlist_add(&image.env, "PATH=/bin");
    strlist_add(&image.env, "LOW=image");
    strlist_add(&image.cmd, "image-cmd");
    JSON_REF(c) = json_parse_str("{\"name\":\"c\",\"envFrom\":[{\"prefix\":\"P_\",\"configMapRef\":{\"name\":\"cm\"}},{"
                                 "\"secretRef\":{\"name\":\"gone\",\"optional\":true}}],"
                                 "\"env\":[{\"name\":\"LOW\",\"value\":\"own\"},{\"name\":\"TWO\",\"value\":\"$(LOW)-$(LATER)\"},"
                                 "{\"name\":\"LATER\",\"value\":\"z\"},"
                                 "{\"name\":\"PW\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"s\",\"key\":\"pw\"}}},"
                                 "{\"name\":\"NOT\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"s\",\"key\":\"no\",\"optional\":"
                                 "true}}}],\"args\":[\"$(PW)\"]}",
                                 NULL);
    CLEANUP(strmap_free) struct strmap vars = STRMAP_INIT(free);
    STRLIST(skipped);
    STRLIST(command);
    ERR(e);
    assert_int_equal(env_build(fake_kube_face(fake), &ctx, &f, json_root(c), &image, "host1", "/root", &vars, &skipped, &e), 0);
    static const char *const want[][2] = {{"PATH", "/bin"},
                                          {"LOW", "own"},
                                          {"TWO", "own-$(LATER)"},
                                          {"PW", "secret"},
                                          {"HOSTNAME", "host1"},
                                          {"HOME", "/root"},
                                          {"KUBERNETES_SERVICE_HOST", "10.96.0.1"},
                                          {"P_x", "1"}};
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        assert_string_equal(strmap_get(&vars, want[i][0]), want[i][1]);
    assert_false(strmap_has(&vars, "NOT"));
    assert_int_equal(skipped.n, 1);
    assert_int_equal(env_command(json_root(c), &image, &vars, &command, &e), 0);
    assert_int_equal(command.n, 1);
    assert_string_equal(command.v[0], "secret");
    image_info_free(&image);
    static const struct {
        const char *env, *text;
    } bad[] = {
        {"{\"configMapKeyRef\":{\"name\":\"no\",\"key\":\"k\"}}", "configmap \"no\" not found"},
        {"{\"configMapKeyRef\":{\"name\":\"cm\",\"key\":\"k\"}}", "couldn't find key k in ConfigMap ns/cm"},
        {"{\"secretKeyRef\":{\"name\":\"s\",\"key\":\"k\"}}", "couldn't find key k in Secret ns/s"},
        {"{\"fieldRef\":{\"fieldPath\":\"spec.x\"}}", "unsupported fieldPath: spec.x"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        AUTOFREE char *text = xasprintf("{\"name\":\"c\",\"env\":[{\"name\":\"A\",\"valueFrom\":%s}]}", bad[i].env);
        JSON_REF(one) = json_parse_str(text, NULL);
        CLEANUP(strmap_free) struct strmap v = STRMAP_INIT(free);
        ERR(be);
        assert_int_equal(env_build(fake_kube_face(fake), &ctx, &f, json_root(one), &image, "h", "/", &v, &skipped, &be), -1);
        assert_string_equal(err_text(&be), bad[i].text);
        assert_int_equal(be.code, ERR_PRECONDITION);
    }
    fake_kube_free(fake);
}

/* ---- volume files ------------------------------------------------------------------------------------------------------------
 */

static void read_at(int dir, const char *path, const char *want)
{
    char got[64] = {0};
    int fd = openat(dir, path, O_RDONLY);
    assert_true(fd >= 0);
    assert_true(read(fd, got, sizeof got - 1) >= 0);
    close(fd);
    assert_string_equal(got, want);
}

static void volume_files(void **state)
{
    AUTOFREE char *path = node_test_dir();
    int dir = open(path, O_RDONLY | O_DIRECTORY);
    char before[256] = {0}, after[256] = {0};
    struct stat st;
    struct volume_files f = {0};
    volume_files_add(&f, "a", "1", 1, 0644);
    volume_files_add(&f, "sub/b", "2", 1, 0400);
    assert_int_equal(volume_write(dir, &f, -1, NULL), 0);
    read_at(dir, "a", "1");
    read_at(dir, "sub/b", "2");
    assert_int_equal(fstatat(dir, "sub/b", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0400);
    assert_true(readlinkat(dir, "..data", before, sizeof before - 1) > 0);
    /* The same again is nothing; something new swaps the set, and what went is gone. */
    assert_int_equal(volume_write(dir, &f, -1, NULL), 0);
    assert_true(readlinkat(dir, "..data", after, sizeof after - 1) > 0);
    assert_string_equal(before, after);
    volume_files_free(&f);
    volume_files_add(&f, "c", "3", 1, 0644);
    assert_int_equal(volume_write(dir, &f, -1, NULL), 0);
    read_at(dir, "c", "3");
    assert_int_equal(faccessat(dir, "a", F_OK, AT_SYMLINK_NOFOLLOW), -1);
    assert_int_equal(faccessat(dir, "sub", F_OK, AT_SYMLINK_NOFOLLOW), -1);
    assert_int_equal(faccessat(dir, before, F_OK, 0), -1);
    volume_files_free(&f);
    static const char *const bad[] = {"../x", "/x", "a/../b", "", "..data/x", "a//b"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        volume_files_add(&f, bad[i], "x", 1, 0644);
        assert_int_equal(volume_write(dir, &f, -1, NULL), -1);
        volume_files_free(&f);
    }
    close(dir);
    node_test_rm(path);
}

/* ---- logs
 * ----------------------------------------------------------------------------------------------------------------------- */

struct log_world {
    char *dir, *file;
    struct logs *logs;
    struct json *pod;
    int reopened, notified;
    bool deaf; /* conmon does not hear it yet */
};

static int reopened(void *self, const char *cid, const char *bundle, struct err *err)
{
    struct log_world *w = self;
    w->reopened++;
    if (w->deaf)
        return 0;
    /* As conmon does it. */
    AUTOFREE char *tmp = xasprintf("%s.tmp", w->file);
    close(open(tmp, O_WRONLY | O_TRUNC | O_CREAT, 0644));
    return rename(tmp, w->file);
}

static void notified(void *arg) { __atomic_add_fetch(&((struct log_world *)arg)->notified, 1, __ATOMIC_SEQ_CST); }

static void log_world_open(struct log_world *w, const char *text)
{
    *w = (struct log_world){.dir = node_test_dir()};
    AUTOFREE char *place = fs_join(w->dir, "pods/ns_p_u1/c");
    assert_int_equal(fs_mkdir_p(place, 0755, NULL), 0);
    w->file = fs_join(place, "0.log");
    assert_int_equal(fs_write_atomic(w->file, text, strlen(text), 0644, NULL), 0);
    w->logs = logs_new(&(struct logs_config){
        .dir = w->dir, .clock = &clock_system, .max_bytes = 200, .max_files = 3, .reopen = reopened, .self = w});
    w->pod = json_parse_str("{\"metadata\":{\"name\":\"p\",\"namespace\":\"ns\",\"uid\":\"u1\"},\"spec\":{\"containers\":[{"
                            "\"name\":\"c\"}]},\"status\":{"
                            "\"containerStatuses\":[{\"name\":\"c\",\"restartCount\":0,\"state\":{\"running\":{\"startedAt\":"
                            "\"2026-11-25T13:00:00Z\"}}}]}}",
                            NULL);
}

static void log_world_close(struct log_world *w)
{
    logs_free(w->logs);
    json_unref(w->pod);
    node_test_rm(w->dir);
    free(w->dir);
    free(w->file);
}

static const char LOG[] = "2026-11-25T13:00:01.000000000+00:00 stdout F one\n"
                          "2026-11-25T13:00:02.000000000+00:00 stderr P tw\n"
                          "2026-11-25T13:00:02.100000000+00:00 stderr F o\n"
                          "garbage\n"
                          "2026-11-25T13:00:03.500000000+00:00 stdout F \n"
                          "2026-11-25T13:00:04.000000000+00:00 stdout F four\n"
                          "2026-11-25T13:00:05.000000000+00:00 stdout P unfinished\n";

static void log_reading(void **state)
{
    static const struct {
        struct kube_log_opts opts;
        const char *want;
    } cases[] = {
        {{.tail_lines = -1}, "one\ntwo\n\nfour\nunfinished"},
        {{.tail_lines = 0}, ""},
        {{.tail_lines = 1}, "four\nunfinished"},
        {{.tail_lines = 3}, "two\n\nfour\nunfinished"},
        {{.tail_lines = 100}, "one\ntwo\n\nfour\nunfinished"},
        {{.tail_lines = -1, .limit_bytes = 6}, "one\ntw"},
        {{.tail_lines = -1, .since_time_ns = 1795611603LL * NS_PER_S}, "\nfour\nunfinished"},
        {{.tail_lines = 2, .timestamps = true},
         "2026-11-25T13:00:03.5Z \n2026-11-25T13:00:04Z four\n2026-11-25T13:00:05Z unfinished"},
        {{.tail_lines = 3, .timestamps = true, .limit_bytes = 40}, "2026-11-25T13:00:02Z two\n2026-11-25T13:0"},
    };
    struct log_world w;
    struct ctx ctx = ctx_background();
    log_world_open(&w, LOG);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kube_log_opts o = cases[i].opts;
        BUF(text);
        ERR(e);
        o.container = "c";
        struct node_log *log = logs_open(w.logs, &ctx, json_root(w.pod), &o, NULL, NULL, &e);
        assert_non_null(log);
        int rc;
        while ((rc = log->read(log, 7, &text, &e)) == 1)
            ;
        assert_int_equal(rc, 2);
        assert_string_equal(buf_str(&text), cases[i].want);
        log->close(log);
    }
    log_world_close(&w);
}

static void append(const char *file, const char *text)
{
    int fd = open(file, O_WRONLY | O_APPEND | O_CREAT, 0644);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void log_follow(void **state)
{
    struct log_world w;
    struct ctx ctx = ctx_background();
    ERR(e);
    BUF(text);
    log_world_open(&w, "2026-11-25T13:00:01Z stdout F one\n");
    logs_running(w.logs, "u1", "c", w.file, "cid", "bundle", true);
    struct kube_log_opts o = {.container = "c", .follow = true, .tail_lines = -1};
    struct node_log *log = logs_open(w.logs, &ctx, json_root(w.pod), &o, notified, &w, &e);
    assert_non_null(log);
    int rc;
    while ((rc = log->read(log, 100, &text, &e)) == 1)
        ;
    assert_int_equal(rc, 0);
    assert_string_equal(buf_str(&text), "one\n");
    append(w.file, "2026-11-25T13:00:02Z stdout F two\n");
    for (int i = 0; i < 12000 && !__atomic_load_n(&w.notified, __ATOMIC_SEQ_CST); i++)
        usleep(5000);
    assert_true(w.notified > 0);
    while ((rc = log->read(log, 100, &text, &e)) == 1)
        ;
    assert_string_equal(buf_str(&text), "one\ntwo\n");
    /* Rotated under the reader: what is in the old file is read to its end, then the new one. */
    AUTOFREE char *long_line = xcalloc(1, 400);
    memset(long_line, 'x', 300);
    AUTOFREE char *record = xasprintf("2026-11-25T13:00:03Z stdout F %s\n", long_line);
    append(w.file, record);
    assert_true(logs_rotate(w.logs) > 0);
    assert_int_equal(w.reopened, 1);
    append(w.file, "2026-11-25T13:00:04Z stdout F four\n");
    while ((rc = log->read(log, 4096, &text, &e)) == 1)
        ;
    assert_int_equal(rc, 0);
    assert_non_null(strstr(buf_str(&text), "xxx\nfour\n"));
    logs_running(w.logs, "u1", "c", w.file, "cid", "bundle", false);
    assert_int_equal(log->read(log, 4096, &text, &e), 2);
    log->close(log);
    assert_int_equal(logs_rotate(w.logs), 0);
    log_world_close(&w);
}

/* All that a reader has to say; what it ended with. */
static int log_all(struct log_world *w, struct kube_log_opts o, struct buf *text)
{
    struct ctx ctx = ctx_background();
    ERR(e);
    int rc;
    o.container = "c";
    struct node_log *log = logs_open(w->logs, &ctx, json_root(w->pod), &o, NULL, NULL, &e);
    assert_non_null(log);
    buf_reset(text);
    while ((rc = log->read(log, 4096, text, &e)) == 1)
        ;
    log->close(log);
    return rc;
}

/* What was written just before the log was rotated is shown all the same: it is the end of what the container said. */
static void log_just_rotated(void **state)
{
    static const struct {
        const char *now;
        struct kube_log_opts opts;
        const char *want;
    } cases[] = {
        {"", {.tail_lines = 1}, "two\n"},
        {"", {.tail_lines = 0}, ""},
        {"", {.tail_lines = -1}, "one\ntwo\n"},
        {"", {.tail_lines = -1, .limit_bytes = 5}, "one\nt"},
        {"2026-11-25T13:00:03Z stdout F three\n", {.tail_lines = 1}, "three\n"},
        {"2026-11-25T13:00:03Z stdout F three\n", {.tail_lines = 2}, "two\nthree\n"},
        {"2026-11-25T13:00:03Z stdout F three\n", {.tail_lines = 9}, "one\ntwo\nthree\n"},
        {"2026-11-25T13:00:03Z stdout F three\n", {.tail_lines = -1, .since_time_ns = 1795611602LL * NS_PER_S}, "two\nthree\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct log_world w;
        BUF(text);
        log_world_open(&w, cases[i].now);
        AUTOFREE char *older = xasprintf("%s.2026-11-25T13:00:01.000000Z", w.file),
                      *oldest = xasprintf("%s.2026-11-25T12.gz", w.file);
        append(older, "2026-11-25T13:00:01Z stdout F one\n2026-11-25T13:00:02Z stdout F two\n");
        append(oldest, "packed");
        assert_int_equal(log_all(&w, cases[i].opts, &text), 2);
        assert_string_equal(buf_str(&text), cases[i].want);
        /* Only half rotated: the log has two names. */
        assert_int_equal(rename(older, w.file), 0);
        assert_int_equal(link(w.file, older), 0);
        assert_int_equal(log_all(&w, (struct kube_log_opts){.tail_lines = 5}, &text), 2);
        assert_string_equal(buf_str(&text), "one\ntwo\n");
        log_world_close(&w);
    }
}

/* A follower that is behind by more than one file reads each of them; and what was written to the one that it has open after it
 * had come to its end, before that one was rotated. */
static void log_follow_behind(void **state)
{
    struct log_world w;
    struct ctx ctx = ctx_background();
    ERR(e);
    BUF(text);
    log_world_open(&w, "2026-11-25T13:00:01Z stdout F one\n");
    logs_running(w.logs, "u1", "c", w.file, "cid", "bundle", true);
    struct kube_log_opts o = {.container = "c", .follow = true, .tail_lines = -1};
    struct node_log *log = logs_open(w.logs, &ctx, json_root(w.pod), &o, notified, &w, &e);
    int rc;
    while ((rc = log->read(log, 100, &text, &e)) == 1)
        ;
    static const char *const words[] = {"two", "three", "four"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        AUTOFREE char *record = xasprintf("2026-11-25T13:00:0%zuZ stdout F %s%0200d\n", 2 + i, words[i], 7), *old = NULL;
        append(w.file, record);
        old = xasprintf("%s.2026-11-25T13:00:0%zu.000000Z", w.file, 2 + i);
        assert_int_equal(rename(w.file, old), 0);
        append(w.file, "");
        AUTOFREE char *packing = xasprintf("%s.tmp", old); /* what is in it so far */
        append(packing, "2026-11-25T13:00:00Z stdout F packed\n");
    }
    append(w.file, "2026-11-25T13:00:06Z stdout F five\n");
    while ((rc = log->read(log, 4096, &text, &e)) == 1)
        ;
    assert_int_equal(rc, 0);
    AUTOFREE char *want = xasprintf("one\ntwo%0200d\nthree%0200d\nfour%0200d\nfive\n", 7, 7, 7);
    assert_string_equal(buf_str(&text), want);
    logs_running(w.logs, "u1", "c", w.file, "cid", "bundle", false);
    assert_int_equal(log->read(log, 4096, &text, &e), 2);
    log->close(log);
    log_world_close(&w);
}

static void log_rotation(void **state)
{
    struct log_world w;
    log_world_open(&w, "");
    logs_running(w.logs, "u1", "c", w.file, "cid", "bundle", true);
    AUTOFREE char *big = xcalloc(1, 400);
    memset(big, 'x', 300);
    for (int i = 0; i < 6; i++) {
        append(w.file, big);
        logs_rotate(w.logs);
        usleep(1000);
    }
    assert_int_equal(w.reopened, 6);
    AUTOFREE char *count = node_test_sh("ls %s/pods/ns_p_u1/c | wc -l", w.dir);
    assert_int_equal(atoi(count), 3);
    /* What was left by who was killed while it packed goes with its file. */
    AUTOFREE char *half = node_test_sh("f=$(ls %s/pods/ns_p_u1/c/0.log.* | head -n 1); echo half >$f.tmp", w.dir);
    append(w.file, big);
    logs_rotate(w.logs);
    AUTOFREE char *rest = node_test_sh("ls %s/pods/ns_p_u1/c | wc -l", w.dir);
    assert_int_equal(atoi(rest), 3);
    w.reopened--;
    /* conmon takes its time, or tidemill was killed before it was asked: it is asked once in a life, and no line is lost. */
    append(w.file, big);
    w.deaf = true;
    logs_rotate(w.logs);
    append(w.file, "later");
    logs_rotate(w.logs);
    assert_int_equal(w.reopened, 7);
    w.deaf = false;
    logs_running(w.logs, "u1", "c", w.file, "cid", "bundle", true); /* the next life */
    logs_rotate(w.logs);
    assert_int_equal(w.reopened, 8);
    AUTOFREE char *whole = node_test_sh("cat %s/pods/ns_p_u1/c/0.log.* | grep -ac later", w.dir);
    AUTOFREE char *names = node_test_sh("ls %s/pods/ns_p_u1/c | wc -l", w.dir);
    assert_int_equal(atoi(whole), 1);
    assert_int_equal(atoi(names), 3);
    /* A container that starts again and again takes all of an old attempt with it, and nothing of another. */
    AUTOFREE char *other = xasprintf("%s/pods/ns_p_u1/c/00.log", w.dir), *left = NULL;
    append(other, "y");
    logs_remove(w.file);
    left = node_test_sh("ls %s/pods/ns_p_u1/c", w.dir);
    assert_true(str_starts(left, "00.log") && strlen(left) <= strlen("00.log\n"));
    log_world_close(&w);
}

/* ---- configuration
 * ---------------------------------------------------------------------------------------------------------------- */

static void capabilities(void **state)
{
    static const char *const all[] = {"ALL"}, *const net[] = {"NET_ADMIN"}, *const chown_[] = {"CAP_CHOWN"};
    STRLIST(dflt);
    STRLIST(none);
    STRLIST(one);
    STRLIST(more);
    STRLIST(every);
    STRLIST(priv);
    oci_capabilities(NULL, 0, NULL, 0, false, &dflt);
    assert_int_equal(dflt.n, 10);
    assert_true(strlist_has(&dflt, "CAP_CHOWN"));
    assert_false(strlist_has(&dflt, "CAP_NET_ADMIN"));
    oci_capabilities(NULL, 0, all, 1, false, &none);
    assert_int_equal(none.n, 0);
    oci_capabilities(net, 1, all, 1, false, &one);
    assert_int_equal(one.n, 1);
    oci_capabilities(net, 1, chown_, 1, false, &more);
    assert_int_equal(more.n, 10);
    assert_false(strlist_has(&more, "CAP_CHOWN"));
    oci_capabilities(all, 1, net, 1, false, &every);
    assert_false(strlist_has(&every, "CAP_NET_ADMIN"));
    oci_capabilities(NULL, 0, NULL, 0, true, &priv);
    assert_true(priv.n > 38);
}

static void seccomp(void **state)
{
    JSON_REF(profile) = json_parse_str(
        "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":38,\"archMap\":[{\"architecture\":\"SCMP_ARCH_X86_64\","
        "\"subArchitectures\":[\"SCMP_ARCH_X86\"]},"
        "{\"architecture\":\"SCMP_ARCH_AARCH64\",\"subArchitectures\":[]}],\"syscalls\":["
        "{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ALLOW\",\"args\":[],\"includes\":{},\"excludes\":{}},"
        "{\"names\":[\"mount\"],\"action\":\"SCMP_ACT_ALLOW\",\"includes\":{\"caps\":[\"CAP_SYS_ADMIN\"]}},"
        "{\"names\":[\"mount\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":1,\"excludes\":{\"caps\":[\"CAP_SYS_ADMIN\"]}},"
        "{\"names\":[\"s390\"],\"action\":\"SCMP_ACT_ALLOW\",\"includes\":{\"arches\":[\"s390x\"]}}]}",
        NULL);
    STRLIST(caps);
    JM_NEW(m);
    JSON_REF(plain) = jm_freeze_val(oci_seccomp(m, json_root(profile), &caps));
    jval *rules = jv_get(json_root(plain), "syscalls");
    assert_int_equal(jv_len(rules), 2);
    assert_string_equal(jv_str(jv_get(jv_at(rules, 1), "action")), "SCMP_ACT_ERRNO");
    assert_null(jv_get(jv_at(rules, 0), "args"));
    strlist_add(&caps, "CAP_SYS_ADMIN");
    JSON_REF(admin) = jm_freeze_val(oci_seccomp(m, json_root(profile), &caps));
    assert_string_equal(jv_str(jv_path(json_root(admin), "syscalls", "1", "action", NULL)), "SCMP_ACT_ALLOW");
}

/* A process that loads the program: each of its bits says that the kernel answered as the rules want. */
static int under_rules(const char *program)
{
    unsigned char code[16384];
    int n = EVP_DecodeBlock(code, (const unsigned char *)program, (int)strlen(program)), status;
    struct sock_fprog f = {.len = (unsigned short)(n / 8), .filter = (struct sock_filter *)code};
    pid_t pid = fork();
    if (pid == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &f) < 0)
            _exit(64);
        int got = syscall(SYS_getppid) > 0 ? 1 : 0;
        got |= syscall(SYS_getsid, 0) < 0 && errno == EPERM ? 2 : 0;
        got |= syscall(SYS_getpgid, 0) < 0 && errno == ENOSYS ? 4 : 0;
        got |= syscall(SYS_umask, 022) >= 0 ? 8 : 0;
        got |= syscall(SYS_umask, 077) < 0 && errno == ENOSYS ? 16 : 0;
        syscall(SYS_exit_group, got);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void seccomp_programs(void **state)
{
    static const char *const refused[] = {"{}", "{\"defaultAction\":\"SCMP_ACT_NOTIFY\"}",
                                          "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"SECCOMP_FILTER_FLAG_LOG\"]}",
                                          "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],\"action\":"
                                          "\"SCMP_ACT_ERRNO\",\"errnoRet\":70000}]}",
                                          "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],\"action\":"
                                          "\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":6,\"value\":"
                                          "1,\"op\":\"SCMP_CMP_EQ\"}]}]}"};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        ERR(e);
        JSON_REF(bad) = json_parse_str(refused[i], NULL);
        assert_null(seccomp_compile(json_root(bad), &e));
        assert_true(e.code != 0);
    }
    JSON_REF(rules) = json_parse_str(
        "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":38,\"syscalls\":["
        "{\"names\":[\"getppid\",\"exit_group\",\"no_such_call_yet\"],\"action\":\"SCMP_ACT_ALLOW\"},"
        "{\"names\":[\"getsid\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":1},"
        "{\"names\":[\"getpgid\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":38},"
        "{\"names\":[\"umask\"],\"action\":\"SCMP_ACT_ALLOW\",\"args\":[{\"index\":0,\"value\":18,\"op\":\"SCMP_CMP_EQ\"}]}]}",
        NULL);
    struct seccomp_cache *c = seccomp_cache_new();
    const char *program = seccomp_cache_get(c, json_root(rules));
    assert_non_null(program);
    assert_ptr_equal(seccomp_cache_get(c, json_root(rules)), program);
    assert_int_equal(under_rules(program), 31);
    seccomp_cache_free(c);
}

static void secrets_of_etc(void **state)
{
    static const char *const secret[] = {"/etc/shadow",    "/etc/shadow-",     "/etc/gshadow", "/etc/ssh",
                                         "/etc/sudoers.d", "/etc/ssl/private", "/etc/my.key"};
    static const char *const open_[] = {"/etc/passwd", "/etc/hosts", "/etc/ssl/certs", "/etc/pip.conf"};
    for (size_t i = 0; i < ARRAY_LEN(secret); i++)
        assert_true(hostroot_is_secret(secret[i]));
    for (size_t i = 0; i < ARRAY_LEN(open_); i++)
        assert_false(hostroot_is_secret(open_[i]));
}

static void network_rules(void **state)
{
    struct podnet_config cfg = {.node_dir = "/tmp",
                                .instance = "tm0a1b2c3d",
                                .cidr = "10.77.0.0/16",
                                .kube_addr = "127.0.0.1:6443",
                                .front_addr = "0.0.0.0:8080"};
    ERR(e);
    assert_int_equal(service_range_parse(NULL, &cfg.services, &e), 0);
    struct podnet *n = podnet_new(&cfg, &e);
    assert_non_null(n);
    assert_string_equal(podnet_gateway(n), "10.77.0.1");
    AUTOFREE char *rules = podnet_rules(n, "127.0.0.53");
    static const char *const want[] = {"ip daddr 10.96.0.1 tcp dport 443 dnat ip to 127.0.0.1:6443",
                                       "tcp dport 8080 dnat ip to 10.77.0.1:8080",
                                       "udp dport 53 dnat ip to 127.0.0.53",
                                       "ip daddr 127.0.0.0/8 drop",
                                       "iifname \"tm0a1b2c3d\" drop",
                                       "iifname \"tm0a1b2c3d\" meta nfproto ipv6 drop",
                                       "masquerade"};
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        assert_non_null(strstr(rules, want[i]));
    /* Before the rule that lets pods out. */
    const char *refused = strstr(rules, "100.100.100.200 } reject"), *out = strstr(rules, "iifname \"tm0a1b2c3d\" accept");
    assert_true(refused && out && refused < out);
    podnet_free(n, false);
    cfg.reach_metadata = true;
    assert_non_null(n = podnet_new(&cfg, &e));
    AUTOFREE char *open = podnet_rules(n, NULL);
    assert_null(strstr(open, "169.254."));
    podnet_free(n, false);
    static const char *const bad[] = {"", "10.77.0.0", "10.77.0.0/8", "10.77.0.0/30", "x/16", "fd00::/64"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cfg.cidr = bad[i];
        assert_null(podnet_new(&cfg, NULL));
    }
    AUTOFREE char *places = node_test_dir(), *none = NULL;
    AUTOFREE char *conflict = podnet_conflict("127.0.0.0/16", NULL);
    int first, second;
    for (int tries = 0; tries < 20; tries++) { /* other nodes come and go meanwhile */
        AUTOFREE char *a = podnet_choose_cidr("tm0a1b2c3d", places, &first);
        AUTOFREE char *b = podnet_choose_cidr("tm0a1b2c3d", places, &second);
        assert_true(a && b && first >= 0 && second >= 0);
        assert_string_not_equal(a, b); /* who has no route yet has it all the same */
        service_claim_drop(first);
        service_claim_drop(second);
        free(none);
        none = podnet_conflict(a, NULL);
        AUTOFREE char *again = podnet_choose_cidr("tm0a1b2c3d", places, &first);
        service_claim_drop(first);
        if (!none && str_eq(again, a))
            break;
        assert_true(tries < 19);
    }
    assert_int_equal(rmdir(places), 0); /* no claim leaves a file */
}

static void quality_of_service(void **state)
{
    static const struct {
        const char *resources, *want;
    } cases[] = {
        {"{}", "BestEffort"},
        {"{\"requests\":{\"cpu\":\"1\"}}", "Burstable"},
        {"{\"limits\":{\"cpu\":\"1\",\"memory\":\"1Gi\"}}", "Guaranteed"},
        {"{\"limits\":{\"cpu\":\"1\",\"memory\":\"1Gi\"},\"requests\":{\"cpu\":\"1000m\",\"memory\":\"1024Mi\"}}", "Guaranteed"},
        {"{\"limits\":{\"cpu\":\"2\",\"memory\":\"1Gi\"},\"requests\":{\"cpu\":\"1\"}}", "Burstable"},
        {"{\"limits\":{\"memory\":\"1Gi\"}}", "Burstable"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *text = xasprintf("{\"spec\":{\"containers\":[{\"resources\":%s}]}}", cases[i].resources);
        JSON_REF(pod) = json_parse_str(text, NULL);
        assert_string_equal(pod_qos(json_root(pod)), cases[i].want);
    }
}

/* ---- mounts --------------------------------------------------------------------------------------------------------------- */

/* What the node writes itself is read-only to pods, whatever the mount says: a link that a pod put there would lead the next
 * subPath out. */
static void mount_sources(void **state)
{
    static const char pod_text[] =
        "{\"metadata\":{\"uid\":\"u1\"},\"spec\":{\"volumes\":[{\"name\":\"c\",\"configMap\":{\"name\":\"x\"}},"
        "{\"name\":\"s\",\"secret\":{\"secretName\":\"x\"}},{\"name\":\"p\",\"projected\":{\"sources\":[]}},"
        "{\"name\":\"d\",\"downwardAPI\":{\"items\":[]}},{\"name\":\"e\",\"emptyDir\":{}},{\"name\":\"h\",\"hostPath\":{\"path\":"
        "\"/srv\"}}]}}";
    static const struct {
        const char *mount, *source; /* NULL: refused */
        bool readonly;
    } cases[] = {{"{\"name\":\"c\"}", "/pod/volumes/c", true},
                 {"{\"name\":\"c\",\"subPath\":\"key\"}", "/pod/volumes/c/key", true},
                 {"{\"name\":\"s\"}", "/mem/s", true},
                 {"{\"name\":\"p\",\"readOnly\":false}", "/mem/p", true},
                 {"{\"name\":\"d\"}", "/mem/d", true},
                 {"{\"name\":\"e\"}", "/pod/volumes/e", false},
                 {"{\"name\":\"e\",\"readOnly\":true}", "/pod/volumes/e", true},
                 {"{\"name\":\"h\"}", "/srv", false},
                 {"{\"name\":\"h\",\"subPath\":\"../etc\"}", NULL, false},
                 {"{\"name\":\"c\",\"subPath\":\"a/../../x\"}", NULL, false},
                 {"{\"name\":\"c\",\"subPathExpr\":\"$(UP)\"}", NULL, false},
                 {"{\"name\":\"missing\"}", NULL, false}};
    JSON_REF(pod) = json_parse_str(pod_text, NULL);
    struct pod_facts facts = {.pod = json_root(pod)};
    struct volumes_at at = {.facts = &facts, .pod_dir = "/pod", .mem_dir = "/mem", .mem_fd = -1, .fs_group = -1};
    CLEANUP(strmap_free) struct strmap vars = STRMAP_INIT(free);
    strmap_put(&vars, "UP", strdup("../x"));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        JSON_REF(mount) = json_parse_str(cases[i].mount, NULL);
        bool readonly = false;
        AUTOFREE char *source = volumes_source(&at, json_root(mount), &vars, &readonly, NULL);
        if (!cases[i].source) {
            assert_null(source);
            continue;
        }
        assert_string_equal(source, cases[i].source);
        assert_int_equal(readonly, cases[i].readonly);
    }
}

TEST_GROUP(parts, cmocka_unit_test(expansion), cmocka_unit_test(downward), cmocka_unit_test(environment),
           cmocka_unit_test(volume_files), cmocka_unit_test(log_reading), cmocka_unit_test(log_follow),
           cmocka_unit_test(log_rotation), cmocka_unit_test(log_just_rotated), cmocka_unit_test(log_follow_behind),
           cmocka_unit_test(capabilities), cmocka_unit_test(seccomp), cmocka_unit_test(seccomp_programs),
           cmocka_unit_test(secrets_of_etc), cmocka_unit_test(network_rules), cmocka_unit_test(quality_of_service),
           cmocka_unit_test(mount_sources))
