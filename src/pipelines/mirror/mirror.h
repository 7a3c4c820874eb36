/* mirror.h - rows and the Kubernetes objects that show them: what `kubectl` and the REST API see is the same.
 *
 * Each recurring run has a ScheduledWorkflow, each pipeline a Pipeline, each version a PipelineVersion. Rows are the record. An
 * object that somebody makes becomes a row (its id is the object's uid), one that somebody edits changes its row, one that
 * somebody deletes takes its row with it; a change of a row is written to its object, and the object of a row that is gone is
 * deleted. Who changed what is told apart by two digests that are kept in an annotation: of the object's spec and of the row's,
 * as they were when both were last the same. What cannot be taken over (a cron expression that does not parse, a pipeline that
 * is none) is said in the object's status, and the row stays.
 *
 * An object that is missing is made again, unless it was seen being deleted: an empty cluster does not empty the database. A
 * cluster without the kinds (crds/) is waited for. Threads: all functions may be called from any thread. Source: pipelines-api
 * spec 7.3, 16. */
#ifndef TM_PIPELINES_MIRROR_MIRROR_H
#define TM_PIPELINES_MIRROR_MIRROR_H

#include "kube/kube.h"
#include "pipelines/api/api.h"

struct mirror;
struct mirror_config {
    struct kube *kube; /* identity of the pipelines component */
    struct pipelines_api *api;
    const struct store *store;
    int64_t base_delay_ns; /* of retried turns; 0: 5 ms */
};
/* What the config points to must outlive it. */
struct mirror *mirror_start(const struct mirror_config *cfg, struct err *err);
/* Ends the turns that are being made, and watches no more; being notified is still fine. Before the kube goes away. */
void mirror_halt(struct mirror *m); /* NULL is fine */
void mirror_stop(struct mirror *m); /* halts and frees; NULL is fine */
/* What an admission webhook would say of an object of kind PipelineVersion; for whoever runs the API server in this process. old:
 * NULL when it is made. */
int mirror_check_version(struct kube *kube, struct pipelines_api *api, const struct ctx *ctx, jval *old, jval *now,
                         struct err *err);
enum mirror_kind { MIRROR_RECURRING_RUN, MIRROR_PIPELINE, MIRROR_VERSION, MIRROR_KINDS };
/* A row was made, changed or deleted. Cheap; NULL is fine. */
void mirror_notify(struct mirror *m, enum mirror_kind kind, const char *id);

#endif
