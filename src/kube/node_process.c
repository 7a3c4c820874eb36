/* The caller's side of a program in a container. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "kube/node_api.h"

int node_process_ended(struct node_process *p, int *code, struct err *err)
{
    char text[4096];
    ssize_t n;
    while ((n = recv(p->status, text, sizeof text - 1, MSG_DONTWAIT)) < 0 && errno == EINTR)
        ;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    if (n <= 0)
        return err_set(err, ERR_INTERNAL, "how the program ended is not known: the node's helper process is gone");
    text[n] = 0;
    int64_t number = 0;
    char *space = strchr(text, ' ');
    if (space)
        *space++ = 0;
    if (str_eq(text, "exit") && space && str_to_i64(space, &number)) {
        *code = (int)number;
        return 1;
    }
    char *why = space ? strchr(space, ' ') : NULL;
    if (why)
        *why++ = 0;
    if (!str_eq(text, "fail") || !why || !str_to_i64(space, &number))
        return err_set(err, ERR_INTERNAL, "the node's helper process said \"%s\"", text);
    return err_set(err, number == 127 ? ERR_NOT_FOUND : number == 126 ? ERR_FORBIDDEN : ERR_INTERNAL, "%s", why);
}

static bool unread(int fifo)
{
    int n = 0;
    return fifo >= 0 && ioctl(fifo, FIONREAD, &n) == 0 && n > 0;
}

bool node_process_resize(const struct node_process *p, int columns, int rows)
{
    if (columns < 1 || rows < 1 || columns > UINT16_MAX || rows > UINT16_MAX)
        return true;
    if (p->control) {
        char line[32];
        int n = snprintf(line, sizeof line, "1 %d %d\n", rows, columns);
        AUTOFREE char *dir = xstrndup(p->control, (size_t)(strrchr(p->control, '/') - p->control));
        AUTOFREE char *second = fs_join(dir, "winsz"); /* where conmon hands it on to itself */
        AUTOCLOSE int fd = open(p->control, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        AUTOCLOSE int fd2 = open(second, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        if (unread(fd) || unread(fd2))
            return false;
        if (fd >= 0 && write(fd, line, (size_t)n) < 0)
            return errno != EAGAIN;
    } else if (p->out >= 0 || p->in >= 0) {
        struct winsize size = {.ws_col = (unsigned short)columns, .ws_row = (unsigned short)rows};
        ioctl(p->out >= 0 ? p->out : p->in, TIOCSWINSZ, &size);
    }
    return true;
}

void node_process_close(struct node_process *p)
{
    int *fds[] = {&p->in, &p->out, &p->err, &p->status};
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        base_closep(fds[i]);
    free(p->control);
    *p = (struct node_process)NODE_PROCESS_NONE;
}
