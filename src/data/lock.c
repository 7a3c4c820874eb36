/* lock.c - one process per database: an advisory lock on "<path>.lock", which holds the pid of who has it.
 *
 * The lock belongs to the open file (F_OFD_SETLK), so it is also seen inside one process, is not lost when somebody else closes
 * the file, and goes when the process dies in whatever way. The file itself stays. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "data/sql_internal.h"

/* The pid in the lock file, 0 when there is none to read. */
static long lock_holder(int fd)
{
    char text[32] = "";
    if (pread(fd, text, sizeof text - 1, 0) <= 0)
        return 0;
    return strtol(text, NULL, 10);
}

#define DYING_WAIT_MS 20
#define DYING_WAITS   100

/* The process has ended, but the kernel may not have closed all of its files yet: what was killed a moment ago must not keep the
 * next one out. */
static bool is_dying(long pid)
{
    if (pid <= 0)
        return false;
    AUTOFREE char *path = xasprintf("/proc/%ld/stat", pid);
    BUF(stat);
    if (fs_read(path, 4096, &stat, NULL) < 0)
        return true;
    const char *after_name = strrchr(buf_str(&stat), ')');
    return after_name && (str_starts(after_name, ") Z") || str_starts(after_name, ") X"));
}

static int try_lock(int fd)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    for (int i = 0;; i++) {
        if (fcntl(fd, F_OFD_SETLK, &whole) == 0)
            return 0;
        int saved = errno;
        if ((saved != EAGAIN && saved != EACCES) || i == DYING_WAITS || !is_dying(lock_holder(fd))) {
            errno = saved;
            return -1;
        }
        usleep(DYING_WAIT_MS * 1000);
    }
}

int sql_lock(const char *db_path, struct err *err)
{
    AUTOFREE char *path = xasprintf("%s.lock", db_path);
    AUTOCLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(err, "opening lock file %s", path);
    if (try_lock(fd) < 0) {
        if (errno != EAGAIN && errno != EACCES)
            return err_errno(err, "locking %s", path);
        long pid = lock_holder(fd);
        if (pid > 0)
            return err_set(err, ERR_CONFLICT,
                           "%s is in use by process %ld: stop that one first, or choose another data directory", db_path, pid);
        return err_set(err, ERR_CONFLICT, "%s is in use by another process", db_path);
    }
    char text[32];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n)
        return err_errno(err, "writing lock file %s", path);
    int out = fd;
    fd = -1;
    return out;
}
