#include <stdlib.h>

#include "kube/apply/strategic_priv.h"
#include "kube/wire/gotext.h"

#define ORDER_NAME "$setElementOrder"
#define MAX_SHOWN  8192

/* ---- lists taken apart -------------------------------------------------------------------------------------------------- */

void items_free(struct items *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->v[i].id);
    free(l->v);
    *l = (struct items){0};
}

void items_add(struct items *l, jmval *v, const char *id)
{
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 8;
        l->v = xreallocarray(l->v, l->cap, sizeof *l->v);
    }
    l->v[l->n++] = (struct item){v, xstrdup(id)};
}

void items_open(struct items *l, jmval *arr, const char *key)
{
    if (!arr)
        return;
    struct jmiter it = jmv_iter(arr);
    jmval *v;
    while (jmv_next(&it, NULL, &v)) {
        jmval *id = jmv_type(v) != J_OBJECT ? v : key ? jmv_get(v, key) : NULL;
        BUF(text);
        if (id)
            jmv_write(id, JW_SORTED, &text);
        items_add(l, v, text.len ? buf_str(&text) : NULL);
    }
    jm_clear(arr);
}

jmval *items_array(struct jm *m, const struct items *l)
{
    jmval *arr = jm_arr(m);
    for (size_t i = 0; i < l->n; i++)
        jm_push(arr, l->v[i].v);
    return arr;
}

/* Where each identity is first. Values are index + 1. */
static struct strmap places(const struct items *l)
{
    struct strmap m = STRMAP_INIT(NULL);
    for (size_t i = 0; i < l->n; i++)
        if (l->v[i].id && !strmap_has(&m, l->v[i].id))
            strmap_put(&m, l->v[i].id, (void *)(uintptr_t)(i + 1));
    return m;
}

static size_t place(const struct strmap *m, const struct item *it) /* 0: nowhere */
{
    return it->id ? (size_t)(uintptr_t)strmap_get(m, it->id) : 0;
}

static void show_items(const struct items *l, struct buf *out)
{
    buf_addc(out, '[');
    for (size_t i = 0; i < l->n && out->len < MAX_SHOWN; i++) {
        JSON_REF(d) = jm_freeze_val(l->v[i].v);
        buf_adds(out, i ? " " : "");
        gotext_print(json_root(d), MAX_SHOWN, out);
    }
    buf_addc(out, ']');
}

/* ---- order ---------------------------------------------------------------------------------------------------------------- */

struct placed {
    struct item item;
    size_t at, was; /* place in the order; place before sorting, which decides among equals */
};

static int by_place(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return x->was < y->was ? -1 : x->was > y->was;
}

static void sort_by(struct placed *v, size_t n, const struct strmap *order)
{
    for (size_t i = 0; i < n; i++) {
        v[i].at = place(order, &v[i].item);
        v[i].was = i;
    }
    qsort(v, n, sizeof *v, by_place);
}

/* What the patch names comes in the patch's order, the rest in the server's; the two are interleaved so that the rest stays
 * before those of the patch that it was before on the server. */
int apply_order(struct merge *mg, struct items *merged, const struct items *order, const struct items *original, const char *key,
                struct items *out)
{
    struct strmap in_order = places(order), on_server = places(original);
    AUTOFREE struct placed *named = xcalloc(merged->n + 1, sizeof *named), *rest = xcalloc(merged->n + 1, sizeof *rest);
    size_t n_named = 0, n_rest = 0, i = 0, j = 0;
    int rc = 0;
    for (size_t k = 0; k < merged->n && !rc; k++) {
        struct item *it = &merged->v[k];
        if (key && !it->id)
            rc = no_merge_key(mg, it->v, key);
        else if (place(&in_order, it))
            named[n_named++].item = *it;
        else
            rest[n_rest++].item = *it;
    }
    sort_by(named, n_named, &in_order);
    sort_by(rest, n_rest, &on_server);
    while (!rc && (i < n_rest || j < n_named)) {
        size_t ri = i < n_rest ? place(&on_server, &rest[i].item) : 0, nj = j < n_named ? place(&on_server, &named[j].item) : 0;
        bool take_rest = j == n_named || (i < n_rest && ri && nj && ri < nj);
        struct item *it = take_rest ? &rest[i++].item : &named[j++].item;
        items_add(out, it->v, it->id);
    }
    strmap_free(&in_order);
    strmap_free(&on_server);
    return rc;
}

static bool is_directive(const struct item *it) { return jmv_type(it->v) == J_OBJECT && jmv_get(it->v, DIRECTIVE); }

int check_order(struct merge *mg, const struct items *patch, const struct items *order, const char *key)
{
    size_t i = 0, j = 0;
    if (!patch->n || !order->n)
        return 0;
    while (i < patch->n && j < order->n) {
        if (key && is_directive(&patch->v[i])) {
            i++;
            continue;
        }
        if (key && (!patch->v[i].id || !order->v[j].id))
            return no_merge_key(mg, !patch->v[i].id ? patch->v[i].v : order->v[j].v, key);
        if (patch->v[i].id && order->v[j].id && !strcmp(patch->v[i].id, order->v[j].id))
            i++;
        j++;
    }
    while (i < patch->n && key && is_directive(&patch->v[i]))
        i++;
    if (i == patch->n)
        return 0;
    BUF(p);
    BUF(o);
    show_items(patch, &p);
    show_items(order, &o);
    return merge_fail(mg, "The order in patch list:\n%s\n doesn't match %s list:\n%s\n", buf_str(&p), ORDER_NAME, buf_str(&o));
}

/* ---- merging ------------------------------------------------------------------------------------------------------------- */

/* The type of all elements; J_NONE for none at all. */
static int element_type(struct merge *mg, const struct items *a, const struct items *b, enum jtype *out)
{
    *out = J_NONE;
    for (int k = 0; k < 2; k++) {
        const struct items *l = k ? b : a;
        for (size_t i = 0; i < l->n; i++) {
            enum jtype t = jmv_type(l->v[i].v);
            if (*out == J_NONE && t == J_ARRAY)
                return merge_fail(mg, "lists of lists are not supported");
            if (*out != J_NONE && t != *out) {
                BUF(x);
                BUF(y);
                show_items(a, &x);
                show_items(b, &y);
                return merge_fail(mg, "list element types are not identical: [%s %s]", buf_str(&x), buf_str(&y));
            }
            *out = t;
        }
    }
    return 0;
}

static void merge_plain(const struct items *original, const struct items *patch, bool delete, struct items *out)
{
    struct strmap seen = delete ? places(patch) : STRMAP_INIT(NULL);
    for (int k = 0; k < (delete ? 1 : 2); k++) {
        const struct items *l = k ? patch : original;
        for (size_t i = 0; i < l->n; i++) {
            if (place(&seen, &l->v[i]))
                continue;
            if (!delete)
                strmap_put(&seen, l->v[i].id, (void *)1);
            items_add(out, l->v[i].v, l->v[i].id);
        }
    }
    strmap_free(&seen);
}

static void remove_id(struct items *l, const char *id)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (l->v[i].id && !strcmp(l->v[i].id, id))
            free(l->v[i].id);
        else
            l->v[n++] = l->v[i];
    }
    l->n = n;
}

/* Elements that are directives: entries to delete, or the word that the list is to be replaced. They leave the patch. */
static int special_elements(struct merge *mg, struct items *original, struct items *patch, const char *key, bool *replace)
{
    struct items rest = {0};
    struct strmap doomed = STRMAP_INIT(NULL);
    int rc = 0;
    for (size_t i = 0; i < patch->n && !rc; i++) {
        struct item *it = &patch->v[i];
        const char *d = jmv_str(jmv_get(it->v, DIRECTIVE));
        if (!is_directive(it))
            items_add(&rest, it->v, it->id);
        else if (d && !strcmp(d, "replace"))
            *replace = true;
        else if (d && !strcmp(d, "merge"))
            rc = merge_fail(mg, "merging lists cannot yet be specified in the patch");
        else if (!d || strcmp(d, "delete"))
            rc = bad_directive(mg, d, it->v);
        else if (!it->id)
            rc = no_merge_key(mg, it->v, key);
        else
            strmap_put(&doomed, it->id, it);
    }
    if (strmap_count(&doomed) == 1)
        remove_id(original, strmap_first(&doomed)->key);
    else if (strmap_count(&doomed)) {
        struct items kept = {0};
        for (size_t i = 0; i < original->n; i++)
            if (!place(&doomed, &original->v[i]))
                items_add(&kept, original->v[i].v, original->v[i].id);
        items_free(original);
        *original = kept;
    }
    strmap_free(&doomed);
    items_free(patch);
    *patch = rest;
    return rc;
}

static int merge_keyed(struct merge *mg, struct items *original, struct items *patch, const struct kfield *f, struct items *out)
{
    bool replace = false;
    if (special_elements(mg, original, patch, f->merge_key, &replace) < 0)
        return -1;
    if (replace) {
        struct items none = {0};
        items_free(original);
        *original = *patch;
        *patch = none;
    }
    for (size_t i = 0; i < original->n; i++)
        items_add(out, original->v[i].v, original->v[i].id);
    struct strmap at = places(out);
    int rc = 0;
    for (size_t i = 0; i < patch->n && !rc; i++) {
        struct item *it = &patch->v[i];
        size_t found = place(&at, it);
        if (!it->id) {
            rc = no_merge_key(mg, it->v, f->merge_key);
        } else if (found) {
            rc = merge_objects(mg, out->v[found - 1].v, it->v, f->type, &out->v[found - 1].v);
        } else {
            items_add(out, it->v, it->id);
            strmap_put(&at, it->id, (void *)(uintptr_t)out->n);
        }
    }
    strmap_free(&at);
    return rc;
}

int merge_lists(struct merge *mg, struct items *original, struct items *patch, const struct kfield *f, bool delete,
                struct items *out)
{
    enum jtype type;
    const char *key = f ? f->merge_key : NULL;
    ITEMS(merged);
    if (element_type(mg, original, patch, &type) < 0)
        return -1;
    if (type == J_OBJECT && !key)
        return merge_fail(mg, "cannot merge lists without merge key for %s", f && f->type ? f->type->name : "a list");
    if (type != J_OBJECT)
        merge_plain(original, patch, delete, &merged);
    else if (merge_keyed(mg, original, patch, f, &merged) < 0)
        return -1;
    return apply_order(mg, &merged, patch, original, type == J_OBJECT ? key : NULL, out);
}
