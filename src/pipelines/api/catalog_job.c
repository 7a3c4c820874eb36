/* catalog_job.c - storing a pipeline and a version of it in one transaction. */
#include <stdlib.h>

#include "pipelines/api/internal.h"

static int name_taken(struct err *err, const char *text, const char *name)
{
    if (!err || err->code != ERR_EXISTS || !text)
        return -1;
    AUTOFREE char *message = xasprintf(text, name);
    return err_set(err, ERR_EXISTS, "%s", message);
}

static int catalog_job_fn(struct db *db, void *arg, struct err *err)
{
    struct catalog_job *j = arg;
    if (j->pipeline && pipeline_insert(db, j->pipeline, err) < 0)
        return name_taken(err, j->pipeline_taken, j->pipeline->name);
    if (!j->version)
        return 0;
    char hash[65];
    PIPELINE(parent);
    if (!j->pipeline && pipeline_get(db, j->version->pipeline_id, &parent, err) < 0)
        return -1;
    if (spec_put(db, j->package->spec, j->package->platform, hash, err) < 0)
        return -1;
    free(j->version->spec_hash);
    j->version->spec_hash = xstrdup(hash);
    if (version_insert(db, j->version, j->source->data ? j->source->data : "", j->source->len, err) < 0)
        return name_taken(err, j->version_taken, j->version->name);
    return 0;
}

int catalog_store(struct pipelines_api *api, const struct ctx *ctx, struct catalog_job *job, struct err *err)
{
    if (api_write(api, ctx, catalog_job_fn, job, err) < 0)
        return -1;
    if (job->pipeline)
        catalog_tell(api, false, job->pipeline->pipeline_id);
    if (job->version)
        catalog_tell(api, true, job->version->version_id);
    return 0;
}

void catalog_tell(struct pipelines_api *api, bool is_version, const char *id)
{
    if (api->hooks.catalog_changed)
        api->hooks.catalog_changed(api->hooks.self, is_version, id);
}
