/* schedules.c - recurring runs as ScheduledWorkflows, and back. */
#include <stdlib.h>

#include "base/timefmt.h"
#include "kube/object.h"
#include "pipelines/mirror/kind.h"
#include "pipelines/store/recurring.h"

static void put_text(struct jm *m, jmval *o, const char *key, const char *v)
{
    if (!str_empty(v))
        jm_put(m, o, key, jm_str(m, v));
}

static void put_time(struct jm *m, jmval *o, const char *key, int64_t ns)
{
    char text[TIME_TEXT_MAX];
    if (ns)
        jm_put(m, o, key, jm_str(m, time_format(text, ns, TIME_SECONDS)));
}

/* ---- row to object ------------------------------------------------------------------------------------------------------ */

static void put_trigger(struct jm *m, jmval *spec, const struct recurring *r)
{
    jmval *trigger = jm_obj_at(m, spec, "trigger");
    if (r->trigger == TRIGGER_ONCE)
        return;
    jmval *t = jm_obj_at(m, trigger, r->trigger == TRIGGER_CRON ? "cronSchedule" : "periodicSchedule");
    put_time(m, t, "startTime", r->start_ns);
    put_time(m, t, "endTime", r->end_ns);
    if (r->trigger == TRIGGER_CRON) {
        put_text(m, t, "cron", r->cron);
        put_text(m, t, "timeZone", r->time_zone);
    } else {
        jm_put(m, t, "intervalSecond", jm_i64(m, r->interval_s));
    }
}

/* Values are JSON texts, as upstream has it. */
static void put_parameters(struct jm *m, jmval *workflow, const struct recurring *r)
{
    JSON_REF(doc) = str_empty(r->parameters) ? NULL : json_parse_str(r->parameters, NULL);
    struct jiter it = jv_iter(doc ? json_root(doc) : NULL);
    const char *key;
    jval *v;
    while (jv_next(&it, &key, &v)) {
        AUTOFREE char *text = jv_text(v, JW_COMPACT);
        jmval *p = jm_obj(m);
        jm_put(m, p, "name", jm_str(m, key));
        jm_put(m, p, "value", jm_str(m, text));
        jm_push(jm_arr_at(m, workflow, "parameters"), p);
    }
}

static int put_pipeline(struct db *db, struct jm *m, jmval *workflow, const struct recurring *r, struct err *err)
{
    AUTOFREE char *spec = NULL;
    AUTOFREE char *platform = NULL;
    if (spec_get(db, r->spec_hash, &spec, &platform, err) < 0)
        return -1;
    JSON_REF(s) = json_parse_str(spec, err);
    JSON_REF(p) = s && platform ? json_parse_str(platform, err) : NULL;
    if (!s || (platform && !p))
        return -1;
    jmval *both = jm_obj_at(m, workflow, "spec");
    jm_put(m, both, "pipeline_spec", jm_val(m, json_root(s)));
    if (p)
        jm_put(m, both, "platform_spec", jm_val(m, json_root(p)));
    return 0;
}

static jmval *schedule_spec(struct db *db, struct jm *m, const struct recurring *r, struct err *err)
{
    jmval *spec = jm_obj(m);
    jm_put(m, spec, "displayName", jm_str(m, r->display_name));
    put_text(m, spec, "description", r->description);
    jm_put(m, spec, "enabled", jm_bool(m, r->enabled));
    jm_put(m, spec, "maxConcurrency", jm_i64(m, r->max_concurrency));
    jm_put(m, spec, "noCatchup", jm_bool(m, r->no_catchup));
    put_text(m, spec, "experimentId", r->experiment_id);
    put_text(m, spec, "pipelineId", r->pipeline_id);
    put_text(m, spec, "pipelineVersionId", r->pipeline_version_id);
    put_text(m, spec, "serviceAccount", r->service_account);
    JSON_REF(plugins) = str_empty(r->plugins_input) ? NULL : json_parse_str(r->plugins_input, NULL);
    if (plugins)
        jm_put(m, spec, "pluginsInput", jm_val(m, json_root(plugins)));
    put_trigger(m, spec, r);
    jmval *workflow = jm_obj_at(m, spec, "workflow");
    put_text(m, workflow, "pipelineRoot", r->pipeline_root);
    put_parameters(m, workflow, r);
    return r->inline_spec && put_pipeline(db, m, workflow, r, err) < 0 ? NULL : spec;
}

static void put_condition(struct jm *m, jmval *status, const char *type, const char *message)
{
    jmval *c = jm_obj(m);
    jm_put(m, c, "type", jm_str(m, type));
    jm_put(m, c, "status", jm_str(m, "True"));
    jm_put(m, c, "reason", jm_str(m, type));
    jm_put(m, c, "message", jm_str(m, message));
    jm_push(jm_arr_at(m, status, "conditions"), c);
}

static jmval *schedule_status(struct jm *m, const struct recurring *r, int64_t next_s, const char *error)
{
    jmval *status = jm_obj(m);
    if (error)
        put_condition(m, status, "Error", error);
    else if (r->error_code)
        put_condition(m, status, "Error", r->error_message ? r->error_message : "");
    else if (r->enabled)
        put_condition(m, status, "Enabled", "The schedule is enabled.");
    else
        put_condition(m, status, "Disabled", "The schedule is disabled.");
    jmval *trigger = jm_obj_at(m, status, "trigger");
    put_time(m, trigger, "lastTriggeredTime", r->last_ns);
    if (r->enabled && next_s != INT64_MAX)
        put_time(m, trigger, "nextTriggeredTime", next_s * 1000000000);
    if (r->last_index)
        jm_put(m, trigger, "lastWorkflowIndex", jm_i64(m, r->last_index));
    return status;
}

/* ---- object to body ----------------------------------------------------------------------------------------------------- */

static void copy(struct jm *m, jmval *to, const char *name, jval *v)
{
    if (jv_present(v))
        jm_put(m, to, name, jm_val(m, v));
}

static void body_trigger(struct jm *m, jmval *body, jval *trigger)
{
    jval *cron = jv_get(trigger, "cronSchedule"), *periodic = jv_get(trigger, "periodicSchedule");
    jmval *t = jm_obj_at(m, body, "trigger");
    if (jv_present(cron))
        t = jm_obj_at(m, t, "cron_schedule");
    else if (jv_present(periodic))
        t = jm_obj_at(m, t, "periodic_schedule");
    else
        return;
    jval *s = jv_present(cron) ? cron : periodic;
    copy(m, t, "start_time", jv_get(s, "startTime"));
    copy(m, t, "end_time", jv_get(s, "endTime"));
    copy(m, t, "cron", jv_get(s, "cron"));
    copy(m, t, "time_zone", jv_get(s, "timeZone"));
    copy(m, t, "interval_second", jv_get(s, "intervalSecond"));
}

/* A value that is no JSON is a text. */
static void body_parameters(struct jm *m, jmval *body, jval *workflow)
{
    jmval *config = jm_obj_at(m, body, "runtime_config");
    copy(m, config, "pipeline_root", jv_get(workflow, "pipelineRoot"));
    jval *list = jv_get(workflow, "parameters");
    for (size_t i = 0; i < jv_len(list); i++) {
        const char *name = jv_str(jv_get(jv_at(list, i), "name")), *text = jv_str_or(jv_get(jv_at(list, i), "value"), "");
        JSON_REF(v) = json_parse_str(text, NULL);
        if (name)
            jm_put(m, jm_obj_at(m, config, "parameters"), name, v ? jm_val(m, json_root(v)) : jm_str(m, text));
    }
}

static void body_source(struct jm *m, jmval *body, jval *spec)
{
    jval *inner = jv_path(spec, "workflow", "spec", NULL), *version = jv_get(spec, "pipelineVersionId"),
         *pipeline = jv_get(spec, "pipelineId");
    if (jv_str(pipeline) || jv_str(version)) {
        jmval *ref = jm_obj_at(m, body, "pipeline_version_reference");
        copy(m, ref, "pipeline_id", pipeline);
        copy(m, ref, "pipeline_version_id", version);
    } else if (jv_str(inner)) { /* upstream writes it as a text */
        JSON_REF(doc) = json_parse_str(jv_str(inner), NULL);
        if (doc)
            jm_put(m, body, "pipeline_spec", jm_val(m, json_root(doc)));
    } else {
        copy(m, body, "pipeline_spec", inner);
    }
}

static struct json *schedule_body(jval *object)
{
    jval *spec = jv_get(object, "spec");
    JM_NEW(m);
    jmval *body = jm_obj(m);
    jm_set_root(m, body);
    const char *shown = jv_str_or(jv_get(spec, "displayName"), "");
    jm_put(m, body, "display_name", jm_str(m, *shown ? shown : obj_name(object)));
    jm_put(m, body, "mode", jm_str(m, jv_bool(jv_get(spec, "enabled"), false) ? "ENABLE" : "DISABLE"));
    jm_put(m, body, "max_concurrency", jm_i64(m, jv_i64_or(jv_get(spec, "maxConcurrency"), 1)));
    jm_put(m, body, "no_catchup", jm_bool(m, jv_bool(jv_get(spec, "noCatchup"), false)));
    jm_put(m, body, "description", jm_str(m, jv_str_or(jv_get(spec, "description"), "")));
    copy(m, body, "experiment_id", jv_get(spec, "experimentId"));
    copy(m, body, "service_account", jv_get(spec, "serviceAccount"));
    copy(m, body, "plugins_input", jv_get(spec, "pluginsInput"));
    body_trigger(m, body, jv_get(spec, "trigger"));
    body_parameters(m, body, jv_get(spec, "workflow"));
    body_source(m, body, spec);
    return jm_freeze(m);
}

/* ---- the kind ----------------------------------------------------------------------------------------------------------- */

static void put_labels(struct shown *out, const struct recurring *r)
{
    JM_NEW(m);
    jmval *labels = jm_obj(m);
    jm_set_root(m, labels);
    jm_put(m, labels, "scheduledworkflows.kubeflow.org/enabled", jm_str(m, r->enabled ? "true" : "false"));
    jm_put(m, labels, "scheduledworkflows.kubeflow.org/status",
           jm_str(m, jv_str_or(jv_get(jv_at(jv_get(json_root(out->status), "conditions"), 0), "type"), "")));
    out->labels = jm_freeze(m);
}

static struct json *status_doc(const struct recurring *r, int64_t next_s, const char *error)
{
    JM_NEW(m);
    jm_set_root(m, schedule_status(m, r, next_s, error));
    return jm_freeze(m);
}

static struct json *status_of_none(const char *error)
{
    const struct recurring none = {0};
    return status_doc(&none, INT64_MAX, error);
}

static int show(struct pipelines_api *api, struct db *db, int64_t now_s, const char *id, const char *error, struct shown *out,
                struct err *err)
{
    RECURRING(r);
    int64_t next = INT64_MAX;
    int rc = row_find(&RECURRING_ROWS, db, id, &r, err);
    if (rc < 1)
        return rc;
    JM_NEW(m);
    jmval *spec = schedule_spec(db, m, &r, err);
    if (!spec)
        return -1;
    jm_set_root(m, spec);
    out->spec = jm_freeze(m);
    recurring_next(&r, pipelines_time_zone(api), now_s, &next, NULL);
    out->status = status_doc(&r, next, error);
    out->name = xstrdup(r.name);
    out->ns = xstrdup(r.ns);
    put_labels(out, &r);
    return 1;
}

static int adopt(struct pipelines_api *api, const struct ctx *ctx, const char *id, jval *object, struct err *err)
{
    JSON_REF(body) = schedule_body(object);
    AUTOFREE char *text = jv_text(json_root(body), JW_COMPACT);
    return pipelines_recurring_apply(api, ctx, id, obj_name(object), obj_namespace(object), text, err);
}

const struct mirrored_kind MIRRORED_SCHEDULES = {
    .name = "scheduled-workflows",
    .res = {"kubeflow.org", "v1beta1", "scheduledworkflows", "ScheduledWorkflow", true},
    .id_label = "pipelines.tidemill.dev/recurring-run",
    .ids = "SELECT recurring_run_id FROM recurring_runs",
    .show = show,
    .status = status_of_none,
    .adopt = adopt,
    .remove = pipelines_recurring_delete,
};
