#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "value/cel_priv.h"

int cel_fail_at(const char *src, size_t pos, struct err *err, const char *fmt, ...)
{
    size_t line = 1, col = 1;
    for (size_t i = 0; i < pos; i++) {
        if (src[i] == '\n') {
            line++;
            col = 1;
        } else if (((unsigned char)src[i] & 0xC0) != 0x80) {
            col++;
        }
    }
    BUF(b);
    va_list ap;
    va_start(ap, fmt);
    buf_addv(&b, fmt, ap);
    va_end(ap);
    return err_set(err, ERR_INVALID, "%zu:%zu: %s", line, col, buf_str(&b));
}

bool cel_reserved(const char *s, size_t n)
{
    static const char *const words[] = {"as",  "break", "const",   "continue",  "else",   "for", "function", "if",   "import",
                                        "let", "loop",  "package", "namespace", "return", "var", "void",     "while"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strlen(words[i]) == n && memcmp(words[i], s, n) == 0)
            return true;
    return false;
}

static bool ident_start(char c) { return isalpha((unsigned char)c) || c == '_'; }
static bool ident_char(char c) { return isalnum((unsigned char)c) || c == '_'; }

static void skip_space(struct cel_lex *l)
{
    const char *s = l->src;
    while (l->next < l->len) {
        if (strchr(" \t\r\n\f", s[l->next]) && s[l->next])
            l->next++;
        else if (s[l->next] == '/' && s[l->next + 1] == '/')
            while (l->next < l->len && s[l->next] != '\n')
                l->next++;
        else
            return;
    }
}

/* A string literal at l->pos: prefix letters, then one or three quotes. Sets end. */
static int lex_string(struct cel_lex *l, size_t quote_at, bool raw, bool bytes, struct err *err)
{
    const char *s = l->src, q = s[quote_at];
    bool triple = s[quote_at + 1] == q && s[quote_at + 2] == q;
    size_t i = quote_at + (triple ? 3 : 1);
    for (;; i++) {
        if (i >= l->len || (!triple && (s[i] == '\n' || s[i] == '\r')))
            return cel_fail_at(s, l->pos, err, "string literal is not closed: %.40s", s + l->pos);
        if (s[i] == '\\' && !raw) {
            i++;
            continue;
        }
        if (s[i] != q)
            continue;
        if (!triple)
            break;
        if (s[i + 1] == q && s[i + 2] == q) {
            i += 2;
            break;
        }
    }
    l->end = l->next = i + 1;
    l->tok = bytes ? T_BYTES : T_STRING;
    return 0;
}

static int lex_number(struct cel_lex *l, struct err *err)
{
    const char *s = l->src;
    size_t i = l->pos;
    l->tok = T_INT;
    if (s[i] == '0' && (s[i + 1] == 'x' || s[i + 1] == 'X')) {
        i += 2;
        if (!isxdigit((unsigned char)s[i]))
            return cel_fail_at(s, l->pos, err, "bad number '%.10s'", s + l->pos);
        while (isxdigit((unsigned char)s[i]))
            i++;
    } else {
        while (isdigit((unsigned char)s[i]))
            i++;
        if (s[i] == '.' && isdigit((unsigned char)s[i + 1])) {
            l->tok = T_DOUBLE;
            for (i++; isdigit((unsigned char)s[i]);)
                i++;
        }
        size_t e = i;
        if (s[e] == 'e' || s[e] == 'E') {
            e++;
            if (s[e] == '+' || s[e] == '-')
                e++;
            if (!isdigit((unsigned char)s[e]))
                return cel_fail_at(s, l->pos, err, "bad number '%.*s'", (int)(e - l->pos), s + l->pos);
            l->tok = T_DOUBLE;
            while (isdigit((unsigned char)s[e]))
                e++;
            i = e;
        }
    }
    if (l->tok == T_INT && (s[i] == 'u' || s[i] == 'U')) {
        l->tok = T_UINT;
        i++;
    }
    if (ident_char(s[i]))
        return cel_fail_at(s, l->pos, err, "bad number '%.*s'", (int)(i + 1 - l->pos), s + l->pos);
    l->end = l->next = i;
    return 0;
}

static void lex_ident(struct cel_lex *l)
{
    size_t i = l->pos;
    while (ident_char(l->src[i]))
        i++;
    l->end = l->next = i;
    size_t n = i - l->pos;
    const char *s = l->src + l->pos;
    l->tok = n == 4 && memcmp(s, "true", 4) == 0    ? T_TRUE
             : n == 5 && memcmp(s, "false", 5) == 0 ? T_FALSE
             : n == 4 && memcmp(s, "null", 4) == 0  ? T_NULL
             : n == 2 && memcmp(s, "in", 2) == 0    ? T_IN
                                                    : T_IDENT;
}

/* `name with any characters`, which may stand after a dot. */
static int lex_quoted_ident(struct cel_lex *l, struct err *err)
{
    size_t i = l->pos + 1;
    while (i < l->len && l->src[i] != '`' && l->src[i] != '\n')
        i++;
    if (i >= l->len || l->src[i] != '`' || i == l->pos + 1)
        return cel_fail_at(l->src, l->pos, err, "a quoted name is not closed or empty");
    l->end = l->next = i + 1;
    l->tok = T_QUOTED_IDENT;
    return 0;
}

static int lex_punct(struct cel_lex *l, struct err *err)
{
    static const struct {
        const char *text;
        enum cel_tok tok;
    } puncts[] = {
        {"==", T_EQ},    {"!=", T_NE},    {"<=", T_LE},      {">=", T_GE},      {"&&", T_AND},   {"||", T_OR},
        {"(", T_LPAREN}, {")", T_RPAREN}, {"[", T_LBRACKET}, {"]", T_RBRACKET}, {"{", T_LBRACE}, {"}", T_RBRACE},
        {".", T_DOT},    {",", T_COMMA},  {":", T_COLON},    {"?", T_QUESTION}, {"+", T_PLUS},   {"-", T_MINUS},
        {"*", T_STAR},   {"/", T_SLASH},  {"%", T_PERCENT},  {"!", T_NOT},      {"<", T_LT},     {">", T_GT},
    };
    for (size_t i = 0; i < ARRAY_LEN(puncts); i++) {
        size_t n = strlen(puncts[i].text);
        if (strncmp(l->src + l->pos, puncts[i].text, n) != 0)
            continue;
        l->tok = puncts[i].tok;
        l->end = l->next = l->pos + n;
        return 0;
    }
    unsigned char c = (unsigned char)l->src[l->pos];
    if (c < 0x20 || c >= 0x7F)
        return cel_fail_at(l->src, l->pos, err, "unexpected character (byte 0x%02x)", c);
    return cel_fail_at(l->src, l->pos, err, "unexpected '%c'", c);
}

int cel_lex_next(struct cel_lex *l, struct err *err)
{
    skip_space(l);
    l->pos = l->end = l->next;
    l->tok = T_END;
    if (l->pos >= l->len)
        return 0;
    const char *s = l->src + l->pos;
    if (isdigit((unsigned char)s[0]) || (s[0] == '.' && isdigit((unsigned char)s[1])))
        return lex_number(l, err);
    bool raw = false, bytes = false;
    size_t i = 0;
    for (; i < 2; i++) {
        if ((s[i] | 0x20) == 'r' && !raw)
            raw = true;
        else if ((s[i] | 0x20) == 'b' && !bytes)
            bytes = true;
        else
            break;
    }
    if (s[i] == '\'' || s[i] == '"')
        return lex_string(l, l->pos + i, raw, bytes, err);
    if (ident_start(s[0])) {
        lex_ident(l);
        return 0;
    }
    return s[0] == '`' ? lex_quoted_ident(l, err) : lex_punct(l, err);
}

static void add_utf8(struct buf *out, uint32_t c)
{
    if (c < 0x80) {
        buf_addc(out, (char)c);
    } else if (c < 0x800) {
        buf_addc(out, (char)(0xC0 | c >> 6));
        buf_addc(out, (char)(0x80 | (c & 0x3F)));
    } else if (c < 0x10000) {
        buf_addc(out, (char)(0xE0 | c >> 12));
        buf_addc(out, (char)(0x80 | (c >> 6 & 0x3F)));
        buf_addc(out, (char)(0x80 | (c & 0x3F)));
    } else {
        buf_addc(out, (char)(0xF0 | c >> 18));
        buf_addc(out, (char)(0x80 | (c >> 12 & 0x3F)));
        buf_addc(out, (char)(0x80 | (c >> 6 & 0x3F)));
        buf_addc(out, (char)(0x80 | (c & 0x3F)));
    }
}

/* Digits of \x \u \U and octal escapes at s; the number of bytes used, 0 when malformed. */
static size_t escape_number(const char *s, const char *end, uint32_t *v, bool *is_byte)
{
    size_t digits = *s == 'x' || *s == 'X' ? 2 : *s == 'u' ? 4 : *s == 'U' ? 8 : *s >= '0' && *s <= '3' ? 3 : 0;
    bool octal = digits == 3;
    const char *d = octal ? s : s + 1;
    if (!digits || (size_t)(end - d) < digits)
        return 0;
    *v = 0;
    for (size_t i = 0; i < digits; i++) {
        char c = d[i];
        if (octal ? c < '0' || c > '7' : !isxdigit((unsigned char)c))
            return 0;
        *v = *v * (octal ? 8 : 16) + (uint32_t)(isdigit((unsigned char)c) ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    *is_byte = digits <= 3;
    return digits + (octal ? 0 : 1);
}

/* One escape at *s (behind the backslash). */
static int unescape(const struct cel_lex *l, const char **s, const char *end, struct buf *out, struct err *err)
{
    static const char from[] = "abfnrtv\\?\"'`", to[] = "\a\b\f\n\r\t\v\\?\"'`";
    const char *hit = strchr(from, **s);
    if (**s && hit) {
        buf_addc(out, to[hit - from]);
        (*s)++;
        return 0;
    }
    uint32_t v = 0;
    bool is_byte = false, bytes = l->tok == T_BYTES;
    size_t used = escape_number(*s, end, &v, &is_byte);
    if (!used || (!is_byte && bytes) || v > 0x10FFFF || (v >= 0xD800 && v <= 0xDFFF))
        return cel_fail_at(l->src, (size_t)(*s - l->src) - 1, err, "bad escape '\\%.1s' in %.40s", *s, l->src + l->pos);
    if (bytes)
        buf_addc(out, (char)v);
    else
        add_utf8(out, v);
    *s += used;
    return 0;
}

int cel_lex_text(const struct cel_lex *l, struct buf *out, struct err *err)
{
    const char *s = l->src + l->pos, *end = l->src + l->end;
    bool raw = false;
    for (; *s != '\'' && *s != '"'; s++)
        raw |= (*s | 0x20) == 'r';
    size_t quotes = end - s >= 6 && s[1] == s[0] && s[2] == s[0] ? 3 : 1;
    s += quotes;
    end -= quotes;
    buf_adds(out, "");
    while (s < end) {
        if (*s != '\\' || raw) {
            buf_addc(out, *s++);
            continue;
        }
        s++;
        if (unescape(l, &s, end, out, err) < 0)
            return -1;
    }
    return 0;
}
