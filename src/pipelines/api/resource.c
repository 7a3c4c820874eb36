/* resource.c - see resource.h. */
#include "pipelines/api/resource.h"

#include <stdlib.h>
#include <string.h>

#include "pipelines/api/listing.h"

enum { PAGE_ALL_MAX = 100 };

/* ---- a row as JSON -------------------------------------------------------------------------------------------------- */

/* The zero value of an enum is not sent. */
static void out_word(struct jm *m, jmval *o, const struct row_field *f, int n)
{
    const char *word = row_word(f->words, n);
    if (word && !str_ends(word, "_UNSPECIFIED"))
        jm_put(m, o, f->name, jm_str(m, word));
}

static void out_field(struct jm *m, jmval *o, const struct row_field *f, const void *p)
{
    switch (f->type) {
    case ROW_TEXT:
    case ROW_OPT:
        out_str(m, o, f->name, *(char *const *)p);
        break;
    case ROW_JSON:
    case ROW_TAGS:
        out_json(m, o, f->name, *(char *const *)p);
        break;
    case ROW_TIME:
        out_time(m, o, f->name, *(const int64_t *)p);
        break;
    case ROW_INT:
        out_i32(m, o, f->name, *(const int64_t *)p);
        break;
    case ROW_ID:
        if (*(const int64_t *)p)
            jm_put(m, o, f->name, jm_strf(m, "%lld", (long long)*(const int64_t *)p));
        break;
    case ROW_SMALL:
        if (f->words)
            out_word(m, o, f, *(const int *)p);
        else
            out_i32(m, o, f->name, *(const int *)p);
        break;
    case ROW_FLAG:
        if (f->words)
            out_word(m, o, f, *(const bool *)p);
        else if (*(const bool *)p)
            jm_put(m, o, f->name, jm_bool(m, true));
        break;
    case ROW_STAMP: /* ours alone */
    case ROW_METRIC:
        break;
    }
}

jmval *resource_out(const struct resource *r, struct db *db, struct jm *m, const void *row, int view, struct err *err)
{
    jmval *o = jm_obj(m);
    for (size_t i = 0; i < r->table->n; i++) {
        const struct row_field *f = &r->table->fields[i];
        if (f->flags & ROW_SHOWN)
            out_field(m, o, f, (const char *)row + f->at);
    }
    return r->more && r->more(db, m, o, row, view, err) < 0 ? NULL : o;
}

int resource_send(struct pipelines_api *api, struct http_res *res, const struct resource *r, const void *row, int view,
                  struct err *err)
{
    READER(rd, api, err);
    JM_NEW(m);
    jmval *root = rd.db ? resource_out(r, rd.db, m, row, view, err) : NULL;
    if (!root)
        return -1;
    jm_set_root(m, root);
    out_send(res, m);
    return 0;
}

/* ---- a row by id ---------------------------------------------------------------------------------------------------- */

int resource_get(struct pipelines_api *api, struct http_res *res, const struct resource *r, const char *id, int view,
                 struct err *err)
{
    void *row = xcalloc(1, r->table->size);
    int rc = -1;
    {
        READER(rd, api, err);
        JM_NEW(m);
        jmval *root = NULL;
        if (rd.db && row_get(r->table, rd.db, id, row, err) == 0)
            root = resource_out(r, rd.db, m, row, view, err);
        if (root) {
            jm_set_root(m, root);
            out_send(res, m);
            rc = 0;
        }
    }
    row_clear(r->table, row);
    free(row);
    return rc;
}

/* ---- lists ---------------------------------------------------------------------------------------------------------- */

struct items {
    const struct resource *r;
    struct jm *m;
    jmval *list;
    struct db *db;
    void *row;
    int view;
};

static int add_item(void *self, struct stmt *s, struct err *err)
{
    struct items *it = self;
    row_read(it->r->table, s, it->row);
    jmval *o = resource_out(it->r, it->db, it->m, it->row, it->view, err);
    row_clear(it->r->table, it->row);
    if (!o)
        return -1;
    jm_push(it->list, o);
    return 0;
}

int resource_list(struct pipelines_api *api, struct http_req *req, struct http_res *res, const struct resource *r,
                  const char *where, const char *const *values, size_t n, int view, struct err *err)
{
    LIST_QUERY(q);
    if (list_parse(r->table, req, &q, err) < 0)
        return api_wrap(err, "%s", r->bad_options);
    if (view == VIEW_ALL && q.page_size > PAGE_ALL_MAX)
        q.page_size = PAGE_ALL_MAX;
    READER(rd, api, err);
    JM_NEW(m);
    struct items it = {r, m, jm_arr(m), rd.db, xcalloc(1, r->table->size), view};
    struct matches *known = r->table == &RUN_ROWS ? api->run_matches : NULL;
    int rc = rd.db ? list_run(&q, rd.db, known, where, values, n, add_item, &it, err) : -1;
    free(it.row);
    if (rc < 0)
        return api_wrap(err, "%s", r->list_failed);
    jm_set_root(m, jm_obj(m));
    list_finish(&q, m, jm_root(m), r->list_key, it.list);
    out_send(res, m);
    return 0;
}

/* ---- changes -------------------------------------------------------------------------------------------------------- */

int resource_change(struct pipelines_api *api, const struct ctx *ctx, struct http_res *res, db_job_fn *job, const char *id,
                    struct err *err)
{
    struct change c = {id, ctx_now_ns(ctx)};
    if (api_write(api, ctx, job, &c, err) < 0)
        return -1;
    out_empty(res);
    return 0;
}

int patch_tags(jval *body, char **tags, struct err *err)
{
    *tags = NULL;
    jval *given = jv_get(body, "tags");
    if (!given)
        return 0;
    if (rule_tags(given, tags, err) < 0)
        return -1;
    if (!*tags)
        *tags = xstrdup("");
    return 0;
}
