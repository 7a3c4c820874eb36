/* checks.h - probes and hooks of running containers.
 *
 * One thread keeps the time of all probes; what is due is done on a pool, since it may block (a program, a connection). The pod
 * worker tells which containers run (checks_watch) and reads what is known of them; when that changes, its pod is called again.
 * A container is known by its id: each attempt starts from nothing. Nothing here outlives the process: a container that was
 * adopted goes on as its pod's status says.
 *
 * Rules and texts are kubelet's: the startup probe gates the others; a threshold counts results in a row; after a failed startup
 * or liveness probe nothing more is asked, since the container is about to be ended. Source: kube.md 15.3. */
#ifndef TM_NODE_CHECKS_H
#define TM_NODE_CHECKS_H

#include "cluster/node/runtime/runtime.h"
#include "kube/events.h"

struct checks;
struct checks_config {
    struct runtime *runtime;
    struct event_recorder *events;
    const struct clock *clock;
    void (*changed)(void *self, const char *key); /* any thread; must not block */
    void *self;
};
struct checks *checks_new(const struct checks_config *cfg);
void checks_free(struct checks *c); /* gives up what is under way, and waits for it */

struct check_target {
    const char *key, *pod_ip; /* of the pod */
    struct json *pod;
    struct container_ref ref;
    jval *container; /* in pod */
    bool init;
    int64_t started_ns;
};

enum check_health { CHECK_FINE, CHECK_STARTUP_FAILED, CHECK_LIVENESS_FAILED };
struct check_result {
    bool started, ready;
    enum check_health health;
    int64_t grace_s; /* of the probe that failed; -1: the pod's */
};
/* Watches the container from now on (again and again is fine) and tells what is known. was: what its status said when it was
 * adopted, else NULL. */
void checks_watch(struct checks *c, const struct check_target *t, const struct check_result *was, struct check_result *out);
/* Its pod is being ended: liveness and startup do not matter any more. */
void checks_quiet(struct checks *c, const char *cid);
void checks_forget(struct checks *c, const char *cid); /* it has ended */

enum hook_state { HOOK_ABSENT, HOOK_RUNS, HOOK_DONE, HOOK_FAILED };
/* Starts the hook at the first call and tells how it goes; its pod is called when it has ended. timeout_ns 0: none. */
enum hook_state checks_hook(struct checks *c, const struct check_target *t, bool pre_stop, int64_t timeout_ns);
bool checks_needed(jval *container); /* it has a probe */

#endif
