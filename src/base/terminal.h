/* terminal.h - what others wrote, on its way to a terminal. A terminal obeys: a name, a message or a log may hold sequences that
 * rewrite what stands on the screen, set the title, ask for an answer that is typed into the shell, or turn the direction of the
 * text. None of these functions fails, and none needs whole characters. */
#ifndef TM_BASE_TERMINAL_H
#define TM_BASE_TERMINAL_H

#include "base/buf.h"

/* In place: what a terminal would obey becomes '?', byte by byte: control characters but newline and tab (also those that UTF-8
 * writes in two bytes), and marks of direction. */
void terminal_tame(char *s, size_t n);
/* The same for the text of a JSON document, where such characters may be escaped: what it means stays the same otherwise. */
void terminal_tame_json(char *s, size_t n);

/* A stream: as terminal_tame, but colours (ESC [ ... m), carriage returns and backspaces pass: programs draw with them. */
struct terminal_filter {
    enum { TERMINAL_PLAIN, TERMINAL_ESC, TERMINAL_COLOUR, TERMINAL_TWO } state;
    char held[32]; /* a sequence that is not over, or the first byte of a character */
    size_t n_held;
};
void terminal_filter(struct terminal_filter *f, const char *s, size_t n, struct buf *out);

#endif
