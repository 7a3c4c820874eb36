/* Pieces of SQL with their values, from which lists and filters are put together. */
#include <stdlib.h>

#include "pipelines/api/listing.h"

void sql_add(struct list_sql *sql, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_addv(&sql->text, fmt, ap);
    va_end(ap);
}

static struct list_bind *next_bind(struct list_sql *sql)
{
    if (sql->n == sql->cap) {
        sql->cap = sql->cap ? sql->cap * 2 : 8;
        sql->binds = xreallocarray(sql->binds, sql->cap, sizeof *sql->binds);
    }
    return &sql->binds[sql->n++];
}

void sql_bind_text(struct list_sql *sql, const char *v)
{
    *next_bind(sql) = (struct list_bind){.type = BIND_TEXT, .text = xstrdup(v)};
}
void sql_bind_int(struct list_sql *sql, int64_t v) { *next_bind(sql) = (struct list_bind){.type = BIND_INT, .number = v}; }
void sql_bind_real(struct list_sql *sql, double v) { *next_bind(sql) = (struct list_bind){.type = BIND_REAL, .real = v}; }

void sql_clear(struct list_sql *sql)
{
    for (size_t i = 0; i < sql->n; i++)
        free(sql->binds[i].text);
    free(sql->binds);
    buf_free(&sql->text);
}

void sql_append(struct list_sql *sql, const struct list_sql *piece)
{
    sql_add(sql, "%s", buf_str(&piece->text));
    for (size_t i = 0; i < piece->n; i++) {
        struct list_bind *b = next_bind(sql);
        *b = piece->binds[i];
        b->text = xstrdup(b->text);
    }
}

int sql_bind_all(struct stmt *s, int at, const struct list_sql *sql)
{
    for (size_t i = 0; i < sql->n; i++, at++) {
        const struct list_bind *b = &sql->binds[i];
        if (b->type == BIND_TEXT)
            stmt_bind_text(s, at, b->text);
        else if (b->type == BIND_INT)
            stmt_bind_i64(s, at, b->number);
        else
            stmt_bind_f64(s, at, b->real);
    }
    return at;
}

void sql_words(struct list_sql *sql, const struct row_field *f)
{
    sql_add(sql, "CASE %s", f->column);
    for (const struct row_word *w = f->words; w->word; w++) {
        if (w == f->words || w->number != w[-1].number) /* the first spelling of each */
            sql_add(sql, " WHEN %d THEN '%s'", w->number, w->word);
    }
    sql_add(sql, " ELSE '' END");
}
