/* trash.c - the bytes of runs that were deleted together with their artifacts.
 *
 * The transaction that deletes such a run leaves a row that names its directory below the pipeline root. When its pods are gone,
 * what lies there is deleted but for what an artifact of another run's lineage still names, and then the row. What stays is
 * decided at once, with a mark in that row: a run that would begin to refer to something else in there later cannot (commit.c,
 * importer.c), and one that took an artifact from the cache without having written it yet decides anew. A kill in between, or a
 * store that does not answer, finds the row again: deleting what is not there is fine. */
#include <stdlib.h>
#include <string.h>

#define LOG_ROOM "engine"
#include "base/fault.h"
#include "base/log.h"
#include "pipelines/engine/live.h"

enum { PAGE = 1000 };

/* What stays: URIs, and all directories that they lie in. */
struct stays {
    struct strmap uris, above;
};

static void cut(char *uri)
{
    size_t n = strlen(uri);
    while (n > 0 && uri[n - 1] == '/')
        uri[--n] = '\0';
}

static void stays_fill(struct stays *s, const struct strlist *kept)
{
    for (size_t i = 0; i < kept->n; i++) {
        AUTOFREE char *uri = xstrdup(kept->v[i]);
        cut(uri);
        strmap_put(&s->uris, uri, s);
        for (char *slash; (slash = strrchr(uri, '/')) && slash > uri && slash[-1] != '/';) {
            *slash = '\0';
            strmap_put(&s->above, uri, s);
        }
    }
}

/* It is one of them, lies in one, or one lies in it (a key may have others below it). */
static bool stays(struct stays *s, const char *uri)
{
    AUTOFREE char *up = xstrdup(uri);
    if (strmap_get(&s->above, up))
        return true;
    for (char *slash;;) {
        if (strmap_get(&s->uris, up))
            return true;
        slash = strrchr(up, '/');
        if (!slash || slash == up || slash[-1] == '/')
            return false;
        *slash = '\0';
    }
}

struct place {
    struct blob_store *store;
    char *scheme, *bucket, *key;
};

static int delete_page(const struct place *p, const struct ctx *ctx, struct stays *s, const struct blob_page *page,
                       struct err *err)
{
    for (size_t i = 0; i < page->n; i++) {
        AUTOFREE char *uri = xasprintf("%s://%s/%s", p->scheme, p->bucket, page->v[i].key);
        if (!stays(s, uri) && blob_delete(p->store, ctx, p->bucket, page->v[i].key, err) < 0)
            return -1;
        FAULT("engine.trash.between");
    }
    return 0;
}

static int delete_others(const struct place *p, const struct ctx *ctx, struct stays *s, struct err *err)
{
    AUTOFREE char *token = NULL;
    do {
        CLEANUP(blob_page_clear) struct blob_page page = {0};
        if (blob_list(p->store, ctx, p->bucket, p->key, token, PAGE, &page, err) < 0 || delete_page(p, ctx, s, &page, err) < 0)
            return -1;
        free(token);
        token = TAKE(page.next);
    } while (token);
    return 0;
}

static int delete_bytes(const struct place *p, const struct ctx *ctx, const char *uri, const struct strlist *kept,
                        struct err *err)
{
    if (kept->n == 0)
        return blob_delete(p->store, ctx, p->bucket, p->key, err);
    struct stays s = {STRMAP_INIT(NULL), STRMAP_INIT(NULL)};
    stays_fill(&s, kept);
    int rc = delete_others(p, ctx, &s, err);
    strmap_free(&s.uris);
    strmap_free(&s.above);
    return rc;
}

/* Nothing but the directory of the run: its own name is the last part. */
static int check_key(const char *key, const char *run_id, struct err *err)
{
    const char *last = strrchr(key, '/');
    return last && str_eq(last + 1, run_id) ? 0 : err_set(err, ERR_INVALID, "\"%s\" is not the directory of run %s", key, run_id);
}

static int open_and_delete(struct engine *e, const struct ctx *ctx, const struct trash *t, const struct strlist *kept,
                           struct err *err)
{
    struct place p = {0};
    struct blob_store *other = NULL;
    int rc = blob_uri_split(t->uri, &p.scheme, &p.bucket, &p.key, err);
    if (rc == 0)
        rc = check_key(p.key, t->run.run_id, err);
    if (rc == 0)
        rc = engine_open_store(e, ctx, &t->run, t->uri, &other, err);
    p.store = other ? other : e->cfg.blobs;
    if (rc == 0 && !p.store)
        rc = err_set(err, ERR_UNIMPLEMENTED, "no store is known here");
    if (rc == 0)
        rc = delete_bytes(&p, ctx, t->uri, kept, err);
    if (other)
        blob_store_free(other);
    free(p.scheme);
    free(p.bucket);
    free(p.key);
    return rc;
}

struct begin {
    const char *run_id;
    struct trash *t;
    struct strlist *kept;
    int found;
};

/* What stays is decided in the transaction after which nobody begins to refer to the rest: between the two nothing can come. */
static int begin_job(struct db *db, void *arg, struct err *err)
{
    struct begin *b = arg;
    b->found = trash_get(db, b->run_id, b->t, err);
    if (b->found != 1)
        return b->found;
    return trash_kept(db, b->t->uri, b->kept, err) < 0 ? -1 : trash_begin(db, b->run_id, err);
}

static int done_job(struct db *db, void *run_id, struct err *err) { return trash_done(db, run_id, err); }

/* Most runs that are gone have left nothing to do: that is seen without a write. 1, 0 or -1. */
static int is_there(struct engine *e, const char *run_id, struct err *err)
{
    CLEANUP(trash_clear) struct trash t = {0};
    struct db *db = db_reader_get(e->cfg.store->readers, err);
    int rc = db ? trash_get(db, run_id, &t, err) : -1;
    db_reader_put(e->cfg.store->readers, db);
    return rc;
}

int engine_empty_trash(struct engine *e, const struct ctx *ctx, const char *run_id, struct err *err)
{
    CLEANUP(trash_clear) struct trash t = {0};
    STRLIST(kept);
    ERR(te);
    struct begin b = {.run_id = run_id, .t = &t, .kept = &kept};
    int rc = is_there(e, run_id, err);
    if (rc == 1)
        rc = db_writer_run(e->cfg.store->writer, ctx, begin_job, &b, err);
    if (rc < 0 || b.found != 1)
        return rc;
    FAULT("engine.trash.before");
    if (open_and_delete(e, ctx, &t, &kept, &te) < 0) {
        bool never = te.code == ERR_INVALID || te.code == ERR_UNIMPLEMENTED;
        if (!never) {
            err_move(err, &te);
            return err_wrap(err, "deleting %s of a deleted run", t.uri);
        }
        log_error("run=%s its artifacts stay where they lie, %s: %s", run_id, t.uri, err_text(&te));
    } else {
        log_info("run=%s deleted its artifacts, %s; %zu that others refer to stay", run_id, t.uri, kept.n);
    }
    FAULT("engine.trash.after");
    AUTOFREE char *id = xstrdup(run_id);
    return db_writer_run(e->cfg.store->writer, ctx, done_job, id, err);
}
