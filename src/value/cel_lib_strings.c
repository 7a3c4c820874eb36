/* The strings extension: positions count code points. indexOf and lastIndexOf are those of lists as well. */
#include <string.h>

#include "value/cel_priv.h"

typedef const struct cel_value *val;

/* Code point position of an int argument as a byte offset; an error when outside 0..length. */
static bool position(struct cel_call *c, unsigned i, size_t *out)
{
    val s = c->args[0], p = c->args[i];
    if (p->kind != CEL_INT) {
        cel_no_overload(c);
        return false;
    }
    if (p->i < 0 || (uint64_t)p->i > cel_utf8_len(s->s, s->n)) {
        cel_error(c->run, "index out of range: %lld", (long long)p->i);
        return false;
    }
    *out = cel_utf8_offset(s->s, s->n, (size_t)p->i);
    return cel_charge_bytes(c->run, s->n) == 0;
}

static bool strings(struct cel_call *c, unsigned from, unsigned n)
{
    for (unsigned i = from; i < from + n && i < c->n; i++) {
        if (c->args[i]->kind != CEL_STRING) {
            cel_no_overload(c);
            return false;
        }
        if (cel_charge_bytes(c->run, c->args[i]->n) < 0)
            return false;
    }
    return true;
}

static val char_at(struct cel_call *c)
{
    size_t at;
    if (!position(c, 1, &at))
        return NULL;
    val s = c->args[0];
    return cel_mk_copy(c->run, CEL_STRING, s->s + at, cel_utf8_offset(s->s + at, s->n - at, 1));
}

static val mk_position(struct cel_call *c, size_t byte) { return cel_mk_int(c->run, (int64_t)cel_utf8_len(c->args[0]->s, byte)); }

static val index_of(struct cel_call *c)
{
    size_t from = 0;
    if (!strings(c, 0, 2) || (c->n == 3 && !position(c, 2, &from)))
        return NULL;
    val s = c->args[0], sub = c->args[1];
    const char *hit = memmem(s->s + from, s->n - from, sub->s, sub->n);
    return hit ? mk_position(c, (size_t)(hit - s->s)) : cel_mk_int(c->run, -1);
}

static val last_index_of(struct cel_call *c)
{
    val s = c->args[0], sub = c->args[1];
    size_t last = s->n;
    if (!strings(c, 0, 2) || (c->n == 3 && !position(c, 2, &last)))
        return NULL;
    if (sub->n > s->n || cel_charge_bytes(c->run, s->n * 4) < 0)
        return sub->n > s->n ? cel_mk_int(c->run, -1) : NULL;
    if (last > s->n - sub->n)
        last = s->n - sub->n;
    for (size_t i = last + 1; i-- > 0;) {
        /* A match never begins inside a character: sub is whole characters. */
        if (memcmp(s->s + i, sub->s, sub->n) == 0 && (i == s->n || ((unsigned char)s->s[i] & 0xC0) != 0x80))
            return mk_position(c, i);
    }
    return cel_mk_int(c->run, -1);
}

static val ascii_case(struct cel_call *c, char from, char to)
{
    val s = c->args[0], out = cel_mk_copy(c->run, CEL_STRING, s->s, s->n);
    if (!out)
        return NULL;
    char *p = (char *)(uintptr_t)out->s;
    for (size_t i = 0; i < s->n; i++)
        if (p[i] >= from && p[i] <= from + 25)
            p[i] = (char)(p[i] - from + to);
    return out;
}
static val lower_ascii(struct cel_call *c) { return ascii_case(c, 'A', 'a'); }
static val upper_ascii(struct cel_call *c) { return ascii_case(c, 'a', 'A'); }

/* The first n bytes of what is left that hold no separator; an empty separator stands between characters. */
static size_t until(const char *s, size_t n, val sep, bool *last)
{
    *last = false;
    if (sep->n == 0) {
        size_t one = cel_utf8_offset(s, n, 1);
        *last = one >= n;
        return one;
    }
    const char *hit = memmem(s, n, sep->s, sep->n);
    *last = !hit;
    return hit ? (size_t)(hit - s) : n;
}

static bool limit_arg(struct cel_call *c, unsigned i, int64_t *limit)
{
    *limit = -1;
    if (c->n <= i)
        return true;
    if (c->args[i]->kind != CEL_INT) {
        cel_no_overload(c);
        return false;
    }
    *limit = c->args[i]->i;
    return true;
}

static val replace(struct cel_call *c)
{
    int64_t limit;
    if (!strings(c, 0, 3) || !limit_arg(c, 3, &limit))
        return NULL;
    val s = c->args[0], old = c->args[1], with = c->args[2];
    BUF(out);
    size_t at = 0;
    bool start = old->n == 0;
    for (; limit != 0; limit -= limit > 0) {
        size_t keep;
        if (old->n == 0) {
            /* Before the first character and behind each one. */
            keep = start ? 0 : cel_utf8_offset(s->s + at, s->n - at, 1);
            if (!start && keep == 0)
                break;
            start = false;
        } else {
            const char *hit = memmem(s->s + at, s->n - at, old->s, old->n);
            if (!hit)
                break;
            keep = (size_t)(hit - s->s) - at;
        }
        if (cel_charge_bytes(c->run, keep + with->n) < 0)
            return NULL;
        buf_add(&out, s->s + at, keep);
        buf_add(&out, with->s, with->n);
        at += keep + old->n;
    }
    buf_add(&out, s->s + at, s->n - at);
    return cel_mk_copy(c->run, CEL_STRING, buf_str(&out), out.len);
}

static val split(struct cel_call *c)
{
    int64_t limit;
    if (!strings(c, 0, 2) || !limit_arg(c, 2, &limit))
        return NULL;
    val s = c->args[0], sep = c->args[1];
    size_t n = 0, cap = 8, at = 0;
    const struct cel_value **items = arena_alloc(c->run->a, cap * sizeof(val));
    bool last = limit == 0 || (sep->n == 0 && s->n == 0);
    while (!last) {
        size_t len = until(s->s + at, s->n - at, sep, &last);
        if (limit > 0 && (int64_t)n + 1 == limit) {
            len = s->n - at;
            last = true;
        }
        if (n == cap) {
            const struct cel_value **more = arena_alloc(c->run->a, cap * 2 * sizeof(val));
            memcpy(more, items, cap * sizeof(val));
            items = more;
            cap *= 2;
        }
        if (!(items[n++] = cel_mk_copy(c->run, CEL_STRING, s->s + at, len)))
            return NULL;
        at += len + sep->n;
    }
    return cel_mk_list(c->run, items, n);
}

static val join(struct cel_call *c)
{
    if (!strings(c, 1, 1))
        return NULL;
    val list = c->args[0];
    const struct cel_value *const *items = cel_items(c->run, list);
    BUF(out);
    for (size_t i = 0; items && i < list->len; i++) {
        if (items[i]->kind != CEL_STRING)
            return cel_error(c->run, "no such overload: join of a list with %s", cel_kind_name(items[i]->kind));
        size_t sep = i && c->n == 2 ? c->args[1]->n : 0;
        if (cel_charge_bytes(c->run, sep + items[i]->n) < 0)
            return NULL;
        if (sep)
            buf_add(&out, c->args[1]->s, sep);
        buf_add(&out, items[i]->s, items[i]->n);
    }
    return items ? cel_mk_copy(c->run, CEL_STRING, buf_str(&out), out.len) : NULL;
}

static val substring(struct cel_call *c)
{
    size_t from, to = c->args[0]->n;
    if (!position(c, 1, &from) || (c->n == 3 && !position(c, 2, &to)))
        return NULL;
    if (from > to)
        return cel_error(c->run, "invalid substring range. start: %lld, end: %lld", (long long)c->args[1]->i,
                         (long long)c->args[2]->i);
    return cel_mk_copy(c->run, CEL_STRING, c->args[0]->s + from, to - from);
}

/* Bytes of the white space character at s (Unicode's White_Space), 0 when it is none. */
static size_t space_at(const char *s, size_t n)
{
    static const char *const wide[] = {"\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80", "\xE2\x80\x81",
                                       "\xE2\x80\x82", "\xE2\x80\x83", "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86",
                                       "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A", "\xE2\x80\xA8",
                                       "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};
    if (n && (*s == ' ' || (*s >= '\t' && *s <= '\r')))
        return 1;
    for (size_t i = 0; i < ARRAY_LEN(wide); i++) {
        size_t len = strlen(wide[i]);
        if (n >= len && memcmp(s, wide[i], len) == 0)
            return len;
    }
    return 0;
}

static val trim(struct cel_call *c)
{
    val s = c->args[0];
    size_t from = 0, to = s->n, len;
    while ((len = space_at(s->s + from, to - from)))
        from += len;
    while (to > from) {
        size_t i = to - 1;
        while (i > from && ((unsigned char)s->s[i] & 0xC0) == 0x80)
            i--;
        if (space_at(s->s + i, to - i) != to - i)
            break;
        to = i;
    }
    return cel_mk_copy(c->run, CEL_STRING, s->s + from, to - from);
}

static val reverse(struct cel_call *c)
{
    val s = c->args[0], out = cel_mk_copy(c->run, CEL_STRING, s->s, s->n);
    if (!out)
        return NULL;
    char *p = (char *)(uintptr_t)out->s;
    for (size_t i = 0; i < s->n;) {
        size_t len = cel_utf8_offset(s->s + i, s->n - i, 1);
        memcpy(p + s->n - i - len, s->s + i, len);
        i += len;
    }
    return out;
}

/* The text as a literal in double quotes. */
static val quote(struct cel_call *c)
{
    static const char from[] = "\a\b\f\n\r\t\v\\\"", to[] = "abfnrtv\\\"";
    val s = c->args[0];
    BUF(out);
    if (cel_charge_bytes(c->run, s->n) < 0)
        return NULL;
    buf_addc(&out, '"');
    for (size_t i = 0; i < s->n; i++) {
        const char *hit = s->s[i] ? strchr(from, s->s[i]) : NULL;
        if (hit)
            buf_addf(&out, "\\%c", to[hit - from]);
        else
            buf_addc(&out, s->s[i]);
    }
    buf_addc(&out, '"');
    return cel_mk_copy(c->run, CEL_STRING, out.data, out.len);
}

#define STR KIND(CEL_STRING)
const struct cel_fn cel_lib_strings[] = {
    {"charAt", CEL_MEMBER, 2, 2, STR, char_at},
    {"indexOf", CEL_MEMBER, 2, 3, STR, index_of},
    {"lastIndexOf", CEL_MEMBER, 2, 3, STR, last_index_of},
    {"lowerAscii", CEL_MEMBER, 1, 1, STR, lower_ascii},
    {"upperAscii", CEL_MEMBER, 1, 1, STR, upper_ascii},
    {"replace", CEL_MEMBER, 3, 4, STR, replace},
    {"split", CEL_MEMBER, 2, 3, STR, split},
    {"join", CEL_MEMBER, 1, 2, KIND(CEL_LIST), join},
    {"substring", CEL_MEMBER, 2, 3, STR, substring},
    {"trim", CEL_MEMBER, 1, 1, STR, trim},
    {"reverse", CEL_MEMBER, 1, 1, STR, reverse},
    {"strings.quote", CEL_GLOBAL, 1, 1, STR, quote},
    {0},
};
