/* artifacts.c - artifacts and who made or used them (spec 8): lists, one, links, the metrics of a run. */
#include <stdlib.h>
#include <string.h>

#include "pipelines/api/listing.h"
#include "pipelines/api/resource.h"

#define F(member) ROW_AT(struct md_artifact, member)

/* The API's word for a schema title, as md_artifact_type has it. */
#define TYPE_SQL                                                                                                                 \
    "CASE a.schema_title WHEN 'system.Model' THEN 'Model' WHEN 'system.Dataset' THEN 'Dataset' WHEN 'system.HTML' THEN 'HTML'"   \
    " WHEN 'system.Markdown' THEN 'Markdown' WHEN 'system.Metrics' THEN 'Metric'"                                                \
    " WHEN 'system.ClassificationMetrics' THEN 'ClassificationMetric'"                                                           \
    " WHEN 'system.SlicedClassificationMetrics' THEN 'SlicedClassificationMetric' ELSE 'Artifact' END"

static const struct row_field FIELDS[] = {
    {"artifact_id", "a.id", ROW_ID, F(id), ROW_SHOWN},
    {"id", "a.id", ROW_ID, ROW_ALIAS},
    {"name", "a.name", ROW_TEXT, F(name), ROW_SHOWN},
    {"type", TYPE_SQL, ROW_TEXT, ROW_ALIAS},
    {"schema_title", "a.schema_title", ROW_TEXT, F(schema_title), ROW_SHOWN},
    {"schema_version", "a.schema_version", ROW_TEXT, F(schema_version), ROW_HIDDEN},
    {"uri", "a.uri", ROW_TEXT, F(uri), ROW_SHOWN},
    {"metadata", "a.metadata", ROW_JSON, F(metadata), ROW_SHOWN | ROW_HIDDEN},
    {"namespace", "a.namespace", ROW_TEXT, F(ns), ROW_SHOWN},
    {"pipeline", "a.pipeline", ROW_TEXT, F(pipeline), ROW_HIDDEN},
    {"custom_path", "a.custom_path", ROW_OPT, F(custom_path), ROW_HIDDEN},
    {"run_id", "a.run_id", ROW_OPT, F(run_id), ROW_SHOWN},
    {"task_id", "a.task_id", ROW_INT, F(task_id), ROW_HIDDEN},
    {"created_at", "a.created_at", ROW_TIME, F(created_ns), ROW_SHOWN},
    {"size", "a.size", ROW_INT, F(size), ROW_NO_FILTER},
};
ROW_TABLE(ARTIFACT_ROWS, "Artifact", "artifacts", "a", "a.id", struct md_artifact, FIELDS);

/* A Metrics artifact that holds one number is that metric. */
static void out_number(struct jm *m, jmval *o, const struct md_artifact *a)
{
    JSON_REF(doc) =
        str_eq(a->schema_title, "system.Metrics") && !str_empty(a->metadata) ? json_parse_str(a->metadata, NULL) : NULL;
    double only = 0;
    int n = 0;
    struct jiter it = jv_iter(doc ? json_root(doc) : NULL);
    const char *key;
    jval *v;
    while (jv_next(&it, &key, &v)) {
        double d;
        if (jv_f64(v, &d)) {
            only = d;
            n++;
        }
    }
    if (n == 1)
        jm_put(m, o, "number_value", jm_f64(m, only));
}

static int artifact_more(struct db *db, struct jm *m, jmval *o, const void *row, int view, struct err *err)
{
    const struct md_artifact *a = row;
    jm_put(m, o, "type", jm_str(m, md_artifact_type(a->schema_title)));
    if (a->size >= 0)
        jm_put(m, o, "size", jm_i64(m, a->size));
    out_number(m, o, a);
    return 0;
}

const struct resource ARTIFACTS = {
    .table = &ARTIFACT_ROWS,
    .list_key = "artifacts",
    .bad_options = "Failed to create list options",
    .list_failed = "Failed to list artifacts",
    .more = artifact_more,
};

int artifacts_list_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    return resource_list(self, req, res, &ARTIFACTS, NULL, NULL, 0, VIEW_LIST, err);
}

/* view=DOWNLOAD: with a URL under which anybody may fetch the bytes for a while. */
int artifact_get_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct pipelines_api *api = self;
    const char *view, *id = http_param(req, "artifact_id");
    if (query_text(req, "view", &view, err) < 0)
        return -1;
    if (!str_eq(view, "DOWNLOAD")) {
        if (resource_get(api, res, &ARTIFACTS, id, VIEW_ONE, err) < 0)
            return api_wrap(err, "Failed to get an artifact");
        return 0;
    }
    CLEANUP(md_artifact_clear) struct md_artifact a = {0};
    JM_NEW(m);
    jmval *o = NULL;
    {
        READER(r, api, err);
        if (r.db && row_get(&ARTIFACT_ROWS, r.db, id, &a, err) == 0)
            o = resource_out(&ARTIFACTS, r.db, m, &a, VIEW_ONE, err);
    }
    if (!o)
        return api_wrap(err, "Failed to get an artifact");
    AUTOFREE char *url = signed_artifact_url(api, ctx, &a);
    out_str(m, o, "download_url", url);
    jm_set_root(m, o);
    out_send(res, m);
    return 0;
}

/* ---- links ---------------------------------------------------------------------------------------------------------------- */

struct link_row {
    int64_t id, artifact_id;
    char *run_id, *task_uuid, *key, *producer;
    int io, position, producer_iteration;
};
#define L(member) ROW_AT(struct link_row, member)

static const struct row_word IO_WORDS[] = {
    {"UNSPECIFIED", MD_IO_UNSPECIFIED},
    {"COMPONENT_DEFAULT_INPUT", MD_IO_COMPONENT_DEFAULT_INPUT},
    {"TASK_OUTPUT_INPUT", MD_IO_TASK_OUTPUT_INPUT},
    {"COMPONENT_INPUT", MD_IO_COMPONENT_INPUT},
    {"RUNTIME_VALUE_INPUT", MD_IO_RUNTIME_VALUE_INPUT},
    {"COLLECTED_INPUTS", MD_IO_COLLECTED_INPUTS},
    {"ITERATOR_INPUT", MD_IO_ITERATOR_INPUT},
    {"ITERATOR_INPUT_RAW", MD_IO_ITERATOR_INPUT_RAW},
    {"ITERATOR_OUTPUT", MD_IO_ITERATOR_OUTPUT},
    {"OUTPUT", MD_IO_OUTPUT},
    {"ONE_OF_OUTPUT", MD_IO_ONE_OF_OUTPUT},
    {"TASK_FINAL_STATUS_OUTPUT", MD_IO_TASK_FINAL_STATUS_OUTPUT},
    {NULL, 0},
};
static const struct row_field LINK_FIELDS[] = {
    {"id", "l.id", ROW_ID, L(id), ROW_SHOWN},
    {"created_at", "l.id", ROW_ID, ROW_ALIAS, ROW_NO_FILTER}, /* links are numbered in the order in which they were made */
    {"artifact_id", "l.artifact_id", ROW_ID, L(artifact_id), ROW_SHOWN},
    {"run_id", "l.run_id", ROW_TEXT, L(run_id), ROW_SHOWN},
    {"task_id", "(SELECT t.task_id FROM tasks t WHERE t.id = l.task_id)", ROW_TEXT, L(task_uuid), ROW_SHOWN},
    {"type", "l.io", ROW_SMALL, L(io), ROW_SHOWN, IO_WORDS},
    {"key", "l.key", ROW_TEXT, L(key), ROW_SHOWN},
    {"position", "l.position", ROW_SMALL, L(position), ROW_HIDDEN},
    {"producer", "l.producer", ROW_TEXT, L(producer), ROW_HIDDEN},
    {"producer_iteration", "l.producer_iteration", ROW_SMALL, L(producer_iteration), ROW_HIDDEN},
};
ROW_TABLE(LINK_ROWS, "ArtifactTask", "artifact_tasks", "l", "l.id", struct link_row, LINK_FIELDS);

static int link_more(struct db *db, struct jm *m, jmval *o, const void *row, int view, struct err *err)
{
    const struct link_row *l = row;
    if (str_empty(l->producer))
        return 0;
    jmval *p = jm_obj_at(m, o, "producer");
    out_str(m, p, "task_name", l->producer);
    if (l->producer_iteration >= 0)
        jm_put(m, p, "iteration", jm_strf(m, "%d", l->producer_iteration));
    return 0;
}

static const struct resource LINKS = {
    .table = &LINK_ROWS,
    .list_key = "artifact_tasks",
    .bad_options = "Failed to create list options",
    .list_failed = "Failed to list artifact tasks",
    .more = link_more,
};

/* " AND <column> IN (?, ?)" for each value of a parameter that may come several times, or as a list with commas. */
static void add_ids(const struct http_req *req, const char *name, const char *column, struct buf *where, struct strlist *values)
{
    size_t n = 0;
    for (size_t i = 0; i < http_query_count(req, name); i++) {
        AUTOFREE char *copy = xstrdup(http_query_nth(req, name, i));
        char *save = NULL;
        for (char *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
            buf_addf(where, n == 0 ? " AND %s IN (?" : ", ?", column);
            strlist_add(values, p);
            n++;
        }
    }
    if (n > 0)
        buf_addc(where, ')');
}

int artifact_tasks_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    enum { IDS_MAX = 1000 };
    BUF(where);
    STRLIST(values);
    buf_addc(&where, '1');
    add_ids(req, "run_ids", "l.run_id", &where, &values);
    add_ids(req, "artifact_ids", "l.artifact_id", &where, &values);
    add_ids(req, "task_ids", "(SELECT t.task_id FROM tasks t WHERE t.id = l.task_id)", &where, &values);
    if (values.n == 0)
        return err_set(err, ERR_INVALID, "give at least one of task_ids, run_ids and artifact_ids");
    if (values.n > IDS_MAX)
        return err_set(err, ERR_INVALID, "%zu ids are too many: at most %d", values.n, IDS_MAX);
    const char *type;
    if (query_text(req, "type", &type, err) < 0)
        return -1;
    if (!str_empty(type)) {
        const struct row_word *w = IO_WORDS;
        int64_t number = -1;
        str_to_i64(type, &number);
        while (w->word && strcmp(w->word, type) != 0 && w->number != number)
            w++;
        if (!w->word)
            return err_set(err, ERR_BAD_REQUEST, "parsing field \"type\": \"%.80s\" is not a valid value", type);
        buf_addf(&where, " AND l.io = %d", w->number);
    }
    return resource_list(self, req, res, &LINKS, buf_str(&where), (const char *const *)values.v, values.n, VIEW_LIST, err);
}

/* ---- metrics of a run (spec 8.1) ---------------------------------------------------------------------------------------- */

struct metrics_job {
    struct jm *m;
    jmval *list;
};
static int add_metric(void *self, const struct md_metric *x)
{
    struct metrics_job *j = self;
    jmval *o = jm_obj(j->m);
    out_str(j->m, o, "task", x->task);
    out_str(j->m, o, "artifact", x->artifact);
    out_str(j->m, o, "name", x->name);
    jm_put(j->m, o, "value", jm_f64(j->m, x->value));
    jm_push(j->list, o);
    return 0;
}

int run_metrics_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    const char *id = http_param(req, "run_id");
    READER(r, (struct pipelines_api *)self, err);
    RUN(run);
    JM_NEW(m);
    jm_set_root(m, jm_obj(m));
    struct metrics_job j = {m, jm_arr_at(m, jm_root(m), "metrics")};
    if (!r.db || run_get(r.db, id, &run, err) < 0 || md_metrics(r.db, id, add_metric, &j, err) < 0)
        return api_wrap(err, "Failed to list metrics");
    out_send(res, m);
    return 0;
}

/* The IR that a run was made from, whatever became of the version (spec 8.3). */
int run_spec_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    READER(r, (struct pipelines_api *)self, err);
    RUN(run);
    JM_NEW(m);
    jm_set_root(m, jm_obj(m));
    if (!r.db || run_get(r.db, http_param(req, "run_id"), &run, err) < 0 ||
        package_out(r.db, run.spec_hash, m, jm_root(m), err) < 0)
        return api_wrap(err, "Failed to get the pipeline of a run");
    out_send(res, m);
    return 0;
}
