/* setup.c - a directory with what a step's prelude installs: filled before the step, used by it and by later ones.
 *
 * Whoever fills it decides what code later steps run. So it is filled by the generated `pip install` alone, in a container of its
 * own that ends before anything of the step's begins; the step, and all later ones, see it read-only. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/fs.h"

static void put_env(const char *name, char *value)
{
    if (value)
        setenv(name, value, 1);
    else
        unsetenv(name);
    free(value);
}

/* A tag may have moved since: packages with machine code, and what pip found there already, are right for one image only. */
static bool is_for_this_image(const char *setup_dir)
{
    char print[AGENT_IMAGE_TEXT];
    AUTOFREE char *path = fs_join(setup_dir, LAUNCH_SETUP_FOR);
    BUF(was);
    return agent_image_print(print) && fs_read_plain(path, sizeof print, &was, NULL) == 0 && str_eq(buf_str(&was), print);
}

static bool use(const char *setup_dir, const struct strlist *requirements)
{
    AUTOFREE char *packages = agent_setup_path(setup_dir);
    char *python = xstrdup(getenv("PYTHONPATH")), *path = xstrdup(getenv("PATH"));
    if (packages) {
        put_env("PYTHONPATH", str_empty(python) ? xstrdup(packages) : xasprintf("%s:%s", packages, python));
        put_env("PATH", xasprintf("%s/bin:%s", setup_dir, str_empty(path) ? "/usr/local/bin:/usr/bin:/bin" : path));
        if (agent_requirements_met(requirements)) {
            free(python);
            free(path);
            return true;
        }
    }
    put_env("PYTHONPATH", python);
    put_env("PATH", path);
    return false;
}

bool agent_setup_use(const char *setup_dir, const struct strlist *requirements, bool *stale)
{
    *stale = !is_for_this_image(setup_dir);
    return !*stale && use(setup_dir, requirements);
}

/* The prelude's last word is the step's command: here one that does nothing. False: it was ended from outside, which says nothing
 * of the packages. */
static bool install(const struct launch_task *t, const char *packages)
{
    ERR(e);
    struct run_outcome o = {0};
    char *argv[] = {t->argv.v[0], t->argv.v[1], t->argv.v[2], (char[]){"true"}, NULL};
    setenv("PIP_PREFIX", t->setup_dir, 1);
    setenv("PYTHONPATH", packages, 1); /* so that pip finds again what an earlier try has left */
    if (agent_run(argv, &o, &e) < 0)
        fprintf(stderr, "tidemill-agent: %s\n", err_text(&e));
    unsetenv("PIP_PREFIX");
    buf_free(&o.tail);
    return o.started && !WIFSIGNALED(o.wait_status) && WEXITSTATUS(o.wait_status) <= 128;
}

/* A file that nobody has put there before: with a mark of an earlier try in its place, and through no link. */
static int leave(const char *dir, const char *name, const char *text, struct err *err)
{
    AUTOFREE char *path = fs_join(dir, name);
    unlink(path);
    AUTOCLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    return fd < 0 ? err_errno(err, "%s cannot be written", path) : fs_write(fd, text, strlen(text), err);
}

static enum launch_setup fill(const struct launch_task *t)
{
    char print[AGENT_IMAGE_TEXT];
    if (agent_requirements_met(&t->requirements))
        return LAUNCH_SETUP_NEEDLESS;
    AUTOFREE char *packages = agent_setup_path(t->setup_dir);
    if (!packages || !agent_image_print(print) || leave(t->setup_dir, LAUNCH_SETUP_FOR, print, NULL) < 0)
        return LAUNCH_SETUP_NOT;
    char *python = xstrdup(getenv("PYTHONPATH"));
    AUTOFREE char *both = str_empty(python) ? NULL : xasprintf("%s:%s", packages, python);
    bool ended = install(t, both ? both : packages);
    put_env("PYTHONPATH", python);
    if (!ended)
        return LAUNCH_SETUP_NONE;
    return use(t->setup_dir, &t->requirements) ? LAUNCH_SETUP_MADE : LAUNCH_SETUP_NOT;
}

int agent_setup(const char *dir)
{
    ERR(e);
    struct launch_task t;
    launch_task_init(&t);
    if (launch_task_read(dir, &t, &e) < 0) {
        fprintf(stderr, "tidemill-agent: %s\n", err_text(&e));
        launch_task_clear(&t);
        return 1;
    }
    if (t.setup_dir && t.prelude_at >= 3 && (size_t)t.prelude_at < t.argv.n) {
        const char *word = launch_setup_word(fill(&t));
        /* Without a mark it is not kept, and the step installs for itself. */
        if (*word && leave(t.setup_dir, LAUNCH_SETUP_MARK, word, &e) < 0)
            fprintf(stderr, "tidemill-agent: %s\n", err_text(&e));
        agent_yield(t.setup_dir);
    }
    launch_task_clear(&t);
    return 0;
}
