/* Writing YAML: block style, two spaces a level, sequences at the column of their key (as Go's writers do). A string is
 * plain only where every reader takes it for a string; text of several lines is a literal block; all else is in double quotes. */
#include <string.h>

#include "base/str.h"
#include "value/yaml.h"
#include "value/yaml_scalar.h"

/* libyaml, and YAML itself, end a simple key after 1024 characters. */
#define SIMPLE_KEY_MAX 1000

/* Decodes one character of valid UTF-8 and returns its length. */
static size_t utf8_next(const unsigned char *s, uint32_t *cp)
{
    if (s[0] < 0x80)
        return *cp = s[0], 1;
    if (s[0] < 0xE0)
        return *cp = (s[0] & 0x1Fu) << 6 | (s[1] & 0x3Fu), 2;
    if (s[0] < 0xF0)
        return *cp = (s[0] & 0x0Fu) << 12 | (s[1] & 0x3Fu) << 6 | (s[2] & 0x3Fu), 3;
    return *cp = (s[0] & 0x07u) << 18 | (s[1] & 0x3Fu) << 12 | (s[2] & 0x3Fu) << 6 | (s[3] & 0x3Fu), 4;
}

/* May stand in a document as it is and is no line break. */
static bool printable(uint32_t c)
{
    return c == '\t' || (c >= 0x20 && c <= 0x7E) || (c >= 0xA0 && c <= 0xD7FF && c != 0x2028 && c != 0x2029) ||
           (c >= 0xE000 && c <= 0xFFFD && c != 0xFEFF) || c >= 0x10000;
}

static void quote(const char *s, size_t n, struct buf *out)
{
    buf_addc(out, '"');
    for (size_t i = 0; i < n;) {
        uint32_t c;
        size_t len = utf8_next((const unsigned char *)s + i, &c);
        if (c == '"' || c == '\\')
            buf_addf(out, "\\%c", (char)c);
        else if (c == '\n')
            buf_adds(out, "\\n");
        else if (c == '\t')
            buf_adds(out, "\\t");
        else if (c == '\r')
            buf_adds(out, "\\r");
        else if (printable(c))
            buf_add(out, s + i, len);
        else if (c < 0x100)
            buf_addf(out, "\\x%02X", c);
        else
            buf_addf(out, "\\u%04X", c);
        i += len;
    }
    buf_addc(out, '"');
}

static bool may_be_plain(const char *s, size_t n)
{
    if (!n || s[n - 1] == ' ' || s[n - 1] == ':' ||
        !(s[0] == '/' || s[0] == '_' || s[0] == '.' || s[0] == '-' || s[0] == '(' || (s[0] >= '0' && s[0] <= '9') ||
          ((s[0] | 0x20) >= 'a' && (s[0] | 0x20) <= 'z')))
        return false;
    if (s[0] == '-' && (n == 1 || s[1] == ' ' || s[1] == '-'))
        return false;
    if (s[0] == '.' && n >= 3 && memcmp(s, "...", 3) == 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c < 0x20 || c > 0x7E)
            return false;
        if (i + 1 < n && ((c == ':' && s[i + 1] == ' ') || (c == ' ' && s[i + 1] == '#')))
            return false;
    }
    return yaml_plain_is_string(s, n);
}

/* A literal block keeps every character only if none is special to it and its first line shows the indentation. */
static bool may_be_literal(const char *s, size_t n)
{
    if (!n || !memchr(s, '\n', n) || s[0] == ' ' || s[0] == '\n' || s[0] == '\t')
        return false;
    for (size_t i = 0; i < n;) {
        uint32_t c;
        i += utf8_next((const unsigned char *)s + i, &c);
        if (c != '\n' && !printable(c))
            return false;
    }
    return true;
}

static void spaces(struct buf *out, unsigned n)
{
    while (n--)
        buf_addc(out, ' ');
}

static void literal(const char *s, size_t n, unsigned indent, struct buf *out)
{
    bool newline = s[n - 1] == '\n', more = n > 1 && newline && s[n - 2] == '\n';
    buf_adds(out, more ? "|+" : newline ? "|" : "|-");
    size_t end = newline ? n - 1 : n;
    for (size_t i = 0; i <= end;) {
        const char *nl = memchr(s + i, '\n', end - i);
        size_t line = nl ? (size_t)(nl - s) - i : end - i;
        buf_addc(out, '\n');
        if (line) {
            spaces(out, indent);
            buf_add(out, s + i, line);
        }
        i += line + 1;
    }
}

static void write_scalar(jval *v, unsigned indent, struct buf *out)
{
    if (jv_type(v) != J_STRING) {
        jv_write(v, JW_COMPACT, out);
        return;
    }
    const char *s = jv_str(v);
    size_t n = jv_len(v);
    if (may_be_plain(s, n))
        buf_add(out, s, n);
    else if (may_be_literal(s, n))
        literal(s, n, indent, out);
    else
        quote(s, n, out);
}

static bool is_block(jval *v) { return (jv_type(v) == J_ARRAY || jv_type(v) == J_OBJECT) && jv_len(v); }

/* Writes a value of which the first line begins where out ends, at column `indent`; ends without a newline.
 * Recursion is bounded by the depth of the document. */
static void write_block(jval *v, unsigned indent, struct buf *out)
{
    struct jiter it = jv_iter(v);
    const char *key;
    jval *x;
    bool first = true, seq = jv_type(v) == J_ARRAY;
    while (jv_next(&it, &key, &x)) {
        if (!first) {
            buf_addc(out, '\n');
            spaces(out, indent);
        }
        first = false;
        if (seq) {
            buf_adds(out, "- ");
            if (is_block(x))
                write_block(x, indent + 2, out);
            else
                write_scalar(x, indent + 2, out);
            continue;
        }
        size_t at = out->len, klen = strlen(key);
        if (may_be_plain(key, klen))
            buf_adds(out, key);
        else
            quote(key, klen, out);
        if (out->len - at > SIMPLE_KEY_MAX) {
            AUTOFREE char *text = xstrndup(out->data + at, out->len - at);
            out->len = at;
            buf_addf(out, "? %s\n", text);
            spaces(out, indent);
        }
        buf_addc(out, ':');
        if (!is_block(x)) {
            buf_addc(out, ' ');
            write_scalar(x, indent + 2, out);
            continue;
        }
        unsigned inner = jv_type(x) == J_ARRAY ? indent : indent + 2;
        buf_addc(out, '\n');
        spaces(out, inner);
        write_block(x, inner, out);
    }
}

void yaml_write(jval *v, struct buf *out)
{
    if (is_block(v))
        write_block(v, 0, out);
    else
        write_scalar(v, 2, out);
    buf_addc(out, '\n');
}
