/* install.c - a copy of this program where the next container sees it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/fs.h"

static int copy(const char *dir, struct err *err)
{
    static char chunk[65536];
    AUTOFREE char *path = fs_join(dir, "tidemill-agent"), *part = fs_join(dir, ".tidemill-agent");
    AUTOCLOSE int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC),
                  out = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    if (in < 0)
        return err_errno(err, "/proc/self/exe");
    if (out < 0)
        return err_errno(err, "%s", part);
    ssize_t n;
    while ((n = read(in, chunk, sizeof chunk)) != 0) {
        if (n < 0 && errno != EINTR)
            return err_errno(err, "/proc/self/exe");
        if (n > 0 && fs_write(out, chunk, (size_t)n, err) < 0)
            return err_wrap(err, "%s", part);
    }
    /* Whatever the umask: the next container may run as somebody else. */
    if (fchmod(out, 0755) < 0 || rename(part, path) < 0)
        return err_errno(err, "%s", path);
    return 0;
}

int agent_install(const char *dir)
{
    ERR(e);
    if (copy(dir, &e) == 0)
        return 0;
    fprintf(stderr, "tidemill-agent: %s\n", err_text(&e));
    return 1;
}
