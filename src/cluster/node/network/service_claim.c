#include "cluster/node/network/service_claim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "cluster/node/network/podnet.h"

enum { FIRST_RANGE = 96, LAST_RANGE = 111, RANGE_TEXT_MAX = 64, LOCK_TRIES = 10 };

static bool is_file_of(const char *name, int fd)
{
    struct stat a, b;
    return stat(name, &a) == 0 && fstat(fd, &b) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

/* A locked file says that the range is somebody's from now on; the lock ends with its holder, whose route then speaks for it. -1:
 * somebody has it. */
static int lock_range(const char *claims_dir, const char *use, const char *cidr, bool *somebodys)
{
    AUTOFREE char *name = xasprintf("%s/%s-%s", claims_dir, use, cidr);
    char *slash = strrchr(name, '/');
    *slash = '_';
    *somebodys = false;
    for (int tries = 0; tries < LOCK_TRIES; tries++) {
        int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
            return -1; /* no place for claims: routes alone decide */
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
            *somebodys = errno == EWOULDBLOCK;
            close(fd);
            return -1;
        }
        if (is_file_of(name, fd))
            return fd;
        close(fd); /* it was dropped between open and lock: the next one has that name */
    }
    return -1;
}

void service_claim_drop(int hold)
{
    char link[32], name[PATH_MAX];
    if (hold < 0)
        return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", hold);
    ssize_t n = readlink(link, name, sizeof name - 1);
    if (n > 0) {
        name[n] = 0;
        if (is_file_of(name, hold))
            unlink(name);
    }
    close(hold);
}

static char *choose(const char *claims_dir, int *hold)
{
    for (int i = FIRST_RANGE; i <= LAST_RANGE; i++) {
        AUTOFREE char *cidr = xasprintf("10.%d.0.0/16", i);
        bool somebodys;
        int fd = lock_range(claims_dir, "services", cidr, &somebodys);
        AUTOFREE char *route = somebodys ? NULL : podnet_conflict(cidr, NULL);
        if (!somebodys && !route) {
            *hold = fd;
            return TAKE(cidr);
        }
        service_claim_drop(fd);
    }
    return xstrdup(SERVICE_RANGE_USUAL); /* pods reach it all the same */
}

static char *stored(const char *data_dir, const char *path, struct err *err)
{
    BUF(b);
    ERR(e);
    if (fs_read(path, RANGE_TEXT_MAX, &b, &e) == 0) {
        while (b.len && b.data[b.len - 1] == '\n')
            b.data[--b.len] = 0;
        return buf_steal(&b, NULL);
    }
    if (e.sys_errno != ENOENT) {
        err_move(err, &e);
        return NULL;
    }
    /* Services that were made before ranges were chosen. */
    AUTOFREE char *objects = fs_join(data_dir, "kube.db");
    return fs_exists(objects) ? xstrdup(SERVICE_RANGE_USUAL) : NULL;
}

bool range_claim(const char *claims_dir, const char *use, const char *cidr, int *hold)
{
    bool somebodys;
    fs_mkdir_p(claims_dir, 0755, NULL);
    *hold = lock_range(claims_dir, use, cidr, &somebodys);
    return !somebodys;
}

char *service_claim(const char *data_dir, const char *claims_dir, const char *wanted, int *hold, struct err *err)
{
    AUTOFREE char *path = fs_join(data_dir, "service-range");
    ERR(e);
    struct service_range range;
    *hold = -1;
    AUTOFREE char *have = stored(data_dir, path, &e), *cidr = NULL;
    if (e.code) {
        err_move(err, &e);
        return NULL;
    }
    if (wanted && service_range_parse(wanted, &range, err) < 0)
        return NULL;
    if (wanted && have && !str_eq(range.cidr, have)) {
        err_set(err, ERR_CONFLICT, "Services of %s have addresses of %s; --service-cidr is for a new data directory", data_dir,
                have);
        return NULL;
    }
    if (have && service_range_parse(have, &range, err) < 0) {
        err_wrap(err, "%s is damaged", path);
        return NULL;
    }
    if (fs_mkdir_p(claims_dir, 0755, NULL) < 0)
        err_clear(err); /* not root: there is no node either */
    bool somebodys;
    if (have || wanted)
        *hold = lock_range(claims_dir, "services", range.cidr, &somebodys);
    cidr = have || wanted ? xstrdup(range.cidr) : choose(claims_dir, hold);
    AUTOFREE char *text = xasprintf("%s\n", cidr);
    if (fs_write_atomic(path, text, strlen(text), 0600, err) == 0)
        return TAKE(cidr);
    service_claim_drop(*hold);
    *hold = -1;
    return NULL;
}
