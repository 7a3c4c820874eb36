/* A container image beside a step: the link that it leaves, and how it says that there is nothing in it. */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

#include "agent/agent.h"
#include "base/fs.h"

struct place {
    char dir[64];
    char *models, *shared;
};

static int set_up(void **state)
{
    struct place *p = xcalloc(1, sizeof *p);
    strcpy(p->dir, "/tmp/tidemill-models-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    p->models = fs_join(p->dir, "models-in-image");
    p->shared = fs_join(p->dir, "shared");
    assert_int_equal(mkdir(p->shared, 0755), 0);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    fs_rm_rf(p->dir, NULL);
    free(p->models);
    free(p->shared);
    free(p);
    return 0;
}

static void fill(struct place *p)
{
    AUTOFREE char *file = fs_join(p->models, "weights");
    assert_int_equal(mkdir(p->models, 0755), 0);
    int fd = open(file, O_WRONLY | O_CREAT, 0644);
    assert_true(fd >= 0);
    close(fd);
}

/* In a process of its own: it writes to standard error, and serve stays. */
static pid_t begin(struct place *p, const char *what)
{
    pid_t pid = fork();
    if (pid == 0) {
        dup2(open("/dev/null", O_WRONLY), 2);
        _exit(agent_models(what, p->models, p->shared));
    }
    assert_true(pid > 0);
    return pid;
}

static int end(pid_t pid)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void nothing_there(void **state)
{
    struct place *p = *state;
    assert_int_equal(end(begin(p, "check")), 1); /* no such directory */
    assert_int_equal(end(begin(p, "serve")), 1);
    assert_int_equal(mkdir(p->models, 0755), 0);
    assert_int_equal(end(begin(p, "check")), 1); /* empty */
    assert_int_equal(end(begin(p, "ready")), 1); /* no link */
}

static void served(void **state)
{
    struct place *p = *state;
    AUTOFREE char *through = fs_join(p->shared, "models/weights"), *link = fs_join(p->shared, "models");
    fill(p);
    assert_int_equal(end(begin(p, "check")), 0);
    char before[256] = "";
    for (int round = 0; round < 2; round++) { /* a side-car that is started again leaves a new link */
        pid_t pid = begin(p, "serve");
        char now[256] = "";
        for (int n = 0; n < 2000; n++) {
            memset(now, 0, sizeof now);
            if (readlink(link, now, sizeof now - 1) > 0 && strcmp(now, before) != 0)
                break;
            usleep(10000);
        }
        assert_int_equal(end(begin(p, "ready")), 0);
        AUTOFREE char *want = xasprintf("/proc/%d/root%s", (int)pid, p->models);
        assert_string_equal(now, want);
        assert_true(fs_exists(through));
        strcpy(before, now);
        kill(pid, SIGTERM);
        assert_int_equal(end(pid), 0);
    }
}

TEST_GROUP(models, cmocka_unit_test_setup_teardown(nothing_there, set_up, tear_down),
           cmocka_unit_test_setup_teardown(served, set_up, tear_down))
