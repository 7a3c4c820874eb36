/* mirror.c - see mirror.h. */
#include "pipelines/mirror/mirror.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define LOG_ROOM "mirror"
#include "base/fault.h"
#include "base/log.h"
#include "base/thread.h"
#include "kube/controller.h"
#include "kube/object.h"
#include "pipelines/mirror/kind.h"
#include "pipelines/store/hash.h"

/* Behind the digests: the row did not take over what the object says, and its status says why. */
#define REFUSED ".refused"
static const char SYNCED[] = "pipelines.tidemill.dev/synced", NO_ROW[] = "none";
#define NOT_SYNCED_AGAIN (2 * NS_PER_S)
/* What was refused for want of something else (a version's pipeline) may be right later. */
#define REFUSED_AGAIN (5 * NS_PER_S)

static const struct mirrored_kind *const KINDS[MIRROR_KINDS] = {
    [MIRROR_RECURRING_RUN] = &MIRRORED_SCHEDULES,
    [MIRROR_PIPELINE] = &MIRRORED_PIPELINES,
    [MIRROR_VERSION] = &MIRRORED_VERSIONS,
};

/* One kind of one mirror. */
struct part {
    struct mirror *m;
    const struct mirrored_kind *kind;
    struct informer *informer;
    struct controller_run *controller;
    pthread_mutex_t lock;
    struct strmap deleted; /* ids of objects that were seen going. Guarded by lock */
    struct strmap keys;    /* id of a row -> "ns/name" of its object. Guarded by lock */
    struct strmap written; /* id of a row -> revision of our last write, until the cache has it. The worker's */
};

struct mirror {
    struct mirror_config cfg;
    struct part parts[MIRROR_KINDS];
};

void shown_clear(struct shown *s)
{
    free(s->name);
    free(s->ns);
    free(s->digest);
    json_unref(s->spec);
    json_unref(s->status);
    json_unref(s->labels);
    *s = (struct shown){0};
}

/* ---- which object is which row ------------------------------------------------------------------------------------------- */

/* Ours carry the row's id; the row of somebody else's has the object's uid for an id. */
static const char *row_id(const struct part *p, jval *object)
{
    const char *label = obj_label(object, p->kind->id_label);
    return str_empty(label) ? obj_uid(object) : label;
}

static void changed(void *self, struct json *old, struct json *now)
{
    struct part *p = self;
    jval *object = json_root(now ? now : old);
    const char *id = row_id(p, object);
    /* Deleted and made anew under the same name between two looks. */
    bool replaced = old && now && !str_eq(obj_uid(json_root(old)), obj_uid(object));
    const char *gone = !now ? id : replaced ? row_id(p, json_root(old)) : NULL;
    if (now && str_eq(gone, id))
        gone = NULL;
    {
        LOCK_GUARD(&p->lock);
        if (gone) {
            strmap_del(&p->keys, gone);
            strmap_put(&p->deleted, gone, NULL);
        }
        if (now)
            strmap_put(&p->keys, id, obj_key(object));
    }
    if (gone)
        workqueue_add(controller_queue(p->controller), gone);
    if (now)
        workqueue_add(controller_queue(p->controller), id);
}

/* Whether the cache has not heard of our own last write yet. What such an object says was taken over already; taken over once
 * more it would undo what the row was told since, or bring back a row that was deleted. The watch brings us back. */
static bool is_behind(struct part *p, jval *object, const char *id)
{
    const char *text = strmap_get(&p->written, id);
    int64_t rv = 0;
    if (!text)
        return false;
    if (str_to_i64(text, &rv) && obj_rv(object) < rv)
        return true;
    strmap_del(&p->written, id);
    return false;
}

static void note_written(struct part *p, const char *id, struct json *done)
{
    strmap_put(&p->written, id, xstrdup(obj_rv_text(json_root(done))));
}

static bool take_deleted(struct part *p, const char *id)
{
    LOCK_GUARD(&p->lock);
    return strmap_del(&p->deleted, id);
}

static struct json *find_object(struct part *p, const char *id)
{
    AUTOFREE char *key = NULL;
    {
        LOCK_GUARD(&p->lock);
        const char *known = strmap_get(&p->keys, id);
        key = known ? xstrdup(known) : NULL;
    }
    struct json *o = key ? informer_get(p->informer, key) : NULL;
    if (o && !obj_deleting(json_root(o)) && str_eq(row_id(p, json_root(o)), id))
        return o;
    json_unref(o);
    return NULL;
}

/* ---- what both sides say --------------------------------------------------------------------------------------------------- */

static char *digest_of(jval *spec)
{
    char hex[HASH_TEXT];
    AUTOFREE char *text = jv_text(spec, JW_SORTED);
    hex[0] = '\0';
    sha256_hex(text, strlen(text), hex);
    hex[32] = '\0';
    return xstrdup(hex);
}

/* 1, 0: no row, -1. */
static int read_want(struct part *p, const struct ctx *ctx, const char *id, const char *error, struct shown *w, struct err *err)
{
    const struct mirror_config *cfg = &p->m->cfg;
    struct db *db = db_reader_get(cfg->store->readers, err);
    if (!db)
        return -1;
    int rc = p->kind->show(cfg->api, db, ctx_now_ns(ctx) / NS_PER_S, id, error, w, err);
    db_reader_put(cfg->store->readers, db);
    if (rc == 1)
        w->digest = digest_of(json_root(w->spec));
    return rc;
}

/* ---- writing the object -----------------------------------------------------------------------------------------------------
 */

/* The object as it should be: with spec (NULL: its own), status, labels, and the digests of both sides. */
static struct json *render(jval *object, const struct shown *w, bool with_spec, const char *spec_digest)
{
    JM(m, object);
    jmval *o = jm_root(m), *meta = jm_obj_at(m, o, "metadata");
    AUTOFREE char *both = xasprintf("%s.%s%s", spec_digest, w->digest, w->refused ? REFUSED : "");
    jm_put(m, jm_obj_at(m, meta, "annotations"), SYNCED, jm_str(m, both));
    const char *key;
    jval *v;
    for (struct jiter it = jv_iter(w->labels ? json_root(w->labels) : NULL); jv_next(&it, &key, &v);)
        jm_put(m, jm_obj_at(m, meta, "labels"), key, jm_val(m, v));
    if (with_spec)
        jm_put(m, o, "spec", jm_val(m, json_root(w->spec)));
    jm_put(m, o, "status", jm_val(m, json_root(w->status)));
    return jm_freeze(m);
}

/* 1: the name is somebody else's. */
static int create_as(struct part *p, const struct ctx *ctx, const char *id, const char *name, const struct shown *w,
                     struct err *err)
{
    const struct kube_res *res = &p->kind->res;
    JM_NEW(j);
    jmval *o = jm_obj(j), *meta = jm_obj_at(j, o, "metadata");
    jm_set_root(j, o);
    jm_put(j, o, "apiVersion", jm_strf(j, "%s/%s", res->group, res->version));
    jm_put(j, o, "kind", jm_str(j, res->kind));
    jm_put(j, meta, "name", jm_str(j, name));
    jm_put(j, meta, "namespace", jm_str(j, w->ns));
    jm_put(j, jm_obj_at(j, meta, "labels"), p->kind->id_label, jm_str(j, id));
    JSON_REF(bare) = jm_freeze(j);
    JSON_REF(full) = render(json_root(bare), w, true, w->digest);
    FAULT("mirror.create.before");
    ERR(e);
    JSON_REF(made) = kube_create(p->m->cfg.kube, ctx, res, w->ns, json_root(full), NULL, &e);
    if (made)
        return 0;
    if (e.code != ERR_EXISTS)
        return err_move(err, &e);
    JSON_REF(there) = kube_get(p->m->cfg.kube, ctx, res, w->ns, name, NULL, err);
    return there ? !str_eq(row_id(p, json_root(there)), id) : -1;
}

static int create_object(struct part *p, const struct ctx *ctx, const char *id, const struct shown *w, struct err *err)
{
    int rc = create_as(p, ctx, id, w->name, w, err);
    AUTOFREE char *longer = xasprintf("%.240s-%.8s", w->name, id);
    return rc > 0 ? create_as(p, ctx, id, longer, w, err) : rc;
}

static int update_object(struct part *p, const struct ctx *ctx, jval *object, const char *id, const struct shown *w,
                         bool with_spec, const char *spec_digest, struct err *err)
{
    JSON_REF(next) = render(object, w, with_spec, spec_digest);
    if (jv_equal(json_root(next), object))
        return 0;
    JSON_REF(done) =
        kube_update(p->m->cfg.kube, ctx, &p->kind->res, obj_namespace(object), obj_name(object), json_root(next), NULL, err);
    if (done)
        note_written(p, id, done);
    return done ? 0 : -1;
}

static int delete_object(struct part *p, const struct ctx *ctx, jval *object, struct err *err)
{
    ERR(e);
    const struct kube_opts opts = {.precondition_uid = obj_uid(object)};
    if (kube_delete(p->m->cfg.kube, ctx, &p->kind->res, obj_namespace(object), obj_name(object), &opts, NULL, &e) == 0 ||
        e.code == ERR_NOT_FOUND)
        return 0;
    return err_move(err, &e);
}

/* ---- the turn ------------------------------------------------------------------------------------------------------------ */

/* Takes over what the object says. What the row refuses is told in the object's status. 1: it may be taken over later. */
static int adopt(struct part *p, const struct ctx *ctx, jval *object, const char *id, const char *digest, struct err *err)
{
    CLEANUP(shown_clear) struct shown w = {0};
    ERR(e);
    int rc = p->kind->adopt(p->m->cfg.api, ctx, id, object, &e);
    if (rc < 0 && (e.code == ERR_IO || e.code == ERR_UNAVAILABLE || e.code == ERR_CANCELLED || e.code == ERR_TIMEOUT))
        return err_move(err, &e);
    int have = read_want(p, ctx, id, rc < 0 ? err_text(&e) : NULL, &w, err);
    if (have < 0)
        return -1;
    if (have == 0) { /* it never became a row: the status is all there is to say */
        w.status = p->kind->status(err_text(&e));
        w.digest = xstrdup(NO_ROW);
    }
    w.refused = rc < 0;
    if (update_object(p, ctx, object, id, &w, false, digest, err) < 0)
        return -1;
    return rc < 0 && e.code == ERR_NOT_FOUND;
}

/* The row of an object that was a row's, and has gone since. */
static bool lost_its_row(const struct part *p, jval *object)
{
    const char *synced = obj_annotation(object, SYNCED), *dot = synced ? strchr(synced, '.') : NULL;
    return !str_empty(obj_label(object, p->kind->id_label)) || (dot && strncmp(dot + 1, NO_ROW, strlen(NO_ROW)) != 0);
}

static int sync(struct part *p, const struct ctx *ctx, jval *object, const char *id, const struct shown *w, struct err *err)
{
    const char *synced = obj_annotation(object, SYNCED);
    AUTOFREE char *digest = digest_of(jv_get(object, "spec"));
    size_t n = strlen(digest);
    bool edited = !synced || strncmp(synced, digest, n) != 0 || synced[n] != '.';
    if (edited || !w)
        return adopt(p, ctx, object, id, digest, err);
    bool row_changed = strncmp(synced + n + 1, w->digest, strlen(w->digest)) != 0;
    if (!row_changed && str_ends(synced, REFUSED))
        return 0; /* refused, and nothing has changed since */
    return update_object(p, ctx, object, id, w, row_changed, row_changed ? w->digest : digest, err);
}

/* The objects of a pipeline's versions follow it: their rows went with its own. */
static void look_at_versions(struct mirror *m, const char *pipeline_id)
{
    size_t n = 0;
    struct part *p = &m->parts[MIRROR_VERSION];
    struct json **all = informer_list(p->informer, &n);
    for (size_t i = 0; i < n; i++) {
        if (str_eq(obj_label(json_root(all[i]), PIPELINE_ID_LABEL), pipeline_id))
            workqueue_add(controller_queue(p->controller), row_id(p, json_root(all[i])));
        json_unref(all[i]);
    }
    free(all);
}

static int turn(struct part *p, const struct ctx *ctx, const char *id, struct err *err)
{
    CLEANUP(shown_clear) struct shown w = {0};
    JSON_REF(object) = find_object(p, id);
    bool was_deleted = take_deleted(p, id);
    if (object && is_behind(p, json_root(object), id))
        return 0;
    if (!object)
        strmap_del(&p->written, id);
    int have = read_want(p, ctx, id, NULL, &w, err);
    if (have < 0)
        return -1;
    if (!have && p == &p->m->parts[MIRROR_PIPELINE])
        look_at_versions(p->m, id);
    if (object && (have || !lost_its_row(p, json_root(object))))
        return sync(p, ctx, json_root(object), id, have ? &w : NULL, err);
    if (object)
        return delete_object(p, ctx, json_root(object), err);
    if (!have)
        return 0;
    return was_deleted ? p->kind->remove(p->m->cfg.api, ctx, id, err) : create_object(p, ctx, id, &w, err);
}

static int reconcile(void *self, const struct ctx *ctx, const char *id, struct reconcile_result *res, struct err *err)
{
    struct part *p = self;
    struct ctx now = ctx_with_timeout(ctx, NS_PER_MS);
    ERR(e);
    if (informer_wait_synced(p->informer, &now, &e) < 0) {
        res->again_after_ns = NOT_SYNCED_AGAIN;
        return 0;
    }
    int rc = turn(p, ctx, id, err);
    if (rc > 0)
        res->again_after_ns = REFUSED_AGAIN;
    return rc < 0 ? -1 : 0;
}

/* ---- life ---------------------------------------------------------------------------------------------------------------- */

static int queue_all(struct part *p, struct err *err)
{
    struct db_readers *readers = p->m->cfg.store->readers;
    struct db *db = db_reader_get(readers, err);
    int rc = -1;
    if (!db)
        return -1;
    {
        STMT(s, db, p->kind->ids, err);
        while (s && (rc = stmt_step(s, err)) == 1)
            workqueue_add(controller_queue(p->controller), stmt_text(s, 0));
    }
    db_reader_put(readers, db);
    return rc;
}

static void part_open(struct part *p, struct mirror *m, const struct mirrored_kind *kind)
{
    const struct mirror_config *cfg = &m->cfg;
    p->m = m;
    p->kind = kind;
    ASSERT(pthread_mutex_init(&p->lock, NULL) == 0);
    p->deleted = STRMAP_INIT(NULL);
    p->keys = STRMAP_INIT(free);
    p->written = STRMAP_INIT(free);
    const struct informer_config ic = {.kube = cfg->kube, .res = &kind->res, .clock = cfg->store->clock};
    p->informer = informer_new(&ic);
    const struct controller c = {.name = kind->name, .workers = 1, .reconcile = reconcile};
    p->controller = controller_start(&c, p, cfg->store->clock, cfg->base_delay_ns > 0 ? cfg->base_delay_ns : 5 * NS_PER_MS);
    informer_add_handler(p->informer, (struct informer_handler){changed, p});
}

struct mirror *mirror_start(const struct mirror_config *cfg, struct err *err)
{
    struct mirror *m = xcalloc(1, sizeof *m);
    m->cfg = *cfg;
    for (int k = 0; k < MIRROR_KINDS; k++)
        part_open(&m->parts[k], m, KINDS[k]);
    for (int k = 0; k < MIRROR_KINDS; k++) {
        informer_start(m->parts[k].informer);
        if (queue_all(&m->parts[k], err) < 0) {
            mirror_stop(m);
            return NULL;
        }
    }
    return m;
}

void mirror_halt(struct mirror *m)
{
    if (!m || !m->parts[0].informer)
        return;
    for (int k = 0; k < MIRROR_KINDS; k++)
        controller_halt(m->parts[k].controller);
    for (int k = 0; k < MIRROR_KINDS; k++)
        informer_stop(TAKE(m->parts[k].informer));
}

void mirror_stop(struct mirror *m)
{
    if (!m)
        return;
    mirror_halt(m);
    for (int k = 0; k < MIRROR_KINDS; k++) {
        struct part *p = &m->parts[k];
        controller_stop(p->controller);
        strmap_free(&p->deleted);
        strmap_free(&p->keys);
        strmap_free(&p->written);
        pthread_mutex_destroy(&p->lock);
    }
    free(m);
}

void mirror_notify(struct mirror *m, enum mirror_kind kind, const char *id)
{
    if (m)
        workqueue_add(controller_queue(m->parts[kind].controller), id);
}
