/* trash.c - what is left to do for runs that were deleted together with the bytes of their artifacts. */
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "pipelines/store/store.h"

void trash_clear(struct trash *t)
{
    free(t->uri);
    run_clear(&t->run);
    *t = (struct trash){0};
}

/* "<root>/<pipeline>/<run id>", as the engine names what its tasks write; the root's query string is no part of it. */
static char *own_root(const struct run *r)
{
    size_t n = strcspn(r->pipeline_root, "?");
    while (n > 0 && r->pipeline_root[n - 1] == '/')
        n--;
    return xasprintf("%.*s/%s/%s", (int)n, r->pipeline_root, r->pipeline_name, r->run_id);
}

int run_trash(struct db *db, const char *run_id, struct err *err)
{
    static const char SQL[] = "INSERT OR REPLACE INTO artifact_trash (run_id, uri, namespace, pipeline_root, stores)"
                              " VALUES (?1, ?2, ?3, ?4, ?5)";
    RUN(r);
    if (run_get(db, run_id, &r, err) < 0)
        return -1;
    if (str_empty(r.pipeline_root)) /* it never began */
        return 0;
    AUTOFREE char *uri = own_root(&r);
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, run_id);
    stmt_bind_text(s, 2, uri);
    stmt_bind_text(s, 3, r.ns ? r.ns : "");
    stmt_bind_text(s, 4, r.pipeline_root);
    stmt_bind_text(s, 5, r.stores);
    FAULT("trash.inside");
    return stmt_run(s, err);
}

int trash_get(struct db *db, const char *run_id, struct trash *out, struct err *err)
{
    static const char SQL[] = "SELECT uri, namespace, pipeline_root, stores FROM artifact_trash WHERE run_id = ?1";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, run_id);
    int rc = stmt_step(s, err);
    if (rc != 1)
        return rc;
    out->uri = xstrdup(stmt_text(s, 0));
    out->run.run_id = xstrdup(run_id);
    out->run.ns = xstrdup(stmt_text(s, 1));
    out->run.pipeline_root = xstrdup(stmt_text(s, 2));
    out->run.stores = xstrdup(stmt_text(s, 3));
    return 1;
}

int trash_runs(struct db *db, struct strlist *ids, struct err *err)
{
    static const char SQL[] = "SELECT run_id FROM artifact_trash ORDER BY run_id";
    STMT(s, db, SQL, err);
    return s ? stmt_texts(s, ids, err) : -1;
}

int trash_done(struct db *db, const char *run_id, struct err *err)
{
    static const char SQL[] = "DELETE FROM artifact_trash WHERE run_id = ?1";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, run_id);
    return stmt_run(s, err);
}

/* ---- who still refers to it ------------------------------------------------------------------------------------------- */

static int add_same(struct db *db, const char *uri, struct strlist *kept, struct err *err)
{
    static const char SQL[] = "SELECT uri FROM artifacts WHERE uri = ?1 OR uri = ?1 || '/' LIMIT 1";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, uri);
    return stmt_texts(s, kept, err);
}

/* Directories above it: whoever has one as an artifact has all of it. */
static int add_above(struct db *db, const char *uri, struct strlist *kept, struct err *err)
{
    AUTOFREE char *up = xstrdup(uri);
    const char *bucket = strstr(up, "://");
    for (char *slash; bucket && (slash = strrchr(bucket + 3, '/'));) {
        *slash = '\0';
        if (add_same(db, up, kept, err) < 0)
            return -1;
    }
    return 0;
}

int trash_kept(struct db *db, const char *uri, struct strlist *kept, struct err *err)
{
    /* '0' is the character behind '/' */
    static const char SQL[] = "SELECT DISTINCT uri FROM artifacts WHERE uri >= ?1 || '/' AND uri < ?1 || '0'";
    if (add_above(db, uri, kept, err) < 0 || add_same(db, uri, kept, err) < 0)
        return -1;
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, uri);
    return stmt_texts(s, kept, err);
}

/* ---- who must not begin to ------------------------------------------------------------------------------------------- */

int trash_begin(struct db *db, const char *run_id, struct err *err)
{
    static const char SQL[] = "UPDATE artifact_trash SET emptying = 1 WHERE run_id = ?1";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, run_id);
    return stmt_run(s, err);
}

/* One is the other, or lies in it. */
static bool overlap(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    size_t least = n < m ? n : m;
    return strncmp(a, b, least) == 0 && (n == m || (n < m ? b : a)[least] == '/');
}

int trash_takes(struct db *db, const char *uri, bool *takes, struct err *err)
{
    static const char SQL[] = "SELECT uri FROM artifact_trash WHERE emptying = 1";
    STRLIST(dirs);
    STRLIST(kept);
    *takes = false;
    STMT(s, db, SQL, err);
    if (!s || stmt_texts(s, &dirs, err) < 0)
        return -1;
    AUTOFREE char *place = xstrdup(uri);
    for (size_t n = strlen(place); n > 0 && place[n - 1] == '/';)
        place[--n] = '\0';
    for (size_t i = 0; i < dirs.n; i++)
        *takes = *takes || overlap(dirs.v[i], place);
    /* What has a row already, or lies in what has one, is among what is kept. */
    if (*takes && (add_same(db, place, &kept, err) < 0 || add_above(db, place, &kept, err) < 0))
        return -1;
    *takes = *takes && kept.n == 0;
    return 0;
}
