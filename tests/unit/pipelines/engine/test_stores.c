/* Object stores of runs: the rules of kfp-launcher, and what they make of a step. */
#include "fake_kube.h"
#include "kit.h"

#include "kube/kinds.h"
#include "pipelines/engine/providers.h"
#include <time.h>

#define SECRET(a, s) "{secretRef: {secretName: sec, accessKeyKey: " a ", secretKeyKey: " s "}}"
#define S3                                                                                                                       \
    "s3:\n"                                                                                                                      \
    "  default:\n"                                                                                                               \
    "    endpoint: s3.amazonaws.com\n    region: us-east-2\n    maxRetries: 3\n    credentials: " SECRET(                        \
        "A", "K") "\n"                                                                                                           \
                  "  Overrides:\n"                                                                                               \
                  "  - {bucketName: b, keyPrefix: a/b, endpoint: 'minio:9000', disableSSL: true, maxRetries: 7, credentials: "   \
                  "{fromEnv: true}}\n"                                                                                           \
                  "  - {bucketName: b, forcePathStyle: false, credentials: " SECRET("A2",                                        \
                                                                                    "K2") "}\n"                                  \
                                                                                          "  - {bucketName: naked, region: x}\n"

static void rules(void **state)
{
    static const struct {
        const char *config, *scheme, *bucket, *key, *query, *error;
        struct blob_settings set;
        const char *secret, *access;
    } cases[] = {
        {"", "s3", "b", "k", "", NULL, {.from_env = true}, NULL, NULL},
        {"", "gs", "b", "k", "", NULL, {.from_env = true}, NULL, NULL},
        {"",
         "minio",
         "b",
         "k",
         "",
         NULL,
         {.endpoint = (char *)"seaweedfs.kubeflow:9000", .region = (char *)"minio", .no_tls = true},
         "mlpipeline-minio-artifact",
         "accesskey"},
        {S3,
         "s3",
         "other",
         "k",
         "",
         NULL,
         {.endpoint = (char *)"s3.amazonaws.com", .region = (char *)"us-east-2", .max_retries = 3},
         "sec",
         "A"},
        {S3,
         "s3",
         "b",
         "a/b/c",
         "",
         NULL,
         {.endpoint = (char *)"minio:9000", .region = (char *)"us-east-2", .no_tls = true, .from_env = true, .max_retries = 7},
         NULL,
         NULL},
        {S3,
         "s3",
         "b",
         "a/bc",
         "",
         NULL,
         {.endpoint = (char *)"s3.amazonaws.com", .region = (char *)"us-east-2", .virtual_host = true, .max_retries = 3},
         "sec",
         "A2"},
        {S3, "s3", "naked", "k", "", "missing override credentials", {0}, NULL, NULL},
        {S3,
         "s3",
         "b",
         "k",
         "region=eu&endpoint=h%3A1&disableSSL=true",
         NULL,
         {.endpoint = (char *)"h:1", .region = (char *)"eu", .no_tls = true, .from_env = true},
         NULL,
         NULL},
        {S3, "s3", "b", "k", "anonymous=true", NULL, {.anonymous = true}, NULL, NULL},
        {S3, "s3", "b", "k", "disableSSL=perhaps", "true or false", {0}, NULL, NULL},
        {S3, "gs", "b", "k", "", NULL, {.from_env = true}, NULL, NULL},
        {S3, "ftp", "b", "k", "", "unsupported Cloud bucket", {0}, NULL, NULL},
        {"s3: {default: {region: x}}",
         "s3",
         "b",
         "k",
         "",
         "invalid provider config: missing default credentials",
         {0},
         NULL,
         NULL},
        {"s3: {Overrides: []}", "s3", "b", "k", "", "missing default credentials", {0}, NULL, NULL},
        {"s3: {default: {credentials: {secretRef: {secretName: s}}}}", "s3", "b", "k", "", "accessKeyKey", {0}, NULL, NULL},
        {"s3: {default: {region: 7, credentials: {fromEnv: true}}}",
         "s3",
         "b",
         "k",
         "",
         "region must be a string",
         {0},
         NULL,
         NULL},
        {"gs: {default: {credentials: {secretRef: {secretName: s, tokenKey: t.json}}}}",
         "gs",
         "b",
         "k",
         "",
         NULL,
         {0},
         "s",
         NULL},
        {"gs: {default: {credentials: {fromEnv: 'true', secretRef: {secretName: s, tokenKey: t}}}}",
         "gs",
         "b",
         "k",
         "",
         NULL,
         {.from_env = true},
         NULL,
         NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ERR(e);
        struct provider_choice c = {0};
        JSON_REF(d) = *cases[i].config ? providers_parse(cases[i].config, strlen(cases[i].config), &e) : NULL;
        int rc = providers_pick(json_root(d), cases[i].scheme, cases[i].bucket, cases[i].key, cases[i].query, &c, &e);
        if (cases[i].error ? rc == 0 || e.code != ERR_INVALID || !strstr(err_text(&e), cases[i].error) : rc < 0)
            fail_msg("%zu: %d %s", i, rc, err_text(&e));
        if (cases[i].error)
            continue;
        const struct blob_settings *w = &cases[i].set, *h = &c.set;
        if (!str_eq(w->endpoint, h->endpoint) || !str_eq(w->region, h->region) || w->no_tls != h->no_tls ||
            w->from_env != h->from_env || w->virtual_host != h->virtual_host || w->anonymous != h->anonymous ||
            w->max_retries != h->max_retries || !str_eq(cases[i].secret, c.secret) ||
            (cases[i].access && !str_eq(cases[i].access, c.access_key_key)))
            fail_msg("%zu: %s %s %s %d", i, h->endpoint, h->region, c.secret, h->max_retries);
        provider_choice_clear(&c);
    }
    static const char *const bad[] = {"[]", "text", "s3: {", "- a"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        ERR(e);
        assert_null(providers_parse(bad[i], strlen(bad[i]), &e));
        assert_int_equal(e.code, ERR_INVALID);
    }
}

#define COMPONENTS                                                                                                               \
    STEP "  make: {executorLabel: e, outputDefinitions: {artifacts: {d: {artifactType: {schemaTitle: system.Dataset}}}}}\n"      \
         "  use: {executorLabel: e, inputDefinitions: {artifacts: {d: {artifactType: {schemaTitle: system.Dataset}}}}}\n"
#define TASKS                                                                                                                    \
    RUNS("m", "make")                                                                                                            \
    END RUNS("u", "use") ", inputs: {artifacts: {d: {taskOutputArtifact: {producerTask: m, outputArtifactKey: d}}}}" END

/* A root elsewhere: outputs are sent, inputs brought, keys come from a Secret, and nothing is mounted. */
static void elsewhere(void **state)
{
    struct kit k;
    static const struct script scripts[] = {{.task = "m", .artifacts = true}};
    kit_open(&k, scripts, 1);
    struct fake_kube *f = fake_kube_new();
    json_unref(fake_put(f, &KUBE_CONFIGMAPS,
                        "{\"metadata\":{\"name\":\"kfp-launcher\",\"namespace\":\"kubeflow\"},\"data\":{\"defaultPipelineRoot\":"
                        "\"s3://bucket/root\",\"providers\":\"s3: {default: {endpoint: 'http://h:1', credentials: {secretRef: "
                        "{secretName: keys, accessKeyKey: a, secretKeyKey: s}}}}\"}}"));
    k.cfg.kube = fake_kube_face(f);
    kit_restart(&k);
    AUTOFREE char *y = kit_yaml("", TASKS, COMPONENTS);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    assert_int_equal(k.last_mounts.n, 0);
    JSON_REF(t) = json_parse_str(k.last_task, NULL);
    jval *down = jv_at(jv_get(json_root(t), "downloads"), 0), *store = jv_at(jv_get(json_root(t), "stores"), 0);
    assert_true(str_starts(jv_str(jv_get(down, "uri")), "s3://bucket/root/"));
    assert_true(str_starts(jv_str(jv_get(down, "path")), "/s3/bucket/root/"));
    assert_string_equal(jv_str(jv_get(jv_get(store, "settings"), "endpoint")), "http://h:1");
    assert_string_equal(jv_str(jv_get(store, "accessKeyFile")), "/tidemill/stores/0/a");
    assert_string_equal(k.last_secret, "keys /tidemill/stores/0");
    assert_null(strstr(k.last_task, "accessKey\":"));
    assert_int_equal(kit_count(&k, "SELECT count(*) FROM artifacts WHERE run_id = ?1 AND uri LIKE 's3://bucket/root/%'", id), 1);
    kit_close(&k);
    fake_kube_free(f);
}

/* What a run started with counts until its end; the root given with it wins. */
static void fixed_at_start(void **state)
{
    struct kit k;
    static const struct script scripts[] = {{.task = "m", .artifacts = true}};
    kit_open(&k, scripts, 1);
    struct fake_kube *f = fake_kube_new();
    json_unref(fake_put(
        f, &KUBE_CONFIGMAPS,
        "{\"metadata\":{\"name\":\"kfp-launcher\",\"namespace\":\"kubeflow\"},\"data\":{\"providers\":\"minio: {default: "
        "{endpoint: one, credentials: {fromEnv: true}}}\"}}"));
    k.cfg.kube = fake_kube_face(f);
    kit_restart(&k);
    AUTOFREE char *y = kit_yaml("", TASKS, COMPONENTS);
    AUTOFREE char *id = kit_submit(&k, y, NULL);
    kit_turn(&k, id);
    struct json *gone =
        fake_put(f, &KUBE_CONFIGMAPS,
                 "{\"metadata\":{\"name\":\"kfp-launcher\",\"namespace\":\"kubeflow\"},\"data\":{\"providers\":\"s3: {}\"}}");
    json_unref(gone);
    k.restart_every_turn = true;
    kit_drive(&k, id);
    assert_int_equal(kit_state(&k, id, NULL), RUN_SUCCEEDED);
    assert_non_null(strstr(k.last_task, "\"endpoint\":\"one\"")); /* minio:// is not the embedded store in this run */
    assert_int_equal(k.last_mounts.n, 0);
    kit_close(&k);
    fake_kube_free(f);
}

/* A configuration that cannot be used ends the run at once, with the reason. */
static void unusable(void **state)
{
    static const struct {
        const char *data, *message;
    } cases[] = {
        {"\"defaultPipelineRoot\":\"ftp://x/y\"", "unsupported Cloud bucket"},
        {"\"defaultPipelineRoot\":\"s3://b/y\",\"providers\":\"s3: {default: {region: x}}\"", "missing default credentials"},
        {"\"defaultPipelineRoot\":\"s3://b/y\",\"providers\":\"s3: [\"", "invalid provider config"},
        {"\"defaultPipelineRoot\":\"s3://b/y?colour=red\"", "colour"},
        {"\"defaultPipelineRoot\":\"file:///etc\"", "must be of a directory below"},
        {"\"defaultPipelineRoot\":\"azblob://b/y\"", "unsupported Cloud bucket"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kit k;
        static const struct script scripts[] = {{.task = "m"}};
        kit_open(&k, scripts, 1);
        struct fake_kube *f = fake_kube_new();
        json_unref(fake_put(f, &KUBE_CONFIGMAPS,
                            "{\"metadata\":{\"name\":\"kfp-launcher\",\"namespace\":\"kubeflow\"},\"data\":{%s}}",
                            cases[i].data));
        k.cfg.kube = fake_kube_face(f);
        kit_restart(&k);
        AUTOFREE char *y = kit_yaml("", TASKS, COMPONENTS);
        AUTOFREE char *id = kit_run(&k, y, NULL, RUN_FAILED);
        AUTOFREE char *message = NULL;
        kit_state(&k, id, &message);
        if (!strstr(message, cases[i].message))
            fail_msg("%zu: %s", i, message);
        assert_int_equal(k.starts, 0);
        kit_close(&k);
        fake_kube_free(f);
    }
}

/* A directory of this machine, when it lies in the store that steps see; they know it by the store's own name. */
static void files(void **state)
{
    static const struct {
        const char *below, *launcher; /* after the store's directory */
        const char *error;            /* NULL: it can be used */
    } cases[] = {
        {"/bucket/root", NULL, NULL},
        {"//bucket/root/", NULL, NULL},
        {"", NULL, "must be of a directory below"},
        {"/", NULL, "must be of a directory below"},
        {"-beside/bucket", NULL, "must be of a directory below"},
        {"/bucket/../../..", NULL, "bucket"},
        {"/../engine", NULL, ".."},
        {"/bucket/root?x=y", NULL, "no query string"},
        {"/bucket/root", "minio: {default: {endpoint: h, credentials: {fromEnv: true}}}", "is somewhere else"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kit k;
        static const struct script scripts[] = {{.task = "m", .artifacts = true}};
        kit_open(&k, scripts, 1);
        struct fake_kube *f = fake_kube_new();
        json_unref(fake_put(f, &KUBE_CONFIGMAPS,
                            "{\"metadata\":{\"name\":\"kfp-launcher\",\"namespace\":\"kubeflow\"},\"data\":{"
                            "\"defaultPipelineRoot\":\"file://%s%s\",\"providers\":\"%s\"}}",
                            blob_root(k.blobs), cases[i].below, cases[i].launcher ? cases[i].launcher : ""));
        k.cfg.kube = fake_kube_face(f);
        kit_restart(&k);
        AUTOFREE char *y = kit_yaml("", TASKS, COMPONENTS);
        AUTOFREE char *id = kit_run(&k, y, NULL, cases[i].error ? RUN_FAILED : RUN_SUCCEEDED);
        AUTOFREE char *message = NULL;
        kit_state(&k, id, &message);
        if (cases[i].error && !strstr(message, cases[i].error))
            fail_msg("%zu: %s", i, message);
        const char *sql = "SELECT count(*) FROM artifacts WHERE run_id = ?1 AND uri LIKE 'minio://bucket/root/%'";
        assert_int_equal(kit_count(&k, sql, id), cases[i].error ? 0 : 1);
        kit_close(&k);
        fake_kube_free(f);
    }
}

/* Each attempt's log is an artifact, also of attempts that failed; a name of its own each when there may be several. */
static void logs(void **state)
{
    struct kit k;
    static const struct script scripts[] = {
        {.task = "a", .fail_attempts = 2, .logs = true}, {.task = "b", .logs = true}, {.task = "c"}};
    kit_open(&k, scripts, 3);
    AUTOFREE char *y = kit_yaml("",
                                RUNS("a", "step") ", retryPolicy: {maxRetryCount: 3, backoffDuration: 1s}" END RUNS("b", "step")
                                    END RUNS("c", "step") END,
                                STEP);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    assert_int_equal(
        kit_count(&k, "SELECT count(*) FROM artifacts WHERE run_id = ?1 AND name LIKE 'executor-logs%' AND size = 7", id), 4);
    assert_int_equal(kit_count(&k, "SELECT count(*) FROM artifacts WHERE run_id = ?1 AND uri LIKE '%/executor-logs-2'", id), 1);
    assert_int_equal(kit_count(&k, "SELECT count(*) FROM artifacts WHERE run_id = ?1 AND uri LIKE '%/b/%/executor-logs'", id), 1);
    k.cfg.no_logs = true;
    kit_restart(&k);
    AUTOFREE char *none = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    assert_int_equal(kit_count(&k, "SELECT count(*) FROM artifacts WHERE run_id = ?1", none), 0);
    kit_close(&k);
}

/* An attempt without a result: what its pod said is stored, for the pod will go. */
static void rescued_logs(void **state)
{
    struct kit k;
    ERR(e);
    struct ctx ctx = ctx_background();
    static const struct script scripts[] = {{.task = "a", .fail_attempts = 1, .vanish = true}};
    kit_open(&k, scripts, 1);
    AUTOFREE char *y = kit_yaml("", RUNS("a", "step") ", retryPolicy: {maxRetryCount: 1, backoffDuration: 1s}" END, STEP);
    AUTOFREE char *id = kit_run(&k, y, NULL, RUN_SUCCEEDED);
    struct task_row t = kit_row(&k, id, "root/a");
    AUTOFREE char *key = xasprintf("v2/artifacts/test-pipeline/%s/a/%s/executor-logs-0", id, t.task_id);
    BUF(text);
    if (blob_read(k.blobs, &ctx, "mlpipeline", key, 0, -1, 100, &text, &e) < 0)
        fail_msg("%s", err_text(&e));
    assert_string_equal(buf_str(&text), "the last line\n");
    assert_int_equal(
        kit_count(&k, "SELECT count(*) FROM artifacts WHERE run_id = ?1 AND name = 'executor-logs-0' AND size = 14", id), 1);
    task_row_clear(&t);
    kit_close(&k);
}

TEST_GROUP(stores, cmocka_unit_test(logs), cmocka_unit_test(rescued_logs), cmocka_unit_test(rules), cmocka_unit_test(elsewhere),
           cmocka_unit_test(fixed_at_start), cmocka_unit_test(unusable), cmocka_unit_test(files))
