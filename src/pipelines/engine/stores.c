/* stores.c - where a run's artifacts lie: in the store that is mounted, or in one that the step's agent reaches itself.
 *
 * What the ConfigMap kfp-launcher says when a run starts is kept with the run and counts until its end. Keys are read by the pod
 * (a Secret is mounted, the agent reads its files); the engine reads them only for what it carries itself. Source:
 * pipelines-runtime spec 15. */
#include <stdlib.h>

#include "base/fs.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "pipelines/engine/live.h"
#include "pipelines/engine/providers.h"

#define CONFIG_MAP   "kfp-launcher"
#define DEFAULT_ROOT "minio://mlpipeline/v2/artifacts"
#define PROVIDERS    "providers" /* member of run.stores, and key of the ConfigMap */
#define SECRETS_PATH "/tidemill/stores"

static const char *ns_of(const struct live *l) { return str_empty(l->run.ns) ? "kubeflow" : l->run.ns; }

static bool is_object_store(const char *uri)
{
    return str_starts(uri, "s3://") || str_starts(uri, "gs://") || str_starts(uri, "minio://");
}

/* ---- when a run starts ---------------------------------------------------------------------------------------- */

/* The ConfigMap's data, an empty document when there is none. */
static int read_config(struct live *l, const struct ctx *ctx, struct json **out, struct err *err)
{
    ERR(e);
    *out = NULL;
    if (!l->e->cfg.kube)
        return 0;
    JSON_REF(map) = kube_get(l->e->cfg.kube, ctx, &KUBE_CONFIGMAPS, ns_of(l), CONFIG_MAP, NULL, &e);
    if (map) {
        *out = json_from(config_map_data(json_root(map)) ? config_map_data(json_root(map)) : json_root(map));
        return 0;
    }
    return e.code == ERR_NOT_FOUND ? 0 : err_move(err, &e);
}

/* Steps write below the embedded store's directory; that a name leads out of it is for the store to refuse, as of every name. */
char *live_embedded_uri(const struct live *l, const char *uri, struct err *err)
{
    const struct blob_store *blobs = l->e->cfg.blobs;
    const char *dir = blobs ? blob_root(blobs) : NULL, *path = uri + strlen(FILE_SCHEME);
    size_t n = dir ? strlen(dir) : 0;
    if (!dir) {
        err_set(err, ERR_INVALID, "%s: file:// names a directory that pods share with this server, and they share none", uri);
        return NULL;
    }
    if (strncmp(path, dir, n) != 0 || path[n] != '/' || !path[n + strspn(path + n, "/")]) {
        err_set(err, ERR_INVALID, "%s: a file:// URI must be of a directory below %s, where this server keeps artifacts", uri,
                dir);
        return NULL;
    }
    AUTOFREE char *own = xasprintf("minio://%s", path + n + strspn(path + n, "/"));
    AUTOFREE char *scheme = NULL, *bucket = NULL, *key = NULL;
    if (strchr(own, '?')) {
        err_set(err, ERR_INVALID, "%s: file:// takes no query string", uri);
        return NULL;
    }
    if (blob_uri_split(own, &scheme, &bucket, &key, err) < 0) {
        err_wrap(err, "%s", uri);
        return NULL;
    }
    if (!live_is_mounted(l, own)) {
        err_set(err, ERR_INVALID,
                "%s: steps know a file:// URI as minio://, which ConfigMap " CONFIG_MAP " says is somewhere else", uri);
        return NULL;
    }
    return TAKE(own);
}

static const char *pick_root(const struct live *l, jval *config)
{
    const struct engine_config *cfg = &l->e->cfg;
    const char *root = l->run.pipeline_root_given;
    if (str_empty(root) && !cfg->ignore_spec_root)
        root = l->ir->default_root;
    if (str_empty(root))
        root = jv_str(jv_get(config, "defaultPipelineRoot"));
    if (str_empty(root))
        root = cfg->default_root;
    return str_empty(root) ? DEFAULT_ROOT : root;
}

/* Whether the root can be used is told at once, not by the first step. */
static int check_root(struct live *l, const char *root, struct err *err)
{
    AUTOFREE char *scheme = NULL, *bucket = NULL, *key = NULL;
    struct provider_choice c;
    if (!is_object_store(root))
        return err_set(err, ERR_INVALID,
                       "pipeline root %s: unsupported Cloud bucket; gs://, s3://, minio:// and file:// are served", root);
    if (blob_uri_split(root, &scheme, &bucket, &key, err) < 0)
        return err_wrap(err, "pipeline root");
    if (live_is_mounted(l, root))
        return 0;
    if (providers_pick(json_root(l->providers), scheme, bucket, key, blob_uri_query(root), &c, err) < 0)
        return err_wrap(err, "pipeline root %s", root);
    provider_choice_clear(&c);
    return 0;
}

/* Keeps the configuration, so that a change of it does not reach a run that has started. */
static void keep_providers(struct live *l, struct json *providers)
{
    json_unref(l->providers);
    l->providers = providers;
    free(TAKE(l->run.stores));
    if (!providers || !jv_len(json_root(providers)))
        return;
    JM_NEW(m);
    jmval *o = jm_obj(m);
    jm_set_root(m, o);
    jm_put(m, o, PROVIDERS, jm_val(m, json_root(providers)));
    BUF(b);
    jmv_write(o, JW_COMPACT, &b);
    l->run.stores = buf_steal(&b, NULL);
}

int live_fix_stores(struct live *l, const struct ctx *ctx, struct err *err)
{
    JSON_REF(config) = NULL;
    if (read_config(l, ctx, &config, err) < 0)
        return err_wrap(err, "reading ConfigMap %s/%s", ns_of(l), CONFIG_MAP);
    jval *text = jv_get(json_root(config), PROVIDERS);
    struct json *providers = jv_len(text) ? providers_parse(jv_str(text), jv_len(text), err) : NULL;
    if (!providers && jv_len(text))
        return err_wrap(err, "ConfigMap %s/%s", ns_of(l), CONFIG_MAP);
    keep_providers(l, providers);
    const char *root = pick_root(l, json_root(config));
    if (l->e->cfg.apart && jv_get(l->ir->pipeline_config, "workspace"))
        return err_set(err, ERR_INVALID,
                       "the pipeline wants a workspace, and the server shares no directory with pods: give it one (--shared)");
    AUTOFREE char *own = str_starts(root, FILE_SCHEME) ? live_embedded_uri(l, root, err) : NULL;
    if (str_starts(root, FILE_SCHEME) && !own)
        return err_wrap(err, "pipeline root");
    if (own)
        root = own;
    if (check_root(l, root, err) < 0)
        return -1;
    free(l->run.pipeline_root);
    l->run.pipeline_root = xstrdup(root);
    return 0;
}

int live_load_stores(struct live *l, struct err *err)
{
    if (!l->run.stores)
        return 0;
    JSON_REF(d) = json_parse_str(l->run.stores, err);
    if (!d)
        return err_wrap(err, "the object stores of the run");
    l->providers = json_from(jv_get(json_root(d), PROVIDERS));
    return 0;
}

/* ---- where a URI is ------------------------------------------------------------------------------------------- */

/* The root's query string speaks for what lies below the root. */
static const char *query_for(const struct live *l, const char *uri)
{
    const char *root = l->run.pipeline_root ? l->run.pipeline_root : "", *own = blob_uri_query(uri);
    size_t n = strcspn(root, "?");
    if (*own)
        return own;
    while (n > 0 && root[n - 1] == '/')
        n--;
    return n > 0 && strncmp(uri, root, n) == 0 && strchr("/?", uri[n]) ? blob_uri_query(root) : "";
}

bool live_is_mounted(const struct live *l, const char *uri)
{
    return l->e->cfg.blobs && str_starts(uri, "minio://") && !providers_have(json_root(l->providers), "minio") &&
           !*query_for(l, uri);
}

static int choose(const struct live *l, const char *uri, struct provider_choice *c, struct err *err)
{
    AUTOFREE char *scheme = NULL, *bucket = NULL, *key = NULL;
    if (blob_uri_split(uri, &scheme, &bucket, &key, err) < 0)
        return -1;
    return providers_pick(json_root(l->providers), scheme, bucket, key, query_for(l, uri), c, err);
}

/* ---- for the agent -------------------------------------------------------------------------------------------- */

static char *key_file(const char *dir, const char *key) { return key ? fs_join(dir, key) : NULL; }

/* The number of the store in the attempt's task file; added, with its Secret, when it is not there yet. */
static int use_store(struct inst *i, struct execution *x, const char *uri, struct err *err)
{
    struct provider_choice c;
    if (choose(i->live, uri, &c, err) < 0)
        return -1;
    JM_NEW(m);
    jmval *o = blob_settings_json(m, &c.set);
    jm_set_root(m, o);
    JSON_REF(settings) = jm_freeze(m);
    AUTOFREE char *text = jv_text(json_root(settings), JW_COMPACT);
    AUTOFREE char *what = xasprintf("%s %s %s %s %s", text, c.secret ? c.secret : "", c.access_key_key ? c.access_key_key : "",
                                    c.secret_key_key ? c.secret_key_key : "", c.token_key ? c.token_key : "");
    int n = 0;
    while (n < (int)x->stores.n && !str_eq(x->stores.v[n], what))
        n++;
    if (n == (int)x->stores.n) {
        AUTOFREE char *dir = xasprintf(SECRETS_PATH "/%d", n);
        AUTOFREE char *access = c.secret ? key_file(dir, c.access_key_key) : NULL;
        AUTOFREE char *secret = c.secret ? key_file(dir, c.secret_key_key) : NULL;
        AUTOFREE char *token = c.secret ? key_file(dir, c.token_key) : NULL;
        strlist_add(&x->stores, what);
        launch_task_add_store(&x->task, json_root(settings), access, secret, token);
        if (c.secret) {
            x->secrets = xreallocarray(x->secrets, x->n_secrets + 1, sizeof *x->secrets);
            x->secrets[x->n_secrets++] = (struct task_secret){xstrdup(c.secret), xstrdup(dir)};
        }
    }
    provider_choice_clear(&c);
    return n;
}

int stores_bring(struct inst *i, struct execution *x, const struct art *a, struct err *err)
{
    AUTOFREE char *inside = artifact_path(a);
    if (!inside || !is_object_store(a->a.uri) || jv_bool(jv_get(json_root(a->metadata), ART_IN_WORKSPACE), false))
        return 0;
    for (size_t k = 0; k < x->task.n_downloads; k++)
        if (str_eq(x->task.downloads[k].path, inside))
            return 0;
    int n = use_store(i, x, a->a.uri, err);
    if (n < 0)
        return err_wrap(err, "input artifact %s", a->a.uri);
    AUTOFREE char *uri = xstrndup(a->a.uri, strcspn(a->a.uri, "?"));
    launch_task_add_download(&x->task, uri, inside, n);
    return 0;
}

int stores_send(struct inst *i, struct execution *x, struct err *err)
{
    AUTOFREE char *root = output_uri(i, "");
    bool apart = i->live->e->cfg.apart;
    if (live_is_mounted(i->live, root) || (x->task.n_artifacts == 0 && !x->task.log_path && !apart))
        return 0;
    int n = use_store(i, x, root, err);
    if (n < 0)
        return err_wrap(err, "outputs to %s", root);
    for (size_t k = 0; k < x->task.n_artifacts; k++) {
        struct launch_output *o = &x->task.artifacts[k];
        o->uri = output_uri(i, o->key);
        o->store = n;
    }
    if (x->task.log_path) {
        x->task.log_uri = log_uri(i);
        x->task.log_store = n;
    }
    if (apart) {
        x->task.result_uri = attempt_uri(i, LAUNCH_RESULT);
        x->task.result_store = n;
    }
    return 0;
}

/* ---- for what the engine carries itself ----------------------------------------------------------------------- */

static int secret_text(jval *secret, const char *name, const char *key, char **out, struct err *err)
{
    unsigned char *p = NULL;
    size_t n = 0;
    jval *v = jv_get(secret_data(secret), key);
    if (!key)
        return 0;
    if (!jv_str(v) || base64_decode(jv_str(v), jv_len(v), &p, &n) < 0)
        return err_set(err, ERR_INVALID, "Secret %s has no key %s", name, key);
    *out = xstrndup((const char *)p, n);
    free(p);
    return 0;
}

static int read_secret(struct live *l, const struct ctx *ctx, struct provider_choice *c, struct err *err)
{
    if (!c->secret)
        return 0;
    if (!l->e->cfg.kube)
        return err_set(err, ERR_INVALID, "there is no cluster to read Secret %s from", c->secret);
    JSON_REF(s) = kube_get(l->e->cfg.kube, ctx, &KUBE_SECRETS, ns_of(l), c->secret, NULL, err);
    if (!s)
        return err_wrap(err, "the keys of the object store");
    if (secret_text(json_root(s), c->secret, c->access_key_key, &c->set.access_key, err) < 0 ||
        secret_text(json_root(s), c->secret, c->secret_key_key, &c->set.secret_key, err) < 0)
        return -1;
    return secret_text(json_root(s), c->secret, c->token_key, &c->set.token, err);
}

/* NULL on error. */
static struct blob_store *open_store(struct live *l, const struct ctx *ctx, const char *uri, struct err *err)
{
    struct provider_choice c;
    if (choose(l, uri, &c, err) < 0)
        return NULL;
    struct blob_store *s = read_secret(l, ctx, &c, err) == 0 ? blob_store_open(&c.set, err) : NULL;
    provider_choice_clear(&c);
    return s;
}

int stores_download(struct live *l, const struct ctx *ctx, const char *uri, const char *root, const char *path, struct err *err)
{
    AUTOFREE char *scheme = NULL, *bucket = NULL, *key = NULL;
    if (!is_object_store(uri))
        return err_set(err, ERR_INVALID, "only what lies in an object store (gs://, s3://, minio://) can be downloaded, not %s",
                       uri);
    if (blob_uri_split(uri, &scheme, &bucket, &key, err) < 0)
        return -1;
    struct blob_store *s = open_store(l, ctx, uri, err);
    if (!s)
        return -1;
    int rc = blob_download_beneath(s, ctx, bucket, key, root, path, NULL, err);
    blob_store_free(s);
    return rc;
}

int stores_read(struct live *l, const struct ctx *ctx, const char *uri, size_t max, struct buf *out, struct err *err)
{
    AUTOFREE char *scheme = NULL, *bucket = NULL, *key = NULL;
    if (blob_uri_split(uri, &scheme, &bucket, &key, err) < 0)
        return -1;
    struct blob_store *s = open_store(l, ctx, uri, err);
    if (!s)
        return -1;
    int rc = blob_read(s, ctx, bucket, key, 0, -1, max, out, err);
    blob_store_free(s);
    return rc;
}

int stores_write(struct live *l, const struct ctx *ctx, const char *uri, const struct buf *text, struct err *err)
{
    AUTOFREE char *scheme = NULL, *bucket = NULL, *key = NULL;
    if (blob_uri_split(uri, &scheme, &bucket, &key, err) < 0)
        return -1;
    if (live_is_mounted(l, uri))
        return blob_write(l->e->cfg.blobs, ctx, bucket, key, text->data, text->len, err);
    struct blob_store *s = open_store(l, ctx, uri, err);
    if (!s)
        return -1;
    int rc = blob_write(s, ctx, bucket, key, text->data, text->len, err);
    blob_store_free(s);
    return rc;
}

/* ---- for the API ------------------------------------------------------------------------------------------------ */

int engine_open_store(struct engine *e, const struct ctx *ctx, const struct run *run, const char *uri, struct blob_store **out,
                      struct err *err)
{
    struct live l = {.e = e, .run = *run}; /* what this file looks at; the strings stay the caller's */
    *out = NULL;
    if (!is_object_store(uri))
        return err_set(err, ERR_UNIMPLEMENTED, "%s lies in no object store that is served here", uri);
    int rc = live_load_stores(&l, err);
    if (rc == 0 && !live_is_mounted(&l, uri)) {
        *out = open_store(&l, ctx, uri, err);
        rc = *out ? 0 : -1;
    }
    json_unref(l.providers);
    return rc;
}
