/* writer.h - one writer thread per database, with group commit; readers beside it.
 *
 * Work that changes a database is a job: a function that runs on the writer's thread inside a transaction that may hold other
 * jobs as well. A job runs in a savepoint of its own: when it returns -1, its changes alone are undone. db_writer_run returns
 * once the transaction is durable, or with the job's error. No artificial delay: batches form under load. */
#ifndef TM_DATA_WRITER_H
#define TM_DATA_WRITER_H

#include "base/ctx.h"
#include "data/sql.h"

struct db_writer;
/* Takes ownership of db. */
struct db_writer *db_writer_new(struct db *db, const char *name);
void db_writer_stop(struct db_writer *w); /* finishes queued jobs, closes the database */
typedef int db_job_fn(struct db *db, void *arg, struct err *err);
/* Runs a job and waits. Any thread but the writer's own. When the context ends first the job may still run: -1 with ERR_TIMEOUT
 * only if it had not started. */
int db_writer_run(struct db_writer *w, const struct ctx *ctx, db_job_fn *job, void *arg, struct err *err);

/* A pool of read-only connections on the same file; db_reader_get blocks while all are in use (at most max). Reads see what was
 * committed. */
struct db_readers;
struct db_readers *db_readers_new(const char *path, unsigned max);
struct db *db_reader_get(struct db_readers *r, struct err *err);
void db_reader_put(struct db_readers *r, struct db *db);
void db_readers_free(struct db_readers *r);

#endif
