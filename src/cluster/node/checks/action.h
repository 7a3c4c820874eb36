/* action.h - one thing asked of a running container: what probes and hooks consist of. Blocks; any thread. */
#ifndef TM_NODE_ACTION_H
#define TM_NODE_ACTION_H

#include "base/ctx.h"
#include "cluster/node/runtime/runtime.h"

struct http_client;
struct action_env {
    struct runtime *runtime;
    struct http_client *http; /* verifies no certificate, as kubelet's does not */
    struct container_ref ref;
    const char *pod_ip;
    jval *container; /* its named ports */
    struct ctx ctx;  /* deadline and cancel */
    int64_t timeout_ns;
};
/* One of them is there. */
struct action {
    jval *exec, *http, *tcp, *grpc, *sleep;
};
enum action_result {
    ACTION_OK,
    ACTION_WARNING, /* well, but for what text says */
    ACTION_FAILED,
    ACTION_ERROR, /* could not be asked */
};
/* text gets what was said, in kubelet's words. */
enum action_result action_run(const struct action_env *env, const struct action *a, struct buf *text);

/* action_grpc.c: grpc.health.v1.Health/Check, in clear text. */
enum action_result action_grpc(const struct action_env *env, const char *host, int port, const char *service, struct buf *text);
/* A connected socket, or -1 with errno. Non-blocking. */
int action_connect(const struct action_env *env, const char *host, int port);
/* "1s", "500ms": as Go writes a duration. */
void action_add_seconds(struct buf *b, int64_t ns);

#endif
