/* nodes.c - logs and artifact bytes of a run's nodes (spec 9). */
#include <stdlib.h>

#include "pipelines/api/internal.h"

/* Larger ones are downloaded, not read: the whole answer is in memory. */
enum { ARTIFACT_MAX = 16 << 20 };

/* ---- which node ------------------------------------------------------------------------------------------------------- */

/* A node is named by its pod, its task id, or its task's name. Names may repeat in loops: the first task wins that has what is
 * wanted. */
struct node {
    const char *wanted;
    bool needs_pod;
    int64_t task; /* execution id, 0: not found */
    char *pod;
};
static void node_clear(struct node *n) { free(n->pod); }

static int match_node(void *self, struct task_row *t, struct err *err)
{
    struct node *n = self;
    bool hit = str_eq(t->pod_name, n->wanted) || str_eq(t->task_id, n->wanted) || str_eq(t->name, n->wanted) ||
               str_eq(t->display_name, n->wanted);
    if (hit && n->task == 0 && (!n->needs_pod || !str_empty(t->pod_name))) {
        n->task = t->id;
        n->pod = xstrdup(t->pod_name);
    }
    return 0;
}

static int find_node(struct db *db, const char *run_id, struct node *n, struct run *run, struct err *err)
{
    if (run_get(db, run_id, run, err) < 0 || tasks_each(db, run_id, match_node, n, err) < 0)
        return -1;
    if (n->task == 0)
        return err_set(err, ERR_NOT_FOUND, "run %s has no node \"%s\"%s: name it by pod name, task id or task name", run_id,
                       n->wanted, n->needs_pod ? " with a pod" : "");
    return 0;
}

/* ---- logs --------------------------------------------------------------------------------------------------------------- */

static int read_log(struct pipelines_api *api, const struct ctx *ctx, const struct http_req *req, struct buf *out,
                    struct err *err)
{
    const char *container;
    int32_t tail;
    RUN(run);
    CLEANUP(node_clear) struct node n = {.wanted = http_param(req, "node_id"), .needs_pod = true};
    if (query_text(req, "container", &container, err) < 0 || query_i32(req, "tail", &tail, err) < 0)
        return -1;
    {
        READER(r, api, err);
        if (!r.db || find_node(r.db, http_param(req, "run_id"), &n, &run, err) < 0)
            return -1;
    }
    if (!api->hooks.log)
        return err_set(err, ERR_UNIMPLEMENTED, "logs are not served here: read them with kubectl logs -n %s %s", run.ns, n.pod);
    return api->hooks.log(api->hooks.self, ctx, run.ns, n.pod, str_empty(container) ? "main" : container, tail > 0 ? tail : -1,
                          out, err);
}

int run_log_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    BUF(text);
    if (read_log(self, ctx, req, &text, err) < 0)
        return api_wrap(err, "Failed to read logs for run %s", http_param(req, "run_id"));
    http_body_buf(res, "text/plain; charset=utf-8", &text);
    return 0;
}

/* ---- artifacts ------------------------------------------------------------------------------------------------------------ */

struct artifact_search {
    const char *name; /* key of an output or an input of the task */
    char *uri;
};

static int match_artifact(void *self, const struct md_link *l, const struct md_artifact *a)
{
    struct artifact_search *s = self;
    if (str_eq(l->key, s->name) && !s->uri)
        s->uri = xstrdup(a->uri);
    return 0;
}

/* Caller frees. */
static char *find_uri(struct pipelines_api *api, const struct http_req *req, struct err *err)
{
    const char *run_id = http_param(req, "run_id");
    struct artifact_search s = {.name = http_param(req, "artifact_name")};
    RUN(run);
    CLEANUP(node_clear) struct node n = {.wanted = http_param(req, "node_id")};
    READER(r, api, err);
    if (!r.db || find_node(r.db, run_id, &n, &run, err) < 0 || md_links(r.db, run_id, n.task, match_artifact, &s, err) < 0) {
        free(s.uri);
        return NULL;
    }
    if (!s.uri)
        err_set(err, ERR_NOT_FOUND, "node \"%s\" of run %s has no artifact \"%s\"", n.wanted, run_id, s.name);
    return s.uri;
}

static int read_artifact(struct pipelines_api *api, const struct ctx *ctx, const char *uri, struct buf *out, struct err *err)
{
    AUTOFREE char *scheme = NULL;
    AUTOFREE char *bucket = NULL;
    AUTOFREE char *key = NULL;
    if (blob_uri_split(uri, &scheme, &bucket, &key, err) < 0)
        return -1;
    if (!api->blobs || !str_eq(scheme, "minio"))
        return err_set(err, ERR_UNIMPLEMENTED, "artifact %s is not in the embedded store: read it where it lies", uri);
    return blob_read(api->blobs, ctx, bucket, key, 0, -1, ARTIFACT_MAX, out, err);
}

/* {"data": "<base64>"} */
int artifact_read_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    BUF(data);
    BUF(body);
    AUTOFREE char *uri = find_uri(self, req, err);
    if (!uri || read_artifact(self, ctx, uri, &data, err) < 0)
        return api_wrap(err, "Failed to read artifact");
    AUTOFREE char *text = base64_encode(buf_str(&data), data.len);
    buf_adds(&body, "{\"data\":\"");
    buf_adds(&body, text);
    buf_adds(&body, "\"}");
    http_body_buf(res, "application/json", &body);
    return 0;
}
