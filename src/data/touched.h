/* touched.h - which rows of a table were written, in order, so that whoever computed something from the table can bring it up to
 * date by looking at those rows alone.
 *
 *     uint64_t settled = db_touched_settled(t);       // before the snapshot
 *     ... BEGIN, and the first read on a reader's connection ...
 *     if (!db_touched_since(t, have, &ids, &n))       // after it
 *         ... start anew: too long ago ...
 *     ... look at these rows in this snapshot ...
 *     have = settled;
 *
 * Each row that a transaction inserts, changes or deletes gets a position when that happens. All before the settled one are seen
 * by every transaction that begins later (or were rolled back); what lies behind it may be seen or not, and is looked at again.
 * Rows are known by their rowid: the table has one, and nobody renumbers it (VACUUM) while a log is there. The newest
 * TOUCHED_KEPT are kept. Thread-safe; the connection that is watched belongs to its thread as before. */
#ifndef TM_DATA_TOUCHED_H
#define TM_DATA_TOUCHED_H

#include "data/sql.h"

enum { TOUCHED_KEPT = 1 << 16 };

struct db_touched;
struct db_touched *db_touched_new(const char *table);
void db_touched_free(struct db_touched *t); /* after the connection that it watches was closed; NULL is fine */
/* From now on what this connection writes is noted. It is the only one that writes the table; one log a connection. */
void db_watch_touched(struct db *db, struct db_touched *t);

uint64_t db_touched_settled(struct db_touched *t);
/* The rows at positions from `from` on, sorted, each once; malloc'd, the caller's. False when some are no longer kept. */
bool db_touched_since(struct db_touched *t, uint64_t from, int64_t **rowids, size_t *n);

#endif
