/* yield.c - directories that a step leaves to somebody else. A server that is not root could not remove what root has made. */
#include <ftw.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"

#define OPEN_AT_ONCE 16

static int open_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)at;
    if ((kind == FTW_D || kind == FTW_DNR) && st->st_uid == geteuid() && (st->st_mode & 0777) != 0777)
        (void)!chmod(path, 0777);
    return 0;
}

void agent_yield(const char *dir)
{
    struct stat st;
    if (lstat(dir, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid != geteuid())
        nftw(dir, open_one, OPEN_AT_ONCE, FTW_PHYS | FTW_MOUNT);
}
