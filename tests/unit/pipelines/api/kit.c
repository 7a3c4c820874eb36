#include "kit.h"

#include <stdarg.h>

#include "base/fs.h"
#include "base/str.h"
#include "base/thread.h"
#include "metadata/schema.h"
#include "pipelines/schedule/schedule.h"

const char HELLO_IR[] =
    "{\"pipelineInfo\":{\"name\":\"hello\"},\"schemaVersion\":\"2.1.0\",\"sdkVersion\":\"kfp-2.17.0\","
    "\"components\":{\"comp-say\":{\"executorLabel\":\"exec-say\"}},"
    "\"deploymentSpec\":{\"executors\":{\"exec-say\":{\"container\":{\"image\":\"busybox\",\"command\":[\"true\"]}}}},"
    "\"root\":{\"dag\":{\"tasks\":{\"say\":{\"componentRef\":{\"name\":\"comp-say\"},\"taskInfo\":{\"name\":\"say\"}}}},"
    "\"inputDefinitions\":{\"parameters\":{\"n\":{\"parameterType\":\"NUMBER_INTEGER\",\"isOptional\":true}}}}}";

struct ask {
    struct kit *k;
    const char *id, *user;
    bool artifacts;
};

static int terminate_job(struct db *db, void *arg, struct err *err)
{
    const struct ask *a = arg;
    bool changed;
    return run_terminate(db, a->id, a->user, a->k->clock.clock.wall_ns(&a->k->clock.clock), &changed, err);
}
static int retry_job(struct db *db, void *arg, struct err *err)
{
    const struct ask *a = arg;
    return run_retry(db, a->id, a->k->clock.clock.wall_ns(&a->k->clock.clock), err);
}
static int remove_job(struct db *db, void *arg, struct err *err)
{
    const struct ask *a = arg;
    return a->artifacts && run_trash(db, a->id, err) < 0 ? -1 : run_delete(db, a->id, err);
}

static void notify(void *self, const char *run_id)
{
    struct kit *k = self;
    LOCK_GUARD(&k->lock);
    free(k->notified);
    k->notified = xstrdup(run_id);
}
static int terminate(void *self, const struct ctx *ctx, const char *id, const char *user, struct err *err)
{
    struct ask a = {self, id, user};
    if (a.k->fails != ERR_OK)
        return err_set(err, a.k->fails, "the reason");
    return db_writer_run(a.k->store.writer, ctx, terminate_job, &a, err);
}
static int retry(void *self, const struct ctx *ctx, const char *id, struct err *err)
{
    struct ask a = {self, id, ""};
    return db_writer_run(a.k->store.writer, ctx, retry_job, &a, err);
}
static int drop(void *self, const struct ctx *ctx, const char *id, bool artifacts, struct err *err)
{
    struct ask a = {self, id, "", artifacts};
    return db_writer_run(a.k->store.writer, ctx, remove_job, &a, err);
}

static void must(bool good, const struct err *e)
{
    if (!good)
        fail_msg("%s", err_text(e));
}

/* What is in s3 lies in a directory of its own here. */
static int open_store(void *self, const struct ctx *ctx, const struct run *run, const char *uri, struct blob_store **out,
                      struct err *err)
{
    struct kit *k = self;
    *out = NULL;
    if (!str_starts(uri, "s3://"))
        return str_starts(uri, "minio://") ? 0 : err_set(err, ERR_UNIMPLEMENTED, "%s is nowhere", uri);
    AUTOFREE char *dir = fs_join(k->dir, "elsewhere");
    *out = blob_store_dir(dir, err);
    return *out ? 0 : -1;
}

static void start_server(struct kit *k)
{
    ERR(e);
    const struct mount mounts[] = {
        {.prefix = "/", .api = pipelines_api_http(k->api)},
        {.prefix = "/pipeline", .strip = true, .api = pipelines_api_http(k->api)},
    };
    const struct listener_config listen = {.address = "127.0.0.1:0", .mounts = mounts, .n_mounts = 2, .flag = "--listen"};
    k->server = http_server_new(NULL, &e);
    must(k->server && http_server_listen(k->server, &listen, &k->port, &e) == 0 && http_server_start(k->server, &e) == 0, &e);
}

struct kit *kit_new(const struct pipelines_url_rules *urls)
{
    ERR(e);
    struct kit *k = xcalloc(1, sizeof *k);
    pthread_mutex_init(&k->lock, NULL);
    k->dir = xstrdup("/tmp/tm-api-XXXXXX");
    assert_non_null(mkdtemp(k->dir));
    AUTOFREE char *path = fs_join(k->dir, "tidemill.db");
    struct db *db = db_open(path, tidemill_migrations, n_tidemill_migrations, &e);
    must(db != NULL, &e);
    clock_manual_init(&k->clock, 1764072000LL * NS_PER_S);
    struct db_touched *touched = db_touched_new("runs");
    db_watch_touched(db, touched);
    k->store = (struct store){.touched = touched,
                              .writer = db_writer_new(db, "test-writer"),
                              .readers = db_readers_new(path, 4),
                              .clock = &k->clock.clock,
                              .changes = changes_new()};
    AUTOFREE char *artifacts = fs_join(k->dir, "artifacts");
    k->blobs = blob_store_dir(artifacts, &e);
    must(k->blobs != NULL, &e);
    const struct pipelines_api_config cfg = {
        .store = &k->store,
        .blobs = k->blobs,
        .hooks = {.self = k, .notify = notify, .terminate = terminate, .retry = retry, .remove = drop, .open_store = open_store},
        .matches_from = 1, /* lists of few runs go the way of long ones */
        .urls = urls ? *urls : (struct pipelines_url_rules){0},
    };
    k->api = pipelines_api_new(&cfg, &e);
    must(k->api != NULL, &e);
    const struct http_client_config client = {0};
    k->client = http_client_new(&client, &e);
    must(k->client != NULL, &e);
    start_server(k);
    return k;
}

static void started(void *self, const char *run_id) {}

struct schedule *kit_schedule(struct kit *k)
{
    ERR(e);
    const struct schedule_config cfg = {.store = &k->store, .self = k, .started = started, .base_delay_ns = NS_PER_MS};
    k->schedule = schedule_start(&cfg, &e);
    must(k->schedule != NULL, &e);
    return k->schedule;
}

void kit_schedule_stop(struct kit *k)
{
    if (k->schedule)
        schedule_stop(k->schedule);
    k->schedule = NULL;
}

void kit_free(struct kit *k)
{
    kit_schedule_stop(k);
    http_client_free(k->client);
    http_server_stop(k->server, 1000);
    pipelines_api_free(k->api);
    db_readers_free(k->store.readers);
    db_writer_stop(k->store.writer);
    db_touched_free(k->store.touched);
    changes_free(k->store.changes);
    blob_store_free(k->blobs);
    fs_rm_rf(k->dir, NULL);
    pthread_mutex_destroy(&k->lock);
    free(k->notified);
    free(k->dir);
    free(k);
}

int kit_setup(void **state)
{
    *state = kit_new(NULL);
    return 0;
}

int kit_teardown(void **state)
{
    kit_free(*state);
    return 0;
}

struct json *kit_send(struct kit *k, enum http_method method, const char *path, const char *content_type, const void *body,
                      size_t n, int status)
{
    ERR(e);
    struct ctx ctx = ctx_background();
    AUTOFREE char *url = xasprintf("http://127.0.0.1:%d%s", k->port, path);
    const struct http_header header = {"content-type", content_type};
    const struct http_call call = {.method = method, .url = url, .headers = &header, .n_headers = 1, .body = body, .body_len = n};
    struct http_answer a = {0};
    must(http_fetch(k->client, &ctx, &call, &a, &e) == 0, &e);
    if (a.status != status)
        fail_msg("%s: want %d, got %d: %s", path, status, a.status, buf_str(&a.body));
    struct json *d = json_parse(buf_str(&a.body), a.body.len, NULL, &e);
    must(d != NULL, &e);
    http_answer_free(&a);
    return d;
}

struct json *kit_call(struct kit *k, enum http_method method, const char *path, const char *body, int status)
{
    return kit_send(k, method, path, "application/json", body, body ? strlen(body) : 0, status);
}

struct json *kit_upload(struct kit *k, const char *endpoint, const char *query, const char *file_name, const void *p, size_t n,
                        int status)
{
    BUF(b);
    buf_addf(&b, "--mark\r\nContent-Disposition: form-data; name=\"uploadfile\"; filename=\"%s\"\r\n\r\n", file_name);
    buf_add(&b, p, n);
    buf_adds(&b, "\r\n--mark--\r\n");
    AUTOFREE char *path = xasprintf("/apis/v2beta1/pipelines/%s?%s", endpoint, query);
    return kit_send(k, HTTP_POST, path, "multipart/form-data; boundary=mark", b.data, b.len, status);
}

static int sql_job(struct db *db, void *sql, struct err *err) { return db_exec(db, sql, err); }

void kit_sql(struct kit *k, const char *sql)
{
    ERR(e);
    struct ctx ctx = ctx_background();
    AUTOFREE char *copy = xstrdup(sql);
    must(db_writer_run(k->store.writer, &ctx, sql_job, copy, &e) == 0, &e);
}

char *kit_get(struct json *d, const char *member)
{
    const char *s = jv_str(jv_get(json_root(d), member));
    if (!s)
        fail_msg("the answer has no %s", member);
    return xstrdup(s);
}
