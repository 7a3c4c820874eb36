/* talk.h - one connection of a server whose loop is turned by hand, for fuzz targets. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/internal.h"

struct talk_how {
    int shut_after, how; /* turns after which the socket is shut once all is sent, and SHUT_WR or SHUT_RDWR */
    int sleep_after;     /* turns from which on threads get time */
};

/* Sends, takes what comes, and turns the loop, until the connection is gone. */
static void talk(struct http_server *s, int fd, const char *p, size_t n, const struct talk_how *t)
{
    struct loop *l = &s->loops[0];
    char drop[4096];
    bool shut = false;
    for (int turn = 0; http_server_connections(s) > 0; turn++) {
        ssize_t w = n ? send(fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
        if (w > 0) {
            p += w;
            n -= (size_t)w;
        } else if (w < 0 && errno != EAGAIN) {
            n = 0;
        }
        uv_run(&l->uv, UV_RUN_NOWAIT);
        ssize_t r;
        while ((r = recv(fd, drop, sizeof drop, MSG_DONTWAIT)) > 0)
            ;
        if (!n && !shut && turn > t->shut_after) {
            shutdown(fd, t->how);
            shut = true;
        }
        if (turn > t->sleep_after)
            usleep(20);
        ASSERT(turn < 500000);
    }
    while (!LIST_EMPTY(&l->conns))
        uv_run(&l->uv, UV_RUN_NOWAIT);
}
