/* recurring.c - see recurring.h. */
#include "pipelines/store/recurring.h"

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/id.h"
#include "pipelines/store/catalog.h"
#include "pipelines/store/catalog_util.h"
#include "pipelines/store/hash.h"

enum { NAME_BASE_MAX = 25 };

/* Runs of recurring runs have ids made of what they are, in this name space. */
static const char RUN_NAME_SPACE[] = "c2f3a9d4-1e6b-4c8a-9f7d-0b5e3a1c2d4f";

#define F(member) ROW_AT(struct recurring, member)

static const struct row_word MODES[] = {{"ENABLE", 1}, {"DISABLE", 0}, {NULL, 0}};
static const struct row_word STATUSES[] = {{"ENABLED", 1}, {"DISABLED", 0}, {NULL, 0}};
static const struct row_field FIELDS[] = {
    {"recurring_run_id", "j.recurring_run_id", ROW_TEXT, F(id), ROW_SHOWN | ROW_FIXED},
    {"id", "j.recurring_run_id", ROW_TEXT, ROW_ALIAS},
    {"display_name", "j.display_name", ROW_TEXT, F(display_name), ROW_SHOWN},
    {"name", "j.display_name", ROW_TEXT, ROW_ALIAS},
    {"object_name", "j.name", ROW_TEXT, F(name), ROW_HIDDEN | ROW_FIXED},
    {"description", "j.description", ROW_TEXT, F(description), ROW_SHOWN},
    {"experiment_id", "j.experiment_id", ROW_TEXT, F(experiment_id), ROW_SHOWN | ROW_HIDDEN},
    {"namespace", "j.namespace", ROW_TEXT, F(ns), ROW_SHOWN | ROW_HIDDEN},
    {"pipeline_id", "j.pipeline_id", ROW_TEXT, F(pipeline_id), ROW_HIDDEN},
    {"pipeline_version_id", "j.pipeline_version_id", ROW_TEXT, F(pipeline_version_id), ROW_HIDDEN},
    {"inline_spec", "j.inline_spec", ROW_FLAG, F(inline_spec), ROW_HIDDEN},
    {"spec_hash", "j.spec_hash", ROW_TEXT, F(spec_hash), ROW_HIDDEN},
    {"parameters", "j.parameters", ROW_JSON, F(parameters), ROW_HIDDEN},
    {"pipeline_root", "j.pipeline_root", ROW_TEXT, F(pipeline_root), ROW_HIDDEN},
    {"service_account", "j.service_account", ROW_TEXT, F(service_account), ROW_SHOWN | ROW_HIDDEN},
    {"plugins_input", "j.plugins_input", ROW_JSON, F(plugins_input), ROW_SHOWN | ROW_HIDDEN},
    {"max_concurrency", "j.max_concurrency", ROW_ID, F(max_concurrency), ROW_SHOWN | ROW_HIDDEN},
    {"no_catchup", "j.no_catchup", ROW_FLAG, F(no_catchup), ROW_SHOWN | ROW_HIDDEN},
    {"mode", "j.enabled", ROW_FLAG, F(enabled), ROW_SHOWN | ROW_HIDDEN, MODES},
    {"status", "j.enabled", ROW_FLAG, ROW_ALIAS, 0, STATUSES},
    {"trigger", "j.trigger", ROW_SMALL, F(trigger), ROW_HIDDEN},
    {"cron", "j.cron", ROW_TEXT, F(cron), ROW_HIDDEN},
    {"time_zone", "j.time_zone", ROW_TEXT, F(time_zone), ROW_HIDDEN},
    {"interval_second", "j.interval_s", ROW_INT, F(interval_s), ROW_HIDDEN},
    {"start_time", "j.start_at", ROW_TIME, F(start_ns), ROW_HIDDEN},
    {"end_time", "j.end_at", ROW_TIME, F(end_ns), ROW_HIDDEN},
    {"last_time", "j.last_at", ROW_TIME, F(last_ns), ROW_HIDDEN},
    {"last_index", "j.last_index", ROW_INT, F(last_index), ROW_HIDDEN},
    {"error_code", "j.error_code", ROW_SMALL, F(error_code), ROW_HIDDEN},
    {"error_message", "j.error_message", ROW_OPT, F(error_message), ROW_HIDDEN},
    {"created_at", "j.created_at", ROW_TIME, F(created_ns), ROW_SHOWN | ROW_FIXED},
    {"updated_at", "j.updated_at", ROW_TIME, F(updated_ns), ROW_SHOWN},
    {"object_uid", "j.object_uid", ROW_TEXT, F(object_uid), ROW_HIDDEN},
};
ROW_TABLE(RECURRING_ROWS, "Job", "recurring_runs", "j", "j.recurring_run_id", struct recurring, FIELDS);

void recurring_clear(struct recurring *r) { row_clear(&RECURRING_ROWS, r); }

/* Lower-case letters, digits and hyphens of the display name, as the object's generateName. */
static char *make_name(const char *shown)
{
    char base[NAME_BASE_MAX + 1], suffix[8];
    size_t n = 0;
    for (const char *p = shown; *p && n < NAME_BASE_MAX; p++) {
        char c = *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p;
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c == '-' && n > 0))
            base[n++] = c;
    }
    base[n] = '\0';
    return xasprintf("%s%s", n ? base : "job-", random_suffix(suffix, 5));
}

int recurring_insert(struct db *db, struct recurring *r, struct err *err)
{
    if (!r->name)
        r->name = make_name(r->display_name);
    FAULT("recurring.insert");
    return row_insert(&RECURRING_ROWS, db, r, err);
}

int recurring_get(struct db *db, const char *id, struct recurring *out, struct err *err)
{
    return row_get(&RECURRING_ROWS, db, id, out, err);
}

int recurring_put(struct db *db, const struct recurring *r, struct err *err) { return row_put(&RECURRING_ROWS, db, r, err); }

int recurring_delete(struct db *db, const char *id, struct err *err)
{
    static const char SQL[] = "DELETE FROM recurring_runs WHERE recurring_run_id = ?1";
    RECURRING(r);
    if (recurring_get(db, id, &r, err) < 0)
        return -1;
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, id);
    return stmt_run(s, err) < 0 ? -1 : spec_release(db, r.spec_hash, err);
}

int recurring_enable(struct db *db, const char *id, bool enabled, bool skip_missed, int64_t now_ns, struct err *err)
{
    RECURRING(r);
    if (recurring_get(db, id, &r, err) < 0)
        return -1;
    r.enabled = enabled;
    r.updated_ns = now_ns;
    int64_t second = now_ns / NS_PER_S * NS_PER_S;
    if (skip_missed && r.trigger != TRIGGER_ONCE && r.last_ns < second)
        r.last_ns = second;
    return recurring_put(db, &r, err);
}

int recurring_disable_all(struct db *db, const char *experiment_id, int64_t now_ns, struct err *err)
{
    static const char SQL[] = "UPDATE recurring_runs SET enabled = 0, updated_at = ?2 WHERE experiment_id = ?1 AND enabled";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, experiment_id);
    stmt_bind_i64(s, 2, now_ns);
    return stmt_run(s, err);
}

int recurring_enabled_ids(struct db *db, struct strlist *ids, struct err *err)
{
    static const char SQL[] = "SELECT recurring_run_id FROM recurring_runs WHERE enabled";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    return stmt_texts(s, ids, err);
}

int recurring_active(struct db *db, const char *id, int64_t *n, struct err *err)
{
    static const char SQL[] =
        "SELECT count(*) FROM runs WHERE recurring_run_id = ?1 AND recurring_run_id <> '' AND state NOT IN (3, 4, 5, 7)";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, id);
    if (stmt_step(s, err) < 0)
        return -1;
    *n = stmt_i64(s, 0);
    return 0;
}

int recurring_set_error(struct db *db, const char *id, int code, const char *message, struct err *err)
{
    static const char SQL[] = "UPDATE recurring_runs SET error_code = ?2, error_message = ?3 WHERE recurring_run_id = ?1";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, id);
    stmt_bind_i64(s, 2, code);
    stmt_bind_text(s, 3, message);
    return stmt_run(s, err);
}

/* ---- starting a slot -------------------------------------------------------------------------------------------- */

static char *or_null(const char *s) { return str_empty(s) ? NULL : xstrdup(s); }

static void fill_run(const struct recurring *r, int64_t index, int64_t slot_ns, const char *spec_hash, const char *version_id,
                     const char *pipeline_name, const char *account, struct run *run)
{
    char id[UUID_TEXT];
    AUTOFREE char *stem = xasprintf("%s-%lld", r->name, (long long)index);
    run->display_name = xasprintf("%s-%u", stem, fnv32a(stem));
    AUTOFREE char *what = xasprintf("%s/%s", r->id, run->display_name);
    run->run_id = xstrdup(uuid5(RUN_NAME_SPACE, what, id));
    run->experiment_id = xstrdup(r->experiment_id);
    run->ns = xstrdup(r->ns);
    run->pipeline_id = xstrdup(r->pipeline_id);
    run->pipeline_version_id = xstrdup(version_id);
    run->pipeline_name = xstrdup(pipeline_name);
    run->spec_hash = xstrdup(spec_hash);
    run->inline_spec = r->inline_spec;
    run->parameters = or_null(r->parameters);
    run->pipeline_root_given = or_null(r->pipeline_root);
    run->service_account = xstrdup(str_empty(r->service_account) ? account : r->service_account);
    run->plugins_input = or_null(r->plugins_input);
    run->recurring_run_id = xstrdup(r->id);
    run->recurring_index = index;
    run->scheduled_ns = slot_ns;
}

/* Somebody may have run this slot already, under another number (a trigger was edited): then it is only passed over. */
static int slot_taken(struct db *db, const char *id, int64_t slot_ns, struct err *err)
{
    static const char SQL[] = "SELECT 1 FROM runs WHERE recurring_run_id = ?1 AND recurring_run_id <> '' AND scheduled_at = ?2";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, id);
    stmt_bind_i64(s, 2, slot_ns);
    return stmt_step(s, err);
}

static int move_on(struct db *db, const char *id, int64_t slot_ns, int64_t index, struct err *err)
{
    static const char SQL[] = "UPDATE recurring_runs SET last_at = ?2, last_index = ?3, error_code = 0, error_message = NULL"
                              " WHERE recurring_run_id = ?1";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, id);
    stmt_bind_i64(s, 2, slot_ns);
    stmt_bind_i64(s, 3, index);
    return stmt_run(s, err);
}

int recurring_start(struct db *db, const struct recurring *r, int64_t slot_s, const char *spec_hash, const char *version_id,
                    const char *pipeline_name, const char *account, const struct clock *clock, char **run_id, struct err *err)
{
    RECURRING(now);
    RUN(run);
    int64_t active, slot_ns = slot_s * NS_PER_S;
    *run_id = NULL;
    if (recurring_get(db, r->id, &now, err) < 0 || recurring_active(db, r->id, &active, err) < 0)
        return -1;
    if (!now.enabled || now.last_ns != r->last_ns || now.last_index != r->last_index || now.updated_ns != r->updated_ns ||
        active >= now.max_concurrency)
        return 0;
    int taken = slot_taken(db, r->id, slot_ns, err);
    if (taken != 0)
        return taken < 0 ? -1 : move_on(db, r->id, slot_ns, now.last_index, err);
    fill_run(&now, now.last_index + 1, slot_ns, spec_hash, version_id, pipeline_name, account, &run);
    ERR(gone); /* a recurring run outlives its experiment */
    if (experiment_touch(db, run.experiment_id, clock->wall_ns(clock), &gone) < 0 && gone.code != ERR_NOT_FOUND)
        return err_move(err, &gone);
    if (run_insert(db, &run, clock, err) < 0)
        return err_wrap(err, "starting slot %lld of recurring run %s", (long long)slot_s, r->id);
    FAULT("recurring.slot.inside");
    if (move_on(db, r->id, slot_ns, now.last_index + 1, err) < 0)
        return -1;
    *run_id = TAKE(run.run_id);
    return 0;
}
