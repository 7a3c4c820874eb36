/* internal.h - what the files of the API know of each other. */
#ifndef TM_PIPELINES_API_INTERNAL_H
#define TM_PIPELINES_API_INTERNAL_H

#include <stdatomic.h>

#include "pipelines/api/api.h"
#include "pipelines/ir/ir.h"
#include "pipelines/store/catalog.h"

#define API_BASE "/apis/v2beta1"

enum {
    PACKAGE_MAX = 32 << 20, /* a pipeline file, packed or unpacked */
    DISPLAY_NAME_LETTERS_MAX = 255,
    PIPELINE_NAME_MAX = 128,
    VERSION_NAME_MAX = 127,
    EXPERIMENT_NAME_MAX = 128,
    NAMESPACE_MAX = 63,
};

struct pipelines_api {
    const struct store *store;
    struct blob_store *blobs; /* may be NULL */
    struct pipelines_hooks hooks;
    void *auth_self;
    int (*authenticate)(void *self, struct ctx *ctx, struct http_req *req, struct err *err);
    int (*authorize)(void *self, struct ctx *ctx, struct http_req *req, struct err *err);
    char *run_namespace, *default_service_account;
    struct pipelines_url_rules urls;
    char *url_domains;
    char *scratch_dir;
    bool delete_artifacts;         /* with their run, unless the request says otherwise */
    char *time_zone;               /* of cron expressions that name none */
    struct http_client *client;    /* for packages by URL */
    unsigned char signing_key[32]; /* of URLs of artifacts */
    struct watches *watches;       /* watch.c */
    struct matches *run_matches;   /* matches.h; NULL: the store tells no writes */
    _Atomic int uploads;           /* under way */
    _Atomic int64_t last_created_ns;
    struct http_api http;
};

/* A time for created_at: now, and later than any that was handed out before, so that what is created later sorts later. */
int64_t api_created_now(struct pipelines_api *api);
/* Runs a job on the writer. */
int api_write(struct pipelines_api *api, const struct ctx *ctx, db_job_fn *job, void *arg, struct err *err);

/* A file without a name for bytes on their way. -1 on error. */
int api_scratch_file(struct pipelines_api *api, struct err *err);

/* A reader's connection for the rest of a scope: READER(r, api, err); if (!r.db) return -1; */
struct reader {
    struct db_readers *pool;
    struct db *db;
};
static inline void reader_done(struct reader *r) { db_reader_put(r->pool, r->db); }
#define READER(name, api, err)                                                                                                   \
    CLEANUP(reader_done) struct reader name = {.pool = (api)->store->readers};                                                   \
    name.db = db_reader_get(name.pool, (err))

/* ---- errors (problem.c) --------------------------------------------------------------------------------------- */

/* Prepends what was being tried. The innermost text, before the first wrap, is kept for people as details[0].message. Returns -1.
 */
int api_wrap(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
void api_write_error(void *self, struct http_req *req, struct http_res *res, const struct err *err);

/* ---- the routes' handlers ------------------------------------------------------------------------------------- */

http_handler pipeline_create_h, pipeline_create_with_version_h, pipeline_get_h, pipeline_by_name_h, pipeline_list_h,
    pipeline_patch_h, pipeline_delete_h;
http_handler version_create_h, version_get_h, version_list_h, version_patch_h, version_delete_h;
http_handler upload_h, upload_version_h;
http_handler experiment_create_h, experiment_get_h, experiment_list_h, experiment_archive_h, experiment_unarchive_h,
    experiment_delete_h;
http_handler run_create_h, run_get_h, run_list_h, run_archive_h, run_unarchive_h, run_terminate_h, run_retry_h, run_delete_h;
http_handler recurring_create_h, recurring_get_h, recurring_list_h, recurring_patch_h, recurring_enable_h, recurring_disable_h,
    recurring_delete_h, recurring_next_h;
http_handler tasks_list_h, task_get_h, task_find_cached_h, artifacts_list_h, artifact_get_h, artifact_tasks_h,
    artifact_download_h, artifact_preview_h, artifact_signed_h, run_metrics_h, run_spec_h, run_watch_h;
http_handler run_log_h, artifact_read_h, run_artifacts_h;
http_handler healthz_h, healthz_v1_h, auth_v1_h, metrics_h, report_refused_h;

/* ---- query parameters (query.c): snake_case or camelCase ------------------------------------------------------ */

/* *out: the value, NULL when absent. ERR_BAD_REQUEST when given twice. */
int query_text(const struct http_req *req, const char *snake, const char **out, struct err *err);
int query_bool(const struct http_req *req, const char *snake, bool *out, struct err *err);
int query_i32(const struct http_req *req, const char *snake, int32_t *out, struct err *err);

/* ---- writing answers (out.c): members that are empty are left out --------------------------------------------- */

void out_str(struct jm *m, jmval *obj, const char *key, const char *v);
void out_i32(struct jm *m, jmval *obj, const char *key, int64_t v);
void out_time(struct jm *m, jmval *obj, const char *key, int64_t ns);            /* 0: the epoch */
void out_json(struct jm *m, jmval *obj, const char *key, const char *json_text); /* an object or array kept as text */
/* Sends the document. */
void out_send(struct http_res *res, struct jm *m);
void out_empty(struct http_res *res); /* {} */

/* ---- rules (rules.c): ERR_INVALID with upstream's words -------------------------------------------------------- */

size_t utf8_letters(const char *s);
int rule_display_name(const char *what, const char *name, struct err *err);
int rule_max_bytes(const char *field, const char *value, size_t max, struct err *err);
/* tags: an object of strings. *text gets its JSON text, NULL when it is empty. */
int rule_tags(jval *tags, char **text, struct err *err);

/* ---- streams of changes (watch.c) -------------------------------------------------------------------------------- */

struct watches *watches_new(const struct store *store);
void watches_free(struct watches *w); /* after the server was stopped */

/* ---- packages (package.c, archive.c) --------------------------------------------------------------------------- */

/* A checked pipeline: texts as stored. */
struct package {
    struct ir_pipeline *ir;
    char *spec, *platform; /* JSON; platform may be NULL */
};
void package_clear(struct package *p);
#define PACKAGE(name) CLEANUP(package_clear) struct package name = {0}
/* Checks the text of a pipeline file (YAML documents or JSON). */
int package_from_text(const char *text, size_t n, struct package *out, struct err *err);
/* Checks a pipeline_spec of a request: the IR itself, or {pipeline_spec, platform_spec}. */
int package_from_json(jval *spec, struct package *out, struct err *err);
/* From the database. */
int package_load(struct db *db, const char *hash, struct package *out, struct err *err);
/* Puts "pipeline_spec" with what is stored under hash. */
int package_out(struct db *db, const char *hash, struct jm *m, jmval *obj, struct err *err);
/* Where the pipeline of a run or a recurring run comes from: its spec when it was given inline, else a reference. */
struct origin {
    bool inline_spec;
    const char *spec_hash, *pipeline_id, *version_id;
};
int out_source(struct db *db, struct jm *m, jmval *obj, const struct origin *from, struct err *err);
/* Puts "runtime_config" unless there is nothing in it. */
void out_runtime_config(struct jm *m, jmval *obj, const char *parameters, const char *pipeline_root);
/* The text of an uploaded file: as it is when its name says yaml or json, else the right member of a zip or tar.gz. Appends to
 * out. */
int package_unpack(const char *file_name, const char *p, size_t n, struct buf *out, struct err *err);
/* Fetches a package; file_name is the last part of the URL's path (caller frees). */
int package_fetch(struct pipelines_api *api, const struct ctx *ctx, const char *url, struct buf *out, char **file_name,
                  struct err *err);

/* ---- shared steps ---------------------------------------------------------------------------------------------- */

/* The experiment that a list is asked for, NULL: none. ERR_NOT_FOUND. */
int scope_experiment(struct pipelines_api *api, const struct http_req *req, const char **id, struct err *err);

/* A pipeline and its first version, or one of them, to be stored in one transaction. */
struct catalog_job {
    struct pipeline *pipeline;        /* NULL: not inserted */
    struct pipeline_version *version; /* NULL: not inserted; spec_hash is filled */
    const struct package *package;
    const struct buf *source;
    const char *pipeline_taken, *version_taken; /* texts for a name that is taken; %s is the name */
};
void catalog_tell(struct pipelines_api *api, bool is_version, const char *id); /* it was made, changed or deleted */
int catalog_store(struct pipelines_api *api, const struct ctx *ctx, struct catalog_job *job, struct err *err);

#endif
