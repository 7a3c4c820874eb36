/* Importers run here, not in a pod: an artifact that exists somewhere gets a record. Source: pipelines-runtime spec 17. */
#include <stdlib.h>

#include "base/fs.h"
#include "pipelines/engine/live.h"

static int import_value(void *self, const struct tmpl_seg *seg, struct buf *out, struct err *err)
{
    const struct inst *i = self;
    if (seg->kind != TMPL_IN_PARAM)
        return job_placeholder(i, seg->kind, out);
    int at = ir_param_at(i->c->in_params, i->c->n_in_params, seg->key);
    if (at == IR_NONE)
        return 0;
    if (i->in_params[at])
        value_as_text(json_root(i->in_params[at]), out);
    else if (i->c->in_params[at].dflt)
        value_as_text(i->c->in_params[at].dflt, out);
    return 1;
}

static bool nothing(void *self, const char *input) { return false; }

/* The metadata of one import: what its texts have come to so far is bounded. */
struct expansion {
    struct inst *i;
    size_t len;
};

static int expand(struct expansion *x, const char *s, size_t n, struct buf *out, struct err *err)
{
    ARENA(a);
    struct tmpl t;
    struct tmpl_scope sc = {.self = x->i, .value = import_value, .present = nothing};
    if (tmpl_parse(&a, s, n, &t, err) < 0 || tmpl_eval(&t, &sc, out, err) < 0)
        return -1;
    x->len += out->len;
    return x->len <= TMPL_TEXT_MAX ? 0 : tmpl_too_long(err);
}

/* A string that is one placeholder of an input becomes the input's value, with its type; others become text. */
static struct json *whole_input(const struct inst *i, const char *s, size_t n)
{
    ARENA(a);
    struct tmpl t;
    if (tmpl_parse(&a, s, n, &t, NULL) < 0 || t.n != 1 || t.segs[0].kind != TMPL_IN_PARAM)
        return NULL;
    int at = ir_param_at(i->c->in_params, i->c->n_in_params, t.segs[0].key);
    return at == IR_NONE ? NULL : i->in_params[at];
}

static jmval *expand_json(struct expansion *x, struct jm *m, jval *v, struct err *err)
{
    if (jv_is(v, J_STRING)) {
        const struct json *whole = whole_input(x->i, jv_str(v), jv_len(v));
        BUF(b);
        if (whole && (x->len += json_mem(whole)) > TMPL_TEXT_MAX) {
            tmpl_too_long(err);
            return NULL;
        }
        if (whole)
            return jm_val(m, json_root(whole));
        return expand(x, jv_str(v), jv_len(v), &b, err) < 0 ? NULL : jm_strn(m, buf_str(&b), b.len);
    }
    if (!jv_is(v, J_ARRAY) && !jv_is(v, J_OBJECT))
        return jm_val(m, v);
    bool obj = jv_is(v, J_OBJECT);
    jmval *out = obj ? jm_obj(m) : jm_arr(m);
    struct jiter it = jv_iter(v);
    const char *key;
    jval *member;
    while (jv_next(&it, &key, &member)) {
        jmval *e = expand_json(x, m, member, err);
        if (!e)
            return NULL;
        BUF(name);
        if (obj && expand(x, key, strlen(key), &name, err) < 0)
            return NULL;
        if (obj)
            jm_put(m, out, buf_str(&name), e);
        else
            jm_push(out, e);
    }
    return out;
}

/* As steps know it. */
static int import_file(const struct live *l, struct buf *uri, struct err *err)
{
    AUTOFREE char *own = live_embedded_uri(l, buf_str(uri), err);
    if (!own)
        return err_wrap(err, "cannot import");
    buf_reset(uri);
    buf_adds(uri, own);
    return 0;
}

static int import_uri(struct inst *i, struct buf *uri, struct err *err)
{
    const struct ir_importer *im = i->c->importer;
    struct tmpl_scope sc = {.self = i, .value = import_value, .present = nothing};
    if (im->constant) {
        if (tmpl_eval(&im->uri, &sc, uri, err) < 0)
            return -1;
    } else if (i->in_params[im->uri_param]) {
        value_as_text(json_root(i->in_params[im->uri_param]), uri);
    } else if (i->c->in_params[im->uri_param].dflt) {
        value_as_text(i->c->in_params[im->uri_param].dflt, uri);
    }
    if (uri->len == 0)
        return err_set(err, ERR_INVALID, "the URI to import is empty");
    if (str_starts(buf_str(uri), FILE_SCHEME))
        return import_file(i->live, uri, err);
    static const char *const known[] = {"gs://", "s3://", "minio://", "oci://", "azblob://", "http://", "https://"};
    for (size_t k = 0; k < ARRAY_LEN(known); k++)
        if (str_starts(buf_str(uri), known[k]))
            return 0;
    return err_set(err, ERR_INVALID, "cannot import %s: its scheme is none of gs, s3, minio, oci, azblob, file, http, https",
                   buf_str(uri));
}

/* Of what is to be downloaded into the workspace, which the pipeline has, or it had not been accepted. Our own store's bytes are
 * mounted where the download would have put them. */
static int to_workspace(const struct inst *i, const struct ctx *ctx, const char *uri, struct err *err)
{
    ERR(e);
    AUTOFREE char *host = host_path(i->live, uri, false, &e);
    if (host && fs_exists(host))
        return 0;
    if (host)
        return err_set(err, ERR_INVALID, "cannot download %s into the workspace: there is nothing", uri);
    /* Steps of the run write into the workspace, and could lead us out of it. */
    AUTOFREE char *local = local_path(uri), *to = xasprintf(".artifacts%s", local ? local : "");
    AUTOFREE char *workspace = xasprintf("%s/workspaces/%s", i->live->e->cfg.data_dir, i->live->run.run_id);
    if (stores_download(i->live, ctx, uri, workspace, to, &e) == 0)
        return 0;
    if (e.code == ERR_CANCELLED)
        return err_move(err, &e);
    return err_set(err, ERR_INVALID, "cannot download %s into the workspace: %s", uri, err_text(&e));
}

/* The same among artifacts that this turn made, which no row has yet. */
static struct art *find_fresh(const struct live *l, const struct md_artifact *like)
{
    for (size_t k = l->n_new_arts; k-- > 0;) {
        const struct md_artifact *a = &l->new_arts[k]->a;
        if (str_eq(a->uri, like->uri) && str_eq(a->schema_title, like->schema_title) && str_eq(a->metadata, like->metadata))
            return l->new_arts[k];
    }
    return NULL;
}

/* A new record of what is being deleted with its run would be of nothing. */
static int check_stays(struct db *db, const char *uri, struct err *err)
{
    bool takes = false;
    if (trash_takes(db, uri, &takes, err) < 0)
        return -1;
    return takes ? err_set(err, ERR_INVALID, "cannot import %s: it is being deleted together with the run that made it", uri) : 0;
}

int import_artifact(struct inst *i, const struct ctx *ctx, struct db *db, struct err *err)
{
    const struct ir_importer *im = i->c->importer;
    BUF(uri);
    if (import_uri(i, &uri, err) < 0) {
        err->code = ERR_INVALID;
        return -1;
    }
    if (str_starts(buf_str(&uri), "oci://") && !str_eq(im->schema_title, "system.Model"))
        return err_set(err, ERR_INVALID, "%s is a container image and can be imported as system.Model only, not %s",
                       buf_str(&uri), im->schema_title);
    if (im->to_workspace && to_workspace(i, ctx, buf_str(&uri), err) < 0)
        return -1;
    JM_NEW(m);
    struct expansion x = {.i = i};
    jmval *root = im->metadata ? expand_json(&x, m, im->metadata, err) : jm_obj(m);
    if (!root) {
        err->code = ERR_INVALID;
        return -1;
    }
    if (im->to_workspace)
        jm_put(m, root, ART_IN_WORKSPACE, jm_bool(m, true));
    jm_set_root(m, root);
    struct json *metadata = jm_freeze(m);
    AUTOFREE char *text = jv_text(json_root(metadata), JW_COMPACT);
    struct artlist *list = artlist_new(1);
    const struct md_artifact like = {
        .uri = uri.data,
        .schema_title = (char *)(uintptr_t)im->schema_title,
        .metadata = text,
        .pipeline = i->live->run.pipeline_name,
        .ns = i->live->run.ns ? i->live->run.ns : (char[]){""},
    };
    int64_t id = 0;
    struct art *fresh = im->reimport ? NULL : find_fresh(i->live, &like);
    if (!im->reimport && !fresh && md_artifact_find(db, &like, &id, err) < 0)
        id = -1;
    if (fresh) {
        list->v[0] = art_ref(fresh);
        json_unref(metadata);
    } else if (id > 0) {
        list->v[0] = art_ref(live_art(i->live, db, id, err));
        json_unref(metadata);
    } else if (id == 0 && check_stays(db, buf_str(&uri), err) == 0 &&
               md_ids_take(i->live->e->cfg.store->ids, ctx, MD_SEQ_ARTIFACT, 1, &id, err) == 0) {
        list->v[0] = art_make(i, id, i->c->out_artifacts[0].key, im->schema_title, im->schema_version, buf_str(&uri), metadata);
    } else {
        json_unref(metadata);
    }
    if (!list->v[0]) {
        list->n = 0;
        artlist_unref(list);
        return -1;
    }
    artlist_unref(i->out_artifacts[0]);
    i->out_artifacts[0] = list;
    record_outputs(i);
    return 0;
}
