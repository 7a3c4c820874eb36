/* holder.c - which process listens on a port: /proc/net/tcp{,6} gives the socket's inode, /proc/<pid>/fd who has it open. */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "net/internal.h"

#define TCP_LISTEN_STATE 0x0A

static uint64_t listening_inode(const char *table, int port)
{
    FILE *f = fopen(table, "re");
    if (!f)
        return 0;
    char line[512];
    uint64_t found = 0;
    while (!found && fgets(line, sizeof line, f)) {
        unsigned local, state;
        uint64_t inode;
        if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*x:%*x %*x:%*x %*x %*u %*d %" SCNu64, &local, &state,
                   &inode) == 3 &&
            local == (unsigned)port && state == TCP_LISTEN_STATE)
            found = inode;
    }
    fclose(f);
    return found;
}

static bool has_open(const char *pid, const char *want)
{
    AUTOFREE char *dir = xasprintf("/proc/%s/fd", pid);
    DIR *d = opendir(dir);
    if (!d)
        return false;
    bool found = false;
    for (struct dirent *e; !found && (e = readdir(d));) {
        char target[64];
        ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof target - 1);
        if (n > 0) {
            target[n] = '\0';
            found = strcmp(target, want) == 0;
        }
    }
    closedir(d);
    return found;
}

static char *describe(const char *pid)
{
    AUTOFREE char *path = xasprintf("/proc/%s/comm", pid);
    char name[64] = "";
    FILE *f = fopen(path, "re");
    if (f) {
        if (!fgets(name, sizeof name, f))
            name[0] = '\0';
        fclose(f);
    }
    name[strcspn(name, "\n")] = '\0';
    return xasprintf("%s (process %s)", name[0] ? name : "a process", pid);
}

char *port_holder(int port)
{
    uint64_t inode = listening_inode("/proc/net/tcp", port);
    if (!inode)
        inode = listening_inode("/proc/net/tcp6", port);
    if (!inode)
        return NULL;
    AUTOFREE char *want = xasprintf("socket:[%" PRIu64 "]", inode);
    DIR *proc = opendir("/proc");
    char *who = NULL;
    for (struct dirent *e; proc && !who && (e = readdir(proc));) {
        int64_t pid;
        if (str_to_i64(e->d_name, &pid) && has_open(e->d_name, want))
            who = describe(e->d_name);
    }
    if (proc)
        closedir(proc);
    return who;
}
