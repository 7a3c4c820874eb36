/* lineage.c - what a run made: GET /api/tidemill/v1/runs/{run_id}/artifacts. Ours; upstream's own artifact API is another
 * service.
 *
 * {"artifacts": [{id, name, type, uri, metadata, created_at, size?, task, task_id}]}, the outputs of steps and importers in the
 * order of the steps; outputs that a DAG or a loop only passes on are not listed again. */
#include <stdlib.h>

#include "pipelines/api/internal.h"

struct step {
    int64_t id;
    char *name, *task_id;
};
struct listing_job {
    struct step *steps; /* container and importer tasks, by id */
    size_t n;
    struct jm *m;
    jmval *list;
};

static int add_step(void *self, struct task_row *t, struct err *err)
{
    struct listing_job *j = self;
    if (t->type != TASK_RUNTIME && t->type != TASK_IMPORTER)
        return 0;
    j->steps = xreallocarray(j->steps, j->n + 1, sizeof *j->steps);
    j->steps[j->n++] = (struct step){t->id, xstrdup(t->display_name), xstrdup(t->task_id)};
    return 0;
}

static int by_id(const void *a, const void *b)
{
    int64_t x = ((const struct step *)a)->id, y = ((const struct step *)b)->id;
    return x < y ? -1 : x > y;
}

static int add_artifact(void *self, const struct md_link *l, const struct md_artifact *a)
{
    struct listing_job *j = self;
    struct step key = {.id = l->task_id};
    struct step *s = l->io == MD_IO_OUTPUT ? bsearch(&key, j->steps, j->n, sizeof *j->steps, by_id) : NULL;
    if (!s)
        return 0;
    struct jm *m = j->m;
    jmval *o = jm_obj(m);
    jm_put(m, o, "id", jm_strf(m, "%lld", (long long)a->id));
    jm_put(m, o, "name", jm_str(m, l->key));
    jm_put(m, o, "type", jm_str(m, a->schema_title));
    jm_put(m, o, "uri", jm_str(m, a->uri));
    out_json(m, o, "metadata", a->metadata);
    if (!jmv_get(o, "metadata"))
        jm_put(m, o, "metadata", jm_obj(m));
    out_time(m, o, "created_at", a->created_ns);
    if (a->size >= 0)
        jm_put(m, o, "size", jm_i64(m, a->size));
    jm_put(m, o, "task", jm_str(m, s->name));
    jm_put(m, o, "task_id", jm_str(m, s->task_id));
    jm_push(j->list, o);
    return 0;
}

int run_artifacts_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct pipelines_api *api = self;
    const char *id = http_param(req, "run_id");
    READER(r, api, err);
    RUN(run);
    if (!r.db || run_get(r.db, id, &run, err) < 0)
        return -1;
    JM_NEW(m);
    jm_set_root(m, jm_obj(m));
    struct listing_job j = {.m = m, .list = jm_arr_at(m, jm_root(m), "artifacts")};
    int rc = tasks_each(r.db, id, add_step, &j, err);
    if (j.n > 1)
        qsort(j.steps, j.n, sizeof *j.steps, by_id);
    if (rc == 0)
        rc = md_links(r.db, id, 0, add_artifact, &j, err);
    if (rc == 0)
        out_send(res, m);
    for (size_t i = 0; i < j.n; i++) {
        free(j.steps[i].name);
        free(j.steps[i].task_id);
    }
    free(j.steps);
    return rc;
}
