/* journal.c - the SQLite side of the store: what is written at each commit, and what is read at the start. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/str.h"
#include "cluster/apiserver/store/internal.h"

#define LOG_ROOM "store"
#include "base/log.h"

const struct migration journal_migrations[] = {
    {1,
     "CREATE TABLE objects(key TEXT PRIMARY KEY, rv INTEGER NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;"
     "CREATE TABLE log(rv INTEGER PRIMARY KEY, op INTEGER NOT NULL, at INTEGER NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL);"
     "CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"},
};
const size_t journal_n_migrations = ARRAY_LEN(journal_migrations);

enum log_op { OP_CREATED = 0, OP_CHANGED = 1, OP_REMOVED = 2 };

static const char SQL_PUT[] = "INSERT INTO objects(key, rv, body) VALUES(?1, ?2, ?3) "
                              "ON CONFLICT(key) DO UPDATE SET rv = excluded.rv, body = excluded.body";
static const char SQL_DEL[] = "DELETE FROM objects WHERE key = ?1";
static const char SQL_LOG[] = "INSERT INTO log(rv, op, at, key, body) VALUES(?1, ?2, ?3, ?4, ?5)";
static const char SQL_META_PUT[] =
    "INSERT INTO meta(name, value) VALUES(?1, ?2) ON CONFLICT(name) DO UPDATE SET value = excluded.value";
static const char SQL_META_GET[] = "SELECT value FROM meta WHERE name = ?1";
/* meta "lost:FROM" = TO: what unclean stops made of the revisions in between. It outlives the next stop, for watchers may come
 * back after that. */
static const char SQL_LOST_GET[] =
    "SELECT CAST(substr(name, 6) AS INTEGER), value FROM meta WHERE substr(name, 1, 5) = 'lost:' ORDER BY 1";
static const char SQL_LOST_DEL[] = "DELETE FROM meta WHERE substr(name, 1, 5) = 'lost:' AND value < ?1";
static const char SQL_OBJECTS[] = "SELECT key, rv, body FROM objects ORDER BY key";
static const char SQL_LOG_ALL[] = "SELECT rv, op, at, key, body FROM log ORDER BY rv";
static const char SQL_COMPACT[] = "DELETE FROM log WHERE rv IN (SELECT rv FROM log WHERE rv <= ?1 ORDER BY rv LIMIT ?2)";

static int meta_put(struct store *s, const char *name, int64_t v, struct err *err)
{
    STMT(st, s->db, SQL_META_PUT, err);
    if (!st)
        return -1;
    stmt_bind_text(st, 1, name);
    stmt_bind_i64(st, 2, v);
    return stmt_run(st, err);
}

static int meta_get(struct store *s, const char *name, int64_t dflt, int64_t *out, struct err *err)
{
    STMT(st, s->db, SQL_META_GET, err);
    if (!st)
        return -1;
    stmt_bind_text(st, 1, name);
    int r = stmt_step(st, err);
    *out = r == 1 ? stmt_i64(st, 0) : dflt;
    return r < 0 ? -1 : 0;
}

/* ---- loading -------------------------------------------------------------------------------------------------- */

/* "group/plural/ns/name" to its collection; *rest is the key inside it. */
static struct store_coll *coll_of(struct store *s, const char *key, const char **rest)
{
    const char *a = strchr(key, '/');
    const char *b = a ? strchr(a + 1, '/') : NULL;
    if (!b)
        return NULL;
    AUTOFREE char *group = xstrndup(key, (size_t)(a - key));
    AUTOFREE char *plural = xstrndup(a + 1, (size_t)(b - a - 1));
    *rest = b + 1;
    return store_coll(s, group, plural);
}

static struct store_obj *row_obj(struct stmt *st, int key_col, int rv_col, int body_col, struct store *s,
                                 struct store_coll **coll, struct err *err)
{
    const char *key = stmt_text(st, key_col), *rest = NULL;
    *coll = key ? coll_of(s, key, &rest) : NULL;
    size_t n;
    const char *body = stmt_blob(st, body_col, &n);
    if (!*coll || !body) {
        err_set(err, ERR_INTERNAL, "the store holds a row with the key '%s', which is no key", key ? key : "");
        return NULL;
    }
    struct json *doc = json_parse(body, n, NULL, err);
    if (!doc) {
        err_wrap(err, "object %s of the store is damaged", key);
        return NULL;
    }
    return store_obj_new(rest, stmt_i64(st, rv_col), doc);
}

static int load_objects(struct store *s, int64_t *last, struct err *err)
{
    STMT(st, s->db, SQL_OBJECTS, err);
    if (!st)
        return -1;
    int r;
    while ((r = stmt_step(st, err)) == 1) {
        struct store_coll *c;
        struct store_obj *o = row_obj(st, 0, 1, 2, s, &c, err);
        if (!o)
            return -1;
        if (o->rv > *last)
            *last = o->rv;
        store_obj_unref(map_put(&c->map, o));
    }
    return r;
}

/* The state of a key before a change is the one that the former change of that key left; the log may not go back to it. */
static int load_log(struct store *s, int64_t *last, struct err *err)
{
    STMT(st, s->db, SQL_LOG_ALL, err);
    if (!st)
        return -1;
    struct strmap former = STRMAP_INIT(NULL); /* key -> borrowed from the log */
    int64_t oldest = s->clock->wall_ns(s->clock) - s->limits.log_age_ns;
    int r;
    bool first = true;
    while ((r = stmt_step(st, err)) == 1) {
        int64_t rv = stmt_i64(st, 0), at = stmt_i64(st, 2);
        if (rv > *last)
            *last = rv;
        if (at < oldest && first) {
            s->floor = rv;
            continue;
        }
        if (first && s->floor == 0)
            s->floor = rv - 1;
        first = false;
        struct change ch = {.rv = rv, .at_ns = at, .removed = stmt_i64(st, 1) == OP_REMOVED};
        ch.obj = row_obj(st, 3, 0, 4, s, &ch.coll, err);
        if (!ch.obj) {
            r = -1;
            break;
        }
        const char *key = stmt_text(st, 3);
        ch.prev = store_obj_ref(strmap_get(&former, key));
        ch.prev_unknown = !ch.prev && stmt_i64(st, 1) != OP_CREATED;
        struct store_obj *live = map_get(&ch.coll->map, ch.obj->key);
        if (live && live->rv == rv) { /* one copy in memory is enough */
            store_obj_unref(ch.obj);
            ch.obj = store_obj_ref(live);
        }
        log_append(s, xmemdup(&ch, sizeof(ch)));
        if (ch.removed)
            strmap_del(&former, key);
        else
            strmap_put(&former, key, ch.obj);
    }
    strmap_free(&former);
    return r;
}

static void add_lost(struct store *s, int64_t from, int64_t to)
{
    s->lost = xreallocarray(s->lost, s->n_lost + 1, sizeof(*s->lost));
    s->lost[s->n_lost++] = (struct lost){from, to};
}

static int load_lost(struct store *s, struct err *err)
{
    STMT(st, s->db, SQL_LOST_GET, err);
    if (!st)
        return -1;
    int r;
    while ((r = stmt_step(st, err)) == 1)
        add_lost(s, stmt_i64(st, 0), stmt_i64(st, 1));
    return r;
}

/* Below the log's beginning everything is gone anyway. */
static int write_lost(struct store *s, struct err *err)
{
    STMT(old, s->db, SQL_LOST_DEL, err);
    if (!old)
        return -1;
    stmt_bind_i64(old, 1, s->floor);
    if (stmt_run(old, err) < 0)
        return -1;
    for (size_t i = 0; i < s->n_lost; i++) {
        AUTOFREE char *name = xasprintf("lost:%" PRId64, s->lost[i].from);
        if (s->lost[i].to >= s->floor && meta_put(s, name, s->lost[i].to, err) < 0)
            return -1;
    }
    return 0;
}

int journal_load(struct store *s, struct err *err)
{
    int64_t clean, last = 0;
    if (db_exec(s->db, "PRAGMA journal_size_limit=67108864", err) < 0 || meta_get(s, "high_mark", 0, &s->high_mark, err) < 0 ||
        meta_get(s, "clean_rev", -1, &clean, err) < 0 || load_lost(s, err) < 0 || load_objects(s, &last, err) < 0 ||
        load_log(s, &last, err) < 0)
        return err_wrap(err, "loading the store");
    log_trim(s, s->clock->wall_ns(s->clock));
    int64_t rev;
    if (clean >= last) {
        rev = clean;
    } else if (s->high_mark > 0) {
        /* Revisions up to the mark may have been seen by somebody; what they saw may be lost. */
        add_lost(s, last, s->high_mark);
        rev = s->high_mark + 1;
        log_info("the last stop was not clean: revisions %" PRId64 " to %" PRId64 " are skipped", last + 1, s->high_mark);
    } else {
        rev = 1; /* a new store */
    }
    if (s->ring_n == 0 && s->floor == 0)
        s->floor = clean >= last && clean > 0 ? clean : last;
    s->journal_floor = 0;
    atomic_store(&s->rev, rev);
    s->next_rv = rev + 1;
    s->high_mark = rev + MARK_STEP;
    if (db_begin(s->db, err) < 0)
        return -1;
    if (meta_put(s, "high_mark", s->high_mark, err) < 0 || meta_put(s, "clean_rev", -1, err) < 0 || write_lost(s, err) < 0) {
        db_rollback(s->db);
        return -1;
    }
    return db_commit(s->db, err);
}

/* ---- writing -------------------------------------------------------------------------------------------------- */

static int write_change(struct store *s, const struct change *c, struct buf *key, struct err *err)
{
    buf_reset(key);
    buf_adds(key, c->coll->prefix);
    buf_adds(key, c->obj->key);
    STMT(obj, s->db, c->removed ? SQL_DEL : SQL_PUT, err);
    if (!obj)
        return -1;
    stmt_bind_textn(obj, 1, key->data, key->len);
    if (!c->removed) {
        stmt_bind_i64(obj, 2, c->rv);
        stmt_bind_blob(obj, 3, c->obj->bytes, c->obj->len);
    }
    if (stmt_run(obj, err) < 0)
        return -1;
    STMT(log, s->db, SQL_LOG, err);
    if (!log)
        return -1;
    stmt_bind_i64(log, 1, c->rv);
    stmt_bind_i64(log, 2, c->removed ? OP_REMOVED : c->prev ? OP_CHANGED : OP_CREATED);
    stmt_bind_i64(log, 3, c->at_ns);
    stmt_bind_textn(log, 4, key->data, key->len);
    stmt_bind_blob(log, 5, c->obj->bytes, c->obj->len);
    return stmt_run(log, err);
}

/* The mark is a promise for after a power cut too: it moves only with a commit that waits for the disk. */
static int write_all(struct store *s, struct change *const *c, size_t n, bool durable, struct err *err)
{
    BUF(key);
    for (size_t i = 0; i < s->n_soft; i++)
        if (write_change(s, s->soft[i], &key, err) < 0)
            return -1;
    for (size_t i = 0; i < n; i++)
        if (write_change(s, c[i], &key, err) < 0)
            return -1;
    if (durable && s->mark_wanted > s->high_mark && meta_put(s, "high_mark", s->mark_wanted, err) < 0)
        return -1;
    return 0;
}

/* Soft changes that wait go in front: their revisions are the lower ones. */
int journal_commit(struct store *s, struct change *const *c, size_t n, bool durable, struct err *err)
{
    FAULT("store.commit.before");
    if (FAULT_FAILS("store.commit.fails"))
        return err_set(err, ERR_IO, "the journal could not be written");
    if (!durable && db_exec(s->db, "PRAGMA synchronous=NORMAL", err) < 0)
        return -1;
    int rc = db_begin(s->db, err);
    if (rc == 0) {
        rc = write_all(s, c, n, durable, err);
        if (rc == 0)
            rc = db_commit(s->db, err);
        else
            db_rollback(s->db);
    }
    if (!durable && db_exec(s->db, "PRAGMA synchronous=FULL", NULL) < 0)
        log_error("cannot make the journal synchronous again");
    if (rc < 0)
        return err_wrap(err, "writing the store");
    FAULT("store.commit.after");
    for (size_t i = 0; i < s->n_soft; i++)
        change_free(s->soft[i]);
    s->n_soft = 0;
    if (durable && s->mark_wanted > s->high_mark)
        s->high_mark = s->mark_wanted;
    return 0;
}

int journal_close(struct store *s, struct err *err)
{
    if (!s->writer_runs)
        return 0;
    if (s->n_soft && journal_commit(s, NULL, 0, true, err) < 0)
        return -1;
    return meta_put(s, "clean_rev", s->next_rv - 1, err);
}

bool journal_compact(struct store *s)
{
    pthread_rwlock_rdlock(&s->lock);
    int64_t floor = s->floor;
    pthread_rwlock_unlock(&s->lock);
    if (floor - s->journal_floor < COMPACT_LAG)
        return false;
    ERR(e);
    if (db_exec(s->db, "PRAGMA synchronous=NORMAL", &e) < 0)
        return false;
    int64_t gone = 0;
    {
        STMT(st, s->db, SQL_COMPACT, &e);
        if (st) {
            stmt_bind_i64(st, 1, floor);
            stmt_bind_i64(st, 2, COMPACT_STEP);
            if (stmt_run(st, &e) == 0)
                gone = db_changes(s->db);
        }
    }
    if (gone < COMPACT_STEP)
        s->journal_floor = floor;
    if (db_exec(s->db, "PRAGMA synchronous=FULL", &e) < 0 || e.code != ERR_OK)
        log_warn("compacting the log: %s", err_text(&e));
    return gone == COMPACT_STEP;
}
