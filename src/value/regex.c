/* RE2's syntax on PCRE2: one pass over the pattern rewrites what is spelled differently and refuses what RE2 has not, then
 * PCRE2 compiles it. Matching is bounded by PCRE2's own limits, since PCRE2 backtracks where RE2 does not. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "value/regex.h"

#include <ctype.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"

#define PATTERN_MAX (64u << 10)
#define REPEAT_MAX  1000 /* RE2's own */
#define DEPTH_MAX   250
#define MATCH_LIMIT 2000000
#define HEAP_LIMIT  (16u << 10) /* KiB */
/* PCRE2 counts steps anew at each place where a match may begin, and not the characters that one step passes over. So these
 * places are tried in portions, few where they take long, and time is looked at between them. */
#define TIME_MAX_NS 500000000
#define PORTION_NS  1000000
#define PORTION_MAX (1u << 20)
#define PORTION     256u

struct regex {
    pcre2_code *code;
};

struct rewrite {
    const char *pattern, *p;
    bool in_class;
    unsigned depth;
    struct buf out;
    struct err *err;
};

static int refuse(struct rewrite *w, const char *what)
{
    return err_set(w->err, ERR_INVALID, "regular expression '%.200s': at %zu: %s", w->pattern, (size_t)(w->p - w->pattern) + 1,
                   what);
}

/* In the words of Go, which clients of Kubernetes see: from is the part that is wrong. */
static int refuse_part(struct rewrite *w, const char *what, const char *from)
{
    return err_set(w->err, ERR_INVALID, "error parsing regexp: %s: `%.200s`", what, from);
}

/* The escapes: w->p is at the backslash and moves behind what was read. */

static void escape_same(struct rewrite *w, size_t len)
{
    buf_add(&w->out, w->p, len);
    w->p += len;
}

/* Perl's \s has the vertical tab, RE2's has not; \v is one character in RE2 and a class in PCRE2. */
static void escape_class(struct rewrite *w, char c)
{
    if (c == 's')
        buf_adds(&w->out, w->in_class ? "\\t\\n\\f\\r " : "[\\t\\n\\f\\r ]");
    else if (c == 'S' && !w->in_class)
        buf_adds(&w->out, "[^\\t\\n\\f\\r ]");
    else if (c == 'S')
        buf_adds(&w->out, "\\x{0}-\\x{8}\\x{b}\\x{e}-\\x{1f}\\x{21}-\\x{10ffff}");
    else if (c == 'v')
        buf_adds(&w->out, "\\x0b");
    else
        buf_addf(&w->out, "\\%c", c);
    w->p += 2;
}

static int escape_hex(struct rewrite *w)
{
    static const char hex[] = "0123456789abcdefABCDEF";
    const char *p = w->p + 2;
    bool braces = *p == '{';
    size_t n = strspn(p + braces, hex);
    if (braces ? (!n || n > 6 || p[1 + n] != '}') : n < 2)
        return refuse(w, "\\x takes two hexadecimal digits, or more in braces");
    escape_same(w, braces ? n + 4 : 4);
    return 0;
}

static int escape_property(struct rewrite *w)
{
    const char *p = w->p + 1;
    size_t len = p[1] == '{' ? strcspn(p, "}") + 1 : 2;
    if (p[1] == '\0' || (p[1] == '{' && p[len - 1] != '}'))
        return refuse(w, "\\p takes a letter or a name in braces");
    escape_same(w, len + 1);
    return 0;
}

/* \0 and \123 are octal, \1 alone would be a back reference. */
static int escape_octal(struct rewrite *w)
{
    const char *p = w->p + 1;
    size_t n = strspn(p, "01234567");
    if (n > 3)
        n = 3;
    if (*p != '0' && n < 3)
        return refuse(w, "back references are not part of RE2's syntax");
    char digits[4] = {0};
    memcpy(digits, p, n);
    buf_addf(&w->out, "\\x{%lx}", strtoul(digits, NULL, 8));
    w->p += 1 + n;
    return 0;
}

/* \Q...\E: as it stands, up to the end when there is none. */
static void escape_quoted(struct rewrite *w)
{
    const char *p = w->p + 2, *end = strstr(p, "\\E");
    size_t n = end ? (size_t)(end - p) : strlen(p);
    for (size_t i = 0; i < n; i++)
        buf_addf(&w->out, "%s%c", isalnum((unsigned char)p[i]) || (unsigned char)p[i] >= 0x80 ? "" : "\\", p[i]);
    w->p = p + n + (end ? 2 : 0);
}

static int rewrite_escape(struct rewrite *w)
{
    char c = w->p[1];
    if (!c)
        return refuse_part(w, "trailing backslash at end of expression", "");
    if (c == 'x')
        return escape_hex(w);
    if (c == 'p' || c == 'P')
        return escape_property(w);
    if (c >= '0' && c <= '7')
        return escape_octal(w);
    if (strchr(w->in_class ? "dDsSwWafnrtv" : "dDsSwWafnrtvAbB", c))
        escape_class(w, c);
    else if (c == 'z' && !w->in_class)
        escape_same(w, 2);
    else if (c == 'Q')
        escape_quoted(w);
    else if (isalnum((unsigned char)c) || (unsigned char)c >= 0x80)
        return refuse(w, "this escape is not part of RE2's syntax");
    else
        escape_same(w, 2);
    return 0;
}

/* "(?" at w->p: groups without capture, with a name, and flags. */
static int rewrite_group(struct rewrite *w)
{
    const char *p = w->p + 2;
    if (p[0] == 'P' && p[1] == '<')
        p += 2;
    else if (p[0] == '<' && p[1] != '=' && p[1] != '!')
        p += 1;
    else {
        size_t n = strspn(p, "imsU-");
        if ((p[n] != ':' && p[n] != ')') || (n == 0 && p[n] == ')'))
            return refuse(w, "this kind of group (look-around, atomic, conditional, comment ...) is not part of RE2's syntax");
        buf_add(&w->out, w->p, (size_t)(p + n + 1 - w->p));
        w->depth += p[n] == ':';
        w->p = p + n + 1;
        return 0;
    }
    size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    if (!n || n > 32 || p[n] != '>' || isdigit((unsigned char)*p))
        return refuse(w, "a group's name is 1 to 32 letters, digits and '_', and ends with '>'");
    buf_addf(&w->out, "(?P<%.*s>", (int)n, p);
    w->depth++;
    w->p = p + n + 1;
    return 0;
}

/* {n}, {n,}, {n,m}: its length, 0 when it is none (then '{' is a literal), -1 when refused. */
static int repeat_length(struct rewrite *w)
{
    const char *p = w->p + 1;
    size_t n = strspn(p, "0123456789");
    if (!n)
        return 0;
    unsigned long lo = strtoul(p, NULL, 10), hi = lo;
    p += n;
    if (*p == ',') {
        n = strspn(++p, "0123456789");
        if (n)
            hi = strtoul(p, NULL, 10);
        p += n;
    }
    if (*p != '}')
        return 0;
    if (lo > REPEAT_MAX || hi > REPEAT_MAX || hi < lo)
        return refuse(w, "bad repeat count: at most 1000, and not backwards");
    return (int)(p + 1 - w->p);
}

/* A repetition operator at w->p; what may follow it is only '?'. */
static int rewrite_repeat(struct rewrite *w, size_t len)
{
    buf_add(&w->out, w->p, len);
    w->p += len;
    if (*w->p == '?') {
        buf_addc(&w->out, '?');
        w->p++;
    }
    if (*w->p == '*' || *w->p == '+' || *w->p == '?')
        return refuse(w, "nested repetition operator (possessive quantifiers are not part of RE2's syntax)");
    if (*w->p == '{') {
        int n = repeat_length(w);
        if (n != 0)
            return n < 0 ? -1 : refuse(w, "nested repetition operator");
    }
    return 0;
}

static int rewrite_class(struct rewrite *w)
{
    const char *from = w->p;
    buf_addc(&w->out, *w->p++);
    if (*w->p == '^')
        buf_addc(&w->out, *w->p++);
    w->in_class = true;
    if (*w->p == ']') {
        buf_adds(&w->out, "\\]");
        w->p++;
    }
    while (*w->p && *w->p != ']') {
        if (*w->p == '\\') {
            if (rewrite_escape(w) < 0)
                return -1;
        } else if (*w->p == '[' && w->p[1] == ':') {
            const char *end = strstr(w->p, ":]");
            if (!end)
                return refuse(w, "'[:' without ':]'");
            buf_add(&w->out, w->p, (size_t)(end - w->p) + 2);
            w->p = end + 2;
        } else if (*w->p == '[') {
            buf_adds(&w->out, "\\[");
            w->p++;
        } else {
            buf_addc(&w->out, *w->p++);
        }
    }
    if (!*w->p)
        return refuse_part(w, "missing closing ]", from);
    buf_addc(&w->out, *w->p++);
    w->in_class = false;
    return 0;
}

static int rewrite_one(struct rewrite *w)
{
    int n;
    switch (*w->p) {
    case '\\':
        return rewrite_escape(w);
    case '[':
        return rewrite_class(w);
    case '(':
        if (w->p[1] == '?')
            return rewrite_group(w);
        if (w->p[1] == '*')
            return refuse(w, "missing argument to repetition operator");
        w->depth++;
        break;
    case ')':
        if (w->depth == 0)
            return refuse_part(w, "unexpected )", w->pattern);
        w->depth--;
        break;
    case '*':
    case '+':
    case '?':
        return rewrite_repeat(w, 1);
    case '{':
        n = repeat_length(w);
        if (n < 0)
            return -1;
        if (n > 0)
            return rewrite_repeat(w, (size_t)n);
        buf_adds(&w->out, "\\{");
        w->p++;
        return 0;
    default:
        break;
    }
    buf_addc(&w->out, *w->p++);
    return 0;
}

static int rewrite(struct rewrite *w)
{
    while (*w->p) {
        if (rewrite_one(w) < 0)
            return -1;
        if (w->depth > DEPTH_MAX)
            return refuse(w, "groups are nested too deeply");
    }
    return w->depth ? refuse_part(w, "missing closing )", w->pattern) : 0;
}

struct regex *regex_compile(const char *pattern, struct err *err)
{
    if (strlen(pattern) > PATTERN_MAX)
        return err_set(err, ERR_INVALID, "regular expression is longer than %u bytes", PATTERN_MAX), NULL;
    if (!str_utf8_valid(pattern, strlen(pattern)))
        return err_set(err, ERR_INVALID, "regular expression is not valid UTF-8"), NULL;
    struct rewrite w = {.pattern = pattern, .p = pattern, .err = err};
    buf_adds(&w.out, "");
    int rc = rewrite(&w);
    BUF(text);
    text = w.out;
    if (rc < 0)
        return NULL;
    int code;
    PCRE2_SIZE at;
    /* DOLLAR_ENDONLY: without (?m) RE2's $ is the very end. */
    uint32_t flags = PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C | PCRE2_USE_OFFSET_LIMIT;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)buf_str(&text), text.len, flags, &code, &at, NULL);
    if (!re) {
        PCRE2_UCHAR msg[128];
        pcre2_get_error_message(code, msg, sizeof msg);
        err_set(err, ERR_INVALID, "regular expression '%.200s': %s", pattern, (char *)msg);
        return NULL;
    }
    struct regex *r = xcalloc(1, sizeof *r);
    r->code = re;
    return r;
}

void regex_free(struct regex *r)
{
    if (!r)
        return;
    pcre2_code_free(r->code);
    free(r);
}

static _Thread_local int64_t spent_ns;

int64_t regex_spent_ns(void) { return spent_ns; }

static int64_t thread_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Where the next portion begins: a character's first byte behind the last place that was tried. */
static size_t next_place(const char *text, size_t len, size_t at)
{
    while (at < len && ((unsigned char)text[at] & 0xc0) == 0x80)
        at++;
    return at;
}

/* PCRE2's answer for the first match at or after from. */
static int find(const struct regex *r, const char *text, size_t len, size_t from, pcre2_match_data *md)
{
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    ASSERT(limits);
    pcre2_set_match_limit(limits, MATCH_LIMIT);
    pcre2_set_heap_limit(limits, HEAP_LIMIT);
    size_t portion = PORTION;
    uint32_t options = 0;
    int64_t begin = thread_ns(), before = begin;
    int rc;
    for (;;) {
        size_t last = len - from <= portion ? len : from + portion;
        pcre2_set_offset_limit(limits, last);
        rc = pcre2_match(r->code, (PCRE2_SPTR)text, len, from, options, md, limits);
        int64_t now = thread_ns();
        spent_ns += now - before;
        if (rc != PCRE2_ERROR_NOMATCH || last == len)
            break;
        if (now - begin > TIME_MAX_NS) {
            rc = PCRE2_ERROR_MATCHLIMIT;
            break;
        }
        portion = now - before < PORTION_NS && portion < PORTION_MAX ? portion * 4
                  : now - before > 4 * PORTION_NS                    ? portion / 4 + 1
                                                                     : portion;
        before = now;
        options = PCRE2_NO_UTF_CHECK; /* it was valid */
        from = next_place(text, len, last + 1);
    }
    pcre2_match_context_free(limits);
    return rc;
}

int regex_find(const struct regex *r, const char *text, size_t len, size_t from, size_t *start, size_t *end, struct err *err)
{
    if (from > len)
        return 0;
    pcre2_match_data *md = pcre2_match_data_create(1, NULL);
    ASSERT(md);
    int rc = find(r, text, len, from, md);
    PCRE2_SIZE *v = pcre2_get_ovector_pointer(md);
    if (rc >= 0) {
        *start = v[0];
        *end = v[1];
    }
    pcre2_match_data_free(md);
    if (rc >= 0)
        return 1;
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    if (rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_HEAPLIMIT || rc == PCRE2_ERROR_DEPTHLIMIT)
        return err_set(err, ERR_INVALID, "regular expression needs too many steps on this text");
    return err_set(err, ERR_INVALID, "regular expression cannot be matched: the text is not valid UTF-8");
}

int regex_match(const struct regex *r, const char *text, size_t len, struct err *err)
{
    size_t start, end;
    return regex_find(r, text, len, 0, &start, &end, err);
}
