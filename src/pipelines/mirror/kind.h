/* kind.h - what the mirror knows of each kind that it keeps as objects. Private to mirror/. */
#ifndef TM_PIPELINES_MIRROR_KIND_H
#define TM_PIPELINES_MIRROR_KIND_H

#include "kube/kube.h"
#include "pipelines/api/api.h"

/* The row's side: what its object should be. */
struct shown {
    char *name, *ns;            /* of an object that is made */
    struct json *spec, *status; /* as documents */
    struct json *labels;        /* object of strings that the object gets; NULL: none */
    char *digest;               /* of spec */
    bool refused;               /* the row did not take over what the object says, and status says why */
};
void shown_clear(struct shown *s);

struct mirrored_kind {
    const char *name; /* of its controller */
    struct kube_res res;
    const char *id_label; /* of objects that were made for a row */
    const char *ids;      /* SQL: the ids of all rows */
    /* Fills name, ns, spec, status and labels from the row. 1; 0: there is no row; -1. error: why the object's own spec was not
     * taken over, NULL. */
    int (*show)(struct pipelines_api *api, struct db *db, int64_t now_s, const char *id, const char *error, struct shown *out,
                struct err *err);
    /* The status of an object that never became a row. */
    struct json *(*status)(const char *error);
    /* Makes or changes the row as the object says. */
    int (*adopt)(struct pipelines_api *api, const struct ctx *ctx, const char *id, jval *object, struct err *err);
    int (*remove)(struct pipelines_api *api, const struct ctx *ctx, const char *id, struct err *err); /* missing is fine */
};
extern const struct mirrored_kind MIRRORED_SCHEDULES, MIRRORED_PIPELINES, MIRRORED_VERSIONS;
/* Versions of a pipeline whose row is gone: the label that names it. */
#define PIPELINE_ID_LABEL "pipelines.kubeflow.org/pipeline-id"

#endif
