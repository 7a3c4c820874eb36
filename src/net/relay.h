/* relay.h - the answer of another server, passed on as it comes.
 *
 * A handler has sent a request on a socket of its own (plain HTTP/1.1, one request to a connection) and hands over what is to be
 * answered. The worker waits for the head; what is short and says its length is read by it and answered whole; everything else is
 * a stream: the loop of the client's connection reads on, and who is slow stops the other. So an answer of any length, or one
 * that goes on for as long as the client likes (server-sent events), costs a quarter of a megabyte and no thread.
 *
 *     int fd = ...; // connected, the request is sent
 *     struct http_relay how = {.keeps = keeps, .no_body = head, .until_mono_ns = ...};
 *     if (http_relay_answer(res, &fd, &how, err) < 0)
 *         return -1;                                  // nothing usable came: 503 and why
 *     if (how.switched) ...                           // 101: fd is still the caller's, how.rest what followed the head
 *
 * An answer that breaks off breaks off for the client as well, and is never a whole one. Source: RFC 9110 7.6, RFC 9112. */
#ifndef TM_NET_RELAY_H
#define TM_NET_RELAY_H

#include "net/http.h"

struct http_relay {
    bool (*keeps)(const char *header); /* does the field go on to the client? Fields about the connection must not */
    bool no_body;                      /* a HEAD request */
    bool upgrade;                      /* one for another protocol: an answer below 400 is 101, or none */
    int64_t until_mono_ns;             /* by when the head, and a short body, must have come */
    bool switched;                     /* out: 101. Its Upgrade field is in res as well */
    struct buf rest;                   /* out, with switched: the caller's */
};
/* -1: ERR_UNAVAILABLE, ERR_TIMEOUT; *fd is still the caller's. Else it was taken (and is -1), unless switched. */
int http_relay_answer(struct http_res *res, int *fd, struct http_relay *how, struct err *err);
/* Waits for the socket (POLLIN, POLLOUT) until then, as a worker may. -1: ERR_TIMEOUT, or what errno says. */
int http_wait_fd(int fd, short events, int64_t until_mono_ns, struct err *err);

#endif
