#include "cluster/node/nodedb.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/fault.h"
#include "base/str.h"
#include "base/thread.h"
#include "data/sql.h"

struct nodedb {
    pthread_mutex_t lock; /* the connection */
    struct db *db;
};

static const struct migration migrations[] = {
    {1,
     "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;"
     "CREATE TABLE pods (uid TEXT PRIMARY KEY, ns TEXT NOT NULL, name TEXT NOT NULL, state INTEGER NOT NULL, sandbox TEXT, ip "
     "TEXT,"
     "  net_path TEXT, ipc_path TEXT, started_ns INTEGER NOT NULL, reason TEXT, message TEXT) WITHOUT ROWID;"
     "CREATE TABLE containers (pod_uid TEXT NOT NULL, name TEXT NOT NULL, init INTEGER NOT NULL, attempt INTEGER NOT NULL,"
     "  state INTEGER NOT NULL, cid TEXT, started_ns INTEGER NOT NULL, finished_ns INTEGER NOT NULL, exit_code INTEGER NOT NULL,"
     "  reason TEXT, message TEXT, last TEXT, backoff_ns INTEGER NOT NULL, PRIMARY KEY (pod_uid, name)) WITHOUT ROWID;"},
};

struct nodedb *nodedb_open(const char *path, struct err *err)
{
    struct db *db = db_open(path, migrations, ARRAY_LEN(migrations), err);
    if (!db || db_exec(db, "PRAGMA synchronous=NORMAL", err) < 0) {
        if (db)
            db_close(db);
        return NULL;
    }
    struct nodedb *n = xcalloc(1, sizeof *n);
    n->db = db;
    pthread_mutex_init(&n->lock, NULL);
    return n;
}

void nodedb_close(struct nodedb *db)
{
    if (!db)
        return;
    db_close(db->db);
    pthread_mutex_destroy(&db->lock);
    free(db);
}

int nodedb_new_boot(struct nodedb *db, const char *boot_id, bool *is_new, struct err *err)
{
    static const char get[] = "SELECT value FROM meta WHERE key = 'boot'";
    static const char put[] = "INSERT OR REPLACE INTO meta (key, value) VALUES ('boot', ?1)";
    LOCK_GUARD(&db->lock);
    {
        STMT(s, db->db, get, err);
        int rc = s ? stmt_step(s, err) : -1;
        if (rc < 0)
            return -1;
        *is_new = rc == 1 && !str_eq(stmt_text(s, 0), boot_id);
    }
    STMT(s, db->db, put, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, boot_id);
    return stmt_run(s, err);
}

int nodedb_put_pod(struct nodedb *db, const struct pod_row *r, struct err *err)
{
    static const char put[] =
        "INSERT OR REPLACE INTO pods (uid, ns, name, state, sandbox, ip, net_path, ipc_path, started_ns, reason, message)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    LOCK_GUARD(&db->lock);
    STMT(s, db->db, put, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, r->uid);
    stmt_bind_text(s, 2, r->ns);
    stmt_bind_text(s, 3, r->name);
    stmt_bind_i64(s, 4, r->state);
    stmt_bind_text(s, 5, r->sandbox);
    stmt_bind_text(s, 6, r->ip);
    stmt_bind_text(s, 7, r->net_path);
    stmt_bind_text(s, 8, r->ipc_path);
    stmt_bind_i64(s, 9, r->started_ns);
    stmt_bind_text(s, 10, r->reason);
    stmt_bind_text(s, 11, r->message);
    int rc = stmt_run(s, err);
    FAULT("node.pod.row");
    return rc;
}

int nodedb_put_container(struct nodedb *db, const struct container_row *r, struct err *err)
{
    static const char put[] = "INSERT OR REPLACE INTO containers (pod_uid, name, init, attempt, state, cid, started_ns, "
                              "finished_ns, exit_code, reason, message, last,"
                              " backoff_ns) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    LOCK_GUARD(&db->lock);
    STMT(s, db->db, put, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, r->pod_uid);
    stmt_bind_text(s, 2, r->name);
    stmt_bind_i64(s, 3, r->list);
    stmt_bind_i64(s, 4, r->attempt);
    stmt_bind_i64(s, 5, r->state);
    stmt_bind_text(s, 6, r->cid);
    stmt_bind_i64(s, 7, r->started_ns);
    stmt_bind_i64(s, 8, r->finished_ns);
    stmt_bind_i64(s, 9, r->exit_code);
    stmt_bind_text(s, 10, r->reason);
    stmt_bind_text(s, 11, r->message);
    stmt_bind_text(s, 12, r->last);
    stmt_bind_i64(s, 13, r->backoff_ns);
    int rc = stmt_run(s, err);
    FAULT("node.container.row");
    return rc;
}

static int del(struct nodedb *db, const char *sql, const char *uid, struct err *err)
{
    STMT(s, db->db, sql, err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, uid);
    return stmt_run(s, err);
}

int nodedb_del_pod(struct nodedb *db, const char *uid, struct err *err)
{
    static const char containers[] = "DELETE FROM containers WHERE pod_uid = ?1", pods[] = "DELETE FROM pods WHERE uid = ?1";
    LOCK_GUARD(&db->lock);
    if (db_begin(db->db, err) < 0)
        return -1;
    if (del(db, containers, uid, err) < 0 || del(db, pods, uid, err) < 0) {
        db_rollback(db->db);
        return -1;
    }
    return db_commit(db->db, err);
}

int nodedb_each_pod(struct nodedb *db, void (*fn)(void *self, const struct pod_row *r), void *self, struct err *err)
{
    static const char sql[] =
        "SELECT uid, ns, name, state, sandbox, ip, net_path, ipc_path, started_ns, reason, message FROM pods";
    LOCK_GUARD(&db->lock);
    STMT(s, db->db, sql, err);
    int rc = -1;
    while (s && (rc = stmt_step(s, err)) == 1) {
        struct pod_row r = {.uid = (char *)stmt_text(s, 0),
                            .ns = (char *)stmt_text(s, 1),
                            .name = (char *)stmt_text(s, 2),
                            .state = (int)stmt_i64(s, 3),
                            .sandbox = (char *)stmt_text(s, 4),
                            .ip = (char *)stmt_text(s, 5),
                            .net_path = (char *)stmt_text(s, 6),
                            .ipc_path = (char *)stmt_text(s, 7),
                            .started_ns = stmt_i64(s, 8),
                            .reason = (char *)stmt_text(s, 9),
                            .message = (char *)stmt_text(s, 10)};
        fn(self, &r);
    }
    return rc;
}

int nodedb_each_container(struct nodedb *db, void (*fn)(void *self, const struct container_row *r), void *self, struct err *err)
{
    static const char sql[] =
        "SELECT pod_uid, name, init, attempt, state, cid, started_ns, finished_ns, exit_code, reason, message, last,"
        " backoff_ns FROM containers";
    LOCK_GUARD(&db->lock);
    STMT(s, db->db, sql, err);
    int rc = -1;
    while (s && (rc = stmt_step(s, err)) == 1) {
        struct container_row r = {.pod_uid = (char *)stmt_text(s, 0),
                                  .name = (char *)stmt_text(s, 1),
                                  .list = (int)stmt_i64(s, 2),
                                  .attempt = (int)stmt_i64(s, 3),
                                  .state = (int)stmt_i64(s, 4),
                                  .cid = (char *)stmt_text(s, 5),
                                  .started_ns = stmt_i64(s, 6),
                                  .finished_ns = stmt_i64(s, 7),
                                  .exit_code = (int)stmt_i64(s, 8),
                                  .reason = (char *)stmt_text(s, 9),
                                  .message = (char *)stmt_text(s, 10),
                                  .last = (char *)stmt_text(s, 11),
                                  .backoff_ns = stmt_i64(s, 12)};
        fn(self, &r);
    }
    return rc;
}
