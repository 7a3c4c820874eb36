#include "fake_store.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"

/* Reads one request, head and body; false when the peer has gone. */
static bool read_request(int fd, struct buf *head)
{
    char c;
    BUF(one);
    while (!strstr(buf_str(&one), "\r\n\r\n")) {
        if (read(fd, &c, 1) != 1)
            return false;
        buf_addc(&one, c);
    }
    const char *at = strcasestr(buf_str(&one), "\r\ncontent-length:");
    long left = at ? atol(at + 17) : 0;
    char chunk[4096];
    while (left > 0) {
        ssize_t n = read(fd, chunk, left < (long)sizeof chunk ? (size_t)left : sizeof chunk);
        if (n <= 0)
            return false;
        left -= n;
    }
    buf_add(head, one.data, one.len);
    return true;
}

static void *serve(void *arg)
{
    struct fake_store *f = arg;
    int fd = -1;
    while (f->served < f->n) {
        if (fd < 0 && (fd = accept(f->listener, NULL, NULL)) < 0)
            break;
        size_t from = f->requests.len;
        if (!read_request(fd, &f->requests)) {
            close(fd);
            fd = -1;
            continue;
        }
        const struct fake_answer *a = &f->script[f->served++];
        if (a->expect && !strcasestr(f->requests.data + from, a->expect))
            snprintf(f->missing, sizeof f->missing, "%.90s: %.90s", a->expect, f->requests.data + from);
        char drop;
        if (a->text)
            (void)!write(fd, a->text, strlen(a->text));
        else
            (void)!read(fd, &drop, 1);
        if (!a->keep) {
            close(fd);
            fd = -1;
        }
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

void fake_start(struct fake_store *f, const struct fake_answer *script, size_t n)
{
    *f = (struct fake_store){.script = script, .n = n};
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    assert_int_equal(bind(f->listener, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(f->listener, 16), 0);
    assert_int_equal(getsockname(f->listener, (struct sockaddr *)&sa, &len), 0);
    f->port = ntohs(sa.sin_port);
    assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
}

size_t fake_stop(struct fake_store *f)
{
    shutdown(f->listener, SHUT_RDWR);
    pthread_join(f->thread, NULL);
    close(f->listener);
    buf_free(&f->requests);
    if (*f->missing)
        fail_msg("a request lacks %s", f->missing);
    return f->served;
}
