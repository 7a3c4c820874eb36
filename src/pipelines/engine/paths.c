/* Names of things: pods, directories, URIs, paths inside containers. All derive from stored fields, never from chance. */
#include <stdlib.h>

#include "base/fs.h"
#include "pipelines/engine/live.h"
#include "pipelines/store/hash.h"

/* Run id, path, retry of the run and attempt make the name; the readable part is for people. */
void pod_name_of(const struct inst *i, char out[64])
{
    const struct run *r = &i->live->run;
    char hash[HASH_TEXT];
    AUTOFREE char *id = xasprintf("%s %s %lld %d", r->run_id, i->row.path, (long long)r->generation, i->row.attempt);
    sha256_hex(id, strlen(id), hash);
    char task[64];
    size_t n = 0, room = 63 - 1 - 8 - 1;
    size_t run_len = strnlen(r->name, 40);
    room = run_len + 1 < room ? room - run_len - 1 : 0;
    for (const char *p = i->row.name; *p && n < room && n < sizeof task - 1; p++) {
        char c = *p;
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (word || (n > 0 && task[n - 1] != '-'))
            task[n++] = word ? c : '-';
    }
    while (n > 0 && task[n - 1] == '-')
        n--;
    task[n] = 0;
    AUTOFREE char *name = xasprintf("%.40s%s%s-%.8s", r->name, n ? "-" : "", task, hash);
    ASSERT(strlen(name) < 64);
    strcpy(out, name);
}

/* Of one generation of the run: what an earlier one left may be removed while the next one goes. */
char *run_dir(const struct live *l)
{
    return xasprintf("%s/engine/%s.%lld", l->e->cfg.data_dir, l->run.run_id, (long long)l->run.generation);
}

char *task_dir(const struct inst *i)
{
    AUTOFREE char *run = run_dir(i->live);
    return fs_join(run, i->row.task_id);
}

char *attempt_dir(const struct inst *i)
{
    AUTOFREE char *task = task_dir(i);
    return xasprintf("%s/%d", task, i->row.attempt);
}

/* The four schemes that every released SDK maps to a path. */
char *local_path(const char *uri)
{
    static const char *const map[][2] = {{"gs://", "/gcs/"}, {"minio://", "/minio/"}, {"s3://", "/s3/"}};
    for (size_t k = 0; k < ARRAY_LEN(map); k++)
        if (str_starts(uri, map[k][0]))
            return xasprintf("%s%s", map[k][1], uri + strlen(map[k][0]));
    if (!str_starts(uri, "oci://"))
        return NULL;
    char *image = xstrdup(uri + strlen("oci://"));
    for (char *p = image; *p; p++)
        if (*p == '/')
            *p = '_';
    char *path = xasprintf("/oci/%s/models", image);
    free(image);
    return path;
}

char *host_path(const struct live *l, const char *uri, bool create, struct err *err)
{
    AUTOFREE char *scheme = NULL;
    AUTOFREE char *bucket = NULL;
    AUTOFREE char *key = NULL;
    if (!live_is_mounted(l, uri) || blob_uri_split(uri, &scheme, &bucket, &key, err) < 0)
        return NULL;
    return blob_as_path(l->e->cfg.blobs, NULL, bucket, key, create, err);
}

/* A custom path is where the producer left the bytes. Its consumers find them by the URI, as their SDK does, which knows no
 * custom path of an input; and two inputs may come with the same one. */
char *artifact_path(const struct art *a)
{
    char *path = local_path(a->a.uri);
    if (!path || !jv_bool(jv_get(json_root(a->metadata), ART_IN_WORKSPACE), false))
        return path;
    char *in = xasprintf(WORKSPACE_PATH "/.artifacts%s", path);
    free(path);
    return in;
}

/* The root may carry a query string (endpoint, region); URIs of artifacts do not. */
static char *task_root(const struct inst *i)
{
    const struct run *r = &i->live->run;
    const char *root = r->pipeline_root ? r->pipeline_root : "";
    size_t n = strcspn(root, "?");
    while (n > 0 && root[n - 1] == '/')
        n--;
    return xasprintf("%.*s/%s/%s/%s/%s", (int)n, root, r->pipeline_name, r->run_id, i->row.name, i->row.task_id);
}

char *output_uri(const struct inst *i, const char *key)
{
    AUTOFREE char *root = task_root(i);
    return str_empty(key) ? xstrdup(root) : xasprintf("%s/%s", root, key);
}

char *executor_output_file(const struct inst *i)
{
    AUTOFREE char *root = task_root(i);
    AUTOFREE char *local = local_path(root);
    return local ? xasprintf("%s/output_metadata.json", local) : xstrdup("/tmp/kfp_outputs/output_metadata.json");
}

/* A retried run makes its tasks' attempts anew: the generation tells them apart. */
char *attempt_uri(const struct inst *i, const char *name)
{
    AUTOFREE char *root = task_root(i);
    return xasprintf("%s/.tidemill/%lld-%d/%s", root, (long long)i->live->run.generation, i->row.attempt, name);
}

char *log_uri(const struct inst *i)
{
    AUTOFREE char *root = task_root(i);
    return inst_retry(i) ? xasprintf("%s/executor-logs-%d", root, i->row.attempt) : xasprintf("%s/executor-logs", root);
}
