/* managed.c - metadata.managedFields: who owns which fields of an object.
 *
 * Objects that clients make over HTTP are tracked from their creation, all others from their first apply on: what this process
 * writes for itself stays as small as it is. Entries are keyed by manager, operation, version and subresource; their sets are
 * made by kube/apply/apply.h. An update takes what it changes; an apply takes what it says, and must not take what another says
 * otherwise. Source: specs kube.md 6.4. */
#include <stdlib.h>

#include "base/timefmt.h"
#include "cluster/apiserver/managed.h"
#include "kube/fields.h"
#include "kube/wire/decode.h"

#define MAX_UPDATERS 10 /* entries of updates; older ones become one */

/* ---- entries ------------------------------------------------------------------------------------------------------------- */

void managers_free(struct managers *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->v[i].name);
        free(s->v[i].api_version);
        free(s->v[i].sub);
        free(s->v[i].time);
        fset_free(s->v[i].set);
    }
    free(s->v);
    *s = (struct managers){0};
}

static struct manager *add(struct managers *s, const char *name, bool apply, const char *api_version, const char *sub)
{
    s->v = xreallocarray(s->v, s->n + 1, sizeof(*s->v));
    s->v[s->n] = (struct manager){
        .name = xstrdup(name), .api_version = xstrdup(api_version), .sub = sub ? xstrdup(sub) : NULL, .apply = apply};
    return &s->v[s->n++];
}

static bool parse(jval *list, struct managers *out)
{
    struct jiter it = jv_iter(list);
    jval *e;
    while (jv_next(&it, NULL, &e)) {
        const char *name = managed_fields_entry_manager(e), *op = managed_fields_entry_operation(e);
        const char *sub = managed_fields_entry_subresource(e), *version = managed_fields_entry_api_version(e);
        bool apply = str_eq(op, "Apply");
        struct fset *set = fset_parse(managed_fields_entry_fields_v1(e));
        if (!set || (!apply && !str_eq(op, "Update")) || !version) {
            fset_free(set);
            return false;
        }
        struct manager *m = add(out, name ? name : "", apply, version, str_empty(sub) ? NULL : sub);
        m->time = managed_fields_entry_time(e) ? xstrdup(managed_fields_entry_time(e)) : NULL;
        m->set = set;
    }
    return true;
}

static int entry_cmp(const void *a, const void *b)
{
    const struct manager *x = a, *y = b;
    int c = (int)y->apply - (int)x->apply;
    c = c ? c : strcmp(x->time ? x->time : "", y->time ? y->time : "");
    c = c ? c : strcmp(x->name, y->name);
    c = c ? c : strcmp(x->api_version, y->api_version);
    return c ? c : strcmp(x->sub ? x->sub : "", y->sub ? y->sub : "");
}

/* The oldest updates beyond the limit become those of one manager. */
static void cap(struct managers *s)
{
    size_t updates = 0;
    for (size_t i = 0; i < s->n; i++)
        updates += !s->v[i].apply;
    if (updates <= MAX_UPDATERS)
        return;
    qsort(s->v, s->n, sizeof(*s->v), entry_cmp);
    struct manager *ancient = NULL;
    for (size_t i = 0; i < s->n && updates >= MAX_UPDATERS; i++) {
        struct manager *m = &s->v[i];
        if (m->apply || fset_empty(m->set))
            continue;
        if (!ancient) {
            ancient = m;
            free(m->name);
            free(m->sub);
            m->name = xstrdup("ancient-changes");
            m->sub = NULL;
        } else {
            struct fset *both = fset_union(ancient->set, m->set);
            fset_free(ancient->set);
            fset_free(m->set);
            ancient->set = both;
            m->set = fset_new();
            updates--;
        }
    }
}

/* Members that belong to nobody: the server's own. */
static struct fset *unowned(void)
{
    static const char *const meta[] = {"f:name",       "f:namespace",   "f:creationTimestamp", "f:selfLink",       "f:uid",
                                       "f:generation", "f:clusterName", "f:managedFields",     "f:resourceVersion"};
    struct fset *s = fset_new();
    static const char *const top[] = {"f:apiVersion", "f:kind", "f:metadata"};
    for (size_t i = 0; i < ARRAY_LEN(top); i++)
        fset_insert(s, &top[i], 1);
    for (size_t i = 0; i < ARRAY_LEN(meta); i++) {
        const char *path[] = {"f:metadata", meta[i]};
        fset_insert(s, path, 2);
    }
    return s;
}

static void write_entries(struct managers *s, struct jm *m)
{
    jmval *meta = jm_obj_at(m, jm_root(m), "metadata");
    object_meta_del_managed_fields(meta);
    cap(s);
    qsort(s->v, s->n, sizeof(*s->v), entry_cmp);
    for (size_t i = 0; i < s->n; i++) {
        const struct manager *e = &s->v[i];
        if (fset_empty(e->set))
            continue;
        jmval *o = jm_obj(m);
        jm_push(object_meta_make_managed_fields(m, meta), o);
        managed_fields_entry_set_manager(m, o, e->name);
        managed_fields_entry_set_operation(m, o, e->apply ? "Apply" : "Update");
        managed_fields_entry_set_api_version(m, o, e->api_version);
        if (e->time)
            managed_fields_entry_set_time(m, o, e->time);
        managed_fields_entry_set_fields_type(m, o, "FieldsV1");
        managed_fields_entry_set_fields_v1(m, o, fset_write(e->set, m));
        if (e->sub)
            managed_fields_entry_set_subresource(m, o, e->sub);
    }
}

/* ---- what of a write counts -------------------------------------------------------------------------------------------------
 */

struct ftype managed_type(const struct resource *r)
{
    return r->cv ? ftype_of(NULL, r->cv->schema) : ftype_of(r->kind->type, NULL);
}

/* Without what nobody owns, and what this path does not write: status beside its subresource, all else below it. */
static struct fset *counted(const struct op *op, const struct fset *s)
{
    FSET(own) = unowned();
    FSET(bare) = fset_minus(s, own);
    FSET(status) = fset_new();
    static const char *const path[] = {"f:status"};
    fset_insert(status, path, 1);
    if (!kind_sub(op->res->kind, "status"))
        return TAKE(bare);
    FSET(rest) = fset_without(bare, status);
    if (!str_eq(op->sub, "status"))
        return TAKE(rest);
    return fset_minus(bare, rest);
}

static void compared(const struct op *op, jval *old, jval *now, struct fset **changed, struct fset **removed)
{
    struct ftype t = managed_type(op->res);
    FSET(c) = fset_new();
    FSET(r) = fset_new();
    apply_compare(&t, old, now, c, r);
    *changed = counted(op, c);
    *removed = counted(op, r);
}

static struct manager *find(struct managers *s, const struct op *op, const char *name, bool apply)
{
    AUTOFREE char *version = kind_api_version(op->res->kind);
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].apply == apply && strcmp(s->v[i].name, name) == 0 && strcmp(s->v[i].api_version, version) == 0 &&
            strcmp(s->v[i].sub ? s->v[i].sub : "", op->sub ? op->sub : "") == 0)
            return &s->v[i];
    struct manager *m = add(s, name, apply, version, op->sub);
    m->set = fset_new();
    return m;
}

static void stamp(const struct op *op, struct manager *m)
{
    char text[TIME_TEXT_MAX];
    free(m->time);
    m->time = xstrdup(time_format(text, ctx_now_ns(op->ctx), TIME_SECONDS));
}

static void replace(struct fset **to, struct fset *take)
{
    fset_free(*to);
    *to = take;
}

/* ---- updates ------------------------------------------------------------------------------------------------------------------
 */

static const char *manager_name(const struct op *op)
{
    if (!str_empty(op->o->field_manager))
        return op->o->field_manager;
    return op->manager ? op->manager : "tidemill";
}

static void take_changes(struct op *op, struct managers *s, const char *name, const struct fset *changed,
                         const struct fset *removed)
{
    struct manager *own = find(s, op, name, false);
    for (size_t i = 0; i < s->n; i++) {
        struct manager *m = &s->v[i];
        if (m == own)
            continue;
        FSET(left) = fset_minus(m->set, changed);
        replace(&m->set, fset_minus(left, removed));
    }
    FSET(left) = fset_minus(own->set, removed);
    FSET(now) = fset_union(left, changed);
    if (!fset_equal(now, own->set))
        stamp(op, own);
    replace(&own->set, TAKE(now));
}

/* The object that a kind's decoder makes of nothing: what stands in it is there before anybody writes. */
static struct json *nothing(const struct op *op)
{
    JSON_REF(empty) = json_parse_str("{}", NULL);
    return op->res->cv ? TAKE(empty) : decode_value(op->res->kind->type, json_root(empty), NULL, NULL);
}

/* What the client sent for managedFields: absent (or nonsense, or below a subresource) keeps the present ones, [] and [{}] end
 * the tracking, anything else replaces them. */
static bool sent_entries(const struct op *op, jval *old, jval *list, struct managers *out)
{
    bool reset = jv_is(list, J_ARRAY) &&
                 (jv_len(list) == 0 || (jv_len(list) == 1 && str_empty(managed_fields_entry_manager(jv_at(list, 0))) &&
                                        !jv_present(managed_fields_entry_fields_v1(jv_at(list, 0)))));
    if (reset && !op->sub)
        return false;
    if (!op->sub && jv_len(list) && parse(list, out))
        return true;
    managers_free(out);
    return parse(object_meta_managed_fields(obj_meta(old)), out);
}

void managed_create(struct op *op, struct jm *m)
{
    jmval *meta = jm_obj_at(m, jm_root(m), "metadata");
    object_meta_del_managed_fields(meta);
    bool soft = op->res->kind->store == KSTORE_SOFT;
    if ((!op->manager && !op->applying) || (soft && !op->applying) || is_face(op->res))
        return;
    CLEANUP(managers_free) struct managers s = {0};
    if (op->applying) {
        struct ftype t = managed_type(op->res);
        FSET(said) = apply_set(&t, op->applying);
        struct manager *own = find(&s, op, manager_name(op), true);
        replace(&own->set, counted(op, said));
        stamp(op, own);
    } else {
        JSON_REF(before) = nothing(op);
        JSON_REF(now) = jm_freeze(m);
        FSET(changed) = NULL;
        FSET(removed) = NULL;
        compared(op, json_root(before), json_root(now), &changed, &removed);
        take_changes(op, &s, manager_name(op), changed, removed);
    }
    write_entries(&s, m);
}

void managed_update(struct op *op, jval *old, struct jm *m)
{
    jmval *meta = jm_obj_at(m, jm_root(m), "metadata");
    if (op->applying)
        return; /* managed_apply has done it */
    JSON_REF(now) = jm_freeze(m);
    jval *list = object_meta_managed_fields(obj_meta(json_root(now))), *present = object_meta_managed_fields(obj_meta(old));
    if (!jv_len(list) && !jv_len(present)) {
        object_meta_del_managed_fields(meta);
        return;
    }
    CLEANUP(managers_free) struct managers s = {0};
    FSET(changed) = NULL;
    FSET(removed) = NULL;
    if (!sent_entries(op, old, list, &s) || !s.n) {
        object_meta_del_managed_fields(meta);
        return;
    }
    compared(op, old, json_root(now), &changed, &removed);
    if (fset_empty(changed) && fset_empty(removed) && (op->sub || !jv_present(list) || jv_equal(list, present))) {
        object_meta_set_managed_fields(m, meta, jm_val(m, present));
        return;
    }
    take_changes(op, &s, manager_name(op), changed, removed);
    write_entries(&s, m);
}

/* ---- applies
 * ------------------------------------------------------------------------------------------------------------------- */

static void name_manager(const struct manager *m, struct buf *out)
{
    json_quote(out, m->name, strlen(m->name));
    if (m->sub)
        buf_addf(out, " with subresource \"%s\"", m->sub);
    if (!m->apply)
        buf_addf(out, " using %s", m->api_version);
}

static int manager_cmp(const void *a, const void *b)
{
    const struct conflict *x = a, *y = b;
    return strcmp(x->manager->name, y->manager->name);
}

/* The one message and the causes of all conflicts. */
static int fail_conflicts(struct conflict *c, size_t n, struct err *err)
{
    size_t total = 0;
    BUF(text);
    qsort(c, n, sizeof(*c), manager_cmp);
    for (size_t i = 0; i < n; i++)
        total += c[i].paths.n;
    for (size_t i = 0; i < n; i++) {
        buf_adds(&text, i ? "\n" : "");
        buf_adds(&text, total == 1 ? "conflict with " : "conflicts with ");
        name_manager(c[i].manager, &text);
        if (total == 1)
            buf_addf(&text, ": %s", c[i].paths.v[0]);
        else
            buf_addc(&text, ':');
        for (size_t k = 0; total > 1 && k < c[i].paths.n; k++)
            buf_addf(&text, "\n- %s", c[i].paths.v[k]);
    }
    err_set(err, ERR_CONFLICT, "Apply failed with %zu conflict%s: %s", total, total == 1 ? "" : "s", buf_str(&text));
    for (size_t i = 0; i < n; i++) {
        BUF(who);
        name_manager(c[i].manager, &who);
        for (size_t k = 0; k < c[i].paths.n; k++)
            err_cause(err, "FieldManagerConflict", c[i].paths.v[k], "conflict with %s", buf_str(&who));
    }
    return -1;
}

/* kubectl that applied on the client's side before takes over what it said in its annotation and still holds. */
static struct fset *was_applied_by_kubectl(const struct op *op, jval *live, const char *name)
{
    const char *text = obj_annotation(live, "kubectl.kubernetes.io/last-applied-configuration");
    JSON_REF(last) = text && strcmp(name, "kubectl") == 0 ? json_parse_str(text, NULL) : NULL;
    if (!last || !jv_is(json_root(last), J_OBJECT))
        return fset_new();
    struct ftype t = managed_type(op->res);
    FSET(said) = apply_set(&t, json_root(last));
    FSET(changed) = fset_new();
    FSET(removed) = fset_new();
    apply_compare(&t, live, json_root(last), changed, removed);
    return fset_minus(said, changed);
}

static int check_conflicts(struct op *op, struct managers *s, const struct manager *own, const struct fset *changed, jval *live,
                           struct err *err)
{
    AUTOFREE struct conflict *c = xcalloc(s->n + 1, sizeof(*c));
    size_t n = 0;
    FSET(allowed) = was_applied_by_kubectl(op, live, own->name);
    for (size_t i = 0; i < s->n && !op->o->force; i++) {
        FSET(both) = fset_and(s->v[i].set, changed);
        FSET(left) = fset_minus(both, allowed);
        if (&s->v[i] == own || fset_empty(left))
            continue;
        c[n].manager = &s->v[i];
        fset_paths(left, &c[n++].paths);
    }
    int rc = n ? fail_conflicts(c, n, err) : 0;
    for (size_t i = 0; i < n; i++)
        strlist_free(&c[i].paths);
    return rc;
}

static struct fset *owned_by_all(const struct managers *s)
{
    struct fset *all = fset_new();
    for (size_t i = 0; i < s->n; i++)
        replace(&all, fset_union(all, s->v[i].set));
    return all;
}

/* The entries before this apply; an object that nobody tracked belongs to one manager of the past. */
static void entries_of(struct op *op, jval *live, struct managers *s)
{
    bool good = parse(object_meta_managed_fields(obj_meta(live)), s);
    if (good && s->n)
        return;
    managers_free(s);
    JSON_REF(before) = nothing(op);
    FSET(changed) = NULL;
    FSET(removed) = NULL;
    compared(op, json_root(before), live, &changed, &removed);
    struct op of_past = *op;
    of_past.sub = NULL;
    take_changes(&of_past, s, "before-first-apply", changed, removed);
}

struct json *managed_apply(struct op *op, jval *live, jval *config, struct err *err)
{
    struct ftype t = managed_type(op->res);
    CLEANUP(managers_free) struct managers s = {0};
    entries_of(op, live, &s);
    JSON_REF(merged) = apply_merge(&t, live, config);
    struct manager *own = find(&s, op, op->o->field_manager, true);
    FSET(last) = fset_copy(own->set);
    FSET(said) = apply_set(&t, config);
    replace(&own->set, counted(op, said));
    FSET(others) = owned_by_all(&s);
    FSET(owned) = fset_union(others, said); /* with the name, so that metadata stays */
    JSON_REF(pruned) = apply_prune(&t, json_root(merged), last, owned);
    FSET(changed) = NULL;
    FSET(removed) = NULL;
    compared(op, live, json_root(pruned), &changed, &removed);
    if (check_conflicts(op, &s, own, changed, live, err) < 0)
        return NULL;
    for (size_t i = 0; i < s.n; i++) {
        if (&s.v[i] == own)
            continue;
        FSET(left) = fset_minus(s.v[i].set, changed);
        replace(&s.v[i].set, fset_minus(left, removed));
    }
    if (!fset_empty(changed) || !fset_empty(removed))
        stamp(op, own);
    JM(m, json_root(pruned));
    write_entries(&s, m);
    return jm_freeze(m);
}
