#include "fake_kube.h"

#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include "base/id.h"
#include "base/str.h"
#include "base/thread.h"
#include "base/timefmt.h"
#include "kube/object.h"
#include "kube/selector.h"

struct change {
    int64_t rv;
    char *group, *plural;
    struct json *old, *now; /* either may be NULL */
    bool gone;              /* now is the last state of a deleted object */
};
struct failure {
    char *verb, *plural;
    int times;
    enum err_code code;
    struct failure *next;
};
struct fake_kube {
    struct kube kube;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int64_t rv, compacted;
    struct strmap objects; /* "group/plural|key" -> struct json */
    struct change *history;
    size_t n_history;
    struct failure *failures;
    struct strmap calls; /* "verb plural" -> count */
    struct kube_watch *watches;
    bool streams, forgets_marks; /* lists */
};
struct kube_watch {
    struct fake_kube *f;
    char *group, *plural, *ns;
    struct label_selector *labels;
    struct field_selector *fields;
    size_t at;           /* in history */
    struct json **first; /* to be given as ADDED before history */
    size_t n_first, at_first;
    int64_t mark; /* revision of the bookmark that ends what is given first; 0: none */
    bool ended;
    enum err_code end_code;
    struct kube_watch *next;
};

static char *place_of(const struct kube_res *res, const char *ns, const char *name)
{
    AUTOFREE char *key = obj_key_of(res->namespaced ? ns : NULL, name);
    return xasprintf("%s/%s|%s", res->group, res->plural, key);
}

static bool place_in(const char *place, const struct kube_res *res, const char *ns)
{
    AUTOFREE char *prefix = xasprintf("%s/%s|%s%s", res->group, res->plural, str_empty(ns) ? "" : ns, str_empty(ns) ? "" : "/");
    return str_starts(place, prefix);
}

static int not_found(const struct kube_res *res, const char *name, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "%s%s%s \"%s\" not found", res->plural, *res->group ? "." : "", res->group, name);
}

/* Counts a call and says whether it is to fail. Called with the lock held. */
static int enter(struct fake_kube *f, const char *verb, const struct kube_res *res, struct err *err)
{
    AUTOFREE char *key = xasprintf("%s %s", verb, res->plural);
    strmap_put(&f->calls, key, (char *)strmap_get(&f->calls, key) + 1);
    for (struct failure *x = f->failures; x; x = x->next) {
        if (x->times > 0 && str_eq(x->verb, verb) && str_eq(x->plural, res->plural)) {
            x->times--;
            return err_set(err, x->code, "%s of %s fails as the test wants", verb, res->plural);
        }
    }
    return 0;
}

/* Stores (now NULL: removes) at a place and tells the watches. Gives a reference to what is there now, or of what was deleted
 * last. */
static struct json *commit(struct fake_kube *f, const struct kube_res *res, const char *place, struct jm *m)
{
    struct json *old = strmap_take(&f->objects, place);
    JSON_REF(now) = NULL;
    f->rv++;
    jmval *meta = jm_obj_at(m, jm_root(m), "metadata");
    jm_put(m, meta, "resourceVersion", jm_strf(m, "%lld", (long long)f->rv));
    bool gone = jmv_get(meta, "deletionTimestamp") && jmv_len(jmv_get(meta, "finalizers")) == 0 &&
                jmv_len(jmv_path(jm_root(m), "spec", "finalizers", NULL)) == 0;
    now = jm_freeze(m);
    if (!gone)
        strmap_put(&f->objects, place, json_ref(now));
    f->history = xreallocarray(f->history, f->n_history + 1, sizeof *f->history);
    f->history[f->n_history++] =
        (struct change){f->rv, xstrdup(res->group), xstrdup(res->plural), old ? old : NULL, json_ref(now), gone};
    pthread_cond_broadcast(&f->changed);
    return TAKE(now);
}

static void complete(struct fake_kube *f, struct jm *m, const struct kube_res *res, const char *ns)
{
    char uid[UUID_TEXT], now[TIME_TEXT_MAX], suffix[6];
    (void)f;
    jmval *o = jm_root(m), *meta = jm_obj_at(m, o, "metadata");
    if (!jmv_get(o, "kind"))
        jm_put(m, o, "kind", jm_str(m, res->kind));
    if (!jmv_get(o, "apiVersion"))
        jm_put(m, o, "apiVersion", *res->group ? jm_strf(m, "%s/%s", res->group, res->version) : jm_str(m, res->version));
    if (!jmv_get(meta, "name"))
        jm_put(m, meta, "name", jm_strf(m, "%s%s", jmv_str(jmv_get(meta, "generateName")), random_suffix(suffix, 5)));
    if (res->namespaced && !jmv_get(meta, "namespace"))
        jm_put(m, meta, "namespace", jm_str(m, ns ? ns : "default"));
    if (!jmv_get(meta, "uid"))
        jm_put(m, meta, "uid", jm_str(m, uuid4(uid)));
    if (!jmv_get(meta, "creationTimestamp"))
        jm_put(m, meta, "creationTimestamp", jm_str(m, time_format(now, clock_system.wall_ns(&clock_system), TIME_SECONDS)));
}

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

static struct json *op_get(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns, const char *name,
                           const struct kube_opts *o, struct err *err)
{
    struct fake_kube *f = CONTAINER_OF(k, struct fake_kube, kube);
    (void)ctx, (void)o;
    LOCK_GUARD(&f->lock);
    if (enter(f, "get", res, err) < 0)
        return NULL;
    AUTOFREE char *place = place_of(res, ns, name);
    struct json *d = json_ref(strmap_get(&f->objects, place));
    if (!d)
        not_found(res, name, err);
    return d;
}

static int by_place(const void *a, const void *b)
{
    const struct json *x = *(struct json *const *)a, *y = *(struct json *const *)b;
    AUTOFREE char *kx = obj_key(json_root(x)), *ky = obj_key(json_root(y));
    return strcmp(kx, ky);
}

static int op_list(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns, const struct kube_opts *o,
                   struct kube_list *out, struct err *err)
{
    struct fake_kube *f = CONTAINER_OF(k, struct fake_kube, kube);
    struct label_selector *labels = label_selector_parse(o ? o->label_selector : NULL, err);
    struct field_selector *fields =
        field_selector_parse(o ? o->field_selector : NULL, field_labels_of(res->group, res->kind), err);
    (void)ctx;
    int rc = labels && fields ? 0 : -1;
    LOCK_GUARD(&f->lock);
    if (rc == 0 && (rc = enter(f, "list", res, err)) == 0) {
        *out = (struct kube_list){.items = xcalloc(strmap_count(&f->objects) + 1, sizeof(struct json *))};
        for (struct strmap_entry *e = strmap_first(&f->objects); e; e = strmap_next(e)) {
            jval *v = json_root(e->value);
            if (place_in(e->key, res, ns) && label_selector_selects(labels, v) && field_selector_matches(fields, v))
                out->items[out->n++] = json_ref(e->value);
        }
        qsort(out->items, out->n, sizeof *out->items, by_place);
        out->resource_version = xasprintf("%lld", (long long)f->rv);
    }
    label_selector_free(labels);
    field_selector_free(fields);
    return rc;
}

/* ---- writing ------------------------------------------------------------------------------------------------------------ */

static struct json *op_create(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns, const char *name,
                              jval *obj, const struct kube_opts *o, struct err *err)
{
    struct fake_kube *f = CONTAINER_OF(k, struct fake_kube, kube);
    (void)ctx, (void)o;
    LOCK_GUARD(&f->lock);
    if (enter(f, "create", res, err) < 0)
        return NULL;
    if (name) {
        err_set(err, ERR_METHOD, "the fake serves no create of subresources");
        return NULL;
    }
    JM(m, obj);
    complete(f, m, res, ns);
    jmval *meta = jmv_get(jm_root(m), "metadata");
    AUTOFREE char *place = place_of(res, jmv_str(jmv_get(meta, "namespace")), jmv_str(jmv_get(meta, "name")));
    if (strmap_has(&f->objects, place)) {
        err_set(err, ERR_EXISTS, "%s \"%s\" already exists", res->plural, jmv_str(jmv_get(meta, "name")));
        return NULL;
    }
    return commit(f, res, place, m);
}

static struct json *write_over(struct fake_kube *f, const struct kube_res *res, const char *place, struct json *old, jval *obj,
                               const char *sub, struct err *err)
{
    if (*obj_rv_text(obj) && !str_eq(obj_rv_text(obj), obj_rv_text(json_root(old)))) {
        err_set(err, ERR_CONFLICT, "Operation cannot be fulfilled on %s \"%s\": the object has been modified", res->plural,
                obj_name(obj));
        return NULL;
    }
    if (*obj_uid(obj) && !str_eq(obj_uid(obj), obj_uid(json_root(old)))) {
        err_set(err, ERR_CONFLICT, "Precondition failed: UID in precondition: %s, UID in object meta: %s", obj_uid(obj),
                obj_uid(json_root(old)));
        return NULL;
    }
    jval *was = json_root(old);
    JM(m, str_eq(sub, "status") ? was : obj);
    jmval *root = jm_root(m);
    if (!str_eq(sub, "finalize")) {
        jval *status = jv_get(str_eq(sub, "status") ? obj : was, "status");
        if (status)
            jm_put(m, root, "status", jm_val(m, status));
        else
            jm_del(root, "status");
    }
    jmval *meta = jm_obj_at(m, root, "metadata");
    static const char *const kept[] = {"uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "namespace", "name"};
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        jm_del(meta, kept[i]);
        if (jv_get(obj_meta(was), kept[i]))
            jm_put(m, meta, kept[i], jm_val(m, jv_get(obj_meta(was), kept[i])));
    }
    JSON_REF(now) = jm_freeze(m);
    if (jv_equal(was, json_root(now)) && !obj_deleting(was))
        return json_ref(old);
    return commit(f, res, place, m);
}

static struct json *op_update(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns, const char *name,
                              jval *obj, const struct kube_opts *o, struct err *err)
{
    struct fake_kube *f = CONTAINER_OF(k, struct fake_kube, kube);
    (void)ctx;
    LOCK_GUARD(&f->lock);
    if (enter(f, "update", res, err) < 0)
        return NULL;
    AUTOFREE char *place = place_of(res, ns, name);
    JSON_REF(old) = json_ref(strmap_get(&f->objects, place));
    if (!old) {
        not_found(res, name, err);
        return NULL;
    }
    return write_over(f, res, place, old, obj, o ? o->subresource : NULL, err);
}

static void merge(struct jm *m, jmval *target, jval *patch)
{
    struct jiter it = jv_iter(patch);
    const char *k;
    jval *v;
    while (jv_next(&it, &k, &v)) {
        if (jv_is(v, J_NULL))
            jm_del(target, k);
        else if (jv_is(v, J_OBJECT))
            merge(m, jm_obj_at(m, target, k), v);
        else
            jm_put(m, target, k, jm_val(m, v));
    }
}

static struct json *op_patch(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns, const char *name,
                             enum kube_patch type, jval *patch, const struct kube_opts *o, struct err *err)
{
    struct fake_kube *f = CONTAINER_OF(k, struct fake_kube, kube);
    (void)ctx;
    LOCK_GUARD(&f->lock);
    if (enter(f, "patch", res, err) < 0)
        return NULL;
    AUTOFREE char *place = place_of(res, ns, name);
    JSON_REF(old) = json_ref(strmap_get(&f->objects, place));
    if (!old) {
        not_found(res, name, err);
        return NULL;
    }
    if (type != KUBE_PATCH_MERGE) {
        err_set(err, ERR_MEDIA_TYPE, "the fake serves merge patches only");
        return NULL;
    }
    JM(m, json_root(old));
    merge(m, jm_root(m), patch);
    JSON_REF(now) = jm_freeze(m);
    return write_over(f, res, place, old, json_root(now), o ? o->subresource : NULL, err);
}

static int op_del(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns, const char *name,
                  const struct kube_opts *o, struct json **out, struct err *err)
{
    struct fake_kube *f = CONTAINER_OF(k, struct fake_kube, kube);
    (void)ctx;
    LOCK_GUARD(&f->lock);
    if (enter(f, "delete", res, err) < 0)
        return -1;
    AUTOFREE char *place = place_of(res, ns, name);
    struct json *old = strmap_get(&f->objects, place);
    if (!old)
        return not_found(res, name, err);
    jval *was = json_root(old);
    if (o && o->precondition_uid && !str_eq(o->precondition_uid, obj_uid(was)))
        return err_set(err, ERR_CONFLICT, "Precondition failed: UID in precondition: %s, UID in object meta: %s",
                       o->precondition_uid, obj_uid(was));
    JM(m, was);
    jmval *meta = jm_obj_at(m, jm_root(m), "metadata");
    char now[TIME_TEXT_MAX];
    if (!obj_deleting(was))
        jm_put(m, meta, "deletionTimestamp", jm_str(m, time_format(now, clock_system.wall_ns(&clock_system), TIME_SECONDS)));
    if (str_eq(res->kind, "Namespace"))
        jm_put(m, jm_obj_at(m, jm_root(m), "status"), "phase", jm_str(m, "Terminating"));
    if (o && o->propagation == KUBE_FOREGROUND)
        obj_add_finalizer(m, jm_root(m), "foregroundDeletion");
    if (o && o->propagation == KUBE_ORPHAN)
        obj_add_finalizer(m, jm_root(m), "orphan");
    if (obj_deleting(was)) {
        JSON_REF(same) = jm_freeze(m);
        if (jv_equal(was, json_root(same)))
            return 0;
    }
    struct json *d = commit(f, res, place, m);
    if (out)
        *out = d;
    else
        json_unref(d);
    return 0;
}

/* ---- watching ------------------------------------------------------------------------------------------------------------ */

static void op_watch_close(struct kube_watch *w)
{
    {
        LOCK_GUARD(&w->f->lock);
        struct kube_watch **at = &w->f->watches;
        while (*at && *at != w)
            at = &(*at)->next;
        if (*at)
            *at = w->next;
    }
    for (size_t i = w->at_first; i < w->n_first; i++)
        json_unref(w->first[i]);
    free(w->first);
    label_selector_free(w->labels);
    field_selector_free(w->fields);
    free(w->group);
    free(w->plural);
    free(w->ns);
    free(w);
}

static bool watch_selects(const struct kube_watch *w, const struct json *d)
{
    jval *v = json_root(d);
    return d && (str_empty(w->ns) || str_eq(w->ns, obj_namespace(v))) && label_selector_selects(w->labels, v) &&
           field_selector_matches(w->fields, v);
}

static struct kube_watch *op_watch(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns,
                                   const struct kube_opts *o, struct err *err)
{
    struct fake_kube *f = CONTAINER_OF(k, struct fake_kube, kube);
    (void)ctx;
    LOCK_GUARD(&f->lock);
    if (enter(f, "watch", res, err) < 0)
        return NULL;
    int64_t rv = 0;
    if (o && !str_empty(o->resource_version))
        str_to_i64(o->resource_version, &rv);
    if (rv > 0 && rv < f->compacted) {
        err_set(err, ERR_GONE, "too old resource version: %lld (%lld)", (long long)rv, (long long)f->compacted);
        return NULL;
    }
    struct kube_watch *w = xcalloc(1, sizeof *w);
    w->f = f;
    w->group = xstrdup(res->group);
    w->plural = xstrdup(res->plural);
    w->ns = xstrdup(ns);
    w->labels = label_selector_parse(o ? o->label_selector : NULL, NULL);
    w->fields = field_selector_parse(o ? o->field_selector : NULL, field_labels_of(res->group, res->kind), NULL);
    while (w->at < f->n_history && f->history[w->at].rv <= (rv ? rv : f->rv))
        w->at++;
    w->mark = o && o->send_initial_events && o->bookmarks && !f->forgets_marks ? f->rv : 0;
    if (rv == 0) {
        w->first = xcalloc(strmap_count(&f->objects) + 1, sizeof *w->first);
        for (struct strmap_entry *e = strmap_first(&f->objects); e; e = strmap_next(e))
            if (place_in(e->key, res, ns) && watch_selects(w, e->value))
                w->first[w->n_first++] = json_ref(e->value);
    }
    w->next = f->watches;
    f->watches = w;
    return w;
}

/* What a change is to this watch: true when it is an event. */
static bool change_event(const struct kube_watch *w, const struct change *c, struct kube_event *ev)
{
    if (!str_eq(c->group, w->group) || !str_eq(c->plural, w->plural))
        return false;
    bool before = watch_selects(w, c->old), after = !c->gone && watch_selects(w, c->now);
    if (!before && !after)
        return false;
    ev->type = !before ? KUBE_ADDED : after ? KUBE_MODIFIED : KUBE_DELETED;
    ev->object = json_ref(c->now);
    return true;
}

static int op_watch_next(struct kube_watch *w, const struct ctx *ctx, struct kube_event *ev, struct err *err)
{
    struct fake_kube *f = w->f;
    LOCK_GUARD(&f->lock);
    for (;;) {
        if (ctx_check(ctx, err) < 0)
            return -1;
        if (w->at_first < w->n_first) {
            *ev = (struct kube_event){KUBE_ADDED, w->first[w->at_first++]};
            return 1;
        }
        if (w->mark) {
            AUTOFREE char *text = xasprintf("{\"metadata\":{\"resourceVersion\":\"%lld\",\"annotations\":{\"%s\":\"true\"}}}",
                                            (long long)w->mark, KUBE_INITIAL_END);
            w->mark = 0;
            *ev = (struct kube_event){KUBE_BOOKMARK, json_parse_str(text, NULL)};
            return 1;
        }
        while (w->at < f->n_history)
            if (change_event(w, &f->history[w->at++], ev))
                return 1;
        if (w->ended)
            return w->end_code == ERR_OK ? 0 : err_set(err, w->end_code, "the watch was ended by the test");
        thread_cond_wait_until(&f->changed, &f->lock, clock_system.mono_ns(&clock_system) + 2 * NS_PER_MS);
    }
}

static int op_logs(struct kube *k, const struct ctx *ctx, const char *ns, const char *pod, const struct kube_log_opts *o,
                   size_t max, struct buf *out, struct err *err)
{
    (void)k, (void)ctx, (void)ns, (void)pod, (void)o, (void)max, (void)out;
    return err_set(err, ERR_METHOD, "the fake has no logs");
}

static bool op_streams_lists(struct kube *k, const struct ctx *ctx)
{
    (void)ctx;
    return CONTAINER_OF(k, struct fake_kube, kube)->streams;
}

void fake_stream_lists(struct fake_kube *f, bool marked)
{
    f->streams = true;
    f->forgets_marks = !marked;
}

static const struct kube_ops ops = {
    .streams_lists = op_streams_lists,
    .get = op_get,
    .list = op_list,
    .create = op_create,
    .update = op_update,
    .patch = op_patch,
    .del = op_del,
    .watch = op_watch,
    .watch_next = op_watch_next,
    .watch_close = op_watch_close,
    .logs = op_logs,
};

/* ---- the test's side ----------------------------------------------------------------------------------------------------- */

static void unref_any(void *p) { json_unref(p); }

struct fake_kube *fake_kube_new(void)
{
    struct fake_kube *f = xcalloc(1, sizeof *f);
    f->kube.ops = &ops;
    pthread_mutex_init(&f->lock, NULL);
    thread_cond_init(&f->changed);
    f->objects = STRMAP_INIT(unref_any);
    f->calls = STRMAP_INIT(NULL);
    f->rv = 100;
    return f;
}

void fake_kube_free(struct fake_kube *f)
{
    ASSERT(!f->watches);
    for (size_t i = 0; i < f->n_history; i++) {
        json_unref(f->history[i].old);
        json_unref(f->history[i].now);
        free(f->history[i].group);
        free(f->history[i].plural);
    }
    free(f->history);
    while (f->failures) {
        struct failure *x = f->failures;
        f->failures = x->next;
        free(x->verb);
        free(x->plural);
        free(x);
    }
    strmap_free(&f->objects);
    strmap_free(&f->calls);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

struct kube *fake_kube_face(struct fake_kube *f) { return &f->kube; }

struct json *fake_put(struct fake_kube *f, const struct kube_res *res, const char *json_fmt, ...)
{
    va_list ap;
    BUF(text);
    va_start(ap, json_fmt);
    buf_addv(&text, json_fmt, ap);
    va_end(ap);
    ERR(e);
    JSON_REF(d) = json_parse(buf_str(&text), text.len, NULL, &e);
    ASSERT(d);
    LOCK_GUARD(&f->lock);
    JM(m, json_root(d));
    complete(f, m, res, NULL);
    jmval *meta = jmv_get(jm_root(m), "metadata");
    AUTOFREE char *place = place_of(res, jmv_str(jmv_get(meta, "namespace")), jmv_str(jmv_get(meta, "name")));
    return commit(f, res, place, m);
}

struct json *fake_get(struct fake_kube *f, const struct kube_res *res, const char *ns, const char *name)
{
    LOCK_GUARD(&f->lock);
    AUTOFREE char *place = place_of(res, ns, name);
    return json_ref(strmap_get(&f->objects, place));
}

void fake_remove(struct fake_kube *f, const struct kube_res *res, const char *ns, const char *name)
{
    LOCK_GUARD(&f->lock);
    AUTOFREE char *place = place_of(res, ns, name);
    struct json *d = strmap_get(&f->objects, place);
    ASSERT(d);
    JM(m, json_root(d));
    jmval *meta = jmv_get(jm_root(m), "metadata");
    jm_put(m, meta, "deletionTimestamp", jm_str(m, "2026-01-01T00:00:00Z"));
    jm_del(meta, "finalizers");
    jmval *spec = jmv_get(jm_root(m), "spec");
    if (spec)
        jm_del(spec, "finalizers");
    json_unref(commit(f, res, place, m));
}

size_t fake_count(struct fake_kube *f, const struct kube_res *res, const char *ns)
{
    LOCK_GUARD(&f->lock);
    size_t n = 0;
    for (struct strmap_entry *e = strmap_first(&f->objects); e; e = strmap_next(e))
        n += place_in(e->key, res, ns);
    return n;
}

void fake_fail(struct fake_kube *f, const char *verb, const char *plural, int times, enum err_code code)
{
    LOCK_GUARD(&f->lock);
    struct failure *x = xcalloc(1, sizeof *x);
    *x = (struct failure){xstrdup(verb), xstrdup(plural), times, code, f->failures};
    f->failures = x;
}

void fake_end_watches(struct fake_kube *f, const char *plural, enum err_code code)
{
    LOCK_GUARD(&f->lock);
    for (struct kube_watch *w = f->watches; w; w = w->next) {
        if (str_eq(w->plural, plural)) {
            w->ended = true;
            w->end_code = code;
        }
    }
    pthread_cond_broadcast(&f->changed);
}

void fake_compact(struct fake_kube *f)
{
    LOCK_GUARD(&f->lock);
    f->compacted = ++f->rv;
}

size_t fake_calls(struct fake_kube *f, const char *verb, const char *plural)
{
    LOCK_GUARD(&f->lock);
    AUTOFREE char *key = xasprintf("%s %s", verb, plural);
    return (size_t)strmap_get(&f->calls, key);
}

bool fake_eventually(bool (*cond)(void *arg), void *arg)
{
    for (int i = 0; i < 30000; i++) {
        if (cond(arg))
            return true;
        nanosleep(&(struct timespec){0, 2000000}, NULL);
    }
    return false;
}
