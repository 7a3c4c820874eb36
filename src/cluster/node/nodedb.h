/* nodedb.h - node.db: what this node has on the machine, written down before it is done.
 *
 * A row says what we were about to do or have done; the runtime says what is. Together they are enough to go on after a kill -9
 * at any instant: a row without a container is started over, a container without a row cannot be. Rows need to survive our death,
 * not the machine's (after a reboot nothing runs), so commits do not wait for the disk; an end's code is durable in the pod's
 * status before its proof is deleted. Thread-safe: one connection and a lock. */
#ifndef TM_NODE_NODEDB_H
#define TM_NODE_NODEDB_H

#include "base/err.h"

struct nodedb;
struct nodedb *nodedb_open(const char *path, struct err *err);
void nodedb_close(struct nodedb *db);
/* True when the machine was started since the rows were written; remembers this boot. */
int nodedb_new_boot(struct nodedb *db, const char *boot_id, bool *is_new, struct err *err);

struct pod_row {
    char *uid, *ns, *name;
    int state;                                /* enum pod_state */
    char *sandbox, *ip, *net_path, *ipc_path; /* NULL before there is one */
    int64_t started_ns;                       /* wall clock of status.startTime */
    char *reason, *message;                   /* why it was ended by us; NULL else */
};
struct container_row {
    char *pod_uid, *name;
    int list;           /* 0: containers, 1: initContainers, 2: ephemeralContainers */
    int attempt, state; /* enum box_state of pod.h */
    char *cid;
    int64_t started_ns, finished_ns;
    int exit_code;
    char *reason, *message, *last; /* last: JSON of the last terminated state before this attempt; NULL: none */
    int64_t backoff_ns;
};
int nodedb_put_pod(struct nodedb *db, const struct pod_row *r, struct err *err);
int nodedb_put_container(struct nodedb *db, const struct container_row *r, struct err *err);
int nodedb_del_pod(struct nodedb *db, const char *uid, struct err *err); /* and its containers */
int nodedb_each_pod(struct nodedb *db, void (*fn)(void *self, const struct pod_row *r), void *self, struct err *err);
int nodedb_each_container(struct nodedb *db, void (*fn)(void *self, const struct container_row *r), void *self, struct err *err);

#endif
