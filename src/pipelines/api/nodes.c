/* nodes.c - logs and artifact bytes of a run's nodes (spec 9). */
#include <stdlib.h>

#include <string.h>

#include "pipelines/api/place.h"

/* Larger ones are downloaded, not read: the whole answer is in memory. Of larger logs it is the end. */
enum { ARTIFACT_MAX = 16 << 20, LOG_MAX = 16 << 20 };

/* ---- which node ------------------------------------------------------------------------------------------------------- */

/* A node is named by its pod (of any attempt), its task id, or its task's name. Names may repeat in loops: the first task wins
 * that has what is wanted. */
struct node {
    const char *wanted;
    bool needs_pod;
    int64_t task; /* execution id, 0: not found */
    int attempt;
    char *pod;
};
static void node_clear(struct node *n) { free(n->pod); }

/* The number of the attempt that had this pod, -1: none. */
static int attempt_of(const struct task_row *t, const char *pod)
{
    JSON_REF(pods) = t->pods ? json_parse_str(t->pods, NULL) : NULL;
    jval *e;
    for (struct jiter it = jv_iter(pods ? json_root(pods) : NULL); jv_next(&it, NULL, &e);)
        if (str_eq(jv_str(jv_get(e, "name")), pod))
            return (int)jv_i64_or(jv_get(e, "attempt"), 0);
    return -1;
}

static int match_node(void *self, struct task_row *t, struct err *err)
{
    struct node *n = self;
    if (n->task != 0 || (n->needs_pod && str_empty(t->pod_name)))
        return 0;
    if (str_eq(t->pod_name, n->wanted) || str_eq(t->task_id, n->wanted) || str_eq(t->name, n->wanted) ||
        str_eq(t->display_name, n->wanted)) {
        n->pod = xstrdup(t->pod_name);
        n->attempt = t->attempt;
    } else if ((n->attempt = attempt_of(t, n->wanted)) >= 0) {
        n->pod = xstrdup(n->wanted);
    } else {
        return 0;
    }
    n->task = t->id;
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

/* The log that an attempt left as an artifact: "executor-logs", or with the number of the attempt where there may be several. */
struct stored_log {
    int attempt;
    char *uri;
};

static int match_log(void *self, const struct md_link *l, const struct md_artifact *a)
{
    struct stored_log *s = self;
    AUTOFREE char *numbered = xasprintf("executor-logs-%d", s->attempt);
    if (str_eq(l->key, numbered) || str_eq(l->key, "executor-logs")) {
        free(s->uri); /* of several the last: the run was retried */
        s->uri = xstrdup(a->uri);
    }
    return 0;
}

static void keep_last_lines(struct buf *out, size_t from, int32_t lines)
{
    size_t at = out->len;
    if (at > from && out->data[at - 1] == '\n')
        at--;
    while (at > from && lines > 0)
        if (out->data[--at] == '\n' && --lines == 0)
            at++;
    if (lines > 0)
        at = from;
    memmove(out->data + from, out->data + at, out->len - at);
    out->len -= at - from;
}

/* ERR_NOT_FOUND: none was stored. */
static int read_stored(struct pipelines_api *api, const struct ctx *ctx, const char *run_id, const struct node *n, int32_t tail,
                       struct buf *out, struct err *err)
{
    struct stored_log s = {.attempt = n->attempt};
    int rc = -1;
    {
        READER(r, api, err);
        if (r.db)
            rc = md_links(r.db, run_id, n->task, match_log, &s, err);
    }
    AUTOFREE char *uri = s.uri;
    if (rc < 0)
        return -1;
    if (!uri)
        return err_set(err, ERR_NOT_FOUND, "pod %s is gone, and no log of it was stored", n->pod);
    PLACE(p);
    struct blob_info info;
    if (place_find(api, ctx, run_id, uri, &p, err) < 0 || blob_stat(p.store, ctx, p.bucket, p.key, &info, err) < 0)
        return -1;
    size_t before = out->len;
    int64_t from = info.size > LOG_MAX ? info.size - LOG_MAX : 0;
    if (info.size > 0 && blob_read(p.store, ctx, p.bucket, p.key, from, info.size - from, LOG_MAX, out, err) < 0)
        return -1;
    if (tail > 0 && out->len > before)
        keep_last_lines(out, before, tail);
    return 0;
}

/* From the pod while it is there, afterwards from what was stored of it. */
static int read_log(struct pipelines_api *api, const struct ctx *ctx, const struct http_req *req, struct buf *out,
                    struct err *err)
{
    const char *container, *run_id = http_param(req, "run_id");
    int32_t tail;
    RUN(run);
    ERR(e);
    CLEANUP(node_clear) struct node n = {.wanted = http_param(req, "node_id"), .needs_pod = true};
    if (query_text(req, "container", &container, err) < 0 || query_i32(req, "tail", &tail, err) < 0)
        return -1;
    {
        READER(r, api, err);
        if (!r.db || find_node(r.db, run_id, &n, &run, err) < 0)
            return -1;
    }
    bool is_main = str_empty(container) || str_eq(container, "main");
    if (!api->hooks.log)
        err_set(&e, ERR_UNIMPLEMENTED, "logs are not served here: read them with kubectl logs -n %s %s", run.ns, n.pod);
    else if (api->hooks.log(api->hooks.self, ctx, run.ns, n.pod, is_main ? "main" : container, tail > 0 ? tail : -1, out, &e) ==
             0)
        return 0;
    bool pod_is_gone = e.code == ERR_NOT_FOUND;
    if (!is_main || (api->hooks.log && !pod_is_gone))
        return err_move(err, &e);
    ERR(se);
    if (read_stored(api, ctx, run_id, &n, tail, out, &se) == 0)
        return 0;
    return err_move(err, se.code == ERR_NOT_FOUND && !pod_is_gone ? &e : &se);
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
    const char *name;   /* key of an output or an input of the task */
    char *uri, *run_id; /* of its producer, which knows the store */
};
static void artifact_search_clear(struct artifact_search *s)
{
    free(s->uri);
    free(s->run_id);
}

static int match_artifact(void *self, const struct md_link *l, const struct md_artifact *a)
{
    struct artifact_search *s = self;
    if (str_eq(l->key, s->name) && !s->uri) {
        s->uri = xstrdup(a->uri);
        s->run_id = xstrdup(a->run_id);
    }
    return 0;
}

static int find_artifact(struct pipelines_api *api, const struct http_req *req, struct artifact_search *s, struct err *err)
{
    const char *run_id = http_param(req, "run_id");
    RUN(run);
    CLEANUP(node_clear) struct node n = {.wanted = http_param(req, "node_id")};
    READER(r, api, err);
    if (!r.db || find_node(r.db, run_id, &n, &run, err) < 0 || md_links(r.db, run_id, n.task, match_artifact, s, err) < 0)
        return -1;
    return s->uri ? 0 : err_set(err, ERR_NOT_FOUND, "node \"%s\" of run %s has no artifact \"%s\"", n.wanted, run_id, s->name);
}

/* {"data": "<base64>"} */
int artifact_read_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    BUF(data);
    BUF(body);
    CLEANUP(artifact_search_clear) struct artifact_search s = {.name = http_param(req, "artifact_name")};
    PLACE(p);
    if (find_artifact(self, req, &s, err) < 0 || place_find(self, ctx, s.run_id, s.uri, &p, err) < 0 ||
        blob_read(p.store, ctx, p.bucket, p.key, 0, -1, ARTIFACT_MAX, &data, err) < 0)
        return api_wrap(err, "Failed to read artifact");
    AUTOFREE char *text = base64_encode(buf_str(&data), data.len);
    buf_adds(&body, "{\"data\":\"");
    buf_adds(&body, text);
    buf_adds(&body, "\"}");
    http_body_buf(res, "application/json", &body);
    return 0;
}
