/* packed.c - packing one block of runs (packed.h).
 *
 * Data of a text column: uint16 n, uint16 number[1024], then n texts with their NULs. Of a number column: one byte, the width w
 * (1 or 4), then w bytes for each row, to be added to `low`. Little-endian, as the machines are that we run on; the file does not
 * travel. */
#include "pipelines/store/packed.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"

static const struct {
    const char *column;
    enum packed_type type;
} COLUMNS[] = {
    {"r.run_id", PACKED_TEXT},
    {"r.display_name", PACKED_TEXT},
    {"r.description", PACKED_TEXT},
    {"r.experiment_id", PACKED_TEXT},
    {"r.recurring_run_id", PACKED_TEXT},
    {"r.state_history", PACKED_HISTORY},
    {"r.created_at", PACKED_SECONDS},
    {"r.scheduled_at", PACKED_SECONDS},
    {"r.finished_at", PACKED_SECONDS},
    {"r.storage_state", PACKED_WORD},
    {"r.state", PACKED_WORD},
};
enum { N_COLUMNS = ARRAY_LEN(COLUMNS) };

int packed_column(const char *column)
{
    for (int i = 0; i < N_COLUMNS; i++) {
        if (strcmp(COLUMNS[i].column, column) == 0)
            return i;
    }
    return -1;
}

const char *packed_column_name(int column) { return COLUMNS[column].column; }
enum packed_type packed_type(int column) { return COLUMNS[column].type; }

static bool is_text(int column) { return packed_type(column) <= PACKED_HISTORY; }

void packed_take_times_out(char *text)
{
    static const char SHAPE[] = "dddd-dd-ddTdd:dd:ddZ";
    char *to = text;
    for (const char *p = text; *p;) {
        size_t n = 0;
        while (SHAPE[n] && (SHAPE[n] == 'd' ? isdigit((unsigned char)p[n]) : p[n] == SHAPE[n]))
            n++;
        *to++ = SHAPE[n] ? *p : 1;
        p += SHAPE[n] ? 1 : n;
    }
    *to = '\0';
}

/* ---- collecting ----------------------------------------------------------------------------------------------------- */

struct column {
    uint16_t code[PACKED_ROWS];
    struct buf texts;
    uint32_t at[PACKED_ROWS]; /* where each distinct text begins */
    size_t n;
    uint16_t table[2 * PACKED_ROWS]; /* 1 + number of a text */
    int64_t number[PACKED_ROWS];
};
struct block {
    int64_t number;
    uint64_t present[PACKED_WORDS];
    bool any;
    struct column c[N_COLUMNS];
};

static void block_free(struct block **b)
{
    for (int i = 0; *b && i < N_COLUMNS; i++)
        buf_free(&(*b)->c[i].texts);
    free(*b);
}

static size_t hash_of(const char *s)
{
    uint64_t h = 14695981039346656037ULL;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211ULL;
    return (size_t)(h ^ h >> 29) % (2 * PACKED_ROWS);
}

static uint16_t number_of_text(struct column *c, const char *text)
{
    size_t h = hash_of(text);
    for (; c->table[h]; h = (h + 1) % ARRAY_LEN(c->table)) {
        size_t known = c->table[h] - 1U;
        if (strcmp(buf_str(&c->texts) + c->at[known], text) == 0)
            return (uint16_t)known;
    }
    c->at[c->n] = (uint32_t)c->texts.len;
    buf_add(&c->texts, text, strlen(text) + 1);
    c->table[h] = (uint16_t)++c->n;
    return (uint16_t)(c->n - 1);
}

static int64_t whole_seconds(int64_t ns) { return ns / NS_PER_S - (ns % NS_PER_S < 0); }

static void take_value(struct column *c, int column, int slot, struct stmt *s)
{
    int col = column + 1;
    if (!is_text(column)) {
        c->number[slot] = packed_type(column) == PACKED_SECONDS ? whole_seconds(stmt_i64(s, col)) : stmt_i64(s, col);
        return;
    }
    const char *text = stmt_text(s, col); /* no column of them is ever NULL */
    AUTOFREE char *copy = packed_type(column) == PACKED_HISTORY ? xstrdup(text ? text : "") : NULL;
    if (copy)
        packed_take_times_out(copy);
    c->code[slot] = number_of_text(c, copy ? copy : text ? text : "");
}

static int read_block(struct db *db, struct block *b, struct err *err)
{
    BUF(sql);
    buf_adds(&sql, "SELECT r.rowid");
    for (int i = 0; i < N_COLUMNS; i++)
        buf_addf(&sql, ", %s", COLUMNS[i].column);
    buf_adds(&sql, " FROM runs r NOT INDEXED WHERE r.rowid >= ?1 AND r.rowid < ?2");
    STMT_DYNAMIC(s, db, buf_str(&sql), err);
    if (!s)
        return -1;
    stmt_bind_i64(s, 1, b->number << PACKED_SHIFT);
    stmt_bind_i64(s, 2, (b->number + 1) << PACKED_SHIFT);
    int rc;
    while ((rc = stmt_step(s, err)) == 1) {
        int slot = (int)(stmt_i64(s, 0) % PACKED_ROWS);
        b->present[slot / 64] |= 1ULL << (slot % 64);
        b->any = true;
        for (int i = 0; i < N_COLUMNS; i++)
            take_value(&b->c[i], i, slot, s);
    }
    return rc;
}

/* ---- storing -------------------------------------------------------------------------------------------------------- */

/* False when a number is too far from the lowest. */
static bool put_numbers(const struct block *b, const struct column *c, int64_t *low, int64_t *high, struct buf *out)
{
    *low = INT64_MAX;
    *high = INT64_MIN;
    for (int i = 0; i < PACKED_ROWS; i++) {
        if (!(b->present[i / 64] >> (i % 64) & 1))
            continue;
        *low = c->number[i] < *low ? c->number[i] : *low;
        *high = c->number[i] > *high ? c->number[i] : *high;
    }
    if (!b->any)
        *low = *high = 0;
    uint64_t range = (uint64_t)*high - (uint64_t)*low;
    if (range > UINT32_MAX)
        return false;
    uint8_t width = range <= UINT8_MAX ? 1 : 4;
    buf_addc(out, (char)width);
    for (int i = 0; i < PACKED_ROWS; i++) {
        bool here = b->present[i / 64] >> (i % 64) & 1;
        uint32_t v = here ? (uint32_t)((uint64_t)c->number[i] - (uint64_t)*low) : 0;
        buf_add(out, &v, width);
    }
    return true;
}

static void put_texts(const struct column *c, struct buf *out)
{
    uint16_t n = (uint16_t)c->n;
    buf_add(out, &n, sizeof n);
    buf_add(out, c->code, sizeof c->code);
    buf_add(out, c->texts.data, c->texts.len);
}

/* 1, 0 when the column cannot be packed, -1. */
static int store_column(struct db *db, const struct block *b, int column, struct err *err)
{
    static const char SQL[] = "INSERT OR REPLACE INTO run_columns (id, low, high, data) VALUES (?1, ?2, ?3, ?4)";
    BUF(data);
    int64_t low = 0, high = 0;
    if (is_text(column))
        put_texts(&b->c[column], &data);
    else if (!put_numbers(b, &b->c[column], &low, &high, &data))
        return 0;
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_i64(s, 1, packed_id(column, b->number));
    stmt_bind_i64(s, 2, low);
    stmt_bind_i64(s, 3, high);
    stmt_bind_blob(s, 4, data.data, data.len);
    return stmt_run(s, err) < 0 ? -1 : 1;
}

struct pack {
    const struct store *st;
    const struct block *block;
    uint64_t mark;
    bool done;
};

/* Whether a run of the block was written since. On the writer's thread, so that what the log says is all there is. */
static bool was_written(const struct pack *p)
{
    AUTOFREE int64_t *rowids = NULL;
    size_t n;
    if (!db_touched_since(p->st->touched, p->mark, &rowids, &n))
        return true;
    for (size_t i = 0; i < n; i++) {
        if (rowids[i] >> PACKED_SHIFT == p->block->number)
            return true;
    }
    return false;
}

static int store_job(struct db *db, void *arg, struct err *err)
{
    static const char SQL[] = "INSERT OR REPLACE INTO run_packed (block, present) VALUES (?1, ?2)";
    struct pack *p = arg;
    if (was_written(p))
        return 0;
    for (int i = 0; i < N_COLUMNS; i++) {
        int rc = store_column(db, p->block, i, err);
        if (rc <= 0)
            return rc;
    }
    FAULT("packed.columns.stored");
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    stmt_bind_i64(s, 1, p->block->number);
    stmt_bind_blob(s, 2, p->block->present, sizeof p->block->present);
    p->done = true;
    return stmt_run(s, err);
}

int packed_pack(const struct store *st, const struct ctx *ctx, int64_t block, bool *done, struct err *err)
{
    CLEANUP(block_free) struct block *b = xcalloc(1, sizeof *b);
    b->number = block;
    struct pack p = {.st = st, .block = b, .mark = db_touched_settled(st->touched)};
    struct db *db = db_reader_get(st->readers, err);
    int rc = db ? read_block(db, b, err) : -1;
    db_reader_put(st->readers, db);
    if (rc == 0)
        rc = db_writer_run(st->writer, ctx, store_job, &p, err);
    *done = rc == 0 && p.done;
    return rc;
}
