/* recurring.c - /recurringruns (spec 7). */
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "base/timefmt.h"
#include "pipelines/api/proto_json.h"
#include "pipelines/api/resource.h"
#include "pipelines/api/source.h"
#include "pipelines/store/recurring.h"
#include "value/cron.h"

enum { CONCURRENCY_MAX = 10, PREVIEW_DEFAULT = 5, PREVIEW_MAX = 100 };

/* ---- as JSON ---------------------------------------------------------------------------------------------------------- */

static void out_time_set(struct jm *m, jmval *o, const char *key, int64_t ns)
{
    if (ns)
        out_time(m, o, key, ns);
}

static void out_trigger(struct jm *m, jmval *o, const struct recurring *r)
{
    jmval *trigger = jm_obj_at(m, o, "trigger");
    if (r->trigger == TRIGGER_ONCE)
        return;
    jmval *t = jm_obj_at(m, trigger, r->trigger == TRIGGER_CRON ? "cron_schedule" : "periodic_schedule");
    out_time_set(m, t, "start_time", r->start_ns);
    out_time_set(m, t, "end_time", r->end_ns);
    if (r->trigger == TRIGGER_CRON) {
        out_str(m, t, "cron", r->cron);
        out_str(m, t, "time_zone", r->time_zone);
    } else {
        jm_put(m, t, "interval_second", jm_strf(m, "%lld", (long long)r->interval_s));
    }
}

static int recurring_more(struct db *db, struct jm *m, jmval *o, const void *row, int view, struct err *err)
{
    const struct recurring *r = row;
    /* A preview of an inline pipeline stores nothing: there is no spec to show yet. */
    bool shown = !r->inline_spec || !str_empty(r->spec_hash);
    const struct origin from = {r->inline_spec, r->spec_hash, r->pipeline_id, r->pipeline_version_id};
    if (shown && out_source(db, m, o, &from, err) < 0)
        return -1;
    out_runtime_config(m, o, r->parameters, r->pipeline_root);
    out_trigger(m, o, r);
    jm_put(m, o, "status", jm_str(m, r->enabled ? "ENABLED" : "DISABLED"));
    if (r->error_code) {
        jmval *e = jm_obj_at(m, o, "error");
        out_i32(m, e, "code", r->error_code);
        out_str(m, e, "message", r->error_message);
    }
    return 0;
}

const struct resource RECURRING_RUNS = {
    .table = &RECURRING_ROWS,
    .list_key = "recurringRuns", /* upstream's one name in camelCase */
    .bad_options = "Failed to list recurring runs due to error parsing the listing options",
    .list_failed = "Failed to list jobs",
    .more = recurring_more,
};

/* ---- reading bodies ------------------------------------------------------------------------------------------------- */

static void set(char **field, const char *value)
{
    char *copy = xstrdup(value ? value : ""); /* value may be what the field holds */
    free(*field);
    *field = copy;
}

static int read_times(jval *schedule, struct recurring *r, struct err *err)
{
    const struct {
        const char *key;
        int64_t *out;
    } times[] = {{"start_time", &r->start_ns}, {"end_time", &r->end_ns}};
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        const char *text = jv_str(jv_get(schedule, times[i].key));
        *times[i].out = 0;
        if (text && !time_parse(text, times[i].out))
            return err_set(err, ERR_INVALID, "trigger's %s \"%.60s\" is no time", times[i].key, text);
    }
    return 0;
}

static int read_trigger(struct pipelines_api *api, jval *trigger, struct recurring *r, struct err *err)
{
    jval *cron = jv_get(trigger, "cron_schedule"), *periodic = jv_get(trigger, "periodic_schedule");
    r->trigger = cron ? TRIGGER_CRON : periodic ? TRIGGER_PERIODIC : TRIGGER_ONCE;
    set(&r->cron, cron ? jv_str_or(jv_get(cron, "cron"), "") : "");
    set(&r->time_zone, cron ? jv_str_or(jv_get(cron, "time_zone"), "") : "");
    r->interval_s = periodic ? jv_i64_or(jv_get(periodic, "interval_second"), 0) : 0;
    if (read_times(cron ? cron : periodic, r, err) < 0)
        return -1;
    if (periodic && r->interval_s < 1)
        return err_set(err, ERR_INVALID, "Found invalid period schedule interval %lld. Set at interval to least 1 second",
                       (long long)r->interval_s);
    if (!cron)
        return 0;
    struct cron *c = cron_parse(r->cron, str_empty(r->time_zone) ? api->time_zone : r->time_zone, err);
    if (!c)
        return err_wrap(err, "Schedule cron is not a supported format");
    cron_free(c);
    return 0;
}

static int check_concurrency(int64_t n, struct err *err)
{
    if (n < 1 || n > CONCURRENCY_MAX)
        return err_set(err, ERR_INVALID, "Max concurrency of a recurring run must be at least 1 and at most %d. Received %lld",
                       CONCURRENCY_MAX, (long long)n);
    return 0;
}

static int read_mode(jval *mode, struct recurring *r, struct err *err)
{
    int64_t n = jv_i64_or(mode, 0);
    if (n < 0 || n > 2)
        return err_set(err, ERR_INVALID, "Recurring run's mode is invalid: %lld. Use ENABLE or DISABLE", (long long)n);
    r->enabled = n == 1;
    return 0;
}

static int read_name(jval *body, struct recurring *r, struct err *err)
{
    const char *name = jv_str_or(jv_get(body, "display_name"), "");
    if (!*name)
        return err_set(err, ERR_INVALID, "Recurring run's name cannot be empty: give display_name");
    set(&r->display_name, name);
    return rule_display_name("Recurring run", name, err);
}

static int read_plugins(jval *plugins, struct recurring *r, struct err *err)
{
    if (rule_plugins(plugins, err) < 0)
        return -1;
    free(r->plugins_input);
    r->plugins_input = jv_len(plugins) > 0 ? jv_text(plugins, JW_COMPACT) : NULL;
    return 0;
}

static void read_config(jval *config, struct recurring *r)
{
    jval *parameters = jv_get(config, "parameters");
    free(r->parameters);
    r->parameters = jv_len(parameters) > 0 ? jv_text(parameters, JW_COMPACT) : NULL;
    set(&r->pipeline_root, jv_str_or(jv_get(config, "pipeline_root"), ""));
}

/* A reference without a version stays open: each run takes what is latest then. */
static int read_recurring_source(struct pipelines_api *api, jval *body, struct recurring *r, struct source *src, struct err *err)
{
    if (source_read(api, body, src, err) < 0)
        return -1;
    r->inline_spec = src->inline_spec;
    set(&r->pipeline_id, src->pipeline_id);
    set(&r->pipeline_version_id, src->latest ? "" : src->version_id);
    set(&r->spec_hash, src->latest ? "" : src->spec_hash);
    return 0;
}

static int check_parameters(const struct package *p, const struct recurring *r, struct err *err)
{
    JSON_REF(given) = r->parameters ? json_parse_str(r->parameters, err) : NULL;
    if (r->parameters && !given)
        return -1;
    return ir_check_parameters(p->ir, json_root(given), err);
}

static int read_body(struct pipelines_api *api, jval *body, struct recurring *r, struct source *src, struct err *err)
{
    r->max_concurrency = jv_i64_or(jv_get(body, "max_concurrency"), 0);
    r->no_catchup = jv_bool(jv_get(body, "no_catchup"), false);
    if (read_name(body, r, err) < 0 || check_concurrency(r->max_concurrency, err) < 0 ||
        read_trigger(api, jv_get(body, "trigger"), r, err) < 0 || read_mode(jv_get(body, "mode"), r, err) < 0 ||
        read_plugins(jv_get(body, "plugins_input"), r, err) < 0 ||
        rule_max_bytes("RecurringRun.Namespace", jv_str(jv_get(body, "namespace")), NAMESPACE_MAX, err) < 0)
        return -1;
    read_config(jv_get(body, "runtime_config"), r);
    if (read_recurring_source(api, body, r, src, err) < 0 || check_parameters(&src->package, r, err) < 0)
        return -1;
    const char *account = jv_str_or(jv_get(body, "service_account"), "");
    set(&r->service_account, *account || src->latest ? account : api->default_service_account);
    set(&r->description, jv_str(jv_get(body, "description")));
    set(&r->experiment_id, jv_str(jv_get(body, "experiment_id")));
    if (str_empty(r->ns)) /* its object's, when it has one */
        set(&r->ns, api->run_namespace);
    return 0;
}

/* ---- storing ---------------------------------------------------------------------------------------------------------- */

struct store_job {
    struct recurring *r;
    const struct source *src; /* an inline spec is stored with it; may be NULL */
    bool insert;
    int64_t read_updated_ns; /* of the row that was edited */
};

static int put_spec(struct db *db, const struct store_job *j, struct err *err)
{
    char hash[65];
    if (!j->src || !j->src->inline_spec)
        return 0;
    if (spec_put(db, j->src->package.spec, j->src->package.platform, hash, err) < 0)
        return -1;
    set(&j->r->spec_hash, hash);
    return 0;
}

static int insert_job(struct db *db, void *arg, struct err *err)
{
    struct store_job *j = arg;
    char id[UUID_TEXT];
    EXPERIMENT(e);
    if (str_empty(j->r->experiment_id)) {
        if (experiment_default(db, j->r->created_ns, id, err) < 0)
            return -1;
        set(&j->r->experiment_id, id);
    }
    if (experiment_get(db, j->r->experiment_id, &e, err) < 0 || put_spec(db, j, err) < 0)
        return -1;
    return recurring_insert(db, j->r, err);
}

static int update_job(struct db *db, void *arg, struct err *err)
{
    struct store_job *j = arg;
    RECURRING(now);
    if (recurring_get(db, j->r->id, &now, err) < 0)
        return -1;
    if (now.updated_ns != j->read_updated_ns)
        return err_set(err, ERR_CONFLICT, "recurring run %s was changed meanwhile: try again", j->r->id);
    /* What its scheduler wrote since then stands. */
    j->r->last_ns = now.last_ns;
    j->r->last_index = now.last_index;
    j->r->error_code = 0;
    set(&j->r->object_uid, now.object_uid);
    if (put_spec(db, j, err) < 0 || recurring_put(db, j->r, err) < 0)
        return -1;
    return str_eq(now.spec_hash, j->r->spec_hash) ? 0 : spec_release(db, now.spec_hash, err);
}

static void tell(struct pipelines_api *api, const char *id)
{
    if (api->hooks.recurring_changed)
        api->hooks.recurring_changed(api->hooks.self, id);
}

/* ---- preview ---------------------------------------------------------------------------------------------------------- */

static int add_next(struct pipelines_api *api, const struct ctx *ctx, struct jm *m, jmval *o, const struct recurring *r,
                    int count, struct err *err)
{
    int64_t slots[PREVIEW_MAX];
    int n = recurring_preview(r, api->time_zone, ctx_now_ns(ctx) / NS_PER_S, slots, count, err);
    jmval *list = jm_arr_at(m, o, "next_scheduled_times");
    for (int i = 0; i < n; i++) {
        char text[TIME_TEXT_MAX];
        jm_push(list, jm_str(m, time_format(text, slots[i] * NS_PER_S, TIME_SECONDS)));
    }
    /* Once a minute is often what "* * * * *" was not meant to be: five fields begin with the second. */
    if (n > 1 && r->trigger == TRIGGER_CRON && slots[1] - slots[0] < 60)
        jm_put(
            m, o, "warning",
            jm_strf(m, "it starts every %lld s: cron expressions here begin with the second", (long long)(slots[1] - slots[0])));
    return n < 0 ? -1 : 0;
}

static int count_of(const struct http_req *req, int *count, struct err *err)
{
    int32_t n;
    if (query_i32(req, "count", &n, err) < 0)
        return -1;
    if (n < 0)
        return err_set(err, ERR_INVALID, "count must not be negative: %d", n);
    *count = n == 0 ? PREVIEW_DEFAULT : n > PREVIEW_MAX ? PREVIEW_MAX : n;
    return 0;
}

/* The object as it would be, and its next starts; nothing is stored. */
static int send_preview(struct pipelines_api *api, const struct ctx *ctx, struct http_req *req, struct http_res *res,
                        const struct recurring *r, struct err *err)
{
    int count;
    JM_NEW(m);
    READER(rd, api, err);
    jmval *root = rd.db && count_of(req, &count, err) == 0 ? resource_out(&RECURRING_RUNS, rd.db, m, r, VIEW_ONE, err) : NULL;
    if (!root || add_next(api, ctx, m, root, r, count, err) < 0)
        return -1;
    jm_set_root(m, root);
    out_send(res, m);
    return 0;
}

/* ---- create, get, list ------------------------------------------------------------------------------------------------ */

static int create(struct pipelines_api *api, const struct ctx *ctx, jval *body, struct recurring *r, struct source *src,
                  bool dry_run, struct err *err)
{
    char id[UUID_TEXT];
    if (read_body(api, body, r, src, err) < 0)
        return -1;
    if (!r->id)
        r->id = xstrdup(uuid4(id));
    r->created_ns = r->updated_ns = api_created_now(api);
    struct store_job job = {.r = r, .src = src, .insert = true};
    return dry_run ? 0 : api_write(api, ctx, insert_job, &job, err);
}

int recurring_create_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    bool dry_run;
    JSON_REF(body) = pj_decode(&PJ_RECURRING_RUN, req->body, req->body_len, err);
    if (!body || query_bool(req, "dry_run", &dry_run, err) < 0)
        return -1;
    RECURRING(r);
    SOURCE(src);
    if (create(self, ctx, json_root(body), &r, &src, dry_run, err) < 0)
        return api_wrap(err, "Failed to create a recurring run");
    if (dry_run)
        return send_preview(self, ctx, req, res, &r, err);
    tell(self, r.id);
    return resource_send(self, res, &RECURRING_RUNS, &r, VIEW_ONE, err);
}

int recurring_get_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    if (resource_get(self, res, &RECURRING_RUNS, http_param(req, "recurring_run_id"), VIEW_ONE, err) < 0)
        return api_wrap(err, "Failed to fetch a recurring run");
    return 0;
}

int recurring_list_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    const char *id;
    if (scope_experiment(self, req, &id, err) < 0)
        return api_wrap(err, "Failed to list jobs");
    return resource_list(self, req, res, &RECURRING_RUNS, id ? "j.experiment_id = ?" : NULL, &id, id != NULL, VIEW_LIST, err);
}

/* GET /recurringruns/{id}:next?count=5 */
int recurring_next_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    struct pipelines_api *api = self;
    RECURRING(r);
    int count;
    READER(rd, api, err);
    if (!rd.db || count_of(req, &count, err) < 0 || recurring_get(rd.db, http_param(req, "recurring_run_id"), &r, err) < 0)
        return api_wrap(err, "Failed to fetch a recurring run");
    JM_NEW(m);
    jm_set_root(m, jm_obj(m));
    if (add_next(api, ctx, m, jm_root(m), &r, count, err) < 0)
        return -1;
    out_send(res, m);
    return 0;
}

/* ---- update ------------------------------------------------------------------------------------------------------------- */

static bool has_source(jval *body)
{
    return jv_get(body, "pipeline_spec") || jv_get(body, "pipeline_version_reference") || jv_get(body, "pipeline_version_id");
}

/* What the body holds replaces; what it leaves out stays. */
static int merge(struct pipelines_api *api, jval *body, struct recurring *r, struct source *src, struct err *err)
{
    jval *v;
    if (jv_get(body, "display_name") && *jv_str_or(jv_get(body, "display_name"), "") && read_name(body, r, err) < 0)
        return -1;
    if ((v = jv_get(body, "description")))
        set(&r->description, jv_str(v));
    if ((v = jv_get(body, "service_account")))
        set(&r->service_account, jv_str(v));
    if ((v = jv_get(body, "no_catchup")))
        r->no_catchup = jv_bool(v, false);
    if ((v = jv_get(body, "max_concurrency"))) {
        r->max_concurrency = jv_i64_or(v, 0);
        if (check_concurrency(r->max_concurrency, err) < 0)
            return -1;
    }
    if ((v = jv_get(body, "plugins_input")) && read_plugins(v, r, err) < 0)
        return -1;
    if ((v = jv_get(body, "trigger")) && read_trigger(api, v, r, err) < 0)
        return -1;
    if ((v = jv_get(body, "mode")) && jv_i64_or(v, 0) != 0 && read_mode(v, r, err) < 0)
        return -1;
    if ((v = jv_get(body, "runtime_config")))
        read_config(v, r);
    return has_source(body) ? read_recurring_source(api, body, r, src, err) : 0;
}

/* The pipeline that the parameters must fit: the new one, the stored one, or whatever is latest. */
static int check_merged(struct pipelines_api *api, const struct recurring *r, const struct source *src, struct err *err)
{
    if (src->package.ir)
        return check_parameters(&src->package, r, err);
    PACKAGE(p);
    PIPELINE_VERSION(v);
    READER(rd, api, err);
    if (!rd.db || (str_empty(r->spec_hash) && version_latest(rd.db, r->pipeline_id, &v, err) < 0) ||
        package_load(rd.db, str_empty(r->spec_hash) ? v.spec_hash : r->spec_hash, &p, err) < 0)
        return -1;
    return check_parameters(&p, r, err);
}

static int update(struct pipelines_api *api, const struct ctx *ctx, const char *id, jval *body, struct recurring *r, bool dry_run,
                  struct err *err)
{
    SOURCE(src);
    {
        READER(rd, api, err);
        if (!rd.db || recurring_get(rd.db, id, r, err) < 0)
            return -1;
    }
    struct store_job job = {.r = r, .src = &src, .read_updated_ns = r->updated_ns};
    if (merge(api, body, r, &src, err) < 0)
        return -1;
    bool checks = has_source(body) || jv_get(body, "runtime_config");
    if (checks && check_merged(api, r, &src, err) < 0)
        return -1;
    r->updated_ns = api_created_now(api);
    return dry_run ? 0 : api_write(api, ctx, update_job, &job, err);
}

int recurring_patch_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    bool dry_run;
    JSON_REF(body) = pj_decode(&PJ_RECURRING_RUN, req->body, req->body_len, err);
    if (!body || query_bool(req, "dry_run", &dry_run, err) < 0)
        return -1;
    RECURRING(r);
    if (update(self, ctx, http_param(req, "recurring_run_id"), json_root(body), &r, dry_run, err) < 0)
        return api_wrap(err, "Failed to update a recurring run");
    if (dry_run)
        return send_preview(self, ctx, req, res, &r, err);
    tell(self, r.id);
    return resource_send(self, res, &RECURRING_RUNS, &r, VIEW_ONE, err);
}

/* ---- enable, disable, delete -------------------------------------------------------------------------------------------- */

struct enable_job {
    const char *id;
    bool enabled, skip_missed;
    int64_t now_ns;
};

static int enable_job(struct db *db, void *arg, struct err *err)
{
    const struct enable_job *j = arg;
    return recurring_enable(db, j->id, j->enabled, j->skip_missed, j->now_ns, err);
}

static int enable(struct pipelines_api *api, const struct ctx *ctx, struct http_req *req, struct http_res *res, bool enabled,
                  struct err *err)
{
    struct enable_job j = {.id = http_param(req, "recurring_run_id"), .enabled = enabled, .now_ns = api_created_now(api)};
    if (query_bool(req, "skip_missed", &j.skip_missed, err) < 0)
        return -1;
    j.skip_missed = j.skip_missed && enabled;
    if (api_write(api, ctx, enable_job, &j, err) < 0)
        return api_wrap(err, "Failed to %s a recurring run", enabled ? "enable" : "disable");
    tell(api, j.id);
    out_empty(res);
    return 0;
}

int recurring_enable_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    return enable(self, ctx, req, res, true, err);
}

int recurring_disable_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    return enable(self, ctx, req, res, false, err);
}

static int delete_job(struct db *db, void *arg, struct err *err)
{
    return recurring_delete(db, ((const struct change *)arg)->id, err);
}

/* Runs keep their rows whatever the policy says; it is checked all the same. */
static int check_policy(const struct http_req *req, struct err *err)
{
    static const char *const words[] = {
        "DELETE_PROPAGATION_POLICY_UNSPECIFIED", "FOREGROUND", "BACKGROUND", "ORPHAN", "0", "1", "2", "3"};
    const char *v;
    if (query_text(req, "propagation_policy", &v, err) < 0)
        return -1;
    for (size_t i = 0; v && *v && i <= ARRAY_LEN(words); i++) {
        if (i == ARRAY_LEN(words))
            return err_set(err, ERR_BAD_REQUEST, "parsing field \"propagation_policy\": \"%.80s\" is not a valid value", v);
        if (strcmp(v, words[i]) == 0)
            break;
    }
    return 0;
}

int recurring_delete_h(void *self, struct ctx *ctx, struct http_req *req, struct http_res *res, struct err *err)
{
    const char *id = http_param(req, "recurring_run_id");
    if (check_policy(req, err) < 0)
        return -1;
    if (resource_change(self, ctx, res, delete_job, id, err) < 0)
        return api_wrap(err, "Failed to delete a recurring run");
    tell(self, id);
    return 0;
}

/* ---- for the mirror ------------------------------------------------------------------------------------------------------ */

static int is_there(struct pipelines_api *api, const char *id, bool *there, struct err *err)
{
    RECURRING(r);
    READER(rd, api, err);
    int rc = rd.db ? row_find(&RECURRING_ROWS, rd.db, id, &r, err) : -1;
    *there = rc == 1;
    return rc < 0 ? -1 : 0;
}

int pipelines_recurring_apply(struct pipelines_api *api, const struct ctx *ctx, const char *id, const char *name, const char *ns,
                              const char *text, struct err *err)
{
    RECURRING(r);
    SOURCE(src);
    bool there;
    JSON_REF(body) = pj_decode(&PJ_RECURRING_RUN, text, strlen(text), err);
    if (!body || is_there(api, id, &there, err) < 0)
        return -1;
    if (!there) {
        r.id = xstrdup(id);
        r.name = xstrdup(name);
        r.ns = xstrdup(ns);
    }
    if ((there ? update(api, ctx, id, json_root(body), &r, false, err)
               : create(api, ctx, json_root(body), &r, &src, false, err)) < 0)
        return -1;
    tell(api, id);
    return 0;
}

static int delete_there_job(struct db *db, void *arg, struct err *err)
{
    ERR(e);
    if (recurring_delete(db, ((const struct change *)arg)->id, &e) == 0 || e.code == ERR_NOT_FOUND)
        return 0;
    return err_move(err, &e);
}

int pipelines_recurring_delete(struct pipelines_api *api, const struct ctx *ctx, const char *id, struct err *err)
{
    struct change c = {id, ctx_now_ns(ctx)};
    if (api_write(api, ctx, delete_there_job, &c, err) < 0)
        return -1;
    tell(api, id);
    return 0;
}

const char *pipelines_time_zone(const struct pipelines_api *api) { return api->time_zone; }
