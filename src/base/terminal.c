/* terminal.c - see terminal.h. */
#include "base/terminal.h"

#include <stdlib.h>
#include <string.h>

#define ESC '\033'

static bool is_control(unsigned char c) { return (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f; }

/* U+202A to U+202E, U+2066 to U+2069 */
static bool turns_text(unsigned cp) { return (cp >= 0x202a && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069); }
static bool is_obeyed(unsigned cp)
{
    return cp < 0x100 ? is_control((unsigned char)cp) || (cp >= 0x80 && cp < 0xa0) : turns_text(cp);
}

/* Bytes of the character that begins at s if a terminal obeys it; 0. */
static size_t obeyed(const unsigned char *s, size_t n)
{
    if (is_control(*s))
        return 1;
    if (*s == 0xc2 && n > 1 && s[1] >= 0x80 && s[1] < 0xa0)
        return 2;
    if (*s == 0xe2 && n > 2 && turns_text(0x2000U | (s[1] & 0x3fU) << 6 | (s[2] & 0x3fU)))
        return 3;
    return 0;
}

void terminal_tame(char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t len = obeyed((unsigned char *)s + i, n - i);
        memset(s + i, '?', len);
        i += len ? len : 1;
    }
}

void terminal_tame_json(char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        if (s[i] != '\\' || i + 1 >= n) {
            size_t len = (unsigned char)s[i] < 0x20 ? 0 : obeyed((unsigned char *)s + i, n - i); /* white space is its own */
            memset(s + i, '?', len);
            i += len ? len : 1;
            continue;
        }
        char hex[5] = "", *end;
        if (s[i + 1] == 'u' && i + 6 <= n)
            memcpy(hex, s + i + 2, 4);
        unsigned long cp = strtoul(hex, &end, 16);
        if (end == hex + 4 && is_obeyed((unsigned)cp))
            memcpy(s + i + 2, "fffd", 4);
        else if ((s[i + 1] == 'b' || s[i + 1] == 'f' || s[i + 1] == 'r'))
            memset(s + i, '?', 2);
        i += 2;
    }
}

/* ---- streams ------------------------------------------------------------------------------------------------------- */

static void let_go(struct terminal_filter *f, bool tamed, struct buf *out)
{
    if (tamed)
        terminal_tame(f->held, f->n_held);
    buf_add(out, f->held, f->n_held);
    f->n_held = 0;
    f->state = TERMINAL_PLAIN;
}

static void plain(struct terminal_filter *f, char c, struct buf *out)
{
    unsigned char u = (unsigned char)c;
    if (c == ESC || u == 0xc2 || u == 0xe2) {
        f->held[f->n_held++] = c;
        f->state = c == ESC ? TERMINAL_ESC : TERMINAL_TWO;
    } else {
        buf_addc(out, is_control(u) && c != '\r' && c != '\b' ? '?' : c);
    }
}

static void take(struct terminal_filter *f, char c, struct buf *out)
{
    switch (f->state) {
    case TERMINAL_PLAIN:
        plain(f, c, out);
        return;
    case TERMINAL_TWO: /* a character of two or three bytes */
        if (((unsigned char)c & 0xc0) != 0x80)
            break;
        f->held[f->n_held++] = c;
        if (f->n_held == ((unsigned char)f->held[0] == 0xc2 ? 2 : 3))
            let_go(f, true, out);
        return;
    case TERMINAL_ESC:
        if (c != '[')
            break;
        f->held[f->n_held++] = c;
        f->state = TERMINAL_COLOUR;
        return;
    case TERMINAL_COLOUR:
        if (c == 'm') {
            f->held[f->n_held++] = c;
            let_go(f, false, out);
            return;
        }
        if (f->n_held + 1 >= sizeof f->held || !c || !strchr("0123456789;:", c))
            break;
        f->held[f->n_held++] = c;
        return;
    }
    let_go(f, true, out);
    plain(f, c, out);
}

void terminal_filter(struct terminal_filter *f, const char *s, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i++)
        take(f, s[i], out);
}
