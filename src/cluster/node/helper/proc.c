#include "cluster/node/helper/proc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fs.h"

int64_t proc_start_time(pid_t pid)
{
    BUF(b);
    AUTOFREE char *path = xasprintf("/proc/%d/stat", (int)pid);
    if (pid <= 0 || fs_read(path, 65536, &b, NULL) < 0)
        return 0;
    /* The second field is the name in parentheses, which may hold anything. */
    const char *at = strrchr(buf_str(&b), ')');
    if (!at || at[1] != ' ' || at[2] == 'Z' || at[2] == 'X')
        return 0;
    at += 2;
    for (int field = 3; field < 22; field++) {
        at = strchr(at, ' ');
        if (!at)
            return 0;
        at++;
    }
    return strtoll(at, NULL, 10);
}

int proc_kill(pid_t pid, int64_t start, int sig, struct err *err)
{
    AUTOCLOSE int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return errno == ESRCH ? 0 : err_errno(err, "opening process %d", (int)pid);
    if (proc_start_time(pid) != start)
        return 0;
    if (syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0) < 0 && errno != ESRCH)
        return err_errno(err, "sending signal %d to process %d", sig, (int)pid);
    return 0;
}

char *proc_boot_id(void)
{
    BUF(b);
    if (fs_read("/proc/sys/kernel/random/boot_id", 128, &b, NULL) < 0)
        return xstrdup("");
    while (b.len && b.data[b.len - 1] == '\n')
        b.data[--b.len] = 0;
    return buf_steal(&b, NULL);
}

int proc_write(const char *path, const char *text, struct err *err)
{
    AUTOCLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "opening %s", path);
    size_t n = strlen(text);
    return write(fd, text, n) != (ssize_t)n ? err_errno(err, "writing \"%s\" to %s", text, path) : 0;
}

char *proc_machine_ip(void)
{
    /* Connecting a datagram socket sends nothing; it only makes the kernel choose. */
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(0x08080808)}, own = {0};
    socklen_t len = sizeof own;
    char text[INET_ADDRSTRLEN];
    AUTOCLOSE int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0 || getsockname(fd, (struct sockaddr *)&own, &len) < 0 ||
        !inet_ntop(AF_INET, &own.sin_addr, text, sizeof text))
        return xstrdup("127.0.0.1");
    return xstrdup(text);
}
