/* Unit tests of a whole launch: a task file in, a result file out, real commands in between. */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

#include "agent/agent.h"
#include "base/fs.h"

struct bench {
    char dir[64];
    struct launch_task t;
    struct launch_result r;
};

static int set_up(void **state)
{
    struct bench *b = xcalloc(1, sizeof *b);
    strcpy(b->dir, "/tmp/tidemill-launch-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    launch_task_init(&b->t);
    launch_result_init(&b->r);
    b->t.run_id = xstrdup("run");
    b->t.task_id = xstrdup("task");
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    launch_task_clear(&b->t);
    launch_result_clear(&b->r);
    fs_rm_rf(b->dir, NULL);
    free(b);
    return 0;
}

static void argv_is(struct bench *b, const char *script)
{
    strlist_add(&b->t.argv, "sh");
    strlist_add(&b->t.argv, "-c");
    strlist_add(&b->t.argv, script);
}

/* Runs the task with our standard output thrown away. */
static int go(struct bench *b)
{
    assert_int_equal(launch_task_write(&b->t, b->dir, NULL), 0);
    fflush(stdout);
    int saved = dup(1), saved_err = dup(2), null = open("/dev/null", O_WRONLY);
    dup2(null, 1);
    dup2(null, 2);
    int code = agent_launch(b->dir, b->dir);
    dup2(saved, 1);
    dup2(saved_err, 2);
    close(saved);
    close(saved_err);
    close(null);
    return code;
}

static void result(struct bench *b)
{
    ERR(e);
    launch_result_clear(&b->r);
    launch_result_init(&b->r);
    if (launch_result_read(b->dir, &b->r, &e) < 0)
        fail_msg("%s", err_text(&e));
}

static mode_t mode_of(struct bench *b, const char *name)
{
    AUTOFREE char *path = fs_join(b->dir, name);
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

/* Whose directory it is can remove what the step has left in it; what lies elsewhere, and what is a file, stays as it is. */
static void test_yield(void **state)
{
    struct bench *b = *state;
    if (geteuid() != 0)
        skip(); /* nobody else can be given a directory */
    AUTOFREE char *theirs = fs_join(b->dir, "theirs"), *ours = fs_join(b->dir, "ours"), *script = NULL;
    assert_int_equal(mkdir(theirs, 0755) | mkdir(ours, 0755) | chown(theirs, 65532, 65532), 0);
    strlist_add(&b->t.yield, theirs);
    strlist_add(&b->t.yield, ours);
    script = xasprintf("umask 022; cd %s && mkdir -p theirs/a/b theirs/shut ours/c && chmod 0 theirs/shut && touch theirs/a/f && "
                       "ln -s ../ours theirs/a/link; exit 3",
                       b->dir);
    argv_is(b, script);
    assert_int_equal(go(b), 3);
    result(b);
    assert_int_equal(mode_of(b, "theirs/a"), 0777);
    assert_int_equal(mode_of(b, "theirs/a/b"), 0777);
    assert_int_equal(mode_of(b, "theirs/shut"), 0777);
    assert_int_equal(mode_of(b, "theirs/a/f"), 0644);
    assert_int_equal(mode_of(b, "theirs"), 0755);
    assert_int_equal(mode_of(b, "ours"), 0755);
    assert_int_equal(mode_of(b, "ours/c"), 0755);
}

static void test_outputs(void **state)
{
    struct bench *b = *state;
    AUTOFREE char *param = fs_join(b->dir, "out/p"), *missing = fs_join(b->dir, "out/q"), *tree = fs_join(b->dir, "art/model"),
                  *outdir = fs_join(b->dir, "out"), *script = NULL;
    strlist_add(&b->t.dirs, outdir);
    launch_task_add_param(&b->t, "p", param);
    launch_task_add_param(&b->t, "q", missing);
    launch_task_add_artifact(&b->t, "model", tree);
    b->t.executor_output_path = fs_join(b->dir, "out/executor_output.json");
    script = xasprintf(
        "printf 'a\\nb' > %s; mkdir -p %s; printf 12345 > %s/w; printf '{\"parameterValues\":{}}' > %s; echo hello; echo err >&2",
        param, tree, tree, b->t.executor_output_path);
    argv_is(b, script);
    assert_int_equal(go(b), 0);
    result(b);
    assert_int_equal(b->r.outcome, LAUNCH_EXITED);
    assert_int_equal(b->r.n_params, 2);
    assert_string_equal(b->r.params[0].text, "a\nb");
    assert_null(b->r.params[1].text);
    assert_true(b->r.artifacts[0].exists && b->r.artifacts[0].is_dir);
    assert_int_equal(b->r.artifacts[0].size, 5);
    assert_string_equal(b->r.executor_output, "{\"parameterValues\":{}}");
    assert_string_equal(b->r.log_tail, "hello\nerr\n");
    assert_true(b->r.finished_ns >= b->r.started_ns && b->r.started_ns > 0);
}

static void test_failures(void **state)
{
    struct bench *b = *state;
    argv_is(b, "i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); done; exit 3");
    assert_int_equal(go(b), 3);
    result(b);
    assert_string_equal(b->r.message, "exit status 3");
    assert_non_null(strstr(b->r.log_tail, "line 80\n"));
    assert_null(strstr(b->r.log_tail, "line 79\n"));
    /* The same attempt never runs again. */
    assert_int_equal(go(b), LAUNCH_EXIT_TWICE);
}

static void test_signal(void **state)
{
    struct bench *b = *state;
    argv_is(b, "kill -9 $$");
    assert_int_equal(go(b), 137);
    result(b);
    assert_int_equal(b->r.outcome, LAUNCH_SIGNALED);
    assert_int_equal(b->r.signal, SIGKILL);
}

static void test_not_found(void **state)
{
    struct bench *b = *state;
    strlist_add(&b->t.argv, "no-such-program-here");
    assert_int_equal(go(b), 127);
    result(b);
    assert_int_equal(b->r.outcome, LAUNCH_NOT_FOUND);
    assert_non_null(strstr(b->r.message, "no-such-program-here: command not found in PATH"));
}

static void test_custom_path(void **state)
{
    struct bench *b = *state;
    AUTOFREE char *elsewhere = fs_join(b->dir, "elsewhere.bin"), *path = fs_join(b->dir, "model.bin"), *script = NULL;
    b->t.executor_output_path = fs_join(b->dir, "eo.json");
    launch_task_add_artifact(&b->t, "m", path);
    script = xasprintf("printf abc > %s; printf '{\"artifacts\":{\"m\":{\"artifacts\":[{\"custom_path\":\"%s\"}]}}}' > %s",
                       elsewhere, elsewhere, b->t.executor_output_path);
    argv_is(b, script);
    assert_int_equal(go(b), 0);
    result(b);
    assert_true(b->r.artifacts[0].exists);
    assert_int_equal(b->r.artifacts[0].size, 3);
}

static void test_hostile_output(void **state)
{
    struct bench *b = *state;
    AUTOFREE char *param = fs_join(b->dir, "fifo"), *script = xasprintf("mkfifo %s", param);
    launch_task_add_param(&b->t, "p", param);
    argv_is(b, script);
    assert_int_equal(go(b), 1);
    result(b);
    assert_int_equal(b->r.outcome, LAUNCH_COLLECT);
    assert_non_null(strstr(b->r.message, "output parameter p"));
}

static void test_left_over_process(void **state)
{
    /* A process that the command leaves behind and that holds its output open does not keep the step. */
    struct bench *b = *state;
    argv_is(b, "sleep 30 & echo $!");
    assert_int_equal(go(b), 0);
    result(b);
    int64_t pid = atoll(b->r.log_tail);
    assert_true(pid > 1);
    kill((pid_t)pid, SIGKILL);
}

static void test_executor_input(void **state)
{
    struct bench *b = *state;
    argv_is(b, "printf %s \"$1\" | wc -c; printf '\\377\\n'");
    strlist_add(&b->t.argv, "x");
    strlist_add(&b->t.argv, "");
    b->t.executor_input = xstrdup("{\"inputs\":{}}");
    b->t.executor_input_at = 4;
    assert_int_equal(go(b), 0);
    result(b);
    assert_string_equal(b->r.log_tail, "13\n\xef\xbf\xbd\n");
}

/* The image's own entry point and arguments, as the node leaves them beside the task. */
static void test_image_command(void **state)
{
    static const char image[] = "{\"entrypoint\":[\"echo\",\"entry\"],\"cmd\":[\"by\",\"image\"]}";
    static const struct {
        const char *image, *arg, *tail, *error;
    } cases[] = {{image, NULL, "entry by image\n", NULL},
                 {image, "mine", "entry mine\n", NULL},
                 {"{\"cmd\":[\"echo\",\"only\"]}", NULL, "only\n", NULL},
                 {"{}", NULL, NULL, "neither the component nor its image"},
                 {"[", NULL, NULL, "the image's command"},
                 {NULL, "x", NULL, "not known here"}};
    struct bench *b = *state;
    char top[64];
    strcpy(top, b->dir);
    AUTOFREE char *path = fs_join(top, "image.json");
    b->t.image_command = true;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(b->dir, sizeof b->dir, "%.40s/%zu", top, i);
        assert_int_equal(fs_mkdir_p(b->dir, 0755, NULL), 0);
        unlink(path);
        if (cases[i].image)
            assert_int_equal(fs_write_atomic(path, cases[i].image, strlen(cases[i].image), 0644, NULL), 0);
        strlist_free(&b->t.argv);
        if (cases[i].arg)
            strlist_add(&b->t.argv, cases[i].arg);
        assert_int_equal(go(b), cases[i].error ? 1 : 0);
        result(b);
        if (cases[i].tail)
            assert_string_equal(b->r.log_tail, cases[i].tail);
        else
            assert_non_null(strstr(b->r.message, cases[i].error));
    }
    strcpy(b->dir, top);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
/* The mark of a directory, which is taken away. */
static const char *mark_of(const char *dir)
{
    static char word[32];
    AUTOFREE char *path = fs_join(dir, LAUNCH_SETUP_MARK);
    BUF(text);
    snprintf(word, sizeof word, "%s", fs_read_plain(path, sizeof word - 1, &text, NULL) < 0 ? "(none)" : buf_str(&text));
    unlink(path);
    return word;
}

/* The prelude alone fills the directory that is kept. The step that comes after it sees that, without the prelude; when it was
 * not filled, the step runs as it stands. */
static void test_setup(void **state)
{
    static const struct {
        const char *installs, *mark, *said; /* the version that the prelude installs; what the step does afterwards */
    } cases[] = {{"2.0", "made", "then nothing\n"}, {"1.0", "not", "in\nthen nothing\n"}};
    struct bench *b = *state;
    AUTOFREE char *path = xstrdup(getenv("PATH")), *said = fs_join(b->dir, "said");
    unsetenv("PYTHONPATH");
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        AUTOFREE char *dir = xasprintf("%s/setup-%zu", b->dir, n), *was = NULL;
        AUTOFREE char *script = xasprintf(
            "for d in $(echo $PYTHONPATH | tr : ' '); do mkdir -p $d/tm_probe-%s.dist-info; done; echo in $PIP_PREFIX >%s; "
            "exec \"$0\" \"$@\"",
            cases[n].installs, said);
        AUTOFREE char *inner = xasprintf("echo then ${PIP_PREFIX-nothing} >>%s", said);
        launch_task_clear(&b->t);
        b->t.run_id = xstrdup("r");
        b->t.task_id = xstrdup("t");
        const char *const argv[] = {"sh", "-c", script, "sh", "-c", inner};
        for (size_t k = 0; k < ARRAY_LEN(argv); k++)
            strlist_add(&b->t.argv, argv[k]);
        b->t.prelude_at = 3;
        strlist_add(&b->t.requirements, "tm-probe==2.0");
        b->t.setup_dir = xstrdup(dir);
        assert_int_equal(fs_mkdir_p(dir, 0755, NULL), 0);
        assert_int_equal(launch_task_write(&b->t, b->dir, NULL), 0);
        unlink(said);
        setenv("PATH", "/usr/bin:/bin", 1);
        assert_int_equal(agent_setup(b->dir), 0);
        BUF(text);
        if (fs_read(said, 1000, &text, NULL) < 0) {
            setenv("PATH", path, 1);
            skip(); /* python3 here is none whose layout is known */
        }
        was = xasprintf("in %s\n", dir);
        assert_string_equal(buf_str(&text), was);
        assert_string_equal(mark_of(dir), cases[n].mark);
        AUTOFREE char *started = fs_join(b->dir, LAUNCH_STARTED);
        assert_false(fs_exists(started)); /* that was not the attempt */
        unlink(said);
        setenv("PATH", "/usr/bin:/bin", 1);
        unsetenv("PYTHONPATH");
        assert_int_equal(go(b), 0);
        unlink(started);
        unsetenv("PYTHONPATH");
        setenv("PATH", path, 1);
        result(b);
        buf_reset(&text);
        assert_int_equal(fs_read(said, 1000, &text, NULL), 0);
        assert_string_equal(buf_str(&text), cases[n].said);
        assert_int_equal(b->r.prelude_skipped, n == 0);
        assert_string_equal(mark_of(dir), "(none)");
    }
    /* The tag has moved: what was installed for another image is not for this one. */
    AUTOFREE char *full = fs_join(b->dir, "setup-0"), *print = fs_join(full, LAUNCH_SETUP_FOR);
    STRLIST(wants);
    bool stale = true;
    strlist_add(&wants, "tm-probe==2.0");
    setenv("PATH", "/usr/bin:/bin", 1);
    assert_true(agent_setup_use(full, &wants, &stale) && !stale);
    unsetenv("PYTHONPATH");
    assert_int_equal(fs_write_atomic(print, "another", 7, 0644, NULL), 0);
    assert_false(agent_setup_use(full, &wants, &stale));
    assert_true(stale && !getenv("PYTHONPATH"));
    setenv("PATH", path, 1);
    /* Ended from outside: that says nothing of the packages. */
    AUTOFREE char *begun = fs_join(b->dir, "begun");
    assert_int_equal(fs_mkdir_p(begun, 0755, NULL), 0);
    free(b->t.setup_dir);
    b->t.setup_dir = xstrdup(begun);
    free(b->t.argv.v[2]);
    b->t.argv.v[2] = xstrdup("kill -9 $$");
    assert_int_equal(launch_task_write(&b->t, b->dir, NULL), 0);
    setenv("PATH", "/usr/bin:/bin", 1);
    assert_int_equal(agent_setup(b->dir), 0);
    setenv("PATH", path, 1);
    assert_string_equal(mark_of(begun), "(none)");
    /* Nothing to be filled, and a mark that was planted. */
    free(b->t.setup_dir);
    b->t.setup_dir = fs_join(b->dir, "setup-0");
    AUTOFREE char *mark = fs_join(b->t.setup_dir, LAUNCH_SETUP_MARK), *victim = fs_join(b->dir, "victim");
    assert_int_equal(symlink(victim, mark), 0);
    strlist_free(&b->t.requirements);
    assert_int_equal(launch_task_write(&b->t, b->dir, NULL), 0);
    setenv("PATH", "/usr/bin:/bin", 1);
    assert_int_equal(agent_setup(b->dir), 0);
    setenv("PATH", path, 1);
    assert_string_equal(mark_of(b->t.setup_dir), "needless");
    assert_false(fs_exists(victim));
}

/* The task may come from a directory that holds links, as a kubelet's do; marks and result stay in the other. */
static void test_task_elsewhere(void **state)
{
    struct bench *b = *state;
    AUTOFREE char *in = fs_join(b->dir, "in"), *real = fs_join(in, "..data"), *link = fs_join(in, LAUNCH_TASK);
    AUTOFREE char *stray = fs_join(real, LAUNCH_STARTED);
    argv_is(b, "exit 3");
    assert_int_equal(fs_mkdir_p(real, 0755, NULL), 0);
    assert_int_equal(launch_task_write(&b->t, real, NULL), 0);
    assert_int_equal(symlink("..data/" LAUNCH_TASK, link), 0);
    assert_int_equal(agent_launch(in, b->dir), 3);
    result(b);
    assert_int_equal(b->r.exit_code, 3);
    assert_false(fs_exists(stray));
    assert_int_equal(agent_launch(in, b->dir), LAUNCH_EXIT_TWICE);
}

TEST_GROUP(launch, T(test_task_elsewhere), cmocka_unit_test_setup_teardown(test_setup, set_up, tear_down), T(test_outputs),
           T(test_yield), T(test_failures), T(test_signal), T(test_not_found), T(test_custom_path), T(test_hostile_output),
           T(test_left_over_process), T(test_executor_input), T(test_image_command))
