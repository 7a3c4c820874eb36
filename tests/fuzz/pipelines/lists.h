/* lists.h - a database with the tables, once per process, for fuzzing what becomes SQL. */
#ifndef TM_FUZZ_PIPELINES_LISTS_H
#define TM_FUZZ_PIPELINES_LISTS_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "metadata/schema.h"
#include "pipelines/api/listing.h"
#include "pipelines/store/catalog.h"
#include "pipelines/store/recurring.h"
#include "pipelines/store/store.h"

static inline struct db *fuzz_db(void)
{
    static struct db *db;
    if (!db) {
        char dir[] = "/tmp/tm-fuzz-XXXXXX";
        ASSERT(mkdtemp(dir));
        AUTOFREE char *path = xasprintf("%s/a.db", dir);
        db = db_open(path, tidemill_migrations, n_tidemill_migrations, NULL);
        ASSERT(db);
        /* The file lives as long as the process has it open. */
        static const char *const ends[] = {"", ".lock", "-wal", "-shm"};
        for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
            AUTOFREE char *file = xasprintf("%s%s", path, ends[i]);
            unlink(file);
        }
        rmdir(dir);
    }
    return db;
}

static inline int ignore_row(void *self, struct stmt *s, struct err *err) { return 0; }

/* Whatever came in, what we make of it is SQL that SQLite takes. */
static inline void run_list(const struct row_table *kind, const char *token, const char *sort, const char *filter)
{
    ERR(e);
    LIST_QUERY(q);
    if (list_open(kind, 2, token, sort, filter, &q, &e) < 0)
        return;
    if (list_run(&q, fuzz_db(), NULL, NULL, NULL, 0, ignore_row, NULL, &e) < 0 && e.code != ERR_INVALID &&
        e.code != ERR_BAD_REQUEST) {
        fprintf(stderr, "%s\n", err_text(&e));
        abort();
    }
}

#endif
