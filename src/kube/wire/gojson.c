/* gojson.c - what Go's JSON decoder says of a text that is no JSON; see gotext.h. One byte after the other through a machine of
 * states, as its scanner does it: the words name the state in which the first wrong byte came. */
#include <stdlib.h>

#include "kube/wire/gotext.h"

enum within { IN_ARRAY, IN_VALUE /* of an object */ };

struct scan {
    const char *text;
    size_t len, at;
    struct buf *fault; /* where it is told */
    struct buf open;   /* one byte (enum within) for each container */
};

static bool say(struct scan *s, const char *where)
{
    buf_adds(s->fault, "");
    if (s->at >= s->len) {
        buf_adds(s->fault, "unexpected end of JSON input");
        return false;
    }
    unsigned char c = (unsigned char)s->text[s->at];
    static const char plain[] = "\aa\bb\ff\nn\rr\tt\vv\\\\''";
    const char *known = NULL;
    for (const char *p = plain; *p && !known; p += 2)
        known = c == (unsigned char)p[0] ? p + 1 : NULL;
    buf_adds(s->fault, "invalid character '");
    if (known)
        buf_addf(s->fault, "\\%c", *known);
    else if (c < 0x20 || c == 0x7f)
        buf_addf(s->fault, "\\x%02x", c);
    else if (c < 0x7f)
        buf_addc(s->fault, (char)c);
    else if (c < 0xa1 || c == 0xad) /* the byte as a code point, where that does not print */
        buf_addf(s->fault, "\\u%04x", c);
    else
        buf_addf(s->fault, "%c%c", 0xc0 | c >> 6, 0x80 | (c & 0x3f));
    buf_addf(s->fault, "' %s", where);
    return false;
}

/* The next byte; -1 at the end. */
static int peek(const struct scan *s) { return s->at < s->len ? (unsigned char)s->text[s->at] : -1; }
static bool is_digit(int c) { return c >= '0' && c <= '9'; }

static void spaces(struct scan *s)
{
    while (peek(s) == ' ' || peek(s) == '\t' || peek(s) == '\r' || peek(s) == '\n')
        s->at++;
}

static bool digits(struct scan *s, const char *where)
{
    if (!is_digit(peek(s)))
        return say(s, where);
    while (is_digit(peek(s)))
        s->at++;
    return true;
}

static bool number(struct scan *s)
{
    if (peek(s) == '-')
        s->at++;
    if (peek(s) == '0')
        s->at++;
    else if (!digits(s, "in numeric literal"))
        return false;
    if (peek(s) == '.') {
        s->at++;
        if (!digits(s, "after decimal point in numeric literal"))
            return false;
    }
    if (peek(s) == 'e' || peek(s) == 'E') {
        s->at++;
        if (peek(s) == '+' || peek(s) == '-')
            s->at++;
        return digits(s, "in exponent of numeric literal");
    }
    return true;
}

static bool escape(struct scan *s)
{
    int c = peek(s);
    if (c < 0 || !strchr("bfnrt\\/\"u", c))
        return say(s, "in string escape code");
    s->at++;
    for (int i = 0; c == 'u' && i < 4; i++, s->at++)
        if (peek(s) < 0 || !strchr("0123456789abcdefABCDEF", peek(s)))
            return say(s, "in \\u hexadecimal character escape");
    return true;
}

static bool string(struct scan *s)
{
    s->at++;
    for (int c; (c = peek(s)) != '"';) {
        if (c < 0x20)
            return say(s, "in string literal");
        s->at++;
        if (c == '\\' && !escape(s))
            return false;
    }
    s->at++;
    return true;
}

static bool literal(struct scan *s, const char *word)
{
    for (const char *p = word; *p; p++, s->at++)
        if (peek(s) != *p) {
            AUTOFREE char *where = xasprintf("in literal %s (expecting '%c')", word, *p);
            return say(s, where);
        }
    return true;
}

static bool scalar(struct scan *s)
{
    int c = peek(s);
    if (c == '"')
        return string(s);
    if (c == '-' || is_digit(c))
        return number(s);
    return c == 't'   ? literal(s, "true")
           : c == 'f' ? literal(s, "false")
           : c == 'n' ? literal(s, "null")
                      : say(s, "looking for beginning of value");
}

static bool key(struct scan *s)
{
    spaces(s);
    if (peek(s) != '"')
        return say(s, "looking for beginning of object key string");
    if (!string(s))
        return false;
    spaces(s);
    if (peek(s) != ':')
        return say(s, "after object key");
    s->at++;
    return true;
}

/* Begins a value. *done: it has ended, too, so that what follows a value comes next. */
static bool begin(struct scan *s, bool *done)
{
    spaces(s);
    int c = peek(s);
    *done = true;
    if (c != '{' && c != '[')
        return scalar(s);
    s->at++;
    spaces(s);
    if (peek(s) == (c == '{' ? '}' : ']')) {
        s->at++;
        return true;
    }
    buf_addc(&s->open, c == '{' ? IN_VALUE : IN_ARRAY);
    *done = false;
    return c == '[' || key(s);
}

/* After a value: up to where the next one begins. *done: there is none, this was the end of what it stood in. */
static bool after(struct scan *s, bool *done)
{
    bool object = s->open.data[s->open.len - 1] == IN_VALUE;
    spaces(s);
    *done = peek(s) == (object ? '}' : ']');
    if (!*done && peek(s) != ',')
        return say(s, object ? "after object key:value pair" : "after array element");
    s->at++;
    if (*done)
        s->open.len--;
    return *done || !object || key(s);
}

static bool scan(struct scan *s)
{
    bool done;
    if (!begin(s, &done))
        return false;
    while (s->open.len)
        if (done ? !after(s, &done) : !begin(s, &done))
            return false;
    spaces(s);
    return s->at == s->len || say(s, "after top-level value");
}

bool gotext_json_fault(const char *text, size_t len, struct buf *out)
{
    BUF(open);
    struct scan s = {.text = text, .len = len, .fault = out, .open = open};
    bool good = scan(&s);
    open = s.open;
    return !good;
}
