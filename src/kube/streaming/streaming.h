/* streaming.h - logs, exec, attach and port-forward over HTTP: what a node's descriptors become for kubectl and other clients.
 *
 * Used by the API server, and by whatever else serves a node over HTTP (a kubelet's face). A handler asks streaming_negotiate
 * what the client speaks, opens the process (or makes sure that there is a pod), and hands over:
 *
 *     if (streaming_negotiate(req, STREAMING_PROCESS, &how, err) < 0 || node->process_open(..., &process, err) < 0)
 *         return -1;                                  // an ordinary Status, before the upgrade
 *     streaming_process(req, res, &how, &opts, &process);
 *
 * From there on it is a stream on the connection's loop: bytes go between the socket and the descriptors without a thread, and
 * who is slow on one side stops the other. When the client goes away the process is closed, which ends the program.
 *
 *   exec, attach    WebSocket v5.channel.k8s.io, v4.channel.k8s.io, channel.k8s.io or none; SPDY/3.1 with v5 or v4
 *   port-forward    WebSocket SPDY/3.1+portforward.k8s.io (SPDY in it), v4.channel.k8s.io or none, with ?ports=; SPDY/3.1
 *
 * v4.base64.channel.k8s.io and base64.channel.k8s.io are the same in text: a digit for the channel, then base64.
 *
 * Source: kube.md 9.3 to 9.5; k8s.io/apimachinery remotecommand. */
#ifndef TM_KUBE_STREAMING_H
#define TM_KUBE_STREAMING_H

#include "base/thread.h"
#include "kube/node_api.h"
#include "net/http.h"

enum streaming_kind { STREAMING_PROCESS, STREAMING_FORWARD };
struct streaming_how {
    bool websocket;
    const char *protocol; /* static; NULL: a WebSocket for which the client named none */
    bool text;            /* messages are a digit and base64 */
    bool old;             /* before v4: a failure is told as a text, success not at all */
};
/* ERR_BAD_REQUEST when the request asks for no upgrade, or for a protocol that is not spoken here. */
int streaming_negotiate(const struct http_req *req, enum streaming_kind kind, struct streaming_how *how, struct err *err);

/* What of the query of exec and attach is asked: stdin, stdout, stderr, tty, container, command. ERR_BAD_REQUEST when nothing
 * is. The strings live with the request. */
int streaming_process_opts(struct http_req *req, bool exec, struct node_process_opts *out, struct err *err);
/* The same where the container is known (NULL: "") and the query says it in other words. */
struct streaming_words {
    const char *container, *in, *out, *err;
};
int streaming_process_words(struct http_req *req, bool exec, const struct streaming_words *w, struct node_process_opts *out,
                            struct err *err);
/* Takes the process. */
void streaming_process(struct http_req *req, struct http_res *res, const struct streaming_how *how,
                       const struct node_process_opts *opts, struct node_process *take);

/* How a port of the pod is reached. dial is called on a thread of the pool and may block; release comes last. */
struct streaming_dial {
    int (*dial)(void *arg, int port, int *fd, struct err *err);
    void (*release)(void *arg);
    void *arg;
    struct pool *pool; /* outlives every server that a stream of ours is on */
    char *pod;         /* its name, for messages; taken */
};
/* Takes *dial, also when it fails: ERR_BAD_REQUEST for ports that are none. */
int streaming_forward(struct http_req *req, struct http_res *res, const struct streaming_how *how, struct streaming_dial *dial,
                      struct err *err);

/* ---- logs ---- */

/* PodLogOptions of a query. Strings live with the request; what is wrong is told as Kubernetes tells it. */
int streaming_log_opts(struct http_req *req, struct kube_log_opts *out, struct err *err);
/* First the stream, then the log that notifies it, then both become the answer; or the stream is dropped, when the log could not
 * be opened. The pool reads files; it outlives every server that a stream of ours is on. */
struct streaming_log *streaming_log_new(struct pool *pool);
void streaming_log_notify(void *streaming_log);
void streaming_log_answer(struct streaming_log *s, struct node_log *log, struct http_res *res);
void streaming_log_drop(struct streaming_log *s);

#endif
