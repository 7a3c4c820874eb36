/* recurring.h - recurring runs as rows, and when their slots are.
 *
 * A slot is a time at which a run is due. `last` is the newest slot that was run; everything else follows from it, the trigger,
 * and now. A slot and the run that it makes are one transaction (recurring_start), so that a crash leaves either none or both;
 * the table of runs refuses a second run of a slot. Source: pipelines-api spec 7. */
#ifndef TM_PIPELINES_STORE_RECURRING_H
#define TM_PIPELINES_STORE_RECURRING_H

#include "pipelines/store/store.h"

enum recurring_trigger { TRIGGER_ONCE, TRIGGER_CRON, TRIGGER_PERIODIC };

struct recurring {
    char *id, *display_name, *description, *experiment_id, *ns;
    char *name;                              /* of its ScheduledWorkflow, and the start of its runs' names */
    char *pipeline_id, *pipeline_version_id; /* reference; without a version: whatever is latest when a run starts */
    bool inline_spec;
    char *spec_hash; /* row of pipeline_specs; "" for an open reference */
    char *parameters, *pipeline_root, *service_account, *plugins_input;
    int64_t max_concurrency;
    bool no_catchup, enabled;
    int trigger; /* enum recurring_trigger */
    char *cron, *time_zone;
    int64_t interval_s;
    int64_t start_ns, end_ns; /* 0: none */
    int64_t last_ns;          /* newest slot that was run; 0: none */
    int64_t last_index;       /* number of runs so far */
    int error_code;           /* why the slot that is due cannot be run; 0: nothing is wrong */
    char *error_message;
    int64_t created_ns, updated_ns;
    char *object_uid; /* of its ScheduledWorkflow; "" before it has one */
};
extern const struct row_table RECURRING_ROWS;
void recurring_clear(struct recurring *r);
#define RECURRING(name) CLEANUP(recurring_clear) struct recurring name = {0}

/* Gives the object's name when it has none. */
int recurring_insert(struct db *db, struct recurring *r, struct err *err);
int recurring_get(struct db *db, const char *id, struct recurring *out, struct err *err); /* ERR_NOT_FOUND */
int recurring_put(struct db *db, const struct recurring *r, struct err *err);             /* all but what is fixed */
int recurring_delete(struct db *db, const char *id, struct err *err); /* and its spec, when nothing else refers to it */
/* skip_missed: slots before now are taken for run. */
int recurring_enable(struct db *db, const char *id, bool enabled, bool skip_missed, int64_t now_ns, struct err *err);
int recurring_disable_all(struct db *db, const char *experiment_id, int64_t now_ns, struct err *err);
int recurring_enabled_ids(struct db *db, struct strlist *ids, struct err *err);
/* Runs of it that are not final. */
int recurring_active(struct db *db, const char *id, int64_t *n, struct err *err);

/* ---- slots ---------------------------------------------------------------------------------------------------- */

/* The slot that comes next, in Unix seconds; INT64_MAX: none any more. It may lie in the past. zone: the zone of cron expressions
 * that name none. ERR_INVALID when the cron expression cannot be read. */
int recurring_next(const struct recurring *r, const char *zone, int64_t now_s, int64_t *slot, struct err *err);
/* The next slots, at most max, as they would be run if nothing stood in the way. Returns their number, -1. */
int recurring_preview(const struct recurring *r, const char *zone, int64_t now_s, int64_t *slots, int max, struct err *err);

/* Inserts the run of a slot and moves the recurring run on, when it is still what it was: enabled, this slot not run yet, fewer
 * runs active than allowed. spec_hash, version_id: what to run; account: as whom, when the recurring run names nobody. *run_id is
 * the caller's to free, NULL when there was nothing to do. Inside a transaction. */
int recurring_start(struct db *db, const struct recurring *r, int64_t slot_s, const char *spec_hash, const char *version_id,
                    const char *pipeline_name, const char *account, const struct clock *clock, char **run_id, struct err *err);
/* Remembers why the due slot cannot be run; NULL clears. */
int recurring_set_error(struct db *db, const char *id, int code, const char *message, struct err *err);

#endif
