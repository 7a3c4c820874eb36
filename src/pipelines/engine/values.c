/* Artifacts and values in memory, and their text in rows. */
#include <stdlib.h>

#include "pipelines/engine/live.h"

#define LIST_MAX 1000000

struct art *art_ref(struct art *a)
{
    if (a)
        a->refs++;
    return a;
}

void art_unref(struct art *a)
{
    if (!a || --a->refs > 0)
        return;
    md_artifact_clear(&a->a);
    json_unref(a->metadata);
    free(a);
}

struct artlist *artlist_new(int n)
{
    struct artlist *l = xcalloc(1, sizeof *l + (size_t)n * sizeof l->v[0]);
    l->refs = 1;
    l->n = n;
    return l;
}

struct artlist *artlist_ref(struct artlist *l)
{
    if (l)
        l->refs++;
    return l;
}

void artlist_unref(struct artlist *l)
{
    if (!l || --l->refs > 0)
        return;
    for (int i = 0; i < l->n; i++)
        art_unref(l->v[i]);
    free(l);
}

char *values_text(const struct ir_param *params, int n_params, struct json **pv, const struct ir_artifact *arts, int n_arts,
                  struct artlist **av)
{
    JM_NEW(m);
    jmval *o = jm_obj(m), *p = jm_obj(m), *a = jm_obj(m);
    jm_set_root(m, o);
    for (int i = 0; i < n_params; i++)
        if (pv[i])
            jm_put(m, p, params[i].key, jm_val(m, json_root(pv[i])));
    for (int i = 0; i < n_arts; i++) {
        if (!av[i])
            continue;
        jmval *ids = jm_arr(m);
        for (int k = 0; k < av[i]->n; k++)
            jm_push(ids, jm_i64(m, av[i]->v[k]->a.id));
        jm_put(m, a, arts[i].key, ids);
    }
    jm_put(m, o, "parameters", p);
    jm_put(m, o, "artifacts", a);
    BUF(b);
    jmv_write(o, JW_COMPACT, &b);
    return buf_steal(&b, NULL);
}

static struct artlist *list_of_ids(struct live *l, struct db *db, jval *ids, struct err *err)
{
    size_t n = jv_len(ids);
    if (!jv_is(ids, J_ARRAY) || n > LIST_MAX) {
        err_set(err, ERR_INTERNAL, "a stored list of artifacts is damaged");
        return NULL;
    }
    struct artlist *list = artlist_new((int)n);
    for (size_t k = 0; k < n; k++) {
        struct art *a = live_art(l, db, jv_i64_or(jv_at(ids, k), 0), err);
        if (!a) {
            artlist_unref(list);
            return NULL;
        }
        list->v[k] = art_ref(a);
    }
    return list;
}

int values_parse(struct live *l, struct db *db, const char *text, const struct ir_param *params, int n_params, struct json **pv,
                 const struct ir_artifact *arts, int n_arts, struct artlist **av, struct err *err)
{
    if (!text)
        return 0;
    JSON_REF(d) = json_parse_str(text, err);
    if (!d)
        return err_wrap(err, "stored values of a task");
    jval *p = jv_get(json_root(d), "parameters"), *a = jv_get(json_root(d), "artifacts");
    for (int i = 0; i < n_params; i++) {
        jval *v = jv_get(p, params[i].key);
        if (v) {
            json_unref(pv[i]);
            pv[i] = json_from(v);
        }
    }
    for (int i = 0; i < n_arts; i++) {
        jval *ids = jv_get(a, arts[i].key);
        if (!ids)
            continue;
        struct artlist *list = list_of_ids(l, db, ids, err);
        if (!list)
            return -1;
        artlist_unref(av[i]);
        av[i] = list;
    }
    return 0;
}
