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
#include "pipelines/mirror/schedules.h"
#include "pipelines/store/hash.h"

static const struct kube_res SCHEDULES = {"kubeflow.org", "v1beta1", "scheduledworkflows", "ScheduledWorkflow", true};
/* Behind the digests: the row did not take over what the object says, and its status says why. */
#define REFUSED ".refused"
static const char ID_LABEL[] = "pipelines.tidemill.dev/recurring-run", SYNCED[] = "pipelines.tidemill.dev/synced";
#define NOT_SYNCED_AGAIN (2 * NS_PER_S)

struct mirror {
    struct mirror_config cfg;
    struct informer *informer;
    struct controller_run *controller;
    pthread_mutex_t lock;
    struct strmap deleted; /* ids of objects that were seen going. Guarded by lock */
};

/* ---- which object is which row ------------------------------------------------------------------------------------------- */

/* Ours carry the row's id; the row of somebody else's has the object's uid for an id. */
static const char *row_id(jval *object)
{
    const char *label = obj_label(object, ID_LABEL);
    return str_empty(label) ? obj_uid(object) : label;
}

static void changed(void *self, struct json *old, struct json *now)
{
    struct mirror *m = self;
    const char *id = row_id(json_root(now ? now : old));
    if (!now) {
        LOCK_GUARD(&m->lock);
        strmap_put(&m->deleted, id, NULL);
    }
    workqueue_add(controller_queue(m->controller), id);
}

static bool take_deleted(struct mirror *m, const char *id)
{
    LOCK_GUARD(&m->lock);
    return strmap_del(&m->deleted, id);
}

static struct json *find_object(struct mirror *m, const char *id)
{
    size_t n = 0;
    struct json *found = NULL, **all = informer_list(m->informer, &n);
    for (size_t i = 0; i < n; i++) {
        if (!found && !obj_deleting(json_root(all[i])) && str_eq(row_id(json_root(all[i])), id))
            found = json_ref(all[i]);
        json_unref(all[i]);
    }
    free(all);
    return found;
}

/* ---- what both sides say --------------------------------------------------------------------------------------------------- */

/* The row's side: its spec and status as documents. NULL without an error: there is no row. */
struct want {
    struct recurring r;
    struct json *spec, *status;
    char *digest;
    bool refused;
};
static void want_clear(struct want *w)
{
    recurring_clear(&w->r);
    json_unref(w->spec);
    json_unref(w->status);
    free(w->digest);
}

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
static int read_want(struct mirror *m, const struct ctx *ctx, const char *id, const char *error, struct want *w, struct err *err)
{
    ERR(e);
    int64_t next = INT64_MAX;
    struct db *db = db_reader_get(m->cfg.store->readers, err);
    if (!db)
        return -1;
    int rc = recurring_get(db, id, &w->r, &e);
    if (rc == 0) {
        JM_NEW(j);
        jmval *spec = schedule_spec(db, j, &w->r, err);
        rc = spec ? 1 : -1;
        if (spec) {
            jm_set_root(j, spec);
            w->spec = jm_freeze(j);
        }
    } else {
        rc = e.code == ERR_NOT_FOUND ? 0 : err_move(err, &e);
    }
    db_reader_put(m->cfg.store->readers, db);
    if (rc < 1)
        return rc;
    recurring_next(&w->r, pipelines_time_zone(m->cfg.api), ctx_now_ns(ctx) / NS_PER_S, &next, NULL);
    JM_NEW(j);
    jm_set_root(j, schedule_status(j, &w->r, next, error));
    w->status = jm_freeze(j);
    w->digest = digest_of(json_root(w->spec));
    return 1;
}

/* ---- writing the object -----------------------------------------------------------------------------------------------------
 */

/* The object as it should be: with spec (NULL: its own), status, labels, and the digests of both sides. */
static struct json *render(jval *object, const struct want *w, bool with_spec, const char *spec_digest)
{
    JM(m, object);
    jmval *o = jm_root(m), *meta = jm_obj_at(m, o, "metadata");
    AUTOFREE char *both = xasprintf("%s.%s%s", spec_digest, w->digest, w->refused ? REFUSED : "");
    jm_put(m, jm_obj_at(m, meta, "annotations"), SYNCED, jm_str(m, both));
    jmval *labels = jm_obj_at(m, meta, "labels");
    jm_put(m, labels, "scheduledworkflows.kubeflow.org/enabled", jm_str(m, w->r.enabled ? "true" : "false"));
    jm_put(m, labels, "scheduledworkflows.kubeflow.org/status",
           jm_str(m, jv_str_or(jv_get(jv_at(jv_get(json_root(w->status), "conditions"), 0), "type"), "")));
    if (with_spec)
        jm_put(m, o, "spec", jm_val(m, json_root(w->spec)));
    jm_put(m, o, "status", jm_val(m, json_root(w->status)));
    return jm_freeze(m);
}

static int create_object(struct mirror *m, const struct ctx *ctx, const struct want *w, struct err *err)
{
    JM_NEW(j);
    jmval *o = jm_obj(j), *meta = jm_obj_at(j, o, "metadata");
    jm_set_root(j, o);
    jm_put(j, o, "apiVersion", jm_str(j, "kubeflow.org/v1beta1"));
    jm_put(j, o, "kind", jm_str(j, "ScheduledWorkflow"));
    jm_put(j, meta, "name", jm_str(j, w->r.name));
    jm_put(j, meta, "namespace", jm_str(j, w->r.ns));
    jm_put(j, jm_obj_at(j, meta, "labels"), ID_LABEL, jm_str(j, w->r.id));
    JSON_REF(bare) = jm_freeze(j);
    JSON_REF(full) = render(json_root(bare), w, true, w->digest);
    FAULT("mirror.create.before");
    ERR(e);
    JSON_REF(made) = kube_create(m->cfg.kube, ctx, &SCHEDULES, w->r.ns, json_root(full), NULL, &e);
    return made || e.code == ERR_EXISTS ? 0 : err_move(err, &e);
}

static int update_object(struct mirror *m, const struct ctx *ctx, jval *object, const struct want *w, bool with_spec,
                         const char *spec_digest, struct err *err)
{
    JSON_REF(next) = render(object, w, with_spec, spec_digest);
    if (jv_equal(json_root(next), object))
        return 0;
    JSON_REF(done) =
        kube_update(m->cfg.kube, ctx, &SCHEDULES, obj_namespace(object), obj_name(object), json_root(next), NULL, err);
    return done ? 0 : -1;
}

static int delete_object(struct mirror *m, const struct ctx *ctx, jval *object, struct err *err)
{
    ERR(e);
    const struct kube_opts opts = {.precondition_uid = obj_uid(object)};
    if (kube_delete(m->cfg.kube, ctx, &SCHEDULES, obj_namespace(object), obj_name(object), &opts, NULL, &e) == 0 ||
        e.code == ERR_NOT_FOUND)
        return 0;
    return err_move(err, &e);
}

/* ---- the turn ---------------------------------------------------------------------------------------------------------------
 */

/* Takes over what the object says. What the row refuses is told in the object's status. */
static int adopt(struct mirror *m, const struct ctx *ctx, jval *object, const char *id, const char *digest, struct err *err)
{
    CLEANUP(want_clear) struct want w = {0};
    ERR(e);
    JSON_REF(body) = schedule_body(object);
    AUTOFREE char *text = jv_text(json_root(body), JW_COMPACT);
    int rc = pipelines_recurring_apply(m->cfg.api, ctx, id, obj_name(object), obj_namespace(object), text, &e);
    if (rc < 0 && (e.code == ERR_IO || e.code == ERR_UNAVAILABLE || e.code == ERR_CANCELLED || e.code == ERR_TIMEOUT))
        return err_move(err, &e);
    int have = read_want(m, ctx, id, rc < 0 ? err_text(&e) : NULL, &w, err);
    if (have < 0)
        return -1;
    if (have == 0) { /* it never became a row: the status is all there is to say */
        const struct recurring none = {0};
        JM_NEW(j);
        jm_set_root(j, schedule_status(j, &none, INT64_MAX, err_text(&e)));
        w.status = jm_freeze(j);
        w.digest = xstrdup("none");
    }
    w.refused = rc < 0;
    return update_object(m, ctx, object, &w, false, digest, err);
}

static int sync(struct mirror *m, const struct ctx *ctx, jval *object, const char *id, const struct want *w, struct err *err)
{
    const char *synced = obj_annotation(object, SYNCED);
    AUTOFREE char *digest = digest_of(jv_get(object, "spec"));
    size_t n = strlen(digest);
    bool edited = !synced || strncmp(synced, digest, n) != 0 || synced[n] != '.';
    if (edited)
        return adopt(m, ctx, object, id, digest, err);
    bool row_changed = w && strncmp(synced + n + 1, w->digest, strlen(w->digest)) != 0;
    if (!w || (!row_changed && str_ends(synced, REFUSED)))
        return 0; /* refused, and nothing has changed since */
    return update_object(m, ctx, object, w, row_changed, row_changed ? w->digest : digest, err);
}

static int turn(struct mirror *m, const struct ctx *ctx, const char *id, struct err *err)
{
    CLEANUP(want_clear) struct want w = {0};
    JSON_REF(object) = find_object(m, id);
    bool was_deleted = take_deleted(m, id);
    int have = read_want(m, ctx, id, NULL, &w, err);
    if (have < 0)
        return -1;
    if (object && (have || str_empty(obj_label(json_root(object), ID_LABEL))))
        return sync(m, ctx, json_root(object), id, have ? &w : NULL, err);
    if (object) /* of a row that is gone */
        return delete_object(m, ctx, json_root(object), err);
    if (!have)
        return 0;
    return was_deleted ? pipelines_recurring_delete(m->cfg.api, ctx, id, err) : create_object(m, ctx, &w, err);
}

static int reconcile(void *self, const struct ctx *ctx, const char *id, struct reconcile_result *res, struct err *err)
{
    struct mirror *m = self;
    struct ctx now = ctx_with_timeout(ctx, NS_PER_MS);
    ERR(e);
    if (informer_wait_synced(m->informer, &now, &e) < 0) {
        res->again_after_ns = NOT_SYNCED_AGAIN;
        return 0;
    }
    return turn(m, ctx, id, err);
}

/* ---- life ---------------------------------------------------------------------------------------------------------------------
 */

static int queue_all(struct mirror *m, struct err *err)
{
    static const char SQL[] = "SELECT recurring_run_id FROM recurring_runs";
    struct db *db = db_reader_get(m->cfg.store->readers, err);
    int rc = -1;
    if (!db)
        return -1;
    {
        STMT(s, db, SQL, err);
        while (s && (rc = stmt_step(s, err)) == 1)
            mirror_notify(m, stmt_text(s, 0));
    }
    db_reader_put(m->cfg.store->readers, db);
    return rc;
}

struct mirror *mirror_start(const struct mirror_config *cfg, struct err *err)
{
    struct mirror *m = xcalloc(1, sizeof *m);
    m->cfg = *cfg;
    ASSERT(pthread_mutex_init(&m->lock, NULL) == 0);
    m->deleted = STRMAP_INIT(NULL);
    const struct informer_config ic = {.kube = cfg->kube, .res = &SCHEDULES, .clock = cfg->store->clock};
    m->informer = informer_new(&ic);
    const struct controller c = {.name = "scheduled-workflows", .workers = 2, .reconcile = reconcile};
    m->controller = controller_start(&c, m, cfg->store->clock, cfg->base_delay_ns > 0 ? cfg->base_delay_ns : 5 * NS_PER_MS);
    informer_add_handler(m->informer, (struct informer_handler){changed, m});
    informer_start(m->informer);
    if (queue_all(m, err) == 0)
        return m;
    mirror_stop(m);
    return NULL;
}

void mirror_halt(struct mirror *m)
{
    if (!m || !m->informer)
        return;
    controller_halt(m->controller);
    informer_stop(TAKE(m->informer));
}

void mirror_stop(struct mirror *m)
{
    if (!m)
        return;
    mirror_halt(m);
    controller_stop(m->controller);
    strmap_free(&m->deleted);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

void mirror_notify(struct mirror *m, const char *id)
{
    if (m)
        workqueue_add(controller_queue(m->controller), id);
}
