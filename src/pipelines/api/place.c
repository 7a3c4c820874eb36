#include "pipelines/api/place.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"

/* From other stores; whoever wants more asks for ranges, or takes the signed URL. */
static const int64_t SPOOL_MAX = 4LL << 30;

void place_clear(struct place *p)
{
    free(p->uri);
    free(p->scheme);
    free(p->bucket);
    free(p->key);
    if (p->elsewhere)
        blob_store_free(p->store);
    *p = (struct place){0};
}

/* The run, when it has something to say about where its artifacts lie. */
static int run_of(struct pipelines_api *api, const char *run_id, struct run *run, struct err *err)
{
    ERR(e);
    READER(r, api, err);
    if (!r.db)
        return -1;
    if (str_empty(run_id) || run_get(r.db, run_id, run, &e) == 0 || e.code == ERR_NOT_FOUND)
        return 0;
    return err_move(err, &e);
}

int place_find(struct pipelines_api *api, const struct ctx *ctx, const char *run_id, const char *uri, struct place *p,
               struct err *err)
{
    RUN(run);
    if (blob_uri_split(uri, &p->scheme, &p->bucket, &p->key, err) < 0 || run_of(api, run_id, &run, err) < 0)
        return -1;
    p->uri = xstrdup(uri);
    bool embedded =
        str_eq(p->scheme, "minio") && str_empty(run.stores) && !*blob_uri_query(run.pipeline_root ? run.pipeline_root : "");
    if (!embedded && run.run_id && api->hooks.open_store) {
        if (api->hooks.open_store(api->hooks.self, ctx, &run, uri, &p->store, err) < 0)
            return err_wrap(err, "the store of %s", uri);
        p->elsewhere = p->store != NULL;
        embedded = !p->store;
    }
    if (embedded)
        p->store = api->blobs;
    if (!p->store)
        return err_set(err, ERR_UNIMPLEMENTED, "artifact %s is in no store that is read here: read it where it lies", uri);
    return 0;
}

/* ---- sending ------------------------------------------------------------------------------------------------------------ */

static int to_file(void *self, const void *p, size_t n, struct err *err) { return fs_write(*(int *)self, p, n, err); }

/* Through a file without a name: what fails on the way is an answer, not a body that ends too early. */
static int send_from_elsewhere(struct pipelines_api *api, const struct place *p, const struct ctx *ctx, struct http_res *res,
                               const char *type, int64_t from, int64_t n, struct err *err)
{
    if (n > SPOOL_MAX)
        return err_set(err, ERR_TOO_LARGE,
                       "%lld bytes of %s are too many at once: ask for ranges of at most %lld, or view=DOWNLOAD", (long long)n,
                       p->uri, (long long)SPOOL_MAX);
    int fd = api_scratch_file(api, err);
    if (fd < 0)
        return -1;
    if (n > 0 && blob_get(p->store, ctx, p->bucket, p->key, from, n, to_file, &fd, err) < 0) {
        close(fd);
        return -1;
    }
    http_body_file(res, type, fd, 0, n);
    return 0;
}

int place_send(struct pipelines_api *api, const struct place *p, const struct ctx *ctx, struct http_res *res, const char *type,
               int64_t from, int64_t n, struct err *err)
{
    int fd;
    if (blob_open(p->store, ctx, p->bucket, p->key, &fd, err) < 0)
        return -1;
    if (fd < 0)
        return send_from_elsewhere(api, p, ctx, res, type, from, n, err);
    http_body_file(res, type, fd, from, n);
    return 0;
}
