/* logs.h - container logs: found, read back from CRI form, followed, rotated. Source: kube.md 9.2, 16.1.
 *
 * <data>/logs/pods/<ns>_<pod>_<uid>/<container>/<attempt>.log is written by conmon, one line "<time> stdout|stderr F|P <text>"
 * each; P is a part of a longer line. Beyond a size it is renamed to <attempt>.log.<time> and conmon opens a new one; at the next
 * time that one is packed (.gz). Readers begin with the newest file, or, where it has less than was asked for because it was just
 * rotated (kubelet then shows less), with the one before it; a follower goes over to new ones. One thread turns inotify events
 * into notifications; it exists while somebody follows. Thread-safe. */
#ifndef TM_NODE_LOGS_H
#define TM_NODE_LOGS_H

#include "kube/node_api.h"

struct logs;
struct logs_config {
    const char *dir; /* <data>/logs */
    const struct clock *clock;
    int64_t max_bytes;
    unsigned max_files;
    /* Asks conmon to open the log again, which has been renamed. */
    int (*reopen)(void *self, const char *cid, const char *bundle, struct err *err);
    void *self;
};
struct logs *logs_new(const struct logs_config *cfg);
void logs_free(struct logs *l); /* after all open logs were closed */
/* The worker tells which attempt of a container writes now, and when it ends. */
void logs_running(struct logs *l, const char *pod_uid, const char *container, const char *path, const char *cid,
                  const char *bundle, bool runs);
/* As node_api.h says. */
struct node_log *logs_open(struct logs *l, const struct ctx *ctx, jval *pod, const struct kube_log_opts *opts,
                           void (*notify)(void *arg), void *arg, struct err *err);
/* Rotates what has grown too big; returns when to come again (nanoseconds), 0: nothing runs. */
int64_t logs_rotate(struct logs *l);
/* logs_gzip.c: path becomes path.gz. */
void logs_gzip(const char *path);
/* Removes a log and what was rotated out of it. */
void logs_remove(const char *path);

#endif
