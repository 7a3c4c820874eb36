/* io.c - bytes on a connection's socket, plain or TLS. */
#include <errno.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/socket.h>

#include "net/internal.h"
#include "net/tls.h"

#define IOV_MAX_USED 64
#define TLS_RECORD   (16 * 1024)

static ssize_t tls_result(struct conn *c, int rc)
{
    switch (SSL_get_error(c->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return IO_AGAIN;
    case SSL_ERROR_WANT_WRITE:
        c->tls_wants_write = true;
        return IO_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        return IO_ERROR;
    }
}

int io_handshake(struct conn *c)
{
    ERR_clear_error();
    int rc = SSL_do_handshake(c->ssl);
    if (rc == 1)
        return 0;
    ssize_t r = tls_result(c, rc);
    return r == IO_AGAIN ? IO_AGAIN : IO_ERROR;
}

ssize_t io_read(struct conn *c, void *p, size_t n)
{
    if (c->ssl) {
        ERR_clear_error();
        int rc = SSL_read(c->ssl, p, (int)n);
        return rc > 0 ? rc : tls_result(c, rc);
    }
    ssize_t got;
    do
        got = recv(c->fd, p, n, 0);
    while (got < 0 && errno == EINTR);
    return got >= 0 ? got : errno == EAGAIN ? IO_AGAIN : IO_ERROR;
}

/* Small pieces are joined to one record: a record costs a system call, a MAC and 29 bytes. */
static ssize_t tls_write(struct conn *c)
{
    struct iovec iov[IOV_MAX_USED];
    int n = outq_peek(&c->out, iov, IOV_MAX_USED);
    const char *p = iov[0].iov_base;
    size_t len = iov[0].iov_len;
    char record[TLS_RECORD];
    if (len < TLS_RECORD && n > 1) {
        len = 0;
        for (int i = 0; i < n && len < TLS_RECORD; i++) {
            size_t take = iov[i].iov_len < TLS_RECORD - len ? iov[i].iov_len : TLS_RECORD - len;
            memcpy(record + len, iov[i].iov_base, take);
            len += take;
        }
        p = record;
    }
    ERR_clear_error();
    int rc = SSL_write(c->ssl, p, len > INT32_MAX ? INT32_MAX : (int)len);
    if (rc <= 0) {
        ssize_t r = tls_result(c, rc);
        return r == 0 ? IO_ERROR : r;
    }
    return rc;
}

ssize_t io_write(struct conn *c)
{
    ssize_t n;
    if (c->ssl) {
        n = tls_write(c);
    } else {
        struct iovec iov[IOV_MAX_USED];
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)outq_peek(&c->out, iov, IOV_MAX_USED)};
        do
            n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        if (n < 0)
            n = errno == EAGAIN ? IO_AGAIN : IO_ERROR;
    }
    if (n > 0)
        outq_consume(&c->out, (size_t)n);
    return n;
}

void io_shutdown(struct conn *c)
{
    if (c->ssl && SSL_is_init_finished(c->ssl)) {
        ERR_clear_error();
        SSL_shutdown(c->ssl);
        ERR_clear_error();
    }
    shutdown(c->fd, SHUT_WR);
}

bool io_pending(const struct conn *c) { return c->ssl && SSL_has_pending(c->ssl); }
