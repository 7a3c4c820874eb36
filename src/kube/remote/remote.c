/* remote.c - the verbs; see remote.h. */
#include "kube/remote/remote.h"

#include <stdlib.h>

#include "kube/remote/internal.h"

enum { STREAMS_FROM_MINOR = 34 };

#define CALL_TIMEOUT (60 * NS_PER_S)

static const struct kube_opts no_opts;

static struct remote *remote_of(struct kube *k) { return (struct remote *)k; }

/* ---- bodies and answers ---- */

static struct json *answer_json(struct remote *r, const struct ctx *ctx, const struct remote_call *call, struct err *err)
{
    struct http_answer a;
    if (remote_fetch(r, ctx, call, &a, err) < 0)
        return NULL;
    struct json *d = json_parse(buf_str(&a.body), a.body.len, NULL, err);
    if (!d) {
        if (err)
            err->code = ERR_UNAVAILABLE;
        err_wrap(err, "the answer of %s", r->access.server);
    }
    http_answer_free(&a);
    return d;
}

static void query_write(struct buf *path, const struct kube_opts *o)
{
    query_add(path, "fieldManager", o->field_manager);
    query_add(path, "fieldValidation", o->field_validation);
    query_add(path, "dryRun", o->dry_run ? "All" : NULL);
}

/* A body that names no kind is given that of the collection, as the embedded server does. */
static void write_body(const struct kube_res *res, const struct kube_opts *o, jval *obj, struct buf *out)
{
    bool bare = jv_is(obj, J_OBJECT) && str_empty(o->subresource) && !jv_get(obj, "kind") && !jv_get(obj, "apiVersion");
    if (!bare) {
        jv_write(obj, JW_COMPACT, out);
        return;
    }
    JM(m, obj);
    jm_put(m, jm_root(m), "apiVersion", jm_strf(m, "%s%s%s", res->group, *res->group ? "/" : "", res->version));
    jm_put(m, jm_root(m), "kind", jm_str(m, res->kind));
    jmv_write(jm_root(m), JW_COMPACT, out);
}

static int need_name(const struct kube_res *res, const char *ns, const char *name, struct err *err)
{
    if (str_empty(name))
        return err_set(err, ERR_BAD_REQUEST, "%s: a name is needed", res->plural);
    if (res->namespaced && str_empty(ns))
        return err_set(err, ERR_BAD_REQUEST, "%s are in a namespace, and none was given for \"%s\"", res->plural, name);
    return 0;
}

/* ---- verbs ---- */

static struct json *r_get(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns, const char *name,
                          const struct kube_opts *o, struct err *err)
{
    BUF(path);
    o = o ? o : &no_opts;
    if (need_name(res, ns, name, err) < 0 || remote_path(res, ns, name, o->subresource, &path, err) < 0)
        return NULL;
    query_add(&path, "resourceVersion", o->resource_version);
    return answer_json(remote_of(k), ctx, &(struct remote_call){.method = HTTP_GET, .path = path.data}, err);
}

static struct json *send_object(struct kube *k, const struct ctx *ctx, enum http_method method, const struct kube_res *res,
                                const char *ns, const char *name, jval *obj, const struct kube_opts *o, struct err *err)
{
    BUF(path);
    BUF(body);
    if (remote_path(res, ns, name, o->subresource, &path, err) < 0)
        return NULL;
    query_write(&path, o);
    write_body(res, o, obj, &body);
    struct remote_call call = {.method = method, .path = path.data, .content_type = "application/json", .body = &body};
    return answer_json(remote_of(k), ctx, &call, err);
}

static struct json *r_create(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns, const char *name,
                             jval *obj, const struct kube_opts *o, struct err *err)
{
    /* The namespace may stand in the object only. */
    if (res->namespaced && str_empty(ns))
        ns = jv_str(jv_path(obj, "metadata", "namespace", NULL));
    return send_object(k, ctx, HTTP_POST, res, ns, name, obj, o ? o : &no_opts, err);
}

static struct json *r_update(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns, const char *name,
                             jval *obj, const struct kube_opts *o, struct err *err)
{
    if (need_name(res, ns, name, err) < 0)
        return NULL;
    return send_object(k, ctx, HTTP_PUT, res, ns, name, obj, o ? o : &no_opts, err);
}

static struct json *r_patch(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns, const char *name,
                            enum kube_patch type, jval *patch, const struct kube_opts *o, struct err *err)
{
    static const char *const types[] = {
        [KUBE_PATCH_JSON] = "application/json-patch+json",
        [KUBE_PATCH_MERGE] = "application/merge-patch+json",
        [KUBE_PATCH_STRATEGIC] = "application/strategic-merge-patch+json",
        [KUBE_PATCH_APPLY] = "application/apply-patch+yaml", /* JSON is YAML */
    };
    BUF(path);
    BUF(body);
    o = o ? o : &no_opts;
    if (need_name(res, ns, name, err) < 0 || remote_path(res, ns, name, o->subresource, &path, err) < 0)
        return NULL;
    query_write(&path, o);
    query_add(&path, "force", o->force ? "true" : NULL);
    jv_write(patch, JW_COMPACT, &body);
    struct remote_call call = {.method = HTTP_PATCH, .path = path.data, .content_type = types[type], .body = &body};
    return answer_json(remote_of(k), ctx, &call, err);
}

/* ---- delete ---- */

static void delete_options(const struct kube_opts *o, struct buf *out)
{
    static const char *const policies[] = {
        [KUBE_BACKGROUND] = "Background", [KUBE_FOREGROUND] = "Foreground", [KUBE_ORPHAN] = "Orphan"};
    JM_NEW(m);
    jmval *d = jm_obj(m);
    jm_set_root(m, d);
    jm_put(m, d, "apiVersion", jm_str(m, "v1"));
    jm_put(m, d, "kind", jm_str(m, "DeleteOptions"));
    if (o->propagation != KUBE_DEFAULT_PROPAGATION)
        jm_put(m, d, "propagationPolicy", jm_str(m, policies[o->propagation]));
    if (o->grace_seconds)
        jm_put(m, d, "gracePeriodSeconds", jm_i64(m, *o->grace_seconds));
    if (o->precondition_uid)
        jm_put(m, jm_obj_at(m, d, "preconditions"), "uid", jm_str(m, o->precondition_uid));
    if (o->precondition_rv)
        jm_put(m, jm_obj_at(m, d, "preconditions"), "resourceVersion", jm_str(m, o->precondition_rv));
    if (o->dry_run)
        jm_push(jm_arr_at(m, d, "dryRun"), jm_str(m, "All"));
    jmv_write(d, JW_COMPACT, out);
}

static int r_del(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns, const char *name,
                 const struct kube_opts *o, struct json **out, struct err *err)
{
    BUF(path);
    BUF(body);
    o = o ? o : &no_opts;
    if (need_name(res, ns, name, err) < 0 || remote_path(res, ns, name, o->subresource, &path, err) < 0)
        return -1;
    delete_options(o, &body);
    struct remote_call call = {.method = HTTP_DELETE, .path = path.data, .content_type = "application/json", .body = &body};
    struct json *d = answer_json(remote_of(k), ctx, &call, err);
    if (out)
        *out = json_ref(d);
    json_unref(d);
    return d ? 0 : -1;
}

static int r_del_collection(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns,
                            const struct kube_opts *o, struct err *err)
{
    BUF(path);
    BUF(body);
    o = o ? o : &no_opts;
    if (remote_path(res, ns, NULL, NULL, &path, err) < 0)
        return -1;
    query_selection(&path, o);
    delete_options(o, &body);
    struct remote_call call = {.method = HTTP_DELETE, .path = path.data, .content_type = "application/json", .body = &body};
    JSON_REF(d) = answer_json(remote_of(k), ctx, &call, err);
    return d ? 0 : -1;
}

/* ---- list ---- */

/* "PodList" to "Pod". The list's own words are right for kinds that we do not know by name. */
static struct json *complete_item(jval *item, const char *api_version, const char *kind, size_t kind_len)
{
    if (jv_get(item, "kind") && jv_get(item, "apiVersion"))
        return json_from(item);
    JM_NEW(m);
    jmval *o = jm_obj(m);
    jm_set_root(m, o);
    jm_add(m, o, "kind", jm_strn(m, kind, kind_len));
    jm_add(m, o, "apiVersion", jm_str(m, api_version));
    struct jiter it = jv_iter(item);
    const char *key;
    jval *v;
    while (jv_next(&it, &key, &v))
        if (!str_eq(key, "kind") && !str_eq(key, "apiVersion"))
            jm_add(m, o, key, jm_val(m, v));
    return jm_freeze(m);
}

static char *copy_or_null(jval *v) { return str_empty(jv_str(v)) ? NULL : xstrdup(jv_str(v)); }

static int r_list(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns, const struct kube_opts *o,
                  struct kube_list *out, struct err *err)
{
    BUF(path);
    *out = (struct kube_list){0};
    if (remote_path(res, ns, NULL, NULL, &path, err) < 0)
        return -1;
    query_selection(&path, o ? o : &no_opts);
    const struct remote_call call = {
        .method = HTTP_GET,
        .path = path.data,
        .accept = o && o->metadata_only ? "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1" : NULL};
    JSON_REF(d) = answer_json(remote_of(k), ctx, &call, err);
    if (!d)
        return -1;
    jval *root = json_root(d), *items = jv_get(root, "items"), *meta = jv_get(root, "metadata");
    const char *kind = jv_str_or(jv_get(root, "kind"), ""), *version = jv_str_or(jv_get(root, "apiVersion"), "");
    if (!str_ends(kind, "List") || (jv_present(items) && !jv_is(items, J_ARRAY)))
        return err_set(err, ERR_UNAVAILABLE, "%s answered a list of %s with something else (%.60s)", kube_remote_server(k),
                       res->plural, kind);
    size_t n = jv_len(items);
    out->items = xcalloc(n + 1, sizeof *out->items);
    struct jiter it = jv_iter(items);
    jval *item;
    while (jv_next(&it, NULL, &item))
        out->items[out->n++] = complete_item(item, version, kind, strlen(kind) - strlen("List"));
    out->resource_version = xstrdup(jv_str_or(jv_get(meta, "resourceVersion"), ""));
    out->continue_token = copy_or_null(jv_get(meta, "continue"));
    return 0;
}

/* Servers from 1.34 on do; older ones may pass over the question and never say where the list ends. Asked once. */
static bool r_streams_lists(struct kube *k, const struct ctx *ctx)
{
    struct remote *r = remote_of(k);
    int known = atomic_load(&r->streams_lists);
    if (known)
        return known > 0;
    JSON_REF(version) = kube_remote_get_path(k, ctx, "/version", NULL);
    if (!version)
        return false;
    int64_t major = 0;
    long minor = strtol(jv_str_or(jv_get(json_root(version), "minor"), "0"), NULL, 10); /* "34", or "34+" */
    str_to_i64(jv_str_or(jv_get(json_root(version), "major"), "0"), &major);
    bool yes = major > 1 || (major == 1 && minor >= STREAMS_FROM_MINOR);
    atomic_store(&r->streams_lists, yes ? 1 : -1);
    return yes;
}

static const struct kube_ops remote_ops = {
    .get = r_get,
    .list = r_list,
    .create = r_create,
    .update = r_update,
    .patch = r_patch,
    .del = r_del,
    .del_collection = r_del_collection,
    .watch = remote_watch,
    .watch_next = remote_watch_next,
    .watch_close = remote_watch_close,
    .logs = remote_logs,
    .exec = remote_exec,
    .log = remote_log,
    .forward = remote_forward,
    .streams_lists = r_streams_lists,
};

/* ---- making one ---- */

/* Does a comma-separated NO_PROXY name this host? Names match their subdomains, as Go has it. */
static bool no_proxy(const char *list, const char *host)
{
    STRLIST(parts);
    str_split(list ? list : "", ',', &parts);
    for (size_t i = 0; i < parts.n; i++) {
        char *p = parts.v[i];
        while (*p == ' ')
            p++;
        p[strcspn(p, " :")] = '\0';
        bool suffix =
            *p && str_ends(host, p) && strlen(host) > strlen(p) && (*p == '.' || host[strlen(host) - strlen(p) - 1] == '.');
        if (str_eq(p, "*") || (*p && str_eq(p, host)) || suffix)
            return true;
    }
    return false;
}

static const char *env_either(const char *upper, const char *lower)
{
    const char *v = getenv(upper);
    return str_empty(v) ? getenv(lower) : v;
}

static char *proxy_for(const struct kube_access *a)
{
    if (a->proxy_url)
        return xstrdup(a->proxy_url);
    bool tls = str_starts(a->server, "https://");
    const char *env = tls ? env_either("HTTPS_PROXY", "https_proxy") : env_either("HTTP_PROXY", "http_proxy");
    if (str_empty(env))
        return NULL;
    const char *host = strstr(a->server, "://") + 3;
    AUTOFREE char *name = *host == '[' ? xstrndup(host + 1, strcspn(host + 1, "]")) : xstrndup(host, strcspn(host, ":/"));
    bool own = str_eq(name, "localhost") || str_starts(name, "127.") || str_eq(name, "::1");
    return own || no_proxy(env_either("NO_PROXY", "no_proxy"), name) ? NULL : xstrdup(env);
}

struct kube *kube_remote_new(const struct kube_remote_config *cfg, struct err *err)
{
    static const char *const no_groups[] = {NULL};
    struct remote *r = xcalloc(1, sizeof *r);
    r->access = *cfg->access;
    *cfg->access = (struct kube_access){0};
    r->clock = cfg->clock ? cfg->clock : &clock_system;
    r->who = (struct identity){.user = r->access.as     ? r->access.as
                                       : r->access.user ? r->access.user
                                                        : "",
                               .uid = "",
                               .groups = no_groups};
    r->kube = (struct kube){&remote_ops, &r->who};
    r->agent = xasprintf("tidemill/%s (linux) %s", TIDEMILL_VERSION, cfg->component ? cfg->component : "client");
    r->proxy = proxy_for(&r->access);
    r->call_timeout_ns = cfg->call_timeout_ns ? cfg->call_timeout_ns : CALL_TIMEOUT;
    r->qps = cfg->qps == 0 ? 50 : cfg->qps;
    r->burst = cfg->burst ? cfg->burst : 100;
    r->tokens = r->burst;
    r->tokens_at_ns = r->clock->mono_ns(r->clock);
    r->warned = STRMAP_INIT(NULL);
    pthread_mutex_init(&r->lock, NULL);
    r->credentials = credentials_new(&r->access, r->clock);
    /* What cannot work is told now, and not by each call. */
    struct http_client_config try = {.ca_pem = r->access.ca_pem,
                                     .client_cert_pem = r->access.cert_pem,
                                     .client_key_pem = r->access.key_pem,
                                     .insecure = r->access.insecure,
                                     .proxy = r->proxy};
    struct http_client *c = http_client_new(&try, err);
    if (c) {
        http_client_free(c);
        return &r->kube;
    }
    err_wrap(err, "%s", r->access.server);
    kube_remote_free(&r->kube);
    return NULL;
}

void kube_remote_free(struct kube *k)
{
    if (!k)
        return;
    struct remote *r = remote_of(k);
    session_unref(r->session);
    credentials_free(r->credentials);
    kube_access_clear(&r->access);
    strmap_free(&r->warned);
    pthread_mutex_destroy(&r->lock);
    free(r->agent);
    free(r->proxy);
    free(r);
}

const char *kube_remote_server(const struct kube *k) { return ((const struct remote *)k)->access.server; }

struct json *kube_remote_get_path(struct kube *k, const struct ctx *ctx, const char *path, struct err *err)
{
    return answer_json(remote_of(k), ctx, &(struct remote_call){.method = HTTP_GET, .path = path}, err);
}
