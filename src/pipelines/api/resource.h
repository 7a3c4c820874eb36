/* resource.h - what every kind of the API does alike: a row as JSON, get, list, a small change by id.
 *
 * A resource is a table (store/rows.h), what answers carry beyond its columns, and the words that upstream puts before errors. A
 * new kind is a new table and a new resource. */
#ifndef TM_PIPELINES_API_RESOURCE_H
#define TM_PIPELINES_API_RESOURCE_H

#include "pipelines/api/internal.h"
#include "pipelines/store/rows.h"

struct resource {
    const struct row_table *table;
    const char *list_key; /* "pipelines" */
    /* Words before errors of lists: of their options, and of the list itself. */
    const char *bad_options, *list_failed;
    /* Adds what is more than a column. view: the caller's (see below). NULL: nothing. */
    int (*more)(struct db *db, struct jm *m, jmval *obj, const void *row, int view, struct err *err);
};
enum {
    VIEW_LIST,
    VIEW_ONE,
    VIEW_FULL,
    VIEW_ALL /* a list with all: shorter pages */
};           /* views that handlers ask for; a resource knows what they mean to it */

/* The row's members that are shown, then what the resource adds. NULL on error. */
jmval *resource_out(const struct resource *r, struct db *db, struct jm *m, const void *row, int view, struct err *err);
/* Answers with one row, read on a connection of its own. */
int resource_send(struct pipelines_api *api, struct http_res *res, const struct resource *r, const void *row, int view,
                  struct err *err);
/* Answers with the row of this id. ERR_NOT_FOUND. */
int resource_get(struct pipelines_api *api, struct http_res *res, const struct resource *r, const char *id, int view,
                 struct err *err);
/* Answers with a page of the list; where and values as in list_run. */
int resource_list(struct pipelines_api *api, struct http_req *req, struct http_res *res, const struct resource *r,
                  const char *where, const char *const *values, size_t n, int view, struct err *err);
/* Runs a job with a struct change of this id, and answers {}. */
struct change {
    const char *id;
    int64_t now_ns;
};
int resource_change(struct pipelines_api *api, const struct ctx *ctx, struct http_res *res, db_job_fn *job, const char *id,
                    struct err *err);
/* tags of a PATCH: absent: unchanged (NULL); {}: removed (""). Caller frees. */
int patch_tags(jval *body, char **tags, struct err *err);

extern const struct resource PIPELINES, VERSIONS, EXPERIMENTS, RUNS, RECURRING_RUNS, TASKS, ARTIFACTS;
extern const struct row_table ARTIFACT_ROWS; /* struct md_artifact */
/* task_count and tasks. */
int out_run_tasks(struct db *db, struct jm *m, jmval *run, const char *run_id, struct err *err);
/* Under which anybody may GET the bytes for a quarter of an hour. Caller frees. */
char *signed_artifact_url(struct pipelines_api *api, const struct ctx *ctx, const struct md_artifact *a);

#endif
