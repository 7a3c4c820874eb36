/* rows.c - reading and writing rows by their table's description. */
#include "pipelines/store/rows.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/ctx.h"
#include "base/str.h"

enum { SQL_SELECT, SQL_GET, SQL_INSERT, SQL_PUT };

const char *row_word(const struct row_word *words, int number)
{
    for (; words->word; words++) {
        if (words->number == number)
            return words->word;
    }
    return NULL;
}

const struct row_field *row_field(const struct row_table *t, const char *name, unsigned without)
{
    for (size_t i = 0; i < t->n; i++) {
        if (strcmp(t->fields[i].name, name) == 0 && !(t->fields[i].flags & without))
            return &t->fields[i];
    }
    return NULL;
}

int64_t row_stamp(void)
{
    static _Atomic int64_t last;
    int64_t before = atomic_load(&last), next;
    do {
        int64_t now = clock_system.wall_ns(&clock_system);
        next = now > before ? now : before + 1;
    } while (!atomic_compare_exchange_weak(&last, &before, next));
    return next;
}

/* ---- SQL ---------------------------------------------------------------------------------------------------------- */

/* A column's name without the alias: "p.name" is name. */
static const char *bare(const char *column)
{
    const char *dot = strchr(column, '.');
    return dot ? dot + 1 : column;
}

static void add_select(const struct row_table *t, struct buf *b)
{
    const char *comma = "SELECT ";
    for (size_t i = 0; i < t->n; i++) {
        if (t->fields[i].at == ROW_ALIAS)
            continue;
        buf_addf(b, "%s%s", comma, t->fields[i].column);
        comma = ", ";
    }
    buf_addf(b, " FROM %s %s", t->table, t->alias);
}

static void add_get(const struct row_table *t, struct buf *b)
{
    add_select(t, b);
    buf_addf(b, " WHERE %s = ?1", t->id);
}

static void add_insert(const struct row_table *t, struct buf *b)
{
    BUF(marks);
    int n = 0;
    buf_addf(b, "INSERT INTO %s (", t->table);
    for (size_t i = 0; i < t->n; i++) {
        if (t->fields[i].at == ROW_ALIAS)
            continue;
        buf_addf(b, "%s%s", n ? ", " : "", bare(t->fields[i].column));
        buf_addf(&marks, "%s?%d", n ? ", " : "", n + 1);
        n++;
    }
    buf_addf(b, ") VALUES (%s)", buf_str(&marks));
}

static void add_put(const struct row_table *t, struct buf *b)
{
    add_insert(t, b);
    buf_addf(b, " ON CONFLICT (%s) DO UPDATE SET ", bare(t->id));
    const char *comma = "";
    for (size_t i = 0; i < t->n; i++) {
        const struct row_field *f = &t->fields[i];
        if (f->at == ROW_ALIAS || (f->flags & ROW_FIXED))
            continue;
        const char *c = bare(f->column);
        if (f->type == ROW_STAMP)
            buf_addf(b, "%s%s = CASE WHEN %s.state = excluded.state THEN %s.%s ELSE excluded.%s END", comma, c, t->table,
                     t->table, c, c);
        else
            buf_addf(b, "%s%s = excluded.%s", comma, c, c);
        comma = ", ";
    }
}

/* Made once; two threads that make it at the same time agree on one, so that its address is the statement's key. */
static const char *sql_of(const struct row_table *t, int which)
{
    static void (*const make[])(const struct row_table *, struct buf *) = {add_select, add_get, add_insert, add_put};
    char *have = atomic_load(&t->sql->text[which]);
    if (have)
        return have;
    BUF(b);
    make[which](t, &b);
    char *made = buf_steal(&b, NULL);
    if (atomic_compare_exchange_strong(&t->sql->text[which], &have, made))
        return made;
    free(made);
    return have;
}

const char *row_select(const struct row_table *t) { return sql_of(t, SQL_SELECT); }
const char *row_select_one(const struct row_table *t) { return sql_of(t, SQL_GET); }

/* ---- structs ------------------------------------------------------------------------------------------------------ */

static bool is_text(const struct row_field *f) { return f->type <= ROW_TAGS; }

void row_read(const struct row_table *t, struct stmt *s, void *out)
{
    int col = 0;
    memset(out, 0, t->size);
    for (size_t i = 0; i < t->n; i++) {
        const struct row_field *f = &t->fields[i];
        if (f->at == ROW_ALIAS)
            continue;
        void *p = (char *)out + f->at;
        if (is_text(f))
            *(char **)p = xstrdup(stmt_text(s, col));
        else if (f->type == ROW_SMALL)
            *(int *)p = (int)stmt_i64(s, col);
        else if (f->type == ROW_FLAG)
            *(bool *)p = stmt_i64(s, col) != 0;
        else
            *(int64_t *)p = stmt_i64(s, col);
        col++;
    }
}

void row_clear(const struct row_table *t, void *row)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct row_field *f = &t->fields[i];
        if (f->at != ROW_ALIAS && is_text(f))
            free(*(char **)((char *)row + f->at));
    }
    memset(row, 0, t->size);
}

static void bind(const struct row_table *t, struct stmt *s, const void *row)
{
    int at = 1;
    for (size_t i = 0; i < t->n; i++) {
        const struct row_field *f = &t->fields[i];
        if (f->at == ROW_ALIAS)
            continue;
        const void *p = (const char *)row + f->at;
        if (is_text(f)) {
            const char *v = *(char *const *)p;
            if (!v && f->type == ROW_TEXT)
                v = "";
            if (f->type == ROW_JSON || f->type == ROW_TAGS)
                v = str_empty(v) ? NULL : v;
            stmt_bind_text(s, at, v);
        } else if (f->type == ROW_SMALL) {
            stmt_bind_i64(s, at, *(const int *)p);
        } else if (f->type == ROW_FLAG) {
            stmt_bind_i64(s, at, *(const bool *)p);
        } else {
            stmt_bind_i64(s, at, *(const int64_t *)p);
        }
        at++;
    }
}

/* ---- statements --------------------------------------------------------------------------------------------------- */

static struct stmt *prepare(const struct row_table *t, struct db *db, const char *tail, const char *const *values, size_t n,
                            struct err *err)
{
    AUTOFREE char *sql = xasprintf("%s %s", row_select(t), tail);
    struct stmt *s = db_prepare_dynamic(db, sql, err);
    for (size_t i = 0; s && i < n; i++)
        stmt_bind_text(s, (int)i + 1, values[i]);
    return s;
}

int row_first(const struct row_table *t, struct db *db, const char *tail, const char *const *values, size_t n, void *out,
              struct err *err)
{
    CLEANUP(stmt_donep) struct stmt *s = prepare(t, db, tail, values, n, err);
    if (!s)
        return -1;
    int rc = stmt_step(s, err);
    if (rc == 1)
        row_read(t, s, out);
    return rc;
}

int row_find(const struct row_table *t, struct db *db, const char *id, void *out, struct err *err)
{
    STMT(s, db, sql_of(t, SQL_GET), err);
    if (!s)
        return -1;
    stmt_bind_text(s, 1, id);
    int rc = stmt_step(s, err);
    if (rc == 1)
        row_read(t, s, out);
    return rc;
}

int row_get(const struct row_table *t, struct db *db, const char *id, void *out, struct err *err)
{
    int rc = row_find(t, db, id, out, err);
    if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, "%s %s not found", t->what, id);
    return rc < 0 ? -1 : 0;
}

int row_each(const struct row_table *t, struct db *db, const char *tail, const char *const *values, size_t n, row_fn *fn,
             void *self, struct err *err)
{
    CLEANUP(stmt_donep) struct stmt *s = prepare(t, db, tail, values, n, err);
    if (!s)
        return -1;
    void *row = xcalloc(1, t->size);
    int rc;
    while ((rc = stmt_step(s, err)) == 1) {
        row_read(t, s, row);
        rc = fn(self, row, err);
        row_clear(t, row);
        if (rc)
            break;
    }
    free(row);
    return rc;
}

static int write_row(const struct row_table *t, int which, struct db *db, const void *row, struct err *err)
{
    STMT(s, db, sql_of(t, which), err);
    if (!s)
        return -1;
    bind(t, s, row);
    return stmt_run(s, err);
}

int row_insert(const struct row_table *t, struct db *db, const void *row, struct err *err)
{
    return write_row(t, SQL_INSERT, db, row, err);
}

int row_put(const struct row_table *t, struct db *db, const void *row, struct err *err)
{
    return write_row(t, SQL_PUT, db, row, err);
}
