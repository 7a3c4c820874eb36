/* models.c - a container image whose files another container of the pod reads ("modelcar"): the image runs beside it, and leaves
 * a link to its own root where both see it. The pod shares one process namespace. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/fs.h"

static int check(const char *dir, struct err *err)
{
    DIR *d = opendir(dir);
    if (!d)
        return err_errno(err, "the image holds no model: %s", dir);
    int n = 0;
    for (const struct dirent *e; (e = readdir(d));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n > 0 ? 0 : err_set(err, ERR_INVALID, "the image holds no model: %s is empty", dir);
}

/* Whoever comes again after a restart has another process id. */
static int leave_link(const char *models, const char *dir, struct err *err)
{
    AUTOFREE char *to = xasprintf("/proc/%d/root%s", (int)getpid(), models);
    AUTOFREE char *link = fs_join(dir, "models"), *part = fs_join(dir, ".models");
    if (unlink(part) < 0 && errno != ENOENT)
        return err_errno(err, "%s", part);
    if (symlink(to, part) < 0 || rename(part, link) < 0)
        return err_errno(err, "%s", link);
    return 0;
}

static int serve(const char *models, const char *dir, struct err *err)
{
    sigset_t ends;
    int sig;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    if (check(models, err) < 0 || leave_link(models, dir, err) < 0)
        return -1;
    while (sigwait(&ends, &sig) != 0)
        ;
    return 0;
}

int agent_models(const char *what, const char *models, const char *dir)
{
    ERR(e);
    int rc = -1;
    if (strcmp(what, "check") == 0) {
        rc = check(models, &e);
    } else if (strcmp(what, "serve") == 0) {
        rc = serve(models, dir, &e);
    } else {
        AUTOFREE char *link = fs_join(dir, "models");
        rc = check(link, &e);
    }
    if (rc < 0)
        fprintf(stderr, "tidemill-agent: %s\n", err_text(&e));
    return rc < 0 ? 1 : 0;
}
