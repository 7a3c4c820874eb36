/* Steps that were done before are not done again. Source: pipelines-runtime spec 18. */
#include <stdlib.h>
#include <sys/stat.h>

#include "pipelines/engine/live.h"
#include "pipelines/store/hash.h"

/* One part of the key, by name: hashed alone, so that a miss can say which part differs. */
static void add_part(struct jm *m, jmval *parts, const char *name, const struct buf *text)
{
    char hash[HASH_TEXT];
    jm_put(m, parts, name, jm_str(m, sha256_hex(buf_str(text), text->len, hash)));
}

static void part_inputs(struct inst *i, struct jm *m, jmval *parts)
{
    BUF(params);
    BUF(artifacts);
    JM_NEW(pm);
    jmval *p = jm_obj(pm), *a = jm_obj(pm);
    for (int k = 0; k < i->c->n_in_params; k++)
        if (i->in_params[k])
            jm_put(pm, p, i->c->in_params[k].key, jm_val(pm, json_root(i->in_params[k])));
    for (int k = 0; k < i->c->n_in_artifacts; k++) {
        if (!i->in_artifacts[k])
            continue;
        jmval *ids = jm_arr(pm);
        for (int n = 0; n < i->in_artifacts[k]->n; n++)
            jm_push(ids, jm_i64(pm, i->in_artifacts[k]->v[n]->a.id));
        jm_put(pm, a, i->c->in_artifacts[k].key, ids);
    }
    jmv_write(p, JW_COMPACT | JW_SORTED, &params);
    jmv_write(a, JW_COMPACT | JW_SORTED, &artifacts);
    add_part(m, parts, "inputParameters", &params);
    add_part(m, parts, "inputArtifacts", &artifacts);
}

static void part_outputs(struct inst *i, struct jm *m, jmval *parts)
{
    BUF(text);
    JM_NEW(om);
    jmval *o = jm_obj(om);
    for (int k = 0; k < i->c->n_out_params; k++)
        jm_put(om, o, i->c->out_params[k].key, jm_str(om, ptype_name(i->c->out_params[k].type)));
    for (int k = 0; k < i->c->n_out_artifacts; k++) {
        const struct ir_artifact *a = &i->c->out_artifacts[k];
        jmval *e = jm_obj(om);
        jm_put(om, e, "type", jm_str(om, a->schema_title));
        jm_put(om, e, ART_METADATA, a->metadata ? jm_val(om, a->metadata) : jm_null(om));
        jm_put(om, o, a->key, e);
    }
    jmv_write(o, JW_COMPACT | JW_SORTED, &text);
    add_part(m, parts, "outputs", &text);
}

static void part_container(struct inst *i, struct jm *m, jmval *parts)
{
    const struct ir_container *k = i->c->container;
    BUF(image);
    BUF(command);
    BUF(env);
    for (int n = 0; n < k->image.n; n++)
        buf_add(&image, k->image.segs[n].text, k->image.segs[n].len);
    buf_adds(&command, k->command_json);
    for (int n = 0; n < k->n_env; n++) {
        buf_addf(&env, "%s=", k->env[n].name);
        for (int s = 0; s < k->env[n].value.n; s++)
            buf_add(&env, k->env[n].value.segs[s].text, k->env[n].value.segs[s].len);
        buf_addc(&env, 0);
    }
    add_part(m, parts, "image", &image);
    add_part(m, parts, "command", &command);
    add_part(m, parts, "env", &env);
    JSON_REF(config) = NULL;
    if (resolve_kubernetes(i, &config, NULL) == 0 && jv_len(jv_get(json_root(config), "pvcMount")) > 0) {
        BUF(claims);
        jv_write(jv_get(json_root(config), "pvcMount"), JW_COMPACT | JW_SORTED, &claims);
        add_part(m, parts, "claims", &claims);
    }
}

int cache_fingerprint(struct inst *i, struct err *err)
{
    const struct ir_task *t = i->t;
    if (!t->cache || i->live->e->cfg.no_cache)
        return 0;
    char hash[HASH_TEXT];
    BUF(text);
    if (t->cache_key) {
        buf_adds(&text, i->c->name);
        buf_addc(&text, 0);
        buf_adds(&text, t->cache_key);
    } else {
        JM_NEW(m);
        jmval *parts = jm_obj(m);
        part_inputs(i, m, parts);
        part_outputs(i, m, parts);
        part_container(i, m, parts);
        jmv_write(parts, JW_COMPACT | JW_SORTED, &text);
        free(i->row.cache_parts);
        i->row.cache_parts = xstrdup(buf_str(&text));
    }
    free(i->row.cache_key);
    i->row.cache_key = xstrdup(sha256_hex(text.data, text.len, hash));
    return 0;
}

/* An entry whose bytes are gone from the embedded store is a miss. Artifacts recorded without bytes have nothing to lose. */
static bool bytes_there(const struct inst *i)
{
    struct engine *e = i->live->e;
    for (int k = 0; k < i->c->n_out_artifacts; k++)
        for (int n = 0; i->out_artifacts[k] && n < i->out_artifacts[k]->n; n++) {
            const struct md_artifact *a = &i->out_artifacts[k]->v[n]->a;
            if (a->size < 0 || !live_is_mounted(i->live, a->uri))
                continue;
            AUTOFREE char *scheme = NULL;
            AUTOFREE char *bucket = NULL;
            AUTOFREE char *key = NULL;
            if (blob_uri_split(a->uri, &scheme, &bucket, &key, NULL) < 0)
                continue;
            AUTOFREE char *path = blob_as_path(e->cfg.blobs, NULL, bucket, key, false, NULL);
            struct stat st;
            if (path && lstat(path, &st) < 0)
                return false;
        }
    return true;
}

static void drop_outputs(struct inst *i)
{
    for (int k = 0; k < i->c->n_out_params; k++)
        json_unref(TAKE(i->out_params[k]));
    for (int k = 0; k < i->c->n_out_artifacts; k++)
        artlist_unref(TAKE(i->out_artifacts[k]));
}

int cache_lookup(struct inst *i, struct db *db, struct err *err)
{
    static const char SQL[] = "SELECT outputs, task_id FROM step_cache WHERE key = ?1 AND namespace = ?2 AND pipeline = ?3";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, i->row.cache_key);
    stmt_bind_text(s, 2, i->live->run.ns ? i->live->run.ns : "");
    stmt_bind_text(s, 3, i->live->run.pipeline_name);
    int rc = stmt_step(s, err);
    if (rc <= 0)
        return rc;
    ERR(e);
    /* Artifacts that are gone from the records make it a miss too. */
    AUTOFREE char *outputs = xstrdup(stmt_text(s, 0));
    int64_t from = stmt_i64(s, 1);
    if (values_parse(i->live, db, outputs, i->c->out_params, i->c->n_out_params, i->out_params, i->c->out_artifacts,
                     i->c->n_out_artifacts, i->out_artifacts, &e) < 0 ||
        !bytes_there(i)) {
        drop_outputs(i);
        return 0;
    }
    inst_set_outputs(i, TAKE(outputs));
    i->row.cached_from = from;
    return 1;
}

void cache_remember(struct inst *i)
{
    if (!i->row.cache_key || !i->row.outputs)
        return;
    struct cache_entry *c = xcalloc(1, sizeof *c);
    c->key = xstrdup(i->row.cache_key);
    c->parts = xstrdup(i->row.cache_parts);
    c->outputs = xstrdup(i->row.outputs);
    c->task_id = i->row.id;
    c->next = i->live->cache;
    i->live->cache = c;
}

int cache_put(struct db *db, const struct live *l, const struct cache_entry *c, int64_t now_ns, struct err *err)
{
    static const char SQL[] =
        "INSERT OR REPLACE INTO step_cache (key, namespace, pipeline, task_id, run_id, outputs, parts, created_at) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, c->key);
    stmt_bind_text(s, 2, l->run.ns ? l->run.ns : "");
    stmt_bind_text(s, 3, l->run.pipeline_name);
    stmt_bind_i64(s, 4, c->task_id);
    stmt_bind_text(s, 5, l->run.run_id);
    stmt_bind_text(s, 6, c->outputs);
    stmt_bind_text(s, 7, c->parts);
    stmt_bind_i64(s, 8, now_ns);
    return stmt_run(s, err);
}
