/* pipelines_part.h - the pipelines component put together: its rows, artifacts, REST service and engine. The same for `tidemill
 * up` and `tidemill serve`; what differs is the `struct kube` and how pods come by their files. Main thread only. */
#ifndef TM_CLI_PIPELINES_PART_H
#define TM_CLI_PIPELINES_PART_H

#include "gateway/gateway.h"
#include "net/server.h"
#include "pipelines/api/api.h"
#include "pipelines/engine/engine.h"
#include "pipelines/mirror/mirror.h"
#include "pipelines/schedule/retention.h"
#include "pipelines/schedule/schedule.h"

struct pipelines_part {
    struct store store;
    struct blob_store *blobs;
    struct pipelines_api *api;
    struct engine *engine;
    struct schedule *schedule; /* recurring runs */
    struct retention *retention;
    bool delete_artifacts; /* of a run that is deleted, unless the request says otherwise */
    struct packer *packer; /* columns of runs, for filters */
    struct mirror *mirror; /* and their Kubernetes objects */
    struct kube *kube;     /* the component's identity; set by pipelines_part_run */
};
struct pipelines_run_config {
    struct kube *kube;
    const char *shared_dir;                       /* task directories: what pods see */
    const char *agent_path, *agent_image, *claim; /* as in struct engine_config */
    bool apart; /* nothing is shared: artifacts, and what steps leave, are in the object stores of pipeline roots */
    char *(*image_id)(void *self, const char *image); /* as in struct engine_config; may be NULL */
    void *image_self;
    bool paused;
    int64_t base_delay_ns;
};
/* Rows in data_dir, artifact bytes in artifacts_dir, and the REST service, whose callers the gateway knows. */
int pipelines_part_open(struct pipelines_part *p, const char *data_dir, const char *artifacts_dir, struct gateway *g,
                        struct err *err);
/* Starts the engine and the recurring runs. */
int pipelines_part_run(struct pipelines_part *p, const struct pipelines_run_config *cfg, struct err *err);
/* Decides nothing any more; pods stay. Before what the engine talks to goes away. */
void pipelines_part_halt(struct pipelines_part *p);
/* What the front door serves: the gateway's own routes and the component's. mounts has room for PIPELINES_MOUNTS. */
enum { PIPELINES_MOUNTS = 5 };
void pipelines_part_mounts(const struct pipelines_part *p, struct gateway *g, struct mount *mounts);
extern const char *const pipelines_hosts[];          /* names that clients on the cluster use for it; NULL-terminated */
void pipelines_part_close(struct pipelines_part *p); /* after the HTTP server has stopped; a part that was never opened is fine */

#endif
