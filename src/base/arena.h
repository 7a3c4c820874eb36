/* arena.h - memory for many small things that die together. Not thread-safe. Never returns NULL. */
#ifndef TM_BASE_ARENA_H
#define TM_BASE_ARENA_H

#include "base/base.h"

struct arena {
    struct arena_block *head;
    size_t used; /* bytes handed out, for limits */
};
#define ARENA(name) CLEANUP(arena_free) struct arena name = {0}

void *arena_alloc(struct arena *a, size_t size); /* zeroed, aligned for any type */
char *arena_strdup(struct arena *a, const char *s);
char *arena_strndup(struct arena *a, const char *s, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
void arena_free(struct arena *a); /* frees everything; the arena may be used again */
#define ARENA_NEW(a, type) ((type *)arena_alloc((a), sizeof(type)))

#endif
