/* packed_scan.c - conditions asked of packed columns (packed.h). */
#include <stdlib.h>
#include <string.h>

#include "pipelines/store/packed.h"

void packed_drop_last(struct packed_tests *t)
{
    struct packed_test *last = &t->v[--t->n];
    for (size_t i = 0; i < last->n; i++)
        free(last->values[i].text);
    free(last->values);
}

void packed_tests_clear(struct packed_tests *t)
{
    while (t->n > 0)
        packed_drop_last(t);
    free(t->v);
    *t = (struct packed_tests){0};
}

struct packed_test *packed_add(struct packed_tests *t, int column, enum packed_op op)
{
    t->v = xreallocarray(t->v, t->n + 1, sizeof *t->v);
    t->v[t->n] = (struct packed_test){.column = column, .op = op};
    return &t->v[t->n++];
}

void packed_add_value(struct packed_test *t, const char *text, int64_t number)
{
    t->values = xreallocarray(t->values, t->n + 1, sizeof *t->values);
    t->values[t->n++] = (struct packed_value){.text = xstrdup(text), .number = number};
}

void packed_answer_clear(struct packed_answer *a)
{
    free(a->bits);
    free(a->packed);
    *a = (struct packed_answer){0};
}

/* ---- what can be answered ------------------------------------------------------------------------------------------- */

static bool has_digit(const char *s) { return strpbrk(s, "0123456789") != NULL; }

/* Whether a text without its times says all about this one: it must not lie within a time, nor reach into one. Times begin with a
 * digit, and only their last letter is not followed by one. */
static bool clear_of_times(const char *s)
{
    if (has_digit(s) || strchr("zZ", s[0]))
        return false;
    return s[1] != '\0' || !strchr("tT-:", s[0]);
}

enum answerable { NOT_AT_ALL, TOO_MANY, EXACTLY };

static enum answerable answerable(const struct packed_test *t)
{
    enum answerable a = EXACTLY;
    if (packed_type(t->column) != PACKED_HISTORY)
        return EXACTLY;
    for (size_t i = 0; i < t->n; i++) {
        const char *s = t->values[i].text;
        if (strchr(s, 1))
            return NOT_AT_ALL;
        if (t->op == PACKED_CONTAINS && !clear_of_times(s))
            return NOT_AT_ALL;
        if (t->op == PACKED_EQ)
            a = TOO_MANY; /* the same without their times */
        else if (t->op != PACKED_CONTAINS)
            return NOT_AT_ALL;
    }
    return a;
}

/* ---- texts ---------------------------------------------------------------------------------------------------------- */

/* ASCII letters become small: eight bytes at a time, as this is most of the work of a search. */
static uint64_t fold8(uint64_t x)
{
    const uint64_t each = 0x0101010101010101ULL;
    uint64_t low = x & 0x7f * each;
    uint64_t from_a = low + (0x80 - 'A') * each, behind_z = low + (0x7f - 'Z') * each;
    uint64_t capital = (from_a ^ behind_z) & ~x & 0x80 * each;
    return x | capital >> 2;
}

static void fold(char *s, size_t n)
{
    size_t i = 0;
    uint64_t x;
    for (; i + sizeof x <= n; i += sizeof x) {
        memcpy(&x, s + i, sizeof x);
        x = fold8(x);
        memcpy(s + i, &x, sizeof x);
    }
    for (; i < n; i++)
        s[i] = s[i] >= 'A' && s[i] <= 'Z' ? (char)(s[i] - 'A' + 'a') : s[i];
}

/* The values of a block, each with its NUL. */
struct texts {
    const char *data;
    size_t len;
    uint16_t n;
};

/* No text has a NUL, so that one search goes through all of them. */
static void mark_containing(const struct texts *t, const char *folded, size_t len, char *scratch, bool *ok)
{
    memcpy(scratch, t->data, t->len);
    fold(scratch, t->len);
    const char *p = scratch, *end = scratch + t->len, *hit;
    for (size_t i = 0; p < end && i < t->n && (hit = memmem(p, (size_t)(end - p), folded, len)); i++) {
        for (const char *nul; (nul = memchr(p, 0, (size_t)(end - p))) && nul < hit; p = nul + 1)
            i++;
        ok[i < t->n ? i : 0] = true;
        p = (const char *)memchr(hit, 0, (size_t)(end - hit)) + 1;
    }
}

bool packed_compares(int order, enum packed_op op)
{
    switch (op) {
    case PACKED_EQ:
        return order == 0;
    case PACKED_NE:
        return order != 0;
    case PACKED_GT:
        return order > 0;
    case PACKED_GE:
        return order >= 0;
    case PACKED_LT:
        return order < 0;
    case PACKED_LE:
        return order <= 0;
    case PACKED_CONTAINS:
        break;
    }
    return false;
}

static void mark_comparing(const struct texts *t, const char *with, enum packed_op op, bool *ok)
{
    const char *p = t->data;
    for (uint16_t i = 0; i < t->n && p < t->data + t->len; i++, p += strlen(p) + 1)
        ok[i] = ok[i] || packed_compares(strcmp(p, with), op);
}

/* A damaged block would lead out of its memory. */
static bool texts_open(const void *blob, size_t n, uint16_t *code, struct texts *t)
{
    enum { HEAD = sizeof(uint16_t) * (1 + PACKED_ROWS) };
    if (n < HEAD)
        return false;
    memcpy(&t->n, blob, sizeof t->n);
    memcpy(code, (const char *)blob + sizeof t->n, sizeof(uint16_t) * PACKED_ROWS);
    t->data = (const char *)blob + HEAD;
    t->len = n - HEAD;
    bool good = t->n <= PACKED_ROWS && (t->len == 0) == (t->n == 0) && (t->len == 0 || t->data[t->len - 1] == '\0');
    for (size_t i = 0; good && i < PACKED_ROWS; i++)
        good = code[i] < t->n || (code[i] == 0 && t->n == 0);
    return good;
}

static int test_texts(const struct packed_test *test, const void *blob, size_t n, uint64_t *bits, struct err *err)
{
    uint16_t code[PACKED_ROWS];
    bool ok[PACKED_ROWS + 1] = {false};
    struct texts t;
    if (!texts_open(blob, n, code, &t))
        return err_set(err, ERR_INTERNAL, "run_columns: a block of column %d is damaged", test->column);
    AUTOFREE char *scratch = test->op == PACKED_CONTAINS ? xmalloc(t.len + 1) : NULL;
    for (size_t i = 0; i < test->n; i++) {
        const char *v = test->values[i].text;
        if (test->op == PACKED_CONTAINS)
            mark_containing(&t, v, strlen(v), scratch, ok);
        else
            mark_comparing(&t, v, test->op, ok);
    }
    for (size_t w = 0; w < PACKED_WORDS; w++) {
        uint64_t word = 0;
        for (size_t i = 0; i < 64; i++)
            word |= (uint64_t)ok[code[w * 64 + i]] << i;
        bits[w] &= word;
    }
    return 0;
}

/* ---- numbers -------------------------------------------------------------------------------------------------------- */

static bool number_fits(const struct packed_test *t, int64_t v)
{
    if (packed_type(t->column) == PACKED_WORD)
        return v >= 0 && v < 64 && t->numbers >> v & 1;
    for (size_t i = 0; i < t->n; i++) {
        if (packed_compares((v > t->values[i].number) - (v < t->values[i].number), t->op))
            return true;
    }
    return false;
}

/* Whether one answer stands for every number from low to high: 1 they fit, 0 they do not, -1 each has to be looked at. */
static int all_alike(const struct packed_test *t, int64_t low, int64_t high)
{
    if (low == high)
        return number_fits(t, low);
    if (packed_type(t->column) == PACKED_WORD || t->n != 1)
        return -1;
    int64_t v = t->values[0].number;
    bool first = number_fits(t, low), last = number_fits(t, high);
    bool one_point = t->op == PACKED_EQ || t->op == PACKED_NE;
    return first != last || (one_point && v >= low && v <= high) ? -1 : first;
}

static uint32_t number_at(const unsigned char *p, unsigned width, size_t i)
{
    uint32_t v = 0;
    memcpy(&v, p + i * width, width);
    return v;
}

static int test_numbers(const struct packed_test *t, int64_t low, const void *blob, size_t n, uint64_t *bits, struct err *err)
{
    const unsigned char *p = blob;
    if (n == 0 || (p[0] != 1 && p[0] != 4) || n != 1 + (size_t)p[0] * PACKED_ROWS)
        return err_set(err, ERR_INTERNAL, "run_columns: a block of column %d is damaged", t->column);
    for (size_t w = 0; w < PACKED_WORDS; w++) {
        uint64_t word = 0;
        for (size_t i = 0; bits[w] && i < 64; i++)
            word |= (uint64_t)number_fits(t, low + number_at(p + 1, p[0], w * 64 + i)) << i;
        bits[w] &= word;
    }
    return 0;
}

/* ---- a scan --------------------------------------------------------------------------------------------------------- */

static int open_answer(struct db *db, int64_t max_rowid, struct packed_answer *a, struct err *err)
{
    static const char LAST[] = "SELECT coalesce(max(rowid), -1) FROM runs";
    static const char PACKED[] = "SELECT block, present FROM run_packed WHERE block >= 0 ORDER BY block";
    STMT(last, db, LAST, err);
    if (!last || stmt_step(last, err) < 0)
        return -1;
    int64_t rowid = stmt_i64(last, 0);
    if (rowid < 0 || rowid > max_rowid)
        return 0;
    a->blocks = (size_t)(rowid >> PACKED_SHIFT) + 1;
    a->bits = xcalloc(a->blocks, PACKED_WORDS * sizeof *a->bits);
    a->packed = xcalloc(a->blocks, sizeof *a->packed);
    STMT(s, db, PACKED, err);
    if (!s)
        return -1;
    int rc;
    while ((rc = stmt_step(s, err)) == 1) {
        size_t block = (size_t)stmt_i64(s, 0), n;
        const void *present = stmt_blob(s, 1, &n);
        if (block >= a->blocks || n != PACKED_WORDS * sizeof *a->bits)
            continue;
        memcpy(a->bits + block * PACKED_WORDS, present, n);
        a->packed[block] = true;
        a->n_packed++;
    }
    return rc < 0 ? -1 : a->n_packed * 2 >= a->blocks;
}

/* The block's data is read only where its lowest and highest number leave a doubt: they come before it. */
static int test_block(const struct packed_test *t, struct stmt *s, uint64_t *bits, struct err *err)
{
    bool text = packed_type(t->column) <= PACKED_HISTORY;
    int64_t low = stmt_i64(s, 1), high = stmt_i64(s, 2);
    int alike = text ? -1 : all_alike(t, low, high);
    if (alike >= 0) {
        if (!alike)
            memset(bits, 0, PACKED_WORDS * sizeof *bits);
        return 0;
    }
    size_t n;
    const void *data = stmt_blob(s, 3, &n);
    return text ? test_texts(t, data, n, bits, err) : test_numbers(t, low, data, n, bits, err);
}

static bool any_bit(const uint64_t *bits)
{
    for (size_t w = 0; w < PACKED_WORDS; w++) {
        if (bits[w])
            return true;
    }
    return false;
}

/* One packed block of a column: s stands on its row (low, high and data are columns 1 to 3). */
typedef int block_fn(void *self, size_t block, struct stmt *s, struct err *err);

static int each_block(struct db *db, int column, const struct packed_answer *a, block_fn *fn, void *self, struct err *err)
{
    static const char SQL[] = "SELECT id, low, high, data FROM run_columns WHERE id >= ?1 AND id < ?2";
    STMT(s, db, SQL, err);
    if (!s)
        return -1;
    int64_t first = packed_id(column, 0);
    stmt_bind_i64(s, 1, first);
    stmt_bind_i64(s, 2, first + (int64_t)a->blocks);
    int rc;
    while ((rc = stmt_step(s, err)) == 1) {
        size_t block = (size_t)(stmt_i64(s, 0) - first);
        if (a->packed[block] && fn(self, block, s, err) < 0)
            return -1;
    }
    return rc;
}

struct running {
    const struct packed_test *t;
    uint64_t *bits;
};

static int test_one(void *self, size_t block, struct stmt *s, struct err *err)
{
    struct running *r = self;
    uint64_t *bits = r->bits + block * PACKED_WORDS;
    return any_bit(bits) ? test_block(r->t, s, bits, err) : 0;
}

static int run_test(struct db *db, const struct packed_test *t, struct packed_answer *a, struct err *err)
{
    struct running r = {t, a->bits};
    return each_block(db, t->column, a, test_one, &r, err);
}

/* The test as it is asked of the columns: folded, and of histories without their times. */
static void ready(const struct packed_test *t, struct packed_tests *into)
{
    struct packed_test *copy = packed_add(into, t->column, t->op);
    copy->numbers = t->numbers;
    for (size_t i = 0; i < t->n; i++) {
        packed_add_value(copy, t->values[i].text, t->values[i].number);
        char *text = copy->values[i].text;
        if (text && t->op == PACKED_CONTAINS)
            fold(text, strlen(text));
        else if (text && packed_type(t->column) == PACKED_HISTORY)
            packed_take_times_out(text);
    }
}

int packed_scan(struct db *db, const struct packed_tests *t, int64_t max_rowid, struct packed_answer *out, struct err *err)
{
    PACKED_TESTS(asked);
    out->exact = t->exact;
    for (size_t i = 0; i < t->n; i++) {
        enum answerable a = answerable(&t->v[i]);
        out->exact = out->exact && a == EXACTLY;
        if (a != NOT_AT_ALL)
            ready(&t->v[i], &asked);
    }
    int rc = asked.n ? open_answer(db, max_rowid, out, err) : 0;
    for (size_t i = 0; rc == 1 && i < asked.n; i++) {
        if (run_test(db, &asked.v[i], out, err) < 0)
            return -1;
    }
    return rc;
}

/* ---- the first of an order ------------------------------------------------------------------------------------------ */

struct extreme {
    int column;
    bool highest;
    const uint64_t *bits; /* PACKED_WORDS a block */
    size_t words;
    int64_t found;
    bool any;
};

static void offer(struct extreme *e, int64_t v)
{
    if (!e->any || (e->highest ? v > e->found : v < e->found))
        e->found = v;
    e->any = true;
}

static uint64_t word_of(const struct extreme *e, size_t w) { return w < e->words ? e->bits[w] : 0; }

static bool block_has_bits(const struct extreme *e, size_t block)
{
    for (size_t w = 0; w < PACKED_WORDS; w++) {
        if (word_of(e, block * PACKED_WORDS + w))
            return true;
    }
    return false;
}

static int extreme_of_block(void *self, size_t block, struct stmt *s, struct err *err)
{
    struct extreme *e = self;
    if (!block_has_bits(e, block))
        return 0;
    int64_t low = stmt_i64(s, 1), high = stmt_i64(s, 2);
    if (e->any && (e->highest ? high <= e->found : low >= e->found))
        return 0;
    size_t n;
    const unsigned char *p = stmt_blob(s, 3, &n);
    if (n == 0 || (p[0] != 1 && p[0] != 4) || n != 1 + (size_t)p[0] * PACKED_ROWS)
        return err_set(err, ERR_INTERNAL, "run_columns: a block of column %d is damaged", e->column);
    for (size_t w = 0; w < PACKED_WORDS; w++) {
        for (uint64_t left = word_of(e, block * PACKED_WORDS + w); left; left &= left - 1)
            offer(e, low + number_at(p + 1, p[0], w * 64 + (size_t)__builtin_ctzll(left)));
    }
    return 0;
}

/* Of a block that is not packed, all rows: what comes out is at least as far out as what was asked for. */
static int extreme_of_rows(struct db *db, struct extreme *e, size_t block, struct err *err)
{
    const char *column = packed_column_name(e->column);
    AUTOFREE char *text =
        xasprintf("SELECT %s(%s) FROM runs r NOT INDEXED WHERE r.rowid >= ? AND r.rowid < ?", e->highest ? "max" : "min", column);
    STMT_DYNAMIC(s, db, text, err);
    if (!s)
        return -1;
    stmt_bind_i64(s, 1, (int64_t)block << PACKED_SHIFT);
    stmt_bind_i64(s, 2, (int64_t)(block + 1) << PACKED_SHIFT);
    if (stmt_step(s, err) < 0)
        return -1;
    int64_t ns = stmt_i64(s, 0);
    if (!stmt_is_null(s, 0))
        offer(e, ns / NS_PER_S - (ns % NS_PER_S < 0));
    return 0;
}

int packed_extreme(struct db *db, int column, bool highest, const uint64_t *bits, size_t words, int64_t *seconds, struct err *err)
{
    enum { ROWS_MAX = 16 }; /* blocks that are not packed, and cost a look at each row */
    PACKED_ANSWER(a);
    struct extreme e = {.column = column, .highest = highest, .bits = bits, .words = words};
    if (packed_type(column) != PACKED_SECONDS)
        return 0;
    int rc = open_answer(db, (int64_t)words * 64 + PACKED_ROWS, &a, err);
    if (rc == 1)
        rc = each_block(db, e.column, &a, extreme_of_block, &e, err) < 0 ? -1 : 1;
    int rows = 0;
    for (size_t b = 0; rc == 1 && b < a.blocks; b++) {
        if (a.packed[b] || !block_has_bits(&e, b))
            continue;
        if (++rows > ROWS_MAX)
            rc = 0;
        else if (extreme_of_rows(db, &e, b, err) < 0)
            rc = -1;
    }
    *seconds = e.found;
    return rc == 1 ? e.any : rc;
}
